/*
 * The building's two networks and the numbers of its hosts in them. Pure.
 *
 * A host has one number, which is the low part of both its addresses and of its MAC: number 2 of
 * 10.177.0.0/16 and fd66:6f79:6572::/64 is 10.177.0.2 and fd66:6f79:6572::2.
 */
#ifndef FOYER_DAEMON_NETWORK_H
#define FOYER_DAEMON_NETWORK_H

#include "foyer/types.h"

#define NETWORK_DEFAULT4 "10.177.0.0/16"
#define NETWORK_DEFAULT6 "fd66:6f79:6572::/64"
#define NETWORK_NUMBER_GATEWAY 1u
#define NETWORK_NUMBER_FIRST 2u /* of hosts */
#define NETWORK_TEXT_SIZE 64u   /* any address, network or endpoint as text */

struct network {
    struct foyer_addr prefix; /* bits beyond the length are 0 */
    uint8_t length;           /* 0..32 or 0..128 */
};

/*
 * "a.b.c.d/length" with length 8..28 or "v6/length" with 64..112. -EINVAL: not so, bits beyond
 * the length, or no place for hosts (loopback, multicast, link-local).
 */
int network_parse(const char *text, bool is_v4, struct network *ret_network);
void network_format(const struct network *network, char ret_text[NETWORK_TEXT_SIZE]);

/* The highest number a host can have (IPv4: all ones is broadcast, RFC 919 section 7). */
uint32_t network_number_max(const struct network *network);
struct foyer_addr network_address(const struct network *network, uint32_t number);
bool network_contains(const struct network *network, const struct foyer_addr *addr);

/* Locally administered, unicast; building is a hash of the building's name. */
void network_mac(uint32_t building, uint32_t number, uint8_t ret_mac[6]);

/* "FIRST-LAST", both 1..65535 and in that order. */
bool port_range_parse(const char *text, uint16_t *ret_first, uint16_t *ret_last);

bool address_parse(const char *text, struct foyer_addr *ret_addr);
void address_format(const struct foyer_addr *addr, char ret_text[NETWORK_TEXT_SIZE]);
/* "a.b.c.d:port", "[v6]:port". */
void endpoint_format(const struct foyer_endpoint *endpoint, char ret_text[NETWORK_TEXT_SIZE]);

#endif
