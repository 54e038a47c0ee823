/*
 * Sockets: handles and their table, events, and the calls of include/foyer/socket.h that open,
 * name, connect and end them. Bytes are in socket_io.c, options in socket_options.c.
 *
 * Work: every call is O(1) expected unless its declaration says otherwise.
 */
#include "stack/socket.h"

#include <errno.h>

#include "stack/group.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/tcp_time_wait.h"

/* ---- the table ----------------------------------------------------------------------------------- */

const struct sock_rings sock_no_rings;

int sockets_init(struct foyer_host *host)
{
    host->default_options = (struct sock_options){
        .refs = UINT32_MAX, /* never freed */
        .rx_size_wanted = host->config.receive_buffer_size,
        .tx_size_wanted = host->config.send_buffer_size,
        .rx_size_max = host->config.receive_buffer_max,
        .tx_size_max = host->config.send_buffer_max,
        .linger_ns = -1,
        .keep_idle_s = 7200, /* RFC 9293 section 3.8.4, MUST-28: no less than two hours */
        .keep_interval_s = 75,
        .keep_count = 9,
    };
    slots_init(&host->slots);
    return 0;
}

void sockets_finish(struct foyer_host *host)
{
    for (uint32_t i = 0; i < host->slots.count; i++) {
        struct sock *sock = slot_sock(host, i);
        struct time_wait *wait = slot_time_wait(host, i);
        if (sock != NULL)
            sock_free(host, sock);
        if (FOYER_WITH_TCP && wait != NULL)
            time_wait_end(host, wait);
    }
    slots_finish(host);
}

static struct foyer_addr wildcard(uint8_t family)
{
    return family == FOYER_FAMILY_V4 ? foyer_addr_v4(0, 0, 0, 0) : (struct foyer_addr){{0}};
}

/* What is only left of a connection gives way to a new socket. */
static bool sock_has_room(struct foyer_host *host)
{
    return host->slots.used < host->config.max_sockets || (FOYER_WITH_TCP && time_wait_shed(host));
}

static size_t sock_bytes(uint8_t protocol)
{
    return PROTOCOL_IS_TCP(protocol) ? sizeof(struct tcp_sock) : sizeof(struct sock);
}

struct sock *sock_create(struct foyer_host *host, uint8_t family, uint8_t protocol)
{
    if (!sock_has_room(host))
        return NULL;
    struct sock *sock = host_alloc_raw(host, sock_bytes(protocol));
    if (sock == NULL)
        return NULL;
    memset(sock, 0, sizeof(*sock)); /* tcp_create clears the rest */
    if (!slot_take(host, sock)) {
        host_free(host, sock, sock_bytes(protocol));
        return NULL;
    }
    sock->family = family;
    sock->protocol = protocol;
    sock->ttl = family == FOYER_FAMILY_V6 ? host->hop_limit : IP_TTL_DEFAULT;
    sock->local.addr = wildcard(family);
    sock->remote.addr = wildcard(family);
    if (PROTOCOL_IS_TCP(protocol)) {
        sock->timer.kind = TIMER_SOCK;
    } else {
        sock->multicast_ttl = 1; /* RFC 1112 section 6.1 */
        sock->multicast_loop = true;
    }
    sock->rings = &sock_no_rings;
    sock->options = &host->default_options;
    sock->congestion = (uint8_t)host->config.congestion;
    return sock;
}

/* The listener goes before its children. */
static void let_children_go(struct foyer_host *host, const struct sock *sock)
{
    struct listen *listen = sock->listen;
    struct slot_head *head;
    while ((head = slot_list_first(host, &listen->accept_queue)) != NULL) {
        slot_list_remove(host, &listen->accept_queue, head, SLOT_LINK_QUEUE);
        struct sock *child = (struct sock *)head;
        child->flags &= ~(uint32_t)(SOCK_CHILD | SOCK_IN_ACCEPT_QUEUE);
        child->owner = sock->owner;
        child->user = 0;
    }
}

static void leave_queue(struct foyer_host *host, struct sock *sock)
{
    struct slot_list *queue = (sock->flags & SOCK_IN_ACCEPT_QUEUE) != 0
                                  ? &sock->listener->listen->accept_queue
                                  : &host->event_list;
    slot_list_remove(host, queue, &sock->slot, SLOT_LINK_QUEUE);
}

