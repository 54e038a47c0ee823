/* The DHCPv6 client against servers that the test plays. */
#include "lan.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "foyer/dhcp.h"
#include "wire/dhcp6.h"
#include "wire/udp.h"

static const struct foyer_addr server = {{0xfe, 0x80, [15] = 0x99}};
static const struct foyer_addr router = {{0xfe, 0x80, [15] = 0x77}};
static const struct foyer_addr leased = {{0x20, 1, 0xd, 0xb8, [15] = 5}};
static const struct foyer_addr servers = {{0xff, 2, [13] = 1, [15] = 2}};
static const struct foyer_addr all_nodes = {{0xff, 2, [15] = 1}};

static struct foyer_addr link_local(const struct lan *lan)
{
    return lan->host->addresses[0].addr;
}

static int setup(void **state)
{
    struct lan *lan = lan_create(0, NULL);
    lan_pull(lan);
    *state = lan;
    return 0;
}

static void follow(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_ROUTER_DISCOVERY;
}

static int setup_follow(void **state)
{
    *state = lan_create(0, follow);
    return 0;
}

static void autoconfigure(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_SLAAC;
}

static int setup_slaac(void **state)
{
    *state = lan_create(0, autoconfigure);
    return 0;
}

static bool next_message(struct lan *lan, struct wire_dhcp6 *ret)
{
    const struct lan_frame *frame;
    while ((frame = lan_next(lan)) != NULL) {
        struct lan_view view;
        struct wire_udp udp;
        if (!lan_view(frame, &view) || view.protocol != WIRE_PROTOCOL_UDP ||
            wire_udp_parse(view.transport, view.size, &udp) < 0 || udp.dst_port != 547)
            continue;
        struct foyer_addr own = link_local(lan);
        assert_int_equal(udp.src_port, 546);
        assert_true(foyer_addr_eq(&view.src, &own) && foyer_addr_eq(&view.dst, &servers));
        assert_true(wire_dhcp6_parse(view.transport + 8, view.size - 8, ret) > 0);
        assert_int_equal(ret->client_id.size, 10);
        assert_true(ret->has_elapsed);
        return true;
    }
    return false;
}

static foyer_time_ns await(struct lan *lan, uint8_t type, struct wire_dhcp6 *ret)
{
    foyer_time_ns began = lan->now;
    for (unsigned i = 0; i < 200; i++) {
        lan_pull(lan);
        if (next_message(lan, ret)) {
            assert_int_equal(ret->type, type);
            return lan->now - began;
        }
        foyer_time_ns deadline = foyer_host_deadline(lan->host);
        assert_true(deadline != FOYER_TIME_NEVER);
        lan_wait(lan, deadline > lan->now ? deadline - lan->now : 0);
    }
    fail_msg("the client says nothing");
    return 0;
}

static void answer(struct lan *lan, const struct wire_dhcp6 *message)
{
    uint8_t frame[2048], bytes[WIRE_DHCP6_SIZE_MAX];
    struct foyer_addr own = link_local(lan);
    size_t size = wire_dhcp6_emit(bytes, message);
    lan_input(lan, frame, lan_udp(frame, &server, 547, &own, 546, bytes, size));
}

static struct wire_dhcp6 reply_to(const struct wire_dhcp6 *message, uint8_t type)
{
    struct wire_dhcp6 reply = {
        .type = type,
        .xid = message->xid,
        .client_id = message->client_id,
        .server_id = {4, {0, 2, 3, 4}},
        .has_ia = true,
        .iaid = message->iaid,
        .t1_s = 1000,
        .t2_s = 1600,
        .address_count = 1,
        .addresses = {{.addr = leased, .preferred_s = 2000, .valid_s = 3000}},
        .name_server_count = 1,
        .name_servers = {lan_peer6},
        .domains_size = 14,
        .domains = {5, 'f', 'o', 'y', 'e', 'r', 0, 1, 'a', 2, 'b', 'c', 0}};
    reply.domains_size = 13;
    return reply;
}

static struct foyer_dhcp6_lease lease_of(const struct lan *lan)
{
    struct foyer_dhcp6_lease lease;
    assert_int_equal(foyer_dhcp6_lease(lan->host, &lease), 0);
    return lease;
}

