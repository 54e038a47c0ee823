/*
 * The supervisor's loop: one epoll with the kernel's notifications, foyer's sockets, and our ends
 * of the pairs.
 *
 * A signal to the program ends a call that was handed over, whether it has been served or not; the
 * kernel then restarts it or returns EINTR. A restarted bind must not fail because the first one
 * has succeeded, so an answer that came too late is kept for the thread's next call.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "supervise/supervise.h"

#define EVENTS_MAX 64
#define LOST_MAX 256u

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- answers ------------------------------------------------------------------------------- */

struct lost {
    struct list_node node;
    uint32_t thread;
    ino_t inode; /* of the socket in argument 0, or 0 */
    struct seccomp_data data;
    int64_t value;
    int32_t error;
};

static ino_t inode_of_call(const struct call *call)
{
    ino_t inode = 0;
    target_socket_inode((pid_t)call->notif.pid, (int)call->notif.data.args[0], &inode);
    return inode;
}

static void remember_lost(struct supervisor *supervisor, const struct call *call, int64_t value,
                          int error)
{
    struct lost *lost;
    if (supervisor->lost_count >= LOST_MAX) {
        lost = LIST_ENTRY(list_pop_front(&supervisor->lost), struct lost, node);
        supervisor->lost_count--;
    } else {
        lost = malloc(sizeof(*lost));
        if (lost == NULL)
            return;
    }
    *lost = (struct lost){
        .thread = call->notif.pid,
        .inode = inode_of_call(call),
        .data = call->notif.data,
        .value = value,
        .error = error,
    };
    list_push_back(&supervisor->lost, &lost->node);
    supervisor->lost_count++;
}

