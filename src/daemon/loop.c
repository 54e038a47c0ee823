#define _GNU_SOURCE /* epoll_pwait2 */

#include "daemon/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LOOP_EVENTS_MAX 256
#define LOOP_TIMERS_MAX 1024 /* per turn */

foyer_time_ns loop_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (foyer_time_ns)now.tv_sec * FOYER_NS_PER_S + (foyer_time_ns)now.tv_nsec;
}

int loop_init(struct loop *loop, void (*work)(void *context), void *context)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    loop->is_stopping = false;
    loop->again = false;
    loop->now_ns = loop_clock_ns();
    timer_queue_init(&loop->timers, loop->now_ns);
    loop->garbage = NULL;
    loop->work = work;
    loop->context = context;
    return 0;
}

static void free_garbage(struct loop *loop)
{
    while (loop->garbage != NULL) {
        void *memory = loop->garbage->memory;
        loop->garbage = loop->garbage->next;
        free(memory);
    }
}

void loop_finish(struct loop *loop)
{
    free_garbage(loop);
    timer_queue_finish(&loop->timers);
    close(loop->epoll_fd);
}

/* Waits until the next timer; rounds up, so that a turn never comes too early for its timer. */
static int wait_events(struct loop *loop, struct epoll_event *events)
{
    static bool has_pwait2 = true;
    foyer_time_ns deadline = timer_queue_next_deadline(&loop->timers);
    foyer_time_ns now = loop->again ? 0 : loop_clock_ns();
    foyer_time_ns wait_ns = loop->again || deadline <= now ? 0 : deadline - now;
    bool forever = !loop->again && deadline == FOYER_TIME_NEVER;
    loop->again = false;
    if (has_pwait2) {
        struct timespec timeout = {.tv_sec = (time_t)(wait_ns / FOYER_NS_PER_S),
                                   .tv_nsec = (long)(wait_ns % FOYER_NS_PER_S)};
        int count =
            epoll_pwait2(loop->epoll_fd, events, LOOP_EVENTS_MAX, forever ? NULL : &timeout, NULL);
        if (count >= 0 || errno != ENOSYS)
            return count;
        has_pwait2 = false; /* before Linux 5.11 */
    }
    uint64_t wait_ms = (wait_ns + FOYER_NS_PER_MS - 1) / FOYER_NS_PER_MS;
    int timeout_ms = forever ? -1 : wait_ms > 60000 ? 60000 : (int)wait_ms;
    return epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_MAX, timeout_ms);
}

/*
 * Hang-ups first: a program that closes a socket and then asks for its port expects to get it, and
 * epoll tells both at once, in any order.
 */
static void dispatch(const struct epoll_event *events, int count, bool hang_ups)
{
    for (int i = 0; i < count; i++) {
        struct watch *watch = events[i].data.ptr;
        if (watch->is_active && ((events[i].events & EPOLLHUP) != 0) == hang_ups)
            watch->ready(watch, events[i].events);
    }
}

int loop_run(struct loop *loop)
{
    struct epoll_event events[LOOP_EVENTS_MAX];
    while (!loop->is_stopping) {
        int count = wait_events(loop, events);
        if (count < 0 && errno != EINTR)
            return -errno;
        loop->now_ns = loop_clock_ns();
        dispatch(events, count, true);
        dispatch(events, count, false);
        for (unsigned i = 0; i < LOOP_TIMERS_MAX; i++) {
            struct timer *timer = timer_queue_pop_due(&loop->timers, loop->now_ns);
            if (timer == NULL)
                break;
            struct loop_timer *owner = TIMER_ENTRY(timer, struct loop_timer, timer);
            owner->due(owner);
        }
        loop->work(loop->context);
        free_garbage(loop);
    }
    return 0;
}

int loop_watch(struct loop *loop, struct watch *watch, int fd, uint32_t events,
               void (*ready)(struct watch *watch, uint32_t events))
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return -errno;
    watch->fd = fd;
    watch->is_active = true;
    watch->ready = ready;
    return 0;
}

int loop_watch_change(struct loop *loop, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0 ? 0 : -errno;
}

void loop_unwatch(struct loop *loop, struct watch *watch)
{
    if (!watch->is_active)
        return;
    /* Explicitly: a duplicate elsewhere (a peer bell) would keep the entry alive after close. */
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->is_active = false;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, foyer_time_ns deadline,
                    void (*due)(struct loop_timer *timer))
{
    timer->due = due;
    timer_set(&loop->timers, &timer->timer, deadline);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    timer_cancel(&loop->timers, &timer->timer);
}

void loop_free_later(struct loop *loop, struct loop_garbage *garbage, void *memory)
{
    garbage->memory = memory;
    garbage->next = loop->garbage;
    loop->garbage = garbage;
}
