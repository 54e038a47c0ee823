/* socket, bind, listen, connect, shutdown and the names of both ends; accept is in accept.c. */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "preload/raw.h"
#include "preload/real.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* ---- small things -------------------------------------------------------------------------- */

int socket_check_limit(int fd)
{
    if ((rlim_t)fd < preload_config.program_nofile.rlim_cur)
        return 0;
    raw_close(fd);
    return -EMFILE;
}

bool socket_is_nonblocking(const struct socket_object *sock, int flags)
{
    return (flags & MSG_DONTWAIT) != 0 || (slot_options(sock) & FOYER_SLOT_NONBLOCK) != 0;
}

void socket_set_nonblocking(struct socket_object *sock, int fd, bool is_on)
{
    int flags = raw_fcntl(fd, F_GETFL, 0);
    if (flags >= 0)
        raw_fcntl(fd, F_SETFL, is_on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
    if (is_on)
        atomic_fetch_or(&sock->slot->options, FOYER_SLOT_NONBLOCK);
    else
        atomic_fetch_and(&sock->slot->options, ~(uint32_t)FOYER_SLOT_NONBLOCK);
}

/* Each distinct line once per process: a server that retries must not fill the log. */
static void warn_conflict(const char text[FOYER_CONFLICT_TEXT_MAX])
{
    static _Atomic uint64_t seen[16];
    static _Atomic uint32_t next;
    char line[FOYER_CONFLICT_TEXT_MAX];
    memcpy(line, text, sizeof(line));
    line[sizeof(line) - 1] = 0;
    if (line[0] == 0)
        return;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *at = line; *at != 0; at++)
        hash = (hash ^ (uint8_t)*at) * 1099511628211u;
    for (unsigned i = 0; i < 16; i++) {
        if (atomic_load(&seen[i]) == hash)
            return;
    }
    atomic_store(&seen[atomic_fetch_add(&next, 1) % 16], hash);
    preload_warn(line);
}

static int endpoint_call(struct foyer_request *request, struct foyer_endpoint *ret_local)
{
    struct foyer_reply_endpoint reply;
    int error = session_call(request, NULL, &reply.header, sizeof(reply), NULL);
    if (error == -EADDRINUSE)
        warn_conflict(reply.conflict);
    if (error == 0 && ret_local != NULL)
        *ret_local = reply.local;
    return error;
}

void socket_ring_own_bell(const struct socket_object *sock)
{
    struct foyer_request request = {
        .type = FOYER_REQUEST_OPTIONS, .size = sizeof(request), .id = sock->id};
    session_tell(&request);
}

/* ---- socket -------------------------------------------------------------------------------- */

static struct socket_object *object_from_socket(const struct foyer_reply_socket *reply,
                                                uint32_t family, uint32_t type,
                                                struct message_fds *fds)
{
    void *arena = session_arena(reply->arena);
    struct foyer_slot *slot = arena == NULL ? NULL : foyer_arena_slot(arena, reply->slot);
    struct socket_object *sock = slot == NULL ? NULL : socket_object_create();
    if (sock == NULL)
        return NULL;
    sock->id = reply->header.id;
    sock->arena = reply->arena;
    sock->slot = slot;
    sock->family = family;
    sock->type = type;
    if (reply->ring_size != 0) {
        int memfd = message_fds_take(fds, 1);
        struct channel *channel = memfd < 0 ? NULL : channel_create(memfd, reply->ring_size, 0, -1);
        if (channel == NULL) {
            socket_release(sock);
            return NULL;
        }
        socket_add_channel(sock, channel);
    }
    return sock;
}

int socket_install(struct socket_object *sock, int fd, int flags)
{
    int error = socket_check_limit(fd);
    if (error == 0) {
        if ((flags & SOCK_CLOEXEC) == 0)
            raw_fcntl(fd, F_SETFD, 0);
        if ((flags & SOCK_NONBLOCK) != 0)
            socket_set_nonblocking(sock, fd, true);
        table_set(fd, &sock->object);
    }
    socket_release(sock);
    return error < 0 ? error : fd;
}

#define SPARE_INTERVAL_NS 20000000 /* between two requests, so that spares are asked for */

