/* UDP of both families: delivery, checksums, rings that lie, segments, fragments. */
#include "lan.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checksum.h"

static const struct foyer_addr any6;

static foyer_socket dual_stack(struct lan *lan, uint16_t port)
{
    return lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &any6, port);
}

/* [test RFC1122 3.4a 4.1.3.5a] */
static void receives_both_families(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    uint8_t frame[256];
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr src = LAN_SRC(v4);
        struct foyer_addr dst = LAN_DST(v4);
        lan_input(lan, frame, lan_udp(frame, &src, 4000, &dst, 53, "hello", 5));
        struct foyer_event event;
        assert_int_equal(foyer_host_events(lan->host, &event, 1), 1);
        assert_int_equal(event.socket.value, socket.value);
        assert_int_equal(event.events, FOYER_EVENT_READABLE);
        struct foyer_endpoint remote;
        struct foyer_addr local;
        char buffer[16];
        assert_int_equal(
            foyer_socket_recv_from(lan->host, socket, buffer, sizeof(buffer), &remote, &local), 5);
        assert_memory_equal(buffer, "hello", 5);
        assert_int_equal(remote.port, 4000);
        assert_true(foyer_addr_eq(&remote.addr, &src));
        assert_true(foyer_addr_eq(&local, &dst));
        assert_int_equal(
            foyer_socket_recv_from(lan->host, socket, buffer, sizeof(buffer), NULL, NULL), -EAGAIN);
    }
}

static void cut_datagram_reports_its_size(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    uint8_t frame[256];
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 1, &lan_host4, 53, "0123456789", 10));
    char buffer[4];
    assert_int_equal(foyer_socket_recv_from(lan->host, socket, buffer, 4, NULL, NULL), 10);
    assert_memory_equal(buffer, "0123", 4);
}

/* [test RFC8200 8.1c] [test RFC1122 4.1.3.4a 4.1.3.4b 4.1.3.4c] */
static void checksum_rules(void **state)
{
    struct lan *lan = *state;
    dual_stack(lan, 53);
    static const struct {
        bool v4;
        int checksum; /* -1: right */
        bool delivered;
    } rows[] = {
        {true, -1, true},  {true, 0, true} /* RFC 768 */,        {true, 0x1234, false},
        {false, -1, true}, {false, 0, false} /* RFC 8200 8.1 */, {false, 0x1234, false},
    };
    uint8_t frame[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct foyer_host_stats before = lan_stats(lan);
        struct foyer_addr src = LAN_SRC(rows[i].v4);
        struct foyer_addr dst = LAN_DST(rows[i].v4);
        size_t size = lan_udp(frame, &src, 9, &dst, 53, "x", 1);
        if (rows[i].checksum >= 0)
            store_be16(frame + WIRE_ETH_SIZE + (rows[i].v4 ? 20 : 40) + 6,
                       (uint16_t)rows[i].checksum);
        lan_input(lan, frame, size);
        struct foyer_host_stats after = lan_stats(lan);
        assert_int_equal(after.udp_in_datagrams - before.udp_in_datagrams, rows[i].delivered);
        assert_int_equal(after.in_dropped_checksum - before.in_dropped_checksum,
                         !rows[i].delivered);
    }
}

static void zero_source_port_is_delivered(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    uint8_t frame[256];
    struct foyer_endpoint remote = {.port = 7};
    lan_input(lan, frame, lan_udp(frame, &lan_peer6, 0, &lan_host6, 53, "x", 1));
    assert_int_equal(foyer_socket_recv_from(lan->host, socket, frame, 9, &remote, NULL), 1);
    assert_int_equal(remote.port, 0);
}

/* [test RFC8200 8.1a] [test RFC1122 4.1.3.4a] */
static void sends_with_right_checksum(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_endpoint remote = {LAN_SRC(v4), 4000};
        assert_int_equal(foyer_socket_send_to(lan->host, socket, "answer!", 7, &remote, lan->now),
                         7);
        assert_int_equal(lan_pull(lan), 1);
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.is_v4, v4);
        assert_int_equal(view.size, 15);
        assert_int_equal(load_be16(view.transport), 53);
        assert_int_equal(load_be16(view.transport + 2), 4000);
        struct checksum sum;
        checksum_init(&sum);
        checksum_add_pseudo(&sum, &view.src, &view.dst, 17, 15);
        checksum_add(&sum, view.transport, view.size);
        assert_int_equal(checksum_finish(&sum), 0);
        assert_memory_equal(view.transport + 8, "answer!", 7);
    }
}

