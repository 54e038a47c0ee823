/* base/random: the published generator, and fairness. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

/* First outputs of xoshiro256** from the state 1, 2, 3, 4. */
static void known_sequence(void **state)
{
    (void)state;
    struct random random = {{1, 2, 3, 4}};
    static const uint64_t expected[] = {11520ULL, 0ULL, 1509978240ULL, 1215971899390074240ULL};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_true(random_u64(&random) == expected[i]);
}

static void seed_decides(void **state)
{
    (void)state;
    struct random a, b, c;
    random_init(&a, 5);
    random_init(&b, 5);
    random_init(&c, 6);
    uint64_t first = random_u64(&a);
    assert_true(first == random_u64(&b));
    assert_true(first != random_u64(&c));
}

static void below_is_fair(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1);
    unsigned counts[7] = {0};
    for (int i = 0; i < 70000; i++)
        counts[random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9500, 10500);
    unsigned hits = 0;
    for (int i = 0; i < 100000; i++)
        hits += random_chance_ppm(&random, 30000);
    assert_in_range(hits, 2700, 3300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sequence),
        cmocka_unit_test(seed_decides),
        cmocka_unit_test(below_is_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
