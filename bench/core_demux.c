/*
 * Whose is a segment? One host with so many established connections, each with its socket, control
 * block and places in the tables; their peers are only what is written here. So 10,000,000 need the
 * memory of one host, not of two; and that of huge pages, or most of the time would go by in looking
 * up where the pages are.
 *
 * The peers stand behind a router, host 0 of the pair, PORTS_PER_ADDRESS connections from each
 * address, all to one listener. Each connection's last ACK comes again, in an order without
 * locality, in batches as a link gives them: what is measured is the whole way of a segment that
 * changes nothing, to the end of foyer_host_input. The frames are made outside of the measured time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "core.h"
#include "core_pair.h"
#include "wire/eth.h"
#include "wire/ipv4.h"
#include "wire/tcp.h"

#define PORT 7
#define PORTS_PER_ADDRESS 50000u
#define BATCH 32u
#define BATCHES 64u
#define FRAME_BYTES (WIRE_ETH_SIZE + WIRE_IPV4_SIZE + WIRE_TCP_SIZE_MAX)

/* What a peer must remember of its connection. */
struct far_end {
    uint32_t iss, timestamp; /* the host's */
};

struct demux {
    struct pair pair;
    uint32_t count, next;
    struct far_end *ends;
    uint32_t *order;
    uint8_t frames[BATCHES * BATCH][FRAME_BYTES];
    size_t sizes[BATCHES * BATCH];
};

static struct foyer_endpoint endpoint_of(uint32_t index)
{
    uint32_t address = index / PORTS_PER_ADDRESS + 1;
    return (struct foyer_endpoint){
        foyer_addr_v4(172, 16, (uint8_t)(address >> 8), (uint8_t)address),
        (uint16_t)(1024 + index % PORTS_PER_ADDRESS)};
}

static uint32_t index_of(const uint8_t *address, uint16_t port)
{
    return (load_be16(address + 2) - 1u) * PORTS_PER_ADDRESS + port - 1024u;
}

/* The peer's next segment: its SYN, or the ACK that completes the handshake. */
static size_t make_frame(const struct demux *demux, uint32_t index, bool is_syn, uint8_t *frame)
{
    const struct far_end *end = &demux->ends[index];
    const struct foyer_endpoint src = endpoint_of(index), dst = pair_endpoint(1, PORT);
    struct wire_tcp_options options = {.has_mss = is_syn,
                                       .mss = 1460,
                                       .has_window_scale = is_syn,
                                       .window_scale = 7,
                                       .has_sack_permitted = is_syn,
                                       .has_timestamps = true,
                                       .timestamp_value = 1000,
                                       .timestamp_echo = is_syn ? 0 : end->timestamp};
    struct wire_tcp tcp = {.src_port = src.port,
                           .dst_port = dst.port,
                           .seq = SEQ(index + (is_syn ? 0u : 1u)),
                           .ack = SEQ(is_syn ? 0u : end->iss + 1u),
                           .flags = is_syn ? WIRE_TCP_SYN : WIRE_TCP_ACK,
                           .window = 1000};
    struct wire_eth eth = {
        .dst = {2, 0, 0, 0, 0, 2}, .src = {2, 0, 0, 0, 0, 1}, .ethertype = WIRE_ETHERTYPE_IPV4};
    size_t at = wire_eth_emit(frame, &eth) + WIRE_IPV4_SIZE;
    size_t tcp_size = wire_tcp_emit(frame + at, &tcp, &options);
    struct wire_ipv4 ip = {.total_size = (uint16_t)(WIRE_IPV4_SIZE + tcp_size),
                           .ttl = 64,
                           .protocol = WIRE_PROTOCOL_TCP,
                           .src = src.addr,
                           .dst = dst.addr};
    wire_ipv4_emit(frame + WIRE_ETH_SIZE, &ip);
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &src.addr, &dst.addr, WIRE_PROTOCOL_TCP, (uint32_t)tcp_size);
    checksum_add(&sum, frame + at, tcp_size);
    store_be16(frame + at + 16, checksum_finish(&sum));
    return at + tcp_size;
}

static void input(struct demux *demux, uint32_t index, bool is_syn)
{
    uint8_t frame[FRAME_BYTES];
    const struct foyer_packet packet = {.spans = {{frame, make_frame(demux, index, is_syn, frame)}},
                                        .span_count = 1,
                                        .arrival_ns = demux->pair.now};
    foyer_host_input(demux->pair.hosts[1], &packet, 1, demux->pair.now);
}

