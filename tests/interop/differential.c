/*
 * What test_differential.py puts beside the kernel: a host on a TAP behind a bad wire, or the bad
 * wire alone between two TAPs, so that two kernels can be compared with.
 *
 *   differential host TAP ADDRESS/LENGTH... [IMPAIRMENT=NUMBER...] [record=FILE]
 *   differential bridge TAP TAP [IMPAIRMENT=NUMBER...] [record=FILE]
 *
 * IMPAIRMENT: loss, duplicate, reorder, damage, mark (parts per million), delay_us, jitter_us,
 * rate (bit/s), queue (bytes), seed. Of the host: mac (its last byte), ecn (enum foyer_ecn).
 *
 * The host serves, for each congestion control N that the library has, port 1000 + N: a client
 * writes eight hexadecimal digits and gets as many bytes; port 2000: what is written is read, and
 * answered by its CRC-32; port 3000: connections are kept as they are; port 3001: requests are
 * held. Commands on standard input, one answer line each:
 *
 *   controls                   how many congestion controls there are
 *   dial ADDRESS PORT          a connection that is kept; answers with its local port
 *   send ADDRESS PORT N SIZE   SIZE bytes by congestion control N, to a port like 2000 there
 *   sent                       how many of these were answered rightly, and how many failed
 *   ecn                        of the connections that have carried bytes and ended: how many agreed
 *                              on RFC 9768's ECN, how many on RFC 3168's; what they counted
 *                              (struct foyer_ecn_counters); windows that marks reduced, of all
 *   shut PORT, close PORT      the kept connection whose local or remote port it is
 *   accept                     all requests that are held
 *   sockets                    one line each: STATE LOCAL-PORT REMOTE-PORT; then "."
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
#include <time.h>
#include <unistd.h>

#include "foyer/foyer.h"
#include "link/impair.h"
#include "link/pcapng.h"
#include "link/tap.h"

#define BATCH 64
#define KEPT_PORT 3000
#define HELD_PORT 3001
#define SINK_PORT 2000
#define SOURCE_PORT 1000
#define LISTENERS_MAX 32

enum role {
    ROLE_LISTENER,
    ROLE_SOURCE, /* size from the client, then bytes to it */
    ROLE_SINK,   /* bytes from the client, then their CRC */
    ROLE_KEPT,
    ROLE_SENDER, /* bytes to a server, and their CRC from it */
};

struct connection {
    enum role role;
    foyer_socket socket;
    uint16_t port; /* that it was accepted from */
    uint32_t crc;
    uint64_t left;    /* to be sent */
    uint64_t at;      /* bytes sent */
    char text[16];    /* the size that was asked for, or the CRC that is told */
    unsigned text_at; /* bytes of it read or written */
    bool is_shut;
    struct connection *next;
};

static struct foyer_host *host;
static struct link *lan, *other;
static struct connection *connections;
static unsigned control_count, sent_count, failed_count;
static int64_t ecn_mode;
static struct {
    unsigned accurate_count, classic_count;
    struct foyer_ecn_counters counters;
} ended;

_Noreturn static void die(const char *what, int error)
{
    fprintf(stderr, "differential: %s: %s\n", what, strerror(-error));
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

static foyer_time_ns now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
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

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0')
        die(text, -EINVAL);
    return value;
}

/* ---- arguments ---------------------------------------------------------------------------------- */

static struct link *open_tap(const char *name)
{
    struct link *link;
    struct link_tap_config config = {.name = name, .no_receive_offload = true};
    check(name, link_tap_open(&config, &link, NULL));
    return link;
}

static struct foyer_addr parse_address(char *text, uint8_t *ret_length)
{
    char *slash = strchr(text, '/');
    uint8_t v4[4];
    struct foyer_addr addr;
    if (slash != NULL) {
        *slash = '\0';
        *ret_length = (uint8_t)number(slash + 1);
    }
    if (inet_pton(AF_INET, text, v4) == 1)
        return foyer_addr_v4(v4[0], v4[1], v4[2], v4[3]);
    if (inet_pton(AF_INET6, text, addr.bytes) != 1)
        die(text, -EINVAL);
    return addr;
}

