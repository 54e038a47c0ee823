/*
 * The rows' work on two lwIP stacks in one process.
 *
 * lwIP keeps its state in globals, so Debian's liblwip.so is loaded twice, as two files with the
 * same bytes, each linked with itself alone. The raw API is called from one thread with no
 * tcpip thread (the package is built for one, and does not insist). What one stack's interface
 * sends is copied into a buffer of the other, in the only form lwIP takes.
 */
#include "core.h"

#include <stdio.h>

#ifndef FOYER_BENCH_LWIP

static void *absent_open(long argument)
{
    (void)argument;
    fprintf(stderr, "lwIP: built without liblwip-dev, its rows are left out\n");
    return NULL;
}

#define ABSENT                                                                                     \
    {                                                                                              \
        absent_open, NULL, NULL                                                                    \
    }
const struct subject lwip_bulk = ABSENT, lwip_requests = ABSENT, lwip_connects = ABSENT,
                     lwip_idle_heap = ABSENT, lwip_demux = ABSENT, lwip_port = ABSENT,
                     lwip_tap = ABSENT;

#else

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/ip_addr.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#include "core_tap.h"

#define PORT 7
#define CHUNK_BYTES 65536u
#define FRAME_BYTES_MAX 1600u

/* What is called of each copy. */
#define FUNCTIONS(X)                                                                               \
    X(lwip_init)                                                                                   \
    X(netif_add)                                                                                   \
    X(netif_set_up)                                                                                \
    X(netif_set_default)                                                                           \
    X(ethernet_input)                                                                              \
    X(etharp_output)                                                                               \
    X(pbuf_alloc)                                                                                  \
    X(pbuf_free)                                                                                   \
    X(pbuf_take)                                                                                   \
    X(pbuf_copy_partial)                                                                           \
    X(tcp_new)                                                                                     \
    X(tcp_bind)                                                                                    \
    X(tcp_listen_with_backlog)                                                                     \
    X(tcp_accept)                                                                                  \
    X(tcp_connect)                                                                                 \
    X(tcp_arg)                                                                                     \
    X(tcp_recv)                                                                                    \
    X(tcp_err)                                                                                     \
    X(tcp_recved)                                                                                  \
    X(tcp_write)                                                                                   \
    X(tcp_output)                                                                                  \
    X(tcp_close)                                                                                   \
    X(tcp_abort)                                                                                   \
    X(tcp_tmr)                                                                                     \
    X(sys_check_timeouts)

struct api {
#define X(name) __typeof__(&(name)) name;
    FUNCTIONS(X)
#undef X
};

struct stack {
    struct api api;
    void *library;
    struct netif netif;
    struct stack *peer;
    struct pbuf **arrived; /* frames for this stack, in its own buffers */
    unsigned arrived_count, arrived_size;
    void (*tap)(void *context, const void *bytes, size_t size); /* of what it sends */
    void *tap_context;
    bool is_cut; /* what it sends is lost */
};

struct duo {
    struct stack stacks[2];
    uint8_t *from, *to;
    struct tcp_pcb *client, *server;
    uint64_t received[2];
    unsigned connected, accepted;
};

/* ---- loading ------------------------------------------------------------------------------------ */

/* A file of its own with the library's bytes: the loader tells libraries apart by inode. */
static int copy_library(void)
{
    void *library = dlopen("liblwip.so.0", RTLD_NOW | RTLD_LOCAL);
    Dl_info info;
    if (library == NULL || dladdr(dlsym(library, "lwip_init"), &info) == 0)
        return -1;
    int from = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
    int to = memfd_create("liblwip", MFD_CLOEXEC);
    CORE_CHECK(from >= 0 && to >= 0);
    char bytes[65536];
    for (ssize_t size; (size = read(from, bytes, sizeof(bytes))) > 0;)
        CORE_CHECK(write(to, bytes, (size_t)size) == size);
    close(from);
    dlclose(library);
    return to;
}

