/*
 * One source's names and ports, immutable and ready to be searched. The built-in table (iana.c)
 * is one of these in constant data; a file becomes one through foyer_services_table_build.
 *
 * Called by registry.c and registry_suggest.c, which put the sources above each other.
 *
 *     pool      "domain\0http\0www\0..."
 *                       ^        ^
 *     entries   {80,80,.}   {80,80,.}      by port, then range width, names before aliases
 *                  ^            ^
 *     by_name   [..1...............2..]    by folded name, names before aliases
 *     ranges    [entries that name more than one port, aliases not counted, narrow ones first]
 */
#ifndef FOYER_REGISTRY_SERVICES_TABLE_H
#define FOYER_REGISTRY_SERVICES_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registry/registry.h"

/*
 * Eight bytes, and an offset instead of a pointer: the built-in table then needs no relocation, so
 * that it stays in pages that all processes share and that are read only when touched.
 */
struct foyer_services_entry {
    uint16_t port_first;
    uint16_t port_last;
    uint32_t packed; /* bits 0-3 protocols, bit 4 alias, bits 8-31 offset of the name */
};

#define FOYER_SERVICES_FLAG_ALIAS 16u
#define FOYER_SERVICES_NAME_SHIFT 8
#define FOYER_SERVICES_POOL_SIZE_MAX (1u << 24)

struct foyer_services_table {
    const char *pool;
    size_t pool_size;
    const struct foyer_services_entry *entries;
    size_t entry_count;
    const uint16_t *by_name; /* entry_count indices */
    const uint16_t *ranges;  /* range_count indices */
    size_t range_count;
    const uint32_t *lines; /* per entry, or NULL if there are none to tell */
    void *memory;          /* what finish has to free, or NULL */
};

/* The built-in table. */
extern const struct foyer_services_table foyer_iana_table;

/* A table without entries. */
extern const struct foyer_services_table foyer_services_table_empty;

/*
 * Make a table from a services file. `bytes` may be anything and is borrowed for the call, `path`
 * goes to `errors` as it is, `errors` may be NULL.
 *
 * ret_table: written on success; the caller gives it to foyer_services_table_finish.
 * Returns 0; -EFBIG beyond FOYER_REGISTRY_FILE_SIZE_MAX; -ENOMEM.
 */
int foyer_services_table_build(struct foyer_services_table *ret_table, const char *path,
                               const char *bytes, size_t size,
                               struct foyer_registry_error_list *errors);

void foyer_services_table_finish(struct foyer_services_table *table);

/*
 * Index of the entry that names `port` for any of `protocols`, aliases not counted; false if there
 * is none. A single port goes before a range, a narrow range before a wide one.
 */
bool foyer_services_table_find_port(const struct foyer_services_table *table, uint16_t port,
                                    uint8_t protocols, size_t *ret_index);

/* Position in by_name of the first entry whose name is not less than `name`. */
size_t foyer_services_table_name_begin(const struct foyer_services_table *table, const char *name);

/* Compare names as strcmp would, but as if all letters were small. */
int foyer_services_name_compare(const char *a, const char *b);

/*
 * Order of the entries in a table: by first port, then last port, names before aliases. 0 if all
 * of these are the same.
 */
int foyer_services_entry_compare_ports(const struct foyer_services_entry *a,
                                       const struct foyer_services_entry *b);

/* Append a complaint; `errors` may be NULL. */
void foyer_services_error_append(struct foyer_registry_error_list *errors,
                                 struct foyer_registry_error error);

static inline const char *foyer_services_entry_name(const struct foyer_services_table *table,
                                                    const struct foyer_services_entry *entry)
{
    return table->pool + (entry->packed >> FOYER_SERVICES_NAME_SHIFT);
}

static inline uint8_t foyer_services_entry_protocols(const struct foyer_services_entry *entry)
{
    return (uint8_t)(entry->packed & FOYER_REGISTRY_ALL_PROTOCOLS);
}

static inline bool foyer_services_entry_is_alias(const struct foyer_services_entry *entry)
{
    return (entry->packed & FOYER_SERVICES_FLAG_ALIAS) != 0;
}

#endif
