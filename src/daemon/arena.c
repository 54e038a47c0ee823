#define _GNU_SOURCE /* memfd_create */

#include "daemon/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHANNEL_IDLE_MAX 64u      /* per arena */
#define CHANNEL_KEEP_BYTES 65536u /* that a connection may have sent, each way */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

int memory_create(const char *name, size_t size)
{
    int memfd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (memfd < 0 && errno == EINVAL)
        memfd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0)
        return -errno;
    if (ftruncate(memfd, (off_t)size) != 0 ||
        fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int error = -errno;
        close(memfd);
        return error;
    }
    return memfd;
}

static void *map(int memfd, size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

#define ARENA_SIZE ((size_t)FOYER_ARENA_SLOT_COUNT * FOYER_SLOT_SIZE)

int arena_create(uint32_t number, struct arena **ret_arena)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    if (arena == NULL)
        return -ENOMEM;
    arena->memfd = memory_create("foyer-arena", ARENA_SIZE);
    if (arena->memfd < 0) {
        int error = arena->memfd;
        free(arena);
        return error;
    }
    arena->memory = map(arena->memfd, ARENA_SIZE);
    if (arena->memory == NULL) {
        close(arena->memfd);
        free(arena);
        return -ENOMEM;
    }
    arena->number = number;
    arena->references = 1;
    list_init(&arena->idle_channels);
    *ret_arena = arena;
    return 0;
}

void arena_reference(struct arena *arena)
{
    arena->references++;
}

static void channel_free(struct channel *channel)
{
    munmap(channel->memory, channel->mapped_size);
    close(channel->memfd);
    free(channel);
}

static void channel_drop_idle(struct arena *arena, struct list_node *node)
{
    list_remove(node);
    arena->idle_count--;
    channel_free(LIST_ENTRY(node, struct channel, idle_node));
}

void arena_release(struct arena *arena)
{
    if (arena == NULL || --arena->references > 0)
        return;
    while (!list_is_empty(&arena->idle_channels))
        channel_drop_idle(arena, list_first(&arena->idle_channels));
    munmap(arena->memory, ARENA_SIZE);
    close(arena->memfd);
    free(arena);
}

int arena_slot_take(struct arena *arena, uint32_t *ret_index)
{
    const uint32_t word_count = FOYER_ARENA_SLOT_COUNT / 64;
    if (arena->used_count == FOYER_ARENA_SLOT_COUNT)
        return -ENOSPC;
    for (uint32_t i = 0; i <= word_count; i++) {
        uint32_t word = (arena->hint / 64 + i) % word_count;
        uint64_t free_bits = ~arena->used[word];
        if (i == 0)
            free_bits &= UINT64_MAX << (arena->hint % 64);
        if (free_bits == 0)
            continue;
        uint32_t bit = (uint32_t)__builtin_ctzll(free_bits);
        uint32_t index = word * 64 + bit;
        arena->used[word] |= 1ull << bit;
        arena->used_count++;
        arena->hint = (index + 1) % FOYER_ARENA_SLOT_COUNT;
        memset(foyer_arena_slot(arena->memory, index), 0, FOYER_SLOT_SIZE);
        arena_reference(arena);
        *ret_index = index;
        return 0;
    }
    return -ENOSPC;
}

void arena_slot_give_back(struct arena *arena, uint32_t index)
{
    struct foyer_slot *slot = foyer_arena_slot(arena->memory, index);
    atomic_store_explicit(&slot->state, FOYER_SLOT_FREE, memory_order_relaxed);
    atomic_store_explicit(&slot->id, 0, memory_order_release);
    arena->used[index / 64] &= ~(1ull << (index % 64));
    arena->used_count--;
    arena_release(arena);
}

int channel_create(uint32_t ring_size, bool with_data, struct channel **ret_channel)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL)
        return -ENOMEM;
    size_t size = foyer_channel_size(ring_size);
    channel->memfd = memory_create("foyer-channel", size);
    if (channel->memfd < 0) {
        int error = channel->memfd;
        free(channel);
        return error;
    }
    channel->mapped_size = with_data ? size : FOYER_CHANNEL_DATA_OFFSET;
    channel->memory = map(channel->memfd, channel->mapped_size);
    if (channel->memory == NULL) {
        close(channel->memfd);
        free(channel);
        return -ENOMEM;
    }
    channel->ring_size = ring_size;
    channel->references = 1;
    *ret_channel = channel;
    return 0;
}

void channel_reference(struct channel *channel)
{
    channel->references++;
}

/* Whether few pages were touched, as the rings say; a lie costs memory that is the liar's anyway. */
static bool is_small(const struct channel *channel)
{
    for (unsigned side = 0; side < 2; side++) {
        struct foyer_ring ring = channel_ring(channel, side);
        if (foyer_ring_head(&ring) > CHANNEL_KEEP_BYTES)
            return false;
    }
    return true;
}

/*
 * Puts a channel that both ends have left on its home's idle list, newest first. Payload of the
 * old connection stays in it: the two that will see it have sent and received it.
 */
static void channel_keep(struct arena *home, struct channel *channel)
{
    struct foyer_channel *control = channel->memory;
    memset(control->rings, 0, sizeof(control->rings));
    memset(&control->keep, 0, sizeof(control->keep));
    list_push_front(&home->idle_channels, &channel->idle_node);
    if (++home->idle_count > CHANNEL_IDLE_MAX)
        channel_drop_idle(home, home->idle_channels.prev);
}

void channel_release(struct channel *channel)
{
    if (channel == NULL || --channel->references > 0)
        return;
    struct arena *home = channel->home;
    channel->home = NULL;
    if (home != NULL && !channel->is_spoiled && is_small(channel))
        channel_keep(home, channel);
    else
        channel_free(channel);
    arena_release(home); /* last: it may take the idle channels with it */
}

int channel_take(struct arena *home, const struct channel_pair *pair, uint32_t ring_size,
                 uint64_t fresh_id, struct channel **ret_channel)
{
    struct list_node *node = list_first(&home->idle_channels);
    while (node != NULL && node != &home->idle_channels) {
        struct channel *channel = LIST_ENTRY(node, struct channel, idle_node);
        struct list_node *next = node->next;
        if (channel->pair.accepting_arena == pair->accepting_arena) {
            bool is_fresh = channel->pair.fork_counts[0] == pair->fork_counts[0] &&
                            channel->pair.fork_counts[1] == pair->fork_counts[1];
            if (is_fresh && channel->ring_size == ring_size) {
                list_remove(node);
                home->idle_count--;
                channel->references = 1;
                channel->home = home;
                arena_reference(home);
                *ret_channel = channel;
                return 0;
            }
            if (!is_fresh)
                channel_drop_idle(home, node);
        }
        node = next;
    }
    int error = channel_create(ring_size, false, ret_channel);
    if (error == 0) {
        (*ret_channel)->id = fresh_id;
        (*ret_channel)->home = home;
        arena_reference(home);
        (*ret_channel)->pair = *pair;
    }
    return error;
}

struct foyer_ring channel_ring(const struct channel *channel, unsigned writer_side)
{
    return foyer_channel_ring(channel->memory, channel->ring_size, writer_side);
}
