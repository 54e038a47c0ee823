/*
 * TCP. Bytes go between the pair and foyer's socket as they come, through a buffer per direction;
 * a direction that is full is not read, so each side feels the other's window.
 *
 * What AF_UNIX would show otherwise than TCP:
 * - a pair is writable at once. While a connect that was not waited for is in progress, its buffer
 *   is stuffed, so that poll tells of the connection when there is one.
 * - nothing can be accepted from it. For each connection that waits, a byte lies in it: poll shows
 *   the listener readable, and an edge comes with each.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervise/supervise.h"

/* Connections taken from foyer before the program asks; the backlog proper is foyer's. */
#define ACCEPTED_MAX 16u

/* Rounds of copying per event, so that one stream does not keep the others waiting. */
#define ROUNDS_MAX 16u

/* ---- connect ------------------------------------------------------------------------------- */

/* Fills the pair towards us until poll does not call the program's end writable. */
static void stuff(struct vsocket *socket, const struct call *call)
{
    static const uint8_t junk[4096];
    int small = 1;
    socket->stuffed_end = target_copy_descriptor(thread_of(call), descriptor_of(call));
    if (socket->stuffed_end < 0)
        return;
    setsockopt(socket->stuffed_end, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (;;) {
        ssize_t count = send(socket->stuffed_end, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count <= 0)
            return;
        socket->stuffed_bytes += (size_t)count;
    }
}

/* The connect is over: the pair is empty again, and an edge of EPOLLOUT comes with it. */
static void unstuff(struct vsocket *socket)
{
    uint8_t junk[4096];
    int size = 0;
    socklen_t option_size = sizeof(size);
    if (socket->stuffed_end < 0)
        return;
    /* As large as our end's, which never changed. The kernel doubles what it is given. */
    if (getsockopt(socket->pair.fd, SOL_SOCKET, SO_SNDBUF, &size, &option_size) == 0) {
        size /= 2;
        setsockopt(socket->stuffed_end, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    while (socket->stuffed_bytes > 0) {
        size_t wanted = socket->stuffed_bytes < sizeof(junk) ? socket->stuffed_bytes : sizeof(junk);
        ssize_t count = recv(socket->pair.fd, junk, wanted, MSG_DONTWAIT);
        if (count <= 0)
            break;
        socket->stuffed_bytes -= (size_t)count;
    }
    close(socket->stuffed_end);
    socket->stuffed_end = -1;
}

static struct call *first_held(struct vsocket *socket)
{
    struct list_node *node = list_first(&socket->held);
    return node != NULL ? LIST_ENTRY(node, struct call, node) : NULL;
}

static void connect_over(struct supervisor *supervisor, struct vsocket *socket)
{
    int error = 0;
    socklen_t size = sizeof(error);
    struct call *held = first_held(socket);
    if (getsockopt(socket->net.fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error == 0) {
        stream_start(supervisor, socket);
        unstuff(socket);
    } else if (held != NULL) {
        socket->state = VSOCKET_FRESH; /* it may try again */
        watch_set(supervisor, &socket->net, 0);
    } else {
        socket->state = VSOCKET_FAILED;
        socket->error = error;
        watch_set(supervisor, &socket->net, 0);
        /* Readable and writable. Shut down for both, it would look as if the program were gone. */
        shutdown(socket->pair.fd, SHUT_WR);
        unstuff(socket);
    }
    while ((held = first_held(socket)) != NULL) {
        if (error != 0)
            reply_error(supervisor, held, error);
        else
            reply_value(supervisor, held, 0);
        call_forget(held);
    }
}

void stream_connect(struct supervisor *supervisor, struct vsocket *socket, const struct call *call,
                    const struct sockaddr_storage *remote, socklen_t remote_size)
{
    bool is_nonblocking = target_is_nonblocking(thread_of(call), descriptor_of(call));
    if (socket->state == VSOCKET_CONNECTING) {
        if (is_nonblocking)
            reply_error(supervisor, call, EALREADY);
        else
            call_hold(supervisor, socket, call, SO_SNDTIMEO);
        return;
    }
    if (connect(socket->net.fd, (const struct sockaddr *)remote, remote_size) == 0) {
        stream_start(supervisor, socket);
        reply_value(supervisor, call, 0);
        return;
    }
    if (errno != EINPROGRESS) {
        reply_error(supervisor, call, errno);
        return;
    }
    socket->state = VSOCKET_CONNECTING;
    if (is_nonblocking) {
        stuff(socket, call);
        reply_error(supervisor, call, EINPROGRESS);
    } else {
        call_hold(supervisor, socket, call, SO_SNDTIMEO);
    }
    watch_set(supervisor, &socket->net, EPOLLOUT);
}

/* ---- listen and accept --------------------------------------------------------------------- */

void stream_listen(struct supervisor *supervisor, struct vsocket *socket, const struct call *call)
{
    if (listen(socket->net.fd, (int)call->notif.data.args[1]) != 0) {
        reply_error(supervisor, call, errno);
        return;
    }
    socket->state = VSOCKET_LISTENING;
    watch_set(supervisor, &socket->net, EPOLLIN);
    reply_value(supervisor, call, 0);
}

static bool is_accepting(const struct vsocket *socket)
{
    return socket->accepted_count < ACCEPTED_MAX;
}

/* Takes connections from foyer; each is told to the program by a byte, see above. */
static void take_connections(struct supervisor *supervisor, struct vsocket *socket)
{
    while (is_accepting(socket)) {
        struct accepted *accepted = calloc(1, sizeof(*accepted));
        if (accepted == NULL)
            break;
        accepted->remote_size = sizeof(accepted->remote);
        accepted->net = accept4(socket->net.fd, (struct sockaddr *)&accepted->remote,
                                &accepted->remote_size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted->net < 0) {
            free(accepted);
            break;
        }
        if (send(socket->pair.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
            close(accepted->net);
            free(accepted);
            break;
        }
        list_push_back(&socket->accepted, &accepted->node);
        socket->accepted_count++;
    }
    watch_set(supervisor, &socket->net, is_accepting(socket) ? EPOLLIN : 0);
}

/* Gives a connection to the program. False: it has not taken it. */
static bool deliver(struct supervisor *supervisor, const struct call *call,
                    const struct accepted *accepted)
{
    int program_end;
    uint64_t flags = call->notif.data.nr == SYS_accept4 ? call->notif.data.args[3] : 0;
    int error = call_store_address(call, call->notif.data.args[1], call->notif.data.args[2],
                                   &accepted->remote, accepted->remote_size);
    if (error != 0) {
        reply_error(supervisor, call, -error);
        return false;
    }
    /* Its own descriptor until the program has the socket: then the connection is not lost. */
    int net = fcntl(accepted->net, F_DUPFD_CLOEXEC, 3);
    struct vsocket *created =
        net < 0 ? NULL : vsocket_create(supervisor, net, SOCK_STREAM, &program_end);
    if (created == NULL) {
        reply_error(supervisor, call, ENOBUFS);
        return false;
    }
    if ((flags & SOCK_NONBLOCK) != 0)
        fcntl(program_end, F_SETFL, O_NONBLOCK);
    bool is_taken = reply_descriptor(supervisor, call, program_end, (flags & SOCK_CLOEXEC) != 0);
    close(program_end);
    if (is_taken)
        stream_start(supervisor, created);
    else
        vsocket_destroy(supervisor, created);
    return is_taken;
}

/* Takes the byte that told of a connection out of the program's end. */
static void take_byte(const struct call *call)
{
    uint8_t byte;
    int copy = target_copy_descriptor(thread_of(call), descriptor_of(call));
    if (copy < 0)
        return;
    (void)recv(copy, &byte, 1, MSG_DONTWAIT);
    close(copy);
}

/* False: there is no connection. */
static bool accept_one(struct supervisor *supervisor, struct vsocket *socket,
                       const struct call *call)
{
    struct list_node *node = list_first(&socket->accepted);
    if (node == NULL)
        return false;
    struct accepted *accepted = LIST_ENTRY(node, struct accepted, node);
    /* Before the answer: afterwards the program runs, and might poll. */
    take_byte(call);
    if (!deliver(supervisor, call, accepted)) {
        (void)send(socket->pair.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        return true;
    }
    list_remove(&accepted->node);
    close(accepted->net);
    free(accepted);
    socket->accepted_count--;
    take_connections(supervisor, socket);
    return true;
}

void stream_accept(struct supervisor *supervisor, struct vsocket *socket, const struct call *call)
{
    if (socket->type != SOCK_STREAM) {
        reply_error(supervisor, call, EOPNOTSUPP);
        return;
    }
    if (socket->state != VSOCKET_LISTENING) {
        reply_error(supervisor, call, EINVAL);
        return;
    }
    take_connections(supervisor, socket);
    if (accept_one(supervisor, socket, call))
        return;
    if (target_is_nonblocking(thread_of(call), descriptor_of(call)))
        reply_error(supervisor, call, EAGAIN);
    else
        call_hold(supervisor, socket, call, SO_RCVTIMEO);
}

static void listener_ready(struct supervisor *supervisor, struct vsocket *socket)
{
    struct call *held;
    take_connections(supervisor, socket);
    while ((held = first_held(socket)) != NULL && !list_is_empty(&socket->accepted)) {
        if (call_is_valid(supervisor, held))
            accept_one(supervisor, socket, held);
        call_forget(held);
    }
}

/* ---- the bytes ----------------------------------------------------------------------------- */

void stream_start(struct supervisor *supervisor, struct vsocket *socket)
{
    socket->state = VSOCKET_STREAM;
    watch_set(supervisor, &socket->net, EPOLLIN);
    watch_set(supervisor, &socket->pair, EPOLLIN);
}

/*
 * Moves what can be moved at once. 0: nothing more for now; 1: there may be more; -1: the receiver
 * takes no more bytes, for ever.
 */
static int move(struct buffer *buffer, int from, int to)
{
    if (buffer->bytes == NULL) {
        buffer->bytes = malloc(BUFFER_SIZE);
        if (buffer->bytes == NULL)
            return 0;
    }
    if (buffer->begin == buffer->end && !buffer->is_source_over) {
        ssize_t count = recv(from, buffer->bytes, BUFFER_SIZE, MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        buffer->begin = 0;
        buffer->end = count > 0 ? (size_t)count : 0;
        buffer->is_source_over = count <= 0;
        buffer->is_reset = count < 0;
    }
    if (buffer->begin < buffer->end) {
        ssize_t count = send(to, buffer->bytes + buffer->begin, buffer->end - buffer->begin,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR || errno == ENOTCONN ? 0 : -1;
        buffer->begin += (size_t)count;
        return 1;
    }
    return 0;
}

static bool has_bytes(const struct buffer *buffer)
{
    return buffer->begin < buffer->end;
}

/* One direction. True: something moved. */
static bool carry(struct buffer *buffer, int from, int to)
{
    if (buffer->is_over)
        return false;
    int moved = move(buffer, from, to);
    if (moved < 0 || (buffer->is_source_over && !has_bytes(buffer))) {
        buffer->is_over = true;
        buffer->begin = buffer->end;
        if (moved < 0 || !buffer->is_reset)
            shutdown(to, moved < 0 ? SHUT_RDWR : SHUT_WR);
        if (moved < 0) /* who goes on writing shall get EPIPE */
            shutdown(from, SHUT_RD);
    }
    return moved > 0;
}

static void watch_stream(struct supervisor *supervisor, struct vsocket *socket)
{
    const struct buffer *out = &socket->out, *in = &socket->in;
    uint32_t net = 0, pair = 0;
    if (!out->is_over) {
        net |= has_bytes(out) ? EPOLLOUT : 0;
        pair |= has_bytes(out) || out->is_source_over ? 0 : EPOLLIN;
    }
    if (!in->is_over) {
        net |= has_bytes(in) || in->is_source_over ? 0 : EPOLLIN;
        pair |= has_bytes(in) ? EPOLLOUT : 0;
    }
    /* A hang-up is told whether asked for or not, again and again. Nobody is there any more. */
    if (socket->is_program_gone)
        pair = 0;
    else if (pair == 0)
        pair = EPOLLRDHUP | EPOLLET;
    watch_set(supervisor, &socket->net, net);
    watch_set(supervisor, &socket->pair, pair);
}

/*
 * The network's error must be the program's. An AF_UNIX socket says ECONNRESET where the other end
 * is closed with something unread in it, so the program's end is made to send a byte before.
 */
static void pass_reset(struct supervisor *supervisor, struct vsocket *socket)
{
    int unread = 0;
    if (ioctl(socket->pair.fd, FIONREAD, &unread) == 0 && unread == 0) {
        int end = target_find_socket(socket->thread, socket->inode);
        if (end >= 0) {
            send(end, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
            close(end);
        }
    }
    vsocket_destroy(supervisor, socket);
}

static void stream_carry(struct supervisor *supervisor, struct vsocket *socket)
{
    bool is_moving = true;
    for (unsigned i = 0; i < ROUNDS_MAX && is_moving; i++) {
        is_moving = carry(&socket->out, socket->pair.fd, socket->net.fd);
        is_moving |= carry(&socket->in, socket->net.fd, socket->pair.fd);
    }
    if (socket->is_program_gone && socket->out.is_over)
        vsocket_destroy(supervisor, socket); /* close, not half close: nobody will read */
    else if (socket->in.is_reset && socket->in.is_over)
        pass_reset(supervisor, socket);
    else
        watch_stream(supervisor, socket);
}

void stream_shutdown(struct supervisor *supervisor, struct vsocket *socket, const struct call *call)
{
    int how = (int)call->notif.data.args[1];
    if (socket->state == VSOCKET_STREAM && how != SHUT_RD) {
        /* The end of file goes the way of the bytes before it, and meets foyer's socket. */
        reply_continue(supervisor, call);
        return;
    }
    if (shutdown(socket->net.fd, how) != 0)
        reply_error(supervisor, call, errno);
    else
        reply_value(supervisor, call, 0);
    struct call *held;
    while (socket->state == VSOCKET_LISTENING && (held = first_held(socket)) != NULL) {
        reply_error(supervisor, held, EINVAL);
        call_forget(held);
    }
}

void stream_ready(struct supervisor *supervisor, struct vsocket *socket, const struct watch *watch,
                  uint32_t events)
{
    if (watch == &socket->pair && (events & EPOLLHUP) != 0)
        socket->is_program_gone = true;
    switch (socket->state) {
    case VSOCKET_STREAM:
        stream_carry(supervisor, socket);
        break;
    case VSOCKET_CONNECTING:
        if (watch == &socket->net)
            connect_over(supervisor, socket);
        break;
    case VSOCKET_LISTENING:
        if (watch == &socket->net)
            listener_ready(supervisor, socket);
        break;
    default:
        break;
    }
    if (socket->is_program_gone && socket->state != VSOCKET_STREAM && socket->pair.fd >= 0)
        vsocket_destroy(supervisor, socket);
}
