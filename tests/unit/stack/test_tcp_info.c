/* What can be asked of a connection, and asked for: statistics, ACK and SYN policies. */
#include "unit/stack/tcp_peer.h"

#include <errno.h>

#include "stack/tcp.h"

#define RTT (20 * MS)
#define S FOYER_NS_PER_S

static const struct wire_tcp_options sack_options = {
    .has_mss = true, .mss = 1000, .has_sack_permitted = true};

static void set_option(struct peer *peer, enum foyer_option option, int64_t value)
{
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, option, value), 0);
}

static struct peer *establish_counted(void)
{
    struct peer *peer = peer_establish_far(RTT, false);

    set_option(peer, FOYER_OPT_STATISTICS, 1);
    return peer;
}

static void ack_window(struct peer *peer, uint32_t number, uint16_t window)
{
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = number, .window = window});
}

/* As of now, not of the host's last call. */
static struct foyer_socket_statistics statistics_now(struct peer *peer)
{
    foyer_host_tick(peer->host, peer->now);
    return peer_info(peer).statistics;
}

/* ---- statistics ----------------------------------------------------------------------------------- */

static void nothing_is_counted_unasked(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &sack_options, 60000);
    peer_write(peer, 1000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    assert_false(peer_info(peer).has_statistics);
    assert_int_equal(peer_info(peer).statistics.busy_us, 0);
    peer_destroy(peer);
}

static void time_is_counted_by_what_limits(void **state)
{
    struct peer *peer = establish_counted();

    (void)state;
    peer_advance(peer, 50 * MS); /* idle */
    peer_write(peer, 3000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    ack_window(peer, 3001, 500);
    peer_write(peer, 1000);
    peer_drain(peer);
    peer_advance(peer, 2 * RTT); /* 500 bytes of window are no segment */
    struct foyer_socket_statistics seen = statistics_now(peer);
    assert_in_range(seen.window_limited_us, 39000, 41000);
    assert_in_range(seen.busy_us, 59000, 61000);
    ack_window(peer, 3001, 60000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    ack_window(peer, 4001, 60000);
    peer_advance(peer, 50 * MS);
    seen = statistics_now(peer);
    assert_in_range(seen.window_limited_us, 39000, 41000);
    assert_in_range(seen.busy_us, 79000, 81000);
    assert_int_equal(seen.buffer_limited_us, 0);
    peer_destroy(peer);
}

static void full_ring_whose_bytes_are_all_out_limits(void **state)
{
    struct peer *peer = peer_create_with(0, 4096);

    (void)state;
    peer_establish(peer, &sack_options, 60000);
    set_option(peer, FOYER_OPT_STATISTICS, 1);
    peer_write(peer, 4096);
    set_option(peer, FOYER_OPT_NODELAY, 1);
    peer_drain(peer);
    peer_advance(peer, RTT);
    assert_in_range(statistics_now(peer).buffer_limited_us, 19000, 21000);
    peer_destroy(peer);
}

static void deliveries_and_marks_are_counted(void **state)
{
    struct peer *peer = establish_counted();

    (void)state;
    peer_write(peer, 10000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 2001);
    peer_sack(peer, 2001, 3001, 5001);
    assert_int_equal(peer_info(peer).statistics.delivered_segments, 4);
    peer_ack(peer, 10001);
    assert_int_equal(peer_info(peer).statistics.delivered_segments, 10);
    assert_int_equal(peer_info(peer).statistics.delivered_ce_segments, 0);
    peer_destroy(peer);
}

static void reordering_is_measured_in_segments(void **state)
{
    struct peer *peer = establish_counted();

    (void)state;
    assert_int_equal(peer_info(peer).statistics.reorder_segments, 3);
    peer_write(peer, 10000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_sack(peer, 1, 9001, 10001);
    peer_sack(peer, 1, 3001, 4001);
    assert_int_equal(peer_info(peer).statistics.reorder_events, 1);
    assert_int_equal(peer_info(peer).statistics.reorder_segments, 7);
    peer_ack(peer, 10001);
    assert_int_equal(peer_info(peer).statistics.reorder_events, 2);
    assert_int_equal(peer_info(peer).statistics.reorder_segments, 10);
    peer_destroy(peer);
}

static void what_is_sent_again_is_told_until_acknowledged(void **state)
{
    struct peer *peer = establish_counted();

    (void)state;
    peer_write(peer, 10000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_sack(peer, 1, 2001, 5001);
    peer_drain(peer);
    assert_int_equal(peer_info(peer).retransmitting_bytes, 2000);
    assert_int_equal(peer_info(peer).lost_bytes, 0);
    assert_int_equal(peer_info(peer).flight_bytes, 10000);
    peer_ack(peer, 10001);
    assert_int_equal(peer_info(peer).retransmitting_bytes, 0);
    peer_destroy(peer);
}

/* ---- cwnd ------------------------------------------------------------------------------------------- */

static void acknowledged_again_is_no_growth(void **state)
{
    for (int has_sack = 0; has_sack < 2; has_sack++) {
        struct wire_tcp_options options = sack_options;
        struct peer *peer = peer_create();

        options.has_sack_permitted = has_sack != 0;
        peer_establish(peer, &options, 60000);
        peer_write(peer, 40000);
        peer_drain(peer);
        peer_advance(peer, RTT);
        for (uint32_t right = 2001; right <= 3001; right += 1000) {
            if (has_sack)
                peer_sack(peer, 1, 1001, right);
            else
                peer_ack(peer, 1);
        }
        assert_int_equal(peer_info(peer).cwnd_bytes, 10000); /* RFC 3042 section 2 */
        peer_ack(peer, 3001);
        assert_int_equal(peer_info(peer).cwnd_bytes, 11000); /* only 1..1001 is news */
        peer_destroy(peer);
    }
    (void)state;
}

static void slow_start_counts_the_windows_largest_flight(void **state)
{
    struct peer *peer = peer_establish_far(RTT, false);

    (void)state;
    peer_write(peer, 10000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    for (uint32_t number = 2001; number <= 10001; number += 2000)
        peer_ack(peer, number);
    assert_int_equal(peer_info(peer).cwnd_bytes, 20000);
    peer_write(peer, 4000); /* less than half of it */
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 14001);
    assert_int_equal(peer_info(peer).cwnd_bytes, 20000);
    peer_destroy(peer);
}

/* ---- timestamps ------------------------------------------------------------------------------------- */

static struct seg syn_ack(uint32_t echo)
{
    return (struct seg){.flags = SYN | ACK,
                        .ack = 1,
                        .window = 60000,
                        .options = {.has_mss = true,
                                    .mss = 1000,
                                    .has_timestamps = true,
                                    .timestamp_value = 5000,
                                    .timestamp_echo = echo}};
}

static void syn_ack_that_echoes_another_syn_is_refused(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_connect(peer);
    peer_expect(peer, SYN, 0, 0, 0);
    uint32_t first = peer->last_ts;
    peer_send(peer, syn_ack(first - 1));
    peer_expect(peer, RST, 1, 0, 0);
    peer_send(peer, syn_ack(first + 1)); /* of the future */
    peer_expect(peer, RST, 1, 0, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_SYN_SENT);
    peer_advance(peer, 1010 * MS);
    peer_expect(peer, SYN, 0, 0, 0);
    peer_send(peer, syn_ack(first)); /* the first SYN's answer was only late */
    peer_expect(peer, ACK, 1, 1, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

static void missing_timestamps_are_tolerated_where_asked_for(void **state)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_timestamps = true, .timestamp_value = 5000};

    (void)state;
    for (int tolerates = 0; tolerates < 2; tolerates++) {
        struct peer *peer =
            peer_create_behaving(tolerates ? FOYER_HOST_TOLERATE_MISSING_TIMESTAMPS : 0);
        peer_listen(peer, 16);
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = options});
        peer_expect(peer, SYN | ACK, 0, 1, 0);
        ack_window(peer, 1, 60000); /* of a request */
        peer_events(peer);
        assert_int_equal(peer->socket.value != 0, tolerates);
        if (tolerates) { /* of a connection */
            peer_send(peer,
                      (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000});
            peer_expect(peer, ACK, 1, 11, 0);
        }
        peer_destroy(peer);
    }
}

/* ---- policies ----------------------------------------------------------------------------------------- */

static void quickack_is_switched(void **state)
{
    struct peer *peer = peer_create();
    int64_t value;

    (void)state;
    peer_establish(peer, &sack_options, 60000);
    set_option(peer, FOYER_OPT_QUICKACK, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000});
    peer_expect_nothing(peer);
    assert_int_equal(foyer_socket_get_option(peer->host, peer->socket, FOYER_OPT_QUICKACK, &value),
                     0);
    assert_int_equal(value, 0);
    set_option(peer, FOYER_OPT_QUICKACK, 1);
    peer_expect(peer, ACK, 1, 11, 0); /* what waited */
    peer_send(peer, (struct seg){.flags = ACK, .seq = 11, .ack = 1, .size = 10, .window = 60000});
    peer_expect(peer, ACK, 1, 21, 0);
    peer_destroy(peer);
}

static void what_is_not_pushed_has_no_psh(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &sack_options, 60000);
    set_option(peer, FOYER_OPT_PUSH, 0);
    peer_write(peer, 100);
    peer_expect(peer, ACK, 1, 1, 100);
    ack_window(peer, 101, 60000);
    set_option(peer, FOYER_OPT_PUSH, 1);
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 101, 1, 100);
    ack_window(peer, 201, 60000);
    /* A cork's time pushes. */
    set_option(peer, FOYER_OPT_PUSH, 0);
    set_option(peer, FOYER_OPT_CORK, 1);
    peer_write(peer, 100);
    peer_expect_nothing(peer);
    peer_advance(peer, 201 * MS);
    peer_expect(peer, ACK | PSH, 201, 1, 100);
    peer_destroy(peer);
}

