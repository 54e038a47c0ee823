/* base/checksum against a byte-at-a-time reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/random.h"

/* RFC 1071 section 4.1, as literally as possible. */
static uint16_t reference(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void rfc1071_example(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    assert_int_equal(checksum_of(bytes, sizeof(bytes)), (uint16_t)~0xddf2);
}

static void every_size_and_alignment(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1);
    uint8_t bytes[300];
    for (size_t at = 0; at < 8; at++) {
        for (size_t size = 0; size + at <= sizeof(bytes); size++) {
            random_fill(&random, bytes, sizeof(bytes));
            assert_int_equal(checksum_of(bytes + at, size), reference(bytes + at, size));
        }
    }
}

static void copies(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 4);
    uint8_t bytes[700], to[720];
    for (int round = 0; round < 20000; round++) {
        random_fill(&random, bytes, sizeof(bytes));
        memset(to, 0xee, sizeof(to));
        size_t at = (size_t)random_below(&random, 9), to_at = (size_t)random_below(&random, 9);
        size_t size = (size_t)random_below(&random, sizeof(bytes) - 9);
        size_t first = (size_t)random_below(&random, size + 1);
        struct checksum sum;
        checksum_init(&sum);
        checksum_add_copy(&sum, to + to_at, bytes + at, first);
        checksum_add_copy(&sum, to + to_at + first, bytes + at + first, size - first);
        assert_int_equal(checksum_finish(&sum), reference(bytes + at, size));
        assert_memory_equal(to + to_at, bytes + at, size);
        assert_int_equal(to[to_at + size], 0xee);
        assert_true(to_at == 0 || to[to_at - 1] == 0xee);
    }
}

static void all_ones_carry(void **state)
{
    (void)state;
    static uint8_t bytes[65535];
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(checksum_of(bytes, sizeof(bytes)), reference(bytes, sizeof(bytes)));
    assert_int_equal(checksum_of(bytes, 65534), 0);
}

static void pieces_of_any_length(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 2);
    uint8_t bytes[500];
    for (int round = 0; round < 2000; round++) {
        random_fill(&random, bytes, sizeof(bytes));
        struct checksum sum;
        checksum_init(&sum);
        size_t at = 0;
        while (at < sizeof(bytes)) {
            size_t size = (size_t)random_below(&random, 70);
            if (size > sizeof(bytes) - at)
                size = sizeof(bytes) - at;
            checksum_add(&sum, bytes + at, size);
            at += size;
        }
        assert_int_equal(checksum_finish(&sum), reference(bytes, sizeof(bytes)));
    }
}

static void pseudo_header_v4(void **state)
{
    (void)state;
    struct foyer_addr src = foyer_addr_v4(192, 0, 2, 1), dst = foyer_addr_v4(198, 51, 100, 255);
    uint8_t pseudo[12] = {192, 0, 2, 1, 198, 51, 100, 255, 0, 17, 0x12, 0x34};
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &src, &dst, 17, 0x1234);
    assert_int_equal(checksum_finish(&sum), reference(pseudo, sizeof(pseudo)));
    assert_int_equal(checksum_fold(&sum), (uint16_t)~reference(pseudo, sizeof(pseudo)));
}

static void pseudo_header_v6(void **state)
{
    (void)state;
    uint8_t pseudo[40];
    for (unsigned i = 0; i < 32; i++)
        pseudo[i] = (uint8_t)(i * 7 + 1);
    store_be32(pseudo + 32, 0x00012345);
    store_be32(pseudo + 36, 6);
    struct foyer_addr src, dst;
    memcpy(src.bytes, pseudo, 16);
    memcpy(dst.bytes, pseudo + 16, 16);
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &src, &dst, 6, 0x00012345);
    assert_int_equal(checksum_finish(&sum), reference(pseudo, sizeof(pseudo)));
}

static void update_equals_recompute(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[20];
        random_fill(&random, bytes, sizeof(bytes));
        bytes[0] |= 1; /* an all-zero sum has two forms; RFC 1624 section 3 */
        uint16_t before = checksum_of(bytes, sizeof(bytes));
        uint16_t old_word = load_be16(bytes + 8), new_word = (uint16_t)random_u64(&random);
        store_be16(bytes + 8, new_word);
        uint16_t updated = checksum_update(before, old_word, new_word);
        uint16_t recomputed = checksum_of(bytes, sizeof(bytes));
        assert_int_equal(updated, recomputed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc1071_example),         cmocka_unit_test(every_size_and_alignment),
        cmocka_unit_test(all_ones_carry),          cmocka_unit_test(pieces_of_any_length),
        cmocka_unit_test(pseudo_header_v4),        cmocka_unit_test(pseudo_header_v6),
        cmocka_unit_test(update_equals_recompute), cmocka_unit_test(copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
