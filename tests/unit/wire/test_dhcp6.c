/* wire/dhcp6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/dhcp6.h"

static int parse(const uint8_t *bytes, size_t size, struct wire_dhcp6 *ret)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    int result = wire_dhcp6_parse(copy, size, ret);
    free(copy);
    return result;
}

static const struct wire_dhcp6 full = {
    .type = WIRE_DHCP6_REPLY,
    .xid = 0xabcdef,
    .client_id = {4, {0, 3, 0, 1}},
    .server_id = {3, {0, 2, 9}},
    .has_ia = true,
    .iaid = 7,
    .t1_s = 100,
    .t2_s = 200,
    .ia_status = WIRE_DHCP6_NO_BINDING,
    .address_count = 2,
    .addresses = {{{{0x20, 1, [15] = 1}}, 300, 400, 0},
                  {{{0x20, 1, [15] = 2}}, 0, 0, WIRE_DHCP6_NOT_ON_LINK}},
    .status = WIRE_DHCP6_USE_MULTICAST,
    .has_elapsed = true,
    .elapsed_cs = 55,
    .preference = 200,
    .is_rapid_commit = true,
    .parameter_count = 2,
    .parameters = {23, 24},
    .name_server_count = 1,
    .name_servers = {{{0xfd, [15] = 9}}},
    .domains_size = 5,
    .domains = {3, 'l', 'a', 'n', 0},
    .refresh_s = 700,
    .sol_max_rt_s = 60,
    .inf_max_rt_s = 90,
};

static void all_fields_come_back(void **state)
{
    (void)state;
    struct wire_dhcp6 in;
    uint8_t bytes[WIRE_DHCP6_SIZE_MAX];
    size_t size = wire_dhcp6_emit(bytes, &full);
    assert_int_equal(parse(bytes, size, &in), size);
    assert_int_equal(in.xid, full.xid);
    assert_int_equal(in.client_id.size, 4);
    assert_memory_equal(in.server_id.bytes, full.server_id.bytes, 3);
    assert_true(in.has_ia && in.has_elapsed && in.is_rapid_commit);
    assert_int_equal(in.iaid, 7);
    assert_int_equal(in.t2_s, 200);
    assert_int_equal(in.ia_status, WIRE_DHCP6_NO_BINDING);
    assert_int_equal(in.address_count, 2);
    assert_int_equal(in.addresses[0].valid_s, 400);
    assert_int_equal(in.addresses[1].status, WIRE_DHCP6_NOT_ON_LINK);
    assert_int_equal(in.status, WIRE_DHCP6_USE_MULTICAST);
    assert_int_equal(in.preference, 200);
    assert_int_equal(in.parameter_count, 2);
    assert_true(foyer_addr_eq(&in.name_servers[0], &full.name_servers[0]));
    assert_int_equal(in.domains_size, 5);
    assert_int_equal(in.refresh_s, 700);
    assert_int_equal(in.sol_max_rt_s, 60);
    assert_int_equal(in.inf_max_rt_s, 90);
}

/* Wherever the message is cut, it is refused, or what is left is whole options. */
static void every_cut_is_safe(void **state)
{
    (void)state;
    struct wire_dhcp6 in;
    uint8_t bytes[WIRE_DHCP6_SIZE_MAX];
    size_t size = wire_dhcp6_emit(bytes, &full);
    unsigned refused = 0;
    for (size_t cut = 0; cut < size; cut++)
        refused += parse(bytes, cut, &in) < 0;
    assert_true(refused > size * 9 / 10);
}

static void an_option_stays_in_its_surroundings(void **state)
{
    (void)state;
    struct wire_dhcp6 in;
    /* Reply, IA_NA of 16 bytes whose inner option says 20. */
    uint8_t bytes[] = {7, 0, 0, 1, 0, 3, 0, 16, 0, 0,  0, 7, 0, 0,
                       0, 0, 0, 0, 0, 0, 0, 5,  0, 20, 1, 2, 3, 4};
    assert_int_equal(parse(bytes, sizeof(bytes), &in), -EINVAL);
    bytes[21] = 99; /* an unknown option is no better */
    assert_int_equal(parse(bytes, sizeof(bytes), &in), -EINVAL);
    uint8_t short_ia[] = {7, 0, 0, 1, 0, 3, 0, 4, 0, 0, 0, 7};
    assert_int_equal(parse(short_ia, sizeof(short_ia), &in), -EINVAL);
    uint8_t no_duid[] = {7, 0, 0, 1, 0, 1, 0, 0};
    assert_int_equal(parse(no_duid, sizeof(no_duid), &in), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(every_cut_is_safe),
        cmocka_unit_test(an_option_stays_in_its_surroundings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
