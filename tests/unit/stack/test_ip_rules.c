/*
 * More rules of RFC 1122, 4861, 4862 and 8200 that no other test is about: what is answered, from
 * which address, by which header; what neighbours and groups are left as they were.
 */
#include "lan.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/icmp.h"

static uint8_t frame[LAN_FRAME_SIZE_MAX];
static const struct foyer_addr all_nodes = {{0xff, 2, [15] = 1}};

/* ---- errors --------------------------------------------------------------------------------------- */

/* Of an unknown protocol, which whole would be answered. [test RFC1122 3.2.2h] */
static void no_error_for_a_later_fragment(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    for (unsigned offset = 0; offset < 2; offset++) {
        size_t at = lan_ip(frame, &lan_peer4, &lan_host4, 200, 64);
        uint8_t *ip = frame + WIRE_ETH_SIZE;
        memset(frame + at, 0, 64);
        store_be16(ip + 6, (uint16_t)(0x2000 + 8 * offset)); /* more to come */
        lan_seal_ipv4(frame);
        lan_input(lan, frame, at + 64);
        lan_wait(lan, 120 * FOYER_NS_PER_S);
        /* Time exceeded, once the first one is there. */
        lan_pull(lan);
        unsigned errors = 0;
        for (unsigned i = 0; i < lan->frame_count; i++) {
            struct lan_view view;
            errors += lan_view(&lan->frames[i], &view) && view.is_v4 &&
                      view.protocol == WIRE_PROTOCOL_ICMP;
        }
        assert_int_equal(errors, offset == 0);
    }
}

/* [test RFC1122 3.2.2i 2.4a] */
static void no_error_for_a_broadcast_frame(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    for (int is_broadcast = 0; is_broadcast < 2; is_broadcast++) {
        size_t size = lan_udp(frame, &lan_peer4, 9, &lan_host4, 99, "x", 1);
        if (is_broadcast)
            memset(frame, 0xff, 6);
        lan_input(lan, frame, size);
        assert_int_equal(lan_pull(lan), !is_broadcast);
    }
}

/* A quoted TCP header with the ports of a UDP socket is not the UDP socket's. [test RFC1122 3.2.2j] */
static void an_error_goes_to_the_protocol_it_quotes(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    for (int is_udp = 0; is_udp < 2; is_udp++) {
        foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V4, FOYER_UDP, &lan_host4, 4000);
        struct foyer_endpoint remote = {lan_peer4, 9};
        assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), 0);
        foyer_socket_send(lan->host, socket, "0123456789ab", 12, lan->now);
        assert_int_equal(lan_pull(lan), 1);
        uint8_t quoted[40];
        memcpy(quoted, lan_next(lan)->bytes + WIRE_ETH_SIZE, sizeof(quoted));
        quoted[9] = is_udp ? WIRE_PROTOCOL_UDP : WIRE_PROTOCOL_TCP;
        lan_input(lan, frame,
                  lan_icmp(frame, &lan_peer4, &lan_host4, 3, 3, 0, quoted, sizeof(quoted)));
        assert_int_equal(foyer_socket_take_error(lan->host, socket), is_udp ? -ECONNREFUSED : 0);
        foyer_socket_close(lan->host, socket, lan->now);
    }
}

/* ---- addresses ------------------------------------------------------------------------------------ */

/* A socket may hear a group by being bound to it; what it sends comes from an address of the host.
 * [test RFC1122 3.2.1.3e 4.1.3.5c] */
static void groups_are_no_source(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr locals[] = {foyer_addr_v4(10, 0, 0, 255),
                                        foyer_addr_v4(255, 255, 255, 255),
                                        foyer_addr_v4(224, 0, 0, 1), all_nodes};
    lan_introduce_peer(lan);
    for (size_t i = 0; i < sizeof(locals) / sizeof(locals[0]); i++) {
        bool v4 = foyer_addr_is_v4(&locals[i]);
        foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint local = {locals[i], 4000}, remote = {LAN_SRC(v4), 9};
        struct foyer_addr host = LAN_DST(v4);
        struct lan_view view;
        if (foyer_socket_bind(lan->host, socket, &local, NULL) < 0)
            continue;
        if (foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now) == 1) {
            assert_int_equal(lan_pull(lan), 1);
            assert_true(lan_view(lan_next(lan), &view));
            assert_true(foyer_addr_eq(&view.src, &host));
        }
        foyer_socket_close(lan->host, socket, lan->now);
    }
    /* Where nothing was bound, the program is told what was chosen. */
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint remote = {lan_peer4, 9};
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), 0);
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    assert_true(foyer_addr_eq(&info.local.addr, &lan_host4));
}

