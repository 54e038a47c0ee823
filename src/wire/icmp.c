/* ICMP for IPv4 (RFC 792). */
#include "wire/icmp.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/checksum.h"

int wire_icmp_parse(const uint8_t *bytes, size_t size, struct wire_icmp *ret)
{
    if (size < WIRE_ICMP_SIZE)
        return -EINVAL;
    struct wire_icmp icmp = {.type = bytes[0], .code = bytes[1]};
    switch (icmp.type) {
    case WIRE_ICMP_ECHO:
    case WIRE_ICMP_ECHO_REPLY:
        icmp.id = load_be16(bytes + 4);
        icmp.sequence = load_be16(bytes + 6);
        break;
    case WIRE_ICMP_UNREACHABLE:
        if (icmp.code == WIRE_ICMP_UNREACHABLE_FRAG_NEEDED) /* RFC 1191 section 4 */
            icmp.mtu = load_be16(bytes + 6);
        break;
    case WIRE_ICMP_PARAMETER_PROBLEM:
        icmp.pointer = bytes[4];
        break;
    default:
        break;
    }
    *ret = icmp;
    return WIRE_ICMP_SIZE;
}

bool wire_icmp_checksum_ok(const uint8_t *bytes, size_t size)
{
    return checksum_of(bytes, size) == 0;
}

bool wire_icmp_is_error(uint8_t type)
{
    return type == WIRE_ICMP_UNREACHABLE || type == WIRE_ICMP_SOURCE_QUENCH ||
           type == WIRE_ICMP_REDIRECT || type == WIRE_ICMP_TIME_EXCEEDED ||
           type == WIRE_ICMP_PARAMETER_PROBLEM;
}

size_t wire_icmp_emit(uint8_t *bytes, const struct wire_icmp *icmp)
{
    bytes[0] = icmp->type;
    bytes[1] = icmp->code;
    store_be16(bytes + 2, 0);
    store_be32(bytes + 4, 0);
    switch (icmp->type) {
    case WIRE_ICMP_ECHO:
    case WIRE_ICMP_ECHO_REPLY:
        store_be16(bytes + 4, icmp->id);
        store_be16(bytes + 6, icmp->sequence);
        break;
    case WIRE_ICMP_UNREACHABLE:
        if (icmp->code == WIRE_ICMP_UNREACHABLE_FRAG_NEEDED)
            store_be16(bytes + 6, icmp->mtu);
        break;
    case WIRE_ICMP_PARAMETER_PROBLEM:
        bytes[4] = icmp->pointer;
        break;
    default:
        break;
    }
    return WIRE_ICMP_SIZE;
}

void wire_icmp_seal(uint8_t *bytes, size_t size)
{
    store_be16(bytes + 2, 0);
    store_be16(bytes + 2, checksum_of(bytes, size));
}
