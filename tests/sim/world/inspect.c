/*
 * Invariants, looked at from inside: whatever a host was just given or has just sent, these hold
 * of each of its connections.
 *
 * The only file of the simulator that includes private headers of src/stack. A law that a change
 * of the stack makes wrong is to be changed here, with its reason; a law that only fails now and
 * then is a bug of the stack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stack/ports.h"
#include "stack/stack.h"
#include "stack/tcp.h"
#include "stack/tcp_time_wait.h"
#include "wire/eth.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/tcp.h"
#include "world.h"

#define WINDOW_MAX (1u << 30) /* RFC 7323 section 2.3 */
/* What may be out beyond cwnd: a loss probe (RFC 8985 section 7.3) and a first retransmission
 * that asks nobody (RFC 6675 section 5, step 4.3). */
#define ALLOWANCE_SEGMENTS 2u

struct look {
    struct world *world;
    struct world_host *host;
    const struct sock *sock;
    const struct tcb *tcb;
};

_Noreturn static void broken(const struct look *look, const char *law, int line)
{
    static char text[1024];
    inspect_describe(look->host, sock_handle(look->sock), text, sizeof(text));
    sim_fail(&look->world->sim, "host %u, inspect.c:%d: not true: %s\n  %s", look->host->sim->index,
             line, law, text);
}

#define LAW(look, condition) ((condition) ? (void)0 : broken((look), #condition, __LINE__))

void inspect_describe(struct world_host *host, foyer_socket socket, char *text, size_t size)
{
    const struct foyer_host *stack = host->sim->host;
    uint32_t index = (uint32_t)socket.value;
    const struct sock *sock = index < stack->slots.count ? slot_sock(stack, index) : NULL;
    if (sock == NULL) {
        snprintf(text, size, "no socket");
        return;
    }
    int at = snprintf(text, size, "state %u flags %x error %d ports %u>%u output %d", sock->state,
                      sock->flags, sock->error, sock->local.port, sock->remote.port,
                      list_is_linked(&sock->output_node));
    const struct tcb *tcb = sock->tcb;
    if (sock->protocol != FOYER_TCP || tcb == NULL || at < 0 || (size_t)at >= size)
        return;
    snprintf(text + at, size - (size_t)at,
             " tcb %x una %u nxt +%d end +%d wnd %u cwnd %u ssthresh %u pipe %u mss %u recovery %u"
             " backoff %u retries %u rcv_nxt %u adv +%d acked %d rto %.3f ack %.3f slow %.3f"
             " timer %.3f",
             tcb->flags, tcb->snd_una.value, seq_sub(tcb->snd_nxt, tcb->snd_una),
             seq_sub(tcb->snd_end, tcb->snd_una), tcb->snd_wnd, tcb->cwnd_bytes,
             tcb->ssthresh_bytes, tcp_pipe(tcb), tcb->mss, tcb->recovery, tcb->backoff,
             tcb->retries, tcb->rcv_nxt.value, seq_sub(tcb->rcv_adv, tcb->rcv_nxt),
             seq_sub(tcb->rcv_acked, tcb->rcv_nxt),
             (double)(int64_t)(tcb->rto_deadline_ns - stack->now_ns) / 1e9,
             (double)(int64_t)(tcb->ack_deadline_ns - stack->now_ns) / 1e9,
             (double)(int64_t)(tcb->slow_deadline_ns - stack->now_ns) / 1e9,
             timer_is_armed(&sock->timer)
                 ? (double)(int64_t)(sock->timer.deadline_ns - stack->now_ns) / 1e9
                 : -1.0);
}

/* ---- sequence space ----------------------------------------------------------------------------- */

