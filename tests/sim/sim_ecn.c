/*
 * Explicit congestion notification (RFC 3168, RFC 9768) between two hosts: a queue that marks where others
 * drop, marks at random on a bad wire, an end that does not speak it.
 */
#include <stdio.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7
#define QUEUE_BYTES 8000000
#define RUN_OUT_NS (700 * FOYER_NS_PER_S) /* a path MTU that was learnt is kept for ten minutes */
#define DELAY_NS (10 * FOYER_NS_PER_MS)

struct scene {
    enum foyer_family family;
    enum foyer_ecn client, server;
};

struct transfer {
    struct sim_host *a, *b;
    foyer_time_ns took_ns;
    struct foyer_host_stats sender;
    struct impair_stats forth;
};

/* size bytes from a to b, and as many back. */
static struct transfer run(struct sim *sim, const struct scene *scene,
                           const struct impair_config *wire, uint64_t size)
{
    struct sim_host_config host = {
        .mtu = 1500, .receive_buffer_size = 4 << 20, .send_buffer_size = 4 << 20};
    struct transfer transfer = {.a = sim_add_host(sim, &host), .b = sim_add_host(sim, &host)};
    sim_add_wire(sim, transfer.a, transfer.b, wire, wire);
    struct stream client = {.to_send = size,
                            .to_receive = size,
                            .send_pattern = 1,
                            .receive_pattern = 2,
                            .read_size = 60000,
                            .write_size = 60000,
                            .ecn = scene->client,
                            .retries = 5};
    struct stream server = client;
    server.send_pattern = 2, server.receive_pattern = 1, server.user = 2;
    struct stream *all[] = {&client, &server};
    struct stream *accepts[] = {&server};
    struct listener listener = {.accepts = accepts, .accept_count = 1};
    struct streams streams = {.sim = sim, .all = all, .count = 2, .listener = &listener};
    sim->app = streams_app(&streams);
    listener_open(&listener, transfer.b, scene->family, PORT, 2);
    SIM_CHECK(sim, foyer_socket_set_option(transfer.b->host, listener.socket, FOYER_OPT_ECN,
                                           scene->server) == 0);
    struct foyer_endpoint remote = sim_endpoint(transfer.b, scene->family, PORT);
    foyer_time_ns start = sim->now;
    stream_connect(&client, transfer.a, scene->family, &remote, 1);
    sim_run_until(sim, streams_done, &streams, 600 * FOYER_NS_PER_S, "the transfer");
    transfer.took_ns = sim->now - start;
    foyer_host_stats(transfer.a->host, &transfer.sender);
    transfer.forth = sim->wires[0].way[0].stats;
    SIM_CHECK(sim, foyer_socket_close(transfer.b->host, listener.socket, sim->now) == 0);
    listener.host = NULL;
    sim_run_out(sim, RUN_OUT_NS);
    for (unsigned i = 0; i < sim->host_count; i++)
        SIM_CHECK(sim, sim_socket_count(&sim->hosts[i]) == 0);
    return transfer;
}

/* Nothing is lost, so nothing is sent twice; the window follows the marks, once per round trip. */
static void marking_queue(struct sim *sim, const void *argument)
{
    struct impair_config wire = {.delay_ns = DELAY_NS,
                                 .rate_bits_per_s = 50000000,
                                 .queue_bytes = 4 << 20,
                                 .mark_bytes = 60000};
    struct transfer transfer = run(sim, argument, &wire, QUEUE_BYTES);
    double mbit_per_s = QUEUE_BYTES * 8 / 1e6 / ((double)transfer.took_ns / 1e9);
    printf("  %.1f Mbit/s, %llu marks, %llu reductions\n", mbit_per_s,
           (unsigned long long)transfer.forth.marked,
           (unsigned long long)transfer.sender.tcp_ecn_reductions);
    SIM_CHECK(sim, transfer.forth.overflowed == 0);
    SIM_CHECK(sim, transfer.sender.tcp_retrans_segs == 0);
    SIM_CHECK(sim, transfer.forth.marked > 0 && transfer.sender.tcp_ecn_reductions >= 2);
    SIM_CHECK(sim, transfer.sender.tcp_ecn_reductions <= transfer.took_ns / (2 * DELAY_NS));
    SIM_CHECK(sim, mbit_per_s > 25);
}

