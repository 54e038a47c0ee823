/*
 * UDP between sockets that talk a lot: under foyer their datagrams no longer pass foyerd
 * (docs/decisions/0007), and nobody may notice. See semantics.h.
 */
#define _GNU_SOURCE

#include "semantics.h"

#define WARM 40 /* more than it takes until a ring is made */

static ssize_t send_to(int fd, const void *bytes, size_t size, const struct sockaddr_in *addr)
{
    return sendto(fd, bytes, size, 0, (const struct sockaddr *)addr, sizeof(*addr));
}

/* Back and forth, so that both directions are warm. How many came right. */
static int ping_pong(int a, int b, int count)
{
    struct sockaddr_in addr_a = name_of(a), addr_b = name_of(b);
    int good = 0, number;
    for (int i = 0; i < count; i++) {
        if (send_to(a, &i, sizeof(i), &addr_b) == sizeof(i) &&
            recv(b, &number, sizeof(number), 0) == sizeof(number) && number == i &&
            send_to(b, &i, sizeof(i), &addr_a) == sizeof(i) &&
            recv(a, &number, sizeof(number), 0) == sizeof(number) && number == i)
            good++;
    }
    return good;
}

static void pair(int *a, int *b)
{
    *a = bound(SOCK_DGRAM);
    *b = bound(SOCK_DGRAM);
    if (ping_pong(*a, *b, WARM) != WARM)
        fail("warming up");
}

static void sizes(void)
{
    static char bytes[70000], got[70000];
    static const int all[] = {0, 1, 7, 8, 9, 63, 1472, 65506, 65507};
    int a, b;
    pair(&a, &b);
    struct sockaddr_in addr = name_of(b);
    for (int round = 0; round < 20; round++) { /* some times round the ring */
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
            memset(bytes, round + (int)i, sizeof(bytes));
            struct iovec parts[3] = {{bytes, (size_t)all[i] / 3},
                                     {bytes, 0},
                                     {bytes, (size_t)all[i] - (size_t)all[i] / 3}};
            struct msghdr message = {
                .msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = parts, .msg_iovlen = 3};
            ssize_t sent = sendmsg(a, &message, 0), size = recv(b, got, sizeof(got), 0);
            if (sent != all[i] || size != sent || memcmp(bytes, got, (size_t)size) != 0)
                say(" [%d: %zd %zd]", all[i], sent, size);
        }
    }
    say_result("larger", send_to(a, bytes, 65508, &addr));
    say_result("none", recv(b, got, sizeof(got), MSG_DONTWAIT));
}

static void source_is_told(void)
{
    int a, b;
    char byte;
    pair(&a, &b);
    struct sockaddr_in from, own = name_of(a), addr = name_of(b);
    socklen_t size = sizeof(from);
    send_to(a, "x", 1, &addr);
    say_result("recv", recvfrom(b, &byte, 1, 0, (struct sockaddr *)&from, &size));
    say(" same=%d size=%u", memcmp(&from, &own, 8) == 0, size);
}

static void looks(void)
{
    int a, b, count;
    char text[16];
    pair(&a, &b);
    struct sockaddr_in addr = name_of(b);
    say_poll("before", b);
    send_to(a, "12345", 5, &addr);
    send_to(a, "abc", 3, &addr);
    say_poll("after", b);
    ioctl(b, FIONREAD, &count);
    say(" next=%d", count);
    say_result("peek", recv(b, text, sizeof(text), MSG_PEEK));
    say_result("cut", recv(b, text, 2, 0));
    ioctl(b, FIONREAD, &count);
    say(" next=%d", count);
    say_result("peek", recv(b, text, 2, MSG_PEEK | MSG_TRUNC));
    say_result("trunc", recv(b, text, 2, MSG_TRUNC));
    say_result("none", recv(b, text, 2, MSG_DONTWAIT));
    ioctl(b, FIONREAD, &count);
    say(" next=%d", count);
}

