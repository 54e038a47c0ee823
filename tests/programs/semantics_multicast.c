/*
 * Multicast: membership, what it is sent with, and who gets it. On the loopback interface, which
 * every machine has; a program that asks for others is told what the machine has.
 */
#define _GNU_SOURCE

#include "semantics.h"

#include <net/if.h>

#define LOOPBACK_INDEX 1

static struct in_addr in(const char *text)
{
    struct in_addr addr;
    if (inet_pton(AF_INET, text, &addr) != 1)
        fail(text);
    return addr;
}

static struct in6_addr in6(const char *text)
{
    struct in6_addr addr;
    if (inet_pton(AF_INET6, text, &addr) != 1)
        fail(text);
    return addr;
}

static int join(int fd, const char *group, const char *interface)
{
    struct ip_mreq request = {.imr_multiaddr = in(group), .imr_interface = in(interface)};
    return setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request));
}

static int leave(int fd, const char *group, const char *interface)
{
    struct ip_mreq request = {.imr_multiaddr = in(group), .imr_interface = in(interface)};
    return setsockopt(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof(request));
}

/* Bound to the group itself, so that only what is sent to it comes. */
static int group_socket(const char *group, uint16_t port_be)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = port_be};
    addr.sin_addr = in(group);
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
        fail("bind");
    return fd;
}

static int sender(void)
{
    int fd = bound(SOCK_DGRAM);
    struct in_addr interface = in("127.0.0.1");
    must(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof(interface)));
    return fd;
}

static void send_to(int fd, const char *group, uint16_t port_be, const char *text)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = port_be, .sin_addr = in(group)};
    say_result("sent", sendto(fd, text, strlen(text), 0, (struct sockaddr *)&addr, sizeof(addr)));
}

static void say_got(const char *name, int fd, bool is_expected)
{
    char text[16] = {0};
    if (poll_for(fd, POLLIN, is_expected ? 2000 : 50) == 0)
        say(" %s=nothing", name);
    else if (recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) >= 0)
        say(" %s=%s", name, text);
    else
        say(" %s=error", name);
}

static void membership(void)
{
    int fd = bound(SOCK_DGRAM), stream = socket(AF_INET, SOCK_STREAM, 0);
    say_result("join", join(fd, "239.1.2.3", "127.0.0.1"));
    say_result("again", join(fd, "239.1.2.3", "127.0.0.1"));
    say_result("unicast", join(fd, "10.1.2.3", "127.0.0.1"));
    say_result("no_interface", join(fd, "239.1.2.3", "203.0.113.7"));
    say_result("leave", leave(fd, "239.1.2.3", "127.0.0.1"));
    say_result("again", leave(fd, "239.1.2.3", "127.0.0.1"));
    say_result("rejoin", join(fd, "239.1.2.3", "127.0.0.1"));
    say_result("stream", join(stream, "239.1.2.3", "127.0.0.1"));
    struct ip_mreqn by_index = {.imr_multiaddr = in("239.1.2.4"), .imr_ifindex = LOOPBACK_INDEX};
    say_result("index", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, sizeof(by_index)));
    by_index.imr_ifindex = 12345;
    say_result("bad_index",
               setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, sizeof(by_index)));
    say_result("short", setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_index, 4));
    int value = 0;
    socklen_t size = sizeof(value);
    say_result("get", getsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &value, &size));
}

static void group_request(void)
{
    int fd = bound(SOCK_DGRAM);
    struct group_req request = {.gr_interface = LOOPBACK_INDEX};
    struct sockaddr_in *group = (struct sockaddr_in *)(void *)&request.gr_group;
    group->sin_family = AF_INET;
    group->sin_addr = in("239.1.2.3");
    say_result("join", setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof(request)));
    say_result("again", setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof(request)));
    say_result("leave", setsockopt(fd, IPPROTO_IP, MCAST_LEAVE_GROUP, &request, sizeof(request)));
    say_result("again", setsockopt(fd, IPPROTO_IP, MCAST_LEAVE_GROUP, &request, sizeof(request)));
    say_result("short", setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &request, 8));
    request.gr_interface = 12345;
    say_result("index", setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof(request)));
    request.gr_interface = LOOPBACK_INDEX;
    group->sin_family = AF_INET6;
    say_result("family", setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof(request)));
}

