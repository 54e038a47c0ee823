/*
 * The memory that an attached program and foyerd (and, for the local carrier, two programs)
 * share. Three kinds:
 *
 * channel  A memfd, one per connection (TCP) or socket (UDP): a control page with two rings and
 *          their data. Mapped by the two ends of the connection and by foyerd. Each end treats
 *          what it reads there as hostile (include/foyer/ring.h).
 *
 * arena    A memfd, one per session: slots of 256 bytes, one per socket, with what all holders of
 *          one open file description share (the kernel's struct socket, so to say): state,
 *          pending error, options, locks. Mapped by the program that opened the socket, its forked
 *          children, whoever got a descriptor by exec or SCM_RIGHTS, and foyerd. Never by the peer
 *          of a connection. foyerd writes state, error and endpoints and believes nothing it reads
 *          here beyond what it says at the field.
 *
 * direct   A memfd, one per pair of UDP sockets of which one sends much to the other: a control page
 *          and one ring, written by the sender, read by the receiver (docs/decisions/0007). Who the
 *          sender is, and where a ring that was revoked ends, is not in it: foyerd tells the
 *          receiver.
 *
 * All are sealed against shrinking (F_SEAL_SHRINK | F_SEAL_GROW), so that no party can make the
 * other fault. Sizes come in messages from foyerd, never from the memory itself.
 */
#ifndef FOYER_IPC_SHM_H
#define FOYER_IPC_SHM_H

#include <time.h>

#include "foyer/ring.h"
#include "foyer/types.h"

/* ---- channel --------------------------------------------------------------------------------- */

#define FOYER_CHANNEL_DATA_OFFSET 4096u
#define FOYER_CHANNEL_RING_SIZE_DEFAULT 262144u

/*
 * A local connection that both ends have closed in order can be parked: the descriptors, the port
 * and the channel stay, and the same two programs use them for their next connection without
 * foyerd (docs/decisions/0006). The word holds a state, and above it a number that grows with each
 * parking; it is changed by compare-and-swap alone.
 */
enum foyer_keep_state {
    FOYER_KEEP_OPEN = 0,
    FOYER_KEEP_LEFT_0,    /* side 0 has closed its end and holds it, hidden; side 1 has not */
    FOYER_KEEP_LEFT_1,    /* the other way round */
    FOYER_KEEP_PARKED,    /* both have; the rings are fresh. foyerd may dissolve it */
    FOYER_KEEP_CLAIMED,   /* side 0 is about to connect by it */
    FOYER_KEEP_OFFERED,   /* side 0 is connected, side 1 has not accepted it yet */
    FOYER_KEEP_DISSOLVED, /* never again */
};

struct foyer_keep {
    alignas(64) _Atomic uint64_t word; /* number << 8 | enum foyer_keep_state */
    /* Side 1 sleeps, and wants to be rung when the connection is offered. */
    _Atomic uint32_t acceptor_waiting;
    _Atomic int64_t offered_ns; /* CLOCK_MONOTONIC; who came first is accepted first */
    /* foyerd was told that it is there, and looks after it. Else it is to be told. */
    _Atomic uint32_t is_noted;
    /*
     * Side 1 has the listener together with other processes: when this one last was about to accept
     * (CLOCK_MONOTONIC), FOYER_KEEP_ACCEPTS while it waits for connections. 0: no other accepts.
     */
    _Atomic int64_t accepts_ns;
    /* The listener is of a SO_REUSEPORT group: connections shall spread. Written by foyerd. */
    _Atomic uint32_t is_of_group;
};

#define FOYER_KEEP_ACCEPTS INT64_MAX

static inline enum foyer_keep_state foyer_keep_state(uint64_t word)
{
    return (enum foyer_keep_state)(word & 0xff);
}

/* From one state to another, if nobody was faster. */
static inline bool foyer_keep_change(struct foyer_keep *keep, enum foyer_keep_state from,
                                     enum foyer_keep_state to)
{
    uint64_t word = atomic_load(&keep->word);
    uint64_t after = (word & ~(uint64_t)0xff) | (uint64_t)to;
    if (to == FOYER_KEEP_PARKED)
        after += 0x100;
    return foyer_keep_state(word) == from &&
           atomic_compare_exchange_strong(&keep->word, &word, after);
}