static bool load(struct stack *stack)
{
    int fd = copy_library();
    if (fd < 0) {
        fprintf(stderr, "lwIP: liblwip0 is not installed, its rows are left out\n");
        return false;
    }
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    stack->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    /* The descriptor stays open: the loader also compares names. */
    CORE_CHECK(stack->library != NULL);
#define X(name)                                                                                    \
    stack->api.name = (__typeof__(&(name)))dlsym(stack->library, #name);                           \
    CORE_CHECK(stack->api.name != NULL);
    FUNCTIONS(X)
#undef X
    return true;
}

static err_t wire_send(struct netif *netif, struct pbuf *frame)
{
    struct stack *stack = netif->state, *peer = stack->peer;
    CORE_CHECK(frame->next == NULL); /* LWIP_NETIF_TX_SINGLE_PBUF of the package */
    if (stack->tap != NULL)
        stack->tap(stack->tap_context, frame->payload, frame->len);
    if (stack->is_cut)
        return ERR_OK;
    struct pbuf *copy = peer->api.pbuf_alloc(PBUF_RAW, frame->len, PBUF_RAM);
    CORE_CHECK(copy != NULL);
    memcpy(copy->payload, frame->payload, frame->len);
    if (peer->arrived_count == peer->arrived_size) {
        peer->arrived_size = peer->arrived_size > 0 ? 2 * peer->arrived_size : 64;
        peer->arrived = realloc(peer->arrived, peer->arrived_size * sizeof(struct pbuf *));
        CORE_CHECK(peer->arrived != NULL);
    }
    peer->arrived[peer->arrived_count++] = copy;
    return ERR_OK;
}

static err_t netif_setup(struct netif *netif)
{
    struct stack *stack = netif->state;
    netif->name[0] = 'm';
    netif->name[1] = 'w';
    netif->mtu = 1500;
    netif->hwaddr_len = 6;
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = stack->api.etharp_output;
    netif->linkoutput = wire_send;
    return ERR_OK;
}

static bool carry(struct duo *duo)
{
    bool moved = false;
    for (unsigned i = 0; i < 2; i++) {
        struct stack *stack = &duo->stacks[i];
        /* What arrives meanwhile goes to the other; nothing is added here. */
        for (unsigned j = 0; j < stack->arrived_count; j++)
            (void)stack->netif.input(stack->arrived[j], &stack->netif);
        moved |= stack->arrived_count > 0;
        stack->arrived_count = 0;
    }
    return moved;
}

static void settle(struct duo *duo)
{
    while (carry(duo))
        ;
}

static void duo_close(void *state)
{
    struct duo *duo = state;
    /* Connections are not ended: the copies' memory goes with the process. */
    for (unsigned i = 0; i < 2; i++) {
        if (duo->stacks[i].library != NULL)
            dlclose(duo->stacks[i].library);
        free(duo->stacks[i].arrived);
    }
    free(duo->from);
    free(duo->to);
    free(duo);
}

static ip_addr_t address(unsigned end)
{
    ip_addr_t addr = IPADDR4_INIT_BYTES(10, 0, 0, (uint8_t)(end + 1));
    return addr;
}

static struct duo *duo_open(void)
{
    struct duo *duo = calloc(1, sizeof(*duo));
    CORE_CHECK(duo != NULL);
    for (unsigned i = 0; i < 2; i++)
        duo->stacks[i].peer = &duo->stacks[1 - i];
    if (!load(&duo->stacks[0]) || !load(&duo->stacks[1])) {
        duo_close(duo);
        return NULL;
    }
    CORE_CHECK(duo->stacks[0].api.lwip_init != duo->stacks[1].api.lwip_init);
    for (unsigned i = 0; i < 2; i++) {
        struct stack *stack = &duo->stacks[i];
        ip_addr_t self = address(i);
        ip4_addr_t mask, any;
        IP4_ADDR(&mask, 255, 255, 255, 0);
        IP4_ADDR(&any, 0, 0, 0, 0);
        stack->api.lwip_init();
        CORE_CHECK(stack->api.netif_add(&stack->netif, ip_2_ip4(&self), &mask, &any, stack,
                                        netif_setup, stack->api.ethernet_input) != NULL);
        memcpy(stack->netif.hwaddr, (uint8_t[6]){2, 0, 0, 0, 0, (uint8_t)(i + 1)}, 6);
        stack->api.netif_set_default(&stack->netif);
        stack->api.netif_set_up(&stack->netif);
    }
    settle(duo);
    duo->from = calloc(1, CHUNK_BYTES);
    duo->to = calloc(1, CHUNK_BYTES);
    CORE_CHECK(duo->from != NULL && duo->to != NULL);
    memset(duo->from, 0x5a, CHUNK_BYTES);
    return duo;
}

/* ---- programs ------------------------------------------------------------------------------------ */

static err_t on_data(struct duo *duo, unsigned end, struct tcp_pcb *pcb, struct pbuf *data)
{
    struct api *api = &duo->stacks[end].api;
    if (data == NULL) {
        if (end == 1) /* the client closes first, the server answers */
            CORE_CHECK(api->tcp_close(pcb) == ERR_OK);
        return ERR_OK;
    }
    /* Into the program's own buffer, as foyer's recv does. */
    duo->received[end] += api->pbuf_copy_partial(data, duo->to, data->tot_len, 0);
    api->tcp_recved(pcb, data->tot_len);
    api->pbuf_free(data);
    return ERR_OK;
}

static err_t on_client_data(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    CORE_CHECK(error == ERR_OK);
    return on_data(arg, 0, pcb, data);
}

static err_t on_server_data(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    CORE_CHECK(error == ERR_OK);
    return on_data(arg, 1, pcb, data);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct duo *duo = arg;
    CORE_CHECK(error == ERR_OK);
    duo->server = pcb;
    duo->accepted++;
    duo->stacks[1].api.tcp_arg(pcb, duo);
    duo->stacks[1].api.tcp_recv(pcb, on_server_data);
    return ERR_OK;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct duo *duo = arg;
    (void)pcb;
    CORE_CHECK(error == ERR_OK);
    duo->connected++;
    return ERR_OK;
}

static const ip_addr_t any_address = IPADDR4_INIT(0);

static void serve(struct duo *duo)
{
    struct api *api = &duo->stacks[1].api;
    struct tcp_pcb *pcb = api->tcp_new();
    CORE_CHECK(pcb != NULL && api->tcp_bind(pcb, &any_address, PORT) == ERR_OK);
    pcb = api->tcp_listen_with_backlog(pcb, 255);
    CORE_CHECK(pcb != NULL);
    api->tcp_arg(pcb, duo);
    api->tcp_accept(pcb, on_accept);
}

/* port 0: lwIP chooses. */
static struct tcp_pcb *begin_connect(struct duo *duo, uint16_t port)
{
    struct api *api = &duo->stacks[0].api;
    ip_addr_t remote = address(1);
    struct tcp_pcb *pcb = api->tcp_new();
    CORE_CHECK(pcb != NULL);
    api->tcp_arg(pcb, duo);
    api->tcp_recv(pcb, on_client_data);
    if (port != 0)
        CORE_CHECK(api->tcp_bind(pcb, &any_address, port) == ERR_OK);
    CORE_CHECK(api->tcp_connect(pcb, &remote, PORT, on_connected) == ERR_OK);
    return pcb;
}

static void establish(struct duo *duo, uint16_t port)
{
    unsigned connected = duo->connected, accepted = duo->accepted;
    duo->client = begin_connect(duo, port);
    settle(duo);
    CORE_CHECK(duo->connected == connected + 1 && duo->accepted == accepted + 1);
}

static void check_timeouts(struct duo *duo)
{
    duo->stacks[0].api.sys_check_timeouts();
    duo->stacks[1].api.sys_check_timeouts();
}

/* ---- bulk and requests ----------------------------------------------------------------------------- */

static void *stream_open(long argument)
{
    (void)argument;
    struct duo *duo = duo_open();
    if (duo == NULL)
        return NULL;
    serve(duo);
    establish(duo, 0);
    return duo;
}

static double bulk_measure(void *state, double seconds)
{
    struct duo *duo = state;
    struct api *api = &duo->stacks[0].api;
    uint64_t before = duo->received[1];
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 16; i++) {
            /* Half the send buffer at a time: lwIP's queue is also bounded in segments. */
            uint16_t size;
            while ((size = tcp_sndbuf(duo->client)) > 0) {
                if (size > 8 * TCP_MSS)
                    size = 8 * TCP_MSS;
                if (api->tcp_write(duo->client, duo->from, size, TCP_WRITE_FLAG_COPY) != ERR_OK)
                    break;
            }
            (void)api->tcp_output(duo->client);
            (void)carry(duo);
        }
        check_timeouts(duo);
        now = core_seconds();
    } while (now - start < seconds);
    CORE_CHECK(duo->received[1] > before);
    return (double)(duo->received[1] - before) * 8 / 1e9 / (now - start);
}

