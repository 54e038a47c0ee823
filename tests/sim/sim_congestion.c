/*
 * BBR and DCTCP on paths that show what they are for: the rate is found, the queue stays short,
 * losses are borne, CUBIC beside it lives, a pause costs nothing, the round trip is looked at
 * again, a recovery that was none leaves no trace. And CUBIC's part of the last.
 */
#include <errno.h>
#include <stdio.h>

#include "common/sim.h"
#include "common/stream.h"

#define PORT 7
#define FLOWS_MAX 8
#define BBR (FOYER_CONGESTION_BBR + 1)
#define CUBIC (FOYER_CONGESTION_CUBIC + 1)
#define DCTCP (FOYER_CONGESTION_DCTCP + 1)

struct path {
    const char *name;
    uint64_t rate_bits_per_s;
    foyer_time_ns delay_ns; /* one way */
    struct impair_config more;
    size_t queue_bytes, mark_bytes;
    foyer_time_ns length_ns;
    int congestion[FLOWS_MAX]; /* enum foyer_congestion plus 1, 0: no more flows */
    uint32_t buffer_bytes;
    /* What is expected, over the second half of the time. */
    double least_mbit_per_s; /* all flows together */
    double least_share;      /* of each flow, of an equal one */
    double most_queue_ms;    /* mean */
    bool is_all_undone;      /* nothing was lost: each recovery was undone */
    foyer_time_ns pause_ns;  /* the program is silent in the middle */
};

struct scene {
    struct sim *sim;
    struct sim_host *a, *b;
    const struct path *path;
    foyer_socket listener, senders[FLOWS_MAX], receivers[FLOWS_MAX];
    uint64_t received[FLOWS_MAX], half[FLOWS_MAX];
    unsigned flows, accepted;
    foyer_time_ns start_ns, end_ns, next_ns;
    double queue_sum_ms;
    unsigned looks;
    bool is_past_half;
    uint32_t cwnd_bytes; /* the first flow's, when last seen outside of recovery */
};

static uint8_t chunk[65536];

static bool is_paused(const struct scene *scene)
{
    foyer_time_ns middle_ns = scene->start_ns + scene->path->length_ns / 2;
    foyer_time_ns now = scene->sim->now;
    return now >= middle_ns - scene->path->pause_ns && now < middle_ns;
}

static void fill(struct scene *scene, unsigned flow)
{
    if (is_paused(scene))
        return;
    while (foyer_socket_send(scene->a->host, scene->senders[flow], chunk, sizeof(chunk),
                             scene->sim->now) > 0)
        ;
}

static void on_event(void *context, struct sim_host *host, const struct foyer_event *event)
{
    struct scene *scene = context;
    int64_t size;

    if (host == scene->a) {
        SIM_CHECK(scene->sim, (event->events & FOYER_EVENT_ERROR) == 0);
        fill(scene, (unsigned)event->user);
        return;
    }
    if ((event->events & FOYER_EVENT_ACCEPT) != 0) {
        unsigned flow = scene->accepted++;
        SIM_CHECK(scene->sim,
                  foyer_socket_accept(host->host, event->socket, 1, &scene->receivers[flow]) == 0);
        SIM_CHECK(scene->sim, foyer_socket_set_user(host->host, scene->receivers[flow], flow) == 0);
        return;
    }
    while ((size = foyer_socket_recv(host->host, event->socket, chunk, sizeof(chunk),
                                     scene->sim->now)) > 0)
        scene->received[event->user] += (uint64_t)size;
}

/* What was undone leaves no trace: nothing else makes a window smaller that CUBIC fills. */
static void look_at_window(struct scene *scene)
{
    struct foyer_socket_info info;

    SIM_CHECK(scene->sim, foyer_socket_info(scene->a->host, scene->senders[0], &info) == 0);
    if (info.recovery != FOYER_RECOVERY_NONE)
        return;
    if (info.cwnd_bytes < scene->cwnd_bytes)
        sim_fail(scene->sim, "cwnd %u, was %u before", info.cwnd_bytes, scene->cwnd_bytes);
    scene->cwnd_bytes = info.cwnd_bytes;
}

/* Each 10 ms: how long the queue at the bottleneck is. */
static bool look(void *context)
{
    struct scene *scene = context;
    const struct impair *way = &scene->sim->wires[0].way[0];

    if (scene->sim->now < scene->next_ns)
        return false;
    scene->next_ns = scene->sim->now + 10 * FOYER_NS_PER_MS;
    if (scene->path->is_all_undone && scene->path->congestion[0] == CUBIC)
        look_at_window(scene);
    if (scene->path->pause_ns > 0) {
        for (unsigned i = 0; i < scene->flows; i++)
            fill(scene, i);
    }
    if (scene->sim->now < scene->start_ns + scene->path->length_ns / 2)
        return true;
    if (!scene->is_past_half) {
        scene->is_past_half = true;
        for (unsigned i = 0; i < scene->flows; i++)
            scene->half[i] = scene->received[i];
    }
    scene->looks++;
    if (way->line_free_ns > scene->sim->now)
        scene->queue_sum_ms += (double)(way->line_free_ns - scene->sim->now) / 1e6;
    return true;
}

