#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "unit/stack/lan.h"
#include "wire/arp.h"
#include "wire/eth.h"
#include "wire/icmp.h"
#include "wire/ipv4.h"

static const uint8_t host_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};

static struct foyer_addr host_addr(void)
{
    return foyer_addr_v4(10, 0, 0, 1);
}

static struct foyer_addr peer_addr(void)
{
    return foyer_addr_v4(10, 0, 0, 2);
}

static void *counted_alloc(void *context, size_t size)
{
    struct peer *peer = context;

    if (peer->fail_allocations)
        return NULL;
    peer->allocated_bytes += size;
    return malloc(size);
}

static void counted_free(void *context, void *memory, size_t size)
{
    struct peer *peer = context;

    if (memory != NULL)
        peer->allocated_bytes -= size;
    free(memory);
}

static struct peer *create(uint32_t capabilities, uint32_t ring_size, uint32_t behaviour)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    struct foyer_host_config config = {
        .allocator = {counted_alloc, counted_free, peer},
        .link_capabilities = capabilities,
        .receive_buffer_size = ring_size,
        .send_buffer_size = ring_size,
        .behaviour = behaviour,
        .secret = "a secret of thirty-two bytes ...",
    };
    struct foyer_addr addr = host_addr();

    memcpy(config.mac, host_mac, 6);
    peer->now = 1000 * FOYER_NS_PER_S;
    peer->window = 60000;
    peer->peer_port = PEER_PORT;
    peer->host_port = HOST_PORT;
    peer->host = foyer_host_create(&config, peer->now);
    assert_non_null(peer->host);
    assert_int_equal(foyer_host_add_address(peer->host, &addr, 24), 0);
    return peer;
}

struct peer *peer_create_with(uint32_t capabilities, uint32_t ring_size)
{
    return create(capabilities, ring_size, 0);
}

struct peer *peer_create_behaving(uint32_t behaviour)
{
    return create(0, 65536, behaviour);
}

struct peer *peer_create(void)
{
    return peer_create_with(0, 65536);
}

static void free_payload(struct peer *peer, size_t index)
{
    free(peer->payloads[index]);
    peer->payloads[index] = NULL;
}

void peer_destroy(struct peer *peer)
{
    foyer_host_destroy(peer->host);
    assert_int_equal(peer->allocated_bytes, 0);
    for (size_t i = 0; i < PEER_QUEUE_MAX; i++)
        free_payload(peer, i);
    free(peer);
}

/* ---- frames in --------------------------------------------------------------------------------- */

static void input_frame(struct peer *peer, const uint8_t *frame, size_t size, uint8_t flags,
                        uint16_t gso_size)
{
    /* A copy of exact size, so that a read beyond it is seen by the sanitizer. */
    uint8_t *copy = malloc(size);
    struct foyer_packet packet = {
        .spans = {{copy, size}},
        .span_count = 1,
        .flags = flags,
        .gso_type = gso_size != 0 ? FOYER_GSO_TCPV4 : FOYER_GSO_NONE,
        .gso_size = gso_size,
        .arrival_ns = peer->now,
    };

    memcpy(copy, frame, size);
    foyer_host_input(peer->host, &packet, 1, peer->now);
    free(copy);
}

static void answer_arp(struct peer *peer, const uint8_t *frame, size_t size)
{
    struct wire_arp request;

    if (wire_arp_parse(frame + WIRE_ETH_SIZE, size - WIRE_ETH_SIZE, &request) < 0)
        return;
    struct foyer_addr mine = peer_addr();
    if (request.operation != WIRE_ARP_REQUEST || !foyer_addr_eq(&request.target_addr, &mine))
        return;
    uint8_t reply[60] = {0};
    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_ARP};
    memcpy(eth.dst, host_mac, 6);
    memcpy(eth.src, peer_mac, 6);
    struct wire_arp arp = {
        .operation = WIRE_ARP_REPLY, .sender_addr = mine, .target_addr = request.sender_addr};
    memcpy(arp.sender_mac, peer_mac, 6);
    memcpy(arp.target_mac, host_mac, 6);
    size_t at = wire_eth_emit(reply, &eth);
    wire_arp_emit(reply + at, &arp);
    input_frame(peer, reply, sizeof(reply), 0, 0);
}

