/* Hosts, wires and virtual time. */
#include "common/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "foyer/features.h"

#define BATCH 16
/* Rounds without time passing: more than any burst needs, less than for ever. */
#define ROUNDS_AT_ONE_TIME_MAX 200000

_Noreturn void sim_fail(const struct sim *sim, const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "FAILED %s at %.9f s, round %llu: ", sim->name, (double)sim->now / 1e9,
            (unsigned long long)sim->rounds);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (sim->replay != NULL)
        fprintf(stderr, "\nreplay with: %s --seed %llu\n", sim->replay,
                (unsigned long long)sim->seed);
    else
        fprintf(stderr, "\nreplay with: --scenario %s --seed %llu\n", sim->name,
                (unsigned long long)sim->seed);
    exit(1);
}

/* ---- memory: counted, and its sizes checked ------------------------------------------------ */

struct block {
    size_t size;
    size_t reserved; /* keeps what follows aligned for any object */
};

static void *host_alloc(void *context, size_t size)
{
    struct sim_host *host = context;
    if (host->no_memory_ppm > 0 && random_chance_ppm(&host->sim->random, host->no_memory_ppm))
        return NULL;
    struct block *block = malloc(sizeof(*block) + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    memset(block + 1, 0xa5, size); /* contents undefined: nobody may count on zero */
    host->allocated_bytes += size;
    host->allocated_count++;
    if (host->allocated_bytes > host->allocated_peak_bytes)
        host->allocated_peak_bytes = host->allocated_bytes;
    return block + 1;
}

static void host_free(void *context, void *memory, size_t size)
{
    struct sim_host *host = context;
    if (memory == NULL)
        return;
    struct block *block = (struct block *)memory - 1;
    if (block->size != size)
        sim_fail(host->sim, "host %u frees %zu bytes as %zu", host->index, block->size, size);
    host->allocated_bytes -= size;
    host->allocated_count--;
    memset(memory, 0x5a, size);
    free(block);
}

/* ---- making the network ------------------------------------------------------------------------ */

void sim_init(struct sim *sim, const char *name, uint64_t seed)
{
    memset(sim, 0, sizeof(*sim));
    sim->name = name;
    sim->seed = seed;
    random_init(&sim->random, seed);
    /* Any epoch will do; also one that is not 0. */
    sim->now = random_below(&sim->random, 3) == 0 ? 0 : random_below(&sim->random, 1ULL << 60);
}

void sim_finish(struct sim *sim)
{
    for (unsigned i = 0; i < sim->host_count; i++) {
        struct sim_host *host = &sim->hosts[i];
        foyer_host_destroy(host->host);
        host->host = NULL;
        if (host->allocated_bytes != 0 || host->allocated_count != 0)
            sim_fail(sim, "host %u kept %zu bytes in %zu blocks", i, host->allocated_bytes,
                     host->allocated_count);
    }
    for (unsigned i = 0; i < sim->wire_count; i++) {
        impair_finish(&sim->wires[i].way[0]);
        impair_finish(&sim->wires[i].way[1]);
    }
    if (sim->is_recorded)
        (void)pcapng_close(&sim->pcapng);
}

struct sim_host *sim_add_host(struct sim *sim, const struct sim_host_config *config)
{
    SIM_CHECK(sim, sim->host_count < SIM_HOSTS_MAX);
    struct sim_host *host = &sim->hosts[sim->host_count];
    *host = (struct sim_host){
        .sim = sim,
        .index = sim->host_count,
        .mac = {2, 0, 0, 0, 0, (uint8_t)(sim->host_count + 1)},
        .mtu = config->mtu,
        .capabilities = config->capabilities,
        .addr4 = foyer_addr_v4(10, 0, 0, (uint8_t)(sim->host_count + 1)),
        .addr6 = {{0xfd, [15] = (uint8_t)(sim->host_count + 1)}},
    };
    sim->host_count++;
    struct foyer_host_config host_config = {
        .allocator = {host_alloc, host_free, host},
        .mtu = config->mtu,
        .link_capabilities = config->capabilities,
        .receive_buffer_size = config->receive_buffer_size,
        .send_buffer_size = config->send_buffer_size,
        .max_requests = config->max_requests,
        .ephemeral_first = config->ephemeral_first,
        .ephemeral_last = config->ephemeral_last,
        .max_memory_bytes = config->max_memory_bytes,
    };
    memcpy(host_config.mac, host->mac, 6);
    random_fill(&sim->random, host_config.secret, sizeof(host_config.secret));
    host->host = foyer_host_create(&host_config, sim->now);
    SIM_CHECK(sim, host->host != NULL);
    SIM_CHECK(sim, foyer_host_add_address(host->host, &host->addr4, 24) == 0);
    if (FOYER_WITH_IPV6)
        SIM_CHECK(sim, foyer_host_add_address(host->host, &host->addr6, 64) == 0);
    return host;
}

struct sim_wire *sim_add_wire(struct sim *sim, struct sim_host *a, struct sim_host *b,
                              const struct impair_config *from_a,
                              const struct impair_config *from_b)
{
    SIM_CHECK(sim, sim->wire_count < SIM_WIRES_MAX);
    struct sim_wire *wire = &sim->wires[sim->wire_count++];
    wire->ends[0] = a;
    wire->ends[1] = b;
    impair_init(&wire->way[0], from_a, random_u64(&sim->random));
    impair_init(&wire->way[1], from_b, random_u64(&sim->random));
    a->wire = wire;
    a->wire_end = 0;
    if (b != NULL) {
        b->wire = wire;
        b->wire_end = 1;
    }
    return wire;
}

struct sim_wire *sim_add_port(struct sim *sim, struct sim_host *host,
                              const struct impair_config *up, const struct impair_config *down)
{
    return sim_add_wire(sim, host, NULL, up, down);
}

struct foyer_endpoint sim_endpoint(const struct sim_host *host, enum foyer_family family,
                                   uint16_t port)
{
    return (struct foyer_endpoint){family == FOYER_FAMILY_V4 ? host->addr4 : host->addr6, port};
}

unsigned sim_socket_count(const struct sim_host *host)
{
    unsigned count = 0;
    foyer_socket socket = FOYER_SOCKET_NONE;
    while (foyer_socket_next(host->host, &socket))
        count++;
    return count;
}

/* ---- letting it run ---------------------------------------------------------------------------- */

/* Frames that have come up one wire go down the others. */
static void forward(struct sim *sim, const struct sim_wire *from,
                    const struct foyer_packet *packets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *mac = packets[i].spans[0].base;
        for (unsigned j = 0; j < sim->wire_count; j++) {
            struct sim_wire *wire = &sim->wires[j];
            if (wire == from || wire->ends[1] != NULL || wire->is_down)
                continue;
            if ((mac[0] & 1) != 0 || memcmp(mac, wire->ends[0]->mac, 6) == 0)
                impair_push(&wire->way[1], &packets[i], sim->now);
        }
    }
}

