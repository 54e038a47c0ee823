/*
 * Ethernet and who lives on it: frames in, ARP (RFC 826), and the neighbour cache, which serves
 * IPv6's neighbour discovery (ndp.c) as well.
 *
 * A socket whose neighbour is INCOMPLETE waits on neighbour->waiters, its bytes stay in its ring.
 * Packets without a socket, and datagrams of unconnected sockets, are copied to neighbour->held
 * (RFC 1122 section 2.3.2.2 SHOULD; a few instead of one, since a resolver sends two questions
 * at once). Both are bounded and end with the third unanswered question.
 */
#include <errno.h>

#include "stack/ip.h"
#include "wire/arp.h"

#define NEIGHBOUR_TRIES 3u                           /* RFC 4861 section 10 */
#define NEIGHBOUR_RETRY_NS (1 * FOYER_NS_PER_S)      /* RETRANS_TIMER; RFC 1122 2.3.2.1 */
#define NEIGHBOUR_REACHABLE_NS (30 * FOYER_NS_PER_S) /* REACHABLE_TIME */
#define NEIGHBOUR_DELAY_NS (5 * FOYER_NS_PER_S)      /* DELAY_FIRST_PROBE_TIME */
#define NEIGHBOUR_EVICT_TRIES 16u
#define HELD_BYTES_MAX HOST_SIZE(2048u, 16384u) /* per neighbour */

struct held_packet {
    struct list_node node;
    struct foyer_addr src, dst;
    uint32_t size;
    uint8_t protocol, ttl, tos;
    uint8_t bytes[];
};

/* ---- the cache --------------------------------------------------------------------------------- */

void link_init(struct foyer_host *host)
{
    list_init(&host->neighbour_lru);
}

static uint32_t addr_hash(const struct foyer_host *host, const struct foyer_addr *addr)
{
    return (uint32_t)siphash(&host->hash_key, addr->bytes, sizeof(addr->bytes));
}

struct neighbour *neighbour_find(const struct foyer_host *host, const struct foyer_addr *addr)
{
    uint32_t hash = addr_hash(host, addr);
    for (struct hash_node *node = hash_table_first(&host->neighbours, hash); node != NULL;
         node = hash_table_next(node)) {
        struct neighbour *neighbour = HASH_ENTRY(node, struct neighbour, node);
        if (foyer_addr_eq(&neighbour->addr, addr))
            return neighbour;
    }
    return NULL;
}

static void held_free(struct foyer_host *host, struct neighbour *neighbour,
                      struct held_packet *held)
{
    size_t size = sizeof(*held) + held->size;
    list_remove(&held->node);
    neighbour->held_bytes -= (uint32_t)size;
    host_free(host, held, size);
}

static void neighbour_free(struct foyer_host *host, struct neighbour *neighbour)
{
    struct list_node *node;
    while ((node = list_first(&neighbour->held)) != NULL)
        held_free(host, neighbour, LIST_ENTRY(node, struct held_packet, node));
    timer_cancel(&host->timers, &neighbour->timer);
    hash_table_remove(&host->neighbours, &neighbour->node);
    list_remove(&neighbour->lru);
    host->neighbour_count--;
    host->path_generation++; /* sockets' pointers to it are void */
    host_free(host, neighbour, sizeof(*neighbour));
}

void link_finish(struct foyer_host *host)
{
    struct list_node *node;
    while ((node = list_first(&host->neighbour_lru)) != NULL)
        neighbour_free(host, LIST_ENTRY(node, struct neighbour, lru));
    hash_table_finish(&host->neighbours);
}

/*
 * Makes room: the neighbour longest not looked up, except that those with waiting sockets and
 * those used within the last 30 s get another round.
 */
static bool neighbour_evict(struct foyer_host *host)
{
    for (unsigned i = 0; i < NEIGHBOUR_EVICT_TRIES; i++) {
        struct list_node *node = list_first(&host->neighbour_lru);
        if (node == NULL)
            return false;
        struct neighbour *oldest = LIST_ENTRY(node, struct neighbour, lru);
        bool is_needed = !list_is_empty(&oldest->waiters) ||
                         host->now_ns - oldest->used_ns < NEIGHBOUR_REACHABLE_NS;
        if (!is_needed || (i + 1 == NEIGHBOUR_EVICT_TRIES && list_is_empty(&oldest->waiters))) {
            neighbour_free(host, oldest);
            return true;
        }
        list_remove(&oldest->lru);
        list_push_back(&host->neighbour_lru, &oldest->lru);
    }
    return false;
}

