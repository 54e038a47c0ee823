/*
 * More accurate ECN feedback (RFC 9768). RFC 3168's echo says once per round trip that something
 * was marked; here the receiver counts.
 *
 *   SYN with AE, CWR and ECE asks; the SYN-ACK's three flags agree and say how the SYN's IP-ECN
 *   field arrived, the first bare ACK says the same of the SYN-ACK. From then on the flags are ACE,
 *   the last three bits of the count of CE-marked packets. An option counts bytes, so that a sender
 *   whose ACKs were lost knows how often ACE wrapped.
 *
 * Text carries the option where it leaves room in its segment: none gets longer than the path takes,
 * or shorter than it could be. Handshakes by cookie agree on RFC 3168's ECN only: a cookie has no room
 * to remember more.
 */
#include "stack/tcp.h"
#include "stack/tcp_accecn.h"

#define ECN_MASK 0x03u
#define ECN_NOT_ECT 0u
#define ECN_ECT_1 1u
#define ECN_ECT_0 2u
#define ECN_CE 3u

#define ACE_MASK 7u
#define COUNT_BEGIN 5u /* section 3.2.1: of packets */
#define BYTES_BEGIN 1u /* of ECT(0) and ECT(1) */
#define FIELD_MASK 0xffffffu
#define ACCECN_ROUNDS 4u
#define MARKS_WITH_DEBT 2u    /* section 3.2.2.5.1: n, while data waits for its ACK */
#define MARKS_WITHOUT_DEBT 3u /* n, else */
#define FEW_SEGMENTS (4u * 16u)
#define OPTIONS_SYN_ACK_TRIES 2u /* SYN-ACKs that agree; later ones say (0,0,0) */

enum { ORDER_0 = 0, ORDER_1 };

/* ---- flags ------------------------------------------------------------------------------------ */

_Static_assert(WIRE_TCP_AE >> ACCECN_FLAGS_SHIFT == 4 && WIRE_TCP_CWR >> ACCECN_FLAGS_SHIFT == 2 &&
                   WIRE_TCP_ECE >> ACCECN_FLAGS_SHIFT == 1,
               "ACE's bits, highest first");

static unsigned ace_of(uint16_t flags)
{
    return flags >> ACCECN_FLAGS_SHIFT & ACE_MASK;
}

/* Tables 2 and 3: how an IP-ECN field is told during the handshake. */
static uint16_t flags_of_ip_ecn(unsigned ip_ecn)
{
    static const uint8_t aces[4] = {2, 3, 4, 6};

    return accecn_flags_of(aces[ip_ecn & ECN_MASK]);
}

static unsigned ip_ecn_of(const struct tcp_segment *seg)
{
    return seg->rx != NULL ? seg->rx->tos & ECN_MASK : ECN_NOT_ECT;
}

/* Section 3.1.3: what is neither "no" nor RFC 3168's question asks for this. */
static bool asks(const struct tcp_segment *syn)
{
    unsigned ace = ace_of(syn->tcp.flags);

    return ace != 0 && ace != 3;
}

static bool is_spoken(const struct sock *sock)
{
    return sock->options->ecn == FOYER_ECN_ACCURATE ||
           sock->options->ecn == FOYER_ECN_ACCURATE_ACCEPT;
}

/* ---- a request to a listener -------------------------------------------------------------------- */

static uint8_t with_ip_ecn(uint8_t bits, const struct tcp_segment *syn)
{
    uint8_t rest = bits & (uint8_t) ~(ECN_MASK << ACCECN_IP_ECN_SHIFT);

    return rest | (uint8_t)(ip_ecn_of(syn) << ACCECN_IP_ECN_SHIFT);
}

/* [RFC9768 3.1.1b 3.1.1c 3.1.3a] */
uint8_t accecn_request_of(const struct sock *listener, const struct tcp_segment *syn)
{
    return is_spoken(listener) && asks(syn) ? with_ip_ecn(ACCECN_AGREED, syn) : 0;
}

/*
 * Section 3.1.5. The mode stays what the first SYN made it; the field of the latest SYN is told
 * [RFC9768 3.1.5a 3.1.5d]. A SYN that asks for nothing may be all that the client still remembers:
 * no ECT from then on [RFC9768 3.1.5f]. Two that ask for different things are not one connection's
 * [RFC9768 3.1.5c].
 */