#define FOYER_CHANNEL_NOOK_SIZE 1760u

/*
 * rings[0] is written by side 0, rings[1] by side 1. Side 0 is the program that connected (or
 * the program, where foyerd is the other end: UDP and relayed TCP opened from inside); side 1
 * the one that accepted. data of rings[i] begins at FOYER_CHANNEL_DATA_OFFSET + i * ring_size.
 *
 * Local carrier: bytes origin to origin + FOYER_CHANNEL_NOOK_SIZE - 1 of a ring are in its nook,
 * those behind in data, from its begin on and round and round. A writer that finds the ring drained
 * moves origin to head when the next bytes would leave the nook. So a connection of small requests
 * and answers touches the control page alone, over and over, and not the whole of its rings; and a
 * full ring still holds ring_size bytes: two positions that far apart share a place, none nearer.
 */
struct foyer_channel {
    struct foyer_ring_shared rings[2];
    struct foyer_keep keep;
    uint8_t nooks[2][FOYER_CHANNEL_NOOK_SIZE];
};

_Static_assert(sizeof(struct foyer_channel) <= FOYER_CHANNEL_DATA_OFFSET, "the control page");

static inline struct foyer_keep *foyer_channel_keep(void *memory)
{
    return &((struct foyer_channel *)memory)->keep;
}

static inline size_t foyer_channel_size(uint32_t ring_size)
{
    return (size_t)FOYER_CHANNEL_DATA_OFFSET + 2 * (size_t)ring_size;
}

static inline struct foyer_ring foyer_channel_ring(void *memory, uint32_t ring_size,
                                                   unsigned writer_side)
{
    struct foyer_channel *channel = memory;
    struct foyer_ring ring = {
        .shared = &channel->rings[writer_side & 1],
        .data =
            (uint8_t *)memory + FOYER_CHANNEL_DATA_OFFSET + (size_t)(writer_side & 1) * ring_size,
        .size = ring_size,
    };
    return ring;
}

/* ---- order of arrival ------------------------------------------------------------------------ */

/* The time in ticks of 10 to 40 ns, for comparison alone and round and round; never 0. */
static inline uint32_t foyer_arrival_now(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return (uint32_t)(__builtin_ia32_rdtsc() >> 6) | 1;
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return (uint32_t)ticks | 1;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) >> 5 | 1;
#endif
}

/*
 * For the writer of a drained ring, before bytes or its end: a reader of several rings can then tell
 * which became readable first. As Linux's ready list: what follows before the reader came is no news.
 */
static inline void foyer_arrival_note(const struct foyer_ring *ring)
{
    atomic_store_explicit(&ring->shared->filled_at, foyer_arrival_now(), memory_order_relaxed);
}

static inline void foyer_arrival_note_end(const struct foyer_ring *ring)
{
    if (atomic_load(&ring->shared->writer_state) == FOYER_RING_OPEN && foyer_ring_used(ring) == 0)
        foyer_arrival_note(ring);
}

static inline bool foyer_arrival_is_earlier(uint32_t one, uint32_t other)
{
    return (int32_t)(one - other) < 0;
}

/* ---- direct rings ---------------------------------------------------------------------------- */

#define FOYER_DIRECT_DATA_OFFSET 4096u
#define FOYER_DIRECT_RING_SIZE_MIN 262144u /* holds the largest datagram */
#define FOYER_DIRECT_RING_SIZE_MAX (4u << 20)
#define FOYER_DIRECT_MAX 64u /* rings that lead to one socket, and from one */

/* The control page. Hostile to both. */
struct foyer_direct {
    struct foyer_ring_shared
        ring; /* reader_waiter says 1 at first: the reader is yet to hear of it */
    /* The reader is asleep and was announced: foyerd, which the writer rings, shall ring it. */
    alignas(64) _Atomic uint32_t wants_bell;
    _Atomic uint32_t limit_bytes;   /* the writer keeps to it: the receiver's SO_RCVBUF */
    _Atomic uint64_t dropped_count; /* datagrams that found no room */
};

