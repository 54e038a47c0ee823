/* Descriptors and processes: dup, fork, exec, SCM_RIGHTS, threads, limits. See semantics.h. */
#define _GNU_SOURCE

#include "semantics.h"

#include <sys/prctl.h>

#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>

extern char **environ;

static void say_text(const char *name, const char *text)
{
    say(" %s=%s", name, text);
}

/* Reads until the end of the stream. */
static void say_stream(const char *name, int fd)
{
    char text[256];
    size_t size = 0;
    ssize_t part;
    while (size < sizeof(text) - 1 && (part = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
        size += (size_t)part;
    text[size] = 0;
    for (char *at = text; *at != 0; at++) {
        if (*at == '\n')
            *at = '/';
    }
    say_text(name, text);
}

/* ---- descriptors --------------------------------------------------------------------------- */

static void duplicates(void)
{
    int a, b;
    char text[8] = {0};
    stream_pair(&a, &b);
    int copy = dup(a);
    close(a);
    say_result("send", send(copy, "x", 1, 0));
    say_result("closed", send(a, "x", 1, 0));
    int other = dup2(copy, 50);
    say(" dup2=%d", other);
    say_result("send", send(50, "y", 1, 0));
    say(" dup2-same=%d", dup2(50, 50));
    say_ok("dup3-same", dup3(50, 50, 0));
    int third = fcntl(50, F_DUPFD_CLOEXEC, 60);
    say(" dupfd=%d cloexec=%d", third, fcntl(third, F_GETFD));
    close(copy);
    close(50);
    say_result("send", send(60, "z", 1, 0));
    close(60);
    say_result("recv", recv(b, text, 3, MSG_WAITALL));
    say_text("text", text);
    say_result("end", recv(b, text, 1, 0));
    /* A file takes the number of a socket, and the other way round. */
    stream_pair(&a, &b);
    int file = open("/dev/null", O_RDWR);
    dup2(file, a);
    say_result("file", write(a, "x", 1));
    say_result("end", recv(b, text, 1, 0));
    dup2(b, file);
    struct stat status;
    fstat(file, &status);
    say(" socket=%d", S_ISSOCK(status.st_mode));
}

static void shared_flags(void)
{
    int a, b, on = 1;
    char byte;
    stream_pair(&a, &b);
    int copy = dup(a);
    set_nonblocking(copy);
    say(" nonblock=%d", (fcntl(a, F_GETFL) & O_NONBLOCK) != 0);
    say_result("recv", recv(a, &byte, 1, 0));
    on = 0;
    ioctl(a, FIONBIO, &on);
    say(" nonblock=%d", (fcntl(copy, F_GETFL) & O_NONBLOCK) != 0);
    say(" access=%d", fcntl(a, F_GETFL) & O_ACCMODE);
}

static void lowest_number(void)
{
    int a, b;
    stream_pair(&a, &b);
    int first = socket(AF_INET, SOCK_STREAM, 0);
    int second = socket(AF_INET, SOCK_STREAM, 0);
    say(" next=%d", second == first + 1);
    close(first);
    int third = open("/dev/null", O_RDONLY);
    say(" reused=%d", third == first);
    int epfd = epoll_create1(0);
    say(" epoll=%d", epfd == second + 1);
}

static void close_range_all(void)
{
    int a, b;
    char byte;
    stream_pair(&a, &b);
    int copy = dup2(b, 100);
    say_ok("close_range", close_range(3, 99, 0));
    say_result("a", send(a, "x", 1, MSG_NOSIGNAL));
    say_result("end", recv(copy, &byte, 1, 0));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say(" still works=%d", fd == 3);
    closefrom(3);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    say(" still works=%d", fd == 3);
    /* As daemons do it. */
    for (int i = 3; i < 2048; i++)
        close(i);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    say(" still works=%d", fd == 3);
}

static void too_many(void)
{
    struct rlimit limit = {.rlim_cur = 20, .rlim_max = 4096}, got;
    getrlimit(RLIMIT_NOFILE, &got);
    limit.rlim_max = got.rlim_max;
    say_ok("set", setrlimit(RLIMIT_NOFILE, &limit));
    getrlimit(RLIMIT_NOFILE, &got);
    say(" get=%d sysconf=%ld", (int)got.rlim_cur, sysconf(_SC_OPEN_MAX));
    int fd, last = -1;
    while ((fd = socket(AF_INET, SOCK_DGRAM, 0)) >= 0)
        last = fd;
    say(" last=%d error=%s", last, strerrorname_np(errno));
    close(last);
    say_ok("again", socket(AF_INET, SOCK_STREAM, 0));
}

static void foreign_protocols(void)
{
    say_ok("sctp", socket(AF_INET, SOCK_STREAM, 132));
    say_ok("udp-stream", socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    say_ok("tcp-dgram", socket(AF_INET6, SOCK_DGRAM, IPPROTO_TCP));
    int pair[2];
    say_ok("unix", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    say_result("write", write(pair[0], "x", 1));
    say_poll("poll", pair[1]);
    say_ok("inet-pair", socketpair(AF_INET, SOCK_STREAM, 0, pair));
}

/* ---- processes ----------------------------------------------------------------------------- */

static void fork_shares(void)
{
    int a, b;
    char text[8] = {0};
    stream_pair(&a, &b);
    send(a, "0123456789", 10, 0);
    pid_t child = fork();
    if (child == 0) {
        recv(b, text, 4, MSG_WAITALL);
        send(b, "child", 5, 0);
        shutdown(b, SHUT_WR);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    recv(b, text, 6, MSG_WAITALL);
    say_text("rest", text);
    say_stream("child", a);
    say_result("write", send(b, "x", 1, MSG_NOSIGNAL));
}

static _Noreturn void accept_and_answer(int listening)
{
    for (;;) {
        char byte = 0;
        int fd = accept(listening, NULL, NULL);
        if (recv(fd, &byte, 1, 0) == 1)
            send(fd, &byte, 1, 0);
        close(fd);
    }
}

static int answered(int listening, int count)
{
    int good = 0;
    for (int i = 0; i < count; i++) {
        char byte = (char)i, back = -1;
        int fd = connected_to(listening);
        send(fd, &byte, 1, 0);
        recv(fd, &back, 1, 0);
        good += back == byte;
        close(fd);
    }
    return good;
}

static void fork_accepts(void)
{
    int listening = listener(16);
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            accept_and_answer(listening);
    }
    say(" good=%d", answered(listening, 30));
    for (int i = 0; i < 3; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
}

/* What one of several acceptors does not accept, another one does. */
static void fork_accepts_and_stops(void)
{
    int listening = listener(16);
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0)
            accept_and_answer(listening);
    }
    say(" both=%d", answered(listening, 40));
    for (int i = 0; i < 2; i++) {
        kill(children[i], SIGSTOP);
        waitpid(children[i], NULL, WUNTRACED);
        say(" one=%d", answered(listening, 20));
        kill(children[i], SIGCONT);
    }
    say(" both=%d", answered(listening, 20));
    kill(children[0], SIGKILL);
    waitpid(children[0], NULL, 0);
    say(" one=%d", answered(listening, 20));
    kill(children[1], SIGKILL);
    waitpid(children[1], NULL, 0);
}

/* Connections of one client come to each listener of a group. */
static void group_spreads(void)
{
    int listeners[2], first = socket(AF_INET, SOCK_STREAM, 0), counts[2] = {0};
    pid_t children[2];
    listeners[0] = first;
    listeners[1] = socket(AF_INET, SOCK_STREAM, 0);
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        if (i == 1)
            addr = name_of(first);
        set_int(listeners[i], SOL_SOCKET, SO_REUSEPORT, 1);
        must(bind(listeners[i], (struct sockaddr *)&addr, sizeof(addr)));
        must(listen(listeners[i], 64));
    }
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        for (int fd; children[i] == 0;) {
            char byte = (char)i;
            fd = accept(listeners[i], NULL, NULL);
            send(fd, &byte, 1, 0);
            close(fd);
        }
    }
    for (int i = 0; i < 100; i++) {
        char byte = 2;
        int fd = connected_to(first);
        recv(fd, &byte, 1, 0);
        close(fd);
        if (byte == 0 || byte == 1)
            counts[(int)byte]++;
    }
    say(" all=%d each=%d", counts[0] + counts[1], counts[0] > 10 && counts[1] > 10);
    for (int i = 0; i < 2; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
}

/* The child connects a socket that the parent made, and the parent goes on with it. */
static void fork_connects(void)
{
    int listening = listener(4);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    pid_t child = fork();
    if (child == 0) {
        struct sockaddr_in addr = name_of(listening);
        must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    int b = accept(listening, NULL, NULL);
    say_result("send", send(fd, "hello", 5, 0));
    char text[8] = {0};
    say_result("recv", recv(b, text, 5, MSG_WAITALL));
    struct sockaddr_in addr;
    socklen_t size = sizeof(addr);
    say_ok("peer", getpeername(fd, (struct sockaddr *)&addr, &size));
    say_poll("poll", fd);
}

static void parent_exits_first(void)
{
    int a, b, pipes[2];
    if (pipe(pipes) != 0)
        fail("pipe");
    stream_pair(&a, &b);
    pid_t child = fork();
    if (child == 0) {
        if (fork() != 0)
            _exit(0);
        close(pipes[1]);
        char byte;
        /* The parent is gone when the pipe ends. */
        if (read(pipes[0], &byte, 1) == 0)
            send(b, "orphan", 6, 0);
        _exit(0);
    }
    close(b);
    waitpid(child, NULL, 0);
    close(pipes[1]);
    say_stream("text", a);
}

/* ---- an epoll of two processes ---------------------------------------------------------------- */

enum { ROUNDS = 6 };

/* A process that waits on the inherited epoll, told over pipes what to do when it has. */
struct watcher {
    int epoll, fd, timeout_ms;
    int report[2], order[2];
    pid_t process;
};

/* Each round: asleep, awake, and then it reads the byte or leaves it, as it is told. */
static void watch_rounds(const struct watcher *watcher)
{
    struct epoll_event event;
    char order = 'g', byte;
    while (order != 'q') {
        char count = (char)epoll_wait(watcher->epoll, &event, 1, watcher->timeout_ms);
        must((int)write(watcher->report[1], &count, 1));
        must((int)read(watcher->order[0], &order, 1));
        if (order == 'r')
            must((int)recv(watcher->fd, &byte, 1, 0));
        must((int)write(watcher->report[1], "d", 1));
    }
    _exit(0);
}

static void start_watcher(struct watcher *watcher, int epoll, int fd, int timeout_ms)
{
    *watcher = (struct watcher){.epoll = epoll, .fd = fd, .timeout_ms = timeout_ms};
    must(pipe(watcher->report));
    must(pipe(watcher->order));
    watcher->process = fork();
    if (watcher->process == 0) {
        must(prctl(PR_SET_PDEATHSIG, SIGKILL)); /* the case may be killed */
        watch_rounds(watcher);
    }
}

static int reported(const struct watcher *watcher)
{
    char count = 0;
    must((int)read(watcher->report[0], &count, 1));
    return count;
}

static void tell(const struct watcher *watcher, char order)
{
    must((int)write(watcher->order[1], &order, 1));
    reported(watcher);
}

/* Both are told of what is ready, whichever of them has read what came before. */
static void fork_shares_epoll(void)
{
    int a, b, quiet, c, counts[2] = {0, 0};
    struct epoll_event event = {.events = EPOLLIN};
    struct watcher watchers[2];
    stream_pair(&a, &b);
    stream_pair(&quiet, &c);
    int epoll = epoll_create1(0);
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, b, &event));
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, c, &event));
    say_result("before", epoll_wait(epoll, &event, 1, 50));
    for (int i = 0; i < 2; i++)
        start_watcher(&watchers[i], epoll, b, 3000);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 2; i++)
            wait_asleep(watchers[i].process, watchers[i].process);
        must((int)send(a, "x", 1, 0));
        for (int i = 0; i < 2; i++)
            counts[i] += reported(&watchers[i]);
        bool is_last = round + 1 == ROUNDS;
        for (int i = 0; i < 2; i++)
            tell(&watchers[(round + i) % 2], is_last ? 'q' : i == 0 ? 'r' : 'l');
    }
    say(" first=%d second=%d", counts[0], counts[1]);
}

