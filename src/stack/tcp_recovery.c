/*
 * Loss recovery: what an ACK means for the sender, what to send next of what is lost, how much
 * may be out, and whether the reduction was right.
 *
 * With SACK the board (tcp_board.h) knows what the peer holds and RACK (tcp_rack.c) what is lost;
 * without it duplicate ACKs are counted (RFC 5681, RFC 6582), each standing for one segment that
 * left the path.
 *
 *              loss found                       SND.UNA reaches RecoveryPoint
 *     OPEN ----------------> RECOVERY ------------------------------------------> OPEN
 *       | \-- ECE ---> CWR ------^      and from each of them, by an undo: ------->
 *       \------- RTO ------> LOSS ---------------------------------------------->
 *
 * RECOVERY and CWR move cwnd by proportional rate reduction (RFC 9937). After an RTO cwnd starts
 * at one segment (RFC 5681 section 3.1); F-RTO (RFC 5682) sends new data before it believes the
 * timeout. A reduction is undone where D-SACKs (RFC 3708) have told of every retransmission as
 * needless or an echoed timestamp is older than the first of them (Eifel, RFC 3522, RFC 4015).
 *
 * Limited transmit (RFC 3042) needs no rule of its own: SACKed and duplicate-acknowledged bytes
 * are not in the pipe, so new data follows them out. RFC 6675's rescue retransmission is TLP's
 * and RACK's work now.
 */
#include "stack/tcp.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

void tcp_recovery_reset(struct foyer_host *host, struct tcb *tcb)
{
    tcp_board_give(host, tcb);
    tcb->recovery = TCP_OPEN;
    tcb->flags &= ~(uint32_t)(TCPF_FORCE_RXT | TCPF_LOSS_PROBE | TCPF_LONE);
}

/* ---- SACK ---------------------------------------------------------------------------------------- */

/* RFC 2883 section 4: the first block, where it is not beyond the cumulative ACK or lies within
 * the second. Only believed about what may have been sent lately. */
static bool take_dsack(const struct tcb *tcb, const struct tcp_segment *seg,
                       struct tcp_delivery *delivery)
{
    const struct wire_tcp_sack *first = &seg->options.sack[0];
    const struct wire_tcp_sack *second = &seg->options.sack[1];

    if (!seq_lt(first->left, first->right) || seq_gt(first->right, tcb->snd_nxt) ||
        seq_lt(first->left, seq_back(tcb->snd_una, tcb->snd_wnd_max)))
        return false;
    if (seq_gt(first->right, seg->tcp.ack) &&
        !(seg->options.sack_count > 1 && seq_ge(first->left, second->left) &&
          seq_le(first->right, second->right)))
        return false;
    delivery->has_dsack = true;
    delivery->dsack_start = first->left;
    delivery->dsack_end = first->right;
    return true;
}

void tcp_sack_input(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                    struct tcp_delivery *delivery)
{
    if (seg->options.sack_count == 0 || !tcp_has_sack(tcb) || tcb->board == NULL)
        return;
    for (unsigned i = take_dsack(tcb, seg, delivery) ? 1 : 0; i < seg->options.sack_count; i++) {
        const struct wire_tcp_sack *block = &seg->options.sack[i];
        /* Nothing but bytes in flight, and not the first of them, can be SACKed. */
        if (seq_lt(block->left, block->right) && seq_le(block->right, tcb->snd_nxt) &&
            seq_gt(block->left, tcb->snd_una) && seq_gt(block->left, seg->tcp.ack))
            tcp_board_sack(host, tcb, block->left, block->right, delivery);
    }
}

/* A cumulative ACK that stops where a SACKed range begins means that the peer threw that range
 * away (RFC 2018 section 8): nothing on the board is believed, RACK looks at it again. */
static void check_reneging(struct foyer_host *host, struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    if (board->first == NULL || board->first->state != TCP_SENT_SACKED)
        return;
    host->stats.tcp_sack_reneged++;
    tcp_board_revive(tcb, TCP_SENT_SACKED);
}

/* RFC 6675 SetPipe; without SACK each duplicate ACK tells of a segment that left. [RFC6675 4c] */
uint32_t tcp_pipe(const struct tcb *tcb)
{
    const struct tcp_board *board = tcb->board;
    uint32_t bytes = tcp_flight(tcb);

    if (board == NULL)
        return bytes;
    bytes -= board->sacked_bytes + board->lost_bytes;
    if (!tcp_has_sack(tcb)) {
        uint32_t left = board->dup_acks * tcb->mss;
        bytes -= min_u32(left, bytes);
    }
    return bytes;
}