static bool deliver(struct sim *sim)
{
    bool any = false;
    for (unsigned i = 0; i < sim->wire_count; i++) {
        for (unsigned end = 0; end < 2; end++) {
            struct foyer_packet packets[BATCH];
            size_t max = 1 + (size_t)random_below(&sim->random, BATCH);
            size_t count = impair_pop(&sim->wires[i].way[end], packets, max, sim->now);
            if (count == 0)
                continue;
            any = true;
            if (end == 0 && sim->wires[i].ends[1] == NULL) {
                forward(sim, &sim->wires[i], packets, count);
                continue;
            }
            struct sim_host *to = sim->wires[i].ends[0];
            if (end == 0)
                to = sim->wires[i].ends[1];
            to->is_touched = true;
            foyer_host_input(to->host, packets, count, sim->now);
        }
    }
    return any;
}

static bool output(struct sim *sim, struct sim_host *host)
{
    bool any = false;
    struct foyer_packet packets[BATCH];
    size_t max = 1 + (size_t)random_below(&sim->random, BATCH);
    size_t count = foyer_host_output(host->host, packets, max, sim->now);
    SIM_CHECK(sim, count <= max);
    for (size_t i = 0; i < count; i++) {
        sim_check_packet(host, &packets[i]);
        sim->frames++;
        if (sim->watch.frame != NULL)
            sim->watch.frame(sim->watch.context, host, &packets[i]);
        if (sim->is_recorded)
            pcapng_write(&sim->pcapng, &packets[i],
                         host->index == 0 ? PCAPNG_OUTBOUND : PCAPNG_INBOUND, sim->now);
        if (host->wire != NULL && !host->wire->is_down)
            impair_push(&host->wire->way[host->wire_end], &packets[i], sim->now);
        any = true;
    }
    return any;
}

