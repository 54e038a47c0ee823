/*
 * The short way in: frames whose headers are those that nearly all frames have, of a connection
 * that is open in both directions and misses nothing (Van Jacobson's header prediction, from the
 * Ethernet header on). All headers are looked at in one place, and the text is copied to the ring
 * and summed in one pass, before it is known to be right: until rcv_nxt moves over it, it lies in
 * the ring's free space.
 *
 * A segment of a known connection that is not exactly as expected skips link.c and ip.c, and goes on
 * in tcp_in.c, where the rules stand. Everything else goes the long way from the beginning; nothing
 * was done to it here. What is taken here ends as it would have there:
 * tests/unit/stack/test_tcp_fast.c runs both ways beside each other.
 *
 * Why the addresses need no check of their own: the socket's were checked when the handshake came
 * the long way, and its path is younger than the last change of the host's addresses.
 */
#include <assert.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/tcp.h"

#define FRAGMENT_MASK 0x3fffu /* more fragments, and the offset */
#define ECN_MASK 3u
#define ECN_CE 3u

/* Flags of a connection that has more to do with a segment than what is done here. */
#define UNUSUAL_FLAGS                                                                              \
    (TCPF_SYN_PENDING | TCPF_FIN_QUEUED | TCPF_FIN_RECEIVED | TCPF_FIN_AHEAD | TCPF_PERSIST |      \
     TCPF_URG_OUT | TCPF_URG_IN | TCPF_ACCECN)

struct frame {
    const struct foyer_packet *packet;
    const uint8_t *ip, *transport;
    size_t contiguous; /* bytes at transport that lie in the first span */
    size_t size;       /* transport header and text */
    uint8_t tos;
    bool is_v4;
    /* Of the TCP header. */
    uint32_t header_size, text_size;
    seq_t seq, ack;
    uint32_t window; /* not scaled yet */
    uint32_t timestamp, echo;
};

static bool parse_ip(struct frame *frame, size_t ip_size)
{
    const uint8_t *ip = frame->ip;

    if (load_be16(ip - 2) == WIRE_ETHERTYPE_IPV4) {
        size_t total = load_be16(ip + 2);
        /* No host has an address of class E or network 0 (RFC 1122 section 3.2.1.3). */
        if (ip[0] != (4 << 4 | WIRE_IPV4_SIZE / 4) || ip[9] != WIRE_PROTOCOL_TCP || ip[12] == 0 ||
            ip[12] >= 240 || (load_be16(ip + 6) & FRAGMENT_MASK) != 0 ||
            total < WIRE_IPV4_SIZE + WIRE_TCP_SIZE || total > ip_size || wire_ipv4_sum(ip) != 0)
            return false;
        frame->is_v4 = true;
        frame->tos = ip[1];
        frame->transport = ip + WIRE_IPV4_SIZE;
        frame->size = total - WIRE_IPV4_SIZE;
        return true;
    }
    if (load_be16(ip - 2) != WIRE_ETHERTYPE_IPV6 || ip_size < WIRE_IPV6_SIZE + WIRE_TCP_SIZE)
        return false;
    frame->is_v4 = false;
    frame->tos = (uint8_t)(load_be16(ip) >> 4);
    frame->transport = ip + WIRE_IPV6_SIZE;
    frame->size = load_be16(ip + 4);
    return ip[0] >> 4 == 6 && ip[6] == WIRE_PROTOCOL_TCP && frame->size >= WIRE_TCP_SIZE &&
           frame->size <= ip_size - WIRE_IPV6_SIZE;
}

/* Ethernet and IP as usual, and the TCP header's fixed part in the first span. */
static bool parse_frame(const struct foyer_host *host, const struct foyer_packet *packet,
                        struct frame *frame)
{
    const struct foyer_span *first = &packet->spans[0];

