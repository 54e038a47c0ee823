/*
 * An echo server (RFC 862) on a TAP device: a host with an address of its own, beside the kernel.
 *   ./echo_tap tap0 192.0.2.2 &
 *   ip addr add 192.0.2.1/24 dev tap0 && ip link set tap0 up && nc 192.0.2.2 7
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <foyer/foyer.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct connection {
    size_t at, left; /* of data: to be given back */
    char data[16384];
};

static void *allocate(void *context, size_t size)
{
    return (void)context, malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context, (void)size, free(memory);
}

static foyer_time_ns clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (foyer_time_ns)t.tv_sec * FOYER_NS_PER_S + (foyer_time_ns)t.tv_nsec;
}

/* Gives back what there is, until the socket has no more to read or takes no more. */
static void echo(struct foyer_host *host, foyer_socket socket, struct connection *c)
{
    int64_t moved;
    do {
        if (c->left > 0) {
            moved = foyer_socket_send(host, socket, c->data + c->at, c->left, clock_ns());
            c->at += moved > 0 ? (size_t)moved : 0, c->left -= moved > 0 ? (size_t)moved : 0;
        } else {
            moved = foyer_socket_recv(host, socket, c->data, sizeof(c->data), clock_ns());
            c->at = 0, c->left = moved > 0 ? (size_t)moved : 0;
        }
    } while (moved > 0);
    if (moved != -EAGAIN) /* the peer's FIN, or an error */
        foyer_socket_close(host, socket, clock_ns()), free(c);
}

int main(int argc, char **argv)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    struct foyer_host_config config = {.allocator = {allocate, release, NULL}, .mac = {2, [5] = 2}};
    uint8_t ip[4], frame[2048];
    foyer_socket listener, accepted;
    if (argc != 3 || inet_pton(AF_INET, argv[2], ip) != 1)
        return fprintf(stderr, "usage: echo_tap INTERFACE ADDRESS\n"), 2;
    strncpy(request.ifr_name, argv[1], IFNAMSIZ - 1);
    struct pollfd tap = {.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK), .events = POLLIN};
    if (ioctl(tap.fd, TUNSETIFF, &request) < 0 || getentropy(config.secret, 32) != 0)
        return perror("/dev/net/tun"), 1;
    struct foyer_host *host = foyer_host_create(&config, clock_ns());
    struct foyer_endpoint here = {foyer_addr_v4(ip[0], ip[1], ip[2], ip[3]), 7};
    if (host == NULL || foyer_host_add_address(host, &here.addr, 24) != 0 ||
        foyer_socket_open(host, FOYER_FAMILY_V4, FOYER_TCP, 0, &listener) != 0 ||
        foyer_socket_bind(host, listener, &here, NULL) != 0 ||
        foyer_socket_listen(host, listener, 128, NULL) != 0)
        return fprintf(stderr, "no host\n"), 1;
    for (;;) {
        struct foyer_event event;
        ssize_t size = read(tap.fd, frame, sizeof(frame));
        struct foyer_packet packet = {{{frame, (size_t)size}}, 1, .arrival_ns = clock_ns()};
        foyer_host_input(host, &packet, size > 0, packet.arrival_ns);
        foyer_host_tick(host, clock_ns());
        while (foyer_host_events(host, &event, 1) == 1) {
            if (event.user != 0)
                echo(host, event.socket, (struct connection *)(uintptr_t)event.user);
            while (foyer_socket_accept(host, listener, 0, &accepted) == 0) {
                struct connection *connection = calloc(1, sizeof(*connection));
                foyer_socket_set_user(host, accepted, (uintptr_t)connection);
                echo(host, accepted, connection);
            }
        }
        while (foyer_host_output(host, &packet, 1, clock_ns()) == 1)
            (void)!writev(tap.fd, (const struct iovec *)packet.spans, packet.span_count);
        foyer_time_ns now = clock_ns(), wake = foyer_host_deadline(host);
        uint64_t wait_ms = size > 0 || wake <= now ? 0 : (wake - now) / FOYER_NS_PER_MS + 1;
        poll(&tap, 1, wait_ms < 9999 ? (int)wait_ms : 9999);
    }
}
