/* Urgent data: MSG_OOB, SO_OOBINLINE, the mark, SIGURG, and what poll and its kin say of it. */
#define _GNU_SOURCE

#include "semantics.h"

/* What recv gives, as text. */
static void say_recv(const char *name, int fd, size_t size, int flags)
{
    char bytes[64] = {0};
    ssize_t count =
        recv(fd, bytes, size < sizeof(bytes) ? size : sizeof(bytes) - 1, flags | MSG_DONTWAIT);
    if (count > 0)
        say(" %s=%s", name, bytes);
    else
        say_result(name, count);
}

static void put(int fd, const char *text, int flags)
{
    if (send(fd, text, strlen(text), flags) != (ssize_t)strlen(text))
        fail("send");
}

static void say_mark(const char *name, int fd)
{
    int is_at = -1, count = -1;
    must(ioctl(fd, SIOCATMARK, &is_at));
    must(ioctl(fd, FIONREAD, &count));
    say(" %s=%d,%d", name, is_at, count);
}

static void nothing_is_urgent(void)
{
    int a, b;
    stream_pair(&a, &b);
    say_recv("none", b, 1, MSG_OOB);
    put(a, "x", 0);
    say_recv("data", b, 1, MSG_OOB);
    say_mark("mark", b);
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    say_recv("fresh", fresh, 1, MSG_OOB);
    say_result("send", send(fresh, "x", 1, MSG_OOB | MSG_NOSIGNAL));
    say_recv("listener", listener(1), 1, MSG_OOB);
    int datagrams = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(datagrams);
    say_result("datagram",
               sendto(datagrams, "x", 1, MSG_OOB, (struct sockaddr *)&addr, sizeof(addr)));
}

static void the_last_byte_is_urgent(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "ab!", MSG_OOB);
    say_poll("poll", b);
    say_mark("mark", b);
    say_recv("urgent", b, 5, MSG_OOB);
    say_poll("taken", b);
    say_recv("again", b, 5, MSG_OOB);
    say_recv("data", b, 10, 0);
    say_poll("read", b);
    say_mark("mark", b);
    say_recv("data", b, 10, 0);
    say_mark("mark", b);
}

static void reading_stops_at_the_mark(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "12", 0);
    put(a, "3", MSG_OOB);
    put(a, "45", 0);
    say_mark("before", b);
    say_recv("data", b, 10, 0);
    say_mark("at", b);
    say_poll("poll", b);
    say_recv("data", b, 10, 0);
    say_mark("behind", b);
    say_recv("urgent", b, 1, MSG_OOB);
    say_poll("poll", b);
}

static void waiting_for_all_stops_at_the_mark(void)
{
    int a, b;
    char bytes[8];
    stream_pair(&a, &b);
    put(a, "123", MSG_OOB);
    put(a, "4567", 0);
    say_result("all", recv(b, bytes, 6, MSG_WAITALL));
    say_recv("urgent", b, 1, MSG_OOB);
    say_result("all", recv(b, bytes, 4, MSG_WAITALL));
}

static void small_reads_to_the_mark(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "1234", MSG_OOB);
    put(a, "56", 0);
    for (int i = 0; i < 5; i++) {
        say_recv("one", b, 1, 0);
        say_mark("mark", b);
    }
}

static void inline_is_data(void)
{
    int a, b;
    stream_pair(&a, &b);
    set_int(b, SOL_SOCKET, SO_OOBINLINE, 1);
    put(a, "12", 0);
    put(a, "3", MSG_OOB);
    put(a, "45", 0);
    say_poll("poll", b);
    say_recv("urgent", b, 1, MSG_OOB);
    say_mark("mark", b);
    say_recv("data", b, 10, 0);
    say_mark("mark", b);
    say(" sockatmark=%d", sockatmark(b));
    say_poll("poll", b);
    say_recv("data", b, 10, 0);
    say_mark("mark", b);
    say_poll("poll", b);
}

