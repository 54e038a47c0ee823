/*
 * As much of cmocka's interface as the unit tests use, for machines that we build for and that have
 * no cmocka: Debian's is there for the building machine only. The first failed assertion ends the
 * program; otherwise it reports as cmocka does.
 */
#ifndef FOYER_PORTABILITY_CMOCKA_H
#define FOYER_PORTABILITY_CMOCKA_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    int (*setup_func)(void **state);
    int (*teardown_func)(void **state);
    void *initial_state;
};

#define cmocka_unit_test(function)                                                                 \
    {                                                                                              \
#function, function, NULL, NULL, NULL                                                      \
    }
#define cmocka_unit_test_setup_teardown(function, before, after)                                   \
    {                                                                                              \
#function, function, before, after, NULL                                                   \
    }

static inline _Noreturn void shim_fail(const char *file, int line, const char *what)
{
    printf("[  FAILED  ] %s:%d: %s\n", file, line, what);
    fflush(stdout);
    exit(1);
}

static inline void shim_int(uintmax_t a, uintmax_t b, int wanted, const char *file, int line,
                            const char *what)
{
    if ((a == b) == wanted)
        return;
    printf("%#jx, %#jx\n", a, b);
    shim_fail(file, line, what);
}

static inline void shim_range(uintmax_t value, uintmax_t low, uintmax_t high, const char *file,
                              int line, const char *what)
{
    if (value >= low && value <= high)
        return;
    printf("%ju is not within %ju .. %ju\n", value, low, high);
    shim_fail(file, line, what);
}

#define SHIM_CHECK(condition, what) ((condition) ? (void)0 : shim_fail(__FILE__, __LINE__, what))

#define assert_true(c) SHIM_CHECK(c, #c)
#define assert_false(c) SHIM_CHECK(!(c), "not " #c)
#define assert_null(p) SHIM_CHECK((p) == NULL, #p " is NULL")
#define assert_non_null(p) SHIM_CHECK((p) != NULL, #p " is not NULL")
#define assert_ptr_equal(a, b) SHIM_CHECK((const void *)(a) == (const void *)(b), #a " is " #b)
#define assert_int_equal(a, b)                                                                     \
    shim_int((uintmax_t)(a), (uintmax_t)(b), 1, __FILE__, __LINE__, #a " equals " #b)
#define assert_int_not_equal(a, b)                                                                 \
    shim_int((uintmax_t)(a), (uintmax_t)(b), 0, __FILE__, __LINE__, #a " is not " #b)
#define assert_in_range(value, low, high)                                                          \
    shim_range((uintmax_t)(value), (uintmax_t)(low), (uintmax_t)(high), __FILE__, __LINE__, #value)
#define assert_memory_equal(a, b, size) SHIM_CHECK(memcmp(a, b, size) == 0, #a " equals " #b)
#define assert_memory_not_equal(a, b, size) SHIM_CHECK(memcmp(a, b, size) != 0, #a " is not " #b)
#define assert_string_equal(a, b) SHIM_CHECK(strcmp(a, b) == 0, #a " equals " #b)
#define fail() shim_fail(__FILE__, __LINE__, "fail()")
#define fail_msg(...) (printf(__VA_ARGS__), printf("\n"), fail())
#define print_message(...) (void)printf(__VA_ARGS__)
#define print_error(...) (void)printf(__VA_ARGS__)

static inline int shim_run(const struct CMUnitTest *tests, size_t count, int (*setup)(void **state),
                           int (*teardown)(void **state))
{
    void *group = NULL;
    if (setup != NULL && setup(&group) != 0)
        shim_fail(__FILE__, __LINE__, "set-up of the group");
    for (size_t i = 0; i < count; i++) {
        void *state = tests[i].initial_state != NULL ? tests[i].initial_state : group;
        printf("[ RUN      ] %s\n", tests[i].name);
        if (tests[i].setup_func != NULL && tests[i].setup_func(&state) != 0)
            shim_fail(tests[i].name, 0, "set-up");
        tests[i].test_func(&state);
        if (tests[i].teardown_func != NULL && tests[i].teardown_func(&state) != 0)
            shim_fail(tests[i].name, 0, "teardown");
        printf("[       OK ] %s\n", tests[i].name);
    }
    if (teardown != NULL && teardown(&group) != 0)
        shim_fail(__FILE__, __LINE__, "teardown of the group");
    return 0;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    shim_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

#endif
