/*
 * poll, ppoll, select and pselect on one core.
 *
 * Sets without a foyer descriptor go straight to libc. Otherwise: look at the foyer sockets in
 * memory; if none is ready, announce, look again, and sleep in the kernel's ppoll on the whole
 * set, in which a foyer socket is watched for its doorbell. Signals, timeouts and the kernel's
 * descriptors are the kernel's business.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/raw.h"
#include "preload/real.h"

#define STACK_ITEMS 128u

/* The caller's set, and what the kernel gets. */
struct poll_set {
    struct pollfd *fds;      /* the program's */
    struct pollfd *kernel;   /* foyer descriptors: -1 or watched for POLLIN; twice as many */
    struct object **objects; /* with references; NULL for the kernel's descriptors */
    nfds_t count;
    nfds_t listener_count; /* how many bells follow in kernel */
    nfds_t kernel_count;   /* descriptors that are not foyer's */
    unsigned rounds;
};

/* What poll says of a foyer descriptor, cut to what was asked. */
static short item_readiness(const struct poll_set *set, nfds_t index, bool will_sleep)
{
    struct object *object = set->objects[index];
    const struct pollfd *item = &set->fds[index];
    uint32_t asked = (uint32_t)(uint16_t)item->events | POLLERR | POLLHUP;
    if (object->kind == OBJECT_EPOLL)
        return (asked & POLLIN) != 0 && epoll_is_ready(object, will_sleep)
                   ? (short)(item->events & (POLLIN | POLLRDNORM))
                   : 0;
    return (short)(socket_readiness((struct socket_object *)object, item->fd) & asked);
}

static int scan_foyer(const struct poll_set *set, bool will_sleep)
{
    int ready = 0;
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] == NULL)
            continue;
        set->fds[i].revents = item_readiness(set, i, will_sleep);
        ready += set->fds[i].revents != 0;
    }
    return ready;
}

/* Takes over what the kernel said of its own descriptors; how many are ready. */
static int merge_kernel(const struct poll_set *set)
{
    int ready = 0;
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] != NULL &&
            (set->objects[i]->kind == OBJECT_SOCKET || set->kernel[i].fd < 0))
            continue;
        short bits = set->kernel[i].revents;
        if (set->objects[i] != NULL)
            bits = (short)(bits | set->fds[i].revents);
        set->fds[i].revents = bits;
        ready += bits != 0;
    }
    return ready;
}

/* Foyer sockets are left out of the kernel's set, or watched for their doorbell. */
static void arm(struct poll_set *set, bool with_bells)
{
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] == NULL || set->objects[i]->kind != OBJECT_SOCKET)
            continue;
        set->kernel[i].fd = with_bells ? set->fds[i].fd : -1;
        set->kernel[i].events = POLLIN;
        set->kernel[i].revents = 0;
    }
}

/* Listeners' kept connections have bells of their own, which come behind the set. How many. */
static nfds_t announce(const struct poll_set *set)
{
    nfds_t listener_count = 0;
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] == NULL || set->objects[i]->kind != OBJECT_SOCKET)
            continue;
        struct socket_object *sock = (struct socket_object *)set->objects[i];
        if (slot_state(sock) == FOYER_SLOT_LISTENING) {
            keep_note_acceptor(sock);
            struct pollfd *bell = &set->kernel[set->count + listener_count++];
            *bell = (struct pollfd){.fd = keep_poll_fd(sock), .events = POLLIN};
            keep_arm(sock);
        }
        socket_announce(sock, set->fds[i].fd, (uint32_t)(uint16_t)set->fds[i].events);
    }
    return listener_count;
}

static void each_listener(const struct poll_set *set, void (*act)(const struct socket_object *sock))
{
    for (nfds_t i = 0; i < set->count; i++) {
        const struct object *object = set->objects[i];
        const struct socket_object *sock = (const struct socket_object *)object;
        if (object != NULL && object->kind == OBJECT_SOCKET &&
            slot_state(sock) == FOYER_SLOT_LISTENING)
            act(sock);
    }
}

/* After the sleep, where one of those bells has rung. */
static void take_rings(const struct poll_set *set)
{
    bool has_rung = false;
    for (nfds_t i = 0; i < set->listener_count; i++)
        has_rung |= set->kernel[set->count + i].revents != 0;
    if (has_rung)
        each_listener(set, keep_take_rings);
}

static void bells(const struct poll_set *set, void (*act)(struct socket_object *sock))
{
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] != NULL && set->objects[i]->kind == OBJECT_SOCKET)
            act((struct socket_object *)set->objects[i]);
    }
}

