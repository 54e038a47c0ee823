/* ARP for IPv4 over Ethernet (RFC 826). */
#include "wire/arp.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "wire/eth.h"

#define HARDWARE_ETHERNET 1

static struct foyer_addr addr_at(const uint8_t *bytes)
{
    return foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

int wire_arp_parse(const uint8_t *bytes, size_t size, struct wire_arp *ret)
{
    if (size < WIRE_ARP_SIZE)
        return -EINVAL;
    if (load_be16(bytes) != HARDWARE_ETHERNET || load_be16(bytes + 2) != WIRE_ETHERTYPE_IPV4 ||
        bytes[4] != WIRE_ETH_ALEN || bytes[5] != 4)
        return -EINVAL;
    ret->operation = load_be16(bytes + 6);
    memcpy(ret->sender_mac, bytes + 8, WIRE_ETH_ALEN);
    ret->sender_addr = addr_at(bytes + 14);
    memcpy(ret->target_mac, bytes + 18, WIRE_ETH_ALEN);
    ret->target_addr = addr_at(bytes + 24);
    return WIRE_ARP_SIZE;
}

size_t wire_arp_emit(uint8_t *bytes, const struct wire_arp *arp)
{
    store_be16(bytes, HARDWARE_ETHERNET);
    store_be16(bytes + 2, WIRE_ETHERTYPE_IPV4);
    bytes[4] = WIRE_ETH_ALEN;
    bytes[5] = 4;
    store_be16(bytes + 6, arp->operation);
    memcpy(bytes + 8, arp->sender_mac, WIRE_ETH_ALEN);
    memcpy(bytes + 14, arp->sender_addr.bytes + 12, 4);
    memcpy(bytes + 18, arp->target_mac, WIRE_ETH_ALEN);
    memcpy(bytes + 24, arp->target_addr.bytes + 12, 4);
    return WIRE_ARP_SIZE;
}