    if (packet->span_count == 0 || packet->span_count > FOYER_PACKET_SPANS_MAX ||
        first->size < WIRE_ETH_SIZE + WIRE_IPV4_SIZE + WIRE_TCP_SIZE ||
        memcmp(first->base, host->config.mac, WIRE_ETH_ALEN) != 0 || (first->base[6] & 1) != 0)
        return false;
    frame->packet = packet;
    frame->ip = first->base + WIRE_ETH_SIZE;
    if (!parse_ip(frame, foyer_packet_size(packet) - WIRE_ETH_SIZE))
        return false;
    size_t before = (size_t)(frame->transport - first->base);
    if (first->size < before + WIRE_TCP_SIZE)
        return false;
    frame->contiguous = first->size - before;
    return true;
}

/* ---- whose it is ----------------------------------------------------------------------------------- */

static bool is_of(const struct frame *frame, const struct sock *sock)
{
    const uint8_t *ip = frame->ip;

    if (load_be16(frame->transport) != sock->remote.port ||
        load_be16(frame->transport + 2) != sock->local.port)
        return false;
    if (frame->is_v4)
        return memcmp(ip + 12, sock->remote.addr.bytes + 12, 4) == 0 &&
               memcmp(ip + 16, sock->local.addr.bytes + 12, 4) == 0 &&
               foyer_addr_is_v4(&sock->remote.addr);
    return memcmp(ip + 8, sock->remote.addr.bytes, 16) == 0 &&
           memcmp(ip + 24, sock->local.addr.bytes, 16) == 0;
}

static struct sock *find_sock(struct foyer_host *host, const struct frame *frame)
{
    const uint8_t *ip = frame->ip;

    /* Frames of a connection come one after the other. */
    if (host->recent_sock != NULL && is_of(frame, host->recent_sock))
        return host->recent_sock;
    struct foyer_endpoint remote = {.port = load_be16(frame->transport)};
    struct foyer_endpoint local = {.port = load_be16(frame->transport + 2)};
    if (frame->is_v4) {
        remote.addr = foyer_addr_v4(ip[12], ip[13], ip[14], ip[15]);
        local.addr = foyer_addr_v4(ip[16], ip[17], ip[18], ip[19]);
    } else {
        memcpy(remote.addr.bytes, ip + 8, 16);
        memcpy(local.addr.bytes, ip + 24, 16);
    }
    struct sock *sock = ports_find_connected(host, FOYER_TCP, &local, &remote);
    if (sock != NULL)
        host->recent_sock = sock;
    return sock;
}

/* ---- what is expected of it -------------------------------------------------------------------------- */

/* The addresses are still those of a path, and not of one inside. */
static bool has_path(const struct foyer_host *host, const struct sock *sock)
{
    return sock->tcb != NULL && sock->path_generation == host->path_generation &&
           !sock->path_is_local;
}

static bool is_usual_sock(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    return sock->state == FOYER_STATE_ESTABLISHED && (tcb->flags & UNUSUAL_FLAGS) == 0 &&
           (sock->flags & SOCK_ORPHAN) == 0 && tcb->out_of_order == NULL &&
           tcb->recovery == TCP_OPEN;
}

/* The options: timestamps alone where they are negotiated, else none. */
static bool parse_tcp(const struct tcb *tcb, struct frame *frame)
{
    const uint8_t *tcp = frame->transport;
    bool has_ts = (tcb->flags & TCPF_TS_OK) != 0;

    frame->timestamp = frame->echo = 0;
    frame->header_size = has_ts ? WIRE_TCP_SIZE + 12 : WIRE_TCP_SIZE;
    if (tcp[12] != frame->header_size / 4 << 4 || (tcp[13] & ~WIRE_TCP_PSH) != WIRE_TCP_ACK ||
        frame->size < frame->header_size || frame->contiguous < frame->header_size)
        return false;
    if (has_ts) {
        if (load_be32(tcp + 20) != WIRE_TCP_TIMESTAMPS_ALONE)
            return false;
        frame->timestamp = load_be32(tcp + 24);
        frame->echo = load_be32(tcp + 28);
        if ((int32_t)(frame->timestamp - tcb->ts_recent) < 0) /* RFC 7323 section 5.3 R1 */
            return false;
    }
    frame->seq = SEQ(load_be32(tcp + 4));
    frame->ack = SEQ(load_be32(tcp + 8));
    frame->window = load_be16(tcp + 14);
    frame->text_size = (uint32_t)(frame->size - frame->header_size);
    return seq_eq(frame->seq, tcb->rcv_nxt) && seq_ge(frame->ack, tcb->snd_una) &&
           seq_le(frame->ack, tcb->snd_nxt);
}

