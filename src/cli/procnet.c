#define _GNU_SOURCE /* memrchr */

#include "cli/procnet.h"

#include <string.h>

/* A line under way. Nothing is terminated: everything compares with end. */
struct cursor {
    const char *at, *end;
};

static void skip_spaces(struct cursor *cursor)
{
    while (cursor->at < cursor->end && *cursor->at == ' ')
        cursor->at++;
}

static bool skip_character(struct cursor *cursor, char c)
{
    if (cursor->at == cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

/* Passes over a field of any content, and the spaces before it. */
static bool skip_field(struct cursor *cursor)
{
    skip_spaces(cursor);
    const char *begin = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != ' ')
        cursor->at++;
    return cursor->at > begin;
}

static bool skip_fields(struct cursor *cursor, int count)
{
    while (count > 0 && skip_field(cursor))
        count--;
    return count == 0;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* Exactly `digits` hexadecimal digits, at most 8. */
static bool read_hex(struct cursor *cursor, unsigned digits, uint32_t *ret_value)
{
    uint32_t value = 0;
    if ((size_t)(cursor->end - cursor->at) < digits)
        return false;
    for (unsigned i = 0; i < digits; i++) {
        int digit = digit_value(*cursor->at++);
        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *ret_value = value;
    return true;
}

static bool read_decimal(struct cursor *cursor, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    skip_spaces(cursor);
    const char *begin = cursor->at;
    for (; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++) {
        unsigned digit = (unsigned)(*cursor->at - '0');
        if (digit > max || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return cursor->at > begin;
}

/* "0100007F:1F90", or four such words for IPv6. */
static bool read_endpoint(struct cursor *cursor, struct foyer_endpoint *ret_endpoint)
{
    uint32_t words[4];
    unsigned count = 0;
    uint32_t port;
    skip_spaces(cursor);
    while (count < 4 && cursor->at < cursor->end && *cursor->at != ':') {
        if (!read_hex(cursor, 8, &words[count++]))
            return false;
    }
    if ((count != 1 && count != 4) || !skip_character(cursor, ':') || !read_hex(cursor, 4, &port))
        return false;
    *ret_endpoint = (struct foyer_endpoint){.port = (uint16_t)port};
    if (count == 1) {
        ret_endpoint->addr = foyer_addr_v4(0, 0, 0, 0);
        memcpy(ret_endpoint->addr.bytes + 12, words, 4);
    } else {
        memcpy(ret_endpoint->addr.bytes, words, 16);
    }
    return true;
}

static bool read_line(struct cursor cursor, struct procnet_entry *ret_entry)
{
    struct procnet_entry entry;
    uint32_t state;
    uint64_t uid;
    memset(&entry, 0, sizeof(entry));
    if (!skip_field(&cursor) || cursor.at[-1] != ':' || !read_endpoint(&cursor, &entry.local) ||
        !read_endpoint(&cursor, &entry.remote))
        return false;
    skip_spaces(&cursor);
    if (!read_hex(&cursor, 2, &state) || state == 0 || state >= PROCNET_STATE_COUNT)
        return false;
    /* Queues, timer, retransmissions. */
    if (!skip_fields(&cursor, 3))
        return false;
    if (!read_decimal(&cursor, UINT32_MAX, &uid) || !skip_field(&cursor) ||
        !read_decimal(&cursor, UINT64_MAX, &entry.inode))
        return false;
    if (cursor.at < cursor.end && *cursor.at != ' ')
        return false;
    entry.state = (uint8_t)state;
    entry.uid = (uint32_t)uid;
    *ret_entry = entry;
    return true;
}

void procnet_reader_init(struct procnet_reader *reader, const char *bytes, size_t size)
{
    *reader = (struct procnet_reader){.bytes = bytes, .size = size};
}

/* The next line without its newline; false at the end. */
static bool next_line(struct procnet_reader *reader, struct cursor *ret_line)
{
    if (reader->offset >= reader->size)
        return false;
    const char *begin = reader->bytes + reader->offset;
    size_t left = reader->size - reader->offset;
    const char *newline = memchr(begin, '\n', left);
    const char *end = newline != NULL ? newline : begin + left;
    reader->offset += (size_t)(end - begin) + (newline != NULL);
    *ret_line = (struct cursor){.at = begin, .end = end};
    return true;
}

bool procnet_reader_next(struct procnet_reader *reader, struct procnet_entry *ret_entry)
{
    struct cursor line;
    bool is_heading = reader->offset == 0;
    for (; next_line(reader, &line); is_heading = false) {
        if (is_heading)
            continue;
        if (read_line(line, ret_entry))
            return true;
        reader->skipped_count++;
    }
    return false;
}

const char *procnet_state_name(uint8_t state, bool is_udp)
{
    /* The names of RFC 9293 section 3.3.2, as foyerd writes them (docs/control.md). */
    static const char *const names[PROCNET_STATE_COUNT] = {
        [PROCNET_ESTABLISHED] = "ESTABLISHED",
        [PROCNET_SYN_SENT] = "SYN_SENT",
        [PROCNET_SYN_RECEIVED] = "SYN_RECEIVED",
        [PROCNET_FIN_WAIT_1] = "FIN_WAIT_1",
        [PROCNET_FIN_WAIT_2] = "FIN_WAIT_2",
        [PROCNET_TIME_WAIT] = "TIME_WAIT",
        [PROCNET_CLOSED] = "CLOSED",
        [PROCNET_CLOSE_WAIT] = "CLOSE_WAIT",
        [PROCNET_LAST_ACK] = "LAST_ACK",
        [PROCNET_LISTEN] = "LISTEN",
        [PROCNET_CLOSING] = "CLOSING",
        [PROCNET_NEW_SYN_RECEIVED] = "SYN_RECEIVED",
    };
    if (is_udp && state == PROCNET_CLOSED)
        return "UNCONNECTED";
    return state < PROCNET_STATE_COUNT && names[state] != NULL ? names[state] : "UNKNOWN";
}

bool procnet_parse_stat(const char *bytes, size_t size, uint64_t *ret_start_ticks)
{
    /* "pid (name) state ..."; the name ends at the last parenthesis, whatever is in it. */
    const char *close = memrchr(bytes, ')', size);
    if (close == NULL)
        return false;
    struct cursor cursor = {.at = close + 1, .end = bytes + size};
    /* proc_pid_stat(5): after the name (2) come 19 fields before starttime (22). */
    if (!skip_fields(&cursor, 19))
        return false;
    return read_decimal(&cursor, UINT64_MAX, ret_start_ticks);
}

bool procnet_parse_boot_time(const char *bytes, size_t size, uint64_t *ret_time_s)
{
    struct procnet_reader reader;
    struct cursor line;
    procnet_reader_init(&reader, bytes, size);
    while (next_line(&reader, &line)) {
        if (line.end - line.at > 6 && memcmp(line.at, "btime ", 6) == 0) {
            line.at += 6;
            return read_decimal(&line, INT64_MAX, ret_time_s);
        }
    }
    return false;
}

bool procnet_parse_socket_link(const char *text, uint64_t *ret_inode)
{
    static const char prefix[] = "socket:[";
    uint64_t inode;
    size_t size = strlen(text);
    if (size < sizeof(prefix) || memcmp(text, prefix, sizeof(prefix) - 1) != 0)
        return false;
    struct cursor cursor = {.at = text + sizeof(prefix) - 1, .end = text + size};
    if (cursor.at == cursor.end || *cursor.at == ' ' ||
        !read_decimal(&cursor, UINT64_MAX, &inode) || !skip_character(&cursor, ']') ||
        cursor.at != cursor.end)
        return false;
    *ret_inode = inode;
    return true;
}
