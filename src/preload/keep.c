/*
 * Kept connections: docs/decisions/0006; with several accepting processes 0008.
 *
 *     close     -> keep_leave    both ends have: the connection is parked
 *     connect   -> keep_connect  a parked one to the same destination takes the place of the fresh
 *                                socket under the program's number, and is offered
 *     accept    -> keep_accept   an offered one gets a number
 *     before a sleep on a listener -> keep_sleep_begin; whoever offers then rings
 *
 * A kept end is a socket object that no number leads to, with its descriptor duplicated out of the
 * program's sight (hidden_fd); that duplicate stays while the connection is in use again. What the
 * other program may write is the word in the channel's control page, and the rings: it can spoil
 * connections between these two programs only.
 *
 * The lock is held for short stretches without a system call that could wait. A signal handler that
 * interrupted its holder does without.
 */
#define _GNU_SOURCE

#include "preload/keep_private.h"

#include <sys/mman.h>

#include "preload/raw.h"

struct kept_list kept_connecting, kept_accepting;
struct small_lock kept_lock;

/*
 * The kernel gives a child zeros here (MADV_WIPEONFORK): also one that clone() made, of which nobody
 * tells us. It must not end connections of its parent's.
 */
static _Atomic uint32_t *is_own_process;

void keep_init(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || madvise(page, 4096, MADV_WIPEONFORK) != 0)
        return;
    is_own_process = page;
    atomic_store(is_own_process, 1);
}

bool keep_is_on(void)
{
    return is_own_process != NULL &&
           atomic_load_explicit(is_own_process, memory_order_relaxed) != 0 &&
           preload_config.keeps && !preload_config.is_sandboxed;
}

/* ---- lists, with the lock held ------------------------------------------------------------- */

struct kept kept_take_at(struct kept_list *list, uint32_t index)
{
    struct kept taken = list->items[index];
    uint32_t last = atomic_load(&list->count) - 1;
    list->items[index] = list->items[last];
    atomic_store(&list->count, last);
    return taken;
}

/* Each takes two hidden descriptors, its own and the peer's bell: others need some, too. */
static uint32_t list_limit(void)
{
    uint32_t share = (table_size - (uint32_t)table_hidden_base) / 8;
    return share < KEPT_MAX ? share : KEPT_MAX;
}