struct arguments {
    struct impair_config impair;
    uint64_t seed;
    uint8_t mac; /* the last byte */
    const char *record;
};

/* False: it is an address. */
static bool parse_argument(struct arguments *arguments, const char *word)
{
    const char *value = strchr(word, '=');
    if (value == NULL)
        return false;
    size_t size = (size_t)(value++ - word);
    struct impair_config *impair = &arguments->impair;
    if (strncmp(word, "record", size) == 0) {
        arguments->record = value;
        return true;
    }
    uint64_t amount = number(value);
    if (strncmp(word, "seed", size) == 0)
        arguments->seed = amount;
    else if (strncmp(word, "loss", size) == 0)
        impair->loss_ppm = (uint32_t)amount;
    else if (strncmp(word, "duplicate", size) == 0)
        impair->duplicate_ppm = (uint32_t)amount;
    else if (strncmp(word, "reorder", size) == 0)
        impair->reorder_ppm = (uint32_t)amount;
    else if (strncmp(word, "damage", size) == 0)
        impair->damage_ppm = (uint32_t)amount;
    else if (strncmp(word, "mark", size) == 0)
        impair->mark_ppm = (uint32_t)amount;
    else if (strncmp(word, "delay_us", size) == 0)
        impair->delay_ns = amount * FOYER_NS_PER_US;
    else if (strncmp(word, "jitter_us", size) == 0)
        impair->jitter_ns = amount * FOYER_NS_PER_US;
    else if (strncmp(word, "rate", size) == 0)
        impair->rate_bits_per_s = amount;
    else if (strncmp(word, "queue", size) == 0)
        impair->queue_bytes = amount;
    else if (strncmp(word, "mac", size) == 0)
        arguments->mac = (uint8_t)amount;
    else if (strncmp(word, "ecn", size) == 0)
        ecn_mode = (int64_t)amount;
    else
        die(word, -EINVAL);
    return true;
}

/* Recorded is what the kernel behind the TAP sees; the bad wire comes after. */
static void wrap(const struct arguments *arguments)
{
    if (arguments->record != NULL) {
        struct pcapng_writer writer;
        check(arguments->record, pcapng_open(&writer, arguments->record, "tap"));
        check("record",
              link_pcapng_create(lan, &writer, clock_ns(CLOCK_REALTIME) - now_ns(), &lan));
    }
    check("impair",
          link_impair_create(lan, &arguments->impair, &arguments->impair, arguments->seed, &lan));
}

/* ---- the wire alone -------------------------------------------------------------------------------- */

static int forward(struct link *from, struct link *to)
{
    struct foyer_packet packets[BATCH];
    foyer_time_ns now = now_ns();
    int count = link_receive(from, packets, BATCH, now);
    check("receive", count);
    if (count > 0) /* what the other side has no room for is lost */
        check("send", link_send(to, packets, (size_t)count, now));
    return count;
}

static void run_bridge(void)
{
    struct pollfd polled[3] = {{.fd = link_fd(lan), .events = POLLIN},
                               {.fd = link_fd(other), .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}};
    while ((polled[2].revents & (POLLIN | POLLHUP)) == 0) {
        if (forward(lan, other) + forward(other, lan) > 0)
            continue;
        foyer_time_ns wake = link_deadline(lan), now = now_ns();
        int timeout_ms = -1;
        if (wake != FOYER_TIME_NEVER)
            timeout_ms = wake <= now ? 0 : (int)((wake - now) / FOYER_NS_PER_MS) + 1;
        (void)poll(polled, 3, timeout_ms);
    }
}

/* ---- programs --------------------------------------------------------------------------------------- */

static uint32_t crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static struct connection *add(enum role role, foyer_socket socket)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        die("connection", -ENOMEM);
    connection->role = role;
    connection->socket = socket;
    connection->next = connections;
    connections = connection;
    foyer_socket_set_user(host, socket, (uintptr_t)connection);
    return connection;
}