/* All of the text is wanted, and there is a place for it. */
static bool has_place(const struct sock *sock, const struct frame *frame)
{
    const struct tcb *tcb = sock->tcb;

    if (frame->text_size == 0)
        return true;
    /* A CE mark is echoed (RFC 3168 section 6.1.3), for DCTCP its end is (RFC 8257 section 3.2). */
    if ((tcb->flags & TCPF_RX_MAPPED) == 0 ||
        ((tcb->flags & TCPF_ECN_OK) != 0 &&
         ((frame->tos & ECN_MASK) == ECN_CE ||
          (tcb->cc_id == FOYER_CONGESTION_DCTCP && (tcb->flags & TCPF_ECE) != 0))))
        return false;
    uint32_t room = tcp_receive_room(sock);
    return room != UINT32_MAX && frame->text_size <= room &&
           frame->text_size <= seq_distance(tcb->rcv_adv, tcb->rcv_nxt);
}

/* ---- the text ------------------------------------------------------------------------------------------ */

static void copy_to_ring(const struct foyer_ring *ring, uint32_t pos, const uint8_t *from,
                         size_t size, struct checksum *sum)
{
    uint32_t at = pos & (ring->size - 1);
    size_t first = ring->size - at < size ? ring->size - at : size;

    checksum_add_copy(sum, ring->data + at, from, first);
    if (size > first)
        checksum_add_copy(sum, ring->data, from + first, size - first);
}

/* Of what stands before the text: the TCP header and the pseudo-header. */
static uint64_t sum_of_headers(const struct frame *frame)
{
    uint64_t sum = frame->header_size == WIRE_TCP_SIZE
                       ? checksum_fixed(frame->transport, WIRE_TCP_SIZE)
                       : checksum_fixed(frame->transport, WIRE_TCP_SIZE + 12);

    sum = checksum_add64(sum, frame->is_v4 ? checksum_fixed(frame->ip + 12, 8)
                                           : checksum_fixed(frame->ip + 8, 32));
    return checksum_add64(sum, (uint64_t)checksum_swap((uint16_t)frame->size) +
                                   checksum_swap(WIRE_PROTOCOL_TCP));
}

/* Puts the text in its place. False: the checksum is wrong (RFC 9293 section 3.1, MUST-3). */
static inline __attribute__((always_inline)) bool take_text(const struct sock *sock,
                                                            const struct frame *frame)
{
    const struct foyer_packet *packet = frame->packet;
    const struct foyer_ring *ring = &sock->rings->rx;
    bool is_valid =
        (packet->flags & (FOYER_PACKET_CHECKSUM_VALID | FOYER_PACKET_CHECKSUM_PARTIAL)) != 0;
    const uint8_t *from = frame->transport + frame->header_size;
    size_t there = frame->contiguous - frame->header_size;
    size_t left = frame->text_size;
    /* Not for an ACK alone: among many connections it would be one more line of memory to wait for. */
    uint32_t pos = left > 0 ? frame->seq.value - sock->tcb->rx_offset : 0;
    struct checksum sum = {0};

    for (unsigned i = 1;; i++) {
        size_t size = there < left ? there : left;
        if (size > 0 && is_valid) /* for an ACK alone there need be no ring */
            foyer_ring_put(ring, pos, from, (uint32_t)size);
        else if (size > 0)
            copy_to_ring(ring, pos, from, size, &sum);
        pos += (uint32_t)size;
        left -= size;
        if (left == 0)
            break;
        assert(i < packet->span_count); /* all of frame->size is there */
        from = packet->spans[i].base;
        there = packet->spans[i].size;
    }
    if (is_valid)
        return true;
    sum.sum = checksum_add64(sum.sum, sum_of_headers(frame));
    return checksum_finish(&sum) == 0;
}

