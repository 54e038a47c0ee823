/*
 * SYN cookies (RFC 4987 section 3.6): the state of a half-open connection travels in the ISS and
 * in the timestamp of the SYN-ACK, and comes back with the peer's ACK.
 *
 *   ISS        5 bits  minutes (of 64 s) modulo 32       these 8 are XORed with a keyed hash of
 *              3 bits  index in mss_table                the 4-tuple: nothing of them is seen
 *             24 bits  keyed hash of 4-tuple, minutes and index, plus the peer's ISS times a
 *                      constant (else a later segment of a connection in which both sides have
 *                      sent as much would be as good as the first)
 *   timestamp  low 6 bits: ECN (1), SACK permitted (1), the peer's window scale (4; 15: none)
 *
 * Without timestamps a connection from a cookie has no SACK, window scaling or ECN. Cookies
 * count for two minutes, and only where the listener sent one lately: otherwise every blind ACK
 * would be a guess at one in 2^24.
 *
 * What comes back tells the peer's ISS, so the connection's first segment can be told from a
 * later one. A client whose first segment was lost, overtaken by the next, or found the accept
 * queue full believes itself established and sends on. Those segments are passed over in silence:
 * its retransmission begins with the first bytes again. A reset, as RFC 9293 section 3.10.7.2 has
 * it for an ACK to a listener, would end a connection that only has to wait.
 */
#include "stack/ports.h"
#include "stack/tcp.h"
#include "stack/tcp_request.h"

#define COOKIE_MINUTE_NS (64 * FOYER_NS_PER_S)
#define COOKIE_MINUTES 2u
#define PROOF_MASK 0xffffffu
#define ISS_FACTOR 0x9e3779b1u  /* odd, so there is */
#define ISS_INVERSE 0x0e8b2f51u /* this, modulo 2^32 */
#define OFFSET_MAX 65536u       /* our SYN-ACK offered a window of 64 KiB at most; and FIN */
#define TS_BITS 63u
#define TS_ECN 32u
#define TS_SACK 16u
#define TS_NO_SCALE 15u

/* Steps that lose little for the segment sizes that occur: dial-up, IPv6's minimum, tunnels,
 * PPPoE, Ethernet in both families, jumbo frames. */
static const uint16_t mss_table[8] = {TCP_MSS_MIN, 536, 1220, 1300, 1380, 1440, 1460, 8940};

struct cookie {
    uint32_t minutes; /* whole, not modulo 32 */
    uint32_t mss_index;
};

/* The hash that hides the shown bits, or with a cookie the one that proves it. */
static uint32_t cookie_hash(const struct foyer_host *host, const struct tcp_segment *seg,
                            const struct cookie *cookie)
{
    struct {
        uint8_t src[16], dst[16];
        uint32_t ports, minutes, mss_index, purpose;
    } input = {
        .ports = (uint32_t)seg->tcp.src_port << 16 | seg->tcp.dst_port,
        .minutes = cookie != NULL ? cookie->minutes : 0,
        .mss_index = cookie != NULL ? cookie->mss_index : 0,
        .purpose = cookie != NULL ? 4 : 3, /* 1 and 2 are tcp_options.c's */
    };
    struct siphash_key key = siphash_key_from(host->config.secret);

    memcpy(input.src, seg->rx->src.bytes, 16);
    memcpy(input.dst, seg->rx->dst.bytes, 16);
    return (uint32_t)siphash(&key, &input, sizeof(input));
}

static seq_t make_cookie(const struct foyer_host *host, const struct tcp_segment *seg,
                         const struct cookie *cookie)
{
    uint32_t shown = (cookie->minutes & 31) << 3 | cookie->mss_index;
    uint32_t proof = cookie_hash(host, seg, cookie) + seg->tcp.seq.value * ISS_FACTOR;

    shown ^= cookie_hash(host, seg, NULL) >> 24;
    return SEQ(shown << 24 | (proof & PROOF_MASK));
}

enum cookie_kind {
    COOKIE_NONE,  /* none of ours, or too old */
    COOKIE_LATER, /* ours, in a segment that is not the connection's first */
    COOKIE_FIRST,
};

static enum cookie_kind read_cookie(const struct foyer_host *host, const struct tcp_segment *seg,
                                    foyer_time_ns now, struct cookie *ret_cookie)
{
    uint32_t iss = seq_back(seg->tcp.ack, 1).value;
    uint32_t shown = iss >> 24 ^ cookie_hash(host, seg, NULL) >> 24;
    uint32_t minutes = (uint32_t)(now / COOKIE_MINUTE_NS);
    struct cookie cookie = {.mss_index = shown & 7};
    uint32_t age = (minutes - (shown >> 3)) & 31;

    if (age >= COOKIE_MINUTES)
        return COOKIE_NONE;
    cookie.minutes = minutes - age;
    uint32_t irs = (iss - cookie_hash(host, seg, &cookie)) * ISS_INVERSE;
    uint32_t offset = (seg->tcp.seq.value - 1 - irs) & PROOF_MASK;
    *ret_cookie = cookie;
    if (offset == 0)
        return COOKIE_FIRST;
    return offset <= OFFSET_MAX ? COOKIE_LATER : COOKIE_NONE;
}