uint8_t peer_byte(uint32_t seq)
{
    return (uint8_t)(seq * 7u + (seq >> 8) * 13u + 1u);
}

static size_t build_frame(struct peer *peer, const struct seg *seg, uint8_t *frame)
{
    struct wire_tcp tcp = {
        .src_port = seg->src_port != 0 ? seg->src_port : peer->peer_port,
        .dst_port = seg->dst_port != 0 ? seg->dst_port : peer->host_port,
        .seq = SEQ(PEER_ISS + seg->seq),
        .ack = SEQ((seg->flags & ACK) != 0 ? peer->host_iss + seg->ack : 0),
        .flags = seg->flags,
        .window = seg->window,
        .urgent = seg->urgent,
    };
    struct wire_tcp_options options = seg->options;
    for (unsigned i = 0; i < options.sack_count; i++) {
        options.sack[i].left = seq_add(options.sack[i].left, peer->host_iss);
        options.sack[i].right = seq_add(options.sack[i].right, peer->host_iss);
    }
    if (peer->ts_offset != 0 && !options.has_timestamps && (seg->flags & RST) == 0) {
        options.has_timestamps = true;
        options.timestamp_value = (uint32_t)(peer->now / MS) + peer->ts_offset;
        options.timestamp_echo = peer->last_ts;
    }
    uint8_t *transport = frame + WIRE_ETH_SIZE + WIRE_IPV4_SIZE;
    size_t size = wire_tcp_emit(transport, &tcp, &options);
    for (uint32_t i = 0; i < seg->size; i++)
        transport[size + i] = seg->data != NULL ? seg->data[i] : peer_byte(seg->seq + i);
    size += seg->size;

    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_IPV4};
    memcpy(eth.dst, host_mac, 6);
    memcpy(eth.src, peer_mac, 6);
    wire_eth_emit(frame, &eth);
    struct wire_ipv4 ip = {
        .tos = seg->tos,
        .total_size = (uint16_t)(WIRE_IPV4_SIZE + size),
        .ttl = 64,
        .protocol = WIRE_PROTOCOL_TCP,
        .src = peer_addr(),
        .dst = host_addr(),
    };
    wire_ipv4_emit(frame + WIRE_ETH_SIZE, &ip);
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &ip.src, &ip.dst, WIRE_PROTOCOL_TCP, (uint32_t)size);
    checksum_add(&sum, transport, size);
    store_be16(transport + WIRE_TCP_CHECKSUM_OFFSET, checksum_finish(&sum));
    return WIRE_ETH_SIZE + WIRE_IPV4_SIZE + size;
}

void peer_send(struct peer *peer, struct seg seg)
{
    static uint8_t frame[70000];
    size_t size = build_frame(peer, &seg, frame);

    input_frame(peer, frame, size, 0, seg.gso_size);
}

void peer_send_damaged(struct peer *peer, struct seg seg)
{
    static uint8_t frame[70000];
    size_t size = build_frame(peer, &seg, frame);

    frame[size - 1] ^= 1;
    input_frame(peer, frame, size, 0, 0);
}

