/*
 * UDP (RFC 768, RFC 1122 section 4.1, RFC 8200 section 8.1): datagrams as records in rings.
 *
 * Up:   ip.c -> udp_input -> a record in each receiver's rx ring
 * Down: the program writes a record to tx -> output.c asks udp_next -> one packet, or a control
 *       packet where the datagram is larger than the path's MTU and must be fragmented
 *
 * The rings may be shared with a hostile program. The stack therefore trusts only its own
 * positions (udp_rx_head, udp_tx_tail), reads a record's header once into a local copy, and
 * checks every size before it is used. A contradiction costs the program its stream: what is in
 * the ring is skipped and the socket fails with -ECONNRESET.
 *
 * A datagram that was lent to the caller of output leaves the ring (udp_release) when the next
 * call on the host begins.
 */
#include <errno.h>

#include "stack/dhcp.h"
#include "stack/group.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "wire/dhcp4.h"
#include "wire/dhcp6.h"
#include "wire/udp.h"

#define RECORD_HEADER_SIZE ((uint32_t)sizeof(struct foyer_datagram_header))
#define GROUP_RECEIVERS_MAX 256u /* copies of one datagram that was sent to many */
#define USO_SEGMENTS_MAX 64u     /* what Linux takes */

/* ---- up ------------------------------------------------------------------------------------------ */

/* Appends one datagram (size bytes of payload at offset from the transport header). */
static void deliver_one(struct foyer_host *host, struct sock *sock, const struct rx *rx,
                        const struct wire_udp *udp, size_t offset, uint32_t size,
                        uint16_t segment_size)
{
    if (sock->flags & SOCK_SHUT_READ)
        return;
    if (sock_need_rx(host, sock) != 0) {
        host->stats.in_dropped_memory++;
        return;
    }
    uint32_t used =
        foyer_ring_distance(&sock->rings->rx, sock->udp_rx_head, foyer_ring_tail(&sock->rings->rx));
    if (used == UINT32_MAX) {
        sock_fail(host, sock, -ECONNRESET);
        host->stats.udp_full++;
        return;
    }
    uint32_t record_size = foyer_datagram_record_size(size);
    if (record_size > sock->rings->rx.size - used) {
        host->stats.udp_full++; /* as a kernel does: the newest is lost */
        return;
    }
    struct foyer_datagram_header header = {.payload_size = size,
                                           .segment_size = segment_size,
                                           .peer_port = udp->src_port,
                                           .ttl = rx->ttl,
                                           .tos = rx->tos};
    memcpy(header.peer_addr, rx->src.bytes, 16);
    memcpy(header.local_addr, rx->dst.bytes, 16);
    foyer_ring_put(&sock->rings->rx, sock->udp_rx_head, &header, RECORD_HEADER_SIZE);
    rx_copy_to_ring(rx, offset, &sock->rings->rx, sock->udp_rx_head + RECORD_HEADER_SIZE, size);
    sock->udp_rx_head += record_size;
    foyer_ring_publish_head(&sock->rings->rx, sock->udp_rx_head);
    host->stats.udp_in_datagrams++;
    sock_event(host, sock, FOYER_EVENT_READABLE);
}

/* RFC 768 leaves the checksum out by zero, RFC 8200 section 8.1 only where it is allowed to. */
static bool is_bare_v6(const struct rx *rx, const struct wire_udp *udp)
{
    return udp->checksum == 0 && rx->family == 6 && !rx->checksum_valid;
}

static void drop_checksum(struct foyer_host *host)
{
    host->stats.in_dropped_checksum++;
    host->stats.udp_in_errors++;
}

static void deliver(struct foyer_host *host, struct sock *sock, const struct rx *rx,
                    const struct wire_udp *udp)
{
    /* [RFC8200 8.1d] [RFC6936 4c 4d] */
    if (is_bare_v6(rx, udp) && (sock->flags & SOCK_UDP_ZERO_IN) == 0) {
        drop_checksum(host);
        return;
    }
    uint32_t left = (uint32_t)udp->size - WIRE_UDP_SIZE;
    size_t offset = WIRE_UDP_SIZE;
    if ((sock->flags & SOCK_UDP_GRO) && rx->gso_size > 0 && left > rx->gso_size) {
        deliver_one(host, sock, rx, udp, offset, left, rx->gso_size);
        return;
    }
    /* What the link coalesced is cut again: the program sees datagrams. */
    uint32_t piece = rx->gso_size > 0 ? rx->gso_size : left;
    do {
        uint32_t size = left < piece ? left : piece;
        deliver_one(host, sock, rx, udp, offset, size, 0);
        offset += size;
        left -= size;
    } while (left > 0);
}