/* One thread sends with several sockets by turns: what is sent later comes later. */
static void order_of_senders(void)
{
    int a[3], b = bound(SOCK_DGRAM), wrong = 0;
    struct sockaddr_in addr = name_of(b);
    for (int i = 0; i < 3; i++) {
        a[i] = bound(SOCK_DGRAM);
        if (ping_pong(a[i], b, WARM) != WARM)
            fail("warming up");
    }
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 12; i++)
            send_to(a[(i * 7 + round) % 3], &i, sizeof(i), &addr);
        for (int i = 0; i < 12; i++) {
            int number = -1;
            if (recv(b, &number, sizeof(number), 0) != sizeof(number) || number != i)
                wrong++;
        }
    }
    say(" wrong=%d", wrong);
}

/* While the way changes under it, too. */
static void order_of_one(void)
{
    int wrong = 0;
    for (int round = 0; round < 20; round++) {
        int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), number;
        struct sockaddr_in addr = name_of(b);
        for (int i = 0; i < 60; i++)
            send_to(a, &i, sizeof(i), &addr);
        for (int i = 0; i < 60; i++) {
            if (recv(b, &number, sizeof(number), 0) != sizeof(number) || number != i)
                wrong++;
        }
        close(a);
        close(b);
    }
    say(" wrong=%d", wrong);
}

/* A connected socket takes from its peer alone. */
static void receiver_connects(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM), c = bound(SOCK_DGRAM);
    char text[16];
    struct sockaddr_in addr = name_of(b), addr_c = name_of(c);
    /* A port that was asked for by its number outlasts a connection. */
    close(b);
    b = socket(AF_INET, SOCK_DGRAM, 0);
    must(bind(b, (struct sockaddr *)&addr, sizeof(addr)));
    if (ping_pong(a, b, WARM) != WARM)
        fail("warming up");
    send_to(a, "1", 1, &addr);
    say_ok("connect", connect(b, (struct sockaddr *)&addr_c, sizeof(addr_c)));
    say_result("earlier", recv(b, text, sizeof(text), 0));
    send_to(a, "stranger", 8, &addr);
    send_to(c, "friend", 6, &addr);
    say_result("recv", recv(b, text, sizeof(text), 0));
    say_result("none", recv(b, text, sizeof(text), MSG_DONTWAIT));
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    say_ok("dissolve", connect(b, &nobody, sizeof(nobody)));
    send_to(a, "welcome", 7, &addr);
    say_result("recv", recv(b, text, sizeof(text), 0));
}

