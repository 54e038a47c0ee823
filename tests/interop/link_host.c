/*
 * A host behind one link, for the tests that put the kernel or another program at the link's
 * other end: it echoes what comes to port 7, TCP and UDP, until its standard input ends.
 *
 *   link_host KIND ARGUMENT MAC MTU ADDRESS/LENGTH... [via GATEWAY] [record FILE] [loss PPM]
 *             [greet NEIGHBOUR] [join GROUP SOURCE] [block GROUP SOURCE]
 *
 * KIND and ARGUMENT: tap NAME, packet INTERFACE, xdp INTERFACE, stream PATH. Prints
 * "ready" once it listens; with greet, once the link's other end has answered as well: it has
 * seen this host then. With join, port 7 hears the group from that source alone, with block from all
 * others. At the end it says what it counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "foyer/foyer.h"
#include "link/impair.h"
#include "link/packet.h"
#include "link/pcapng.h"
#include "link/stream.h"
#include "link/tap.h"
#include "link/xdp.h"

#define BATCH 64
#define CONNECTIONS_MAX 1024

static struct foyer_host *host;
static struct link *lan;
static foyer_socket listener, udp;
static struct foyer_endpoint greeted = {{{0}}, 9}; /* discard: the question for its MAC counts */
static bool is_greeting;

static struct filter {
    struct foyer_addr group, source;
    bool is_blocked;
} filters[4];
static unsigned filter_count;

static void die(const char *what, int error)
{
    fprintf(stderr, "link_host: %s: %s\n", what, strerror(-error));
    exit(1);
}

static void check(const char *what, int error)
{
    if (error < 0)
        die(what, error);
}

static foyer_time_ns clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (foyer_time_ns)now.tv_sec * FOYER_NS_PER_S + (foyer_time_ns)now.tv_nsec;
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

static struct link *open_link(const char *kind, const char *argument)
{
    struct link *link = NULL;
    int error = -EINVAL;
    if (strcmp(kind, "tap") == 0) {
        struct link_tap_config config = {.name = argument};
        error = link_tap_open(&config, &link, NULL);
    } else if (strcmp(kind, "packet") == 0) {
        struct link_packet_config config = {.interface = argument};
        error = link_packet_open(&config, &link);
    } else if (strcmp(kind, "stream") == 0) {
        error = link_stream_open(argument, &link);
    } else if (strcmp(kind, "xdp") == 0) {
        struct link_xdp_config config = {.interface = argument};
        error = link_xdp_open(&config, &link);
        if (error == -EOPNOTSUPP) {
            puts("not built");
            exit(77);
        }
    }
    check(kind, error);
    return link;
}

/* ADDRESS or ADDRESS/LENGTH. */
static struct foyer_addr parse_address(char *text, uint8_t *ret_length)
{
    char *slash = strchr(text, '/');
    if (slash != NULL) {
        *slash = '\0';
        *ret_length = (uint8_t)atoi(slash + 1);
    }
    uint8_t v4[4];
    struct foyer_addr addr;
    if (inet_pton(AF_INET, text, v4) == 1)
        return foyer_addr_v4(v4[0], v4[1], v4[2], v4[3]);
    if (inet_pton(AF_INET6, text, addr.bytes) != 1)
        die(text, -EINVAL);
    return addr;
}

static void make_host(const char *mac, const char *mtu, foyer_time_ns now)
{
    struct foyer_host_config config = {
        .allocator = {.alloc = allocate, .free = release},
        .mtu = (uint16_t)atoi(mtu),
        .link_capabilities = link_capabilities(lan),
        .receive_buffer_size = 1 << 20,
        .send_buffer_size = 1 << 20,
        /* passt learns where its guest is from what the guest says first. */
        .behaviour = FOYER_HOST_ANNOUNCE,
    };
    if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &config.mac[0], &config.mac[1], &config.mac[2],
               &config.mac[3], &config.mac[4], &config.mac[5]) != 6 ||
        getrandom(config.secret, sizeof(config.secret), 0) != sizeof(config.secret))
        die(mac, -EINVAL);
    host = foyer_host_create(&config, now);
    if (host == NULL)
        die("host", -ENOMEM);
}