/* A datagram in a direct ring: this, then payload_size bytes, padded to 8. */
struct foyer_direct_header {
    uint32_t payload_size;
    uint16_t segment_size; /* as in struct foyer_datagram_header */
    uint8_t ttl, tos;
    int64_t sent_ns; /* CLOCK_MONOTONIC: what order datagrams of several senders came in */
};

_Static_assert(sizeof(struct foyer_direct_header) == 16, "layout is shared between processes");
_Static_assert(sizeof(struct foyer_direct) <= FOYER_DIRECT_DATA_OFFSET, "one page");

static inline uint32_t foyer_direct_record_size(uint32_t payload_size)
{
    return (uint32_t)sizeof(struct foyer_direct_header) + ((payload_size + 7u) & ~7u);
}

static inline size_t foyer_direct_size(uint32_t ring_size)
{
    return (size_t)FOYER_DIRECT_DATA_OFFSET + ring_size;
}

static inline struct foyer_ring foyer_direct_ring(void *memory, uint32_t ring_size)
{
    struct foyer_direct *direct = memory;
    struct foyer_ring ring = {
        .shared = &direct->ring,
        .data = (uint8_t *)memory + FOYER_DIRECT_DATA_OFFSET,
        .size = ring_size,
    };
    return ring;
}

/* ---- arena --------------------------------------------------------------------------------- */

#define FOYER_ARENA_SLOT_COUNT 65536u
#define FOYER_SLOT_SIZE 256u
#define FOYER_SLOT_BELL_PLACES 8u

enum foyer_slot_state {
    FOYER_SLOT_FREE = 0,
    FOYER_SLOT_FRESH,      /* socket(); allowed: bind, connect, listen, options */
    FOYER_SLOT_LISTENING,  /* allowed: accept, close */
    FOYER_SLOT_CONNECTING, /* a channel exists; foyerd moves on to CONNECTED or FAILED */
    FOYER_SLOT_CONNECTED,  /* a channel exists; the rings tell FIN and RESET */
    FOYER_SLOT_FAILED,     /* connect failed: error tells why; connect may be tried again */
    FOYER_SLOT_DATAGRAM,   /* UDP: a channel exists from the start */
};

enum foyer_slot_options {
    FOYER_SLOT_REUSEADDR = 1u << 0,
    FOYER_SLOT_REUSEPORT = 1u << 1,
    FOYER_SLOT_V6ONLY = 1u << 2,
    FOYER_SLOT_NODELAY = 1u << 3,
    FOYER_SLOT_CORK = 1u << 4,
    FOYER_SLOT_KEEPALIVE = 1u << 5,
    FOYER_SLOT_LINGER = 1u << 6, /* linger_s counts */
    FOYER_SLOT_BROADCAST = 1u << 7,
    FOYER_SLOT_NONBLOCK = 1u << 8, /* O_NONBLOCK of the open file description */
    FOYER_SLOT_SHUT_READ = 1u << 9,
    FOYER_SLOT_SHUT_WRITE = 1u << 10,
    FOYER_SLOT_BOUND = 1u << 11,
    FOYER_SLOT_PEER = 1u << 12, /* remote is set (UDP: connected) */
    FOYER_SLOT_RECV_PKTINFO = 1u << 13,
    /* A holder saw the connection's reset and has put it into error: not a second time. */
    FOYER_SLOT_RESET_SEEN = 1u << 14,
    FOYER_SLOT_OOBINLINE = 1u << 15,
    /*
     * The holder is closing the socket and no thread of it will touch the rings again: foyerd may
     * give the channel to the next connection between the same two arenas.
     */
    FOYER_SLOT_CHANNEL_LEFT = 1u << 16,
    /*
     * foyerd has seen the peer's end, after it has said so in the rings. Whoever is not told there
     * has a peer that writes over it: the connection is reset.
     */
    FOYER_SLOT_PEER_GONE = 1u << 17,
    FOYER_SLOT_RECV_TTL = 1u << 18,
    FOYER_SLOT_RECV_TOS = 1u << 19,
    FOYER_SLOT_RECV_HOPLIMIT = 1u << 20, /* the same two for IPv6 */
    FOYER_SLOT_RECV_TCLASS = 1u << 21,
    FOYER_SLOT_GRO = 1u << 22, /* asked for; there is nothing to coalesce */
    FOYER_SLOT_RECV_ANY = FOYER_SLOT_RECV_PKTINFO | FOYER_SLOT_RECV_TTL | FOYER_SLOT_RECV_TOS |
                          FOYER_SLOT_RECV_HOPLIMIT | FOYER_SLOT_RECV_TCLASS,
    /* Of a listener: connections from it are not to be parked. */
    FOYER_SLOT_NOT_KEPT = 1u << 23,
    /* Its program has closed it and keeps it; the peer cannot say otherwise. */
    FOYER_SLOT_LEFT = 1u << 24,
    FOYER_SLOT_NO_MULTICAST_LOOP = 1u << 25,
    FOYER_SLOT_RECVERR = 1u << 26, /* UDP: errors are queued */
    FOYER_SLOT_RECVERR6 = 1u << 27,
    FOYER_SLOT_RECVERR_ANY = FOYER_SLOT_RECVERR | FOYER_SLOT_RECVERR6,
    /* Of a listener: several processes accept from it. */
    FOYER_SLOT_SHARED = 1u << 28,
    /*
     * foyerd has given the other end of the connection to another process than the one that had it
     * parked: the peer's bell is another one, too.
     */
    FOYER_SLOT_MOVED = 1u << 29,
};

