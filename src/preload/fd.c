/* Calls on descriptors as such: close and its kin, dup, fcntl, ioctl. Limits on their number. */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <linux/close_range.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>

#include "preload/raw.h"
#include "preload/real.h"

/* ---- close --------------------------------------------------------------------------------- */

ENTRY int close(int fd)
{
    if (unlikely(table_peek(fd) != NULL)) {
        if (table_is_hidden(fd))
            return result_int(-EBADF);
        socket_linger(fd);
        table_clear(fd);
    }
    return REAL(close)(fd);
}

/* The runs between hidden descriptors, so that the module's own stay. */
static int close_run(unsigned first, unsigned last, unsigned flags)
{
    unsigned end = last < table_size ? last : table_size - 1;
    unsigned at = first;
    while (at <= end) {
        unsigned stop = at;
        while (stop <= end && !table_is_hidden((int)stop))
            stop++;
        if (stop > at) {
            if ((flags & CLOSE_RANGE_CLOEXEC) == 0) {
                for (unsigned fd = at; fd < stop; fd++)
                    table_clear((int)fd);
            }
            int error = (int)RAW(SYS_close_range, at, stop - 1, flags & CLOSE_RANGE_CLOEXEC);
            if (error < 0)
                return error;
        }
        at = stop + 1;
    }
    if (last > end && first <= last)
        return (int)RAW(SYS_close_range, first > end ? first : end + 1, last,
                        flags & CLOSE_RANGE_CLOEXEC);
    return 0;
}

ENTRY int close_range(unsigned first, unsigned last, int flags)
{
    if (table_size == 0)
        return (int)result_int((int)RAW(SYS_close_range, first, last, flags));
    if (first > last)
        return result_int(-EINVAL);
    if (((unsigned)flags & CLOSE_RANGE_UNSHARE) != 0) {
        /* An empty range does only the unsharing. */
        int error = (int)RAW(SYS_close_range, ~0u - 1, ~0u - 1, CLOSE_RANGE_UNSHARE);
        if (error < 0)
            return result_int(error);
    }
    return result_int(close_run(first, last, (unsigned)flags));
}

ENTRY void closefrom(int first)
{
    close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

/* ---- dup ----------------------------------------------------------------------------------- */

/* After the kernel has made `copy` of fd. */
static int duplicated(int fd, int copy)
{
    if (copy < 0 || copy == fd)
        return copy;
    struct object *object = table_get(fd);
    table_replace(copy, object);
    if (object != NULL)
        object_release(object);
    return copy;
}

ENTRY int dup(int fd)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(dup)(fd);
    if (table_is_hidden(fd))
        return result_int(-EBADF);
    return duplicated(fd, REAL(dup)(fd));
}

ENTRY int dup2(int fd, int copy)
{
    if (likely(table_peek(fd) == NULL && table_peek(copy) == NULL))
        return REAL(dup2)(fd, copy);
    if (table_is_hidden(fd) || table_is_hidden(copy))
        return result_int(-EBADF);
    return duplicated(fd, REAL(dup2)(fd, copy));
}

ENTRY int dup3(int fd, int copy, int flags)
{
    if (likely(table_peek(fd) == NULL && table_peek(copy) == NULL))
        return REAL(dup3)(fd, copy, flags);
    if (table_is_hidden(fd) || table_is_hidden(copy))
        return result_int(-EBADF);
    return duplicated(fd, REAL(dup3)(fd, copy, flags));
}

/* ---- fcntl --------------------------------------------------------------------------------- */

