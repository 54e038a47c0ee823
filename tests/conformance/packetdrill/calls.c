/* The socket calls, as a program of Linux makes them, in terms of libfoyer's. */
#include "adapter.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>

#define PD_ANSWER_MS 40 /* Linux's TCP_ATO_MIN */
#define PD_IO_MAX (16u << 20)

/* ---- descriptors ---------------------------------------------------------------------------- */

struct pd_socket *pd_socket_get(struct pd *pd, int fd)
{
    if (fd < PD_FD_FIRST || fd >= PD_FD_FIRST + PD_SOCKETS_MAX)
        return NULL;
    struct pd_socket *socket = &pd->sockets[fd - PD_FD_FIRST];
    return socket->is_open ? socket : NULL;
}

int pd_socket_fd(const struct pd *pd, const struct pd_socket *socket)
{
    return PD_FD_FIRST + (int)(socket - pd->sockets);
}

struct pd_socket *pd_socket_new(struct pd *pd)
{
    for (unsigned i = 0; i < PD_SOCKETS_MAX; i++) {
        if (!pd->sockets[i].is_open) {
            memset(&pd->sockets[i], 0, sizeof(pd->sockets[i]));
            pd->sockets[i].is_open = true;
            return &pd->sockets[i];
        }
    }
    return NULL;
}

static struct pd_socket *get_inet(struct pd *pd, int fd, int *ret_error)
{
    struct pd_socket *socket = pd_socket_get(pd, fd);

    *ret_error = socket == NULL ? -EBADF : socket->is_epoll ? -ENOTSOCK : 0;
    return *ret_error == 0 ? socket : NULL;
}

static uint64_t user_of(const struct pd *pd, const struct pd_socket *socket)
{
    return (uint64_t)pd_socket_fd(pd, socket);
}

enum foyer_socket_state pd_state(struct pd *pd, const struct pd_socket *socket)
{
    struct foyer_socket_info info;

    if (foyer_socket_info(pd->host, socket->handle, &info) != 0)
        return FOYER_STATE_CLOSED;
    return info.state;
}

/* ---- addresses ------------------------------------------------------------------------------ */

static int endpoint_from(struct foyer_endpoint *ret, const struct sockaddr *addr, socklen_t size)
{
    if (addr == NULL)
        return -EFAULT;
    if (addr->sa_family == AF_INET && size >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const void *)addr;
        const uint8_t *bytes = (const uint8_t *)&in->sin_addr;
        ret->addr = foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
        ret->port = ntohs(in->sin_port);
        return 0;
    }
    if (addr->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in6 = (const void *)addr;
        memcpy(ret->addr.bytes, &in6->sin6_addr, 16);
        ret->port = ntohs(in6->sin6_port);
        return 0;
    }
    return addr->sa_family == AF_INET || addr->sa_family == AF_INET6 ? -EINVAL : -EAFNOSUPPORT;
}

static void endpoint_to(const struct foyer_endpoint *endpoint, bool is_v6, struct sockaddr *ret,
                        socklen_t *io_size)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};

    if (ret == NULL || io_size == NULL)
        return;
    memcpy(&in.sin_addr, endpoint->addr.bytes + 12, 4);
    memcpy(&in6.sin6_addr, endpoint->addr.bytes, 16);
    socklen_t size = is_v6 ? sizeof(in6) : sizeof(in);
    memcpy(ret, is_v6 ? (void *)&in6 : (void *)&in, *io_size < size ? *io_size : size);
    *io_size = size;
}

/* ---- rings: where poll, MSG_PEEK and SIOCINQ look --------------------------------------------- */

static bool ring_new(struct foyer_ring *ring, uint32_t size)
{
    ring->shared = aligned_alloc(64, sizeof(*ring->shared));
    ring->data = malloc(size);
    ring->size = size;
    if (ring->shared == NULL || ring->data == NULL)
        return false;
    memset(ring->shared, 0, sizeof(*ring->shared));
    return true;
}

static void ring_free(struct foyer_ring *ring)
{
    free(ring->shared);
    free(ring->data);
    memset(ring, 0, sizeof(*ring));
}

