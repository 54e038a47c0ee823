/* The memory that foyerd makes for programs: arenas (slots) and channels (rings). See ipc/shm.h. */
#ifndef FOYER_DAEMON_ARENA_H
#define FOYER_DAEMON_ARENA_H

#include "ipc/shm.h"

/* Counted: by the session that it was made for and by every socket with a slot in it. */
struct arena {
    int memfd;
    uint32_t number;
    uint32_t references;
    uint32_t hint; /* where the search for a free slot goes on */
    uint32_t used_count;
    void *memory;
    uint64_t used[FOYER_ARENA_SLOT_COUNT / 64];
};

/* -EMFILE, -ENOMEM. One reference. */
int arena_create(uint32_t number, struct arena **ret_arena);
void arena_reference(struct arena *arena);
/* Frees it with the last reference. NULL is allowed. */
void arena_release(struct arena *arena);

/* A slot of zeros. -ENOSPC: all are taken. Slots are reused as late as possible. */
int arena_slot_take(struct arena *arena, uint32_t *ret_index);
/* Also takes a reference off. */
void arena_slot_give_back(struct arena *arena, uint32_t index);

/* Counted: by the one or two sockets it belongs to. */
struct channel {
    int memfd;
    uint32_t ring_size;
    uint32_t references;
    size_t mapped_size; /* the control page alone, where foyerd does not touch the data */
    void *memory;
};

/* with_data: foyerd is one end and maps the data as well. -EMFILE, -ENOMEM. One reference. */
int channel_create(uint32_t ring_size, bool with_data, struct channel **ret_channel);
void channel_reference(struct channel *channel);
void channel_release(struct channel *channel);

/* The ring written by a side. data is valid only for channels with data. */
struct foyer_ring channel_ring(const struct channel *channel, unsigned writer_side);

#endif
