/*
 * Frames that none of the hosts sent: blind segments (the 4-tuple is right, the numbers are
 * guessed: RFC 5961), copies of old frames, ICMP errors. They go down the victim's wire.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "wire/eth.h"
#include "wire/icmp.h"
#include "wire/icmp6.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"
#include "wire/tcp.h"
#include "world.h"

struct forged {
    uint8_t bytes[WORLD_CAPTURED_BYTES];
    size_t size;
    struct foyer_addr src, dst;
    bool is_v4;
    size_t transport;
};

void hostile_capture(struct world *world, const struct foyer_packet *packet)
{
    size_t size = foyer_packet_size(packet);
    if (size > WORLD_CAPTURED_BYTES || packet->gso_type != FOYER_GSO_NONE ||
        (packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0)
        return;
    struct captured *slot = &world->captured[below(&world->hostile_random, WORLD_CAPTURED_MAX)];
    if (world->captured_count < WORLD_CAPTURED_MAX)
        slot = &world->captured[world->captured_count++];
    else if (!one_in(&world->hostile_random, 8))
        return;
    slot->size = 0;
    for (unsigned i = 0; i < packet->span_count; i++) {
        if (packet->spans[i].size > 0)
            memcpy(slot->bytes + slot->size, packet->spans[i].base, packet->spans[i].size);
        slot->size += packet->spans[i].size;
    }
}

static const struct captured *pick(struct world *world)
{
    if (world->captured_count == 0)
        return NULL;
    return &world->captured[below(&world->hostile_random, world->captured_count)];
}

/* To whose MAC address the frame is, or to one of them. */
static void send(struct world *world, const uint8_t *bytes, size_t size)
{
    struct foyer_packet packet = {.spans = {{bytes, size}}, .span_count = 1};
    world->counts->hostile++;
    for (unsigned i = 0; i < world->host_count; i++) {
        struct sim_host *host = world->hosts[i].sim;
        if (memcmp(bytes, host->mac, 6) != 0 || host->wire->is_down)
            continue;
        impair_push(&host->wire->way[1], &packet, world->sim.now);
        if (world->sim.is_recorded)
            pcapng_write(&world->sim.pcapng, &packet, PCAPNG_UNKNOWN, world->sim.now);
    }
}

/* Ethernet and IP as in the captured frame. False: it is no TCP over IP. */
static bool parse(const struct captured *captured, struct forged *ret)
{
    if (captured == NULL || captured->size < WIRE_ETH_SIZE + WIRE_IPV4_SIZE)
        return false;
    const uint8_t *ip = captured->bytes + WIRE_ETH_SIZE;
    *ret = (struct forged){.size = captured->size};
    memcpy(ret->bytes, captured->bytes, captured->size);
    uint16_t ethertype = load_be16(captured->bytes + 12);
    if (ethertype == WIRE_ETHERTYPE_IPV4) {
        struct wire_ipv4 v4;
        if (wire_ipv4_parse(ip, captured->size - WIRE_ETH_SIZE, &v4) < 0 ||
            v4.protocol != WIRE_PROTOCOL_TCP)
            return false;
        ret->src = v4.src;
        ret->dst = v4.dst;
        ret->is_v4 = true;
        ret->transport = WIRE_ETH_SIZE + WIRE_IPV4_SIZE;
        return true;
    }
    struct wire_ipv6 v6;
    if (ethertype != WIRE_ETHERTYPE_IPV6 ||
        wire_ipv6_parse(ip, captured->size - WIRE_ETH_SIZE, &v6) < 0 ||
        v6.next_header != WIRE_PROTOCOL_TCP)
        return false;
    ret->src = v6.src;
    ret->dst = v6.dst;
    ret->transport = WIRE_ETH_SIZE + WIRE_IPV6_SIZE;
    return true;
}

/* IP in front of size bytes of transport, from src to dst, with both checksums. */
static void finish(struct forged *frame, uint8_t protocol, size_t size)
{
    uint8_t *ip = frame->bytes + WIRE_ETH_SIZE, *transport = frame->bytes + frame->transport;
    struct checksum sum;
    frame->size = frame->transport + size;
    if (frame->is_v4) {
        struct wire_ipv4 v4 = {.total_size = (uint16_t)(WIRE_IPV4_SIZE + size),
                               .ttl = 64,
                               .protocol = protocol,
                               .src = frame->src,
                               .dst = frame->dst};
        wire_ipv4_emit(ip, &v4);
    } else {
        struct wire_ipv6 v6 = {.payload_size = (uint16_t)size,
                               .next_header = protocol,
                               .hop_limit = 64,
                               .src = frame->src,
                               .dst = frame->dst};
        wire_ipv6_emit(ip, &v6);
    }
    if (protocol == WIRE_PROTOCOL_ICMP) {
        wire_icmp_seal(transport, size);
    } else if (protocol == WIRE_PROTOCOL_ICMP6) {
        wire_icmp6_seal(transport, size, &frame->src, &frame->dst);
    } else {
        checksum_init(&sum);
        checksum_add_pseudo(&sum, &frame->src, &frame->dst, protocol, (uint32_t)size);
        checksum_add(&sum, transport, size);
        store_be16(transport + WIRE_TCP_CHECKSUM_OFFSET, checksum_finish(&sum));
    }
}

/*
 * A segment in the name of either end, with guessed numbers. Guesses are far from the live ones
 * by construction: that one of them hits is for the arithmetic of RFC 5961, not for a test.
 */
