/*
 * The host's addresses: how they come and go, whether another has them, and which one a packet
 * leaves with.
 *
 *     claim, SLAAC -> TENTATIVE --nobody objects--> ASSIGNED --time--> deprecated --time--> gone
 *                         |                           ^   |
 *                         +--another has it--> DUPLICATE  +<- add (known to be unique)
 *
 * IPv6 is probed for as RFC 4862 section 5.4 says, IPv4 as RFC 5227 section 2.1. One timer
 * serves all addresses: there are few, and each of its runs looks at all of them.
 *
 * Called by link.c (ARP), ndp.c (solicitations and advertisements), router.c (prefixes).
 */
#include <errno.h>

#include "stack/dhcp.h"
#include "stack/group.h"
#include "stack/ip.h"

#define DAD_TRANSMITS 1u       /* RFC 4862 section 5.1, DupAddrDetectTransmits */
#define DAD_DELAY_MAX_MS 1000u /* section 5.4.2, MAX_RTR_SOLICITATION_DELAY */

/* RFC 5227 section 1.1 */
#define PROBE_WAIT_MS 1000u
#define PROBE_NUM 3u
#define PROBE_MIN_MS 1000u
#define PROBE_MAX_MS 2000u
#define ANNOUNCE_WAIT_NS (2 * FOYER_NS_PER_S)
#define ANNOUNCE_NUM 2u
#define ANNOUNCE_INTERVAL_NS (2 * FOYER_NS_PER_S)
#define DEFEND_INTERVAL_NS (10 * FOYER_NS_PER_S)

/* ---- the table ------------------------------------------------------------------------------------ */

struct host_address *address_find(struct foyer_host *host, const struct foyer_addr *addr)
{
    for (uint32_t i = 0; i < host->address_count; i++) {
        if (foyer_addr_eq(&host->addresses[i].addr, addr))
            return &host->addresses[i];
    }
    return NULL;
}

bool foyer_host_has_address(const struct foyer_host *host, const struct foyer_addr *addr)
{
    for (uint32_t i = 0; i < host->address_count; i++) {
        if (foyer_addr_eq(&host->addresses[i].addr, addr))
            return address_is_assigned(&host->addresses[i]);
    }
    return false;
}

static bool is_auto(const struct host_address *address)
{
    return address->origin == FOYER_ADDRESS_SLAAC || address->origin == FOYER_ADDRESS_TEMPORARY;
}

void addresses_arm(struct foyer_host *host)
{
    foyer_time_ns first = FOYER_TIME_NEVER;
    for (uint32_t i = 0; i < host->address_count; i++) {
        const struct host_address *address = &host->addresses[i];
        const foyer_time_ns times[] = {address->next_ns, address->valid_until_ns,
                                       router_address_deadline(host, address)};
        for (unsigned t = 0; t < 3; t++)
            first = times[t] < first ? times[t] : first;
    }
    timer_set(&host->timers, &host->address_timer, first);
}

struct host_address *address_insert(struct foyer_host *host, const struct host_address *wanted)
{
    uint32_t alike = 0;
    for (uint32_t i = 0; i < host->address_count; i++)
        alike += is_auto(&host->addresses[i]) == is_auto(wanted);
    if (alike >= (is_auto(wanted) ? HOST_AUTO_ADDRESSES_MAX : HOST_ADDRESSES_MAX))
        return NULL;
    struct host_address *address = &host->addresses[host->address_count++];
    *address = *wanted;
    address->is_link_local = foyer_addr_is_link_local_v6(&wanted->addr);
    host->path_generation++;
    if (FOYER_WITH_MULTICAST)
        group_own_join(host, &address->addr); /* before the first probe: RFC 4862 section 5.4.2 */
    return address;
}

void address_remove(struct foyer_host *host, struct host_address *address)
{
    size_t index = (size_t)(address - host->addresses);
    if (address->state != FOYER_ADDRESS_DUPLICATE)
        if (FOYER_WITH_MULTICAST)
            group_own_leave(host, &address->addr);
    memmove(address, address + 1, (host->address_count - index - 1) * sizeof(*address));
    host->address_count--;
    host->path_generation++;
}

/* ---- probes and announcements ----------------------------------------------------------------------- */

foyer_time_ns ip_random_ms(struct foyer_host *host, uint32_t min_ms, uint32_t max_ms)
{
    return (min_ms + host_random(host) % (max_ms - min_ms + 1)) * FOYER_NS_PER_MS;
}

