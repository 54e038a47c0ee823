/* Handles, events, options, and streams inside one host by copying calls and shared rings. */
#include "lan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define IDLE_CONNECTION_BYTES 620u /* each end, its share of tables counted; the goal is 512 */

static const struct foyer_addr any6;

static void stale_handles(void **state)
{
    struct lan *lan = *state;
    struct foyer_host *host = lan->host;
    foyer_socket first = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    assert_int_equal(foyer_socket_close(host, first, lan->now), 0);
    foyer_socket second = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    assert_int_equal((uint32_t)first.value, (uint32_t)second.value); /* the slot is the same */
    assert_int_not_equal(first.value, second.value);
    const foyer_socket stale[] = {
        first, FOYER_SOCKET_NONE, {UINT64_MAX}, {second.value + 1}, {second.value ^ 1ULL << 63}};
    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++) {
        struct foyer_endpoint endpoint = {lan_peer4, 9};
        struct foyer_socket_info info;
        foyer_socket out;
        int64_t value;
        uint8_t byte;
        foyer_socket socket = stale[i];
        assert_int_equal(foyer_socket_close(host, socket, lan->now), -EBADF);
        assert_int_equal(foyer_socket_abort(host, socket, lan->now), -EBADF);
        assert_int_equal(foyer_socket_bind(host, socket, &endpoint, NULL), -EBADF);
        assert_int_equal(foyer_socket_listen(host, socket, 1, NULL), -EBADF);
        assert_int_equal(foyer_socket_connect(host, socket, &endpoint, lan->now), -EBADF);
        assert_int_equal(foyer_socket_accept(host, socket, 1, &out), -EBADF);
        assert_int_equal(foyer_socket_send(host, socket, "x", 1, lan->now), -EBADF);
        assert_int_equal(foyer_socket_recv(host, socket, &byte, 1, lan->now), -EBADF);
        assert_int_equal(foyer_socket_send_to(host, socket, "x", 1, NULL, lan->now), -EBADF);
        assert_int_equal(foyer_socket_recv_from(host, socket, &byte, 1, NULL, NULL), -EBADF);
        assert_int_equal(foyer_socket_shutdown(host, socket, 3, lan->now), -EBADF);
        assert_int_equal(foyer_socket_set_option(host, socket, FOYER_OPT_TTL, 1), -EBADF);
        assert_int_equal(foyer_socket_get_option(host, socket, FOYER_OPT_TTL, &value), -EBADF);
        assert_int_equal(foyer_socket_info(host, socket, &info), -EBADF);
        assert_int_equal(foyer_socket_take_error(host, socket), -EBADF);
        assert_int_equal(foyer_socket_set_user(host, socket, 1), -EBADF);
        foyer_socket_poke(host, socket, lan->now);
    }
}

static void two_sockets(struct foyer_host_config *config)
{
    config->max_sockets = 2;
}

static void too_many_sockets(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, two_sockets);
    foyer_socket a = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    lan_open(lan, FOYER_FAMILY_V6, FOYER_UDP);
    foyer_socket c;
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &c), -EMFILE);
    foyer_socket_close(lan->host, a, lan->now);
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &c), 0);
    assert_int_equal(foyer_socket_open(lan->host, (enum foyer_family)5, FOYER_TCP, 1, &c),
                     -EAFNOSUPPORT);
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V4, (enum foyer_protocol)1, 1, &c),
                     -EPROTONOSUPPORT);
    lan_destroy(lan);
}

static void iteration_sees_each_once(void **state)
{
    struct lan *lan = *state;
    foyer_socket sockets[100];
    for (int i = 0; i < 100; i++)
        sockets[i] = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    for (int i = 0; i < 100; i += 3)
        foyer_socket_close(lan->host, sockets[i], lan->now);
    int count = 0;
    for (foyer_socket it = FOYER_SOCKET_NONE; foyer_socket_next(lan->host, &it); count++) {
        bool known = false;
        for (int i = 0; i < 100; i++)
            known |= i % 3 != 0 && sockets[i].value == it.value;
        assert_true(known);
    }
    assert_int_equal(count, 66);
}