static void start(struct lan *lan, enum foyer_dhcp6_mode mode)
{
    const struct foyer_dhcp6_config config = {.mode = mode};
    assert_int_equal(foyer_dhcp6_start(lan->host, &config, lan->now), 0);
}

/* From start to BOUND; the Reply that did it. */
static void bind_lease(struct lan *lan, struct wire_dhcp6 *ret_reply)
{
    struct wire_dhcp6 message;
    start(lan, FOYER_DHCP6_ADDRESSES);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    struct wire_dhcp6 advertise = reply_to(&message, WIRE_DHCP6_ADVERTISE);
    advertise.preference = 255;
    answer(lan, &advertise);
    await(lan, WIRE_DHCP6_REQUEST, &message);
    *ret_reply = reply_to(&message, WIRE_DHCP6_REPLY);
    answer(lan, ret_reply);
    lan_live(lan, 3 * FOYER_NS_PER_S);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_BOUND);
}

static bool has_parameter(const struct wire_dhcp6 *message, uint16_t code)
{
    for (unsigned i = 0; i < message->parameter_count; i++) {
        if (message->parameters[i] == code)
            return true;
    }
    return false;
}

static void four_messages_make_a_lease(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    struct foyer_event event;
    start(lan, FOYER_DHCP6_ADDRESSES);
    assert_int_equal(foyer_dhcp6_start(lan->host, NULL, lan->now), -EALREADY);
    assert_true(await(lan, WIRE_DHCP6_SOLICIT, &message) <= FOYER_NS_PER_S); /* SOL_MAX_DELAY */
    assert_int_equal(message.elapsed_cs, 0); /* section 21.9: MUST in the first */
    assert_true(message.has_ia && !message.is_rapid_commit && message.server_id.size == 0);
    assert_int_equal(message.address_count, 0);
    assert_true(has_parameter(&message, WIRE_DHCP6_SOL_MAX_RT)); /* section 18.2.1: MUST */
    uint32_t xid = message.xid;

    /* Section 18.2.1: all that answer within the first second are compared. */
    reply = reply_to(&message, WIRE_DHCP6_ADVERTISE);
    reply.preference = 10;
    answer(lan, &reply);
    struct wire_dhcp6 worse = reply;
    worse.preference = 5;
    worse.server_id.bytes[3] = 99;
    answer(lan, &worse);
    foyer_time_ns took = await(lan, WIRE_DHCP6_REQUEST, &message);
    assert_in_range(took, FOYER_NS_PER_S, 1100 * FOYER_NS_PER_MS);
    assert_int_not_equal(message.xid, xid);
    assert_int_equal(message.server_id.bytes[3], 4);
    assert_int_equal(message.address_count, 1);
    assert_true(foyer_addr_eq(&message.addresses[0].addr, &leased));

    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    answer(lan, &reply);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_CHECKING);
    assert_false(foyer_host_has_address(lan->host, &leased));
    foyer_time_ns replied = lan->now;
    lan_live(lan, 3 * FOYER_NS_PER_S);
    struct foyer_dhcp6_lease lease = lease_of(lan);
    assert_int_equal(lease.state, FOYER_DHCP_BOUND);
    assert_true(foyer_host_has_address(lan->host, &leased));
    assert_int_equal(lease.address_count, 1);
    assert_int_equal(lease.addresses[0].prefix_length, 128);
    assert_int_equal(lease.addresses[0].origin, FOYER_ADDRESS_DHCP);
    assert_int_equal(lease.addresses[0].preferred_until_ns, replied + 2000 * FOYER_NS_PER_S);
    assert_int_equal(lease.renew_ns, replied + 1000 * FOYER_NS_PER_S);
    assert_int_equal(lease.name_server_count, 1);
    assert_string_equal(lease.domains, "foyer a.bc");
    assert_int_equal(foyer_host_events(lan->host, &event, 1), 1);
    assert_int_equal(event.events, FOYER_EVENT_LEASE);
}

