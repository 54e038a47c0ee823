/*
 * A queue of timers that live in the caller's objects.
 *
 * A hierarchical timing wheel in which the level of a timer is the highest group of bits in
 * which its deadline differs from the wheel's position. Chosen over a heap because set and
 * cancel are O(1) without memory of their own (a set on the data path can't fail, an idle
 * connection pays for nothing), and TCP moves its retransmission timer at every
 * acknowledgement. A slot remembers its earliest deadline, so that times are exact to the
 * nanosecond: a timer never fires early, and the wheel's granularity (4 us at the lowest level)
 * is not seen from outside.
 *
 *     while ((timer = timer_queue_pop_due(queue, now)) != NULL) ...   it is disarmed by then
 */
#ifndef FOYER_BASE_TIMER_H
#define FOYER_BASE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "foyer/types.h"

#define TIMER_TICK_SHIFT 12 /* a slot of level 0 spans 4096 ns */
#define TIMER_LEVEL_BITS 6
#define TIMER_LEVEL_SLOTS 64
#define TIMER_LEVELS 9 /* 12 + 9 * 6 >= 64: every deadline has its place */

/* All zero: not armed. kind is the owner's. */
struct timer {
    struct list_node node;
    foyer_time_ns deadline_ns;
    uint8_t level, slot;
    uint8_t kind;
};

#define TIMER_ENTRY(timer, type, member) ((type *)((char *)(timer)-offsetof(type, member)))

struct timer_slot {
    struct list_node timers;
    foyer_time_ns earliest_ns; /* no timer in here is due before; exact unless one was removed */
};

struct timer_queue {
    uint64_t position; /* in ticks; no armed timer belongs before it */
    uint32_t count;
    uint16_t levels_occupied;
    uint64_t slots_occupied[TIMER_LEVELS];
    struct timer_slot slots[TIMER_LEVELS][TIMER_LEVEL_SLOTS];
};

void timer_queue_init(struct timer_queue *queue, foyer_time_ns now);
/* Disarms whatever is still armed. */
void timer_queue_finish(struct timer_queue *queue);

/* Arms or moves. A deadline in the past is due at once; FOYER_TIME_NEVER cancels. O(1). */
void timer_set(struct timer_queue *queue, struct timer *timer, foyer_time_ns deadline);
/* Idempotent. O(1). */
void timer_cancel(struct timer_queue *queue, struct timer *timer);

static inline bool timer_is_armed(const struct timer *timer)
{
    return list_is_linked(&timer->node);
}

/*
 * When pop_due is worth calling next, or FOYER_TIME_NEVER. Never after the earliest deadline;
 * before it only where the earliest timer was moved or cancelled since (then pop_due returns
 * NULL and the next answer is exact). O(1).
 */
foyer_time_ns timer_queue_next_deadline(const struct timer_queue *queue);

/*
 * Disarms and returns a timer whose deadline is not after now, or NULL. Timers come in the order
 * of their deadlines except within 4 us. now may stand still, not go back. Work: amortised O(1)
 * per timer (each is moved down at most TIMER_LEVELS times).
 */
struct timer *timer_queue_pop_due(struct timer_queue *queue, foyer_time_ns now);

#endif
