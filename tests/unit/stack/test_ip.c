/* IP and ICMP: what is dropped and counted, fragments, path MTUs, echo and errors. */
#include "lan.h"

#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"
#include "wire/icmp.h"

static uint8_t frame[70000];

static foyer_socket receiver(struct lan *lan)
{
    static const struct foyer_addr any6;
    return lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &any6, 53);
}

/* ---- what is dropped ---------------------------------------------------------------------------------- */

struct bad_frame {
    const char *what;
    bool v4;
    size_t at; /* byte of the frame to change */
    uint8_t value;
    bool fix_checksum;
    size_t counter; /* offset of the counter that must count it */
};

#define COUNTER(name) offsetof(struct foyer_host_stats, name)

static const struct bad_frame bad_frames[] = {
    {"source MAC is a group", true, 6, 1, false, COUNTER(in_dropped_malformed)},
    {"another's MAC", true, 5, 9, false, COUNTER(in_dropped_address)},
    {"unicast IP in a broadcast frame", true, 0, 0xff, false, COUNTER(in_dropped_address)},
    {"unknown ethertype", true, 12, 0x09, false, COUNTER(in_dropped_protocol)},
    {"802.3 length", true, 12, 0x00, false, COUNTER(in_dropped_protocol)},
    {"IPv4 version", true, 14, 0x65, true, COUNTER(in_dropped_malformed)},
    {"IPv4 header below 20", true, 14, 0x44, true, COUNTER(in_dropped_malformed)},
    {"IPv4 header beyond the frame", true, 14, 0x4f, true, COUNTER(in_dropped_malformed)},
    {"IPv4 length beyond the frame", true, 16, 0x10, true, COUNTER(in_dropped_malformed)},
    {"IPv4 checksum", true, 24, 0x55, false, COUNTER(in_dropped_checksum)},
    {"IPv4 source loopback", true, 26, 127, true, COUNTER(in_dropped_address)},
    {"IPv4 source multicast", true, 26, 224, true, COUNTER(in_dropped_address)},
    {"IPv4 source class E", true, 26, 250, true, COUNTER(in_dropped_address)},
    {"IPv4 source net 0", true, 26, 0, true, COUNTER(in_dropped_address)},
    {"IPv4 source is ours", true, 29, 1, true, COUNTER(in_dropped_address)},
    {"IPv4 source broadcast", true, 29, 255, true, COUNTER(in_dropped_address)},
    {"IPv4 destination loopback", true, 30, 127, true, COUNTER(in_dropped_address)},
    {"IPv4 destination another's", true, 33, 7, true, COUNTER(in_dropped_address)},
    {"IPv4 destination another group", true, 30, 225, true, COUNTER(in_dropped_address)},
    {"UDP length below 8", true, 39, 7, false, COUNTER(in_dropped_malformed)},
    {"UDP length beyond the packet", true, 38, 1, false, COUNTER(in_dropped_malformed)},
    {"UDP checksum", true, 40, 0x55, false, COUNTER(in_dropped_checksum)},
    {"IPv6 version", false, 14, 0x40, false, COUNTER(in_dropped_malformed)},
    {"IPv6 length beyond the frame", false, 18, 1, false, COUNTER(in_dropped_malformed)},
    {"IPv6 source multicast", false, 22, 0xff, false, COUNTER(in_dropped_address)},
    {"IPv6 source is ours", false, 37, 1, false, COUNTER(in_dropped_address)},
    {"IPv6 destination another's", false, 53, 9, false, COUNTER(in_dropped_address)},
    {"IPv6 destination another group", false, 38, 0xff, false, COUNTER(in_dropped_address)},
    {"IPv6 next header unknown", false, 20, 200, false, COUNTER(in_dropped_protocol)},
    {"IPv6 extension beyond the packet", false, 20, 60, false, COUNTER(in_dropped_malformed)},
    {"UDP checksum, IPv6", false, 60, 0x55, false, COUNTER(in_dropped_checksum)},
};