const struct subject lwip_bulk = {stream_open, bulk_measure, duo_close};

#define REQUEST_BYTES 64u

static void say(struct duo *duo, unsigned end)
{
    struct api *api = &duo->stacks[end].api;
    struct tcp_pcb *pcb = end == 0 ? duo->client : duo->server;
    uint64_t before = duo->received[1 - end];
    CORE_CHECK(api->tcp_write(pcb, duo->from, REQUEST_BYTES, TCP_WRITE_FLAG_COPY) == ERR_OK);
    CORE_CHECK(api->tcp_output(pcb) == ERR_OK);
    (void)carry(duo);
    CORE_CHECK(duo->received[1 - end] == before + REQUEST_BYTES);
}

static double requests_measure(void *state, double seconds)
{
    struct duo *duo = state;
    tcp_nagle_disable(duo->client);
    tcp_nagle_disable(duo->server);
    uint64_t count = 0;
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 64; i++, count++) {
            say(duo, 0);
            say(duo, 1);
        }
        check_timeouts(duo);
        now = core_seconds();
    } while (now - start < seconds);
    return (double)count / (now - start);
}

const struct subject lwip_requests = {stream_open, requests_measure, duo_close};

/* ---- connects ------------------------------------------------------------------------------------- */

static void *server_open(long argument)
{
    (void)argument;
    struct duo *duo = duo_open();
    if (duo != NULL)
        serve(duo);
    return duo;
}

