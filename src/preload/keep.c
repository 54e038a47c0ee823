/*
 * Kept connections: docs/decisions/0006.
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

#include "preload/preload.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "preload/raw.h"

#define KEPT_MAX 256u   /* ends of connections made, and as many of accepted ones */
#define CLAIM_LOOKS 64u /* how many of them connect() looks at */
#define POLL_EVENTS 32u

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

static struct kept_list connecting, accepting;
static struct small_lock ends_lock;
static _Atomic uint32_t sleepers; /* threads that sleep on a listener */

/*
 * For each listener, the kernel's epoll of those of its connections that are to ring: who is woken
 * takes the rings, and must not take those of another listener's sleepers.
 */
#define SETS_MAX 64u

static struct set {
    uint64_t listener_id;
    int fd; /* hidden */
} sets[SETS_MAX];
static uint32_t set_count;

static _Atomic uint64_t identity; /* of this process, for foyer_slot.acceptor */
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

static bool is_on(void)
{
    return is_own_process != NULL &&
           atomic_load_explicit(is_own_process, memory_order_relaxed) != 0 &&
           preload_config.keeps && !preload_config.is_sandboxed;
}

/* ---- lists, with the lock held ------------------------------------------------------------- */

static struct kept take_at(struct kept_list *list, uint32_t index)
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

static bool put(struct kept_list *list, const struct kept *kept)
{
    uint32_t count = atomic_load(&list->count);
    if (count >= list_limit())
        return false;
    list->items[count] = *kept;
    atomic_store(&list->count, count + 1);
    return true;
}

static int set_of(uint64_t listener_id)
{
    for (uint32_t i = 0; i < set_count; i++) {
        if (sets[i].listener_id == listener_id)
            return sets[i].fd;
    }
    return -1;
}

