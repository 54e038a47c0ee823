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

/* RFC 9776 section 4.2.12, RFC 9777 section 5.2.12: those of a host without source filters. */
enum wire_group_record_type {
    WIRE_GROUP_IS_EXCLUDE = 2,
    WIRE_GROUP_TO_INCLUDE = 3,
    WIRE_GROUP_TO_EXCLUDE = 4,
};

struct wire_membership {
    uint8_t type;    /* wire_igmp_type or wire_mld_type */
    uint8_t version; /* of a query: IGMP 1..3, MLD 1..2 */
    uint32_t max_response_ms;
    struct foyer_addr group; /* the wildcard in a general query */
};

/* bytes: the whole message. 0; -EINVAL: cut short or no message of a host's concern; -EBADMSG. */
int wire_igmp_parse(const uint8_t *bytes, size_t size, struct wire_membership *ret);
/* The checksum was looked at already. */
int wire_mld_parse(const uint8_t *bytes, size_t size, struct wire_membership *ret);

/*
 * A report of the current version is begun, given its records, and sealed (MLD: by whoever knows
 * the addresses). Each returns the message's size so far; at: what the call before returned.
 */
#define WIRE_MEMBERSHIP_REPORT_SIZE 8
#define WIRE_MEMBERSHIP_RECORD_MAX 20
size_t wire_membership_begin(uint8_t *bytes, bool is_v4);
size_t wire_membership_add(uint8_t *bytes, size_t at, uint8_t type, const struct foyer_addr *group);
/* A message of an older version that names one group: report, leave or done. */
size_t wire_membership_old(uint8_t *bytes, uint8_t type, const struct foyer_addr *group);
void wire_igmp_seal(uint8_t *bytes, size_t size);

#endif
