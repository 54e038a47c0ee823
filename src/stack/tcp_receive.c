/*
 * The receiver: text and FIN (RFC 9293 section 3.10.7.4, seventh and eighth), reassembly, the
 * window that is advertised and the SACK blocks that tell what came.
 *
 * Bytes are copied once, from the frame to their place in the rx ring, in order or not: the place
 * follows from the sequence number. Only what is in order is published as head. Out-of-order
 * bytes lie in the ring's free space, which the program has no business in; should it write
 * there it spoils its own stream.
 */
#include <errno.h>

#include "stack/tcp.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- the ring ------------------------------------------------------------------------------------ */

void tcp_rx_map(struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    if (!foyer_ring_is_set(&sock->rings->rx) || (tcb->flags & TCPF_RX_MAPPED) != 0)
        return;
    tcb->rx_offset = tcp_data_nxt(tcb).value - foyer_ring_head(&sock->rings->rx);
    tcb->flags |= TCPF_RX_MAPPED;
    /* A ring smaller than what was advertised before there was one: SHLD-14 can't be kept. */
    uint32_t room = tcp_receive_room(sock);
    if (room != UINT32_MAX)
        tcb->rcv_adv = seq_min(tcb->rcv_adv, seq_add(tcb->rcv_nxt, room));
    tcp_urgent_show(sock);
    if ((tcb->flags & TCPF_FIN_RECEIVED) != 0)
        atomic_store_explicit(&sock->rings->rx.shared->writer_state, FOYER_RING_FIN,
                              memory_order_release);
}

/* Their positions count from the head, which is where the next byte in order goes. */
void tcp_move_ahead(struct foyer_host *host, struct sock *sock, const struct foyer_ring *to)
{
    struct tcb *tcb = sock->tcb;
    const struct foyer_ring *from = &sock->rings->rx;

    if (tcb == NULL || !tcp_has_gaps(tcb))
        return;
    const struct tcp_ranges *ahead = tcb->out_of_order;
    uint32_t head = foyer_ring_head(to);
    uint32_t used = foyer_ring_distance(to, head, foyer_ring_tail(to));
    uint32_t size = seq_distance(ahead->range[ahead->count - 1].end, tcb->rcv_nxt);
    if (used == UINT32_MAX || size > to->size - used) {
        tcp_ranges_drop(host, tcb);
        return;
    }
    for (uint32_t i = 0; i < ahead->count; i++) {
        seq_t at = ahead->range[i].start;
        while (seq_lt(at, ahead->range[i].end)) {
            uint32_t place = (at.value - tcb->rx_offset) & (from->size - 1);
            uint32_t run = min_u32(seq_distance(ahead->range[i].end, at), from->size - place);
            foyer_ring_put(to, head + seq_distance(at, tcb->rcv_nxt), from->data + place, run);
            at = seq_add(at, run);
        }
    }
}

static uint32_t ring_size(const struct sock *sock)
{
    return foyer_ring_is_set(&sock->rings->rx) ? sock->rings->rx.size
                                               : sock->options->rx_size_wanted;
}

/* What of the ring may be offered. */
static uint32_t buffer_size(const struct sock *sock)
{
    uint32_t size = ring_size(sock), limit = sock->options->rx_limit;

    return limit != 0 && limit < size ? limit : size;
}

uint32_t tcp_receive_room(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    if (!foyer_ring_is_set(&sock->rings->rx) || (tcb->flags & TCPF_RX_MAPPED) == 0)
        return ring_size(sock);
    uint32_t head = tcp_data_nxt(tcb).value - tcb->rx_offset;
    uint32_t used = foyer_ring_distance(&sock->rings->rx, head, foyer_ring_tail(&sock->rings->rx));
    return used == UINT32_MAX ? UINT32_MAX : sock->rings->rx.size - used;
}

/* ---- the window ----------------------------------------------------------------------------------- */

/* The room that may be offered: the ring's, but for what lies beyond the limit. UINT32_MAX as above. */
static uint32_t room_to_offer(const struct sock *sock)
{
    uint32_t room = tcp_receive_room(sock), beyond = ring_size(sock) - buffer_size(sock);

    if (room == UINT32_MAX)
        return room;
    return room > beyond ? room - beyond : 0;
}

/* The room that the window field can tell: without scaling (RFC 7323 section 2.2) 65535 bytes,
 * however large the buffer is. UINT32_MAX as tcp_receive_room. */
