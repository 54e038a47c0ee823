/* The rows' work on two foyer hosts in one process. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "core.h"
#include "core_pair.h"

#define PORT 7
#define CHUNK_BYTES 65536
#define RING_BYTES 262144 /* the library's default */

struct one {
    struct pair pair;
    foyer_socket listener, client, server;
    uint8_t *from, *to; /* the programs' buffers, CHUNK_BYTES each */
};

static struct one *one_open(uint32_t capabilities)
{
    struct one *one = malloc(sizeof(*one));
    CORE_CHECK(one != NULL);
    pair_init(&one->pair, &(struct pair_config){.capabilities = capabilities});
    one->listener = pair_listen(&one->pair, PORT, 128);
    one->from = malloc(CHUNK_BYTES);
    one->to = malloc(CHUNK_BYTES);
    CORE_CHECK(one->from != NULL && one->to != NULL);
    memset(one->from, 0x5a, CHUNK_BYTES);
    memset(one->to, 0, CHUNK_BYTES);
    return one;
}

static void one_close(void *state)
{
    struct one *one = state;
    pair_finish(&one->pair);
    free(one->from);
    free(one->to);
    free(one);
}

/* ---- bulk: argument 0: bare frames; 1: checksums left to the wire; 2: super-segments too ------ */

static void *bulk_open(long argument)
{
    static const uint32_t capabilities[] = {0, FOYER_LINK_TX_CHECKSUM,
                                            FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4};
    struct one *one = one_open(capabilities[argument]);
    pair_establish(&one->pair, one->listener, PORT, &one->client, &one->server);
    return one;
}

static uint64_t bulk_round(struct one *one)
{
    struct pair *pair = &one->pair;
    int64_t size;
    while ((size = foyer_socket_send(pair->hosts[0], one->client, one->from, CHUNK_BYTES,
                                     pair->now)) == CHUNK_BYTES)
        ;
    CORE_CHECK(size >= 0 || size == -EAGAIN);
    uint64_t received = 0;
    (void)pair_carry(pair, 0);
    while ((size = foyer_socket_recv(pair->hosts[1], one->server, one->to, CHUNK_BYTES,
                                     pair->now)) > 0)
        received += (uint64_t)size;
    CORE_CHECK(size == -EAGAIN);
    (void)pair_carry(pair, 1);
    pair_drain_events(pair);
    return received;
}

static double bulk_measure(void *state, double seconds)
{
    struct one *one = state;
    struct foyer_host_stats before, after;
    foyer_host_stats(one->pair.hosts[0], &before);
    uint64_t received = 0;
    double start = core_seconds(), now = start;
    do {
        /* Time follows the machine's clock, as in a program. */
        for (unsigned i = 0; i < 16; i++)
            received += bulk_round(one);
        double then = now;
        now = core_seconds();
        pair_advance(&one->pair, (foyer_time_ns)((now - then) * 1e9));
    } while (now - start < seconds);
    foyer_host_stats(one->pair.hosts[0], &after);
    CORE_CHECK(after.tcp_retrans_segs == before.tcp_retrans_segs);
    CORE_CHECK(one->to[0] == 0x5a && one->to[1000] == 0x5a);
    return (double)received * 8 / 1e9 / (now - start);
}

const struct subject foyer_bulk = {bulk_open, bulk_measure, one_close};

/* ---- the floor of bulk ------------------------------------------------------------------------ */

/*
 * Program to ring, ring to ring, ring to program. argument 0: ring to ring in segments, with the
 * checksums of both ends; 1: without; 2: all in pieces of 64 KiB.
 */
#define SEGMENT_BYTES 1448u

struct copies {
    long kind;
    uint8_t *from, *send_ring, *receive_ring, *to;
};

static void *copies_open(long argument)
{
    struct copies *copies = malloc(sizeof(*copies));
    CORE_CHECK(copies != NULL);
    copies->kind = argument;
    copies->from = malloc(CHUNK_BYTES);
    copies->send_ring = malloc(RING_BYTES);
    copies->receive_ring = malloc(RING_BYTES);
    copies->to = malloc(CHUNK_BYTES);
    CORE_CHECK(copies->from != NULL && copies->send_ring != NULL);
    CORE_CHECK(copies->receive_ring != NULL && copies->to != NULL);
    memset(copies->from, 0x5a, CHUNK_BYTES);
    memset(copies->send_ring, 0, RING_BYTES);
    memset(copies->receive_ring, 0, RING_BYTES);
    return copies;
}

