/*
 * Cases that ask what sockets do, one line of answer each. The same program runs on the kernel's
 * sockets and on foyer's; test_semantics.sh compares the two.
 *
 * Each case runs in a process of its own and is killed after a few seconds, so that a hang is an
 * answer, too. Answers must not contain what differs by chance: ports, times, descriptors.
 */
#ifndef FOYER_TESTS_SEMANTICS_H
#define FOYER_TESTS_SEMANTICS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct semantics_case {
    const char *name;
    void (*run)(void);
};

#define CASE_SECONDS 30 /* virtual machines stand still for ten */

static char answer[4096];
static size_t answer_size;

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(answer + answer_size, sizeof(answer) - answer_size, format, arguments);
    va_end(arguments);
    if (size > 0)
        answer_size += (size_t)size;
    if (answer_size >= sizeof(answer))
        answer_size = sizeof(answer) - 1;
}

/* " name=value" or " name=ERRNO". */
static inline long say_result(const char *name, long result)
{
    if (result < 0)
        say(" %s=%s", name, strerrorname_np(errno));
    else
        say(" %s=%ld", name, result);
    return result;
}

/* Where the number itself means nothing. */
static inline long say_ok(const char *name, long result)
{
    say(" %s=%s", name, result < 0 ? strerrorname_np(errno) : "ok");
    return result;
}

static inline void say_bits(const char *name, uint32_t bits)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{POLLIN, "IN"},   {POLLPRI, "PRI"},     {POLLOUT, "OUT"},  {POLLERR, "ERR"},
                 {POLLHUP, "HUP"}, {POLLRDHUP, "RDHUP"}, {POLLNVAL, "NVAL"}};
    bool is_first = true;
    say(" %s=", name);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((bits & names[i].bit) != 0) {
            say("%s%s", is_first ? "" : "|", names[i].name);
            is_first = false;
        }
    }
    if (is_first)
        say("none");
}

static inline int poll_for(int fd, short events, int timeout_ms)
{
    struct pollfd item = {.fd = fd, .events = events};
    return poll(&item, 1, timeout_ms) < 0 ? -1 : item.revents;
}

/* What holds now, of everything that can be asked for. */
static inline void say_poll(const char *name, int fd)
{
    say_bits(name, (uint32_t)poll_for(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0));
}

static inline void fail(const char *what)
{
    say(" [%s: %s]", what, strerrorname_np(errno));
    printf("%s\n", answer);
    fflush(stdout);
    _exit(1);
}

/* What only prepares a case and cannot fail. */
static inline void must(int result)
{
    if (result < 0)
        fail("preparation");
}

static inline struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

static inline struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in addr;
    socklen_t size = sizeof(addr);
    if (getsockname(fd, (struct sockaddr *)&addr, &size) != 0)
        fail("getsockname");
    return addr;
}

