/*
 * The sources above each other: lookups go through them from the highest to the lowest, the
 * iterator merges them. Reading files is here too, and nowhere else in this folder.
 */
#define _GNU_SOURCE /* O_CLOEXEC */

#include "registry/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/registry_private.h"
#include "registry/services_reader.h"

int foyer_registry_create(struct foyer_registry **ret_registry)
{
    struct foyer_registry *registry = malloc(sizeof(*registry));
    if (!registry) {
        return -ENOMEM;
    }
    registry->tables[FOYER_REGISTRY_IANA] = foyer_iana_table;
    registry->tables[FOYER_REGISTRY_SYSTEM] = foyer_services_table_empty;
    registry->tables[FOYER_REGISTRY_USER] = foyer_services_table_empty;
    *ret_registry = registry;
    return 0;
}

void foyer_registry_destroy(struct foyer_registry *registry)
{
    if (!registry) {
        return;
    }
    for (int i = 0; i < FOYER_REGISTRY_SOURCE_COUNT; i++) {
        foyer_services_table_finish(&registry->tables[i]);
    }
    free(registry);
}

int foyer_registry_load_bytes(struct foyer_registry *registry, enum foyer_registry_source source,
                              const char *path, const void *bytes, size_t size,
                              struct foyer_registry_error_list *errors)
{
    if (source != FOYER_REGISTRY_SYSTEM && source != FOYER_REGISTRY_USER) {
        return -EINVAL;
    }
    struct foyer_services_table table;
    int result = foyer_services_table_build(&table, path, bytes, size, errors);
    if (result < 0) {
        return result;
    }
    foyer_services_table_finish(&registry->tables[source]);
    registry->tables[source] = table;
    return 0;
}

/* Read until the end or until the buffer is full. */
static int read_all(int fd, char *buffer, size_t capacity, size_t *ret_size)
{
    size_t size = 0;
    while (size < capacity) {
        ssize_t n = read(fd, buffer + size, capacity - size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        size += (size_t)n;
    }
    *ret_size = size;
    return 0;
}

static int load_fd(struct foyer_registry *registry, enum foyer_registry_source source,
                   const char *path, int fd, struct foyer_registry_error_list *errors)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if (!S_ISREG(status.st_mode)) {
        return -EINVAL;
    }
    if (status.st_size > (off_t)FOYER_REGISTRY_FILE_SIZE_MAX) {
        return -EFBIG;
    }
    /*
     * The size is a hint: a file may grow under the reader, and those in /proc have none. One
     * byte more than allowed shows that there is too much.
     */
    size_t capacity = FOYER_REGISTRY_FILE_SIZE_MAX + 1;
    char *buffer = malloc(capacity);
    if (!buffer) {
        return -ENOMEM;
    }
    size_t size = 0;
    int result = read_all(fd, buffer, capacity, &size);
    if (result == 0) {
        result = foyer_registry_load_bytes(registry, source, path, buffer, size, errors);
    }
    free(buffer);
    return result;
}

