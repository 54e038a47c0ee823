/*
 * Neighbour discovery (RFC 4861): who has this IPv6 address? Asks and answers; the states live
 * in link.c's cache, which ARP shares.
 *
 * What router advertisements say is router.c's, duplicate address detection address.c's; their
 * messages are written and read here. What redirects say is redirect.c's.
 */
#include "stack/ip.h"

#define NDP_HOP_LIMIT 255u /* RFC 4861 section 7.1.1: nobody off the link can send this */

static void send_ndp(struct foyer_host *host, const struct wire_ndp *ndp,
                     const struct foyer_addr *src, const struct foyer_addr *dst)
{
    uint8_t bytes[WIRE_NDP_SIZE_MAX];
    size_t size = wire_ndp_emit(bytes, ndp);
    ip_send_control(host, WIRE_PROTOCOL_ICMP6, src, dst, NDP_HOP_LIMIT, 0, bytes, size);
    host->stats.icmp_out++;
}

/* [RFC4861 7.2.2a] */
void ndp_solicit(struct foyer_host *host, const struct neighbour *neighbour, bool is_unicast)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION,
                           .target = neighbour->addr,
                           .has_source_mac = true};
    struct foyer_addr src;

    memcpy(ndp.source_mac, host->config.mac, 6);
    if (!ip_choose_source(host, &neighbour->addr, &src))
        return;
    struct foyer_addr dst = is_unicast ? neighbour->addr : ip_solicited_node(&neighbour->addr);
    send_ndp(host, &ndp, &src, &dst);
}

static const struct foyer_addr all_nodes = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
static const struct foyer_addr all_routers = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};

void ndp_probe(struct foyer_host *host, const struct host_address *address)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION,
                           .target = address->addr,
                           .has_nonce = true}; /* RFC 7527 section 4.1 */
    static const struct foyer_addr unspecified;
    struct foyer_addr group = ip_solicited_node(&address->addr);
    uint8_t bytes[WIRE_NDP_SIZE_MAX];

    memcpy(ndp.nonce, address->nonce, sizeof(ndp.nonce));
    size_t size = wire_ndp_emit(bytes, &ndp);
    ip6_send_to_group(host, &unspecified, &group, NDP_HOP_LIMIT, false, bytes, size);
}

void ndp_announce(struct foyer_host *host, const struct foyer_addr *addr)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                           .target = *addr,
                           .is_override = true,
                           .has_target_mac = true};
    uint8_t bytes[WIRE_NDP_SIZE_MAX];

    memcpy(ndp.target_mac, host->config.mac, 6);
    size_t size = wire_ndp_emit(bytes, &ndp);
    ip6_send_to_group(host, addr, &all_nodes, NDP_HOP_LIMIT, false, bytes, size);
}

void ndp_solicit_routers(struct foyer_host *host)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_ROUTER_SOLICITATION};
    struct foyer_addr src = {{0}};
    uint8_t bytes[WIRE_NDP_SIZE_MAX];

    /* RFC 4861 section 4.1: without an address yet, no source link-layer option either. */
    if (ip_choose_source(host, &all_routers, &src)) {
        ndp.has_source_mac = true;
        memcpy(ndp.source_mac, host->config.mac, 6);
    }
    size_t size = wire_ndp_emit(bytes, &ndp);
    ip6_send_to_group(host, &src, &all_routers, NDP_HOP_LIMIT, false, bytes, size);
}

/* RFC 4862 section 5.4.3: another asks about an address that we are still asking about. */
static void tentative_input(struct foyer_host *host, struct host_address *address,
                            const struct wire_ndp *ndp, bool is_probe, foyer_time_ns now)
{
    /* One who wants to resolve it is ignored; our own question may come back (RFC 7527). */
    bool is_echo = ndp->has_nonce && address->probes_sent > 0 &&
                   memcmp(ndp->nonce, address->nonce, sizeof(address->nonce)) == 0;
    if (is_probe && !is_echo)
        address_conflict(host, address, now);
}

static bool is_mac_usable(const uint8_t mac[6])
{
    return (mac[0] & 1) == 0;
}

