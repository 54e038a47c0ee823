/*
 * Rules of RFC 6675, 7323, 8985 and 9438 that no other test is about, and the first check of
 * RFC 9293 section 3.10.7.4. docs/rfc.md lists them all.
 */
#include "unit/stack/tcp_peer.h"

#include <string.h>

#include "stack/tcp.h"

#define RTT (20 * MS)

/* ---- the window's edges ---------------------------------------------------------------------------- */

/* RFC 9293 section 3.10.7.4: nothing of an unacceptable segment is believed, its ACK neither. */
static void ack_of_a_segment_beyond_the_window_is_not_taken(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 500);
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 200001, .ack = 2501, .window = 7});
    peer_expect(peer, ACK, 2501, 1, 0);
    assert_int_equal(peer_info(peer).flight_bytes, 500);
    assert_int_equal(peer_info(peer).send_window_bytes, 60000);
    peer_destroy(peer);
}

/* ---- timestamps (RFC 7323) -------------------------------------------------------------------------- */

/* Text that comes while we send nothing echoes what is old. [test RFC7323 4.1a] */
static void echo_gives_no_round_trip_where_nothing_is_acknowledged(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, true);
    uint32_t rtt_us = peer_info(peer).rtt_us;

    (void)state;
    for (uint32_t i = 0; i < 10; i++) {
        peer_advance(peer, 1000 * MS);
        peer_send(peer, (struct seg){
                            .flags = ACK, .seq = 1 + i, .ack = 2001, .size = 1, .window = 60000});
    }
    assert_int_equal(peer_info(peer).rtt_us, rtt_us);
    peer_destroy(peer);
}

static struct seg with_ts(struct seg seg, uint32_t value)
{
    seg.options.has_timestamps = true;
    seg.options.timestamp_value = value;
    return seg;
}

/* [test RFC7323 4.3b] */
static void earliest_timestamp_is_echoed(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, true);
    uint32_t now = (uint32_t)(peer->now / MS) + peer->ts_offset;

    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        peer_send(
            peer,
            with_ts(
                (struct seg){
                    .flags = ACK, .seq = 1 + 100 * i, .ack = 2001, .size = 100, .window = 60000},
                now + 10 * i));
    struct seg seg = peer_expect(peer, ACK, 2001, 301, 0);
    assert_int_equal(seg.options.timestamp_echo, now);
    peer_destroy(peer);
}

/* [test RFC7323 5.4a] */
static void timestamp_clock_ticks_in_milliseconds(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, true);
    uint32_t before = peer->last_ts;
    foyer_time_ns start = peer->now;

    (void)state;
    peer_write(peer, 10);
    peer_drain(peer);
    before = peer->last_ts;
    start = peer->now;
    peer_ack(peer, 2011);
    peer_advance(peer, 777 * MS);
    peer_write(peer, 10);
    peer_drain(peer);
    assert_int_equal(peer->last_ts - before, (peer->now - start) / MS);
    peer_destroy(peer);
}

/* ---- loss recovery (RFC 6675, RFC 8985) ------------------------------------------------------------- */

/* The same again tells nothing, however often. [test RFC6675 2a] */
static void acks_without_news_are_no_duplicate_acks(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 8000);
    peer_drain(peer);
    for (int i = 0; i < 6; i++)
        peer_ack(peer, 2001);
    peer_sack(peer, 2001, 3001, 4001);
    for (int i = 0; i < 6; i++)
        peer_sack(peer, 2001, 3001, 4001);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 0);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 0);
    peer_destroy(peer);
}

/* What the timer measured was the retransmission's wait. [test RFC9293 MUST-18] */
static void fast_retransmission_gives_no_round_trip(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);
    uint32_t rtt_us = peer_info(peer).rtt_us;

    (void)state;
    peer_write(peer, 5000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 1);
    peer_advance(peer, 150 * MS);
    peer_ack(peer, 7001);
    assert_int_equal(peer_info(peer).rtt_us, rtt_us);
    peer_destroy(peer);
}

/* It was the original that arrived: its time, not the retransmission's, counts as the newest
 * delivery, or all that was sent in between were lost at once. [test RFC8985 6.2b] */
static void early_ack_of_a_retransmission_is_the_originals(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 12000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 1);
    peer_advance(peer, 1 * MS);
    peer_ack(peer, 6001);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 1);
    peer_destroy(peer);
}

