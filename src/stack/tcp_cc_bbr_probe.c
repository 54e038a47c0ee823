/*
 * ProbeBW (section 5.3.3): most of the time BBR sends a little less than the path takes, and now
 * and then a little more, to see whether there is more.
 *
 *     DOWN 0.9 ---> CRUISE 1.0 ---> REFILL 1.0 ---> UP 1.25 ---+
 *       ^   drained         time to probe    a round           |
 *       +------------------------------------------------------+ full, or too many losses
 */
#include "stack/tcp_bbr.h"

#define LOSS_PERCENT 2u /* section 2.4: LossThresh */
#define BETA_PERCENT 70u
#define HEADROOM_PERCENT 15u
#define PROBE_WAIT_MS 2000u /* section 5.3.3.7: 2 to 3 seconds */
#define PROBE_WAIT_SPREAD_MS 1000u
#define RENO_ROUNDS_MAX 63u

static uint32_t next_random(struct tcp_bbr *bbr)
{
    bbr->random = bbr->random * 1664525u + 1013904223u;
    return bbr->random >> 8;
}

/* ---- the phases ------------------------------------------------------------------------------------ */

static void start_down(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr_reset_congestion_signals(bbr);
    bbr->probe_up_bytes = BBR_UNLIMITED;
    bbr->rounds_since_probe = next_random(bbr) & 1u;
    bbr->probe_wait_ms = PROBE_WAIT_MS + next_random(bbr) % PROBE_WAIT_SPREAD_MS;
    bbr->cycle_ms = bbr->now_ms;
    bbr->ack_phase = BBR_ACKS_PROBE_STOPPING;
    bbr_start_round(tcb);
    bbr->state = BBR_PROBE_DOWN;
}

void bbr_start_cruise(struct tcb *tcb)
{
    bbr_of(tcb)->state = BBR_PROBE_CRUISE;
}

static void start_refill(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr_reset_short_bounds(bbr);
    bbr->probe_up_rounds = 0;
    bbr->probe_up_acked = 0;
    bbr->ack_phase = BBR_ACKS_REFILLING;
    bbr_start_round(tcb);
    bbr->state = BBR_PROBE_REFILL;
}

/* Section 5.3.3.6, BBRRaiseInflightLongtermSlope: one segment more per round, then 2, 4, 8... */
static void raise_slope(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t segments = 1u << bbr->probe_up_rounds;

    if (bbr->probe_up_rounds < 30)
        bbr->probe_up_rounds++;
    bbr->probe_up_bytes = bbr_max_u32(tcb->cwnd_bytes / segments, tcb->mss);
}

void bbr_start_up(struct tcb *tcb, uint64_t rate)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr->ack_phase = BBR_ACKS_PROBE_STARTING;
    bbr_start_round(tcb);
    bbr_reset_full_bw(bbr, rate);
    bbr->state = BBR_PROBE_UP;
    raise_slope(tcb);
}

void bbr_enter_probe_bw(struct tcb *tcb)
{
    start_down(tcb);
}

/* ---- when to go on ----------------------------------------------------------------------------------- */

static uint32_t target_inflight(const struct tcb *tcb)
{
    return bbr_min_u32(bbr_inflight(tcb, bbr_of(tcb)->bw, 100), tcb->cwnd_bytes);
}

/* Section 5.3.3.7: at the latest when Reno would have probed as much, so that it keeps its share. */
static bool is_time_to_probe(struct tcb *tcb)
{
    const struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t reno_rounds = bbr_min_u32(target_inflight(tcb) / tcb->mss, RENO_ROUNDS_MAX);

    if (bbr->now_ms - bbr->cycle_ms <= bbr->probe_wait_ms && bbr->rounds_since_probe < reno_rounds)
        return false;
    start_refill(tcb);
    return true;
}

uint32_t bbr_inflight_with_headroom(const struct tcb *tcb)
{
    const struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->inflight_long == BBR_UNLIMITED)
        return BBR_UNLIMITED;
    uint64_t part = (uint64_t)bbr->inflight_long * HEADROOM_PERCENT / 100;
    uint32_t headroom = bbr_max_u32((uint32_t)part, tcb->mss);
    uint32_t rest = bbr->inflight_long > headroom ? bbr->inflight_long - headroom : 0;
    return bbr_max_u32(rest, 4u * tcb->mss);
}

