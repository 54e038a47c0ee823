/* Connections that serve again, inside of keep.c, keep_connect.c and keep_accept.c. */
#ifndef FOYER_PRELOAD_KEEP_PRIVATE_H
#define FOYER_PRELOAD_KEEP_PRIVATE_H

#include "preload/preload.h"

#include <string.h>

#define KEPT_MAX 256u /* ends of connections made, and as many of accepted ones */

struct kept {
    struct socket_object *sock; /* with a reference */
    struct foyer_keep *keep;
    uint64_t key; /* connecting: of the destination; accepting: the listener's id */
};

struct kept_list {
    struct kept items[KEPT_MAX];
    _Atomic uint32_t count;
    uint32_t cursor;
};

extern struct kept_list kept_connecting, kept_accepting;
extern struct small_lock kept_lock;

/* Connections are kept at all, and this is the process that the lists belong to. */
bool keep_is_on(void);

/* ---- with the lock held ---------------------------------------------------------------------- */

struct kept kept_take_at(struct kept_list *list, uint32_t index);
/* False: no room. */
bool kept_put(struct kept_list *list, const struct kept *kept);
/* Nobody will ever use it: foyerd has dissolved it, or seen the other end go. */
bool kept_is_dead(const struct kept *kept);
/*
 * One that has to go: dead, or, where there is no room, not in the middle of anything. A few are
 * looked at each time, so that all are before long.
 */
struct socket_object *kept_take_useless(struct kept_list *list);
/* One that this process accepts enters the list. */
void kept_enter_accepting(struct kept *kept);

/* ---- without --------------------------------------------------------------------------------- */

static inline enum foyer_keep_state kept_state(const struct kept *kept)
{
    return foyer_keep_state(atomic_load(&kept->keep->word));
}

static inline bool kept_is_nonblocking(const struct socket_object *sock)
{
    return (slot_options(sock) & FOYER_SLOT_NONBLOCK) != 0;
}

static inline uint64_t kept_destination_key(const struct foyer_endpoint *endpoint)
{
    uint64_t words[2];
    memcpy(words, &endpoint->addr, sizeof(words));
    return (words[0] ^ words[1] * 0x9e3779b97f4a7c15u) + endpoint->port;
}

/* An end that is of no use any more: foyerd sees its hang-up. Takes the list's reference. */
void kept_let_go(struct socket_object *sock);
/*
 * The end is in use again, for foyerd too, which closes one that was left together with the other.
 * Before the last look at the word, which foyerd changes before it looks for this.
 */
static inline void kept_take_over(const struct socket_object *sock)
{
    atomic_fetch_and(&sock->slot->options, ~(uint32_t)FOYER_SLOT_LEFT);
}

/* The slot as that of a socket which has just been connected, by the options and settings given. */
void kept_renew(struct socket_object *sock, uint32_t options, const struct foyer_slot *settings);
/* O_NONBLOCK is the descriptor's, and so has to be set where its last user wanted it otherwise. */
void kept_match_nonblocking(int fd, bool is_on, bool was_on);
/* In a forked child. */
void kept_forget_listeners(void);

#endif
