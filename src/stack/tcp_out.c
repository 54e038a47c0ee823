/*
 * The next segment to send. host.c's output loop pulls one packet per call, once the path to the
 * peer is resolved; nothing is queued behind TCP, every pull looks at the state as it then is.
 *
 *   tcp_output
 *     output_syn          SYN, SYN-ACK
 *     tcp_send_look       what the program wrote since
 *     output_lost         retransmission, as far as cwnd allows (tcp_recovery.c)
 *     output_new          new data and FIN: windows, Nagle, SWS avoidance
 *     output_probe        window probe, keep-alive
 *     output_ack          nothing but an ACK
 *
 * A segment may be a super-segment of many mss that the link (or ip.c, at the last moment) cuts;
 * its payload are one or two spans of the program's ring.
 */
#include <assert.h>

#include <errno.h>

#include "stack/tcp.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- the program's end of the ring ------------------------------------------------------------ */

void tcp_tx_map(struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    if (!foyer_ring_is_set(&sock->rings->tx) || (tcb->flags & TCPF_TX_MAPPED) != 0)
        return;
    tcb->tx_offset = tcp_data_una(tcb).value - foyer_ring_tail(&sock->rings->tx);
    tcb->flags |= TCPF_TX_MAPPED;
}

/* The ring is the program's memory: head and state are read once, and believed only as far as
 * they can be true. */
bool tcp_send_look(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if ((tcb->flags & TCPF_FIN_QUEUED) != 0 || !foyer_ring_is_set(&sock->rings->tx))
        return true;
    tcp_tx_map(sock);
    /* State before head: the writer stores head first, so with FIN comes the final head. */
    uint32_t state =
        atomic_load_explicit(&sock->rings->tx.shared->writer_state, memory_order_acquire);
    uint32_t una = tcp_data_una(tcb).value - tcb->tx_offset;
    uint32_t used = foyer_ring_distance(&sock->rings->tx, foyer_ring_head(&sock->rings->tx), una);
    uint32_t used_before = seq_distance(tcb->snd_end, tcp_data_una(tcb));

    if (state >= FOYER_RING_RESET || used == UINT32_MAX || used < used_before) {
        tcp_send_rst(host, sock);
        tcp_finish(host, sock, state == FOYER_RING_RESET ? -ECONNABORTED : -ECONNRESET);
        return false;
    }
    if (used > used_before && !tcp_has_unsent(tcb) && tcp_pipe(tcb) + tcb->mss <= tcb->cwnd_bytes)
        tcp_rate_app_limited(tcb); /* until now the path could have carried more */
    tcb->snd_end = seq_add(tcb->snd_end, used - used_before);
    uint64_t urgent = atomic_load_explicit(&sock->rings->tx.shared->urgent, memory_order_relaxed);
    if (urgent != 0)
        tcp_urgent_look(host, sock, urgent);
    if (state == FOYER_RING_FIN)
        tcp_queue_fin(host, sock, now);
    return true;
}

bool tcp_send_watch(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    /* Nobody writes to a ring of our own behind our back. */
    if ((sock->tcb->flags & TCPF_FIN_QUEUED) != 0 || (sock->flags & SOCK_EXTERNAL_RINGS) == 0 ||
        !foyer_ring_is_set(&sock->rings->tx))
        return true;
    foyer_ring_announce_reader(&sock->rings->tx);
    return tcp_send_look(host, sock, now);
}

bool tcp_has_unsent(const struct tcb *tcb)
{
    return seq_lt(tcb->snd_nxt, tcb->snd_end) ||
           ((tcb->flags & TCPF_FIN_QUEUED) != 0 && !tcp_fin_sent(tcb));
}

/* ---- filling a packet -------------------------------------------------------------------------- */

static void fill_payload(const struct sock *sock, struct tx *tx, seq_t seq, uint32_t size)
{
    const struct foyer_ring *ring = &sock->rings->tx;

    tx->payload_count = 0;
    if (size == 0)
        return;
    uint32_t at = (seq.value - sock->tcb->tx_offset) & (ring->size - 1);
    uint32_t first = min_u32(size, ring->size - at);

    tx->payload[tx->payload_count++] = (struct foyer_span){ring->data + at, first};
    if (size > first)
        tx->payload[tx->payload_count++] = (struct foyer_span){ring->data, size - first};
}

