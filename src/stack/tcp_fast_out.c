/*
 * The short way out: all that a connection has to say is one segment (a request, a response, an
 * ACK), nothing of it is out, and nothing stands in the way. Then the frame is written in one go,
 * from the Ethernet header to the checksum, and what TCP has to remember fits in its tcb: there is
 * no board (tcp_board.h) for a flight of one segment until more happens to it than that it is
 * acknowledged (TCPF_LONE). No loss can be told by what came after it, since nothing did, and where
 * its round trip varies so little as it must here, the time of its loss probe is that of its
 * timeout; so RACK and TLP miss nothing.
 *
 * Whatever is not exactly as expected goes the long way, tcp_out.c, where the rules stand; nothing
 * was done to it here. What is taken here ends as it would have there:
 * tests/unit/stack/test_tcp_fast.c runs both ways beside each other.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/ip.h"
#include "stack/tcp.h"

/* Flags of a connection that has more to say, or is in a state that the long way looks after. */
#define UNUSUAL_FLAGS                                                                              \
    (TCPF_SYN_PENDING | TCPF_PROBE_NOW | TCPF_FIN_QUEUED | TCPF_FIN_RECEIVED | TCPF_OVERRIDE |     \
     TCPF_DSACK | TCPF_FORCE_RXT | TCPF_FIN_AHEAD | TCPF_LOSS_PROBE | TCPF_ECE | TCPF_CWR |        \
     TCPF_LONE | TCPF_URG_OUT)

/* RFC 6298 (2.4): as long as the variance is below the least timeout, that is what is added. */
#define VARIANCE_MAX_US (TCP_RTO_MIN_NS / FOYER_NS_PER_US)
#define SRTT_MAX_US 1000000u

/* What goes out. */
struct letter {
    uint32_t size; /* bytes of text, 0: an ACK alone */
    uint32_t header_size;
    uint16_t window;
    uint8_t tos;
    bool is_v4;
};

static uint32_t srtt_us(const struct tcb *tcb)
{
    return tcb->srtt_us8 / 8;
}

static bool is_usual(const struct foyer_host *host, const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    return tcb != NULL && sock->state == FOYER_STATE_ESTABLISHED &&
           (tcb->flags & UNUSUAL_FLAGS) == 0 && (sock->flags & SOCK_ORPHAN) == 0 &&
           tcb->board == NULL && tcb->out_of_order == NULL && tcb->extra == NULL &&
           seq_eq(tcb->snd_una, tcb->snd_nxt) && sock->path_generation == host->path_generation &&
           !sock->path_is_local && sock->neighbour != NULL;
}

/* Bytes that the program has written; UINT32_MAX: a matter for the long way. */
static uint32_t written(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    const struct foyer_ring *ring = &sock->rings->tx;

    if (!foyer_ring_is_set(ring))
        return 0;
    /* State before head, as in tcp_send_look. */
    uint32_t state = atomic_load_explicit(&ring->shared->writer_state, memory_order_acquire);
    uint32_t used =
        foyer_ring_distance(ring, foyer_ring_head(ring), tcb->snd_una.value - tcb->tx_offset);

    if (state != FOYER_RING_OPEN ||
        atomic_load_explicit(&ring->shared->urgent, memory_order_relaxed) != 0 ||
        (tcb->flags & (TCPF_TX_MAPPED | TCPF_SYN_ACKED)) != (TCPF_TX_MAPPED | TCPF_SYN_ACKED))
        return UINT32_MAX;
    return used < seq_distance(tcb->snd_end, tcb->snd_una) ? UINT32_MAX : used;
}

/* May all of it go at once, in one segment, and be forgotten until its ACK? */
static bool may_go(const struct sock *sock, const struct letter *letter, foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;

    return letter->size <= tcb->mss && letter->size <= tcb->snd_wnd &&
           tcb->cwnd_bytes >= 2u * tcb->mss && !sock->cork && (sock->flags & SOCK_UNPUSHED) == 0 &&
           (tcb->cc_id == FOYER_CONGESTION_CUBIC || tcb->cc_id == FOYER_CONGESTION_NEWRENO) &&
           /* The timeout is the one of a quiet path; a loss probe's time would not be before it. */
           tcb->backoff == 0 && tcb->srtt_us8 != 0 && srtt_us(tcb) <= SRTT_MAX_US &&
           tcb->rttvar_us4 <= VARIANCE_MAX_US && sock->options->user_timeout_ms == 0 &&
           /* No RTO is shorter: the window has not decayed (RFC 5681 section 4.1). */
           tcp_ms(now) - tcb->sent_ms < TCP_RTO_MIN_NS / FOYER_NS_PER_MS && tcp_pace_is_off(sock);
}

