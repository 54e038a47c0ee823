/* The DHCPv4 client against a server that the test plays. */
#include "lan.h"

#include <errno.h>
#include <string.h>

#include "base/checksum.h"
#include "foyer/dhcp.h"
#include "wire/arp.h"
#include "wire/dhcp4.h"
#include "wire/udp.h"

static const struct foyer_addr leased = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 7, 50}};
static const struct foyer_addr server = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 7, 1}};
static const struct foyer_addr everybody = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 255, 255, 255, 255}};

static int setup(void **state)
{
    struct lan *lan = lan_create(0, NULL);
    assert_int_equal(foyer_host_remove_address(lan->host, &lan_host4), 0);
    lan_pull(lan);
    *state = lan;
    return 0;
}

/* The next message of the pull to a server, with where it came from and went to. */
static bool next_message(struct lan *lan, struct wire_dhcp4 *ret, struct lan_view *ret_view)
{
    const struct lan_frame *frame;
    while ((frame = lan_next(lan)) != NULL) {
        struct wire_udp udp;
        if (!lan_view(frame, ret_view) || ret_view->protocol != WIRE_PROTOCOL_UDP ||
            wire_udp_parse(ret_view->transport, ret_view->size, &udp) < 0 || udp.dst_port != 67)
            continue;
        assert_int_equal(udp.src_port, 68);
        assert_true(wire_dhcp4_parse(ret_view->transport + 8, ret_view->size - 8, ret) > 0);
        struct lan_view *view = ret_view;
        struct checksum sum;
        checksum_init(&sum);
        checksum_add_pseudo(&sum, &view->src, &view->dst, view->protocol, (uint32_t)view->size);
        checksum_add(&sum, view->transport, view->size);
        assert_int_equal(checksum_finish(&sum), 0);
        return true;
    }
    return false;
}

/* Lets time pass until the client says something; how long that took. */
static foyer_time_ns await(struct lan *lan, uint8_t type, struct wire_dhcp4 *ret,
                           struct lan_view *ret_view)
{
    foyer_time_ns began = lan->now;
    for (unsigned i = 0; i < 200; i++) {
        lan_pull(lan);
        if (next_message(lan, ret, ret_view)) {
            assert_int_equal(ret->type, type);
            assert_int_equal(ret->op, WIRE_DHCP4_BOOTREQUEST);
            assert_memory_equal(ret->mac, lan_host_mac, 6);
            return lan->now - began;
        }
        foyer_time_ns deadline = foyer_host_deadline(lan->host);
        assert_true(deadline != FOYER_TIME_NEVER);
        lan_wait(lan, deadline > lan->now ? deadline - lan->now : 0);
    }
    fail_msg("the client says nothing");
    return 0;
}

static void answer(struct lan *lan, const struct wire_dhcp4 *message, const struct foyer_addr *dst)
{
    uint8_t frame[2048], bytes[WIRE_DHCP4_SIZE_MAX];
    size_t size = wire_dhcp4_emit(bytes, message);
    lan_input(lan, frame, lan_udp(frame, &server, 67, dst, 68, bytes, size));
}

static struct wire_dhcp4 reply_to(const struct wire_dhcp4 *message, uint8_t type)
{
    struct wire_dhcp4 reply = {.op = WIRE_DHCP4_BOOTREPLY,
                               .type = type,
                               .xid = message->xid,
                               .yours = leased,
                               .server_id = server,
                               .has_lease = true,
                               .lease_s = 3600,
                               .has_mask = true,
                               .prefix_length = 24,
                               .routers = {1, {server}},
                               .name_servers = {1, {server}},
                               .domain = {9, "foyer.lan"},
                               .mtu = 1400};
    memcpy(reply.mac, message->mac, 6);
    if (type == WIRE_DHCP4_NAK) {
        reply.yours = foyer_addr_v4(0, 0, 0, 0);
        reply.has_lease = false;
    }
    return reply;
}

static struct foyer_dhcp4_lease lease_of(const struct lan *lan)
{
    struct foyer_dhcp4_lease lease;
    assert_int_equal(foyer_dhcp4_lease(lan->host, &lease), 0);
    return lease;
}

