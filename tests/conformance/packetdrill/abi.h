/*
 * The table by which packetdrill (https://github.com/google/packetdrill) drives a stack that is a
 * shared object, written down from its behaviour: member order, arguments and results are fixed
 * by the program that fills and calls it, everything else here is ours.
 *
 * packetdrill opens the object, calls packetdrill_interface_init(flags, table) once, then calls
 * the members. Each gets `self`, the table's first member, which is ours to set. The calls named
 * after a system call answer as that does: -1 and errno, or a result.
 *
 * Two threads call. One runs the script. The other makes those calls that the script expects to
 * block, one at a time: it waits for the moment of the call by the clock, makes it, and reads the
 * clock once when it returns. The first goes on as soon as the other sleeps or is done.
 */
#ifndef FOYER_TESTS_PACKETDRILL_ABI_H
#define FOYER_TESTS_PACKETDRILL_ABI_H

#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>

struct pd_table {
    void *self;
    void (*release)(void *self);

    /* Making and naming sockets. */
    int (*open_socket)(void *self, int domain, int type, int protocol);
    int (*bind)(void *self, int fd, const struct sockaddr *addr, socklen_t addr_size);
    int (*listen)(void *self, int fd, int backlog);
    int (*accept)(void *self, int fd, struct sockaddr *ret_addr, socklen_t *io_size);
    int (*connect)(void *self, int fd, const struct sockaddr *addr, socklen_t addr_size);

    /* Bytes in. */
    ssize_t (*read)(void *self, int fd, void *to, size_t size);
    ssize_t (*readv)(void *self, int fd, const struct iovec *parts, int count);
    ssize_t (*recv)(void *self, int fd, void *to, size_t size, int flags);
    ssize_t (*recvfrom)(void *self, int fd, void *to, size_t size, int flags,
                        struct sockaddr *ret_addr, socklen_t *io_size);
    ssize_t (*recvmsg)(void *self, int fd, struct msghdr *msg, int flags);

    /* Bytes out. */
    ssize_t (*write)(void *self, int fd, const void *from, size_t size);
    ssize_t (*writev)(void *self, int fd, const struct iovec *parts, int count);
    ssize_t (*send)(void *self, int fd, const void *from, size_t size, int flags);
    ssize_t (*sendto)(void *self, int fd, const void *from, size_t size, int flags,
                      const struct sockaddr *addr, socklen_t addr_size);
    ssize_t (*sendmsg)(void *self, int fd, const struct msghdr *msg, int flags);

    /* The rest of a socket's life. */
    int (*fcntl)(void *self, int fd, int command, ...);
    int (*ioctl)(void *self, int fd, unsigned long request, ...);
    int (*close)(void *self, int fd);
    int (*shutdown)(void *self, int fd, int how);
    int (*getsockopt)(void *self, int fd, int level, int name, void *ret_value, socklen_t *io_size);
    int (*setsockopt)(void *self, int fd, int level, int name, const void *value, socklen_t size);
    int (*poll)(void *self, struct pollfd *fds, nfds_t count, int timeout_ms);

    /* An IP packet to the stack: 0 or -1. */
    int (*packet_to_stack)(void *self, const void *bytes, size_t size);
    /*
     * The stack's next IP packet. *io_size holds the buffer's size, then the packet's; *ret_us is
     * when it left. 0; anything else makes packetdrill ask again at once, without end.
     */
    int (*packet_from_stack)(void *self, void *bytes, size_t *io_size, long long *ret_us);

    /* The clock. It must move at each reading: packetdrill waits by reading it. */
    int (*usleep)(void *self, unsigned us);
    int (*gettimeofday)(void *self, struct timeval *ret_now, struct timezone *unused);

    int (*epoll_create)(void *self, int size);
    int (*epoll_ctl)(void *self, int epoll_fd, int operation, int fd, struct epoll_event *event);
    int (*epoll_wait)(void *self, int epoll_fd, struct epoll_event *events, int max,
                      int timeout_ms);
    int (*pipe)(void *self, int fds[2]);
    int (*splice)(void *self, int fd_in, loff_t *offset_in, int fd_out, loff_t *offset_out,
                  size_t size, unsigned flags);
};

#endif
