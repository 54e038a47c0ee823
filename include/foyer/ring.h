/*
 * The byte ring between two parties that share memory: the one form in which payload waits,
 * from a program's send() to the peer's recv(), and as TCP's send and receive buffer.
 *
 * One direction, one writer side, one reader side. The control block is in memory that the
 * other side may write at any time, so whatever is read of it is read once, validated
 * (foyer_ring_used never exceeds size), then used. A hostile other side can spoil this stream
 * and nothing else. Positions count bytes modulo 2^32; size is a power of two, at most 2^30.
 *
 * Threading: any number of readers and writers in total, but one at a time per side; whoever
 * shares a side (threads, forked processes) serialises outside of the ring.
 *
 * Sleeping and waking: a reader that found nothing sets reader_waiter, looks again, and only
 * then sleeps. A writer that moved head calls foyer_ring_take_reader_waiting(); where that says
 * true it must wake the reader (by whatever doorbell the two have). The same the other way
 * round for space. So no wake-up is lost and none is paid while nobody sleeps.
 */
#ifndef FOYER_RING_H
#define FOYER_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FOYER_RING_SIZE_MIN 4096u
#define FOYER_RING_SIZE_MAX (1u << 30)

enum foyer_ring_state {
    FOYER_RING_OPEN = 0,
    FOYER_RING_FIN = 1,   /* writer: no byte follows head; reader side: will not read any more */
    FOYER_RING_RESET = 2, /* the connection was aborted; the reader may still take what is there */
};

/* What a side that sleeps has announced. */
struct foyer_ring_waiter {
    _Atomic uint32_t
        waiting; /* 0: nobody sleeps; 1: ring; else a token, see foyer_ring_announce_as */
    _Atomic uint32_t sleeper; /* whose token it is; 0: ring whatever it says */
};

/* 256 bytes; all zero is a fresh, empty, open ring. */
struct foyer_ring_shared {
    alignas(64) _Atomic uint32_t head; /* stored by the writer: bytes ever written */
    _Atomic uint32_t writer_state;     /* enum foyer_ring_state, stored by the writer */
    _Atomic uint32_t
        origin; /* stored by the writer before head; foyer_ring itself has no use for it */
    _Atomic uint32_t send_limit; /* stored by the writer: foyer_ring_limit */
    /* Stored by the writer before the head that covers the byte (foyer_ring_put_urgent): which byte
     * is urgent, its number << 32 | its position, 0 while none was. And where a reader who stands
     * before bytes that were urgent, until this one came, goes on: that number << 32 | the position. */
    _Atomic uint64_t urgent, urgent_left;
    /* Stored by the writer before head, where the ring was drained: when, in ticks of its own
     * choice, 0: unknown; foyer_ring itself has no use for it. */
    _Atomic uint32_t filled_at;
    alignas(64) _Atomic uint32_t tail; /* stored by the reader: bytes ever consumed */
    _Atomic uint32_t reader_state;     /* enum foyer_ring_state, stored by the reader */
    _Atomic uint32_t receive_limit;    /* stored by the reader: foyer_ring_limit */
    alignas(64) struct foyer_ring_waiter reader_waiter;
    alignas(64) struct foyer_ring_waiter writer_waiter;
};

_Static_assert(sizeof(struct foyer_ring_shared) == 256, "layout is shared between processes");

/* A side's private view. Never in shared memory, so that size and pointers can be trusted. */
struct foyer_ring {
    struct foyer_ring_shared *shared;
    uint8_t *data;
    uint32_t size;
};

static inline bool foyer_ring_is_set(const struct foyer_ring *ring)
{
    return ring->shared != NULL;
}

static inline uint32_t foyer_ring_head(const struct foyer_ring *ring)
{
    return atomic_load_explicit(&ring->shared->head, memory_order_acquire);
}

static inline uint32_t foyer_ring_tail(const struct foyer_ring *ring)
{
    return atomic_load_explicit(&ring->shared->tail, memory_order_acquire);
}

/* Bytes between two positions, or UINT32_MAX where they contradict each other (hostile peer). */
static inline uint32_t foyer_ring_distance(const struct foyer_ring *ring, uint32_t head,
                                           uint32_t tail)
{
    uint32_t used = head - tail;
    return used <= ring->size ? used : UINT32_MAX;
}

#define FOYER_RING_LOOKS 64u