static uint32_t room_to_tell(const struct sock *sock)
{
    uint32_t room = room_to_offer(sock);

    return room == UINT32_MAX ? room : min_u32(room, (uint32_t)UINT16_MAX << sock->tcb->rcv_scale);
}

/* RFC 9293 section 3.8.6.2.2 (MUST-39): the right edge moves by a segment or half the buffer. */
static bool is_worth_opening(const struct sock *sock, uint32_t room, uint32_t segments)
{
    const struct tcb *tcb = sock->tcb;
    int32_t growth = seq_sub(seq_add(tcb->rcv_nxt, room), tcb->rcv_adv);
    uint32_t step = min_u32(segments * tcb->rcv_mss, buffer_size(sock) / 2);

    return growth > 0 && (uint32_t)growth >= step;
}

uint32_t tcp_window_select(struct sock *sock)
{
    struct tcb *tcb = sock->tcb;
    uint8_t scale = tcb->rcv_scale;
    uint32_t room = room_to_tell(sock);
    uint32_t window = seq_distance(tcb->rcv_adv, tcb->rcv_nxt);

    if (room == UINT32_MAX)
        room = 0; /* the next look resets the connection */
    if (is_worth_opening(sock, room, 1)) {
        window = room >> scale << scale;
    } else {
        /* SHLD-14: the right edge stays; scaling rounds it up where the ring has the place. */
        uint32_t up = ((window + (1u << scale) - 1) >> scale) << scale;
        window = up <= room ? up : window >> scale << scale;
    }
    window = min_u32(window, (uint32_t)UINT16_MAX << scale);
    tcb->rcv_adv = seq_max(tcb->rcv_adv, seq_add(tcb->rcv_nxt, window));
    return window;
}

/* RFC 7323 section 2.2: the window of a SYN is not scaled. sock: also a listener, for its SYN-ACK. */
uint32_t tcp_syn_window(const struct sock *sock)
{
    uint32_t room = room_to_offer(sock);

    return room == UINT32_MAX ? 0 : min_u32(room, UINT16_MAX);
}

/*
 * What of the buffer the peer can have been shown. Our SYN's window is not scaled (and no scaled one
 * is an odd number); that it told no more is no reason for a segment of its own.
 */
static uint32_t shown_size(const struct sock *sock)
{
    bool is_syns = seq_distance(sock->tcb->rcv_adv, sock->tcb->rcv_acked) == UINT16_MAX;

    return is_syns ? min_u32(buffer_size(sock), UINT16_MAX) : buffer_size(sock);
}

bool tcp_window_look(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    if (!foyer_ring_is_set(&sock->rings->rx) || (tcb->flags & TCPF_FIN_RECEIVED) != 0 ||
        !tcp_is_synchronized(sock))
        return true;
    if ((tcb->flags & TCPF_RX_MAPPED) == 0)
        tcp_rx_map(sock);
    /* Most of it is open, as the peer knows: nothing to tell. (A shared ring's indexes are looked at
     * in any case.) */
    if ((sock->flags & SOCK_EXTERNAL_RINGS) == 0 &&
        seq_distance(tcb->rcv_adv, tcb->rcv_nxt) > buffer_size(sock) / 2)
        return true;
    for (int look = 0; look < 2; look++) {
        uint32_t room = room_to_tell(sock);
        if (room == UINT32_MAX)
            return false;
        uint32_t window = seq_distance(tcb->rcv_adv, tcb->rcv_nxt);
        if (is_worth_opening(sock, room, 2) && window <= shown_size(sock) / 2) {
            tcb->flags |= TCPF_ACK_NOW;
            sock_want_output(host, sock);
            return true;
        }
        /* Much room is left: the next segment's ACK will tell. Little: the program must say when
         * it consumes, and may just have done so. */
        if (window >= buffer_size(sock) / 4 || (sock->flags & SOCK_EXTERNAL_RINGS) == 0)
            return true;
        foyer_ring_announce_writer(&sock->rings->rx);
    }
    return true;
}

/* ---- SACK ----------------------------------------------------------------------------------------- */

static void add_block(struct wire_tcp_options *options, uint8_t room, const struct tcp_range *range)
{
    if (options->sack_count >= room)
        return;
    options->sack[options->sack_count].left = range->start;
    options->sack[options->sack_count].right = range->end;
    options->sack_count++;
}

