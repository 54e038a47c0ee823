/*
 * SO_SNDBUF and SO_RCVBUF: how much a connection holds, and who waits for room. The kernel counts
 * its packets' memory, too, so that the answers are whether it is little or much.
 */
#define _GNU_SOURCE

#include "semantics.h"

#define SMALL 4096
#define LITTLE (64 * 1024) /* of what two small buffers hold, and with much to spare */

static void set_buffer(int fd, int name, int size)
{
    set_int(fd, SOL_SOCKET, name, size);
}

/* a connected, b accepted; both with small buffers where it matters for what a sends. */
static void small_pair(int *a, int *b)
{
    int listening = listener(8);
    set_buffer(listening, SO_RCVBUF, SMALL);
    *a = connected_to(listening);
    *b = accept(listening, NULL, NULL);
    if (*b < 0)
        fail("accept");
    set_buffer(*a, SO_SNDBUF, SMALL);
    close(listening);
}

static void say_amount(const char *name, long bytes)
{
    say(" %s=%s", name,
        bytes < 0         ? "error"
        : bytes == 0      ? "none"
        : bytes <= LITTLE ? "little"
                          : "much");
}

static void small_buffers_hold_little(void)
{
    int a, b;
    small_pair(&a, &b);
    say_amount("filled", fill(a));
    say_poll("full", a);
    say_result("more", send(a, "x", 1, MSG_DONTWAIT));
    say_amount("read", drain_all(b));
    say_bits("waited", (uint32_t)poll_for(a, POLLOUT, 2000));
    say_amount("again", fill(a));
}

static void small_before_connect(void)
{
    int listening = listener(8);
    set_buffer(listening, SO_RCVBUF, SMALL);
    struct sockaddr_in addr = name_of(listening);
    int a = socket(AF_INET, SOCK_STREAM, 0);
    set_buffer(a, SO_SNDBUF, SMALL);
    must(connect(a, (struct sockaddr *)&addr, sizeof(addr)));
    int b = accept(listening, NULL, NULL);
    must(b);
    say_amount("filled", fill(a));
    say_amount("other_way", fill(b));
}

static void small_one_side_only(void)
{
    int a, b;
    stream_pair(&a, &b);
    set_buffer(a, SO_RCVBUF, SMALL);
    say_amount("receiver", fill(b));
    stream_pair(&a, &b);
    say_amount("default", fill(a));
}

/* After the connection, as for any other. */
static void next_connection_is_not_small(void)
{
    int listening = listener(8), a, b;
    for (int i = 0; i < 3; i++) {
        a = connected_to(listening);
        b = accept(listening, NULL, NULL);
        if (i < 2) {
            set_buffer(a, SO_SNDBUF, SMALL);
            set_buffer(b, SO_RCVBUF, SMALL);
        }
        say_amount("filled", fill(a));
        drain_all(b);
        close(a);
        close(b);
    }
}

/* A larger buffer makes room at once. */
static void larger_buffer_makes_room(void)
{
    int a, b;
    small_pair(&a, &b);
    fill(a);
    say_bits("full", (uint32_t)poll_for(a, POLLOUT, 0));
    set_buffer(a, SO_SNDBUF, 100000);
    say_bits("larger", (uint32_t)poll_for(a, POLLOUT, 0));
    int value = 0;
    socklen_t size = sizeof(value);
    getsockopt(a, SOL_SOCKET, SO_SNDBUF, &value, &size);
    say(" value=%d", value);
    say_amount("filled", fill(a));
}

struct job {
    int fd;
    ssize_t sent;
};

static char payload[200000];

static void *write_all(void *context)
{
    struct job *job = context;
    job->sent = send(job->fd, payload, sizeof(payload), 0);
    return NULL;
}

static void writer_waits_for_the_reader(void)
{
    int a, b;
    struct job job = {0};
    small_pair(&a, &b);
    job.fd = a;
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (char)(i * 7 + i / 256);
    pthread_t thread = start_asleep(write_all, &job);
    static char received[sizeof(payload)];
    size_t count = 0;
    while (count < sizeof(received)) {
        ssize_t size = recv(b, received + count, sizeof(received) - count, 0);
        if (size <= 0)
            fail("recv");
        count += (size_t)size;
    }
    pthread_join(thread, NULL);
    say(" sent=%zd same=%d", job.sent, memcmp(received, payload, sizeof(payload)) == 0);
}

