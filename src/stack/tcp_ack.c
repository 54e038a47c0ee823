/*
 * The ACK field of an acceptable segment: RFC 9293 section 3.10.7.4, fifth check, with
 * RFC 5961 section 5. What the ACK frees goes back to the writer of the tx ring; what it says of
 * losses goes to tcp_recovery.c; what it says of the path to tcp_rtt.c and the congestion
 * control.
 */
#include "stack/tcp.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Data of our SYN is acknowledged with it (RFC 7413 section 4.2.1): as if sent just now. */
static void take_syn_data(struct foyer_host *host, struct sock *sock, uint32_t size)
{
    struct tcb *tcb = sock->tcb;

    tcb->snd_una = seq_add(tcb->snd_una, size);
    tcb->snd_nxt = tcb->snd_una;
    if ((tcb->flags & TCPF_TX_MAPPED) == 0)
        return;
    foyer_ring_publish_tail(&sock->rings->tx, tcb->snd_una.value - tcb->tx_offset);
    sock_event(host, sock, FOYER_EVENT_WRITABLE);
}

/* The handshake is done: snd_una moves over our SYN. Used by both ends of it. */
void tcp_established(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                     foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    bool was_fast_child = tcp_is_fast_child(sock);
    uint32_t refused_bytes;
    uint32_t syn_data_bytes = fastopen_syn_acked(host, sock, seg, &refused_bytes, now);

    fastopen_leave(host, tcb, false, now);
    if (was_fast_child && seq_eq(tcb->rcv_nxt, seq_add(tcb->irs, 1)))
        tcb->flags &= ~(uint32_t)TCPF_FASTOPEN; /* its SYN had no data */
    tcb->min_rtt_us = 0;                        /* what shared their place is of no more use */
    tcb->min_rtt_ms = 0;
    tcb->snd_una = seq_add(tcb->iss, 1);
    sock->state = FOYER_STATE_ESTABLISHED;
    tcb->flags &= ~(uint32_t)TCPF_SYN_PENDING;
    tcb->flags |= TCPF_SYN_ACKED;
    if (tcb->extra != NULL)
        tcb->extra->statistics.delivered_segments++; /* the SYN */
    tcb->received_ms = tcp_ms(now);
    tcb->sent_ms = tcp_ms(now);

    /* Karn (MUST-18): the handshake's round trip counts only where nothing was sent again. */
    if ((tcb->flags & TCPF_RTT_TIMED) != 0)
        tcp_rtt_sample(tcb, tcp_us(seg->rx->arrival_ns) - tcb->rtt_start_us);
    else if ((tcb->flags & TCPF_TS_OK) != 0 && seg->options.has_timestamps &&
             seg->options.timestamp_echo != 0)
        tcp_rtt_sample(tcb, (tcp_ts_now(tcb, seg->rx->arrival_ns) - seg->options.timestamp_echo) *
                                1000u);
    tcb->flags &= ~(uint32_t)TCPF_RTT_TIMED;
    tcb->retries = 0;
    tcb->backoff = 0;
    if (syn_data_bytes > 0)
        take_syn_data(host, sock, syn_data_bytes);
    if (!was_fast_child)
        tcp_cc_init(host, tcb);
    tcp_recovery_on_refused(host, tcb, refused_bytes, now);
    tcp_keepalive_restart(sock, now);
    /* A close that came early: FIN is queued behind the data (RFC 9293 section 3.10.4). */
    if ((tcb->flags & TCPF_FIN_QUEUED) != 0)
        sock->state = FOYER_STATE_FIN_WAIT_1;
    tcp_rto_restart(host, sock, now);
    /* What was written before; a child has no rings yet. */
    if (tcp_has_unsent(tcb) || foyer_ring_is_set(&sock->rings->tx))
        sock_want_output(host, sock);
}

