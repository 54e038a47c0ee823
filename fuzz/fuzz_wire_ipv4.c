/* wire/ipv4: sizes stay within the input; what parses survives emit and parse. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ipv4.h"

static void check(const struct wire_ipv4 *ip, size_t size)
{
    if (ip->header_size < WIRE_IPV4_SIZE || ip->total_size < ip->header_size ||
        ip->total_size > size)
        abort();
    if (ip->fragment_offset + ip->total_size - ip->header_size > 65535)
        abort();
}

static void round_trip(const uint8_t *data, const struct wire_ipv4 *ip)
{
    uint8_t *packet = malloc(ip->total_size);
    if (packet == NULL)
        return;
    /* Emit writes no options: the header shrinks, the payload with it. */
    struct wire_ipv4 shorter = *ip, again;
    shorter.total_size = (uint16_t)(ip->total_size - ip->header_size + WIRE_IPV4_SIZE);
    memcpy(packet + WIRE_IPV4_SIZE, data + ip->header_size,
           (size_t)ip->total_size - ip->header_size);
    wire_ipv4_emit(packet, &shorter);
    if (wire_ipv4_parse(packet, shorter.total_size, &again) != WIRE_IPV4_SIZE ||
        again.id != ip->id || again.fragment_offset != ip->fragment_offset ||
        !foyer_addr_eq(&again.src, &ip->src) || !foyer_addr_eq(&again.dst, &ip->dst))
        abort();
    free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_ipv4 ip;
    if (wire_ipv4_parse(data, size, &ip) >= 0) {
        check(&ip, size);
        round_trip(data, &ip);
    }
    if (wire_ipv4_parse_quoted(data, size, &ip) >= 0 && ip.header_size > size)
        abort();
    return 0;
}
