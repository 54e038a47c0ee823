/*
 * What programs do with sockets beside send() and recv(): splice() and its like, vectors at their
 * limits, MSG_MORE and TCP_CORK, a backlog that overflows; and epoll with other
 * kinds of descriptors, exclusively, and with a signal mask.
 */
#define _GNU_SOURCE

#include "semantics.h"

#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* ---- from descriptor to descriptor ----------------------------------------------------------- */

static void make_pipe(int ends[2])
{
    must(pipe(ends));
}

static void say_text(const char *name, const char *text, ssize_t size)
{
    if (size < 0)
        say_result(name, size);
    else
        say(" %s=%.*s", name, (int)size, text);
}

static void splice_from_stream(void)
{
    int a, b, ends[2];
    char text[16];
    stream_pair(&a, &b);
    make_pipe(ends);
    send(a, "hello", 5, 0);
    say_result("splice", splice(b, NULL, ends[1], NULL, 3, 0));
    say_result("rest", splice(b, NULL, ends[1], NULL, 100, SPLICE_F_MORE));
    say_text("pipe", text, read(ends[0], text, sizeof(text)));
    shutdown(a, SHUT_WR);
    say_result("end", splice(b, NULL, ends[1], NULL, 10, 0));
    set_nonblocking(a);
    say_result("empty", splice(a, NULL, ends[1], NULL, 10, 0));
    close(ends[0]);
    send(b, "x", 1, 0);
    poll_for(a, POLLIN, 2000);
    signal(SIGPIPE, SIG_IGN);
    say_result("no_reader", splice(a, NULL, ends[1], NULL, 10, 0));
    say_text("kept", text, recv(a, text, sizeof(text), 0));
}

static void splice_to_stream(void)
{
    int a, b, ends[2];
    char text[16];
    stream_pair(&a, &b);
    make_pipe(ends);
    must((int)write(ends[1], "hello", 5));
    say_result("splice", splice(ends[0], NULL, a, NULL, 100, 0));
    say_text("got", text, recv(b, text, sizeof(text), 0));
    say_result("empty", splice(ends[0], NULL, a, NULL, 10, SPLICE_F_NONBLOCK));
    close(ends[1]);
    say_result("end", splice(ends[0], NULL, a, NULL, 10, 0));
    make_pipe(ends);
    must((int)write(ends[1], "hello", 5));
    shutdown(a, SHUT_WR);
    signal(SIGPIPE, SIG_IGN);
    say_result("shut", splice(ends[0], NULL, a, NULL, 10, 0));
}

static void splice_errors(void)
{
    int a, b, ends[2], more[2];
    off64_t offset = 0;
    stream_pair(&a, &b);
    make_pipe(ends);
    make_pipe(more);
    send(a, "hello", 5, 0);
    say_result("no_pipe", splice(b, NULL, a, NULL, 5, 0));
    say_result("offset_in", splice(b, &offset, ends[1], NULL, 5, 0));
    say_result("offset_out", splice(ends[0], NULL, b, &offset, 5, 0));
    say_result("flags", splice(b, NULL, ends[1], NULL, 5, 0x1000));
    say_result("nothing", splice(b, NULL, ends[1], NULL, 0, 0));
    say_result("tee", tee(b, ends[1], 5, 0));
    must((int)write(ends[1], "abc", 3));
    say_result("tee", tee(ends[0], more[1], 5, 0));
    say_result("tee", tee(ends[0], b, 5, 0));
    struct iovec vector = {(char[]){"abc"}, 3};
    say_result("vmsplice", vmsplice(a, &vector, 1, 0));
    say_result("copy_file_range", copy_file_range(b, NULL, a, NULL, 5, 0));
}

/* A megabyte through two pipes, as a proxy moves it. */
static void *pour(void *argument)
{
    static char bytes[1 << 20];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 + i / 256);
    const int *fd = argument;
    say_result("send", send(*fd, bytes, sizeof(bytes), 0));
    shutdown(*fd, SHUT_WR);
    return NULL;
}

