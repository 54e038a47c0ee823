/* UDP, and both protocols over IPv6. See semantics.h. */
#define _GNU_SOURCE

#include "semantics.h"

static struct sockaddr_in6 loopback6(uint16_t port)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    addr.sin6_addr = in6addr_loopback;
    return addr;
}

static struct sockaddr_in6 name6_of(int fd)
{
    struct sockaddr_in6 addr;
    socklen_t size = sizeof(addr);
    getsockname(fd, (struct sockaddr *)&addr, &size);
    return addr;
}

static ssize_t send_to(int fd, const char *text, struct sockaddr_in *addr)
{
    return sendto(fd, text, strlen(text), 0, (struct sockaddr *)addr, sizeof(*addr));
}

/* ---- unconnected --------------------------------------------------------------------------- */

static void basic(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in from, addr = name_of(b), own = name_of(a);
    socklen_t size = sizeof(from);
    char text[16] = {0};
    say_result("send", send_to(a, "hello", &addr));
    say_result("recv", recvfrom(b, text, sizeof(text), 0, (struct sockaddr *)&from, &size));
    say(" %s from=%d size=%u", text, memcmp(&from, &own, 8) == 0, size);
    say_result("reply", send_to(b, "back", &from));
    say_result("recv", recv(a, text, sizeof(text), 0));
    say_result("none", recv(a, text, sizeof(text), MSG_DONTWAIT));
    say_result("empty", send_to(a, "", &addr));
    say_result("recv", recv(b, text, sizeof(text), 0));
}

static void boundaries(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    char text[8];
    int count;
    send_to(a, "12345", &addr);
    send_to(a, "abc", &addr);
    send_to(a, "xyz0", &addr);
    poll_for(b, POLLIN, 2000);
    ioctl(b, FIONREAD, &count);
    say(" next=%d", count);
    say_result("peek", recv(b, text, sizeof(text), MSG_PEEK));
    say_result("cut", recv(b, text, 2, 0));
    say_result("trunc", recv(b, text, 2, MSG_TRUNC));
    struct iovec iov = {text, 2};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    say_result("recvmsg", recvmsg(b, &message, 0));
    say(" flags=%s", (message.msg_flags & MSG_TRUNC) != 0 ? "TRUNC" : "0");
    ioctl(b, FIONREAD, &count);
    say(" next=%d", count);
}

static void sizes(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    static char bytes[70000], got[70000];
    memset(bytes, 'x', sizeof(bytes));
    struct sockaddr *to = (struct sockaddr *)&addr;
    say_result("largest", sendto(a, bytes, 65507, 0, to, sizeof(addr)));
    say_result("recv", recv(b, got, sizeof(got), 0));
    say(" same=%d", memcmp(bytes, got, 65507) == 0);
    say_result("larger", sendto(a, bytes, 65508, 0, to, sizeof(addr)));
    say_result("huge", sendto(a, bytes, 70000, 0, to, sizeof(addr)));
}

static void addresses(void)
{
    int a = socket(AF_INET, SOCK_DGRAM, 0), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b), own;
    char text[8];
    say_result("no-address", send(a, "x", 1, 0));
    say_result("short", sendto(a, "x", 1, 0, (struct sockaddr *)&addr, 4));
    struct sockaddr_in zero = loopback(0);
    say_result("port-0", send_to(a, "x", &zero));
    struct sockaddr_in everybody = addr;
    everybody.sin_addr.s_addr = INADDR_BROADCAST;
    say_result("broadcast", send_to(a, "x", &everybody));
    own = name_of(a);
    say_result("send", send_to(a, "x", &addr));
    say(" before=%d", own.sin_port != 0);
    own = name_of(a);
    say(" bound=%d any=%d", own.sin_port != 0, own.sin_addr.s_addr == INADDR_ANY);
    say_result("recv", recv(b, text, sizeof(text), 0));
    struct sockaddr_in any = addr;
    any.sin_addr.s_addr = INADDR_ANY;
    say_result("any", send_to(a, "y", &any));
    say_result("recv", recv(b, text, sizeof(text), 0));
    socklen_t size = sizeof(own);
    say_ok("peer", getpeername(a, (struct sockaddr *)&own, &size));
}

