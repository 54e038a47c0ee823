/* Ethernet II header. */
#include "wire/eth.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

int wire_eth_parse(const uint8_t *bytes, size_t size, struct wire_eth *ret)
{
    if (size < WIRE_ETH_SIZE)
        return -EINVAL;
    memcpy(ret->dst, bytes, WIRE_ETH_ALEN);
    memcpy(ret->src, bytes + 6, WIRE_ETH_ALEN);
    ret->ethertype = load_be16(bytes + 12);
    return WIRE_ETH_SIZE;
}

size_t wire_eth_emit(uint8_t *bytes, const struct wire_eth *eth)
{
    memcpy(bytes, eth->dst, WIRE_ETH_ALEN);
    memcpy(bytes + 6, eth->src, WIRE_ETH_ALEN);
    store_be16(bytes + 12, eth->ethertype);
    return WIRE_ETH_SIZE;
}
