/*
 * accept: connections of foyerd's making from the listener's descriptor, which is its queue, and kept
 * ones (keep.c), which come without it.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <string.h>

#include "preload/raw.h"
#include "preload/real.h"

static void end_sleep(const struct signal_sleep *signals)
{
    keep_sleep_end();
    signal_sleep_end(signals);
}

static void sleep_cancelled(void *context)
{
    end_sleep(context);
}

/*
 * The listener's descriptor, and the bells of kept connections. signal(7): after a handler with
 * SA_RESTART accept() goes on, unless it has a timeout.
 */
static int sleep_on_listener(struct socket_object *listener, int fd, const struct timespec *limit)
{
    struct signal_sleep signals = {.fd = -1};
    int result = 0;
    if (limit == NULL)
        signal_sleep_begin(&signals);
    struct pollfd items[3] = {{.fd = fd, .events = POLLIN},
                              {.fd = keep_poll_fd(listener), .events = POLLIN},
                              {.fd = signals.fd, .events = POLLIN}};
    keep_sleep_begin();
    keep_arm(listener);
    if (!keep_has_offer(listener)) {
        pthread_cleanup_push(sleep_cancelled, &signals);
        const sigset_t *blocked = signals.fd >= 0 ? &signals.blocked : NULL;
        result = REAL(ppoll)(items, 3, limit, blocked) < 0 ? -errno : 0;
        pthread_cleanup_pop(0);
    }
    end_sleep(&signals);
    keep_disarm(listener);
    if (result == 0 && items[1].revents != 0)
        keep_take_rings(listener);
    return result == -EINTR && limit == NULL && signal_handlers_restart() ? 0 : result;
}

static bool offer_holds(void *context)
{
    return keep_has_offer(context);
}

/* Waits until there may be a connection. 0, -EAGAIN, -EINTR. */
static int wait_connection(struct socket_object *listener, int fd, int64_t deadline_ns)
{
    struct timespec memory;
    if (keep_is_active() && wait_spin(offer_holds, listener))
        return 0;
    int64_t left_ns = deadline_left_ns(deadline_ns);
    if (left_ns == 0)
        return -EAGAIN;
    return sleep_on_listener(listener, fd, time_limit(left_ns, &memory));
}

static void collect_fds(struct msghdr *message, struct message_fds *ret_fds)
{
    ret_fds->count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        if (count > FOYER_MESSAGE_FDS_MAX)
            count = FOYER_MESSAGE_FDS_MAX; /* the buffer has no room for more */
        memcpy(ret_fds->fds, CMSG_DATA(header), count * sizeof(int));
        ret_fds->count = count;
    }
}

/* Takes one message from the listener's queue. 0, -EAGAIN. */
static int take_message(struct socket_object *listener, int fd, bool may_sleep,
                        struct foyer_accept *ret_accept, struct message_fds *ret_fds)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * FOYER_MESSAGE_FDS_MAX)];
    } control;
    struct iovec iov = {.iov_base = ret_accept, .iov_len = sizeof(*ret_accept)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes};
    message.msg_controllen = sizeof(control.bytes);
    if (table_peek(fd) != &listener->object)
        return -EBADF; /* another thread has closed it */
    /* A blocking one is the kernel's: restarted or interrupted as accept would be. */
    ssize_t size = REAL(recvmsg)(fd, &message, MSG_CMSG_CLOEXEC | (may_sleep ? 0 : MSG_DONTWAIT));
    if (size == (ssize_t)sizeof(*ret_accept)) {
        collect_fds(&message, ret_fds);
        if (slot_state(listener) == FOYER_SLOT_LISTENING)
            return 0;
        message_fds_close(ret_fds);
    }
    if (slot_state(listener) != FOYER_SLOT_LISTENING) {
        socket_ring_own_bell(listener); /* others may sleep here, too: one byte wakes one of them */
        return -EINVAL;
    }
    if (size == 0 || (size < 0 && errno == ECONNRESET))
        return -ENETDOWN;
    return size < 0 ? -errno : -EAGAIN;
}

static struct socket_object *object_from_accept(const struct foyer_accept *accept,
                                                const struct socket_object *listener,
                                                struct message_fds *fds)
{
    void *arena = session_arena(accept->arena);
    struct foyer_slot *slot = arena == NULL ? NULL : foyer_arena_slot(arena, accept->slot);
    int memfd = message_fds_take(fds, 1);
    int bell = accept->is_local ? message_fds_take(fds, 2) : -1;
    struct channel *channel = NULL;
    struct socket_object *sock = slot == NULL ? NULL : socket_object_create();
    if (bell >= 0)
        bell = table_hide(bell);
    if (sock != NULL && memfd >= 0 && (bell >= 0 || !accept->is_local)) {
        channel =
            channel_create_kept(slot->channel_id, memfd, accept->ring_size, accept->side & 1, bell);
    } else {
        table_close_hidden(bell);
        if (memfd >= 0)
            raw_close(memfd);
    }
    if (channel == NULL) {
        if (sock != NULL)
            socket_release(sock);
        return NULL;
    }
    sock->id = accept->id;
    sock->arena = accept->arena;
    sock->slot = slot;
    sock->family = listener->family;
    sock->type = SOCK_STREAM;
    if (slot->peer_arena != 0)
        channel_use_nooks(channel, accept->side);
    sock->listener_id = listener->id;
    sock->listener_slot = listener->slot;
    socket_add_channel(sock, channel);
    return sock;
}

