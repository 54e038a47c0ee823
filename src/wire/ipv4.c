/* IPv4 header (RFC 791). */
#include "wire/ipv4.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"

#define FLAG_DONT_FRAGMENT WIRE_IPV4_DONT_FRAGMENT
#define FLAG_MORE_FRAGMENTS 0x2000u
#define OFFSET_MASK 0x1fffu

enum option {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_LOOSE_SOURCE_ROUTE = 131,
    OPTION_STRICT_SOURCE_ROUTE = 137,
};

/* RFC 1122 section 3.2.1.8: every option is either one byte or carries its length. */
static int parse_options(const uint8_t *bytes, size_t size, bool *ret_has_source_route)
{
    bool has_source_route = false;
    size_t at = 0;
    while (at < size && bytes[at] != OPTION_END) {
        if (bytes[at] == OPTION_NOP) {
            at++;
            continue;
        }
        if (size - at < 2 || bytes[at + 1] < 2 || bytes[at + 1] > size - at)
            return -EINVAL;
        if (bytes[at] == OPTION_LOOSE_SOURCE_ROUTE || bytes[at] == OPTION_STRICT_SOURCE_ROUTE)
            has_source_route = true;
        at += bytes[at + 1];
    }
    *ret_has_source_route = has_source_route;
    return 0;
}

/* The fixed fields; the header must be whole, the payload need not be. [RFC1122 3.2.1.1a] */
static int parse_fields(const uint8_t *bytes, size_t size, struct wire_ipv4 *ret)
{
    if (size < WIRE_IPV4_SIZE || bytes[0] >> 4 != 4)
        return -EINVAL;
    unsigned header_size = (bytes[0] & 0x0fu) * 4;
    unsigned total_size = load_be16(bytes + 2);
    if (header_size < WIRE_IPV4_SIZE || header_size > size || total_size < header_size)
        return -EINVAL;

    unsigned fragment = load_be16(bytes + 6);
    *ret = (struct wire_ipv4){
        .header_size = (uint8_t)header_size,
        .tos = bytes[1],
        .total_size = (uint16_t)total_size,
        .id = load_be16(bytes + 4),
        .dont_fragment = (fragment & FLAG_DONT_FRAGMENT) != 0,
        .more_fragments = (fragment & FLAG_MORE_FRAGMENTS) != 0,
        .fragment_offset = (uint16_t)((fragment & OFFSET_MASK) * 8),
        .ttl = bytes[8],
        .protocol = bytes[9],
        .src = foyer_addr_v4(bytes[12], bytes[13], bytes[14], bytes[15]),
        .dst = foyer_addr_v4(bytes[16], bytes[17], bytes[18], bytes[19]),
    };
    return (int)header_size;
}

/* The complement of the header's sum; it nearly always has no options. */
static inline uint16_t header_checksum(const uint8_t *bytes, size_t size)
{
    return size == WIRE_IPV4_SIZE ? wire_ipv4_sum(bytes) : checksum_of(bytes, size);
}

int wire_ipv4_parse(const uint8_t *bytes, size_t size, struct wire_ipv4 *ret)
{
    struct wire_ipv4 ip;
    int header_size = parse_fields(bytes, size, &ip);
    if (header_size < 0)
        return header_size;
    if (ip.total_size > size)
        return -EINVAL;
    /* RFC 1122 section 3.2.1.2: a host MUST verify the checksum and discard silently. */
    if (header_checksum(bytes, (size_t)header_size) != 0)
        return -EBADMSG;

    unsigned payload = (unsigned)ip.total_size - (unsigned)header_size;
    /* RFC 791 section 3.2: all fragments but the last carry a multiple of 8 bytes. */
    if (ip.more_fragments && (payload == 0 || payload % 8 != 0))
        return -EINVAL;
    if (ip.fragment_offset + payload > UINT16_MAX)
        return -EINVAL;
    int error = parse_options(bytes + WIRE_IPV4_SIZE, (size_t)header_size - WIRE_IPV4_SIZE,
                              &ip.has_source_route);
    if (error < 0)
        return error;
    *ret = ip;
    return header_size;
}

int wire_ipv4_parse_quoted(const uint8_t *bytes, size_t size, struct wire_ipv4 *ret)
{
    struct wire_ipv4 ip;
    int header_size = parse_fields(bytes, size, &ip);
    if (header_size >= 0)
        *ret = ip;
    return header_size;
}

size_t wire_ipv4_emit(uint8_t *bytes, const struct wire_ipv4 *ip)
{
    uint16_t fragment =
        (uint16_t)((ip->dont_fragment ? FLAG_DONT_FRAGMENT : 0) |
                   (ip->more_fragments ? FLAG_MORE_FRAGMENTS : 0) | ip->fragment_offset / 8);
    wire_ipv4_put(bytes, ip->tos, ip->total_size, ip->id, fragment, ip->ttl, ip->protocol,
                  ip->src.bytes + 12, ip->dst.bytes + 12);
    return WIRE_IPV4_SIZE;
}