/* IP has nothing to find out about it any more; tcp_in.c has. */
static void take_unusual(struct foyer_host *host, struct sock *sock, const struct frame *frame,
                         foyer_time_ns now)
{
    const uint8_t *first = frame->packet->spans[0].base;
    struct rx rx = {.src = sock->remote.addr,
                    .dst = sock->local.addr,
                    .family = frame->is_v4 ? 4 : 6,
                    .protocol = WIRE_PROTOCOL_TCP,
                    .ttl = frame->is_v4 ? frame->ip[8] : frame->ip[7],
                    .tos = frame->tos};

    rx_fill(&rx, frame->packet, (size_t)(frame->ip - first), (size_t)(frame->transport - first),
            frame->size);
    tcp_input_for(host, sock, &rx, now);
}

/* ---- what it changes ------------------------------------------------------------------------------------ */

/* An ACK that says nothing new to a sender that has nothing out. */
static bool is_quiet_ack(const struct tcb *tcb, const struct frame *frame)
{
    return tcb->board == NULL && seq_eq(frame->ack, tcb->snd_nxt) &&
           seq_eq(frame->ack, tcb->snd_una) && frame->window << tcb->snd_scale == tcb->snd_wnd;
}

static void take_ack(struct foyer_host *host, struct sock *sock, const struct frame *frame,
                     foyer_time_ns now)
{
    const struct rx rx = {.tos = frame->tos, .arrival_ns = frame->packet->arrival_ns};
    const struct tcp_segment seg = {
        .rx = &rx,
        .tcp = {.seq = frame->seq,
                .ack = frame->ack,
                .flags = WIRE_TCP_ACK,
                .window = (uint16_t)frame->window},
        .options = {.has_timestamps = (sock->tcb->flags & TCPF_TS_OK) != 0,
                    .timestamp_value = frame->timestamp,
                    .timestamp_echo = frame->echo},
        .seq = frame->seq,
        .size = frame->text_size,
        .text_size = frame->text_size,
    };

    tcp_ack_input(host, sock, &seg, now);
}

static void note_quiet_ack(struct tcb *tcb, const struct frame *frame, foyer_time_ns now)
{
    /* RFC 7323 section 4.3 (2), (3). */
    if ((tcb->flags & TCPF_TS_OK) != 0 && seq_le(frame->seq, tcb->rcv_acked)) {
        tcb->ts_recent = frame->timestamp;
        tcb->ts_recent_ms = tcp_ms(now);
    }
    /* RFC 9293 section 3.10.7.4: the segment of the last window update. */
    tcb->snd_wl1 = seq_max(tcb->snd_wl1, frame->seq);
}

/* The ACK of a lone segment, behind which nothing waits: as if it had never been. The last two:
 * the congestion control wants to know of it (a window in use grows, DCTCP and BBR count). */
static bool is_lone_ack(const struct tcb *tcb, const struct frame *frame)
{
    return (tcb->flags & (TCPF_LONE | TCPF_RTT_TIMED | TCPF_CWND_LIMITED)) ==
               (TCPF_LONE | TCPF_RTT_TIMED) &&
           tcb->board == NULL && seq_eq(frame->ack, tcb->snd_nxt) &&
           seq_eq(frame->ack, tcb->snd_end) && tcb->cwnd_bytes >= 2 * tcp_flight(tcb) &&
           (tcb->cc_id == FOYER_CONGESTION_CUBIC || tcb->cc_id == FOYER_CONGESTION_NEWRENO);
}

