/* Neighbours: ARP and NDP resolution, its limits, and what waits for it. */
#include "lan.h"

#include <errno.h>

#include "wire/arp.h"

static bool next_arp(struct lan *lan, struct wire_arp *ret_arp, struct wire_eth *ret_eth)
{
    const struct lan_frame *frame = lan_next(lan);
    assert_non_null(frame);
    assert_true(wire_eth_parse(frame->bytes, frame->size, ret_eth) > 0);
    return ret_eth->ethertype == WIRE_ETHERTYPE_ARP &&
           wire_arp_parse(frame->bytes + WIRE_ETH_SIZE, frame->size - WIRE_ETH_SIZE, ret_arp) > 0;
}

static bool next_solicitation(struct lan *lan, struct wire_ndp *ret_ndp, struct lan_view *ret_view)
{
    const struct lan_frame *frame = lan_next(lan);
    assert_non_null(frame);
    return lan_view(frame, ret_view) && ret_view->protocol == WIRE_PROTOCOL_ICMP6 &&
           wire_icmp6_checksum_ok(ret_view->transport, ret_view->size, &ret_view->src,
                                  &ret_view->dst) &&
           wire_ndp_parse(ret_view->transport, ret_view->size, ret_ndp) > 0 &&
           ret_ndp->type == WIRE_ICMP6_NEIGHBOUR_SOLICITATION;
}

/* The frame by which the peer answers the host's question. */
static size_t answer(uint8_t *frame, bool v4)
{
    return v4 ? lan_arp(frame, WIRE_ARP_REPLY, &lan_peer4, &lan_host4, lan_host_mac)
              : lan_advertise(frame, &lan_peer6, true);
}

static void answers_arp_request(void **state)
{
    struct lan *lan = *state;
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t frame[256];
    struct wire_arp arp;
    struct wire_eth eth;
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &lan_peer4, &lan_host4, broadcast));
    assert_int_equal(lan_pull(lan), 1);
    assert_true(next_arp(lan, &arp, &eth));
    assert_int_equal(arp.operation, WIRE_ARP_REPLY);
    assert_memory_equal(arp.sender_mac, lan_host_mac, 6);
    assert_memory_equal(eth.dst, lan_peer_mac, 6);
    assert_true(foyer_addr_eq(&arp.sender_addr, &lan_host4));
    assert_true(foyer_addr_eq(&arp.target_addr, &lan_peer4));
    /* A probe (RFC 5227) is answered, and nobody is remembered. */
    struct foyer_addr none = foyer_addr_v4(0, 0, 0, 0);
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &none, &lan_host4, broadcast));
    assert_int_equal(lan_pull(lan), 1);
    assert_null(neighbour_find(lan->host, &none));
    /* Somebody else's address is not ours to answer for, and teaches nothing. */
    struct foyer_addr other = foyer_addr_v4(10, 0, 0, 9), third = foyer_addr_v4(10, 0, 0, 10);
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &other, &third, broadcast));
    assert_int_equal(lan_pull(lan), 0);
    assert_null(neighbour_find(lan->host, &other));
}

static void rejects_bad_arp(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    const struct foyer_addr senders[] = {foyer_addr_v4(10, 0, 0, 255), foyer_addr_v4(224, 0, 0, 1),
                                         foyer_addr_v4(127, 0, 0, 1),
                                         foyer_addr_v4(192, 168, 0, 1) /* off the link */};
    for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
        lan_input(lan, frame,
                  lan_arp(frame, WIRE_ARP_REQUEST, &senders[i], &lan_host4, lan_host_mac));
        assert_int_equal(lan_pull(lan), 0);
        assert_null(neighbour_find(lan->host, &senders[i]));
        assert_int_equal(lan_stats(lan).in_dropped_address, i + 1);
    }
    size_t size = lan_arp(frame, WIRE_ARP_REQUEST, &lan_peer4, &lan_host4, lan_host_mac);
    for (size_t cut = 0; cut < size; cut++)
        lan_input(lan, frame, cut);
    assert_int_equal(lan_stats(lan).in_dropped_malformed, size);
    assert_int_equal(lan_pull(lan), 0);
}

