/*
 * Loss recovery: what is lost, what of it to send next, and how much may be out.
 *
 * With SACK (RFC 2018, RFC 6675): the scoreboard holds what the peer has beyond SND.UNA; bytes
 * below lost_edge that are not on it are lost; lost bytes below high_rxt are out again. Two
 * numbers and the board answer RFC 6675's IsLost, SetPipe and NextSeg in one walk over at most
 * TCP_RANGES_MAX ranges. Without SACK, or where the pool had no board: duplicate ACKs are
 * counted (RFC 5681, RFC 6582), each standing for one segment that left the path.
 *
 * Fast recovery moves cwnd by proportional rate reduction (RFC 9937). After an RTO everything
 * not SACKed is lost and cwnd starts at one segment (RFC 5681 section 3.1, RFC 6675 section 5.1).
 * Limited transmit (RFC 3042) needs no rule of its own: SACKed and duplicate-acknowledged bytes
 * are not in the pipe, so new data follows them out.
 *
 * Room is left for RACK-TLP (RFC 8985), which moves lost_edge by time, and F-RTO (RFC 5682),
 * which calls on_undo.
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

/* ---- the scoreboard ------------------------------------------------------------------------------ */

void tcp_recovery_reset(struct foyer_host *host, struct tcb *tcb)
{
    tcp_ranges_give(host, &tcb->sacked);
    tcb->flags &= ~(uint32_t)TCPF_BOARD_REFUSED;
    tcb->dup_acks = 0;
}

/*
 * The board after SND.UNA moves. A cumulative ACK that stops where a SACKed range begins means
 * that the peer threw that range away (RFC 2018 section 8): nothing on the board is believed.
 */
static void board_advance(struct foyer_host *host, struct tcb *tcb)
{
    if (tcb->sacked == NULL)
        return;
    tcp_ranges_trim(tcb->sacked, tcb->snd_una);
    if (tcb->sacked->count == 0 || seq_le(tcb->sacked->range[0].start, tcb->snd_una))
        tcp_ranges_give(host, &tcb->sacked);
}

uint32_t tcp_sack_input(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg)
{
    if (seg->options.sack_count == 0 || !tcp_has_board(tcb))
        return 0;
    uint32_t before = tcb->sacked != NULL ? tcp_ranges_bytes(tcb->sacked) : 0;

    for (unsigned i = 0; i < seg->options.sack_count; i++) {
        const struct wire_tcp_sack *block = &seg->options.sack[i];
        /* Nothing but bytes in flight can be SACKed. A block at or below the cumulative ACK is
         * a D-SACK (RFC 2883 section 4): no news of what is held. */
        if (!seq_lt(block->left, block->right) || seq_gt(block->right, tcb->snd_nxt) ||
            seq_le(block->left, tcb->snd_una) || seq_le(block->left, seg->tcp.ack))
            continue;
        if (tcb->sacked == NULL) {
            tcb->sacked = tcp_ranges_take(host);
            if (tcb->sacked == NULL) {
                tcb->flags |= TCPF_BOARD_REFUSED;
                return 0;
            }
        }
        /* A full board forgets the block: its bytes are sent again at worst. */
        tcp_ranges_add(tcb->sacked, block->left, block->right);
    }
    return tcb->sacked != NULL ? tcp_ranges_bytes(tcb->sacked) - before : 0;
}

/*
 * RFC 6675 IsLost: bytes are lost with DupThresh ranges, or more than (DupThresh - 1) segments'
 * bytes, SACKed above them. All bytes not SACKed before the returned number are.
 */
static seq_t board_lost_edge(const struct tcb *tcb)
{
    const struct tcp_ranges *board = tcb->sacked;
    uint32_t bytes = 0;

    if (board == NULL)
        return tcb->snd_una;
    for (uint32_t i = board->count, above = 1; i-- > 0; above++) {
        bytes += seq_distance(board->range[i].end, board->range[i].start);
        if (above >= TCP_DUP_THRESH || bytes > (TCP_DUP_THRESH - 1) * tcb->mss)
            return board->range[i].start;
    }
    return tcb->snd_una;
}

/* Bytes of the hole [start, end) that are believed to be on the path. */
static uint32_t hole_in_pipe(const struct tcb *tcb, seq_t start, seq_t end)
{
    uint32_t bytes = 0;
    seq_t alive = seq_max(start, tcb->lost_edge);
    seq_t again = seq_min(end, tcb->high_rxt);

    if (seq_lt(alive, end))
        bytes += seq_distance(end, alive); /* not lost: the original is on its way */
    if (seq_lt(start, again))
        bytes += seq_distance(again, start); /* the retransmission is */
    return bytes;
}

