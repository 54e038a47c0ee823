/* daemon/building: names, and who gets which address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/daemon.h"
#include "daemon/log.h"

static void *allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

static void no_work(void *context)
{
    (void)context;
}

static struct daemon daemon_state;

static int start(void **state)
{
    memset(&daemon_state, 0, sizeof(daemon_state));
    daemon_state.allocator = (struct foyer_allocator){allocate, release, NULL};
    list_init(&daemon_state.dirty_hosts);
    log_set_level(LOG_LEVEL_ERROR);
    if (loop_init(&daemon_state.loop, no_work, NULL) != 0)
        return -1;
    *state = &daemon_state.building;
    return building_init(&daemon_state.building, &daemon_state, "lab", "10.9.0.0/28", NULL);
}

static int stop(void **state)
{
    building_finish(*state);
    loop_finish(&daemon_state.loop);
    return 0;
}

static struct building_host *make(struct building *building, const char *name)
{
    struct building_host *host;
    assert_int_equal(building_host_create(building, name, NULL, NULL, &host), 0);
    return host;
}

static void assert_address(const struct foyer_addr *addr, const char *expected)
{
    char text[NETWORK_TEXT_SIZE];
    address_format(addr, text);
    assert_string_equal(text, expected);
}

static void lowest_number_first(void **state)
{
    struct building *building = *state;
    struct building_host *a = make(building, "a"), *b = make(building, "b");
    assert_address(&a->addr4, "10.9.0.2");
    assert_address(&a->addr6, "fd66:6f79:6572::2");
    assert_address(&b->addr4, "10.9.0.3");
    assert_int_equal(a->mac[5], 2);
    building_host_destroy(a);
    assert_null(building_find_name(building, "a"));
    struct building_host *c = make(building, "c");
    assert_address(&c->addr4, "10.9.0.2");
    assert_ptr_equal(building_find_addr(building, &c->addr4), c);
    assert_ptr_equal(building_find_addr(building, &c->addr6), c);
    assert_ptr_equal(building_find_mac(building, c->mac), c);
}

static void chosen_addresses_are_stepped_over(void **state)
{
    struct building *building = *state;
    struct building_host *fixed, *other;
    struct foyer_addr addr4, addr6;
    address_parse("10.9.0.3", &addr4);
    address_parse("fd66:6f79:6572::2", &addr6);
    assert_int_equal(building_host_create(building, "fixed", &addr4, &addr6, &fixed), 0);
    assert_int_equal(building_host_create(building, "x", &addr4, NULL, &other), -EEXIST);
    assert_int_equal(building_host_create(building, "x", NULL, &addr6, &other), -EEXIST);
    /* 2 is taken in the one network, 3 in the other, and whichever number the MAC came from. */
    struct building_host *next = make(building, "next");
    assert_true(next->number >= 4);
    assert_true(memcmp(next->mac, fixed->mac, 6) != 0);
}

static void addresses_that_no_host_can_have(void **state)
{
    static const char *const bad[] = {"10.9.0.0",  "10.9.0.1", "10.9.0.15",
                                      "10.9.0.16", "10.8.0.2", "127.0.0.1"};
    struct building_host *host;
    struct foyer_addr addr;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        address_parse(bad[i], &addr);
        assert_int_equal(building_host_create(*state, "x", &addr, NULL, &host), -EINVAL);
    }
    address_parse("fd66:6f79:6572::1", &addr);
    assert_int_equal(building_host_create(*state, "x", NULL, &addr, &host), -EINVAL);
}

static void a_full_network(void **state)
{
    struct building *building = *state;
    struct building_host *host;
    char name[16];
    for (int i = 2; i <= 14; i++) {
        snprintf(name, sizeof(name), "h%d", i);
        assert_int_equal(make(building, name)->number, i);
    }
    assert_int_equal(building_host_create(building, "late", NULL, NULL, &host), -ENOSPC);
    building_host_destroy(building_find_name(building, "h7"));
    assert_int_equal(make(building, "late")->number, 7);
}

static void names(void **state)
{
    static const struct {
        const char *text, *name;
    } rows[] = {
        {"web", "web"},
        {"WEB", "web"},
        {"web.", "web"},
        {"web.foyer.internal", "web"},
        {"Web.Foyer.Internal.", "web"},
        {"foyer.internal", "foyer.internal"},
        {".foyer.internal", ".foyer.internal"},
        {"", ""},
    };
    char name[FOYER_NAME_MAX], longest[300];
    struct building_host *host;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_true(building_name_normalise(rows[i].text, name));
        assert_string_equal(name, rows[i].name);
    }
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_false(building_name_normalise(longest, name));
    longest[64] = '\0';
    assert_false(building_name_normalise(longest, name));
    make(*state, "web");
    assert_int_equal(building_host_create(*state, "web", NULL, NULL, &host), -EEXIST);
    assert_int_equal(building_host_create(*state, "gateway", NULL, NULL, &host), -EINVAL);
    assert_int_equal(building_host_create(*state, "localhost", NULL, NULL, &host), -EINVAL);
    assert_int_equal(building_host_create(*state, "a.b", NULL, NULL, &host), -EINVAL);
    assert_int_equal(building_set_networks(*state, "10.8.0.0/16", NULL), -EBUSY);
}

static void resolving(void **state)
{
    struct building *building = *state;
    struct building_resolution found;
    struct foyer_addr none = {{0}};
    struct building_host *web = make(building, "web");
    assert_true(building_resolve(building, "WEB.foyer.internal.", &none, &found));
    assert_string_equal(found.name, "web.foyer.internal");
    assert_int_equal(found.addr_count, 2);
    assert_true(foyer_addr_eq(&found.addrs[0], &web->addr4));
    assert_true(building_resolve(building, "", &web->addr6, &found));
    assert_string_equal(found.name, "web.foyer.internal");
    assert_true(building_resolve(building, "gateway", &none, &found));
    assert_address(&found.addrs[0], "10.9.0.1");
    assert_false(building_resolve(building, "web.example.org", &none, &found));
    assert_false(building_resolve(building, "", &none, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lowest_number_first, start, stop),
        cmocka_unit_test_setup_teardown(chosen_addresses_are_stepped_over, start, stop),
        cmocka_unit_test_setup_teardown(addresses_that_no_host_can_have, start, stop),
        cmocka_unit_test_setup_teardown(a_full_network, start, stop),
        cmocka_unit_test_setup_teardown(names, start, stop),
        cmocka_unit_test_setup_teardown(resolving, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
