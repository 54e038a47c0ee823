/*
 * The filter. It looks at numbers and arguments only, so it cannot tell foyer's descriptors from
 * others: calls on other sockets are handed over too, and continued by the supervisor.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervise/supervise.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define FOREIGN_SOCKET 359 /* i386 */
#define FOREIGN_SOCKETCALL 102
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#define FOREIGN_SOCKET 281 /* arm */
#define FOREIGN_SOCKETCALL 102
#else
/* cppcheck-suppress preprocessorErrorDirective; it is told of no architecture */
#error "say here what seccomp calls this architecture"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* Both halves of a pointer argument; byte order does not matter for a test against 0. */
#define LOAD_ARGUMENT_HALF(i, half)                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                                             \
             (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (i) + 4 * (half)))
#define LOAD_ARGUMENT(i)                                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS,                                                             \
             (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (i) +                            \
                        (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0)))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (uint32_t)(error))
/* The next statement is for this value; else the one after it. */
#define IF(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, 1)
#define HAND_OVER(number) IF(number), RETURN(SECCOMP_RET_USER_NOTIF)
/* The call is not this one: skip the count statements that follow. */
#define UNLESS_SKIP(number, count) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, (count))

/* The fifth argument of sendto and recvfrom. */
#define HAND_OVER_WITH_ADDRESS(number)                                                             \
    UNLESS_SKIP(number, 6), LOAD_ARGUMENT_HALF(4, 0),                                              \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2), LOAD_ARGUMENT_HALF(4, 1),                    \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), RETURN(SECCOMP_RET_USER_NOTIF),              \
        RETURN(SECCOMP_RET_ALLOW)

static struct sock_filter program[] = {
    LOAD(arch),
    /*
     * Another instruction set, such as i386 on x86-64, has other numbers. What would open a socket
     * of the machine's network is refused, the rest is let through.
     */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 11, 0),
    LOAD(nr),
    UNLESS_SKIP(FOREIGN_SOCKET, 5),
    LOAD_ARGUMENT(0),
    IF(AF_INET),
    REFUSE(EAFNOSUPPORT),
    IF(AF_INET6),
    REFUSE(EAFNOSUPPORT),
    LOAD(nr),
    IF(FOREIGN_SOCKETCALL), /* its arguments are in memory, so whatever it opens */
    REFUSE(EAFNOSUPPORT),
    RETURN(SECCOMP_RET_ALLOW),

    LOAD(nr),
#ifdef __x86_64__
    /* x32 numbers */
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
    REFUSE(ENOSYS),
#endif
    UNLESS_SKIP(SYS_socket, 6),
    LOAD_ARGUMENT(0),
    IF(AF_INET),
    RETURN(SECCOMP_RET_USER_NOTIF),
    IF(AF_INET6),
    RETURN(SECCOMP_RET_USER_NOTIF),
    RETURN(SECCOMP_RET_ALLOW),
    /* Without an address these are what read and write are. */
    HAND_OVER_WITH_ADDRESS(SYS_sendto),
    HAND_OVER_WITH_ADDRESS(SYS_recvfrom),
    HAND_OVER(SYS_bind),
    HAND_OVER(SYS_connect),
    HAND_OVER(SYS_listen),
    HAND_OVER(SYS_accept),
    HAND_OVER(SYS_accept4),
    HAND_OVER(SYS_getsockname),
    HAND_OVER(SYS_getpeername),
    HAND_OVER(SYS_getsockopt),
    HAND_OVER(SYS_setsockopt),
    HAND_OVER(SYS_shutdown),
    HAND_OVER(SYS_sendmsg),
    HAND_OVER(SYS_recvmsg),
    HAND_OVER(SYS_sendmmsg),
    HAND_OVER(SYS_recvmmsg),
    /* It would act on descriptors without any of the calls above. */
    IF(SYS_io_uring_setup),
    REFUSE(ENOSYS),
    RETURN(SECCOMP_RET_ALLOW),
};

int filter_install(void)
{
    struct sock_fprog loaded = {sizeof(program) / sizeof(program[0]), program};
    long fd =
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &loaded);
    if (fd < 0 && errno == EACCES) {
        /* Not privileged: then nothing below may gain rights, says seccomp(2). */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            return -errno;
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                     &loaded);
    }
    return fd < 0 ? -errno : (int)fd;
}
