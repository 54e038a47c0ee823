/* The kernel's socket tables and process facts, as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/procnet.h"

#define HEADING                                                                                    \
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "  \
    "inode\n"

/* A word as the kernel prints four bytes in network order. */
static uint32_t word(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    const uint8_t bytes[4] = {a, b, c, d};
    uint32_t value;
    memcpy(&value, bytes, 4);
    return value;
}

static void reads_ipv4(void **state)
{
    (void)state;
    char text[1024];
    struct procnet_reader reader;
    struct procnet_entry entry;
    int size =
        snprintf(text, sizeof(text),
                 HEADING "   0: %08X:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  "
                         "1000        0 51234 1 0000000000000000 100 0 0 10 0\n"
                         "  11: %08X:D431 %08X:0050 01 00000000:00000000 02:000004FE 00000000     "
                         "0        0 18446744073709551615\n",
                 word(127, 0, 0, 1), word(10, 1, 2, 3), word(192, 0, 2, 80));
    procnet_reader_init(&reader, text, (size_t)size);
    assert_true(procnet_reader_next(&reader, &entry));
    struct foyer_addr loopback = foyer_addr_v4(127, 0, 0, 1);
    assert_true(foyer_addr_eq(&entry.local.addr, &loopback));
    assert_int_equal(entry.local.port, 8080);
    assert_true(foyer_addr_is_any(&entry.remote.addr));
    assert_int_equal(entry.remote.port, 0);
    assert_int_equal(entry.state, PROCNET_LISTEN);
    assert_int_equal(entry.uid, 1000);
    assert_int_equal(entry.inode, 51234);
    assert_true(procnet_reader_next(&reader, &entry));
    struct foyer_addr remote = foyer_addr_v4(192, 0, 2, 80);
    assert_true(foyer_addr_eq(&entry.remote.addr, &remote));
    assert_int_equal(entry.local.port, 0xd431);
    assert_int_equal(entry.remote.port, 80);
    assert_int_equal(entry.state, PROCNET_ESTABLISHED);
    assert_true(entry.inode == UINT64_MAX);
    assert_false(procnet_reader_next(&reader, &entry));
    assert_int_equal(reader.skipped_count, 0);
}