/* SYN-RECEIVED: is it the handshake's last ACK? False: dropped. */
static bool complete_handshake(struct foyer_host *host, struct sock *sock,
                               const struct tcp_segment *seg, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (seq_le(seg->tcp.ack, tcb->snd_una) || seq_gt(seg->tcp.ack, fastopen_highest_ack(tcb))) {
        tcp_send_rst_for(host, seg);
        return false;
    }
    tcp_ts_update(tcb, seg, now);
    /* RFC 7323 section 2.2: a SYN's window is not scaled, nor is that of a simultaneous open's
     * SYN-ACK. */
    tcb->snd_wnd = (uint32_t)seg->tcp.window << (seg->was_syn ? 0 : tcb->snd_scale);
    tcb->snd_wnd_max = tcb->snd_wnd;
    tcb->snd_wl1 = seg->tcp.seq;
    bool was_fast_child = tcp_is_fast_child(sock);
    tcp_established(host, sock, seg, now);
    if ((tcb->flags & (TCPF_ACCECN | TCPF_PASSIVE)) == (TCPF_ACCECN | TCPF_PASSIVE))
        accecn_handshake_acked(tcb, seg);
    if (was_fast_child)
        return true; /* who takes it from the queue knows it as connected */
    if ((sock->flags & SOCK_CHILD) != 0)
        tcp_request_established(host, sock);
    else
        sock_event(host, sock, FOYER_EVENT_CONNECTED | FOYER_EVENT_WRITABLE);
    return true;
}

/*
 * RFC 9293 section 3.10.7.4: the window of the newest segment counts (MUST-1, REC-1, MUST-34).
 * Newer than SND.WL1 alone tells: an ACK that moves SND.UNA was sent after every one that did not,
 * also on text that is sent again. Else the old window would count from the new SND.UNA, and reach
 * beyond what the peer has ever told (Linux does the same).
 */
static bool update_window(struct tcb *tcb, const struct tcp_segment *seg)
{
    uint32_t window = (uint32_t)seg->tcp.window << tcb->snd_scale;

    /* The caller has seen to SND.UNA =< SEG.ACK, hence SND.WL2 =< SEG.ACK. */
    if (seq_gt(tcb->snd_wl1, seg->tcp.seq) && seq_eq(seg->tcp.ack, tcb->snd_una))
        return false;
    bool is_changed = tcb->snd_wnd != window;
    tcb->snd_wl1 = seq_max(tcb->snd_wl1, seg->tcp.seq);
    tcb->snd_wnd = window;
    if (tcb->snd_wnd_max < window)
        tcb->snd_wnd_max = window;
    return is_changed;
}

static void take_rtt(struct tcb *tcb, const struct tcp_segment *seg)
{
    const struct wire_tcp_options *options = &seg->options;

    if ((tcb->flags & TCPF_RTT_TIMED) != 0) {
        if (seq_ge(seg->tcp.ack, tcb->rtt_seq)) {
            tcb->flags &= ~(uint32_t)TCPF_RTT_TIMED;
            tcp_rtt_sample(tcb, tcp_us(seg->rx->arrival_ns) - tcb->rtt_start_us);
        }
        return;
    }
    /* Karn forbade the timer; the echo says which transmission is meant (RFC 7323 section 4.1:
     * only an ACK that moves SND.UNA gives a sample). */
    if ((tcb->flags & TCPF_TS_OK) != 0 && options->has_timestamps && options->timestamp_echo != 0) {
        uint32_t rtt_ms = tcp_ts_now(tcb, seg->rx->arrival_ns) - options->timestamp_echo;
        if (rtt_ms < 120000)
            tcp_rtt_sample(tcb, rtt_ms * 1000u);
    }
}

/* Bytes up to ack are the peer's: the writer may use their place. */
static void advance(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    uint64_t sent_before = tcp_bytes_sent(tcb);

    take_rtt(tcb, seg);
    tcb->snd_una = seg->tcp.ack;
    if (seq_eq(tcb->snd_una, tcb->snd_nxt))
        tcb->flags &= ~(uint32_t)TCPF_LONE; /* still set where there was no memory for a board */
    tcb->retries = 0;
    tcb->backoff = 0;
    tcb->soft_error = 0;
    tcb->flags &= ~(uint32_t)TCPF_OVERRIDE;
    tcp_urgent_acked(tcb);

    uint64_t sent = tcp_bytes_sent(tcb);
    if (sent < sent_before)
        tcb->sent_wraps++;
    if (foyer_ring_is_set(&sock->rings->tx) && (tcb->flags & TCPF_TX_MAPPED) != 0 &&
        sent != sent_before) {
        foyer_ring_publish_tail(&sock->rings->tx, tcp_data_una(tcb).value - tcb->tx_offset);
        if ((sock->flags & SOCK_ORPHAN) == 0)
            sock_event(host, sock, FOYER_EVENT_WRITABLE);
    }
}

