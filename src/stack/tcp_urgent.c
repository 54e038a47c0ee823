/*
 * Urgent data (RFC 9293 section 3.8.5, RFC 6093), with the sockets' view of it as Linux has it.
 *
 * The urgent pointer names a place in the stream: the first byte that is not urgent any more
 * (MUST-62). Whatever lies between the reader and that place is urgent, however much it is
 * (MUST-31). Sockets call the last of these bytes "out of band" and the place before it the mark:
 *
 *     read | waits in the ring | U | what follows       rcv_up: the sequence number of U
 *          ^ tail              ^ the mark
 *
 * Nothing leaves the stream: U lies in the ring between its neighbours. recv ends at the mark and,
 * called there, goes on behind U, which only recv_urgent gives; with FOYER_OPT_OOBINLINE it is a
 * byte like the others. A second pointer takes the place of the first.
 *
 * What is kept stands in the tcb's extra, and TCPF_URG_OUT and _IN say that it means something:
 * until SND.UNA, or the reader, has come there. Segments of such connections go the long way in.
 */
#include <errno.h>

#include "stack/tcp.h"

#define POINTER_MAX 65535u

bool tcp_extra_need(struct foyer_host *host, struct tcb *tcb)
{
    if (tcb->extra == NULL)
        tcb->extra = host_alloc(host, sizeof(*tcb->extra));
    return tcb->extra != NULL;
}

void tcp_extra_give(struct foyer_host *host, struct tcb *tcb)
{
    host_free(host, tcb->extra, sizeof(*tcb->extra));
    tcb->extra = NULL;
}

/* ---- out ------------------------------------------------------------------------------------------ */

bool tcp_urgent_is_ahead(const struct tcb *tcb, seq_t seq)
{
    return (tcb->flags & TCPF_URG_OUT) != 0 && seq_gt(tcb->extra->snd_up, seq);
}

uint16_t tcp_urgent_pointer(const struct tcb *tcb, seq_t seq)
{
    /* One that is further than the field reaches is told as far as it reaches; segments on the
     * way there tell more. */
    uint32_t distance = seq_distance(tcb->extra->snd_up, seq);
    return (uint16_t)(distance < POINTER_MAX ? distance : POINTER_MAX);
}

void tcp_urgent_acked(struct tcb *tcb)
{
    if ((tcb->flags & TCPF_URG_OUT) != 0 && seq_ge(tcb->snd_una, tcb->extra->snd_up))
        tcb->flags &= ~(uint32_t)TCPF_URG_OUT;
}

/* All that is written before up is urgent. */
static void mark_out(struct foyer_host *host, struct sock *sock, seq_t up)
{
    struct tcb *tcb = sock->tcb;

    if (seq_le(up, tcb->snd_una) || seq_gt(up, tcb->snd_end))
        return; /* nothing is there that could be urgent */
    tcb->extra->snd_up = up;
    /* The news does not wait for the window (MUST-66): where no text can go, an ACK tells it. */
    tcb->flags |= TCPF_URG_OUT | TCPF_ACK_NOW;
    tcp_rto_ensure(host, sock, host->now_ns);
    sock_want_output(host, sock);
}

void tcp_urgent_look(struct foyer_host *host, struct sock *sock, uint64_t word)
{
    struct tcb *tcb = sock->tcb;
    uint32_t number = (uint32_t)(word >> 32);
    seq_t up = {(uint32_t)word + 1 + tcb->tx_offset};

    /* Marked, and not written yet: the next look has it. */
    if (!tcp_is_synchronized(sock) || seq_gt(up, tcb->snd_end) ||
        (tcb->extra != NULL && tcb->extra->urgent_seen == number) || !tcp_extra_need(host, tcb))
        return;
    tcb->extra->urgent_seen = number;
    mark_out(host, sock, up);
}

int64_t foyer_socket_send_urgent(struct foyer_host *host, foyer_socket socket, const void *bytes,
                                 size_t size, foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (sock->protocol != FOYER_TCP)
        return -EOPNOTSUPP;
    if (sock->tcb != NULL && !tcp_extra_need(host, sock->tcb))
        return -ENOMEM;
    int64_t sent = foyer_socket_send(host, socket, bytes, size, now);
    if (sent > 0 && sock->tcb != NULL && tcp_is_synchronized(sock) &&
        tcp_extra_need(host, sock->tcb) && tcp_send_look(host, sock, host->now_ns))
        mark_out(host, sock, sock->tcb->snd_end);
    return sent;
}

/* ---- in ------------------------------------------------------------------------------------------- */

/* Bytes from the reader to the mark: below 0, it is past it. */
static int32_t mark_distance(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    return (int32_t)(tcb->extra->rcv_up.value - tcb->rx_offset - foyer_ring_tail(&sock->rings->rx));
}

static bool has_mark(const struct sock *sock)
{
    return sock->tcb != NULL && (sock->tcb->flags & TCPF_URG_IN) != 0;
}

/* The reader's position is known once there is a ring. */
static bool is_at_mark(const struct sock *sock)
{
    return has_mark(sock) && (sock->tcb->flags & TCPF_RX_MAPPED) != 0 && mark_distance(sock) == 0;
}

/*
 * Linux as well: a byte at the mark that nobody asked for is not left in the stream when another
 * takes its place. In rings of the caller's, the reader is the caller.
 */
