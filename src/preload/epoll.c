/*
 * epoll. The kernel's epoll stays what the program sleeps in; see docs/decisions/0002.
 *
 * Descriptors of the kernel, listeners among them, are registered as the program asked. Any other
 * foyer socket is registered edge-triggered for input and output under our own tag: it is always
 * writable for the kernel, so each doorbell byte is an event for every epoll that watches it.
 * Level, edge and one-shot towards the program come from shared memory.
 *
 * A registration is active or idle. Active: its socket is looked at in memory at every wait. Idle:
 * it was announced and was not ready then; the doorbell makes it active. What is found not ready
 * a few times becomes idle, so a wait costs by what is busy and not by what is registered.
 *
 * For a sleep the active ones are announced too, and parked. The first doorbell ends the sleep; the
 * parked ones are then active again and their announcements are taken back, so that those who
 * write to us while we are awake need not ring, once for each connection.
 *
 * Those announcements carry a token of the sleep, and one doorbell is enough for all of them
 * (foyer_ring_announce_as). So whoever takes a doorbell from the kernel, or closes a descriptor that
 * may have one, sees to it that all the parked are looked at: unpark_locked, settle.
 *
 * Several threads in one epoll: a thread that goes off with events while others sleep announces
 * all that is active, else data for a socket that only the absent thread looks at would wait.
 *
 * An epoll inside of another one must be ready for the kernel whenever it has events: after each
 * wait on it, its sockets are announced, and those still ready are armed again in the kernel.
 *
 * A listener's connections also come by keep.c, without the kernel: it is looked at in memory as well,
 * and the bells of its kept connections are in the kernel's set.
 *
 * Limit: an epoll shared with another process by fork delivers each doorbell to one of the two.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "preload/raw.h"
#include "preload/real.h"

#define IDLE_AFTER 4u      /* looks that found nothing, where many are active */
#define IDLE_AFTER_FEW 32u /* the same where few are: a look is cheaper than a doorbell */
#define FEW 128u
#define DRAIN_AFTER 16u          /* doorbell bytes left in the queue between drains */
#define KEPT_BELLS UINT32_MAX    /* in place of a registration's index: the set of keep_poll_fd() */
#define KERNEL_INTERVAL_NS 20000 /* how long busy foyer sockets may keep the kernel's waiting */

/* What edge-triggered means by "something new". */
struct signature {
    uint32_t head, writer_state, state, bits, no_space_count;
};

struct registration {
    struct socket_object *sock; /* with a reference; NULL: free */
    int fd;
    uint32_t events; /* the program's */
    epoll_data_t data;
    struct signature reported;
    bool is_active, is_parked, is_disabled, has_reported;
    bool is_removed; /* by the program; the kernel still has it, see control_remove */
    uint8_t idle_looks;
    uint32_t next_free;
    uint32_t token; /* of its announcement, where it is parked */
    uint64_t stamp; /* of the wait that last reported it: once per wait, whatever comes twice */
};

/* A listener, which the kernel watches as the program asked. */
struct watched_listener {
    struct socket_object *sock; /* with a reference */
    int fd;
    uint32_t events;
    epoll_data_t data;
    uint64_t stamp; /* as above */
};

#define LISTENERS_MAX 16u /* the connections of more are not kept */

struct epoll_object {
    struct object object;
    struct epoll_object *next; /* of all, never freed */
    struct watched_listener listeners[LISTENERS_MAX];
    uint32_t listener_count;
    pthread_mutex_t lock;
    uint32_t tag;     /* upper half of our registrations' data */
    uint32_t sleeper; /* of our announcements; another one in each process */
    uint32_t token;   /* of the last sleep's */
    bool is_forked;   /* another process may take our doorbells: one must not stand for all */
    int epfd;         /* one that a thread sleeps with */
    _Atomic uint32_t doorbell_count; /* taken from the kernel */
    struct registration *items;
    uint32_t item_count, item_capacity, free_head; /* free_head: index + 1 */
    uint32_t *by_fd;                               /* index + 1 */
    uint32_t by_fd_size;
    uint32_t *active;
    uint32_t active_count, active_capacity, cursor;
    uint32_t *parked;
    uint32_t parked_count, parked_capacity;
    _Atomic uint32_t sleepers;
    bool is_nested; /* registered in another epoll */
    int64_t kernel_checked_ns;
    bool was_kernel_first;
    _Atomic uint64_t next_stamp;
};

/* One epoll_wait. */
struct epoll_wait_call {
    struct epoll_object *epoll;
    int epfd;
    struct epoll_event *events;
    int max;
    const sigset_t *mask;
    int64_t deadline_ns;
    uint64_t stamp;
};

static pthread_mutex_t epolls_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct epoll_object *) epolls;

/* ---- objects ------------------------------------------------------------------------------- */

static uint32_t random_u32(void)
{
    uint32_t value;
    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        value = (uint32_t)clock_ns();
    return value;
}

