/* Router discovery, autoconfigured addresses, duplicate address detection. */
#include "lan.h"

#include <errno.h>

#define DAY_NS (86400 * FOYER_NS_PER_S)

static const struct foyer_addr router1 = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
static const struct foyer_addr router2 = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3}};
static const struct foyer_addr far_away = {
    {0x20, 1, 0xd, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}};
static const struct foyer_addr all_nodes = {{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
static const struct foyer_addr unspecified;

static struct foyer_addr prefix_of(uint8_t number)
{
    return (struct foyer_addr){{0x20, 1, 0xd, 0xb8, 0, number}};
}

static void discover(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_ROUTER_DISCOVERY;
}

static void slaac(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_SLAAC;
}

static void temporary(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_TEMPORARY_ADDRESSES;
}

static int setup_discover(void **state)
{
    *state = lan_create(0, discover);
    return 0;
}

static int setup_slaac(void **state)
{
    *state = lan_create(0, slaac);
    return 0;
}

static int setup_temporary(void **state)
{
    *state = lan_create(0, temporary);
    return 0;
}

static struct wire_ndp advertisement(uint16_t lifetime_s)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_ROUTER_ADVERTISEMENT,
                           .router_lifetime_s = lifetime_s,
                           .has_source_mac = true};
    memcpy(ndp.source_mac, lan_peer_mac, 6);
    return ndp;
}

static void advertise(struct lan *lan, const struct foyer_addr *router, uint16_t lifetime_s,
                      int8_t preference)
{
    struct wire_ndp ndp = advertisement(lifetime_s);
    ndp.preference = preference;
    lan_send_ndp(lan, &ndp, router, &all_nodes, 255);
}

static void advertise_prefix(struct lan *lan, uint8_t number, bool is_on_link, bool is_autonomous,
                             uint32_t valid_s, uint32_t preferred_s)
{
    struct wire_ndp ndp = advertisement(1800);
    ndp.prefix_count = 1;
    ndp.prefixes[0] = (struct wire_ndp_prefix){.prefix = prefix_of(number),
                                               .length = 64,
                                               .is_on_link = is_on_link,
                                               .is_autonomous = is_autonomous,
                                               .valid_s = valid_s,
                                               .preferred_s = preferred_s};
    lan_send_ndp(lan, &ndp, &router1, &all_nodes, 255);
}

/* The next message of that type among what the host sends. */
static bool next_ndp(struct lan *lan, uint8_t type, struct wire_ndp *ret_ndp,
                     struct lan_view *ret_view)
{
    const struct lan_frame *sent;
    while ((sent = lan_next(lan)) != NULL) {
        if (lan_view(sent, ret_view) && ret_view->protocol == WIRE_PROTOCOL_ICMP6 &&
            ret_view->transport[0] == type) {
            assert_true(wire_icmp6_checksum_ok(ret_view->transport, ret_view->size, &ret_view->src,
                                               &ret_view->dst));
            assert_true(wire_ndp_parse(ret_view->transport, ret_view->size, ret_ndp) > 0);
            assert_int_equal(ret_view->ttl, 255);
            return true;
        }
    }
    return false;
}

static unsigned count_ndp(struct lan *lan, uint8_t type)
{
    struct lan_view view;
    struct wire_ndp ndp;
    unsigned count = 0;
    lan_pull(lan);
    while (next_ndp(lan, type, &ndp, &view))
        count++;
    return count;
}

static int next_hop(struct lan *lan, const struct foyer_addr *dst, struct foyer_addr *ret_hop)
{
    struct ip_way way;
    int error = ip_find_way(lan->host, dst, NULL, &way);
    if (error == 0)
        *ret_hop = way.neighbour->addr;
    return error;
}

/* The nth address of that origin. */
static bool find_origin(struct lan *lan, enum foyer_address_origin origin, unsigned nth,
                        struct foyer_address_info *ret_info)
{
    struct foyer_address_info infos[32];
    size_t count = foyer_host_addresses(lan->host, infos, 32);
    for (size_t i = 0; i < count; i++) {
        if (infos[i].origin == origin && nth-- == 0) {
            *ret_info = infos[i];
            return true;
        }
    }
    return false;
}

/* ---- routers -------------------------------------------------------------------------------------------- */

