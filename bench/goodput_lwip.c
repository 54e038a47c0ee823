/*
 * lwIP against itself, in virtual time: all its TCP knows of time is how often tcp_tmr is called,
 * each 250 ms. Debian's build: a window of 64 KiB, NewReno, no SACK, no timestamps. Two copies of
 * the library, since its state is global.
 */
#include "goodput.h"

#include <stdio.h>

#ifndef FOYER_BENCH_LWIP

bool goodput_lwip(const struct goodput_path *path, struct goodput_result *ret_result)
{
    (void)path;
    (void)ret_result;
    fprintf(stderr, "lwIP: built without liblwip-dev, its figures are left out\n");
    return false;
}

#else

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>
#include <netif/ethernet.h>

#include "core.h"

#define PORT 7
#define BATCH 32
#define TIMER_NS (250 * FOYER_NS_PER_MS) /* TCP_TMR_INTERVAL */

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
    X(tcp_tmr)

struct api {
#define X(name) __typeof__(&(name)) name;
    FUNCTIONS(X)
#undef X
};

struct run;

struct stack {
    struct api api;
    struct netif netif;
    struct impair *way; /* of what it sends */
    struct run *run;
};

struct run {
    struct stack stacks[2];
    struct impair way[2];
    struct tcp_pcb *client;
    uint64_t received;
    foyer_time_ns now, next_timer_ns;
    bool is_established, is_over;
};

static const uint8_t data[8 * TCP_MSS];

/* A file of its own with the library's bytes: the loader tells libraries apart by inode. */
static bool load(struct stack *stack)
{
    void *library = dlopen("liblwip.so.0", RTLD_NOW | RTLD_LOCAL);
    Dl_info info;
    if (library == NULL || dladdr(dlsym(library, "lwip_init"), &info) == 0) {
        fprintf(stderr, "lwIP: liblwip0 is not installed, its figures are left out\n");
        return false;
    }
    int from = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
    int to = memfd_create("liblwip", MFD_CLOEXEC);
    CORE_CHECK(from >= 0 && to >= 0);
    char bytes[65536];
    for (ssize_t size; (size = read(from, bytes, sizeof(bytes))) > 0;)
        CORE_CHECK(write(to, bytes, (size_t)size) == size);
    close(from);
    dlclose(library);
    snprintf(bytes, sizeof(bytes), "/proc/self/fd/%d", to);
    library = dlopen(bytes, RTLD_NOW | RTLD_LOCAL); /* to stays open: names are compared, too */
    CORE_CHECK(library != NULL);
#define X(name)                                                                                    \
    stack->api.name = (__typeof__(&(name)))dlsym(library, #name);                                  \
    CORE_CHECK(stack->api.name != NULL);
    FUNCTIONS(X)
#undef X
    return true;
}

static err_t wire_send(struct netif *netif, struct pbuf *frame)
{
    struct stack *stack = netif->state;
    struct foyer_packet packet = {.spans = {{frame->payload, frame->len}}, .span_count = 1};
    CORE_CHECK(frame->next == NULL); /* LWIP_NETIF_TX_SINGLE_PBUF of the package */
    impair_push(stack->way, &packet, stack->run->now);
    return ERR_OK;
}

static err_t netif_setup(struct netif *netif)
{
    struct stack *stack = netif->state;
    netif->name[0] = 'w';
    netif->name[1] = 'r';
    netif->mtu = 1500;
    netif->hwaddr_len = 6;
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = stack->api.etharp_output;
    netif->linkoutput = wire_send;
    return ERR_OK;
}

static bool open_stack(struct run *run, unsigned end)
{
    struct stack *stack = &run->stacks[end];
    ip4_addr_t self, mask, any;
    stack->run = run;
    stack->way = &run->way[end];
    if (!load(stack))
        return false;
    IP4_ADDR(&self, 10, 0, 0, end + 1);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&any, 0, 0, 0, 0);
    stack->api.lwip_init();
    CORE_CHECK(stack->api.netif_add(&stack->netif, &self, &mask, &any, stack, netif_setup,
                                    stack->api.ethernet_input) != NULL);
    memcpy(stack->netif.hwaddr, (uint8_t[6]){2, 0, 0, 0, 0, (uint8_t)(end + 1)}, 6);
    stack->api.netif_set_default(&stack->netif);
    stack->api.netif_set_up(&stack->netif);
    return true;
}