static int fcntl_foyer(int fd, int command, void *argument)
{
    long number = (long)(intptr_t)argument;
    struct socket_object *sock;
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return duplicated(fd, REAL(fcntl)(fd, command, argument));
    case F_SETOWN:
    case F_SETOWN_EX:
    case F_SETSIG:
        table_note_shared(fd); /* what the next connection must not have */
        return REAL(fcntl)(fd, command, argument);
    case F_SETFL:
        if ((number & O_ASYNC) != 0)
            table_note_shared(fd);
        sock = table_get_socket(fd);
        if (sock != NULL) {
            if ((number & O_NONBLOCK) != 0)
                atomic_fetch_or(&sock->slot->options, FOYER_SLOT_NONBLOCK);
            else
                atomic_fetch_and(&sock->slot->options, ~(uint32_t)FOYER_SLOT_NONBLOCK);
            socket_release(sock);
        }
        return REAL(fcntl)(fd, command, argument);
    default:
        return REAL(fcntl)(fd, command, argument);
    }
}

/* For programs that look which descriptors are open. */
ENTRY int fstat(int fd, struct stat *status)
{
    return unlikely(table_is_hidden(fd)) ? result_int(-EBADF) : REAL(fstat)(fd, status);
}

ENTRY int fstat64(int fd, struct stat64 *status)
{
    return unlikely(table_is_hidden(fd)) ? result_int(-EBADF) : REAL(fstat64)(fd, status);
}

ENTRY int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (likely(table_peek(fd) == NULL))
        return REAL(fcntl)(fd, command, argument);
    if (table_is_hidden(fd))
        return result_int(-EBADF);
    return fcntl_foyer(fd, command, argument);
}

ENTRY int fcntl64(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(fd, command, argument);
}

/* ---- ioctl --------------------------------------------------------------------------------- */

static int queue_size(const struct foyer_ring *ring)
{
    uint32_t used = foyer_ring_used(ring);
    return used == UINT32_MAX ? 0 : (int)used;
}

static int readable_size(const struct socket_object *sock, const struct channel *channel)
{
    uint32_t used = (uint32_t)queue_size(&channel->rx);
    return (int)(urgent_was_seen(&channel->rx) ? urgent_readable(sock, channel, used) : used);
}

/* udp(7): the size of the next datagram, 0 for none. */
static int next_datagram_size(struct socket_object *sock, int fd, const struct foyer_ring *ring)
{
    struct foyer_datagram_header header;
    int direct_size = direct_next_size(sock, fd, ring);
    if (direct_size >= 0)
        return direct_size;
    uint32_t used = foyer_ring_used(ring);
    if (used == UINT32_MAX || used < sizeof(header))
        return 0;
    foyer_ring_get(ring, foyer_ring_tail(ring), &header, sizeof(header));
    return header.payload_size < ring->size ? (int)header.payload_size : 0;
}

/* True: handled. */
static bool ioctl_foyer(struct socket_object *sock, int fd, unsigned long command, void *argument,
                        int *ret_result)
{
    int *value = argument;
    struct channel *channel;
    *ret_result = 0;
    switch (command) {
    case FIOASYNC:
    case FIOSETOWN:
    case SIOCSPGRP:
        table_note_shared(fd); /* as F_SETOWN above */
        return false;
    case FIONBIO:
        socket_set_nonblocking(sock, fd, *value != 0);
        return true;
    case FIONREAD: /* SIOCINQ */
        if (slot_state(sock) == FOYER_SLOT_LISTENING) {
            *ret_result = -EINVAL;
            return true;
        }
        channel = socket_channel(sock, fd);
        *value = channel == NULL            ? 0
                 : sock->type == SOCK_DGRAM ? next_datagram_size(sock, fd, &channel->rx)
                                            : readable_size(sock, channel);
        return true;
    case SIOCOUTQ: /* TIOCOUTQ */
    case SIOCOUTQNSD:
        if (slot_state(sock) == FOYER_SLOT_LISTENING) {
            *ret_result = -EINVAL;
            return true;
        }
        channel = socket_channel(sock, fd);
        *value = channel == NULL ? 0 : queue_size(&channel->tx);
        return true;
    case SIOCATMARK:
        channel = slot_state(sock) == FOYER_SLOT_CONNECTED ? socket_channel(sock, fd) : NULL;
        *value = channel != NULL && urgent_is_at_mark(sock, channel);
        return true;
    default:
        return false; /* interfaces and the like: the kernel answers on any socket */
    }
}