/* [test RFC8985 7.2b 7.3b] */
static void one_probe_then_a_whole_timeout(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 5000);
    peer_drain(peer);
    peer_advance_to_deadline(peer, FOYER_NS_PER_S);
    peer_expect(peer, ACK | PSH, 6001, 1, 1000);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    /* The path is alive, but that is no reason for another. */
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 2001, .window = 59000});
    foyer_time_ns rto = peer_info(peer).rto_us * FOYER_NS_PER_US;
    foyer_time_ns waited = peer_advance_to_deadline(peer, 10 * FOYER_NS_PER_S);
    assert_in_range(waited, rto, rto + 2 * MS);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 1);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    peer_destroy(peer);
}

/* What the congestion window holds back goes first. [test RFC8985 7.3a] */
static void probe_is_new_text_where_there_is_some(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);
    struct seg seg = {0};

    (void)state;
    peer_write(peer, 40000);
    while (peer_recv(peer, &seg))
        ;
    uint32_t next = seg.seq + seg.size;
    assert_true(next < 42001);
    peer_advance_to_deadline(peer, FOYER_NS_PER_S);
    peer_expect(peer, ACK, next, 1, 1000);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 0);
    peer_destroy(peer);
}

/* Both copies arrive, and a D-SACK says so. [test RFC8985 7.4b] */
static void needless_probe_reduces_nothing(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 5000);
    peer_drain(peer);
    peer_advance_to_deadline(peer, FOYER_NS_PER_S);
    peer_expect(peer, ACK | PSH, 6001, 1, 1000);
    peer_ack(peer, 7001);
    peer_advance(peer, 1 * MS);
    peer_sack(peer, 7001, 6001, 7001);
    peer_write(peer, 1000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 8001);
    assert_int_equal(peer_info(peer).ssthresh_bytes, UINT32_MAX);
    peer_destroy(peer);
}

/* A D-SACK of a retransmission tells that the window was too small: next time a lone hole is
 * waited for twice as long. [test RFC8985 6.2f] */
static void dsack_widens_the_reordering_window(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 6000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_sack(peer, 2001, 3001, 4001);
    peer_advance(peer, RTT / 4 + 2 * MS); /* the window is over */
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 1);
    peer_ack(peer, 8001);
    peer_sack(peer, 8001, 2001, 3001); /* it came twice */
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_write(peer, 6000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_sack(peer, 8001, 9001, 10001);
    peer_advance(peer, RTT / 4 + 2 * MS);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 1);
    peer_advance(peer, RTT / 4);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 2);
    peer_destroy(peer);
}

/* The path has become longer for good: after five minutes the old minimum counts no more.
 * [test RFC8985 6.2a] */
static void least_round_trip_is_of_the_last_five_minutes(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);
    const struct tcb *tcb = sock_from_handle(peer->host, peer->socket)->tcb;

    (void)state;
    assert_in_range(tcb->min_rtt_us, RTT / 1000, RTT / 1000 + 1000);
    for (uint32_t i = 1; i <= 12; i++) {
        peer_advance(peer, 30 * FOYER_NS_PER_S);
        peer_write(peer, 1000);
        peer_drain(peer);
        peer_advance(peer, 60 * MS);
        peer_ack(peer, 2001 + i * 1000);
        if (i < 9)
            assert_in_range(tcb->min_rtt_us, RTT / 1000, RTT / 1000 + 1000);
    }
    assert_in_range(tcb->min_rtt_us, 60000, 61000);
    peer_destroy(peer);
}

/* [test RFC9438 4.6b] */
static void ssthresh_is_two_segments_at_least(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 1000);
    peer_drain(peer);
    while (peer_stats(peer).tcp_rto_fired == 0)
        peer_advance(peer, 10 * MS);
    assert_int_equal(peer_info(peer).ssthresh_bytes, 2000);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ack_of_a_segment_beyond_the_window_is_not_taken),
        cmocka_unit_test(echo_gives_no_round_trip_where_nothing_is_acknowledged),
        cmocka_unit_test(earliest_timestamp_is_echoed),
        cmocka_unit_test(timestamp_clock_ticks_in_milliseconds),
        cmocka_unit_test(acks_without_news_are_no_duplicate_acks),
        cmocka_unit_test(fast_retransmission_gives_no_round_trip),
        cmocka_unit_test(early_ack_of_a_retransmission_is_the_originals),
        cmocka_unit_test(one_probe_then_a_whole_timeout),
        cmocka_unit_test(probe_is_new_text_where_there_is_some),
        cmocka_unit_test(needless_probe_reduces_nothing),
        cmocka_unit_test(dsack_widens_the_reordering_window),
        cmocka_unit_test(least_round_trip_is_of_the_last_five_minutes),
        cmocka_unit_test(ssthresh_is_two_segments_at_least),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
