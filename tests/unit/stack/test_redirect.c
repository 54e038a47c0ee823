/* Redirects of both families: followed from the first hop, and from nobody else. */
#include "lan.h"

#include "base/bytes.h"
#include "wire/icmp.h"

static const struct foyer_addr router6 = {{0xfe, 0x80, [15] = 2}};
static const struct foyer_addr better6 = {{0xfe, 0x80, [15] = 3}};
static const struct foyer_addr far6 = {{0x20, 1, 0xd, 0xb8, 0xff, [15] = 9}};
static const struct foyer_addr other6 = {{0x20, 1, 0xd, 0xb8, 0xff, [15] = 10}};

static struct foyer_addr host4(uint8_t last)
{
    return foyer_addr_v4(10, 0, 0, last);
}

static struct foyer_addr far4(uint8_t last)
{
    return foyer_addr_v4(192, 0, 2, last);
}

static void discover(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_ROUTER_DISCOVERY;
}

static void ignore(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_ROUTER_DISCOVERY | FOYER_HOST_IGNORE_REDIRECTS;
}

/* Default routers of both families. */
static struct lan *make(void (*adjust)(struct foyer_host_config *))
{
    static const struct foyer_addr all_nodes = {{0xff, 2, [15] = 1}};
    struct lan *lan = lan_create(0, adjust);
    struct foyer_addr any = foyer_addr_v4(0, 0, 0, 0), gateway = host4(254);
    assert_int_equal(foyer_host_add_route(lan->host, &any, 0, &gateway), 0);
    struct wire_ndp ndp = {.type = WIRE_ICMP6_ROUTER_ADVERTISEMENT, .router_lifetime_s = 9000};
    lan_send_ndp(lan, &ndp, &router6, &all_nodes, 255);
    return lan;
}

static int setup(void **state)
{
    *state = make(discover);
    return 0;
}

static int setup_ignore(void **state)
{
    *state = make(ignore);
    return 0;
}

static struct foyer_addr next_hop(struct lan *lan, const struct foyer_addr *dst)
{
    struct ip_way way;
    assert_int_equal(ip_find_way(lan->host, dst, NULL, &way), 0);
    return way.neighbour->addr;
}

/* From router: packets from src to dst are to go to gateway. */
static void redirect4(struct lan *lan, struct foyer_addr router, struct foyer_addr src,
                      struct foyer_addr dst, struct foyer_addr gateway, uint8_t code)
{
    uint8_t frame[256], quote[28] = {0};
    struct wire_ipv4 ip = {.total_size = 28, .ttl = 9, .protocol = 17, .src = src, .dst = dst};
    wire_ipv4_emit(quote, &ip);
    lan_input(lan, frame,
              lan_icmp(frame, &router, &lan_host4, WIRE_ICMP_REDIRECT, code,
                       load_be32(gateway.bytes + 12), quote, sizeof(quote)));
}

static void assert_hop(struct lan *lan, struct foyer_addr dst, struct foyer_addr expected)
{
    struct foyer_addr hop = next_hop(lan, &dst);
    assert_memory_equal(hop.bytes, expected.bytes, 16);
}

/* [test RFC1122 3.2.2.2b] [test RFC1122 3.3.1.2b] */
static void v4_redirect_changes_one_destination(void **state)
{
    struct lan *lan = *state;
    assert_hop(lan, far4(1), host4(254));
    for (uint8_t code = 0; code < 4; code++) {
        redirect4(lan, host4(254), lan_host4, far4(code), host4(200), code);
        assert_hop(lan, far4(code), host4(200));
    }
    assert_hop(lan, far4(9), host4(254));
    /* The new first hop may send on, the old one has no say any more. */
    redirect4(lan, host4(254), lan_host4, far4(1), host4(199), 1);
    assert_hop(lan, far4(1), host4(200));
    redirect4(lan, host4(200), lan_host4, far4(1), host4(199), 1);
    assert_hop(lan, far4(1), host4(199));
}

/* [test RFC1122 3.2.2.2c] */
static void v4_redirects_that_are_not_believed(void **state)
{
    struct lan *lan = *state;
    const struct {
        struct foyer_addr router, src, dst, gateway;
        uint8_t code;
    } cases[] = {
        {host4(253), lan_host4, far4(1), host4(200), 1}, /* not the first hop */
        {host4(254), host4(9), far4(1), host4(200), 1},  /* a packet of another */
        {host4(254), lan_host4, far4(1), far4(200), 1},  /* off the link */
        {host4(254), lan_host4, far4(1), host4(255), 1}, /* everybody */
        {host4(254), lan_host4, far4(1), foyer_addr_v4(224, 0, 0, 1), 1},
        {host4(254), lan_host4, far4(1), foyer_addr_v4(0, 0, 0, 0), 1},
        {host4(254), lan_host4, far4(1), host4(254), 1},   /* itself */
        {host4(254), lan_host4, far4(1), lan_host4, 1},    /* us */
        {host4(254), lan_host4, far4(1), host4(200), 4},   /* no such code */
        {host4(254), lan_host4, host4(77), host4(200), 1}, /* on the link: no router's say */
        {host4(254), lan_host4, foyer_addr_v4(224, 0, 0, 5), host4(200), 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        redirect4(lan, cases[i].router, cases[i].src, cases[i].dst, cases[i].gateway,
                  cases[i].code);
        assert_int_equal(lan->host->redirect_count, 0);
    }
    assert_int_equal(lan_stats(lan).icmp_redirects_refused, sizeof(cases) / sizeof(cases[0]));
    uint8_t frame[64];
    struct foyer_addr router = host4(254);
    lan_input(lan, frame,
              lan_icmp(frame, &router, &lan_host4, WIRE_ICMP_REDIRECT, 1, 0x0a0000c8, "", 0));
    assert_int_equal(lan->host->redirect_count, 0);
}

static void redirect6(struct lan *lan, const struct foyer_addr *router,
                      const struct foyer_addr *dst, const struct foyer_addr *target,
                      uint8_t hop_limit)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_REDIRECT,
                           .target = *target,
                           .destination = *dst,
                           .has_target_mac = true,
                           .target_mac = {2, 0, 0, 0, 0, 9}};
    lan_send_ndp(lan, &ndp, router, &lan_host6, hop_limit);
}

