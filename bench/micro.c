/*
 * What single calls cost, with plain sockets only, in nanoseconds: one line "name value" each.
 *
 *     micro ADDRESS PORT COUNT [CALLS]    ADDRESS is an own one of the machine or host
 *
 * send-recv: 64 bytes into one end of a connection and out of the other. epoll-N and poll-N: a wait
 * on N connections of which one is readable; the other ends are a child's, who does nothing. COUNT is
 * the largest N. These in the thread's own processor time. connect-accept: both calls and the two
 * closes, in real time, since others may take part. With CALLS each is done so often, for
 * check_callgrind.py, and not for some time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUND_NS = 200000000, BATCH = 64 };

static struct sockaddr_in target = {.sin_family = AF_INET};
static int listener;
static long fixed_calls;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "micro: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Calls act until some time has gone by; prints how long one took. */
static void measure(const char *name, clockid_t clock, void (*act)(void *context), void *context)
{
    int64_t start, now;
    long count = 0;
    for (int i = 0; i < BATCH; i++)
        act(context);
    start = now = now_ns(clock);
    for (; fixed_calls > 0 ? count < fixed_calls : now - start < ROUND_NS;
         now = now_ns(clock), count += BATCH) {
        for (int i = 0; i < BATCH; i++)
            act(context);
    }
    printf("%s %.1f\n", name, (double)(now - start) / (double)count);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&target, sizeof(target)) != 0)
        die("connect");
    return fd;
}

static int take(void)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    return fd;
}

static void send_recv(void *context)
{
    const int *fds = context;
    static char bytes[64];
    if (send(fds[0], bytes, sizeof(bytes), 0) != sizeof(bytes) ||
        recv(fds[1], bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
        die("send and recv");
}

static void connect_accept(void *context)
{
    int client = dial(), server = take();
    (void)context;
    close(client);
    close(server);
}

static void wait_epoll(void *context)
{
    struct epoll_event events[16];
    if (epoll_wait(*(const int *)context, events, 16, -1) != 1)
        die("epoll_wait");
}

struct poll_set {
    struct pollfd *fds;
    nfds_t count;
};

static void wait_poll(void *context)
{
    const struct poll_set *set = context;
    if (poll(set->fds, set->count, -1) != 1)
        die("poll");
}

/* Measures waits on the readable one in fds[0] and count - 1 others. */
static void measure_waits(const int *fds, long count)
{
    char name[32];
    int epfd = epoll_create1(0);
    struct poll_set set = {.fds = calloc((size_t)count, sizeof(*set.fds)), .count = (nfds_t)count};
    if (epfd < 0 || set.fds == NULL)
        die("epoll");
    for (long i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
        set.fds[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        if (epoll_ctl(epfd, EPOLL_CTL_ADD, fds[i], &event) != 0)
            die("epoll_ctl");
    }
    snprintf(name, sizeof(name), "epoll-%ld", count);
    measure(name, CLOCK_THREAD_CPUTIME_ID, wait_epoll, &epfd);
    snprintf(name, sizeof(name), "poll-%ld", count);
    measure(name, CLOCK_THREAD_CPUTIME_ID, wait_poll, &set);
    close(epfd);
    free(set.fds);
}

static void measure_all(int *fds, long count)
{
    int pair[2] = {dial(), take()};
    measure("send-recv", CLOCK_THREAD_CPUTIME_ID, send_recv, pair);
    if (send(pair[0], "x", 1, 0) != 1)
        die("send");
    fds[0] = pair[1];
    for (long n = 1; n < count; n *= n < 100 ? 100 : count)
        measure_waits(fds, n);
    measure_waits(fds, count);
    close(pair[0]);
    close(pair[1]);
    fixed_calls /= 20; /* they are slow */
    measure("connect-accept", CLOCK_MONOTONIC, connect_accept, NULL);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    int ready[2], one = 1;
    if (argc < 4 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1)
        return 2;
    long count = strtol(argv[3], NULL, 10);
    fixed_calls = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
    target.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (count < 1 || listener < 0 || pipe(ready) != 0 ||
        bind(listener, (const struct sockaddr *)&target, sizeof(target)) != 0 ||
        listen(listener, 128) != 0)
        die("listen");
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(ready[1]);
        for (long i = 1; i < count; i++)
            dial();
        while (read(ready[0], &byte, 1) > 0)
            continue;
        _exit(0);
    }
    int *fds = calloc((size_t)count, sizeof(*fds));
    if (child < 0 || fds == NULL)
        die("fork");
    for (long i = 1; i < count; i++)
        fds[i] = take();
    measure_all(fds, count);
    close(ready[1]);
    waitpid(child, NULL, 0);
    return 0;
}