static void writer_is_woken_by_a_larger_buffer(void)
{
    int a, b;
    struct job job = {0};
    small_pair(&a, &b);
    job.fd = a;
    pthread_t thread = start_asleep(write_all, &job);
    set_buffer(a, SO_SNDBUF, 400000);
    pthread_join(thread, NULL);
    say(" sent=%zd", job.sent);
}

/* What a reader waits for is never more than there can be. */
static void reader_of_more_than_fits(void)
{
    int a, b;
    pthread_t thread;
    struct job job = {0};
    static char received[sizeof(payload)];
    small_pair(&a, &b);
    job.fd = a;
    must(-pthread_create(&thread, NULL, write_all, &job));
    say_result("waitall", recv(b, received, sizeof(received), MSG_WAITALL));
    pthread_join(thread, NULL);
    say(" sent=%zd", job.sent);
}

static void edge_after_room(void)
{
    int a, b, epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    small_pair(&a, &b);
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, a, &event));
    say_result("first", epoll_wait(epoll, &event, 1, 1000));
    fill(a);
    say_result("full", epoll_wait(epoll, &event, 1, 50));
    drain_all(b);
    say_result("drained", epoll_wait(epoll, &event, 1, 2000));
}

/* The kernel takes what fits before it hears that nobody is there. */
static void peer_gone_takes_what_fits(void)
{
    int a, b;
    static char bytes[1000000];
    small_pair(&a, &b);
    close(b);
    say_amount("sent", send(a, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT));
    say_result("again", send(a, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT));
}

static void sendfile_stops_where_the_peer_is_gone(void)
{
    int a, b;
    FILE *file = tmpfile();
    must(ftruncate(fileno(file), 1000000));
    small_pair(&a, &b);
    set_nonblocking(a);
    say_amount("filled", sendfile(a, fileno(file), NULL, 1000000));
    say_amount("position", lseek(fileno(file), 0, SEEK_CUR));
    drain_all(b);
    close(b);
    signal(SIGPIPE, SIG_IGN);
    (void)!sendfile(a, fileno(file), NULL, 1000000); /* an error, where it did not fit at once */
    say_amount("position", lseek(fileno(file), 0, SEEK_CUR));
    fclose(file);
}

