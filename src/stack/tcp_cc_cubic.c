/*
 * CUBIC, RFC 9438, in integers: windows in bytes, times in milliseconds. The initial slow start is
 * HyStart++ (RFC 9406), which ends it when round trips grow, before a queue overflows.
 *
 * C = 0.4 segments per cubic second, beta = 0.7 (section 4.6), alpha of the Reno-friendly region
 * 3 * (1 - beta) / (1 + beta) = 9 / 17 (section 4.3).
 */
#include "stack/tcp.h"

#define CWND_MAX_BYTES (1u << 30)
#define DISTANCE_MAX_MS 1000000 /* 1000 s from K; its cube is 1e18 */

/* The largest r with r * r * r <= value, by bits of r from the top. */
static uint32_t cube_root(uint64_t value)
{
    uint64_t root = 0;

    for (int bit = 20; bit >= 0; bit--) { /* 2^21 cubed is 2^63 */
        uint64_t trial = root | 1ull << bit;
        if (trial * trial * trial <= value)
            root = trial;
    }
    return (uint32_t)root;
}

/* Section 4.2, figure 2: K = cbrt((W_max - cwnd_epoch) / C), in ms. */
static uint32_t cubic_k_ms(uint32_t deficit_bytes, uint32_t mss)
{
    /* 1 / 0.4 * (1000 ms)^3 = 2.5e9; the deficit is below 2^30, so this stays below 2^62. */
    return cube_root((uint64_t)deficit_bytes * 2500000000ull / mss);
}

/* Section 4.2, figure 1: W_cubic(t) = C * (t - K)^3 + W_max, in bytes. [RFC9438 4.2a] */
static uint32_t cubic_window(const struct tcp_cubic *cubic, uint32_t mss, uint32_t t_ms)
{
    int64_t distance = (int64_t)t_ms - (int64_t)cubic->k_ms;
    bool is_before = distance < 0;
    uint64_t d = (uint64_t)(is_before ? -distance : distance);

    if (d > DISTANCE_MAX_MS)
        d = DISTANCE_MAX_MS;
    /* d^3 * 0.4 / 1e9 segments; in thousandths of a segment first, to keep the fraction. */
    uint64_t milli_segments = d * d * d / 2500000ull;
    uint64_t offset = milli_segments * mss / 1000ull;

    if (is_before)
        return offset < cubic->w_max_bytes ? cubic->w_max_bytes - (uint32_t)offset : 0;
    uint64_t window = cubic->w_max_bytes + offset;
    return window < CWND_MAX_BYTES ? (uint32_t)window : CWND_MAX_BYTES;
}

/* ---- HyStart++ (RFC 9406 section 4) ------------------------------------------------------------ */

#define HYSTART_MIN_US 4000u /* section 4.3: MIN_RTT_THRESH */
#define HYSTART_MAX_US 16000u
#define HYSTART_RTT_DIVISOR 8u
#define HYSTART_SAMPLES 8u /* N_RTT_SAMPLE */
#define CSS_GROWTH_DIVISOR 4u
#define CSS_ROUNDS 5u

static void hystart_begin(struct tcb *tcb)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    memset(cubic, 0, sizeof(*cubic));
    cubic->is_hystart = true;
    cubic->hystart.round_end = tcb->snd_nxt;
    cubic->hystart.last_min_us = UINT32_MAX;
    cubic->hystart.current_min_us = UINT32_MAX;
}

/* Its place is CUBIC's from now on. */
static void hystart_end(struct tcb *tcb)
{
    if (tcb->cc.cubic.is_hystart)
        memset(&tcb->cc.cubic, 0, sizeof(tcb->cc.cubic));
}

/* Section 4.2: a round ends with the ACK of what was out at its beginning. [RFC9438 4.10b] */
static void hystart_round(struct tcb *tcb)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    if (seq_lt(tcb->snd_una, cubic->hystart.round_end))
        return;
    cubic->hystart.round_end = tcb->snd_nxt;
    cubic->hystart.last_min_us = cubic->hystart.current_min_us;
    cubic->hystart.current_min_us = UINT32_MAX;
    cubic->hystart.samples = 0;
    if (cubic->hystart.is_css && ++cubic->hystart.css_rounds >= CSS_ROUNDS) {
        tcb->ssthresh_bytes = tcb->cwnd_bytes; /* the delay stayed: congestion avoidance */
        hystart_end(tcb);
    }
}

