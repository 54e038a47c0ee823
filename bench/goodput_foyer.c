/* foyer against itself, in virtual time: as fast as the machine can, and the same every time. */
#include "goodput.h"

#include <errno.h>
#include <foyer/foyer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define PORT 7
#define BATCH 32
#define CHUNK_BYTES 65536u

struct run {
    const struct goodput_path *path;
    struct foyer_host *hosts[2];
    struct impair way[2]; /* way[i]: from hosts[i] */
    foyer_socket listener, senders[GOODPUT_FLOWS_MAX], receivers[GOODPUT_FLOWS_MAX];
    uint64_t received[GOODPUT_FLOWS_MAX];
    unsigned connecting, established;
    foyer_time_ns now;
    uint8_t chunk[CHUNK_BYTES];
};

static void *run_alloc(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void run_free(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

static struct foyer_endpoint endpoint(unsigned end)
{
    return (struct foyer_endpoint){foyer_addr_v4(10, 0, 0, (uint8_t)(end + 1)), PORT};
}

static void open_host(struct run *run, unsigned end)
{
    struct foyer_host_config config = {
        .allocator = {run_alloc, run_free, NULL},
        .mac = {2, 0, 0, 0, 0, (uint8_t)(end + 1)},
        .receive_buffer_size = GOODPUT_BUFFER_BYTES,
        .send_buffer_size = GOODPUT_BUFFER_BYTES,
        .secret = {(uint8_t)run->path->seed, (uint8_t)end},
    };
    struct foyer_endpoint self = endpoint(end);
    run->hosts[end] = foyer_host_create(&config, run->now);
    CORE_CHECK(run->hosts[end] != NULL);
    CORE_CHECK(foyer_host_add_address(run->hosts[end], &self.addr, 24) == 0);
    impair_init(&run->way[end], end == 0 ? &run->path->to : &run->path->back,
                end == 0 ? run->path->seed : run->path->seed ^ 0x5bd1e995u);
}

static int64_t congestion_id(const char *name)
{
    static const char *const names[] = {[FOYER_CONGESTION_CUBIC] = "cubic",
                                        [FOYER_CONGESTION_NEWRENO] = "reno",
                                        [FOYER_CONGESTION_DCTCP] = "dctcp",
                                        [FOYER_CONGESTION_BBR] = "bbr"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0)
            return (int64_t)i;
    }
    fprintf(stderr, "foyer: has no %s\n", name);
    exit(2);
}

/* ---- programs ------------------------------------------------------------------------------------ */

static void connect_next(struct run *run)
{
    struct foyer_host *host = run->hosts[0];
    struct foyer_endpoint remote = endpoint(1);
    foyer_socket *socket = &run->senders[run->connecting];
    CORE_CHECK(foyer_socket_open(host, FOYER_FAMILY_V4, FOYER_TCP, 1, socket) == 0);
    CORE_CHECK(foyer_socket_set_user(host, *socket, run->connecting) == 0);
    CORE_CHECK(foyer_socket_set_option(host, *socket, FOYER_OPT_CONGESTION,
                                       congestion_id(run->path->congestion)) == 0);
    CORE_CHECK(foyer_socket_connect(host, *socket, &remote, run->now) == -EINPROGRESS);
}

static void serve_sender(struct run *run, const struct foyer_event *event)
{
    if ((event->events & FOYER_EVENT_ERROR) != 0 && event->user == run->connecting &&
        run->connecting == run->established) {
        /* Address resolution gave up on a lossy path. */
        CORE_CHECK(foyer_socket_close(run->hosts[0], event->socket, run->now) == 0);
        connect_next(run);
        return;
    }
    if ((event->events & FOYER_EVENT_WRITABLE) == 0)
        return;
    while (foyer_socket_send(run->hosts[0], event->socket, run->chunk, CHUNK_BYTES, run->now) > 0)
        ;
}

static void serve_receiver(struct run *run, const struct foyer_event *event)
{
    int64_t size;
    if ((event->events & FOYER_EVENT_ACCEPT) != 0) {
        unsigned flow = run->established;
        if (foyer_socket_accept(run->hosts[1], event->socket, 1, &run->receivers[flow]) == 0) {
            CORE_CHECK(foyer_socket_set_user(run->hosts[1], run->receivers[flow], flow) == 0);
            run->established++;
            if (++run->connecting < run->path->flows)
                connect_next(run);
        }
        return;
    }
    while ((size = foyer_socket_recv(run->hosts[1], event->socket, run->chunk, CHUNK_BYTES,
                                     run->now)) > 0)
        run->received[event->user] += (uint64_t)size;
}

/* ---- the wire ------------------------------------------------------------------------------------- */

static bool move_end(struct run *run, unsigned end)
{
    struct foyer_host *host = run->hosts[end];
    struct foyer_packet packets[BATCH];
    struct foyer_event events[BATCH];
    bool any = false;
    size_t count = impair_pop(&run->way[1 - end], packets, BATCH, run->now);
    if (count > 0)
        foyer_host_input(host, packets, count, run->now);
    any |= count > 0;
    if (foyer_host_deadline(host) <= run->now) {
        foyer_host_tick(host, run->now);
        any = true;
    }
    while ((count = foyer_host_output(host, packets, BATCH, run->now)) > 0) {
        for (size_t i = 0; i < count; i++)
            impair_push(&run->way[end], &packets[i], run->now);
        any = true;
    }
    while ((count = foyer_host_events(host, events, BATCH)) > 0) {
        for (size_t i = 0; i < count; i++) {
            if (end == 0)
                serve_sender(run, &events[i]);
            else
                serve_receiver(run, &events[i]);
        }
        any = true;
    }
    return any;
}

static foyer_time_ns next_time(const struct run *run)
{
    foyer_time_ns next = FOYER_TIME_NEVER;
    for (unsigned end = 0; end < 2; end++) {
        foyer_time_ns host = foyer_host_deadline(run->hosts[end]);
        foyer_time_ns wire = impair_deadline(&run->way[end]);
        next = host < next ? host : next;
        next = wire < next ? wire : next;
    }
    CORE_CHECK(next != FOYER_TIME_NEVER && next > run->now);
    return next;
}

static void step(struct run *run)
{
    bool any = move_end(run, 0);
    any |= move_end(run, 1);
    if (!any)
        run->now = next_time(run);
}

static void run_wire(struct run *run, struct goodput_result *result)
{
    uint64_t before[GOODPUT_FLOWS_MAX];
    struct foyer_host_stats stats;

    connect_next(run);
    while (run->established < run->path->flows)
        step(run);
    foyer_time_ns end_ns = run->now + run->path->length_ns;
    memcpy(before, run->received, sizeof(before));
    while (run->now < end_ns)
        step(run);
    for (unsigned i = 0; i < run->path->flows; i++)
        result->flow_bytes[i] = run->received[i] - before[i];
    foyer_host_stats(run->hosts[0], &stats);
    result->retransmissions = stats.tcp_retrans_segs;
    result->recoveries = stats.tcp_fast_recoveries;
    result->undone = stats.tcp_spurious_recoveries;
    result->timeouts = stats.tcp_rto_fired;
    result->to = run->way[0].stats;
}

bool goodput_foyer(const struct goodput_path *path, struct goodput_result *ret_result)
{
    struct run *run = calloc(1, sizeof(*run));
    struct foyer_endpoint any = {.port = PORT};

    CORE_CHECK(run != NULL);
    run->path = path;
    run->now = FOYER_NS_PER_S;
    open_host(run, 0);
    open_host(run, 1);
    any.addr = endpoint(1).addr;
    CORE_CHECK(foyer_socket_open(run->hosts[1], FOYER_FAMILY_V4, FOYER_TCP, 1, &run->listener) ==
               0);
    CORE_CHECK(foyer_socket_bind(run->hosts[1], run->listener, &any, NULL) == 0);
    CORE_CHECK(foyer_socket_listen(run->hosts[1], run->listener, 64, NULL) == 0);
    *ret_result = (struct goodput_result){0};
    run_wire(run, ret_result);
    for (unsigned end = 0; end < 2; end++) {
        foyer_host_destroy(run->hosts[end]);
        impair_finish(&run->way[end]);
    }
    free(run);
    return true;
}