bool tcp_next_lost(const struct tcb *tcb, struct tcp_range *ret_run)
{
    const struct tcp_sent *sent = tcp_board_first_lost(tcb);

    /* RFC 5682 section 3: after the first segment, nothing is sent again until it is known that
     * the timeout was needed. */
    if (sent == NULL ||
        ((tcb->board->flags & TCPB_FRTO) != 0 && (tcb->flags & TCPF_FORCE_RXT) == 0))
        return false;
    *ret_run = (struct tcp_range){sent->start, sent->end};
    return true;
}

/* ---- undo ---------------------------------------------------------------------------------------- */

static void remember_for_undo(struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    board->flags &= ~(uint32_t)(TCPB_UNDO_DSACKED | TCPB_UNDO_ECHO);
    board->flags |= TCPB_UNDO;
    board->undo_cwnd_bytes = tcb->cwnd_bytes;
    board->undo_ssthresh_bytes = tcb->ssthresh_bytes;
    board->undo_from = tcb->snd_una;
    board->undo_again_bytes = 0;
}

static void forget_undo(struct tcp_board *board)
{
    board->flags &= ~(uint32_t)(TCPB_UNDO | TCPB_UNDO_DSACKED | TCPB_UNDO_ECHO);
}

/* RFC 4015 section 3: back to what was before, and on with new data. */
static void undo(struct foyer_host *host, struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    host->stats.tcp_spurious_recoveries++;
    tcb->cwnd_bytes = max_u32(tcb->cwnd_bytes, board->undo_cwnd_bytes);
    tcb->ssthresh_bytes = max_u32(tcb->ssthresh_bytes, board->undo_ssthresh_bytes);
    tcp_cc(tcb)->on_undo(tcb);
    tcb->flags &= ~(uint32_t)TCPF_CWR; /* there was no reduction to tell of */
    forget_undo(board);
    board->flags &= ~(uint32_t)TCPB_FRTO;
    board->recovery_point = tcb->snd_una;
    board->dup_acks = 0;
    tcb->recovery = TCP_OPEN;
    tcb->flags &= ~(uint32_t)TCPF_FORCE_RXT;
    tcp_board_revive(tcb, TCP_SENT_LOST);
}

/* A D-SACK of what was sent again since the reduction (RFC 3708 section 2). */
static void count_dsack(struct tcb *tcb, struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;

    /* What the path itself doubled says nothing of recovery. */
    if (!delivery->has_dsack || (board->flags & TCPB_UNDO) == 0 || board->undo_again_bytes == 0 ||
        seq_lt(delivery->dsack_start, board->undo_from))
        return;
    uint32_t size = seq_distance(delivery->dsack_end, delivery->dsack_start);
    board->undo_again_bytes -= min_u32(size, board->undo_again_bytes);
    board->flags |= TCPB_UNDO_DSACKED;
    delivery->is_needless = true;
}

/* RFC 3522 section 3.2 step (5): the first ACK of what was sent again echoes an older timestamp. */
static bool is_echo_of_original(const struct tcb *tcb, const struct tcp_delivery *delivery)
{
    const struct tcp_board *board = tcb->board;

    if ((board->flags & TCPB_UNDO_ECHO) == 0 || !delivery->has_echo ||
        !delivery->has_again_lately || delivery->acked_bytes == 0 ||
        (int32_t)(delivery->echo - board->undo_ts) >= 0)
        return false;
    /* Others that are out again may yet turn out to have been lost. */
    return tcb->recovery == TCP_LOSS || !tcp_board_has_again(tcb);
}

static bool try_undo(struct foyer_host *host, struct tcb *tcb, const struct tcp_delivery *delivery)
{
    const struct tcp_board *board = tcb->board;

    if ((board->flags & TCPB_UNDO) == 0)
        return false;
    bool is_all_needless = (board->flags & TCPB_UNDO_DSACKED) != 0 && board->undo_again_bytes == 0;
    if (!is_all_needless && !is_echo_of_original(tcb, delivery))
        return false;
    /* Spurious means overtaken or late: such a path reorders. */
    tcb->flags |= TCPF_REORDERED;
    undo(host, tcb);
    return true;
}

/* ---- fast recovery -------------------------------------------------------------------------------- */

