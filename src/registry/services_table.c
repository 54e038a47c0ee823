#define _GNU_SOURCE /* qsort_r */

#include "registry/services_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "registry/services_reader.h"

const struct foyer_services_table foyer_services_table_empty = {.pool = ""};

/* An entry on its way into a table. */
struct item {
    struct foyer_services_entry entry;
    uint32_t line;
};

struct builder {
    const char *path;
    struct foyer_registry_error_list *errors;
    struct item *items;
    size_t item_count;
    size_t item_capacity;
    size_t range_count;
    char *pool;
    size_t pool_size;
};

void foyer_services_error_append(struct foyer_registry_error_list *errors,
                                 struct foyer_registry_error error)
{
    if (!errors) {
        return;
    }
    if (errors->count < errors->capacity) {
        errors->items[errors->count] = error;
    }
    errors->count++;
}

int foyer_services_name_compare(const char *a, const char *b)
{
    while (*a && foyer_services_fold(*a) == foyer_services_fold(*b)) {
        a++;
        b++;
    }
    return (unsigned char)foyer_services_fold(*a) - (unsigned char)foyer_services_fold(*b);
}

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int foyer_services_entry_compare_ports(const struct foyer_services_entry *a,
                                       const struct foyer_services_entry *b)
{
    int order = compare_numbers(a->port_first, b->port_first);
    if (order == 0) {
        order = compare_numbers(a->port_last, b->port_last);
    }
    if (order == 0) {
        order = foyer_services_entry_is_alias(a) - foyer_services_entry_is_alias(b);
    }
    return order;
}

/* Names enter the pool in the order of the file, so that their offsets tell who came first. */
static int compare_age(const struct foyer_services_entry *a, const struct foyer_services_entry *b)
{
    return compare_numbers(a->packed >> FOYER_SERVICES_NAME_SHIFT,
                           b->packed >> FOYER_SERVICES_NAME_SHIFT);
}

static int compare_names(const struct foyer_services_entry *a, const struct foyer_services_entry *b,
                         const char *pool)
{
    return foyer_services_name_compare(pool + (a->packed >> FOYER_SERVICES_NAME_SHIFT),
                                       pool + (b->packed >> FOYER_SERVICES_NAME_SHIFT));
}

/* qsort_r order that brings together what can be merged. */
static int order_for_merge(const void *a, const void *b, void *pool)
{
    const struct item *left = a;
    const struct item *right = b;
    int order = foyer_services_entry_compare_ports(&left->entry, &right->entry);
    if (order == 0) {
        order = compare_names(&left->entry, &right->entry, pool);
    }
    return order ? order : compare_age(&left->entry, &right->entry);
}

/* qsort order of the entries in a table. */
static int order_by_port(const void *a, const void *b)
{
    const struct item *left = a;
    const struct item *right = b;
    int order = foyer_services_entry_compare_ports(&left->entry, &right->entry);
    return order ? order : compare_age(&left->entry, &right->entry);
}

/* qsort_r order of a table's by_name. */
static int order_by_name(const void *a, const void *b, void *context)
{
    const struct foyer_services_table *table = context;
    const struct foyer_services_entry *left = &table->entries[*(const uint16_t *)a];
    const struct foyer_services_entry *right = &table->entries[*(const uint16_t *)b];
    int order = compare_names(left, right, table->pool);
    if (order == 0) {
        order = foyer_services_entry_is_alias(left) - foyer_services_entry_is_alias(right);
    }
    return order ? order : compare_age(left, right);
}

/* qsort_r order of a table's ranges. */
static int order_by_width(const void *a, const void *b, void *context)
{
    const struct foyer_services_table *table = context;
    const struct foyer_services_entry *left = &table->entries[*(const uint16_t *)a];
    const struct foyer_services_entry *right = &table->entries[*(const uint16_t *)b];
    int order = compare_numbers((uint32_t)(left->port_last - left->port_first),
                                (uint32_t)(right->port_last - right->port_first));
    return order ? order : compare_age(left, right);
}