static void another_takes_the_port(void)
{
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in addr = name_of(b), addr_a = name_of(a);
    char byte;
    if (ping_pong(a, b, WARM) != WARM)
        fail("warming up");
    must(connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    must(connect(b, (struct sockaddr *)&addr_a, sizeof(addr_a)));
    for (int i = 0; i < WARM; i++) {
        if (send(a, "x", 1, 0) != 1 || recv(b, &byte, 1, 0) != 1)
            fail("connected");
    }
    close(b);
    say_result("send", send(a, "x", 1, 0));
    say_bits("poll", (uint32_t)poll_for(a, 0, 2000));
    say_result("recv", recv(a, &byte, 1, MSG_DONTWAIT));
    int c = socket(AF_INET, SOCK_DGRAM, 0);
    say_ok("bind", bind(c, (struct sockaddr *)&addr, sizeof(addr)));
    for (int i = 0; i < WARM; i++) {
        if (send(a, "x", 1, 0) != 1 || recv(c, &byte, 1, 0) != 1)
            fail("the next");
    }
    /* A socket that is connected to us comes before one that is only bound. */
    int d = socket(AF_INET, SOCK_DGRAM, 0);
    set_int(c, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(d, SOL_SOCKET, SO_REUSEADDR, 1);
    say_ok("bind", bind(d, (struct sockaddr *)&addr, sizeof(addr)));
    say_ok("connect", connect(d, (struct sockaddr *)&addr_a, sizeof(addr_a)));
    say_result("send", send(a, "x", 1, 0));
    say_result("recv", recv(d, &byte, 1, 0));
    say_result("none", recv(c, &byte, 1, MSG_DONTWAIT));
}

/* What was sent is there, though its sender is not. */
static void sender_leaves(void)
{
    int b = bound(SOCK_DGRAM), total = 0, number;
    struct sockaddr_in addr = name_of(b);
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        if (child == 0) {
            int a = bound(SOCK_DGRAM);
            for (int i = 0; i < 100; i++)
                send_to(a, &i, sizeof(i), &addr);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        int wrong = 0;
        for (int i = 0; i < 100; i++)
            wrong += recv(b, &number, sizeof(number), 0) != sizeof(number) || number != i;
        total += 100 - wrong;
    }
    say(" got=%d", total);
}

/* Two processes send with one socket to two that read from one. */
static void shared(void)
{
    int a, b, counts[2] = {0, 0}, results[2];
    char byte;
    pair(&a, &b);
    struct sockaddr_in addr = name_of(b);
    must(pipe(results));
    pid_t reader = fork();
    if (reader == 0) {
        int count = 0;
        while (recv(b, &byte, 1, 0) == 1 && byte != 'q')
            count++;
        must((int)write(results[1], &count, sizeof(count)));
        _exit(0);
    }
    pid_t writer = fork();
    if (writer == 0) {
        for (int i = 0; i < 100; i++)
            send_to(a, "x", 1, &addr);
        _exit(0);
    }
    waitpid(writer, NULL, 0);
    for (int i = 0; i < 50; i++)
        send_to(a, "y", 1, &addr);
    send_to(a, "q", 1, &addr);
    send_to(a, "q", 1, &addr);
    while (recv(b, &byte, 1, 0) == 1 && byte != 'q')
        counts[0]++;
    must((int)read(results[0], &counts[1], sizeof(counts[1])));
    say(" both=%d", counts[0] + counts[1]);
}

/* Only some fit, and those are the first. */
static void full_queue(void)
{
    int a, b, count = 0, number, expected = 0;
    pair(&a, &b);
    struct sockaddr_in addr = name_of(b);
    set_int(b, SOL_SOCKET, SO_RCVBUF, 4096);
    char bytes[1000];
    for (int i = 0; i < 100000; i++) {
        memcpy(bytes, &i, sizeof(i));
        if (send_to(a, bytes, sizeof(bytes), &addr) != sizeof(bytes))
            count++;
    }
    say(" failed=%d", count);
    count = 0;
    while (recv(b, bytes, sizeof(bytes), MSG_DONTWAIT) == sizeof(bytes)) {
        memcpy(&number, bytes, sizeof(number));
        expected += number == count++;
    }
    say(" some=%d few=%d first=%d", count > 0, count < 50, expected == count);
    /* There is room again. */
    say_result("send", send_to(a, bytes, 1, &addr));
    say_result("recv", recv(b, bytes, sizeof(bytes), 0));
}

/* Each only when the main thread sleeps. */
static void *send_later(void *context)
{
    const int *fds = context;
    struct sockaddr_in addr = name_of(fds[1]);
    for (int i = 0; i < 20; i++) {
        wait_asleep(getpid(), getpid());
        send_to(fds[0], &i, sizeof(i), &addr);
    }
    return NULL;
}

/* Those who sleep are woken, however they sleep. */
static void sleepers(void)
{
    for (int how = 0; how < 4; how++) {
        int fds[2], number, good = 0;
        pthread_t thread;
        pair(&fds[0], &fds[1]);
        int epoll = epoll_create1(0);
        struct epoll_event event = {.events = EPOLLIN | (how == 2 ? EPOLLET : 0u)};
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[1], &event));
        pthread_create(&thread, NULL, send_later, fds);
        for (int i = 0; i < 20; i++) {
            int flags = how < 3 ? MSG_DONTWAIT : 0;
            ssize_t size;
            /* Where two come at once there is one edge: first take, then wait. */
            while ((size = recv(fds[1], &number, sizeof(number), flags)) < 0 && errno == EAGAIN) {
                if (how == 0)
                    must(poll_for(fds[1], POLLIN, 9000));
                else
                    must(epoll_wait(epoll, &event, 1, 9000));
            }
            good += size == sizeof(number) && number == i;
        }
        pthread_join(thread, NULL);
        say(" %d", good);
        close(epoll);
    }
}

/* An edge for each datagram, none without. */
static void edges(void)
{
    int a, b, number, count = 0;
    pair(&a, &b);
    struct sockaddr_in addr = name_of(b);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, b, &event));
    for (int i = 0; i < 20; i++) {
        send_to(a, &i, sizeof(i), &addr);
        count += epoll_wait(epoll, &event, 1, 2000);
        count += epoll_wait(epoll, &event, 1, 0) * 1000;
    }
    while (recv(b, &number, sizeof(number), MSG_DONTWAIT) > 0)
        count += 10000;
    count += epoll_wait(epoll, &event, 1, 0) * 1000;
    say(" count=%d", count);
}