static struct object *epoll_object_create(void)
{
    pthread_mutex_lock(&epolls_lock);
    struct epoll_object *epoll = epolls;
    while (epoll != NULL && epoll->object.kind != OBJECT_NONE)
        epoll = epoll->next;
    if (epoll == NULL) {
        epoll = calloc(1, sizeof(*epoll));
        if (epoll != NULL) {
            pthread_mutex_init(&epoll->lock, NULL);
            epoll->next = epolls;
            epolls = epoll;
        }
    }
    if (epoll != NULL) {
        /* No pointer of a user and no small number has this bit. */
        epoll->tag = random_u32() | 1u << 31;
        epoll->sleeper = random_u32() | 1u;
        epoll->token = random_u32();
        epoll->is_forked = false;
        epoll->object.kind = OBJECT_EPOLL;
        atomic_store(&epoll->object.fd_count, 0);
        atomic_store(&epoll->sleepers, 0);
        epoll->is_nested = false;
        atomic_store(&epoll->object.references, 1);
    }
    pthread_mutex_unlock(&epolls_lock);
    return epoll == NULL ? NULL : &epoll->object;
}

/* The child might wait on what it has inherited, and take a doorbell that was ours. */
void epoll_fork_prepare(void)
{
    for (struct epoll_object *epoll = epolls; epoll != NULL; epoll = epoll->next)
        epoll->is_forked = true;
}

void epoll_fork_child(void)
{
    pthread_mutex_init(&epolls_lock, NULL);
    for (struct epoll_object *epoll = epolls; epoll != NULL; epoll = epoll->next) {
        epoll->sleeper = random_u32() | 1u;
        epoll->is_forked = true;
        epoll->parked_count = 0;
        pthread_mutex_init(&epoll->lock, NULL);
        atomic_store(&epoll->sleepers, 0); /* those threads are not in this process */
    }
}

static void settle(struct epoll_object *epoll, int epfd, bool is_level, bool has_doorbell);

static void announce(const struct registration *item)
{
    socket_announce(item->sock, item->fd, item->events);
}

/* ---- registrations, all with the lock held ------------------------------------------------- */

static struct registration *find(struct epoll_object *epoll, int fd)
{
    uint32_t index = (unsigned)fd < epoll->by_fd_size ? epoll->by_fd[fd] : 0;
    return index == 0 ? NULL : &epoll->items[index - 1];
}

static uint32_t index_of(const struct epoll_object *epoll, const struct registration *item)
{
    return (uint32_t)(item - epoll->items);
}

static bool grow(void **array, uint32_t *capacity, uint32_t need, size_t item_size)
{
    uint32_t size = *capacity < 16 ? 16 : *capacity;
    while (size < need)
        size *= 2;
    if (size == *capacity)
        return true;
    void *bigger = realloc(*array, size * item_size);
    if (bigger == NULL)
        return false;
    memset((uint8_t *)bigger + *capacity * item_size, 0, (size - *capacity) * item_size);
    *array = bigger;
    *capacity = size;
    return true;
}

static void activate(struct epoll_object *epoll, struct registration *item)
{
    item->idle_looks = 0;
    if (item->is_active)
        return;
    item->is_active = true;
    epoll->active[epoll->active_count++] = index_of(epoll, item);
}

static struct registration *add(struct epoll_object *epoll, int fd, struct socket_object *sock)
{
    uint32_t index = epoll->free_head != 0 ? epoll->free_head - 1 : epoll->item_count;
    /* Each registration is in the active list at most once. */
    if (!grow((void **)&epoll->items, &epoll->item_capacity, index + 1, sizeof(*epoll->items)) ||
        !grow((void **)&epoll->active, &epoll->active_capacity, epoll->item_capacity,
              sizeof(*epoll->active)) ||
        !grow((void **)&epoll->by_fd, &epoll->by_fd_size, (uint32_t)fd + 1, sizeof(uint32_t)))
        return NULL;
    struct registration *item = &epoll->items[index];
    if (epoll->free_head != 0)
        epoll->free_head = item->next_free;
    else
        epoll->item_count++;
    bool was_active = item->is_active; /* its old entry in the active list serves again */
    *item = (struct registration){.sock = sock, .fd = fd, .is_active = was_active};
    epoll->by_fd[fd] = index + 1;
    atomic_fetch_add(&sock->object.references, 1);
    atomic_fetch_add(&sock->watch_count, 1);
    return item;
}

/* The socket's reference is the caller's to release, without the lock. */
static struct socket_object *drop(struct epoll_object *epoll, struct registration *item)
{
    struct socket_object *sock = item->sock;
    uint32_t index = index_of(epoll, item);
    if ((unsigned)item->fd < epoll->by_fd_size && epoll->by_fd[item->fd] == index + 1)
        epoll->by_fd[item->fd] = 0;
    item->sock = NULL;
    item->next_free = epoll->free_head;
    epoll->free_head = index + 1;
    atomic_fetch_sub(&sock->watch_count, 1);
    return sock;
}

/* A number of the epoll's; -1: not known. */
static int epfd_of(const struct epoll_object *epoll)
{
    if (table_peek(epoll->epfd) == &epoll->object)
        return epoll->epfd;
    for (uint32_t fd = 0; fd < table_size; fd++) {
        if (table_peek((int)fd) == &epoll->object)
            return (int)fd;
    }
    return -1;
}

