/* wire/tcp: the header, options in and out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/tcp.h"

static const struct wire_tcp plain = {
    .src_port = 49152,
    .dst_port = 80,
    .seq = {0xfffffffe},
    .ack = {0x01020304},
    .flags = WIRE_TCP_ACK | WIRE_TCP_PSH | WIRE_TCP_AE,
    .window = 0xbeef,
    .urgent = 3,
};

static void emit_then_parse(void **state)
{
    (void)state;
    uint8_t bytes[60];
    assert_int_equal(wire_tcp_emit(bytes, &plain, NULL), 20);
    struct wire_tcp tcp;
    assert_int_equal(wire_tcp_parse(bytes, 20, &tcp), 20);
    assert_int_equal(tcp.src_port, 49152);
    assert_int_equal(tcp.dst_port, 80);
    assert_true(seq_eq(tcp.seq, plain.seq));
    assert_true(seq_eq(tcp.ack, plain.ack));
    assert_int_equal(tcp.flags, plain.flags);
    assert_int_equal(tcp.window, 0xbeef);
    assert_int_equal(tcp.checksum, 0);
    assert_int_equal(tcp.urgent, 3);
    assert_int_equal(tcp.header_size, 20);
    assert_int_equal(wire_tcp_parse(bytes, 19, &tcp), -EINVAL);
    bytes[12] = 0x40; /* data offset 4 */
    assert_int_equal(wire_tcp_parse(bytes, 20, &tcp), -EINVAL);
    bytes[12] = 0x60; /* 6: one word more than there is */
    assert_int_equal(wire_tcp_parse(bytes, 20, &tcp), -EINVAL);
    assert_int_equal(wire_tcp_parse(bytes, 24, &tcp), 24);
}

/* Every combination of options goes out aligned and comes back the same.
 * [test RFC9293 MUST-4 MUST-68 MUST-69] */
static void options_round_trip(void **state)
{
    (void)state;
    for (unsigned mask = 0; mask < 16; mask++) {
        for (uint8_t sacks = 0; sacks <= WIRE_TCP_SACK_MAX; sacks++) {
            struct wire_tcp_options options = {
                .has_mss = (mask & 1) != 0,
                .has_window_scale = (mask & 2) != 0,
                .has_sack_permitted = (mask & 4) != 0,
                .has_timestamps = (mask & 8) != 0,
                .mss = 1460,
                .window_scale = 7,
                .timestamp_value = 0x11223344,
                .timestamp_echo = 0x55667788,
                .sack_count = sacks,
            };
            for (uint32_t i = 0; i < sacks; i++)
                options.sack[i] = (struct wire_tcp_sack){SEQ(100 * i), SEQ(100 * i + 50)};
            uint8_t bytes[60];
            size_t size = wire_tcp_emit(bytes, &plain, &options);
            assert_int_equal(size % 4, 0);
            assert_true(size <= 60);
            assert_int_equal(size, 20 + wire_tcp_options_size(&options));
            struct wire_tcp tcp;
            assert_int_equal(wire_tcp_parse(bytes, size, &tcp), size);
            struct wire_tcp_options parsed;
            assert_true(wire_tcp_options_parse(bytes + 20, size - 20, &parsed) >= 0);
            assert_int_equal(parsed.has_mss, options.has_mss);
            assert_int_equal(parsed.has_window_scale, options.has_window_scale);
            assert_int_equal(parsed.has_sack_permitted, options.has_sack_permitted);
            assert_int_equal(parsed.has_timestamps, options.has_timestamps);
            assert_int_equal(parsed.mss, options.has_mss ? 1460 : 0);
            assert_int_equal(parsed.window_scale, options.has_window_scale ? 7 : 0);
            if (options.has_timestamps) {
                assert_int_equal(parsed.timestamp_value, 0x11223344);
                assert_int_equal(parsed.timestamp_echo, 0x55667788);
            }
            uint8_t room = wire_tcp_sack_room(&options);
            assert_int_equal(parsed.sack_count, sacks < room ? sacks : room);
            for (uint32_t i = 0; i < parsed.sack_count; i++) {
                assert_int_equal(parsed.sack[i].left.value, 100 * i);
                assert_int_equal(parsed.sack[i].right.value, 100 * i + 50);
            }
        }
    }
}

/* RFC 7413 section 4.1.1: kind 34, and 254 with the magic of RFC 6994.
 * [test RFC7413 4.1.1a 4.1.1b] */