void address_probe(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    uint64_t nonce = host_random(host);
    memcpy(address->nonce, &nonce, sizeof(address->nonce));
    address->state = FOYER_ADDRESS_TENTATIVE;
    address->probes_sent = 0;
    /* RFC 4862 section 5.4.2 SHOULD, RFC 5227 section 2.1.1: hosts that start together must not
     * probe together. */
    address->next_ns =
        now +
        ip_random_ms(host, 0, foyer_addr_is_v4(&address->addr) ? PROBE_WAIT_MS : DAD_DELAY_MAX_MS);
    host->path_generation++;
    addresses_arm(host);
}

static void start_announcing(struct host_address *address, foyer_time_ns now)
{
    address->announcements_left = ANNOUNCE_NUM;
    address->next_ns = now;
}

static void announce(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    if (foyer_addr_is_v4(&address->addr))
        arp_announce(host, &address->addr);
    else
        ndp_announce(host, &address->addr);
    address->announcements_left--;
    address->next_ns =
        address->announcements_left > 0 ? now + ANNOUNCE_INTERVAL_NS : FOYER_TIME_NEVER;
}

static void assign(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    address->state = FOYER_ADDRESS_ASSIGNED;
    address->next_ns = FOYER_TIME_NEVER;
    host->path_generation++;
    /* RFC 5227 section 2.3: an address that was probed for is announced. IPv6 has no need to. */
    if (foyer_addr_is_v4(&address->addr) || (host->config.behaviour & FOYER_HOST_ANNOUNCE))
        start_announcing(address, now);
    if (FOYER_WITH_MULTICAST && !foyer_addr_is_v4(&address->addr) &&
        foyer_addr_is_link_local_v6(&address->addr))
        group_tell_all_v6(host, now);
    if (FOYER_WITH_DHCP)
        dhcp_address_changed(host, address);
}

static void probe_step(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    bool is_v4 = foyer_addr_is_v4(&address->addr);
    if (address->probes_sent == (is_v4 ? PROBE_NUM : DAD_TRANSMITS)) {
        assign(host, address, now);
        return;
    }
    address->probes_sent++;
    if (is_v4) {
        arp_probe(host, &address->addr);
        address->next_ns =
            now + (address->probes_sent < PROBE_NUM ? ip_random_ms(host, PROBE_MIN_MS, PROBE_MAX_MS)
                                                    : ANNOUNCE_WAIT_NS);
    } else {
        ndp_probe(host, address);
        address->next_ns = now + host->retransmit_ns; /* RFC 4862 section 5.4, RetransTimer */
    }
}

void address_timer(struct foyer_host *host, foyer_time_ns now)
{
    /* From the end, since one may go and new ones (successors) come to the end. */
    for (uint32_t i = host->address_count; i-- > 0;) {
        struct host_address *address = &host->addresses[i];
        if (address->valid_until_ns <= now) {
            if (FOYER_WITH_DHCP)
                dhcp_address_changed(host, address);
            address_remove(host, address); /* RFC 4862 section 5.5.4 */
            continue;
        }
        if (address->next_ns <= now) {
            if (address->state == FOYER_ADDRESS_TENTATIVE)
                probe_step(host, address, now);
            if (address->next_ns <= now && address->announcements_left > 0)
                announce(host, address, now);
        }
        router_address_timer(host, address, now);
    }
    addresses_arm(host);
}

/* ---- conflicts ------------------------------------------------------------------------------------------ */

static void give_up(struct foyer_host *host, struct host_address *address)
{
    address->state = FOYER_ADDRESS_DUPLICATE;
    if (FOYER_WITH_MULTICAST)
        group_own_leave(host, &address->addr);
    address->announcements_left = 0;
    address->next_ns = FOYER_TIME_NEVER;
    host->path_generation++;
    if (FOYER_WITH_DHCP)
        dhcp_address_changed(host, address);
}

/* RFC 5227 section 2.4 */
static void defend(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    bool is_again = address->conflict_ns != 0 && now - address->conflict_ns < DEFEND_INTERVAL_NS;
    if (!is_again) {
        /* The time counts from the defence, so that a flood is answered once in 10 s. */
        address->conflict_ns = now;
        arp_announce(host, &address->addr);
    } else if (address->is_claimed) {
        give_up(host, address); /* (b); what was added stays (c) */
    }
}

void address_conflict(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    host->stats.address_conflicts++;
    if (address->state == FOYER_ADDRESS_TENTATIVE) {
        if (!is_auto(address) || !router_address_retry(host, address, now))
            give_up(host, address); /* RFC 4862 section 5.4.5, MUST NOT be assigned */
    } else if (address->state == FOYER_ADDRESS_ASSIGNED && foyer_addr_is_v4(&address->addr)) {
        defend(host, address, now);
    }
    addresses_arm(host);
}

/* ---- the caller's addresses ----------------------------------------------------------------------------- */