/* One end does not speak it: nothing may be marked, the queue drops or holds as it always did. */
static void one_sided(struct sim *sim, const void *argument)
{
    struct impair_config wire = {.delay_ns = DELAY_NS, .mark_ppm = 1000000};
    struct transfer transfer = run(sim, argument, &wire, 2000000);
    SIM_CHECK(sim, transfer.forth.marked == 0);
    SIM_CHECK(sim, transfer.sender.tcp_ecn_reductions == 0);
}

/* Marks beside loss, copies and disorder in both directions: bytes come all the same. */
static void bad_wire(struct sim *sim, const void *argument)
{
    struct impair_config wire = {
        .loss_ppm = 20000,
        .duplicate_ppm = 10000,
        .reorder_ppm = 10000,
        .delay_ns = 2 * FOYER_NS_PER_MS,
        .jitter_ns = FOYER_NS_PER_MS,
        .reorder_ns = 4 * FOYER_NS_PER_MS,
        .mark_ppm = 1000 * (uint32_t)(1 + random_below(&sim->random, 100)),
    };
    run(sim, argument, &wire, 1000000);
}

/* Each and every segment is marked, for ever: slow, but not stuck. */
static void marked_throughout(struct sim *sim, const void *argument)
{
    struct impair_config wire = {.delay_ns = FOYER_NS_PER_MS, .mark_ppm = 1000000};
    struct transfer transfer = run(sim, argument, &wire, 1000000);
    SIM_CHECK(sim, transfer.sender.tcp_retrans_segs == 0);
    SIM_CHECK(sim, transfer.sender.tcp_ecn_reductions > 10);
}

/* The same with RFC 9768: so many marks are no queue's (section 3.2.2.3), and after the first rounds
 * nothing is marked any more. */
static void all_marked(struct sim *sim, const void *argument)
{
    struct impair_config wire = {.delay_ns = FOYER_NS_PER_MS, .mark_ppm = 1000000};
    struct transfer transfer = run(sim, argument, &wire, 1000000);
    SIM_CHECK(sim, transfer.sender.tcp_retrans_segs == 0);
    SIM_CHECK(sim, transfer.forth.marked > 0 && transfer.forth.marked < 300);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct sim *sim, const void *argument);
        enum foyer_ecn client, server;
    } scenarios[] = {
        {"marking_queue", marking_queue, FOYER_ECN_REQUEST, FOYER_ECN_ACCEPT},
        {"server_off", one_sided, FOYER_ECN_REQUEST, FOYER_ECN_OFF},
        {"client_does_not_ask", one_sided, FOYER_ECN_ACCEPT, FOYER_ECN_REQUEST},
        {"bad_wire", bad_wire, FOYER_ECN_REQUEST, FOYER_ECN_ACCEPT},
        {"marked_throughout", marked_throughout, FOYER_ECN_REQUEST, FOYER_ECN_ACCEPT},
        {"accurate_queue", marking_queue, FOYER_ECN_ACCURATE, FOYER_ECN_ACCURATE_ACCEPT},
        {"accurate_meets_classic", marking_queue, FOYER_ECN_ACCURATE, FOYER_ECN_ACCEPT},
        {"classic_meets_accurate", marking_queue, FOYER_ECN_REQUEST, FOYER_ECN_ACCURATE},
        {"accurate_is_refused", one_sided, FOYER_ECN_ACCURATE, FOYER_ECN_OFF},
        {"accurate_bad_wire", bad_wire, FOYER_ECN_ACCURATE, FOYER_ECN_ACCURATE},
        {"accurate_marked_throughout", all_marked, FOYER_ECN_ACCURATE, FOYER_ECN_ACCURATE},
    };
    struct sim_options options = {.fixed_seeds = 2, .fresh_seeds = 1};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct scene scene = {v6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4, scenarios[i].client,
                                  scenarios[i].server};
            char name[64];
            snprintf(name, sizeof(name), "%s_v%d", scenarios[i].name, v6 ? 6 : 4);
            sim_run_seeds(&options, name, scenarios[i].run, &scene);
        }
    }
    return 0;
}
