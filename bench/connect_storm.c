/*
 * A storm of short connections, with plain sockets only, so that the same binary runs on the
 * kernel's and on foyer's.
 *
 *     connect_storm serve PORT                    accepts and closes, until it is killed
 *     connect_storm ADDRESS PORT SECONDS THREADS  connects, waits for the end, closes;
 *                                                 prints connections per second
 *
 * The server closes first, as a web server does that serves one request per connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
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

static void serve(uint16_t port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0)
        die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&own, sizeof(own)) != 0)
        die("bind");
    if (listen(listener, BACKLOG) != 0)
        die("listen");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            close(fd);
        else if (errno != ECONNABORTED && errno != EINTR)
            die("accept");
    }
}

static void *storm(void *context)
{
    unsigned long count = 0;
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        char byte;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0)
            die("socket");
        if (connect(fd, (struct sockaddr *)&target, sizeof(target)) != 0)
            die("connect");
        if (recv(fd, &byte, 1, 0) != 0)
            die("the server's end of file");
        close(fd);
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

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve((uint16_t)atoi(argv[2]));
    unsigned thread_count = argc == 5 ? (unsigned)atoi(argv[4]) : 0;
    if (thread_count < 1 || thread_count > THREADS_MAX) {
        fprintf(stderr, "usage: connect_storm serve PORT\n"
                        "       connect_storm ADDRESS PORT SECONDS THREADS\n");
        return 2;
    }
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
        fprintf(stderr, "connect_storm: %s is not an IPv4 address\n", argv[1]);
        return 2;
    }
    run(atof(argv[3]), thread_count);
    return 0;
}
