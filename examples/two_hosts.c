/*
 * Two hosts in one process: libfoyer's whole contract in one page.
 *
 * What one host puts out, the other takes in; the clock is a variable. A client connects, says
 * hello, and a server sends it back. Build it with: cc two_hosts.c -lfoyer
 */
#include <errno.h>
#include <foyer/foyer.h>
#include <stdio.h>
#include <stdlib.h>

static void *allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context, (void)size;
    free(memory);
}

/* Secret has to be random where the network is not one's own: see foyer/host.h. */
static struct foyer_host *make_host(uint8_t number)
{
    struct foyer_host_config config = {
        .allocator = {.alloc = allocate, .free = release},
        .mac = {0x02, 0, 0, 0, 0, number},
        .secret = {number},
    };
    struct foyer_host *host = foyer_host_create(&config, 0);
    struct foyer_addr addr = foyer_addr_v4(192, 0, 2, number);
    if (host == NULL || foyer_host_add_address(host, &addr, 24) != 0)
        abort();
    return host;
}

/* Everything that is to be said now, both ways; then time goes on to the next deadline. */
static void pass(struct foyer_host *hosts[2], foyer_time_ns *now)
{
    struct foyer_packet packets[16];
    for (size_t moved = 1; moved > 0;) {
        moved = 0;
        for (int i = 0; i < 2; i++) {
            size_t count = foyer_host_output(hosts[i], packets, 16, *now);
            foyer_host_input(hosts[1 - i], packets, count, *now);
            moved += count;
        }
    }
    for (int i = 0; i < 2; i++) {
        if (foyer_host_deadline(hosts[i]) <= *now)
            foyer_host_tick(hosts[i], *now);
    }
    *now += FOYER_NS_PER_MS;
}

int main(void)
{
    struct foyer_host *hosts[2] = {make_host(1), make_host(2)};
    struct foyer_endpoint echo = {foyer_addr_v4(192, 0, 2, 2), 7};
    foyer_socket listener, client, server = FOYER_SOCKET_NONE;
    foyer_time_ns now = 0;
    char bytes[64];
    int64_t size = -EAGAIN;
    bool said = false;

    if (foyer_socket_open(hosts[1], FOYER_FAMILY_V4, FOYER_TCP, 0, &listener) != 0 ||
        foyer_socket_bind(hosts[1], listener, &echo, NULL) != 0 ||
        foyer_socket_listen(hosts[1], listener, 8, NULL) != 0 ||
        foyer_socket_open(hosts[0], FOYER_FAMILY_V4, FOYER_TCP, 0, &client) != 0 ||
        foyer_socket_connect(hosts[0], client, &echo, now) != -EINPROGRESS)
        return 1;

    while (size < 0 && now < FOYER_NS_PER_S) {
        pass(hosts, &now);
        if (!said)
            said = foyer_socket_send(hosts[0], client, "hello", 5, now) == 5;
        if (server.value == 0)
            foyer_socket_accept(hosts[1], listener, 0, &server);
        else if ((size = foyer_socket_recv(hosts[1], server, bytes, sizeof(bytes), now)) > 0)
            foyer_socket_send(hosts[1], server, bytes, (size_t)size, now);
        size = foyer_socket_recv(hosts[0], client, bytes, sizeof(bytes), now);
    }
    if (size > 0)
        printf("%.*s, after %llu ms\n", (int)size, bytes, (unsigned long long)now / 1000000);
    foyer_host_destroy(hosts[0]);
    foyer_host_destroy(hosts[1]);
    return size == 5 ? 0 : 1;
}