static void record(const char *path)
{
    struct pcapng_writer writer;
    check(path, pcapng_open(&writer, path, "link"));
    check(path, link_pcapng_create(lan, &writer,
                                   clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC), &lan));
}

static void lose(const char *ppm)
{
    struct impair_config config = {.loss_ppm = (uint32_t)atoi(ppm)};
    check("impair", link_impair_create(lan, &config, &config, 1, &lan));
}

static void configure(int count, char **words)
{
    for (int i = 0; i < count; i++) {
        uint8_t length = 0;
        if (i + 1 < count && strcmp(words[i], "via") == 0) {
            struct foyer_addr gateway = parse_address(words[++i], &length), any = {{0}};
            if (foyer_addr_is_v4(&gateway))
                any = foyer_addr_v4(0, 0, 0, 0);
            check("route", foyer_host_add_route(host, &any, 0, &gateway));
        } else if (i + 1 < count && strcmp(words[i], "record") == 0) {
            record(words[++i]);
        } else if (i + 1 < count && strcmp(words[i], "loss") == 0) {
            lose(words[++i]);
        } else if (i + 1 < count && strcmp(words[i], "greet") == 0) {
            greeted.addr = parse_address(words[++i], &length);
            is_greeting = true;
        } else if (i + 2 < count && filter_count < 4 &&
                   (strcmp(words[i], "join") == 0 || strcmp(words[i], "block") == 0)) {
            struct filter *filter = &filters[filter_count++];
            filter->is_blocked = words[i][0] == 'b';
            filter->group = parse_address(words[++i], &length);
            filter->source = parse_address(words[++i], &length);
        } else {
            struct foyer_addr addr = parse_address(words[i], &length);
            check(words[i], foyer_host_add_address(host, &addr, length));
        }
    }
}

static void listen_on_port_7(void)
{
    struct foyer_endpoint echo = {{{0}}, 7};
    check("open", foyer_socket_open(host, FOYER_FAMILY_V6, FOYER_TCP, 0, &listener));
    check("bind", foyer_socket_bind(host, listener, &echo, NULL));
    check("listen", foyer_socket_listen(host, listener, CONNECTIONS_MAX, NULL));
    check("open", foyer_socket_open(host, FOYER_FAMILY_V6, FOYER_UDP, 0, &udp));
    check("bind", foyer_socket_bind(host, udp, &echo, NULL));
    for (unsigned i = 0; i < filter_count; i++)
        check("filter", foyer_socket_set_source_filter(
                            host, udp, &filters[i].group,
                            filters[i].is_blocked ? FOYER_FILTER_EXCLUDE : FOYER_FILTER_INCLUDE,
                            &filters[i].source, 1, clock_ns(CLOCK_MONOTONIC)));
}

/* What has been read and not yet been given back. */
struct connection {
    foyer_socket socket;
    size_t start, end;
    uint8_t bytes[65536];
};

static void echo_tcp(struct connection *connection, foyer_time_ns now)
{
    for (;;) {
        while (connection->start < connection->end) {
            int64_t sent =
                foyer_socket_send(host, connection->socket, connection->bytes + connection->start,
                                  connection->end - connection->start, now);
            if (sent == -EAGAIN)
                return;
            if (sent < 0)
                break;
            connection->start += (size_t)sent;
        }
        int64_t got = foyer_socket_recv(host, connection->socket, connection->bytes,
                                        sizeof(connection->bytes), now);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            foyer_socket_close(host, connection->socket, now);
            free(connection);
            return;
        }
        connection->start = 0;
        connection->end = (size_t)got;
    }
}

static void echo_udp(foyer_time_ns now)
{
    static uint8_t bytes[65536];
    struct foyer_endpoint from;
    int64_t got;
    while ((got = foyer_socket_recv_from(host, udp, bytes, sizeof(bytes), &from, NULL)) >= 0)
        (void)foyer_socket_send_to(host, udp, bytes, (size_t)got, &from, now);
}

