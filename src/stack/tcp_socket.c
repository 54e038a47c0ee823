/*
 * TCP's side of the socket calls (RFC 9293 section 3.9.1, events of section 3.10.1 to 3.10.6), a
 * connection's beginning and end, and ICMP errors. socket.c has checked the arguments.
 */
#include <errno.h>

#include "base/bytes.h"
#include "stack/socket.h"
#include "stack/tcp.h"

/* ---- beginning and end ------------------------------------------------------------------------- */

struct tcb *tcp_create(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = &((struct tcp_sock *)sock)->tcb;

    memset(tcb, 0, sizeof(*tcb));
    host->tcp.tcb_count++;
    (void)tcp_unit_pool_grow(host);
    sock->tcb = tcb;
    sock->flags &= ~(uint32_t)SOCK_SYN_DATA;
    if (sock->options->has_statistics)
        tcp_statistics_switch(host, sock, host->now_ns);
    tcb->rto_deadline_ns = FOYER_TIME_NEVER;
    tcb->ack_deadline_ns = FOYER_TIME_NEVER;
    tcb->slow_deadline_ns = FOYER_TIME_NEVER;
    tcb->peer_mss = foyer_addr_is_v4(&sock->remote.addr) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;
    tcp_mss_update(host, sock);
    tcb->rcv_mss = tcb->mss;
    tcb->quick_acks = TCP_QUICK_ACKS;
    tcb->cc_id = sock->congestion;
    tcb->ts_offset = tcp_ts_offset(host, sock);
    tcb->oow_ack_ms = tcp_ms(host->now_ns) - 3600u * 1000u; /* never yet */
    tcb->stalled_ms = tcp_ms(host->now_ns);
    return tcb;
}

void tcp_free(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    sock->tcb = NULL;
    fastopen_leave(host, tcb, false, host->now_ns);
    tcp_board_give(host, tcb);
    tcp_cc_give(host, tcb);
    tcp_ranges_drop(host, tcb);
    tcp_extra_give(host, tcb);
    host->tcp.tcb_count--;
    tcp_units_trim_later(host); /* the reserve is smaller by its part */
}

/* The program sees at its rings what became of the stream. */
static void mark_rings(struct sock *sock, int error)
{
    uint32_t state = error != 0 ? FOYER_RING_RESET : FOYER_RING_FIN;

    if (foyer_ring_is_set(&sock->rings->rx))
        atomic_store_explicit(&sock->rings->rx.shared->writer_state, state, memory_order_release);
    if (foyer_ring_is_set(&sock->rings->tx))
        atomic_store_explicit(&sock->rings->tx.shared->reader_state, state, memory_order_release);
}

static bool has_syn_data(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    return (tcb->flags & TCPF_FASTOPEN) != 0 &&
           (tcp_is_synchronized(sock) || (tcp_is_fast_child(sock) && tcp_bytes_received(tcb) > 0));
}

bool tcp_finish(struct foyer_host *host, struct sock *sock, int error)
{
    bool is_request = (sock->flags & (SOCK_CHILD | SOCK_IN_ACCEPT_QUEUE)) == SOCK_CHILD;
    bool was_told = sock->state == FOYER_STATE_TIME_WAIT;

    if ((sock->flags & SOCK_ORPHAN) != 0 || is_request) {
        tcp_listener_forget(host, sock);
        sock_free(host, sock);
        return true;
    }
    mark_rings(sock, error);
    if (has_syn_data(sock))
        sock->flags |= SOCK_SYN_DATA;
    timer_cancel(&host->timers, &sock->timer);
    list_remove(&sock->output_node);
    ports_disconnect(host, sock);
    tcp_free(host, sock);
    sock->state = FOYER_STATE_CLOSED;
    if (error != 0)
        sock_fail(host, sock, error); /* MUST-12, MUST-47 */
    if (!was_told)
        sock_event(host, sock, FOYER_EVENT_CLOSED | FOYER_EVENT_READABLE | FOYER_EVENT_WRITABLE);
    return false;
}

bool tcp_time_wait_is_reusable(const struct foyer_host *host, const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    return sock->state == FOYER_STATE_TIME_WAIT && tcb != NULL && (tcb->flags & TCPF_TS_OK) != 0 &&
           host->now_ns + TCP_TIME_WAIT_NS >= tcb->slow_deadline_ns + TCP_REUSE_NS;
}

