/* The plan of a world, and its run: faults, then peace, then rest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define MS FOYER_NS_PER_MS
#define S FOYER_NS_PER_S

/* After the network has healed: the longest backoff of a retransmission or window probe, and
 * what the answer takes. Keep-alive and the like are shorter. */
#define PROGRESS_NS (260 * S)
/* Fifteen retransmissions, none of which found anybody. */
#define GIVES_UP_NS (1300 * S)
#define LOOK_NS (10 * S)
#define REST_NS GIVES_UP_NS /* an orphan whose peer stood for an address that is gone */
#define HEALTHY 6           /* connections that are opened after the network has healed */
#define PORTS_FEW 200

uint64_t below(struct random *random, uint64_t bound)
{
    return random_below(random, bound);
}

bool one_in(struct random *random, uint64_t bound)
{
    return random_below(random, bound) == 0;
}

bool world_has(const struct world *world, enum fault fault)
{
    return (world->faults & 1u << fault) != 0;
}

struct random world_random(const struct world *world, uint64_t part)
{
    struct random random;
    random_init(&random, world->sim.seed * 1000003 + part);
    return random;
}

void world_say(const struct world *world, const char *format, ...)
{
    va_list arguments;
    if (!world->is_verbose)
        return;
    printf("%14.6f  ", (double)(int64_t)(world->sim.now - world->start_ns) / 1e9);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* ---- ends --------------------------------------------------------------------------------------- */

static void *grown(void *array, unsigned *capacity, unsigned count, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    array = realloc(array, *capacity * size);
    if (array == NULL)
        abort();
    return array;
}

struct end *world_add_end(struct world *world, struct world_host *host)
{
    struct end *end = calloc(1, sizeof(*end));
    if (end == NULL)
        abort();
    world->ends =
        grown(world->ends, &world->end_capacity, world->end_count, sizeof(world->ends[0]));
    world->live =
        grown(world->live, &world->live_capacity, world->live_count, sizeof(world->live[0]));
    world->ends[world->end_count++] = end;
    world->live[world->live_count++] = end;
    end->world = world;
    end->host = host;
    end->user = world->end_count;
    end->progress_ns = world->sim.now;
    return end;
}

static void bury(struct world *world)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world->live_count; i++) {
        if (world->live[i]->is_open)
            world->live[count++] = world->live[i];
    }
    world->live_count = count;
}

/* ---- the plan ------------------------------------------------------------------------------------ */

static void make_hosts(struct world *world)
{
    static const uint16_t mtus[] = {1280, 1400, 1500, 1500, 9000};
    static const uint32_t capabilities[] = {
        0, FOYER_LINK_TX_CHECKSUM, FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6};
    struct random *random = &world->plan_random;
    world->mtu = mtus[below(random, 5)];
    world->host_count = 2 + (unsigned)below(random, one_in(random, 3) ? 15 : 4);
    bool is_small = one_in(random, 4), has_few_ports = one_in(random, 6);
    struct impair_config calm = {
        .delay_ns = below(random, 20 * MS), .reorder_ns = MS, .queue_bytes = 1u << 20};
    for (unsigned i = 0; i < world->host_count; i++) {
        struct sim_host_config config = {
            .mtu = world->mtu,
            .capabilities = capabilities[below(random, 3)],
            .receive_buffer_size = is_small ? 4096u << below(random, 2) : 8192u << below(random, 6),
            .send_buffer_size = is_small ? 4096u << below(random, 2) : 8192u << below(random, 6),
            .max_requests = one_in(random, 6) ? 2 : 0,
            .ephemeral_first = has_few_ports ? 50000 : 0,
            .ephemeral_last = has_few_ports ? 50000 + PORTS_FEW : 0,
        };
        struct world_host *host = &world->hosts[i];
        if (world_has(world, FAULT_BOUND) && one_in(random, 2)) {
            config.max_memory_bytes = (640u << 10) + below(random, 2u << 20);
            host->excuses |= EXCUSE_MEMORY;
            world_say(world, "host %u has %llu bytes", i,
                      (unsigned long long)config.max_memory_bytes);
        }
        host->sim = sim_add_host(&world->sim, &config);
        sim_add_port(&world->sim, host->sim, &calm, &calm);
    }
}

