/*
 * The way down: foyer_host_output pulls one packet after the other from the control queue and
 * from the sockets that said they have something, until the batch is full.
 *
 * Three fates of a packet: given to the caller (ip_emit; ip_emit_segments where it is a
 * super-segment that the link cannot cut), delivered inside where the destination
 * is the host itself (ip_deliver_inside), or kept back because the neighbour is not known yet:
 * a socket is then parked without being asked, a control packet is copied to neighbour->held.
 *
 * What output lends (header buffers, control entries, datagrams in rings) is released at the
 * start of the next call on the host.
 *
 * The control queue is a ring of entries of any size, each in one piece:
 *
 *     tail ........ sent ........ head        lent to the caller | waiting | free
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/tcp_time_wait.h"

#define CONTROL_ALIGN 16u
#define CONTROL_HEADER_COPY 60u /* bytes of a control packet that go to spans[0] */
#define TURN_PACKETS 16u        /* of one super-segment, where other sockets wait for their turn */
#define FRAGMENT_HEADER_SIZE 8u /* RFC 8200 section 4.5 */

static_assert(sizeof(struct control) % CONTROL_ALIGN == 0, "entries stay aligned");
static_assert(TX_TRANSPORT_OFFSET + CONTROL_HEADER_COPY <= TX_HEADER_SIZE, "fits the buffer");
static_assert((HOST_CONTROL_RING_BYTES & (HOST_CONTROL_RING_BYTES - 1)) == 0, "wraps by masking");

int output_init(struct foyer_host *host)
{
    list_init(&host->output_list);
    list_init(&host->release_list);
    host->control_ring = host_alloc_raw(host, HOST_CONTROL_RING_BYTES);
    return host->control_ring == NULL ? -ENOMEM : 0;
}

void output_finish(struct foyer_host *host)
{
    host_free(host, host->control_ring, HOST_CONTROL_RING_BYTES);
}

/* ---- the control queue --------------------------------------------------------------------------- */

static struct control *control_at(const struct foyer_host *host, uint32_t position)
{
    return (struct control *)(void *)(host->control_ring +
                                      (position & (HOST_CONTROL_RING_BYTES - 1)));
}

bool control_is_empty(const struct foyer_host *host)
{
    return host->control_sent == host->control_head;
}

struct control *control_push(struct foyer_host *host, enum control_kind kind, size_t size)
{
    if (host->control_tail == host->control_head)
        host->control_tail = host->control_sent = host->control_head = 0; /* stay in cache */

    uint32_t need = (uint32_t)((sizeof(struct control) + size + CONTROL_ALIGN - 1) &
                               ~(size_t)(CONTROL_ALIGN - 1));
    uint32_t space = HOST_CONTROL_RING_BYTES - (host->control_head - host->control_tail);
    uint32_t to_end =
        HOST_CONTROL_RING_BYTES - (host->control_head & (HOST_CONTROL_RING_BYTES - 1));
    uint32_t padding = need > to_end ? to_end : 0;
    if (size > 65535 || need + padding > space)
        return NULL;
    if (padding > 0) {
        /* May be shorter than a whole entry header: only these two fields are looked at. */
        struct control *entry = control_at(host, host->control_head);
        entry->entry_size = padding;
        entry->kind_word = CONTROL_PADDING;
        host->control_head += padding;
    }
    struct control *entry = control_at(host, host->control_head);
    memset(entry, 0, sizeof(*entry));
    entry->entry_size = need;
    entry->kind_word = kind;
    entry->size = (uint32_t)size;
    host->control_head += need;
    return entry;
}

void ip_send_control(struct foyer_host *host, uint8_t protocol, const struct foyer_addr *src,
                     const struct foyer_addr *dst, uint8_t ttl, uint8_t tos, const void *bytes,
                     size_t size)
{
    struct control *control = control_push(host, CONTROL_IP, size);
    if (control == NULL) {
        host->stats.out_control_full++;
        return;
    }
    control->protocol = protocol;
    control->src = *src;
    control->dst = *dst;
    control->ttl = ttl;
    control->tos = tos;
    /* Asked now: the last RST in the name of another goes out when nobody stands for it any more. */
    control->is_foreign = ports_has_foreign(host) && !ip_is_own(host, src);
    memcpy(control_bytes(control), bytes, size);
}

void output_release(struct foyer_host *host)
{
    struct list_node *node;

    if (!FOYER_WITH_UDP)
        return;
    while ((node = list_pop_front(&host->release_list)) != NULL)
        udp_release(host, LIST_ENTRY(node, struct sock, release_node));
}

/* ---- fragments (RFC 791 section 3.2, RFC 8200 section 4.5) ----------------------------------------- */

