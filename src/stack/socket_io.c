/*
 * A socket's rings, and the copying calls for callers that do not share them.
 *
 * A ring of the socket's own is one allocation: control block, then data. Rings that the caller
 * gave (SOCK_EXTERNAL_RINGS) are only pointed at. Bytes move from one pair to the other by
 * copying; TCP and UDP then find their positions anew.
 */
#include <errno.h>

#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/socket.h"
#include "stack/tcp.h"

#define RING_ALIGN 64u /* of struct foyer_ring_shared; an allocator promises 16 */
#define SHORT_RING_BYTES 16384u
#define GROW_BYTES_PER_US 10000u
#define RING_OVERHEAD (sizeof(struct foyer_ring_shared) + sizeof(void *) + RING_ALIGN)

/* ---- memory -------------------------------------------------------------------------------------- */

static int own_ring_init(struct foyer_host *host, struct foyer_ring *ring, uint32_t size)
{
    uint8_t *memory = host_alloc_raw(host, RING_OVERHEAD + size);
    if (memory == NULL)
        return -ENOMEM;
    uintptr_t at = (uintptr_t)memory + sizeof(void *);
    uint8_t *aligned = memory + sizeof(void *) + (RING_ALIGN - at % RING_ALIGN) % RING_ALIGN;
    /* cppcheck-suppress pointerSize ; it is the pointer that is kept in front of the ring */
    memcpy(aligned - sizeof(void *), &memory, sizeof(void *));
    memset(aligned, 0, sizeof(struct foyer_ring_shared));
    ring->shared = (struct foyer_ring_shared *)(void *)aligned;
    ring->data = aligned + sizeof(struct foyer_ring_shared);
    ring->size = size;
    return 0;
}

static void own_ring_finish(struct foyer_host *host, const struct foyer_ring *ring)
{
    if (!foyer_ring_is_set(ring))
        return;
    void *memory;
    memcpy(&memory, (uint8_t *)ring->shared - sizeof(void *), sizeof(void *));
    host_free(host, memory, RING_OVERHEAD + ring->size);
}

/* The pair to write to, which the socket has from its first ring on. NULL: no memory. */
static struct sock_rings *own_rings(struct foyer_host *host, struct sock *sock)
{
    if (sock->rings == &sock_no_rings) {
        const struct sock_rings *rings = host_alloc(host, sizeof(*rings));
        if (rings == NULL)
            return NULL;
        sock->rings = rings;
    }
    return (struct sock_rings *)(uintptr_t)sock->rings;
}

static void drop_bytes(struct foyer_host *host, struct sock *sock)
{
    if ((sock->flags & SOCK_EXTERNAL_RINGS) == 0) {
        own_ring_finish(host, &sock->rings->rx);
        own_ring_finish(host, &sock->rings->tx);
    }
    sock->flags &= ~(uint32_t)SOCK_EXTERNAL_RINGS;
}

void sock_drop_rings(struct foyer_host *host, struct sock *sock)
{
    if (sock->rings == &sock_no_rings)
        return;
    drop_bytes(host, sock);
    host_free(host, own_rings(host, sock), sizeof(*sock->rings));
    sock->rings = &sock_no_rings;
}

/* A ring for a start, where there is little memory left, or would be. */
static uint32_t size_now(const struct foyer_host *host, uint32_t wanted)
{
    return host_would_be_short(host, wanted) && wanted > SHORT_RING_BYTES ? SHORT_RING_BYTES
                                                                          : wanted;
}

int sock_need_rx(struct foyer_host *host, struct sock *sock)
{
    if (foyer_ring_is_set(&sock->rings->rx))
        return 0;
    if (PROTOCOL_IS_UDP(sock->protocol))
        sock->udp_rx_head = 0;
    struct sock_rings *rings = own_rings(host, sock);
    return rings == NULL
               ? -ENOMEM
               : own_ring_init(host, &rings->rx, size_now(host, sock->options->rx_size_wanted));
}