/* The last host stands for two networks that do not exist. */
static struct foyer_endpoint intercepted(struct random *random, enum foyer_family family,
                                         uint16_t port)
{
    struct foyer_endpoint endpoint = {.port = port};
    uint8_t number = (uint8_t)(1 + below(random, 200));
    endpoint.addr = foyer_addr_v4(10, 99, number, number);
    if (family == FOYER_FAMILY_V6)
        endpoint.addr = (struct foyer_addr){{0xfd, 0x99, [15] = number}};
    return endpoint;
}

static void make_interceptor(struct world *world)
{
    struct world_host *host = &world->hosts[world->host_count - 1];
    struct foyer_addr net4 = foyer_addr_v4(10, 99, 0, 0), net6 = {{0xfd, 0x99}};
    host->sim->may_send_from_strange = true;
    listener_open_any(world, host, LISTENER_INTERCEPT);
    for (unsigned i = 0; i + 1 < world->host_count; i++) {
        struct foyer_host *other = world->hosts[i].sim->host;
        SIM_CHECK(&world->sim, foyer_host_add_route(other, &net4, 16, &host->sim->addr4) == 0);
        SIM_CHECK(&world->sim, foyer_host_add_route(other, &net6, 32, &host->sim->addr6) == 0);
    }
}

static void plan_program(struct world *world, struct conn *conn, unsigned side, bool is_short)
{
    struct random *random = &world->plan_random;
    struct plan *plan = &conn->plans[side];
    uint64_t most = is_short ? 3000 : one_in(random, 6) ? 600000 : 60000;
    *plan = (struct plan){
        .to_send = (side == 0 ? 16 : 0) + below(random, one_in(random, 4) ? 3 : most),
        .read_size = 1u << (6 + below(random, 11)),
        .write_size = 1u << (6 + below(random, 11)),
        .stall_at = UINT64_MAX,
        .abort_at = UINT64_MAX,
        .shuts_after_eof = side == 1 && one_in(random, 2),
        .waits_for_closed = one_in(random, 2),
        .closes_at_once = one_in(random, 4),
        .nodelay = one_in(random, 2),
        .cork = one_in(random, 8),
        .keepalive = one_in(random, 8),
        .uses_rings = one_in(random, 6),
        .congestion = (uint8_t)below(random, world->congestion_count),
        .ecn = (uint8_t)below(random, FOYER_ECN_ACCURATE + 1),
        .is_urgent = one_in(random, 10),
        .is_fast_open = one_in(random, 4),
    };
    if (one_in(random, 6)) {
        plan->read_pause_ns = 1 + below(random, 20 * MS);
        plan->read_size = plan->read_size < 4096 ? 4096 : plan->read_size;
    }
    if (one_in(random, 8)) {
        plan->write_pause_ns = 1 + below(random, 20 * MS);
        plan->write_size = plan->write_size < 4096 ? 4096 : plan->write_size;
    }
    if (!is_short && one_in(random, 6)) {
        plan->stall_at = below(random, 30000);
        plan->stall_ns = below(random, one_in(random, 4) ? 100 * S : 3 * S);
    }
}

static void plan_abort(struct random *random, struct conn *conn)
{
    unsigned side = (unsigned)below(random, 2);
    uint64_t all = conn->plans[0].to_send + conn->plans[1].to_send;
    conn->plans[side].abort_at = below(random, all + 1);
    conn->plans[side].abort_how = (enum abort_how)below(random, ABORT_COUNT);
}

