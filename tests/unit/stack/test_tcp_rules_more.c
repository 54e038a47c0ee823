/*
 * Rules of RFC 6675, 7323 and 8985 about what is left alone: options where they do not belong,
 * numbers that were not agreed on, probes and recoveries that would come too early.
 */
#include "unit/stack/tcp_peer.h"

#include "stack/tcp.h"

#define RTT (20 * MS)

/* ---- window scale (RFC 7323 section 2) -------------------------------------------------------------- */

/* [test RFC7323 2.2c] */
static void window_scale_after_the_handshake_is_ignored(void **state)
{
    static const struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_window_scale = true, .window_scale = 3};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 1000);
    peer_send(peer, (struct seg){.flags = ACK,
                                 .seq = 1,
                                 .ack = 1,
                                 .window = 2000,
                                 .options = {.has_window_scale = true, .window_scale = 9}});
    assert_int_equal(peer_info(peer).send_window_bytes, 2000 << 3);
    peer_destroy(peer);
}

/* [test RFC7323 2.3e] */
static void windows_are_not_scaled_by_one_alone(void **state)
{
    static const struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();
    struct seg seg;

    (void)state;
    peer_establish(peer, &options, 5000);
    assert_int_equal(peer_info(peer).send_window_bytes, 5000);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 100, .window = 4000});
    assert_int_equal(peer_info(peer).send_window_bytes, 4000);
    seg = peer_expect(peer, ACK, 1, 101, 0);
    assert_true(seg.window > 0xf000); /* as much as it can say, and not a 128th of it */
    peer_destroy(peer);
}

/* ---- timestamps (RFC 7323 section 3 to 5) ----------------------------------------------------------- */

/* The echo in a SYN means nothing: it gives no round trip. [test RFC7323 3.2h] */
static void echo_without_ack_is_ignored(void **state)
{
    struct peer *peer = peer_create();
    struct wire_tcp_options options = {.has_mss = true,
                                       .mss = 1000,
                                       .has_timestamps = true,
                                       .timestamp_value = 5000,
                                       .timestamp_echo = 77};

    (void)state;
    peer_listen(peer, 4);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = options});
    struct seg reply = peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_int_equal(reply.options.timestamp_echo, 5000);
    peer_advance(peer, 30 * MS);
    options = (struct wire_tcp_options){.has_timestamps = true,
                                        .timestamp_value = 5030,
                                        .timestamp_echo = reply.options.timestamp_value};
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000, .options = options});
    peer_events(peer);
    assert_in_range(peer_info(peer).rtt_us, 29000, 31000);
    peer_destroy(peer);
}

/* [test RFC7323 3.2i] */
static void timestamps_that_were_not_agreed_on_are_ignored(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);
    static const uint32_t values[] = {9000, 100, 0x90000000u}; /* also what PAWS would drop */

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        peer_send(peer, (struct seg){.flags = ACK,
                                     .seq = 1 + 100 * i,
                                     .ack = 2001,
                                     .size = 100,
                                     .window = 60000,
                                     .options = {.has_timestamps = true,
                                                 .timestamp_value = values[i],
                                                 .timestamp_echo = 1}});
        struct seg seg;
        peer_advance(peer, 50 * MS);
        assert_true(peer_recv(peer, &seg));
        assert_int_equal(seg.ack, 101 + 100 * i);
        assert_false(seg.options.has_timestamps);
    }
    assert_int_equal(peer_stats(peer).tcp_paws_drops, 0);
    peer_destroy(peer);
}

/* A forged RST in the window is challenged; what it says of time is forgotten, or all that is
 * genuine were old. [test RFC7323 5.2b] */