static void check_sender(const struct look *look)
{
    const struct tcb *tcb = look->tcb;
    bool has_fin = (tcb->flags & TCPF_FIN_QUEUED) != 0;
    LAW(look, seq_le(tcb->snd_una, tcb->snd_nxt));
    LAW(look, seq_distance(tcb->snd_nxt, tcb->snd_una) <= WINDOW_MAX);
    LAW(look, seq_le(tcb->snd_nxt, seq_add(tcb->snd_end, has_fin ? 1 : 0)));
    LAW(look, seq_ge(tcb->snd_una, tcb->iss));
    LAW(look, tcb->cwnd_bytes >= tcb->mss || look->sock->state < FOYER_STATE_ESTABLISHED);
    LAW(look, tcb->cwnd_bytes <= WINDOW_MAX);
    LAW(look, tcb->mss >= 1);
    switch (look->sock->state) {
    case FOYER_STATE_SYN_SENT:
        LAW(look, seq_eq(tcb->snd_una, tcb->iss));
        LAW(look, seq_eq(tcb->snd_nxt, seq_add(tcb->iss, 1)));
        break;
    case FOYER_STATE_SYN_RECEIVED:
        LAW(look, seq_eq(tcb->snd_una, tcb->iss));
        /* Data may follow the SYN-ACK where the SYN brought some: RFC 7413 section 4.2.2. */
        LAW(look, seq_ge(tcb->snd_nxt, seq_add(tcb->iss, 1)));
        break;
    case FOYER_STATE_ESTABLISHED:
    case FOYER_STATE_CLOSE_WAIT:
        LAW(look, !has_fin);
        break;
    case FOYER_STATE_FIN_WAIT_1:
    case FOYER_STATE_CLOSING:
    case FOYER_STATE_LAST_ACK:
        LAW(look, has_fin);
        LAW(look, seq_le(tcb->snd_una, tcb->snd_end));
        break;
    case FOYER_STATE_FIN_WAIT_2:
    case FOYER_STATE_TIME_WAIT:
        LAW(look, has_fin && seq_eq(tcb->snd_una, tcb->snd_nxt));
        LAW(look, seq_eq(tcb->snd_una, seq_add(tcb->snd_end, 1)));
        break;
    default:
        break;
    }
}

static void check_receiver(const struct look *look)
{
    const struct tcb *tcb = look->tcb;
    const struct tcp_ranges *held = tcb->out_of_order;
    uint8_t state = look->sock->state;
    if (state == FOYER_STATE_SYN_SENT)
        return;
    LAW(look, seq_le(tcb->rcv_nxt, tcb->rcv_adv));
    LAW(look, seq_le(tcb->rcv_acked, tcb->rcv_nxt));
    LAW(look, seq_distance(tcb->rcv_adv, tcb->rcv_nxt) <= WINDOW_MAX);
    bool has_fin = (tcb->flags & TCPF_FIN_RECEIVED) != 0;
    bool is_after_fin = state == FOYER_STATE_CLOSE_WAIT || state == FOYER_STATE_CLOSING ||
                        state == FOYER_STATE_LAST_ACK || state == FOYER_STATE_TIME_WAIT;
    LAW(look, has_fin == is_after_fin);
    if (held == NULL)
        return;
    LAW(look, held->count <= held->capacity);
    for (uint32_t i = 0; i < held->count; i++) {
        LAW(look, seq_lt(held->range[i].start, held->range[i].end));
        LAW(look, seq_gt(held->range[i].start, tcb->rcv_nxt));
        LAW(look, seq_le(held->range[i].end, tcb->rcv_adv));
        LAW(look, i == 0 || seq_gt(held->range[i].start, held->range[i - 1].end));
    }
}

/* The board covers what is out, without a gap, and its sums are right. */
static void check_board(const struct look *look)
{
    const struct tcb *tcb = look->tcb;
    const struct tcp_board *board = tcb->board;
    if ((tcb->flags & TCPF_LONE) != 0) {
        LAW(look, board == NULL && seq_lt(tcb->snd_una, tcb->snd_nxt));
        LAW(look, tcb->recovery == TCP_OPEN);
        return;
    }
    if (!tcp_is_synchronized(look->sock) || board == NULL) {
        LAW(look, !tcp_is_synchronized(look->sock) || seq_eq(tcb->snd_una, tcb->snd_nxt));
        return;
    }
    uint32_t sacked = 0, lost = 0, count = 0;
    seq_t at = tcb->snd_una;
    const struct tcp_sent *previous = NULL;
    for (const struct tcp_sent *sent = board->first; sent != NULL; sent = sent->next) {
        LAW(look, seq_eq(sent->start, at) && seq_gt(sent->end, sent->start));
        LAW(look, sent->prev == previous);
        if (sent->state == TCP_SENT_SACKED)
            sacked += seq_distance(sent->end, sent->start);
        if (sent->state == TCP_SENT_LOST)
            lost += seq_distance(sent->end, sent->start);
        at = sent->end;
        previous = sent;
        count++;
    }
    LAW(look, seq_eq(at, tcb->snd_nxt));
    LAW(look, board->last == previous);
    LAW(look, board->record_count == count && count <= TCP_RECORDS_MAX);
    LAW(look, board->sacked_bytes == sacked);
    LAW(look, board->lost_bytes == lost);
    LAW(look, board->first == NULL || board->first->state != TCP_SENT_SACKED ||
                  tcb->recovery != TCP_OPEN);
}