int sock_need_tx(struct foyer_host *host, struct sock *sock)
{
    if (foyer_ring_is_set(&sock->rings->tx))
        return 0;
    /* What is sent needs room to be received in, maybe on this very host: without a reserve both
     * would wait for each other. */
    if (host_refuses_to_send(host))
        return -ENOMEM;
    if (PROTOCOL_IS_UDP(sock->protocol))
        sock->udp_tx_tail = 0;
    struct sock_rings *rings = own_rings(host, sock);
    return rings == NULL
               ? -ENOMEM
               : own_ring_init(host, &rings->tx, size_now(host, sock->options->tx_size_wanted));
}

/* ---- exchange ------------------------------------------------------------------------------------- */

/* Where a ring's waiting bytes begin and how many they are; UINT32_MAX: the indexes are forged. */
static uint32_t waiting(const struct sock *sock, const struct foyer_ring *ring, bool is_rx,
                        uint32_t *ret_tail)
{
    uint32_t head = foyer_ring_head(ring);
    uint32_t tail = foyer_ring_tail(ring);
    if (PROTOCOL_IS_UDP(sock->protocol)) {
        if (is_rx)
            head = sock->udp_rx_head;
        else
            tail = sock->udp_tx_tail;
    }
    *ret_tail = tail;
    return foyer_ring_distance(ring, head, tail);
}

/* Appends what waits in one ring to another; -ENOBUFS where it does not fit. */
static int move_bytes(const struct sock *sock, const struct foyer_ring *from,
                      const struct foyer_ring *to, bool is_rx)
{
    if (!foyer_ring_is_set(from))
        return 0;
    uint32_t tail;
    uint32_t count = waiting(sock, from, is_rx, &tail);
    if (count == UINT32_MAX)
        return -ECONNRESET;
    uint32_t head = foyer_ring_head(to);
    uint32_t used = foyer_ring_distance(to, head, foyer_ring_tail(to));
    if (used == UINT32_MAX || count > to->size - used)
        return -ENOBUFS;
    /* Bytes must not come after those that the program already wrote. */
    if (!is_rx && count > 0 && used > 0)
        return -ENOBUFS;
    uint32_t left = count;
    while (left > 0) {
        uint32_t at = tail & (from->size - 1);
        uint32_t run = from->size - at < left ? from->size - at : left;
        foyer_ring_put(to, head, from->data + at, run);
        head += run;
        tail += run;
        left -= run;
    }
    foyer_ring_publish_head(to, head);
    uint32_t state = atomic_load_explicit(&from->shared->writer_state, memory_order_acquire);
    if (state != FOYER_RING_OPEN)
        atomic_store_explicit(&to->shared->writer_state, state, memory_order_release);
    return 0;
}

static bool is_ring_valid(const struct sock *sock, const struct foyer_ring *ring,
                          const struct foyer_ring *old)
{
    if (ring->shared == NULL || ring->data == NULL || ring->size < FOYER_RING_SIZE_MIN ||
        ring->size > FOYER_RING_SIZE_MAX || (ring->size & (ring->size - 1)) != 0)
        return false;
    /* Records begin at multiples of 8. */
    if (PROTOCOL_IS_UDP(sock->protocol) &&
        ((foyer_ring_head(ring) | foyer_ring_tail(ring)) & 7) != 0)
        return false;
    /*
     * TCP reads its ring by positions that were checked against the old size. Where the old
     * ring's indexes can be forged (it was shared), only a ring as large keeps them in bounds.
     */
    return (sock->flags & SOCK_EXTERNAL_RINGS) == 0 || ring->size >= old->size;
}

static void take_positions(struct foyer_host *host, struct sock *sock)
{
    if (PROTOCOL_IS_TCP(sock->protocol)) {
        if (sock->tcb != NULL)
            tcp_rings_changed(host, sock);
        return;
    }
    if (foyer_ring_is_set(&sock->rings->rx))
        sock->udp_rx_head = foyer_ring_head(&sock->rings->rx);
    if (foyer_ring_is_set(&sock->rings->tx))
        sock->udp_tx_tail = foyer_ring_tail(&sock->rings->tx);
    sock->udp_tx_offset = 0;
}

