/* What registry.c and registry_suggest.c share. Nobody else includes this. */
#ifndef FOYER_REGISTRY_REGISTRY_PRIVATE_H
#define FOYER_REGISTRY_REGISTRY_PRIVATE_H

#include "registry/registry.h"
#include "registry/services_table.h"

struct foyer_registry {
    struct foyer_services_table tables[FOYER_REGISTRY_SOURCE_COUNT];
};

/* Not empty, and no unknown bits. */
bool foyer_registry_protocols_are_valid(uint8_t protocols);

#endif
