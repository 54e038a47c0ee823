/* poll, select and epoll: what is ready, when one wakes, edges, one-shot. See semantics.h. */
#define _GNU_SOURCE

#include "semantics.h"

/* ---- poll and select ----------------------------------------------------------------------- */

static void poll_states(void)
{
    int a, b;
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    say_poll("fresh", fresh);
    int listening = listener(4);
    say_poll("listening", listening);
    int c = connected_to(listening);
    poll_for(listening, POLLIN, 2000);
    say_poll("queued", listening);
    stream_pair(&a, &b);
    say_poll("connected", a);
    send(b, "x", 1, 0);
    poll_for(a, POLLIN, 2000);
    say_poll("data", a);
    say_bits("rdnorm", (uint32_t)poll_for(a, POLLRDNORM, 0) & POLLRDNORM ? POLLIN : 0);
    say_bits("nothing-asked", (uint32_t)poll_for(a, 0, 0));
    close(c);
    say_bits("closed", (uint32_t)poll_for(c, POLLIN, 0));
}

static void poll_udp(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    say_poll("empty", b);
    sendto(a, "x", 1, 0, (struct sockaddr *)&addr, sizeof(addr));
    poll_for(b, POLLIN, 2000);
    say_poll("data", b);
}

/* When the main thread sleeps. */
static void *write_late(void *argument)
{
    wait_asleep(getpid(), getpid());
    if (write(*(int *)argument, "x", 1) != 1)
        fail("write");
    return NULL;
}

static void poll_mixed(void)
{
    int a, b, pipes[2];
    pthread_t thread;
    stream_pair(&a, &b);
    if (pipe(pipes) != 0)
        fail("pipe");
    struct pollfd items[3] = {{.fd = b, .events = POLLIN},
                              {.fd = pipes[0], .events = POLLIN},
                              {.fd = -1, .events = POLLIN}};
    pthread_create(&thread, NULL, write_late, &pipes[1]);
    say_result("pipe", poll(items, 3, 9000));
    say_bits("b", (uint32_t)items[0].revents);
    say_bits("pipe", (uint32_t)items[1].revents);
    pthread_join(thread, NULL);
    char byte;
    if (read(pipes[0], &byte, 1) != 1)
        fail("read");
    pthread_create(&thread, NULL, write_late, &a);
    say_result("socket", poll(items, 3, 9000));
    say_bits("b", (uint32_t)items[0].revents);
    say_bits("pipe", (uint32_t)items[1].revents);
    pthread_join(thread, NULL);
    if (write(pipes[1], "x", 1) != 1)
        fail("write");
    say_result("both", poll(items, 3, 0));
}

static void poll_timeout(void)
{
    int a, b;
    stream_pair(&a, &b);
    struct pollfd item = {.fd = b, .events = POLLIN};
    int64_t start = now_ms();
    say_result("poll", poll(&item, 1, 50));
    say(" waited=%d", now_ms() - start >= 49 && now_ms() - start < 2000);
    struct timespec time = {.tv_nsec = 50000000};
    start = now_ms();
    say_result("ppoll", ppoll(&item, 1, &time, NULL));
    say(" waited=%d", now_ms() - start >= 49 && now_ms() - start < 2000);
    time.tv_nsec = 1000000000;
    say_result("bad", ppoll(&item, 1, &time, NULL));
}

static volatile sig_atomic_t signal_count;

static void count_signal(int number)
{
    (void)number;
    signal_count++;
}

static void ppoll_mask(void)
{
    int a, b;
    sigset_t blocked, none;
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = SA_RESTART};
    stream_pair(&a, &b);
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    struct pollfd item = {.fd = b, .events = POLLIN};
    say(" before=%d", (int)signal_count);
    say_result("ppoll", ppoll(&item, 1, NULL, &none));
    say(" after=%d", (int)signal_count);
    raise(SIGUSR1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(b, &set);
    say_result("pselect", pselect(b + 1, &set, NULL, NULL, NULL, &none));
    say(" after=%d", (int)signal_count);
    raise(SIGUSR1);
    int epfd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epfd, EPOLL_CTL_ADD, b, &event);
    say_result("epoll_pwait", epoll_pwait(epfd, &event, 1, -1, &none));
    say(" after=%d", (int)signal_count);
}