/* The rings are ours as soon as there is, or will be, a connection. */
static int attach_rings(struct pd *pd, struct pd_socket *socket)
{
    int64_t rx_size, tx_size;
    struct foyer_ring rx = {0}, tx = {0};
    int error = -ENOMEM;

    if (foyer_ring_is_set(&socket->rx) ||
        foyer_socket_get_option(pd->host, socket->handle, FOYER_OPT_RECEIVE_BUFFER, &rx_size) ||
        foyer_socket_get_option(pd->host, socket->handle, FOYER_OPT_SEND_BUFFER, &tx_size))
        return 0;
    if (ring_new(&rx, (uint32_t)rx_size) && ring_new(&tx, (uint32_t)tx_size))
        error = foyer_socket_set_rings(pd->host, socket->handle, &rx, &tx);
    if (error != 0) {
        ring_free(&rx);
        ring_free(&tx);
        return error;
    }
    socket->rx = rx;
    socket->tx = tx;
    return 0;
}

static uint32_t writer_state(const struct foyer_ring *ring)
{
    return atomic_load_explicit(&ring->shared->writer_state, memory_order_acquire);
}

uint32_t pd_readable_bytes(const struct pd_socket *socket)
{
    if (!foyer_ring_is_set(&socket->rx) || writer_state(&socket->rx) == FOYER_RING_RESET)
        return 0;
    uint32_t used = foyer_ring_used(&socket->rx);
    return used == UINT32_MAX ? 0 : used;
}

bool pd_has_eof(const struct pd_socket *socket)
{
    return socket->has_shut_read ||
           (foyer_ring_is_set(&socket->rx) && writer_state(&socket->rx) != FOYER_RING_OPEN);
}

/* ---- the calls ------------------------------------------------------------------------------ */

/* A fresh socket, with the namespace's defaults. */
static int open_handle(struct pd *pd, struct pd_socket *socket)
{
    int error = foyer_socket_open(pd->host, socket->is_v6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4,
                                  socket->is_tcp ? FOYER_TCP : FOYER_UDP, 0, &socket->handle);

    if (error == 0) {
        foyer_socket_set_user(pd->host, socket->handle, user_of(pd, socket));
        pd_options_init(pd, socket);
    }
    return error;
}

int pd_open(struct pd *pd, int domain, int type, int protocol)
{
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (domain != AF_INET && domain != AF_INET6)
        return -EAFNOSUPPORT;
    if ((kind != SOCK_STREAM || (protocol != 0 && protocol != IPPROTO_TCP)) &&
        (kind != SOCK_DGRAM || (protocol != 0 && protocol != IPPROTO_UDP)))
        return -EPROTONOSUPPORT;
    if (pd->host == NULL && !pd_host_start(pd))
        return -ENOMEM;
    struct pd_socket *socket = pd_socket_new(pd);
    if (socket == NULL)
        return -EMFILE;
    socket->is_v6 = domain == AF_INET6;
    socket->is_tcp = kind == SOCK_STREAM;
    socket->is_nonblocking = (type & SOCK_NONBLOCK) != 0;
    int error = open_handle(pd, socket);
    if (error != 0) {
        socket->is_open = false;
        return error;
    }
    return pd_socket_fd(pd, socket);
}

int pd_bind(struct pd *pd, int fd, const struct sockaddr *addr, socklen_t size)
{
    struct foyer_endpoint local;
    int error;
    struct pd_socket *socket = get_inet(pd, fd, &error);

    if (error == 0)
        error = endpoint_from(&local, addr, size);
    return error != 0 ? error : foyer_socket_bind(pd->host, socket->handle, &local, NULL);
}

int pd_listen(struct pd *pd, int fd, int backlog)
{
    int error;
    struct pd_socket *socket = get_inet(pd, fd, &error);

    if (error != 0)
        return error;
    if ((pd_sysctl("tcp_fastopen", 0, 0) & 0x402) == 0x402)
        foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_FASTOPEN, 4096);
    error = foyer_socket_listen(pd->host, socket->handle, backlog < 0 ? 4096u : (uint32_t)backlog,
                                NULL);
    socket->is_listening = socket->is_listening || error == 0;
    return error;
}

struct accept_call {
    struct pd_call call;
    foyer_socket accepted;
};

static ssize_t attempt_accept(struct pd_call *call)
{
    struct accept_call *accept = (struct accept_call *)call;

    return foyer_socket_accept(call->pd->host, call->socket->handle, 0, &accept->accepted);
}