/* The range that holds seq and is not among the blocks already, or NULL. */
static const struct tcp_range *untold_range(const struct tcp_ranges *held, seq_t seq,
                                            const struct wire_tcp_options *options, uint8_t first)
{
    for (uint32_t i = 0; i < held->count; i++) {
        const struct tcp_range *range = &held->range[i];
        if (seq_lt(seq, range->start) || seq_ge(seq, range->end))
            continue;
        for (uint8_t j = first; j < options->sack_count; j++) {
            if (seq_eq(options->sack[j].left, range->start))
                return NULL;
        }
        return range;
    }
    return NULL;
}

void tcp_sack_fill(struct tcb *tcb, struct wire_tcp_options *options)
{
    struct tcp_ranges *held = tcb->out_of_order;
    uint8_t room = wire_tcp_sack_room(options);

    if ((tcb->flags & TCPF_SACK_OK) == 0 || held == NULL)
        return;
    if ((tcb->flags & TCPF_DSACK) != 0) {
        tcb->flags &= ~(uint32_t)TCPF_DSACK;
        add_block(options, room, &held->dsack); /* RFC 2883 section 4: the first block */
    }
    uint8_t first = options->sack_count;
    /* RFC 2018 section 4: first the range that changed last, then others, recent ones first. */
    for (uint32_t i = 0; i < held->recent_count; i++) {
        const struct tcp_range *range = untold_range(held, held->recent[i], options, first);
        if (range != NULL)
            add_block(options, room, range);
    }
    for (uint32_t i = 0; i < held->count && options->sack_count < room; i++) {
        const struct tcp_range *range = untold_range(held, held->range[i].start, options, first);
        if (range != NULL)
            add_block(options, room, range);
    }
    tcp_ranges_give_if_empty(held->host, tcb);
}

/* ---- text ----------------------------------------------------------------------------------------- */

/* Cuts what came before: text below rcv_nxt. A FIN stays unless it is old too. */
static void trim_left(struct foyer_host *host, struct tcb *tcb, struct tcp_segment *seg)
{
    if (seq_ge(seg->seq, tcb->rcv_nxt))
        return;
    uint32_t old = seq_distance(tcb->rcv_nxt, seg->seq);
    uint32_t cut = min_u32(old, seg->size);

    if (cut > 0) {
        host->stats.tcp_dup_segs++;
        tcp_ranges_note_dsack(host, tcb, seg->seq, seq_add(seg->seq, cut));
    }
    if (old > seg->size)
        seg->is_fin = false;
    seg->seq = seq_add(seg->seq, cut);
    seg->offset += cut;
    seg->size -= cut;
    tcb->flags |= TCPF_ACK_NOW;
}

/* Cuts what lies beyond the window or the ring. False: hostile indexes. */
static bool trim_right(struct sock *sock, struct tcp_segment *seg)
{
    const struct tcb *tcb = sock->tcb;
    uint32_t room = tcp_receive_room(sock);

    if (room == UINT32_MAX)
        return false;
    seq_t edge = seq_min(tcb->rcv_adv, seq_add(tcb->rcv_nxt, room));
    seq_t end = seq_add(seg->seq, seg->size);

    if (seq_gt(end, edge)) {
        uint32_t over = seq_distance(end, edge);
        seg->size -= min_u32(over, seg->size);
        seg->is_fin = false;
    }
    return true;
}

static void copy_text(struct sock *sock, const struct tcp_segment *seg)
{
    rx_copy_to_ring(seg->rx, seg->offset, &sock->rings->rx, seg->seq.value - sock->tcb->rx_offset,
                    seg->size);
}

/*
 * RFC 2883 section 4: bytes of this segment that were held already are told, the first run of
 * them. What trim_left found comes before it.
 */
static void note_overlap(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg)
{
    const struct tcp_ranges *held = tcb->out_of_order;
    seq_t end = seq_add(seg->seq, seg->size);

    if (held == NULL || (tcb->flags & TCPF_DSACK) != 0)
        return;
    for (uint32_t i = 0; i < held->count && seq_lt(held->range[i].start, end); i++) {
        if (seq_le(held->range[i].end, seg->seq))
            continue;
        host->stats.tcp_dup_segs++;
        tcp_ranges_note_dsack(host, tcb, seq_max(held->range[i].start, seg->seq),
                              seq_min(held->range[i].end, end));
        return;
    }
}