/* Does a member of the group get what came to its port? */
static bool is_receiver(const struct sock *sock, const struct foyer_endpoint *local,
                        const struct foyer_endpoint *remote)
{
    if ((sock->flags & SOCK_BOUND) == 0 || (sock->flags & SOCK_ORPHAN) ||
        sock->local.port != local->port)
        return false;
    if (!foyer_addr_is_any(&sock->local.addr) && !foyer_addr_eq(&sock->local.addr, &local->addr))
        return false;
    return sock->remote.port == 0 ||
           (sock->remote.port == remote->port && foyer_addr_eq(&sock->remote.addr, &remote->addr));
}

/* To those who have not joined and want what others joined (FOYER_OPT_MULTICAST_ALL). How many. */
static uint32_t deliver_to_others(struct foyer_host *host, const struct rx *rx,
                                  const struct wire_udp *udp, const struct group *group,
                                  const struct foyer_endpoint *local,
                                  const struct foyer_endpoint *remote)
{
    const uint8_t family_bit = foyer_addr_is_v4(&rx->dst) ? 1 : 2;
    uint32_t count = 0;
    if (!FOYER_WITH_MULTICAST)
        return 0;
    for (uint32_t i = 0; i < GROUP_RECEIVERS_MAX; i++) {
        struct sock *sock = ports_group_receiver(host, local, i);
        if (sock == NULL)
            break;
        if ((sock->multicast_all & family_bit) == 0 || !is_receiver(sock, local, remote) ||
            group_has_member(group, sock))
            continue;
        count++;
        deliver(host, sock, rx, udp);
    }
    return count;
}

/*
 * RFC 1112 section 7.1: only to those who joined, [RFC3376 3.2d] and want its source; and to those who
 * asked for what others joined.
 */
static void deliver_to_members(struct foyer_host *host, const struct rx *rx,
                               const struct wire_udp *udp, const struct foyer_endpoint *local,
                               const struct foyer_endpoint *remote)
{
    uint32_t count = 0;
    if (!FOYER_WITH_MULTICAST)
        return;
    const struct group *group = group_find(host, &rx->dst);
    if (group == NULL)
        return;
    if (group_passes(group, &rx->src))
        count = deliver_to_others(host, rx, udp, group, local, remote);
    LIST_FOREACH (&group->members, node) {
        const struct membership *membership = LIST_ENTRY(node, struct membership, node);
        struct sock *sock = membership->sock;
        if (!is_receiver(sock, local, remote) || !membership_passes(membership, &rx->src))
            continue;
        if (count++ == GROUP_RECEIVERS_MAX)
            return;
        deliver(host, sock, rx, udp);
    }
}

static void deliver_to_group(struct foyer_host *host, const struct rx *rx,
                             const struct wire_udp *udp, const struct foyer_endpoint *local)
{
    for (uint32_t i = 0; i < GROUP_RECEIVERS_MAX; i++) {
        struct sock *sock = ports_group_receiver(host, local, i);
        if (sock == NULL)
            return;
        deliver(host, sock, rx, udp);
    }
}

/* [RFC1122 4.1.3.4a 4.1.3.4b 4.1.3.4c] */
static bool is_checksum_right(const struct rx *rx, const struct wire_udp *udp)
{
    if (rx->checksum_valid)
        return true;
    if (udp->checksum == 0)
        return true; /* RFC 768; in IPv6 its socket decides */
    if (udp->size == rx->size)
        return rx_checksum_ok(rx);
    /* The IP payload is longer than the datagram: only the datagram is summed. */
    struct rx exact = *rx;
    size_t left = udp->size;
    exact.size = udp->size;
    for (unsigned i = 0; i < exact.payload_count; i++) {
        if (exact.payload[i].size > left)
            exact.payload[i].size = left;
        left -= exact.payload[i].size;
    }
    return rx_checksum_ok(&exact);
}