static void options(void **state)
{
    struct lan *lan = *state;
    static const struct {
        enum foyer_protocol protocol;
        enum foyer_option option;
        int64_t value;
        int result;
        int64_t then; /* what get says afterwards */
    } rows[] = {
        {FOYER_TCP, FOYER_OPT_NODELAY, 1, 0, 1},
        {FOYER_TCP, FOYER_OPT_NODELAY, 2, -EINVAL, 0},
        {FOYER_UDP, FOYER_OPT_NODELAY, 1, -ENOPROTOOPT, 0},
        {FOYER_TCP, FOYER_OPT_TTL, 0, -EINVAL, 64},
        {FOYER_TCP, FOYER_OPT_TTL, 255, 0, 255},
        {FOYER_TCP, FOYER_OPT_TTL, 256, -EINVAL, 64},
        {FOYER_TCP, FOYER_OPT_LINGER_NS, -1, 0, -1},
        {FOYER_TCP, FOYER_OPT_LINGER_NS, -2, -EINVAL, -1},
        {FOYER_TCP, FOYER_OPT_KEEPIDLE_S, 32768, -EINVAL, 7200},
        {FOYER_TCP, FOYER_OPT_KEEPCNT, 127, 0, 127},
        {FOYER_TCP, FOYER_OPT_MAXSEG, 87, -EINVAL, 0},
        {FOYER_TCP, FOYER_OPT_MAXSEG, 536, 0, 536},
        {FOYER_TCP, FOYER_OPT_CONGESTION, 4, -EINVAL, 0},
        {FOYER_UDP, FOYER_OPT_RECEIVE_BUFFER, 5000, 0, 8192},
        {FOYER_UDP, FOYER_OPT_SEND_BUFFER, 1, 0, 4096},
        {FOYER_UDP, FOYER_OPT_SEND_BUFFER, INT64_MAX, 0, 1 << 30},
        {FOYER_UDP, FOYER_OPT_OWNER_UID, UINT32_MAX, 0, UINT32_MAX},
        {FOYER_UDP, FOYER_OPT_BROADCAST, 1, 0, 1},
        {FOYER_UDP, (enum foyer_option)0, 1, -ENOPROTOOPT, 0},
        {FOYER_UDP, (enum foyer_option)99, 1, -ENOPROTOOPT, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        foyer_socket socket = lan_open(lan, FOYER_FAMILY_V6, rows[i].protocol);
        int64_t value = 0;
        int result = foyer_socket_set_option(lan->host, socket, rows[i].option, rows[i].value);
        int got = foyer_socket_get_option(lan->host, socket, rows[i].option, &value);
        if (result != rows[i].result || value != rows[i].then ||
            (got != 0) != (result == -ENOPROTOOPT))
            fail_msg("row %zu: %d, %lld", i, result, (long long)value);
        foyer_socket_close(lan->host, socket, lan->now);
    }
    foyer_socket v4 = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    assert_int_equal(foyer_socket_set_option(lan->host, v4, FOYER_OPT_V6ONLY, 1), -ENOPROTOOPT);
    foyer_socket v6 = lan_bound(lan, FOYER_FAMILY_V6, FOYER_UDP, &any6, 9);
    assert_int_equal(foyer_socket_set_option(lan->host, v6, FOYER_OPT_V6ONLY, 1), -EINVAL);
}

static void connect_errors(void **state)
{
    struct lan *lan = *state;
    struct foyer_host *host = lan->host;
    foyer_socket v4 = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    struct foyer_endpoint remote = {lan_peer4, 0};
    assert_int_equal(foyer_socket_connect(host, v4, &remote, lan->now), -ECONNREFUSED);
    remote = (struct foyer_endpoint){lan_peer6, 80};
    assert_int_equal(foyer_socket_connect(host, v4, &remote, lan->now), -EAFNOSUPPORT);
    remote = (struct foyer_endpoint){foyer_addr_v4(8, 8, 8, 8), 80};
    assert_int_equal(foyer_socket_connect(host, v4, &remote, lan->now), -ENETUNREACH);
    remote = (struct foyer_endpoint){foyer_addr_v4(10, 0, 0, 255), 80};
    assert_int_equal(foyer_socket_connect(host, v4, &remote, lan->now), -ENETUNREACH);
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(host, v4, &info), 0);
    assert_false(info.is_bound); /* nothing is left of the failures */
    assert_true(foyer_addr_is_any(&info.local.addr));
    remote = (struct foyer_endpoint){lan_peer4, 80};
    assert_int_equal(foyer_socket_connect(host, v4, &remote, lan->now), -EINPROGRESS);
    assert_int_equal(foyer_socket_connect(host, v4, &remote, lan->now), -EALREADY);
    foyer_socket listener = lan_bound(lan, FOYER_FAMILY_V6, FOYER_TCP, &any6, 80);
    assert_int_equal(foyer_socket_listen(host, listener, 1, NULL), 0);
    assert_int_equal(foyer_socket_connect(host, listener, &remote, lan->now), -EISCONN);
    foyer_socket v6only = lan_open(lan, FOYER_FAMILY_V6, FOYER_TCP);
    foyer_socket_set_option(host, v6only, FOYER_OPT_V6ONLY, 1);
    assert_int_equal(foyer_socket_connect(host, v6only, &remote, lan->now), -ENETUNREACH);
    uint8_t byte;
    assert_int_equal(foyer_socket_recv(host, v6only, &byte, 1, lan->now), -ENOTCONN);
    assert_int_equal(foyer_socket_send(host, v6only, "x", 1, lan->now), -ENOTCONN);
    assert_int_equal(foyer_socket_shutdown(host, v6only, 2, lan->now), -ENOTCONN);
}

