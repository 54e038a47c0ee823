/*
 * Stands for every TCP destination there is: connections that a TAP device brings end here, and
 * their bytes go on through sockets of the kernel. What tunnels, sandboxes and test labs do.
 *
 *   ./terminator tap0 192.0.2.1 2001:db8::1 &
 *   ip link set tap0 netns sandbox       (and there: addresses, up, default routes through the above)
 *
 *   SYN ──> request ──connect()──> CONNECTED ──> accept the request: SYN-ACK ──> relay
 *                                  refused   ──> refuse it: RST
 *                                  no answer ──> drop it: silence
 *
 * So the program in the sandbox sees of its destination what is true of it. Between the two sockets
 * of a flow are two rings that this program owns and gives to the stack: what the kernel reads or
 * writes is where TCP sends from and receives to, and nothing is copied in between.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <foyer/foyer.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RING_SIZE (256u << 10)
#define BATCH 64

/* One connection of the sandbox and the kernel's that goes on for it. */
struct flow {
    int fd;
    foyer_request request; /* until it is accepted; then nothing until there is a socket */
    foyer_socket socket;
    struct foyer_ring rx, tx; /* rx: from the sandbox, tx: to it */
    bool kernel_ended, sandbox_ended;
};

static struct foyer_host *host;
static foyer_socket listener;
static int tap, epoll;

static foyer_time_ns now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (foyer_time_ns)t.tv_sec * FOYER_NS_PER_S + (foyer_time_ns)t.tv_nsec;
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context, (void)size;
    free(memory);
}

/* ---- flows ---------------------------------------------------------------------------------- */

static bool make_ring(struct foyer_ring *ring)
{
    ring->shared = aligned_alloc(64, sizeof(*ring->shared) + RING_SIZE);
    if (ring->shared == NULL)
        return false;
    memset(ring->shared, 0, sizeof(*ring->shared));
    ring->data = (uint8_t *)(ring->shared + 1);
    ring->size = RING_SIZE;
    return true;
}

/* The stack is done with the rings once the socket was closed or aborted. */
static void free_flow(struct flow *flow)
{
    if (flow->fd >= 0)
        close(flow->fd);
    free(flow->rx.shared);
    free(flow->tx.shared);
    free(flow);
}