static void many_messages(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b), from[4];
    char texts[4][8] = {"one", "two", "three", "four"}, got[4][8] = {{0}};
    struct iovec out[4], in[4];
    struct mmsghdr messages[4];
    for (int i = 0; i < 4; i++) {
        out[i] = (struct iovec){texts[i], strlen(texts[i])};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &addr,
                                                   .msg_namelen = sizeof(addr),
                                                   .msg_iov = &out[i],
                                                   .msg_iovlen = 1}};
    }
    say_result("sendmmsg", sendmmsg(a, messages, 4, 0));
    say(" sizes=%u,%u", messages[0].msg_len, messages[2].msg_len);
    /* What a sends goes in order: when this one has come, the four before it have. */
    int mark = bound(SOCK_DGRAM);
    struct sockaddr_in mark_addr = name_of(mark);
    must((int)sendto(a, "m", 1, 0, (struct sockaddr *)&mark_addr, sizeof(mark_addr)));
    poll_for(mark, POLLIN, 2000);
    for (int i = 0; i < 4; i++) {
        in[i] = (struct iovec){got[i], sizeof(got[i])};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i],
                                                   .msg_namelen = sizeof(from[i]),
                                                   .msg_iov = &in[i],
                                                   .msg_iovlen = 1}};
    }
    say_result("recvmmsg", recvmmsg(b, messages, 3, MSG_WAITFORONE, NULL));
    say(" %s %s %s", got[0], got[1], got[2]);
    say_result("rest", recvmmsg(b, messages, 4, MSG_WAITFORONE, NULL));
    say_result("none", recvmmsg(b, messages, 4, MSG_DONTWAIT, NULL));
}

static void vectors(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    struct iovec out[2] = {{"ab", 2}, {"cde", 3}};
    char one[3] = {0}, two[8] = {0};
    struct iovec in[2] = {{one, 2}, {two, 7}};
    must(connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    say_result("writev", writev(a, out, 2));
    say_result("readv", readv(b, in, 2));
    say(" %s %s", one, two);
}

static void timeout(void)
{
    int a = bound(SOCK_DGRAM);
    char byte;
    struct timeval time = {.tv_usec = 40000};
    setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    int64_t start = now_ms();
    say_result("recv", recv(a, &byte, 1, 0));
    say(" waited=%d", now_ms() - start >= 35 && now_ms() - start < 2000);
}

/* ---- connected ----------------------------------------------------------------------------- */

static void connected(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), c = bound(SOCK_DGRAM);
    struct sockaddr_in addr_a = name_of(a), addr_b = name_of(b), peer;
    socklen_t size = sizeof(peer);
    char text[8] = {0};
    say_ok("connect", connect(a, (struct sockaddr *)&addr_b, sizeof(addr_b)));
    say_ok("peer", getpeername(a, (struct sockaddr *)&peer, &size));
    say_result("send", send(a, "hi", 2, 0));
    say_result("recv", recv(b, text, sizeof(text), 0));
    /* Only the peer's datagrams come in. */
    send_to(c, "stranger", &addr_a);
    send_to(b, "friend", &addr_a);
    say_result("recv", recv(a, text, sizeof(text), 0));
    say_result("none", recv(a, text, sizeof(text), MSG_DONTWAIT));
    /* Another address for once. */
    struct sockaddr_in addr_c = name_of(c);
    say_result("sendto", send_to(a, "x", &addr_c));
    say_result("recv", recv(c, text, sizeof(text), 0));
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    say_ok("dissolve", connect(a, &nobody, sizeof(nobody)));
    say_ok("peer", getpeername(a, (struct sockaddr *)&peer, &size));
    say_result("send", send(a, "x", 1, 0));
    say_ok("shutdown", shutdown(a, SHUT_RD));
}