/* The file stays open under a number of ours, so the kernel must be told. */
static void forget_in_kernel(const struct epoll_object *epoll, const struct registration *item,
                             int fd)
{
    int epfd = epfd_of(epoll);
    if (item->fd != fd || epfd < 0 || raw_epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL) < 0)
        atomic_store(&item->sock->is_shared, true); /* then it must not be kept */
}

static struct watched_listener *find_listener(struct epoll_object *epoll,
                                              const struct socket_object *sock, int fd)
{
    for (uint32_t i = 0; i < epoll->listener_count; i++) {
        if (epoll->listeners[i].sock == sock && (fd < 0 || epoll->listeners[i].fd == fd))
            return &epoll->listeners[i];
    }
    return NULL;
}

/* The socket's reference is the caller's to release. */
static void drop_listener(struct epoll_object *epoll, struct watched_listener *listener)
{
    atomic_fetch_sub(&listener->sock->watch_count, 1);
    *listener = epoll->listeners[--epoll->listener_count];
}

void epoll_forget_socket(struct socket_object *sock, int fd, bool is_kept)
{
    if (atomic_load(&sock->watch_count) == 0)
        return;
    for (struct epoll_object *epoll = epolls; epoll != NULL; epoll = epoll->next) {
        if (epoll->object.kind != OBJECT_EPOLL)
            continue;
        unsigned dropped = 0;
        pthread_mutex_lock(&epoll->lock);
        struct registration *item = find(epoll, fd);
        if (item != NULL && item->sock == sock) {
            if (is_kept)
                forget_in_kernel(epoll, item, fd);
            drop(epoll, item);
            dropped++;
        }
        struct watched_listener *listener;
        while ((listener = find_listener(epoll, sock, -1)) != NULL) {
            drop_listener(epoll, listener);
            dropped++;
        }
        /* Registered under another number, of a duplicate that is closed already. */
        for (uint32_t i = 0; i < epoll->item_count && atomic_load(&sock->watch_count) > 0; i++) {
            /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there are items */
            if (epoll->items[i].sock == sock) {
                if (is_kept)
                    forget_in_kernel(epoll, &epoll->items[i], fd);
                drop(epoll, &epoll->items[i]);
                dropped++;
            }
        }
        bool has_sleepers = dropped > 0 && atomic_load(&epoll->sleepers) > 0;
        int epfd = epoll->epfd;
        pthread_mutex_unlock(&epoll->lock);
        /* A doorbell that was to stand for others may go with the descriptor. */
        if (has_sleepers && table_peek(epfd) == &epoll->object)
            settle(epoll, epfd, false, true);
        while (dropped-- > 0)
            socket_release(sock);
    }
}

void epoll_drop_listener(int fd)
{
    for (uint32_t epfd = 0; epfd < table_size; epfd++) {
        struct object *object = atomic_load_explicit(&table[epfd], memory_order_relaxed);
        if (object != NULL && object->kind == OBJECT_EPOLL)
            raw_epoll_ctl((int)epfd, EPOLL_CTL_DEL, fd, NULL);
    }
}

/* Nobody holds the object any more, so nobody holds the lock. */
void epoll_destroy(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->item_count; i++) {
        if (epoll->items[i].sock != NULL)
            socket_release(drop(epoll, &epoll->items[i]));
    }
    while (epoll->listener_count > 0) {
        struct socket_object *sock = epoll->listeners[0].sock;
        drop_listener(epoll, &epoll->listeners[0]);
        socket_release(sock);
    }
    free(epoll->items);
    free(epoll->active);
    free(epoll->parked);
    free(epoll->by_fd);
    epoll->items = NULL;
    epoll->active = epoll->by_fd = epoll->parked = NULL;
    epoll->parked_count = epoll->parked_capacity = 0;
    epoll->item_count = epoll->item_capacity = epoll->free_head = 0;
    epoll->active_count = epoll->active_capacity = epoll->by_fd_size = 0;
    pthread_mutex_unlock(&epoll->lock);
    epoll->object.kind = OBJECT_NONE;
}

/* ---- readiness ----------------------------------------------------------------------------- */

static struct signature sign(const struct registration *item)
{
    struct socket_object *sock = item->sock;
    const struct channel *channel = socket_channel_now(sock);
    struct signature now = {.state = slot_state(sock),
                            .no_space_count = atomic_load(&sock->no_space_count)};
    if (channel != NULL) {
        now.head = foyer_ring_head(&channel->rx);
        if (sock->type == SOCK_DGRAM)
            now.head += direct_heads(sock, item->fd);
        now.writer_state = atomic_load(&channel->rx.shared->writer_state);
    }
    return now;
}

