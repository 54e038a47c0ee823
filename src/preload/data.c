/*
 * Payload: every read and write of a program ends in one of four functions, two per kind of
 * socket. Entry points are in io.c.
 *
 * Streams copy between the program's buffers and the ring, with the direction's slot lock held;
 * nobody sleeps with a lock. Errors follow tcp_sendmsg and tcp_recvmsg: what was moved already is
 * the result, data that is there comes before an error, an error is told once.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>

#include "preload/raw.h"

/* Published piece by piece, so that the other side copies out what this one still copies in. */
#define PIECE_SIZE 65536u

/* Walks over the buffers of an iovec. */
struct cursor {
    const struct iovec *iov;
    size_t count;
    size_t offset; /* in iov[0] */
};

/* Where a ring's bytes are; see struct foyer_channel. origin is the other side's word: any value. */
struct store {
    const struct foyer_ring *ring;
    uint8_t *nook;
    uint32_t origin;
};

static struct store store_of(const struct foyer_ring *ring, uint8_t *nook)
{
    return (struct store){
        .ring = ring,
        .nook = nook,
        .origin = atomic_load_explicit(&ring->shared->origin, memory_order_relaxed),
    };
}

/* The place of a position; *io_size becomes how many bytes it has in one piece. */
static uint8_t *store_at(const struct store *store, uint32_t position, uint32_t *io_size)
{
    uint32_t offset = position;
    if (store->nook != NULL) {
        offset = position - store->origin;
        if (offset < FOYER_CHANNEL_NOOK_SIZE) {
            if (*io_size > FOYER_CHANNEL_NOOK_SIZE - offset)
                *io_size = FOYER_CHANNEL_NOOK_SIZE - offset;
            return store->nook + offset;
        }
        offset -= FOYER_CHANNEL_NOOK_SIZE;
    }
    offset &= store->ring->size - 1;
    if (*io_size > store->ring->size - offset)
        *io_size = store->ring->size - offset;
    return store->ring->data + offset;
}

void store_get(const struct foyer_ring *ring, uint8_t *nook, uint32_t position, void *ret_byte)
{
    struct store store = store_of(ring, nook);
    uint32_t size = 1;
    memcpy(ret_byte, store_at(&store, position, &size), 1);
}

/* Copies size bytes between the cursor's buffers and the store. */
static void copy(struct cursor *cursor, const struct store *store, uint32_t position, uint32_t size,
                 bool is_into_store)
{
    while (size > 0) {
        /* The analyzer does not see that store_at makes part smaller and never larger. */
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
        size_t left = cursor->iov->iov_len - cursor->offset;
        uint32_t part = left < size ? (uint32_t)left : size;
        uint8_t *place = store_at(store, position, &part);
        uint8_t *buffer = (uint8_t *)cursor->iov->iov_base + cursor->offset;
        memcpy(is_into_store ? place : buffer, is_into_store ? buffer : place, part);
        position += part;
        size -= part;
        cursor->offset += part;
        if (cursor->offset == cursor->iov->iov_len) {
            cursor->iov++;
            cursor->offset = 0;
        }
    }
}

static ssize_t iov_total(const struct iovec *iov, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > (size_t)SSIZE_MAX - total)
            return -EINVAL;
        total += iov[i].iov_len;
    }
    return (ssize_t)total;
}

/* ---- streams: sending ---------------------------------------------------------------------- */

static void raise_sigpipe(void)
{
    int process = (int)RAW(SYS_getpid);
    RAW(SYS_tgkill, process, preload_thread_id(), SIGPIPE);
}

/* sk_stream_error: a pending error, else EPIPE with its signal. */
ssize_t stream_send_error(struct socket_object *sock, int flags)
{
    int error = slot_take_error(sock);
    if (error == 0)
        error = -EPIPE;
    if (error == -EPIPE && (flags & MSG_NOSIGNAL) == 0)
        raise_sigpipe();
    return error;
}

enum send_state { SEND_READY, SEND_GONE, SEND_ERROR };