/* An edge is told once. */
static void fork_shares_epoll_edge(void)
{
    int a, b, count = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    struct watcher watchers[2];
    stream_pair(&a, &b);
    int epoll = epoll_create1(0);
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, b, &event));
    for (int i = 0; i < 2; i++)
        start_watcher(&watchers[i], epoll, b, 1000);
    for (int i = 0; i < 2; i++)
        wait_asleep(watchers[i].process, watchers[i].process);
    must((int)send(a, "x", 1, 0));
    for (int i = 0; i < 2; i++)
        count += reported(&watchers[i]);
    for (int i = 0; i < 2; i++)
        tell(&watchers[i], 'q');
    say(" together=%d", count);
}

static void run_shell(int fd, char *script)
{
    char *arguments[] = {"sh", "-c", script, NULL};
    dup2(fd, 0);
    dup2(fd, 1);
    execv("/bin/sh", arguments);
    _exit(127);
}

static void exec_inherits(void)
{
    int a, b;
    stream_pair(&a, &b);
    if (fork() == 0)
        run_shell(b, "read line; echo got $line; cat");
    close(b);
    send(a, "one\ntwo\n", 8, 0);
    shutdown(a, SHUT_WR);
    say_stream("text", a);
}

static void exec_close_on_exec(void)
{
    int a, b;
    stream_pair(&a, &b);
    fcntl(b, F_SETFD, FD_CLOEXEC);
    if (fork() == 0) {
        char *arguments[] = {"sleep", "5", NULL};
        close(a);
        execvp("sleep", arguments);
        _exit(127);
    }
    close(b);
    int64_t start = now_ms();
    say_stream("text", a);
    say(" soon=%d", now_ms() - start < 3000);
}

