/* Congestion control against numbers worked out by hand from RFC 9438, 5681 and 6928. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "stack/tcp.h"

#define MSS 1000u
#define SECOND FOYER_NS_PER_S

static void make(struct tcb *tcb, uint8_t algorithm)
{
    memset(tcb, 0, sizeof(*tcb));
    tcb->mss = MSS;
    tcb->cc_id = algorithm;
    tcp_cc_init(NULL, tcb);
}

static void initial_window_follows_rfc_6928(void **state)
{
    (void)state;
    assert_int_equal(tcp_cc_initial_window(1460), 14600);
    assert_int_equal(tcp_cc_initial_window(536), 5360);
    assert_int_equal(tcp_cc_initial_window(2000), 14600);
    assert_int_equal(tcp_cc_initial_window(9000), 18000);
}

static void initial_window_after_a_lost_syn_is_one_segment(void **state)
{
    struct tcb tcb;

    (void)state;
    memset(&tcb, 0, sizeof(tcb));
    tcb.mss = MSS;
    tcb.flags = TCPF_SYN_LOST;
    tcp_cc_init(NULL, &tcb);
    assert_int_equal(tcb.cwnd_bytes, MSS);
}

/* [test RFC9293 MUST-19] */
static void newreno_slow_start_doubles_per_round(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_NEWRENO);
    assert_int_equal(tcb.cwnd_bytes, 10 * MSS);
    for (int i = 0; i < 10; i++)
        tcp_cc(&tcb)->on_ack(&tcb, MSS, 0);
    assert_int_equal(tcb.cwnd_bytes, 20 * MSS);
}

static void newreno_stops_slow_start_at_ssthresh(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_NEWRENO);
    tcb.ssthresh_bytes = 12 * MSS;
    tcp_cc(&tcb)->on_ack(&tcb, 5 * MSS, 0);
    assert_int_equal(tcb.cwnd_bytes, 12 * MSS); /* 2 by slow start, 3 of 12 towards the next */
    assert_int_equal(tcb.cc.newreno.acked_bytes, 3 * MSS);
}

/* [test RFC9293 MUST-19] */
static void newreno_avoidance_adds_one_segment_per_window(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_NEWRENO);
    tcb.ssthresh_bytes = 10 * MSS;
    for (int i = 0; i < 9; i++)
        tcp_cc(&tcb)->on_ack(&tcb, MSS, 0);
    assert_int_equal(tcb.cwnd_bytes, 10 * MSS);
    tcp_cc(&tcb)->on_ack(&tcb, MSS, 0);
    assert_int_equal(tcb.cwnd_bytes, 11 * MSS);
}

static void newreno_loss_halves_the_flight(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_NEWRENO);
    tcp_cc(&tcb)->on_loss(&tcb, 20 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 10 * MSS);
    tcp_cc(&tcb)->on_loss(&tcb, 3 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 2 * MSS); /* RFC 5681 (4): at least 2 SMSS */
}

/* [test RFC9438 4.6a] [test RFC9438 4.6c] */
static void cubic_loss_keeps_seven_tenths(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_CUBIC);
    tcb.cwnd_bytes = 100 * MSS;
    tcp_cc(&tcb)->on_loss(&tcb, 100 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 70 * MSS);
    assert_int_equal(tcb.cc.cubic.w_max_bytes, 100 * MSS);
}

/* [test RFC9438 4.7a] */
static void cubic_fast_convergence_lowers_w_max(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_CUBIC);
    tcb.cwnd_bytes = 100 * MSS;
    tcp_cc(&tcb)->on_loss(&tcb, 100 * MSS, 0);
    tcb.cwnd_bytes = 80 * MSS; /* below the last W_max: the second loss */
    tcp_cc(&tcb)->on_loss(&tcb, 80 * MSS, 0);
    assert_int_equal(tcb.cc.cubic.w_max_bytes, 68 * MSS); /* 80 * (1 + 0.7) / 2 */
    assert_int_equal(tcb.ssthresh_bytes, 56 * MSS);
}

/* After a loss at 100 segments: K = cbrt(100 * 0.3 / 0.4) = cbrt(75) = 4.217 s. */
static void enter_avoidance(struct tcb *tcb, foyer_time_ns now)
{
    make(tcb, FOYER_CONGESTION_CUBIC);
    tcb->cwnd_bytes = 100 * MSS;
    tcp_cc(tcb)->on_loss(tcb, 100 * MSS, now);
    tcb->cwnd_bytes = tcb->ssthresh_bytes;
    tcp_cc(tcb)->on_ack(tcb, 1, now);
}

/* [test RFC9438 4.2a] [test RFC9438 5.1a] */
static void cubic_k_is_the_cube_root(void **state)
{
    struct tcb tcb;

    (void)state;
    enter_avoidance(&tcb, 10 * SECOND);
    assert_int_equal(tcb.cc.cubic.k_ms, 4217);
}

/* cwnd(t) is near W_cubic(t) when ACKs come in plenty: 100 - 0.4 * (4.217 - t)^3.
 * [test RFC9293 MAY-18] [test RFC9438 4.2a 4.4a] */