int foyer_socket_set_rings(struct foyer_host *host, foyer_socket socket,
                           const struct foyer_ring *rx, const struct foyer_ring *tx)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    host_begin(host, host->now_ns);
    if (sock->flags & SOCK_EXTERNAL_RINGS) {
        /* Bytes can't be moved within one ring, and the two must not change places. */
        const struct foyer_ring_shared *old_rx = sock->rings->rx.shared,
                                       *old_tx = sock->rings->tx.shared;
        if (rx->shared == old_rx || rx->shared == old_tx || tx->shared == old_rx ||
            tx->shared == old_tx)
            return -EINVAL;
    }
    if (sock->state == FOYER_STATE_LISTEN || !is_ring_valid(sock, rx, &sock->rings->rx) ||
        !is_ring_valid(sock, tx, &sock->rings->tx))
        return -EINVAL;
    if (own_rings(host, sock) == NULL)
        return -ENOMEM;
    int error = move_bytes(sock, &sock->rings->tx, tx, false);
    if (error == 0)
        error = move_bytes(sock, &sock->rings->rx, rx, true);
    if (error != 0)
        return error;
    if (PROTOCOL_IS_TCP(sock->protocol))
        tcp_move_ahead(host, sock, rx);
    drop_bytes(host, sock);
    *own_rings(host, sock) = (struct sock_rings){.rx = *rx, .tx = *tx};
    sock->flags |= SOCK_EXTERNAL_RINGS;
    take_positions(host, sock);
    return 0;
}

/*
 * For a socket whose handle goes: only what is still to be sent matters. As large as the old
 * ring, see is_ring_valid.
 */
int sock_take_rings_back(struct foyer_host *host, struct sock *sock)
{
    struct foyer_ring tx = {0};
    if ((sock->flags & SOCK_EXTERNAL_RINGS) == 0)
        return 0;
    if (foyer_ring_is_set(&sock->rings->tx)) {
        int error = own_ring_init(host, &tx, sock->rings->tx.size);
        if (error == 0)
            error = move_bytes(sock, &sock->rings->tx, &tx, false);
        if (error != 0) {
            own_ring_finish(host, &tx);
            return error;
        }
    }
    drop_bytes(host, sock);
    *own_rings(host, sock) = (struct sock_rings){.tx = tx};
    take_positions(host, sock);
    return 0;
}

void foyer_socket_poke(struct foyer_host *host, foyer_socket socket, foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return;
    host_begin(host, now);
    if (PROTOCOL_IS_UDP(sock->protocol))
        udp_poke(host, sock, host->now_ns);
    else if (sock->tcb != NULL)
        tcp_poke(host, sock, host->now_ns);
}

/* ---- the size of TCP's own rings ----------------------------------------------------------------------- */

/* A larger ring with the same bytes at the same positions, also those that came out of order. */
static void grow_ring(struct foyer_host *host, struct foyer_ring *ring, uint32_t size)
{
    struct foyer_ring larger;
    if (host_would_be_short(host, size) || own_ring_init(host, &larger, size) != 0)
        return; /* as before */
    uint32_t tail = foyer_ring_tail(ring);
    uint32_t at = tail & (ring->size - 1);
    foyer_ring_put(&larger, tail, ring->data + at, ring->size - at);
    foyer_ring_put(&larger, tail + (ring->size - at), ring->data, at);
    atomic_store(&larger.shared->head, foyer_ring_head(ring));
    atomic_store(&larger.shared->tail, tail);
    atomic_store(&larger.shared->writer_state, atomic_load(&ring->shared->writer_state));
    atomic_store(&larger.shared->reader_state, atomic_load(&ring->shared->reader_state));
    atomic_store(&larger.shared->writer_waiter.waiting,
                 atomic_load(&ring->shared->writer_waiter.waiting));
    atomic_store(&larger.shared->reader_waiter.waiting,
                 atomic_load(&ring->shared->reader_waiter.waiting));
    own_ring_finish(host, ring);
    *ring = larger;
}

