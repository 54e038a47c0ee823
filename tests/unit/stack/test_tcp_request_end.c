/*
 * What becomes of connection requests: the socket brings along what the caller tied to the request,
 * or the request's end does. ICMP errors about half-open connections, RFC 1122 section 4.2.3.9,
 * RFC 5927 section 4.1.
 */
#include "unit/stack/tcp_peer.h"

#include <errno.h>

#include "base/bytes.h"
#include "unit/stack/lan.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"

#define S FOYER_NS_PER_S
#define NAME 0x1234567890abcdefu

static uint32_t request_count(struct peer *peer)
{
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(peer->host, peer->listener, &info), 0);
    return info.request_count;
}

static void send_syn(struct peer *peer)
{
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
}

/* A held request with a user, whose SYN has just come. */
static foyer_request held(struct peer *peer, uint64_t user)
{
    struct foyer_event event;
    foyer_request request = {0};
    send_syn(peer);
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    assert_int_equal(event.events, FOYER_EVENT_REQUEST);
    assert_int_equal(foyer_request_next(peer->host, peer->listener, &request), 0);
    assert_int_equal(foyer_request_set_user(peer->host, request, user), 0);
    return request;
}

/* The same, accepted by the caller: the SYN-ACK is out. */
static foyer_request answered(struct peer *peer, uint64_t user)
{
    foyer_request request = held(peer, user);
    assert_int_equal(foyer_request_accept(peer->host, request, peer->now), 0);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_int_equal(foyer_request_set_user(peer->host, request, 1), -EBADF);
    return request;
}

static void expect_no_end(struct peer *peer)
{
    struct foyer_event event;
    uint64_t user;
    int error;
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 0);
    assert_int_equal(foyer_request_next_ended(peer->host, peer->listener, &user, &error), -EAGAIN);
}

static void expect_end(struct peer *peer, uint64_t user, int error)
{
    struct foyer_event event;
    uint64_t ended_user = 0;
    int ended_error = 0;
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    assert_int_equal(event.socket.value, peer->listener.value);
    assert_int_equal(event.events, FOYER_EVENT_REQUEST_ENDED);
    assert_int_equal(request_count(peer), 1);
    assert_int_equal(
        foyer_request_next_ended(peer->host, peer->listener, &ended_user, &ended_error), 0);
    assert_true(ended_user == user);
    assert_int_equal(ended_error, error);
    assert_int_equal(request_count(peer), 0);
    expect_no_end(peer);
}

static void unreachable(struct peer *peer, uint8_t code, uint32_t seq)
{
    peer_icmp(peer, WIRE_ICMP_UNREACHABLE, code, 0, seq);
}

/* ---- what was tied to it ------------------------------------------------------------------------------ */

static void user_comes_with_the_socket(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    struct foyer_socket_info info;
    struct foyer_event event;
    foyer_socket_set_owner(peer->host, peer->listener, 5);
    answered(peer, NAME);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100});
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    assert_int_equal(event.events, FOYER_EVENT_ACCEPT);
    /* While it waits its owner is still the listener's, and nobody's user is seen. */
    foyer_socket child = FOYER_SOCKET_NONE;
    while (foyer_socket_next(peer->host, &child) && child.value == peer->listener.value)
        continue;
    assert_int_equal(foyer_socket_info(peer->host, child, &info), 0);
    assert_int_equal(info.owner, 5);
    assert_int_equal(info.user, 0);

    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 9, &peer->socket), 0);
    assert_int_equal(foyer_socket_info(peer->host, peer->socket, &info), 0);
    assert_true(info.user == NAME);
    assert_int_equal(info.owner, 9);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100, .size = 3});
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    assert_true(event.user == NAME);
    expect_no_end(peer);
    peer_destroy(peer);
}

/* Reset between the handshake and accept: the socket is there to be accepted, and says so. */
static void user_comes_with_a_socket_that_was_reset(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    struct foyer_socket_info info;
    struct foyer_event event;
    answered(peer, NAME);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100});
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    assert_int_equal(event.events, FOYER_EVENT_ACCEPT);
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 9, &peer->socket), 0);
    assert_int_equal(foyer_socket_info(peer->host, peer->socket, &info), 0);
    assert_true(info.user == NAME);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ECONNRESET);
    peer_destroy(peer);
}

static void user_of_others_stays_0(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 4);
    send_syn(peer);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100});
    peer_events(peer);
    assert_int_equal(peer_info(peer).user, 0);
    peer_destroy(peer);
}

/* ---- how it may end ------------------------------------------------------------------------------------- */

static void nobody_answers(struct peer *peer)
{
    answered(peer, NAME);
    peer->is_silent = true;
    peer_advance(peer, 64 * S);
}

static void nobody_decides(struct peer *peer)
{
    foyer_request request = held(peer, NAME);
    peer_advance(peer, 61 * S);
    assert_int_equal(foyer_request_accept(peer->host, request, peer->now), -EBADF);
}

static void held_is_reset(struct peer *peer)
{
    foyer_request request = held(peer, NAME);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    assert_int_equal(foyer_request_refuse(peer->host, request, peer->now), -EBADF);
}

static void answered_is_reset(struct peer *peer)
{
    answered(peer, NAME);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
}

static void syn_in_the_window(struct peer *peer)
{
    answered(peer, NAME);
    peer_send(peer, (struct seg){.flags = SYN, .seq = 100, .window = 60000});
}

static void machine_sleeps(struct peer *peer)
{
    answered(peer, NAME);
    peer->now += 28 * 86400 * S;
    foyer_host_tick(peer->host, peer->now);
}

