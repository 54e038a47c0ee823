/*
 * Connection requests (see tcp_request.h): SYN-RECEIVED of RFC 9293 section 3.10.7.4 for passive
 * opens, without a socket. tcp_in.c finds the request of a segment, tcp_listen.c makes new ones.
 *
 * The segments that answer go out as stateless packets; one that finds the queue full is sent
 * again with the next retransmission.
 */
#include "stack/tcp_request.h"

#include <errno.h>

#include "base/bytes.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/socket.h"
#include "stack/tcp.h"

#define HELD_MS 60000u /* a caller that does not decide by then never will */

/* ---- table and time -------------------------------------------------------------------------------- */

int requests_init(struct foyer_host *host)
{
    struct requests *requests = &host->requests;

    for (unsigned i = 0; i < REQUEST_LEVELS; i++)
        list_init(&requests->due[i]);
    requests->timer.kind = TIMER_REQUESTS;
    int error = hash_table_init(&requests->table, &host->config.allocator);
    requests->table.load_shift = 1; /* a flood is paid for in these, too */
    return error;
}

void requests_finish(struct foyer_host *host)
{
    /* The listeners are gone, and with them their requests. */
    timer_cancel(&host->timers, &host->requests.timer);
    hash_table_finish(&host->requests.table);
}

static uint32_t level_ms(unsigned level)
{
    return level == REQUEST_LEVEL_HELD
               ? HELD_MS
               : (uint32_t)(TCP_RTO_INITIAL_NS / FOYER_NS_PER_MS) << level; /* RFC 6298 (5.5) */
}

/* Microseconds until the request is due; <= 0: it is. */
static int32_t time_left_us(const struct request *request, foyer_time_ns now)
{
    return (int32_t)(request->sent_us + level_ms(request->level) * 1000u - tcp_us(now));
}

static void wait_at_level(struct foyer_host *host, struct request *request, unsigned level,
                          foyer_time_ns now)
{
    struct timer *timer = &host->requests.timer;

    list_remove(&request->due_node);
    request->level = (uint8_t)level;
    request->sent_us = tcp_us(now);
    request->flags |= REQUEST_TIMED;
    list_push_back(&host->requests.due[level], &request->due_node);
    foyer_time_ns due = now + level_ms(level) * FOYER_NS_PER_MS;
    if (!timer_is_armed(timer) || timer->deadline_ns > due)
        timer_set(&host->timers, timer, due);
}

static void arm_timer(struct foyer_host *host, foyer_time_ns now)
{
    foyer_time_ns due = FOYER_TIME_NEVER;

    for (unsigned i = 0; i < REQUEST_LEVELS; i++) {
        struct list_node *node = list_first(&host->requests.due[i]);
        if (node == NULL)
            continue;
        int32_t left_us = time_left_us(LIST_ENTRY(node, struct request, due_node), now);
        foyer_time_ns then = now + (left_us > 0 ? (uint32_t)left_us : 0) * FOYER_NS_PER_US;
        if (then < due)
            due = then;
    }
    timer_set(&host->timers, &host->requests.timer, due);
}

struct request *request_find(struct foyer_host *host, const struct foyer_endpoint *local,
                             const struct foyer_endpoint *remote)
{
    if (host->requests.table.count == 0)
        return NULL;
    uint32_t hash = ports_tuple_hash(host, FOYER_TCP, local, remote);
    for (struct hash_node *node = hash_table_first(&host->requests.table, hash); node != NULL;
         node = hash_table_next(node)) {
        struct request *request = HASH_ENTRY(node, struct request, node);
        if (request->remote.port == remote->port && request->local.port == local->port &&
            foyer_addr_eq(&request->remote.addr, &remote->addr) &&
            foyer_addr_eq(&request->local.addr, &local->addr))
            return request;
    }
    return NULL;
}

foyer_request request_handle(const struct request *request)
{
    return (foyer_request){(uint64_t)request->node.hash << 32 | request->serial};
}

struct request *request_from_handle(struct foyer_host *host, foyer_request handle)
{
    for (struct hash_node *node =
             hash_table_first(&host->requests.table, (uint32_t)(handle.value >> 32));
         node != NULL; node = hash_table_next(node)) {
        struct request *request = HASH_ENTRY(node, struct request, node);
        if (request->serial == (uint32_t)handle.value)
            return request;
    }
    return NULL;
}

