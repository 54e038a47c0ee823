/* Source-filtered membership: who gets what, and what routers are told of it (RFC 3376, RFC 3810). */
#include "lan.h"

#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/group.h"

#define SAID_MAX 40

static uint8_t frame[3000];
static const struct foyer_addr group4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 99}};
static const struct foyer_addr group6 = {{0xff, 2, [15] = 0x99}};
#define GROUP(v4) ((v4) ? group4 : group6)

/* The sources are called a, b, c, ... */
static struct foyer_addr source_of(bool v4, char name)
{
    return v4 ? foyer_addr_v4(10, 0, 0, (uint8_t)name) : lan_addr6((uint8_t)name);
}

static foyer_socket member(struct lan *lan, bool v4)
{
    struct foyer_addr any = v4 ? foyer_addr_v4(0, 0, 0, 0) : (struct foyer_addr){{0}};
    foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_UDP);
    struct foyer_endpoint local = {any, 5000};
    foyer_socket_set_option(lan->host, socket, FOYER_OPT_REUSEADDR, 1);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &local, NULL), 0);
    return socket;
}

static int set(struct lan *lan, foyer_socket socket, bool v4, enum foyer_filter_mode mode,
               const char *names)
{
    struct foyer_addr group = GROUP(v4), sources[8];
    for (size_t i = 0; i < strlen(names); i++)
        sources[i] = source_of(v4, names[i]);
    return foyer_socket_set_source_filter(lan->host, socket, &group, mode, sources, strlen(names),
                                          lan->now);
}

static int change(struct lan *lan, foyer_socket socket, bool v4, char what, char name)
{
    struct foyer_addr group = GROUP(v4), source = source_of(v4, name);
    switch (what) {
    case 'j':
        return foyer_socket_join_source(lan->host, socket, &group, &source, lan->now);
    case 'l':
        return foyer_socket_leave_source(lan->host, socket, &group, &source, lan->now);
    case 'b':
        return foyer_socket_block_source(lan->host, socket, &group, &source, lan->now);
    default:
        return foyer_socket_unblock_source(lan->host, socket, &group, &source, lan->now);
    }
}

/* "EXCLUDE ab" */
static const char *filter_of(struct lan *lan, foyer_socket socket, bool v4)
{
    static char text[80];
    struct foyer_addr group = GROUP(v4), sources[FOYER_GROUP_SOURCES_MAX];
    enum foyer_filter_mode mode;
    int count = foyer_socket_source_filter(lan->host, socket, &group, &mode, sources,
                                           FOYER_GROUP_SOURCES_MAX);
    if (count < 0)
        return "none";
    strcpy(text, mode == FOYER_FILTER_INCLUDE ? "INCLUDE " : "EXCLUDE ");
    for (int i = 0; i < count; i++)
        text[8 + i] = (char)sources[i].bytes[15];
    text[8 + count] = 0;
    return text;
}

/* Which of the sources a to f the socket hears. */
static const char *heard(struct lan *lan, foyer_socket socket, bool v4)
{
    static char names[8];
    size_t count = 0;
    uint8_t buffer[4];
    struct foyer_addr group = GROUP(v4);
    while (foyer_socket_recv(lan->host, socket, buffer, 4, lan->now) >= 0)
        ;
    for (char name = 'a'; name <= 'f'; name++) {
        struct foyer_addr source = source_of(v4, name);
        lan_input(lan, frame, lan_udp(frame, &source, 9, &group, 5000, "hi", 2));
        if (foyer_socket_recv(lan->host, socket, buffer, 4, lan->now) == 2)
            names[count++] = name;
    }
    names[count] = 0;
    return names;
}

/* ---- what is said ------------------------------------------------------------------------------- */

/*
 * All reports of the time as one text: "ALLOW(ab) BLOCK(c); ALLOW(ab) BLOCK(c);". Messages end
 * in a semicolon; records of other groups are left out. Sources in the order of their names.
 */
