#include "registry/services_reader.h"

#include <stdbool.h>
#include <string.h>

static const char *const protocol_names[] = {"tcp", "udp", "sctp", "dccp"};

/* Protocols that real services files list and foyer will not carry: no reason to complain. */
static const char *const foreign_protocol_names[] = {"ddp", "udplite", "spx", "ipx", "divert"};

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c)
{
    char folded = foyer_services_fold(c);
    return folded >= 'a' && folded <= 'z';
}

static bool span_is(struct foyer_services_span span, const char *text)
{
    for (size_t i = 0; i < span.size; i++) {
        /* The text's NUL ends this too: it differs from every byte that a span can match. */
        if (text[i] == '\0' || foyer_services_fold(span.bytes[i]) != text[i]) {
            return false;
        }
    }
    return text[span.size] == '\0';
}

uint8_t foyer_services_protocol_bit(struct foyer_services_span name)
{
    for (size_t i = 0; i < ARRAY_COUNT(protocol_names); i++) {
        if (span_is(name, protocol_names[i])) {
            return (uint8_t)(1u << i);
        }
    }
    return 0;
}

static bool protocol_is_foreign(struct foyer_services_span name)
{
    for (size_t i = 0; i < ARRAY_COUNT(foreign_protocol_names); i++) {
        if (span_is(name, foreign_protocol_names[i])) {
            return true;
        }
    }
    return false;
}

/* Split off everything up to `separator`, which is consumed, or the whole of `rest`. */
static struct foyer_services_span split(struct foyer_services_span *rest, char separator)
{
    struct foyer_services_span head = *rest;
    const char *end = rest->size ? memchr(rest->bytes, separator, rest->size) : NULL;
    if (end) {
        head.size = (size_t)(end - rest->bytes);
        rest->bytes = end + 1;
        rest->size -= head.size + 1;
    } else {
        rest->bytes = rest->size ? rest->bytes + rest->size : rest->bytes;
        rest->size = 0;
    }
    return head;
}

/* The next word, of size 0 at the end of the line. */
static struct foyer_services_span split_word(struct foyer_services_span *rest)
{
    while (rest->size && is_blank(rest->bytes[0])) {
        rest->bytes++;
        rest->size--;
    }
    struct foyer_services_span word = {rest->bytes, 0};
    while (rest->size && !is_blank(rest->bytes[0])) {
        rest->bytes++;
        rest->size--;
        word.size++;
    }
    return word;
}

/*
 * Laxer than RFC 6335, section 5.1, because files hold older names such as "whois++"; but
 * printable ASCII only, so that a name can go to a terminal as it is, and with a letter in it, so
 * that it can't be taken for a port number.
 */
static bool name_is_acceptable(struct foyer_services_span name)
{
    bool has_letter = false;
    for (size_t i = 0; i < name.size; i++) {
        if (name.bytes[i] <= ' ' || name.bytes[i] > '~') {
            return false;
        }
        has_letter = has_letter || is_letter(name.bytes[i]);
    }
    return has_letter && name.size <= FOYER_REGISTRY_NAME_SIZE_MAX;
}

static bool port_parse(struct foyer_services_span text, uint16_t *ret_port)
{
    uint32_t port = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.bytes[i] - '0');
        if (port > UINT16_MAX) {
            return false;
        }
    }
    if (port == 0) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

/* "port[-last]" */
static enum foyer_registry_problem ports_parse(struct foyer_services_span text,
                                               struct foyer_services_record *record)
{
    bool is_range = text.size && memchr(text.bytes, '-', text.size);
    struct foyer_services_span first = split(&text, '-');
    if (!port_parse(first, &record->port_first)) {
        return FOYER_REGISTRY_PROBLEM_PORT;
    }
    record->port_last = record->port_first;
    if (is_range && !port_parse(text, &record->port_last)) {
        return FOYER_REGISTRY_PROBLEM_PORT;
    }
    return record->port_last < record->port_first ? FOYER_REGISTRY_PROBLEM_RANGE
                                                  : FOYER_REGISTRY_PROBLEM_NONE;
}

