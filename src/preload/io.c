/* Entry points that move payload: thin forms of stream_* and datagram_*. */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "preload/raw.h"
#include "preload/real.h"

/*
 * What every entry point begins with: not ours, or a descriptor the program has no business with,
 * or `sock` with a reference.
 */
#define ENTER(fd, sock, passthrough)                                                               \
    if (likely(table_peek(fd) == NULL))                                                            \
        return passthrough;                                                                        \
    struct socket_object *sock = table_get_socket(fd);                                             \
    if (unlikely(sock == NULL)) {                                                                  \
        if (table_is_hidden(fd)) {                                                                 \
            errno = EBADF;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        return passthrough;                                                                        \
    }

static inline ssize_t leave(struct socket_object *sock, ssize_t result)
{
    socket_release(sock);
    return result_size(result);
}

/* ---- one buffer ---------------------------------------------------------------------------- */

ENTRY ssize_t read(int fd, void *bytes, size_t size)
{
    ENTER(fd, sock, REAL(read)(fd, bytes, size));
    if (unlikely(size == 0 && sock->type == SOCK_STREAM))
        return leave(sock, 0);
    return leave(sock, sock_recv(sock, fd, bytes, size, 0));
}

ENTRY ssize_t write(int fd, const void *bytes, size_t size)
{
    ENTER(fd, sock, REAL(write)(fd, bytes, size));
    return leave(sock, sock_send(sock, fd, bytes, size, 0));
}

ENTRY ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
    ENTER(fd, sock, REAL(recv)(fd, bytes, size, flags));
    return leave(sock, sock_recv(sock, fd, bytes, size, flags));
}

ENTRY ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    ENTER(fd, sock, REAL(send)(fd, bytes, size, flags));
    return leave(sock, sock_send(sock, fd, bytes, size, flags));
}

/* ---- vectors ------------------------------------------------------------------------------- */

static bool iov_is_empty(const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len != 0)
            return false;
    }
    return true;
}

static ssize_t sock_readv(struct socket_object *sock, int fd, const struct iovec *iov, int count)
{
    if (count < 0 || count > IOV_MAX)
        return -EINVAL;
    if (sock->type == SOCK_STREAM && iov_is_empty(iov, count))
        return 0;
    if (sock->type == SOCK_STREAM)
        return stream_recv(sock, fd, iov, (size_t)count, 0);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};
    return datagram_recv(sock, fd, &message, 0);
}

static ssize_t sock_writev(struct socket_object *sock, int fd, const struct iovec *iov, int count)
{
    if (count < 0 || count > IOV_MAX)
        return -EINVAL;
    if (sock->type == SOCK_STREAM)
        return stream_send(sock, fd, iov, (size_t)count, 0);
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};
    return datagram_send(sock, fd, &message, 0);
}

ENTRY ssize_t readv(int fd, const struct iovec *iov, int count)
{
    ENTER(fd, sock, REAL(readv)(fd, iov, count));
    return leave(sock, sock_readv(sock, fd, iov, count));
}

ENTRY ssize_t writev(int fd, const struct iovec *iov, int count)
{
    ENTER(fd, sock, REAL(writev)(fd, iov, count));
    return leave(sock, sock_writev(sock, fd, iov, count));
}

/* A socket has no position. The kernel says so of its own file, too; but hidden ones are EBADF. */
ENTRY ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    ENTER(fd, sock, REAL(pread)(fd, bytes, size, offset));
    return leave(sock, -ESPIPE);
}

ENTRY ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    ENTER(fd, sock, REAL(pwrite)(fd, bytes, size, offset));
    return leave(sock, -ESPIPE);
}

ENTRY ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
    ENTER(fd, sock, REAL(preadv)(fd, iov, count, offset));
    return leave(sock, -ESPIPE);
}

ENTRY ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    ENTER(fd, sock, REAL(pwritev)(fd, iov, count, offset));
    return leave(sock, -ESPIPE);
}

/* ---- messages ------------------------------------------------------------------------------ */

