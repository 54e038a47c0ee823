/* ARP for IPv4 over Ethernet (RFC 826). */
#ifndef FOYER_WIRE_ARP_H
#define FOYER_WIRE_ARP_H

#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define WIRE_ARP_SIZE 28

enum wire_arp_operation {
    WIRE_ARP_REQUEST = 1,
    WIRE_ARP_REPLY = 2,
};

struct wire_arp {
    uint16_t operation; /* any value; the receiver looks */
    uint8_t sender_mac[6], target_mac[6];
    struct foyer_addr sender_addr, target_addr; /* IPv4 */
};

/* WIRE_ARP_SIZE; -EINVAL where cut short or not Ethernet and IPv4. Trailing bytes are padding. */
int wire_arp_parse(const uint8_t *bytes, size_t size, struct wire_arp *ret);
size_t wire_arp_emit(uint8_t *bytes, const struct wire_arp *arp);

#endif