static void note_lone_ack(struct sock *sock, const struct frame *frame, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    uint32_t size = tcp_flight(tcb), window = frame->window << tcb->snd_scale;
    int32_t age_us = (int32_t)(tcp_us(frame->packet->arrival_ns) - tcb->rtt_start_us);

    note_quiet_ack(tcb, frame, now);
    tcb->snd_wnd = window;
    if (tcb->snd_wnd_max < window)
        tcb->snd_wnd_max = window;
    tcb->snd_una = frame->ack;
    tcp_rtt_of_lone(tcb, age_us > 0 ? (uint32_t)age_us : 1, now);
    if (tcb->snd_una.value - tcb->iss.value - 1 < size)
        tcb->sent_wraps++;
    tcb->retries = 0;
    tcb->backoff = 0;
    tcb->soft_error = 0;
    tcb->flags &= ~(uint32_t)(TCPF_LONE | TCPF_RTT_TIMED | TCPF_OVERRIDE);
    tcb->stalled_ms = tcp_ms(now);
    tcb->rto_deadline_ns = FOYER_TIME_NEVER; /* RFC 6298 (5.2); the timer finds that out itself */
    foyer_ring_publish_tail(&sock->rings->tx, tcb->snd_una.value - tcb->tx_offset);
}

/* ---- those behind it ------------------------------------------------------------------------------------ */

/*
 * Bulk data come as frames that differ in their sizes, IP's identification, sequence numbers and
 * checksums alone. What was found out about the first of a batch holds for those behind it then: they
 * are compared, and what they change is noted once for all of them.
 */
static uint64_t differ64(const uint8_t *a, const uint8_t *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x ^ y;
}

static uint64_t differ32(const uint8_t *a, const uint8_t *b)
{
    return checksum_load32(a) ^ checksum_load32(b);
}

static bool has_same_ip(const struct frame *first, const uint8_t *frame, size_t *ret_size)
{
    const uint8_t *as = first->packet->spans[0].base;
    uint64_t difference = differ64(frame, as);

    if (first->is_v4) { /* all but the size at 16, the identification at 18, the checksum at 24 */
        size_t size = load_be16(frame + 16);
        difference |= differ64(frame + 8, as + 8) | differ32(frame + 20, as + 20) |
                      differ64(frame + 26, as + 26);
        *ret_size = size - WIRE_IPV4_SIZE;
        return difference == 0 && size > WIRE_IPV4_SIZE &&
               wire_ipv4_sum(frame + WIRE_ETH_SIZE) == 0;
    }
    difference |= differ64(frame + 8, as + 8) | differ64(frame + 10, as + 10); /* size at 18 */
    for (unsigned at = 20; at < 52; at += 8)
        difference |= differ64(frame + at, as + at);
    *ret_size = load_be16(frame + 18);
    return (difference | differ64(frame + 46, as + 46)) == 0;
}

/* But for a push flag, which says nothing to a ring that is told of at once anyway. */
static bool has_same_tcp(const struct frame *first, const uint8_t *tcp)
{
    const uint8_t *as = first->transport;
    uint64_t difference = differ32(tcp, as) | differ32(tcp + 8, as + 8);

    if (first->header_size != WIRE_TCP_SIZE)
        difference |= differ64(tcp + 20, as + 20) | differ32(tcp + 28, as + 28);
    return difference == 0 && tcp[12] == as[12] && (tcp[13] & ~WIRE_TCP_PSH) == WIRE_TCP_ACK &&
           tcp[14] == as[14] && tcp[15] == as[15];
}

/* Is it the first's, at frame->seq and with text? */
static bool parse_next(const struct frame *first, const struct foyer_packet *packet,
                       struct frame *frame)
{
    const struct foyer_span *span = &packet->spans[0];
    size_t before = (size_t)(first->transport - first->packet->spans[0].base);
    const uint8_t *tcp = span->base + before;