static void select_bits(void)
{
    int a, b;
    fd_set reads, writes, excepts;
    stream_pair(&a, &b);
    send(a, "x", 1, 0);
    poll_for(b, POLLIN, 2000);
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_ZERO(&excepts);
    FD_SET(a, &reads);
    FD_SET(b, &reads);
    FD_SET(a, &writes);
    FD_SET(b, &excepts);
    struct timeval time = {.tv_sec = 5};
    say_result("select", select(b + 1 > a ? b + 1 : a + 1, &reads, &writes, &excepts, &time));
    say(" a=%d b=%d write=%d except=%d left=%d", FD_ISSET(a, &reads) != 0, FD_ISSET(b, &reads) != 0,
        FD_ISSET(a, &writes) != 0, FD_ISSET(b, &excepts) != 0, time.tv_sec >= 4);
    FD_ZERO(&reads);
    FD_SET(a, &reads);
    time = (struct timeval){.tv_usec = 30000};
    say_result("timeout", select(a + 1, &reads, NULL, NULL, &time));
    say(" a=%d left=%ld", FD_ISSET(a, &reads) != 0, (long)time.tv_usec);
    close(b);
    FD_SET(a, &reads);
    time = (struct timeval){.tv_sec = 2};
    say_result("eof", select(a + 1, &reads, NULL, NULL, &time));
    close(a);
    FD_SET(a, &reads);
    say_result("closed", select(a + 1, &reads, NULL, NULL, &time));
}

static void poll_wakes_all(void)
{
    int a, b;
    pid_t children[3];
    stream_pair(&a, &b);
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(poll_for(b, POLLIN, 5000) == POLLIN ? 7 : 8);
    }
    for (int i = 0; i < 3; i++)
        wait_asleep(children[i], children[i]);
    send(a, "x", 1, 0);
    for (int i = 0; i < 3; i++) {
        int status;
        waitpid(children[i], &status, 0);
        say(" %d", WEXITSTATUS(status));
    }
}

/* ---- epoll --------------------------------------------------------------------------------- */

static int watch(int epfd, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)events << 32 | 5};
    return epoll_ctl(epfd, operation, fd, &event);
}

/* One wait; its events as bits. */
static void say_wait(const char *name, int epfd, int timeout_ms)
{
    struct epoll_event events[8];
    int count = epoll_wait(epfd, events, 8, timeout_ms);
    if (count <= 0) {
        say(" %s=%s", name, count == 0 ? "0" : strerrorname_np(errno));
        return;
    }
    for (int i = 0; i < count; i++)
        say_bits(name, events[i].events);
}

static void epoll_level(void)
{
    int a, b, epfd = epoll_create1(0);
    char byte;
    stream_pair(&a, &b);
    say_ok("add", watch(epfd, EPOLL_CTL_ADD, b, EPOLLIN));
    say_ok("twice", watch(epfd, EPOLL_CTL_ADD, b, EPOLLIN));
    say_wait("none", epfd, 0);
    send(a, "xy", 2, 0);
    say_wait("data", epfd, 2000);
    say_wait("again", epfd, 0);
    recv(b, &byte, 1, 0);
    say_wait("rest", epfd, 0);
    recv(b, &byte, 1, 0);
    say_wait("empty", epfd, 0);
    say_ok("mod", watch(epfd, EPOLL_CTL_MOD, b, EPOLLIN | EPOLLOUT));
    say_wait("out", epfd, 0);
    say_ok("del", watch(epfd, EPOLL_CTL_DEL, b, 0));
    say_wait("gone", epfd, 0);
    say_ok("del", watch(epfd, EPOLL_CTL_DEL, b, 0));
    say_ok("mod", watch(epfd, EPOLL_CTL_MOD, b, EPOLLIN));
    say_ok("bad-fd", watch(epfd, EPOLL_CTL_ADD, 999, EPOLLIN));
    say_ok("not-epoll", watch(a, EPOLL_CTL_ADD, b, EPOLLIN));
}

static void epoll_data(void)
{
    int a, b, epfd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0};
    stream_pair(&a, &b);
    epoll_ctl(epfd, EPOLL_CTL_ADD, b, &event);
    send(a, "x", 1, 0);
    epoll_wait(epfd, &event, 1, 2000);
    say(" data=%llx", (unsigned long long)event.data.u64);
    event = (struct epoll_event){.events = EPOLLIN, .data.ptr = &a};
    epoll_ctl(epfd, EPOLL_CTL_MOD, b, &event);
    epoll_wait(epfd, &event, 1, 2000);
    say(" pointer=%d", event.data.ptr == &a);
    say_result("max", epoll_wait(epfd, &event, 0, 0));
}

