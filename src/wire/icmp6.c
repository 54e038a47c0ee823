/* ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861). */
#include "wire/icmp6.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "wire/ipv4.h"

int wire_icmp6_parse(const uint8_t *bytes, size_t size, struct wire_icmp6 *ret)
{
    if (size < WIRE_ICMP6_SIZE)
        return -EINVAL;
    struct wire_icmp6 icmp = {.type = bytes[0], .code = bytes[1]};
    switch (icmp.type) {
    case WIRE_ICMP6_ECHO:
    case WIRE_ICMP6_ECHO_REPLY:
        icmp.id = load_be16(bytes + 4);
        icmp.sequence = load_be16(bytes + 6);
        break;
    case WIRE_ICMP6_PACKET_TOO_BIG:
        icmp.mtu = load_be32(bytes + 4);
        break;
    case WIRE_ICMP6_PARAMETER_PROBLEM:
        icmp.pointer = load_be32(bytes + 4);
        break;
    default:
        break;
    }
    *ret = icmp;
    return WIRE_ICMP6_SIZE;
}

static uint16_t message_checksum(const uint8_t *bytes, size_t size, const struct foyer_addr *src,
                                 const struct foyer_addr *dst)
{
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, src, dst, WIRE_PROTOCOL_ICMP6, (uint32_t)size);
    checksum_add(&sum, bytes, size);
    return checksum_finish(&sum);
}

bool wire_icmp6_checksum_ok(const uint8_t *bytes, size_t size, const struct foyer_addr *src,
                            const struct foyer_addr *dst)
{
    return message_checksum(bytes, size, src, dst) == 0;
}

bool wire_icmp6_is_error(uint8_t type)
{
    return type < 128;
}

size_t wire_icmp6_emit(uint8_t *bytes, const struct wire_icmp6 *icmp)
{
    bytes[0] = icmp->type;
    bytes[1] = icmp->code;
    store_be16(bytes + 2, 0);
    store_be32(bytes + 4, 0);
    switch (icmp->type) {
    case WIRE_ICMP6_ECHO:
    case WIRE_ICMP6_ECHO_REPLY:
        store_be16(bytes + 4, icmp->id);
        store_be16(bytes + 6, icmp->sequence);
        break;
    case WIRE_ICMP6_PACKET_TOO_BIG:
        store_be32(bytes + 4, icmp->mtu);
        break;
    case WIRE_ICMP6_PARAMETER_PROBLEM:
        store_be32(bytes + 4, icmp->pointer);
        break;
    default:
        break;
    }
    return WIRE_ICMP6_SIZE;
}

void wire_icmp6_seal(uint8_t *bytes, size_t size, const struct foyer_addr *src,
                     const struct foyer_addr *dst)
{
    store_be16(bytes + 2, 0);
    store_be16(bytes + 2, message_checksum(bytes, size, src, dst));
}

/* ---- neighbour discovery -------------------------------------------------------------------- */

enum ndp_option {
    NDP_OPTION_SOURCE_MAC = 1,
    NDP_OPTION_TARGET_MAC = 2,
    NDP_OPTION_PREFIX = 3,
    NDP_OPTION_MTU = 5,
    NDP_OPTION_NONCE = 14,
};

#define PREFIX_OPTION_SIZE 32
#define FLAG_ROUTER 0x80u
#define FLAG_SOLICITED 0x40u
#define FLAG_OVERRIDE 0x20u
#define FLAG_MANAGED 0x80u
#define FLAG_OTHER 0x40u
#define FLAG_ON_LINK 0x80u
#define FLAG_AUTONOMOUS 0x40u

/* Where the options begin, or 0 for a type that is none of the five. */
static size_t fixed_size(uint8_t type)
{
    switch (type) {
    case WIRE_ICMP6_ROUTER_SOLICITATION:
        return 8;
    case WIRE_ICMP6_ROUTER_ADVERTISEMENT:
        return 16;
    case WIRE_ICMP6_NEIGHBOUR_SOLICITATION:
    case WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT:
        return 24;
    case WIRE_ICMP6_REDIRECT:
        return 40;
    default:
        return 0;
    }
}

