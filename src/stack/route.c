/*
 * Where packets go: routes, the next hop, path MTUs, and what a socket remembers of all that. The
 * host's addresses and the choice among them are address.c's, default routers router.c's.
 *
 * Routes are few; the longest prefix is found by looking at all of them. A socket asks once and
 * keeps the answer until host->path_generation moves.
 */
#include <errno.h>

#include "base/bytes.h"
#include "stack/group.h"
#include "stack/ip.h"
#include "stack/ports.h"

#define LEARNED_MTU_TTL_NS (600 * FOYER_NS_PER_S) /* RFC 1191 section 6.3, RFC 8201 section 4 */

/* ---- predicates on addresses ------------------------------------------------------------------- */

bool ip_prefix_matches(const struct foyer_addr *a, const struct foyer_addr *b, unsigned bits)
{
    unsigned bytes = bits / 8;
    if (memcmp(a->bytes, b->bytes, bytes) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || ((a->bytes[bytes] ^ b->bytes[bytes]) >> (8 - rest)) == 0;
}

bool ip_is_own(const struct foyer_host *host, const struct foyer_addr *addr)
{
    return foyer_addr_is_loopback(addr) || foyer_host_has_address(host, addr);
}

/* RFC 5942 section 4: an autoconfigured address says nothing of who is on the link. */
static bool is_on_link_by(const struct host_address *own, bool is_v4)
{
    return own->is_on_link && address_is_assigned(own) && foyer_addr_is_v4(&own->addr) == is_v4;
}

bool ip_is_on_link(const struct foyer_host *host, const struct foyer_addr *addr)
{
    for (uint32_t i = 0; i < host->address_count; i++) {
        const struct host_address *own = &host->addresses[i];
        if (is_on_link_by(own, foyer_addr_is_v4(addr)) &&
            ip_prefix_matches(&own->addr, addr, own->prefix_length))
            return true;
    }
    for (uint32_t i = 0; i < host->route_count; i++) {
        const struct host_route *route = &host->routes[i];
        if (foyer_addr_is_any(&route->gateway) &&
            foyer_addr_is_v4(&route->prefix) == foyer_addr_is_v4(addr) &&
            ip_prefix_matches(&route->prefix, addr, route->prefix_length))
            return true;
    }
    int length;
    return router_is_on_link(host, addr, &length);
}

bool ip_is_broadcast(const struct foyer_host *host, const struct foyer_addr *addr)
{
    if (!foyer_addr_is_v4(addr))
        return false;
    uint32_t value = load_be32(addr->bytes + 12);
    if (value == UINT32_MAX)
        return true;
    for (uint32_t i = 0; i < host->address_count; i++) {
        const struct host_address *own = &host->addresses[i];
        /* A /31 has two hosts and no broadcast (RFC 3021), a /32 has one. */
        if (!is_on_link_by(own, true) || own->prefix_length > 126)
            continue;
        unsigned host_bits = 128u - own->prefix_length;
        uint32_t mask = host_bits >= 32 ? UINT32_MAX : (1u << host_bits) - 1;
        if (value == (load_be32(own->addr.bytes + 12) | mask))
            return true;
    }
    return false;
}

struct foyer_addr ip_solicited_node(const struct foyer_addr *addr)
{
    /* ff02::1:ffXX:XXXX, RFC 4291 section 2.7.1 */
    struct foyer_addr group = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0}};
    memcpy(group.bytes + 13, addr->bytes + 13, 3);
    return group;
}

bool group_is_everybodys(const struct foyer_addr *addr)
{
    static const uint8_t all6[14] = {0};
    if (foyer_addr_is_v4(addr))
        return addr->bytes[12] == 224 && addr->bytes[13] == 0 && addr->bytes[14] == 0 &&
               addr->bytes[15] == 1;
    return addr->bytes[0] == 0xff && (addr->bytes[1] == 1 || addr->bytes[1] == 2) &&
           memcmp(addr->bytes + 2, all6, 13) == 0 && addr->bytes[15] == 1;
}