/* ---- time ---------------------------------------------------------------------------------------- */

/* What is owed is paid at once, by a pull that is asked for, or by a timer that runs. */
static void check_timers(const struct look *look)
{
    const struct tcb *tcb = look->tcb;
    const struct sock *sock = look->sock;
    foyer_time_ns first = tcb->rto_deadline_ns;
    bool is_pulled = list_is_linked(&sock->output_node);
    if (sock->state != FOYER_STATE_TIME_WAIT && tcp_flight(tcb) > 0)
        LAW(look, tcb->rto_deadline_ns != FOYER_TIME_NEVER || is_pulled);
    if (tcp_is_synchronized(sock) && tcp_has_unsent(tcb))
        LAW(look, tcb->rto_deadline_ns != FOYER_TIME_NEVER || is_pulled);
    if ((tcb->flags & TCPF_ACK_DELAYED) != 0)
        LAW(look, tcb->ack_deadline_ns != FOYER_TIME_NEVER || (tcb->flags & TCPF_ACK_NOW) != 0);
    /* Where no neighbour answers, a pull ends without a segment: then the timers ask again, or the
     * peer does. */
    bool has_way = ((look->world->excuses | look->host->excuses) &
                    (EXCUSE_PARTITION | EXCUSE_LOSS | EXCUSE_ADDRESS | EXCUSE_MEMORY)) == 0;
    if ((tcb->flags & (TCPF_PROBE_NOW | TCPF_SYN_PENDING)) != 0)
        LAW(look, is_pulled || tcb->rto_deadline_ns != FOYER_TIME_NEVER ||
                      tcb->slow_deadline_ns != FOYER_TIME_NEVER);
    if ((tcb->flags & TCPF_ACK_NOW) != 0 && has_way)
        LAW(look, is_pulled);
    if (tcp_is_synchronized(sock) && sock->state != FOYER_STATE_TIME_WAIT &&
        !seq_eq(tcb->rcv_acked, tcb->rcv_nxt))
        LAW(look, (tcb->flags & (TCPF_ACK_NOW | TCPF_ACK_DELAYED)) != 0);
    if (sock->state == FOYER_STATE_TIME_WAIT ||
        (sock->state == FOYER_STATE_FIN_WAIT_2 && (sock->flags & SOCK_ORPHAN) != 0))
        LAW(look, tcb->slow_deadline_ns != FOYER_TIME_NEVER);

    if (tcb->ack_deadline_ns < first)
        first = tcb->ack_deadline_ns;
    if (tcb->slow_deadline_ns < first)
        first = tcb->slow_deadline_ns;
    if (tcb->board != NULL && tcb->board->loss_deadline_ns < first)
        first = tcb->board->loss_deadline_ns;
    if (first != FOYER_TIME_NEVER) {
        LAW(look, timer_is_armed(&sock->timer) && sock->timer.deadline_ns <= first);
        LAW(look, foyer_host_deadline(look->host->sim->host) <= sock->timer.deadline_ns);
    }
}

/* ---- what changed since -------------------------------------------------------------------------- */

static struct shadow *shadow_of(struct world_host *host, const struct sock *sock)
{
    if (sock->slot.index >= host->shadow_count) {
        uint32_t count = (sock->slot.index + 1) * 2;
        host->shadows = realloc(host->shadows, count * sizeof(host->shadows[0]));
        if (host->shadows == NULL)
            abort();
        memset(host->shadows + host->shadow_count, 0,
               (count - host->shadow_count) * sizeof(host->shadows[0]));
        host->shadow_count = count;
    }
    return &host->shadows[sock->slot.index];
}

