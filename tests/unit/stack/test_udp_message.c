/* What a datagram can say besides its bytes: addresses, hop limit, segments; and errors of others. */
#include "lan.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/icmp.h"
#include "wire/udp.h"

static const struct foyer_addr any6;

static foyer_socket dual_stack(struct lan *lan, uint16_t port)
{
    return lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &any6, port);
}

static void set(struct lan *lan, foyer_socket socket, enum foyer_option option)
{
    int64_t value = 0;
    assert_int_equal(foyer_socket_set_option(lan->host, socket, option, 1), 0);
    assert_int_equal(foyer_socket_get_option(lan->host, socket, option, &value), 0);
    assert_int_equal(value, 1);
}

static int64_t send(struct lan *lan, foyer_socket socket, const void *bytes, size_t size,
                    struct foyer_datagram datagram)
{
    return foyer_socket_send_datagram(lan->host, socket, bytes, size, &datagram, lan->now);
}

static uint8_t tos_of(const struct lan_frame *frame, bool is_v4)
{
    const uint8_t *ip = frame->bytes + WIRE_ETH_SIZE;
    return is_v4 ? ip[1] : (uint8_t)(load_be16(ip) >> 4);
}

static void hop_limit_and_class_of_one_datagram(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_datagram datagram = {.remote = {LAN_SRC(v4), 9}, .ttl = 3, .tos = 0xb8};
        assert_int_equal(send(lan, socket, "x", 1, datagram), 1);
        datagram.ttl = datagram.tos = -1;
        assert_int_equal(send(lan, socket, "y", 1, datagram), 1);
        /* One that must be cut says the same. */
        static uint8_t large[3000];
        datagram.ttl = 4;
        datagram.tos = 0x20;
        assert_int_equal(send(lan, socket, large, sizeof(large), datagram), sizeof(large));
        assert_int_equal(lan_pull(lan), 5);
        for (unsigned i = 0; i < 5; i++) {
            static const uint8_t ttls[] = {3, 64, 4, 4, 4}, classes[] = {0xb8, 0, 0x20, 0x20, 0x20};
            const struct lan_frame *frame = lan_next(lan);
            struct lan_view view;
            assert_true(lan_view(frame, &view));
            assert_int_equal(view.ttl, ttls[i]);
            assert_int_equal(tos_of(frame, v4), classes[i]);
        }
    }
    struct foyer_datagram bad = {.remote = {lan_peer4, 9}, .ttl = 256, .tos = -1};
    assert_int_equal(send(lan, socket, "x", 1, bad), -EINVAL);
    bad.ttl = -2;
    assert_int_equal(send(lan, socket, "x", 1, bad), -EINVAL);
    bad.ttl = -1;
    bad.tos = 256;
    assert_int_equal(send(lan, socket, "x", 1, bad), -EINVAL);
}

static void received_ones_tell_all(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    uint8_t frame[256], byte;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
        struct foyer_datagram datagram;
        lan_input(lan, frame, lan_udp(frame, &src, 4000, &dst, 53, "h", 1));
        assert_int_equal(foyer_socket_recv_datagram(lan->host, socket, &byte, 1, &datagram), 1);
        assert_int_equal(datagram.ttl, v4 ? 64 : 255);
        assert_int_equal(datagram.tos, 0);
        assert_int_equal(datagram.remote.port, 4000);
        assert_true(foyer_addr_eq(&datagram.remote.addr, &src));
        assert_true(foyer_addr_eq(&datagram.local, &dst)); /* IP_PKTINFO */
        /* And so it can be answered, from the address that was asked. */
        assert_int_equal(send(lan, socket, "a", 1, datagram), 1);
    }
}

