/* accept() of connections that are kept, and sleeping on a listener that has some: see keep.c. */
#define _GNU_SOURCE

#include "preload/keep_private.h"

#include <sys/random.h>

#include "preload/raw.h"

#define POLL_EVENTS 32u
#define LONG_AGO_NS 1
#define LOOK_INTERVAL_NS 500000 /* between two stamps of one that is busy */

static _Atomic uint32_t sleepers; /* threads that sleep on a listener */

/*
 * For each listener, the kernel's epoll of those of its connections that are to ring: who is woken
 * takes the rings, and must not take those of another listener's sleepers.
 */
#define SETS_MAX 64u

static struct set {
    uint64_t listener_id;
    int fd;            /* hidden */
    int64_t looked_ns; /* when struct foyer_keep's accepts_ns was last written */
} sets[SETS_MAX];
static uint32_t set_count;

static _Atomic bool has_shared;   /* a listener that others accept from, too */
static _Atomic uint64_t identity; /* of this process, for foyer_slot.acceptor */

static struct set *find_set(uint64_t listener_id)
{
    for (uint32_t i = 0; i < set_count; i++) {
        if (sets[i].listener_id == listener_id)
            return &sets[i];
    }
    return NULL;
}

static int set_of(uint64_t listener_id)
{
    const struct set *set = find_set(listener_id);
    return set == NULL ? -1 : set->fd;
}

/* Asks for one ring when the connection is offered; with the lock held. */
static void arm(struct kept *kept, uint32_t events)
{
    struct socket_object *sock = kept->sock;
    int set = set_of(kept->key);
    struct epoll_event event = {
        .events = events | EPOLLONESHOT,
        .data.u64 = (uint64_t)sock->object.pool_index << 32 | (uint32_t)sock->hidden_fd,
    };
    int operation = sock->set_fd >= 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (set < 0 || (sock->is_armed && events == EPOLLIN))
        return;
    if (raw_epoll_ctl(set, operation, sock->hidden_fd, &event) < 0)
        return;
    sock->set_fd = set;
    sock->is_armed = true;
    atomic_store(&kept->keep->acceptor_waiting, 1);
}

static uint64_t own_identity(void)
{
    uint64_t value = atomic_load(&identity);
    while (value == 0) {
        uint64_t fresh = 0;
        if (getrandom(&fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh))
            fresh = (uint64_t)clock_ns();
        if (fresh != 0 && atomic_compare_exchange_strong(&identity, &value, fresh))
            value = fresh;
    }
    return value;
}

static bool is_shared(const struct foyer_slot *listener)
{
    return (atomic_load_explicit(&listener->options, memory_order_relaxed) & FOYER_SLOT_SHARED) !=
           0;
}

/* ---- accepting ----------------------------------------------------------------------------- */

void keep_forbid(struct socket_object *listener)
{
    uint32_t before = atomic_fetch_or(&listener->slot->options, FOYER_SLOT_NOT_KEPT);
    if ((before & FOYER_SLOT_NOT_KEPT) != 0)
        return;
    struct foyer_request request = {
        .type = FOYER_REQUEST_OPTIONS, .size = sizeof(request), .id = listener->id};
    session_tell(&request); /* foyerd dissolves those that are parked */
}

void keep_note_acceptor(struct socket_object *listener)
{
    _Atomic uint64_t *acceptor = &listener->slot->acceptor;
    uint64_t found = atomic_load(acceptor), self = own_identity();
    if (unlikely(found != self) &&
        (found != 0 || !atomic_compare_exchange_strong(acceptor, &found, self)) &&
        !is_shared(listener->slot))
        atomic_fetch_or(&listener->slot->options, FOYER_SLOT_SHARED);
    if (unlikely(is_shared(listener->slot)))
        atomic_store_explicit(&has_shared, true, memory_order_relaxed);
}

bool keep_is_shared(void)
{
    return atomic_load_explicit(&has_shared, memory_order_relaxed) && keep_is_active();
}

