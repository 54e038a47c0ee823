/*
 * Starting foyerd: under a lock of ours, so that of many `foyer run` at once one starts it and the
 * others find it ready.
 *
 *     foyer --fork--> child (setsid) --fork--> foyerd --building NAME --ready-fd N
 *       |                                         |  one byte: the socket takes connections
 *       +---- poll(read end of a pipe) <----------+  end of file without one: it has failed
 *
 * The double fork makes init its parent: it outlives this terminal, and the program that `foyer
 * run` becomes has no child that it did not make.
 */
#define _GNU_SOURCE /* pipe2 */

#include "cli/start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"

#define READY_TIMEOUT_MS 10000
#define LOG_TAIL_SIZE 4096
#define LOG_TAIL_LINES 5

#ifndef FOYER_LIBDIR
#define FOYER_LIBDIR "/usr/lib"
#endif

/* The directory of this program, without a slash at its end. */
static int own_directory(char ret_path[static ELF_PATH_MAX])
{
    ssize_t size = readlink("/proc/self/exe", ret_path, ELF_PATH_MAX - 1);
    if (size < 0)
        return -errno;
    ret_path[size] = '\0';
    char *slash = strrchr(ret_path, '/');
    if (slash == NULL)
        return -ENOENT;
    *slash = '\0';
    return 0;
}

/* The first of the places, relative to this program's directory or absolute, that has it. */
static int find_part(const char *const *places, size_t count, int mode,
                     char ret_path[static ELF_PATH_MAX])
{
    char directory[ELF_PATH_MAX];
    int error = own_directory(directory);
    if (error != 0)
        directory[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char joined[2 * ELF_PATH_MAX];
        char *real;
        snprintf(joined, sizeof(joined), "%s%s%s", places[i][0] == '/' ? "" : directory,
                 places[i][0] == '/' ? "" : "/", places[i]);
        real = realpath(joined, NULL);
        snprintf(ret_path, ELF_PATH_MAX, "%.*s", (int)ELF_PATH_MAX - 1,
                 real != NULL ? real : joined);
        bool is_there = real != NULL && access(real, mode) == 0;
        free(real);
        if (is_there)
            return 0;
    }
    return -ENOENT;
}

int start_find_preload(char ret_path[static ELF_PATH_MAX])
{
    static const char *const places[] = {"../lib/libfoyer-preload.so",
                                         FOYER_LIBDIR "/libfoyer-preload.so"};
    return find_part(places, sizeof(places) / sizeof(places[0]), R_OK, ret_path);
}

int start_find_supervisor(char ret_path[static ELF_PATH_MAX])
{
    static const char *const places[] = {"foyer-supervise"};
    return find_part(places, 1, X_OK, ret_path);
}

/* ---- the child ------------------------------------------------------------------------------- */

/* Between fork and exec. Never returns; the pipe's end of file tells of a failure. */
_Noreturn static void become_foyerd(const char *program, const struct paths *paths, int ready_fd)
{
    /* Where standard descriptors are closed, any of these would be one of 0, 1 and 2. */
    int ready_high = fcntl(ready_fd, F_DUPFD, 4);
    int null_fd = fcntl(open("/dev/null", O_RDWR), F_DUPFD, 4);
    int log_fd =
        fcntl(open(paths->log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600), F_DUPFD, 4);
    if (ready_high < 0 || null_fd < 0 || log_fd < 0 || setsid() < 0)
        _exit(1);
    pid_t pid = fork();
    if (pid != 0)
        _exit(pid < 0 ? 1 : 0);
    /* It must not keep the caller's directory busy, nor inherit its blocked signals. */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir("/") != 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(log_fd, 2) < 0)
        _exit(1);
    /* Nothing of the caller's may stay open in a process that outlives it. */
    if (dup2(ready_high, 3) < 0)
        _exit(1);
    closefrom(4);
    /* A terminal's or an outer `foyer run`'s environment is none of its business. */
    unsetenv("LD_PRELOAD");
    unsetenv("FOYER_FD");
    unsetenv("FOYER_HOST");
    unsetenv("FOYER_SOCKET");
    unsetenv("FOYER_SUPERVISOR");
    execl(program, "foyerd", "--building", paths->building, "--ready-fd", "3", (char *)NULL);
    dprintf(2, "foyer: cannot run %s: %s\n", program, strerror(errno));
    _exit(1);
}

