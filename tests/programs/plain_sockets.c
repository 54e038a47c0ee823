/*
 * One small program with every way of using a socket that tests of supervised programs need. Built
 * twice: dynamically, and as plain_sockets_static. It knows nothing of foyer.
 *
 *     tcp-serve PORT [poll]   echoes connections, one after the other; poll: without blocking
 *     tcp-ask ADDRESS PORT BYTES [poll|dots]   sends BYTES, reads them back, compares; dots: says
 *                             one when it is connected and for each 32 KiB
 *     udp-serve PORT N        echoes N datagrams to whom they came from
 *     udp-ask ADDRESS PORT N [connect|message]
 *     refused ADDRESS PORT    connect fails with ECONNREFUSED, waiting and not waiting
 *     inherited               echoes to descriptor 1 what comes on 0, as a service under inetd
 *     exec FILE ARGUMENT...   becomes another program
 *     signals ...             any of these, while a signal comes every 300 us (SA_RESTART)
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static bool is_polling;

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "plain_sockets: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void expect(bool condition, const char *what)
{
    if (!condition)
        fail(what);
}

static struct sockaddr_in address_of(const char *text, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    expect(inet_pton(AF_INET, text, &address.sin_addr) == 1, "address");
    return address;
}

static int open_socket(int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | (is_polling ? SOCK_NONBLOCK : 0), 0);
    int value = 0;
    socklen_t size = sizeof(value);
    expect(fd >= 0, "socket");
    expect(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) == 0 && value == type, "SO_TYPE");
    return fd;
}

static void await(int fd, short events)
{
    struct pollfd item = {.fd = fd, .events = events};
    if (is_polling)
        expect(poll(&item, 1, 20000) == 1, "poll");
}

/* Ready is not yet done: another try may have to wait again. */
static bool again(ssize_t result)
{
    return result < 0 && (errno == EINTR || (is_polling && errno == EAGAIN));
}

static void send_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        await(fd, POLLOUT);
        ssize_t count = write(fd, bytes, size);
        if (again(count))
            continue;
        expect(count > 0, "write");
        bytes += count;
        size -= (size_t)count;
    }
}

static void echo(int fd, int to)
{
    static uint8_t bytes[65536];
    for (;;) {
        await(fd, POLLIN);
        ssize_t count = recv(fd, bytes, sizeof(bytes), 0);
        if (again(count))
            continue;
        expect(count >= 0, "recv");
        if (count == 0)
            break;
        send_all(to, bytes, (size_t)count);
    }
    close(fd);
    if (to != fd)
        close(to);
}

static void tcp_serve(const char *port)
{
    struct sockaddr_in address = address_of("0.0.0.0", port), local, remote;
    socklen_t size = sizeof(local);
    int fd = open_socket(SOCK_STREAM), on = 1;
    expect(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0, "SO_REUSEADDR");
    expect(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    expect(listen(fd, 16) == 0, "listen");
    expect(getsockname(fd, (struct sockaddr *)&local, &size) == 0 &&
               local.sin_port == address.sin_port,
           "getsockname");
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        await(fd, POLLIN);
        size = sizeof(remote);
        int connection =
            accept4(fd, (struct sockaddr *)&remote, &size, is_polling ? SOCK_NONBLOCK : 0);
        if (again(connection))
            continue;
        expect(connection >= 0, "accept");
        expect(size == sizeof(remote) && remote.sin_family == AF_INET && remote.sin_port != 0,
               "the client's address");
        echo(connection, connection);
    }
}

static int connect_to(const struct sockaddr_in *remote)
{
    int fd = open_socket(SOCK_STREAM), error = 0;
    socklen_t size = sizeof(error);
    if (connect(fd, (const struct sockaddr *)remote, sizeof(*remote)) == 0)
        return fd;
    if (is_polling && errno == EINPROGRESS) {
        await(fd, POLLOUT);
        expect(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0, "SO_ERROR");
        errno = error;
        if (error == 0)
            return fd;
    }
    close(fd);
    return -1;
}

/* More than all buffers on the way hold, so it has to write and read by turns. */
static void tcp_ask(const char *address, const char *port, size_t total, bool has_dots)
{
    struct sockaddr_in remote = address_of(address, port), peer;
    socklen_t size = sizeof(peer);
    static uint8_t sent[32768], got[32768];
    int fd = connect_to(&remote);
    expect(fd >= 0, "connect");
    expect(getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
               peer.sin_port == remote.sin_port && peer.sin_addr.s_addr == remote.sin_addr.s_addr,
           "getpeername");
    for (size_t done = 0; done < total;) {
        expect(!has_dots || write(STDOUT_FILENO, ".", 1) == 1, "dot");
        size_t part = total - done < sizeof(sent) ? total - done : sizeof(sent), read_count = 0;
        for (size_t i = 0; i < part; i++)
            sent[i] = (uint8_t)((done + i) * 31 >> 3);
        send_all(fd, sent, part);
        while (read_count < part) {
            await(fd, POLLIN);
            ssize_t count = read(fd, got + read_count, part - read_count);
            if (again(count))
                continue;
            expect(count > 0, "read");
            read_count += (size_t)count;
        }
        expect(memcmp(sent, got, part) == 0, "the bytes that came back");
        done += part;
    }
    expect(shutdown(fd, SHUT_WR) == 0, "shutdown");
    await(fd, POLLIN);
    expect(read(fd, got, 1) == 0, "end of file");
    close(fd);
}