static void reads_ipv6(void **state)
{
    (void)state;
    char text[1024];
    struct procnet_reader reader;
    struct procnet_entry entry;
    int size =
        snprintf(text, sizeof(text),
                 HEADING "   0: %08X%08X%08X%08X:0035 00000000000000000000000000000000:0000 07 "
                         "00000000:00000000 00:00000000 00000000     0        0 7\n",
                 word(0xfd, 0, 0, 1), word(0, 0, 0, 0), word(0, 0, 0, 0), word(0, 0, 0, 2));
    procnet_reader_init(&reader, text, (size_t)size);
    assert_true(procnet_reader_next(&reader, &entry));
    const struct foyer_addr addr = {{0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
    assert_true(foyer_addr_eq(&entry.local.addr, &addr));
    assert_int_equal(entry.local.port, 53);
    assert_true(foyer_addr_is_any(&entry.remote.addr));
    assert_false(foyer_addr_is_v4(&entry.remote.addr));
}

#define GOOD "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 5"

static void skips_what_is_no_socket(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "0:",
        "garbage",
        "0 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 5",  /* no colon */
        "0: 0100007:0050 00000000:0000 0A 0:0 0:0 0 0 0 5",  /* a digit short */
        "0: 0100007G:0050 00000000:0000 0A 0:0 0:0 0 0 0 5", /* no digit */
        "0: 0100007F:005 00000000:0000 0A 0:0 0:0 0 0 0 5",
        "0: 0100007F0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 5", /* two words */
        "0: 0100007F0100007F0100007F0100007F0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 5",
        "0: 0100007F:0050 00000000:0000 00 0:0 0:0 0 0 0 5", /* no such state */
        "0: 0100007F:0050 00000000:0000 0D 0:0 0:0 0 0 0 5",
        "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 4294967296 0 5", /* no uid */
        "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 -1 0 5",
        "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 18446744073709551616",
        "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 5x",
        "0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[512];
        struct procnet_reader reader;
        struct procnet_entry entry;
        int size = snprintf(text, sizeof(text), "%s%s\n%s", HEADING, lines[i], GOOD);
        procnet_reader_init(&reader, text, (size_t)size);
        assert_true(procnet_reader_next(&reader, &entry));
        assert_int_equal(entry.inode, 5);
        assert_int_equal(reader.skipped_count, 1);
        assert_false(procnet_reader_next(&reader, &entry));
    }
}

/* A line that ends early is never read as another socket. */
static void cut_off_at_every_length(void **state)
{
    (void)state;
    const size_t whole = strlen(HEADING GOOD);
    for (size_t size = 0; size <= whole; size++) {
        struct procnet_reader reader;
        struct procnet_entry entry;
        procnet_reader_init(&reader, HEADING GOOD, size);
        assert_int_equal(procnet_reader_next(&reader, &entry), size == whole);
    }
}

static void state_names(void **state)
{
    (void)state;
    assert_string_equal(procnet_state_name(PROCNET_LISTEN, false), "LISTEN");
    assert_string_equal(procnet_state_name(PROCNET_CLOSED, false), "CLOSED");
    assert_string_equal(procnet_state_name(PROCNET_CLOSED, true), "UNCONNECTED");
    assert_string_equal(procnet_state_name(0, false), "UNKNOWN");
    assert_string_equal(procnet_state_name(255, true), "UNKNOWN");
    for (uint8_t i = 1; i < PROCNET_STATE_COUNT; i++)
        assert_string_not_equal(procnet_state_name(i, false), "UNKNOWN");
}

static void start_of_a_process(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
        uint64_t ticks;
    } cases[] = {
        {"7 (sh) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 9 9\n", true, 12345},
        /* Names are anything: this one pretends to be the rest of the line. */
        {"7 (a) S 1 (b c) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99 9\n", true, 99},
        {"7 (sh) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0", false, 0},
        {"7 (sh) S 1 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 x", false, 0},
        {"7 (sh", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t ticks = 0;
        assert_int_equal(procnet_parse_stat(cases[i].text, strlen(cases[i].text), &ticks),
                         cases[i].is_good);
        assert_int_equal(ticks, cases[i].ticks);
    }
}

static void boot_time(void **state)
{
    (void)state;
    static const char good[] = "cpu 1 2\nxbtime 5\nbtime 1795255331\nprocesses 9\n";
    uint64_t time_s = 0;
    assert_true(procnet_parse_boot_time(good, sizeof(good) - 1, &time_s));
    assert_int_equal(time_s, 1795255331);
    assert_false(procnet_parse_boot_time(good, 15, &time_s));
    assert_false(procnet_parse_boot_time("btime x\n", 8, &time_s));
    assert_false(procnet_parse_boot_time("btime ", 6, &time_s));
}

static void socket_links(void **state)
{
    (void)state;
    static const char *const bad[] = {"socket:[",    "socket:[]", "socket:[5",
                                      "socket:[5]x", "pipe:[5]",  "socket:[ 5]",
                                      "socket:[-5]", "",          "socket:[18446744073709551616]"};
    uint64_t inode = 0;
    assert_true(procnet_parse_socket_link("socket:[51234]", &inode));
    assert_int_equal(inode, 51234);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(procnet_parse_socket_link(bad[i], &inode));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_ipv4),
        cmocka_unit_test(reads_ipv6),
        cmocka_unit_test(skips_what_is_no_socket),
        cmocka_unit_test(cut_off_at_every_length),
        cmocka_unit_test(state_names),
        cmocka_unit_test(start_of_a_process),
        cmocka_unit_test(boot_time),
        cmocka_unit_test(socket_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
