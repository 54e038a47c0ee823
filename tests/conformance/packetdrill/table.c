/* packetdrill's table: one lock around everything, results and errno as system calls give them. */
#include "adapter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PD_EPOCH_NS (1000000 * FOYER_NS_PER_S)
#define PD_TICK_NS FOYER_NS_PER_US           /* what reading the clock takes */
#define PD_SILENCE_NS (300 * FOYER_NS_PER_S) /* a packet that is expected and does not come */

void packetdrill_interface_init(const char *flags, struct pd_table *table);

static struct pd *running; /* for the two functions of libc below */

static struct pd *enter(void *self)
{
    struct pd *pd = self;

    pthread_mutex_lock(&pd->lock);
    return pd;
}

static ssize_t leave(struct pd *pd, ssize_t result)
{
    pd_settle(pd);
    pthread_mutex_unlock(&pd->lock);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

static int leave_int(struct pd *pd, int result)
{
    return (int)leave(pd, result);
}

/* ---- sockets -------------------------------------------------------------------------------- */

static int call_socket(void *self, int domain, int type, int protocol)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_open(pd, domain, type, protocol));
}

static int call_bind(void *self, int fd, const struct sockaddr *addr, socklen_t size)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_bind(pd, fd, addr, size));
}

static int call_listen(void *self, int fd, int backlog)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_listen(pd, fd, backlog));
}

static int call_accept(void *self, int fd, struct sockaddr *ret_addr, socklen_t *io_size)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_accept(pd, fd, ret_addr, io_size));
}

static int call_connect(void *self, int fd, const struct sockaddr *addr, socklen_t size)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_connect(pd, fd, addr, size));
}

static int call_shutdown(void *self, int fd, int how)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_shutdown(pd, fd, how));
}

static int call_close(void *self, int fd)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_close(pd, fd));
}

static int call_getsockopt(void *self, int fd, int level, int name, void *ret_value,
                           socklen_t *io_size)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_getsockopt(pd, fd, level, name, ret_value, io_size));
}

static int call_setsockopt(void *self, int fd, int level, int name, const void *value,
                           socklen_t size)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_setsockopt(pd, fd, level, name, value, size));
}

static int call_ioctl(void *self, int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    struct pd *pd = enter(self);
    return leave_int(pd, pd_ioctl(pd, fd, request, argument));
}

static int call_fcntl(void *self, int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    int argument = va_arg(arguments, int);
    va_end(arguments);
    struct pd *pd = enter(self);
    return leave_int(pd, pd_fcntl(pd, fd, command, argument));
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static ssize_t call_recvmsg(void *self, int fd, struct msghdr *msg, int flags)
{
    struct pd *pd = enter(self);
    return leave(pd, pd_receive(pd, fd, msg, flags));
}

static ssize_t call_recvfrom(void *self, int fd, void *to, size_t size, int flags,
                             struct sockaddr *ret_addr, socklen_t *io_size)
{
    struct iovec part = {to, size};
    struct msghdr msg = {.msg_name = ret_addr,
                         .msg_namelen = io_size != NULL ? *io_size : 0,
                         .msg_iov = &part,
                         .msg_iovlen = 1};
    ssize_t count = call_recvmsg(self, fd, &msg, flags);
    if (io_size != NULL)
        *io_size = msg.msg_namelen;
    return count;
}

static ssize_t call_recv(void *self, int fd, void *to, size_t size, int flags)
{
    return call_recvfrom(self, fd, to, size, flags, NULL, NULL);
}

static ssize_t call_read(void *self, int fd, void *to, size_t size)
{
    return call_recv(self, fd, to, size, 0);
}

static ssize_t call_readv(void *self, int fd, const struct iovec *parts, int count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    return call_recvmsg(self, fd, &msg, 0);
}

static ssize_t call_sendmsg(void *self, int fd, const struct msghdr *msg, int flags)
{
    struct pd *pd = enter(self);
    return leave(pd, pd_send(pd, fd, msg, flags));
}

static ssize_t call_sendto(void *self, int fd, const void *from, size_t size, int flags,
                           const struct sockaddr *addr, socklen_t addr_size)
{
    struct iovec part = {(void *)(uintptr_t)from, size};
    struct msghdr msg = {.msg_name = (void *)(uintptr_t)addr,
                         .msg_namelen = addr_size,
                         .msg_iov = &part,
                         .msg_iovlen = 1};
    return call_sendmsg(self, fd, &msg, flags);
}

static ssize_t call_send(void *self, int fd, const void *from, size_t size, int flags)
{
    return call_sendto(self, fd, from, size, flags, NULL, 0);
}

static ssize_t call_write(void *self, int fd, const void *from, size_t size)
{
    return call_send(self, fd, from, size, 0);
}

static ssize_t call_writev(void *self, int fd, const struct iovec *parts, int count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    return call_sendmsg(self, fd, &msg, 0);
}

/* ---- readiness ------------------------------------------------------------------------------ */

static int call_poll(void *self, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_poll(pd, fds, count, timeout_ms));
}

