/*
 * RACK-TLP (RFC 8985): losses are told by time. A segment is lost when one that was sent after it
 * has been delivered and a reordering window has passed since it should have been; the same holds
 * for retransmissions, so that a lost one is found without a timeout. A tail that nothing
 * follows is probed after two round trips.
 *
 *   tcp_rack_note          each delivered piece of the board (section 6.2 steps 1 to 3)
 *   tcp_rack_on_ack        the reordering window (step 4)
 *   tcp_rack_detect        what is lost (step 5); arms the reordering timer
 *   tcp_probe_on_ack       what became of a loss probe (section 7.4)
 *   tcp_loss_timer_*       one timer for both (section 8)
 *
 * Only with SACK (section 5.1 item 1); tcp_recovery.c counts duplicate ACKs without it.
 */
#include "stack/tcp.h"

#define REORDER_PERSIST 16u /* section 6.2 step 4: recoveries that a D-SACK is remembered */
#define REORDER_MULT_MAX 255u
#define MIN_RTT_WINDOW_MS 300000u /* section 6.2 step 1: windowed; as long as Linux's */
/* Deviation: the window is never below a timer's worth, where the round trip is a few us. */
#define REORDER_MIN_US 1000u
#define PROBE_MAX_ACK_DELAY_NS (200 * FOYER_NS_PER_MS) /* section 7.2 TLP.max_ack_delay */
#define PROBE_SLACK_NS (4 * FOYER_NS_PER_MS) /* beyond 2 * SRTT: scheduling at both ends */

/* RACK_sent_after of section 6.2 step 2: was the record sent after the last delivered one? */
static bool is_later(const struct tcp_board *board, const struct tcp_sent *sent, seq_t end)
{
    int32_t later_us = (int32_t)(sent->sent_us - board->rack_sent_us);

    return later_us > 0 || (later_us == 0 && seq_gt(end, board->rack_end));
}

/* And before it? */
static bool is_earlier(const struct tcp_board *board, const struct tcp_sent *sent)
{
    int32_t later_us = (int32_t)(sent->sent_us - board->rack_sent_us);

    return later_us < 0 || (later_us == 0 && seq_lt(sent->end, board->rack_end));
}

/* ---- what an ACK delivers ------------------------------------------------------------------------- */

/* Section 6.2 step 2: an ACK of bytes that were sent again may be the original's. */
static bool is_ambiguous(const struct tcb *tcb, const struct tcp_sent *sent, uint32_t rtt_us,
                         const struct tcp_delivery *delivery)
{
    if (!sent->is_again)
        return false;
    if (delivery->has_echo && delivery->echo_age_ms * 1000ull >= rtt_us + 1000ull)
        return true; /* the echo is older than the retransmission, by more than a clock tick */
    return rtt_us < tcb->min_rtt_us;
}

void tcp_rack_note(struct tcb *tcb, const struct tcp_sent *sent, seq_t end,
                   struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;
    int32_t age_us = (int32_t)(delivery->arrival_us - sent->sent_us);
    uint32_t rtt_us = age_us > 0 ? (uint32_t)age_us : 1;

    if (!sent->is_again) {
        if (seq_lt(end, delivery->fack_before)) { /* step 3 */
            if (!delivery->is_reordered || seq_lt(sent->start, delivery->reordered_start))
                delivery->reordered_start = sent->start;
            delivery->is_reordered = true;
        }
        if (delivery->rtt_us == 0 || rtt_us < delivery->rtt_us)
            delivery->rtt_us = rtt_us;
    }
    board->rack_fack = seq_max(board->rack_fack, end);
    if (is_ambiguous(tcb, sent, rtt_us, delivery))
        return;
    /* Step 2 goes through each ACK's segments in the order of transmission: the last one's stays. */
    if (!delivery->has_rack || (int32_t)(sent->sent_us - delivery->rack_sent_us) >= 0) {
        delivery->has_rack = true;
        delivery->rack_sent_us = sent->sent_us;
        board->rack_rtt_us = rtt_us;
    }
    if ((board->flags & TCPB_RACK) != 0 && !is_later(board, sent, end))
        return;
    board->flags |= TCPB_RACK;
    board->rack_sent_us = sent->sent_us;
    board->rack_end = end;
}