static void inline_comes_from_the_listener(void)
{
    int listening = listener(1), value = -1;
    socklen_t size = sizeof(value);
    set_int(listening, SOL_SOCKET, SO_OOBINLINE, 1);
    int a = connected_to(listening), b = accept(listening, NULL, NULL);
    must(getsockopt(b, SOL_SOCKET, SO_OOBINLINE, &value, &size));
    say(" inherited=%d", value);
    put(a, "12!", MSG_OOB);
    say_recv("data", b, 10, 0);
    say_recv("data", b, 10, 0);
}

static void inline_set_late(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "1", MSG_OOB);
    put(a, "2", 0);
    set_int(b, SOL_SOCKET, SO_OOBINLINE, 1);
    say_recv("urgent", b, 1, MSG_OOB);
    say_poll("poll", b);
    say_recv("data", b, 10, 0);
}

static void peeking(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "12!", MSG_OOB);
    put(a, "34", 0);
    say_recv("urgent", b, 1, MSG_OOB | MSG_PEEK);
    say_recv("data", b, 10, MSG_PEEK);
    say_recv("data", b, 10, 0);
    say_recv("data", b, 10, MSG_PEEK);
    say_mark("mark", b);
    say_recv("urgent", b, 1, MSG_OOB | MSG_PEEK);
    say_recv("urgent", b, 1, MSG_OOB);
    say_recv("data", b, 10, 0);
}

/* recv passes a byte by that nobody has asked for. */
static void only_the_urgent_byte(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "!", MSG_OOB);
    say_poll("poll", b);
    say_mark("mark", b);
    say_recv("data", b, 10, 0);
    say_poll("poll", b);
    say_recv("urgent", b, 1, MSG_OOB);
    put(a, "x", 0);
    say_recv("data", b, 10, 0);
}

static void a_second_takes_the_place(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "x1", MSG_OOB);
    put(a, "y2", MSG_OOB);
    say_recv("urgent", b, 1, MSG_OOB);
    say_recv("data", b, 10, 0);
    say_mark("mark", b);
    put(a, "z3", MSG_OOB);
    say_recv("urgent", b, 1, MSG_OOB);
    say_recv("data", b, 10, 0);
}

/* The reader stands before the first. */
static void a_second_leaves_the_first_behind(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "1", MSG_OOB);
    put(a, "2", MSG_OOB);
    say_mark("mark", b);
    say_poll("poll", b);
    put(a, "3", MSG_OOB);
    say_mark("mark", b);
    say_recv("urgent", b, 1, MSG_OOB);
    put(a, "x4", MSG_OOB);
    say_mark("mark", b);
    say_recv("data", b, 10, MSG_PEEK);
    say_recv("data", b, 10, 0);
    say_mark("mark", b);
    put(a, "5", MSG_OOB);
    put(a, "6", MSG_OOB);
    put(a, "y", 0);
    say_poll("poll", b);
    say_recv("data", b, 10, 0);
}

static void many_in_a_row(void)
{
    int a, b;
    unsigned same = 0;
    stream_pair(&a, &b);
    for (int i = 0; i < 100; i++) {
        char bytes[3] = {'d', (char)('a' + i % 26), 0}, got = 0, data[8];
        put(a, bytes, MSG_OOB);
        same += poll_for(b, POLLPRI, 2000) == POLLPRI;
        same += recv(b, &got, 1, MSG_OOB) == 1 && got == bytes[1];
        same += recv(b, data, sizeof(data), 0) == 1 && data[0] == 'd';
    }
    say(" same=%u", same);
}

static void large_urgent_send(void)
{
    int a, b;
    static char bytes[100000];
    char last = 0;
    memset(bytes, 'x', sizeof(bytes));
    bytes[sizeof(bytes) - 1] = '!';
    stream_pair(&a, &b);
    say_result("sent", send(a, bytes, sizeof(bytes), MSG_OOB));
    say_bits("poll", (uint32_t)poll_for(b, POLLPRI, 2000));
    say_result("read", drain_all(b));
    say_result("urgent", recv(b, &last, 1, MSG_OOB));
    say_result("empty", send(a, "", 0, MSG_OOB));
    say_poll("poll", b);
}

