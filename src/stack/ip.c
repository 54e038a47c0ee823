/*
 * IPv4 (RFC 791, RFC 1122) and IPv6 (RFC 8200): headers off on the way up, on on the way down.
 *
 * Up:   link.c -> ip4_input | ip6_input -> frag.c where it is a fragment -> ip_deliver
 * Down: output.c -> ip_emit (to the link) | ip_deliver_inside (to the host itself)
 *
 * A packet down lies in one of the host's header buffers as
 *
 *     |<------ TX_TRANSPORT_OFFSET ------>|
 *     [ room ][ Ethernet ][ IPv4 or IPv6 ][ transport header ]   + payload spans
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/dhcp.h"
#include "stack/group.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "wire/dhcp4.h"
#include "wire/membership.h"
#include "wire/tcp.h"
#include "wire/udp.h"

/* ---- struct rx --------------------------------------------------------------------------------- */

/* The size bytes of the frame from offset on. offset lies in spans[0]; size is there. */
static uint8_t cut_spans(const struct foyer_packet *packet, size_t offset, size_t size,
                         struct foyer_span *ret_spans)
{
    uint8_t count = 0;
    for (unsigned i = 0; i < packet->span_count && size > 0; i++) {
        const struct foyer_span *span = &packet->spans[i];
        size_t skip = i == 0 ? offset : 0;
        size_t take = span->size - skip < size ? span->size - skip : size;
        if (take == 0)
            continue;
        ret_spans[count].base = span->base + skip;
        ret_spans[count].size = take;
        count++;
        size -= take;
    }
    return count;
}

void rx_copy_to_ring(const struct rx *rx, size_t offset, const struct foyer_ring *ring,
                     uint32_t pos, uint32_t size)
{
    for (unsigned i = 0; i < rx->payload_count && size > 0; i++) {
        const struct foyer_span *span = &rx->payload[i];
        if (offset >= span->size) {
            offset -= span->size;
            continue;
        }
        size_t take = span->size - offset < size ? span->size - offset : size;
        foyer_ring_put(ring, pos, span->base + offset, (uint32_t)take);
        pos += (uint32_t)take;
        size -= (uint32_t)take;
        offset = 0;
    }
}

size_t rx_copy(const struct rx *rx, size_t offset, uint8_t *bytes, size_t size)
{
    size_t copied = 0;
    for (unsigned i = 0; i < rx->payload_count && copied < size; i++) {
        const struct foyer_span *span = &rx->payload[i];
        if (offset >= span->size) {
            offset -= span->size;
            continue;
        }
        size_t left = span->size - offset;
        size_t take = left < size - copied ? left : size - copied;
        memcpy(bytes + copied, span->base + offset, take);
        copied += take;
        offset = 0;
    }
    return copied;
}

bool rx_checksum_ok(const struct rx *rx)
{
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &rx->src, &rx->dst, rx->protocol, (uint32_t)rx->size);
    for (unsigned i = 0; i < rx->payload_count; i++)
        checksum_add(&sum, rx->payload[i].base, rx->payload[i].size);
    return checksum_finish(&sum) == 0;
}

void rx_fill(struct rx *rx, const struct foyer_packet *packet, size_t ip_offset,
             size_t transport_offset, size_t size)
{
    const struct foyer_span *first = &packet->spans[0];
    rx->size = size;
    rx->payload_count = cut_spans(packet, transport_offset, size, rx->payload);
    rx->transport = first->base + transport_offset;
    rx->transport_contiguous =
        first->size - transport_offset < size ? first->size - transport_offset : size;
    rx->ip_header = first->base + ip_offset;
    rx->ip_contiguous = transport_offset - ip_offset + rx->transport_contiguous;
    rx->checksum_valid =
        (packet->flags & (FOYER_PACKET_CHECKSUM_VALID | FOYER_PACKET_CHECKSUM_PARTIAL)) != 0;
    rx->gso_size = packet->gso_type != FOYER_GSO_NONE ? packet->gso_size : 0;
    rx->arrival_ns = packet->arrival_ns;
}

