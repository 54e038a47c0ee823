/* base/seq: order modulo 2^32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/seq.h"

static const struct {
    uint32_t a, b;
    int order; /* of a against b */
} cases[] = {
    {0, 0, 0},
    {1, 0, 1},
    {0, 1, -1},
    {0, UINT32_MAX, 1}, /* across the wrap */
    {UINT32_MAX, 0, -1},
    {100, UINT32_MAX - 100, 1},
    {0x7fffffff, 0, 1},
    {0, 0x7fffffff, -1},
    {0x90000000, 0x20000000, 1},
};

static void order(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        seq_t a = SEQ(cases[i].a), b = SEQ(cases[i].b);
        int expected = cases[i].order;
        assert_int_equal(seq_lt(a, b), expected < 0);
        assert_int_equal(seq_le(a, b), expected <= 0);
        assert_int_equal(seq_gt(a, b), expected > 0);
        assert_int_equal(seq_ge(a, b), expected >= 0);
        assert_int_equal(seq_eq(a, b), expected == 0);
        assert_int_equal(seq_max(a, b).value, expected >= 0 ? a.value : b.value);
        assert_int_equal(seq_min(a, b).value, expected <= 0 ? a.value : b.value);
    }
}

static void arithmetic_wraps(void **state)
{
    (void)state;
    assert_int_equal(seq_add(SEQ(UINT32_MAX), 2).value, 1);
    assert_int_equal(seq_back(SEQ(1), 2).value, UINT32_MAX);
    assert_int_equal(seq_sub(SEQ(5), SEQ(UINT32_MAX)), 6);
    assert_int_equal(seq_sub(SEQ(UINT32_MAX), SEQ(5)), -6);
    assert_int_equal(seq_distance(SEQ(3), SEQ(UINT32_MAX - 3)), 7);
}

static void window(void **state)
{
    (void)state;
    assert_true(seq_in_window(SEQ(10), SEQ(10), 1));
    assert_false(seq_in_window(SEQ(11), SEQ(10), 1));
    assert_false(seq_in_window(SEQ(9), SEQ(10), 100));
    assert_false(seq_in_window(SEQ(10), SEQ(10), 0));
    assert_true(seq_in_window(SEQ(2), SEQ(UINT32_MAX), 4));
    assert_false(seq_in_window(SEQ(3), SEQ(UINT32_MAX), 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(arithmetic_wraps),
        cmocka_unit_test(window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
