/* wire/eth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/eth.h"

static const uint8_t frame[14] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd};

static void parse_and_emit(void **state)
{
    (void)state;
    struct wire_eth eth;
    assert_int_equal(wire_eth_parse(frame, sizeof(frame), &eth), 14);
    assert_int_equal(eth.dst[5], 1);
    assert_int_equal(eth.src[5], 2);
    assert_int_equal(eth.ethertype, WIRE_ETHERTYPE_IPV6);
    uint8_t out[14];
    assert_int_equal(wire_eth_emit(out, &eth), 14);
    assert_memory_equal(out, frame, 14);
}

static void cut_short(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof(frame); size++) {
        struct wire_eth eth;
        assert_int_equal(wire_eth_parse(frame, size, &eth), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_and_emit),
        cmocka_unit_test(cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
