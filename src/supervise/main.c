/*
 * foyer-supervise PROGRAM-FILE ARGUMENT-0 [ARGUMENT]...
 *
 * Becomes the program, under supervision. `foyer run` and exec in attached programs put it in
 * front of programs that foyer's module cannot be loaded into; nobody else need call it. Process
 * id, terminal, descriptors and signals are the program's own from the beginning.
 *
 * The supervisor is a grandchild, so that the program never finds a child that it did not make.
 */
#define _GNU_SOURCE

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervise/supervise.h"

#define EXIT_FAILED 125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127
#define PASSED_MAX 64u

/* A socket of foyer's that the program inherits: what it gets instead is one end of a pair. */
struct passed {
    int fd;  /* the program's number */
    int net; /* a copy of foyer's socket, above */
    int type;
    bool is_listening;
    ino_t inode;
    unsigned first; /* index of the first one of the same socket: inetd's 0, 1 and 2 are one */
};

static struct passed passed[PASSED_MAX];
static unsigned passed_count;

_Noreturn static void fail(const char *what, int error)
{
    fprintf(stderr, "foyer: cannot supervise the program: %s: %s\n", what, strerror(error));
    _exit(EXIT_FAILED);
}

/* ---- what is inherited --------------------------------------------------------------------- */

static int option_of(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

/* libc's own, past the module that was loaded in front of it: what the kernel has there. */
static int kernel_domain(int fd)
{
    int (*kernel_getsockopt)(int, int, int, void *, socklen_t *) = NULL;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *symbol = libc != NULL ? dlsym(libc, "getsockopt") : NULL;
    int value = -1;
    socklen_t size = sizeof(value);
    memcpy(&kernel_getsockopt, &symbol, sizeof(symbol));
    if (kernel_getsockopt != NULL && kernel_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size))
        value = -1;
    if (libc != NULL)
        dlclose(libc);
    return value;
}

/* Is it one of foyer's: AF_INET for us, AF_UNIX for the kernel. */
static bool is_ours(int fd)
{
    int domain = option_of(fd, SO_DOMAIN);
    return (domain == AF_INET || domain == AF_INET6) && kernel_domain(fd) == AF_UNIX;
}

/* Whether this process is attached. Else sockets would be the machine's, silently. */
static bool is_attached(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_foyer = fd >= 0 && is_ours(fd);
    if (fd >= 0)
        close(fd);
    return is_foyer;
}

static void add_passed(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return;
    struct passed item = {
        .fd = fd, .net = -1, .type = option_of(fd, SO_TYPE), .inode = status.st_ino};
    while (item.first < passed_count && passed[item.first].inode != item.inode)
        item.first++;
    if (item.first == passed_count) {
        item.is_listening = option_of(fd, SO_ACCEPTCONN) == 1;
        item.net = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (item.net < 0)
            return;
    }
    passed[passed_count++] = item;
}

static void find_passed(void)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    if (directory == NULL)
        return;
    while ((entry = readdir(directory)) != NULL && passed_count < PASSED_MAX) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || *end != '\0' || fd == dirfd(directory) || !is_ours((int)fd))
            continue;
        add_passed((int)fd);
    }
    closedir(directory);
}

static bool is_stream_connected(int net)
{
    struct sockaddr_storage remote;
    socklen_t size = sizeof(remote);
    return getpeername(net, (struct sockaddr *)&remote, &size) == 0;
}

/* Takes one over in the supervisor. Returns the program's end. */
static int adopt(struct supervisor *supervisor, const struct passed *item)
{
    int program_end = -1;
    int flags = fcntl(item->net, F_GETFL);
    bool is_nonblocking = flags >= 0 && (flags & O_NONBLOCK) != 0;
    /* Reads and writes say MSG_DONTWAIT; accept cannot, and others may share the flag. */
    if (flags >= 0 && item->is_listening)
        fcntl(item->net, F_SETFL, flags | O_NONBLOCK);
    struct vsocket *socket = vsocket_create(supervisor, item->net, item->type, &program_end);
    if (socket == NULL)
        return -1;
    if (is_nonblocking)
        fcntl(program_end, F_SETFL, O_NONBLOCK);
    if (item->type == SOCK_DGRAM) {
        datagram_start(supervisor, socket);
    } else if (item->is_listening) {
        socket->state = VSOCKET_LISTENING;
        watch_set(supervisor, &socket->net, EPOLLIN);
    } else if (is_stream_connected(item->net)) {
        stream_start(supervisor, socket);
    }
    return program_end;
}

/* ---- the supervisor ------------------------------------------------------------------------ */

/* Nothing of the program's may stay open here: readers of its pipes wait for their end. */
static void close_inherited(int keep1, int keep2)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        bool is_kept = fd < 3 || fd == keep1 || fd == keep2 || fd == dirfd(directory);
        for (unsigned i = 0; i < passed_count && !is_kept; i++)
            is_kept = fd == passed[i].net;
        if (!is_kept)
            close(fd);
    }
    if (directory != NULL)
        closedir(directory);
}

/*
 * channel: to the program's side. It says the number of its notification descriptor, gets the ends
 * of the pairs for what it inherits, in order, and may go.
 */