/* Both ends learn that the other is not there any more. */
static void abort_flow(struct flow *flow)
{
    struct linger reset = {.l_onoff = 1};
    setsockopt(flow->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    foyer_socket_abort(host, flow->socket, now_ns());
    free_flow(flow);
}

/* ---- relaying ------------------------------------------------------------------------------- */

/* A part of a ring as the kernel takes it: in one piece or, round the ring's end, in two. */
static int ring_iov(const struct foyer_ring *ring, uint32_t position, uint32_t count,
                    struct iovec iov[2])
{
    uint32_t at = position & (ring->size - 1);
    uint32_t first = ring->size - at < count ? ring->size - at : count;
    iov[0] = (struct iovec){ring->data + at, first};
    iov[1] = (struct iovec){ring->data, count - first};
    return count > first ? 2 : 1;
}

/* False: the kernel's connection broke. */
static bool kernel_to_sandbox(struct flow *flow)
{
    uint32_t room;
    bool has_moved = false;
    while (!flow->kernel_ended && (room = foyer_ring_free(&flow->tx)) > 0) {
        struct iovec iov[2];
        uint32_t head = foyer_ring_head(&flow->tx);
        ssize_t got = readv(flow->fd, iov, ring_iov(&flow->tx, head, room, iov));
        if (got < 0 && errno != EAGAIN)
            return false;
        if (got < 0)
            break;
        if (got == 0) {
            flow->kernel_ended = true;
            foyer_socket_shutdown(host, flow->socket, FOYER_SHUTDOWN_WRITE, now_ns());
        }
        foyer_ring_publish_head(&flow->tx, head + (uint32_t)got);
        has_moved = true;
    }
    if (has_moved)
        foyer_socket_poke(host, flow->socket, now_ns());
    return true;
}

static bool sandbox_to_kernel(struct flow *flow)
{
    bool has_moved = false;
    /* Asked before the bytes are counted: none come after FIN was set. */
    bool has_fin = atomic_load(&flow->rx.shared->writer_state) == FOYER_RING_FIN;
    uint32_t used;
    while ((used = foyer_ring_used(&flow->rx)) > 0) {
        struct iovec iov[2];
        uint32_t tail = foyer_ring_tail(&flow->rx);
        struct msghdr message = {.msg_iov = iov};
        message.msg_iovlen = (size_t)ring_iov(&flow->rx, tail, used, iov);
        ssize_t sent = sendmsg(flow->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent < 0)
            break;
        foyer_ring_publish_tail(&flow->rx, tail + (uint32_t)sent);
        has_moved = true;
    }
    if (has_moved)
        foyer_socket_poke(host, flow->socket, now_ns()); /* the window opens */
    if (used == 0 && has_fin && !flow->sandbox_ended) {
        flow->sandbox_ended = true;
        shutdown(flow->fd, SHUT_WR);
    }
    return true;
}

static void relay(struct flow *flow)
{
    if (!kernel_to_sandbox(flow) || !sandbox_to_kernel(flow)) {
        abort_flow(flow);
    } else if (flow->kernel_ended && flow->sandbox_ended) {
        foyer_socket_close(host, flow->socket, now_ns()); /* what is in tx is still delivered */
        free_flow(flow);
    }
}

/* ---- before there is a connection ------------------------------------------------------------ */

/* Starts connecting to the destination that the sandbox named. A descriptor, or -errno. */
static int dial(const struct foyer_endpoint *to)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(to->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(to->port)};
    bool is_v4 = foyer_addr_is_v4(&to->addr);
    memcpy(&v4.sin_addr, to->addr.bytes + 12, 4);
    memcpy(&v6.sin6_addr, to->addr.bytes, 16);
    int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int done = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
                     : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
    if (done < 0 && errno != EINPROGRESS) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

/*
 * The sandbox hears what the destination said: a reset, or nothing at all. False: it has given up
 * before, and the listener's event says so.
 */
static bool turn_away(foyer_request request, int error)
{
    if (error == -ECONNREFUSED || error == -ENETUNREACH || error == -EHOSTUNREACH)
        return foyer_request_refuse(host, request, now_ns()) == 0;
    return foyer_request_drop(host, request) == 0;
}

/* From now on the flow is the request's: its socket brings it along, or its end does. */
static void take_request(foyer_request request)
{
    struct foyer_request_info info;
    if (foyer_request_info(host, request, &info) < 0)
        return; /* it is gone already */
    struct flow *flow = calloc(1, sizeof(*flow));
    int fd = flow != NULL ? dial(&info.local) : -ENOMEM;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = flow};
    if (fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        turn_away(request, fd < 0 ? fd : -errno);
        if (fd >= 0)
            close(fd);
        free(flow);
        return;
    }
    flow->fd = fd;
    flow->request = request;
    foyer_request_set_user(host, request, (uintptr_t)flow);
}

/* connect() has come to an end: now the sandbox gets its answer. */
static void dialled(struct flow *flow)
{
    int error = 0;
    socklen_t size = sizeof(error);
    foyer_request request = flow->request;
    flow->request.value = 0;
    getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0)
        foyer_request_accept(host, request, now_ns());
    else if (turn_away(request, -error))
        free_flow(flow);
}

static void established(foyer_socket socket)
{
    struct foyer_socket_info info;
    if (foyer_socket_info(host, socket, &info) < 0)
        return;
    struct flow *flow = (struct flow *)(uintptr_t)info.user;
    flow->socket = socket;
    if (!make_ring(&flow->rx) || !make_ring(&flow->tx) ||
        foyer_socket_set_rings(host, socket, &flow->rx, &flow->tx) < 0)
        abort_flow(flow);
    else
        relay(flow); /* a server that speaks first has perhaps spoken */
}

/* Requests that came to nothing: the sandbox gave up, or is gone. */
static void forget_ended(void)
{
    uint64_t user;
    int error;
    while (foyer_request_next_ended(host, listener, &user, &error) == 0)
        free_flow((struct flow *)(uintptr_t)user);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void serve_listener(void)
{
    foyer_request request;
    foyer_socket socket;
    while (foyer_request_next(host, listener, &request) == 0)
        take_request(request);
    while (foyer_socket_accept(host, listener, 0, &socket) == 0)
        established(socket);
    forget_ended();
}

static void serve_sockets(void)
{
    struct foyer_event event;
    while (foyer_host_events(host, &event, 1) == 1) {
        struct flow *flow = (struct flow *)(uintptr_t)event.user;
        if (event.socket.value == listener.value)
            serve_listener();
        else if (flow != NULL && (event.events & FOYER_EVENT_ERROR) != 0)
            abort_flow(flow);
        else if (flow != NULL)
            relay(flow);
    }
}

static void serve_kernel(int timeout_ms)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(epoll, events, BATCH, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct flow *flow = events[i].data.ptr;
        if (flow == NULL)
            continue; /* the TAP, which is looked at each time */
        if (flow->request.value != 0)
            dialled(flow);
        else if (flow->socket.value != 0)
            relay(flow);
    }
}