/* Whether bytes may go into the ring. */
static enum send_state send_check(struct socket_object *sock, const struct channel *channel)
{
    if (unlikely(atomic_load_explicit(&sock->slot->error, memory_order_relaxed) != 0 ||
                 (slot_options(sock) & FOYER_SLOT_SHUT_WRITE) != 0 ||
                 socket_is_reset(sock, channel)))
        return SEND_ERROR;
    if (unlikely(atomic_load_explicit(&channel->tx.shared->reader_state, memory_order_acquire) !=
                 FOYER_RING_OPEN))
        return SEND_GONE;
    return SEND_READY;
}

/*
 * The peer has closed its socket. The kernel takes the bytes there is room for, and the answering
 * reset makes the connection fail: EPIPE where the FIN was seen before (CLOSE-WAIT), else ECONNRESET.
 */
static void send_into_void(struct socket_object *sock, const struct channel *channel)
{
    bool has_fin = atomic_load(&channel->rx.shared->writer_state) == FOYER_RING_FIN;
    socket_note_reset(sock, has_fin ? EPIPE : ECONNRESET);
}

/* A full ring: wakes come by the announcement, for blocked threads and epoll alike. */
static bool note_no_space(struct socket_object *sock, const struct channel *channel)
{
    atomic_fetch_add(&sock->no_space_count, 1);
    foyer_ring_announce_writer(&channel->tx);
    return foyer_ring_room(&channel->tx) == 0;
}

/* State and channel for a send; blocks while connecting. 0 or what the call returns. */
static ssize_t send_begin(struct socket_object *sock, int fd, int flags,
                          struct channel **ret_channel)
{
    struct wait wait = {.events = POLLOUT,
                        .deadline_ns = deadline_after(sock->slot->send_timeout_us)};
    while (unlikely(slot_state(sock) == FOYER_SLOT_CONNECTING)) {
        if (socket_is_nonblocking(sock, flags))
            return -EAGAIN;
        int error = wait_sleep(sock, fd, &wait);
        if (error < 0)
            return error;
    }
    if (unlikely(slot_state(sock) != FOYER_SLOT_CONNECTED))
        return stream_send_error(sock, flags);
    *ret_channel = socket_channel(sock, fd);
    return *ret_channel == NULL ? -ENETDOWN : 0;
}

/*
 * Where the bytes come from: fill writes up to size bytes at a position of the ring and says how
 * many it had; 0 at the end, -errno.
 */
struct source {
    ssize_t (*fill)(struct source *source, const struct store *store, uint32_t position,
                    uint32_t size);
    struct cursor cursor;
    int file;
    off_t *offset;
};

/* The reader has everything: what would not fit into the rest of the nook goes to its begin. */
static void begin_anew(const struct channel *channel, uint32_t head, uint32_t size)
{
    _Atomic uint32_t *origin = &channel->tx.shared->origin;
    uint32_t offset = head - atomic_load_explicit(origin, memory_order_relaxed);
    if (channel->tx_nook != NULL && offset != 0 &&
        (offset >= FOYER_CHANNEL_NOOK_SIZE || size > FOYER_CHANNEL_NOOK_SIZE - offset))
        atomic_store_explicit(origin, head, memory_order_relaxed);
}

/* How sending some bytes ended. */
struct send_end {
    bool is_over;  /* no more of them */
    uint32_t used; /* bytes in the ring after the last of them; 0: none was sent */
};

/* Moves what fits now, with the lock held. Bytes moved, or -errno. */
static ssize_t send_some(struct socket_object *sock, int fd, const struct channel *channel,
                         struct source *source, size_t size, int flags, struct send_end *ret_end)
{
    size_t done = 0;
    while (done < size) {
        enum send_state state = send_check(sock, channel);
        if (state == SEND_ERROR) {
            ret_end->is_over = true;
            return done > 0 ? (ssize_t)done : stream_send_error(sock, flags);
        }
        uint32_t head = atomic_load_explicit(&channel->tx.shared->head, memory_order_relaxed);
        uint32_t used = foyer_ring_distance(&channel->tx, head, foyer_ring_tail(&channel->tx));
        if (used == UINT32_MAX)
            continue; /* send_check notes the reset */
        if (unlikely(state == SEND_GONE))
            send_into_void(sock, channel);
        uint32_t limit = foyer_ring_limit(&channel->tx);
        if (used >= limit)
            break;
        uint32_t part = limit - used;
        if (part > PIECE_SIZE)
            part = PIECE_SIZE;
        if (part > size - done)
            part = (uint32_t)(size - done);
        if (used == 0) {
            begin_anew(channel, head, part);
            foyer_arrival_note(&channel->tx);
        }
        struct store store = store_of(&channel->tx, channel->tx_nook);
        ssize_t filled = source->fill(source, &store, head, part);
        if (filled <= 0) {
            ret_end->is_over = true;
            return done > 0 ? (ssize_t)done : filled;
        }
        if (unlikely((flags & MSG_OOB) != 0))
            foyer_ring_put_urgent(&channel->tx, head + (uint32_t)filled - 1);
        foyer_ring_publish_head(&channel->tx, head + (uint32_t)filled);
        if (unlikely((flags & MSG_OOB) != 0))
            urgent_signal(sock, fd, channel);
        channel_wake(sock, fd, channel, &channel->tx.shared->reader_waiter);
        done += (size_t)filled;
        ret_end->used = used + (uint32_t)filled;
    }
    return (ssize_t)done;
}

