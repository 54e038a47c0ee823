/* wire/icmp6: messages and neighbour discovery. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/icmp6.h"

static const struct foyer_addr src = {{0xfe, 0x80, [15] = 1}}, dst = {{0xfe, 0x80, [15] = 2}};

static const struct wire_icmp6 messages[] = {
    {.type = WIRE_ICMP6_ECHO, .id = 0x1234, .sequence = 7},
    {.type = WIRE_ICMP6_ECHO_REPLY, .id = 1, .sequence = 0xffff},
    {.type = WIRE_ICMP6_UNREACHABLE, .code = WIRE_ICMP6_UNREACHABLE_PORT},
    {.type = WIRE_ICMP6_PACKET_TOO_BIG, .mtu = 0x00012345},
    {.type = WIRE_ICMP6_TIME_EXCEEDED, .code = 1},
    {.type = WIRE_ICMP6_PARAMETER_PROBLEM, .code = 2, .pointer = 0x10000},
};

static void emit_seal_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        uint8_t bytes[17] = {[8] = 1, [16] = 2};
        assert_int_equal(wire_icmp6_emit(bytes, &messages[i]), 8);
        wire_icmp6_seal(bytes, sizeof(bytes), &src, &dst);
        assert_true(wire_icmp6_checksum_ok(bytes, sizeof(bytes), &src, &dst));
        /* The pseudo-header counts: swapping is not seen by a sum, another address is. */
        assert_false(wire_icmp6_checksum_ok(bytes, sizeof(bytes), &src, &src));
        struct wire_icmp6 icmp;
        assert_int_equal(wire_icmp6_parse(bytes, sizeof(bytes), &icmp), 8);
        assert_int_equal(icmp.type, messages[i].type);
        assert_int_equal(icmp.code, messages[i].code);
        assert_int_equal(icmp.id, messages[i].id);
        assert_int_equal(icmp.sequence, messages[i].sequence);
        assert_int_equal(icmp.mtu, messages[i].mtu);
        assert_int_equal(icmp.pointer, messages[i].pointer);
        assert_int_equal(wire_icmp6_parse(bytes, 7, &icmp), -EINVAL);
        assert_int_equal(wire_icmp6_is_error(icmp.type), icmp.type < 128);
    }
}

static void ndp_round_trip(void **state)
{
    (void)state;
    static const struct wire_ndp ndps[] = {
        {.type = WIRE_ICMP6_ROUTER_SOLICITATION,
         .has_source_mac = true,
         .source_mac = {2, 0, 0, 0, 0, 1}},
        {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION,
         .target = {{0xfd, [15] = 9}},
         .has_source_mac = true,
         .source_mac = {2, 0, 0, 0, 0, 1}},
        {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
         .target = {{0xfd, [15] = 9}},
         .is_router = true,
         .is_override = true,
         .has_target_mac = true,
         .target_mac = {2, 0, 0, 0, 0, 2}},
        {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
         .target = {{0xfd, [15] = 9}},
         .is_solicited = true},
        {.type = WIRE_ICMP6_ROUTER_ADVERTISEMENT,
         .hop_limit = 64,
         .is_managed = true,
         .router_lifetime_s = 1800,
         .reachable_ms = 30000,
         .retransmit_ms = 1000,
         .mtu = 1400,
         .prefix_count = 2,
         .prefixes = {{.prefix = {{0xfd}},
                       .length = 64,
                       .is_on_link = true,
                       .is_autonomous = true,
                       .valid_s = UINT32_MAX,
                       .preferred_s = 7},
                      {.prefix = {{0xfd, 1}}, .length = 48, .valid_s = 5}}},
    };
    for (size_t i = 0; i < sizeof(ndps) / sizeof(ndps[0]); i++) {
        uint8_t bytes[WIRE_NDP_SIZE_MAX];
        size_t size = wire_ndp_emit(bytes, &ndps[i]);
        assert_true(size <= sizeof(bytes));
        struct wire_ndp ndp;
        assert_int_equal(wire_ndp_parse(bytes, size, &ndp), size);
        uint8_t again[WIRE_NDP_SIZE_MAX];
        assert_int_equal(wire_ndp_emit(again, &ndp), size);
        assert_memory_equal(again, bytes, size);
        assert_int_equal(ndp.prefix_count, ndps[i].prefix_count);
        assert_int_equal(ndp.mtu, ndps[i].mtu);
        assert_int_equal(ndp.is_router, ndps[i].is_router);
        assert_int_equal(ndp.is_solicited, ndps[i].is_solicited);
        assert_int_equal(ndp.is_override, ndps[i].is_override);
        assert_int_equal(ndp.has_source_mac, ndps[i].has_source_mac);
        assert_memory_equal(ndp.source_mac, ndps[i].source_mac, 6);
        /* Every cut that is not between two options. */
        size_t fixed = ndp.type == WIRE_ICMP6_ROUTER_SOLICITATION    ? 8
                       : ndp.type == WIRE_ICMP6_ROUTER_ADVERTISEMENT ? 16
                                                                     : 24;
        for (size_t cut = 0; cut < size; cut++) {
            if (cut < fixed || cut % 8 != 0)
                assert_int_equal(wire_ndp_parse(bytes, cut, &ndp), -EINVAL);
        }
    }
}

/* [test RFC4861 6.1.2b 7.1.1a 7.1.2a] [test RFC4861 4.6a 9a] [test RFC4862 5.4.1a] */
static void ndp_rejected(void **state)
{
    (void)state;
    struct wire_ndp solicitation = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION,
                                    .target = {{0xfd, [15] = 9}},
                                    .has_source_mac = true};
    uint8_t good[32];
    assert_int_equal(wire_ndp_emit(good, &solicitation), 32);
    static const struct {
        const char *name;
        uint8_t at, value;
        int result;
    } cases[] = {
        {"as it was", 1, 0, 32},
        {"code", 1, 1, -EINVAL},
        {"multicast target", 8, 0xff, -EINVAL},
        {"option of length 0", 25, 0, -EINVAL},
        {"option over the end", 25, 2, -EINVAL},
        {"unknown option", 24, 99, 32},
        {"redirect", 0, WIRE_ICMP6_REDIRECT, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[32];
        memcpy(bytes, good, sizeof(bytes));
        bytes[cases[i].at] = cases[i].value;
        struct wire_ndp ndp;
        if (wire_ndp_parse(bytes, sizeof(bytes), &ndp) != cases[i].result)
            fail_msg("%s", cases[i].name);
    }
}

static void ndp_more_prefixes_than_room(void **state)
{
    (void)state;
    struct wire_ndp ndp = {.type = WIRE_ICMP6_ROUTER_ADVERTISEMENT};
    uint8_t bytes[16 + 32 * 10] = {0};
    wire_ndp_emit(bytes, &ndp);
    for (unsigned i = 0; i < 10; i++) {
        uint8_t *option = bytes + 16 + 32 * i;
        option[0] = 3;
        option[1] = 4;
        option[2] = i == 0 ? 129 : 64; /* the first makes no sense and is ignored */
        option[16] = 0xfd;
        option[17] = (uint8_t)i;
    }
    assert_int_equal(wire_ndp_parse(bytes, sizeof(bytes), &ndp), sizeof(bytes));
    assert_int_equal(ndp.prefix_count, WIRE_NDP_PREFIXES_MAX);
    assert_int_equal(ndp.prefixes[0].prefix.bytes[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emit_seal_parse),
        cmocka_unit_test(ndp_round_trip),
        cmocka_unit_test(ndp_rejected),
        cmocka_unit_test(ndp_more_prefixes_than_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
