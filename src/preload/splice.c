/*
 * splice() between a stream and a pipe. The bytes are copied; what the call promises is kept: nothing
 * is lost where one side takes less than the other one gives.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "preload/raw.h"
#include "preload/real.h"

#define SPLICE_FLAGS ((unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))

static bool is_pipe(int fd)
{
    struct stat facts;
    return table_peek(fd) == NULL && REAL(fstat)(fd, &facts) == 0 && S_ISFIFO(facts.st_mode);
}

/* The pipe's end is readable or writable, or says why not when it is used. 0, -EAGAIN, -EINTR. */
static int await_pipe(int fd, short events, unsigned flags)
{
    struct pollfd item = {.fd = fd, .events = events};
    bool is_nonblocking =
        (flags & SPLICE_F_NONBLOCK) != 0 || (raw_fcntl(fd, F_GETFL, 0) & O_NONBLOCK) != 0;
    int count = REAL(poll)(&item, 1, is_nonblocking ? 0 : -1);
    if (count < 0)
        return -errno;
    return count == 0 ? -EAGAIN : 0;
}

static int bytes_in(int pipe)
{
    int count = 0;
    return RAW(SYS_ioctl, pipe, FIONREAD, &count) < 0 ? 0 : count;
}

/* What is in the pipe is there: reading it into the stream's ring does not wait. */
static ssize_t from_pipe(int pipe, struct socket_object *sock, int fd, size_t size, unsigned flags)
{
    int error = await_pipe(pipe, POLLIN, flags);
    if (error < 0)
        return error;
    size_t count = (size_t)bytes_in(pipe);
    if (count == 0)
        return 0; /* and no writer */
    return stream_send_file(sock, fd, pipe, NULL, count < size ? count : size,
                            (flags & SPLICE_F_NONBLOCK) != 0 ? MSG_DONTWAIT : 0);
}

/* pipe(7): what a pipe takes without waiting, once it is writable, unless others write to it, too. */
static size_t room_in(int pipe)
{
    int size = raw_fcntl(pipe, F_GETPIPE_SZ, 0);
    return bytes_in(pipe) == 0 && size > 0 ? (size_t)size : PIPE_BUF;
}

/* First a look, then what the pipe has taken is taken from the stream. */
static ssize_t to_pipe(struct socket_object *sock, int fd, int pipe, size_t size, unsigned flags)
{
    char bytes[16384];
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    int error = await_pipe(pipe, POLLOUT, flags);
    if (error < 0)
        return error;
    size_t room = room_in(pipe);
    iov.iov_len = iov.iov_len < room ? iov.iov_len : room;
    iov.iov_len = iov.iov_len < size ? iov.iov_len : size;
    ssize_t result = stream_recv(sock, fd, &iov, 1, MSG_PEEK);
    if (result <= 0)
        return result;
    result = (ssize_t)RAW(SYS_write, pipe, bytes, (size_t)result);
    if (result <= 0)
        return result;
    iov.iov_len = (size_t)result;
    return stream_recv(sock, fd, &iov, 1, MSG_DONTWAIT);
}

static ssize_t splice_stream(int in, int out, size_t size, unsigned flags)
{
    bool is_from_pipe = table_peek(in) == NULL;
    int fd = is_from_pipe ? out : in, pipe = is_from_pipe ? in : out;
    struct socket_object *sock = table_get_socket(fd);
    ssize_t result = -EINVAL;
    if (sock == NULL)
        return table_is_hidden(fd) ? -EBADF : -EINVAL;
    if (sock->type == SOCK_STREAM && is_pipe(pipe))
        result = is_from_pipe ? from_pipe(pipe, sock, fd, size, flags)
                              : to_pipe(sock, fd, pipe, size, flags);
    socket_release(sock);
    return result;
}

ENTRY ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t size,
                     unsigned flags)
{
    if (likely(table_peek(out) == NULL && table_peek(in) == NULL))
        return REAL(splice)(in, in_offset, out, out_offset, size, flags);
    if (size == 0)
        return 0;
    if ((flags & ~SPLICE_FLAGS) != 0 || in_offset != NULL || out_offset != NULL)
        return result_size(-EINVAL);
    return result_size(splice_stream(in, out, size, flags));
}