static void membership6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0), stream = socket(AF_INET6, SOCK_STREAM, 0);
    struct ipv6_mreq request = {.ipv6mr_multiaddr = in6("ff15::7"),
                                .ipv6mr_interface = LOOPBACK_INDEX};
    const socklen_t size = sizeof(request);
    say_result("join", setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, size));
    say_result("again", setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, size));
    say_result("leave", setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &request, size));
    say_result("again", setsockopt(fd, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &request, size));
    say_result("short", setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, 8));
    say_result("stream", setsockopt(stream, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, size));
    request.ipv6mr_multiaddr = in6("2001:db8::1");
    say_result("unicast", setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, size));
    request.ipv6mr_multiaddr = in6("ff15::7");
    request.ipv6mr_interface = 12345;
    say_result("index", setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, size));
}

static void source_membership(void)
{
    int fd = bound(SOCK_DGRAM);
    struct ip_mreq_source request = {.imr_multiaddr = in("232.1.2.3"),
                                     .imr_interface = in("127.0.0.1"),
                                     .imr_sourceaddr = in("10.0.0.1")};
    const socklen_t size = sizeof(request);
    say_result("leave", setsockopt(fd, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, size));
    say_result("join", setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, size));
    say_result("again", setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, size));
    say_result("block", setsockopt(fd, IPPROTO_IP, IP_BLOCK_SOURCE, &request, size));
    say_result("leave", setsockopt(fd, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, size));
    say_result("again", setsockopt(fd, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, size));
    say_result("any", join(fd, "232.1.2.3", "127.0.0.1"));
    say_result("block", setsockopt(fd, IPPROTO_IP, IP_BLOCK_SOURCE, &request, size));
    say_result("again", setsockopt(fd, IPPROTO_IP, IP_BLOCK_SOURCE, &request, size));
    say_result("unblock", setsockopt(fd, IPPROTO_IP, IP_UNBLOCK_SOURCE, &request, size));
    say_result("again", setsockopt(fd, IPPROTO_IP, IP_UNBLOCK_SOURCE, &request, size));
    say_result("short", setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, 8));
}

static void say_option(const char *name, int fd, int level, int option)
{
    int value = -100;
    socklen_t size = sizeof(value);
    if (getsockopt(fd, level, option, &value, &size) != 0)
        say_result(name, -1);
    else
        say(" %s=%d", name, value);
}

static void set_and_say(const char *name, int fd, int level, int option, int value)
{
    say_result(name, setsockopt(fd, level, option, &value, sizeof(value)));
    say_option("is", fd, level, option);
}

static void options(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    uint8_t byte = 7;
    say_option("ttl", fd, IPPROTO_IP, IP_MULTICAST_TTL);
    set_and_say("5", fd, IPPROTO_IP, IP_MULTICAST_TTL, 5);
    set_and_say("0", fd, IPPROTO_IP, IP_MULTICAST_TTL, 0);
    set_and_say("256", fd, IPPROTO_IP, IP_MULTICAST_TTL, 256);
    set_and_say("default", fd, IPPROTO_IP, IP_MULTICAST_TTL, -1);
    say_result("byte", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &byte, 1));
    say_option("is", fd, IPPROTO_IP, IP_MULTICAST_TTL);
    say_option("loop", fd, IPPROTO_IP, IP_MULTICAST_LOOP);
    set_and_say("off", fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    set_and_say("on", fd, IPPROTO_IP, IP_MULTICAST_LOOP, 7);
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    set_and_say("stream", stream, IPPROTO_IP, IP_MULTICAST_TTL, 5);
}

static void options6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    say_option("hops", fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS);
    set_and_say("5", fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 5);
    set_and_say("0", fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 0);
    set_and_say("256", fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 256);
    set_and_say("default", fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, -1);
    say_option("loop", fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP);
    set_and_say("off", fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0);
    set_and_say("on", fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1);
    say_option("if", fd, IPPROTO_IPV6, IPV6_MULTICAST_IF);
    set_and_say("loopback", fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, LOOPBACK_INDEX);
    set_and_say("unknown", fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, 12345);
    set_and_say("any", fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, 0);
}

static void set_interface(const char *name, int fd, const char *address)
{
    struct in_addr addr = in(address), now;
    socklen_t size = sizeof(now);
    say_result(name, setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &addr, sizeof(addr)));
    must(getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &now, &size));
    say(" is=%s", inet_ntoa(now));
}

