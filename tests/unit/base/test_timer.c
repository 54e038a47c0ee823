/* base/timer against a model that looks at every timer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/timer.h"

#define TIMERS 200

static void exact_deadline(void **state)
{
    (void)state;
    static const foyer_time_ns deadlines[] = {
        1,        4095,       4096,          4097,       1000000,    262144,
        16777216, 1000000000, 3600000000000, 1ULL << 40, 1ULL << 62, UINT64_MAX - 1,
    };
    static struct timer_queue queue;
    for (size_t i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        struct timer timer = {0};
        timer_queue_init(&queue, 0);
        assert_true(timer_queue_next_deadline(&queue) == FOYER_TIME_NEVER);
        timer_set(&queue, &timer, deadlines[i]);
        assert_true(timer_is_armed(&timer));
        assert_true(timer_queue_next_deadline(&queue) == deadlines[i]);
        assert_null(timer_queue_pop_due(&queue, deadlines[i] - 1));
        assert_true(timer_queue_next_deadline(&queue) == deadlines[i]);
        assert_ptr_equal(timer_queue_pop_due(&queue, deadlines[i]), &timer);
        assert_false(timer_is_armed(&timer));
        assert_true(timer_queue_next_deadline(&queue) == FOYER_TIME_NEVER);
        assert_null(timer_queue_pop_due(&queue, deadlines[i]));
    }
}

static void overdue_and_never(void **state)
{
    (void)state;
    static struct timer_queue queue;
    struct timer timer = {0};
    timer_queue_init(&queue, 5000000000);
    timer_set(&queue, &timer, 3);
    assert_true(timer_queue_next_deadline(&queue) == 3);
    assert_ptr_equal(timer_queue_pop_due(&queue, 5000000000), &timer);
    timer_set(&queue, &timer, 6000000000);
    timer_set(&queue, &timer, FOYER_TIME_NEVER);
    assert_false(timer_is_armed(&timer));
    assert_true(timer_queue_next_deadline(&queue) == FOYER_TIME_NEVER);
    timer_cancel(&queue, &timer);
    assert_int_equal(queue.count, 0);
}

static foyer_time_ns random_delay(struct random *random)
{
    return random_u64(random) >> (10 + random_below(random, 50));
}

/* Random sets, cancels and steps of time; nothing fires early, late or twice. */
static void run_model(uint64_t seed)
{
    static struct timer_queue queue;
    static struct timer timers[TIMERS];
    foyer_time_ns expected[TIMERS];
    struct random random;
    random_init(&random, seed);
    foyer_time_ns now = random_u64(&random) >> 8;
    timer_queue_init(&queue, now);
    memset(timers, 0, sizeof(timers));
    for (unsigned i = 0; i < TIMERS; i++)
        expected[i] = FOYER_TIME_NEVER;

    for (int step = 0; step < 3000; step++) {
        for (uint64_t change = random_below(&random, 6); change > 0; change--) {
            unsigned i = (unsigned)random_below(&random, TIMERS);
            if (random_below(&random, 4) == 0) {
                timer_cancel(&queue, &timers[i]);
                expected[i] = FOYER_TIME_NEVER;
            } else {
                foyer_time_ns delay = random_delay(&random);
                expected[i] = random_below(&random, 20) == 0 ? now - (delay < now ? delay : now)
                                                             : now + delay;
                timer_set(&queue, &timers[i], expected[i]);
            }
        }
        foyer_time_ns earliest = FOYER_TIME_NEVER;
        for (unsigned i = 0; i < TIMERS; i++) {
            assert_int_equal(timer_is_armed(&timers[i]), expected[i] != FOYER_TIME_NEVER);
            earliest = expected[i] < earliest ? expected[i] : earliest;
        }
        assert_true(timer_queue_next_deadline(&queue) <= earliest);
        if (random_below(&random, 2) == 0 && timer_queue_next_deadline(&queue) > now &&
            earliest != FOYER_TIME_NEVER)
            now = timer_queue_next_deadline(&queue);
        else
            now += random_delay(&random) >> 4;

        struct timer *timer;
        while ((timer = timer_queue_pop_due(&queue, now)) != NULL) {
            size_t i = (size_t)(timer - timers);
            assert_true(expected[i] <= now);
            assert_true(timer->deadline_ns == expected[i]);
            expected[i] = FOYER_TIME_NEVER;
        }
        earliest = FOYER_TIME_NEVER;
        for (unsigned i = 0; i < TIMERS; i++) {
            assert_true(expected[i] > now);
            earliest = expected[i] < earliest ? expected[i] : earliest;
        }
        assert_true(timer_queue_next_deadline(&queue) <= earliest);
        assert_true(timer_queue_next_deadline(&queue) > now);
    }
    timer_queue_finish(&queue);
    for (unsigned i = 0; i < TIMERS; i++)
        assert_false(timer_is_armed(&timers[i]));
}

static void model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_model(seed);
}

/* What a connection does: one timer, moved at every acknowledgement. */
static void moved_again_and_again(void **state)
{
    (void)state;
    static struct timer_queue queue;
    struct timer timer = {0};
    timer_queue_init(&queue, 0);
    foyer_time_ns now = 0;
    for (int i = 0; i < 100000; i++) {
        now += 1234567;
        timer_set(&queue, &timer, now + 200000000);
        assert_null(timer_queue_pop_due(&queue, now));
        assert_int_equal(queue.count, 1);
    }
    /* Wake-ups that find nothing are few and end with the exact time. */
    int early = 0;
    while (timer_queue_next_deadline(&queue) != now + 200000000) {
        assert_null(timer_queue_pop_due(&queue, timer_queue_next_deadline(&queue)));
        assert_true(++early < TIMER_LEVELS);
    }
    assert_ptr_equal(timer_queue_pop_due(&queue, now + 200000000), &timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_deadline),
        cmocka_unit_test(overdue_and_never),
        cmocka_unit_test(model),
        cmocka_unit_test(moved_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