void peer_icmp(struct peer *peer, uint8_t type, uint8_t code, uint32_t word, uint32_t seq)
{
    uint8_t quoted[128], frame[256];
    const struct foyer_addr host = foyer_addr_v4(10, 0, 0, 1), other = foyer_addr_v4(10, 0, 0, 2);
    size_t at = lan_ip(quoted, &host, &other, WIRE_PROTOCOL_TCP, 20);
    memset(quoted + at, 0, 20);
    store_be16(quoted + at, HOST_PORT);
    store_be16(quoted + at + 2, PEER_PORT);
    store_be32(quoted + at + 4, peer->host_iss + seq);
    size_t size = lan_icmp(frame, &other, &host, type, code, word, quoted + WIRE_ETH_SIZE,
                           at + 20 - WIRE_ETH_SIZE);
    const struct foyer_packet packet = {
        .spans = {{frame, size}}, .span_count = 1, .arrival_ns = peer->now};
    foyer_host_input(peer->host, &packet, 1, peer->now);
}

/* ---- frames out -------------------------------------------------------------------------------- */

static void keep_segment(struct peer *peer, const uint8_t *frame, size_t size,
                         const struct foyer_packet *packet)
{
    struct wire_ipv4 ip;
    struct wire_tcp tcp;
    const uint8_t *ip_bytes = frame + WIRE_ETH_SIZE;
    int ip_size = wire_ipv4_parse(ip_bytes, size - WIRE_ETH_SIZE, &ip);

    assert_true(ip_size > 0);
    if (ip.protocol != WIRE_PROTOCOL_TCP)
        return;
    const uint8_t *transport = ip_bytes + ip_size;
    size_t transport_size = ip.total_size - (size_t)ip_size;
    int tcp_size = wire_tcp_parse(transport, transport_size, &tcp);
    assert_true(tcp_size > 0);
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &ip.src, &ip.dst, WIRE_PROTOCOL_TCP, (uint32_t)transport_size);
    checksum_add(&sum, transport, transport_size);
    if ((packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) == 0)
        assert_int_equal(checksum_finish(&sum), 0); /* MUST-2 */

    assert_true(peer->count < PEER_QUEUE_MAX);
    size_t index = (peer->first + peer->count++) % PEER_QUEUE_MAX;
    struct seg *seg = &peer->queue[index];
    memset(seg, 0, sizeof(*seg));
    assert_true(wire_tcp_options_parse(transport + WIRE_TCP_SIZE, (size_t)tcp_size - WIRE_TCP_SIZE,
                                       &seg->options) >= 0);
    if ((tcp.flags & SYN) != 0)
        peer->host_iss = tcp.seq.value;
    seg->flags = tcp.flags;
    seg->tos = ip.tos;
    seg->seq = tcp.seq.value - peer->host_iss;
    seg->ack = (tcp.flags & ACK) != 0 ? tcp.ack.value - PEER_ISS : 0;
    seg->window = tcp.window;
    seg->urgent = tcp.urgent;
    seg->src_port = tcp.src_port;
    seg->dst_port = tcp.dst_port;
    seg->size = (uint32_t)(transport_size - (size_t)tcp_size);
    seg->gso_size = packet->gso_type != FOYER_GSO_NONE ? packet->gso_size : 0;
    seg->at_ns = peer->now;
    for (unsigned i = 0; i < seg->options.sack_count; i++) {
        seg->options.sack[i].left = seq_back(seg->options.sack[i].left, PEER_ISS);
        seg->options.sack[i].right = seq_back(seg->options.sack[i].right, PEER_ISS);
    }
    if (seg->options.has_timestamps)
        peer->last_ts = seg->options.timestamp_value;
    free_payload(peer, index);
    peer->payloads[index] = malloc(seg->size + 1);
    memcpy(peer->payloads[index], transport + tcp_size, seg->size);
    seg->data = peer->payloads[index];
    /* Whatever is sent, first or again, must be the byte that was written there. */
    uint32_t first = seg->seq - ((seg->flags & SYN) != 0 ? 0 : 1);
    for (uint32_t i = 0; i < seg->size && peer->written > 0; i++)
        assert_int_equal(seg->data[i], host_byte(first + i));
}

