/* Channels that go from one connection to the next: between whom, and when not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/arena.h"

#define RING_SIZE 4096u

struct fixture {
    struct arena *home;
    struct channel_pair pair;
    uint64_t ids;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.pair = {.accepting_arena = 2, .fork_counts = {5, 6}}};
    *state = &fixture;
    return arena_create(1, &fixture.home);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    arena_release(fixture->home);
    return 0;
}

static struct channel *take(struct fixture *fixture)
{
    struct channel *channel;
    assert_int_equal(
        channel_take(fixture->home, &fixture->pair, RING_SIZE, ++fixture->ids, &channel), 0);
    return channel;
}

static void same_pair_gets_it_again(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel = take(fixture);
    uint64_t id = channel->id;
    struct foyer_ring ring = channel_ring(channel, 0);
    channel_reference(channel);
    foyer_ring_publish_head(&ring, 100);
    atomic_store(&ring.shared->writer_state, FOYER_RING_RESET);
    atomic_store(&ring.shared->reader_waiter.waiting, 1);
    channel_release(channel);
    assert_int_equal(fixture->home->idle_count, 0); /* one end still has it */
    channel_release(channel);
    assert_int_equal(fixture->home->idle_count, 1);

    channel = take(fixture);
    assert_int_equal(channel->id, id);
    assert_int_equal(fixture->home->idle_count, 0);
    static const struct foyer_channel fresh;
    assert_memory_equal(channel->memory, &fresh, sizeof(fresh.rings));
    channel_release(channel);
}

static void others_do_not(void **state)
{
    struct fixture *fixture = *state;
    struct channel *first = take(fixture), *other;
    uint64_t id = first->id;
    channel_release(first);

    fixture->pair.accepting_arena = 3;
    other = take(fixture);
    assert_int_not_equal(other->id, id);
    channel_release(other);
    fixture->pair.accepting_arena = 2;
    assert_int_equal(channel_take(fixture->home, &fixture->pair, 2 * RING_SIZE, 99, &other), 0);
    assert_int_equal(other->id, 99);
    channel_release(other);
    assert_int_equal(fixture->home->idle_count, 3);
}

static void a_fork_on_either_side_ends_it(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned side = 0; side < 2; side++) {
        struct channel *channel = take(fixture);
        uint64_t id = channel->id;
        channel_release(channel);
        assert_int_equal(fixture->home->idle_count, 1);
        fixture->pair.fork_counts[side]++;
        channel = take(fixture);
        assert_int_not_equal(channel->id, id);
        assert_int_equal(fixture->home->idle_count, 0);
        channel->is_spoiled = true;
        channel_release(channel);
    }
}

static void spoiled_and_large_ones_are_freed(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel = take(fixture);
    channel->is_spoiled = true;
    channel_release(channel);
    assert_int_equal(fixture->home->idle_count, 0);

    channel = take(fixture);
    struct foyer_ring ring = channel_ring(channel, 1);
    foyer_ring_publish_head(&ring, 1u << 20); /* a lie as well: more than the ring holds */
    channel_release(channel);
    assert_int_equal(fixture->home->idle_count, 0);
}

static void idle_ones_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channels[200];
    for (unsigned i = 0; i < 200; i++)
        channels[i] = take(fixture);
    for (unsigned i = 0; i < 200; i++)
        channel_release(channels[i]);
    assert_true(fixture->home->idle_count > 0);
    assert_true(fixture->home->idle_count < 100);
    struct channel *newest = take(fixture);
    assert_int_equal(newest->id, 200); /* what was touched last is warm */
    channel_release(newest);
}

/* The connecting program goes first; the accepting one lives on. */
static void outlives_its_home(void **state)
{
    struct fixture *fixture = *state;
    struct channel *channel = take(fixture);
    arena_release(fixture->home);
    channel_release(channel);
    assert_int_equal(arena_create(1, &fixture->home), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(same_pair_gets_it_again),       TEST(others_do_not),
        TEST(a_fork_on_either_side_ends_it), TEST(spoiled_and_large_ones_are_freed),
        TEST(idle_ones_are_bounded),         TEST(outlives_its_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
