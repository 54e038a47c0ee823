/* wire/icmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/icmp.h"

static const struct wire_icmp messages[] = {
    {.type = WIRE_ICMP_ECHO, .id = 0x1234, .sequence = 7},
    {.type = WIRE_ICMP_ECHO_REPLY, .id = 1, .sequence = 0xffff},
    {.type = WIRE_ICMP_UNREACHABLE, .code = WIRE_ICMP_UNREACHABLE_PORT},
    {.type = WIRE_ICMP_UNREACHABLE, .code = WIRE_ICMP_UNREACHABLE_FRAG_NEEDED, .mtu = 1400},
    {.type = WIRE_ICMP_TIME_EXCEEDED, .code = 1},
    {.type = WIRE_ICMP_PARAMETER_PROBLEM, .pointer = 20},
};

static void emit_seal_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        uint8_t bytes[17] = {[8] = 1, [16] = 2};
        assert_int_equal(wire_icmp_emit(bytes, &messages[i]), 8);
        assert_false(wire_icmp_checksum_ok(bytes, sizeof(bytes)));
        wire_icmp_seal(bytes, sizeof(bytes));
        assert_true(wire_icmp_checksum_ok(bytes, sizeof(bytes)));
        struct wire_icmp icmp;
        assert_int_equal(wire_icmp_parse(bytes, sizeof(bytes), &icmp), 8);
        assert_int_equal(icmp.type, messages[i].type);
        assert_int_equal(icmp.code, messages[i].code);
        assert_int_equal(icmp.id, messages[i].id);
        assert_int_equal(icmp.sequence, messages[i].sequence);
        assert_int_equal(icmp.mtu, messages[i].mtu);
        assert_int_equal(icmp.pointer, messages[i].pointer);
        bytes[16] ^= 1;
        assert_false(wire_icmp_checksum_ok(bytes, sizeof(bytes)));
        assert_int_equal(wire_icmp_parse(bytes, 7, &icmp), -EINVAL);
    }
}

static void errors(void **state)
{
    (void)state;
    static const uint8_t error_types[] = {3, 4, 5, 11, 12};
    unsigned count = 0;
    for (unsigned type = 0; type < 256; type++)
        count += wire_icmp_is_error((uint8_t)type);
    assert_int_equal(count, sizeof(error_types));
    for (size_t i = 0; i < sizeof(error_types); i++)
        assert_true(wire_icmp_is_error(error_types[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emit_seal_parse),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
