/*
 * CUBIC, RFC 9438, in integers: windows in bytes, times in milliseconds.
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

/* Section 4.2, figure 1: W_cubic(t) = C * (t - K)^3 + W_max, in bytes. */
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

static void cubic_init(struct tcb *tcb)
{
    memset(&tcb->cc.cubic, 0, sizeof(tcb->cc.cubic));
}

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

/* Section 4.3: W_est grows by alpha segments per round trip, by 1 once past the last cwnd. */
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

static void cubic_on_ack(struct tcb *tcb, uint32_t acked_bytes, foyer_time_ns now)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

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

static void cubic_on_loss(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;
    uint32_t floor_bytes = 2u * tcb->mss;
    uint32_t reduced = (uint32_t)((uint64_t)flight_bytes * 7 / 10);

    (void)now;
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

/* Section 4.8. */
static void cubic_on_rto(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    cubic_on_loss(tcb, flight_bytes, now);
    tcb->cc.cubic.after_rto = true;
}

/* Section 4.9. */
static void cubic_on_undo(struct tcb *tcb)
{
    tcb->cc.cubic.w_max_bytes = tcb->cc.cubic.w_max_undo_bytes;
    tcb->cc.cubic.after_rto = false;
    tcb->cc.cubic.in_epoch = false;
}

/* Section 5.8: idle time is no time of growth. */
static void cubic_on_idle(struct tcb *tcb, uint32_t idle_ms)
{
    struct tcp_cubic *cubic = &tcb->cc.cubic;

    if (cubic->in_epoch)
        cubic->epoch_ms += idle_ms;
}

const struct tcp_cc_ops tcp_cc_cubic = {
    .init = cubic_init,
    .on_ack = cubic_on_ack,
    .on_loss = cubic_on_loss,
    .on_rto = cubic_on_rto,
    .on_undo = cubic_on_undo,
    .on_idle = cubic_on_idle,
};