/* An ACK rides on everything: what was owed is paid (MUST-58). */
static void note_ack_sent(struct tcb *tcb)
{
    bool had_debt = !seq_eq(tcb->rcv_acked, tcb->rcv_nxt);

    tcb->flags &= ~(uint32_t)(TCPF_ACK_NOW | TCPF_ACK_DELAYED);
    tcb->ack_deadline_ns = FOYER_TIME_NEVER;
    tcb->rcv_acked = tcb->rcv_nxt;
    if (had_debt && tcb->quick_acks > 0)
        tcb->quick_acks--;
}

static struct wire_tcp header_of(const struct sock *sock, seq_t seq, uint16_t flags,
                                 uint32_t window)
{
    struct wire_tcp tcp = {
        .src_port = sock->local.port,
        .dst_port = sock->remote.port,
        .seq = seq,
        .ack = (flags & WIRE_TCP_ACK) != 0 ? sock->tcb->rcv_nxt : SEQ(0),
        .flags = flags,
        .window = (uint16_t)window,
    };

    if (tcp_urgent_is_ahead(sock->tcb, seq)) {
        tcp.flags |= WIRE_TCP_URG;
        tcp.urgent = tcp_urgent_pointer(sock->tcb, seq);
    }
    return tcp;
}

static void note_header(struct foyer_host *host, const struct sock *sock, struct tx *tx,
                        size_t header_size)
{
    const struct tcb *tcb = sock->tcb;

    tx->transport_size = (uint16_t)header_size;
    tx->tos = tcp_ecn_tos(tcb, sock->tos, false); /* MUST-48, SHLD-22 */
    tx->ttl = sock->ttl;                          /* MUST-49 */
    tx->dont_fragment = true;                     /* RFC 1191 section 3 */
    tx->gso_type = FOYER_GSO_NONE;
    tx->gso_size = 0;
    host->stats.tcp_out_segs++;
}

/* Text has no room for SACK blocks beside what the mss was reduced by. */
static bool has_sack_to_tell(const struct tcb *tcb)
{
    return (tcb->flags & TCPF_SACK_OK) != 0 &&
           (tcp_has_gaps(tcb) || (tcb->flags & TCPF_DSACK) != 0);
}

static size_t put_header(const struct sock *sock, struct tx *tx, const struct wire_tcp *tcp,
                         uint32_t text_size, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint8_t *bytes = tx->header + TX_TRANSPORT_OFFSET;
    bool tells_sack = text_size == 0 && has_sack_to_tell(tcb);
    bool tells_ecn = text_size < tcb->mss && (tcb->flags & TCPF_ACCECN) != 0;

    if (tells_sack || tells_ecn) {
        struct wire_tcp_options options;
        tcp_options_for_segment(tcb, &options, now);
        if (tells_sack)
            tcp_sack_fill(tcb, &options);
        if (tells_ecn)
            accecn_fill_option(tcb, &options, tcb->mss - text_size);
        return wire_tcp_emit(bytes, tcp, &options);
    }
    /* RFC 7323 section 3.2: in every segment once negotiated. */
    if ((tcb->flags & TCPF_TS_OK) != 0)
        return wire_tcp_emit_with_timestamps(bytes, tcp, tcp_ts_now(tcb, now), tcb->ts_recent);
    wire_tcp_emit_fixed(bytes, tcp, WIRE_TCP_SIZE);
    return WIRE_TCP_SIZE;
}

/* A segment of the synchronized states at seq with size bytes of the ring. */
static void fill_segment(struct foyer_host *host, struct sock *sock, struct tx *tx, seq_t seq,
                         uint32_t size, uint16_t flags, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint32_t window = tcp_window_select(sock) >> tcb->rcv_scale;
    bool is_bare = size == 0 && (flags & WIRE_TCP_FIN) == 0 && !has_sack_to_tell(tcb);
    flags |= WIRE_TCP_ACK | tcp_ecn_flags(tcb, is_bare);
    struct wire_tcp tcp = header_of(sock, seq, flags, window);

    note_header(host, sock, tx, put_header(sock, tx, &tcp, size, now));
    fill_payload(sock, tx, seq, size);
    if (size > tcb->mss) {
        tx->gso_type = foyer_addr_is_v4(&sock->remote.addr) ? FOYER_GSO_TCPV4 : FOYER_GSO_TCPV6;
        tx->gso_size = tcb->mss;
        host->stats.tcp_out_segs += (size - 1) / tcb->mss;
    }
    /* Blocks that found no room are told in an ACK of their own. */
    bool owes_sack = size > 0 && (tcb->flags & TCPF_ACK_NOW) != 0 && has_sack_to_tell(tcb);
    note_ack_sent(tcb);
    if (owes_sack)
        tcb->flags |= TCPF_ACK_NOW;
    if (tcp_is_synchronized(sock))
        tcp_window_look(host, sock);
}