static int check_address(struct foyer_host *host, const struct foyer_addr *addr, int wide)
{
    if (wide < 0 || foyer_addr_is_any(addr) || foyer_addr_is_multicast(addr) ||
        foyer_addr_is_loopback(addr))
        return -EINVAL;
    return address_find(host, addr) != NULL ? -EEXIST : 0;
}

static struct host_address *insert_added(struct foyer_host *host, const struct foyer_addr *addr,
                                         int wide)
{
    struct host_address wanted = {.addr = *addr,
                                  .created_ns = host->now_ns,
                                  .preferred_until_ns = FOYER_TIME_NEVER,
                                  .valid_until_ns = FOYER_TIME_NEVER,
                                  .next_ns = FOYER_TIME_NEVER,
                                  .prefix_length = (uint8_t)wide,
                                  .state = FOYER_ADDRESS_ASSIGNED,
                                  .origin = FOYER_ADDRESS_ADDED,
                                  .is_on_link = true};
    return address_insert(host, &wanted);
}

int foyer_host_add_address(struct foyer_host *host, const struct foyer_addr *addr,
                           uint8_t prefix_length)
{
    int wide = ip_wide_prefix_length(addr, prefix_length);
    int error = check_address(host, addr, wide);
    if (error != 0)
        return error;
    struct host_address *address = insert_added(host, addr, wide);
    if (address == NULL)
        return -ENOSPC;
    if (host->config.behaviour & FOYER_HOST_ANNOUNCE)
        start_announcing(address, host->now_ns);
    addresses_arm(host);
    return 0;
}

int foyer_host_claim_address(struct foyer_host *host, const struct foyer_addr *addr,
                             uint8_t prefix_length, foyer_time_ns now)
{
    host_begin(host, now);
    int wide = ip_wide_prefix_length(addr, prefix_length);
    int error = check_address(host, addr, wide);
    if (error != 0)
        return error;
    struct host_address *address = insert_added(host, addr, wide);
    if (address == NULL)
        return -ENOSPC;
    address->is_claimed = true;
    address_probe(host, address, host->now_ns);
    return 0;
}

int foyer_host_remove_address(struct foyer_host *host, const struct foyer_addr *addr)
{
    struct host_address *address = address_find(host, addr);
    if (address == NULL)
        return -ENOENT;
    address_remove(host, address);
    return 0;
}

/* [RFC4862 5.3a] */
int addresses_init(struct foyer_host *host)
{
    host->address_timer.kind = TIMER_ADDRESS;
    if (!FOYER_WITH_IPV6)
        return 0;
    /* RFC 4291 appendix A: modified EUI-64. */
    const uint8_t *mac = host->config.mac;
    struct foyer_addr addr = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, (uint8_t)(mac[0] ^ 2), mac[1], mac[2],
                               0xff, 0xfe, mac[3], mac[4], mac[5]}};
    struct host_address *address = insert_added(host, &addr, 64);
    address->origin = FOYER_ADDRESS_LINK_LOCAL;
    if (host->config.behaviour & FOYER_HOST_SLAAC)
        address_probe(host, address, host->now_ns);
    return 0;
}

size_t foyer_host_addresses(const struct foyer_host *host, struct foyer_address_info *ret_addresses,
                            size_t max)
{
    size_t count = host->address_count < max ? host->address_count : max;
    for (size_t i = 0; i < count; i++) {
        const struct host_address *address = &host->addresses[i];
        bool is_deprecated = address_is_assigned(address) && address_is_deprecated(host, address);
        ret_addresses[i] = (struct foyer_address_info){
            .addr = address->addr,
            .prefix_length =
                (uint8_t)(foyer_addr_is_v4(&address->addr) ? address->prefix_length - 96
                                                           : address->prefix_length),
            .state = is_deprecated ? (uint8_t)FOYER_ADDRESS_DEPRECATED : address->state,
            .origin = address->origin,
            .preferred_until_ns = address->preferred_until_ns,
            .valid_until_ns = address->valid_until_ns};
    }
    return count;
}

/* ---- the choice of a source (RFC 6724) -------------------------------------------------------------------- */

enum scope {
    SCOPE_LINK = 2,
    SCOPE_SITE = 5,
    SCOPE_GLOBAL = 14,
};

/* RFC 6724 sections 3.1 and 3.2 */
static unsigned scope_of(const struct foyer_addr *addr)
{
    const uint8_t *bytes = addr->bytes;
    if (foyer_addr_is_v4(addr))
        return foyer_addr_is_loopback(addr) || (bytes[12] == 169 && bytes[13] == 254)
                   ? SCOPE_LINK
                   : SCOPE_GLOBAL;
    if (foyer_addr_is_multicast(addr))
        return bytes[1] & 15; /* RFC 4291 section 2.7: the same numbers */
    if (foyer_addr_is_link_local_v6(addr) || foyer_addr_is_loopback(addr))
        return SCOPE_LINK;
    return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0xc0 ? SCOPE_SITE : SCOPE_GLOBAL;
}

