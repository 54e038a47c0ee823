/*
 * The one loop: descriptors by epoll, timers by base/timer.h, and work that others leave for the
 * end of a turn. A turn: wait, serve ready descriptors, run due timers, run the turn's work
 * (loop->work), free what died meanwhile.
 *
 * Bounded and fair: a descriptor's callback does a bounded piece of work per turn and says by
 * level-triggered readiness, or loop_again, that there is more.
 */
#ifndef FOYER_DAEMON_LOOP_H
#define FOYER_DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/timer.h"
#include "foyer/types.h"

struct loop;

/* A descriptor in epoll, embedded in the object that it belongs to. All zero: not watched. */
struct watch {
    int fd;
    bool is_active;
    void (*ready)(struct watch *watch, uint32_t events); /* EPOLL* */
};

struct loop_timer {
    struct timer timer;
    void (*due)(struct loop_timer *timer);
};

/* Embedded in objects that are freed at the end of the turn, when no event can name them. */
struct loop_garbage {
    struct loop_garbage *next;
    void *memory;
};

struct loop {
    int epoll_fd;
    bool is_stopping;     /* set to leave loop_run */
    bool again;           /* work is left: the next turn does not wait */
    foyer_time_ns now_ns; /* CLOCK_MONOTONIC at the start of the turn */
    struct timer_queue timers;
    struct loop_garbage *garbage;
    void (*work)(void *context);
    void *context;
};

int loop_init(struct loop *loop, void (*work)(void *context), void *context);
void loop_finish(struct loop *loop);
/* Until is_stopping. Negative errno where epoll fails. */
int loop_run(struct loop *loop);

foyer_time_ns loop_clock_ns(void);

/* events: EPOLLIN and so on. -ENOMEM, -ENOSPC, -EPERM as epoll_ctl. */
int loop_watch(struct loop *loop, struct watch *watch, int fd, uint32_t events,
               void (*ready)(struct watch *watch, uint32_t events));
int loop_watch_change(struct loop *loop, struct watch *watch, uint32_t events);
/* Idempotent; before the descriptor is closed. */
void loop_unwatch(struct loop *loop, struct watch *watch);

void loop_timer_set(struct loop *loop, struct loop_timer *timer, foyer_time_ns deadline,
                    void (*due)(struct loop_timer *timer));
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

static inline void loop_again(struct loop *loop)
{
    loop->again = true;
}

/* free(memory) at the end of the turn; garbage lies in memory. */
void loop_free_later(struct loop *loop, struct loop_garbage *garbage, void *memory);

#endif
