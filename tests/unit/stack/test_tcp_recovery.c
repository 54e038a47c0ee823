/* Loss: fast retransmit with and without SACK, what is sent next, timeouts, path MTU. */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "stack/tcp.h"

static struct peer *establish(bool has_sack)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_sack_permitted = has_sack};
    struct peer *peer = peer_create();

    peer_establish(peer, &options, 60000);
    return peer;
}

/* Ten segments of 1000 are out: 1, 1001, .. 9001. */
static void send_ten(struct peer *peer)
{
    peer_write(peer, 40000);
    peer_drain(peer);
}

static uint32_t drain_count(struct peer *peer, uint32_t *ret_first)
{
    struct seg seg;
    uint32_t count = 0;

    while (peer_recv(peer, &seg)) {
        if (count++ == 0 && ret_first != NULL)
            *ret_first = seg.seq;
    }
    return count;
}

/* Lets time pass until the retransmission timer has fired; what was sent before that is gone. */
static void advance_to_rto(struct peer *peer)
{
    uint64_t fired = peer_stats(peer).tcp_rto_fired;

    for (int i = 0; i < 10; i++) {
        peer_advance_to_deadline(peer, 10 * FOYER_NS_PER_S);
        if (peer_stats(peer).tcp_rto_fired != fired)
            return;
        peer_drain(peer);
    }
    fail_msg("no timeout");
}

/* ---- with SACK ------------------------------------------------------------------------------------ */

/* [test RFC6675 4b 5a 5b 5d] [test RFC8985 6.2d] */
static void sack_of_three_segments_retransmits_the_hole(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    peer_sack(peer, 1, 1001, 2001);
    peer_expect(peer, ACK, 10001, 1, 1000); /* limited transmit, RFC 3042 */
    peer_sack(peer, 1, 1001, 3001);
    peer_expect(peer, ACK, 11001, 1, 1000);
    peer_sack(peer, 1, 1001, 4001);
    peer_expect(peer, ACK, 1, 1, 1000);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 1);
    peer_destroy(peer);
}

/* [test RFC6675 4b] */
static void two_sacked_segments_are_not_enough(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    peer_sack(peer, 1, 1001, 2001);
    peer_sack(peer, 1, 1001, 3001);
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 0);
    peer_ack(peer, 3001); /* it was reordering */
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 0);
    peer_destroy(peer);
}

/* [test RFC6675 4a 5f 5g] */
static void every_hole_is_retransmitted_once(void **state)
{
    struct peer *peer = establish(true);
    struct seg seg;
    unsigned times[10] = {0};

    (void)state;
    send_ten(peer);
    /* 1, 3, 5 are lost (by index from 0). */
    static const uint32_t held[] = {0, 2, 4, 6, 7, 8, 9};
    peer_ack(peer, 1001);
    peer_drain(peer);
    for (size_t i = 1; i < sizeof(held) / sizeof(held[0]); i++) {
        peer_sack(peer, 1001, 1 + held[i] * 1000, 1001 + held[i] * 1000);
        while (peer_recv(peer, &seg)) {
            if (seg.seq < 10001)
                times[seg.seq / 1000]++;
        }
    }
    /* The retransmissions arrive. */
    peer_sack(peer, 3001, 4001, 5001);
    peer_drain(peer);
    peer_ack(peer, 5001);
    while (peer_recv(peer, &seg)) {
        if (seg.seq < 10001)
            times[seg.seq / 1000]++;
    }
    for (size_t i = 0; i < 10; i++)
        assert_true(times[i] <= 1);
    assert_int_equal(times[1], 1);
    assert_int_equal(times[3], 1);
    peer_destroy(peer);
}

