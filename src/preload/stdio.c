/*
 * stdio on a socket. libc's streams read and write by system call, past this module's entry
 * points, and close the same way; so a stream on a foyer socket is one of libc's custom streams
 * (fopencookie) whose functions are ours.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/real.h"

/* Which streams are ours, for fileno. Few programs have more than a handful. */
#define STREAMS_MAX 1024u

static struct {
    _Atomic(FILE *) stream;
    _Atomic int fd;
} streams[STREAMS_MAX];

static ssize_t cookie_read(void *cookie, char *bytes, size_t size)
{
    return read((int)(intptr_t)cookie, bytes, size);
}

static ssize_t cookie_write(void *cookie, const char *bytes, size_t size)
{
    ssize_t result = write((int)(intptr_t)cookie, bytes, size);
    return result < 0 ? 0 : result; /* fopencookie(3): 0 is the error */
}

static int cookie_close(void *cookie)
{
    int fd = (int)(intptr_t)cookie;
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        if (atomic_load(&streams[i].stream) != NULL && atomic_load(&streams[i].fd) == fd)
            atomic_store(&streams[i].stream, NULL);
    }
    return close(fd);
}

static FILE *open_stream(int fd, const char *mode)
{
    const cookie_io_functions_t functions = {
        .read = cookie_read, .write = cookie_write, .close = cookie_close};
    FILE *stream = fopencookie((void *)(intptr_t)fd, mode, functions);
    for (unsigned i = 0; stream != NULL && i < STREAMS_MAX; i++) {
        FILE *none = NULL;
        if (atomic_compare_exchange_strong(&streams[i].stream, &none, stream)) {
            atomic_store(&streams[i].fd, fd);
            break;
        }
    }
    return stream;
}

ENTRY FILE *fdopen(int fd, const char *mode)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(fdopen)(fd, mode);
    if (table_is_hidden(fd)) {
        errno = EBADF;
        return NULL;
    }
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return REAL(fdopen)(fd, mode);
    socket_release(sock);
    return open_stream(fd, mode);
}

static int stream_fd(FILE *stream)
{
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        if (atomic_load_explicit(&streams[i].stream, memory_order_relaxed) == stream)
            return atomic_load(&streams[i].fd);
    }
    return -1;
}

ENTRY int fileno(FILE *stream)
{
    int fd = REAL(fileno)(stream);
    if (fd < 0 && preload_config.is_enabled) {
        int saved_errno = errno;
        fd = stream_fd(stream);
        errno = fd < 0 ? saved_errno : errno;
    }
    return fd;
}

ENTRY int fileno_unlocked(FILE *stream)
{
    return fileno(stream);
}

/*
 * A program that was started with a socket as its standard input or output (inetd, a shell's
 * pipe to a server): libc's streams are variables, and may be exchanged before main begins.
 */
void stdio_init(void)
{
    FILE *stream;
    if (table_peek(0) != NULL && (stream = open_stream(0, "r")) != NULL)
        stdin = stream;
    if (table_peek(1) != NULL && (stream = open_stream(1, "w")) != NULL)
        stdout = stream;
    if (table_peek(2) != NULL && (stream = open_stream(2, "w")) != NULL) {
        setvbuf(stream, NULL, _IONBF, 0);
        stderr = stream;
    }
}
