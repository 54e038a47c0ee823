/*
 * The choice of ephemeral ports: unpredictable from outside (RFC 6056 section 3.3.4, double-hash
 * offset), shared between destinations, and quick when almost all are taken.
 *
 * For bind the question is which port nobody holds: one bitmap per protocol answers it by words.
 * For connect it is which port is free towards this one destination. A few steps of RFC 6056
 * nearly always find one. A destination that fills up (a proxy's upstream) is "crowded": it gets
 * a bitmap of its own, built once and kept up to date, and the search is again by words. Probing
 * one port after the other would take thousands of steps for each of the last ones.
 */
#include "stack/ports.h"

#include "base/bytes.h"

#include "stack/tcp_time_wait.h"

#define PROBES_BEFORE_BITMAP 32u
#define PROBES_FOR_SHARED_BIND 512u

struct crowded_destination {
    struct foyer_addr local;
    struct foyer_endpoint remote;
    uint32_t hash;
    uint32_t taken_count;
    uint64_t used; /* order of use, for eviction */
    uint8_t protocol;
    struct port_bitmap taken;
};

/* First port in first..last whose bit is 0 in a (and in b, unless NULL); 0: none. */
static uint16_t find_clear(const struct port_bitmap *a, const struct port_bitmap *b, uint32_t first,
                           uint32_t last)
{
    for (uint32_t word = first / 64; word <= last / 64; word++) {
        uint64_t set = a->words[word] | (b != NULL ? b->words[word] : 0);
        if (word == first / 64)
            set |= (1ULL << (first % 64)) - 1;
        if (set == UINT64_MAX)
            continue;
        uint32_t port = word * 64 + (uint32_t)__builtin_ctzll(~set);
        return port <= last ? (uint16_t)port : 0;
    }
    return 0;
}

/* The same, beginning at start and going round. */
static uint16_t find_clear_from(const struct foyer_host *host, const struct port_bitmap *a,
                                const struct port_bitmap *b, uint32_t start)
{
    uint32_t first = host->config.ephemeral_first;
    uint16_t port = find_clear(a, b, start, host->config.ephemeral_last);
    if (port == 0 && start > first)
        port = find_clear(a, b, first, start - 1);
    return port;
}

static uint32_t range_size(const struct foyer_host *host)
{
    return (uint32_t)host->config.ephemeral_last - host->config.ephemeral_first + 1;
}

uint16_t ports_choose_for_bind(struct foyer_host *host, const struct sock *sock,
                               const struct foyer_addr *addr)
{
    uint32_t first = host->config.ephemeral_first;
    uint32_t size = range_size(host);
    uint32_t start = (uint32_t)(host_random(host) % size);
    uint16_t port =
        find_clear_from(host, &ports_of(host, sock->protocol)->held, NULL, first + start);
    if (port != 0)
        return port;
    /* All are held; perhaps one of them by somebody this bind does not meet. Bounded. */
    uint32_t probes = size < PROBES_FOR_SHARED_BIND ? size : PROBES_FOR_SHARED_BIND;
    for (uint32_t i = 0; i < probes; i++) {
        port = (uint16_t)(first + (start + i) % size);
        foyer_socket holder;
        if (!ports_conflict(host, ports_bucket(host, sock->protocol, port), sock, addr, &holder))
            return port;
    }
    return 0;
}

/* ---- connect ------------------------------------------------------------------------------------- */

static uint64_t destination_hash(const struct foyer_host *host, uint8_t protocol,
                                 const struct foyer_addr *local,
                                 const struct foyer_endpoint *remote)
{
    uint64_t rest = (uint64_t)protocol << 16 | remote->port;

    if (foyer_addr_is_v4(local)) {
        uint64_t words[2] = {(uint64_t)load_le32(remote->addr.bytes + 12) << 32 |
                                 load_le32(local->bytes + 12),
                             rest | 11ULL << 56};
        return siphash24(&host->port_key, words, 2);
    }
    uint64_t words[5] = {load_le64(local->bytes), load_le64(local->bytes + 8),
                         load_le64(remote->addr.bytes), load_le64(remote->addr.bytes + 8),
                         rest | 35ULL << 56};
    return siphash24(&host->port_key, words, 5);
}

static struct crowded_destination *find_crowded(const struct foyer_host *host, uint8_t protocol,
                                                const struct foyer_addr *local,
                                                const struct foyer_endpoint *remote, uint32_t hash)
{
    for (uint32_t i = 0; i < HOST_CROWDED_MAX; i++) {
        struct crowded_destination *crowded = host->crowded[i];
        if (crowded != NULL && crowded->hash == hash && crowded->protocol == protocol &&
            crowded->remote.port == remote->port &&
            foyer_addr_eq(&crowded->remote.addr, &remote->addr) &&
            foyer_addr_eq(&crowded->local, local))
            return crowded;
    }
    return NULL;
}

static void free_crowded(struct foyer_host *host, uint32_t index)
{
    if (host->crowded[index] == NULL)
        return;
    host_free(host, host->crowded[index], sizeof(*host->crowded[index]));
    host->crowded[index] = NULL;
    host->crowded_count--;
}

void ports_select_finish(struct foyer_host *host)
{
    for (uint32_t i = 0; i < HOST_CROWDED_MAX; i++)
        free_crowded(host, i);
}