/* ---- up ------------------------------------------------------------------------------------------ */

/* [RFC8200 4b 4.7a] */
void ip_deliver(struct foyer_host *host, struct rx *rx, foyer_time_ns now)
{
    bool is_v4 = !FOYER_WITH_IPV6 || rx->family == 4;
    bool is_to_group = foyer_addr_is_multicast(&rx->dst) || ip_is_broadcast(host, &rx->dst);

    if (FOYER_WITH_TCP && rx->protocol == WIRE_PROTOCOL_TCP) {
        /* RFC 9293 section 3.9.2.3, MUST-57: a segment to a group is silently discarded. */
        if (is_to_group)
            host->stats.in_dropped_address++;
        else
            tcp_input(host, rx, now);
    } else if (FOYER_WITH_UDP && rx->protocol == WIRE_PROTOCOL_UDP) {
        udp_input(host, rx, now);
    } else if (FOYER_WITH_MULTICAST && is_v4 && rx->protocol == WIRE_PROTOCOL_IGMP) {
        igmp_input(host, rx, now);
    } else if (is_v4 && rx->protocol == WIRE_PROTOCOL_ICMP) {
        icmp4_input(host, rx, now);
    } else if (!is_v4 && rx->protocol == WIRE_PROTOCOL_ICMP6) {
        icmp6_input(host, rx, now);
    } else {
        host->stats.in_dropped_protocol++;
        if (is_v4)
            icmp_send_error(host, rx, 3, 2, 0, now); /* RFC 1122 section 3.2.2.1: protocol */
        /* RFC 4443 section 3.4 code 1; "no next header" (59) is not an unknown one. */
        else if (rx->protocol != WIRE_PROTOCOL_NONE)
            icmp_send_error(host, rx, WIRE_ICMP6_PARAMETER_PROBLEM, 1, rx->protocol_offset, now);
    }
}

/* Is the source one that a packet from the wire can have (RFC 1122 section 3.2.1.3)? */
static bool is_source_valid(const struct foyer_host *host, const struct foyer_addr *src)
{
    if (foyer_addr_is_multicast(src) || ip_is_own(host, src))
        return false; /* loopback never crosses a wire; our own address is somebody's forgery */
    return !foyer_addr_is_v4(src) || (!foyer_addr_is_any(src) && src->bytes[12] < 240 &&
                                      src->bytes[12] != 0 && !ip_is_broadcast(host, src));
}

/* Does somebody take what others are meant to get (FOYER_OPT_INTERCEPT)? TCP only. */
static bool is_intercepted(const struct foyer_host *host, const struct foyer_addr *dst,
                           uint8_t protocol, bool is_group)
{
    return ports_has_foreign(host) && protocol == WIRE_PROTOCOL_TCP && !is_group &&
           !foyer_addr_is_multicast(dst) && !foyer_addr_is_any(dst) &&
           !foyer_addr_is_loopback(dst) && !ip_is_broadcast(host, dst);
}

static bool is_for_us(const struct foyer_host *host, const struct foyer_addr *dst, bool is_group)
{
    if (foyer_host_has_address(host, dst))
        return !is_group; /* RFC 1122 section 3.3.6: unicast in a link broadcast, SHOULD discard */
    if (foyer_addr_is_multicast(dst))
        return ip_is_joined(host, dst);
    return ip_is_broadcast(host, dst);
}

/* Is it for a DHCP client that has no address yet? The switch knows us by the MAC alone. */
static bool is_for_dhcp(const struct foyer_host *host, const struct wire_ipv4 *ip,
                        const uint8_t *transport, size_t contiguous)
{
    return FOYER_WITH_DHCP && dhcp4_is_expecting(host) && ip->protocol == WIRE_PROTOCOL_UDP &&
           !ip->more_fragments && ip->fragment_offset == 0 && !foyer_addr_is_multicast(&ip->dst) &&
           !foyer_addr_is_loopback(&ip->dst) && contiguous >= WIRE_UDP_SIZE &&
           load_be16(transport + 2) == WIRE_DHCP4_CLIENT_PORT;
}