static void the_source_can_be_chosen(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr second = foyer_addr_v4(10, 0, 0, 77);
    const struct foyer_addr foreign = foyer_addr_v4(10, 0, 0, 78);
    assert_int_equal(foyer_host_add_address(lan->host, &second, 24), 0);
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    struct foyer_datagram datagram = {
        .remote = {lan_peer4, 9}, .local = second, .ttl = -1, .tos = -1};
    assert_int_equal(send(lan, socket, "x", 1, datagram), 1);
    lan_pull(lan);
    struct lan_view view;
    assert_true(lan_view(lan_next(lan), &view));
    assert_true(foyer_addr_eq(&view.src, &second));
    datagram.local = foreign;
    assert_int_equal(send(lan, socket, "x", 1, datagram), -EADDRNOTAVAIL);
    datagram.local = lan_host6; /* of the other family */
    assert_int_equal(send(lan, socket, "x", 1, datagram), -ENETUNREACH);
    /* A record in a ring that a program writes to is not believed either. */
    struct foyer_datagram_header header = {
        .payload_size = 0, .flags = FOYER_DATAGRAM_LOCAL, .peer_port = 9};
    memcpy(header.peer_addr, lan_peer4.bytes, 16);
    memcpy(header.local_addr, foreign.bytes, 16);
    struct sock *sock = sock_from_handle(lan->host, socket);
    uint32_t head = foyer_ring_head(&sock->rings->tx);
    foyer_ring_put(&sock->rings->tx, head, &header, sizeof(header));
    foyer_ring_publish_head(&sock->rings->tx, head + (uint32_t)sizeof(header));
    foyer_socket_poke(lan->host, socket, lan->now);
    assert_int_equal(lan_pull(lan), 0);
    assert_int_equal(foyer_socket_take_error(lan->host, socket), -EADDRNOTAVAIL);
}

static void segments_go_out_one_by_one(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    struct foyer_datagram datagram = {
        .remote = {lan_peer4, 9}, .ttl = -1, .tos = -1, .segment_size = 4};
    assert_int_equal(send(lan, socket, "0123456789", 10, datagram), 10);
    assert_int_equal(lan_pull(lan), 3);
    for (unsigned i = 0; i < 3; i++) {
        struct lan_view view;
        assert_true(lan_view(lan_next(lan), &view));
        assert_int_equal(view.size, WIRE_UDP_SIZE + (i == 2 ? 2 : 4));
    }
    static uint8_t many[65];
    datagram.segment_size = 1;
    assert_int_equal(send(lan, socket, many, 65, datagram), -EINVAL);
    assert_int_equal(send(lan, socket, many, 64, datagram), 64);
}

static void coalesced_ones_stay_together_where_that_is_wanted(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256], bytes[64];
    foyer_socket socket = dual_stack(lan, 53);
    size_t size = lan_udp(frame, &lan_peer4, 4000, &lan_host4, 53, "0123456789", 10);
    struct foyer_packet packet = {.spans = {{frame, size}},
                                  .span_count = 1,
                                  .gso_type = FOYER_GSO_UDP,
                                  .gso_size = 4,
                                  .flags = FOYER_PACKET_CHECKSUM_VALID};
    struct foyer_datagram datagram;
    foyer_host_input(lan->host, &packet, 1, lan->now);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(foyer_socket_recv_datagram(lan->host, socket, bytes, 64, &datagram),
                         i == 2 ? 2 : 4);
        assert_int_equal(datagram.segment_size, 0);
    }
    set(lan, socket, FOYER_OPT_UDP_GRO);
    foyer_host_input(lan->host, &packet, 1, lan->now);
    assert_int_equal(foyer_socket_recv_datagram(lan->host, socket, bytes, 64, &datagram), 10);
    assert_int_equal(datagram.segment_size, 4);
    assert_memory_equal(bytes, "0123456789", 10);
    packet.gso_size = 10; /* one alone needs no cutting */
    foyer_host_input(lan->host, &packet, 1, lan->now);
    assert_int_equal(foyer_socket_recv_datagram(lan->host, socket, bytes, 64, &datagram), 10);
    assert_int_equal(datagram.segment_size, 0);
}

/* The router's word about the datagram that was sent last. */
static void report(struct lan *lan, bool v4, uint8_t type, uint8_t code, uint32_t word)
{
    uint8_t frame[512], quote[128];
    lan_pull(lan);
    const struct lan_frame *sent = lan_next(lan);
    assert_non_null(sent);
    size_t size = sent->size - WIRE_ETH_SIZE;
    memcpy(quote, sent->bytes + WIRE_ETH_SIZE, size);
    struct foyer_addr router = v4 ? foyer_addr_v4(10, 0, 0, 254) : lan_addr6(254);
    struct foyer_addr dst = LAN_DST(v4);
    lan_input(lan, frame, lan_icmp(frame, &router, &dst, type, code, word, quote, size));
}

