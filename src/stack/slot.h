/*
 * The host's table of sockets: what a handle's index leads to. A slot holds a socket, or what is
 * left of one in TIME-WAIT (tcp_time_wait.h), or nothing; its generation moves each time it is
 * given back, so that old handles lead nowhere.
 *
 * Lists of such holders link them by index instead of by address: half the bytes in each of many
 * idle connections, for lists that are not walked per packet.
 */
#ifndef FOYER_STACK_SLOT_H
#define FOYER_STACK_SLOT_H

#include "foyer/socket.h"

struct sock;
struct time_wait;

/* Numbers are index + 1. 0: in no list. The ends of a list point at themselves. */
struct slot_link {
    uint32_t prev, next;
};

/* All zero: empty. */
struct slot_list {
    uint32_t first, last;
};

enum slot_link_kind {
    SLOT_LINK_QUEUE, /* events, or a listener's accept queue; TIME-WAIT: in order of time */
    SLOT_LINK_PORT,  /* the holders of a port */
    SLOT_LINKS,
};

/* Whatever may hold a slot begins with it. */
struct slot_head {
    uint32_t index;
    uint32_t generation; /* of the handle */
    struct slot_link links[SLOT_LINKS];
};

/*
 * The holder's address, whose low bits are 0, or 2 for a struct time_wait; or, where the slot is
 * free, generation << 32 | next_free << 2 | 1, with the generation of the next holder.
 */
struct slot {
    uint64_t word;
};

#define SLOTS_MAX ((1u << 30) - 1)
#define SLOT_NONE SLOTS_MAX /* no index */

struct slot_table {
    struct slot *slots;
    uint32_t count, capacity;
    uint32_t first_free; /* SLOT_NONE */
    uint32_t used;
};

void slots_init(struct slot_table *table);
void slots_finish(struct foyer_host *host);
/* Fills index and generation. False: config.max_sockets are there, or there is no memory. */
bool slot_take(struct foyer_host *host, struct sock *sock);
void slot_give(struct foyer_host *host, const struct slot_head *head);
/* The record takes over the socket's slot, and with it its handle. */
void slot_replace(struct foyer_host *host, const struct sock *sock, struct time_wait *wait);

/* NULL: something else or nothing has the slot. */
struct sock *slot_sock(const struct foyer_host *host, uint32_t index);
struct time_wait *slot_time_wait(const struct foyer_host *host, uint32_t index);

static inline bool slot_is_linked(const struct slot_head *head, enum slot_link_kind kind)
{
    return head->links[kind].prev != 0;
}

static inline foyer_socket slot_handle(const struct slot_head *head)
{
    return (foyer_socket){(uint64_t)head->generation << 32 | head->index};
}

/* The holder must be in no list of this kind. */
void slot_list_push(struct foyer_host *host, struct slot_list *list, struct slot_head *head,
                    enum slot_link_kind kind);
/* Idempotent. The list must be the one that it is in. */
void slot_list_remove(struct foyer_host *host, struct slot_list *list, struct slot_head *head,
                      enum slot_link_kind kind);
/* NULL at the end. */
struct slot_head *slot_list_first(const struct foyer_host *host, const struct slot_list *list);
struct slot_head *slot_list_next(const struct foyer_host *host, const struct slot_head *head,
                                 enum slot_link_kind kind);

#endif
