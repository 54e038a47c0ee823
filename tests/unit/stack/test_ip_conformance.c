/*
 * Requirements of RFC 1122, 4861, 4862 and 8200 that no other test is about. docs/rfc.md lists them
 * all.
 */
#include "lan.h"

#include <errno.h>

#include "base/bytes.h"
#include "wire/icmp.h"

static uint8_t frame[70000];
static const struct foyer_addr unspecified;

static foyer_socket receiver(struct lan *lan)
{
    return lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &unspecified, 53);
}

/* ---- headers --------------------------------------------------------------------------------------- */

/* [test RFC1122 3.2.1.7b] [test RFC8200 3a] */
static void small_ttl_is_no_reason_to_drop(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = receiver(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        for (uint8_t ttl = 0; ttl < 3; ttl++) {
            struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
            size_t size = lan_udp(frame, &src, 9, &dst, 53, "x", 1);
            frame[WIRE_ETH_SIZE + (v4 ? 8 : 7)] = ttl;
            if (v4)
                lan_seal_ipv4(frame);
            lan_input(lan, frame, size);
            uint8_t byte;
            assert_int_equal(foyer_socket_recv(lan->host, socket, &byte, 1, lan->now), 1);
        }
    }
}

/* [test RFC1122 3.2.1.7a 4.1.3.5b 4.1.3.6b 4.1.4a] */
static void datagrams_go_out_as_the_program_says(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr second4 = foyer_addr_v4(10, 0, 0, 11), second6 = lan_addr6(11);
    struct foyer_addr nobodys4 = foyer_addr_v4(10, 0, 0, 77), nobodys6 = lan_addr6(77);
    assert_int_equal(foyer_host_add_address(lan->host, &second4, 24), 0);
    assert_int_equal(foyer_host_add_address(lan->host, &second6, 64), 0);
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        enum foyer_family family = v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6;
        const struct foyer_addr *second = v4 ? &second4 : &second6;
        foyer_socket socket = lan_bound(lan, family, FOYER_UDP, second, 60);
        struct foyer_endpoint remote = {LAN_SRC(v4), 9};
        assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_TTL, 0), -EINVAL);
        assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_TTL, 9), 0);
        assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_TOS, 0x48), 0);
        foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
        assert_int_equal(lan_pull(lan), 1);
        const uint8_t *ip = lan->frames[0].bytes + WIRE_ETH_SIZE;
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_true(foyer_addr_eq(&view.src, second));
        assert_int_equal(view.ttl, 9);
        assert_int_equal(v4 ? ip[1] : load_be16(ip) >> 4 & 0xff, 0x48);
        struct foyer_endpoint nobodys = {v4 ? nobodys4 : nobodys6, 61};
        assert_int_equal(
            foyer_socket_bind(lan->host, lan_open(lan, family, FOYER_UDP), &nobodys, NULL),
            -EADDRNOTAVAIL);
    }
}

/* RFC 7126 section 4.3; other options are passed over. [test RFC1122 3.2.1.8e] */
static void source_routed_packets_are_dropped(void **state)
{
    struct lan *lan = *state;
    static const struct {
        uint8_t options[8];
        bool is_taken;
    } rows[] = {
        {{1, 1, 1, 1, 1, 1, 1, 0}, true},     {{68, 8, 5, 0, 0, 0, 0, 0}, true},
        {{136, 4, 0, 9, 0, 0, 0, 0}, true}, /* a stream's identifier */
        {{131, 7, 4, 10, 0, 0, 2, 0}, false}, {{1, 137, 7, 4, 10, 0, 0, 2}, false},
    };
    foyer_socket socket = receiver(lan);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t size = lan_udp(frame, &lan_peer4, 9, &lan_host4, 53, "x", 1);
        uint8_t *ip = frame + WIRE_ETH_SIZE, byte;
        memmove(ip + 28, ip + 20, size - WIRE_ETH_SIZE - WIRE_IPV4_SIZE);
        memcpy(ip + 20, rows[i].options, 8);
        ip[0] = 0x47;
        store_be16(ip + 2, (uint16_t)(size - WIRE_ETH_SIZE + 8));
        lan_seal_ipv4(frame);
        lan_input(lan, frame, size + 8);
        int64_t got = foyer_socket_recv(lan->host, socket, &byte, 1, lan->now);
        if (got != (rows[i].is_taken ? 1 : -EAGAIN))
            fail_msg("row %zu: %lld", i, (long long)got);
    }
    assert_int_equal(lan_stats(lan).in_dropped_address, 2);
}

