/*
 * The rows' work on the kernel's loopback, by this one process and core, in a network namespace
 * of its own: its port range is foyer's, its TIME-WAITs are nobody else's.
 */
#include "core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 7

struct kernel {
    int outside, inside; /* namespaces; we are inside only while we open sockets and measure */
    int listener;
    uint32_t destination;
    int *held;
    uint32_t held_count;
};

static bool set_port_range(void)
{
    char range[32];
    int size = snprintf(range, sizeof(range), "%u %u", CORE_PORT_FIRST, CORE_PORT_LAST);
    int fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    bool is_set = fd >= 0 && write(fd, range, (size_t)size) == size;
    if (fd >= 0)
        close(fd);
    return is_set;
}

static bool bring_up_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    if (fd >= 0)
        close(fd);
    return is_up;
}

static int listen_on_loopback(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CORE_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0);
    CORE_CHECK(listen(fd, 1024) == 0);
    return fd;
}

static void go(int space)
{
    CORE_CHECK(setns(space, CLONE_NEWNET) == 0);
}

static struct kernel *kernel_open(void)
{
    struct kernel *kernel = calloc(1, sizeof(*kernel));
    CORE_CHECK(kernel != NULL);
    kernel->outside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CORE_CHECK(kernel->outside >= 0);
    if (unshare(CLONE_NEWNET) != 0) {
        fprintf(stderr, "kernel: no network namespace (%s), its rows are left out\n",
                strerror(errno));
        close(kernel->outside);
        free(kernel);
        return NULL;
    }
    kernel->inside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CORE_CHECK(kernel->inside >= 0 && bring_up_loopback() && set_port_range());
    kernel->listener = listen_on_loopback();
    go(kernel->outside);
    return kernel;
}

static void kernel_close(void *state)
{
    struct kernel *kernel = state;
    for (uint32_t i = 0; i < kernel->held_count; i++)
        close(kernel->held[i]);
    free(kernel->held);
    close(kernel->listener);
    close(kernel->inside);
    close(kernel->outside);
    free(kernel);
}

/* Addresses of 127.0.0.0/8 all lead to the listener, each with its own 4-tuples. */
static struct sockaddr_in destination(uint32_t number)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    addr.sin_addr.s_addr = htonl(0x7f010001u + number);
    return addr;
}

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CORE_CHECK(fd >= 0);
    return fd;
}

/* On loopback the whole handshake happens inside connect(). */
static void connect_socket(int fd, const struct sockaddr_in *remote)
{
    CORE_CHECK(connect(fd, (const struct sockaddr *)remote, sizeof(*remote)) == 0);
}

static int accept_socket(const struct kernel *kernel)
{
    int fd = accept4(kernel->listener, NULL, NULL, SOCK_CLOEXEC);
    CORE_CHECK(fd >= 0);
    return fd;
}

/* ---- connects --------------------------------------------------------------------------------- */

static void *connects_open(long argument)
{
    (void)argument;
    return kernel_open();
}

static double connects_measure(void *state, double seconds)
{
    struct kernel *kernel = state;
    uint64_t count = 0;
    go(kernel->inside);
    double start = core_seconds(), now;
    do {
        /* Few to one destination: TIME-WAIT must not make the search for a port long. */
        struct sockaddr_in remote = destination(kernel->destination++);
        for (unsigned i = 0; i < 500; i++, count++) {
            char byte;
            int client = open_socket();
            connect_socket(client, &remote);
            int server = accept_socket(kernel);
            close(client);
            CORE_CHECK(read(server, &byte, 1) == 0);
            close(server);
        }
        now = core_seconds();
    } while (now - start < seconds);
    go(kernel->outside);
    return (double)count / (now - start);
}

const struct subject kernel_connects = {connects_open, connects_measure, kernel_close};

/* ---- ephemeral ports ---------------------------------------------------------------------------- */

#define PORT_BATCH 16u

static void *port_open(long argument)
{
    uint32_t count = (uint32_t)((CORE_PORT_LAST - CORE_PORT_FIRST + 1) * (uint64_t)argument / 1000);
    struct rlimit limit;
    CORE_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t wanted = count + 1000;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        limit.rlim_max = limit.rlim_max < wanted ? wanted : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            fprintf(stderr, "kernel: may not hold %u connections, left out\n", count);
            return NULL;
        }
    }
    struct kernel *kernel = kernel_open();
    if (kernel == NULL)
        return NULL;
    kernel->held = calloc(count, sizeof(int));
    CORE_CHECK(kernel->held != NULL);
    struct sockaddr_in remote = destination(0);
    go(kernel->inside);
    for (uint32_t i = 0; i < count; i++) {
        int fd = open_socket();
        connect_socket(fd, &remote);
        kernel->held[kernel->held_count++] = fd;
        /* The server's end goes; the client's, in CLOSE-WAIT, keeps the port. */
        close(accept_socket(kernel));
    }
    go(kernel->outside);
    return kernel;
}

static double port_measure(void *state, double seconds)
{
    struct kernel *kernel = state;
    struct sockaddr_in remote = destination(0);
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    double spent = 0, cost = core_clock_cost(), begin = core_seconds();
    uint64_t count = 0;
    go(kernel->inside);
    do {
        int fds[PORT_BATCH];
        for (unsigned i = 0; i < PORT_BATCH; i++)
            fds[i] = open_socket();
        double start = core_seconds();
        for (unsigned i = 0; i < PORT_BATCH; i++)
            connect_socket(fds[i], &remote);
        spent += core_seconds() - start - cost;
        for (unsigned i = 0; i < PORT_BATCH; i++) {
            /* A reset leaves no TIME-WAIT: the share of taken ports stays what it is. */
            CORE_CHECK(setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
            close(fds[i]);
            close(accept_socket(kernel));
        }
        count += PORT_BATCH;
    } while (core_seconds() - begin < seconds);
    go(kernel->outside);
    return spent * 1e9 / (double)count;
}

const struct subject kernel_port = {port_open, port_measure, kernel_close};