static void epoll_edge(void)
{
    int a, b, epfd = epoll_create1(0);
    char text[8];
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLIN | EPOLLET);
    send(a, "xy", 2, 0);
    say_wait("data", epfd, 2000);
    say_wait("again", epfd, 0);
    recv(b, text, 1, 0);
    say_wait("partly", epfd, 0);
    send(a, "z", 1, 0);
    say_wait("more", epfd, 2000);
    say_wait("again", epfd, 0);
    watch(epfd, EPOLL_CTL_MOD, b, EPOLLIN | EPOLLET);
    say_wait("mod", epfd, 0);
    recv(b, text, 8, 0);
    say_wait("empty", epfd, 0);
    shutdown(a, SHUT_WR);
    say_wait("fin", epfd, 2000);
    say_wait("again", epfd, 0);
}

static void epoll_edge_out(void)
{
    int a, b, epfd = epoll_create1(0);
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, a, EPOLLOUT | EPOLLET);
    say_wait("first", epfd, 0);
    say_wait("again", epfd, 0);
    send(a, "x", 1, 0);
    say_wait("sent", epfd, 20);
    fill(a);
    say_wait("full", epfd, 20);
    drain_all(b);
    poll_for(b, POLLIN, 100);
    drain_all(b);
    say_wait("room", epfd, 2000);
    say_wait("again", epfd, 0);
}

/* A connected datagram socket whose peer is gone. */
static int nobodys_peer(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b);
    close(b);
    must(connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    return a;
}

/* Each error is an edge, also one that equals the last. */
static void epoll_edge_error(void)
{
    int a = nobodys_peer(), epfd = epoll_create1(0);
    watch(epfd, EPOLL_CTL_ADD, a, EPOLLIN | EPOLLET);
    say_wait("none", epfd, 0);
    for (int round = 0; round < 3; round++) {
        say_result("send", send(a, "x", 1, 0));
        say_wait("error", epfd, 2000);
        say_wait("again", epfd, 0);
        say_error("which", a);
    }
    say_result("send", send(a, "x", 1, 0));
    say_wait("error", epfd, 2000);
    say_result("refused", send(a, "x", 1, 0));
    say_wait("taken", epfd, 0);
    say_result("send", send(a, "x", 1, 0));
    say_wait("error", epfd, 2000);
}

/* Those of the queue, too: when they come, and one that comes to its head. */
static void epoll_edge_error_queue(void)
{
    int a = nobodys_peer(), epfd = epoll_create1(0);
    char text[8];
    set_int(a, IPPROTO_IP, IP_RECVERR, 1);
    watch(epfd, EPOLL_CTL_ADD, a, EPOLLIN | EPOLLET);
    for (int round = 0; round < 2; round++) {
        say_result("send", send(a, "x", 1, 0));
        say_wait("error", epfd, 2000);
        say_error("which", a);
        say_wait("queued", epfd, 0);
    }
    say_result("first", recv(a, text, sizeof(text), MSG_ERRQUEUE | MSG_DONTWAIT));
    say_wait("next", epfd, 0);
    say_result("second", recv(a, text, sizeof(text), MSG_ERRQUEUE | MSG_DONTWAIT));
    say_wait("empty", epfd, 0);
}

static void epoll_edge_refused(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), other = bound(SOCK_STREAM);
    int epfd = epoll_create1(0);
    struct sockaddr_in addr = name_of(other);
    close(other);
    for (int round = 0; round < 3; round++) {
        say_ok("connect", connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
        if (round == 0)
            watch(epfd, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLET);
        if (round != 1) /* it is only told of the one before */
            say_wait("refused", epfd, 2000);
        say_error("which", fd);
    }
}