/* RFC 768: a checksum that comes out as zero is sent as all ones. */
static void transmitted_zero_becomes_ffff(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V4, FOYER_UDP, &lan_host4, 53);
    lan_introduce_peer(lan);
    struct foyer_endpoint remote = {lan_peer4, 4000};
    /* The payload is the checksum that a payload of zero would have. */
    uint8_t payload[2] = {0, 0};
    struct lan_view view;
    foyer_socket_send_to(lan->host, socket, payload, 2, &remote, lan->now);
    lan_pull(lan);
    assert_true(lan_view(lan_next(lan), &view));
    memcpy(payload, view.transport + 6, 2);
    foyer_socket_send_to(lan->host, socket, payload, 2, &remote, lan->now);
    lan_pull(lan);
    assert_true(lan_view(lan_next(lan), &view));
    assert_int_equal(load_be16(view.transport + 6), 0xffff);
}

static void connected_socket_hears_only_its_peer(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    foyer_socket other = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint remote = {lan_peer4, 4000};
    uint8_t frame[256];
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), 0);
    (void)other;
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 4001, &lan_host4, 53, "no", 2));
    assert_int_equal(lan_stats(lan).udp_no_ports, 1);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 4000, &lan_host4, 53, "yes", 3));
    assert_int_equal(foyer_socket_recv(lan->host, socket, frame, 9, lan->now), 3);
    /* Dissolved, it hears everybody again. */
    struct foyer_endpoint none = {any6, 0};
    assert_int_equal(foyer_socket_connect(lan->host, socket, &none, lan->now), 0);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 4001, &lan_host4, 53, "again", 5));
    assert_int_equal(foyer_socket_recv(lan->host, socket, frame, 9, lan->now), 5);
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    assert_true(foyer_addr_is_any(&info.local.addr));
    assert_int_equal(info.local.port, 53);
}

/* [test RFC1122 3.2.2b 3.2.2.1b 4.1.3.1a] [test RFC1122 3.3.8a] */
static void nobody_listens_unreachable(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr src = LAN_SRC(v4);
        struct foyer_addr dst = LAN_DST(v4);
        size_t size = lan_udp(frame, &src, 4000, &dst, 99, "x", 1);
        lan_input(lan, frame, size);
        assert_int_equal(lan_pull(lan), 1);
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.transport[0], v4 ? 3 : 1);
        assert_int_equal(view.transport[1], v4 ? 3 : 4);
        assert_memory_equal(view.transport + 8, frame + WIRE_ETH_SIZE, size - WIRE_ETH_SIZE);
    }
}

/* [test RFC1122 3.2.2f 3.3.6b] [test RFC1122 3.3.6c 3.3.7b] */
static void group_datagrams(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr any4 = foyer_addr_v4(0, 0, 0, 0);
    foyer_socket first = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    foyer_socket second = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint local = {any4, 68};
    foyer_socket_set_option(lan->host, first, FOYER_OPT_REUSEADDR, 1);
    foyer_socket_set_option(lan->host, second, FOYER_OPT_REUSEADDR, 1);
    assert_int_equal(foyer_socket_bind(lan->host, first, &local, NULL), 0);
    assert_int_equal(foyer_socket_bind(lan->host, second, &local, NULL), 0);
    uint8_t frame[256];
    const struct foyer_addr groups[] = {foyer_addr_v4(255, 255, 255, 255),
                                        foyer_addr_v4(10, 0, 0, 255), foyer_addr_v4(224, 0, 0, 1)};
    for (size_t i = 0; i < 3; i++) {
        lan_input(lan, frame, lan_udp(frame, &lan_peer4, 67, &groups[i], 68, "all", 3));
        assert_int_equal(foyer_socket_recv(lan->host, first, frame, 9, lan->now), 3);
        assert_int_equal(foyer_socket_recv(lan->host, second, frame, 9, lan->now), 3);
        /* RFC 1122 3.2.2: no error in answer to a group. */
        lan_input(lan, frame, lan_udp(frame, &lan_peer4, 67, &groups[i], 69, "none", 4));
        assert_int_equal(lan_pull(lan), 0);
    }
    struct foyer_endpoint all = {groups[1], 67};
    assert_int_equal(foyer_socket_send_to(lan->host, first, "x", 1, &all, lan->now), -EACCES);
    foyer_socket_set_option(lan->host, first, FOYER_OPT_BROADCAST, 1);
    assert_int_equal(foyer_socket_send_to(lan->host, first, "x", 1, &all, lan->now), 1);
    assert_int_equal(lan_pull(lan), 1);
    assert_memory_equal(lan_next(lan)->bytes, "\xff\xff\xff\xff\xff\xff", 6);
}

