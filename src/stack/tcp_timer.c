/*
 * Time. A connection has one timer (sock->timer), armed at the minimum of these deadlines:
 *
 *   rto_deadline_ns   retransmission (RFC 6298), or with TCPF_PERSIST: something waits to be sent
 *                     and nothing is in flight (closed window, SWS hold, cork, unresolved path)
 *   board->loss_deadline_ns   RACK's reordering window, or a tail loss probe (tcp_rack.c)
 *   board->pace.deadline_ns   when data may go on (tcp_pace.c)
 *   ack_deadline_ns   delayed ACK
 *   slow_deadline_ns  keep-alive; FIN-WAIT-2 of an orphan; TIME-WAIT
 *
 * Moving a deadline later does not touch the timer: it fires early, finds nothing due, and is
 * armed again. So an ACK costs no timer operation.
 */
#include <errno.h>

#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/socket.h"
#include "stack/tcp.h"

static foyer_time_ns min_ns(foyer_time_ns a, foyer_time_ns b)
{
    return a < b ? a : b;
}

void tcp_timer_arm(struct foyer_host *host, struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    foyer_time_ns deadline =
        min_ns(min_ns(tcb->rto_deadline_ns, tcb->ack_deadline_ns), tcb->slow_deadline_ns);

    if (tcb->board != NULL)
        deadline =
            min_ns(deadline, min_ns(tcb->board->loss_deadline_ns, tcb->board->pace.deadline_ns));
    if (timer_is_armed(&sock->timer) && sock->timer.deadline_ns <= deadline)
        return;
    timer_set(&host->timers, &sock->timer, deadline);
}

/* ---- retransmission and persist ------------------------------------------------------------------- */

/* RFC 5482, as TCP_USER_TIMEOUT of Linux: the deadline is not overslept (MUST-21). */
static foyer_time_ns bound_by_user_timeout(const struct sock *sock, foyer_time_ns now,
                                           foyer_time_ns delay_ns)
{
    if (sock->options->user_timeout_ms == 0)
        return delay_ns;
    uint32_t waited_ms = tcp_ms(now) - sock->tcb->stalled_ms;
    uint32_t left_ms =
        sock->options->user_timeout_ms > waited_ms ? sock->options->user_timeout_ms - waited_ms : 1;
    return min_ns(delay_ns, left_ms * FOYER_NS_PER_MS);
}

void tcp_rto_restart(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    bool is_in_flight = tcp_flight(tcb) > 0;

    tcb->flags &= ~(uint32_t)TCPF_PERSIST;
    tcb->rto_deadline_ns = FOYER_TIME_NEVER;
    if (is_in_flight || tcp_has_unsent(tcb)) {
        foyer_time_ns delay_ns = tcp_rto_ns(tcb);
        if (!is_in_flight) {
            /* RFC 9293 section 3.8.6.1: the first probe after an RTO (SHLD-29), then backed off
             * (SHLD-30). What only waits for company or a full segment waits less. */
            tcb->flags |= TCPF_PERSIST;
            if (tcb->snd_wnd > 0 && tcb->backoff == 0)
                delay_ns = min_ns(delay_ns, sock->cork ? TCP_CORK_NS : TCP_OVERRIDE_NS);
        }
        tcb->rto_deadline_ns = now + bound_by_user_timeout(sock, now, delay_ns);
    }
    tcp_timer_arm(host, sock);
}

void tcp_rto_ensure(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    bool is_persist = (tcb->flags & TCPF_PERSIST) != 0;

    if (tcb->rto_deadline_ns == FOYER_TIME_NEVER || (is_persist && tcp_flight(tcb) > 0))
        tcp_rto_restart(host, sock, now);
}

/* Gives up. The error is ICMP's where it has told of one (RFC 9293 section 3.9.2.2 MUST-54). */
static void time_out(struct foyer_host *host, struct sock *sock)
{
    int error = sock->tcb->soft_error != 0 ? sock->tcb->soft_error : -ETIMEDOUT;

    if (tcp_is_synchronized(sock))
        tcp_send_rst(host, sock);
    else
        host->stats.tcp_attempt_fails++;
    tcp_finish(host, sock, error);
}

static bool is_user_timeout(const struct sock *sock, foyer_time_ns now)
{
    return sock->options->user_timeout_ms != 0 &&
           tcp_ms(now) - sock->tcb->stalled_ms >= sock->options->user_timeout_ms;
}

/* RFC 9293 section 3.8.3 R2 (MUST-20b, MUST-22, MUST-23: eight SYNs take 127 s, and the last is
 * waited for until 247 s are over). Requests of others end sooner: they cost us memory. */
