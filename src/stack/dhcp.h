/* Not there without FOYER_WITH_DHCP: who calls it asks first.
 *
 * What dhcp4.c and dhcp6.c give to the rest of a host: udp.c, ip.c, address.c, router.c, host.c. */
#ifndef FOYER_STACK_DHCP_H
#define FOYER_STACK_DHCP_H

#include "foyer/dhcp.h"
#include "stack/ip.h"

/* A datagram with a good checksum to port 68 or 546. True: a client's, nobody else gets it. */
bool dhcp_input(struct foyer_host *host, const struct rx *rx, uint16_t dst_port, size_t size,
                foyer_time_ns now);
/* Its payload. */
bool dhcp4_input(struct foyer_host *host, const uint8_t *bytes, size_t size, foyer_time_ns now);
bool dhcp6_input(struct foyer_host *host, const uint8_t *bytes, size_t size, foyer_time_ns now);
/*
 * Does the client wait for a datagram to an address that the host has not yet (RFC 2131 section
 * 4.1: servers send to the address that they offer)?
 */
bool dhcp4_is_expecting(const struct foyer_host *host);
void dhcp4_timer(struct foyer_host *host, foyer_time_ns now);
void dhcp6_timer(struct foyer_host *host, foyer_time_ns now);
/* Have the timers look at the addresses. */
void dhcp4_look(struct foyer_host *host);
void dhcp6_look(struct foyer_host *host);
/* An address of the clients is ASSIGNED or DUPLICATE now: they look at it in their timers. So is
 * the link-local one, which DHCPv6 speaks from. */
void dhcp_address_changed(struct foyer_host *host, const struct host_address *address);
/* The M and O flags of a valid advertisement. */
void dhcp6_advertised(struct foyer_host *host, bool is_managed, bool is_other, foyer_time_ns now);
/* At the host's end. */
void dhcp_finish(struct foyer_host *host);

/* Copies a name if it has only letters, digits, '-', '_', '.'; terminates. False: not. */
bool dhcp_copy_name(char *to, size_t capacity, const char *from, size_t size);

#endif