static struct foyer_socket_info info_of(foyer_socket socket)
{
    struct foyer_socket_info info;
    check("info", foyer_socket_info(host, socket, &info));
    return info;
}

static void count_ecn(foyer_socket socket)
{
    struct foyer_socket_info info = info_of(socket);
    struct foyer_ecn_counters *sum = &ended.counters;
    ended.accurate_count += info.has_accurate_ecn;
    ended.classic_count += info.has_ecn;
    sum->received_ce += info.ecn.received_ce;
    sum->received_ce_bytes += info.ecn.received_ce_bytes;
    sum->received_e0_bytes += info.ecn.received_e0_bytes;
    sum->received_e1_bytes += info.ecn.received_e1_bytes;
    sum->delivered_ce += info.ecn.delivered_ce;
    sum->delivered_ce_bytes += info.ecn.delivered_ce_bytes;
    sum->delivered_e0_bytes += info.ecn.delivered_e0_bytes;
    sum->delivered_e1_bytes += info.ecn.delivered_e1_bytes;
}

static void end(struct connection *connection)
{
    if (connection->role != ROLE_KEPT)
        count_ecn(connection->socket);
    foyer_socket_close(host, connection->socket, now_ns());
    for (struct connection **at = &connections; *at != NULL; at = &(*at)->next) {
        if (*at == connection) {
            *at = connection->next;
            break;
        }
    }
    free(connection);
}

/* Bytes that the other side can make too: their position's, mixed a little. */
static int64_t send_pattern(struct connection *connection)
{
    static uint8_t bytes[65536];
    size_t size = connection->left < sizeof(bytes) ? (size_t)connection->left : sizeof(bytes);
    for (size_t i = 0; i < size; i++) {
        uint64_t at = connection->at + i;
        bytes[i] = (uint8_t)(at ^ at >> 8 ^ at >> 16);
    }
    int64_t sent = foyer_socket_send(host, connection->socket, bytes, size, now_ns());
    if (sent <= 0)
        return sent;
    connection->crc = crc32(connection->crc, bytes, (size_t)sent);
    connection->at += (uint64_t)sent;
    connection->left -= (uint64_t)sent;
    return sent;
}

/* False: not now. Eight hexadecimal digits of the CRC. */
static bool tell_crc(struct connection *connection)
{
    if (connection->text_at == 0)
        snprintf(connection->text, sizeof(connection->text), "%08x", connection->crc);
    while (connection->text_at < 8) {
        int64_t sent =
            foyer_socket_send(host, connection->socket, connection->text + connection->text_at,
                              8 - connection->text_at, now_ns());
        if (sent <= 0)
            return false;
        connection->text_at += (unsigned)sent;
    }
    return true;
}

static void run_source(struct connection *connection)
{
    while (connection->text_at < 8) {
        int64_t got =
            foyer_socket_recv(host, connection->socket, connection->text + connection->text_at,
                              8 - connection->text_at, now_ns());
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            end(connection);
            return;
        }
        connection->text_at += (unsigned)got;
        if (connection->text_at == 8)
            connection->left = strtoull(connection->text, NULL, 16);
    }
    while (connection->left > 0) {
        int64_t sent = send_pattern(connection);
        if (sent == -EAGAIN)
            return;
        if (sent < 0)
            break;
    }
    end(connection);
}

static void run_sink(struct connection *connection)
{
    static uint8_t bytes[65536];
    int64_t got;
    while ((got = foyer_socket_recv(host, connection->socket, bytes, sizeof(bytes), now_ns())) > 0)
        connection->crc = crc32(connection->crc, bytes, (size_t)got);
    if (got == -EAGAIN)
        return;
    if (got == 0 && !tell_crc(connection))
        return;
    end(connection);
}