static void prr_init(struct tcb *tcb, const struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;

    board->prr_delivered_bytes = 0;
    board->prr_out_bytes = 0;
    /* RFC 9937 section 6: RecoverFS leaves out what was SACKed before. */
    uint32_t flight = tcp_flight(tcb) + delivery->acked_bytes;
    flight -=
        min_u32(board->sacked_bytes - min_u32(delivery->sacked_bytes, board->sacked_bytes), flight);
    board->prr_flight_bytes = max_u32(flight, 1);
}

static void reduce(struct tcb *tcb, foyer_time_ns now)
{
    tcp_cc(tcb)->on_loss(tcb, min_u32(tcp_flight(tcb), max_u32(tcb->cwnd_bytes, tcb->mss)), now);
    tcp_ecn_reduced(tcb);
}

/* RFC 6675 section 5 step (4), RFC 6582 section 3.2 step 2. */
static void enter_recovery(struct foyer_host *host, struct tcb *tcb,
                           const struct tcp_delivery *delivery, foyer_time_ns now)
{
    struct tcp_board *board = tcb->board;

    host->stats.tcp_fast_recoveries++;
    /* RFC 3168 section 6.1.2: losses of a window that was reduced for ECE reduce no more. */
    if (tcb->recovery != TCP_CWR) {
        remember_for_undo(tcb);
        reduce(tcb, now);
        prr_init(tcb, delivery);
    }
    tcb->recovery = TCP_RECOVERY;
    board->recovery_point = tcb->snd_nxt;
    tcb->flags |= TCPF_FORCE_RXT; /* the first retransmission asks nobody */
}

/* RFC 3168 section 6.1.2, once per window of data. */
void tcp_recovery_on_ece(struct foyer_host *host, struct tcb *tcb,
                         const struct tcp_delivery *delivery, foyer_time_ns now)
{
    if (tcb->board == NULL || tcp_flight(tcb) == 0 || tcb->recovery != TCP_OPEN)
        return;
    host->stats.tcp_ecn_reductions++;
    forget_undo(tcb->board);
    if (tcp_cc(tcb)->on_ece != NULL) {
        tcp_cc(tcb)->on_ece(tcb, tcp_flight(tcb), now);
        tcp_ecn_reduced(tcb);
    } else {
        reduce(tcb, now);
    }
    prr_init(tcb, delivery);
    tcb->recovery = TCP_CWR;
    tcb->board->recovery_point = tcb->snd_nxt;
}

/* RFC 8985 section 7.4.2: a loss probe repaired a loss; the path still dropped a segment. */
void tcp_recovery_on_repaired(struct foyer_host *host, struct tcb *tcb, foyer_time_ns now)
{
    static const struct tcp_delivery none;

    if (tcb->recovery != TCP_OPEN)
        return;
    (void)host;
    forget_undo(tcb->board);
    reduce(tcb, now);
    prr_init(tcb, &none);
    tcb->recovery = TCP_CWR;
    tcb->board->recovery_point = tcb->snd_nxt;
}

/* RFC 9937 section 6 (PRR): cwnd follows what the ACKs say was delivered, towards ssthresh. */
static void prr_update(struct tcb *tcb, uint32_t delivered_bytes, bool is_safe)
{
    struct tcp_board *board = tcb->board;
    uint32_t pipe = tcp_pipe(tcb);
    int64_t send;

    if (tcp_cc(tcb)->on_sample != NULL)
        return;

    if (delivered_bytes == 0 && board->prr_out_bytes > 0)
        return;
    board->prr_delivered_bytes += delivered_bytes;
    if (pipe > tcb->ssthresh_bytes) {
        uint64_t share = (uint64_t)board->prr_delivered_bytes * tcb->ssthresh_bytes;
        share = (share + board->prr_flight_bytes - 1) / board->prr_flight_bytes;
        send = (int64_t)share - board->prr_out_bytes;
    } else {
        /* PRR-CRB, and PRR-SSRB where the ACK shows progress without a new loss. */
        send = (int64_t)board->prr_delivered_bytes - board->prr_out_bytes;
        if (send < delivered_bytes)
            send = delivered_bytes;
        if (is_safe)
            send += tcb->mss;
        if (send > (int64_t)(tcb->ssthresh_bytes - pipe))
            send = tcb->ssthresh_bytes - pipe;
    }
    if (send < 0)
        send = 0;
    /* The first retransmission goes out in any case. */
    if (board->prr_out_bytes == 0 && send < tcb->mss)
        send = tcb->mss;
    tcb->cwnd_bytes = max_u32(pipe + (uint32_t)send, tcb->mss);
}

