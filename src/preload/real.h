/*
 * The next definitions of the functions that this module stands in front of: libc's, or those of
 * another preloaded module. Resolved once; REAL(f) works before the module's constructor has run,
 * since other libraries' constructors may call us earlier.
 */
#ifndef FOYER_PRELOAD_REAL_H
#define FOYER_PRELOAD_REAL_H

#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

/* clang-format off */
#define REAL_LIST(X)                                                                               \
    X(read) X(write) X(readv) X(writev) X(preadv) X(pwritev) X(pread) X(pwrite)                    \
    X(close) X(close_range) X(closefrom)                                                           \
    X(send) X(recv) X(sendto) X(recvfrom) X(sendmsg) X(recvmsg) X(sendmmsg) X(recvmmsg)            \
    X(sendfile) X(splice)                                                                          \
    X(socket) X(bind) X(listen) X(accept) X(accept4) X(connect) X(shutdown)                        \
    X(getsockname) X(getpeername) X(getsockopt) X(setsockopt)                                      \
    X(setipv4sourcefilter) X(getipv4sourcefilter) X(setsourcefilter) X(getsourcefilter)            \
    X(dup) X(dup2) X(dup3) X(fcntl) X(ioctl) X(fstat) X(fstat64)                                   \
    X(poll) X(ppoll) X(select) X(pselect)                                                          \
    X(epoll_create) X(epoll_create1) X(epoll_ctl)                                                  \
    X(epoll_wait) X(epoll_pwait) X(epoll_pwait2)                                                   \
    X(getaddrinfo) X(gethostbyname) X(gethostbyname2) X(gethostbyname_r) X(gethostbyname2_r)       \
    X(gethostbyaddr) X(gethostbyaddr_r) X(getnameinfo) X(gethostname) X(uname)                     \
    X(getifaddrs) X(freeifaddrs)                                                                   \
    X(getrlimit) X(setrlimit) X(prlimit) X(sysconf) X(getdtablesize)                               \
    X(fork) X(system) X(popen) X(execve) X(execvpe) X(fexecve) X(posix_spawn) X(posix_spawnp)                         \
    X(fdopen) X(fileno) X(syscall) X(prctl)                                                        \
    X(sigaction) X(signal) X(sysv_signal) X(sigset) X(siginterrupt)
/* clang-format on */

/* Some of them are deprecated; programs that call them go on doing so. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
struct real_functions {
#define REAL_MEMBER(name) __typeof__(&name) name;
    REAL_LIST(REAL_MEMBER)
#undef REAL_MEMBER
};
#pragma GCC diagnostic pop

extern struct real_functions real_functions;

void real_resolve(void);

#define REAL(name)                                                                                 \
    (__builtin_expect(real_functions.name != NULL, 1) ? real_functions.name                        \
                                                      : (real_resolve(), real_functions.name))

/* Entry points: what the program links against. */
#define ENTRY __attribute__((visibility("default")))

#endif
