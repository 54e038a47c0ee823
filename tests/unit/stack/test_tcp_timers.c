/* Time: connection attempts, giving up, user timeout, keep-alive, idle connections. */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <string.h>

#include "stack/tcp.h"

#define S FOYER_NS_PER_S

static struct peer *establish(void)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();

    peer_establish(peer, &options, 60000);
    return peer;
}

static void set_option(struct peer *peer, enum foyer_option option, int64_t value)
{
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, option, value), 0);
}

static void assert_timed_out(struct peer *peer, int error)
{
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    assert_true((peer_events(peer) & FOYER_EVENT_ERROR) != 0);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), error);
}

/* [test RFC9293 MUST-22 MUST-23] */
static void syn_is_retried_for_three_minutes(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_connect(peer);
    peer_expect(peer, SYN, 0, 0, 0);
    foyer_time_ns start = peer->now;
    for (unsigned i = 0; i < 7; i++) {
        assert_int_equal(peer_advance_to_deadline(peer, 100 * S), (1u << i) * S);
        peer_expect(peer, SYN, 0, 0, 0);
    }
    peer_advance(peer, 119 * S);
    assert_int_equal(peer_state(peer), FOYER_STATE_SYN_SENT);
    peer_advance(peer, 2 * S);
    peer_expect_nothing(peer); /* nobody knows of it: no RST */
    assert_timed_out(peer, -ETIMEDOUT);
    assert_int_equal(peer->now - start, 248 * S);
    peer_destroy(peer);
}

/* RFC 6298 (5.7), RFC 6928 section 2: a lost SYN makes the start careful. [test RFC6298 5c] */
static void lost_syn_starts_with_one_segment_and_three_seconds(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_connect(peer);
    peer_expect(peer, SYN, 0, 0, 0);
    peer_advance_to_deadline(peer, 2 * S);
    peer_expect(peer, SYN, 0, 0, 0);
    peer_send(peer, (struct seg){.flags = SYN | ACK, .ack = 1, .window = 60000});
    peer_expect(peer, ACK, 1, 1, 0);
    peer_write(peer, 5000);
    peer_expect(peer, ACK, 1, 1, 536);
    peer_expect_nothing(peer);
    assert_int_equal(peer_advance_to_deadline(peer, 10 * S), 3 * S);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-20b SHLD-11] */
static void unanswered_data_gives_up_after_fifteen_retries(void **state)
{
    struct peer *peer = establish();
    struct seg seg;
    unsigned sent = 0;

    (void)state;
    peer_write(peer, 100);
    foyer_time_ns start = peer->now;
    while (peer_state(peer) == FOYER_STATE_ESTABLISHED) {
        peer_advance_to_deadline(peer, 200 * S);
        while (peer_recv(peer, &seg)) {
            if ((seg.flags & RST) == 0)
                sent++;
        }
        assert_true(sent < 100);
    }
    assert_int_equal(sent, 16);
    assert_in_range(peer->now - start, 100 * S, 1000 * S); /* SHLD-11: at least 100 s */
    assert_timed_out(peer, -ETIMEDOUT);
    peer_destroy(peer);
}

static void an_ack_starts_the_count_anew(void **state)
{
    struct peer *peer = establish();

    (void)state;
    peer_write(peer, 3000);
    for (int i = 0; i < 10; i++)
        peer_advance_to_deadline(peer, 200 * S), peer_drain(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1001, .window = 60000});
    peer_drain(peer);
    foyer_time_ns waited = peer_advance_to_deadline(peer, 200 * S);
    assert_in_range(waited, 200 * MS, 201 * MS); /* no backoff is left */
    peer_drain(peer);
    for (int i = 0; i < 12; i++) /* 22 in all, but 13 since the ACK */
        peer_advance_to_deadline(peer, 200 * S), peer_drain(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-21] */
static void user_timeout_bounds_unanswered_data(void **state)
{
    struct peer *peer = establish();

    (void)state;
    set_option(peer, FOYER_OPT_USER_TIMEOUT_MS, 5000);
    peer_write(peer, 100);
    peer_drain(peer);
    peer_advance(peer, 4990 * MS);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_advance(peer, 20 * MS);
    assert_timed_out(peer, -ETIMEDOUT);
    peer_destroy(peer);
}

static void user_timeout_bounds_a_closed_window_that_is_not_answered(void **state)
{
    struct peer *peer = establish();

    (void)state;
    set_option(peer, FOYER_OPT_USER_TIMEOUT_MS, 5000);
    peer_write(peer, 100);
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 101, .window = 0});
    peer_write(peer, 100);
    peer_advance(peer, 5010 * MS);
    assert_timed_out(peer, -ETIMEDOUT);
    peer_destroy(peer);
}

/* ---- keep-alive ---------------------------------------------------------------------------------------- */

