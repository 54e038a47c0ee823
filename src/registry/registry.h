/*
 * The service registry: which name belongs to which port, and the other way round.
 *
 * Called by the command line tool; calls the tables of services_table.h and libc. It knows three
 * sources, of which a later one overrides an earlier one:
 *
 *     user's file      FOYER_REGISTRY_USER     highest
 *     /etc/services    FOYER_REGISTRY_SYSTEM
 *     built-in table   FOYER_REGISTRY_IANA     lowest, always there, needs no file
 *
 * "Overrides" holds per port and protocol: if the user's file names 80/tcp, that is the name of
 * 80/tcp, while 80/udp keeps the name that /etc/services or IANA gives it. A name that lost its
 * port that way can still be looked up, as an alias would.
 *
 * Names are compared without regard to ASCII case (RFC 6335, section 5.1), never by locale. Ports
 * and protocols are in host order and are never 0 where they are stored (RFC 6335, section 6
 * reserves port 0).
 *
 * Threading: no globals. create, destroy and load_* need the registry to themselves; everything
 * that takes a const registry may run in any number of threads at once.
 */
#ifndef FOYER_REGISTRY_REGISTRY_H
#define FOYER_REGISTRY_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of transport protocols is the OR of these. */
#define FOYER_REGISTRY_TCP 1u
#define FOYER_REGISTRY_UDP 2u
#define FOYER_REGISTRY_SCTP 4u
#define FOYER_REGISTRY_DCCP 8u
#define FOYER_REGISTRY_ALL_PROTOCOLS 15u

/* Limits on what one file may bring; what goes beyond is reported and left out. */
#define FOYER_REGISTRY_FILE_SIZE_MAX (4u << 20)
#define FOYER_REGISTRY_ENTRY_COUNT_MAX 65535u
#define FOYER_REGISTRY_RANGE_COUNT_MAX 1024u
/* Longest name taken from a file, without its NUL. RFC 6335 allows 15; real files go beyond. */
#define FOYER_REGISTRY_NAME_SIZE_MAX 63u

#define FOYER_REGISTRY_SYSTEM_PATH "/etc/services"

enum foyer_registry_source {
    FOYER_REGISTRY_IANA,
    FOYER_REGISTRY_SYSTEM,
    FOYER_REGISTRY_USER,
    FOYER_REGISTRY_SOURCE_COUNT,
};

/* The three parts that RFC 6335, section 6 divides the port numbers into. */
enum foyer_registry_range {
    FOYER_REGISTRY_WELL_KNOWN, /* 0-1023, the RFC's System Ports */
    FOYER_REGISTRY_REGISTERED, /* 1024-49151, the RFC's User Ports */
    FOYER_REGISTRY_DYNAMIC,    /* 49152-65535, never assigned to a service */
    FOYER_REGISTRY_RANGE_COUNT,
};

enum foyer_registry_problem {
    FOYER_REGISTRY_PROBLEM_NONE,
    FOYER_REGISTRY_PROBLEM_LINE_TOO_LONG,
    FOYER_REGISTRY_PROBLEM_NAME,
    FOYER_REGISTRY_PROBLEM_NO_PORT,
    FOYER_REGISTRY_PROBLEM_PORT,
    FOYER_REGISTRY_PROBLEM_RANGE,
    FOYER_REGISTRY_PROBLEM_NO_PROTOCOL,
    FOYER_REGISTRY_PROBLEM_PROTOCOL,
    FOYER_REGISTRY_PROBLEM_ALIAS,
    FOYER_REGISTRY_PROBLEM_TOO_MANY_ALIASES,
    FOYER_REGISTRY_PROBLEM_TOO_MANY_ENTRIES,
    FOYER_REGISTRY_PROBLEM_TOO_MANY_RANGES,
    FOYER_REGISTRY_PROBLEM_UNREADABLE,
    FOYER_REGISTRY_PROBLEM_COUNT,
};

/* One complaint about a file. */
struct foyer_registry_error {
    const char *path; /* the pointer that was given to load_*, not copied */
    uint32_t line;    /* counted from 1; 0 if the complaint is about the file as a whole */
    enum foyer_registry_problem problem;
    int error; /* negative errno for PROBLEM_UNREADABLE, else 0 */
};

/*
 * Where load_* writes its complaints: the caller's array, and how many it holds. The first
 * `capacity` complaints are kept; `count` goes on counting, so count > capacity says that some
 * were left out. Start with count = 0; consecutive loads append.
 */