/* ---- SYN ---------------------------------------------------------------------------------------- */

static bool output_syn(struct foyer_host *host, struct sock *sock, struct tx *tx, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct wire_tcp_options options;
    bool is_reply = sock->state == FOYER_STATE_SYN_RECEIVED;

    /* RFC 7413: what the program wrote before it connected may go with the SYN. */
    if (sock->options->fastopen != 0 && !is_reply && !tcp_send_look(host, sock, now))
        return false;
    tcb->flags &= ~(uint32_t)TCPF_SYN_PENDING;
    tcp_options_for_syn(host, sock, is_reply, &options, now);
    uint32_t size = fastopen_fill_syn(host, sock, &options, now);
    uint32_t window = tcp_syn_window(sock);
    if (is_reply)
        tcb->rcv_adv = seq_max(tcb->rcv_adv, seq_add(tcb->rcv_nxt, window));
    uint16_t flags = is_reply ? WIRE_TCP_SYN | WIRE_TCP_ACK : WIRE_TCP_SYN;
    flags |= tcp_ecn_syn_flags(sock, is_reply);
    struct wire_tcp tcp = header_of(sock, tcb->iss, flags, window);
    note_header(host, sock, tx, wire_tcp_emit(tx->header + TX_TRANSPORT_OFFSET, &tcp, &options));
    fill_payload(sock, tx, seq_add(tcb->iss, 1), size);
    if (is_reply)
        note_ack_sent(tcb);
    /* Karn: timed when it is the first, not after (MUST-18). */
    if (tcb->retries == 0 && (tcb->flags & (TCPF_RTT_TIMED | TCPF_SYN_LOST)) == 0) {
        tcb->flags |= TCPF_RTT_TIMED;
        tcb->rtt_start_us = tcp_us(now);
    } else {
        tcb->flags &= ~(uint32_t)TCPF_RTT_TIMED;
        host->stats.tcp_retrans_segs++;
        tcb->retransmissions++;
    }
    tcp_rto_ensure(host, sock, now);
    tx->is_last = !is_reply; /* in SYN-SENT there is nothing else to say */
    return true;
}

/* ---- retransmission ------------------------------------------------------------------------------ */

/* What the link takes at once, and pacing lets out. An urgent pointer is relative to its own
 * segment: copies of it, as the link makes them, would lie. */
static uint32_t max_payload(const struct foyer_host *host, const struct sock *sock, seq_t seq)
{
    uint32_t mss = sock->tcb->mss;

    if (tcp_urgent_is_ahead(sock->tcb, seq) ||
        ((sock->tcb->flags & TCPF_ACCECN) != 0 && !accecn_may_coalesce(sock->tcb)))
        return mss;
    return min_u32(ip_tx_max_payload(host, sock, mss), tcp_pace_room(sock->tcb));
}

/* What a pull may carry: multiples of mss as far as room goes, at most what is there. */
static uint32_t whole_segments(uint32_t size, uint32_t mss)
{
    assert(mss > 0);
    return size < mss ? size : size - size % mss;
}

static void note_sent_again(struct foyer_host *host, struct tcb *tcb, seq_t start, uint32_t size,
                            bool has_fin, foyer_time_ns now)
{
    uint32_t length = size + (has_fin ? 1u : 0u);
    uint32_t segments = size == 0 ? 1 : (size + tcb->mss - 1) / tcb->mss;

    tcp_board_sent_again(host, tcb, start, seq_add(start, length), tcp_us(now));
    tcp_recovery_on_sent(tcb, length, true, now);
    host->stats.tcp_retrans_segs += segments;
    tcb->retransmissions += segments;
}

/* As of new data; and where what was out when recovery began, or what is lost of it, ends: nothing
 * follows that it could be coalesced with. */