/* RFC 9293 section 3.10.1, active OPEN: the path and the ports are known (MUST-44, MUST-45). */
int tcp_connect(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = tcp_create(host, sock);

    tcb->iss = tcp_isn(host, sock, now);
    if (host->has_isn_floor && seq_le(tcb->iss, host->isn_floor))
        tcb->iss = seq_add(host->isn_floor, UINT16_MAX + 2u); /* RFC 9293 section 3.6.1 */
    host->has_isn_floor = false;
    tcb->snd_una = tcb->iss;
    tcb->snd_nxt = seq_add(tcb->iss, 1);
    tcb->snd_end = tcb->snd_nxt;
    tcb->flags |= TCPF_SYN_PENDING;
    if (sock->options->ecn == FOYER_ECN_ACCURATE)
        (void)tcp_extra_need(host, tcb); /* without it RFC 3168's is asked for */
    if (sock->options->fastopen != 0)
        (void)fastopen_need_table(host); /* without it there is no cookie, and no harm */
    sock->state = FOYER_STATE_SYN_SENT;
    host->stats.tcp_active_opens++;
    tcp_rto_restart(host, sock, now);
    sock_want_output(host, sock);
    return -EINPROGRESS;
}

/* ---- while it lives ------------------------------------------------------------------------------- */

void tcp_queue_fin(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if ((tcb->flags & TCPF_FIN_QUEUED) != 0)
        return;
    tcb->flags |= TCPF_FIN_QUEUED;
    /* RFC 9293 section 3.10.4: the state changes now, the FIN goes after all that was written. */
    if (sock->state == FOYER_STATE_ESTABLISHED)
        sock->state = FOYER_STATE_FIN_WAIT_1;
    else if (sock->state == FOYER_STATE_CLOSE_WAIT)
        sock->state = FOYER_STATE_LAST_ACK;
    if (tcp_is_synchronized(sock))
        tcp_rto_ensure(host, sock, now);
    sock_want_output(host, sock);
}

bool tcp_may_write(const struct sock *sock)
{
    return tcp_is_synchronized(sock) || tcp_is_fast_child(sock);
}

static void reset_hostile(struct foyer_host *host, struct sock *sock)
{
    tcp_send_rst(host, sock);
    tcp_finish(host, sock, -ECONNRESET);
}

void tcp_poke(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL)
        return;
    if (!tcp_send_look(host, sock, now))
        return;
    if (!tcp_has_unsent(tcb) && !tcp_send_watch(host, sock, now))
        return;
    if (!tcp_window_look(host, sock)) {
        reset_hostile(host, sock);
        return;
    }
    if (tcp_may_write(sock) && tcp_has_unsent(tcb)) {
        if (tcb->rto_deadline_ns == FOYER_TIME_NEVER)
            tcb->stalled_ms = tcp_ms(now);
        tcp_rto_ensure(host, sock, now);
        sock_want_output(host, sock);
    }
}

void tcp_written(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    if ((sock->flags & SOCK_EXTERNAL_RINGS) != 0)
        tcp_poke(host, sock, now);
    else
        sock_want_output(host, sock); /* the pull looks at the ring */
}

void tcp_consumed(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    if ((sock->flags & SOCK_EXTERNAL_RINGS) != 0)
        tcp_poke(host, sock, now);
    else if (!tcp_window_look(host, sock))
        reset_hostile(host, sock);
}

void tcp_parked(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL || !tcp_is_synchronized(sock) || !tcp_send_look(host, sock, now) ||
        !tcp_has_unsent(tcb))
        return;
    if (tcb->rto_deadline_ns == FOYER_TIME_NEVER)
        tcb->stalled_ms = tcp_ms(now);
    tcp_rto_ensure(host, sock, now);
}

int tcp_shutdown(struct foyer_host *host, struct sock *sock, unsigned how, foyer_time_ns now)
{
    if (sock->tcb == NULL)
        return -ENOTCONN;
    if ((how & FOYER_SHUTDOWN_WRITE) == 0)
        return 0; /* nothing of it is told to the peer */
    if (sock->state == FOYER_STATE_SYN_SENT) {
        tcp_finish(host, sock, 0); /* RFC 9293 section 3.10.4: delete the TCB */
        return 0;
    }
    if (tcp_send_look(host, sock, now))
        tcp_queue_fin(host, sock, now);
    return 0;
}