/* RFC 6724 section 2.1, the default policy table, longest prefix first. */
static unsigned label_of(const struct foyer_addr *addr)
{
    static const struct {
        struct foyer_addr prefix;
        uint8_t length, label;
    } policy[] = {
        {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, 128, 0},
        {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}, 96, 4},
        {{{0}}, 96, 3},
        {{{0x20, 1}}, 32, 5},
        {{{0x20, 2}}, 16, 2},
        {{{0x3f, 0xfe}}, 16, 12},
        {{{0xfe, 0xc0}}, 10, 11},
        {{{0xfc}}, 7, 13},
    };
    for (size_t i = 0; i < sizeof(policy) / sizeof(policy[0]); i++) {
        if (ip_prefix_matches(&policy[i].prefix, addr, policy[i].length))
            return policy[i].label;
    }
    return 1;
}

/* RFC 6724 section 2.2: not beyond the length of the source's prefix. */
static unsigned common_prefix(const struct host_address *source, const struct foyer_addr *dst)
{
    unsigned bits = 0;
    while (bits < source->prefix_length &&
           ((source->addr.bytes[bits / 8] ^ dst->bytes[bits / 8]) & (0x80u >> bits % 8)) == 0)
        bits++;
    return bits;
}

struct source_query {
    const struct foyer_host *host;
    const struct foyer_addr *dst, *next_hop;
    bool is_v4;
};

/*
 * RFC 6724 section 5, pair by pair: is a better than b? Rules 4 and 5 (home addresses, outgoing
 * interface) do not arise with one link. IPv4 prefers the subnet of the next hop before all but
 * rule 1 (RFC 1122 section 3.3.4.3).
 */
static bool is_better(const struct source_query *query, const struct host_address *a,
                      const struct host_address *b)
{
    bool is_same_a = foyer_addr_eq(&a->addr, query->dst);
    bool is_same_b = foyer_addr_eq(&b->addr, query->dst);
    if (is_same_a != is_same_b) /* 1: the destination itself */
        return is_same_a;
    if (query->is_v4) {
        bool near_a = ip_prefix_matches(&a->addr, query->next_hop, a->prefix_length);
        bool near_b = ip_prefix_matches(&b->addr, query->next_hop, b->prefix_length);
        if (near_a != near_b)
            return near_a;
    }
    unsigned scope_a = scope_of(&a->addr), scope_b = scope_of(&b->addr);
    unsigned scope_dst = scope_of(query->dst);
    if (scope_a != scope_b) /* 2: the smallest scope that reaches the destination */
        return scope_a < scope_b ? scope_a >= scope_dst : scope_b < scope_dst;
    bool is_old_a = address_is_deprecated(query->host, a);
    bool is_old_b = address_is_deprecated(query->host, b);
    if (is_old_a != is_old_b) /* 3 */
        return is_old_b;
    bool via_a = foyer_addr_eq(&a->router, query->next_hop);
    bool via_b = foyer_addr_eq(&b->router, query->next_hop);
    if (via_a != via_b) /* 5.5: the prefix that the next hop advertised */
        return via_a;
    unsigned label = label_of(query->dst);
    bool is_alike_a = label_of(&a->addr) == label, is_alike_b = label_of(&b->addr) == label;
    if (is_alike_a != is_alike_b) /* 6 */
        return is_alike_a;
    if ((a->origin == FOYER_ADDRESS_TEMPORARY) != (b->origin == FOYER_ADDRESS_TEMPORARY)) /* 7 */
        return a->origin == FOYER_ADDRESS_TEMPORARY;
    return common_prefix(a, query->dst) > common_prefix(b, query->dst); /* 8 */
}

bool address_choose_source(const struct foyer_host *host, const struct foyer_addr *dst,
                           const struct foyer_addr *next_hop, struct foyer_addr *ret_src)
{
    struct source_query query = {
        .host = host, .dst = dst, .next_hop = next_hop, .is_v4 = foyer_addr_is_v4(dst)};
    const struct host_address *best = NULL;
    for (uint32_t i = 0; i < host->address_count; i++) {
        const struct host_address *address = &host->addresses[i];
        if (!address_is_assigned(address) || foyer_addr_is_v4(&address->addr) != query.is_v4)
            continue;
        if (best == NULL || is_better(&query, address, best))
            best = address;
    }
    if (best == NULL)
        return false;
    *ret_src = best->addr;
    return true;
}
