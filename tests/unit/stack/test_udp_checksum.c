/*
 * UDP without a checksum, which RFC 8200 forbids and RFC 6935 and 6936 allow ports that say so: what
 * is sent, what is taken, and that all else is as it was.
 */
#include "lan.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static const struct foyer_addr any6;

static foyer_socket open_port(struct lan *lan, uint16_t port, bool may_receive, bool may_send)
{
    foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &any6, port);
    int64_t value = -1;

    assert_int_equal(
        foyer_socket_get_option(lan->host, socket, FOYER_OPT_UDP_ZERO_CHECKSUM_SEND, &value), 0);
    assert_int_equal(value, 0); /* by default */
    assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE,
                                             may_receive),
                     0);
    assert_int_equal(
        foyer_socket_set_option(lan->host, socket, FOYER_OPT_UDP_ZERO_CHECKSUM_SEND, may_send), 0);
    assert_int_equal(
        foyer_socket_get_option(lan->host, socket, FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE, &value), 0);
    assert_int_equal(value, may_receive);
    return socket;
}

/* [test RFC8200 8.1c 8.1d] [test RFC6935 5b 5c] [test RFC6936 4c 4d 4e 4f] */
static void only_ports_that_say_so_take_it(void **state)
{
    struct lan *lan = *state;
    static const struct foyer_addr all_nodes = {{0xff, 2, [15] = 1}};
    static const struct {
        bool is_open;
        int checksum; /* -1: right */
        bool is_taken;
    } rows[] = {{true, 0, true},
                {true, -1, true},
                {true, 0x1234, false},
                {false, 0, false},
                {false, -1, true}};
    uint8_t frame[256], byte;

    lan_introduce_peer(lan);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int is_group = 0; is_group < 2; is_group++) {
            foyer_socket socket = open_port(lan, (uint16_t)(6000 + i), rows[i].is_open, false);
            struct foyer_host_stats before = lan_stats(lan);
            size_t size = lan_udp(frame, &lan_peer6, 9, is_group ? &all_nodes : &lan_host6,
                                  (uint16_t)(6000 + i), "x", 1);
            if (rows[i].checksum >= 0)
                store_be16(frame + WIRE_ETH_SIZE + WIRE_IPV6_SIZE + 6, (uint16_t)rows[i].checksum);
            lan_input(lan, frame, size);
            int64_t got = foyer_socket_recv(lan->host, socket, &byte, 1, lan->now);
            if (got != (rows[i].is_taken ? 1 : -EAGAIN))
                fail_msg("row %zu: %lld", i, (long long)got);
            assert_int_equal(lan_stats(lan).in_dropped_checksum - before.in_dropped_checksum,
                             !rows[i].is_taken);
            assert_int_equal(lan_pull(lan), 0);
            foyer_socket_close(lan->host, socket, lan->now);
        }
    }
    /* Nobody is there: who sent it is not known to be who it says, and gets no answer. */
    size_t size = lan_udp(frame, &lan_peer6, 9, &lan_host6, 7000, "x", 1);
    store_be16(frame + WIRE_ETH_SIZE + WIRE_IPV6_SIZE + 6, 0);
    lan_input(lan, frame, size);
    assert_int_equal(lan_pull(lan), 0);
}

/* Whole, in fragments, as segments; one that has to have one, has. [test RFC6935 5a]
 * [test RFC6936 4a 4b] */
static void only_ports_that_say_so_send_it(void **state)
{
    struct lan *lan = *state;
    static const uint8_t large[3000];

    lan_introduce_peer(lan);
    for (int is_open = 0; is_open < 2; is_open++) {
        foyer_socket socket = open_port(lan, 6000, false, is_open);
        for (int v4 = 0; v4 < 2; v4++) {
            struct foyer_datagram datagram = {.remote = {LAN_SRC(v4), 9}, .ttl = -1, .tos = -1};
            for (unsigned kind = 0; kind < 4; kind++) {
                struct lan_view view;
                datagram.segment_size = kind == 2 ? 1000 : 0;
                datagram.has_checksum = kind == 3;
                size_t size = kind == 1 || kind == 2 ? sizeof(large) : 10;
                assert_int_equal(
                    foyer_socket_send_datagram(lan->host, socket, large, size, &datagram, lan->now),
                    size);
                assert_int_equal(lan_pull(lan), size > 10 ? 3 : 1);
                for (unsigned i = 0; i < (kind == 2 ? 3u : 1u); i++) {
                    assert_true(lan_view(lan_next(lan), &view));
                    if ((load_be16(view.transport + 6) == 0) != (is_open && kind != 3))
                        fail_msg("open %d v4 %d kind %u", is_open, v4, kind);
                }
            }
        }
        foyer_socket_close(lan->host, socket, lan->now);
    }
}

static int setup_offload(void **state)
{
    *state = lan_create(FOYER_LINK_TX_CHECKSUM | FOYER_LINK_USO, NULL);
    return 0;
}

/* The link is not asked to fill one in. */
static void the_link_fills_none_in(void **state)
{
    struct lan *lan = *state;
    static const uint8_t large[3000];

    lan_introduce_peer(lan);
    foyer_socket socket = open_port(lan, 6000, false, true);
    struct foyer_datagram datagram = {
        .remote = {lan_peer6, 9}, .ttl = -1, .tos = -1, .segment_size = 1000};
    assert_int_equal(
        foyer_socket_send_datagram(lan->host, socket, large, sizeof(large), &datagram, lan->now),
        sizeof(large));
    assert_int_equal(lan_pull(lan), 3);
    for (unsigned i = 0; i < 3; i++) {
        const struct lan_frame *sent = lan_next(lan);
        assert_int_equal(sent->flags & FOYER_PACKET_CHECKSUM_PARTIAL, 0);
        assert_int_equal(load_be16(sent->bytes + WIRE_ETH_SIZE + WIRE_IPV6_SIZE + 6), 0);
    }
}

int main(void)
{
#define LAN(test) cmocka_unit_test_setup_teardown(test, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        LAN(only_ports_that_say_so_take_it),
        LAN(only_ports_that_say_so_send_it),
        cmocka_unit_test_setup_teardown(the_link_fills_none_in, setup_offload, lan_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