static void fastopen_option(void **state)
{
    (void)state;
    static const struct {
        uint8_t size, bytes[24];
        int cookie_size; /* -1: absent */
        bool is_experimental;
    } rows[] = {
        {2, {34, 2}, 0, false},
        {6, {34, 6, 1, 2, 3, 4}, 4, false},
        {18, {34, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 16, false},
        {4, {34, 4, 1, 2}, -1, false},
        {7, {34, 7, 1, 2, 3, 4, 5}, -1, false},
        {20, {34, 20}, -1, false},
        {4, {254, 4, 0xf9, 0x89}, 0, true},
        {8, {254, 8, 0xf9, 0x89, 1, 2, 3, 4}, 4, true},
        {8, {254, 8, 0xf9, 0x88, 1, 2, 3, 4}, -1, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_tcp_options options;
        assert_int_equal(wire_tcp_options_parse(rows[i].bytes, rows[i].size, &options),
                         rows[i].size);
        assert_int_equal(options.has_fastopen, rows[i].cookie_size >= 0);
        if (rows[i].cookie_size < 0)
            continue;
        assert_int_equal(options.fastopen_size, rows[i].cookie_size);
        assert_int_equal(options.fastopen_is_experimental, rows[i].is_experimental);
        options.has_mss = options.has_timestamps = options.has_window_scale = true;
        options.has_sack_permitted = true;
        options.sack_count = 4;
        uint8_t bytes[60];
        size_t size = wire_tcp_emit(bytes, &plain, &options);
        assert_true(size <= 60 && size % 4 == 0);
        assert_int_equal(size, 20 + wire_tcp_options_size(&options));
        struct wire_tcp_options again;
        assert_true(wire_tcp_options_parse(bytes + 20, size - 20, &again) > 0);
        assert_true(again.has_fastopen && again.has_mss && again.has_window_scale);
        assert_int_equal(again.fastopen_size, options.fastopen_size);
        assert_memory_equal(again.fastopen, options.fastopen, WIRE_TCP_FASTOPEN_MAX);
    }
}

/* RFC 9768 section 3.2.3: lengths of whole fields, and others, of which the whole fields count.
 * [test RFC9768 3.2.3a 3.2.3b] */
static void accecn_option(void **state)
{
    static const struct {
        uint8_t bytes[16];
        uint8_t size, order, count;
    } rows[] = {
        {{172, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 12, 0, 3},
        {{174, 8, 1, 2, 3, 4, 5, 6}, 8, 1, 2},
        {{172, 5, 1, 2, 3}, 8, 0, 1},
        {{174, 2}, 4, 1, 0},
        {{172, 4, 1, 2}, 4, 0, 0},
        {{172, 10, 1, 2, 3, 4, 5, 6, 7, 8}, 12, 0, 2},
        {{174, 15, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, 16, 1, 3},
    };
    static const uint32_t fields[] = {0x010203, 0x040506, 0x070809};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wire_tcp_options options, again;
        uint8_t bytes[WIRE_TCP_SIZE_MAX];
        assert_int_equal(wire_tcp_options_parse(rows[i].bytes, rows[i].size, &options),
                         rows[i].size);
        assert_true(options.has_accecn);
        assert_int_equal(options.accecn_order, rows[i].order);
        assert_int_equal(options.accecn_count, rows[i].count);
        for (unsigned field = 0; field < rows[i].count; field++)
            assert_int_equal(options.accecn[field], fields[field]);
        size_t size = wire_tcp_emit(bytes, &plain, &options) - WIRE_TCP_SIZE;
        assert_int_equal(size, wire_tcp_options_size(&options));
        assert_int_equal(size % 4, 0);
        assert_int_equal(wire_tcp_options_parse(bytes + WIRE_TCP_SIZE, size, &again), (int)size);
        assert_memory_equal(again.accecn, options.accecn, sizeof(options.accecn));
        assert_int_equal(again.accecn_count, options.accecn_count);
        assert_int_equal(again.accecn_order, options.accecn_order);
    }
}

static void sack_room(void **state)
{
    (void)state;
    struct wire_tcp_options options = {0};
    assert_int_equal(wire_tcp_sack_room(&options), 4);
    options.has_timestamps = true;
    assert_int_equal(wire_tcp_sack_room(&options), 3);
}

static const struct {
    const char *name;
    uint8_t size;
    uint8_t bytes[16];
    int result;
} option_cases[] = {
    {"empty", 0, {0}, 0},
    {"end of list, garbage behind", 4, {0, 2, 9, 9}, 4},
    {"no-ops", 3, {1, 1, 1}, 3},
    {"unknown", 6, {254, 6, 1, 2, 3, 4}, 6},
    {"unknown of length 2", 2, {254, 2}, 2},
    {"length 0", 4, {254, 0, 0, 0}, -EINVAL},
    {"length 1", 4, {254, 1, 0, 0}, -EINVAL},
    {"length over the end", 4, {254, 5, 0, 0}, -EINVAL},
    {"kind at the end", 2, {1, 254}, -EINVAL},
    {"MSS of length 3", 3, {2, 3, 5}, -EINVAL},
    {"MSS cut", 3, {2, 4, 5}, -EINVAL},
    {"window scale of length 4", 4, {3, 4, 7, 7}, -EINVAL},
    {"SACK permitted of length 3", 3, {4, 3, 0}, -EINVAL},
    {"SACK without blocks", 2, {5, 2}, -EINVAL},
    {"SACK of half a block", 6, {5, 6, 1, 2, 3, 4}, -EINVAL},
    {"SACK block", 10, {5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, 10},
    {"timestamps of length 8", 8, {8, 8}, -EINVAL},
    {"timestamps", 10, {8, 10}, 10},
};

/* [test RFC9293 MUST-4 MUST-6 MUST-7] */
static void options_hostile(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(option_cases) / sizeof(option_cases[0]); i++) {
        /* On the heap, so that the sanitizer sees a read past the end. */
        size_t size = option_cases[i].size;
        uint8_t *bytes = malloc(size + 1);
        uint8_t *at = bytes + 1;
        memcpy(at, option_cases[i].bytes, size);
        struct wire_tcp_options options;
        int result = wire_tcp_options_parse(at, size, &options);
        free(bytes);
        if (result != option_cases[i].result)
            fail_msg("%s: %d", option_cases[i].name, result);
    }
}

/* RFC 7323 section 2.3. */
static void window_scale_is_capped(void **state)
{
    (void)state;
    static const uint8_t bytes[3] = {3, 3, 15};
    struct wire_tcp_options options;
    assert_int_equal(wire_tcp_options_parse(bytes, 3, &options), 3);
    assert_int_equal(options.window_scale, 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emit_then_parse),
        cmocka_unit_test(options_round_trip),
        cmocka_unit_test(fastopen_option),
        cmocka_unit_test(accecn_option),
        cmocka_unit_test(sack_room),
        cmocka_unit_test(options_hostile),
        cmocka_unit_test(window_scale_is_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