static size_t request_bytes(bool is_held)
{
    return is_held ? sizeof(struct held_request) : sizeof(struct request);
}

/* No segment and no handle finds it any more; it may be out of the table already. */
static void leave_tables(struct foyer_host *host, struct request *request)
{
    hash_table_remove(&host->requests.table, &request->node);
    hash_table_shrink(&host->requests.table);
    list_remove(&request->due_node);
    list_remove(&request->queue_node);
}

void request_free(struct foyer_host *host, struct request *request)
{
    leave_tables(host, request);
    request->listener->listen->request_count--;
    host_free(host, request, request_bytes(request->was_held));
}

void request_end(struct foyer_host *host, struct request *request, int error)
{
    struct held_request *held = held_request(request);

    if (held == NULL || held->user == 0) {
        request_free(host, request);
        return;
    }
    leave_tables(host, request);
    /* RFC 9293 section 3.9.2.2 SHLD-25: what ICMP told explains the silence. */
    if (error != -ETIMEDOUT || held->error == 0)
        held->error = error;
    list_push_back(&request->listener->listen->ended, &request->queue_node);
    sock_event(host, request->listener, FOYER_EVENT_REQUEST_ENDED);
}

/* ---- what is sent -------------------------------------------------------------------------------------- */

static void send_bare(struct foyer_host *host, const struct sock *listener,
                      const struct foyer_endpoint *local, const struct foyer_endpoint *remote,
                      struct wire_tcp *tcp, const struct wire_tcp_options *options)
{
    uint8_t bytes[WIRE_TCP_SIZE_MAX];

    tcp->src_port = local->port;
    tcp->dst_port = remote->port;
    size_t size = wire_tcp_emit(bytes, tcp, options);
    host->stats.tcp_out_segs++;
    ip_send_control(host, FOYER_TCP, &local->addr, &remote->addr, listener->ttl, listener->tos,
                    bytes, size);
}

void syn_ack_send(struct foyer_host *host, const struct syn_ack *syn_ack)
{
    const struct wire_tcp_options *peer = syn_ack->peer;
    const struct sock *listener = syn_ack->listener;
    struct wire_tcp tcp = {
        .seq = syn_ack->iss,
        .ack = seq_add(syn_ack->irs, 1),
        .flags = WIRE_TCP_SYN | WIRE_TCP_ACK | (syn_ack->has_ecn ? WIRE_TCP_ECE : 0) |
                 (syn_ack->accecn != 0 ? accecn_syn_ack_flags(syn_ack->accecn, syn_ack->nth) : 0),
        .window = (uint16_t)tcp_syn_window(listener),
    };
    /* A SYN-ACK repeats only what the SYN offered: RFC 7323 sections 1.3 and 3.2, RFC 2018. */
    struct wire_tcp_options options = {
        .has_mss = true,
        .mss = tcp_mss_for_syn(host, listener, &syn_ack->remote->addr),
        .has_window_scale = peer->has_window_scale,
        .window_scale = peer->has_window_scale ? tcp_rcv_scale(host, listener) : 0,
        .has_sack_permitted = peer->has_sack_permitted,
        .has_timestamps = peer->has_timestamps,
        .timestamp_value = syn_ack->ts_value,
        .timestamp_echo = peer->timestamp_value,
    };
    if (peer->has_fastopen)
        fastopen_offer(host, &syn_ack->remote->addr, &syn_ack->local->addr,
                       peer->fastopen_is_experimental, &options);
    /* RFC 9768 section 3.2.3.2.2: sent again, it goes without. */
    if (syn_ack->accecn != 0 && (syn_ack->accecn & ACCECN_AGAIN) == 0 && syn_ack->nth == 0 &&
        !peer->has_fastopen)
        accecn_syn_ack_option(&options);

    send_bare(host, listener, syn_ack->local, syn_ack->remote, &tcp, &options);
}

static struct wire_tcp_options options_of_peer(const struct request *request)
{
    return (struct wire_tcp_options){
        .has_mss = (request->flags & REQUEST_MSS) != 0,
        .mss = request->mss,
        .has_window_scale = (request->flags & REQUEST_WS) != 0,
        .window_scale = request->snd_scale,
        .has_sack_permitted = (request->flags & REQUEST_SACK) != 0,
        .has_timestamps = (request->flags & REQUEST_TS) != 0,
        .timestamp_value = request->ts_recent,
        .has_fastopen = (request->flags & REQUEST_FASTOPEN) != 0,
        .fastopen_is_experimental = (request->flags & REQUEST_FASTOPEN_OLD) != 0,
    };
}