struct foyer_slot {
    _Atomic uint64_t id;            /* the socket's id; 0: free. Written by foyerd. */
    _Atomic uint32_t state;         /* enum foyer_slot_state; written by foyerd */
    _Atomic int32_t error;          /* pending SO_ERROR, positive errno; taken by exchange with 0 */
    _Atomic uint32_t options;       /* enum foyer_slot_options; read by foyerd as wishes */
    _Atomic uint32_t accepted;      /* how many accept messages programs have taken from a listener;
                                   foyerd clamps it to what it sent */
    _Atomic uint32_t accept_wanted; /* foyerd: connections wait for room; ring it after accept */
    /*
     * Locks of a side's readers and writers: 0 or the thread id of the holder. A waiter that
     * finds the holder dead (kill -9 in the middle) takes the lock over. Not read by foyerd.
     */
    _Atomic uint32_t read_lock, write_lock;
    /* Threads that sleep in the kernel on this socket, per direction. Not read by foyerd. */
    _Atomic uint32_t read_sleepers, write_sleepers;
    _Atomic uint32_t bell_dirty;     /* a doorbell byte may be in the descriptor's queue */
    uint32_t family, type, protocol; /* AF_*, SOCK_*, IPPROTO_*; set once */
    int32_t linger_s;
    int64_t receive_timeout_us, send_timeout_us; /* 0: none */
    uint32_t receive_low_water;
    uint32_t receive_buffer, send_buffer; /* what SO_RCVBUF and SO_SNDBUF were set to; 0: default */
    uint32_t user_timeout_ms;
    uint16_t keep_idle_s, keep_interval_s, max_segment, keep_count;
    uint8_t ttl, tos;
    uint16_t segment_size;               /* UDP_SEGMENT; not read by foyerd */
    uint32_t ring_size;                  /* of the channel, for information only */
    struct foyer_endpoint local, remote; /* written by foyerd before state */
    /*
     * Who sleeps in poll or recv on the descriptor: a bit for each place in bell_threads, then a
     * count of those who found no place; and bit 31 while bell_drainer empties the doorbell: bytes
     * are drained only while nobody sleeps. Not read by foyerd.
     */
    _Atomic uint32_t bell_sleepers;
    /*
     * Names the memory of the channel, never twice; 0: not to be kept. A program that finds it
     * among the mappings it has kept need not map it again. Written by foyerd before state.
     */
    uint64_t channel_id;
    /*
     * UDP, written by foyerd: direct rings that lead here have come or gone; those that lead from
     * here may be wrong by now.
     */
    _Atomic uint32_t inbox_generation, routes_generation;
    /*
     * Local carrier: the number of the arena that the peer's slot is in, so tells whose announcements
     * the rings show, and that they have nooks; 0: another carrier. It stays when the peer is gone.
     * Written by foyerd before state.
     */
    uint32_t peer_arena;
    _Atomic uint32_t bell_drainer; /* thread ids, so that dead ones can be told from slow ones */
    _Atomic uint32_t bell_threads[FOYER_SLOT_BELL_PLACES];
    /* Of a listener: names the process that has accepted from it first; 0: none yet. */
    _Atomic uint64_t acceptor;
    /* Moves with each option that a stack in action must know: what is sent next is sent with it. */
    _Atomic uint32_t settings;
    /* UDP: the stack's error queue is not empty. Written by foyerd. */
    _Atomic uint32_t errors_waiting;
    /*
     * Moves before and after foyerd notes an error: one that equals the last is news as well. Odd: it
     * is being noted, and the doorbell is yet to come.
     */
    _Atomic uint32_t error_count;
    uint16_t multicast_ttl;      /* 0: the default; else one more than it is */
    uint8_t multicast_interface; /* FOYER_INTERFACE_...; 0: whichever */
    uint8_t multicast_not_all;   /* IP_MULTICAST_ALL is off: 1, IPV6_MULTICAST_ALL: 2 */
    uint8_t multicast_addr4[4];  /* what IP_MULTICAST_IF gives back; not read by foyerd */
    /* Numbers of urgent bytes (foyer_ring_shared.urgent). foyerd clears them for a new connection. */
    _Atomic uint32_t urgent_taken, urgent_passed;
};