static void update_min_rtt(struct tcb *tcb, uint32_t rtt_us, uint32_t now_ms)
{
    if (tcb->min_rtt_us != 0 && rtt_us > tcb->min_rtt_us &&
        now_ms - tcb->min_rtt_ms < MIN_RTT_WINDOW_MS)
        return;
    tcb->min_rtt_us = rtt_us;
    tcb->min_rtt_ms = now_ms;
}

void tcp_rtt_of_lone(struct tcb *tcb, uint32_t rtt_us, foyer_time_ns now)
{
    tcp_rtt_sample(tcb, rtt_us);
    if (tcp_cc(tcb)->on_rtt != NULL)
        tcp_cc(tcb)->on_rtt(tcb, rtt_us);
    update_min_rtt(tcb, rtt_us, tcp_ms(now));
}

void tcp_rack_on_ack(struct tcb *tcb, const struct tcp_delivery *delivery, foyer_time_ns now)
{
    struct tcp_board *board = tcb->board;

    if (delivery->rtt_us != 0)
        update_min_rtt(tcb, delivery->rtt_us, tcp_ms(now));
    if (delivery->is_reordered)
        tcb->flags |= TCPF_REORDERED;
    /* Step 4: the window grows once per round trip in which a D-SACK says that it was too small. */
    if ((board->flags & TCPB_DSACK_ROUND) != 0 && seq_ge(tcb->snd_una, board->dsack_round))
        board->flags &= ~(uint32_t)TCPB_DSACK_ROUND;
    if (delivery->is_needless && (board->flags & TCPB_DSACK_ROUND) == 0) {
        board->flags |= TCPB_DSACK_ROUND;
        board->dsack_round = tcb->snd_nxt;
        if (tcb->reorder_mult < REORDER_MULT_MAX)
            tcb->reorder_mult++;
        tcb->reorder_persist = REORDER_PERSIST;
    }
}

void tcp_rack_recovered(struct tcb *tcb)
{
    if (tcb->reorder_persist > 0 && --tcb->reorder_persist == 0)
        tcb->reorder_mult = 0;
}

/* ---- what is lost --------------------------------------------------------------------------------- */

/* RFC 6675 IsLost's threshold, which step 4 takes over: DupThresh segments beyond a hole.
 * [RFC6675 4b] */
static bool is_threshold_reached(const struct tcb *tcb)
{
    return tcb->board->sacked_count >= TCP_DUP_THRESH ||
           tcb->board->sacked_bytes > (TCP_DUP_THRESH - 1) * tcb->mss;
}

/* Section 6.2 step 4, RACK_update_reo_wnd. reorder_mult counts from 0 here. */
static uint32_t reorder_window_us(const struct tcb *tcb)
{
    if ((tcb->flags & TCPF_REORDERED) == 0 &&
        (tcb->recovery == TCP_RECOVERY || tcb->recovery == TCP_LOSS || is_threshold_reached(tcb)))
        return 0;
    uint64_t window_us = (tcb->reorder_mult + 1ull) * (tcb->min_rtt_us / 4);
    uint32_t srtt_us = tcb->srtt_us8 / 8;

    if (window_us > srtt_us)
        window_us = srtt_us;
    return window_us > REORDER_MIN_US ? (uint32_t)window_us : REORDER_MIN_US;
}

/* How long the record still has; not above 0: it is lost. Records of one grain share a time. */
static int32_t time_left_us(const struct tcb *tcb, const struct tcp_sent *sent, uint32_t rtt_us,
                            uint32_t window_us, uint32_t now_us)
{
    return (int32_t)(sent->sent_us + rtt_us + window_us + tcp_board_grain_us(tcb) - now_us);
}