/* The reply's spares go to the list as far as there is room; the others are let go of. */
static void spares_put(const struct foyer_reply_sockets *reply, uint32_t family,
                       struct message_fds *fds)
{
    for (uint32_t i = 0; i < reply->spare_count && i < FOYER_SPARES_MAX; i++) {
        int fd = message_fds_take(fds, i + 1);
        if (fd >= 0)
            fd = table_hide(fd);
        if (fd < 0)
            continue;
        struct spare spare = {fd, family, reply->first.arena, reply->spares[i].slot,
                              reply->spares[i].id};
        if (!spare_put(&spare))
            table_close_hidden(fd);
    }
}

/* How many spares to ask for: a program that opens sockets in haste will open more. */
static uint32_t spares_wanted(int type)
{
    static _Atomic int64_t asked_ns;
    if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM)
        return 0;
    int64_t now_ns = clock_ns();
    return now_ns - atomic_exchange(&asked_ns, now_ns) < SPARE_INTERVAL_NS ? FOYER_SPARES_MAX : 0;
}

/* A descriptor, or -EAGAIN where there is none in stock. */
static int socket_open_spare(int family, int type)
{
    struct spare spare;
    if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM ||
        !spare_take((uint32_t)family, &spare))
        return -EAGAIN;
    bool is_cloexec = (type & SOCK_CLOEXEC) != 0;
    int fd = raw_fcntl(spare.fd, is_cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    if (fd < 0) {
        table_close_hidden(spare.fd);
        return -EAGAIN; /* foyerd's way says what the kernel would say */
    }
    struct foyer_reply_socket reply = {
        .header = {.id = spare.id}, .arena = spare.arena, .slot = spare.slot};
    struct message_fds none = {.count = 0};
    struct socket_object *sock = object_from_socket(&reply, (uint32_t)family, SOCK_STREAM, &none);
    if (sock == NULL) {
        table_close_hidden(spare.fd);
        raw_close(fd);
        return -ENOMEM;
    }
    if (preload_config.keeps)
        sock->hidden_fd = spare.fd;
    else
        table_close_hidden(spare.fd);
    return socket_install(sock, fd, type | SOCK_CLOEXEC);
}

static int socket_open(int family, int type, int protocol)
{
    int prepared = socket_open_spare(family, type);
    if (prepared != -EAGAIN)
        return prepared;
    struct foyer_request_socket request = {
        .header = {.type = FOYER_REQUEST_SOCKET, .size = sizeof(request)},
        .family = (uint32_t)family,
        .type = (uint32_t)(type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)),
        .protocol = (uint32_t)protocol,
        .spare_count = spares_wanted(type),
    };
    struct foyer_reply_sockets reply;
    struct message_fds fds = {.count = 0};
    size_t reply_size = request.spare_count > 0 ? sizeof(reply) : sizeof(reply.first);
    memset(&reply, 0, sizeof(reply));
    int error = session_call(&request.header, NULL, &reply.first.header, reply_size, &fds);
    int fd = message_fds_take(&fds, 0);
    if (error == 0 && fd < 0)
        error = -EMFILE; /* the kernel had no number left for it */
    struct socket_object *sock = NULL;
    if (error == 0) {
        sock = object_from_socket(&reply.first, request.family, request.type, &fds);
        error = sock == NULL ? -ENOMEM : 0;
    }
    if (error < 0 || sock == NULL) {
        message_fds_close(&fds);
        if (fd >= 0)
            raw_close(fd);
        return error;
    }
    fd = socket_install(sock, fd, type);
    spares_put(&reply, request.family, &fds); /* after fd has got the number it must have */
    message_fds_close(&fds);
    return fd;
}

ENTRY int socket(int family, int type, int protocol)
{
    int kind = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!preload_config.is_enabled || (family != AF_INET && family != AF_INET6))
        return REAL(socket)(family, type, protocol);
    if (kind == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP))
        return result_int(socket_open(family, type, IPPROTO_TCP));
    if (kind == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP))
        return result_int(socket_open(family, type, IPPROTO_UDP));
    if (protocol == IPPROTO_MPTCP || protocol == IPPROTO_SCTP || protocol == IPPROTO_UDPLITE ||
        protocol == IPPROTO_DCCP) {
        errno = EPROTONOSUPPORT; /* programs fall back to TCP or UDP */
        return -1;
    }
    return REAL(socket)(family, type, protocol);
}