static void messages(void)
{
    int a, b;
    char bytes[8], more[8];
    struct iovec iov[2] = {{.iov_base = bytes, .iov_len = 2}, {.iov_base = more, .iov_len = 2}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    stream_pair(&a, &b);
    memcpy(bytes, "12", 2);
    memcpy(more, "34", 2);
    say_result("sent", sendmsg(a, &message, MSG_OOB));
    say_result("peek", recvmsg(b, &message, MSG_OOB | MSG_PEEK));
    say(" byte=%c flags=%x", bytes[0], (unsigned)message.msg_flags);
    iov[0].iov_len = 0;
    say_result("second", recvmsg(b, &message, MSG_OOB | MSG_PEEK));
    say(" byte=%c flags=%x", more[0], (unsigned)message.msg_flags);
    message.msg_iovlen = 0;
    say_result("none", recvmsg(b, &message, MSG_OOB));
    say(" flags=%x", (unsigned)message.msg_flags);
    say_recv("again", b, 1, MSG_OOB);
}

static void after_the_end(void)
{
    int a, b;
    stream_pair(&a, &b);
    put(a, "12!", MSG_OOB);
    close(a);
    say_poll("poll", b);
    say_recv("urgent", b, 1, MSG_OOB);
    say_recv("data", b, 10, 0);
    say_recv("data", b, 10, 0);
    say_recv("urgent", b, 1, MSG_OOB);
    stream_pair(&a, &b);
    must(shutdown(a, SHUT_WR));
    say_result("shut", send(a, "x", 1, MSG_OOB | MSG_NOSIGNAL));
}

static void low_water(void)
{
    int a, b;
    stream_pair(&a, &b);
    set_int(b, SOL_SOCKET, SO_RCVLOWAT, 3);
    put(a, "1!", MSG_OOB);
    say_poll("poll", b);
    put(a, "23", 0);
    say_poll("more", b);
    say_recv("data", b, 10, 0);
    say_poll("mark", b);
}

static void selecting(void)
{
    int a, b;
    fd_set reads, excepts;
    struct timeval timeout = {.tv_sec = 2};
    stream_pair(&a, &b);
    put(a, "!", MSG_OOB);
    FD_ZERO(&reads);
    FD_ZERO(&excepts);
    FD_SET(b, &reads);
    FD_SET(b, &excepts);
    say_result("ready", select(b + 1, &reads, NULL, &excepts, &timeout));
    say(" read=%d except=%d", FD_ISSET(b, &reads) != 0, FD_ISSET(b, &excepts) != 0);
    say_recv("urgent", b, 1, MSG_OOB);
    timeout = (struct timeval){0};
    FD_SET(b, &excepts);
    say_result("none", select(b + 1, NULL, NULL, &excepts, &timeout));
}

static void in_epoll(uint32_t mode)
{
    int a, b, epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLPRI | mode};
    stream_pair(&a, &b);
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, b, &event));
    put(a, "1", 0);
    say_result("data", epoll_wait(epoll, &event, 1, 50));
    put(a, "!", MSG_OOB);
    say_result("urgent", epoll_wait(epoll, &event, 1, 2000));
    say_bits("events", event.events);
    say_result("again", epoll_wait(epoll, &event, 1, 50));
    say_recv("taken", b, 1, MSG_OOB);
    say_result("none", epoll_wait(epoll, &event, 1, 50));
    put(a, "?", MSG_OOB);
    say_result("second", epoll_wait(epoll, &event, 1, 2000));
}

static void level_epoll(void)
{
    in_epoll(0);
}

static void edge_epoll(void)
{
    in_epoll(EPOLLET);
}

static volatile sig_atomic_t urgent_signals;

static void on_urgent(int number)
{
    (void)number;
    urgent_signals = urgent_signals + 1;
}