/* Whether more room could make this connection faster: at 80 Gbit/s a round trip fills the ring. */
static bool may_grow(const struct foyer_host *host, const struct sock *sock,
                     const struct foyer_ring *ring, uint32_t max)
{
    uint64_t rtt_us = sock->tcb->srtt_us8 / 8;
    return (sock->flags & SOCK_EXTERNAL_RINGS) == 0 && ring->size < max && !host_is_short(host) &&
           rtt_us * GROW_BYTES_PER_US > ring->size;
}

static uint32_t size_for(uint64_t bytes, uint32_t max)
{
    uint32_t size = FOYER_RING_SIZE_MIN;
    while (size < max && size < bytes)
        size *= 2;
    return size;
}

/*
 * Dynamic right-sizing (Fisk and Feng 2001), as Linux's tcp_rcv_space_adjust: the ring holds twice
 * what the program reads in a round trip, so that the window never holds the sender back while
 * it speeds up.
 */
static void tune_receive(struct foyer_host *host, struct sock *sock, uint32_t tail)
{
    struct sock_rings *rings = own_rings(host, sock);
    uint32_t now_us = tcp_us(host->now_ns), rtt_us = sock->tcb->srtt_us8 / 8;
    uint32_t elapsed_us = now_us - rings->rx_mark_us;
    if (!may_grow(host, sock, &rings->rx, sock->options->rx_size_max) || elapsed_us < rtt_us)
        return;
    uint64_t read_bytes = (uint64_t)(tail - rings->rx_mark) * rtt_us / elapsed_us;
    bool was_measured = rings->rx_mark_us != 0;
    rings->rx_mark = tail;
    rings->rx_mark_us = now_us != 0 ? now_us : 1;
    if (was_measured && 2 * read_bytes > rings->rx.size)
        grow_ring(host, &rings->rx, size_for(2 * read_bytes, sock->options->rx_size_max));
}

/* What is out has to stay in the ring: room for two congestion windows lets it grow. */
static void tune_send(struct foyer_host *host, struct sock *sock)
{
    struct sock_rings *rings = own_rings(host, sock);
    uint64_t wanted = 2 * (uint64_t)sock->tcb->cwnd_bytes;
    if (may_grow(host, sock, &rings->tx, sock->options->tx_size_max) && wanted > rings->tx.size)
        grow_ring(host, &rings->tx, size_for(wanted, sock->options->tx_size_max));
}

static bool is_empty(const struct foyer_ring *ring)
{
    return foyer_ring_is_set(ring) && foyer_ring_used(ring) == 0;
}

/* Nothing waits in them: the next bytes make new ones. */
void sock_give_empty_rings(struct foyer_host *host, struct sock *sock)
{
    struct tcb *tcb = sock->tcb;
    if ((sock->flags & SOCK_EXTERNAL_RINGS) != 0 || sock->rings == &sock_no_rings)
        return;
    struct sock_rings *rings = own_rings(host, sock);
    if (is_empty(&rings->rx) && (tcb == NULL || !tcp_has_gaps(tcb))) {
        own_ring_finish(host, &rings->rx);
        rings->rx = (struct foyer_ring){0};
        if (tcb != NULL)
            tcb->flags &= ~(uint32_t)TCPF_RX_MAPPED;
    }
    /* A FIN that may have to be sent again follows the last byte's place in the ring. */
    bool has_fin = tcb != NULL && (tcb->flags & TCPF_FIN_QUEUED) != 0;
    if (is_empty(&rings->tx) && (!has_fin || sock->state == FOYER_STATE_FIN_WAIT_2)) {
        own_ring_finish(host, &rings->tx);
        rings->tx = (struct foyer_ring){0};
        if (tcb != NULL)
            tcb->flags &= ~(uint32_t)TCPF_TX_MAPPED;
    }
}

/* ---- streams ----------------------------------------------------------------------------------------- */

