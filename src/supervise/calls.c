/*
 * What a system call means for a socket of foyer's. On other descriptors it is the kernel's:
 * SECCOMP_USER_NOTIF_FLAG_CONTINUE. (The program could change the descriptor meanwhile and have
 * the kernel do the call on another one. It would then act on its own AF_UNIX pair: no border.)
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervise/supervise.h"

#define OPTION_SIZE_MAX 4096u

static uint64_t argument(const struct call *call, unsigned i)
{
    return call->notif.data.args[i];
}

static int int_argument(const struct call *call, unsigned i)
{
    return (int)call->notif.data.args[i];
}

/* The result of one of our own calls, in libc's form, as the program's. */
static void reply_result(struct supervisor *supervisor, const struct call *call, int result)
{
    if (result < 0)
        reply_error(supervisor, call, errno);
    else
        reply_value(supervisor, call, result);
}

static int load_address(const struct call *call, unsigned i, struct sockaddr_storage *ret_address,
                        socklen_t *ret_size)
{
    uint64_t size = (uint32_t)argument(call, i + 1);
    memset(ret_address, 0, sizeof(*ret_address));
    if (size > sizeof(*ret_address))
        return -EINVAL;
    *ret_size = (socklen_t)size;
    return target_read(thread_of(call), argument(call, i), ret_address, (size_t)size);
}

int call_store_address(const struct call *call, uint64_t address, uint64_t size_address,
                       const struct sockaddr_storage *value, socklen_t value_size)
{
    int32_t room;
    if (address == 0)
        return 0;
    int error = target_read(thread_of(call), size_address, &room, sizeof(room));
    if (error != 0)
        return error;
    if (room < 0)
        return -EINVAL;
    size_t size = (size_t)room < value_size ? (size_t)room : value_size;
    error = target_write(thread_of(call), address, value, size);
    return error != 0
               ? error
               : target_write(thread_of(call), size_address, &value_size, sizeof(value_size));
}

/* ---- one by one ---------------------------------------------------------------------------- */

static void serve_socket(struct supervisor *supervisor, const struct call *call)
{
    int type = int_argument(call, 1), program_end;
    int kind = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM) {
        reply_error(supervisor, call, EPERM); /* raw sockets: as for who may not have them */
        return;
    }
    int net =
        socket(int_argument(call, 0), kind | SOCK_CLOEXEC | SOCK_NONBLOCK, int_argument(call, 2));
    if (net < 0) {
        reply_error(supervisor, call, errno);
        return;
    }
    struct vsocket *created = vsocket_create(supervisor, net, kind, &program_end);
    if (created == NULL) {
        reply_error(supervisor, call, ENOBUFS);
        return;
    }
    if (kind == SOCK_DGRAM)
        datagram_start(supervisor, created);
    if ((type & SOCK_NONBLOCK) != 0)
        fcntl(program_end, F_SETFL, O_NONBLOCK);
    if (!reply_descriptor(supervisor, call, program_end, (type & SOCK_CLOEXEC) != 0))
        vsocket_destroy(supervisor, created);
    close(program_end);
}

/* A conflict is explained on standard error: the program's, for once. */
static int bind_aloud(const struct call *call, int net, const struct sockaddr_storage *address,
                      socklen_t size)
{
    int own = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    int theirs = target_copy_descriptor(thread_of(call), STDERR_FILENO);
    if (own >= 0 && theirs >= 0)
        dup2(theirs, STDERR_FILENO);
    int result = bind(net, (const struct sockaddr *)address, size);
    int saved_errno = errno;
    if (own >= 0 && theirs >= 0)
        dup2(own, STDERR_FILENO);
    if (own >= 0)
        close(own);
    if (theirs >= 0)
        close(theirs);
    errno = saved_errno;
    return result;
}

static void serve_bind(struct supervisor *supervisor, struct vsocket *socket,
                       const struct call *call)
{
    struct sockaddr_storage address;
    socklen_t size;
    int error = load_address(call, 1, &address, &size);
    if (error != 0)
        reply_error(supervisor, call, -error);
    else
        reply_result(supervisor, call, bind_aloud(call, socket->net.fd, &address, size));
}

static void serve_connect(struct supervisor *supervisor, struct vsocket *socket,
                          const struct call *call)
{
    struct sockaddr_storage address;
    socklen_t size;
    int error = load_address(call, 1, &address, &size);
    if (error != 0)
        reply_error(supervisor, call, -error);
    else if (socket->type == SOCK_STREAM)
        stream_connect(supervisor, socket, call, &address, size);
    else
        reply_result(supervisor, call,
                     connect(socket->net.fd, (const struct sockaddr *)&address, size));
}

static void serve_name(struct supervisor *supervisor, struct vsocket *socket,
                       const struct call *call)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    bool is_peer = call->notif.data.nr == SYS_getpeername;
    memset(&address, 0, sizeof(address));
    int result =
        (is_peer ? getpeername : getsockname)(socket->net.fd, (struct sockaddr *)&address, &size);
    if (result != 0) {
        reply_error(supervisor, call, errno);
        return;
    }
    int error = call_store_address(call, argument(call, 1), argument(call, 2), &address, size);
    reply_error(supervisor, call, -error);
}