/* [test RFC9293 MUST-25] */
static void keepalive_is_off_by_default(void **state)
{
    struct peer *peer = establish();

    (void)state;
    peer_advance(peer, 10 * 3600 * S);
    peer_expect_nothing(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-24 MUST-28 MAY-5 SHLD-12] */
static void keepalive_waits_two_hours_by_default(void **state)
{
    struct peer *peer = establish();

    (void)state;
    set_option(peer, FOYER_OPT_KEEPALIVE, 1);
    assert_int_equal(peer_advance_to_deadline(peer, 3 * 3600 * S), 7200 * S);
    peer_expect(peer, ACK, 0, 1, 0);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-27 MUST-29] */
static void keepalive_gives_up_after_its_count(void **state)
{
    struct peer *peer = establish();

    (void)state;
    set_option(peer, FOYER_OPT_KEEPIDLE_S, 10);
    set_option(peer, FOYER_OPT_KEEPINTVL_S, 3);
    set_option(peer, FOYER_OPT_KEEPCNT, 2);
    set_option(peer, FOYER_OPT_KEEPALIVE, 1);
    assert_int_equal(peer_advance_to_deadline(peer, 100 * S), 10 * S);
    peer_expect(peer, ACK, 0, 1, 0);
    assert_int_equal(peer_advance_to_deadline(peer, 100 * S), 3 * S);
    peer_expect(peer, ACK, 0, 1, 0);
    assert_int_equal(peer_advance_to_deadline(peer, 100 * S), 3 * S);
    peer_expect(peer, RST | ACK, 1, 1, 0);
    assert_timed_out(peer, -ETIMEDOUT);
    peer_destroy(peer);
}

static void keepalive_answered_starts_anew(void **state)
{
    struct peer *peer = establish();

    (void)state;
    set_option(peer, FOYER_OPT_KEEPIDLE_S, 10);
    set_option(peer, FOYER_OPT_KEEPINTVL_S, 3);
    set_option(peer, FOYER_OPT_KEEPCNT, 2);
    set_option(peer, FOYER_OPT_KEEPALIVE, 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(peer_advance_to_deadline(peer, 100 * S), 10 * S);
        peer_expect(peer, ACK, 0, 1, 0);
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
        /* The timer that ran already looks, and waits for the rest. */
    }
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

/* MUST-26. [test RFC9293 MUST-26] */
static void keepalive_counts_from_the_last_segment_received(void **state)
{
    struct peer *peer = establish();

    (void)state;
    set_option(peer, FOYER_OPT_KEEPIDLE_S, 10);
    set_option(peer, FOYER_OPT_KEEPALIVE, 1);
    peer_advance(peer, 6 * S);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 1, .window = 60000});
    peer_drain(peer);
    assert_int_equal(peer_advance_to_deadline(peer, 100 * S), 10 * S);
    peer_expect(peer, ACK, 0, 2, 0);
    peer_destroy(peer);
}

/* ---- idle ------------------------------------------------------------------------------------------------ */

static void idle_connection_has_no_deadline_and_no_buffer(void **state)
{
    struct peer *peer = establish();
    uint64_t before = peer->allocated_bytes;

    (void)state;
    assert_int_equal(foyer_host_deadline(peer->host) < peer->now + 3600 * S &&
                         peer_advance_to_deadline(peer, 3600 * S) < 3600 * S,
                     false);
    assert_int_equal(peer->allocated_bytes, before);
    /* Neither ring exists yet. */
    struct sock *sock = sock_from_handle(peer->host, peer->socket);
    assert_false(foyer_ring_is_set(&sock->rings->rx) || foyer_ring_is_set(&sock->rings->tx));
    peer_destroy(peer);
}

static void peer_without_path_ends_with_unreachable(void **state)
{
    struct peer *peer = peer_create();
    struct foyer_endpoint nobody = {foyer_addr_v4(10, 0, 0, 99), 80};

    (void)state;
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->socket),
                     0);
    assert_int_equal(foyer_socket_connect(peer->host, peer->socket, &nobody, peer->now),
                     -EINPROGRESS);
    peer_advance(peer, 10 * S);
    assert_timed_out(peer, -EHOSTUNREACH);
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syn_is_retried_for_three_minutes),
        cmocka_unit_test(lost_syn_starts_with_one_segment_and_three_seconds),
        cmocka_unit_test(unanswered_data_gives_up_after_fifteen_retries),
        cmocka_unit_test(an_ack_starts_the_count_anew),
        cmocka_unit_test(user_timeout_bounds_unanswered_data),
        cmocka_unit_test(user_timeout_bounds_a_closed_window_that_is_not_answered),
        cmocka_unit_test(keepalive_is_off_by_default),
        cmocka_unit_test(keepalive_waits_two_hours_by_default),
        cmocka_unit_test(keepalive_gives_up_after_its_count),
        cmocka_unit_test(keepalive_answered_starts_anew),
        cmocka_unit_test(keepalive_counts_from_the_last_segment_received),
        cmocka_unit_test(idle_connection_has_no_deadline_and_no_buffer),
        cmocka_unit_test(peer_without_path_ends_with_unreachable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