/* [test RFC4861 6.3.7a 6.3.7b 6.3.7c] */
static void solicits_until_a_router_answers(void **state)
{
    struct lan *lan = *state;
    struct lan_view view;
    struct wire_ndp ndp;
    struct foyer_addr all_routers = all_nodes;
    all_routers.bytes[15] = 2;
    lan_wait(lan, FOYER_NS_PER_S);
    lan_pull(lan);
    assert_true(next_ndp(lan, WIRE_ICMP6_ROUTER_SOLICITATION, &ndp, &view));
    assert_true(foyer_addr_eq(&view.dst, &all_routers));
    assert_true(foyer_addr_is_link_local_v6(&view.src));
    assert_true(ndp.has_source_mac);
    assert_memory_equal(ndp.source_mac, lan_host_mac, 6);
    /* RFC 7559: after 4, 8, 16 s, each a tenth more or less. */
    unsigned count = 0;
    for (unsigned s = 0; s < 32; s++) {
        lan_wait(lan, FOYER_NS_PER_S);
        count += count_ndp(lan, WIRE_ICMP6_ROUTER_SOLICITATION);
    }
    assert_int_equal(count, 3);
    advertise(lan, &router1, 1800, 0);
    lan_wait(lan, 7200 * FOYER_NS_PER_S);
    assert_int_equal(count_ndp(lan, WIRE_ICMP6_ROUTER_SOLICITATION), 0);
}

static void does_nothing_unless_asked(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr hop;
    lan_live(lan, 100 * FOYER_NS_PER_S);
    assert_int_equal(lan_pull(lan), 0);
    advertise(lan, &router1, 1800, 1);
    advertise_prefix(lan, 1, true, true, 86400, 86400);
    assert_int_equal(lan_stats(lan).ndp_router_advertisements, 2);
    assert_int_equal(next_hop(lan, &far_away, &hop), -ENETUNREACH);
    struct foyer_address_info info;
    assert_false(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info));
    assert_null(neighbour_find(lan->host, &router1));
    lan_wait(lan, 100 * FOYER_NS_PER_S);
    assert_int_equal(lan_pull(lan), 0);
}

/* [test RFC4861 6.1.2a] */
static void only_neighbours_advertise(void **state)
{
    struct lan *lan = *state;
    struct wire_ndp ndp = advertisement(1800);
    struct foyer_addr hop;
    lan_send_ndp(lan, &ndp, &router1, &all_nodes, 254);
    lan_send_ndp(lan, &ndp, &lan_peer6, &all_nodes, 255);
    assert_int_equal(lan_stats(lan).in_dropped_malformed, 2);
    assert_int_equal(lan_stats(lan).ndp_router_advertisements, 0);
    assert_int_equal(next_hop(lan, &far_away, &hop), -ENETUNREACH);
}

/* [test RFC4861 6.3.4b 6.3.4c 6.3.4h 6.3.5a] [test RFC4861 6.3.5b] */
static void default_routers(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr hop;
    advertise(lan, &router1, 60, 0);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
    assert_true(neighbour_find(lan->host, &router1)->is_router);
    assert_int_equal(neighbour_find(lan->host, &router1)->state, NEIGHBOUR_STALE);
    advertise(lan, &router2, 60, 1); /* RFC 4191: high preference */
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router2));
    advertise(lan, &router2, 60, -1);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
    advertise(lan, &router1, 0, 0); /* no default router any more */
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router2));
    /* A route that the caller gave comes first. */
    assert_int_equal(foyer_host_add_route(lan->host, &unspecified, 0, &lan_peer6), 0);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &lan_peer6));
    assert_int_equal(foyer_host_remove_route(lan->host, &unspecified, 0), 0);
    lan_live(lan, 59 * FOYER_NS_PER_S);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    lan_live(lan, FOYER_NS_PER_S);
    assert_int_equal(next_hop(lan, &far_away, &hop), -ENETUNREACH);
}

/* RFC 4861 section 6.3.6: whose MAC is known goes before who may be dead. [test RFC4861 6.3.6a] */
static void known_routers_first(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr hop;
    struct wire_ndp without_mac = {
        .type = WIRE_ICMP6_ROUTER_ADVERTISEMENT, .preference = 1, .router_lifetime_s = 60};
    lan_send_ndp(lan, &without_mac, &router1, &all_nodes, 255);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
    advertise(lan, &router2, 60, 0);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router2));
}

