/* wire/udp: the size lies within the input; what parses is emitted as the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_udp udp;
    if (wire_udp_parse(data, size, &udp) < 0)
        return 0;
    uint8_t again[WIRE_UDP_SIZE];
    wire_udp_emit(again, &udp);
    if (udp.size < WIRE_UDP_SIZE || udp.size > size || memcmp(again, data, sizeof(again)) != 0)
        abort();
    return 0;
}