void sock_free(struct foyer_host *host, struct sock *sock)
{
    struct slot_head head = sock->slot;
    sock_free_without_slot(host, sock);
    slot_give(host, &head);
}

void sock_free_without_slot(struct foyer_host *host, struct sock *sock)
{
    leave_queue(host, sock);
    ports_unbind(host, sock);
    ports_intercept(host, sock, FOYER_INTERCEPT_OFF);
    if (PROTOCOL_IS_TCP(sock->protocol))
        timer_cancel(&host->timers, &sock->timer);
    else
        list_remove(&sock->release_node);
    if (PROTOCOL_IS_UDP(sock->protocol)) {
        if (FOYER_WITH_MULTICAST)
            group_leave_all(host, sock);
        (void)udp_errors_switch(host, sock, false);
    }
    list_remove(&sock->output_node);
    if (FOYER_WITH_TCP && sock->tcb != NULL)
        tcp_free(host, sock);
    if (FOYER_WITH_TCP && sock->state == FOYER_STATE_LISTEN) {
        let_children_go(host, sock);
        tcp_requests_drop(host, sock, false);
        host_free(host, sock->listen, sizeof(*sock->listen));
    }
    sock_drop_rings(host, sock);
    sock_options_give(host, sock);

    host_free(host, sock, sock_bytes(sock->protocol));
}

foyer_socket sock_handle(const struct sock *sock)
{
    return slot_handle(&sock->slot);
}

/* Any living socket, also those that nobody has accepted yet or that were given back. */
static struct sock *find_sock(struct foyer_host *host, foyer_socket handle)
{
    uint32_t index = (uint32_t)handle.value;
    if (index >= host->slots.count)
        return NULL;
    struct sock *sock = slot_sock(host, index);
    return sock != NULL && sock->slot.generation == handle.value >> 32 ? sock : NULL;
}

struct sock *sock_from_handle(struct foyer_host *host, foyer_socket handle)
{
    struct sock *sock = find_sock(host, handle);
    /* Orphans have no holder any more, a listener's children none yet. */
    return sock != NULL && (sock->flags & SOCK_ORPHAN) == 0 && (sock->flags & SOCK_CHILD) == 0
               ? sock
               : NULL;
}

/* ---- events and output ------------------------------------------------------------------------------ */

void sock_event(struct foyer_host *host, struct sock *sock, uint32_t bits)
{
    if (sock->flags & SOCK_ORPHAN)
        return;
    sock->events = (uint8_t)(sock->events | bits);
    if (bits > UINT8_MAX) {
        sock->has_urgent_event |= (bits & FOYER_EVENT_URGENT) != 0;
        sock->has_ended_event |= (bits & FOYER_EVENT_REQUEST_ENDED) != 0;
    }
    /* A child's events wait for accept: before that nobody knows its handle. */
    if ((sock->flags & SOCK_CHILD) == 0 && !slot_is_linked(&sock->slot, SLOT_LINK_QUEUE))
        slot_list_push(host, &host->event_list, &sock->slot, SLOT_LINK_QUEUE);
}

void sock_fail(struct foyer_host *host, struct sock *sock, int error)
{
    if (sock->error == 0)
        sock->error = (int16_t)error;
    sock_event(host, sock, FOYER_EVENT_ERROR);
}

void sock_want_output(struct foyer_host *host, struct sock *sock)
{
    if (!list_is_linked(&sock->output_node))
        list_push_back(&host->output_list, &sock->output_node);
}

size_t foyer_host_events(struct foyer_host *host, struct foyer_event *ret_events, size_t max)
{
    size_t count = 0;
    if (host->own_events != 0 && max > 0) {
        ret_events[count++] =
            (struct foyer_event){.socket = FOYER_SOCKET_NONE, .events = host->own_events};
        host->own_events = 0;
    }
    while (count < max) {
        struct slot_head *head = slot_list_first(host, &host->event_list);
        if (head == NULL)
            break;
        slot_list_remove(host, &host->event_list, head, SLOT_LINK_QUEUE);
        struct sock *sock = (struct sock *)head;
        uint32_t events = sock->events;
        if (sock->has_urgent_event)
            events |= FOYER_EVENT_URGENT;
        if (sock->has_ended_event)
            events |= FOYER_EVENT_REQUEST_ENDED;
        ret_events[count++] =
            (struct foyer_event){.socket = sock_handle(sock), .user = sock->user, .events = events};
        sock->events = 0;
        sock->has_urgent_event = sock->has_ended_event = false;
    }
    return count;
}