/* [test RFC4861 7.2.2a 7.2.2d] [test RFC1122 2.3.2.2a] [test RFC1122 2.4b 3.3.1.1b] */
static void resolves_then_sends(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint remote = {LAN_SRC(v4), 9};
        /* Two questions at once, as a resolver asks: neither may be lost. */
        foyer_socket_send_to(lan->host, socket, "one", 3, &remote, lan->now);
        foyer_socket_send_to(lan->host, socket, "two", 3, &remote, lan->now);
        assert_int_equal(lan_pull(lan), 1);
        if (v4) {
            struct wire_arp arp;
            struct wire_eth eth;
            assert_true(next_arp(lan, &arp, &eth));
            assert_int_equal(arp.operation, WIRE_ARP_REQUEST);
            assert_true(foyer_addr_eq(&arp.target_addr, &lan_peer4));
            assert_int_equal(eth.dst[0], 0xff);
        } else {
            struct wire_ndp ndp;
            struct lan_view view;
            struct foyer_addr group = ip_solicited_node(&lan_peer6);
            assert_true(next_solicitation(lan, &ndp, &view));
            assert_true(foyer_addr_eq(&ndp.target, &lan_peer6));
            assert_true(foyer_addr_eq(&view.dst, &group));
            assert_int_equal(view.ttl, 255);
            assert_true(ndp.has_source_mac);
        }
        lan_input(lan, frame, answer(frame, v4));
        assert_int_equal(lan_pull(lan), 2);
        for (int i = 0; i < 2; i++) {
            struct lan_view view;
            const struct lan_frame *sent = lan_next(lan);
            assert_true(lan_view(sent, &view));
            assert_memory_equal(sent->bytes, lan_peer_mac, 6);
            assert_memory_equal(view.transport + 8, i == 0 ? "one" : "two", 3);
        }
    }
}

static void connected_socket_parks_its_bytes(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint remote = {lan_peer4, 9};
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(foyer_socket_send(lan->host, socket, "x", 1, lan->now), 1);
    assert_int_equal(lan_pull(lan), 1); /* the question alone */
    assert_false(foyer_host_has_output(lan->host));
    lan_input(lan, frame, answer(frame, true));
    assert_int_equal(lan_pull(lan), 20);
}

/* [test RFC4861 7.2.2b 7.2.2c] [test RFC1122 2.3.2.1b] [test RFC4861 7.3.3c] */
static void three_tries_then_unreachable(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket udp = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        foyer_socket tcp = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_TCP);
        struct foyer_endpoint remote = {LAN_SRC(v4), 9};
        assert_int_equal(foyer_socket_connect(lan->host, udp, &remote, lan->now), 0);
        assert_int_equal(foyer_socket_connect(lan->host, tcp, &remote, lan->now), -EINPROGRESS);
        assert_int_equal(foyer_socket_send(lan->host, udp, "x", 1, lan->now), 1);
        unsigned asked = lan_pull(lan);
        for (int second = 0; second < 3; second++) {
            assert_int_equal(foyer_socket_take_error(lan->host, udp), 0);
            lan_wait(lan, FOYER_NS_PER_S);
            asked += lan_pull(lan);
        }
        assert_int_equal(asked, 3); /* and nothing else was sent */
        assert_int_equal(foyer_socket_take_error(lan->host, udp), -EHOSTUNREACH);
        assert_int_equal(foyer_socket_take_error(lan->host, tcp), -EHOSTUNREACH);
        struct foyer_addr addr = LAN_SRC(v4);
        assert_null(neighbour_find(lan->host, &addr));
        foyer_socket_close(lan->host, udp, lan->now);
        foyer_socket_close(lan->host, tcp, lan->now);
    }
}

/* REACHABLE for 30 s, then used: DELAY for 5 s, then three unicast questions, then gone.
 * [test RFC4861 7.3.3a 7.3.3b] [test RFC1122 2.3.2.1a 3.3.1.4a] [test RFC1122 3.3.1.4d] */