/* ---- bind and listen ----------------------------------------------------------------------- */

static int socket_bind(struct socket_object *sock, const struct sockaddr *addr, socklen_t size)
{
    struct foyer_request_endpoint request = {
        .header = {.type = FOYER_REQUEST_BIND, .size = sizeof(request), .id = sock->id},
    };
    sa_family_t family;
    if (addr == NULL || size < sizeof(family))
        return -EINVAL;
    memcpy(&family, addr, sizeof(family));
    /* inet6_bind; to send to, UDP takes the older family's addresses. */
    if (sock->family == AF_INET6 && family == AF_INET)
        return size < SOCKADDR_IN6_SIZE_MIN ? -EINVAL : -EAFNOSUPPORT;
    int error = address_parse_program(sock, addr, size, &request.endpoint);
    if (error == -ENETUNREACH)
        error = -EINVAL; /* inet6_bind: an IPv4-mapped address on an IPV6_V6ONLY socket */
    if (error < 0)
        return error;
    if ((slot_options(sock) & FOYER_SLOT_BOUND) != 0)
        return -EINVAL;
    return endpoint_call(&request.header, NULL);
}

int socket_autobind(struct socket_object *sock)
{
    struct foyer_request_endpoint request = {
        .header = {.type = FOYER_REQUEST_BIND, .size = sizeof(request), .id = sock->id},
    };
    if ((slot_options(sock) & FOYER_SLOT_BOUND) != 0)
        return 0;
    if (sock->family == AF_INET || (slot_options(sock) & FOYER_SLOT_V6ONLY) == 0)
        request.endpoint.addr = foyer_addr_v4(0, 0, 0, 0);
    if (sock->family == AF_INET6)
        memset(&request.endpoint.addr, 0, sizeof(request.endpoint.addr));
    int error = endpoint_call(&request.header, NULL);
    /* Another thread was first. */
    return error == -EINVAL ? 0 : error;
}

ENTRY int bind(int fd, __CONST_SOCKADDR_ARG addr, socklen_t size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(bind)(fd, addr, size);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(bind)(fd, addr, size);
    int error = socket_bind(sock, addr.__sockaddr__, size);
    socket_release(sock);
    return result_int(error);
}

