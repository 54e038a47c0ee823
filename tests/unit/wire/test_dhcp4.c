/* wire/dhcp4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/dhcp4.h"

/* Fixed fields and the cookie of an answer, with room for options behind them. */
static size_t begin(uint8_t *bytes)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    memset(bytes, 0, 600);
    bytes[0] = 2;
    bytes[1] = 1;
    bytes[2] = 6;
    bytes[7] = 77;
    memcpy(bytes + 16, (const uint8_t[]){10, 0, 0, 5}, 4);
    memcpy(bytes + 28, mac, 6);
    memcpy(bytes + 236, (const uint8_t[]){0x63, 0x82, 0x53, 0x63}, 4);
    memcpy(bytes + 240, (const uint8_t[]){53, 1, 5}, 3);
    return 243;
}

static int parse(const uint8_t *bytes, size_t size, struct wire_dhcp4 *ret)
{
    /* Exactly as large as the message, so that the sanitizer sees any read past its end. */
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    int result = wire_dhcp4_parse(copy, size, ret);
    free(copy);
    return result;
}

static void all_fields_come_back(void **state)
{
    (void)state;
    struct wire_dhcp4 out = {
        .op = WIRE_DHCP4_BOOTREPLY,
        .type = WIRE_DHCP4_ACK,
        .xid = 0x12345678,
        .seconds = 9,
        .is_broadcast = true,
        .mac = {2, 0, 0, 0, 0, 1},
        .client = foyer_addr_v4(10, 0, 0, 4),
        .yours = foyer_addr_v4(10, 0, 0, 5),
        .server = foyer_addr_v4(10, 0, 0, 6),
        .relay = foyer_addr_v4(10, 0, 0, 7),
        .requested = foyer_addr_v4(10, 0, 0, 8),
        .server_id = foyer_addr_v4(10, 0, 0, 9),
        .has_lease = true,
        .lease_s = 3600,
        .has_renewal = true,
        .renewal_s = 1800,
        .has_rebinding = true,
        .rebinding_s = 3000,
        .has_mask = true,
        .prefix_length = 20,
        .is_rapid_commit = true,
        .mtu = 1400,
        .max_size = 1500,
        .routers = {1, {foyer_addr_v4(10, 0, 0, 1)}},
        .name_servers = {2, {foyer_addr_v4(10, 0, 0, 2), foyer_addr_v4(10, 0, 0, 3)}},
        .has_routes = true,
        .route_count = 2,
        .routes = {{foyer_addr_v4(0, 0, 0, 0), 0, foyer_addr_v4(10, 0, 0, 1)},
                   {foyer_addr_v4(172, 16, 0, 0), 12, foyer_addr_v4(0, 0, 0, 0)}},
        .client_id_size = 3,
        .client_id = {0, 1, 2},
        .parameter_count = 2,
        .parameters = {1, 121},
        .domain = {7, "foyer.x"},
        .host_name = {4, "shop"}};
    struct wire_dhcp4 in;
    uint8_t bytes[WIRE_DHCP4_SIZE_MAX];
    memset(out.time_servers.addrs, 0, sizeof(out.time_servers.addrs));
    size_t size = wire_dhcp4_emit(bytes, &out);
    assert_int_equal(parse(bytes, size, &in), size);
    assert_int_equal(in.xid, out.xid);
    assert_int_equal(in.seconds, 9);
    assert_true(in.is_broadcast && in.is_rapid_commit && in.has_mask && in.has_routes);
    assert_int_equal(in.prefix_length, 20);
    assert_int_equal(in.renewal_s, 1800);
    assert_int_equal(in.rebinding_s, 3000);
    assert_int_equal(in.lease_s, 3600);
    assert_int_equal(in.mtu, 1400);
    assert_int_equal(in.max_size, 1500);
    assert_true(foyer_addr_eq(&in.relay, &out.relay) && foyer_addr_eq(&in.server, &out.server));
    assert_true(foyer_addr_eq(&in.requested, &out.requested));
    assert_true(foyer_addr_eq(&in.server_id, &out.server_id));
    assert_int_equal(in.name_servers.count, 2);
    assert_true(foyer_addr_eq(&in.name_servers.addrs[1], &out.name_servers.addrs[1]));
    assert_int_equal(in.route_count, 2);
    assert_int_equal(in.routes[1].prefix_length, 12);
    assert_true(foyer_addr_is_any(&in.routes[1].gateway));
    assert_true(foyer_addr_eq(&in.routes[1].prefix, &out.routes[1].prefix));
    assert_memory_equal(in.client_id, out.client_id, 3);
    assert_memory_equal(in.parameters, out.parameters, 2);
    assert_int_equal(in.domain.size, 7);
    assert_memory_equal(in.domain.bytes, "foyer.x", 7);
    assert_memory_equal(in.host_name.bytes, "shop", 4);
}

