/*
 * Router discovery and stateless address autoconfiguration: what a host learns from the routers
 * of its link (RFC 4861 section 6.3, RFC 4191, RFC 4862 section 5.5, RFC 7217, RFC 8981).
 *
 *     ndp.c -> router_advertised -> routers, on-link prefixes, link parameters, addresses
 *     route.c <- router_choose (default routers), router_is_on_link
 *
 * Whoever is on the link can send advertisements; so all that they fill is bounded, values out of
 * range are ignored, and nothing is believed unless the caller switched router discovery on.
 * Redirects are redirect.c's.
 *
 * An address's own lifetimes are in its entry (address.c), whose timer asks here for what only
 * autoconfiguration knows: successors of temporary addresses, and other identifiers after a
 * duplicate was found.
 */
#include "base/bytes.h"
#include "stack/dhcp.h"
#include "stack/group.h"
#include "stack/ip.h"

/* RFC 4861 section 10 */
#define REACHABLE_TIME_MS 30000u
#define RETRANS_TIMER_MS 1000u
#define SOLICIT_DELAY_MAX_MS 1000u       /* MAX_RTR_SOLICITATION_DELAY */
#define SOLICIT_INTERVAL_MS 4000u        /* RTR_SOLICITATION_INTERVAL; IRT of RFC 7559 */
#define SOLICIT_INTERVAL_MAX_MS 3600000u /* RFC 7559 section 2, MRT */

#define REACHABLE_MAX_MS 3600000u                       /* RFC 4861 section 6.2.1 */
#define REACHABLE_REDRAW_NS (2 * 3600 * FOYER_NS_PER_S) /* section 6.3.4: every few hours */
/* What an advertisement may make of the retransmission timer: a flood or a standstill is neither. */
#define RETRANS_MIN_MS 100u
#define RETRANS_MAX_MS 60000u

#define INTERFACE_ID_BITS 64u /* RFC 4291 section 2.5.1, RFC 2464 section 4 */
#define TWO_HOURS_NS (7200 * FOYER_NS_PER_S)
#define IDGEN_RETRIES 3u /* RFC 7217 section 7, RFC 8981 section 3.8 */
#define IDGEN_DELAY_NS (1 * FOYER_NS_PER_S)

/* RFC 8981 section 3.8 */
#define TEMP_VALID_NS (2 * 86400 * FOYER_NS_PER_S)
#define TEMP_PREFERRED_NS (86400 * FOYER_NS_PER_S)
#define TEMP_DESYNC_MAX_MS (86400u * 1000u / 10u * 4u)

static foyer_time_ns lifetime_end(uint32_t seconds, foyer_time_ns now)
{
    return seconds == UINT32_MAX ? FOYER_TIME_NEVER : now + seconds * FOYER_NS_PER_S;
}

/* ---- timers ------------------------------------------------------------------------------------------ */

static void arm(struct foyer_host *host)
{
    foyer_time_ns first = host->solicit_ns;
    for (uint32_t i = 0; i < host->router_count; i++)
        first = host->routers[i].until_ns < first ? host->routers[i].until_ns : first;
    for (uint32_t i = 0; i < host->prefix_count; i++)
        first = host->prefixes[i].until_ns < first ? host->prefixes[i].until_ns : first;
    if (host->config.behaviour & FOYER_HOST_ROUTER_DISCOVERY)
        first = host->reachable_until_ns < first ? host->reachable_until_ns : first;
    timer_set(&host->timers, &host->router_timer, first);
}

/* RFC 4861 section 6.3.4: between a half and one and a half of the base. */
static void draw_reachable(struct foyer_host *host, foyer_time_ns now)
{
    uint32_t base = host->base_reachable_ms;
    host->reachable_ns = ip_random_ms(host, base / 2, base + base / 2);
    host->reachable_until_ns = now + REACHABLE_REDRAW_NS;
}

void routers_init(struct foyer_host *host)
{
    host->router_timer.kind = TIMER_ROUTER;
    host->base_reachable_ms = REACHABLE_TIME_MS;
    host->reachable_ns = REACHABLE_TIME_MS * FOYER_NS_PER_MS;
    host->retransmit_ns = RETRANS_TIMER_MS * FOYER_NS_PER_MS;
    host->link_mtu_v6 = host->config.mtu;
    host->hop_limit = IP_TTL_DEFAULT;
    host->solicit_ns = FOYER_TIME_NEVER;
    host->reachable_until_ns = FOYER_TIME_NEVER;
    if (host->config.behaviour & FOYER_HOST_ROUTER_DISCOVERY) {
        draw_reachable(host, host->now_ns);
        host->solicit_interval_ms = SOLICIT_INTERVAL_MS;
        /* RFC 4861 section 6.3.7 SHOULD: the first after a random delay. */
        host->solicit_ns = host->now_ns + ip_random_ms(host, 0, SOLICIT_DELAY_MAX_MS);
    }
    arm(host);
}