/* SHLD-31: kept beyond a gap; SHLD-18 does not apply: RFC 5681 section 4.2 wants an ACK now. */
static void hold_out_of_order(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    seq_t end = seq_add(seg->seq, seg->size);

    host->stats.tcp_ooo_segs++;
    tcb->flags |= TCPF_ACK_NOW;
    if (!tcp_ranges_need(host, tcb))
        return;
    if (seg->is_fin) {
        tcb->flags |= TCPF_FIN_AHEAD;
        tcb->out_of_order->fin_seq = end;
    }
    if (seg->size == 0)
        return;
    note_overlap(host, tcb, seg);
    if (tcp_ranges_contains(tcb->out_of_order, seg->seq, end))
        return;
    if (tcp_ranges_add(tcb->out_of_order, seg->seq, end))
        copy_text(sock, seg);
}

/* What the gap's filling makes contiguous. */
static void drain_out_of_order(struct foyer_host *host, struct tcb *tcb)
{
    struct tcp_ranges *held = tcb->out_of_order;

    if (!tcp_has_gaps(tcb))
        return;
    /* RFC 5681 section 4.2: an ACK at once when a gap is filled, in whole or in part. */
    tcb->flags |= TCPF_ACK_NOW;
    while (held->count > 0 && seq_le(held->range[0].start, tcb->rcv_nxt)) {
        tcb->rcv_nxt = seq_max(tcb->rcv_nxt, held->range[0].end);
        tcp_ranges_trim(held, tcb->rcv_nxt);
    }
    tcp_ranges_give_if_empty(host, tcb);
}

/* What the peer sends per segment: for the delayed ACK's "full-sized" and the window's steps. */
static void estimate_segment_size(struct tcb *tcb, uint32_t text_size, uint32_t gso_size)
{
    uint32_t size = gso_size != 0 ? gso_size : text_size;

    if (size >= tcb->rcv_mss)
        tcb->rcv_mss = (uint16_t)min_u32(size, UINT16_MAX);
    else if (size >= TCP_MSS_DEFAULT_V4 && gso_size != 0)
        tcb->rcv_mss = (uint16_t)size;
}

/* RFC 9293 section 3.8.6.3 (SHLD-18, SHLD-19, MUST-40). */
static void schedule_ack(struct foyer_host *host, struct sock *sock, uint32_t text_size,
                         uint32_t gso_size, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint32_t pending = seq_distance(tcb->rcv_nxt, tcb->rcv_acked);

    if ((tcb->flags & TCPF_ACK_NOW) != 0)
        return;
    if (tcb->quick_acks > 0 || pending >= 2u * tcb->rcv_mss ||
        (gso_size != 0 && text_size > gso_size)) {
        tcb->flags |= TCPF_ACK_NOW;
        return;
    }
    tcp_ack_schedule(host, sock, now);
}

static void take_in_order(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    if (seg->size > 0) {
        note_overlap(host, tcb, seg);
        copy_text(sock, seg);
        uint64_t received_before = tcp_bytes_received(tcb);
        tcb->rcv_nxt = seq_add(tcb->rcv_nxt, seg->size);
        drain_out_of_order(host, tcb);
        if (tcp_bytes_received(tcb) < received_before)
            tcb->received_wraps++;
        foyer_ring_publish_head(&sock->rings->rx, tcb->rcv_nxt.value - tcb->rx_offset);
        sock_event(host, sock, FOYER_EVENT_READABLE);
    }
    if ((tcb->flags & TCPF_FIN_AHEAD) != 0 && seq_eq(tcb->out_of_order->fin_seq, tcb->rcv_nxt)) {
        seg->is_fin = true;
        seg->seq = tcb->rcv_nxt;
        seg->size = 0;
    }
}

/* ---- FIN ------------------------------------------------------------------------------------------ */

static void take_fin(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    tcb->rcv_nxt = seq_add(tcb->rcv_nxt, 1);
    tcb->flags |= TCPF_FIN_RECEIVED | TCPF_ACK_NOW;
    tcb->flags &= ~(uint32_t)TCPF_FIN_AHEAD;
    tcb->rcv_adv = seq_max(tcb->rcv_adv, tcb->rcv_nxt);
    if (tcp_has_gaps(tcb))
        tcp_ranges_drop(host, tcb); /* what lies beyond a FIN means nothing */
    tcp_ranges_give_if_empty(host, tcb);
    if (foyer_ring_is_set(&sock->rings->rx))
        atomic_store_explicit(&sock->rings->rx.shared->writer_state, FOYER_RING_FIN,
                              memory_order_release);
    sock_want_output(host, sock);
    if ((sock->flags & SOCK_ORPHAN) == 0)
        sock_event(host, sock, FOYER_EVENT_READABLE | FOYER_EVENT_PEER_FIN);

    switch (sock->state) {
    case FOYER_STATE_ESTABLISHED:
        sock->state = FOYER_STATE_CLOSE_WAIT;
        break;
    case FOYER_STATE_FIN_WAIT_1:
        sock->state = FOYER_STATE_CLOSING; /* were our FIN acknowledged, it were FIN-WAIT-2 */
        break;
    case FOYER_STATE_FIN_WAIT_2:
        tcp_time_wait_enter(host, sock, now);
        break;
    default:
        break;
    }
}

