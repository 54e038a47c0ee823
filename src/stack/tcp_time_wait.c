/* Records of TIME-WAIT: see tcp_time_wait.h. Called by tcp_in.c, output.c and ports*.c. */
#include "stack/tcp_time_wait.h"

#include "stack/ports.h"
#include "stack/socket.h"

#define WAIT_MS ((uint32_t)(TCP_TIME_WAIT_NS / FOYER_NS_PER_MS))

int time_waits_init(struct foyer_host *host)
{
    host->time_waits.timer.kind = TIMER_TIME_WAIT;
    return hash_table_init(&host->time_waits.table, &host->config.allocator);
}

void time_waits_finish(struct foyer_host *host)
{
    hash_table_finish(&host->time_waits.table);
}

/* ---- time --------------------------------------------------------------------------------------- */

static struct time_wait *oldest(const struct foyer_host *host)
{
    return (struct time_wait *)slot_list_first(host, &host->time_waits.by_end);
}

static uint32_t left_ms(const struct time_wait *wait, foyer_time_ns now)
{
    uint32_t left = wait->end_ms - tcp_ms(now);

    return left <= WAIT_MS + 1 ? left : 0;
}

static void arm(struct foyer_host *host, foyer_time_ns now)
{
    const struct time_wait *first = oldest(host);

    if (first == NULL)
        timer_cancel(&host->timers, &host->time_waits.timer);
    else if (!timer_is_armed(&host->time_waits.timer))
        timer_set(&host->timers, &host->time_waits.timer,
                  now + left_ms(first, now) * FOYER_NS_PER_MS);
}

static void start(struct foyer_host *host, struct time_wait *wait, foyer_time_ns now)
{
    wait->end_ms = tcp_ms(now + TCP_TIME_WAIT_NS + FOYER_NS_PER_MS - 1);
    slot_list_push(host, &host->time_waits.by_end, &wait->slot, SLOT_LINK_QUEUE);
    arm(host, now);
}

void time_waits_timer(struct foyer_host *host, foyer_time_ns now)
{
    struct time_wait *wait;
    /* After a pause as long as this end_ms may have come round. */
    bool are_all_over = now - host->time_waits.timer.deadline_ns > TCP_TIME_WAIT_NS;

    while ((wait = oldest(host)) != NULL && (are_all_over || left_ms(wait, now) == 0))
        time_wait_end(host, wait);
    arm(host, now);
}

/* ---- beginning and end -------------------------------------------------------------------------- */

void time_wait_take_over(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    const struct tcb *tcb = sock->tcb;

    if (host->time_waits.table.count >= host->config.max_time_waits)
        time_wait_shed(host);
    struct time_wait *wait = host_alloc(host, sizeof(*wait));
    if (wait == NULL)
        return; /* its own timer ends it */
    wait->owner = sock->owner;
    wait->remote_addr = sock->remote.addr;
    wait->remote_port = sock->remote.port;
    wait->window = (uint16_t)(tcp_window_select(sock) >> tcb->rcv_scale);
    wait->snd_nxt = tcb->snd_nxt;
    wait->rcv_nxt = tcb->rcv_nxt;
    wait->ts_recent = tcb->ts_recent;
    wait->family = sock->family;
    wait->ttl = sock->ttl;
    wait->tos = sock->tos;
    wait->has_timestamps = (tcb->flags & TCPF_TS_OK) != 0;
    if ((tcb->flags & TCPF_ACCECN) != 0)
        wait->ace = tcb->extra->accecn.received_ce & 7u;
    wait->is_port_chosen = (sock->flags & SOCK_PORT_CHOSEN) != 0;
    slot_replace(host, sock, wait);
    ports_hand_over(host, sock, wait);
    struct foyer_endpoint local = time_wait_local(wait), remote = time_wait_remote(wait);
    hash_table_insert(&host->time_waits.table, &wait->node,
                      ports_tuple_hash(host, FOYER_TCP, &local, &remote));
    host->tuple_memo.absent &= (uint8_t)~TUPLE_NOT_WAITING;
    sock_free_without_slot(host, sock);
    start(host, wait, now);
}

void time_wait_end(struct foyer_host *host, struct time_wait *wait)
{
    slot_list_remove(host, &host->time_waits.by_end, &wait->slot, SLOT_LINK_QUEUE);
    hash_table_remove(&host->time_waits.table, &wait->node);
    hash_table_shrink(&host->time_waits.table);
    ports_end_time_wait(host, wait);
    slot_give(host, &wait->slot);
    host_free(host, wait, sizeof(*wait));
}

bool time_wait_shed(struct foyer_host *host)
{
    struct time_wait *wait = oldest(host);

    if (wait == NULL)
        return false;
    host->stats.tcp_time_waits_shed++;
    time_wait_end(host, wait);
    return true;
}

/* ---- who and where ------------------------------------------------------------------------------- */

struct foyer_endpoint time_wait_local(const struct time_wait *wait)
{
    return (struct foyer_endpoint){wait->port_group->addr, wait->port_group->bucket->port};
}

struct foyer_endpoint time_wait_remote(const struct time_wait *wait)
{
    return (struct foyer_endpoint){wait->remote_addr, wait->remote_port};
}