/* The checksum covers the whole datagram, so it is filled in before the first cut. */
static void seal_in_place(const struct control *control, uint8_t *bytes)
{
    uint16_t offset = control->protocol == WIRE_PROTOCOL_UDP ? 6 : 2;
    struct checksum sum;

    if (control->without_checksum)
        return;
    checksum_init(&sum);
    if (control->protocol != WIRE_PROTOCOL_ICMP)
        checksum_add_pseudo(&sum, &control->src, &control->dst, control->protocol, control->size);
    checksum_add(&sum, bytes, control->size);
    uint16_t value = checksum_finish(&sum);
    store_be16(bytes + offset,
               value == 0 && control->protocol == WIRE_PROTOCOL_UDP ? 0xffff : value);
}

static size_t put_fragment_headers(struct foyer_host *host, const struct control *control,
                                   const uint8_t mac[6], uint8_t *header, uint32_t size, bool more)
{
    bool is_v4 = foyer_addr_is_v4(&control->dst);
    struct wire_eth eth = {.ethertype = is_v4 ? WIRE_ETHERTYPE_IPV4 : WIRE_ETHERTYPE_IPV6};
    memcpy(eth.dst, mac, 6);
    memcpy(eth.src, host->config.mac, 6);
    size_t at = wire_eth_emit(header, &eth);
    if (is_v4) {
        struct wire_ipv4 ip = {.tos = control->tos,
                               .total_size = (uint16_t)(WIRE_IPV4_SIZE + size),
                               .id = (uint16_t)control->fragment_id,
                               .more_fragments = more,
                               .fragment_offset = (uint16_t)control->sent,
                               .ttl = control->ttl,
                               .protocol = control->protocol,
                               .src = control->src,
                               .dst = control->dst};
        return at + wire_ipv4_emit(header + at, &ip);
    }
    struct wire_ipv6 ip = {.traffic_class = control->tos,
                           .payload_size = (uint16_t)(FRAGMENT_HEADER_SIZE + size),
                           .next_header = 44,
                           .hop_limit = control->ttl,
                           .src = control->src,
                           .dst = control->dst};
    at += wire_ipv6_emit(header + at, &ip);
    header[at] = control->protocol;
    header[at + 1] = 0;
    store_be16(header + at + 2, (uint16_t)(control->sent | (more ? 1u : 0u)));
    store_be32(header + at + 4, control->fragment_id);
    return at + FRAGMENT_HEADER_SIZE;
}

/* Emits the next piece of an entry that is too large; true once that was the last. */
static bool emit_fragment(struct foyer_host *host, struct control *control, const uint8_t mac[6],
                          uint16_t mtu, uint8_t *header, struct foyer_packet *ret_packet)
{
    uint32_t overhead = foyer_addr_is_v4(&control->dst)
                            ? WIRE_IPV4_SIZE
                            : (uint32_t)(WIRE_IPV6_SIZE + FRAGMENT_HEADER_SIZE);
    uint32_t room = (mtu - overhead) & ~7u; /* offsets count 8 bytes */
    uint32_t left = control->size - control->sent;
    uint32_t size = left < room ? left : room;
    uint8_t *bytes = control_bytes(control);

    if (control->sent == 0) {
        seal_in_place(control, bytes);
        control->fragment_id = host->fragment_id++;
    }
    size_t header_size = put_fragment_headers(host, control, mac, header, size, size < left);
    /* The first piece shows the transport header in spans[0], as every packet does. */
    uint32_t copied = control->sent == 0 ? 8 : 0;
    memcpy(header + header_size, bytes, copied);
    *ret_packet = (struct foyer_packet){
        .spans = {{header, header_size + copied}, {bytes + control->sent + copied, size - copied}},
        .span_count = 2,
        .header_size = (uint16_t)(header_size + copied)};
    control->sent += size;
    host->stats.out_frames++;
    return size == left;
}

/* ---- one packet from the control queue ---------------------------------------------------------------- */

enum step {
    STEP_NOTHING, /* the queue or socket has none to give; try the next source */
    STEP_PACKET,  /* one packet is filled */
    STEP_PACKETS, /* several were filled and counted */
    STEP_INSIDE,  /* delivered inside */
    STEP_AGAIN,   /* something was dealt with without a packet */
};

/* What an output call gives. */
struct batch {
    struct foyer_packet *packets;
    size_t count; /* filled; headers[count] of the host is the next one's */
};

static bool is_v4_flagged_df(const struct control *control)
{
    /* RFC 6864 section 4: with DF the identification need not be unique. ICMP goes without. */
    return control->protocol == WIRE_PROTOCOL_TCP;
}

