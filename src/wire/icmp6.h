/* ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861). */
#ifndef FOYER_WIRE_ICMP6_H
#define FOYER_WIRE_ICMP6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define WIRE_ICMP6_SIZE 8

enum wire_icmp6_type {
    WIRE_ICMP6_UNREACHABLE = 1,
    WIRE_ICMP6_PACKET_TOO_BIG = 2,
    WIRE_ICMP6_TIME_EXCEEDED = 3,
    WIRE_ICMP6_PARAMETER_PROBLEM = 4,
    WIRE_ICMP6_ECHO = 128,
    WIRE_ICMP6_ECHO_REPLY = 129,
    WIRE_ICMP6_ROUTER_SOLICITATION = 133,
    WIRE_ICMP6_ROUTER_ADVERTISEMENT = 134,
    WIRE_ICMP6_NEIGHBOUR_SOLICITATION = 135,
    WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT = 136,
    WIRE_ICMP6_REDIRECT = 137,
};

enum wire_icmp6_unreachable {
    WIRE_ICMP6_UNREACHABLE_ROUTE = 0,
    WIRE_ICMP6_UNREACHABLE_ADMIN = 1,
    WIRE_ICMP6_UNREACHABLE_SCOPE = 2,
    WIRE_ICMP6_UNREACHABLE_ADDRESS = 3,
    WIRE_ICMP6_UNREACHABLE_PORT = 4,
};

struct wire_icmp6 {
    uint8_t type, code;
    uint16_t id, sequence; /* echo and echo reply; else 0 */
    uint32_t mtu;          /* packet too big */
    uint32_t pointer;      /* parameter problem */
};

/* WIRE_ICMP6_SIZE: what follows is the echo's data or the quoted packet. -EINVAL: cut short. */
int wire_icmp6_parse(const uint8_t *bytes, size_t size, struct wire_icmp6 *ret);
/* RFC 8200 section 8.1: the checksum covers the pseudo-header. */
bool wire_icmp6_checksum_ok(const uint8_t *bytes, size_t size, const struct foyer_addr *src,
                            const struct foyer_addr *dst);
/* Types below 128 are errors (RFC 4443 section 2.1), and none is sent in answer to them. */
bool wire_icmp6_is_error(uint8_t type);

/* Writes 8 bytes with checksum 0; append the data, then seal the whole message. */
size_t wire_icmp6_emit(uint8_t *bytes, const struct wire_icmp6 *icmp);
void wire_icmp6_seal(uint8_t *bytes, size_t size, const struct foyer_addr *src,
                     const struct foyer_addr *dst);

/* ---- neighbour discovery: RS, RA, NS, NA, redirects ---------------------------------------------------- */

#define WIRE_NDP_PREFIXES_MAX 4
#define WIRE_NDP_NONCE_SIZE 6
/* The longest fixed part (redirect) with both link addresses, MTU, nonce and all prefixes. */
#define WIRE_NDP_SIZE_MAX (40 + 8 + 8 + 8 + 8 + 32 * WIRE_NDP_PREFIXES_MAX)

struct wire_ndp_prefix {
    struct foyer_addr prefix;
    uint8_t length;
    bool is_on_link, is_autonomous;
    uint32_t valid_s, preferred_s; /* UINT32_MAX: for ever */
};

struct wire_ndp {
    uint8_t type; /* one of the five */
    /* NS, NA and redirect. */
    struct foyer_addr target;
    struct foyer_addr destination;             /* redirect: what target is nearer to, or is */
    bool is_router, is_solicited, is_override; /* NA */
    /* RA. */
    uint8_t hop_limit; /* 0: not given */
    bool is_managed, is_other;
    int8_t preference; /* RFC 4191 section 2.1: -1 low, 0 medium, 1 high */
    uint16_t router_lifetime_s;
    uint32_t reachable_ms, retransmit_ms; /* 0: not given */
    /* Options. */
    bool has_source_mac, has_target_mac;
    uint8_t source_mac[6], target_mac[6];
    bool has_nonce; /* RFC 3971 section 5.3.2, of the usual six bytes; others are ignored */
    uint8_t nonce[WIRE_NDP_NONCE_SIZE];
    uint32_t mtu; /* 0: not given */
    uint8_t prefix_count;
    struct wire_ndp_prefix prefixes[WIRE_NDP_PREFIXES_MAX]; /* those beyond are ignored */
};

/*
 * bytes: the whole ICMPv6 message. Returns its size. -EINVAL: cut short, code not 0, an option
 * of length 0 or over the end (RFC 4861 sections 6.1 and 7.1), a multicast target or
 * destination, not one of the five types. Hop limit 255 and the source address are the caller's to check.
 */
int wire_ndp_parse(const uint8_t *bytes, size_t size, struct wire_ndp *ret);
/* Writes at most WIRE_NDP_SIZE_MAX bytes with checksum 0 and returns how many; then seal. */
size_t wire_ndp_emit(uint8_t *bytes, const struct wire_ndp *ndp);

#endif
