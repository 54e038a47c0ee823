/*
 * What all congestion controls share: choice, initial window, slow start, idle restart.
 * RFC 9293 section 3.8.2 (MUST-19) asks for slow start and congestion avoidance; MAY-18 allows
 * algorithms other than RFC 5681's.
 */
#include "stack/tcp.h"

#define CWND_MAX_BYTES (1u << 30) /* no window can be larger: RFC 7323 section 2.3 */

static const struct tcp_cc_ops *const algorithms[] = {
    [FOYER_CONGESTION_CUBIC] = FOYER_WITH_CUBIC ? &tcp_cc_cubic : NULL,
    [FOYER_CONGESTION_NEWRENO] = &tcp_cc_newreno,
    [FOYER_CONGESTION_DCTCP] = FOYER_WITH_DCTCP ? &tcp_cc_dctcp : NULL,
    [FOYER_CONGESTION_BBR] = FOYER_WITH_BBR ? &tcp_cc_bbr : NULL,
};

const struct tcp_cc_ops *tcp_cc(const struct tcb *tcb)
{
    return algorithms[tcb->cc_id];
}

uint32_t tcp_cc_initial_window(uint32_t mss)
{
    uint32_t floor_bytes = 2 * mss > 14600 ? 2 * mss : 14600;

    return 10 * mss < floor_bytes ? 10 * mss : floor_bytes;
}

void tcp_cc_give(struct foyer_host *host, struct tcb *tcb)
{
    if (algorithms[tcb->cc_id]->has_state && tcb->cc.bbr != NULL)
        tcp_unit_give(host, tcb->cc.bbr);
    memset(&tcb->cc, 0, sizeof(tcb->cc));
}

void tcp_cc_select(struct foyer_host *host, struct tcb *tcb, uint8_t id)
{
    tcp_cc_give(host, tcb);
    if (!congestion_is_built(id))
        id = CONGESTION_DEFAULT;
    if (algorithms[id]->has_state) {
        tcb->cc.bbr = tcp_unit_take(host);
        if (tcb->cc.bbr == NULL)
            id = CONGESTION_DEFAULT;
    }
    tcb->cc_id = id;
    algorithms[id]->init(tcb);
}

void tcp_cc_init(struct foyer_host *host, struct tcb *tcb)
{
    /* RFC 6928 section 2: after a lost SYN the initial window is one segment. */
    tcb->cwnd_bytes =
        (tcb->flags & TCPF_SYN_LOST) != 0 ? tcb->mss : tcp_cc_initial_window(tcb->mss);
    /* RFC 5681 section 3.1: as high as the largest window possible. */
    tcb->ssthresh_bytes = UINT32_MAX;
    tcp_cc_select(host, tcb, tcb->cc_id);
}

void tcp_cc_note_flight(struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;
    uint32_t flight = tcp_flight(tcb);

    if (seq_ge(tcb->snd_una, board->used_end) || flight > board->used_bytes) {
        board->used_bytes = flight;
        board->used_end = tcb->snd_nxt;
    }
}

uint32_t tcp_cc_used_bytes(const struct tcb *tcb)
{
    uint32_t flight = tcp_flight(tcb);

    return tcb->board != NULL && tcb->board->used_bytes > flight ? tcb->board->used_bytes : flight;
}

/* RFC 5681 section 3.1 with byte counting: cwnd grows by what was acknowledged. [RFC9438 4.10a] */
uint32_t tcp_cc_slow_start(struct tcb *tcb, uint32_t acked_bytes)
{
    if (tcb->cwnd_bytes >= tcb->ssthresh_bytes)
        return acked_bytes;
    uint32_t limit = tcb->ssthresh_bytes < CWND_MAX_BYTES ? tcb->ssthresh_bytes : CWND_MAX_BYTES;
    uint32_t room = limit > tcb->cwnd_bytes ? limit - tcb->cwnd_bytes : 0;
    uint32_t used = acked_bytes < room ? acked_bytes : room;
    tcb->cwnd_bytes += used;
    return acked_bytes - used;
}

/*
 * RFC 5681 section 4.1 (SHOULD): no more than the restart window after an RTO without sending.
 * cwnd is halved per RTO of silence instead of at once, so that a pause of one RTO costs one
 * round trip, not all of slow start; the restart window is reached after log2 of them.
 */
bool tcp_cc_restart_after_idle(struct tcb *tcb, foyer_time_ns now)
{
    if (tcp_cc(tcb)->on_restart != NULL) {
        tcp_cc(tcb)->on_restart(tcb, now);
        return true;
    }
    uint32_t idle_ms = tcp_ms(now) - tcb->sent_ms;
    if (idle_ms < TCP_RTO_MIN_NS / FOYER_NS_PER_MS)
        return false; /* no RTO is shorter */
    uint32_t rto_ms = (uint32_t)(tcp_rto_base_ns(tcb) / FOYER_NS_PER_MS);
    uint32_t restart = tcp_cc_initial_window(tcb->mss);

    if (idle_ms < rto_ms)
        return false;
    tcp_cc(tcb)->on_idle(tcb, idle_ms);
    if (tcb->cwnd_bytes <= restart)
        return true;
    /* What the path was known to carry stays the aim of slow start (RFC 2861 section 3.2). */
    uint32_t keep = tcb->cwnd_bytes / 4 * 3;
    if (tcb->ssthresh_bytes < keep)
        tcb->ssthresh_bytes = keep;
    for (uint32_t left = idle_ms; left >= rto_ms && tcb->cwnd_bytes > restart; left -= rto_ms)
        tcb->cwnd_bytes /= 2;
    if (tcb->cwnd_bytes < restart)
        tcb->cwnd_bytes = restart;
    return true;
}