static int call_epoll_create(void *self, int size)
{
    struct pd *pd = enter(self);
    return leave_int(pd, size > 0 ? pd_epoll_create(pd) : -EINVAL);
}

static int call_epoll_ctl(void *self, int epoll_fd, int operation, int fd,
                          struct epoll_event *event)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_epoll_ctl(pd, epoll_fd, operation, fd, event));
}

static int call_epoll_wait(void *self, int epoll_fd, struct epoll_event *events, int max,
                           int timeout_ms)
{
    struct pd *pd = enter(self);
    return leave_int(pd, pd_epoll_wait(pd, epoll_fd, events, max, timeout_ms));
}

/* A pipe is the process's own: splice fills it. */
static int call_pipe(void *self, int fds[2])
{
    (void)self;
    return pipe(fds);
}

static int call_splice(void *self, int fd_in, loff_t *offset_in, int fd_out, loff_t *offset_out,
                       size_t size, unsigned flags)
{
    struct pd *pd = enter(self);

    (void)offset_in;
    (void)offset_out;
    return leave_int(pd, (int)pd_splice(pd, fd_in, fd_out, size, flags));
}

/* ---- packets and time ----------------------------------------------------------------------- */

static int call_packet_to_stack(void *self, const void *bytes, size_t size)
{
    struct pd *pd = enter(self);

    if (pd->host != NULL)
        pd_wire_input(pd, bytes, size);
    pd_more_over(pd);
    return leave_int(pd, 0);
}

static _Noreturn void give_up(void)
{
    fprintf(stderr, "libfoyer-packetdrill: the packet that the script expects never left\n");
    fflush(NULL);
    _exit(EXIT_FAILURE); /* packetdrill would ask for ever */
}

static int call_packet_from_stack(void *self, void *bytes, size_t *io_size, long long *ret_us)
{
    struct pd *pd = enter(self);
    foyer_time_ns limit_ns = pd->now + PD_SILENCE_NS;

    pd_settle(pd);
    while (pd->packets == NULL) {
        foyer_time_ns next = pd_deadline(pd);
        if (next > limit_ns)
            give_up();
        pd_advance(pd, next);
    }
    struct pd_packet *packet = pd->packets;
    pd->packets = packet->next;
    if (pd->packets == NULL)
        pd->packets_end = &pd->packets;
    int result = packet->size <= *io_size ? 0 : -EMSGSIZE;
    if (result == 0)
        memcpy(bytes, packet->bytes, packet->size);
    *io_size = packet->size;
    *ret_us = (long long)(packet->sent_ns / FOYER_NS_PER_US);
    free(packet);
    return leave_int(pd, result);
}

/*
 * The thread whose blocked call has ended still has to tell packetdrill so, under packetdrill's
 * lock, which the script's thread gives up only while it sleeps: that takes no time here, so the
 * sleeper waits for the other to have done it. It has when it waits for its next call.
 */
static void let_returner_finish(struct pd *pd)
{
    char path[64], state = 'R';

    if (pd->returner == 0 || !pd_is_script_thread(pd))
        return;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)pd->returner);
    for (int look = 0; look < 1000 && state != 'S'; look++) {
        FILE *file = fopen(path, "r");
        if (file == NULL)
            break;
        if (fscanf(file, "%*d %*s %c", &state) != 1)
            state = 'S';
        fclose(file);
        if (state != 'S')
            sched_yield();
    }
    pd->returner = 0;
}

static int call_usleep(void *self, unsigned us)
{
    struct pd *pd = enter(self);

    let_returner_finish(pd);
    pd_advance(pd, pd->now + us * FOYER_NS_PER_US);
    return leave_int(pd, 0);
}

static int call_gettimeofday(void *self, struct timeval *ret_now, struct timezone *unused)
{
    struct pd *pd = enter(self);

    (void)unused;
    if (!pd->is_returning)
        pd_advance(pd, pd->now + PD_TICK_NS);
    ret_now->tv_sec = (time_t)(pd->now / FOYER_NS_PER_S);
    ret_now->tv_usec = (suseconds_t)(pd->now % FOYER_NS_PER_S / FOYER_NS_PER_US);
    if (!pd_is_script_thread(pd)) {
        pd->returner = gettid();
        pd_returned(pd);
    }
    pthread_mutex_unlock(&pd->lock);
    return 0;
}

/* ---- where packetdrill passes the table by ---------------------------------------------------- */

/*
 * For TCP_INFO, sendfile and the sockets that a script leaves open packetdrill calls libc even where a
 * shared object is the stack. Preloaded, the object answers for its own descriptors.
 */