/* Section 4.6.2. One that makes no sense is ignored, as unknown options are. */
static void parse_prefix(const uint8_t *option, struct wire_ndp *ndp)
{
    struct wire_ndp_prefix prefix = {
        .length = option[2],
        .is_on_link = (option[3] & FLAG_ON_LINK) != 0,
        .is_autonomous = (option[3] & FLAG_AUTONOMOUS) != 0,
        .valid_s = load_be32(option + 4),
        .preferred_s = load_be32(option + 8),
    };
    memcpy(prefix.prefix.bytes, option + 16, 16);
    if (prefix.length > 128 || ndp->prefix_count == WIRE_NDP_PREFIXES_MAX ||
        foyer_addr_is_v4(&prefix.prefix))
        return;
    ndp->prefixes[ndp->prefix_count++] = prefix;
}

static int parse_ndp_options(const uint8_t *bytes, size_t size, struct wire_ndp *ndp)
{
    size_t at = 0;
    while (at < size) {
        const uint8_t *option = bytes + at;
        if (size - at < 8)
            return -EINVAL;
        size_t option_size = (size_t)option[1] * 8;
        /* Section 4.6: MUST silently discard a message with an option of length 0. */
        if (option_size == 0 || option_size > size - at)
            return -EINVAL;
        switch (option[0]) {
        case NDP_OPTION_SOURCE_MAC:
            memcpy(ndp->source_mac, option + 2, 6);
            ndp->has_source_mac = true;
            break;
        case NDP_OPTION_TARGET_MAC:
            memcpy(ndp->target_mac, option + 2, 6);
            ndp->has_target_mac = true;
            break;
        case NDP_OPTION_PREFIX:
            if (option_size == PREFIX_OPTION_SIZE)
                parse_prefix(option, ndp);
            break;
        case NDP_OPTION_MTU:
            ndp->mtu = load_be32(option + 4);
            break;
        case NDP_OPTION_NONCE:
            if (option_size == 2 + WIRE_NDP_NONCE_SIZE) {
                memcpy(ndp->nonce, option + 2, WIRE_NDP_NONCE_SIZE);
                ndp->has_nonce = true;
            }
            break;
        default: /* section 4.6: MUST ignore */
            break;
        }
        at += option_size;
    }
    return 0;
}

/* RFC 4191 section 2.2: the reserved value is to be taken as medium. */
static int8_t parse_preference(uint8_t flags)
{
    switch (flags >> 3 & 3) {
    case 1:
        return 1;
    case 3:
        return -1;
    default:
        return 0;
    }
}

int wire_ndp_parse(const uint8_t *bytes, size_t size, struct wire_ndp *ret)
{
    if (size < WIRE_ICMP6_SIZE)
        return -EINVAL;
    size_t fixed = fixed_size(bytes[0]);
    if (fixed == 0 || size < fixed || bytes[1] != 0)
        return -EINVAL;

    struct wire_ndp ndp = {.type = bytes[0]};
    if (ndp.type == WIRE_ICMP6_ROUTER_ADVERTISEMENT) {
        ndp.hop_limit = bytes[4];
        ndp.is_managed = (bytes[5] & FLAG_MANAGED) != 0;
        ndp.is_other = (bytes[5] & FLAG_OTHER) != 0;
        ndp.preference = parse_preference(bytes[5]);
        ndp.router_lifetime_s = load_be16(bytes + 6);
        ndp.reachable_ms = load_be32(bytes + 8);
        ndp.retransmit_ms = load_be32(bytes + 12);
    } else if (ndp.type != WIRE_ICMP6_ROUTER_SOLICITATION) {
        memcpy(ndp.target.bytes, bytes + 8, 16);
        if (foyer_addr_is_multicast(&ndp.target) || foyer_addr_is_v4(&ndp.target))
            return -EINVAL;
    }
    if (ndp.type == WIRE_ICMP6_REDIRECT) {
        memcpy(ndp.destination.bytes, bytes + 24, 16);
        if (foyer_addr_is_multicast(&ndp.destination) || foyer_addr_is_v4(&ndp.destination))
            return -EINVAL; /* RFC 4861 section 8.1 */
    }
    if (ndp.type == WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT) {
        ndp.is_router = (bytes[4] & FLAG_ROUTER) != 0;
        ndp.is_solicited = (bytes[4] & FLAG_SOLICITED) != 0;
        ndp.is_override = (bytes[4] & FLAG_OVERRIDE) != 0;
    }
    int error = parse_ndp_options(bytes + fixed, size - fixed, &ndp);
    if (error < 0)
        return error;
    *ret = ndp;
    return (int)size;
}