static void expect_event(struct lan *lan)
{
    struct foyer_event event = {0};
    assert_int_equal(foyer_host_events(lan->host, &event, 1), 1);
    assert_int_equal(event.socket.value, 0);
    assert_int_equal(event.events, FOYER_EVENT_LEASE);
    assert_int_equal(foyer_host_events(lan->host, &event, 1), 0);
}

static void start(struct lan *lan, bool is_unchecked)
{
    const struct foyer_dhcp4_config config = {.is_unchecked = is_unchecked, .host_name = "shop"};
    assert_int_equal(foyer_dhcp4_start(lan->host, &config, lan->now), 0);
    expect_event(lan);
}

/* Up to the ACK. */
static void negotiate(struct lan *lan, struct wire_dhcp4 *ret_ack)
{
    struct wire_dhcp4 message, offer;
    struct lan_view view;
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    offer = reply_to(&message, WIRE_DHCP4_OFFER);
    answer(lan, &offer, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    *ret_ack = reply_to(&message, WIRE_DHCP4_ACK);
    answer(lan, ret_ack, &everybody);
}

static void bind_unchecked(struct lan *lan)
{
    struct wire_dhcp4 ack;
    start(lan, true);
    negotiate(lan, &ack);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_BOUND);
    expect_event(lan);
}

/* RFC 2131 section 3.1: what each of the messages says. */
static void four_messages_make_a_lease(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, reply;
    struct lan_view view;
    start(lan, false);
    assert_int_equal(foyer_dhcp4_start(lan->host, NULL, lan->now), -EALREADY);

    assert_true(await(lan, WIRE_DHCP4_DISCOVER, &message, &view) <= FOYER_NS_PER_S);
    assert_true(foyer_addr_is_any(&view.src) && foyer_addr_eq(&view.dst, &everybody));
    assert_true(foyer_addr_is_any(&message.client));
    assert_false(message.is_broadcast);
    assert_int_equal(message.client_id_size, 7);
    assert_memory_equal(message.host_name.bytes, "shop", 4);
    assert_int_equal(message.parameters[1], WIRE_DHCP4_CLASSLESS_ROUTES);
    uint32_t xid = message.xid;
    /* To the address that is offered, which the host has not yet. */
    reply = reply_to(&message, WIRE_DHCP4_OFFER);
    answer(lan, &reply, &leased);

    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    assert_int_equal(message.xid, xid);
    assert_true(foyer_addr_is_any(&view.src) && foyer_addr_eq(&view.dst, &everybody));
    assert_true(foyer_addr_eq(&message.requested, &leased));
    assert_true(foyer_addr_eq(&message.server_id, &server));
    assert_true(foyer_addr_is_any(&message.client)); /* table 5: MUST be zero */
    foyer_time_ns requested = lan->now;
    reply = reply_to(&message, WIRE_DHCP4_ACK);
    answer(lan, &reply, &leased);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_CHECKING);
    assert_false(foyer_host_has_address(lan->host, &leased));

    /* RFC 5227: three questions, then it is ours. */
    unsigned probes = 0;
    for (unsigned i = 0; i < 80 && lease_of(lan).state == FOYER_DHCP_CHECKING; i++) {
        lan_wait(lan, 100 * FOYER_NS_PER_MS);
        lan_pull(lan);
        const struct lan_frame *frame;
        while ((frame = lan_next(lan)) != NULL) {
            struct wire_arp arp;
            probes += wire_arp_parse(frame->bytes + 14, frame->size - 14, &arp) > 0 &&
                      foyer_addr_is_any(&arp.sender_addr) &&
                      foyer_addr_eq(&arp.target_addr, &leased);
        }
    }
    assert_int_equal(probes, 3);
    struct foyer_dhcp4_lease lease = lease_of(lan);
    expect_event(lan);
    assert_int_equal(lease.state, FOYER_DHCP_BOUND);
    assert_true(foyer_host_has_address(lan->host, &leased));
    assert_int_equal(lease.expires_ns, requested + 3600 * FOYER_NS_PER_S);
    assert_int_equal(lease.rebind_ns, requested + 3150 * FOYER_NS_PER_S);
    assert_true(lease.renew_ns <= requested + 1800 * FOYER_NS_PER_S &&
                lease.renew_ns >= requested + 1700 * FOYER_NS_PER_S);
    assert_int_equal(lease.prefix_length, 24);
    assert_int_equal(lease.name_server_count, 1);
    assert_string_equal(lease.domain, "foyer.lan");
}

