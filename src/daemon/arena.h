/* The memory that foyerd makes for programs: arenas (slots) and channels (rings). See ipc/shm.h. */
#ifndef FOYER_DAEMON_ARENA_H
#define FOYER_DAEMON_ARENA_H

#include "base/list.h"
#include "ipc/shm.h"

/* Counted: by the session that it was made for and by every socket with a slot in it. */
struct arena {
    int memfd;
    uint32_t number;
    uint32_t references;
    uint32_t hint; /* where the search for a free slot goes on */
    uint32_t used_count;
    void *memory;
    struct list_node idle_channels; /* of channel.idle_node: of its connections, for the next */
    uint32_t idle_count;
    uint64_t used[FOYER_ARENA_SLOT_COUNT / 64];
};

/*
 * A sealed memfd: its size is fixed for good, so that no mapping can ever fault. -EMFILE, -ENOMEM.
 */
int memory_create(const char *name, size_t size);

/* -EMFILE, -ENOMEM. One reference. */
int arena_create(uint32_t number, struct arena **ret_arena);
void arena_reference(struct arena *arena);
/* Frees it with the last reference. NULL is allowed. */
void arena_release(struct arena *arena);

/* A slot of zeros. -ENOSPC: all are taken. Slots are reused as late as possible. */
int arena_slot_take(struct arena *arena, uint32_t *ret_index);
/* Also takes a reference off. */
void arena_slot_give_back(struct arena *arena, uint32_t index);

/*
 * Between whom a channel may go from one connection to the next. Whoever has mapped it by then
 * has the connecting or the listening arena mapped, and so could spoil these connections anyway;
 * that nobody else has, the counts of forks and is_spoiled see to.
 */
struct channel_pair {
    uint32_t accepting_arena; /* number */
    uint64_t fork_counts[2];  /* of the two hosts, when the connection began */
};

/* Counted: by the one or two sockets it belongs to. */
struct channel {
    int memfd;
    uint32_t ring_size;
    uint32_t references;
    size_t mapped_size; /* the control page alone, where foyerd does not touch the data */
    void *memory;
    uint64_t id;
    struct arena *home; /* whose idle list it returns to; held while in use. Or NULL */
    struct channel_pair pair;
    bool is_spoiled; /* somebody may still have it mapped: not for another connection */
    struct list_node idle_node;
};

/* with_data: foyerd is one end and maps the data as well. -EMFILE, -ENOMEM. One reference. */
int channel_create(uint32_t ring_size, bool with_data, struct channel **ret_channel);
/*
 * An idle channel of home for this pair, with one reference and fresh rings, or a new one, which
 * will be kept in home when the connection is over. The control page alone is mapped.
 */
int channel_take(struct arena *home, const struct channel_pair *pair, uint32_t ring_size,
                 uint64_t fresh_id, struct channel **ret_channel);
void channel_reference(struct channel *channel);
void channel_release(struct channel *channel);

/* The ring written by a side. data is valid only for channels with data. */
struct foyer_ring channel_ring(const struct channel *channel, unsigned writer_side);

#endif
