/*
 * syscall(2) with the number of a socket call: libuv sends datagrams so (uv__sendmmsg), and with it
 * BIND's dig and named. The same entry points are behind it as behind the functions of libc.
 * Numbers that name no socket or descriptor go to the kernel. io_uring would act on a descriptor
 * past the module, so its set-up fails as on a kernel without it, and programs fall back.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "preload/raw.h"
#include "preload/real.h"

#define ARGUMENT_COUNT 6u /* as many as a system call has */

#define FD(i) ((int)argument[i])
#define INT(i) ((int)argument[i])
#define UNSIGNED(i) ((unsigned)argument[i])
#define SIZE(i) ((size_t)argument[i])
#define POINTER(i) ((void *)(uintptr_t)argument[i])

/* True: handled, the result in libc's form. */
static bool bytes_call(long number, const long argument[ARGUMENT_COUNT], long *ret_result)
{
    switch (number) {
    case SYS_read:
        *ret_result = read(FD(0), POINTER(1), SIZE(2));
        return true;
    case SYS_write:
        *ret_result = write(FD(0), POINTER(1), SIZE(2));
        return true;
    case SYS_readv:
        *ret_result = readv(FD(0), POINTER(1), INT(2));
        return true;
    case SYS_writev:
        *ret_result = writev(FD(0), POINTER(1), INT(2));
        return true;
    case SYS_sendto:
        *ret_result =
            sendto(FD(0), POINTER(1), SIZE(2), INT(3), POINTER(4), (socklen_t)argument[5]);
        return true;
    case SYS_recvfrom:
        *ret_result = recvfrom(FD(0), POINTER(1), SIZE(2), INT(3), POINTER(4), POINTER(5));
        return true;
    case SYS_sendmsg:
        *ret_result = sendmsg(FD(0), POINTER(1), INT(2));
        return true;
    case SYS_recvmsg:
        *ret_result = recvmsg(FD(0), POINTER(1), INT(2));
        return true;
    case SYS_sendmmsg:
        *ret_result = sendmmsg(FD(0), POINTER(1), UNSIGNED(2), INT(3));
        return true;
    case SYS_recvmmsg:
        *ret_result = recvmmsg(FD(0), POINTER(1), UNSIGNED(2), INT(3), POINTER(4));
        return true;
    case SYS_sendfile:
        *ret_result = sendfile(FD(0), FD(1), POINTER(2), SIZE(3));
        return true;
    case SYS_splice:
        *ret_result = splice(FD(0), POINTER(1), FD(2), POINTER(3), SIZE(4), (unsigned)argument[5]);
        return true;
    default:
        return false;
    }
}

static bool socket_call(long number, const long argument[ARGUMENT_COUNT], long *ret_result)
{
    switch (number) {
    case SYS_socket:
        *ret_result = socket(INT(0), INT(1), INT(2));
        return true;
    case SYS_bind:
        *ret_result = bind(FD(0), POINTER(1), (socklen_t)argument[2]);
        return true;
    case SYS_listen:
        *ret_result = listen(FD(0), INT(1));
        return true;
    case SYS_accept:
        *ret_result = accept(FD(0), POINTER(1), POINTER(2));
        return true;
    case SYS_accept4:
        *ret_result = accept4(FD(0), POINTER(1), POINTER(2), INT(3));
        return true;
    case SYS_connect:
        *ret_result = connect(FD(0), POINTER(1), (socklen_t)argument[2]);
        return true;
    case SYS_shutdown:
        *ret_result = shutdown(FD(0), INT(1));
        return true;
    case SYS_getsockname:
        *ret_result = getsockname(FD(0), POINTER(1), POINTER(2));
        return true;
    case SYS_getpeername:
        *ret_result = getpeername(FD(0), POINTER(1), POINTER(2));
        return true;
    case SYS_getsockopt:
        *ret_result = getsockopt(FD(0), INT(1), INT(2), POINTER(3), POINTER(4));
        return true;
    case SYS_setsockopt:
        *ret_result = setsockopt(FD(0), INT(1), INT(2), POINTER(3), (socklen_t)argument[4]);
        return true;
    default:
        return false;
    }
}

static bool descriptor_call(long number, const long argument[ARGUMENT_COUNT], long *ret_result)
{
    switch (number) {
    case SYS_close:
        *ret_result = close(FD(0));
        return true;
    case SYS_close_range:
        *ret_result = close_range(UNSIGNED(0), UNSIGNED(1), INT(2));
        return true;
    case SYS_dup:
        *ret_result = dup(FD(0));
        return true;
#ifdef SYS_dup2
    case SYS_dup2:
        *ret_result = dup2(FD(0), FD(1));
        return true;
#endif
    case SYS_dup3:
        *ret_result = dup3(FD(0), FD(1), INT(2));
        return true;
    case SYS_fcntl:
        *ret_result = fcntl(FD(0), INT(1), POINTER(2));
        return true;
    case SYS_ioctl:
        *ret_result = ioctl(FD(0), (unsigned long)argument[1], POINTER(2));
        return true;
#ifdef SYS_poll
    case SYS_poll:
        *ret_result = poll(POINTER(0), (nfds_t)argument[1], INT(2));
        return true;
#endif
    case SYS_epoll_ctl:
        *ret_result = epoll_ctl(FD(0), INT(1), FD(2), POINTER(3));
        return true;
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
        *ret_result = epoll_wait(FD(0), POINTER(1), INT(2), INT(3));
        return true;
#endif
    case SYS_epoll_pwait:
        *ret_result = epoll_pwait(FD(0), POINTER(1), INT(2), INT(3), POINTER(4));
        return true;
    case SYS_prctl:
        *ret_result = prctl(INT(0), argument[1], argument[2], argument[3], argument[4]);
        return true;
    case SYS_rt_sigaction: {
        long result = REAL(syscall)(number, argument[0], argument[1], argument[2], argument[3]);
        signal_handlers_changed();
        *ret_result = result;
        return true;
    }
    case SYS_seccomp: /* libseccomp */
        preload_config.is_sandboxed = true;
        return false;
#ifdef SYS_fork
    case SYS_fork:
    case SYS_vfork:
#endif
    case SYS_clone:
    case SYS_clone3:
        table_fork_parent(); /* whatever the flags: threads are not made so, but by libc */
        return false;
    case SYS_io_uring_setup:
        *ret_result = result_int(-ENOSYS);
        return true;
    default:
        return false;
    }
}

/* As libc's syscall() itself: arguments that the call does not have hold whatever was there. */
#define COLLECT(argument, number)                                                                  \
    long argument[ARGUMENT_COUNT];                                                                 \
    va_list arguments;                                                                             \
    va_start(arguments, number);                                                                   \
    for (unsigned i = 0; i < ARGUMENT_COUNT; i++)                                                  \
        argument[i] = va_arg(arguments, long);                                                     \
    va_end(arguments)

/* What syscall() is to src/ipc where it is part of this module: see CMakeLists.txt. */
long preload_kernel_call(long number, ...)
{
    COLLECT(argument, number);
    return REAL(syscall)(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                         argument[5]);
}

ENTRY long syscall(long number, ...)
{
    COLLECT(argument, number);
    long result;
    if (preload_config.is_enabled &&
        (bytes_call(number, argument, &result) || socket_call(number, argument, &result) ||
         descriptor_call(number, argument, &result)))
        return result;
    return REAL(syscall)(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                         argument[5]);
}