/*
 * foyerd is gone, and the kernel would say for ever that the listener is ready to say so. A socket
 * of which nothing can be heard takes its place; the program was told once.
 */
static void silence(int fd)
{
    int flags = raw_fcntl(fd, F_GETFL, 0), is_cloexec = raw_fcntl(fd, F_GETFD, 0);
    int quiet = REAL(socket)(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (quiet < 0)
        return;
    if (flags >= 0)
        raw_fcntl(quiet, F_SETFL, flags);
    epoll_drop_listener(fd);
    RAW(SYS_dup3, quiet, fd, (is_cloexec & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
    raw_close(quiet);
}

/* A connection of foyerd's making, from the listener's queue. */
static int accept_queued(struct socket_object *listener, int fd, bool may_sleep, int flags,
                         struct socket_object **ret_sock)
{
    struct foyer_accept accept;
    struct message_fds fds;
    int error = take_message(listener, fd, may_sleep, &accept, &fds);
    if (error < 0)
        return error;
    atomic_fetch_add(&listener->slot->accepted, 1);
    if (atomic_exchange(&listener->slot->accept_wanted, 0) != 0) {
        char byte = 0;
        raw_send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    int program_end = message_fds_take(&fds, 0);
    struct socket_object *sock =
        program_end < 0 ? NULL : object_from_accept(&accept, listener, &fds);
    message_fds_close(&fds);
    if (sock == NULL) {
        if (program_end >= 0)
            raw_close(program_end);
        return -EMFILE;
    }
    atomic_fetch_add(&sock->object.references, 1);
    int result = socket_install(sock, program_end, flags);
    if (result < 0)
        socket_release(sock);
    else
        *ret_sock = sock;
    return result;
}

/*
 * Connections that serve again come first: a program that connected by one of them before it had to
 * ask foyerd for another one finds them accepted in this order. But they may not keep the queue
 * waiting for ever.
 */
#define QUEUE_AFTER 64u
#define QUEUE_AFTER_NS 2000000

/* One of either kind, now. may_sleep: in the kernel, where that is where they all come from. */
static int accept_now(struct socket_object *listener, int fd, bool may_sleep, int flags,
                      struct socket_object **ret_sock)
{
    static _Atomic uint32_t kept_in_a_row;
    static _Atomic int64_t queue_asked_ns;
    bool is_queue_due = keep_is_active() && atomic_load(&kept_in_a_row) >= QUEUE_AFTER &&
                        clock_ns() - atomic_load(&queue_asked_ns) > QUEUE_AFTER_NS;
    int result = is_queue_due ? -EAGAIN : keep_accept(listener, flags, ret_sock);
    if (result != -EAGAIN) {
        atomic_fetch_add(&kept_in_a_row, 1);
        return result;
    }
    atomic_store(&kept_in_a_row, 0);
    if (is_queue_due)
        atomic_store(&queue_asked_ns, clock_ns());
    result = accept_queued(listener, fd, may_sleep, flags, ret_sock);
    return result == -EAGAIN && is_queue_due ? keep_accept(listener, flags, ret_sock) : result;
}

static int socket_accept(struct socket_object *listener, int fd, struct sockaddr *addr,
                         socklen_t *io_size, int flags)
{
    struct socket_object *sock = NULL;
    if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != 0)
        return -EINVAL;
    if (listener->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    if (slot_state(listener) != FOYER_SLOT_LISTENING)
        return -EINVAL;
    keep_note_acceptor(listener);
    keep_look(listener);
    bool is_nonblocking = socket_is_nonblocking(listener, 0);
    int64_t timeout_us = listener->slot->receive_timeout_us;
    int64_t deadline = deadline_after(timeout_us);
    bool may_sleep = !is_nonblocking && deadline == NO_DEADLINE && keep_poll_fd(listener) < 0;
    int result;
    for (;;) {
        result = accept_now(listener, fd, may_sleep, flags, &sock);
        if (result != -EAGAIN || is_nonblocking)
            break;
        result = wait_connection(listener, fd, deadline);
        if (result < 0)
            break;
    }
    if (result == -ENETDOWN) {
        session_warn_gone();
        silence(fd);
    }
    if (sock == NULL)
        return result;
    if (addr != NULL && io_size != NULL)
        address_store(sock, &sock->slot->remote, addr, io_size);
    socket_release(sock);
    return result;
}

ENTRY int accept4(int fd, __SOCKADDR_ARG addr, socklen_t *io_size, int flags)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(accept4)(fd, addr, io_size, flags);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(accept4)(fd, addr, io_size, flags);
    int result = socket_accept(sock, fd, addr.__sockaddr__, io_size, flags);
    socket_release(sock);
    return result_int(result);
}

ENTRY int accept(int fd, __SOCKADDR_ARG addr, socklen_t *io_size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(accept)(fd, addr, io_size);
    return accept4(fd, addr, io_size, 0);
}
