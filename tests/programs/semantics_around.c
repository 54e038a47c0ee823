/*
 * What real programs do beside the plain calls: system calls by number (libuv), lowered limits
 * (memcached), a seccomp sandbox (sshd), addresses of interfaces (named). See semantics.h.
 */
#define _GNU_SOURCE

#include "semantics.h"

#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void stream_by_number(void)
{
    char bytes[8] = {0};
    int listening = (int)say_ok("socket", syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
    struct sockaddr_in addr = loopback(0);
    socklen_t size = sizeof(addr);
    say_ok("bind", syscall(SYS_bind, listening, &addr, size));
    say_ok("listen", syscall(SYS_listen, listening, 4));
    say_ok("getsockname", syscall(SYS_getsockname, listening, &addr, &size));
    int a = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    say_ok("connect", syscall(SYS_connect, a, &addr, size));
    int b = (int)say_ok("accept", syscall(SYS_accept4, listening, NULL, NULL, 0));
    say_result("write", syscall(SYS_write, a, "bytes", 5));
    say_result("read", syscall(SYS_read, b, bytes, sizeof(bytes)));
    say(" %s", bytes);
    say_ok("shutdown", syscall(SYS_shutdown, a, SHUT_WR));
    say_result("read", syscall(SYS_read, b, bytes, sizeof(bytes)));
    say_ok("close", syscall(SYS_close, a));
    say_ok("again", syscall(SYS_close, a));
}

static void datagrams_by_number(void)
{
    char bytes[2][8] = {{0}};
    int a = bound(SOCK_DGRAM), b = bound(SOCK_DGRAM);
    struct sockaddr_in to = name_of(b);
    struct iovec out[2] = {{(void *)(uintptr_t) "one", 3}, {(void *)(uintptr_t) "two", 3}};
    struct iovec in[2] = {{bytes[0], 7}, {bytes[1], 7}};
    struct mmsghdr messages[2], got[2];
    memset(messages, 0, sizeof(messages));
    memset(got, 0, sizeof(got));
    for (int i = 0; i < 2; i++) {
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &out[i], .msg_iovlen = 1};
        got[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1};
    }
    say_result("none", syscall(SYS_sendmmsg, a, messages, 0, 0));
    say_result("sendmmsg", syscall(SYS_sendmmsg, a, messages, 2, 0));
    say_result("recvmmsg", syscall(SYS_recvmmsg, b, got, 2, 0, NULL));
    say(" %s %s", bytes[0], bytes[1]);
}

/* Both limits to what the program needs; then new sockets, and no way back for those not root. */
static void lowered_limit(void)
{
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    int a, b;
    say_ok("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
    stream_pair(&a, &b);
    say_result("send", send(a, "x", 1, 0));
    must(getrlimit(RLIMIT_NOFILE, &limit));
    say(" cur=%ld max=%ld", (long)limit.rlim_cur, (long)limit.rlim_max);
    int last = 0, fd;
    while ((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0)
        last = fd;
    say(" last=%d", last);
    say_ok("more", fd);
}

/* Kills for what sshd's filter kills for, of what sockets might need. */
static void sandbox(void)
{
#define DENY(name)                                                                                 \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),                                         \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        DENY(sendto),
        DENY(recvfrom),
        DENY(sendmsg),
        DENY(recvmsg),
        DENY(openat),
        DENY(socketpair),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    int a, b;
    stream_pair(&a, &b);
    pid_t child = fork();
    if (child == 0) {
        char bytes[16];
        ssize_t size;
        close(a);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            _exit(1);
        while ((size = read(b, bytes, sizeof(bytes))) > 0) {
            if (poll_for(b, POLLOUT, -1) != POLLOUT || write(b, bytes, (size_t)size) != size)
                _exit(2);
        }
        _exit(size == 0 ? 3 : 4);
    }
    close(b);
    long echoed = 0;
    for (int i = 0; i < 200; i++) {
        char bytes[16];
        if (i % 50 == 0)
            wait_asleep(child, child);
        if (write(a, "question", 8) == 8)
            echoed += read(a, bytes, sizeof(bytes));
    }
    say(" echoed=%ld", echoed);
    shutdown(a, SHUT_WR);
    int status = 0;
    must(waitpid(child, &status, 0));
    say(" exit=%d signal=%d", WEXITSTATUS(status), WTERMSIG(status));
}

/* Each address can be bound, and what listens there be reached. */
static void interfaces(void)
{
    struct ifaddrs *list;
    bool has_loopback = false;
    must(getifaddrs(&list));
    for (struct ifaddrs *one = list; one != NULL; one = one->ifa_next) {
        if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET)
            continue;
        struct sockaddr_in addr;
        memcpy(&addr, one->ifa_addr, sizeof(addr));
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 1) != 0)
            fail(one->ifa_name);
        close(connected_to(fd));
        has_loopback |= addr.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
        if (one->ifa_netmask == NULL || one->ifa_netmask->sa_family != AF_INET)
            say(" no mask");
        close(fd);
    }
    freeifaddrs(list);
    say(" loopback=%d", has_loopback);
}

/* What is open is what this program has opened, for all ways to ask. */
static void open_descriptors(void)
{
    int a, b, by_fstat = 0, by_fcntl = 0, by_poll = 0, by_dup = 0;
    long size = sysconf(_SC_OPEN_MAX) < 65536 ? sysconf(_SC_OPEN_MAX) : 65536;
    stream_pair(&a, &b);
    for (int fd = 0; fd < size; fd++) {
        struct stat status;
        by_fstat += fstat(fd, &status) == 0;
        by_fcntl += fcntl(fd, F_GETFD) >= 0;
        by_poll += poll_for(fd, 0, 0) != POLLNVAL;
        int copy = dup(fd);
        if (copy >= 0) {
            by_dup++;
            close(copy);
        }
    }
    say(" same=%d,%d,%d", by_fcntl == by_fstat, by_poll == by_fstat, by_dup == by_fstat);
    say(" fstat=%d", by_fstat);
}

static const struct semantics_case cases[] = {
    {"stream_by_number", stream_by_number},
    {"datagrams_by_number", datagrams_by_number},
    {"lowered_limit", lowered_limit},
    {"sandbox", sandbox},
    {"interfaces", interfaces},
    {"open_descriptors", open_descriptors},
};

SEMANTICS_MAIN(cases)
