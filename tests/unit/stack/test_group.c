/* Multicast: who gets what was sent to a group, and what routers are told (IGMP, MLD). */
#include "lan.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/group.h"
#include "wire/membership.h"

static uint8_t frame[3000];
static const struct foyer_addr group4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 99}};
static const struct foyer_addr group6 = {{0xff, 2, [15] = 0x99}};
#define GROUP(v4) ((v4) ? group4 : group6)

static foyer_socket member(struct lan *lan, bool v4, uint16_t port)
{
    struct foyer_addr any = v4 ? foyer_addr_v4(0, 0, 0, 0) : (struct foyer_addr){{0}};
    foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
    struct foyer_endpoint local = {any, port};
    foyer_socket_set_option(lan->host, socket, FOYER_OPT_REUSEADDR, 1);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &local, NULL), 0);
    return socket;
}

static int join(struct lan *lan, foyer_socket socket, const struct foyer_addr *group)
{
    return foyer_socket_join_group(lan->host, socket, group, lan->now);
}

static int leave(struct lan *lan, foyer_socket socket, const struct foyer_addr *group)
{
    return foyer_socket_leave_group(lan->host, socket, group, lan->now);
}

static size_t query(const struct foyer_addr *group, bool v4, unsigned version, uint32_t max_ms)
{
    uint8_t message[28] = {0};
    struct foyer_addr dst = group != NULL ? *group : lan_all_nodes(v4);
    size_t size = lan_query(message, v4, group, v4 && version == 1 ? 0 : max_ms);
    if (version == (v4 ? 3 : 2))
        size += 4;
    return lan_membership(frame, &dst, message, size);
}

struct told {
    unsigned messages, records;
    uint8_t message_type, record_type; /* the latter, and dst: of the group's */
    struct foyer_addr dst;
    bool has_group;
};

/* What the host says of the group in the time. */
static struct told listen_to(struct lan *lan, const struct foyer_addr *group, foyer_time_ns ns)
{
    bool v4 = foyer_addr_is_v4(group);
    struct told told = {0};
    foyer_time_ns end = lan->now + ns;
    do {
        lan_wait(lan,
                 end - lan->now < 50 * FOYER_NS_PER_MS ? end - lan->now : 50 * FOYER_NS_PER_MS);
        lan_pull(lan);
        const struct lan_frame *sent;
        while ((sent = lan_next(lan)) != NULL) {
            struct lan_view view;
            if (!lan_view(sent, &view) || view.is_v4 != v4 ||
                view.protocol != (v4 ? WIRE_PROTOCOL_IGMP : WIRE_PROTOCOL_ICMP6))
                continue;
            if (!v4 && view.transport[0] == WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT)
                continue;
            assert_int_equal(view.ttl, 1);
            assert_true(
                v4 ? checksum_of(view.transport, view.size) == 0
                   : wire_icmp6_checksum_ok(view.transport, view.size, &view.src, &view.dst));
            /* Router alert: a longer IPv4 header, a Hop-by-Hop header. */
            assert_int_equal(sent->bytes[WIRE_ETH_SIZE + (v4 ? 0 : 6)], v4 ? 0x46 : 0);
            told.messages++;
            told.message_type = view.transport[0];
            size_t step = v4 ? 8 : 20;
            const uint8_t *wanted = v4 ? group->bytes + 12 : group->bytes;
            if (view.transport[0] == (v4 ? WIRE_IGMP_REPORT_V3 : WIRE_MLD_REPORT_V2)) {
                unsigned count = load_be16(view.transport + 6);
                assert_int_equal(view.size, 8 + count * step);
                told.records += count;
                for (unsigned i = 0; i < count; i++) {
                    const uint8_t *record = view.transport + 8 + i * step;
                    if (memcmp(record + 4, wanted, step - 4) == 0) {
                        told.has_group = true;
                        told.dst = view.dst;
                        told.record_type = record[0];
                    }
                }
            } else if (memcmp(view.transport + (v4 ? 4 : 8), wanted, step - 4) == 0) {
                told.has_group = true;
                told.dst = view.dst;
            }
        }
    } while (lan->now < end);
    return told;
}

