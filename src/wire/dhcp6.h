/*
 * DHCPv6 messages between client and server (RFC 8415), as a client writes and reads them: one
 * IA_NA with its addresses, and what configures the host besides (RFC 3646, 4242, 8415 21.24).
 */
#ifndef FOYER_WIRE_DHCP6_H
#define FOYER_WIRE_DHCP6_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define WIRE_DHCP6_CLIENT_PORT 546
#define WIRE_DHCP6_SERVER_PORT 547
#define WIRE_DHCP6_SIZE_MAX 1024

#define WIRE_DHCP6_DUID_MAX 130 /* RFC 8415 section 11.1: type and 128 bytes */
#define WIRE_DHCP6_ADDRESSES_MAX 4
#define WIRE_DHCP6_NAME_SERVERS_MAX 4
#define WIRE_DHCP6_PARAMETERS_MAX 16
#define WIRE_DHCP6_DOMAINS_MAX 255 /* bytes of the search list */

/* RFC 8415 section 7.3 */
enum wire_dhcp6_type {
    WIRE_DHCP6_SOLICIT = 1,
    WIRE_DHCP6_ADVERTISE = 2,
    WIRE_DHCP6_REQUEST = 3,
    WIRE_DHCP6_CONFIRM = 4,
    WIRE_DHCP6_RENEW = 5,
    WIRE_DHCP6_REBIND = 6,
    WIRE_DHCP6_REPLY = 7,
    WIRE_DHCP6_RELEASE = 8,
    WIRE_DHCP6_DECLINE = 9,
    WIRE_DHCP6_RECONFIGURE = 10,
    WIRE_DHCP6_INFORMATION_REQUEST = 11,
};

/* RFC 8415 section 21.13 */
enum wire_dhcp6_status {
    WIRE_DHCP6_SUCCESS = 0,
    WIRE_DHCP6_UNSPEC_FAIL = 1,
    WIRE_DHCP6_NO_ADDRS_AVAIL = 2,
    WIRE_DHCP6_NO_BINDING = 3,
    WIRE_DHCP6_NOT_ON_LINK = 4,
    WIRE_DHCP6_USE_MULTICAST = 5,
};

/* Those that a client asks for by number (option 6). */
enum wire_dhcp6_option {
    WIRE_DHCP6_NAME_SERVERS = 23, /* RFC 3646 */
    WIRE_DHCP6_DOMAINS = 24,
    WIRE_DHCP6_REFRESH_TIME = 32, /* RFC 8415 section 21.23 */
    WIRE_DHCP6_SOL_MAX_RT = 82,
    WIRE_DHCP6_INF_MAX_RT = 83,
};

struct wire_dhcp6_duid {
    uint8_t size; /* 0: none */
    uint8_t bytes[WIRE_DHCP6_DUID_MAX];
};

struct wire_dhcp6_address {
    struct foyer_addr addr;
    uint32_t preferred_s, valid_s; /* UINT32_MAX: for ever */
    uint16_t status;               /* enum wire_dhcp6_status */
};

struct wire_dhcp6 {
    uint8_t type;
    uint32_t xid; /* 24 bits */
    struct wire_dhcp6_duid client_id, server_id;
    bool has_ia; /* IA_NA; a second one is ignored */
    uint32_t iaid, t1_s, t2_s;
    uint16_t ia_status;
    uint8_t address_count;
    struct wire_dhcp6_address addresses[WIRE_DHCP6_ADDRESSES_MAX];
    uint16_t status;
    bool has_elapsed;
    uint16_t elapsed_cs; /* hundredths of a second */
    uint8_t preference;
    bool is_rapid_commit;
    uint8_t parameter_count;
    uint16_t parameters[WIRE_DHCP6_PARAMETERS_MAX];
    uint8_t name_server_count;
    struct foyer_addr name_servers[WIRE_DHCP6_NAME_SERVERS_MAX];
    uint8_t domains_size;
    uint8_t domains[WIRE_DHCP6_DOMAINS_MAX];        /* RFC 1035 section 3.1 labels, as received */
    uint32_t refresh_s, sol_max_rt_s, inf_max_rt_s; /* 0: not given */
};

/*
 * The size. -EINVAL: cut short, an option over its surroundings' end, a DUID of no or too many
 * bytes. Unknown options are skipped. IPv4-mapped addresses are left out.
 */
int wire_dhcp6_parse(const uint8_t *bytes, size_t size, struct wire_dhcp6 *ret);
/* Writes at most WIRE_DHCP6_SIZE_MAX bytes and returns how many. */
size_t wire_dhcp6_emit(uint8_t *bytes, const struct wire_dhcp6 *dhcp);

#endif