static void *proxy(void *argument)
{
    const int *fds = argument;
    int ends[2];
    ssize_t size;
    make_pipe(ends);
    while ((size = splice(fds[0], NULL, ends[1], NULL, 65536, SPLICE_F_MOVE | SPLICE_F_MORE)) > 0) {
        while (size > 0) {
            ssize_t moved = splice(ends[0], NULL, fds[1], NULL, (size_t)size, SPLICE_F_MOVE);
            if (moved <= 0)
                return NULL;
            size -= moved;
        }
    }
    shutdown(fds[1], SHUT_WR);
    return NULL;
}

static void splice_much(void)
{
    int in[2], out[2];
    pthread_t threads[2];
    stream_pair(&in[0], &in[1]);
    stream_pair(&out[0], &out[1]);
    int fds[2] = {in[1], out[0]};
    pthread_create(&threads[0], NULL, pour, &in[0]);
    pthread_create(&threads[1], NULL, proxy, fds);
    char bytes[4096];
    size_t total = 0, wrong = 0;
    ssize_t size;
    while ((size = recv(out[1], bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < size; i++, total++)
            wrong += bytes[i] != (char)(total * 7 + total / 256);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    say(" total=%zu wrong=%zu", total, wrong);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void vector_limits(void)
{
    static struct iovec vectors[1025];
    static char bytes[1025];
    static const int counts[] = {-1, 0, 1, 1024, 1025};
    int a, b;
    stream_pair(&a, &b);
    for (size_t i = 0; i < 1025; i++)
        vectors[i] = (struct iovec){&bytes[i], 1};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)counts[i]};
        say(" [%d]", counts[i]);
        say_result("writev", writev(a, vectors, counts[i]));
        say_result("readv", readv(b, vectors, counts[i] == 0 ? 0 : counts[i]));
        if (counts[i] <= 0)
            continue;
        say_result("sendmsg", sendmsg(a, &message, 0));
        message.msg_iovlen = (size_t)counts[i];
        say_result("recvmsg", recvmsg(b, &message, MSG_DONTWAIT));
    }
    struct iovec nothing = {NULL, 0};
    say_result("nothing", writev(a, &nothing, 1));
    send(a, "abc", 3, 0);
    poll_for(b, POLLIN, 2000);
    say_result("left", recv(b, bytes, 3, MSG_DONTWAIT));
}

/* ---- several sends, one segment -------------------------------------------------------------- */

static void more_to_come(void)
{
    int a, b;
    char text[16];
    stream_pair(&a, &b);
    send(a, "ab", 2, MSG_MORE);
    send(a, "cd", 2, 0);
    say_text("more", text, recv(b, text, 4, MSG_WAITALL));
    send(a, "ef", 2, MSG_MORE);
    say_text("alone", text, recv(b, text, 2, MSG_WAITALL)); /* after 200 ms at the latest */
    set_int(a, IPPROTO_TCP, TCP_CORK, 1);
    send(a, "gh", 2, 0);
    send(a, "ij", 2, 0);
    set_int(a, IPPROTO_TCP, TCP_CORK, 0);
    say_text("cork", text, recv(b, text, 4, MSG_WAITALL));
    set_int(a, IPPROTO_TCP, TCP_CORK, 1);
    send(a, "kl", 2, MSG_MORE);
    close(a);
    say_text("closed", text, recv(b, text, sizeof(text), MSG_WAITALL));
}