/*
 * Bytes that can be read; UINT32_MAX where the indexes are invalid: reset the connection. Also for
 * those who hold neither side: while they look, others may move both indexes by more than the ring
 * holds. Indexes contradict each other only where the tail stood still meanwhile, or where somebody
 * has moved it each of many times.
 */
static inline uint32_t foyer_ring_used(const struct foyer_ring *ring)
{
    uint32_t tail = foyer_ring_tail(ring), used = 0;
    for (unsigned look = 0; look < FOYER_RING_LOOKS; look++) {
        uint32_t before = tail;
        used = foyer_ring_distance(ring, foyer_ring_head(ring), tail);
        if (used != UINT32_MAX)
            return used;
        tail = foyer_ring_tail(ring);
        if (tail == before)
            break;
    }
    return used;
}

/* Bytes that can be written; UINT32_MAX where the indexes are invalid: reset the connection. */
static inline uint32_t foyer_ring_free(const struct foyer_ring *ring)
{
    uint32_t used = foyer_ring_used(ring);
    return used == UINT32_MAX ? UINT32_MAX : ring->size - used;
}

#define FOYER_RING_RECEIVE_DEFAULT 65536u

/*
 * How many bytes a writer that keeps to the limits puts into the ring: those of its own send buffer
 * and of the reader's receive buffer, as far as there is room. 0, the default of both: a send buffer
 * that is larger than any ring, and FOYER_RING_RECEIVE_DEFAULT.
 */
static inline uint32_t foyer_ring_limit(const struct foyer_ring *ring)
{
    uint32_t send = atomic_load_explicit(&ring->shared->send_limit, memory_order_relaxed);
    if (send == 0 || send >= ring->size)
        return ring->size;
    uint32_t receive = atomic_load_explicit(&ring->shared->receive_limit, memory_order_relaxed);
    if (receive == 0)
        receive = FOYER_RING_RECEIVE_DEFAULT;
    return receive >= ring->size - send ? ring->size : send + receive;
}

/* What is left of the limit; 0 beyond it; UINT32_MAX as above. */
static inline uint32_t foyer_ring_room(const struct foyer_ring *ring)
{
    uint32_t used = foyer_ring_used(ring), limit = foyer_ring_limit(ring);
    return used == UINT32_MAX ? UINT32_MAX : used < limit ? limit - used : 0;
}

/* Copies count bytes to absolute position pos. The caller has checked pos and count. */
static inline void foyer_ring_put(const struct foyer_ring *ring, uint32_t pos, const void *from,
                                  uint32_t count)
{
    uint32_t at = pos & (ring->size - 1);
    uint32_t first = ring->size - at < count ? ring->size - at : count;
    memcpy(ring->data + at, from, first);
    if (count > first)
        memcpy(ring->data, (const uint8_t *)from + first, count - first);
}

static inline void foyer_ring_get(const struct foyer_ring *ring, uint32_t pos, void *to,
                                  uint32_t count)
{
    uint32_t at = pos & (ring->size - 1);
    uint32_t first = ring->size - at < count ? ring->size - at : count;
    memcpy(to, ring->data + at, first);
    if (count > first)
        memcpy((uint8_t *)to + first, ring->data, count - first);
}

static inline void foyer_ring_publish_head(const struct foyer_ring *ring, uint32_t head)
{
    atomic_store_explicit(&ring->shared->head, head, memory_order_release);
}

static inline void foyer_ring_publish_tail(const struct foyer_ring *ring, uint32_t tail)
{
    atomic_store_explicit(&ring->shared->tail, tail, memory_order_release);
}

/*
 * The writer marks the byte at a position of the ring as urgent (RFC 9293 section 3.8.5), in the
 * place of the one before, and then publishes the head: who sees the byte sees that it is urgent. A
 * reader that stands before the one before shall pass over it: as Linux's tcp_check_urg.
 */
static inline void foyer_ring_put_urgent(const struct foyer_ring *ring, uint32_t position)
{
    uint64_t last = atomic_load_explicit(&ring->shared->urgent, memory_order_relaxed);
    uint64_t left = atomic_load_explicit(&ring->shared->urgent_left, memory_order_relaxed);
    uint64_t number = (uint32_t)(last >> 32) == UINT32_MAX ? 1 : (last >> 32) + 1;
    uint32_t tail = foyer_ring_tail(ring), reader = tail;
    if (left >> 32 == last >> 32 && (int32_t)((uint32_t)left - tail) > 0)
        reader = (uint32_t)left;
    if (last != 0 && (uint32_t)last == reader && (int32_t)(foyer_ring_head(ring) - reader) > 0)
        reader++;
    if (reader != tail)
        atomic_store_explicit(&ring->shared->urgent_left, number << 32 | reader,
                              memory_order_relaxed);
    atomic_store_explicit(&ring->shared->urgent, number << 32 | position, memory_order_release);
}