static int socket_listen(struct socket_object *sock, int fd, int backlog)
{
    uint32_t state = slot_state(sock);
    if (sock->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    if (state != FOYER_SLOT_FRESH && state != FOYER_SLOT_LISTENING && state != FOYER_SLOT_FAILED)
        return -EINVAL;
    struct foyer_request_listen request = {
        .header = {.type = FOYER_REQUEST_LISTEN, .size = sizeof(request), .id = sock->id},
        /* A negative one is a huge unsigned one in the kernel, cut to somaxconn. */
        .backlog = backlog < 0 || backlog > 4096 ? 4096u : (uint32_t)backlog,
    };
    /*
     * From now on what comes over the pair is connections: no old byte may stand before them, nor
     * connections of an earlier life as a listener, which each end a recv.
     */
    char bytes[256];
    while (state != FOYER_SLOT_LISTENING && raw_recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
    return endpoint_call(&request.header, NULL);
}

ENTRY int listen(int fd, int backlog)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(listen)(fd, backlog);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(listen)(fd, backlog);
    int error = socket_listen(sock, fd, backlog);
    socket_release(sock);
    return result_int(error);
}

/* ---- connect ------------------------------------------------------------------------------- */

static int wait_connected(struct socket_object *sock, int fd)
{
    struct wait wait = {.events = POLLOUT,
                        .deadline_ns = deadline_after(sock->slot->send_timeout_us)};
    while (slot_state(sock) == FOYER_SLOT_CONNECTING) {
        int error = wait_sleep(sock, fd, &wait);
        if (error < 0)
            return error == -EAGAIN ? -EINPROGRESS : error;
    }
    atomic_store(&sock->connect_pending, false);
    if (slot_state(sock) == FOYER_SLOT_CONNECTED)
        return 0;
    int error = slot_take_error(sock);
    return error != 0 ? error : -ECONNABORTED;
}

/* Maps the connection's rings: descriptors channel and, for the local carrier, the peer bell. */
static int attach_connection(struct socket_object *sock, const struct foyer_reply_connect *reply,
                             struct message_fds *fds)
{
    int memfd = message_fds_take(fds, 0);
    int bell = message_fds_take(fds, 1);
    if (bell >= 0) {
        bell = table_hide(bell);
        if (bell < 0) {
            if (memfd >= 0)
                raw_close(memfd);
            return bell;
        }
    }
    if (memfd < 0) {
        table_close_hidden(bell);
        return -ENOBUFS;
    }
    struct channel *channel =
        channel_create_kept(sock->slot->channel_id, memfd, reply->ring_size, reply->side & 1, bell);
    if (channel == NULL)
        return -ENOBUFS;
    if (sock->slot->peer_arena != 0)
        channel_use_nooks(channel, reply->side);
    socket_add_channel(sock, channel);
    return 0;
}

static int request_connect(struct socket_object *sock, int fd,
                           struct foyer_request_endpoint *request)
{
    struct foyer_reply_connect reply;
    struct message_fds fds = {.count = 0};
    request->header.type = FOYER_REQUEST_CONNECT;
    request->header.size = sizeof(*request);
    request->header.id = sock->id;
    int result = session_call(&request->header, NULL, &reply.header, sizeof(reply), &fds);
    if (result == -EADDRINUSE)
        warn_conflict(reply.conflict);
    if (sock->type == SOCK_STREAM && (result == 0 || result == -EINPROGRESS)) {
        int error = attach_connection(sock, &reply, &fds);
        if (error < 0)
            result = error;
    }
    message_fds_close(&fds);
    if (result != -EINPROGRESS)
        return result;
    atomic_store(&sock->connect_pending, true);
    return socket_is_nonblocking(sock, 0) ? -EINPROGRESS : wait_connected(sock, fd);
}

/* connect to AF_UNSPEC: what there is of a connection ends, a listener listens no more. */
static int dissolve(struct socket_object *sock)
{
    struct foyer_reply_connect reply;
    struct foyer_request_endpoint request = {
        .header = {.type = FOYER_REQUEST_CONNECT, .size = sizeof(request), .id = sock->id},
        .family_unspecified = 1,
    };
    if (sock->family == AF_INET)
        request.endpoint.addr = foyer_addr_v4(0, 0, 0, 0);
    bool was_connected = slot_state(sock) == FOYER_SLOT_CONNECTED;
    int error = session_call(&request.header, NULL, &reply.header, sizeof(reply), NULL);
    if (error == 0 && was_connected && sock->type == SOCK_STREAM)
        atomic_store(&sock->slot->error, ECONNRESET); /* tcp_disconnect */
    atomic_store(&sock->connect_pending, false);
    return error;
}

/* The wildcard as a destination is the host itself (ip(7), and ::1 by ipv6's connect). */
static void route_wildcard(struct foyer_endpoint *endpoint)
{
    if (!foyer_addr_is_any(&endpoint->addr))
        return;
    if (foyer_addr_is_v4(&endpoint->addr)) {
        endpoint->addr = foyer_addr_v4(127, 0, 0, 1);
    } else {
        memset(&endpoint->addr, 0, sizeof(endpoint->addr));
        endpoint->addr.bytes[15] = 1;
    }
}

/*
 * Linux never says of a connection at once that it is there, or refused, where the program does
 * not wait, and programs are written for that: they go on to watch the socket.
 */
static int as_if_under_way(struct socket_object *sock, int result)
{
    if ((result != 0 && result != -ECONNREFUSED) || !socket_is_nonblocking(sock, 0))
        return result;
    atomic_store(&sock->connect_pending, true);
    if (atomic_load(&sock->watch_count) > 0)
        socket_ring_own_bell(sock); /* watched already: it is an edge */
    return -EINPROGRESS;
}

static int connect_stream(struct socket_object *sock, int fd,
                          struct foyer_request_endpoint *request)
{
    bool was_pending;
    int error;
    switch (slot_state(sock)) {
    case FOYER_SLOT_CONNECTING:
        return socket_is_nonblocking(sock, 0) ? -EALREADY : wait_connected(sock, fd);
    case FOYER_SLOT_CONNECTED:
        /* The first call after EINPROGRESS learns of success, later ones EISCONN. */
        was_pending = atomic_exchange(&sock->connect_pending, false);
        return was_pending ? 0 : -EISCONN;
    case FOYER_SLOT_LISTENING:
        return -EISCONN;
    case FOYER_SLOT_FAILED:
        if (atomic_exchange(&sock->connect_pending, false)) {
            error = slot_take_error(sock);
            return error != 0 ? error : -ECONNABORTED;
        }
        slot_take_error(sock);
        break;
    default:
        break;
    }
    route_wildcard(&request->endpoint);
    error = keep_connect(sock, fd, &request->endpoint);
    if (error != -EAGAIN)
        return error;
    return as_if_under_way(sock, request_connect(sock, fd, request));
}

static int socket_connect(struct socket_object *sock, int fd, const struct sockaddr *addr,
                          socklen_t size)
{
    struct foyer_request_endpoint request;
    memset(&request, 0, sizeof(request));
    sa_family_t family;
    if (addr == NULL || size < sizeof(family))
        return -EINVAL;
    memcpy(&family, addr, sizeof(family));
    if (family == AF_UNSPEC) {
        if (sock->type == SOCK_STREAM && slot_state(sock) == FOYER_SLOT_FRESH)
            return 0;
        return dissolve(sock);
    }
    int error = address_parse_program(sock, addr, size, &request.endpoint);
    if (error < 0)
        return error;
    if (sock->type == SOCK_STREAM)
        return connect_stream(sock, fd, &request);
    route_wildcard(&request.endpoint);
    return request_connect(sock, fd, &request);
}

ENTRY int connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(connect)(fd, addr, size);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(connect)(fd, addr, size);
    int error = socket_connect(sock, fd, addr.__sockaddr__, size);
    socket_release(sock);
    return result_int(error);
}