void ip4_input(struct foyer_host *host, const struct foyer_packet *packet, bool is_group,
               foyer_time_ns now)
{
    const uint8_t *bytes = packet->spans[0].base + WIRE_ETH_SIZE;
    size_t contiguous = packet->spans[0].size - WIRE_ETH_SIZE;
    size_t total = foyer_packet_size(packet) - WIRE_ETH_SIZE;
    struct wire_ipv4 ip;

    /* The header must be in one piece; parse looks at nothing behind it. */
    if (contiguous < WIRE_IPV4_SIZE || contiguous < (size_t)(bytes[0] & 15) * 4) {
        host->stats.in_dropped_malformed++;
        return;
    }
    int parsed = wire_ipv4_parse(bytes, total, &ip);
    if (parsed < 0) {
        if (parsed == -EBADMSG)
            host->stats.in_dropped_checksum++;
        else
            host->stats.in_dropped_malformed++;
        return;
    }
    if (!is_source_valid(host, &ip.src) ||
        !(is_for_us(host, &ip.dst, is_group) ||
          is_intercepted(host, &ip.dst, ip.protocol, is_group) ||
          (!is_group && is_for_dhcp(host, &ip, bytes + parsed, contiguous - (size_t)parsed))) ||
        ip.has_source_route) { /* RFC 7126 section 4.3: drop source-routed packets */
        host->stats.in_dropped_address++;
        return;
    }
    struct rx rx = {.src = ip.src,
                    .dst = ip.dst,
                    .family = 4,
                    .protocol = ip.protocol,
                    .ttl = ip.ttl,
                    .tos = ip.tos};
    rx_fill(&rx, packet, WIRE_ETH_SIZE, WIRE_ETH_SIZE + (size_t)parsed,
            (size_t)ip.total_size - (size_t)parsed);
    if (!ip.more_fragments && ip.fragment_offset == 0) {
        ip_deliver(host, &rx, now);
        return;
    }
    struct fragment fragment = {.src = ip.src,
                                .dst = ip.dst,
                                .id = ip.id,
                                .family = 4,
                                .protocol = ip.protocol,
                                .ttl = ip.ttl,
                                .tos = ip.tos,
                                .more = ip.more_fragments,
                                .offset = ip.fragment_offset,
                                .arrival_ns = packet->arrival_ns};
    if (FOYER_WITH_REASSEMBLY)
        frag_input(host, &fragment, &rx, now);
    else
        host->stats.in_dropped_malformed++;
}

/* Runs the extension headers. False: dropped. */
static bool walk_extensions(struct foyer_host *host, const struct foyer_packet *packet,
                            const struct wire_ipv6 *ip, struct wire_ipv6_chain *ret_chain,
                            foyer_time_ns now)
{
    const uint8_t *bytes = packet->spans[0].base + WIRE_ETH_SIZE;
    size_t contiguous = packet->spans[0].size - WIRE_ETH_SIZE;
    size_t whole = WIRE_IPV6_SIZE + (size_t)ip->payload_size;
    struct wire_ipv6_problem problem;

    int walked =
        wire_ipv6_walk(bytes, contiguous < whole ? contiguous : whole, ip, ret_chain, &problem);
    if (walked >= 0)
        return true;
    host->stats.in_dropped_malformed++;
    if (walked == -EPROTO) {
        struct rx rx = {.src = ip->src, .dst = ip->dst, .family = 6};
        rx_fill(&rx, packet, WIRE_ETH_SIZE, WIRE_ETH_SIZE + WIRE_IPV6_SIZE, ip->payload_size);
        icmp_send_error(host, &rx, WIRE_ICMP6_PARAMETER_PROBLEM, problem.code, problem.pointer,
                        now);
    }
    return false;
}