/* ---- open ----------------------------------------------------------------------------------------------- */

int foyer_socket_open(struct foyer_host *host, enum foyer_family family,
                      enum foyer_protocol protocol, uint64_t owner, foyer_socket *ret_socket)
{
    if (family != FOYER_FAMILY_V4 && (family != FOYER_FAMILY_V6 || !FOYER_WITH_IPV6))
        return -EAFNOSUPPORT;
    if (!(FOYER_WITH_TCP && protocol == FOYER_TCP) && !(FOYER_WITH_UDP && protocol == FOYER_UDP))
        return -EPROTONOSUPPORT;
    if (!sock_has_room(host))
        return -EMFILE;
    struct sock *sock = sock_create(host, (uint8_t)family, (uint8_t)protocol);
    if (sock == NULL)
        return -ENOMEM;
    sock->owner = owner;
    *ret_socket = sock_handle(sock);
    return 0;
}

int foyer_socket_set_user(struct foyer_host *host, foyer_socket socket, uint64_t user)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    sock->user = user;
    return 0;
}

int foyer_socket_set_owner(struct foyer_host *host, foyer_socket socket, uint64_t owner)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    sock->owner = owner;
    return 0;
}

/* ---- bind and listen ------------------------------------------------------------------------------------ */

/* May the socket speak from or to this address at all? */
static int check_family(const struct sock *sock, const struct foyer_addr *addr)
{
    if (sock->family == FOYER_FAMILY_V4)
        return addr_is_spoken(addr) && foyer_addr_is_v4(addr) ? 0 : -EAFNOSUPPORT;
    return foyer_addr_is_v4(addr) && (sock->flags & SOCK_V6ONLY) ? -EINVAL : 0;
}

static int bind_sock(struct foyer_host *host, struct sock *sock, const struct foyer_endpoint *local,
                     foyer_socket *ret_holder)
{
    foyer_socket holder = FOYER_SOCKET_NONE;
    int error = ports_bind(host, sock, local, &holder);
    if (ret_holder != NULL)
        *ret_holder = holder;
    return error;
}

int foyer_socket_bind(struct foyer_host *host, foyer_socket socket,
                      const struct foyer_endpoint *local, foyer_socket *ret_holder)
{
    if (ret_holder != NULL)
        *ret_holder = FOYER_SOCKET_NONE;
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    int error = check_family(sock, &local->addr);
    if (error != 0)
        return error;
    if ((sock->flags & SOCK_BOUND) || sock->state != FOYER_STATE_CLOSED)
        return -EINVAL;
    if ((sock->flags & SOCK_INTERCEPT) && !foyer_addr_is_any(&local->addr))
        return -EINVAL;
    bool is_group = foyer_addr_is_multicast(&local->addr) || ip_is_broadcast(host, &local->addr);
    if (!foyer_addr_is_any(&local->addr) && !ip_is_own(host, &local->addr) &&
        !(is_group && PROTOCOL_IS_UDP(sock->protocol)))
        return -EADDRNOTAVAIL;
    return bind_sock(host, sock, local, ret_holder);
}