static void cubic_grows_concave_to_w_max_then_convex(void **state)
{
    static const struct {
        unsigned t_s;
        uint32_t window; /* segments, rounded down */
    } points[] = {
        {2, 95},  /* 100 - 0.4 * 2.217^3 = 95.64 */
        {4, 99},  /* 100 - 0.4 * 0.217^3 = 99.99 */
        {6, 102}, /* 100 + 0.4 * 1.783^3 = 102.27 */
        {8, 121}, /* 100 + 0.4 * 3.783^3 = 121.66 */
    };
    struct tcb tcb;
    foyer_time_ns start = 10 * SECOND;

    (void)state;
    enter_avoidance(&tcb, start);
    tcb.cc.cubic.cwnd_prior_bytes = UINT32_MAX / 2; /* hold the Reno estimate at alpha < 1 */
    foyer_time_ns t = 0;
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        for (; t <= points[i].t_s * SECOND; t += 100 * FOYER_NS_PER_MS) {
            tcb.cc.cubic.w_est_bytes = 0; /* the cubic region alone */
            tcp_cc(&tcb)->on_ack(&tcb, tcb.cwnd_bytes, start + t);
        }
        assert_in_range(tcb.cwnd_bytes, points[i].window * MSS, (points[i].window + 1) * MSS);
    }
}

/* [test RFC9438 4.3a] */
static void cubic_is_reno_friendly_on_short_paths(void **state)
{
    struct tcb tcb;
    foyer_time_ns now = 10 * SECOND;

    (void)state;
    enter_avoidance(&tcb, now);
    /* 17 round trips of 1 ms: W_cubic hardly moves, W_est gains 9/17 of a segment each. */
    for (int round = 0; round < 17; round++)
        tcp_cc(&tcb)->on_ack(&tcb, tcb.cwnd_bytes, now += FOYER_NS_PER_MS);
    assert_in_range(tcb.cwnd_bytes, 78 * MSS, 79 * MSS + MSS / 2);
}

/* [test RFC9438 4.8b] */
static void cubic_after_rto_starts_from_here(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_CUBIC);
    tcb.cwnd_bytes = 100 * MSS;
    tcp_cc(&tcb)->on_rto(&tcb, 100 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 70 * MSS);
    tcb.cwnd_bytes = 70 * MSS;
    tcp_cc(&tcb)->on_ack(&tcb, MSS, 5 * SECOND);
    assert_int_equal(tcb.cc.cubic.k_ms, 0); /* RFC 9438 section 4.8 */
    assert_int_equal(tcb.cc.cubic.w_max_bytes, 70 * MSS);
}

/* [test RFC9438 4.4b] */
static void cubic_growth_is_bounded_per_round(void **state)
{
    struct tcb tcb;

    (void)state;
    enter_avoidance(&tcb, 10 * SECOND);
    /* 100 s later W_cubic is far above: one window of ACKs gains half a window at most. */
    uint32_t before = tcb.cwnd_bytes;
    tcp_cc(&tcb)->on_ack(&tcb, before, 110 * SECOND);
    assert_in_range(tcb.cwnd_bytes, before, before + before / 2);
}

/* [test RFC9438 4.2b] */
static void cubic_idle_time_is_no_growth(void **state)
{
    struct tcb tcb;

    (void)state;
    enter_avoidance(&tcb, 10 * SECOND);
    uint32_t epoch_ms = tcb.cc.cubic.epoch_ms;
    tcp_cc(&tcb)->on_idle(&tcb, 3000);
    assert_int_equal(tcb.cc.cubic.epoch_ms, epoch_ms + 3000);
}

/* [test RFC9438 4.9a] [test RFC9438 4.9b] */
static void cubic_undo_restores_w_max(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_CUBIC);
    tcb.cwnd_bytes = 100 * MSS;
    tcp_cc(&tcb)->on_loss(&tcb, 100 * MSS, 0);
    tcb.cwnd_bytes = 80 * MSS;
    tcp_cc(&tcb)->on_loss(&tcb, 80 * MSS, 0);
    tcp_cc(&tcb)->on_undo(&tcb);
    assert_int_equal(tcb.cc.cubic.w_max_bytes, 100 * MSS);
}

static void idle_halves_the_window_per_rto_down_to_the_initial(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_CUBIC);
    tcb.srtt_us8 = 8 * 100000; /* RTO 100 ms + 200 ms */
    tcb.cwnd_bytes = 100 * MSS;
    tcb.sent_ms = 10000;
    tcp_cc_restart_after_idle(&tcb, 10299 * FOYER_NS_PER_MS);
    assert_int_equal(tcb.cwnd_bytes, 100 * MSS);
    tcp_cc_restart_after_idle(&tcb, 10650 * FOYER_NS_PER_MS);
    assert_int_equal(tcb.cwnd_bytes, 25 * MSS);
    assert_int_equal(tcb.ssthresh_bytes, UINT32_MAX);
    tcp_cc_restart_after_idle(&tcb, 20000 * FOYER_NS_PER_MS);
    assert_int_equal(tcb.cwnd_bytes, 10 * MSS);
}