static size_t emit_mac(uint8_t *bytes, enum ndp_option type, const uint8_t mac[6])
{
    bytes[0] = (uint8_t)type;
    bytes[1] = 1;
    memcpy(bytes + 2, mac, 6);
    return 8;
}

static size_t emit_prefix(uint8_t *bytes, const struct wire_ndp_prefix *prefix)
{
    memset(bytes, 0, PREFIX_OPTION_SIZE);
    bytes[0] = NDP_OPTION_PREFIX;
    bytes[1] = PREFIX_OPTION_SIZE / 8;
    bytes[2] = prefix->length;
    bytes[3] = (uint8_t)((prefix->is_on_link ? FLAG_ON_LINK : 0) |
                         (prefix->is_autonomous ? FLAG_AUTONOMOUS : 0));
    store_be32(bytes + 4, prefix->valid_s);
    store_be32(bytes + 8, prefix->preferred_s);
    memcpy(bytes + 16, prefix->prefix.bytes, 16);
    return PREFIX_OPTION_SIZE;
}

size_t wire_ndp_emit(uint8_t *bytes, const struct wire_ndp *ndp)
{
    size_t at = fixed_size(ndp->type);
    memset(bytes, 0, at);
    bytes[0] = ndp->type;
    if (ndp->type == WIRE_ICMP6_ROUTER_ADVERTISEMENT) {
        bytes[4] = ndp->hop_limit;
        bytes[5] =
            (uint8_t)((ndp->is_managed ? FLAG_MANAGED : 0u) | (ndp->is_other ? FLAG_OTHER : 0u) |
                      ((unsigned)ndp->preference & 3u) << 3);
        store_be16(bytes + 6, ndp->router_lifetime_s);
        store_be32(bytes + 8, ndp->reachable_ms);
        store_be32(bytes + 12, ndp->retransmit_ms);
    } else if (ndp->type != WIRE_ICMP6_ROUTER_SOLICITATION) {
        memcpy(bytes + 8, ndp->target.bytes, 16);
    }
    if (ndp->type == WIRE_ICMP6_REDIRECT)
        memcpy(bytes + 24, ndp->destination.bytes, 16);
    if (ndp->type == WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT) {
        bytes[4] = (uint8_t)((ndp->is_router ? FLAG_ROUTER : 0) |
                             (ndp->is_solicited ? FLAG_SOLICITED : 0) |
                             (ndp->is_override ? FLAG_OVERRIDE : 0));
    }
    if (ndp->has_source_mac)
        at += emit_mac(bytes + at, NDP_OPTION_SOURCE_MAC, ndp->source_mac);
    if (ndp->has_target_mac)
        at += emit_mac(bytes + at, NDP_OPTION_TARGET_MAC, ndp->target_mac);
    if (ndp->has_nonce)
        at += emit_mac(bytes + at, NDP_OPTION_NONCE, ndp->nonce);
    if (ndp->mtu != 0) {
        bytes[at] = NDP_OPTION_MTU;
        bytes[at + 1] = 1;
        store_be16(bytes + at + 2, 0);
        store_be32(bytes + at + 4, ndp->mtu);
        at += 8;
    }
    for (unsigned i = 0; i < ndp->prefix_count && i < WIRE_NDP_PREFIXES_MAX; i++)
        at += emit_prefix(bytes + at, &ndp->prefixes[i]);
    return at;
}