static const char *said(struct lan *lan, bool v4, foyer_time_ns ns)
{
    static const char *const types[] = {"?", "IS_IN", "IS_EX", "TO_IN", "TO_EX", "ALLOW", "BLOCK"};
    static char text[400];
    struct foyer_addr group = GROUP(v4);
    size_t addr_size = v4 ? 4 : 16;
    foyer_time_ns end = lan->now + ns;
    text[0] = 0;
    do {
        lan_wait(lan,
                 end - lan->now < 50 * FOYER_NS_PER_MS ? end - lan->now : 50 * FOYER_NS_PER_MS);
        lan_pull(lan);
        const struct lan_frame *sent;
        while ((sent = lan_next(lan)) != NULL) {
            struct lan_view view;
            if (!lan_view(sent, &view) || view.is_v4 != v4 ||
                view.transport[0] != (v4 ? WIRE_IGMP_REPORT_V3 : WIRE_MLD_REPORT_V2))
                continue;
            const uint8_t *record = view.transport + 8;
            for (unsigned left = load_be16(view.transport + 6); left > 0; left--) {
                uint16_t count = load_be16(record + 2);
                assert_in_range(record[0], 1, 6);
                assert_int_equal(record[1], 0);
                if (memcmp(record + 4, group.bytes + 16 - addr_size, addr_size) == 0) {
                    char names[8] = "";
                    for (char name = 'a'; name <= 'f'; name++) {
                        for (unsigned i = 0; i < count; i++) {
                            if ((char)record[4 + (i + 2) * addr_size - 1] == name)
                                names[strlen(names)] = name;
                        }
                    }
                    assert_int_equal(strlen(names), count);
                    assert_true(strlen(text) + 20 < sizeof(text));
                    sprintf(text + strlen(text), "%s%s(%s)", text[0] ? " " : "", types[record[0]],
                            names);
                }
                record += 4 + (1u + count) * addr_size;
            }
            assert_true(record == view.transport + view.size);
            strcat(text, ";");
        }
    } while (lan->now < end);
    return text;
}

static size_t query_message(uint8_t *message, bool v4, const struct foyer_addr *about,
                            const char *names, uint32_t max_ms)
{
    size_t size = lan_query(message, v4, about, max_ms), addr_size = v4 ? 4 : 16;
    store_be32(message + size, (uint32_t)strlen(names));
    size += 4;
    for (size_t i = 0; i < strlen(names); i++) {
        struct foyer_addr source = source_of(v4, names[i]);
        memcpy(message + size, source.bytes + 16 - addr_size, addr_size);
        size += addr_size;
    }
    return size;
}

static size_t query(bool v4, const struct foyer_addr *about, const char *names, uint32_t max_ms)
{
    uint8_t message[400];
    struct foyer_addr dst = about != NULL ? *about : lan_all_nodes(v4);
    size_t size = query_message(message, v4, about, names, max_ms);
    return lan_membership(frame, &dst, message, size);
}

static size_t with_message(bool v4, const uint8_t *message, size_t size)
{
    struct foyer_addr dst = lan_all_nodes(v4);
    return lan_membership(frame, &dst, message, size);
}

/* ---- tests -------------------------------------------------------------------------------------------- */