/* ---- streams inside the host --------------------------------------------------------------------------- */

struct pair {
    foyer_socket client, server;
};

static struct pair connect_inside(struct lan *lan, const struct foyer_addr *addr)
{
    struct pair pair;
    foyer_socket listener = lan_bound(lan, FOYER_FAMILY_V6, FOYER_TCP, &any6, 80);
    assert_int_equal(foyer_socket_listen(lan->host, listener, 5, NULL), 0);
    pair.client = lan_open(lan, FOYER_FAMILY_V6, FOYER_TCP);
    struct foyer_endpoint remote = {*addr, 80};
    assert_int_equal(foyer_socket_connect(lan->host, pair.client, &remote, lan->now), -EINPROGRESS);
    assert_int_equal(lan_pull(lan), 0); /* never on the wire */
    assert_int_equal(foyer_socket_accept(lan->host, listener, 5, &pair.server), 0);
    assert_int_equal(foyer_socket_close(lan->host, listener, lan->now), 0);
    return pair;
}

static void settle(struct lan *lan)
{
    do {
        assert_int_equal(lan_pull(lan), 0);
        foyer_host_tick(lan->host, lan->now);
    } while (foyer_host_deadline(lan->host) <= lan->now || foyer_host_has_output(lan->host));
}

static void stream_inside_the_host(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr targets[] = {foyer_addr_v4(127, 0, 0, 1), lan_host4, lan_host6};
    static uint8_t sent[1000000], got[1000000];
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 7 >> 4);
    for (size_t t = 0; t < 3; t++) {
        struct pair pair = connect_inside(lan, &targets[t]);
        size_t sent_size = 0, got_size = 0;
        while (got_size < sizeof(got)) {
            int64_t n = foyer_socket_send(lan->host, pair.client, sent + sent_size,
                                          sizeof(sent) - sent_size, lan->now);
            if (n > 0)
                sent_size += (size_t)n;
            settle(lan);
            n = foyer_socket_recv(lan->host, pair.server, got + got_size, sizeof(got) - got_size,
                                  lan->now);
            assert_true(n > 0 || n == -EAGAIN);
            got_size += n > 0 ? (size_t)n : 0;
            lan_wait(lan, FOYER_NS_PER_MS);
        }
        assert_memory_equal(sent, got, sizeof(got));
        assert_int_equal(
            foyer_socket_shutdown(lan->host, pair.client, FOYER_SHUTDOWN_WRITE, lan->now), 0);
        assert_int_equal(foyer_socket_send(lan->host, pair.client, "x", 1, lan->now), -EPIPE);
        settle(lan);
        assert_int_equal(foyer_socket_recv(lan->host, pair.server, got, 9, lan->now), 0);
        foyer_socket_close(lan->host, pair.server, lan->now);
        settle(lan);
        foyer_socket_close(lan->host, pair.client, lan->now);
        lan_live(lan, 300 * FOYER_NS_PER_S); /* TIME-WAIT passes */
        foyer_socket it = FOYER_SOCKET_NONE;
        assert_false(foyer_socket_next(lan->host, &it));
    }
}