/* Keeps the compiler from leaving out or joining copies. */
static void copy(uint8_t *to, const uint8_t *from, size_t size)
{
    memcpy(to, from, size);
    __asm__ volatile("" : : "r"(to), "r"(from) : "memory");
}

static void carry_ring(const struct copies *copies)
{
    size_t step = copies->kind == 2 ? CHUNK_BYTES : SEGMENT_BYTES;
    for (size_t at = 0; at < RING_BYTES; at += step) {
        size_t size = RING_BYTES - at < step ? RING_BYTES - at : step;
        uint16_t sums = 0;
        if (copies->kind == 0)
            for (unsigned end = 0; end < 2; end++) {
                sums ^= checksum_of(copies->send_ring + at, size);
                __asm__ volatile("" : : "r"(sums) : "memory");
            }
        copy(copies->receive_ring + at, copies->send_ring + at, size);
    }
}

static double copies_measure(void *state, double seconds)
{
    struct copies *copies = state;
    uint64_t bytes = 0;
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 16; i++) {
            for (size_t at = 0; at < RING_BYTES; at += CHUNK_BYTES)
                copy(copies->send_ring + at, copies->from, CHUNK_BYTES);
            carry_ring(copies);
            for (size_t at = 0; at < RING_BYTES; at += CHUNK_BYTES)
                copy(copies->to, copies->receive_ring + at, CHUNK_BYTES);
            bytes += RING_BYTES;
        }
        now = core_seconds();
    } while (now - start < seconds);
    CORE_CHECK(copies->to[CHUNK_BYTES - 1] == 0x5a);
    return (double)bytes * 8 / 1e9 / (now - start);
}

static void copies_close(void *state)
{
    struct copies *copies = state;
    free(copies->from);
    free(copies->send_ring);
    free(copies->receive_ring);
    free(copies->to);
    free(copies);
}

const struct subject bare_copies = {copies_open, copies_measure, copies_close};

/* ---- requests ----------------------------------------------------------------------------------- */

#define REQUEST_BYTES 64

static void *requests_open(long argument)
{
    (void)argument;
    return bulk_open(0);
}

static void say(struct one *one, unsigned end)
{
    struct pair *pair = &one->pair;
    foyer_socket speaker = end == 0 ? one->client : one->server;
    foyer_socket hearer = end == 0 ? one->server : one->client;
    CORE_CHECK(foyer_socket_send(pair->hosts[end], speaker, one->from, REQUEST_BYTES, pair->now) ==
               REQUEST_BYTES);
    CORE_CHECK(pair_carry(pair, end));
    CORE_CHECK(foyer_socket_recv(pair->hosts[1 - end], hearer, one->to, CHUNK_BYTES, pair->now) ==
               REQUEST_BYTES);
}

static double requests_measure(void *state, double seconds)
{
    struct one *one = state;
    uint64_t count = 0;
    double start = core_seconds(), now = start;
    do {
        for (unsigned i = 0; i < 64; i++, count++) {
            say(one, 0);
            say(one, 1);
            pair_drain_events(&one->pair);
        }
        double then = now;
        now = core_seconds();
        pair_advance(&one->pair, (foyer_time_ns)((now - then) * 1e9));
    } while (now - start < seconds);
    return (double)count / (now - start);
}

const struct subject foyer_requests = {requests_open, requests_measure, one_close};

/* ---- connects ------------------------------------------------------------------------------------ */

static void *connects_open(long argument)
{
    (void)argument;
    return one_open(0);
}

static void connect_and_close(struct one *one)
{
    struct pair *pair = &one->pair;
    pair_establish(pair, one->listener, PORT, &one->client, &one->server);
    CORE_CHECK(foyer_socket_close(pair->hosts[0], one->client, pair->now) == 0);
    pair_settle(pair);
    CORE_CHECK(foyer_socket_close(pair->hosts[1], one->server, pair->now) == 0);
    pair_settle(pair);
    pair_drain_events(pair);
}

static double connects_measure(void *state, double seconds)
{
    struct one *one = state;
    uint64_t count = 0;
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 1000; i++, count++)
            connect_and_close(one);
        /* TIME-WAIT passes, at the cost of its timers; else the ports run out. */
        pair_advance(&one->pair, 300 * FOYER_NS_PER_S);
        pair_settle(&one->pair);
        now = core_seconds();
    } while (now - start < seconds);
    return (double)count / (now - start);
}

const struct subject foyer_connects = {connects_open, connects_measure, one_close};