static void interface_option(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), stream = socket(AF_INET, SOCK_STREAM, 0);
    set_interface("loopback", fd, "127.0.0.1");
    set_interface("unknown", fd, "203.0.113.7");
    set_interface("any", fd, "0.0.0.0");
    struct ip_mreqn by_index = {.imr_ifindex = LOOPBACK_INDEX};
    say_result("index", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by_index, sizeof(by_index)));
    by_index.imr_ifindex = 12345;
    say_result("bad", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by_index, sizeof(by_index)));
    struct in_addr any = {0};
    say_result("stream", setsockopt(stream, IPPROTO_IP, IP_MULTICAST_IF, &any, sizeof(any)));
    say_result("short", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &any, 2));
}

/* All members, and no others. */
static void members_get_it(void)
{
    int first = group_socket("239.1.2.3", 0);
    uint16_t port = name_of(first).sin_port;
    int second = group_socket("239.1.2.3", port), other = group_socket("239.1.2.4", port);
    must(join(first, "239.1.2.3", "127.0.0.1"));
    must(join(second, "239.1.2.3", "127.0.0.1"));
    must(join(other, "239.1.2.4", "127.0.0.1"));
    int from = sender();
    send_to(from, "239.1.2.3", port, "one");
    say_got("first", first, true);
    say_got("second", second, true);
    say_got("other", other, false);
    must(leave(first, "239.1.2.3", "127.0.0.1"));
    must(leave(second, "239.1.2.3", "127.0.0.1"));
    send_to(from, "239.1.2.4", port, "two");
    say_got("first", first, false);
    say_got("other", other, true);
}

static void sources_are_chosen(void)
{
    int fd = group_socket("232.1.2.3", 0);
    uint16_t port = name_of(fd).sin_port;
    struct ip_mreq_source request = {.imr_multiaddr = in("232.1.2.3"),
                                     .imr_interface = in("127.0.0.1"),
                                     .imr_sourceaddr = in("10.9.8.7")};
    must(setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof(request)));
    int from = sender();
    send_to(from, "232.1.2.3", port, "no");
    say_got("stranger", fd, false);
    request.imr_sourceaddr = in("127.0.0.1");
    must(setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof(request)));
    send_to(from, "232.1.2.3", port, "yes");
    say_got("chosen", fd, true);
}

/* ---- whole filters (RFC 3678) ---------------------------------------------------------------- */

union filter4 {
    struct ip_msfilter filter;
    char bytes[IP_MSFILTER_SIZE(8)];
};

static int set_filter(int fd, const char *group, const char *interface, uint32_t mode,
                      const char *const *sources, uint32_t count)
{
    union filter4 value = {.filter = {.imsf_multiaddr = in(group),
                                      .imsf_interface = in(interface),
                                      .imsf_fmode = mode,
                                      .imsf_numsrc = count}};
    for (uint32_t i = 0; i < count; i++)
        value.filter.imsf_slist[i] = in(sources[i]);
    return setsockopt(fd, IPPROTO_IP, IP_MSFILTER, &value, (socklen_t)IP_MSFILTER_SIZE(count));
}

static int compare_addresses(const void *left, const void *right)
{
    return memcmp(left, right, sizeof(struct in_addr));
}

static void say_filter(const char *name, int fd, const char *group, uint32_t room)
{
    union filter4 value = {.filter = {.imsf_multiaddr = in(group),
                                      .imsf_interface = in("127.0.0.1"),
                                      .imsf_fmode = 99,
                                      .imsf_numsrc = room}};
    socklen_t size = (socklen_t)IP_MSFILTER_SIZE(room);
    if (getsockopt(fd, IPPROTO_IP, IP_MSFILTER, &value, &size) != 0) {
        say_result(name, -1);
        return;
    }
    uint32_t count = value.filter.imsf_numsrc, got = count < room ? count : room;
    say(" %s=%s,%u,%d", name,
        value.filter.imsf_fmode == MCAST_INCLUDE   ? "include"
        : value.filter.imsf_fmode == MCAST_EXCLUDE ? "exclude"
                                                   : "?",
        count, (int)size);
    qsort(value.filter.imsf_slist, got, sizeof(struct in_addr), compare_addresses);
    for (uint32_t i = 0; i < got; i++)
        say(",%s", inet_ntoa(value.filter.imsf_slist[i]));
}

static const char *const two_sources[] = {"10.0.0.1", "10.0.0.2"};

