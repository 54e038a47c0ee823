/*
 * Beginnings and ends of TCP connections: refused, to nobody, many at once, more than the
 * backlog holds, aborted half way.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7
#define RUN_OUT_NS (700 * FOYER_NS_PER_S) /* a path MTU that was learnt is kept for ten minutes */
#define MANY 200

struct scene {
    enum foyer_family family;
    unsigned loss_percent;
};

static const struct sim_host_config plain_host = {.mtu = 1500};

static struct impair_config lossy(const struct scene *scene)
{
    return (struct impair_config){
        .loss_ppm = scene->loss_percent * 10000,
        .duplicate_ppm = scene->loss_percent * 5000,
        .reorder_ppm = scene->loss_percent * 5000,
        .delay_ns = 2 * FOYER_NS_PER_MS,
        .jitter_ns = FOYER_NS_PER_MS,
        .reorder_ns = 4 * FOYER_NS_PER_MS,
    };
}

static void two_hosts(struct sim *sim, const struct scene *scene, struct sim_host **ret_a,
                      struct sim_host **ret_b)
{
    struct impair_config config = lossy(scene);
    *ret_a = sim_add_host(sim, &plain_host);
    *ret_b = sim_add_host(sim, &plain_host);
    sim_add_wire(sim, *ret_a, *ret_b, &config, &config);
}

static void empty_hosts_rest(struct sim *sim)
{
    sim_run_out(sim, RUN_OUT_NS);
    for (unsigned i = 0; i < sim->host_count; i++)
        SIM_CHECK(sim, sim_socket_count(&sim->hosts[i]) == 0);
}

/* ---- nobody listens: RFC 9293 section 3.10.7.1 ------------------------------------------------- */

static void refused(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    struct sim_host *a, *b;
    two_hosts(sim, scene, &a, &b);
    struct stream client = {.may_fail = true, .retries = 5};
    struct stream *all[] = {&client};
    struct streams streams = {.sim = sim, .all = all, .count = 1};
    sim->app = streams_app(&streams);
    struct foyer_endpoint remote = sim_endpoint(b, scene->family, PORT);
    foyer_time_ns start = sim->now;
    stream_connect(&client, a, scene->family, &remote, 1);
    sim_run_until(sim, streams_done, &streams, 120 * FOYER_NS_PER_S, "the refusal");
    if (client.error != -ECONNREFUSED)
        sim_fail(sim, "refused as %s", strerror(-client.error));
    /* Without loss it takes one neighbour resolution and one round trip. */
    SIM_CHECK(sim, scene->loss_percent > 0 || sim->now - start < 50 * FOYER_NS_PER_MS);
    struct foyer_host_stats stats;
    foyer_host_stats(a->host, &stats);
    SIM_CHECK(sim, stats.tcp_attempt_fails == 1 + 5 - client.retries);
    foyer_host_stats(b->host, &stats);
    SIM_CHECK(sim, stats.tcp_out_rsts >= 1);
    empty_hosts_rest(sim);
}

/* ---- an address that nobody has: RFC 9293 section 3.8.3 ------------------------------------------ */

static void nobody(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    struct sim_host *a, *b;
    two_hosts(sim, scene, &a, &b);
    struct stream client = {.may_fail = true};
    struct stream *all[] = {&client};
    struct streams streams = {.sim = sim, .all = all, .count = 1};
    sim->app = streams_app(&streams);
    struct foyer_endpoint remote = sim_endpoint(b, scene->family, PORT);
    remote.addr.bytes[15] = 99;
    stream_connect(&client, a, scene->family, &remote, 1);
    streams.last_progress_ns = sim->now;
    sim_run_until(sim, streams_done, &streams, 300 * FOYER_NS_PER_S, "the failure");
    if (client.error != -EHOSTUNREACH && client.error != -ETIMEDOUT)
        sim_fail(sim, "failed as %s", strerror(-client.error));
    empty_hosts_rest(sim);
}

/* ---- many at once -------------------------------------------------------------------------------- */

