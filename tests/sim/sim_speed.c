/*
 * How fast TCP gets on in virtual time: a bottleneck is filled, loss is repaired without timeouts
 * where it can be, small requests meet no delayed ACK or Nagle stall, an outage is survived, and
 * nothing is sent twice without need. The bounds are loose; they catch what is broken.
 */
#include <stdio.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7

struct speed {
    enum foyer_family family;
    uint32_t capabilities;
    uint32_t loss_ppm;
    uint64_t rate_bits_per_s;
    foyer_time_ns delay_ns; /* one way */
    uint64_t bytes;
    double most_times_ideal;
    bool is_lossless; /* the queue holds a window: no retransmission at all */
    unsigned rtos_most;
};

struct scene {
    struct sim_host *a, *b;
    struct stream client, server;
    struct stream *all[2], *accepts[1];
    struct listener listener;
    struct streams streams;
};

static void begin(struct sim *sim, struct scene *scene, const struct speed *speed,
                  const struct impair_config *wire, uint32_t buffer_size)
{
    struct sim_host_config host = {.mtu = 1500,
                                   .capabilities = speed->capabilities,
                                   .receive_buffer_size = buffer_size,
                                   .send_buffer_size = buffer_size};
    *scene = (struct scene){.client = {.retries = 5}, .server = {.user = 2}};
    scene->a = sim_add_host(sim, &host);
    scene->b = sim_add_host(sim, &host);
    sim_add_wire(sim, scene->a, scene->b, wire, wire);
    scene->client.read_size = scene->client.write_size = 65536;
    scene->server.read_size = scene->server.write_size = 65536;
    scene->client.send_pattern = scene->server.receive_pattern = 1;
    scene->server.send_pattern = scene->client.receive_pattern = 2;
    scene->all[0] = &scene->client;
    scene->all[1] = scene->accepts[0] = &scene->server;
    scene->listener.accepts = scene->accepts;
    scene->listener.accept_count = 1;
    scene->streams =
        (struct streams){.sim = sim, .all = scene->all, .count = 2, .listener = &scene->listener};
    scene->client.to_send = scene->server.to_receive = speed->bytes;
    sim->app = streams_app(&scene->streams);
    listener_open(&scene->listener, scene->b, speed->family, PORT, 8);
}

static void end(struct sim *sim, struct scene *scene)
{
    SIM_CHECK(sim, foyer_socket_close(scene->b->host, scene->listener.socket, sim->now) == 0);
    scene->listener.host = NULL;
    sim_run_out(sim, 600 * FOYER_NS_PER_S);
    SIM_CHECK(sim, sim_socket_count(scene->a) == 0 && sim_socket_count(scene->b) == 0);
}

/* ---- one bulk transfer ------------------------------------------------------------------------- */

static void bulk(struct sim *sim, const void *argument)
{
    static struct scene scene;
    const struct speed *speed = argument;
    /* Either more than a window fits, or two bandwidth-delay products. */
    struct impair_config wire = {
        .loss_ppm = speed->loss_ppm,
        .delay_ns = speed->delay_ns,
        .rate_bits_per_s = speed->rate_bits_per_s,
        .queue_bytes = 4 * speed->rate_bits_per_s / 8 * speed->delay_ns / FOYER_NS_PER_S + 100000,
    };
    if (speed->is_lossless)
        wire.queue_bytes = 4 << 20;
    begin(sim, &scene, speed, &wire, 1 << 20);
    foyer_time_ns start = sim->now;
    struct foyer_endpoint remote = sim_endpoint(scene.b, speed->family, PORT);
    stream_connect(&scene.client, scene.a, speed->family, &remote, 1);
    sim_run_until(sim, streams_done, &scene.streams, 3600 * FOYER_NS_PER_S, "the transfer");

    double took = (double)(sim->now - start) / 1e9;
    double ideal = (double)speed->bytes * 8 / (double)speed->rate_bits_per_s +
                   10 * (double)speed->delay_ns / 1e9; /* resolution, handshake, slow start */
    struct foyer_host_stats stats;
    foyer_host_stats(scene.a->host, &stats);
    printf("  %.3f s, ideal %.3f s; %llu segments, %llu again, %llu timeouts, %llu recoveries\n",
           took, ideal, (unsigned long long)stats.tcp_out_segs,
           (unsigned long long)stats.tcp_retrans_segs, (unsigned long long)stats.tcp_rto_fired,
           (unsigned long long)stats.tcp_fast_recoveries);
    if (took > ideal * speed->most_times_ideal)
        sim_fail(sim, "too slow");
    /* A wire that loses 64 KiB at once loses retransmissions too; real ones cut them up first. */
    unsigned rtos_most =
        speed->rtos_most + (speed->capabilities != 0 && !speed->is_lossless ? 10 : 0);
    if (stats.tcp_rto_fired > rtos_most)
        sim_fail(sim, "too many timeouts");
    uint64_t lost = sim->wires[0].way[0].stats.lost + sim->wires[0].way[0].stats.overflowed;
    if (speed->is_lossless && (lost > 0 || stats.tcp_retrans_segs > 0))
        sim_fail(sim, "sent again what was not lost");
    /* A lost super-segment is many segments. */
    if (speed->capabilities == 0 &&
        stats.tcp_retrans_segs > 20 + 3 * lost + stats.tcp_out_segs / 50)
        sim_fail(sim, "sends far more again than was lost");
    end(sim, &scene);
}