int pd_accept(struct pd *pd, int fd, struct sockaddr *ret_addr, socklen_t *io_size)
{
    int error;
    struct pd_socket *listener = get_inet(pd, fd, &error);
    struct foyer_socket_info info;

    if (error != 0)
        return error;
    struct accept_call call = {.call = {.attempt = attempt_accept,
                                        .pd = pd,
                                        .socket = listener,
                                        .deadline_ns = FOYER_TIME_NEVER}};
    ssize_t result = pd_run(&call.call, !listener->is_nonblocking);
    if (result != 0)
        return (int)result;
    struct pd_socket *socket = pd_socket_new(pd);
    if (socket == NULL) {
        foyer_socket_abort(pd->host, call.accepted, pd->now);
        return -EMFILE;
    }
    socket->is_tcp = true;
    socket->is_v6 = listener->is_v6;
    socket->tells_inq = listener->tells_inq; /* as Linux's sockets are copies of their listener */
    socket->is_zerocopy = listener->is_zerocopy;
    socket->notsent_lowat = listener->notsent_lowat;
    socket->handle = call.accepted;
    foyer_socket_set_user(pd->host, socket->handle, user_of(pd, socket));
    attach_rings(pd, socket);
    if (foyer_socket_info(pd->host, socket->handle, &info) == 0)
        endpoint_to(&info.remote, socket->is_v6, ret_addr, io_size);
    return pd_socket_fd(pd, socket);
}

static ssize_t attempt_connect(struct pd_call *call)
{
    enum foyer_socket_state state = pd_state(call->pd, call->socket);

    if (state == FOYER_STATE_SYN_SENT || state == FOYER_STATE_SYN_RECEIVED)
        return -EAGAIN;
    call->socket->is_connecting = false;
    int error = foyer_socket_take_error(call->pd->host, call->socket->handle);
    call->socket->has_error = false;
    if (error != 0)
        return error;
    return state == FOYER_STATE_CLOSED ? -ECONNABORTED : 0;
}

/* connect to AF_UNSPEC: the descriptor keeps its number and becomes a fresh socket. */
static int disconnect(struct pd *pd, struct pd_socket *socket)
{
    foyer_socket_abort(pd->host, socket->handle, pd->now);
    ring_free(&socket->rx);
    ring_free(&socket->tx);
    socket->is_connecting = socket->is_listening = false;
    socket->has_shut_read = socket->has_shut_write = false;
    return open_handle(pd, socket);
}

int pd_connect(struct pd *pd, int fd, const struct sockaddr *addr, socklen_t size)
{
    struct foyer_endpoint remote;
    int error;
    struct pd_socket *socket = get_inet(pd, fd, &error);

    if (error != 0)
        return error;
    if (addr != NULL && addr->sa_family == AF_UNSPEC)
        return disconnect(pd, socket);
    struct pd_call call = {
        .attempt = attempt_connect, .pd = pd, .socket = socket, .deadline_ns = FOYER_TIME_NEVER};
    if (socket->is_deferred)
        return -EISCONN;
    if (socket->is_connecting) { /* the second connect asks how the first one ended */
        ssize_t result = pd_run(&call, !socket->is_nonblocking);
        return result == -EAGAIN ? -EALREADY : (int)result;
    }
    error = endpoint_from(&remote, addr, size);
    uint32_t room = 0;
    if (error == 0 && socket->connects_fast) {
        foyer_socket_fastopen_room(pd->host, socket->handle, &remote.addr, &room);
        foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_FASTOPEN, 1);
    }
    if (room > 0) {
        socket->is_deferred = true;
        socket->remote = remote;
        return 0;
    }
    if (error == 0 && socket->is_tcp)
        error = attach_rings(pd, socket);
    if (error == 0)
        error = foyer_socket_connect(pd->host, socket->handle, &remote, pd->now);
    if (error != -EINPROGRESS)
        return error;
    socket->is_connecting = true;
    ssize_t result = pd_run(&call, !socket->is_nonblocking);
    return result == -EAGAIN ? -EINPROGRESS : (int)result;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static ssize_t iov_total(const struct msghdr *msg)
{
    size_t total = 0;

    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        if (msg->msg_iov[i].iov_base == NULL && msg->msg_iov[i].iov_len > 0)
            return -EFAULT;
        if (msg->msg_iov[i].iov_len > PD_IO_MAX - total)
            return -EINVAL;
        total += msg->msg_iov[i].iov_len;
    }
    return (ssize_t)total;
}

