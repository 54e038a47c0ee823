/*
 * What a reduced library refuses (foyer/features.h), and that the rest of it works: in each build the
 * same questions, with the answers that its switches give. tests/portability/test_features.sh
 * builds the variants.
 */
#include "lan.h"

#include <errno.h>
#include <stdlib.h>

#include "common/sim.h"
#include "foyer/features.h"
#include "wire/arp.h"

static const struct foyer_addr v6 = {{0x20, 1, 0xd, 0xb8, [15] = 9}};
static const struct foyer_addr group4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 99}};

/* The result where the feature is built in, or the refusal. */
static int with(int feature, int result, int refusal)
{
    return feature ? result : refusal;
}

/* ---- refusals ------------------------------------------------------------------------------------- */

static void addresses_and_routes(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr gateway = {{0x20, 1, 0xd, 0xb8, [15] = 1}};
    assert_int_equal(foyer_host_add_address(lan->host, &v6, 64), with(FOYER_WITH_IPV6, 0, -EINVAL));
    assert_int_equal(foyer_host_has_address(lan->host, &v6), FOYER_WITH_IPV6);
    assert_int_equal(foyer_host_add_route(lan->host, &v6, 32, &gateway),
                     with(FOYER_WITH_IPV6, 0, -EINVAL));
    struct foyer_address_info infos[32];
    size_t count = foyer_host_addresses(lan->host, infos, 32), ours = 0;
    for (size_t i = 0; i < count; i++)
        ours += infos[i].addr.bytes[0] != 0; /* not the IPv4-mapped form */
    assert_int_equal(ours > 0, FOYER_WITH_IPV6);
}

static void sockets(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket, other;
    struct foyer_endpoint remote = {v6, 80}, any6 = {{{0}}, 80};
    enum foyer_protocol there = FOYER_WITH_TCP ? FOYER_TCP : FOYER_UDP;
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V6, there, 0, &socket),
                     with(FOYER_WITH_IPV6, 0, -EAFNOSUPPORT));
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, FOYER_TCP, 0, &other),
                     with(FOYER_WITH_TCP, 0, -EPROTONOSUPPORT));
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, FOYER_UDP, 0, &other),
                     with(FOYER_WITH_UDP, 0, -EPROTONOSUPPORT));
    /* An IPv4 socket does not speak IPv6 either way. */
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, there, 0, &socket), 0);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &any6, NULL), -EAFNOSUPPORT);
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), -EAFNOSUPPORT);
    if (FOYER_WITH_UDP)
        assert_int_equal(foyer_socket_send_to(lan->host, other, "x", 1, &remote, lan->now),
                         -EAFNOSUPPORT);
}

/* The calls of one protocol on a socket of the other, which may be the only one. */
static void calls_of_the_other_protocol(void **state)
{
    struct lan *lan = *state;
    struct foyer_endpoint remote = {lan_peer4, 80};
    struct foyer_socket_error error;
    foyer_request request;
    foyer_socket socket;
    uint32_t bytes;
    if (FOYER_WITH_UDP) {
        socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
        assert_int_equal(foyer_socket_listen(lan->host, socket, 1, NULL), -EOPNOTSUPP);
        assert_int_equal(foyer_socket_send_urgent(lan->host, socket, "x", 1, lan->now),
                         -EOPNOTSUPP);
        assert_int_equal(foyer_socket_fastopen_room(lan->host, socket, &lan_peer4, &bytes),
                         -EOPNOTSUPP);
        assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_NODELAY, 1),
                         -ENOPROTOOPT);
    }
    if (FOYER_WITH_TCP) {
        socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
        assert_int_equal(foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now),
                         -EOPNOTSUPP);
        assert_int_equal(foyer_socket_error_next(lan->host, socket, &error), -EOPNOTSUPP);
        assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_RECVERR, 1),
                         -ENOPROTOOPT);
        assert_int_equal(foyer_socket_join_group(lan->host, socket, &group4, lan->now),
                         -EOPNOTSUPP);
    }
    assert_int_equal(foyer_request_refuse(lan->host, (foyer_request){1}, lan->now), -EBADF);
    assert_true(foyer_request_next(lan->host, FOYER_SOCKET_NONE, &request) == -EBADF);
}

