/*
 * UDP programs: numbered datagrams of all sizes, also larger than the link, from one host to
 * another. What arrives is what was sent, whole, with its source and destination.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "world.h"

#define FLOWS_MAX 6
#define PORT 53
#define SIZE_MAX_BYTES 9000u
#define USER_FIRST (1ULL << 32)

struct flow {
    struct world_host *from, *to;
    enum foyer_family family;
    foyer_socket sender, receiver;
    struct foyer_endpoint remote;
    uint32_t count, sent, received;
    uint32_t sent_at_first; /* how many were sent by then: few wait for a neighbour to answer */
    bool is_connected, is_open, was_refused;
    foyer_time_ns next_ns, pause_ns;
};

struct datagrams {
    struct random random;
    struct flow flows[FLOWS_MAX];
    unsigned count;
};

/* What flow number index sends as its datagram number. */
static size_t fill(unsigned index, uint32_t number, uint8_t *bytes)
{
    struct random random;
    random_init(&random, (uint64_t)index << 32 | number);
    size_t most = one_in(&random, 8) ? SIZE_MAX_BYTES : 1200;
    size_t size = 8 + (size_t)below(&random, most - 8);
    random_fill(&random, bytes, size);
    store_be32(bytes, index);
    store_be32(bytes + 4, number);
    return size;
}

static bool lacks_memory(const struct world_host *host)
{
    return (host->excuses & EXCUSE_MEMORY) != 0;
}

static void open_flow(struct world *world, unsigned index)
{
    struct datagrams *datagrams = world->datagrams;
    struct flow *flow = &datagrams->flows[index];
    struct random *random = &datagrams->random;
    flow->from = &world->hosts[below(random, world->host_count)];
    flow->to = &world->hosts[below(random, world->host_count)];
    flow->family = one_in(random, 2) ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6;
    flow->count = 1 + (uint32_t)below(random, 60);
    flow->pause_ns = 1 + below(random, 200 * FOYER_NS_PER_MS);
    flow->next_ns = world->start_ns + below(random, 2 * FOYER_NS_PER_S);
    flow->is_connected = one_in(random, 2);
    flow->remote = sim_endpoint(flow->to->sim, flow->family, (uint16_t)(PORT + index));
    struct foyer_endpoint local = {.port = flow->remote.port};
    struct sim *sim = &world->sim;
    SIM_CHECK(sim, foyer_socket_open(flow->to->sim->host, FOYER_FAMILY_V6, FOYER_UDP, 1,
                                     &flow->receiver) == 0);
    SIM_CHECK(sim, foyer_socket_bind(flow->to->sim->host, flow->receiver, &local, NULL) == 0);
    SIM_CHECK(sim,
              foyer_socket_set_user(flow->to->sim->host, flow->receiver, USER_FIRST + index) == 0);
    SIM_CHECK(sim, foyer_socket_open(flow->from->sim->host, flow->family, FOYER_UDP, 1,
                                     &flow->sender) == 0);
    if (flow->is_connected)
        SIM_CHECK(sim, foyer_socket_connect(flow->from->sim->host, flow->sender, &flow->remote,
                                            sim->now) == 0);
    flow->is_open = true;
}

void datagrams_init(struct world *world)
{
    world->datagrams = calloc(1, sizeof(*world->datagrams));
    if (world->datagrams == NULL)
        abort();
    world->datagrams->random = world_random(world, 6);
    world->datagrams->count = (unsigned)below(&world->datagrams->random, FLOWS_MAX + 1);
    for (unsigned i = 0; i < world->datagrams->count; i++)
        open_flow(world, i);
}

static void receive_all(struct world *world, unsigned index)
{
    static uint8_t bytes[SIZE_MAX_BYTES + 1], expected[SIZE_MAX_BYTES];
    struct flow *flow = &world->datagrams->flows[index];
    struct sim *sim = &world->sim;
    struct foyer_endpoint from;
    struct foyer_addr to;
    int64_t size;
    while ((size = foyer_socket_recv_from(flow->to->sim->host, flow->receiver, bytes, sizeof(bytes),
                                          &from, &to)) >= 0) {
        SIM_CHECK(sim, size >= 8 && load_be32(bytes) == index);
        uint32_t number = load_be32(bytes + 4);
        SIM_CHECK(sim, number < flow->sent);
        SIM_CHECK(sim, fill(index, number, expected) == (size_t)size);
        SIM_CHECK(sim, memcmp(bytes, expected, (size_t)size) == 0);
        SIM_CHECK(sim, foyer_addr_eq(&to, &flow->remote.addr) && from.port != 0);
        SIM_CHECK(sim, flow->from == flow->to || flow->from->is_without[0] ||
                           flow->from->is_without[1] || flow->from->sim->may_send_from_strange ||
                           foyer_host_has_address(flow->from->sim->host, &from.addr));
        if (flow->received++ == 0)
            flow->sent_at_first = flow->sent;
        world->counts->datagrams++;
    }
    SIM_CHECK(sim, size == -EAGAIN || size == -ENOMEM);
}