static ssize_t send_from(struct socket_object *sock, int fd, struct source *source, size_t size,
                         int flags)
{
    struct channel *channel = NULL;
    ssize_t error = send_begin(sock, fd, flags, &channel);
    if (unlikely(error < 0 || channel == NULL))
        return error;
    struct wait wait = {.events = POLLOUT};
    size_t sent = 0;
    for (;;) {
        struct send_end end = {0};
        error = slot_lock(sock, LOCK_WRITE);
        if (error < 0)
            return sent > 0 ? (ssize_t)sent : -EAGAIN;
        ssize_t part = send_some(sock, fd, channel, source, size - sent, flags, &end);
        slot_unlock(sock, LOCK_WRITE);
        if (part < 0)
            return sent > 0 ? (ssize_t)sent : part;
        sent += (size_t)part;
        if (unlikely(end.used > HOLD_QUEUE) && size <= HOLD_MESSAGE_MAX &&
            !socket_is_nonblocking(sock, flags))
            hold_back(channel, end.used);
        if (likely(sent == size) || end.is_over)
            return (ssize_t)sent;
        if (!note_no_space(sock, channel))
            continue;
        if (socket_is_nonblocking(sock, flags))
            return sent > 0 ? (ssize_t)sent : -EAGAIN;
        if (wait.rounds == 0)
            wait.deadline_ns = deadline_after(sock->slot->send_timeout_us);
        wait.is_partial = sent > 0;
        error = wait_sleep(sock, fd, &wait);
        if (error < 0)
            return sent > 0 ? (ssize_t)sent : error;
    }
}

static ssize_t fill_from_iov(struct source *source, const struct store *store, uint32_t position,
                             uint32_t size)
{
    copy(&source->cursor, store, position, size, true);
    return (ssize_t)size;
}

ssize_t stream_send(struct socket_object *sock, int fd, const struct iovec *iov, size_t count,
                    int flags)
{
    ssize_t size = iov_total(iov, count);
    if (size < 0)
        return size;
    if ((flags & MSG_FASTOPEN) != 0)
        return -EOPNOTSUPP;
    struct source source = {.fill = fill_from_iov, .cursor = {.iov = iov, .count = count}};
    return send_from(sock, fd, &source, (size_t)size, flags);
}

/* The file's bytes go into the ring without a buffer between. */
static ssize_t fill_from_file(struct source *source, const struct store *store, uint32_t position,
                              uint32_t size)
{
    struct iovec iov[3]; /* the nook, data up to its end, data from its begin */
    int count = 0;
    while (size > 0 && count < 3) {
        uint32_t part = size;
        iov[count].iov_base = store_at(store, position, &part);
        iov[count++].iov_len = part;
        position += part;
        size -= part;
    }
    if (source->offset == NULL)
        return (ssize_t)RAW(SYS_readv, source->file, iov, count);
    ssize_t result = (ssize_t)RAW(SYS_preadv, source->file, iov, count, *source->offset, 0);
    if (result > 0)
        *source->offset += result;
    return result;
}

ssize_t stream_send_file(struct socket_object *sock, int fd, int file, off_t *offset, size_t size,
                         int flags)
{
    struct source source = {.fill = fill_from_file, .file = file, .offset = offset};
    if (size > 0x7ffff000) /* MAX_RW_COUNT */
        size = 0x7ffff000;
    return send_from(sock, fd, &source, size, flags);
}