static void epoll_one_shot(void)
{
    int a, b, epfd = epoll_create1(0);
    char byte;
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLIN | EPOLLONESHOT);
    send(a, "xy", 2, 0);
    say_wait("data", epfd, 2000);
    say_wait("disabled", epfd, 20);
    recv(b, &byte, 1, 0);
    watch(epfd, EPOLL_CTL_MOD, b, EPOLLIN | EPOLLONESHOT);
    say_wait("rearmed", epfd, 0);
    recv(b, &byte, 1, 0);
    watch(epfd, EPOLL_CTL_MOD, b, EPOLLIN | EPOLLONESHOT);
    say_wait("empty", epfd, 0);
    shutdown(a, SHUT_WR);
    say_wait("fin", epfd, 2000);
}

static void epoll_hang_up(void)
{
    int a, b, epfd = epoll_create1(0);
    struct linger linger = {.l_onoff = 1};
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLRDHUP);
    say_wait("none", epfd, 0);
    close(a);
    say_wait("fin", epfd, 2000);
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, b, 0);
    setsockopt(a, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(a);
    say(" reset:");
    struct epoll_event event = {0};
    while (epoll_wait(epfd, &event, 1, 2000) == 1 && (event.events & EPOLLHUP) == 0)
        ;
    say_bits("bits", event.events);
}

static void epoll_fresh(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), epfd = epoll_create1(0);
    watch(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT);
    say_wait("fresh", epfd, 0);
    int listening = listener(4);
    struct sockaddr_in addr = name_of(listening);
    must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    say_wait("connected", epfd, 2000);
}

static void epoll_listener(void)
{
    int epfd = epoll_create1(0), listening = listener(4);
    watch(epfd, EPOLL_CTL_ADD, listening, EPOLLIN);
    say_wait("none", epfd, 0);
    int a = connected_to(listening);
    say_wait("one", epfd, 2000);
    say_wait("again", epfd, 0);
    close(accept(listening, NULL, NULL));
    say_wait("none", epfd, 0);
    close(a);
}

/* Registered first, listening later, as nodejs and others do. */
static void epoll_before_listen(void)
{
    int epfd = epoll_create1(0), fd = bound(SOCK_STREAM);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77};
    epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
    listen(fd, 4);
    /* The kernel has told of the hang-up state once; what counts comes after. */
    while (epoll_wait(epfd, &event, 1, 20) == 1)
        ;
    int a = connected_to(fd);
    event.data.u64 = 0;
    say_result("one", epoll_wait(epfd, &event, 1, 2000));
    say_bits("bits", event.events);
    say(" data=%d", (int)event.data.u64);
    close(accept(fd, NULL, NULL));
    say_result("none", epoll_wait(epfd, &event, 1, 0));
    close(a);
    connected_to(fd);
    say_result("one", epoll_wait(epfd, &event, 1, 2000));
    say_ok("mod", watch(epfd, EPOLL_CTL_MOD, fd, EPOLLOUT));
    say_wait("none", epfd, 0);
    say_ok("del", watch(epfd, EPOLL_CTL_DEL, fd, 0));
}

static void epoll_after_close(void)
{
    int a, b, epfd = epoll_create1(0);
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLOUT);
    int copy = dup(b);
    close(b);
    say_wait("duplicate-open", epfd, 0);
    close(copy);
    say_wait("closed", epfd, 0);
    stream_pair(&a, &b);
    say_ok("reused", watch(epfd, EPOLL_CTL_ADD, b, EPOLLOUT));
    say_wait("reused", epfd, 0);
}

static void epoll_duplicate(void)
{
    int a, b, epfd = epoll_create1(0);
    stream_pair(&a, &b);
    int copy = dup(b);
    say_ok("first", watch(epfd, EPOLL_CTL_ADD, b, EPOLLIN));
    say_ok("second", watch(epfd, EPOLL_CTL_ADD, copy, EPOLLIN));
    int other = dup(epfd);
    say_ok("by-copy", watch(other, EPOLL_CTL_ADD, a, EPOLLOUT));
    send(a, "x", 1, 0);
    poll_for(b, POLLIN, 2000);
    struct epoll_event events[8];
    say_result("events", epoll_wait(other, events, 8, 0));
    close(epfd);
    say_result("events", epoll_wait(other, events, 8, 0));
}

static void epoll_more_than_max(void)
{
    int a[6], b[6], epfd = epoll_create1(0);
    for (int i = 0; i < 6; i++) {
        stream_pair(&a[i], &b[i]);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epfd, EPOLL_CTL_ADD, b[i], &event);
        send(a[i], "x", 1, 0);
        poll_for(b[i], POLLIN, 2000);
    }
    /* Nobody starves. */
    unsigned seen = 0;
    for (int round = 0; round < 3; round++) {
        struct epoll_event events[2];
        int count = epoll_wait(epfd, events, 2, 0);
        say(" %d", count);
        for (int i = 0; i < count; i++)
            seen |= 1u << events[i].data.u32;
    }
    say(" seen=%x", seen);
}

