/* What ICMP says of datagrams: pending errors, IP_RECVERR and the error queue. */
#define _GNU_SOURCE

#include "semantics.h"

#include <linux/errqueue.h>

/* Nobody has it, since it was ours a moment ago. */
static uint16_t closed_port(void)
{
    int fd = bound(SOCK_DGRAM);
    uint16_t port_be = name_of(fd).sin_port;
    close(fd);
    return port_be;
}

static void send_to_closed(int fd, uint16_t port_be, const char *text)
{
    struct sockaddr_in addr = loopback(ntohs(port_be));
    say_result("sent", sendto(fd, text, strlen(text), 0, (struct sockaddr *)&addr, sizeof(addr)));
}

static void await_error(int fd)
{
    say_bits("poll", (uint32_t)poll_for(fd, 0, 2000));
}

static void say_extended(const struct cmsghdr *item)
{
    struct {
        struct sock_extended_err error;
        struct sockaddr_in6 offender;
    } value = {.offender = {.sin6_family = 0}};
    char text[INET6_ADDRSTRLEN] = "?";
    size_t size = item->cmsg_len - CMSG_LEN(0);
    memcpy(&value, CMSG_DATA(item), size < sizeof(value) ? size : sizeof(value));
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&value.offender;
    if (value.offender.sin6_family == AF_INET6)
        inet_ntop(AF_INET6, &value.offender.sin6_addr, text, sizeof(text));
    else if (value.offender.sin6_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    say(" %d/%d/%zu=%s,%u,%u,%u,%u by %s", item->cmsg_level, item->cmsg_type, size,
        strerrorname_np((int)value.error.ee_errno), value.error.ee_origin, value.error.ee_type,
        value.error.ee_code, value.error.ee_info, text);
}

/* One entry of the error queue. */
static void say_queued(int fd, size_t size, size_t control_size, uint16_t port_be)
{
    char bytes[128] = {0}, control[256];
    struct sockaddr_in6 name = {.sin6_family = 0};
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_name = &name,
                             .msg_namelen = sizeof(name),
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = control_size};
    if (say_result("queue", recvmsg(fd, &message, MSG_ERRQUEUE)) < 0)
        return;
    say(" text=%s flags=%x name=%u,%d", bytes, (unsigned)message.msg_flags, message.msg_namelen,
        name.sin6_port == port_be);
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item != NULL;
         item = CMSG_NXTHDR(&message, item))
        say_extended(item);
}

static void connected_is_refused(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in addr = loopback(ntohs(closed_port()));
    char byte;
    must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_result("sent", send(fd, "x", 1, 0));
    await_error(fd);
    say_result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
    say_result("again", recv(fd, &byte, 1, MSG_DONTWAIT));
    say_poll("poll", fd);
    say_result("sent", send(fd, "x", 1, 0));
    await_error(fd);
    say_result("send", send(fd, "x", 1, 0));
    say_result("queue", recv(fd, &byte, 1, MSG_ERRQUEUE));
}

static void unconnected_is_not_told(void)
{
    int fd = bound(SOCK_DGRAM);
    char byte;
    send_to_closed(fd, closed_port(), "x");
    say_bits("poll", (uint32_t)poll_for(fd, 0, 50));
    say_result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
}

static void unconnected_asks(void)
{
    int fd = bound(SOCK_DGRAM);
    uint16_t port = closed_port();
    char byte;
    set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
    send_to_closed(fd, port, "text");
    await_error(fd);
    say_result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
    say_result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
    say_poll("poll", fd);
    say_queued(fd, 100, 200, port);
    say_poll("poll", fd);
    say_queued(fd, 100, 200, port);
}

static void queue_takes_the_pending_error(void)
{
    int fd = bound(SOCK_DGRAM);
    uint16_t port = closed_port();
    set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
    send_to_closed(fd, port, "text");
    await_error(fd);
    say_queued(fd, 100, 200, port);
    say_error("error", fd);
    say_poll("poll", fd);
}

static void several(void)
{
    int fd = bound(SOCK_DGRAM);
    uint16_t port = closed_port();
    set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
    send_to_closed(fd, port, "one");
    await_error(fd);
    say_error("error", fd);
    send_to_closed(fd, port, "two");
    for (int i = 0; i < 400 && get_error(fd) == 0; i++)
        sleep_ms(5);
    say_queued(fd, 100, 200, port);
    say_poll("poll", fd);
    say_error("error", fd);
    say_queued(fd, 100, 200, port);
    say_error("error", fd);
    say_poll("poll", fd);
}

static void little_room(void)
{
    int fd = bound(SOCK_DGRAM);
    uint16_t port = closed_port();
    set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
    send_to_closed(fd, port, "some text");
    await_error(fd);
    say_queued(fd, 4, 0, port);
    send_to_closed(fd, port, "some text");
    await_error(fd);
    say_queued(fd, 100, 24, port);
}

static void family6(bool is_mapped)
{
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = closed_port()};
    inet_pton(AF_INET6, is_mapped ? "::ffff:127.0.0.1" : "::1", &addr.sin6_addr);
    set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
    say_result("sent", sendto(fd, "text", 4, 0, (struct sockaddr *)&addr, sizeof(addr)));
    await_error(fd);
    say_queued(fd, 100, 200, addr.sin6_port);
    say_poll("poll", fd);
}

static void ipv6(void)
{
    family6(false);
}

static void mapped(void)
{
    family6(true);
}

static void options(void)
{
    int fd = bound(SOCK_DGRAM), value = 0;
    socklen_t size = sizeof(value);
    char byte;
    set_int(fd, IPPROTO_IP, IP_RECVERR, 7);
    must(getsockopt(fd, IPPROTO_IP, IP_RECVERR, &value, &size));
    say(" on=%d", value);
    send_to_closed(fd, closed_port(), "x");
    await_error(fd);
    say_error("error", fd);
    set_int(fd, IPPROTO_IP, IP_RECVERR, 0); /* and what is queued goes */
    say_poll("poll", fd);
    say_result("queue", recv(fd, &byte, 1, MSG_ERRQUEUE));
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    set_int(stream, IPPROTO_IP, IP_RECVERR, 1);
    say_result("stream", recv(stream, &byte, 1, MSG_ERRQUEUE));
}

static const struct semantics_case cases[] = {
    {"connected_is_refused", connected_is_refused},
    {"unconnected_is_not_told", unconnected_is_not_told},
    {"unconnected_asks", unconnected_asks},
    {"queue_takes_the_pending_error", queue_takes_the_pending_error},
    {"several", several},
    {"little_room", little_room},
    {"ipv6", ipv6},
    {"mapped", mapped},
    {"options", options},
};

SEMANTICS_MAIN(cases)