/* [test RFC1122 3.2.1.1a 3.2.1.2a 3.2.1.3b 3.2.1.3c 3.2.1.3d 3.3.6a 4.1.3.6a]
 * [test RFC1122 2.4a] */
static void bad_frames_are_counted(void **state)
{
    struct lan *lan = *state;
    receiver(lan);
    for (size_t i = 0; i < sizeof(bad_frames) / sizeof(bad_frames[0]); i++) {
        const struct bad_frame *bad = &bad_frames[i];
        struct foyer_addr src = LAN_SRC(bad->v4), dst = LAN_DST(bad->v4);
        size_t size = lan_udp(frame, &src, 4000, &dst, 53, "payload", 7);
        struct foyer_host_stats before = lan_stats(lan);
        frame[bad->at] = bad->value;
        if (bad->fix_checksum)
            lan_seal_ipv4(frame);
        lan_input(lan, frame, size);
        struct foyer_host_stats after = lan_stats(lan);
        uint64_t was, is;
        memcpy(&was, (const char *)&before + bad->counter, sizeof(was));
        memcpy(&is, (const char *)&after + bad->counter, sizeof(is));
        if (is != was + 1 || after.udp_in_datagrams != 0)
            fail_msg("%s", bad->what);
    }
}

/* Cut at every byte: never delivered, never read beyond (the sanitizer watches). */
static void cut_frames(void **state)
{
    struct lan *lan = *state;
    receiver(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
        size_t size = lan_udp(frame, &src, 4000, &dst, 53, "payload", 7);
        for (size_t cut = 0; cut < size; cut++)
            lan_input(lan, frame, cut);
        assert_int_equal(lan_stats(lan).udp_in_datagrams, 0);
    }
    assert_int_equal(lan_stats(lan).in_dropped_malformed, 14 + 20 + 8 + 7 + 14 + 40 + 8 + 7);
}

static void link_padding_is_ignored(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = receiver(lan);
    size_t size = lan_udp(frame, &lan_peer4, 4000, &lan_host4, 53, "x", 1);
    memset(frame + size, 0xee, 60 - size);
    lan_input(lan, frame, 60);
    assert_int_equal(foyer_socket_recv(lan->host, socket, frame, 9, lan->now), 1);
}

static void unspecified_source_only_for_icmp6(void **state)
{
    struct lan *lan = *state;
    receiver(lan);
    struct foyer_addr none = {{0}};
    lan_input(lan, frame, lan_udp(frame, &none, 4000, &lan_host6, 53, "x", 1));
    assert_int_equal(lan_stats(lan).in_dropped_address, 1);
    assert_int_equal(lan_stats(lan).udp_in_datagrams, 0);
}

static void payload_in_many_spans(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = receiver(lan);
    char payload[100];
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (char)('a' + i % 26);
    size_t size = lan_udp(frame, &lan_peer6, 4000, &lan_host6, 53, payload, sizeof(payload));
    struct foyer_packet packet = {
        .spans = {{frame, 62}, {frame + 62, 33}, {frame + 95, 0}, {frame + 95, size - 95}},
        .span_count = 4};
    foyer_host_input(lan->host, &packet, 1, lan->now);
    char got[100];
    assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now), 100);
    assert_memory_equal(got, payload, 100);
    /* Headers must not cross into the second span. */
    packet.spans[0].size = 60;
    packet.spans[1] = (struct foyer_span){frame + 60, size - 60};
    packet.span_count = 2;
    foyer_host_input(lan->host, &packet, 1, lan->now);
    assert_int_equal(lan_stats(lan).in_dropped_malformed, 1);
}

/* ---- fragments ------------------------------------------------------------------------------------------- */

