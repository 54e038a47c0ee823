/*
 * Goodput of one stream over long and bad paths in virtual time: random loss, reordering, both.
 * Prints what was reached; the lower bounds catch what is broken, they are not the aim.
 *
 * What loss alone allows: CUBIC in its Reno-friendly region sends about sqrt(1.5 / p) segments
 * per round trip at loss rate p, which is 12 at 1 % and 5.5 at 5 % (RFC 9438 section 5.2); at 20
 * ms that is 7.1 and 3.2 Mbit/s whatever the link's rate.
 */
#include <stdio.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7

struct path {
    const char *name;
    uint64_t rate_bits_per_s;
    foyer_time_ns delay_ns; /* one way */
    uint32_t loss_ppm, reorder_ppm;
    foyer_time_ns reorder_ns;
    foyer_time_ns length_ns; /* how long is sent */
    double least_mbit_per_s;
    unsigned recoveries_most; /* not undone; 0: any number */
};

struct scene {
    struct sim *sim;
    struct sim_host *a, *b;
    struct stream client, server;
    struct stream *all[2], *accepts[1];
    struct listener listener;
    struct streams streams;
    foyer_time_ns end_ns;
};

static bool is_over(void *context)
{
    const struct scene *scene = context;
    return scene->sim->now >= scene->end_ns;
}

static void run_path(struct sim *sim, const void *argument)
{
    static struct scene scene;
    const struct path *path = argument;
    uint64_t product_bytes = path->rate_bits_per_s / 8 * 2 * path->delay_ns / FOYER_NS_PER_S;
    struct impair_config wire = {
        .loss_ppm = path->loss_ppm,
        .reorder_ppm = path->reorder_ppm,
        .reorder_ns = path->reorder_ns,
        .delay_ns = path->delay_ns,
        .rate_bits_per_s = path->rate_bits_per_s,
        .queue_bytes = product_bytes + 100000,
    };
    struct impair_config back = {.delay_ns = path->delay_ns,
                                 .rate_bits_per_s = path->rate_bits_per_s};
    struct sim_host_config host = {
        .mtu = 1500, .receive_buffer_size = 8 << 20, .send_buffer_size = 8 << 20};

    scene = (struct scene){
        .sim = sim, .client = {.retries = 5}, .server = {.user = 2, .may_fail = true}};
    scene.client.may_fail = true;
    scene.a = sim_add_host(sim, &host);
    scene.b = sim_add_host(sim, &host);
    sim_add_wire(sim, scene.a, scene.b, &wire, &back);
    scene.client.read_size = scene.client.write_size = 65536;
    scene.server.read_size = scene.server.write_size = 65536;
    scene.client.send_pattern = scene.server.receive_pattern = 1;
    scene.server.send_pattern = scene.client.receive_pattern = 2;
    scene.client.to_send = scene.server.to_receive = 1ull << 40; /* for ever */
    scene.all[0] = &scene.client;
    scene.all[1] = scene.accepts[0] = &scene.server;
    scene.listener.accepts = scene.accepts;
    scene.listener.accept_count = 1;
    scene.streams =
        (struct streams){.sim = sim, .all = scene.all, .count = 2, .listener = &scene.listener};
    sim->app = streams_app(&scene.streams);
    listener_open(&scene.listener, scene.b, FOYER_FAMILY_V4, PORT, 8);
    struct foyer_endpoint remote = sim_endpoint(scene.b, FOYER_FAMILY_V4, PORT);
    stream_connect(&scene.client, scene.a, FOYER_FAMILY_V4, &remote, 1);
    scene.end_ns = sim->now + path->length_ns;
    sim_run_until(sim, is_over, &scene, 2 * path->length_ns, "the time");

    struct foyer_host_stats stats;
    foyer_host_stats(scene.a->host, &stats);
    double mbit_per_s = (double)scene.server.received * 8 / 1e6 / ((double)path->length_ns / 1e9);
    const struct impair_stats *wired = &sim->wires[0].way[0].stats;
    printf("  %7.2f Mbit/s; lost %llu + %llu, late %llu; again %llu, needless %llu, recoveries "
           "%llu, undone %llu, timeouts %llu, probes %llu\n",
           mbit_per_s, (unsigned long long)wired->lost, (unsigned long long)wired->overflowed,
           (unsigned long long)wired->reordered, (unsigned long long)stats.tcp_retrans_segs,
           (unsigned long long)(stats.tcp_retrans_segs > wired->lost + wired->overflowed
                                    ? stats.tcp_retrans_segs - wired->lost - wired->overflowed
                                    : 0),
           (unsigned long long)stats.tcp_fast_recoveries,
           (unsigned long long)stats.tcp_spurious_recoveries,
           (unsigned long long)stats.tcp_rto_fired, (unsigned long long)stats.tcp_loss_probes);
    if (mbit_per_s < path->least_mbit_per_s)
        sim_fail(sim, "%.2f Mbit/s, at least %.2f are expected", mbit_per_s,
                 path->least_mbit_per_s);
    if (path->recoveries_most != 0 &&
        stats.tcp_fast_recoveries - stats.tcp_spurious_recoveries > path->recoveries_most)
        sim_fail(sim, "recoveries that were not undone");
    SIM_CHECK(sim, foyer_socket_abort(scene.a->host, scene.client.socket, sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_abort(scene.b->host, scene.server.socket, sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_close(scene.b->host, scene.listener.socket, sim->now) == 0);
    sim->app = (struct sim_app){0};
    sim_run_out(sim, 700 * FOYER_NS_PER_S);
}

int main(int argc, char **argv)
{
    static const struct path paths[] = {
        {"loss_1_100m", 100000000, 10000000, 10000, 0, 0, 5 * FOYER_NS_PER_S, 4, 0},
        {"loss_1_1g", 1000000000, 10000000, 10000, 0, 0, 5 * FOYER_NS_PER_S, 4, 0},
        {"loss_5_100m", 100000000, 10000000, 50000, 0, 0, 5 * FOYER_NS_PER_S, 1, 0},
        {"loss_5_1g", 1000000000, 10000000, 50000, 0, 0, 5 * FOYER_NS_PER_S, 1, 0},
        {"clean_1g", 1000000000, 10000000, 0, 0, 0, 2 * FOYER_NS_PER_S, 700, 0},
        /* A tunnel: 1 in 1000 packets comes up to 3 ms late. */
        {"tunnel", 200000000, 33000000, 30, 1000, 3000000, 5 * FOYER_NS_PER_S, 120, 0},
        {"tunnel_reorders_only", 200000000, 33000000, 0, 1000, 3000000, 5 * FOYER_NS_PER_S, 140, 4},
        {"tunnel_reorders_much", 200000000, 33000000, 0, 20000, 10000000, 5 * FOYER_NS_PER_S, 60,
         12},
    };
    struct sim_options options = {.fixed_seeds = 1, .fresh_seeds = 0};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        sim_run_seeds(&options, paths[i].name, run_path, &paths[i]);
    return 0;
}