/* [test RFC6675 5h] */
static void recovery_ends_with_ssthresh(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    for (uint32_t i = 1; i < 10; i++)
        peer_sack(peer, 1, 1001, 1001 + i * 1000);
    peer_drain(peer);
    struct foyer_socket_info info = peer_info(peer);
    assert_int_equal(info.ssthresh_bytes, 7000); /* CUBIC: 0.7 of 10 */
    /* Everything outstanding is acknowledged, new data included. */
    uint32_t end = 1 + 12000;
    peer_ack(peer, end);
    assert_in_range(peer_info(peer).cwnd_bytes, 7000, 8500);
    peer_destroy(peer);
}

/* [test RFC6675 5c] */
static void second_loss_in_recovery_reduces_only_once(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    peer_sack(peer, 1, 3001, 6001);
    peer_drain(peer);
    uint32_t ssthresh = peer_info(peer).ssthresh_bytes;
    peer_sack(peer, 1, 7001, 10001);
    peer_drain(peer);
    assert_int_equal(peer_info(peer).ssthresh_bytes, ssthresh);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    peer_destroy(peer);
}

/* RFC 9937: as many bytes go out as come in, scaled by ssthresh / flight; never a burst.
 * [test RFC6675 4c 5e] [test RFC8985 9.3a 9.3b] */
static void prr_paces_by_what_is_delivered(void **state)
{
    struct peer *peer = establish(true);
    unsigned sent = 0;

    (void)state;
    send_ten(peer);
    peer_sack(peer, 1, 1001, 4001);
    sent += drain_count(peer, NULL);
    for (uint32_t right = 5001; right <= 10001; right += 1000) {
        peer_sack(peer, 1, 1001, right);
        unsigned now = drain_count(peer, NULL);
        assert_true(now <= 1);
        sent += now;
    }
    assert_in_range(sent, 5, 8); /* 9 segments were delivered: 0.7 of them, and the first */
    peer_destroy(peer);
}

/* RFC 2018 section 8. [test RFC6675 5.1b] [test RFC6675 4d] */
static void reneging_is_found_and_survived(void **state)
{
    struct peer *peer = establish(true);
    struct seg seg;
    bool was_sent_again = false;

    (void)state;
    send_ten(peer);
    peer_sack(peer, 1, 1001, 10001);
    peer_drain(peer);
    peer_ack(peer, 1001); /* 1001..10001 was SACKed, and yet the ACK stops before it */
    peer_drain(peer);
    for (int i = 0; i < 4 && !was_sent_again; i++) {
        peer_advance(peer, 2 * FOYER_NS_PER_S);
        while (peer_recv(peer, &seg))
            was_sent_again = was_sent_again || seg.seq == 1001;
    }
    assert_true(was_sent_again);
    peer_destroy(peer);
}

struct sack_row {
    const char *name;
    uint32_t left, right;
};

/* Blocks that cannot be true are ignored. */
static void absurd_sack_is_ignored(void **state)
{
    const struct sack_row *row = *state;
    struct peer *peer = establish(true);

    send_ten(peer);
    peer_ack(peer, 2001);
    peer_drain(peer);
    for (int i = 0; i < 5; i++)
        peer_sack(peer, 2001, row->left, row->right);
    assert_int_equal(peer_info(peer).sacked_bytes, 0);
    assert_int_equal(peer_stats(peer).tcp_sack_reneged, 0);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 0);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

/* ---- without SACK --------------------------------------------------------------------------------------- */

/* [test RFC8985 5.1a] */
static void third_duplicate_ack_retransmits(void **state)
{
    struct peer *peer = establish(false);

    (void)state;
    send_ten(peer);
    peer_ack(peer, 1);
    peer_expect(peer, ACK, 10001, 1, 1000); /* limited transmit */
    peer_ack(peer, 1);
    peer_expect(peer, ACK, 11001, 1, 1000);
    peer_ack(peer, 1);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_destroy(peer);
}