/* ---- requests and answers ------------------------------------------------------------------------ */

#define ROUNDS 200
#define REQUEST_SIZE 100

struct talk {
    struct scene scene;
    struct sim *sim;
    foyer_socket client, server;
    bool has_server;
    unsigned asked, answered;
    size_t got_request, got_answer;
};

static void talk_event(void *context, struct sim_host *host, const struct foyer_event *event)
{
    struct talk *talk = context;
    struct sim *sim = talk->sim;
    uint8_t bytes[4 * REQUEST_SIZE] = {0};
    bool is_client = host == talk->scene.a;
    if ((event->events & FOYER_EVENT_ACCEPT) != 0) {
        SIM_CHECK(sim, foyer_socket_accept(host->host, event->socket, 1, &talk->server) == 0);
        talk->has_server = true;
    }
    foyer_socket socket = is_client ? talk->client : talk->server;
    if (!is_client && !talk->has_server)
        return;
    size_t *got = is_client ? &talk->got_answer : &talk->got_request;
    int64_t size;
    while ((size = foyer_socket_recv(host->host, socket, bytes, sizeof(bytes), sim->now)) > 0)
        *got += (size_t)size;
    if (is_client && (event->events & FOYER_EVENT_CONNECTED) != 0)
        *got = REQUEST_SIZE; /* begin */
    if (*got < REQUEST_SIZE)
        return;
    *got -= REQUEST_SIZE;
    if (is_client)
        talk->answered = talk->asked;
    if (is_client && talk->asked++ == ROUNDS)
        return;
    /* In two writes, as many programs do: the second must not wait for an ACK of the first where
     * the first leaves at once. */
    SIM_CHECK(sim,
              foyer_socket_send(host->host, socket, bytes, REQUEST_SIZE, sim->now) == REQUEST_SIZE);
}

static bool talk_done(void *context)
{
    const struct talk *talk = context;
    return talk->answered == ROUNDS;
}

