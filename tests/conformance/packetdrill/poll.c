/* poll and epoll, with the readiness rules of Linux's TCP. */
#include "adapter.h"

#include <errno.h>
#include <stdlib.h>

bool pd_is_writable(const struct pd_socket *socket, const struct foyer_socket_info *info)
{
    uint32_t lowat = pd_notsent_lowat(socket);

    if (!foyer_ring_is_set(&socket->tx))
        return true;
    if (lowat != UINT32_MAX && info->unsent_bytes >= lowat / 2)
        return false;
    uint32_t memory = pd_send_memory(socket, info);
    if (socket->send_limit != 0 &&
        (memory >= socket->send_limit || socket->send_limit - memory < memory / 2))
        return false; /* sk_stream_is_writeable */
    uint32_t room = foyer_ring_free(&socket->tx);
    return room == UINT32_MAX || room >= socket->tx.size / 3;
}

static uint32_t tcp_readiness(struct pd *pd, const struct pd_socket *socket)
{
    struct foyer_socket_info info;
    uint32_t ready = socket->has_error || socket->notice_count > 0 ? POLLERR : 0;

    if (socket->is_deferred) /* the first bytes connect */
        return POLLOUT | POLLWRNORM;
    if (foyer_socket_info(pd->host, socket->handle, &info) != 0)
        return POLLNVAL;
    if (info.state == FOYER_STATE_LISTEN)
        return info.accept_queue_count > 0 ? POLLIN | POLLRDNORM : 0;
    bool has_eof = pd_has_eof(socket);
    if (info.state == FOYER_STATE_CLOSED || (has_eof && socket->has_shut_write))
        ready |= POLLHUP;
    if (has_eof)
        ready |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (info.state == FOYER_STATE_SYN_SENT || info.state == FOYER_STATE_SYN_RECEIVED)
        return ready;
    if (pd_readable_bytes(socket) > 0)
        ready |= POLLIN | POLLRDNORM;
    if (socket->has_shut_write || pd_is_writable(socket, &info))
        ready |= POLLOUT | POLLWRNORM;
    return ready;
}

static uint32_t readiness(struct pd *pd, const struct pd_socket *socket)
{
    if (socket->is_epoll)
        return 0;
    return socket->is_tcp ? tcp_readiness(pd, socket) : POLLOUT | POLLWRNORM;
}

/* ---- poll ----------------------------------------------------------------------------------- */

struct poll_call {
    struct pd_call call;
    struct pollfd *fds;
    nfds_t count;
};

static ssize_t attempt_poll(struct pd_call *call)
{
    struct poll_call *poll = (struct poll_call *)call;
    ssize_t ready = 0;

    for (nfds_t i = 0; i < poll->count; i++) {
        struct pollfd *fd = &poll->fds[i];
        const struct pd_socket *socket = pd_socket_get(call->pd, fd->fd);
        uint32_t wanted = (uint16_t)fd->events | POLLERR | POLLHUP;
        fd->revents = socket == NULL ? POLLNVAL : (short)(readiness(call->pd, socket) & wanted);
        ready += fd->revents != 0;
    }
    return ready > 0 ? ready : -EAGAIN;
}

static foyer_time_ns deadline_after(const struct pd *pd, int timeout_ms)
{
    return timeout_ms < 0 ? FOYER_TIME_NEVER : pd->now + (unsigned)timeout_ms * FOYER_NS_PER_MS;
}

int pd_poll(struct pd *pd, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    struct poll_call call = {.call = {.attempt = attempt_poll,
                                      .pd = pd,
                                      .deadline_ns = deadline_after(pd, timeout_ms),
                                      .timeout_result = 0},
                             .fds = fds,
                             .count = count};

    return (int)pd_run(&call.call, true);
}

/* ---- epoll ---------------------------------------------------------------------------------- */

void pd_poll_event(struct pd *pd, struct pd_socket *socket, uint32_t bits)
{
    int fd = pd_socket_fd(pd, socket);

    socket->has_error = socket->has_error || (bits & FOYER_EVENT_ERROR) != 0;

    for (unsigned i = 0; i < PD_SOCKETS_MAX; i++)
        for (unsigned j = 0; pd->sockets[i].watches != NULL && j < PD_WATCHES_MAX; j++)
            if (pd->sockets[i].watches[j].fd == fd)
                pd->sockets[i].watches[j].is_armed = true;
}