void udp_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now)
{
    struct wire_udp udp;
    if (rx->transport_contiguous < WIRE_UDP_SIZE ||
        wire_udp_parse(rx->transport, rx->size, &udp) < 0) {
        host->stats.in_dropped_malformed++;
        host->stats.udp_in_errors++;
        return;
    }
    if (!is_checksum_right(rx, &udp)) {
        drop_checksum(host);
        return;
    }
    bool is_for_client =
        (udp.dst_port == WIRE_DHCP4_CLIENT_PORT || udp.dst_port == WIRE_DHCP6_CLIENT_PORT) &&
        !is_bare_v6(rx, &udp);
    if (FOYER_WITH_DHCP && is_for_client && dhcp_input(host, rx, udp.dst_port, udp.size, now))
        return;
    struct foyer_endpoint local = {rx->dst, udp.dst_port};
    struct foyer_endpoint remote = {rx->src, udp.src_port};
    if (FOYER_WITH_MULTICAST && foyer_addr_is_multicast(&rx->dst) &&
        !group_is_everybodys(&rx->dst)) {
        deliver_to_members(host, rx, &udp, &local, &remote);
        return;
    }
    if (foyer_addr_is_multicast(&rx->dst) || ip_is_broadcast(host, &rx->dst)) {
        deliver_to_group(host, rx, &udp, &local);
        return; /* RFC 1122 section 3.2.2: no error in answer to a broadcast */
    }
    struct sock *sock = ports_find_connected(host, FOYER_UDP, &local, &remote);
    if (sock == NULL)
        sock = ports_find_bound(host, FOYER_UDP, &local, &remote);
    if (sock == NULL && is_bare_v6(rx, &udp)) {
        drop_checksum(host);
        return;
    }
    if (sock == NULL) {
        host->stats.udp_no_ports++;
        icmp_send_unreachable(host, rx, true, now); /* RFC 1122 section 4.1.3.1, SHOULD */
        return;
    }
    deliver(host, sock, rx, &udp);
}

/* ---- down ------------------------------------------------------------------------------------------ */

static void consume(struct foyer_host *host, struct sock *sock, uint32_t size)
{
    sock->udp_tx_tail += size;
    sock->udp_tx_offset = 0;
    if (!list_is_linked(&sock->release_node))
        list_push_back(&host->release_list, &sock->release_node);
}

void udp_release(struct foyer_host *host, struct sock *sock)
{
    if (!foyer_ring_is_set(&sock->rings->tx))
        return;
    foyer_ring_publish_tail(&sock->rings->tx, sock->udp_tx_tail);
    sock_event(host, sock, FOYER_EVENT_WRITABLE);
    /* Closed, and now all that it had to say is said. */
    if ((sock->flags & SOCK_ORPHAN) && foyer_ring_head(&sock->rings->tx) == sock->udp_tx_tail)
        sock_free(host, sock);
}

/* Skips all that waits, since no record can be trusted any more. */
static void skip_all(struct foyer_host *host, struct sock *sock, int error)
{
    consume(host, sock, foyer_ring_head(&sock->rings->tx) - sock->udp_tx_tail);
    sock_fail(host, sock, error);
}

/* The record at the tail: its size in the ring; 0: none; negative: the ring is spoilt. */
static int64_t peek_record(const struct sock *sock, struct foyer_datagram_header *ret_header)
{
    uint32_t used =
        foyer_ring_distance(&sock->rings->tx, foyer_ring_head(&sock->rings->tx), sock->udp_tx_tail);
    if (used == 0)
        return 0;
    if (used == UINT32_MAX || used < RECORD_HEADER_SIZE)
        return -ECONNRESET;
    foyer_ring_get(&sock->rings->tx, sock->udp_tx_tail, ret_header, RECORD_HEADER_SIZE);
    if (ret_header->payload_size > UINT16_MAX)
        return -ECONNRESET;
    uint32_t record_size = foyer_datagram_record_size(ret_header->payload_size);
    return record_size <= used ? (int64_t)record_size : -ECONNRESET;
}

