/*
 * Segments that arrive. Called by ip.c; the order is that of RFC 9293 section 3.10.7:
 *
 *   tcp_input                       header, checksum, addresses, demultiplexing
 *     request_input                 SYN-RECEIVED of a passive open, tcp_request.c
 *     time_wait_input               TIME-WAIT that has no socket any more, tcp_time_wait.c
 *     tcp_listen_input              LISTEN (3.10.7.2), tcp_listen.c
 *     tcp_send_rst_for              CLOSED (3.10.7.1), tcp_reply.c
 *     tcp_segment_arrives
 *       syn_sent_input              SYN-SENT (3.10.7.3)
 *       take_over_time_wait         a SYN that may reuse a TIME-WAIT (RFC 6191)
 *       other_states_input          otherwise (3.10.7.4):
 *         check_sequence              first: PAWS (RFC 7323 5.3), the window
 *         handle_rst                  second, with RFC 5961 section 3
 *         handle_syn                  fourth, with RFC 5961 section 4
 *         tcp_ack_input               fifth, tcp_ack.c
 *         tcp_urgent_input            sixth, tcp_urgent.c
 *         tcp_text_input              seventh and eighth, tcp_receive.c
 *
 * ACKs are not sent from here: flags are set, and the pull after all input sends one segment for
 * all of them (RFC 9293 section 3.8.6.3 MUST-58, section 3.10.7.4 MUST-59).
 */
#include <errno.h>

#include "stack/ip.h"
#include "stack/tcp.h"
#include "stack/tcp_request.h"
#include "stack/tcp_time_wait.h"

static bool is_broadcast(const struct foyer_addr *addr)
{
    static const uint8_t ones[4] = {255, 255, 255, 255};

    return foyer_addr_is_v4(addr) && memcmp(addr->bytes + 12, ones, sizeof(ones)) == 0;
}

/* RFC 9293 section 3.9.2.3 (MUST-57, MUST-63): discarded in silence. */
static bool has_valid_addresses(const struct rx *rx)
{
    return !foyer_addr_is_multicast(&rx->dst) && !is_broadcast(&rx->dst) &&
           !foyer_addr_is_multicast(&rx->src) && !is_broadcast(&rx->src) &&
           !foyer_addr_is_any(&rx->src);
}

static bool parse_segment(struct foyer_host *host, const struct rx *rx, struct tcp_segment *seg)
{
    memset(seg, 0, sizeof(*seg));
    int header_size = wire_tcp_parse(rx->transport, rx->transport_contiguous, &seg->tcp);
    if (header_size < 0 || (size_t)header_size > rx->size) {
        host->stats.in_dropped_malformed++;
        return false;
    }
    /* RFC 9293 section 3.1 (MUST-3). */
    if (!rx->checksum_valid && !rx_checksum_ok(rx)) {
        host->stats.in_dropped_checksum++;
        return false;
    }
    /* Port 0 is reserved (RFC 6335 section 6): nobody can be meant. */
    if (seg->tcp.src_port == 0 || seg->tcp.dst_port == 0 ||
        wire_tcp_options_parse(rx->transport + WIRE_TCP_SIZE, (size_t)header_size - WIRE_TCP_SIZE,
                               &seg->options) < 0) {
        host->stats.in_dropped_malformed++;
        return false;
    }
    seg->rx = rx;
    seg->seq = seg->tcp.seq;
    seg->offset = (uint32_t)header_size;
    seg->size = (uint32_t)(rx->size - (size_t)header_size);
    seg->text_size = seg->size;
    seg->is_fin = (seg->tcp.flags & WIRE_TCP_FIN) != 0;
    return true;
}

/* SEG.LEN: SYN and FIN occupy sequence space (RFC 9293 section 3.4). */
static uint32_t segment_length(const struct tcp_segment *seg)
{
    return seg->text_size + ((seg->tcp.flags & WIRE_TCP_SYN) != 0 ? 1u : 0u) +
           ((seg->tcp.flags & WIRE_TCP_FIN) != 0 ? 1u : 0u);
}

static bool begin_segment(struct foyer_host *host, const struct rx *rx, struct tcp_segment *seg)
{
    host->stats.tcp_in_segs++;
    if (parse_segment(host, rx, seg))
        return true;
    host->stats.tcp_in_errs++;
    return false;
}

void tcp_input_for(struct foyer_host *host, struct sock *sock, const struct rx *rx,
                   foyer_time_ns now)
{
    struct tcp_segment seg;

    if (begin_segment(host, rx, &seg))
        tcp_segment_arrives(host, sock, &seg, now);
}

