/* Writers of small messages that are held back, and those that are not. */
#include "harness.h"

#include <pthread.h>

#define BIG_RING_SIZE 65536u
#define MESSAGE_SIZE 64u

/* A stream to another program, of which only the writer's end is here. */
static struct fixture *writer_create(void)
{
    struct fixture *writer = fixture_create(SOCK_STREAM);
    free(writer->data[0]);
    writer->data[0] = malloc(BIG_RING_SIZE);
    assert_non_null(writer->data[0]);
    writer->channel.tx.data = writer->data[0];
    writer->channel.tx.size = BIG_RING_SIZE;
    writer->channel.tx_nook = malloc(FOYER_CHANNEL_NOOK_SIZE);
    assert_non_null(writer->channel.tx_nook);
    preload_config.spin_us = 30;
    return writer;
}

static void writer_destroy(struct fixture *writer)
{
    harness_clock_ns = 0;
    preload_config.spin_us = 0;
    preload_config.is_sandboxed = false;
    free(writer->channel.tx_nook);
    fixture_destroy(writer);
}

static ssize_t put(struct fixture *writer, size_t size, int flags)
{
    static char bytes[BIG_RING_SIZE];
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    return stream_send(&writer->sock, writer->ends[0], &iov, 1, flags);
}

static void put_queue(struct fixture *writer)
{
    for (unsigned i = 0; i < HOLD_QUEUE / MESSAGE_SIZE; i++)
        assert_int_equal(put(writer, MESSAGE_SIZE, 0), MESSAGE_SIZE);
}

static void take(struct fixture *writer, uint32_t bytes)
{
    const struct foyer_ring *ring = &writer->channel.tx;
    foyer_ring_publish_tail(ring, foyer_ring_tail(ring) + bytes);
}

/* Takes message by message what is beyond the queue that is allowed, once it is there. */
static void *read_messages(void *context)
{
    struct fixture *writer = context;
    while (foyer_ring_used(&writer->channel.tx) <= HOLD_QUEUE)
        sched_yield();
    for (unsigned i = 0; i < HOLD_STEP / MESSAGE_SIZE; i++) {
        sched_yield();
        take(writer, MESSAGE_SIZE);
    }
    return NULL;
}

static void flood_waits_for_its_reader(void **state)
{
    (void)state;
    struct fixture *writer = writer_create();
    pthread_t reader;
    put_queue(writer);
    assert_int_equal(foyer_ring_used(&writer->channel.tx), HOLD_QUEUE);
    assert_int_equal(pthread_create(&reader, NULL, read_messages, writer), 0);
    harness_clock_ns = 1; /* time stands still, so that the writer waits as long as it takes */
    assert_int_equal(put(writer, MESSAGE_SIZE, 0), MESSAGE_SIZE);
    assert_int_equal(foyer_ring_tail(&writer->channel.tx), HOLD_STEP);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(writer->channel.hold_off_bytes, 0);
    writer_destroy(writer);
}

static void all_of_the_ring_is_there_while_nobody_reads(void **state)
{
    (void)state;
    struct fixture *writer = writer_create();
    for (unsigned i = 0; i < BIG_RING_SIZE / MESSAGE_SIZE; i++)
        assert_int_equal(put(writer, MESSAGE_SIZE, 0), MESSAGE_SIZE);
    assert_int_equal(put(writer, MESSAGE_SIZE, MSG_DONTWAIT), -EAGAIN);
    /* Two tries: one with the first message beyond the queue, the other so much later. */
    assert_int_equal(writer->channel.hold_off_bytes, HOLD_OFF_ASLEEP);
    assert_int_equal(writer->channel.hold_off_from, HOLD_QUEUE + MESSAGE_SIZE + HOLD_OFF_ASLEEP);
    writer_destroy(writer);
}

static void readers_of_batches_and_slow_ones_are_left_alone(void **state)
{
    static const struct {
        uint32_t taken, before, after;
    } cases[] = {
        {.taken = HOLD_STEP, .before = 0, .after = 0},
        {.taken = HOLD_BATCH - 1, .before = HOLD_OFF_MAX, .after = 0},
        {.taken = HOLD_BATCH, .before = 0, .after = HOLD_OFF_MIN},
        {.taken = HOLD_QUEUE, .before = HOLD_OFF_MIN, .after = 2 * HOLD_OFF_MIN},
        {.taken = HOLD_QUEUE, .before = HOLD_OFF_MAX, .after = HOLD_OFF_MAX},
        {.taken = MESSAGE_SIZE, .before = 0, .after = HOLD_OFF_MIN},
        {.taken = HOLD_STEP - 1, .before = 2 * HOLD_OFF_MIN, .after = 4 * HOLD_OFF_MIN},
        {.taken = 0, .before = HOLD_OFF_MIN, .after = HOLD_OFF_ASLEEP},
        {.taken = UINT32_MAX, .before = 0, .after = HOLD_OFF_MIN}, /* a hostile one */
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *writer = writer_create();
        uint32_t used = HOLD_QUEUE + MESSAGE_SIZE;
        foyer_ring_publish_head(&writer->channel.tx, used);
        take(writer, cases[i].taken); /* between the send and the first look */
        writer->channel.hold_off_bytes = cases[i].before;
        writer->channel.hold_off_from = used - cases[i].before;
        hold_back(&writer->channel, used);
        assert_int_equal(writer->channel.hold_off_bytes, cases[i].after);
        assert_int_equal(writer->channel.hold_off_from, used);
        writer_destroy(writer);
    }
}

static void others_are_not_held_back(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        int flags;
        bool is_relayed;
        bool is_spinless;
        bool is_sandboxed;
        uint32_t off_bytes;
    } cases[] = {
        {.size = MESSAGE_SIZE, .flags = MSG_DONTWAIT},
        {.size = HOLD_MESSAGE_MAX + 1},
        {.size = MESSAGE_SIZE, .is_relayed = true}, /* the reader is foyerd */
        {.size = MESSAGE_SIZE, .is_spinless = true},
        {.size = MESSAGE_SIZE, .is_sandboxed = true},
        {.size = MESSAGE_SIZE, .off_bytes = HOLD_QUEUE + MESSAGE_SIZE + 1},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *writer = writer_create();
        uint8_t *nook = writer->channel.tx_nook;
        if (cases[i].is_relayed)
            writer->channel.tx_nook = NULL;
        if (cases[i].is_spinless)
            preload_config.spin_us = 0;
        preload_config.is_sandboxed = cases[i].is_sandboxed;
        put_queue(writer);
        writer->channel.hold_off_bytes = cases[i].off_bytes;
        assert_int_equal(put(writer, cases[i].size, cases[i].flags), cases[i].size);
        assert_int_equal(writer->channel.hold_off_bytes, cases[i].off_bytes);
        assert_int_equal(writer->channel.hold_off_from, 0);
        writer->channel.tx_nook = nook;
        writer_destroy(writer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flood_waits_for_its_reader),
        cmocka_unit_test(all_of_the_ring_is_there_while_nobody_reads),
        cmocka_unit_test(readers_of_batches_and_slow_ones_are_left_alone),
        cmocka_unit_test(others_are_not_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
