/*
 * DCTCP, RFC 8257: the share of bytes that were marked, not the fact that some were, says by how
 * much cwnd goes down. For networks whose queues mark early and whose hosts all do this; a sender
 * beside it that halves at each mark starves. The receiver's half is tcp_ecn.c's. Growth and the
 * reaction to losses are RFC 5681's (sections 3.4 and 3.5 of RFC 8257), so tcp_cc_newreno.c's.
 */
#include "stack/tcp.h"

#define ALPHA_ONE (1u << 20)
#define GAIN_SHIFT 4u /* section 4.2: g = 1/16 */

static void dctcp_init(struct tcb *tcb)
{
    tcb->cc.dctcp = (struct tcp_dctcp){
        .alpha = ALPHA_ONE, /* section 4.2: SHOULD; the first mark halves, as everywhere */
        .window_end = tcb->snd_nxt,
    };
}

/* Section 3.3, steps 1 to 8: once per window of data alpha moves towards the share of it. */
static void dctcp_on_ecn(struct tcb *tcb, uint32_t acked_bytes, uint32_t ce_bytes)
{
    struct tcp_dctcp *dctcp = &tcb->cc.dctcp;

    dctcp->all_bytes += acked_bytes;
    dctcp->ce_bytes += ce_bytes;
    if (seq_lt(tcb->snd_una, dctcp->window_end) || dctcp->all_bytes == 0)
        return;
    if (dctcp->ce_bytes > dctcp->all_bytes) /* some were SACKed, and acknowledged before */
        dctcp->ce_bytes = dctcp->all_bytes;
    uint32_t share = (uint32_t)((uint64_t)dctcp->ce_bytes * ALPHA_ONE / dctcp->all_bytes);
    dctcp->alpha = dctcp->alpha - (dctcp->alpha >> GAIN_SHIFT) + (share >> GAIN_SHIFT);
    dctcp->all_bytes = 0;
    dctcp->ce_bytes = 0;
    dctcp->window_end = tcb->snd_nxt;
}

/* Step 9: cwnd * (1 - alpha / 2); the caller sees to it that it is once per window. */
static void dctcp_on_ece(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now)
{
    uint32_t floor_bytes = 2u * tcb->mss;
    uint64_t less = (uint64_t)tcb->cwnd_bytes * tcb->cc.dctcp.alpha / ALPHA_ONE / 2;

    (void)flight_bytes;
    (void)now;
    uint32_t reduced = tcb->cwnd_bytes - (uint32_t)less;
    tcb->ssthresh_bytes = reduced > floor_bytes ? reduced : floor_bytes;
    tcb->cc.dctcp.reno.acked_bytes = 0;
}

const struct tcp_cc_ops tcp_cc_dctcp = {
    .init = dctcp_init,
    .on_ack = tcp_newreno_on_ack,
    .on_ecn = dctcp_on_ecn,
    .on_ece = dctcp_on_ece,
    .on_loss = tcp_newreno_on_loss,
    .on_rto = tcp_newreno_on_loss,
    .on_undo = tcp_newreno_on_undo,
    .on_idle = tcp_newreno_on_idle,
};