bool accecn_request_again(uint8_t *bits, bool is_classic, const struct sock *listener,
                          const struct tcp_segment *syn)
{
    unsigned ace = ace_of(syn->tcp.flags);

    if (*bits == 0)
        return !(is_classic && is_spoken(listener) && asks(syn));
    if (ace == 3)
        return false;
    *bits = with_ip_ecn(*bits, syn) | ACCECN_AGAIN | (ace == 0 ? ACCECN_NO_ECT : 0);
    return true;
}

/* Section 3.2.3.2.2: the last tries are for paths that drop what they do not know. */
uint16_t accecn_syn_ack_flags(uint8_t bits, unsigned nth)
{
    return nth < OPTIONS_SYN_ACK_TRIES ? flags_of_ip_ecn(bits >> ACCECN_IP_ECN_SHIFT) : 0;
}

/* [RFC9768 3.2.3.2.1b] */
void accecn_syn_ack_option(struct wire_tcp_options *options)
{
    options->has_accecn = true;
    options->accecn_order = ORDER_1;
    options->accecn_count = 3;
    options->accecn[0] = options->accecn[2] = BYTES_BEGIN;
    options->accecn[1] = 0;
}

/* ---- both ends enter ------------------------------------------------------------------------------ */

/* Section 3.2.1. timestamp: the peer's so far, 0 where there are none. */
static struct tcp_accecn *enter(struct tcb *tcb, unsigned handshake_ip_ecn, uint32_t timestamp)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    bool is_asked = accecn->is_asked;

    *accecn = (struct tcp_accecn){
        .received_ce = COUNT_BEGIN,
        .received = {0, BYTES_BEGIN, BYTES_BEGIN},
        .told_ce = COUNT_BEGIN,
        .told = {0, BYTES_BEGIN, BYTES_BEGIN},
        .sent_ce = COUNT_BEGIN,
        .sent = {0, BYTES_BEGIN, BYTES_BEGIN},
        .echo_ts = timestamp,
        .round_end = tcb->snd_nxt,
        .handshake_ip_ecn = (uint8_t)handshake_ip_ecn,
        .is_asked = is_asked,
    };
    tcb->flags &= ~(uint32_t)(TCPF_ECN_OK | TCPF_ECE | TCPF_CWR);
    tcb->flags |= TCPF_ACCECN;
    return accecn;
}

void accecn_enter_server(struct tcb *tcb, uint8_t bits)
{
    struct tcp_accecn *accecn = enter(tcb, (unsigned)bits >> ACCECN_IP_ECN_SHIFT, tcb->ts_recent);

    accecn->is_ect_off = (bits & ACCECN_NO_ECT) != 0;
}

/* Section 3.1.4.1: the first SYN and the first that is sent again ask, later ones for nothing. */
bool accecn_ask(const struct sock *sock, uint16_t *ret_flags)
{
    const struct tcb *tcb = sock->tcb;

    if (sock->options->ecn != FOYER_ECN_ACCURATE || tcb->extra == NULL)
        return false;
    tcb->extra->accecn.is_asked = true;
    *ret_flags = tcb->retries < 2 ? WIRE_TCP_AE | WIRE_TCP_CWR | WIRE_TCP_ECE : 0;
    return true;
}

/* The SYN-ACK. Our SYNs are sent as Not-ECT: another field would have been mangled on its way
 * (section 3.2.2.3), and what we send may be so again. */
static bool accept_syn_ack(struct tcb *tcb, const struct tcp_segment *seg, unsigned ace)
{
    if (ace == 1) /* RFC 3168's, which no SYN without the question may follow */
        return tcb->retries >= 2;
    if (ace == 0 || ace == 7) /* none, or a server that sends our flags back */
        return true;
    struct tcp_accecn *accecn = enter(tcb, ip_ecn_of(seg), seg->options.timestamp_value);
    if (accecn->handshake_ip_ecn == ECN_CE)
        accecn->received_ce++;
    accecn->is_ect_off = ace != 2 && ace != 5;
    accecn->owes_handshake = true;
    accecn->owes_option = true;
    return true;
}

/* Table 2. [RFC9768 3.1.1d 3.1.2a 3.1.2b 3.1.2d 3.1.2e 3.1.3b] */
bool accecn_answered(struct sock *sock, const struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    unsigned ace = ace_of(seg->tcp.flags);

    if (tcb->extra == NULL || !tcb->extra->accecn.is_asked)
        return false;
    tcb->flags &= ~(uint32_t)TCPF_ACCECN;
    if ((seg->tcp.flags & WIRE_TCP_ACK) != 0)
        return accept_syn_ack(tcb, seg, ace);
    /* Simultaneous open: as if we had listened. */
    if (ace == 3)
        return false;
    if (ace != 0)
        (void)enter(tcb, ip_ecn_of(seg), seg->options.timestamp_value);
    return true;
}