ENTRY int ioctl(int fd, unsigned long command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (likely(table_peek(fd) == NULL))
        return REAL(ioctl)(fd, command, argument);
    if (table_is_hidden(fd))
        return result_int(-EBADF);
    struct socket_object *sock = table_get_socket(fd);
    int result = 0;
    bool is_handled = sock != NULL && ioctl_foyer(sock, fd, command, argument, &result);
    if (sock != NULL)
        socket_release(sock);
    return is_handled ? result_int(result) : REAL(ioctl)(fd, command, argument);
}

/* ---- how many ------------------------------------------------------------------------------ */

/*
 * What the program asks for is noted, and the kernel hears of it at exec (process.c). Until then
 * its limit leaves room for the hidden descriptors, also where the program lowers the hard one, as
 * memcached does. A limit of nearly nothing is a sandbox's and means just that.
 */
#define SANDBOX_NOFILE 4u

static int set_limit(const struct rlimit *limit)
{
    struct rlimit real;
    if (limit->rlim_cur > limit->rlim_max)
        return -EINVAL;
    real.rlim_max = limit->rlim_max;
    if (real.rlim_max < preload_config.real_nofile && real.rlim_max > SANDBOX_NOFILE)
        real.rlim_max = preload_config.real_nofile;
    /* Raising the limit that it lowered itself is as impossible as it would be. */
    if (limit->rlim_max > preload_config.program_nofile.rlim_max &&
        limit->rlim_max <= preload_config.real_nofile && RAW(SYS_geteuid) != 0)
        return -EPERM;
    real.rlim_cur = real.rlim_max;
    int error = (int)RAW(SYS_prlimit64, 0, RLIMIT_NOFILE, &real, NULL);
    if (error < 0)
        return error;
    preload_config.program_nofile = *limit;
    return 0;
}

ENTRY int getrlimit(__rlimit_resource_t resource, struct rlimit *ret_limit)
{
    if (resource != RLIMIT_NOFILE || !preload_config.is_enabled)
        return REAL(getrlimit)(resource, ret_limit);
    *ret_limit = preload_config.program_nofile;
    return 0;
}

ENTRY int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    if (resource != RLIMIT_NOFILE || !preload_config.is_enabled)
        return REAL(setrlimit)(resource, limit);
    return result_int(set_limit(limit));
}

ENTRY int prlimit(__pid_t pid, enum __rlimit_resource resource, const struct rlimit *limit,
                  struct rlimit *ret_old)
{
    if (resource != RLIMIT_NOFILE || !preload_config.is_enabled ||
        (pid != 0 && pid != (pid_t)RAW(SYS_getpid)))
        return REAL(prlimit)(pid, resource, limit, ret_old);
    struct rlimit old = preload_config.program_nofile;
    int error = limit == NULL ? 0 : set_limit(limit);
    if (error == 0 && ret_old != NULL)
        *ret_old = old;
    return result_int(error);
}

ENTRY int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *ret_limit)
{
    return getrlimit(resource, (struct rlimit *)ret_limit);
}

ENTRY int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    return setrlimit(resource, (const struct rlimit *)limit);
}

ENTRY int prlimit64(__pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *limit,
                    struct rlimit64 *ret_old)
{
    return prlimit(pid, resource, (const struct rlimit *)limit, (struct rlimit *)ret_old);
}

_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "one type, two names");

ENTRY long sysconf(int name)
{
    if (name != _SC_OPEN_MAX || !preload_config.is_enabled)
        return REAL(sysconf)(name);
    return (long)preload_config.program_nofile.rlim_cur;
}

ENTRY int getdtablesize(void)
{
    if (!preload_config.is_enabled)
        return REAL(getdtablesize)();
    return (int)preload_config.program_nofile.rlim_cur;
}
