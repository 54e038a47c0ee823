/*
 * An event loop whose connections become ready one at a time, in turn, as a web server's clients do:
 * both ends are here. Prints how many of 1,000 bytes rang a doorbell, once the loop has been round
 * its connections a few times.
 *
 * A doorbell is a byte on the kernel's descriptor under a foyer connection; only libc's own recv()
 * sees it there.
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 64, WARM_UP = 4, ROUNDS = 20 };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "epoll_turns: %s: %s\n", what, strerror(errno));
    exit(1);
}

typedef ssize_t recv_function(int fd, void *bytes, size_t size, int flags);

static long doorbells(recv_function *libc_recv, int fd)
{
    char bytes[256];
    ssize_t size = libc_recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    return size < 0 ? 0 : size;
}

int main(void)
{
    recv_function *libc_recv;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (libc == NULL || (*(void **)&libc_recv = dlsym(libc, "recv")) == NULL)
        die("libc");
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    int server[CONNECTIONS], client[CONNECTIONS];
    int listener = socket(AF_INET, SOCK_STREAM, 0), epfd = epoll_create1(0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, CONNECTIONS) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    for (int i = 0; i < CONNECTIONS; i++) {
        client[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(client[i], (struct sockaddr *)&address, sizeof(address)) != 0)
            die("connect");
        server[i] = accept(listener, NULL, NULL);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = server[i]};
        if (server[i] < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, server[i], &event) != 0)
            die("accept");
    }
    long rung = 0, counted = 0;
    for (int round = 0; round < WARM_UP + ROUNDS; round++) {
        for (int i = 0; i < CONNECTIONS; i++) {
            struct epoll_event events[CONNECTIONS]; /* room for all, so that a wait looks at all */
            char byte = 'x';
            long before = doorbells(libc_recv, server[i]);
            if (send(client[i], &byte, 1, 0) != 1)
                die("send");
            if (round >= WARM_UP) {
                rung += doorbells(libc_recv, server[i]) - before;
                counted++;
            }
            if (epoll_wait(epfd, events, CONNECTIONS, 10000) != 1 || events[0].data.fd != server[i])
                die("epoll_wait");
            if (recv(server[i], &byte, 1, 0) != 1)
                die("recv");
        }
    }
    printf("%ld\n", rung * 1000 / counted);
    return 0;
}