static void leave_recovery(struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    /* RFC 9937: complete the reduction. */
    if (tcb->recovery != TCP_LOSS && tcp_cc(tcb)->on_sample == NULL)
        tcb->cwnd_bytes = max_u32(tcb->ssthresh_bytes, tcb->mss);
    tcb->recovery = TCP_OPEN;
    tcb->flags &= ~(uint32_t)TCPF_FORCE_RXT;
    board->flags &= ~(uint32_t)(TCPB_FRTO | TCPB_UNDO_ECHO);
    board->dup_acks = 0;
    /* D-SACKs of what was sent again may still come. */
    if (board->undo_again_bytes == 0)
        forget_undo(board);
    tcp_rack_recovered(tcb);
}

/* Without SACK: acked bytes were one lost segment and others that duplicate ACKs had told of. */
static void deflate(struct tcb *tcb, uint32_t acked_bytes)
{
    uint32_t told = acked_bytes / tcb->mss;

    if (told > 0)
        told--;
    tcb->board->dup_acks -= min_u32(told, tcb->board->dup_acks);
}

static void run_recovery(struct foyer_host *host, struct tcb *tcb,
                         const struct tcp_delivery *delivery, uint32_t lost_bytes)
{
    uint32_t delivered = delivery->delivered_bytes;

    if (seq_ge(tcb->snd_una, tcb->board->recovery_point)) {
        leave_recovery(tcb);
        return;
    }
    if (!tcp_has_sack(tcb)) {
        if (delivery->acked_bytes > 0 && tcb->recovery == TCP_RECOVERY) {
            deflate(tcb, delivery->acked_bytes);
            tcp_board_lose_first(host, tcb, tcb->mss); /* RFC 6582 section 3.2: a partial ACK */
        } else if (delivery->is_duplicate) {
            delivered = tcb->mss;
        }
    }
    prr_update(tcb, delivered, delivery->acked_bytes > 0 && lost_bytes == 0);
}

/* ---- after a timeout ----------------------------------------------------------------------------- */

/* Whether new data could tell more of the path: RFC 5682 section 3 step 2b. */
static bool can_send_new(const struct tcb *tcb)
{
    return tcp_has_unsent(tcb) && seq_gt(seq_add(tcb->snd_una, tcb->snd_wnd), tcb->snd_nxt);
}

/*
 * RFC 5682 section 3.1. True: the timeout was needless. An ACK of bytes that were not sent again
 * after the timeout says so, unless all is acknowledged at once (step 2a) or, without SACK, they
 * may have been behind the hole all the time.
 */
static bool run_frto(struct tcb *tcb, const struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;
    bool has_sent_new = seq_gt(tcb->snd_nxt, board->recovery_point);
    bool is_over = seq_ge(tcb->snd_una, board->recovery_point);

    if (delivery->acked_bytes > 0 && delivery->has_original && (has_sent_new || !is_over) &&
        (tcp_has_sack(tcb) || !delivery->has_again))
        return true;
    if (has_sent_new ? delivery->sacked_bytes > 0 || delivery->is_duplicate
                     : delivery->acked_bytes == 0 || is_over || !can_send_new(tcb))
        board->flags &= ~(uint32_t)TCPB_FRTO; /* steps 2a and 3a: it was needed */
    return false;
}

static void run_loss(struct foyer_host *host, struct tcb *tcb, const struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;

    if ((board->flags & TCPB_FRTO) != 0 &&
        (delivery->delivered_bytes > 0 || delivery->is_duplicate) && run_frto(tcb, delivery)) {
        undo(host, tcb);
        return;
    }
    if (seq_ge(tcb->snd_una, board->recovery_point))
        leave_recovery(tcb);
    else if (!tcp_has_sack(tcb) && delivery->acked_bytes > 0)
        tcp_board_lose_first(host, tcb, tcb->mss);
}

