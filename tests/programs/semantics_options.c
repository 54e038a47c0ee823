/* getsockopt and setsockopt: defaults, what can be set, errors. See semantics.h. */
#define _GNU_SOURCE

#include "semantics.h"

struct option {
    const char *name;
    int level, option;
};

#define OPTION(level, name)                                                                        \
    {                                                                                              \
#name, level, name                                                                         \
    }

static void say_options(int fd, const struct option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int value = -99;
        socklen_t size = sizeof(value);
        if (getsockopt(fd, options[i].level, options[i].option, &value, &size) < 0)
            say(" %s=%s", options[i].name, strerrorname_np(errno));
        else
            say(" %s=%d/%u", options[i].name, value, size);
    }
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct option common[] = {
    OPTION(SOL_SOCKET, SO_TYPE),      OPTION(SOL_SOCKET, SO_DOMAIN),
    OPTION(SOL_SOCKET, SO_PROTOCOL),  OPTION(SOL_SOCKET, SO_ACCEPTCONN),
    OPTION(SOL_SOCKET, SO_ERROR),     OPTION(SOL_SOCKET, SO_REUSEADDR),
    OPTION(SOL_SOCKET, SO_REUSEPORT), OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SOL_SOCKET, SO_BROADCAST), OPTION(SOL_SOCKET, SO_OOBINLINE),
    OPTION(SOL_SOCKET, SO_RCVLOWAT),  OPTION(SOL_SOCKET, SO_SNDLOWAT),
    OPTION(SOL_SOCKET, SO_PRIORITY),  OPTION(SOL_SOCKET, SO_MARK),
    OPTION(SOL_SOCKET, SO_DONTROUTE), OPTION(IPPROTO_IP, IP_TTL),
    OPTION(IPPROTO_IP, IP_TOS),       OPTION(IPPROTO_IP, IP_MTU_DISCOVER),
    OPTION(IPPROTO_IP, IP_RECVERR),
};

static void stream_defaults(void)
{
    static const struct option tcp[] = {
        OPTION(IPPROTO_TCP, TCP_NODELAY),      OPTION(IPPROTO_TCP, TCP_CORK),
        OPTION(IPPROTO_TCP, TCP_KEEPIDLE),     OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
        OPTION(IPPROTO_TCP, TCP_KEEPCNT),      OPTION(IPPROTO_TCP, TCP_SYNCNT),
        OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT), OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT),
        OPTION(IPPROTO_TCP, TCP_QUICKACK),     OPTION(IPPROTO_TCP, TCP_MAXSEG),
        OPTION(IPPROTO_TCP, TCP_LINGER2),      OPTION(IPPROTO_IPV6, IPV6_V6ONLY),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_options(fd, common, COUNT(common));
    say_options(fd, tcp, COUNT(tcp));
}

static void datagram_defaults(void)
{
    static const struct option udp[] = {OPTION(IPPROTO_TCP, TCP_NODELAY),
                                        OPTION(SOL_SOCKET, SO_RCVBUF),
                                        OPTION(SOL_SOCKET, SO_SNDBUF)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    say_options(fd, common, COUNT(common));
    say_options(fd, udp, COUNT(udp));
}

static void ipv6_defaults(void)
{
    static const struct option v6[] = {
        OPTION(SOL_SOCKET, SO_DOMAIN),
        OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS),
        OPTION(IPPROTO_IPV6, IPV6_TCLASS),
        OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER),
    };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    say_options(fd, v6, COUNT(v6));
}

