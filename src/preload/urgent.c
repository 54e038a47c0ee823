/*
 * Urgent data of streams (tcp(7): MSG_OOB, SO_OOBINLINE, SIOCATMARK).
 *
 * Nothing leaves the stream. Beside its bytes the ring has a word, foyer_ring_shared.urgent: which of
 * them is the urgent one, and the how manieth it is. The writer stores it before the head that covers
 * the byte; the stack does, where it is the writer. Where the reader is with it is in the
 * slot, by number: taken by MSG_OOB, passed by in the stream.
 *
 *     read | waits in the ring | U | what follows
 *          ^ tail              ^ the mark
 *
 * recv ends at the mark; called there, it goes on behind U. The rules are those of Linux's
 * tcp_recvmsg, tcp_recv_urg and tcp_poll.
 *
 * SIGURG is the kernel's to send, to whom fcntl(F_SETOWN) named: a doorbell with MSG_OOB makes it do
 * so (since Linux 5.15).
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include "preload/raw.h"

enum { PASSED = -1 };

struct mark {
    uint32_t number, position;
};

static struct mark load_mark(const struct foyer_ring *ring)
{
    uint64_t word = atomic_load_explicit(&ring->shared->urgent, memory_order_acquire);
    return (struct mark){.number = (uint32_t)(word >> 32), .position = (uint32_t)word};
}

/* How many bytes are before the urgent one, counted from `at`; PASSED, also where there is none. */
static int64_t distance_from(const struct socket_object *sock, const struct mark *mark, uint32_t at)
{
    if (mark->number == 0 ||
        mark->number == atomic_load_explicit(&sock->slot->urgent_passed, memory_order_relaxed))
        return PASSED;
    int32_t distance = (int32_t)(mark->position - at);
    return distance < 0 ? PASSED : distance;
}

static bool is_inline(const struct socket_object *sock)
{
    return (slot_options(sock) & FOYER_SLOT_OOBINLINE) != 0;
}

static bool is_taken(const struct socket_object *sock, const struct mark *mark)
{
    return mark->number == atomic_load_explicit(&sock->slot->urgent_taken, memory_order_relaxed);
}

/* ---- sending ------------------------------------------------------------------------------- */