bool ip_is_joined(const struct foyer_host *host, const struct foyer_addr *addr)
{
    /* RFC 1112 section 7.2, RFC 4291 section 2.8: all hosts. */
    if (group_is_everybodys(addr))
        return true;
    const struct group *joined = FOYER_WITH_MULTICAST ? group_find(host, addr) : NULL;
    if (joined != NULL && !list_is_empty(&joined->members))
        return true;
    if (foyer_addr_is_v4(addr))
        return false;
    for (uint32_t i = 0; i < host->address_count; i++) {
        /* The tentative as well: their probes are to be heard (RFC 4862 section 5.4.2). */
        if (foyer_addr_is_v4(&host->addresses[i].addr) ||
            host->addresses[i].state == FOYER_ADDRESS_DUPLICATE)
            continue;
        struct foyer_addr group = ip_solicited_node(&host->addresses[i].addr);
        if (foyer_addr_eq(addr, &group))
            return true;
    }
    return false;
}

/* ---- addresses and routes as the caller sets them ------------------------------------------------ */

int ip_wide_prefix_length(const struct foyer_addr *addr, uint8_t length)
{
    bool is_v4 = foyer_addr_is_v4(addr);
    if (length > (is_v4 ? 32 : 128) || !addr_is_spoken(addr))
        return -EINVAL;
    return is_v4 ? length + 96 : length;
}

int route_init(struct foyer_host *host)
{
    host->mtu_timer.kind = TIMER_MTU;
    host->path_generation = 1;
    host->link_mtu_v4 = host->config.mtu;
    host->ipv4_id = (uint16_t)host_random(host);
    host->fragment_id = (uint32_t)host_random(host);
    int error = hash_table_init(&host->neighbours, &host->config.allocator);
    if (error != 0)
        return error;
    routers_init(host);
    if (FOYER_WITH_MULTICAST)
        groups_init(host);
    return addresses_init(host);
}

static struct host_route *find_route(struct foyer_host *host, const struct foyer_addr *prefix,
                                     int wide)
{
    for (uint32_t i = 0; i < host->route_count; i++) {
        struct host_route *route = &host->routes[i];
        if (route->prefix_length == wide &&
            foyer_addr_is_v4(&route->prefix) == foyer_addr_is_v4(prefix) &&
            ip_prefix_matches(&route->prefix, prefix, (unsigned)wide))
            return route;
    }
    return NULL;
}

int route_add(struct foyer_host *host, const struct foyer_addr *prefix, uint8_t prefix_length,
              const struct foyer_addr *gateway)
{
    int wide = ip_wide_prefix_length(prefix, prefix_length);
    if (wide < 0 || !addr_is_spoken(gateway) ||
        foyer_addr_is_v4(prefix) != foyer_addr_is_v4(gateway) || foyer_addr_is_multicast(gateway) ||
        ip_is_own(host, gateway))
        return -EINVAL;
    if (find_route(host, prefix, wide) != NULL)
        return -EEXIST;
    if (host->route_count == HOST_ROUTES_MAX)
        return -ENOSPC;
    host->routes[host->route_count++] =
        (struct host_route){.prefix = *prefix, .gateway = *gateway, .prefix_length = (uint8_t)wide};
    host->path_generation++;
    return 0;
}

/* [RFC1122 3.3.1.6a] */
int foyer_host_add_route(struct foyer_host *host, const struct foyer_addr *prefix,
                         uint8_t prefix_length, const struct foyer_addr *gateway)
{
    return foyer_addr_is_any(gateway) ? -EINVAL : route_add(host, prefix, prefix_length, gateway);
}

int foyer_host_remove_route(struct foyer_host *host, const struct foyer_addr *prefix,
                            uint8_t prefix_length)
{
    int wide = ip_wide_prefix_length(prefix, prefix_length);
    struct host_route *route = wide < 0 ? NULL : find_route(host, prefix, wide);
    if (route == NULL)
        return -ENOENT;
    size_t index = (size_t)(route - host->routes);
    memmove(route, route + 1, (host->route_count - index - 1) * sizeof(*route));
    host->route_count--;
    host->path_generation++;
    return 0;
}