static void epoll_pollable(void)
{
    int a, b, epfd = epoll_create1(0);
    stream_pair(&a, &b);
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLIN);
    struct epoll_event event;
    epoll_wait(epfd, &event, 1, 0);
    say_bits("none", (uint32_t)poll_for(epfd, POLLIN, 0));
    send(a, "x", 1, 0);
    say_bits("data", (uint32_t)poll_for(epfd, POLLIN, 2000));
    say_result("wait", epoll_wait(epfd, &event, 1, 0));
    say_bits("still", (uint32_t)poll_for(epfd, POLLIN, 0));
}

static void epoll_nested(void)
{
    int a, b, inner = epoll_create1(0), outer = epoll_create1(0);
    struct epoll_event event;
    stream_pair(&a, &b);
    watch(inner, EPOLL_CTL_ADD, b, EPOLLIN);
    epoll_wait(inner, &event, 1, 0);
    say_ok("nest", watch(outer, EPOLL_CTL_ADD, inner, EPOLLIN));
    say_wait("none", outer, 0);
    send(a, "x", 1, 0);
    say_wait("outer", outer, 2000);
    say_wait("inner", inner, 0);
    say_wait("still", outer, 0);
}

struct waiter {
    int epfd, count;
    struct epoll_event event;
};

static void *wait_thread(void *argument)
{
    struct waiter *waiter = argument;
    waiter->count = epoll_wait(waiter->epfd, &waiter->event, 1, 5000);
    return NULL;
}

static pthread_t start_waiter(struct waiter *waiter, int epfd)
{
    *waiter = (struct waiter){.epfd = epfd};
    return start_asleep(wait_thread, waiter);
}

/* A registration made, or armed again, while another thread sleeps. */
static void epoll_control_while_asleep(void)
{
    int a, b, epfd = epoll_create1(0);
    pthread_t thread;
    struct waiter waiter;
    stream_pair(&a, &b);
    thread = start_waiter(&waiter, epfd);
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLOUT);
    pthread_join(thread, NULL);
    say(" add=%d", waiter.count);
    watch(epfd, EPOLL_CTL_MOD, b, 0);
    thread = start_waiter(&waiter, epfd);
    watch(epfd, EPOLL_CTL_MOD, b, EPOLLOUT | EPOLLONESHOT);
    pthread_join(thread, NULL);
    say(" mod=%d", waiter.count);
}

/* One thread is away with an event; data for another socket must wake the one that sleeps. */
static void epoll_two_threads(void)
{
    int a[2], b[2], epfd = epoll_create1(0);
    pthread_t thread;
    struct waiter waiter;
    struct epoll_event event;
    for (int i = 0; i < 2; i++) {
        stream_pair(&a[i], &b[i]);
        event = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = b[i]};
        epoll_ctl(epfd, EPOLL_CTL_ADD, b[i], &event);
    }
    send(a[0], "x", 1, 0);
    say_result("first", epoll_wait(epfd, &event, 1, 2000));
    thread = start_waiter(&waiter, epfd);
    send(a[0], "x", 1, 0);
    pthread_join(thread, NULL);
    say(" same=%d", waiter.count == 1 && waiter.event.data.fd == b[0]);
    thread = start_waiter(&waiter, epfd);
    send(a[1], "x", 1, 0);
    pthread_join(thread, NULL);
    say(" other=%d", waiter.count == 1 && waiter.event.data.fd == b[1]);
}

static void epoll_two_epolls(void)
{
    int a, b, one = epoll_create1(0), two = epoll_create1(0);
    char byte;
    stream_pair(&a, &b);
    watch(one, EPOLL_CTL_ADD, b, EPOLLIN);
    watch(two, EPOLL_CTL_ADD, b, EPOLLIN);
    for (int round = 0; round < 40; round++) {
        struct epoll_event event;
        send(a, "x", 1, 0);
        int first = epoll_wait(one, &event, 1, 2000), second = epoll_wait(two, &event, 1, 2000);
        recv(b, &byte, 1, 0);
        if (first != 1 || second != 1)
            say(" round %d: %d %d", round, first, second);
    }
    say_wait("one", one, 0);
    say_wait("two", two, 0);
}