/* ---- sizes ---------------------------------------------------------------------------------------- */

static void small_link(struct foyer_host_config *config)
{
    config->mtu = 1300;
}

/* [test RFC1122 3.3.3c] [test RFC8200 4.5m] */
static void link_mtu_is_the_callers(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, small_link);
    static const uint8_t payload[3000];
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint remote = {LAN_SRC(v4), 9};
        foyer_socket_send_to(lan->host, socket, payload, sizeof(payload), &remote, lan->now);
        assert_int_equal(lan_pull(lan), 3);
        for (unsigned i = 0; i < 3; i++)
            assert_in_range(lan->frames[i].size, WIRE_ETH_SIZE, WIRE_ETH_SIZE + 1300);
        assert_true(lan->frames[0].size > WIRE_ETH_SIZE + 1280);
    }
    lan_destroy(lan);
}

/* There is no limit but IP's own: MMS_R is 65515. [test RFC1122 3.3.2f] */
static void the_largest_datagram_is_put_together(void **state)
{
    struct lan *lan = *state;
    static uint8_t payload[65507], got[65536], pieces[50][1514];
    size_t sizes[50];
    foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V4, FOYER_UDP, &lan_host4, 53);
    struct foyer_endpoint remote = {lan_peer4, 53};
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)(i * 7 >> 2);
    lan_introduce_peer(lan);
    assert_int_equal(
        foyer_socket_send_to(lan->host, socket, payload, sizeof(payload), &remote, lan->now),
        sizeof(payload));
    unsigned count = lan_pull(lan);
    assert_int_equal(count, 45);
    for (unsigned i = 0; i < count; i++) {
        /* The addresses change places, which no checksum notices. */
        sizes[i] = lan->frames[i].size;
        memcpy(pieces[i], lan->frames[i].bytes, sizes[i]);
        memcpy(pieces[i], lan_host_mac, 6);
        memcpy(pieces[i] + 6, lan_peer_mac, 6);
        memcpy(pieces[i] + 26, lan_peer4.bytes + 12, 4);
        memcpy(pieces[i] + 30, lan_host4.bytes + 12, 4);
    }
    for (unsigned i = 0; i < count; i++)
        lan_input(lan, pieces[i], sizes[i]);
    assert_int_equal(foyer_socket_recv(lan->host, socket, got, sizeof(got), lan->now),
                     sizeof(payload));
    assert_memory_equal(got, payload, sizeof(payload));
}

/* ---- marks ---------------------------------------------------------------------------------------- */

/* A datagram of two fragments with these IP-ECN fields; the last one comes first where that is said. */
static void input_halves(struct lan *lan, bool v4, const uint8_t ecn[2], bool is_reversed,
                         uint16_t id)
{
    uint8_t bytes[64];
    struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
    size_t header = WIRE_ETH_SIZE + (v4 ? WIRE_IPV4_SIZE : WIRE_IPV6_SIZE);
    size_t size = lan_udp(frame, &src, 9, &dst, 53, "0123456789abcdef01234567", 24) - header;
    memcpy(bytes, frame + header, size);
    for (int i = 0; i < 2; i++) {
        int half = is_reversed ? 1 - i : i;
        size_t part = half == 0 ? 16 : size - 16;
        size_t at = lan_ip(frame, &src, &dst, v4 ? WIRE_PROTOCOL_UDP : 44, part + (v4 ? 0 : 8));
        uint8_t *ip = frame + WIRE_ETH_SIZE;
        if (v4) {
            ip[1] = ecn[half];
            store_be16(ip + 4, id);
            store_be16(ip + 6, half == 0 ? 0x2000 : 2);
            lan_seal_ipv4(frame);
        } else {
            ip[1] = (uint8_t)(ecn[half] << 4);
            frame[at] = WIRE_PROTOCOL_UDP;
            frame[at + 1] = 0;
            store_be16(frame + at + 2, half == 0 ? 1 : 16);
            store_be32(frame + at + 4, id);
            at += 8;
        }
        memcpy(frame + at, bytes + (half == 0 ? 0 : 16), part);
        lan_input(lan, frame, at + part);
    }
}

