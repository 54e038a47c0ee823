/*
 * The host's life, and time: create, destroy, input, deadline, tick, counters.
 *
 * The way up starts here (input -> link.c); the way down is output.c.
 */
#include "foyer/host.h"

#include <errno.h>

#include "stack/dhcp.h"
#include "stack/group.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/socket.h"
#include "stack/tcp_time_wait.h"

uint64_t host_random(struct foyer_host *host)
{
    uint64_t input[2] = {host->random_counter++, host->now_ns};
    return siphash(&host->port_key, input, sizeof(input));
}

/* ---- create and destroy -------------------------------------------------------------------------- */

static bool is_ring_size(uint32_t size)
{
    return size >= FOYER_RING_SIZE_MIN && size <= FOYER_RING_SIZE_MAX && (size & (size - 1)) == 0;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static bool set_config(struct foyer_host_config *config, const struct foyer_host_config *wanted)
{
    static const uint8_t zero_mac[6];

    *config = *wanted;
    if (config->mtu == 0)
        config->mtu = 1500;
    if (config->gso_max_size == 0)
        config->gso_max_size = 65160;
    if (config->ephemeral_first == 0)
        config->ephemeral_first = 49152; /* RFC 6335 section 6: the dynamic ports */
    if (config->ephemeral_last == 0)
        config->ephemeral_last = 65535;
    if (config->max_sockets == 0)
        config->max_sockets = HOST_SOCKETS_DEFAULT;
    if (config->receive_buffer_size == 0)
        config->receive_buffer_size = HOST_BUFFER_DEFAULT;
    if (config->send_buffer_size == 0)
        config->send_buffer_size = HOST_BUFFER_DEFAULT;
    if (config->receive_buffer_max < config->receive_buffer_size)
        config->receive_buffer_max = max_u32(config->receive_buffer_size, HOST_BUFFER_MAX_DEFAULT);
    if (config->send_buffer_max < config->send_buffer_size)
        config->send_buffer_max = max_u32(config->send_buffer_size, HOST_BUFFER_MAX_DEFAULT);
    if (config->congestion == 0)
        config->congestion = CONGESTION_DEFAULT;
    if (config->max_sockets > SLOTS_MAX)
        config->max_sockets = SLOTS_MAX;
    if (config->max_time_waits == 0)
        config->max_time_waits = TIME_WAITS_MAX_DEFAULT;
    if (config->max_requests == 0)
        config->max_requests = REQUESTS_MAX_DEFAULT;
    if (config->link_capabilities & (FOYER_LINK_TSO4 | FOYER_LINK_TSO6 | FOYER_LINK_USO))
        config->link_capabilities |= FOYER_LINK_TX_CHECKSUM;

    if (config->behaviour & FOYER_HOST_TEMPORARY_ADDRESSES)
        config->behaviour |= FOYER_HOST_SLAAC;
    if (config->behaviour & FOYER_HOST_SLAAC)
        config->behaviour |= FOYER_HOST_ROUTER_DISCOVERY;

    return config->allocator.alloc != NULL && config->allocator.free != NULL &&
           memcmp(config->mac, zero_mac, 6) != 0 && (config->mac[0] & 1) == 0 &&
           config->mtu >= 1280 && config->gso_max_size >= 1280 && config->gso_max_size <= 65160 &&
           config->ephemeral_first <= config->ephemeral_last &&
           congestion_is_built(config->congestion) && is_ring_size(config->receive_buffer_size) &&
           is_ring_size(config->send_buffer_size) && is_ring_size(config->receive_buffer_max) &&
           is_ring_size(config->send_buffer_max);
}

struct foyer_host *foyer_host_create(const struct foyer_host_config *config, foyer_time_ns now)
{
    struct foyer_host_config full;
    if (config == NULL || !set_config(&full, config))
        return NULL;

    struct foyer_host *host = full.allocator.alloc(full.allocator.context, sizeof(*host));
    if (host == NULL)
        return NULL;
    memset(host, 0, sizeof(*host));
    host->config = full;
    host->now_ns = now;
    host->output_room = 1;
    host->hash_key = siphash_key_from(full.secret);
    host->port_key = siphash_key_from(full.secret + 16);
    timer_queue_init(&host->timers, now);
    link_init(host);
    if (FOYER_WITH_REASSEMBLY)
        frag_init(host);
    if (FOYER_WITH_TCP)
        fastopen_init(host);
    if (sockets_init(host) != 0 || ports_init(host) != 0 || route_init(host) != 0 ||
        output_init(host) != 0 ||
        (FOYER_WITH_TCP &&
         (tcp_host_init(host) != 0 || requests_init(host) != 0 || time_waits_init(host) != 0))) {
        foyer_host_destroy(host);
        return NULL;
    }
    return host;
}

void foyer_host_destroy(struct foyer_host *host)
{
    if (host == NULL)
        return;
    if (FOYER_WITH_DHCP)
        dhcp_finish(host);
    sockets_finish(host); /* first: sockets are in everybody's lists */
    if (FOYER_WITH_TCP) {
        requests_finish(host);
        fastopen_finish(host);
        tcp_host_finish(host);
        time_waits_finish(host);
    }
    ports_finish(host);
    if (FOYER_WITH_REASSEMBLY)
        frag_finish(host);
    if (FOYER_WITH_MULTICAST)
        groups_finish(host);
    hash_table_finish(&host->error_queues);
    link_finish(host);
    output_finish(host);
    timer_queue_finish(&host->timers);
    struct foyer_allocator allocator = host->config.allocator;
    allocator.free(allocator.context, host, sizeof(*host));
}

/* ---- frames and time ------------------------------------------------------------------------------ */

void host_begin_more(struct foyer_host *host)
{
    output_release(host);
    if (host->wants_shed)
        host_shed(host);
}

/* With fewer all of them are in the processor's caches. */
#define AHEAD_FROM_CONNECTIONS 256u

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void foyer_host_input(struct foyer_host *host, const struct foyer_packet *packets, size_t count,
                      foyer_time_ns now)
{
    host_begin(host, now);
    for (size_t i = 0, taken; i < count; i += taken) {
        size_t left = count - i;
        if (FOYER_WITH_TCP && i % HOST_LOOK_AHEAD == 0 &&
            host->connected.count >= AHEAD_FROM_CONNECTIONS)
            host_look_ahead(host, &packets[i], min_size(left, HOST_LOOK_AHEAD));
        if (host->hint_count > 0) {
            if (host->hints[i % HOST_LOOK_AHEAD] != NULL)
                host->recent_sock = host->hints[i % HOST_LOOK_AHEAD];
            left = min_size(left, HOST_LOOK_AHEAD - i % HOST_LOOK_AHEAD);
        }
        taken = FOYER_WITH_TCP ? tcp_fast_input(host, &packets[i], left, host->now_ns) : 0;
        if (taken == 0) {
            link_input(host, &packets[i], host->now_ns);
            taken = 1;
        }
        host->stats.in_frames += taken;
    }
    host->hint_count = 0;
}

foyer_time_ns foyer_host_deadline(const struct foyer_host *host)
{
    /* output stopped in the middle of what the host sends to itself. */
    if (host->local_pending)
        return host->now_ns;
    return timer_queue_next_deadline(&host->timers);
}

void foyer_host_tick(struct foyer_host *host, foyer_time_ns now)
{
    host_begin(host, now);
    struct timer *timer;
    while ((timer = timer_queue_pop_due(&host->timers, host->now_ns)) != NULL) {
        switch ((enum timer_kind)timer->kind) {
        case TIMER_SOCK:
            if (FOYER_WITH_TCP)
                tcp_timer(host, TIMER_ENTRY(timer, struct sock, timer), host->now_ns);
            break;
        case TIMER_NEIGHBOUR:
            neighbour_timer(host, TIMER_ENTRY(timer, struct neighbour, timer), host->now_ns);
            break;
        case TIMER_REASSEMBLY:
            if (FOYER_WITH_REASSEMBLY)
                frag_timer(host, timer, host->now_ns);
            break;
        case TIMER_MTU:
            ip_mtu_timer(host, host->now_ns);
            break;
        case TIMER_ADDRESS:
            address_timer(host, host->now_ns);
            break;
        case TIMER_GROUP:
            if (FOYER_WITH_MULTICAST)
                group_timer(host, host->now_ns);
            break;
        case TIMER_ROUTER:
            if (FOYER_WITH_IPV6)
                router_timer(host, host->now_ns);
            break;
        case TIMER_DHCP4:
            if (FOYER_WITH_DHCP)
                dhcp4_timer(host, host->now_ns);
            break;
        case TIMER_DHCP6:
            if (FOYER_WITH_DHCP && FOYER_WITH_IPV6)
                dhcp6_timer(host, host->now_ns);
            break;
        case TIMER_REQUESTS:
            if (FOYER_WITH_TCP)
                requests_timer(host, host->now_ns);
            break;
        case TIMER_UNITS:
            if (FOYER_WITH_TCP)
                tcp_units_timer(host, host->now_ns);
            break;
        case TIMER_TIME_WAIT:
            if (FOYER_WITH_TCP)
                time_waits_timer(host, host->now_ns);
            break;
        }
    }
}

void foyer_host_stats(const struct foyer_host *host, struct foyer_host_stats *ret_stats)
{
    *ret_stats = host->stats;
}