/* A fragment of an imagined UDP datagram: bytes offset .. offset + size - 1. */
static void input_fragment(struct lan *lan, bool v4, uint32_t id, uint16_t offset, size_t size,
                           bool more, uint8_t fill)
{
    static uint8_t part[70000];
    struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
    size_t at;
    if (v4) {
        at = lan_ip(part, &src, &dst, WIRE_PROTOCOL_UDP, size);
        struct wire_ipv4 ip = {.total_size = (uint16_t)(20 + size),
                               .id = (uint16_t)id,
                               .more_fragments = more,
                               .fragment_offset = offset,
                               .ttl = 64,
                               .protocol = WIRE_PROTOCOL_UDP,
                               .src = src,
                               .dst = dst};
        wire_ipv4_emit(part + WIRE_ETH_SIZE, &ip);
    } else {
        at = lan_ip(part, &src, &dst, 44, size + 8);
        const uint8_t header[4] = {WIRE_PROTOCOL_UDP, 0, (uint8_t)(offset >> 8),
                                   (uint8_t)((offset & 0xf8) | more)};
        memcpy(part + at, header, 4);
        store_be32(part + at + 4, id);
        at += 8;
    }
    memset(part + at, fill, size);
    lan_input(lan, part, at + size);
}

/* [test RFC8200 4.5g 4.5h] */
static void overlaps_void_the_datagram(void **state)
{
    struct lan *lan = *state;
    static const struct {
        uint16_t offset;
        uint16_t size;
        bool more, voids;
    } second[] = {
        {0, 64, true, false},  /* a repetition */
        {64, 64, true, false}, /* the next */
        {56, 64, true, true},  /* over the end */
        {0, 72, true, true},   /* longer */
        {8, 8, true, true},    /* inside */
        {0, 32, true, true},   /* shorter */
        {8, 16, false, true},  /* the last one, inside */
    };
    for (int v4 = 0; v4 < 2; v4++) {
        for (size_t i = 0; i < sizeof(second) / sizeof(second[0]); i++) {
            uint32_t id = 100 + (uint32_t)i;
            uint64_t failed = lan_stats(lan).in_reassembly_failed;
            uint32_t count = lan->host->reassembly_count;
            input_fragment(lan, v4, id, 0, 64, true, 1);
            input_fragment(lan, v4, id, second[i].offset, second[i].size, second[i].more, 2);
            if (lan_stats(lan).in_reassembly_failed - failed != second[i].voids ||
                lan->host->reassembly_count - count != !second[i].voids)
                fail_msg("v4 %d row %zu", v4, i);
        }
    }
}

/* Two ends, or bytes behind the end. */
static void contradicting_ends_void_the_datagram(void **state)
{
    struct lan *lan = *state;
    static const struct {
        uint16_t first, second; /* offsets; 64 bytes each */
        bool first_more, second_more;
    } rows[] = {{64, 128, false, true}, {64, 128, false, false}, {128, 64, true, false}};
    for (int v4 = 0; v4 < 2; v4++) {
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            uint64_t failed = lan_stats(lan).in_reassembly_failed;
            input_fragment(lan, v4, 7, rows[i].first, 64, rows[i].first_more, 1);
            assert_int_equal(lan->host->reassembly_count, 1);
            input_fragment(lan, v4, 7, rows[i].second, 64, rows[i].second_more, 1);
            assert_int_equal(lan_stats(lan).in_reassembly_failed - failed, 1);
            assert_int_equal(lan->host->reassembly_count, 0);
        }
    }
}

/* [test RFC8200 4.5e 4.5f] */
static void malformed_fragments(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        uint64_t before = lan_stats(lan).in_dropped_malformed;
        input_fragment(lan, v4, 1, 0, 63, true, 0);      /* not a multiple of 8 */
        input_fragment(lan, v4, 1, 65528, 64, false, 0); /* reaches beyond 65535 */
        assert_int_equal(lan_stats(lan).in_dropped_malformed - before, 2);
        assert_int_equal(lan->host->reassembly_count, 0);
        /* RFC 8200 section 4.5: IPv6 tells the sender. */
        assert_int_equal(lan_pull(lan), v4 ? 0 : 2);
        for (int i = 0; !v4 && i < 2; i++) {
            struct lan_view view;
            assert_true(lan_view(lan_next(lan), &view));
            assert_int_equal(view.transport[0], WIRE_ICMP6_PARAMETER_PROBLEM);
            assert_int_equal(load_be32(view.transport + 4), i == 0 ? 4 : 42);
        }
    }
}

