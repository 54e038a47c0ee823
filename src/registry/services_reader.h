/*
 * Reads the services(5) format, one record at a time. A pure function over bytes: no allocation,
 * no files, no state besides the reader, so that it can be fuzzed as it is.
 *
 * Called by services_table.c. The format is described at foyer_registry_load_bytes.
 */
#ifndef FOYER_REGISTRY_SERVICES_READER_H
#define FOYER_REGISTRY_SERVICES_READER_H

#include <stddef.h>
#include <stdint.h>

#include "registry/registry.h"

/* Longest line, comment not counted. */
#define FOYER_SERVICES_LINE_SIZE_MAX 1024u
#define FOYER_SERVICES_ALIAS_COUNT_MAX 32u

/* Part of the input; not NUL-terminated. */
struct foyer_services_span {
    const char *bytes;
    size_t size;
};

struct foyer_services_record {
    struct foyer_services_span name;
    uint16_t port_first;
    uint16_t port_last; /* >= port_first >= 1 */
    uint8_t protocols;  /* never empty */
    uint32_t line;
    size_t alias_count;
    struct foyer_services_span aliases[FOYER_SERVICES_ALIAS_COUNT_MAX];
};

struct foyer_services_reader {
    const char *bytes; /* borrowed for the reader's life */
    size_t size;
    size_t offset;
    uint32_t line; /* of the record or problem given last, counted from 1 */
};

enum foyer_services_status {
    FOYER_SERVICES_END,
    FOYER_SERVICES_RECORD,
    FOYER_SERVICES_PROBLEM, /* the line was skipped; reading can go on */
};

/* `bytes` is borrowed; NULL is allowed if size is 0. */
void foyer_services_reader_init(struct foyer_services_reader *reader, const char *bytes,
                                size_t size);

/*
 * Give the next record, passing over blank lines, comments and foreign protocols.
 *
 * ret_record: written for FOYER_SERVICES_RECORD only; its spans point into the input.
 * ret_problem: written for FOYER_SERVICES_PROBLEM only.
 */
enum foyer_services_status foyer_services_reader_next(struct foyer_services_reader *reader,
                                                      struct foyer_services_record *ret_record,
                                                      enum foyer_registry_problem *ret_problem);

/* Bit of the protocol of that name in any case, or 0. */
uint8_t foyer_services_protocol_bit(struct foyer_services_span name);

/* An ASCII capital as its small letter, anything else as it is; the locale has no say. */
static inline char foyer_services_fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

#endif