void tcp_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now)
{
    struct tcp_segment seg;

    if (!begin_segment(host, rx, &seg))
        return;
    if (!has_valid_addresses(rx)) {
        host->stats.in_dropped_address++;
        return;
    }
    struct foyer_endpoint local = {rx->dst, seg.tcp.dst_port};
    struct foyer_endpoint remote = {rx->src, seg.tcp.src_port};

    struct sock *sock = ports_find_connected(host, FOYER_TCP, &local, &remote);
    if (sock != NULL && sock->tcb != NULL) {
        tcp_segment_arrives(host, sock, &seg, now);
        return;
    }
    struct request *request = request_find(host, &local, &remote);
    if (request != NULL) {
        request_input(host, request, &seg, now);
        return;
    }
    struct time_wait *wait = time_wait_find(host, &local, &remote);
    if (wait != NULL && !time_wait_input(host, wait, &seg, now))
        return;
    sock = ports_find_bound(host, FOYER_TCP, &local, &remote);
    if (sock != NULL && sock->state == FOYER_STATE_LISTEN)
        tcp_listen_input(host, sock, &seg, now);
    else if (host->interceptor_count == 0 && !ip_is_own(host, &rx->dst))
        host->stats.in_dropped_address++; /* it came for an intercepted connection's sake */
    else
        tcp_send_rst_for(host, &seg); /* RFC 9293 section 3.10.7.1 */
}

/* ---- SYN-SENT (RFC 9293 section 3.10.7.3) ----------------------------------------------------- */

static void syn_sent_syn(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                         bool is_acked, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    tcb->irs = seg->tcp.seq;
    tcb->rcv_nxt = seq_add(tcb->irs, 1);
    tcb->rcv_adv = seq_add(tcb->rcv_nxt, tcp_syn_window(sock)); /* as our SYN said */
    tcb->rcv_acked = tcb->rcv_nxt;
    tcp_options_negotiate(host, sock, seg, now);
    /* RFC 7323 section 2.2: the window of a SYN is not scaled. */
    tcb->snd_wnd = seg->tcp.window;
    tcb->snd_wnd_max = tcb->snd_wnd;
    tcb->snd_wl1 = seg->tcp.seq;
    seg->seq = tcb->rcv_nxt;

    if (is_acked) {
        tcp_established(host, sock, seg, now);
        sock_event(host, sock, FOYER_EVENT_CONNECTED | FOYER_EVENT_WRITABLE);
        tcb->flags |= TCPF_ACK_NOW;
        sock_want_output(host, sock);
        if (seg->size > 0 || seg->is_fin)
            tcp_text_input(host, sock, seg, now);
        return;
    }
    /* Both SYNs crossed: simultaneous open (MUST-10). Its text is sent again by the peer. */
    sock->state = FOYER_STATE_SYN_RECEIVED;
    tcb->flags |= TCPF_SYN_PENDING;
    tcb->retries = 0;
    tcp_rto_restart(host, sock, now);
    sock_want_output(host, sock);
}

/*
 * A SYN-ACK whose timestamp echo is of no SYN of ours answers another one, or was guessed: like one
 * whose ACK is (RFC 9293 section 3.10.7.3, first), as on Linux. 0 is an echo that nobody filled in.
 */
static bool echoes_another_syn(const struct sock *sock, const struct tcp_segment *seg,
                               foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;
    uint32_t echo = seg->options.timestamp_echo;
    uint32_t first = tcb->stalled_ms + tcb->ts_offset;

    return (seg->tcp.flags & WIRE_TCP_SYN) != 0 && seg->options.has_timestamps && echo != 0 &&
           !sock->options->without_timestamps && echo - first > tcp_ts_now(tcb, now) - first;
}

static void syn_sent_input(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                           foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;
    bool is_ack = (seg->tcp.flags & WIRE_TCP_ACK) != 0;
    bool is_rst = (seg->tcp.flags & WIRE_TCP_RST) != 0;

    /* First: an ACK of anything but our SYN. */
    if (is_ack &&
        (seq_le(seg->tcp.ack, tcb->iss) || seq_gt(seg->tcp.ack, fastopen_highest_ack(tcb)) ||
         echoes_another_syn(sock, seg, now))) {
        if (!is_rst)
            tcp_send_rst_for(host, seg);
        return;
    }
    /* Second. RFC 5961 section 3: only a RST that acknowledges our SYN counts. */
    if (is_rst) {
        if (is_ack) {
            host->stats.tcp_attempt_fails++;
            tcp_finish(host, sock, -ECONNREFUSED);
        }
        return;
    }
    if ((seg->tcp.flags & WIRE_TCP_SYN) != 0)
        syn_sent_syn(host, sock, seg, is_ack, now);
}

/* ---- the other states (RFC 9293 section 3.10.7.4) ---------------------------------------------- */