static void udp_serve(const char *port, int count)
{
    struct sockaddr_in address = address_of("0.0.0.0", port), remote;
    uint8_t bytes[65536];
    int fd = open_socket(SOCK_DGRAM);
    expect(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        socklen_t size = sizeof(remote);
        ssize_t got = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&remote, &size);
        expect(got >= 0, "recvfrom");
        expect(sendto(fd, bytes, (size_t)got, 0, (struct sockaddr *)&remote, size) == got,
               "sendto");
    }
}

static void udp_ask(const char *address, const char *port, int count, const char *how)
{
    struct sockaddr_in remote = address_of(address, port), source;
    struct timeval patience = {.tv_sec = 20};
    uint8_t sent[1200], got[1500];
    int fd = open_socket(SOCK_DGRAM);
    bool is_connected = strcmp(how, "connect") == 0, is_message = strcmp(how, "message") == 0;
    expect(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0,
           "SO_RCVTIMEO");
    if (is_connected)
        expect(connect(fd, (struct sockaddr *)&remote, sizeof(remote)) == 0, "connect");
    for (int i = 0; i < count; i++) {
        size_t size = 1 + (size_t)i * 37 % sizeof(sent);
        memset(sent, i, size);
        struct iovec parts[2] = {{sent, size / 2}, {sent + size / 2, size - size / 2}};
        struct msghdr message = {
            .msg_name = &remote, .msg_namelen = sizeof(remote), .msg_iov = parts, .msg_iovlen = 2};
        ssize_t result =
            is_connected ? write(fd, sent, size)
            : is_message ? sendmsg(fd, &message, 0)
                         : sendto(fd, sent, size, 0, (struct sockaddr *)&remote, sizeof(remote));
        expect(result == (ssize_t)size, "send");
        struct iovec room = {got, sizeof(got)};
        message = (struct msghdr){
            .msg_name = &source, .msg_namelen = sizeof(source), .msg_iov = &room, .msg_iovlen = 1};
        result = is_connected ? read(fd, got, sizeof(got)) : recvmsg(fd, &message, 0);
        expect(result == (ssize_t)size && memcmp(sent, got, size) == 0, "the answer");
        if (!is_connected)
            expect(source.sin_port == remote.sin_port &&
                       source.sin_addr.s_addr == remote.sin_addr.s_addr,
                   "the answer's source");
    }
}

static void refused(const char *address, const char *port)
{
    struct sockaddr_in remote = address_of(address, port);
    for (int i = 0; i < 2; i++) {
        is_polling = i == 1;
        expect(connect_to(&remote) < 0 && errno == ECONNREFUSED, "ECONNREFUSED");
    }
}

static void on_alarm(int number)
{
    (void)number;
}

static void raise_signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}};
    expect(sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
    expect(setitimer(ITIMER_REAL, &often, NULL) == 0, "setitimer");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "signals") == 0) {
        raise_signals();
        argc--;
        argv++;
    }
    const char *what = argc > 1 ? argv[1] : "";
    is_polling = argc > 2 && strcmp(argv[argc - 1], "poll") == 0;
    if (strcmp(what, "tcp-serve") == 0 && argc >= 3)
        tcp_serve(argv[2]);
    else if (strcmp(what, "tcp-ask") == 0 && argc >= 5)
        tcp_ask(argv[2], argv[3], (size_t)atol(argv[4]), strcmp(argv[argc - 1], "dots") == 0);
    else if (strcmp(what, "udp-serve") == 0 && argc >= 4)
        udp_serve(argv[2], atoi(argv[3]));
    else if (strcmp(what, "udp-ask") == 0 && argc >= 5)
        udp_ask(argv[2], argv[3], atoi(argv[4]), argc > 5 ? argv[5] : "");
    else if (strcmp(what, "refused") == 0 && argc >= 4)
        refused(argv[2], argv[3]);
    else if (strcmp(what, "inherited") == 0)
        echo(0, 1);
    else if (strcmp(what, "exec") == 0 && argc >= 3) {
        execvp(argv[2], argv + 2);
        fail(argv[2]);
    } else {
        fprintf(stderr, "plain_sockets: see the head of its source\n");
        return 2;
    }
    return 0;
}