/* The new program makes sockets of its own, though its environment was emptied. */
static void exec_clean_environment(void)
{
    int pipes[2];
    if (pipe(pipes) != 0)
        fail("pipe");
    if (fork() == 0) {
        char *arguments[] = {"/proc/self/exe", "too_many", NULL};
        char *environment[] = {"A=b", NULL};
        dup2(pipes[1], 1);
        execve("/proc/self/exe", arguments, environment);
        _exit(127);
    }
    close(pipes[1]);
    say_stream("out", pipes[0]);
}

static void spawned(void)
{
    int a, b;
    pid_t child;
    stream_pair(&a, &b);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, b, 0);
    posix_spawn_file_actions_adddup2(&actions, b, 1);
    posix_spawn_file_actions_addclose(&actions, a);
    char *arguments[] = {"sh", "-c", "read line; echo spawned $line", NULL};
    int error = posix_spawnp(&child, "sh", &actions, NULL, arguments, environ);
    say(" spawn=%d", error);
    close(b);
    send(a, "x\n", 2, 0);
    say_stream("text", a);
    waitpid(child, NULL, 0);
}

static void vforked(void)
{
    int a, b;
    stream_pair(&a, &b);
    /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork): programs do it */
    pid_t child = vfork();
    if (child == 0) {
        close(a);   /* NOLINT(clang-analyzer-unix.Vfork): what a shell does here */
        dup2(b, 1); /* NOLINT(clang-analyzer-unix.Vfork): the same */
        execlp("echo", "echo", "from", "vfork", NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
    /* What the child closed is still open here. */
    close(b);
    say_stream("text", a);
}

static void popen_works(void)
{
    int a, b;
    char text[32] = {0};
    stream_pair(&a, &b);
    FILE *pipe_stream = popen("echo popen", "r"); /* NOLINT(cert-env33-c): programs do it */
    if (fgets(text, sizeof(text), pipe_stream) == NULL)
        fail("fgets");
    pclose(pipe_stream);
    text[strcspn(text, "\n")] = 0;
    say_text("text", text);
    say(" system=%d", system("exit 3") >> 8); /* NOLINT(cert-env33-c): as above */
    send(a, "x", 1, 0);
    say_result("recv", recv(b, text, 1, 0));
}

/* ---- passing ------------------------------------------------------------------------------- */

static void send_fd(int channel, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {"f", 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    if (sendmsg(channel, &message, 0) != 1)
        fail("sendmsg");
}

static int receive_fd(int channel)
{
    char byte, control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    if (recvmsg(channel, &message, 0) != 1)
        return -1;
    int fd = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL)
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

static void passed_descriptor(void)
{
    int a, b, pair[2];
    char text[16] = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        fail("socketpair");
    pid_t child = fork();
    if (child == 0) {
        close(pair[0]);
        int fd = receive_fd(pair[1]);
        if (recv(fd, text, 4, MSG_WAITALL) == 4)
            send(fd, "pong", 4, 0);
        close(fd); /* the answer's end */
        int listening = receive_fd(pair[1]);
        int accepted = accept(listening, NULL, NULL);
        send(accepted, "taken", 5, 0);
        _exit(0);
    }
    stream_pair(&a, &b);
    send_fd(pair[0], b);
    close(b);
    send(a, "ping", 4, 0);
    say_stream("answer", a);
    int listening = listener(4);
    send_fd(pair[0], listening);
    int fd = connected_to(listening);
    close(listening);
    say_stream("accepted", fd);
    waitpid(child, NULL, 0);
}

/* ---- threads ------------------------------------------------------------------------------- */

struct flow {
    int fd;
    size_t size;
    uint32_t seed;
    bool is_good;
};

static uint8_t flow_byte(uint32_t seed, size_t at)
{
    return (uint8_t)((at * 2654435761u) >> 13 ^ seed ^ at);
}

static void *flow_send(void *argument)
{
    struct flow *flow = argument;
    static _Thread_local uint8_t bytes[100000];
    size_t sent = 0;
    while (sent < flow->size) {
        size_t part = 1 + (sent * 7919) % sizeof(bytes);
        if (part > flow->size - sent)
            part = flow->size - sent;
        for (size_t i = 0; i < part; i++)
            bytes[i] = flow_byte(flow->seed, sent + i);
        ssize_t size = send(flow->fd, bytes, part, MSG_NOSIGNAL);
        if (size <= 0)
            return NULL;
        sent += (size_t)size;
    }
    shutdown(flow->fd, SHUT_WR);
    return NULL;
}

static void *flow_recv(void *argument)
{
    struct flow *flow = argument;
    static _Thread_local uint8_t bytes[70000];
    size_t received = 0;
    ssize_t size;
    flow->is_good = true;
    while ((size = recv(flow->fd, bytes, 1 + (received * 104729) % sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < size; i++)
            flow->is_good &= bytes[i] == flow_byte(flow->seed, received + (size_t)i);
        received += (size_t)size;
    }
    flow->is_good &= received == flow->size;
    return NULL;
}

/* Two threads per socket, both directions at once. */
static void full_duplex(void)
{
    int a, b;
    pthread_t threads[4];
    stream_pair(&a, &b);
    struct flow flows[4] = {
        {a, 20000000, 1, false},
        {b, 20000000, 1, false},
        {b, 20000000, 2, false},
        {a, 20000000, 2, false},
    };
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, i % 2 == 0 ? flow_send : flow_recv, &flows[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say(" ab=%d ba=%d", flows[1].is_good, flows[3].is_good);
}

struct blocked {
    int fd;
    ssize_t result;
    int error;
};

static void *blocked_recv(void *argument)
{
    struct blocked *blocked = argument;
    char byte;
    blocked->result = recv(blocked->fd, &byte, 1, 0);
    blocked->error = errno;
    return NULL;
}

static void *blocked_accept(void *argument)
{
    struct blocked *blocked = argument;
    blocked->result = accept(blocked->fd, NULL, NULL);
    blocked->error = errno;
    return NULL;
}

static pthread_t start_blocked(struct blocked *blocked, int fd, void *(*run)(void *))
{
    *blocked = (struct blocked){.fd = fd};
    return start_asleep(run, blocked);
}

static void close_while_blocked(void)
{
    int a, b;
    struct blocked blocked;
    pthread_t thread;
    stream_pair(&a, &b);
    thread = start_blocked(&blocked, b, blocked_recv);
    say_ok("close", close(b));
    send(a, "x", 1, MSG_NOSIGNAL);
    close(a);
    pthread_join(thread, NULL);
    say(" ended");
}

static void shutdown_while_blocked(void)
{
    int a, b;
    struct blocked blocked;
    pthread_t thread;
    stream_pair(&a, &b);
    thread = start_blocked(&blocked, b, blocked_recv);
    say_ok("shutdown", shutdown(b, SHUT_RDWR));
    pthread_join(thread, NULL);
    say(" recv=%zd", blocked.result);
    int listening = listener(4);
    thread = start_blocked(&blocked, listening, blocked_accept);
    say_ok("listener", shutdown(listening, SHUT_RDWR));
    pthread_join(thread, NULL);
    say(" accept=%s", blocked.result < 0 ? strerrorname_np(blocked.error) : "ok");
}

static void cancelled(void)
{
    int a, b;
    struct blocked blocked;
    pthread_t thread;
    void *result;
    stream_pair(&a, &b);
    thread = start_blocked(&blocked, b, blocked_recv);
    say_ok("cancel", pthread_cancel(thread));
    pthread_join(thread, &result);
    say(" cancelled=%d", result == PTHREAD_CANCELED);
    char byte;
    send(a, "x", 1, 0);
    say_result("recv", recv(b, &byte, 1, 0));
    say_result("poll", poll_for(b, POLLIN, 50));
}

/* Reader and writer threads on one socket, each blocked at times, many small turns. */
static void *echo_turns(void *argument)
{
    struct flow *flow = argument;
    char byte;
    while (recv(flow->fd, &byte, 1, 0) == 1)
        send(flow->fd, &byte, 1, 0);
    return NULL;
}

static void ping_pong(void)
{
    int a, b;
    pthread_t thread;
    stream_pair(&a, &b);
    struct flow flow = {.fd = b};
    pthread_create(&thread, NULL, echo_turns, &flow);
    int good = 0;
    for (int i = 0; i < 5000; i++) {
        char byte = (char)i, back = 0;
        send(a, &byte, 1, 0);
        good += recv(a, &back, 1, 0) == 1 && back == byte;
    }
    close(a);
    pthread_join(thread, NULL);
    say(" good=%d", good);
}

/* ---- stdio --------------------------------------------------------------------------------- */

static void streams(void)
{
    int a, b;
    char line[64];
    stream_pair(&a, &b);
    FILE *in = fdopen(dup(b), "r"), *out = fdopen(a, "w");
    fprintf(out, "hello %d\nworld\n", 5);
    fflush(out);
    while (fgets(line, sizeof(line), in) != NULL && strcmp(line, "world\n") != 0)
        say(" %.7s", line);
    say(" fileno=%d", fileno(out) == a);
    fclose(out);
    say(" eof=%d", fgets(line, sizeof(line), in) == NULL && feof(in));
    say_ok("closed", fcntl(a, F_GETFD));
    fclose(in);
    int file = open("/dev/null", O_RDWR);
    say(" reused=%d", file == a);
    say_result("write", write(file, "x", 1));
}

static const struct semantics_case cases[] = {
    {"duplicates", duplicates},
    {"shared_flags", shared_flags},
    {"lowest_number", lowest_number},
    {"close_range_all", close_range_all},
    {"too_many", too_many},
    {"foreign_protocols", foreign_protocols},
    {"fork_shares", fork_shares},
    {"fork_accepts", fork_accepts},
    {"fork_accepts_and_stops", fork_accepts_and_stops},
    {"group_spreads", group_spreads},
    {"fork_connects", fork_connects},
    {"parent_exits_first", parent_exits_first},
    {"fork_shares_epoll", fork_shares_epoll},
    {"fork_shares_epoll_edge", fork_shares_epoll_edge},
    {"exec_inherits", exec_inherits},
    {"exec_close_on_exec", exec_close_on_exec},
    {"exec_clean_environment", exec_clean_environment},
    {"spawned", spawned},
    {"vforked", vforked},
    {"popen_works", popen_works},
    {"passed_descriptor", passed_descriptor},
    {"full_duplex", full_duplex},
    {"close_while_blocked", close_while_blocked},
    {"shutdown_while_blocked", shutdown_while_blocked},
    {"cancelled", cancelled},
    {"ping_pong", ping_pong},
    {"streams", streams},
};

SEMANTICS_MAIN(cases)