static bool is_push_again(const struct tcb *tcb, seq_t end, uint32_t size)
{
    if (size == 0)
        return false;
    return seq_eq(end, tcb->snd_end) || seq_eq(end, tcb->board->recovery_point) ||
           (size > tcb->mss && tcb->board->lost_bytes == size);
}

static bool output_lost(struct foyer_host *host, struct sock *sock, struct tx *tx,
                        foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_range run;

    if (!tcp_next_lost(tcb, &run))
        return false;
    uint32_t pipe = tcp_pipe(tcb);
    uint32_t room = tcb->cwnd_bytes > pipe ? tcb->cwnd_bytes - pipe : 0;
    if (room < tcb->mss) {
        if ((tcb->flags & TCPF_FORCE_RXT) == 0)
            return false;
        room = tcb->mss;
    }
    bool has_fin = tcp_fin_sent(tcb) && seq_gt(run.end, tcb->snd_end);
    uint32_t bytes = seq_distance(run.end, run.start) - (has_fin ? 1u : 0u);
    uint32_t size = whole_segments(min_u32(room, max_payload(host, sock, run.start)), tcb->mss);
    size = min_u32(size, bytes);
    has_fin = has_fin && size == bytes;
    /* MUST-35, SHLD-16: into a closed window one segment at a time goes, as a probe. */
    if (size > tcb->mss && seq_gt(seq_add(run.start, size), seq_add(tcb->snd_una, tcb->snd_wnd)))
        size = tcb->mss, has_fin = false;

    uint16_t flags = (uint16_t)(has_fin ? WIRE_TCP_FIN : 0);
    if (is_push_again(tcb, seq_add(run.start, size), size))
        flags |= WIRE_TCP_PSH;
    fill_segment(host, sock, tx, run.start, size, flags, now);
    note_sent_again(host, tcb, run.start, size, has_fin, now);
    tcp_rto_ensure(host, sock, now);
    return true;
}

/* ---- new data ------------------------------------------------------------------------------------- */

/*
 * May a segment shorter than mss that carries all there is go now? Nagle (RFC 9293 section
 * 3.7.4, SHLD-7, MUST-17) in Minshall's form, as Linux: it waits only for an earlier short one.
 */
static bool may_send_short(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    /* Urgent data waits for nothing, as on Linux. */
    if ((tcb->flags & (TCPF_OVERRIDE | TCPF_FIN_QUEUED | TCPF_URG_OUT)) != 0)
        return true;
    if (sock->cork)
        return false;
    return sock->nodelay || !tcp_board_has_small(tcb);
}

struct new_data {
    uint32_t size;
    bool has_fin, is_push;
};

/*
 * PSH where the buffer is emptied (MUST-60, MUST-61, SHLD-27), and at the end of a super-segment, as
 * Linux: a receiver that coalesces segments (GRO, LRO) hands on what it has when it sees the bit
 * instead of when its patience ends, and of several packets of that size it makes no larger one. A
 * lone segment in the midst of a transfer is left to be coalesced with the next.
 */
static bool is_push(const struct sock *sock, uint32_t size, uint32_t unsent)
{
    return (size == unsent && (sock->flags & SOCK_UNPUSHED) == 0) || size > sock->tcb->mss;
}

/*
 * A super-segment carries no more than half of either window, as Linux's: the ACK of one half is
 * under way while the other is, so a window goes out as its ACKs come in and not in one burst per
 * round trip.
 */
static uint32_t burst_limit(const struct tcb *tcb)
{
    uint32_t half = min_u32(tcb->cwnd_bytes, tcb->snd_wnd_max) / 2;

    return half > tcb->mss ? whole_segments(half, tcb->mss) : tcb->mss;
}

/* Bytes that the peer's window leaves, FIN included; MUST-34: the edge may have gone back.
 * [RFC7323 2.4a] */
static uint32_t send_window_room(const struct tcb *tcb)
{
    int32_t room = seq_sub(seq_add(tcb->snd_una, tcb->snd_wnd), tcb->snd_nxt);

    return room > 0 ? (uint32_t)room : 0;
}

/* The sender's SWS avoidance, RFC 9293 section 3.8.6.2.1 (MUST-38, SHLD-28). False: not now.
 * [RFC9293 SHLD-15] */
