/*
 * Datagrams from program to program without foyerd: rings of one writer, made by foyerd where a
 * socket sends much to another (docs/decisions/0007).
 *
 * A socket's box holds the rings that lead away from it (routes; used with the slot's write lock)
 * and those that lead to it. foyerd says by generations in the slot that either may have changed.
 * What the writer of a ring says is checked against the ring's size; a ring that makes no sense is
 * not looked at again. Whose it is was told by foyerd.
 *
 * Readiness is asked by threads that hold no lock. So a ring that leads here is unmapped only while
 * nobody looks (users), after it has been taken out of sight.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <string.h>
#include <sys/mman.h>

#include "preload/raw.h"

#define HEADER_SIZE ((uint32_t)sizeof(struct foyer_direct_header))
#define PAYLOAD_MAX_V6 65527u
#define DIRECT_AFTER 8u        /* datagrams that go through foyerd before it is asked for a ring */
#define DIRECT_AFTER_MAX 4096u /* where it has none: the double each time */
#define ROUTES 64u
#define ROUTE_WAYS 4u
#define RUN_MAX 32u /* datagrams of one ring in a row, while others wait */
#define RETRY_NS 10000000
#define TTL_DEFAULT 64

struct direct_ring {
    struct foyer_direct *shared; /* NULL: this is free */
    struct foyer_ring ring;
    uint32_t serial, start;
    uint32_t end;            /* of a closing one */
    uint32_t closing_left;   /* bytes; whatever its writer does to the tail (read lock) */
    _Atomic bool is_closing; /* set after both */
    _Atomic bool is_spoilt;
    _Atomic bool is_open; /* what came earlier, by foyerd, was read */
    struct foyer_addr local;
    struct foyer_endpoint source;
};

struct route {
    struct foyer_endpoint to; /* port 0: free */
    uint32_t count, ask_at, step;
    uint32_t misses; /* of others that wanted the place */
    struct foyer_addr source;
    struct direct_ring ring;
};

struct direct_box {
    uint32_t routes_generation;
    struct route routes[ROUTES];

    _Atomic uint32_t users;
    _Atomic uint32_t inbox_generation;
    _Atomic int64_t retry_ns;
    uint32_t last_serial;
    _Atomic uint32_t ring_count; /* of places in use at some time */
    _Atomic(struct direct_ring *) rings[FOYER_DIRECT_MAX];
    struct direct_ring items[2 * FOYER_DIRECT_MAX]; /* those out of sight wait for their readers */
    _Atomic uint32_t gone_heads; /* of rings that were let go: see direct_heads */
    /* With the slot's read lock: */
    const struct direct_ring *last;
    uint32_t run;
    bool is_relay_next;
};

/* Fetching rings; taken before the session's lock, with all signals blocked. */
static pthread_mutex_t inbox_mutex = PTHREAD_MUTEX_INITIALIZER;

/* ---- boxes and mappings -------------------------------------------------------------------- */

static struct direct_box *box_now(const struct socket_object *sock)
{
    return atomic_load_explicit(&((struct socket_object *)(uintptr_t)sock)->direct,
                                memory_order_acquire);
}