/* With the lock held: says when this process accepts, or last was about to. */
static void stamp(const struct socket_object *listener, int64_t accepts_ns)
{
    for (uint32_t i = 0; i < atomic_load(&kept_accepting.count); i++) {
        const struct kept *kept = &kept_accepting.items[i];
        if (kept->key == listener->id)
            atomic_store_explicit(&kept->keep->accepts_ns, accepts_ns, memory_order_relaxed);
    }
}

static void stamp_now(const struct socket_object *listener, int64_t interval_ns)
{
    if (atomic_load(&kept_accepting.count) == 0 || !is_shared(listener->slot))
        return;
    int64_t now_ns = clock_ns();
    if (!small_lock_take(&kept_lock))
        return;
    struct set *set = find_set(listener->id);
    if (set == NULL || now_ns - set->looked_ns >= interval_ns) {
        stamp(listener, now_ns);
        if (set != NULL)
            set->looked_ns = now_ns;
    }
    small_lock_give(&kept_lock);
}

void keep_look(const struct socket_object *listener)
{
    stamp_now(listener, LOOK_INTERVAL_NS);
}

void keep_disarm(const struct socket_object *listener)
{
    stamp_now(listener, 0);
}

bool keep_is_active(void)
{
    return atomic_load_explicit(&kept_accepting.count, memory_order_acquire) > 0;
}

bool keep_has_offer(const struct socket_object *listener)
{
    uint32_t count = atomic_load_explicit(&kept_accepting.count, memory_order_acquire);
    bool is_found = false;
    if (count == 0 || !small_lock_take(&kept_lock))
        return false;
    count = atomic_load(&kept_accepting.count);
    for (uint32_t i = 0; i < count && !is_found; i++)
        is_found = kept_accepting.items[i].key == listener->id &&
                   kept_state(&kept_accepting.items[i]) == FOYER_KEEP_OFFERED;
    small_lock_give(&kept_lock);
    return is_found;
}

/* The one that was offered first, out of the list; or NULL. */
static struct socket_object *take_offered(const struct socket_object *listener)
{
    struct socket_object *found = NULL;
    uint32_t first = KEPT_MAX;
    int64_t first_ns = INT64_MAX;
    if (!small_lock_take(&kept_lock))
        return NULL;
    for (uint32_t i = 0; i < atomic_load(&kept_accepting.count); i++) {
        struct kept *kept = &kept_accepting.items[i];
        if (kept->key != listener->id || kept_state(kept) != FOYER_KEEP_OFFERED)
            continue;
        int64_t offered_ns = atomic_load(&kept->keep->offered_ns);
        if (first == KEPT_MAX || offered_ns < first_ns) {
            first = i;
            first_ns = offered_ns;
        }
    }
    if (first != KEPT_MAX)
        found = kept_take_at(&kept_accepting, first).sock;
    small_lock_give(&kept_lock);
    return found;
}

static void sweep_accepting(void)
{
    if (!small_lock_take(&kept_lock))
        return;
    struct socket_object *gone = kept_take_useless(&kept_accepting);
    small_lock_give(&kept_lock);
    if (gone != NULL)
        kept_let_go(gone);
}

/* accept() found no number for it: it waits on. */
static void put_back(struct socket_object *sock)
{
    struct kept kept = {.sock = sock,
                        .keep = foyer_channel_keep(socket_channel_now(sock)->memory),
                        .key = sock->listener_id};
    bool is_in = small_lock_take(&kept_lock);
    if (is_in) {
        is_in = kept_put(&kept_accepting, &kept);
        small_lock_give(&kept_lock);
    }
    if (!is_in)
        kept_let_go(sock);
}

