/*
 * Paths that drop what is too large and say nothing (RFC 8899): a transfer finds its way, and then
 * the largest segments that pass; an outage alone, however long, leaves the segments as they were.
 */
#include <stdio.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7
#define ETH_SIZE 14u

struct scenario {
    const char *name;
    enum foyer_family family;
    uint16_t host_mtu, path_mtu; /* path_mtu 0: as the host's */
    uint32_t loss_ppm;
    foyer_time_ns outage_ns; /* everything is lost for so long, after half a second */
    foyer_time_ns change_ns; /* the path's MTU is the host's again then; 0: never */
    foyer_time_ns length_ns;
    unsigned timeouts_most;
};

struct scene {
    struct sim *sim;
    struct sim_host *a, *b;
    struct stream client, server;
    struct stream *all[2], *accepts[1];
    struct listener listener;
    struct streams streams;
    foyer_time_ns until_ns;
};

static bool is_over(void *context)
{
    const struct scene *scene = context;
    return scene->sim->now >= scene->until_ns;
}

static void run_for(struct scene *scene, foyer_time_ns ns)
{
    scene->until_ns = scene->sim->now + ns;
    sim_run_until(scene->sim, is_over, scene, 2 * ns, "the time");
}

static uint32_t mss_of(const struct scene *scene)
{
    struct foyer_socket_info info;
    SIM_CHECK(scene->sim, foyer_socket_info(scene->a->host, scene->client.socket, &info) == 0);
    return info.mss;
}

static void open_stream(struct scene *scene, struct sim *sim, enum foyer_family family)
{
    scene->client.read_size = scene->client.write_size = 65536;
    scene->server.read_size = scene->server.write_size = 65536;
    scene->client.send_pattern = scene->server.receive_pattern = 1;
    scene->server.send_pattern = scene->client.receive_pattern = 2;
    scene->client.to_send = scene->server.to_receive = 1ull << 40;
    scene->all[0] = &scene->client;
    scene->all[1] = scene->accepts[0] = &scene->server;
    scene->listener.accepts = scene->accepts;
    scene->listener.accept_count = 1;
    scene->streams =
        (struct streams){.sim = sim, .all = scene->all, .count = 2, .listener = &scene->listener};
    sim->app = streams_app(&scene->streams);
    listener_open(&scene->listener, scene->b, family, PORT, 8);
    struct foyer_endpoint remote = sim_endpoint(scene->b, family, PORT);
    stream_connect(&scene->client, scene->a, family, &remote, 1);
}

/* Half a second that goes well, silence, and the rest. */
static void pass_outage(struct scene *scene, const struct scenario *scenario)
{
    struct impair *way = scene->sim->wires[0].way;
    run_for(scene, FOYER_NS_PER_S / 2);
    way[0].config.loss_ppm = way[1].config.loss_ppm = 1000000;
    run_for(scene, scenario->outage_ns);
    way[0].config.loss_ppm = way[1].config.loss_ppm = 0;
}