static void flags(void)
{
    static const struct option bits[] = {
        OPTION(SOL_SOCKET, SO_REUSEADDR), OPTION(SOL_SOCKET, SO_REUSEPORT),
        OPTION(SOL_SOCKET, SO_KEEPALIVE), OPTION(SOL_SOCKET, SO_BROADCAST),
        OPTION(SOL_SOCKET, SO_OOBINLINE), OPTION(IPPROTO_TCP, TCP_NODELAY),
        OPTION(IPPROTO_TCP, TCP_CORK),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    for (size_t i = 0; i < COUNT(bits); i++)
        set_int(fd, bits[i].level, bits[i].option, 7);
    say_options(fd, bits, COUNT(bits));
    for (size_t i = 0; i < COUNT(bits); i++)
        set_int(fd, bits[i].level, bits[i].option, 0);
    say_options(fd, bits, COUNT(bits));
}

static void try_set(int fd, const char *name, int level, int option, int value)
{
    say_ok(name, setsockopt(fd, level, option, &value, sizeof(value)));
}

static void numbers(void)
{
    static const struct option set[] = {
        OPTION(IPPROTO_TCP, TCP_KEEPIDLE), OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
        OPTION(IPPROTO_TCP, TCP_KEEPCNT),  OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT),
        OPTION(IPPROTO_IP, IP_TTL),        OPTION(IPPROTO_IP, IP_TOS),
        OPTION(SOL_SOCKET, SO_RCVLOWAT),   OPTION(SOL_SOCKET, SO_RCVBUF),
        OPTION(SOL_SOCKET, SO_SNDBUF),
    };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    try_set(fd, "idle", IPPROTO_TCP, TCP_KEEPIDLE, 30);
    try_set(fd, "idle-0", IPPROTO_TCP, TCP_KEEPIDLE, 0);
    try_set(fd, "interval", IPPROTO_TCP, TCP_KEEPINTVL, 5);
    try_set(fd, "count", IPPROTO_TCP, TCP_KEEPCNT, 3);
    try_set(fd, "count-128", IPPROTO_TCP, TCP_KEEPCNT, 128);
    try_set(fd, "user", IPPROTO_TCP, TCP_USER_TIMEOUT, 1234);
    try_set(fd, "user-1", IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    try_set(fd, "ttl", IPPROTO_IP, IP_TTL, 9);
    try_set(fd, "ttl0", IPPROTO_IP, IP_TTL, 0);
    try_set(fd, "ttl256", IPPROTO_IP, IP_TTL, 256);
    try_set(fd, "tos", IPPROTO_IP, IP_TOS, 0x10);
    try_set(fd, "lowat", SOL_SOCKET, SO_RCVLOWAT, 100);
    try_set(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF, 10000);
    try_set(fd, "sndbuf", SOL_SOCKET, SO_SNDBUF, 20000);
    say_options(fd, set, COUNT(set));
    try_set(fd, "rcvbuf", SOL_SOCKET, SO_RCVBUF, 1);
    try_set(fd, "sndbuf", SOL_SOCKET, SO_SNDBUF, 1);
    say_options(fd, set + 7, 2);
}

static void errors(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), value = 1;
    try_set(fd, "unknown", SOL_SOCKET, 9999, 1);
    try_set(fd, "unknown-tcp", IPPROTO_TCP, 9999, 1);
    try_set(fd, "type", SOL_SOCKET, SO_TYPE, 1);
    try_set(fd, "error", SOL_SOCKET, SO_ERROR, 1);
    try_set(fd, "sndlowat", SOL_SOCKET, SO_SNDLOWAT, 1);
    try_set(fd, "v6only", IPPROTO_IPV6, IPV6_V6ONLY, 1);
    try_set(udp, "nodelay", IPPROTO_TCP, TCP_NODELAY, 1);
    say_ok("short", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, 2));
    say_ok("negative", setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, (socklen_t)-1));
    socklen_t size = sizeof(value);
    say_ok("level", getsockopt(fd, 250, 1, &value, &size));
    say_ok("closed", getsockopt(900, SOL_SOCKET, SO_TYPE, &value, &size));
    size = 2;
    value = 0;
    say_ok("cut", getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size));
    say(" value=%d size=%u", value, size);
    struct timeval bad = {.tv_usec = 2000000};
    say_ok("timeout", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bad, sizeof(bad)));
}

static void structures(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct linger linger = {.l_onoff = 5, .l_linger = 7}, got = {0};
    socklen_t size = sizeof(got);
    say_ok("get", getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &size));
    say(" %d/%d", got.l_onoff, got.l_linger);
    say_ok("set", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    say_ok("short", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &got, &size);
    say(" %d/%d size=%u", got.l_onoff, got.l_linger, size);
    struct timeval time;
    size = sizeof(time);
    say_ok("timeout", getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, &size));
    say(" %ld size=%u", (long)time.tv_sec, size);
    char text[16] = {0};
    size = sizeof(text);
    say_ok("congestion", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, text, &size));
    say(" named=%d", text[0] != 0 && size == 16);
    /* The one it has: any other needs a right on the kernel's sockets. */
    say_ok("set", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, text, (socklen_t)strlen(text)));
    say_ok("unknown", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
}

static void tcp_information(void)
{
    int a, b;
    struct tcp_info info;
    socklen_t size = sizeof(info);
    stream_pair(&a, &b);
    say_ok("info", getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &size));
    say(" state=%d", info.tcpi_state);
    shutdown(b, SHUT_WR);
    poll_for(a, POLLRDHUP, 2000);
    getsockopt(a, IPPROTO_TCP, TCP_INFO, &info, &size);
    say(" state=%d", info.tcpi_state);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
    say(" state=%d", info.tcpi_state);
    int listening = listener(4);
    getsockopt(listening, IPPROTO_TCP, TCP_INFO, &info, &size);
    say(" state=%d", info.tcpi_state);
}

static void inherited(void)
{
    static const struct option set[] = {
        OPTION(SOL_SOCKET, SO_KEEPALIVE),  OPTION(IPPROTO_TCP, TCP_NODELAY),
        OPTION(IPPROTO_TCP, TCP_KEEPIDLE), OPTION(SOL_SOCKET, SO_REUSEADDR),
        OPTION(SOL_SOCKET, SO_ACCEPTCONN), OPTION(SOL_SOCKET, SO_RCVBUF)};
    int listening = bound(SOCK_STREAM);
    set_int(listening, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(listening, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(listening, IPPROTO_TCP, TCP_KEEPIDLE, 55);
    set_int(listening, SOL_SOCKET, SO_RCVBUF, 30000);
    listen(listening, 4);
    connected_to(listening);
    int b = accept(listening, NULL, NULL);
    say_options(b, set, COUNT(set));
    say_options(listening, set, COUNT(set));
}

static const struct semantics_case cases[] = {
    {"stream_defaults", stream_defaults},
    {"datagram_defaults", datagram_defaults},
    {"ipv6_defaults", ipv6_defaults},
    {"flags", flags},
    {"numbers", numbers},
    {"errors", errors},
    {"structures", structures},
    {"tcp_information", tcp_information},
    {"inherited", inherited},
};

SEMANTICS_MAIN(cases)