/* Section 15: 1 s, doubled, a tenth more or less, up to an hour (SOL_MAX_RT). */
static void solicit_backs_off(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message;
    start(lan, FOYER_DHCP6_ADDRESSES);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    uint32_t xid = message.xid;
    foyer_time_ns before = FOYER_NS_PER_S / 2;
    for (unsigned i = 0; i < 16; i++) {
        foyer_time_ns took = await(lan, WIRE_DHCP6_SOLICIT, &message);
        if (took < 3200 * FOYER_NS_PER_S)
            assert_in_range(took, before * 189 / 100, before * 211 / 100 + 2000000);
        assert_true(took <= 3960 * FOYER_NS_PER_S);
        assert_int_equal(message.xid, xid); /* section 16.1: the same */
        before = took;
    }
    assert_true(before >= 3240 * FOYER_NS_PER_S);
    assert_int_equal(message.elapsed_cs, UINT16_MAX);
    /* Section 21.24: a server that has nothing to give may still shorten it. */
    struct wire_dhcp6 poor = reply_to(&message, WIRE_DHCP6_ADVERTISE);
    poor.ia_status = WIRE_DHCP6_NO_ADDRS_AVAIL;
    poor.sol_max_rt_s = 60;
    answer(lan, &poor);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    assert_in_range(await(lan, WIRE_DHCP6_SOLICIT, &message), 54 * FOYER_NS_PER_S,
                    66 * FOYER_NS_PER_S);
    poor.sol_max_rt_s = 59; /* MUST ignore */
    answer(lan, &poor);
    assert_true(await(lan, WIRE_DHCP6_SOLICIT, &message) >= 54 * FOYER_NS_PER_S);
}

static void not_ours_is_not_heard(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message;
    start(lan, FOYER_DHCP6_ADDRESSES);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    struct wire_dhcp6 good = reply_to(&message, WIRE_DHCP6_ADVERTISE), bad[8];
    good.preference = 255;
    for (unsigned i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].xid ^= 1;
    bad[1].client_id.bytes[9] ^= 1;
    bad[2].server_id.size = 0;
    bad[3].iaid ^= 1;
    bad[4].has_ia = false;
    bad[5].addresses[0].preferred_s = 4000; /* beyond valid */
    bad[6].addresses[0].addr = all_nodes;
    bad[7].type = WIRE_DHCP6_REPLY; /* rapid commit that was not asked for */
    bad[7].is_rapid_commit = true;
    for (unsigned i = 0; i < 8; i++) {
        answer(lan, &bad[i]);
        lan_pull(lan);
        assert_false(next_message(lan, &message));
        assert_int_equal(lease_of(lan).address_count, 0);
    }
    answer(lan, &good);
    await(lan, WIRE_DHCP6_REQUEST, &message);
}

static void a_server_that_falls_silent_is_left(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message;
    start(lan, FOYER_DHCP6_ADDRESSES);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    struct wire_dhcp6 advertise = reply_to(&message, WIRE_DHCP6_ADVERTISE);
    advertise.preference = 255;
    answer(lan, &advertise);
    for (unsigned i = 0; i < 10; i++) /* REQ_MAX_RC */
        assert_true(await(lan, WIRE_DHCP6_REQUEST, &message) <= 33 * FOYER_NS_PER_S);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
}

static void renew_rebind_and_the_end(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    bind_lease(lan, &reply);
    foyer_time_ns renew = lease_of(lan).renew_ns;
    await(lan, WIRE_DHCP6_RENEW, &message);
    assert_int_equal(lan->now, renew);
    assert_int_equal(message.server_id.size, 4);
    assert_int_equal(message.address_count, 1);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_RENEWING);
    assert_in_range(await(lan, WIRE_DHCP6_RENEW, &message), 9 * FOYER_NS_PER_S,
                    11 * FOYER_NS_PER_S); /* REN_TIMEOUT */
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    answer(lan, &reply);
    struct foyer_dhcp6_lease lease = lease_of(lan);
    foyer_time_ns extended = lan->now;
    assert_int_equal(lease.state, FOYER_DHCP_BOUND);
    assert_int_equal(lease.addresses[0].valid_until_ns, extended + 3000 * FOYER_NS_PER_S);

    unsigned renews = 0, rebinds = 0;
    while (lease_of(lan).address_count > 0) {
        foyer_time_ns deadline = foyer_host_deadline(lan->host);
        lan_wait(lan, deadline > lan->now ? deadline - lan->now : 0);
        lan_pull(lan);
        while (next_message(lan, &message)) {
            renews += message.type == WIRE_DHCP6_RENEW;
            if (message.type == WIRE_DHCP6_REBIND) {
                if (rebinds++ == 0)
                    assert_int_equal(lan->now, extended + 1600 * FOYER_NS_PER_S);
                assert_int_equal(message.server_id.size, 0); /* section 18.2.5 */
            }
        }
    }
    assert_int_equal(lan->now, extended + 3000 * FOYER_NS_PER_S);
    assert_false(foyer_host_has_address(lan->host, &leased));
    assert_in_range(renews, 5, 7);
    assert_in_range(rebinds, 6, 9);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
}