/* The events to report now, or 0. */
static uint32_t evaluate(const struct registration *item, struct signature *ret_signature)
{
    if (item->is_disabled)
        return 0;
    /* Before the readiness, so that news in between are an edge the next time. */
    *ret_signature = sign(item);
    uint32_t bits = socket_readiness(item->sock, item->fd);
    ret_signature->bits = bits & (EPOLLRDHUP | EPOLLHUP);
    if ((bits & EPOLLOUT) == 0) /* an edge only once it is writable again */
        ret_signature->no_space_count = item->reported.no_space_count;
    uint32_t events = bits & (item->events | EPOLLERR | EPOLLHUP) & 0x7fffu;
    if (events == 0)
        return 0;
    if ((item->events & EPOLLET) != 0 && item->has_reported &&
        memcmp(ret_signature, &item->reported, sizeof(*ret_signature)) == 0)
        return 0;
    return events;
}

static bool emit(struct registration *item, uint64_t stamp, struct epoll_event *ret_event)
{
    struct signature signature;
    uint32_t events = item->stamp == stamp ? 0 : evaluate(item, &signature);
    if (events == 0)
        return false;
    item->stamp = stamp;
    item->reported = signature;
    item->has_reported = true;
    item->idle_looks = 0;
    if ((item->events & EPOLLONESHOT) != 0)
        item->is_disabled = true;
    ret_event->events = events;
    ret_event->data = item->data;
    return true;
}

static void rearm(const struct epoll_object *epoll, int epfd, const struct registration *item,
                  int operation)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)epoll->tag << 32 | index_of(epoll, item),
    };
    raw_epoll_ctl(epfd, operation, item->fd, &event);
}

/* What the kernel's file says of a listener beyond connections is not a listener's. */
static uint32_t listener_events(uint32_t events)
{
    return events & ~(uint32_t)(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND | EPOLLRDHUP);
}

/*
 * Enters a listener that the kernel watches, or changes what is noted. Where kept connections cannot
 * be told of as the kernel would tell, there will be none.
 */
static void note_listener(struct epoll_object *epoll, int epfd, int fd, struct socket_object *sock,
                          const struct epoll_event *event)
{
    struct watched_listener *listener = find_listener(epoll, sock, fd);
    if (listener == NULL && epoll->listener_count < LISTENERS_MAX) {
        listener = &epoll->listeners[epoll->listener_count++];
        *listener = (struct watched_listener){.sock = sock, .fd = fd};
        atomic_fetch_add(&sock->object.references, 1);
        atomic_fetch_add(&sock->watch_count, 1);
    }
    if (listener != NULL) {
        listener->events = event->events;
        listener->data = event->data;
    }
    keep_note_acceptor(sock);
    int bells = keep_poll_fd(sock);
    if (bells < 0)
        return;
    struct epoll_event own = {.events = EPOLLIN | EPOLLET,
                              .data.u64 = (uint64_t)epoll->tag << 32 | KEPT_BELLS};
    int error = raw_epoll_ctl(epfd, EPOLL_CTL_ADD, bells, &own);
    if ((error < 0 && error != -EEXIST) || listener == NULL || epoll->is_nested ||
        (event->events & EPOLLONESHOT) != 0)
        keep_forbid(sock);
    else if (atomic_load(&epoll->sleepers) > 0)
        keep_wake(sock);
}

/* A socket that was registered before listen(): from now on its readiness is the kernel's. */
static bool hand_to_kernel(struct epoll_object *epoll, int epfd, struct registration *item)
{
    if (slot_state(item->sock) != FOYER_SLOT_LISTENING)
        return false;
    struct epoll_event event = {.events = listener_events(item->events), .data = item->data};
    if (item->is_disabled)
        event.events = 0;
    raw_epoll_ctl(epfd, EPOLL_CTL_MOD, item->fd, &event);
    note_listener(epoll, epfd, item->fd, item->sock, &event);
    /* Not the last reference: the table has one, or its owner drops us later. */
    socket_release(drop(epoll, item));
    return true;
}

/* What control_remove put off. */
static void remove_now(struct epoll_object *epoll, int epfd, struct registration *item)
{
    raw_epoll_ctl(epfd, EPOLL_CTL_DEL, item->fd, NULL);
    /* Not the last reference: as above. */
    socket_release(drop(epoll, item));
}

static unsigned idle_limit(const struct epoll_object *epoll)
{
    return epoll->active_count <= FEW ? IDLE_AFTER_FEW : IDLE_AFTER;
}

/*
 * For a sleep. False: there is no room for it, so it is simply idle, and its announcement must not
 * be one that another doorbell answers.
 */
static bool park(struct epoll_object *epoll, struct registration *item)
{
    if (!item->is_parked) {
        if (!grow((void **)&epoll->parked, &epoll->parked_capacity, epoll->parked_count + 1,
                  sizeof(*epoll->parked)))
            return false;
        item->is_parked = true;
        epoll->parked[epoll->parked_count++] = index_of(epoll, item);
    }
    item->token = epoll->token;
    return true;
}

/*
 * After a sleep: the doorbell that ended it may have been meant for any of the parked, so each of
 * them is to be looked at. Where others sleep still their announcements are needed, but in the plain
 * form: this thread has taken the one doorbell.
 */
