/* IPv6 header and extension headers (RFC 8200). */
#include "wire/ipv6.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/ipv4.h"

#define NEXT_HEADER_OFFSET 6
#define PAYLOAD_SIZE_OFFSET 4

enum extension {
    EXTENSION_HOP_BY_HOP = 0,
    EXTENSION_ROUTING = 43,
    EXTENSION_FRAGMENT = 44,
    EXTENSION_DESTINATION = 60,
};

enum problem_code {
    PROBLEM_ERRONEOUS_FIELD = 0,
    PROBLEM_UNKNOWN_NEXT_HEADER = 1,
    PROBLEM_UNKNOWN_OPTION = 2,
    PROBLEM_INCOMPLETE_CHAIN = 3,
};

enum option {
    OPTION_PAD1 = 0,
    OPTION_PADN = 1,
};

int wire_ipv6_parse_quoted(const uint8_t *bytes, size_t size, struct wire_ipv6 *ret)
{
    if (size < WIRE_IPV6_SIZE || bytes[0] >> 4 != 6)
        return -EINVAL;
    struct wire_ipv6 ip = {
        .traffic_class = (uint8_t)(load_be16(bytes) >> 4),
        .flow_label = load_be32(bytes) & 0xfffffu,
        .payload_size = load_be16(bytes + PAYLOAD_SIZE_OFFSET),
        .next_header = bytes[NEXT_HEADER_OFFSET],
        .hop_limit = bytes[7],
    };
    memcpy(ip.src.bytes, bytes + 8, 16);
    memcpy(ip.dst.bytes, bytes + 24, 16);
    /* struct foyer_addr holds IPv4 in this form: from a wire it would be a forged family. */
    if (foyer_addr_is_v4(&ip.src) || foyer_addr_is_v4(&ip.dst))
        return -EINVAL;
    *ret = ip;
    return WIRE_IPV6_SIZE;
}

int wire_ipv6_parse(const uint8_t *bytes, size_t size, struct wire_ipv6 *ret)
{
    struct wire_ipv6 ip;
    int header_size = wire_ipv6_parse_quoted(bytes, size, &ip);
    if (header_size < 0)
        return header_size;
    if (ip.payload_size > size - WIRE_IPV6_SIZE)
        return -EINVAL;
    *ret = ip;
    return header_size;
}

size_t wire_ipv6_emit(uint8_t *bytes, const struct wire_ipv6 *ip)
{
    store_be32(bytes, 6u << 28 | (uint32_t)ip->traffic_class << 20 | (ip->flow_label & 0xfffffu));
    store_be16(bytes + PAYLOAD_SIZE_OFFSET, ip->payload_size);
    bytes[NEXT_HEADER_OFFSET] = ip->next_header;
    bytes[7] = ip->hop_limit;
    memcpy(bytes + 8, ip->src.bytes, 16);
    memcpy(bytes + 24, ip->dst.bytes, 16);
    return WIRE_IPV6_SIZE;
}

/* The walk's place in the packet. */
struct walk {
    const uint8_t *packet;
    uint32_t end; /* of the packet: fixed header and payload_size, or what is contiguous */
    uint32_t at;  /* of the header that comes next */
    uint32_t next_header_offset;
    const struct wire_ipv6 *ip;
    struct wire_ipv6_problem problem;
};

static int report(struct walk *walk, enum problem_code code, uint32_t pointer)
{
    walk->problem = (struct wire_ipv6_problem){(uint8_t)code, pointer};
    return -EPROTO;
}

/* Options of a Hop-by-Hop or Destination header at walk->at (section 4.2). */
static int check_options(struct walk *walk, uint32_t header_size)
{
    uint32_t at = walk->at + 2;
    uint32_t end = walk->at + header_size;
    unsigned count = 0;
    while (at < end) {
        uint8_t type = walk->packet[at];
        if (type == OPTION_PAD1) {
            at++;
            continue;
        }
        if (end - at < 2 || walk->packet[at + 1] > end - at - 2)
            return -EINVAL;
        uint32_t option_at = at;
        at += 2u + walk->packet[at + 1];
        if (type == OPTION_PADN)
            continue;
        if (++count > WIRE_IPV6_OPTIONS_MAX)
            return -EINVAL;
        /* No option is known here: the two highest bits of its type say what to do. */
        switch (type >> 6) {
        case 0: /* skip */
            break;
        case 1: /* discard */
            return -EINVAL;
        case 2: /* discard, report even where the destination is multicast */
            return report(walk, PROBLEM_UNKNOWN_OPTION, option_at);
        default: /* discard, report where it is not */
            if (foyer_addr_is_multicast(&walk->ip->dst))
                return -EINVAL;
            return report(walk, PROBLEM_UNKNOWN_OPTION, option_at);
        }
    }
    return 0;
}

/* Section 4.5. */
static int read_fragment(struct walk *walk, struct wire_ipv6_chain *chain)
{
    if (chain->has_fragment)
        return -EINVAL;
    uint32_t field = load_be16(walk->packet + walk->at + 2);
    chain->has_fragment = true;
    chain->more_fragments = (field & 1) != 0;
    chain->fragment_offset = (uint16_t)(field & 0xfff8u);
    chain->fragment_id = load_be32(walk->packet + walk->at + 4);
    chain->fragment_header_offset = (uint16_t)walk->at;
    chain->fragment_next_header_offset = (uint16_t)walk->next_header_offset;

    uint32_t size = WIRE_IPV6_SIZE + (uint32_t)walk->ip->payload_size - (walk->at + 8);
    if (chain->more_fragments && size % 8 != 0)
        return report(walk, PROBLEM_ERRONEOUS_FIELD, PAYLOAD_SIZE_OFFSET);
    if (chain->more_fragments && size == 0)
        return -EINVAL;
    if (chain->fragment_offset + size > UINT16_MAX)
        return report(walk, PROBLEM_ERRONEOUS_FIELD, walk->at + 2);
    return 0;
}

