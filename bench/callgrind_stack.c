/*
 * A fixed amount of work for callgrind: connections, a bulk transfer, requests, closes. It
 * follows from nothing but the code, so the count of instructions is the same every time;
 * check_callgrind.py compares it with callgrind.txt.
 *
 *     callgrind_stack                           all of it, without and with a link that cuts and sums
 *     callgrind_stack connects|requests|bulk N  N of one kind alone (bulk: segments), for
 *                                               check_callgrind.py --per
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "core_pair.h"

#include <stdio.h>

#define PORT 7
#define BULK_BYTES (4u << 20)
#define SEGMENT_BYTES 1448u
#define REQUESTS 2000u
#define CONNECTIONS 500u

void core_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    exit(1);
}

static uint8_t bytes[65536];

static void bulk(struct pair *pair, foyer_socket from, foyer_socket to, uint64_t all)
{
    uint64_t sent = 0, received = 0;
    while (received < all) {
        size_t left = all - sent;
        int64_t size = 0;
        if (left > 0)
            size = foyer_socket_send(pair->hosts[0], from, bytes,
                                     left < sizeof(bytes) ? left : sizeof(bytes), pair->now);
        CORE_CHECK(size >= 0 || size == -EAGAIN);
        sent += size > 0 ? (uint64_t)size : 0;
        (void)pair_carry(pair, 0);
        while ((size = foyer_socket_recv(pair->hosts[1], to, bytes, sizeof(bytes), pair->now)) > 0)
            received += (uint64_t)size;
        (void)pair_carry(pair, 1);
        pair_drain_events(pair);
        pair_advance(pair, 100 * FOYER_NS_PER_US);
    }
}

static void say(struct pair *pair, unsigned end, foyer_socket from, foyer_socket to)
{
    CORE_CHECK(foyer_socket_send(pair->hosts[end], from, bytes, 64, pair->now) == 64);
    (void)pair_carry(pair, end);
    CORE_CHECK(foyer_socket_recv(pair->hosts[1 - end], to, bytes, sizeof(bytes), pair->now) == 64);
}

static void requests(struct pair *pair, foyer_socket client, foyer_socket server, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        say(pair, 0, client, server);
        say(pair, 1, server, client);
        pair_drain_events(pair);
        pair_advance(pair, 10 * FOYER_NS_PER_US);
    }
}

static void connects(struct pair *pair, foyer_socket listener, unsigned count)
{
    foyer_socket client, server;
    for (unsigned i = 0; i < count; i++) {
        pair_establish(pair, listener, PORT, &client, &server);
        CORE_CHECK(foyer_socket_close(pair->hosts[0], client, pair->now) == 0);
        pair_settle(pair);
        CORE_CHECK(foyer_socket_close(pair->hosts[1], server, pair->now) == 0);
        pair_settle(pair);
        pair_drain_events(pair);
        pair_advance(pair, FOYER_NS_PER_MS);
    }
}

static void run(uint32_t capabilities)
{
    struct pair pair;
    foyer_socket client, server;
    pair_init(&pair, &(struct pair_config){.capabilities = capabilities});
    foyer_socket listener = pair_listen(&pair, PORT, 16);
    pair_establish(&pair, listener, PORT, &client, &server);
    bulk(&pair, client, server, BULK_BYTES);
    requests(&pair, client, server, REQUESTS);
    connects(&pair, listener, CONNECTIONS);
    pair_finish(&pair);
}

static void run_alone(const char *kind, unsigned count)
{
    struct pair pair;
    foyer_socket client, server;
    pair_init(&pair, &(struct pair_config){0});
    foyer_socket listener = pair_listen(&pair, PORT, 16);
    pair_establish(&pair, listener, PORT, &client, &server);
    if (strcmp(kind, "connects") == 0)
        connects(&pair, listener, count);
    else if (strcmp(kind, "requests") == 0)
        requests(&pair, client, server, count);
    else
        bulk(&pair, client, server, count * (uint64_t)SEGMENT_BYTES);
    pair_advance(&pair, 300 * FOYER_NS_PER_S); /* TIME-WAIT has its cost, too */
    pair_settle(&pair);
    pair_finish(&pair);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        run_alone(argv[1], (unsigned)strtoul(argv[2], NULL, 10));
        return 0;
    }
    run(0);
    run(FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4);
    return 0;
}