/* ---- shutdown ------------------------------------------------------------------------------ */

/* Threads of any holder that sleep on the doorbell must look again. */
static void wake_own_sleepers(struct socket_object *sock)
{
    if (atomic_load(&sock->slot->bell_sleepers) != 0)
        socket_ring_own_bell(sock);
}

/* Both FINs are exchanged: the kernel's socket is in TIME-WAIT or beyond, and not connected. */
static bool is_finished(struct socket_object *sock)
{
    const struct channel *channel = socket_channel_now(sock);
    uint32_t options = slot_options(sock);
    return socket_is_reset(sock, channel) ||
           ((options & FOYER_SLOT_SHUT_WRITE) != 0 && channel != NULL &&
            atomic_load(&channel->rx.shared->writer_state) == FOYER_RING_FIN);
}

/* Behind what another thread is about to send: nobody would read it after the end. */
static void end_stream(struct socket_object *sock, int fd, const struct channel *channel)
{
    uint32_t open = FOYER_RING_OPEN;
    bool is_locked = slot_lock(sock, LOCK_WRITE) == 0;
    foyer_arrival_note_end(&channel->tx);
    atomic_compare_exchange_strong(&channel->tx.shared->writer_state, &open, FOYER_RING_FIN);
    if (is_locked)
        slot_unlock(sock, LOCK_WRITE);
    if (foyer_ring_take_reader_waiting(&channel->tx) || channel->bell < 0)
        socket_ring(sock, fd, channel);
}

static int socket_shutdown(struct socket_object *sock, int fd, int how)
{
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    uint32_t bits = (how != SHUT_WR ? FOYER_SLOT_SHUT_READ : 0u) |
                    (how != SHUT_RD ? FOYER_SLOT_SHUT_WRITE : 0u);
    uint32_t state = slot_state(sock);
    if (state == FOYER_SLOT_LISTENING) { /* inet_shutdown; it wakes those who sleep in accept */
        if (how == SHUT_WR)
            return 0;
        keep_listener_over(sock);
        return dissolve(sock);
    }
    if (state == FOYER_SLOT_DATAGRAM) {
        if ((slot_options(sock) & FOYER_SLOT_PEER) == 0)
            return -ENOTCONN;
        atomic_fetch_or(&sock->slot->options, bits);
        wake_own_sleepers(sock);
        return 0;
    }
    struct channel *channel = socket_channel(sock, fd);
    if (state != FOYER_SLOT_CONNECTED || channel == NULL || socket_is_reset(sock, channel) ||
        is_finished(sock))
        return -ENOTCONN;
    atomic_fetch_or(&sock->slot->options, bits);
    if ((bits & FOYER_SLOT_SHUT_WRITE) != 0)
        end_stream(sock, fd, channel);
    wake_own_sleepers(sock);
    return 0;
}