void tcp_rings_changed(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL)
        return;
    tcb->flags &= ~(uint32_t)(TCPF_TX_MAPPED | TCPF_RX_MAPPED);
    if (!foyer_ring_is_set(&sock->rings->rx))
        tcp_ranges_drop(host, tcb);
    tcp_tx_map(sock);
    tcp_rx_map(sock);
    if (sock->state > FOYER_STATE_SYN_SENT)
        tcp_poke(host, sock, host->now_ns);
}

bool tcp_acks_quickly(const struct sock *sock)
{
    return sock->tcb == NULL || sock->tcb->quick_acks > 0;
}

void tcp_ack_quickly(struct sock *sock, bool is_quick)
{
    if (sock->tcb != NULL)
        sock->tcb->quick_acks = is_quick ? TCP_QUICK_ACKS : 0;
}

void tcp_option_changed(struct foyer_host *host, struct sock *sock, enum foyer_option option,
                        foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL)
        return;
    switch (option) {
    case FOYER_OPT_NODELAY:
        /* tcp(7): it pushes what waits, even behind a cork, which then holds what comes next. */
        if (sock->nodelay && sock->cork && tcp_has_unsent(tcb))
            tcb->flags |= TCPF_OVERRIDE;
        sock_want_output(host, sock);
        break;
    case FOYER_OPT_CORK:
        sock_want_output(host, sock);
        break;
    case FOYER_OPT_KEEPALIVE:
    case FOYER_OPT_KEEPIDLE_S:
    case FOYER_OPT_KEEPINTVL_S:
        tcb->received_ms = tcp_is_synchronized(sock) ? tcb->received_ms : tcp_ms(now);
        tcp_keepalive_restart(sock, now);
        tcp_timer_arm(host, sock);
        break;
    case FOYER_OPT_USER_TIMEOUT_MS:
        if (tcb->rto_deadline_ns != FOYER_TIME_NEVER)
            tcp_rto_restart(host, sock, now);
        break;
    case FOYER_OPT_MAXSEG:
        tcp_mss_update(host, sock);
        break;
    case FOYER_OPT_CONGESTION:
        if (tcp_is_synchronized(sock) || tcp_is_fast_child(sock))
            tcp_cc_select(host, tcb, sock->congestion);
        else
            tcb->cc_id = sock->congestion; /* tcp_cc_init begins it */
        tcp_pace_update(sock);
        break;
    case FOYER_OPT_QUICKACK:
        if (tcb->quick_acks > 0 && (tcb->flags & TCPF_ACK_DELAYED) != 0) {
            tcb->flags |= TCPF_ACK_NOW; /* what waits goes, too */
            sock_want_output(host, sock);
        }
        break;
    case FOYER_OPT_STATISTICS:
        tcp_statistics_switch(host, sock, now);
        break;
    case FOYER_OPT_PACING:
    case FOYER_OPT_MAX_PACING_RATE:
        tcp_pace_update(sock);
        sock_want_output(host, sock);
        break;
    default:
        break; /* TTL, TOS and the like are read when a packet is filled (SHLD-21) */
    }
}

void tcp_info(const struct foyer_host *host, const struct sock *sock,
              struct foyer_socket_info *ret_info)
{
    const struct tcb *tcb = sock->tcb;