static void blind_segment(struct world *world)
{
    static const uint16_t kinds[] = {
        WIRE_TCP_RST,
        WIRE_TCP_RST | WIRE_TCP_ACK,
        WIRE_TCP_SYN,
        WIRE_TCP_SYN | WIRE_TCP_ACK,
        WIRE_TCP_ACK,
        WIRE_TCP_ACK | WIRE_TCP_PSH,
        WIRE_TCP_FIN | WIRE_TCP_ACK,
        0,
        WIRE_TCP_SYN | WIRE_TCP_FIN,
        WIRE_TCP_ACK | WIRE_TCP_URG,
    };
    struct random *random = &world->hostile_random;
    struct forged frame;
    struct wire_tcp seen;
    if (!parse(pick(world), &frame) ||
        wire_tcp_parse(frame.bytes + frame.transport, frame.size - frame.transport, &seen) < 0)
        return;
    struct wire_tcp tcp = {.src_port = seen.src_port,
                           .dst_port = seen.dst_port,
                           .seq = seq_add(seen.seq, (1u << 30) + (uint32_t)below(random, 1u << 31)),
                           .ack = seq_add(seen.ack, (1u << 30) + (uint32_t)below(random, 1u << 31)),
                           .flags = kinds[below(random, sizeof(kinds) / sizeof(kinds[0]))],
                           .window = (uint16_t)random_u64(random)};
    /* Whoever is in SYN-SENT takes a SYN for the peer's: RFC 9293 section 3.10.7.3. */
    if ((tcp.flags & (WIRE_TCP_SYN | WIRE_TCP_ACK)) == WIRE_TCP_SYN)
        world->excuses |= EXCUSE_LOSS;
    size_t size = wire_tcp_emit(frame.bytes + frame.transport, &tcp, NULL);
    size_t text = one_in(random, 2) ? 0 : (size_t)below(random, 600);
    random_fill(random, frame.bytes + frame.transport + size, text);
    finish(&frame, WIRE_PROTOCOL_TCP, size + text);
    send(world, frame.bytes, frame.size);
}

void hostile_blind(struct world *world)
{
    for (uint64_t count = 1 + below(&world->hostile_random, 20); count > 0; count--)
        blind_segment(world);
    world_say(world, "blind segments");
}

void hostile_replay(struct world *world)
{
    for (uint64_t count = 1 + below(&world->hostile_random, 10); count > 0; count--) {
        const struct captured *captured = pick(world);
        if (captured != NULL)
            send(world, captured->bytes, captured->size);
    }
    world_say(world, "old frames again");
}

static size_t icmp4(struct random *random, uint8_t *bytes)
{
    static const uint8_t codes[] = {0, 1, 2, 3, 4, 4, 4, 5, 9, 10, 13};
    static const uint16_t mtus[] = {0, 68, 552, 576, 1000, 1280, 1400, 1492, 9000};
    struct wire_icmp icmp = {.type = WIRE_ICMP_UNREACHABLE,
                             .code = codes[below(random, sizeof(codes))],
                             .mtu = mtus[below(random, 9)]};
    if (one_in(random, 4))
        icmp = (struct wire_icmp){.type = one_in(random, 2) ? WIRE_ICMP_TIME_EXCEEDED
                                                            : WIRE_ICMP_PARAMETER_PROBLEM};
    return wire_icmp_emit(bytes, &icmp);
}

static size_t icmp6(struct random *random, uint8_t *bytes)
{
    static const uint32_t mtus[] = {0, 1279, 1280, 1400, 1492, 9000};
    struct wire_icmp6 icmp = {.type = (uint8_t)(1 + below(random, 4)),
                              .code = (uint8_t)below(random, 5),
                              .mtu = mtus[below(random, 6)]};
    if (icmp.type == WIRE_ICMP6_PACKET_TOO_BIG)
        icmp.code = 0;
    return wire_icmp6_emit(bytes, &icmp);
}

/* An ICMP error about a frame that was sent, or one that only looks so (RFC 5927). */
void hostile_icmp(struct world *world)
{
    struct random *random = &world->hostile_random;
    struct forged frame;
    if (!parse(pick(world), &frame) || frame.size < frame.transport + WIRE_TCP_SIZE)
        return;
    uint8_t quoted[128];
    size_t quoted_size = frame.size - WIRE_ETH_SIZE;
    if (quoted_size > sizeof(quoted))
        quoted_size = sizeof(quoted);
    memcpy(quoted, frame.bytes + WIRE_ETH_SIZE, quoted_size);
    bool is_guess = one_in(random, 2);
    if (is_guess)
        store_be32(quoted + frame.transport - WIRE_ETH_SIZE + 4,
                   load_be32(quoted + frame.transport - WIRE_ETH_SIZE + 4) + (1u << 30) +
                       (uint32_t)below(random, 1u << 31));
    else
        world->excuses |= EXCUSE_ICMP;
    /* Back to the sender, in the name of the host that it was for. */
    uint8_t mac[6];
    memcpy(mac, frame.bytes, 6);
    memcpy(frame.bytes, frame.bytes + 6, 6);
    memcpy(frame.bytes + 6, mac, 6);
    struct foyer_addr src = frame.src;
    frame.src = frame.dst;
    frame.dst = src;
    uint8_t *transport = frame.bytes + frame.transport;
    size_t size = frame.is_v4 ? icmp4(random, transport) : icmp6(random, transport);
    memcpy(transport + size, quoted, quoted_size);
    finish(&frame, frame.is_v4 ? WIRE_PROTOCOL_ICMP : WIRE_PROTOCOL_ICMP6, size + quoted_size);
    send(world, frame.bytes, frame.size);
    world_say(world, "ICMP type %u code %u, %s", transport[0], transport[1],
              is_guess ? "a guess" : "true to life");
}
