/*
 * TCP options of both directions (RFC 9293 section 3.2, RFC 7323, RFC 2018), and the segment size
 * that they agree on.
 */
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/tcp.h"

#define TS_OPTION_SIZE 12u                          /* 10 bytes and padding */
#define PAWS_AGE_MAX_MS (24u * 24u * 3600u * 1000u) /* RFC 7323 section 5.5: 24 days */
#define IP_TCP_HEADERS_V4 40u
#define IP_TCP_HEADERS_V6 60u

/* RFC 7323 section 5.4: an offset of its own for each 4-tuple, and the same one whenever the
 * tuple comes back, so that a new incarnation's timestamps go on where the old one's ended. */
uint32_t tcp_ts_offset_for(struct foyer_host *host, const struct foyer_endpoint *local,
                           const struct foyer_endpoint *remote)
{
    return (uint32_t)(ports_tuple_secret(host, FOYER_TCP, local, remote) >>
                      32); /* the other half */
}

uint32_t tcp_ts_offset(struct foyer_host *host, const struct sock *sock)
{
    return tcp_ts_offset_for(host, &sock->local, &sock->remote);
}

uint32_t tcp_ts_now(const struct tcb *tcb, foyer_time_ns now)
{
    return tcp_ms(now) + tcb->ts_offset;
}

static uint32_t headers_size(const struct foyer_addr *remote)
{
    return foyer_addr_is_v4(remote) ? IP_TCP_HEADERS_V4 : IP_TCP_HEADERS_V6;
}

/* FOYER_OPT_MAXSEG, as a bound of both directions. */
static uint32_t bound_by_option(const struct sock *sock, uint32_t mss)
{
    if (sock->options->max_segment == 0 || sock->options->max_segment >= mss)
        return mss;
    return sock->options->max_segment > TCP_MSS_MIN ? sock->options->max_segment : TCP_MSS_MIN;
}

/* RFC 9293 section 3.7.1 (MUST-67, RFC 6691): what we can take whole, fixed headers taken off. */
uint16_t tcp_mss_for_syn(const struct foyer_host *host, const struct sock *sock,
                         const struct foyer_addr *remote)
{
    uint32_t mtu = ip_is_own(host, remote) ? IP_MTU_LOCAL : host->config.mtu;

    return (uint16_t)bound_by_option(sock, mtu - headers_size(remote));
}

/* The smallest scale that lets the window show the whole buffer; see TCP_WINDOW_SCALE_MIN. */
uint8_t tcp_rcv_scale(const struct foyer_host *host, const struct sock *sock)
{
    uint32_t size = sock->options->rx_size_wanted != 0 ? sock->options->rx_size_wanted
                                                       : host->config.receive_buffer_size;
    uint8_t scale = TCP_WINDOW_SCALE_MIN;

    if (foyer_ring_is_set(&sock->rings->rx) && sock->rings->rx.size > size)
        size = sock->rings->rx.size;
    while (scale < WIRE_TCP_WINDOW_SCALE_MAX && size >> scale > UINT16_MAX)
        scale++;
    return scale;
}

/* MAY-3: MSS always; RFC 9293 section 3.7.1 (MUST-14, SHLD-5). */
void tcp_options_for_syn(const struct foyer_host *host, const struct sock *sock, bool is_reply,
                         struct wire_tcp_options *ret_options, foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;

    memset(ret_options, 0, sizeof(*ret_options));
    ret_options->has_mss = true;
    ret_options->mss = tcp_mss_for_syn(host, sock, &sock->remote.addr);
    /* A SYN-ACK repeats only what the SYN offered: RFC 7323 sections 1.3 and 3.2, RFC 2018. */
    if (!is_reply || (tcb->flags & TCPF_WS_OK) != 0) {
        ret_options->has_window_scale = true;
        ret_options->window_scale = is_reply ? tcb->rcv_scale : tcp_rcv_scale(host, sock);
    }
    if (is_reply ? (tcb->flags & TCPF_SACK_OK) != 0 : !sock->options->without_sack)
        ret_options->has_sack_permitted = true;
    if (is_reply ? (tcb->flags & TCPF_TS_OK) != 0 : !sock->options->without_timestamps) {
        ret_options->has_timestamps = true;
        ret_options->timestamp_value = tcp_ts_now(tcb, now);
        ret_options->timestamp_echo = is_reply ? tcb->ts_recent : 0;
    }
    if (is_reply && (tcb->flags & TCPF_TFO_OFFER) != 0)
        fastopen_offer(host, &sock->remote.addr, &sock->local.addr, false, ret_options);
}

/* [RFC9293 MUST-65] */
void tcp_options_for_segment(const struct tcb *tcb, struct wire_tcp_options *ret_options,
                             foyer_time_ns now)
{
    memset(ret_options, 0, sizeof(*ret_options));
    if ((tcb->flags & TCPF_TS_OK) != 0) {
        /* RFC 7323 section 3.2: in every segment once negotiated. */
        ret_options->has_timestamps = true;
        ret_options->timestamp_value = tcp_ts_now(tcb, now);
        ret_options->timestamp_echo = tcb->ts_recent;
    }
}

