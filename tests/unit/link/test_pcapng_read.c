/* link/pcapng_read: what the writer writes, the other byte order, time units, broken files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "link/memory.h"
#include "link/pcapng.h"
#include "link/pcapng_read.h"

/* ---- a file by hand, in big-endian order or the other ---------------------------------------- */

static uint8_t file[4096];
static size_t file_size;
static bool is_big;

static void put16(uint16_t value)
{
    value = is_big ? __builtin_bswap16(value) : value; /* the test runs on little-endian too */
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        value = __builtin_bswap16(value);
    memcpy(file + file_size, &value, 2);
    file_size += 2;
}

static void put32(uint32_t value)
{
    put16((uint16_t)(is_big ? value >> 16 : value));
    put16((uint16_t)(is_big ? value : value >> 16));
}

static size_t begin(uint32_t type)
{
    put32(type);
    put32(0);
    return file_size - 8;
}

static void end(size_t block)
{
    while (file_size % 4 != 0)
        file[file_size++] = 0;
    uint32_t size = (uint32_t)(file_size + 4 - block);
    put32(size);
    size_t after = file_size;
    file_size = block + 4;
    put32(size);
    file_size = after;
}

static void put_section(bool big)
{
    is_big = big;
    size_t block = begin(0x0a0d0d0a);
    put32(0x1a2b3c4d);
    put16(1), put16(0);
    put32(UINT32_MAX), put32(UINT32_MAX);
    end(block);
}

static void put_interface(uint16_t link_type, uint32_t snap_size, uint8_t resolution,
                          uint32_t offset_s)
{
    size_t block = begin(1);
    put16(link_type), put16(0);
    put32(snap_size);
    put16(9), put16(1);
    file[file_size++] = resolution;
    end(block);
    /* The option list goes on: take the length back off and append. */
    file_size -= 4;
    put16(14), put16(8);
    put32(is_big ? 0 : offset_s), put32(is_big ? offset_s : 0);
    put16(0), put16(0);
    end(block);
}

static void put_frame(uint32_t interface, uint64_t units, uint32_t captured, uint32_t original,
                      uint32_t flags)
{
    size_t block = begin(6);
    put32(interface);
    put32((uint32_t)(units >> 32)), put32((uint32_t)units);
    put32(captured), put32(original);
    for (uint32_t i = 0; i < captured; i++)
        file[file_size++] = (uint8_t)(i + 1);
    while (file_size % 4 != 0)
        file[file_size++] = 0;
    put16(2), put16(4), put32(flags);
    put16(0), put16(0);
    end(block);
}

