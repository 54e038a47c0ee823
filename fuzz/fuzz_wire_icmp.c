/* wire/icmp: parse is total; a sealed message verifies. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/icmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_icmp icmp;
    if (wire_icmp_parse(data, size, &icmp) < 0)
        return 0;
    (void)wire_icmp_checksum_ok(data, size);
    uint8_t *message = malloc(size);
    if (message == NULL)
        return 0;
    memcpy(message, data, size);
    wire_icmp_emit(message, &icmp);
    wire_icmp_seal(message, size);
    struct wire_icmp again;
    if (!wire_icmp_checksum_ok(message, size) || wire_icmp_parse(message, size, &again) < 0 ||
        again.type != icmp.type || again.id != icmp.id || again.mtu != icmp.mtu)
        abort();
    free(message);
    return 0;
}