static void loopback_round_trip(void **state)
{
    struct lan *lan = *state;
    foyer_socket server = dual_stack(lan, 53);
    foyer_socket client = lan_open(lan, FOYER_FAMILY_V6, FOYER_UDP);
    const struct foyer_addr one = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    const struct foyer_addr targets[] = {foyer_addr_v4(127, 0, 0, 1), one, lan_host4, lan_host6};
    static uint8_t big[65507];
    memset(big, 'b', sizeof(big));
    static uint8_t got[65535];
    for (size_t i = 0; i < 4; i++) {
        struct foyer_endpoint remote = {targets[i], 53};
        struct foyer_endpoint from;
        assert_int_equal(
            foyer_socket_send_to(lan->host, client, big, sizeof(big), &remote, lan->now),
            sizeof(big));
        assert_int_equal(lan_pull(lan), 0); /* nothing on the wire */
        assert_int_equal(foyer_socket_recv_from(lan->host, server, got, sizeof(got), &from, NULL),
                         sizeof(big));
        assert_memory_equal(got, big, sizeof(big));
        assert_true(foyer_addr_eq(&from.addr, &targets[i]));
        assert_int_equal(foyer_socket_send_to(lan->host, server, "back", 4, &from, lan->now), 4);
        lan_pull(lan);
        assert_int_equal(foyer_socket_recv(lan->host, client, got, 9, lan->now), 4);
    }
}

static void loopback_refused(void **state)
{
    struct lan *lan = *state;
    foyer_socket client = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint remote = {foyer_addr_v4(127, 0, 0, 1), 9};
    uint8_t byte;
    assert_int_equal(foyer_socket_connect(lan->host, client, &remote, lan->now), 0);
    assert_int_equal(foyer_socket_send(lan->host, client, "x", 1, lan->now), 1);
    assert_int_equal(lan_pull(lan), 0);
    assert_int_equal(foyer_socket_recv(lan->host, client, &byte, 1, lan->now), -ECONNREFUSED);
    assert_int_equal(foyer_socket_recv(lan->host, client, &byte, 1, lan->now), -EAGAIN);
}

static void size_limits(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    static uint8_t big[65536];
    struct foyer_endpoint to4 = {lan_peer4, 9};
    struct foyer_endpoint to6 = {lan_peer6, 9};
    assert_int_equal(foyer_socket_send_to(lan->host, socket, big, 65508, &to4, lan->now),
                     -EMSGSIZE);
    assert_int_equal(foyer_socket_send_to(lan->host, socket, big, 65528, &to6, lan->now),
                     -EMSGSIZE);
    assert_int_equal(foyer_socket_send_to(lan->host, socket, big, 1, NULL, lan->now),
                     -EDESTADDRREQ);
    struct foyer_endpoint nowhere = {foyer_addr_v4(8, 8, 8, 8), 53};
    assert_int_equal(foyer_socket_send_to(lan->host, socket, big, 1, &nowhere, lan->now),
                     -ENETUNREACH);
    /* A full ring says so. */
    int64_t sent;
    do {
        sent = foyer_socket_send_to(lan->host, socket, big, 60000, &to4, lan->now);
    } while (sent == 60000);
    assert_int_equal(sent, -EAGAIN);
}

/* ---- fragments ----------------------------------------------------------------------------------- */

/* What one host sends in pieces, another takes in as one, in any order. [test RFC8200 4.5a 5b]
 * [test RFC1122 3.3.2a 3.3.2b] [test RFC8200 4.5l 4.5m] */
