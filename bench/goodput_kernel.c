/*
 * Linux against itself, in real time:
 *
 *     namespace A, TAP --- impair (this thread) --- TAP, namespace B
 *     senders (a thread)                            receivers (a thread)
 *
 * The wire's thread asks for the real-time class, so that a busy machine delays frames less.
 */
#include "goodput.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "link/tap.h"

#define PORT 7
#define BATCH 64
#define CHUNK_BYTES 262144

struct end {
    struct link *tap;
    int space;
};

struct run {
    const struct goodput_path *path;
    struct end ends[2];
    int listener, senders[GOODPUT_FLOWS_MAX], receivers[GOODPUT_FLOWS_MAX];
    _Atomic uint64_t received[GOODPUT_FLOWS_MAX]; /* bytes */
    _Atomic unsigned established;
    atomic_bool is_over;
};

static foyer_time_ns real_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (foyer_time_ns)now.tv_sec * FOYER_NS_PER_S + (foyer_time_ns)now.tv_nsec;
}

static void set_sysctl(const char *name, const char *value)
{
    char path[128];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CORE_CHECK(fd >= 0);
    CORE_CHECK(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
    close(fd);
}

static void set_up_interface(const char *name, unsigned index)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(0x0a000001u + index)};
    CORE_CHECK(fd >= 0);
    memcpy(request.ifr_name, name, IFNAMSIZ);
    memcpy(&request.ifr_addr, &addr, sizeof(addr));
    CORE_CHECK(ioctl(fd, SIOCSIFADDR, &request) == 0);
    addr.sin_addr.s_addr = htonl(0xffffff00u);
    memcpy(&request.ifr_netmask, &addr, sizeof(addr));
    CORE_CHECK(ioctl(fd, SIOCSIFNETMASK, &request) == 0);
    request.ifr_qlen = 20000; /* the path's queue is impair's */
    CORE_CHECK(ioctl(fd, SIOCSIFTXQLEN, &request) == 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    CORE_CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
}

/* In a namespace of its own. */
static bool open_end(struct end *end, unsigned index)
{
    const struct link_tap_config config = {.name = "wire%d", .no_receive_offload = true};
    char name[LINK_TAP_NAME_SIZE];

    if (unshare(CLONE_NEWNET) != 0) {
        fprintf(stderr, "kernel: no network namespace (%s), its figures are left out\n",
                strerror(errno));
        return false;
    }
    int error = link_tap_open(&config, &end->tap, name);
    if (error < 0) {
        fprintf(stderr, "kernel: no TAP device (%s), its figures are left out\n", strerror(-error));
        return false;
    }
    end->space = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CORE_CHECK(end->space >= 0);
    set_up_interface(name, index);
    /* Windows as large as foyer's; nothing remembered of earlier runs. */
    set_sysctl("tcp_rmem", "4096 8388608 33554432");
    set_sysctl("tcp_wmem", "4096 8388608 33554432");
    set_sysctl("tcp_no_metrics_save", "1");
    return true;
}

/* ---- programs ------------------------------------------------------------------------------------ */

static void *receive(void *argument)
{
    struct run *run = argument;
    char *chunk = malloc(CHUNK_BYTES);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    CORE_CHECK(chunk != NULL && poller >= 0);
    for (unsigned i = 0; i < run->path->flows; i++) {
        run->receivers[i] = accept4(run->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        CORE_CHECK(run->receivers[i] >= 0);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        CORE_CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, run->receivers[i], &event) == 0);
        atomic_fetch_add(&run->established, 1);
    }
    while (!atomic_load(&run->is_over)) {
        struct epoll_event events[GOODPUT_FLOWS_MAX];
        int count = epoll_wait(poller, events, GOODPUT_FLOWS_MAX, 50);
        for (int i = 0; i < count; i++) {
            uint32_t flow = events[i].data.u32;
            ssize_t size = read(run->receivers[flow], chunk, CHUNK_BYTES);
            if (size > 0)
                atomic_fetch_add(&run->received[flow], (uint64_t)size);
        }
    }
    close(poller);
    free(chunk);
    return NULL;
}

static int open_sender(const struct run *run)
{
    struct sockaddr_in remote = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x0a000002u)};
    const char *congestion = run->path->congestion;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CORE_CHECK(fd >= 0);
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)) < 0)
        fprintf(stderr, "kernel: has no %s\n", congestion);
    CORE_CHECK(connect(fd, (struct sockaddr *)&remote, sizeof(remote)) == 0);
    CORE_CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