/* RFC 768, RFC 8200 section 8.1: zero would mean that there is none. [test RFC8200 8.1b] */
static void ipv6_checksum_of_zero_becomes_ffff(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &lan_host6, 53);
    struct foyer_endpoint remote = {lan_peer6, 4000};
    uint8_t payload[2] = {0, 0};
    struct lan_view view;
    lan_introduce_peer(lan);
    foyer_socket_send_to(lan->host, socket, payload, 2, &remote, lan->now);
    lan_pull(lan);
    assert_true(lan_view(lan_next(lan), &view));
    memcpy(payload, view.transport + 6, 2); /* with it as payload the sum comes out as zero */
    foyer_socket_send_to(lan->host, socket, payload, 2, &remote, lan->now);
    lan_pull(lan);
    assert_true(lan_view(lan_next(lan), &view));
    assert_int_equal(load_be16(view.transport + 6), 0xffff);
}

/* ---- ICMP -------------------------------------------------------------------------------------------- */

/* Among them time stamp, information and address mask requests, and errors to come.
 * [test RFC1122 3.2.2a 3.2.2.7a 3.2.2.9a] */
static void unknown_icmp_is_discarded_in_silence(void **state)
{
    struct lan *lan = *state;
    static const uint8_t types4[] = {1, 2, 6, 7, 13, 15, 16, 17, 18, 19, 30, 37, 41, 200, 255};
    static const uint8_t types6[] = {0, 5, 50, 100, 127, 138, 139, 144, 154, 200, 255};
    static const uint8_t rest[64] = {0x45};
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        const uint8_t *types = v4 ? types4 : types6;
        size_t count = v4 ? sizeof(types4) : sizeof(types6);
        for (size_t i = 0; i < count; i++) {
            struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
            lan_input(lan, frame, lan_icmp(frame, &src, &dst, types[i], 0, 1, rest, sizeof(rest)));
            if (lan_pull(lan) != 0)
                fail_msg("v4 %d type %u is answered", v4, types[i]);
        }
    }
}

static void expect_error(struct lan *lan, uint8_t type, uint8_t code, uint32_t word)
{
    struct lan_view view;
    assert_int_equal(lan_pull(lan), 1);
    const uint8_t *ip = lan->frames[0].bytes + WIRE_ETH_SIZE;
    assert_true(lan_view(lan_next(lan), &view));
    assert_int_equal(view.transport[0], type);
    assert_int_equal(view.transport[1], code);
    assert_int_equal(load_be32(view.transport + 4), word);
    assert_int_equal(view.is_v4 ? ip[1] : load_be16(ip) >> 4 & 0xff, 0);
}

/* [test RFC1122 3.2.2.1a 3.2.2d] [test RFC8200 4b] */
static void unknown_protocol_is_answered(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    size_t at = lan_ip(frame, &lan_peer4, &lan_host4, 200, 16);
    memset(frame + at, 0, 16);
    lan_input(lan, frame, at + 16);
    expect_error(lan, 3, 2, 0);
    at = lan_ip(frame, &lan_peer6, &lan_host6, 200, 16);
    memset(frame + at, 0, 16);
    lan_input(lan, frame, at + 16);
    expect_error(lan, 4, 1, 6); /* the fixed header's next header */
    at = lan_ip(frame, &lan_peer6, &lan_host6, 60, 24);
    memset(frame + at, 0, 24);
    frame[at] = 200;
    frame[at + 2] = 1, frame[at + 3] = 4;
    lan_input(lan, frame, at + 24);
    expect_error(lan, 4, 1, 40); /* the destination options' */
    uint64_t sent = lan_stats(lan).icmp_out;
    struct foyer_addr all = foyer_addr_v4(10, 0, 0, 255);
    at = lan_ip(frame, &lan_peer4, &all, 200, 16);
    lan_input(lan, frame, at + 16);
    assert_int_equal(lan_stats(lan).icmp_out, sent);
    assert_int_equal(lan_pull(lan), 0);
}