static void refused(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    char byte;
    close(b);
    must(connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    say_result("send", send(a, "x", 1, 0));
    say_bits("poll", (uint32_t)poll_for(a, 0, 2000));
    say_result("recv", recv(a, &byte, 1, MSG_DONTWAIT));
    say_result("again", recv(a, &byte, 1, MSG_DONTWAIT));
    send(a, "x", 1, 0);
    poll_for(a, 0, 2000);
    say_error("error", a);
    say_result("send", send(a, "x", 1, 0));
    poll_for(a, 0, 2000);
    say_result("send-error", send(a, "x", 1, 0));
}

static void shut_down(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    char byte;
    must(connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("shutdown", shutdown(a, SHUT_RDWR));
    say_result("recv", recv(a, &byte, 1, 0));
    say_result("send", send(a, "x", 1, MSG_NOSIGNAL));
    say_poll("poll", a);
}

/* ---- control messages ---------------------------------------------------------------------- */

static void packet_info(void)
{
    int a = bound(SOCK_DGRAM), b = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET};
    must(bind(b, (struct sockaddr *)&any, sizeof(any)));
    struct sockaddr_in addr = loopback(ntohs(name_of(b).sin_port));
    set_int(b, IPPROTO_IP, IP_PKTINFO, 1);
    send_to(a, "x", &addr);
    char byte, control[128];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    say_result("recvmsg", recvmsg(b, &message, 0));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(header), sizeof(info));
        say(" to=%s", inet_ntoa(info.ipi_addr));
    }
    send_to(a, "x", &addr);
    message.msg_control = control;
    message.msg_controllen = 4;
    say_result("small", recvmsg(b, &message, 0));
    say(" flags=%s", (message.msg_flags & MSG_CTRUNC) != 0 ? "CTRUNC" : "0");
}

/* What came along, in order. */
static void say_control(struct msghdr *message)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL;
         item = CMSG_NXTHDR(message, item)) {
        size_t size = item->cmsg_len - CMSG_LEN(0);
        int value = 0;
        memcpy(&value, CMSG_DATA(item), size < sizeof(value) ? size : sizeof(value));
        bool is_info = size > sizeof(value);
        say(" %d/%d/%zu=%d", item->cmsg_level, item->cmsg_type, size, is_info ? -1 : value);
    }
    say(" flags=%s", (message->msg_flags & MSG_CTRUNC) != 0 ? "CTRUNC" : "0");
}

static ssize_t send_control(int fd, const void *addr, socklen_t addr_size, size_t size, int level,
                            int type, const void *value, size_t value_size)
{
    static char bytes[65000];
    _Alignas(struct cmsghdr) char control[64] = {0};
    struct iovec iov = {bytes, size};
    struct cmsghdr header = {
        .cmsg_len = CMSG_LEN(value_size), .cmsg_level = level, .cmsg_type = type};
    memcpy(control, &header, sizeof(header));
    memcpy(control + CMSG_LEN(0), value, value_size);
    struct msghdr message = {.msg_name = (void *)(uintptr_t)addr,
                             .msg_namelen = addr_size,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(value_size)};
    return sendmsg(fd, &message, 0);
}

static ssize_t recv_control(int fd, size_t capacity)
{
    char byte;
    _Alignas(struct cmsghdr) char control[256];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = capacity};
    ssize_t size = recvmsg(fd, &message, 0);
    say_control(&message);
    return size;
}