int foyer_socket_listen(struct foyer_host *host, foyer_socket socket, uint32_t backlog,
                        foyer_socket *ret_holder)
{
    if (ret_holder != NULL)
        *ret_holder = FOYER_SOCKET_NONE;
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (!PROTOCOL_IS_TCP(sock->protocol))
        return -EOPNOTSUPP;
    if (sock->state == FOYER_STATE_LISTEN) {
        sock->listen->backlog = backlog;
        return 0;
    }
    if (sock->state != FOYER_STATE_CLOSED)
        return -EINVAL;
    struct listen *listen = host_alloc(host, sizeof(*listen));
    if (listen == NULL)
        return -ENOMEM;
    bool was_bound = (sock->flags & SOCK_BOUND) != 0;
    if (!was_bound) {
        struct foyer_endpoint any = {sock->local.addr, 0};
        int error = bind_sock(host, sock, &any, ret_holder);
        if (error != 0) {
            host_free(host, listen, sizeof(*listen));
            return error;
        }
    }
    foyer_socket holder = FOYER_SOCKET_NONE;
    int error = ports_listen(host, sock, &holder);
    if (error != 0) {
        host_free(host, listen, sizeof(*listen));
        if (ret_holder != NULL)
            *ret_holder = holder;
        if (!was_bound)
            ports_unbind(host, sock);
        return error;
    }
    /* From here on the place of a connection's path is that of the listener's queues. */
    list_remove(&sock->output_node);
    list_init(&listen->requests);
    list_init(&listen->held);
    list_init(&listen->ended);
    listen->backlog = backlog;
    sock->listen = listen;
    sock->state = FOYER_STATE_LISTEN;
    return 0;
}

/* Into the socket's own empty ring, before there is a connection. How many bytes; -ENOMEM. */
static int64_t put_early(struct foyer_host *host, struct sock *sock, const void *bytes, size_t size)
{
    if (sock_need_tx(host, sock) != 0)
        return -ENOMEM;
    uint32_t room = foyer_ring_free(&sock->rings->tx);
    if (room == UINT32_MAX)
        return -ECONNRESET;
    uint32_t count = size < room ? (uint32_t)size : room;
    uint32_t head = foyer_ring_head(&sock->rings->tx);
    foyer_ring_put(&sock->rings->tx, head, bytes, count);
    foyer_ring_publish_head(&sock->rings->tx, head + count);
    return count;
}

int foyer_socket_fastopen_room(struct foyer_host *host, foyer_socket socket,
                               const struct foyer_addr *remote, uint32_t *ret_bytes)
{
    const struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (!PROTOCOL_IS_TCP(sock->protocol))
        return -EOPNOTSUPP;
    *ret_bytes = fastopen_room(host, sock, remote);
    return 0;
}

int64_t foyer_socket_connect_send(struct foyer_host *host, foyer_socket socket,
                                  const struct foyer_endpoint *remote, const void *bytes,
                                  size_t size, foyer_time_ns now)
{
    const struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (!PROTOCOL_IS_TCP(sock->protocol))
        return -EOPNOTSUPP;
    if (sock->options->fastopen == 0) {
        int error = foyer_socket_set_option(host, socket, FOYER_OPT_FASTOPEN, 1);
        if (error != 0)
            return error;
    }
    int error = foyer_socket_connect(host, socket, remote, now);
    if (error != -EINPROGRESS || size == 0)
        return error;
    /* The SYN leaves with the next pull, and takes what is there then. */
    int64_t count = put_early(host, sock_from_handle(host, socket), bytes, size);
    if (count < 0) {
        (void)foyer_socket_shutdown(host, socket, FOYER_SHUTDOWN_WRITE, now);
        return count;
    }
    return count;
}

int foyer_socket_accept(struct foyer_host *host, foyer_socket listener, uint64_t owner,
                        foyer_socket *ret_socket)
{
    struct sock *sock = sock_from_handle(host, listener);
    if (sock == NULL)
        return -EBADF;
    if (sock->state != FOYER_STATE_LISTEN)
        return -EINVAL;
    struct slot_head *head = slot_list_first(host, &sock->listen->accept_queue);
    if (head == NULL)
        return -EAGAIN;
    slot_list_remove(host, &sock->listen->accept_queue, head, SLOT_LINK_QUEUE);
    struct sock *child = (struct sock *)head;
    sock->listen->accept_count--;
    child->flags &= ~(uint32_t)(SOCK_CHILD | SOCK_IN_ACCEPT_QUEUE);
    child->user = child->next_user; /* of the request that it was */
    child->owner = owner;
    if (child->events != 0 || child->has_urgent_event)
        sock_event(host, child, 0); /* what happened while it waited */
    *ret_socket = sock_handle(child);
    return 0;
}

/* ---- connect ---------------------------------------------------------------------------------------------- */

