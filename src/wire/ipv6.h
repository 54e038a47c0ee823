/* IPv6 header and the walk over its extension headers (RFC 8200). */
#ifndef FOYER_WIRE_IPV6_H
#define FOYER_WIRE_IPV6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define WIRE_IPV6_SIZE 40
/* Limits that RFC 8504 section 5.3 allows a host. */
#define WIRE_IPV6_EXTENSIONS_MAX 8
#define WIRE_IPV6_OPTIONS_MAX 16 /* per header, padding not counted */

struct wire_ipv6 {
    uint8_t traffic_class;
    uint32_t flow_label;
    uint16_t payload_size; /* all that follows the fixed header */
    uint8_t next_header;
    uint8_t hop_limit;
    struct foyer_addr src, dst;
};

/*
 * WIRE_IPV6_SIZE. -EINVAL: cut short, wrong version, payload longer than the bytes, or an
 * IPv4-mapped address, which must not be on a wire and would pass for IPv4 further up.
 */
int wire_ipv6_parse(const uint8_t *bytes, size_t size, struct wire_ipv6 *ret);
/* The same for a packet quoted inside an ICMPv6 error: the payload may be cut. */
int wire_ipv6_parse_quoted(const uint8_t *bytes, size_t size, struct wire_ipv6 *ret);
size_t wire_ipv6_emit(uint8_t *bytes, const struct wire_ipv6 *ip);

/* What the extension headers said. */
struct wire_ipv6_chain {
    uint8_t protocol; /* of what follows; inside a later fragment: of the whole packet's rest */
    uint16_t protocol_offset; /* of the next-header field that named it, from the packet's first
                                 byte: the pointer of "unknown next header" */
    uint16_t size;            /* bytes of extension headers walked */
    bool has_fragment;
    bool more_fragments;
    uint16_t fragment_offset;             /* bytes */
    uint16_t fragment_header_offset;      /* of the Fragment header from the packet's first byte */
    uint16_t fragment_next_header_offset; /* of the next-header field that names the Fragment
                                             header, from the packet's first byte */
    uint32_t fragment_id;
};

/* What to answer where the walk says -EPROTO: ICMPv6 Parameter Problem (RFC 4443 section 3.4). */
struct wire_ipv6_problem {
    uint8_t code;     /* 0 erroneous field, 1 unknown next header, 2 unknown option,
                         3 a first fragment without the whole header chain (RFC 7112) */
    uint32_t pointer; /* offset from the packet's first byte */
};

/*
 * Walks from the byte after the fixed header; packet and size include that header. Returns the
 * number of extension bytes. Stops behind a Fragment header whose offset is not 0.
 * -EINVAL: discard (cut short, too many headers, an option that asks for it).
 * -EPROTO: discard and send the problem (an option's "11" action is -EINVAL where dst is
 * multicast; RFC 8200 section 4.2). The caller sends nothing in answer to a multicast otherwise
 * than RFC 4443 section 2.4 (e.3) allows.
 * A fragment with offset 0 and without M is atomic (RFC 6946): has_fragment is set, nothing else
 * is to be awaited.
 */
int wire_ipv6_walk(const uint8_t *packet, size_t size, const struct wire_ipv6 *ip,
                   struct wire_ipv6_chain *ret, struct wire_ipv6_problem *ret_problem);

#endif
