/*
 * What a connection's time went by, and how its path delivers: numbers for people who look, as
 * Linux's TCP_INFO has them. They stand in the tcb's extra, so that connections which nobody asks
 * about hold no memory for them. tcp_ack.c and tcp_out.c call after what may change the kind of time.
 */
#include "stack/tcp.h"

enum kind {
    IDLE = 0,
    BUSY,           /* the path's turn, or cwnd's */
    WINDOW_LIMITED, /* the peer's */
    BUFFER_LIMITED, /* the send ring's: it could carry more, and is full of what is out */
};

static enum kind kind_of(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    uint32_t unsent =
        seq_lt(tcb->snd_nxt, tcb->snd_end) ? seq_distance(tcb->snd_end, tcb->snd_nxt) : 0;

    if (unsent == 0 && tcp_flight(tcb) == 0)
        return IDLE;
    int32_t room = seq_sub(seq_add(tcb->snd_una, tcb->snd_wnd), tcb->snd_nxt);
    uint32_t wanted = unsent < tcb->mss ? unsent : tcb->mss;
    if (room < 0 || (uint32_t)room < wanted)
        return WINDOW_LIMITED;
    if (unsent == 0 && foyer_ring_is_set(&sock->rings->tx) &&
        foyer_ring_free(&sock->rings->tx) == 0)
        return BUFFER_LIMITED;
    return BUSY;
}

static void count_time(struct tcp_statistics *statistics, uint32_t now_us)
{
    uint32_t passed_us = now_us - statistics->since_us;

    statistics->since_us = now_us;
    if (statistics->kind != IDLE)
        statistics->busy_us += passed_us;
    if (statistics->kind == WINDOW_LIMITED)
        statistics->window_limited_us += passed_us;
    else if (statistics->kind == BUFFER_LIMITED)
        statistics->buffer_limited_us += passed_us;
}

void tcp_statistics_look(const struct sock *sock, foyer_time_ns now)
{
    struct tcp_extra *extra = sock->tcb->extra;

    if (!extra->has_statistics)
        return;
    count_time(&extra->statistics, tcp_us(now));
    extra->statistics.kind = (uint8_t)kind_of(sock);
}

void tcp_statistics_switch(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (!sock->options->has_statistics) {
        if (tcb->extra != NULL)
            tcb->extra->has_statistics = false;
        return;
    }
    if (!tcp_extra_need(host, tcb) || tcb->extra->has_statistics)
        return;
    tcb->extra->has_statistics = true;
    tcb->extra->statistics =
        (struct tcp_statistics){.since_us = tcp_us(now), .reorder_segments = TCP_DUP_THRESH};
}

void tcp_statistics_on_ack(struct tcb *tcb, const struct tcp_delivery *delivery, bool has_ece)
{
    struct tcp_statistics *statistics = &tcb->extra->statistics;
    uint32_t segments = (delivery->delivered_bytes + tcb->mss - 1) / tcb->mss;

    statistics->delivered_segments += segments;
    if (has_ece)
        statistics->delivered_ce_segments += segments;
    if (!delivery->is_reordered)
        return;
    uint32_t distance = seq_distance(delivery->fack_before, delivery->reordered_start);
    uint32_t overtaken = (distance + tcb->mss - 1) / tcb->mss;
    statistics->reorder_events++;
    if (overtaken > statistics->reorder_segments)
        statistics->reorder_segments = overtaken;
}

void tcp_statistics_tell(const struct foyer_host *host, const struct sock *sock,
                         struct foyer_socket_info *ret_info)
{
    const struct tcp_extra *extra = sock->tcb->extra;

    if (extra == NULL || !extra->has_statistics)
        return;
    struct tcp_statistics now = extra->statistics;
    count_time(&now, tcp_us(host->now_ns));
    ret_info->has_statistics = true;
    ret_info->statistics = (struct foyer_socket_statistics){
        .busy_us = now.busy_us,
        .window_limited_us = now.window_limited_us,
        .buffer_limited_us = now.buffer_limited_us,
        .delivered_segments = now.delivered_segments,
        .delivered_ce_segments = now.delivered_ce_segments,
        .reorder_events = now.reorder_events,
        .reorder_segments = now.reorder_segments,
    };
}