/* The writer's end of the wake-up handshake, after head or writer_state was published. */
static inline bool foyer_ring_take_reader_waiting(const struct foyer_ring *ring)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->shared->reader_waiter.waiting, memory_order_relaxed) == 0)
        return false;
    return atomic_exchange(&ring->shared->reader_waiter.waiting, 0) != 0;
}

/* The reader's end, after tail or reader_state was published. */
static inline bool foyer_ring_take_writer_waiting(const struct foyer_ring *ring)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&ring->shared->writer_waiter.waiting, memory_order_relaxed) == 0)
        return false;
    return atomic_exchange(&ring->shared->writer_waiter.waiting, 0) != 0;
}

/* Before sleeping: announce, then look once more (the fence orders the two), then sleep. */
static inline void foyer_ring_announce_reader(const struct foyer_ring *ring)
{
    atomic_store_explicit(&ring->shared->reader_waiter.waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

static inline void foyer_ring_announce_writer(const struct foyer_ring *ring)
{
    atomic_store_explicit(&ring->shared->writer_waiter.waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/*
 * An announcement of one sleep behind many rings. It can be taken back, so that a reader that was
 * woken by one of them does not pay for the doorbells of the others while it is awake anyway. And
 * one doorbell answers it on all of them, since the announcer promises to look at each of its rings
 * once it is awake: a writer that has rung for (sleeper, token) need not ring for it again.
 *
 * token is at least 2 and another one for each sleep. sleeper tells the announcers of one program
 * apart; 0: each ring wants its own doorbell. Where two announce, the word becomes 1 and stays so
 * until the ring.
 */
static inline void foyer_ring_announce_as(struct foyer_ring_waiter *waiter, uint32_t sleeper,
                                          uint32_t token)
{
    uint32_t found = 0;
    /* Before the token: whoever reads that one reads this sleeper or a later one. */
    atomic_store_explicit(&waiter->sleeper, sleeper, memory_order_relaxed);
    if (!atomic_compare_exchange_strong(&waiter->waiting, &found, token) && found != token)
        atomic_store_explicit(&waiter->waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Then a fence, then a last look at the ring: what came until now may have rung nobody. */
static inline void foyer_ring_retract(struct foyer_ring_waiter *waiter, uint32_t token)
{
    if (atomic_load_explicit(&waiter->waiting, memory_order_relaxed) == token)
        atomic_compare_exchange_strong(&waiter->waiting, &token, 0);
}

/*
 * A datagram in a ring: this header, then payload_size bytes, padded to 8. Positions of records
 * are multiples of 8; a record may wrap round the ring's end. Towards the stack, peer is the
 * destination (family zero: the connected one); from the stack, the source.
 */
struct foyer_datagram_header {
    uint32_t payload_size;
    uint16_t segment_size; /* UDP GSO/GRO: size of each datagram in the payload; 0: one datagram */
    uint16_t flags;        /* enum foyer_datagram_flags */
    uint16_t peer_port;    /* host byte order; on receipt 0 means the sender gave none (RFC 768) */
    uint8_t ttl, tos; /* hop limit, traffic class; on receipt always, to the stack with a flag */
    uint16_t reserved[2];
    uint8_t peer_addr[16];  /* as struct foyer_addr */
    uint8_t local_addr[16]; /* on receipt: the address the datagram was sent to */
};

_Static_assert(sizeof(struct foyer_datagram_header) == 48, "layout is shared between processes");

enum foyer_datagram_flags {
    /* All to the stack: */
    FOYER_DATAGRAM_CONNECTED = 1u << 0, /* peer is not given, use the connected one */
    FOYER_DATAGRAM_TTL = 1u << 1,       /* ttl is given; else the socket's */
    FOYER_DATAGRAM_TOS = 1u << 2,       /* tos is */
    FOYER_DATAGRAM_LOCAL = 1u << 3,     /* local_addr is the source, an address of the host's */
    FOYER_DATAGRAM_CHECKSUM = 1u << 4,  /* with a checksum, whatever the socket says */
};

static inline uint32_t foyer_datagram_record_size(uint32_t payload_size)
{
    return (uint32_t)sizeof(struct foyer_datagram_header) + ((payload_size + 7u) & ~7u);
}

#endif
