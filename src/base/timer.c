/*
 * The timing wheel. Times are cut into ticks of 2^12 ns; the wheel stands at `position`.
 *
 *   tick of a deadline   ...|gggggg|gggggg|gggggg        groups of 6 bits, level 8 .. level 0
 *   position             ...|gggggg|gggggg|gggggg
 *
 * A timer's level is the highest group in which the two differ, its slot that group's value in
 * its deadline. From that follows what everything here rests on:
 *
 *   - in a level, every occupied slot lies after the position's own slot of that level
 *     (at level 0 also in it);
 *   - every timer of a level is due before every timer of the levels above it.
 *
 * So the earliest timer is in the lowest occupied slot of the lowest occupied level. When the
 * time comes near a slot above level 0, the position moves to the slot's start and its timers
 * are set anew, which puts them on lower levels.
 */
#include "base/timer.h"

#include <string.h>

static inline uint64_t tick_of(foyer_time_ns time)
{
    return time >> TIMER_TICK_SHIFT;
}

void timer_queue_init(struct timer_queue *queue, foyer_time_ns now)
{
    memset(queue, 0, sizeof(*queue));
    queue->position = tick_of(now);
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMER_LEVEL_SLOTS; slot++) {
            list_init(&queue->slots[level][slot].timers);
            queue->slots[level][slot].earliest_ns = FOYER_TIME_NEVER;
        }
    }
}

void timer_queue_finish(struct timer_queue *queue)
{
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        for (unsigned slot = 0; slot < TIMER_LEVEL_SLOTS; slot++) {
            while (list_pop_front(&queue->slots[level][slot].timers) != NULL)
                ;
            queue->slots[level][slot].earliest_ns = FOYER_TIME_NEVER;
        }
        queue->slots_occupied[level] = 0;
    }
    queue->levels_occupied = 0;
    queue->count = 0;
}

/* After a timer left the slot. */
static void slot_left(struct timer_queue *queue, unsigned level, unsigned slot)
{
    queue->count--;
    if (!list_is_empty(&queue->slots[level][slot].timers))
        return;
    queue->slots[level][slot].earliest_ns = FOYER_TIME_NEVER;
    queue->slots_occupied[level] &= ~(1ULL << slot);
    if (queue->slots_occupied[level] == 0)
        queue->levels_occupied &= (uint16_t) ~(1u << level);
}

void timer_cancel(struct timer_queue *queue, struct timer *timer)
{
    if (!timer_is_armed(timer))
        return;
    list_remove(&timer->node);
    slot_left(queue, timer->level, timer->slot);
}

void timer_set(struct timer_queue *queue, struct timer *timer, foyer_time_ns deadline)
{
    timer_cancel(queue, timer);
    if (deadline == FOYER_TIME_NEVER)
        return;

    uint64_t tick = tick_of(deadline);
    if (tick < queue->position)
        tick = queue->position; /* overdue: in the position's own slot, found first */
    uint64_t difference = tick ^ queue->position;
    unsigned level =
        difference == 0 ? 0 : (63u - (unsigned)__builtin_clzll(difference)) / TIMER_LEVEL_BITS;
    unsigned slot = (unsigned)(tick >> (level * TIMER_LEVEL_BITS)) & (TIMER_LEVEL_SLOTS - 1);

    timer->deadline_ns = deadline;
    timer->level = (uint8_t)level;
    timer->slot = (uint8_t)slot;
    struct timer_slot *at = &queue->slots[level][slot];
    list_push_back(&at->timers, &timer->node);
    if (deadline < at->earliest_ns)
        at->earliest_ns = deadline;
    queue->slots_occupied[level] |= 1ULL << slot;
    queue->levels_occupied |= (uint16_t)(1u << level);
    queue->count++;
}

/* The slot of the earliest timer; false where none is armed. */
static bool first_slot(const struct timer_queue *queue, unsigned *ret_level, unsigned *ret_slot)
{
    if (queue->levels_occupied == 0)
        return false;
    *ret_level = (unsigned)__builtin_ctz(queue->levels_occupied);
    *ret_slot = (unsigned)__builtin_ctzll(queue->slots_occupied[*ret_level]);
    return true;
}

foyer_time_ns timer_queue_next_deadline(const struct timer_queue *queue)
{
    unsigned level, slot;
    if (!first_slot(queue, &level, &slot))
        return FOYER_TIME_NEVER;
    return queue->slots[level][slot].earliest_ns;
}

/* The first tick that belongs to a slot of the position's round. */
static uint64_t slot_start(const struct timer_queue *queue, unsigned level, unsigned slot)
{
    unsigned shift = level * TIMER_LEVEL_BITS;
    uint64_t round = queue->position & ~((1ULL << shift << TIMER_LEVEL_BITS) - 1);
    return round | (uint64_t)slot << shift;
}

/* Moves the position to the slot and its timers to lower levels. */
static void cascade(struct timer_queue *queue, unsigned level, unsigned slot)
{
    queue->position = slot_start(queue, level, slot);
    struct list_node *timers = &queue->slots[level][slot].timers;
    struct list_node *node;
    while ((node = list_first(timers)) != NULL) {
        struct timer *timer = TIMER_ENTRY(node, struct timer, node);
        timer_set(queue, timer, timer->deadline_ns);
    }
}

/* The first due timer of a slot; where there is none, its earliest deadline is made exact. */
static struct timer *find_due(struct timer_slot *slot, foyer_time_ns now)
{
    foyer_time_ns earliest = FOYER_TIME_NEVER;
    if (slot->earliest_ns > now)
        return NULL;
    LIST_FOREACH (&slot->timers, node) {
        struct timer *timer = TIMER_ENTRY(node, struct timer, node);
        if (timer->deadline_ns <= now)
            return timer;
        if (timer->deadline_ns < earliest)
            earliest = timer->deadline_ns;
    }
    slot->earliest_ns = earliest;
    return NULL;
}

struct timer *timer_queue_pop_due(struct timer_queue *queue, foyer_time_ns now)
{
    unsigned level, slot;
    while (first_slot(queue, &level, &slot)) {
        uint64_t start = slot_start(queue, level, slot);
        if (start > tick_of(now))
            break;
        if (level > 0) {
            cascade(queue, level, slot);
            continue;
        }
        queue->position = start;
        struct timer *timer = find_due(&queue->slots[0][slot], now);
        if (timer == NULL)
            return NULL;
        timer_cancel(queue, timer);
        return timer;
    }
    /*
     * Nothing is due. The position follows the time, so that new timers land on low levels; no
     * armed timer changes its place, as the time has not reached the next slot.
     */
    if (tick_of(now) > queue->position)
        queue->position = tick_of(now);
    return NULL;
}