static void run_sender(struct connection *connection, uint32_t events)
{
    char wanted[9];
    if ((events & FOYER_EVENT_ERROR) != 0) {
        failed_count++;
        end(connection);
        return;
    }
    while (connection->left > 0) {
        if (send_pattern(connection) <= 0)
            return;
    }
    if (!connection->is_shut)
        foyer_socket_shutdown(host, connection->socket, FOYER_SHUTDOWN_WRITE, now_ns());
    connection->is_shut = true;
    int64_t got;
    do {
        got = foyer_socket_recv(host, connection->socket, connection->text + connection->text_at,
                                sizeof(connection->text) - connection->text_at, now_ns());
        connection->text_at += got > 0 ? (unsigned)got : 0;
    } while (got > 0);
    if (got == -EAGAIN)
        return;
    snprintf(wanted, sizeof(wanted), "%08x", connection->crc);
    if (got == 0 && connection->text_at == 8 && memcmp(connection->text, wanted, 8) == 0)
        sent_count++;
    else
        failed_count++;
    end(connection);
}

static void accept_all(struct connection *listener);

static void run(struct connection *connection, uint32_t events)
{
    switch (connection->role) {
    case ROLE_LISTENER:
        if ((events & FOYER_EVENT_ACCEPT) != 0)
            accept_all(connection);
        break;
    case ROLE_SOURCE:
        run_source(connection);
        break;
    case ROLE_SINK:
        run_sink(connection);
        break;
    case ROLE_SENDER:
        run_sender(connection, events);
        break;
    case ROLE_KEPT:
        break;
    }
}

static void accept_all(struct connection *listener)
{
    foyer_socket accepted;
    while (foyer_socket_accept(host, listener->socket, 0, &accepted) == 0) {
        enum role role = ROLE_KEPT;
        if (listener->port == SINK_PORT)
            role = ROLE_SINK;
        else if (listener->port < SINK_PORT)
            role = ROLE_SOURCE;
        if (role == ROLE_SOURCE)
            check("congestion", foyer_socket_set_option(host, accepted, FOYER_OPT_CONGESTION,
                                                        listener->port - SOURCE_PORT));
        run(add(role, accepted), 0); /* what came before it was known here */
    }
}

static void listen_on(uint16_t port, bool is_held)
{
    foyer_socket socket;
    struct foyer_endpoint local = {.port = port};
    check("open", foyer_socket_open(host, FOYER_FAMILY_V6, FOYER_TCP, 0, &socket));
    if (is_held)
        check("hold", foyer_socket_set_option(host, socket, FOYER_OPT_HOLD, 1));
    check("ecn", foyer_socket_set_option(host, socket, FOYER_OPT_ECN, ecn_mode));
    check("bind", foyer_socket_bind(host, socket, &local, NULL));
    check("listen", foyer_socket_listen(host, socket, 128, NULL));
    add(ROLE_LISTENER, socket)->port = port;
}

static void listen_on_all(void)
{
    foyer_socket socket;
    check("open", foyer_socket_open(host, FOYER_FAMILY_V4, FOYER_TCP, 0, &socket));
    while (foyer_socket_set_option(host, socket, FOYER_OPT_CONGESTION, control_count) == 0)
        control_count++;
    foyer_socket_close(host, socket, now_ns());
    for (unsigned i = 0; i < control_count; i++)
        listen_on((uint16_t)(SOURCE_PORT + i), false);
    listen_on(SINK_PORT, false);
    listen_on(KEPT_PORT, false);
    listen_on(HELD_PORT, true);
}

/* ---- commands --------------------------------------------------------------------------------------- */

static struct connection *dial(enum role role, char *address, const char *port, int64_t control)
{
    foyer_socket socket;
    uint8_t length;
    struct foyer_endpoint remote = {parse_address(address, &length), (uint16_t)number(port)};
    enum foyer_family family = foyer_addr_is_v4(&remote.addr) ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6;
    check("open", foyer_socket_open(host, family, FOYER_TCP, 0, &socket));
    check("congestion", foyer_socket_set_option(host, socket, FOYER_OPT_CONGESTION, control));
    check("ecn", foyer_socket_set_option(host, socket, FOYER_OPT_ECN, ecn_mode));
    int error = foyer_socket_connect(host, socket, &remote, now_ns());
    if (error != -EINPROGRESS)
        die("connect", error);
    return add(role, socket);
}