static void icmp_says_no(struct peer *peer)
{
    answered(peer, NAME);
    unreachable(peer, 3, 0);
}

static void icmp_explains_the_silence(struct peer *peer)
{
    answered(peer, NAME);
    unreachable(peer, 1, 0);
    assert_int_equal(request_count(peer), 1);
    peer->is_silent = true;
    peer_advance(peer, 64 * S);
}

static void end_is_told_with_its_reason(void **state)
{
    (void)state;
    static const struct {
        void (*end)(struct peer *peer);
        int error;
    } ways[] = {
        {nobody_answers, -ETIMEDOUT},     {nobody_decides, -ETIMEDOUT},
        {held_is_reset, -ECONNRESET},     {answered_is_reset, -ECONNRESET},
        {syn_in_the_window, -ECONNRESET}, {machine_sleeps, -ETIMEDOUT},
        {icmp_says_no, -ECONNREFUSED},    {icmp_explains_the_silence, -EHOSTUNREACH},
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
        ways[i].end(peer);
        print_message("way %zu\n", i);
        expect_end(peer, NAME, ways[i].error);
        peer_drain(peer);
        peer_destroy(peer);
    }
}

static void end_is_not_told_to_who_does_not_ask(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    answered(peer, 0);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    expect_no_end(peer);
    assert_int_equal(request_count(peer), 0);
    /* Nor of what the caller did itself. */
    assert_int_equal(foyer_request_refuse(peer->host, held(peer, NAME), peer->now), 0);
    expect_no_end(peer);
    assert_int_equal(foyer_request_drop(peer->host, held(peer, NAME)), 0);
    expect_no_end(peer);
    uint64_t user;
    int error;
    assert_int_equal(foyer_request_next_ended(peer->host, FOYER_SOCKET_NONE, &user, &error),
                     -EBADF);
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->socket),
                     0);
    assert_int_equal(foyer_request_next_ended(peer->host, peer->socket, &user, &error), -EINVAL);
    peer_destroy(peer);
}

/* What nobody takes is bounded; the 4-tuple is free at once; a listener's close forgets it. */
static void ended_count_in_the_backlog(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(20, FOYER_OPT_HOLD, 1);
    for (unsigned i = 0; i < 20; i++) {
        held(peer, i + 1);
        peer_send(peer, (struct seg){.flags = RST, .seq = 1});
        assert_int_equal(request_count(peer), i + 1);
        struct foyer_event event;
        assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    }
    send_syn(peer);
    assert_int_equal(peer_stats(peer).tcp_listen_overflows, 1);
    uint64_t user;
    int error;
    assert_int_equal(foyer_request_next_ended(peer->host, peer->listener, &user, &error), 0);
    assert_int_equal(user, 1);
    held(peer, 21);
    assert_int_equal(foyer_socket_close(peer->host, peer->listener, peer->now), 0);
    peer_drain(peer);
    peer_destroy(peer);
}

/* ---- ICMP ------------------------------------------------------------------------------------------------ */

/* [test RFC9293 MUST-56a MUST-56b MUST-56c] Soft ones, ones of a wrong number, of too big a SYN-ACK. */
static void icmp_that_ends_nothing(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 4);
    send_syn(peer);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    unreachable(peer, 0, 0);
    unreachable(peer, 1, 0);
    unreachable(peer, 5, 0);
    peer_icmp(peer, WIRE_ICMP_TIME_EXCEEDED, 0, 0, 0);
    peer_icmp(peer, WIRE_ICMP_PARAMETER_PROBLEM, 0, 0, 0);
    unreachable(peer, 3, 1); /* nothing of that number is out */
    unreachable(peer, 3, -1u);
    unreachable(peer, 2, 0x80000000u);
    peer_icmp(peer, WIRE_ICMP_UNREACHABLE, 4, 600, 0);
    assert_int_equal(request_count(peer), 1);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100});
    peer_events(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_info(peer).mss, 536);
    peer_destroy(peer);
}

/* Before the SYN-ACK nothing of the host's is out that an error could be about. */
static void icmp_does_not_end_a_held_request(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    held(peer, NAME);
    peer->host_iss = 0;
    unreachable(peer, 3, 0);
    assert_int_equal(request_count(peer), 1);
    expect_no_end(peer);
    peer_destroy(peer);
}

static void hard_icmp_ends_a_request(void **state)
{
    (void)state;
    for (uint8_t code = 2; code <= 3; code++) {
        struct peer *peer = peer_create();
        peer_listen(peer, 4);
        send_syn(peer);
        peer_expect(peer, SYN | ACK, 0, 1, 0);
        unreachable(peer, code, 0);
        assert_int_equal(request_count(peer), 0);
        assert_int_equal(peer_stats(peer).tcp_attempt_fails, 1);
        peer_advance(peer, 64 * S);
        peer_expect_nothing(peer);
        peer_destroy(peer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_comes_with_the_socket),
        cmocka_unit_test(user_comes_with_a_socket_that_was_reset),
        cmocka_unit_test(user_of_others_stays_0),
        cmocka_unit_test(end_is_told_with_its_reason),
        cmocka_unit_test(end_is_not_told_to_who_does_not_ask),
        cmocka_unit_test(ended_count_in_the_backlog),
        cmocka_unit_test(icmp_that_ends_nothing),
        cmocka_unit_test(icmp_does_not_end_a_held_request),
        cmocka_unit_test(hard_icmp_ends_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