void pd_poll_closed(struct pd *pd, const struct pd_socket *socket)
{
    int fd = pd_socket_fd(pd, socket);

    for (unsigned i = 0; i < PD_SOCKETS_MAX; i++)
        for (unsigned j = 0;
             &pd->sockets[i] != socket && pd->sockets[i].watches != NULL && j < PD_WATCHES_MAX; j++)
            if (pd->sockets[i].watches[j].fd == fd)
                pd->sockets[i].watches[j].fd = -1;
}

int pd_epoll_create(struct pd *pd)
{
    struct pd_socket *epoll = pd_socket_new(pd);

    if (epoll == NULL)
        return -EMFILE;
    epoll->is_epoll = true;
    epoll->watches = calloc(PD_WATCHES_MAX, sizeof(*epoll->watches));
    if (epoll->watches == NULL) {
        epoll->is_open = false;
        return -ENOMEM;
    }
    for (unsigned i = 0; i < PD_WATCHES_MAX; i++)
        epoll->watches[i].fd = -1;
    return pd_socket_fd(pd, epoll);
}

static struct pd_watch *find_watch(struct pd_socket *epoll, int fd)
{
    for (unsigned i = 0; i < PD_WATCHES_MAX; i++)
        if (epoll->watches[i].fd == fd)
            return &epoll->watches[i];
    return NULL;
}

int pd_epoll_ctl(struct pd *pd, int epoll_fd, int operation, int fd, struct epoll_event *event)
{
    struct pd_socket *epoll = pd_socket_get(pd, epoll_fd);

    if (epoll == NULL || pd_socket_get(pd, fd) == NULL)
        return -EBADF;
    if (!epoll->is_epoll || epoll_fd == fd)
        return -EINVAL;
    struct pd_watch *watch = find_watch(epoll, fd);
    if (operation == EPOLL_CTL_ADD) {
        if (watch != NULL)
            return -EEXIST;
        watch = find_watch(epoll, -1);
        if (watch == NULL)
            return -ENOSPC;
    } else if (watch == NULL) {
        return -ENOENT;
    }
    if (operation == EPOLL_CTL_DEL) {
        watch->fd = -1;
        return 0;
    }
    *watch =
        (struct pd_watch){.fd = fd, .events = event->events, .data = event->data, .is_armed = true};
    return 0;
}

struct epoll_call {
    struct pd_call call;
    struct epoll_event *events;
    int max;
};

static ssize_t attempt_epoll(struct pd_call *call)
{
    struct epoll_call *epoll = (struct epoll_call *)call;
    int count = 0;

    for (unsigned i = 0; i < PD_WATCHES_MAX && count < epoll->max; i++) {
        struct pd_watch *watch = &call->socket->watches[i];
        const struct pd_socket *socket = pd_socket_get(call->pd, watch->fd);
        if (socket == NULL || watch->events == 0)
            continue;
        uint32_t ready = readiness(call->pd, socket) & (watch->events | POLLERR | POLLHUP) & 0x3fff;
        bool is_edge = (watch->events & EPOLLET) != 0;
        if (ready == 0 || (is_edge && !watch->is_armed))
            continue;
        watch->is_armed = false;
        if ((watch->events & EPOLLONESHOT) != 0)
            watch->events = 0;
        epoll->events[count].events = ready;
        epoll->events[count++].data = watch->data;
    }
    return count > 0 ? count : -EAGAIN;
}

int pd_epoll_wait(struct pd *pd, int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
    struct pd_socket *epoll = pd_socket_get(pd, epoll_fd);

    if (epoll == NULL)
        return -EBADF;
    if (!epoll->is_epoll || max <= 0)
        return -EINVAL;
    struct epoll_call call = {.call = {.attempt = attempt_epoll,
                                       .pd = pd,
                                       .socket = epoll,
                                       .deadline_ns = deadline_after(pd, timeout_ms),
                                       .timeout_result = 0},
                              .events = events,
                              .max = max};
    return (int)pd_run(&call.call, true);
}