uint32_t tcp_pipe(const struct tcb *tcb)
{
    uint32_t bytes = 0;
    seq_t from = tcb->snd_una;

    for (uint32_t i = 0; tcb->sacked != NULL && i < tcb->sacked->count; i++) {
        bytes += hole_in_pipe(tcb, from, tcb->sacked->range[i].start);
        from = tcb->sacked->range[i].end;
    }
    bytes += hole_in_pipe(tcb, from, tcb->snd_nxt);
    if (!tcp_has_board(tcb)) {
        uint32_t left = tcb->dup_acks * tcb->mss;
        bytes -= min_u32(left, bytes);
    }
    return bytes;
}

bool tcp_next_lost(const struct tcb *tcb, struct tcp_range *ret_run)
{
    seq_t from = seq_max(tcb->snd_una, tcb->high_rxt);

    for (uint32_t i = 0; tcb->sacked != NULL && i < tcb->sacked->count; i++) {
        const struct tcp_range *held = &tcb->sacked->range[i];
        if (seq_lt(from, held->start)) {
            seq_t end = seq_min(held->start, tcb->lost_edge);
            if (!seq_lt(from, end))
                return false;
            *ret_run = (struct tcp_range){from, end};
            return true;
        }
        from = seq_max(from, held->end);
    }
    seq_t end = seq_min(tcb->snd_nxt, tcb->lost_edge);
    if (!seq_lt(from, end))
        return false;
    *ret_run = (struct tcp_range){from, end};
    return true;
}

/* ---- fast recovery -------------------------------------------------------------------------------- */

static void remember_for_undo(struct tcb *tcb)
{
    tcb->undo_cwnd_bytes = tcb->cwnd_bytes;
    tcb->undo_ssthresh_bytes = tcb->ssthresh_bytes;
}

/* RFC 6675 section 5 step (4), RFC 6582 section 3.2 step 2. */
static void enter_recovery(struct foyer_host *host, struct tcb *tcb, foyer_time_ns now)
{
    uint32_t flight = tcp_flight(tcb);

    host->stats.tcp_fast_recoveries++;
    remember_for_undo(tcb);
    tcp_cc(tcb)->on_loss(tcb, min_u32(flight, max_u32(tcb->cwnd_bytes, tcb->mss)), now);
    tcb->recovery = TCP_RECOVERY;
    tcb->recovery_point = tcb->snd_nxt;
    tcb->high_rxt = tcb->snd_una;
    tcb->prr_delivered_bytes = 0;
    tcb->prr_out_bytes = 0;
    tcb->prr_flight_bytes = max_u32(flight, 1);
    tcb->flags |= TCPF_FORCE_RXT; /* the first retransmission asks nobody */
}

/* The first hole is lost whatever IsLost says: DupThresh ACKs, or a partial one, said so. */
static void lose_first_segment(struct tcb *tcb)
{
    seq_t edge = seq_min(seq_add(tcb->snd_una, tcb->mss), tcb->snd_nxt);

    tcb->lost_edge = seq_max(tcb->lost_edge, edge);
}