static uint32_t ts_now(struct foyer_host *host, const struct request *request, foyer_time_ns now)
{
    return tcp_ms(now) + tcp_ts_offset_for(host, &request->local, &request->remote);
}

static void send_syn_ack(struct foyer_host *host, const struct request *request, foyer_time_ns now)
{
    struct wire_tcp_options peer = options_of_peer(request);

    syn_ack_send(host, &(struct syn_ack){.listener = request->listener,
                                         .local = &request->local,
                                         .remote = &request->remote,
                                         .iss = request->iss,
                                         .irs = request->irs,
                                         .peer = &peer,
                                         .ts_value = ts_now(host, request, now),
                                         .has_ecn = (request->flags & REQUEST_ECN) != 0,
                                         .accecn = request->accecn,
                                         .nth = request->level});
}

/* RFC 5961: an ACK of what we have, limited per host. */
static void send_challenge(struct foyer_host *host, const struct request *request,
                           foyer_time_ns now)
{
    const struct sock *listener = request->listener;
    uint8_t scale = request->flags & REQUEST_WS ? tcp_rcv_scale(host, listener) : 0;
    struct wire_tcp tcp = {
        .seq = seq_add(request->iss, 1),
        .ack = seq_add(request->irs, 1),
        .flags = WIRE_TCP_ACK,
        .window = (uint16_t)(tcp_syn_window(listener) >> scale),
    };
    struct wire_tcp_options options = {
        .has_timestamps = (request->flags & REQUEST_TS) != 0,
        .timestamp_value = ts_now(host, request, now),
        .timestamp_echo = request->ts_recent,
    };

    if (tcp_take_challenge(host, now))
        send_bare(host, listener, &request->local, &request->remote, &tcp, &options);
}

void request_reset(struct foyer_host *host, const struct request *request)
{
    struct wire_tcp tcp = {
        .seq = request->level == REQUEST_LEVEL_HELD ? SEQ(0) : seq_add(request->iss, 1),
        .ack = seq_add(request->irs, 1),
        .flags = WIRE_TCP_RST | WIRE_TCP_ACK, /* RFC 9293 section 3.5.2 */
    };

    host->stats.tcp_out_rsts++;
    send_bare(host, request->listener, &request->local, &request->remote, &tcp, NULL);
}

/* ---- beginning -------------------------------------------------------------------------------------------- */

bool syn_asks_ecn(const struct sock *listener, const struct tcp_segment *seg)
{
    return listener->options->ecn != FOYER_ECN_OFF && tcp_ecn_is_asked(seg);
}

static void take_syn(struct request *request, const struct tcp_segment *seg)
{
    const struct wire_tcp_options *options = &seg->options;

    request->irs = seg->tcp.seq;
    request->accecn = accecn_request_of(request->listener, seg);
    request->window = seg->tcp.window;
    request->mss = options->mss;
    request->snd_scale = options->window_scale & 0x7fu;
    request->ts_recent = options->timestamp_value;
    request->flags =
        (uint8_t)((options->has_mss ? REQUEST_MSS : 0u) |
                  (options->has_window_scale ? REQUEST_WS : 0u) |
                  (options->has_sack_permitted ? REQUEST_SACK : 0u) |
                  (options->has_timestamps ? REQUEST_TS : 0u) |
                  (request->accecn == 0 && syn_asks_ecn(request->listener, seg) ? REQUEST_ECN
                                                                                : 0u) |
                  (seg->fastopen != FASTOPEN_NONE ? REQUEST_FASTOPEN : 0u) |
                  (options->fastopen_is_experimental ? REQUEST_FASTOPEN_OLD : 0u));
}

void request_answer(struct foyer_host *host, struct request *request, foyer_time_ns now)
{
    /* A held one's serial is known to the caller no more: the handle dies here. */
    list_remove(&request->queue_node);
    list_push_back(&request->listener->listen->requests, &request->queue_node);
    if (request->level == REQUEST_LEVEL_HELD)
        request->iss = tcp_isn_for(host, &request->local, &request->remote, now);
    wait_at_level(host, request, 0, now);
    host->stats.tcp_passive_opens++;
    send_syn_ack(host, request, now);
}

