/* BBR's model of the path: bandwidth, round trip, bursts of ACKs, and what losses tell. */
#include "stack/tcp_bbr.h"

#define MIN_RTT_WINDOW_MS 10000u /* section 2.5: MinRTTFilterLen */
#define PROBE_RTT_INTERVAL_MS 5000u
#define BETA_PERCENT 70u
#define FULL_BW_ROUNDS 3u
#define EXTRA_ROUNDS 5u /* two halves make ExtraAckedFilterLen */

void bbr_reset_congestion_signals(struct tcp_bbr *bbr)
{
    bbr->has_loss_in_round = false;
    bbr->bw_latest = 0;
    bbr->inflight_latest = 0;
}

void bbr_reset_short_bounds(struct tcp_bbr *bbr)
{
    bbr->bw_short = BBR_UNLIMITED_BW;
    bbr->inflight_short = BBR_UNLIMITED;
}

void bbr_reset_full_bw(struct tcp_bbr *bbr, uint64_t rate)
{
    bbr->full_bw = rate;
    bbr->full_bw_count = 0;
    bbr->is_full_bw_now = false;
}

void bbr_model_init(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr->min_rtt_us = tcb->srtt_us8 != 0 ? tcb->srtt_us8 / 8 : UINT32_MAX;
    bbr->probe_rtt_min_us = bbr->min_rtt_us;
    bbr->inflight_long = BBR_UNLIMITED;
    bbr_reset_congestion_signals(bbr);
    bbr_reset_short_bounds(bbr);
}

/* ---- rounds and rates (sections 5.5.1 to 5.5.7) -------------------------------------------------- */

static void update_round(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    const struct tcp_rate_sample *sample = &ack->delivery->rate;

    bbr->is_round_start = false;
    if (!sample->has_mark ||
        (int32_t)(sample->mark.delivered_bytes - bbr->next_round_delivered) < 0)
        return;
    bbr_start_round(tcb);
    bbr->round_count++;
    bbr->rounds_since_probe++;
    bbr->is_round_start = true;
    bbr->was_cwnd_limited = bbr->is_cwnd_limited;
    bbr->is_cwnd_limited = false;
}

static void update_max_bw(struct tcp_bbr *bbr, const struct bbr_ack *ack)
{
    if (ack->rate > 0 &&
        (ack->rate >= bbr_max_bw(bbr) || !ack->delivery->rate.mark.is_app_limited) &&
        ack->rate > bbr->max_bw[0])
        bbr->max_bw[0] = ack->rate;
}

/* Section 5.5.10.3: outside of a probe a round with losses lowers what is believed. */
static void adapt_short_bounds(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->state == BBR_STARTUP || bbr->state == BBR_PROBE_REFILL || bbr->state == BBR_PROBE_UP ||
        !bbr->has_loss_in_round)
        return;
    if (bbr->bw_short == BBR_UNLIMITED_BW)
        bbr->bw_short = bbr_max_bw(bbr);
    if (bbr->inflight_short == BBR_UNLIMITED)
        bbr->inflight_short = tcb->cwnd_bytes;
    uint64_t bw = bbr->bw_short * BETA_PERCENT / 100;
    uint32_t inflight = (uint32_t)((uint64_t)bbr->inflight_short * BETA_PERCENT / 100);
    bbr->bw_short = bw > bbr->bw_latest ? bw : bbr->bw_latest;
    bbr->inflight_short = bbr_max_u32(inflight, bbr->inflight_latest);
}

/* Section 5.5.9: ACKs may come in bursts; what they bring above the rate may be in flight, too. */
static void update_extra_acked(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t interval_us = bbr->now_us - bbr->extra_start_us;
    uint64_t expected = bbr->bw * interval_us / 1000000u;

    if (bbr->extra_delivered <= expected) {
        bbr->extra_delivered = 0;
        bbr->extra_start_us = bbr->now_us;
        expected = 0;
    }
    bbr->extra_delivered += ack->delivery->delivered_bytes;
    uint32_t extra =
        bbr->extra_delivered > expected ? bbr->extra_delivered - (uint32_t)expected : 0;
    extra = bbr_min_u32(extra, tcb->cwnd_bytes);
    uint32_t rounds = bbr->is_full_bw_reached ? EXTRA_ROUNDS : 1;
    if (bbr->round_count - bbr->extra_rounds >= rounds) {
        bbr->extra_rounds = bbr->round_count;
        bbr->extra_acked[1] = bbr->extra_acked[0];
        bbr->extra_acked[0] = 0;
    }
    bbr->extra_acked[0] = bbr_max_u32(bbr->extra_acked[0], extra);
}

