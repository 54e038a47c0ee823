/*
 * BBR's state and the calls between its files (tcp_cc_bbr*.c), after draft-ietf-ccwg-bbr, whose
 * sections are cited and whose names are kept where they say what they name.
 *
 *   tcp_cc_bbr.c        the entry points, Startup, Drain, ProbeRTT, cwnd and rate
 *   tcp_cc_bbr_model.c  what the path is believed to carry and hold
 *   tcp_cc_bbr_probe.c  ProbeBW's cycle, and how much may be in flight
 *
 * The state is a unit of the host's pool, as long as the connection uses BBR: an idle connection
 * with BBR costs that much more. Times are of the caller's clock modulo 2^32.
 */
#ifndef FOYER_STACK_TCP_BBR_H
#define FOYER_STACK_TCP_BBR_H

#include "stack/tcp.h"

#define BBR_UNLIMITED UINT32_MAX
#define BBR_UNLIMITED_BW UINT64_MAX

enum bbr_state {
    BBR_STARTUP,
    BBR_DRAIN,
    BBR_PROBE_DOWN,
    BBR_PROBE_CRUISE,
    BBR_PROBE_REFILL,
    BBR_PROBE_UP,
    BBR_PROBE_RTT,
};

/* Section 5.3.3.6: what the ACKs that come now tell of. */
enum bbr_ack_phase {
    BBR_ACKS_PROBE_STARTING, /* not yet of the probe */
    BBR_ACKS_PROBE_FEEDBACK,
    BBR_ACKS_PROBE_STOPPING, /* still of the probe */
    BBR_ACKS_REFILLING,
};

struct tcp_bbr {
    /* Rates in bytes per second. */
    uint64_t max_bw[2]; /* greatest of this and of the last cycle of ProbeBW */
    uint64_t bw_short;  /* after losses in this cycle, else BBR_UNLIMITED_BW */
    uint64_t bw_latest, full_bw, undo_bw_short;
    uint64_t bw; /* what is believed now */
    uint64_t pacing_rate;

    uint32_t inflight_long, inflight_short; /* bytes, or BBR_UNLIMITED */
    uint32_t inflight_latest;
    uint32_t undo_inflight_long, undo_inflight_short;

    uint32_t min_rtt_us, min_rtt_ms;             /* over ten seconds, and when it was */
    uint32_t probe_rtt_min_us, probe_rtt_min_ms; /* over five */
    uint32_t probe_rtt_done_ms;
    uint32_t cycle_ms, probe_wait_ms; /* since when ProbeBW's phase lasts; until it probes */
    uint32_t now_us, now_ms;          /* of the last event */

    /* Rounds, counted by what was delivered. */
    uint32_t next_round_delivered, loss_round_delivered;
    uint32_t round_count, rounds_since_probe;

    /* ACKs that come in bursts (section 5.5.9): the greatest excess of the last 10 rounds. */
    uint32_t extra_start_us, extra_delivered;
    uint32_t extra_acked[2], extra_rounds;

    uint32_t probe_up_bytes, probe_up_acked, probe_up_rounds;
    uint32_t prior_cwnd_bytes;
    uint32_t lost_seen; /* of the rate's sum */
    uint32_t random;    /* spreads the times of probing */

    uint8_t state, undo_state; /* enum bbr_state */
    uint8_t ack_phase;         /* enum bbr_ack_phase */
    uint8_t full_bw_count, losses_in_round;
    bool is_round_start, is_loss_round_start, has_loss_in_round;
    bool is_full_bw_now, is_full_bw_reached;
    bool has_probe_samples, is_idle_restart, is_probe_rtt_round_done, is_probe_rtt_due;
    bool is_cwnd_limited, was_cwnd_limited; /* in this round; in the last */
    bool is_conserving;                     /* the first round of a recovery */
    bool was_in_recovery;
};

/* An ACK as BBR sees it. */
struct bbr_ack {
    const struct tcp_delivery *delivery;
    uint64_t rate; /* of its sample; 0: none */
    uint32_t lost_bytes, newly_lost_bytes;
    uint32_t pipe_bytes;
};

static inline struct tcp_bbr *bbr_of(const struct tcb *tcb)
{
    return tcb->cc.bbr;
}

static inline uint64_t bbr_max_bw(const struct tcp_bbr *bbr)
{
    return bbr->max_bw[0] > bbr->max_bw[1] ? bbr->max_bw[0] : bbr->max_bw[1];
}

static inline bool bbr_is_probing_bw(const struct tcp_bbr *bbr)
{
    return bbr->state >= BBR_PROBE_DOWN && bbr->state <= BBR_PROBE_UP;
}

static inline uint32_t bbr_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t bbr_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* ---- tcp_cc_bbr.c ----------------------------------------------------------------------------- */

/* What a rate keeps in flight, times gain_percent; at least four segments. */
uint32_t bbr_inflight(const struct tcb *tcb, uint64_t bw, uint32_t gain_percent);
void bbr_start_round(struct tcb *tcb);

/* ---- tcp_cc_bbr_model.c ----------------------------------------------------------------------- */

void bbr_model_init(struct tcb *tcb);
/* Section 5.2.3, before the state machine and after it. */
void bbr_model_update(struct tcb *tcb, const struct bbr_ack *ack);
void bbr_model_advance(struct tcb *tcb, const struct bbr_ack *ack);
void bbr_update_min_rtt(struct tcb *tcb, const struct bbr_ack *ack);
void bbr_check_full_bw(struct tcb *tcb, const struct bbr_ack *ack);
void bbr_reset_full_bw(struct tcp_bbr *bbr, uint64_t rate);
void bbr_reset_congestion_signals(struct tcp_bbr *bbr);
void bbr_reset_short_bounds(struct tcp_bbr *bbr);
/* The first loss of a round: what would have to be put back if it was none. */
void bbr_note_loss(struct tcb *tcb);
uint32_t bbr_extra_acked(const struct tcp_bbr *bbr);

/* ---- tcp_cc_bbr_probe.c ----------------------------------------------------------------------- */

void bbr_enter_probe_bw(struct tcb *tcb);
void bbr_start_cruise(struct tcb *tcb);
void bbr_start_up(struct tcb *tcb, uint64_t rate);
void bbr_update_probe_bw(struct tcb *tcb, const struct bbr_ack *ack);
/* lost_bytes of flight_bytes: more than a path may lose. */
bool bbr_is_inflight_too_high(uint32_t lost_bytes, uint32_t flight_bytes);
void bbr_handle_inflight_too_high(struct tcb *tcb, uint32_t flight_bytes, bool is_app_limited);
uint32_t bbr_inflight_with_headroom(const struct tcb *tcb);

#endif