struct neighbour *neighbour_get(struct foyer_host *host, const struct foyer_addr *addr)
{
    struct neighbour *neighbour = neighbour_find(host, addr);
    if (neighbour != NULL) {
        list_remove(&neighbour->lru);
        list_push_back(&host->neighbour_lru, &neighbour->lru);
        return neighbour;
    }
    if (host->neighbour_count >= HOST_NEIGHBOURS_MAX && !neighbour_evict(host))
        return NULL;
    neighbour = host_alloc(host, sizeof(*neighbour));
    if (neighbour == NULL)
        return NULL;
    neighbour->addr = *addr;
    neighbour->state = NEIGHBOUR_INCOMPLETE;
    neighbour->timer.kind = TIMER_NEIGHBOUR;
    list_init(&neighbour->waiters);
    list_init(&neighbour->held);
    list_push_back(&host->neighbour_lru, &neighbour->lru);
    hash_table_insert(&host->neighbours, &neighbour->node, addr_hash(host, addr));
    host->neighbour_count++;
    return neighbour;
}

/* ---- ARP out --------------------------------------------------------------------------------------- */

static void arp_send(struct foyer_host *host, const struct wire_arp *arp, const uint8_t dst[6])
{
    struct control *control = control_push(host, CONTROL_FRAME, WIRE_ETH_SIZE + WIRE_ARP_SIZE);
    if (control == NULL)
        return;
    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_ARP};
    memcpy(eth.dst, dst, 6);
    memcpy(eth.src, host->config.mac, 6);
    uint8_t *frame = control_bytes(control);
    wire_eth_emit(frame, &eth);
    wire_arp_emit(frame + WIRE_ETH_SIZE, arp);
}

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void arp_probe(struct foyer_host *host, const struct foyer_addr *addr)
{
    /* RFC 5227 section 2.1.1: sender address all zero, so that no cache is spoilt. */
    struct wire_arp arp = {.operation = WIRE_ARP_REQUEST,
                           .sender_addr = foyer_addr_v4(0, 0, 0, 0),
                           .target_addr = *addr};
    memcpy(arp.sender_mac, host->config.mac, 6);
    arp_send(host, &arp, broadcast);
}

void arp_announce(struct foyer_host *host, const struct foyer_addr *addr)
{
    /* RFC 5227 section 2.3: a request in which both addresses are ours. */
    struct wire_arp arp = {
        .operation = WIRE_ARP_REQUEST, .sender_addr = *addr, .target_addr = *addr};
    memcpy(arp.sender_mac, host->config.mac, 6);
    arp_send(host, &arp, broadcast);
}

static void arp_solicit(struct foyer_host *host, const struct neighbour *neighbour, bool is_unicast)
{
    struct wire_arp arp = {.operation = WIRE_ARP_REQUEST, .target_addr = neighbour->addr};

    if (!ip_choose_source(host, &neighbour->addr, &arp.sender_addr))
        return;
    memcpy(arp.sender_mac, host->config.mac, 6);
    /* RFC 1122 section 2.3.2.1 (2): an old entry is asked for by unicast. */
    arp_send(host, &arp, is_unicast ? neighbour->mac : broadcast);
}

static void neighbour_ask(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now)
{
    bool is_unicast = neighbour->state == NEIGHBOUR_PROBE;
    neighbour->tries++;
    if (foyer_addr_is_v4(&neighbour->addr))
        arp_solicit(host, neighbour, is_unicast);
    else
        ndp_solicit(host, neighbour, is_unicast);
    timer_set(&host->timers, &neighbour->timer,
              now +
                  (foyer_addr_is_v4(&neighbour->addr) ? NEIGHBOUR_RETRY_NS : host->retransmit_ns));
}

/* ---- states ------------------------------------------------------------------------------------------ */

/* [RFC4861 7.3.3a] */
bool neighbour_use(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now)
{
    neighbour->used_ns = now;
    switch ((enum neighbour_state)neighbour->state) {
    case NEIGHBOUR_INCOMPLETE:
        if (neighbour->tries == 0)
            neighbour_ask(host, neighbour, now);
        return false;
    case NEIGHBOUR_REACHABLE:
        if (now - neighbour->confirmed_ns <
            (foyer_addr_is_v4(&neighbour->addr) ? NEIGHBOUR_REACHABLE_NS : host->reachable_ns))
            return true;
        /* fall through */
    case NEIGHBOUR_STALE:
        neighbour->state = NEIGHBOUR_DELAY;
        timer_set(&host->timers, &neighbour->timer, now + NEIGHBOUR_DELAY_NS);
        return true;
    case NEIGHBOUR_DELAY:
    case NEIGHBOUR_PROBE:
        break;
    }
    return true;
}

