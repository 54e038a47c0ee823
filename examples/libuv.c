/*
 * libfoyer inside somebody else's event loop, here libuv's: a small web server on a TAP device.
 *
 * Three watchers are all there is. The device's tells of frames, and each is given to the host by
 * itself, as a loop with one packet per callback has it. A timer stands at the host's deadline. And
 * before the loop goes to sleep, a prepare watcher lets the host say what there is to say: however
 * many callbacks ran, output is asked for once.
 *
 *   ./libuv tap0 192.0.2.2 &
 *   ip addr add 192.0.2.1/24 dev tap0 && ip link set tap0 up && curl http://192.0.2.2/
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <foyer/foyer.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#define FRAME_SIZE_MAX 2048
/* Frames per callback: other watchers get their turn, and the loop comes back for the rest. */
#define FRAMES_MAX 64

struct server {
    struct foyer_host *host;
    foyer_socket listener;
    int tap;
    uv_poll_t readable;
    uv_timer_t timer;
    uv_prepare_t before_sleep;
    uint64_t requests;
};

/* libuv's own clock is in milliseconds since the loop's turn began: too coarse for round trips. */
static foyer_time_ns now_ns(void)
{
    return uv_hrtime();
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

/* ---- the server ----------------------------------------------------------------------------- */

/* Answers once the request's head has ended; short as it is, it fits into the send buffer. */
static void serve(struct server *server, foyer_socket socket)
{
    char request[4096], answer[256];
    int64_t size = foyer_socket_recv(server->host, socket, request, sizeof(request), now_ns());
    if (size == -EAGAIN)
        return;
    if (size > 0) {
        int length = snprintf(answer, sizeof(answer),
                              "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
                              "request %llu, %lld bytes\n",
                              (unsigned long long)++server->requests, (long long)size);
        (void)foyer_socket_send(server->host, socket, answer, (size_t)length, now_ns());
    }
    /* Closing lets TCP deliver what was sent, and forgets the handle. */
    foyer_socket_close(server->host, socket, now_ns());
}

static void serve_all(struct server *server)
{
    struct foyer_event event;
    foyer_socket accepted;
    while (foyer_host_events(server->host, &event, 1) == 1) {
        if (event.socket.value != server->listener.value) {
            serve(server, event.socket);
            continue;
        }
        while (foyer_socket_accept(server->host, server->listener, 0, &accepted) == 0)
            serve(server, accepted);
    }
}

/* ---- the three watchers ---------------------------------------------------------------------- */

static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct server *server = handle->data;
    uint8_t frame[FRAME_SIZE_MAX];
    (void)events;
    if (status < 0)
        return;
    for (int i = 0; i < FRAMES_MAX; i++) {
        ssize_t size = read(server->tap, frame, sizeof(frame));
        if (size <= 0)
            return;
        struct foyer_packet packet = {
            .spans = {{frame, (size_t)size}}, .span_count = 1, .arrival_ns = now_ns()};
        foyer_host_input(server->host, &packet, 1, packet.arrival_ns);
    }
}

static void on_timer(uv_timer_t *handle)
{
    struct server *server = handle->data;
    foyer_host_tick(server->host, now_ns());
}

/* libuv's timers count milliseconds from the loop's own time; round up, or it would spin. */
static void arm_timer(struct server *server)
{
    foyer_time_ns deadline = foyer_host_deadline(server->host), now = now_ns();
    uint64_t wait_ms = deadline > now ? (deadline - now) / FOYER_NS_PER_MS + 1 : 0;
    if (deadline == FOYER_TIME_NEVER) {
        uv_timer_stop(&server->timer);
        return;
    }
    uv_update_time(server->timer.loop);
    uv_timer_start(&server->timer, on_timer, wait_ms, 0);
}

static void before_sleep(uv_prepare_t *handle)
{
    struct server *server = handle->data;
    struct foyer_packet packet;
    serve_all(server);
    while (foyer_host_output(server->host, &packet, 1, now_ns()) == 1) {
        struct iovec parts[FOYER_PACKET_SPANS_MAX];
        for (int i = 0; i < packet.span_count; i++)
            parts[i] =
                (struct iovec){(void *)(uintptr_t)packet.spans[i].base, packet.spans[i].size};
        /* A device that takes no more loses the frame, as any wire may. */
        (void)!writev(server->tap, parts, packet.span_count);
    }
    arm_timer(server);
}

/* ---- set-up --------------------------------------------------------------------------------- */

static bool start_host(struct server *server, const char *address)
{
    struct foyer_host_config config = {
        .allocator = {.alloc = allocate, .free = release},
        .mac = {2, 0, 0, 0, 0, 2},
    };
    uint8_t ip[4];
    if (inet_pton(AF_INET, address, ip) != 1 ||
        getrandom(config.secret, sizeof(config.secret), 0) != sizeof(config.secret))
        return false;
    struct foyer_endpoint here = {foyer_addr_v4(ip[0], ip[1], ip[2], ip[3]), 80};
    server->host = foyer_host_create(&config, now_ns());
    return server->host != NULL && foyer_host_add_address(server->host, &here.addr, 24) == 0 &&
           foyer_socket_open(server->host, FOYER_FAMILY_V4, FOYER_TCP, 0, &server->listener) == 0 &&
           foyer_socket_bind(server->host, server->listener, &here, NULL) == 0 &&
           foyer_socket_listen(server->host, server->listener, 128, NULL) == 0;
}

static int open_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    if (snprintf(request.ifr_name, IFNAMSIZ, "%s", name) >= IFNAMSIZ)
        return -1;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int main(int argc, char **argv)
{
    static struct server server;
    if (argc != 3 || !start_host(&server, argv[2])) {
        fprintf(stderr, "usage: libuv INTERFACE ADDRESS\n");
        return 2;
    }
    server.tap = open_tap(argv[1]);
    if (server.tap < 0) {
        perror(argv[1]);
        return 1;
    }
    uv_loop_t *loop = uv_default_loop();
    server.readable.data = server.timer.data = server.before_sleep.data = &server;
    if (uv_poll_init(loop, &server.readable, server.tap) < 0 ||
        uv_poll_start(&server.readable, UV_READABLE, on_readable) < 0 ||
        uv_timer_init(loop, &server.timer) < 0 || uv_prepare_init(loop, &server.before_sleep) < 0 ||
        uv_prepare_start(&server.before_sleep, before_sleep) < 0)
        return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}
