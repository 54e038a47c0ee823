/*
 * System calls by number, for the module's own needs: libc's symbols of the same names are the
 * module's entry points and would take a hidden descriptor for one of the program's. They are no
 * cancellation points, and they answer with a negative errno value. errno itself may be clobbered.
 */
#ifndef FOYER_PRELOAD_RAW_H
#define FOYER_PRELOAD_RAW_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "preload/real.h"

/* syscall() sets errno on failure only; what a caller of ours sees there is set by our wrappers. */
#define RAW(...)                                                                                   \
    ({                                                                                             \
        long raw_result = REAL(syscall)(__VA_ARGS__);                                              \
        raw_result < 0 ? -(long)errno : raw_result;                                                \
    })

static inline int raw_close(int fd)
{
    return (int)RAW(SYS_close, fd);
}

static inline int raw_fcntl(int fd, int command, long argument)
{
    return (int)RAW(SYS_fcntl, fd, command, argument);
}

static inline ssize_t raw_send(int fd, const void *bytes, size_t size, int flags)
{
    return (ssize_t)RAW(SYS_sendto, fd, bytes, size, flags, NULL, 0);
}

static inline ssize_t raw_recv(int fd, void *bytes, size_t size, int flags)
{
    return (ssize_t)RAW(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
}

/* timeout NULL: for ever. The kernel writes the remaining time there. */
static inline int raw_ppoll(struct pollfd *fds, nfds_t count, struct timespec *timeout)
{
    return (int)RAW(SYS_ppoll, fds, count, timeout, NULL, _NSIG / 8);
}

static inline int raw_epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event)
{
    return (int)RAW(SYS_epoll_ctl, epfd, operation, fd, event);
}

static inline void raw_sigmask(int how, const sigset_t *set, sigset_t *ret_old)
{
    RAW(SYS_rt_sigprocmask, how, set, ret_old, _NSIG / 8);
}

#endif
