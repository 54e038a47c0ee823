#include "lan.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "foyer/features.h"
#include "wire/arp.h"
#include "wire/membership.h"
#include "wire/udp.h"

const uint8_t lan_host_mac[6] = {2, 0, 0, 0, 0, 1};
const uint8_t lan_peer_mac[6] = {2, 0, 0, 0, 0, 2};
const struct foyer_addr lan_host4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1}};
const struct foyer_addr lan_peer4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2}};
const struct foyer_addr lan_host6 = {{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
const struct foyer_addr lan_peer6 = {{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
const struct foyer_addr lan_peer_link_local = {{0xfe, 0x80, [15] = 2}};

struct foyer_addr lan_addr6(uint8_t last)
{
    struct foyer_addr addr = lan_host6;
    addr.bytes[15] = last;
    return addr;
}

struct foyer_addr lan_all_nodes(bool v4)
{
    return v4 ? foyer_addr_v4(224, 0, 0, 1) : (struct foyer_addr){{0xff, 2, [15] = 1}};
}

static void *counted_alloc(void *context, size_t size)
{
    struct lan *lan = context;
    if (lan->fail_after == 0)
        return NULL;
    if (lan->fail_after != UINT32_MAX)
        lan->fail_after--;
    lan->allocated += size;
    return malloc(size);
}

static void counted_free(void *context, void *memory, size_t size)
{
    struct lan *lan = context;
    if (memory == NULL)
        return;
    assert_true(lan->allocated >= size);
    lan->allocated -= size;
    free(memory);
}

struct lan *lan_create(uint32_t link_capabilities, void (*adjust)(struct foyer_host_config *))
{
    struct lan *lan = calloc(1, sizeof(*lan));
    assert_non_null(lan);
    lan->fail_after = UINT32_MAX;
    lan->now = 1000 * FOYER_NS_PER_S;
    struct foyer_host_config config = {.allocator = {counted_alloc, counted_free, lan},
                                       .link_capabilities = link_capabilities};
    memcpy(config.mac, lan_host_mac, 6);
    for (unsigned i = 0; i < sizeof(config.secret); i++)
        config.secret[i] = (uint8_t)(i * 7 + 1);
    if (adjust != NULL)
        adjust(&config);
    lan->host = foyer_host_create(&config, lan->now);
    assert_non_null(lan->host);
    assert_int_equal(foyer_host_add_address(lan->host, &lan_host4, 24), 0);
    if (FOYER_WITH_IPV6)
        assert_int_equal(foyer_host_add_address(lan->host, &lan_host6, 64), 0);
    return lan;
}

static void forget_frames(struct lan *lan)
{
    for (unsigned i = 0; i < lan->frame_count; i++)
        free(lan->frames[i].bytes);
    lan->frame_count = lan->frame_next = 0;
}

void lan_destroy(struct lan *lan)
{
    forget_frames(lan);
    foyer_host_destroy(lan->host);
    size_t left = lan->allocated;
    free(lan);
    assert_int_equal(left, 0);
}

int lan_setup(void **state)
{
    *state = lan_create(0, NULL);
    return 0;
}

int lan_teardown(void **state)
{
    lan_destroy(*state);
    return 0;
}

void lan_input_flags(struct lan *lan, const uint8_t *frame, size_t size, uint8_t flags)
{
    /* Exactly as large as the frame, so that the sanitizer sees any read past its end. */
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, frame, size);
    struct foyer_packet packet = {
        .spans = {{copy, size}}, .span_count = 1, .flags = flags, .arrival_ns = lan->now};
    foyer_host_input(lan->host, &packet, 1, lan->now);
    free(copy);
}

void lan_input(struct lan *lan, const uint8_t *frame, size_t size)
{
    lan_input_flags(lan, frame, size, 0);
}

void lan_wait(struct lan *lan, foyer_time_ns ns)
{
    foyer_time_ns end = lan->now + ns;
    for (;;) {
        foyer_time_ns deadline = foyer_host_deadline(lan->host);
        if (deadline > end)
            break;
        lan->now = deadline > lan->now ? deadline : lan->now;
        foyer_host_tick(lan->host, lan->now);
    }
    lan->now = end;
    foyer_host_tick(lan->host, lan->now);
}

void lan_live(struct lan *lan, foyer_time_ns ns)
{
    foyer_time_ns end = lan->now + ns;
    while (lan->now < end) {
        lan_wait(lan, end - lan->now < FOYER_NS_PER_S ? end - lan->now : FOYER_NS_PER_S);
        lan_pull(lan);
    }
}

unsigned lan_pull(struct lan *lan)
{
    struct foyer_packet packets[64];
    size_t count;

    forget_frames(lan);
    while ((count = foyer_host_output(lan->host, packets, 64, lan->now)) > 0) {
        for (size_t i = 0; i < count; i++) {
            assert_true(lan->frame_count < LAN_FRAMES_MAX);
            struct lan_frame *frame = &lan->frames[lan->frame_count++];
            frame->size = foyer_packet_size(&packets[i]);
            frame->bytes = malloc(frame->size);
            assert_non_null(frame->bytes);
            frame->flags = packets[i].flags;
            frame->gso_type = packets[i].gso_type;
            frame->gso_size = packets[i].gso_size;
            size_t at = 0;
            for (unsigned s = 0; s < packets[i].span_count; s++) {
                memcpy(frame->bytes + at, packets[i].spans[s].base, packets[i].spans[s].size);
                at += packets[i].spans[s].size;
            }
        }
    }
    return lan->frame_count;
}

const struct lan_frame *lan_next(struct lan *lan)
{
    return lan->frame_next < lan->frame_count ? &lan->frames[lan->frame_next++] : NULL;
}

struct foyer_host_stats lan_stats(const struct lan *lan)
{
    struct foyer_host_stats stats;
    foyer_host_stats(lan->host, &stats);
    return stats;
}

/* ---- builders -------------------------------------------------------------------------------------- */

size_t lan_eth(uint8_t *frame, const uint8_t dst[6], uint16_t ethertype)
{
    struct wire_eth eth = {.ethertype = ethertype};
    memcpy(eth.dst, dst, 6);
    memcpy(eth.src, lan_peer_mac, 6);
    return wire_eth_emit(frame, &eth);
}

static void group_mac(const struct foyer_addr *dst, uint8_t mac[6])
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    memcpy(mac, lan_host_mac, 6);
    if (foyer_addr_is_v4(dst)) {
        if (dst->bytes[15] == 255)
            memcpy(mac, all, 6);
        else if (foyer_addr_is_multicast(dst))
            memcpy(mac, (const uint8_t[]){1, 0, 0x5e, 0, 0, dst->bytes[15]}, 6);
    } else if (foyer_addr_is_multicast(dst)) {
        mac[0] = mac[1] = 0x33;
        memcpy(mac + 2, dst->bytes + 12, 4);
    }
}

size_t lan_ip(uint8_t *frame, const struct foyer_addr *src, const struct foyer_addr *dst,
              uint8_t protocol, size_t size)
{
    uint8_t mac[6];
    group_mac(dst, mac);
    if (foyer_addr_is_v4(dst)) {
        lan_eth(frame, mac, WIRE_ETHERTYPE_IPV4);
        struct wire_ipv4 ip = {.total_size = (uint16_t)(WIRE_IPV4_SIZE + size),
                               .ttl = 64,
                               .protocol = protocol,
                               .src = *src,
                               .dst = *dst};
        return WIRE_ETH_SIZE + wire_ipv4_emit(frame + WIRE_ETH_SIZE, &ip);
    }
    lan_eth(frame, mac, WIRE_ETHERTYPE_IPV6);
    struct wire_ipv6 ip = {.payload_size = (uint16_t)size,
                           .next_header = protocol,
                           .hop_limit = 255,
                           .src = *src,
                           .dst = *dst};
    return WIRE_ETH_SIZE + wire_ipv6_emit(frame + WIRE_ETH_SIZE, &ip);
}

void lan_seal(uint8_t *frame, size_t size)
{
    struct lan_frame whole = {.bytes = frame, .size = size};
    struct lan_view view;
    struct checksum sum;
    assert_true(lan_view(&whole, &view));
    size_t offset = view.protocol == WIRE_PROTOCOL_UDP ? 6 : 2;
    if (view.protocol == WIRE_PROTOCOL_TCP)
        offset = 16;
    size_t at = (size_t)(view.transport - frame) + offset;
    store_be16(frame + at, 0);
    checksum_init(&sum);
    if (view.protocol != WIRE_PROTOCOL_ICMP)
        checksum_add_pseudo(&sum, &view.src, &view.dst, view.protocol, (uint32_t)view.size);
    checksum_add(&sum, view.transport, view.size);
    uint16_t value = checksum_finish(&sum);
    store_be16(frame + at, value == 0 && view.protocol == WIRE_PROTOCOL_UDP ? 0xffff : value);
}

void lan_seal_ipv4(uint8_t *frame)
{
    uint8_t *ip = frame + WIRE_ETH_SIZE;
    store_be16(ip + 10, 0);
    store_be16(ip + 10, checksum_of(ip, (ip[0] & 15u) * 4));
}

size_t lan_membership(uint8_t *frame, const struct foyer_addr *dst, const uint8_t *message,
                      size_t size)
{
    static const uint8_t router_alert[8] = {WIRE_PROTOCOL_ICMP6, 0, 5, 2, 0, 0, 1, 0};
    size_t at;
    if (foyer_addr_is_v4(dst)) {
        at = lan_ip(frame, &lan_peer4, dst, WIRE_PROTOCOL_IGMP, size);
        frame[WIRE_ETH_SIZE + 8] = 1;
        lan_seal_ipv4(frame);
        memcpy(frame + at, message, size);
        wire_igmp_seal(frame + at, size);
        return at + size;
    }
    at = lan_ip(frame, &lan_peer_link_local, dst, 0, sizeof(router_alert) + size);
    frame[WIRE_ETH_SIZE + 7] = 1;
    memcpy(frame + at, router_alert, sizeof(router_alert));
    at += sizeof(router_alert);
    memcpy(frame + at, message, size);
    wire_icmp6_seal(frame + at, size, &lan_peer_link_local, dst);
    return at + size;
}

size_t lan_query(uint8_t *message, bool v4, const struct foyer_addr *group, uint32_t max_ms)
{
    size_t size = v4 ? 8 : 24, addr_size = v4 ? 4 : 16;
    memset(message, 0, size);
    message[0] = v4 ? WIRE_IGMP_QUERY : WIRE_MLD_QUERY;
    if (v4)
        message[1] = (uint8_t)(max_ms / 100);
    else
        store_be16(message + 4, (uint16_t)max_ms);
    if (group != NULL)
        memcpy(message + size - addr_size, group->bytes + 16 - addr_size, addr_size);
    return size;
}

size_t lan_udp(uint8_t *frame, const struct foyer_addr *src, uint16_t src_port,
               const struct foyer_addr *dst, uint16_t dst_port, const void *payload, size_t size)
{
    struct wire_udp udp = {
        .src_port = src_port, .dst_port = dst_port, .size = (uint16_t)(WIRE_UDP_SIZE + size)};
    size_t at = lan_ip(frame, src, dst, WIRE_PROTOCOL_UDP, WIRE_UDP_SIZE + size);
    at += wire_udp_emit(frame + at, &udp);
    memcpy(frame + at, payload, size);
    lan_seal(frame, at + size);
    return at + size;
}

size_t lan_icmp(uint8_t *frame, const struct foyer_addr *src, const struct foyer_addr *dst,
                uint8_t type, uint8_t code, uint32_t word, const void *rest, size_t size)
{
    bool is_v4 = foyer_addr_is_v4(dst);
    size_t at = lan_ip(frame, src, dst, is_v4 ? WIRE_PROTOCOL_ICMP : WIRE_PROTOCOL_ICMP6, 8 + size);
    frame[at] = type;
    frame[at + 1] = code;
    store_be32(frame + at + 4, word);
    memcpy(frame + at + 8, rest, size);
    lan_seal(frame, at + 8 + size);
    return at + 8 + size;
}

size_t lan_arp(uint8_t *frame, uint16_t operation, const struct foyer_addr *sender,
               const struct foyer_addr *target, const uint8_t dst[6])
{
    struct wire_arp arp = {.operation = operation, .sender_addr = *sender, .target_addr = *target};
    memcpy(arp.sender_mac, lan_peer_mac, 6);
    if (operation == WIRE_ARP_REPLY)
        memcpy(arp.target_mac, lan_host_mac, 6);
    size_t at = lan_eth(frame, dst, WIRE_ETHERTYPE_ARP);
    return at + wire_arp_emit(frame + at, &arp);
}

static size_t build_ndp(uint8_t *frame, const struct wire_ndp *ndp, const struct foyer_addr *src,
                        const struct foyer_addr *dst, uint8_t hop_limit)
{
    uint8_t bytes[WIRE_NDP_SIZE_MAX];
    size_t size = wire_ndp_emit(bytes, ndp);
    size_t at = lan_ip(frame, src, dst, WIRE_PROTOCOL_ICMP6, size);

    memcpy(frame + at, bytes, size);
    frame[WIRE_ETH_SIZE + 7] = hop_limit;
    lan_seal(frame, at + size);
    return at + size;
}

void lan_send_ndp(struct lan *lan, const struct wire_ndp *ndp, const struct foyer_addr *src,
                  const struct foyer_addr *dst, uint8_t hop_limit)
{
    uint8_t frame[WIRE_ETH_SIZE + WIRE_IPV6_SIZE + WIRE_NDP_SIZE_MAX];

    lan_input(lan, frame, build_ndp(frame, ndp, src, dst, hop_limit));
}

size_t lan_advertise(uint8_t *frame, const struct foyer_addr *target, bool solicited)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                           .target = *target,
                           .is_solicited = solicited,
                           .is_override = true,
                           .has_target_mac = true};
    memcpy(ndp.target_mac, lan_peer_mac, 6);
    return build_ndp(frame, &ndp, target, &lan_host6, 255);
}