/* [test RFC4861 8.3a] [test RFC4861 8.3b 8.3c 8.1b] */
static void v6_redirect_changes_one_destination(void **state)
{
    struct lan *lan = *state;
    assert_hop(lan, far6, router6);
    redirect6(lan, &router6, &far6, &better6, 255);
    assert_hop(lan, far6, better6);
    assert_hop(lan, other6, router6);
    const struct neighbour *neighbour = neighbour_find(lan->host, &better6);
    assert_int_equal(neighbour->state, NEIGHBOUR_STALE); /* its address came along */
    assert_int_equal(neighbour->mac[5], 9);
    assert_true(neighbour->is_router);
    /* A destination that turns out to be on the link. */
    redirect6(lan, &router6, &other6, &other6, 255);
    assert_hop(lan, other6, other6);
}

/* [test RFC4861 8.1a] */
static void v6_redirects_that_are_not_believed(void **state)
{
    struct lan *lan = *state;
    static const struct foyer_addr group = {{0xff, 2, [15] = 9}};
    static const struct foyer_addr global = {{0x20, 1, 0xd, 0xb8, [15] = 1}};
    redirect6(lan, &router6, &far6, &better6, 254);
    redirect6(lan, &better6, &far6, &better6, 255);   /* not the first hop */
    redirect6(lan, &lan_peer6, &far6, &better6, 255); /* not link-local */
    redirect6(lan, &router6, &far6, &global, 255);    /* a router has a link-local address */
    redirect6(lan, &router6, &group, &better6, 255);
    redirect6(lan, &router6, &lan_peer6, &better6, 255); /* on the link by its prefix */
    redirect6(lan, &router6, &lan_host6, &better6, 255);
    redirect6(lan, &router6, &far6, &lan->host->addresses[0].addr, 255);
    assert_int_equal(lan->host->redirect_count, 0);
    assert_hop(lan, far6, router6);
}

static void they_can_be_switched_off(void **state)
{
    struct lan *lan = *state;
    redirect4(lan, host4(254), lan_host4, far4(1), host4(200), 1);
    redirect6(lan, &router6, &far6, &better6, 255);
    assert_int_equal(lan->host->redirect_count, 0);
    assert_int_equal(lan_stats(lan).icmp_redirects_refused, 2);
}

/* RFC 1122 section 3.3.1.6, RFC 4861 section 6.3.5: back to the default where it leads nowhere. */
static void a_next_hop_that_does_not_answer_is_left(void **state)
{
    struct lan *lan = *state;
    redirect4(lan, host4(254), lan_host4, far4(1), host4(200), 1);
    foyer_socket socket =
        lan_bound(lan, FOYER_FAMILY_V4, FOYER_UDP, &(struct foyer_addr){{[10] = 0xff, 0xff}}, 9);
    struct foyer_endpoint remote = {far4(1), 9};
    assert_int_equal(foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now), 1);
    lan_live(lan, 5 * FOYER_NS_PER_S);
    assert_int_equal(lan->host->redirect_count, 0);
    assert_hop(lan, far4(1), host4(254));
}

static void the_table_is_bounded(void **state)
{
    struct lan *lan = *state;
    for (unsigned i = 0; i < HOST_REDIRECTS_MAX + 5; i++)
        redirect4(lan, host4(254), lan_host4, far4((uint8_t)(i + 1)), host4(200), 1);
    assert_int_equal(lan->host->redirect_count, HOST_REDIRECTS_MAX);
    assert_hop(lan, far4(5), host4(254));
    assert_hop(lan, far4(6), host4(200));
    assert_hop(lan, far4(HOST_REDIRECTS_MAX + 5), host4(200));
}

int main(void)
{
#define LAN(test) cmocka_unit_test_setup_teardown(test, setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        LAN(v4_redirect_changes_one_destination),
        LAN(v4_redirects_that_are_not_believed),
        LAN(v6_redirect_changes_one_destination),
        LAN(v6_redirects_that_are_not_believed),
        cmocka_unit_test_setup_teardown(they_can_be_switched_off, setup_ignore, lan_teardown),
        LAN(a_next_hop_that_does_not_answer_is_left),
        LAN(the_table_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
