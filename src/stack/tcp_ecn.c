/*
 * Explicit congestion notification, RFC 3168 section 6.1.
 *
 *   SYN with ECE and CWR asks, SYN-ACK with ECE alone agrees. New data then goes out as ECT(0);
 *   what is sent again, probes and bare ACKs do not (sections 6.1.4 to 6.1.6). A CE mark is told
 *   by ECE in every ACK until CWR says that it was heard. The sender's reduction is
 *   tcp_recovery.c's.
 *
 * RFC 8311 section 4.3 lets experiments set ECT on SYN, SYN-ACK (RFC 5562), ACKs and what is sent
 * again. A mark on them is accepted as far as it says something (a SYN's does not); sent they are
 * as RFC 3168 has it.
 */
#include "stack/tcp.h"

#define ECN_MASK 0x03u
#define ECN_ECT_0 0x02u
#define ECN_CE 0x03u

bool tcp_ecn_is_asked(const struct tcp_segment *syn)
{
    return (syn->tcp.flags & (WIRE_TCP_ECE | WIRE_TCP_CWR)) == (WIRE_TCP_ECE | WIRE_TCP_CWR);
}

/* DCTCP is nothing without marks. */
static bool wants_ecn(const struct sock *sock)
{
    return sock->options->ecn == FOYER_ECN_REQUEST || sock->options->ecn == FOYER_ECN_ACCURATE ||
           (sock->tcb->cc_id == FOYER_CONGESTION_DCTCP && sock->options->ecn != FOYER_ECN_OFF);
}

uint16_t tcp_ecn_syn_flags(const struct sock *sock, bool is_reply)
{
    struct tcb *tcb = sock->tcb;
    uint16_t flags;

    if (is_reply && (tcb->flags & TCPF_ACCECN) != 0)
        return accecn_reply_flags(tcb);
    if (!is_reply && accecn_ask(sock, &flags))
        return flags;
    if (is_reply)
        return (tcb->flags & TCPF_ECN_OK) != 0 ? WIRE_TCP_ECE : 0;
    /* Section 6.1.1.1: a SYN that was lost may have been dropped for its flags. */
    if (!wants_ecn(sock) || (tcb->flags & TCPF_SYN_LOST) != 0)
        return 0;
    return WIRE_TCP_ECE | WIRE_TCP_CWR;
}

/* Then accecn_answered has seen to it that no SYN said otherwise. */
static bool was_accurate_asked(const struct tcb *tcb)
{
    return tcb->extra != NULL && tcb->extra->accecn.is_asked;
}

/* Section 6.1.1. Who asks with the SYN agrees with ECE alone: both flags in a reply are a broken
 * echo of ours. After a SYN that did not ask nothing is agreed on (MUST NOT set ECT).
 * [RFC9293 SHLD-8] */
void tcp_ecn_negotiate(struct sock *sock, const struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    uint16_t flags = seg->tcp.flags & (WIRE_TCP_ECE | WIRE_TCP_CWR);
    bool is_agreed;

    tcb->flags &= ~(uint32_t)(TCPF_ECN_OK | TCPF_ECE | TCPF_CWR);
    if (accecn_answered(sock, seg))
        return;
    if ((seg->tcp.flags & WIRE_TCP_ACK) != 0)
        is_agreed = wants_ecn(sock) && flags == WIRE_TCP_ECE &&
                    ((tcb->flags & TCPF_SYN_LOST) == 0 || was_accurate_asked(tcb));
    else
        is_agreed = sock->options->ecn != FOYER_ECN_OFF && tcp_ecn_is_asked(seg);
    if (is_agreed)
        tcb->flags |= TCPF_ECN_OK;
}

/*
 * RFC 8257 section 3.2: the echo of each ACK is of what it acknowledges, so that the sender can
 * count marked bytes. Where marks begin or end, what came before is acknowledged first.
 */
static void receive_for_dctcp(struct foyer_host *host, struct sock *sock, bool is_marked,
                              foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (is_marked == ((tcb->flags & TCPF_ECE) != 0))
        return;
    if (!seq_eq(tcb->rcv_acked, tcb->rcv_nxt))
        tcp_send_ack(host, sock, now);
    tcb->flags ^= TCPF_ECE;
    tcb->flags |= TCPF_ACK_NOW;
}

/* Section 6.1.3: of bytes that are new. CWR ends the echo; a CE in it begins a new one. */
void tcp_ecn_receive(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                     foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    /* Section 6.1.5: what lies outside of the window, such as old bytes, has nothing to say. */
    if ((tcb->flags & TCPF_ECN_OK) == 0 || seg->size == 0)
        return;
    if (tcb->cc_id == FOYER_CONGESTION_DCTCP) {
        receive_for_dctcp(host, sock, (seg->rx->tos & ECN_MASK) == ECN_CE, now);
        return;
    }
    if ((seg->tcp.flags & WIRE_TCP_CWR) != 0) {
        tcb->flags &= ~(uint32_t)TCPF_ECE;
        tcb->flags |= TCPF_ACK_NOW; /* its window may be a single segment now */
    }
    if ((seg->rx->tos & ECN_MASK) == ECN_CE)
        tcb->flags |= TCPF_ECE | TCPF_ACK_NOW;
}

/* An ACK whose bytes are delivered. */
bool tcp_ecn_ack(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                 const struct tcp_delivery *delivery, foyer_time_ns now)
{
    bool has_ece = (seg->tcp.flags & WIRE_TCP_ECE) != 0;

    if ((tcb->flags & TCPF_ACCECN) != 0)
        return accecn_ack(host, tcb, seg, delivery, now);
    if (tcp_cc(tcb)->on_ecn != NULL)
        tcp_cc(tcb)->on_ecn(tcb, delivery->acked_bytes, has_ece ? delivery->acked_bytes : 0);
    if (has_ece)
        tcp_recovery_on_ece(host, tcb, delivery, now);
    return has_ece;
}

uint16_t tcp_ecn_flags(struct tcb *tcb, bool is_bare)
{
    if ((tcb->flags & TCPF_ACCECN) != 0)
        return accecn_flags(tcb, is_bare);
    return (tcb->flags & TCPF_ECE) != 0 ? WIRE_TCP_ECE : 0;
}

/* Section 6.1.2: cwnd was reduced, for whatever reason. */
void tcp_ecn_reduced(struct tcb *tcb)
{
    if ((tcb->flags & TCPF_ECN_OK) != 0)
        tcb->flags |= TCPF_CWR;
}

/* Section 6.1.2: the first new data after a reduction says CWR. */
uint16_t tcp_ecn_flags_of_new_data(struct tcb *tcb)
{
    if ((tcb->flags & TCPF_CWR) == 0)
        return 0;
    tcb->flags &= ~(uint32_t)TCPF_CWR;
    return WIRE_TCP_CWR;
}

uint8_t tcp_ecn_tos(const struct tcb *tcb, uint8_t tos, bool is_new_data)
{
    uint8_t dscp = tos & (uint8_t)~ECN_MASK;

    /* RFC 9768 section 3.1.5: none where the handshake or the path was at odds with it.
     * [RFC9768 3.1.5e] */
    bool may_mark = (tcb->flags & TCPF_ECN_OK) != 0 ||
                    ((tcb->flags & TCPF_ACCECN) != 0 && !tcb->extra->accecn.is_ect_off);

    return is_new_data && may_mark ? dscp | ECN_ECT_0 : dscp;
}
