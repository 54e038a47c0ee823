/*
 * TCP Fast Open (RFC 7413) between two hosts, connection after connection: on a good wire all but
 * the first send with the SYN; on a bad one SYNs and their answers are lost, repeated and late;
 * the server changes its key, and its limit is small.
 */
#include <stdio.h>
#include <string.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7
#define ROUNDS 40
#define AT_ONCE 5

struct scene {
    enum foyer_family family;
    unsigned loss_percent;
    int64_t limit;
    bool rotates_keys;
};

struct pair {
    struct stream client, server;
};

static void open_round(struct sim *sim, const struct scene *scene, struct sim_host *a,
                       struct sim_host *b, struct listener *listener)
{
    static struct pair pairs[AT_ONCE];
    static struct stream *all[2 * AT_ONCE], *accepts[AT_ONCE];
    struct streams streams = {.sim = sim, .all = all, .count = 2 * AT_ONCE, .listener = listener};
    memset(pairs, 0, sizeof(pairs));
    for (unsigned i = 0; i < AT_ONCE; i++) {
        /* Accepted in any order: all of one kind. */
        pairs[i].client = (struct stream){.send_pattern = 1,
                                          .receive_pattern = 2,
                                          .to_send = 2500,
                                          .to_receive = 6000,
                                          .read_size = 2000,
                                          .write_size = 2000,
                                          .is_fast = true,
                                          .retries = 5};
        pairs[i].server = (struct stream){.send_pattern = 2,
                                          .receive_pattern = 1,
                                          .to_send = 6000,
                                          .to_receive = 2500,
                                          .read_size = 2000,
                                          .write_size = 2000,
                                          .user = 100 + i};
        all[2 * i] = &pairs[i].client;
        all[2 * i + 1] = accepts[i] = &pairs[i].server;
    }
    listener->accepts = accepts;
    listener->accept_count = AT_ONCE;
    listener->accepted = 0;
    sim->app = streams_app(&streams);
    struct foyer_endpoint remote = sim_endpoint(b, scene->family, PORT);
    for (unsigned i = 0; i < AT_ONCE; i++)
        stream_connect(&pairs[i].client, a, scene->family, &remote, 1 + i);
    sim_run_until(sim, streams_done, &streams, 600 * FOYER_NS_PER_S, "a round");
    for (unsigned i = 0; i < AT_ONCE; i++)
        SIM_CHECK(sim, pairs[i].client.received == 6000 && pairs[i].server.received == 2500);
    sim->app = (struct sim_app){0};
}

static void run(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    struct sim_host_config host = {.mtu = 1500};
    struct sim_host *a = sim_add_host(sim, &host), *b = sim_add_host(sim, &host);
    struct impair_config wire = {
        .loss_ppm = scene->loss_percent * 10000,
        .duplicate_ppm = scene->loss_percent * 10000,
        .reorder_ppm = scene->loss_percent * 10000,
        .delay_ns = 2 * FOYER_NS_PER_MS,
        .jitter_ns = FOYER_NS_PER_MS,
        .reorder_ns = 3 * FOYER_NS_PER_MS,
    };
    sim_add_wire(sim, a, b, &wire, &wire);
    struct listener listener = {.accept_count = 0};
    listener_open(&listener, b, scene->family, PORT, 64);
    SIM_CHECK(sim, foyer_socket_set_option(b->host, listener.socket, FOYER_OPT_FASTOPEN,
                                           scene->limit) == 0);
    uint8_t keys[2][16];
    random_fill(&sim->random, keys, sizeof(keys));
    foyer_host_set_fastopen_keys(b->host, keys[0], NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (scene->rotates_keys && i % 8 == 7) {
            memcpy(keys[1], keys[0], sizeof(keys[1]));
            random_fill(&sim->random, keys[0], sizeof(keys[0]));
            foyer_host_set_fastopen_keys(b->host, keys[0], i % 16 == 7 ? keys[1] : NULL);
        }
        open_round(sim, scene, a, b, &listener);
    }
    struct foyer_host_stats client, server;
    foyer_host_stats(a->host, &client);
    foyer_host_stats(b->host, &server);
    printf("  %llu and %llu of %u with the SYN, refused %llu\n",
           (unsigned long long)client.tcp_fastopen_active,
           (unsigned long long)server.tcp_fastopen_passive, ROUNDS * AT_ONCE,
           (unsigned long long)server.tcp_fastopen_passive_fails);
    if (scene->loss_percent == 0 && scene->limit >= AT_ONCE) {
        /* All of the first round, and of the two after a key was lost, ask. */
        unsigned most = (ROUNDS - 1) * AT_ONCE, refused = scene->rotates_keys ? 2 * AT_ONCE : 0;
        SIM_CHECK(sim, server.tcp_fastopen_passive_fails == refused);
        SIM_CHECK(sim, server.tcp_fastopen_passive <= most - refused);
        SIM_CHECK(sim, server.tcp_fastopen_passive + most / 20 >= most - refused);
    }
    SIM_CHECK(sim, client.tcp_fastopen_active <= server.tcp_fastopen_passive);
    SIM_CHECK(sim, scene->limit > 0 || server.tcp_fastopen_passive == 0);
    SIM_CHECK(sim, foyer_socket_close(b->host, listener.socket, sim->now) == 0);
    sim_run_out(sim, 700 * FOYER_NS_PER_S); /* a path MTU that was learnt is kept for ten minutes */
    for (unsigned i = 0; i < sim->host_count; i++)
        SIM_CHECK(sim, sim_socket_count(&sim->hosts[i]) == 0);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned loss_percent;
        int64_t limit;
        bool rotates_keys;
    } scenarios[] = {
        {"good", 0, 64, false}, {"keys", 0, 64, true}, {"limit", 0, 2, false},
        {"off", 0, 0, false},   {"loss", 5, 64, true}, {"loss_limit", 10, 2, true},
    };
    struct sim_options options = {.fixed_seeds = 2, .fresh_seeds = 1};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct scene scene = {v6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4, scenarios[i].loss_percent,
                                  scenarios[i].limit, scenarios[i].rotates_keys};
            char name[64];
            snprintf(name, sizeof(name), "%s_v%d", scenarios[i].name, v6 ? 6 : 4);
            sim_run_seeds(&options, name, run, &scene);
        }
    }
    return 0;
}