static void fragments_there_and_back(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    static uint8_t payload[8192];
    static uint8_t got[9000];
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 31 >> 3);
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_endpoint remote = {LAN_SRC(v4), 53};
        assert_int_equal(
            foyer_socket_send_to(lan->host, socket, payload, sizeof(payload), &remote, lan->now),
            sizeof(payload));
        unsigned count = lan_pull(lan);
        assert_int_equal(count, 6); /* 8200 bytes, 1480 or 1448 in each */
        uint32_t seen = 0;
        for (unsigned i = 0; i < count; i++) {
            struct lan_frame *frame = &lan->frames[i];
            struct lan_view view;
            assert_true(frame->size <= 1514);
            assert_true(lan_view(frame, &view));
            assert_int_equal(view.fragment_offset, seen);
            assert_int_equal(view.more_fragments, i + 1 < count);
            seen += (uint32_t)view.size;
        }
        assert_int_equal(seen, sizeof(payload) + 8);
        /* Mirrored: the addresses change places, which no checksum notices; the last one first. */
        uint8_t frames[6][1514];
        size_t sizes[6];
        for (unsigned i = 0; i < count; i++) {
            uint8_t *bytes = frames[i];
            uint8_t addr[16];
            size_t at = v4 ? 26 : 22;
            size_t addr_size = v4 ? 4 : 16;
            sizes[i] = lan->frames[i].size;
            memcpy(bytes, lan->frames[i].bytes, sizes[i]);
            memcpy(bytes, lan_host_mac, 6);
            memcpy(bytes + 6, lan_peer_mac, 6);
            memcpy(addr, bytes + at, addr_size);
            memcpy(bytes + at, bytes + at + addr_size, addr_size);
            memcpy(bytes + at + addr_size, addr, addr_size);
        }
        for (unsigned i = count; i-- > 0;)
            lan_input(lan, frames[i], sizes[i]);
        assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now),
                         sizeof(payload));
        assert_memory_equal(got, payload, sizeof(payload));
    }
    assert_int_equal(lan_stats(lan).in_reassembled, 2);
}

/* ---- rings ----------------------------------------------------------------------------------------- */

struct shared_rings {
    struct foyer_ring_shared rx_shared, tx_shared;
    uint8_t rx_data[8192], tx_data[8192];
    struct foyer_ring rx, tx;
};

static struct shared_rings *share(struct lan *lan, foyer_socket socket)
{
    struct shared_rings *rings = aligned_alloc(64, (sizeof(*rings) + 63) & ~(size_t)63);
    assert_non_null(rings);
    memset(rings, 0, sizeof(*rings));
    rings->rx = (struct foyer_ring){&rings->rx_shared, rings->rx_data, sizeof(rings->rx_data)};
    rings->tx = (struct foyer_ring){&rings->tx_shared, rings->tx_data, sizeof(rings->tx_data)};
    assert_int_equal(foyer_socket_set_rings(lan->host, socket, &rings->rx, &rings->tx), 0);
    return rings;
}

static void put_record(struct shared_rings *rings, const struct foyer_addr *peer, uint16_t port,
                       const void *payload, uint32_t size, uint16_t segment_size)
{
    struct foyer_datagram_header header = {
        .payload_size = size, .segment_size = segment_size, .peer_port = port};
    uint32_t head = foyer_ring_head(&rings->tx);
    memcpy(header.peer_addr, peer->bytes, 16);
    foyer_ring_put(&rings->tx, head, &header, sizeof(header));
    foyer_ring_put(&rings->tx, head + 48, payload, size);
    foyer_ring_publish_head(&rings->tx, head + foyer_datagram_record_size(size));
}

static void segments_are_split(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    struct shared_rings *rings = share(lan, socket);
    uint8_t payload[2500];
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)i;
    put_record(rings, &lan_peer6, 9, payload, sizeof(payload), 1000);
    foyer_socket_poke(lan->host, socket, lan->now);
    assert_int_equal(lan_pull(lan), 3);
    const size_t sizes[] = {1000, 1000, 500};
    for (unsigned i = 0; i < 3; i++) {
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.size, 8 + sizes[i]);
        assert_memory_equal(view.transport + 8, payload + i * 1000, sizes[i]);
    }
    assert_int_equal(foyer_ring_used(&rings->tx), 0);
    foyer_socket_close(lan->host, socket, lan->now);
    free(rings);
}