static inline int bound(int type)
{
    int fd = socket(AF_INET, type, 0);
    struct sockaddr_in addr = loopback(0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
        fail("bind");
    return fd;
}

static inline int connected_to(int listening)
{
    struct sockaddr_in addr = name_of(listening);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
        fail("connect");
    return fd;
}

/*
 * Connections that came and went before the case begins, with bytes and options that no later one
 * may see: foyer uses the same ones again. With SEMANTICS_USED in the environment.
 */
static inline void use(int listening)
{
    enum { COUNT = 3 };
    int ends[2 * COUNT], one = 1;
    for (unsigned i = 0; i < COUNT; i++) {
        ends[2 * i] = connected_to(listening);
        ends[2 * i + 1] = accept4(listening, NULL, NULL, i == 0 ? SOCK_NONBLOCK : 0);
    }
    for (unsigned i = 0; i < 2 * COUNT; i++) {
        char byte;
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(ends[i], SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        setsockopt(ends[i], SOL_SOCKET, SO_RCVLOWAT, &(int){5}, sizeof(int));
        if (i > 2)
            fcntl(ends[i], F_SETFL, O_NONBLOCK);
        if (send(ends[i], "x", 1, 0) != 1 || recv(ends[i ^ 1u], &byte, 1, MSG_WAITALL) != 1)
            fail("use");
    }
    for (unsigned i = 0; i < 2 * COUNT; i++)
        close(ends[i < COUNT ? 2 * i : 2 * (i - COUNT) + 1]);
}

static inline int listener(int backlog)
{
    int fd = bound(SOCK_STREAM);
    if (listen(fd, backlog) != 0)
        fail("listen");
    if (getenv("SEMANTICS_USED") != NULL)
        use(fd);
    return fd;
}

/* a connected, b accepted. */
static inline void stream_pair(int *a, int *b)
{
    int listening = listener(8);
    *a = connected_to(listening);
    *b = accept(listening, NULL, NULL);
    if (*b < 0)
        fail("accept");
    close(listening);
}

static inline void set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static inline void set_int(int fd, int level, int name, int value)
{
    if (setsockopt(fd, level, name, &value, sizeof(value)) != 0)
        fail("setsockopt");
}

static inline int get_error(int fd)
{
    int error = -1;
    socklen_t size = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

static inline void say_error(const char *name, int fd)
{
    int error = get_error(fd);
    say(" %s=%s", name, error == 0 ? "0" : strerrorname_np(error));
}

/* Sends until it would block; how many bytes. */
static inline long fill(int fd)
{
    static char bytes[65536];
    long total = 0;
    for (;;) {
        ssize_t size = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0)
            return total;
        total += size;
    }
}

static inline long drain_all(int fd)
{
    static char bytes[65536];
    long total = 0;
    ssize_t size;
    while ((size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        total += size;
    return total;
}

static inline int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void sleep_ms(int ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

/*
 * Waits until another thread or process sleeps in the kernel (state S), so that what follows
 * meets it blocked.
 */
static inline void wait_asleep(pid_t process, pid_t thread)
{
    char path[64], text[256];
    unsigned in_a_row = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", process, thread);
    while (in_a_row < 3) {
        FILE *file = fopen(path, "r");
        if (file == NULL)
            return;
        size_t size = fread(text, 1, sizeof(text) - 1, file);
        fclose(file);
        text[size] = 0;
        const char *state = strrchr(text, ')');
        in_a_row = state != NULL && state[2] == 'S' ? in_a_row + 1 : 0;
        sleep_ms(5);
    }
}

struct start {
    void *(*run)(void *);
    void *context;
    pid_t thread;
    sem_t has_begun;
};

static inline void *begin_thread(void *argument)
{
    struct start *start = argument;
    void *(*run)(void *) = start->run;
    void *context = start->context;
    start->thread = gettid();
    sem_post(&start->has_begun);
    return run(context);
}

/* A thread that sleeps in what run does first, when this returns. */
static inline pthread_t start_asleep(void *(*run)(void *), void *context)
{
    struct start start = {.run = run, .context = context};
    pthread_t thread;
    sem_init(&start.has_begun, 0, 0);
    must(-pthread_create(&thread, NULL, begin_thread, &start));
    while (sem_wait(&start.has_begun) != 0)
        ;
    wait_asleep(getpid(), start.thread);
    return thread;
}

static inline void run_case(const struct semantics_case *item)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(CASE_SECONDS);
        say("%s:", item->name);
        item->run();
        printf("%s\n", answer);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status)) {
        printf("%s: killed by SIG%s\n", item->name, sigabbrev_np(WTERMSIG(status)));
        fflush(stdout);
    }
}

/* All cases, or those named on the command line. */
static inline int run_cases(const struct semantics_case *cases, size_t count, int argc, char **argv)
{
    for (size_t i = 0; i < count; i++) {
        bool is_wanted = argc < 2;
        for (int j = 1; j < argc; j++)
            is_wanted |= strcmp(argv[j], cases[i].name) == 0;
        if (is_wanted)
            run_case(&cases[i]);
    }
    return 0;
}

#define SEMANTICS_MAIN(cases)                                                                      \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return run_cases(cases, sizeof(cases) / sizeof((cases)[0]), argc, argv);                   \
    }

#endif