/* Section 4.1: 4, 8, 16, 32, 64, 64 s, each a second more or less. */
static void discover_backs_off(void **state)
{
    struct lan *lan = *state;
    static const unsigned expected_s[] = {4, 8, 16, 32, 64, 64, 64};
    struct wire_dhcp4 message;
    struct lan_view view;
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    uint16_t seconds = message.seconds;
    for (unsigned i = 0; i < sizeof(expected_s) / sizeof(expected_s[0]); i++) {
        foyer_time_ns took = await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
        assert_in_range(took, (expected_s[i] - 1) * FOYER_NS_PER_S,
                        (expected_s[i] + 1) * FOYER_NS_PER_S);
        assert_true(message.seconds > seconds);
        seconds = message.seconds;
    }
}

/* Section 3.1 (5): a server that offers and then is silent is left after four requests. */
static void silence_after_the_offer_starts_over(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, offer;
    struct lan_view view;
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    offer = reply_to(&message, WIRE_DHCP4_OFFER);
    uint16_t seconds = message.seconds;
    answer(lan, &offer, &everybody);
    for (unsigned i = 0; i < 4; i++) {
        await(lan, WIRE_DHCP4_REQUEST, &message, &view);
        assert_int_equal(message.seconds, seconds); /* section 3.1 (3): MUST be the same */
    }
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    assert_int_not_equal(message.xid, offer.xid);
}

static void not_ours_is_not_heard(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, offer;
    struct lan_view view;
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    const struct wire_dhcp4 good = reply_to(&message, WIRE_DHCP4_OFFER);
    struct wire_dhcp4 bad[8];
    for (unsigned i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].xid ^= 1;
    bad[1].mac[5] ^= 1;
    bad[2].op = WIRE_DHCP4_BOOTREQUEST;
    bad[3].server_id = foyer_addr_v4(0, 0, 0, 0);
    bad[4].yours = foyer_addr_v4(224, 0, 0, 1);
    bad[5].yours = foyer_addr_v4(127, 0, 0, 1);
    bad[6].client_id_size = 7;    /* RFC 6842 section 3 */
    bad[7].type = WIRE_DHCP4_ACK; /* no rapid commit was asked for */
    bad[7].is_rapid_commit = true;
    for (unsigned i = 0; i < 8; i++) {
        answer(lan, &bad[i], &everybody);
        lan_pull(lan);
        assert_false(next_message(lan, &message, &view));
        assert_int_equal(lease_of(lan).state, FOYER_DHCP_SEARCHING);
    }
    offer = good;
    answer(lan, &offer, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
}

/* Other UDP to an address that is not the host's goes nowhere while the client waits. */
static void only_dhcp_is_heard_early(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[256];
    start(lan, true);
    foyer_socket socket =
        lan_bound(lan, FOYER_FAMILY_V4, FOYER_UDP, &(struct foyer_addr){{[10] = 0xff, 0xff}}, 5000);
    uint64_t dropped = lan_stats(lan).in_dropped_address;
    lan_input(lan, frame, lan_udp(frame, &server, 67, &leased, 5000, "x", 1));
    assert_int_equal(lan_stats(lan).in_dropped_address, dropped + 1);
    char byte;
    assert_int_equal(foyer_socket_recv_from(lan->host, socket, &byte, 1, NULL, NULL), -EAGAIN);
}

static void a_nak_starts_over(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, reply;
    struct lan_view view;
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    reply = reply_to(&message, WIRE_DHCP4_OFFER);
    answer(lan, &reply, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    reply = reply_to(&message, WIRE_DHCP4_NAK);
    reply.server_id = lan_peer4; /* not the one that was chosen */
    answer(lan, &reply, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    reply = reply_to(&message, WIRE_DHCP4_NAK);
    answer(lan, &reply, &everybody);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    /* And one that refuses each time is not asked without pause. */
    foyer_time_ns began = lan->now;
    for (unsigned i = 0; i < 6; i++) {
        reply = reply_to(&message, WIRE_DHCP4_OFFER);
        answer(lan, &reply, &everybody);
        await(lan, WIRE_DHCP4_REQUEST, &message, &view);
        reply = reply_to(&message, WIRE_DHCP4_NAK);
        answer(lan, &reply, &everybody);
        await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    }
    assert_true(lan->now - began > 60 * FOYER_NS_PER_S);
}

/* RFC 2131 section 3.1 (5), RFC 5227 section 2.1. */
static void a_taken_address_is_declined(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, ack;
    struct lan_view view;
    uint8_t frame[64];
    start(lan, false);
    negotiate(lan, &ack);
    lan_live(lan, 2 * FOYER_NS_PER_S);
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REPLY, &leased, &leased, lan_host_mac));
    await(lan, WIRE_DHCP4_DECLINE, &message, &view);
    assert_true(foyer_addr_eq(&message.requested, &leased));
    assert_true(foyer_addr_eq(&message.server_id, &server));
    assert_true(foyer_addr_is_any(&message.client) && foyer_addr_is_any(&view.src));
    assert_int_equal(message.parameter_count, 0); /* table 5: MUST NOT */
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_SEARCHING);
    foyer_time_ns pause = await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    assert_true(pause >= 10 * FOYER_NS_PER_S);
    assert_true(foyer_addr_is_any(&message.requested)); /* not that one again */
}

