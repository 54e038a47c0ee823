/* wire/arp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/arp.h"

static const uint8_t request[28] = {0,   1, 8, 0, 6, 4, 0, 1, 2, 0, 0,   0, 0, 1,
                                    192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2};

static void parse_and_emit(void **state)
{
    (void)state;
    struct wire_arp arp;
    assert_int_equal(wire_arp_parse(request, sizeof(request), &arp), 28);
    assert_int_equal(arp.operation, WIRE_ARP_REQUEST);
    struct foyer_addr sender = foyer_addr_v4(192, 0, 2, 1), target = foyer_addr_v4(192, 0, 2, 2);
    assert_true(foyer_addr_eq(&arp.sender_addr, &sender));
    assert_true(foyer_addr_eq(&arp.target_addr, &target));
    assert_int_equal(arp.sender_mac[5], 1);
    uint8_t out[28];
    assert_int_equal(wire_arp_emit(out, &arp), 28);
    assert_memory_equal(out, request, 28);
}

static void padding_is_allowed(void **state)
{
    (void)state;
    uint8_t padded[46] = {0};
    memcpy(padded, request, sizeof(request));
    struct wire_arp arp;
    assert_int_equal(wire_arp_parse(padded, sizeof(padded), &arp), 28);
}

static void rejected(void **state)
{
    (void)state;
    struct wire_arp arp;
    for (size_t size = 0; size < sizeof(request); size++)
        assert_int_equal(wire_arp_parse(request, size, &arp), -EINVAL);
    /* Hardware type, protocol type, and both address lengths. */
    for (size_t at = 0; at < 6; at++) {
        uint8_t bad[28];
        memcpy(bad, request, sizeof(bad));
        bad[at] ^= 0x10;
        assert_int_equal(wire_arp_parse(bad, sizeof(bad), &arp), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_and_emit),
        cmocka_unit_test(padding_is_allowed),
        cmocka_unit_test(rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