/* ---- streams: receiving -------------------------------------------------------------------- */

/* An error waits, or a reset. What was written before that is in the ring by now. */
static bool has_failed(struct socket_object *sock, const struct channel *channel)
{
    return atomic_load_explicit(&sock->slot->error, memory_order_acquire) != 0 ||
           socket_is_reset(sock, channel);
}

/*
 * Nothing is there: 0 at the end of the stream, the pending error, or 1 to go on waiting. Only where
 * it failed before the ring was looked at is that told: else there may be bytes that come first.
 */
static ssize_t recv_ended(struct socket_object *sock, const struct channel *channel, bool failed)
{
    uint32_t writer = atomic_load_explicit(&channel->rx.shared->writer_state, memory_order_acquire);
    if (writer == FOYER_RING_FIN) /* SOCK_DONE: comes before a pending error */
        return 0;
    int error = failed ? slot_take_error(sock) : 0;
    if (error != 0)
        return error;
    if (failed && socket_is_reset(sock, channel))
        return slot_take_error(sock); /* noted only now */
    return (slot_options(sock) & FOYER_SLOT_SHUT_READ) != 0 ? 0 : 1;
}

/* State and channel for a receive; blocks while connecting. 0, or *ret_result is the result. */
static bool recv_begin(struct socket_object *sock, int fd, int flags, struct channel **ret_channel,
                       ssize_t *ret_result)
{
    struct wait wait = {.events = POLLIN,
                        .deadline_ns = deadline_after(sock->slot->receive_timeout_us)};
    while (unlikely(slot_state(sock) == FOYER_SLOT_CONNECTING)) {
        int error = socket_is_nonblocking(sock, flags) ? -EAGAIN : wait_sleep(sock, fd, &wait);
        if (error < 0) {
            *ret_result = error;
            return false;
        }
    }
    if (unlikely(slot_state(sock) != FOYER_SLOT_CONNECTED)) {
        int error = slot_take_error(sock);
        /* tcp_recvmsg: a connection that failed is shut down, before it is none. */
        bool is_over = slot_state(sock) == FOYER_SLOT_FAILED;
        *ret_result = error != 0 || is_over ? error : -ENOTCONN;
        return false;
    }
    *ret_channel = socket_channel(sock, fd);
    *ret_result = -ENETDOWN;
    return *ret_channel != NULL;
}

struct recv_job {
    struct cursor cursor;
    size_t size;     /* wanted */
    size_t done;     /* had */
    size_t target;   /* below this a blocking call waits for more */
    uint32_t peeked; /* MSG_PEEK: bytes behind tail that were copied */
    int flags;
    bool is_stopped; /* at urgent data, with what was before it */
};

/* The reader made room: a writer that sleeps is woken once there is enough for it to go on. */
static void released_space(const struct socket_object *sock, const struct channel *channel, int fd)
{
    uint32_t room = foyer_ring_room(&channel->rx);
    if (room >= foyer_ring_limit(&channel->rx) / 3)
        channel_wake(sock, fd, channel, &channel->rx.shared->writer_waiter);
}

/* Takes what is there, with the lock held. False: nothing. */
static bool recv_some(struct socket_object *sock, int fd, const struct channel *channel,
                      struct recv_job *job)
{
    size_t before = job->done;
    while (job->done < job->size) {
        uint32_t tail = atomic_load_explicit(&channel->rx.shared->tail, memory_order_relaxed);
        uint32_t used = foyer_ring_distance(&channel->rx, foyer_ring_head(&channel->rx), tail);
        if (used == UINT32_MAX) {
            socket_note_reset(sock, ECONNRESET);
            break;
        }
        if (used <= job->peeked)
            break;
        uint32_t part = used - job->peeked, skip = 0;
        if (unlikely(urgent_was_seen(&channel->rx)) &&
            !urgent_cut(sock, channel, tail + job->peeked, job->done > 0, &part, &skip)) {
            job->is_stopped = true;
            break;
        }
        if (part > PIECE_SIZE)
            part = PIECE_SIZE;
        if (part > job->size - job->done)
            part = (uint32_t)(job->size - job->done);
        if ((job->flags & MSG_TRUNC) == 0) { /* tcp(7): with it, bytes are thrown away */
            struct store store = store_of(&channel->rx, channel->rx_nook);
            copy(&job->cursor, &store, tail + job->peeked + skip, part, false);
        }
        job->done += part;
        if ((job->flags & MSG_PEEK) != 0) {
            job->peeked += part + skip;
        } else {
            foyer_ring_publish_tail(&channel->rx, tail + part + skip);
            released_space(sock, channel, fd);
        }
    }
    return job->done > before;
}

