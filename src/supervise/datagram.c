/*
 * UDP. The pair keeps the boundaries of datagrams but has no place for the sender's address. So at
 * most one datagram lies in it, and its sender is known when a call that asks for it comes; plain
 * read and recv take it without asking.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervise/supervise.h"

#define DATAGRAM_MAX 65536u
#define PARTS_MAX 1024u    /* UIO_MAXIOV */
#define MESSAGES_MAX 1024u /* of one sendmmsg, as in the kernel */

/* Served one at a time: the supervisor has one thread. */
static uint8_t scratch[DATAGRAM_MAX];

/* ---- towards the program ------------------------------------------------------------------- */

static bool was_taken(const struct vsocket *socket)
{
    int left = 0;
    return ioctl(socket->pair.fd, SIOCOUTQ, &left) != 0 || left == 0;
}

/* Puts the next datagram into the pair, when the last one is out. True: there is one in it. */
static bool put_next(struct supervisor *supervisor, struct vsocket *socket)
{
    if (socket->is_in_flight && !was_taken(socket))
        return true;
    socket->is_in_flight = false;
    socket->source_size = sizeof(socket->source);
    ssize_t size = recvfrom(socket->net.fd, scratch, sizeof(scratch), MSG_DONTWAIT,
                            (struct sockaddr *)&socket->source, &socket->source_size);
    if (size < 0) {
        watch_set(supervisor, &socket->net, EPOLLIN);
        return false;
    }
    /* An empty one would be the end of file to who reads it. The kernel's UDP gives 0, too. */
    if (send(socket->pair.fd, scratch, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return false;
    socket->is_in_flight = true;
    watch_set(supervisor, &socket->net, 0); /* the pair tells when it is taken: an edge of OUT */
    return true;
}

void datagram_start(struct supervisor *supervisor, struct vsocket *socket)
{
    socket->state = VSOCKET_DATAGRAM;
    watch_set(supervisor, &socket->net, EPOLLIN);
    watch_set(supervisor, &socket->pair, EPOLLIN | EPOLLOUT | EPOLLET);
}

/* What the program wrote without an address. */
static void carry_out(struct vsocket *socket)
{
    for (unsigned i = 0; i < 64; i++) {
        ssize_t size = recv(socket->pair.fd, scratch, sizeof(scratch), MSG_DONTWAIT);
        if (size < 0)
            return;
        if (size == 0)
            return;
        (void)send(socket->net.fd, scratch, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

/* ---- receiving calls ----------------------------------------------------------------------- */

struct receive {
    uint64_t address, size_address; /* recvfrom's; of recvmsg in the msghdr */
    uint64_t message;               /* of the struct msghdr; 0: recvfrom */
    struct iovec parts[PARTS_MAX];
    size_t part_count;
    uint64_t mmsg; /* of the struct mmsghdr; 0: none */
    int flags;
};

static int load_parts(const struct call *call, const struct msghdr *message,
                      struct iovec parts[PARTS_MAX], size_t *ret_count)
{
    if (message->msg_iovlen > PARTS_MAX)
        return -EMSGSIZE;
    *ret_count = message->msg_iovlen;
    return target_read(thread_of(call), (uint64_t)(uintptr_t)message->msg_iov, parts,
                       message->msg_iovlen * sizeof(*parts));
}

static int load_receive(const struct call *call, struct receive *receive)
{
    const __u64 *args = call->notif.data.args;
    struct msghdr message;
    memset(receive, 0, sizeof(*receive));
    if (call->notif.data.nr == SYS_recvfrom) {
        receive->parts[0] = (struct iovec){(void *)(uintptr_t)args[1], (size_t)args[2]};
        receive->part_count = 1;
        receive->flags = (int)args[3];
        receive->address = args[4];
        receive->size_address = args[5];
        return 0;
    }
    bool is_many = call->notif.data.nr == SYS_recvmmsg;
    receive->message = args[1];
    receive->mmsg = is_many ? args[1] : 0;
    receive->flags = (int)args[is_many ? 3 : 2];
    if (is_many && args[2] == 0)
        return -EINVAL;
    int error = target_read(thread_of(call), receive->message, &message, sizeof(message));
    return error != 0 ? error : load_parts(call, &message, receive->parts, &receive->part_count);
}

/* Bytes into the program's buffers. Returns how many had room, or -EFAULT. */
static ssize_t scatter(const struct call *call, const struct receive *receive, size_t size)
{
    size_t done = 0;
    for (size_t i = 0; i < receive->part_count && done < size; i++) {
        size_t part =
            receive->parts[i].iov_len < size - done ? receive->parts[i].iov_len : size - done;
        if (target_write(thread_of(call), (uint64_t)(uintptr_t)receive->parts[i].iov_base,
                         scratch + done, part) != 0)
            return -EFAULT;
        done += part;
    }
    return (ssize_t)done;
}

/* The parts of msghdr that recvmsg returns. */
static int store_message(const struct call *call, const struct receive *receive,
                         const struct vsocket *socket, bool is_cut, ssize_t size)
{
    struct msghdr message;
    pid_t thread = thread_of(call);
    int error = target_read(thread, receive->message, &message, sizeof(message));
    if (error != 0)
        return error;
    if (message.msg_name != NULL) {
        socklen_t room = message.msg_namelen;
        error = target_write(thread, (uint64_t)(uintptr_t)message.msg_name, &socket->source,
                             room < socket->source_size ? room : socket->source_size);
        message.msg_namelen = socket->source_size;
    }
    message.msg_controllen = 0;
    message.msg_flags = is_cut ? MSG_TRUNC : 0;
    if (error == 0)
        error = target_write(thread, receive->message, &message, sizeof(message));
    if (error == 0 && receive->mmsg != 0) {
        unsigned length = (unsigned)size;
        error = target_write(thread, receive->mmsg + offsetof(struct mmsghdr, msg_len), &length,
                             sizeof(length));
    }
    return error;
}

/* The datagram in the pair goes to the program. False: there was none after all. */
static bool receive_one(struct supervisor *supervisor, struct vsocket *socket,
                        const struct call *call, const struct receive *receive)
{
    int end = target_copy_descriptor(thread_of(call), descriptor_of(call));
    if (end < 0) {
        reply_error(supervisor, call, EBADF);
        return true;
    }
    ssize_t size = recv(end, scratch, sizeof(scratch), MSG_DONTWAIT | (receive->flags & MSG_PEEK));
    close(end);
    if (size < 0)
        return false;
    ssize_t copied = scatter(call, receive, (size_t)size);
    bool is_cut = copied < size;
    ssize_t result = (receive->flags & MSG_TRUNC) != 0 ? size : copied;
    int error = copied < 0 ? (int)copied : 0;
    if (error == 0 && receive->message != 0)
        error = store_message(call, receive, socket, is_cut, result);
    else if (error == 0)
        error = call_store_address(call, receive->address, receive->size_address, &socket->source,
                                   socket->source_size);
    if (error != 0)
        reply_error(supervisor, call, -error);
    else
        reply_value(supervisor, call, receive->mmsg != 0 ? 1 : result);
    put_next(supervisor, socket);
    return true;
}

static void serve_receive(struct supervisor *supervisor, struct vsocket *socket,
                          const struct call *call)
{
    static struct receive receive;
    int error = load_receive(call, &receive);
    if (error != 0) {
        reply_error(supervisor, call, -error);
        return;
    }
    if (put_next(supervisor, socket) && receive_one(supervisor, socket, call, &receive))
        return;
    if ((receive.flags & MSG_DONTWAIT) != 0 ||
        target_is_nonblocking(thread_of(call), descriptor_of(call)))
        reply_error(supervisor, call, EAGAIN);
    else
        call_hold(supervisor, socket, call, SO_RCVTIMEO);
}

void datagram_recvfrom(struct supervisor *supervisor, struct vsocket *socket,
                       const struct call *call)
{
    serve_receive(supervisor, socket, call);
}

void datagram_recvmsg(struct supervisor *supervisor, struct vsocket *socket,
                      const struct call *call)
{
    serve_receive(supervisor, socket, call);
}

/* Calls that wait get the datagram that has come. */
static void serve_held(struct supervisor *supervisor, struct vsocket *socket)
{
    struct list_node *node;
    while ((node = list_first(&socket->held)) != NULL && put_next(supervisor, socket)) {
        struct call *held = LIST_ENTRY(node, struct call, node);
        struct call call = *held;
        call_forget(held);
        if (call_is_valid(supervisor, &call))
            serve_receive(supervisor, socket, &call);
    }
}

void datagram_ready(struct supervisor *supervisor, struct vsocket *socket,
                    const struct watch *watch, uint32_t events)
{
    if (watch == &socket->pair && (events & EPOLLIN) != 0)
        carry_out(socket);
    if (watch == &socket->pair && (events & EPOLLHUP) != 0) {
        vsocket_destroy(supervisor, socket);
        return;
    }
    put_next(supervisor, socket);
    serve_held(supervisor, socket);
}

/* ---- sending calls ------------------------------------------------------------------------- */

void datagram_sendto(struct supervisor *supervisor, struct vsocket *socket, const struct call *call)
{
    const __u64 *args = call->notif.data.args;
    struct sockaddr_storage remote;
    socklen_t remote_size = (socklen_t)args[5];
    if (args[2] > sizeof(scratch)) {
        reply_error(supervisor, call, EMSGSIZE);
        return;
    }
    if (remote_size > sizeof(remote)) {
        reply_error(supervisor, call, EINVAL);
        return;
    }
    memset(&remote, 0, sizeof(remote));
    if (target_read(thread_of(call), args[1], scratch, (size_t)args[2]) != 0 ||
        target_read(thread_of(call), args[4], &remote, remote_size) != 0) {
        reply_error(supervisor, call, EFAULT);
        return;
    }
    carry_out(socket); /* what was written before goes before */
    ssize_t sent = sendto(socket->net.fd, scratch, (size_t)args[2], MSG_DONTWAIT | MSG_NOSIGNAL,
                          (const struct sockaddr *)&remote, remote_size);
    if (sent < 0)
        reply_error(supervisor, call, errno);
    else
        reply_value(supervisor, call, sent);
}

/* One message of the program's. Returns the bytes sent or -errno. */
static ssize_t send_message(struct vsocket *socket, const struct call *call, uint64_t address)
{
    static struct iovec parts[PARTS_MAX];
    struct sockaddr_storage remote;
    struct msghdr message;
    size_t count, size = 0;
    memset(&remote, 0, sizeof(remote));
    int error = target_read(thread_of(call), address, &message, sizeof(message));
    if (error == 0)
        error = load_parts(call, &message, parts, &count);
    if (error != 0)
        return error;
    if (message.msg_name == NULL)
        message.msg_namelen = 0;
    if (message.msg_namelen > sizeof(remote))
        return -EINVAL;
    error = target_read(thread_of(call), (uint64_t)(uintptr_t)message.msg_name, &remote,
                        message.msg_namelen);
    for (size_t i = 0; i < count && error == 0; i++) {
        if (parts[i].iov_len > sizeof(scratch) - size)
            return -EMSGSIZE;
        error = target_read(thread_of(call), (uint64_t)(uintptr_t)parts[i].iov_base, scratch + size,
                            parts[i].iov_len);
        size += parts[i].iov_len;
    }
    if (error != 0)
        return error;
    ssize_t sent = sendto(socket->net.fd, scratch, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                          message.msg_namelen != 0 ? (const struct sockaddr *)&remote : NULL,
                          message.msg_namelen);
    return sent < 0 ? -errno : sent;
}

void datagram_sendmsg(struct supervisor *supervisor, struct vsocket *socket,
                      const struct call *call)
{
    const __u64 *args = call->notif.data.args;
    carry_out(socket);
    if (call->notif.data.nr == SYS_sendmsg) {
        ssize_t sent = send_message(socket, call, args[1]);
        if (sent < 0)
            reply_error(supervisor, call, (int)-sent);
        else
            reply_value(supervisor, call, sent);
        return;
    }
    unsigned count = (unsigned)args[2] < MESSAGES_MAX ? (unsigned)args[2] : MESSAGES_MAX, done = 0;
    ssize_t sent = 0;
    while (done < count) {
        uint64_t at = args[1] + done * sizeof(struct mmsghdr);
        sent = send_message(socket, call, at);
        if (sent < 0)
            break;
        unsigned length = (unsigned)sent;
        if (target_write(thread_of(call), at + offsetof(struct mmsghdr, msg_len), &length,
                         sizeof(length)) != 0)
            break;
        done++;
    }
    if (done == 0 && sent < 0)
        reply_error(supervisor, call, (int)-sent);
    else
        reply_value(supervisor, call, done);
}
