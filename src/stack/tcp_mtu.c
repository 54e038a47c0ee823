/*
 * Packetization layer path MTU discovery (RFC 4821, RFC 8899): for paths that drop what is too
 * large and say nothing of it. Where ICMP speaks, tcp_icmp_error and the path's MTU do it alone.
 *
 *     full size --third timeout in a row--> the base, and IPv4's least two timeouts later
 *        ^                                        | progress
 *        |                                        v
 *        +-- the top was reached -- SEARCH: probes between what works (low) and what is hoped for
 *                                         (high): the top first, then the middle
 *                                                 | nothing left between
 *                                                 v
 *                                   DONE, for ten minutes; then SEARCH again
 *
 * A probe is a segment of new data, larger than the others. It goes when more data follows it,
 * so that its loss alone is seen by what comes after; that loss is no sign of congestion. Three of
 * them end the hope for a size.
 *
 * All of it stands in the tcb's extra: a connection that never met a black hole has none. What
 * was found is shared by the host's cache with later connections, and ages there.
 */
#include <assert.h>

#include "stack/tcp.h"

#define BASE_MTU 1280u     /* RFC 8899 section 5.1.2 says 1200; IPv6 promises 1280 */
#define BASE_MTU_LAST 576u /* IPv4: what every host takes (RFC 1122 section 3.3.2) */
#define FIRST_RETRIES 3u   /* timeouts in a row that make a black hole of a path ... */
#define LAST_RETRIES 5u    /* ... and one of less than the base */
#define MAX_PROBES 3u      /* RFC 8899 section 5.1.2 */
#define STEP_MIN 8u        /* bytes; less is not worth a probe [RFC4821 7.3c] */
#define FOLLOWERS 4u       /* segments behind a probe: DupThresh, and one that may be late */
#define RAISE_MS 600000u   /* RFC 8899 section 5.1.1, PMTU_RAISE_TIMER */

uint32_t tcp_mtu_bound(const struct tcb *tcb, uint32_t mss)
{
    const struct tcp_extra *extra = tcb->extra;
    return extra != NULL && extra->mtu_low != 0 && extra->mtu_low < mss ? extra->mtu_low : mss;
}

static uint32_t timestamps_size(const struct tcb *tcb)
{
    return (tcb->flags & TCPF_TS_OK) != 0 ? 12u : 0u;
}

static uint16_t mss_of_mtu(const struct sock *sock, uint32_t mtu)
{
    uint32_t headers = foyer_addr_is_v4(&sock->remote.addr) ? 40u : 60u;
    return (uint16_t)(mtu - headers - timestamps_size(sock->tcb));
}

static uint16_t mtu_of_mss(const struct sock *sock, uint32_t mss)
{
    uint32_t headers = foyer_addr_is_v4(&sock->remote.addr) ? 40u : 60u;
    return (uint16_t)(mss + headers + timestamps_size(sock->tcb));
}

/* ---- a black hole ----------------------------------------------------------------------------------- */

static void restart_search(struct tcp_extra *extra, uint16_t high)
{
    extra->mtu_high = high;
    extra->mtu_size = 0;
    extra->mtu_tries = 0;
    extra->is_mtu_probe_out = extra->is_mtu_repairing = false;
    extra->is_mtu_top_tried = false;
    extra->is_mtu_done = false;
}

static void lower(struct foyer_host *host, struct sock *sock, uint16_t mss)
{
    struct tcb *tcb = sock->tcb;

    if (mss >= tcb->mss || !tcp_extra_need(host, tcb))
        return;
    if (tcb->extra->mtu_low == 0)
        restart_search(tcb->extra, tcp_mss_limit(host, sock));
    tcb->extra->mtu_low = mss;
    tcb->extra->is_mtu_unconfirmed = true;
    tcb->extra->is_mtu_probe_out = false;
    host->stats.tcp_mtu_black_holes++;
    tcp_mss_update(host, sock);
}

/* RFC 4821 section 7.7: a timeout that follows others is the sign. */
void tcp_mtu_on_rto(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;

    if (!tcp_is_synchronized(sock) || tcp_flight(tcb) == 0)
        return;
    if (tcb->extra != NULL) /* what a probe would have told is lost in the rest */
        tcb->extra->is_mtu_probe_out = tcb->extra->is_mtu_repairing = false;
    if (sock->path_generation == host->path_generation && sock->path_is_local)
        return;
    /* Only what is larger than the size in question can have been dropped for it. */
    if (tcb->retries == FIRST_RETRIES && tcp_flight(tcb) > mss_of_mtu(sock, BASE_MTU))
        lower(host, sock, mss_of_mtu(sock, BASE_MTU));
    else if (tcb->retries == LAST_RETRIES && foyer_addr_is_v4(&sock->remote.addr) &&
             tcb->extra != NULL && tcb->extra->is_mtu_unconfirmed)
        lower(host, sock, mss_of_mtu(sock, BASE_MTU_LAST));
}

/* ICMP knows better: nothing above this size is hoped for. */
void tcp_mtu_on_icmp(struct sock *sock, uint16_t mtu)
{
    struct tcp_extra *extra = sock->tcb->extra;

    if (extra == NULL || extra->mtu_low == 0)
        return;
    uint16_t mss = mss_of_mtu(sock, mtu);
    if (mss < extra->mtu_high)
        extra->mtu_high = mss;
    if (mss < extra->mtu_low)
        extra->mtu_low = mss;
    extra->is_mtu_probe_out = extra->is_mtu_repairing = false;
}

/* ---- the search ---------------------------------------------------------------------------------------- */