/* [test RFC8200 4.5d] [test RFC1122 3.3.2c 3.3.2e] */
static void reassembly_times_out(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        input_fragment(lan, v4, 1, 0, 64, true, 0);
        input_fragment(lan, v4, 2, 64, 64, true, 0); /* without its first */
        lan_live(lan, (v4 ? 29 : 59) * FOYER_NS_PER_S);
        assert_int_equal(lan->host->reassembly_count, 2);
        lan_introduce_peer(lan);
        lan_wait(lan, 2 * FOYER_NS_PER_S);
        assert_int_equal(lan->host->reassembly_count, 0);
        assert_int_equal(lan->host->reassembly_bytes, 0);
        /* Only the one whose first piece came can be quoted. */
        struct lan_view view;
        assert_int_equal(lan_pull(lan), 1);
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.transport[0], v4 ? 11 : 3);
        assert_int_equal(view.transport[1], 1);
    }
}

static void reassembly_is_bounded(void **state)
{
    struct lan *lan = *state;
    size_t before = lan->allocated;
    for (uint32_t id = 0; id < 500; id++) {
        input_fragment(lan, id & 1, id, 0, 1400, true, 0);
        assert_true(lan->host->reassembly_count <= 64);
    }
    for (uint32_t id = 1000; id < 1100; id++) {
        for (uint16_t at = 0; at < 40; at++)
            input_fragment(lan, true, id, (uint16_t)(at * 1400), 1400, true, 0);
        assert_true(lan->host->reassembly_bytes <= 1024 * 1024);
        assert_true(lan->allocated - before <= 1024 * 1024);
    }
    lan_wait(lan, 61 * FOYER_NS_PER_S);
    assert_int_equal(lan->allocated, before);
}

/* ---- echo ---------------------------------------------------------------------------------------------------- */

/* [test RFC1122 3.2.2.6a 3.2.2.6b 3.2.2.6c 3.2.2.6d] */
static void echo_is_answered(void **state)
{
    struct lan *lan = *state;
    static uint8_t data[1400];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 3);
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
        size_t size = lan_icmp(frame, &src, &dst, v4 ? 8 : 128, 0, 0x12340007, data, sizeof(data));
        lan_input(lan, frame, size);
        assert_int_equal(lan_pull(lan), 1);
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.transport[0], v4 ? 0 : 129);
        assert_int_equal(load_be32(view.transport + 4), 0x12340007);
        assert_int_equal(view.size, 8 + sizeof(data));
        assert_memory_equal(view.transport + 8, data, sizeof(data));
        assert_true(foyer_addr_eq(&view.src, &dst) && foyer_addr_eq(&view.dst, &src));
        assert_true(v4 ? wire_icmp_checksum_ok(view.transport, view.size)
                       : wire_icmp6_checksum_ok(view.transport, view.size, &view.src, &view.dst));
        frame[size - 1] ^= 1;
        lan_input(lan, frame, size);
        assert_int_equal(lan_pull(lan), 0);
    }
    assert_int_equal(lan_stats(lan).in_dropped_checksum, 2);
    struct foyer_addr all = foyer_addr_v4(10, 0, 0, 255);
    lan_input(lan, frame, lan_icmp(frame, &lan_peer4, &all, 8, 0, 1, "x", 1));
    assert_int_equal(lan_pull(lan), 0);
}

/* ---- errors ---------------------------------------------------------------------------------------------------- */