    ret_info->has_syn_data = (sock->flags & SOCK_SYN_DATA) != 0;
    if (tcb == NULL)
        return;
    ret_info->bytes_sent = tcp_bytes_sent(tcb);
    ret_info->bytes_received = tcp_bytes_received(tcb);
    ret_info->retransmissions = tcb->retransmissions;
    ret_info->rtt_us = tcb->srtt_us8 / 8;
    ret_info->rttvar_us = tcb->rttvar_us4 / 4;
    ret_info->rto_us = (uint32_t)(tcp_rto_ns(tcb) / FOYER_NS_PER_US);
    ret_info->cwnd_bytes = tcb->cwnd_bytes;
    ret_info->ssthresh_bytes = tcb->ssthresh_bytes;
    ret_info->mss = tcb->mss;
    ret_info->send_window_bytes = tcb->snd_wnd;
    ret_info->receive_window_bytes = seq_distance(tcb->rcv_adv, tcb->rcv_nxt);
    ret_info->flight_bytes = tcp_flight(tcb);
    ret_info->min_rtt_us = (tcb->flags & TCPF_SYN_ACKED) != 0 ? tcb->min_rtt_us : 0;
    ret_info->congestion = (enum foyer_congestion)tcb->cc_id;
    ret_info->has_syn_data = has_syn_data(sock);
    ret_info->has_timestamps = (tcb->flags & TCPF_TS_OK) != 0;
    ret_info->has_sack = (tcb->flags & TCPF_SACK_OK) != 0;
    ret_info->has_window_scale = (tcb->flags & TCPF_WS_OK) != 0;
    ret_info->has_ecn = (tcb->flags & TCPF_ECN_OK) != 0;
    if ((tcb->flags & TCPF_ACCECN) != 0)
        accecn_info(tcb, ret_info);
    ret_info->send_scale = tcb->snd_scale;
    ret_info->receive_scale = tcb->rcv_scale;
    ret_info->receive_mss = tcb->rcv_mss;
    ret_info->advertised_mss = tcp_mss_for_syn(host, sock, &sock->remote.addr);
    if (seq_lt(tcb->snd_nxt, tcb->snd_end))
        ret_info->unsent_bytes = seq_distance(tcb->snd_end, tcb->snd_nxt);
    ret_info->idle_send_ms = tcp_ms(host->now_ns) - tcb->sent_ms;
    ret_info->idle_recv_ms = tcp_ms(host->now_ns) - tcb->received_ms;
    ret_info->backoff = tcb->backoff;
    ret_info->probes = tcb->probes;
    tcp_statistics_tell(host, sock, ret_info);
    if (tcb->board == NULL)
        return;
    ret_info->retransmitting_bytes = tcp_board_again_bytes(tcb);
    ret_info->sacked_bytes = tcb->board->sacked_bytes;
    ret_info->lost_bytes = tcb->board->lost_bytes;
    ret_info->delivery_rate_bytes_per_s = tcp_rate_bytes_per_s(tcb);
    ret_info->pacing_rate_bytes_per_s = tcb->board->pace.rate_bytes_per_s;
    ret_info->is_app_limited = tcb->board->rate.app_limited_bytes != 0;
    if (tcb->recovery == TCP_RECOVERY)
        ret_info->recovery = FOYER_RECOVERY_FAST;
    else if (tcb->recovery == TCP_LOSS)
        ret_info->recovery = FOYER_RECOVERY_TIMEOUT;
    else if (tcb->recovery == TCP_CWR)
        ret_info->recovery = FOYER_RECOVERY_CWR;
}

/* ---- the handle is given back ------------------------------------------------------------------------ */

/* RFC 9293 section 3.10.5: who hears of an abort. */
static void announce_abort(struct foyer_host *host, struct sock *sock)
{
    switch (sock->state) {
    case FOYER_STATE_SYN_RECEIVED:
    case FOYER_STATE_ESTABLISHED:
    case FOYER_STATE_FIN_WAIT_1:
    case FOYER_STATE_FIN_WAIT_2:
    case FOYER_STATE_CLOSE_WAIT:
        tcp_send_rst(host, sock);
        break;
    default:
        break; /* CLOSING and later: both sides have said FIN */
    }
}

static void end_with_reset(struct foyer_host *host, struct sock *sock)
{
    announce_abort(host, sock);
    mark_rings(sock, -ECONNRESET);
    tcp_listener_forget(host, sock);
    sock_free(host, sock);
}

void tcp_abort(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    (void)now;
    end_with_reset(host, sock);
}

static bool has_unread(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    if (!foyer_ring_is_set(&sock->rings->rx) || (tcb->flags & TCPF_RX_MAPPED) == 0)
        return false;
    return tcp_receive_room(sock) != sock->rings->rx.size; /* hostile indexes count as unread */
}

