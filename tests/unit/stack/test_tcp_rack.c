/* RACK-TLP, the undoing of what was wrong, F-RTO and ECN, over a path of 20 ms. */
#include "unit/stack/tcp_peer.h"

#include <string.h>

#include "stack/tcp.h"

#define RTT (20 * MS)

/* 1..2001 has made the round trip; ten segments from 2001 on are out, and a round trip old. */
static struct peer *send_ten(bool has_ts)
{
    struct peer *peer = peer_establish_warm(RTT, has_ts);

    peer_write(peer, 40000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    return peer;
}

static unsigned count_sent(struct peer *peer, uint32_t seq)
{
    struct seg seg;
    unsigned count = 0;

    while (peer_recv(peer, &seg))
        count += seg.seq == seq && seg.size > 0;
    return count;
}

/* ---- RACK (RFC 8985 section 6) -------------------------------------------------------------------- */

/* [test RFC8985 5.1b 6.2i] */
static void lost_retransmission_is_found_without_a_timeout(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    assert_int_equal(count_sent(peer, 2001), 1);
    peer_advance(peer, MS);
    peer_sack(peer, 2001, 3001, 12001); /* new data follows, behind the retransmission */
    assert_int_equal(count_sent(peer, 2001), 0);
    peer_advance(peer, RTT);
    peer_sack(peer, 2001, 3001, 16001); /* what was sent after it came: it is lost again */
    assert_int_equal(count_sent(peer, 2001), 1);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 0);
    assert_int_equal(peer_stats(peer).tcp_lost_retransmits, 1);
    peer_destroy(peer);
}

/* Hosts ask for output once and with one time for all of it: the order still counts. */
static void lost_retransmission_is_found_by_data_of_the_same_moment(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    peer_sack(peer, 2001, 3001, 9001);
    assert_int_equal(count_sent(peer, 2001), 1);
    assert_true(peer_info(peer).flight_bytes > 10000); /* new data went with it */
    peer_advance(peer, RTT);
    peer_sack(peer, 2001, 3001, 13001);
    assert_int_equal(count_sent(peer, 2001), 1);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 0);
    assert_int_equal(peer_stats(peer).tcp_lost_retransmits, 1);
    peer_destroy(peer);
}

/* Inside of one host answers come in the moment of sending. What the receiver drops for want of
 * memory would be sent and dropped for ever, were it lost again before the clock moves. */
static void retransmission_is_not_lost_in_its_own_moment(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    peer_sack(peer, 2001, 3001, 9001);
    assert_int_equal(count_sent(peer, 2001), 1);
    for (uint32_t right = 13001; right <= 15001; right += 1000) { /* what went after it is there */
        peer_sack(peer, 2001, 3001, right);
        assert_int_equal(count_sent(peer, 2001), 0);
    }
    assert_int_equal(peer_stats(peer).tcp_lost_retransmits, 0);
    peer_advance(peer, MS);
    assert_int_equal(count_sent(peer, 2001), 1);
    assert_int_equal(peer_stats(peer).tcp_lost_retransmits, 1);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 0);
    peer_destroy(peer);
}

/* Each delivery tells the round trip, though others that were sent after it came before it: what is
 * still out is waited for as long, and the window of a quarter. */
static void late_segment_tells_the_round_trip(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    peer_sack(peer, 2001, 11001, 12001);
    peer_advance(peer, 3 * MS);
    peer_sack(peer, 2001, 3001, 4001);
    assert_int_equal(count_sent(peer, 2001), 0);
    peer_advance(peer, 4 * MS);
    assert_int_equal(count_sent(peer, 2001), 0);
    peer_advance(peer, 2 * MS);
    assert_int_equal(count_sent(peer, 2001), 1);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 0);
    peer_destroy(peer);
}

/* [test RFC8985 6.2e 6.2h 6.2j] */
static void single_sack_loses_after_the_reordering_window(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    peer_sack(peer, 2001, 3001, 4001);
    peer_drain(peer);
    peer_advance(peer, RTT / 4 - MS);
    assert_int_equal(count_sent(peer, 2001), 0);
    peer_advance(peer, 2 * MS);
    assert_int_equal(count_sent(peer, 2001), 1);
    peer_destroy(peer);
}