/* Empties the doorbells that have rung, but for those that others sleep on. */
static void drain_bells(const struct poll_set *set)
{
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] == NULL || set->objects[i]->kind != OBJECT_SOCKET ||
            set->kernel[i].revents == 0)
            continue;
        struct socket_object *sock = (struct socket_object *)set->objects[i];
        if ((set->kernel[i].revents & POLLHUP) != 0)
            socket_note_orphan(sock);
        bell_drain(sock, set->fds[i].fd, set->rounds);
    }
}

static bool set_is_ready(void *context)
{
    return scan_foyer(context, false) > 0;
}

static void set_release(struct poll_set *set)
{
    for (nfds_t i = 0; i < set->count; i++) {
        if (set->objects[i] != NULL)
            object_release(set->objects[i]);
    }
}

static void sleep_cancelled(void *context)
{
    struct poll_set *set = context;
    bells(set, bell_leave);
    keep_sleep_end();
    set_release(set);
}

/* Asks the kernel about its descriptors alone, without sleeping. */
static int check_kernel(struct poll_set *set, const sigset_t *mask, int ready)
{
    struct timespec zero = {0};
    if (set->kernel_count == 0 && ready > 0)
        return ready;
    arm(set, false);
    int count = REAL(ppoll)(set->kernel, set->count, &zero, mask);
    if (count < 0)
        return ready > 0 ? ready : -errno;
    int epolls = 0;
    for (nfds_t i = 0; i < set->count; i++)
        epolls += set->objects[i] != NULL && set->objects[i]->kind == OBJECT_EPOLL &&
                  set->fds[i].revents != 0;
    /* merge counts epolls, whose memory part is in ready already. */
    return merge_kernel(set) + ready - epolls;
}

/* The kernel's ppoll; a cancelled thread leaves nothing behind. */
static int sleep_in_kernel(struct poll_set *set, const struct timespec *limit, const sigset_t *mask)
{
    int count;
    pthread_cleanup_push(sleep_cancelled, set);
    count = REAL(ppoll)(set->kernel, set->count + set->listener_count, limit, mask);
    pthread_cleanup_pop(0);
    return count < 0 ? -errno : count;
}

/* One sleep. 0: look again; -errno; *ret_is_over: the time is up. */
static int sleep_once(struct poll_set *set, int64_t deadline, const sigset_t *mask,
                      bool *ret_is_over)
{
    struct timespec memory;
    int count = 0;
    keep_sleep_begin();
    set->listener_count = announce(set);
    bells(set, bell_enter);
    if (scan_foyer(set, true) == 0) {
        arm(set, true);
        count = sleep_in_kernel(set, time_limit(deadline_left_ns(deadline), &memory), mask);
        *ret_is_over = count == 0;
    }
    bells(set, bell_leave);
    keep_sleep_end();
    if (set->listener_count > 0 && keep_is_shared())
        each_listener(set, keep_disarm);
    if (count <= 0)
        return count;
    take_rings(set);
    drain_bells(set);
    return 0;
}

static int poll_wait(struct poll_set *set, int64_t deadline, bool may_sleep, const sigset_t *mask)
{
    for (set->rounds = 0;; set->rounds++) {
        if (keep_is_shared())
            each_listener(set, keep_look);
        int ready = scan_foyer(set, false);
        if (ready > 0 || !may_sleep)
            return check_kernel(set, mask, ready);
        if (set->rounds == 0 && wait_spin(set_is_ready, set))
            continue;
        bool is_over = false;
        int error = sleep_once(set, deadline, mask, &is_over);
        if (error < 0)
            return error;
        ready = scan_foyer(set, false);
        if (ready > 0)
            return check_kernel(set, mask, ready);
        int kernel_ready = merge_kernel(set);
        if (kernel_ready > 0 || is_over)
            return kernel_ready;
        for (nfds_t i = 0; i < set->count; i++)
            set->kernel[i].revents = 0;
    }
}

/* Fills the set; how many foyer objects are in it. */
static nfds_t set_fill(struct poll_set *set)
{
    nfds_t foyer_count = 0;
    set->kernel_count = 0;
    for (nfds_t i = 0; i < set->count; i++) {
        int fd = set->fds[i].fd;
        struct object *object = table_peek(fd) == NULL ? NULL : table_get(fd);
        set->fds[i].revents = 0;
        set->kernel[i] = set->fds[i];
        if (object != NULL && object->kind == OBJECT_HIDDEN) {
            set->kernel[i].fd = INT32_MAX; /* POLLNVAL */
            object = NULL;
        }
        set->objects[i] = object;
        foyer_count += object != NULL;
        set->kernel_count += (object == NULL || object->kind == OBJECT_EPOLL) && fd >= 0;
    }
    return foyer_count;
}