struct time_wait *time_wait_find(struct foyer_host *host, const struct foyer_endpoint *local,
                                 const struct foyer_endpoint *remote)
{
    if (host->time_waits.table.count == 0)
        return NULL;
    struct tuple_memo *memo = ports_tuple_memo(host, FOYER_TCP, local, remote);
    if ((memo->absent & TUPLE_NOT_WAITING) != 0)
        return NULL;
    for (struct hash_node *node = hash_table_first(&host->time_waits.table, memo->hash);
         node != NULL; node = hash_table_next(node)) {
        struct time_wait *wait = HASH_ENTRY(node, struct time_wait, node);
        if (wait->remote_port == remote->port && wait->port_group->bucket->port == local->port &&
            foyer_addr_eq(&wait->remote_addr, &remote->addr) &&
            foyer_addr_eq(&wait->port_group->addr, &local->addr))
            return wait;
    }
    memo->absent |= TUPLE_NOT_WAITING;
    return NULL;
}

bool time_wait_is_reusable(const struct foyer_host *host, const struct time_wait *wait)
{
    return wait->has_timestamps &&
           left_ms(wait, host->now_ns) + TCP_REUSE_NS / FOYER_NS_PER_MS <= WAIT_MS + 1;
}

/* ---- segments ------------------------------------------------------------------------------------- */

static void answer(struct foyer_host *host, const struct time_wait *wait, foyer_time_ns now)
{
    uint8_t bytes[WIRE_TCP_SIZE_MAX];
    struct foyer_endpoint local = time_wait_local(wait), remote = time_wait_remote(wait);
    struct wire_tcp tcp = {
        .src_port = local.port,
        .dst_port = remote.port,
        .seq = wait->snd_nxt,
        .ack = wait->rcv_nxt,
        .flags = WIRE_TCP_ACK | accecn_flags_of(wait->ace),
        .window = wait->window,
    };
    struct wire_tcp_options options = {.has_timestamps = wait->has_timestamps};

    if (wait->has_timestamps) {
        options.timestamp_value = tcp_ms(now) + tcp_ts_offset_for(host, &local, &remote);
        options.timestamp_echo = wait->ts_recent;
    }
    size_t size = wire_tcp_emit(bytes, &tcp, &options);
    host->stats.tcp_out_segs++;
    ip_send_control(host, FOYER_TCP, &local.addr, &remote.addr, wait->ttl, wait->tos, bytes, size);
}

/* To what anybody might send: limited per host. */
static void challenge(struct foyer_host *host, const struct time_wait *wait, foyer_time_ns now)
{
    if (tcp_take_challenge(host, now))
        answer(host, wait, now);
}

static bool takes_place(struct foyer_host *host, struct time_wait *wait, struct tcp_segment *seg)
{
    struct foyer_endpoint local = time_wait_local(wait), remote = time_wait_remote(wait);

    if (!tcp_syn_is_newer(seg, wait->has_timestamps, wait->ts_recent, wait->rcv_nxt))
        return false;
    const struct sock *listener = ports_find_bound(host, FOYER_TCP, &local, &remote);
    if (listener == NULL || listener->state != FOYER_STATE_LISTEN)
        return false;
    seg->has_isn_floor = true;
    seg->isn_floor = wait->snd_nxt;
    time_wait_end(host, wait);
    return true;
}

/* RFC 9293 section 3.10.7.4 for TIME-WAIT: all that may come is the peer's FIN again. */
bool time_wait_input(struct foyer_host *host, struct time_wait *wait, struct tcp_segment *seg,
                     foyer_time_ns now)
{
    uint16_t flags = seg->tcp.flags;

    if ((flags & WIRE_TCP_RST) != 0)
        return false; /* RFC 1337 section 3, F1; see handle_rst */
    if (takes_place(host, wait, seg))
        return true;
    seq_t end = seq_add(seg->tcp.seq, seg->text_size + (seg->is_fin ? 1u : 0u));
    bool has_timestamps = wait->has_timestamps && seg->options.has_timestamps;
    bool is_old = (wait->has_timestamps && !seg->options.has_timestamps) ||
                  (has_timestamps && (int32_t)(seg->options.timestamp_value - wait->ts_recent) < 0);
    if (is_old)
        host->stats.tcp_paws_drops++;
    if ((flags & (WIRE_TCP_SYN | WIRE_TCP_ACK)) != WIRE_TCP_ACK) {
        if ((flags & WIRE_TCP_SYN) != 0)
            challenge(host, wait, now); /* RFC 5961 section 4.2 */
        return false;
    }
    if (is_old || seq_lt(end, wait->rcv_nxt) || seq_gt(seg->tcp.seq, wait->rcv_nxt) ||
        seq_gt(seg->tcp.ack, wait->snd_nxt)) {
        /* RFC 7323 section 3.2: what lacks the timestamps is dropped in silence. */
        if (!is_old || has_timestamps)
            challenge(host, wait, now);
        return false;
    }
    if (has_timestamps)
        wait->ts_recent = seg->options.timestamp_value;
    if (seg->text_size == 0 && !seg->is_fin)
        return false;
    answer(host, wait, now);
    if (seg->is_fin) { /* the 2 MSL begin anew */
        slot_list_remove(host, &host->time_waits.by_end, &wait->slot, SLOT_LINK_QUEUE);
        start(host, wait, now);
    }
    return false;
}