/* RFC 7559 section 2: doubled up to an hour instead of three times, a tenth up or down. */
static void solicit(struct foyer_host *host, foyer_time_ns now)
{
    uint32_t interval = host->solicit_interval_ms;
    ndp_solicit_routers(host);
    host->solicit_ns = now + ip_random_ms(host, interval - interval / 10, interval + interval / 10);
    host->solicit_interval_ms =
        interval > SOLICIT_INTERVAL_MAX_MS / 2 ? SOLICIT_INTERVAL_MAX_MS : interval * 2;
}

static void remove_router(struct foyer_host *host, uint32_t index)
{
    struct host_router *router = &host->routers[index];
    memmove(router, router + 1, (host->router_count - index - 1) * sizeof(*router));
    host->router_count--;
    host->path_generation++;
}

static void remove_prefix(struct foyer_host *host, uint32_t index)
{
    struct host_prefix *prefix = &host->prefixes[index];
    memmove(prefix, prefix + 1, (host->prefix_count - index - 1) * sizeof(*prefix));
    host->prefix_count--;
    host->path_generation++;
}

void router_timer(struct foyer_host *host, foyer_time_ns now)
{
    for (uint32_t i = host->router_count; i-- > 0;) {
        if (host->routers[i].until_ns <= now)
            remove_router(host, i); /* RFC 4861 section 6.3.5 */
    }
    for (uint32_t i = host->prefix_count; i-- > 0;) {
        if (host->prefixes[i].until_ns <= now)
            remove_prefix(host, i);
    }
    if (host->reachable_until_ns <= now)
        draw_reachable(host, now);
    if (host->solicit_ns <= now)
        solicit(host, now);
    arm(host);
}

/* ---- default routers ------------------------------------------------------------------------------------ */

static struct host_router *find_router(struct foyer_host *host, const struct foyer_addr *addr)
{
    for (uint32_t i = 0; i < host->router_count; i++) {
        if (foyer_addr_eq(&host->routers[i].addr, addr))
            return &host->routers[i];
    }
    return NULL;
}

void router_forget(struct foyer_host *host, const struct foyer_addr *addr)
{
    redirect_forget(host, addr);
    struct host_router *router = find_router(host, addr);
    if (router != NULL)
        remove_router(host, (uint32_t)(router - host->routers));
}

void router_unreachable(struct foyer_host *host, const struct foyer_addr *addr)
{
    struct host_router *router = find_router(host, addr);
    if (router == NULL)
        return;
    /* RFC 4861 section 6.3.6 (2): the next is tried; this one when its turn comes again. */
    struct host_router last = *router;
    size_t index = (size_t)(router - host->routers);
    memmove(router, router + 1, (host->router_count - index - 1) * sizeof(*router));
    host->routers[host->router_count - 1] = last;
    host->path_generation++;
}

/* RFC 4861 section 6.3.6 (1), RFC 4191 section 3.2: reachable before preferred. */
bool router_choose(const struct foyer_host *host, struct foyer_addr *ret_router)
{
    int best_rank = INT8_MIN;
    for (uint32_t i = 0; i < host->router_count; i++) {
        const struct host_router *router = &host->routers[i];
        const struct neighbour *neighbour = neighbour_find(host, &router->addr);
        bool is_known = neighbour != NULL && neighbour->state != NEIGHBOUR_INCOMPLETE;
        int rank = router->preference + (is_known ? 4 : 0);
        if (rank > best_rank) {
            best_rank = rank;
            *ret_router = router->addr;
        }
    }
    return host->router_count > 0;
}

static void learn_router(struct foyer_host *host, const struct foyer_addr *addr,
                         const struct wire_ndp *ndp, foyer_time_ns now)
{
    struct host_router *router = find_router(host, addr);
    if (ndp->router_lifetime_s == 0) {
        router_forget(host, addr); /* RFC 4861 section 6.3.4: MUST time out immediately */
        return;
    }
    if (router == NULL) {
        if (host->router_count == HOST_ROUTERS_MAX)
            return;
        router = &host->routers[host->router_count++];
        router->addr = *addr;
        host->path_generation++;
    }
    if (router->preference != ndp->preference)
        host->path_generation++;
    router->preference = ndp->preference;
    router->until_ns = lifetime_end(ndp->router_lifetime_s, now);
}