/* ---- the choice of next hop and source ------------------------------------------------------------- */

/* The next hop by the longest prefix; an on-link prefix wins over a route as long.
 * [RFC1122 3.3.1.1a] */
bool ip_next_hop(const struct foyer_host *host, const struct foyer_addr *dst,
                 struct foyer_addr *ret_next_hop)
{
    bool is_v4 = foyer_addr_is_v4(dst);
    int best = -1;
    /* RFC 1122 section 3.3.1.2, RFC 4861 section 5.2: what is known of the destination itself. */
    if (host->redirect_count > 0 && redirect_find(host, dst, ret_next_hop))
        return true;
    for (uint32_t i = 0; i < host->address_count; i++) {
        const struct host_address *own = &host->addresses[i];
        if (is_on_link_by(own, is_v4) && own->prefix_length > best &&
            ip_prefix_matches(&own->addr, dst, own->prefix_length)) {
            best = own->prefix_length;
            *ret_next_hop = *dst;
        }
    }
    int advertised;
    if (!is_v4 && router_is_on_link(host, dst, &advertised) && advertised > best) {
        best = advertised;
        *ret_next_hop = *dst;
    }
    for (uint32_t i = 0; i < host->route_count; i++) {
        const struct host_route *route = &host->routes[i];
        if (foyer_addr_is_v4(&route->prefix) == is_v4 && route->prefix_length > best &&
            ip_prefix_matches(&route->prefix, dst, route->prefix_length)) {
            best = route->prefix_length;
            *ret_next_hop = foyer_addr_is_any(&route->gateway) ? *dst : route->gateway;
        }
    }
    return best >= 0 || (!is_v4 && router_choose(host, ret_next_hop));
}

bool ip_choose_source(const struct foyer_host *host, const struct foyer_addr *dst,
                      struct foyer_addr *ret_src)
{
    struct foyer_addr next_hop;
    if (ip_is_own(host, dst)) {
        *ret_src = *dst;
        return true;
    }
    if (!ip_next_hop(host, dst, &next_hop))
        next_hop = *dst;
    return address_choose_source(host, dst, &next_hop, ret_src);
}

void ip_group_mac(const struct foyer_addr *dst, bool is_broadcast, uint8_t ret_mac[6])
{
    if (is_broadcast) {
        memset(ret_mac, 0xff, 6);
    } else if (foyer_addr_is_v4(dst)) {
        /* RFC 1112 section 6.4 */
        const uint8_t mac[6] = {1, 0, 0x5e, dst->bytes[13] & 0x7f, dst->bytes[14], dst->bytes[15]};
        memcpy(ret_mac, mac, 6);
    } else {
        /* RFC 2464 section 7 */
        ret_mac[0] = ret_mac[1] = 0x33;
        memcpy(ret_mac + 2, dst->bytes + 12, 4);
    }
}

uint16_t ip_link_mtu(const struct foyer_host *host, const struct foyer_addr *dst)
{
    if (ip_is_own(host, dst))
        return IP_MTU_LOCAL;
    return foyer_addr_is_v4(dst) ? host->link_mtu_v4 : host->link_mtu_v6;
}

static uint16_t learned_mtu(const struct foyer_host *host, const struct foyer_addr *dst)
{
    /* The timer waits for the first to expire; where it does not wait there is none. */
    if (!timer_is_armed(&host->mtu_timer))
        return ip_link_mtu(host, dst);
    for (uint32_t i = 0; i < HOST_LEARNED_MTUS_MAX; i++) {
        const struct learned_mtu *learned = &host->learned_mtus[i];
        if (learned->mtu != 0 && foyer_addr_eq(&learned->dst, dst))
            return learned->mtu;
    }
    return ip_link_mtu(host, dst);
}