/* ---- the frame ------------------------------------------------------------------------------------- */

static void put_tcp(const struct sock *sock, uint8_t *bytes, const struct letter *letter,
                    foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;
    const struct wire_tcp tcp = {
        .src_port = sock->local.port,
        .dst_port = sock->remote.port,
        .seq = tcb->snd_nxt,
        .ack = tcb->rcv_nxt,
        /* MUST-60, MUST-61, SHLD-27: the buffer is emptied. */
        .flags = letter->size > 0 ? WIRE_TCP_ACK | WIRE_TCP_PSH : WIRE_TCP_ACK,
        .window = letter->window,
    };

    if (letter->header_size == WIRE_TCP_SIZE)
        wire_tcp_emit_fixed(bytes, &tcp, WIRE_TCP_SIZE);
    else /* RFC 7323 section 3.2: in every segment once negotiated */
        wire_tcp_emit_with_timestamps(bytes, &tcp, tcp_ms(now) + tcb->ts_offset, tcb->ts_recent);
}

/* IP and Ethernet in front of the TCP header; the frame's first byte. */
static uint8_t *put_headers(struct foyer_host *host, const struct sock *sock, uint8_t *tcp,
                            const struct letter *letter)
{
    uint16_t size = (uint16_t)(letter->header_size + letter->size);
    uint8_t *eth;

    if (letter->is_v4) {
        eth = tcp - WIRE_IPV4_SIZE - WIRE_ETH_SIZE;
        store_be16(eth + 2 * WIRE_ETH_ALEN, WIRE_ETHERTYPE_IPV4);
        wire_ipv4_put(tcp - WIRE_IPV4_SIZE, letter->tos, (uint16_t)(WIRE_IPV4_SIZE + size),
                      host->ipv4_id++, WIRE_IPV4_DONT_FRAGMENT, sock->ttl, WIRE_PROTOCOL_TCP,
                      sock->local.addr.bytes + 12, sock->remote.addr.bytes + 12);
    } else {
        struct wire_ipv6 ip = {.traffic_class = letter->tos,
                               .payload_size = size,
                               .next_header = WIRE_PROTOCOL_TCP,
                               .hop_limit = sock->ttl,
                               .src = sock->local.addr,
                               .dst = sock->remote.addr};
        eth = tcp - WIRE_IPV6_SIZE - WIRE_ETH_SIZE;
        store_be16(eth + 2 * WIRE_ETH_ALEN, WIRE_ETHERTYPE_IPV6);
        wire_ipv6_emit(tcp - WIRE_IPV6_SIZE, &ip);
    }
    memcpy(eth, sock->neighbour->mac, WIRE_ETH_ALEN);
    memcpy(eth + WIRE_ETH_ALEN, host->config.mac, WIRE_ETH_ALEN);
    return eth;
}

/* RFC 9293 section 3.1, MUST-2. */
static void put_checksum(const struct foyer_host *host, const struct sock *sock, uint8_t *tcp,
                         const struct letter *letter, struct foyer_packet *packet)
{
    const uint8_t *local = sock->local.addr.bytes, *remote = sock->remote.addr.bytes;
    struct checksum sum = {0};

    sum.sum = letter->is_v4 ? checksum_load32(local + 12) + checksum_load32(remote + 12)
                            : checksum_add64(checksum_fixed(local, 16), checksum_fixed(remote, 16));
    sum.sum = checksum_add64(
        sum.sum, (uint64_t)checksum_swap((uint16_t)(letter->header_size + letter->size)) +
                     checksum_swap(WIRE_PROTOCOL_TCP));
    if ((host->config.link_capabilities & FOYER_LINK_TX_CHECKSUM) != 0) {
        store_be16(tcp + WIRE_TCP_CHECKSUM_OFFSET, checksum_fold(&sum));
        packet->flags = FOYER_PACKET_CHECKSUM_PARTIAL;
        packet->checksum_start = (uint16_t)(packet->header_size - letter->header_size);
        packet->checksum_offset = WIRE_TCP_CHECKSUM_OFFSET;
        return;
    }
    sum.sum = checksum_add64(sum.sum, letter->header_size == WIRE_TCP_SIZE
                                          ? checksum_fixed(tcp, WIRE_TCP_SIZE)
                                          : checksum_fixed(tcp, WIRE_TCP_SIZE + 12));
    for (unsigned i = 1; i < packet->span_count; i++)
        checksum_add(&sum, packet->spans[i].base, packet->spans[i].size);
    store_be16(tcp + WIRE_TCP_CHECKSUM_OFFSET, checksum_finish(&sum));
}

