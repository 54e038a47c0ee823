/* connect() by a connection that is kept: see keep.c. */
#define _GNU_SOURCE

#include "preload/keep_private.h"

#include "preload/raw.h"

#define CLAIM_LOOKS 64u /* how many of them connect() looks at */

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

/* A parked connection to the destination, out of the list; or NULL. */
static struct socket_object *claim(const struct socket_object *fresh,
                                   const struct foyer_endpoint *remote)
{
    uint64_t key = kept_destination_key(remote);
    struct socket_object *found = NULL, *gone = NULL;
    unsigned looks = 0;
    if (!small_lock_take(&kept_lock))
        return NULL;
    for (uint32_t i = atomic_load(&kept_connecting.count);
         found == NULL && gone == NULL && looks < CLAIM_LOOKS && i-- > 0;) {
        struct kept *kept = &kept_connecting.items[i];
        struct socket_object *sock = kept->sock;
        if (kept->key != key || sock->family != fresh->family)
            continue;
        looks++;
        if (kept_is_dead(kept) || atomic_load(&sock->is_shared)) {
            gone = kept_take_at(&kept_connecting, i).sock;
        } else if (same_endpoint(&sock->slot->remote, remote) && has_room_for(sock, fresh) &&
                   foyer_keep_change(kept->keep, FOYER_KEEP_PARKED, FOYER_KEEP_CLAIMED)) {
            found = kept_take_at(&kept_connecting, i).sock;
        }
    }
    small_lock_give(&kept_lock);
    if (gone != NULL)
        kept_let_go(gone);
    if (gone != NULL)
        return claim(fresh, remote);
    if (found != NULL && !has_peer(found)) {
        kept_let_go(found);
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