void ip6_input(struct foyer_host *host, const struct foyer_packet *packet, bool is_group,
               foyer_time_ns now)
{
    const uint8_t *bytes = packet->spans[0].base + WIRE_ETH_SIZE;
    struct wire_ipv6_chain chain;
    struct wire_ipv6 ip;

    if (packet->spans[0].size < WIRE_ETH_SIZE + WIRE_IPV6_SIZE ||
        wire_ipv6_parse(bytes, foyer_packet_size(packet) - WIRE_ETH_SIZE, &ip) < 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    bool is_ours = is_for_us(host, &ip.dst, is_group);
    if (!is_source_valid(host, &ip.src) ||
        !(is_ours || is_intercepted(host, &ip.dst, WIRE_PROTOCOL_TCP, is_group))) {
        host->stats.in_dropped_address++;
        return;
    }
    if (!walk_extensions(host, packet, &ip, &chain, now))
        return;
    if (!is_ours && chain.protocol != WIRE_PROTOCOL_TCP) {
        host->stats.in_dropped_address++;
        return;
    }
    /* Only duplicate address detection has no source (RFC 4291 section 2.5.2). */
    if (foyer_addr_is_any(&ip.src) && chain.protocol != WIRE_PROTOCOL_ICMP6) {
        host->stats.in_dropped_address++;
        return;
    }
    struct rx rx = {.src = ip.src,
                    .dst = ip.dst,
                    .family = 6,
                    .protocol = chain.protocol,
                    .protocol_offset = chain.protocol_offset,
                    .ttl = ip.hop_limit,
                    .tos = ip.traffic_class};
    /* An atomic fragment is nobody's part (RFC 6946 section 4). */
    if (!chain.has_fragment || (chain.fragment_offset == 0 && !chain.more_fragments)) {
        rx_fill(&rx, packet, WIRE_ETH_SIZE, WIRE_ETH_SIZE + WIRE_IPV6_SIZE + (size_t)chain.size,
                (size_t)ip.payload_size - chain.size);
        ip_deliver(host, &rx, now);
        return;
    }
    /* The part begins right behind the Fragment header, whatever was walked after it. */
    size_t part_offset = chain.fragment_header_offset + 8u;
    rx.protocol = bytes[chain.fragment_header_offset];
    rx_fill(&rx, packet, WIRE_ETH_SIZE, WIRE_ETH_SIZE + part_offset,
            WIRE_IPV6_SIZE + (size_t)ip.payload_size - part_offset);
    struct fragment fragment = {.src = ip.src,
                                .dst = ip.dst,
                                .id = chain.fragment_id,
                                .family = 6,
                                .protocol = rx.protocol,
                                .ttl = ip.hop_limit,
                                .tos = ip.traffic_class,
                                .more = chain.more_fragments,
                                .offset = chain.fragment_offset,
                                .header_offset = chain.fragment_header_offset,
                                .arrival_ns = packet->arrival_ns};
    if (FOYER_WITH_REASSEMBLY)
        frag_input(host, &fragment, &rx, now);
    else
        host->stats.in_dropped_malformed++;
}

void ip_input_reassembled(struct foyer_host *host, const uint8_t *bytes, size_t size,
                          uint8_t family, foyer_time_ns arrival_ns, foyer_time_ns now)
{
    struct foyer_packet packet = {
        .spans = {{bytes, size}}, .span_count = 1, .arrival_ns = arrival_ns};
    struct rx rx = {.family = family};
    size_t header_size;

    if (family == 4) {
        struct wire_ipv4 ip;
        int parsed = wire_ipv4_parse(bytes, size, &ip);
        if (parsed < 0)
            return;
        rx.src = ip.src;
        rx.dst = ip.dst;
        rx.protocol = ip.protocol;
        rx.ttl = ip.ttl;
        rx.tos = ip.tos;
        header_size = (size_t)parsed;
    } else {
        struct wire_ipv6 ip;
        struct wire_ipv6_chain chain;
        struct wire_ipv6_problem problem;
        if (wire_ipv6_parse(bytes, size, &ip) < 0 ||
            wire_ipv6_walk(bytes, size, &ip, &chain, &problem) < 0 || chain.has_fragment) {
            host->stats.in_dropped_malformed++;
            return;
        }
        rx.src = ip.src;
        rx.dst = ip.dst;
        rx.protocol = chain.protocol;
        rx.protocol_offset = chain.protocol_offset;
        rx.ttl = ip.hop_limit;
        rx.tos = ip.traffic_class;
        header_size = WIRE_IPV6_SIZE + (size_t)chain.size;
    }
    rx_fill(&rx, &packet, 0, header_size, size - header_size);
    ip_deliver(host, &rx, now);
}

/* ---- down ------------------------------------------------------------------------------------------ */

static uint16_t checksum_offset_of(uint8_t protocol)
{
    switch (protocol) {
    case WIRE_PROTOCOL_TCP:
        return WIRE_TCP_CHECKSUM_OFFSET;
    case WIRE_PROTOCOL_UDP:
        return WIRE_UDP_CHECKSUM_OFFSET;
    default:
        return 2; /* ICMP of both families */
    }
}

/* RFC 2711: a Hop-by-Hop header with the router alert option for MLD, padded. */
static const uint8_t router_alert_v6[8] = {WIRE_PROTOCOL_ICMP6, 0, 5, 2, 0, 0, 1, 0};

void ip4_send_to_group(struct foyer_host *host, const struct foyer_addr *src,
                       const struct foyer_addr *group, uint8_t protocol, const uint8_t *bytes,
                       size_t size)
{
    static const uint8_t router_alert[4] = {148, 4, 0, 0}; /* RFC 2113 section 2.1 */
    size_t header_size = WIRE_IPV4_SIZE + sizeof(router_alert);
    struct control *control = control_push(host, CONTROL_FRAME, WIRE_ETH_SIZE + header_size + size);
    if (control == NULL) {
        host->stats.out_control_full++;
        return;
    }
    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_IPV4};
    ip_group_mac(group, false, eth.dst);
    memcpy(eth.src, host->config.mac, 6);
    struct wire_ipv4 ip = {.tos = 0xc0,
                           .total_size = (uint16_t)(header_size + size),
                           .id = host->ipv4_id++,
                           .ttl = 1,
                           .protocol = protocol,
                           .src = *src,
                           .dst = *group};
    uint8_t *header = control_bytes(control) + wire_eth_emit(control_bytes(control), &eth);
    size_t at = wire_ipv4_emit(header, &ip);
    header[0] = (uint8_t)(4 << 4 | header_size / 4);
    memcpy(header + at, router_alert, sizeof(router_alert));
    store_be16(header + 10, 0);
    store_be16(header + 10, checksum_of(header, header_size));
    memcpy(header + header_size, bytes, size);
}