static void dhcp_clients(void **state)
{
    struct lan *lan = *state;
    struct foyer_dhcp4_lease lease4;
    struct foyer_dhcp6_lease lease6;
    int has = FOYER_WITH_DHCP, has_v6 = FOYER_WITH_DHCP && FOYER_WITH_IPV6;
    assert_int_equal(foyer_dhcp4_lease(lan->host, &lease4), with(has, -ENOENT, -EOPNOTSUPP));
    assert_int_equal(foyer_dhcp4_start(lan->host, NULL, lan->now), with(has, 0, -EOPNOTSUPP));
    assert_int_equal(foyer_dhcp4_stop(lan->host, false, lan->now), with(has, 0, -EOPNOTSUPP));
    if (!FOYER_WITH_DHCP) {
        assert_int_equal(foyer_dhcp6_lease(lan->host, &lease6), -EOPNOTSUPP);
        assert_int_equal(foyer_dhcp6_confirm(lan->host, lan->now), -EOPNOTSUPP);
        assert_int_equal(foyer_dhcp6_stop(lan->host, false, lan->now), -EOPNOTSUPP);
    }
    assert_int_equal(foyer_dhcp6_start(lan->host, NULL, lan->now) == 0, has_v6);
}

static void groups(void **state)
{
    struct lan *lan = *state;
    if (!FOYER_WITH_UDP)
        return;
    int has = FOYER_WITH_MULTICAST;
    struct foyer_addr group6 = {{0xff, 2, [15] = 9}}, source = lan_peer4;
    struct foyer_addr any = foyer_addr_v4(0, 0, 0, 0);
    static uint8_t frame[200], buffer[8];
    foyer_socket socket = lan_bound(lan, FOYER_FAMILY_V4, FOYER_UDP, &any, 5000);
    assert_int_equal(foyer_socket_join_group(lan->host, socket, &group6, lan->now),
                     with(has, -EINVAL, -EOPNOTSUPP));
    assert_int_equal(foyer_socket_join_source(lan->host, socket, &group4, &source, lan->now),
                     with(has, 0, -EOPNOTSUPP));
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 9, &group4, 5000, "hi", 2));
    assert_int_equal(foyer_socket_recv(lan->host, socket, buffer, 8, lan->now),
                     with(has, 2, -EAGAIN));
    lan_wait(lan, 0);
    assert_int_equal(lan_pull(lan) > 0, has); /* the report */
    /* All hosts' group is everybody's. */
    struct foyer_addr all = foyer_addr_v4(224, 0, 0, 1);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 9, &all, 5000, "hi", 2));
    assert_int_equal(foyer_socket_recv(lan->host, socket, buffer, 8, lan->now), 2);
}

static void congestion_controls(void **state)
{
    struct lan *lan = *state;
    static const int has[] = {[FOYER_CONGESTION_CUBIC] = FOYER_WITH_CUBIC,
                              [FOYER_CONGESTION_NEWRENO] = 1,
                              [FOYER_CONGESTION_DCTCP] = FOYER_WITH_DCTCP,
                              [FOYER_CONGESTION_BBR] = FOYER_WITH_BBR};
    if (!FOYER_WITH_TCP)
        return;
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    int64_t value;
    foyer_socket_get_option(lan->host, socket, FOYER_OPT_CONGESTION, &value);
    assert_int_equal(value, FOYER_WITH_CUBIC ? FOYER_CONGESTION_CUBIC : FOYER_CONGESTION_NEWRENO);
    for (int id = 0; id < 4; id++)
        assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_CONGESTION, id),
                         with(has[id], 0, -EINVAL));
}

/* ---- frames ----------------------------------------------------------------------------------------- */