static void run_scenario(struct sim *sim, const void *argument)
{
    static struct scene scene;
    const struct scenario *scenario = argument;
    uint16_t path_mtu = scenario->path_mtu != 0 ? scenario->path_mtu : scenario->host_mtu;
    struct impair_config wire = {.loss_ppm = scenario->loss_ppm,
                                 .delay_ns = 10 * FOYER_NS_PER_MS,
                                 .rate_bits_per_s = 10000000,
                                 .queue_bytes = 4000000,
                                 .frame_bytes_max = path_mtu + ETH_SIZE};
    struct impair_config back = {.delay_ns = 10 * FOYER_NS_PER_MS, .rate_bits_per_s = 10000000};
    struct sim_host_config host = {
        .mtu = scenario->host_mtu, .receive_buffer_size = 1 << 17, .send_buffer_size = 1 << 17};
    uint32_t headers = (scenario->family == FOYER_FAMILY_V4 ? 20u : 40u) + 20u + 12u;

    scene = (struct scene){
        .sim = sim, .client = {.may_fail = true}, .server = {.user = 2, .may_fail = true}};
    scene.a = sim_add_host(sim, &host);
    scene.b = sim_add_host(sim, &host);
    sim_add_wire(sim, scene.a, scene.b, &wire, &back);
    open_stream(&scene, sim, scenario->family);
    if (scenario->outage_ns > 0)
        pass_outage(&scene, scenario);
    run_for(&scene, scenario->length_ns);

    struct foyer_host_stats stats;
    foyer_host_stats(scene.a->host, &stats);
    printf("  mss %u, %llu bytes; black holes %llu, probes %llu + %llu lost, timeouts %llu, "
           "recoveries %llu, too large %llu, overflowed %llu\n",
           mss_of(&scene), (unsigned long long)scene.server.received,
           (unsigned long long)stats.tcp_mtu_black_holes,
           (unsigned long long)stats.tcp_mtu_probes_good,
           (unsigned long long)stats.tcp_mtu_probes_lost, (unsigned long long)stats.tcp_rto_fired,
           (unsigned long long)stats.tcp_fast_recoveries,
           (unsigned long long)sim->wires[0].way[0].stats.too_large,
           (unsigned long long)sim->wires[0].way[0].stats.overflowed);
    SIM_CHECK(sim, mss_of(&scene) <= path_mtu - headers);
    SIM_CHECK(sim, mss_of(&scene) + 8 > path_mtu - headers);
    /* The queue holds all that the window lets out: nothing is lost but by size, and a probe that
     * is lost is no congestion (RFC 8899 section 3). */
    if (scenario->loss_ppm == 0 && scenario->outage_ns == 0)
        SIM_CHECK(sim, stats.tcp_fast_recoveries == 0);
    SIM_CHECK(sim, stats.tcp_rto_fired <= scenario->timeouts_most);
    /* 10 Mbit/s, less what slow start, losses and the hole took. */
    SIM_CHECK(sim, scene.server.received > scenario->length_ns / FOYER_NS_PER_S * 500000);
    if (scenario->change_ns > 0) {
        sim->wires[0].way[0].config.frame_bytes_max = 0;
        sim->wires[0].way[0].config.rate_bits_per_s = 500000; /* ten minutes take long */
        run_for(&scene, scenario->change_ns);
        SIM_CHECK(sim, mss_of(&scene) == scenario->host_mtu - headers);
    }
    SIM_CHECK(sim, foyer_socket_abort(scene.a->host, scene.client.socket, sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_abort(scene.b->host, scene.server.socket, sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_close(scene.b->host, scene.listener.socket, sim->now) == 0);
    sim->app = (struct sim_app){0};
    sim_run_out(sim, 700 * FOYER_NS_PER_S); /* what the cache knows ends after ten minutes */
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"pppoe_v4", FOYER_FAMILY_V4, 1500, 1492, 0, 0, 0, 8 * FOYER_NS_PER_S, 4},
        {"tunnel_v4", FOYER_FAMILY_V4, 1500, 1400, 0, 0, 0, 8 * FOYER_NS_PER_S, 4},
        {"tunnel_v6", FOYER_FAMILY_V6, 1500, 1400, 0, 0, 0, 8 * FOYER_NS_PER_S, 4},
        {"least_v6", FOYER_FAMILY_V6, 1500, 1280, 0, 0, 0, 8 * FOYER_NS_PER_S, 4},
        {"jumbo_to_1500", FOYER_FAMILY_V4, 9000, 1500, 0, 0, 0, 12 * FOYER_NS_PER_S, 4},
        {"tiny_v4", FOYER_FAMILY_V4, 1500, 700, 0, 0, 0, 20 * FOYER_NS_PER_S, 7},
        {"lossy_v4", FOYER_FAMILY_V4, 1500, 1400, 1000, 0, 0, 15 * FOYER_NS_PER_S, 8},
        {"outage", FOYER_FAMILY_V4, 1500, 0, 0, 8 * FOYER_NS_PER_S, 0, 15 * FOYER_NS_PER_S, 8},
        {"widened", FOYER_FAMILY_V4, 1500, 1400, 0, 0, 620 * FOYER_NS_PER_S, 8 * FOYER_NS_PER_S, 4},
    };
    struct sim_options options = {.fixed_seeds = 1, .fresh_seeds = 0};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        sim_run_seeds(&options, scenarios[i].name, run_scenario, &scenarios[i]);
    return 0;
}