/* [test RFC3376 3.2d] [test RFC3810 4.2d] */
static void filters_and_who_hears(void **state)
{
    struct lan *lan = *state;
    static const struct {
        char what, name;
        int error;
        const char *filter, *heard;
    } rows[] = {
        {'l', 'a', -EINVAL, "none", ""},
        {'b', 'a', -EINVAL, "none", ""},
        {'u', 'a', -EINVAL, "none", ""},
        {'j', 'a', 0, "INCLUDE a", "a"},
        {'j', 'a', -EADDRNOTAVAIL, "INCLUDE a", "a"},
        {'j', 'b', 0, "INCLUDE ab", "ab"},
        {'b', 'c', -EINVAL, "INCLUDE ab", "ab"},
        {'u', 'a', -EINVAL, "INCLUDE ab", "ab"},
        {'l', 'c', -EADDRNOTAVAIL, "INCLUDE ab", "ab"},
        {'l', 'a', 0, "INCLUDE b", "b"},
        {'l', 'b', 0, "none", ""},
        {'G', 0, 0, "EXCLUDE ", "abcdef"},
        {'G', 0, -EADDRINUSE, "EXCLUDE ", "abcdef"},
        {'b', 'a', 0, "EXCLUDE a", "bcdef"},
        {'b', 'a', -EADDRNOTAVAIL, "EXCLUDE a", "bcdef"},
        {'b', 'f', 0, "EXCLUDE af", "bcde"},
        {'j', 'a', -EINVAL, "EXCLUDE af", "bcde"},
        {'l', 'a', -EINVAL, "EXCLUDE af", "bcde"},
        {'u', 'b', -EADDRNOTAVAIL, "EXCLUDE af", "bcde"},
        {'u', 'a', 0, "EXCLUDE f", "abcde"},
        {'u', 'f', 0, "EXCLUDE ", "abcdef"},
        {'j', 'd', 0, "INCLUDE d", "d"}, /* as on Linux */
        {'L', 0, 0, "none", ""},
        {'L', 0, -EADDRNOTAVAIL, "none", ""},
    };
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        foyer_socket socket = member(lan, v4), other = member(lan, v4);
        assert_int_equal(set(lan, other, v4, FOYER_FILTER_EXCLUDE, "e"), 0);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            int error = rows[i].what == 'G'
                            ? foyer_socket_join_group(lan->host, socket, &group, lan->now)
                        : rows[i].what == 'L'
                            ? foyer_socket_leave_group(lan->host, socket, &group, lan->now)
                            : change(lan, socket, v4, rows[i].what, rows[i].name);
            assert_int_equal(error, rows[i].error);
            assert_string_equal(filter_of(lan, socket, v4), rows[i].filter);
            assert_string_equal(heard(lan, socket, v4), rows[i].heard);
        }
        assert_string_equal(heard(lan, other, v4), "abcdf");
        assert_int_equal(set(lan, other, v4, FOYER_FILTER_INCLUDE, "abba"), 0);
        assert_string_equal(filter_of(lan, other, v4), "INCLUDE ab");
        assert_int_equal(set(lan, other, v4, FOYER_FILTER_INCLUDE, ""), 0);
        assert_string_equal(filter_of(lan, other, v4), "none");
        assert_int_equal(set(lan, other, v4, FOYER_FILTER_INCLUDE, ""), -EADDRNOTAVAIL);
    }
}

/* [test RFC3376 3.1a 3.2c] [test RFC3810 4.2c] */
static void limits_are_errors(void **state)
{
    struct lan *lan = *state;
    foyer_socket sockets[6];
    struct foyer_addr sources[65], bad = group4;
    for (unsigned s = 0; s < 5; s++) {
        sockets[s] = member(lan, true);
        for (unsigned i = 0; i < 65; i++)
            sources[i] = foyer_addr_v4(10, 1, (uint8_t)s, (uint8_t)(i + 1));
        assert_int_equal(foyer_socket_set_source_filter(lan->host, sockets[s], &group4,
                                                        FOYER_FILTER_INCLUDE, sources, 65,
                                                        lan->now),
                         -ENOBUFS);
        /* Four lists of 64 are all that a group has room for. */
        assert_int_equal(foyer_socket_set_source_filter(lan->host, sockets[s], &group4,
                                                        FOYER_FILTER_INCLUDE, sources, 64,
                                                        lan->now),
                         s < 4 ? 0 : -ENOBUFS);
    }
    assert_int_equal(group_find(lan->host, &group4)->source_count, 256);
    assert_int_equal(
        foyer_socket_join_source(lan->host, sockets[0], &group4, &sources[64], lan->now), -ENOBUFS);
    assert_int_equal(foyer_socket_join_source(lan->host, sockets[4], &group4, &bad, lan->now),
                     -EINVAL);
    assert_int_equal(foyer_socket_join_source(lan->host, sockets[4], &group4, &lan_peer6, lan->now),
                     -EINVAL);
    bad = foyer_addr_v4(0, 0, 0, 0);
    assert_int_equal(foyer_socket_join_source(lan->host, sockets[4], &group4, &bad, lan->now),
                     -EINVAL);
    assert_int_equal(foyer_socket_join_source(lan->host, sockets[4], &lan_peer4, &bad, lan->now),
                     -EINVAL);
    assert_int_equal(
        foyer_socket_join_source(lan->host, FOYER_SOCKET_NONE, &group4, &lan_peer4, lan->now),
        -EBADF);
    if (FOYER_WITH_TCP) {
        foyer_socket tcp = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
        assert_int_equal(foyer_socket_join_source(lan->host, tcp, &group4, &lan_peer4, lan->now),
                         -EOPNOTSUPP);
    }
    for (unsigned s = 0; s < 4; s++)
        foyer_socket_close(lan->host, sockets[s], lan->now);
    lan_live(lan, 2 * FOYER_NS_PER_S);
    assert_null(group_find(lan->host, &group4));
}