/* [test RFC8200 4.7a] */
static void nothing_behind_no_next_header_is_looked_at(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    size_t at = lan_ip(frame, &lan_peer6, &lan_host6, 59, 32);
    memset(frame + at, 0xff, 32);
    lan_input(lan, frame, at + 32);
    assert_int_equal(lan_pull(lan), 0);
}

/* [test RFC1122 3.2.2g] */
static void no_error_where_the_source_is_no_single_host(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr sources[] = {
        foyer_addr_v4(0, 0, 0, 0),
        foyer_addr_v4(10, 0, 0, 255),
        foyer_addr_v4(224, 0, 0, 9),
        foyer_addr_v4(255, 255, 255, 255),
        foyer_addr_v4(127, 0, 0, 1),
        foyer_addr_v4(250, 0, 0, 1),
        {{0}},
        {{0xff, 2, [15] = 1}},
    };
    lan_introduce_peer(lan);
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        const struct foyer_addr *dst = foyer_addr_is_v4(&sources[i]) ? &lan_host4 : &lan_host6;
        lan_input(lan, frame, lan_udp(frame, &sources[i], 9, dst, 99, "x", 1));
        if (lan_pull(lan) != 0)
            fail_msg("row %zu is answered", i);
    }
}

/* A gateway that was used is left alone from then on. [test RFC1122 3.3.1.4c] */
static void gateways_are_not_pinged(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr zero = foyer_addr_v4(0, 0, 0, 0);
    struct foyer_endpoint remote = {foyer_addr_v4(8, 8, 8, 8), 9};
    assert_int_equal(foyer_host_add_route(lan->host, &zero, 0, &lan_peer4), 0);
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
    assert_int_equal(lan_pull(lan), 1); /* the question */
    lan_input(lan, frame, lan_arp(frame, 2, &lan_peer4, &lan_host4, lan_host_mac));
    assert_int_equal(lan_pull(lan), 1);
    lan_wait(lan, 7200 * FOYER_NS_PER_S);
    assert_int_equal(lan_pull(lan), 0);
}

/* ---- IPv6 fragments ------------------------------------------------------------------------------------ */

struct part {
    struct foyer_addr src;
    uint32_t id;
    uint16_t offset;
    bool more;
    uint8_t next_header;
    const uint8_t *bytes;
    size_t size;
};

static void input_part(struct lan *lan, const struct part *part)
{
    size_t at = lan_ip(frame, &part->src, &lan_host6, 44, 8 + part->size);
    frame[at] = part->next_header;
    frame[at + 1] = 0;
    store_be16(frame + at + 2, (uint16_t)(part->offset | part->more));
    store_be32(frame + at + 4, part->id);
    memcpy(frame + at + 8, part->bytes, part->size);
    lan_input(lan, frame, at + 8 + part->size);
}

/* A UDP datagram from port 9 to 53 whose payload is size times fill. */
static size_t udp_bytes(uint8_t *bytes, const struct foyer_addr *src, uint8_t fill, size_t size)
{
    static uint8_t payload[2000];
    memset(payload, fill, size);
    size_t whole = lan_udp(frame, src, 9, &lan_host6, 53, payload, size);
    memcpy(bytes, frame + WIRE_ETH_SIZE + WIRE_IPV6_SIZE, whole - WIRE_ETH_SIZE - WIRE_IPV6_SIZE);
    return whole - WIRE_ETH_SIZE - WIRE_IPV6_SIZE;
}

/* RFC 6946: also where others of that identification wait. [test RFC8200 4.5i] */
static void atomic_fragment_is_nobodys_part(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = receiver(lan);
    uint8_t bytes[100], got[100];
    size_t size = udp_bytes(bytes, &lan_peer6, 'a', 56);
    input_part(lan, &(struct part){lan_peer6, 7, 8, true, 17, bytes, 16});
    input_part(lan, &(struct part){lan_peer6, 7, 0, false, 17, bytes, size});
    assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now), 56);
    assert_int_equal(lan->host->reassembly_count, 1);
}