/* Not inlined, for callgrind's --toggle-collect. */
static __attribute__((noinline)) void connect_and_close(struct duo *duo)
{
    establish(duo, 0);
    CORE_CHECK(duo->stacks[0].api.tcp_close(duo->client) == ERR_OK);
    settle(duo);
}

static double connects_measure(void *state, double seconds)
{
    struct duo *duo = state;
    struct api *api = &duo->stacks[0].api;
    uint64_t count = 0;
    double spent = 0, begin = core_seconds();
    do {
        double start = core_seconds();
        for (unsigned i = 0; i < 1000; i++, count++)
            connect_and_close(duo);
        spent += core_seconds() - start;
        /* TIME-WAIT passes (120 s), here not counted, to lwIP's favour: its timer is slow. */
        for (unsigned i = 0; i < 500; i++)
            api->tcp_tmr();
        settle(duo);
    } while (core_seconds() - begin < seconds);
    return (double)count / spent;
}

const struct subject lwip_connects = {server_open, connects_measure, duo_close};

/* ---- many connections ------------------------------------------------------------------------------ */

struct frame {
    uint16_t size;
    uint8_t bytes[78];
};

struct many {
    struct duo *duo;
    uint64_t heap_bytes; /* given out while the connections were made */
    uint32_t count, frame_count, next;
    struct frame *frames;
};

static void keep_ack(void *context, const void *bytes, size_t size)
{
    struct many *many = context;
    const uint8_t *frame = bytes;
    if (size < 54 || size > sizeof(many->frames->bytes) || frame[23] != 6 || frame[47] != 0x10)
        return;
    CORE_CHECK(many->frame_count < many->count);
    struct frame *kept = &many->frames[many->frame_count++];
    kept->size = (uint16_t)size;
    memcpy(kept->bytes, bytes, size);
}

static void *many_open(long argument)
{
    uint64_t heap = core_heap_bytes();
    struct duo *duo = server_open(0);
    if (duo == NULL)
        return NULL;
    struct many *many = calloc(1, sizeof(*many));
    CORE_CHECK(many != NULL);
    *many = (struct many){.duo = duo, .count = (uint32_t)argument};
    many->frames = calloc(many->count, sizeof(*many->frames));
    CORE_CHECK(many->frames != NULL);
    duo->stacks[0].tap = keep_ack;
    duo->stacks[0].tap_context = many;
    for (uint32_t i = 0; i < many->count; i++)
        establish(duo, 0);
    duo->stacks[0].tap = NULL;
    CORE_CHECK(many->frame_count == many->count);
    many->heap_bytes = core_heap_bytes() - heap - many->count * sizeof(*many->frames);
    uint64_t random = 1;
    for (uint32_t i = many->count - 1; i > 0; i--) {
        uint32_t j = core_random(&random, i + 1);
        struct frame swap = many->frames[i];
        many->frames[i] = many->frames[j];
        many->frames[j] = swap;
    }
    return many;
}