/* ---- the parent ------------------------------------------------------------------------------ */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 0; -ETIMEDOUT; -ECHILD: foyerd ended without being ready. */
static int wait_ready(int fd)
{
    int64_t deadline_ms = now_ms() + READY_TIMEOUT_MS;
    for (;;) {
        int64_t left_ms = deadline_ms - now_ms();
        struct pollfd item = {.fd = fd, .events = POLLIN};
        int count = poll(&item, 1, left_ms > 0 ? (int)left_ms : 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            return -ETIMEDOUT;
        char byte;
        ssize_t size = read(fd, &byte, 1);
        if (size < 0 && errno == EINTR)
            continue;
        return size == 1 ? 0 : -ECHILD;
    }
}

/* What the log has got since `begin`, at most a few lines, indented. */
static void print_log_tail(const struct paths *paths, off_t begin)
{
    char bytes[LOG_TAIL_SIZE + 1];
    int fd = open(paths->log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;
    if (fd < 0)
        return;
    if (fstat(fd, &status) == 0 && status.st_size - begin > LOG_TAIL_SIZE)
        begin = status.st_size - LOG_TAIL_SIZE;
    ssize_t size = pread(fd, bytes, LOG_TAIL_SIZE, begin);
    close(fd);
    if (size <= 0)
        return;
    bytes[size] = '\0';
    char *line = bytes + size;
    if (line > bytes && line[-1] == '\n')
        *--line = '\0';
    for (int lines = 0; line > bytes; line--) {
        if (line[-1] == '\n' && ++lines == LOG_TAIL_LINES)
            break;
    }
    fprintf(stderr, "The last lines of %s:\n", paths->log);
    for (char *save = NULL, *text = strtok_r(line, "\n", &save); text != NULL;
         text = strtok_r(NULL, "\n", &save)) {
        char *safe = text_safe(text);
        fprintf(stderr, "  %s\n", safe != NULL ? safe : "");
        free(safe);
    }
}

static int launch(const char *program, const struct paths *paths)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return -errno;
    /* What stdio holds would be written twice. */
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        become_foyerd(program, paths, pipe_fds[1]);
    int error = pid < 0 ? -errno : 0;
    close(pipe_fds[1]);
    if (error == 0)
        error = wait_ready(pipe_fds[0]);
    /* The child in between has ended by now, or its end of the pipe would still be open. */
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    close(pipe_fds[0]);
    return error;
}

static int start_foyerd(const struct cli_invocation *invocation, const struct paths *paths)
{
    static const char *const places[] = {"foyerd", "../libexec/foyer/foyerd", "../sbin/foyerd"};
    char program[ELF_PATH_MAX];
    if (find_part(places, sizeof(places) / sizeof(places[0]), X_OK, program) != 0) {
        cli_error(invocation, "foyerd is not where it belongs, beside the program foyer itself; "
                              "the installation is incomplete");
        return -ENOENT;
    }
    struct stat status;
    off_t log_begin = stat(paths->log, &status) == 0 ? status.st_size : 0;
    int error = launch(program, paths);
    if (error == 0)
        return 0;
    if (error == -ETIMEDOUT)
        cli_error(invocation, "%s was started but is not ready after %d s; its log is %s", program,
                  READY_TIMEOUT_MS / 1000, paths->log);
    else
        cli_error(invocation, "%s cannot start for building '%s'%s%s", program, paths->building,
                  error == -ECHILD ? "" : ": ", error == -ECHILD ? "" : strerror(-error));
    print_log_tail(paths, log_begin);
    return error;
}

static int prepare_directory(const struct cli_invocation *invocation, const struct paths *paths)
{
    int error = paths_prepare(paths);
    if (error == -EPERM)
        cli_error(invocation,
                  "%s must be a directory of yours that is closed to others (mode 0700) and no "
                  "symbolic link; correct that, or set FOYER_DIR to another one",
                  paths->directory);
    else if (error != 0)
        cli_error(invocation, "cannot make the directory %s: %s; FOYER_DIR can name another place",
                  paths->directory, strerror(-error));
    return error;
}

int start_client_open(const struct cli_invocation *invocation, enum foyer_role role,
                      const char *host, const char *program, struct client *ret_client,
                      bool *ret_was_started)
{
    char lock_path[PATHS_SIZE_MAX + 16];
    bool was_started = false;
    int error = client_open(invocation, role, host, program, ret_client);
    if (error == -ENOENT) {
        error = prepare_directory(invocation, &ret_client->paths);
        if (error != 0)
            return error;
        snprintf(lock_path, sizeof(lock_path), "%s/start.lock", ret_client->paths.directory);
        int lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        int locked = -1;
        while (lock_fd >= 0 && (locked = flock(lock_fd, LOCK_EX)) != 0 && errno == EINTR)
            continue;
        if (locked != 0) {
            error = -errno;
            cli_error(invocation, "cannot lock %s: %s", lock_path, strerror(-error));
            if (lock_fd >= 0)
                close(lock_fd);
            return error;
        }
        /* Another one may have started it while this one waited for the lock. */
        error = client_open(invocation, role, host, program, ret_client);
        if (error == -ENOENT) {
            error = start_foyerd(invocation, &ret_client->paths);
            if (error == 0) {
                was_started = true;
                error = client_open(invocation, role, host, program, ret_client);
                if (error == -ENOENT)
                    client_explain_absence(invocation, ret_client);
            }
        }
        close(lock_fd);
    }
    if (error == 0 && ret_was_started != NULL)
        *ret_was_started = was_started;
    return error;
}