bool kept_put(struct kept_list *list, const struct kept *kept)
{
    uint32_t count = atomic_load(&list->count);
    if (count >= list_limit())
        return false;
    list->items[count] = *kept;
    atomic_store(&list->count, count + 1);
    return true;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static unsigned side_of(const struct channel *channel)
{
    const struct foyer_channel *memory = channel->memory;
    return channel->tx.shared == &memory->rings[0] ? 0 : 1;
}

void keep_drop_hidden(struct socket_object *sock)
{
    int fd = sock->hidden_fd;
    if (fd < 0)
        return;
    sock->hidden_fd = -1;
    /* Where another process has the description, too, it would stay in the set. */
    if (sock->set_fd >= 0)
        raw_epoll_ctl(sock->set_fd, EPOLL_CTL_DEL, fd, NULL);
    sock->set_fd = -1;
    sock->is_armed = false;
    table_close_hidden(fd);
}

void kept_let_go(struct socket_object *sock)
{
    struct channel *channel = socket_channel_now(sock);
    if (channel != NULL)
        channel->id = 0; /* foyerd will not give this memory to another connection */
    keep_drop_hidden(sock);
    socket_release(sock);
}

static bool listener_is_over(const struct socket_object *sock)
{
    const struct foyer_slot *slot = sock->listener_slot;
    return atomic_load(&slot->id) != sock->listener_id ||
           atomic_load(&slot->state) != FOYER_SLOT_LISTENING ||
           (atomic_load(&slot->options) & (FOYER_SLOT_NOT_KEPT | FOYER_SLOT_SHUT_READ)) != 0;
}

/* ---- leaving ------------------------------------------------------------------------------- */

/* A local connection that no other process has open, as far as is known. */
static bool is_held_alone(const struct socket_object *sock)
{
    const struct channel *channel = socket_channel_now(sock);
    return keep_is_on() && sock->type == SOCK_STREAM && slot_state(sock) == FOYER_SLOT_CONNECTED &&
           channel != NULL && channel->bell >= 0 && channel->next == NULL && channel->id != 0 &&
           !atomic_load(&channel->is_shared) && !atomic_load(&sock->is_shared);
}

bool keep_may_leave(const struct socket_object *sock)
{
    const uint32_t hindrances =
        FOYER_SLOT_LINGER | FOYER_SLOT_RESET_SEEN | FOYER_SLOT_PEER_GONE | FOYER_SLOT_MOVED;
    const struct channel *channel = socket_channel_now(sock);
    if (!is_held_alone(sock) || (slot_options(sock) & hindrances) != 0 ||
        atomic_load(&sock->slot->error) != 0 || atomic_load(&sock->slot->bell_sleepers) != 0)
        return false;
    if (side_of(channel) == 0 && (slot_options(sock) & FOYER_SLOT_REUSEPORT) != 0)
        return false; /* others may have its port as well */
    if (side_of(channel) == 1 && (sock->listener_slot == NULL || listener_is_over(sock)))
        return false;
    enum foyer_keep_state state =
        foyer_keep_state(atomic_load(&foyer_channel_keep(channel->memory)->word));
    if (state != FOYER_KEEP_OPEN && state != FOYER_KEEP_LEFT_0 && state != FOYER_KEEP_LEFT_1)
        return false;
    /* RFC 1122 section 4.2.2.13: with data unread, foyerd resets it. */
    return foyer_ring_used(&channel->rx) == 0 && foyer_ring_free(&channel->tx) != UINT32_MAX;
}

/* What foyerd does for those who hang up: see local_hang_up. */
static void say_goodbye(const struct channel *channel, enum foyer_ring_state state)
{
    uint32_t open = FOYER_RING_OPEN;
    foyer_arrival_note_end(&channel->tx);
    atomic_compare_exchange_strong(&channel->tx.shared->writer_state, &open, (uint32_t)state);
    open = FOYER_RING_OPEN;
    atomic_compare_exchange_strong(&channel->rx.shared->reader_state, &open, (uint32_t)state);
    bool rings = foyer_ring_take_reader_waiting(&channel->tx);
    rings |= foyer_ring_take_writer_waiting(&channel->rx);
    if (rings)
        channel_ring(channel, channel->bell);
}

void keep_say_end(struct socket_object *sock)
{
    const struct foyer_slot *slot = sock->slot;
    if (slot == NULL || !is_held_alone(sock) || atomic_load(&sock->object.references) != 1)
        return;
    const struct channel *channel = socket_channel_now(sock);
    bool resets = foyer_ring_used(&channel->rx) != 0 ||
                  ((slot_options(sock) & FOYER_SLOT_LINGER) != 0 && slot->linger_s == 0);
    enum foyer_keep_state state =
        foyer_keep_state(atomic_load(&foyer_channel_keep(channel->memory)->word));
    /* Else it may be somebody else's by now. */
    if (state == FOYER_KEEP_OPEN || state == FOYER_KEEP_DISSOLVED)
        say_goodbye(channel, resets ? FOYER_RING_RESET : FOYER_RING_FIN);
}

static void renew_waiter(struct foyer_ring_waiter *waiter)
{
    atomic_store_explicit(&waiter->waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&waiter->sleeper, 0, memory_order_relaxed);
}

/* Both have left it: as new. The other end's program touches nothing here before the word says so. */
static void renew_rings(const struct channel *channel)
{
    struct foyer_channel *memory = channel->memory;
    for (unsigned side = 0; side < 2; side++) {
        struct foyer_ring_shared *ring = &memory->rings[side];
        atomic_store_explicit(&ring->head, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->tail, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->origin, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->urgent, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->urgent_left, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->send_limit, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->filled_at, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->receive_limit, 0, memory_order_relaxed);
        atomic_store_explicit(&ring->writer_state, FOYER_RING_OPEN, memory_order_relaxed);
        atomic_store_explicit(&ring->reader_state, FOYER_RING_OPEN, memory_order_relaxed);
        renew_waiter(&ring->reader_waiter);
        renew_waiter(&ring->writer_waiter);
    }
}

/* One step of the word. False: the connection is not to be kept. */
static bool leave_word(const struct channel *channel, struct foyer_keep *keep, unsigned side)
{
    enum foyer_keep_state mine = side == 0 ? FOYER_KEEP_LEFT_0 : FOYER_KEEP_LEFT_1;
    enum foyer_keep_state other = side == 0 ? FOYER_KEEP_LEFT_1 : FOYER_KEEP_LEFT_0;
    if (foyer_keep_change(keep, FOYER_KEEP_OPEN, mine))
        return true;
    if (foyer_keep_state(atomic_load(&keep->word)) != other)
        return false;
    renew_rings(channel);
    return foyer_keep_change(keep, other, FOYER_KEEP_PARKED);
}

bool kept_is_dead(const struct kept *kept)
{
    enum foyer_keep_state state = kept_state(kept);
    return state >= FOYER_KEEP_DISSOLVED ||
           (state != FOYER_KEEP_OFFERED && (slot_options(kept->sock) & FOYER_SLOT_PEER_GONE) != 0);
}

struct socket_object *kept_take_useless(struct kept_list *list)
{
    uint32_t count = atomic_load(&list->count);
    bool is_full = count >= list_limit();
    for (uint32_t i = 0; i < (is_full ? count : 4) && count > 0; i++) {
        uint32_t index = list->cursor++ % count;
        enum foyer_keep_state state = kept_state(&list->items[index]);
        bool is_busy = state == FOYER_KEEP_OFFERED || state == FOYER_KEEP_CLAIMED;
        if (kept_is_dead(&list->items[index]) || (is_full && !is_busy))
            return kept_take_at(list, index).sock;
    }
    return NULL;
}

/* Enters the end and changes the word, so that whoever offers finds it. */
static bool enter(struct kept *kept, const struct channel *channel, unsigned side,
                  struct socket_object **ret_useless)
{
    struct kept_list *list = side == 0 ? &kept_connecting : &kept_accepting;
    if (!small_lock_take(&kept_lock))
        return false;
    *ret_useless = kept_take_useless(list);
    bool is_in = kept_put(list, kept);
    uint32_t index = atomic_load(&list->count) - 1;
    if (is_in && side == 1)
        kept_enter_accepting(&list->items[index]);
    if (is_in && !leave_word(channel, kept->keep, side)) {
        kept_take_at(list, index);
        is_in = false;
    }
    small_lock_give(&kept_lock);
    return is_in;
}

static void tell_foyerd(const struct socket_object *sock, struct foyer_keep *keep)
{
    if (atomic_exchange(&keep->is_noted, 1) != 0)
        return;
    struct foyer_request request = {
        .type = FOYER_REQUEST_KEPT, .size = sizeof(request), .id = sock->id};
    session_tell(&request);
}

bool keep_leave(struct socket_object *sock, int fd)
{
    struct channel *channel = socket_channel_now(sock);
    /* No other call is in progress: nobody of this process touches the rings again. */
    if (channel == NULL || atomic_load(&sock->object.references) != 1 ||
        atomic_load(&sock->watch_count) != 0)
        return false;
    if (sock->hidden_fd < 0) {
        int hidden = raw_fcntl(fd, F_DUPFD_CLOEXEC, table_hidden_base);
        if (hidden < 0)
            return false;
        table_mark_hidden(hidden);
        sock->hidden_fd = hidden;
    }
    unsigned side = side_of(channel);
    struct kept kept = {.sock = sock, .keep = foyer_channel_keep(channel->memory)};
    kept.key = side == 1 ? sock->listener_id : kept_destination_key(&sock->slot->remote);
    sock->is_armed = false;
    atomic_fetch_or(&sock->slot->options, FOYER_SLOT_LEFT);
    say_goodbye(channel, FOYER_RING_FIN);
    struct socket_object *useless = NULL;
    atomic_fetch_add(&sock->object.references, 1); /* the list's */
    bool is_left = foyer_ring_used(&channel->rx) == 0 && enter(&kept, channel, side, &useless);
    if (useless != NULL)
        kept_let_go(useless);
    if (is_left && side == 0)
        tell_foyerd(sock, kept.keep);
    /* foyerd sets it before it looks at the word; see keep_hang_up there. */
    if (is_left && (slot_options(sock) & FOYER_SLOT_PEER_GONE) != 0)
        keep_forget(sock);
    else if (!is_left)
        socket_release(sock);
    return is_left;
}

/* Out of whichever list it is on; what others have taken meanwhile is theirs. */
void keep_forget(struct socket_object *sock)
{
    struct kept_list *lists[] = {&kept_connecting, &kept_accepting};
    bool is_found = false;
    if (!small_lock_take(&kept_lock))
        return;
    for (unsigned which = 0; which < 2; which++) {
        for (uint32_t i = atomic_load(&lists[which]->count); i-- > 0;) {
            if (lists[which]->items[i].sock == sock) {
                kept_take_at(lists[which], i);
                is_found = true;
                break;
            }
        }
    }
    small_lock_give(&kept_lock);
    if (is_found)
        kept_let_go(sock);
}

void keep_drop_connecting(void)
{
    for (;;) {
        struct socket_object *sock = NULL;
        if (!small_lock_take(&kept_lock))
            return;
        if (atomic_load(&kept_connecting.count) > 0)
            sock = kept_take_at(&kept_connecting, 0).sock;
        small_lock_give(&kept_lock);
        if (sock == NULL)
            return;
        kept_let_go(sock);
    }
}

/* ---- coming back --------------------------------------------------------------------------- */

void kept_renew(struct socket_object *sock, uint32_t options, const struct foyer_slot *settings)
{
    struct foyer_slot *slot = sock->slot;
    const struct channel *channel = socket_channel_now(sock);
    atomic_fetch_and(&slot->options, FOYER_SLOT_PEER_GONE);
    atomic_fetch_or(&slot->options, options | FOYER_SLOT_BOUND | FOYER_SLOT_PEER);
    foyer_slot_copy_settings(slot, settings);
    foyer_slot_tell_limits(slot, &channel->tx, &channel->rx);
    atomic_store(&slot->error, 0);
    atomic_store(&slot->urgent_taken, 0);
    atomic_store(&slot->urgent_passed, 0);
    atomic_store(&sock->no_space_count, 0);
    atomic_store(&sock->connect_pending, false);
}

void kept_match_nonblocking(int fd, bool is_on, bool was_on)
{
    if (is_on != was_on)
        raw_fcntl(fd, F_SETFL, is_on ? O_RDWR | O_NONBLOCK : O_RDWR);
}

/* ---- other processes ----------------------------------------------------------------------- */

void keep_fork_prepare(void)
{
    small_lock_take(&kept_lock); /* signals are blocked: it is not ours already */
}

void keep_fork_parent(void)
{
    small_lock_give(&kept_lock);
}

/* The connections are the parent's; so are the spare descriptors of those that are open. */
void keep_fork_child(void)
{
    struct kept_list *lists[] = {&kept_connecting, &kept_accepting};
    small_lock_init(&kept_lock);
    kept_forget_listeners();
    for (unsigned which = 0; which < 2; which++) {
        while (atomic_load(&lists[which]->count) > 0) {
            struct socket_object *sock = kept_take_at(lists[which], 0).sock;
            sock->set_fd = -1; /* the set is the parent's */
            kept_let_go(sock);
        }
    }
    if (is_own_process != NULL)
        atomic_store(is_own_process, 1);
}