void tcp_options_negotiate(const struct foyer_host *host, struct sock *sock,
                           const struct tcp_segment *seg, foyer_time_ns now)
{
    const struct wire_tcp_options *options = &seg->options;
    struct tcb *tcb = sock->tcb;

    tcb->flags &= ~(uint32_t)(TCPF_WS_OK | TCPF_SACK_OK | TCPF_TS_OK);
    tcb->snd_scale = 0;
    tcb->rcv_scale = 0;
    tcp_ecn_negotiate(sock, seg);
    if (options->has_window_scale) {
        tcb->flags |= TCPF_WS_OK;
        tcb->snd_scale = options->window_scale;
        tcb->rcv_scale = tcp_rcv_scale(host, sock);
    }
    /* RFC 7323 section 3.2: what was not asked for does not count. */
    if (options->has_sack_permitted && !sock->options->without_sack)
        tcb->flags |= TCPF_SACK_OK;
    if (options->has_timestamps && !sock->options->without_timestamps) {
        tcb->flags |= TCPF_TS_OK;
        tcb->ts_recent = options->timestamp_value;
        tcb->ts_recent_ms = tcp_ms(now);
    }
    /* RFC 9293 section 3.7.1 (MUST-15): the default where the peer does not say. */
    tcb->peer_mss = foyer_addr_is_v4(&sock->remote.addr) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6;
    if (options->has_mss)
        tcb->peer_mss = options->mss > TCP_MSS_MIN ? options->mss : TCP_MSS_MIN;
    tcp_mss_update(host, sock);
    tcb->rcv_mss = tcb->mss;
}

static uint16_t mss_within(const struct sock *sock, uint32_t mtu)
{
    const struct tcb *tcb = sock->tcb;
    uint32_t mss = mtu - headers_size(&sock->remote.addr);

    if (mss > tcb->peer_mss)
        mss = tcb->peer_mss;
    mss = bound_by_option(sock, mss);
    if ((tcb->flags & TCPF_TS_OK) != 0)
        mss -= TS_OPTION_SIZE;
    return (uint16_t)mss;
}

uint16_t tcp_mss_limit(const struct foyer_host *host, const struct sock *sock)
{
    return mss_within(sock, ip_link_mtu(host, &sock->remote.addr));
}

/* RFC 9293 section 3.7.1 (MUST-16): Eff.snd.MSS. [RFC8200 8.3a] */
static uint16_t effective_mss(const struct foyer_host *host, const struct sock *sock)
{
    return (uint16_t)tcp_mtu_bound(sock->tcb, mss_within(sock, ip_path_mtu(host, sock)));
}

void tcp_mss_update(const struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    tcb->mss = effective_mss(host, sock);
    /* A window below one segment would never be used. */
    if (tcb->cwnd_bytes != 0 && tcb->cwnd_bytes < tcb->mss)
        tcb->cwnd_bytes = tcb->mss;
}

/* SHLD-6: the path's MTU may have become known by others, or be forgotten again. It is followed
 * down at once; up where nothing is in flight, so that a flight has one segment size. */
void tcp_mss_follow(const struct foyer_host *host, struct sock *sock)
{
    uint16_t mss = effective_mss(host, sock);

    if (mss < sock->tcb->mss || (mss > sock->tcb->mss && tcp_flight(sock->tcb) == 0))
        tcp_mss_update(host, sock);
}

/*
 * RFC 7323 section 5.3 R1. A segment without the option is refused too where it was negotiated
 * (section 3.2, SHOULD). RST is exempt: it is judged by its sequence number.
 */
bool tcp_paws_rejects(const struct foyer_host *host, const struct tcb *tcb,
                      const struct tcp_segment *seg, foyer_time_ns now)
{
    if ((tcb->flags & TCPF_TS_OK) == 0 || (seg->tcp.flags & WIRE_TCP_RST) != 0)
        return false;
    if (!seg->options.has_timestamps)
        return (seg->tcp.flags & WIRE_TCP_SYN) == 0 &&
               (host->config.behaviour & FOYER_HOST_TOLERATE_MISSING_TIMESTAMPS) == 0;
    if ((int32_t)(seg->options.timestamp_value - tcb->ts_recent) >= 0)
        return false;
    /* Section 5.5: after 24 days of silence the clock may have wrapped. */
    return tcp_ms(now) - tcb->ts_recent_ms < PAWS_AGE_MAX_MS;
}

/* RFC 7323 section 4.3 (2), (3): of the segment that covers what we acknowledged last. */
void tcp_ts_update(struct tcb *tcb, const struct tcp_segment *seg, foyer_time_ns now)
{
    if ((tcb->flags & TCPF_TS_OK) == 0 || !seg->options.has_timestamps)
        return;
    bool is_newer = (int32_t)(seg->options.timestamp_value - tcb->ts_recent) >= 0 ||
                    tcp_ms(now) - tcb->ts_recent_ms >= PAWS_AGE_MAX_MS;
    if (is_newer && seq_le(seg->tcp.seq, tcb->rcv_acked)) {
        tcb->ts_recent = seg->options.timestamp_value;
        tcb->ts_recent_ms = tcp_ms(now);
    }
}