/* RFC 6582: a partial ACK shows the next hole. */
static void partial_ack_retransmits_the_next(void **state)
{
    struct peer *peer = establish(false);
    uint32_t first = 0;

    (void)state;
    send_ten(peer);
    for (int i = 0; i < 3; i++)
        peer_ack(peer, 1);
    peer_drain(peer);
    peer_ack(peer, 4001);
    assert_true(drain_count(peer, &first) >= 1);
    assert_int_equal(first, 4001);
    peer_ack(peer, 12001);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 2);
    peer_destroy(peer);
}

static void window_updates_and_data_are_no_duplicate_acks(void **state)
{
    struct peer *peer = establish(false);

    (void)state;
    send_ten(peer);
    for (uint16_t i = 0; i < 5; i++)
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = (uint16_t)(50000 + i)});
    for (uint32_t i = 0; i < 5; i++)
        peer_send(
            peer,
            (struct seg){.flags = ACK, .seq = 1 + 10 * i, .ack = 1, .size = 10, .window = 50004});
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 0);
    peer_destroy(peer);
}

/* ---- timeout ------------------------------------------------------------------------------------------- */

/* The first is RFC 8985's probe in the timeout's place, which does not back off.
 * [test RFC9293 MUST-19] [test RFC8985 7.2d] [test RFC6298 5a 5b] */
static void rto_sends_the_first_segment_and_backs_off(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    peer_write(peer, 1000);
    peer_expect(peer, ACK | PSH, 1, 1, 1000);
    foyer_time_ns rto = 200 * MS; /* the handshake's round trip was 0: the minimum */
    for (int i = 0; i < 6; i++) {
        foyer_time_ns waited = peer_advance_to_deadline(peer, 20 * FOYER_NS_PER_S);
        assert_in_range(waited, rto, rto + MS);
        peer_expect(peer, ACK | PSH, 1, 1, 1000);
        assert_int_equal(peer_stats(peer).tcp_rto_fired, i);
        rto *= i == 0 ? 1 : 2;
    }
    assert_int_equal(peer_stats(peer).tcp_loss_probes, 1);
    peer_destroy(peer);
}

/* [test RFC8985 6.3a] [test RFC9438 4.8a] [test RFC5682 3.1a] */
static void rto_starts_over_with_one_segment(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    advance_to_rto(peer);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect_nothing(peer);
    assert_int_equal(peer_info(peer).cwnd_bytes, 1000);
    assert_int_equal(peer_info(peer).ssthresh_bytes, 7700);
    peer_ack(peer, 1001); /* slow start: two; F-RTO: new ones (the probe has taken 10001) */
    peer_expect(peer, ACK, 11001, 1, 1000);
    peer_expect(peer, ACK, 12001, 1, 1000);
    peer_expect_nothing(peer);
    peer_sack(peer, 1001, 11001, 12001); /* RFC 5682 section 3.1 step 3a: the timeout was needed */
    peer_expect(peer, ACK, 1001, 1, 1000);
    peer_expect_nothing(peer);
    peer_ack(peer, 2001);
    peer_expect(peer, ACK, 2001, 1, 1000);
    peer_expect(peer, ACK, 3001, 1, 1000);
    assert_int_equal(peer_info(peer).ssthresh_bytes, 7700);
    peer_destroy(peer);
}

