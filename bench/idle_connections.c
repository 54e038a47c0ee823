/*
 * Connections that do nothing, with plain sockets only.
 *
 *     idle_connections serve PORT            accepts and keeps, until it is killed
 *     idle_connections ADDRESS PORT COUNT    opens COUNT, prints "open", keeps them until the end
 *                                            of its standard input
 *
 * One byte goes each way over each connection first, so that both ends are as they are in use.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "idle_connections: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void echo(int epfd, int fd)
{
    char byte;
    ssize_t count = recv(fd, &byte, 1, MSG_DONTWAIT);
    if (count == 1 && send(fd, &byte, 1, 0) != 1)
        die("send");
    if (count == 0) {
        epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
        close(fd);
    }
}

static void serve(uint16_t port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event events[64];
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epfd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (listener < 0 || epfd < 0)
        die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&own, sizeof(own)) != 0 || listen(listener, 1024) != 0 ||
        epoll_ctl(epfd, EPOLL_CTL_ADD, listener, &event) != 0)
        die("listen");
    for (;;) {
        int count = epoll_wait(epfd, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                echo(epfd, events[i].data.fd);
                continue;
            }
            event.data.fd = accept(listener, NULL, NULL);
            if (event.data.fd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, event.data.fd, &event) != 0)
                die("accept");
        }
    }
}

static void hold(const struct sockaddr_in *target, long count)
{
    char byte = 'x';
    for (long i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *)target, sizeof(*target)) != 0)
            die("connect");
        if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
            die("the echo");
    }
    printf("open\n");
    fflush(stdout);
    while (getchar() != EOF)
        continue;
}

int main(int argc, char **argv)
{
    struct sockaddr_in target = {.sin_family = AF_INET};
    raise_limit();
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve((uint16_t)strtol(argv[2], NULL, 10));
    if (argc != 4 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
        fprintf(stderr, "usage: idle_connections serve PORT\n"
                        "       idle_connections ADDRESS PORT COUNT\n");
        return 2;
    }
    target.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
    hold(&target, strtol(argv[3], NULL, 10));
    return 0;
}