/* Also when the datagrams do not pass foyerd any more. */
static void hop_limits(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    set_int(b, IPPROTO_IP, IP_RECVTTL, 1);
    set_int(b, IPPROTO_IP, IP_RECVTOS, 1);
    for (int round = 0; round < 2; round++) {
        int ttl = 33, tos = 0xb8;
        uint8_t small = 0x20;
        send_to(a, "x", &addr);
        recv_control(b, 256);
        say_result("ttl", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IP, IP_TTL, &ttl, 4));
        recv_control(b, 256);
        say_result("tos", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IP, IP_TOS, &tos, 4));
        recv_control(b, 256);
        say_result("byte", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IP, IP_TOS, &small, 1));
        recv_control(b, 30);
        set_int(a, IPPROTO_IP, IP_TTL, 12 + round);
        send_to(a, "x", &addr);
        recv_control(b, 256);
        char byte;
        for (int i = 0; i < 40; i++) {
            send_to(a, "x", &addr);
            must((int)recv(b, &byte, 1, 0));
        }
    }
    static const int bad[] = {0, 256, -1};
    for (int i = 0; i < 3; i++)
        say_result("bad", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IP, IP_TTL, &bad[i], 4));
    int value = 1;
    say_result("type", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IP, 77, &value, 4));
    say_result("level", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IPV6, 77, &value, 4));
    say_result("udp", send_control(a, &addr, sizeof(addr), 1, IPPROTO_UDP, 77, &value, 4));
}

static void hop_limits6(void)
{
    int a = socket(AF_INET6, SOCK_DGRAM, 0), b = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6};
    must(bind(b, (struct sockaddr *)&addr, sizeof(addr)));
    addr = loopback6(ntohs(name6_of(b).sin6_port));
    set_int(b, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
    set_int(b, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    set_int(b, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    static const int values[] = {-1, 0, 7, 255, 256};
    for (int i = 0; i < 5; i++) {
        if (say_result("hops", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IPV6, IPV6_HOPLIMIT,
                                            &values[i], 4)) > 0)
            recv_control(b, 256);
        if (say_result("class", send_control(a, &addr, sizeof(addr), 1, IPPROTO_IPV6, IPV6_TCLASS,
                                             &values[i], 4)) > 0)
            recv_control(b, 256);
    }
    int c = bound(SOCK_DGRAM);
    struct sockaddr_in v4 = loopback(ntohs(addr.sin6_port));
    send_to(c, "y", &v4);
    recv_control(b, 256);
}

static void segments(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), value = 0;
    struct sockaddr_in addr = name_of(b);
    socklen_t value_size = sizeof(value);
    static char bytes[65000];
    uint16_t size = 1000;
    for (int round = 0; round < 6; round++) {
        say_result("cmsg", send_control(a, &addr, sizeof(addr), 3500, IPPROTO_UDP, 103, &size, 2));
        for (int i = 0; i < 4; i++)
            say(" %zd", recv(b, bytes, sizeof(bytes), 0));
    }
    say_result("small", send_control(a, &addr, sizeof(addr), 900, IPPROTO_UDP, 103, &size, 2));
    say_result("recv", recv(b, bytes, sizeof(bytes), 0));
    size = 1;
    say_result("many", send_control(a, &addr, sizeof(addr), 1000, IPPROTO_UDP, 103, &size, 2));
    say_result("long", send_control(a, &addr, sizeof(addr), 1000, IPPROTO_UDP, 103, &value, 4));
    say_ok("set", setsockopt(a, IPPROTO_UDP, 103, &(int){700}, sizeof(int)));
    getsockopt(a, IPPROTO_UDP, 103, &value, &value_size);
    say(" get=%d", value);
    say_result("send", sendto(a, bytes, 1500, 0, (struct sockaddr *)&addr, sizeof(addr)));
    for (int i = 0; i < 3; i++)
        say(" %zd", recv(b, bytes, sizeof(bytes), 0));
    say_ok("set", setsockopt(a, IPPROTO_UDP, 103, &(int){70000}, sizeof(int)));
    say_ok("gro", setsockopt(b, IPPROTO_UDP, 104, &(int){1}, sizeof(int)));
    getsockopt(b, IPPROTO_UDP, 104, &value, &value_size);
    say(" get=%d", value);
}