/* [test RFC8200 4.5c] */
static void fragments_of_others_are_not_put_together(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = receiver(lan);
    struct foyer_addr other = lan_addr6(3);
    uint8_t a[100], b[100], got[100];
    size_t size = udp_bytes(a, &lan_peer6, 'a', 56);
    udp_bytes(b, &other, 'b', 56);
    input_part(lan, &(struct part){lan_peer6, 7, 0, true, 17, a, 32});
    input_part(lan, &(struct part){lan_peer6, 8, 32, false, 17, a + 32, size - 32});
    input_part(lan, &(struct part){other, 7, 32, false, 17, b + 32, size - 32});
    assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now), -EAGAIN);
    input_part(lan, &(struct part){lan_peer6, 7, 32, false, 17, a + 32, size - 32});
    assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now), 56);
    assert_int_equal(got[55], 'a');
    input_part(lan, &(struct part){other, 7, 0, true, 17, b, 32});
    assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now), 56);
    assert_int_equal(got[55], 'b');
}

/* What a later fragment says of it is not looked at, whichever comes first. [test RFC8200 4.5k] */
static void next_header_is_the_first_fragments(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = receiver(lan);
    uint8_t bytes[100], got[100];
    size_t size = udp_bytes(bytes, &lan_peer6, 'a', 56);
    for (int first = 0; first < 2; first++) {
        for (int i = 0; i < 2; i++) {
            if (i == first)
                input_part(lan, &(struct part){lan_peer6, 9, 0, true, 17, bytes, 32});
            else
                input_part(lan, &(struct part){lan_peer6, 9, 32, false, 6, bytes + 32, size - 32});
        }
        assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now), 56);
    }
}

/* [test RFC8200 4.5b] */
static void identifications_differ(void **state)
{
    struct lan *lan = *state;
    static uint8_t payload[3000];
    uint32_t ids[2];
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint remote = {LAN_SRC(v4), 9};
        for (int i = 0; i < 2; i++) {
            foyer_socket_send_to(lan->host, socket, payload, sizeof(payload), &remote, lan->now);
            assert_int_equal(lan_pull(lan), 3);
            for (unsigned j = 0; j < 3; j++) {
                const uint8_t *ip = lan->frames[j].bytes + WIRE_ETH_SIZE;
                uint32_t id = v4 ? load_be16(ip + 4) : load_be32(ip + WIRE_IPV6_SIZE + 4);
                if (j > 0)
                    assert_int_equal(id, ids[i]);
                ids[i] = id;
            }
        }
        assert_int_not_equal(ids[0], ids[1]);
    }
}

/* ---- neighbours ------------------------------------------------------------------------------------------ */

static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 9};

/* [test RFC4861 7.2.3a 7.2.3b] */
static void solicitations_make_stale_entries_or_none(void **state)
{
    struct lan *lan = *state;
    struct wire_ndp ask = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION, .target = lan_host6};
    struct foyer_addr group = ip_solicited_node(&lan_host6);
    lan_send_ndp(lan, &ask, &unspecified, &group, 255);
    assert_int_equal(lan->host->neighbour_count, 0);
    ask.has_source_mac = true;
    memcpy(ask.source_mac, lan_peer_mac, 6);
    lan_send_ndp(lan, &ask, &lan_peer6, &group, 255);
    struct neighbour *neighbour = neighbour_find(lan->host, &lan_peer6);
    assert_non_null(neighbour);
    assert_int_equal(neighbour->state, NEIGHBOUR_STALE);
    assert_memory_equal(neighbour->mac, lan_peer_mac, 6);
    neighbour_confirm(lan->host, neighbour, lan->now);
    lan_send_ndp(lan, &ask, &lan_peer6, &group, 255); /* nothing new: as it was */
    assert_int_equal(neighbour->state, NEIGHBOUR_REACHABLE);
    memcpy(ask.source_mac, other_mac, 6);
    lan_send_ndp(lan, &ask, &lan_peer6, &group, 255);
    assert_int_equal(neighbour->state, NEIGHBOUR_STALE);
    assert_memory_equal(neighbour->mac, other_mac, 6);
}