static void timestamp_of_a_reset_is_not_kept(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, true);
    uint32_t now_ms = (uint32_t)(peer->now / MS) + peer->ts_offset;

    (void)state;
    peer_send(peer, (struct seg){
                        .flags = RST | ACK,
                        .seq = 10,
                        .ack = 2001,
                        .options = {.has_timestamps = true, .timestamp_value = now_ms + 1000000}});
    struct seg challenge = peer_expect(peer, ACK, 2001, 1, 0);
    assert_true(challenge.options.timestamp_echo - now_ms < 1000 ||
                now_ms - challenge.options.timestamp_echo < 1000);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1, .ack = 2001, .size = 100, .window = 60000});
    peer_expect(peer, ACK, 2001, 101, 0);
    assert_int_equal(peer_stats(peer).tcp_paws_drops, 0);
    peer_destroy(peer);
}

/* [test RFC7323 5.3d] */
static void old_timestamps_are_found_before_wrong_numbers(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, true);
    uint32_t now_ms = (uint32_t)(peer->now / MS) + peer->ts_offset;

    (void)state;
    peer_send(peer, (struct seg){
                        .flags = ACK,
                        .seq = 0x40000000,
                        .ack = 2001,
                        .size = 10,
                        .options = {.has_timestamps = true, .timestamp_value = now_ms - 100000}});
    assert_int_equal(peer_stats(peer).tcp_paws_drops, 1);
    peer_destroy(peer);
}

/* ---- loss recovery ---------------------------------------------------------------------------------- */

/* Without SACK. [test RFC6675 5i] */
static void progress_forgets_duplicate_acks(void **state)
{
    static const struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 60000);
    peer_write(peer, 8000);
    peer_drain(peer);
    for (uint32_t ack = 1; ack <= 2001; ack += 1000)
        for (int i = 0; i < 3; i++) /* the first of them is progress, but for the first */
            if (ack > 1 || i < 2)
                peer_ack(peer, ack);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 0);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 0);
    peer_ack(peer, 2001);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    peer_destroy(peer);
}

/* [test RFC6675 5.1c 5.1d] */
static void a_timeout_ends_recovery_until_all_is_acknowledged(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 8000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    for (uint32_t right = 4001; right <= 6001; right += 1000)
        peer_sack(peer, 2001, 3001, right);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    while (peer_stats(peer).tcp_rto_fired == 0)
        peer_advance(peer, 10 * MS);
    peer_drain(peer);
    uint32_t ssthresh_bytes = peer_info(peer).ssthresh_bytes;
    /* The hole again, and more SACKs than DupThresh, below what HighData was at the timeout. */
    for (uint32_t right = 7001; right <= 10001; right += 1000) {
        peer_sack(peer, 2001, 3001, right);
        peer_drain(peer);
    }
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    assert_int_equal(peer_info(peer).ssthresh_bytes, ssthresh_bytes);
    peer_ack(peer, 10001);
    peer_write(peer, 6000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    for (uint32_t right = 12001; right <= 14001; right += 1000)
        peer_sack(peer, 10001, 11001, right);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 2);
    peer_destroy(peer);
}

static void wait_for_timeouts(struct peer *peer, uint64_t count)
{
    for (int i = 0; i < 2000 && peer_stats(peer).tcp_rto_fired < count; i++)
        peer_advance(peer, 10 * MS);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, count);
}

/* The probe sent the last segment again, so its ACK measured nothing (Karn): the tail that follows
 * is left to the timer, and only a new measure makes probes possible. [test RFC8985 7.3c] */
static void no_probe_without_a_round_trip_since_the_last(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);

    (void)state;
    peer_write(peer, 3000);
    peer_drain(peer);
    peer_advance(peer, 100 * MS);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    peer_drain(peer);
    peer_ack(peer, 5001);
    peer_sack(peer, 5001, 4001, 5001); /* both came */
    peer_write(peer, 3000);
    peer_drain(peer);
    wait_for_timeouts(peer, 1);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    peer_drain(peer);
    peer_ack(peer, 8001);
    peer_write(peer, 1000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    peer_ack(peer, 9001); /* measured */
    peer_write(peer, 3000);
    peer_drain(peer);
    wait_for_timeouts(peer, 2);
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 2);
    peer_destroy(peer);
}