static void iov_copy(const struct msghdr *msg, uint8_t *bytes, size_t size, bool is_to_iov)
{
    for (size_t i = 0, at = 0; i < msg->msg_iovlen && at < size; i++) {
        struct iovec *part = &msg->msg_iov[i];
        size_t count = part->iov_len < size - at ? part->iov_len : size - at;
        if (count > 0)
            memcpy(is_to_iov ? part->iov_base : bytes + at, is_to_iov ? bytes + at : part->iov_base,
                   count);
        at += count;
    }
}

struct io_call {
    struct pd_call call;
    uint8_t *bytes;
    size_t size, done;
    int flags;
    bool has_waited;
    struct foyer_endpoint remote; /* port 0: none given */
};

static ssize_t attempt_receive(struct pd_call *call)
{
    struct io_call *io = (struct io_call *)call;
    struct pd *pd = call->pd;
    struct pd_socket *socket = call->socket;

    if (!socket->is_tcp)
        return foyer_socket_recv_from(pd->host, socket->handle, io->bytes, io->size, &io->remote,
                                      NULL);
    uint32_t waiting = pd_readable_bytes(socket);
    if ((io->flags & MSG_PEEK) != 0 && waiting > 0) {
        uint32_t count = io->size < waiting ? (uint32_t)io->size : waiting;
        foyer_ring_get(&socket->rx, foyer_ring_tail(&socket->rx), io->bytes, count);
        return count;
    }
    return foyer_socket_recv(pd->host, socket->handle, io->bytes, io->size, pd->now);
}

ssize_t pd_receive(struct pd *pd, int fd, struct msghdr *msg, int flags)
{
    int error;
    struct pd_socket *socket = get_inet(pd, fd, &error);

    if (error != 0)
        return error;
    if ((flags & MSG_ERRQUEUE) != 0)
        return pd_notice_receive(socket, msg);
    if (socket->is_deferred)
        return -EAGAIN; /* to a program it is connecting */
    if ((flags & MSG_OOB) != 0)
        return -EINVAL; /* no urgent byte is kept apart */
    ssize_t total = (flags & MSG_TRUNC) != 0 && msg->msg_iovlen == 1
                        ? (ssize_t)msg->msg_iov[0].iov_len /* thrown away: NULL will do */
                        : iov_total(msg);
    if (total < 0)
        return total;
    struct io_call io = {.call = {.attempt = attempt_receive,
                                  .pd = pd,
                                  .socket = socket,
                                  .deadline_ns = FOYER_TIME_NEVER},
                         .bytes = malloc((size_t)total + 1),
                         .size = (size_t)total,
                         .flags = flags};
    if (io.bytes == NULL)
        return -ENOMEM;
    ssize_t count = pd_run(&io.call, !socket->is_nonblocking && (flags & MSG_DONTWAIT) == 0);
    if (count < 0 && count != -EAGAIN)
        socket->has_error = false; /* told */
    if (count > 0 && !(socket->is_tcp && (flags & MSG_TRUNC) != 0))
        iov_copy(msg, io.bytes, count < total ? (size_t)count : (size_t)total, true);
    free(io.bytes);
    size_t control_used = 0;
    msg->msg_flags = 0;
    if (count >= 0 && socket->tells_inq) {
        int left = (int)pd_readable_bytes(socket);
        if (left == 0 && pd_has_eof(socket))
            left = 1; /* Linux: there is something to read, the end */
        pd_control_put(msg, &control_used, IPPROTO_TCP, TCP_CM_INQ, &left, sizeof(left));
    }
    msg->msg_controllen = control_used;
    if (count >= 0 && !socket->is_tcp)
        endpoint_to(&io.remote, socket->is_v6, msg->msg_name, &msg->msg_namelen);
    return count;
}

#define PD_PIECE_OVERHEAD 548u /* about what Linux counts for a packet besides its bytes */

/* Linux's super-segments in the making: of half of the peer's window. */
static uint32_t piece_size(const struct foyer_socket_info *info)
{
    uint32_t piece = info->send_window_bytes / 2 / info->mss * info->mss;

    return piece > info->mss ? piece : info->mss;
}