/* Section 4.4.5: T1 by unicast, T2 by broadcast, then the end. */
static void a_lease_is_renewed_then_rebound_then_over(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, ack;
    struct lan_view view;
    uint8_t frame[64];
    bind_unchecked(lan);
    struct foyer_dhcp4_lease first = lease_of(lan);
    lan_live(lan, first.renew_ns - lan->now - FOYER_NS_PER_S);
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &server, &leased, lan_host_mac));
    lan_pull(lan);

    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    assert_int_equal(lan->now, first.renew_ns);
    assert_true(foyer_addr_eq(&view.src, &leased) && foyer_addr_eq(&view.dst, &server));
    assert_true(foyer_addr_eq(&message.client, &leased));
    assert_true(foyer_addr_is_any(&message.requested)); /* table 4: MUST NOT */
    assert_true(foyer_addr_is_any(&message.server_id));
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_RENEWING);
    ack = reply_to(&message, WIRE_DHCP4_ACK);
    answer(lan, &ack, &leased);
    struct foyer_dhcp4_lease second = lease_of(lan);
    assert_int_equal(second.state, FOYER_DHCP_BOUND);
    assert_int_equal(second.expires_ns, first.renew_ns + 3600 * FOYER_NS_PER_S);

    /* Now nobody answers: unicast until T2, then broadcast, each half of what is left. */
    unsigned unicast = 0, rebinding = 0;
    while (lease_of(lan).state != FOYER_DHCP_SEARCHING) {
        foyer_time_ns deadline = foyer_host_deadline(lan->host);
        /* The server answers ARP, but nothing else. */
        lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REQUEST, &server, &leased, lan_host_mac));
        lan_wait(lan, deadline > lan->now ? deadline - lan->now : 0);
        lan_pull(lan);
        while (next_message(lan, &message, &view) && message.type == WIRE_DHCP4_REQUEST) {
            if (foyer_addr_eq(&view.dst, &server))
                unicast++;
            else
                rebinding++;
            assert_int_equal(foyer_addr_eq(&view.dst, &server), lan->now < second.rebind_ns);
            assert_true(foyer_addr_eq(&view.src, &leased));
        }
    }
    /* 0.375 of an hour in halves no shorter than a minute; 0.125 likewise. */
    assert_in_range(unicast, 4, 7);
    assert_in_range(rebinding, 3, 5);
    assert_int_equal(lan->now, second.expires_ns);
    assert_false(foyer_host_has_address(lan->host, &leased));
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
}