static bool span_eq(struct foyer_services_span a, struct foyer_services_span b)
{
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (foyer_services_fold(a.bytes[i]) != foyer_services_fold(b.bytes[i])) {
            return false;
        }
    }
    return true;
}

/* The pool has room for all names of the input, and the caller has checked the item count. */
static void builder_add(struct builder *builder, const struct foyer_services_record *record,
                        struct foyer_services_span name, uint32_t flags)
{
    uint32_t offset = (uint32_t)builder->pool_size;
    memcpy(builder->pool + offset, name.bytes, name.size);
    builder->pool[offset + name.size] = '\0';
    builder->pool_size += name.size + 1;

    builder->items[builder->item_count++] = (struct item){
        .entry = {.port_first = record->port_first,
                  .port_last = record->port_last,
                  .packed = offset << FOYER_SERVICES_NAME_SHIFT | record->protocols | flags},
        .line = record->line,
    };
}

static void builder_complain(struct builder *builder, uint32_t line,
                             enum foyer_registry_problem problem)
{
    foyer_services_error_append(builder->errors, (struct foyer_registry_error){
                                                     .path = builder->path,
                                                     .line = line,
                                                     .problem = problem,
                                                 });
}

static void builder_read(struct builder *builder, const char *bytes, size_t size)
{
    struct foyer_services_reader reader;
    foyer_services_reader_init(&reader, bytes, size);
    for (;;) {
        struct foyer_services_record record;
        enum foyer_registry_problem problem;
        switch (foyer_services_reader_next(&reader, &record, &problem)) {
        case FOYER_SERVICES_END:
            return;
        case FOYER_SERVICES_PROBLEM:
            builder_complain(builder, reader.line, problem);
            continue;
        case FOYER_SERVICES_RECORD:
            break;
        }
        if (builder->item_capacity - builder->item_count < 1 + record.alias_count) {
            /* One complaint, not one for each of the lines that are left. */
            builder_complain(builder, record.line, FOYER_REGISTRY_PROBLEM_TOO_MANY_ENTRIES);
            return;
        }
        if (record.port_first != record.port_last) {
            if (builder->range_count == FOYER_REGISTRY_RANGE_COUNT_MAX) {
                builder_complain(builder, record.line, FOYER_REGISTRY_PROBLEM_TOO_MANY_RANGES);
                continue;
            }
            builder->range_count++;
        }
        builder_add(builder, &record, record.name, 0);
        for (size_t i = 0; i < record.alias_count; i++) {
            if (!span_eq(record.aliases[i], record.name)) {
                builder_add(builder, &record, record.aliases[i], FOYER_SERVICES_FLAG_ALIAS);
            }
        }
    }
}

/* "http 80/tcp" and "http 80/udp" become one entry; then bring the entries into their order. */
static void builder_merge(struct builder *builder)
{
    struct item *items = builder->items;
    qsort_r(items, builder->item_count, sizeof(*items), order_for_merge, builder->pool);

    size_t count = 0;
    for (size_t i = 0; i < builder->item_count; i++) {
        struct item *last = count ? &items[count - 1] : NULL;
        if (last && foyer_services_entry_compare_ports(&last->entry, &items[i].entry) == 0 &&
            compare_names(&last->entry, &items[i].entry, builder->pool) == 0) {
            last->entry.packed |= foyer_services_entry_protocols(&items[i].entry);
        } else {
            items[count++] = items[i];
        }
    }
    builder->item_count = count;
    qsort(items, count, sizeof(*items), order_by_port);
}