static void tcp_set_rings_moves_what_waits(void **state)
{
    struct lan *lan = *state;
    struct pair pair = connect_inside(lan, &lan_host4);
    static uint8_t data[2][8192];
    struct foyer_ring_shared *shared = aligned_alloc(64, 2 * sizeof(*shared));
    assert_non_null(shared);
    memset(shared, 0, 2 * sizeof(*shared));
    struct foyer_ring rx = {&shared[0], data[0], 8192}, tx = {&shared[1], data[1], 8192};
    assert_int_equal(foyer_socket_send(lan->host, pair.client, "before ", 7, lan->now), 7);
    settle(lan);
    assert_int_equal(foyer_socket_set_rings(lan->host, pair.server, &rx, &tx), 0);
    assert_int_equal(foyer_socket_send(lan->host, pair.client, "after", 5, lan->now), 5);
    settle(lan);
    assert_int_equal(foyer_ring_used(&rx), 12);
    assert_memory_equal(data[0], "before after", 12);
    /* The program answers through its ring. */
    foyer_ring_put(&tx, 0, "answer", 6);
    foyer_ring_publish_head(&tx, 6);
    foyer_socket_poke(lan->host, pair.server, lan->now);
    settle(lan);
    char got[16];
    assert_int_equal(foyer_socket_recv(lan->host, pair.client, got, sizeof(got), lan->now), 6);
    assert_memory_equal(got, "answer", 6);
    lan_live(lan, FOYER_NS_PER_S);
    assert_int_equal(foyer_ring_used(&tx), 0); /* acknowledged, so given back */
    /* Closed with bytes unsent: they are copied, the memory may go. */
    foyer_ring_publish_tail(&rx, foyer_ring_head(&rx));
    foyer_ring_put(&tx, 6, "bye", 3);
    foyer_ring_publish_head(&tx, 9);
    foyer_socket_close(lan->host, pair.server, lan->now);
    memset(data, 0xee, sizeof(data));
    free(shared);
    settle(lan);
    assert_int_equal(foyer_socket_recv(lan->host, pair.client, got, sizeof(got), lan->now), 3);
    assert_memory_equal(got, "bye", 3);
}

static void bad_rings_are_refused(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    static uint8_t data[8192];
    static struct foyer_ring_shared shared;
    const struct foyer_ring good = {&shared, data, 8192};
    const struct foyer_ring bad[] = {{NULL, data, 8192},    {&shared, NULL, 8192},
                                     {&shared, data, 0},    {&shared, data, 5000},
                                     {&shared, data, 2048}, {&shared, data, 1u << 31}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(foyer_socket_set_rings(lan->host, socket, &bad[i], &good), -EINVAL);
        assert_int_equal(foyer_socket_set_rings(lan->host, socket, &good, &bad[i]), -EINVAL);
    }
    foyer_ring_publish_head(&good, 4); /* records begin at multiples of 8 */
    assert_int_equal(foyer_socket_set_rings(lan->host, socket, &good, &good), -EINVAL);
    foyer_ring_publish_head(&good, 0);
}

static void events_of_a_child_wait_for_accept(void **state)
{
    struct lan *lan = *state;
    foyer_socket listener = lan_bound(lan, FOYER_FAMILY_V6, FOYER_TCP, &any6, 80);
    assert_int_equal(foyer_socket_listen(lan->host, listener, 5, NULL), 0);
    foyer_socket client = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    struct foyer_endpoint remote = {foyer_addr_v4(127, 0, 0, 1), 80};
    foyer_socket_set_user(lan->host, listener, 11);
    foyer_socket_connect(lan->host, client, &remote, lan->now);
    settle(lan);
    assert_int_equal(foyer_socket_send(lan->host, client, "early", 5, lan->now), 5);
    settle(lan);
    struct foyer_event events[8];
    size_t count = foyer_host_events(lan->host, events, 8);
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        bool is_listener = events[i].socket.value == listener.value;
        assert_true(is_listener || events[i].socket.value == client.value);
        assert_int_equal(events[i].user, is_listener ? 11 : 0);
        assert_true(events[i].events & (is_listener ? FOYER_EVENT_ACCEPT : FOYER_EVENT_CONNECTED));
    }
    foyer_socket child;
    assert_int_equal(foyer_socket_accept(lan->host, listener, 5, &child), 0);
    assert_int_equal(foyer_host_events(lan->host, events, 8), 1);
    assert_int_equal(events[0].socket.value, child.value);
    assert_true(events[0].events & FOYER_EVENT_READABLE);
    assert_int_equal(foyer_socket_accept(lan->host, listener, 5, &child), -EAGAIN);
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