/* timeout NULL: for ever. The program's mask or NULL. */
static int poll_core(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                     const sigset_t *mask)
{
    struct pollfd stack_kernel[2 * STACK_ITEMS];
    struct object *stack_objects[STACK_ITEMS];
    struct poll_set set = {
        .fds = fds, .count = count, .kernel = stack_kernel, .objects = stack_objects};
    if (timeout != NULL &&
        (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999))
        return -EINVAL;
    if (count > STACK_ITEMS) {
        if (count > preload_config.program_nofile.rlim_cur)
            return -EINVAL;
        set.kernel = malloc(2 * count * sizeof(*set.kernel));
        set.objects = malloc(count * sizeof(*set.objects));
        if (set.kernel == NULL || set.objects == NULL) {
            free(set.kernel);
            free(set.objects);
            return -ENOMEM;
        }
    }
    bool may_sleep = timeout == NULL || timeout->tv_sec != 0 || timeout->tv_nsec != 0;
    int64_t deadline = may_sleep ? deadline_of(timeout) : NO_DEADLINE;
    set_fill(&set);
    int result = poll_wait(&set, deadline, may_sleep, mask);
    set_release(&set);
    if (set.kernel != stack_kernel) {
        free(set.kernel);
        free(set.objects);
    }
    return result;
}

static bool has_foyer(struct pollfd *fds, nfds_t count)
{
    if (table_size == 0)
        return false;
    for (nfds_t i = 0; i < count; i++) {
        if (table_peek(fds[i].fd) != NULL)
            return true;
    }
    return false;
}

ENTRY int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (likely(!has_foyer(fds, count)))
        return REAL(poll)(fds, count, timeout_ms);
    struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                               .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    return result_int(poll_core(fds, count, timeout_ms < 0 ? NULL : &timeout, NULL));
}

ENTRY int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask)
{
    if (likely(!has_foyer(fds, count)))
        return REAL(ppoll)(fds, count, timeout, mask);
    return result_int(poll_core(fds, count, timeout, mask));
}

extern void __chk_fail(void) __attribute__((noreturn));
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t capacity);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t capacity);

ENTRY int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t capacity)
{
    if (capacity / sizeof(*fds) < count)
        __chk_fail();
    return poll(fds, count, timeout_ms);
}

ENTRY int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                      const sigset_t *mask, size_t capacity)
{
    if (capacity / sizeof(*fds) < count)
        __chk_fail();
    return ppoll(fds, count, timeout, mask);
}

/* ---- select -------------------------------------------------------------------------------- */

#define WORD_BITS (8 * (int)sizeof(unsigned long))

static bool bit_is_set(const fd_set *set, int fd)
{
    /* Some programs allocate larger sets than FD_SETSIZE; FD_ISSET would not look there. */
    return set != NULL &&
           (((const unsigned long *)(const void *)set)[fd / WORD_BITS] >> (fd % WORD_BITS) & 1) !=
               0;
}

static void bit_set(fd_set *set, int fd)
{
    if (set == NULL)
        return;
    ((unsigned long *)(void *)set)[fd / WORD_BITS] |= 1ul << (fd % WORD_BITS);
}

static void words_clear(fd_set *set, int count)
{
    if (set != NULL)
        memset(set, 0, (size_t)((count + WORD_BITS - 1) / WORD_BITS) * sizeof(unsigned long));
}

static bool select_has_foyer(int count, const fd_set *reads, const fd_set *writes,
                             const fd_set *excepts)
{
    for (int fd = 0; fd < count && (unsigned)fd < table_size; fd++) {
        if (table_peek(fd) != NULL &&
            (bit_is_set(reads, fd) || bit_is_set(writes, fd) || bit_is_set(excepts, fd)))
            return true;
    }
    return false;
}

/* POLLIN_SET and so on of fs/select.c: which poll bits make a select bit. */
#define READ_BITS (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define WRITE_BITS (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)

