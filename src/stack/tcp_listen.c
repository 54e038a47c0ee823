/*
 * Passive opens: a SYN to a listener makes a child in SYN-RECEIVED (a request); the handshake's
 * last ACK moves it to the accept queue. Both wait on the listener: requests on
 * listener->requests, established ones on listener->accept_queue, by their accept_node.
 *
 * The limits are Linux's. The accept queue holds backlog + 1; while it is full, SYNs and last
 * ACKs are dropped and the peers try again. Requests are bounded by the backlog (at least
 * TCP_REQUESTS_MIN). Requests that the caller may inspect before the SYN-ACK, and SYN cookies
 * (RFC 4987), belong where make_request is called.
 */
#include "stack/socket.h"
#include "stack/tcp.h"

bool tcp_accept_queue_is_full(const struct sock *listener)
{
    return listener->listen->accept_count > listener->listen->backlog;
}

static bool request_queue_is_full(const struct sock *listener)
{
    const struct listen *listen = listener->listen;
    uint32_t limit = listen->backlog > TCP_REQUESTS_MIN ? listen->backlog : TCP_REQUESTS_MIN;

    return listen->request_count >= limit;
}

/* A head that is all zero is an empty list, but can't be pushed to. */
static void push_back(struct list_node *head, struct list_node *node)
{
    if (head->next == NULL)
        list_init(head);
    list_push_back(head, node);
}

static void inherit_options(struct sock *child, const struct sock *listener)
{
    child->ttl = listener->ttl;
    child->tos = listener->tos;
    child->owner = listener->owner;
    child->owner_uid = listener->owner_uid;
    child->flags |= listener->flags & (SOCK_REUSEADDR | SOCK_REUSEPORT | SOCK_V6ONLY);
    sock_options_share(child, listener);
    child->keepalive = listener->keepalive;
    child->congestion = listener->congestion;
    child->nodelay = listener->nodelay;
    child->cork = listener->cork;
}

/* The child with its place in the tables, or NULL: no memory, no way back to the peer. */
static struct sock *make_request(struct foyer_host *host, struct sock *listener,
                                 const struct tcp_segment *seg)
{
    struct sock *child = sock_create(host, listener->family, FOYER_TCP);

    if (child == NULL) {
        host->stats.in_dropped_memory++;
        return NULL;
    }
    child->local = (struct foyer_endpoint){seg->rx->dst, seg->tcp.dst_port};
    child->remote = (struct foyer_endpoint){seg->rx->src, seg->tcp.src_port};
    inherit_options(child, listener);
    if (ip_path(host, child) != 0 || tcp_create(host, child) == NULL ||
        ports_adopt(host, child, listener) != 0) {
        sock_free(host, child);
        return NULL;
    }
    return child;
}

static void start_request(struct foyer_host *host, struct sock *listener, struct sock *child,
                          const struct tcp_segment *seg, foyer_time_ns now)
{
    struct tcb *tcb = child->tcb;

    /* RFC 9293 section 3.10.7.2, third. */
    tcb->irs = seg->tcp.seq;
    tcb->rcv_nxt = seq_add(tcb->irs, 1);
    tcb->rcv_adv = tcb->rcv_nxt;
    tcb->rcv_acked = tcb->rcv_nxt;
    tcb->iss = tcp_isn(host, child, now);
    if (seg->has_isn_floor && seq_le(tcb->iss, seg->isn_floor))
        tcb->iss = seq_add(seg->isn_floor, UINT16_MAX + 2u); /* RFC 9293 section 3.6.1 */
    tcb->snd_una = tcb->iss;
    tcb->snd_nxt = seq_add(tcb->iss, 1);
    tcb->snd_end = tcb->snd_nxt;
    tcp_options_negotiate(host, child, seg, now);
    tcb->snd_wnd = seg->tcp.window;
    tcb->snd_wnd_max = tcb->snd_wnd;
    tcb->flags |= TCPF_PASSIVE | TCPF_SYN_PENDING;
    child->state = FOYER_STATE_SYN_RECEIVED;
    child->listener = listener;
    listener->listen->request_count++;
    push_back(&listener->listen->requests, &child->accept_node);
    host->stats.tcp_passive_opens++;
    tcp_rto_restart(host, child, now);
    sock_want_output(host, child);
}

/* RFC 9293 section 3.10.7.2. */
void tcp_listen_input(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                      foyer_time_ns now)
{
    if ((seg->tcp.flags & WIRE_TCP_RST) != 0)
        return;
    if ((seg->tcp.flags & WIRE_TCP_ACK) != 0) {
        tcp_send_rst_for(host, seg);
        return;
    }
    /* SYN with FIN opens nothing that would not be closed at once; no peer of ours sends it. */
    if ((seg->tcp.flags & (WIRE_TCP_SYN | WIRE_TCP_FIN)) != WIRE_TCP_SYN)
        return;
    if (tcp_accept_queue_is_full(listener) || request_queue_is_full(listener)) {
        host->stats.tcp_listen_overflows++;
        return;
    }
    struct sock *child = make_request(host, listener, seg);
    if (child != NULL)
        start_request(host, listener, child, seg, now);
}

void tcp_request_established(struct foyer_host *host, struct sock *sock)
{
    struct sock *listener = sock->listener;

    list_remove(&sock->accept_node);
    listener->listen->request_count--;
    listener->listen->accept_count++;
    sock->flags |= SOCK_IN_ACCEPT_QUEUE;
    push_back(&listener->listen->accept_queue, &sock->accept_node);
    sock_event(host, listener, FOYER_EVENT_ACCEPT);
}

void tcp_listener_forget(struct sock *sock)
{
    struct sock *listener = sock->listener;

    if (listener == NULL)
        return;
    list_remove(&sock->accept_node);
    if ((sock->flags & SOCK_IN_ACCEPT_QUEUE) != 0)
        listener->listen->accept_count--;
    else
        listener->listen->request_count--;
    sock->flags &= ~(uint32_t)SOCK_IN_ACCEPT_QUEUE;
    sock->listener = NULL;
}

/* Work: O(children), which the backlog bounds. */
void tcp_listener_close(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    struct list_node *const queues[] = {&sock->listen->requests, &sock->listen->accept_queue};

    (void)now;
    for (size_t i = 0; i < 2; i++) {
        struct list_node *node;
        while ((node = list_first(queues[i])) != NULL) {
            struct sock *child = LIST_ENTRY(node, struct sock, accept_node);
            tcp_listener_forget(child);
            if (child->tcb != NULL && child->state != FOYER_STATE_TIME_WAIT)
                tcp_send_rst(host, child);
            sock_free(host, child);
        }
    }
}