/* The peer closes what it did not read: it is known when close() returns. */
static void reset_is_known_at_once(void)
{
    for (int i = 0; i < 3; i++) {
        int a, b;
        char byte;
        stream_pair(&a, &b);
        must((int)send(a, "unread", 6, 0));
        close(b);
        say_poll("poll", a);
        say_result("recv", recv(a, &byte, 1, MSG_DONTWAIT));
        say_result("again", recv(a, &byte, 1, MSG_DONTWAIT));
        say_result("send", send(a, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
        close(a);
    }
}

static void reset_after_answer_is_known_at_once(void)
{
    int a, b;
    char bytes[8];
    stream_pair(&a, &b);
    must((int)send(a, "unread", 6, 0));
    must((int)send(b, "ok", 2, 0));
    close(b);
    say_poll("poll", a);
    say_error("error", a);
    say_result("recv", recv(a, bytes, sizeof(bytes), MSG_DONTWAIT));
}

static void end_is_known_at_once(void)
{
    static const struct linger lingers = {.l_onoff = 1, .l_linger = 5}, resets = {.l_onoff = 1};
    const struct linger *options[] = {NULL, &lingers, &resets};
    for (int i = 0; i < 3; i++) {
        int a, b;
        char byte;
        stream_pair(&a, &b);
        if (options[i] != NULL)
            must(setsockopt(b, SOL_SOCKET, SO_LINGER, options[i], sizeof(*options[i])));
        close(b);
        say_poll("poll", a);
        say_result("recv", recv(a, &byte, 1, MSG_DONTWAIT));
        close(a);
    }
}

/* Somebody else has it open still. */
static void copy_keeps_it_open(void)
{
    int a, b;
    char byte;
    stream_pair(&a, &b);
    must((int)send(a, "unread", 6, 0));
    int copy = dup(b);
    close(b);
    say_poll("dup", a);
    int ends[2];
    must(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    close(copy);
    say_poll("fork", a);
    close(ends[1]);
    must(waitpid(child, NULL, 0));
    say_bits("gone", (uint32_t)poll_for(a, POLLIN, 2000));
    say_result("recv", recv(a, &byte, 1, MSG_DONTWAIT));
}

/* ---- SO_LINGER ------------------------------------------------------------------------------- */

static void set_linger(int fd, int seconds)
{
    struct linger linger = {.l_onoff = 1, .l_linger = seconds};
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
}

#define LINGER_LONG 1000 /* who waits so long is killed, and that is another answer */

static void close_lingers_until_its_end(void)
{
    for (int is_shut = 0; is_shut < 2; is_shut++) {
        int a, b;
        small_pair(&a, &b);
        say_amount("filled", fill(a));
        set_linger(a, LINGER_LONG);
        must(fcntl(a, F_SETFL, O_NONBLOCK));
        int copy = dup(a);
        say_result("copy", close(copy));
        if (is_shut)
            must(shutdown(a, SHUT_WR));
        set_linger(a, 1);
        int64_t begun_ms = now_ms();
        say_result("close", close(a));
        say(" waited=%s", now_ms() - begun_ms >= 900 ? "yes" : "no");
        say_amount("read", drain_all(b));
        close(b);
    }
}

static void close_does_not_linger(void)
{
    int a, b;
    small_pair(&a, &b);
    must((int)send(a, "fits", 4, 0));
    set_linger(a, LINGER_LONG);
    say_result("fits", close(a));
    close(b);
    small_pair(&a, &b);
    must((int)send(b, "unread", 6, 0));
    say_bits("unread", (uint32_t)poll_for(a, POLLIN, 2000));
    fill(a);
    set_linger(a, LINGER_LONG);
    say_result("reset", close(a));
    close(b);
    small_pair(&a, &b);
    fill(a);
    set_linger(a, LINGER_LONG);
    set_linger(b, 0);
    close(b);
    say_bits("gone", (uint32_t)poll_for(a, POLLHUP, 2000));
    say_result("gone", close(a));
}

static void *read_to_the_end(void *context)
{
    static char bytes[1024];
    int fd = *(int *)context;
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        continue;
    return NULL;
}

static void reader_ends_the_linger(void)
{
    int a, b;
    pthread_t reader;
    small_pair(&a, &b);
    fill(a);
    set_linger(a, LINGER_LONG);
    must(-pthread_create(&reader, NULL, read_to_the_end, &b));
    say_result("close", close(a));
    must(-pthread_join(reader, NULL));
}

static void on_signal(int number)
{
    (void)number;
}

static void signal_ends_the_linger(void)
{
    /* Again and again: the first may come before close does. */
    const struct itimerspec often = {.it_value = {.tv_nsec = 100000000},
                                     .it_interval = {.tv_nsec = 100000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    timer_t timer;
    int a, b;
    small_pair(&a, &b);
    fill(a);
    set_linger(a, LINGER_LONG);
    must(sigaction(SIGUSR1, &action, NULL));
    must(timer_create(CLOCK_MONOTONIC, &event, &timer));
    must(timer_settime(timer, 0, &often, NULL));
    say_result("close", close(a));
    say_result("again", close(a));
}

static const struct semantics_case cases[] = {
    {"small_buffers_hold_little", small_buffers_hold_little},
    {"small_before_connect", small_before_connect},
    {"small_one_side_only", small_one_side_only},
    {"next_connection_is_not_small", next_connection_is_not_small},
    {"larger_buffer_makes_room", larger_buffer_makes_room},
    {"writer_waits_for_the_reader", writer_waits_for_the_reader},
    {"writer_is_woken_by_a_larger_buffer", writer_is_woken_by_a_larger_buffer},
    {"reader_of_more_than_fits", reader_of_more_than_fits},
    {"edge_after_room", edge_after_room},
    {"peer_gone_takes_what_fits", peer_gone_takes_what_fits},
    {"sendfile_stops_where_the_peer_is_gone", sendfile_stops_where_the_peer_is_gone},
    {"reset_is_known_at_once", reset_is_known_at_once},
    {"reset_after_answer_is_known_at_once", reset_after_answer_is_known_at_once},
    {"end_is_known_at_once", end_is_known_at_once},
    {"copy_keeps_it_open", copy_keeps_it_open},
    {"close_lingers_until_its_end", close_lingers_until_its_end},
    {"close_does_not_linger", close_does_not_linger},
    {"reader_ends_the_linger", reader_ends_the_linger},
    {"signal_ends_the_linger", signal_ends_the_linger},
};

SEMANTICS_MAIN(cases)