/* RFC 4861 section 7.2.5, row by row. [test RFC4861 7.2.5a 7.2.5b 7.2.5c 7.2.5d 7.2.5e]
 * [test RFC4861 7.3.1b] */
static void advertisements_and_the_cache(void **state)
{
    enum { NONE = 100 };
    static const struct {
        unsigned before;
        bool has_mac, is_other, is_solicited, is_override;
        unsigned after;
        bool is_other_after;
    } rows[] = {
        {NONE, true, false, true, true, NONE, false},
        {NONE, true, false, false, true, NONE, false},
        {NEIGHBOUR_INCOMPLETE, false, false, true, true, NEIGHBOUR_INCOMPLETE, false},
        {NEIGHBOUR_INCOMPLETE, true, true, true, false, NEIGHBOUR_REACHABLE, true},
        {NEIGHBOUR_INCOMPLETE, true, true, false, false, NEIGHBOUR_STALE, true},
        {NEIGHBOUR_REACHABLE, true, true, true, false, NEIGHBOUR_STALE, false},
        {NEIGHBOUR_REACHABLE, true, true, false, false, NEIGHBOUR_STALE, false},
        {NEIGHBOUR_STALE, true, true, true, false, NEIGHBOUR_STALE, false},
        {NEIGHBOUR_REACHABLE, true, true, true, true, NEIGHBOUR_REACHABLE, true},
        {NEIGHBOUR_REACHABLE, true, true, false, true, NEIGHBOUR_STALE, true},
        {NEIGHBOUR_STALE, true, true, true, true, NEIGHBOUR_REACHABLE, true},
        {NEIGHBOUR_STALE, true, false, true, false, NEIGHBOUR_REACHABLE, false},
        {NEIGHBOUR_STALE, false, false, true, true, NEIGHBOUR_REACHABLE, false},
        {NEIGHBOUR_STALE, true, false, false, true, NEIGHBOUR_STALE, false},
        {NEIGHBOUR_REACHABLE, true, false, false, true, NEIGHBOUR_REACHABLE, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct lan *lan = lan_create(0, NULL);
        struct foyer_addr group = {{0xff, 2, [15] = 1}};
        if (rows[i].before != NONE) {
            struct neighbour *neighbour = neighbour_get(lan->host, &lan_peer6);
            if (rows[i].before != NEIGHBOUR_INCOMPLETE)
                neighbour_learn(lan->host, neighbour, lan_peer_mac,
                                rows[i].before == NEIGHBOUR_REACHABLE, lan->now);
            assert_int_equal(neighbour->state, rows[i].before);
        }
        struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                               .target = lan_peer6,
                               .is_solicited = rows[i].is_solicited,
                               .is_override = rows[i].is_override,
                               .has_target_mac = rows[i].has_mac};
        memcpy(ndp.target_mac, rows[i].is_other ? other_mac : lan_peer_mac, 6);
        lan_send_ndp(lan, &ndp, &lan_peer6, rows[i].is_solicited ? &lan_host6 : &group, 255);
        struct neighbour *neighbour = neighbour_find(lan->host, &lan_peer6);
        unsigned after = neighbour != NULL ? neighbour->state : NONE;
        bool is_other_after = neighbour != NULL && memcmp(neighbour->mac, other_mac, 6) == 0;
        if (after != rows[i].after || is_other_after != rows[i].is_other_after)
            fail_msg("row %zu: state %u, other %d", i, after, is_other_after);
        lan_destroy(lan);
    }
}