static foyer_time_ns look_deadline(void *context)
{
    return ((struct scene *)context)->next_ns;
}

static bool is_over(void *context)
{
    const struct scene *scene = context;
    return scene->sim->now >= scene->end_ns;
}

static void open_flows(struct scene *scene)
{
    struct sim *sim = scene->sim;
    struct foyer_endpoint any = {.port = PORT};
    struct foyer_endpoint remote = sim_endpoint(scene->b, FOYER_FAMILY_V4, PORT);

    SIM_CHECK(sim, foyer_socket_open(scene->b->host, FOYER_FAMILY_V4, FOYER_TCP, 1,
                                     &scene->listener) == 0);
    any.addr = scene->b->addr4;
    SIM_CHECK(sim, foyer_socket_bind(scene->b->host, scene->listener, &any, NULL) == 0);
    SIM_CHECK(sim, foyer_socket_set_option(scene->b->host, scene->listener, FOYER_OPT_CONGESTION,
                                           scene->path->congestion[0] - 1) == 0);
    SIM_CHECK(sim, foyer_socket_listen(scene->b->host, scene->listener, 64, NULL) == 0);
    for (unsigned i = 0; i < FLOWS_MAX && scene->path->congestion[i] != 0; i++) {
        foyer_socket *socket = &scene->senders[i];
        SIM_CHECK(sim,
                  foyer_socket_open(scene->a->host, FOYER_FAMILY_V4, FOYER_TCP, 1, socket) == 0);
        SIM_CHECK(sim, foyer_socket_set_user(scene->a->host, *socket, i) == 0);
        SIM_CHECK(sim, foyer_socket_set_option(scene->a->host, *socket, FOYER_OPT_CONGESTION,
                                               scene->path->congestion[i] - 1) == 0);
        SIM_CHECK(sim,
                  foyer_socket_connect(scene->a->host, *socket, &remote, sim->now) == -EINPROGRESS);
        scene->flows++;
    }
}

static void check(struct scene *scene)
{
    const struct path *path = scene->path;
    const struct impair_stats *wired = &scene->sim->wires[0].way[0].stats;
    struct foyer_host_stats stats;
    double seconds = (double)path->length_ns / 2e9, sum = 0, least = 1e18;

    foyer_host_stats(scene->a->host, &stats);
    for (unsigned i = 0; i < scene->flows; i++) {
        double rate = (double)(scene->received[i] - scene->half[i]) * 8 / 1e6 / seconds;
        printf("  %8.2f", rate);
        sum += rate;
        least = rate < least ? rate : least;
    }
    double queue_ms = scene->queue_sum_ms / scene->looks, share = least * scene->flows / sum;
    printf(" Mbit/s; queue %.2f ms; lost %llu + %llu, late %llu; again %llu, recoveries %llu, "
           "undone %llu, timeouts %llu\n",
           queue_ms, (unsigned long long)wired->lost, (unsigned long long)wired->overflowed,
           (unsigned long long)wired->reordered, (unsigned long long)stats.tcp_retrans_segs,
           (unsigned long long)stats.tcp_fast_recoveries,
           (unsigned long long)stats.tcp_spurious_recoveries,
           (unsigned long long)stats.tcp_rto_fired);
    if (sum < path->least_mbit_per_s)
        sim_fail(scene->sim, "%.2f Mbit/s, %.2f are expected", sum, path->least_mbit_per_s);
    if (share < path->least_share)
        sim_fail(scene->sim, "a share of %.2f, %.2f is expected", share, path->least_share);
    if (path->most_queue_ms > 0 && queue_ms > path->most_queue_ms)
        sim_fail(scene->sim, "a queue of %.2f ms, at most %.2f", queue_ms, path->most_queue_ms);
    if (!path->is_all_undone)
        return;
    SIM_CHECK(scene->sim, wired->lost + wired->overflowed == 0 && stats.tcp_fast_recoveries > 0);
    if (stats.tcp_spurious_recoveries < stats.tcp_fast_recoveries + stats.tcp_rto_fired)
        sim_fail(scene->sim, "nothing was lost, and a recovery stands");
}

