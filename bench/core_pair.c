#include "core_pair.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core.h"

#define ARENA_BYTES (256u << 20)
#define HUGE_PAGE_BYTES (2u << 20)

struct arena {
    struct arena *next;
    size_t size, used;
};

static void *huge_alloc(void *context, size_t size)
{
    struct pair *pair = context;
    struct arena *arena = pair->arenas;
    size = (size + 15) & ~(size_t)15;
    if (arena == NULL || arena->size - arena->used < size) {
        size_t bytes = (size + sizeof(*arena) + ARENA_BYTES - 1) & ~(size_t)(ARENA_BYTES - 1);
        arena = aligned_alloc(HUGE_PAGE_BYTES, bytes);
        CORE_CHECK(arena != NULL);
        (void)madvise(arena, bytes, MADV_HUGEPAGE);
        *arena = (struct arena){pair->arenas, bytes, 64};
        pair->arenas = arena;
    }
    void *memory = (char *)arena + arena->used;
    arena->used += size;
    pair->allocated_bytes += size;
    return memory;
}

static void huge_free(void *context, void *memory, size_t size)
{
    struct pair *pair = context;
    if (memory != NULL)
        pair->allocated_bytes -= (size + 15) & ~(size_t)15;
}

static void *pair_alloc(void *context, size_t size)
{
    struct pair *pair = context;
    void *memory = malloc(size);
    if (memory != NULL)
        pair->allocated_bytes += size;
    return memory;
}

static void pair_free(void *context, void *memory, size_t size)
{
    struct pair *pair = context;
    if (memory != NULL)
        pair->allocated_bytes -= size;
    free(memory);
}

void pair_init(struct pair *pair, const struct pair_config *config)
{
    *pair = (struct pair){.now = FOYER_NS_PER_S};
    for (unsigned i = 0; i < 2; i++) {
        struct foyer_host_config host = {
            .allocator = {config->has_huge_pages ? huge_alloc : pair_alloc,
                          config->has_huge_pages ? huge_free : pair_free, pair},
            .mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)},
            .link_capabilities = config->capabilities,
            .max_sockets = config->max_sockets,
            .ephemeral_first = config->ephemeral_first,
            .secret = {(uint8_t)(7 + i), 1, 2, 3},
        };
        pair->hosts[i] = foyer_host_create(&host, pair->now);
        CORE_CHECK(pair->hosts[i] != NULL);
        struct foyer_endpoint self = pair_endpoint(i, 0);
        CORE_CHECK(foyer_host_add_address(pair->hosts[i], &self.addr, 24) == 0);
    }
    pair_settle(pair);
}

void pair_finish(struct pair *pair)
{
    foyer_host_destroy(pair->hosts[0]);
    foyer_host_destroy(pair->hosts[1]);
    CORE_CHECK(pair->allocated_bytes == 0);
    while (pair->arenas != NULL) {
        struct arena *arena = pair->arenas;
        pair->arenas = arena->next;
        free(arena);
    }
}

struct foyer_endpoint pair_endpoint(unsigned end, uint16_t port)
{
    return (struct foyer_endpoint){foyer_addr_v4(10, 0, 0, (uint8_t)(end + 1)), port};
}

foyer_socket pair_listen(struct pair *pair, uint16_t port, uint32_t backlog)
{
    foyer_socket listener;
    struct foyer_endpoint local = pair_endpoint(1, port);
    CORE_CHECK(foyer_socket_open(pair->hosts[1], FOYER_FAMILY_V4, FOYER_TCP, 1, &listener) == 0);
    CORE_CHECK(foyer_socket_bind(pair->hosts[1], listener, &local, NULL) == 0);
    CORE_CHECK(foyer_socket_listen(pair->hosts[1], listener, backlog, NULL) == 0);
    return listener;
}

foyer_socket pair_connect(struct pair *pair, uint16_t port)
{
    foyer_socket socket;
    struct foyer_endpoint remote = pair_endpoint(1, port);
    CORE_CHECK(foyer_socket_open(pair->hosts[0], FOYER_FAMILY_V4, FOYER_TCP, 1, &socket) == 0);
    CORE_CHECK(foyer_socket_connect(pair->hosts[0], socket, &remote, pair->now) == -EINPROGRESS);
    return socket;
}

void pair_establish(struct pair *pair, foyer_socket listener, uint16_t port,
                    foyer_socket *ret_client, foyer_socket *ret_server)
{
    *ret_client = pair_connect(pair, port);
    pair_settle(pair);
    CORE_CHECK(foyer_socket_accept(pair->hosts[1], listener, 1, ret_server) == 0);
    pair_drain_events(pair);
}

bool pair_carry(struct pair *pair, unsigned from)
{
    struct foyer_packet packets[64];
    size_t count = foyer_host_output(pair->hosts[from], packets, 64, pair->now);
    if (count == 0)
        return false;
    for (size_t i = 0; i < count; i++)
        packets[i].arrival_ns = pair->now;
    foyer_host_input(pair->hosts[1 - from], packets, count, pair->now);
    return true;
}

void pair_settle(struct pair *pair)
{
    for (bool moved = true; moved;) {
        moved = pair_carry(pair, 0);
        moved |= pair_carry(pair, 1);
    }
}

void pair_advance(struct pair *pair, foyer_time_ns by_ns)
{
    pair->now += by_ns;
    for (unsigned i = 0; i < 2; i++)
        if (foyer_host_deadline(pair->hosts[i]) <= pair->now)
            foyer_host_tick(pair->hosts[i], pair->now);
}

void pair_drain_events(struct pair *pair)
{
    struct foyer_event events[64];
    for (unsigned i = 0; i < 2; i++)
        while (foyer_host_events(pair->hosts[i], events, 64) == 64)
            ;
}
