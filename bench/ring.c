/*
 * Two processes, a byte stream each way between them: 64 bytes there and back, and 64 KiB writes one
 * way. Over a connection, and over nothing but shared memory, which is the floor: a ring of the size
 * of foyer's, memcpy in, memcpy out, spinning, no system call.
 *
 *     ring bare MILLISECONDS          "round-trip NS" and "stream MB_PER_S"
 *     ring connection PORT MILLISECONDS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RING_SIZE = 262144, SMALL = 64, LARGE = 65536, SPINS = 20000, BATCH = 64 };

struct bare_ring {
    _Alignas(64) _Atomic uint32_t head;
    _Alignas(64) _Atomic uint32_t tail;
    _Alignas(64) char data[RING_SIZE];
};

/* One end: a socket, or the two rings. */
struct end {
    int fd;
    struct bare_ring *out, *in; /* NULL: the socket */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "ring: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The other process may need this core. */
static void pause_or_yield(unsigned *spins)
{
    if (++*spins % SPINS == 0)
        sched_yield();
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void ring_copy(struct bare_ring *ring, uint32_t position, char *bytes, size_t size, int out)
{
    size_t at = position % RING_SIZE, first = RING_SIZE - at < size ? RING_SIZE - at : size;
    memcpy(out ? ring->data + at : bytes, out ? bytes : ring->data + at, first);
    memcpy(out ? ring->data : bytes + first, out ? bytes + first : ring->data, size - first);
}

static void put(const struct end *end, char *bytes, size_t size)
{
    unsigned spins = 0;
    while (end->out == NULL && size > 0) {
        ssize_t sent = send(end->fd, bytes, size, 0);
        if (sent <= 0)
            die("send");
        bytes += sent;
        size -= (size_t)sent;
    }
    while (size > 0) {
        uint32_t head = atomic_load_explicit(&end->out->head, memory_order_relaxed);
        uint32_t used = head - atomic_load_explicit(&end->out->tail, memory_order_acquire);
        size_t part = RING_SIZE - used < size ? RING_SIZE - used : size;
        if (part == 0) {
            pause_or_yield(&spins);
            continue;
        }
        ring_copy(end->out, head, bytes, part, 1);
        atomic_store_explicit(&end->out->head, head + (uint32_t)part, memory_order_release);
        bytes += part;
        size -= part;
    }
}

/* Some bytes, at least one. */
static size_t get(const struct end *end, char *bytes, size_t size)
{
    unsigned spins = 0;
    if (end->in == NULL) {
        ssize_t got = recv(end->fd, bytes, size, 0);
        if (got <= 0)
            die("recv");
        return (size_t)got;
    }
    for (;;) {
        uint32_t tail = atomic_load_explicit(&end->in->tail, memory_order_relaxed);
        uint32_t used = atomic_load_explicit(&end->in->head, memory_order_acquire) - tail;
        size_t part = used < size ? used : size;
        if (part > 0) {
            ring_copy(end->in, tail, bytes, part, 0);
            atomic_store_explicit(&end->in->tail, tail + (uint32_t)part, memory_order_release);
            return part;
        }
        pause_or_yield(&spins);
    }
}

static void get_all(const struct end *end, char *bytes, size_t size)
{
    for (size_t done = 0; done < size;)
        done += get(end, bytes + done, size - done);
}

/* The first byte of a message says what it is; the last block of a stream is answered. */
enum { ECHO = 'e', STREAM = 's', LAST = 'l', QUIT = 'q' };

static char block[LARGE];

static void serve(const struct end *end)
{
    for (;;) {
        get_all(end, block, SMALL);
        if (block[0] == QUIT)
            return;
        if (block[0] == STREAM) {
            do
                get_all(end, block, LARGE);
            while (block[0] != LAST);
        }
        put(end, block, SMALL);
    }
}

static void round_trips(const struct end *end, int64_t limit_ns)
{
    int64_t start = 0, now = 0;
    long count = -BATCH; /* the first ones warm up */
    do {
        if (count == 0)
            start = now_ns();
        for (int i = 0; i < BATCH; i++) {
            block[0] = ECHO;
            put(end, block, SMALL);
            get_all(end, block, SMALL);
        }
        count += BATCH;
        now = now_ns();
    } while (count == 0 || now - start < limit_ns);
    printf("round-trip %.1f\n", (double)(now - start) / (double)count);
}

static void stream(const struct end *end, int64_t limit_ns)
{
    double bytes = 0;
    block[0] = STREAM;
    put(end, block, SMALL);
    int64_t start = now_ns();
    do {
        block[0] = now_ns() - start < limit_ns ? STREAM : LAST;
        put(end, block, LARGE);
        bytes += LARGE;
    } while (block[0] != LAST);
    get_all(end, block, SMALL);
    printf("stream %.0f\n", bytes * 1000 / (double)(now_ns() - start));
}

static void bare_ends(struct end ends[2])
{
    struct bare_ring *rings =
        mmap(NULL, 2 * sizeof(*rings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (rings == MAP_FAILED)
        die("mmap");
    ends[0] = (struct end){.fd = -1, .out = &rings[0], .in = &rings[1]};
    ends[1] = (struct end){.fd = -1, .out = &rings[1], .in = &rings[0]};
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

int main(int argc, char **argv)
{
    struct end ends[2] = {{.fd = -1}, {.fd = -1}};
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int listener = -1;
    if (argc < 3 || (strcmp(argv[1], "bare") != 0 && argc < 4))
        return 2;
    int64_t limit_ns = strtol(argv[argc - 1], NULL, 10) * 1000000;
    if (strcmp(argv[1], "bare") == 0) {
        bare_ends(ends);
    } else {
        addr.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
        addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listener = tcp_socket();
        if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(listener, 1) != 0)
            die("listen");
    }
    pid_t child = fork();
    if (child == 0) {
        if (listener >= 0)
            ends[1].fd = accept(listener, NULL, NULL);
        serve(&ends[1]);
        _exit(0);
    }
    if (listener >= 0) {
        ends[0].fd = tcp_socket();
        if (connect(ends[0].fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
            die("connect");
    }
    round_trips(&ends[0], limit_ns);
    stream(&ends[0], limit_ns);
    block[0] = QUIT;
    put(&ends[0], block, SMALL);
    waitpid(child, NULL, 0);
    return 0;
}