static struct connection *find_kept(const char *port)
{
    for (struct connection *at = connections; at != NULL; at = at->next) {
        struct foyer_socket_info info = info_of(at->socket);
        if (at->role == ROLE_KEPT &&
            (info.local.port == number(port) || info.remote.port == number(port)))
            return at;
    }
    die("no such connection", -ENOENT);
}

static void accept_requests(void)
{
    foyer_request request;
    unsigned count = 0;
    for (const struct connection *at = connections; at != NULL; at = at->next) {
        if (at->role != ROLE_LISTENER || at->port != HELD_PORT)
            continue;
        while (foyer_request_next(host, at->socket, &request) == 0) {
            check("accept", foyer_request_accept(host, request, now_ns()));
            count++;
        }
    }
    printf("%u\n", count);
}

static void list_sockets(void)
{
    static const char *const names[] = {"CLOSED",  "LISTEN",     "SYN-SENT",   "SYN-RECV",
                                        "ESTAB",   "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",
                                        "CLOSING", "LAST-ACK",   "TIME-WAIT"};
    foyer_socket socket = FOYER_SOCKET_NONE;
    while (foyer_socket_next(host, &socket)) {
        struct foyer_socket_info info = info_of(socket);
        printf("%s %u %u %u\n", names[info.state], info.local.port, info.remote.port,
               info.request_count);
    }
    puts(".");
}

static void tell_ecn(void)
{
    const struct foyer_ecn_counters *sum = &ended.counters;
    struct foyer_host_stats stats;
    foyer_host_stats(host, &stats);
    printf("accurate=%u classic=%u received_ce=%u received_ce_bytes=%u received_e0_bytes=%u "
           "received_e1_bytes=%u delivered_ce=%u delivered_ce_bytes=%u delivered_e0_bytes=%u "
           "delivered_e1_bytes=%u reductions=%llu\n",
           ended.accurate_count, ended.classic_count, sum->received_ce, sum->received_ce_bytes,
           sum->received_e0_bytes, sum->received_e1_bytes, sum->delivered_ce,
           sum->delivered_ce_bytes, sum->delivered_e0_bytes, sum->delivered_e1_bytes,
           (unsigned long long)stats.tcp_ecn_reductions);
}

