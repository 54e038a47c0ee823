#include "ipc/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* MemorySanitizer sees libc's calls, but not what syscall() fills in. */
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define FILLED_BY_KERNEL(memory, size) __msan_unpoison((memory), (size))
#endif
#endif
#ifndef FILLED_BY_KERNEL
#define FILLED_BY_KERNEL(memory, size) ((void)0)
#endif

union control {
    struct cmsghdr header; /* aligns the bytes */
    char bytes[CMSG_SPACE(sizeof(int) * FOYER_MESSAGE_FDS_MAX)];
};

static void close_raw(int fd)
{
    syscall(SYS_close, fd);
}

static void prepare(struct msghdr *message, struct iovec *iov, const void *bytes, size_t size)
{
    memset(message, 0, sizeof(*message));
    iov->iov_base = (void *)(uintptr_t)bytes;
    iov->iov_len = size;
    message->msg_iov = iov;
    message->msg_iovlen = 1;
}

ssize_t message_send(int sock, const void *bytes, size_t size, const struct message_fds *fds,
                     int flags)
{
    struct msghdr message;
    struct iovec iov;
    union control control;
    prepare(&message, &iov, bytes, size);
    if (fds != NULL && fds->count > 0) {
        if (fds->count > FOYER_MESSAGE_FDS_MAX)
            return -EINVAL;
        size_t fds_size = sizeof(int) * fds->count;
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fds_size);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds_size);
        memcpy(CMSG_DATA(header), fds->fds, fds_size);
    }
    for (;;) {
        long sent = syscall(SYS_sendmsg, sock, &message, flags | MSG_NOSIGNAL);
        if (sent >= 0)
            return (ssize_t)sent;
        if (errno != EINTR)
            return -errno;
    }
}

/* Sorts out the descriptors of a received message; closes those that are not wanted. */
static void collect_fds(struct msghdr *message, struct message_fds *fds)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
            if (fds->count < FOYER_MESSAGE_FDS_MAX)
                fds->fds[fds->count++] = fd;
            else
                close_raw(fd);
        }
    }
}

ssize_t message_receive(int sock, void *bytes, size_t capacity, struct message_fds *ret_fds,
                        int flags)
{
    struct msghdr message;
    struct iovec iov;
    union control control;
    struct message_fds fds = {.count = 0};
    long received;
    do {
        prepare(&message, &iov, bytes, capacity);
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        received = syscall(SYS_recvmsg, sock, &message, flags | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0)
        return -errno;
    FILLED_BY_KERNEL(control.bytes, message.msg_controllen);
    FILLED_BY_KERNEL(bytes, (size_t)received < capacity ? (size_t)received : capacity);
    collect_fds(&message, &fds);
    if ((message.msg_flags & MSG_TRUNC) != 0) {
        message_fds_close(&fds);
        return -EMSGSIZE;
    }
    if (ret_fds != NULL)
        *ret_fds = fds;
    else
        message_fds_close(&fds);
    return (ssize_t)received;
}

void message_fds_close(struct message_fds *fds)
{
    for (unsigned i = 0; i < fds->count; i++) {
        if (fds->fds[i] >= 0)
            close_raw(fds->fds[i]);
    }
    fds->count = 0;
}

int message_fds_take(struct message_fds *fds, unsigned index)
{
    if (index >= fds->count)
        return -1;
    int fd = fds->fds[index];
    fds->fds[index] = -1;
    return fd;
}

int message_connect(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(socket_path);
    if (size == 0 || size >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, socket_path, size + 1);
    int sock = (int)syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -errno;
    while (syscall(SYS_connect, sock, &address, sizeof(address)) != 0) {
        if (errno == EINTR)
            continue;
        int error = -errno;
        close_raw(sock);
        return error;
    }
    return sock;
}

ssize_t message_call(int sock, const void *request, size_t request_size,
                     const struct message_fds *request_fds, void *ret_reply, size_t capacity,
                     struct message_fds *ret_fds)
{
    ssize_t result = message_send(sock, request, request_size, request_fds, 0);
    if (result < 0)
        return result == -ECONNRESET ? -EPIPE : result;
    struct message_fds fds = {.count = 0};
    result = message_receive(sock, ret_reply, capacity, &fds, 0);
    if (result == 0 || result == -ECONNRESET)
        return -EPIPE;
    if (result < 0)
        return result;
    struct foyer_reply reply;
    uint32_t type;
    memcpy(&type, request, sizeof(type));
    if ((size_t)result >= sizeof(reply))
        memcpy(&reply, ret_reply, sizeof(reply));
    if ((size_t)result < sizeof(reply) || reply.type != type) {
        message_fds_close(&fds);
        return -EPROTO;
    }
    if (ret_fds != NULL)
        *ret_fds = fds;
    else
        message_fds_close(&fds);
    return result;
}
