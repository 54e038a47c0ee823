/* Bytes between a socket of libfoyer and a descriptor of the process: sendfile, splice. */
#include "adapter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PD_FILE_MAX (1u << 20) /* of one call */

static ssize_t negative_errno(ssize_t result)
{
    return result < 0 ? -errno : result;
}

ssize_t pd_sendfile(struct pd *pd, int fd, int file, off_t *io_offset, size_t count)
{
    size_t size = count < PD_FILE_MAX ? count : PD_FILE_MAX;
    void *bytes = malloc(size + 1);

    if (bytes == NULL)
        return -ENOMEM;
    off_t start = io_offset != NULL ? *io_offset : lseek(file, 0, SEEK_CUR);
    ssize_t got = negative_errno(pread(file, bytes, size, start));
    if (got > 0) {
        struct iovec part = {bytes, (size_t)got};
        struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
        got = pd_send(pd, fd, &msg, 0);
    }
    free(bytes);
    if (got > 0 && io_offset != NULL)
        *io_offset += got;
    else if (got > 0)
        (void)lseek(file, start + got, SEEK_SET);
    return got;
}

ssize_t pd_splice(struct pd *pd, int fd, int pipe_fd, size_t size, unsigned flags)
{
    size_t wanted = size < PD_FILE_MAX ? size : PD_FILE_MAX;
    uint8_t *bytes = malloc(wanted + 1);
    struct iovec part = {bytes, wanted};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

    if (bytes == NULL)
        return -ENOMEM;
    /* Only what the pipe takes may be read: what was read is the caller's. */
    int room = fcntl(pipe_fd, F_GETPIPE_SZ);
    if (room >= 0 && (size_t)room < part.iov_len)
        part.iov_len = (size_t)room;
    /* Linux's splice does not wait before the urgent byte, nor pass it. */
    const struct pd_socket *socket = pd_socket_get(pd, fd);
    uint32_t before_urgent;
    if (socket != NULL && !socket->is_epoll &&
        foyer_socket_urgent_mark(pd->host, socket->handle, &before_urgent) == 0 &&
        before_urgent == 0)
        wanted = part.iov_len = 0;
    ssize_t got =
        wanted == 0 ? 0
                    : pd_receive(pd, fd, &msg, (flags & SPLICE_F_NONBLOCK) != 0 ? MSG_DONTWAIT : 0);
    if (got > 0)
        got = negative_errno(write(pipe_fd, bytes, (size_t)got));
    free(bytes);
    return got;
}