/* The ISS for the connection that a SYN begins. */
static seq_t syn_iss(struct foyer_host *host, const struct tcp_segment *seg, foyer_time_ns now)
{
    struct foyer_endpoint local = {seg->rx->dst, seg->tcp.dst_port};
    struct foyer_endpoint remote = {seg->rx->src, seg->tcp.src_port};
    seq_t iss = tcp_isn_for(host, &local, &remote, now);

    if (seg->has_isn_floor && seq_le(iss, seg->isn_floor))
        iss = seq_add(seg->isn_floor, UINT16_MAX + 2u); /* RFC 9293 section 3.6.1 */
    return iss;
}

struct request *request_create(struct foyer_host *host, struct sock *listener,
                               const struct tcp_segment *seg, bool is_held, foyer_time_ns now)
{
    struct listen *listen = listener->listen;
    struct ip_way way;

    if (ip_find_way(host, &seg->rx->src, &seg->rx->dst, &way) != 0)
        return NULL;
    struct request *request = host_alloc(host, request_bytes(is_held));
    if (request == NULL) {
        host->stats.in_dropped_memory++;
        return NULL;
    }
    request->was_held = is_held;
    request->local = (struct foyer_endpoint){seg->rx->dst, seg->tcp.dst_port};
    request->remote = (struct foyer_endpoint){seg->rx->src, seg->tcp.src_port};
    request->listener = listener;
    request->serial = ++host->requests.last_serial;
    if (request->serial == 0)
        request->serial = ++host->requests.last_serial;
    take_syn(request, seg);
    hash_table_insert(&host->requests.table, &request->node,
                      ports_tuple_hash(host, FOYER_TCP, &request->local, &request->remote));
    listen->request_count++;
    if (is_held) {
        list_push_back(&listen->held, &request->queue_node);
        wait_at_level(host, request, REQUEST_LEVEL_HELD, now);
        return request;
    }
    request->iss = syn_iss(host, seg, now);
    request_answer(host, request, now);
    return request;
}

/* ---- time passes -------------------------------------------------------------------------------------------- */

static void request_due(struct foyer_host *host, struct request *request, foyer_time_ns now)
{
    if (request->level >= REQUEST_RETRIES) {
        host->stats.tcp_attempt_fails++;
        request_end(host, request, -ETIMEDOUT);
        return;
    }
    host->stats.tcp_retrans_segs++;
    wait_at_level(host, request, request->level + 1u, now);
    send_syn_ack(host, request, now);
}

/* The machine slept for so long that no peer waits any more, and that the requests' times may have
 * come round. */
static void forget_all(struct foyer_host *host)
{
    for (unsigned i = 0; i < REQUEST_LEVELS; i++) {
        struct list_node *node;
        while ((node = list_first(&host->requests.due[i])) != NULL) {
            host->stats.tcp_attempt_fails++;
            request_end(host, LIST_ENTRY(node, struct request, due_node), -ETIMEDOUT);
        }
    }
}

void requests_timer(struct foyer_host *host, foyer_time_ns now)
{
    if (now - host->requests.timer.deadline_ns > TCP_SLEPT_NS) {
        forget_all(host);
        return;
    }
    /* From the last level to the first: none is looked at twice. */
    for (unsigned i = REQUEST_LEVELS; i-- > 0;) {
        struct list_node *node;
        while ((node = list_first(&host->requests.due[i])) != NULL) {
            struct request *request = LIST_ENTRY(node, struct request, due_node);
            if (time_left_us(request, now) > 0)
                break;
            request_due(host, request, now);
        }
    }
    arm_timer(host, now);
}

/* ---- segments ---------------------------------------------------------------------------------------------- */

/* While the caller has not decided, the connection is in LISTEN for all the peer can know. */
static void held_input(struct foyer_host *host, struct request *request,
                       const struct tcp_segment *seg)
{
    if ((seg->tcp.flags & WIRE_TCP_RST) != 0) {
        /* RFC 5961 section 3: the peer stands right behind its SYN. */
        if (seq_eq(seg->tcp.seq, seq_add(request->irs, 1)))
            request_end(host, request, -ECONNRESET);
    } else if ((seg->tcp.flags & WIRE_TCP_ACK) != 0) {
        tcp_send_rst_for(host, seg); /* RFC 9293 section 3.10.7.2, second */
    } else if ((seg->tcp.flags & WIRE_TCP_SYN) != 0) {
        take_syn(request, seg); /* the same again, or a new attempt in its place */
    }
}

