/* link/memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/memory.h"

static struct foyer_packet two_spans(const char *a, const char *b)
{
    return (struct foyer_packet){
        .spans = {{(const uint8_t *)a, strlen(a)}, {(const uint8_t *)b, strlen(b)}},
        .span_count = 2,
        .flags = FOYER_PACKET_CHECKSUM_PARTIAL,
        .gso_type = FOYER_GSO_TCPV4,
        .gso_size = 1448,
        .header_size = 66,
        .checksum_start = 34,
        .checksum_offset = 16,
    };
}

static void frames_and_facts_arrive(void **state)
{
    (void)state;
    struct link *a, *b;
    struct link_memory_config config = {.capabilities = FOYER_LINK_TSO4};
    assert_int_equal(link_memory_create(&config, &a, &b), 0);
    assert_int_equal(link_capabilities(a), FOYER_LINK_TSO4);
    assert_int_equal(link_fd(a), -1);
    assert_true(link_deadline(a) == FOYER_TIME_NEVER);
    char head[] = "head";
    struct foyer_packet packet = two_spans(head, "body"), got[4];
    assert_int_equal(link_send(a, &packet, 1, 1), 1);
    head[0] = 'X'; /* it was copied */
    assert_int_equal(link_receive(a, got, 4, 2), 0);
    assert_int_equal(link_receive(b, got, 4, 7), 1);
    assert_int_equal(got[0].span_count, 1);
    assert_int_equal(got[0].spans[0].size, 8);
    assert_memory_equal(got[0].spans[0].base, "headbody", 8);
    assert_int_equal(got[0].flags, FOYER_PACKET_CHECKSUM_PARTIAL);
    assert_int_equal(got[0].gso_size, 1448);
    assert_int_equal(got[0].checksum_start, 34);
    assert_int_equal(got[0].arrival_ns, 7);
    assert_int_equal(link_receive(b, got, 4, 8), 0);
    link_close(a);
    link_close(b);
}

static void queue_is_bounded(void **state)
{
    (void)state;
    struct link *a, *b;
    struct link_memory_config config = {.queue_packets = 3};
    assert_int_equal(link_memory_create(&config, &a, &b), 0);
    struct foyer_packet packets[5], got[5];
    for (int i = 0; i < 5; i++)
        packets[i] = two_spans("a", "b");
    assert_int_equal(link_send(a, packets, 5, 0), 3);
    assert_int_equal(link_send(a, packets, 5, 0), 0);
    assert_int_equal(link_receive(b, got, 2, 0), 2);
    assert_int_equal(link_send(a, packets, 5, 0), 2);
    assert_int_equal(link_receive(b, got, 5, 0), 3);
    link_close(b);
    link_close(a);
}

static void closed_end(void **state)
{
    (void)state;
    struct link *a, *b;
    struct link_memory_config config = {0};
    assert_int_equal(link_memory_create(&config, &a, &b), 0);
    struct foyer_packet packet = two_spans("a", "b"), got[2];
    assert_int_equal(link_send(a, &packet, 1, 0), 1);
    link_close(a);
    assert_int_equal(link_send(b, &packet, 1, 0), -EPIPE);
    assert_int_equal(link_receive(b, got, 2, 0), 1);
    assert_int_equal(link_receive(b, got, 2, 0), -EPIPE);
    link_close(b);
    link_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_and_facts_arrive),
        cmocka_unit_test(queue_is_bounded),
        cmocka_unit_test(closed_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
