/*
 * Fuzzes the parser of services files, and the table that is built from what it understood:
 * records keep their promises, and everything that was read can be found again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry/registry.h"
#include "registry/services_reader.h"
#include "registry/services_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void check_reader(const char *bytes, size_t size)
{
    struct foyer_services_reader reader;
    struct foyer_services_record record;
    enum foyer_registry_problem problem;
    enum foyer_services_status status;
    uint32_t line = 0;
    foyer_services_reader_init(&reader, bytes, size);
    while ((status = foyer_services_reader_next(&reader, &record, &problem)) !=
           FOYER_SERVICES_END) {
        require(reader.line > line && reader.offset <= size);
        line = reader.line;
        if (status == FOYER_SERVICES_PROBLEM) {
            require(problem > FOYER_REGISTRY_PROBLEM_NONE);
            require(problem < FOYER_REGISTRY_PROBLEM_COUNT);
            continue;
        }
        require(record.port_first >= 1 && record.port_first <= record.port_last);
        require(record.protocols && record.line == line);
        require(record.name.size >= 1 && record.name.size <= FOYER_REGISTRY_NAME_SIZE_MAX);
        require(record.alias_count <= FOYER_SERVICES_ALIAS_COUNT_MAX);
        require(record.name.bytes >= bytes && record.name.bytes + record.name.size <= bytes + size);
    }
}

/* The table's order, and that each entry is found by its name and by its port. */
static void check_table(const char *bytes, size_t size)
{
    struct foyer_services_table table;
    require(foyer_services_table_build(&table, "", bytes, size, NULL) == 0);
    for (size_t i = 0; i < table.entry_count; i++) {
        const struct foyer_services_entry *entry = &table.entries[i];
        const char *name = foyer_services_entry_name(&table, entry);
        size_t index;
        require(i == 0 || foyer_services_entry_compare_ports(entry - 1, entry) <= 0);
        require(foyer_services_table_find_port(&table, entry->port_last,
                                               foyer_services_entry_protocols(entry), &index));
        require(!foyer_services_entry_is_alias(&table.entries[index]));
        index = foyer_services_table_name_begin(&table, name);
        require(index < table.entry_count);
        entry = &table.entries[table.by_name[index]];
        require(!foyer_services_name_compare(foyer_services_entry_name(&table, entry), name));
    }
    foyer_services_table_finish(&table);
}

static void check_registry(const char *bytes, size_t size)
{
    struct foyer_registry *registry;
    struct foyer_registry_error items[4];
    struct foyer_registry_error_list errors = {.items = items, .capacity = 4};
    /* Both sources, so that overriding runs too: the same names, but shifted by a line. */
    const char *newline = size ? memchr(bytes, '\n', size) : NULL;
    size_t skip = newline ? (size_t)(newline + 1 - bytes) : 0;
    require(foyer_registry_create(&registry) == 0);
    require(foyer_registry_load_bytes(registry, FOYER_REGISTRY_SYSTEM, "system", bytes, size,
                                      &errors) == 0);
    require(foyer_registry_load_bytes(registry, FOYER_REGISTRY_USER, "user", bytes + skip,
                                      size - skip, &errors) == 0);

    struct foyer_registry_filter filter = {
        .port_last = UINT16_MAX,
        .protocols = FOYER_REGISTRY_ALL_PROTOCOLS,
        .with_aliases = true,
    };
    struct foyer_registry_iterator iterator;
    struct foyer_registry_entry entry;
    struct foyer_registry_entry found;
    uint16_t port = 0;
    foyer_registry_iterator_init(&iterator, registry, &filter);
    while (foyer_registry_iterator_next(&iterator, &entry)) {
        require(entry.protocols && entry.port_first >= port);
        port = entry.port_first;
        if (entry.source != FOYER_REGISTRY_IANA) {
            require(foyer_registry_lookup_name(registry, entry.name, entry.protocols, &found) == 0);
            require(foyer_registry_lookup_port(registry, port, entry.protocols, &found) == 0);
            require(found.source >= entry.source);
        }
    }

    char name[FOYER_REGISTRY_NAME_SIZE_MAX + 2] = {0};
    struct foyer_registry_suggestion suggestions[3];
    size_t count;
    memcpy(name, bytes, size < sizeof(name) - 1 ? size : sizeof(name) - 1);
    require(foyer_registry_suggest(registry, name, FOYER_REGISTRY_TCP, suggestions, 3, &count) ==
            0);
    require(count <= 3);
    (void)foyer_registry_name_is_valid(name);
    (void)foyer_registry_protocol_parse(name);
    foyer_registry_destroy(registry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* An exact copy without a NUL, so that the sanitizer sees any step beyond the end. */
    char *bytes = malloc(size ? size : 1);
    require(bytes != NULL);
    memcpy(bytes, data, size);
    check_reader(bytes, size);
    check_table(bytes, size);
    /* Going through the built-in table takes a hundred times as long: do it for some inputs. */
    if (size % 16 == 0) {
        check_registry(bytes, size);
    }
    free(bytes);
    return 0;
}