uint32_t pd_send_memory(const struct pd_socket *socket, const struct foyer_socket_info *info)
{
    if (!foyer_ring_is_set(&socket->tx) || info->mss == 0)
        return 0;
    uint32_t used = foyer_ring_used(&socket->tx), piece = piece_size(info);
    return used == UINT32_MAX ? 0 : used + (used + piece - 1) / piece * PD_PIECE_OVERHEAD;
}

/*
 * TCP_NOTSENT_LOWAT, SO_SNDBUF: how much more may be written. Linux looks at both before each
 * super-segment that it begins, and fills the one that it has begun.
 */
static size_t write_room(struct pd *pd, const struct pd_socket *socket)
{
    struct foyer_socket_info info;
    uint32_t lowat = pd_notsent_lowat(socket);

    if ((lowat == UINT32_MAX && socket->send_limit == 0) ||
        foyer_socket_info(pd->host, socket->handle, &info) != 0 || info.mss == 0)
        return SIZE_MAX;
    uint32_t piece = piece_size(&info);
    if (info.unsent_bytes % piece != 0)
        return piece - info.unsent_bytes % piece;
    bool is_full = socket->send_limit != 0 && pd_send_memory(socket, &info) >= socket->send_limit;
    return info.unsent_bytes < lowat && !is_full ? piece : 0;
}

/* ---- records -------------------------------------------------------------------------------- */

/* The end of a record that is not the last waits for nobody: Nagle's rule is for the last. */
static void send_held(struct pd *pd, struct pd_socket *socket, size_t size, bool is_last)
{
    int64_t nodelay = 0;

    foyer_socket_get_option(pd->host, socket->handle, FOYER_OPT_NODELAY, &nodelay);
    if (!is_last)
        foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_NODELAY, 1);
    int64_t count = foyer_socket_send(pd->host, socket->handle, socket->held, size, pd->now);
    size_t sent = count > 0 ? (size_t)count : 0;
    memmove(socket->held, socket->held + sent, socket->held_size - sent);
    socket->held_size -= sent;
    for (unsigned i = 0; i < socket->record_count; i++)
        socket->record_ends[i] -= sent;
    pd_wire_output(pd);
    foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_NODELAY, nodelay);
}

void pd_records_look(struct pd *pd, struct pd_socket *socket)
{
    struct foyer_socket_info info;

    while (socket->held_size > 0 && foyer_socket_info(pd->host, socket->handle, &info) == 0 &&
           !(socket->ends_record && info.unsent_bytes > 0)) {
        size_t before = socket->held_size;
        size_t size = socket->record_count > 0 ? socket->record_ends[0] : socket->held_size;
        send_held(pd, socket, size, size == before);
        if (socket->held_size == before)
            return; /* no room */
        socket->ends_record = socket->record_count > 0 && socket->record_ends[0] == 0;
        if (socket->ends_record)
            memmove(&socket->record_ends[0], &socket->record_ends[1],
                    --socket->record_count * sizeof(socket->record_ends[0]));
    }
}

/* True: taken, to follow what MSG_EOR ended. */
static bool hold_behind_record(struct pd *pd, struct pd_socket *socket, const uint8_t *bytes,
                               size_t size)
{
    struct foyer_socket_info info;

    if (!socket->is_tcp || (socket->held_size == 0 && !socket->ends_record))
        return false;
    if (socket->held_size == 0 &&
        (foyer_socket_info(pd->host, socket->handle, &info) != 0 || info.unsent_bytes == 0))
        return false;
    uint8_t *held = realloc(socket->held, socket->held_size + size);
    if (held == NULL)
        return false;
    memcpy(held + socket->held_size, bytes, size);
    socket->held = held;
    socket->held_size += size;
    return true;
}

static void note_record(struct pd_socket *socket, bool is_end)
{
    if (socket->held_size == 0)
        socket->ends_record = is_end;
    else if (is_end && socket->record_count < PD_RECORDS_MAX)
        socket->record_ends[socket->record_count++] = socket->held_size;
}