/* ---- on-link prefixes -------------------------------------------------------------------------------------- */

bool router_is_on_link(const struct foyer_host *host, const struct foyer_addr *addr,
                       int *ret_length)
{
    int best = -1;
    for (uint32_t i = 0; i < host->prefix_count; i++) {
        const struct host_prefix *known = &host->prefixes[i];
        if (known->length > best && ip_prefix_matches(&known->prefix, addr, known->length))
            best = known->length;
    }
    *ret_length = best;
    return best >= 0;
}

static void learn_on_link(struct foyer_host *host, const struct wire_ndp_prefix *prefix,
                          foyer_time_ns now)
{
    for (uint32_t i = 0; i < host->prefix_count; i++) {
        struct host_prefix *known = &host->prefixes[i];
        if (known->length != prefix->length ||
            !ip_prefix_matches(&known->prefix, &prefix->prefix, prefix->length))
            continue;
        if (prefix->valid_s == 0)
            remove_prefix(host, i);
        else
            known->until_ns = lifetime_end(prefix->valid_s, now);
        return;
    }
    if (prefix->valid_s == 0 || host->prefix_count == HOST_PREFIXES_MAX)
        return;
    host->prefixes[host->prefix_count++] =
        (struct host_prefix){.prefix = prefix->prefix,
                             .length = prefix->length,
                             .until_ns = lifetime_end(prefix->valid_s, now)};
    host->path_generation++;
}

/* ---- identifiers --------------------------------------------------------------------------------------------- */