static void cubic_on_rtt(struct tcb *tcb, uint32_t rtt_us)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    /* Section 4.3: RECOMMENDED for the initial slow start only. */
    if (!cubic->is_hystart || tcb->ssthresh_bytes != UINT32_MAX)
        return;
    if (rtt_us < cubic->hystart.current_min_us)
        cubic->hystart.current_min_us = rtt_us;
    if (cubic->hystart.samples < HYSTART_SAMPLES)
        cubic->hystart.samples++;
    uint32_t current_us = cubic->hystart.current_min_us, last_us = cubic->hystart.last_min_us;

    if (cubic->hystart.samples >= HYSTART_SAMPLES && !cubic->hystart.is_css &&
        last_us != UINT32_MAX) {
        uint32_t threshold_us = last_us / HYSTART_RTT_DIVISOR;
        if (threshold_us > HYSTART_MAX_US)
            threshold_us = HYSTART_MAX_US;
        if (threshold_us < HYSTART_MIN_US)
            threshold_us = HYSTART_MIN_US;
        if (current_us >= last_us + threshold_us) {
            cubic->hystart.is_css = true;
            cubic->hystart.css_rounds = 0;
            cubic->hystart.baseline_us = current_us;
        }
    } else if (cubic->hystart.samples >= HYSTART_SAMPLES && cubic->hystart.is_css &&
               current_us < cubic->hystart.baseline_us) {
        cubic->hystart.is_css = false; /* it was jitter: slow start goes on */
    }
    hystart_round(tcb);
}

/* Section 4.2, conservative slow start. Deviation: growth per ACK has no limit L, since ACKs of
 * super-segments are few; what an ACK lets out is one burst with and without it. */
static bool hystart_grow(struct tcb *tcb, uint32_t acked_bytes)
{
    if (!tcb->cc.cubic.is_hystart || !tcb->cc.cubic.hystart.is_css)
        return false;
    tcp_cc_slow_start(tcb, acked_bytes / CSS_GROWTH_DIVISOR);
    return true;
}

static void cubic_init(struct tcb *tcb)
{
    hystart_begin(tcb);
}

/* ---- congestion avoidance ------------------------------------------------------------------------ */

/* [RFC9438 4.8b] */
static void epoch_start(struct tcb *tcb, foyer_time_ns now)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    cubic->in_epoch = true;
    cubic->epoch_ms = tcp_ms(now);
    cubic->credit = 0;
    cubic->w_est_bytes = tcb->cwnd_bytes; /* section 4.3: W_est starts at cwnd_epoch */
    if (cubic->after_rto || cubic->w_max_bytes <= tcb->cwnd_bytes) {
        /* Section 4.8: after a timeout K is 0 and W_max is cwnd. Section 4.10: the same for the
         * first congestion avoidance that no loss went before. */
        cubic->k_ms = 0;
        cubic->w_max_bytes = tcb->cwnd_bytes;
        cubic->after_rto = false;
    } else {
        cubic->k_ms = cubic_k_ms(cubic->w_max_bytes - tcb->cwnd_bytes, tcb->mss);
    }
}

/* [RFC9438 4.3b] W_est grows by alpha segments per round trip, by 1 once past the last cwnd. */
static void estimate_reno(struct tcb *tcb, uint32_t acked_bytes)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;
    uint64_t growth = (uint64_t)acked_bytes * tcb->mss;

    if (cubic->w_est_bytes < cubic->cwnd_prior_bytes)
        growth = growth * 9 / 17;
    growth += cubic->credit;
    cubic->w_est_bytes += (uint32_t)(growth / tcb->cwnd_bytes);
    cubic->credit = (uint32_t)(growth % tcb->cwnd_bytes);
    if (cubic->w_est_bytes > CWND_MAX_BYTES)
        cubic->w_est_bytes = CWND_MAX_BYTES;
}