static void unreachability_detection(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    for (int v4 = 0; v4 < 2; v4++) {
        for (int answers = 1; answers >= 0; answers--) {
            foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
            struct foyer_endpoint remote = {LAN_SRC(v4), 9};
            foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
            lan_pull(lan);
            lan_input(lan, frame, answer(frame, v4));
            lan_pull(lan);
            struct neighbour *neighbour = neighbour_find(lan->host, &remote.addr);
            assert_int_equal(neighbour->state, NEIGHBOUR_REACHABLE);
            lan_wait(lan, 31 * FOYER_NS_PER_S);
            foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
            assert_int_equal(lan_pull(lan), 1);
            assert_int_equal(neighbour->state, NEIGHBOUR_DELAY);
            lan_wait(lan, 5 * FOYER_NS_PER_S);
            assert_int_equal(lan_pull(lan), 1);
            assert_int_equal(neighbour->state, NEIGHBOUR_PROBE);
            assert_memory_equal(lan_next(lan)->bytes, lan_peer_mac, 6);
            if (answers) {
                lan_input(lan, frame, answer(frame, v4));
                assert_int_equal(neighbour->state, NEIGHBOUR_REACHABLE);
            } else {
                for (int i = 0; i < 3; i++) {
                    assert_non_null(neighbour_find(lan->host, &remote.addr));
                    lan_wait(lan, FOYER_NS_PER_S);
                    assert_int_equal(lan_pull(lan), i < 2);
                }
                assert_null(neighbour_find(lan->host, &remote.addr));
            }
            foyer_socket_close(lan->host, socket, lan->now);
        }
    }
}

/* [test RFC1122 3.3.1.1a 3.3.1.6a] [test RFC1122 3.2.1.3f 3.2.2.9b] */
static void gateway_by_longest_prefix(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr gateway = foyer_addr_v4(10, 0, 0, 254), nearer = lan_peer4;
    struct foyer_addr zero = foyer_addr_v4(0, 0, 0, 0), net = foyer_addr_v4(20, 1, 0, 0);
    assert_int_equal(foyer_host_add_route(lan->host, &zero, 0, &gateway), 0);
    assert_int_equal(foyer_host_add_route(lan->host, &net, 16, &nearer), 0);
    assert_int_equal(foyer_host_add_route(lan->host, &net, 16, &nearer), -EEXIST);
    static const struct {
        uint8_t dst[4];
        uint8_t asked_last; /* of the neighbour's address */
    } rows[] = {{{20, 1, 2, 3}, 2}, {{20, 2, 2, 3}, 254}, {{10, 0, 0, 77}, 77}};
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *dst = rows[i].dst;
        struct foyer_endpoint remote = {foyer_addr_v4(dst[0], dst[1], dst[2], dst[3]), 9};
        foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
        assert_int_equal(lan_pull(lan), 1);
        struct wire_arp arp;
        struct wire_eth eth;
        assert_true(next_arp(lan, &arp, &eth));
        assert_int_equal(arp.target_addr.bytes[15], rows[i].asked_last);
        assert_true(foyer_addr_eq(&arp.sender_addr, &lan_host4));
    }
    assert_int_equal(foyer_host_remove_route(lan->host, &zero, 0), 0);
    struct foyer_endpoint remote = {foyer_addr_v4(8, 8, 8, 8), 9};
    assert_int_equal(foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now),
                     -ENETUNREACH);
}

/* [test RFC4861 7.1.1a 7.2.4a 7.2.4b] */
static void answers_solicitations(void **state)
{
    struct lan *lan = *state;
    struct wire_ndp ask = {.type = WIRE_ICMP6_NEIGHBOUR_SOLICITATION, .target = lan_host6};
    struct foyer_addr any = {{0}}, group = ip_solicited_node(&lan_host6);
    static const struct {
        bool from_any, with_mac, to_group;
        uint8_t hop_limit;
        bool answered;
    } rows[] = {
        {false, true, true, 255, true},   {false, true, false, 255, true},
        {true, false, true, 255, true},   /* duplicate address detection */
        {true, true, true, 255, false},   /* RFC 4861 7.1.1: no MAC without an address */
        {true, false, false, 255, false}, /* the same: only to the solicited-node group */
        {false, true, true, 254, false},  /* not from this link */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ask.has_source_mac = rows[i].with_mac;
        memcpy(ask.source_mac, lan_peer_mac, 6);
        lan_send_ndp(lan, &ask, rows[i].from_any ? &any : &lan_peer6,
                     rows[i].to_group ? &group : &lan_host6, rows[i].hop_limit);
        unsigned count = lan_pull(lan);
        if (count != rows[i].answered)
            fail_msg("row %zu: %u", i, count);
        if (count == 0)
            continue;
        struct lan_view view;
        struct wire_ndp ndp;
        assert_true(lan_view(lan_next(lan), &view));
        assert_true(wire_ndp_parse(view.transport, view.size, &ndp) > 0);
        assert_int_equal(ndp.type, WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT);
        assert_memory_equal(ndp.target_mac, lan_host_mac, 6);
        assert_int_equal(ndp.is_solicited, !rows[i].from_any);
        assert_int_equal(foyer_addr_is_multicast(&view.dst), rows[i].from_any);
    }
}

