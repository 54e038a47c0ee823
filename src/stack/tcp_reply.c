/* Segments outside of the pull: resets, and ACKs whose number must be limited. */
#include "stack/tcp.h"

static void send_rst(struct foyer_host *host, const struct foyer_addr *src,
                     const struct foyer_addr *dst, const struct wire_tcp *tcp,
                     const struct wire_tcp_options *options, uint8_t ttl, uint8_t tos)
{
    uint8_t bytes[WIRE_TCP_SIZE_MAX];
    size_t size = wire_tcp_emit(bytes, tcp, options);

    host->stats.tcp_out_segs++;
    host->stats.tcp_out_rsts++;
    ip_send_control(host, FOYER_TCP, src, dst, ttl, tos, bytes, size);
}

/* RFC 9293 section 3.5.2: the reset takes its numbers from the segment that caused it. */
void tcp_send_rst_for(struct foyer_host *host, const struct tcp_segment *seg)
{
    struct wire_tcp tcp = {
        .src_port = seg->tcp.dst_port,
        .dst_port = seg->tcp.src_port,
        .flags = WIRE_TCP_RST,
    };

    if ((seg->tcp.flags & WIRE_TCP_RST) != 0)
        return;
    if ((seg->tcp.flags & WIRE_TCP_ACK) != 0) {
        tcp.seq = seg->tcp.ack;
    } else {
        uint32_t length = seg->text_size + ((seg->tcp.flags & WIRE_TCP_SYN) != 0 ? 1u : 0u) +
                          ((seg->tcp.flags & WIRE_TCP_FIN) != 0 ? 1u : 0u);
        tcp.ack = seq_add(seg->tcp.seq, length);
        tcp.flags |= WIRE_TCP_ACK;
    }
    send_rst(host, &seg->rx->dst, &seg->rx->src, &tcp, NULL, 64, 0);
}

void tcp_send_rst(struct foyer_host *host, struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    struct wire_tcp tcp = {
        .src_port = sock->local.port,
        .dst_port = sock->remote.port,
        .seq = tcb->snd_nxt,
        .ack = tcb->rcv_nxt,
        .flags = WIRE_TCP_RST | WIRE_TCP_ACK,
        .window = (uint16_t)(seq_distance(tcb->rcv_adv, tcb->rcv_nxt) >> tcb->rcv_scale),
    };

    /* RFC 7323 section 3.2: timestamps SHOULD be in a RST, too. */
    struct wire_tcp_options options;
    tcp_options_for_segment(tcb, &options, host->now_ns);
    send_rst(host, &sock->local.addr, &sock->remote.addr, &tcp, &options, sock->ttl, sock->tos);
}

void tcp_send_ack(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct wire_tcp_options options;
    uint8_t bytes[WIRE_TCP_SIZE_MAX];

    tcp_options_for_segment(tcb, &options, now);
    tcp_sack_fill(tcb, &options);
    bool is_bare = options.sack_count == 0;
    struct wire_tcp tcp = {
        .src_port = sock->local.port,
        .dst_port = sock->remote.port,
        .seq = tcb->snd_nxt,
        .ack = tcb->rcv_nxt,
        .flags = WIRE_TCP_ACK | tcp_ecn_flags(tcb, is_bare),
        .window = (uint16_t)(tcp_window_select(sock) >> tcb->rcv_scale),
    };
    size_t size = wire_tcp_emit(bytes, &tcp, &options);
    host->stats.tcp_out_segs++;
    ip_send_control(host, FOYER_TCP, &sock->local.addr, &sock->remote.addr, sock->ttl, sock->tos,
                    bytes, size);
    tcb->rcv_acked = tcb->rcv_nxt;
}

/* RFC 5961 section 7: a token bucket per host. The ACK itself is an ordinary one. */
bool tcp_take_challenge(struct foyer_host *host, foyer_time_ns now)
{
    struct tcp_host *tcp = &host->tcp;

    if (now - tcp->challenge_refilled_ns >= FOYER_NS_PER_S) {
        tcp->challenge_tokens = TCP_CHALLENGES_PER_S;
        tcp->challenge_refilled_ns = now;
    }
    if (tcp->challenge_tokens == 0)
        return false;
    tcp->challenge_tokens--;
    host->stats.tcp_challenge_acks++;
    return true;
}

void tcp_send_challenge(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    if (!tcp_take_challenge(host, now))
        return;
    sock->tcb->flags |= TCPF_ACK_NOW;
    sock_want_output(host, sock);
}

/* Two peers that think each other's ACKs unacceptable must not keep answering (ACK loop). */
void tcp_send_oow_ack(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint32_t now_ms = tcp_ms(now);

    if (now_ms - tcb->oow_ack_ms < TCP_OOW_ACK_NS / FOYER_NS_PER_MS)
        return;
    tcb->oow_ack_ms = now_ms;
    tcb->flags |= TCPF_ACK_NOW;
    sock_want_output(host, sock);
}