struct foyer_registry_error_list {
    struct foyer_registry_error *items;
    size_t capacity;
    size_t count;
};

/* One name of one port, or of one range of ports. */
struct foyer_registry_entry {
    const char *name; /* borrowed: valid until the next load_* or destroy of the registry */
    uint16_t port_first;
    uint16_t port_last; /* equals port_first unless it is a range */
    uint8_t protocols;  /* FOYER_REGISTRY_TCP and so on */
    bool is_alias;      /* not the name that foyer_registry_lookup_port gives */
    enum foyer_registry_source source;
    uint32_t line; /* line in the source's file; 0 for the built-in table */
};

struct foyer_registry_suggestion {
    const char *name; /* borrowed, as in struct foyer_registry_entry */
    uint16_t port;    /* lowest port of that name, for display */
    uint8_t distance; /* edits away from what was asked for */
};

/* How foyer_registry_filter.name is compared with an entry's name. */
enum foyer_registry_match {
    FOYER_REGISTRY_MATCH_CONTAINS,
    FOYER_REGISTRY_MATCH_PREFIX,
    FOYER_REGISTRY_MATCH_EXACT,
};

/* Which entries to iterate over. All conditions have to hold. */
struct foyer_registry_filter {
    uint16_t port_first; /* entries that share at least one port with port_first..port_last; */
    uint16_t port_last;  /* 0..65535 for all */
    uint8_t protocols;   /* entries with at least one of these; the others are masked out */
    bool with_aliases;   /* also entries that are not the name of their port */
    enum foyer_registry_match match;
    const char *name; /* NULL for any; borrowed for as long as the iterator is in use */
};

struct foyer_registry;

/* An iteration under way. Lives in the caller's memory, owns nothing; its fields are private. */
struct foyer_registry_iterator {
    const struct foyer_registry *registry;
    struct foyer_registry_filter filter;
    struct foyer_registry_entry pending; /* second half of an entry that is partly overridden */
    bool has_pending;
    uint32_t cursors[FOYER_REGISTRY_SOURCE_COUNT];
};

/*
 * Make a registry that knows the built-in table. Costs one small allocation: the table is
 * constant data of the program and is neither read nor copied here.
 *
 * ret_registry: the new registry; the caller gives it to foyer_registry_destroy.
 * Returns 0, or -ENOMEM.
 */
int foyer_registry_create(struct foyer_registry **ret_registry);

/* Free a registry and every name borrowed from it. NULL is allowed. */
void foyer_registry_destroy(struct foyer_registry *registry);

/*
 * Replace what the registry knows from `source` by the contents of a file in the format of
 * services(5):
 *
 *     name  port[-last]/protocol[/protocol...]  [alias...]  [# comment]
 *
 * Ranges and several protocols in one line are extensions to that format. Lines that can't be
 * understood are reported and skipped, the others count. Lines for protocols that foyer has
 * nothing to do with (ddp, udplite) are skipped silently.
 * Where a file has two names for a port and protocol, the one for that port alone goes before
 * one for a range, a narrow range before a wide one, and the first line before a later one; the
 * losers act as aliases. Where a file has a name twice, the first line gives the port.
 *
 * source: FOYER_REGISTRY_SYSTEM or FOYER_REGISTRY_USER.
 * path:   for complaints only; borrowed for as long as `errors` is used.
 * bytes:  any bytes at all, borrowed for the call; NULL only if size is 0.
 * errors: NULL if complaints are of no interest.
 *
 * Returns 0 (look at `errors` for skipped lines); -EINVAL for another source; -EFBIG if size
 * exceeds FOYER_REGISTRY_FILE_SIZE_MAX; -ENOMEM. On failure the registry is as it was, and
 * `errors` is untouched but for complaints already appended. Work: O(n log n) in the size.
 */
int foyer_registry_load_bytes(struct foyer_registry *registry, enum foyer_registry_source source,
                              const char *path, const void *bytes, size_t size,
                              struct foyer_registry_error_list *errors);

/*
 * The same for the file at `path`. Never blocks on a FIFO or device: whatever is not a regular
 * file, after following symbolic links, is refused.
 *
 * Returns as foyer_registry_load_bytes; -EINVAL also if it is not a regular file; -ENOENT if there
 * is none, which is usually no error to a caller; any other errno of open, fstat or read, negative.
 */