#define ASKERS 4
#define QUESTIONS 300

static void *answer_all(void *context)
{
    int fd = *(int *)context;
    for (;;) {
        struct sockaddr_in from;
        socklen_t size = sizeof(from);
        int number;
        ssize_t got = recvfrom(fd, &number, sizeof(number), 0, (struct sockaddr *)&from, &size);
        if (got != sizeof(number) || number < 0)
            return NULL;
        send_to(fd, &number, sizeof(number), &from);
    }
}

static void *ask_all(void *context)
{
    struct sockaddr_in addr = *(struct sockaddr_in *)context;
    struct timeval patience = {.tv_sec = 3};
    int fd = bound(SOCK_DGRAM);
    intptr_t good = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    for (int i = 0; i < QUESTIONS; i++) {
        int number = -1;
        send_to(fd, &i, sizeof(i), &addr);
        if (recv(fd, &number, sizeof(number), 0) == sizeof(number) && number == i)
            good++;
        else
            break;
    }
    close(fd);
    return (void *)good; /* NOLINT(performance-no-int-to-ptr) */
}

/* Several threads serve one socket. */
static void threads(void)
{
    int fd = bound(SOCK_DGRAM), end = -1;
    struct sockaddr_in addr = name_of(fd);
    pthread_t servers[3], askers[ASKERS];
    intptr_t total = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&servers[i], NULL, answer_all, &fd);
    for (int i = 0; i < ASKERS; i++)
        pthread_create(&askers[i], NULL, ask_all, &addr);
    for (int i = 0; i < ASKERS; i++) {
        void *good;
        pthread_join(askers[i], &good);
        total += (intptr_t)good;
    }
    int last = bound(SOCK_DGRAM);
    for (int i = 0; i < 3; i++)
        send_to(last, &end, sizeof(end), &addr);
    for (int i = 0; i < 3; i++)
        pthread_join(servers[i], NULL);
    say(" answers=%ld", (long)total);
}

/* More talkative peers than there are rings. */
static void many_peers(void)
{
    static int fds[150];
    int b = bound(SOCK_DGRAM), good = 0;
    for (int i = 0; i < 150; i++)
        fds[i] = bound(SOCK_DGRAM);
    for (int i = 0; i < 150; i++)
        good += ping_pong(fds[i], b, 20);
    for (int i = 0; i < 150; i++)
        good += ping_pong(fds[i], b, 4);
    say(" good=%d", good);
}

static void names_of_both_kinds(void)
{
    int a = socket(AF_INET6, SOCK_DGRAM, 0), b = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6}, from, addr;
    socklen_t size = sizeof(addr);
    char text[64];
    int number;
    must(bind(b, (struct sockaddr *)&any, sizeof(any)));
    must(getsockname(b, (struct sockaddr *)&addr, &size));
    static const char *const ways[] = {"::1", "::ffff:127.0.0.1"};
    for (int way = 0; way < 2; way++) {
        inet_pton(AF_INET6, ways[way], &addr.sin6_addr);
        for (int i = 0; i < WARM; i++) {
            size = sizeof(from);
            sendto(a, &i, sizeof(i), 0, (struct sockaddr *)&addr, sizeof(addr));
            if (recvfrom(b, &number, sizeof(number), 0, (struct sockaddr *)&from, &size) !=
                    sizeof(number) ||
                number != i)
                fail("recv");
        }
        say(" from=%s size=%u", inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof(text)), size);
    }
}

static const struct semantics_case cases[] = {
    {"sizes", sizes},
    {"source_is_told", source_is_told},
    {"looks", looks},
    {"order_of_senders", order_of_senders},
    {"order_of_one", order_of_one},
    {"receiver_connects", receiver_connects},
    {"another_takes_the_port", another_takes_the_port},
    {"sender_leaves", sender_leaves},
    {"shared", shared},
    {"full_queue", full_queue},
    {"sleepers", sleepers},
    {"edges", edges},
    {"threads", threads},
    {"many_peers", many_peers},
    {"names_of_both_kinds", names_of_both_kinds},
};

SEMANTICS_MAIN(cases)