/* RFC 9937 section 6 (PRR): cwnd follows what the ACKs say was delivered, towards ssthresh. */
static void prr_update(struct tcb *tcb, uint32_t delivered_bytes, bool is_safe)
{
    uint32_t pipe = tcp_pipe(tcb);
    int64_t send;

    tcb->prr_delivered_bytes += delivered_bytes;
    if (pipe > tcb->ssthresh_bytes) {
        uint64_t share = (uint64_t)tcb->prr_delivered_bytes * tcb->ssthresh_bytes;
        share = (share + tcb->prr_flight_bytes - 1) / tcb->prr_flight_bytes;
        send = (int64_t)share - tcb->prr_out_bytes;
    } else {
        /* PRR-CRB, and PRR-SSRB where the ACK shows progress without a new loss. */
        send = (int64_t)tcb->prr_delivered_bytes - tcb->prr_out_bytes;
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
    if (tcb->prr_out_bytes == 0 && send < tcb->mss)
        send = tcb->mss;
    tcb->cwnd_bytes = max_u32(pipe + (uint32_t)send, tcb->mss);
}

static void leave_recovery(struct foyer_host *host, struct tcb *tcb)
{
    /* RFC 9937: complete the reduction. */
    tcb->cwnd_bytes = max_u32(tcb->ssthresh_bytes, tcb->mss);
    tcb->recovery = TCP_OPEN;
    tcb->flags &= ~(uint32_t)TCPF_FORCE_RXT;
    tcb->lost_edge = seq_max(tcb->snd_una, board_lost_edge(tcb));
    tcb->high_rxt = tcb->snd_una;
    tcb->dup_acks = 0;
    (void)host;
}

/* Without SACK: acked bytes were one lost segment and others that duplicate ACKs had told of. */
static void deflate(struct tcb *tcb, uint32_t acked_bytes)
{
    uint32_t told = acked_bytes / tcb->mss;

    if (told > 0)
        told--;
    tcb->dup_acks -= min_u32(told, tcb->dup_acks);
}

static void run_recovery(struct foyer_host *host, struct tcb *tcb, uint32_t acked_bytes,
                         uint32_t delivered, bool is_duplicate)
{
    if (seq_ge(tcb->snd_una, tcb->recovery_point)) {
        leave_recovery(host, tcb);
        return;
    }
    seq_t edge_before = tcb->lost_edge;

    if (tcp_has_board(tcb)) {
        tcb->lost_edge = seq_max(tcb->lost_edge, board_lost_edge(tcb));
        if (acked_bytes > 0)
            lose_first_segment(tcb); /* RFC 6675 section 5: the hole at SND.UNA is the next */
    } else {
        if (acked_bytes > 0) {
            deflate(tcb, acked_bytes);
            lose_first_segment(tcb); /* RFC 6582 section 3.2: a partial ACK */
        } else if (is_duplicate) {
            delivered = tcb->mss;
        }
    }
    prr_update(tcb, delivered, acked_bytes > 0 && seq_eq(edge_before, tcb->lost_edge));
}

static void run_loss(struct foyer_host *host, struct tcb *tcb)
{
    if (seq_ge(tcb->snd_una, tcb->recovery_point)) {
        tcb->recovery = TCP_OPEN;
        tcb->dup_acks = 0;
        tcb->high_rxt = tcb->snd_una;
        tcb->lost_edge = tcb->snd_una;
        tcb->flags &= ~(uint32_t)TCPF_FORCE_RXT;
        return;
    }
    tcb->lost_edge = seq_max(tcb->lost_edge, board_lost_edge(tcb));
    (void)host;
}

void tcp_recovery_on_ack(struct foyer_host *host, struct sock *sock, uint32_t acked_bytes,
                         uint32_t sacked_bytes, bool is_duplicate, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    /* RFC 9937 DeliveredData: bytes that were SACKed before do not count again when acked. */
    uint32_t held_before = tcb->sacked != NULL ? tcp_ranges_bytes(tcb->sacked) : 0;
    uint32_t delivered = acked_bytes + sacked_bytes;

    if (acked_bytes > 0) {
        board_advance(host, tcb);
        uint32_t held_after = tcb->sacked != NULL ? tcp_ranges_bytes(tcb->sacked) : 0;
        delivered -= min_u32(held_before - held_after, delivered);
        if (tcp_flight(tcb) == 0)
            tcp_recovery_reset(host, tcb);
        if (tcb->recovery == TCP_OPEN) {
            tcb->dup_acks = 0;
            tcb->recovery_point = seq_max(tcb->recovery_point, tcb->snd_una);
        }
    }
    if (is_duplicate && tcb->dup_acks < UINT16_MAX)
        tcb->dup_acks++;

    switch (tcb->recovery) {
    case TCP_OPEN: {
        /* RFC 6582 section 3.2 step 1, RFC 6675: one reduction per window of data. */
        seq_t edge = board_lost_edge(tcb);
        if ((is_duplicate && tcb->dup_acks >= TCP_DUP_THRESH) || seq_gt(edge, tcb->snd_una)) {
            if (seq_lt(tcb->snd_una, tcb->recovery_point) || tcp_flight(tcb) == 0)
                break;
            enter_recovery(host, tcb, now);
            tcb->lost_edge = seq_max(tcb->snd_una, edge);
            lose_first_segment(tcb);
            prr_update(tcb, tcp_has_board(tcb) ? delivered : tcb->mss, false);
        }
        break;
    }
    case TCP_RECOVERY:
        run_recovery(host, tcb, acked_bytes, delivered, is_duplicate);
        break;
    case TCP_LOSS:
        run_loss(host, tcb);
        break;
    }
}

void tcp_recovery_on_sent(struct tcb *tcb, uint32_t size, bool is_retransmission)
{
    if (tcb->recovery == TCP_RECOVERY)
        tcb->prr_out_bytes += size;
    if (is_retransmission)
        tcb->flags &= ~(uint32_t)(TCPF_RTT_TIMED | TCPF_FORCE_RXT); /* Karn: MUST-18 */
}

/* ---- timeout --------------------------------------------------------------------------------------- */

/* RFC 5681 section 3.1 equation (4) and what follows it; RFC 6675 section 5.1. */
void tcp_recovery_on_rto(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    host->stats.tcp_rto_fired++;
    /* A retransmission lost again does not lower ssthresh again. */
    if (tcb->retries <= 1) {
        if (tcb->recovery == TCP_OPEN)
            remember_for_undo(tcb);
        tcp_cc(tcb)->on_rto(tcb, tcp_flight(tcb), now);
    }
    /* RFC 2018 section 8: a peer that kept what it SACKed would have acknowledged it by now only
     * if nothing before it were missing; the board is kept, board_advance finds reneging. */
    tcb->cwnd_bytes = tcb->mss;
    tcb->recovery = TCP_LOSS;
    tcb->recovery_point = tcb->snd_nxt;
    tcb->lost_edge = tcb->snd_nxt;
    tcb->high_rxt = tcb->snd_una;
    tcb->dup_acks = 0;
    tcb->flags |= TCPF_FORCE_RXT;
    tcb->flags &= ~(uint32_t)TCPF_RTT_TIMED;
}