/* Whichever allocation fails, the old filter stands. */
static void no_memory(void **state)
{
    struct lan *lan = *state;
    foyer_socket socket = member(lan, true);
    assert_int_equal(set(lan, socket, true, FOYER_FILTER_INCLUDE, "a"), 0);
    said(lan, true, 2 * FOYER_NS_PER_S);
    int error;
    uint32_t failures = 0;
    do {
        lan->fail_after = failures++;
        error = set(lan, socket, true, FOYER_FILTER_INCLUDE, "bcd");
        lan->fail_after = UINT32_MAX;
        if (error != 0) {
            assert_int_equal(error, -ENOMEM);
            assert_string_equal(filter_of(lan, socket, true), "INCLUDE a");
            assert_string_equal(said(lan, true, 2 * FOYER_NS_PER_S), "");
            assert_int_equal(group_find(lan->host, &group4)->source_count, 1);
        }
    } while (error != 0);
    assert_int_equal(failures, 6); /* the member, its list, three sources; then none failed */
}

/*
 * The table of RFC 3376 section 5.1, and what becomes of two members' filters (section 3.2).
 * said() checks that records have no auxiliary data and that nothing follows the last.
 * [test RFC3376 3.2a 3.2b 4.2.10a 4.2.11a 5.1a 5.1b] [test RFC3810 4.2a 4.2b 5.2.10a 5.2.11a 6.1a 6.1b]
 */
static void changes_of_the_interface(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b; /* two members' filters: I or E and sources; NULL: left */
        const char *said;  /* twice */
    } rows[] = {
        {"Iab", "", "ALLOW(ab);"},     {"Ibc", "", "ALLOW(c) BLOCK(a);"},
        {"Ibc", "Ibd", "ALLOW(d);"},   {"Ib", "Ibd", "BLOCK(c);"},
        {"Ef", "Ibd", "TO_EX(f);"},    {"Efb", "Ibd", ""},         /* b is included by the other */
        {"Efb", "Id", "BLOCK(b);"},    {"Efb", "Eb", "ALLOW(f);"}, /* only what both exclude */
        {"Eacb", "Ebce", "BLOCK(c);"}, {"Eacb", "E", "ALLOW(bc);"},
        {"Eacb", "", "BLOCK(abc);"},   {"Ic", "", "TO_IN(c);"},
        {"E", "", "TO_EX();"},         {"", "", "TO_IN();"},
    };
    for (int v4 = 0; v4 < 2; v4++) {
        struct lan *lan = lan_create(0, NULL);
        foyer_socket sockets[2] = {member(lan, v4), member(lan, v4)};
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            const char *wanted[2] = {rows[i].a, rows[i].b};
            for (int s = 0; s < 2; s++)
                (void)set(lan, sockets[s], v4,
                          wanted[s][0] == 'E' ? FOYER_FILTER_EXCLUDE : FOYER_FILTER_INCLUDE,
                          wanted[s][0] ? wanted[s] + 1 : "");
            char twice[80];
            snprintf(twice, sizeof(twice), "%s%s%s", rows[i].said, rows[i].said[0] ? " " : "",
                     rows[i].said);
            assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), twice);
        }
        struct foyer_addr group = GROUP(v4);
        assert_null(group_find(lan->host, &group));
        lan_destroy(lan);
    }
}