static void many(struct sim *sim, const void *argument)
{
    static struct stream clients[MANY], servers[MANY];
    static struct stream *all[2 * MANY], *accepts[MANY];
    const struct scene *scene = argument;
    struct sim_host *a, *b;
    two_hosts(sim, scene, &a, &b);
    struct listener listener = {.accepts = accepts, .accept_count = MANY};
    struct streams streams = {.sim = sim, .all = all, .count = 2 * MANY, .listener = &listener};
    memset(clients, 0, sizeof(clients));
    memset(servers, 0, sizeof(servers));
    for (unsigned i = 0; i < MANY; i++) {
        /* Connections are accepted in any order: all of one kind. */
        clients[i] = (struct stream){.send_pattern = 1,
                                     .receive_pattern = 2,
                                     .to_send = 3000,
                                     .to_receive = 7000,
                                     .read_size = 5000,
                                     .write_size = 5000,
                                     .retries = 5};
        servers[i] = (struct stream){.send_pattern = 2,
                                     .receive_pattern = 1,
                                     .to_send = 7000,
                                     .to_receive = 3000,
                                     .read_size = 5000,
                                     .write_size = 5000,
                                     .user = MANY + 1 + i,
                                     .waits_for_closed = i % 2 == 0};
        all[2 * i] = &clients[i];
        all[2 * i + 1] = accepts[i] = &servers[i];
    }
    sim->app = streams_app(&streams);
    listener_open(&listener, b, scene->family, PORT, MANY);
    struct foyer_endpoint remote = sim_endpoint(b, scene->family, PORT);
    for (unsigned i = 0; i < MANY; i++)
        stream_connect(&clients[i], a, scene->family, &remote, 1 + i);
    sim_run_until(sim, streams_done, &streams, 1200 * FOYER_NS_PER_S, "200 connections");
    SIM_CHECK(sim, listener.accepted == MANY);
    for (unsigned i = 0; i < MANY; i++)
        SIM_CHECK(sim, clients[i].received == 7000 && servers[i].received == 3000);
    SIM_CHECK(sim, foyer_socket_close(b->host, listener.socket, sim->now) == 0);
    listener.host = NULL;
    empty_hosts_rest(sim);
}

/* ---- more than the backlog, then accepted: the peers' SYNs come again ------------------------------ */

static void backlog(struct sim *sim, const void *argument)
{
    enum { CONNECTIONS = 20 };
    static struct stream clients[CONNECTIONS], servers[CONNECTIONS];
    static struct stream *all[2 * CONNECTIONS], *accepts[CONNECTIONS];
    const struct scene *scene = argument;
    struct sim_host *a, *b;
    two_hosts(sim, scene, &a, &b);
    struct listener listener = {.accepts = accepts, .accept_count = CONNECTIONS};
    struct streams streams = {
        .sim = sim, .all = all, .count = 2 * CONNECTIONS, .listener = &listener};
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        clients[i] =
            (struct stream){.read_size = 100, .write_size = 100, .to_send = 10, .retries = 5};
        servers[i] =
            (struct stream){.read_size = 100, .write_size = 100, .to_receive = 10, .user = 100 + i};
        all[2 * i] = &clients[i];
        all[2 * i + 1] = accepts[i] = &servers[i];
    }
    sim->app = streams_app(&streams);
    listener_open(&listener, b, scene->family, PORT, 2);
    struct foyer_endpoint remote = sim_endpoint(b, scene->family, PORT);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        stream_connect(&clients[i], a, scene->family, &remote, 1 + i);
    sim_run_until(sim, streams_done, &streams, 600 * FOYER_NS_PER_S, "all accepted");
    SIM_CHECK(sim, listener.accepted == CONNECTIONS);
    SIM_CHECK(sim, foyer_socket_close(b->host, listener.socket, sim->now) == 0);
    listener.host = NULL;
    empty_hosts_rest(sim);
}

/* ---- abort: the peer learns it ------------------------------------------------------------------------ */

static bool client_sent_some(void *context)
{
    const struct stream *stream = context;
    return stream->sent > 20000;
}