    if (packet->span_count == 0 || packet->span_count > FOYER_PACKET_SPANS_MAX ||
        span->size < before + first->header_size || packet->gso_type != FOYER_GSO_NONE ||
        packet->flags != first->packet->flags || !has_same_ip(first, span->base, &frame->size) ||
        !has_same_tcp(first, tcp) || !seq_eq(SEQ(load_be32(tcp + 4)), frame->seq) ||
        frame->size <= first->header_size || frame->size > foyer_packet_size(packet) - before)
        return false;
    frame->packet = packet;
    frame->ip = span->base + WIRE_ETH_SIZE;
    frame->transport = tcp;
    frame->contiguous = span->size - before;
    frame->text_size = (uint32_t)(frame->size - first->header_size);
    return true;
}

/* Of count packets behind the first one's, which brought text: how many were taken with it. (Kept
 * apart, so that a frame that comes alone does not pay for it.) */
static __attribute__((noinline)) size_t take_run(struct foyer_host *host, struct sock *sock,
                                                 const struct frame *first,
                                                 const struct foyer_packet *packets, size_t count,
                                                 foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct frame frame = *first;
    uint32_t bytes = 0, largest = 0;
    size_t taken = 0;

    if (first->packet->gso_type != FOYER_GSO_NONE || !is_quiet_ack(tcb, first) ||
        !is_usual_sock(sock))
        return 0;
    uint32_t room = tcp_receive_room(sock), window = seq_distance(tcb->rcv_adv, tcb->rcv_nxt);
    if (room == UINT32_MAX)
        return 0;
    room = room < window ? room : window;
    for (frame.seq = tcb->rcv_nxt; taken < count; taken++) {
        if (!parse_next(first, &packets[taken], &frame) || frame.text_size > room - bytes ||
            !take_text(sock, &frame))
            break; /* it comes again as the first, and is judged as such */
        frame.seq = seq_add(frame.seq, frame.text_size);
        bytes += frame.text_size;
        largest = largest > frame.text_size ? largest : frame.text_size;
    }
    if (taken == 0)
        return 0;
    host->stats.tcp_in_segs += taken;
    tcb->snd_wl1 = seq_max(tcb->snd_wl1, seq_back(frame.seq, frame.text_size));
    tcp_text_taken(host, sock, bytes, largest, 0, now);
    return taken;
}

/* The frame is as expected, and its text is in its place. */
static void take_usual(struct foyer_host *host, struct sock *sock, const struct frame *frame,
                       foyer_time_ns now)
{
    const struct foyer_packet *packet = frame->packet;
    struct tcb *tcb = sock->tcb;
    uint32_t events = 0;

    host->stats.tcp_in_segs++;
    tcb->received_ms = tcp_ms(now);
    tcb->probes = 0;
    if (is_quiet_ack(tcb, frame)) {
        note_quiet_ack(tcb, frame, now);
    } else if (is_lone_ack(tcb, frame)) {
        note_lone_ack(sock, frame, now);
        events = FOYER_EVENT_WRITABLE;
    } else {
        take_ack(host, sock, frame, now);
    }
    if (frame->text_size > 0) {
        tcp_text_taken(host, sock, frame->text_size, frame->text_size,
                       packet->gso_type != FOYER_GSO_NONE ? packet->gso_size : 0, now);
        events |= FOYER_EVENT_READABLE;
    }
    if (events != 0)
        sock_event(host, sock, events);
}

size_t tcp_fast_input(struct foyer_host *host, const struct foyer_packet *packets, size_t count,
                      foyer_time_ns now)
{
    struct frame frame;

    if (!parse_frame(host, packets, &frame))
        return 0;
    struct sock *sock = find_sock(host, &frame);
    if (sock == NULL || !has_path(host, sock))
        return 0;
    if (!is_usual_sock(sock) || !parse_tcp(sock->tcb, &frame) || !has_place(sock, &frame) ||
        !take_text(sock, &frame)) {
        take_unusual(host, sock, &frame, now);
        return 1;
    }
    take_usual(host, sock, &frame, now);
    if (count > 1 && frame.text_size > 0)
        return 1 + take_run(host, sock, &frame, packets + 1, count - 1, now);
    return 1;
}