/* RFC 3442: its routes, and not the routers, count; routes go with the lease. */
static void classless_routes_are_used(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, ack;
    struct lan_view view;
    struct ip_way way;
    const struct foyer_addr far_away = foyer_addr_v4(8, 8, 8, 8);
    const struct foyer_addr inside = foyer_addr_v4(172, 20, 1, 1);
    const struct foyer_addr on_link = foyer_addr_v4(10, 9, 9, 9);
    const struct foyer_addr gateway = foyer_addr_v4(192, 168, 7, 9);
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    ack = reply_to(&message, WIRE_DHCP4_OFFER);
    answer(lan, &ack, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    ack = reply_to(&message, WIRE_DHCP4_ACK);
    ack.has_routes = true;
    ack.route_count = 2;
    ack.routes[0] = (struct wire_dhcp4_route){foyer_addr_v4(172, 16, 0, 0), 12, gateway};
    ack.routes[1] =
        (struct wire_dhcp4_route){foyer_addr_v4(10, 9, 0, 0), 16, foyer_addr_v4(0, 0, 0, 0)};
    answer(lan, &ack, &everybody);
    assert_int_equal(ip_find_way(lan->host, &inside, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.neighbour->addr, &gateway));
    assert_int_equal(way.mtu, 1400); /* option 26 */
    assert_int_equal(ip_find_way(lan->host, &on_link, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.neighbour->addr, &on_link));
    assert_int_equal(ip_find_way(lan->host, &far_away, NULL, &way), -ENETUNREACH);
    assert_int_equal(foyer_dhcp4_stop(lan->host, false, lan->now), 0);
    assert_int_equal(ip_find_way(lan->host, &inside, NULL, &way), -ENETUNREACH);
    assert_int_equal(lan->host->route_count, 0);
    assert_int_equal(lan->host->link_mtu_v4, 1500);
}

static void a_router_outside_of_the_subnet_is_reached(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, ack;
    struct lan_view view;
    struct ip_way way;
    const struct foyer_addr far_away = foyer_addr_v4(8, 8, 8, 8);
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    ack = reply_to(&message, WIRE_DHCP4_OFFER);
    answer(lan, &ack, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    ack = reply_to(&message, WIRE_DHCP4_ACK);
    ack.prefix_length = 32;
    answer(lan, &ack, &everybody);
    assert_int_equal(ip_find_way(lan->host, &far_away, NULL, &way), 0);
    assert_true(foyer_addr_eq(&way.neighbour->addr, &server));
    assert_true(ip_is_on_link(lan->host, &server)); /* or its ARP were not believed */
}

/* Section 3.2: INIT-REBOOT; the network may have another opinion. */
static void a_known_address_is_asked_for_again(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, reply;
    struct lan_view view;
    struct foyer_dhcp4_config config = {.previous = leased, .is_unchecked = true};
    assert_int_equal(foyer_dhcp4_start(lan->host, &config, lan->now), 0);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    assert_true(foyer_addr_eq(&message.requested, &leased));
    assert_true(foyer_addr_is_any(&message.server_id)); /* table 4: MUST NOT */
    assert_true(foyer_addr_is_any(&message.client));
    reply = reply_to(&message, WIRE_DHCP4_ACK);
    answer(lan, &reply, &everybody);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_BOUND);
    assert_int_equal(foyer_dhcp4_stop(lan->host, false, lan->now), 0);
    assert_int_equal(foyer_dhcp4_stop(lan->host, false, lan->now), -ENOENT);

    assert_int_equal(foyer_dhcp4_start(lan->host, &config, lan->now), 0);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    reply = reply_to(&message, WIRE_DHCP4_NAK);
    answer(lan, &reply, &everybody);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    assert_true(foyer_addr_is_any(&message.requested));
    assert_int_equal(foyer_dhcp4_stop(lan->host, false, lan->now), 0);

    /* Nobody knows: after two requests it is searched for anew. */
    assert_int_equal(foyer_dhcp4_start(lan->host, &config, lan->now), 0);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    assert_true(foyer_addr_eq(&message.requested, &leased));
}

static void two_messages_with_rapid_commit(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, ack;
    struct lan_view view;
    struct foyer_dhcp4_config config = {.is_rapid_commit = true, .is_unchecked = true};
    assert_int_equal(foyer_dhcp4_start(lan->host, &config, lan->now), 0);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    assert_true(message.is_rapid_commit);
    ack = reply_to(&message, WIRE_DHCP4_ACK);
    answer(lan, &ack, &everybody); /* RFC 4039 section 3.1: without the option it is none */
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_SEARCHING);
    ack.is_rapid_commit = true;
    answer(lan, &ack, &everybody);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_BOUND);
}

