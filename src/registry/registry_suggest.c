/* Names that a misspelt one may have meant. */
#include <errno.h>
#include <string.h>

#include "registry/edit_distance.h"
#include "registry/registry_private.h"

_Static_assert(FOYER_EDIT_DISTANCE_SIZE_MAX >= FOYER_REGISTRY_NAME_SIZE_MAX,
               "every name can be compared");

static size_t distance_limit(size_t name_size)
{
    size_t limit = name_size / 3;
    if (limit < 1) {
        return 1;
    }
    return limit < 3 ? limit : 3;
}

static bool is_better(const struct foyer_registry_suggestion *a,
                      const struct foyer_registry_suggestion *b)
{
    if (a->distance != b->distance) {
        return a->distance < b->distance;
    }
    if (a->port != b->port) {
        return a->port < b->port;
    }
    return foyer_services_name_compare(a->name, b->name) < 0;
}

/* The best suggestions so far, best first. */
struct ranking {
    struct foyer_registry_suggestion *items;
    size_t capacity;
    size_t count;
};

/* Put a suggestion in its place, unless it is no better than those there, or than itself there. */
static void ranking_offer(struct ranking *ranking, struct foyer_registry_suggestion suggestion)
{
    for (size_t i = 0; i < ranking->count; i++) {
        if (foyer_services_name_compare(ranking->items[i].name, suggestion.name) != 0) {
            continue;
        }
        if (!is_better(&suggestion, &ranking->items[i])) {
            return;
        }
        /* The same name for a lower port: it may have to move up. */
        ranking->count--;
        memmove(&ranking->items[i], &ranking->items[i + 1],
                (ranking->count - i) * sizeof(ranking->items[0]));
        break;
    }
    size_t place = ranking->count;
    while (place > 0 && is_better(&suggestion, &ranking->items[place - 1])) {
        place--;
    }
    if (place == ranking->capacity) {
        return;
    }
    if (ranking->count < ranking->capacity) {
        ranking->count++;
    }
    memmove(&ranking->items[place + 1], &ranking->items[place],
            (ranking->count - 1 - place) * sizeof(ranking->items[0]));
    ranking->items[place] = suggestion;
}

int foyer_registry_suggest(const struct foyer_registry *registry, const char *name,
                           uint8_t protocols, struct foyer_registry_suggestion *ret_suggestions,
                           size_t capacity, size_t *ret_count)
{
    if (!foyer_registry_protocols_are_valid(protocols)) {
        return -EINVAL;
    }
    struct ranking ranking = {.items = ret_suggestions, .capacity = capacity};
    size_t name_size = strnlen(name, FOYER_REGISTRY_NAME_SIZE_MAX + 1);
    size_t limit = distance_limit(name_size);
    /* From the top, so that of one name in several spellings the user's own is shown. */
    for (size_t source = FOYER_REGISTRY_SOURCE_COUNT; source-- > 0 && capacity;) {
        const struct foyer_services_table *table = &registry->tables[source];
        for (size_t i = 0; i < table->entry_count; i++) {
            const struct foyer_services_entry *entry = &table->entries[i];
            if (!(foyer_services_entry_protocols(entry) & protocols)) {
                continue;
            }
            const char *candidate = foyer_services_entry_name(table, entry);
            size_t distance =
                foyer_edit_distance(name, name_size, candidate, strlen(candidate), limit);
            if (distance <= limit) {
                ranking_offer(&ranking, (struct foyer_registry_suggestion){
                                            .name = candidate,
                                            .port = entry->port_first,
                                            .distance = (uint8_t)distance,
                                        });
            }
        }
    }
    *ret_count = ranking.count;
    return 0;
}