static void accept_all(foyer_time_ns now)
{
    foyer_socket accepted;
    while (foyer_socket_accept(host, listener, 0, &accepted) == 0) {
        struct connection *connection = calloc(1, sizeof(*connection));
        if (connection == NULL) {
            foyer_socket_abort(host, accepted, now);
            continue;
        }
        connection->socket = accepted;
        foyer_socket_set_user(host, accepted, (uintptr_t)connection);
        echo_tcp(connection, now); /* what came before it was known here */
    }
}

static void serve(foyer_time_ns now)
{
    struct foyer_event events[BATCH];
    size_t count;
    while ((count = foyer_host_events(host, events, BATCH)) > 0) {
        for (size_t i = 0; i < count; i++) {
            if (events[i].socket.value == listener.value)
                accept_all(now);
            else if (events[i].socket.value == udp.value)
                echo_udp(now);
            else if (events[i].user != 0)
                echo_tcp((struct connection *)(uintptr_t)events[i].user, now);
        }
    }
}

/* Frames that the link did not take: kept, as the host gives each of them only once. */
static struct foyer_packet waiting[BATCH];
static size_t waiting_count;

/* False while the link is full. */
static bool flush(foyer_time_ns now)
{
    for (;;) {
        if (waiting_count == 0)
            waiting_count = foyer_host_output(host, waiting, BATCH, now);
        if (waiting_count == 0)
            return true;
        int sent = link_send(lan, waiting, waiting_count, now);
        check("send", sent);
        waiting_count -= (size_t)sent;
        memmove(waiting, waiting + sent, waiting_count * sizeof(*waiting));
        if (waiting_count > 0)
            return false;
    }
}

static void say_ready(void)
{
    puts("ready");
    fflush(stdout);
}

static void greet(foyer_time_ns now)
{
    if (is_greeting)
        check("greet", (int)foyer_socket_send_to(host, udp, "", 0, &greeted, now));
    else
        say_ready();
}

static foyer_time_ns run_once(struct pollfd polled[2])
{
    foyer_time_ns now = clock_ns(CLOCK_MONOTONIC);
    struct foyer_packet packets[BATCH];
    /* The frames that wait are the host's: nothing may be asked of it before they are sent. */
    bool is_writable = flush(now);
    int count = 0;
    if (is_writable) {
        count = link_receive(lan, packets, BATCH, now);
        check("receive", count);
        foyer_host_input(host, packets, (size_t)count, now);
        if (foyer_host_deadline(host) <= now)
            foyer_host_tick(host, now);
        serve(now);
        if (is_greeting && count > 0) {
            is_greeting = false;
            say_ready();
        }
        is_writable = flush(now);
    }
    polled[0].events = is_writable ? POLLIN : POLLOUT;
    if (count > 0)
        return now;
    foyer_time_ns deadline = link_deadline(lan);
    if (is_writable && foyer_host_deadline(host) < deadline)
        deadline = foyer_host_deadline(host);
    return deadline;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: see the head of link_host.c\n");
        return 2;
    }
    lan = open_link(argv[1], argv[2]);
    make_host(argv[3], argv[4], clock_ns(CLOCK_MONOTONIC));
    configure(argc - 5, argv + 5);
    listen_on_port_7();
    greet(clock_ns(CLOCK_MONOTONIC));

    struct pollfd polled[2] = {{.fd = link_fd(lan), .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}};
    while ((polled[1].revents & (POLLIN | POLLHUP)) == 0) {
        foyer_time_ns wake = run_once(polled), now = clock_ns(CLOCK_MONOTONIC);
        int timeout_ms = wake <= now ? 0 : -1;
        if (wake > now && wake != FOYER_TIME_NEVER)
            timeout_ms = (int)((wake - now) / FOYER_NS_PER_MS) + 1;
        (void)poll(polled, 2, timeout_ms);
    }
    struct foyer_host_stats stats;
    foyer_host_stats(host, &stats);
    printf("in %llu out %llu retransmitted %llu checksum %llu malformed %llu protocol %llu\n",
           (unsigned long long)stats.in_frames, (unsigned long long)stats.out_frames,
           (unsigned long long)stats.tcp_retrans_segs,
           (unsigned long long)stats.in_dropped_checksum,
           (unsigned long long)stats.in_dropped_malformed,
           (unsigned long long)stats.in_dropped_protocol);
    foyer_host_destroy(host);
    link_close(lan);
    return 0;
}