static bool choose_new_data(const struct foyer_host *host, struct sock *sock,
                            struct new_data *ret_data)
{
    struct tcb *tcb = sock->tcb;
    uint32_t unsent =
        seq_lt(tcb->snd_nxt, tcb->snd_end) ? seq_distance(tcb->snd_end, tcb->snd_nxt) : 0;
    uint32_t window = send_window_room(tcb);
    uint32_t pipe = tcp_pipe(tcb);
    uint32_t cwnd = tcb->cwnd_bytes > pipe ? tcb->cwnd_bytes - pipe : 0;
    bool wants_fin = (tcb->flags & TCPF_FIN_QUEUED) != 0 && !tcp_fin_sent(tcb);

    if (unsent == 0) {
        *ret_data = (struct new_data){0, true, false};
        return wants_fin && window > 0;
    }
    /* cwnd is spent in whole segments, or it would decay into small ones. */
    if (cwnd < min_u32(tcb->mss, unsent)) {
        tcb->flags |= TCPF_CWND_LIMITED;
        return false;
    }
    uint32_t size = min_u32(min_u32(unsent, window), max_payload(host, sock, tcb->snd_nxt));
    size = min_u32(size, burst_limit(tcb));
    if (size > cwnd) {
        tcb->flags |= TCPF_CWND_LIMITED;
        size = cwnd;
    }
    bool is_all = size == unsent;
    if (size % tcb->mss != 0 && !(is_all && may_send_short(sock))) {
        if (size > tcb->mss)
            size = whole_segments(size, tcb->mss);
        else if (is_all || window >= tcb->mss ||
                 (size < tcb->snd_wnd_max / 2 && (tcb->flags & TCPF_OVERRIDE) == 0))
            return false; /* Nagle, cork; or too small a piece of the window */
        is_all = size == unsent;
    }
    *ret_data =
        (struct new_data){size, is_all && wants_fin && window > size, is_push(sock, size, unsent)};
    return size > 0;
}

/* New bytes at SND.NXT go out; there is a board for them. */
static void send_new(struct foyer_host *host, struct sock *sock, struct tx *tx,
                     const struct new_data *data, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    seq_t seq = tcb->snd_nxt;
    seq_t end = seq_add(seq, data->size + (data->has_fin ? 1u : 0u));
    uint16_t flags = (uint16_t)(data->has_fin ? WIRE_TCP_FIN : 0);
    if (data->is_push)
        flags |= WIRE_TCP_PSH;
    if (data->size > 0)
        flags |= tcp_ecn_flags_of_new_data(tcb);
    fill_segment(host, sock, tx, seq, data->size, flags, now);
    if (data->size > 0)
        tx->tos = tcp_ecn_tos(tcb, sock->tos, true);

    tcp_board_sent(host, tcb, seq, end, tcp_us(now));
    tcb->snd_nxt = end;
    tcp_cc_note_flight(tcb);
    tcb->flags &= ~(uint32_t)TCPF_OVERRIDE;
    if (data->size % tcb->mss != 0)
        tcb->board->small_end = end;
    if ((tcb->flags & TCPF_RTT_TIMED) == 0 &&
        (tcb->recovery == TCP_OPEN || tcb->recovery == TCP_CWR)) {
        tcb->flags |= TCPF_RTT_TIMED;
        tcb->rtt_seq = end;
        tcb->rtt_start_us = tcp_us(now);
    }
    tcb->sent_ms = tcp_ms(now);
    tcp_recovery_on_sent(tcb, data->size, false, now);
    if ((tcb->flags & TCPF_PERSIST) != 0)
        tcp_rto_restart(host, sock, now);
    else
        tcp_rto_ensure(host, sock, now); /* RFC 6298 (5.1) */
    tcp_probe_reschedule(host, sock, now);
}

/* A segment that is larger than the path is known to take (tcp_mtu.c). */
static bool output_mtu_probe(struct foyer_host *host, struct sock *sock, struct tx *tx,
                             bool *ret_must_wait, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint16_t size = tcp_mtu_probe_size(host, sock, now);

    *ret_must_wait = false;
    if (size == 0 || !seq_lt(tcb->snd_nxt, tcb->snd_end) ||
        !tcp_mtu_may_probe(sock, size, seq_distance(tcb->snd_end, tcb->snd_nxt),
                           send_window_room(tcb), ret_must_wait) ||
        !tcp_board_need(host, tcb))
        return false;
    struct new_data data = {.size = size};
    uint16_t mss = tcb->mss;
    tcp_mtu_probe_sent(tcb, tcb->snd_nxt, size);
    tcb->mss = size; /* one segment, not a super-segment of two */
    send_new(host, sock, tx, &data, now);
    tcb->mss = mss;
    return true;
}