static void abort_half_way(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    struct sim_host *a, *b;
    two_hosts(sim, scene, &a, &b);
    struct stream client = {
        .to_send = 10000000, .write_size = 2000, .read_size = 2000, .retries = 5};
    struct stream server = {.may_fail = true,
                            .to_receive = 10000000,
                            .to_send = 100000000,
                            .write_size = 2000,
                            .read_size = 2000};
    client.to_receive = server.to_send;
    client.receive_pattern = server.send_pattern = 3;
    struct stream *all[] = {&client, &server};
    struct stream *accepts[] = {&server};
    struct listener listener = {.accepts = accepts, .accept_count = 1};
    struct streams streams = {.sim = sim, .all = all, .count = 2, .listener = &listener};
    sim->app = streams_app(&streams);
    listener_open(&listener, b, scene->family, PORT, 2);
    struct foyer_endpoint remote = sim_endpoint(b, scene->family, PORT);
    stream_connect(&client, a, scene->family, &remote, 1);
    sim_run_until(sim, client_sent_some, &client, 600 * FOYER_NS_PER_S, "some bytes");
    SIM_CHECK(sim, foyer_socket_abort(a->host, client.socket, sim->now) == 0);
    client.is_open = false;
    client.is_done = true;
    /* Should the reset be lost, the next segment draws another. */
    sim_run_until(sim, streams_done, &streams, 300 * FOYER_NS_PER_S, "the reset");
    if (server.error != -ECONNRESET)
        sim_fail(sim, "aborted as %s", strerror(-server.error));
    /* The stale handle is an error, not another socket. */
    SIM_CHECK(sim, foyer_socket_close(a->host, client.socket, sim->now) == -EBADF);
    SIM_CHECK(sim, foyer_socket_close(b->host, listener.socket, sim->now) == 0);
    listener.host = NULL;
    empty_hosts_rest(sim);
}

/* ---- one host talks to itself: nothing may reach the wire --------------------------------------------- */

static void to_itself(struct sim *sim, const void *argument)
{
    const struct scene *scene = argument;
    struct sim_host *a = sim_add_host(sim, &plain_host);
    struct stream client = {.to_send = 300000,
                            .to_receive = 200000,
                            .send_pattern = 1,
                            .receive_pattern = 2,
                            .write_size = 60000,
                            .read_size = 60000};
    struct stream server = {.to_send = 200000,
                            .to_receive = 300000,
                            .send_pattern = 2,
                            .receive_pattern = 1,
                            .write_size = 60000,
                            .read_size = 60000,
                            .user = 2};
    struct stream *all[] = {&client, &server};
    struct stream *accepts[] = {&server};
    struct listener listener = {.accepts = accepts, .accept_count = 1};
    struct streams streams = {.sim = sim, .all = all, .count = 2, .listener = &listener};
    sim->app = streams_app(&streams);
    listener_open(&listener, a, scene->family, PORT, 2);
    struct foyer_endpoint remote = sim_endpoint(a, scene->family, PORT);
    if (random_below(&sim->random, 2) == 0) {
        memset(&remote.addr, 0, sizeof(remote.addr));
        remote.addr.bytes[15] = 1;
        if (scene->family == FOYER_FAMILY_V4)
            remote.addr = foyer_addr_v4(127, 0, 0, 1);
    }
    stream_connect(&client, a, scene->family, &remote, 1);
    sim_run_until(sim, streams_done, &streams, 60 * FOYER_NS_PER_S, "the transfer");
    SIM_CHECK(sim, foyer_socket_close(a->host, listener.socket, sim->now) == 0);
    listener.host = NULL;
    empty_hosts_rest(sim);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(struct sim *sim, const void *argument);
        unsigned loss_percent;
    } scenarios[] = {
        {"refused", refused, 0},
        {"refused_loss", refused, 10},
        {"nobody", nobody, 0},
        {"many", many, 0},
        {"many_loss", many, 5},
        {"backlog", backlog, 0},
        {"backlog_loss", backlog, 5},
        {"abort", abort_half_way, 0},
        {"abort_loss", abort_half_way, 5},
        {"to_itself", to_itself, 0},
    };
    struct sim_options options = {.fixed_seeds = 3, .fresh_seeds = 2};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct scene scene = {v6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4,
                                  scenarios[i].loss_percent};
            char name[64];
            snprintf(name, sizeof(name), "%s_v%d", scenarios[i].name, v6 ? 6 : 4);
            sim_run_seeds(&options, name, scenarios[i].run, &scene);
        }
    }
    return 0;
}
