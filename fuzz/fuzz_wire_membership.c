/* wire/membership: a query's sources all lie in the message and are of the group's family. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/membership.h"

static void look_at(const struct wire_membership *membership)
{
    bool is_v4 = foyer_addr_is_v4(&membership->group);
    for (uint32_t i = 0; i < membership->source_count; i++) {
        struct foyer_addr source = wire_membership_source(membership, i);
        if (is_v4 && !foyer_addr_is_v4(&source))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_membership membership;
    if (wire_mld_parse(data, size, &membership) == 0)
        look_at(&membership);
    if (size < 8)
        return 0;
    /* Nobody guesses a checksum. */
    uint8_t *message = malloc(size);
    if (message == NULL)
        return 0;
    memcpy(message, data, size);
    wire_igmp_seal(message, size);
    if (wire_igmp_parse(message, size, &membership) == 0)
        look_at(&membership);
    free(message);
    return 0;
}
