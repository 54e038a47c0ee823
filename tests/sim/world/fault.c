/* What goes wrong, and when. */
#include <errno.h>
#include <string.h>

#include "world.h"

#define MS FOYER_NS_PER_MS
#define S FOYER_NS_PER_S
#define MSL_NS (30 * S)            /* no packet is older: RFC 9293 section 3.4.2 */
#define FLAP_EXCUSED_NS (500 * MS) /* shorter ones cost no connection its handshake */

const char *const fault_names[FAULT_COUNT] = {
    [FAULT_LOSS] = "loss",       [FAULT_REORDER] = "reorder", [FAULT_DUPLICATE] = "duplicate",
    [FAULT_DAMAGE] = "damage",   [FAULT_DELAY] = "delay",     [FAULT_RATE] = "rate",
    [FAULT_MARK] = "mark",       [FAULT_PATH] = "path",       [FAULT_BOUND] = "bound",
    [FAULT_FLAP] = "flap",       [FAULT_ADDRESS] = "address", [FAULT_MEMORY] = "memory",
    [FAULT_HOSTILE] = "hostile", [FAULT_REPLAY] = "replay",   [FAULT_ICMP] = "icmp",
    [FAULT_JUMP] = "jump",
};

static struct foyer_addr *address_of(struct world_host *host, unsigned family)
{
    return family == 0 ? &host->sim->addr4 : &host->sim->addr6;
}

static void take_address_away(struct world *world, struct world_host *host)
{
    struct random *random = &world->fault_random;
    unsigned family = (unsigned)below(random, 2);
    if (host->is_without[family])
        return;
    SIM_CHECK(&world->sim,
              foyer_host_remove_address(host->sim->host, address_of(host, family)) == 0);
    host->is_without[family] = true;
    host->sim->may_send_from_strange = true;
    host->excuses |= EXCUSE_ADDRESS;
    host->address_back_ns = world->sim.now + below(random, 5 * S);
    world_say(world, "host %u loses its v%u address", host->sim->index, family == 0 ? 4 : 6);
}

static void give_address_back(struct world *world, struct world_host *host)
{
    for (unsigned family = 0; family < 2; family++) {
        if (!host->is_without[family])
            continue;
        int error = foyer_host_add_address(host->sim->host, address_of(host, family),
                                           family == 0 ? 24 : 64);
        SIM_CHECK(&world->sim, error == 0);
        host->is_without[family] = false;
    }
    host->address_back_ns = FOYER_TIME_NEVER;
}

static void take_memory_away(struct world *world, struct world_host *host)
{
    struct random *random = &world->fault_random;
    host->sim->no_memory_ppm = one_in(random, 4) ? 1000000 : (uint32_t)below(random, 500000);
    host->memory_back_ns = world->sim.now + below(random, 3 * S);
    host->excuses |= EXCUSE_MEMORY;
    world_say(world, "host %u lacks memory: %u ppm", host->sim->index, host->sim->no_memory_ppm);
}

static void take_link_down(struct world *world, struct world_host *host)
{
    struct random *random = &world->fault_random;
    foyer_time_ns longest = one_in(random, 5) ? 40 * S : 2 * S;
    foyer_time_ns length = 1 + below(random, one_in(random, 2) ? 200 * MS : longest);
    host->sim->wire->is_down = true;
    host->link_up_ns = world->sim.now + length;
    if (length > FLAP_EXCUSED_NS)
        world->excuses |= EXCUSE_PARTITION;
    world_say(world, "host %u: link down for %.3f s", host->sim->index, (double)length / 1e9);
}

/* What was on its way for so long is lost: TCP's rules rest on that. */
static void lose_what_flies(struct world *world)
{
    for (unsigned i = 0; i < world->sim.wire_count; i++) {
        for (unsigned end = 0; end < 2; end++) {
            struct foyer_packet packet;
            while (impair_pop(&world->sim.wires[i].way[end], &packet, 1, FOYER_TIME_NEVER) > 0)
                ;
        }
    }
    world->captured_count = 0;
}

static void jump(struct world *world)
{
    static const foyer_time_ns longest[] = {50 * MS, 2 * S, 90 * S, 3600 * S, 30 * 86400 * S};
    struct random *random = &world->fault_random;
    foyer_time_ns length = 1 + below(random, longest[below(random, 5)]);
    if (length > MSL_NS)
        lose_what_flies(world);
    world->sim.now += length;
    world->heal_ns += length;
    world->sim.rounds_at_now = 0;
    /* A process that slept: retransmissions that all come due at once, requests that are over. */
    world->excuses |= EXCUSE_PARTITION;
    for (unsigned i = 0; i < world->live_count; i++)
        world->live[i]->progress_ns += length;
    world_say(world, "the clock jumps by %.3f s", (double)length / 1e9);
}

/* A rate per packet that is 0 now and then, small mostly, and large at times. */
static uint32_t some_ppm(struct random *random, uint32_t most)
{
    switch (below(random, 4)) {
    case 0:
        return 0;
    case 1:
        return (uint32_t)below(random, most);
    default:
        return (uint32_t)below(random, most / 8 + 1);
    }
}

