/*
 * The built-in table: what IANA assigned, plus the aliases and long-standing unofficial ports of
 * Debian's netbase. iana_table.inc is written by scripts/gen-services.py, which says what it takes
 * from where.
 *
 * It is a C table, and not a data file, because then there is nothing to find, open, parse or
 * distrust at run time. Everything is constant, sorted both ways beforehand and free of
 * pointers: creating a registry costs nothing, and a lookup touches the few pages that its binary
 * search passes through.
 */
#include "registry/services_table.h"

#include "registry/iana_table.inc"

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

_Static_assert(ARRAY_COUNT(iana_entries) == ARRAY_COUNT(iana_by_name), "one index per entry");
_Static_assert(ARRAY_COUNT(iana_entries) <= FOYER_REGISTRY_ENTRY_COUNT_MAX, "indices have 16 bits");
_Static_assert(ARRAY_COUNT(iana_ranges) <= FOYER_REGISTRY_RANGE_COUNT_MAX, "lookups are bounded");
_Static_assert(sizeof(iana_pool) <= FOYER_SERVICES_POOL_SIZE_MAX, "offsets have 24 bits");

const struct foyer_services_table foyer_iana_table = {
    .pool = iana_pool,
    /* The literal's own NUL comes after the last name's. */
    .pool_size = sizeof(iana_pool) - 1,
    .entries = iana_entries,
    .entry_count = ARRAY_COUNT(iana_entries),
    .by_name = iana_by_name,
    .ranges = iana_ranges,
    .range_count = ARRAY_COUNT(iana_ranges),
};
