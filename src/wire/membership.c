/* Group membership messages: IGMP (RFC 2236, RFC 9776) and MLD (RFC 2710, RFC 9777). */
#include "wire/membership.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"

#define IGMP_SIZE 8u
#define IGMP_QUERY_V3_SIZE 12u
#define IGMP_V1_RESPONSE_MS 10000u /* RFC 2236 section 4: what a zero means */
#define MLD_SIZE 24u
#define MLD_QUERY_V2_SIZE 28u

/* RFC 9776 section 4.1.1, RFC 9777 section 5.1.3: above a limit a floating point number. */
static uint32_t igmp_response_ms(uint8_t code)
{
    uint32_t tenths = code < 128 ? code : ((code & 15u) | 16u) << ((code >> 4 & 7u) + 3);
    return tenths * 100;
}

static uint32_t mld_response_ms(uint16_t code)
{
    return code < 32768 ? code : ((code & 0xfffu) | 0x1000u) << ((code >> 12 & 7u) + 3);
}

/* RFC 9776 section 4.1.7, RFC 9777 section 5.1.9. */
static uint32_t query_interval_s(uint8_t code)
{
    return code < 128 ? code : ((code & 15u) | 16u) << ((code >> 4 & 7u) + 3);
}

/* RFC 9776 section 7.1: the version shows in the length. */
static int parse_igmp_query(const uint8_t *bytes, size_t size, struct wire_membership *igmp)
{
    if (size == IGMP_SIZE) {
        igmp->version = bytes[1] == 0 ? 1 : 2;
        igmp->max_response_ms = bytes[1] == 0 ? IGMP_V1_RESPONSE_MS : bytes[1] * 100u;
        return 0;
    }
    if (size < IGMP_QUERY_V3_SIZE || size < IGMP_QUERY_V3_SIZE + 4u * load_be16(bytes + 10))
        return -EINVAL;
    igmp->version = 3;
    igmp->max_response_ms = igmp_response_ms(bytes[1]);
    igmp->query_interval_s = query_interval_s(bytes[9]);
    igmp->source_count = load_be16(bytes + 10);
    igmp->sources = bytes + IGMP_QUERY_V3_SIZE;
    return 0;
}

int wire_igmp_parse(const uint8_t *bytes, size_t size, struct wire_membership *ret)
{
    if (size < IGMP_SIZE)
        return -EINVAL;
    if (checksum_of(bytes, size) != 0)
        return -EBADMSG;
    struct wire_membership igmp = {.type = bytes[0],
                                   .group = foyer_addr_v4(bytes[4], bytes[5], bytes[6], bytes[7])};
    if (igmp.type == WIRE_IGMP_QUERY) {
        int error = parse_igmp_query(bytes, size, &igmp);
        if (error < 0)
            return error;
    } else if (igmp.type != WIRE_IGMP_REPORT_V1 && igmp.type != WIRE_IGMP_REPORT_V2) {
        return -EINVAL;
    }
    *ret = igmp;
    return 0;
}

int wire_mld_parse(const uint8_t *bytes, size_t size, struct wire_membership *ret)
{
    if (size < MLD_SIZE)
        return -EINVAL;
    struct wire_membership mld = {.type = bytes[0], .version = 1};
    memcpy(mld.group.bytes, bytes + 8, 16);
    uint16_t code = load_be16(bytes + 4);
    if (mld.type == WIRE_MLD_QUERY && size > MLD_SIZE) {
        /* RFC 9777 section 8.1: lengths in between are nobody's. */
        if (size < MLD_QUERY_V2_SIZE || size < MLD_QUERY_V2_SIZE + 16u * load_be16(bytes + 26))
            return -EINVAL;
        mld.version = 2;
        mld.max_response_ms = mld_response_ms(code);
        mld.query_interval_s = query_interval_s(bytes[25]);
        mld.source_count = load_be16(bytes + 26);
        mld.sources = bytes + MLD_QUERY_V2_SIZE;
    } else if (mld.type == WIRE_MLD_QUERY) {
        mld.max_response_ms = code;
    } else if (mld.type != WIRE_MLD_REPORT_V1) {
        return -EINVAL;
    }
    *ret = mld;
    return 0;
}

struct foyer_addr wire_membership_source(const struct wire_membership *membership, uint32_t index)
{
    struct foyer_addr addr;
    if (foyer_addr_is_v4(&membership->group)) {
        const uint8_t *v4 = membership->sources + (size_t)index * 4;
        return foyer_addr_v4(v4[0], v4[1], v4[2], v4[3]);
    }
    memcpy(addr.bytes, membership->sources + (size_t)index * 16, 16);
    return addr;
}

size_t wire_membership_begin(uint8_t *bytes, bool is_v4)
{
    memset(bytes, 0, WIRE_MEMBERSHIP_REPORT_SIZE);
    bytes[0] = is_v4 ? WIRE_IGMP_REPORT_V3 : WIRE_MLD_REPORT_V2;
    return WIRE_MEMBERSHIP_REPORT_SIZE;
}

static size_t put_addr(uint8_t *bytes, const struct foyer_addr *addr)
{
    size_t size = wire_membership_source_size(foyer_addr_is_v4(addr));
    memcpy(bytes, addr->bytes + 16 - size, size);
    return size;
}

size_t wire_membership_add(uint8_t *bytes, size_t at, uint8_t type, const struct foyer_addr *group)
{
    const uint8_t head[4] = {type, 0, 0, 0}; /* no auxiliary data; no source yet */
    memcpy(bytes + at, head, 4);
    store_be16(bytes + 6, (uint16_t)(load_be16(bytes + 6) + 1));
    return at + 4 + put_addr(bytes + at + 4, group);
}

size_t wire_membership_add_source(uint8_t *bytes, size_t at, size_t record,
                                  const struct foyer_addr *source)
{
    store_be16(bytes + record + 2, (uint16_t)(load_be16(bytes + record + 2) + 1));
    return at + put_addr(bytes + at, source);
}

size_t wire_membership_old(uint8_t *bytes, uint8_t type, const struct foyer_addr *group)
{
    size_t head = foyer_addr_is_v4(group) ? 4 : 8;
    memset(bytes, 0, head);
    bytes[0] = type;
    return head + put_addr(bytes + head, group);
}

void wire_igmp_seal(uint8_t *bytes, size_t size)
{
    store_be16(bytes + 2, 0);
    store_be16(bytes + 2, checksum_of(bytes, size));
}