static void errors_are_limited(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    unsigned sent = 0;
    for (int i = 0; i < 200; i++) {
        lan_input(lan, frame, lan_udp(frame, &lan_peer4, 4000, &lan_host4, 99, "x", 1));
        sent += lan_pull(lan);
    }
    assert_in_range(sent, 30, 50);
    assert_int_equal(lan_stats(lan).icmp_out_limited, 200 - sent);
    lan_wait(lan, FOYER_NS_PER_S);
    lan_pull(lan);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 4000, &lan_host4, 99, "x", 1));
    assert_int_equal(lan_pull(lan), 1);
}

/* RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e): never in answer to an error.
 * [test RFC1122 3.2.2e] */
static void no_error_for_an_error(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    uint8_t quote[28] = {0x45};
    struct wire_ipv4 ip = {.total_size = 28,
                           .ttl = 1,
                           .protocol = WIRE_PROTOCOL_UDP,
                           .src = lan_host4,
                           .dst = lan_peer4};
    wire_ipv4_emit(quote, &ip);
    lan_input(lan, frame, lan_icmp(frame, &lan_peer4, &lan_host4, 3, 3, 0, quote, 28));
    assert_int_equal(lan_pull(lan), 0);
}

/* What the host sent, quoted back by the peer or a router. */
static void input_error(struct lan *lan, const struct lan_frame *sent, uint8_t type, uint8_t code,
                        uint32_t word)
{
    bool v4 = load_be16(sent->bytes + 12) == WIRE_ETHERTYPE_IPV4;
    struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
    size_t quoted = sent->size - WIRE_ETH_SIZE < 120 ? sent->size - WIRE_ETH_SIZE : 120;
    lan_input(lan, frame,
              lan_icmp(frame, &src, &dst, type, code, word, sent->bytes + WIRE_ETH_SIZE, quoted));
}