/* Nobody will read any more; what is written is still delivered. */
static void become_orphan(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    sock->flags |= SOCK_ORPHAN;
    sock->events = 0;
    slot_list_remove(host, &host->event_list, &sock->slot, SLOT_LINK_QUEUE);
    tcp_queue_fin(host, sock, now);
    if (sock->state == FOYER_STATE_FIN_WAIT_2) {
        sock->tcb->slow_deadline_ns = now + TCP_FIN_WAIT_2_NS;
        tcp_timer_arm(host, sock);
    } else if (sock->state == FOYER_STATE_TIME_WAIT) {
        sock_drop_rings(host, sock);
        sock_want_output(host, sock); /* which makes a record of it, see output.c */
    }
}

/* RFC 9293 section 3.10.4, section 3.6.1. */
void tcp_close(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    if (sock->state == FOYER_STATE_SYN_SENT) {
        sock_free(host, sock); /* delete the TCB */
        return;
    }
    if (sock->state == FOYER_STATE_TIME_WAIT) {
        become_orphan(host, sock, now);
        return;
    }
    /* SHLD-3: unread bytes are lost, the peer must know. Linger 0 asks for the same. */
    if (has_unread(sock) || sock->options->linger_ns == 0) {
        end_with_reset(host, sock);
        return;
    }
    if (!tcp_send_look(host, sock, now)) {
        sock_free(host, sock); /* a reset is sent */
        return;
    }
    if ((sock->flags & SOCK_EXTERNAL_RINGS) != 0 && sock_take_rings_back(host, sock) != 0) {
        end_with_reset(host, sock); /* no memory to keep the unsent bytes in */
        return;
    }
    if (sock->tcb == NULL) {
        sock_free(host, sock);
        return;
    }
    become_orphan(host, sock, now);
}

/* ---- ICMP ------------------------------------------------------------------------------------------ */

/* A smaller path: what is out in larger segments is lost, but not by congestion. */
static void reduce_mss(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint16_t mss_before = tcb->mss;

    tcp_mss_update(host, sock);
    /* RFC 7413 section 4.1.3: the SYN was too long with its data; it goes again without. */
    if (sock->state == FOYER_STATE_SYN_SENT && (tcb->flags & TCPF_FASTOPEN) != 0 &&
        (tcb->flags & TCPF_SYN_LOST) == 0) {
        tcb->flags |= TCPF_SYN_PENDING | TCPF_SYN_LOST;
        sock_want_output(host, sock);
        return;
    }
    if (tcb->mss >= mss_before || !tcp_is_synchronized(sock) || tcp_flight(tcb) == 0)
        return;
    tcp_recovery_on_too_big(host, tcb);
    tcp_rto_restart(host, sock, now);
    sock_want_output(host, sock);
}

/* RFC 5927 section 4.1: the quoted number must be in flight, or anybody could have sent it. */
static bool is_of_flight(const struct tcb *tcb, const struct icmp_error *error)
{
    if (error->size < 8)
        return false;
    seq_t seq = SEQ(load_be32(error->transport + 4));
    return seq_ge(seq, tcb->snd_una) && seq_le(seq, tcb->snd_nxt);
}

/* The server's end of a Fast Open is in use before its handshake is complete (RFC 7413 section 4.2.2):
 * once the program has it, it is no attempt any more that an error may end, as on Linux. What it sends
 * ends it in its time. */
static bool is_attempt(const struct sock *sock)
{
    return !tcp_is_synchronized(sock) &&
           !(tcp_is_fast_child(sock) && (sock->flags & SOCK_CHILD) == 0);
}

void tcp_icmp_error(struct foyer_host *host, struct sock *sock, const struct icmp_error *error,
                    foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL || (!error->is_local && !is_of_flight(tcb, error)))
        return;
    if (error->mtu > 0) {
        ip_learn_mtu(host, &sock->remote.addr, error->mtu, now);
        ip_path(host, sock);
        tcp_mtu_on_icmp(sock, ip_path_mtu(host, sock));
        reduce_mss(host, sock, now);
        return;
    }
    /* RFC 5461 section 4, RFC 9293 section 3.9.2.2 (MUST-56): established connections live on;
     * SHLD-26 is not followed for them, since anybody on the path could end them. */
    if (error->is_hard && is_attempt(sock)) {
        host->stats.tcp_attempt_fails++;
        tcp_finish(host, sock, error->error);
        return;
    }
    tcb->soft_error = (int16_t)error->error; /* SHLD-25: told if the connection times out */
}
