/* wire/dhcp4: what parses is emitted within its bound, and parses as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/dhcp4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wire_dhcp4 dhcp, again; /* large: not on the stack of the sanitizer */
    if (wire_dhcp4_parse(data, size, &dhcp) < 0)
        return 0;
    uint8_t *bytes = malloc(WIRE_DHCP4_SIZE_MAX);
    uint8_t *twice = malloc(WIRE_DHCP4_SIZE_MAX);
    if (bytes != NULL && twice != NULL) {
        size_t emitted = wire_dhcp4_emit(bytes, &dhcp);
        if (emitted > WIRE_DHCP4_SIZE_MAX || wire_dhcp4_parse(bytes, emitted, &again) < 0 ||
            wire_dhcp4_emit(twice, &again) != emitted || memcmp(bytes, twice, emitted) != 0)
            abort();
    }
    free(bytes);
    free(twice);
    return 0;
}