void ip4_broadcast_unconfigured(struct foyer_host *host, uint8_t protocol, const uint8_t *bytes,
                                size_t size)
{
    struct control *control =
        control_push(host, CONTROL_FRAME, WIRE_ETH_SIZE + WIRE_IPV4_SIZE + size);
    if (control == NULL) {
        host->stats.out_control_full++;
        return;
    }
    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_IPV4};
    struct wire_ipv4 ip = {.total_size = (uint16_t)(WIRE_IPV4_SIZE + size),
                           .id = host->ipv4_id++,
                           .ttl = IP_TTL_DEFAULT,
                           .protocol = protocol,
                           .src = foyer_addr_v4(0, 0, 0, 0),
                           .dst = foyer_addr_v4(255, 255, 255, 255)};
    struct checksum sum;
    ip_group_mac(&ip.dst, true, eth.dst);
    memcpy(eth.src, host->config.mac, 6);
    uint8_t *header = control_bytes(control) + wire_eth_emit(control_bytes(control), &eth);
    uint8_t *transport = header + wire_ipv4_emit(header, &ip);
    memcpy(transport, bytes, size);
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &ip.src, &ip.dst, protocol, (uint32_t)size);
    checksum_add(&sum, transport, size);
    uint16_t value = checksum_finish(&sum);
    store_be16(transport + checksum_offset_of(protocol), value == 0 ? 0xffff : value);
}