int foyer_registry_load_file(struct foyer_registry *registry, enum foyer_registry_source source,
                             const char *path, struct foyer_registry_error_list *errors)
{
    /* O_NONBLOCK keeps a FIFO without a writer from blocking open; regular files ignore it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    int result = load_fd(registry, source, path, fd, errors);
    close(fd);
    return result;
}

int foyer_registry_load_default(struct foyer_registry *registry, const char *user_path,
                                struct foyer_registry_error_list *errors)
{
    const char *const paths[FOYER_REGISTRY_SOURCE_COUNT] = {
        [FOYER_REGISTRY_SYSTEM] = FOYER_REGISTRY_SYSTEM_PATH,
        [FOYER_REGISTRY_USER] = user_path,
    };
    for (int i = 0; i < FOYER_REGISTRY_SOURCE_COUNT; i++) {
        if (!paths[i]) {
            continue;
        }
        int result =
            foyer_registry_load_file(registry, (enum foyer_registry_source)i, paths[i], errors);
        if (result == -ENOMEM) {
            return result;
        }
        if (result < 0 && result != -ENOENT) {
            foyer_services_error_append(errors, (struct foyer_registry_error){
                                                    .path = paths[i],
                                                    .problem = FOYER_REGISTRY_PROBLEM_UNREADABLE,
                                                    .error = result,
                                                });
        }
    }
    return 0;
}

static struct foyer_registry_entry describe(const struct foyer_registry *registry, size_t source,
                                            size_t index, uint8_t protocols)
{
    const struct foyer_services_table *table = &registry->tables[source];
    const struct foyer_services_entry *entry = &table->entries[index];
    return (struct foyer_registry_entry){
        .name = foyer_services_entry_name(table, entry),
        .port_first = entry->port_first,
        .port_last = entry->port_last,
        .protocols = foyer_services_entry_protocols(entry) & protocols,
        .is_alias = foyer_services_entry_is_alias(entry),
        .source = (enum foyer_registry_source)source,
        .line = table->lines ? table->lines[index] : 0,
    };
}

bool foyer_registry_protocols_are_valid(uint8_t protocols)
{
    return protocols != 0 && (protocols & ~FOYER_REGISTRY_ALL_PROTOCOLS) == 0;
}

int foyer_registry_lookup_port(const struct foyer_registry *registry, uint16_t port,
                               uint8_t protocols, struct foyer_registry_entry *ret_entry)
{
    if (!foyer_registry_protocols_are_valid(protocols)) {
        return -EINVAL;
    }
    for (size_t source = FOYER_REGISTRY_SOURCE_COUNT; source-- > 0;) {
        size_t index;
        if (foyer_services_table_find_port(&registry->tables[source], port, protocols, &index)) {
            *ret_entry = describe(registry, source, index, protocols);
            return 0;
        }
    }
    return -ENOENT;
}

int foyer_registry_lookup_name(const struct foyer_registry *registry, const char *name,
                               uint8_t protocols, struct foyer_registry_entry *ret_entry)
{
    if (!foyer_registry_protocols_are_valid(protocols)) {
        return -EINVAL;
    }
    for (size_t source = FOYER_REGISTRY_SOURCE_COUNT; source-- > 0;) {
        const struct foyer_services_table *table = &registry->tables[source];
        size_t i = foyer_services_table_name_begin(table, name);
        for (; i < table->entry_count; i++) {
            const struct foyer_services_entry *entry = &table->entries[table->by_name[i]];
            if (foyer_services_name_compare(foyer_services_entry_name(table, entry), name) != 0) {
                break;
            }
            if (foyer_services_entry_protocols(entry) & protocols) {
                *ret_entry = describe(registry, source, table->by_name[i], protocols);
                return 0;
            }
        }
    }
    return -ENOENT;
}

/* The protocols for which one entry of the table names all of these ports. */
static uint8_t covered_protocols(const struct foyer_services_table *table,
                                 const struct foyer_registry_entry *entry)
{
    uint8_t covered = 0;
    for (uint8_t bit = 1; bit & FOYER_REGISTRY_ALL_PROTOCOLS; bit = (uint8_t)(bit << 1)) {
        size_t index;
        if (!(entry->protocols & bit)) {
            continue;
        }
        if (entry->port_first == entry->port_last) {
            if (foyer_services_table_find_port(table, entry->port_first, bit, &index)) {
                covered |= bit;
            }
            continue;
        }
        for (size_t i = 0; i < table->range_count && !(covered & bit); i++) {
            const struct foyer_services_entry *range = &table->entries[table->ranges[i]];
            if (range->port_first <= entry->port_first && entry->port_last <= range->port_last &&
                foyer_services_entry_protocols(range) & bit) {
                covered |= bit;
            }
        }
    }
    return covered;
}

/* The protocols for which the table has the entry's name or alias for all of its ports. */
static uint8_t same_name_protocols(const struct foyer_services_table *table,
                                   const struct foyer_registry_entry *entry)
{
    uint8_t protocols = 0;
    size_t i = foyer_services_table_name_begin(table, entry->name);
    for (; i < table->entry_count; i++) {
        const struct foyer_services_entry *other = &table->entries[table->by_name[i]];
        if (foyer_services_name_compare(foyer_services_entry_name(table, other), entry->name)) {
            break;
        }
        if (other->port_first <= entry->port_first && entry->port_last <= other->port_last) {
            protocols |= foyer_services_entry_protocols(other);
        }
    }
    return protocols;
}

/*
 * Take away from `entry` what higher sources override. Returns what remains of that as an alias,
 * protocols being empty if nothing does.
 */
static struct foyer_registry_entry override(const struct foyer_registry *registry,
                                            struct foyer_registry_entry *entry)
{
    struct foyer_registry_entry alias = *entry;
    alias.is_alias = true;
    alias.protocols = 0;
    for (size_t source = entry->source + 1; source < FOYER_REGISTRY_SOURCE_COUNT; source++) {
        const struct foyer_services_table *table = &registry->tables[source];
        uint8_t repeated = same_name_protocols(table, entry);
        if (!entry->is_alias) {
            alias.protocols |= covered_protocols(table, entry);
        }
        entry->protocols &= (uint8_t) ~(repeated | alias.protocols);
        alias.protocols &= (uint8_t)~repeated;
    }
    return alias;
}

void foyer_registry_iterator_init(struct foyer_registry_iterator *iterator,
                                  const struct foyer_registry *registry,
                                  const struct foyer_registry_filter *filter)
{
    static const struct foyer_registry_filter everything = {
        .port_last = UINT16_MAX,
        .protocols = FOYER_REGISTRY_ALL_PROTOCOLS,
    };
    *iterator = (struct foyer_registry_iterator){
        .registry = registry,
        .filter = filter ? *filter : everything,
    };
}

static bool name_matches(const char *name, const struct foyer_registry_filter *filter)
{
    if (!filter->name) {
        return true;
    }
    if (filter->match == FOYER_REGISTRY_MATCH_EXACT) {
        return foyer_services_name_compare(name, filter->name) == 0;
    }
    do {
        size_t i = 0;
        while (filter->name[i] &&
               foyer_services_fold(name[i]) == foyer_services_fold(filter->name[i])) {
            i++;
        }
        if (filter->name[i] == '\0') {
            return true;
        }
    } while (filter->match == FOYER_REGISTRY_MATCH_CONTAINS && *name++);
    return false;
}

/* Take the next entry of all sources: lowest ports first, then the highest source. */
static bool iterator_take(struct foyer_registry_iterator *iterator,
                          struct foyer_registry_entry *ret_entry)
{
    const struct foyer_services_entry *best = NULL;
    size_t best_source = 0;
    for (size_t source = FOYER_REGISTRY_SOURCE_COUNT; source-- > 0;) {
        const struct foyer_services_table *table = &iterator->registry->tables[source];
        if (iterator->cursors[source] == table->entry_count) {
            continue;
        }
        const struct foyer_services_entry *entry = &table->entries[iterator->cursors[source]];
        if (!best || foyer_services_entry_compare_ports(entry, best) < 0) {
            best = entry;
            best_source = source;
        }
    }
    if (!best) {
        return false;
    }
    *ret_entry = describe(iterator->registry, best_source, iterator->cursors[best_source],
                          iterator->filter.protocols);
    iterator->cursors[best_source]++;
    return true;
}

bool foyer_registry_iterator_next(struct foyer_registry_iterator *iterator,
                                  struct foyer_registry_entry *ret_entry)
{
    const struct foyer_registry_filter *filter = &iterator->filter;
    struct foyer_registry_entry entry;
    for (;;) {
        if (iterator->has_pending) {
            iterator->has_pending = false;
            *ret_entry = iterator->pending;
            return true;
        }
        if (!iterator_take(iterator, &entry)) {
            return false;
        }
        if (entry.port_last < filter->port_first || entry.port_first > filter->port_last ||
            entry.protocols == 0 || (entry.is_alias && !filter->with_aliases) ||
            !name_matches(entry.name, filter)) {
            continue;
        }
        iterator->pending = override(iterator->registry, &entry);
        iterator->has_pending = filter->with_aliases && iterator->pending.protocols;
        if (entry.protocols) {
            *ret_entry = entry;
            return true;
        }
    }
}

bool foyer_registry_name_is_valid(const char *name)
{
    size_t size = strnlen(name, 16);
    bool has_letter = false;
    if (size == 0 || size > 15 || name[0] == '-' || name[size - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        char c = foyer_services_fold(name[i]);
        bool is_letter = c >= 'a' && c <= 'z';
        has_letter = has_letter || is_letter;
        if (!is_letter && !(c >= '0' && c <= '9') && !(c == '-' && name[i + 1] != '-')) {
            return false;
        }
    }
    return has_letter;
}

enum foyer_registry_range foyer_registry_range_of(uint16_t port)
{
    if (port < 1024) {
        return FOYER_REGISTRY_WELL_KNOWN;
    }
    return port < 49152 ? FOYER_REGISTRY_REGISTERED : FOYER_REGISTRY_DYNAMIC;
}

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *foyer_registry_range_name(enum foyer_registry_range range)
{
    static const char *const names[] = {"well-known", "registered", "dynamic"};
    _Static_assert(ARRAY_COUNT(names) == FOYER_REGISTRY_RANGE_COUNT, "one name per range");
    return (size_t)range < ARRAY_COUNT(names) ? names[range] : "unknown";
}

uint8_t foyer_registry_protocol_parse(const char *name)
{
    return foyer_services_protocol_bit(
        (struct foyer_services_span){name, strnlen(name, FOYER_REGISTRY_NAME_SIZE_MAX)});
}

const char *foyer_registry_protocol_name(uint8_t protocol)
{
    switch (protocol) {
    case FOYER_REGISTRY_TCP:
        return "tcp";
    case FOYER_REGISTRY_UDP:
        return "udp";
    case FOYER_REGISTRY_SCTP:
        return "sctp";
    case FOYER_REGISTRY_DCCP:
        return "dccp";
    default:
        return NULL;
    }
}

const char *foyer_registry_problem_text(enum foyer_registry_problem problem)
{
    static const char *const texts[] = {
        [FOYER_REGISTRY_PROBLEM_NONE] = "no problem",
        [FOYER_REGISTRY_PROBLEM_LINE_TOO_LONG] = "line is too long",
        [FOYER_REGISTRY_PROBLEM_NAME] = "not a service name",
        [FOYER_REGISTRY_PROBLEM_NO_PORT] = "port is missing",
        [FOYER_REGISTRY_PROBLEM_PORT] = "port is not a number from 1 to 65535",
        [FOYER_REGISTRY_PROBLEM_RANGE] = "range of ports ends before it begins",
        [FOYER_REGISTRY_PROBLEM_NO_PROTOCOL] = "protocol is missing",
        [FOYER_REGISTRY_PROBLEM_PROTOCOL] = "unknown protocol",
        [FOYER_REGISTRY_PROBLEM_ALIAS] = "alias is not a service name",
        [FOYER_REGISTRY_PROBLEM_TOO_MANY_ALIASES] = "too many aliases in one line",
        [FOYER_REGISTRY_PROBLEM_TOO_MANY_ENTRIES] = "too many names, the rest is ignored",
        [FOYER_REGISTRY_PROBLEM_TOO_MANY_RANGES] = "too many ranges of ports",
        [FOYER_REGISTRY_PROBLEM_UNREADABLE] = "file can't be read",
    };
    _Static_assert(ARRAY_COUNT(texts) == FOYER_REGISTRY_PROBLEM_COUNT, "one text per problem");
    return (size_t)problem < ARRAY_COUNT(texts) ? texts[problem] : "unknown";
}

const char *foyer_registry_source_name(enum foyer_registry_source source)
{
    static const char *const names[] = {"iana", "system", "user"};
    _Static_assert(ARRAY_COUNT(names) == FOYER_REGISTRY_SOURCE_COUNT, "one name per source");
    return (size_t)source < ARRAY_COUNT(names) ? names[source] : "unknown";
}