static void plan_requests(struct random *random, struct conn *conn, bool is_short)
{
    uint64_t rounds = 1 + below(random, is_short ? 3 : 40);
    conn->request_size = 16 + (uint32_t)below(random, one_in(random, 4) ? 3000 : 200);
    conn->response_size = 1 + (uint32_t)below(random, one_in(random, 4) ? 8000 : 500);
    conn->plans[0].to_send = rounds * conn->request_size;
    conn->plans[1].to_send = rounds * conn->response_size;
}

static void plan_target(struct world *world, struct conn *conn, bool is_healthy)
{
    struct random *random = &world->plan_random;
    unsigned from = (unsigned)below(random, world->host_count);
    unsigned to = (unsigned)below(random, world->host_count);
    unsigned last = world->host_count - 1;
    enum listener_kind kind = LISTENER_PLAIN;
    conn->family = one_in(random, 2) ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6;
    if (!is_healthy && one_in(random, 5))
        kind = one_in(random, 2) ? LISTENER_LAZY : LISTENER_HOLD;
    if (from != last && one_in(random, 8)) {
        kind = LISTENER_INTERCEPT;
        to = last;
    }
    conn->hosts[0] = &world->hosts[from];
    conn->hosts[1] = &world->hosts[to];
    conn->listener = &conn->hosts[1]->listeners[kind];
    conn->remote = kind == LISTENER_INTERCEPT
                       ? intercepted(random, conn->family, conn->listener->port)
                       : sim_endpoint(conn->hosts[1]->sim, conn->family, conn->listener->port);
    if (from == to && one_in(random, 2))
        conn->remote.addr = conn->family == FOYER_FAMILY_V4 ? foyer_addr_v4(127, 0, 0, 1)
                                                            : (struct foyer_addr){{0, [15] = 1}};
    if (kind == LISTENER_LAZY)
        conn->excuses |= EXCUSE_OVERFLOW;
    if (kind == LISTENER_HOLD)
        conn->excuses |= EXCUSE_REFUSED;
    if (kind == LISTENER_PLAIN && from != to && one_in(random, 12))
        conn->listener = NULL; /* a simultaneous open */
}

static void plan_conn(struct world *world, struct conn *conn, bool is_short, foyer_time_ns after,
                      foyer_time_ns span, bool is_healthy)
{
    struct random *random = &world->plan_random;
    conn->index = (unsigned)(conn - world->conns);
    conn->pattern = random_u64(random);
    conn->start_ns = after + below(random, span);
    plan_target(world, conn, is_healthy);
    plan_program(world, conn, 0, is_short);
    plan_program(world, conn, 1, is_short);
    if (one_in(random, 3))
        plan_requests(random, conn, is_short);
    if (!is_healthy && one_in(random, 8))
        plan_abort(random, conn);
}