static void no_binding_is_requested_anew(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    bind_lease(lan, &reply);
    await(lan, WIRE_DHCP6_RENEW, &message);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    reply.ia_status = WIRE_DHCP6_NO_BINDING;
    reply.address_count = 0;
    answer(lan, &reply);
    await(lan, WIRE_DHCP6_REQUEST, &message);
    assert_true(foyer_addr_eq(&message.addresses[0].addr, &leased));
    assert_true(foyer_host_has_address(lan->host, &leased));
    /* A lifetime of 0 takes the address away, another one comes (renumbering). */
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    reply.addresses[0].preferred_s = reply.addresses[0].valid_s = 0;
    reply.addresses[1] = (struct wire_dhcp6_address){leased, 500, 600, 0};
    reply.addresses[1].addr.bytes[15] = 6;
    reply.address_count = 2;
    answer(lan, &reply);
    lan_live(lan, 3 * FOYER_NS_PER_S);
    assert_false(foyer_host_has_address(lan->host, &leased));
    struct foyer_dhcp6_lease lease = lease_of(lan);
    assert_int_equal(lease.address_count, 1);
    assert_int_equal(lease.addresses[0].addr.bytes[15], 6);
    assert_int_equal(lease.state, FOYER_DHCP_BOUND);
}

/* Section 18.2.10.1, 18.2.8; RFC 4862 section 5.4. */
static void a_duplicate_is_declined(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    start(lan, FOYER_DHCP6_ADDRESSES);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    reply = reply_to(&message, WIRE_DHCP6_ADVERTISE);
    reply.preference = 255;
    answer(lan, &reply);
    await(lan, WIRE_DHCP6_REQUEST, &message);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    answer(lan, &reply);
    lan_pull(lan);
    struct wire_ndp ndp = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT, .target = leased};
    /* From another source, since leased is our own for now. */
    lan_send_ndp(lan, &ndp, &lan_peer6, &all_nodes, 255);
    unsigned declines = 0;
    for (;;) {
        lan_pull(lan);
        if (next_message(lan, &message)) {
            if (message.type == WIRE_DHCP6_SOLICIT)
                break;
            declines++;
            assert_int_equal(message.type, WIRE_DHCP6_DECLINE);
            assert_true(foyer_addr_eq(&message.addresses[0].addr, &leased));
            assert_int_equal(message.server_id.size, 4);
        }
        foyer_time_ns deadline = foyer_host_deadline(lan->host);
        lan_wait(lan, deadline > lan->now ? deadline - lan->now : 0);
    }
    assert_int_equal(declines, 4); /* DEC_MAX_RC */
    assert_false(foyer_host_has_address(lan->host, &leased));
}

