/* wire/icmp6 and neighbour discovery: what parses is emitted and parses as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/icmp6.h"

static void discovery(const uint8_t *data, size_t size)
{
    struct wire_ndp ndp, again;
    if (wire_ndp_parse(data, size, &ndp) < 0)
        return;
    if (ndp.prefix_count > WIRE_NDP_PREFIXES_MAX)
        abort();
    uint8_t *bytes = malloc(WIRE_NDP_SIZE_MAX);
    uint8_t *twice = malloc(WIRE_NDP_SIZE_MAX);
    if (bytes != NULL && twice != NULL) {
        size_t emitted = wire_ndp_emit(bytes, &ndp);
        if (emitted > WIRE_NDP_SIZE_MAX || wire_ndp_parse(bytes, emitted, &again) < 0 ||
            wire_ndp_emit(twice, &again) != emitted || memcmp(bytes, twice, emitted) != 0)
            abort();
    }
    free(bytes);
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct foyer_addr src = {{0xfe, 0x80, [15] = 1}}, dst = {{0xff, 2, [15] = 1}};
    struct wire_icmp6 icmp;
    discovery(data, size);
    if (wire_icmp6_parse(data, size, &icmp) < 0)
        return 0;
    (void)wire_icmp6_checksum_ok(data, size, &src, &dst);
    uint8_t *message = malloc(size);
    if (message == NULL)
        return 0;
    memcpy(message, data, size);
    wire_icmp6_emit(message, &icmp);
    wire_icmp6_seal(message, size, &src, &dst);
    if (!wire_icmp6_checksum_ok(message, size, &src, &dst))
        abort();
    free(message);
    return 0;
}
