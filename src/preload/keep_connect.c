/* connect() by a connection that is kept: see keep.c. */
#define _GNU_SOURCE

#include "preload/keep_private.h"

#include "preload/raw.h"

#define SOON_NS 2000000 /* it was about to accept so short a time ago, and will be again */
#define GROUP_MIN 32u   /* connections that are used in turn: each listener has some of them */
#define GROUP_RENEWAL 64u
#define SHARED_RENEWAL 16u
#define RENEWAL_INTERVAL_NS 10000000

/* A fresh socket of which nobody but the caller knows, so that another one can take its place. */
static bool is_replaceable(const struct socket_object *sock)
{
    const uint32_t hindrances = FOYER_SLOT_BOUND | FOYER_SLOT_SHUT_READ | FOYER_SLOT_SHUT_WRITE |
                                FOYER_SLOT_REUSEPORT | FOYER_SLOT_V6ONLY;
    return keep_is_on() && atomic_load(&kept_connecting.count) > 0 && sock->type == SOCK_STREAM &&
           slot_state(sock) == FOYER_SLOT_FRESH && socket_channel_now(sock) == NULL &&
           !atomic_load(&sock->is_shared) && (slot_options(sock) & hindrances) == 0 &&
           atomic_load(&sock->slot->error) == 0 && atomic_load(&sock->watch_count) == 0 &&
           atomic_load(&sock->slot->bell_sleepers) == 0 &&
           atomic_load(&sock->object.fd_count) == 1 && atomic_load(&sock->object.references) == 2;
}

