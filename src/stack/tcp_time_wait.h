/*
 * TIME-WAIT of connections whose handle was given back: all that the state needs in less than a
 * fifth of what socket and control block take (RFC 9293 section 3.6.1 wants it kept for minutes).
 *
 * The record takes over the socket's slot (so the old handle is as stale as before and the state
 * listing shows it), its place among the holders of its port, and its 4-tuple, by which segments
 * find it. All records wait equally long: they stand in one list in the order of their ends, and
 * one timer of the host serves them. Beyond config.max_time_waits, and where a new socket finds
 * no slot, the oldest ends early and is counted.
 *
 * A TIME-WAIT whose handle the caller still holds stays a socket: it may have bytes to read. So
 * does one for which there is no memory.
 */
#ifndef FOYER_STACK_TCP_TIME_WAIT_H
#define FOYER_STACK_TCP_TIME_WAIT_H

#include "stack/slot.h"
#include "stack/stack.h"
#include "stack/tcp.h"

#define TIME_WAITS_MAX_DEFAULT                                                                     \
    (FOYER_SMALL ? 32u : 65536u) /* per host: 6 MiB, and 1092 closes a second */

struct time_wait {
    struct slot_head slot;
    struct hash_node node;         /* host->time_waits.table, by 4-tuple */
    struct port_group *port_group; /* with its bucket the local address and port */
    uint64_t owner;
    struct foyer_addr remote_addr;
    uint16_t remote_port;
    uint16_t window; /* as our ACKs tell it */
    seq_t snd_nxt, rcv_nxt;
    uint32_t ts_recent;
    uint32_t end_ms; /* modulo 2^32 */
    uint8_t family, ttl, tos;
    bool has_timestamps : 1;
    bool is_port_chosen : 1; /* SOCK_PORT_CHOSEN */
    uint8_t ace : 3;         /* of our ACKs, as it was (RFC 9768) */
};

_Static_assert(sizeof(struct time_wait) <= 96, "a busy server has many");

/* -ENOMEM */
int time_waits_init(struct foyer_host *host);
/* After all sockets and records are gone. */
void time_waits_finish(struct foyer_host *host);
/* host->time_waits.timer. */
void time_waits_timer(struct foyer_host *host, foyer_time_ns now);

/* The orphan in TIME-WAIT becomes a record and is freed, unless there is no memory. */
void time_wait_take_over(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
struct time_wait *time_wait_find(struct foyer_host *host, const struct foyer_endpoint *local,
                                 const struct foyer_endpoint *remote);
struct foyer_endpoint time_wait_local(const struct time_wait *wait);
struct foyer_endpoint time_wait_remote(const struct time_wait *wait);
/* RFC 6191: as tcp_time_wait_is_reusable. */
bool time_wait_is_reusable(const struct foyer_host *host, const struct time_wait *wait);
void time_wait_end(struct foyer_host *host, struct time_wait *wait);
/* Ends the oldest early; false: there is none. */
bool time_wait_shed(struct foyer_host *host);
/* True: the SYN takes its place, and the record is gone; seg says what the new ISN must exceed. */
bool time_wait_input(struct foyer_host *host, struct time_wait *wait, struct tcp_segment *seg,
                     foyer_time_ns now);

#endif