void ip6_send_to_group(struct foyer_host *host, const struct foyer_addr *src,
                       const struct foyer_addr *group, uint8_t hop_limit, bool router_alert,
                       const uint8_t *bytes, size_t size)
{
    size_t extension = router_alert ? sizeof(router_alert_v6) : 0;
    assert(size <= IP6_GROUP_MESSAGE_MAX);
    struct control *control =
        control_push(host, CONTROL_FRAME, WIRE_ETH_SIZE + WIRE_IPV6_SIZE + extension + size);
    if (control == NULL) {
        host->stats.out_control_full++;
        return;
    }
    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_IPV6};
    ip_group_mac(group, false, eth.dst);
    memcpy(eth.src, host->config.mac, 6);
    struct wire_ipv6 ip = {.payload_size = (uint16_t)(extension + size),
                           .next_header = router_alert ? 0 : WIRE_PROTOCOL_ICMP6,
                           .hop_limit = hop_limit,
                           .src = *src,
                           .dst = *group};
    uint8_t *frame = control_bytes(control);
    size_t at = wire_eth_emit(frame, &eth);
    at += wire_ipv6_emit(frame + at, &ip);
    memcpy(frame + at, router_alert_v6, extension);
    memcpy(frame + at + extension, bytes, size);
    wire_icmp6_seal(frame + at + extension, size, src, group);
    host->stats.icmp_out++;
}

size_t ip_payload_size(const struct tx *tx)
{
    size_t size = 0;
    for (unsigned i = 0; i < tx->payload_count; i++)
        size += tx->payload[i].size;
    return size;
}

/* Fills the transport checksum, or leaves that to the link. */
static void put_checksum(const struct foyer_host *host, const struct tx *tx,
                         const struct ip_out *out, struct foyer_packet *packet)
{
    uint8_t *transport = tx->header + TX_TRANSPORT_OFFSET;
    uint16_t offset = checksum_offset_of(out->protocol);
    bool is_icmp = out->protocol == WIRE_PROTOCOL_ICMP || out->protocol == WIRE_PROTOCOL_ICMP6;
    struct checksum sum;

    if (tx->without_checksum)
        return;
    checksum_init(&sum);
    if (out->protocol != WIRE_PROTOCOL_ICMP)
        checksum_add_pseudo(&sum, &out->src, &out->dst, out->protocol,
                            (uint32_t)(tx->transport_size + ip_payload_size(tx)));
    if (!is_icmp && (host->config.link_capabilities & FOYER_LINK_TX_CHECKSUM)) {
        store_be16(transport + offset, checksum_fold(&sum));
        packet->flags = FOYER_PACKET_CHECKSUM_PARTIAL;
        packet->checksum_start = (uint16_t)(packet->header_size - tx->transport_size);
        packet->checksum_offset = offset;
        return;
    }
    checksum_add(&sum, transport, tx->transport_size);
    for (unsigned i = 0; i < tx->payload_count; i++)
        checksum_add(&sum, tx->payload[i].base, tx->payload[i].size);
    uint16_t value = checksum_finish(&sum);
    /* RFC 768, RFC 8200 section 8.1: 0 would mean "none". */
    if (value == 0 && out->protocol == WIRE_PROTOCOL_UDP)
        value = 0xffff;
    store_be16(transport + offset, value);
}