static int take_error(struct sock *sock)
{
    int error = sock->error;
    sock->error = 0;
    return error;
}

int64_t foyer_socket_send(struct foyer_host *host, foyer_socket socket, const void *bytes,
                          size_t size, foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (PROTOCOL_IS_UDP(sock->protocol))
        return foyer_socket_send_to(host, socket, bytes, size, NULL, now);
    host_begin(host, now);
    if (sock->error != 0)
        return take_error(sock);
    if (sock->flags & SOCK_SHUT_WRITE)
        return -EPIPE;
    if (sock->flags & SOCK_LOCAL_CARRIER)
        return -EOPNOTSUPP; /* the caller carries the bytes */
    if (sock->tcb == NULL)
        return sock->remote.port == 0 ? -ENOTCONN : -EPIPE;
    if (!tcp_may_write(sock))
        return -EAGAIN;
    if (size == 0)
        return 0;
    if (sock_need_tx(host, sock) != 0)
        return -ENOMEM;
    uint32_t room = foyer_ring_free(&sock->rings->tx);
    if (room == UINT32_MAX)
        return -ECONNRESET;
    if (size > room) {
        tune_send(host, sock);
        room = foyer_ring_free(&sock->rings->tx);
    }
    uint32_t count = size < room ? (uint32_t)size : room;
    if (count == 0)
        return -EAGAIN;
    uint32_t head = foyer_ring_head(&sock->rings->tx);
    foyer_ring_put(&sock->rings->tx, head, bytes, count);
    foyer_ring_publish_head(&sock->rings->tx, head + count);
    tcp_written(host, sock, host->now_ns);
    return count;
}

/* No byte waits: why? */
static int64_t recv_nothing(struct sock *sock)
{
    if (sock->error != 0)
        return take_error(sock);
    if (sock->flags & SOCK_SHUT_READ)
        return 0;
    switch ((enum foyer_socket_state)sock->state) {
    case FOYER_STATE_CLOSED:
        return sock->remote.port == 0 ? -ENOTCONN : 0;
    case FOYER_STATE_LISTEN:
        return -ENOTCONN;
    case FOYER_STATE_CLOSE_WAIT: /* in these the peer's FIN was received */
    case FOYER_STATE_CLOSING:
    case FOYER_STATE_LAST_ACK:
    case FOYER_STATE_TIME_WAIT:
        return 0;
    default:
        return -EAGAIN;
    }
}

int64_t foyer_socket_recv(struct foyer_host *host, foyer_socket socket, void *bytes, size_t size,
                          foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (PROTOCOL_IS_UDP(sock->protocol))
        return foyer_socket_recv_from(host, socket, bytes, size, NULL, NULL);
    host_begin(host, now);
    if (sock->flags & SOCK_LOCAL_CARRIER)
        return -EOPNOTSUPP;
    if (!foyer_ring_is_set(&sock->rings->rx))
        return recv_nothing(sock);
    /* Also after a reset: what was acknowledged is the program's (as on Linux and BSD; RFC 9293
     * section 3.10.7.4 would flush it). */
    uint32_t used = foyer_ring_used(&sock->rings->rx);
    if (used == UINT32_MAX)
        return -ECONNRESET;
    if (size > 0)
        used = tcp_urgent_limit(sock, used);
    uint32_t count = size < used ? (uint32_t)size : used;
    if (count == 0)
        return size == 0 ? 0 : recv_nothing(sock);
    uint32_t tail = foyer_ring_tail(&sock->rings->rx);
    foyer_ring_get(&sock->rings->rx, tail, bytes, count);
    foyer_ring_publish_tail(&sock->rings->rx, tail + count);
    if (sock->tcb != NULL) {
        tune_receive(host, sock, tail + count);
        tcp_consumed(host, sock, host->now_ns);
        if (host_is_short(host))
            sock_give_empty_rings(host, sock);
    }
    return count;
}

/* ---- datagrams --------------------------------------------------------------------------------------- */