static void queued(void)
{
    int a, b, count = -1;
    char text[8];
    stream_pair(&a, &b);
    say_result("ioctl", ioctl(a, SIOCOUTQ, &count));
    say(" fresh=%d", count);
    fill(a);
    ioctl(a, SIOCOUTQ, &count);
    say(" full=%d", count > 0);
    ioctl(a, SIOCOUTQNSD, &count);
    say(" unsent=%d", count > 0);
    while (drain_all(b) > 0 || poll_for(b, POLLIN, 50) > 0)
        ;
    send(a, "x", 1, 0);
    recv(b, text, 1, MSG_WAITALL);
    for (int i = 0; i < 400 && (ioctl(a, SIOCOUTQ, &count), count != 0); i++)
        sleep_ms(5); /* its acknowledgement may be delayed */
    say(" read=%d", count);
    int listening = listener(3), fresh = socket(AF_INET, SOCK_STREAM, 0);
    say_result("listener", ioctl(listening, SIOCOUTQ, &count));
    say_result("fresh", ioctl(fresh, SIOCOUTQ, &count));
}

/* ---- a backlog that overflows ---------------------------------------------------------------- */

static void backlog_overflows(void)
{
    int listening = bound(SOCK_STREAM), fds[6], connected = 0;
    struct sockaddr_in addr = name_of(listening);
    must(listen(listening, 1));
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        say_ok("connect", connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)));
        connected += poll_for(fds[i], POLLOUT, 100) == POLLOUT;
    }
    say(" connected=%d", connected);
    /* Each that is accepted makes room for one that waits. */
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        say_ok("accept", accept(listening, NULL, NULL));
}

/* ---- epoll ----------------------------------------------------------------------------------- */

static int add(int epoll, int fd, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(epoll, operation, fd, &event);
}

/* Everything that is ready, within a moment: foyer asks the kernel every 20 us while sockets are busy. */
static void say_ready(const char *name, int epoll, const int *fds, size_t count)
{
    unsigned found = 0;
    for (int64_t end = now_ms() + 5; now_ms() < end;) {
        struct epoll_event events[8];
        int ready = epoll_wait(epoll, events, 8, 1);
        for (int i = 0; i < ready; i++) {
            for (size_t j = 0; j < count; j++)
                found |= events[i].data.fd == fds[j] ? 1u << j : 0;
        }
    }
    say(" %s=%x", name, found);
}

/* A socket among timers, signals, events and pipes. */
static void epoll_kinds(void)
{
    int a, b, ends[2], epoll = epoll_create1(0);
    char byte;
    sigset_t set;
    stream_pair(&a, &b);
    make_pipe(ends);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fds[] = {b, ends[0], eventfd(0, EFD_NONBLOCK), timerfd_create(CLOCK_MONOTONIC, 0),
                 signalfd(-1, &set, 0)};
    enum { COUNT = sizeof(fds) / sizeof(fds[0]) };
    for (size_t i = 0; i < COUNT; i++)
        must(add(epoll, fds[i], EPOLLIN, EPOLL_CTL_ADD));
    say_ready("none", epoll, fds, COUNT);
    struct itimerspec time = {.it_value.tv_nsec = 1};
    must(timerfd_settime(fds[3], 0, &time, NULL));
    poll_for(fds[3], POLLIN, 2000);
    say_ready("timer", epoll, fds, COUNT);
    kill(getpid(), SIGUSR1);
    say_ready("signal", epoll, fds, COUNT);
    must(eventfd_write(fds[2], 1));
    must((int)write(ends[1], "x", 1));
    say_ready("event", epoll, fds, COUNT);
    send(a, "x", 1, 0);
    poll_for(b, POLLIN, 2000);
    say_ready("all", epoll, fds, COUNT);
    recv(b, &byte, 1, 0);
    say_ready("others", epoll, fds, COUNT);
    struct pollfd items[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        items[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    say_result("poll", poll(items, COUNT, 0));
    fd_set reads;
    FD_ZERO(&reads);
    for (size_t i = 0; i < COUNT; i++)
        FD_SET(fds[i], &reads);
    struct timeval zero = {0};
    say_result("select", select(fds[4] + 1, &reads, NULL, NULL, &zero));
}

static void *wait_exclusively(void *argument)
{
    const int *listening = argument;
    int epoll = epoll_create1(0);
    struct epoll_event event;
    must(add(epoll, *listening, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD));
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) != 1)
            continue;
        int fd = accept(*listening, NULL, NULL); /* not for each of them there is one */
        if (fd >= 0)
            send(fd, "x", 1, 0);
    }
    return NULL;
}