static void pull(struct peer *peer)
{
    static uint8_t frame[70000];
    struct foyer_packet packets[8];
    size_t count;

    while ((count = foyer_host_output(peer->host, packets, 8, peer->now)) > 0) {
        struct {
            uint8_t bytes[60];
            size_t size;
        } arps[8];
        size_t arp_count = 0;
        for (size_t i = 0; i < count; i++) {
            size_t size = 0;
            for (unsigned s = 0; s < packets[i].span_count; s++) {
                if (packets[i].spans[s].size > 0)
                    memcpy(frame + size, packets[i].spans[s].base, packets[i].spans[s].size);
                size += packets[i].spans[s].size;
            }
            struct wire_eth eth;
            assert_true(wire_eth_parse(frame, size, &eth) > 0);
            if (eth.ethertype == WIRE_ETHERTYPE_ARP && size <= sizeof(arps[0].bytes)) {
                memcpy(arps[arp_count].bytes, frame, size);
                arps[arp_count++].size = size;
            } else if (eth.ethertype == WIRE_ETHERTYPE_IPV4 && !peer->is_silent) {
                keep_segment(peer, frame, size, &packets[i]);
            }
        }
        for (size_t i = 0; i < arp_count; i++)
            answer_arp(peer, arps[i].bytes, arps[i].size);
    }
}

bool peer_recv(struct peer *peer, struct seg *ret_seg)
{
    pull(peer);
    if (peer->count == 0)
        return false;
    *ret_seg = peer->queue[peer->first];
    peer->first = (peer->first + 1) % PEER_QUEUE_MAX;
    peer->count--;
    return true;
}

struct seg peer_expect(struct peer *peer, uint16_t flags, uint32_t seq, uint32_t ack, uint32_t size)
{
    struct seg seg;

    if (!peer_recv(peer, &seg))
        fail_msg("nothing sent; expected flags %02x seq %u ack %u size %u", flags, seq, ack, size);
    if (seg.flags != flags || seg.seq != seq || seg.ack != ack || seg.size != size)
        fail_msg("sent flags %02x seq %u ack %u size %u; expected flags %02x seq %u ack %u size %u",
                 seg.flags, seg.seq, seg.ack, seg.size, flags, seq, ack, size);
    return seg;
}

void peer_expect_nothing(struct peer *peer)
{
    struct seg seg;

    if (peer_recv(peer, &seg))
        fail_msg("sent flags %02x seq %u ack %u size %u; expected nothing", seg.flags, seg.seq,
                 seg.ack, seg.size);
}

void peer_drain(struct peer *peer)
{
    struct seg seg;

    while (peer_recv(peer, &seg))
        ;
}

/* ---- time and events ----------------------------------------------------------------------------- */

void peer_advance(struct peer *peer, foyer_time_ns ns)
{
    foyer_time_ns end = peer->now + ns;

    pull(peer);
    for (foyer_time_ns next; (next = foyer_host_deadline(peer->host)) <= end;) {
        if (next > peer->now)
            peer->now = next;
        foyer_host_tick(peer->host, peer->now);
        pull(peer);
    }
    peer->now = end;
}

foyer_time_ns peer_advance_to_deadline(struct peer *peer, foyer_time_ns limit)
{
    foyer_time_ns start = peer->now;

    pull(peer);
    while (peer->count == 0 && peer->now < start + limit) {
        foyer_time_ns next = foyer_host_deadline(peer->host);
        if (next > start + limit) {
            peer->now = start + limit;
            break;
        }
        if (next > peer->now)
            peer->now = next;
        foyer_host_tick(peer->host, peer->now);
        pull(peer);
    }
    return peer->now - start;
}

uint32_t peer_events(struct peer *peer)
{
    struct foyer_event event;

    while (foyer_host_events(peer->host, &event, 1) == 1) {
        if (event.socket.value == peer->listener.value &&
            (event.events & FOYER_EVENT_ACCEPT) != 0 && peer->socket.value == 0)
            foyer_socket_accept(peer->host, peer->listener, 1, &peer->socket);
        else if (event.socket.value == peer->socket.value)
            peer->events |= event.events;
    }
    uint32_t events = peer->events;
    peer->events = 0;
    return events;
}