/* RFC 4861 sections 6.3.6 and 7.2.5 [test RFC4861 6.3.6b 7.2.5f] [test RFC4861 7.2.5g] */
static void silent_and_former_routers(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr hop;
    advertise(lan, &router1, 9000, 0);
    advertise(lan, &router2, 9000, 0);
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V6, FOYER_UDP);
    struct foyer_endpoint remote = {far_away, 9};
    foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
    lan_live(lan, 20 * FOYER_NS_PER_S); /* nobody answers: delay, three probes */
    assert_null(neighbour_find(lan->host, &router1));
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router2));
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                           .target = router2,
                           .is_override = true,
                           .has_target_mac = true};
    memcpy(ndp.target_mac, lan_peer_mac, 6);
    lan_send_ndp(lan, &ndp, &router2, &lan_host6, 255); /* R is not set */
    assert_int_equal(next_hop(lan, &far_away, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
}

/* [test RFC4861 6.3.4d 6.3.4e 6.3.5a] */
static void on_link_prefixes(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr hop, near = prefix_of(1);
    near.bytes[15] = 77;
    advertise_prefix(lan, 1, false, true, 100, 100); /* says nothing about the link */
    assert_int_equal(next_hop(lan, &near, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
    assert_false(ip_is_on_link(lan->host, &near));
    advertise_prefix(lan, 1, true, false, 100, 100);
    assert_int_equal(next_hop(lan, &near, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &near));
    lan_live(lan, 100 * FOYER_NS_PER_S);
    assert_int_equal(next_hop(lan, &near, &hop), 0);
    assert_true(foyer_addr_eq(&hop, &router1));
    advertise_prefix(lan, 1, true, false, UINT32_MAX, UINT32_MAX);
    lan_live(lan, 1000 * FOYER_NS_PER_S);
    assert_true(ip_is_on_link(lan->host, &near));
    advertise_prefix(lan, 1, true, false, 0, 0);
    assert_false(ip_is_on_link(lan->host, &near));
    struct foyer_address_info info;
    assert_false(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info)); /* not asked for */
}

/* [test RFC4861 6.3.4a 6.3.4g] [test RFC4861 6.3.4i] */
static void link_parameters(void **state)
{
    struct lan *lan = *state;
    struct wire_ndp ndp = advertisement(1800);
    struct ip_way way;
    ndp.hop_limit = 33;
    ndp.mtu = 1400;
    ndp.reachable_ms = 2000;
    ndp.retransmit_ms = 300;
    lan_send_ndp(lan, &ndp, &router1, &all_nodes, 255);
    assert_int_equal(ip_find_way(lan->host, &far_away, NULL, &way), 0);
    assert_int_equal(way.mtu, 1400);
    assert_int_equal(ip_find_way(lan->host, &lan_peer4, NULL, &way), 0);
    assert_int_equal(way.mtu, 1500); /* IPv4 is not asked */
    assert_in_range(lan->host->reachable_ns, 1000 * FOYER_NS_PER_MS, 3000 * FOYER_NS_PER_MS);
    assert_int_equal(lan->host->retransmit_ns, 300 * FOYER_NS_PER_MS);
    int64_t ttl = 0;
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V6, FOYER_UDP);
    assert_int_equal(foyer_socket_get_option(lan->host, socket, FOYER_OPT_TTL, &ttl), 0);
    assert_int_equal(ttl, 33);
    /* Out of range, or not given: as before. */
    const uint32_t mtus[] = {0, 1279, 1501, 70000};
    for (size_t i = 0; i < 4; i++) {
        struct wire_ndp bad = advertisement(1800);
        bad.mtu = mtus[i];
        bad.reachable_ms = 3600001;
        bad.retransmit_ms = i % 2 ? 1 : 100000;
        lan_send_ndp(lan, &bad, &router1, &all_nodes, 255);
        assert_int_equal(lan->host->link_mtu_v6, 1400);
        assert_int_equal(lan->host->base_reachable_ms, 2000);
        assert_int_equal(lan->host->retransmit_ns, 300 * FOYER_NS_PER_MS);
        assert_int_equal(lan->host->hop_limit, 33);
    }
}

/* ---- autoconfigured addresses ------------------------------------------------------------------------------- */

/* [test RFC4862 5.4a 5.4.2c 5.5.3e] [test RFC4862 5.5a] */
static void address_from_prefix(void **state)
{
    struct lan *lan = *state;
    struct foyer_address_info info, other;
    struct lan_view view;
    struct wire_ndp ndp;
    lan_live(lan, 5 * FOYER_NS_PER_S);
    assert_true(find_origin(lan, FOYER_ADDRESS_LINK_LOCAL, 0, &info));
    assert_int_equal(info.state, FOYER_ADDRESS_ASSIGNED);
    advertise_prefix(lan, 1, true, true, 86400, 43200);
    assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info));
    assert_int_equal(info.state, FOYER_ADDRESS_TENTATIVE);
    assert_int_equal(info.prefix_length, 64);
    assert_int_equal(info.valid_until_ns, lan->now + 86400 * FOYER_NS_PER_S);
    assert_int_equal(info.preferred_until_ns, lan->now + 43200 * FOYER_NS_PER_S);
    struct foyer_addr prefix = prefix_of(1);
    assert_memory_equal(info.addr.bytes, prefix.bytes, 8);
    assert_int_not_equal(info.addr.bytes[11], 0xff); /* no trace of the MAC */
    assert_false(foyer_host_has_address(lan->host, &info.addr));
    /* Its question, then silence, then it is ours. */
    lan_wait(lan, FOYER_NS_PER_S);
    lan_pull(lan);
    assert_true(next_ndp(lan, WIRE_ICMP6_NEIGHBOUR_SOLICITATION, &ndp, &view));
    struct foyer_addr group = ip_solicited_node(&info.addr);
    assert_true(foyer_addr_eq(&view.src, &unspecified));
    assert_true(foyer_addr_eq(&view.dst, &group));
    assert_true(foyer_addr_eq(&ndp.target, &info.addr));
    assert_false(ndp.has_source_mac); /* RFC 4861 section 4.3: MUST NOT */
    lan_wait(lan, FOYER_NS_PER_S);
    assert_true(foyer_host_has_address(lan->host, &info.addr));
    struct ip_way way;
    assert_int_equal(ip_find_way(lan->host, &far_away, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.src, &info.addr));
    /* RFC 7217: another prefix, another identifier; the same again, the same. */
    advertise_prefix(lan, 2, false, true, 86400, 43200);
    lan_live(lan, 3 * FOYER_NS_PER_S);
    assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 1, &other));
    assert_memory_not_equal(other.addr.bytes + 8, info.addr.bytes + 8, 8);
    struct foyer_addr near = other.addr;
    near.bytes[15] ^= 1;
    assert_true(foyer_host_has_address(lan->host, &other.addr));
    assert_false(ip_is_on_link(lan->host, &near)); /* RFC 5942 section 4 */
    struct lan *again = lan_create(0, slaac);
    lan_live(again, 7 * FOYER_NS_PER_S);
    advertise_prefix(again, 1, true, true, 86400, 43200);
    assert_true(find_origin(again, FOYER_ADDRESS_SLAAC, 0, &other));
    assert_true(foyer_addr_eq(&other.addr, &info.addr));
    lan_destroy(again);
}

