/*
 * The TAP rows: one stream between a stack in this process and a kernel's socket, over a TAP device
 * in a network namespace of its own; beside it, the same stream between two kernels' sockets over
 * veth. One thread does the work of both ends, so a figure is what the whole path costs.
 *
 * Argument 0: from the stack to the kernel's socket; 1: the other way (on veth they are the same).
 */
#include "core_tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <foyer/foyer.h>

#include "core.h"

#define CHUNK_BYTES 65536u
#define IN_BATCH 32 /* frames per receive */

/* ---- namespaces and interfaces ------------------------------------------------------------------- */

static int this_space(void)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CORE_CHECK(fd >= 0);
    return fd;
}

static void go(int space)
{
    CORE_CHECK(setns(space, CLONE_NEWNET) == 0);
}

/* A namespace of our own, and in it; -1: not allowed. */
static int enter_new_space(void)
{
    if (unshare(CLONE_NEWNET) == 0)
        return this_space();
    fprintf(stderr, "tap: no network namespace (%s), its rows are left out\n", strerror(errno));
    return -1;
}

static void set_address(struct sockaddr *to, uint32_t addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(addr)};
    memcpy(to, &in, sizeof(in));
}

static void bring_up(const char *name, uint32_t addr)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CORE_CHECK(fd >= 0);
    memcpy(request.ifr_name, name, strlen(name));
    set_address(&request.ifr_addr, addr);
    CORE_CHECK(ioctl(fd, SIOCSIFADDR, &request) == 0);
    set_address(&request.ifr_netmask, 0xffffff00u);
    CORE_CHECK(ioctl(fd, SIOCSIFNETMASK, &request) == 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    CORE_CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
}

/* ---- the kernel's sockets ---------------------------------------------------------------------------- */

static int listen_on(uint32_t addr)
{
    struct sockaddr_in local = {
        .sin_family = AF_INET, .sin_port = htons(TAP_PORT), .sin_addr.s_addr = htonl(addr)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CORE_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&local, sizeof(local)) == 0);
    CORE_CHECK(listen(fd, 4) == 0);
    return fd;
}