/* [test RFC1122 3.3.7a] */
static void only_members_hear(void **state)
{
    struct lan *lan = *state;
    uint8_t buffer[16];
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4), other = GROUP(v4);
        other.bytes[15]++;
        foyer_socket a = member(lan, v4, 5000), b = member(lan, v4, 5000);
        foyer_socket elsewhere = member(lan, v4, 5001), outsider = member(lan, v4, 5000);
        assert_int_equal(join(lan, a, &group), 0);
        assert_int_equal(join(lan, a, &group), -EADDRINUSE);
        assert_int_equal(join(lan, b, &group), 0);
        assert_int_equal(join(lan, elsewhere, &group), 0);
        assert_int_equal(join(lan, outsider, &other), 0);
        struct foyer_addr src = LAN_SRC(v4);
        lan_input(lan, frame, lan_udp(frame, &src, 9, &group, 5000, "hi", 2));
        assert_int_equal(foyer_socket_recv(lan->host, a, buffer, 16, lan->now), 2);
        assert_int_equal(foyer_socket_recv(lan->host, b, buffer, 16, lan->now), 2);
        assert_int_equal(foyer_socket_recv(lan->host, elsewhere, buffer, 16, lan->now), -EAGAIN);
        assert_int_equal(foyer_socket_recv(lan->host, outsider, buffer, 16, lan->now), -EAGAIN);
        assert_int_equal(leave(lan, a, &group), 0);
        assert_int_equal(leave(lan, a, &group), -EADDRNOTAVAIL);
        lan_input(lan, frame, lan_udp(frame, &src, 9, &group, 5000, "hi", 2));
        assert_int_equal(foyer_socket_recv(lan->host, a, buffer, 16, lan->now), -EAGAIN);
        assert_int_equal(foyer_socket_recv(lan->host, b, buffer, 16, lan->now), 2);
        /* Closing leaves; then the link's group is nobody's. */
        foyer_socket_close(lan->host, b, lan->now);
        foyer_socket_close(lan->host, elsewhere, lan->now);
        uint64_t dropped = lan_stats(lan).in_dropped_address;
        lan_input(lan, frame, lan_udp(frame, &src, 9, &group, 5000, "hi", 2));
        assert_int_equal(lan_stats(lan).in_dropped_address, dropped + 1);
    }
}

static void join_errors_and_limits(void **state)
{
    struct lan *lan = *state;
    foyer_socket v4 = member(lan, true, 1), v6 = member(lan, false, 2);
    foyer_socket tcp = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(join(lan, tcp, &group4), -EOPNOTSUPP);
    assert_int_equal(join(lan, v4, &lan_peer4), -EINVAL);
    assert_int_equal(join(lan, v4, &group6), -EINVAL);
    assert_int_equal(join(lan, v6, &group4), 0); /* dual stack */
    assert_int_equal(join(lan, FOYER_SOCKET_NONE, &group4), -EBADF);
    struct foyer_addr group = group4;
    for (unsigned i = 0; i < 40; i++) {
        group.bytes[14] = (uint8_t)(i + 1);
        assert_int_equal(join(lan, v4, &group), i < 32 ? 0 : -ENOBUFS);
    }
    for (unsigned s = 0; s < 20; s++) {
        foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
        for (unsigned i = 0; i < 32; i++) {
            group.bytes[13] = (uint8_t)(s + 1);
            group.bytes[14] = (uint8_t)i;
            (void)join(lan, socket, &group);
        }
    }
    assert_int_equal(lan->host->group_count, 256);
    lan->fail_after = 0;
    assert_int_equal(join(lan, v6, &group6), -ENOBUFS);
    assert_int_equal(leave(lan, v6, &group4), 0);
    lan->fail_after = UINT32_MAX;
    int64_t value;
    assert_int_equal(foyer_socket_set_option(lan->host, tcp, FOYER_OPT_MULTICAST_TTL, 3),
                     -ENOPROTOOPT);
    assert_int_equal(foyer_socket_set_option(lan->host, v4, FOYER_OPT_MULTICAST_TTL, 256), -EINVAL);
    assert_int_equal(foyer_socket_get_option(lan->host, v4, FOYER_OPT_MULTICAST_TTL, &value), 0);
    assert_int_equal(value, 1);
}