static bool has_unread(const struct channel *channel, const struct recv_job *job)
{
    uint32_t used = foyer_ring_used(&channel->rx);
    return used != UINT32_MAX && used > job->peeked;
}

static ssize_t recv_loop(struct socket_object *sock, int fd, struct channel *channel,
                         struct recv_job *job)
{
    struct wait wait = {.events = POLLIN};
    for (;;) {
        if (slot_lock(sock, LOCK_READ) < 0)
            return job->done > 0 ? (ssize_t)job->done : -EAGAIN;
        bool has_more = recv_some(sock, fd, channel, job);
        slot_unlock(sock, LOCK_READ);
        if (likely(job->done >= job->target && job->done > 0) || job->is_stopped)
            return (ssize_t)job->done;
        /* recv of no bytes waits for some all the same; read does not (io.c). */
        if (job->size == 0 && foyer_ring_used(&channel->rx) > 0)
            return 0;
        if (!has_more) {
            if (job->done > 0 && (atomic_load(&sock->slot->error) != 0 ||
                                  socket_readiness(sock, fd) & (POLLRDHUP | POLLHUP)))
                return (ssize_t)job->done;
            /* The writer may have put its last bytes between our look and its end. */
            bool failed = job->done == 0 && has_failed(sock, channel);
            if (failed && has_unread(channel, job))
                continue;
            ssize_t result = job->done > 0 ? 1 : recv_ended(sock, channel, failed);
            if (result == 0 && has_unread(channel, job))
                continue;
            if (result <= 0)
                return result;
        }
        if (socket_is_nonblocking(sock, job->flags))
            return job->done > 0 ? (ssize_t)job->done : -EAGAIN;
        if (wait.rounds == 0)
            wait.deadline_ns = deadline_after(sock->slot->receive_timeout_us);
        wait.is_partial = job->done > 0;
        wait.need_bytes = job->peeked + 1;
        int error = wait_sleep(sock, fd, &wait);
        if (error < 0)
            return job->done > 0 ? (ssize_t)job->done : error;
    }
}

ssize_t stream_recv(struct socket_object *sock, int fd, const struct iovec *iov, size_t count,
                    int flags)
{
    struct channel *channel;
    ssize_t size = iov_total(iov, count);
    if (size < 0)
        return size;
    if (unlikely((flags & MSG_OOB) != 0))
        return urgent_recv(sock, fd, iov, count, flags);
    if ((flags & MSG_ERRQUEUE) != 0)
        return -EAGAIN;
    ssize_t result;
    if (!recv_begin(sock, fd, flags, &channel, &result))
        return result;
    struct recv_job job = {
        .cursor = {.iov = iov, .count = count}, .size = (size_t)size, .flags = flags};
    uint32_t low_water = sock->slot->receive_low_water;
    uint32_t limit = foyer_ring_limit(&channel->rx);
    if (low_water > limit / 2)
        low_water = limit / 2;
    job.target = (flags & MSG_WAITALL) != 0 ? job.size : low_water > 1 ? low_water : 1;
    if (job.target > job.size)
        job.target = job.size;
    if ((flags & MSG_PEEK) != 0 && job.target > limit)
        job.target = limit; /* no more can ever be there at once */
    return recv_loop(sock, fd, channel, &job);
}

/* ---- single buffers ------------------------------------------------------------------------ */

ssize_t sock_send(struct socket_object *sock, int fd, const void *bytes, size_t size, int flags)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    if (likely(sock->type == SOCK_STREAM))
        return stream_send(sock, fd, &iov, 1, flags);
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return datagram_send(sock, fd, &message, flags);
}

ssize_t sock_recv(struct socket_object *sock, int fd, void *bytes, size_t size, int flags)
{
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    if (likely(sock->type == SOCK_STREAM))
        return stream_recv(sock, fd, &iov, 1, flags);
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return datagram_recv(sock, fd, &message, flags);
}