/* [test RFC3168 5.3a 5.3b 5.3c] */
static void marks_of_fragments_are_the_datagrams(void **state)
{
    struct lan *lan = *state;
    static const struct {
        uint8_t ecn[2];
        int whole; /* -1: dropped */
    } rows[] = {{{0, 0}, 0}, {{1, 1}, 1}, {{2, 2}, 2},  {{3, 3}, 3}, {{2, 3}, 3},
                {{3, 2}, 3}, {{1, 3}, 3}, {{0, 3}, -1}, {{3, 0}, -1}};
    static const struct foyer_addr any6;
    foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &any6, 53);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (unsigned way = 0; way < 4; way++) {
            struct foyer_datagram datagram = {.tos = -1};
            uint8_t bytes[64];
            input_halves(lan, (way & 1) != 0, rows[i].ecn, (way & 2) != 0, (uint16_t)(4 * i + way));
            int64_t got =
                foyer_socket_recv_datagram(lan->host, socket, bytes, sizeof(bytes), &datagram);
            if (got != (rows[i].whole < 0 ? -EAGAIN : 24) ||
                (rows[i].whole >= 0 && (datagram.tos & 3) != rows[i].whole))
                fail_msg("row %zu way %u: %lld, %d", i, way, (long long)got, datagram.tos);
        }
    }
    assert_int_equal(lan->host->reassembly_count, 0);
}

/* ---- IPv6 headers --------------------------------------------------------------------------------- */

/* [test RFC8200 4d 8.4a] */
static void headers_in_any_order_and_none_in_the_answer(void **state)
{
    struct lan *lan = *state;
    static const struct {
        uint8_t first;
        uint8_t bytes[32];
        uint8_t size;
    } rows[] = {
        {43, {58, 0, 0, 0}, 8},                           /* routing */
        {60, {43, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 0}, 16}, /* destination, routing */
        {43, {60, 0, 0, 0, 0, 0, 0, 0, 58, 0, 1, 4}, 16}, /* the reverse */
        {60, {60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4}, 24}, /* thrice */
    };
    lan_introduce_peer(lan);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t size = lan_icmp(frame, &lan_peer6, &lan_host6, 128, 0, 0x70001, "echo", 4);
        uint8_t *ip = frame + WIRE_ETH_SIZE;
        memmove(ip + 40 + rows[i].size, ip + 40, size - WIRE_ETH_SIZE - 40);
        memcpy(ip + 40, rows[i].bytes, rows[i].size);
        ip[6] = rows[i].first;
        store_be16(ip + 4, (uint16_t)(load_be16(ip + 4) + rows[i].size));
        lan_input(lan, frame, size + rows[i].size);
        struct lan_view view;
        if (lan_pull(lan) != 1)
            fail_msg("row %zu is not answered", i);
        const struct lan_frame *sent = lan_next(lan);
        assert_true(lan_view(sent, &view));
        assert_int_equal(view.transport[0], WIRE_ICMP6_ECHO_REPLY);
        assert_int_equal(sent->bytes[WIRE_ETH_SIZE + 6], WIRE_PROTOCOL_ICMP6);
        assert_int_equal(sent->size, WIRE_ETH_SIZE + 40 + 12);
    }
}

/* ---- neighbours ----------------------------------------------------------------------------------- */

/* [test RFC4861 6.1.1a 6.2.4a] */
static void router_solicitations_are_for_routers(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr all_routers = {{0xff, 2, [15] = 2}};
    struct wire_ndp ask = {.type = WIRE_ICMP6_ROUTER_SOLICITATION, .has_source_mac = true};
    memcpy(ask.source_mac, lan_peer_mac, 6);
    lan_send_ndp(lan, &ask, &lan_peer6, &all_routers, 255);
    lan_send_ndp(lan, &ask, &lan_peer6, &all_nodes, 255);
    lan_send_ndp(lan, &ask, &lan_peer6, &lan_host6, 255);
    assert_int_equal(lan_pull(lan), 0);
    assert_int_equal(lan->host->neighbour_count, 0);
}