static enum step send_control(struct foyer_host *host, struct control *control, uint8_t *header,
                              struct foyer_packet *ret_packet, bool *ret_is_done, foyer_time_ns now)
{
    uint8_t *bytes = control_bytes(control);
    struct ip_way way;

    *ret_is_done = true;
    if (ip_find_way_from(host, &control->dst, &control->src, control->is_foreign, &way) != 0)
        return STEP_AGAIN;
    const uint8_t *mac = way.neighbour != NULL ? way.neighbour->mac : way.mac;
    if (way.neighbour != NULL && !neighbour_use(host, way.neighbour, now)) {
        neighbour_hold(host, way.neighbour, control->protocol, &control->src, &control->dst,
                       control->ttl, control->tos, bytes, control->size);
        return STEP_AGAIN;
    }
    if (control->is_looped) {
        control->is_looped = false; /* once, though it may leave as many fragments */
        *ret_is_done = false;
        way.is_local = true;
    }
    bool is_for_link = !way.is_local && (!way.is_multicast || control->ttl > 0);
    uint32_t ip_size = foyer_addr_is_v4(&control->dst) ? WIRE_IPV4_SIZE : WIRE_IPV6_SIZE;
    if (!is_for_link && !way.is_local)
        return STEP_AGAIN;
    if (is_for_link && ip_size + control->size > way.mtu) {
        *ret_is_done = emit_fragment(host, control, mac, way.mtu, header, ret_packet);
        return STEP_PACKET;
    }
    uint32_t copied = control->size < CONTROL_HEADER_COPY ? control->size : CONTROL_HEADER_COPY;
    if (control->protocol == WIRE_PROTOCOL_UDP)
        copied = 8;
    memcpy(header + TX_TRANSPORT_OFFSET, bytes, copied);
    struct tx tx = {.header = header,
                    .transport_size = (uint16_t)copied,
                    .payload = {{bytes + copied, control->size - copied}},
                    .payload_count = 1,
                    .tos = control->tos,
                    .ttl = control->ttl,
                    .without_checksum = control->without_checksum,
                    .dont_fragment = is_v4_flagged_df(control)};
    struct ip_out out = {
        .src = control->src, .dst = control->dst, .protocol = control->protocol, .mac = mac};
    if (way.is_local) {
        ip_deliver_inside(host, &tx, &out, now);
        return STEP_INSIDE;
    }
    ip_emit(host, &tx, &out, ret_packet);
    return STEP_PACKET;
}

static enum step next_control(struct foyer_host *host, uint8_t *header,
                              struct foyer_packet *ret_packet, foyer_time_ns now)
{
    struct control *control = control_at(host, host->control_sent);
    enum step step = STEP_AGAIN;
    bool is_done = true;
    if (control->kind_word == CONTROL_FRAME) {
        /* Lent from the queue, which stands until the next call. */
        *ret_packet = (struct foyer_packet){.spans = {{control_bytes(control), control->size}},
                                            .span_count = 1,
                                            .header_size = (uint16_t)control->size};
        host->stats.out_frames++;
        step = STEP_PACKET;
    } else if (control->kind_word == CONTROL_IP) {
        step = send_control(host, control, header, ret_packet, &is_done, now);
    }
    if (is_done)
        host->control_sent += control->entry_size;
    return step;
}

/* ---- one packet from a socket ---------------------------------------------------------------------------- */

static enum step next_udp(struct foyer_host *host, struct sock *sock, struct tx *tx,
                          struct foyer_packet *ret_packet, foyer_time_ns now)
{
    if (!FOYER_WITH_UDP)
        return STEP_NOTHING;
    struct ip_out out;
    struct ip_way way;
    switch (udp_next(host, sock, tx, &out, &way, now)) {
    case UDP_IDLE:
        list_remove(&sock->output_node);
        return STEP_AGAIN;
    case UDP_SKIPPED:
        return STEP_AGAIN;
    case UDP_PACKET:
        break;
    }
    bool is_looped = way.is_broadcast || (way.is_multicast && sock->multicast_loop);
    if (way.is_local || (is_looped && (way.is_broadcast || ip_is_joined(host, &out.dst))))
        ip_deliver_inside(host, tx, &out, now);
    if (way.is_local || (way.is_multicast && tx->ttl == 0))
        return STEP_INSIDE;
    ip_emit(host, tx, &out, ret_packet);
    return STEP_PACKET;
}

static bool must_cut(const struct foyer_host *host, const struct tx *tx)
{
    uint32_t capability = tx->gso_type == FOYER_GSO_TCPV4 ? FOYER_LINK_TSO4 : FOYER_LINK_TSO6;
    return tx->gso_type != FOYER_GSO_NONE && (host->config.link_capabilities & capability) == 0;
}