static void filter(void)
{
    int fd = bound(SOCK_DGRAM), stream = socket(AF_INET, SOCK_STREAM, 0);
    const char *group = "232.1.2.3", *lo = "127.0.0.1";
    say_filter("no_member", fd, group, 2);
    say_result("no_member", set_filter(fd, group, lo, MCAST_INCLUDE, two_sources, 2));
    say_result("leave", set_filter(fd, group, lo, MCAST_INCLUDE, NULL, 0));
    must(join(fd, group, lo));
    say_filter("joined", fd, group, 2);
    say_result("include", set_filter(fd, group, lo, MCAST_INCLUDE, two_sources, 2));
    say_filter("is", fd, group, 8);
    say_filter("is", fd, group, 2);
    say_filter("is", fd, group, 0);
    say_result("exclude", set_filter(fd, group, lo, MCAST_EXCLUDE, two_sources, 1));
    say_filter("is", fd, group, 8);
    say_result("any", set_filter(fd, group, lo, MCAST_EXCLUDE, NULL, 0));
    say_filter("is", fd, group, 8);
    say_result("mode", set_filter(fd, group, lo, 2, two_sources, 1));
    say_result("unicast", set_filter(fd, "10.1.2.3", lo, MCAST_INCLUDE, two_sources, 1));
    say_filter("unicast", fd, "10.1.2.3", 1);
    say_result("interface", set_filter(fd, group, "203.0.113.7", MCAST_INCLUDE, two_sources, 1));
    say_result("leave", set_filter(fd, group, lo, MCAST_INCLUDE, NULL, 0));
    say_filter("left", fd, group, 2);
    say_result("stream", set_filter(stream, group, lo, MCAST_INCLUDE, two_sources, 1));
}

static void filter_sizes(void)
{
    int fd = bound(SOCK_DGRAM);
    union filter4 value = {.filter = {.imsf_multiaddr = in("232.1.2.3"),
                                      .imsf_interface = in("127.0.0.1"),
                                      .imsf_fmode = MCAST_INCLUDE,
                                      .imsf_numsrc = 3}};
    for (uint32_t i = 0; i < 3; i++)
        value.filter.imsf_slist[i] = in(i == 0 ? "10.0.0.9" : two_sources[i - 1]);
    must(join(fd, "232.1.2.3", "127.0.0.1"));
    for (socklen_t size = 0; size <= IP_MSFILTER_SIZE(3); size += 4) {
        int result = setsockopt(fd, IPPROTO_IP, IP_MSFILTER, &value, size);
        say(" %s", result == 0 ? "ok" : strerrorname_np(errno));
    }
    for (socklen_t size = 0; size <= IP_MSFILTER_SIZE(3); size += 4) {
        socklen_t got = size;
        value.filter.imsf_numsrc = 3;
        int result = getsockopt(fd, IPPROTO_IP, IP_MSFILTER, &value, &got);
        say(" %s,%d", result == 0 ? "ok" : strerrorname_np(errno), (int)got);
    }
    value.filter.imsf_numsrc = 1u << 30;
    say_result("many", setsockopt(fd, IPPROTO_IP, IP_MSFILTER, &value, sizeof(value)));
    value.filter.imsf_numsrc = UINT32_MAX;
    say_result("most", setsockopt(fd, IPPROTO_IP, IP_MSFILTER, &value, sizeof(value)));
}

union filter_of_group {
    struct group_filter filter;
    char bytes[GROUP_FILTER_SIZE(4)];
};

static void put_address(struct sockaddr_storage *storage, int family, const char *text)
{
    memset(storage, 0, sizeof(*storage));
    storage->ss_family = (sa_family_t)family;
    if (family == AF_INET)
        ((struct sockaddr_in *)storage)->sin_addr = in(text);
    else
        ((struct sockaddr_in6 *)storage)->sin6_addr = in6(text);
}

static union filter_of_group filter_for(int family, const char *group, uint32_t mode)
{
    union filter_of_group value;
    memset(&value, 0, sizeof(value));
    value.filter.gf_interface = LOOPBACK_INDEX;
    value.filter.gf_fmode = mode;
    put_address(&value.filter.gf_group, family, group);
    return value;
}