static void put_text(const struct sock *sock, const struct letter *letter,
                     struct foyer_packet *packet)
{
    const struct foyer_ring *ring = &sock->rings->tx;

    if (letter->size == 0)
        return;
    uint32_t at = (sock->tcb->snd_nxt.value - sock->tcb->tx_offset) & (ring->size - 1);
    uint32_t first = ring->size - at < letter->size ? ring->size - at : letter->size;
    packet->spans[packet->span_count++] = (struct foyer_span){ring->data + at, first};
    if (letter->size > first)
        packet->spans[packet->span_count++] = (struct foyer_span){ring->data, letter->size - first};
}

static void put_frame(struct foyer_host *host, struct sock *sock, uint8_t *header,
                      const struct letter *letter, struct foyer_packet *ret_packet,
                      foyer_time_ns now)
{
    uint8_t *tcp = header + TX_TRANSPORT_OFFSET;

    put_tcp(sock, tcp, letter, now);
    uint8_t *start = put_headers(host, sock, tcp, letter);
    size_t size = (size_t)(tcp - start) + letter->header_size;

    packet_begin(ret_packet, start, size);
    put_text(sock, letter, ret_packet);
    put_checksum(host, sock, tcp, letter, ret_packet);
    host->stats.tcp_out_segs++;
    host->stats.out_frames++;
}

/* ---- what it changes ----------------------------------------------------------------------------------- */

/* An ACK rides on everything: what was owed is paid (MUST-58). */
static void note_ack(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    if (!seq_eq(tcb->rcv_acked, tcb->rcv_nxt) && tcb->quick_acks > 0)
        tcb->quick_acks--;
    tcb->flags &= ~(uint32_t)(TCPF_ACK_NOW | TCPF_ACK_DELAYED);
    tcb->ack_deadline_ns = FOYER_TIME_NEVER;
    tcb->rcv_acked = tcb->rcv_nxt;
    tcp_window_look(host, sock);
}

/* The flight of one segment begins. */
static void note_text(struct foyer_host *host, struct sock *sock, uint32_t size, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    tcb->snd_end = tcb->snd_nxt = seq_add(tcb->snd_nxt, size);
    tcb->flags &= ~(uint32_t)(TCPF_CWND_LIMITED | TCPF_PERSIST);
    tcb->flags |= TCPF_LONE | TCPF_RTT_TIMED;
    tcb->rtt_seq = tcb->snd_nxt;
    tcb->rtt_start_us = tcp_us(now);
    tcb->sent_ms = tcb->stalled_ms = tcp_ms(now);
    /* RFC 6298 (5.1), (2.3) with what may_go has seen to. */
    tcb->rto_deadline_ns = now + srtt_us(tcb) * FOYER_NS_PER_US + TCP_RTO_MIN_NS;
    if (!timer_is_armed(&sock->timer) || sock->timer.deadline_ns > tcb->rto_deadline_ns)
        tcp_timer_arm(host, sock);
}

bool tcp_fast_output(struct foyer_host *host, struct sock *sock, uint8_t *header,
                     struct foyer_packet *ret_packet, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;

    if (!is_usual(host, sock))
        return false;
    struct letter letter = {.size = written(sock),
                            .header_size = (tcb->flags & TCPF_TS_OK) != 0 ? WIRE_TCP_SIZE + 12u
                                                                          : WIRE_TCP_SIZE,
                            .is_v4 = foyer_addr_is_v4(&sock->remote.addr)};
    if (letter.size == 0 ? (tcb->flags & TCPF_ACK_NOW) == 0 : !may_go(sock, &letter, now))
        return false;
    uint32_t ip_size = letter.is_v4 ? WIRE_IPV4_SIZE : WIRE_IPV6_SIZE;
    if (ip_size + letter.header_size + letter.size > sock->path_mtu ||
        !neighbour_use(host, sock->neighbour, now))
        return false;

    letter.window = (uint16_t)(tcp_window_select(sock) >> tcb->rcv_scale);
    letter.tos = tcp_ecn_tos(tcb, sock->tos, letter.size > 0); /* MUST-48, SHLD-22 */
    put_frame(host, sock, header, &letter, ret_packet, now);
    note_ack(host, sock);
    if (letter.size > 0)
        note_text(host, sock, letter.size, now);
    /* Who writes without telling us is watched, the long way. */
    if ((sock->flags & SOCK_EXTERNAL_RINGS) == 0 && (tcb->flags & TCPF_ACK_NOW) == 0)
        list_remove(&sock->output_node);
    return true;
}