/* Frames of what is left out are counted and go no further. */
static void frames(void **state)
{
    struct lan *lan = *state;
    static uint8_t frame[200];
    uint8_t none[54 + 8] = {[0] = 0x33, 0x33, [12] = 0x86, 0xdd, 0x60, [20] = 59};
    lan_input(lan, none, sizeof(none));
    assert_int_equal(lan_stats(lan).in_dropped_protocol, with(FOYER_WITH_IPV6, 0, 1));
    /* A datagram to nobody: no such port, or no such protocol; both are told by ICMP. */
    lan_pull(lan);
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &lan_peer4, &lan_host4, lan_host_mac));
    assert_int_equal(lan_pull(lan), 1);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 9, &lan_host4, 5000, "hi", 2));
    assert_int_equal(lan_pull(lan), 1);
    struct lan_view view;
    assert_true(lan_view(lan_next(lan), &view));
    assert_int_equal(view.transport[0], 3);
    assert_int_equal(view.transport[1], FOYER_WITH_UDP ? 3 : 2);
}

/* ---- two hosts ---------------------------------------------------------------------------------------- */

struct echo {
    struct sim *sim;
    foyer_socket client, server, accepted;
    size_t sent, echoed, size;
    uint8_t held[2048];
    size_t held_count; /* taken by the server and not sent back yet */
};

static bool serve_tcp(struct echo *echo)
{
    struct sim *sim = echo->sim;
    struct foyer_host *host = sim->hosts[1].host;
    if (echo->accepted.value == 0)
        return foyer_socket_accept(host, echo->server, 0, &echo->accepted) == 0;
    if (echo->held_count == 0) {
        int64_t got =
            foyer_socket_recv(host, echo->accepted, echo->held, sizeof(echo->held), sim->now);
        echo->held_count = got > 0 ? (size_t)got : 0;
    }
    if (echo->held_count == 0)
        return false;
    int64_t taken = foyer_socket_send(host, echo->accepted, echo->held, echo->held_count, sim->now);
    if (taken <= 0)
        return false;
    memmove(echo->held, echo->held + taken, echo->held_count - (size_t)taken);
    echo->held_count -= (size_t)taken;
    return true;
}

static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position * 31 + (position >> 8));
}

static bool ask_tcp(struct echo *echo)
{
    struct sim *sim = echo->sim;
    struct foyer_host *host = sim->hosts[0].host;
    uint8_t bytes[1000];
    size_t count = echo->size - echo->sent < 1000 ? echo->size - echo->sent : 1000;
    for (size_t i = 0; i < count; i++)
        bytes[i] = byte_at(echo->sent + i);
    int64_t taken = count > 0 ? foyer_socket_send(host, echo->client, bytes, count, sim->now) : 0;
    echo->sent += taken > 0 ? (size_t)taken : 0;
    int64_t got = foyer_socket_recv(host, echo->client, bytes, sizeof(bytes), sim->now);
    for (int64_t i = 0; i < got; i++)
        SIM_CHECK(sim, bytes[i] == byte_at(echo->echoed + (size_t)i));
    echo->echoed += got > 0 ? (size_t)got : 0;
    return taken > 0 || got > 0;
}

static bool act_tcp(void *context)
{
    struct echo *echo = context;
    bool has_served = serve_tcp(echo);
    return ask_tcp(echo) || has_served;
}

/* Datagrams up to 4000 bytes: with fragments, where they are put together. */
static bool act_udp(void *context)
{
    struct echo *echo = context;
    struct sim *sim = echo->sim;
    struct foyer_host *host = sim->hosts[1].host;
    static uint8_t bytes[4000];
    struct foyer_endpoint from;
    size_t size = FOYER_WITH_REASSEMBLY && !FOYER_SMALL ? 4000 : 1400;
    bool any = false;
    int64_t got = foyer_socket_recv_from(host, echo->server, bytes, sizeof(bytes), &from, NULL);
    if (got > 0) {
        SIM_CHECK(sim, foyer_socket_send_to(host, echo->server, bytes, (size_t)got, &from,
                                            sim->now) == got);
        any = true;
    }
    host = sim->hosts[0].host;
    got = foyer_socket_recv(host, echo->client, bytes, sizeof(bytes), sim->now);
    if (got > 0) {
        SIM_CHECK(sim, got == (int64_t)size && bytes[size - 1] == byte_at(echo->echoed));
        echo->echoed += size;
        any = true;
    }
    if (echo->sent == echo->echoed && echo->sent < echo->size) {
        memset(bytes, byte_at(echo->sent), size);
        SIM_CHECK(sim,
                  foyer_socket_send(host, echo->client, bytes, size, sim->now) == (int64_t)size);
        echo->sent += size;
        any = true;
    }
    return any;
}

