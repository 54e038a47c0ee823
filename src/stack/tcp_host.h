/*
 * What TCP keeps per host: the pool of units (tcp_board.h) and the limiter of challenge ACKs.
 * Embedded in struct foyer_host.
 *
 * A sender with bytes out needs a board, a receiver with a gap a list of ranges; both begin in a
 * unit of TCP_UNIT_BYTES. Idle connections hold none, so connections share a pool: it is filled
 * when the host and its connections are made (TCP_UNITS_MIN and one per TCP_UNITS_RATIO). Only
 * when more of them than that have bytes out or gaps at one time is the allocator asked, as it is
 * for their rings, and what is beyond the proportion goes back to it. Where it has nothing, TCP
 * does without: nothing new is sent for the time being, out-of-order segments are dropped (the peer
 * sends them again), SACK blocks are not believed.
 */
#ifndef FOYER_STACK_TCP_HOST_H
#define FOYER_STACK_TCP_HOST_H

#include "foyer/types.h"

struct tcp_unit;

#define TCP_UNITS_MIN 16u
#define TCP_UNITS_RATIO 64u /* connections per unit: 8 bytes for each of them */

struct tcp_host {
    struct tcp_unit *free_units;
    uint32_t free_unit_count, tcb_count;

    /* RFC 5961 section 7: challenge ACKs per second over all connections of the host. */
    uint32_t challenge_tokens;
    foyer_time_ns challenge_refilled_ns;
};

#endif
