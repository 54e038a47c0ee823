/*
 * What TCP keeps per host: the preallocated pool of range lists (tcp_ranges.c) and the limiter
 * of challenge ACKs. Embedded in struct foyer_host.
 *
 * No segment on the data path may allocate. A connection without loss or reordering needs no
 * range list, so connections share a pool: it grows by a chunk when connections are made (one
 * list per TCP_POOL_RATIO of them, and TCP_POOL_MIN to begin with) and never shrinks before the
 * host ends. Where it is empty, TCP does without: out-of-order segments are dropped (the peer
 * sends them again).
 *
 * A sender with bytes out needs a board (tcp_board.h). Its units are kept in the same proportion;
 * when more connections than that send at once, the allocator is asked, as it is for their rings,
 * and given back what is beyond the proportion.
 */
#ifndef FOYER_STACK_TCP_HOST_H
#define FOYER_STACK_TCP_HOST_H

#include "foyer/types.h"

struct tcp_ranges;
struct tcp_unit;
struct tcp_pool_chunk;

#define TCP_POOL_MIN 32u   /* also the lists per chunk */
#define TCP_POOL_RATIO 32u /* connections per list: 33 bytes for each of them */
#define TCP_UNITS_MIN 16u  /* kept for boards; and as many more as the ratio says: 16 bytes each */

struct tcp_host {
    struct tcp_ranges *free_ranges;
    struct tcp_pool_chunk *chunks;
    uint32_t ranges_total, tcb_count;
    struct tcp_unit *free_units; /* boards and their records (tcp_board.c) */
    uint32_t free_unit_count;

    /* RFC 5961 section 7: challenge ACKs per second over all connections of the host. */
    uint32_t challenge_tokens;
    foyer_time_ns challenge_refilled_ns;
};

#endif
