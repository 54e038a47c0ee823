/* wire/udp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/udp.h"

static const struct {
    uint16_t length, available;
    int result;
} lengths[] = {
    {8, 8, 8},       {9, 8, -EINVAL}, {7, 8, -EINVAL},         {0, 8, -EINVAL},   {8, 7, -EINVAL},
    {8, 0, -EINVAL}, {100, 200, 8},   {65535, 65534, -EINVAL}, {65535, 65535, 8},
};

static void lengths_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct wire_udp udp = {1000, 53, lengths[i].length, 0xabcd}, parsed;
        uint8_t bytes[8];
        assert_int_equal(wire_udp_emit(bytes, &udp), 8);
        assert_int_equal(wire_udp_parse(bytes, lengths[i].available, &parsed), lengths[i].result);
        if (lengths[i].result == 8)
            assert_memory_equal(&parsed, &udp, sizeof(udp));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