/* ---- IPv6 ---------------------------------------------------------------------------------- */

static void stream6(void)
{
    int listening = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 addr = loopback6(0), peer;
    socklen_t size = sizeof(peer);
    char text[64];
    say_ok("bind", bind(listening, (struct sockaddr *)&addr, sizeof(addr)));
    listen(listening, 4);
    addr = name6_of(listening);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    int b = accept(listening, (struct sockaddr *)&peer, &size);
    say(" from=%s size=%u", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof(text)), size);
    say_result("send", send(fd, "x", 1, 0));
    say_result("recv", recv(b, text, 1, 0));
    struct sockaddr_in v4 = loopback(80);
    int other = socket(AF_INET6, SOCK_STREAM, 0);
    say_ok("v4-address", connect(other, (struct sockaddr *)&v4, sizeof(v4)));
    say_ok("short", connect(other, (struct sockaddr *)&addr, 20));
}

static void dual_stack(void)
{
    int listening = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6}, peer;
    socklen_t size = sizeof(peer);
    char text[64];
    must(bind(listening, (struct sockaddr *)&addr, sizeof(addr)));
    listen(listening, 4);
    struct sockaddr_in v4 = loopback(ntohs(name6_of(listening).sin6_port));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&v4, sizeof(v4)));
    int b = accept(listening, (struct sockaddr *)&peer, &size);
    say(" from=%s", inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof(text)));
    struct sockaddr_in6 local = name6_of(b);
    say(" local=%s", inet_ntop(AF_INET6, &local.sin6_addr, text, sizeof(text)));
    /* The other family's wildcard of the same port is taken. */
    int other = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = v4.sin_port};
    say_ok("v4-bind", bind(other, (struct sockaddr *)&any, sizeof(any)));
    int only = socket(AF_INET6, SOCK_STREAM, 0);
    set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    addr.sin6_port = 0;
    must(bind(only, (struct sockaddr *)&addr, sizeof(addr)));
    listen(only, 4);
    v4.sin_port = name6_of(only).sin6_port;
    int late = 0;
    say_ok("late", setsockopt(only, IPPROTO_IPV6, IPV6_V6ONLY, &late, sizeof(late)));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("v6only", connect(fd, (struct sockaddr *)&v4, sizeof(v4)));
    any.sin_port = v4.sin_port;
    other = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("v4-bind", bind(other, (struct sockaddr *)&any, sizeof(any)));
}

static void mapped(void)
{
    int listening = listener(4);
    struct sockaddr_in v4 = name_of(listening), peer = {0};
    socklen_t size = sizeof(peer);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &addr.sin6_addr);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    must(accept(listening, (struct sockaddr *)&peer, &size));
    say(" family=%d size=%u", peer.sin_family == AF_INET, size);
    int only = socket(AF_INET6, SOCK_STREAM, 0);
    set_int(only, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    say_ok("v6only", connect(only, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("v6only-bind", bind(only, (struct sockaddr *)&addr, sizeof(addr)));
    struct sockaddr_in6 wildcard = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    int other = socket(AF_INET6, SOCK_STREAM, 0);
    say_ok("wildcard", connect(other, (struct sockaddr *)&wildcard, sizeof(wildcard)));
}

static void datagram6(void)
{
    int a = socket(AF_INET6, SOCK_DGRAM, 0), b = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6}, from;
    socklen_t size = sizeof(from);
    char text[64];
    must(bind(b, (struct sockaddr *)&addr, sizeof(addr)));
    addr = loopback6(ntohs(name6_of(b).sin6_port));
    set_int(b, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    say_result("send", sendto(a, "x", 1, 0, (struct sockaddr *)&addr, sizeof(addr)));
    char byte, control[128];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = size,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    say_result("recvmsg", recvmsg(b, &message, 0));
    say(" from=%s", inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof(text)));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == IPPROTO_IPV6) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(header), sizeof(info));
        say(" to=%s", inet_ntop(AF_INET6, &info.ipi6_addr, text, sizeof(text)));
    }
    /* From an IPv4 socket to the dual-stack one. */
    int c = bound(SOCK_DGRAM);
    struct sockaddr_in v4 = loopback(ntohs(addr.sin6_port));
    say_result("v4", send_to(c, "y", &v4));
    size = sizeof(from);
    say_result("recv", recvfrom(b, text, sizeof(text), 0, (struct sockaddr *)&from, &size));
    say(" from=%s", inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof(text)));
    say_result("back", sendto(b, "z", 1, 0, (struct sockaddr *)&from, size));
    say_result("recv", recv(c, text, sizeof(text), 0));
}