/* Where the record goes. 0, or the error that the sender is told. [RFC1122 3.3.3a] */
static int find_destination(struct foyer_host *host, struct sock *sock,
                            const struct foyer_datagram_header *header,
                            struct foyer_endpoint *ret_remote, struct ip_way *ret_way)
{
    struct foyer_endpoint remote = {.port = header->peer_port};
    memcpy(remote.addr.bytes, header->peer_addr, 16);
    static const struct foyer_addr none;
    if ((header->flags & FOYER_DATAGRAM_CONNECTED) ||
        (foyer_addr_eq(&remote.addr, &none) && remote.port == 0)) {
        if (sock->remote.port == 0)
            return -EDESTADDRREQ;
        remote = sock->remote;
    }
    if (remote.port == 0)
        return -EINVAL;
    if (!addr_is_spoken(&remote.addr))
        return -EAFNOSUPPORT;
    bool is_v4 = foyer_addr_is_v4(&remote.addr);
    if (is_v4 ? (sock->flags & SOCK_V6ONLY) != 0 : sock->family == FOYER_FAMILY_V4)
        return is_v4 ? -ENETUNREACH : -EAFNOSUPPORT;
    if (header->payload_size > HOST_DATAGRAM_MAX(is_v4))
        return -EMSGSIZE;
    if (foyer_addr_is_any(&remote.addr)) /* as Linux: "this host" */
        remote.addr = is_v4 ? foyer_addr_v4(127, 0, 0, 1)
                            : (struct foyer_addr){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    struct foyer_addr src = sock->local.addr;
    if (header->flags & FOYER_DATAGRAM_LOCAL) {
        /* IP_PKTINFO's ipi_spec_dst: an address of this host's, and of nobody else. */
        memcpy(src.bytes, header->local_addr, 16);
        if (!foyer_addr_is_any(&src) && !ip_is_own(host, &src))
            return -EADDRNOTAVAIL;
    }
    int error = ip_find_way(host, &remote.addr, &src, ret_way);
    if (error != 0)
        return error;
    if (ret_way->is_broadcast && !sock->broadcast)
        return -EACCES;
    *ret_remote = remote;
    return 0;
}

/* The datagram becomes one control packet. */
static bool queue_copy(struct foyer_host *host, struct sock *sock, const struct ip_out *out,
                       const struct wire_udp *udp, uint32_t position, uint32_t size,
                       const struct tx *tx)
{
    struct control *control = control_push(host, CONTROL_IP, WIRE_UDP_SIZE + (size_t)size);
    if (control == NULL)
        return false;
    control->protocol = WIRE_PROTOCOL_UDP;
    control->src = out->src;
    control->dst = out->dst;
    control->ttl = tx->ttl;
    control->tos = tx->tos;
    control->without_checksum = tx->without_checksum;
    control->is_looped = ip_is_broadcast(host, &out->dst) ||
                         (foyer_addr_is_multicast(&out->dst) && sock->multicast_loop);
    wire_udp_emit(control_bytes(control), udp);
    foyer_ring_get(&sock->rings->tx, position, control_bytes(control) + WIRE_UDP_SIZE, size);
    return true;
}

static void fill_payload(const struct sock *sock, struct tx *tx, uint32_t position, uint32_t size)
{
    uint32_t at = position & (sock->rings->tx.size - 1);
    uint32_t first = sock->rings->tx.size - at < size ? sock->rings->tx.size - at : size;
    tx->payload[0] = (struct foyer_span){sock->rings->tx.data + at, first};
    tx->payload[1] = (struct foyer_span){sock->rings->tx.data, size - first};
    tx->payload_count = 2;
}

static bool can_offload(const struct foyer_host *host, const struct ip_way *way, uint32_t left,
                        uint32_t piece)
{
    return (host->config.link_capabilities & FOYER_LINK_USO) && !way->is_local &&
           left <= host->config.gso_max_size && (left + piece - 1) / piece <= USO_SEGMENTS_MAX;
}

/* How much of the record goes next: all that is left, or one segment of it. */
static uint32_t next_piece(const struct foyer_host *host, const struct ip_way *way,
                           const struct foyer_datagram_header *header, uint32_t left,
                           bool may_offload, struct tx *tx)
{
    tx->gso_type = FOYER_GSO_NONE;
    if (header->segment_size == 0 || header->segment_size >= left)
        return left;
    /* A link that cuts segments fills their checksums in. */
    if (!may_offload || tx->without_checksum || !can_offload(host, way, left, header->segment_size))
        return header->segment_size;
    tx->gso_type = FOYER_GSO_UDP;
    tx->gso_size = header->segment_size;
    return left;
}

static void advance(struct foyer_host *host, struct sock *sock, uint32_t size, uint32_t left,
                    uint32_t record_size)
{
    host->stats.udp_out_datagrams++;
    if (size == left)
        consume(host, sock, record_size);
    else
        sock->udp_tx_offset += size;
}

/* The record is good and has a way: makes a packet of it or of its next segment.
 * [RFC1122 3.2.1.5a 3.2.1.7c 4.1.4a] */
static enum udp_step send_record(struct foyer_host *host, struct sock *sock,
                                 const struct foyer_datagram_header *header,
                                 const struct foyer_endpoint *remote, struct tx *tx,
                                 struct ip_out *out, struct ip_way *way, foyer_time_ns now)
{
    uint32_t record_size = foyer_datagram_record_size(header->payload_size);
    bool is_resolved = way->neighbour == NULL || neighbour_use(host, way->neighbour, now);
    if (!is_resolved && sock->remote.port != 0) {
        neighbour_park(way->neighbour, sock); /* off the output list already */
        return UDP_SKIPPED;
    }
    /* A program may change the record between two of its segments; then it simply ends. */
    if (sock->udp_tx_offset > header->payload_size)
        sock->udp_tx_offset = header->payload_size;
    uint32_t left = header->payload_size - sock->udp_tx_offset;
    /* [RFC6936 4a 4b] */
    tx->without_checksum =
        (sock->flags & SOCK_UDP_ZERO_OUT) != 0 && (header->flags & FOYER_DATAGRAM_CHECKSUM) == 0;
    uint32_t size = next_piece(host, way, header, left, is_resolved, tx);
    uint32_t position = sock->udp_tx_tail + RECORD_HEADER_SIZE + sock->udp_tx_offset;
    uint32_t ip_size = foyer_addr_is_v4(&remote->addr) ? WIRE_IPV4_SIZE : WIRE_IPV6_SIZE;
    bool is_offloaded = tx->gso_type != FOYER_GSO_NONE;
    bool is_within_mtu = ip_size + WIRE_UDP_SIZE + (is_offloaded ? tx->gso_size : size) <= way->mtu;
    struct wire_udp udp = {.src_port = sock->local.port,
                           .dst_port = remote->port,
                           .size = (uint16_t)(WIRE_UDP_SIZE + size)};

