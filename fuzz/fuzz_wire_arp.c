/* wire/arp: what parses is emitted as the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/arp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_arp arp;
    int parsed = wire_arp_parse(data, size, &arp);
    if (parsed < 0)
        return 0;
    uint8_t again[WIRE_ARP_SIZE];
    if (wire_arp_emit(again, &arp) != (size_t)parsed || memcmp(again, data, sizeof(again)) != 0)
        abort();
    return 0;
}
