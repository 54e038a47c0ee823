/*
 * What TCP keeps per host: the pool of units (tcp_board.h) and the limiter of challenge ACKs.
 * Embedded in struct foyer_host.
 *
 * A sender with bytes out needs a board, a receiver with a gap a list of ranges; both begin in a
 * unit of TCP_UNIT_BYTES. Idle connections hold none, so connections share a pool: its reserve is
 * filled when the host and its connections are made (TCP_UNITS_MIN and one per TCP_UNITS_RATIO).
 * Only when more units are in use at one time than in the last TCP_UNITS_PERIOD_NS is the
 * allocator asked; what the last two periods did not need goes back to it. Where it has nothing,
 * TCP does without: nothing new is sent for the time being, out-of-order segments are dropped (the
 * peer sends them again), SACK blocks are not believed.
 */
#ifndef FOYER_STACK_TCP_HOST_H
#define FOYER_STACK_TCP_HOST_H

#include "base/timer.h"
#include "foyer/types.h"

struct tcp_unit;

#define TCP_UNITS_MIN (FOYER_SMALL ? 4u : 16u)
#define TCP_UNITS_RATIO 128u /* connections per unit: 8 bytes for each of them */
#define TCP_UNITS_PERIOD_NS (5 * FOYER_NS_PER_S)

struct tcp_host {
    struct tcp_unit *free_units;
    uint32_t free_unit_count, used_unit_count, tcb_count;
    uint32_t peak, peak_before; /* of used_unit_count: since then, and in the period before */
    foyer_time_ns peak_since_ns;
    struct timer units_timer; /* kind TIMER_UNITS; while there are more than the reserve */

    /* RFC 5961 section 7: challenge ACKs per second over all connections of the host. */
    uint32_t challenge_tokens;
    foyer_time_ns challenge_refilled_ns;
};

#endif