/* [test RFC4861 6.3.4f] [test RFC4862 5.5.3a 5.5.3b 5.5.3c 5.5.3d] */
static void prefixes_without_address(void **state)
{
    struct lan *lan = *state;
    struct foyer_address_info info;
    struct wire_ndp ndp = advertisement(1800);
    const struct wire_ndp_prefix rows[] = {
        {prefix_of(1), 64, true, true, 100, 200},  /* preferred longer than valid */
        {prefix_of(1), 63, true, true, 200, 100},  /* no room for 64 bits, or too much */
        {prefix_of(1), 65, true, true, 200, 100},  /* */
        {prefix_of(1), 64, true, true, 0, 0},      /* over already */
        {router1, 64, true, true, 200, 100},       /* the link-local prefix */
        {all_nodes, 64, true, true, 200, 100},     /* a group */
        {prefix_of(1), 64, true, false, 200, 100}, /* not for this */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ndp.prefix_count = 1;
        ndp.prefixes[0] = rows[i];
        lan_send_ndp(lan, &ndp, &router1, &all_nodes, 255);
        if (find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info))
            fail_msg("row %zu", i);
    }
}

/* RFC 4862 section 5.5.3 (e) [test RFC4862 5.5.3f] */
static void two_hour_rule(void **state)
{
    static const struct {
        uint32_t first_s, then_s, result_s;
    } rows[] = {
        {86400, 90000, 90000}, /* longer */
        {86400, 7201, 7201},   /* more than two hours */
        {86400, 7200, 7200},   {86400, 60, 7200},
        {86400, 0, 7200},      {3600, 60, 3600}, /* less than two hours are left: not shortened */
        {3600, 3700, 3700},    {UINT32_MAX, 10, 7200},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct lan *lan = lan_create(0, slaac);
        struct foyer_address_info info;
        advertise_prefix(lan, 1, true, true, rows[i].first_s, 10);
        advertise_prefix(lan, 1, true, true, rows[i].then_s, 0);
        assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info));
        if (info.valid_until_ns != lan->now + rows[i].result_s * FOYER_NS_PER_S)
            fail_msg("row %zu: %llu s", i,
                     (unsigned long long)((info.valid_until_ns - lan->now) / FOYER_NS_PER_S));
        assert_int_equal(info.preferred_until_ns, lan->now);
        lan_destroy(lan);
    }
}

