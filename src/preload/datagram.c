/*
 * UDP: records in the rings between a program and foyerd's stack (struct foyer_datagram_header).
 *
 * One call, one datagram. What the header says is checked against what the ring holds; a ring
 * that makes no sense is emptied.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#define HEADER_SIZE ((uint32_t)sizeof(struct foyer_datagram_header))
#define SEGMENTS_MAX 128u       /* UDP_MAX_SEGMENTS */
#define SEGMENT_BUFFERS_MAX 64u /* of one datagram */
#define PAYLOAD_MAX_V4 65507u   /* 65535 - 20 - 8 */
#define PAYLOAD_MAX_V6 65527u   /* RFC 2460 section 4.3 without jumbograms: 65535 - 8 */

void ring_put_iov(const struct foyer_ring *ring, uint32_t position, const struct iovec *iov,
                  size_t count)
{
    for (size_t i = 0; i < count; i++) {
        foyer_ring_put(ring, position, iov[i].iov_base, (uint32_t)iov[i].iov_len);
        position += (uint32_t)iov[i].iov_len;
    }
}

uint32_t ring_get_iov(const struct foyer_ring *ring, uint32_t position, uint32_t size,
                      const struct iovec *iov, size_t count)
{
    uint32_t done = 0;
    for (size_t i = 0; i < count && done < size; i++) {
        uint32_t part = size - done;
        if (iov[i].iov_len < part)
            part = (uint32_t)iov[i].iov_len;
        foyer_ring_get(ring, position + done, iov[i].iov_base, part);
        done += part;
    }
    return done;
}

/* ---- sending ------------------------------------------------------------------------------- */

/* Whom it goes to. */
static int choose_destination(struct socket_object *sock, const struct msghdr *message,
                              struct foyer_datagram_header *header)
{
    struct foyer_endpoint endpoint;
    uint32_t options = slot_options(sock);
    if (message->msg_name == NULL || message->msg_namelen == 0) {
        if ((options & FOYER_SLOT_PEER) == 0)
            return -EDESTADDRREQ;
        header->flags |= FOYER_DATAGRAM_CONNECTED;
        return 0;
    }
    int error = address_parse_program(sock, message->msg_name, message->msg_namelen, &endpoint);
    if (error < 0)
        return error;
    if (endpoint.port == 0)
        return -EINVAL;
    if (foyer_addr_is_any(&endpoint.addr)) {
        /* The wildcard as a destination is the host itself. */
        if (foyer_addr_is_v4(&endpoint.addr))
            endpoint.addr = foyer_addr_v4(127, 0, 0, 1);
        else
            endpoint.addr.bytes[15] = 1;
    }
    static const uint8_t broadcast[4] = {255, 255, 255, 255};
    if (foyer_addr_is_v4(&endpoint.addr) && memcmp(endpoint.addr.bytes + 12, broadcast, 4) == 0 &&
        (options & FOYER_SLOT_BROADCAST) == 0)
        return -EACCES;
    header->peer_port = endpoint.port;
    memcpy(header->peer_addr, endpoint.addr.bytes, 16);
    return 0;
}

static bool payload_is_too_long(const struct socket_object *sock,
                                const struct foyer_datagram_header *header, size_t size)
{
    struct foyer_addr addr;
    if ((header->flags & FOYER_DATAGRAM_CONNECTED) != 0)
        addr = sock->slot->remote.addr;
    else
        memcpy(addr.bytes, header->peer_addr, 16);
    return size > (foyer_addr_is_v4(&addr) ? PAYLOAD_MAX_V4 : PAYLOAD_MAX_V6);
}

/* Puts the record, if there is room. */
static int put_record(struct socket_object *sock, int fd, const struct channel *channel,
                      const struct foyer_datagram_header *header, const struct msghdr *message)
{
    const struct foyer_ring *ring = &channel->tx;
    uint32_t record = foyer_datagram_record_size(header->payload_size);
    if (slot_lock(sock, LOCK_WRITE) < 0)
        return -EAGAIN;
    uint32_t head = atomic_load_explicit(&ring->shared->head, memory_order_relaxed);
    uint32_t used = foyer_ring_distance(ring, head, foyer_ring_tail(ring));
    int error = 0;
    if (used == UINT32_MAX) {
        socket_note_reset(sock, ENETDOWN);
        error = -ENETDOWN;
    } else if (ring->size - used < record) {
        error = record > ring->size ? -EMSGSIZE : -EAGAIN;
    } else {
        foyer_ring_put(ring, head, header, HEADER_SIZE);
        ring_put_iov(ring, head + HEADER_SIZE, message->msg_iov, message->msg_iovlen);
        foyer_ring_publish_head(ring, head + record);
    }
    slot_unlock(sock, LOCK_WRITE);
    if (error == 0 && foyer_ring_take_reader_waiting(ring))
        channel_ring(channel, fd);
    return error;
}