uint32_t tcp_rack_detect(struct foyer_host *host, struct tcb *tcb, uint32_t now_us,
                         uint32_t *ret_wait_us)
{
    struct tcp_board *board = tcb->board;
    uint32_t lost_before = board->lost_bytes;

    *ret_wait_us = 0;
    if ((board->flags & TCPB_RACK) == 0)
        return 0;
    uint32_t window_us = reorder_window_us(tcb);
    /* In the order of transmission, so that the walk ends with what was sent when the last
     * delivered was: it sees what is lost now and what is late, and nothing twice but the late. */
    for (struct tcp_sent *sent = board->oldest, *newer;
         sent != NULL && (int32_t)(sent->sent_us - board->rack_sent_us) <= 0; sent = newer) {
        newer = sent->newer;
        if (!is_earlier(board, sent))
            continue;
        int32_t left_us =
            window_us == 0 ? 0 : time_left_us(tcb, sent, board->rack_rtt_us, window_us, now_us);
        /* Inside of one host an answer comes in the same moment. A receiver that drops a segment
         * for want of memory and takes what is behind it would be sent it again for ever. */
        if (left_us <= 0 && sent->is_again && (int32_t)(now_us - sent->sent_us) <= 0)
            left_us = (int32_t)(sent->sent_us - now_us) + 1;
        if (left_us > 0) {
            *ret_wait_us = *ret_wait_us > (uint32_t)left_us ? *ret_wait_us : (uint32_t)left_us;
            continue;
        }
        if (sent->is_again)
            host->stats.tcp_lost_retransmits++;
        tcp_board_lose(tcb, sent);
    }
    return board->lost_bytes - lost_before;
}

/* Section 6.3: the first segment, and what is late by RACK's measure. [RFC8985 6.3a] */
void tcp_rack_on_rto(struct foyer_host *host, struct tcb *tcb, uint32_t now_us)
{
    struct tcp_board *board = tcb->board;
    uint32_t rtt_us = (board->flags & TCPB_RACK) != 0 ? board->rack_rtt_us : tcb->srtt_us8 / 8;
    uint32_t window_us = reorder_window_us(tcb);

    for (struct tcp_sent *sent = board->oldest, *newer;
         sent != NULL && time_left_us(tcb, sent, rtt_us, window_us, now_us) <= 0; sent = newer) {
        newer = sent->newer;
        tcp_board_lose(tcb, sent);
    }
    tcp_board_lose_first(host, tcb, tcb->mss);
}

/* ---- the loss probe (section 7) ---------------------------------------------------------------------- */

/* Section 7.4.2: detecting that the probe repaired a loss, which congestion control must hear of.
 * [RFC8985 7.4a 7.4b] */
void tcp_probe_on_ack(struct foyer_host *host, struct tcb *tcb, const struct tcp_delivery *delivery,
                      foyer_time_ns now)
{
    struct tcp_board *board = tcb->board;

    if ((board->flags & TCPB_TLP) == 0 || seq_lt(tcb->snd_una, board->tlp_end))
        return;
    bool is_over = true;
    if ((board->flags & TCPB_TLP_AGAIN) == 0) {
        /* It was new data: nothing is to be learned of it. */
    } else if (delivery->has_dsack && seq_le(delivery->dsack_start, board->tlp_end) &&
               seq_ge(seq_add(delivery->dsack_end, tcb->mss), board->tlp_end)) {
        /* Both came: needless. */
    } else if (seq_gt(tcb->snd_una, board->tlp_end)) {
        tcp_recovery_on_repaired(host, tcb, now);
    } else {
        /* An ACK of the probe itself, which brings nothing else: both came, too. */
        is_over = delivery->acked_bytes == 0 && delivery->sacked_bytes == 0 && delivery->is_bare &&
                  !delivery->is_window_changed;
    }
    if (is_over)
        board->flags &= ~(uint32_t)(TCPB_TLP | TCPB_TLP_AGAIN);
}

/* Section 7.2, TLP_calc_PTO. [RFC8985 7.2a] */
static foyer_time_ns probe_delay_ns(const struct tcb *tcb)
{
    foyer_time_ns delay_ns = 2 * (foyer_time_ns)(tcb->srtt_us8 / 8) * FOYER_NS_PER_US;

    delay_ns += tcp_flight(tcb) <= tcb->mss ? PROBE_MAX_ACK_DELAY_NS : PROBE_SLACK_NS;
    return delay_ns;
}

/* Sections 7.2 and 7.3: what must be true for a probe to be scheduled. Where none was acknowledged
 * by a measured round trip since the last one, the path may have become so long that it only adds
 * to what is on it. [RFC8985 5.1a 7.2b 7.3c] */
