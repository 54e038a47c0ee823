/*
 * Event loops under stress, with plain sockets only: a lost wake-up makes them stand still.
 *
 *     epoll_stress serve PORT THREADS    echoes; the threads wait in one epoll
 *     epoll_stress ADDRESS PORT ROUNDS   64 connections in one epoll; in each round some of them
 *                                        send a byte, and the round is over when all came back
 *
 * In the later half another thread of the client puts a connection into the same epoll in each round
 * and closes it just when it is answered, so that events vanish while the loop sleeps. Once a round,
 * so that it does not wake a loop that stands still. Prints "ok"; where nothing moves for a minute
 * SIGALRM ends it.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 64, STALL_S = 60 };

static int epfd, listener;
static struct sockaddr_in target = {.sin_family = AF_INET};
static _Atomic bool is_over;
static _Atomic long round_now;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "epoll_stress: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epfd, operation, fd, &event) != 0)
        die("epoll_ctl");
}

static void echo(int fd)
{
    char bytes[64];
    ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (size > 0)
        send(fd, bytes, (size_t)size, MSG_NOSIGNAL);
    if (size > 0 || (size < 0 && errno == EAGAIN))
        watch(EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT);
    else
        close(fd);
}

static void *serve(void *argument)
{
    struct epoll_event events[8];
    for (;;) {
        int count = epoll_wait(epfd, events, 8, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                echo(events[i].data.fd);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd >= 0)
                watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT);
        }
    }
    return argument;
}

static void serve_port(uint16_t port, long threads)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    pthread_t thread;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof(own)) != 0 ||
        listen(listener, 128) != 0)
        die("listen");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (long i = 1; i < threads; i++) {
        if (pthread_create(&thread, NULL, serve, NULL) != 0)
            die("pthread_create");
    }
    serve(NULL);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&target, sizeof(target)) != 0)
        die("connect");
    return fd;
}

/* Never read, so that its last event is the doorbell of the echo. */
static void *come_and_go(void *argument)
{
    unsigned seed = 1;
    long seen = *(const long *)argument;
    while (!atomic_load(&is_over)) {
        if (atomic_load(&round_now) <= seen) {
            sched_yield();
            continue;
        }
        seen = atomic_load(&round_now);
        int fd = dial();
        watch(EPOLL_CTL_ADD, fd, EPOLLRDHUP);
        for (int i = rand_r(&seed) % 4; i > 0; i--) {
            send(fd, "c", 1, MSG_NOSIGNAL);
            for (int spin = rand_r(&seed) % 3000; spin > 0; spin--)
                atomic_load(&is_over);
        }
        close(fd);
    }
    return NULL;
}

static void play(long rounds)
{
    int fds[CONNECTIONS];
    struct epoll_event events[16];
    unsigned seed = 2;
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = dial();
        watch(EPOLL_CTL_ADD, fds[i], EPOLLIN);
    }
    for (long round = 0; round < rounds; round++) {
        int expected = 0;
        atomic_store(&round_now, round);
        if (round % 100 == 0)
            alarm(STALL_S);
        for (int i = 0; i < CONNECTIONS; i++) {
            if (rand_r(&seed) % 4 != 0)
                continue;
            if (send(fds[i], "r", 1, 0) != 1)
                die("send");
            expected++;
        }
        while (expected > 0) {
            int count = epoll_wait(epfd, events, 16, -1);
            for (int i = 0; i < count; i++) {
                char byte;
                if ((events[i].events & EPOLLIN) != 0 &&
                    recv(events[i].data.fd, &byte, 1, MSG_DONTWAIT) == 1)
                    expected--;
            }
        }
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc != 4)
        return 2;
    epfd = epoll_create1(0);
    target.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
    if (strcmp(argv[1], "serve") == 0)
        serve_port(ntohs(target.sin_port), strtol(argv[3], NULL, 10));
    if (inet_pton(AF_INET, argv[1], &target.sin_addr) != 1)
        return 2;
    alarm(STALL_S);
    long rounds = strtol(argv[3], NULL, 10), quiet_rounds = rounds / 2;
    if (pthread_create(&thread, NULL, come_and_go, &quiet_rounds) != 0)
        die("pthread_create");
    play(rounds);
    atomic_store(&is_over, true);
    pthread_join(thread, NULL);
    printf("ok\n");
    return 0;
}