static bool is_exhausted(const struct sock *sock, foyer_time_ns now)
{
    unsigned limit = TCP_DATA_RETRIES;

    if (is_user_timeout(sock, now))
        return true;
    if (sock->state == FOYER_STATE_SYN_SENT)
        limit = sock->options->syn_retries != 0 ? sock->options->syn_retries : TCP_SYN_RETRIES;
    else if (sock->state == FOYER_STATE_SYN_RECEIVED)
        limit = TCP_SYN_ACK_RETRIES;
    else if ((sock->flags & SOCK_ORPHAN) != 0)
        limit = TCP_ORPHAN_RETRIES;
    return sock->options->user_timeout_ms == 0 && sock->tcb->retries >= limit;
}

/* SHLD-17: a peer that answers but has closed its window is not dead. */
static bool is_window_closed_by_live_peer(const struct sock *sock, foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;

    return tcb->snd_wnd == 0 && tcp_is_synchronized(sock) && (sock->flags & SOCK_ORPHAN) == 0 &&
           sock->options->user_timeout_ms == 0 &&
           tcp_ms(now) - tcb->received_ms < TCP_RTO_MAX_NS / FOYER_NS_PER_MS;
}

static void persist_fires(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb->retries < UINT8_MAX)
        tcb->retries++;
    bool was_overridden = (tcb->flags & TCPF_OVERRIDE) != 0;
    sock->flags &= ~(uint32_t)SOCK_UNPUSHED;
    if (tcb->snd_wnd > 0)
        tcb->flags |= TCPF_OVERRIDE; /* SWS avoidance's override timeout, or the cork's */
    else
        tcb->flags |= TCPF_PROBE_NOW;
    /* Overridden and still not sent: no path to the peer. */
    if ((tcb->snd_wnd == 0 || was_overridden) && tcb->backoff < UINT8_MAX)
        tcb->backoff++;
    tcp_rto_restart(host, sock, now);
}

/* MUST-20a (SHLD-10): IP shall doubt the next hop and look for another way. [RFC1122 3.3.1.4b] */
static void advise_ip(struct foyer_host *host, struct sock *sock)
{
    struct neighbour *next_hop =
        sock->path_generation == host->path_generation ? sock->neighbour : NULL;

    if (sock->tcb->retries == TCP_R1_RETRIES && next_hop != NULL &&
        next_hop->state == NEIGHBOUR_REACHABLE)
        neighbour_make_stale(host, next_hop); /* its next packet starts the probing */
    sock->path_generation = 0;
}

/* False: the connection is over (and the socket perhaps freed); so for the others below. */
static bool rto_fires(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    bool is_long_past = now - tcb->rto_deadline_ns > TCP_SLEPT_NS;

    tcb->rto_deadline_ns = FOYER_TIME_NEVER;
    if (is_exhausted(sock, now) && !is_window_closed_by_live_peer(sock, now)) {
        time_out(host, sock);
        return false;
    }
    if ((tcb->flags & TCPF_PERSIST) != 0) {
        persist_fires(host, sock, now);
    } else {
        if (tcb->retries < UINT8_MAX)
            tcb->retries++;
        /* The machine slept: the board's times have come round, and nothing is young. */
        if (is_long_past && tcb->board != NULL)
            tcp_board_lose_all(tcb);
        if (tcp_is_synchronized(sock)) {
            tcp_mtu_on_rto(host, sock);
            tcp_recovery_on_rto(host, sock, now);
        } else {
            tcb->flags |= TCPF_SYN_PENDING | TCPF_SYN_LOST;
        }
        if (tcb->backoff < UINT8_MAX)
            tcb->backoff++; /* RFC 6298 (5.5) */
        tcp_rto_restart(host, sock, now);
    }
    if (tcb->retries >= TCP_R1_RETRIES)
        advise_ip(host, sock);
    sock_want_output(host, sock);
    return true;
}

/* ---- delayed ACK ------------------------------------------------------------------------------------ */

void tcp_ack_schedule(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if ((tcb->flags & TCPF_ACK_DELAYED) != 0)
        return;
    tcb->flags |= TCPF_ACK_DELAYED;
    tcb->ack_deadline_ns = now + TCP_DELAYED_ACK_NS;
    tcp_timer_arm(host, sock);
}

/* ---- keep-alive, FIN-WAIT-2, TIME-WAIT ------------------------------------------------------------------ */

