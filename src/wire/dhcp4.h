/*
 * DHCPv4 messages (RFC 2131, RFC 2132), as a client writes and reads them.
 *
 * Options that come in several pieces are put together (RFC 3396), also where they lie in the
 * file and sname fields (RFC 2132 section 9.3). Addresses are IPv4; the wildcard means "none".
 */
#ifndef FOYER_WIRE_DHCP4_H
#define FOYER_WIRE_DHCP4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define WIRE_DHCP4_SERVER_PORT 67
#define WIRE_DHCP4_CLIENT_PORT 68
#define WIRE_DHCP4_SIZE_MIN 300 /* what BOOTP relays and servers want (RFC 1542 section 2.1) */
#define WIRE_DHCP4_SIZE_MAX 1024

#define WIRE_DHCP4_ROUTERS_MAX 4
#define WIRE_DHCP4_NAME_SERVERS_MAX 4
#define WIRE_DHCP4_TIME_SERVERS_MAX 4
#define WIRE_DHCP4_ROUTES_MAX 16
#define WIRE_DHCP4_CLIENT_ID_MAX 64
#define WIRE_DHCP4_PARAMETERS_MAX 24
#define WIRE_DHCP4_NAME_MAX 255 /* bytes of a domain or host name */

enum wire_dhcp4_op {
    WIRE_DHCP4_BOOTREQUEST = 1,
    WIRE_DHCP4_BOOTREPLY = 2,
};

/* RFC 2132 section 9.6 */
enum wire_dhcp4_type {
    WIRE_DHCP4_DISCOVER = 1,
    WIRE_DHCP4_OFFER = 2,
    WIRE_DHCP4_REQUEST = 3,
    WIRE_DHCP4_DECLINE = 4,
    WIRE_DHCP4_ACK = 5,
    WIRE_DHCP4_NAK = 6,
    WIRE_DHCP4_RELEASE = 7,
    WIRE_DHCP4_INFORM = 8,
};

/* Those that a client asks for by number (option 55). */
enum wire_dhcp4_option {
    WIRE_DHCP4_SUBNET_MASK = 1,
    WIRE_DHCP4_ROUTERS = 3,
    WIRE_DHCP4_NAME_SERVERS = 6,
    WIRE_DHCP4_HOST_NAME = 12,
    WIRE_DHCP4_DOMAIN_NAME = 15,
    WIRE_DHCP4_INTERFACE_MTU = 26,
    WIRE_DHCP4_TIME_SERVERS = 42, /* NTP */
    WIRE_DHCP4_RENEWAL_TIME = 58,
    WIRE_DHCP4_REBINDING_TIME = 59,
    WIRE_DHCP4_CLASSLESS_ROUTES = 121, /* RFC 3442 */
};

struct wire_dhcp4_addrs {
    uint8_t count;
    struct foyer_addr addrs[4];
};

struct wire_dhcp4_route {
    struct foyer_addr prefix;
    uint8_t prefix_length;     /* 0..32 */
    struct foyer_addr gateway; /* the wildcard: on the link (RFC 3442) */
};

struct wire_dhcp4_name {
    uint8_t size;
    char bytes[WIRE_DHCP4_NAME_MAX]; /* as received: not checked, not terminated */
};

struct wire_dhcp4 {
    uint8_t op;   /* enum wire_dhcp4_op */
    uint8_t type; /* enum wire_dhcp4_type, or what came */
    uint32_t xid;
    uint16_t seconds;
    bool is_broadcast; /* the client cannot yet receive unicast */
    uint8_t mac[6];
    struct foyer_addr client, yours, server, relay; /* ciaddr, yiaddr, siaddr, giaddr */

    /* Options. Times: has_... says whether they came; UINT32_MAX is for ever. */
    struct foyer_addr requested, server_id;
    bool has_lease, has_renewal, has_rebinding;
    uint32_t lease_s, renewal_s, rebinding_s;
    bool has_mask;
    uint8_t prefix_length;  /* with has_mask: 0..32 */
    bool is_rapid_commit;   /* RFC 4039 */
    uint16_t mtu, max_size; /* 0: not given */
    struct wire_dhcp4_addrs routers, name_servers, time_servers;
    bool has_routes;
    uint8_t route_count;
    struct wire_dhcp4_route routes[WIRE_DHCP4_ROUTES_MAX]; /* those beyond are ignored */
    uint8_t client_id_size;
    uint8_t client_id[WIRE_DHCP4_CLIENT_ID_MAX]; /* the type byte first */
    uint8_t parameter_count;
    uint8_t parameters[WIRE_DHCP4_PARAMETERS_MAX];
    struct wire_dhcp4_name domain, host_name;
};

/*
 * The size. -EINVAL: cut short, no magic cookie, not Ethernet, an option that runs over its
 * field's end, or no message type (BOOTP). An option whose contents are not what its definition
 * says is left out, as one that is not known.
 */
int wire_dhcp4_parse(const uint8_t *bytes, size_t size, struct wire_dhcp4 *ret);
/* Writes WIRE_DHCP4_SIZE_MIN to _MAX bytes and returns how many. */
size_t wire_dhcp4_emit(uint8_t *bytes, const struct wire_dhcp4 *dhcp);

#endif