bool tap_kernel_accept(struct tap *tap)
{
    tap->socket = accept4(tap->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return tap->socket >= 0;
}

void tap_kernel_send(struct tap *tap)
{
    while (send(tap->socket, tap->from, CHUNK_BYTES, MSG_NOSIGNAL) > 0)
        ;
    CORE_CHECK(errno == EAGAIN);
}

uint64_t tap_kernel_recv(struct tap *tap)
{
    uint64_t received = 0;
    ssize_t size;
    while ((size = recv(tap->socket, tap->to, CHUNK_BYTES, 0)) > 0)
        received += (uint64_t)size;
    CORE_CHECK(size < 0 && errno == EAGAIN);
    return received;
}

/* ---- the TAP ------------------------------------------------------------------------------------------- */

bool tap_open(struct tap *tap, bool no_receive_offload)
{
    char name[LINK_TAP_NAME_SIZE];
    int outside = this_space();
    *tap = (struct tap){.space = enter_new_space(), .socket = -1};
    if (tap->space < 0) {
        close(outside);
        return false;
    }
    struct link_tap_config config = {.no_receive_offload = no_receive_offload};
    int error = link_tap_open(&config, &tap->link, name);
    if (error < 0) {
        fprintf(stderr, "tap: no TAP device (%s), its rows are left out\n", strerror(-error));
    } else {
        bring_up(name, TAP_KERNEL_ADDR);
        tap->listener = listen_on(TAP_KERNEL_ADDR);
        tap->from = calloc(1, CHUNK_BYTES);
        tap->to = calloc(1, CHUNK_BYTES);
        CORE_CHECK(tap->from != NULL && tap->to != NULL);
    }
    go(outside);
    close(outside);
    if (error < 0)
        close(tap->space);
    return error == 0;
}

void tap_close(struct tap *tap)
{
    if (tap->socket >= 0)
        close(tap->socket);
    close(tap->listener);
    link_close(tap->link);
    close(tap->space);
    free(tap->from);
    free(tap->to);
}

/* ---- foyer ------------------------------------------------------------------------------------------------ */

struct foyer_end {
    struct tap tap;
    struct foyer_host *host;
    foyer_socket socket;
    foyer_time_ns now;
    bool is_inward;
};

static void *take(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void give(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

static struct foyer_addr address(uint32_t addr)
{
    return foyer_addr_v4((uint8_t)(addr >> 24), (uint8_t)(addr >> 16), (uint8_t)(addr >> 8),
                         (uint8_t)addr);
}

static void pump_in(struct foyer_end *end)
{
    struct foyer_packet packets[IN_BATCH];
    int got;

    while ((got = link_receive(end->tap.link, packets, IN_BATCH, end->now)) > 0)
        foyer_host_input(end->host, packets, (size_t)got, end->now);
    CORE_CHECK(got == 0);
}

static void pump_out(struct foyer_end *end)
{
    struct foyer_packet packets[64];
    struct foyer_event events[16];
    size_t count;

    if (foyer_host_deadline(end->host) <= end->now)
        foyer_host_tick(end->host, end->now);
    while ((count = foyer_host_output(end->host, packets, 64, end->now)) > 0)
        CORE_CHECK(link_send(end->tap.link, packets, count, end->now) == (int)count);
    while (foyer_host_events(end->host, events, 16) == 16)
        ;
}

static void *foyer_open(long argument)
{
    struct foyer_end *end = calloc(1, sizeof(*end));
    CORE_CHECK(end != NULL);
    if (!tap_open(&end->tap, false)) {
        free(end);
        return NULL;
    }
    end->is_inward = argument == 1;
    end->now = FOYER_NS_PER_S;
    struct foyer_host_config config = {
        .allocator = {take, give, NULL},
        .mac = {2, 0, 0, 0, 0, 9},
        .link_capabilities = link_capabilities(end->tap.link),
        .secret = {9, 9, 9},
    };
    end->host = foyer_host_create(&config, end->now);
    CORE_CHECK(end->host != NULL);
    struct foyer_addr self = address(TAP_STACK_ADDR);
    struct foyer_endpoint remote = {address(TAP_KERNEL_ADDR), TAP_PORT};
    CORE_CHECK(foyer_host_add_address(end->host, &self, 24) == 0);
    CORE_CHECK(foyer_socket_open(end->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &end->socket) == 0);
    CORE_CHECK(foyer_socket_connect(end->host, end->socket, &remote, end->now) == -EINPROGRESS);
    while (!tap_kernel_accept(&end->tap)) {
        pump_in(end);
        pump_out(end);
        end->now += FOYER_NS_PER_MS;
    }
    return end;
}

static uint64_t foyer_round(struct foyer_end *end)
{
    int64_t size;
    uint64_t received = 0;

    if (end->is_inward) {
        tap_kernel_send(&end->tap);
        pump_in(end);
        while ((size = foyer_socket_recv(end->host, end->socket, end->tap.to, CHUNK_BYTES,
                                         end->now)) > 0)
            received += (uint64_t)size;
        CORE_CHECK(size == -EAGAIN);
        pump_out(end); /* its ACKs tell what the program has taken */
        return received;
    }
    while ((size = foyer_socket_send(end->host, end->socket, end->tap.from, CHUNK_BYTES,
                                     end->now)) > 0)
        ;
    CORE_CHECK(size == -EAGAIN);
    pump_in(end);
    pump_out(end);
    return tap_kernel_recv(&end->tap);
}

static double foyer_measure(void *state, double seconds)
{
    struct foyer_end *end = state;
    struct foyer_host_stats before, after;
    foyer_host_stats(end->host, &before);
    uint64_t received = 0;
    double start = core_seconds(), now = start;
    do {
        for (unsigned i = 0; i < 16; i++)
            received += foyer_round(end);
        double then = now;
        now = core_seconds();
        end->now += (foyer_time_ns)((now - then) * 1e9);
    } while (now - start < seconds);
    foyer_host_stats(end->host, &after);
    CORE_CHECK(after.tcp_retrans_segs == before.tcp_retrans_segs);
    return (double)received * 8 / 1e9 / (now - start);
}

static void foyer_close(void *state)
{
    struct foyer_end *end = state;
    foyer_host_destroy(end->host);
    tap_close(&end->tap);
    free(end);
}

const struct subject foyer_tap = {foyer_open, foyer_measure, foyer_close};

/* ---- veth ---------------------------------------------------------------------------------------------------- */

struct veth_request {
    struct nlmsghdr header;
    struct ifinfomsg info;
    uint8_t attributes[256];
};

static struct rtattr *put_attribute(struct veth_request *request, unsigned short type,
                                    const void *bytes, size_t size)
{
    struct rtattr *attribute =
        (struct rtattr *)(void *)((uint8_t *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size > 0)
        memcpy(RTA_DATA(attribute), bytes, size);
    request->header.nlmsg_len =
        NLMSG_ALIGN(request->header.nlmsg_len) + (uint32_t)RTA_ALIGN(attribute->rta_len);
    return attribute;
}

static void end_nest(const struct veth_request *request, struct rtattr *nest)
{
    nest->rta_len =
        (unsigned short)((const uint8_t *)request + request->header.nlmsg_len - (uint8_t *)nest);
}

/* veth0 here, veth1 in the other namespace. */
static bool make_veth(int other_space)
{
    struct veth_request request = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                   .nlmsg_type = RTM_NEWLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};
    const struct ifinfomsg peer = {0};
    put_attribute(&request, IFLA_IFNAME, "veth0", 6);
    struct rtattr *info = put_attribute(&request, IFLA_LINKINFO, NULL, 0);
    put_attribute(&request, IFLA_INFO_KIND, "veth", 5);
    struct rtattr *data = put_attribute(&request, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *nested = put_attribute(&request, VETH_INFO_PEER, &peer, sizeof(peer));
    put_attribute(&request, IFLA_IFNAME, "veth1", 6);
    put_attribute(&request, IFLA_NET_NS_FD, &other_space, sizeof(other_space));
    end_nest(&request, nested);
    end_nest(&request, data);
    end_nest(&request, info);

    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        uint8_t rest[512];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CORE_CHECK(fd >= 0 && send(fd, &request, request.header.nlmsg_len, 0) > 0);
    CORE_CHECK(recv(fd, &answer, sizeof(answer), 0) >= (ssize_t)sizeof(answer.header));
    close(fd);
    if (answer.error.error != 0)
        fprintf(stderr, "veth: %s, it is left out\n", strerror(-answer.error.error));
    return answer.error.error == 0;
}

struct veth {
    struct tap ends[2]; /* without a TAP: namespace, sockets, buffers */
};

static void veth_close(void *state)
{
    struct veth *veth = state;
    for (unsigned i = 0; i < 2; i++) {
        if (veth->ends[i].socket >= 0)
            close(veth->ends[i].socket);
        if (veth->ends[i].space >= 0)
            close(veth->ends[i].space);
        free(veth->ends[i].from);
        free(veth->ends[i].to);
    }
    if (veth->ends[0].listener >= 0)
        close(veth->ends[0].listener);
    free(veth);
}

static void connect_veth(struct veth *veth)
{
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_port = htons(TAP_PORT)};
    remote.sin_addr.s_addr = htonl(TAP_KERNEL_ADDR);
    go(veth->ends[0].space);
    bring_up("veth0", TAP_KERNEL_ADDR);
    veth->ends[0].listener = listen_on(TAP_KERNEL_ADDR);
    go(veth->ends[1].space);
    bring_up("veth1", TAP_STACK_ADDR);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CORE_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&remote, sizeof(remote)) == 0);
    CORE_CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    veth->ends[1].socket = fd;
    CORE_CHECK(tap_kernel_accept(&veth->ends[0]));
}

static void *veth_open(long argument)
{
    struct veth *veth = calloc(1, sizeof(*veth));
    CORE_CHECK(veth != NULL);
    (void)argument;
    int outside = this_space();
    bool is_made = true;
    veth->ends[0].listener = -1;
    for (unsigned i = 0; i < 2; i++) {
        veth->ends[i].socket = -1;
        veth->ends[i].space = is_made ? enter_new_space() : -1;
        is_made = is_made && veth->ends[i].space >= 0;
        veth->ends[i].from = calloc(1, CHUNK_BYTES);
        veth->ends[i].to = calloc(1, CHUNK_BYTES);
        CORE_CHECK(veth->ends[i].from != NULL && veth->ends[i].to != NULL);
    }
    if (is_made) {
        go(veth->ends[0].space);
        is_made = make_veth(veth->ends[1].space);
    }
    if (is_made)
        connect_veth(veth);
    go(outside);
    close(outside);
    if (is_made)
        return veth;
    veth_close(veth);
    return NULL;
}

static double veth_measure(void *state, double seconds)
{
    struct veth *veth = state;
    uint64_t received = 0;
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 16; i++) {
            tap_kernel_send(&veth->ends[1]);
            received += tap_kernel_recv(&veth->ends[0]);
        }
        now = core_seconds();
    } while (now - start < seconds);
    return (double)received * 8 / 1e9 / (now - start);
}

const struct subject kernel_veth = {veth_open, veth_measure, veth_close};