static bool reply(struct supervisor *supervisor, const struct call *call, int64_t value, int error,
                  uint32_t flags)
{
    struct seccomp_notif_resp response = {
        .id = call->notif.id, .val = value, .error = -error, .flags = flags};
    return ioctl(supervisor->notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0;
}

bool reply_value(struct supervisor *supervisor, const struct call *call, int64_t value)
{
    if (reply(supervisor, call, value, 0, 0))
        return true;
    remember_lost(supervisor, call, value, 0);
    return false;
}

bool reply_error(struct supervisor *supervisor, const struct call *call, int error)
{
    if (reply(supervisor, call, 0, error, 0))
        return true;
    remember_lost(supervisor, call, 0, error);
    return false;
}

void reply_continue(struct supervisor *supervisor, const struct call *call)
{
    reply(supervisor, call, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

bool reply_descriptor(struct supervisor *supervisor, const struct call *call, int fd,
                      bool is_cloexec)
{
    struct seccomp_notif_addfd addfd = {
        .id = call->notif.id,
        .flags = SECCOMP_ADDFD_FLAG_SEND, /* added and answered in one step, or neither */
        .srcfd = (uint32_t)fd,
        .newfd_flags = is_cloexec ? O_CLOEXEC : 0,
    };
    if (ioctl(supervisor->notify_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd) >= 0)
        return true;
    if (errno != ENOENT && errno != EINPROGRESS)
        reply(supervisor, call, 0, errno, 0); /* EMFILE: the program's limit */
    return false;
}

bool call_is_valid(const struct supervisor *supervisor, const struct call *call)
{
    uint64_t id = call->notif.id;
    return ioctl(supervisor->notify_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

/* The restart of a call whose answer was lost gets it now. */
static bool reply_lost(struct supervisor *supervisor, const struct call *call)
{
    LIST_FOREACH_SAFE (&supervisor->lost, node) {
        struct lost *lost = LIST_ENTRY(node, struct lost, node);
        if (lost->thread != call->notif.pid)
            continue;
        bool is_same =
            lost->data.nr == call->notif.data.nr &&
            memcmp(lost->data.args, call->notif.data.args, sizeof(lost->data.args)) == 0 &&
            lost->inode == inode_of_call(call);
        int64_t value = lost->value;
        int error = lost->error;
        list_remove(&lost->node);
        supervisor->lost_count--;
        free(lost);
        if (is_same) {
            if (!reply(supervisor, call, value, error, 0))
                remember_lost(supervisor, call, value, error);
            return true;
        }
    }
    return false;
}

/* ---- calls that wait ----------------------------------------------------------------------- */

void call_hold(struct supervisor *supervisor, struct vsocket *socket, const struct call *call,
               int timeout_option)
{
    struct timeval timeout = {0};
    socklen_t size = sizeof(timeout);
    struct call *held = malloc(sizeof(*held));
    if (held == NULL) {
        reply_error(supervisor, call, ENOMEM);
        return;
    }
    *held = *call;
    held->socket = socket;
    held->deadline_ns = INT64_MAX;
    if (getsockopt(socket->net.fd, SOL_SOCKET, timeout_option, &timeout, &size) == 0 &&
        (timeout.tv_sec != 0 || timeout.tv_usec != 0))
        held->deadline_ns =
            now_ns() + (int64_t)timeout.tv_sec * 1000000000 + (int64_t)timeout.tv_usec * 1000;
    list_push_back(&socket->held, &held->node);
    list_push_back(&supervisor->held, &held->all_node);
}

void call_forget(struct call *held)
{
    list_remove(&held->node);
    list_remove(&held->all_node);
    free(held);
}

/* Ends the calls whose time is up. Returns when the next one's is. */
static int64_t expire_held(struct supervisor *supervisor)
{
    int64_t now = now_ns(), next = INT64_MAX;
    LIST_FOREACH_SAFE (&supervisor->held, node) {
        struct call *held = LIST_ENTRY(node, struct call, all_node);
        if (held->deadline_ns <= now) {
            reply_error(supervisor, held,
                        held->notif.data.nr == SYS_connect ? EINPROGRESS : EAGAIN);
            call_forget(held);
        } else if (held->deadline_ns < next) {
            next = held->deadline_ns;
        }
    }
    return next;
}

/* A thread that calls again waits for nothing any more: a signal has ended that call. */
static void forget_held_of(struct supervisor *supervisor, uint32_t thread)
{
    LIST_FOREACH_SAFE (&supervisor->held, node) {
        struct call *held = LIST_ENTRY(node, struct call, all_node);
        if (held->notif.pid == thread)
            call_forget(held);
    }
}

/* ---- sockets ------------------------------------------------------------------------------- */

void watch_set(struct supervisor *supervisor, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (events == watch->events || watch->fd < 0)
        return;
    int operation = events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (watch->events == 0)
        operation = EPOLL_CTL_ADD;
    if (epoll_ctl(supervisor->epoll_fd, operation, watch->fd, &event) == 0)
        watch->events = events;
}

struct vsocket *vsocket_find(struct supervisor *supervisor, ino_t inode)
{
    struct hash_node *node = hash_table_first(&supervisor->by_inode, (uint32_t)inode);
    for (; node != NULL; node = hash_table_next(node)) {
        struct vsocket *socket = HASH_ENTRY(node, struct vsocket, by_inode);
        if (socket->inode == inode)
            return socket;
    }
    return NULL;
}

static bool make_pair(struct vsocket *socket, int type, int *ret_program_end)
{
    int ends[2];
    struct stat status;
    /* Of datagrams' boundaries SEQPACKET keeps track, too, and unlike DGRAM it tells of the end. */
    int kind = type == SOCK_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
    if (socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    if (fstat(ends[1], &status) != 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    socket->pair.fd = ends[0];
    socket->inode = status.st_ino;
    *ret_program_end = ends[1];
    return true;
}

struct vsocket *vsocket_create(struct supervisor *supervisor, int net, int type,
                               int *ret_program_end)
{
    struct vsocket *socket = calloc(1, sizeof(*socket));
    if (socket == NULL || !make_pair(socket, type, ret_program_end)) {
        close(net);
        free(socket);
        return NULL;
    }
    socket->net.fd = net;
    socket->net.socket = socket;
    socket->pair.socket = socket;
    socket->type = type;
    socket->stuffed_end = -1;
    list_init(&socket->held);
    list_init(&socket->accepted);
    hash_table_insert(&supervisor->by_inode, &socket->by_inode, (uint32_t)socket->inode);
    list_push_back(&supervisor->sockets, &socket->node);
    watch_set(supervisor, &socket->pair, EPOLLRDHUP); /* and hang-up: nobody has it any more */
    return socket;
}

void vsocket_destroy(struct supervisor *supervisor, struct vsocket *socket)
{
    struct list_node *node;
    while ((node = list_first(&socket->held)) != NULL) {
        struct call *held = LIST_ENTRY(node, struct call, node);
        reply_error(supervisor, held, EBADF);
        call_forget(held);
    }
    while ((node = list_pop_front(&socket->accepted)) != NULL) {
        struct accepted *accepted = LIST_ENTRY(node, struct accepted, node);
        close(accepted->net);
        free(accepted);
    }
    watch_set(supervisor, &socket->net, 0);
    watch_set(supervisor, &socket->pair, 0);
    close(socket->net.fd);
    close(socket->pair.fd);
    if (socket->stuffed_end >= 0)
        close(socket->stuffed_end);
    hash_table_remove(&supervisor->by_inode, &socket->by_inode);
    list_remove(&socket->node);
    list_push_back(&supervisor->dead, &socket->node); /* events of it may be in the batch */
    socket->net.fd = -1;
    socket->pair.fd = -1;
}

static void bury(struct supervisor *supervisor)
{
    struct list_node *node;
    while ((node = list_pop_front(&supervisor->dead)) != NULL) {
        struct vsocket *socket = LIST_ENTRY(node, struct vsocket, node);
        free(socket->in.bytes);
        free(socket->out.bytes);
        free(socket);
    }
}

static void socket_ready(struct supervisor *supervisor, const struct watch *watch, uint32_t events)
{
    struct vsocket *socket = watch->socket;
    if (watch->fd < 0)
        return; /* closed by an earlier event of this batch */
    if (socket->type == SOCK_STREAM)
        stream_ready(supervisor, socket, watch, events);
    else
        datagram_ready(supervisor, socket, watch, events);
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void take_call(struct supervisor *supervisor)
{
    /* The kernel's structures may be longer than the header's. */
    union {
        struct seccomp_notif notif;
        uint8_t bytes[256];
    } received;
    struct call call = {.deadline_ns = INT64_MAX};
    memset(&received, 0, sizeof(received)); /* the kernel insists */
    if (ioctl(supervisor->notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &received) != 0)
        return; /* ENOENT: a signal was faster */
    call.notif = received.notif;
    forget_held_of(supervisor, call.notif.pid);
    if (!reply_lost(supervisor, &call))
        call_serve(supervisor, &call);
}

static void notify_ready(struct supervisor *supervisor, uint32_t events)
{
    if ((events & EPOLLIN) != 0) {
        take_call(supervisor);
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_DEL, supervisor->notify_fd, NULL);
        supervisor->is_target_gone = true;
    }
}

static int timeout_ms(int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX)
        return -1;
    int64_t left = (deadline_ns - now_ns() + 999999) / 1000000;
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

int serve_init(struct supervisor *supervisor, int notify_fd)
{
    struct foyer_allocator allocator = {.alloc = allocate, .free = release};
    struct seccomp_notif_sizes sizes;
    struct epoll_event event = {.events = EPOLLIN};
    memset(supervisor, 0, sizeof(*supervisor));
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0)
        return -errno;
    if (sizes.seccomp_notif > 256 || sizes.seccomp_notif_resp > sizeof(struct seccomp_notif_resp))
        return -ENOSYS;
    supervisor->notify_fd = notify_fd;
    supervisor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    list_init(&supervisor->sockets);
    list_init(&supervisor->dead);
    list_init(&supervisor->lost);
    list_init(&supervisor->held);
    if (supervisor->epoll_fd < 0 || hash_table_init(&supervisor->by_inode, &allocator) != 0 ||
        epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, notify_fd, &event) != 0)
        return -errno;
    return 0;
}

int serve(struct supervisor *supervisor)
{
    struct epoll_event events[EVENTS_MAX];
    /* Sockets outlive the program until what it wrote is on its way. */
    while (!supervisor->is_target_gone || !list_is_empty(&supervisor->sockets)) {
        int timeout = timeout_ms(expire_held(supervisor));
        int count = epoll_wait(supervisor->epoll_fd, events, EVENTS_MAX, timeout);
        if (count < 0 && errno != EINTR)
            return 1;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                notify_ready(supervisor, events[i].events);
            else
                socket_ready(supervisor, events[i].data.ptr, events[i].events);
        }
        bury(supervisor);
    }
    return 0;
}