static ssize_t attempt_send(struct pd_call *call)
{
    struct io_call *io = (struct io_call *)call;
    struct pd *pd = call->pd;
    struct pd_socket *socket = call->socket;

    if (!socket->is_tcp)
        return foyer_socket_send_to(pd->host, socket->handle, io->bytes, io->size,
                                    io->remote.port != 0 ? &io->remote : NULL, pd->now);
    if (hold_behind_record(pd, socket, io->bytes + io->done, io->size - io->done))
        io->done = io->size;
    struct foyer_socket_info info;
    if (io->has_waited && foyer_socket_info(pd->host, socket->handle, &info) == 0 &&
        info.state != FOYER_STATE_CLOSED && !pd_is_writable(socket, &info))
        return -EAGAIN; /* Linux wakes a writer only then */
    while (io->done < io->size) {
        size_t room = write_room(pd, socket);
        io->has_waited = room == 0;
        if (room == 0)
            return -EAGAIN;
        size_t size = io->size - io->done < room ? io->size - io->done : room;
        int64_t count =
            foyer_socket_send(pd->host, socket->handle, io->bytes + io->done, size, pd->now);
        if (count == -ENOTCONN)
            return -EPIPE; /* as Linux says it */
        if (count < 0)
            return count == -EAGAIN || io->done == 0 ? count : (ssize_t)io->done;
        io->done += (size_t)count;
        if (room != SIZE_MAX)
            pd_wire_output(pd); /* what goes now is not unsent */
    }
    return (ssize_t)io->done;
}

/*
 * Linux's pingpong mode: who writes soon after it has heard something answers, and delays its ACKs
 * from then on so that they ride on answers.
 */
static void note_answer(struct pd *pd, const struct pd_socket *socket)
{
    struct foyer_socket_info info;

    if (socket->is_tcp && foyer_socket_info(pd->host, socket->handle, &info) == 0 &&
        info.bytes_received > 0 && info.idle_recv_ms < PD_ANSWER_MS)
        foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_QUICKACK, 0);
}

void pd_more_over(struct pd *pd)
{
    for (unsigned i = 0; i < PD_SOCKETS_MAX; i++) {
        struct pd_socket *socket = &pd->sockets[i];
        if (!socket->is_open || !socket->has_more)
            continue;
        socket->has_more = false;
        foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_CORK, socket->is_corked);
    }
}

/* MSG_MORE is a cork until something comes from the peer or the next send, and does not push. */
static void set_cork(struct pd *pd, struct pd_socket *socket, bool has_more)
{
    if (!socket->is_tcp)
        return;
    foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_PUSH, !has_more);
    if (socket->has_more == has_more)
        return;
    socket->has_more = has_more;
    foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_CORK,
                            has_more || socket->is_corked);
}

/* sendto with MSG_FASTOPEN, or the first send after a deferred connect. */
static ssize_t send_fast(struct pd *pd, struct pd_socket *socket, const struct msghdr *msg,
                         size_t total, int flags)
{
    struct foyer_endpoint remote = socket->remote;
    bool may_wait = !socket->is_nonblocking && (flags & MSG_DONTWAIT) == 0;

    const struct sockaddr *addr = msg->msg_name;
    if (!socket->is_tcp || (addr != NULL && addr->sa_family == AF_UNSPEC))
        return -EOPNOTSUPP;
    if ((pd_sysctl("tcp_fastopen", 0, 1) & 1) == 0)
        return -EOPNOTSUPP;
    int error = socket->is_deferred && msg->msg_name == NULL
                    ? 0
                    : endpoint_from(&remote, msg->msg_name, msg->msg_namelen);
    if (error == 0)
        error = attach_rings(pd, socket);
    if (error != 0)
        return error;
    struct pd_call call = {
        .attempt = attempt_connect, .pd = pd, .socket = socket, .deadline_ns = FOYER_TIME_NEVER};
    struct io_call io = {.call = {.attempt = attempt_send,
                                  .pd = pd,
                                  .socket = socket,
                                  .deadline_ns = FOYER_TIME_NEVER},
                         .bytes = malloc(total + 1),
                         .size = total};
    if (io.bytes == NULL)
        return -ENOMEM;
    iov_copy(msg, io.bytes, total, false);
    /* What does not go with the SYN Linux leaves to the next call. */
    uint32_t room = 0;
    foyer_socket_fastopen_room(pd->host, socket->handle, &remote.addr, &room);
    if (!may_wait && total > room)
        total = room;
    ssize_t count =
        foyer_socket_connect_send(pd->host, socket->handle, &remote, io.bytes, total, pd->now);
    socket->is_deferred = false;
    if (count > 0 || count == -EINPROGRESS) {
        socket->is_connecting = true;
        io.done = count > 0 ? (size_t)count : 0;
        pd_settle(pd);
        if (may_wait) {
            ssize_t result = pd_run(&call, true);
            /* Data that waited for the handshake makes Linux delay ACKs: as an answer would. */
            if (result == 0 && total > room)
                foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_QUICKACK, 0);
            if (result == 0 && io.done < total)
                result = pd_run(&io.call, true);
            count = result < 0 && result != -EAGAIN ? result : (ssize_t)io.done;
        }
    }
    free(io.bytes);
    if (io.done > 0)
        pd_mark_written(socket, (flags & MSG_ZEROCOPY) != 0);
    return count;
}