static bool paws_rejects(const struct foyer_host *host, const struct request *request,
                         const struct tcp_segment *seg)
{
    /* RFC 7323 section 5.3 R1, section 3.2. */
    if ((request->flags & REQUEST_TS) == 0 || (seg->tcp.flags & WIRE_TCP_RST) != 0)
        return false;
    if (!seg->options.has_timestamps)
        return (seg->tcp.flags & WIRE_TCP_SYN) == 0 &&
               (host->config.behaviour & FOYER_HOST_TOLERATE_MISSING_TIMESTAMPS) == 0;
    return (int32_t)(seg->options.timestamp_value - request->ts_recent) < 0;
}

/* RFC 9293 section 3.10.7.4 first to fourth; false: dealt with. May free the request. */
static bool check_segment(struct foyer_host *host, struct request *request,
                          const struct tcp_segment *seg, foyer_time_ns now)
{
    uint16_t flags = seg->tcp.flags;
    seq_t next = seq_add(request->irs, 1);
    seq_t edge = seq_add(next, tcp_syn_window(request->listener));
    uint32_t length = seg->text_size + ((flags & WIRE_TCP_SYN) != 0 ? 1u : 0u) +
                      ((flags & WIRE_TCP_FIN) != 0 ? 1u : 0u);

    /* The SYN again: our SYN-ACK was lost. It is one request all the same. */
    if ((flags & (WIRE_TCP_SYN | WIRE_TCP_RST | WIRE_TCP_ACK)) == WIRE_TCP_SYN &&
        seq_eq(seg->tcp.seq, request->irs)) {
        host->stats.tcp_retrans_segs++;
        /* RFC 3168 section 6.1.1: who has received a SYN that does not ask SHOULD NOT set ECT. */
        if (!accecn_request_again(&request->accecn, (request->flags & REQUEST_ECN) != 0,
                                  request->listener, seg)) {
            host->stats.tcp_attempt_fails++;
            request_reset(host, request);
            request_free(host, request);
            return false;
        }
        if (!tcp_ecn_is_asked(seg))
            request->flags &= (uint8_t)~REQUEST_ECN;
        request->flags &=
            (uint8_t)~REQUEST_TIMED; /* Karn: which of the two is answered nobody knows */
        send_syn_ack(host, request, now);
        return false;
    }
    bool is_old = paws_rejects(host, request, seg);
    if (is_old)
        host->stats.tcp_paws_drops++;
    if (is_old || seq_lt(seq_add(seg->tcp.seq, length), next) || seq_gt(seg->tcp.seq, edge)) {
        if ((flags & WIRE_TCP_RST) == 0 && (!is_old || seg->options.has_timestamps))
            send_challenge(host, request, now);
        return false;
    }
    if ((flags & WIRE_TCP_RST) != 0) {
        /* RFC 5961 section 3.2: exactly there, or it must be confirmed. */
        if (seq_eq(seg->tcp.seq, next)) {
            host->stats.tcp_attempt_fails++;
            request_end(host, request, -ECONNRESET);
        } else if (seq_gt(seg->tcp.seq, next) && seq_lt(seg->tcp.seq, edge)) {
            send_challenge(host, request, now);
        }
        return false;
    }
    if ((flags & WIRE_TCP_SYN) != 0) {
        /* A passive open returns to LISTEN (MUST-11). */
        host->stats.tcp_attempt_fails++;
        request_end(host, request, -ECONNRESET);
        return false;
    }
    return (flags & WIRE_TCP_ACK) != 0;
}

/*
 * Not the ACK of this request's SYN-ACK. Perhaps the peer's SYN came when there was no room and was
 * answered by a cookie, and came again when there was: then it answers the cookie, and the request
 * is not needed.
 */