static bool wants_probe(const struct tcb *tcb)
{
    const struct tcp_board *board = tcb->board;

    return (tcb->flags & (TCPF_SACK_OK | TCPF_PERSIST | TCPF_SYN_ACKED)) ==
               (TCPF_SACK_OK | TCPF_SYN_ACKED) &&
           tcb->srtt_us8 != 0 && !tcb->is_probed &&
           (tcb->recovery == TCP_OPEN || tcb->recovery == TCP_CWR) && tcp_flight(tcb) > 0 &&
           board->sacked_bytes == 0 && board->lost_bytes == 0 && (board->flags & TCPB_TLP) == 0;
}

bool tcp_probe_is_due(const struct tcb *tcb)
{
    return tcb->board != NULL && wants_probe(tcb);
}

void tcp_probe_sent(struct tcb *tcb, bool is_again)
{
    struct tcp_board *board = tcb->board;

    board->flags |= TCPB_TLP | (is_again ? TCPB_TLP_AGAIN : 0);
    board->tlp_end = tcb->snd_nxt;
    tcb->is_probed = true;
    board->loss_timer = TCP_LOSS_TIMER_NONE;
    board->loss_deadline_ns = FOYER_TIME_NEVER;
}

/* ---- the timer (section 8) ------------------------------------------------------------------------------ */

static void set_loss_timer(struct foyer_host *host, struct sock *sock, enum tcp_loss_timer kind,
                           foyer_time_ns deadline_ns)
{
    struct tcp_board *board = sock->tcb->board;

    board->loss_timer = (uint8_t)kind;
    board->loss_deadline_ns = deadline_ns;
    tcp_timer_arm(host, sock);
}

void tcp_loss_timer_update(struct foyer_host *host, struct sock *sock, uint32_t wait_us,
                           foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_board *board = tcb->board;

    if (board == NULL)
        return;
    if (wait_us > 0) {
        set_loss_timer(host, sock, TCP_LOSS_TIMER_REORDER, now + wait_us * FOYER_NS_PER_US);
        return;
    }
    if (tcp_flight(tcb) == 0) {
        /* A D-SACK for what was sent last may still come; then the pool gets the board back. */
        set_loss_timer(host, sock, TCP_LOSS_TIMER_EXPIRE, now + tcp_rto_ns(tcb));
        return;
    }
    if (!wants_probe(tcb)) {
        set_loss_timer(host, sock, TCP_LOSS_TIMER_NONE, FOYER_TIME_NEVER);
        return;
    }
    /* Section 7.2: where the RTO would come first, the probe goes in its place. [RFC8985 7.2d] */
    foyer_time_ns deadline_ns = now + probe_delay_ns(tcb);
    if (deadline_ns > tcb->rto_deadline_ns)
        deadline_ns = tcb->rto_deadline_ns;
    set_loss_timer(host, sock, TCP_LOSS_TIMER_PROBE, deadline_ns);
}

void tcp_probe_reschedule(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    const struct tcp_board *board = sock->tcb->board;

    if (board != NULL && board->loss_timer != TCP_LOSS_TIMER_REORDER)
        tcp_loss_timer_update(host, sock, 0, now);
}

void tcp_loss_timer_fires(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_board *board = tcb->board;
    uint8_t kind = board->loss_timer;
    foyer_time_ns deadline_ns = board->loss_deadline_ns;

    board->loss_timer = TCP_LOSS_TIMER_NONE;
    board->loss_deadline_ns = FOYER_TIME_NEVER;
    switch (kind) {
    case TCP_LOSS_TIMER_REORDER:
        tcp_recovery_on_reorder_timer(host, sock, now);
        break;
    case TCP_LOSS_TIMER_PROBE:
        if (wants_probe(tcb)) {
            tcb->flags |= TCPF_LOSS_PROBE;
            /* In the RTO's place; after a sleep, which the RTO knows how to deal with, before it. */
            if (deadline_ns >= tcb->rto_deadline_ns && now - deadline_ns < TCP_SLEPT_NS)
                tcp_rto_restart(host, sock, now);
            sock_want_output(host, sock);
        }
        break;
    case TCP_LOSS_TIMER_EXPIRE:
        if (tcp_flight(tcb) == 0)
            tcp_board_give(host, tcb);
        break;
    default:
        break;
    }
}