uint16_t accecn_reply_flags(struct tcb *tcb)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;

    if (tcb->retries < OPTIONS_SYN_ACK_TRIES)
        return flags_of_ip_ecn(accecn->handshake_ip_ecn);
    accecn->is_ect_off = true; /* section 3.1.5, of a server */
    return 0;
}

void accecn_syn_again(struct tcb *tcb, const struct tcp_segment *seg)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    unsigned ace = ace_of(seg->tcp.flags);

    if ((seg->tcp.flags & WIRE_TCP_ACK) == 0) {
        accecn->handshake_ip_ecn = (uint8_t)ip_ecn_of(seg);
        if (ace == 0)
            accecn->is_ect_off = true;
    } else if (ace != 1 && ace != 7 &&
               (tcb->flags & (TCPF_ACK_NOW | TCPF_PASSIVE)) == TCPF_ACK_NOW) {
        /* Section 3.2.2.1: its ACK has the same encoding. One mark of them all is counted. */
        accecn->handshake_ip_ecn = (uint8_t)ip_ecn_of(seg);
        accecn->owes_handshake = true;
        if (accecn->handshake_ip_ecn == ECN_CE && accecn->received_ce == COUNT_BEGIN)
            accecn->received_ce++;
    }
}

/* Table 4. [RFC9768 3.2.2.1c 3.2.2.1d] */
void accecn_handshake_acked(struct tcb *tcb, const struct tcp_segment *seg)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    unsigned ace = ace_of(seg->tcp.flags);

    if (seg->text_size > 0 || seg->is_fin || seg->options.sack_count > 0)
        return;
    accecn->echo_ts = seg->options.timestamp_value;
    /* Not looked at again where the ACK goes on to be one of data. */
    accecn->is_handshake_segment = !seq_eq(seg->tcp.ack, tcb->snd_una);
    if (ace == 0)
        accecn->is_ect_off = accecn->is_deaf = true;
    else if (ace == 6)
        accecn->sent_ce++;
    /* Our SYN-ACK was Not-ECT: section 3.2.2.3. */
    if (ace == 3 || ace == 4 || ace == 6)
        accecn->is_ect_off = true;
}

/* ---- what is sent --------------------------------------------------------------------------------- */

/* [RFC9768 3.2.2a 3.2.2.1a 3.2b] */
uint16_t accecn_flags(struct tcb *tcb, bool is_bare)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    bool is_handshake = accecn->owes_handshake && is_bare;

    accecn->owes_handshake = false;
    if (is_handshake)
        return flags_of_ip_ecn(accecn->handshake_ip_ecn);
    accecn->told_ce = accecn->received_ce;
    return accecn_flags_of(accecn->received_ce & ACE_MASK);
}

/* [RFC9768 3.3.4a] */
bool accecn_may_coalesce(const struct tcb *tcb)
{
    return (tcb->extra->accecn.received_ce & 2u) == 0;
}

static bool has_news(const struct tcp_accecn *accecn)
{
    return accecn->received.ce != accecn->told.ce || accecn->received.e0 != accecn->told.e0 ||
           accecn->received.e1 != accecn->told.e1;
}

/*
 * Section 3.2.3.3, the simple scheme: each counter that has ever changed, on each ACK that has news.
 * The SACK option goes first where it would be left without two blocks. What has changed is whole or
 * not at all. [RFC9768 3.2.3.3a 3.2.3.3b 3.2.3.3c 3.2.3.1a]
 */
void accecn_fill_option(struct tcb *tcb, struct wire_tcp_options *options, uint32_t room_bytes)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    const struct accecn_bytes *bytes = &accecn->received;
    bool has_e0 = bytes->e0 != BYTES_BEGIN, has_e1 = bytes->e1 != BYTES_BEGIN;
    uint8_t order = has_e0 ? ORDER_0 : ORDER_1;
    uint8_t count = has_e0 && has_e1 ? 3 : bytes->ce != 0 ? 2 : 1;

    if (!accecn->owes_option && !has_news(accecn))
        return;
    if (accecn->owes_option)
        count = 3;
    uint8_t sack_count = options->sack_count;
    size_t size = (2u + 3u * count + 3u) & ~3u, room = WIRE_TCP_OPTIONS_MAX - size;
    while (options->sack_count > 2 && wire_tcp_options_size(options) > room)
        options->sack_count--;
    if (size > room_bytes || wire_tcp_options_size(options) > room) {
        options->sack_count = sack_count;
        return;
    }
    options->has_accecn = true;
    options->accecn_order = order;
    options->accecn_count = count;
    options->accecn[0] = (order == ORDER_1 ? bytes->e1 : bytes->e0) & FIELD_MASK;
    options->accecn[1] = bytes->ce & FIELD_MASK;
    options->accecn[2] = (order == ORDER_1 ? bytes->e0 : bytes->e1) & FIELD_MASK;
    accecn->told = *bytes;
    accecn->owes_option = false;
}