/* [test RFC1122 3.2.2c 3.2.2.5a 4.1.3.3a] [test RFC1122 3.2.2.1d] [test RFC6936 4g] */
static void errors_reach_their_socket(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    static const struct {
        bool v4;
        uint8_t type, code;
        int error;
    } rows[] = {
        {true, 3, 3, -ECONNREFUSED},
        {true, 3, 2, -ENOPROTOOPT},
        {true, 3, 13, -EHOSTUNREACH},
        {true, 3, 1, 0 /* soft */},
        {true, 11, 0, 0 /* soft */},
        {true, 12, 0, -EPROTO},
        {true, 5, 0, 0 /* ignored */},
        {true, 4, 0, 0},
        {false, 1, 4, -ECONNREFUSED},
        {false, 1, 1, -EACCES},
        {false, 1, 0, 0},
        {false, 4, 1, -EPROTO},
        {false, 3, 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        foyer_socket socket =
            lan_open(lan, rows[i].v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        foyer_socket bystander =
            lan_open(lan, rows[i].v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint remote = {LAN_SRC(rows[i].v4), 9};
        assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), 0);
        assert_int_equal(foyer_socket_connect(lan->host, bystander, &remote, lan->now), 0);
        foyer_socket_send(lan->host, socket, "x", 1, lan->now);
        assert_int_equal(lan_pull(lan), 1);
        input_error(lan, lan_next(lan), rows[i].type, rows[i].code, 0);
        int error = foyer_socket_take_error(lan->host, socket);
        if (error != rows[i].error)
            fail_msg("row %zu: %d", i, error);
        assert_int_equal(foyer_socket_take_error(lan->host, bystander), 0);
        foyer_socket_close(lan->host, socket, lan->now);
        foyer_socket_close(lan->host, bystander, lan->now);
    }
}

/* ---- path MTU ---------------------------------------------------------------------------------------------------- */

static unsigned pieces_of(struct lan *lan, foyer_socket socket, const struct foyer_endpoint *remote)
{
    static const uint8_t payload[1400];
    assert_int_equal(foyer_socket_send_to(lan->host, socket, payload, 1400, remote, lan->now),
                     1400);
    return lan_pull(lan);
}

/* [test RFC8200 5a 5c] [test RFC1122 3.3.3a] */
static void path_mtu_is_learned_and_forgotten(void **state)
{
    struct lan *lan = *state;
    static const struct {
        bool v4;
        uint32_t mtu;
        unsigned pieces;
    } rows[] = {
        {true, 1400, 2},
        {true, 60, 3} /* bounded by 552 */,
        {true, 0, 2} /* plateau: 1006 */,
        {true, 9000, 1},
        {false, 1300, 2},
        {false, 1000, 1} /* RFC 8201 */,
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        lan_introduce_peer(lan);
        bool v4 = rows[i].v4;
        foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint remote = {LAN_SRC(v4), 9};
        assert_int_equal(pieces_of(lan, socket, &remote), 1);
        struct lan_view view;
        assert_true(lan_view(&lan->frames[0], &view));
        assert_int_equal(view.dont_fragment, v4);
        input_error(lan, lan_next(lan), v4 ? 3 : 2, v4 ? 4 : 0, rows[i].mtu);
        unsigned pieces = pieces_of(lan, socket, &remote);
        if (pieces != rows[i].pieces)
            fail_msg("row %zu: %u pieces", i, pieces);
        /* RFC 1191 section 6.3: tried again after ten minutes. */
        lan_live(lan, 601 * FOYER_NS_PER_S);
        lan_introduce_peer(lan);
        assert_int_equal(pieces_of(lan, socket, &remote), 1);
        foyer_socket_close(lan->host, socket, lan->now);
        lan_live(lan, 20 * FOYER_NS_PER_S);
    }
}

static void forged_packet_too_big_is_ignored(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint remote = {lan_peer4, 9};
    assert_int_equal(pieces_of(lan, socket, &remote), 1);
    lan->frames[0].bytes[WIRE_ETH_SIZE + 20] ^= 0x55; /* a port nobody has */
    input_error(lan, lan_next(lan), 3, 4, 600);
    assert_int_equal(pieces_of(lan, socket, &remote), 1);
}

/* ---- addresses ------------------------------------------------------------------------------------------------------ */

/* [test RFC4862 5.3a] [test RFC1122 3.3.1.6a] */
static void address_rules(void **state)
{
    struct lan *lan = *state;
    struct foyer_host *host = lan->host;
    struct foyer_addr addr = foyer_addr_v4(0, 0, 0, 0);
    assert_int_equal(foyer_host_add_address(host, &addr, 24), -EINVAL);
    addr = foyer_addr_v4(224, 0, 0, 1);
    assert_int_equal(foyer_host_add_address(host, &addr, 24), -EINVAL);
    addr = foyer_addr_v4(127, 0, 0, 1);
    assert_int_equal(foyer_host_add_address(host, &addr, 8), -EINVAL);
    assert_int_equal(foyer_host_add_address(host, &lan_host4, 24), -EEXIST);
    addr = foyer_addr_v4(10, 9, 0, 1);
    assert_int_equal(foyer_host_add_address(host, &addr, 33), -EINVAL);
    /* One link-local and two given ones are there. */
    for (uint8_t i = 0; i < 13; i++) {
        addr = foyer_addr_v4(10, 9, 0, (uint8_t)(i + 1));
        assert_int_equal(foyer_host_add_address(host, &addr, 24), 0);
    }
    addr = foyer_addr_v4(10, 9, 0, 99);
    assert_int_equal(foyer_host_add_address(host, &addr, 24), -ENOSPC);
    assert_int_equal(foyer_host_remove_address(host, &lan_host4), 0);
    assert_int_equal(foyer_host_remove_address(host, &lan_host4), -ENOENT);
    assert_false(foyer_host_has_address(host, &lan_host4));
    struct foyer_addr link_local = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1}};
    assert_true(foyer_host_has_address(host, &link_local));
}