static int select_store(const struct pollfd *items, nfds_t item_count, int count, fd_set *reads,
                        fd_set *writes, fd_set *excepts)
{
    int bits = 0;
    words_clear(reads, count);
    words_clear(writes, count);
    words_clear(excepts, count);
    for (nfds_t i = 0; i < item_count; i++) {
        short got = items[i].revents, asked = items[i].events;
        if ((asked & POLLIN) != 0 && (got & READ_BITS) != 0) {
            bit_set(reads, items[i].fd);
            bits++;
        }
        if ((asked & POLLOUT) != 0 && (got & WRITE_BITS) != 0) {
            bit_set(writes, items[i].fd);
            bits++;
        }
        if ((asked & POLLPRI) != 0 && (got & POLLPRI) != 0) {
            bit_set(excepts, items[i].fd);
            bits++;
        }
    }
    return bits;
}

static int select_poll(struct pollfd *items, int count, fd_set *reads, fd_set *writes,
                       fd_set *excepts, const struct timespec *timeout, const sigset_t *mask)
{
    nfds_t item_count = 0;
    for (int fd = 0; fd < count; fd++) {
        short events = (short)((bit_is_set(reads, fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0) |
                               (bit_is_set(writes, fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0) |
                               (bit_is_set(excepts, fd) ? POLLPRI : 0));
        if (events != 0)
            items[item_count++] = (struct pollfd){.fd = fd, .events = events};
    }
    int64_t deadline = deadline_of(timeout);
    for (;;) {
        struct timespec memory;
        int ready =
            poll_core(items, item_count, time_limit(deadline_left_ns(deadline), &memory), mask);
        if (ready < 0)
            return ready;
        for (nfds_t i = 0; ready > 0 && i < item_count; i++) {
            if ((items[i].revents & POLLNVAL) != 0)
                return -EBADF;
        }
        fd_set *sets[3] = {reads, writes, excepts};
        if (ready == 0)
            return select_store(items, 0, count, sets[0], sets[1], sets[2]);
        /* POLLHUP alone does not make a descriptor writable for select: wait on without it. */
        bool is_selected = false;
        for (nfds_t i = 0; i < item_count; i++) {
            short got = items[i].revents, asked = items[i].events;
            is_selected |= ((asked & POLLIN) != 0 && (got & READ_BITS) != 0) ||
                           ((asked & POLLOUT) != 0 && (got & WRITE_BITS) != 0) ||
                           (got & POLLPRI) != 0;
            if (got == POLLHUP && (asked & POLLIN) == 0)
                items[i].fd = -1 - items[i].fd;
        }
        for (nfds_t i = 0; is_selected && i < item_count; i++) {
            if (items[i].fd < 0)
                items[i].fd = -1 - items[i].fd;
        }
        if (is_selected)
            return select_store(items, item_count, count, sets[0], sets[1], sets[2]);
    }
}

static int select_core(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                       const struct timespec *timeout, const sigset_t *mask)
{
    if (count < 0)
        return -EINVAL;
    if ((rlim_t)count > preload_config.real_nofile)
        count = (int)preload_config.real_nofile;
    struct pollfd *items = malloc(((size_t)count + 1) * sizeof(*items));
    if (items == NULL)
        return -ENOMEM;
    int result = select_poll(items, count, reads, writes, excepts, timeout, mask);
    free(items);
    return result;
}

ENTRY int select(int count, fd_set *reads, fd_set *writes, fd_set *excepts, struct timeval *timeout)
{
    if (likely(!select_has_foyer(count, reads, writes, excepts)))
        return REAL(select)(count, reads, writes, excepts, timeout);
    if (timeout == NULL)
        return result_int(select_core(count, reads, writes, excepts, NULL, NULL));
    if (timeout->tv_sec < 0 || timeout->tv_usec < 0)
        return result_int(-EINVAL);
    struct timespec limit = {.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000,
                             .tv_nsec = timeout->tv_usec % 1000000 * 1000};
    int64_t start = clock_ns();
    int result = select_core(count, reads, writes, excepts, &limit, NULL);
    /* Linux tells how much time was left (select(2)). */
    int64_t left_us =
        limit.tv_sec < 1000000000
            ? ((int64_t)limit.tv_sec * 1000000000 + limit.tv_nsec - (clock_ns() - start)) / 1000
            : (int64_t)limit.tv_sec * 1000000;
    if (left_us < 0 || result == 0)
        left_us = 0;
    timeout->tv_sec = left_us / 1000000;
    timeout->tv_usec = left_us % 1000000;
    return result_int(result);
}

ENTRY int pselect(int count, fd_set *reads, fd_set *writes, fd_set *excepts,
                  const struct timespec *timeout, const sigset_t *mask)
{
    if (likely(!select_has_foyer(count, reads, writes, excepts)))
        return REAL(pselect)(count, reads, writes, excepts, timeout, mask);
    return result_int(select_core(count, reads, writes, excepts, timeout, mask));
}
