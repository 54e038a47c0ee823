/*
 * BBR, version 3 (draft-ietf-ccwg-bbr): sends at the rate at which the path delivers and keeps in
 * flight what that rate needs, instead of filling queues until they drop. Losses matter only
 * beyond 2 %. Without the draft's ECN part, which needs DCTCP-like marks: an ECE counts as a loss.
 *
 *     STARTUP ---> DRAIN ---> PROBE_BW (tcp_cc_bbr_probe.c)
 *        rate no longer grows,     |  ^
 *        or losses                 v  |
 *                               PROBE_RTT: every 5 s, if the round trip was never short, half of
 *                               what is in flight for 200 ms, so that the queue shows its bottom
 *
 * tcp_recovery.c finds losses and says what goes out again; cwnd is BBR's in recovery as well.
 */
#include "stack/tcp_bbr.h"

#define CWND_MAX_BYTES (1u << 30)
#define MIN_PIPE_SEGMENTS 4u
#define PROBE_RTT_MS 200u
#define MARGIN_PERCENT 99u /* section 5.6.2: one below, so that queues drain */
#define STARTUP_LOSSES 6u  /* section 5.3.1.3: BBRStartupFullLossCnt */

/* Section 5.6.1's gains, in percent. */
static const struct {
    uint16_t pacing, cwnd;
} gains[] = {
    [BBR_STARTUP] = {277, 200},      [BBR_DRAIN] = {50, 200},         [BBR_PROBE_DOWN] = {90, 200},
    [BBR_PROBE_CRUISE] = {100, 200}, [BBR_PROBE_REFILL] = {100, 200}, [BBR_PROBE_UP] = {125, 225},
    [BBR_PROBE_RTT] = {100, 50},
};

void bbr_start_round(struct tcb *tcb)
{
    if (tcb->board != NULL)
        bbr_of(tcb)->next_round_delivered = tcb->board->rate.delivered_bytes;
}

static uint32_t min_pipe(const struct tcb *tcb)
{
    return MIN_PIPE_SEGMENTS * tcb->mss;
}

/* Section 5.6.4.2. */
uint32_t bbr_inflight(const struct tcb *tcb, uint64_t bw, uint32_t gain_percent)
{
    const struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->min_rtt_us == UINT32_MAX || bw == 0)
        return tcp_cc_initial_window(tcb->mss);
    uint64_t product = bw * bbr->min_rtt_us / 1000000u * gain_percent / 100;
    /* Section 5.6.4.2.1: three pieces of what goes out at once, or pacing would starve. */
    uint64_t pieces = 3 * (bbr->pacing_rate / 1000u);
    if (pieces < 3u * tcb->mss)
        pieces = 3u * tcb->mss;
    if (pieces > 3u * 65536u)
        pieces = 3u * 65536u;
    if (product < pieces)
        product = pieces;
    if (product < min_pipe(tcb))
        product = min_pipe(tcb);
    if (bbr->state == BBR_PROBE_UP)
        product += 2u * tcb->mss;
    return product < CWND_MAX_BYTES ? (uint32_t)product : CWND_MAX_BYTES;
}

/* ---- Startup and Drain (section 5.3.1, 5.3.2) ------------------------------------------------------ */

static void enter_startup(struct tcp_bbr *bbr)
{
    bbr->state = BBR_STARTUP;
}

/* Section 5.3.1.3: a round in recovery, more than 2 % lost, in six places. */
static void check_startup_loss(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    const struct tcp_rate_sample *sample = &ack->delivery->rate;

    if (bbr->is_full_bw_reached || !bbr->is_loss_round_start || tcb->recovery == TCP_OPEN ||
        bbr->losses_in_round < STARTUP_LOSSES ||
        !bbr_is_inflight_too_high(sample->lost_bytes, sample->mark.flight_bytes))
        return;
    bbr->is_full_bw_reached = true;
    bbr->inflight_long = bbr_max_u32(bbr_inflight(tcb, bbr_max_bw(bbr), 100), bbr->inflight_latest);
}

static void update_state(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr_check_full_bw(tcb, ack);
    if (bbr->state == BBR_STARTUP) {
        check_startup_loss(tcb, ack);
        if (bbr->is_full_bw_reached)
            bbr->state = BBR_DRAIN;
    }
    if (bbr->state == BBR_DRAIN && ack->pipe_bytes <= bbr_inflight(tcb, bbr_max_bw(bbr), 100))
        bbr_enter_probe_bw(tcb);
    bbr_update_probe_bw(tcb, ack);
}