static enum foyer_keep_state state_of(const struct kept *kept)
{
    return foyer_keep_state(atomic_load(&kept->keep->word));
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

/* An end that is of no use any more: foyerd sees its hang-up. Takes the list's reference. */
static void let_go(struct socket_object *sock)
{
    struct channel *channel = socket_channel_now(sock);
    if (channel != NULL)
        channel->id = 0; /* foyerd will not give this memory to another connection */
    keep_drop_hidden(sock);
    socket_release(sock);
}

static uint64_t destination_key(const struct foyer_endpoint *endpoint)
{
    uint64_t words[2];
    memcpy(words, &endpoint->addr, sizeof(words));
    return (words[0] ^ words[1] * 0x9e3779b97f4a7c15u) + endpoint->port;
}

static bool same_endpoint(const struct foyer_endpoint *a, const struct foyer_endpoint *b)
{
    return a->port == b->port && memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0;
}

static uint64_t own_identity(void)
{
    uint64_t value = atomic_load(&identity);
    while (value == 0) {
        uint64_t fresh = 0;
        if (getrandom(&fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh))
            fresh = (uint64_t)clock_ns();
        if (fresh != 0 && atomic_compare_exchange_strong(&identity, &value, fresh))
            value = fresh;
    }
    return value;
}

static bool listener_is_over(const struct socket_object *sock)
{
    const struct foyer_slot *slot = sock->listener_slot;
    return atomic_load(&slot->id) != sock->listener_id ||
           atomic_load(&slot->state) != FOYER_SLOT_LISTENING ||
           (atomic_load(&slot->options) &
            (FOYER_SLOT_NOT_KEPT | FOYER_SLOT_REUSEPORT | FOYER_SLOT_SHUT_READ)) != 0;
}

/* ---- leaving ------------------------------------------------------------------------------- */

/* A local connection that no other process has open, as far as is known. */
static bool is_held_alone(const struct socket_object *sock)
{
    const struct channel *channel = socket_channel_now(sock);
    return is_on() && sock->type == SOCK_STREAM && slot_state(sock) == FOYER_SLOT_CONNECTED &&
           channel != NULL && channel->bell >= 0 && channel->next == NULL && channel->id != 0 &&
           !atomic_load(&channel->is_shared) && !atomic_load(&sock->is_shared);
}

bool keep_may_leave(const struct socket_object *sock)
{
    const uint32_t hindrances =
        FOYER_SLOT_LINGER | FOYER_SLOT_REUSEPORT | FOYER_SLOT_RESET_SEEN | FOYER_SLOT_PEER_GONE;
    const struct channel *channel = socket_channel_now(sock);
    if (!is_held_alone(sock) || (slot_options(sock) & hindrances) != 0 ||
        atomic_load(&sock->slot->error) != 0 || atomic_load(&sock->slot->bell_sleepers) != 0)
        return false;
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
        atomic_store_explicit(&ring->send_limit, 0, memory_order_relaxed);
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

/* Asks for one ring when the connection is offered; with the lock held. */
static void arm(struct kept *kept, uint32_t events)
{
    struct socket_object *sock = kept->sock;
    int set = set_of(kept->key);
    struct epoll_event event = {
        .events = events | EPOLLONESHOT,
        .data.u64 = (uint64_t)sock->object.pool_index << 32 | (uint32_t)sock->hidden_fd,
    };
    int operation = sock->set_fd >= 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (set < 0 || (sock->is_armed && events == EPOLLIN))
        return;
    if (raw_epoll_ctl(set, operation, sock->hidden_fd, &event) < 0)
        return;
    sock->set_fd = set;
    sock->is_armed = true;
    atomic_store(&kept->keep->acceptor_waiting, 1);
}

/* Nobody will ever use it: foyerd has dissolved it, or seen the other end go. */
static bool is_dead(const struct kept *kept)
{
    enum foyer_keep_state state = state_of(kept);
    return state >= FOYER_KEEP_DISSOLVED ||
           (state != FOYER_KEEP_OFFERED && (slot_options(kept->sock) & FOYER_SLOT_PEER_GONE) != 0);
}

/*
 * One that has to go: dead, or, where there is no room, not in the middle of anything. A few are
 * looked at each time, so that all are before long.
 */
static struct socket_object *take_useless(struct kept_list *list)
{
    uint32_t count = atomic_load(&list->count);
    bool is_full = count >= list_limit();
    for (uint32_t i = 0; i < (is_full ? count : 4) && count > 0; i++) {
        uint32_t index = list->cursor++ % count;
        enum foyer_keep_state state = state_of(&list->items[index]);
        bool is_busy = state == FOYER_KEEP_OFFERED || state == FOYER_KEEP_CLAIMED;
        if (is_dead(&list->items[index]) || (is_full && !is_busy))
            return take_at(list, index).sock;
    }
    return NULL;
}

/* Enters the end and changes the word, so that whoever offers finds it. */
static bool enter(struct kept *kept, const struct channel *channel, unsigned side,
                  struct socket_object **ret_useless)
{
    struct kept_list *list = side == 0 ? &connecting : &accepting;
    if (!small_lock_take(&ends_lock))
        return false;
    *ret_useless = take_useless(list);
    bool is_in = put(list, kept);
    uint32_t index = atomic_load(&list->count) - 1;
    if (is_in && side == 1 && atomic_load(&sleepers) > 0)
        arm(&list->items[index], EPOLLIN);
    if (is_in && !leave_word(channel, kept->keep, side)) {
        take_at(list, index);
        is_in = false;
    }
    small_lock_give(&ends_lock);
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
    kept.key = side == 1 ? sock->listener_id : destination_key(&sock->slot->remote);
    sock->is_armed = false;
    atomic_fetch_or(&sock->slot->options, FOYER_SLOT_LEFT);
    say_goodbye(channel, FOYER_RING_FIN);
    struct socket_object *useless = NULL;
    atomic_fetch_add(&sock->object.references, 1); /* the list's */
    bool is_left = foyer_ring_used(&channel->rx) == 0 && enter(&kept, channel, side, &useless);
    if (useless != NULL)
        let_go(useless);
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
    struct kept_list *lists[] = {&connecting, &accepting};
    bool is_found = false;
    if (!small_lock_take(&ends_lock))
        return;
    for (unsigned which = 0; which < 2; which++) {
        for (uint32_t i = atomic_load(&lists[which]->count); i-- > 0;) {
            if (lists[which]->items[i].sock == sock) {
                take_at(lists[which], i);
                is_found = true;
                break;
            }
        }
    }
    small_lock_give(&ends_lock);
    if (is_found)
        let_go(sock);
}

void keep_drop_connecting(void)
{
    for (;;) {
        struct socket_object *sock = NULL;
        if (!small_lock_take(&ends_lock))
            return;
        if (atomic_load(&connecting.count) > 0)
            sock = take_at(&connecting, 0).sock;
        small_lock_give(&ends_lock);
        if (sock == NULL)
            return;
        let_go(sock);
    }
}

void keep_listener_over(const struct socket_object *listener)
{
    struct socket_object *gone[KEPT_MAX];
    uint32_t gone_count = 0;
    if (!small_lock_take(&ends_lock))
        return;
    for (uint32_t i = 0; i < set_count; i++) {
        if (sets[i].listener_id == listener->id) {
            table_close_hidden(sets[i].fd);
            sets[i] = sets[--set_count];
            break;
        }
    }
    for (uint32_t i = atomic_load(&accepting.count); i-- > 0;) {
        if (accepting.items[i].key != listener->id)
            continue;
        accepting.items[i].sock->set_fd = -1;
        struct kept kept = take_at(&accepting, i);
        foyer_keep_change(kept.keep, FOYER_KEEP_PARKED, FOYER_KEEP_DISSOLVED);
        gone[gone_count++] = kept.sock;
    }
    small_lock_give(&ends_lock);
    while (gone_count > 0)
        let_go(gone[--gone_count]);
}

/* ---- coming back --------------------------------------------------------------------------- */

/* The slot as that of a socket which has just been connected, by the options and settings given. */
static void renew(struct socket_object *sock, uint32_t options, const struct foyer_slot *settings)
{
    struct foyer_slot *slot = sock->slot;
    const struct channel *channel = socket_channel_now(sock);
    atomic_fetch_and(&slot->options, FOYER_SLOT_PEER_GONE);
    atomic_fetch_or(&slot->options, options | FOYER_SLOT_BOUND | FOYER_SLOT_PEER);
    foyer_slot_copy_settings(slot, settings);
    foyer_slot_tell_limits(slot, &channel->tx, &channel->rx);
    atomic_store(&slot->error, 0);
    atomic_store(&sock->no_space_count, 0);
    atomic_store(&sock->connect_pending, false);
}

/* O_NONBLOCK is the descriptor's, and so has to be set where its last user wanted it otherwise. */
static void match_nonblocking(int fd, bool is_on, bool was_on)
{
    if (is_on != was_on)
        raw_fcntl(fd, F_SETFL, is_on ? O_RDWR | O_NONBLOCK : O_RDWR);
}

static bool is_nonblocking(const struct socket_object *sock)
{
    return (slot_options(sock) & FOYER_SLOT_NONBLOCK) != 0;
}

/* ---- connecting ---------------------------------------------------------------------------- */

/* A fresh socket of which nobody but the caller knows, so that another one can take its place. */
static bool is_replaceable(const struct socket_object *sock)
{
    const uint32_t hindrances = FOYER_SLOT_BOUND | FOYER_SLOT_SHUT_READ | FOYER_SLOT_SHUT_WRITE |
                                FOYER_SLOT_REUSEPORT | FOYER_SLOT_V6ONLY;
    return is_on() && atomic_load(&connecting.count) > 0 && sock->type == SOCK_STREAM &&
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

/* A parked connection to the destination, out of the list; or NULL. */
static struct socket_object *claim(const struct socket_object *fresh,
                                   const struct foyer_endpoint *remote)
{
    uint64_t key = destination_key(remote);
    struct socket_object *found = NULL, *gone = NULL;
    unsigned looks = 0;
    if (!small_lock_take(&ends_lock))
        return NULL;
    for (uint32_t i = atomic_load(&connecting.count);
         found == NULL && gone == NULL && looks < CLAIM_LOOKS && i-- > 0;) {
        struct kept *kept = &connecting.items[i];
        struct socket_object *sock = kept->sock;
        if (kept->key != key || sock->family != fresh->family)
            continue;
        looks++;
        if (is_dead(kept) || atomic_load(&sock->is_shared)) {
            gone = take_at(&connecting, i).sock;
        } else if (same_endpoint(&sock->slot->remote, remote) && has_room_for(sock, fresh) &&
                   foyer_keep_change(kept->keep, FOYER_KEEP_PARKED, FOYER_KEEP_CLAIMED)) {
            found = take_at(&connecting, i).sock;
        }
    }
    small_lock_give(&ends_lock);
    if (gone != NULL)
        let_go(gone);
    if (gone != NULL)
        return claim(fresh, remote);
    if (found != NULL && !has_peer(found)) {
        let_go(found);
        return claim(fresh, remote);
    }
    return found;
}

/* The fresh socket goes back to the spare ones, as it was. */
static void take_back(struct socket_object *fresh)
{
    struct foyer_slot *slot = fresh->slot;
    if (fresh->hidden_fd < 0)
        return;
    match_nonblocking(fresh->hidden_fd, false, is_nonblocking(fresh));
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
    match_nonblocking(fd, is_nonblocking(fresh), is_nonblocking(sock));
    renew(sock, options, fresh->slot);
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
    bool nonblocking = is_nonblocking(fresh);
    if (replace(fresh, fd, sock) < 0) {
        let_go(sock);
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

/* ---- accepting ----------------------------------------------------------------------------- */

void keep_forbid(struct socket_object *listener)
{
    uint32_t before = atomic_fetch_or(&listener->slot->options, FOYER_SLOT_NOT_KEPT);
    if ((before & FOYER_SLOT_NOT_KEPT) != 0)
        return;
    struct foyer_request request = {
        .type = FOYER_REQUEST_OPTIONS, .size = sizeof(request), .id = listener->id};
    session_tell(&request); /* foyerd dissolves those that are parked */
}

void keep_note_acceptor(struct socket_object *listener)
{
    _Atomic uint64_t *acceptor = &listener->slot->acceptor;
    uint64_t found = atomic_load(acceptor), self = own_identity();
    if (unlikely(found != self) &&
        (found != 0 || !atomic_compare_exchange_strong(acceptor, &found, self)))
        keep_forbid(listener);
}

bool keep_is_active(void)
{
    return atomic_load_explicit(&accepting.count, memory_order_acquire) > 0;
}

bool keep_has_offer(const struct socket_object *listener)
{
    uint32_t count = atomic_load_explicit(&accepting.count, memory_order_acquire);
    bool is_found = false;
    if (count == 0 || !small_lock_take(&ends_lock))
        return false;
    count = atomic_load(&accepting.count);
    for (uint32_t i = 0; i < count && !is_found; i++)
        is_found = accepting.items[i].key == listener->id &&
                   state_of(&accepting.items[i]) == FOYER_KEEP_OFFERED;
    small_lock_give(&ends_lock);
    return is_found;
}

/* The one that was offered first, out of the list; or NULL. */
static struct socket_object *take_offered(const struct socket_object *listener)
{
    struct socket_object *found = NULL;
    uint32_t first = KEPT_MAX;
    int64_t first_ns = INT64_MAX;
    if (!small_lock_take(&ends_lock))
        return NULL;
    for (uint32_t i = 0; i < atomic_load(&accepting.count); i++) {
        struct kept *kept = &accepting.items[i];
        if (kept->key != listener->id || state_of(kept) != FOYER_KEEP_OFFERED)
            continue;
        int64_t offered_ns = atomic_load(&kept->keep->offered_ns);
        if (first == KEPT_MAX || offered_ns < first_ns) {
            first = i;
            first_ns = offered_ns;
        }
    }
    if (first != KEPT_MAX)
        found = take_at(&accepting, first).sock;
    small_lock_give(&ends_lock);
    return found;
}

static void sweep_accepting(void)
{
    if (!small_lock_take(&ends_lock))
        return;
    struct socket_object *gone = take_useless(&accepting);
    small_lock_give(&ends_lock);
    if (gone != NULL)
        let_go(gone);
}

/* accept() found no number for it: it waits on. */
static void put_back(struct socket_object *sock)
{
    struct kept kept = {.sock = sock,
                        .keep = foyer_channel_keep(socket_channel_now(sock)->memory),
                        .key = sock->listener_id};
    bool is_in = small_lock_take(&ends_lock);
    if (is_in) {
        is_in = put(&accepting, &kept);
        small_lock_give(&ends_lock);
    }
    if (!is_in)
        let_go(sock);
}

int keep_accept(struct socket_object *listener, int flags, struct socket_object **ret_sock)
{
    if (atomic_load_explicit(&accepting.count, memory_order_acquire) == 0)
        return -EAGAIN;
    for (;;) {
        struct socket_object *sock = take_offered(listener);
        if (sock == NULL) {
            sweep_accepting();
            return -EAGAIN;
        }
        bool is_cloexec = (flags & SOCK_CLOEXEC) != 0;
        int fd = raw_fcntl(sock->hidden_fd, is_cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
        int error = fd < 0 ? fd : socket_check_limit(fd);
        if (error < 0) {
            put_back(sock);
            return error == -EINVAL ? -EMFILE : error;
        }
        struct foyer_keep *keep = foyer_channel_keep(socket_channel_now(sock)->memory);
        if (!foyer_keep_change(keep, FOYER_KEEP_OFFERED, FOYER_KEEP_OPEN)) {
            raw_close(fd);
            let_go(sock);
            continue;
        }
        bool wants_nonblocking = (flags & SOCK_NONBLOCK) != 0;
        match_nonblocking(fd, wants_nonblocking, is_nonblocking(sock));
        renew(sock,
              (slot_options(listener) & FOYER_SLOT_INHERITED) |
                  (wants_nonblocking ? FOYER_SLOT_NONBLOCK : 0),
              listener->slot);
        table_set(fd, &sock->object);
        *ret_sock = sock; /* with the list's reference */
        return fd;
    }
}

/* ---- sleeping on a listener ---------------------------------------------------------------- */

int keep_poll_fd(struct socket_object *listener)
{
    if (!is_on() || (slot_options(listener) & FOYER_SLOT_NOT_KEPT) != 0 ||
        !small_lock_take(&ends_lock))
        return -1;
    int fd = set_of(listener->id);
    bool has_room = set_count < SETS_MAX;
    if (fd < 0 && has_room) {
        fd = (int)RAW(SYS_epoll_create1, EPOLL_CLOEXEC);
        if (fd >= 0)
            fd = table_hide(fd);
        if (fd >= 0)
            sets[set_count++] = (struct set){listener->id, fd};
    }
    small_lock_give(&ends_lock);
    if (fd < 0)
        keep_forbid(listener);
    return fd < 0 ? -1 : fd;
}

void keep_arm(const struct socket_object *listener)
{
    if (atomic_load(&accepting.count) == 0 || !small_lock_take(&ends_lock))
        return;
    for (uint32_t i = 0; i < atomic_load(&accepting.count); i++) {
        if (accepting.items[i].key == listener->id)
            arm(&accepting.items[i], EPOLLIN);
    }
    small_lock_give(&ends_lock);
    atomic_thread_fence(memory_order_seq_cst);
}

void keep_wake(const struct socket_object *listener)
{
    keep_arm(listener);
    if (!keep_has_offer(listener) || !small_lock_take(&ends_lock))
        return;
    for (uint32_t i = 0; i < atomic_load(&accepting.count); i++) {
        /* It is always writable, so that is an event. */
        if (accepting.items[i].key == listener->id &&
            state_of(&accepting.items[i]) == FOYER_KEEP_OFFERED)
            arm(&accepting.items[i], EPOLLIN | EPOLLOUT);
    }
    small_lock_give(&ends_lock);
}

void keep_sleep_begin(void)
{
    atomic_fetch_add(&sleepers, 1);
}

void keep_sleep_end(void)
{
    atomic_fetch_sub(&sleepers, 1);
}

/* One end has rung, or its foyerd has taken the connection away. With the lock held. */
static struct socket_object *take_ring(const struct epoll_event *event)
{
    for (uint32_t i = 0; i < atomic_load(&accepting.count); i++) {
        struct socket_object *sock = accepting.items[i].sock;
        char bytes[64];
        if (sock->object.pool_index != (uint32_t)(event->data.u64 >> 32) ||
            sock->hidden_fd != (int)(uint32_t)event->data.u64)
            continue;
        sock->is_armed = false;
        ssize_t size = raw_recv(sock->hidden_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        return size == 0 || size == -ECONNRESET ? take_at(&accepting, i).sock : NULL;
    }
    return NULL;
}

void keep_take_rings(const struct socket_object *listener)
{
    struct epoll_event events[POLL_EVENTS];
    int count;
    if (!small_lock_take(&ends_lock))
        return;
    int set = set_of(listener->id);
    small_lock_give(&ends_lock);
    if (set < 0)
        return;
    do {
        count = (int)RAW(SYS_epoll_pwait, set, events, POLL_EVENTS, 0, NULL, _NSIG / 8);
        for (int i = 0; i < count; i++) {
            if (!small_lock_take(&ends_lock))
                return;
            struct socket_object *gone = take_ring(&events[i]);
            small_lock_give(&ends_lock);
            if (gone != NULL)
                let_go(gone);
        }
    } while (count == POLL_EVENTS);
}

/*
 * Another process gets the listener, too. Where this one accepts, connections that it holds could be
 * offered to it and wait, though the other one is idle: from now on they come by the queue.
 */
void keep_listener_shared(struct socket_object *listener)
{
    struct socket_object *gone[KEPT_MAX];
    uint32_t gone_count = 0;
    if (atomic_load(&listener->slot->acceptor) != own_identity())
        return;
    atomic_fetch_or(&listener->slot->options, FOYER_SLOT_NOT_KEPT);
    if (atomic_load(&accepting.count) == 0 || !small_lock_take(&ends_lock))
        return;
    for (uint32_t i = atomic_load(&accepting.count); i-- > 0;) {
        struct kept *kept = &accepting.items[i];
        if (kept->key == listener->id &&
            foyer_keep_change(kept->keep, FOYER_KEEP_PARKED, FOYER_KEEP_DISSOLVED))
            gone[gone_count++] = take_at(&accepting, i).sock;
    }
    small_lock_give(&ends_lock);
    while (gone_count > 0)
        let_go(gone[--gone_count]);
}

/* ---- other processes ----------------------------------------------------------------------- */

void keep_fork_prepare(void)
{
    small_lock_take(&ends_lock); /* signals are blocked: it is not ours already */
}

void keep_fork_parent(void)
{
    small_lock_give(&ends_lock);
}

/* The connections are the parent's; so are the spare descriptors of those that are open. */
void keep_fork_child(void)
{
    struct kept_list *lists[] = {&connecting, &accepting};
    small_lock_init(&ends_lock);
    atomic_store(&sleepers, 0);
    atomic_store(&identity, 0);
    while (set_count > 0)
        table_close_hidden(sets[--set_count].fd);
    for (unsigned which = 0; which < 2; which++) {
        while (atomic_load(&lists[which]->count) > 0) {
            struct socket_object *sock = take_at(lists[which], 0).sock;
            sock->set_fd = -1; /* the set is the parent's */
            let_go(sock);
        }
    }
    if (is_own_process != NULL)
        atomic_store(is_own_process, 1);
}
