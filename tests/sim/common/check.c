/* Looks at every frame that a host sends as a strict receiver and its link would. */
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "common/sim.h"
#include "link/link.h"
#include "wire/arp.h"
#include "wire/eth.h"
#include "wire/icmp.h"
#include "wire/icmp6.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/tcp.h"
#include "wire/udp.h"

struct checked {
    const struct sim_host *host;
    const struct sim *sim;
    const struct foyer_packet *packet;
    uint8_t bytes[LINK_FRAME_MAX];
    size_t size;
    struct foyer_addr src, dst;
    uint8_t protocol;
    bool is_v4;
    bool is_fragment; /* the transport part can't be looked at */
    size_t transport; /* offset */
};

static uint16_t transport_sum(const struct checked *frame, bool only_pseudo)
{
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &frame->src, &frame->dst, frame->protocol,
                        (uint32_t)(frame->size - frame->transport));
    if (only_pseudo)
        return checksum_fold(&sum);
    checksum_add(&sum, frame->bytes + frame->transport, frame->size - frame->transport);
    return checksum_finish(&sum);
}

/* The checksum is there and right, or left to a link that takes it. */
static void check_checksum(const struct checked *frame, size_t offset)
{
    if ((frame->packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) == 0) {
        if (transport_sum(frame, false) != 0)
            sim_fail(frame->sim, "host %u sends a wrong checksum", frame->host->index);
        return;
    }
    SIM_CHECK(frame->sim, (frame->host->capabilities & FOYER_LINK_TX_CHECKSUM) != 0);
    SIM_CHECK(frame->sim, frame->packet->checksum_start == frame->transport);
    SIM_CHECK(frame->sim, frame->packet->checksum_offset == offset);
    SIM_CHECK(frame->sim,
              load_be16(frame->bytes + frame->transport + offset) == transport_sum(frame, true));
}