/* For at most two seconds from one signal to the next. */
static void await_signal(int wanted)
{
    const struct timespec limit = {.tv_sec = 2};
    sigset_t urgent, before;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    sigprocmask(SIG_BLOCK, &urgent, &before);
    while (urgent_signals < wanted && ppoll(NULL, 0, &limit, &before) < 0)
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void signals(void)
{
    int a, b;
    struct sigaction action = {.sa_handler = on_urgent};
    must(sigaction(SIGURG, &action, NULL));
    stream_pair(&a, &b);
    put(a, "1", MSG_OOB);
    poll_for(b, POLLPRI, 5000);
    say(" unowned=%d", urgent_signals);
    must(fcntl(b, F_SETOWN, getpid()));
    say(" owner=%d", fcntl(b, F_GETOWN) == getpid());
    put(a, "2", 0);
    poll_for(b, POLLIN, 5000);
    say(" data=%d", urgent_signals);
    put(a, "3", MSG_OOB);
    await_signal(1);
    say(" urgent=%d", urgent_signals);
    say_recv("urgent", b, 1, MSG_OOB);
    put(a, "4", MSG_OOB);
    await_signal(2);
    say(" second=%d", urgent_signals);
    /* Of the one that connects, set before. */
    int listening = listener(1), c = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in addr = name_of(listening);
    must(fcntl(c, F_SETOWN, getpid()));
    must(connect(c, (struct sockaddr *)&addr, sizeof(addr)));
    int d = accept(listening, NULL, NULL);
    put(d, "5", MSG_OOB);
    await_signal(3);
    say(" connected=%d", urgent_signals);
    say_poll("poll", c);
    say_recv("urgent", c, 1, MSG_OOB);
}

struct sleeper {
    int fd;
    short events;
    int result;
};

static void *sleep_in_poll(void *context)
{
    struct sleeper *sleeper = context;
    sleeper->result = poll_for(sleeper->fd, sleeper->events, 5000);
    return NULL;
}

static void wakes_a_sleeper(void)
{
    int a, b;
    stream_pair(&a, &b);
    struct sleeper sleeper = {.fd = b, .events = POLLPRI};
    pthread_t thread = start_asleep(sleep_in_poll, &sleeper);
    put(a, "!", MSG_OOB);
    pthread_join(thread, NULL);
    say_bits("woken", (uint32_t)sleeper.result);
}

/* Forked processes hold the one socket. */
static void taken_by_another_process(void)
{
    int a, b;
    char byte;
    stream_pair(&a, &b);
    put(a, "12!", MSG_OOB);
    pid_t child = fork();
    if (child == 0)
        _exit(recv(b, &byte, 1, MSG_OOB) == 1 ? byte : 0);
    int status = 0;
    must(waitpid(child, &status, 0));
    say(" child=%c", WEXITSTATUS(status));
    say_recv("urgent", b, 1, MSG_OOB);
    say_poll("poll", b);
    say_recv("data", b, 10, 0);
}

static const struct semantics_case cases[] = {
    {"nothing_is_urgent", nothing_is_urgent},
    {"the_last_byte_is_urgent", the_last_byte_is_urgent},
    {"reading_stops_at_the_mark", reading_stops_at_the_mark},
    {"waiting_for_all_stops_at_the_mark", waiting_for_all_stops_at_the_mark},
    {"small_reads_to_the_mark", small_reads_to_the_mark},
    {"inline_is_data", inline_is_data},
    {"inline_comes_from_the_listener", inline_comes_from_the_listener},
    {"inline_set_late", inline_set_late},
    {"peeking", peeking},
    {"only_the_urgent_byte", only_the_urgent_byte},
    {"a_second_takes_the_place", a_second_takes_the_place},
    {"a_second_leaves_the_first_behind", a_second_leaves_the_first_behind},
    {"many_in_a_row", many_in_a_row},
    {"large_urgent_send", large_urgent_send},
    {"messages", messages},
    {"after_the_end", after_the_end},
    {"low_water", low_water},
    {"selecting", selecting},
    {"level_epoll", level_epoll},
    {"edge_epoll", edge_epoll},
    {"signals", signals},
    {"wakes_a_sleeper", wakes_a_sleeper},
    {"taken_by_another_process", taken_by_another_process},
};

SEMANTICS_MAIN(cases)