/* A link full of strangers can't make the cache grow, nor push out who is in use. */
static void cache_is_bounded(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    struct foyer_addr net = foyer_addr_v4(172, 16, 0, 1);
    assert_int_equal(foyer_host_add_address(lan->host, &net, 16), 0);
    lan_introduce_peer(lan);
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    struct foyer_endpoint remote = {lan_peer4, 9};
    for (unsigned i = 0; i < 5000; i++) {
        struct foyer_addr stranger =
            foyer_addr_v4(172, 16, (uint8_t)(1 + (i >> 8)), (uint8_t)(i & 0xff));
        lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &stranger, &net, lan_host_mac));
        if (i % 100 == 0) {
            foyer_socket_send_to(lan->host, socket, "x", 1, &remote, lan->now);
            lan_wait(lan, 100 * FOYER_NS_PER_MS);
            lan_pull(lan);
        }
    }
    assert_true(lan->host->neighbour_count <= HOST_NEIGHBOURS_MAX);
    assert_non_null(neighbour_find(lan->host, &lan_peer4));
}

/* ---- address conflict detection (RFC 5227) ---------------------------------------------------- */

static const uint8_t to_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* What the host broadcasts in the next second: 0 nothing, 'p' one probe, 'a' one announcement. */
static char next_second(struct lan *lan, const struct foyer_addr *addr)
{
    struct wire_arp arp;
    struct wire_eth eth;
    lan_wait(lan, FOYER_NS_PER_S);
    if (lan_pull(lan) == 0)
        return 0;
    assert_int_equal(lan->frame_count, 1);
    assert_true(next_arp(lan, &arp, &eth));
    assert_memory_equal(eth.dst, to_all, 6);
    assert_memory_equal(arp.sender_mac, lan_host_mac, 6);
    assert_int_equal(arp.operation, WIRE_ARP_REQUEST);
    assert_true(foyer_addr_eq(&arp.target_addr, addr));
    if (foyer_addr_is_any(&arp.sender_addr))
        return 'p';
    assert_true(foyer_addr_eq(&arp.sender_addr, addr));
    return 'a';
}

static enum foyer_address_state state_of(struct lan *lan, const struct foyer_addr *addr)
{
    struct foyer_address_info infos[32];
    size_t count = foyer_host_addresses(lan->host, infos, 32);
    for (size_t i = 0; i < count; i++) {
        if (foyer_addr_eq(&infos[i].addr, addr))
            return (enum foyer_address_state)infos[i].state;
    }
    fail();
    return FOYER_ADDRESS_DUPLICATE;
}

static const struct foyer_addr claimed = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7}};

static void claim(struct lan *lan)
{
    assert_int_equal(foyer_host_claim_address(lan->host, &claimed, 24, lan->now), 0);
    assert_int_equal(state_of(lan, &claimed), FOYER_ADDRESS_TENTATIVE);
}

static void probes_then_announces(void **state)
{
    struct lan *lan = *state;
    char seen[16] = "";
    unsigned count = 0;
    uint8_t frame[256];
    claim(lan);
    for (unsigned s = 0; s < 12; s++) {
        char what = next_second(lan, &claimed);
        if (what != 0)
            seen[count++] = what;
        /* Not answered for before it is ours. */
        bool is_ours = foyer_host_has_address(lan->host, &claimed);
        assert_int_equal(is_ours, strchr(seen, 'a') != NULL);
        lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &lan_peer4, &claimed, to_all));
        assert_int_equal(lan_pull(lan), is_ours);
    }
    assert_string_equal(seen, "pppaa");
    assert_int_equal(lan_stats(lan).address_conflicts, 0);
}

