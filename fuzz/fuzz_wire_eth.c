/* wire/eth: what parses is emitted as the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/eth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_eth eth;
    int header = wire_eth_parse(data, size, &eth);
    if (header < 0)
        return 0;
    uint8_t again[WIRE_ETH_SIZE];
    if (wire_eth_emit(again, &eth) != (size_t)header || memcmp(again, data, sizeof(again)) != 0)
        abort();
    return 0;
}