static void *send_all(void *argument)
{
    struct run *run = argument;
    char *chunk = calloc(1, CHUNK_BYTES);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    CORE_CHECK(chunk != NULL && poller >= 0 && setns(run->ends[0].space, CLONE_NEWNET) == 0);
    for (unsigned i = 0; i < run->path->flows; i++) {
        run->senders[i] = open_sender(run);
        struct epoll_event event = {.events = EPOLLOUT, .data.u32 = i};
        CORE_CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, run->senders[i], &event) == 0);
    }
    while (!atomic_load(&run->is_over)) {
        struct epoll_event events[GOODPUT_FLOWS_MAX];
        int count = epoll_wait(poller, events, GOODPUT_FLOWS_MAX, 50);
        for (int i = 0; i < count; i++)
            (void)!write(run->senders[events[i].data.u32], chunk, CHUNK_BYTES);
    }
    close(poller);
    free(chunk);
    return NULL;
}

/* ---- the wire ------------------------------------------------------------------------------------- */

static bool carry(struct link *from, struct impair *way, struct link *to, foyer_time_ns now)
{
    struct foyer_packet packets[BATCH];
    bool any = false;
    int got = link_receive(from, packets, BATCH, now);
    for (int i = 0; i < got; i++)
        impair_push(way, &packets[i], now);
    any = got > 0;
    size_t due = impair_pop(way, packets, BATCH, now);
    if (due > 0)
        (void)link_send(to, packets, due, now);
    return any || due > 0;
}

static void wait_for(struct run *run, const struct impair way[2], foyer_time_ns end_ns)
{
    struct pollfd fds[2] = {{link_fd(run->ends[0].tap), POLLIN, 0},
                            {link_fd(run->ends[1].tap), POLLIN, 0}};
    foyer_time_ns next = impair_deadline(&way[0]), back = impair_deadline(&way[1]);
    foyer_time_ns now = real_now();
    next = next < back ? next : back;
    next = next < end_ns ? next : end_ns;
    foyer_time_ns left = next > now ? next - now : 0;
    if (left > 10 * FOYER_NS_PER_MS)
        left = 10 * FOYER_NS_PER_MS; /* somebody may have connected */
    struct timespec timeout = {0, (long)left};
    (void)ppoll(fds, 2, &timeout, NULL);
}

static uint64_t sum_retransmissions(const struct run *run)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < run->path->flows; i++) {
        struct tcp_info info;
        socklen_t size = sizeof(info);
        if (getsockopt(run->senders[i], IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
            sum += info.tcpi_total_retrans;
    }
    return sum;
}

static void run_wire(struct run *run, struct goodput_result *result)
{
    const struct goodput_path *path = run->path;
    struct impair way[2];
    uint64_t before[GOODPUT_FLOWS_MAX] = {0};
    foyer_time_ns end_ns = FOYER_TIME_NEVER;

    impair_init(&way[0], &path->to, path->seed);
    impair_init(&way[1], &path->back, path->seed ^ 0x5bd1e995u);
    while (real_now() < end_ns) {
        foyer_time_ns now = real_now();
        bool any = carry(run->ends[0].tap, &way[0], run->ends[1].tap, now);
        any |= carry(run->ends[1].tap, &way[1], run->ends[0].tap, now);
        if (end_ns == FOYER_TIME_NEVER && atomic_load(&run->established) == path->flows) {
            end_ns = now + path->length_ns;
            for (unsigned i = 0; i < path->flows; i++)
                before[i] = atomic_load(&run->received[i]);
        }
        if (!any)
            wait_for(run, way, end_ns);
    }
    for (unsigned i = 0; i < path->flows; i++)
        result->flow_bytes[i] = atomic_load(&run->received[i]) - before[i];
    result->retransmissions = sum_retransmissions(run);
    result->to = way[0].stats;
    impair_finish(&way[0]);
    impair_finish(&way[1]);
}

bool goodput_kernel(const struct goodput_path *path, struct goodput_result *ret_result)
{
    struct run run = {.path = path};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct sched_param priority = {.sched_priority = 2};
    pthread_t receiver, sender;

    if (!open_end(&run.ends[0], 0) || !open_end(&run.ends[1], 1))
        return false;
    /* Still in the second namespace. */
    run.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CORE_CHECK(run.listener >= 0 && bind(run.listener, (struct sockaddr *)&any, sizeof(any)) == 0);
    CORE_CHECK(listen(run.listener, 64) == 0);
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
        fprintf(stderr, "kernel: no real-time class (%s); a busy machine will show\n",
                strerror(errno));
    CORE_CHECK(pthread_create(&receiver, NULL, receive, &run) == 0);
    CORE_CHECK(pthread_create(&sender, NULL, send_all, &run) == 0);
    *ret_result = (struct goodput_result){0};
    run_wire(&run, ret_result);
    atomic_store(&run.is_over, true);
    pthread_join(receiver, NULL);
    pthread_join(sender, NULL);
    return true; /* sockets and namespaces go with the process */
}