static void check_tcp(const struct checked *frame)
{
    const struct sim *sim = frame->sim;
    const uint8_t *bytes = frame->bytes + frame->transport;
    size_t size = frame->size - frame->transport;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    SIM_CHECK(sim, wire_tcp_parse(bytes, size, &tcp) > 0);
    SIM_CHECK(sim, wire_tcp_options_parse(bytes + WIRE_TCP_SIZE,
                                          (size_t)tcp.header_size - WIRE_TCP_SIZE, &options) >= 0);
    check_checksum(frame, WIRE_TCP_CHECKSUM_OFFSET);
    SIM_CHECK(sim, tcp.src_port != 0 && tcp.dst_port != 0);
    bool syn = (tcp.flags & WIRE_TCP_SYN) != 0, ack = (tcp.flags & WIRE_TCP_ACK) != 0;
    bool rst = (tcp.flags & WIRE_TCP_RST) != 0;
    SIM_CHECK(sim, !syn || (tcp.flags & (WIRE_TCP_FIN | WIRE_TCP_RST)) == 0);
    SIM_CHECK(sim, syn || rst || ack); /* RFC 9293 section 3.1: ACK is always set but on SYN */
    SIM_CHECK(sim, !options.has_mss || syn);
    SIM_CHECK(sim, !options.has_window_scale || syn); /* RFC 7323 section 2.2 */
    SIM_CHECK(sim, !syn || options.has_mss);          /* RFC 9293 MUST-5: SHOULD-5 on IPv4 */

    size_t payload = size - tcp.header_size;
    const struct foyer_packet *packet = frame->packet;
    SIM_CHECK(sim, packet->header_size == 0 ||
                       packet->header_size == frame->transport + tcp.header_size);
    if (packet->gso_type == FOYER_GSO_NONE)
        return;
    SIM_CHECK(sim, packet->gso_type == (frame->is_v4 ? FOYER_GSO_TCPV4 : FOYER_GSO_TCPV6));
    SIM_CHECK(
        sim, (frame->host->capabilities & (frame->is_v4 ? FOYER_LINK_TSO4 : FOYER_LINK_TSO6)) != 0);
    SIM_CHECK(sim, packet->gso_size > 0 && payload > packet->gso_size);
    SIM_CHECK(sim, (packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0);
    SIM_CHECK(sim, !syn && !rst);
    SIM_CHECK(sim, frame->transport + tcp.header_size + packet->gso_size <=
                       (size_t)frame->host->mtu + WIRE_ETH_SIZE);
}

static void check_transport(const struct checked *frame)
{
    const struct sim *sim = frame->sim;
    const uint8_t *bytes = frame->bytes + frame->transport;
    size_t size = frame->size - frame->transport;
    struct wire_udp udp;
    switch (frame->protocol) {
    case WIRE_PROTOCOL_TCP:
        check_tcp(frame);
        break;
    case WIRE_PROTOCOL_UDP:
        SIM_CHECK(sim, wire_udp_parse(bytes, size, &udp) > 0);
        SIM_CHECK(sim, udp.size == size);
        SIM_CHECK(sim, udp.dst_port != 0);
        SIM_CHECK(sim, udp.checksum != 0); /* RFC 1122 section 4.1.3.4 */
        check_checksum(frame, WIRE_UDP_CHECKSUM_OFFSET);
        break;
    case WIRE_PROTOCOL_ICMP:
        SIM_CHECK(sim, frame->is_v4 && wire_icmp_checksum_ok(bytes, size));
        break;
    case WIRE_PROTOCOL_ICMP6:
        SIM_CHECK(sim, !frame->is_v4);
        SIM_CHECK(sim, wire_icmp6_checksum_ok(bytes, size, &frame->src, &frame->dst));
        break;
    default:
        sim_fail(sim, "host %u sends protocol %u", frame->host->index, frame->protocol);
    }
}

static void check_extensions(struct checked *frame, const uint8_t *packet, size_t size,
                             const struct wire_ipv6 *ip)
{
    struct wire_ipv6_chain chain;
    struct wire_ipv6_problem problem;
    SIM_CHECK(frame->sim, wire_ipv6_walk(packet, size, ip, &chain, &problem) == chain.size);
    frame->protocol = chain.protocol;
    frame->transport += chain.size;
    frame->is_fragment = chain.has_fragment;
}

static void check_ip(struct checked *frame, uint16_t ethertype)
{
    const struct sim *sim = frame->sim;
    const uint8_t *bytes = frame->bytes + WIRE_ETH_SIZE;
    size_t size = frame->size - WIRE_ETH_SIZE;
    if (ethertype == WIRE_ETHERTYPE_IPV4) {
        struct wire_ipv4 ip;
        SIM_CHECK(sim, wire_ipv4_parse(bytes, size, &ip) == WIRE_IPV4_SIZE);
        SIM_CHECK(sim, ip.total_size == size);
        SIM_CHECK(sim, ip.ttl > 0);
        frame->is_fragment = ip.more_fragments || ip.fragment_offset != 0;
        frame->src = ip.src;
        frame->dst = ip.dst;
        frame->protocol = ip.protocol;
        frame->is_v4 = true;
        frame->transport = WIRE_ETH_SIZE + WIRE_IPV4_SIZE;
    } else {
        struct wire_ipv6 ip;
        SIM_CHECK(sim, wire_ipv6_parse(bytes, size, &ip) == WIRE_IPV6_SIZE);
        SIM_CHECK(sim, (size_t)ip.payload_size + WIRE_IPV6_SIZE == size);
        SIM_CHECK(sim, ip.hop_limit > 0);
        frame->src = ip.src;
        frame->dst = ip.dst;
        frame->protocol = ip.next_header;
        frame->transport = WIRE_ETH_SIZE + WIRE_IPV6_SIZE;
        check_extensions(frame, bytes, size, &ip);
    }
    SIM_CHECK(sim, frame->host->may_send_from_strange ||
                       foyer_host_has_address(frame->host->host, &frame->src) ||
                       (!frame->is_v4 && foyer_addr_is_any(&frame->src)));
    SIM_CHECK(sim, !foyer_addr_is_loopback(&frame->src) && !foyer_addr_is_loopback(&frame->dst));
    SIM_CHECK(sim, !foyer_addr_is_any(&frame->dst));
    SIM_CHECK(sim, frame->packet->gso_type != FOYER_GSO_NONE || size <= frame->host->mtu);
    /* Only datagrams that are larger than the link are sent in pieces; TCP knows better. */
    if (frame->is_fragment)
        SIM_CHECK(sim, frame->protocol != WIRE_PROTOCOL_TCP);
    else
        check_transport(frame);
}

void sim_check_packet(const struct sim_host *host, const struct foyer_packet *packet)
{
    static struct checked frame; /* large; the simulator has one thread */
    const struct sim *sim = host->sim;
    SIM_CHECK(sim, packet->span_count >= 1 && packet->span_count <= FOYER_PACKET_SPANS_MAX);
    SIM_CHECK(sim, foyer_packet_size(packet) <= sizeof(frame.bytes));
    frame = (struct checked){.host = host, .sim = sim, .packet = packet};
    for (unsigned i = 0; i < packet->span_count; i++) {
        if (packet->spans[i].size > 0)
            memcpy(frame.bytes + frame.size, packet->spans[i].base, packet->spans[i].size);
        frame.size += packet->spans[i].size;
    }

    struct wire_eth eth;
    SIM_CHECK(sim, wire_eth_parse(frame.bytes, frame.size, &eth) > 0);
    SIM_CHECK(sim, memcmp(eth.src, host->mac, 6) == 0);
    if (eth.ethertype == WIRE_ETHERTYPE_ARP) {
        struct wire_arp arp;
        SIM_CHECK(
            sim, wire_arp_parse(frame.bytes + WIRE_ETH_SIZE, frame.size - WIRE_ETH_SIZE, &arp) > 0);
        SIM_CHECK(sim, memcmp(arp.sender_mac, host->mac, 6) == 0);
        return;
    }
    SIM_CHECK(sim, eth.ethertype == WIRE_ETHERTYPE_IPV4 || eth.ethertype == WIRE_ETHERTYPE_IPV6);
    check_ip(&frame, eth.ethertype);
}