/* [test RFC4862 5.5.4a 5.5.4b 5.5.4c] [test RFC4862 5.5.4d] */
static void deprecated_then_gone(void **state)
{
    struct lan *lan = *state;
    struct foyer_address_info first, second;
    struct ip_way way;
    advertise_prefix(lan, 1, true, true, 10000, 5000);
    advertise_prefix(lan, 2, true, true, 20000, 20000);
    assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &first));
    assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 1, &second));
    lan_live(lan, 10 * FOYER_NS_PER_S);
    struct foyer_addr near = prefix_of(1);
    near.bytes[15] = 77;
    assert_int_equal(ip_find_way(lan->host, &near, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.src, &first.addr));
    uint32_t generation = lan->host->path_generation;
    lan_live(lan, 4990 * FOYER_NS_PER_S);
    assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &first));
    assert_int_equal(first.state, FOYER_ADDRESS_DEPRECATED);
    assert_true(lan->host->path_generation != generation);
    assert_int_equal(ip_find_way(lan->host, &near, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.src, &second.addr));
    assert_int_equal(ip_find_way(lan->host, &near, &first.addr, &way), 0); /* who has it keeps it */
    lan_live(lan, 5000 * FOYER_NS_PER_S);
    assert_false(foyer_host_has_address(lan->host, &first.addr));
    assert_int_equal(ip_find_way(lan->host, &near, &first.addr, &way), -EADDRNOTAVAIL);
    assert_true(foyer_host_has_address(lan->host, &second.addr));
}

static void strangers_cannot_fill_the_host(void **state)
{
    struct lan *lan = *state;
    for (unsigned i = 0; i < 200; i++) {
        advertise_prefix(lan, (uint8_t)i, true, true, UINT32_MAX, UINT32_MAX);
        struct foyer_addr router = router1;
        router.bytes[14] = (uint8_t)i;
        advertise(lan, &router, 65535, 0);
        lan_wait(lan, FOYER_NS_PER_S);
        lan_pull(lan);
    }
    assert_int_equal(lan->host->prefix_count, HOST_PREFIXES_MAX);
    assert_int_equal(lan->host->router_count, HOST_ROUTERS_MAX);
    assert_true(lan->host->address_count <= 3 + HOST_AUTO_ADDRESSES_MAX);
    for (uint8_t i = 0; i < 13; i++) {
        struct foyer_addr addr = foyer_addr_v4(10, 9, 0, (uint8_t)(i + 1));
        assert_int_equal(foyer_host_add_address(lan->host, &addr, 24), 0);
    }
}

/* ---- duplicates (RFC 4862 section 5.4) ------------------------------------------------------------------------- */

static void probe_for(struct lan *lan, const struct foyer_addr *target, const uint8_t *nonce)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION, .target = *target};
    struct foyer_addr group = ip_solicited_node(target);
    if (nonce != NULL) {
        ndp.has_nonce = true;
        memcpy(ndp.nonce, nonce, 6);
    }
    lan_send_ndp(lan, &ndp, &unspecified, &group, 255);
}