static void many_close(void *state)
{
    struct many *many = state;
    duo_close(many->duo);
    free(many->frames);
    free(many);
}

static double idle_heap_measure(void *state, double seconds)
{
    const struct many *many = state;
    (void)seconds;
    return (double)many->heap_bytes / (2.0 * many->count);
}

const struct subject lwip_idle_heap = {many_open, idle_heap_measure, many_close};

static double demux_measure(void *state, double seconds)
{
    struct many *many = state;
    struct stack *stack = &many->duo->stacks[1];
    uint64_t count = 0;
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 32; i++, count++) {
            const struct frame *frame = &many->frames[many->next];
            many->next = many->next + 1 < many->count ? many->next + 1 : 0;
            struct pbuf *copy = stack->api.pbuf_alloc(PBUF_RAW, frame->size, PBUF_RAM);
            CORE_CHECK(copy != NULL);
            memcpy(copy->payload, frame->bytes, frame->size);
            (void)stack->netif.input(copy, &stack->netif);
        }
        now = core_seconds();
    } while (now - start < seconds);
    CORE_CHECK(many->duo->stacks[0].arrived_count == 0); /* it had nothing to say */
    return (now - start) * 1e9 / (double)count;
}

const struct subject lwip_demux = {many_open, demux_measure, many_close};

/* ---- ephemeral ports ---------------------------------------------------------------------------------- */

static void *port_open(long argument)
{
    struct duo *duo = duo_open();
    if (duo == NULL)
        return NULL;
    struct stack *stack = &duo->stacks[0];
    duo->stacks[0].is_cut = true;
    /* lwIP's own range is 49152..65535 too. */
    uint32_t count = (uint32_t)((CORE_PORT_LAST - CORE_PORT_FIRST + 1) * (uint64_t)argument / 1000);
    for (uint32_t i = 0; i < count; i++) {
        struct tcp_pcb *pcb = stack->api.tcp_new();
        ip_addr_t remote = address(1);
        CORE_CHECK(pcb != NULL);
        CORE_CHECK(stack->api.tcp_connect(pcb, &remote, PORT, on_connected) == ERR_OK);
    }
    return duo;
}

static double port_measure(void *state, double seconds)
{
    struct duo *duo = state;
    struct api *api = &duo->stacks[0].api;
    ip_addr_t remote = address(1);
    double spent = 0, cost = core_clock_cost(), begin = core_seconds();
    uint64_t count = 0;
    do {
        struct tcp_pcb *pcb = api->tcp_new();
        CORE_CHECK(pcb != NULL);
        double start = core_seconds();
        CORE_CHECK(api->tcp_connect(pcb, &remote, PORT, on_connected) == ERR_OK);
        spent += core_seconds() - start - cost;
        api->tcp_abort(pcb);
        count++;
    } while (core_seconds() - begin < seconds);
    return spent * 1e9 / (double)count;
}

const struct subject lwip_port = {port_open, port_measure, duo_close};

/* ---- over a TAP ----------------------------------------------------------------------------------------- */

struct tap_end {
    struct tap tap;
    struct stack stack;
    struct tcp_pcb *pcb;
    bool is_inward, is_connected;
    uint64_t received;
};

static err_t tap_send(struct netif *netif, struct pbuf *frame)
{
    struct tap_end *end = netif->state;
    struct foyer_packet packet = {.spans = {{frame->payload, frame->len}}, .span_count = 1};
    CORE_CHECK(frame->next == NULL);
    CORE_CHECK(link_send(end->tap.link, &packet, 1, 0) == 1);
    return ERR_OK;
}

static err_t tap_setup(struct netif *netif)
{
    struct tap_end *end = netif->state;
    netif->mtu = 1500;
    netif->hwaddr_len = 6;
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = end->stack.api.etharp_output;
    netif->linkoutput = tap_send;
    return ERR_OK;
}