static void confirm_asks_whether_the_link_is_the_same(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    assert_int_equal(foyer_dhcp6_confirm(lan->host, lan->now), -ENOENT);
    bind_lease(lan, &reply);
    assert_int_equal(foyer_dhcp6_confirm(lan->host, lan->now), 0);
    await(lan, WIRE_DHCP6_CONFIRM, &message);
    assert_int_equal(message.server_id.size, 0);
    assert_int_equal(message.address_count, 1);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    reply.has_ia = false;
    answer(lan, &reply);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_BOUND);
    foyer_time_ns renew = lease_of(lan).renew_ns;

    /* Nobody answers for CNF_MAX_RD: it goes on as it was. */
    assert_int_equal(foyer_dhcp6_confirm(lan->host, lan->now), 0);
    lan_live(lan, 12 * FOYER_NS_PER_S);
    assert_true(foyer_host_has_address(lan->host, &leased));
    await(lan, WIRE_DHCP6_RENEW, &message);
    assert_int_equal(lan->now, renew);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    answer(lan, &reply);

    assert_int_equal(foyer_dhcp6_confirm(lan->host, lan->now), 0);
    await(lan, WIRE_DHCP6_CONFIRM, &message);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    reply.has_ia = false;
    reply.status = WIRE_DHCP6_NOT_ON_LINK;
    answer(lan, &reply);
    assert_false(foyer_host_has_address(lan->host, &leased));
    await(lan, WIRE_DHCP6_SOLICIT, &message);
}

static void release_is_told_until_it_is_heard(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    struct foyer_dhcp6_lease lease;
    bind_lease(lan, &reply);
    assert_int_equal(foyer_dhcp6_stop(lan->host, true, lan->now), 0);
    assert_false(foyer_host_has_address(lan->host, &leased)); /* section 18.2.7: MUST, first */
    await(lan, WIRE_DHCP6_RELEASE, &message);
    assert_true(foyer_addr_eq(&message.addresses[0].addr, &leased));
    await(lan, WIRE_DHCP6_RELEASE, &message);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    reply.has_ia = false;
    answer(lan, &reply);
    assert_int_equal(foyer_dhcp6_lease(lan->host, &lease), -ENOENT);

    bind_lease(lan, &reply);
    assert_int_equal(foyer_dhcp6_stop(lan->host, true, lan->now), 0);
    for (unsigned i = 0; i < 4; i++) /* REL_MAX_RC */
        await(lan, WIRE_DHCP6_RELEASE, &message);
    lan_live(lan, 20 * FOYER_NS_PER_S);
    assert_int_equal(foyer_dhcp6_lease(lan->host, &lease), -ENOENT);
}

static void two_messages_with_rapid_commit(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    const struct foyer_dhcp6_config config = {.mode = FOYER_DHCP6_ADDRESSES,
                                              .is_rapid_commit = true};
    assert_int_equal(foyer_dhcp6_start(lan->host, &config, lan->now), 0);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    assert_true(message.is_rapid_commit);
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    answer(lan, &reply); /* section 18.2.10: MUST be discarded without the option */
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_SEARCHING);
    reply.is_rapid_commit = true;
    reply.t1_s = reply.t2_s = 0; /* the client chooses: 0.5 and 0.8 of 2000 s */
    answer(lan, &reply);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_CHECKING);
    assert_int_equal(lease_of(lan).renew_ns, lan->now + 1000 * FOYER_NS_PER_S);
    assert_int_equal(lease_of(lan).rebind_ns, lan->now + 1600 * FOYER_NS_PER_S);
}

static void advertise_router(struct lan *lan, bool is_managed, bool is_other)
{
    struct wire_ndp ndp = {.type = WIRE_ICMP6_ROUTER_ADVERTISEMENT,
                           .is_managed = is_managed,
                           .is_other = is_other,
                           .router_lifetime_s = 9000};
    lan_send_ndp(lan, &ndp, &router, &all_nodes, 255);
}

/* RFC 4861 section 4.2: O asks for configuration, M for addresses. */
static void routers_say_what_is_asked_for(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message, reply;
    start(lan, FOYER_DHCP6_AS_ADVERTISED);
    lan_live(lan, 5 * FOYER_NS_PER_S);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_WAITING);
    advertise_router(lan, false, false);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_WAITING);
    advertise_router(lan, false, true);
    await(lan, WIRE_DHCP6_INFORMATION_REQUEST, &message);
    assert_false(message.has_ia);
    assert_true(has_parameter(&message, WIRE_DHCP6_REFRESH_TIME));
    assert_true(has_parameter(&message, WIRE_DHCP6_INF_MAX_RT));
    reply = reply_to(&message, WIRE_DHCP6_REPLY);
    reply.has_ia = false;
    reply.refresh_s = 10; /* section 21.23: no less than 600 */
    answer(lan, &reply);
    assert_int_equal(lease_of(lan).state, FOYER_DHCP_INFORMED);
    assert_string_equal(lease_of(lan).domains, "foyer a.bc");
    advertise_router(lan, false, true);
    assert_true(await(lan, WIRE_DHCP6_INFORMATION_REQUEST, &message) >= 600 * FOYER_NS_PER_S);
    advertise_router(lan, true, true);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    assert_int_equal(foyer_dhcp6_stop(lan->host, false, lan->now), 0);
    /* What was advertised before the start counts as well. */
    start(lan, FOYER_DHCP6_AS_ADVERTISED);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
}