static void source_fits_the_destination(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr other = foyer_addr_v4(10, 1, 0, 1), other6 = lan_host6;
    other6.bytes[1] = 1;
    assert_int_equal(foyer_host_add_address(lan->host, &other, 24), 0);
    assert_int_equal(foyer_host_add_address(lan->host, &other6, 64), 0);
    struct foyer_addr link_local = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1}};
    struct foyer_addr peer_link_local = link_local;
    peer_link_local.bytes[15] = 2;
    struct foyer_addr dst6 = other6;
    dst6.bytes[15] = 77;
    const struct {
        struct foyer_addr dst, src;
    } rows[] = {
        {lan_peer4, lan_host4},
        {foyer_addr_v4(10, 1, 0, 9), other},
        {foyer_addr_v4(127, 0, 0, 1), foyer_addr_v4(127, 0, 0, 1)},
        {lan_host4, lan_host4},
        {lan_peer6, lan_host6},
        {dst6, other6},
        {peer_link_local, link_local},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct ip_way way;
        assert_int_equal(ip_find_way(lan->host, &rows[i].dst, NULL, &way), 0);
        if (!foyer_addr_eq(&way.src, &rows[i].src))
            fail_msg("row %zu", i);
    }
}

/* RFC 6724 section 5: of two addresses, either order of adding gives the same answer. */
static void source_by_rule(void **state)
{
    static const struct {
        const char *what;
        struct foyer_addr dst, better, worse;
    } rows[] = {
        {"1: same address",
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}},
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}},
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 2}}},
        {"2: global rather than link-local for a global",
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}},
         {{0x20, 2, 1, 1, 1, 1, [15] = 1}},
         {{0xfe, 0x80, [15] = 9}}},
        {"2: site-local for a group of the site",
         {{0xff, 5, [15] = 9}},
         {{0xfe, 0xc0, [15] = 1}},
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}}},
        {"6: 6to4 to 6to4",
         {{0x20, 2, 0xc6, 0x33, [15] = 1}},
         {{0x20, 2, 9, 9, [15] = 1}},
         {{0x20, 3, 0xc6, 0x33, [15] = 1}}},
        {"6: unique local to unique local",
         {{0xfc, 0x20, 1, [15] = 1}},
         {{0xfd, 0x20, 1, [15] = 1}},
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}}},
        {"6: not Teredo to a native address, though its prefix is nearer",
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}},
         {{0x24, 0, 1, [15] = 1}},
         {{0x20, 1, 0, 0, 1, [15] = 1}}},
        {"8: longest match",
         {{0x20, 1, 0xd, 0xb8, 1, [15] = 1}},
         {{0x20, 1, 0xd, 0xb8, 3, [15] = 1}},
         {{0x20, 1, 0xd, 0xb8, 0xff, [15] = 1}}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int order = 0; order < 2; order++) {
            struct lan *lan = lan_create(0, NULL);
            struct foyer_addr src;
            foyer_host_remove_address(lan->host, &lan_host6);
            foyer_host_add_address(lan->host, order ? &rows[i].worse : &rows[i].better, 64);
            foyer_host_add_address(lan->host, order ? &rows[i].better : &rows[i].worse, 64);
            if (!ip_choose_source(lan->host, &rows[i].dst, &src) ||
                !foyer_addr_eq(&src, &rows[i].better))
                fail_msg("%s", rows[i].what);
            lan_destroy(lan);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bad_frames_are_counted),
        TEST(cut_frames),
        TEST(link_padding_is_ignored),
        TEST(unspecified_source_only_for_icmp6),
        TEST(payload_in_many_spans),
        TEST(overlaps_void_the_datagram),
        TEST(contradicting_ends_void_the_datagram),
        TEST(malformed_fragments),
        TEST(reassembly_times_out),
        TEST(reassembly_is_bounded),
        TEST(echo_is_answered),
        TEST(errors_are_limited),
        TEST(no_error_for_an_error),
        TEST(errors_reach_their_socket),
        TEST(path_mtu_is_learned_and_forgotten),
        TEST(forged_packet_too_big_is_ignored),
        TEST(address_rules),
        TEST(source_fits_the_destination),
        cmocka_unit_test(source_by_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