/* A TIME-WAIT that may be reused, now or within a second, does not count: the choice looks twice. */
static bool is_taken_for_long(struct foyer_host *host, uint8_t protocol,
                              const struct foyer_endpoint *local,
                              const struct foyer_endpoint *remote)
{
    const struct sock *sock = ports_find_connected(host, protocol, local, remote);
    if (sock != NULL)
        return !PROTOCOL_IS_TCP(protocol) || sock->state != FOYER_STATE_TIME_WAIT ||
               (sock->tcb->flags & TCPF_TS_OK) == 0;
    const struct time_wait *wait =
        PROTOCOL_IS_TCP(protocol) ? time_wait_find(host, local, remote) : NULL;
    return wait != NULL && !wait->has_timestamps;
}

static void fill_crowded(struct foyer_host *host, struct crowded_destination *crowded)
{
    struct foyer_endpoint local = {crowded->local, 0};
    for (uint32_t port = host->config.ephemeral_first; port <= host->config.ephemeral_last;
         port++) {
        local.port = (uint16_t)port;
        if (!is_taken_for_long(host, crowded->protocol, &local, &crowded->remote))
            continue;
        port_bitmap_set(&crowded->taken, (uint16_t)port, true);
        crowded->taken_count++;
    }
}

/* Work O(range), once; whoever gets here has opened most of the range's connections. */
static struct crowded_destination *make_crowded(struct foyer_host *host, const struct sock *sock,
                                                uint32_t hash)
{
    uint32_t slot = 0;
    for (uint32_t i = 0; i < HOST_CROWDED_MAX; i++) {
        if (host->crowded[i] == NULL) {
            slot = i;
            break;
        }
        if (host->crowded[i]->used < host->crowded[slot]->used)
            slot = i;
    }
    free_crowded(host, slot);
    struct crowded_destination *crowded = host_alloc(host, sizeof(*crowded));
    if (crowded == NULL)
        return NULL;
    crowded->local = sock->local.addr;
    crowded->remote = sock->remote;
    crowded->protocol = sock->protocol;
    crowded->hash = hash;
    host->crowded[slot] = crowded;
    host->crowded_count++;
    fill_crowded(host, crowded);
    return crowded;
}

uint16_t ports_choose_for_connect(struct foyer_host *host, const struct sock *sock)
{
    const struct port_bitmap *bound = &ports_of(host, sock->protocol)->bound;
    uint64_t hash = destination_hash(host, sock->protocol, &sock->local.addr, &sock->remote);
    uint32_t size = range_size(host);
    uint32_t *step = &host->ephemeral_step[hash >> 58]; /* RFC 6056's G() and table[] */
    struct foyer_endpoint local = {sock->local.addr, 0};

    struct crowded_destination *crowded =
        host->crowded_count > 0
            ? find_crowded(host, sock->protocol, &sock->local.addr, &sock->remote, (uint32_t)hash)
            : NULL;
    for (uint32_t i = 0; crowded == NULL && i < PROBES_BEFORE_BITMAP; i++) {
        uint32_t offset = (uint32_t)(((hash & UINT32_MAX) + (*step)++) % size);
        local.port = (uint16_t)(host->config.ephemeral_first + offset);
        if (!port_bitmap_has(bound, local.port) &&
            ports_tuple_is_free(host, sock->protocol, &local, &sock->remote))
            return local.port;
    }
    if (crowded == NULL)
        crowded = make_crowded(host, sock, (uint32_t)hash);
    if (crowded == NULL)
        return 0;
    crowded->used = ++host->crowded_clock;
    uint32_t offset = (uint32_t)(((hash & UINT32_MAX) + (*step)++) % size);
    for (uint32_t i = 0; i < PROBES_BEFORE_BITMAP; i++) {
        local.port =
            find_clear_from(host, bound, &crowded->taken, host->config.ephemeral_first + offset);
        if (local.port == 0 || ports_tuple_is_free(host, sock->protocol, &local, &sock->remote))
            return local.port;
        /* A TIME-WAIT that is too young. */
        offset = ((uint32_t)local.port - host->config.ephemeral_first + 1) % size;
    }
    return 0;
}

void ports_note_tuple(struct foyer_host *host, uint8_t protocol, const struct foyer_endpoint *local,
                      const struct foyer_endpoint *remote, bool is_taken)
{
    if (host->crowded_count == 0)
        return;
    uint32_t hash = (uint32_t)destination_hash(host, protocol, &local->addr, remote);
    struct crowded_destination *crowded = find_crowded(host, protocol, &local->addr, remote, hash);
    if (crowded == NULL)
        return;
    /* A removed tuple may have had a twin (datagram sockets with REUSEADDR). */
    if (!is_taken && is_taken_for_long(host, protocol, local, remote))
        return;
    if (port_bitmap_has(&crowded->taken, local->port) == is_taken)
        return;
    port_bitmap_set(&crowded->taken, local->port, is_taken);
    crowded->taken_count += is_taken ? 1u : UINT32_MAX;
    if (crowded->taken_count > 0)
        return;
    for (uint32_t i = 0; i < HOST_CROWDED_MAX; i++) {
        if (host->crowded[i] == crowded)
            free_crowded(host, i);
    }
}
