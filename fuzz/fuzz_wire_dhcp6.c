/* wire/dhcp6: what parses is emitted within its bound, and parses as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/dhcp6.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wire_dhcp6 dhcp, again; /* large: not on the stack of the sanitizer */
    if (wire_dhcp6_parse(data, size, &dhcp) < 0)
        return 0;
    uint8_t *bytes = malloc(WIRE_DHCP6_SIZE_MAX);
    uint8_t *twice = malloc(WIRE_DHCP6_SIZE_MAX);
    if (bytes != NULL && twice != NULL) {
        size_t emitted = wire_dhcp6_emit(bytes, &dhcp);
        if (emitted > WIRE_DHCP6_SIZE_MAX || wire_dhcp6_parse(bytes, emitted, &again) < 0 ||
            wire_dhcp6_emit(twice, &again) != emitted || memcmp(bytes, twice, emitted) != 0)
            abort();
    }
    free(bytes);
    free(twice);
    return 0;
}