/* One datagram, whose header says all but its size. */
static ssize_t send_one(struct socket_object *sock, int fd, struct foyer_datagram_header *header,
                        const struct msghdr *message, size_t size, int flags)
{
    header->payload_size = (uint32_t)size;
    struct channel *channel = socket_channel(sock, fd);
    if (channel == NULL)
        return -ENETDOWN;
    struct wait wait = {.events = POLLOUT,
                        .need_bytes = foyer_datagram_record_size(header->payload_size),
                        .deadline_ns = deadline_after(sock->slot->send_timeout_us)};
    for (;;) {
        int error = slot_take_error(sock);
        if (error < 0)
            return error;
        if ((slot_options(sock) & FOYER_SLOT_SHUT_WRITE) != 0)
            return stream_send_error(sock, flags);
        if (direct_send(sock, fd, header, message))
            return (ssize_t)size;
        error = put_record(sock, fd, channel, header, message);
        if (error == 0)
            return (ssize_t)size;
        if (error == -EAGAIN && socket_is_nonblocking(sock, flags)) {
            atomic_fetch_add(&sock->no_space_count, 1);
            foyer_ring_announce_writer(&channel->tx);
            return -EAGAIN;
        }
        if (error == -EAGAIN)
            error = wait_sleep(sock, fd, &wait);
        if (error < 0)
            return error;
    }
}

/* The buffers of size bytes at offset. False: there are too many of them. */
static bool cut(const struct msghdr *message, size_t offset, size_t size, struct iovec *ret_iov,
                size_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < message->msg_iovlen && size > 0; i++) {
        const struct iovec *iov = &message->msg_iov[i];
        if (offset >= iov->iov_len) {
            offset -= iov->iov_len;
            continue;
        }
        if (*ret_count == SEGMENT_BUFFERS_MAX)
            return false;
        size_t part = iov->iov_len - offset < size ? iov->iov_len - offset : size;
        ret_iov[(*ret_count)++] = (struct iovec){(uint8_t *)iov->iov_base + offset, part};
        size -= part;
        offset = 0;
    }
    return true;
}

/* UDP_SEGMENT: several datagrams in one call. */
static ssize_t send_segments(struct socket_object *sock, int fd,
                             struct foyer_datagram_header *header, const struct msghdr *message,
                             size_t size, int flags)
{
    size_t segment = header->segment_size, done = 0;
    struct iovec iov[SEGMENT_BUFFERS_MAX];
    if (segment == 0 || size <= segment) {
        header->segment_size = 0;
        return send_one(sock, fd, header, message, size, flags);
    }
    if (size > segment * SEGMENTS_MAX)
        return -EINVAL;
    while (done < size) {
        struct msghdr part = {.msg_iov = iov};
        size_t left = size - done < segment ? size - done : segment;
        if (!cut(message, done, left, iov, &part.msg_iovlen))
            return done > 0 ? (ssize_t)done : -EMSGSIZE;
        header->segment_size = 0;
        ssize_t sent = send_one(sock, fd, header, &part, left, flags);
        if (sent < 0)
            return done > 0 ? (ssize_t)done : sent;
        done += left;
    }
    return (ssize_t)size;
}