static void run_path(struct sim *sim, const void *argument)
{
    static struct scene scene;
    const struct path *path = argument;
    struct impair_config wire = path->more;
    struct impair_config back = {.delay_ns = path->delay_ns};
    struct sim_host_config host = {
        .mtu = 1500,
        .receive_buffer_size = path->buffer_bytes != 0 ? path->buffer_bytes : 4u << 20,
        .send_buffer_size = 4u << 20,
    };

    wire.delay_ns = path->delay_ns;
    wire.rate_bits_per_s = path->rate_bits_per_s;
    wire.queue_bytes = path->queue_bytes;
    wire.mark_bytes = path->mark_bytes;
    scene = (struct scene){.sim = sim, .path = path};
    scene.a = sim_add_host(sim, &host);
    scene.b = sim_add_host(sim, &host);
    sim_add_wire(sim, scene.a, scene.b, &wire, &back);
    sim->app = (struct sim_app){
        .context = &scene, .event = on_event, .act = look, .deadline = look_deadline};
    scene.start_ns = scene.next_ns = sim->now;
    scene.end_ns = sim->now + path->length_ns;
    open_flows(&scene);
    sim_run_until(sim, is_over, &scene, 2 * path->length_ns, "the time");
    check(&scene);
    for (unsigned i = 0; i < scene.flows; i++)
        SIM_CHECK(sim, foyer_socket_abort(scene.a->host, scene.senders[i], sim->now) == 0);
    for (unsigned i = 0; i < scene.accepted; i++)
        SIM_CHECK(sim, foyer_socket_abort(scene.b->host, scene.receivers[i], sim->now) == 0);
    SIM_CHECK(sim, foyer_socket_close(scene.b->host, scene.listener, sim->now) == 0);
    sim->app = (struct sim_app){0};
    sim_run_out(sim, 700 * FOYER_NS_PER_S);
}

#define SECONDS(n) ((n)*FOYER_NS_PER_S)
#define TEN_MS (10 * FOYER_NS_PER_MS)

int main(int argc, char **argv)
{
    /* 50 Mbit/s, 20 ms: 125 kB in flight, a queue of twice that unless said otherwise. */
    static const struct path paths[] = {
        {.name = "bbr_finds_the_rate_without_a_queue",
         .congestion = {BBR},
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 43,
         .most_queue_ms = 3},
        {.name = "bbr_in_a_deep_queue",
         .congestion = {BBR},
         .queue_bytes = 2000000,
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 43,
         .most_queue_ms = 3},
        {.name = "bbr_in_a_short_queue",
         .congestion = {BBR},
         .queue_bytes = 15000,
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 38},
        {.name = "bbr_bears_1_percent_of_losses",
         .congestion = {BBR},
         .more = {.loss_ppm = 10000},
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 25},
        {.name = "bbr_bears_5_percent_of_losses", /* CUBIC: 2 */
         .congestion = {BBR},
         .more = {.loss_ppm = 50000},
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 4},
        {.name = "bbr_beside_cubic",
         .congestion = {BBR, CUBIC},
         .length_ns = SECONDS(30),
         .least_mbit_per_s = 43,
         .least_share = 0.15},
        {.name = "bbr_beside_bbr",
         .congestion = {BBR, BBR, BBR, BBR},
         .length_ns = SECONDS(30),
         .least_mbit_per_s = 43,
         .least_share = 0.5},
        {.name = "bbr_after_a_pause",
         .congestion = {BBR},
         .length_ns = SECONDS(8),
         .pause_ns = SECONDS(1),
         .least_mbit_per_s = 43},
        {.name = "bbr_undoes",
         .congestion = {BBR},
         .more = {.reorder_ppm = 5000, .reorder_ns = 12 * FOYER_NS_PER_MS},
         .queue_bytes = 2000000,
         .buffer_bytes = 262144,
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 30,
         .is_all_undone = true},
        {.name = "cubic_undoes",
         .congestion = {CUBIC},
         .more = {.reorder_ppm = 5000, .reorder_ns = 12 * FOYER_NS_PER_MS},
         .queue_bytes = 2000000,
         .buffer_bytes = 262144,
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 40,
         .is_all_undone = true},
        {.name = "dctcp_keeps_the_queue_at_the_marks",
         .congestion = {DCTCP, DCTCP},
         .mark_bytes = 20000, /* 3.2 ms */
         .length_ns = SECONDS(8),
         .least_mbit_per_s = 43,
         .least_share = 0.5,
         .most_queue_ms = 5},
    };
    struct sim_options options = {.fixed_seeds = 1, .fresh_seeds = 0};
    sim_options_parse(&options, argc, argv);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct path path = paths[i];
        if (path.rate_bits_per_s == 0)
            path.rate_bits_per_s = 50000000;
        if (path.delay_ns == 0)
            path.delay_ns = TEN_MS;
        if (path.queue_bytes == 0)
            path.queue_bytes = 250000;
        sim_run_seeds(&options, path.name, run_path, &path);
    }
    return 0;
}
