/* What a library built without IPv6 refuses, and what one built with it takes. */
#include "lan.h"

#include <errno.h>

#include "base/features.h"

static const struct foyer_addr v6 = {{0x20, 1, 0xd, 0xb8, [15] = 9}};

/* The result where IPv6 is built in, or the refusal. */
static int with(int result, int refusal)
{
    return FOYER_WITH_IPV6 ? result : refusal;
}

static void addresses_and_routes(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr gateway = {{0x20, 1, 0xd, 0xb8, [15] = 1}};
    assert_int_equal(foyer_host_add_address(lan->host, &v6, 64), with(0, -EINVAL));
    assert_int_equal(foyer_host_has_address(lan->host, &v6), FOYER_WITH_IPV6);
    assert_int_equal(foyer_host_add_route(lan->host, &v6, 32, &gateway), with(0, -EINVAL));
    struct foyer_address_info infos[32];
    size_t count = foyer_host_addresses(lan->host, infos, 32), ours = 0;
    for (size_t i = 0; i < count; i++)
        ours += infos[i].addr.bytes[0] != 0; /* not the IPv4-mapped form */
    assert_int_equal(ours > 0, FOYER_WITH_IPV6);
}

static void sockets(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket, udp;
    struct foyer_endpoint remote = {v6, 80}, any6 = {{{0}}, 80};
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V6, FOYER_TCP, 0, &socket),
                     with(0, -EAFNOSUPPORT));
    /* An IPv4 socket does not speak it either way. */
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, FOYER_TCP, 0, &socket), 0);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &any6, NULL), -EAFNOSUPPORT);
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), -EAFNOSUPPORT);
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, FOYER_UDP, 0, &udp), 0);
    assert_int_equal(foyer_socket_send_to(lan->host, udp, "x", 1, &remote, lan->now),
                     -EAFNOSUPPORT);
    struct foyer_addr group = {{0xff, 2, [15] = 9}};
    assert_int_equal(foyer_socket_join_group(lan->host, udp, &group, lan->now), -EINVAL);
}

/* Frames of the other family are counted and go no further. */
static void frames(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[54 + 8] = {[0] = 0x33, 0x33, [12] = 0x86, 0xdd, 0x60, [20] = 59};
    lan_input(lan, frame, sizeof(frame));
    assert_int_equal(lan_stats(lan).in_dropped_protocol, with(0, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(addresses_and_routes, lan_setup, lan_teardown),
        cmocka_unit_test_setup_teardown(sockets, lan_setup, lan_teardown),
        cmocka_unit_test_setup_teardown(frames, lan_setup, lan_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