/* What a kernel would say at once rather than later. */
static int check_send_to(struct foyer_host *host, struct sock *sock, size_t size,
                         const struct foyer_endpoint *remote, const struct foyer_addr *src)
{
    bool is_v4 = addr_is_spoken(&remote->addr) && foyer_addr_is_v4(&remote->addr);
    if (sock->family == FOYER_FAMILY_V4 && !is_v4)
        return -EAFNOSUPPORT;
    if (is_v4 && (sock->flags & SOCK_V6ONLY))
        return -ENETUNREACH;
    if (remote->port == 0)
        return -EINVAL;
    if (size > HOST_DATAGRAM_MAX(is_v4))
        return -EMSGSIZE;
    if (ip_is_broadcast(host, &remote->addr) && !sock->broadcast)
        return -EACCES;
    if (foyer_addr_is_any(&remote->addr))
        return 0;
    struct ip_way way;
    int error = ip_find_way(host, &remote->addr, src, &way);
    return error == -ENOBUFS ? 0 : error; /* a full neighbour cache may have room later */
}

static bool is_datagram_valid(const struct foyer_datagram *datagram, size_t size)
{
    return datagram->ttl >= -1 && datagram->ttl <= 255 && datagram->tos >= -1 &&
           datagram->tos <= 255 &&
           (datagram->segment_size == 0 || size <= 64u * datagram->segment_size);
}

static struct foyer_datagram_header header_of(const struct foyer_datagram *datagram, size_t size)
{
    struct foyer_datagram_header header = {.payload_size = (uint32_t)size,
                                           .segment_size = datagram->segment_size};
    if (datagram->remote.port == 0) {
        header.flags |= FOYER_DATAGRAM_CONNECTED;
    } else {
        header.peer_port = datagram->remote.port;
        memcpy(header.peer_addr, datagram->remote.addr.bytes, 16);
    }
    if (datagram->ttl >= 0) {
        header.flags |= FOYER_DATAGRAM_TTL;
        header.ttl = (uint8_t)datagram->ttl;
    }
    if (datagram->tos >= 0) {
        header.flags |= FOYER_DATAGRAM_TOS;
        header.tos = (uint8_t)datagram->tos;
    }
    if (datagram->has_checksum)
        header.flags |= FOYER_DATAGRAM_CHECKSUM;
    if (!foyer_addr_is_any(&datagram->local)) {
        header.flags |= FOYER_DATAGRAM_LOCAL;
        memcpy(header.local_addr, datagram->local.bytes, 16);
    }
    return header;
}

static int64_t put_record(struct foyer_host *host, struct sock *sock, const void *bytes,
                          const struct foyer_datagram_header *header)
{
    if (!FOYER_WITH_UDP)
        return -EOPNOTSUPP;
    if (sock_need_tx(host, sock) != 0)
        return -ENOMEM;
    uint32_t record_size = foyer_datagram_record_size(header->payload_size);
    uint32_t room = foyer_ring_free(&sock->rings->tx);
    if (room == UINT32_MAX)
        return -ECONNRESET;
    if (record_size > sock->rings->tx.size)
        return -EMSGSIZE;
    if (record_size > room)
        return -EAGAIN;
    uint32_t head = foyer_ring_head(&sock->rings->tx);
    foyer_ring_put(&sock->rings->tx, head, header, sizeof(*header));
    foyer_ring_put(&sock->rings->tx, head + (uint32_t)sizeof(*header), bytes, header->payload_size);
    foyer_ring_publish_head(&sock->rings->tx, head + record_size);
    udp_poke(host, sock, host->now_ns);
    return header->payload_size;
}