/* Reads the host's SYN-ACKs; how many. What is not IP is for the router. */
static uint32_t take_answers(struct demux *demux)
{
    struct foyer_packet packets[64];
    uint32_t taken = 0;
    size_t count;
    while ((count = foyer_host_output(demux->pair.hosts[1], packets, 64, demux->pair.now)) > 0) {
        for (size_t i = 0; i < count; i++) {
            const uint8_t *ip = packets[i].spans[0].base + WIRE_ETH_SIZE;
            if (load_be16(ip - 2) != WIRE_ETHERTYPE_IPV4) {
                foyer_host_input(demux->pair.hosts[0], &packets[i], 1, demux->pair.now);
                continue;
            }
            struct wire_tcp tcp;
            struct wire_tcp_options options;
            int size =
                wire_tcp_parse(ip + WIRE_IPV4_SIZE,
                               packets[i].spans[0].size - WIRE_ETH_SIZE - WIRE_IPV4_SIZE, &tcp);
            CORE_CHECK(size > 0 && tcp.flags == (WIRE_TCP_SYN | WIRE_TCP_ACK));
            CORE_CHECK(wire_tcp_options_parse(ip + WIRE_IPV4_SIZE + WIRE_TCP_SIZE,
                                              (size_t)size - WIRE_TCP_SIZE, &options) >= 0);
            uint32_t index = index_of(ip + 16, tcp.dst_port);
            CORE_CHECK(index < demux->count);
            demux->ends[index] = (struct far_end){tcp.seq.value, options.timestamp_value};
            taken++;
        }
        (void)pair_carry(&demux->pair, 0);
    }
    return taken;
}

static void connect_all(struct demux *demux, foyer_socket listener)
{
    struct pair *pair = &demux->pair;
    for (uint32_t i = 0; i < demux->count; i += BATCH) {
        uint32_t end = demux->count - i < BATCH ? demux->count : i + BATCH;
        for (uint32_t j = i; j < end; j++)
            input(demux, j, true);
        CORE_CHECK(take_answers(demux) == end - i);
        for (uint32_t j = i; j < end; j++) {
            foyer_socket socket;
            input(demux, j, false);
            CORE_CHECK(foyer_socket_accept(pair->hosts[1], listener, 1, &socket) == 0);
        }
        CORE_CHECK(take_answers(demux) == 0);
        pair_drain_events(pair);
        pair_advance(pair, FOYER_NS_PER_MS);
    }
}

static void *demux_open(long argument)
{
    struct demux *demux = calloc(1, sizeof(*demux));
    CORE_CHECK(demux != NULL);
    demux->count = (uint32_t)argument;
    demux->ends = malloc(demux->count * sizeof(demux->ends[0]));
    demux->order = malloc(demux->count * sizeof(demux->order[0]));
    CORE_CHECK(demux->ends != NULL && demux->order != NULL);
    pair_init(&demux->pair,
              &(struct pair_config){.max_sockets = demux->count + 64, .has_huge_pages = true});
    const struct foyer_addr any = foyer_addr_v4(0, 0, 0, 0), router = pair_endpoint(0, 0).addr;
    CORE_CHECK(foyer_host_add_route(demux->pair.hosts[1], &any, 0, &router) == 0);
    foyer_socket listener = pair_listen(&demux->pair, PORT, BATCH), client, server;
    pair_establish(&demux->pair, listener, PORT, &client, &server); /* so the router is known */
    connect_all(demux, listener);

    uint64_t random = 1;
    for (uint32_t i = 0; i < demux->count; i++)
        demux->order[i] = i;
    for (uint32_t i = demux->count - 1; i > 0; i--) {
        uint32_t j = core_random(&random, i + 1), swap = demux->order[i];
        demux->order[i] = demux->order[j];
        demux->order[j] = swap;
    }
    return demux;
}

static void make_frames(struct demux *demux)
{
    for (uint32_t i = 0; i < BATCHES * BATCH; i++) {
        demux->sizes[i] = make_frame(demux, demux->order[demux->next], false, demux->frames[i]);
        demux->next = demux->next + 1 < demux->count ? demux->next + 1 : 0;
    }
}

static void input_frames(struct demux *demux)
{
    struct pair *pair = &demux->pair;
    for (uint32_t i = 0; i < BATCHES * BATCH; i += BATCH) {
        struct foyer_packet packets[BATCH];
        for (uint32_t j = 0; j < BATCH; j++)
            packets[j] = (struct foyer_packet){
                .spans = {{demux->frames[i + j], demux->sizes[i + j]}},
                .span_count = 1,
                .arrival_ns = pair->now,
            };
        foyer_host_input(pair->hosts[1], packets, BATCH, pair->now);
    }
}

static double demux_measure(void *state, double seconds)
{
    struct demux *demux = state;
    struct pair *pair = &demux->pair;
    struct foyer_host_stats before, after;
    foyer_host_stats(pair->hosts[1], &before);
    double spent = 0, cost = core_clock_cost();
    uint64_t count = 0;
    do {
        make_frames(demux);
        double start = core_seconds();
        input_frames(demux);
        spent += core_seconds() - start - cost;
        count += BATCHES * BATCH;
    } while (spent < seconds);
    foyer_host_stats(pair->hosts[1], &after);
    CORE_CHECK(after.tcp_in_segs - before.tcp_in_segs == count);
    CORE_CHECK(after.tcp_out_segs == before.tcp_out_segs);
    CORE_CHECK(after.tcp_in_errs == before.tcp_in_errs);
    CORE_CHECK(after.tcp_out_rsts == before.tcp_out_rsts);
    return spent * 1e9 / (double)count;
}

static void demux_close(void *state)
{
    struct demux *demux = state;
    pair_finish(&demux->pair);
    free(demux->ends);
    free(demux->order);
    free(demux);
}

const struct subject foyer_demux = {demux_open, demux_measure, demux_close};