/* ---- ProbeRTT (section 5.3.4) ---------------------------------------------------------------------- */

static uint32_t probe_rtt_cwnd(const struct tcb *tcb)
{
    return bbr_max_u32(bbr_inflight(tcb, bbr_of(tcb)->bw, gains[BBR_PROBE_RTT].cwnd),
                       min_pipe(tcb));
}

static void save_cwnd(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (tcb->recovery == TCP_OPEN && bbr->state != BBR_PROBE_RTT)
        bbr->prior_cwnd_bytes = tcb->cwnd_bytes;
    else
        bbr->prior_cwnd_bytes = bbr_max_u32(bbr->prior_cwnd_bytes, tcb->cwnd_bytes);
}

static void restore_cwnd(struct tcb *tcb)
{
    tcb->cwnd_bytes = bbr_max_u32(tcb->cwnd_bytes, bbr_of(tcb)->prior_cwnd_bytes);
}

static void check_probe_rtt_done(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->probe_rtt_done_ms == 0 || (int32_t)(bbr->now_ms - bbr->probe_rtt_done_ms) <= 0)
        return;
    bbr->probe_rtt_min_ms = bbr->now_ms;
    restore_cwnd(tcb);
    bbr_reset_short_bounds(bbr);
    if (bbr->is_full_bw_reached) {
        bbr_enter_probe_bw(tcb);
        bbr_start_cruise(tcb);
    } else {
        enter_startup(bbr);
    }
}

static void run_probe_rtt(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    tcp_rate_app_limited(tcb); /* what is sent now says nothing of the path */
    if (bbr->probe_rtt_done_ms == 0 && ack->pipe_bytes <= probe_rtt_cwnd(tcb)) {
        bbr->probe_rtt_done_ms = bbr_max_u32(bbr->now_ms + PROBE_RTT_MS, 1);
        bbr->is_probe_rtt_round_done = false;
        bbr_start_round(tcb);
    } else if (bbr->probe_rtt_done_ms != 0) {
        bbr->is_probe_rtt_round_done = bbr->is_probe_rtt_round_done || bbr->is_round_start;
        if (bbr->is_probe_rtt_round_done)
            check_probe_rtt_done(tcb);
    }
}

static void check_probe_rtt(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    if (bbr->state != BBR_PROBE_RTT && bbr->is_probe_rtt_due && !bbr->is_idle_restart) {
        save_cwnd(tcb);
        bbr->state = BBR_PROBE_RTT;
        bbr->probe_rtt_done_ms = 0;
        bbr->ack_phase = BBR_ACKS_PROBE_STOPPING;
        bbr_start_round(tcb);
    }
    if (bbr->state == BBR_PROBE_RTT)
        run_probe_rtt(tcb, ack);
    if (ack->delivery->delivered_bytes > 0)
        bbr->is_idle_restart = false;
}

/* ---- rate and window (section 5.6) ------------------------------------------------------------------- */

static void set_pacing_rate(struct tcp_bbr *bbr, uint32_t gain_percent)
{
    uint64_t rate = bbr->bw * gain_percent / 100 * MARGIN_PERCENT / 100;

    if (rate > 0 && (bbr->is_full_bw_reached || rate > bbr->pacing_rate))
        bbr->pacing_rate = rate;
}

/* Section 5.6.4.7. */
static uint32_t model_bound(const struct tcb *tcb)
{
    const struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t bound = BBR_UNLIMITED;

    if (bbr->state == BBR_PROBE_CRUISE || bbr->state == BBR_PROBE_RTT)
        bound = bbr_inflight_with_headroom(tcb);
    else if (bbr_is_probing_bw(bbr))
        bound = bbr->inflight_long;
    bound = bbr_min_u32(bound, bbr->inflight_short);
    return bbr_max_u32(bound, min_pipe(tcb));
}