static void segments_are_offloaded(void **state)
{
    (void)state;
    struct lan *lan = lan_create(FOYER_LINK_USO, NULL);
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    struct shared_rings *rings = share(lan, socket);
    static uint8_t payload[2500];
    put_record(rings, &lan_peer4, 9, payload, sizeof(payload), 1000);
    foyer_socket_poke(lan->host, socket, lan->now);
    assert_int_equal(lan_pull(lan), 1);
    const struct lan_frame *frame = lan_next(lan);
    assert_int_equal(frame->gso_type, FOYER_GSO_UDP);
    assert_int_equal(frame->gso_size, 1000);
    assert_int_equal(frame->flags, FOYER_PACKET_CHECKSUM_PARTIAL);
    assert_int_equal(frame->size, 42 + 2500);
    foyer_socket_close(lan->host, socket, lan->now);
    free(rings);
    lan_destroy(lan);
}

/* What a hostile program may leave in a ring; each costs it the stream and nothing else. */
/* A link coalesces datagrams of a flow: the program sees each of them, the last one shorter. */
static void coalesced_datagrams_are_cut(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        static uint8_t bytes[2100], frame[2300];
        struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
        foyer_socket socket =
            lan_bound(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP, &dst, 700);
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(i / 1000 + 1);
        size_t size = lan_udp(frame, &src, 9, &dst, 700, bytes, sizeof(bytes));
        struct foyer_packet packet = {.spans = {{frame, 100}, {frame + 100, size - 100}},
                                      .span_count = 2,
                                      .gso_type = FOYER_GSO_UDP,
                                      .gso_size = 1000,
                                      .arrival_ns = lan->now};
        foyer_host_input(lan->host, &packet, 1, lan->now);
        const int64_t sizes[] = {1000, 1000, 100, -EAGAIN};
        for (unsigned i = 0; i < 4; i++) {
            uint8_t buffer[1500] = {0};
            assert_int_equal(foyer_socket_recv(lan->host, socket, buffer, sizeof(buffer), lan->now),
                             sizes[i]);
            if (i < 3) {
                assert_int_equal(buffer[0], i + 1);
                assert_int_equal(buffer[sizes[i] - 1], i + 1);
            }
        }
    }
}

static void hostile_tx_rings(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    for (int kind = 0; kind < 5; kind++) {
        foyer_socket socket = dual_stack(lan, 53);
        struct shared_rings *rings = share(lan, socket);
        struct foyer_datagram_header header = {.payload_size = 10, .peer_port = 9};
        memcpy(header.peer_addr, lan_peer4.bytes, 16);
        uint32_t head = 64;
        switch (kind) {
        case 0: /* more bytes than the ring has */
            head = 8193;
            break;
        case 1: /* head before tail */
            head = UINT32_MAX;
            break;
        case 2: /* a header cut short */
            head = 8;
            break;
        case 3: /* a size that wraps in arithmetic */
            header.payload_size = UINT32_MAX - 3;
            break;
        case 4: /* a payload that is not there */
            header.payload_size = 4000;
            break;
        }
        foyer_ring_put(&rings->tx, 0, &header, sizeof(header));
        foyer_ring_publish_head(&rings->tx, head);
        foyer_socket_poke(lan->host, socket, lan->now);
        assert_int_equal(lan_pull(lan), 0);
        assert_int_equal(foyer_socket_take_error(lan->host, socket), -ECONNRESET);
        foyer_socket_close(lan->host, socket, lan->now);
        free(rings);
    }
}

static void forged_tail_does_not_replay(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    foyer_socket socket = dual_stack(lan, 53);
    struct shared_rings *rings = share(lan, socket);
    put_record(rings, &lan_peer4, 9, "once", 4, 0);
    foyer_socket_poke(lan->host, socket, lan->now);
    assert_int_equal(lan_pull(lan), 1);
    foyer_ring_publish_tail(&rings->tx, 0);
    foyer_socket_poke(lan->host, socket, lan->now);
    assert_int_equal(lan_pull(lan), 0);
    foyer_socket_close(lan->host, socket, lan->now);
    free(rings);
}

