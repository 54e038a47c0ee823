/*
 * epoll_wait and its like: look, spin, announce, sleep in the kernel, look again. What is ready is
 * epoll_ready.c's.
 */
#define _GNU_SOURCE

#include "preload/epoll_private.h"

#include "preload/raw.h"
#include "preload/real.h"

#define KERNEL_INTERVAL_NS 20000 /* how long busy foyer sockets may keep the kernel's waiting */

static void wait_cancelled(void *context)
{
    struct epoll_wait_call *call = context;
    atomic_fetch_sub(&call->epoll->sleepers, 1);
    keep_sleep_end();
    object_release(&call->epoll->object);
}

/* The kernel's part, with a timeout in nanoseconds; -1: for ever. */
static int kernel_wait(const struct epoll_wait_call *call, int from, int64_t left_ns)
{
    int count;
    struct epoll_event *events = call->events + from;
    if (left_ns > 0 && left_ns % 1000000 != 0 && REAL(epoll_pwait2) != NULL) {
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        count = REAL(epoll_pwait2)(call->epfd, events, call->max - from, &left, call->mask);
        if (count >= 0 || errno != ENOSYS)
            return count < 0 ? -errno : count;
    }
    int64_t left_ms = left_ns < 0 ? -1 : (left_ns + 999999) / 1000000;
    if (left_ms > INT32_MAX)
        left_ms = INT32_MAX;
    count = REAL(epoll_pwait)(call->epfd, events, call->max - from, (int)left_ms, call->mask);
    return count < 0 ? -errno : count;
}

/* Adds what the kernel has now, without sleeping. The count of events, -errno. */
static int check_kernel(const struct epoll_wait_call *call, int have, int64_t now_ns)
{
    if (have == call->max)
        return have;
    call->epoll->kernel_checked_ns = now_ns;
    int count = kernel_wait(call, have, 0);
    if (count < 0)
        return have > 0 ? have : count;
    return have + epoll_sort_events(call, have, count);
}

/*
 * What is there now. Busy foyer sockets alone cost no system call, except that the kernel's
 * descriptors and doorbells get their turn every KERNEL_INTERVAL_NS; and since either kind may
 * fill the program's array, the two take turns in being first.
 */
static int look(const struct epoll_wait_call *call, bool may_sleep)
{
    struct epoll_object *epoll = call->epoll;
    int64_t now = clock_ns();
    bool is_due = now - epoll->kernel_checked_ns >= KERNEL_INTERVAL_NS;
    if (is_due && !epoll->was_kernel_first) {
        epoll->was_kernel_first = true;
        int count = check_kernel(call, 0, now);
        return count < 0 ? count : epoll_collect(call, count, call->max, true);
    }
    int count = epoll_collect(call, 0, call->max, true);
    /* With nothing here the kernel is asked by the sleep that follows. */
    if (count == 0 ? !may_sleep : is_due) {
        epoll->was_kernel_first = false;
        return check_kernel(call, count, now);
    }
    return count;
}

static int sleep_once(struct epoll_wait_call *call)
{
    int64_t left_ns = deadline_left_ns(call->deadline_ns);
    int count;
    pthread_cleanup_push(wait_cancelled, call);
    count = kernel_wait(call, 0, left_ns);
    pthread_cleanup_pop(0);
    return count;
}

struct spin_context {
    const struct epoll_wait_call *call;
    int count;
};

static bool spin_collect(void *context)
{
    struct spin_context *spin = context;
    spin->count = epoll_collect(spin->call, 0, spin->call->max, false);
    return spin->count > 0;
}

static void disarm(struct epoll_object *epoll)
{
    if (keep_is_shared())
        epoll_each_listener(epoll, keep_disarm);
}