/* ---- what arrives --------------------------------------------------------------------------------- */

/* Section 3.2.2.5.1: at once where marks begin, and before ACE could wrap. An ACK of ACKs carries
 * no SACK blocks, so there is none where it would. [RFC9768 3.2.2.5.1a 3.2.2.5.1b] */
static bool wants_ack(const struct tcb *tcb, const struct tcp_segment *seg, bool is_ce)
{
    const struct tcp_accecn *accecn = &tcb->extra->accecn;
    uint32_t marks = accecn->received_ce - accecn->told_ce;

    if (seg->text_size > 0)
        return (is_ce && !accecn->was_ce) || marks >= MARKS_WITH_DEBT;
    if (!seq_eq(tcb->rcv_acked, tcb->rcv_nxt))
        return marks >= MARKS_WITH_DEBT;
    return marks >= MARKS_WITHOUT_DEBT && !tcp_has_gaps(tcb);
}

/* Whatever our own half does: the peer judges what it is told. [RFC9768 3.2a 3.1.5h] */
void accecn_receive(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    unsigned ip_ecn = ip_ecn_of(seg);
    uint32_t gso_size = seg->rx->gso_size;

    if (ip_ecn == ECN_CE) {
        accecn->received_ce +=
            gso_size > 0 && seg->size > gso_size ? (seg->size + gso_size - 1) / gso_size : 1;
        accecn->received.ce += seg->size;
    } else if (ip_ecn == ECN_ECT_0) {
        accecn->received.e0 += seg->size;
    } else if (ip_ecn == ECN_ECT_1) {
        accecn->received.e1 += seg->size;
    }
    if (wants_ack(tcb, seg, ip_ecn == ECN_CE)) {
        tcb->flags |= TCPF_ACK_NOW;
        sock_want_output(host, sock);
    }
    accecn->was_ce = ip_ecn == ECN_CE;
}

/* Appendix A.1: an ACK that others overtook says what was true before. [RFC9768 3.2.2.2a] */
static bool is_superseded(struct tcb *tcb, const struct tcp_segment *seg, uint32_t delivered)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    bool is_newer = false;

    if ((tcb->flags & TCPF_TS_OK) != 0 && seg->options.has_timestamps) {
        is_newer = (int32_t)(seg->options.timestamp_value - accecn->echo_ts) > 0;
        if (is_newer)
            accecn->echo_ts = seg->options.timestamp_value;
    }
    return delivered == 0 && !is_newer;
}

/* One field of 24 bits: how far its counter went on. */
static uint32_t take_field(uint32_t *counter, uint32_t field)
{
    uint32_t more = (field - *counter) & FIELD_MASK;

    *counter += more;
    return more;
}

/* Section 3.2.3.1. False: there is none, or none to be believed: its first one was zeroed on its
 * way (3.2.3.2.4). ret_ce_bytes: newly marked. */
static bool take_option(struct tcp_accecn *accecn, const struct wire_tcp_options *options,
                        uint32_t *ret_ce_bytes)
{
    bool is_1 = options->accecn_order == ORDER_1;

    if (!options->has_accecn || options->accecn_count == 0 || accecn->is_option_ignored)
        return false;
    if (!accecn->is_option_seen &&
        (options->accecn[0] == 0 || (options->accecn_count > 2 && options->accecn[2] == 0))) {
        accecn->is_option_ignored = true;
        return false;
    }
    accecn->is_option_seen = true;
    *ret_ce_bytes = 0;
    (void)take_field(is_1 ? &accecn->sent.e1 : &accecn->sent.e0, options->accecn[0]);
    if (options->accecn_count > 1)
        *ret_ce_bytes = take_field(&accecn->sent.ce, options->accecn[1]);
    if (options->accecn_count > 2)
        (void)take_field(is_1 ? &accecn->sent.e0 : &accecn->sent.e1, options->accecn[2]);
    return true;
}