static void syn_retries_are_bounded(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_connect(peer);
    set_option(peer, FOYER_OPT_SYN_RETRIES, 1);
    peer_expect(peer, SYN, 0, 0, 0);
    peer_advance(peer, 1010 * MS);
    peer_expect(peer, SYN, 0, 0, 0);
    peer_advance(peer, 1980 * MS);
    assert_int_equal(peer_state(peer), FOYER_STATE_SYN_SENT);
    peer_advance(peer, 20 * MS);
    peer_expect_nothing(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ETIMEDOUT);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_counted_unasked),
        cmocka_unit_test(time_is_counted_by_what_limits),
        cmocka_unit_test(full_ring_whose_bytes_are_all_out_limits),
        cmocka_unit_test(deliveries_and_marks_are_counted),
        cmocka_unit_test(reordering_is_measured_in_segments),
        cmocka_unit_test(what_is_sent_again_is_told_until_acknowledged),
        cmocka_unit_test(acknowledged_again_is_no_growth),
        cmocka_unit_test(slow_start_counts_the_windows_largest_flight),
        cmocka_unit_test(syn_ack_that_echoes_another_syn_is_refused),
        cmocka_unit_test(missing_timestamps_are_tolerated_where_asked_for),
        cmocka_unit_test(quickack_is_switched),
        cmocka_unit_test(what_is_not_pushed_has_no_psh),
        cmocka_unit_test(syn_retries_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