/* ---- programs ------------------------------------------------------------------------------------ */

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *bytes, err_t error)
{
    struct run *run = arg;
    CORE_CHECK(error == ERR_OK && bytes != NULL);
    run->received += bytes->tot_len;
    run->stacks[1].api.tcp_recved(pcb, bytes->tot_len);
    run->stacks[1].api.pbuf_free(bytes);
    return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct run *run = arg;
    CORE_CHECK(error == ERR_OK);
    run->is_established = true;
    run->stacks[1].api.tcp_arg(pcb, run);
    run->stacks[1].api.tcp_recv(pcb, on_data);
    return ERR_OK;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
    struct run *run = arg;
    CORE_CHECK(error == ERR_OK);
    run->client = pcb;
    return ERR_OK;
}

static void on_error(void *arg, err_t error)
{
    struct run *run = arg;
    fprintf(stderr, "lwIP: gave up (%d)\n", error);
    run->client = NULL;
    run->is_over = true;
}

static void open_flow(struct run *run)
{
    ip_addr_t any = IPADDR4_INIT(0), remote = IPADDR4_INIT_BYTES(10, 0, 0, 2);
    struct api *api = &run->stacks[1].api;
    struct tcp_pcb *pcb = api->tcp_new();
    CORE_CHECK(pcb != NULL && api->tcp_bind(pcb, &any, PORT) == ERR_OK);
    pcb = api->tcp_listen_with_backlog(pcb, 16);
    CORE_CHECK(pcb != NULL);
    api->tcp_arg(pcb, run);
    api->tcp_accept(pcb, on_accept);

    api = &run->stacks[0].api;
    pcb = api->tcp_new();
    CORE_CHECK(pcb != NULL);
    api->tcp_arg(pcb, run);
    api->tcp_err(pcb, on_error);
    CORE_CHECK(api->tcp_connect(pcb, &remote, PORT, on_connected) == ERR_OK);
}

/* Half the send buffer at a time: lwIP's queue is also bounded in segments. */
static void fill(struct run *run)
{
    struct api *api = &run->stacks[0].api;
    uint16_t size;
    if (run->client == NULL)
        return;
    while ((size = tcp_sndbuf(run->client)) > 0) {
        if (size > sizeof(data))
            size = sizeof(data);
        if (api->tcp_write(run->client, data, size, 0) != ERR_OK)
            break;
    }
    (void)api->tcp_output(run->client);
}

/* ---- the wire ------------------------------------------------------------------------------------- */

static bool deliver(struct run *run, unsigned end)
{
    struct stack *stack = &run->stacks[end];
    struct foyer_packet packets[BATCH];
    size_t count = impair_pop(&run->way[1 - end], packets, BATCH, run->now);
    for (size_t i = 0; i < count; i++) {
        const struct foyer_span *span = &packets[i].spans[0];
        struct pbuf *copy = stack->api.pbuf_alloc(PBUF_RAW, (u16_t)span->size, PBUF_RAM);
        CORE_CHECK(copy != NULL);
        CORE_CHECK(stack->api.pbuf_take(copy, span->base, (u16_t)span->size) == ERR_OK);
        (void)stack->netif.input(copy, &stack->netif);
    }
    return count > 0;
}

static void step(struct run *run)
{
    bool any = deliver(run, 0);
    any |= deliver(run, 1);
    if (run->next_timer_ns <= run->now) {
        run->next_timer_ns += TIMER_NS;
        run->stacks[0].api.tcp_tmr();
        run->stacks[1].api.tcp_tmr();
        any = true;
    }
    fill(run);
    if (any)
        return;
    foyer_time_ns to = impair_deadline(&run->way[0]), back = impair_deadline(&run->way[1]);
    foyer_time_ns next = to < back ? to : back;
    run->now = next < run->next_timer_ns ? next : run->next_timer_ns;
}

bool goodput_lwip(const struct goodput_path *path, struct goodput_result *ret_result)
{
    static struct run run;

    CORE_CHECK(path->flows == 1);
    run.now = run.next_timer_ns = FOYER_NS_PER_S;
    impair_init(&run.way[0], &path->to, path->seed);
    impair_init(&run.way[1], &path->back, path->seed ^ 0x5bd1e995u);
    if (!open_stack(&run, 0) || !open_stack(&run, 1))
        return false;
    open_flow(&run);
    while (!run.is_established && !run.is_over)
        step(&run);
    foyer_time_ns end_ns = run.now + path->length_ns;
    uint64_t before = run.received;
    while (run.now < end_ns && !run.is_over)
        step(&run);
    *ret_result = (struct goodput_result){.to = run.way[0].stats};
    ret_result->flow_bytes[0] = run.received - before;
    return true; /* the copies' memory goes with the process */
}

#endif