ssize_t datagram_send(struct socket_object *sock, int fd, const struct msghdr *message, int flags)
{
    struct foyer_datagram_header header;
    size_t size = 0;
    memset(&header, 0, sizeof(header));
    header.segment_size = sock->slot->segment_size;
    if ((flags & MSG_OOB) != 0)
        return -EOPNOTSUPP;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size += message->msg_iov[i].iov_len;
        if (size > PAYLOAD_MAX_V6 || message->msg_iov[i].iov_len > PAYLOAD_MAX_V6)
            return -EMSGSIZE;
    }
    /* inet_send_prepare: the port comes before the arguments are looked at. */
    int error = socket_autobind(sock);
    if (error == 0)
        error = choose_destination(sock, message, &header);
    if (error == 0)
        error = control_parse(sock, message, &header);
    if (error == 0 && payload_is_too_long(sock, &header, size))
        error = -EMSGSIZE;
    if (error < 0)
        return error;
    return send_segments(sock, fd, &header, message, size, flags);
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* From the ring that foyerd writes: how many bytes had room, -EAGAIN for none. */
static ssize_t take_relayed(const struct foyer_ring *ring, const struct msghdr *message,
                            struct datagram_facts *ret_facts, bool is_peek)
{
    struct foyer_datagram_header header;
    uint32_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_relaxed);
    uint32_t used = foyer_ring_distance(ring, foyer_ring_head(ring), tail);
    if (used == 0)
        return -EAGAIN;
    bool is_sane = used != UINT32_MAX && used >= HEADER_SIZE;
    if (is_sane) {
        foyer_ring_get(ring, tail, &header, HEADER_SIZE);
        is_sane = header.payload_size <= PAYLOAD_MAX_V6 &&
                  foyer_datagram_record_size(header.payload_size) <= used;
    }
    if (!is_sane) {
        foyer_ring_publish_tail(ring, foyer_ring_head(ring));
        return -EAGAIN;
    }
    *ret_facts = (struct datagram_facts){.peer.port = header.peer_port,
                                         .payload_size = header.payload_size,
                                         .segment_size = header.segment_size,
                                         .ttl = header.ttl,
                                         .tos = header.tos};
    memcpy(ret_facts->peer.addr.bytes, header.peer_addr, 16);
    memcpy(ret_facts->local.bytes, header.local_addr, 16);
    uint32_t copied = ring_get_iov(ring, tail + HEADER_SIZE, header.payload_size, message->msg_iov,
                                   message->msg_iovlen);
    if (!is_peek)
        foyer_ring_publish_tail(ring, tail + foyer_datagram_record_size(header.payload_size));
    return copied;
}

/* Takes one datagram, with the lock held. Its size (or what was copied), -EAGAIN for none. */
static ssize_t take_record(struct socket_object *sock, int fd, const struct foyer_ring *ring,
                           struct msghdr *message, int flags)
{
    struct datagram_facts facts;
    bool is_peek = (flags & MSG_PEEK) != 0;
    ssize_t copied = direct_take(sock, fd, ring, message, &facts, is_peek);
    if (copied < 0)
        copied = take_relayed(ring, message, &facts, is_peek);
    if (copied < 0)
        return copied;
    if (message->msg_name != NULL)
        address_store(sock, &facts.peer, message->msg_name, &message->msg_namelen);
    message->msg_flags = copied < facts.payload_size ? MSG_TRUNC : 0;
    control_put(sock, &facts, message);
    return (flags & MSG_TRUNC) != 0 ? (ssize_t)facts.payload_size : copied;
}

ssize_t datagram_recv(struct socket_object *sock, int fd, struct msghdr *message, int flags)
{
    if ((flags & MSG_ERRQUEUE) != 0)
        return errors_recv(sock, message);
    struct channel *channel = socket_channel(sock, fd);
    if (channel == NULL)
        return -ENETDOWN;
    struct wait wait = {.events = POLLIN,
                        .deadline_ns = deadline_after(sock->slot->receive_timeout_us)};
    for (;;) {
        int error = slot_take_error(sock);
        if (error < 0)
            return error;
        if (slot_lock(sock, LOCK_READ) < 0)
            return -EAGAIN;
        ssize_t size = take_record(sock, fd, &channel->rx, message, flags);
        slot_unlock(sock, LOCK_READ);
        if (size >= 0) {
            if ((flags & MSG_PEEK) == 0 && foyer_ring_take_writer_waiting(&channel->rx))
                channel_ring(channel, fd);
            return size;
        }
        if ((slot_options(sock) & (FOYER_SLOT_SHUT_READ | FOYER_SLOT_RESET_SEEN)) != 0)
            return slot_take_error(sock);
        if (socket_is_nonblocking(sock, flags))
            return -EAGAIN;
        error = wait_sleep(sock, fd, &wait);
        if (error < 0)
            return error;
    }
}