static bool output_new(struct foyer_host *host, struct sock *sock, struct tx *tx, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct new_data data;

    if (!tcp_has_unsent(tcb)) {
        if (tcp_pipe(tcb) + tcb->mss <= tcb->cwnd_bytes)
            tcb->flags &= ~(uint32_t)TCPF_CWND_LIMITED; /* the program has not more to say */
        return false;
    }
    tcb->flags &= ~(uint32_t)TCPF_CWND_LIMITED;
    if ((tcb->flags & TCPF_LONE) != 0 && !tcp_board_need(host, tcb))
        return false;
    bool must_wait;
    if (output_mtu_probe(host, sock, tx, &must_wait, now))
        return true;
    if (must_wait) {
        tcb->flags |= TCPF_CWND_LIMITED;
        return false;
    }
    if (!choose_new_data(host, sock, &data) || !tcp_board_need(host, tcb))
        return false;
    if (tcp_flight(tcb) == 0) {
        tcb->stalled_ms = tcp_ms(now);
        bool is_reduced = tcp_cc_restart_after_idle(tcb, now);
        tcp_pace_update(sock);
        /* cwnd may be smaller now, or pacing let less out. */
        if ((is_reduced || tcb->board->pace.rate_bytes_per_s != 0) &&
            !choose_new_data(host, sock, &data))
            return false;
    }
    send_new(host, sock, tx, &data, now);
    return true;
}

/*
 * The tail loss probe (RFC 8985 section 7.3): new data where there is some and the peer's window
 * takes it, whatever cwnd says; else the last segment again.
 */
static bool output_loss_probe(struct foyer_host *host, struct sock *sock, struct tx *tx,
                              foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    tcb->flags &= ~(uint32_t)TCPF_LOSS_PROBE;
    if (!tcp_probe_is_due(tcb))
        return false;
    host->stats.tcp_loss_probes++;
    uint32_t unsent =
        seq_lt(tcb->snd_nxt, tcb->snd_end) ? seq_distance(tcb->snd_end, tcb->snd_nxt) : 0;
    uint32_t size = min_u32(min_u32(unsent, send_window_room(tcb)), tcb->mss);
    if (size > 0 && (size == unsent || size == tcb->mss) && tcp_board_need(host, tcb)) {
        struct new_data data = {size, false, size == unsent};
        send_new(host, sock, tx, &data, now);
        tcp_probe_sent(tcb, false);
    } else {
        const struct tcp_sent *last = tcb->board->last;
        uint32_t length = seq_distance(last->end, last->start);
        bool has_fin = tcp_fin_sent(tcb);
        size = min_u32(length - (has_fin ? 1u : 0u), tcb->mss);
        seq_t start = seq_back(last->end, size + (has_fin ? 1u : 0u));
        uint16_t flags = (uint16_t)(has_fin ? WIRE_TCP_FIN : 0);
        if (size > 0 && seq_eq(seq_add(start, size), tcb->snd_end))
            flags |= WIRE_TCP_PSH;
        fill_segment(host, sock, tx, start, size, flags, now);
        note_sent_again(host, tcb, start, size, has_fin, now);
        tcp_probe_sent(tcb, true);
    }
    tcp_rto_restart(host, sock, now); /* section 7.3 */
    return true;
}

/* ---- probes and ACKs ------------------------------------------------------------------------------ */

/*
 * Window probe (RFC 9293 section 3.8.6.1, MUST-35, MUST-36) and keep-alive (section 3.8.4,
 * SHLD-12): no data, at a sequence number that the peer has acknowledged, which it must answer
 * with an ACK that tells its window. Unlike a byte beyond the window, it puts nothing in flight.
 */
static bool output_probe(struct foyer_host *host, struct sock *sock, struct tx *tx,
                         foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    tcb->flags &= ~(uint32_t)TCPF_PROBE_NOW;
    fill_segment(host, sock, tx, seq_back(tcb->snd_una, 1), 0, 0, now);
    return true;
}