/* [test RFC4861 7.2.3c 7.2.4c] */
static void who_is_a_router_only_routers_say(void **state)
{
    struct lan *lan = *state;
    struct wire_ndp ask = {
        .type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION, .target = lan_host6, .has_source_mac = true};
    struct foyer_addr group = ip_solicited_node(&lan_host6);
    struct neighbour *neighbour = neighbour_get(lan->host, &lan_peer6);
    struct lan_view view;
    memcpy(ask.source_mac, lan_peer_mac, 6);
    neighbour_learn(lan->host, neighbour, lan_peer_mac, true, lan->now);
    for (int is_router = 0; is_router < 2; is_router++) {
        neighbour->is_router = is_router != 0;
        lan_send_ndp(lan, &ask, &lan_peer6, &group, 255);
        assert_int_equal(neighbour->is_router, is_router);
        assert_int_equal(lan_pull(lan), 1);
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.transport[0], WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT);
        assert_int_equal(view.transport[4] & 0x80, 0); /* R: we are none */
    }
}

/* [test RFC4861 9a 9b] */
static void options_come_in_any_order_among_unknown_ones(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr group = ip_solicited_node(&lan_host6);
    for (unsigned place = 0; place < 3; place++) {
        uint8_t message[48] = {WIRE_ICMP6_NEIGHBOUR_SOLICITATION};
        memcpy(message + 8, lan_host6.bytes, 16);
        for (unsigned i = 0; i < 3; i++) {
            uint8_t *option = message + 24 + 8 * i;
            option[0] = i == place ? 1 : (uint8_t)(200 + i);
            option[1] = 1;
            memcpy(option + 2, lan_peer_mac, 6);
            option[7] = (uint8_t)(option[7] + place);
        }
        size_t at = lan_ip(frame, &lan_peer6, &group, WIRE_PROTOCOL_ICMP6, sizeof(message));
        memcpy(frame + at, message, sizeof(message));
        lan_seal(frame, at + sizeof(message));
        lan_input(lan, frame, at + sizeof(message));
        const struct neighbour *neighbour = neighbour_find(lan->host, &lan_peer6);
        assert_non_null(neighbour);
        assert_int_equal(neighbour->mac[5], (uint8_t)(lan_peer_mac[5] + place));
    }
}

/* Two addresses that end alike share a solicited-node group. [test RFC4861 7.2.1b] */
static void a_shared_group_is_left_with_its_last_address(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr first = {{0xfd, [13] = 1, [14] = 2, [15] = 3}}, second = first;
    second.bytes[5] = 9;
    struct foyer_addr group = ip_solicited_node(&first);
    assert_int_equal(foyer_host_add_address(lan->host, &first, 64), 0);
    assert_int_equal(foyer_host_add_address(lan->host, &second, 64), 0);
    assert_int_equal(foyer_host_remove_address(lan->host, &first), 0);
    assert_true(ip_is_joined(lan->host, &group));
    assert_int_equal(foyer_host_remove_address(lan->host, &second), 0);
    assert_false(ip_is_joined(lan->host, &group));
}

/* A duplicate shows before our own probe went out. [test RFC4862 5.4.2d] */
static void what_comes_before_the_first_probe_counts(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr addr = lan_addr6(0x44);
    struct foyer_address_info infos[32];
    assert_int_equal(foyer_host_claim_address(lan->host, &addr, 64, lan->now), 0);
    struct wire_ndp taken = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                             .target = addr,
                             .is_override = true,
                             .has_target_mac = true};
    memcpy(taken.target_mac, lan_peer_mac, 6);
    lan_send_ndp(lan, &taken, &addr, &all_nodes, 255);
    size_t count = foyer_host_addresses(lan->host, infos, 32);
    for (size_t i = 0; i < count; i++)
        if (foyer_addr_eq(&infos[i].addr, &addr))
            assert_int_equal(infos[i].state, FOYER_ADDRESS_DUPLICATE);
    lan_wait(lan, 5 * FOYER_NS_PER_S);
    assert_false(foyer_host_has_address(lan->host, &addr));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(no_error_for_a_later_fragment),
        TEST(no_error_for_a_broadcast_frame),
        TEST(an_error_goes_to_the_protocol_it_quotes),
        TEST(groups_are_no_source),
        cmocka_unit_test(link_mtu_is_the_callers),
        TEST(the_largest_datagram_is_put_together),
        TEST(marks_of_fragments_are_the_datagrams),
        TEST(headers_in_any_order_and_none_in_the_answer),
        TEST(router_solicitations_are_for_routers),
        TEST(who_is_a_router_only_routers_say),
        TEST(options_come_in_any_order_among_unknown_ones),
        TEST(a_shared_group_is_left_with_its_last_address),
        TEST(what_comes_before_the_first_probe_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