/* RFC 9293 section 3.8.4: off unless asked for (MUST-24, MUST-25, MUST-27, MUST-28). */
static bool wants_keepalive(const struct sock *sock)
{
    return sock->keepalive && (sock->flags & SOCK_ORPHAN) == 0 &&
           (sock->state == FOYER_STATE_ESTABLISHED || sock->state == FOYER_STATE_CLOSE_WAIT ||
            sock->state == FOYER_STATE_FIN_WAIT_2);
}

void tcp_keepalive_restart(struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (sock->state == FOYER_STATE_TIME_WAIT ||
        (sock->state == FOYER_STATE_FIN_WAIT_2 && (sock->flags & SOCK_ORPHAN) != 0))
        return;
    tcb->slow_deadline_ns = wants_keepalive(sock)
                                ? now + sock->options->keep_idle_s * FOYER_NS_PER_S
                                : FOYER_TIME_NEVER;
}

static bool keepalive_fires(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint32_t idle_ms = tcp_ms(now) - tcb->received_ms;
    uint32_t wanted_ms = sock->options->keep_idle_s * 1000u;

    tcb->slow_deadline_ns = FOYER_TIME_NEVER;
    if (!wants_keepalive(sock))
        return true;
    /* MUST-26: only where nothing was received and nothing of ours is under way. */
    if (tcp_flight(tcb) > 0 || tcp_has_unsent(tcb)) {
        tcb->slow_deadline_ns = now + sock->options->keep_idle_s * FOYER_NS_PER_S;
        return true;
    }
    if (idle_ms < wanted_ms) {
        tcb->slow_deadline_ns = now + (wanted_ms - idle_ms) * FOYER_NS_PER_MS;
        return true;
    }
    /* MUST-29: one lost answer means nothing. With a user timeout that decides (Linux). */
    bool is_dead = sock->options->user_timeout_ms != 0
                       ? idle_ms >= sock->options->user_timeout_ms && tcb->probes > 0
                       : tcb->probes >= sock->options->keep_count;
    if (is_dead) {
        time_out(host, sock);
        return false;
    }
    tcb->probes++;
    tcb->flags |= TCPF_PROBE_NOW;
    tcb->slow_deadline_ns = now + sock->options->keep_interval_s * FOYER_NS_PER_S;
    sock_want_output(host, sock);
    return true;
}

/* RFC 9293 section 3.6.1 (MUST-13): 2 MSL. Little is kept meanwhile. */
void tcp_time_wait_enter(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    sock->state = FOYER_STATE_TIME_WAIT;
    tcb->flags &= ~(uint32_t)(TCPF_PERSIST | TCPF_PROBE_NOW | TCPF_ACK_DELAYED | TCPF_FORCE_RXT);
    tcb->rto_deadline_ns = FOYER_TIME_NEVER;
    tcb->ack_deadline_ns = FOYER_TIME_NEVER;
    tcb->slow_deadline_ns = now + TCP_TIME_WAIT_NS;
    tcp_recovery_reset(host, tcb);
    tcp_ranges_drop(host, tcb);
    if ((tcb->flags & TCPF_TS_OK) != 0)
        ports_note_tuple(host, FOYER_TCP, &sock->local, &sock->remote,
                         false); /* connect may have it again, see is_reusable */
    if ((sock->flags & SOCK_ORPHAN) != 0)
        sock_drop_rings(host, sock);
    else
        sock_event(host, sock, FOYER_EVENT_CLOSED);
    tcp_timer_arm(host, sock);
}

static bool slow_fires(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    if (sock->state == FOYER_STATE_TIME_WAIT ||
        (sock->state == FOYER_STATE_FIN_WAIT_2 && (sock->flags & SOCK_ORPHAN) != 0)) {
        tcp_finish(host, sock, 0);
        return false;
    }
    return keepalive_fires(host, sock, now);
}

/* ---- the timer -------------------------------------------------------------------------------------- */

void tcp_timer(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (tcb == NULL)
        return;
    if (tcb->ack_deadline_ns <= now) {
        tcb->ack_deadline_ns = FOYER_TIME_NEVER;
        tcb->flags |= TCPF_ACK_NOW;
        sock_want_output(host, sock);
    }
    if ((tcb->flags & TCPF_LONE) != 0 && tcb->rto_deadline_ns <= now)
        (void)tcp_board_need(host, tcb);
    if (tcb->board != NULL && tcb->board->pace.deadline_ns <= now)
        tcp_pace_fires(host, sock);
    if (tcb->board != NULL && tcb->board->loss_deadline_ns <= now)
        tcp_loss_timer_fires(host, sock, now);
    if (tcb->rto_deadline_ns <= now && !rto_fires(host, sock, now))
        return;
    if (tcb->slow_deadline_ns <= now && !slow_fires(host, sock, now))
        return;
    tcp_timer_arm(host, sock);
}
