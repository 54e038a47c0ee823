/* link/impair: each impairment does what it says, and a seed decides it all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "link/impair.h"
#include "link/memory.h"

#define FRAMES 20000

/* An IPv4 ethertype, then a number and filler. */
static void number_frame(uint8_t *frame, size_t size, uint32_t number)
{
    memset(frame, 0x77, size);
    store_be16(frame + 12, 0x0800);
    store_be32(frame + 14, number);
}

static struct foyer_packet as_packet(const uint8_t *frame, size_t size)
{
    return (struct foyer_packet){.spans = {{frame, size}}, .span_count = 1};
}

static void push_number(struct impair *impair, uint32_t number, size_t size, foyer_time_ns now)
{
    uint8_t frame[1500];
    number_frame(frame, size, number);
    struct foyer_packet packet = as_packet(frame, size);
    impair_push(impair, &packet, now);
}

static uint32_t number_of(const struct foyer_packet *packet)
{
    return load_be32(packet->spans[0].base + 14);
}

static void perfect_by_default(void **state)
{
    (void)state;
    struct impair impair;
    struct impair_config config = {0};
    impair_init(&impair, &config, 1);
    assert_true(impair_deadline(&impair) == FOYER_TIME_NEVER);
    for (uint32_t i = 0; i < 100; i++)
        push_number(&impair, i, 60, 5);
    struct foyer_packet got[128];
    assert_true(impair_deadline(&impair) == 5);
    assert_int_equal(impair_pop(&impair, got, 128, 5), 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(number_of(&got[i]), i);
    impair_finish(&impair);
}

static void loss_and_duplication(void **state)
{
    (void)state;
    struct impair impair;
    struct impair_config config = {.loss_ppm = 100000, .duplicate_ppm = 50000};
    impair_init(&impair, &config, 2);
    static unsigned seen[FRAMES];
    memset(seen, 0, sizeof(seen));
    for (uint32_t i = 0; i < FRAMES; i++) {
        push_number(&impair, i, 60, i);
        struct foyer_packet got[4];
        size_t count = impair_pop(&impair, got, 4, i);
        for (size_t j = 0; j < count; j++)
            seen[number_of(&got[j])]++;
    }
    unsigned lost = 0, twice = 0;
    for (unsigned i = 0; i < FRAMES; i++) {
        assert_true(seen[i] <= 2);
        lost += seen[i] == 0;
        twice += seen[i] == 2;
    }
    assert_in_range(lost, FRAMES / 11, FRAMES / 9);
    assert_in_range(twice, FRAMES * 9 / 10 / 22, FRAMES * 9 / 10 / 18);
    assert_int_equal(impair.stats.lost, lost);
    assert_int_equal(impair.stats.duplicated, twice);
    impair_finish(&impair);
}

/* 1 % of the frames in bursts of 5 on average: mean length and share are the model's. */
static void loss_in_bursts(void **state)
{
    (void)state;
    struct impair impair;
    struct impair_config config = {
        .loss_ppm = 100, .burst_enter_ppm = 2020, .burst_leave_ppm = 200000};
    impair_init(&impair, &config, 7);
    unsigned lost = 0, bursts = 0, frames = 500000;
    bool last_lost = false;
    for (uint32_t i = 0; i < frames; i++) {
        struct foyer_packet got;
        push_number(&impair, i, 60, i);
        bool is_lost = impair_pop(&impair, &got, 1, i) == 0;
        lost += is_lost;
        bursts += is_lost && !last_lost;
        last_lost = is_lost;
    }
    assert_int_equal(impair.stats.lost, lost);
    assert_in_range(impair.stats.lost_in_bursts, frames * 9 / 1000, frames * 11 / 1000);
    assert_in_range(impair.stats.lost - impair.stats.lost_in_bursts, 20, 100);
    assert_in_range(lost * 10 / bursts, 45, 53); /* 5, less the single losses */

    /* Elliott's: even the bad state lets half of them through. */
    config = (struct impair_config){
        .burst_enter_ppm = 500000, .burst_leave_ppm = 500000, .burst_loss_ppm = 500000};
    impair_finish(&impair);
    impair_init(&impair, &config, 8);
    for (uint32_t i = 0; i < 40000; i++) {
        struct foyer_packet got;
        push_number(&impair, i, 60, i);
        impair_pop(&impair, &got, 1, i);
    }
    assert_in_range(impair.stats.lost, 9700, 10300);
    impair_finish(&impair);
}

static void delay_jitter_and_reordering(void **state)
{
    (void)state;
    for (uint32_t reorder = 0; reorder <= 100000; reorder += 100000) {
        struct impair impair;
        struct impair_config config = {
            .delay_ns = 1000, .jitter_ns = 500, .reorder_ppm = reorder, .reorder_ns = 5000};
        impair_init(&impair, &config, 3);
        for (uint32_t i = 0; i < 1000; i++)
            push_number(&impair, i, 60, i * 10);
        uint32_t count = 0, inversions = 0, last = 0;
        foyer_time_ns last_time = 0, time;
        while ((time = impair_deadline(&impair)) != FOYER_TIME_NEVER) {
            struct foyer_packet got;
            assert_int_equal(impair_pop(&impair, &got, 1, time - 1), 0);
            assert_int_equal(impair_pop(&impair, &got, 1, time), 1);
            uint32_t number = number_of(&got);
            assert_true(time >= last_time);
            assert_true(got.arrival_ns == time);
            assert_true(time >= number * 10 + 1000);
            assert_true(time <= number * 10 + 1500 + 500 + (reorder > 0 ? 5000 : 0));
            inversions += number < last;
            last = number;
            last_time = time;
            count++;
        }
        assert_int_equal(count, 1000);
        assert_int_equal(inversions > 0, reorder > 0);
        impair_finish(&impair);
    }
}

/* An IPv4 or IPv6 header with these ECN bits, and what comes out. */
static int marked_as(const struct impair_config *config, bool is_v4, uint8_t ecn)
{
    uint8_t frame[54 + 40] = {0};
    struct impair impair;
    struct foyer_packet got;
    store_be16(frame + 12, is_v4 ? 0x0800 : 0x86dd);
    frame[14] = is_v4 ? 0x45 : 0x60;
    frame[15] = (uint8_t)(is_v4 ? 0xb8 | ecn : 0x80 | ecn << 4);
    if (is_v4)
        store_be16(frame + 24, checksum_of(frame + 14, 20));
    impair_init(&impair, config, 1);
    struct foyer_packet packet = as_packet(frame, sizeof(frame));
    impair_push(&impair, &packet, 0); /* what the mark may find waiting */
    impair_push(&impair, &packet, 0);
    assert_int_equal(impair_pop(&impair, &got, 1, FOYER_NS_PER_S), 1);
    bool was_marked = (got.spans[0].base[15] & (is_v4 ? 3 : 0x30)) == (is_v4 ? 3 : 0x30);
    assert_int_equal(was_marked, (config->mark_ppm > 0 && ecn != 0) || ecn == 3);
    assert_int_equal(impair_pop(&impair, &got, 1, 2 * FOYER_NS_PER_S), 1);
    const uint8_t *ip = got.spans[0].base + 14;
    if (is_v4)
        assert_int_equal(checksum_of(ip, 20), 0);
    assert_int_equal(is_v4 ? ip[1] & 0xfc : ip[1] & 0xcf, is_v4 ? 0xb8 : 0x80);
    int came_as = is_v4 ? ip[1] & 3 : ip[1] >> 4 & 3;
    impair_finish(&impair);
    return came_as;
}

/* RFC 3168 section 5: only what is ECN-capable is marked. */
static void marks(void **state)
{
    (void)state;
    static const struct impair_config always = {.mark_ppm = 1000000}, never = {0},
                                      waits = {.rate_bits_per_s = 94 * 8, .mark_bytes = 93},
                                      too_short = {.rate_bits_per_s = 94 * 8, .mark_bytes = 95};
    for (int is_v4 = 0; is_v4 < 2; is_v4++) {
        for (uint8_t ecn = 0; ecn < 4; ecn++) {
            assert_int_equal(marked_as(&never, is_v4, ecn), ecn);
            assert_int_equal(marked_as(&always, is_v4, ecn), ecn == 0 ? 0 : 3);
            assert_int_equal(marked_as(&waits, is_v4, ecn), ecn == 0 ? 0 : 3);
            assert_int_equal(marked_as(&too_short, is_v4, ecn), ecn);
        }
    }
}

static void rate_and_queue(void **state)
{
    (void)state;
    struct impair impair;
    /* 1000 bytes take 1 ms; room for 10 of them. */
    struct impair_config config = {.rate_bits_per_s = 8000000, .queue_bytes = 10000};
    impair_init(&impair, &config, 4);
    for (uint32_t i = 0; i < 100; i++)
        push_number(&impair, i, 1000, 0);
    assert_in_range(100 - impair.stats.overflowed, 10, 12);
    for (uint32_t i = 0; i < 100 - impair.stats.overflowed; i++) {
        struct foyer_packet got;
        assert_true(impair_deadline(&impair) == (i + 1) * FOYER_NS_PER_MS);
        assert_int_equal(impair_pop(&impair, &got, 1, impair_deadline(&impair)), 1);
        assert_int_equal(number_of(&got), i);
    }
    impair_finish(&impair);
}

static void damage_is_seen_by_the_checksum(void **state)
{
    (void)state;
    struct impair impair;
    struct impair_config config = {.damage_ppm = 1000000};
    impair_init(&impair, &config, 5);
    for (uint32_t i = 0; i < 2000; i++) {
        /* Everything behind the Ethernet header is covered; the sum is left to the link. */
        uint8_t frame[80];
        number_frame(frame, sizeof(frame), i);
        store_be16(frame + 30, 0);
        struct foyer_packet packet = as_packet(frame, sizeof(frame)), got;
        packet.flags = FOYER_PACKET_CHECKSUM_PARTIAL;
        packet.checksum_start = 14;
        packet.checksum_offset = 16;
        impair_push(&impair, &packet, i);
        assert_int_equal(impair_pop(&impair, &got, 1, i), 1);
        assert_int_equal(got.flags, 0);
        assert_int_equal(got.spans[0].size, sizeof(frame));
        assert_true(checksum_of(got.spans[0].base + 14, sizeof(frame) - 14) != 0);
        assert_memory_equal(got.spans[0].base, frame, 14);
    }
    /* Frames that only Ethernet's own checksum protects are lost. */
    uint8_t arp[60] = {[12] = 8, [13] = 6};
    struct foyer_packet packet = as_packet(arp, sizeof(arp)), got;
    impair_push(&impair, &packet, 5000);
    assert_int_equal(impair_pop(&impair, &got, 1, 5000), 0);
    /* Offsets outside: nothing is written there. */
    uint8_t frame[20];
    number_frame(frame, sizeof(frame), 0);
    packet = as_packet(frame, sizeof(frame));
    packet.flags = FOYER_PACKET_CHECKSUM_PARTIAL;
    packet.checksum_start = 14;
    packet.checksum_offset = 5;
    impair_push(&impair, &packet, 5001);
    assert_int_equal(impair_pop(&impair, &got, 1, 5001), 0);
    impair_finish(&impair);
}

static uint64_t run_hash(uint64_t seed)
{
    struct impair impair;
    struct impair_config config = {.loss_ppm = 50000,
                                   .duplicate_ppm = 50000,
                                   .reorder_ppm = 50000,
                                   .damage_ppm = 50000,
                                   .delay_ns = 100,
                                   .jitter_ns = 50};
    impair_init(&impair, &config, seed);
    for (uint32_t i = 0; i < 1000; i++)
        push_number(&impair, i, 60, i * 10);
    uint64_t hash = 0;
    struct foyer_packet got;
    while (impair_pop(&impair, &got, 1, impair_deadline(&impair)) > 0 ||
           impair_deadline(&impair) != FOYER_TIME_NEVER)
        hash = hash * 31 + number_of(&got) + got.arrival_ns;
    impair_finish(&impair);
    return hash;
}

static void seed_decides(void **state)
{
    (void)state;
    assert_true(run_hash(1) == run_hash(1));
    assert_true(run_hash(1) != run_hash(2));
}

static void link_delays_both_ways(void **state)
{
    (void)state;
    struct link *a, *b, *impaired;
    struct link_memory_config config = {0};
    assert_int_equal(link_memory_create(&config, &a, &b), 0);
    struct impair_config out = {.delay_ns = 100}, in = {.delay_ns = 30};
    assert_int_equal(link_impair_create(a, &out, &in, 1, &impaired), 0);
    uint8_t frame[60];
    number_frame(frame, sizeof(frame), 1);
    struct foyer_packet packet = as_packet(frame, sizeof(frame)), got;

    assert_int_equal(link_send(impaired, &packet, 1, 10), 1);
    assert_int_equal(link_receive(b, &got, 1, 10), 0);
    assert_true(link_deadline(impaired) == 110);
    assert_int_equal(link_receive(impaired, &got, 1, 110), 0);
    assert_int_equal(link_receive(b, &got, 1, 110), 1);

    assert_int_equal(link_send(b, &packet, 1, 200), 1);
    assert_int_equal(link_receive(impaired, &got, 1, 200), 0);
    assert_true(link_deadline(impaired) == 230);
    link_close(b); /* what is on its way still arrives */
    assert_int_equal(link_receive(impaired, &got, 1, 229), 0);
    assert_int_equal(link_receive(impaired, &got, 1, 230), 1);
    assert_int_equal(number_of(&got), 1);
    assert_int_equal(link_receive(impaired, &got, 1, 231), -EPIPE);
    link_close(impaired);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perfect_by_default),
        cmocka_unit_test(loss_and_duplication),
        cmocka_unit_test(loss_in_bursts),
        cmocka_unit_test(delay_jitter_and_reordering),
        cmocka_unit_test(marks),
        cmocka_unit_test(rate_and_queue),
        cmocka_unit_test(damage_is_seen_by_the_checksum),
        cmocka_unit_test(seed_decides),
        cmocka_unit_test(link_delays_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