/* RFC 5453: the subnet-router anycast address and the reserved ones. */
static bool is_reserved_id(const uint8_t id[8])
{
    static const uint8_t zero[8], anycast[7] = {0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t ethernet[5] = {0x02, 0x00, 0x5e, 0xff, 0xfe};
    return memcmp(id, zero, 8) == 0 || (memcmp(id, anycast, 7) == 0 && id[7] >= 0x80) ||
           memcmp(id, ethernet, 5) == 0;
}

/* RFC 7217 section 5: F(Prefix, Net_Iface, Network_ID, DAD_Counter, secret_key), without the
 * optional Network_ID; siphash is the pseudo-random function, the MAC names the interface. */
static void stable_id(const struct foyer_host *host, const struct foyer_addr *prefix,
                      uint8_t attempt, uint8_t ret_id[8])
{
    uint8_t input[24] = "7217";
    memcpy(input + 4, prefix->bytes, 8);
    memcpy(input + 12, host->config.mac, 6);
    input[18] = attempt;
    do {
        uint64_t value = siphash(&host->hash_key, input, sizeof(input));
        store_be32(ret_id, (uint32_t)(value >> 32));
        store_be32(ret_id + 4, (uint32_t)value);
        input[19]++;
    } while (is_reserved_id(ret_id) && input[19] != 0);
}

/* RFC 8981 section 3.3.1: random. */
static void temporary_id(struct foyer_host *host, uint8_t ret_id[8])
{
    do {
        uint64_t value = host_random(host);
        store_be32(ret_id, (uint32_t)(value >> 32));
        store_be32(ret_id + 4, (uint32_t)value);
    } while (is_reserved_id(ret_id));
}

static void set_id(struct foyer_host *host, struct host_address *address)
{
    if (address->origin == FOYER_ADDRESS_TEMPORARY)
        temporary_id(host, address->addr.bytes + 8);
    else
        stable_id(host, &address->addr, address->attempt, address->addr.bytes + 8);
}

/* ---- autoconfigured addresses -------------------------------------------------------------------------------- */

static foyer_time_ns earlier(foyer_time_ns a, foyer_time_ns b)
{
    return a < b ? a : b;
}

static struct host_address *make_address(struct foyer_host *host, const struct foyer_addr *prefix,
                                         enum foyer_address_origin origin,
                                         foyer_time_ns preferred_until, foyer_time_ns valid_until,
                                         foyer_time_ns now)
{
    struct host_address wanted = {.addr = *prefix,
                                  .created_ns = now,
                                  .preferred_until_ns = preferred_until,
                                  .valid_until_ns = valid_until,
                                  .prefix_length = INTERFACE_ID_BITS,
                                  .origin = (uint8_t)origin,
                                  .is_claimed = true};
    set_id(host, &wanted);
    if (address_find(host, &wanted.addr) != NULL)
        return NULL; /* the caller added the very same */
    struct host_address *address = address_insert(host, &wanted);
    if (address != NULL)
        address_probe(host, address, now);
    return address;
}

/* RFC 8981 section 3.5: TEMP_IDGEN_RETRIES tries of detection are to fit in. */
static foyer_time_ns regenerate_advance(const struct foyer_host *host)
{
    return 2 * FOYER_NS_PER_S + IDGEN_RETRIES * host->retransmit_ns;
}

/* RFC 8981 section 3.4 (4) and (5) */
static void make_temporary(struct foyer_host *host, const struct host_address *stable,
                           foyer_time_ns now)
{
    struct foyer_addr router = stable->router;
    foyer_time_ns desync = ip_random_ms(host, 0, TEMP_DESYNC_MAX_MS);
    foyer_time_ns preferred = earlier(stable->preferred_until_ns, now + TEMP_PREFERRED_NS - desync);
    foyer_time_ns valid = earlier(stable->valid_until_ns, now + TEMP_VALID_NS);
    if (preferred <= now + regenerate_advance(host))
        return;
    struct host_address *fresh =
        make_address(host, &stable->addr, FOYER_ADDRESS_TEMPORARY, preferred, valid, now);
    if (fresh != NULL)
        fresh->router = router;
}

static bool is_of_prefix(const struct host_address *address, const struct foyer_addr *prefix,
                         enum foyer_address_origin origin)
{
    return address->origin == (uint8_t)origin &&
           ip_prefix_matches(&address->addr, prefix, INTERFACE_ID_BITS);
}

/* RFC 4862 section 5.5.3 (e): nobody shortens an address's life below two hours by a forgery. */
static void update_stable(struct host_address *address, const struct wire_ndp_prefix *prefix,
                          foyer_time_ns now)
{
    foyer_time_ns valid = lifetime_end(prefix->valid_s, now);
    foyer_time_ns remaining = address->valid_until_ns - now;
    if (valid - now > TWO_HOURS_NS || valid > address->valid_until_ns)
        address->valid_until_ns = valid;
    else if (remaining > TWO_HOURS_NS)
        address->valid_until_ns = now + TWO_HOURS_NS;
    address->preferred_until_ns = lifetime_end(prefix->preferred_s, now);
}

/* RFC 8981 section 3.4 (1) and (2): as the prefix, but not beyond its own limits. */
static void update_temporary(struct host_address *address, const struct host_address *stable)
{
    address->valid_until_ns = earlier(stable->valid_until_ns, address->created_ns + TEMP_VALID_NS);
    /* Its own share of a day was drawn when it was made: only ever shortened. */
    address->preferred_until_ns = earlier(address->preferred_until_ns, stable->preferred_until_ns);
}

static struct host_address *find_stable(struct foyer_host *host, const struct foyer_addr *prefix)
{
    for (uint32_t i = 0; i < host->address_count; i++) {
        if (is_of_prefix(&host->addresses[i], prefix, FOYER_ADDRESS_SLAAC))
            return &host->addresses[i];
    }
    return NULL;
}

/* RFC 4862 section 5.5.3 */
static void learn_autonomous(struct foyer_host *host, const struct wire_ndp_prefix *prefix,
                             const struct foyer_addr *router, foyer_time_ns now)
{
    if (prefix->preferred_s > prefix->valid_s || prefix->length != INTERFACE_ID_BITS ||
        foyer_addr_is_multicast(&prefix->prefix) || foyer_addr_is_loopback(&prefix->prefix))
        return; /* (c), (d) */
    struct host_address *stable = find_stable(host, &prefix->prefix);
    if (stable == NULL) {
        if (prefix->valid_s == 0)
            return;
        stable = make_address(host, &prefix->prefix, FOYER_ADDRESS_SLAAC,
                              lifetime_end(prefix->preferred_s, now),
                              lifetime_end(prefix->valid_s, now), now);
        if (stable == NULL)
            return;
        stable->router = *router;
        if (host->config.behaviour & FOYER_HOST_TEMPORARY_ADDRESSES)
            make_temporary(host, stable, now);
        return;
    }
    update_stable(stable, prefix, now);
    stable->router = *router;
    bool has_temporary = false;
    for (uint32_t i = 0; i < host->address_count; i++) {
        if (is_of_prefix(&host->addresses[i], &prefix->prefix, FOYER_ADDRESS_TEMPORARY)) {
            update_temporary(&host->addresses[i], stable);
            has_temporary |= !host->addresses[i].is_succeeded;
        }
    }
    /* The prefix was deprecated for a while, and is not any more. */
    if (!has_temporary && (host->config.behaviour & FOYER_HOST_TEMPORARY_ADDRESSES))
        make_temporary(host, stable, now);
    host->path_generation++;
}

foyer_time_ns router_address_deadline(const struct foyer_host *host,
                                      const struct host_address *address)
{
    foyer_time_ns until = address->preferred_until_ns;
    if (until == FOYER_TIME_NEVER)
        return FOYER_TIME_NEVER;
    foyer_time_ns advance = regenerate_advance(host);
    if (address->origin == FOYER_ADDRESS_TEMPORARY && !address->is_succeeded)
        return until > advance ? until - advance : 0;
    return until > host->now_ns ? until : FOYER_TIME_NEVER;
}

void router_address_timer(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    if (address->preferred_until_ns <= now)
        host->path_generation++; /* new choices avoid it from now on */
    if (address->origin != FOYER_ADDRESS_TEMPORARY || address->is_succeeded ||
        address->preferred_until_ns > now + regenerate_advance(host))
        return;
    /* RFC 8981 section 3.5: the successor is ready when the old one is deprecated. */
    address->is_succeeded = true;
    const struct host_address *stable = find_stable(host, &address->addr);
    if (stable != NULL)
        make_temporary(host, stable, now);
}

bool router_address_retry(struct foyer_host *host, struct host_address *address, foyer_time_ns now)
{
    if (address->attempt == IDGEN_RETRIES)
        return false;
    address->attempt++;
    if (FOYER_WITH_MULTICAST)
        group_own_leave(host, &address->addr);
    set_id(host, address);
    if (FOYER_WITH_MULTICAST)
        group_own_join(host, &address->addr);
    /* RFC 7217 section 6: after a while, so that two that collide do not stay in step. */
    address_probe(host, address, now + IDGEN_DELAY_NS);
    return true;
}

/* ---- an advertisement (RFC 4861 section 6.3.4) ------------------------------------------------------------------ */

static void learn_parameters(struct foyer_host *host, const struct wire_ndp *ndp, foyer_time_ns now)
{
    if (ndp->hop_limit != 0)
        host->hop_limit = ndp->hop_limit;
    if (ndp->reachable_ms != 0 && ndp->reachable_ms <= REACHABLE_MAX_MS &&
        ndp->reachable_ms != host->base_reachable_ms) {
        host->base_reachable_ms = ndp->reachable_ms;
        draw_reachable(host, now);
    }
    if (ndp->retransmit_ms >= RETRANS_MIN_MS && ndp->retransmit_ms <= RETRANS_MAX_MS)
        host->retransmit_ns = ndp->retransmit_ms * FOYER_NS_PER_MS;
    /* RFC 4861 section 6.3.4: no less than IPv6's minimum, no more than the link's own. */
    if (ndp->mtu >= IP_MTU_MIN_V6 && ndp->mtu <= host->config.mtu &&
        ndp->mtu != host->link_mtu_v6) {
        host->link_mtu_v6 = (uint16_t)ndp->mtu;
        host->path_generation++;
    }
}

void router_advertised(struct foyer_host *host, const struct foyer_addr *router,
                       const struct wire_ndp *ndp, foyer_time_ns now)
{
    if ((host->config.behaviour & FOYER_HOST_ROUTER_DISCOVERY) == 0)
        return;
    learn_router(host, router, ndp, now);
    /* RFC 7559 section 2.1: solicitations end when there is a router to be had. */
    if (ndp->router_lifetime_s > 0)
        host->solicit_ns = FOYER_TIME_NEVER;
    learn_parameters(host, ndp, now);
    host->is_managed = ndp->is_managed;
    host->is_other = ndp->is_other;
    if (FOYER_WITH_DHCP)
        dhcp6_advertised(host, ndp->is_managed, ndp->is_other, now);
    for (unsigned i = 0; i < ndp->prefix_count; i++) {
        const struct wire_ndp_prefix *prefix = &ndp->prefixes[i];
        if (foyer_addr_is_link_local_v6(&prefix->prefix))
            continue; /* RFC 4861 section 6.3.4, RFC 4862 section 5.5.3 (b): SHOULD ignore */
        if (prefix->is_on_link)
            learn_on_link(host, prefix, now);
        if (prefix->is_autonomous && (host->config.behaviour & FOYER_HOST_SLAAC))
            learn_autonomous(host, prefix, router, now);
    }
    addresses_arm(host);
    arm(host);
}