/* One extension header. Its size, or an error. [RFC8200 4c 4.4a 4.4b] */
static int step(struct walk *walk, uint8_t type, struct wire_ipv6_chain *chain)
{
    if (walk->end - walk->at < 8)
        return -EINVAL;
    const uint8_t *header = walk->packet + walk->at;
    uint32_t header_size = type == EXTENSION_FRAGMENT ? 8 : 8u + 8u * header[1];
    if (header_size > walk->end - walk->at)
        return -EINVAL;

    int error = 0;
    switch (type) {
    case EXTENSION_HOP_BY_HOP:
        /* Section 4: only directly after the fixed header. */
        if (walk->at != WIRE_IPV6_SIZE)
            return report(walk, PROBLEM_UNKNOWN_NEXT_HEADER, walk->next_header_offset);
        error = check_options(walk, header_size);
        break;
    case EXTENSION_DESTINATION:
        error = check_options(walk, header_size);
        break;
    case EXTENSION_ROUTING:
        /* Section 4.4: no routing type is known here; used up, it is skipped. RFC 5095. */
        if (header[3] != 0)
            error = report(walk, PROBLEM_ERRONEOUS_FIELD, walk->at + 2);
        break;
    default:
        error = read_fragment(walk, chain);
        break;
    }
    return error < 0 ? error : (int)header_size;
}

static bool is_extension(uint8_t type)
{
    return type == EXTENSION_HOP_BY_HOP || type == EXTENSION_ROUTING ||
           type == EXTENSION_FRAGMENT || type == EXTENSION_DESTINATION;
}

/* What of an upper-layer header its receiver must see; extension headers are counted likewise. */
static uint32_t header_need(const struct walk *walk, uint8_t type)
{
    uint32_t left = walk->end - walk->at;

    if (is_extension(type))
        return left < 8 || type == EXTENSION_FRAGMENT ? 8 : 8u + 8u * walk->packet[walk->at + 1];
    switch (type) {
    case WIRE_PROTOCOL_TCP:
        return left < 13 ? 20 : (uint32_t)(walk->packet[walk->at + 12] >> 4) * 4;
    case WIRE_PROTOCOL_UDP:
    case WIRE_PROTOCOL_ICMP6:
        return 8;
    default:
        return 0;
    }
}

/* [RFC8200 4.5j], RFC 7112 section 5: does a first fragment cut the header chain here? */
static bool is_cut_by_fragment(const struct walk *walk, const struct wire_ipv6_chain *chain,
                               uint8_t type, bool is_whole)
{
    return is_whole && chain->has_fragment && chain->fragment_offset == 0 &&
           chain->more_fragments && header_need(walk, type) > walk->end - walk->at;
}

/* [RFC8200 4a] */
int wire_ipv6_walk(const uint8_t *packet, size_t size, const struct wire_ipv6 *ip,
                   struct wire_ipv6_chain *ret, struct wire_ipv6_problem *ret_problem)
{
    uint32_t end = WIRE_IPV6_SIZE + (uint32_t)ip->payload_size;
    struct walk walk = {
        .packet = packet,
        .end = size < end ? (uint32_t)size : end,
        .at = WIRE_IPV6_SIZE,
        .next_header_offset = NEXT_HEADER_OFFSET,
        .ip = ip,
    };
    if (walk.end < WIRE_IPV6_SIZE)
        return -EINVAL;

    struct wire_ipv6_chain chain = {0};
    bool is_whole = size >= end; /* else the rest is elsewhere, or was not quoted */
    uint8_t type = ip->next_header;
    for (unsigned count = 0; is_extension(type); count++) {
        /* RFC 8504 section 5.3: a host may limit the headers it walks. */
        if (count == WIRE_IPV6_EXTENSIONS_MAX)
            return -EINVAL;
        int header_size = is_cut_by_fragment(&walk, &chain, type, is_whole)
                              ? report(&walk, PROBLEM_INCOMPLETE_CHAIN, 0)
                              : step(&walk, type, &chain);
        if (header_size == -EPROTO)
            *ret_problem = walk.problem;
        if (header_size < 0)
            return header_size;
        type = packet[walk.at];
        walk.next_header_offset = walk.at;
        walk.at += (uint32_t)header_size;
        /* What follows a later fragment's header is not a header. */
        if (chain.has_fragment && chain.fragment_offset != 0)
            break;
    }
    if (is_cut_by_fragment(&walk, &chain, type, is_whole)) {
        *ret_problem = (struct wire_ipv6_problem){.code = PROBLEM_INCOMPLETE_CHAIN, .pointer = 0};
        return -EPROTO;
    }
    chain.protocol = type;
    chain.protocol_offset = (uint16_t)walk.next_header_offset;
    chain.size = (uint16_t)(walk.at - WIRE_IPV6_SIZE);
    *ret = chain;
    return chain.size;
}