int foyer_registry_load_file(struct foyer_registry *registry, enum foyer_registry_source source,
                             const char *path, struct foyer_registry_error_list *errors);

/*
 * What a program does at start: load /etc/services and then the user's file. A missing file is
 * fine; one that can't be read is appended to `errors` as FOYER_REGISTRY_PROBLEM_UNREADABLE and
 * otherwise ignored, because a broken services file must not keep a tool from working.
 *
 * user_path: the user's file, or NULL for none.
 * Returns 0, or -ENOMEM.
 */
int foyer_registry_load_default(struct foyer_registry *registry, const char *user_path,
                                struct foyer_registry_error_list *errors);

/*
 * The name of a port.
 *
 * protocols: the protocol, or a set of them of which any will do.
 * ret_entry: the best entry, its protocols reduced to those asked for.
 * Returns 0; -ENOENT if the port has no name; -EINVAL if protocols is empty or has unknown bits.
 * Work: O(log n) plus at most FOYER_REGISTRY_RANGE_COUNT_MAX ranges, per source.
 */
int foyer_registry_lookup_port(const struct foyer_registry *registry, uint16_t port,
                               uint8_t protocols, struct foyer_registry_entry *ret_entry);

/*
 * The port of a name or alias. The highest source that has the name for any of the protocols
 * decides; in it, names go before aliases, then the first line (built-in table: lowest port).
 * For a range, ret_entry->port_first is the port that is meant.
 *
 * Parameters, errors and work otherwise as foyer_registry_lookup_port.
 */
int foyer_registry_lookup_name(const struct foyer_registry *registry, const char *name,
                               uint8_t protocols, struct foyer_registry_entry *ret_entry);

/*
 * Begin an iteration over all sources, in ascending order of port.
 *
 * filter: copied; NULL for every name of every port, without aliases.
 * The iterator must not be used after the next load_* or destroy of the registry.
 */
void foyer_registry_iterator_init(struct foyer_registry_iterator *iterator,
                                  const struct foyer_registry *registry,
                                  const struct foyer_registry_filter *filter);

/*
 * Give the next entry. An entry is given for the protocols for which no higher source overrides
 * it; for the others it is given as an alias, if the filter wants those and the higher source
 * doesn't have the same name.
 *
 * Returns true and writes ret_entry, or false at the end. Work: O(log n) for each entry passed over
 * or given, plus one step for each entry of the same name in a higher source.
 */
bool foyer_registry_iterator_next(struct foyer_registry_iterator *iterator,
                                  struct foyer_registry_entry *ret_entry);

/*
 * Names that a misspelt one may have meant: those up to a third of its length away in edits, though
 * always 1 and never more than 3. An edit is a character inserted, deleted, replaced, or swapped
 * with its neighbour. Ordered by distance, then lowest port, then name, so that the answer is
 * always the same and the better known service comes first.
 *
 * name:            NUL-terminated; longer than FOYER_REGISTRY_NAME_SIZE_MAX finds nothing.
 * protocols:       only names that exist for any of these.
 * ret_suggestions: the caller's array of `capacity`; ret_count of them are written.
 * Returns 0, also if there are none; -EINVAL for bad protocols. Work: one pass over all names.
 */
int foyer_registry_suggest(const struct foyer_registry *registry, const char *name,
                           uint8_t protocols, struct foyer_registry_suggestion *ret_suggestions,
                           size_t capacity, size_t *ret_count);

/* Is `name` a service name by RFC 6335, section 5.1? For advice; files may hold older names. */
bool foyer_registry_name_is_valid(const char *name);

/* The part of the port numbers that `port` is in, and its name ("well-known", ...). */
enum foyer_registry_range foyer_registry_range_of(uint16_t port);
const char *foyer_registry_range_name(enum foyer_registry_range range);

/*
 * One protocol's bit from its name ("tcp", any case), 0 if there is no such protocol; and the
 * name from one bit, NULL if it is not exactly one known bit.
 */
uint8_t foyer_registry_protocol_parse(const char *name);
const char *foyer_registry_protocol_name(uint8_t protocol);

/* What to tell a user, in lower case and without a full stop; "unknown" for a bad value. */
const char *foyer_registry_problem_text(enum foyer_registry_problem problem);
const char *foyer_registry_source_name(enum foyer_registry_source source);

#endif