/* The other program holds its end still: it may have ended, and foyerd not have said so yet. */
static bool has_peer(const struct socket_object *sock)
{
    char byte;
    ssize_t size = raw_recv(socket_channel_now(sock)->bell, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return (size > 0 || size == -EAGAIN) && (slot_options(sock) & FOYER_SLOT_PEER_GONE) == 0;
}

static bool has_room_for(const struct socket_object *kept, const struct socket_object *fresh)
{
    uint32_t size = socket_channel_now(kept)->tx.size;
    return fresh->slot->send_buffer <= size && fresh->slot->receive_buffer <= size;
}

static bool same_endpoint(const struct foyer_endpoint *a, const struct foyer_endpoint *b)
{
    return a->port == b->port && memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0;
}

/*
 * How soon it would be accepted. Where several processes accept from the listener, one that serves
 * somebody else may be long about it, while others wait.
 */
enum prospect { PROSPECT_NONE, PROSPECT_SOON, PROSPECT_AT_ONCE };

static enum prospect prospect_of(const struct kept *kept, int64_t now_ns)
{
    int64_t accepts_ns = atomic_load_explicit(&kept->keep->accepts_ns, memory_order_relaxed);
    if (accepts_ns == 0 || accepts_ns == FOYER_KEEP_ACCEPTS)
        return PROSPECT_AT_ONCE;
    return accepts_ns > now_ns - SOON_NS ? PROSPECT_SOON : PROSPECT_NONE;
}

struct choice {
    uint32_t index;
    enum prospect prospect; /* PROSPECT_NONE: nothing found */
    bool is_useless;        /* index is that of one to let go */
};

static uint32_t count_to(uint64_t key, uint32_t *ret_newest)
{
    uint32_t found = 0;
    for (uint32_t i = atomic_load(&kept_connecting.count); i-- > 0;) {
        if (kept_connecting.items[i].key == key && found++ == 0)
            *ret_newest = i;
    }
    return found;
}

/* Linux spreads connections over a SO_REUSEPORT group by their ports: so several are used in turn. */
static bool is_spread(const struct kept *kept)
{
    return atomic_load_explicit(&kept->keep->is_of_group, memory_order_relaxed) != 0;
}

/*
 * Now and then there is a new connection: there may be a new listener in the group, or an acceptor
 * that has nothing to do while this one has. Not often, it costs as much as twenty others.
 */
static bool is_new_one_due(uint32_t turn, uint32_t interval, int64_t now_ns)
{
    static int64_t last_ns;
    if (turn % interval != 0 || now_ns - last_ns < RENEWAL_INTERVAL_NS)
        return false;
    last_ns = now_ns;
    return true;
}

/* With the lock held. */
static struct choice choose_parked(const struct socket_object *fresh,
                                   const struct foyer_endpoint *remote, uint32_t turn)
{
    struct choice choice = {.prospect = PROSPECT_NONE};
    uint64_t key = kept_destination_key(remote);
    uint32_t count = atomic_load(&kept_connecting.count), start = 0;
    uint32_t match_count = count_to(key, &start);
    int64_t now_ns = clock_ns();
    if (match_count == 0)
        return choice;
    /* Else the newest, which is the likeliest to be in the caches. */
    if (is_spread(&kept_connecting.items[start])) {
        if (match_count < GROUP_MIN || is_new_one_due(turn, GROUP_RENEWAL, now_ns))
            return choice;
        start = turn % count;
    }
    for (uint32_t i = 0; i < count && choice.prospect != PROSPECT_AT_ONCE; i++) {
        uint32_t index = (start + count - i) % count;
        const struct kept *kept = &kept_connecting.items[index];
        if (kept->key != key || kept->sock->family != fresh->family)
            continue;
        if (kept_is_dead(kept) || atomic_load(&kept->sock->is_shared))
            return (struct choice){.index = index, .is_useless = true};
        enum prospect prospect = prospect_of(kept, now_ns);
        if (prospect > choice.prospect && kept_state(kept) == FOYER_KEEP_PARKED &&
            same_endpoint(&kept->sock->slot->remote, remote) && has_room_for(kept->sock, fresh)) {
            choice.index = index;
            choice.prospect = prospect;
        }
    }
    if (choice.prospect == PROSPECT_SOON && is_new_one_due(turn, SHARED_RENEWAL, now_ns))
        choice.prospect = PROSPECT_NONE;
    return choice;
}

/* foyerd may dissolve it, or close both ends with the other program: only until it is taken over. */
static bool is_ours(const struct kept *kept)
{
    if (!foyer_keep_change(kept->keep, FOYER_KEEP_PARKED, FOYER_KEEP_CLAIMED))
        return false;
    kept_take_over(kept->sock);
    return kept_state(kept) == FOYER_KEEP_CLAIMED;
}

/* A parked connection to the destination, out of the list; or NULL. */
static struct socket_object *claim(const struct socket_object *fresh,
                                   const struct foyer_endpoint *remote)
{
    static uint32_t turn;
    for (;;) {
        struct socket_object *sock = NULL;
        bool is_claimed = false;
        if (!small_lock_take(&kept_lock))
            return NULL;
        struct choice choice = choose_parked(fresh, remote, ++turn);
        if (choice.is_useless || choice.prospect != PROSPECT_NONE) {
            struct kept kept = kept_take_at(&kept_connecting, choice.index);
            sock = kept.sock;
            is_claimed = !choice.is_useless && is_ours(&kept);
        }
        small_lock_give(&kept_lock);
        if (sock == NULL || (is_claimed && has_peer(sock)))
            return sock;
        kept_let_go(sock);
    }
}

/* The fresh socket goes back to the spare ones, as it was. */
static void take_back(struct socket_object *fresh)
{
    struct foyer_slot *slot = fresh->slot;
    if (fresh->hidden_fd < 0)
        return;
    kept_match_nonblocking(fresh->hidden_fd, false, kept_is_nonblocking(fresh));
    foyer_slot_copy_settings(slot, NULL);
    atomic_store(&slot->options, 0);
    struct spare spare = {
        .fd = fresh->hidden_fd,
        .family = fresh->family,
        .arena = fresh->arena,
        .slot = (uint32_t)(((uint8_t *)slot - (uint8_t *)session_arena(fresh->arena)) /
                           FOYER_SLOT_SIZE),
        .id = fresh->id,
    };
    fresh->hidden_fd = -1;
    if (!spare_put(&spare))
        table_close_hidden(spare.fd);
}

/* Puts the connection under the program's number. Takes the caller's reference on success. */
static int replace(struct socket_object *fresh, int fd, struct socket_object *sock)
{
    const uint32_t not_the_programs = FOYER_SLOT_BOUND | FOYER_SLOT_PEER | FOYER_SLOT_NOT_KEPT;
    uint32_t options = slot_options(fresh) & ~not_the_programs;
    int flags = raw_fcntl(fd, F_GETFD, 0);
    if (flags < 0)
        return flags;
    if (fresh->hidden_fd < 0) {
        int hidden = raw_fcntl(fd, F_DUPFD_CLOEXEC, table_hidden_base);
        if (hidden >= 0)
            table_mark_hidden(hidden);
        fresh->hidden_fd = hidden >= 0 ? hidden : -1;
    }
    int error = (int)RAW(SYS_dup3, sock->hidden_fd, fd, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
    if (error < 0)
        return error;
    kept_match_nonblocking(fd, kept_is_nonblocking(fresh), kept_is_nonblocking(sock));
    kept_renew(sock, options, fresh->slot);
    atomic_fetch_add(&sock->object.fd_count, 1);
    atomic_store(&table[fd], &sock->object); /* the list's reference is the table's now */
    atomic_fetch_sub(&fresh->object.fd_count, 1);
    socket_release(fresh); /* the table's; the caller has one still */
    take_back(fresh);
    return 0;
}

int keep_connect(struct socket_object *fresh, int fd, const struct foyer_endpoint *remote)
{
    if (!is_replaceable(fresh))
        return -EAGAIN;
    struct socket_object *sock = claim(fresh, remote);
    if (sock == NULL)
        return -EAGAIN;
    struct channel *channel = socket_channel_now(sock);
    struct foyer_keep *keep = foyer_channel_keep(channel->memory);
    bool nonblocking = kept_is_nonblocking(fresh);
    if (replace(fresh, fd, sock) < 0) {
        kept_let_go(sock);
        return -EAGAIN;
    }
    atomic_store(&keep->offered_ns, clock_ns());
    /* Where foyerd was faster, the other program has ended: a connection that is reset at once. */
    foyer_keep_change(keep, FOYER_KEEP_CLAIMED, FOYER_KEEP_OFFERED);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&keep->acceptor_waiting, memory_order_relaxed) != 0 &&
        atomic_exchange(&keep->acceptor_waiting, 0) != 0)
        channel_ring(channel, fd);
    /* As foyerd's way does, and Linux. */
    atomic_store(&sock->connect_pending, nonblocking);
    return nonblocking ? -EINPROGRESS : 0;
}