static int compare_start(const void *a, const void *b)
{
    const struct conn *x = a, *y = b;
    return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

static void make_conns(struct world *world)
{
    struct random *random = &world->plan_random;
    bool is_short = one_in(random, 3);
    unsigned count = 1 + (unsigned)below(random, is_short ? 300 : 30);
    foyer_time_ns span = 1 + below(random, one_in(random, 3) ? 30 * S : 3 * S);
    world->heal_ns = world->start_ns + span + below(random, 5 * S);
    world->conn_count = count + HEALTHY;
    world->conns = calloc(world->conn_count, sizeof(world->conns[0]));
    if (world->conns == NULL)
        abort();
    for (unsigned i = 0; i < count; i++)
        plan_conn(world, &world->conns[i], is_short, world->start_ns, span, false);
    qsort(world->conns, count, sizeof(world->conns[0]), compare_start);
    for (unsigned i = count; i < world->conn_count; i++)
        plan_conn(world, &world->conns[i], false, FOYER_TIME_NEVER - 1, 1, true);
    for (unsigned i = 0; i < world->conn_count; i++)
        world->conns[i].index = i;
}

/* How many congestion controls this build has. */
static uint8_t count_congestion(struct world *world)
{
    struct foyer_host *host = world->hosts[0].sim->host;
    foyer_socket socket;
    uint8_t count = 0;
    SIM_CHECK(&world->sim, foyer_socket_open(host, FOYER_FAMILY_V4, FOYER_TCP, 1, &socket) == 0);
    while (foyer_socket_set_option(host, socket, FOYER_OPT_CONGESTION, count) == 0)
        count++;
    SIM_CHECK(&world->sim, foyer_socket_close(host, socket, world->sim.now) == 0);
    SIM_CHECK(&world->sim, count >= 2);
    return count;
}

/* ---- the application of sim.h --------------------------------------------------------------------- */

static struct world_host *host_of(struct world *world, const struct sim_host *host)
{
    return &world->hosts[host->index];
}

static void world_event(void *context, struct sim_host *sim_host, const struct foyer_event *event)
{
    struct world *world = context;
    struct world_host *host = host_of(world, sim_host);
    for (unsigned i = 0; i < WORLD_LISTENERS; i++) {
        struct world_listener *listener = &host->listeners[i];
        if (!listener->is_open || listener->socket.value != event->socket.value)
            continue;
        SIM_CHECK(&world->sim,
                  (event->events & ~(uint32_t)(FOYER_EVENT_ACCEPT | FOYER_EVENT_REQUEST |
                                               FOYER_EVENT_REQUEST_ENDED)) == 0);
        listener->has_waiting |= (event->events & FOYER_EVENT_ACCEPT) != 0;
        listener->has_requests |= (event->events & FOYER_EVENT_REQUEST) != 0;
        listener->has_ended |= (event->events & FOYER_EVENT_REQUEST_ENDED) != 0;
        return;
    }
    if (datagrams_event(world, host, event) || event->user == 0)
        return;
    SIM_CHECK(&world->sim, event->user <= world->end_count);
    struct end *end = world->ends[event->user - 1];
    SIM_CHECK(&world->sim, end->host == host);
    if (end->is_open && end->socket.value == event->socket.value)
        end_event(end, event->events);
}

/* A handle that was given back is an error, never another socket. */
static void try_stale(struct world *world)
{
    struct random *random = &world->program_random;
    struct world_host *host = &world->hosts[below(random, world->host_count)];
    struct foyer_host *stack = host->sim->host;
    struct foyer_socket_info info;
    uint8_t byte = 0;
    if (host->stale_count < WORLD_STALE_MAX)
        return;
    foyer_socket socket = host->stale[below(random, WORLD_STALE_MAX)];
    int64_t error = 0;
    switch (below(random, 4)) {
    case 0:
        error = foyer_socket_close(stack, socket, world->sim.now);
        break;
    case 1:
        error = foyer_socket_send(stack, socket, &byte, 1, world->sim.now);
        break;
    case 2:
        error = foyer_socket_recv(stack, socket, &byte, 1, world->sim.now);
        break;
    default:
        error = foyer_socket_shutdown(stack, socket, FOYER_SHUTDOWN_WRITE, world->sim.now);
        break;
    }
    SIM_CHECK(&world->sim, error == -EBADF);
    /* What goes on without a holder may still be looked at. */
    error = foyer_socket_info(stack, socket, &info);
    SIM_CHECK(&world->sim, error == -EBADF || error == 0);
}

static bool open_conns(struct world *world)
{
    bool any = false;
    while (world->conn_next < world->conn_count &&
           world->conns[world->conn_next].start_ns <= world->sim.now) {
        conn_open(world, &world->conns[world->conn_next++]);
        any = true;
    }
    return any;
}

static void heal(struct world *world)
{
    faults_heal(world);
    world->is_healed = true;
    world->next_look_ns = world->sim.now + LOOK_NS;
    for (unsigned i = 0; i < world->live_count; i++)
        world->live[i]->progress_ns = world->sim.now;
    /* What is opened now has no excuse. */
    for (unsigned i = world->conn_next; i < world->conn_count; i++)
        world->conns[i].start_ns = world->sim.now + below(&world->plan_random, 5 * S);
    qsort(&world->conns[world->conn_next], world->conn_count - world->conn_next,
          sizeof(world->conns[0]), compare_start);
    for (unsigned i = world->conn_next; i < world->conn_count; i++)
        world->conns[i].index = i;
}

/* Everybody gets on, or has a reason not to. */
static void look_after(struct world *world, struct end *end)
{
    static char text[1024];
    foyer_time_ns idle = world->sim.now - end->progress_ns;
    foyer_time_ns wait =
        end->next_read_ns > world->sim.now ? end->next_read_ns - world->sim.now : 0;
    if (!end->is_open || idle < PROGRESS_NS || wait > 0)
        return;
    if (end->conn == NULL) {
        end_abandon(end, EXCUSE_BROKEN); /* whoever called is gone: nothing would ever come */
        return;
    }
    struct conn *conn = end->conn;
    struct world_host *peer_host = conn->hosts[1 - end->side];
    const struct end *peer = conn->ends[1 - end->side];
    bool has_peer = inspect_has_peer(world, end, peer_host);
    /* A program that waits for its peer to read, who waits or stalls. */
    if (has_peer && peer != NULL && peer->is_open &&
        (world->sim.now - peer->progress_ns < PROGRESS_NS || peer->next_read_ns > world->sim.now))
        return;
    uint32_t excuses =
        world->excuses | conn->excuses | conn->hosts[0]->excuses | conn->hosts[1]->excuses;
    if (!has_peer && excuses != 0) {
        world_say(world, "connection %u: the other end is gone", conn->index);
        world->counts->excused++;
        end_abandon(end, EXCUSE_PEER_GONE);
        return;
    }
    /* Retransmissions to an address that is gone go on for as long as the RFC says. */
    if ((excuses & (EXCUSE_ADDRESS | EXCUSE_BROKEN | EXCUSE_ABORT)) != 0 && idle < GIVES_UP_NS)
        return;
    conn_describe(conn, text, sizeof(text));
    sim_fail(&world->sim, "no progress for %.0f s: %s", (double)idle / 1e9, text);
}

static bool world_act(void *context)
{
    struct world *world = context;
    bool any = false;
    if (!world->is_healed && world->sim.now >= world->heal_ns) {
        heal(world);
        any = true;
    }
    any |= faults_act(world);
    any |= open_conns(world);
    any |= datagrams_act(world);
    for (unsigned i = 0; i < world->host_count; i++) {
        for (unsigned j = 0; j < WORLD_LISTENERS; j++)
            any |= listener_act(&world->hosts[i].listeners[j]);
    }
    unsigned count = world->live_count;
    for (unsigned i = 0; i < count; i++)
        any |= end_act(world->live[i]);
    if (world->is_healed && world->sim.now >= world->next_look_ns) {
        for (unsigned i = 0; i < count; i++)
            look_after(world, world->live[i]);
        world->next_look_ns = world->sim.now + LOOK_NS;
    }
    bury(world);
    if (one_in(&world->program_random, 16))
        try_stale(world);
    return any;
}

static foyer_time_ns earlier(foyer_time_ns a, foyer_time_ns b)
{
    return a < b ? a : b;
}

static foyer_time_ns world_deadline(void *context)
{
    struct world *world = context;
    foyer_time_ns next = earlier(faults_deadline(world), datagrams_deadline(world));
    if (world->is_ending)
        return FOYER_TIME_NEVER;
    if (!world->is_healed)
        next = earlier(next, world->heal_ns);
    else
        next = earlier(next, world->next_look_ns);
    if (world->conn_next < world->conn_count)
        next = earlier(next, world->conns[world->conn_next].start_ns);
    for (unsigned i = 0; i < world->live_count; i++)
        next = earlier(next, end_deadline(world->live[i]));
    for (unsigned i = 0; i < world->host_count; i++) {
        for (unsigned j = 0; j < WORLD_LISTENERS; j++) {
            const struct world_listener *listener = &world->hosts[i].listeners[j];
            if (listener->is_open && listener->has_waiting)
                next = earlier(next, listener->next_accept_ns);
        }
    }
    return next;
}

static void world_frame(void *context, struct sim_host *from, const struct foyer_packet *packet)
{
    struct world *world = context;
    hostile_capture(world, packet);
    inspect_frame(world, host_of(world, from), packet);
}

/* ---- the run ---------------------------------------------------------------------------------------- */

static bool is_done(void *context)
{
    const struct world *world = context;
    return world->is_healed && world->conn_next == world->conn_count && world->live_count == 0;
}

static void close_all(struct world *world)
{
    struct sim *sim = &world->sim;
    datagrams_finish(world);
    for (unsigned i = 0; i < world->host_count; i++) {
        for (unsigned j = 0; j < WORLD_LISTENERS; j++) {
            struct world_listener *listener = &world->hosts[i].listeners[j];
            if (!listener->is_open)
                continue;
            listener_check(listener);
            SIM_CHECK(sim, foyer_socket_close(listener->host->sim->host, listener->socket,
                                              sim->now) == 0);
            listener->is_open = false;
        }
    }
    world->is_ending = true;
}

static void free_world(struct world *world)
{
    for (unsigned i = 0; i < world->end_count; i++) {
        free(world->ends[i]->ring_memory);
        free(world->ends[i]);
    }
    for (unsigned i = 0; i < world->host_count; i++)
        free(world->hosts[i].shadows);
    free(world->ends);
    free(world->live);
    free(world->conns);
    free(world->datagrams);
}

static void make_world(struct world *world)
{
    world->start_ns = world->sim.now;
    world->plan_random = world_random(world, 1);
    world->program_random = world_random(world, 2);
    world->fault_random = world_random(world, 3);
    world->hostile_random = world_random(world, 4);
    faults_choose(world);
    make_hosts(world);
    world->congestion_count = count_congestion(world);
    for (unsigned i = 0; i < world->host_count; i++) {
        listener_open_any(world, &world->hosts[i], LISTENER_PLAIN);
        listener_open_any(world, &world->hosts[i], LISTENER_LAZY);
        listener_open_any(world, &world->hosts[i], LISTENER_HOLD);
    }
    make_interceptor(world);
    make_conns(world);
    datagrams_init(world);
    faults_init(world);
    world_say(world, "%u hosts, MTU %u, %u connections, heals after %.3f s", world->host_count,
              world->mtu, world->conn_count, (double)(world->heal_ns - world->start_ns) / 1e9);
    for (unsigned fault = 0; fault < FAULT_COUNT; fault++) {
        if (world_has(world, (enum fault)fault))
            world_say(world, "fault: %s", fault_names[fault]);
    }
}

void world_run(uint64_t seed, uint32_t without, bool is_verbose, const char *trace,
               struct world_counts *counts)
{
    static struct world world; /* large; one at a time */
    memset(&world, 0, sizeof(world));
    sim_init(&world.sim, "world", seed);
    world.sim.replay = "foyer-sim";
    world.without = without;
    world.is_verbose = is_verbose;
    world.counts = counts;
    if (trace != NULL) {
        SIM_CHECK(&world.sim, pcapng_open(&world.sim.pcapng, trace, "world") == 0);
        world.sim.is_recorded = true;
    }
    make_world(&world);
    world.sim.app = (struct sim_app){&world, world_event, world_act, world_deadline};
    world.sim.watch =
        (struct sim_watch){&world, inspect_before_output, inspect_after_output, world_frame};
    sim_run_until(&world.sim, is_done, &world, 365 * 86400 * S, "the end of all connections");
    close_all(&world);
    sim_run_out(&world.sim, REST_NS);
    for (unsigned i = 0; i < world.host_count; i++) {
        SIM_CHECK(&world.sim, sim_socket_count(world.hosts[i].sim) == 0);
        inspect_at_rest(&world, &world.hosts[i]);
    }
    counts->worlds++;
    counts->frames += world.sim.frames;
    sim_finish(&world.sim);
    free_world(&world);
}