/* Our FIN is acknowledged. False: the connection is over. */
static bool fin_acked(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    switch (sock->state) {
    case FOYER_STATE_FIN_WAIT_1:
        sock->state = FOYER_STATE_FIN_WAIT_2;
        if ((sock->flags & SOCK_ORPHAN) != 0) {
            /* RFC 9293 has no such timer; without it a silent peer could hold orphans for ever. */
            sock->tcb->slow_deadline_ns = now + TCP_FIN_WAIT_2_NS;
            tcp_timer_arm(host, sock);
        }
        return true;
    case FOYER_STATE_CLOSING:
        tcp_time_wait_enter(host, sock, now);
        sock_want_output(host, sock); /* output.c makes it small */
        return true;
    case FOYER_STATE_LAST_ACK:
        tcp_finish(host, sock, 0);
        return false;
    default:
        return true;
    }
}

/* RFC 5681 section 2: the definition of a duplicate ACK. */
static bool is_duplicate_ack(const struct tcb *tcb, const struct tcp_segment *seg,
                             const struct tcp_delivery *delivery)
{
    if (delivery->acked_bytes > 0 || tcp_flight(tcb) == 0)
        return false;
    /* RFC 6675 section 2: with SACK it is one that tells of new bytes. */
    if (tcp_has_sack(tcb))
        return delivery->sacked_bytes > 0;
    return delivery->is_bare && !delivery->is_window_changed && seq_eq(seg->tcp.ack, tcb->snd_una);
}

/* RFC 5961 section 5.2: MAX.SND.WND bounds how old an ACK may be. False: dropped, answered.
 * [RFC9293 MAY-12] */
static bool check_ack_range(struct foyer_host *host, struct sock *sock,
                            const struct tcp_segment *seg, foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;

    if (seq_lt(seg->tcp.ack, seq_back(tcb->snd_una, tcb->snd_wnd_max)) ||
        seq_gt(seg->tcp.ack, tcb->snd_nxt)) {
        tcp_send_challenge(host, sock, now);
        return false;
    }
    return true;
}

/*
 * By how much cwnd may grow. What duplicate ACKs and SACKs have told of before has let new data out
 * when they came (limited transmit), and does not count again when it is acknowledged (RFC 5681
 * section 3.1 would have min(N, SMSS)). On a path that is known to reorder it counts when it comes.
 */
static uint32_t growth_of(const struct tcb *tcb, const struct tcp_delivery *delivery,
                          uint32_t duplicates, bool was_reordered)
{
    if (tcp_has_sack(tcb))
        return was_reordered ? delivery->delivered_bytes
                             : min_u32(delivery->acked_bytes, delivery->delivered_bytes);
    uint32_t told = duplicates * tcb->mss;
    uint32_t least = min_u32(delivery->acked_bytes, tcb->mss);
    return delivery->acked_bytes > told + least ? delivery->acked_bytes - told : least;
}

/* In CWR nothing grows. [RFC3168 6.1.2b] */
static void grow_window(struct tcb *tcb, uint32_t acked_bytes, uint32_t used_bytes,
                        foyer_time_ns now)
{
    /* RFC 9438 section 5.8, RFC 5681 section 4.1's spirit: an unused window does not grow. In slow
     * start one of which half was used at a time is not unused (RFC 7661 section 4.2). */
    bool is_used = (tcb->flags & TCPF_CWND_LIMITED) != 0 ||
                   (tcb->cwnd_bytes < tcb->ssthresh_bytes && tcb->cwnd_bytes < 2 * used_bytes);

    if (acked_bytes > 0 && is_used && tcp_cc(tcb)->on_sample == NULL &&
        (tcb->recovery == TCP_OPEN || tcb->recovery == TCP_LOSS))
        tcp_cc(tcb)->on_ack(tcb, acked_bytes, now);
}

/* Moves the board: what of it did this segment deliver? snd_una has moved by acked_bytes. */
static void deliver(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                    uint32_t acked_bytes, struct tcp_delivery *ret_delivery)
{
    const struct wire_tcp_options *options = &seg->options;

    *ret_delivery = (struct tcp_delivery){
        .arrival_us = tcp_us(seg->rx->arrival_ns),
        .acked_bytes = acked_bytes,
        .is_bare = seg->text_size == 0 && !seg->is_fin,
    };
    if ((tcb->flags & TCPF_TS_OK) != 0 && options->has_timestamps && options->timestamp_echo != 0) {
        ret_delivery->has_echo = true;
        ret_delivery->echo = options->timestamp_echo;
        ret_delivery->echo_age_ms = tcp_ts_now(tcb, seg->rx->arrival_ns) - options->timestamp_echo;
    }
    if (tcb->board == NULL)
        return;
    ret_delivery->fack_before = tcb->board->rack_fack;
    tcp_board_ack(tcb, tcb->snd_una, ret_delivery);
    tcp_sack_input(host, tcb, seg, ret_delivery);
}

