/* Names, addresses, numbers, tables: what people type and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "cli/tap.h"
#include "cli/text.h"
#include "ipc/paths.h"

static void labels(void **state)
{
    (void)state;
    static const struct {
        const char *name, *label;
    } cases[] = {
        {"nginx", "nginx"},
        {"python3.11", "python3-11"},
        {"My_Server", "my-server"},
        {"--a--b--", "a-b"},
        {"", "program"},
        {"...", "program"},
        {"\xc3\xa9t\xc3\xa9", "t"},
        {"7", "p7"},
        {"a", "a"},
    };
    char label[FOYER_NAME_MAX], name[200];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text_label(label, cases[i].name);
        assert_string_equal(label, cases[i].label);
        assert_true(name_is_label(label));
    }
    /* Whatever a program is called, its host's name is valid: all lengths, at both ends. */
    for (size_t size = 1; size < sizeof(name) - 1; size++) {
        static const char fills[] = {'a', '7', '-', 'Z'};
        for (size_t f = 0; f < sizeof(fills); f++) {
            memset(name, fills[f], size);
            name[size] = '\0';
            text_label(label, name);
            assert_true(name_is_label(label));
            name[size - 1] = '.';
            text_label(label, name);
            assert_true(name_is_label(label));
            name[size / 2] = '.';
            text_label(label, name);
            assert_true(name_is_label(label));
        }
    }
}

static void safe_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *safe;
    } cases[] = {
        {"plain", "plain"},
        {"\x1b[31mred", "\\x1b[31mred"},
        {"a\nb\t", "a\\x0ab\\x09"},
        {"\x7f", "\\x7f"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* C1: control sequence introducer */
        {"\xe2\x80\xae"
         "txt",
         "\\xe2\\x80\\xaetxt"},                       /* right-to-left override */
        {"\xc3", "\\xc3"},                            /* cut off */
        {"\xc0\x8a", "\\xc0\\x8a"},                   /* a newline, written too long */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* above U+10FFFF */
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xff", "\\xff"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *safe = text_safe(cases[i].text);
        assert_non_null(safe);
        assert_string_equal(safe, cases[i].safe);
        free(safe);
    }
    assert_int_equal(text_width("caf\xc3\xa9"), 4);
}

static void numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   "-1",  "+1",    " 1",
                                      "1 ", "0x1", "65536", "99999999999999999999"};
    uint64_t number = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(text_number(bad[i], 65535, &number));
        assert_int_equal(number, 7);
    }
    assert_true(text_number("65535", 65535, &number));
    assert_int_equal(number, 65535);
    assert_true(text_number("00080", 65535, &number));
    assert_int_equal(number, 80);
    assert_true(text_number("18446744073709551615", UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_true(text_number("0", 0, &number));
    assert_false(text_number("1", 0, &number));
}

static void networks(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "10.0.0.1",     "10.0.0.1/",  "10.0.0.1/33",
                                      "10.0.0/8",   "10.0.0.1/8/",  "fd00::/129", "/8",
                                      "10.0.0.1/x", "fd00::1%lo/64"};
    struct text_network network;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(text_network(bad[i], &network));
    assert_true(text_network("10.177.0.1/16", &network));
    assert_true(foyer_addr_is_v4(&network.addr));
    assert_int_equal(network.prefix, 16);
    assert_true(text_network("fd66:6f79:6572::1/128", &network));
    assert_false(foyer_addr_is_v4(&network.addr));
    assert_int_equal(network.prefix, 128);
}

static void endpoints(void **state)
{
    (void)state;
    char text[TEXT_ENDPOINT_SIZE];
    uint16_t port = 7;
    struct foyer_endpoint endpoint = {.addr = foyer_addr_v4(10, 0, 0, 2), .port = 80};
    text_format_endpoint(text, &endpoint);
    assert_string_equal(text, "10.0.0.2:80");
    memset(&endpoint.addr, 0xfe, sizeof(endpoint.addr));
    endpoint.port = 65535;
    text_format_endpoint(text, &endpoint);
    assert_string_equal(text, "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:65535");
    assert_true(text_endpoint_port(text, &port));
    assert_int_equal(port, 65535);
    memset(&endpoint.addr, 0, sizeof(endpoint.addr));
    text_format_endpoint(text, &endpoint);
    assert_string_equal(text, "[::]:65535");
    assert_true(text_endpoint_port("[::]:80", &port));
    assert_int_equal(port, 80);
    assert_false(text_endpoint_port("", &port));
    assert_false(text_endpoint_port("10.0.0.2", &port));
    assert_false(text_endpoint_port("10.0.0.2:65536", &port));
    assert_false(text_endpoint_port("10.0.0.2:", &port));
}

static void times(void **state)
{
    (void)state;
    char text[TEXT_TIME_SIZE];
    setenv("TZ", "UTC", 1);
    tzset();
    text_format_time(text, 1795255331);
    assert_string_equal(text, "2026-11-21 10:02:11");
    text_format_time(text, 0);
    assert_string_equal(text, "-");
    text_format_time(text, INT64_MAX);
    assert_string_equal(text, "-");
    text_format_duration(text, 59);
    assert_string_equal(text, "59 s");
    text_format_duration(text, 3599);
    assert_string_equal(text, "59 min 59 s");
    text_format_duration(text, 86399);
    assert_string_equal(text, "23 h 59 min");
    text_format_duration(text, 90000);
    assert_string_equal(text, "1 d 1 h");
}

static void table_is_aligned_and_safe(void **state)
{
    (void)state;
    static const char *const headings[] = {"A", "LONG", "C"};
    char *output = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&output, &size);
    struct table table;
    table_init(&table, 3, headings);
    table_add(&table, "wide\x1b");
    table_add(&table, "");
    table_add(&table, NULL);
    table_add(&table, "caf\xc3\xa9");
    table_add_format(&table, "%d", 12345);
    table_add(&table, "x");
    assert_int_equal(table_row_count(&table), 2);
    assert_int_equal(table_print(&table, file), 0);
    fclose(file);
    assert_string_equal(output, "A         LONG   C\n"
                                "wide\\x1b  -      -\n"
                                "caf\xc3\xa9      12345  x\n");
    free(output);
}

static void misspelt_commands(void **state)
{
    (void)state;
    assert_string_equal(cli_command_suggest("rnu"), "run");
    assert_string_equal(cli_command_suggest("prots"), "ports");
    assert_string_equal(cli_command_suggest("service"), "services");
    assert_string_equal(cli_command_suggest("stauts"), "status");
    assert_string_equal(cli_command_suggest("hosts"), "host");
    assert_null(cli_command_suggest("frobnicate"));
    assert_null(cli_command_suggest("xy"));
    assert_null(cli_command_suggest(""));
    assert_ptr_equal(cli_command_find("run"), &command_run);
    assert_null(cli_command_find("ru"));
}

static void interface_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", ".", "..", "a/b", "a:b", "tap%d", "a b", "abcdefghijklmnop", "\xc3\xa9", "a\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(tap_name_is_valid(bad[i]));
    assert_true(tap_name_is_valid("foyer0"));
    assert_true(tap_name_is_valid("abcdefghijklmno"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels),
        cmocka_unit_test(safe_text),
        cmocka_unit_test(numbers),
        cmocka_unit_test(networks),
        cmocka_unit_test(endpoints),
        cmocka_unit_test(times),
        cmocka_unit_test(table_is_aligned_and_safe),
        cmocka_unit_test(misspelt_commands),
        cmocka_unit_test(interface_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
