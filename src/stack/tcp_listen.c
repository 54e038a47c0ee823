/*
 * Passive opens: a SYN to a listener makes a request (tcp_request.c), the handshake's last ACK
 * makes a socket of it, which waits on listen->accept_queue, for accept.
 *
 * The limits are Linux's. The accept queue holds backlog + 1; while it is full, SYNs and last
 * ACKs are dropped and the peers try again. Requests are bounded by the backlog (at least
 * TCP_REQUESTS_MIN) and by the host's max_requests; beyond that SYNs are answered by cookies
 * (RFC 4987), or, where the listener holds its requests for the caller, dropped.
 */
#include "stack/socket.h"
#include "stack/tcp.h"
#include "stack/tcp_request.h"

bool tcp_accept_queue_is_full(const struct sock *listener)
{
    return listener->listen->accept_count > listener->listen->backlog;
}

static bool request_queue_is_full(const struct foyer_host *host, const struct sock *listener)
{
    const struct listen *listen = listener->listen;
    uint32_t limit = listen->backlog > TCP_REQUESTS_MIN ? listen->backlog : TCP_REQUESTS_MIN;

    return listen->request_count >= limit ||
           host->requests.table.count >= host->config.max_requests || host_is_short(host);
}

/* RFC 7413 section 4.2.2. True: the SYN has its socket. */
static bool fastopen_input(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                           foyer_time_ns now)
{
    seg->fastopen = (uint8_t)fastopen_judge(host, listener, seg, now);
    if (seg->fastopen != FASTOPEN_GOOD && seg->fastopen != FASTOPEN_GOOD_OLD)
        return false;
    if (handshake_begin_fast(host, listener, seg, now))
        return true;
    host->stats.tcp_fastopen_passive_fails++;
    return false;
}

/* RFC 9293 section 3.10.7.2. */
void tcp_listen_input(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                      foyer_time_ns now)
{
    bool is_held = (listener->flags & SOCK_HOLD) != 0;

    if ((seg->tcp.flags & WIRE_TCP_RST) != 0)
        return;
    if ((seg->tcp.flags & WIRE_TCP_ACK) != 0) {
        if (!cookie_input(host, listener, seg, now))
            tcp_send_rst_for(host, seg);
        return;
    }
    /* SYN with FIN opens nothing that would not be closed at once; no peer of ours sends it. */
    if ((seg->tcp.flags & (WIRE_TCP_SYN | WIRE_TCP_FIN)) != WIRE_TCP_SYN)
        return;
    /* What the listener does not want was not offered. */
    if (listener->options->without_timestamps)
        seg->options.has_timestamps = false;
    if (listener->options->without_sack)
        seg->options.has_sack_permitted = false;
    bool is_full = request_queue_is_full(host, listener);
    if (tcp_accept_queue_is_full(listener) || (is_full && is_held)) {
        host->stats.tcp_listen_overflows++;
        return;
    }
    if (is_full) {
        cookie_answer(host, listener, seg, now);
        return;
    }
    if (!is_held && fastopen_input(host, listener, seg, now))
        return;
    if (request_create(host, listener, seg, is_held, now) != NULL && is_held)
        sock_event(host, listener, FOYER_EVENT_REQUEST);
}

void tcp_request_established(struct foyer_host *host, struct sock *sock)
{
    struct sock *listener = sock->listener;

    listener->listen->accept_count++;
    sock->flags |= SOCK_IN_ACCEPT_QUEUE;
    slot_list_push(host, &listener->listen->accept_queue, &sock->slot, SLOT_LINK_QUEUE);
    sock_event(host, listener, FOYER_EVENT_ACCEPT);
}

void tcp_listener_forget(struct foyer_host *host, struct sock *sock)
{
    if ((sock->flags & SOCK_CHILD) == 0)
        return;
    if ((sock->flags & SOCK_IN_ACCEPT_QUEUE) != 0) {
        slot_list_remove(host, &sock->listener->listen->accept_queue, &sock->slot, SLOT_LINK_QUEUE);
        sock->listener->listen->accept_count--;
    }
    sock->flags &= ~(uint32_t)(SOCK_CHILD | SOCK_IN_ACCEPT_QUEUE);
    sock->owner = sock->listener->owner;
    sock->user = 0;
}

void tcp_requests_drop(struct foyer_host *host, struct sock *listener, bool is_told)
{
    struct listen *listen = listener->listen;
    struct list_node *const queues[] = {&listen->requests, &listen->held, &listen->ended};

    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
        struct list_node *node;
        while ((node = list_first(queues[i])) != NULL) {
            struct request *request = LIST_ENTRY(node, struct request, queue_node);
            if (is_told && queues[i] != &listen->ended)
                request_reset(host, request);
            request_free(host, request);
        }
    }
}

/* Work: O(children), which the backlog bounds. */
void tcp_listener_close(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct slot_head *head;

    (void)now;
    tcp_requests_drop(host, sock, true);
    while ((head = slot_list_first(host, &sock->listen->accept_queue)) != NULL) {
        struct sock *child = (struct sock *)head;
        tcp_listener_forget(host, child);
        if (child->tcb != NULL && child->state != FOYER_STATE_TIME_WAIT)
            tcp_send_rst(host, child);
        sock_free(host, child);
    }
}