/* [test RFC4861 7.1.2a] */
static void solicited_advertisement_to_a_group_is_discarded(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr group = {{0xff, 2, [15] = 1}};
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                           .target = lan_peer6,
                           .is_solicited = true,
                           .is_override = true,
                           .has_target_mac = true};
    memcpy(ndp.target_mac, lan_peer_mac, 6);
    struct neighbour *neighbour = neighbour_get(lan->host, &lan_peer6);
    lan_send_ndp(lan, &ndp, &lan_peer6, &group, 255);
    assert_int_equal(neighbour->state, NEIGHBOUR_INCOMPLETE);
    assert_int_equal(lan_stats(lan).in_dropped_malformed, 1);
    ndp.is_solicited = false;
    lan_send_ndp(lan, &ndp, &lan_peer6, &group, 255);
    assert_int_equal(neighbour->state, NEIGHBOUR_STALE);
}

static void slaac(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_SLAAC;
}

/* Before its first address is assigned a host has none to ask from. [test RFC4861 6.3.7d] */
static void router_solicitation_without_address_tells_no_mac(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, slaac);
    foyer_host_remove_address(lan->host,
                              &lan_host6); /* only the tentative link-local one is left */
    unsigned without = 0, with = 0;
    for (unsigned i = 0; i < 200; i++) {
        lan_wait(lan, 100 * FOYER_NS_PER_MS);
        lan_pull(lan);
        const struct lan_frame *sent;
        while ((sent = lan_next(lan)) != NULL) {
            struct lan_view view;
            struct wire_ndp ndp;
            if (!lan_view(sent, &view) || view.protocol != WIRE_PROTOCOL_ICMP6 ||
                view.transport[0] != WIRE_ICMP6_ROUTER_SOLICITATION)
                continue;
            assert_true(wire_ndp_parse(view.transport, view.size, &ndp) > 0);
            assert_int_equal(ndp.has_source_mac, !foyer_addr_is_any(&view.src));
            if (foyer_addr_is_any(&view.src))
                without++;
            else
                with++;
        }
    }
    assert_true(without + with >= 2);
    lan_destroy(lan);
}

/* [test RFC4862 5.4.2a 5.4.2b] */
static void group_is_joined_before_the_first_probe(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr addr = lan_addr6(0x42), group = ip_solicited_node(&addr);
    assert_false(ip_is_joined(lan->host, &group));
    assert_int_equal(foyer_host_claim_address(lan->host, &addr, 64, lan->now), 0);
    assert_true(ip_is_joined(lan->host, &group));
    unsigned probes = 0;
    foyer_time_ns waited = 0;
    for (; probes == 0 && waited < 3 * FOYER_NS_PER_S; waited += 10 * FOYER_NS_PER_MS) {
        lan_pull(lan);
        for (unsigned i = 0; i < lan->frame_count; i++) {
            struct lan_view view;
            probes += lan_view(&lan->frames[i], &view) && view.protocol == WIRE_PROTOCOL_ICMP6 &&
                      view.transport[0] == WIRE_ICMP6_NEIGHBOUR_SOLICITATION;
        }
        lan_wait(lan, 10 * FOYER_NS_PER_MS);
    }
    assert_int_equal(probes, 1);
    assert_in_range(waited, 20 * FOYER_NS_PER_MS, 1020 * FOYER_NS_PER_MS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(small_ttl_is_no_reason_to_drop),
        TEST(datagrams_go_out_as_the_program_says),
        TEST(source_routed_packets_are_dropped),
        TEST(ipv6_checksum_of_zero_becomes_ffff),
        TEST(unknown_icmp_is_discarded_in_silence),
        TEST(unknown_protocol_is_answered),
        TEST(nothing_behind_no_next_header_is_looked_at),
        TEST(no_error_where_the_source_is_no_single_host),
        TEST(gateways_are_not_pinged),
        TEST(atomic_fragment_is_nobodys_part),
        TEST(fragments_of_others_are_not_put_together),
        TEST(next_header_is_the_first_fragments),
        TEST(identifications_differ),
        TEST(solicitations_make_stale_entries_or_none),
        cmocka_unit_test(advertisements_and_the_cache),
        TEST(solicited_advertisement_to_a_group_is_discarded),
        cmocka_unit_test(router_solicitation_without_address_tells_no_mac),
        TEST(group_is_joined_before_the_first_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