static bool is_time_to_cruise(const struct tcb *tcb, const struct bbr_ack *ack)
{
    return ack->pipe_bytes <= bbr_inflight_with_headroom(tcb) &&
           ack->pipe_bytes <= bbr_inflight(tcb, bbr_max_bw(bbr_of(tcb)), 100);
}

static bool is_limited(const struct tcp_bbr *bbr)
{
    return bbr->is_cwnd_limited || bbr->was_cwnd_limited;
}

static bool is_time_to_go_down(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (is_limited(bbr) && tcb->cwnd_bytes >= bbr->inflight_long) {
        bbr_reset_full_bw(bbr, ack->rate); /* it is the bound that keeps the rate low */
        return false;
    }
    return bbr->is_full_bw_now;
}

/* ---- how much may be in flight (section 5.5.10.2) --------------------------------------------------- */

bool bbr_is_inflight_too_high(uint32_t lost_bytes, uint32_t flight_bytes)
{
    return (uint64_t)lost_bytes * 100 > (uint64_t)flight_bytes * LOSS_PERCENT;
}

void bbr_handle_inflight_too_high(struct tcb *tcb, uint32_t flight_bytes, bool is_app_limited)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr->has_probe_samples = false;
    if (!is_app_limited) {
        uint64_t least = (uint64_t)target_inflight(tcb) * BETA_PERCENT / 100;
        bbr->inflight_long = bbr_max_u32(flight_bytes, (uint32_t)least);
    }
    if (bbr->state == BBR_PROBE_UP)
        start_down(tcb);
}

static void probe_upward(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (!is_limited(bbr) || tcb->cwnd_bytes < bbr->inflight_long)
        return;
    bbr->probe_up_acked += ack->delivery->delivered_bytes;
    if (bbr->probe_up_acked >= bbr->probe_up_bytes) {
        uint32_t segments = bbr->probe_up_acked / bbr->probe_up_bytes;
        bbr->probe_up_acked -= segments * bbr->probe_up_bytes;
        bbr->inflight_long += segments * tcb->mss;
    }
    if (bbr->is_round_start)
        raise_slope(tcb);
}

static void adapt_long_bounds(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    const struct tcp_rate_sample *sample = &ack->delivery->rate;

    if (bbr->ack_phase == BBR_ACKS_PROBE_STARTING && bbr->is_round_start)
        bbr->ack_phase = BBR_ACKS_PROBE_FEEDBACK;
    if (bbr->ack_phase == BBR_ACKS_PROBE_STOPPING && bbr->is_round_start) {
        /* Section 5.5.6: a cycle is over, what was found in the one before the last is forgotten.
         * Once per probe: later rounds of the cycle must not wear the filter out. */
        bbr->has_probe_samples = false;
        bbr->ack_phase = BBR_ACKS_REFILLING;
        if (bbr_is_probing_bw(bbr) && !sample->mark.is_app_limited) {
            bbr->max_bw[1] = bbr->max_bw[0];
            bbr->max_bw[0] = 0;
        }
    }
    if (!sample->has_mark)
        return;
    if (bbr_is_inflight_too_high(sample->lost_bytes, sample->mark.flight_bytes)) {
        if (bbr->has_probe_samples)
            bbr_handle_inflight_too_high(tcb, sample->mark.flight_bytes,
                                         sample->mark.is_app_limited);
        return;
    }
    if (bbr->inflight_long == BBR_UNLIMITED)
        return;
    bbr->inflight_long = bbr_max_u32(bbr->inflight_long, sample->mark.flight_bytes);
    if (bbr->state == BBR_PROBE_UP)
        probe_upward(tcb, ack);
}

void bbr_update_probe_bw(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (!bbr->is_full_bw_reached)
        return;
    adapt_long_bounds(tcb, ack);
    switch (bbr->state) {
    case BBR_PROBE_DOWN:
        if (!is_time_to_probe(tcb) && is_time_to_cruise(tcb, ack))
            bbr_start_cruise(tcb);
        break;
    case BBR_PROBE_CRUISE:
        (void)is_time_to_probe(tcb);
        break;
    case BBR_PROBE_REFILL:
        if (bbr->is_round_start) {
            bbr->has_probe_samples = true;
            bbr_start_up(tcb, ack->rate);
        }
        break;
    case BBR_PROBE_UP:
        if (is_time_to_go_down(tcb, ack))
            start_down(tcb);
        break;
    default:
        break;
    }
}