/* The remote as it is meant: a wildcard is this host itself, as on Linux. */
static int check_remote(const struct sock *sock, const struct foyer_endpoint *remote,
                        struct foyer_endpoint *ret_remote)
{
    struct foyer_endpoint meant = *remote;
    if (foyer_addr_is_any(&meant.addr)) {
        /* An IPv6 wildcard of a socket bound to IPv4 means that family's loopback. */
        bool is_v4 = foyer_addr_is_v4(&meant.addr) ||
                     (foyer_addr_is_v4(&sock->local.addr) && sock->family == FOYER_FAMILY_V6);
        static const struct foyer_addr one = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
        meant.addr = is_v4 ? foyer_addr_v4(127, 0, 0, 1) : one;
    }
    int error = check_family(sock, &meant.addr);
    if (error != 0)
        return error == -EINVAL ? -ENETUNREACH : error;
    *ret_remote = meant;
    return 0;
}

static void forget_chosen_address(struct sock *sock)
{
    if ((sock->flags & SOCK_ADDRESS_CHOSEN) == 0)
        return;
    sock->flags &= ~(uint32_t)SOCK_ADDRESS_CHOSEN;
    sock->local.addr = wildcard(sock->family);
}

/* Undoes what a connect that failed at once has chosen. */
static void undo_connect(struct foyer_host *host, struct sock *sock)
{
    ports_disconnect(host, sock);
    forget_chosen_address(sock);
    (void)ports_regroup(host, sock);
    sock->remote = (struct foyer_endpoint){.addr = wildcard(sock->family)};
    sock->path_generation = 0;
    if ((sock->flags & SOCK_BOUND) == 0)
        sock->local.port = 0;
}

static int connect_tcp(struct foyer_host *host, struct sock *sock,
                       const struct foyer_endpoint *remote, foyer_time_ns now)
{
    if (!FOYER_WITH_TCP)
        return -EOPNOTSUPP;
    if (remote->port == 0)
        return -ECONNREFUSED;
    if (sock->state == FOYER_STATE_SYN_SENT)
        return -EALREADY;
    if (sock->state != FOYER_STATE_CLOSED || (sock->flags & SOCK_LOCAL_CARRIER))
        return -EISCONN;
    forget_chosen_address(sock); /* of a connection before this one */
    bool was_any = foyer_addr_is_any(&sock->local.addr);
    sock->remote = *remote;
    sock->path_generation = 0;
    sock->error = 0;
    sock->flags &= ~(uint32_t)(SOCK_SHUT_READ | SOCK_SHUT_WRITE);
    int error = ip_path(host, sock);
    if (error == 0) {
        if (was_any)
            sock->flags |= SOCK_ADDRESS_CHOSEN;
        error = ports_connect(host, sock);
    }
    if (error == 0)
        error = tcp_connect(host, sock, now);
    if (error != 0 && error != -EINPROGRESS)
        undo_connect(host, sock);
    return error;
}

int foyer_socket_connect(struct foyer_host *host, foyer_socket socket,
                         const struct foyer_endpoint *remote, foyer_time_ns now)
{
    struct foyer_endpoint meant;
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    host_begin(host, now);
    if (PROTOCOL_IS_UDP(sock->protocol) && foyer_addr_is_any(&remote->addr) && remote->port == 0) {
        udp_disconnect(host, sock);
        return 0;
    }
    int error = check_remote(sock, remote, &meant);
    if (error != 0)
        return error;
    if (PROTOCOL_IS_UDP(sock->protocol))
        return udp_connect(host, sock, &meant);
    return connect_tcp(host, sock, &meant, host->now_ns);
}

/* ---- the local carrier -------------------------------------------------------------------------------------- */

/* The connecting end's address, port and place in the tables. */
static int name_local_end(struct foyer_host *host, struct sock *sock,
                          const struct foyer_endpoint *remote)
{
    forget_chosen_address(sock);
    sock->remote = *remote;
    if (foyer_addr_is_any(&sock->local.addr)) {
        struct foyer_addr src;
        if (!ip_choose_source(host, &remote->addr, &src))
            return -ENETUNREACH;
        sock->local.addr = src;
        sock->flags |= SOCK_ADDRESS_CHOSEN;
    } else if (foyer_addr_is_v4(&sock->local.addr) != foyer_addr_is_v4(&remote->addr)) {
        return -ENETUNREACH;
    }
    return ports_connect(host, sock);
}