/* More changes while the first are still told. [test RFC3376 5.1c] [test RFC3810 6.1c] */
static void changes_merge(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket socket = member(lan, v4);
        assert_int_equal(change(lan, socket, v4, 'j', 'a'), 0);
        assert_string_equal(said(lan, v4, 0), "ALLOW(a);");
        assert_int_equal(change(lan, socket, v4, 'j', 'b'), 0);
        assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), "ALLOW(ab); ALLOW(b);");
        assert_int_equal(change(lan, socket, v4, 'l', 'a'), 0);
        assert_string_equal(said(lan, v4, 0), "BLOCK(a);");
        assert_int_equal(change(lan, socket, v4, 'j', 'a'), 0); /* back again */
        assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), "ALLOW(a); ALLOW(a);");
        /* The mode is told with all sources as often as it must, then only the source. */
        assert_int_equal(set(lan, socket, v4, FOYER_FILTER_EXCLUDE, "c"), 0);
        assert_string_equal(said(lan, v4, 0), "TO_EX(c);");
        assert_int_equal(change(lan, socket, v4, 'b', 'd'), 0);
        assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), "TO_EX(cd); BLOCK(d);");
        foyer_socket_close(lan->host, socket, lan->now);
        assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), "TO_IN(); TO_IN();");
    }
}

/* [test RFC3376 5.2e 5.2f] [test RFC3810 6.3e 6.3f] */
static void queries_about_sources(void **state)
{
    struct lan *lan = *state;
    static const struct {
        const char *filter, *asked, *said;
    } rows[] = {
        {"Iabc", "bcd", "IS_IN(bc);"}, {"Iabc", "def", ""},     {"Iabc", "", "IS_IN(abc);"},
        {"Eabc", "bcd", "IS_IN(d);"},  {"Eabc", "abc", ""},     {"Eabc", "", "IS_EX(abc);"},
        {"E", "", "IS_EX();"},         {"E", "a", "IS_IN(a);"},
    };
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        foyer_socket socket = member(lan, v4);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            set(lan, socket, v4,
                rows[i].filter[0] == 'E' ? FOYER_FILTER_EXCLUDE : FOYER_FILTER_INCLUDE,
                rows[i].filter + 1);
            said(lan, v4, 2 * FOYER_NS_PER_S);
            lan_input(lan, frame, query(v4, &group, rows[i].asked, 1000));
            assert_int_equal(lan_pull(lan), 0); /* not at once */
            assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), rows[i].said);
            /* In the answer to a general query: the whole state. */
            if (rows[i].asked[0] != 0)
                continue;
            lan_input(lan, frame, query(v4, NULL, "", 1000));
            assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), rows[i].said);
        }
        foyer_socket_close(lan->host, socket, lan->now);
        said(lan, v4, 2 * FOYER_NS_PER_S);
    }
}

/* [test RFC3376 5.2a 5.2b 5.2c 5.2d] [test RFC3810 6.2a 6.2b 6.2c 6.2d] */
static void queries_merge(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        foyer_socket socket = member(lan, v4);
        assert_int_equal(set(lan, socket, v4, FOYER_FILTER_INCLUDE, "abc"), 0);
        said(lan, v4, 2 * FOYER_NS_PER_S);
        /* About sources twice: one answer about all of them, no later than the first asked for. */
        lan_input(lan, frame, query(v4, &group, "a", 1000));
        lan_input(lan, frame, query(v4, &group, "cd", 25000));
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "IS_IN(ac);");
        /* About the group as well: about the whole, in either order. */
        lan_input(lan, frame, query(v4, &group, "a", 1000));
        lan_input(lan, frame, query(v4, &group, "", 1000));
        lan_input(lan, frame, query(v4, &group, "b", 1000));
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "IS_IN(abc);");
        /* A general answer is coming sooner. */
        lan_input(lan, frame, query(v4, NULL, "", 100));
        for (unsigned i = 0; i < 20; i++)
            lan_input(lan, frame, query(v4, &group, "a", 25000));
        assert_string_equal(said(lan, v4, 100 * FOYER_NS_PER_MS), "IS_IN(abc);");
        /* Sooner than which some of the twenty may have been: those are answered, once. */
        const char *later = said(lan, v4, 30 * FOYER_NS_PER_S);
        assert_true(strcmp(later, "") == 0 || strcmp(later, "IS_IN(a);") == 0);
        /* More sources than are remembered: the whole state. */
        lan_input(lan, frame, query(v4, &group, "aaaaaaaaaaaaaaaaa", 1000));
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "IS_IN(abc);");
        /* The state is that of the answer's time. */
        lan_input(lan, frame, query(v4, &group, "ab", 1000));
        foyer_socket_close(lan->host, socket, lan->now);
        assert_string_equal(said(lan, v4, 3 * FOYER_NS_PER_S), "BLOCK(abc); BLOCK(abc);");
    }
}