static err_t tap_on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct tap_end *end = arg;
    struct api *api = &end->stack.api;
    CORE_CHECK(error == ERR_OK && data != NULL);
    end->received += api->pbuf_copy_partial(data, end->tap.to, data->tot_len, 0);
    api->tcp_recved(pcb, data->tot_len);
    api->pbuf_free(data);
    return ERR_OK;
}

static err_t tap_on_connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct tap_end *end = arg;
    (void)pcb;
    CORE_CHECK(error == ERR_OK);
    end->is_connected = true;
    return ERR_OK;
}

static void tap_pump(struct tap_end *end)
{
    struct stack *stack = &end->stack;
    struct foyer_packet packets[32];
    int count;
    while ((count = link_receive(end->tap.link, packets, 32, 0)) > 0)
        for (int i = 0; i < count; i++) {
            const struct foyer_span *span = &packets[i].spans[0];
            struct pbuf *copy = stack->api.pbuf_alloc(PBUF_RAW, (uint16_t)span->size, PBUF_RAM);
            CORE_CHECK(copy != NULL && span->size <= FRAME_BYTES_MAX);
            memcpy(copy->payload, span->base, span->size);
            (void)stack->netif.input(copy, &stack->netif);
        }
    stack->api.sys_check_timeouts();
}

static void tap_close_lwip(void *state)
{
    struct tap_end *end = state;
    if (end->stack.library != NULL)
        dlclose(end->stack.library);
    tap_close(&end->tap);
    free(end);
}

static void *tap_open_lwip(long argument)
{
    struct tap_end *end = calloc(1, sizeof(*end));
    CORE_CHECK(end != NULL);
    if (!tap_open(&end->tap, true)) {
        free(end);
        return NULL;
    }
    if (!load(&end->stack)) {
        tap_close_lwip(end);
        return NULL;
    }
    struct api *api = &end->stack.api;
    ip_addr_t self = IPADDR4_INIT(PP_HTONL(TAP_STACK_ADDR)),
              remote = IPADDR4_INIT(PP_HTONL(TAP_KERNEL_ADDR));
    ip4_addr_t mask, any;
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&any, 0, 0, 0, 0);
    end->is_inward = argument == 1;
    api->lwip_init();
    CORE_CHECK(api->netif_add(&end->stack.netif, ip_2_ip4(&self), &mask, &any, end, tap_setup,
                              api->ethernet_input) != NULL);
    memcpy(end->stack.netif.hwaddr, (uint8_t[6]){2, 0, 0, 0, 0, 9}, 6);
    api->netif_set_default(&end->stack.netif);
    api->netif_set_up(&end->stack.netif);
    end->pcb = api->tcp_new();
    CORE_CHECK(end->pcb != NULL);
    api->tcp_arg(end->pcb, end);
    api->tcp_recv(end->pcb, tap_on_data);
    CORE_CHECK(api->tcp_connect(end->pcb, &remote, TAP_PORT, tap_on_connected) == ERR_OK);
    while (!end->is_connected || !tap_kernel_accept(&end->tap))
        tap_pump(end);
    return end;
}

static double tap_measure(void *state, double seconds)
{
    struct tap_end *end = state;
    struct api *api = &end->stack.api;
    uint64_t received = 0, before = end->received;
    double start = core_seconds(), now;
    do {
        for (unsigned i = 0; i < 16; i++) {
            if (end->is_inward) {
                tap_kernel_send(&end->tap);
                tap_pump(end);
                continue;
            }
            uint16_t size;
            while ((size = tcp_sndbuf(end->pcb)) > 0) {
                if (size > 8 * TCP_MSS)
                    size = 8 * TCP_MSS;
                if (api->tcp_write(end->pcb, end->tap.from, size, TCP_WRITE_FLAG_COPY) != ERR_OK)
                    break;
            }
            (void)api->tcp_output(end->pcb);
            received += tap_kernel_recv(&end->tap);
            tap_pump(end);
        }
        now = core_seconds();
    } while (now - start < seconds);
    if (end->is_inward)
        received = end->received - before;
    return (double)received * 8 / 1e9 / (now - start);
}

const struct subject lwip_tap = {tap_open_lwip, tap_measure, tap_close_lwip};

#endif
