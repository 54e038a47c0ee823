/*
 * UDP between two hosts: datagrams of all sizes arrive whole or not at all, with their source;
 * a datagram to a closed port comes back as ECONNREFUSED on a connected socket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sim.h"

#define PORT 53
#define DATAGRAMS 300
#define SIZE_MAX_BYTES 1400

struct scene {
    enum foyer_family family;
    uint32_t capabilities;
    unsigned loss_percent;
};

struct exchange {
    struct sim *sim;
    const struct scene *scene;
    struct sim_host *a, *b;
    foyer_socket sender, receiver;
    struct foyer_endpoint remote;
    unsigned sent, received;
    bool seen[DATAGRAMS];
    unsigned duplicates;
    foyer_time_ns next_send_ns;
    int error; /* of the sender */
};

/* Number, then bytes that follow from it. */
static size_t fill(uint8_t *bytes, uint32_t number)
{
    struct random random;
    random_init(&random, number);
    size_t size = number % 10 == 0 ? 4 : 4 + (size_t)random_below(&random, SIZE_MAX_BYTES - 4);
    random_fill(&random, bytes, size);
    memcpy(bytes, &number, 4);
    return size;
}

static bool send_some(void *context)
{
    struct exchange *exchange = context;
    struct sim *sim = exchange->sim;
    bool any = false;
    while (exchange->sent < DATAGRAMS && exchange->next_send_ns <= sim->now) {
        uint8_t bytes[SIZE_MAX_BYTES];
        size_t size = fill(bytes, exchange->sent);
        int64_t taken = foyer_socket_send_to(exchange->a->host, exchange->sender, bytes, size,
                                             &exchange->remote, sim->now);
        SIM_CHECK(sim, taken == (int64_t)size);
        exchange->sent++;
        exchange->next_send_ns = sim->now + random_below(&sim->random, 2 * FOYER_NS_PER_MS);
        any = true;
    }
    return any;
}

static foyer_time_ns next_send(void *context)
{
    const struct exchange *exchange = context;
    return exchange->sent < DATAGRAMS ? exchange->next_send_ns : FOYER_TIME_NEVER;
}

static void receive_all(struct exchange *exchange)
{
    struct sim *sim = exchange->sim;
    uint8_t bytes[SIZE_MAX_BYTES + 1], expected[SIZE_MAX_BYTES];
    struct foyer_endpoint from;
    struct foyer_addr to;
    int64_t size;
    while ((size = foyer_socket_recv_from(exchange->b->host, exchange->receiver, bytes,
                                          sizeof(bytes), &from, &to)) >= 0) {
        uint32_t number;
        SIM_CHECK(sim, size >= 4);
        memcpy(&number, bytes, 4);
        SIM_CHECK(sim, number < exchange->sent);
        SIM_CHECK(sim, fill(expected, number) == (size_t)size);
        SIM_CHECK(sim, memcmp(bytes, expected, (size_t)size) == 0);
        struct foyer_endpoint sender = sim_endpoint(exchange->a, exchange->scene->family, 0);
        SIM_CHECK(sim, foyer_addr_eq(&from.addr, &sender.addr) && from.port != 0);
        SIM_CHECK(sim, foyer_addr_eq(&to, &exchange->remote.addr));
        exchange->duplicates += exchange->seen[number];
        exchange->received += !exchange->seen[number];
        exchange->seen[number] = true;
    }
    SIM_CHECK(sim, size == -EAGAIN);
}

static void udp_event(void *context, struct sim_host *host, const struct foyer_event *event)
{
    struct exchange *exchange = context;
    if (host == exchange->b && (event->events & FOYER_EVENT_READABLE) != 0)
        receive_all(exchange);
    if (host == exchange->a && (event->events & FOYER_EVENT_ERROR) != 0)
        exchange->error = foyer_socket_take_error(host->host, event->socket);
}

static void set_up(struct sim *sim, const struct scene *scene, struct exchange *exchange)
{
    struct sim_host_config host = {.mtu = 1500, .capabilities = scene->capabilities};
    struct impair_config wire = {
        .loss_ppm = scene->loss_percent * 10000,
        .duplicate_ppm = scene->loss_percent * 5000,
        .reorder_ppm = scene->loss_percent * 5000,
        .damage_ppm = scene->loss_percent * 5000,
        .delay_ns = 2 * FOYER_NS_PER_MS,
        .reorder_ns = 4 * FOYER_NS_PER_MS,
    };
    *exchange = (struct exchange){.sim = sim, .scene = scene};
    exchange->a = sim_add_host(sim, &host);
    exchange->b = sim_add_host(sim, &host);
    sim_add_wire(sim, exchange->a, exchange->b, &wire, &wire);
    exchange->remote = sim_endpoint(exchange->b, scene->family, PORT);
    exchange->next_send_ns = sim->now;
    SIM_CHECK(sim, foyer_socket_open(exchange->a->host, scene->family, FOYER_UDP, 1,
                                     &exchange->sender) == 0);
}

