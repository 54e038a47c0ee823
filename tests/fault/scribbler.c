/*
 * A hostile attached program: writes over every byte of the memory that it shares with foyerd and
 * with its peer, rings doorbells and sends nonsense to foyerd, while its connections are open.
 *
 *     scribbler serve PORT
 *     scribbler ADDRESS PORT SEED MILLISECONDS UDP_ADDRESS UDP_PORT
 *
 * It goes past libfoyer-preload.so with system calls of its own, as an attacker would, and does not
 * mind when the library in it crashes: then it has ended, which is its own trouble.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAPPINGS_MAX 512
#define CONNECTIONS 8
#define DATAGRAM_SOCKETS 3

struct mapping {
    uint8_t *begin;
    size_t size;
};

static struct mapping mappings[MAPPINGS_MAX];
static unsigned mapping_count;
static struct sockaddr_in datagram_target;
static int datagram_fds[DATAGRAM_SOCKETS];
static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull;
}

/* A system call that no library can stand in front of. */
static long direct(long number, long a, long b, long c, long d)
{
#ifdef __x86_64__
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    return syscall(number, a, b, c, d);
#endif
}

/* Shared, writable mappings of memfds: foyer's channels, direct rings and arenas. */
static void find_mappings(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    mapping_count = 0;
    while (maps != NULL && mapping_count < MAPPINGS_MAX && fgets(line, sizeof(line), maps)) {
        unsigned long begin, end;
        char mode[8];
        if (strstr(line, "memfd:") != NULL &&
            sscanf(line, "%lx-%lx %7s", &begin, &end, mode) == 3 && strcmp(mode, "rw-s") == 0)
            mappings[mapping_count++] =
                (struct mapping){(uint8_t *)begin, (size_t)(end - begin)}; /* NOLINT */
    }
    if (maps != NULL)
        fclose(maps);
}

/* Values at which sizes and indexes go wrong. */
static uint64_t nasty(void)
{
    static const uint64_t values[] = {0,          1,          UINT64_MAX, INT64_MAX, UINT32_MAX,
                                      INT32_MAX,  0x80000000, 262144,     262143,    524288,
                                      0x10000000, 4096,       65536,      0xffff};
    uint64_t number = random_next();
    return number % 4 == 0 ? number : values[number / 4 % (sizeof(values) / sizeof(values[0]))];
}

static void scribble(unsigned count)
{
    for (unsigned i = 0; i < count && mapping_count > 0; i++) {
        const struct mapping *mapping = &mappings[random_next() % mapping_count];
        uint64_t value = nasty();
        /* Control pages and slots in use are at the beginning. */
        size_t span = random_next() % 4 != 0 && mapping->size > 8192 ? 8192 : mapping->size;
        size_t width = (size_t)1 << random_next() % 4;
        size_t at = random_next() % (span - 8) / width * width;
        memcpy(mapping->begin + at, &value, width);
    }
}

/* Bytes to foyerd and to the peer, on whatever descriptors there are. */
static void ring(void)
{
    uint8_t bytes[256];
    int fd = (int)(random_next() % 4 == 0 ? 3 + random_next() % 64 : random_next() % 8192);
    int type = 0;
    socklen_t size = sizeof(type);
    for (size_t i = 0; i < sizeof(bytes); i += 8) {
        uint64_t value = nasty();
        memcpy(bytes + i, &value, 8);
    }
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 || errno == EBADF)
        direct(SYS_sendto, fd, (long)bytes, (long)(1 + random_next() % sizeof(bytes)),
               MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int connect_to(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        (void)connect(fd, (const struct sockaddr *)target, sizeof(*target));
    return fd;
}

/* Ordinary use in between, so that there is something to spoil. */
static void use(int fds[CONNECTIONS], const struct sockaddr_in *target)
{
    char bytes[3000] = {0};
    int *fd = &fds[random_next() % CONNECTIONS];
    switch (random_next() % 6) {
    case 0:
        if (*fd >= 0)
            close(*fd);
        *fd = connect_to(target);
        break;
    case 1:
        (void)recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        break;
    case 2:
        if (*fd >= 0)
            shutdown(*fd, (int)(random_next() % 3));
        break;
    default:
        (void)send(*fd, bytes, (size_t)(random_next() % sizeof(bytes)),
                   MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    }
}

/* Enough datagrams for rings of their own, and now and then a new socket with new ones. */
static void use_datagrams(void)
{
    char bytes[1000] = {0};
    int *fd = &datagram_fds[random_next() % DATAGRAM_SOCKETS];
    if (random_next() % 64 == 0) {
        close(*fd);
        *fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        (void)sendto(*fd, bytes, (size_t)(random_next() % sizeof(bytes)), MSG_DONTWAIT,
                     (const struct sockaddr *)&datagram_target, sizeof(datagram_target));
        (void)recv(*fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    }
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void attack(const struct sockaddr_in *target, int64_t end_ms)
{
    int fds[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++)
        fds[i] = connect_to(target);
    for (unsigned i = 0; i < DATAGRAM_SOCKETS; i++)
        datagram_fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    for (unsigned i = 0; i < 100; i++) {
        use(fds, target);
        use_datagrams();
    }
    while (now_ms() < end_ms) {
        find_mappings();
        for (unsigned i = 0; i < 50; i++) {
            scribble(20);
            if (random_next() % 2 == 0)
                use(fds, target);
            if (random_next() % 2 == 0)
                use_datagrams();
            if (random_next() % 4 == 0)
                ring();
        }
    }
}

static void serve(uint16_t port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
    char bytes[4096];
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof(own)) != 0 ||
        listen(listener, 64) != 0)
        exit(1);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0)
            continue;
        for (unsigned i = 0; i < 20; i++) {
            ssize_t count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
            if (count > 0)
                (void)send(fd, bytes, (size_t)count, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        close(fd);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in target = {.sin_family = AF_INET};
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve((uint16_t)strtol(argv[2], NULL, 10));
    datagram_target.sin_family = AF_INET;
    if (argc != 7 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1 ||
        inet_pton(AF_INET, argv[5], &datagram_target.sin_addr) != 1) {
        fprintf(stderr, "usage: scribbler serve PORT\n"
                        "       scribbler ADDRESS PORT SEED MILLISECONDS UDP_ADDRESS UDP_PORT\n");
        return 2;
    }
    datagram_target.sin_port = htons((uint16_t)strtol(argv[6], NULL, 10));
    target.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
    random_state = strtoull(argv[3], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    /* A crash of ours costs the rest of that child's time, and is not reported as one. */
    int64_t end_ms = now_ms() + strtol(argv[4], NULL, 10);
    while (now_ms() < end_ms) {
        pid_t child = fork();
        if (child == 0) {
            alarm((unsigned)strtol(argv[4], NULL, 10) / 1000 + 1); /* it may hang itself, too */
            attack(&target, end_ms);
            direct(SYS_exit_group, 0, 0, 0, 0);
        }
        if (child > 0)
            waitpid(child, NULL, 0);
        random_next();
    }
    return 0;
}