/* [test RFC4862 5.4a 5.4.3a 5.4.3b 5.4.3c] */
static void claimed_address_is_probed(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr addr = lan_addr6(9);
    struct foyer_address_info info;
    struct foyer_endpoint local = {addr, 80};
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V6, FOYER_UDP);
    assert_int_equal(foyer_host_claim_address(lan->host, &addr, 64, lan->now), 0);
    assert_int_equal(foyer_host_claim_address(lan->host, &addr, 64, lan->now), -EEXIST);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &local, NULL), -EADDRNOTAVAIL);
    lan_wait(lan, FOYER_NS_PER_S);
    lan_pull(lan);
    struct lan_view view;
    struct wire_ndp ndp;
    assert_true(next_ndp(lan, WIRE_ICMP6_NEIGHBOUR_SOLICITATION, &ndp, &view));
    assert_true(ndp.has_nonce);
    /* Our own question, looped back; one who wants to resolve it; one about another address. */
    probe_for(lan, &addr, ndp.nonce);
    struct wire_ndp resolve = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION, .target = addr};
    struct foyer_addr group = ip_solicited_node(&addr), other = lan_addr6(10);
    lan_send_ndp(lan, &resolve, &lan_peer6, &group, 255);
    probe_for(lan, &other, NULL);
    assert_int_equal(lan_pull(lan), 0); /* and none of them is answered */
    lan_wait(lan, FOYER_NS_PER_S);
    assert_true(find_origin(lan, FOYER_ADDRESS_ADDED, 2, &info));
    assert_int_equal(info.state, FOYER_ADDRESS_ASSIGNED);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &local, NULL), 0);
    /* From now on it is defended. */
    probe_for(lan, &addr, NULL);
    assert_int_equal(count_ndp(lan, WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT), 1);
}

/* [test RFC4862 5.4.3b 5.4.4a 5.4.5a 5.4.5b] */
static void duplicates_are_not_used(void **state)
{
    struct lan *lan = *state;
    for (int by_answer = 0; by_answer < 2; by_answer++) {
        struct foyer_addr addr = lan_addr6((uint8_t)(9 + by_answer));
        struct foyer_address_info info;
        assert_int_equal(foyer_host_claim_address(lan->host, &addr, 64, lan->now), 0);
        lan_wait(lan, FOYER_NS_PER_S);
        lan_pull(lan);
        if (by_answer) {
            struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                                   .target = addr,
                                   .is_override = true,
                                   .has_target_mac = true};
            memcpy(ndp.target_mac, lan_peer_mac, 6);
            lan_send_ndp(lan, &ndp, &addr, &all_nodes, 255);
        } else {
            probe_for(lan, &addr, NULL);
        }
        assert_int_equal(lan_stats(lan).address_conflicts, 1 + by_answer);
        lan_live(lan, 10 * FOYER_NS_PER_S);
        assert_true(find_origin(lan, FOYER_ADDRESS_ADDED, (unsigned)(2 + by_answer), &info));
        assert_int_equal(info.state, FOYER_ADDRESS_DUPLICATE);
        assert_false(foyer_host_has_address(lan->host, &addr));
        /* It is somebody else's: we can talk to it. */
        struct foyer_addr hop;
        assert_int_equal(next_hop(lan, &addr, &hop), 0);
        assert_true(foyer_addr_eq(&hop, &addr));
    }
}

static void another_identifier_after_a_duplicate(void **state)
{
    struct lan *lan = *state;
    struct foyer_address_info info, before;
    advertise_prefix(lan, 1, true, true, 86400, 86400);
    for (unsigned tries = 0; tries < 4; tries++) {
        assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &before));
        assert_int_equal(before.state, FOYER_ADDRESS_TENTATIVE);
        probe_for(lan, &before.addr, NULL);
        assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info));
        assert_int_equal(foyer_addr_eq(&info.addr, &before.addr), tries == 3);
    }
    assert_int_equal(info.state, FOYER_ADDRESS_DUPLICATE);
    lan_live(lan, 20 * FOYER_NS_PER_S);
    assert_false(foyer_host_has_address(lan->host, &info.addr));
}

/* ---- temporary addresses (RFC 8981) -------------------------------------------------------------------------------- */