/* Which state may follow which (RFC 9293 section 3.3.2, figure 5), in one or more steps. */
static bool may_follow(uint8_t before, uint8_t after)
{
    static const uint16_t next[] = {
        [FOYER_STATE_SYN_SENT] = 0x7f8, /* every later one */
        [FOYER_STATE_SYN_RECEIVED] = 0x7f0,
        [FOYER_STATE_ESTABLISHED] = 0x7f0 & ~(1u << FOYER_STATE_SYN_RECEIVED),
        [FOYER_STATE_FIN_WAIT_1] =
            1u << FOYER_STATE_FIN_WAIT_2 | 1u << FOYER_STATE_CLOSING | 1u << FOYER_STATE_TIME_WAIT,
        [FOYER_STATE_FIN_WAIT_2] = 1u << FOYER_STATE_TIME_WAIT,
        [FOYER_STATE_CLOSE_WAIT] = 1u << FOYER_STATE_LAST_ACK,
        [FOYER_STATE_CLOSING] = 1u << FOYER_STATE_TIME_WAIT,
        [FOYER_STATE_LAST_ACK] = 0,
        [FOYER_STATE_TIME_WAIT] = 0,
    };
    return before == after || before < FOYER_STATE_SYN_SENT || (next[before] >> after & 1) != 0;
}

static void check_change(const struct look *look, bool is_after_output)
{
    const struct tcb *tcb = look->tcb;
    const struct sock *sock = look->sock;
    struct shadow *shadow = shadow_of(look->host, sock);
    uint32_t pipe = tcp_is_synchronized(sock) ? tcp_pipe(tcb) : 0;
    if (shadow->is_set && shadow->generation == sock->slot.generation) {
        LAW(look, may_follow(shadow->state, sock->state));
        LAW(look, seq_le(SEQ(shadow->snd_una), tcb->snd_una));
        LAW(look, seq_le(SEQ(shadow->snd_nxt), tcb->snd_nxt));
        LAW(look,
            shadow->state == FOYER_STATE_SYN_SENT || seq_le(SEQ(shadow->rcv_nxt), tcb->rcv_nxt));
        /* A pull sends only what cwnd allows, of which others may be out already: a timeout
         * leaves out what was sent lately (RFC 8985 section 6.3). */
        uint32_t most = tcb->cwnd_bytes > shadow->pipe_bytes ? tcb->cwnd_bytes : shadow->pipe_bytes;
        if (is_after_output)
            LAW(look, pipe <= most + ALLOWANCE_SEGMENTS * tcb->mss);
    }
    *shadow = (struct shadow){.generation = sock->slot.generation,
                              .is_set = true,
                              .state = sock->state,
                              .snd_una = tcb->snd_una.value,
                              .snd_nxt = tcb->snd_nxt.value,
                              .rcv_nxt = tcb->rcv_nxt.value,
                              .pipe_bytes = pipe};
}

static void inspect_host(struct world *world, struct world_host *host, bool is_after_output)
{
    const struct foyer_host *stack = host->sim->host;
    for (uint32_t i = 0; i < stack->slots.count; i++) {
        const struct sock *sock = slot_sock(stack, i);
        if (sock == NULL)
            continue;
        struct look look = {world, host, sock, sock->tcb};
        LAW(&look, sock->slot.index == i && sock->slot.generation != 0);
        if (sock->protocol != FOYER_TCP)
            continue;
        LAW(&look, (sock->state >= FOYER_STATE_SYN_SENT) == (sock->tcb != NULL));
        if (sock->tcb == NULL)
            continue;
        world->counts->inspections++;
        check_sender(&look);
        check_receiver(&look);
        check_board(&look);
        check_timers(&look);
        check_change(&look, is_after_output);
    }
}

void inspect_before_output(void *context, struct sim_host *host)
{
    struct world *world = context;
    inspect_host(world, &world->hosts[host->index], false);
}

void inspect_after_output(void *context, struct sim_host *host)
{
    struct world *world = context;
    inspect_host(world, &world->hosts[host->index], true);
}

/* ---- between two hosts ------------------------------------------------------------------------------ */

static struct sock *find_peer(const struct world_host *host, const struct foyer_endpoint *local,
                              const struct foyer_endpoint *remote)
{
    struct sock *sock = ports_find_connected(host->sim->host, FOYER_TCP, local, remote);
    return sock != NULL && sock->tcb != NULL ? sock : NULL;
}

bool inspect_has_peer(const struct world *world, const struct end *end,
                      const struct world_host *peer)
{
    struct foyer_socket_info info;
    (void)world;
    if (foyer_socket_info(end->host->sim->host, end->socket, &info) != 0)
        return false;
    if (find_peer(peer, &info.remote, &info.local) != NULL)
        return true;
    return request_find(peer->sim->host, &info.remote, &info.local) != NULL ||
           time_wait_find(peer->sim->host, &info.remote, &info.local) != NULL;
}

