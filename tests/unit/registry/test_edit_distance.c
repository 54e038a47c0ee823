#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "registry/edit_distance.h"

static const struct {
    const char *a;
    const char *b;
    size_t limit;
    size_t expected;
} cases[] = {
    {"", "", 3, 0},
    {"", "abc", 3, 3},
    {"http", "http", 0, 0},
    {"HTTP", "http", 0, 0},
    {"htpp", "http", 3, 1},
    {"htt", "http", 3, 1},
    {"httpp", "http", 3, 1},
    {"hhtp", "http", 3, 1},
    {"ab", "ba", 3, 1},
    {"kitten", "sitting", 3, 3},
    {"kitten", "sitting", 2, 3}, /* beyond the limit: limit + 1 */
    {"ca", "abc", 3, 3},         /* the unrestricted distance would be 2 */
    {"domian", "domain", 1, 1},
    {"domaiin", "domian", 1, 2},
    {"abcdef", "uvwxyz", 3, 4}, /* gives up early */
    {"abcdef", "badcfe", 3, 3}, /* three swaps, each across the two last rows */
};

static void distances_are_symmetric_and_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *a = cases[i].a;
        const char *b = cases[i].b;
        size_t forth = foyer_edit_distance(a, strlen(a), b, strlen(b), cases[i].limit);
        size_t back = foyer_edit_distance(b, strlen(b), a, strlen(a), cases[i].limit);
        if (forth != cases[i].expected || back != cases[i].expected) {
            fail_msg("%s to %s: %zu, back %zu, not %zu", a, b, forth, back, cases[i].expected);
        }
    }
}

/* The definition, without rows or a limit. */
static size_t reference(const char *a, size_t a_size, const char *b, size_t b_size)
{
    if (a_size == 0 || b_size == 0) {
        return a_size + b_size;
    }
    size_t best = reference(a, a_size - 1, b, b_size) + 1;
    size_t other = reference(a, a_size, b, b_size - 1) + 1;
    best = other < best ? other : best;
    other = reference(a, a_size - 1, b, b_size - 1) + (a[a_size - 1] != b[b_size - 1]);
    best = other < best ? other : best;
    if (a_size > 1 && b_size > 1 && a[a_size - 1] == b[b_size - 2] &&
        a[a_size - 2] == b[b_size - 1]) {
        other = reference(a, a_size - 2, b, b_size - 2) + 1;
        best = other < best ? other : best;
    }
    return best;
}

static void agrees_with_the_definition(void **state)
{
    (void)state;
    /* All words of five letters out of three, against a fixed sample of them. */
    for (unsigned x = 0; x < 243; x++) {
        for (unsigned y = 0; y < 243; y += 11) {
            char a[5];
            char b[5];
            for (unsigned i = 0, p = x, q = y; i < 5; i++, p /= 3, q /= 3) {
                a[i] = (char)('a' + p % 3);
                b[i] = (char)('a' + q % 3);
            }
            size_t b_size = 2 + y % 4;
            size_t expected = reference(a, 5, b, b_size);
            for (size_t limit = 0; limit <= 5; limit++) {
                assert_int_equal(foyer_edit_distance(a, 5, b, b_size, limit),
                                 expected <= limit ? expected : limit + 1);
            }
        }
    }
}

static void long_words_are_beyond_any_limit(void **state)
{
    (void)state;
    char word[FOYER_EDIT_DISTANCE_SIZE_MAX + 1];
    memset(word, 'x', sizeof(word));
    assert_int_equal(foyer_edit_distance(word, sizeof(word), word, sizeof(word), 3), 4);
    assert_int_equal(foyer_edit_distance(word, sizeof(word) - 1, word, sizeof(word) - 1, 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_symmetric_and_right),
        cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(long_words_are_beyond_any_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