/* RFC 5961 section 4.2: a SYN is answered wherever it stands. */
static void challenge_syn(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                          foyer_time_ns now)
{
    tcp_send_challenge(host, sock, now);
    if ((sock->tcb->flags & TCPF_ACCECN) != 0 && seq_eq(seg->tcp.seq, sock->tcb->irs))
        accecn_syn_again(sock->tcb, seg);
}

/* An unacceptable segment is answered with an ACK, unless it is a RST. */
static void answer_unacceptable(struct foyer_host *host, struct sock *sock,
                                const struct tcp_segment *seg, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    seq_t end = seq_add(seg->seq, seg->text_size);

    if ((seg->tcp.flags & WIRE_TCP_RST) != 0)
        return;
    if ((seg->tcp.flags & WIRE_TCP_SYN) != 0) {
        challenge_syn(host, sock, seg, now);
        return;
    }
    if (seg->text_size == 0 && !seg->is_fin) {
        tcp_send_oow_ack(host, sock, now);
        return;
    }
    if (seg->text_size > 0 && seq_le(end, tcb->rcv_nxt)) {
        /* RFC 2883 section 4: tell which bytes came twice. */
        host->stats.tcp_dup_segs++;
        tcp_ranges_note_dsack(host, tcb, seg->seq, end);
    }
    tcb->flags |= TCPF_ACK_NOW;
    sock_want_output(host, sock);
}

/*
 * First check: the segment must touch the window. More is accepted than the table asks for, as
 * in Linux: an ACK that was overtaken by data since our last ACK, and one at the right edge
 * (whose bytes before it are lost or late); what they acknowledge is wanted (MUST-66: ACK and
 * RST are processed even where the window is zero). Text is trimmed to the window later.
 */
static bool is_acceptable(const struct tcb *tcb, const struct tcp_segment *seg)
{
    seq_t end = seq_add(seg->tcp.seq, segment_length(seg));

    return seq_ge(end, tcb->rcv_acked) && seq_le(seg->tcp.seq, tcb->rcv_adv);
}

static bool check_sequence(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                           foyer_time_ns now)
{
    if (tcp_paws_rejects(host, sock->tcb, seg, now)) {
        host->stats.tcp_paws_drops++;
        if (seg->options.has_timestamps)
            answer_unacceptable(host, sock, seg, now);
        return false;
    }
    if (!is_acceptable(sock->tcb, seg)) {
        answer_unacceptable(host, sock, seg, now);
        return false;
    }
    return true;
}

/* The connection ends by the peer's RST: what the program learns of it. */
static void reset_by_peer(struct foyer_host *host, struct sock *sock)
{
    switch (sock->state) {
    case FOYER_STATE_SYN_RECEIVED:
        host->stats.tcp_attempt_fails++;
        fastopen_leave(host, sock->tcb, true, host->now_ns);
        tcp_finish(host, sock, tcp_is_fast_child(sock) ? -ECONNRESET : -ECONNREFUSED);
        break;
    case FOYER_STATE_CLOSE_WAIT:
        host->stats.tcp_estab_resets++;
        tcp_finish(host, sock, -EPIPE);
        break;
    case FOYER_STATE_CLOSING:
    case FOYER_STATE_LAST_ACK:
        tcp_finish(host, sock, 0);
        break;
    default:
        if (sock->state == FOYER_STATE_ESTABLISHED)
            host->stats.tcp_estab_resets++;
        tcp_finish(host, sock, -ECONNRESET);
        break;
    }
}

/*
 * Second check, RFC 5961 section 3.2: only a RST at exactly RCV.NXT resets; one elsewhere in the
 * window is answered with a challenge ACK; others are dropped. A receiver of reordered data also
 * takes a RST just beyond what it SACKed last: the peer stood there (Linux does the same).
 * [RFC9293 SHLD-2]
 */
static void handle_rst(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                       foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;
    const struct tcp_ranges *held = tcb->out_of_order;

    /* RFC 1337 section 3, F1: an old segment that TIME-WAIT answers makes a peer that has forgotten
     * the connection send one, and what TIME-WAIT is there for would be lost. */
    if (sock->state == FOYER_STATE_TIME_WAIT)
        return;
    if (seq_eq(seg->tcp.seq, tcb->rcv_nxt) ||
        (held != NULL && held->count > 0 && seq_eq(seg->tcp.seq, held->range[held->count - 1].end)))
        reset_by_peer(host, sock);
    else if (seq_gt(seg->tcp.seq, tcb->rcv_nxt) && seq_lt(seg->tcp.seq, tcb->rcv_adv))
        tcp_send_challenge(host, sock, now);
}