static void serve_getsockopt(struct supervisor *supervisor, struct vsocket *socket,
                             const struct call *call)
{
    uint8_t value[OPTION_SIZE_MAX];
    int32_t room;
    if (target_read(thread_of(call), argument(call, 4), &room, sizeof(room)) != 0) {
        reply_error(supervisor, call, EFAULT);
        return;
    }
    if (room < 0) {
        reply_error(supervisor, call, EINVAL);
        return;
    }
    socklen_t size = (uint32_t)room < OPTION_SIZE_MAX ? (socklen_t)room : OPTION_SIZE_MAX;
    int level = int_argument(call, 1), name = int_argument(call, 2);
    memset(value, 0, sizeof(value));
    if (level == SOL_SOCKET && name == SO_ERROR && socket->error != 0 && size >= sizeof(int)) {
        memcpy(value, &socket->error, sizeof(int));
        size = sizeof(int);
        socket->error = 0;
    } else if (getsockopt(socket->net.fd, level, name, value, &size) != 0) {
        reply_error(supervisor, call, errno);
        return;
    }
    int error = target_write(thread_of(call), argument(call, 3), value, size);
    if (error == 0)
        error = target_write(thread_of(call), argument(call, 4), &size, sizeof(size));
    reply_error(supervisor, call, -error);
}

/* read and write on the pair wait in the kernel, which must know for how long. */
static void copy_timeout(const struct call *call, int name, const void *value, socklen_t size)
{
    int copy = target_copy_descriptor(thread_of(call), descriptor_of(call));
    if (copy < 0)
        return;
    setsockopt(copy, SOL_SOCKET, name, value, size);
    close(copy);
}

static void serve_setsockopt(struct supervisor *supervisor, struct vsocket *socket,
                             const struct call *call)
{
    uint8_t value[OPTION_SIZE_MAX];
    uint32_t size = (uint32_t)argument(call, 4);
    int level = int_argument(call, 1), name = int_argument(call, 2);
    if (size > OPTION_SIZE_MAX) {
        reply_error(supervisor, call, EINVAL);
        return;
    }
    if (target_read(thread_of(call), argument(call, 3), value, size) != 0) {
        reply_error(supervisor, call, EFAULT);
        return;
    }
    int result = setsockopt(socket->net.fd, level, name, value, size);
    if (result == 0 && level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO))
        copy_timeout(call, name, value, size);
    reply_result(supervisor, call, result);
}

/* ---- dispatch ------------------------------------------------------------------------------ */

static void serve_datagram(struct supervisor *supervisor, struct vsocket *socket,
                           const struct call *call)
{
    switch (call->notif.data.nr) {
    case SYS_sendto:
        datagram_sendto(supervisor, socket, call);
        break;
    case SYS_recvfrom:
        datagram_recvfrom(supervisor, socket, call);
        break;
    case SYS_sendmsg:
    case SYS_sendmmsg:
        datagram_sendmsg(supervisor, socket, call);
        break;
    default:
        datagram_recvmsg(supervisor, socket, call);
        break;
    }
}

static void serve_on(struct supervisor *supervisor, struct vsocket *socket, const struct call *call)
{
    switch (call->notif.data.nr) {
    case SYS_bind:
        serve_bind(supervisor, socket, call);
        break;
    case SYS_connect:
        serve_connect(supervisor, socket, call);
        break;
    case SYS_listen:
        stream_listen(supervisor, socket, call);
        break;
    case SYS_accept:
    case SYS_accept4:
        stream_accept(supervisor, socket, call);
        break;
    case SYS_getsockname:
    case SYS_getpeername:
        serve_name(supervisor, socket, call);
        break;
    case SYS_getsockopt:
        serve_getsockopt(supervisor, socket, call);
        break;
    case SYS_setsockopt:
        serve_setsockopt(supervisor, socket, call);
        break;
    case SYS_shutdown:
        stream_shutdown(supervisor, socket, call);
        break;
    case SYS_sendto:
    case SYS_recvfrom:
    case SYS_sendmsg:
    case SYS_recvmsg:
    case SYS_sendmmsg:
    case SYS_recvmmsg:
        /* A connected pair carries a stream's bytes in these just as in read and write. */
        if (socket->type == SOCK_STREAM)
            reply_continue(supervisor, call);
        else
            serve_datagram(supervisor, socket, call);
        break;
    default:
        reply_continue(supervisor, call);
        break;
    }
}

void call_serve(struct supervisor *supervisor, const struct call *call)
{
    ino_t inode;
    struct vsocket *socket = NULL;
    if (call->notif.data.nr == SYS_socket) {
        serve_socket(supervisor, call);
        return;
    }
    if (target_socket_inode(thread_of(call), descriptor_of(call), &inode))
        socket = vsocket_find(supervisor, inode);
    if (socket != NULL)
        socket->thread = thread_of(call);
    /* What was read there is of this call only if the process still waits for its answer. */
    if (!call_is_valid(supervisor, call))
        return;
    if (socket == NULL)
        reply_continue(supervisor, call);
    else
        serve_on(supervisor, socket, call);
}