/* Copy what the builder holds into one block of exactly the size it needs. */
static int builder_emit(const struct builder *builder, struct foyer_services_table *ret_table)
{
    size_t count = builder->item_count;
    struct foyer_services_entry *entries;
    uint32_t *lines;
    uint16_t *by_name;
    /* From the most to the least aligned, so that no padding is needed between them. */
    size_t size = count * (sizeof(*entries) + sizeof(*lines) + sizeof(*by_name)) +
                  builder->range_count * sizeof(uint16_t) + builder->pool_size;
    char *memory = malloc(size ? size : 1);
    if (!memory) {
        return -ENOMEM;
    }
    entries = (struct foyer_services_entry *)(void *)memory;
    lines = (uint32_t *)(void *)(entries + count);
    by_name = (uint16_t *)(void *)(lines + count);
    uint16_t *ranges = by_name + count;
    char *pool = (char *)(ranges + builder->range_count);
    size_t range_count = 0;

    memcpy(pool, builder->pool, builder->pool_size);
    for (size_t i = 0; i < count; i++) {
        const struct foyer_services_entry *entry = &builder->items[i].entry;
        entries[i] = *entry;
        lines[i] = builder->items[i].line;
        by_name[i] = (uint16_t)i;
        if (entry->port_first != entry->port_last && !foyer_services_entry_is_alias(entry)) {
            ranges[range_count++] = (uint16_t)i;
        }
    }
    struct foyer_services_table table = {
        .pool = pool,
        .pool_size = builder->pool_size,
        .entries = entries,
        .entry_count = count,
        .by_name = by_name,
        .ranges = ranges,
        .range_count = range_count,
        .lines = lines,
        .memory = memory,
    };
    qsort_r(by_name, count, sizeof(*by_name), order_by_name, &table);
    qsort_r(ranges, range_count, sizeof(*ranges), order_by_width, &table);
    *ret_table = table;
    return 0;
}

int foyer_services_table_build(struct foyer_services_table *ret_table, const char *path,
                               const char *bytes, size_t size,
                               struct foyer_registry_error_list *errors)
{
    _Static_assert(FOYER_REGISTRY_FILE_SIZE_MAX < FOYER_SERVICES_POOL_SIZE_MAX,
                   "an offset reaches every name of the largest file");
    if (size > FOYER_REGISTRY_FILE_SIZE_MAX) {
        return -EFBIG;
    }
    struct builder builder = {
        .path = path,
        .errors = errors,
        /* An entry takes a character and what separates it from the next. */
        .item_capacity = size / 2 + 1 < FOYER_REGISTRY_ENTRY_COUNT_MAX
                             ? size / 2 + 1
                             : FOYER_REGISTRY_ENTRY_COUNT_MAX,
    };
    builder.items = calloc(builder.item_capacity, sizeof(*builder.items));
    /* Each name is followed by a separator, or by the end, where its NUL fits. */
    builder.pool = malloc(size + 1);
    int result = -ENOMEM;
    if (builder.items && builder.pool) {
        builder_read(&builder, bytes, size);
        builder_merge(&builder);
        result = builder_emit(&builder, ret_table);
    }
    free(builder.pool);
    free(builder.items);
    return result;
}

void foyer_services_table_finish(struct foyer_services_table *table)
{
    free(table->memory);
    *table = foyer_services_table_empty;
}

/* Index of the first entry that begins at `port` or above. */
static size_t port_begin(const struct foyer_services_table *table, uint16_t port)
{
    size_t low = 0;
    size_t high = table->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->entries[middle].port_first < port) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool foyer_services_table_find_port(const struct foyer_services_table *table, uint16_t port,
                                    uint8_t protocols, size_t *ret_index)
{
    for (size_t i = port_begin(table, port); i < table->entry_count; i++) {
        const struct foyer_services_entry *entry = &table->entries[i];
        /* Names of this port alone come first; ranges and aliases that begin here follow. */
        if (entry->port_first != port || entry->port_last != port ||
            foyer_services_entry_is_alias(entry)) {
            break;
        }
        if (foyer_services_entry_protocols(entry) & protocols) {
            *ret_index = i;
            return true;
        }
    }
    for (size_t i = 0; i < table->range_count; i++) {
        const struct foyer_services_entry *entry = &table->entries[table->ranges[i]];
        if (entry->port_first <= port && port <= entry->port_last &&
            foyer_services_entry_protocols(entry) & protocols) {
            *ret_index = table->ranges[i];
            return true;
        }
    }
    return false;
}

size_t foyer_services_table_name_begin(const struct foyer_services_table *table, const char *name)
{
    size_t low = 0;
    size_t high = table->entry_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct foyer_services_entry *entry = &table->entries[table->by_name[middle]];
        if (foyer_services_name_compare(foyer_services_entry_name(table, entry), name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
