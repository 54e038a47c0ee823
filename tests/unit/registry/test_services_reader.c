#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "registry/services_reader.h"

#define PROBLEM(what) FOYER_SERVICES_PROBLEM, FOYER_REGISTRY_PROBLEM_##what, 0, 0, 0, NULL
#define NOTHING FOYER_SERVICES_END, 0, 0, 0, 0, NULL
#define RECORD(first, last, protocols, words)                                                      \
    FOYER_SERVICES_RECORD, 0, first, last, protocols, words

/* One input, and what the first call makes of it. */
static const struct {
    const char *input;
    enum foyer_services_status status;
    enum foyer_registry_problem problem;
    uint16_t port_first;
    uint16_t port_last;
    uint8_t protocols;
    const char *words; /* name and aliases, separated by blanks */
} cases[] = {
    {"http 80/tcp", RECORD(80, 80, 1, "http")},
    {"http\t80/TCP\twww  web # comment", RECORD(80, 80, 1, "http www web")},
    {"  http 80/tcp\r\n", RECORD(80, 80, 1, "http")},
    {"\xef\xbb\xbfhttp 80/tcp\n", RECORD(80, 80, 1, "http")},
    {"x 9/tcp/udp/sctp/dccp", RECORD(9, 9, 15, "x")},
    {"x 9/tcp/tcp", RECORD(9, 9, 1, "x")},
    {"x 1-65535/udp", RECORD(1, 65535, 2, "x")},
    {"x 7-7/udp", RECORD(7, 7, 2, "x")},
    {"x 00080/udp", RECORD(80, 80, 2, "x")},
    {"whois++ 63/tcp", RECORD(63, 63, 1, "whois++")},
    {"x 1/tcp y#z", RECORD(1, 1, 1, "x y")},
    {"x 1/ddp/tcp", RECORD(1, 1, 1, "x")},
    {"# a\n\n \t\r\nx 1/tcp", RECORD(1, 1, 1, "x")},
    {"rtmp 1/ddp\nx 2/tcp", RECORD(2, 2, 1, "x")},
    {"", NOTHING},
    {"\n\n", NOTHING},
    {"# nothing", NOTHING},
    {"rtmp 1/ddp", NOTHING},
    {"\xef\xbb\xbf", NOTHING},
    {"80 80/tcp", PROBLEM(NAME)},
    {"h\xc3\xa9 80/tcp", PROBLEM(NAME)},
    {"a\033[2J 80/tcp", PROBLEM(NAME)},
    {"x", PROBLEM(NO_PORT)},
    {"x # 80/tcp", PROBLEM(NO_PORT)},
    {"x /tcp", PROBLEM(PORT)},
    {"x 0/tcp", PROBLEM(PORT)},
    {"x 65536/tcp", PROBLEM(PORT)},
    {"x 4294967376/tcp", PROBLEM(PORT)}, /* 2^32 + 80 */
    {"x 99999999999999999999999/tcp", PROBLEM(PORT)},
    {"x -1/tcp", PROBLEM(PORT)},
    {"x +1/tcp", PROBLEM(PORT)},
    {"x 1-/tcp", PROBLEM(PORT)},
    {"x 1-2-3/tcp", PROBLEM(PORT)},
    {"x 8o/tcp", PROBLEM(PORT)},
    {"x 9-8/tcp", PROBLEM(RANGE)},
    {"x 9", PROBLEM(NO_PROTOCOL)},
    {"x 9/", PROBLEM(NO_PROTOCOL)},
    {"x 9/tpc", PROBLEM(PROTOCOL)},
    {"x 9/tc", PROBLEM(PROTOCOL)},
    {"x 9/tcpp", PROBLEM(PROTOCOL)},
    {"x 9/tcp/", PROBLEM(PROTOCOL)},
    {"x 9//tcp", PROBLEM(PROTOCOL)},
    {"x 9/tcp 10", PROBLEM(ALIAS)},
};

static void join(const struct foyer_services_record *record, char *buffer, size_t capacity)
{
    int n = snprintf(buffer, capacity, "%.*s", (int)record->name.size, record->name.bytes);
    for (size_t i = 0; i < record->alias_count; i++) {
        n += snprintf(buffer + n, capacity - (size_t)n, " %.*s", (int)record->aliases[i].size,
                      record->aliases[i].bytes);
    }
}