static bool is_given(const struct foyer_addr *src)
{
    return src != NULL && !foyer_addr_is_any(src);
}

int ip_find_way(struct foyer_host *host, const struct foyer_addr *dst, const struct foyer_addr *src,
                struct ip_way *ret_way)
{
    return ip_find_way_from(host, dst, src, ports_has_foreign(host), ret_way);
}

int ip_find_way_from(struct foyer_host *host, const struct foyer_addr *dst,
                     const struct foyer_addr *src, bool may_be_foreign, struct ip_way *ret_way)
{
    struct way_memo *memo = &host->way_memo;
    if (memo->generation == host->path_generation && foyer_addr_eq(&memo->dst, dst) &&
        ((src != NULL && foyer_addr_eq(&memo->src, src)) || (memo->is_default && !is_given(src)))) {
        *ret_way =
            (struct ip_way){.src = memo->src, .neighbour = memo->neighbour, .mtu = memo->mtu};
        return 0;
    }
    struct ip_way way = {.mtu = ip_link_mtu(host, dst)};
    struct foyer_addr next_hop;

    if (is_given(src)) {
        if (foyer_addr_is_v4(src) != foyer_addr_is_v4(dst))
            return -ENETUNREACH;
        if (!may_be_foreign && !ip_is_own(host, src))
            return -EADDRNOTAVAIL;
        way.src = *src;
    }
    if (ip_is_own(host, dst)) {
        if (!is_given(src))
            way.src = *dst;
        way.is_local = true;
        way.mtu = IP_MTU_LOCAL;
        *ret_way = way;
        return 0;
    }
    way.is_broadcast = ip_is_broadcast(host, dst);
    way.is_multicast = foyer_addr_is_multicast(dst);
    /* RFC 1122 section 3.2.1.3 (g): never outside of a host. To a group udp.c sees to that. */
    if (is_given(src) && foyer_addr_is_loopback(src) && !way.is_multicast)
        return -EINVAL;
    if (way.is_broadcast || way.is_multicast)
        next_hop = *dst;
    else if (foyer_addr_is_any(dst) || !ip_next_hop(host, dst, &next_hop))
        return -ENETUNREACH;
    if (!is_given(src) && !address_choose_source(host, dst, &next_hop, &way.src))
        return way.is_broadcast || way.is_multicast ? -ENETUNREACH : -EADDRNOTAVAIL;
    if (way.is_broadcast || way.is_multicast) {
        ip_group_mac(dst, way.is_broadcast, way.mac);
    } else {
        way.neighbour = neighbour_get(host, &next_hop);
        if (way.neighbour == NULL)
            return -ENOBUFS;
        way.mtu = learned_mtu(host, dst);
        /* neighbour_get may have let another neighbour go, and so moved the generation. */
        bool is_default = !is_given(src) && foyer_addr_is_v4(dst);
        bool is_for_all = !may_be_foreign || ports_has_foreign(host);
        if (is_for_all && (is_given(src) || is_default))
            *memo = (struct way_memo){way.src, *dst,      way.neighbour, host->path_generation,
                                      way.mtu, is_default};
    }
    *ret_way = way;
    return 0;
}

/* ---- a socket's path ---------------------------------------------------------------------------------- */

/* [RFC9293 MUST-46a MUST-46b] */
int ip_path(struct foyer_host *host, struct sock *sock)
{
    if (sock->path_generation == host->path_generation)
        return 0;
    struct ip_way way;
    int error = ip_find_way(host, &sock->remote.addr, &sock->local.addr, &way);
    if (error != 0)
        return error;
    if (way.is_broadcast || way.is_multicast)
        return -ENETUNREACH; /* no connection to a group; datagrams ask ip_find_way themselves */
    if (foyer_addr_is_any(&sock->local.addr))
        sock->local.addr = way.src;
    sock->neighbour = way.neighbour;
    sock->path_is_local = way.is_local;
    sock->path_mtu = way.mtu;
    sock->path_generation = host->path_generation;
    return 0;
}