/* A query may also come to the host's own address. [test RFC3376 4.1.12a] [test RFC3810 5.1.15a] */
static void queries_by_unicast(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket socket = member(lan, v4);
        assert_int_equal(set(lan, socket, v4, FOYER_FILTER_INCLUDE, "a"), 0);
        said(lan, v4, 2 * FOYER_NS_PER_S);
        uint8_t message[28];
        size_t size = query_message(message, v4, NULL, "", 1000);
        lan_input(lan, frame, lan_membership(frame, v4 ? &lan_host4 : &lan_host6, message, size));
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "IS_IN(a);");
    }
}

/* [test RFC3376 4.2.16a 4.2.16b] [test RFC3810 5.2.15a 5.2.15b] */
static void long_lists(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr sources[64];
    foyer_socket sockets[4];
    /* IPv6: (1232 - 8 - 20) / 16 = 75 sources in a message; IPv4 has room for all 256. */
    for (int is_exclude = 0; is_exclude < 2; is_exclude++) {
        unsigned messages = 0, records = 0, named = 0;
        for (unsigned s = 0; s < 4; s++) {
            sockets[s] = member(lan, false);
            for (unsigned i = 0; i < 64; i++) {
                sources[i] = lan_addr6((uint8_t)i);
                sources[i].bytes[14] = (uint8_t)(is_exclude ? 1 + (i & 1) : s + 1);
            }
            assert_int_equal(foyer_socket_set_source_filter(lan->host, sockets[s], &group6,
                                                            is_exclude ? FOYER_FILTER_EXCLUDE
                                                                       : FOYER_FILTER_INCLUDE,
                                                            sources, 64, lan->now),
                             0);
        }
        if (is_exclude) /* what all exclude: 64, which fit; a smaller link cuts them */
            lan->host->link_mtu_v6 = 40 + 8 + 8 + 20 + 16 * 10 + 15;
        lan_wait(lan, 0);
        lan_pull(lan);
        const struct lan_frame *sent;
        struct lan_view view;
        while ((sent = lan_next(lan)) != NULL) {
            assert_true(lan_view(sent, &view));
            if (view.transport[0] != WIRE_MLD_REPORT_V2)
                continue;
            messages++;
            records += load_be16(view.transport + 6);
            named += load_be16(view.transport + 8 + 2);
            assert_int_equal(view.transport[8],
                             is_exclude ? WIRE_GROUP_TO_EXCLUDE : WIRE_GROUP_ALLOW);
            assert_int_equal(view.size, 8 + 20 + load_be16(view.transport + 10) * 16u);
        }
        assert_int_equal(records, messages);
        assert_int_equal(messages, is_exclude ? 1 : 4);
        assert_int_equal(named, is_exclude ? 10 : 256);
        for (unsigned s = 0; s < 4; s++)
            foyer_socket_close(lan->host, sockets[s], lan->now);
        lan_live(lan, 3 * FOYER_NS_PER_S);
    }
}

