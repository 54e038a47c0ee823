/*
 * Listeners in an epoll. The kernel watches their descriptors for connections that foyerd sends; kept
 * ones come by keep.c without the kernel, so their bells are in the kernel's set, too.
 */
#define _GNU_SOURCE

#include "preload/epoll_private.h"

#include "preload/raw.h"

struct watched_listener *epoll_listener_find(struct epoll_object *epoll,
                                             const struct socket_object *sock, int fd)
{
    for (uint32_t i = 0; i < epoll->listener_count; i++) {
        if (epoll->listeners[i].sock == sock && (fd < 0 || epoll->listeners[i].fd == fd))
            return &epoll->listeners[i];
    }
    return NULL;
}

void epoll_listener_drop(struct epoll_object *epoll, struct watched_listener *listener)
{
    atomic_fetch_sub(&listener->sock->watch_count, 1);
    *listener = epoll->listeners[--epoll->listener_count];
}

uint32_t epoll_listener_events(uint32_t events)
{
    return events & ~(uint32_t)(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND | EPOLLRDHUP);
}

void epoll_listener_note(struct epoll_object *epoll, int epfd, int fd, struct socket_object *sock,
                         const struct epoll_event *event)
{
    struct watched_listener *listener = epoll_listener_find(epoll, sock, fd);
    if (listener == NULL && epoll->listener_count < LISTENERS_MAX) {
        listener = &epoll->listeners[epoll->listener_count++];
        *listener = (struct watched_listener){.sock = sock, .fd = fd};
        atomic_fetch_add(&sock->object.references, 1);
        atomic_fetch_add(&sock->watch_count, 1);
    }
    if (listener != NULL) {
        listener->events = event->events;
        listener->data = event->data;
    }
    keep_note_acceptor(sock);
    int bells = keep_poll_fd(sock);
    if (bells < 0)
        return;
    struct epoll_event own = {.events = EPOLLIN | EPOLLET,
                              .data.u64 = (uint64_t)epoll->tag << 32 | KEPT_BELLS};
    int error = raw_epoll_ctl(epfd, EPOLL_CTL_ADD, bells, &own);
    if ((error < 0 && error != -EEXIST) || listener == NULL || epoll->is_nested ||
        (event->events & EPOLLONESHOT) != 0)
        keep_forbid(sock);
    else if (atomic_load(&epoll->sleepers) > 0)
        keep_wake(sock);
}

void epoll_listener_hand_over(struct epoll_object *epoll, int epfd, struct registration *item)
{
    struct epoll_event event = {.events = epoll_listener_events(item->events), .data = item->data};
    if (item->is_disabled)
        event.events = 0;
    raw_epoll_ctl(epfd, EPOLL_CTL_MOD, item->fd, &event);
    epoll_listener_note(epoll, epfd, item->fd, item->sock, &event);
    /* Not the last reference: the table has one, or its owner drops us later. */
    socket_release(epoll_drop(epoll, item));
}

void epoll_forbid_kept(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->listener_count; i++)
        keep_forbid(epoll->listeners[i].sock);
    pthread_mutex_unlock(&epoll->lock);
}

bool epoll_has_offers(struct epoll_object *epoll, bool will_sleep)
{
    bool is_ready = false;
    for (uint32_t i = 0; i < epoll->listener_count && !is_ready; i++) {
        const struct watched_listener *listener = &epoll->listeners[i];
        if (will_sleep)
            keep_arm(listener->sock);
        is_ready =
            (listener->events & (EPOLLIN | EPOLLRDNORM)) != 0 && keep_has_offer(listener->sock);
    }
    return is_ready;
}

/*
 * Listeners with kept connections that were offered. One that the kernel has reported in this wait is
 * not reported twice: who takes all that is there gets these, too.
 */
int epoll_collect_offers(const struct epoll_wait_call *call, int count, int max)
{
    struct epoll_object *epoll = call->epoll;
    for (uint32_t i = 0; i < epoll->listener_count && count < max; i++) {
        struct watched_listener *listener = &epoll->listeners[i];
        uint32_t events = listener->events & (EPOLLIN | EPOLLRDNORM);
        if (events == 0 || listener->stamp == call->stamp || !keep_has_offer(listener->sock))
            continue;
        listener->stamp = call->stamp;
        call->events[count++] = (struct epoll_event){.events = events, .data = listener->data};
    }
    return count;
}

bool epoll_listener_is_told(const struct epoll_wait_call *call, const struct epoll_event *event)
{
    struct epoll_object *epoll = call->epoll;
    bool is_told = false;
    if (epoll->listener_count == 0)
        return false;
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->listener_count; i++) {
        if (epoll->listeners[i].data.u64 != event->data.u64)
            continue;
        is_told |= epoll->listeners[i].stamp == call->stamp;
        epoll->listeners[i].stamp = call->stamp;
    }
    pthread_mutex_unlock(&epoll->lock);
    return is_told;
}

void epoll_each_listener(struct epoll_object *epoll,
                         void (*act)(const struct socket_object *listener))
{
    if (epoll->listener_count == 0 || !keep_is_active())
        return;
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->listener_count; i++)
        act(epoll->listeners[i].sock);
    pthread_mutex_unlock(&epoll->lock);
}
