/* UDP header (RFC 768). */
#include "wire/udp.h"

#include <errno.h>

#include "base/bytes.h"

int wire_udp_parse(const uint8_t *bytes, size_t size, struct wire_udp *ret)
{
    if (size < WIRE_UDP_SIZE)
        return -EINVAL;
    struct wire_udp udp = {
        .src_port = load_be16(bytes),
        .dst_port = load_be16(bytes + 2),
        .size = load_be16(bytes + 4),
        .checksum = load_be16(bytes + WIRE_UDP_CHECKSUM_OFFSET),
    };
    /* A size of 0 would mean a jumbogram (RFC 2675 section 4), which is not supported. */
    if (udp.size < WIRE_UDP_SIZE || udp.size > size)
        return -EINVAL;
    *ret = udp;
    return WIRE_UDP_SIZE;
}

size_t wire_udp_emit(uint8_t *bytes, const struct wire_udp *udp)
{
    store_be16(bytes, udp->src_port);
    store_be16(bytes + 2, udp->dst_port);
    store_be16(bytes + 4, udp->size);
    store_be16(bytes + WIRE_UDP_CHECKSUM_OFFSET, udp->checksum);
    return WIRE_UDP_SIZE;
}