static void leave_old_mark(struct sock *sock)
{
    if (!is_at_mark(sock) || sock->oobinline || (sock->flags & SOCK_EXTERNAL_RINGS) != 0 ||
        seq_le(tcp_data_nxt(sock->tcb), sock->tcb->extra->rcv_up))
        return;
    foyer_ring_publish_tail(&sock->rings->rx, foyer_ring_tail(&sock->rings->rx) + 1);
}

/* Before the head that covers the byte: a reader that is at it already sees what it is. */
void tcp_urgent_show(struct sock *sock)
{
    if (has_mark(sock) && (sock->flags & SOCK_EXTERNAL_RINGS) != 0 &&
        (sock->tcb->flags & TCPF_RX_MAPPED) != 0)
        foyer_ring_put_urgent(&sock->rings->rx,
                              sock->tcb->extra->rcv_up.value - sock->tcb->rx_offset);
}

/* MUST-30 */
void tcp_urgent_input(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    bool is_open = sock->state == FOYER_STATE_ESTABLISHED ||
                   sock->state == FOYER_STATE_FIN_WAIT_1 || sock->state == FOYER_STATE_FIN_WAIT_2;

    /* RFC 9293 section 3.10.7.4, sixth. A pointer of 0 has no byte before it. */
    if (!is_open || seg->tcp.urgent == 0 || (tcb->flags & TCPF_FIN_RECEIVED) != 0 ||
        (sock->flags & SOCK_ORPHAN) != 0)
        return;
    seq_t last = seq_add(seg->tcp.seq, seg->tcp.urgent - 1u);
    /* What was received in order already was told, or was not urgent when it came. */
    if (seq_lt(last, tcb->rcv_nxt))
        return;
    if ((tcb->flags & TCPF_URG_IN) != 0 && seq_le(last, tcb->extra->rcv_up))
        return; /* RCV.UP <- max(RCV.UP, SEG.UP) */
    if (!tcp_extra_need(host, tcb))
        return;
    leave_old_mark(sock);
    tcb->extra->rcv_up = last;
    tcb->extra->is_urgent_read = tcb->extra->is_urgent_here = false;
    tcb->flags |= TCPF_URG_IN;
    tcp_urgent_show(sock);
    sock_event(host, sock, FOYER_EVENT_URGENT); /* MUST-32 */
}

void tcp_urgent_received(struct foyer_host *host, struct sock *sock)
{
    struct tcp_extra *extra = sock->tcb->extra;

    if (!extra->is_urgent_here && seq_gt(tcp_data_nxt(sock->tcb), extra->rcv_up)) {
        extra->is_urgent_here = true;
        sock_event(host, sock, FOYER_EVENT_URGENT);
    }
    /* Long past: numbers must not come round to it. */
    if ((sock->tcb->flags & TCPF_RX_MAPPED) != 0 && mark_distance(sock) < 0)
        sock->tcb->flags &= ~(uint32_t)TCPF_URG_IN;
}

uint32_t tcp_urgent_limit(struct sock *sock, uint32_t used)
{
    if (!has_mark(sock) || (sock->tcb->flags & TCPF_RX_MAPPED) == 0)
        return used;
    int32_t distance = mark_distance(sock);
    if (distance < 0) {
        sock->tcb->flags &= ~(uint32_t)TCPF_URG_IN;
        return used;
    }
    if (distance > 0)
        return used < (uint32_t)distance ? used : (uint32_t)distance;
    if (used == 0)
        return 0;
    sock->tcb->flags &= ~(uint32_t)TCPF_URG_IN;
    if (sock->oobinline)
        return used;
    foyer_ring_publish_tail(&sock->rings->rx, foyer_ring_tail(&sock->rings->rx) + 1);
    return used - 1;
}

int foyer_socket_recv_urgent(struct foyer_host *host, foyer_socket socket, bool is_peek,
                             uint8_t *ret_byte)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (sock->protocol != FOYER_TCP)
        return -EOPNOTSUPP;
    if (sock->oobinline || !has_mark(sock) || sock->tcb->extra->is_urgent_read)
        return -EINVAL;
    struct tcb *tcb = sock->tcb;
    if (seq_le(tcp_data_nxt(tcb), tcb->extra->rcv_up))
        return (tcb->flags & TCPF_FIN_RECEIVED) != 0 ? 0 : -EAGAIN;
    if (mark_distance(sock) < 0) {
        tcb->flags &= ~(uint32_t)TCPF_URG_IN;
        return -EINVAL;
    }
    foyer_ring_get(&sock->rings->rx, tcb->extra->rcv_up.value - tcb->rx_offset, ret_byte, 1);
    tcb->extra->is_urgent_read = !is_peek;
    return 1;
}

int foyer_socket_urgent_mark(struct foyer_host *host, foyer_socket socket, uint32_t *ret_bytes)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (sock->protocol != FOYER_TCP)
        return -EOPNOTSUPP;
    if (!has_mark(sock))
        return -ENODATA;
    if ((sock->tcb->flags & TCPF_RX_MAPPED) == 0) {
        *ret_bytes = seq_distance(sock->tcb->extra->rcv_up, sock->tcb->rcv_nxt);
        return 0;
    }
    int32_t distance = mark_distance(sock);
    if (distance < 0) {
        sock->tcb->flags &= ~(uint32_t)TCPF_URG_IN;
        return -ENODATA;
    }
    *ret_bytes = (uint32_t)distance; /* MUST-33 */
    return 0;
}