static void hostile_rx_rings(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    foyer_socket socket = dual_stack(lan, 53);
    struct shared_rings *rings = share(lan, socket);
    foyer_ring_publish_tail(&rings->rx, 5000); /* read more than was written */
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 1, &lan_host4, 53, "x", 1));
    assert_int_equal(foyer_socket_take_error(lan->host, socket), -ECONNRESET);
    /* A forged head is not where the stack writes. */
    foyer_ring_publish_tail(&rings->rx, 0);
    foyer_ring_publish_head(&rings->rx, 0x7fffffff);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 1, &lan_host4, 53, "x", 1));
    assert_int_equal(foyer_ring_head(&rings->rx), 56);
    foyer_socket_close(lan->host, socket, lan->now);
    free(rings);
}

static void full_rx_ring_drops_the_newest(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    struct shared_rings *rings = share(lan, socket);
    static uint8_t payload[1000];
    uint8_t frame[1200];
    for (int i = 0; i < 10; i++)
        lan_input(lan, frame, lan_udp(frame, &lan_peer4, 1, &lan_host4, 53, payload, 1000));
    assert_int_equal(lan_stats(lan).udp_in_datagrams, 7); /* 7 * 1048 of 8192 */
    assert_int_equal(lan_stats(lan).udp_full, 3);
    foyer_socket_close(lan->host, socket, lan->now);
    free(rings);
}

static void set_rings_moves_what_waits(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    foyer_socket socket = dual_stack(lan, 53);
    struct foyer_endpoint remote = {lan_peer4, 9};
    lan_introduce_peer(lan);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 1, &lan_host4, 53, "in", 2));
    foyer_socket_send_to(lan->host, socket, "out", 3, &remote, lan->now);
    struct shared_rings *rings = share(lan, socket);
    assert_int_equal(foyer_ring_used(&rings->rx), 56);
    assert_int_equal(foyer_ring_used(&rings->tx), 56);
    assert_int_equal(lan_pull(lan), 1);
    struct lan_view view;
    assert_true(lan_view(lan_next(lan), &view));
    assert_memory_equal(view.transport + 8, "out", 3);
    assert_int_equal(foyer_socket_recv(lan->host, socket, frame, 9, lan->now), 2);
    foyer_socket_close(lan->host, socket, lan->now);
    free(rings);
}

static void close_sends_what_was_written(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    for (int shared = 0; shared < 2; shared++) {
        foyer_socket socket = dual_stack(lan, 53);
        struct shared_rings *rings = shared ? share(lan, socket) : NULL;
        struct foyer_endpoint remote = {lan_peer4, 9};
        if (shared) {
            put_record(rings, &lan_peer4, 9, "last words", 10, 0);
            foyer_socket_poke(lan->host, socket, lan->now);
        } else {
            foyer_socket_send_to(lan->host, socket, "last words", 10, &remote, lan->now);
        }
        assert_int_equal(foyer_socket_close(lan->host, socket, lan->now), 0);
        free(rings); /* not touched any more */
        assert_int_equal(foyer_socket_close(lan->host, socket, lan->now), -EBADF);
        foyer_socket again = dual_stack(lan, 53); /* the port is free */
        assert_int_equal(lan_pull(lan), 1);
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_memory_equal(view.transport + 8, "last words", 10);
        foyer_socket_close(lan->host, again, lan->now);
    }
    foyer_socket none = FOYER_SOCKET_NONE;
    assert_false(foyer_socket_next(lan->host, &none));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(receives_both_families),
        TEST(cut_datagram_reports_its_size),
        TEST(checksum_rules),
        TEST(zero_source_port_is_delivered),
        TEST(sends_with_right_checksum),
        TEST(transmitted_zero_becomes_ffff),
        TEST(connected_socket_hears_only_its_peer),
        TEST(nobody_listens_unreachable),
        TEST(group_datagrams),
        TEST(loopback_round_trip),
        TEST(loopback_refused),
        TEST(size_limits),
        TEST(fragments_there_and_back),
        TEST(segments_are_split),
        cmocka_unit_test(segments_are_offloaded),
        TEST(coalesced_datagrams_are_cut),
        TEST(hostile_tx_rings),
        TEST(forged_tail_does_not_replay),
        TEST(hostile_rx_rings),
        TEST(full_rx_ring_drops_the_newest),
        TEST(set_rings_moves_what_waits),
        TEST(close_sends_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