bool datagrams_event(struct world *world, struct world_host *host, const struct foyer_event *event)
{
    if (event->user < USER_FIRST)
        return false;
    unsigned index = (unsigned)(event->user - USER_FIRST);
    SIM_CHECK(&world->sim,
              index < world->datagrams->count && world->datagrams->flows[index].to == host);
    if (world->datagrams->flows[index].is_open)
        receive_all(world, index);
    return true;
}

/* Errors of a datagram are told once, by ICMP or for want of a way, and it goes on. */
static bool may_fail_with(const struct flow *flow, const struct world *world, int64_t error)
{
    uint32_t excuses = world->excuses | flow->from->excuses | flow->to->excuses;
    switch (error) {
    case -ENOMEM:
    case -ENOBUFS:
        return lacks_memory(flow->from);
    case -EAGAIN:   /* nobody answers for the neighbour yet, or for a while */
    case -EMSGSIZE: /* a small buffer */
        return true;
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -EADDRNOTAVAIL:
    case -EPROTO:
    case -EACCES:
    case -ENOPROTOOPT:
        return (excuses & (EXCUSE_ADDRESS | EXCUSE_ICMP | EXCUSE_PARTITION | EXCUSE_LOSS |
                           EXCUSE_MEMORY)) != 0;
    default:
        return false;
    }
}

bool datagrams_act(struct world *world)
{
    static uint8_t bytes[SIZE_MAX_BYTES];
    bool any = false;
    for (unsigned i = 0; i < world->datagrams->count; i++) {
        struct flow *flow = &world->datagrams->flows[i];
        if (!flow->is_open || flow->sent == flow->count || flow->next_ns > world->sim.now)
            continue;
        size_t size = fill(i, flow->sent, bytes);
        int64_t taken =
            foyer_socket_send_to(flow->from->sim->host, flow->sender, bytes, size,
                                 flow->is_connected ? NULL : &flow->remote, world->sim.now);
        if (taken < 0 && !may_fail_with(flow, world, taken))
            sim_fail(&world->sim, "flow %u: send: %s", i, strerror((int)-taken));
        SIM_CHECK(&world->sim, taken < 0 || (size_t)taken == size);
        flow->was_refused |= taken < 0;
        flow->sent++;
        flow->next_ns = world->sim.now + below(&world->datagrams->random, flow->pause_ns);
        any = true;
    }
    return any;
}

foyer_time_ns datagrams_deadline(struct world *world)
{
    foyer_time_ns next = FOYER_TIME_NEVER;
    for (unsigned i = 0; i < world->datagrams->count; i++) {
        const struct flow *flow = &world->datagrams->flows[i];
        if (flow->is_open && flow->sent < flow->count && flow->next_ns < next)
            next = flow->next_ns;
    }
    return next;
}

void datagrams_finish(struct world *world)
{
    struct sim *sim = &world->sim;
    for (unsigned i = 0; i < world->datagrams->count; i++) {
        struct flow *flow = &world->datagrams->flows[i];
        if (!flow->is_open)
            continue;
        receive_all(world, i);
        struct foyer_host_stats stats; /* what finds a full buffer is lost anywhere */
        foyer_host_stats(flow->to->sim->host, &stats);
        bool is_quiet = flow->sent == flow->count && sim->now - flow->next_ns > FOYER_NS_PER_S;
        uint64_t least = flow->sent_at_first + stats.udp_full;
        if (world->faults == 0 && is_quiet && !flow->was_refused &&
            flow->received + least < flow->sent)
            sim_fail(sim,
                     "flow %u, host %u to %u v%d: %u of %u datagrams on a perfect network; full "
                     "%llu, no memory %llu, fragments %llu, reassembled %llu, failed %llu",
                     i, flow->from->sim->index, flow->to->sim->index, (int)flow->family,
                     flow->received, flow->sent, (unsigned long long)stats.udp_full,
                     (unsigned long long)stats.in_dropped_memory,
                     (unsigned long long)stats.in_fragments,
                     (unsigned long long)stats.in_reassembled,
                     (unsigned long long)stats.in_reassembly_failed);
        SIM_CHECK(sim, foyer_socket_close(flow->from->sim->host, flow->sender, sim->now) == 0);
        SIM_CHECK(sim, foyer_socket_close(flow->to->sim->host, flow->receiver, sim->now) == 0);
        flow->is_open = false;
    }
}