/* Writes the IP header right in front of the transport header and returns where it begins. */
static uint8_t *put_ip_header(struct foyer_host *host, const struct tx *tx,
                              const struct ip_out *out)
{
    uint8_t *transport = tx->header + TX_TRANSPORT_OFFSET;
    size_t size = tx->transport_size + ip_payload_size(tx);
    if (foyer_addr_is_v4(&out->dst)) {
        wire_ipv4_put(transport - WIRE_IPV4_SIZE, tx->tos, (uint16_t)(WIRE_IPV4_SIZE + size),
                      host->ipv4_id++, tx->dont_fragment ? WIRE_IPV4_DONT_FRAGMENT : 0, tx->ttl,
                      out->protocol, out->src.bytes + 12, out->dst.bytes + 12);
        return transport - WIRE_IPV4_SIZE;
    }
    struct wire_ipv6 ip = {.traffic_class = tx->tos,
                           .payload_size = (uint16_t)size,
                           .next_header = out->protocol,
                           .hop_limit = tx->ttl,
                           .src = out->src,
                           .dst = out->dst};
    wire_ipv6_emit(transport - WIRE_IPV6_SIZE, &ip);
    return transport - WIRE_IPV6_SIZE;
}

uint8_t *ip_put_headers(struct foyer_host *host, const struct tx *tx, const struct ip_out *out)
{
    uint8_t *start = put_ip_header(host, tx, out) - WIRE_ETH_SIZE;
    memcpy(start, out->mac, WIRE_ETH_ALEN);
    memcpy(start + WIRE_ETH_ALEN, host->config.mac, WIRE_ETH_ALEN);
    store_be16(start + 2 * WIRE_ETH_ALEN,
               foyer_addr_is_v4(&out->dst) ? WIRE_ETHERTYPE_IPV4 : WIRE_ETHERTYPE_IPV6);
    return start;
}

void ip_emit(struct foyer_host *host, const struct tx *tx, const struct ip_out *out,
             struct foyer_packet *ret_packet)
{
    uint8_t *start = ip_put_headers(host, tx, out);
    size_t header_size = (size_t)(tx->header + TX_TRANSPORT_OFFSET - start) + tx->transport_size;
    packet_begin(ret_packet, start, header_size);
    ret_packet->gso_type = tx->gso_type;
    ret_packet->gso_size = tx->gso_size;
    for (unsigned i = 0; i < tx->payload_count; i++) {
        if (tx->payload[i].size > 0)
            ret_packet->spans[ret_packet->span_count++] = tx->payload[i];
    }
    put_checksum(host, tx, out, ret_packet);
    host->stats.out_frames++;
}

void ip_deliver_inside(struct foyer_host *host, const struct tx *tx, const struct ip_out *out,
                       foyer_time_ns now)
{
    const uint8_t *ip_header = put_ip_header(host, tx, out);
    struct rx rx = {.src = out->src,
                    .dst = out->dst,
                    .family = foyer_addr_is_v4(&out->dst) ? 4 : 6,
                    .protocol = out->protocol,
                    .ttl = tx->ttl,
                    .tos = tx->tos,
                    .checksum_valid = true, /* the bytes never left this host */
                    .transport = tx->header + TX_TRANSPORT_OFFSET,
                    .transport_contiguous = tx->transport_size,
                    .size = tx->transport_size + ip_payload_size(tx),
                    .gso_size = tx->gso_type != FOYER_GSO_NONE ? tx->gso_size : 0,
                    .ip_header = ip_header,
                    .arrival_ns = now};
    rx.ip_contiguous = (size_t)(rx.transport - ip_header) + rx.transport_contiguous;
    rx.payload[rx.payload_count++] = (struct foyer_span){rx.transport, tx->transport_size};
    for (unsigned i = 0; i < tx->payload_count; i++) {
        if (tx->payload[i].size > 0)
            rx.payload[rx.payload_count++] = tx->payload[i];
    }
    ip_deliver(host, &rx, now);
}