static void output_ack(struct foyer_host *host, struct sock *sock, struct tx *tx, foyer_time_ns now)
{
    fill_segment(host, sock, tx, sock->tcb->snd_nxt, 0, 0, now);
}

/* ---- the pull --------------------------------------------------------------------------------------- */

static bool may_send_data(const struct sock *sock)
{
    switch (sock->state) {
    case FOYER_STATE_ESTABLISHED:
    case FOYER_STATE_CLOSE_WAIT:
    case FOYER_STATE_FIN_WAIT_1:
    case FOYER_STATE_CLOSING:
    case FOYER_STATE_LAST_ACK:
        return true;
    default:
        return tcp_is_fast_child(sock);
    }
}

static bool output_data(struct foyer_host *host, struct sock *sock, struct tx *tx,
                        foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if ((tcb->flags & TCPF_LOSS_PROBE) != 0 && output_loss_probe(host, sock, tx, now))
        return true;
    /* The first retransmission waits for nobody. */
    if ((tcb->flags & TCPF_FORCE_RXT) == 0 && tcp_pace_holds(host, sock, now))
        return false;
    if (output_lost(host, sock, tx, now) || output_new(host, sock, tx, now))
        return true;
    if ((tcb->flags & TCPF_FIN_QUEUED) != 0 || !foyer_ring_is_set(&sock->rings->tx) ||
        (tcb->flags & TCPF_CWND_LIMITED) != 0)
        return false;
    /* All that was written is out, or waits for more (Nagle, cork). */
    seq_t end_before = tcb->snd_end;
    if (!tcp_send_watch(host, sock, now))
        return false;
    bool is_more = !seq_eq(end_before, tcb->snd_end) || (tcb->flags & TCPF_FIN_QUEUED) != 0;
    return is_more && output_new(host, sock, tx, now);
}

/* What was just filled was all there is to say, and nobody writes without telling us. */
static bool has_said_all(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    const uint32_t more = TCPF_ACK_NOW | TCPF_PROBE_NOW | TCPF_LOSS_PROBE | TCPF_FORCE_RXT |
                          TCPF_SYN_PENDING | TCPF_CWND_LIMITED;

    return (tcb->flags & more) == 0 && !tcp_has_unsent(tcb) && tcb->recovery == TCP_OPEN &&
           (sock->flags & SOCK_EXTERNAL_RINGS) == 0;
}

bool tcp_output(struct foyer_host *host, struct sock *sock, struct tx *tx, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL || sock->state < FOYER_STATE_SYN_SENT)
        return false;
    if ((tcb->flags & TCPF_SYN_PENDING) != 0)
        return output_syn(host, sock, tx, now);
    if (sock->state == FOYER_STATE_SYN_SENT)
        return false;
    /* RFC 9768 section 3.2.2.1: what the SYN-ACK's IP-ECN field was only a bare ACK can say. */
    if ((tcb->flags & (TCPF_ACCECN | TCPF_ACK_NOW)) == (TCPF_ACCECN | TCPF_ACK_NOW) &&
        tcb->extra->accecn.owes_handshake) {
        output_ack(host, sock, tx, now);
        return true;
    }
    if (may_send_data(sock)) {
        tcp_mss_follow(host, sock);
        if (!tcp_send_look(host, sock, now))
            return false;
        bool has_filled = output_data(host, sock, tx, now);
        if (sock->tcb == NULL)
            return has_filled;
        if (tcb->extra != NULL)
            tcp_statistics_look(sock, now);
        if (has_filled) {
            tx->is_last = has_said_all(sock);
            return true;
        }
    }
    if ((tcb->flags & TCPF_PROBE_NOW) != 0)
        return output_probe(host, sock, tx, now);
    if ((tcb->flags & TCPF_ACK_NOW) != 0) {
        output_ack(host, sock, tx, now);
        tx->is_last = has_said_all(sock);
        return true;
    }
    /* Something may be held back (cork, a small window, a closed one): a timer looks again. */
    if (tcp_has_unsent(tcb) && tcp_is_synchronized(sock)) {
        if (tcb->rto_deadline_ns == FOYER_TIME_NEVER)
            tcb->stalled_ms = tcp_ms(now);
        tcp_rto_ensure(host, sock, now);
    }
    return false;
}