/* Before queriers of older versions the group is a member's or nobody's. [test RFC3376 7.2.1a] */
static void older_queriers(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        foyer_socket socket = member(lan, v4);
        /* A report that is still to be repeated is not: [test RFC3376 7.2.1b] [test RFC3810 8.2.1a] */
        assert_int_equal(change(lan, socket, v4, 'j', 'a'), 0);
        assert_string_equal(said(lan, v4, 0), "ALLOW(a);");
        /* Its interval was told before: [test RFC3376 8.12a] [test RFC3810 9.12a] */
        uint8_t message[28] = {v4 ? WIRE_IGMP_QUERY : WIRE_MLD_QUERY, v4 ? 10 : 0};
        if (!v4)
            store_be16(message + 4, 1000);
        message[v4 ? 9 : 25] = 60;
        lan_input(lan, frame, with_message(v4, message, v4 ? 12 : 28));
        lan_input(lan, frame, with_message(v4, message, v4 ? 8 : 24));
        assert_string_equal(said(lan, v4, 20 * FOYER_NS_PER_S), ""); /* only the old report */
        assert_int_equal(change(lan, socket, v4, 'j', 'b'), 0);
        assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), "");
        assert_string_equal(heard(lan, socket, v4), "ab");
        lan_live(lan, (2 * 60 + 10 - 23) * FOYER_NS_PER_S);
        assert_int_equal(change(lan, socket, v4, 'j', 'c'), 0);
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S / 2), ""); /* not yet */
        lan_live(lan, 3 * FOYER_NS_PER_S);
        assert_int_equal(change(lan, socket, v4, 'j', 'd'), 0);
        assert_string_equal(said(lan, v4, 2 * FOYER_NS_PER_S), "ALLOW(d); ALLOW(d);");
        assert_int_equal(foyer_socket_leave_group(lan->host, socket, &group, lan->now), 0);
        lan_live(lan, 3 * FOYER_NS_PER_S);
    }
}

/* [test RFC3376 4a 4.1.2a 4.1.10a 7.1a 9.1b] [test RFC3810 5.1.2a 5.1.12a 5.1.14a 8.1a] */
static void what_is_no_query(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        foyer_socket socket = member(lan, v4);
        assert_int_equal(set(lan, socket, v4, FOYER_FILTER_INCLUDE, "a"), 0);
        said(lan, v4, 2 * FOYER_NS_PER_S);
        size_t at = WIRE_ETH_SIZE + (v4 ? 20 : 48), plain = v4 ? 12 : 28;
        uint8_t message[60] = {v4 ? WIRE_IGMP_QUERY : WIRE_MLD_QUERY, v4 ? 10 : 0};
        if (!v4)
            store_be16(message + 4, 1000);
        /* Lengths that no version has; octets behind the query do not matter. */
        for (size_t size = plain - 3; size <= plain + 9; size++) {
            lan_input(lan, frame, with_message(v4, message, size));
            assert_string_equal(said(lan, v4, FOYER_NS_PER_S), size < plain ? "" : "IS_IN(a);");
        }
        /* Sources that are not there. */
        message[plain - 1] = 1;
        lan_input(lan, frame, with_message(v4, message, plain + 3));
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "");
        message[plain - 1] = 0;
        /* A damaged one: an octet behind the query counts as well. */
        size_t size = with_message(v4, message, plain + 4);
        frame[size - 1] ^= 1;
        lan_input(lan, frame, size);
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "");
        /* Of a type that nobody knows. */
        message[0] = v4 ? 0x30 : 150;
        lan_input(lan, frame, with_message(v4, message, plain));
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "");
        message[0] = v4 ? WIRE_IGMP_QUERY : WIRE_MLD_QUERY;
        if (v4) { /* about all groups, to one */
            size = with_message(v4, message, plain);
            memcpy(frame + WIRE_ETH_SIZE + 16, group4.bytes + 12, 4);
            lan_seal_ipv4(frame);
        } else { /* from an address that is not link-local */
            struct foyer_addr all = lan_all_nodes(false);
            size = with_message(v4, message, plain);
            memcpy(frame + WIRE_ETH_SIZE + 8, lan_peer6.bytes, 16);
            wire_icmp6_seal(frame + at, plain, &lan_peer6, &all);
        }
        lan_input(lan, frame, size);
        assert_string_equal(said(lan, v4, FOYER_NS_PER_S), "");
    }
}

/* A zero in a version 1 query means ten seconds. [test RFC3376 7.2.1c] */
static void version_1_waits(void **state)
{
    struct lan *lan = *state;
    const uint8_t message[8] = {WIRE_IGMP_QUERY};
    foyer_time_ns longest = 0;
    foyer_socket socket = member(lan, true);
    assert_int_equal(set(lan, socket, true, FOYER_FILTER_EXCLUDE, ""), 0);
    lan_live(lan, 2 * FOYER_NS_PER_S);
    for (unsigned i = 0; i < 20; i++) {
        lan_input(lan, frame, with_message(true, message, sizeof(message)));
        foyer_time_ns wait = group_find(lan->host, &group4)->answer_ns - lan->now;
        longest = wait > longest ? wait : longest;
        lan_live(lan, 10 * FOYER_NS_PER_S);
    }
    assert_in_range(longest, 5 * FOYER_NS_PER_S, 10 * FOYER_NS_PER_S);
}