/* RFC 5681 section 3.1 equation (4) and what follows it; RFC 6675 section 5.1. */
void tcp_recovery_on_rto(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    host->stats.tcp_rto_fired++;
    if (!tcp_board_need(host, tcb))
        return; /* nothing but the handshake's end is out */
    struct tcp_board *board = tcb->board;
    bool is_first = tcb->recovery != TCP_LOSS;

    check_reneging(host, tcb); /* RFC 2018 section 8 */
    /* A retransmission lost again does not lower ssthresh again, nor does one of a window that
     * was reduced before. */
    if (tcb->recovery == TCP_OPEN || (is_first && seq_ge(tcb->snd_una, board->recovery_point))) {
        remember_for_undo(tcb);
        tcp_cc(tcb)->on_rto(tcb, tcp_flight(tcb), now);
        tcp_ecn_reduced(tcb);
    }
    /* RFC 5682 section 3.1 step 1; where it runs, a timeout begins it anew. [RFC5682 2.1a] */
    if (is_first)
        board->flags |= TCPB_FRTO;
    board->flags &= ~(uint32_t)(TCPB_TLP | TCPB_TLP_AGAIN);
    tcp_rack_on_rto(host, tcb, tcp_us(now));
    tcb->cwnd_bytes = tcb->mss;
    tcb->recovery = TCP_LOSS;
    board->recovery_point = tcb->snd_nxt;
    board->dup_acks = 0;
    board->loss_timer = TCP_LOSS_TIMER_NONE;
    board->loss_deadline_ns = FOYER_TIME_NEVER;
    tcb->flags |= TCPF_FORCE_RXT;
    tcb->flags &= ~(uint32_t)(TCPF_RTT_TIMED | TCPF_LOSS_PROBE);
}

/* All that is out is lost, but not by congestion: it was larger than the path takes. */
void tcp_recovery_on_too_big(struct foyer_host *host, struct tcb *tcb)
{
    if (tcp_flight(tcb) == 0 || !tcp_board_need(host, tcb))
        return;
    if (tcb->recovery == TCP_OPEN) {
        tcb->ssthresh_bytes = tcb->cwnd_bytes;
        tcb->recovery = TCP_LOSS;
        tcb->board->recovery_point = tcb->snd_nxt;
    }
    tcb->board->flags &= ~(uint32_t)TCPB_FRTO;
    tcp_board_lose_all(tcb);
    tcb->flags |= TCPF_FORCE_RXT;
}

/*
 * RFC 7413 section 4.2.1: it is sent again. As what it is, a retransmission: the server may have kept
 * what it did not acknowledge, so the answer times no round trip (RFC 6298 section 3). But the path
 * lost nothing. What window or cwnd would not take now waits as if it had never been sent.
 */
void tcp_recovery_on_refused(struct foyer_host *host, struct tcb *tcb, uint32_t size,
                             foyer_time_ns now)
{
    size = min_u32(size, min_u32(tcb->snd_wnd, tcb->cwnd_bytes));
    if (size == 0 || !tcp_board_need(host, tcb))
        return;
    tcp_board_refused(host, tcb, size);
    tcb->recovery = TCP_LOSS;
    tcb->board->recovery_point = tcb->snd_nxt;
    tcb->stalled_ms = tcp_ms(now);
    tcb->flags |= TCPF_FORCE_RXT;
}

/* ---- an ACK -------------------------------------------------------------------------------------- */

/* Whether loss is found in the OPEN or CWR state; it is marked on the board then. */
static bool finds_loss(struct foyer_host *host, struct tcb *tcb,
                       const struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;

    if (tcp_has_sack(tcb))
        return board->lost_bytes > 0;
    /* RFC 6582 section 3.2 step 1: one reduction per window of data. */
    if (!delivery->is_duplicate || board->dup_acks < TCP_DUP_THRESH ||
        seq_lt(tcb->snd_una, board->recovery_point))
        return false;
    tcp_board_lose_first(host, tcb, tcb->mss);
    return board->lost_bytes > 0;
}

/* RFC 8899 section 3: the loss of a probe is no congestion. It is only sent again. */
static bool is_mere_probe(struct foyer_host *host, struct tcb *tcb)
{
    if (tcb->recovery != TCP_OPEN || !tcp_mtu_is_probe_lost(host, tcb))
        return false;
    tcb->flags |= TCPF_FORCE_RXT;
    return true;
}

static void run_state(struct foyer_host *host, struct tcb *tcb, const struct tcp_delivery *delivery,
                      uint32_t lost_bytes, foyer_time_ns now)
{
    switch (tcb->recovery) {
    case TCP_OPEN:
        tcb->board->recovery_point = seq_max(tcb->board->recovery_point, tcb->snd_una);
        if (!finds_loss(host, tcb, delivery))
            break;
        if (is_mere_probe(host, tcb))
            return;
        enter_recovery(host, tcb, delivery, now);
        prr_update(tcb, tcp_has_sack(tcb) ? delivery->delivered_bytes : tcb->mss, false);
        break;
    case TCP_CWR:
        if (finds_loss(host, tcb, delivery))
            enter_recovery(host, tcb, delivery, now);
        run_recovery(host, tcb, delivery, lost_bytes);
        break;
    case TCP_RECOVERY:
        run_recovery(host, tcb, delivery, lost_bytes);
        break;
    case TCP_LOSS:
        run_loss(host, tcb, delivery);
        break;
    }
    /* What was lost beyond RecoveryPoint is a new event, with a reduction of its own. */
    if (tcb->recovery == TCP_OPEN && tcb->board->lost_bytes > 0) {
        enter_recovery(host, tcb, delivery, now);
        prr_update(tcb, 0, false);
    }
}