static bool is_echoed(void *context)
{
    const struct echo *echo = context;
    return echo->echoed >= echo->size;
}

static void echo_between_hosts(enum foyer_protocol protocol, enum foyer_family family, size_t size,
                               int64_t congestion, unsigned loss_ppm)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    assert_non_null(sim);
    sim_init(sim, "features", 7);
    struct sim_host_config config = {.mtu = 1500};
    struct impair_config way = {.delay_ns = FOYER_NS_PER_MS, .loss_ppm = loss_ppm};
    struct sim_host *a = sim_add_host(sim, &config), *b = sim_add_host(sim, &config);
    sim_add_wire(sim, a, b, &way, &way);
    struct echo echo = {.sim = sim, .size = size};
    struct foyer_endpoint remote = sim_endpoint(b, family, 7);
    assert_int_equal(foyer_socket_open(a->host, family, protocol, 0, &echo.client), 0);
    assert_int_equal(foyer_socket_open(b->host, family, protocol, 0, &echo.server), 0);
    assert_int_equal(foyer_socket_bind(b->host, echo.server, &remote, NULL), 0);
    if (protocol == FOYER_TCP) {
        assert_int_equal(
            foyer_socket_set_option(a->host, echo.client, FOYER_OPT_CONGESTION, congestion), 0);
        assert_int_equal(foyer_socket_listen(b->host, echo.server, 4, NULL), 0);
    }
    int error = foyer_socket_connect(a->host, echo.client, &remote, sim->now);
    assert_int_equal(error, protocol == FOYER_TCP ? -EINPROGRESS : 0);
    sim->app = (struct sim_app){.context = &echo, .act = protocol == FOYER_TCP ? act_tcp : act_udp};
    sim_run_until(sim, is_echoed, &echo, 600 * FOYER_NS_PER_S, "the echo");
    sim_finish(sim);
    free(sim);
}

static void tcp_echo(void **state)
{
    (void)state;
    for (int64_t id = 0; id < 4 && FOYER_WITH_TCP; id++) {
        if (!congestion_is_built(id))
            continue;
        echo_between_hosts(FOYER_TCP, FOYER_FAMILY_V4, 300000, id, 10000);
        if (FOYER_WITH_IPV6)
            echo_between_hosts(FOYER_TCP, FOYER_FAMILY_V6, 300000, id, 10000);
    }
}

static void udp_echo(void **state)
{
    (void)state;
    if (FOYER_WITH_UDP)
        echo_between_hosts(FOYER_UDP, FOYER_FAMILY_V4, 100000, 0, 0);
    if (FOYER_WITH_UDP && FOYER_WITH_IPV6)
        echo_between_hosts(FOYER_UDP, FOYER_FAMILY_V6, 100000, 0, 0);
}

/* What a host takes from the start; documented in docs/embedding.md. */
static void memory(void **state)
{
    struct lan *lan = *state;
    if (FOYER_SMALL)
        assert_in_range(lan->allocated, 1, (FOYER_WITH_TCP && FOYER_WITH_UDP ? 96 : 72) * 1024);
    else
        assert_in_range(lan->allocated, 256 * 1024, 380 * 1024);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(addresses_and_routes),
        TEST(sockets),
        TEST(calls_of_the_other_protocol),
        TEST(dhcp_clients),
        TEST(groups),
        TEST(congestion_controls),
        TEST(frames),
        TEST(memory),
        cmocka_unit_test(tcp_echo),
        cmocka_unit_test(udp_echo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