uint32_t bbr_extra_acked(const struct tcp_bbr *bbr)
{
    return bbr_max_u32(bbr->extra_acked[0], bbr->extra_acked[1]);
}

void bbr_model_update(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    const struct tcp_rate_sample *sample = &ack->delivery->rate;

    bbr->is_loss_round_start = false;
    if (sample->has_mark) {
        if (ack->rate > bbr->bw_latest)
            bbr->bw_latest = ack->rate;
        bbr->inflight_latest = bbr_max_u32(bbr->inflight_latest, sample->delivered_bytes);
        if ((int32_t)(sample->mark.delivered_bytes - bbr->loss_round_delivered) >= 0) {
            bbr->loss_round_delivered = tcb->board->rate.delivered_bytes;
            bbr->is_loss_round_start = true;
        }
    }
    update_round(tcb, ack);
    update_max_bw(bbr, ack);
    if (bbr->is_loss_round_start) {
        adapt_short_bounds(tcb);
        bbr->has_loss_in_round = false;
    }
    update_extra_acked(tcb, ack);
}

void bbr_model_advance(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->is_loss_round_start) {
        bbr->bw_latest = ack->rate;
        bbr->inflight_latest = ack->delivery->rate.delivered_bytes;
        bbr->losses_in_round = 0;
    }
    bbr->bw = bbr_max_bw(bbr);
    if (bbr->bw_short < bbr->bw)
        bbr->bw = bbr->bw_short;
}

void bbr_note_loss(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->losses_in_round < UINT8_MAX)
        bbr->losses_in_round++;
    if (bbr->has_loss_in_round)
        return;
    bbr->has_loss_in_round = true;
    bbr->losses_in_round = 1;
    bbr->loss_round_delivered = tcb->board->rate.delivered_bytes;
    bbr->undo_state = bbr->state;
    bbr->undo_bw_short = bbr->bw_short;
    bbr->undo_inflight_short = bbr->inflight_short;
    bbr->undo_inflight_long = bbr->inflight_long;
}

/* ---- a full pipe (section 5.3.1.2) ---------------------------------------------------------------- */

/* Three rounds without a quarter more. */
void bbr_check_full_bw(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->is_full_bw_now || !bbr->is_round_start || ack->delivery->rate.mark.is_app_limited ||
        ack->rate == 0)
        return;
    if (ack->rate >= bbr->full_bw * 5 / 4) {
        bbr_reset_full_bw(bbr, ack->rate);
        return;
    }
    bbr->full_bw_count++;
    bbr->is_full_bw_now = bbr->full_bw_count >= FULL_BW_ROUNDS;
    if (bbr->is_full_bw_now)
        bbr->is_full_bw_reached = true;
}

/* ---- the round trip (section 5.3.4.3) ------------------------------------------------------------- */

void bbr_update_min_rtt(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t rtt_us = ack->delivery->rtt_us;

    bbr->is_probe_rtt_due =
        (int32_t)(bbr->now_ms - bbr->probe_rtt_min_ms) > (int32_t)PROBE_RTT_INTERVAL_MS;
    if (rtt_us != 0 && (rtt_us < bbr->probe_rtt_min_us || bbr->is_probe_rtt_due)) {
        bbr->probe_rtt_min_us = rtt_us;
        bbr->probe_rtt_min_ms = bbr->now_ms;
    }
    bool is_old = (int32_t)(bbr->now_ms - bbr->min_rtt_ms) > (int32_t)MIN_RTT_WINDOW_MS;
    if (bbr->probe_rtt_min_us < bbr->min_rtt_us || is_old) {
        bbr->min_rtt_us = bbr->probe_rtt_min_us;
        bbr->min_rtt_ms = bbr->probe_rtt_min_ms;
    }
}