static void unpark_locked(struct epoll_object *epoll)
{
    bool is_alone = atomic_load(&epoll->sleepers) == 0 && !epoll->is_nested;
    for (uint32_t i = 0; i < epoll->parked_count; i++) {
        struct registration *item = &epoll->items[epoll->parked[i]];
        if (!item->is_parked)
            continue;
        item->is_parked = false;
        if (item->sock == NULL)
            continue;
        if (!is_alone)
            announce(item);
        else
            socket_retract(item->sock, item->token);
        if (!item->is_active) {
            item->is_active = true;
            epoll->active[epoll->active_count++] = epoll->parked[i];
        }
    }
    epoll->parked_count = 0;
    atomic_thread_fence(memory_order_seq_cst); /* as foyer_ring_retract says */
}

static void unpark(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    unpark_locked(epoll);
    pthread_mutex_unlock(&epoll->lock);
}

/*
 * Takes registrations off the active list that need not be on it: gone, disabled or quiet. parks:
 * those that were busy a moment ago are to be active again after the sleep.
 */
static bool quieten(struct epoll_object *epoll, unsigned idle_after, bool parks)
{
    unsigned limit = idle_limit(epoll);
    bool is_ready = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < epoll->active_count; i++) {
        uint32_t index = epoll->active[i];
        struct registration *item = &epoll->items[index];
        struct signature signature;
        bool stays = false;
        if (item->sock != NULL && !item->is_disabled) {
            if (item->idle_looks < idle_after) {
                stays = true;
            } else {
                if (parks && item->idle_looks < limit && park(epoll, item))
                    socket_announce_as(item->sock, item->fd, item->events,
                                       epoll->is_forked ? 0 : epoll->sleeper, epoll->token);
                else
                    announce(item);
                stays = evaluate(item, &signature) != 0;
                is_ready |= stays;
            }
        }
        item->is_active = stays;
        if (stays)
            epoll->active[kept++] = index;
    }
    epoll->active_count = kept;
    return is_ready;
}

/* Whether connections wait on one of the listeners. */
static bool has_offers(struct epoll_object *epoll, bool will_sleep)
{
    bool is_ready = false;
    for (uint32_t i = 0; i < epoll->listener_count && !is_ready; i++) {
        const struct watched_listener *listener = &epoll->listeners[i];
        if (will_sleep)
            keep_arm(listener->sock);
        is_ready =
            (listener->events & (EPOLLIN | EPOLLRDNORM)) != 0 && keep_has_offer(listener->sock);
    }
    return is_ready;
}

static bool announce_all(struct epoll_object *epoll, int epfd)
{
    pthread_mutex_lock(&epoll->lock);
    epoll->epfd = epfd;
    epoll->token = epoll->token + 1 > 1 ? epoll->token + 1 : 2;
    bool is_ready = quieten(epoll, 0, !epoll->is_nested);
    is_ready |= has_offers(epoll, true);
    pthread_mutex_unlock(&epoll->lock);
    return is_ready;
}

/*
 * Listeners with kept connections that were offered. One that the kernel has reported in this wait is
 * not reported twice: who takes all that is there gets these, too.
 */
static int collect_offers(const struct epoll_wait_call *call, int count, int max)
{
    struct epoll_object *epoll = call->epoll;
    for (uint32_t i = 0; i < epoll->listener_count && count < max; i++) {
        struct watched_listener *listener = &epoll->listeners[i];
        uint32_t events = listener->events & (EPOLLIN | EPOLLRDNORM);
        if (events == 0 || listener->stamp == call->stamp || !keep_has_offer(listener->sock))
            continue;
        listener->stamp = call->stamp;
        call->events[count++] = (struct epoll_event){.events = events, .data = listener->data};
    }
    return count;
}

/* The kernel's event of a listener that is reported already; else it is noted as such. */
static bool is_told(const struct epoll_wait_call *call, const struct epoll_event *event)
{
    struct epoll_object *epoll = call->epoll;
    bool is_told = false;
    if (epoll->listener_count == 0)
        return false;
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->listener_count; i++) {
        if (epoll->listeners[i].data.u64 != event->data.u64)
            continue;
        is_told |= epoll->listeners[i].stamp == call->stamp;
        epoll->listeners[i].stamp = call->stamp;
    }
    pthread_mutex_unlock(&epoll->lock);
    return is_told;
}

/*
 * Looks at the active sockets; adds to the count events that are there already. is_look: what is
 * found quiet comes nearer to being idle; the looks of one spin are many and mean nothing.
 */
static int collect(const struct epoll_wait_call *call, int count, int max, bool is_look)
{
    struct epoll_object *epoll = call->epoll;
    bool has_quiet = false;
    pthread_mutex_lock(&epoll->lock);
    uint32_t active_count = epoll->active_count, looked = 0;
    unsigned limit = idle_limit(epoll);
    uint32_t start = active_count > 0 ? epoll->cursor % active_count : 0;
    for (; looked < active_count && count < max; looked++) {
        struct registration *item = &epoll->items[epoll->active[(start + looked) % active_count]];
        if (item->sock == NULL || hand_to_kernel(epoll, call->epfd, item)) {
            has_quiet = true;
        } else if (emit(item, call->stamp, &call->events[count])) {
            count++;
        } else if (item->is_disabled || (is_look && ++item->idle_looks >= limit)) {
            item->idle_looks = (uint8_t)limit;
            has_quiet = true;
        }
    }
    epoll->cursor = active_count > 0 ? (start + looked) % active_count : 0;
    if (epoll->listener_count > 0 && keep_is_active())
        count = collect_offers(call, count, max);
    if (has_quiet)
        quieten(epoll, limit, false);
    pthread_mutex_unlock(&epoll->lock);
    return count;
}