static void epoll_mixed(void)
{
    int a, b, pipes[2], epfd = epoll_create1(0);
    struct epoll_event events[4];
    stream_pair(&a, &b);
    if (pipe(pipes) != 0 || write(pipes[1], "x", 1) != 1)
        fail("pipe");
    watch(epfd, EPOLL_CTL_ADD, b, EPOLLOUT);
    watch(epfd, EPOLL_CTL_ADD, pipes[0], EPOLLIN);
    /* The socket is always ready; the pipe must come through all the same. */
    bool has_pipe = false;
    for (int i = 0; i < 1000 && !has_pipe; i++) {
        int count = epoll_wait(epfd, events, 4, 1000);
        for (int j = 0; j < count; j++)
            has_pipe |= (events[j].events & EPOLLIN) != 0;
    }
    say(" pipe=%d", has_pipe);
}

/* All are ready at one wait, which tells of them in the order in which they became so. */
static void epoll_order(void)
{
    enum { COUNT = 5, ROUNDS = 40 };
    int a[COUNT], b[COUNT], epfd = epoll_create1(0), in_order = 0;
    struct epoll_event events[COUNT];
    for (int i = 0; i < COUNT; i++) {
        stream_pair(&a[i], &b[i]);
        events[0] = (struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.fd = b[i]};
        must(epoll_ctl(epfd, EPOLL_CTL_ADD, b[i], &events[0]));
    }
    for (int round = 0; round < ROUNDS; round++) {
        int order[COUNT];
        bool is_last = round == ROUNDS - 1, is_same = true;
        for (int i = 0; i < COUNT; i++) {
            order[i] = (round + i * (round % (COUNT - 1) + 1)) % COUNT;
            if (is_last && i == 1)
                shutdown(a[order[i]], SHUT_WR);
            else if (is_last && i == 2)
                close(a[order[i]]);
            else
                send(a[order[i]], "x", 1, 0);
            poll_for(b[order[i]], POLLIN, 1000);
        }
        int count = epoll_wait(epfd, events, COUNT, 1000);
        for (int i = 0; i < COUNT; i++) {
            char byte;
            is_same &= i < count && events[i].data.fd == b[order[i]];
            recv(b[i], &byte, 1, MSG_DONTWAIT);
        }
        in_order += is_same;
        /* What it has reported the kernel reports first until a wait has found it quiet. */
        if (!is_last && epoll_wait(epfd, events, COUNT, 0) != 0)
            say(" round %d: not quiet", round);
    }
    say(" in_order=%d of %d", in_order, ROUNDS);
}

static const struct semantics_case cases[] = {
    {"poll_states", poll_states},
    {"poll_udp", poll_udp},
    {"poll_mixed", poll_mixed},
    {"poll_timeout", poll_timeout},
    {"ppoll_mask", ppoll_mask},
    {"select_bits", select_bits},
    {"poll_wakes_all", poll_wakes_all},
    {"epoll_level", epoll_level},
    {"epoll_data", epoll_data},
    {"epoll_edge", epoll_edge},
    {"epoll_edge_out", epoll_edge_out},
    {"epoll_edge_error", epoll_edge_error},
    {"epoll_edge_error_queue", epoll_edge_error_queue},
    {"epoll_edge_refused", epoll_edge_refused},
    {"epoll_one_shot", epoll_one_shot},
    {"epoll_hang_up", epoll_hang_up},
    {"epoll_fresh", epoll_fresh},
    {"epoll_listener", epoll_listener},
    {"epoll_before_listen", epoll_before_listen},
    {"epoll_after_close", epoll_after_close},
    {"epoll_duplicate", epoll_duplicate},
    {"epoll_more_than_max", epoll_more_than_max},
    {"epoll_pollable", epoll_pollable},
    {"epoll_nested", epoll_nested},
    {"epoll_control_while_asleep", epoll_control_while_asleep},
    {"epoll_two_threads", epoll_two_threads},
    {"epoll_two_epolls", epoll_two_epolls},
    {"epoll_mixed", epoll_mixed},
    {"epoll_order", epoll_order},
};

SEMANTICS_MAIN(cases)