static void say_group_filter(const char *name, int fd, int family, const char *group)
{
    union filter_of_group value = filter_for(family, group, 99);
    value.filter.gf_numsrc = 4;
    socklen_t size = sizeof(value);
    if (getsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, &value,
                   &size) != 0)
        say_result(name, -1);
    else
        say(" %s=%u,%u,%d", name, value.filter.gf_fmode, value.filter.gf_numsrc, (int)size);
    for (uint32_t i = 0; i < value.filter.gf_numsrc && i < 4; i++)
        say("%s%d", i == 0 ? "," : "", value.filter.gf_slist[i].ss_family);
}

static void group_filter_of(int family, const char *group, const char *const *sources)
{
    int fd = socket(family, SOCK_DGRAM, 0);
    int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    struct group_req member = {.gr_interface = LOOPBACK_INDEX};
    put_address(&member.gr_group, family, group);
    union filter_of_group value = filter_for(family, group, MCAST_EXCLUDE);
    socklen_t size = GROUP_FILTER_SIZE(2);
    value.filter.gf_numsrc = 2;
    put_address(&value.filter.gf_slist[0], family, sources[0]);
    put_address(&value.filter.gf_slist[1], family, sources[1]);
    say_result("no_member", setsockopt(fd, level, MCAST_MSFILTER, &value, size));
    say_group_filter("none", fd, family, group);
    must(setsockopt(fd, level, MCAST_JOIN_GROUP, &member, sizeof(member)));
    say_result("exclude", setsockopt(fd, level, MCAST_MSFILTER, &value, size));
    say_group_filter("is", fd, family, group);
    value.filter.gf_fmode = MCAST_INCLUDE;
    say_result("include", setsockopt(fd, level, MCAST_MSFILTER, &value, size));
    say_group_filter("is", fd, family, group);
    say_result("short", setsockopt(fd, level, MCAST_MSFILTER, &value, size - 1));
    say_result("shorter", setsockopt(fd, level, MCAST_MSFILTER, &value, GROUP_FILTER_SIZE(0) - 1));
    value.filter.gf_slist[1].ss_family = AF_UNIX;
    say_result("source_family", setsockopt(fd, level, MCAST_MSFILTER, &value, size));
    value.filter.gf_group.ss_family = AF_UNIX;
    say_result("group_family", setsockopt(fd, level, MCAST_MSFILTER, &value, size));
    value = filter_for(family, group, MCAST_INCLUDE);
    value.filter.gf_interface = 12345;
    say_result("interface", setsockopt(fd, level, MCAST_MSFILTER, &value, GROUP_FILTER_SIZE(0)));
    value.filter.gf_interface = LOOPBACK_INDEX;
    say_result("leave", setsockopt(fd, level, MCAST_MSFILTER, &value, GROUP_FILTER_SIZE(0)));
    say_group_filter("left", fd, family, group);
}

static void group_filter(void)
{
    group_filter_of(AF_INET, "232.1.2.3", two_sources);
}

static void group_filter6(void)
{
    static const char *const sources[] = {"2001:db8::1", "2001:db8::2"};
    group_filter_of(AF_INET6, "ff35::7", sources);
}

/* RFC 3678's calls that libc makes of them. */
static void filter_calls(void)
{
    int fd = bound(SOCK_DGRAM);
    struct in_addr sources[2] = {in("10.0.0.1"), in("10.0.0.2")};
    uint32_t mode = 99, count = 2;
    must(join(fd, "232.1.2.3", "127.0.0.1"));
    say_result("set", setipv4sourcefilter(fd, in("127.0.0.1"), in("232.1.2.3"), MCAST_INCLUDE, 2,
                                          sources));
    memset(sources, 0, sizeof(sources));
    say_result("get",
               getipv4sourcefilter(fd, in("127.0.0.1"), in("232.1.2.3"), &mode, &count, sources));
    say(" is=%u,%u", mode, count);
    struct sockaddr_storage group, list[2];
    put_address(&group, AF_INET, "232.1.2.3");
    put_address(&list[0], AF_INET, "10.0.0.3");
    say_result("set", setsourcefilter(fd, LOOPBACK_INDEX, (struct sockaddr *)&group,
                                      sizeof(struct sockaddr_in), MCAST_EXCLUDE, 1, list));
    count = 2;
    say_result("get", getsourcefilter(fd, LOOPBACK_INDEX, (struct sockaddr *)&group,
                                      sizeof(struct sockaddr_in), &mode, &count, list));
    say(" is=%u,%u", mode, count);
}