_Noreturn static void supervise(pid_t program, int channel, const char *name)
{
    struct supervisor supervisor;
    sigset_t none;
    int32_t theirs;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    setsid(); /* a terminal's signals are meant for the program */
    char program_text[16];
    snprintf(program_text, sizeof(program_text), "%d", (int)program);
    setenv("FOYER_ACTS_FOR", program_text, 1);
    prctl(PR_SET_NAME, name);
    if (read(channel, &theirs, sizeof(theirs)) != (ssize_t)sizeof(theirs))
        _exit(EXIT_FAILED);
    int notify_fd = target_copy_descriptor(program, theirs);
    int32_t error = notify_fd < 0 ? -notify_fd : 0;
    close_inherited(channel, notify_fd);
    if (chdir("/") != 0)
        error = errno;
    if (error == 0 && !is_attached())
        error = ENETDOWN;
    if (error == 0)
        error = -serve_init(&supervisor, notify_fd);
    int32_t ends[PASSED_MAX];
    for (unsigned i = 0; i < passed_count && error == 0; i++)
        ends[i] = passed[i].first == i ? adopt(&supervisor, &passed[i]) : ends[passed[i].first];
    if (write(channel, &error, sizeof(error)) != (ssize_t)sizeof(error) || error != 0)
        _exit(EXIT_FAILED);
    if (passed_count > 0 && (write(channel, ends, passed_count * sizeof(ends[0])) < 0 ||
                             read(channel, &error, sizeof(error)) != (ssize_t)sizeof(error)))
        _exit(EXIT_FAILED);
    for (unsigned i = 0; i < passed_count; i++) {
        if (passed[i].first == i)
            close(ends[i]);
    }
    close(channel);
    _exit(serve(&supervisor));
}

/* Returns its pid. */
static pid_t start_supervisor(int channel, const char *name)
{
    pid_t program = getpid(), supervisor = -1;
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        fail("pipe", errno);
    pid_t child = fork();
    if (child < 0)
        fail("fork", errno);
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            supervise(program, channel, name);
        (void)!write(report[1], &grandchild, sizeof(grandchild));
        _exit(0);
    }
    close(report[1]);
    ssize_t count = read(report[0], &supervisor, sizeof(supervisor));
    close(report[0]);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    if (count != (ssize_t)sizeof(supervisor) || supervisor <= 0)
        fail("fork", EAGAIN);
    return supervisor;
}

/* ---- the program --------------------------------------------------------------------------- */

static void read_all(int fd, void *bytes, size_t size, const char *what)
{
    size_t done = 0;
    while (done < size) {
        ssize_t count = read(fd, (uint8_t *)bytes + done, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            fail(what, count < 0 ? errno : ECONNRESET);
        done += (size_t)count;
    }
}

/* Puts the pairs' ends in the places of the sockets that are passed on. */
static void replace_passed(int channel, pid_t supervisor)
{
    int32_t ends[PASSED_MAX] = {0}, done = 0;
    if (passed_count == 0)
        return;
    read_all(channel, ends, passed_count * sizeof(ends[0]), "passing sockets on");
    for (unsigned i = 0; i < passed_count; i++) {
        int end = target_copy_descriptor(supervisor, ends[i]);
        if (end < 0)
            fail("passing a socket on", -end);
        int flags = fcntl(passed[i].fd, F_GETFD);
        if (dup3(end, passed[i].fd, flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0) < 0)
            fail("passing a socket on", errno);
        close(end);
        if (passed[i].net >= 0)
            close(passed[i].net);
    }
    if (write(channel, &done, sizeof(done)) < 0)
        fail("passing sockets on", errno);
}

static void enter(const char *name)
{
    int channel[2];
    int32_t error = 0;
    find_passed();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
        fail("socketpair", errno);
    pid_t supervisor = start_supervisor(channel[1], name);
    close(channel[1]);
    /* Where ptrace is restricted (Yama), the supervisor may look at us all the same. */
    prctl(PR_SET_PTRACER, supervisor);
    int32_t notify_fd = filter_install();
    if (notify_fd == -EBUSY)
        return; /* it is supervised by another one already, on the same host */
    if (notify_fd < 0)
        fail("seccomp", -notify_fd);
    if (write(channel[0], &notify_fd, sizeof(notify_fd)) < 0)
        fail("the supervisor has gone", errno);
    read_all(channel[0], &error, sizeof(error), "the supervisor has gone");
    if (error != 0)
        fail(error == ENETDOWN ? "the supervisor has no session with foyerd" : "the supervisor",
             error);
    close(notify_fd);
    replace_passed(channel[0], supervisor);
    close(channel[0]);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs(
            "usage: foyer-supervise PROGRAM-FILE ARGUMENT-0 [ARGUMENT]...\n"
            "Runs a program that foyer's module cannot be loaded into; foyer uses it by itself.\n",
            stderr);
        return 2;
    }
    const char *slash = strrchr(argv[1], '/');
    enter(slash != NULL ? slash + 1 : argv[1]);
    setenv("FOYER_SUPERVISED", "1", 1);
    execv(argv[1], argv + 2);
    int error = errno;
    fprintf(stderr, "foyer: '%s' cannot be run: %s\n", argv[1], strerror(error));
    return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
