/* Ethernet II header. Parse and emit return the header's size; errors are -EINVAL. */
#ifndef FOYER_WIRE_ETH_H
#define FOYER_WIRE_ETH_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_ETH_SIZE 14
#define WIRE_ETH_ALEN 6

enum wire_ethertype {
    WIRE_ETHERTYPE_IPV4 = 0x0800,
    WIRE_ETHERTYPE_ARP = 0x0806,
    WIRE_ETHERTYPE_IPV6 = 0x86dd,
};

struct wire_eth {
    uint8_t dst[6], src[6];
    uint16_t ethertype; /* below 1536 it is an IEEE 802.3 length */
};

/* WIRE_ETH_SIZE, or -EINVAL where the frame is cut short. */
int wire_eth_parse(const uint8_t *bytes, size_t size, struct wire_eth *ret);
size_t wire_eth_emit(uint8_t *bytes, const struct wire_eth *eth);

#endif