/* [test RFC8985 6.2c] */
static void reordering_seen_widens_the_threshold(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    peer_sack(peer, 2001, 3001, 4001);
    peer_ack(peer, 4001); /* it was only late */
    peer_drain(peer);
    for (uint32_t right = 6001; right <= 9001; right += 1000)
        peer_sack(peer, 4001, 5001, right);
    assert_int_equal(count_sent(peer, 4001), 0); /* no DupThresh any more */
    peer_advance(peer, RTT / 4 + MS);
    assert_int_equal(count_sent(peer, 4001), 1);
    peer_destroy(peer);
}

/* ---- TLP (section 7) -------------------------------------------------------------------------------- */

/* [test RFC8985 7.2a 7.4a] [test RFC8985 7.4c] */
static void tail_is_probed_and_repaired_without_a_timeout(void **state)
{
    struct peer *peer = peer_establish_far(RTT, false);

    (void)state;
    peer_write(peer, 2000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 2001);
    peer_write(peer, 5000);
    peer_drain(peer);
    foyer_time_ns waited = peer_advance_to_deadline(peer, FOYER_NS_PER_S);
    assert_in_range(waited, 2 * RTT, 2 * RTT + 10 * MS);
    peer_expect(peer, ACK | PSH, 6001, 1, 1000);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    peer_advance(peer, RTT);
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    peer_ack(peer, 7001);
    peer_write(peer, 1000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 8001); /* section 7.4: beyond the probe and no D-SACK: it repaired a loss */
    assert_true(peer_info(peer).ssthresh_bytes < cwnd);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 0);
    peer_destroy(peer);
}

/* ---- undo ---------------------------------------------------------------------------------------------- */

static void dsack_of_every_retransmission_undoes(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    assert_int_equal(count_sent(peer, 2001), 1);
    assert_true(peer_info(peer).ssthresh_bytes < cwnd);
    peer_ack(peer, 6001);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 0);
    peer_sack(peer, 6001, 2001, 3001); /* RFC 2883: below the ACK */
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 1);
    assert_true(peer_info(peer).cwnd_bytes >= cwnd);
    assert_int_equal(peer_info(peer).ssthresh_bytes, UINT32_MAX);
    peer_destroy(peer);
}

static void dsack_of_other_bytes_undoes_nothing(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    peer_drain(peer);
    peer_sack(peer, 2001, 1001, 2001);
    peer_ack(peer, 6001);
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 0);
    peer_destroy(peer);
}

/* RFC 3522: the ACK of the retransmitted segment echoes the original's timestamp. */
static void older_echo_undoes(void **state)
{
    struct peer *peer = send_ten(true);
    uint32_t original_ts = peer->last_ts;

    (void)state;
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    assert_int_equal(count_sent(peer, 2001), 1);
    peer_advance(peer, MS);
    peer->last_ts = original_ts;
    peer_ack(peer, 6001);
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 1);
    assert_true(peer_info(peer).cwnd_bytes >= cwnd);
    peer_destroy(peer);
}

static void newer_echo_undoes_nothing(void **state)
{
    struct peer *peer = send_ten(true);

    (void)state;
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 6001);
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 0);
    peer_destroy(peer);
}

/* RFC 5682 section 3.1: after the timeout the originals are acknowledged one by one.
 * [test RFC5682 2.1c 2.1d] */
static void late_acks_after_a_timeout_undo_it(void **state)
{
    struct peer *peer = send_ten(false);

    (void)state;
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    while (peer_stats(peer).tcp_rto_fired == 0)
        peer_advance(peer, MS);
    peer_drain(peer);
    peer_ack(peer, 3001); /* the first, which was sent again: new data goes out */
    assert_int_equal(count_sent(peer, 3001), 0);
    peer_ack(peer, 4001); /* and one that was not */
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 1);
    assert_true(peer_info(peer).cwnd_bytes >= cwnd);
    assert_int_equal(count_sent(peer, 4001), 0);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_retransmission_is_found_without_a_timeout),
        cmocka_unit_test(lost_retransmission_is_found_by_data_of_the_same_moment),
        cmocka_unit_test(retransmission_is_not_lost_in_its_own_moment),
        cmocka_unit_test(late_segment_tells_the_round_trip),
        cmocka_unit_test(single_sack_loses_after_the_reordering_window),
        cmocka_unit_test(reordering_seen_widens_the_threshold),
        cmocka_unit_test(tail_is_probed_and_repaired_without_a_timeout),
        cmocka_unit_test(dsack_of_every_retransmission_undoes),
        cmocka_unit_test(dsack_of_other_bytes_undoes_nothing),
        cmocka_unit_test(older_echo_undoes),
        cmocka_unit_test(newer_echo_undoes_nothing),
        cmocka_unit_test(late_acks_after_a_timeout_undo_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