static void tear_down(struct exchange *exchange)
{
    struct sim *sim = exchange->sim;
    SIM_CHECK(sim, foyer_socket_close(exchange->a->host, exchange->sender, sim->now) == 0);
    sim_run_out(sim, 600 * FOYER_NS_PER_S);
    SIM_CHECK(sim, sim_socket_count(exchange->a) == 0 && sim_socket_count(exchange->b) == 0);
}

static void delivery(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    static struct exchange exchange;
    set_up(sim, scene, &exchange);
    struct foyer_endpoint local = {.port = PORT};
    if (scene->family == FOYER_FAMILY_V4)
        local.addr = foyer_addr_v4(0, 0, 0, 0);
    SIM_CHECK(sim, foyer_socket_open(exchange.b->host, scene->family, FOYER_UDP, 1,
                                     &exchange.receiver) == 0);
    SIM_CHECK(sim, foyer_socket_bind(exchange.b->host, exchange.receiver, &local, NULL) == 0);
    /* What an unconnected socket sends to an unresolved neighbour is held up to a small bound
     * only, so a lost ARP request costs datagrams. A connected one keeps all in its ring. */
    if (scene->loss_percent > 0 || random_below(&sim->random, 2) == 0)
        SIM_CHECK(sim, foyer_socket_connect(exchange.a->host, exchange.sender, &exchange.remote,
                                            sim->now) == 0);
    sim->app = (struct sim_app){&exchange, udp_event, send_some, next_send};
    sim_run_out(sim, 600 * FOYER_NS_PER_S);
    SIM_CHECK(sim, exchange.sent == DATAGRAMS);
    if (scene->loss_percent == 0) {
        SIM_CHECK(sim, exchange.received == DATAGRAMS && exchange.duplicates == 0);
    } else {
        /* Loss, and damage that a checksum saw; or nobody answered three times who that is. */
        if (exchange.error != -EHOSTUNREACH)
            SIM_CHECK(sim, exchange.received > DATAGRAMS / 2);
        SIM_CHECK(sim, exchange.received <= DATAGRAMS);
    }
    SIM_CHECK(sim, foyer_socket_close(exchange.b->host, exchange.receiver, sim->now) == 0);
    tear_down(&exchange);
}

static void port_unreachable(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    static struct exchange exchange;
    set_up(sim, scene, &exchange);
    sim->app = (struct sim_app){&exchange, udp_event, NULL, NULL};
    SIM_CHECK(sim, foyer_socket_connect(exchange.a->host, exchange.sender, &exchange.remote,
                                        sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_send(exchange.a->host, exchange.sender, "ping", 4, sim->now) == 4);
    sim_run_out(sim, 600 * FOYER_NS_PER_S);
    if (exchange.error != -ECONNREFUSED)
        sim_fail(sim, "told %s", strerror(-exchange.error));
    struct foyer_host_stats stats;
    foyer_host_stats(exchange.b->host, &stats);
    SIM_CHECK(sim, stats.udp_no_ports == 1 && stats.icmp_out >= 1);
    tear_down(&exchange);
}

int main(int argc, char **argv)
{
    struct sim_options options = {.fixed_seeds = 3, .fresh_seeds = 2};
    sim_options_parse(&options, argc, argv);
    for (int v6 = 0; v6 < 2; v6++) {
        for (int offload = 0; offload < 2; offload++) {
            struct scene scene = {v6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4,
                                  offload ? FOYER_LINK_TX_CHECKSUM : 0, 0};
            char name[64];
            snprintf(name, sizeof(name), "unreachable_v%d%s", v6 ? 6 : 4, offload ? "_csum" : "");
            sim_run_seeds(&options, name, port_unreachable, &scene);
            snprintf(name, sizeof(name), "delivery_v%d%s", v6 ? 6 : 4, offload ? "_csum" : "");
            sim_run_seeds(&options, name, delivery, &scene);
            scene.loss_percent = 10;
            snprintf(name, sizeof(name), "loss_v%d%s", v6 ? 6 : 4, offload ? "_csum" : "");
            sim_run_seeds(&options, name, delivery, &scene);
        }
    }
    return 0;
}