uint16_t ip_path_mtu(const struct foyer_host *host, const struct sock *sock)
{
    if (sock->path_generation == host->path_generation)
        return sock->path_mtu;
    if (ip_is_own(host, &sock->remote.addr))
        return IP_MTU_LOCAL;
    return learned_mtu(host, &sock->remote.addr);
}

uint32_t ip_tx_max_payload(const struct foyer_host *host, const struct sock *sock, uint32_t mss)
{
    bool is_v4 = foyer_addr_is_v4(&sock->remote.addr);
    uint32_t capability = is_v4 ? FOYER_LINK_TSO4 : FOYER_LINK_TSO6;
    bool is_local = sock->path_generation == host->path_generation
                        ? sock->path_is_local
                        : ip_is_own(host, &sock->remote.addr);
    uint32_t max = host->config.gso_max_size;
    if (mss == 0)
        return mss;
    /* segment.c cuts, as far as there is room for the pieces. */
    if (!is_local && (host->config.link_capabilities & capability) == 0 &&
        mss * host->output_room < max)
        return mss * host->output_room;
    return max <= mss ? mss : max - max % mss;
}

/* ---- path MTU ------------------------------------------------------------------------------------------- */

static void arm_mtu_timer(struct foyer_host *host)
{
    foyer_time_ns first = FOYER_TIME_NEVER;
    for (uint32_t i = 0; i < HOST_LEARNED_MTUS_MAX; i++) {
        if (host->learned_mtus[i].mtu != 0 && host->learned_mtus[i].expires_ns < first)
            first = host->learned_mtus[i].expires_ns;
    }
    timer_set(&host->timers, &host->mtu_timer, first);
}

static void store_mtu(struct foyer_host *host, const struct foyer_addr *dst, uint16_t mtu,
                      foyer_time_ns now)
{
    /* The entry of the same destination, a free one, or the one that ends first. */
    struct learned_mtu *slot = &host->learned_mtus[0];
    for (uint32_t i = 0; i < HOST_LEARNED_MTUS_MAX; i++) {
        struct learned_mtu *learned = &host->learned_mtus[i];
        if (learned->mtu != 0 && foyer_addr_eq(&learned->dst, dst)) {
            slot = learned;
            break;
        }
        if (slot->mtu != 0 && (learned->mtu == 0 || learned->expires_ns < slot->expires_ns))
            slot = learned;
    }
    *slot = (struct learned_mtu){.dst = *dst, .mtu = mtu, .expires_ns = now + LEARNED_MTU_TTL_NS};
    host->path_generation++;
    arm_mtu_timer(host);
}

void ip_learn_mtu(struct foyer_host *host, const struct foyer_addr *dst, uint16_t mtu,
                  foyer_time_ns now)
{
    uint16_t min = (uint16_t)(foyer_addr_is_v4(dst) ? IP_MTU_MIN_V4 : IP_MTU_MIN_V6);
    if (mtu < min)
        mtu = min; /* RFC 8201 section 4: MUST NOT go below 1280 */
    if (mtu < learned_mtu(host, dst) && !ip_is_own(host, dst))
        store_mtu(host, dst, mtu, now);
}

void ip_set_mtu(struct foyer_host *host, const struct foyer_addr *dst, uint16_t mtu,
                foyer_time_ns now)
{
    if (mtu != learned_mtu(host, dst) && !ip_is_own(host, dst))
        store_mtu(host, dst, mtu, now);
}

void ip_mtu_timer(struct foyer_host *host, foyer_time_ns now)
{
    for (uint32_t i = 0; i < HOST_LEARNED_MTUS_MAX; i++) {
        if (host->learned_mtus[i].mtu != 0 && host->learned_mtus[i].expires_ns <= now) {
            host->learned_mtus[i].mtu = 0;
            host->path_generation++;
        }
    }
    arm_mtu_timer(host);
}
