/*
 * A stream of 64-byte messages one way over TCP, with plain send and recv only, so that the same
 * binary runs on the kernel's sockets and on foyer's.
 *
 *     messages serve PORT             receives from one client after the other, until it is killed
 *     messages ADDRESS PORT SECONDS   sends as fast as it can, then prints what the server has
 *                                     counted: messages per second, median and 99th percentile of
 *                                     a message's way in microseconds
 *
 * Each message carries the time at which it was sent (the clock is the same machine's). The way is
 * that under full load: it includes the time in buffers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_SIZE 64u
#define SAMPLE_EVERY 64u
#define SAMPLES_MAX (4u << 20)

struct report {
    double messages_per_s, median_us, p99_us;
};

static int64_t samples[SAMPLES_MAX];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "messages: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* One whole message; 0 at the end of the stream. */
static size_t receive(int fd, uint8_t message[MESSAGE_SIZE])
{
    size_t size = 0;
    while (size < MESSAGE_SIZE) {
        ssize_t count = recv(fd, message + size, MESSAGE_SIZE - size, 0);
        if (count < 0 && errno != EINTR)
            die("recv");
        if (count == 0)
            return 0;
        size += count > 0 ? (size_t)count : 0;
    }
    return size;
}

static struct report count_messages(int fd)
{
    uint8_t message[MESSAGE_SIZE];
    struct report report = {0};
    uint64_t count = 0;
    size_t sample_count = 0;
    int64_t begin_ns = 0, sent_ns;
    while (receive(fd, message) != 0) {
        if (count == 0)
            begin_ns = now_ns();
        if (count++ % SAMPLE_EVERY == 0 && sample_count < SAMPLES_MAX) {
            memcpy(&sent_ns, message, sizeof(sent_ns));
            samples[sample_count++] = now_ns() - sent_ns;
        }
    }
    if (sample_count == 0)
        return report;
    report.messages_per_s = (double)count * 1e9 / (double)(now_ns() - begin_ns);
    qsort(samples, sample_count, sizeof(samples[0]), compare);
    size_t middle = sample_count / 2, late = sample_count * 99 / 100;
    report.median_us = (double)samples[middle] / 1e3;
    report.p99_us = (double)samples[late] / 1e3;
    return report;
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
    if (listen(listener, 8) != 0)
        die("listen");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        struct report report = count_messages(fd);
        if (send(fd, &report, sizeof(report), 0) != (ssize_t)sizeof(report))
            die("send");
        close(fd);
    }
}

static void stream(const struct sockaddr_in *target, double seconds)
{
    uint8_t message[MESSAGE_SIZE] = {0};
    struct report report;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)target, sizeof(*target)) != 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    int64_t end_ns = now_ns() + (int64_t)(seconds * 1e9);
    for (uint64_t count = 0;; count++) {
        if (count % SAMPLE_EVERY == 0) { /* the messages that the server looks at */
            int64_t sent_ns = now_ns();
            if (sent_ns >= end_ns)
                break;
            memcpy(message, &sent_ns, sizeof(sent_ns));
        }
        for (size_t done = 0; done < MESSAGE_SIZE;) {
            ssize_t sent = send(fd, message + done, MESSAGE_SIZE - done, 0);
            if (sent < 0 && errno != EINTR)
                die("send");
            done += sent > 0 ? (size_t)sent : 0;
        }
    }
    if (shutdown(fd, SHUT_WR) != 0 ||
        recv(fd, &report, sizeof(report), MSG_WAITALL) != (ssize_t)sizeof(report))
        die("the server's report");
    printf("%.0f %.3f %.3f\n", report.messages_per_s, report.median_us, report.p99_us);
    close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_in target = {.sin_family = AF_INET};
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve((uint16_t)strtol(argv[2], NULL, 10));
    if (argc != 4 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1) {
        fprintf(stderr, "usage: messages serve PORT\n       messages ADDRESS PORT SECONDS\n");
        return 2;
    }
    target.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
    stream(&target, strtod(argv[3], NULL));
    return 0;
}