static void bring_back_cookie(struct foyer_host *host, struct request *request,
                              struct tcp_segment *seg, foyer_time_ns now)
{
    if (!cookie_input(host, request->listener, seg, now)) {
        tcp_send_rst_for(host, seg);
        return;
    }
    if (ports_find_connected(host, FOYER_TCP, &request->local, &request->remote) != NULL)
        request_end(host, request, -ECONNRESET); /* another connection has its place */
}

/*
 * RFC 5927 section 4.1: the quoted number must be one that is out and not acknowledged: the
 * SYN-ACK's. A hard error ends the attempt (RFC 1122 section 4.2.3.9, RFC 9293 section 3.9.2.2
 * SHLD-26), a soft one does not (MUST-56). No path is too narrow for a SYN-ACK, whoever says so.
 */
void request_icmp_error(struct foyer_host *host, struct request *request,
                        const struct icmp_error *error)
{
    if (request->level == REQUEST_LEVEL_HELD || error->mtu > 0 || error->size < 8 ||
        !seq_eq(SEQ(load_be32(error->transport + 4)), request->iss))
        return;
    struct held_request *held = held_request(request);
    /* A parameter problem is hard for others only (MUST-56c). */
    if (error->is_hard && error->error != -EPROTO) {
        host->stats.tcp_attempt_fails++;
        request_end(host, request, error->error);
    } else if (held != NULL) {
        held->error = error->error;
    }
}

void request_input(struct foyer_host *host, struct request *request, struct tcp_segment *seg,
                   foyer_time_ns now)
{
    if (request->level == REQUEST_LEVEL_HELD) {
        held_input(host, request, seg);
        return;
    }
    if (!check_segment(host, request, seg, now))
        return;
    /* Fifth: the ACK of our SYN and nothing else. */
    if (!seq_eq(seg->tcp.ack, seq_add(request->iss, 1))) {
        bring_back_cookie(host, request, seg, now);
        return;
    }
    if (tcp_accept_queue_is_full(request->listener)) {
        /* As Linux: the ACK is dropped, the SYN-ACK comes again, the client waits. */
        host->stats.tcp_listen_overflows++;
        return;
    }
    struct wire_tcp_options peer = options_of_peer(request);
    struct handshake handshake = {
        .listener = request->listener,
        .peer = &peer,
        .irs = request->irs,
        .iss = request->iss,
        .window = request->window,
        .has_ecn = (request->flags & REQUEST_ECN) != 0,
        .accecn =
            request->accecn == 0 ? 0 : request->accecn | (request->level >= 2 ? ACCECN_NO_ECT : 0),
        .is_timed = request->level == 0 && (request->flags & REQUEST_TIMED) != 0,
        .sent_us = request->sent_us,
        .user = request->was_held ? held_request(request)->user : 0,
    };
    /* The request goes only where its socket came. */
    struct sock *listener = request->listener;
    foyer_request handle = request_handle(request);
    if (handshake_complete(host, &handshake, seg, now) && listener->listen != NULL) {
        request = request_from_handle(host, handle);
        if (request == NULL)
            return;
        /* The socket may be gone again by what else the segment said. */
        if (request->was_held &&
            ports_find_connected(host, FOYER_TCP, &request->local, &request->remote) == NULL)
            request_end(host, request, -ECONNRESET);
        else
            request_free(host, request);
    }
}

/* ---- the socket ---------------------------------------------------------------------------------------------- */

static void inherit_options(struct sock *child, const struct sock *listener)
{
    child->ttl = listener->ttl;
    child->tos = listener->tos;
    child->owner_uid = listener->owner_uid;
    child->flags |= listener->flags & (SOCK_REUSEADDR | SOCK_REUSEPORT | SOCK_V6ONLY);
    sock_options_share(child, listener);
    child->keepalive = listener->keepalive;
    child->congestion = listener->congestion;
    child->nodelay = listener->nodelay;
    child->cork = listener->cork;
    child->oobinline = listener->oobinline;
}

/* The child with its place in the tables, or NULL: no memory, no way back to the peer. */
static struct sock *make_child(struct foyer_host *host, struct sock *listener,
                               const struct tcp_segment *seg)
{
    struct sock *child = sock_create(host, listener->family, FOYER_TCP);

    if (child == NULL) {
        host->stats.in_dropped_memory++;
        return NULL;
    }
    child->local = (struct foyer_endpoint){seg->rx->dst, seg->tcp.dst_port};
    child->remote = (struct foyer_endpoint){seg->rx->src, seg->tcp.src_port};
    inherit_options(child, listener);
    if (ip_path(host, child) != 0 || ports_adopt(host, child, listener) != 0) {
        sock_free(host, child);
        return NULL;
    }
    (void)tcp_create(host, child);
    return child;
}