/* Transmission times are kept modulo 71 minutes; a machine may sleep for longer than half of it. */
static void rto_after_a_long_sleep_holds_everything_lost(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    peer->now += 3000 * FOYER_NS_PER_S;
    foyer_host_tick(peer->host, peer->now);
    assert_int_equal(peer_stats(peer).tcp_rto_fired, 1);
    assert_int_equal(peer_info(peer).lost_bytes, 10000);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* [test RFC6675 5.1a] */
static void rto_skips_what_is_sacked(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    peer_sack(peer, 1, 1001, 2001);
    peer_sack(peer, 1, 1001, 3001);
    peer_drain(peer);
    peer_advance_to_deadline(peer, FOYER_NS_PER_S);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_sack(peer, 1001, 1001, 1001); /* an empty block: nothing */
    peer_drain(peer);
    peer_ack(peer, 3001);
    uint32_t first = 0;
    drain_count(peer, &first);
    assert_int_equal(first, 3001);
    peer_destroy(peer);
}

static void late_ack_of_everything_ends_the_timeout(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    advance_to_rto(peer);
    peer_drain(peer);
    peer_ack(peer, 11001);
    uint32_t first = 0;
    assert_true(drain_count(peer, &first) > 0);
    assert_int_equal(first, 11001); /* on with new data */
    peer_destroy(peer);
}

/* MUST-18: the answer to a retransmission is no sample. [test RFC9293 MUST-18] [test RFC6298 3a] */
static void karn_ignores_retransmitted_segments(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    uint32_t rtt = peer_info(peer).rtt_us;
    peer_write(peer, 1000);
    peer_drain(peer);
    peer_advance(peer, 300 * MS);
    peer_drain(peer);
    peer_ack(peer, 1001);
    assert_int_equal(peer_info(peer).rtt_us, rtt);
    peer_destroy(peer);
}

static void fin_is_retransmitted(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    peer_write(peer, 500);
    foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now);
    struct seg seg;
    while (peer_recv(peer, &seg) && (seg.flags & FIN) == 0)
        ;
    peer_advance_to_deadline(peer, FOYER_NS_PER_S);
    peer_expect(peer, ACK | PSH | FIN, 1, 1, 500);
    peer_ack(peer, 501);
    peer_advance_to_deadline(peer, 2 * FOYER_NS_PER_S);
    peer_expect(peer, ACK | FIN, 501, 1, 0);
    peer_ack(peer, 502);
    assert_int_equal(peer_state(peer), FOYER_STATE_FIN_WAIT_2);
    peer_destroy(peer);
}

/* ---- path MTU --------------------------------------------------------------------------------------------- */

static void icmp_for(struct peer *peer, uint32_t seq, int error, uint16_t mtu)
{
    uint8_t quoted[8];
    struct icmp_error icmp = {
        .error = error, .is_hard = true, .mtu = mtu, .transport = quoted, .size = sizeof(quoted)};
    struct sock *sock = sock_from_handle(peer->host, peer->socket);

    store_be16(quoted, peer->host_port);
    store_be16(quoted + 2, peer->peer_port);
    store_be32(quoted + 4, peer->host_iss + seq);
    tcp_icmp_error(peer->host, sock, &icmp, peer->now);
}

/* [test RFC9293 SHLD-6] [test RFC7323 5.7a] */
static void smaller_path_mtu_resends_in_smaller_segments(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    icmp_for(peer, 1, -EMSGSIZE, 640);
    assert_int_equal(peer_info(peer).mss, 600);
    peer_expect(peer, ACK, 1, 1, 600);
    peer_expect(peer, ACK, 601, 1, 600);
    assert_int_equal(peer_info(peer).cwnd_bytes, cwnd); /* no congestion */
    peer_destroy(peer);
}

/* [test RFC1122 3.4b] */
static void icmp_outside_of_the_flight_is_ignored(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    icmp_for(peer, 50000, -EMSGSIZE, 640);
    icmp_for(peer, -1u, -EMSGSIZE, 640);
    assert_int_equal(peer_info(peer).mss, 1000);
    peer_destroy(peer);
}

/* MUST-56: established connections live on; the error is told when they time out.
 * [test RFC9293 SHLD-25] */
static void hard_icmp_error_does_not_end_an_established_connection(void **state)
{
    struct peer *peer = establish(true);

    (void)state;
    send_ten(peer);
    icmp_for(peer, 1, -ECONNREFUSED, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer->is_silent = true;
    peer_advance(peer, 3000 * FOYER_NS_PER_S);
    peer_events(peer);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ECONNREFUSED);
    peer_destroy(peer);
}

/* [test RFC1122 3.2.2.1e] */
static void hard_icmp_error_ends_a_connection_attempt(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_connect(peer);
    peer_expect(peer, SYN, 0, 0, 0);
    icmp_for(peer, 0, -EHOSTUNREACH, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_events(peer);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -EHOSTUNREACH);
    peer_destroy(peer);
}

