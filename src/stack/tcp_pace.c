/*
 * Pacing: data leaves in pieces of about a millisecond's worth, spread over the round trip,
 * instead of in bursts that a queue on the way must take in (RFC 9438 section 5.5 and RFC 9406
 * section 4.2 recommend it, BBR needs it). The pull asks tcp_pace_holds before it sends data; the
 * connection's timer has the time of the next piece among its deadlines. ACKs, probes and SYNs
 * are not held up.
 *
 *     rate   the congestion control's own (BBR), or cwnd per round trip, times 2 in slow start
 *            and 1.2 after it (as Linux: the window still is what bounds the flight)
 *
 * docs/decisions/0005-pacing.md tells when a window-based control is paced.
 */
#include "stack/tcp.h"

/* Section 5.6.3 of draft-ietf-ccwg-bbr: a piece is what the rate gives in so long. */
#define QUANTUM_NS FOYER_NS_PER_MS
/* A timer that came late may make up for as much. */
#define CREDIT_NS FOYER_NS_PER_MS
/* Round trips below it are those of one machine or one switch, where a timer per piece costs more
 * than a burst does. */
#define SHORT_RTT_US 1000u
/* Rates above it are not worth a timer per piece. */
#define RATE_MAX_BYTES_PER_S (5000000000ull)

static uint64_t window_rate(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    uint32_t rtt_us = tcb->srtt_us8 / 8;

    if (sock->options->pacing == FOYER_PACING_OFF || rtt_us == 0)
        return 0;
    /* As many segments as the initial window may leave at once anywhere (RFC 6928). */
    if (sock->options->pacing == FOYER_PACING_AUTO &&
        (rtt_us < SHORT_RTT_US || tcb->cwnd_bytes <= tcp_cc_initial_window(tcb->mss)))
        return 0;
    uint64_t rate = (uint64_t)tcb->cwnd_bytes * 1000000u / rtt_us;
    /* Half of ssthresh, so that the last round of slow start is spread already. */
    return tcb->cwnd_bytes < tcb->ssthresh_bytes / 2 ? rate * 2 : rate * 6 / 5;
}

bool tcp_pace_is_off(const struct sock *sock)
{
    return sock->options->max_pacing_rate_bytes_per_s == 0 && window_rate(sock) == 0;
}

void tcp_pace_update(struct sock *sock)
{
    struct tcb *tcb = sock->tcb;
    const struct tcp_cc_ops *cc = tcp_cc(tcb);
    uint64_t most = sock->options->max_pacing_rate_bytes_per_s;

    if (tcb->board == NULL)
        return;
    uint64_t rate = cc->pacing_rate != NULL ? cc->pacing_rate(tcb) : window_rate(sock);
    if (rate > RATE_MAX_BYTES_PER_S)
        rate = 0;
    if (most != 0 && (rate == 0 || rate > most))
        rate = most;
    tcb->board->pace.rate_bytes_per_s = rate;
}

/* A piece: whole segments. */
static uint32_t quantum(const struct tcb *tcb)
{
    uint64_t bytes = tcb->board->pace.rate_bytes_per_s * QUANTUM_NS / FOYER_NS_PER_S;
    uint64_t segments = bytes / tcb->mss;

    /* One ACK for two segments: pairs, unless the rate is so low that one is a long time. */
    if (segments < 2)
        segments = bytes * 8 < tcb->mss ? 1 : 2;
    return segments * tcb->mss < UINT32_MAX ? (uint32_t)segments * tcb->mss : UINT32_MAX;
}

static void begin_piece(struct tcb *tcb, foyer_time_ns now)
{
    struct tcp_pace *pace = &tcb->board->pace;

    pace->from_ns = pace->next_ns + CREDIT_NS < now ? now : pace->next_ns;
    pace->sent_bytes = 0;
    pace->piece_ns = now;
    pace->piece_bytes = quantum(tcb);
}

/* At 1.2 windows per round trip the window is used up to five sixths before the next ACK: that is
 * a window in use, which may grow. */
static bool uses_window(const struct tcb *tcb)
{
    return tcp_has_unsent(tcb) && tcp_pipe(tcb) >= tcb->cwnd_bytes / 4 * 3;
}

bool tcp_pace_holds(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_board *board = tcb->board;

    if (board == NULL)
        return false;
    board->pace.deadline_ns = FOYER_TIME_NEVER;
    if (board->pace.rate_bytes_per_s == 0)
        return false;
    if (board->pace.next_ns <= now) {
        begin_piece(tcb, now);
        return false;
    }
    /* Where the link takes no super-segments, a piece is several pulls. */
    if (board->pace.piece_ns == now && board->pace.piece_bytes > 0)
        return false;
    board->pace.deadline_ns = board->pace.next_ns;
    if (tcp_cc(tcb)->pacing_rate == NULL && uses_window(tcb))
        tcb->flags |= TCPF_CWND_LIMITED;
    tcp_timer_arm(host, sock);
    return true;
}

void tcp_pace_on_sent(struct tcb *tcb, uint32_t size)
{
    struct tcp_pace *pace = &tcb->board->pace;

    if (pace->rate_bytes_per_s == 0)
        return;
    pace->piece_bytes -= size < pace->piece_bytes ? size : pace->piece_bytes;
    /* The sum, not the sum of quotients: the same whether it goes in one pull or in many. */
    pace->sent_bytes += size;
    pace->next_ns = pace->from_ns + pace->sent_bytes * FOYER_NS_PER_S / pace->rate_bytes_per_s;
}

uint32_t tcp_pace_room(const struct tcb *tcb)
{
    if (tcb->board == NULL || tcb->board->pace.rate_bytes_per_s == 0)
        return UINT32_MAX;
    return tcb->board->pace.piece_bytes > tcb->mss ? tcb->board->pace.piece_bytes : tcb->mss;
}

void tcp_pace_fires(struct foyer_host *host, struct sock *sock)
{
    sock->tcb->board->pace.deadline_ns = FOYER_TIME_NEVER;
    sock_want_output(host, sock);
}