/* Nothing is out: the board goes back, unless it still waits to hear whether it was right, or the
 * next flight, which begins with this one's rate, follows at once. */
static void finish_flight(struct foyer_host *host, struct tcb *tcb)
{
    tcb->flags &= ~(uint32_t)(TCPF_FORCE_RXT | TCPF_LOSS_PROBE);
    tcb->board->dup_acks = 0;
    if ((tcb->board->flags & (TCPB_UNDO | TCPB_TLP)) == 0 && !tcp_has_unsent(tcb))
        tcp_board_give(host, tcb);
}

void tcp_recovery_on_ack(struct foyer_host *host, struct sock *sock, struct tcp_delivery *delivery,
                         foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_board *board = tcb->board;
    uint32_t wait_us = 0, lost_bytes = 0;

    if (board == NULL)
        return;
    if (delivery->acked_bytes > 0 && tcb->recovery == TCP_OPEN)
        board->dup_acks = 0;
    if (delivery->is_duplicate && board->dup_acks < UINT16_MAX)
        board->dup_acks++;
    check_reneging(host, tcb);
    tcp_rate_take(tcb, delivery);
    count_dsack(tcb, delivery);
    tcp_rack_on_ack(tcb, delivery, now);
    tcp_probe_on_ack(host, tcb, delivery, now);
    bool is_undone = try_undo(host, tcb, delivery);
    /* In order and nothing missing: nobody was overtaken. */
    if (tcp_has_sack(tcb) && (board->sacked_bytes > 0 || tcb->recovery != TCP_OPEN))
        lost_bytes = tcp_rack_detect(host, tcb, delivery->arrival_us, &wait_us);
    if (!is_undone || board->lost_bytes > 0)
        run_state(host, tcb, delivery, lost_bytes, now);
    if (tcp_cc(tcb)->on_sample != NULL)
        tcp_cc(tcb)->on_sample(tcb, delivery, now);
    if (tcp_flight(tcb) == 0)
        finish_flight(host, tcb);
    tcp_loss_timer_update(host, sock, wait_us, now);
}

/* RFC 8985 section 6.2, RACK_detect_loss_and_arm_timer at the timer's end. */
void tcp_recovery_on_reorder_timer(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    static const struct tcp_delivery nothing;
    struct tcb *tcb = sock->tcb;
    uint32_t wait_us = 0;
    uint32_t lost_bytes = tcp_rack_detect(host, tcb, tcp_us(now), &wait_us);

    if (lost_bytes > 0) {
        bool may_enter = tcb->recovery == TCP_OPEN || tcb->recovery == TCP_CWR;
        if (may_enter && !is_mere_probe(host, tcb)) {
            enter_recovery(host, tcb, &nothing, now);
            prr_update(tcb, 0, false);
        }
        sock_want_output(host, sock);
    }
    tcp_loss_timer_update(host, sock, wait_us, now);
}

void tcp_recovery_on_sent(struct tcb *tcb, uint32_t size, bool is_again, foyer_time_ns now)
{
    struct tcp_board *board = tcb->board;

    tcp_pace_on_sent(tcb, size);
    if (tcb->recovery == TCP_RECOVERY || tcb->recovery == TCP_CWR)
        board->prr_out_bytes += size;
    if (!is_again)
        return;
    tcb->flags &= ~(uint32_t)(TCPF_RTT_TIMED | TCPF_FORCE_RXT); /* Karn: MUST-18 */
    if ((board->flags & TCPB_UNDO) == 0 || tcb->recovery == TCP_OPEN)
        return; /* a probe, which is judged by its own rule */
    board->undo_again_bytes += size;
    if ((board->flags & TCPB_UNDO_ECHO) == 0 && (tcb->flags & TCPF_TS_OK) != 0) {
        board->flags |= TCPB_UNDO_ECHO; /* RFC 3522 section 3.2 step (3): RetransmitTS */
        board->undo_ts = tcp_ts_now(tcb, now);
        board->undo_sent_us = tcp_us(now);
    }
}