int keep_accept(struct socket_object *listener, int flags, struct socket_object **ret_sock)
{
    if (atomic_load_explicit(&kept_accepting.count, memory_order_acquire) == 0)
        return -EAGAIN;
    for (;;) {
        struct socket_object *sock = take_offered(listener);
        if (sock == NULL) {
            sweep_accepting();
            return -EAGAIN;
        }
        bool is_cloexec = (flags & SOCK_CLOEXEC) != 0;
        int fd = raw_fcntl(sock->hidden_fd, is_cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
        int error = fd < 0 ? fd : socket_check_limit(fd);
        if (error < 0) {
            put_back(sock);
            return error == -EINVAL ? -EMFILE : error;
        }
        struct foyer_keep *keep = foyer_channel_keep(socket_channel_now(sock)->memory);
        kept_take_over(sock);
        if (!foyer_keep_change(keep, FOYER_KEEP_OFFERED, FOYER_KEEP_OPEN)) {
            raw_close(fd);
            kept_let_go(sock);
            continue;
        }
        bool wants_nonblocking = (flags & SOCK_NONBLOCK) != 0;
        kept_match_nonblocking(fd, wants_nonblocking, kept_is_nonblocking(sock));
        kept_renew(sock,
                   (slot_options(listener) & FOYER_SLOT_INHERITED) |
                       (wants_nonblocking ? FOYER_SLOT_NONBLOCK : 0),
                   listener->slot);
        table_set(fd, &sock->object);
        *ret_sock = sock; /* with the list's reference */
        return fd;
    }
}

/* ---- sleeping on a listener ---------------------------------------------------------------- */

int keep_poll_fd(struct socket_object *listener)
{
    if (!keep_is_on() || (slot_options(listener) & FOYER_SLOT_NOT_KEPT) != 0 ||
        !small_lock_take(&kept_lock))
        return -1;
    int fd = set_of(listener->id);
    bool has_room = set_count < SETS_MAX;
    if (fd < 0 && has_room) {
        fd = (int)RAW(SYS_epoll_create1, EPOLL_CLOEXEC);
        if (fd >= 0)
            fd = table_hide(fd);
        if (fd >= 0)
            sets[set_count++] = (struct set){.listener_id = listener->id, .fd = fd};
    }
    small_lock_give(&kept_lock);
    if (fd < 0)
        keep_forbid(listener);
    return fd < 0 ? -1 : fd;
}

void keep_arm(const struct socket_object *listener)
{
    if (atomic_load(&kept_accepting.count) == 0 || !small_lock_take(&kept_lock))
        return;
    for (uint32_t i = 0; i < atomic_load(&kept_accepting.count); i++) {
        if (kept_accepting.items[i].key == listener->id)
            arm(&kept_accepting.items[i], EPOLLIN);
    }
    if (is_shared(listener->slot))
        stamp(listener, FOYER_KEEP_ACCEPTS);
    small_lock_give(&kept_lock);
    atomic_thread_fence(memory_order_seq_cst);
}

void keep_wake(const struct socket_object *listener)
{
    keep_arm(listener);
    if (!keep_has_offer(listener) || !small_lock_take(&kept_lock))
        return;
    for (uint32_t i = 0; i < atomic_load(&kept_accepting.count); i++) {
        /* It is always writable, so that is an event. */
        if (kept_accepting.items[i].key == listener->id &&
            kept_state(&kept_accepting.items[i]) == FOYER_KEEP_OFFERED)
            arm(&kept_accepting.items[i], EPOLLIN | EPOLLOUT);
    }
    small_lock_give(&kept_lock);
}

void keep_sleep_begin(void)
{
    atomic_fetch_add(&sleepers, 1);
}

void keep_sleep_end(void)
{
    atomic_fetch_sub(&sleepers, 1);
}

/* One end has rung, or its foyerd has taken the connection away. With the lock held. */
static struct socket_object *take_ring(const struct epoll_event *event)
{
    for (uint32_t i = 0; i < atomic_load(&kept_accepting.count); i++) {
        struct socket_object *sock = kept_accepting.items[i].sock;
        char bytes[64];
        if (sock->object.pool_index != (uint32_t)(event->data.u64 >> 32) ||
            sock->hidden_fd != (int)(uint32_t)event->data.u64)
            continue;
        sock->is_armed = false;
        ssize_t size = raw_recv(sock->hidden_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        return size == 0 || size == -ECONNRESET ? kept_take_at(&kept_accepting, i).sock : NULL;
    }
    return NULL;
}

void keep_take_rings(const struct socket_object *listener)
{
    struct epoll_event events[POLL_EVENTS];
    int count;
    if (!small_lock_take(&kept_lock))
        return;
    int set = set_of(listener->id);
    small_lock_give(&kept_lock);
    if (set < 0)
        return;
    do {
        count = (int)RAW(SYS_epoll_pwait, set, events, POLL_EVENTS, 0, NULL, _NSIG / 8);
        for (int i = 0; i < count; i++) {
            if (!small_lock_take(&kept_lock))
                return;
            struct socket_object *gone = take_ring(&events[i]);
            small_lock_give(&kept_lock);
            if (gone != NULL)
                kept_let_go(gone);
        }
    } while (count == POLL_EVENTS);
}

/* Whether this process has ever come to it; whoever has waited for connections has a set. */
static bool accepts_from(const struct socket_object *listener)
{
    if (atomic_load(&listener->slot->acceptor) == own_identity())
        return true;
    if (!small_lock_take(&kept_lock))
        return false;
    bool has_set = find_set(listener->id) != NULL;
    small_lock_give(&kept_lock);
    return has_set;
}

/*
 * Another process gets the listener, too. Nobody knows whether this one will accept again: until it
 * comes to the listener, connections that it holds are not to be offered to it.
 */
void keep_listener_shared(struct socket_object *listener)
{
    struct socket_object *gone[KEPT_MAX];
    uint32_t gone_count = 0;
    if (!accepts_from(listener))
        return;
    /* An epoll that a child has, too: it would take our rings. */
    bool is_over = atomic_load(&listener->watch_count) > 0;
    atomic_fetch_or(&listener->slot->options,
                    FOYER_SLOT_SHARED | (is_over ? FOYER_SLOT_NOT_KEPT : 0u));
    if (atomic_load(&kept_accepting.count) == 0 || !small_lock_take(&kept_lock))
        return;
    stamp(listener, LONG_AGO_NS);
    for (uint32_t i = atomic_load(&kept_accepting.count); is_over && i-- > 0;) {
        struct kept *kept = &kept_accepting.items[i];
        if (kept->key == listener->id &&
            foyer_keep_change(kept->keep, FOYER_KEEP_PARKED, FOYER_KEEP_DISSOLVED))
            gone[gone_count++] = kept_take_at(&kept_accepting, i).sock;
    }
    small_lock_give(&kept_lock);
    while (gone_count > 0)
        kept_let_go(gone[--gone_count]);
}

void keep_listener_over(const struct socket_object *listener)
{
    struct socket_object *gone[KEPT_MAX];
    uint32_t gone_count = 0;
    if (!small_lock_take(&kept_lock))
        return;
    for (uint32_t i = 0; i < set_count; i++) {
        if (sets[i].listener_id == listener->id) {
            table_close_hidden(sets[i].fd);
            sets[i] = sets[--set_count];
            break;
        }
    }
    for (uint32_t i = atomic_load(&kept_accepting.count); i-- > 0;) {
        if (kept_accepting.items[i].key != listener->id)
            continue;
        kept_accepting.items[i].sock->set_fd = -1;
        struct kept kept = kept_take_at(&kept_accepting, i);
        foyer_keep_change(kept.keep, FOYER_KEEP_PARKED, FOYER_KEEP_DISSOLVED);
        gone[gone_count++] = kept.sock;
    }
    small_lock_give(&kept_lock);
    while (gone_count > 0)
        kept_let_go(gone[--gone_count]);
}

void kept_enter_accepting(struct kept *kept)
{
    bool is_asleep = atomic_load(&sleepers) > 0;
    int64_t accepts_ns = 0;
    if (is_shared(kept->sock->listener_slot))
        accepts_ns = is_asleep ? FOYER_KEEP_ACCEPTS : clock_ns();
    atomic_store(&kept->keep->accepts_ns, accepts_ns);
    if (is_asleep)
        arm(kept, EPOLLIN);
}

void kept_forget_listeners(void)
{
    atomic_store(&sleepers, 0);
    atomic_store(&identity, 0);
    while (set_count > 0)
        table_close_hidden(sets[--set_count].fd);
}