/* False where there is nothing more to read. */
static bool read_frames(void)
{
    static uint8_t frames[BATCH][2048];
    struct foyer_packet packets[BATCH];
    size_t count = 0;
    ssize_t size;
    while (count < BATCH && (size = read(tap, frames[count], sizeof(frames[count]))) > 0) {
        packets[count] = (struct foyer_packet){
            .spans = {{frames[count], (size_t)size}}, .span_count = 1, .arrival_ns = now_ns()};
        count++;
    }
    foyer_host_input(host, packets, count, now_ns());
    return count == BATCH;
}

static void write_frames(void)
{
    struct foyer_packet packets[BATCH];
    struct iovec parts[FOYER_PACKET_SPANS_MAX];
    size_t count;
    while ((count = foyer_host_output(host, packets, BATCH, now_ns())) > 0) {
        for (size_t i = 0; i < count; i++) {
            for (int j = 0; j < packets[i].span_count; j++)
                parts[j] = (struct iovec){(void *)(uintptr_t)packets[i].spans[j].base,
                                          packets[i].spans[j].size};
            (void)!writev(tap, parts, packets[i].span_count);
        }
    }
}

static int wait_ms(void)
{
    foyer_time_ns deadline = foyer_host_deadline(host), now = now_ns();
    if (deadline <= now)
        return 0;
    return deadline - now > FOYER_NS_PER_S ? 1000 : (int)((deadline - now) / FOYER_NS_PER_MS) + 1;
}

static bool add_address(const char *text)
{
    struct foyer_addr addr;
    uint8_t v4[4];
    if (inet_pton(AF_INET, text, v4) == 1) {
        addr = foyer_addr_v4(v4[0], v4[1], v4[2], v4[3]);
        return foyer_host_add_address(host, &addr, 24) == 0;
    }
    return inet_pton(AF_INET6, text, addr.bytes) == 1 &&
           foyer_host_add_address(host, &addr, 64) == 0;
}

/* One listener for both families, every address and every port; SYNs wait for our word. */
static bool start_host(int address_count, char **addresses)
{
    struct foyer_host_config config = {
        .allocator = {.alloc = allocate, .free = release},
        .mac = {2, 0, 0, 0, 0, 1},
        .max_sockets = 65536,
    };
    if (getrandom(config.secret, sizeof(config.secret), 0) != sizeof(config.secret))
        return false;
    host = foyer_host_create(&config, now_ns());
    if (host == NULL)
        return false;
    for (int i = 0; i < address_count; i++) {
        if (!add_address(addresses[i]))
            return false;
    }
    return foyer_socket_open(host, FOYER_FAMILY_V6, FOYER_TCP, 0, &listener) == 0 &&
           foyer_socket_set_option(host, listener, FOYER_OPT_INTERCEPT, FOYER_INTERCEPT_ALL) == 0 &&
           foyer_socket_set_option(host, listener, FOYER_OPT_HOLD, 1) == 0 &&
           foyer_socket_listen(host, listener, 4096, NULL) == 0;
}

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    if (snprintf(request.ifr_name, IFNAMSIZ, "%s", name) >= IFNAMSIZ)
        return -1;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
    if (argc < 3 || !start_host(argc - 2, argv + 2)) {
        fprintf(stderr, "usage: terminator INTERFACE ADDRESS...\n");
        return 2;
    }
    struct epoll_event event = {.events = EPOLLIN};
    tap = open_tap(argv[1]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (tap < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, tap, &event) < 0) {
        perror(argv[1]);
        return 1;
    }
    for (;;) {
        bool has_more = read_frames();
        foyer_host_tick(host, now_ns());
        serve_sockets();
        write_frames();
        serve_kernel(has_more ? 0 : wait_ms());
        write_frames();
    }
}
