/*
 * A writer of small messages that is faster than their reader is held back before the queue between
 * them grows long.
 *
 * A ring has room for thousands of small messages. A flood of them fills it once the reader has been
 * away for a moment, and it stays full, since the reader is hardly faster than the writer: each
 * message then waits for thousands that are before it, and none arrives sooner for that. So the
 * writer waits for the reader to take some, awake and no longer than any spin. Nothing is refused to
 * it: its bytes are sent already, and where the reader sleeps, is slow or has lost its core, all of
 * the ring is there as ever. Who does not sleep (O_NONBLOCK) is not held back, nor who sends much at
 * a time and so wants bandwidth.
 *
 * A reader that takes whatever is there is fastest where that is much, and its queue is gone each time
 * it comes: a burst, not a standing queue (RFC 8289). It is left alone.
 *
 * Called by data.c after a send, without a lock; calls wait.c.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <sched.h>

#define HOLD_STEP 2048u  /* so much is to be taken until the writer goes on, */
#define HOLD_TIME_US 8   /* in this time; else the reader is slow */
#define HOLD_BATCH 3072u /* a reader of messages does not take so much between two looks */
#define HOLD_PAUSES 8    /* between two looks: each takes the cache line from the reader */

/*
 * Bytes without a hold: after one that has met a sleeping reader; and after one that has met a slow
 * one, or one of batches. Of these twice as many after the next, since who has lost its core for a
 * moment looks like one.
 */
#define HOLD_OFF_ASLEEP 32768u
#define HOLD_OFF_MIN 4096u
#define HOLD_OFF_MAX 1048576u

struct hold {
    const struct foyer_ring *ring;
    uint32_t tail; /* when the writer looked first */
    uint32_t taken;
};

static bool has_taken(void *context)
{
    struct hold *hold = context;
    for (unsigned i = 0; i < HOLD_PAUSES; i++)
        pause_cpu();
    hold->taken = foyer_ring_tail(hold->ring) - hold->tail;
    return hold->taken >= HOLD_STEP;
}

/* For how many bytes there is no hold after this one. */
static uint32_t await_reader(struct hold *hold, uint32_t off_bytes)
{
    bool is_quick = wait_look(has_taken, hold, HOLD_TIME_US);
    if (is_quick && hold->taken < HOLD_BATCH)
        return 0;
    bool was_asleep = hold->taken == 0;
    if (!is_quick)
        sched_yield(); /* it may have been woken on this very core */
    if (!is_quick && !wait_look(has_taken, hold, preload_config.spin_us) && was_asleep)
        return HOLD_OFF_ASLEEP;
    if (was_asleep)
        return 0;
    return off_bytes == 0 ? HOLD_OFF_MIN : off_bytes < HOLD_OFF_MAX ? 2 * off_bytes : off_bytes;
}

void hold_back(struct channel *channel, uint32_t used)
{
    uint32_t head = atomic_load_explicit(&channel->tx.shared->head, memory_order_relaxed);
    uint32_t from = atomic_load_explicit(&channel->hold_off_from, memory_order_relaxed);
    uint32_t off_bytes = atomic_load_explicit(&channel->hold_off_bytes, memory_order_relaxed);
    if (head - from < off_bytes || channel->tx_nook == NULL || preload_config.spin_us == 0 ||
        preload_config.is_sandboxed) /* it might not live through sched_yield() */
        return;
    struct hold hold = {.ring = &channel->tx, .tail = head - used};
    off_bytes = await_reader(&hold, off_bytes);
    atomic_store_explicit(&channel->hold_off_bytes, off_bytes, memory_order_relaxed);
    atomic_store_explicit(&channel->hold_off_from, head, memory_order_relaxed);
}