static void first_line_is_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct foyer_services_reader reader;
        struct foyer_services_record record = {0};
        enum foyer_registry_problem problem = FOYER_REGISTRY_PROBLEM_NONE;
        char words[256] = "";
        print_message("case %zu: %s\n", i, cases[i].input);
        foyer_services_reader_init(&reader, cases[i].input, strlen(cases[i].input));
        assert_int_equal(foyer_services_reader_next(&reader, &record, &problem), cases[i].status);
        assert_int_equal(problem, cases[i].problem);
        assert_int_equal(record.port_first, cases[i].port_first);
        assert_int_equal(record.port_last, cases[i].port_last);
        assert_int_equal(record.protocols, cases[i].protocols);
        if (cases[i].words) {
            join(&record, words, sizeof(words));
            assert_string_equal(words, cases[i].words);
        }
    }
}

static void lines_are_counted_across_problems(void **state)
{
    (void)state;
    static const char input[] = "# one\nbad\n\ngood 4/tcp\nworse 5\nlast 6/udp";
    static const struct {
        enum foyer_services_status status;
        uint32_t line;
    } expected[] = {
        {FOYER_SERVICES_PROBLEM, 2}, {FOYER_SERVICES_RECORD, 4}, {FOYER_SERVICES_PROBLEM, 5},
        {FOYER_SERVICES_RECORD, 6},  {FOYER_SERVICES_END, 6},    {FOYER_SERVICES_END, 6},
    };
    struct foyer_services_reader reader;
    foyer_services_reader_init(&reader, input, sizeof(input) - 1);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct foyer_services_record record;
        enum foyer_registry_problem problem;
        assert_int_equal(foyer_services_reader_next(&reader, &record, &problem),
                         expected[i].status);
        assert_int_equal(reader.line, expected[i].line);
    }
}

static enum foyer_registry_problem problem_of(const char *bytes, size_t size)
{
    struct foyer_services_reader reader;
    struct foyer_services_record record;
    enum foyer_registry_problem problem = FOYER_REGISTRY_PROBLEM_NONE;
    foyer_services_reader_init(&reader, bytes, size);
    (void)foyer_services_reader_next(&reader, &record, &problem);
    return problem;
}

static void limits_hold_at_their_edges(void **state)
{
    (void)state;
    char line[4096];
    size_t size;

    for (size_t extra = 0; extra <= 1; extra++) {
        memset(line, 'n', FOYER_REGISTRY_NAME_SIZE_MAX + extra);
        size = FOYER_REGISTRY_NAME_SIZE_MAX + extra;
        memcpy(line + size, " 1/tcp", 6);
        assert_int_equal(problem_of(line, size + 6),
                         extra ? FOYER_REGISTRY_PROBLEM_NAME : FOYER_REGISTRY_PROBLEM_NONE);

        memcpy(line, "x 1/tcp", 7);
        size = 7;
        for (size_t i = 0; i < FOYER_SERVICES_ALIAS_COUNT_MAX + extra; i++, size += 2) {
            memcpy(line + size, " y", 2);
        }
        assert_int_equal(problem_of(line, size), extra ? FOYER_REGISTRY_PROBLEM_TOO_MANY_ALIASES
                                                       : FOYER_REGISTRY_PROBLEM_NONE);

        memset(line + 7, ' ', sizeof(line) - 7);
        assert_int_equal(problem_of(line, FOYER_SERVICES_LINE_SIZE_MAX + extra),
                         extra ? FOYER_REGISTRY_PROBLEM_LINE_TOO_LONG
                               : FOYER_REGISTRY_PROBLEM_NONE);
    }
    /* A long comment is nobody's problem. */
    line[7] = '#';
    assert_int_equal(problem_of(line, sizeof(line)), FOYER_REGISTRY_PROBLEM_NONE);
}

static void zero_bytes_end_nothing(void **state)
{
    (void)state;
    static const char input[] = "a\0b 1/tcp";
    static const char alias[] = "a 1/tcp b\0";
    static const char protocol[] = "a 1/tcp\0";
    assert_int_equal(problem_of(input, sizeof(input) - 1), FOYER_REGISTRY_PROBLEM_NAME);
    assert_int_equal(problem_of(alias, sizeof(alias) - 1), FOYER_REGISTRY_PROBLEM_ALIAS);
    assert_int_equal(problem_of(protocol, sizeof(protocol) - 1), FOYER_REGISTRY_PROBLEM_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_line_is_understood),
        cmocka_unit_test(lines_are_counted_across_problems),
        cmocka_unit_test(limits_hold_at_their_edges),
        cmocka_unit_test(zero_bytes_end_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