/* Three timeouts; only the last one was needless, and is found to be. [test RFC5682 2.1a]
 * [test RFC8257 3.5b] */
static void a_second_timeout_begins_anew(void **state)
{
    struct peer *peer = peer_establish_warm(RTT, false);
    struct seg seg;

    (void)state;
    foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_CONGESTION, FOYER_CONGESTION_DCTCP);
    peer_write(peer, 20000); /* more than cwnd lets out */
    peer_drain(peer);
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    wait_for_timeouts(peer, 1);
    assert_int_equal(peer_info(peer).cwnd_bytes, 1000);
    peer_drain(peer);
    wait_for_timeouts(peer, 2);
    unsigned sent = 0;
    while (peer_recv(peer, &seg))
        sent += seg.size > 0;
    assert_int_equal(sent, 1);
    peer_ack(peer, 3001); /* what was sent again; new text is probed with, if there is any */
    peer_drain(peer);
    peer_ack(peer, 4001); /* an original: the timeouts were spurious */
    assert_int_equal(peer_stats(peer).tcp_spurious_recoveries, 1);
    assert_true(peer_info(peer).cwnd_bytes >= cwnd);
    peer_destroy(peer);
}

/* [test RFC3168 6.1.6a] */
static void window_probes_carry_no_marks(void **state)
{
    struct peer *peer = peer_connecting(FOYER_OPT_ECN, FOYER_ECN_REQUEST);
    struct seg seg;

    (void)state;
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = SYN | ACK | WIRE_TCP_ECE, .ack = 1, .window = 0});
    peer_events(peer);
    peer_drain(peer);
    assert_true(peer_info(peer).has_ecn);
    peer_write(peer, 3000);
    peer_drain(peer);
    unsigned probes = 0;
    for (unsigned i = 0; i < 50; i++) {
        peer_advance(peer, 100 * MS);
        while (peer_recv(peer, &seg)) {
            assert_int_equal(seg.tos & 3, 0);
            assert_int_equal(seg.flags & WIRE_TCP_CWR, 0);
            probes++;
        }
    }
    assert_true(probes >= 3);
    peer_destroy(peer);
}

/* Who closed does not wait for ever, but a window that opens is answered with all of its tries. */
static void an_opened_window_begins_anew_after_close(void **state)
{
    static const struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();
    unsigned tries = 0;
    struct seg seg;

    (void)state;
    peer_establish(peer, &options, 1000);
    peer_write(peer, 3000);
    peer_expect(peer, ACK, 1, 1, 1000);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1001});
    for (int i = 0; i < 6; i++) {
        peer_advance_to_deadline(peer, 100 * FOYER_NS_PER_S);
        peer_expect(peer, ACK, 1000, 1, 0);
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1001});
    }
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1001, .window = 5000});
    peer_drain(peer);
    for (int i = 0; i < 8; i++) {
        peer_advance_to_deadline(peer, 100 * FOYER_NS_PER_S);
        while (peer_recv(peer, &seg))
            tries += seg.size > 0 && seg.seq == 1001;
    }
    assert_int_equal(tries, 8);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_scale_after_the_handshake_is_ignored),
        cmocka_unit_test(windows_are_not_scaled_by_one_alone),
        cmocka_unit_test(echo_without_ack_is_ignored),
        cmocka_unit_test(timestamps_that_were_not_agreed_on_are_ignored),
        cmocka_unit_test(timestamp_of_a_reset_is_not_kept),
        cmocka_unit_test(old_timestamps_are_found_before_wrong_numbers),
        cmocka_unit_test(progress_forgets_duplicate_acks),
        cmocka_unit_test(a_timeout_ends_recovery_until_all_is_acknowledged),
        cmocka_unit_test(no_probe_without_a_round_trip_since_the_last),
        cmocka_unit_test(a_second_timeout_begins_anew),
        cmocka_unit_test(window_probes_carry_no_marks),
        cmocka_unit_test(an_opened_window_begins_anew_after_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