/* RFC 9776 section 5.1, RFC 9777 section 6.1 [test RFC1122 3.3.7a] [test RFC3810 5a] */
static void changes_are_told_twice(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        struct foyer_addr dst =
            v4 ? foyer_addr_v4(224, 0, 0, 22) : (struct foyer_addr){{0xff, 2, [15] = 0x16}};
        foyer_socket first = member(lan, v4, 5000), second = member(lan, v4, 5000);
        assert_int_equal(join(lan, first, &group), 0);
        assert_true(foyer_host_deadline(lan->host) <= lan->now);
        struct told told = listen_to(lan, &group, 2 * FOYER_NS_PER_S);
        assert_int_equal(told.messages, 2);
        assert_int_equal(told.record_type, WIRE_GROUP_TO_EXCLUDE);
        assert_true(foyer_addr_eq(&told.dst, &dst));
        assert_int_equal(join(lan, second, &group), 0);
        assert_int_equal(leave(lan, first, &group), 0);
        assert_int_equal(listen_to(lan, &group, 2 * FOYER_NS_PER_S).messages, 0);
        foyer_socket_close(lan->host, second, lan->now);
        told = listen_to(lan, &group, 2 * FOYER_NS_PER_S);
        assert_int_equal(told.messages, 2);
        assert_int_equal(told.record_type, WIRE_GROUP_TO_INCLUDE);
        assert_null(group_find(lan->host, &group));
        /* Joined again before the leave was told out: told as a join. */
        foyer_socket third = member(lan, v4, 5000);
        join(lan, third, &group);
        leave(lan, third, &group);
        join(lan, third, &group);
        told = listen_to(lan, &group, 2 * FOYER_NS_PER_S);
        assert_int_equal(told.record_type, WIRE_GROUP_TO_EXCLUDE);
        assert_int_equal(told.messages, 2);
    }
}

/* [test RFC3376 5.2g] [test RFC3810 5a 6.2e 6.3g] */
static void queries_are_answered(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4), other = GROUP(v4);
        other.bytes[15]++;
        foyer_socket socket = member(lan, v4, 5000);
        join(lan, socket, &group);
        lan_live(lan, 2 * FOYER_NS_PER_S);
        /* General: all groups in one report; IPv6 has two solicited-node groups besides. */
        lan_input(lan, frame, query(NULL, v4, v4 ? 3 : 2, 2000));
        lan_input(lan, frame, query(NULL, v4, v4 ? 3 : 2, 2000)); /* twice asked, once said */
        assert_int_equal(lan_pull(lan), 0);                       /* not at once */
        struct told told = listen_to(lan, &group, 2 * FOYER_NS_PER_S);
        assert_int_equal(told.messages, 1);
        assert_int_equal(told.record_type, WIRE_GROUP_IS_EXCLUDE);
        assert_int_equal(told.records, v4 ? 1 : 2); /* fd00::1 and fe80::...:1 share one */
        /* About one group. */
        lan_input(lan, frame, query(&group, v4, v4 ? 3 : 2, 1000));
        told = listen_to(lan, &group, FOYER_NS_PER_S);
        assert_int_equal(told.records, 1);
        assert_true(told.has_group);
        /* About another, with a foreign hop limit, without the router alert, cut. */
        uint64_t bad = lan_stats(lan).in_dropped_malformed;
        lan_input(lan, frame, query(&other, v4, v4 ? 3 : 2, 1000));
        size_t size = query(NULL, v4, v4 ? 3 : 2, 1000);
        if (v4) {
            frame[WIRE_ETH_SIZE + 8] = 2;
            lan_seal_ipv4(frame);
            lan_input(lan, frame, size);
        } else {
            frame[WIRE_ETH_SIZE + 7] = 2;
            lan_input(lan, frame, size);
            size = query(NULL, v4, 2, 1000);
            frame[WIRE_ETH_SIZE + 42] = 1; /* padding in its place */
            lan_input(lan, frame, size);
        }
        assert_int_equal(listen_to(lan, &group, 3 * FOYER_NS_PER_S).messages, 0);
        assert_int_equal(lan_stats(lan).in_dropped_malformed, bad + (v4 ? 1 : 2));
    }
}