static void run_with_little_memory(struct lan *lan)
{
    struct foyer_host *host = lan->host;
    struct foyer_endpoint local = {any6, 80}, remote = {foyer_addr_v4(127, 0, 0, 1), 80};
    foyer_socket listener = {0}, client = {0}, udp = {0}, child = {0};
    uint8_t buffer[64], frame[256];
    foyer_socket_open(host, FOYER_FAMILY_V6, FOYER_TCP, 1, &listener);
    foyer_socket_bind(host, listener, &local, NULL);
    foyer_socket_listen(host, listener, 2, NULL);
    foyer_socket_open(host, FOYER_FAMILY_V6, FOYER_UDP, 1, &udp);
    foyer_socket_bind(host, udp, &local, NULL);
    foyer_socket_set_option(host, udp, FOYER_OPT_REUSEADDR, 1);
    foyer_socket_open(host, FOYER_FAMILY_V4, FOYER_TCP, 1, &client);
    foyer_socket_connect(host, client, &remote, lan->now);
    lan_pull(lan);
    foyer_socket_accept(host, listener, 1, &child);
    foyer_socket_send(host, client, "x", 1, lan->now);
    foyer_socket_send_to(host, udp, "x", 1, &remote, lan->now);
    remote.addr = lan_peer4;
    foyer_socket_send_to(host, udp, "x", 1, &remote, lan->now);
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 9, &lan_host4, 80, "x", 1));
    lan_pull(lan);
    foyer_socket_recv(host, child, buffer, sizeof(buffer), lan->now);
    foyer_socket_recv(host, udp, buffer, sizeof(buffer), lan->now);
    foyer_socket_close(host, client, lan->now);
    lan_live(lan, FOYER_NS_PER_S);
}

/* Whichever allocation fails, and all after it: no crash, no leak. */
static void allocations_fail(void **state)
{
    (void)state;
    for (uint32_t fail_after = 0; fail_after < 60; fail_after++) {
        struct lan *lan = lan_create(0, NULL);
        lan->fail_after = fail_after;
        run_with_little_memory(lan);
        lan->fail_after = UINT32_MAX;
        run_with_little_memory(lan); /* and the host still works */
        lan_destroy(lan);
    }
}

static void idle_connection_is_small(void **state)
{
    struct lan *lan = *state;
    size_t before = lan->allocated;
    foyer_socket listener = lan_bound(lan, FOYER_FAMILY_V6, FOYER_TCP, &any6, 80);
    assert_int_equal(foyer_socket_listen(lan->host, listener, 2000, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        foyer_socket client = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
        foyer_socket child;
        struct foyer_endpoint remote = {lan_host4, 80};
        foyer_socket_connect(lan->host, client, &remote, lan->now);
        settle(lan);
        assert_int_equal(foyer_socket_accept(lan->host, listener, 1, &child), 0);
    }
    size_t each = (lan->allocated - before) / 2000;
    print_message("%zu bytes per idle connection\n", each);
    assert_true(each < IDLE_CONNECTION_BYTES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(stale_handles),
        cmocka_unit_test(too_many_sockets),
        TEST(iteration_sees_each_once),
        TEST(options),
        TEST(connect_errors),
        TEST(stream_inside_the_host),
        TEST(tcp_set_rings_moves_what_waits),
        TEST(bad_rings_are_refused),
        TEST(events_of_a_child_wait_for_accept),
        cmocka_unit_test(allocations_fail),
        TEST(idle_connection_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