static ssize_t sock_sendmsg(struct socket_object *sock, int fd, const struct msghdr *message,
                            int flags)
{
    if (message->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    if (sock->type == SOCK_DGRAM)
        return datagram_send(sock, fd, message, flags);
    /* The address is ignored on a connected TCP socket. */
    return stream_send(sock, fd, message->msg_iov, message->msg_iovlen, flags);
}

static ssize_t sock_recvmsg(struct socket_object *sock, int fd, struct msghdr *message, int flags)
{
    if (message->msg_iovlen > IOV_MAX)
        return -EMSGSIZE;
    if (sock->type == SOCK_DGRAM)
        return datagram_recv(sock, fd, message, flags);
    ssize_t size = stream_recv(sock, fd, message->msg_iov, message->msg_iovlen, flags);
    if (size >= 0) {
        message->msg_namelen = 0;
        message->msg_controllen = 0;
        message->msg_flags = flags & MSG_OOB;
        if ((flags & MSG_OOB) != 0 && size == 0)
            message->msg_flags |= MSG_TRUNC;
    }
    return size;
}

ENTRY ssize_t sendto(int fd, const void *bytes, size_t size, int flags, __CONST_SOCKADDR_ARG addr,
                     socklen_t addr_size)
{
    ENTER(fd, sock, REAL(sendto)(fd, bytes, size, flags, addr, addr_size));
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {
        .msg_name = (void *)(uintptr_t)addr.__sockaddr__,
        .msg_namelen = addr.__sockaddr__ == NULL ? 0 : addr_size,
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };
    return leave(sock, sock_sendmsg(sock, fd, &message, flags));
}

ENTRY ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, __SOCKADDR_ARG addr,
                       socklen_t *io_addr_size)
{
    ENTER(fd, sock, REAL(recvfrom)(fd, bytes, size, flags, addr, io_addr_size));
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {
        .msg_name = addr.__sockaddr__,
        .msg_namelen = addr.__sockaddr__ != NULL && io_addr_size != NULL ? *io_addr_size : 0,
        .msg_iov = &iov,
        .msg_iovlen = 1,
    };
    ssize_t result = sock_recvmsg(sock, fd, &message, flags);
    if (result >= 0 && addr.__sockaddr__ != NULL && io_addr_size != NULL)
        *io_addr_size = message.msg_namelen;
    return leave(sock, result);
}

/* Descriptors that go to another process. */
static void note_sent(const struct msghdr *message)
{
    if (message->msg_control == NULL || message->msg_controllen == 0 || table_size == 0)
        return;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL;
         item = CMSG_NXTHDR((struct msghdr *)(uintptr_t)message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS ||
            item->cmsg_len < CMSG_LEN(0))
            continue;
        size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof(fd));
            table_note_shared(fd);
        }
    }
}

static ssize_t kernel_sendmsg(int fd, const struct msghdr *message, int flags)
{
    note_sent(message);
    return REAL(sendmsg)(fd, message, flags);
}

static int kernel_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    for (unsigned i = 0; i < count && i < IOV_MAX; i++)
        note_sent(&messages[i].msg_hdr);
    return REAL(sendmmsg)(fd, messages, count, flags);
}

ENTRY ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ENTER(fd, sock, kernel_sendmsg(fd, message, flags));
    return leave(sock, sock_sendmsg(sock, fd, message, flags));
}

/* Descriptors that came over a socket of the kernel's may be foyer's. */
static void adopt_received(struct msghdr *message)
{
    if (message->msg_control == NULL || message->msg_controllen == 0)
        return;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL;
         item = CMSG_NXTHDR(message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            struct stat status;
            memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof(fd));
            if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
                preload_adopt(fd);
        }
    }
}

static ssize_t kernel_recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t size = REAL(recvmsg)(fd, message, flags);
    if (size >= 0 && preload_config.is_enabled && message->msg_controllen != 0) {
        int saved_errno = errno;
        adopt_received(message);
        errno = saved_errno;
    }
    return size;
}

ENTRY ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ENTER(fd, sock, kernel_recvmsg(fd, message, flags));
    return leave(sock, sock_recvmsg(sock, fd, message, flags));
}

ENTRY int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    ENTER(fd, sock, kernel_sendmmsg(fd, messages, count, flags));
    unsigned done = 0;
    ssize_t size = 0;
    for (; done < count && done < IOV_MAX; done++) {
        size = sock_sendmsg(sock, fd, &messages[done].msg_hdr, flags);
        if (size < 0)
            break;
        messages[done].msg_len = (unsigned)size;
    }
    return (int)leave(sock, done > 0 || size >= 0 ? (ssize_t)done : size);
}

