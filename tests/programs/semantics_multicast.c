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
};

SEMANTICS_MAIN(cases)