/* Nothing is sent from an address that is still being probed for. */
static void the_link_local_address_comes_first(void **state)
{
    struct lan *lan = *state;
    struct wire_dhcp6 message;
    start(lan, FOYER_DHCP6_ADDRESSES);
    assert_int_equal(lan->host->addresses[0].state, FOYER_ADDRESS_TENTATIVE);
    await(lan, WIRE_DHCP6_SOLICIT, &message);
    assert_int_equal(lan->host->addresses[0].state, FOYER_ADDRESS_ASSIGNED);
    assert_int_equal(message.elapsed_cs, 0);
}

static void domains_that_lie_are_left_out(void **state)
{
    struct lan *lan = *state;
    static const struct {
        uint8_t size, bytes[12];
    } cases[] = {
        {3, {5, 'a', 'b'}},         /* over the end */
        {3, {2, 'a', 'b'}},         /* no root */
        {4, {0xc0, 0, 'a', 0}},     /* compression */
        {4, {2, 'a', ';', 0}},      /* a letter that is none */
        {5, {3, 'a', '.', 'b', 0}}, /* a dot inside of a label */
        {1, {0}},                   /* the root alone */
        {5, {1, 'a', 0, 0, 0}},
    };
    struct wire_dhcp6 message, reply;
    start(lan, FOYER_DHCP6_INFORMATION);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        await(lan, WIRE_DHCP6_INFORMATION_REQUEST, &message);
        reply = reply_to(&message, WIRE_DHCP6_REPLY);
        reply.has_ia = false;
        reply.domains_size = cases[i].size;
        memcpy(reply.domains, cases[i].bytes, cases[i].size);
        answer(lan, &reply);
        assert_int_equal(lease_of(lan).state, FOYER_DHCP_INFORMED);
        assert_string_equal(lease_of(lan).domains, "");
    }
}

static void bad_configs_are_refused(void **state)
{
    struct lan *lan = *state;
    uint8_t duid[131] = {0};
    const struct foyer_dhcp6_config bad[] = {
        {.duid = duid, .duid_size = 131},
        {.duid = duid, .duid_size = 2},
        {.mode = (enum foyer_dhcp6_mode)7},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(foyer_dhcp6_start(lan->host, &bad[i], lan->now), -EINVAL);
    lan->fail_after = 0;
    assert_int_equal(foyer_dhcp6_start(lan->host, NULL, lan->now), -ENOMEM);
    assert_int_equal(foyer_dhcp6_stop(lan->host, true, lan->now), -ENOENT);
}

int main(void)
{
#define LAN(test) cmocka_unit_test_setup_teardown(test, setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        LAN(four_messages_make_a_lease),
        LAN(solicit_backs_off),
        LAN(not_ours_is_not_heard),
        LAN(a_server_that_falls_silent_is_left),
        LAN(renew_rebind_and_the_end),
        LAN(no_binding_is_requested_anew),
        LAN(a_duplicate_is_declined),
        LAN(confirm_asks_whether_the_link_is_the_same),
        LAN(release_is_told_until_it_is_heard),
        LAN(two_messages_with_rapid_commit),
        cmocka_unit_test_setup_teardown(routers_say_what_is_asked_for, setup_follow, lan_teardown),
        cmocka_unit_test_setup_teardown(the_link_local_address_comes_first, setup_slaac,
                                        lan_teardown),
        LAN(domains_that_lie_are_left_out),
        LAN(bad_configs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