static struct direct_box *box_make(struct socket_object *sock)
{
    struct direct_box *box = box_now(sock), *before = NULL;
    if (box != NULL)
        return box;
    void *memory =
        mmap(NULL, sizeof(*box), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (atomic_compare_exchange_strong(&sock->direct, &before, memory))
        return memory;
    munmap(memory, sizeof(*box));
    return before;
}

/* Maps a ring; memfd is closed. */
static bool ring_map(struct direct_ring *ring, int memfd, uint32_t ring_size)
{
    void *memory = MAP_FAILED;
    if (ring_size >= FOYER_RING_SIZE_MIN && ring_size <= FOYER_DIRECT_RING_SIZE_MAX &&
        (ring_size & (ring_size - 1)) == 0)
        memory =
            mmap(NULL, foyer_direct_size(ring_size), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    raw_close(memfd);
    if (memory == MAP_FAILED)
        return false;
    ring->ring = foyer_direct_ring(memory, ring_size);
    ring->shared = memory;
    return true;
}

static void ring_unmap(struct direct_ring *ring)
{
    if (ring->shared != NULL)
        munmap(ring->shared, foyer_direct_size(ring->ring.size));
    ring->shared = NULL;
}

void direct_destroy(struct socket_object *sock)
{
    struct direct_box *box = atomic_exchange(&sock->direct, NULL);
    if (box == NULL)
        return;
    for (uint32_t i = 0; i < ROUTES; i++)
        ring_unmap(&box->routes[i].ring);
    for (uint32_t i = 0; i < 2 * FOYER_DIRECT_MAX; i++)
        ring_unmap(&box->items[i]);
    munmap(box, sizeof(*box));
}

static void forget_users(struct socket_object *sock)
{
    struct direct_box *box = box_now(sock);
    if (box != NULL)
        atomic_store(&box->users, 0);
}

void direct_fork_prepare(void)
{
    pthread_mutex_lock(&inbox_mutex);
}

void direct_fork_parent(void)
{
    pthread_mutex_unlock(&inbox_mutex);
}

void direct_fork_child(void)
{
    pthread_mutex_unlock(&inbox_mutex);
    table_each_socket(forget_users); /* those threads are not in this process */
}

/* ---- sending ------------------------------------------------------------------------------- */

static void routes_forget(struct direct_box *box)
{
    for (uint32_t i = 0; i < ROUTES; i++) {
        struct route *route = &box->routes[i];
        if (route->ring.shared != NULL)
            route->ask_at = route->count; /* foyerd may well have one again */
        ring_unmap(&route->ring);
    }
}

static uint32_t route_hash(const struct foyer_endpoint *to)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (unsigned i = 0; i < 16; i++)
        hash = (hash ^ to->addr.bytes[i]) * 16777619u;
    hash = (hash ^ to->port) * 16777619u;
    return hash ^ hash >> 16;
}

/* NULL: its places are taken by destinations that are used more. */
static struct route *route_find(struct direct_box *box, const struct foyer_endpoint *to)
{
    uint32_t first = route_hash(to);
    struct route *free_one = NULL;
    for (uint32_t i = 0; i < ROUTE_WAYS; i++) {
        struct route *route = &box->routes[(first + i) % ROUTES];
        if (route->to.port == to->port && foyer_addr_eq(&route->to.addr, &to->addr)) {
            route->misses = 0;
            return route;
        }
        if (free_one == NULL && route->to.port == 0)
            free_one = route;
    }
    for (uint32_t i = 0; i < ROUTE_WAYS && free_one == NULL; i++) {
        struct route *route = &box->routes[(first + i) % ROUTES];
        if (++route->misses > (route->ring.shared != NULL ? 16 * DIRECT_AFTER : ROUTE_WAYS))
            free_one = route;
    }
    if (free_one != NULL) {
        ring_unmap(&free_one->ring);
        *free_one = (struct route){.to = *to, .ask_at = DIRECT_AFTER, .step = DIRECT_AFTER};
    }
    return free_one;
}

/* With the lock held: 1: it is in the ring, or lost as in a full queue; 0: the ring is no good. */
static int route_put(struct socket_object *sock, struct route *route,
                     const struct foyer_datagram_header *header, const struct msghdr *message)
{
    const struct foyer_ring *ring = &route->ring.ring;
    const struct foyer_slot *slot = sock->slot;
    uint32_t record = foyer_direct_record_size(header->payload_size);
    uint32_t head = atomic_load_explicit(&ring->shared->head, memory_order_relaxed);
    uint32_t used = foyer_ring_distance(ring, head, foyer_ring_tail(ring));
    uint32_t limit = atomic_load_explicit(&route->ring.shared->limit_bytes, memory_order_relaxed);
    if (used == UINT32_MAX)
        return 0;
    /* As sock_queue_rcv_skb: the limit is passed by the last one that found room below it. */
    if (record > ring->size - used || used > limit) {
        atomic_fetch_add_explicit(&route->ring.shared->dropped_count, 1, memory_order_relaxed);
        return 1;
    }
    struct foyer_direct_header direct = {
        .payload_size = header->payload_size,
        .segment_size = header->segment_size,
        .ttl = (header->flags & FOYER_DATAGRAM_TTL) != 0 ? header->ttl
               : slot->ttl != 0                          ? slot->ttl
                                                         : TTL_DEFAULT,
        .tos = (header->flags & FOYER_DATAGRAM_TOS) != 0 ? header->tos : slot->tos,
        .sent_ns = clock_ns(),
    };
    foyer_ring_put(ring, head, &direct, HEADER_SIZE);
    ring_put_iov(ring, head + HEADER_SIZE, message->msg_iov, message->msg_iovlen);
    foyer_ring_publish_head(ring, head + record);
    return 1;
}

/* Asks foyerd, without a lock. True: the route has a ring now, unless another thread was first. */
static bool route_ask(struct socket_object *sock, struct direct_box *box,
                      const struct foyer_endpoint *to)
{
    struct foyer_request_endpoint request = {
        .header = {.type = FOYER_REQUEST_DIRECT, .size = sizeof(request), .id = sock->id},
        .endpoint = *to,
    };
    struct foyer_reply_direct reply;
    struct message_fds fds = {.count = 0};
    struct direct_ring ring = {.shared = NULL};
    int error = session_call(&request.header, NULL, &reply.header, sizeof(reply), &fds);
    int memfd = error == 0 ? message_fds_take(&fds, 0) : -1;
    message_fds_close(&fds);
    bool is_mapped = memfd >= 0 && ring_map(&ring, memfd, reply.ring_size);
    if (slot_lock(sock, LOCK_WRITE) < 0) {
        ring_unmap(&ring);
        return false;
    }
    struct route *route = route_find(box, to);
    bool is_taken = is_mapped && route != NULL && route->ring.shared == NULL &&
                    reply.generation == box->routes_generation;
    if (is_taken) {
        route->ring = ring;
        route->source = reply.source;
        route->step = DIRECT_AFTER;
    } else if (route != NULL) {
        /* What is on its way is there soon; else it will be no better soon. */
        if (error != -EAGAIN && route->step < DIRECT_AFTER_MAX)
            route->step *= 2;
        route->ask_at = route->count + route->step;
    }
    slot_unlock(sock, LOCK_WRITE);
    if (!is_taken)
        ring_unmap(&ring);
    return is_taken;
}

enum sent { SENT, NOT_SENT, SHALL_ASK };

/* Rings are for one source each; IP_PKTINFO may ask for another one. */
static bool has_source(const struct route *route, const struct foyer_datagram_header *header)
{
    return (header->flags & FOYER_DATAGRAM_LOCAL) == 0 ||
           memcmp(header->local_addr, route->source.bytes, sizeof(route->source.bytes)) == 0;
}

/* A reader that has closed its socket leaves it to foyerd to say whether there is another one. */
static bool has_reader(const struct route *route)
{
    return atomic_load_explicit(&route->ring.shared->ring.reader_state, memory_order_acquire) ==
           FOYER_RING_OPEN;
}

static enum sent try_send(struct socket_object *sock, int fd, struct direct_box *box,
                          const struct foyer_endpoint *to,
                          const struct foyer_datagram_header *header, const struct msghdr *message)
{
    bool must_ring = false;
    if (slot_lock(sock, LOCK_WRITE) < 0)
        return NOT_SENT;
    uint32_t generation =
        atomic_load_explicit(&sock->slot->routes_generation, memory_order_acquire);
    if (unlikely(generation != box->routes_generation)) {
        routes_forget(box);
        box->routes_generation = generation;
    }
    enum sent result = NOT_SENT;
    struct route *route = route_find(box, to);
    if (likely(route != NULL && route->ring.shared != NULL && has_reader(route))) {
        if (has_source(route, header) && route_put(sock, route, header, message) > 0) {
            must_ring = foyer_ring_take_reader_waiting(&route->ring.ring);
            if (must_ring)
                atomic_store(&route->ring.shared->wants_bell, 1);
            result = SENT;
        }
    } else if (route != NULL && ++route->count >= route->ask_at) {
        result = SHALL_ASK;
    }
    slot_unlock(sock, LOCK_WRITE);
    if (unlikely(must_ring))
        channel_ring(socket_channel_now(sock), fd); /* foyerd, which rings the reader */
    return result;
}

bool direct_send(struct socket_object *sock, int fd, const struct foyer_datagram_header *header,
                 const struct msghdr *message)
{
    struct foyer_endpoint to;
    struct direct_box *box = box_now(sock);
    if (box == NULL) {
        if (atomic_fetch_add_explicit(&sock->relayed_count, 1, memory_order_relaxed) < DIRECT_AFTER)
            return false;
        box = box_make(sock);
        if (box == NULL)
            return false;
    }
    if ((header->flags & FOYER_DATAGRAM_CONNECTED) != 0) {
        to = sock->slot->remote;
    } else {
        memcpy(to.addr.bytes, header->peer_addr, 16);
        to.port = header->peer_port;
    }
    enum sent result = try_send(sock, fd, box, &to, header, message);
    if (unlikely(result == SHALL_ASK) && route_ask(sock, box, &to))
        result = try_send(sock, fd, box, &to, header, message);
    return result == SENT;
}

/* ---- the rings that lead here -------------------------------------------------------------- */

static void ring_remove(struct direct_box *box, uint32_t place)
{
    const struct direct_ring *ring = atomic_load(&box->rings[place]);
    atomic_fetch_add(&box->gone_heads, foyer_ring_head(&ring->ring));
    atomic_store(&box->rings[place], NULL);
}

/* Unmaps what is out of sight, where nobody can be looking at it. */
static void reclaim(struct direct_box *box)
{
    if (atomic_load(&box->users) != 0)
        return;
    for (uint32_t i = 0; i < 2 * FOYER_DIRECT_MAX; i++) {
        bool is_seen = false;
        for (uint32_t place = 0; place < FOYER_DIRECT_MAX; place++)
            is_seen |= atomic_load(&box->rings[place]) == &box->items[i];
        if (!is_seen)
            ring_unmap(&box->items[i]);
    }
}

static void update_states(struct direct_box *box, const struct foyer_reply_inbox *reply)
{
    uint32_t count = reply->state_count <= FOYER_DIRECT_MAX ? reply->state_count : 0;
    for (uint32_t place = 0; place < FOYER_DIRECT_MAX; place++) {
        struct direct_ring *ring = atomic_load(&box->rings[place]);
        const struct foyer_direct_state *state = NULL;
        if (ring == NULL)
            continue;
        for (uint32_t i = 0; i < count; i++) {
            if (reply->states[i].serial == ring->serial)
                state = &reply->states[i];
        }
        if (state == NULL) {
            ring_remove(box, place);
        } else if (state->is_closing != 0 && !atomic_load(&ring->is_closing)) {
            ring->end = state->end;
            ring->closing_left = state->end - foyer_ring_tail(&ring->ring);
            atomic_store(&ring->is_closing, true);
        }
    }
}

static bool add_ring(struct direct_box *box, const struct foyer_direct_entry *entry, int memfd)
{
    uint32_t place = 0, item = 0;
    while (place < FOYER_DIRECT_MAX && atomic_load(&box->rings[place]) != NULL)
        place++;
    while (item < 2 * FOYER_DIRECT_MAX && box->items[item].shared != NULL)
        item++;
    if (place == FOYER_DIRECT_MAX || item == 2 * FOYER_DIRECT_MAX) {
        raw_close(memfd);
        return false;
    }
    struct direct_ring *ring = &box->items[item];
    *ring = (struct direct_ring){.serial = entry->serial,
                                 .start = entry->start,
                                 .local = entry->local,
                                 .source = entry->source};
    if (!ring_map(ring, memfd, entry->ring_size))
        return false;
    atomic_fetch_sub(&box->gone_heads, foyer_ring_tail(&ring->ring));
    atomic_store(&box->rings[place], ring);
    if (place >= atomic_load(&box->ring_count))
        atomic_store(&box->ring_count, place + 1);
    return true;
}

/* One answer's worth. 0: there may be more; 1: all is fetched; -errno. */
static int fetch_some(struct socket_object *sock, int fd, struct direct_box *box)
{
    struct foyer_request_inbox request = {
        .header = {.type = FOYER_REQUEST_INBOX, .size = sizeof(request), .id = sock->id},
        .after = box->last_serial,
    };
    static struct foyer_reply_inbox reply; /* with the mutex */
    struct message_fds own = {.fds = {fd}, .count = 1}, fds = {.count = 0};
    int error = session_call(&request.header, &own, &reply.header, sizeof(reply), &fds);
    if (error < 0)
        return error;
    update_states(box, &reply);
    reclaim(box);
    uint32_t done = 0;
    for (; done < reply.entry_count && done < FOYER_MESSAGE_FDS_MAX; done++) {
        int memfd = message_fds_take(&fds, done);
        if (memfd < 0 || !add_ring(box, &reply.entries[done], memfd))
            break;
        box->last_serial = reply.entries[done].serial;
    }
    message_fds_close(&fds);
    update_states(box, &reply); /* of those that are new */
    if (done < reply.entry_count)
        return -ENOMEM;
    if (reply.has_more != 0)
        return 0;
    atomic_store(&box->inbox_generation, reply.generation);
    return 1;
}

static void fetch(struct socket_object *sock, int fd)
{
    sigset_t all, before;
    struct direct_box *box = box_make(sock);
    if (box == NULL || clock_ns() < atomic_load(&box->retry_ns))
        return;
    sigfillset(&all);
    raw_sigmask(SIG_BLOCK, &all, &before);
    pthread_mutex_lock(&inbox_mutex);
    int result = 0;
    while (result == 0 &&
           atomic_load(&box->inbox_generation) != atomic_load(&sock->slot->inbox_generation))
        result = fetch_some(sock, fd, box);
    if (result < 0)
        atomic_store(&box->retry_ns, clock_ns() + RETRY_NS);
    pthread_mutex_unlock(&inbox_mutex);
    raw_sigmask(SIG_SETMASK, &before, NULL);
}

/* The box, with what foyerd has made; NULL: there is nothing. */
static struct direct_box *inbox(struct socket_object *sock, int fd)
{
    uint32_t wanted = atomic_load_explicit(&sock->slot->inbox_generation, memory_order_acquire);
    if (likely(wanted == 0))
        return NULL;
    struct direct_box *box = box_now(sock);
    if (unlikely(box == NULL ||
                 atomic_load_explicit(&box->inbox_generation, memory_order_relaxed) != wanted)) {
        fetch(sock, fd);
        box = box_now(sock);
    }
    return box != NULL && atomic_load_explicit(&box->ring_count, memory_order_relaxed) != 0 ? box
                                                                                            : NULL;
}

/* Bytes that can be read; 0 also of a ring that makes no sense. */
static uint32_t ring_used(struct direct_ring *ring)
{
    if (atomic_load_explicit(&ring->is_spoilt, memory_order_relaxed))
        return 0;
    uint32_t head = atomic_load_explicit(&ring->is_closing, memory_order_acquire)
                        ? ring->end
                        : foyer_ring_head(&ring->ring);
    uint32_t used = foyer_ring_distance(&ring->ring, head, foyer_ring_tail(&ring->ring));
    return used == UINT32_MAX ? 0 : used;
}

#define FOR_RINGS(box, ring)                                                                       \
    for (uint32_t place = 0, count = atomic_load(&(box)->ring_count); place < count; place++)      \
        for (struct direct_ring *ring = atomic_load(&(box)->rings[place]); ring != NULL;           \
             ring = NULL)

/* Asks each ring while none can be unmapped; the sum of the answers, 0 where box is NULL. */
static inline uint32_t each_ring(struct direct_box *box,
                                 uint32_t (*visit)(struct direct_ring *ring, uint32_t argument),
                                 uint32_t argument)
{
    uint32_t sum = 0;
    if (box == NULL)
        return 0;
    atomic_fetch_add(&box->users, 1);
    FOR_RINGS(box, ring)
    sum += visit(ring, argument);
    atomic_fetch_sub(&box->users, 1);
    return sum;
}

static uint32_t has_bytes(struct direct_ring *ring, uint32_t unused)
{
    (void)unused;
    return ring_used(ring) != 0;
}

bool direct_has_data(struct socket_object *sock, int fd)
{
    return each_ring(inbox(sock, fd), has_bytes, 0) != 0;
}

static uint32_t set_reader_state(struct direct_ring *ring, uint32_t state)
{
    atomic_store(&ring->shared->ring.reader_state, state);
    return 0;
}

void direct_leave(struct socket_object *sock)
{
    each_ring(box_now(sock), set_reader_state, FOYER_RING_FIN);
}

static uint32_t set_limit(struct direct_ring *ring, uint32_t bytes)
{
    atomic_store(&ring->shared->limit_bytes, bytes);
    return 0;
}

void direct_limit(struct socket_object *sock, int fd, uint32_t bytes)
{
    each_ring(inbox(sock, fd), set_limit, bytes);
}

/* Where another process has closed the socket that this one still reads from. */
static void stay(const struct direct_ring *ring)
{
    if (unlikely(atomic_load_explicit(&ring->shared->ring.reader_state, memory_order_relaxed) ==
                 FOYER_RING_FIN))
        atomic_store(&ring->shared->ring.reader_state, FOYER_RING_OPEN);
}

/* token 0: an announcement that stands for itself. */
static uint32_t announce(struct direct_ring *ring, uint32_t token)
{
    struct foyer_ring_waiter *waiter = &ring->shared->ring.reader_waiter;
    stay(ring);
    if (token == 0)
        atomic_store_explicit(&waiter->waiting, 1, memory_order_relaxed);
    else
        foyer_ring_announce_as(waiter, 0, token);
    return 0;
}

void direct_announce(struct socket_object *sock, int fd)
{
    each_ring(inbox(sock, fd), announce, 0);
    atomic_thread_fence(memory_order_seq_cst);
}

void direct_announce_as(struct socket_object *sock, int fd, uint32_t token)
{
    each_ring(inbox(sock, fd), announce, token);
}

static uint32_t retract(struct direct_ring *ring, uint32_t token)
{
    foyer_ring_retract(&ring->shared->ring.reader_waiter, token);
    return 0;
}

void direct_retract(struct socket_object *sock, uint32_t token)
{
    each_ring(box_now(sock), retract, token);
}

static uint32_t head_of(struct direct_ring *ring, uint32_t unused)
{
    (void)unused;
    return foyer_ring_head(&ring->ring);
}

uint32_t direct_heads(struct socket_object *sock, int fd)
{
    struct direct_box *box = inbox(sock, fd);
    uint32_t gone = box == NULL ? 0 : atomic_load(&box->gone_heads);
    return gone + each_ring(box, head_of, 0);
}

/* ---- receiving, with the slot's read lock -------------------------------------------------- */

/* Nobody looks at it any more, and foyerd may take it back. */
static void spoil(struct direct_ring *ring)
{
    atomic_store(&ring->is_spoilt, true);
    atomic_store(&ring->shared->ring.reader_state, FOYER_RING_RESET);
}

/* A ring's oldest datagram: what was read of it once, and checked. */
struct candidate {
    struct direct_ring *ring; /* NULL: there is none */
    struct foyer_direct_header header;
    uint32_t tail;
    bool is_closing; /* when it was found */
};

/* The oldest datagram. False: there is none. */
static bool peek(struct direct_ring *ring, struct candidate *ret_oldest)
{
    bool is_closing = atomic_load_explicit(&ring->is_closing, memory_order_acquire);
    uint32_t tail = foyer_ring_tail(&ring->ring);
    uint32_t used = (is_closing ? ring->end : foyer_ring_head(&ring->ring)) - tail;
    if (used == 0 || atomic_load_explicit(&ring->is_spoilt, memory_order_relaxed))
        return false;
    if (used >= HEADER_SIZE && used <= ring->ring.size &&
        (!is_closing || used <= ring->closing_left)) {
        struct foyer_direct_header *header = &ret_oldest->header;
        foyer_ring_get(&ring->ring, tail, header, HEADER_SIZE);
        if (header->payload_size <= PAYLOAD_MAX_V6 &&
            foyer_direct_record_size(header->payload_size) <= used) {
            ret_oldest->ring = ring;
            ret_oldest->tail = tail;
            ret_oldest->is_closing = is_closing;
            return true;
        }
    }
    spoil(ring);
    return false;
}

/* What the sender sent before through foyerd comes first; start is a position of that ring. */
static bool is_open(struct direct_ring *ring, uint32_t relay_tail, bool is_relay_empty)
{
    if (!atomic_load_explicit(&ring->is_open, memory_order_relaxed) &&
        (is_relay_empty || (int32_t)(relay_tail - ring->start) >= 0))
        atomic_store_explicit(&ring->is_open, true, memory_order_relaxed);
    return atomic_load_explicit(&ring->is_open, memory_order_relaxed);
}

/*
 * Datagrams come in the order in which they were sent, whoever sent them, as far as their senders
 * tell the truth about it; one that does not can have RUN_MAX in a row.
 */
static struct candidate choose(struct direct_box *box, const struct foyer_ring *relayed)
{
    struct candidate best = {.ring = NULL}, other = {.ring = NULL}, one;
    uint32_t relay_tail = foyer_ring_tail(relayed);
    bool is_relay_empty = foyer_ring_head(relayed) == relay_tail;
    FOR_RINGS(box, ring)
    {
        if (!peek(ring, &one) || !is_open(ring, relay_tail, is_relay_empty))
            continue;
        if (best.ring == NULL || one.header.sent_ns < best.header.sent_ns)
            best = one;
        if (ring != box->last && (other.ring == NULL || one.header.sent_ns < other.header.sent_ns))
            other = one;
    }
    if (best.ring == box->last && other.ring != NULL && box->run >= RUN_MAX)
        best = other;
    /* foyerd's ring has its turn; but a ring that was closed was written before what is there. */
    if (best.ring != NULL && !is_relay_empty && box->is_relay_next &&
        !atomic_load(&best.ring->is_closing))
        best.ring = NULL;
    return best;
}

static void consume(struct direct_box *box, const struct candidate *taken)
{
    struct direct_ring *ring = taken->ring;
    uint32_t record = foyer_direct_record_size(taken->header.payload_size);
    foyer_ring_publish_tail(&ring->ring, taken->tail + record);
    /* Not less than it: peek. One that is closed only now is counted from the one tail or the other. */
    if (taken->is_closing)
        ring->closing_left -= record;
    box->run = ring == box->last ? box->run + 1 : 1;
    box->last = ring;
    box->is_relay_next = true;
}

ssize_t direct_take(struct socket_object *sock, int fd, const struct foyer_ring *relayed,
                    struct msghdr *message, struct datagram_facts *ret_facts, bool is_peek)
{
    struct direct_box *box = inbox(sock, fd);
    ssize_t copied = -EAGAIN;
    if (box == NULL)
        return -EAGAIN;
    atomic_fetch_add(&box->users, 1);
    struct candidate taken = choose(box, relayed);
    const struct direct_ring *ring = taken.ring;
    if (ring == NULL) {
        box->is_relay_next &= is_peek;
    } else {
        const struct foyer_direct_header *header = &taken.header;
        *ret_facts = (struct datagram_facts){.peer = ring->source,
                                             .local = ring->local,
                                             .payload_size = header->payload_size,
                                             .segment_size = header->segment_size,
                                             .ttl = header->ttl,
                                             .tos = header->tos};
        copied = ring_get_iov(&ring->ring, taken.tail + HEADER_SIZE, header->payload_size,
                              message->msg_iov, message->msg_iovlen);
        if (!is_peek)
            consume(box, &taken);
    }
    atomic_fetch_sub(&box->users, 1);
    return copied;
}

int direct_next_size(struct socket_object *sock, int fd, const struct foyer_ring *relayed)
{
    struct direct_box *box = inbox(sock, fd);
    if (box == NULL || slot_lock(sock, LOCK_READ) < 0)
        return -1;
    atomic_fetch_add(&box->users, 1);
    struct candidate next = choose(box, relayed);
    int size = next.ring != NULL ? (int)next.header.payload_size : -1;
    atomic_fetch_sub(&box->users, 1);
    slot_unlock(sock, LOCK_READ);
    return size;
}