void urgent_signal(const struct socket_object *sock, int fd, const struct channel *channel)
{
    char byte = 0;
    if (unlikely((slot_options(sock) & FOYER_SLOT_MOVED) != 0))
        socket_follow_peer(sock, fd);
    /* A relayed connection's is foyerd's to send, and the peer's. */
    if (channel->bell >= 0 && !preload_config.is_sandboxed)
        raw_send(channel->bell, &byte, 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
    channel_ring(channel, fd); /* one that sleeps in a read does not see the other */
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* How many bytes were urgent, with the reader before them, until another one took their place. */
static uint32_t left_behind(const struct socket_object *sock, const struct channel *channel,
                            const struct mark *mark, uint32_t at)
{
    uint64_t left = atomic_load_explicit(&channel->rx.shared->urgent_left, memory_order_relaxed);
    int32_t count = (int32_t)((uint32_t)left - at);
    return (uint32_t)(left >> 32) == mark->number && count > 0 && !is_inline(sock) ? (uint32_t)count
                                                                                   : 0;
}

bool urgent_cut(struct socket_object *sock, const struct channel *channel, uint32_t at,
                bool has_some, uint32_t *io_size, uint32_t *ret_skip)
{
    struct mark mark = load_mark(&channel->rx);
    int64_t distance = distance_from(sock, &mark, at);
    if (distance == PASSED) {
        /* At once, before positions come round to it. Not by peeking, which has passed nothing. */
        if (at == foyer_ring_tail(&channel->rx))
            atomic_store_explicit(&sock->slot->urgent_passed, mark.number, memory_order_relaxed);
        return true;
    }
    if (distance == 0 && has_some)
        return false;
    if (distance > 0 && *io_size > distance)
        *io_size = (uint32_t)distance;
    uint32_t skip = left_behind(sock, channel, &mark, at);
    if (distance == 0 && !is_inline(sock))
        skip = 1;
    if (skip > 0) {
        *ret_skip = skip < *io_size ? skip : *io_size;
        *io_size = 0;
    }
    return true;
}

/* Where the byte is, once it has been written; -EINVAL, -EAGAIN. */
static int find_byte(const struct socket_object *sock, const struct channel *channel,
                     struct mark *ret_mark)
{
    uint32_t tail = foyer_ring_tail(&channel->rx);
    uint32_t used = foyer_ring_used(&channel->rx);
    *ret_mark = load_mark(&channel->rx);
    int64_t distance = distance_from(sock, ret_mark, tail);
    if (is_inline(sock) || distance == PASSED || is_taken(sock, ret_mark) || used == UINT32_MAX)
        return -EINVAL;
    return distance < used ? 0 : -EAGAIN;
}

ssize_t urgent_recv(struct socket_object *sock, int fd, const struct iovec *iov, size_t count,
                    int flags)
{
    if (slot_state(sock) == FOYER_SLOT_LISTENING)
        return -ENOTCONN;
    const struct channel *channel =
        slot_state(sock) == FOYER_SLOT_CONNECTED ? socket_channel(sock, fd) : NULL;
    struct mark mark;
    if (channel == NULL)
        return -EINVAL;
    if (slot_lock(sock, LOCK_READ) < 0)
        return -EAGAIN;
    while (count > 0 && iov->iov_len == 0) {
        iov++;
        count--;
    }
    ssize_t result = find_byte(sock, channel, &mark);
    if (result == 0 && count > 0) {
        if ((flags & MSG_TRUNC) == 0)
            store_get(&channel->rx, channel->rx_nook, mark.position, iov->iov_base);
        result = 1;
    }
    if (result >= 0 && (flags & MSG_PEEK) == 0)
        atomic_store_explicit(&sock->slot->urgent_taken, mark.number, memory_order_relaxed);
    slot_unlock(sock, LOCK_READ);
    bool is_over = (slot_options(sock) & FOYER_SLOT_SHUT_READ) != 0 ||
                   atomic_load(&channel->rx.shared->writer_state) != FOYER_RING_OPEN;
    return result == -EAGAIN && is_over ? 0 : result;
}

/* ---- what is to be known of it --------------------------------------------------------------- */

bool urgent_is_here(const struct socket_object *sock, const struct channel *channel)
{
    struct mark mark = load_mark(&channel->rx);
    uint32_t used = foyer_ring_used(&channel->rx);
    int64_t distance = distance_from(sock, &mark, foyer_ring_tail(&channel->rx));
    return distance != PASSED && !is_taken(sock, &mark) && used != UINT32_MAX && distance < used;
}

uint32_t urgent_skipped(const struct socket_object *sock, const struct channel *channel)
{
    struct mark mark = load_mark(&channel->rx);
    uint32_t tail = foyer_ring_tail(&channel->rx);
    int64_t distance = distance_from(sock, &mark, tail);
    if (distance == PASSED || is_inline(sock))
        return 0;
    uint32_t left = left_behind(sock, channel, &mark, tail);
    return left + (distance == left);
}

bool urgent_is_at_mark(const struct socket_object *sock, const struct channel *channel)
{
    struct mark mark = load_mark(&channel->rx);
    uint32_t tail = foyer_ring_tail(&channel->rx);
    int64_t distance = distance_from(sock, &mark, tail);
    return distance != PASSED && distance == left_behind(sock, channel, &mark, tail);
}

uint32_t urgent_readable(const struct socket_object *sock, const struct channel *channel,
                         uint32_t used)
{
    struct mark mark = load_mark(&channel->rx);
    uint32_t tail = foyer_ring_tail(&channel->rx);
    int64_t distance = distance_from(sock, &mark, tail);
    if (distance == PASSED || is_inline(sock))
        return used;
    uint32_t before = distance < used ? (uint32_t)distance : used;
    uint32_t left = left_behind(sock, channel, &mark, tail);
    return left < before ? before - left : 0;
}