void cookie_answer(struct foyer_host *host, struct sock *listener, const struct tcp_segment *seg,
                   foyer_time_ns now)
{
    struct foyer_endpoint local = {seg->rx->dst, seg->tcp.dst_port};
    struct foyer_endpoint remote = {seg->rx->src, seg->tcp.src_port};
    struct wire_tcp_options peer = seg->options;
    struct cookie cookie = {.minutes = (uint32_t)(now / COOKIE_MINUTE_NS)};
    uint32_t mss = peer.has_mss
                       ? peer.mss
                       : (foyer_addr_is_v4(&remote.addr) ? TCP_MSS_DEFAULT_V4 : TCP_MSS_DEFAULT_V6);

    while (cookie.mss_index < 7 && mss_table[cookie.mss_index + 1] <= mss)
        cookie.mss_index++;
    uint32_t ts_value = 0;
    bool has_ecn = peer.has_timestamps && syn_asks_ecn(listener, seg);
    if (peer.has_timestamps) {
        uint32_t ts_now = tcp_ms(now) + tcp_ts_offset_for(host, &local, &remote);
        uint32_t bits = peer.has_window_scale ? peer.window_scale : TS_NO_SCALE;
        bits |= peer.has_sack_permitted ? TS_SACK : 0;
        bits |= has_ecn ? TS_ECN : 0;
        ts_value = (ts_now & ~TS_BITS) | bits;
        if ((int32_t)(ts_value - ts_now) > 0) /* it must not run ahead of the clock */
            ts_value -= TS_BITS + 1;
    } else {
        peer.has_window_scale = false;
        peer.has_sack_permitted = false;
    }
    listener->listen->cookie_ns = now;
    listener->listen->has_sent_cookie = true;
    host->stats.tcp_cookies_sent++;
    syn_ack_send(host, &(struct syn_ack){.listener = listener,
                                         .local = &local,
                                         .remote = &remote,
                                         .iss = make_cookie(host, seg, &cookie),
                                         .irs = seg->tcp.seq,
                                         .peer = &peer,
                                         .ts_value = ts_value,
                                         .has_ecn = has_ecn});
}

bool cookie_input(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                  foyer_time_ns now)
{
    struct listen *listen = listener->listen;
    const uint16_t mask = WIRE_TCP_SYN | WIRE_TCP_ACK | WIRE_TCP_RST;
    struct cookie cookie;

    if ((seg->tcp.flags & mask) != WIRE_TCP_ACK || !listen->has_sent_cookie ||
        now - listen->cookie_ns >= COOKIE_MINUTES * COOKIE_MINUTE_NS)
        return false;
    enum cookie_kind kind = read_cookie(host, seg, now, &cookie);
    if (kind == COOKIE_NONE) {
        host->stats.tcp_cookies_failed++;
        return false;
    }
    if (kind == COOKIE_LATER)
        return true;
    host->stats.tcp_cookies_received++;
    if (tcp_accept_queue_is_full(listener)) {
        host->stats.tcp_listen_overflows++;
        return true;
    }
    struct wire_tcp_options peer = {.has_mss = true, .mss = mss_table[cookie.mss_index]};
    bool has_ecn = false;
    if (seg->options.has_timestamps) {
        uint32_t bits = seg->options.timestamp_echo & TS_BITS;
        peer.has_timestamps = true;
        peer.timestamp_value = seg->options.timestamp_value;
        peer.has_sack_permitted = (bits & TS_SACK) != 0;
        peer.has_window_scale = (bits & 15u) != TS_NO_SCALE;
        peer.window_scale = (uint8_t)(peer.has_window_scale ? bits & 15u : 0);
        has_ecn = (bits & TS_ECN) != 0;
        seg->options.timestamp_echo = 0; /* not the time of anything */
    }
    struct handshake handshake = {.listener = listener,
                                  .peer = &peer,
                                  .irs = seq_back(seg->tcp.seq, 1),
                                  .iss = seq_back(seg->tcp.ack, 1),
                                  .window = seg->tcp.window,
                                  .has_ecn = has_ecn};
    if (handshake_complete(host, &handshake, seg, now))
        host->stats.tcp_passive_opens++;
    return true;
}