/* Reports of members before us, to the group or to our own address. [test RFC3376 4.2.14a]
 * [test RFC3810 5.2.14a] */
static void others_reports(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct foyer_addr group = GROUP(v4);
        uint8_t old[24] = {v4 ? WIRE_IGMP_QUERY : WIRE_MLD_QUERY, v4 ? 10 : 0}, report[24];
        if (!v4)
            store_be16(old + 4, 1000);
        size_t size =
            wire_membership_old(report, v4 ? WIRE_IGMP_REPORT_V2 : WIRE_MLD_REPORT_V1, &group);
        foyer_socket socket = member(lan, v4);
        assert_int_equal(set(lan, socket, v4, FOYER_FILTER_EXCLUDE, ""), 0);
        lan_live(lan, 2 * FOYER_NS_PER_S);
        lan_input(lan, frame, with_message(v4, old, v4 ? 8 : 24));
        assert_int_not_equal(group_find(lan->host, &group)->answer_ns, FOYER_TIME_NEVER);
        lan_input(lan, frame, lan_membership(frame, v4 ? &lan_host4 : &lan_host6, report, size));
        assert_int_equal(group_find(lan->host, &group)->answer_ns, FOYER_TIME_NEVER);
    }
}

static void slaac(struct foyer_host_config *config)
{
    config->behaviour = FOYER_HOST_SLAAC;
}

/* [test RFC3810 5.2.13a 5.2.13b] */
static void before_there_is_an_address(void **state)
{
    (void)state;
    static const struct foyer_addr none;
    struct lan *lan = lan_create(0, slaac);
    foyer_socket socket = member(lan, false);
    assert_int_equal(change(lan, socket, false, 'j', 'a'), 0);
    lan_wait(lan, 0);
    lan_pull(lan);
    const struct lan_frame *sent;
    struct lan_view view = {0};
    bool was_said = false;
    while ((sent = lan_next(lan)) != NULL) {
        if (!lan_view(sent, &view) || view.transport[0] != WIRE_MLD_REPORT_V2 ||
            view.transport[8] != WIRE_GROUP_ALLOW)
            continue;
        was_said = true;
        assert_true(foyer_addr_eq(&view.src, &none));
    }
    assert_true(was_said);
    /* Two tellings of the change, and all anew once the link-local address is found to be free. */
    assert_non_null(strstr(said(lan, false, 5 * FOYER_NS_PER_S), "IS_IN(a);"));
    lan_destroy(lan);
}

/* [test RFC3376 5a] [test RFC3810 6a] */
static void nobody_is_told_of_all_nodes(void **state)
{
    struct lan *lan = *state;
    static const struct foyer_addr all[] = {
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 1}},
        {{0xff, 2, [15] = 1}},
        {{0xff, 1, [15] = 0x99}},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        bool v4 = foyer_addr_is_v4(&all[i]);
        foyer_socket socket = member(lan, v4);
        struct foyer_addr source = source_of(v4, 'a');
        assert_int_equal(foyer_socket_join_source(lan->host, socket, &all[i], &source, lan->now),
                         0);
        lan_input(lan, frame, query(v4, NULL, "", 1000));
        assert_null(strstr(said(lan, v4, 2 * FOYER_NS_PER_S), "TO_"));
        foyer_socket_close(lan->host, socket, lan->now);
        assert_null(group_find(lan->host, &all[i]));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(filters_and_who_hears),
        TEST(limits_are_errors),
        TEST(no_memory),
        cmocka_unit_test(changes_of_the_interface),
        TEST(changes_merge),
        TEST(queries_about_sources),
        TEST(queries_merge),
        TEST(queries_by_unicast),
        TEST(long_lists),
        TEST(older_queriers),
        TEST(what_is_no_query),
        TEST(version_1_waits),
        TEST(others_reports),
        cmocka_unit_test(before_there_is_an_address),
        TEST(nobody_is_told_of_all_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