/* RFC 9293 section 3.8.6: nothing is sent beyond the right edge that the receiver has told of. */
void inspect_frame(struct world *world, struct world_host *from, const struct foyer_packet *packet)
{
    const uint8_t *bytes = packet->spans[0].base;
    size_t size = packet->spans[0].size, all = foyer_packet_size(packet);
    struct foyer_endpoint src = {0}, dst = {0};
    struct wire_tcp tcp;
    size_t transport;
    if (load_be16(bytes + 12) == WIRE_ETHERTYPE_IPV4) {
        struct wire_ipv4 ip;
        if (wire_ipv4_parse_quoted(bytes + WIRE_ETH_SIZE, size - WIRE_ETH_SIZE, &ip) < 0 ||
            ip.protocol != WIRE_PROTOCOL_TCP)
            return;
        src.addr = ip.src;
        dst.addr = ip.dst;
        transport = WIRE_ETH_SIZE + WIRE_IPV4_SIZE;
    } else {
        struct wire_ipv6 ip;
        if (load_be16(bytes + 12) != WIRE_ETHERTYPE_IPV6 ||
            wire_ipv6_parse_quoted(bytes + WIRE_ETH_SIZE, size - WIRE_ETH_SIZE, &ip) < 0 ||
            ip.next_header != WIRE_PROTOCOL_TCP)
            return;
        src.addr = ip.src;
        dst.addr = ip.dst;
        transport = WIRE_ETH_SIZE + WIRE_IPV6_SIZE;
    }
    if (wire_tcp_parse(bytes + transport, size - transport, &tcp) < 0)
        return;
    src.port = tcp.src_port;
    dst.port = tcp.dst_port;
    size_t payload = all - transport - tcp.header_size;
    if (payload == 0 || (tcp.flags & (WIRE_TCP_SYN | WIRE_TCP_RST)) != 0)
        return;
    for (unsigned i = 0; i < world->host_count; i++) {
        struct world_host *host = &world->hosts[i];
        const struct sock *sock =
            memcmp(bytes, host->sim->mac, 6) == 0 ? find_peer(host, &dst, &src) : NULL;
        if (sock == NULL || sock->state < FOYER_STATE_ESTABLISHED)
            continue;
        /* Where memory ran short the ring became smaller than was promised (SHLD-14). */
        if (host->sim->host->config.max_memory_bytes != 0)
            continue;
        seq_t end = seq_add(tcp.seq, (uint32_t)payload);
        /* Of this connection, not of one that had the ports before. */
        if (seq_lt(tcp.seq, sock->tcb->irs) || seq_distance(end, sock->tcb->irs) > WINDOW_MAX)
            continue;
        if (seq_gt(end, sock->tcb->rcv_adv)) {
            struct look look = {world, host, sock, sock->tcb};
            world_say(world, "host %u sends %u..%u", from->sim->index, tcp.seq.value, end.value);
            broken(&look, "nothing is sent beyond the window", __LINE__);
        }
    }
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void check_ports(struct world *world, const struct world_host *host,
                        const struct port_protocol *ports)
{
    for (unsigned i = 0; i < 1024; i++) {
        if (ports->held.words[i] != 0 || ports->bound.words[i] != 0 || ports->pages[i] != NULL)
            sim_fail(&world->sim, "host %u keeps a port near %u", host->sim->index, i * 64);
    }
}

void inspect_at_rest(struct world *world, struct world_host *host)
{
    const struct foyer_host *stack = host->sim->host;
    struct sim *sim = &world->sim;
    SIM_CHECK(sim, stack->slots.used == 0);
    SIM_CHECK(sim, stack->time_waits.table.count == 0);
    SIM_CHECK(sim, stack->connected.count == 0);
    SIM_CHECK(sim, stack->requests.table.count == 0);
    SIM_CHECK(sim, stack->tcp.tcb_count == 0);
    SIM_CHECK(sim, list_is_empty(&stack->output_list));
    SIM_CHECK(sim, stack->event_list.first == 0 && stack->event_list.last == 0);
    SIM_CHECK(sim, stack->reassembly_count == 0 && stack->reassembly_bytes == 0);
    check_ports(world, host, &stack->ports[0]);
    check_ports(world, host, &stack->ports[1]);
}