static void take_rings(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->listener_count; i++)
        keep_take_rings(epoll->listeners[i].sock);
    pthread_mutex_unlock(&epoll->lock);
}

/* One event of the kernel under our tag. True: it became an event for the program. */
static bool take_doorbell(const struct epoll_wait_call *call, struct epoll_event *event)
{
    struct epoll_object *epoll = call->epoll;
    bool is_event = false;
    if ((uint32_t)event->data.u64 == KEPT_BELLS) {
        take_rings(epoll);
        return false;
    }
    pthread_mutex_lock(&epoll->lock);
    atomic_fetch_add(&epoll->doorbell_count, 1);
    uint32_t index = (uint32_t)event->data.u64;
    struct registration *item = index < epoll->item_count ? &epoll->items[index] : NULL;
    if (item != NULL && item->sock != NULL && item->is_removed) {
        remove_now(epoll, call->epfd, item);
    } else if (item != NULL && item->sock != NULL && !hand_to_kernel(epoll, call->epfd, item)) {
        if ((event->events & EPOLLHUP) != 0)
            socket_note_orphan(item->sock);
        if ((event->events & EPOLLIN) != 0 &&
            atomic_fetch_add(&item->sock->bell_count, 1) + 1 >= DRAIN_AFTER &&
            bell_drain(item->sock, item->fd, 0))
            atomic_store(&item->sock->bell_count, 0);
        if (item->is_active) {
            item->idle_looks = 0; /* it was, or will be, looked at as such */
        } else {
            activate(epoll, item);
            is_event = emit(item, call->stamp, event);
        }
    }
    pthread_mutex_unlock(&epoll->lock);
    return is_event;
}

/* Sorts what the kernel gave behind the first `from` events: how many are for the program. */
static int sort_kernel_events(const struct epoll_wait_call *call, int from, int count)
{
    int kept = from;
    for (int i = from; i < from + count; i++) {
        bool is_ours = call->events[i].data.u64 >> 32 == call->epoll->tag;
        if (is_ours ? take_doorbell(call, &call->events[i]) : !is_told(call, &call->events[i]))
            call->events[kept++] = call->events[i];
    }
    return kept - from;
}

/*
 * This thread goes off, with events or a doorbell; those who sleep must hear of the rest. is_level:
 * also of what was reported and is still ready.
 */
static void settle(struct epoll_object *epoll, int epfd, bool is_level, bool has_doorbell)
{
    pthread_mutex_lock(&epoll->lock);
    if (has_doorbell)
        unpark_locked(epoll);
    for (uint32_t i = 0; i < epoll->active_count; i++) {
        struct registration *item = &epoll->items[epoll->active[i]];
        struct signature signature;
        if (item->sock == NULL || item->is_disabled)
            continue;
        announce(item);
        if (evaluate(item, &signature) != 0 &&
            (is_level || !item->has_reported ||
             memcmp(&signature, &item->reported, sizeof(signature)) != 0))
            rearm(epoll, epfd, item, EPOLL_CTL_MOD);
    }
    for (uint32_t i = 0; i < epoll->listener_count; i++)
        keep_wake(epoll->listeners[i].sock);
    pthread_mutex_unlock(&epoll->lock);
}

bool epoll_is_ready(struct object *object, bool will_sleep)
{
    struct epoll_object *epoll = (struct epoll_object *)object;
    struct signature signature;
    bool is_ready = false;
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->active_count && !is_ready; i++) {
        const struct registration *item = &epoll->items[epoll->active[i]];
        is_ready = item->sock != NULL && evaluate(item, &signature) != 0;
    }
    if (!is_ready && will_sleep)
        is_ready = quieten(epoll, 0, false);
    is_ready |= has_offers(epoll, will_sleep);
    pthread_mutex_unlock(&epoll->lock);
    return is_ready;
}

/* ---- control ------------------------------------------------------------------------------- */

static int control_add(struct epoll_object *epoll, int epfd, int fd, struct socket_object *sock,
                       const struct epoll_event *event)
{
    struct registration *stale = find(epoll, fd), *item;
    if (stale != NULL && stale->sock == sock)
        return -EEXIST;
    if (stale != NULL)
        epoll->by_fd[fd] = 0; /* another socket's, alive by a duplicate; it stays registered */
    item = add(epoll, fd, sock);
    if (item == NULL)
        return -ENOMEM;
    item->events = event->events & ~(uint32_t)EPOLLEXCLUSIVE;
    item->data = event->data;
    activate(epoll, item);
    struct epoll_event own = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)epoll->tag << 32 | index_of(epoll, item),
    };
    int error = raw_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &own);
    if (error < 0)
        socket_release(drop(epoll, item));
    return error;
}