static void obey(char *line)
{
    char *words[6] = {0};
    unsigned count = 0;
    for (char *save, *word = strtok_r(line, " \n", &save); word != NULL && count < 6;
         word = strtok_r(NULL, " \n", &save))
        words[count++] = word;
    const char *verb = count > 0 ? words[0] : "";
    if (strcmp(verb, "controls") == 0) {
        printf("%u\n", control_count);
    } else if (strcmp(verb, "dial") == 0 && count == 3) {
        printf("%u\n", info_of(dial(ROLE_KEPT, words[1], words[2], 0)->socket).local.port);
    } else if (strcmp(verb, "send") == 0 && count == 5) {
        dial(ROLE_SENDER, words[1], words[2], (int64_t)number(words[3]))->left = number(words[4]);
        puts("sending");
    } else if (strcmp(verb, "sent") == 0) {
        printf("%u %u\n", sent_count, failed_count);
    } else if (strcmp(verb, "shut") == 0 && count == 2) {
        check("shutdown", foyer_socket_shutdown(host, find_kept(words[1])->socket,
                                                FOYER_SHUTDOWN_WRITE, now_ns()));
        puts("shut");
    } else if (strcmp(verb, "close") == 0 && count == 2) {
        end(find_kept(words[1]));
        puts("closed");
    } else if (strcmp(verb, "accept") == 0) {
        accept_requests();
    } else if (strcmp(verb, "ecn") == 0) {
        tell_ecn();
    } else if (strcmp(verb, "sockets") == 0) {
        list_sockets();
    } else {
        die(verb, -EINVAL);
    }
    fflush(stdout);
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

static void serve(void)
{
    struct foyer_event events[BATCH];
    size_t count;
    while ((count = foyer_host_events(host, events, BATCH)) > 0) {
        for (size_t i = 0; i < count; i++) {
            /* One that ended meanwhile has given its handle back. */
            struct foyer_socket_info info;
            if (events[i].user != 0 && foyer_socket_info(host, events[i].socket, &info) == 0 &&
                info.user == events[i].user)
                run((struct connection *)(uintptr_t)events[i].user, events[i].events);
        }
    }
}

static foyer_time_ns run_once(void)
{
    struct foyer_packet packets[BATCH];
    foyer_time_ns now = now_ns();
    int count = link_receive(lan, packets, BATCH, now);
    check("receive", count);
    foyer_host_input(host, packets, (size_t)count, now);
    if (foyer_host_deadline(host) <= now)
        foyer_host_tick(host, now);
    serve();
    size_t output;
    while ((output = foyer_host_output(host, packets, BATCH, now_ns())) > 0)
        check("send", link_send(lan, packets, output, now_ns())); /* the bad wire takes all */
    if (count > 0)
        return now;
    foyer_time_ns deadline = link_deadline(lan), own = foyer_host_deadline(host);
    return own < deadline ? own : deadline;
}

static void run_host(void)
{
    struct pollfd polled[2] = {{.fd = link_fd(lan), .events = POLLIN},
                               {.fd = STDIN_FILENO, .events = POLLIN}};
    char line[256];
    check("stdin", fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0);
    setvbuf(stdin, NULL, _IOLBF, 0);
    while ((polled[1].revents & POLLHUP) == 0 && !feof(stdin)) {
        while (fgets(line, sizeof(line), stdin) != NULL)
            obey(line);
        if (!feof(stdin))
            clearerr(stdin);
        foyer_time_ns wake = run_once(), now = now_ns();
        int timeout_ms = wake <= now ? 0 : -1;
        if (wake > now && wake != FOYER_TIME_NEVER)
            timeout_ms = (int)((wake - now) / FOYER_NS_PER_MS) + 1;
        (void)poll(polled, 2, timeout_ms);
    }
}

static void make_host(uint8_t mac)
{
    struct foyer_host_config config = {
        .allocator = {.alloc = allocate, .free = release},
        .mac = {2, 0, 0, 0, 0, mac},
        .receive_buffer_size = 1 << 20,
        .send_buffer_size = 1 << 20,
    };
    if (getrandom(config.secret, sizeof(config.secret), 0) != sizeof(config.secret))
        die("random", -errno);
    host = foyer_host_create(&config, now_ns());
    if (host == NULL)
        die("host", -ENOMEM);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.seed = 1, .mac = 0x77};
    if (argc < 4) {
        fprintf(stderr, "usage: see the head of differential.c\n");
        return 2;
    }
    bool is_host = strcmp(argv[1], "host") == 0;
    int first = is_host ? 3 : 4, address_count = 0;
    for (int i = first; i < argc; i++) {
        if (!parse_argument(&arguments, argv[i]))
            argv[first + address_count++] = argv[i];
    }
    lan = open_tap(argv[2]);
    if (is_host)
        make_host(arguments.mac);
    else
        other = open_tap(argv[3]);
    for (int i = first; i < first + address_count; i++) {
        uint8_t length = 0;
        struct foyer_addr addr = parse_address(argv[i], &length);
        check(argv[i], foyer_host_add_address(host, &addr, length));
    }
    wrap(&arguments);
    if (is_host)
        listen_on_all();
    puts("ready");
    fflush(stdout);
    if (is_host)
        run_host();
    else
        run_bridge();
    foyer_host_destroy(host);
    link_close(lan);
    link_close(other);
    while (connections != NULL) {
        struct connection *next = connections->next;
        free(connections);
        connections = next;
    }
    return 0;
}