ssize_t pd_send(struct pd *pd, int fd, const struct msghdr *msg, int flags)
{
    int error;
    struct pd_socket *socket = get_inet(pd, fd, &error);

    if (error != 0)
        return error;
    if ((flags & MSG_OOB) != 0)
        return -EOPNOTSUPP;
    if (socket->is_connecting && (flags & MSG_FASTOPEN) != 0 &&
        pd_state(pd, socket) == FOYER_STATE_SYN_SENT)
        return -EALREADY;
    ssize_t total = iov_total(msg);
    if (total < 0)
        return total;
    if (((flags & MSG_FASTOPEN) != 0 && pd_state(pd, socket) == FOYER_STATE_CLOSED) ||
        socket->is_deferred)
        return send_fast(pd, socket, msg, (size_t)total, flags);
    struct io_call io = {.call = {.attempt = attempt_send,
                                  .pd = pd,
                                  .socket = socket,
                                  .deadline_ns = FOYER_TIME_NEVER},
                         .bytes = malloc((size_t)total + 1),
                         .size = (size_t)total,
                         .flags = flags};
    if (io.bytes == NULL)
        return -ENOMEM;
    if (msg->msg_name != NULL)
        error = endpoint_from(&io.remote, msg->msg_name, msg->msg_namelen);
    iov_copy(msg, io.bytes, io.size, false);
    set_cork(pd, socket, (flags & MSG_MORE) != 0);
    note_answer(pd, socket);
    ssize_t count = error;
    if (error == 0)
        count = pd_run(&io.call, !socket->is_nonblocking && (flags & MSG_DONTWAIT) == 0);
    if (count < 0 && count != -EAGAIN && count != -EPIPE)
        socket->has_error = false;
    free(io.bytes);
    if (count > 0 && socket->is_tcp)
        note_record(socket, (flags & MSG_EOR) != 0);
    if (io.done > 0 || (count > 0 && socket->is_tcp))
        pd_mark_written(socket, (flags & MSG_ZEROCOPY) != 0);
    return count == -EAGAIN && io.done > 0 ? (ssize_t)io.done : count;
}

/* ---- the end -------------------------------------------------------------------------------- */

int pd_shutdown(struct pd *pd, int fd, int how)
{
    int error;
    struct pd_socket *socket = get_inet(pd, fd, &error);

    if (error != 0)
        return error;
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    error = foyer_socket_shutdown(pd->host, socket->handle, (unsigned)how + 1, pd->now);
    if (error == 0) {
        socket->has_shut_read = socket->has_shut_read || how != SHUT_WR;
        socket->has_shut_write = socket->has_shut_write || how != SHUT_RD;
    }
    return error;
}

int pd_close(struct pd *pd, int fd)
{
    struct pd_socket *socket = pd_socket_get(pd, fd);

    if (socket == NULL)
        return -EBADF;
    int error = 0;
    if (socket->is_epoll)
        free(socket->watches);
    else
        error = foyer_socket_close(pd->host, socket->handle, pd->now);
    if (socket->has_own_keys)
        pd_fastopen_keys_reset(pd);
    pd_poll_closed(pd, socket);
    free(socket->held);
    ring_free(&socket->rx);
    ring_free(&socket->tx);
    memset(socket, 0, sizeof(*socket));
    return error;
}