/* RFC 9776 section 7, RFC 9777 section 8: as the oldest querier speaks, for 260 s.
 * [test RFC3376 4b 7.2.1a] [test RFC3810 5b 8.2.1a] */
static void old_queriers(void **state)
{
    static const struct {
        bool v4;
        uint8_t version, report, leave;
    } rows[] = {
        {true, 2, WIRE_IGMP_REPORT_V2, WIRE_IGMP_LEAVE_V2},
        {true, 1, WIRE_IGMP_REPORT_V1, 0},
        {false, 1, WIRE_MLD_REPORT_V1, WIRE_MLD_DONE_V1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct lan *lan = lan_create(0, NULL);
        bool v4 = rows[i].v4;
        struct foyer_addr group = GROUP(v4);
        foyer_socket socket = member(lan, v4, 5000);
        lan_input(lan, frame, query(NULL, v4, rows[i].version, 1000));
        join(lan, socket, &group);
        struct told told = listen_to(lan, &group, 20 * FOYER_NS_PER_S);
        assert_int_equal(told.message_type, rows[i].report);
        assert_true(foyer_addr_eq(&told.dst, &group));
        lan_input(lan, frame, query(&group, v4, rows[i].version, 1000));
        told = listen_to(lan, &group, 10 * FOYER_NS_PER_S);
        assert_int_equal(told.messages, 1);
        assert_int_equal(told.message_type, rows[i].report);
        /* Another member was quicker. */
        lan_input(lan, frame, query(&group, v4, rows[i].version, 1000));
        uint8_t report[24];
        size_t size = wire_membership_old(report, rows[i].report, &group);
        lan_input(lan, frame, lan_membership(frame, &group, report, size));
        assert_int_equal(listen_to(lan, &group, 10 * FOYER_NS_PER_S).messages, 0);
        assert_int_equal(leave(lan, socket, &group), 0);
        told = listen_to(lan, &group, 10 * FOYER_NS_PER_S);
        assert_int_equal(told.messages, rows[i].leave != 0);
        assert_int_equal(told.message_type, rows[i].leave);
        /* It is gone: back to the current version. */
        lan_live(lan, 260 * FOYER_NS_PER_S);
        join(lan, socket, &group);
        told = listen_to(lan, &group, 2 * FOYER_NS_PER_S);
        assert_int_equal(told.message_type, v4 ? WIRE_IGMP_REPORT_V3 : WIRE_MLD_REPORT_V2);
        lan_destroy(lan);
    }
}

static void many_groups_in_few_reports(void **state)
{
    struct lan *lan = *state;
    for (unsigned s = 0; s < 4; s++) {
        foyer_socket socket = lan_open(lan, FOYER_FAMILY_V6, FOYER_UDP);
        for (unsigned i = 0; i < 30; i++) {
            struct foyer_addr group = group6;
            group.bytes[14] = (uint8_t)(s * 30 + i + 1);
            assert_int_equal(join(lan, socket, &group), 0);
        }
    }
    lan_live(lan, 2 * FOYER_NS_PER_S);
    struct foyer_addr last = group6;
    last.bytes[14] = 120;
    lan_input(lan, frame, query(NULL, false, 2, 1000));
    struct told told = listen_to(lan, &last, 2 * FOYER_NS_PER_S);
    assert_int_equal(told.records, 121);
    assert_int_equal(told.messages, 2); /* 61 in the first */
    assert_true(told.has_group);
}

/* What the host sends to a group or broadcast, its own members hear; once, whole. */
static void own_copy(void **state)
{
    struct lan *lan = *state;
    static uint8_t big[2500], buffer[3000];
    for (int kind = 0; kind < 3; kind++) {
        bool v4 = kind != 1;
        struct foyer_addr dst = kind == 2 ? foyer_addr_v4(10, 0, 0, 255) : GROUP(v4);
        foyer_socket sender = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        foyer_socket hearer = member(lan, v4, (uint16_t)(5000 + kind));
        struct foyer_endpoint remote = {dst, (uint16_t)(5000 + kind)};
        foyer_socket_set_option(lan->host, sender, FOYER_OPT_BROADCAST, 1);
        if (kind != 2)
            assert_int_equal(join(lan, hearer, &dst), 0);
        lan_live(lan, 3 * FOYER_NS_PER_S);
        for (int is_big = 0; is_big < 2; is_big++) {
            int64_t size = is_big ? (int64_t)sizeof(big) : 5;
            big[0] = (uint8_t)kind;
            assert_int_equal(
                foyer_socket_send_to(lan->host, sender, big, (size_t)size, &remote, lan->now),
                size);
            assert_int_equal(lan_pull(lan), is_big ? 2 : 1);
            assert_int_equal(lan_next(lan)->bytes[0] & 1, 1);
            assert_int_equal(foyer_socket_recv(lan->host, hearer, buffer, sizeof(buffer), lan->now),
                             size);
            assert_memory_equal(buffer, big, (size_t)size);
            assert_int_equal(foyer_socket_recv(lan->host, hearer, buffer, sizeof(buffer), lan->now),
                             -EAGAIN);
        }
        if (kind == 2)
            continue;
        /* TTL 0: only inside; loop off: only outside. */
        for (int is_big = 0; is_big < 2; is_big++) {
            size_t size = is_big ? sizeof(big) : 5;
            foyer_socket_set_option(lan->host, sender, FOYER_OPT_MULTICAST_TTL, 0);
            foyer_socket_send_to(lan->host, sender, big, size, &remote, lan->now);
            assert_int_equal(lan_pull(lan), 0);
            assert_int_equal(foyer_socket_recv(lan->host, hearer, buffer, sizeof(buffer), lan->now),
                             size);
            foyer_socket_set_option(lan->host, sender, FOYER_OPT_MULTICAST_TTL, 7);
            foyer_socket_set_option(lan->host, sender, FOYER_OPT_MULTICAST_LOOP, 0);
            foyer_socket_send_to(lan->host, sender, big, size, &remote, lan->now);
            assert_int_equal(lan_pull(lan), is_big ? 2 : 1);
            struct lan_view view;
            assert_true(lan_view(lan_next(lan), &view));
            assert_int_equal(view.ttl, 7);
            assert_int_equal(foyer_socket_recv(lan->host, hearer, buffer, sizeof(buffer), lan->now),
                             -EAGAIN);
            foyer_socket_set_option(lan->host, sender, FOYER_OPT_MULTICAST_LOOP, 1);
        }
    }
}

/* FOYER_OPT_MULTICAST_ALL: what another socket has joined, from the sources that it wants. */
static void others_get_it_too(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        struct foyer_addr stranger = v4 ? foyer_addr_v4(192, 0, 2, 9) : lan_addr6(0x99);
        foyer_socket joined = member(lan, v4, 5000), other = member(lan, v4, 5000);
        foyer_socket sender = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
        struct foyer_endpoint remote = {group, 5000};
        char text[8];
        /* The option's bits are by family: 1 for IPv4, 2 for IPv6. */
        const struct {
            int64_t option;
            bool has_member, is_filtered, is_heard;
        } cases[] = {
            {0, true, false, false},         {v4 ? 2 : 1, true, false, false},
            {v4 ? 1 : 2, true, false, true}, {3, true, false, true},
            {3, true, true, false},          {3, false, false, false},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            assert_int_equal(
                foyer_socket_set_option(lan->host, other, FOYER_OPT_MULTICAST_ALL, cases[i].option),
                0);
            if (cases[i].has_member)
                assert_int_equal(foyer_socket_set_source_filter(lan->host, joined, &group,
                                                                cases[i].is_filtered
                                                                    ? FOYER_FILTER_INCLUDE
                                                                    : FOYER_FILTER_EXCLUDE,
                                                                &stranger, 1, lan->now),
                                 0);
            else
                foyer_socket_leave_group(lan->host, joined, &group, lan->now);
            foyer_socket_send_to(lan->host, sender, "hi", 2, &remote, lan->now);
            lan_pull(lan);
            assert_int_equal(foyer_socket_recv(lan->host, other, text, sizeof(text), lan->now),
                             cases[i].is_heard ? 2 : -EAGAIN);
            assert_int_equal(foyer_socket_recv(lan->host, joined, text, sizeof(text), lan->now),
                             cases[i].has_member && !cases[i].is_filtered ? 2 : -EAGAIN);
        }
        /* Once, not twice, where it is a member as well. */
        assert_int_equal(join(lan, other, &group), 0);
        foyer_socket_send_to(lan->host, sender, "hi", 2, &remote, lan->now);
        lan_pull(lan);
        assert_int_equal(foyer_socket_recv(lan->host, other, text, sizeof(text), lan->now), 2);
        assert_int_equal(foyer_socket_recv(lan->host, other, text, sizeof(text), lan->now),
                         -EAGAIN);
        assert_int_equal(foyer_socket_set_option(lan->host, other, FOYER_OPT_MULTICAST_ALL, 4),
                         -EINVAL);
        foyer_socket_close(lan->host, joined, lan->now);
        foyer_socket_close(lan->host, other, lan->now);
    }
}