static int control_modify(struct epoll_object *epoll, int epfd, struct registration *item,
                          const struct epoll_event *event)
{
    if ((event->events & EPOLLEXCLUSIVE) != 0)
        return -EINVAL;
    item->events = event->events;
    item->data = event->data;
    item->is_disabled = false;
    item->has_reported = false;
    if (hand_to_kernel(epoll, epfd, item))
        return 0;
    activate(epoll, item);
    /* Only those who sleep in this very moment need to hear of it. */
    if (atomic_load(&epoll->sleepers) > 0)
        rearm(epoll, epfd, item, EPOLL_CTL_MOD);
    return 0;
}

/*
 * Many event loops take a descriptor out and put it back for each request. So a removed one stays in
 * the kernel's set, silent, until its next doorbell; put back before that, it costs no system call.
 */
static int control_remove(struct epoll_object *epoll, int epfd, struct registration *item)
{
    if (epoll->is_nested) {
        remove_now(epoll, epfd, item);
        return 0;
    }
    item->is_removed = item->is_disabled = true;
    return 0;
}

/* The same descriptor and socket again, after control_remove. */
static int control_put_back(struct epoll_object *epoll, int epfd, struct registration *item,
                            const struct epoll_event *event)
{
    item->is_removed = item->is_disabled = item->has_reported = false;
    item->events = event->events & ~(uint32_t)EPOLLEXCLUSIVE;
    item->data = event->data;
    activate(epoll, item);
    if (atomic_load(&epoll->sleepers) > 0)
        rearm(epoll, epfd, item, EPOLL_CTL_MOD);
    return 0;
}

static int control(struct epoll_object *epoll, int epfd, int operation, int fd,
                   struct socket_object *sock, struct epoll_event *event)
{
    int error = -EINVAL;
    pthread_mutex_lock(&epoll->lock);
    struct registration *item = find(epoll, fd);
    bool is_ours = item != NULL && item->sock == sock;
    bool was_removed = is_ours && item->is_removed;
    if (was_removed && slot_state(sock) == FOYER_SLOT_LISTENING) {
        remove_now(epoll, epfd, item);
        is_ours = was_removed = false;
    }
    if (was_removed && operation != EPOLL_CTL_ADD) {
        error = -ENOENT;
    } else if (was_removed) {
        error = event == NULL ? -EFAULT : control_put_back(epoll, epfd, item, event);
    } else if (!is_ours &&
               (operation != EPOLL_CTL_ADD || slot_state(sock) == FOYER_SLOT_LISTENING)) {
        struct epoll_event copy = {0};
        bool is_listener = event != NULL && slot_state(sock) == FOYER_SLOT_LISTENING;
        if (is_listener) {
            copy.events = listener_events(event->events);
            copy.data = event->data;
        }
        error = raw_epoll_ctl(epfd, operation, fd, is_listener ? &copy : event);
        struct watched_listener *listener = find_listener(epoll, sock, fd);
        if (error == 0 && is_listener && operation != EPOLL_CTL_DEL) {
            note_listener(epoll, epfd, fd, sock, event);
        } else if (error == 0 && operation == EPOLL_CTL_DEL && listener != NULL) {
            if (keep_poll_fd(sock) >= 0)
                raw_epoll_ctl(epfd, EPOLL_CTL_DEL, keep_poll_fd(sock), NULL);
            drop_listener(epoll, listener);
            socket_release(sock); /* not the last: our caller has one */
        }
    } else if (operation == EPOLL_CTL_ADD) {
        error = event == NULL ? -EFAULT : control_add(epoll, epfd, fd, sock, event);
    } else if (operation == EPOLL_CTL_MOD) {
        error = event == NULL ? -EFAULT : control_modify(epoll, epfd, item, event);
    } else if (operation == EPOLL_CTL_DEL) {
        error = control_remove(epoll, epfd, item);
    }
    pthread_mutex_unlock(&epoll->lock);
    return error;
}

/* The epoll behind a descriptor, with a reference. */
static struct epoll_object *get_epoll(int epfd)
{
    struct object *object = table_get(epfd);
    if (object == NULL || object->kind == OBJECT_HIDDEN)
        return NULL;
    if (object->kind == OBJECT_EPOLL)
        return (struct epoll_object *)object;
    object_release(object);
    return NULL;
}

/* For an epoll in an epoll: it would have to stay ready while connections are offered. */
static void forbid_all(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->listener_count; i++)
        keep_forbid(epoll->listeners[i].sock);
    pthread_mutex_unlock(&epoll->lock);
}

/* An epoll goes into another one. */
static int nest(int epfd, int operation, int fd, struct epoll_event *event)
{
    int result = REAL(epoll_ctl)(epfd, operation, fd, event);
    struct epoll_object *inner = result == 0 ? get_epoll(fd) : NULL;
    if (inner != NULL) {
        if (operation != EPOLL_CTL_DEL) {
            inner->is_nested = true;
            forbid_all(inner);
            settle(inner, fd, true, true);
        }
        object_release(&inner->object);
    }
    return result;
}