static void talk(struct sim *sim, const void *argument)
{
    static struct talk state;
    const struct speed *speed = argument;
    struct impair_config wire = {.delay_ns = speed->delay_ns};
    begin(sim, &state.scene, speed, &wire, 1 << 16);
    state.sim = sim;
    state.has_server = false;
    state.asked = state.answered = 0;
    state.got_request = state.got_answer = 0;
    sim->app = (struct sim_app){&state, talk_event, NULL, NULL};
    SIM_CHECK(sim, foyer_socket_open(state.scene.a->host, speed->family, FOYER_TCP, 1,
                                     &state.client) == 0);
    struct foyer_endpoint remote = sim_endpoint(state.scene.b, speed->family, PORT);
    foyer_time_ns start = sim->now;
    (void)foyer_socket_connect(state.scene.a->host, state.client, &remote, sim->now);
    sim_run_until(sim, talk_done, &state, 600 * FOYER_NS_PER_S, "the talk");
    /* Resolution, handshake, then one round trip each. */
    foyer_time_ns ideal = (ROUNDS + 3) * 2 * speed->delay_ns;
    if (sim->now - start > ideal + FOYER_NS_PER_MS)
        sim_fail(sim, "%.3f s instead of %.3f s", (double)(sim->now - start) / 1e9,
                 (double)ideal / 1e9);
    struct foyer_host_stats stats;
    foyer_host_stats(state.scene.a->host, &stats);
    /* Every answer carries the ACK of its request: no segment without need. */
    SIM_CHECK(sim, stats.tcp_out_segs < ROUNDS * 3 / 2);
    SIM_CHECK(sim, stats.tcp_retrans_segs == 0);
    SIM_CHECK(sim, foyer_socket_close(state.scene.a->host, state.client, sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_close(state.scene.b->host, state.server, sim->now) == 0);
    end(sim, &state.scene);
}

/* ---- the wire is cut for a while ------------------------------------------------------------------- */

static bool half_received(void *context)
{
    const struct stream *stream = context;
    return stream->received > stream->to_receive / 2;
}

static void outage(struct sim *sim, const void *argument)
{
    static struct scene scene;
    const struct speed *speed = argument;
    struct impair_config wire = {.delay_ns = speed->delay_ns,
                                 .rate_bits_per_s = speed->rate_bits_per_s};
    begin(sim, &scene, speed, &wire, 1 << 18);
    struct foyer_endpoint remote = sim_endpoint(scene.b, speed->family, PORT);
    stream_connect(&scene.client, scene.a, speed->family, &remote, 1);
    sim_run_until(sim, half_received, &scene.server, 600 * FOYER_NS_PER_S, "half");
    foyer_time_ns length = FOYER_NS_PER_S + random_below(&sim->random, 40 * FOYER_NS_PER_S);
    foyer_time_ns until = sim->now + length;
    /* Both directions, or one. */
    unsigned ways = 1 + (unsigned)random_below(&sim->random, 3);
    for (unsigned i = 0; i < 2; i++)
        sim->wires[0].way[i].config.loss_ppm = (ways >> i & 1) != 0 ? 1000000 : 0;
    while (sim->now < until && sim_step(sim))
        ;
    sim->wires[0].way[0].config.loss_ppm = sim->wires[0].way[1].config.loss_ppm = 0;
    foyer_time_ns healed = sim->now;
    sim_run_until(sim, streams_done, &scene.streams, 3600 * FOYER_NS_PER_S, "the rest");
    /* The backed-off timer has waited at most as long as the outage, and once more (RFC 6298);
     * with a second for the bytes. */
    if (sim->now - healed > 2 * length + 3 * FOYER_NS_PER_S)
        sim_fail(sim, "%.1f s to get on after an outage of %.1f s",
                 (double)(sim->now - healed) / 1e9, (double)length / 1e9);
    end(sim, &scene);
}

int main(int argc, char **argv)
{
    static const uint32_t tso = FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6;
    static const struct {
        const char *name;
        void (*run)(struct sim *sim, const void *argument);
        struct speed speed;
    } scenarios[] = {
        {"bulk_clean",
         bulk,
         {.rate_bits_per_s = 100000000,
          .delay_ns = 5000000,
          .bytes = 10000000,
          .most_times_ideal = 1.2,
          .is_lossless = true}},
        {"bulk_fast",
         bulk,
         {.rate_bits_per_s = 10000000000,
          .delay_ns = 50000,
          .bytes = 20000000,
          .most_times_ideal = 1.2,
          .is_lossless = true}},
        {"bulk_overflow",
         bulk,
         {.rate_bits_per_s = 100000000,
          .delay_ns = 5000000,
          .bytes = 10000000,
          .most_times_ideal = 1.6,
          .rtos_most = 1}},
        {"bulk_loss_0.1",
         bulk,
         {.loss_ppm = 1000,
          .rate_bits_per_s = 20000000,
          .delay_ns = 5000000,
          .bytes = 5000000,
          .most_times_ideal = 2,
          .rtos_most = 3}},
        {"bulk_loss_1",
         bulk,
         {.loss_ppm = 10000,
          .rate_bits_per_s = 20000000,
          .delay_ns = 5000000,
          .bytes = 5000000,
          .most_times_ideal = 5,
          .rtos_most = 20}},
        {"bulk_loss_5",
         bulk,
         {.loss_ppm = 50000,
          .rate_bits_per_s = 20000000,
          .delay_ns = 5000000,
          .bytes = 1000000,
          .most_times_ideal = 40,
          .rtos_most = 60}},
        {"talk", talk, {.delay_ns = 1000000}},
        {"outage", outage, {.rate_bits_per_s = 20000000, .delay_ns = 5000000, .bytes = 2000000}},
    };
    struct sim_options options = {.fixed_seeds = 2, .fresh_seeds = 1};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        for (int variant = 0; variant < 4; variant++) {
            struct speed speed = scenarios[i].speed;
            speed.family = (variant & 1) != 0 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4;
            speed.capabilities = (variant & 2) != 0 ? tso : 0;
            char name[64];
            snprintf(name, sizeof(name), "%s_v%d%s", scenarios[i].name,
                     speed.family == FOYER_FAMILY_V6 ? 6 : 4, speed.capabilities ? "_tso" : "");
            sim_run_seeds(&options, name, scenarios[i].run, &speed);
        }
    }
    return 0;
}
