/*
 * Redirects: a router says that another next hop is nearer to a destination (RFC 1122 section
 * 3.2.2.2, RFC 4861 section 8).
 *
 *     icmp.c | ndp.c -> redirect4_input | redirect6_input -> the table -> route.c's next hop
 *
 * Believed only from the router that the destination's packets go to now, about a next hop that is
 * on the link; whoever could forge that could answer ARP or ND in the router's name as well.
 * FOYER_HOST_IGNORE_REDIRECTS believes none. An entry goes when its next hop does not answer, or
 * when others need its place.
 */
#include "base/bytes.h"
#include "stack/ip.h"
#include "wire/icmp.h"

bool redirect_find(const struct foyer_host *host, const struct foyer_addr *dst,
                   struct foyer_addr *ret_next_hop)
{
    for (uint32_t i = 0; i < host->redirect_count; i++) {
        if (foyer_addr_eq(&host->redirects[i].dst, dst)) {
            *ret_next_hop = host->redirects[i].next_hop;
            return true;
        }
    }
    return false;
}

static void remove_at(struct foyer_host *host, uint32_t index)
{
    struct host_redirect *redirect = &host->redirects[index];
    memmove(redirect, redirect + 1, (host->redirect_count - index - 1) * sizeof(*redirect));
    host->redirect_count--;
    host->path_generation++;
}

void redirect_forget(struct foyer_host *host, const struct foyer_addr *next_hop)
{
    for (uint32_t i = host->redirect_count; i-- > 0;) {
        if (foyer_addr_eq(&host->redirects[i].next_hop, next_hop))
            remove_at(host, i);
    }
}

static void learn(struct foyer_host *host, const struct foyer_addr *dst,
                  const struct foyer_addr *next_hop)
{
    for (uint32_t i = host->redirect_count; i-- > 0;) {
        if (foyer_addr_eq(&host->redirects[i].dst, dst))
            remove_at(host, i);
    }
    if (host->redirect_count == HOST_REDIRECTS_MAX)
        remove_at(host, 0); /* the oldest */
    host->redirects[host->redirect_count++] =
        (struct host_redirect){.dst = *dst, .next_hop = *next_hop};
    host->path_generation++;
}

/* Do packets to dst go through this router now? */
static bool is_first_hop(const struct foyer_host *host, const struct foyer_addr *dst,
                         const struct foyer_addr *router)
{
    struct foyer_addr next_hop;
    return !ip_is_own(host, dst) && !foyer_addr_is_multicast(dst) && !ip_is_broadcast(host, dst) &&
           ip_next_hop(host, dst, &next_hop) && foyer_addr_eq(&next_hop, router);
}

static void refuse(struct foyer_host *host)
{
    host->stats.icmp_redirects_refused++;
}

void redirect4_input(struct foyer_host *host, const struct rx *rx)
{
    struct wire_ipv4 quoted;
    const uint8_t *bytes = rx->transport;

    if (host->config.behaviour & FOYER_HOST_IGNORE_REDIRECTS) {
        refuse(host);
        return;
    }
    if (wire_ipv4_parse_quoted(bytes + WIRE_ICMP_SIZE, rx->transport_contiguous - WIRE_ICMP_SIZE,
                               &quoted) < 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    /* [RFC1122 3.2.2.2b 3.2.2.2c] Of a packet of ours; SHOULD: to a gateway of the link, from the
     * first hop. Network redirects count for the host alone (RFC 1812 section 5.2.7.2). */
    struct foyer_addr gateway = foyer_addr_v4(bytes[4], bytes[5], bytes[6], bytes[7]);
    if (bytes[1] > 3 || !foyer_addr_eq(&quoted.src, &rx->dst) || !ip_is_own(host, &quoted.src) ||
        !is_first_hop(host, &quoted.dst, &rx->src) || foyer_addr_eq(&gateway, &rx->src) ||
        foyer_addr_is_any(&gateway) || foyer_addr_is_multicast(&gateway) ||
        ip_is_own(host, &gateway) || ip_is_broadcast(host, &gateway) ||
        !ip_is_on_link(host, &gateway)) {
        refuse(host);
        return;
    }
    learn(host, &quoted.dst, &gateway);
}

void redirect6_input(struct foyer_host *host, const struct rx *rx, const struct wire_ndp *ndp,
                     foyer_time_ns now)
{
    /* [RFC4861 8.1a] Hop limit, checksum, code and options were looked at before. */
    bool is_on_link = foyer_addr_eq(&ndp->target, &ndp->destination);
    if ((host->config.behaviour & FOYER_HOST_IGNORE_REDIRECTS) ||
        !foyer_addr_is_link_local_v6(&rx->src) || foyer_addr_is_multicast(&rx->dst) ||
        !(is_on_link || foyer_addr_is_link_local_v6(&ndp->target)) ||
        ip_is_own(host, &ndp->target) || foyer_addr_is_any(&ndp->destination) ||
        !is_first_hop(host, &ndp->destination, &rx->src)) {
        refuse(host);
        return;
    }
    /* [RFC4861 8.3a] The link-layer address is news like that of an advertisement. */
    if (ndp->has_target_mac && (ndp->target_mac[0] & 1) == 0) {
        struct neighbour *neighbour = neighbour_get(host, &ndp->target);
        if (neighbour != NULL) {
            neighbour_learn(host, neighbour, ndp->target_mac, false, now);
            neighbour->is_router = neighbour->is_router || !is_on_link;
        }
    }
    learn(host, &ndp->destination, &ndp->target);
}
