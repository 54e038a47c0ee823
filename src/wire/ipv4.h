/* IPv4 header (RFC 791, RFC 1122 section 3.2.1). Options are length-checked and skipped. */
#ifndef FOYER_WIRE_IPV4_H
#define FOYER_WIRE_IPV4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "foyer/types.h"

#define WIRE_IPV4_SIZE 20
#define WIRE_IPV4_SIZE_MAX 60

enum wire_protocol {
    WIRE_PROTOCOL_ICMP = 1,
    WIRE_PROTOCOL_TCP = 6,
    WIRE_PROTOCOL_UDP = 17,
    WIRE_PROTOCOL_ICMP6 = 58,
    WIRE_PROTOCOL_NONE = 59, /* IPv6 "no next header" */
};

struct wire_ipv4 {
    uint8_t header_size; /* 20..60; emit writes 20 */
    uint8_t tos;         /* DSCP and ECN */
    uint16_t total_size; /* header and payload; not more than the bytes that were parsed */
    uint16_t id;
    bool dont_fragment, more_fragments;
    uint16_t fragment_offset; /* bytes */
    uint8_t ttl, protocol;
    bool has_source_route; /* an LSRR or SSRR option was there */
    struct foyer_addr src, dst;
};

/*
 * The header's size. -EINVAL: cut short, wrong version, length or option length, or a fragment
 * that reaches beyond 65535. -EBADMSG: wrong checksum. bytes may be followed by link padding:
 * the packet is total_size bytes long.
 */
int wire_ipv4_parse(const uint8_t *bytes, size_t size, struct wire_ipv4 *ret);

/*
 * The same for a packet quoted inside an ICMP error: the checksum is not looked at and
 * total_size may exceed what is quoted. The header itself must be whole.
 */
int wire_ipv4_parse_quoted(const uint8_t *bytes, size_t size, struct wire_ipv4 *ret);

/* The complement of the sum of a header without options: 0 over one whose checksum is right. */
static inline uint16_t wire_ipv4_sum(const uint8_t *bytes)
{
    uint64_t sum = (uint64_t)load_be32(bytes) + load_be32(bytes + 4) + load_be32(bytes + 8) +
                   load_be32(bytes + 12) + load_be32(bytes + 16);
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    return (uint16_t)~sum;
}

#define WIRE_IPV4_DONT_FRAGMENT 0x4000u

/* Writes 20 bytes, checksum included. fragment: flags and offset as on the wire; src, dst: four
 * bytes each. */
static inline void wire_ipv4_put(uint8_t *bytes, uint8_t tos, uint16_t total_size, uint16_t id,
                                 uint16_t fragment, uint8_t ttl, uint8_t protocol,
                                 const uint8_t *src, const uint8_t *dst)
{
    store_be32(bytes, (4u << 4 | WIRE_IPV4_SIZE / 4) << 24 | (uint32_t)tos << 16 | total_size);
    store_be32(bytes + 4, (uint32_t)id << 16 | fragment);
    store_be32(bytes + 8, (uint32_t)ttl << 24 | (uint32_t)protocol << 16);
    memcpy(bytes + 12, src, 4);
    memcpy(bytes + 16, dst, 4);
    store_be16(bytes + 10, wire_ipv4_sum(bytes));
}

/* The same. */
size_t wire_ipv4_emit(uint8_t *bytes, const struct wire_ipv4 *ip);

#endif