static void release_is_told(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message;
    struct foyer_dhcp4_lease lease;
    struct lan_view view;
    uint8_t frame[64];
    bind_unchecked(lan);
    assert_int_equal(foyer_dhcp4_stop(lan->host, true, lan->now), 0);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_RELEASING);
    lan_pull(lan); /* asks for the server */
    lan_input(lan, frame, lan_arp(frame, WIRE_ARP_REPLY, &server, &leased, lan_host_mac));
    await(lan, WIRE_DHCP4_RELEASE, &message, &view);
    assert_true(foyer_addr_eq(&view.src, &leased) && foyer_addr_eq(&view.dst, &server));
    assert_true(foyer_addr_eq(&message.client, &leased));
    assert_true(foyer_addr_eq(&message.server_id, &server));
    lan_live(lan, 2 * FOYER_NS_PER_S);
    assert_int_equal(foyer_dhcp4_lease(lan->host, &lease), -ENOENT);
    assert_false(foyer_host_has_address(lan->host, &leased));
}

static void bad_configs_are_refused(void **state)
{
    struct lan *lan = *state;
    uint8_t id[65] = {0};
    char name[65];
    memset(name, 'x', 64);
    name[64] = '\0';
    const struct foyer_dhcp4_config bad[] = {
        {.client_id = id, .client_id_size = 65},
        {.client_id = id, .client_id_size = 1},
        {.host_name = name},
        {.previous = lan_host6},
        {.previous = foyer_addr_v4(224, 0, 0, 1)},
    };
    struct foyer_dhcp4_lease lease;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(foyer_dhcp4_start(lan->host, &bad[i], lan->now), -EINVAL);
    assert_int_equal(foyer_dhcp4_lease(lan->host, &lease), -ENOENT);
    lan->fail_after = 0;
    assert_int_equal(foyer_dhcp4_start(lan->host, NULL, lan->now), -ENOMEM);
}

static void names_with_strange_letters_are_not_passed_on(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp4 message, ack;
    struct lan_view view;
    start(lan, true);
    await(lan, WIRE_DHCP4_DISCOVER, &message, &view);
    ack = reply_to(&message, WIRE_DHCP4_OFFER);
    answer(lan, &ack, &everybody);
    await(lan, WIRE_DHCP4_REQUEST, &message, &view);
    ack = reply_to(&message, WIRE_DHCP4_ACK);
    memcpy(ack.domain.bytes, "x;reboot", 8);
    ack.domain.size = 8;
    ack.lease_s = UINT32_MAX;
    answer(lan, &ack, &everybody);
    struct foyer_dhcp4_lease lease = lease_of(lan);
    assert_string_equal(lease.domain, "");
    assert_int_equal(lease.renew_ns, FOYER_TIME_NEVER); /* for ever: nothing to renew */
    assert_int_equal(lease.expires_ns, FOYER_TIME_NEVER);
}

int main(void)
{
#define LAN(test) cmocka_unit_test_setup_teardown(test, setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        LAN(four_messages_make_a_lease),
        LAN(discover_backs_off),
        LAN(silence_after_the_offer_starts_over),
        LAN(not_ours_is_not_heard),
        LAN(only_dhcp_is_heard_early),
        LAN(a_nak_starts_over),
        LAN(a_taken_address_is_declined),
        LAN(a_lease_is_renewed_then_rebound_then_over),
        LAN(classless_routes_are_used),
        LAN(a_router_outside_of_the_subnet_is_reached),
        LAN(a_known_address_is_asked_for_again),
        LAN(two_messages_with_rapid_commit),
        LAN(release_is_told),
        LAN(bad_configs_are_refused),
        LAN(names_with_strange_letters_are_not_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