/* RFC 4861 sections 7.1.1 and 7.2.3 [RFC4861 7.2.4a 7.2.4b] */
static void solicitation_input(struct foyer_host *host, const struct rx *rx,
                               const struct wire_ndp *ndp, foyer_time_ns now)
{
    struct foyer_addr group = ip_solicited_node(&ndp->target);
    bool is_probe = foyer_addr_is_any(&rx->src); /* duplicate address detection */
    if (is_probe && (!foyer_addr_eq(&rx->dst, &group) || ndp->has_source_mac)) {
        host->stats.in_dropped_malformed++;
        return;
    }
    struct host_address *own = address_find(host, &ndp->target);
    if (own != NULL && own->state == FOYER_ADDRESS_TENTATIVE) {
        tentative_input(host, own, ndp, is_probe, now);
        return;
    }
    if (own == NULL || !address_is_assigned(own)) {
        host->stats.in_dropped_address++;
        return;
    }
    if (!is_probe && ndp->has_source_mac && is_mac_usable(ndp->source_mac) &&
        ip_is_on_link(host, &rx->src)) {
        struct neighbour *neighbour = neighbour_get(host, &rx->src);
        if (neighbour != NULL)
            neighbour_learn(host, neighbour, ndp->source_mac, false, now);
    }
    /* Section 7.2.4; to a probe by multicast, unsolicited. */
    struct wire_ndp answer = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                              .target = ndp->target,
                              .is_solicited = !is_probe,
                              .is_override = true,
                              .has_target_mac = true};
    memcpy(answer.target_mac, host->config.mac, 6);
    send_ndp(host, &answer, &ndp->target, is_probe ? &all_nodes : &rx->src);
}

/* RFC 4861 sections 7.1.2 and 7.2.5: only what was asked for is remembered. */
static void advertisement_input(struct foyer_host *host, const struct rx *rx,
                                const struct wire_ndp *ndp, foyer_time_ns now)
{
    if (ndp->is_solicited && foyer_addr_is_multicast(&rx->dst)) {
        host->stats.in_dropped_malformed++;
        return;
    }
    struct host_address *own = address_find(host, &ndp->target);
    if (own != NULL && own->state != FOYER_ADDRESS_DUPLICATE) {
        address_conflict(host, own, now); /* RFC 4862 section 5.4.4 */
        return;
    }
    struct neighbour *neighbour = neighbour_find(host, &ndp->target);
    if (neighbour == NULL)
        return;
    bool has_mac = ndp->has_target_mac && is_mac_usable(ndp->target_mac);
    if (neighbour->state == NEIGHBOUR_INCOMPLETE) {
        if (!has_mac)
            return;
        neighbour_learn(host, neighbour, ndp->target_mac, ndp->is_solicited, now);
    } else {
        bool is_news = has_mac && memcmp(neighbour->mac, ndp->target_mac, 6) != 0;
        if (is_news && !ndp->is_override) {
            if (neighbour->state == NEIGHBOUR_REACHABLE)
                neighbour_make_stale(host, neighbour);
            return;
        }
        if (is_news)
            neighbour_learn(host, neighbour, ndp->target_mac, ndp->is_solicited, now);
        else if (ndp->is_solicited)
            neighbour_confirm(host, neighbour, now);
    }
    /* Section 7.2.5: a router that is one no longer MUST leave the default routers. */
    if (!ndp->is_router)
        router_forget(host, &neighbour->addr);
    neighbour->is_router = ndp->is_router;
}

/* RFC 4861 section 6.1.2 */
static void router_advertisement_input(struct foyer_host *host, const struct rx *rx,
                                       const struct wire_ndp *ndp, foyer_time_ns now)
{
    if (!foyer_addr_is_link_local_v6(&rx->src)) {
        host->stats.in_dropped_malformed++;
        return;
    }
    host->stats.ndp_router_advertisements++;
    if ((host->config.behaviour & FOYER_HOST_ROUTER_DISCOVERY) == 0)
        return;
    /* Section 6.3.4: the neighbour cache learns of the router, STALE where that is news. */
    if (ndp->has_source_mac && is_mac_usable(ndp->source_mac)) {
        struct neighbour *neighbour = neighbour_get(host, &rx->src);
        if (neighbour != NULL) {
            neighbour_learn(host, neighbour, ndp->source_mac, false, now);
            neighbour->is_router = true;
        }
    }
    router_advertised(host, &rx->src, ndp, now);
}

void ndp_input(struct foyer_host *host, const struct rx *rx, const uint8_t *bytes, size_t size,
               foyer_time_ns now)
{
    struct wire_ndp ndp;
    if (rx->ttl != NDP_HOP_LIMIT || size != rx->transport_contiguous ||
        wire_ndp_parse(bytes, size, &ndp) < 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    switch (ndp.type) {
    case WIRE_ICMP6_NEIGHBOUR_SOLICITATION:
        solicitation_input(host, rx, &ndp, now);
        break;
    case WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT:
        advertisement_input(host, rx, &ndp, now);
        break;
    case WIRE_ICMP6_ROUTER_ADVERTISEMENT:
        router_advertisement_input(host, rx, &ndp, now);
        break;
    case WIRE_ICMP6_REDIRECT:
        redirect6_input(host, rx, &ndp, now);
        break;
    default:
        break; /* solicitations are for routers */
    }
}