/* Whoever has it, or wants it at the same time, keeps us from it. */
static void conflict_while_probing(void **state)
{
    struct foyer_addr none = foyer_addr_v4(0, 0, 0, 0);
    const struct {
        uint16_t operation;
        struct foyer_addr sender, target;
        bool is_conflict;
    } rows[] = {
        {WIRE_ARP_REPLY, claimed, lan_host4, true},    {WIRE_ARP_REQUEST, claimed, lan_host4, true},
        {WIRE_ARP_REQUEST, claimed, claimed, true},    {WIRE_ARP_REQUEST, none, claimed, true},
        {WIRE_ARP_REQUEST, lan_peer4, claimed, false}, /* only asks for it */
        {WIRE_ARP_REPLY, lan_peer4, lan_host4, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct lan *lan = lan_create(0, NULL);
        uint8_t frame[256];
        claim(lan);
        lan_live(lan, 2 * FOYER_NS_PER_S);
        lan_input(lan, frame,
                  lan_arp(frame, rows[i].operation, &rows[i].sender, &rows[i].target, to_all));
        lan_live(lan, 10 * FOYER_NS_PER_S);
        enum foyer_address_state wanted =
            rows[i].is_conflict ? FOYER_ADDRESS_DUPLICATE : FOYER_ADDRESS_ASSIGNED;
        if (state_of(lan, &claimed) != wanted)
            fail_msg("row %zu", i);
        assert_int_equal(lan_stats(lan).address_conflicts, rows[i].is_conflict);
        lan_destroy(lan);
    }
}

static void own_probe_comes_back(void **state)
{
    struct lan *lan = *state;
    claim(lan);
    for (unsigned s = 0; s < 12; s++) {
        lan_wait(lan, FOYER_NS_PER_S);
        lan_pull(lan);
        const struct lan_frame *sent = lan_next(lan);
        if (sent == NULL)
            continue;
        uint8_t frame[64];
        size_t size = sent->size;
        memcpy(frame, sent->bytes, size);
        lan_input(lan, frame, size);
        assert_int_equal(lan_pull(lan), 0);
    }
    assert_int_equal(state_of(lan, &claimed), FOYER_ADDRESS_ASSIGNED);
    assert_int_equal(lan_stats(lan).address_conflicts, 0);
}

/* One defence in 10 s; a claimed address is given up at the second conflict, an added one not. */
static void defends_its_addresses(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    claim(lan);
    lan_live(lan, 15 * FOYER_NS_PER_S);
    for (int is_claimed = 0; is_claimed < 2; is_claimed++) {
        const struct foyer_addr *addr = is_claimed ? &claimed : &lan_host4;
        lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, addr, &lan_peer4, to_all));
        assert_int_equal(next_second(lan, addr), 'a');
        lan_live(lan, 9 * FOYER_NS_PER_S); /* long enough ago: once more */
        lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REPLY, addr, &lan_peer4, to_all));
        assert_int_equal(next_second(lan, addr), 'a');
        for (int i = 0; i < 100; i++)
            lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, addr, addr, to_all));
        assert_int_equal(lan_pull(lan), 0);
        assert_null(neighbour_find(lan->host, &lan_host4));
        assert_int_equal(foyer_host_has_address(lan->host, addr), !is_claimed);
    }
}

static void announce(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_ANNOUNCE;
}

/* [test RFC4861 7.2.6a] */
static void added_addresses_are_announced(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, announce);
    unsigned arps = 0, advertisements = 0;
    for (unsigned s = 0; s < 10; s++) {
        lan_wait(lan, FOYER_NS_PER_S);
        lan_pull(lan);
        const struct lan_frame *sent;
        while ((sent = lan_next(lan)) != NULL) {
            struct lan_view view;
            if (!lan_view(sent, &view)) {
                arps++;
            } else if (view.transport[0] == WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT) {
                struct wire_ndp ndp;
                assert_true(wire_ndp_parse(view.transport, view.size, &ndp) > 0);
                assert_true(foyer_addr_eq(&ndp.target, &lan_host6));
                assert_true(ndp.is_override);
                assert_false(ndp.is_solicited);
                advertisements++;
            }
        }
    }
    assert_int_equal(arps, 2);
    assert_int_equal(advertisements, 2);
    lan_destroy(lan);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(answers_arp_request),
        TEST(rejects_bad_arp),
        TEST(resolves_then_sends),
        TEST(connected_socket_parks_its_bytes),
        TEST(three_tries_then_unreachable),
        TEST(unreachability_detection),
        TEST(gateway_by_longest_prefix),
        TEST(answers_solicitations),
        TEST(cache_is_bounded),
        TEST(probes_then_announces),
        cmocka_unit_test(conflict_while_probing),
        TEST(own_probe_comes_back),
        TEST(defends_its_addresses),
        cmocka_unit_test(added_addresses_are_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