    tx->ttl = way->is_multicast ? sock->multicast_ttl : sock->ttl;
    if (header->flags & FOYER_DATAGRAM_TTL)
        tx->ttl = header->ttl;
    /* RFC 1122 section 3.2.1.3 (g): never outside of a host. */
    if (way->is_multicast && foyer_addr_is_loopback(&way->src))
        tx->ttl = 0;
    if (header->flags & FOYER_DATAGRAM_TOS)
        tx->tos = header->tos;
    *out = (struct ip_out){.src = way->src,
                           .dst = remote->addr,
                           .protocol = WIRE_PROTOCOL_UDP,
                           .mac = way->neighbour != NULL ? way->neighbour->mac : way->mac};
    if (is_resolved && is_within_mtu) {
        tx->transport_size = (uint16_t)wire_udp_emit(tx->header + TX_TRANSPORT_OFFSET, &udp);
        fill_payload(sock, tx, position, size);
        advance(host, sock, size, left, record_size);
        return UDP_PACKET;
    }
    if (is_offloaded) {
        /* Segments above the path's MTU are a contradiction (EMSGSIZE on Linux as well). */
        sock_fail(host, sock, -EMSGSIZE);
        consume(host, sock, record_size);
        return UDP_SKIPPED;
    }
    /*
     * Too large, or a socket that talks to many must not wait for this one neighbour: copied
     * to the control queue, which cuts it or holds it. Where that is full its packets go first.
     */
    if (queue_copy(host, sock, out, &udp, position, size, tx))
        advance(host, sock, size, left, record_size);
    return UDP_SKIPPED;
}

enum udp_step udp_next(struct foyer_host *host, struct sock *sock, struct tx *tx,
                       struct ip_out *out, struct ip_way *way, foyer_time_ns now)
{
    struct foyer_datagram_header header;
    struct foyer_endpoint remote;

