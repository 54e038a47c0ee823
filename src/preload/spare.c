/*
 * Sockets that foyerd has prepared, for programs that open one after the other: a descriptor out of
 * sight that only has to be given a number. It stays in hand while the program has the socket, for
 * where connect() puts a kept connection in its place (keep.c), the socket is spare again.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include "preload/raw.h"

#define SPARES_MAX (2 * FOYER_SPARES_MAX) /* several threads may ask at the same time */

static struct spare spares[SPARES_MAX];
static uint32_t spare_count;
static struct small_lock spare_lock;

void spare_fork_child(void)
{
    for (uint32_t i = 0; i < spare_count && i < SPARES_MAX; i++)
        table_close_hidden(spares[i].fd);
    spare_count = 0;
    small_lock_init(&spare_lock);
}

/* The end of file says that its foyerd is gone, and the others' with it. */
static bool is_usable(const struct spare *spare)
{
    char byte;
    return raw_recv(spare->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -EAGAIN;
}

static bool take(uint32_t family, struct spare *ret_spare)
{
    bool is_found = false;
    if (!small_lock_take(&spare_lock))
        return false;
    if (spare_count > 0 && spares[spare_count - 1].family == family) {
        *ret_spare = spares[--spare_count];
        is_found = true;
    }
    small_lock_give(&spare_lock);
    return is_found;
}

bool spare_take(uint32_t family, struct spare *ret_spare)
{
    while (take(family, ret_spare)) {
        if (is_usable(ret_spare))
            return true;
        table_close_hidden(ret_spare->fd);
    }
    return false;
}

bool spare_put(const struct spare *spare)
{
    if (!small_lock_take(&spare_lock))
        return false;
    bool has_room = spare_count < SPARES_MAX;
    if (has_room)
        spares[spare_count++] = *spare;
    small_lock_give(&spare_lock);
    return has_room;
}