static void reuse(void)
{
    int a = bound(SOCK_DGRAM), b = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in addr = name_of(a);
    say_ok("taken", bind(b, (struct sockaddr *)&addr, sizeof(addr)));
    int c = socket(AF_INET, SOCK_DGRAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0);
    /* TCP has ports of its own: this one is not in anybody's use there. */
    int e = socket(AF_INET, SOCK_STREAM, 0);
    addr = loopback(0);
    must(bind(e, (struct sockaddr *)&addr, sizeof(addr)));
    addr = name_of(e);
    set_int(c, SOL_SOCKET, SO_REUSEPORT, 1);
    set_int(d, SOL_SOCKET, SO_REUSEPORT, 1);
    say_ok("beside", bind(c, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("reuseport", bind(d, (struct sockaddr *)&addr, sizeof(addr)));
}

/* What was sent before a connect goes to the peer of before. */
static void connected_elsewhere(void)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    char text[64];
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in to_a = name_of(a), to_b = name_of(b);
    int c = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    for (int i = 0; i < 20; i++) {
        must(connect(c, (struct sockaddr *)&to_a, sizeof(to_a)));
        must((int)send(c, "to a", 4, 0));
        must(connect(c, (struct sockaddr *)&to_b, sizeof(to_b)));
        must((int)send(c, "to b", 4, 0));
        must(connect(c, &nobody, sizeof(nobody)));
        must((int)sendto(c, "again", 5, 0, (struct sockaddr *)&to_b, sizeof(to_b)));
        if (recv(a, text, sizeof(text), 0) != 4 || recv(b, text, sizeof(text), 0) != 4 ||
            recv(b, text, sizeof(text), 0) != 5)
            say(" [round %d]", i);
    }
    say_ok("nowhere", send(c, "x", 1, 0));
}

/* Only sendto and connect take the older family's addresses. */
static void families(void)
{
    struct sockaddr_in v4 = loopback(0);
    struct sockaddr_storage large = {.ss_family = AF_INET};
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    say_ok("short", bind(fd, (struct sockaddr *)&v4, sizeof(v4)));
    say_ok("long", bind(fd, (struct sockaddr *)&large, sizeof(large)));
    say_ok("one", bind(fd, (struct sockaddr *)&v4, 1));
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    large.ss_family = AF_INET6;
    say_ok("six", bind(fd, (struct sockaddr *)&large, sizeof(large)));
}

static const struct semantics_case cases[] = {
    {"basic", basic},
    {"boundaries", boundaries},
    {"sizes", sizes},
    {"addresses", addresses},
    {"many_messages", many_messages},
    {"vectors", vectors},
    {"timeout", timeout},
    {"connected", connected},
    {"refused", refused},
    {"shut_down", shut_down},
    {"packet_info", packet_info},
    {"hop_limits", hop_limits},
    {"hop_limits6", hop_limits6},
    {"segments", segments},
    {"stream6", stream6},
    {"dual_stack", dual_stack},
    {"mapped", mapped},
    {"datagram6", datagram6},
    {"reuse", reuse},
    {"connected_elsewhere", connected_elsewhere},
    {"families", families},
};

SEMANTICS_MAIN(cases)