static void modulate_for_recovery(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    bool is_in_recovery = tcb->recovery != TCP_OPEN;

    if (bbr->was_in_recovery && !is_in_recovery) {
        bbr->is_conserving = false;
        restore_cwnd(tcb);
    }
    bbr->was_in_recovery = is_in_recovery;
    if (bbr->is_round_start)
        bbr->is_conserving = false;
    if (ack->newly_lost_bytes > 0) {
        uint32_t left =
            tcb->cwnd_bytes > ack->newly_lost_bytes ? tcb->cwnd_bytes - ack->newly_lost_bytes : 0;
        tcb->cwnd_bytes = bbr_max_u32(left, tcb->mss);
    }
    if (bbr->is_conserving)
        tcb->cwnd_bytes =
            bbr_max_u32(tcb->cwnd_bytes, ack->pipe_bytes + ack->delivery->delivered_bytes);
}

static void set_cwnd(struct tcb *tcb, const struct bbr_ack *ack)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t acked_bytes = ack->delivery->delivered_bytes;
    uint32_t most = bbr_inflight(tcb, bbr->bw, gains[bbr->state].cwnd) + bbr_extra_acked(bbr);

    modulate_for_recovery(tcb, ack);
    if (!bbr->is_conserving) {
        if (bbr->is_full_bw_reached)
            tcb->cwnd_bytes = bbr_min_u32(tcb->cwnd_bytes + acked_bytes, most);
        else if (tcb->cwnd_bytes < most || tcp_bytes_sent(tcb) < tcp_cc_initial_window(tcb->mss))
            tcb->cwnd_bytes += acked_bytes;
        tcb->cwnd_bytes = bbr_max_u32(tcb->cwnd_bytes, min_pipe(tcb));
    }
    if (bbr->state == BBR_PROBE_RTT)
        tcb->cwnd_bytes = bbr_min_u32(tcb->cwnd_bytes, probe_rtt_cwnd(tcb));
    tcb->cwnd_bytes = bbr_min_u32(tcb->cwnd_bytes, model_bound(tcb));
    tcb->cwnd_bytes = bbr_min_u32(tcb->cwnd_bytes, CWND_MAX_BYTES);
}

/* ---- entry points -------------------------------------------------------------------------------------- */

static void bbr_init(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t rtt_us = tcb->srtt_us8 >= 8 ? tcb->srtt_us8 / 8 : 1000;

    memset(bbr, 0, sizeof(*bbr));
    bbr_model_init(tcb);
    bbr->random = tcb->iss.value;
    bbr->pacing_rate =
        (uint64_t)tcb->cwnd_bytes * 1000000u / rtt_us * gains[BBR_STARTUP].pacing / 100;
    tcb->ssthresh_bytes = UINT32_MAX;
}

static void note_time(struct tcp_bbr *bbr, foyer_time_ns now)
{
    bbr->now_us = tcp_us(now);
    if (bbr->now_ms == 0) { /* the first event: what was measured at the handshake is of now */
        bbr->min_rtt_ms = bbr->probe_rtt_min_ms = tcp_ms(now);
        bbr->extra_start_us = bbr->now_us;
    }
    bbr->now_ms = bbr_max_u32(tcp_ms(now), 1);
}

/* Section 5.2.3, BBRUpdateOnACK. */
static void bbr_on_sample(struct tcb *tcb, const struct tcp_delivery *delivery, foyer_time_ns now)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    const struct tcp_rate_sample *sample = &delivery->rate;
    struct bbr_ack ack = {.delivery = delivery, .pipe_bytes = tcp_pipe(tcb)};

    note_time(bbr, now);
    if (sample->interval_us > 0)
        ack.rate = (uint64_t)sample->delivered_bytes * 1000000u / sample->interval_us;
    ack.newly_lost_bytes = tcb->board->rate.lost_bytes - bbr->lost_seen;
    bbr->lost_seen = tcb->board->rate.lost_bytes;
    bbr->is_cwnd_limited = bbr->is_cwnd_limited || (tcb->flags & TCPF_CWND_LIMITED) != 0;

    bbr_model_update(tcb, &ack);
    update_state(tcb, &ack);
    bbr_update_min_rtt(tcb, &ack);
    check_probe_rtt(tcb, &ack);
    bbr_model_advance(tcb, &ack);
    set_pacing_rate(bbr, gains[bbr->state].pacing);
    set_cwnd(tcb, &ack);
}