static int wait_loop(struct epoll_wait_call *call, bool may_sleep)
{
    struct epoll_object *epoll = call->epoll;
    for (unsigned rounds = 0;; rounds++) {
        struct spin_context spin = {.call = call};
        if (keep_is_shared())
            epoll_each_listener(epoll, keep_look);
        int count = look(call, may_sleep);
        if (count != 0 || !may_sleep)
            return count;
        bool may_come = epoll->active_count > 0 || (epoll->listener_count > 0 && keep_is_active());
        if (rounds == 0 && may_come && wait_spin(spin_collect, &spin))
            return spin.count;
        if (epoll->parked_count > 0 && atomic_load(&epoll->sleepers) == 0)
            epoll_unpark(epoll); /* a thread was cancelled in its sleep */
        atomic_fetch_add(&epoll->sleepers, 1);
        epoll_note_waiter(epoll); /* another thread may have forked; it counts those who sleep */
        keep_sleep_begin();
        if (epoll_announce_all(epoll, call->epfd)) {
            atomic_fetch_sub(&epoll->sleepers, 1);
            keep_sleep_end();
            disarm(epoll);
            epoll_unpark(epoll);
            continue;
        }
        count = sleep_once(call);
        atomic_fetch_sub(&epoll->sleepers, 1);
        keep_sleep_end();
        disarm(epoll);
        epoll_unpark(epoll);
        if (count <= 0)
            return count;
        epoll->kernel_checked_ns = clock_ns();
        count = epoll_sort_events(call, 0, count);
        count = epoll_collect(call, count, call->max, true);
        if (count > 0)
            return count;
    }
}

static int wait_core(int epfd, struct epoll_event *events, int max, int64_t timeout_ns,
                     const sigset_t *mask, struct epoll_object *epoll)
{
    uint32_t arrivals[EPOLL_ORDERED];
    struct epoll_wait_call call = {
        .epoll = epoll,
        .epfd = epfd,
        .events = events,
        .max = max,
        .mask = mask,
        .deadline_ns = timeout_ns < 0 ? NO_DEADLINE : clock_ns() + timeout_ns,
        .stamp = atomic_fetch_add(&epoll->next_stamp, 1) + 1,
        .arrivals = arrivals,
    };
    if (max <= 0 || events == NULL)
        return -EINVAL;
    epoll_note_waiter(epoll);
    uint32_t doorbells = atomic_load(&epoll->doorbell_count);
    int count = wait_loop(&call, timeout_ns != 0);
    epoll_put_in_order(&call, count);
    bool has_doorbell = atomic_load(&epoll->doorbell_count) != doorbells;
    bool is_level = epoll->is_nested || epoll_is_shared(epoll);
    if (is_level || ((count > 0 || has_doorbell) && atomic_load(&epoll->sleepers) > 0))
        epoll_settle(epoll, epfd, is_level, has_doorbell);
    return count;
}

/* mask may be NULL. */
static int wait_ms(int epfd, struct epoll_event *events, int max, int timeout_ms,
                   const sigset_t *mask)
{
    struct epoll_object *epoll = epoll_get(epfd);
    if (epoll == NULL)
        return table_is_hidden(epfd) ? result_int(-EBADF)
                                     : REAL(epoll_pwait)(epfd, events, max, timeout_ms, mask);
    int64_t timeout_ns = timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000;
    int count = wait_core(epfd, events, max, timeout_ns, mask, epoll);
    object_release(&epoll->object);
    return result_int(count);
}

ENTRY int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout_ms,
                      const sigset_t *mask)
{
    return wait_ms(epfd, events, max, timeout_ms, mask);
}

ENTRY int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
    if (table_peek(epfd) == NULL)
        return REAL(epoll_wait)(epfd, events, max, timeout_ms);
    return wait_ms(epfd, events, max, timeout_ms, NULL);
}

ENTRY int epoll_pwait2(int epfd, struct epoll_event *events, int max,
                       const struct timespec *timeout, const sigset_t *mask)
{
    struct epoll_object *epoll = epoll_get(epfd);
    if (epoll == NULL) {
        if (REAL(epoll_pwait2) == NULL || table_is_hidden(epfd))
            return result_int(table_is_hidden(epfd) ? -EBADF : -ENOSYS);
        return REAL(epoll_pwait2)(epfd, events, max, timeout, mask);
    }
    int64_t timeout_ns = -1;
    if (timeout != NULL)
        timeout_ns = timeout->tv_sec > 1000000000
                         ? -1
                         : (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    int count = wait_core(epfd, events, max, timeout_ns, mask, epoll);
    object_release(&epoll->object);
    return result_int(count);
}