/* "protocol[/protocol...]"; leaves record->protocols empty if all of them are foreign. */
static enum foyer_registry_problem protocols_parse(struct foyer_services_span text,
                                                   struct foyer_services_record *record)
{
    if (text.size == 0) {
        return FOYER_REGISTRY_PROBLEM_NO_PROTOCOL;
    }
    if (text.bytes[text.size - 1] == '/') {
        return FOYER_REGISTRY_PROBLEM_PROTOCOL;
    }
    record->protocols = 0;
    while (text.size) {
        struct foyer_services_span name = split(&text, '/');
        uint8_t bit = foyer_services_protocol_bit(name);
        if (bit == 0 && !protocol_is_foreign(name)) {
            return FOYER_REGISTRY_PROBLEM_PROTOCOL;
        }
        record->protocols |= bit;
    }
    return FOYER_REGISTRY_PROBLEM_NONE;
}

/* A line that is known to have at least one word. */
static enum foyer_registry_problem line_parse(struct foyer_services_span line,
                                              struct foyer_services_record *record)
{
    if (line.size > FOYER_SERVICES_LINE_SIZE_MAX) {
        return FOYER_REGISTRY_PROBLEM_LINE_TOO_LONG;
    }
    record->name = split_word(&line);
    if (!name_is_acceptable(record->name)) {
        return FOYER_REGISTRY_PROBLEM_NAME;
    }
    struct foyer_services_span word = split_word(&line);
    if (word.size == 0) {
        return FOYER_REGISTRY_PROBLEM_NO_PORT;
    }
    enum foyer_registry_problem problem = ports_parse(split(&word, '/'), record);
    if (problem == FOYER_REGISTRY_PROBLEM_NONE) {
        problem = protocols_parse(word, record);
    }
    if (problem != FOYER_REGISTRY_PROBLEM_NONE) {
        return problem;
    }
    record->alias_count = 0;
    for (word = split_word(&line); word.size; word = split_word(&line)) {
        if (record->alias_count == FOYER_SERVICES_ALIAS_COUNT_MAX) {
            return FOYER_REGISTRY_PROBLEM_TOO_MANY_ALIASES;
        }
        if (!name_is_acceptable(word)) {
            return FOYER_REGISTRY_PROBLEM_ALIAS;
        }
        record->aliases[record->alias_count++] = word;
    }
    return FOYER_REGISTRY_PROBLEM_NONE;
}

void foyer_services_reader_init(struct foyer_services_reader *reader, const char *bytes,
                                size_t size)
{
    *reader = (struct foyer_services_reader){.bytes = bytes, .size = size};
    /* Editors on other systems put a byte order mark in front. */
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        reader->offset = 3;
    }
}

enum foyer_services_status foyer_services_reader_next(struct foyer_services_reader *reader,
                                                      struct foyer_services_record *ret_record,
                                                      enum foyer_registry_problem *ret_problem)
{
    while (reader->offset < reader->size) {
        struct foyer_services_span rest = {reader->bytes + reader->offset,
                                           reader->size - reader->offset};
        struct foyer_services_span line = split(&rest, '\n');
        reader->offset = reader->size - rest.size;
        reader->line++;
        line = split(&line, '#');

        struct foyer_services_span peek = line;
        if (split_word(&peek).size == 0) {
            continue;
        }
        struct foyer_services_record record;
        enum foyer_registry_problem problem = line_parse(line, &record);
        if (problem != FOYER_REGISTRY_PROBLEM_NONE) {
            *ret_problem = problem;
            return FOYER_SERVICES_PROBLEM;
        }
        if (record.protocols) {
            record.line = reader->line;
            *ret_record = record;
            return FOYER_SERVICES_RECORD;
        }
    }
    return FOYER_SERVICES_END;
}