int foyer_socket_connect_local(struct foyer_host *host, foyer_socket socket,
                               const struct foyer_endpoint *remote,
                               struct foyer_host *listener_host, foyer_socket listener,
                               uint64_t owner, foyer_socket *ret_accepted, foyer_time_ns now)
{
    struct foyer_endpoint meant;
    struct sock *sock = sock_from_handle(host, socket);
    struct sock *listening = sock_from_handle(listener_host, listener);
    if (sock == NULL || listening == NULL)
        return -EBADF;
    host_begin(host, now);
    if (!PROTOCOL_IS_TCP(sock->protocol) || listening->state != FOYER_STATE_LISTEN)
        return -EINVAL;
    if (sock->state != FOYER_STATE_CLOSED)
        return sock->state == FOYER_STATE_SYN_SENT ? -EALREADY : -EISCONN;
    int error = check_remote(sock, remote, &meant);
    if (error != 0)
        return error;
    if (meant.port == 0 || listening->local.port != meant.port)
        return -ECONNREFUSED;

    struct sock *accepted = sock_create(listener_host, listening->family, FOYER_TCP);
    if (accepted == NULL)
        return -ENOMEM;
    error = name_local_end(host, sock, &meant);
    if (error == 0) {
        accepted->local = meant;
        accepted->remote = sock->local;
        accepted->owner = owner;
        error = ports_adopt(listener_host, accepted, listening);
        if (error == -EEXIST)
            error = -EADDRNOTAVAIL;
    }
    if (error != 0) {
        sock_free(listener_host, accepted);
        undo_connect(host, sock);
        return error;
    }
    sock->flags |= SOCK_LOCAL_CARRIER;
    accepted->flags |= SOCK_LOCAL_CARRIER;
    sock->state = FOYER_STATE_ESTABLISHED;
    accepted->state = FOYER_STATE_ESTABLISHED;
    *ret_accepted = sock_handle(accepted);
    return 0;
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

int foyer_socket_shutdown(struct foyer_host *host, foyer_socket socket, unsigned how,
                          foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (how == 0 || (how & ~(unsigned)(FOYER_SHUTDOWN_READ | FOYER_SHUTDOWN_WRITE)) != 0)
        return -EINVAL;
    host_begin(host, now);
    bool is_carried = PROTOCOL_IS_UDP(sock->protocol) || (sock->flags & SOCK_LOCAL_CARRIER);
    if (is_carried ? (sock->flags & SOCK_CONNECTED) == 0 : sock->tcb == NULL)
        return -ENOTCONN;
    if (how & FOYER_SHUTDOWN_READ)
        sock->flags |= SOCK_SHUT_READ;
    if (how & FOYER_SHUTDOWN_WRITE)
        sock->flags |= SOCK_SHUT_WRITE;
    if (!FOYER_WITH_TCP)
        return 0;
    return is_carried ? 0 : tcp_shutdown(host, sock, how, host->now_ns);
}

static void close_udp(struct foyer_host *host, struct sock *sock)
{
    bool has_unsent = foyer_ring_is_set(&sock->rings->tx) && (sock->flags & SOCK_BOUND) &&
                      list_is_linked(&sock->output_node) &&
                      foyer_ring_head(&sock->rings->tx) != sock->udp_tx_tail;
    if (!has_unsent || sock_take_rings_back(host, sock) != 0) {
        sock_free(host, sock);
        return;
    }
    /* What was sent is sent; the port is free at once. udp_release frees the socket. */
    struct foyer_endpoint local = sock->local;
    ports_unbind(host, sock);
    sock->local = local;
    sock->flags |= SOCK_ORPHAN;
    sock->events = 0;
    slot_list_remove(host, &host->event_list, &sock->slot, SLOT_LINK_QUEUE);
}

int foyer_socket_close(struct foyer_host *host, foyer_socket socket, foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    host_begin(host, now);
    if (PROTOCOL_IS_UDP(sock->protocol)) {
        close_udp(host, sock);
    } else if (sock->state == FOYER_STATE_LISTEN) {
        tcp_listener_close(host, sock, host->now_ns);
        sock_free(host, sock);
    } else if (sock->tcb == NULL) {
        sock_free(host, sock);
    } else {
        tcp_close(host, sock, host->now_ns);
    }
    return 0;
}

int foyer_socket_abort(struct foyer_host *host, foyer_socket socket, foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    host_begin(host, now);
    if (FOYER_WITH_TCP && sock->state == FOYER_STATE_LISTEN)
        tcp_listener_close(host, sock, host->now_ns);
    if (FOYER_WITH_TCP && sock->tcb != NULL)
        tcp_abort(host, sock, host->now_ns);
    else
        sock_free(host, sock);
    return 0;
}

/* ---- questions ---------------------------------------------------------------------------------------------------- */

static int time_wait_info(const struct foyer_host *host, foyer_socket socket,
                          struct foyer_socket_info *ret_info)
{
    if (!FOYER_WITH_TCP)
        return -EBADF;
    uint32_t index = (uint32_t)socket.value;
    const struct time_wait *wait = index < host->slots.count ? slot_time_wait(host, index) : NULL;
    if (wait == NULL || wait->slot.generation != socket.value >> 32)
        return -EBADF;
    *ret_info = (struct foyer_socket_info){
        .protocol = FOYER_TCP,
        .family = (enum foyer_family)wait->family,
        .state = FOYER_STATE_TIME_WAIT,
        .is_bound = true,
        .local = time_wait_local(wait),
        .remote = time_wait_remote(wait),
        .owner = wait->owner,
    };
    return 0;
}

int foyer_socket_info(struct foyer_host *host, foyer_socket socket,
                      struct foyer_socket_info *ret_info)
{
    const struct sock *sock = find_sock(host, socket);
    if (sock == NULL)
        return time_wait_info(host, socket, ret_info);
    struct foyer_socket_info info = {
        .protocol = (enum foyer_protocol)sock->protocol,
        .family = (enum foyer_family)sock->family,
        .state = (enum foyer_socket_state)sock->state,
        .is_bound = (sock->flags & SOCK_BOUND) != 0,
        .is_local_carrier = (sock->flags & SOCK_LOCAL_CARRIER) != 0,
        .local = sock->local,
        .remote = sock->remote,
        .owner = (sock->flags & SOCK_CHILD) != 0 ? sock->listener->owner : sock->owner,
        .user = (sock->flags & SOCK_CHILD) != 0 ? 0 : sock->user,
    };
    if (sock->state == FOYER_STATE_LISTEN) {
        info.accept_queue_count = sock->listen->accept_count;
        info.request_count = sock->listen->request_count;
        info.backlog = sock->listen->backlog;
    }
    if (PROTOCOL_IS_TCP(sock->protocol))
        tcp_info(host, sock, &info);
    *ret_info = info;
    return 0;
}

int foyer_socket_take_error(struct foyer_host *host, foyer_socket socket)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    int error = sock->error;
    sock->error = 0;
    return error;
}

bool foyer_socket_next(struct foyer_host *host, foyer_socket *io_socket)
{
    uint32_t index = io_socket->value == 0 ? 0 : (uint32_t)io_socket->value + 1;
    for (; index < host->slots.count; index++) {
        const struct sock *sock = slot_sock(host, index);
        const struct time_wait *wait = slot_time_wait(host, index);
        if (sock != NULL || wait != NULL) {
            *io_socket = slot_handle(sock != NULL ? &sock->slot : &wait->slot);
            return true;
        }
    }
    return false;
}

foyer_socket foyer_socket_find(struct foyer_host *host, enum foyer_protocol protocol,
                               const struct foyer_endpoint *local,
                               const struct foyer_endpoint *remote)
{
    struct sock *sock = NULL;
    if (PROTOCOL_IS_UDP(protocol))
        sock = ports_find_connected(host, FOYER_UDP, local, remote);
    if (sock == NULL)
        sock = ports_find_bound(host, (uint8_t)protocol, local, remote);
    return sock != NULL ? sock_handle(sock) : FOYER_SOCKET_NONE;
}