void neighbour_park(struct neighbour *neighbour, struct sock *sock)
{
    list_remove(&sock->output_node);
    list_push_back(&neighbour->waiters, &sock->output_node);
}

/* [RFC4861 7.2.2d] */
void neighbour_hold(struct foyer_host *host, struct neighbour *neighbour, uint8_t protocol,
                    const struct foyer_addr *src, const struct foyer_addr *dst, uint8_t ttl,
                    uint8_t tos, const void *bytes, size_t size)
{
    struct held_packet *held;
    size_t total = sizeof(*held) + size;
    if (total > HELD_BYTES_MAX)
        return;
    while (neighbour->held_bytes + total > HELD_BYTES_MAX)
        held_free(host, neighbour,
                  LIST_ENTRY(list_first(&neighbour->held), struct held_packet, node));
    held = host_alloc_raw(host, total);
    if (held == NULL)
        return;
    *held = (struct held_packet){.src = *src,
                                 .dst = *dst,
                                 .size = (uint32_t)size,
                                 .protocol = protocol,
                                 .ttl = ttl,
                                 .tos = tos};
    memcpy(held->bytes, bytes, size);
    list_push_back(&neighbour->held, &held->node);
    neighbour->held_bytes += (uint32_t)total;
}

static void neighbour_resolved(struct foyer_host *host, struct neighbour *neighbour)
{
    struct list_node *node;
    while ((node = list_first(&neighbour->held)) != NULL) {
        struct held_packet *held = LIST_ENTRY(node, struct held_packet, node);
        ip_send_control(host, held->protocol, &held->src, &held->dst, held->ttl, held->tos,
                        held->bytes, held->size);
        held_free(host, neighbour, held);
    }
    while ((node = list_first(&neighbour->waiters)) != NULL) {
        struct sock *sock = LIST_ENTRY(node, struct sock, output_node);
        list_remove(&sock->output_node);
        sock_want_output(host, sock);
    }
}

void neighbour_confirm(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now)
{
    timer_cancel(&host->timers, &neighbour->timer);
    neighbour->state = NEIGHBOUR_REACHABLE;
    neighbour->confirmed_ns = now;
    neighbour->tries = 0;
}

void neighbour_make_stale(struct foyer_host *host, struct neighbour *neighbour)
{
    timer_cancel(&host->timers, &neighbour->timer);
    neighbour->state = NEIGHBOUR_STALE;
    neighbour->tries = 0;
}

void neighbour_learn(struct foyer_host *host, struct neighbour *neighbour, const uint8_t mac[6],
                     bool is_confirmed, foyer_time_ns now)
{
    bool was_incomplete = neighbour->state == NEIGHBOUR_INCOMPLETE;
    bool is_changed = was_incomplete || memcmp(neighbour->mac, mac, 6) != 0;
    memcpy(neighbour->mac, mac, 6);
    if (is_confirmed)
        neighbour_confirm(host, neighbour, now);
    else if (is_changed)
        neighbour_make_stale(host, neighbour); /* RFC 4861 section 7.2.3 */
    if (was_incomplete)
        neighbour_resolved(host, neighbour);
}

/* The third question was not answered. [RFC4861 7.2.2c] */
static void neighbour_fail(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now)
{
    struct list_node failed;
    struct list_node *node;

    list_init(&failed);
    list_splice_back(&failed, &neighbour->waiters);
    router_unreachable(host, &neighbour->addr);
    redirect_forget(host, &neighbour->addr);
    neighbour_free(host, neighbour);
    while ((node = list_first(&failed)) != NULL) {
        struct sock *sock = LIST_ENTRY(node, struct sock, output_node);
        list_remove(&sock->output_node);
        if (PROTOCOL_IS_TCP(sock->protocol)) {
            struct icmp_error error = {.error = -EHOSTUNREACH, .is_hard = true, .is_local = true};
            tcp_icmp_error(host, sock, &error, now);
        } else if (FOYER_WITH_UDP) {
            udp_unreachable(host, sock);
        }
    }
}

/* [RFC4861 7.2.2b 7.3.3b] */
void neighbour_timer(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now)
{
    switch ((enum neighbour_state)neighbour->state) {
    case NEIGHBOUR_DELAY:
        neighbour->state = NEIGHBOUR_PROBE;
        neighbour->tries = 0;
        neighbour_ask(host, neighbour, now);
        break;
    case NEIGHBOUR_INCOMPLETE:
    case NEIGHBOUR_PROBE:
        if (neighbour->tries < NEIGHBOUR_TRIES)
            neighbour_ask(host, neighbour, now);
        else
            neighbour_fail(host, neighbour, now);
        break;
    case NEIGHBOUR_REACHABLE:
    case NEIGHBOUR_STALE:
        break; /* no timer runs in these */
    }
}

