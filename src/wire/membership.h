/* Group membership messages: IGMP (RFC 2236, RFC 9776) and MLD (RFC 2710, RFC 9777). */
#ifndef FOYER_WIRE_MEMBERSHIP_H
#define FOYER_WIRE_MEMBERSHIP_H

#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define WIRE_PROTOCOL_IGMP 2

enum wire_igmp_type {
    WIRE_IGMP_QUERY = 0x11,
    WIRE_IGMP_REPORT_V1 = 0x12,
    WIRE_IGMP_REPORT_V2 = 0x16,
    WIRE_IGMP_LEAVE_V2 = 0x17,
    WIRE_IGMP_REPORT_V3 = 0x22,
};

enum wire_mld_type {
    WIRE_MLD_QUERY = 130,
    WIRE_MLD_REPORT_V1 = 131,
    WIRE_MLD_DONE_V1 = 132,
    WIRE_MLD_REPORT_V2 = 143,
};

/* RFC 9776 section 4.2.12, RFC 9777 section 5.2.12. */
enum wire_group_record_type {
    WIRE_GROUP_IS_INCLUDE = 1,
    WIRE_GROUP_IS_EXCLUDE = 2,
    WIRE_GROUP_TO_INCLUDE = 3,
    WIRE_GROUP_TO_EXCLUDE = 4,
    WIRE_GROUP_ALLOW = 5,
    WIRE_GROUP_BLOCK = 6,
};

struct wire_membership {
    uint8_t type;    /* wire_igmp_type or wire_mld_type */
    uint8_t version; /* of a query: IGMP 1..3, MLD 1..2 */
    uint32_t max_response_ms;
    uint32_t query_interval_s; /* 0: not told, as by the older versions */
    struct foyer_addr group;   /* the wildcard in a general query */
    uint16_t source_count;     /* of a group-and-source-specific query; the message holds them */
    const uint8_t *sources;    /* see wire_membership_source */
};

/* bytes: the whole message. 0; -EINVAL: cut short or no message of a host's concern; -EBADMSG. */
int wire_igmp_parse(const uint8_t *bytes, size_t size, struct wire_membership *ret);
/* The checksum was looked at already. */
int wire_mld_parse(const uint8_t *bytes, size_t size, struct wire_membership *ret);

/* index < source_count; the message must still be there. */
struct foyer_addr wire_membership_source(const struct wire_membership *membership, uint32_t index);

/*
 * A report of the current version is begun, given its records, each of them its sources, and sealed
 * (MLD: by whoever knows the addresses). Each returns the message's size so far; at: what the call
 * before returned; record: what the call before wire_membership_add returned.
 */
#define WIRE_MEMBERSHIP_REPORT_SIZE 8
static inline size_t wire_membership_source_size(bool is_v4)
{
    return is_v4 ? 4 : 16;
}
static inline size_t wire_membership_record_size(bool is_v4)
{
    return 4 + wire_membership_source_size(is_v4);
}
size_t wire_membership_begin(uint8_t *bytes, bool is_v4);
size_t wire_membership_add(uint8_t *bytes, size_t at, uint8_t type, const struct foyer_addr *group);
size_t wire_membership_add_source(uint8_t *bytes, size_t at, size_t record,
                                  const struct foyer_addr *source);
/* A message of an older version that names one group: report, leave or done. */
size_t wire_membership_old(uint8_t *bytes, uint8_t type, const struct foyer_addr *group);
void wire_igmp_seal(uint8_t *bytes, size_t size);

#endif
