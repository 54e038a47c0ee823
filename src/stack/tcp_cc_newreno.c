/*
 * Congestion avoidance of RFC 5681 section 3.1 with the byte counting of RFC 3465; its loss
 * recovery, RFC 6582, is tcp_recovery.c's.
 */
#include "stack/tcp.h"

static void newreno_init(struct tcb *tcb)
{
    tcb->cc.newreno.acked_bytes = 0;
}

/* One mss per cwnd of acknowledged bytes: RFC 5681 section 3.1, RFC 3465 section 2.1. */
void tcp_newreno_on_ack(struct tcb *tcb, uint32_t acked_bytes, foyer_time_ns now)
{
    struct tcp_newreno *reno = &tcb->cc.newreno;

    (void)now;
    acked_bytes = tcp_cc_slow_start(tcb, acked_bytes);
    if (acked_bytes == 0)
        return;
    reno->acked_bytes += acked_bytes;
    if (reno->acked_bytes >= tcb->cwnd_bytes) {
        reno->acked_bytes -= tcb->cwnd_bytes;
        tcb->cwnd_bytes += tcb->mss;
    }
    if (reno->acked_bytes > tcb->cwnd_bytes)
        reno->acked_bytes = tcb->cwnd_bytes;
}

/* RFC 5681 equation (4). */
void tcp_newreno_on_loss(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    uint32_t half = flight_bytes / 2;
    uint32_t floor_bytes = 2u * tcb->mss;

    (void)now;
    tcb->ssthresh_bytes = half > floor_bytes ? half : floor_bytes;
    tcb->cc.newreno.acked_bytes = 0;
}

void tcp_newreno_on_undo(struct tcb *tcb)
{
    (void)tcb; /* cwnd and ssthresh are all there is; the caller has put them back */
}

void tcp_newreno_on_idle(struct tcb *tcb, uint32_t idle_ms)
{
    (void)tcb;
    (void)idle_ms;
}

const struct tcp_cc_ops tcp_cc_newreno = {
    .init = newreno_init,
    .on_ack = tcp_newreno_on_ack,
    .on_loss = tcp_newreno_on_loss,
    .on_rto = tcp_newreno_on_loss,
    .on_undo = tcp_newreno_on_undo,
    .on_idle = tcp_newreno_on_idle,
};
