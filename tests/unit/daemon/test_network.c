/* daemon/network: networks, numbers, addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "daemon/network.h"

static void parse_and_format(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_v4, is_good;
    } rows[] = {
        {"10.177.0.0/16", true, true},
        {"10.0.0.0/8", true, true},
        {"192.168.1.240/28", true, true},
        {"fd66:6f79:6572::/64", false, true},
        {"fd00::/112", false, true},
        {"10.177.0.0/16", false, false},
        {"fd00::/64", true, false},
        {"10.177.0.1/16", true, false},
        {"10.0.0.0/7", true, false},
        {"10.0.0.0/29", true, false},
        {"10.0.0.0/", true, false},
        {"10.0.0.0", true, false},
        {"10.0.0.0/16x", true, false},
        {"10.0.0.0/-8", true, false},
        {"10.0.0/16", true, false},
        {"127.0.0.0/8", true, false},
        {"224.0.0.0/8", true, false},
        {"0.0.0.0/8", true, false},
        {"fe80::/64", false, false},
        {"ff02::/64", false, false},
        {"::/64", false, false},
        {"fd00::/63", false, false},
        {"fd00::1/64", false, false},
        {"::ffff:10.0.0.0/112", false, false},
        {"", true, false},
        {"/16", true, false},
        {"10.177.0.0/0016", true, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct network network;
        char text[NETWORK_TEXT_SIZE];
        print_message("%s\n", rows[i].text);
        assert_int_equal(network_parse(rows[i].text, rows[i].is_v4, &network),
                         rows[i].is_good ? 0 : -EINVAL);
        if (rows[i].is_good) {
            network_format(&network, text);
            assert_string_equal(text, rows[i].text);
        }
    }
}

static void numbers_become_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *network;
        bool is_v4;
        uint32_t number;
        const char *address;
    } rows[] = {
        {"10.177.0.0/16", true, 2, "10.177.0.2"},
        {"10.177.0.0/16", true, 0x1ff, "10.177.1.255"},
        {"10.177.0.0/16", true, 65534, "10.177.255.254"},
        {"192.168.1.240/28", true, 14, "192.168.1.254"},
        {"fd66:6f79:6572::/64", false, 2, "fd66:6f79:6572::2"},
        {"fd66:6f79:6572::/64", false, 0x12345, "fd66:6f79:6572::1:2345"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct network network;
        char text[NETWORK_TEXT_SIZE];
        assert_int_equal(network_parse(rows[i].network, rows[i].is_v4, &network), 0);
        struct foyer_addr addr = network_address(&network, rows[i].number);
        address_format(&addr, text);
        assert_string_equal(text, rows[i].address);
        assert_true(network_contains(&network, &addr));
    }
}

static void limits_of_a_network(void **state)
{
    (void)state;
    struct network network;
    struct foyer_addr addr;
    network_parse("10.177.0.0/16", true, &network);
    assert_int_equal(network_number_max(&network), 65534);
    assert_true(address_parse("10.178.0.0", &addr));
    assert_false(network_contains(&network, &addr));
    assert_true(address_parse("fd00::1", &addr));
    assert_false(network_contains(&network, &addr));
    network_parse("10.0.0.16/28", true, &network);
    assert_int_equal(network_number_max(&network), 14);
    network_parse("fd00::/64", false, &network);
    assert_int_equal(network_number_max(&network), UINT32_MAX - 1);
    network_parse("fd00::/112", false, &network);
    assert_int_equal(network_number_max(&network), 65534);
}

static void macs_are_local_and_individual(void **state)
{
    (void)state;
    uint8_t mac[6];
    for (uint32_t building = 0; building < 0x20000; building += 0x1111) {
        network_mac(building, 0x123456, mac);
        assert_int_equal(mac[0] & 3, 2);
        assert_memory_equal(mac + 3, "\x12\x34\x56", 3);
    }
}

static void endpoints(void **state)
{
    (void)state;
    struct foyer_endpoint endpoint = {foyer_addr_v4(10, 0, 0, 1), 80};
    char text[NETWORK_TEXT_SIZE];
    endpoint_format(&endpoint, text);
    assert_string_equal(text, "10.0.0.1:80");
    assert_true(address_parse("fd00::7", &endpoint.addr));
    endpoint_format(&endpoint, text);
    assert_string_equal(text, "[fd00::7]:80");
    assert_false(address_parse("10.0.0", &endpoint.addr));
    assert_false(address_parse("", &endpoint.addr));
}

static void port_ranges(void **state)
{
    static const struct {
        const char *text;
        bool is_right;
        uint16_t first, last;
    } rows[] = {
        {"49152-65535", true, 49152, 65535},
        {"1-1", true, 1, 1},
        {"0-5", false, 0, 0},
        {"5-4", false, 0, 0},
        {"1-65536", false, 0, 0},
        {"1-99999999999999999999", false, 0, 0},
        {"1", false, 0, 0},
        {"1-", false, 0, 0},
        {"-1", false, 0, 0},
        {"", false, 0, 0},
        {"1-2 ", false, 0, 0},
        {" 1-2", false, 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint16_t first = 0, last = 0;
        assert_int_equal(port_range_parse(rows[i].text, &first, &last), rows[i].is_right);
        assert_int_equal(first, rows[i].first);
        assert_int_equal(last, rows[i].last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_and_format),    cmocka_unit_test(numbers_become_addresses),
        cmocka_unit_test(limits_of_a_network), cmocka_unit_test(macs_are_local_and_individual),
        cmocka_unit_test(endpoints),           cmocka_unit_test(port_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