/* ---- the pool ------------------------------------------------------------------------------------------------ */

static void *no_memory(void *context, size_t size)
{
    (void)context;
    (void)size;
    return NULL;
}

/* Every second segment of 40 arrives, and there is no memory for so many records. */
static void without_memory_for_records_recovery_still_works(void **state)
{
    struct peer *peer = establish(true);
    struct seg seg;
    bool has_first = false;

    (void)state;
    peer_write(peer, 40000);
    peer_drain(peer);
    for (uint32_t i = 0; i < 10; i++) {
        peer_ack(peer, 1001 + i * 1000);
        peer_drain(peer);
    }
    struct tcp_unit *kept = peer->host->tcp.free_units;
    peer->host->tcp.free_units = NULL; /* the pool is empty */
    peer->host->config.allocator.alloc = no_memory;
    for (uint32_t left = 11001; left < 29001; left += 2000) {
        peer_sack(peer, 10001, left, left + 1000);
        while (peer_recv(peer, &seg))
            has_first = has_first || seg.seq == 10001;
    }
    assert_true(has_first);
    peer->host->tcp.free_units = kept;
    peer_destroy(peer);
}

int main(void)
{
    static struct sack_row absurd[] = {
        {"sack_beyond_snd_nxt", 5001, 90001},
        {"sack_below_the_ack", 1, 1001},
        {"sack_across_the_ack", 1001, 5001},
        {"sack_reversed", 6001, 5001},
        {"sack_empty", 5001, 5001},
        {"sack_half_the_space_away", 0x80000000, 0x80000100},
        {"sack_starts_at_the_ack", 2001, 10001},
    };
    enum { ABSURD = sizeof(absurd) / sizeof(absurd[0]) };
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(sack_of_three_segments_retransmits_the_hole),
        cmocka_unit_test(two_sacked_segments_are_not_enough),
        cmocka_unit_test(every_hole_is_retransmitted_once),
        cmocka_unit_test(recovery_ends_with_ssthresh),
        cmocka_unit_test(second_loss_in_recovery_reduces_only_once),
        cmocka_unit_test(prr_paces_by_what_is_delivered),
        cmocka_unit_test(reneging_is_found_and_survived),
        cmocka_unit_test(third_duplicate_ack_retransmits),
        cmocka_unit_test(partial_ack_retransmits_the_next),
        cmocka_unit_test(window_updates_and_data_are_no_duplicate_acks),
        cmocka_unit_test(rto_sends_the_first_segment_and_backs_off),
        cmocka_unit_test(rto_starts_over_with_one_segment),
        cmocka_unit_test(rto_after_a_long_sleep_holds_everything_lost),
        cmocka_unit_test(rto_skips_what_is_sacked),
        cmocka_unit_test(late_ack_of_everything_ends_the_timeout),
        cmocka_unit_test(karn_ignores_retransmitted_segments),
        cmocka_unit_test(fin_is_retransmitted),
        cmocka_unit_test(smaller_path_mtu_resends_in_smaller_segments),
        cmocka_unit_test(icmp_outside_of_the_flight_is_ignored),
        cmocka_unit_test(hard_icmp_error_does_not_end_an_established_connection),
        cmocka_unit_test(hard_icmp_error_ends_a_connection_attempt),
        cmocka_unit_test(without_memory_for_records_recovery_still_works),
    };
    enum { OTHERS = sizeof(others) / sizeof(others[0]) };
    static struct CMUnitTest tests[ABSURD + OTHERS];

    for (size_t i = 0; i < ABSURD; i++)
        tests[i] = (struct CMUnitTest){.name = absurd[i].name,
                                       .test_func = absurd_sack_is_ignored,
                                       .initial_state = &absurd[i]};
    memcpy(&tests[ABSURD], others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