struct foyer_socket_info peer_info(struct peer *peer)
{
    struct foyer_socket_info info;

    memset(&info, 0, sizeof(info));
    if (peer->socket.value == 0)
        return info;
    assert_int_equal(foyer_socket_info(peer->host, peer->socket, &info), 0);
    return info;
}

enum foyer_socket_state peer_state(struct peer *peer)
{
    if (peer->socket.value != 0)
        return peer_info(peer).state;
    foyer_socket at = FOYER_SOCKET_NONE;
    while (foyer_socket_next(peer->host, &at)) {
        struct foyer_socket_info info;
        if (foyer_socket_info(peer->host, at, &info) != 0)
            continue;
        if (at.value != peer->listener.value)
            return info.state;
        if (info.request_count > 0) /* a half-open connection is no socket yet */
            return FOYER_STATE_SYN_RECEIVED;
    }
    return FOYER_STATE_CLOSED;
}

struct foyer_host_stats peer_stats(struct peer *peer)
{
    struct foyer_host_stats stats;

    foyer_host_stats(peer->host, &stats);
    return stats;
}

/* ---- states --------------------------------------------------------------------------------------- */

void peer_listen(struct peer *peer, uint32_t backlog)
{
    struct foyer_endpoint local = {host_addr(), HOST_PORT};

    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->listener),
                     0);
    assert_int_equal(foyer_socket_bind(peer->host, peer->listener, &local, NULL), 0);
    assert_int_equal(foyer_socket_listen(peer->host, peer->listener, backlog, NULL), 0);
}

struct peer *peer_listening(uint32_t backlog, enum foyer_option option, int64_t value)
{
    struct peer *peer = peer_create();

    peer_listen(peer, backlog);
    assert_int_equal(foyer_socket_set_option(peer->host, peer->listener, option, value), 0);
    return peer;
}

static void open_socket(struct peer *peer)
{
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->socket),
                     0);
}

static void connect_socket(struct peer *peer)
{
    struct foyer_endpoint remote = {peer_addr(), PEER_PORT};

    assert_int_equal(foyer_socket_connect(peer->host, peer->socket, &remote, peer->now),
                     -EINPROGRESS);
    peer->host_port = peer_info(peer).local.port;
}

void peer_connect(struct peer *peer)
{
    open_socket(peer);
    connect_socket(peer);
}

struct peer *peer_connecting(enum foyer_option option, int64_t value)
{
    struct peer *peer = peer_create();

    open_socket(peer);
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, option, value), 0);
    connect_socket(peer);
    return peer;
}

void peer_establish(struct peer *peer, const struct wire_tcp_options *options, uint16_t window)
{
    struct wire_tcp_options none = {.has_mss = true, .mss = 1460};

    peer_listen(peer, 16);
    peer_send(
        peer,
        (struct seg){.flags = SYN, .window = window, .options = options != NULL ? *options : none});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    struct seg last = {.flags = ACK, .seq = 1, .ack = 1, .window = window};
    if (options != NULL && options->has_timestamps) {
        last.options.has_timestamps = true;
        last.options.timestamp_value = options->timestamp_value;
        last.options.timestamp_echo = peer->last_ts;
    }
    peer_send(peer, last);
    peer_events(peer);
    assert_int_not_equal(peer->socket.value, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_drain(peer);
}

struct peer *peer_establish_near(uint16_t window)
{
    static const struct wire_tcp_options mss_1000 = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();

    peer_establish(peer, &mss_1000, window);
    return peer;
}

struct peer *peer_establish_far(foyer_time_ns rtt, bool has_ts)
{
    struct wire_tcp_options options = {.has_mss = true,
                                       .mss = has_ts ? 1012 : 1000,
                                       .has_sack_permitted = true,
                                       .has_timestamps = has_ts,
                                       .timestamp_value = 5000};
    struct peer *peer = peer_create();

    peer_listen(peer, 16);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = options});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_advance(peer, rtt);
    if (has_ts)
        peer->ts_offset = 5000 - (uint32_t)(peer->now / MS);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_events(peer);
    peer_drain(peer);
    return peer;
}