/* Fourth check. */
static void handle_syn(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                       foyer_time_ns now)
{
    /* A passive open returns to LISTEN: the request goes, the listener is there (MUST-11). */
    if (sock->state == FOYER_STATE_SYN_RECEIVED && (sock->tcb->flags & TCPF_PASSIVE) != 0) {
        host->stats.tcp_attempt_fails++;
        tcp_finish(host, sock, 0);
        return;
    }
    challenge_syn(host, sock, seg, now);
}

/*
 * SYNs that SYN-RECEIVED expects. True: done with the segment. The peer's SYN again: our SYN-ACK
 * was lost. Its SYN-ACK after a simultaneous open: the SYN is known, the ACK is what counts.
 */
static bool syn_received_syn(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;

    if ((seg->tcp.flags & (WIRE_TCP_SYN | WIRE_TCP_RST)) != WIRE_TCP_SYN ||
        !seq_eq(seg->tcp.seq, tcb->irs))
        return false;
    if ((seg->tcp.flags & WIRE_TCP_ACK) == 0) {
        tcb->flags |= TCPF_SYN_PENDING;
        if ((tcb->flags & TCPF_ACCECN) != 0)
            accecn_syn_again(tcb, seg);
        sock_want_output(host, sock);
        return true;
    }
    if (seq_lt(seg->tcp.ack, tcb->snd_nxt) || seq_gt(seg->tcp.ack, fastopen_highest_ack(tcb)))
        return false;
    seg->tcp.flags &= (uint16_t)~WIRE_TCP_SYN;
    seg->was_syn = true;
    seg->tcp.seq = seq_add(seg->tcp.seq, 1);
    seg->seq = seg->tcp.seq;
    tcb->flags |= TCPF_ACK_NOW;
    sock_want_output(host, sock);
    return false;
}

static void other_states_input(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                               foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (sock->state == FOYER_STATE_SYN_RECEIVED && syn_received_syn(host, sock, seg))
        return;
    if (!check_sequence(host, sock, seg, now))
        return;
    if ((seg->tcp.flags & WIRE_TCP_RST) != 0) {
        handle_rst(host, sock, seg, now);
        return;
    }
    if ((seg->tcp.flags & WIRE_TCP_SYN) != 0) {
        handle_syn(host, sock, seg, now);
        return;
    }
    if ((seg->tcp.flags & WIRE_TCP_ACK) == 0)
        return;
    tcb->received_ms = tcp_ms(now);
    tcb->probes = 0;
    if (!tcp_ack_input(host, sock, seg, now))
        return;
    if ((tcb->flags & TCPF_ACCECN) != 0)
        accecn_receive(host, sock, seg);
    if ((seg->tcp.flags & WIRE_TCP_URG) != 0)
        tcp_urgent_input(host, sock, seg); /* sixth; MUST-66: whatever the window is */
    if (seg->text_size > 0 || seg->is_fin)
        tcp_text_input(host, sock, seg, now);
}

/* [RFC9293 SHLD-4] */
bool tcp_syn_is_newer(const struct tcp_segment *seg, bool has_timestamps, uint32_t ts_recent,
                      seq_t rcv_nxt)
{
    const uint16_t mask = WIRE_TCP_SYN | WIRE_TCP_ACK | WIRE_TCP_RST | WIRE_TCP_FIN;

    if ((seg->tcp.flags & mask) != WIRE_TCP_SYN)
        return false;
    if (!has_timestamps || !seg->options.has_timestamps)
        return seq_gt(seg->tcp.seq, rcv_nxt);
    int32_t age = (int32_t)(seg->options.timestamp_value - ts_recent);
    return age > 0 || (age == 0 && seq_gt(seg->tcp.seq, rcv_nxt));
}

/* A newer SYN takes the place of a TIME-WAIT. Only where somebody listens. */
static bool take_over_time_wait(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                                foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;

    if (!tcp_syn_is_newer(seg, (tcb->flags & TCPF_TS_OK) != 0, tcb->ts_recent, tcb->rcv_nxt))
        return false;
    struct sock *listener = ports_find_bound(host, FOYER_TCP, &sock->local, &sock->remote);
    if (listener == NULL || listener->state != FOYER_STATE_LISTEN)
        return false;
    seg->has_isn_floor = true;
    seg->isn_floor = tcb->snd_nxt;
    tcp_finish(host, sock, 0);
    tcp_listen_input(host, listener, seg, now);
    return true;
}

void tcp_segment_arrives(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                         foyer_time_ns now)
{
    if (sock->state == FOYER_STATE_SYN_SENT) {
        syn_sent_input(host, sock, seg, now);
        return;
    }
    if (sock->state == FOYER_STATE_TIME_WAIT && take_over_time_wait(host, sock, seg, now))
        return;
    other_states_input(host, sock, seg, now);
}