/* An ACK that others overtook: what it SACKs may be news all the same. */
static void take_old_ack(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                         foyer_time_ns now)
{
    struct tcp_delivery delivery;

    if (seg->options.sack_count == 0 || sock->tcb->board == NULL)
        return;
    deliver(host, sock->tcb, seg, 0, &delivery);
    if (delivery.sacked_bytes == 0 && !delivery.has_dsack)
        return;
    tcp_recovery_on_ack(host, sock, &delivery, now);
    sock_want_output(host, sock);
}

bool tcp_ack_input(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                   foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (sock->state == FOYER_STATE_SYN_RECEIVED &&
        (!complete_handshake(host, sock, seg, now) || seq_eq(seg->tcp.ack, tcb->snd_una)))
        return sock->state != FOYER_STATE_SYN_RECEIVED;
    if (!check_ack_range(host, sock, seg, now))
        return false;
    if ((tcb->flags & TCPF_LONE) != 0)
        (void)tcp_board_need(host, tcb); /* without, it is a flight that nothing is known of */
    /* Only now: a blind segment (RFC 5961 section 5) must not move what PAWS judges by. */
    tcp_ts_update(tcb, seg, now);
    if (seq_lt(seg->tcp.ack, tcb->snd_una)) {
        take_old_ack(host, sock, seg, now);
        return true; /* its text may still be new */
    }

    uint32_t used_bytes = tcp_cc_used_bytes(tcb);
    uint8_t recovery_before = tcb->recovery;
    bool was_reordered = (tcb->flags & TCPF_REORDERED) != 0;
    uint32_t duplicates = tcb->board != NULL ? tcb->board->dup_acks : 0;
    uint32_t acked_bytes = seq_distance(seg->tcp.ack, tcb->snd_una);
    bool is_window_changed = update_window(tcb, seg);
    struct tcp_delivery delivery;

    if ((tcb->flags & TCPF_PERSIST) != 0 &&
        ((sock->flags & SOCK_ORPHAN) == 0 || (is_window_changed && tcb->snd_wnd > 0))) {
        /* MUST-37: a peer that answers probes may keep its window closed for ever. Where nobody
         * waits for the end, only until the probes' number is up; an open window begins anew. */
        tcb->retries = 0;
        tcb->stalled_ms = tcp_ms(now);
    }
    if (acked_bytes > 0) {
        advance(host, sock, seg);
        if (tcb->extra != NULL)
            tcp_mtu_on_progress(host, sock, now);
        tcb->stalled_ms = tcp_ms(now);
    }
    deliver(host, tcb, seg, acked_bytes, &delivery);
    delivery.is_window_changed = is_window_changed;
    delivery.is_duplicate = is_duplicate_ack(tcb, seg, &delivery);
    bool is_marked = (tcb->flags & (TCPF_ECN_OK | TCPF_ACCECN)) != 0 &&
                     tcp_ecn_ack(host, tcb, seg, &delivery, now);
    if (tcb->extra != NULL)
        tcp_statistics_on_ack(tcb, &delivery, is_marked);
    if (delivery.rtt_us != 0 && tcp_cc(tcb)->on_rtt != NULL)
        tcp_cc(tcb)->on_rtt(tcb, delivery.rtt_us);
    /* Before recovery, whose loss probe is due no later than the timeout. */
    if (acked_bytes > 0 || is_window_changed || (tcb->flags & TCPF_PERSIST) != 0) {
        if (is_window_changed && tcb->snd_wnd > 0 && (tcb->flags & TCPF_PERSIST) != 0)
            tcb->backoff = 0;
        if (acked_bytes > 0 || tcp_flight(tcb) == 0)
            tcp_rto_restart(host, sock, now); /* RFC 6298 (5.2), (5.3) */
    }
    tcp_recovery_on_ack(host, sock, &delivery, now);
    if (recovery_before == TCP_OPEN)
        grow_window(tcb, growth_of(tcb, &delivery, duplicates, was_reordered), used_bytes, now);
    else if (recovery_before == TCP_LOSS)
        grow_window(tcb, acked_bytes, used_bytes, now);
    tcp_pace_update(sock);
    if (tcb->extra != NULL)
        tcp_statistics_look(sock, now);
    if (acked_bytes > 0 && (tcb->flags & TCPF_FIN_QUEUED) != 0 &&
        seq_gt(tcb->snd_una, tcb->snd_end))
        return fin_acked(host, sock, now);
    sock_want_output(host, sock);
    return true;
}
