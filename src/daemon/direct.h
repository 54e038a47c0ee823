/*
 * Direct rings: datagrams from one program to another without foyerd in between. See
 * docs/decisions/0007, and ipc/shm.h for the memory.
 *
 * foyerd decides who gets what a socket sends to an endpoint, as the stack would, makes the ring,
 * and takes it back as soon as that may have changed. Sender and receiver hear of it by the
 * generations in their slots, which the respective other cannot write.
 */
#ifndef FOYER_DAEMON_DIRECT_H
#define FOYER_DAEMON_DIRECT_H

#include "daemon/psocket.h"
#include "ipc/message.h"

#define DIRECT_BUCKETS 64u

/* What daemon.h holds of it. */
struct direct_table {
    struct list_node by_port[DIRECT_BUCKETS]; /* of all rings, by the port they lead to */
    uint32_t count;
    struct loop_timer timer; /* looks for idle ones; runs while there is a ring */
};

void direct_init(struct direct_table *table);

/* FOYER_REQUEST_DIRECT and _INBOX. 0 or a positive errno; descriptors are borrowed. */
int direct_request(struct psocket *sender, const struct foyer_endpoint *target,
                   struct foyer_reply_direct *reply, struct message_fds *ret_fds);
int direct_inbox(struct psocket *receiver, uint32_t after, struct foyer_reply_inbox *reply,
                 struct message_fds *ret_fds);

/*
 * Hands over what the sender has written to its relayed ring, so that nothing overtakes it. False:
 * some of it is still on its way (a neighbour that is not known yet, fragments).
 */
bool direct_flush(struct psocket *sender);
/* The sender has rung: rings those of its receivers that sleep. */
void direct_ring_receivers(struct psocket *sender);
/* Before and after the socket's names change, and before it closes: who gets what may be others. */
void direct_names_change(struct psocket *psocket);
/* The socket closes. What it has sent can still be read. */
void direct_close(struct psocket *psocket);
/* Datagrams to this socket that found no room in a direct ring, as far as their senders say. */
uint64_t direct_dropped_count(const struct psocket *receiver);
/* SO_RCVBUF may have changed. */
void direct_limit(struct psocket *receiver);

#endif