struct peer *peer_establish_warm(foyer_time_ns rtt, bool has_ts)
{
    struct peer *peer = peer_establish_far(rtt, has_ts);

    peer_write(peer, 2000);
    peer_drain(peer);
    peer_advance(peer, rtt);
    peer_ack(peer, 2001);
    peer_drain(peer);
    return peer;
}

void peer_ack(struct peer *peer, uint32_t number)
{
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = number, .window = 60000});
}

void peer_sack(struct peer *peer, uint32_t number, uint32_t left, uint32_t right)
{
    struct seg seg = {.flags = ACK, .seq = 1, .ack = number, .window = 60000};

    seg.options.sack_count = 1;
    seg.options.sack[0] = (struct wire_tcp_sack){SEQ(left), SEQ(right)};
    peer_send(peer, seg);
}

/* In each of these the host's next is 1 (2 after its FIN) and so is the peer's. */
void peer_to_state(struct peer *peer, enum foyer_socket_state state)
{
    struct wire_tcp_options mss = {.has_mss = true, .mss = 1460};

    if (state == FOYER_STATE_LISTEN) {
        peer_listen(peer, 16);
        return;
    }
    if (state == FOYER_STATE_SYN_SENT) {
        peer_connect(peer);
        peer_expect(peer, SYN, 0, 0, 0);
        return;
    }
    if (state == FOYER_STATE_SYN_RECEIVED) {
        peer_listen(peer, 16);
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = mss});
        peer_expect(peer, SYN | ACK, 0, 1, 0);
        return;
    }
    peer_establish(peer, &mss, 60000);
    if (state == FOYER_STATE_CLOSE_WAIT || state == FOYER_STATE_LAST_ACK) {
        peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 1, .window = 60000});
        peer_expect(peer, ACK, 1, 2, 0);
    }
    if (state != FOYER_STATE_ESTABLISHED && state != FOYER_STATE_CLOSE_WAIT) {
        assert_int_equal(
            foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now), 0);
        peer_expect(peer, FIN | ACK, 1, state == FOYER_STATE_LAST_ACK ? 2 : 1, 0);
    }
    if (state == FOYER_STATE_FIN_WAIT_2 || state == FOYER_STATE_TIME_WAIT)
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 2, .window = 60000});
    if (state == FOYER_STATE_CLOSING || state == FOYER_STATE_TIME_WAIT) {
        uint32_t ack = state == FOYER_STATE_CLOSING ? 1 : 2;
        peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = ack, .window = 60000});
        peer_expect(peer, ACK, 2, 2, 0);
    }
    peer_drain(peer);
    assert_int_equal(peer_state(peer), state);
    peer_events(peer);
}

uint8_t host_byte(uint32_t index)
{
    return (uint8_t)(index * 31u + (index >> 8) * 17u + 5u);
}

/* ---- bytes ---------------------------------------------------------------------------------------- */

void peer_write(struct peer *peer, uint32_t size)
{
    static uint8_t bytes[1u << 20];

    for (uint32_t i = 0; i < size; i++)
        bytes[i] = host_byte(peer->written++);
    assert_int_equal(foyer_socket_send(peer->host, peer->socket, bytes, size, peer->now), size);
}

uint32_t peer_read(struct peer *peer, uint32_t size)
{
    static uint8_t bytes[1u << 20];
    int64_t got = foyer_socket_recv(peer->host, peer->socket, bytes, size, peer->now);

    return got > 0 ? (uint32_t)got : 0;
}
