/*
 * Neighbour discovery (RFC 4861): who has this IPv6 address? Asks and answers; the states live
 * in link.c's cache, which ARP shares.
 *
 * Router advertisements are validated and counted; taking default routers and prefixes from them
 * is left to whoever configures the host. Redirects are ignored. The host does not probe its own
 * addresses for duplicates (RFC 4862 section 5.4): in a building they are given out by one party.
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

static bool is_mac_usable(const uint8_t mac[6])
{
    return (mac[0] & 1) == 0;
}

/* RFC 4861 sections 7.1.1 and 7.2.3 */
static void solicitation_input(struct foyer_host *host, const struct rx *rx,
                               const struct wire_ndp *ndp, foyer_time_ns now)
{
    struct foyer_addr group = ip_solicited_node(&ndp->target);
    bool is_probe = foyer_addr_is_any(&rx->src); /* duplicate address detection */
    if (is_probe && (!foyer_addr_eq(&rx->dst, &group) || ndp->has_source_mac)) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (!foyer_host_has_address(host, &ndp->target)) {
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
    struct foyer_addr all_nodes = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
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
    neighbour->is_router = ndp->is_router;
}

/* RFC 4861 section 6.1.2 */
static void router_advertisement_input(struct foyer_host *host, const struct rx *rx)
{
    if (!foyer_addr_is_link_local_v6(&rx->src))
        host->stats.in_dropped_malformed++;
    else
        host->stats.ndp_router_advertisements++;
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
        router_advertisement_input(host, rx);
        break;
    default:
        break; /* solicitations are for routers */
    }
}
