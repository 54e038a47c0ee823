/* TCP: connecting, moving bytes, ending, errors, signals and timeouts. See semantics.h. */
#define _GNU_SOURCE

#include "semantics.h"

/* ---- connecting ---------------------------------------------------------------------------- */

static void connect_refused(void)
{
    int listening = listener(1);
    struct sockaddr_in addr = name_of(listening);
    close(listening);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    /* The listener's end may take foyerd a moment. */
    long result = -1;
    for (int i = 0; i < 100; i++) {
        result = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
        if (result < 0)
            break;
        close(fd);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        sleep_ms(10);
    }
    say_ok("connect", result);
    say_error("error", fd);
    say_poll("poll", fd);
}

static void connect_refused_then_again(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = loopback(1);
    say_ok("first", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    int listening = listener(1);
    addr = name_of(listening);
    say_ok("second", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("third", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
}

static void connect_nonblocking(void)
{
    int listening = listener(1);
    struct sockaddr_in addr = name_of(listening);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_bits("poll", (uint32_t)poll_for(fd, POLLOUT, 2000));
    say_error("error", fd);
    say_ok("again", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("third", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
}

/* The socket is watched before it is connected, and its first readiness was taken. */
static void connect_nonblocking_watched(void)
{
    int listening = listener(1);
    struct sockaddr_in addr = name_of(listening);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
    say(" fresh=%d", epoll_wait(epoll, &event, 1, 0));
    for (int i = 0; i < 100; i++)
        epoll_wait(epoll, &event, 1, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say(" wait=%d", epoll_wait(epoll, &event, 1, 2000));
    say_bits("events", event.events);
}

static void connect_nonblocking_refused(void)
{
    struct sockaddr_in addr = loopback(1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_bits("poll", (uint32_t)poll_for(fd, POLLIN | POLLOUT, 2000));
    say_error("error", fd);
    say_bits("poll", (uint32_t)poll_for(fd, POLLIN | POLLOUT, 2000));
    say_ok("again", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("third", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
}

/* The error is taken by the second connect, and read by nobody. */
static void connect_nonblocking_refused_again(void)
{
    struct sockaddr_in addr = loopback(1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    poll_for(fd, POLLOUT, 2000);
    say_ok("again", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("third", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    char byte;
    poll_for(fd, POLLOUT, 2000);
    say_result("recv", recv(fd, &byte, 1, 0));
    say_result("again", recv(fd, &byte, 1, 0));
}

/* Before anything else has noticed it. */
static void names_after_reset(void)
{
    int a, b, later_a, later_b;
    struct sockaddr_in addr;
    socklen_t size = sizeof(addr);
    struct linger linger = {.l_onoff = 1};
    char bytes[8];
    stream_pair(&a, &b);
    stream_pair(&later_a, &later_b);
    must(setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    must(setsockopt(later_a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    say_result("send", send(a, "data", 4, 0));
    close(a);
    close(later_a);
    /*
     * On foyer the news come by foyerd, in the order in which it hears of them; nothing but the name
     * may be what notices those of b.
     */
    must(poll_for(later_b, POLLIN, 2000));
    say_ok("peer", getpeername(b, (struct sockaddr *)&addr, &size));
    say_ok("name", getsockname(b, (struct sockaddr *)&addr, &size));
    say_result("recv", recv(b, bytes, 1, 0));
    say_result("more", recv(b, bytes, sizeof(bytes), 0));
    say_result("then", recv(b, bytes, sizeof(bytes), 0));
    say_result("then", recv(b, bytes, sizeof(bytes), 0));
}

static void connect_unspecified(void)
{
    struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    int a, b;
    char byte;
    stream_pair(&a, &b);
    say_ok("connect", connect(a, &unspecified, sizeof(unspecified)));
    say_result("peer", recv(b, &byte, 1, 0));
    say_result("recv", recv(a, &byte, 1, 0));
    say_poll("poll", a);
    int listening = listener(1);
    struct sockaddr_in addr = name_of(listening);
    say_ok("again", connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    int accepted = accept(listening, NULL, NULL);
    say_result("send", send(a, "x", 1, 0));
    say_result("recv", recv(accepted, &byte, 1, 0));
}

/* how: SHUT_*, or -1 for a connect to nowhere, which does the same. */
static void unlisten(const char *name, int how)
{
    struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    int listening = bound(SOCK_STREAM);
    struct sockaddr_in addr = name_of(listening);
    close(listening);
    /* By its number: one that the system chose is given back. */
    listening = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listening, (struct sockaddr *)&addr, sizeof(addr)));
    must(listen(listening, 8));
    int waiting = connected_to(listening);
    char byte;
    say(" |%s|", name);
    int result =
        how < 0 ? connect(listening, &unspecified, sizeof(unspecified)) : shutdown(listening, how);
    say_ok("end", result);
    say_bits("poll", (uint32_t)poll_for(listening, POLLIN | POLLOUT | POLLRDHUP, 0));
    if (how == SHUT_WR) {
        say_ok("accept", accept(listening, NULL, NULL));
        return;
    }
    say_result("waiting", recv(waiting, &byte, 1, 0));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("accept", accept(listening, NULL, NULL));
    int other = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("bind", bind(other, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("listen", listen(listening, 8));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    int accepted = accept(listening, NULL, NULL);
    say_ok("accept", accepted);
    say_result("send", send(fd, "x", 1, 0));
    say_result("recv", recv(accepted, &byte, 1, 0));
}

static void listener_shut_down(void)
{
    unlisten("read", SHUT_RD);
    unlisten("write", SHUT_WR);
    unlisten("both", SHUT_RDWR);
    unlisten("unspecified", -1);
}

static void connect_wrong_family(void)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = htons(1)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("v6", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    struct sockaddr_in short_addr = loopback(1);
    say_ok("short", connect(fd, (struct sockaddr *)&short_addr, 4));
}

static void names_before_connect(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = name_of(fd);
    socklen_t size = sizeof(addr);
    say(" local=%s:%d", inet_ntoa(addr.sin_addr), ntohs(addr.sin_port));
    say_ok("peer", getpeername(fd, (struct sockaddr *)&addr, &size));
}

static void names_after_connect(void)
{
    int a, b;
    stream_pair(&a, &b);
    struct sockaddr_in local = name_of(a), peer;
    socklen_t size = sizeof(peer);
    getpeername(b, (struct sockaddr *)&peer, &size);
    say(" same=%d size=%u", memcmp(&local, &peer, 8) == 0, size);
    size = 4;
    say_ok("cut", getpeername(b, (struct sockaddr *)&peer, &size));
    say(" size=%u", size);
}

static void accept_address(void)
{
    int listening = listener(4);
    struct sockaddr_in peer, local;
    socklen_t size = sizeof(peer);
    int a = connected_to(listening);
    int b = accept4(listening, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    local = name_of(a);
    say(" same=%d", memcmp(&local, &peer, 8) == 0);
    say(" nonblock=%d cloexec=%d", (fcntl(b, F_GETFL) & O_NONBLOCK) != 0, fcntl(b, F_GETFD));
}

static void accept_nonblocking(void)
{
    int listening = listener(4);
    set_nonblocking(listening);
    say_ok("none", accept(listening, NULL, NULL));
    int a = connected_to(listening);
    say_bits("poll", (uint32_t)poll_for(listening, POLLIN, 2000));
    int b = accept(listening, NULL, NULL);
    say_ok("one", b);
    say(" inherits=%d", (fcntl(b, F_GETFL) & O_NONBLOCK) != 0);
    say_ok("none", accept(listening, NULL, NULL));
    close(a);
}

static void accept_not_listening(void)
{
    int fd = bound(SOCK_STREAM);
    say_ok("accept", accept(fd, NULL, NULL));
    int udp = bound(SOCK_DGRAM);
    say_ok("udp", accept(udp, NULL, NULL));
    say_ok("listen", listen(udp, 1));
    say_ok("flags", accept4(fd, NULL, NULL, 0x40000000));
}

static void accept_order(void)
{
    int listening = listener(8);
    int clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = connected_to(listening);
        send(clients[i], &"0123"[i], 1, 0);
    }
    for (int i = 0; i < 4; i++) {
        char byte = '?';
        int fd = accept(listening, NULL, NULL);
        recv(fd, &byte, 1, 0);
        say("%c", byte);
    }
}

static void backlog_holds(void)
{
    int listening = listener(16);
    int count = 0;
    for (int i = 0; i < 16; i++)
        count += connected_to(listening) >= 0;
    set_nonblocking(listening);
    int accepted = 0;
    while (poll_for(listening, POLLIN, 200) > 0 && accept(listening, NULL, NULL) >= 0)
        accepted++;
    say(" connected=%d accepted=%d", count, accepted);
}

static void listener_closed_with_queue(void)
{
    char byte;
    int listening = listener(4);
    int a = connected_to(listening);
    close(listening);
    poll_for(a, POLLIN, 2000);
    say_result("recv", recv(a, &byte, 1, 0));
}

static void accept_timeout(void)
{
    int listening = listener(4);
    struct timeval time = {.tv_usec = 50000};
    setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    int64_t start = now_ms();
    say_ok("accept", accept(listening, NULL, NULL));
    say(" waited=%d", now_ms() - start >= 45);
}

static void bind_errors(void)
{
    int first = listener(1);
    struct sockaddr_in addr = name_of(first);
    int second = socket(AF_INET, SOCK_STREAM, 0);
    say_ok("taken", bind(second, (struct sockaddr *)&addr, sizeof(addr)));
    addr.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
    addr.sin_port = 0;
    say_ok("foreign", bind(second, (struct sockaddr *)&addr, sizeof(addr)));
    addr = loopback(0);
    say_ok("first", bind(second, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("twice", bind(second, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("short", bind(second, (struct sockaddr *)&addr, 3));
}

/* ---- bytes --------------------------------------------------------------------------------- */

static void unconnected(void)
{
    char byte = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say_result("send", send(fd, &byte, 1, MSG_NOSIGNAL));
    say_result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
    say_ok("shutdown", shutdown(fd, SHUT_WR));
    say_poll("poll", fd);
    int listening = listener(1);
    say_result("listener-send", send(listening, &byte, 1, MSG_NOSIGNAL));
    say_result("listener-recv", recv(listening, &byte, 1, MSG_DONTWAIT));
    say_poll("listener-poll", listening);
    int bytes = 0;
    say_ok("listener-fionread", ioctl(listening, FIONREAD, &bytes));
}

static void flags_peek(void)
{
    int a, b;
    char text[16] = {0};
    stream_pair(&a, &b);
    send(a, "hello", 5, 0);
    say_result("peek", recv(b, text, 3, MSG_PEEK));
    say(" %s", text);
    say_result("peek", recv(b, text, sizeof(text), MSG_PEEK));
    say_result("trunc", recv(b, NULL, 2, MSG_TRUNC));
    memset(text, 0, sizeof(text));
    say_result("rest", recv(b, text, sizeof(text), 0));
    say(" %s", text);
    say_result("none", recv(b, text, sizeof(text), MSG_DONTWAIT));
    say_result("peek-none", recv(b, text, sizeof(text), MSG_DONTWAIT | MSG_PEEK));
    say_result("zero", recv(b, text, 0, MSG_DONTWAIT));
    say_result("oob", recv(b, text, 1, MSG_OOB | MSG_DONTWAIT));
}

/* Each time when the main thread sleeps. */
static void *send_late(void *argument)
{
    int fd = *(int *)argument;
    for (int i = 0; i < 4; i++) {
        wait_asleep(getpid(), getpid());
        send(fd, "abcde", 5, 0);
    }
    return NULL;
}

static void flags_waitall(void)
{
    int a, b;
    char text[32];
    pthread_t thread;
    stream_pair(&a, &b);
    pthread_create(&thread, NULL, send_late, &a);
    say_result("all", recv(b, text, 12, MSG_WAITALL));
    say_result("peek-all", recv(b, text, 8, MSG_WAITALL | MSG_PEEK));
    say_result("rest", recv(b, text, 8, MSG_WAITALL));
    pthread_join(thread, NULL);
    send(a, "xy", 2, 0);
    shutdown(a, SHUT_WR);
    say_result("fin", recv(b, text, 8, MSG_WAITALL));
    say_result("end", recv(b, text, 8, MSG_WAITALL));
}

static void low_water(void)
{
    int a, b;
    char text[32];
    pthread_t thread;
    stream_pair(&a, &b);
    set_int(b, SOL_SOCKET, SO_RCVLOWAT, 12);
    send(a, "abc", 3, 0);
    say_bits("poll", (uint32_t)poll_for(b, POLLIN, 50));
    say_result("dontwait", recv(b, text, 1, MSG_DONTWAIT));
    pthread_create(&thread, NULL, send_late, &a);
    ssize_t size = recv(b, text, sizeof(text), 0);
    say(" enough=%d", size >= 12);
    pthread_join(thread, NULL);
}

static void vectors(void)
{
    int a, b;
    char one[4] = {0}, two[8] = {0};
    struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdefg", 5}};
    struct iovec in[2] = {{one, 3}, {two, 7}};
    stream_pair(&a, &b);
    say_result("writev", writev(a, out, 3));
    say_result("readv", readv(b, in, 2));
    say(" %s %s", one, two);
    say_result("zero", writev(a, out, 0));
    say_result("preadv", preadv(b, in, 2, 0));
    say_result("pwrite", pwrite(b, "x", 1, 0));
    say_ok("lseek", lseek(b, 0, SEEK_SET));
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 3};
    say_result("sendmsg", sendmsg(a, &message, 0));
    struct sockaddr_in from;
    char control[64];
    struct msghdr received = {.msg_name = &from,
                              .msg_namelen = sizeof(from),
                              .msg_iov = in,
                              .msg_iovlen = 2,
                              .msg_control = control,
                              .msg_controllen = sizeof(control)};
    say_result("recvmsg", recvmsg(b, &received, 0));
    say(" name=%u control=%zu flags=%d", received.msg_namelen, received.msg_controllen,
        received.msg_flags);
    socklen_t size = sizeof(from);
    send(a, "x", 1, 0);
    say_result("recvfrom", recvfrom(b, one, 1, 0, (struct sockaddr *)&from, &size));
    say(" size=%u", size);
}

static void send_file(void)
{
    int a, b;
    char path[] = "/tmp/foyer-semantics-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    static char bytes[100000], got[100000];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7);
    if (write(file, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
        fail("write");
    stream_pair(&a, &b);
    off_t offset = 10;
    say_result("sent", sendfile(a, file, &offset, 50000));
    say(" offset=%ld position=%ld", (long)offset, (long)lseek(file, 0, SEEK_CUR));
    ssize_t size = recv(b, got, 50000, MSG_WAITALL);
    say(" same=%d", size == 50000 && memcmp(got, bytes + 10, 50000) == 0);
    lseek(file, 99990, SEEK_SET);
    say_result("end", sendfile(a, file, NULL, 100));
    say_result("eof", sendfile(a, file, NULL, 100));
    say_result("from-socket", sendfile(file, b, NULL, 10));
}

static void queues(void)
{
    int a, b, count = -1;
    char text[16];
    stream_pair(&a, &b);
    send(a, "hello", 5, 0);
    poll_for(b, POLLIN, 2000);
    say_ok("fionread", ioctl(b, FIONREAD, &count));
    say(" count=%d", count);
    recv(b, text, 2, 0);
    ioctl(b, FIONREAD, &count);
    say(" count=%d", count);
    ioctl(a, FIONREAD, &count);
    say(" own=%d", count);
}

/* ---- ending -------------------------------------------------------------------------------- */

static void half_close(void)
{
    int a, b;
    char text[16];
    stream_pair(&a, &b);
    send(a, "last", 4, 0);
    say_ok("shutdown", shutdown(a, SHUT_WR));
    poll_for(b, POLLRDHUP, 2000);
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("end", recv(b, text, sizeof(text), 0));
    say_result("again", recv(b, text, sizeof(text), 0));
    say_result("back", send(b, "back", 4, 0));
    poll_for(a, POLLIN, 2000);
    say_result("a-recv", recv(a, text, sizeof(text), 0));
    say_result("a-send", send(a, "x", 1, MSG_NOSIGNAL));
    say_poll("a", a);
    shutdown(b, SHUT_WR);
    poll_for(a, POLLRDHUP, 2000);
    say_poll("a", a);
    say_result("a-end", recv(a, text, sizeof(text), 0));
    say_ok("twice", shutdown(a, SHUT_RDWR));
}

static void shutdown_read(void)
{
    int a, b;
    char text[16];
    stream_pair(&a, &b);
    send(a, "data", 4, 0);
    poll_for(b, POLLIN, 2000);
    say_ok("shutdown", shutdown(b, SHUT_RD));
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("end", recv(b, text, sizeof(text), 0));
    say_result("send", send(b, "x", 1, MSG_NOSIGNAL));
    say_ok("bad", shutdown(b, 7));
}

struct sending {
    int fd;
    long size;
};

static void *send_until_shut(void *argument)
{
    struct sending *sending = argument;
    static const char bytes[200000];
    for (ssize_t sent = 0; sent >= 0; sending->size += sent > 0 ? sent : 0)
        sent = send(sending->fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
    return NULL;
}

/* What send() has taken is read before the end, whoever says meanwhile that it is the end. */
static void shutdown_while_sending(void)
{
    static char bytes[65536];
    long lost = 0;
    for (long round = 0; round < 200; round++) {
        struct sending sending = {.size = 0};
        int b;
        pthread_t thread;
        stream_pair(&sending.fd, &b);
        pthread_create(&thread, NULL, send_until_shut, &sending);
        long read_size = 0, before = 20000 * (round % 50);
        for (ssize_t size = 1; size > 0; read_size += size) {
            if (read_size >= before) {
                shutdown(sending.fd, SHUT_WR);
                before = INT32_MAX;
            }
            size = recv(b, bytes, sizeof(bytes), 0);
        }
        pthread_join(thread, NULL);
        lost += sending.size - read_size;
        close(sending.fd);
        close(b);
    }
    say(" lost=%ld", lost);
}

static void peer_closes(void)
{
    int a, b;
    char text[16];
    stream_pair(&a, &b);
    send(a, "bye", 3, 0);
    close(a);
    poll_for(b, POLLRDHUP, 2000);
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("end", recv(b, text, sizeof(text), 0));
    say_result("first", send(b, "x", 1, MSG_NOSIGNAL));
    poll_for(b, POLLHUP, 2000);
    say_poll("b", b);
    say_result("second", send(b, "x", 1, MSG_NOSIGNAL));
    say_result("third", send(b, "x", 1, MSG_NOSIGNAL));
    say_result("recv", recv(b, text, sizeof(text), 0));
    struct sockaddr_in peer;
    socklen_t size = sizeof(peer);
    say_ok("getpeername", getpeername(b, (struct sockaddr *)&peer, &size));
    say_ok("shutdown", shutdown(b, SHUT_WR));
}

static void peer_resets(void)
{
    int a, b;
    char text[16];
    struct linger linger = {.l_onoff = 1};
    stream_pair(&a, &b);
    setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(a);
    poll_for(b, POLLHUP, 2000);
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("send", send(b, "x", 1, MSG_NOSIGNAL));
    say_error("error", b);
}

static void peer_resets_so_error(void)
{
    int a, b;
    char text[16];
    struct linger linger = {.l_onoff = 1};
    stream_pair(&a, &b);
    setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(a);
    poll_for(b, POLLHUP, 2000);
    say_error("error", b);
    say_error("again", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("send", send(b, "x", 1, MSG_NOSIGNAL));
}

static void peer_resets_send_first(void)
{
    int a, b;
    struct linger linger = {.l_onoff = 1};
    stream_pair(&a, &b);
    setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(a);
    poll_for(b, POLLHUP, 2000);
    say_result("send", send(b, "x", 1, MSG_NOSIGNAL));
    say_result("send", send(b, "x", 1, MSG_NOSIGNAL));
}

static void close_with_unread(void)
{
    int a, b;
    char text[16];
    stream_pair(&a, &b);
    send(b, "unread", 6, 0);
    poll_for(a, POLLIN, 2000);
    close(a);
    poll_for(b, POLLHUP, 2000);
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("recv", recv(b, text, sizeof(text), 0));
}

static void reset_after_data(void)
{
    int a, b;
    char text[16];
    struct linger linger = {.l_onoff = 1};
    stream_pair(&a, &b);
    send(a, "data", 4, 0);
    poll_for(b, POLLIN, 2000);
    setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(a);
    poll_for(b, POLLHUP, 2000);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("recv", recv(b, text, sizeof(text), 0));
}

static void fin_then_reset(void)
{
    int a, b;
    char text[16];
    stream_pair(&a, &b);
    send(b, "unread", 6, 0);
    poll_for(a, POLLIN, 2000);
    shutdown(a, SHUT_WR);
    poll_for(b, POLLRDHUP, 2000);
    close(a);
    while ((poll_for(b, POLLHUP, 2000) & POLLHUP) == 0)
        ;
    say_poll("b", b);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_error("error", b);
    say_result("send", send(b, "x", 1, MSG_NOSIGNAL));
}

static void peer_killed(void)
{
    char text[16];
    int listening = listener(4);
    pid_t child = fork();
    if (child == 0) {
        int fd = connected_to(listening);
        send(fd, "hi", 2, 0);
        pause();
    }
    int b = accept(listening, NULL, NULL);
    say_result("recv", recv(b, text, sizeof(text), 0));
    kill(child, SIGKILL);
    say_result("end", recv(b, text, sizeof(text), 0));
    waitpid(child, NULL, 0);
}

/* ---- timeouts ------------------------------------------------------------------------------ */

static void timeouts(void)
{
    int a, b;
    char byte;
    struct timeval time = {.tv_usec = 100000}, got;
    socklen_t size = sizeof(got);
    stream_pair(&a, &b);
    setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    setsockopt(b, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
    getsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &got, &size);
    say(" set=%ld", (long)got.tv_usec / 1000 * 1000);
    int64_t start = now_ms();
    say_result("recv", recv(b, &byte, 1, 0));
    say(" waited=%d", now_ms() - start >= 45 && now_ms() - start < 2000);
    fill(b);
    start = now_ms();
    say_result("send", send(b, &byte, 1, 0));
    say(" waited=%d", now_ms() - start >= 45 && now_ms() - start < 2000);
    send(a, "abc", 3, 0);
    char text[8];
    say_result("read-0", read(b, text, 0));
    say_result("recv-0", recv(b, text, 0, 0));
    start = now_ms();
    say_result("waitall", recv(b, text, 8, MSG_WAITALL));
    say(" waited=%d", now_ms() - start >= 45);
}

static void full_queue(void)
{
    int a, b;
    char byte = 0;
    stream_pair(&a, &b);
    say(" filled=%d", fill(a) > 4096);
    say_result("send", send(a, &byte, 1, MSG_DONTWAIT));
    say_bits("poll", (uint32_t)poll_for(a, POLLOUT, 0));
    drain_all(b);
    say_bits("poll", (uint32_t)poll_for(a, POLLOUT, 2000));
    poll_for(b, POLLIN, 100);
    drain_all(b);
    say_result("send", send(a, &byte, 1, MSG_DONTWAIT));
}

static const struct semantics_case cases[] = {
    {"connect_refused_then_again", connect_refused_then_again},
    {"connect_nonblocking", connect_nonblocking},
    {"connect_nonblocking_watched", connect_nonblocking_watched},
    {"connect_nonblocking_refused", connect_nonblocking_refused},
    {"connect_nonblocking_refused_again", connect_nonblocking_refused_again},
    {"connect_refused", connect_refused},
    {"names_after_reset", names_after_reset},
    {"connect_unspecified", connect_unspecified},
    {"listener_shut_down", listener_shut_down},
    {"connect_wrong_family", connect_wrong_family},
    {"names_before_connect", names_before_connect},
    {"names_after_connect", names_after_connect},
    {"accept_address", accept_address},
    {"accept_nonblocking", accept_nonblocking},
    {"accept_not_listening", accept_not_listening},
    {"accept_order", accept_order},
    {"backlog_holds", backlog_holds},
    {"listener_closed_with_queue", listener_closed_with_queue},
    {"accept_timeout", accept_timeout},
    {"bind_errors", bind_errors},
    {"unconnected", unconnected},
    {"flags_peek", flags_peek},
    {"flags_waitall", flags_waitall},
    {"low_water", low_water},
    {"vectors", vectors},
    {"send_file", send_file},
    {"queues", queues},
    {"half_close", half_close},
    {"shutdown_read", shutdown_read},
    {"shutdown_while_sending", shutdown_while_sending},
    {"peer_closes", peer_closes},
    {"peer_resets", peer_resets},
    {"peer_resets_so_error", peer_resets_so_error},
    {"peer_resets_send_first", peer_resets_send_first},
    {"close_with_unread", close_with_unread},
    {"reset_after_data", reset_after_data},
    {"fin_then_reset", fin_then_reset},
    {"peer_killed", peer_killed},
    {"timeouts", timeouts},
    {"full_queue", full_queue},
};

SEMANTICS_MAIN(cases)