_Static_assert(sizeof(struct foyer_slot) <= FOYER_SLOT_SIZE, "slots are 256 bytes apart");

/* What an accepted socket has from its listener, as Linux clones it. */
#define FOYER_SLOT_INHERITED                                                                       \
    (FOYER_SLOT_REUSEADDR | FOYER_SLOT_REUSEPORT | FOYER_SLOT_V6ONLY | FOYER_SLOT_NODELAY |        \
     FOYER_SLOT_CORK | FOYER_SLOT_KEEPALIVE | FOYER_SLOT_LINGER | FOYER_SLOT_OOBINLINE)

/* The options that are not bits. from NULL: the defaults. */
static inline void foyer_slot_copy_settings(struct foyer_slot *to, const struct foyer_slot *from)
{
    static const struct foyer_slot defaults;
    if (from == NULL)
        from = &defaults;
    to->linger_s = from->linger_s;
    to->receive_timeout_us = from->receive_timeout_us;
    to->send_timeout_us = from->send_timeout_us;
    to->receive_low_water = from->receive_low_water;
    to->receive_buffer = from->receive_buffer;
    to->send_buffer = from->send_buffer;
    to->user_timeout_ms = from->user_timeout_ms;
    to->keep_idle_s = from->keep_idle_s;
    to->keep_interval_s = from->keep_interval_s;
    to->keep_count = from->keep_count;
    to->max_segment = from->max_segment;
    to->ttl = from->ttl;
    to->tos = from->tos;
    to->multicast_not_all = from->multicast_not_all;
}

/*
 * Local carrier: a connection holds what the kernel's would with the same buffers, as payload: half of
 * what SO_SNDBUF and SO_RCVBUF give back. tx and rx: of the slot's side.
 */
static inline void foyer_slot_tell_limits(const struct foyer_slot *slot,
                                          const struct foyer_ring *tx, const struct foyer_ring *rx)
{
    atomic_store_explicit(&tx->shared->send_limit, slot->send_buffer / 2, memory_order_relaxed);
    atomic_store_explicit(&rx->shared->receive_limit, slot->receive_buffer / 2,
                          memory_order_relaxed);
}

static inline struct foyer_slot *foyer_arena_slot(void *arena, uint32_t index)
{
    return index < FOYER_ARENA_SLOT_COUNT
               ? (struct foyer_slot *)(void *)((uint8_t *)arena + (size_t)index * FOYER_SLOT_SIZE)
               : NULL;
}

#endif