/* [RFC9438 4.3a 4.4a 4.4b] */
static void cubic_on_ack(struct tcb *tcb, uint32_t acked_bytes, foyer_time_ns now)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    if (tcb->ssthresh_bytes != UINT32_MAX)
        hystart_end(tcb);
    else if (hystart_grow(tcb, acked_bytes))
        return;
    acked_bytes = tcp_cc_slow_start(tcb, acked_bytes);
    if (acked_bytes == 0)
        return;
    if (!cubic->in_epoch)
        epoch_start(tcb, now);
    estimate_reno(tcb, acked_bytes);

    uint32_t t_ms = tcp_ms(now) - cubic->epoch_ms;
    if (cubic_window(cubic, tcb->mss, t_ms) < cubic->w_est_bytes) {
        /* Section 4.3: the Reno-friendly region. */
        if (tcb->cwnd_bytes < cubic->w_est_bytes)
            tcb->cwnd_bytes = cubic->w_est_bytes;
        return;
    }
    /* Sections 4.4 and 4.5: towards W_cubic(t + RTT), at most 1.5 cwnd per round trip. */
    uint32_t rtt_ms = tcb->srtt_us8 / 8000;
    uint32_t target = cubic_window(cubic, tcb->mss, t_ms + rtt_ms);
    uint32_t limit = tcb->cwnd_bytes + tcb->cwnd_bytes / 2;
    if (target > limit)
        target = limit;
    if (target > tcb->cwnd_bytes) {
        uint64_t growth = (uint64_t)(target - tcb->cwnd_bytes) * acked_bytes / tcb->cwnd_bytes;
        tcb->cwnd_bytes += (uint32_t)growth;
    }
    if (tcb->cwnd_bytes > CWND_MAX_BYTES)
        tcb->cwnd_bytes = CWND_MAX_BYTES;
}

/* [RFC9438 4.6a 4.6b 4.7a] */
static void cubic_on_loss(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;
    uint32_t floor_bytes = 2u * tcb->mss;
    uint32_t reduced = (uint32_t)((uint64_t)flight_bytes * 7 / 10);

    (void)now;
    hystart_end(tcb);
    cubic->in_epoch = false;
    cubic->w_max_undo_bytes = cubic->w_max_bytes;
    /* Section 4.7, fast convergence: leave room where the last maximum was not reached again. */
    if (tcb->cwnd_bytes < cubic->w_max_bytes)
        cubic->w_max_bytes = (uint32_t)((uint64_t)tcb->cwnd_bytes * 17 / 20);
    else
        cubic->w_max_bytes = tcb->cwnd_bytes;
    /* Section 4.6: ssthresh = flight_size * beta, at least 2 segments. */
    cubic->cwnd_prior_bytes = tcb->cwnd_bytes;
    tcb->ssthresh_bytes = reduced > floor_bytes ? reduced : floor_bytes;
}

/* Section 4.8. [RFC9438 4.8a] */
static void cubic_on_rto(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    cubic_on_loss(tcb, flight_bytes, now);
    tcb->cc.cubic.after_rto = true;
}

/* Section 4.9. [RFC9438 4.9a] */
static void cubic_on_undo(struct tcb *tcb)
{
    if (tcb->ssthresh_bytes == UINT32_MAX) {
        hystart_begin(tcb); /* no loss was met after all */
        return;
    }
    tcb->cc.cubic.w_max_bytes = tcb->cc.cubic.w_max_undo_bytes;
    tcb->cc.cubic.after_rto = false;
    tcb->cc.cubic.in_epoch = false;
}

/* Section 5.8: idle time is no time of growth. [RFC9438 4.2b] */
static void cubic_on_idle(struct tcb *tcb, uint32_t idle_ms)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    if (cubic->in_epoch)
        cubic->epoch_ms += idle_ms;
}

const struct tcp_cc_ops tcp_cc_cubic = {
    .init = cubic_init,
    .on_ack = cubic_on_ack,
    .on_rtt = cubic_on_rtt,
    .on_loss = cubic_on_loss,
    .on_rto = cubic_on_rto,
    .on_undo = cubic_on_undo,
    .on_idle = cubic_on_idle,
};