static void epoll_exclusive(void)
{
    int listening = listener(16), epoll = epoll_create1(0), other = epoll_create1(0);
    pthread_t threads[3];
    say_result("add", add(epoll, listening, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD));
    say_result("again", add(epoll, listening, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD));
    say_result("change", add(epoll, listening, EPOLLIN, EPOLL_CTL_MOD));
    say_result("remove", add(epoll, listening, 0, EPOLL_CTL_DEL));
    say_result("plain", add(epoll, listening, EPOLLIN, EPOLL_CTL_ADD));
    say_result("change", add(epoll, listening, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_MOD));
    say_result("remove", add(epoll, listening, 0, EPOLL_CTL_DEL));
    say_result("one_shot",
               add(epoll, listening, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, EPOLL_CTL_ADD));
    say_result("urgent", add(epoll, listening, EPOLLPRI | EPOLLEXCLUSIVE, EPOLL_CTL_ADD));
    say_result("epoll", add(epoll, other, EPOLLIN | EPOLLEXCLUSIVE, EPOLL_CTL_ADD));
    set_nonblocking(listening);
    for (size_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, wait_exclusively, &listening);
    int served = 0;
    for (int i = 0; i < 12; i++) {
        char byte;
        int fd = connected_to(listening);
        served += recv(fd, &byte, 1, 0) == 1;
        close(fd);
    }
    say(" served=%d", served);
}

static volatile sig_atomic_t signal_count;

static void count_signal(int number)
{
    (void)number;
    signal_count++;
}

/* A signal that is pending and let in by the call's mask ends it, unless something is ready. */
static void masks(void)
{
    int a, b, epoll = epoll_create1(0);
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    struct epoll_event event;
    struct timespec second = {.tv_sec = 1}, zero = {0};
    sigset_t set, none;
    fd_set reads;
    stream_pair(&a, &b);
    must(add(epoll, b, EPOLLIN, EPOLL_CTL_ADD));
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    FD_ZERO(&reads);
    FD_SET(b, &reads);
    say_result("blocked", pselect(b + 1, &reads, NULL, NULL, &zero, &set));
    FD_SET(b, &reads);
    say_result("pselect", pselect(b + 1, &reads, NULL, NULL, &second, &none));
    say(" signals=%d", (int)signal_count);
    kill(getpid(), SIGUSR1);
    say_result("blocked", epoll_pwait2(epoll, &event, 1, &zero, &set));
    say_result("epoll_pwait2", epoll_pwait2(epoll, &event, 1, &second, &none));
    kill(getpid(), SIGUSR1);
    say_result("epoll_pwait", epoll_pwait(epoll, &event, 1, 1000, &none));
    say(" signals=%d", (int)signal_count);
    send(a, "x", 1, 0);
    poll_for(b, POLLIN, 2000);
    say_result("ready", epoll_pwait2(epoll, &event, 1, NULL, NULL));
    FD_SET(b, &reads);
    say_result("ready", pselect(b + 1, &reads, NULL, NULL, NULL, &set));
}

static const struct semantics_case cases[] = {
    {"splice_from_stream", splice_from_stream},
    {"splice_to_stream", splice_to_stream},
    {"splice_errors", splice_errors},
    {"splice_much", splice_much},
    {"vector_limits", vector_limits},
    {"more_to_come", more_to_come},
    {"queued", queued},
    {"backlog_overflows", backlog_overflows},
    {"epoll_kinds", epoll_kinds},
    {"epoll_exclusive", epoll_exclusive},
    {"masks", masks},
};

SEMANTICS_MAIN(cases)