/* RFC 6298: first sample R: SRTT = R, RTTVAR = R/2; then 7/8, 1/8 and 3/4, 1/4.
 * [test RFC6298 2a 2b 2c 2d 2f 5b] */
static void rtt_estimator_follows_rfc_6298(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb, FOYER_CONGESTION_CUBIC);
    assert_int_equal(tcp_rto_ns(&tcb), FOYER_NS_PER_S);
    tcp_rtt_sample(&tcb, 400000);
    assert_int_equal(tcb.srtt_us8 / 8, 400000);
    assert_int_equal(tcb.rttvar_us4 / 4, 200000);
    assert_int_equal(tcp_rto_ns(&tcb), 1200 * FOYER_NS_PER_MS);
    tcp_rtt_sample(&tcb, 800000);
    assert_int_equal(tcb.srtt_us8 / 8, 450000);   /* 7/8 * 400 + 1/8 * 800 */
    assert_int_equal(tcb.rttvar_us4 / 4, 250000); /* 3/4 * 200 + 1/4 * 400 */
    tcb.backoff = 1;
    assert_int_equal(tcp_rto_ns(&tcb), 2 * 1450 * FOYER_NS_PER_MS);
    tcb.backoff = 20;
    assert_int_equal(tcp_rto_ns(&tcb), 120 * FOYER_NS_PER_S);
}

/* ---- HyStart++ (RFC 9406) ------------------------------------------------------------------------- */

/* Ten segments make a round trip of that length; by how much cwnd grew. */
static uint32_t run_round(struct tcb *tcb, uint32_t rtt_us)
{
    uint32_t before = tcb->cwnd_bytes;

    for (int i = 0; i < 10; i++) {
        tcb->snd_una = seq_add(tcb->snd_una, MSS);
        tcb->snd_nxt = seq_add(tcb->snd_una, 10 * MSS);
        tcp_cc(tcb)->on_rtt(tcb, rtt_us);
        tcp_cc(tcb)->on_ack(tcb, MSS, SECOND);
    }
    return tcb->cwnd_bytes - before;
}

static void make_hystart(struct tcb *tcb)
{
    make(tcb, FOYER_CONGESTION_CUBIC);
    for (int i = 0; i < 5; i++)
        assert_int_equal(run_round(tcb, 40000), 10 * MSS);
}

/* Sections 4.2 and 4.3: a round longer by an eighth slows the start, five of them end it.
 * [test RFC9438 4.10b] */
static void hystart_ends_slow_start_where_round_trips_grow(void **state)
{
    struct tcb tcb;
    int rounds = 0;

    (void)state;
    make_hystart(&tcb);
    run_round(&tcb, 44900); /* not yet an eighth */
    assert_int_equal(run_round(&tcb, 44900), 10 * MSS);
    make_hystart(&tcb);
    run_round(&tcb, 46000);
    while (tcb.ssthresh_bytes == UINT32_MAX) {
        assert_in_range(run_round(&tcb, 46000), 1, 5 * MSS);
        assert_true(++rounds < 10);
    }
    assert_in_range(rounds, 4, 6);
    assert_true(tcb.ssthresh_bytes <= tcb.cwnd_bytes);
}

static void hystart_goes_on_after_jitter(void **state)
{
    struct tcb tcb;

    (void)state;
    make_hystart(&tcb);
    run_round(&tcb, 46000);
    assert_in_range(run_round(&tcb, 46000), 1, 5 * MSS);
    run_round(&tcb, 40000);
    assert_int_equal(run_round(&tcb, 40000), 10 * MSS);
    assert_int_equal(tcb.ssthresh_bytes, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hystart_ends_slow_start_where_round_trips_grow),
        cmocka_unit_test(hystart_goes_on_after_jitter),
        cmocka_unit_test(initial_window_follows_rfc_6928),
        cmocka_unit_test(initial_window_after_a_lost_syn_is_one_segment),
        cmocka_unit_test(newreno_slow_start_doubles_per_round),
        cmocka_unit_test(newreno_stops_slow_start_at_ssthresh),
        cmocka_unit_test(newreno_avoidance_adds_one_segment_per_window),
        cmocka_unit_test(newreno_loss_halves_the_flight),
        cmocka_unit_test(cubic_loss_keeps_seven_tenths),
        cmocka_unit_test(cubic_fast_convergence_lowers_w_max),
        cmocka_unit_test(cubic_k_is_the_cube_root),
        cmocka_unit_test(cubic_grows_concave_to_w_max_then_convex),
        cmocka_unit_test(cubic_is_reno_friendly_on_short_paths),
        cmocka_unit_test(cubic_after_rto_starts_from_here),
        cmocka_unit_test(cubic_growth_is_bounded_per_round),
        cmocka_unit_test(cubic_idle_time_is_no_growth),
        cmocka_unit_test(cubic_undo_restores_w_max),
        cmocka_unit_test(idle_halves_the_window_per_rto_down_to_the_initial),
        cmocka_unit_test(rtt_estimator_follows_rfc_6298),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