void lan_introduce_peer(struct lan *lan)
{
    uint8_t frame[256];
    lan_pull(lan); /* what time has brought up */
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &lan_peer4, &lan_host4, lan_host_mac));
    struct wire_ndp ndp = {
        .type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION, .target = lan_host6, .has_source_mac = true};
    memcpy(ndp.source_mac, lan_peer_mac, 6);
    lan_send_ndp(lan, &ndp, &lan_peer6, &lan_host6, 255);
    assert_int_equal(lan_pull(lan), 2); /* both answers */
}

bool lan_view(const struct lan_frame *frame, struct lan_view *ret_view)
{
    struct wire_eth eth;
    if (wire_eth_parse(frame->bytes, frame->size, &eth) < 0)
        return false;
    const uint8_t *bytes = frame->bytes + WIRE_ETH_SIZE;
    size_t size = frame->size - WIRE_ETH_SIZE;
    if (eth.ethertype == WIRE_ETHERTYPE_IPV4) {
        struct wire_ipv4 ip;
        int parsed = wire_ipv4_parse(bytes, size, &ip);
        assert_true(parsed > 0);
        *ret_view = (struct lan_view){.is_v4 = true,
                                      .protocol = ip.protocol,
                                      .src = ip.src,
                                      .dst = ip.dst,
                                      .transport = bytes + parsed,
                                      .size = (size_t)ip.total_size - (size_t)parsed,
                                      .ttl = ip.ttl,
                                      .dont_fragment = ip.dont_fragment,
                                      .more_fragments = ip.more_fragments,
                                      .fragment_offset = ip.fragment_offset};
        return true;
    }
    if (eth.ethertype != WIRE_ETHERTYPE_IPV6)
        return false;
    struct wire_ipv6 ip;
    struct wire_ipv6_chain chain;
    struct wire_ipv6_problem problem;
    assert_true(wire_ipv6_parse(bytes, size, &ip) > 0);
    assert_true(wire_ipv6_walk(bytes, size, &ip, &chain, &problem) >= 0);
    *ret_view = (struct lan_view){.protocol = chain.protocol,
                                  .src = ip.src,
                                  .dst = ip.dst,
                                  .transport = bytes + WIRE_IPV6_SIZE + chain.size,
                                  .size = (size_t)ip.payload_size - chain.size,
                                  .ttl = ip.hop_limit,
                                  .more_fragments = chain.more_fragments,
                                  .fragment_offset = chain.fragment_offset};
    return true;
}

foyer_socket lan_open(struct lan *lan, enum foyer_family family, enum foyer_protocol protocol)
{
    foyer_socket socket;
    assert_int_equal(foyer_socket_open(lan->host, family, protocol, 1, &socket), 0);
    return socket;
}

foyer_socket lan_bound(struct lan *lan, enum foyer_family family, enum foyer_protocol protocol,
                       const struct foyer_addr *addr, uint16_t port)
{
    foyer_socket socket = lan_open(lan, family, protocol);
    struct foyer_endpoint local = {*addr, port};
    assert_int_equal(foyer_socket_bind(lan->host, socket, &local, NULL), 0);
    return socket;
}
