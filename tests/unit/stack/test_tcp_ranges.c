/* Lists of byte ranges: merging, trimming, growing, and what happens without memory. */
#include "unit/stack/tcp_peer.h"

#include "stack/tcp.h"

static uint32_t bytes_of(const struct tcp_ranges *ranges)
{
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < ranges->count; i++)
        bytes += seq_distance(ranges->range[i].end, ranges->range[i].start);
    return bytes;
}

static void ranges_merge_and_trim(void **state)
{
    struct peer *peer = peer_create();
    struct tcb tcb = {0};
    assert_true(tcp_ranges_need(peer->host, &tcb));
    struct tcp_ranges *ranges = tcb.out_of_order;

    (void)state;
    assert_non_null(ranges);
    assert_true(tcp_ranges_add(ranges, SEQ(0xfffffff0), SEQ(0xfffffff8)));
    assert_true(tcp_ranges_add(ranges, SEQ(16), SEQ(32)));
    assert_true(tcp_ranges_add(ranges, SEQ(0xfffffff8), SEQ(4)));
    assert_int_equal(ranges->count, 2);
    assert_int_equal(ranges->range[0].end.value, 4);
    assert_true(tcp_ranges_contains(ranges, SEQ(0xfffffffe), SEQ(2)));
    assert_false(tcp_ranges_contains(ranges, SEQ(2), SEQ(17)));
    assert_false(tcp_ranges_contains(ranges, SEQ(0xffffff00), SEQ(0xfffffff2)));
    assert_true(tcp_ranges_add(ranges, SEQ(2), SEQ(20)));
    assert_int_equal(ranges->count, 1);
    assert_int_equal(bytes_of(ranges), 48);
    tcp_ranges_trim(ranges, SEQ(10));
    assert_int_equal(bytes_of(ranges), 22);
    tcp_ranges_trim(ranges, SEQ(32));
    assert_int_equal(ranges->count, 0);
    tcp_ranges_drop(peer->host, &tcb);
    assert_null(tcb.out_of_order);
    peer_destroy(peer);
}

static void ranges_grow_up_to_their_bound(void **state)
{
    struct peer *peer = peer_create();
    struct tcb tcb = {0};
    assert_true(tcp_ranges_need(peer->host, &tcb));
    struct tcp_ranges *ranges = tcb.out_of_order;

    (void)state;
    for (uint32_t i = 0; i < TCP_RANGES_MAX; i++)
        assert_true(tcp_ranges_add(ranges, SEQ(i * 10), SEQ(i * 10 + 5)));
    for (uint32_t i = 0; i < TCP_RANGES_MAX; i++)
        assert_int_equal(ranges->range[i].start.value, i * 10);
    assert_false(tcp_ranges_add(ranges, SEQ(100000), SEQ(100001)));
    assert_true(tcp_ranges_add(ranges, SEQ(5), SEQ(10))); /* joining needs none */
    assert_int_equal(ranges->count, TCP_RANGES_MAX - 1);
    assert_true(tcp_ranges_add(ranges, SEQ(100000), SEQ(100001)));
    tcp_ranges_drop(peer->host, &tcb);
    peer_destroy(peer);
}

static void *no_memory(void *context, size_t size)
{
    (void)context;
    (void)size;
    return NULL;
}

static void ranges_without_memory_refuse_and_keep_what_they_have(void **state)
{
    struct peer *peer = peer_create();
    struct tcb tcb = {0};
    assert_true(tcp_ranges_need(peer->host, &tcb));
    struct tcp_ranges *ranges = tcb.out_of_order;
    void *(*alloc)(void *context, size_t size) = peer->host->config.allocator.alloc;

    (void)state;
    peer->host->config.allocator.alloc = no_memory;
    for (uint32_t i = 0; i < TCP_RANGES_FEW; i++)
        assert_true(tcp_ranges_add(ranges, SEQ(i * 10), SEQ(i * 10 + 5)));
    assert_false(tcp_ranges_add(ranges, SEQ(100000), SEQ(100001)));
    assert_int_equal(ranges->count, TCP_RANGES_FEW);
    peer->host->config.allocator.alloc = alloc;
    assert_true(tcp_ranges_add(ranges, SEQ(100000), SEQ(100001)));
    tcp_ranges_drop(peer->host, &tcb);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_merge_and_trim),
        cmocka_unit_test(ranges_grow_up_to_their_bound),
        cmocka_unit_test(ranges_without_memory_refuse_and_keep_what_they_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
