/* wire/ipv6: the walk stays within the packet, and its answers point into it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>

#include "wire/ipv6.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_ipv6 ip;
    (void)wire_ipv6_parse_quoted(data, size, &ip);
    if (wire_ipv6_parse(data, size, &ip) < 0)
        return 0;
    uint8_t again[WIRE_IPV6_SIZE];
    wire_ipv6_emit(again, &ip);
    if (memcmp(again, data, sizeof(again)) != 0)
        abort();

    struct wire_ipv6_chain chain;
    struct wire_ipv6_problem problem;
    int walked = wire_ipv6_walk(data, size, &ip, &chain, &problem);
    if (walked == -EPROTO && problem.pointer >= size)
        abort();
    if (walked < 0)
        return 0;
    if ((size_t)walked > ip.payload_size || walked != chain.size || chain.protocol_offset >= size ||
        data[chain.protocol_offset] != chain.protocol)
        abort();
    if (chain.has_fragment &&
        (data[chain.fragment_next_header_offset] != 44 || chain.fragment_header_offset + 8u > size))
        abort();
    /* Cut anywhere, the walk must not read on. */
    for (size_t cut = 0; cut < (size_t)walked + WIRE_IPV6_SIZE && cut < 200; cut++) {
        uint8_t *copy = malloc(cut + 1);
        if (copy == NULL)
            return 0;
        memcpy(copy + 1, data, cut);
        if (cut >= WIRE_IPV6_SIZE)
            (void)wire_ipv6_walk(copy + 1, cut, &ip, &chain, &problem);
        free(copy);
    }
    return 0;
}