static void errors_are_queued_with_their_origin(void **state)
{
    struct lan *lan = *state;
    struct foyer_socket_error error;
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), -EAGAIN);
    set(lan, socket, FOYER_OPT_RECVERR);
    static const struct {
        bool v4;
        uint8_t type, code;
        uint32_t word;
        int error;
        uint32_t info;
    } cases[] = {
        {true, 3, 3, 0, -ECONNREFUSED, 0},   {true, 11, 0, 0, -EHOSTUNREACH, 0},
        {true, 3, 4, 1200, -EMSGSIZE, 1200}, {false, 1, 4, 0, -ECONNREFUSED, 0},
        {false, 3, 0, 0, -EHOSTUNREACH, 0},  {false, 2, 0, 1300, -EMSGSIZE, 1300},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool v4 = cases[i].v4;
        struct foyer_datagram datagram = {.remote = {LAN_SRC(v4), 99}, .ttl = -1, .tos = -1};
        assert_int_equal(send(lan, socket, "probe", 5, datagram), 5);
        report(lan, v4, cases[i].type, cases[i].code, cases[i].word);
        struct foyer_event event;
        assert_true(foyer_host_events(lan->host, &event, 1) == 1 &&
                    (event.events & FOYER_EVENT_ERROR) != 0);
        /* Not connected, and soft ones too: that is what the option asks for. */
        assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), 0);
        assert_int_equal(error.error, cases[i].error);
        assert_int_equal(error.origin, v4 ? FOYER_ERROR_ICMP : FOYER_ERROR_ICMP6);
        assert_int_equal(error.type, cases[i].type);
        assert_int_equal(error.code, cases[i].code);
        assert_int_equal(error.info, cases[i].info);
        assert_int_equal(error.offender.bytes[15], 254);
        assert_int_equal(error.remote.port, 99);
        struct foyer_addr remote = LAN_SRC(v4);
        assert_true(foyer_addr_eq(&error.remote.addr, &remote));
        assert_int_equal(error.payload_size, 5);
        assert_memory_equal(error.payload, "probe", 5);
        assert_int_equal(foyer_socket_take_error(lan->host, socket), 0); /* taken with it */
    }
    assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), -EAGAIN);
}

static void the_queue_is_bounded_and_goes_with_the_socket(void **state)
{
    struct lan *lan = *state;
    struct foyer_socket_error error;
    foyer_socket socket = dual_stack(lan, 53);
    lan_introduce_peer(lan);
    lan->fail_after = 0;
    assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_RECVERR, 1), -ENOMEM);
    lan->fail_after = UINT32_MAX;
    set(lan, socket, FOYER_OPT_RECVERR);
    for (unsigned i = 0; i < 20; i++) {
        struct foyer_datagram datagram = {
            .remote = {lan_peer4, (uint16_t)(100 + i)}, .ttl = -1, .tos = -1};
        while (send(lan, socket, "", 0, datagram) < 0)
            ; /* the pending error of the one before */
        report(lan, true, 3, 3, 0);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), 0);
        assert_int_equal(error.remote.port, 100 + i);
        assert_int_equal(foyer_socket_take_error(lan->host, socket), i < 15 ? -ECONNREFUSED : 0);
    }
    assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), -EAGAIN);
    assert_int_equal(foyer_socket_close(lan->host, socket, lan->now), 0);
    /* lan_teardown finds whether anything was left. */
    foyer_socket tcp = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(foyer_socket_set_option(lan->host, tcp, FOYER_OPT_RECVERR, 1), -ENOPROTOOPT);
    assert_int_equal(foyer_socket_error_next(lan->host, tcp, &error), -EOPNOTSUPP);
}

static void an_unanswered_neighbour_is_a_local_error(void **state)
{
    struct lan *lan = *state;
    struct foyer_socket_error error;
    foyer_socket socket = dual_stack(lan, 53);
    struct foyer_endpoint remote = {foyer_addr_v4(10, 0, 0, 99), 9};
    set(lan, socket, FOYER_OPT_RECVERR);
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), 0);
    assert_int_equal(foyer_socket_send(lan->host, socket, "x", 1, lan->now), 1);
    lan_live(lan, 5 * FOYER_NS_PER_S);
    assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), 0);
    assert_int_equal(error.origin, FOYER_ERROR_LOCAL);
    assert_int_equal(error.error, -EHOSTUNREACH);
    assert_true(foyer_addr_eq(&error.remote.addr, &remote.addr));
}

int main(void)
{
#define LAN(test) cmocka_unit_test_setup_teardown(test, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        LAN(hop_limit_and_class_of_one_datagram),
        LAN(received_ones_tell_all),
        LAN(the_source_can_be_chosen),
        LAN(segments_go_out_one_by_one),
        LAN(coalesced_ones_stay_together_where_that_is_wanted),
        LAN(errors_are_queued_with_their_origin),
        LAN(the_queue_is_bounded_and_goes_with_the_socket),
        LAN(an_unanswered_neighbour_is_a_local_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