static void change_wire(struct world *world, enum fault fault, struct impair *way)
{
    struct random *random = &world->fault_random;
    struct impair_config *config = &way->config;
    switch (fault) {
    case FAULT_LOSS:
        config->loss_ppm = some_ppm(random, 150000);
        if (config->loss_ppm > 10000)
            world->excuses |= EXCUSE_LOSS;
        break;
    case FAULT_REORDER:
        config->reorder_ppm = some_ppm(random, 300000);
        config->reorder_ns = 1 + below(random, 50 * MS);
        break;
    case FAULT_DUPLICATE:
        config->duplicate_ppm = some_ppm(random, 300000);
        break;
    case FAULT_DAMAGE:
        config->damage_ppm = some_ppm(random, 50000);
        if (config->damage_ppm > 0)
            world->excuses |= EXCUSE_LOSS | EXCUSE_ICMP; /* what is not understood is answered */
        break;
    case FAULT_DELAY:
        config->delay_ns = below(random, one_in(random, 4) ? 800 * MS : 30 * MS);
        config->jitter_ns = below(random, 20 * MS);
        break;
    case FAULT_MARK:
        config->mark_ppm = some_ppm(random, 1000000);
        config->mark_bytes = one_in(random, 2) ? 0 : 3000 + (size_t)below(random, 50000);
        break;
    case FAULT_PATH:
        /* IPv6 has no narrower one (RFC 8200 section 5); the Ethernet header is added. */
        config->frame_bytes_max = one_in(random, 3) ? 0 : 1294 + (size_t)below(random, 300);
        break;
    default:
        config->rate_bits_per_s = one_in(random, 3) ? 0 : 1000000 + below(random, 200000000);
        config->queue_bytes = 20000 + (size_t)below(random, 300000);
        if (config->rate_bits_per_s != 0)
            world->excuses |= EXCUSE_LOSS;
        break;
    }
    world_say(world, "%s changes", fault_names[fault]);
}

static void strike(struct world *world, enum fault fault)
{
    struct random *random = &world->fault_random;
    struct world_host *host = &world->hosts[below(random, world->host_count)];
    world->counts->faults++;
    switch (fault) {
    case FAULT_FLAP:
        take_link_down(world, host);
        break;
    case FAULT_ADDRESS:
        take_address_away(world, host);
        break;
    case FAULT_MEMORY:
        take_memory_away(world, host);
        break;
    case FAULT_HOSTILE:
        hostile_blind(world);
        break;
    case FAULT_REPLAY:
        hostile_replay(world);
        break;
    case FAULT_ICMP:
        hostile_icmp(world);
        break;
    case FAULT_JUMP:
        if (one_in(random, 4))
            jump(world);
        break;
    case FAULT_BOUND: /* from the beginning: make_hosts */
        break;
    default:
        change_wire(world, fault, &host->sim->wire->way[below(random, 2)]);
        break;
    }
}

/* Every world is a mild or a rough one of a few of the faults, some of none. */
void faults_choose(struct world *world)
{
    struct random *random = &world->fault_random;
    uint64_t how = below(random, 8);
    for (unsigned fault = 0; fault < FAULT_COUNT; fault++) {
        bool is_on = how == 0 ? false : how == 1 ? true : one_in(random, 3);
        if (is_on && (world->without & 1u << fault) == 0)
            world->faults |= 1u << fault;
    }
}

void faults_init(struct world *world)
{
    for (unsigned i = 0; i < world->host_count; i++) {
        struct world_host *host = &world->hosts[i];
        host->address_back_ns = host->memory_back_ns = host->link_up_ns = FOYER_TIME_NEVER;
    }
    world->next_fault_ns = world->start_ns;
}

static foyer_time_ns back_ns(const struct world_host *host)
{
    foyer_time_ns first = host->address_back_ns;
    if (host->memory_back_ns < first)
        first = host->memory_back_ns;
    return host->link_up_ns < first ? host->link_up_ns : first;
}

static bool mend(struct world *world, struct world_host *host, foyer_time_ns now)
{
    if (back_ns(host) > now)
        return false;
    if (host->address_back_ns <= now)
        give_address_back(world, host);
    if (host->memory_back_ns <= now) {
        host->memory_back_ns = FOYER_TIME_NEVER;
        host->sim->no_memory_ppm = 0;
    }
    if (host->link_up_ns <= now) {
        host->link_up_ns = FOYER_TIME_NEVER;
        host->sim->wire->is_down = false;
    }
    return true;
}

bool faults_act(struct world *world)
{
    bool any = false;
    if (world->is_healed)
        return false;
    for (unsigned i = 0; i < world->host_count; i++)
        any |= mend(world, &world->hosts[i], world->sim.now);
    if (world->sim.now < world->next_fault_ns || world->faults == 0)
        return any;
    struct random *random = &world->fault_random;
    enum fault fault;
    do
        fault = (enum fault)below(random, FAULT_COUNT);
    while (!world_has(world, fault));
    strike(world, fault);
    foyer_time_ns longest = one_in(random, 3) ? 3 * S : 100 * MS;
    world->next_fault_ns = world->sim.now + 1 + below(random, longest);
    return true;
}

foyer_time_ns faults_deadline(const struct world *world)
{
    if (world->is_healed)
        return FOYER_TIME_NEVER;
    foyer_time_ns first = world->faults != 0 ? world->next_fault_ns : FOYER_TIME_NEVER;
    for (unsigned i = 0; i < world->host_count; i++) {
        foyer_time_ns back = back_ns(&world->hosts[i]);
        first = back < first ? back : first;
    }
    return first;
}

void faults_heal(struct world *world)
{
    world_say(world, "the network heals");
    for (unsigned i = 0; i < world->host_count; i++) {
        struct world_host *host = &world->hosts[i];
        mend(world, host, FOYER_TIME_NEVER - 1);
        for (unsigned end = 0; end < 2; end++) {
            struct impair_config *config = &host->sim->wire->way[end].config;
            *config =
                (struct impair_config){.delay_ns = MS, .reorder_ns = MS, .queue_bytes = 1u << 20};
        }
    }
}
