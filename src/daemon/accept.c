#include "daemon/accept.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/keep.h"
#include "daemon/local.h"
#include "daemon/log.h"
#include "daemon/relay.h"
#include "ipc/message.h"

/* Linux gives up after tcp_syn_retries, about 127 s; so does a connect that finds no room. */
#define ACCEPT_WAIT_NS (127 * FOYER_NS_PER_S)

/* How many bytes of messages may wait in the pair of a listener: about the largest backlog. */
#define ACCEPT_SEND_BUFFER_BYTES (4 * 1024 * 1024)

void accept_listener_init(struct psocket *listener)
{
    int bytes = ACCEPT_SEND_BUFFER_BYTES;
    listener->is_listening = true;
    listener->in_flight_count = 0;
    listener->accepted_seen = atomic_load(&listener->slot->accepted);
    list_init(&listener->in_flight);
    list_init(&listener->pending);
    /* The kernel cuts it down to what the user may have; then EPOLLOUT paces us. */
    setsockopt(listener->watch.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    setsockopt(listener->watch.fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
}

/* Takes note of what the program has accepted; it can't have taken more than was sent. */
static void prune(struct psocket *listener)
{
    uint32_t accepted = atomic_load(&listener->slot->accepted);
    uint32_t count = accepted - listener->accepted_seen;
    listener->accepted_seen = accepted;
    for (; count > 0 && listener->in_flight_count > 0; count--) {
        struct list_node *node = list_pop_front(&listener->in_flight);
        LIST_ENTRY(node, struct psocket, queue_node)->listener = NULL;
        listener->in_flight_count--;
    }
}

/* As Linux counts: a queue is full when it holds more than the backlog. */
static bool has_room(struct psocket *listener)
{
    prune(listener);
    return listener->in_flight_count <= listener->backlog;
}

static int send_accepted(struct psocket *listener, struct psocket *accepted)
{
    struct foyer_accept message;
    memset(&message, 0, sizeof(message));
    message.id = accepted->id;
    message.arena = accepted->arena->number;
    message.slot = accepted->slot_index;
    message.ring_size = accepted->channel->ring_size;
    message.side = accepted->side;
    message.is_local = accepted->carrier == PSOCKET_LOCAL;
    message.local = accepted->slot->local;
    message.remote = accepted->slot->remote;
    struct message_fds fds = {{accepted->program_end, accepted->channel->memfd}, 2};
    /* The peer of one that was handed on may be gone by now; then there is nobody to ring. */
    if (accepted->carrier == PSOCKET_LOCAL)
        fds.fds[fds.count++] =
            accepted->peer != NULL ? accepted->peer->watch.fd : accepted->watch.fd;
    ssize_t sent = message_send(listener->watch.fd, &message, sizeof(message), &fds, MSG_DONTWAIT);
    if (sent < 0)
        return (int)sent;
    /* A stream may take a part, but never of so small a message: it is one allocation. */
    return sent == (ssize_t)sizeof(message) ? 0 : -EIO;
}

/* 0: sent. -EAGAIN: later. Anything else: the listener is going away, and hang-up will say so. */
static int try_send(struct psocket *listener, struct psocket *accepted)
{
    int error = send_accepted(listener, accepted);
    if (error == -EAGAIN) {
        listener->waits_for_room = true;
        loop_watch_change(&listener->daemon->loop, &listener->watch, EPOLLIN | EPOLLOUT);
    }
    if (error != 0)
        return error;
    psocket_sent(accepted);
    list_push_back(&listener->in_flight, &accepted->queue_node);
    listener->in_flight_count++;
    accepted->listener = listener;
    return 0;
}

/* A pending one will not be accepted. Who is connected already sees a reset. */
static void give_up(struct psocket *accepted, int error)
{
    if (accepted->peer != NULL && accepted->peer->is_connecting) {
        local_failed(accepted->peer, error);
    } else {
        accepted->is_unaccepted = true;
        psocket_close(accepted);
    }
}

static void wait_over(struct loop_timer *timer)
{
    give_up(LIST_ENTRY(timer, struct psocket, timer), ETIMEDOUT);
}

bool accept_offer(struct psocket *listener, struct psocket *accepted)
{
    struct loop *loop = &listener->daemon->loop;
    if (list_is_empty(&listener->pending) && !listener->waits_for_room) {
        /* Announce, then look once more: the program accepts meanwhile. */
        if (!has_room(listener))
            atomic_store(&listener->slot->accept_wanted, 1);
        if (has_room(listener) && try_send(listener, accepted) == 0)
            return true;
    }
    accepted->listener = listener;
    list_push_back(&listener->pending, &accepted->queue_node);
    loop_timer_set(loop, &accepted->timer, loop->now_ns + ACCEPT_WAIT_NS, wait_over);
    return false;
}

/* Sends one pending connection. 1: sent; 0: none is pending, or no room; negative: can't. */
static int send_pending(struct psocket *listener)
{
    struct list_node *node = list_first(&listener->pending);
    if (node == NULL || !has_room(listener))
        return 0;
    struct psocket *accepted = LIST_ENTRY(node, struct psocket, queue_node);
    list_remove(node);
    int error = try_send(listener, accepted);
    if (error != 0) {
        list_push_front(&listener->pending, node);
        return error;
    }
    loop_timer_cancel(&listener->daemon->loop, &accepted->timer);
    if (accepted->peer != NULL && accepted->peer->is_connecting)
        local_connected(accepted->peer);
    return 1;
}

void accept_pump(struct psocket *listener)
{
    if (listener->waits_for_room) {
        listener->waits_for_room = false;
        loop_watch_change(&listener->daemon->loop, &listener->watch, EPOLLIN);
    }
    for (;;) {
        int sent;
        while ((sent = send_pending(listener)) > 0)
            continue;
        if (sent < 0) {
            atomic_store(&listener->slot->accept_wanted, 1);
            return;
        }
        while (list_is_empty(&listener->pending) && listener->has_stack_pending &&
               has_room(listener))
            listener->has_stack_pending = relay_accept(listener);
        if (list_is_empty(&listener->pending) && !listener->has_stack_pending)
            return;
        atomic_store(&listener->slot->accept_wanted, 1);
        if (!has_room(listener))
            return;
    }
}

uint32_t accept_queue_count(struct psocket *listener)
{
    struct foyer_socket_info info;
    prune(listener);
    uint32_t count = listener->in_flight_count;
    LIST_FOREACH (&listener->pending, node) {
        count++;
    }
    if (foyer_socket_info(listener->host->stack, listener->stack, &info) == 0)
        count += info.accept_queue_count;
    return count;
}

void accept_listener_close(struct psocket *listener)
{
    struct list_node *node;
    keep_listener_over(listener, true);
    prune(listener);
    while ((node = list_pop_front(&listener->in_flight)) != NULL) {
        struct psocket *accepted = LIST_ENTRY(node, struct psocket, queue_node);
        accepted->listener = NULL;
        accepted->is_unaccepted = true; /* the kernel closes it with the pair's queue */
    }
    listener->in_flight_count = 0;
    while ((node = list_pop_front(&listener->pending)) != NULL) {
        struct psocket *accepted = LIST_ENTRY(node, struct psocket, queue_node);
        accepted->listener = NULL;
        give_up(accepted, ECONNREFUSED);
    }
}

void accept_listener_reset(struct psocket *listener)
{
    prune(listener);
    while (listener->in_flight_count > 0) {
        struct list_node *node = list_pop_front(&listener->in_flight);
        struct psocket *accepted = LIST_ENTRY(node, struct psocket, queue_node);
        listener->in_flight_count--;
        accepted->listener = NULL;
        accepted->is_unaccepted = true;
        psocket_close(accepted);
    }
    accept_listener_close(listener);
    listener->is_listening = listener->waits_for_room = listener->has_stack_pending = false;
    atomic_store(&listener->slot->accept_wanted, 0);
    loop_watch_change(&listener->daemon->loop, &listener->watch, EPOLLIN);
}

bool accept_hand_on(struct psocket *psocket)
{
    struct psocket *listener = NULL, *fresh;
    if (psocket->side == 1)
        listener = psocket_find(psocket->daemon, psocket->accepted_from);
    if (listener == NULL || !listener->is_listening || listener->host != psocket->host ||
        !keep_withdraw(psocket))
        return false;
    if (local_hand_on(psocket, listener, &fresh) != 0) {
        psocket->is_unaccepted = true; /* the peer sees a reset */
        return false;
    }
    accept_offer(listener, fresh);
    return true;
}

void accept_forget(struct psocket *accepted)
{
    if (accepted->listener != NULL)
        prune(accepted->listener); /* the program may have taken it already */
    struct psocket *listener = accepted->listener;
    if (listener == NULL)
        return;
    accepted->listener = NULL;
    list_remove(&accepted->queue_node);
    if (accepted->program_end < 0) /* it was in flight */
        listener->in_flight_count--;
}
