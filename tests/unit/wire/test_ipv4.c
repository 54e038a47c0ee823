/* wire/ipv4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "wire/ipv4.h"

static const struct wire_ipv4 plain = {
    .header_size = 20,
    .tos = 0x02,
    .total_size = 28,
    .id = 0x1234,
    .dont_fragment = true,
    .ttl = 64,
    .protocol = WIRE_PROTOCOL_UDP,
    .src = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1}},
    .dst = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 2}},
};

static void reseal(uint8_t *bytes)
{
    store_be16(bytes + 10, 0);
    store_be16(bytes + 10, checksum_of(bytes, (bytes[0] & 15u) * 4));
}

static void emit_then_parse(void **state)
{
    (void)state;
    uint8_t bytes[28] = {0};
    assert_int_equal(wire_ipv4_emit(bytes, &plain), 20);
    struct wire_ipv4 ip;
    assert_int_equal(wire_ipv4_parse(bytes, sizeof(bytes), &ip), 20);
    assert_int_equal(ip.total_size, 28);
    assert_int_equal(ip.tos, 2);
    assert_int_equal(ip.id, 0x1234);
    assert_true(ip.dont_fragment);
    assert_false(ip.more_fragments);
    assert_int_equal(ip.fragment_offset, 0);
    assert_int_equal(ip.ttl, 64);
    assert_int_equal(ip.protocol, 17);
    assert_true(foyer_addr_eq(&ip.src, &plain.src));
    assert_true(foyer_addr_eq(&ip.dst, &plain.dst));
    assert_false(ip.has_source_route);
}

/* One byte of a good header changed (and the checksum made right again). */
static const struct {
    const char *name;
    uint8_t at, value;
    int result;
} changes[] = {
    {"version 6", 0, 0x65, -EINVAL},
    {"header of 16 bytes", 0, 0x44, -EINVAL},
    {"header longer than the packet", 0, 0x4f, -EINVAL},
    {"total size below the header", 3, 19, -EINVAL},
    {"total size above the bytes", 3, 29, -EINVAL},
    {"total size with padding behind", 3, 24, 20},
    {"more fragments, 8 bytes", 6, 0x20, 20},
    {"fragment beyond 65535", 6, 0x1f, 20},
    {"other protocol", 9, 200, 20},
};

static void changed_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        uint8_t bytes[28] = {0};
        wire_ipv4_emit(bytes, &plain);
        bytes[changes[i].at] = changes[i].value;
        if ((bytes[0] & 15) <= 7)
            reseal(bytes);
        struct wire_ipv4 ip;
        if (wire_ipv4_parse(bytes, sizeof(bytes), &ip) != changes[i].result)
            fail_msg("%s", changes[i].name);
    }
}

static void fragments(void **state)
{
    (void)state;
    uint8_t bytes[40] = {0};
    struct wire_ipv4 fragment = plain, ip;
    fragment.dont_fragment = false;
    fragment.more_fragments = true;
    fragment.fragment_offset = 1480;
    fragment.total_size = 36;
    wire_ipv4_emit(bytes, &fragment);
    assert_int_equal(wire_ipv4_parse(bytes, sizeof(bytes), &ip), 20);
    assert_int_equal(ip.fragment_offset, 1480);
    assert_true(ip.more_fragments);
    /* Not a multiple of 8, with more to come. */
    fragment.total_size = 35;
    wire_ipv4_emit(bytes, &fragment);
    assert_int_equal(wire_ipv4_parse(bytes, sizeof(bytes), &ip), -EINVAL);
    fragment.more_fragments = false;
    wire_ipv4_emit(bytes, &fragment);
    assert_int_equal(wire_ipv4_parse(bytes, sizeof(bytes), &ip), 20);
    /* Over the end of the largest datagram ("ping of death"). */
    fragment.fragment_offset = 65528;
    fragment.total_size = 28;
    wire_ipv4_emit(bytes, &fragment);
    assert_int_equal(wire_ipv4_parse(bytes, sizeof(bytes), &ip), -EINVAL);
}

static void every_damaged_bit_is_seen(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 160; bit++) {
        uint8_t bytes[28] = {0};
        wire_ipv4_emit(bytes, &plain);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct wire_ipv4 ip;
        assert_true(wire_ipv4_parse(bytes, sizeof(bytes), &ip) < 0);
    }
}

static const struct {
    const char *name;
    uint8_t options[8];
    int result;
    bool has_source_route;
} option_cases[] = {
    {"no-ops and end", {1, 1, 1, 0, 9, 9, 9, 9}, 28, false},
    {"unknown option", {200, 8, 1, 2, 3, 4, 5, 6}, 28, false},
    {"loose source route", {131, 7, 4, 1, 2, 3, 4, 0}, 28, true},
    {"strict source route", {1, 137, 7, 4, 1, 2, 3, 4}, 28, true},
    {"length 0", {200, 0, 0, 0, 0, 0, 0, 0}, -EINVAL, false},
    {"length 1", {200, 1, 0, 0, 0, 0, 0, 0}, -EINVAL, false},
    {"over the end", {200, 9, 0, 0, 0, 0, 0, 0}, -EINVAL, false},
    {"no room for a length", {1, 1, 1, 1, 1, 1, 1, 200}, -EINVAL, false},
};

static void options(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(option_cases) / sizeof(option_cases[0]); i++) {
        uint8_t bytes[36] = {0};
        wire_ipv4_emit(bytes, &plain);
        bytes[0] = 0x47;
        bytes[3] = 36;
        memcpy(bytes + 20, option_cases[i].options, 8);
        reseal(bytes);
        struct wire_ipv4 ip = {0};
        if (wire_ipv4_parse(bytes, sizeof(bytes), &ip) != option_cases[i].result ||
            ip.has_source_route != option_cases[i].has_source_route)
            fail_msg("%s", option_cases[i].name);
    }
}

static void quoted(void **state)
{
    (void)state;
    uint8_t bytes[28] = {0};
    struct wire_ipv4 large = plain, ip;
    large.total_size = 1500;
    wire_ipv4_emit(bytes, &large);
    bytes[10] ^= 0xff;
    assert_int_equal(wire_ipv4_parse(bytes, sizeof(bytes), &ip), -EINVAL);
    assert_int_equal(wire_ipv4_parse_quoted(bytes, sizeof(bytes), &ip), 20);
    assert_int_equal(ip.total_size, 1500);
    assert_int_equal(wire_ipv4_parse_quoted(bytes, 19, &ip), -EINVAL);
    bytes[0] = 0x48;
    assert_int_equal(wire_ipv4_parse_quoted(bytes, sizeof(bytes), &ip), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emit_then_parse), cmocka_unit_test(changed_fields),
        cmocka_unit_test(fragments),       cmocka_unit_test(every_damaged_bit_is_seen),
        cmocka_unit_test(options),         cmocka_unit_test(quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