/* ---- many connections ----------------------------------------------------------------------------- */

#define PER_PORT 40000u /* connections to one listener's port, of 64512 */
#define BATCH 256u

struct many {
    struct pair pair;
    uint32_t count;
    uint64_t bytes_before;
    uint64_t heap_bytes; /* given out while they were made */
};

static void hold(struct many *many)
{
    struct pair *pair = &many->pair;
    foyer_socket listener = FOYER_SOCKET_NONE, server;
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < many->count;) {
        uint16_t port = (uint16_t)(PORT + i / PER_PORT);
        if (i % PER_PORT == 0)
            listener = pair_listen(pair, port, BATCH);
        for (uint32_t j = 0; j < BATCH && i < many->count; j++) {
            (void)pair_connect(pair, port);
            if (++i % PER_PORT == 0)
                break;
        }
        pair_settle(pair);
        while (foyer_socket_accept(pair->hosts[1], listener, 1, &server) == 0)
            accepted++;
        pair_drain_events(pair);
        pair_advance(pair, FOYER_NS_PER_MS);
    }
    CORE_CHECK(accepted == many->count);
}

static struct many *many_open(uint32_t count)
{
    struct many *many = malloc(sizeof(*many));
    CORE_CHECK(many != NULL);
    uint64_t heap = core_heap_bytes();
    *many = (struct many){.count = count};
    struct pair_config config = {.max_sockets = count + count / PER_PORT + 64,
                                 .ephemeral_first = 1024};
    pair_init(&many->pair, &config);
    many->bytes_before = many->pair.allocated_bytes;
    hold(many);
    many->heap_bytes = core_heap_bytes() - heap;
    return many;
}

static void many_close(void *state)
{
    struct many *many = state;
    pair_finish(&many->pair);
    free(many);
}

/* argument: how many. Both ends are held here, so one connection is counted by its two halves. */
static void *idle_open(long argument)
{
    return many_open((uint32_t)argument);
}

static double idle_measure(void *state, double seconds)
{
    const struct many *many = state;
    (void)seconds;
    return (double)(many->pair.allocated_bytes - many->bytes_before) / (2.0 * many->count);
}

const struct subject foyer_idle = {idle_open, idle_measure, many_close};

static double idle_heap_measure(void *state, double seconds)
{
    const struct many *many = state;
    (void)seconds;
    return (double)many->heap_bytes / (2.0 * many->count);
}

const struct subject foyer_idle_heap = {idle_open, idle_heap_measure, many_close};

/* ---- ephemeral ports ---------------------------------------------------------------------------------- */

#define PORT_COUNT (CORE_PORT_LAST - CORE_PORT_FIRST + 1)
#define PORT_BATCH 16u

/* argument: thousandths of the ports that are taken by connections to one destination. */
static void *port_open(long argument)
{
    struct many *many = malloc(sizeof(*many));
    CORE_CHECK(many != NULL);
    *many = (struct many){.count = (uint32_t)(PORT_COUNT * (uint64_t)argument / 1000)};
    pair_init(&many->pair, &(struct pair_config){.ephemeral_first = CORE_PORT_FIRST});
    for (uint32_t i = 0; i < many->count; i++)
        (void)pair_connect(&many->pair, PORT);
    return many;
}

static double port_measure(void *state, double seconds)
{
    struct many *many = state;
    struct pair *pair = &many->pair;
    struct foyer_host *host = pair->hosts[0];
    const struct foyer_endpoint remote = pair_endpoint(1, PORT);
    double spent = 0, cost = core_clock_cost(), begin = core_seconds();
    uint64_t count = 0;
    do {
        foyer_socket sockets[PORT_BATCH];
        for (unsigned i = 0; i < PORT_BATCH; i++)
            CORE_CHECK(foyer_socket_open(host, FOYER_FAMILY_V4, FOYER_TCP, 1, &sockets[i]) == 0);
        double start = core_seconds();
        for (unsigned i = 0; i < PORT_BATCH; i++)
            CORE_CHECK(foyer_socket_connect(host, sockets[i], &remote, pair->now) == -EINPROGRESS);
        spent += core_seconds() - start - cost;
        for (unsigned i = 0; i < PORT_BATCH; i++)
            CORE_CHECK(foyer_socket_abort(host, sockets[i], pair->now) == 0);
        count += PORT_BATCH;
    } while (core_seconds() - begin < seconds);
    return spent * 1e9 / (double)count;
}

const struct subject foyer_port = {port_open, port_measure, many_close};