/* The size to try next; 0: there is none. */
static uint16_t next_size(struct tcp_extra *extra)
{
    assert(extra->mtu_high >= extra->mtu_low);
    if ((uint32_t)extra->mtu_high - extra->mtu_low < STEP_MIN && extra->is_mtu_top_tried)
        return 0;
    if (extra->mtu_high == extra->mtu_low)
        return 0;
    if (!extra->is_mtu_top_tried)
        return extra->mtu_high;
    return (uint16_t)((extra->mtu_high + extra->mtu_low + 1u) / 2u);
}

static void end_search(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcp_extra *extra = sock->tcb->extra;

    extra->is_mtu_done = true;
    extra->mtu_done_ms = tcp_ms(now);
    if (extra->mtu_low >= tcp_mss_limit(host, sock))
        extra->mtu_low = 0; /* the whole of it works: as if nothing had been */
}

uint16_t tcp_mtu_probe_size(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_extra *extra = tcb->extra;

    if (extra == NULL || extra->mtu_low == 0 || extra->is_mtu_probe_out ||
        extra->is_mtu_repairing || extra->is_mtu_unconfirmed || tcb->recovery != TCP_OPEN)
        return 0;
    uint16_t limit = tcp_mss_limit(host, sock);
    if (extra->is_mtu_done && tcp_ms(now) - extra->mtu_done_ms >= RAISE_MS)
        restart_search(extra, limit);
    if (extra->mtu_high > limit) /* the link's MTU changed */
        extra->mtu_high = limit > extra->mtu_low ? limit : extra->mtu_low;
    if (extra->is_mtu_done)
        return 0;
    if (extra->mtu_size <= extra->mtu_low || extra->mtu_size > extra->mtu_high)
        extra->mtu_size = next_size(extra);
    if (extra->mtu_size == 0)
        end_search(host, sock, now);
    return extra->mtu_size;
}

bool tcp_mtu_may_probe(const struct sock *sock, uint16_t size, uint32_t unsent, uint32_t window,
                       bool *ret_must_wait)
{
    const struct tcb *tcb = sock->tcb;
    uint32_t wanted = size + FOLLOWERS * (uint32_t)tcb->mss;
    uint32_t pipe = tcp_pipe(tcb);
    uint32_t room = tcb->cwnd_bytes > pipe ? tcb->cwnd_bytes - pipe : 0;

    *ret_must_wait = false;
    if (tcb->snd_wnd < wanted || tcb->cwnd_bytes < wanted || sock->rings->tx.size < 2 * wanted)
        return false;
    if (unsent < wanted) {
        /* A writer that waits for space has more, which comes when some is acknowledged. */
        uint32_t used = seq_distance(tcb->snd_end, tcb->snd_una);
        *ret_must_wait = sock->rings->tx.size - used < wanted && pipe > 0;
        return false;
    }
    /* Both windows are spent segment by segment: a little is saved up. */
    bool has_room = room >= size && window >= size;
    *ret_must_wait = !has_room && pipe > 0;
    return has_room;
}

void tcp_mtu_probe_sent(struct tcb *tcb, seq_t start, uint16_t size)
{
    tcb->extra->is_mtu_probe_out = true;
    tcb->extra->mtu_start = start;
    tcb->extra->mtu_end = seq_add(start, size);
    tcb->extra->mtu_tries++;
}

static void share(struct foyer_host *host, const struct sock *sock, foyer_time_ns now)
{
    uint32_t limit = tcp_mss_limit(host, sock);
    uint32_t mss = tcp_mtu_bound(sock->tcb, limit); /* [RFC4821 5.2a] */
    /* The peer's own limit says nothing of the path. */
    uint16_t mtu = mss == limit ? ip_link_mtu(host, &sock->remote.addr) : mtu_of_mss(sock, mss);
    ip_set_mtu(host, &sock->remote.addr, mtu, now);
}

void tcp_mtu_on_progress(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    struct tcp_extra *extra = tcb->extra;

    if (extra->mtu_low == 0)
        return;
    if (extra->is_mtu_unconfirmed) {
        /* What stood still for so long goes on with smaller segments: it was their size. */
        extra->is_mtu_unconfirmed = false;
        share(host, sock, now);
    }
    if (!(extra->is_mtu_probe_out || extra->is_mtu_repairing) ||
        seq_lt(tcb->snd_una, extra->mtu_end))
        return;
    extra->is_mtu_repairing = false;
    if (!extra->is_mtu_probe_out)
        return;
    extra->is_mtu_probe_out = false;
    extra->mtu_low = extra->mtu_size;
    extra->mtu_tries = 0;
    extra->mtu_size = 0;
    host->stats.tcp_mtu_probes_good++;
    share(host, sock, now);
    tcp_mss_update(host, sock);
}

/* One that could not be sent again at once in all its pieces is looked at more than once. */
bool tcp_mtu_is_probe_lost(struct foyer_host *host, struct tcb *tcb)
{
    struct tcp_extra *extra = tcb->extra;
    const struct tcp_sent *lost = tcp_board_first_lost(tcb);

    if (extra == NULL || !(extra->is_mtu_probe_out || extra->is_mtu_repairing) || lost == NULL ||
        lost->is_again || seq_lt(lost->start, extra->mtu_start) ||
        seq_gt(lost->end, extra->mtu_end) ||
        tcb->board->lost_bytes != seq_distance(lost->end, lost->start))
        return false;
    if (!extra->is_mtu_probe_out)
        return true;
    extra->is_mtu_probe_out = false;
    extra->is_mtu_repairing = true;
    host->stats.tcp_mtu_probes_lost++;
    if (extra->mtu_tries >= MAX_PROBES) {
        extra->is_mtu_top_tried = true;
        extra->mtu_high = (uint16_t)(extra->mtu_size - 1);
        extra->mtu_tries = 0;
        extra->mtu_size = 0;
    }
    return true;
}