FOYER_API int getsockopt(int fd, int level, int name, void *ret_value, socklen_t *io_size)
{
    if (running != NULL && fd >= PD_FD_FIRST && fd < PD_FD_FIRST + PD_SOCKETS_MAX)
        return call_getsockopt(running, fd, level, name, ret_value, io_size);
    return (int)syscall(SYS_getsockopt, fd, level, name, ret_value, io_size);
}

FOYER_API ssize_t sendfile(int fd, int file, off_t *io_offset, size_t count)
{
    if (running == NULL || fd < PD_FD_FIRST || fd >= PD_FD_FIRST + PD_SOCKETS_MAX)
        return syscall(SYS_sendfile, fd, file, io_offset, count);
    struct pd *pd = enter(running);
    return leave(pd, pd_sendfile(pd, fd, file, io_offset, count));
}

FOYER_API int close(int fd)
{
    if (running != NULL && fd >= PD_FD_FIRST && fd < PD_FD_FIRST + PD_SOCKETS_MAX)
        return call_close(running, fd);
    return (int)syscall(SYS_close, fd);
}

/* ---- beginning and end ---------------------------------------------------------------------- */

static void call_release(void *self)
{
    struct pd *pd = self;

    running = NULL;
    for (int i = 0; i < PD_SOCKETS_MAX; i++)
        if (pd->sockets[i].is_open)
            pd_close(pd, PD_FD_FIRST + i);
    foyer_host_destroy(pd->host);
    while (pd->packets != NULL) {
        struct pd_packet *next = pd->packets->next;
        free(pd->packets);
        pd->packets = next;
    }
    pthread_cond_destroy(&pd->changed);
    pthread_mutex_destroy(&pd->lock);
    free(pd);
}

static void set_flag(struct pd *pd, const char *flag)
{
    uint8_t v4[4];

    if (strncmp(flag, "local4=", 7) == 0 && inet_pton(AF_INET, flag + 7, v4) == 1) {
        pd->local4 = foyer_addr_v4(v4[0], v4[1], v4[2], v4[3]);
    } else if (strncmp(flag, "local6=", 7) == 0 &&
               inet_pton(AF_INET6, flag + 7, pd->local6.bytes) == 1) {
        return;
    } else if (strncmp(flag, "mtu=", 4) == 0) {
        pd->mtu = (uint16_t)strtoul(flag + 4, NULL, 10);
    } else if (strcmp(flag, "tso=off") == 0) {
        pd->is_without_tso = true;
    } else {
        fprintf(stderr, "libfoyer-packetdrill: flag not understood: %s\n", flag);
        exit(EXIT_FAILURE);
    }
}

static struct pd *pd_new(const char *flags)
{
    struct pd *pd = calloc(1, sizeof(*pd));
    char *copy = strdup(flags != NULL ? flags : ""), *rest = NULL;

    if (pd == NULL || copy == NULL)
        abort();
    pthread_mutex_init(&pd->lock, NULL);
    pthread_cond_init(&pd->changed, NULL);
    pd->script_thread = pthread_self();
    pd->packets_end = &pd->packets;
    pd->now = PD_EPOCH_NS;
    pd->mtu = 1500;
    pd->local4 = foyer_addr_v4(192, 168, 0, 1); /* packetdrill's own defaults */
    inet_pton(AF_INET6, "fd3d:0a0b:17d6::1", pd->local6.bytes);
    for (char *flag = strtok_r(copy, ",", &rest); flag; flag = strtok_r(NULL, ",", &rest))
        set_flag(pd, flag);
    free(copy);
    return pd;
}

FOYER_API void packetdrill_interface_init(const char *flags, struct pd_table *table)
{
    unsetenv("LD_PRELOAD"); /* not for the commands that scripts run */
    running = pd_new(flags);
    *table = (struct pd_table){
        .self = running,
        .release = call_release,
        .open_socket = call_socket,
        .bind = call_bind,
        .listen = call_listen,
        .accept = call_accept,
        .connect = call_connect,
        .read = call_read,
        .readv = call_readv,
        .recv = call_recv,
        .recvfrom = call_recvfrom,
        .recvmsg = call_recvmsg,
        .write = call_write,
        .writev = call_writev,
        .send = call_send,
        .sendto = call_sendto,
        .sendmsg = call_sendmsg,
        .fcntl = call_fcntl,
        .ioctl = call_ioctl,
        .close = call_close,
        .shutdown = call_shutdown,
        .getsockopt = call_getsockopt,
        .setsockopt = call_setsockopt,
        .poll = call_poll,
        .packet_to_stack = call_packet_to_stack,
        .packet_from_stack = call_packet_from_stack,
        .usleep = call_usleep,
        .gettimeofday = call_gettimeofday,
        .epoll_create = call_epoll_create,
        .epoll_ctl = call_epoll_ctl,
        .epoll_wait = call_epoll_wait,
        .pipe = call_pipe,
        .splice = call_splice,
    };
}