/*
 * Appendix A.2: marked packets. ACE tells them modulo 8; where so many were acknowledged at once
 * that it may have wrapped, all the whole turns are assumed that fit. The option says whether that
 * is likely; without it, it is not where ACKs are always of that many (GRO, thinned ACKs).
 */
static uint32_t take_ace(const struct tcb *tcb, unsigned ace, uint32_t segments, bool has_option,
                         uint32_t ce_bytes)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    uint32_t marks = (ace - accecn->sent_ce) & ACE_MASK;
    uint32_t safest = segments > marks ? segments - ((segments - marks) & ACE_MASK) : marks;

    if (has_option) {
        if (safest > marks && ce_bytes <= (uint32_t)tcb->mss * marks &&
            ce_bytes / safest < tcb->mss / 2u)
            safest = marks;
        if (safest > marks && ce_bytes == 0)
            safest = marks;
    } else if (accecn->segments_avg16 >= FEW_SEGMENTS) {
        safest = marks;
    }
    accecn->segments_avg16 += segments - accecn->segments_avg16 / 16u;
    accecn->sent_ce += safest;
    return safest;
}

/* Section 3.2.2.3: where all is marked from the start, that is no queue. */
static void watch_first_rounds(struct tcb *tcb, uint32_t segments, uint32_t marks)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;

    if (accecn->rounds >= ACCECN_ROUNDS || segments == 0)
        return;
    if (marks < segments)
        accecn->is_unmarked_seen = true;
    if (seq_lt(tcb->snd_una, accecn->round_end))
        return;
    accecn->round_end = tcb->snd_nxt;
    accecn->rounds++;
    if (accecn->rounds == ACCECN_ROUNDS && !accecn->is_unmarked_seen)
        accecn->is_ect_off = accecn->is_deaf = true;
}

bool accecn_ack(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                const struct tcp_delivery *delivery, foyer_time_ns now)
{
    struct tcp_accecn *accecn = &tcb->extra->accecn;
    uint32_t delivered = delivery->acked_bytes + delivery->sacked_bytes;
    uint32_t segments = (delivered + tcb->mss - 1) / tcb->mss;
    unsigned ace = ace_of(seg->tcp.flags);
    uint32_t ce_bytes = 0;

    if (is_superseded(tcb, seg, delivered))
        return false;
    bool has_option = take_option(accecn, &seg->options, &ce_bytes);
    if (accecn->is_handshake_segment) {
        accecn->is_handshake_segment = false;
        return false;
    }
    /* Section 3.2.2.4: it began with 5. */
    if (!accecn->is_ace_seen && ace == 0)
        accecn->is_ect_off = accecn->is_deaf = true;
    accecn->is_ace_seen = true;
    uint32_t marks = take_ace(tcb, ace, segments, has_option, ce_bytes);
    /* Section 3.2.3.2.5: marked bytes without a marked packet, which cannot be. [RFC9768 3.2.3.2.5b] */
    if (has_option && ce_bytes > 0 && marks == 0 && segments <= ACE_MASK)
        accecn->is_ect_off = true;
    watch_first_rounds(tcb, segments, marks);
    if (accecn->is_deaf)
        return false;
    if (!has_option)
        ce_bytes = marks * tcb->mss < delivered ? marks * tcb->mss : delivered;
    if (tcp_cc(tcb)->on_ecn != NULL)
        tcp_cc(tcb)->on_ecn(tcb, delivery->acked_bytes, ce_bytes);
    if (marks > 0)
        tcp_recovery_on_ece(host, tcb, delivery, now);
    return marks > 0;
}

void accecn_info(const struct tcb *tcb, struct foyer_socket_info *ret_info)
{
    const struct tcp_accecn *accecn = &tcb->extra->accecn;

    ret_info->has_accurate_ecn = true;
    ret_info->ecn = (struct foyer_ecn_counters){
        .received_ce = accecn->received_ce - COUNT_BEGIN,
        .received_ce_bytes = accecn->received.ce,
        .received_e0_bytes = accecn->received.e0 - BYTES_BEGIN,
        .received_e1_bytes = accecn->received.e1 - BYTES_BEGIN,
        .delivered_ce = accecn->sent_ce - COUNT_BEGIN,
        .delivered_ce_bytes = accecn->sent.ce,
        .delivered_e0_bytes = accecn->sent.e0 - BYTES_BEGIN,
        .delivered_e1_bytes = accecn->sent.e1 - BYTES_BEGIN,
    };
}
