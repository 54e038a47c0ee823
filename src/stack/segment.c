/*
 * Segmentation in software: TCP hands down one super-segment for as many frames as the caller of
 * foyer_host_output has room for, and a link that cannot cut (FOYER_LINK_TSO4, TSO6) gets them cut
 * here, at the last moment. So TCP decides, keeps its books and sets its timers once for all of
 * them. Each frame has a copy of the first one's headers; what differs is stamped in.
 */
#include <assert.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/ip.h"
#include "wire/tcp.h"

#define TCP_SEQ_OFFSET 4u
#define TCP_FLAGS_OFFSET 13u

/* Where the next payload byte lies. */
struct cursor {
    const struct foyer_span *span;
    size_t skip; /* of the span, taken already */
};

/* What the frames of a super-segment have in common. */
struct cutting {
    const struct tx *tx;
    bool is_v4, is_partial; /* is_partial: the link fills the checksum in */
    size_t header_offset;   /* of the Ethernet header in a header buffer */
    uint32_t ip_sum;     /* IPv4: of the header's 16-bit words, without size and identification */
    struct checksum sum; /* pseudo-header and TCP header, without size, number and flags */
    seq_t seq;
    uint8_t flags;
};

/* size bytes are there. */
static uint8_t take_payload(struct cursor *cursor, size_t size, struct foyer_span *ret_spans)
{
    uint8_t count = 0;
    while (size > 0) {
        size_t rest = cursor->span->size - cursor->skip;
        size_t part = rest < size ? rest : size;
        if (part > 0)
            ret_spans[count++] = (struct foyer_span){cursor->span->base + cursor->skip, part};
        cursor->skip += part;
        size -= part;
        if (cursor->skip == cursor->span->size)
            *cursor = (struct cursor){cursor->span + 1, 0};
    }
    return count;
}

/* RFC 9293 section 3.8.3: FIN and PSH belong to the end; RFC 3168 section 6.1.2: CWR to the first. */
static uint8_t flags_of(const struct cutting *cutting, bool is_first, bool is_last)
{
    unsigned flags = cutting->flags;
    if (!is_last)
        flags &= ~(unsigned)(WIRE_TCP_FIN | WIRE_TCP_PSH);
    if (!is_first)
        flags &= ~(unsigned)WIRE_TCP_CWR;
    return (uint8_t)flags;
}

/* size: of TCP header and payload. */
static void stamp_ip(const struct cutting *cutting, uint8_t *ip, size_t size, uint16_t id)
{
    uint16_t total = (uint16_t)(WIRE_IPV4_SIZE + size);
    uint32_t sum = cutting->ip_sum + total + id;

    if (!cutting->is_v4) {
        store_be16(ip + 4, (uint16_t)size);
        return;
    }
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    store_be16(ip + 2, total);
    store_be16(ip + 4, id);
    store_be16(ip + 10, (uint16_t)~sum);
}

static void stamp_tcp(const struct cutting *cutting, uint8_t *tcp, size_t offset, uint8_t flags,
                      size_t size, struct foyer_packet *packet)
{
    uint32_t seq = cutting->seq.value + (uint32_t)offset;
    struct checksum sum = cutting->sum;

    store_be32(tcp + TCP_SEQ_OFFSET, seq);
    tcp[TCP_FLAGS_OFFSET] = flags;
    checksum_add_u16(&sum, (uint16_t)size);
    if (cutting->is_partial) {
        store_be16(tcp + WIRE_TCP_CHECKSUM_OFFSET, checksum_fold(&sum));
        packet->flags = FOYER_PACKET_CHECKSUM_PARTIAL;
        packet->checksum_start = (uint16_t)(packet->header_size - cutting->tx->transport_size);
        packet->checksum_offset = WIRE_TCP_CHECKSUM_OFFSET;
        return;
    }
    checksum_add_u32(&sum, seq);
    checksum_add_u16(&sum, flags);
    for (unsigned i = 1; i < packet->span_count; i++)
        checksum_add(&sum, packet->spans[i].base, packet->spans[i].size);
    store_be16(tcp + WIRE_TCP_CHECKSUM_OFFSET, checksum_finish(&sum));
}

static uint32_t sum_of_ip(const uint8_t *ip)
{
    uint32_t sum = 0;
    for (unsigned at = 0; at < WIRE_IPV4_SIZE; at += 2)
        sum += at == 2 || at == 4 || at == 10 ? 0u : load_be16(ip + at);
    return sum;
}

/* The headers stand in tx->header, as the whole super-segment's. */
static struct cutting begin(const struct foyer_host *host, const struct tx *tx,
                            const struct ip_out *out, size_t header_offset)
{
    uint8_t *tcp = tx->header + TX_TRANSPORT_OFFSET;
    struct cutting cutting = {
        .tx = tx,
        .is_v4 = foyer_addr_is_v4(&out->dst),
        .is_partial = (host->config.link_capabilities & FOYER_LINK_TX_CHECKSUM) != 0,
        .header_offset = header_offset,
        .seq = SEQ(load_be32(tcp + TCP_SEQ_OFFSET)),
        .flags = tcp[TCP_FLAGS_OFFSET],
    };

    if (cutting.is_v4)
        cutting.ip_sum = sum_of_ip(tcp - WIRE_IPV4_SIZE);
    checksum_init(&cutting.sum);
    checksum_add_pseudo(&cutting.sum, &out->src, &out->dst, WIRE_PROTOCOL_TCP, 0);
    if (!cutting.is_partial) {
        store_be32(tcp + TCP_SEQ_OFFSET, 0);
        tcp[TCP_FLAGS_OFFSET] = 0;
        checksum_add(&cutting.sum, tcp, tx->transport_size);
    }
    return cutting;
}

size_t ip_emit_segments(struct foyer_host *host, const struct tx *tx, const struct ip_out *out,
                        uint8_t (*headers)[TX_HEADER_SIZE], struct foyer_packet *ret_packets)
{
    const uint8_t *start = ip_put_headers(host, tx, out);
    struct cutting cutting = begin(host, tx, out, (size_t)(start - tx->header));
    struct cursor cursor = {tx->payload, 0};
    size_t header_size = TX_TRANSPORT_OFFSET - cutting.header_offset + tx->transport_size;
    size_t total = ip_payload_size(tx), count = 0;
    uint16_t id = (uint16_t)(host->ipv4_id - 1u); /* the first one's */

    assert(tx->header == headers[0] && tx->gso_size > 0);
    for (size_t offset = 0; offset < total; count++) {
        size_t size = total - offset < tx->gso_size ? total - offset : tx->gso_size;
        uint8_t *frame = headers[count] + cutting.header_offset;
        struct foyer_packet *packet = &ret_packets[count];
        if (count > 0) /* all of it: a copy of so many bytes is not worth a call */
            memcpy(headers[count], tx->header, TX_HEADER_SIZE);
        packet_begin(packet, frame, header_size);
        packet->span_count = (uint8_t)(1 + take_payload(&cursor, size, &packet->spans[1]));
        stamp_ip(&cutting, frame + WIRE_ETH_SIZE, tx->transport_size + size, id++);
        stamp_tcp(&cutting, headers[count] + TX_TRANSPORT_OFFSET, offset,
                  flags_of(&cutting, offset == 0, offset + size == total),
                  tx->transport_size + size, packet);
        offset += size;
    }
    host->ipv4_id = id;
    host->stats.out_frames += count;
    return count;
}