static int kernel_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                           struct timespec *timeout)
{
    int result = REAL(recvmmsg)(fd, messages, count, flags, timeout);
    if (preload_config.is_enabled) {
        for (int i = 0; i < result; i++)
            adopt_received(&messages[i].msg_hdr);
    }
    return result;
}

ENTRY int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                   struct timespec *timeout)
{
    ENTER(fd, sock, kernel_recvmmsg(fd, messages, count, flags, timeout));
    /* recvmmsg(2), BUGS: the timeout is looked at after each datagram, as the kernel does. */
    int64_t deadline = deadline_of(timeout);
    unsigned done = 0;
    ssize_t size = 0;
    int one_flags = flags & ~MSG_WAITFORONE;
    while (done < count) {
        size = sock_recvmsg(sock, fd, &messages[done].msg_hdr, one_flags);
        if (size < 0)
            break;
        messages[done++].msg_len = (unsigned)size;
        if ((flags & MSG_WAITFORONE) != 0)
            one_flags |= MSG_DONTWAIT;
        if (deadline_left_ns(deadline) == 0)
            break;
    }
    return (int)leave(sock, done > 0 || size >= 0 ? (ssize_t)done : size);
}

/* ---- files --------------------------------------------------------------------------------- */

static ssize_t send_file(int out, int in, off_t *offset, size_t size)
{
    struct socket_object *sock = table_get_socket(out);
    if (sock == NULL || table_peek(in) != NULL) {
        if (sock != NULL)
            socket_release(sock);
        errno = table_is_hidden(out) || table_is_hidden(in) ? EBADF : EINVAL;
        return -1;
    }
    ssize_t result;
    if (sock->type == SOCK_STREAM) {
        result = stream_send_file(sock, out, in, offset, size, 0);
    } else {
        /* One datagram of what the file gives, cut to what a datagram holds. */
        char bytes[16384];
        size_t part = size < sizeof(bytes) ? size : sizeof(bytes);
        result = offset != NULL ? (ssize_t)RAW(SYS_pread64, in, bytes, part, *offset)
                                : (ssize_t)RAW(SYS_read, in, bytes, part);
        if (result > 0)
            result = sock_send(sock, out, bytes, (size_t)result, 0);
        if (result > 0 && offset != NULL)
            *offset += result;
    }
    return leave(sock, result);
}

ENTRY ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    if (likely(table_peek(out) == NULL && table_peek(in) == NULL))
        return REAL(sendfile)(out, in, offset, size);
    return send_file(out, in, offset, size);
}

/* ---- other names of the same --------------------------------------------------------------- */

_Static_assert(sizeof(off_t) == 8, "the 64-bit names have the same types");

ENTRY ssize_t sendfile64(int out, int in, off64_t *offset, size_t size)
{
    return sendfile(out, in, offset, size);
}

ENTRY ssize_t pread64(int fd, void *bytes, size_t size, off64_t offset)
{
    return pread(fd, bytes, size, offset);
}

ENTRY ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

ENTRY ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    return preadv(fd, iov, count, offset);
}

ENTRY ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    return pwritev(fd, iov, count, offset);
}

/* _FORTIFY_SOURCE; the checks are libc's and end the program. */
extern void __chk_fail(void) __attribute__((noreturn));
ssize_t __read_chk(int fd, void *bytes, size_t size, size_t capacity);
ssize_t __recv_chk(int fd, void *bytes, size_t size, size_t capacity, int flags);
ssize_t __recvfrom_chk(int fd, void *bytes, size_t size, size_t capacity, int flags,
                       __SOCKADDR_ARG addr, socklen_t *io_addr_size);

ENTRY ssize_t __read_chk(int fd, void *bytes, size_t size, size_t capacity)
{
    if (size > capacity)
        __chk_fail();
    return read(fd, bytes, size);
}

ENTRY ssize_t __recv_chk(int fd, void *bytes, size_t size, size_t capacity, int flags)
{
    if (size > capacity)
        __chk_fail();
    return recv(fd, bytes, size, flags);
}

ENTRY ssize_t __recvfrom_chk(int fd, void *bytes, size_t size, size_t capacity, int flags,
                             __SOCKADDR_ARG addr, socklen_t *io_addr_size)
{
    if (size > capacity)
        __chk_fail();
    return recvfrom(fd, bytes, size, flags, addr, io_addr_size);
}