ENTRY int epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(epoll_ctl)(epfd, operation, fd, event);
    if (table_is_hidden(fd) || table_is_hidden(epfd))
        return result_int(-EBADF);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return nest(epfd, operation, fd, event);
    struct epoll_object *epoll = get_epoll(epfd);
    int result;
    if (epoll == NULL) {
        table_note_shared(fd); /* a set that we know nothing of would keep it */
        result = REAL(epoll_ctl)(epfd, operation, fd, event);
    } else {
        result = result_int(control(epoll, epfd, operation, fd, sock, event));
    }
    if (epoll != NULL)
        object_release(&epoll->object);
    socket_release(sock);
    return result;
}

static int created(int epfd)
{
    if (epfd < 0 || !preload_config.is_enabled)
        return epfd;
    struct object *object = epoll_object_create();
    if (object == NULL) {
        raw_close(epfd);
        return result_int(-ENOMEM);
    }
    ((struct epoll_object *)object)->epfd = epfd;
    table_replace(epfd, object);
    object_release(object);
    return epfd;
}

ENTRY int epoll_create(int size)
{
    return created(REAL(epoll_create)(size));
}

ENTRY int epoll_create1(int flags)
{
    return created(REAL(epoll_create1)(flags));
}

/* ---- waiting ------------------------------------------------------------------------------- */

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
    return have + sort_kernel_events(call, have, count);
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
        return count < 0 ? count : collect(call, count, call->max, true);
    }
    int count = collect(call, 0, call->max, true);
    /* With nothing here the kernel is asked by the sleep that follows. */
    if (count == 0 ? !may_sleep : is_due) {
        epoll->was_kernel_first = false;
        return check_kernel(call, count, now);
    }
    return count;
}

static int sleep_once(struct epoll_wait_call *call)
{
    int64_t left = -1;
    int count;
    if (call->deadline_ns != NO_DEADLINE) {
        left = call->deadline_ns - clock_ns();
        if (left < 0)
            left = 0;
    }
    pthread_cleanup_push(wait_cancelled, call);
    count = kernel_wait(call, 0, left);
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
    spin->count = collect(spin->call, 0, spin->call->max, false);
    return spin->count > 0;
}

static int wait_loop(struct epoll_wait_call *call, bool may_sleep)
{
    struct epoll_object *epoll = call->epoll;
    for (unsigned rounds = 0;; rounds++) {
        struct spin_context spin = {.call = call};
        int count = look(call, may_sleep);
        if (count != 0 || !may_sleep)
            return count;
        bool may_come = epoll->active_count > 0 || (epoll->listener_count > 0 && keep_is_active());
        if (rounds == 0 && may_come && wait_spin(spin_collect, &spin))
            return spin.count;
        if (epoll->parked_count > 0 && atomic_load(&epoll->sleepers) == 0)
            unpark(epoll); /* a thread was cancelled in its sleep */
        atomic_fetch_add(&epoll->sleepers, 1);
        keep_sleep_begin();
        if (announce_all(epoll, call->epfd)) {
            atomic_fetch_sub(&epoll->sleepers, 1);
            keep_sleep_end();
            unpark(epoll);
            continue;
        }
        count = sleep_once(call);
        atomic_fetch_sub(&epoll->sleepers, 1);
        keep_sleep_end();
        unpark(epoll);
        if (count <= 0)
            return count;
        epoll->kernel_checked_ns = clock_ns();
        count = sort_kernel_events(call, 0, count);
        count = collect(call, count, call->max, true);
        if (count > 0)
            return count;
    }
}

static int wait_core(int epfd, struct epoll_event *events, int max, int64_t timeout_ns,
                     const sigset_t *mask, struct epoll_object *epoll)
{
    struct epoll_wait_call call = {
        .epoll = epoll,
        .epfd = epfd,
        .events = events,
        .max = max,
        .mask = mask,
        .deadline_ns = timeout_ns < 0 ? NO_DEADLINE : clock_ns() + timeout_ns,
        .stamp = atomic_fetch_add(&epoll->next_stamp, 1) + 1,
    };
    if (max <= 0 || events == NULL)
        return -EINVAL;
    uint32_t doorbells = atomic_load(&epoll->doorbell_count);
    int count = wait_loop(&call, timeout_ns != 0);
    bool has_doorbell = atomic_load(&epoll->doorbell_count) != doorbells;
    if (epoll->is_nested || ((count > 0 || has_doorbell) && atomic_load(&epoll->sleepers) > 0))
        settle(epoll, epfd, epoll->is_nested, has_doorbell);
    return count;
}

/* mask may be NULL. */
static int wait_ms(int epfd, struct epoll_event *events, int max, int timeout_ms,
                   const sigset_t *mask)
{
    struct epoll_object *epoll = get_epoll(epfd);
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
    struct epoll_object *epoll = get_epoll(epfd);
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