/* Section 5.5.10.2, BBRHandleLostPacket: of the record, size bytes. */
static void bbr_on_lost(struct tcb *tcb, const struct tcp_sent *sent, uint32_t size)
{
    struct tcp_bbr *bbr = bbr_of(tcb);
    uint32_t flight = sent->mark.flight_bytes;
    uint32_t lost = tcb->board->rate.lost_bytes - sent->mark.lost_bytes;

    bbr_note_loss(tcb);
    if (!bbr->has_probe_samples || !bbr_is_inflight_too_high(lost, flight))
        return;
    /* BBRInflightAtLoss: where in the record the share of losses passed the threshold:
     * lost_before + x = 2 % of (flight_before + x). */
    uint64_t flight_before = flight > size ? flight - size : 0;
    uint64_t lost_before = lost > size ? lost - size : 0;
    uint64_t allowed = flight_before * 2 / 100;
    uint64_t prefix = allowed > lost_before ? (allowed - lost_before) * 100 / 98 : 0;
    bbr_handle_inflight_too_high(tcb, (uint32_t)(flight_before + prefix),
                                 sent->mark.is_app_limited);
}

/* Section 5.6.4.4: at the start of a recovery, as much goes out as comes in, for a round. */
static void bbr_on_loss(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    (void)flight_bytes;
    note_time(bbr, now);
    save_cwnd(tcb);
    bbr_note_loss(tcb); /* of an ECE, too */
    bbr->is_conserving = true;
    bbr->was_in_recovery = true;
    tcb->cwnd_bytes = tcp_pipe(tcb) + tcb->mss;
    bbr_start_round(tcb);
}

static void bbr_on_rto(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    (void)flight_bytes;
    note_time(bbr_of(tcb), now);
    save_cwnd(tcb); /* the caller goes down to one segment; ACKs let it grow again at once */
    bbr_of(tcb)->was_in_recovery = true;
    bbr_of(tcb)->is_conserving = false;
}

/* Section 5.5.11, BBRHandleSpuriousLossDetection. */
static void bbr_on_undo(struct tcb *tcb)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    bbr->has_loss_in_round = false;
    bbr->is_conserving = false;
    restore_cwnd(tcb);
    bbr_reset_full_bw(bbr, bbr->full_bw);
    if (bbr->undo_bw_short > bbr->bw_short)
        bbr->bw_short = bbr->undo_bw_short;
    bbr->inflight_short = bbr_max_u32(bbr->inflight_short, bbr->undo_inflight_short);
    bbr->inflight_long = bbr_max_u32(bbr->inflight_long, bbr->undo_inflight_long);
    if (bbr->state == BBR_PROBE_RTT || bbr->undo_state == bbr->state)
        return;
    if (bbr->undo_state == BBR_STARTUP) {
        bbr->is_full_bw_reached = false;
        enter_startup(bbr);
    } else if (bbr->undo_state == BBR_PROBE_UP) {
        bbr_start_up(tcb, bbr->full_bw);
    }
}

/* Section 5.4.1, BBRHandleRestartFromIdle: nothing is out, and data follow. The window stands. */
static void bbr_on_restart(struct tcb *tcb, foyer_time_ns now)
{
    struct tcp_bbr *bbr = bbr_of(tcb);

    note_time(bbr, now);
    bbr->lost_seen = tcb->board->rate.lost_bytes;
    bbr_start_round(tcb);
    bbr->loss_round_delivered = tcb->board->rate.delivered_bytes;
    if (tcb->board->rate.app_limited_bytes == 0)
        return;
    bbr->is_idle_restart = true;
    bbr->extra_start_us = bbr->now_us;
    bbr->extra_delivered = 0;
    if (bbr_is_probing_bw(bbr))
        set_pacing_rate(bbr, 100);
    else if (bbr->state == BBR_PROBE_RTT)
        check_probe_rtt_done(tcb);
}

static uint64_t bbr_pacing_rate(const struct tcb *tcb)
{
    return bbr_of(tcb)->pacing_rate;
}

const struct tcp_cc_ops tcp_cc_bbr = {
    .has_state = true,
    .init = bbr_init,
    .on_sample = bbr_on_sample,
    .on_lost = bbr_on_lost,
    .on_loss = bbr_on_loss,
    .on_rto = bbr_on_rto,
    .on_undo = bbr_on_undo,
    .on_restart = bbr_on_restart,
    .pacing_rate = bbr_pacing_rate,
};

_Static_assert(sizeof(struct tcp_bbr) <= TCP_UNIT_BYTES, "the state is one unit");