static void start_file(bool big)
{
    file_size = 0;
    put_section(big);
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void both_byte_orders(void **state)
{
    (void)state;
    for (int big = 0; big < 2; big++) {
        start_file(big != 0);
        put_interface(1, 0, 9, 0);
        size_t unknown = begin(0x0bad1dea);
        put32(1);
        end(unknown);
        put_frame(0, (1ULL << 40) + 5, 17, 17, 2);
        struct pcapng_reader reader;
        struct pcapng_frame frame;
        pcapng_reader_init(&reader, file, file_size);
        assert_int_equal(pcapng_read(&reader, &frame), 1);
        assert_true(frame.time_ns == (1ULL << 40) + 5);
        assert_int_equal(frame.size, 17);
        assert_int_equal(frame.bytes[16], 17);
        assert_int_equal(frame.direction, PCAPNG_OUTBOUND);
        assert_int_equal(pcapng_read(&reader, &frame), 0);
        assert_int_equal(pcapng_read(&reader, &frame), 0);
    }
}

static void time_units(void **state)
{
    (void)state;
    static const struct {
        uint8_t resolution;
        uint64_t units;
        uint32_t offset_s;
        foyer_time_ns expected;
    } rows[] = {
        {6, 1500000, 0, 1500000000},
        {9, 1500000000, 10, 11500000000},
        {0, 3, 0, 3000000000},
        {12, 1500000000000, 0, 1500000000},
        {0x80 | 1, 3, 0, 1500000000},
        {0x80 | 32, 3ULL << 31, 0, 1500000000},
        {0x80 | 63, 3ULL << 62, 0, 1500000000},
        {19, 15000000000000000000ULL, 0, 1500000000},
        {20, 1, 0, 0},         /* finer than a 64-bit count of a second */
        {0, UINT64_MAX, 0, 0}, /* 2^64 seconds are more than nanoseconds can tell */
        {0x80 | 127, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        start_file(true);
        put_interface(1, 0, rows[i].resolution, rows[i].offset_s);
        put_frame(0, rows[i].units, 4, 4, 0);
        struct pcapng_reader reader;
        struct pcapng_frame frame;
        pcapng_reader_init(&reader, file, file_size);
        assert_int_equal(pcapng_read(&reader, &frame), 1);
        if (frame.time_ns != rows[i].expected)
            fail_msg("row %zu: %llu", i, (unsigned long long)frame.time_ns);
    }
}

/* A second section begins anew: its byte order, its interfaces. */
static void sections_interfaces_and_what_is_passed_over(void **state)
{
    (void)state;
    start_file(false);
    put_interface(113, 0, 9, 0); /* Linux cooked */
    put_interface(1, 20, 9, 0);
    put_frame(0, 1, 16, 16, 0);
    put_frame(1, 2, 16, 60, 0); /* cut short */
    put_frame(1, 3, 16, 16, 1);
    put_section(true);
    put_interface(1, 20, 9, 0);
    size_t simple = begin(3);
    put32(6);
    memcpy(file + file_size, "simple", 6);
    file_size += 6;
    end(simple);
    simple = begin(3);
    put32(60); /* cut to the interface's 20 */
    file_size += 20;
    end(simple);

    struct pcapng_reader reader;
    struct pcapng_frame frame;
    pcapng_reader_init(&reader, file, file_size);
    assert_int_equal(pcapng_read(&reader, &frame), 1);
    assert_true(frame.time_ns == 3);
    assert_int_equal(frame.interface, 1);
    assert_int_equal(frame.direction, PCAPNG_INBOUND);
    assert_int_equal(pcapng_read(&reader, &frame), 1);
    assert_int_equal(frame.size, 6);
    assert_memory_equal(frame.bytes, "simple", 6);
    assert_int_equal(pcapng_read(&reader, &frame), 0);
    assert_int_equal(reader.skipped, 3);
}

/* Every prefix, and every byte spoilt in turn, in memory of just that size. */
static void broken_files(void **state)
{
    (void)state;
    start_file(false);
    put_interface(1, 0, 9, 7);
    put_frame(0, 1, 5, 5, 0);
    size_t block_ends[] = {0, 28, 28 + 44, 0};
    block_ends[3] = file_size;
    for (size_t size = 0; size < file_size; size++) {
        uint8_t *copy = malloc(size > 0 ? size : 1);
        assert_non_null(copy);
        memcpy(copy, file, size);
        struct pcapng_reader reader;
        struct pcapng_frame frame;
        pcapng_reader_init(&reader, copy, size);
        int expected = -EINVAL;
        for (size_t i = 1; i < 4; i++)
            expected = size == block_ends[i] ? 0 : expected;
        assert_int_equal(pcapng_read(&reader, &frame), expected);
        free(copy);
    }
    for (size_t at = 0; at < file_size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            uint8_t *copy = malloc(file_size);
            assert_non_null(copy);
            memcpy(copy, file, file_size);
            copy[at] ^= (uint8_t)(1 << bit);
            struct pcapng_reader reader;
            struct pcapng_frame frame;
            pcapng_reader_init(&reader, copy, file_size);
            while (pcapng_read(&reader, &frame) > 0)
                assert_true(frame.bytes + frame.size <= copy + file_size);
            free(copy);
        }
    }
}

static void record_two(const char *path)
{
    struct link *a, *b, *recorded;
    struct link_memory_config config = {0};
    struct pcapng_writer writer;
    assert_int_equal(pcapng_open(&writer, path, "lan0"), 0);
    assert_int_equal(link_memory_create(&config, &a, &b), 0);
    assert_int_equal(link_pcapng_create(a, &writer, 1ULL << 50, &recorded), 0);
    struct foyer_packet packet = {.spans = {{(const uint8_t *)"one", 3}}, .span_count = 1}, got;
    assert_int_equal(link_send(b, &packet, 1, 100), 1);
    assert_int_equal(link_receive(recorded, &got, 1, 100), 1);
    packet.spans[0].base = (const uint8_t *)"out";
    assert_int_equal(link_send(recorded, &packet, 1, 150), 1);
    packet.spans[0].base = (const uint8_t *)"two";
    assert_int_equal(link_send(b, &packet, 1, 400), 1);
    assert_int_equal(link_receive(recorded, &got, 1, 400), 1);
    link_close(recorded);
    link_close(b);
}

static void replay_in_time(void **state)
{
    (void)state;
    char path[] = "/tmp/foyer-replay-XXXXXX";
    close(mkstemp(path));
    record_two(path);
    struct link *link;
    struct foyer_packet got[4];
    struct link_replay_config config = {0};
    assert_int_equal(link_replay_open(path, &config, &link), 0);
    assert_int_equal(link_fd(link), -1);
    assert_true(link_deadline(link) == 0);
    assert_int_equal(link_receive(link, got, 4, 7000), 1);
    assert_memory_equal(got[0].spans[0].base, "one", 3);
    assert_true(got[0].arrival_ns == 7000);
    assert_true(link_deadline(link) == 7300);
    assert_int_equal(link_send(link, got, 1, 7200), 1);
    assert_int_equal(link_receive(link, got, 4, 7299), 0);
    assert_int_equal(link_receive(link, got, 4, 7310), 1);
    assert_memory_equal(got[0].spans[0].base, "two", 3);
    assert_true(got[0].arrival_ns == 7300);
    assert_int_equal(link_receive(link, got, 4, 7310), -EPIPE);
    link_close(link);

    config = (struct link_replay_config){.at_once = true};
    assert_int_equal(link_replay_open(path, &config, &link), 0);
    assert_int_equal(link_receive(link, got, 4, 5), 2);
    link_close(link);

    config = (struct link_replay_config){.outbound = true};
    assert_int_equal(link_replay_open(path, &config, &link), 0);
    assert_int_equal(link_receive(link, got, 4, 5), 1);
    assert_memory_equal(got[0].spans[0].base, "out", 3);
    link_close(link);
    unlink(path);
}

static void no_file(void **state)
{
    (void)state;
    struct link *link;
    struct link_replay_config config = {0};
    assert_int_equal(link_replay_open("/nonexistent/file", &config, &link), -ENOENT);
    assert_int_equal(link_replay_open("/dev/null", &config, &link), -EINVAL);
    assert_int_equal(link_replay_open("/tmp", &config, &link), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_byte_orders),
        cmocka_unit_test(time_units),
        cmocka_unit_test(sections_interfaces_and_what_is_passed_over),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(replay_in_time),
        cmocka_unit_test(no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