/* ---- frames in ------------------------------------------------------------------------------------------ */

/*
 * RFC 5227 sections 2.1.1 and 2.4: does this packet contradict an address of ours? Our own
 * packets may come back to us. True: it was dealt with.
 */
static bool arp_conflict(struct foyer_host *host, const struct wire_arp *arp, foyer_time_ns now)
{
    if (memcmp(arp->sender_mac, host->config.mac, 6) == 0)
        return ip_is_own(host, &arp->sender_addr);
    struct host_address *address = address_find(host, &arp->sender_addr);
    /* Another probes for the same address at the same time. */
    if (address == NULL && foyer_addr_is_any(&arp->sender_addr) &&
        arp->operation == WIRE_ARP_REQUEST) {
        address = address_find(host, &arp->target_addr);
        if (address != NULL && address->state != FOYER_ADDRESS_TENTATIVE)
            return false;
    }
    if (address == NULL || address->state == FOYER_ADDRESS_DUPLICATE)
        return false;
    host->stats.in_dropped_address++;
    address_conflict(host, address, now);
    return true;
}

static void arp_input(struct foyer_host *host, const struct foyer_packet *packet, foyer_time_ns now)
{
    struct wire_arp arp;
    if (wire_arp_parse(packet->spans[0].base + WIRE_ETH_SIZE, packet->spans[0].size - WIRE_ETH_SIZE,
                       &arp) < 0 ||
        (arp.sender_mac[0] & 1) != 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (arp_conflict(host, &arp, now))
        return;
    bool is_probe = foyer_addr_is_any(&arp.sender_addr); /* RFC 5227 section 1.1 */
    bool is_for_us = foyer_host_has_address(host, &arp.target_addr);
    if (!is_probe &&
        (ip_is_own(host, &arp.sender_addr) || !ip_is_on_link(host, &arp.sender_addr) ||
         ip_is_broadcast(host, &arp.sender_addr) || foyer_addr_is_multicast(&arp.sender_addr))) {
        host->stats.in_dropped_address++;
        return;
    }
    if (!is_probe) {
        /* RFC 826, packet reception: who is known is updated; who asks for us becomes known. */
        struct neighbour *neighbour = neighbour_find(host, &arp.sender_addr);
        if (neighbour == NULL && is_for_us)
            neighbour = neighbour_get(host, &arp.sender_addr);
        if (neighbour != NULL)
            neighbour_learn(host, neighbour, arp.sender_mac,
                            arp.operation == WIRE_ARP_REPLY && is_for_us && neighbour->tries > 0,
                            now);
    }
    if (!is_for_us) {
        host->stats.in_dropped_address++;
        return;
    }
    if (arp.operation != WIRE_ARP_REQUEST)
        return;
    struct wire_arp reply = {.operation = WIRE_ARP_REPLY,
                             .sender_addr = arp.target_addr,
                             .target_addr = arp.sender_addr};
    memcpy(reply.sender_mac, host->config.mac, 6);
    memcpy(reply.target_mac, arp.sender_mac, 6);
    arp_send(host, &reply, arp.sender_mac);
}

void link_input(struct foyer_host *host, const struct foyer_packet *packet, foyer_time_ns now)
{
    struct wire_eth eth;
    if (packet->span_count == 0 || packet->span_count > FOYER_PACKET_SPANS_MAX ||
        wire_eth_parse(packet->spans[0].base, packet->spans[0].size, &eth) < 0 ||
        (eth.src[0] & 1) != 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    bool is_group = (eth.dst[0] & 1) != 0;
    if (!is_group && memcmp(eth.dst, host->config.mac, 6) != 0) {
        host->stats.in_dropped_address++;
        return;
    }
    switch (eth.ethertype) {
    case WIRE_ETHERTYPE_IPV4:
        ip4_input(host, packet, is_group, now);
        break;
    case WIRE_ETHERTYPE_IPV6:
        if (FOYER_WITH_IPV6)
            ip6_input(host, packet, is_group, now);
        else
            host->stats.in_dropped_protocol++;
        break;
    case WIRE_ETHERTYPE_ARP:
        arp_input(host, packet, now);
        break;
    default:
        host->stats.in_dropped_protocol++;
        break;
    }
}