static void temporary_addresses(void **state)
{
    struct lan *lan = *state;
    struct foyer_address_info stable, first, second;
    struct ip_way way;
    lan_live(lan, 5 * FOYER_NS_PER_S);
    foyer_time_ns start = lan->now;
    advertise_prefix(lan, 1, true, true, UINT32_MAX, UINT32_MAX);
    lan_live(lan, 5 * FOYER_NS_PER_S);
    assert_true(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &stable));
    assert_true(find_origin(lan, FOYER_ADDRESS_TEMPORARY, 0, &first));
    assert_int_equal(first.state, FOYER_ADDRESS_ASSIGNED);
    assert_memory_equal(first.addr.bytes, stable.addr.bytes, 8);
    assert_memory_not_equal(first.addr.bytes + 8, stable.addr.bytes + 8, 8);
    assert_int_equal(first.valid_until_ns, start + 2 * DAY_NS);
    assert_in_range(first.preferred_until_ns, start + DAY_NS * 6 / 10, start + DAY_NS);
    assert_int_equal(ip_find_way(lan->host, &far_away, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.src, &first.addr)); /* RFC 6724 rule 7 */
    /* The successor is there before the first is deprecated. */
    lan_live(lan, first.preferred_until_ns - lan->now - FOYER_NS_PER_S);
    advertise_prefix(lan, 1, true, true, UINT32_MAX, UINT32_MAX);
    assert_true(find_origin(lan, FOYER_ADDRESS_TEMPORARY, 1, &second));
    assert_int_equal(second.state, FOYER_ADDRESS_ASSIGNED);
    assert_memory_not_equal(second.addr.bytes + 8, first.addr.bytes + 8, 8);
    lan_live(lan, 2 * FOYER_NS_PER_S);
    assert_int_equal(ip_find_way(lan->host, &far_away, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.src, &second.addr));
    assert_true(foyer_host_has_address(lan->host, &first.addr));
    /* A month later there are still a few only, and the stable one. */
    lan_live(lan, 30 * DAY_NS);
    assert_false(foyer_host_has_address(lan->host, &first.addr));
    assert_true(foyer_host_has_address(lan->host, &stable.addr));
    assert_true(find_origin(lan, FOYER_ADDRESS_TEMPORARY, 0, &first));
    assert_false(find_origin(lan, FOYER_ADDRESS_TEMPORARY, 4, &first));
}

/* The network renumbers: the temporary address is no better than its prefix. */
static void temporary_ends_with_its_prefix(void **state)
{
    struct lan *lan = *state;
    struct foyer_address_info info;
    advertise_prefix(lan, 1, true, true, 86400, 86400);
    lan_live(lan, 5 * FOYER_NS_PER_S);
    advertise_prefix(lan, 1, true, true, 0, 0);
    assert_true(find_origin(lan, FOYER_ADDRESS_TEMPORARY, 0, &info));
    assert_int_equal(info.state, FOYER_ADDRESS_DEPRECATED);
    assert_int_equal(info.valid_until_ns, lan->now + 7200 * FOYER_NS_PER_S);
    lan_live(lan, 7200 * FOYER_NS_PER_S);
    assert_false(find_origin(lan, FOYER_ADDRESS_TEMPORARY, 0, &info));
    assert_false(find_origin(lan, FOYER_ADDRESS_SLAAC, 0, &info));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
#define WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        WITH(solicits_until_a_router_answers, setup_discover),
        TEST(does_nothing_unless_asked),
        WITH(only_neighbours_advertise, setup_discover),
        WITH(default_routers, setup_discover),
        WITH(known_routers_first, setup_discover),
        WITH(silent_and_former_routers, setup_discover),
        WITH(on_link_prefixes, setup_discover),
        WITH(link_parameters, setup_discover),
        WITH(address_from_prefix, setup_slaac),
        WITH(prefixes_without_address, setup_slaac),
        cmocka_unit_test(two_hour_rule),
        WITH(deprecated_then_gone, setup_slaac),
        WITH(strangers_cannot_fill_the_host, setup_temporary),
        TEST(claimed_address_is_probed),
        TEST(duplicates_are_not_used),
        WITH(another_identifier_after_a_duplicate, setup_slaac),
        WITH(temporary_addresses, setup_temporary),
        WITH(temporary_ends_with_its_prefix, setup_temporary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