static bool events(struct sim *sim, struct sim_host *host)
{
    struct foyer_event taken[BATCH];
    size_t count = foyer_host_events(host->host, taken, BATCH);
    for (size_t i = 0; i < count; i++) {
        SIM_CHECK(sim, taken[i].events != 0);
        if (sim->app.event != NULL)
            sim->app.event(sim->app.context, host, &taken[i]);
    }
    return count > 0;
}

static bool run_host(struct sim *sim, struct sim_host *host)
{
    if (host->is_touched && sim->watch.before_output != NULL)
        sim->watch.before_output(sim->watch.context, host);
    host->is_touched = false;
    bool any = output(sim, host);
    if (any && sim->watch.after_output != NULL)
        sim->watch.after_output(sim->watch.context, host);
    any |= events(sim, host);
    host->is_touched = any; /* its programs will act */
    return any;
}

static foyer_time_ns earlier(foyer_time_ns a, foyer_time_ns b)
{
    return a < b ? a : b;
}

static foyer_time_ns next_time(const struct sim *sim)
{
    foyer_time_ns next = FOYER_TIME_NEVER;
    for (unsigned i = 0; i < sim->host_count; i++)
        next = earlier(next, foyer_host_deadline(sim->hosts[i].host));
    for (unsigned i = 0; i < sim->wire_count; i++) {
        next = earlier(next, impair_deadline(&sim->wires[i].way[0]));
        next = earlier(next, impair_deadline(&sim->wires[i].way[1]));
    }
    if (sim->app.deadline != NULL)
        next = earlier(next, sim->app.deadline(sim->app.context));
    return next;
}

bool sim_step(struct sim *sim)
{
    sim->rounds++;
    bool any = deliver(sim);
    for (unsigned i = 0; i < sim->host_count; i++) {
        struct sim_host *host = &sim->hosts[i];
        if (foyer_host_deadline(host->host) <= sim->now) {
            foyer_host_tick(host->host, sim->now);
            host->is_touched = any = true;
        }
        any |= run_host(sim, host);
    }
    if (sim->app.act != NULL)
        any |= sim->app.act(sim->app.context);
    if (any) {
        if (++sim->rounds_at_now > ROUNDS_AT_ONE_TIME_MAX)
            sim_fail(sim, "no end of work at one time: livelock");
        return true;
    }
    foyer_time_ns next = next_time(sim);
    if (next == FOYER_TIME_NEVER)
        return false;
    SIM_CHECK(sim, next > sim->now);
    sim->now = next;
    sim->rounds_at_now = 0;
    return true;
}

void sim_run_until(struct sim *sim, bool (*done)(void *context), void *context,
                   foyer_time_ns limit_ns, const char *what)
{
    foyer_time_ns end = sim->now + limit_ns;
    while (!done(context)) {
        if (!sim_step(sim))
            sim_fail(sim, "nothing happens any more before %s", what);
        if (sim->now > end)
            sim_fail(sim, "%s takes longer than %.1f s", what, (double)limit_ns / 1e9);
    }
}

void sim_run_out(struct sim *sim, foyer_time_ns limit_ns)
{
    foyer_time_ns end = sim->now + limit_ns;
    while (sim_step(sim)) {
        if (sim->now > end)
            sim_fail(sim, "still busy after %.1f s, sockets %u and %u", (double)limit_ns / 1e9,
                     sim_socket_count(&sim->hosts[0]),
                     sim->host_count > 1 ? sim_socket_count(&sim->hosts[1]) : 0);
    }
}