ENTRY int shutdown(int fd, int how)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(shutdown)(fd, how);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(shutdown)(fd, how);
    int error = socket_shutdown(sock, fd, how);
    socket_release(sock);
    return result_int(error);
}

/* ---- SO_LINGER ----------------------------------------------------------------------------- */

/*
 * Whether close is the last of a description that may have to linger: no other number of it, no
 * other process as far as is known, no call in progress that holds it as the kernel's would.
 */
static bool may_linger(struct socket_object *sock)
{
    return sock->type == SOCK_STREAM && slot_state(sock) == FOYER_SLOT_CONNECTED &&
           (slot_options(sock) & FOYER_SLOT_LINGER) != 0 && sock->slot->linger_s != 0 &&
           !atomic_load(&sock->is_shared) &&
           atomic_load(&sock->object.references) == 2 + atomic_load(&sock->watch_count);
}

/*
 * How many bytes of the ring a kernel of the peer's would have acknowledged. The stack takes none out
 * before it has been; inside the building the ring is the peer's receive buffer, up to the size that
 * it was set to.
 */
static uint32_t arrived_limit(const struct channel *channel)
{
    if (channel->bell < 0)
        return 0;
    uint32_t receive = atomic_load(&channel->tx.shared->receive_limit);
    return receive != 0 ? receive : UINT32_MAX;
}

/* As sk_stream_wait_close, but for the acknowledgement of the FIN alone, which no ring tells of. */
static void linger(struct socket_object *sock, int fd)
{
    const struct channel *channel = socket_channel(sock, fd);
    /* With bytes unread it will be a reset, for which nobody waits (tcp_close). */
    if (channel == NULL || socket_is_reset(sock, channel) || foyer_ring_used(&channel->rx) != 0)
        return;
    uint32_t limit = foyer_ring_limit(&channel->tx), arrived = arrived_limit(channel);
    if (arrived >= limit || foyer_ring_used(&channel->tx) <= arrived)
        return;
    end_stream(sock, fd, channel);
    struct wait wait = {
        .events = POLLOUT,
        .need_bytes = limit - arrived,
        /* sock_setsockopt takes the seconds as unsigned. */
        .deadline_ns = clock_ns() + (int64_t)(uint32_t)sock->slot->linger_s * 1000000000,
        .is_partial = true,
        .is_closing = true,
    };
    while (!wait_holds(sock, fd, &wait) && wait_sleep(sock, fd, &wait) == 0)
        continue;
}

void socket_linger(int fd)
{
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return;
    if (unlikely(may_linger(sock)))
        linger(sock, fd);
    socket_release(sock);
}

/* ---- names --------------------------------------------------------------------------------- */

static int name_of(struct socket_object *sock, bool is_peer, struct sockaddr *addr,
                   socklen_t *io_size)
{
    struct foyer_endpoint endpoint;
    if (is_peer) {
        uint32_t state = slot_state(sock);
        uint32_t options = slot_options(sock);
        bool has_peer = state == FOYER_SLOT_CONNECTED
                            ? !is_finished(sock)
                            : state == FOYER_SLOT_DATAGRAM && (options & FOYER_SLOT_PEER) != 0;
        if (!has_peer)
            return -ENOTCONN;
    }
    if (*io_size > INT32_MAX)
        return -EINVAL;
    atomic_thread_fence(memory_order_acquire);
    endpoint = is_peer ? sock->slot->remote : sock->slot->local;
    address_store(sock, &endpoint, addr, io_size);
    return 0;
}

ENTRY int getsockname(int fd, __SOCKADDR_ARG addr, socklen_t *io_size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(getsockname)(fd, addr, io_size);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(getsockname)(fd, addr, io_size);
    int error = name_of(sock, false, addr.__sockaddr__, io_size);
    socket_release(sock);
    return result_int(error);
}

ENTRY int getpeername(int fd, __SOCKADDR_ARG addr, socklen_t *io_size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(getpeername)(fd, addr, io_size);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF) : REAL(getpeername)(fd, addr, io_size);
    int error = name_of(sock, true, addr.__sockaddr__, io_size);
    socket_release(sock);
    return result_int(error);
}