static enum step next_tcp(struct foyer_host *host, struct sock *sock, struct tx *tx,
                          struct batch *batch, foyer_time_ns now)
{
    if (!FOYER_WITH_TCP)
        return STEP_NOTHING;
    /*
     * Without a path the segment is built and thrown away, as if lost on the way: retransmission
     * then decides how long to hope (RFC 1122 section 4.2.3.9: such errors are soft).
     */
    bool has_path = ip_path(host, sock) == 0;
    if (has_path && sock->neighbour != NULL && !neighbour_use(host, sock->neighbour, now)) {
        neighbour_park(sock->neighbour, sock);
        tcp_parked(host, sock, now);
        return STEP_AGAIN;
    }
    /* A copy: TCP may ask for the path anew, and the cache then let this neighbour go. */
    uint8_t mac[6] = {0};
    if (has_path && sock->neighbour != NULL)
        memcpy(mac, sock->neighbour->mac, 6);
    struct ip_out out = {.src = sock->local.addr,
                         .dst = sock->remote.addr,
                         .protocol = WIRE_PROTOCOL_TCP,
                         .mac = mac};
    bool is_local = has_path && sock->path_is_local;
    bool has_packet = tcp_output(host, sock, tx, now);
    if (!has_packet || tx->is_last) {
        list_remove(&sock->output_node);
        /* All is said: what is left to wait for needs no socket, nor does the packet, an ACK. */
        if (sock->state == FOYER_STATE_TIME_WAIT && (sock->flags & SOCK_ORPHAN) != 0)
            time_wait_take_over(host, sock, now);
    }
    if (!has_packet || !has_path)
        return STEP_AGAIN;
    if (is_local) {
        ip_deliver_inside(host, tx, &out, now);
        return STEP_INSIDE;
    }
    if (must_cut(host, tx)) {
        batch->count += ip_emit_segments(host, tx, &out, &host->headers[batch->count],
                                         &batch->packets[batch->count]);
        return STEP_PACKETS;
    }
    ip_emit(host, tx, &out, &batch->packets[batch->count]);
    return STEP_PACKET;
}

static enum step next_sock(struct foyer_host *host, struct batch *batch, foyer_time_ns now)
{
    struct list_node *node = list_first(&host->output_list);
    if (node == NULL)
        return STEP_NOTHING;
    struct sock *sock = LIST_ENTRY(node, struct sock, output_node);
    if (PROTOCOL_IS_TCP(sock->protocol) && !host->takes_long_way &&
        tcp_fast_output(host, sock, host->headers[batch->count], &batch->packets[batch->count],
                        now))
        return STEP_PACKET;
    if (list_next(&host->output_list, node) != NULL) {
        /* To the end of the list, so that all take turns; it leaves when it has nothing more. */
        list_remove(node);
        list_push_back(&host->output_list, node);
        if (host->output_room > TURN_PACKETS)
            host->output_room = TURN_PACKETS;
    }
    struct tx tx = {.header = host->headers[batch->count],
                    .ttl = sock->ttl,
                    .tos = sock->tos,
                    .dont_fragment = true};
    if (PROTOCOL_IS_UDP(sock->protocol))
        return next_udp(host, sock, &tx, &batch->packets[batch->count], now);
    return next_tcp(host, sock, &tx, batch, now);
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

size_t foyer_host_output(struct foyer_host *host, struct foyer_packet *ret_packets, size_t max,
                         foyer_time_ns now)
{
    struct batch batch = {.packets = ret_packets};
    unsigned quiet_steps = 0;

    host_begin(host, now);
    host->local_pending = false;
    if (!foyer_host_has_output(host))
        return 0;
    if (max > HOST_OUTPUT_BATCH)
        max = HOST_OUTPUT_BATCH;
    while (batch.count < max) {
        /* Steps without a packet are bounded, so that no set of sockets holds the caller up. */
        if (quiet_steps >= HOST_LOCAL_BATCH) {
            host->local_pending = true;
            break;
        }
        host->output_room = (uint32_t)(max - batch.count);
        enum step step = STEP_NOTHING;
        if (!control_is_empty(host))
            step = next_control(host, host->headers[batch.count], &ret_packets[batch.count],
                                host->now_ns);
        if (step == STEP_NOTHING)
            step = next_sock(host, &batch, host->now_ns);
        if (step == STEP_NOTHING)
            break;
        if (step == STEP_PACKET)
            batch.count++;
        else if (step != STEP_PACKETS)
            quiet_steps++;
    }
    return batch.count;
}

bool foyer_host_has_output(const struct foyer_host *host)
{
    return !control_is_empty(host) || !list_is_empty(&host->output_list);
}