int64_t foyer_socket_send_datagram(struct foyer_host *host, foyer_socket socket, const void *bytes,
                                   size_t size, const struct foyer_datagram *datagram,
                                   foyer_time_ns now)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (!PROTOCOL_IS_UDP(sock->protocol))
        return -EOPNOTSUPP;
    host_begin(host, now);
    if (sock->error != 0)
        return take_error(sock);
    if (sock->flags & SOCK_SHUT_WRITE)
        return -EPIPE;
    bool is_to_peer = datagram->remote.port == 0;
    if (is_to_peer && sock->remote.port == 0)
        return -EDESTADDRREQ;
    if (!is_datagram_valid(datagram, size))
        return -EINVAL;
    bool has_local = !foyer_addr_is_any(&datagram->local);
    if (has_local && !ip_is_own(host, &datagram->local))
        return -EADDRNOTAVAIL;
    int error = check_send_to(host, sock, size, is_to_peer ? &sock->remote : &datagram->remote,
                              has_local ? &datagram->local : &sock->local.addr);
    if (error != 0)
        return error;
    struct foyer_datagram_header header = header_of(datagram, size);
    return put_record(host, sock, bytes, &header);
}

int64_t foyer_socket_send_to(struct foyer_host *host, foyer_socket socket, const void *bytes,
                             size_t size, const struct foyer_endpoint *remote, foyer_time_ns now)
{
    struct foyer_datagram datagram = {.ttl = -1, .tos = -1};
    if (remote != NULL) {
        struct sock *sock = sock_from_handle(host, socket);
        if (remote->port == 0 && sock != NULL && PROTOCOL_IS_UDP(sock->protocol))
            return sock->error != 0                ? take_error(sock)
                   : sock->flags & SOCK_SHUT_WRITE ? -EPIPE
                                                   : -EINVAL;
        datagram.remote = *remote;
    }
    return foyer_socket_send_datagram(host, socket, bytes, size, &datagram, now);
}

int64_t foyer_socket_recv_datagram(struct foyer_host *host, foyer_socket socket, void *bytes,
                                   size_t size, struct foyer_datagram *ret_datagram)
{
    struct foyer_datagram_header header;
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (!PROTOCOL_IS_UDP(sock->protocol))
        return -EOPNOTSUPP;
    if (sock->error != 0)
        return take_error(sock);
    uint32_t tail = foyer_ring_is_set(&sock->rings->rx) ? foyer_ring_tail(&sock->rings->rx) : 0;
    uint32_t used = foyer_ring_is_set(&sock->rings->rx)
                        ? foyer_ring_distance(&sock->rings->rx, sock->udp_rx_head, tail)
                        : 0;
    if (used == 0)
        return sock->flags & SOCK_SHUT_READ ? 0 : -EAGAIN;
    if (used == UINT32_MAX || used < sizeof(header))
        return -ECONNRESET;
    foyer_ring_get(&sock->rings->rx, tail, &header, sizeof(header));
    if (header.payload_size > 65535 || foyer_datagram_record_size(header.payload_size) > used)
        return -ECONNRESET;
    uint32_t count = size < header.payload_size ? (uint32_t)size : header.payload_size;
    if (count > 0)
        foyer_ring_get(&sock->rings->rx, tail + (uint32_t)sizeof(header), bytes, count);
    foyer_ring_publish_tail(&sock->rings->rx,
                            tail + foyer_datagram_record_size(header.payload_size));
    *ret_datagram = (struct foyer_datagram){.remote = {.port = header.peer_port},
                                            .ttl = header.ttl,
                                            .tos = header.tos,
                                            .segment_size = header.segment_size};
    memcpy(ret_datagram->remote.addr.bytes, header.peer_addr, 16);
    memcpy(ret_datagram->local.bytes, header.local_addr, 16);
    return header.payload_size;
}

int64_t foyer_socket_recv_from(struct foyer_host *host, foyer_socket socket, void *bytes,
                               size_t size, struct foyer_endpoint *ret_remote,
                               struct foyer_addr *ret_local)
{
    struct foyer_datagram datagram = {.ttl = -1}; /* what a closed socket leaves as it is */
    int64_t got = foyer_socket_recv_datagram(host, socket, bytes, size, &datagram);
    if (got < 0)
        return got;
    if (ret_remote != NULL)
        *ret_remote = datagram.remote;
    if (ret_local != NULL)
        *ret_local = datagram.local;
    return got;
}