/* CLOSE-WAIT and later: the peer has sent its FIN; what comes now are copies. */
static void after_fin(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                      foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    tcb->flags |= TCPF_ACK_NOW;
    sock_want_output(host, sock);
    /* RFC 9293 3.10.7.4: a FIN again in TIME-WAIT restarts the 2 MSL. */
    if (sock->state == FOYER_STATE_TIME_WAIT && (seg->tcp.flags & WIRE_TCP_FIN) != 0) {
        tcb->slow_deadline_ns = now + TCP_TIME_WAIT_NS;
        tcp_timer_arm(host, sock);
    }
}

/* Text for a handle that was given back (RFC 9293 section 3.6.1, SHLD-3). True: reset. */
static bool refuse_orphan_text(struct foyer_host *host, struct sock *sock,
                               const struct tcp_segment *seg)
{
    if ((sock->flags & SOCK_ORPHAN) == 0 ||
        seq_le(seq_add(seg->tcp.seq, seg->text_size), sock->tcb->rcv_nxt) || seg->text_size == 0)
        return false;
    /* At SEG.ACK, where the peer waits: a RST at SND.NXT, with our FIN or text not there yet, would
     * only be asked about (RFC 5961 section 3.2). */
    tcp_send_rst_for(host, seg);
    tcp_finish(host, sock, 0);
    return true;
}

static bool prepare_ring(struct foyer_host *host, struct sock *sock)
{
    if (!foyer_ring_is_set(&sock->rings->rx) && sock_need_rx(host, sock) != 0) {
        host->stats.in_dropped_memory++;
        return false;
    }
    tcp_rx_map(sock);
    return true;
}

void tcp_text_input(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                    foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if ((tcb->flags & TCPF_FIN_RECEIVED) != 0) {
        after_fin(host, sock, seg, now);
        return;
    }
    if (refuse_orphan_text(host, sock, seg))
        return;
    if (seg->size > 0 && !prepare_ring(host, sock))
        return;
    trim_left(host, tcb, seg);
    if (!trim_right(sock, seg)) {
        tcp_send_rst(host, sock);
        tcp_finish(host, sock, -ECONNRESET);
        return;
    }
    tcp_ecn_receive(host, sock, seg, now);
    if (seg->size == 0 && !seg->is_fin) {
        tcb->flags |= TCPF_ACK_NOW; /* all of it was old, or did not fit: say where we stand */
        sock_want_output(host, sock);
        return;
    }
    if (seg->size > 0)
        estimate_segment_size(tcb, seg->text_size, seg->rx->gso_size);
    if (!seq_eq(seg->seq, tcb->rcv_nxt)) {
        hold_out_of_order(host, sock, seg);
        sock_want_output(host, sock);
        return;
    }
    take_in_order(host, sock, seg);
    if ((tcb->flags & TCPF_URG_IN) != 0)
        tcp_urgent_received(host, sock);
    if (seg->is_fin && seq_eq(seq_add(seg->seq, seg->size), tcb->rcv_nxt)) {
        take_fin(host, sock, now);
        return;
    }
    schedule_ack(host, sock, seg->text_size, seg->rx->gso_size, now);
    if ((tcb->flags & TCPF_ACK_NOW) != 0)
        sock_want_output(host, sock);
}

void tcp_text_taken(struct foyer_host *host, struct sock *sock, uint32_t size,
                    uint32_t segment_size, uint32_t gso_size, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    estimate_segment_size(tcb, segment_size, gso_size);
    tcb->rcv_nxt = seq_add(tcb->rcv_nxt, size);
    if (tcb->rcv_nxt.value - tcb->irs.value - 1 < size)
        tcb->received_wraps++;
    foyer_ring_publish_head(&sock->rings->rx, tcb->rcv_nxt.value - tcb->rx_offset);
    schedule_ack(host, sock, size, gso_size, now);
    if ((tcb->flags & TCPF_ACK_NOW) != 0)
        sock_want_output(host, sock);
}