static void filtered(void)
{
    static const char *const stranger[] = {"10.9.8.7"}, *const own[] = {"127.0.0.1"};
    int fd = group_socket("232.1.2.3", 0), from = sender();
    uint16_t port = name_of(fd).sin_port;
    must(join(fd, "232.1.2.3", "127.0.0.1"));
    must(set_filter(fd, "232.1.2.3", "127.0.0.1", MCAST_INCLUDE, stranger, 1));
    send_to(from, "232.1.2.3", port, "no");
    say_got("stranger", fd, false);
    must(set_filter(fd, "232.1.2.3", "127.0.0.1", MCAST_EXCLUDE, stranger, 1));
    send_to(from, "232.1.2.3", port, "yes");
    say_got("not_him", fd, true);
    must(set_filter(fd, "232.1.2.3", "127.0.0.1", MCAST_EXCLUDE, own, 1));
    send_to(from, "232.1.2.3", port, "no");
    say_got("excluded", fd, false);
}

/* ---- who has not joined ------------------------------------------------------------------------ */

static void all_option(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), fd6 = socket(AF_INET6, SOCK_DGRAM, 0);
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    const int values[] = {0, 1, 2, -1};
    say_option("v4", fd, IPPROTO_IP, IP_MULTICAST_ALL);
    say_option("v6", fd6, IPPROTO_IPV6, IPV6_MULTICAST_ALL);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        set_and_say("v4", fd, IPPROTO_IP, IP_MULTICAST_ALL, values[i]);
        set_and_say("v6", fd6, IPPROTO_IPV6, IPV6_MULTICAST_ALL, values[i]);
        set_and_say("v4on6", fd6, IPPROTO_IP, IP_MULTICAST_ALL, values[i]);
        set_and_say("stream", stream, IPPROTO_IP, IP_MULTICAST_ALL, values[i]);
    }
    uint8_t byte = 0;
    say_result("byte", setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &byte, 1));
    say_option("is", fd, IPPROTO_IP, IP_MULTICAST_ALL);
    say_result("byte", setsockopt(fd6, IPPROTO_IPV6, IPV6_MULTICAST_ALL, &byte, 1));
}

/* ip(7), IP_MULTICAST_ALL: what somebody of the machine has joined comes to who is bound to it. */
static void all_get_it(void)
{
    int member = group_socket("239.1.2.3", 0), from = sender();
    uint16_t port = name_of(member).sin_port;
    int any = group_socket("0.0.0.0", port), group = group_socket("239.1.2.3", port);
    int not_all = group_socket("0.0.0.0", port), other = group_socket("239.1.2.4", port);
    int elsewhere = group_socket("0.0.0.0", 0), choosy = group_socket("0.0.0.0", port);
    set_int(not_all, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    must(join(choosy, "239.1.2.3", "127.0.0.1"));
    static const char *const stranger[] = {"10.9.8.7"};
    must(set_filter(choosy, "239.1.2.3", "127.0.0.1", MCAST_INCLUDE, stranger, 1));
    send_to(from, "239.1.2.3", port, "zero");
    say_got("nobody", any, false);
    must(join(member, "239.1.2.3", "127.0.0.1"));
    send_to(from, "239.1.2.3", port, "one");
    say_got("member", member, true);
    say_got("any", any, true);
    say_got("group", group, true);
    say_got("not_all", not_all, false);
    say_got("other", other, false);
    say_got("elsewhere", elsewhere, false);
    say_got("choosy", choosy, false);
    set_int(not_all, IPPROTO_IP, IP_MULTICAST_ALL, 1);
    set_int(any, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    send_to(from, "239.1.2.3", port, "two");
    say_got("not_all", not_all, true);
    say_got("any", any, false);
}

static const struct semantics_case cases[] = {
    {"membership", membership},
    {"group_request", group_request},
    {"membership6", membership6},
    {"source_membership", source_membership},
    {"options", options},
    {"options6", options6},
    {"interface_option", interface_option},
    {"members_get_it", members_get_it},
    {"sources_are_chosen", sources_are_chosen},
    {"filter", filter},
    {"filter_sizes", filter_sizes},
    {"group_filter", group_filter},
    {"group_filter6", group_filter6},
    {"filter_calls", filter_calls},
    {"filtered", filtered},
    {"all_option", all_option},
    {"all_get_it", all_get_it},
};

SEMANTICS_MAIN(cases)