static void announce(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_ANNOUNCE;
}

/* RFC 4862 section 5.4.2: the solicited-node group is told of before the address is probed.
 * [test RFC4861 7.2.1a] */
static void own_addresses_are_members(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, announce);
    struct foyer_addr addr = lan_addr6(0x77), group = ip_solicited_node(&addr);
    lan_live(lan, 10 * FOYER_NS_PER_S);
    assert_int_equal(foyer_host_add_address(lan->host, &addr, 64), 0);
    struct told told = listen_to(lan, &group, 50 * FOYER_NS_PER_MS);
    assert_int_equal(told.record_type, WIRE_GROUP_TO_EXCLUDE);
    lan_live(lan, 10 * FOYER_NS_PER_S);
    assert_int_equal(foyer_host_remove_address(lan->host, &addr), 0);
    told = listen_to(lan, &group, 2 * FOYER_NS_PER_S);
    assert_int_equal(told.record_type, WIRE_GROUP_TO_INCLUDE);
    assert_int_equal(told.messages, 2);
    assert_null(group_find(lan->host, &group));
    lan_destroy(lan);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(only_members_hear),
        TEST(join_errors_and_limits),
        TEST(changes_are_told_twice),
        TEST(queries_are_answered),
        cmocka_unit_test(old_queriers),
        TEST(many_groups_in_few_reports),
        TEST(own_copy),
        TEST(others_get_it_too),
        cmocka_unit_test(own_addresses_are_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
