/* The calls of include/foyer/socket.h about connection requests that wait for their caller. */
#include <errno.h>

#include "stack/socket.h"
#include "stack/tcp.h"
#include "stack/tcp_request.h"

/* The caller has a say only until it has said it. */
static struct request *find_held(struct foyer_host *host, foyer_request handle)
{
    struct request *request = request_from_handle(host, handle);
    return request != NULL && request->level == REQUEST_LEVEL_HELD ? request : NULL;
}

int foyer_request_next(struct foyer_host *host, foyer_socket listener, foyer_request *ret_request)
{
    struct sock *sock = sock_from_handle(host, listener);
    if (sock == NULL)
        return -EBADF;
    if (sock->state != FOYER_STATE_LISTEN)
        return -EINVAL;
    struct list_node *node = list_pop_front(&sock->listen->held);
    if (node == NULL)
        return -EAGAIN;
    list_push_back(&sock->listen->requests, node);
    *ret_request = request_handle(LIST_ENTRY(node, struct request, queue_node));
    return 0;
}

int foyer_request_info(struct foyer_host *host, foyer_request handle,
                       struct foyer_request_info *ret_info)
{
    const struct request *request = find_held(host, handle);
    if (request == NULL)
        return -EBADF;
    *ret_info = (struct foyer_request_info){
        .listener = sock_handle(request->listener),
        .local = request->local,
        .remote = request->remote,
        .mss = request->flags & REQUEST_MSS ? request->mss : 0,
        .window_bytes = request->window,
        .has_window_scale = (request->flags & REQUEST_WS) != 0,
        .has_sack = (request->flags & REQUEST_SACK) != 0,
        .has_timestamps = (request->flags & REQUEST_TS) != 0,
    };
    return 0;
}

int foyer_request_set_user(struct foyer_host *host, foyer_request handle, uint64_t user)
{
    struct request *request = find_held(host, handle);
    if (request == NULL)
        return -EBADF;
    held_request(request)->user = user;
    return 0;
}

int foyer_request_next_ended(struct foyer_host *host, foyer_socket listener, uint64_t *ret_user,
                             int *ret_error)
{
    struct sock *sock = sock_from_handle(host, listener);
    if (sock == NULL)
        return -EBADF;
    if (sock->state != FOYER_STATE_LISTEN)
        return -EINVAL;
    struct list_node *node = list_first(&sock->listen->ended);
    if (node == NULL)
        return -EAGAIN;
    struct request *request = LIST_ENTRY(node, struct request, queue_node);
    *ret_user = held_request(request)->user;
    *ret_error = held_request(request)->error;
    request_free(host, request);
    return 0;
}

int foyer_request_accept(struct foyer_host *host, foyer_request handle, foyer_time_ns now)
{
    struct request *request = find_held(host, handle);
    if (request == NULL)
        return -EBADF;
    host_begin(host, now);
    request_answer(host, request, host->now_ns);
    return 0;
}

int foyer_request_refuse(struct foyer_host *host, foyer_request handle, foyer_time_ns now)
{
    struct request *request = find_held(host, handle);
    if (request == NULL)
        return -EBADF;
    host_begin(host, now);
    request_reset(host, request);
    request_free(host, request);
    return 0;
}

int foyer_request_drop(struct foyer_host *host, foyer_request handle)
{
    struct request *request = find_held(host, handle);
    if (request == NULL)
        return -EBADF;
    request_free(host, request);
    return 0;
}