    if (!foyer_ring_is_set(&sock->rings->tx))
        return UDP_IDLE;
    int64_t record_size = peek_record(sock, &header);
    if (record_size == 0)
        return UDP_IDLE;
    if (record_size < 0) {
        skip_all(host, sock, (int)record_size);
        return UDP_IDLE;
    }
    int error = find_destination(host, sock, &header, &remote, way);
    if (error != 0) {
        sock_fail(host, sock, error);
        consume(host, sock, (uint32_t)record_size);
        return UDP_SKIPPED;
    }
    return send_record(host, sock, &header, &remote, tx, out, way, now);
}

/* ---- the socket's side -------------------------------------------------------------------------------- */

void udp_unreachable(struct foyer_host *host, struct sock *sock)
{
    struct foyer_socket_error error = {
        .error = -EHOSTUNREACH, .origin = FOYER_ERROR_LOCAL, .remote = sock->remote};
    if (foyer_ring_is_set(&sock->rings->tx))
        skip_all(host, sock, -EHOSTUNREACH);
    if (sock->flags & SOCK_RECVERR)
        udp_error_push(host, sock, &error);
}

void udp_poke(struct foyer_host *host, struct sock *sock, foyer_time_ns now)
{
    (void)now;
    if (!foyer_ring_is_set(&sock->rings->tx) || (sock->flags & SOCK_SHUT_WRITE) ||
        foyer_ring_head(&sock->rings->tx) == sock->udp_tx_tail)
        return;
    if ((sock->flags & SOCK_BOUND) == 0) {
        struct foyer_endpoint any = {sock->local.addr, 0};
        int error = ports_bind(host, sock, &any, NULL);
        if (error != 0) {
            skip_all(host, sock, error);
            return;
        }
    }
    sock_want_output(host, sock);
}

int udp_connect(struct foyer_host *host, struct sock *sock, const struct foyer_endpoint *remote)
{
    struct foyer_addr src = sock->local.addr;
    struct ip_way way;

    if (sock->flags & SOCK_ADDRESS_CHOSEN)
        src =
            sock->family == FOYER_FAMILY_V4 ? foyer_addr_v4(0, 0, 0, 0) : (struct foyer_addr){{0}};
    int error = ip_find_way(host, &remote->addr, &src, &way);
    if (error == 0 && way.is_broadcast && !sock->broadcast)
        error = -EACCES;
    if (error == 0 && (sock->flags & SOCK_BOUND) == 0) {
        struct foyer_endpoint any = {src, 0};
        error = ports_bind(host, sock, &any, NULL);
        if (error == -EADDRINUSE)
            error = -EADDRNOTAVAIL;
    }
    if (error != 0)
        return error;
    ports_disconnect(host, sock);
    if (foyer_addr_is_any(&src)) {
        src = way.src;
        sock->flags |= SOCK_ADDRESS_CHOSEN;
    }
    sock->local.addr = src;
    sock->remote = *remote;
    sock->path_generation = 0;
    error = ports_connect(host, sock);
    sock->state = error == 0 ? FOYER_STATE_ESTABLISHED : FOYER_STATE_CLOSED;
    return error;
}

void udp_disconnect(struct foyer_host *host, struct sock *sock)
{
    ports_disconnect(host, sock);
    memset(&sock->remote, 0, sizeof(sock->remote));
    if (sock->flags & SOCK_ADDRESS_CHOSEN) {
        sock->flags &= ~(uint32_t)SOCK_ADDRESS_CHOSEN;
        sock->local.addr =
            sock->family == FOYER_FAMILY_V4 ? foyer_addr_v4(0, 0, 0, 0) : (struct foyer_addr){{0}};
        (void)ports_regroup(host, sock);
    }
    sock->state = FOYER_STATE_CLOSED;
}