/* RFC 9293 section 3.10.7.2, third: the child in SYN-RECEIVED, or NULL. */
static struct sock *enter_syn_received(struct foyer_host *host, const struct handshake *handshake,
                                       const struct tcp_segment *seg, foyer_time_ns now)
{
    struct sock *child = make_child(host, handshake->listener, seg);

    if (child == NULL)
        return NULL;
    struct tcb *tcb = child->tcb;
    if (handshake->accecn != 0 && !tcp_extra_need(host, tcb)) {
        sock_free(host, child);
        return NULL;
    }
    struct tcp_segment syn = {
        .tcp.flags = handshake->has_ecn ? WIRE_TCP_SYN | WIRE_TCP_ECE | WIRE_TCP_CWR : WIRE_TCP_SYN,
        .options = *handshake->peer,
    };
    tcb->irs = handshake->irs;
    tcb->rcv_nxt = seq_add(tcb->irs, 1);
    tcb->rcv_adv = seq_add(tcb->rcv_nxt, tcp_syn_window(child));
    tcb->rcv_acked = tcb->rcv_nxt;
    tcb->iss = handshake->iss;
    tcb->snd_una = tcb->iss;
    tcb->snd_nxt = seq_add(tcb->iss, 1);
    tcb->snd_end = tcb->snd_nxt;
    tcp_options_negotiate(host, child, &syn, now);
    if (handshake->accecn != 0)
        accecn_enter_server(tcb, handshake->accecn);
    tcb->snd_wnd = handshake->window;
    tcb->snd_wnd_max = tcb->snd_wnd;
    tcb->flags |= TCPF_PASSIVE;
    child->state = FOYER_STATE_SYN_RECEIVED;
    child->listener = handshake->listener;
    child->next_user = handshake->user;
    child->flags |= SOCK_CHILD;
    return child;
}

bool handshake_complete(struct foyer_host *host, const struct handshake *handshake,
                        struct tcp_segment *seg, foyer_time_ns now)
{
    struct sock *child = enter_syn_received(host, handshake, seg, now);

    if (child == NULL)
        return false;
    struct tcb *tcb = child->tcb;
    if (handshake->is_timed) {
        tcb->flags |= TCPF_RTT_TIMED;
        tcb->rtt_start_us = handshake->sent_us;
    } else {
        tcb->flags |= TCPF_SYN_LOST;
    }
    uint32_t index = child->slot.index, generation = child->slot.generation;
    tcp_segment_arrives(host, child, seg, now);
    /* What was checked before lets it pass; a socket without a place must not stay. */
    child = slot_sock(host, index);
    if (child != NULL && child->slot.generation == generation &&
        child->state == FOYER_STATE_SYN_RECEIVED)
        tcp_finish(host, child, 0);
    return true;
}

bool handshake_begin_fast(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                          foyer_time_ns now)
{
    struct handshake handshake = {
        .listener = listener,
        .peer = &seg->options,
        .irs = seg->tcp.seq,
        .iss = syn_iss(host, seg, now),
        .window = seg->tcp.window,
        .accecn = accecn_request_of(listener, seg),
    };
    handshake.has_ecn = handshake.accecn == 0 && syn_asks_ecn(listener, seg);
    struct sock *child = enter_syn_received(host, &handshake, seg, now);

    if (child == NULL)
        return false;
    fastopen_enter(listener, child->tcb);
    child->tcb->flags |= TCPF_SYN_PENDING;
    if (seg->fastopen == FASTOPEN_GOOD_OLD)
        child->tcb->flags |= TCPF_TFO_OFFER;
    host->stats.tcp_passive_opens++;
    host->stats.tcp_fastopen_passive++;
    tcp_cc_init(host, child->tcb);
    tcp_rto_restart(host, child, now);
    sock_want_output(host, child);
    tcp_request_established(host, child);
    /* Section 4.2.2: the SYN-ACK acknowledges what of the data found room. */
    seg->seq = child->tcb->rcv_nxt;
    if (seg->size > 0)
        tcp_text_input(host, child, seg, now);
    return true;
}