static void what_is_cut_is_refused(void **state)
{
    (void)state;
    struct wire_dhcp4 dhcp;
    uint8_t bytes[600];
    size_t size = begin(bytes);
    assert_int_equal(parse(bytes, size, &dhcp), size);
    assert_int_equal(parse(bytes, 239, &dhcp), -EINVAL);
    assert_int_equal(parse(bytes, size - 1, &dhcp), -EINVAL); /* inside of option 53 */
    bytes[240] = 12;                                          /* then there is no type */
    assert_int_equal(parse(bytes, size, &dhcp), -EINVAL);
    begin(bytes);
    bytes[236] ^= 1;
    assert_int_equal(parse(bytes, size, &dhcp), -EINVAL);
    begin(bytes);
    bytes[1] = 6; /* hardware that is not Ethernet */
    assert_int_equal(parse(bytes, size, &dhcp), -EINVAL);
    begin(bytes);
    bytes[243] = 6;
    bytes[244] = 9; /* more than is there */
    assert_int_equal(parse(bytes, 252, &dhcp), -EINVAL);
}

/* RFC 2132 section 9.3, RFC 3396: an option's pieces in options, file, sname, in that order. */
static void pieces_in_three_fields_are_one(void **state)
{
    (void)state;
    struct wire_dhcp4 dhcp;
    uint8_t bytes[600];
    size_t at = begin(bytes);
    memcpy(bytes + at, (const uint8_t[]){52, 1, 3, 15, 2, 'f', 'o', 255}, 8);
    memcpy(bytes + 108, (const uint8_t[]){0, 15, 2, 'y', 'e', 255}, 6);
    memcpy(bytes + 44, (const uint8_t[]){15, 1, 'r', 255}, 4);
    assert_true(parse(bytes, at + 8, &dhcp) > 0);
    assert_int_equal(dhcp.domain.size, 5);
    assert_memory_equal(dhcp.domain.bytes, "foyer", 5);
    bytes[at + 2] = 2; /* sname only */
    assert_true(parse(bytes, at + 8, &dhcp) > 0);
    assert_memory_equal(dhcp.domain.bytes, "for", 3);
    memcpy(bytes + 44 + 60, (const uint8_t[]){15, 3, 'r', 'r'}, 4); /* over sname's end */
    memset(bytes + 44, 0, 60);
    assert_int_equal(parse(bytes, at + 8, &dhcp), -EINVAL);
}

static void senseless_options_are_left_out(void **state)
{
    (void)state;
    static const struct {
        uint8_t size, bytes[16];
    } cases[] = {
        {6, {1, 4, 255, 0, 255, 0}},                      /* a mask with a hole */
        {5, {51, 3, 0, 0, 1}},                            /* a lease of three bytes */
        {7, {51, 5, 0, 0, 0, 1, 1}},                      /* and of five */
        {7, {121, 5, 33, 10, 0, 0, 1}},                   /* a prefix of 33 bits */
        {6, {121, 4, 24, 10, 0, 0}},                      /* a route that is cut */
        {14, {121, 12, 0, 10, 0, 0, 1, 24, 10, 1, 1, 1}}, /* the second one is: none counts */
        {2, {121, 0}},
        {3, {54, 1, 9}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wire_dhcp4 dhcp;
        uint8_t bytes[600];
        size_t at = begin(bytes);
        memcpy(bytes + at, cases[i].bytes, cases[i].size);
        assert_int_equal(parse(bytes, at + cases[i].size, &dhcp), at + cases[i].size);
        assert_false(dhcp.has_mask || dhcp.has_lease || dhcp.has_routes);
        assert_int_equal(dhcp.route_count, 0);
        assert_true(foyer_addr_is_any(&dhcp.server_id));
    }
}

static void lists_are_bounded(void **state)
{
    (void)state;
    struct wire_dhcp4 dhcp;
    uint8_t bytes[600];
    size_t at = begin(bytes);
    bytes[at] = 6;
    bytes[at + 1] = 40; /* ten name servers */
    memset(bytes + at + 2, 9, 40);
    at += 42;
    bytes[at] = 121;
    bytes[at + 1] = 250; /* fifty default routes */
    memset(bytes + at + 2, 0, 250);
    at += 252;
    assert_true(parse(bytes, at, &dhcp) > 0);
    assert_int_equal(dhcp.name_servers.count, WIRE_DHCP4_NAME_SERVERS_MAX);
    assert_int_equal(dhcp.route_count, WIRE_DHCP4_ROUTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(what_is_cut_is_refused),
        cmocka_unit_test(pieces_in_three_fields_are_one),
        cmocka_unit_test(senseless_options_are_left_out),
        cmocka_unit_test(lists_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
