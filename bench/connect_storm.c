/*
 * A storm of short connections, with plain sockets only, so that the same binary runs on the
 * kernel's and on foyer's.
 *
 *     connect_storm serve PORT [shared WORKERS | reuseport WORKERS]
 *         accepts and closes, until it is killed; in forked processes that all accept from one
 *         listener, or have one each of a SO_REUSEPORT group
 *     connect_storm ADDRESS PORT SECONDS THREADS [forked]
 *         connects, waits for the end, closes; prints connections per second. forked: all but
 *         the first connection in a child
 *
 * The server closes first, as a web server does that serves one request per connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define WORKERS_MAX 64
#define BACKLOG 1024

static struct sockaddr_in target;
static atomic_bool is_over;
static atomic_ulong connections;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "connect_storm: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int open_listener(uint16_t port, bool is_of_group)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0)
        die("socket");
    setsockopt(listener, SOL_SOCKET, is_of_group ? SO_REUSEPORT : SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&own, sizeof(own)) != 0)
        die("bind");
    if (listen(listener, BACKLOG) != 0)
        die("listen");
    return listener;
}

static _Noreturn void serve(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            close(fd);
        else if (errno != ECONNABORTED && errno != EINTR)
            die("accept");
    }
}

/* The listener of the master is not accepted from, as nginx and Apache have it. */
static _Noreturn void serve_in_workers(uint16_t port, unsigned worker_count, bool is_of_group)
{
    int listener = is_of_group ? -1 : open_listener(port, false);
    for (unsigned i = 0; i < worker_count; i++) {
        pid_t child = fork();
        if (child < 0)
            die("fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(is_of_group ? open_listener(port, true) : listener);
        }
    }
    while (wait(NULL) > 0)
        continue;
    die("the workers have ended");
}

static void connect_once(void)
{
    char byte;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        die("socket");
    if (connect(fd, (struct sockaddr *)&target, sizeof(target)) != 0)
        die("connect");
    if (recv(fd, &byte, 1, 0) != 0)
        die("the server's end of file");
    close(fd);
}

static void *storm(void *context)
{
    unsigned long count = 0;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        connect_once();
        count++;
    }
    atomic_fetch_add(&connections, count);
    return context;
}

static void run(double seconds, unsigned thread_count)
{
    pthread_t threads[THREADS_MAX];
    double begin_s = now_s();
    for (unsigned i = 0; i < thread_count; i++) {
        if (pthread_create(&threads[i], NULL, storm, NULL) != 0)
            die("pthread_create");
    }
    struct timespec duration = {.tv_sec = (time_t)seconds,
                                .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&duration, &duration) != 0 && errno == EINTR)
        continue;
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    printf("%.0f\n", (double)atomic_load(&connections) / (now_s() - begin_s));
}

/* One connection, and a child that goes on. Returns in the child. */
static void go_on_in_child(void)
{
    int status;
    connect_once();
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0)
        return;
    if (waitpid(child, &status, 0) != child)
        die("waitpid");
    exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: connect_storm serve PORT [shared WORKERS | reuseport WORKERS]\n"
                    "       connect_storm ADDRESS PORT SECONDS THREADS [forked]\n");
    exit(2);
}

static _Noreturn void run_server(int argc, char **argv)
{
    uint16_t port = (uint16_t)atoi(argv[2]);
    if (argc == 3)
        serve(open_listener(port, false));
    unsigned worker_count = argc == 5 ? (unsigned)atoi(argv[4]) : 0;
    bool is_of_group = strcmp(argv[3], "reuseport") == 0;
    if (worker_count < 1 || worker_count > WORKERS_MAX ||
        (!is_of_group && strcmp(argv[3], "shared") != 0))
        usage();
    serve_in_workers(port, worker_count, is_of_group);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "serve") == 0)
        run_server(argc, argv);
    bool is_forked = argc == 6 && strcmp(argv[5], "forked") == 0;
    unsigned thread_count = argc == 5 || is_forked ? (unsigned)atoi(argv[4]) : 0;
    if (thread_count < 1 || thread_count > THREADS_MAX)
        usage();
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
        fprintf(stderr, "connect_storm: %s is not an IPv4 address\n", argv[1]);
        return 2;
    }
    if (is_forked)
        go_on_in_child();
    run(atof(argv[3]), thread_count);
    return 0;
}
