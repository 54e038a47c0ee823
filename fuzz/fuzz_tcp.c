/*
 * A host with a connection in every state of TCP, both families, and segments that nearly fit:
 * sequence and acknowledgement numbers beside the live ones, options right and wrong, extension
 * headers, fragments, ICMP errors that quote what is in flight; between them the program's calls
 * and time. Checksums are always right, so that every input gets to TCP.
 *
 * The input is a list of actions: one byte says which, the bytes after it are its arguments.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "foyer/foyer.h"
#include "wire/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CONNS 24u /* twelve of each family */
#define LISTEN_PORT 80
#define PEER_ISS 0xffffff00u /* numbers wrap soon */
#define FRAME_MAX 2048u
#define FIRST_PEER_PORT 1000u

#define FIN WIRE_TCP_FIN
#define SYN WIRE_TCP_SYN
#define RST WIRE_TCP_RST
#define ACK WIRE_TCP_ACK

static const uint8_t host_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};

struct conn {
    foyer_socket socket;
    bool is_v4, is_known; /* the host's numbers have been seen */
    uint16_t host_port, peer_port;
    uint32_t peer_nxt, host_una, host_nxt;
    uint32_t host_timestamp;
};

struct fuzz {
    struct foyer_host *host;
    foyer_time_ns now;
    const uint8_t *data;
    size_t size;
    size_t allocated;
    foyer_socket listener;
    struct conn conns[CONNS];
    uint8_t quoted[128]; /* of the last segment that the host sent */
    size_t quoted_size;
    bool is_quoted_v4;
};

static uint8_t take(struct fuzz *fuzz)
{
    if (fuzz->size == 0)
        return 0;
    fuzz->size--;
    return *fuzz->data++;
}

static uint16_t take16(struct fuzz *fuzz)
{
    unsigned high = take(fuzz);
    return (uint16_t)(high << 8 | take(fuzz));
}

/* Mostly small, either sign, at times far. */
static uint32_t take_offset(struct fuzz *fuzz)
{
    uint8_t how = take(fuzz);
    uint32_t size = how & 0x3f;
    if (how & 0x40)
        size = (uint32_t)take16(fuzz) << (how & 15);
    return how & 0x80 ? 0 - size : size;
}

static void *counted_alloc(void *context, size_t size)
{
    struct fuzz *fuzz = context;
    fuzz->allocated += size;
    return malloc(size);
}

static void counted_free(void *context, void *memory, size_t size)
{
    struct fuzz *fuzz = context;
    if (memory == NULL)
        return;
    if (fuzz->allocated < size)
        abort();
    fuzz->allocated -= size;
    free(memory);
}

static struct foyer_addr address(bool is_v4, uint8_t last)
{
    return is_v4 ? foyer_addr_v4(10, 0, 0, last) : (struct foyer_addr){{0xfd, [15] = last}};
}

/* ---- what the host sends ---------------------------------------------------------------------------- */

static void input(struct fuzz *fuzz, const uint8_t *frame, size_t size)
{
    uint8_t *exact = malloc(size); /* so that one byte too far is seen */
    if (exact == NULL)
        abort();
    memcpy(exact, frame, size);
    struct foyer_packet packet = {
        .spans = {{exact, size}}, .span_count = 1, .arrival_ns = fuzz->now};
    foyer_host_input(fuzz->host, &packet, 1, fuzz->now);
    free(exact);
}

static void answer_arp(struct fuzz *fuzz, const uint8_t *frame)
{
    uint8_t reply[42];
    memcpy(reply, host_mac, 6);
    memcpy(reply + 6, peer_mac, 6);
    memcpy(reply + 12, frame + 12, 10);
    reply[21] = 2;
    memcpy(reply + 22, peer_mac, 6);
    memcpy(reply + 28, frame + 38, 4);
    memcpy(reply + 32, frame + 22, 10);
    input(fuzz, reply, sizeof(reply));
}

static void seal(uint8_t *transport, size_t size, const struct foyer_addr *src,
                 const struct foyer_addr *dst, uint8_t protocol, size_t at)
{
    struct checksum sum;
    store_be16(transport + at, 0);
    checksum_init(&sum);
    if (protocol != 1)
        checksum_add_pseudo(&sum, src, dst, protocol, (uint32_t)size);
    checksum_add(&sum, transport, size);
    store_be16(transport + at, checksum_finish(&sum));
}

static void answer_solicitation(struct fuzz *fuzz, const uint8_t *frame)
{
    uint8_t reply[86] = {0};
    struct foyer_addr src, dst;
    memcpy(src.bytes, frame + 62, 16);
    memcpy(dst.bytes, frame + 22, 16);
    memcpy(reply, host_mac, 6);
    memcpy(reply + 6, peer_mac, 6);
    memcpy(reply + 12, frame + 12, 10);
    memcpy(reply + 22, src.bytes, 16);
    memcpy(reply + 38, dst.bytes, 16);
    store_be16(reply + 18, 32);
    reply[54] = 136;
    reply[58] = 0x60;
    memcpy(reply + 62, src.bytes, 16);
    reply[78] = 2;
    reply[79] = 1;
    memcpy(reply + 80, peer_mac, 6);
    seal(reply + 54, 32, &src, &dst, 58, 2);
    input(fuzz, reply, sizeof(reply));
}

static void note_segment(struct fuzz *fuzz, const uint8_t *frame, size_t size, bool is_v4)
{
    size_t at = is_v4 ? 34 : 54;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    if (size < at + 20 || wire_tcp_parse(frame + at, size - at, &tcp) < 0)
        return;
    fuzz->is_quoted_v4 = is_v4;
    fuzz->quoted_size = size - 14 < sizeof(fuzz->quoted) ? size - 14 : sizeof(fuzz->quoted);
    memcpy(fuzz->quoted, frame + 14, fuzz->quoted_size);
    unsigned index = tcp.dst_port - FIRST_PEER_PORT;
    if (index >= CONNS || fuzz->conns[index].is_v4 != is_v4 || (tcp.flags & RST) != 0)
        return;
    struct conn *conn = &fuzz->conns[index];
    uint32_t end = tcp.seq.value + (uint32_t)(size - at - tcp.header_size) +
                   ((tcp.flags & SYN) != 0) + ((tcp.flags & FIN) != 0);
    if (!conn->is_known || (int32_t)(end - conn->host_nxt) > 0)
        conn->host_nxt = end;
    if (!conn->is_known)
        conn->host_una = tcp.seq.value;
    conn->is_known = true;
    conn->host_port = tcp.src_port;
    if (wire_tcp_options_parse(frame + at + 20, tcp.header_size - 20u, &options) >= 0 &&
        options.has_timestamps)
        conn->host_timestamp = options.timestamp_value;
}

static void look_at(struct fuzz *fuzz, const struct foyer_packet *packet)
{
    static uint8_t frame[70000];
    size_t size = 0;
    for (unsigned i = 0; i < packet->span_count; i++) {
        if (size + packet->spans[i].size > sizeof(frame))
            abort();
        if (packet->spans[i].size > 0)
            memcpy(frame + size, packet->spans[i].base, packet->spans[i].size);
        size += packet->spans[i].size;
    }
    uint16_t type = load_be16(frame + 12);
    if (type == 0x0806 && size >= 42 && frame[21] == 1)
        answer_arp(fuzz, frame);
    else if (type == 0x86dd && size >= 78 && frame[20] == 58 && frame[54] == 135)
        answer_solicitation(fuzz, frame);
    else if (type == 0x0800 && frame[23] == 6)
        note_segment(fuzz, frame, size, true);
    else if (type == 0x86dd && frame[20] == 6)
        note_segment(fuzz, frame, size, false);
}

static void pull(struct fuzz *fuzz)
{
    for (int round = 0; round < 20; round++) {
        struct foyer_packet packets[4];
        size_t count = foyer_host_output(fuzz->host, packets, 4, fuzz->now);
        if (count == 0)
            return;
        /* The answers to the host's questions end what the packets point at: one at a time. */
        for (size_t i = 0; i < count; i++) {
            struct foyer_packet packet = packets[i];
            uint8_t copy[4][FRAME_MAX] = {{0}};
            for (unsigned s = 0; s < packet.span_count; s++) {
                if (packet.spans[s].size > FRAME_MAX)
                    abort();
                if (packet.spans[s].size > 0)
                    memcpy(copy[s], packet.spans[s].base, packet.spans[s].size);
                packet.spans[s].base = copy[s];
            }
            if (count == 1 || (load_be16(copy[0] + 12) != 0x0806 && copy[0][20] != 58))
                look_at(fuzz, &packet);
        }
    }
}

/* ---- what the peer sends ---------------------------------------------------------------------------- */

struct piece {
    uint8_t bytes[FRAME_MAX];
    size_t size; /* of the IP payload */
};

/* IP and Ethernet in front of a payload; v6 may have extension headers in it already. */
static void send_ip(struct fuzz *fuzz, bool is_v4, uint8_t protocol, const uint8_t *payload,
                    size_t size, uint16_t fragment, uint16_t id)
{
    uint8_t frame[FRAME_MAX + 54] = {0};
    struct foyer_addr src = address(is_v4, 2), dst = address(is_v4, 1);
    size_t header = is_v4 ? 34 : 54;
    memcpy(frame, host_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    store_be16(frame + 12, is_v4 ? 0x0800 : 0x86dd);
    if (is_v4) {
        frame[14] = 0x45;
        store_be16(frame + 16, (uint16_t)(20 + size));
        store_be16(frame + 18, id);
        store_be16(frame + 20, fragment);
        frame[22] = 64;
        frame[23] = protocol;
        memcpy(frame + 26, src.bytes + 12, 4);
        memcpy(frame + 30, dst.bytes + 12, 4);
        store_be16(frame + 24, checksum_of(frame + 14, 20));
    } else {
        frame[14] = 0x60;
        store_be16(frame + 18, (uint16_t)size);
        frame[20] = protocol;
        frame[21] = 64;
        memcpy(frame + 22, src.bytes, 16);
        memcpy(frame + 38, dst.bytes, 16);
    }
    memcpy(frame + header, payload, size);
    input(fuzz, frame, header + size);
}

static void send_segment(struct fuzz *fuzz, struct conn *conn, uint16_t flags, uint32_t seq,
                         uint32_t ack, uint16_t window, const struct wire_tcp_options *options,
                         size_t text)
{
    struct piece piece = {0};
    struct foyer_addr src = address(conn->is_v4, 2), dst = address(conn->is_v4, 1);
    struct wire_tcp tcp = {.src_port = conn->peer_port,
                           .dst_port = conn->host_port,
                           .seq = SEQ(seq),
                           .ack = SEQ(ack),
                           .flags = flags,
                           .window = window};
    piece.size = wire_tcp_emit(piece.bytes, &tcp, options) + text;
    seal(piece.bytes, piece.size, &src, &dst, 6, WIRE_TCP_CHECKSUM_OFFSET);
    send_ip(fuzz, conn->is_v4, 6, piece.bytes, piece.size, 0, 0);
    pull(fuzz);
}

/* In order and expected. */
static void step(struct fuzz *fuzz, struct conn *conn, uint16_t flags, size_t text)
{
    struct wire_tcp_options options = {.has_mss = (flags & SYN) != 0,
                                       .mss = 1000,
                                       .has_window_scale = (flags & SYN) != 0,
                                       .window_scale = 3,
                                       .has_sack_permitted = (flags & SYN) != 0,
                                       .has_timestamps = true,
                                       .timestamp_value = 1000,
                                       .timestamp_echo = conn->host_timestamp};
    send_segment(fuzz, conn, flags, conn->peer_nxt, conn->host_nxt, 4000, &options, text);
    conn->peer_nxt += (uint32_t)text + ((flags & SYN) != 0) + ((flags & FIN) != 0);
    if ((flags & ACK) != 0)
        conn->host_una = conn->host_nxt;
}

static void open_passively(struct fuzz *fuzz, struct conn *conn)
{
    step(fuzz, conn, SYN, 0);
    step(fuzz, conn, ACK, 0);
    (void)foyer_socket_accept(fuzz->host, fuzz->listener, 1, &conn->socket);
}

static void open_actively(struct fuzz *fuzz, struct conn *conn)
{
    struct foyer_endpoint remote = {address(conn->is_v4, 2), conn->peer_port};
    if (foyer_socket_open(fuzz->host, conn->is_v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_TCP, 1,
                          &conn->socket) != 0)
        abort();
    (void)foyer_socket_connect(fuzz->host, conn->socket, &remote, fuzz->now);
    pull(fuzz);
}

static void shut(struct fuzz *fuzz, struct conn *conn)
{
    (void)foyer_socket_shutdown(fuzz->host, conn->socket, FOYER_SHUTDOWN_WRITE, fuzz->now);
    pull(fuzz);
}

static void write_some(struct fuzz *fuzz, struct conn *conn, size_t size)
{
    static const uint8_t zeros[8192];
    (void)foyer_socket_send(fuzz->host, conn->socket, zeros, size, fuzz->now);
    pull(fuzz);
}

static void to_state(struct fuzz *fuzz, struct conn *conn, unsigned which)
{
    if (which == 0) { /* SYN-SENT */
        open_actively(fuzz, conn);
        return;
    }
    if (which == 1) { /* SYN-RECEIVED, a simultaneous open */
        open_actively(fuzz, conn);
        step(fuzz, conn, SYN, 0);
        return;
    }
    if (which == 2) { /* a request */
        step(fuzz, conn, SYN, 0);
        return;
    }
    open_passively(fuzz, conn);
    switch (which) {
    case 3: /* ESTABLISHED, much in flight */
        write_some(fuzz, conn, 8000);
        break;
    case 4: /* ESTABLISHED, with gaps */
        conn->peer_nxt += 100;
        step(fuzz, conn, ACK, 100);
        conn->peer_nxt -= 200;
        break;
    case 5: /* FIN-WAIT-1, data before the FIN */
        write_some(fuzz, conn, 3000);
        shut(fuzz, conn);
        break;
    case 6: /* FIN-WAIT-2 */
        shut(fuzz, conn);
        step(fuzz, conn, ACK, 0);
        break;
    case 7: /* CLOSE-WAIT */
        step(fuzz, conn, ACK | FIN, 50);
        break;
    case 8: /* CLOSING */
        shut(fuzz, conn);
        conn->host_nxt--;
        step(fuzz, conn, ACK | FIN, 0);
        conn->host_nxt++;
        break;
    case 9: /* LAST-ACK */
        step(fuzz, conn, ACK | FIN, 0);
        shut(fuzz, conn);
        break;
    case 10: /* TIME-WAIT, its handle given back */
        shut(fuzz, conn);
        step(fuzz, conn, ACK | FIN, 0);
        (void)foyer_socket_close(fuzz->host, conn->socket, fuzz->now);
        break;
    default: /* ESTABLISHED, an orphan with its FIN out */
        write_some(fuzz, conn, 500);
        (void)foyer_socket_close(fuzz->host, conn->socket, fuzz->now);
        pull(fuzz);
        break;
    }
}

/* ---- actions --------------------------------------------------------------------------------------------- */

static struct conn *pick(struct fuzz *fuzz)
{
    return &fuzz->conns[take(fuzz) % CONNS];
}

/* Options as the input says: well-formed ones, or raw bytes. Returns the header's size. */
static size_t put_header(struct fuzz *fuzz, const struct conn *conn, uint8_t *bytes,
                         struct wire_tcp *tcp)
{
    uint8_t how = take(fuzz);
    struct wire_tcp_options options = {0};
    if (how & 1) {
        options.has_timestamps = true;
        options.timestamp_value = 1000 + take_offset(fuzz);
        options.timestamp_echo = conn->host_timestamp + take_offset(fuzz);
    }
    for (unsigned i = 0; i < (how >> 1 & 3u); i++) {
        uint32_t left = conn->host_una + take_offset(fuzz);
        options.sack[options.sack_count].left = SEQ(left);
        options.sack[options.sack_count++].right = SEQ(left + take_offset(fuzz));
    }
    options.has_mss = (how & 8) != 0;
    options.mss = options.has_mss ? take16(fuzz) : 0;
    options.has_window_scale = (how & 16) != 0;
    options.window_scale = how >> 5;
    options.has_sack_permitted = (how & 32) != 0;
    size_t size = wire_tcp_emit(bytes, tcp, &options);
    if (how & 64 && size + 4 <= WIRE_TCP_SIZE_MAX) { /* what is known to nobody, or is cut short */
        for (unsigned i = 0; i < 4; i++)
            bytes[size++] = take(fuzz);
        bytes[12] = (uint8_t)(size / 4 << 4 | (bytes[12] & 15));
    }
    return size;
}

/* The same in two or three fragments, in an order that the input says. */
static void send_fragments(struct fuzz *fuzz, const struct conn *conn, const struct piece *piece)
{
    uint8_t how = take(fuzz);
    size_t cut = (8 + (size_t)take(fuzz)) & ~(size_t)7;
    if (cut >= piece->size)
        cut = 8;
    for (unsigned i = 0; i < 2; i++) {
        bool is_first = (i == 0) == ((how & 1) == 0);
        size_t at = is_first ? 0 : cut, end = is_first ? cut : piece->size;
        if (how & 2 && !is_first)
            at -= 8; /* an overlap */
        uint8_t bytes[FRAME_MAX];
        if (conn->is_v4) {
            send_ip(fuzz, true, 6, piece->bytes + at, end - at,
                    (uint16_t)(at / 8 | (is_first ? 0x2000u : 0)), how);
            continue;
        }
        bytes[0] = 6;
        bytes[1] = 0;
        store_be16(bytes + 2, (uint16_t)(at | (is_first ? 1 : 0)));
        store_be32(bytes + 4, how);
        memcpy(bytes + 8, piece->bytes + at, end - at);
        send_ip(fuzz, false, 44, bytes, end - at + 8, 0, 0);
    }
}

/* Extension headers of the input's making in front. */
static void send_extended(struct fuzz *fuzz, const struct piece *piece)
{
    static const uint8_t kinds[4] = {0, 60, 43, 44};
    uint8_t bytes[FRAME_MAX + 64] = {0}, how = take(fuzz);
    size_t size = 8 + 8 * (size_t)(how >> 2 & 3);
    for (size_t i = 0; i < size; i++)
        bytes[i] = take(fuzz);
    bytes[0] = how & 64 ? bytes[0] : 6;
    bytes[1] = how & 128 ? bytes[1] : (uint8_t)(size / 8 - 1);
    if (piece->size + size > FRAME_MAX)
        return;
    memcpy(bytes + size, piece->bytes, piece->size);
    send_ip(fuzz, false, kinds[how & 3], bytes, size + piece->size, 0, 0);
}

static void segment(struct fuzz *fuzz)
{
    struct conn *conn = pick(fuzz);
    struct foyer_addr src = address(conn->is_v4, 2), dst = address(conn->is_v4, 1);
    struct piece piece = {0};
    uint8_t flags = take(fuzz), how = take(fuzz);
    struct wire_tcp tcp = {
        .src_port = conn->peer_port,
        .dst_port = conn->host_port,
        .flags = flags,
        .seq = SEQ(conn->peer_nxt + take_offset(fuzz)),
        .ack = SEQ((how & 1 ? conn->host_una : conn->host_nxt) + take_offset(fuzz)),
        .window = how & 2 ? 0 : take16(fuzz),
        .urgent = how & 4 ? take16(fuzz) : 0,
    };
    piece.size = put_header(fuzz, conn, piece.bytes, &tcp);
    size_t text = how & 8 ? take16(fuzz) % 1400 : 0;
    piece.size += text;
    seal(piece.bytes, piece.size, &src, &dst, 6, WIRE_TCP_CHECKSUM_OFFSET);
    if ((how & 0x30) == 0x30)
        send_fragments(fuzz, conn, &piece);
    else if ((how & 0x30) == 0x20 && !conn->is_v4)
        send_extended(fuzz, &piece);
    else
        send_ip(fuzz, conn->is_v4, 6, piece.bytes, piece.size, 0, 0);
    /* As if the peer had meant it: the next numbers stand beside these. */
    if (how & 0x40)
        conn->peer_nxt = tcp.seq.value + (uint32_t)text + ((flags & (SYN | FIN)) != 0);
}

static void icmp(struct fuzz *fuzz)
{
    uint8_t bytes[256] = {0};
    struct foyer_addr src = address(fuzz->is_quoted_v4, 2), dst = address(fuzz->is_quoted_v4, 1);
    uint8_t protocol = fuzz->is_quoted_v4 ? 1 : 58;
    size_t size = take(fuzz) % (sizeof(fuzz->quoted) + 1);
    if (size > fuzz->quoted_size)
        size = fuzz->quoted_size;
    bytes[0] = take(fuzz);
    bytes[1] = take(fuzz);
    store_be16(bytes + 6, take16(fuzz));
    memcpy(bytes + 8, fuzz->quoted, size);
    if (size > 0 && take(fuzz) & 1)
        bytes[8 + take(fuzz) % size] = take(fuzz);
    seal(bytes, 8 + size, &src, &dst, protocol, 2);
    send_ip(fuzz, fuzz->is_quoted_v4, protocol, bytes, 8 + size, 0, 0);
}

static void call(struct fuzz *fuzz)
{
    static uint8_t bytes[9000];
    struct foyer_event events[8];
    struct foyer_socket_info info;
    struct conn *conn = pick(fuzz);
    uint8_t what = take(fuzz);
    switch (what % 8) {
    case 0:
        (void)foyer_socket_send(fuzz->host, conn->socket, bytes, take16(fuzz) % sizeof(bytes),
                                fuzz->now);
        break;
    case 1:
    case 2:
        (void)foyer_socket_recv(fuzz->host, conn->socket, bytes, take16(fuzz) % sizeof(bytes),
                                fuzz->now);
        break;
    case 3:
        (void)foyer_socket_shutdown(fuzz->host, conn->socket, take(fuzz) % 4, fuzz->now);
        break;
    case 4:
        if (what & 8)
            (void)foyer_socket_abort(fuzz->host, conn->socket, fuzz->now);
        else
            (void)foyer_socket_close(fuzz->host, conn->socket, fuzz->now);
        break;
    case 5:
        (void)foyer_socket_accept(fuzz->host, fuzz->listener, 1, &conn->socket);
        break;
    case 6:
        (void)foyer_socket_set_option(fuzz->host, conn->socket,
                                      (enum foyer_option)(take(fuzz) % 32), take(fuzz) - 1);
        break;
    default:
        (void)foyer_host_events(fuzz->host, events, 8);
        (void)foyer_socket_info(fuzz->host, conn->socket, &info);
        (void)foyer_socket_take_error(fuzz->host, conn->socket);
        break;
    }
}

static void pass_time(struct fuzz *fuzz)
{
    uint8_t how = take(fuzz);
    foyer_time_ns deadline = foyer_host_deadline(fuzz->host);
    if (how & 1 && deadline != FOYER_TIME_NEVER && deadline > fuzz->now)
        fuzz->now = deadline;
    else
        fuzz->now += (foyer_time_ns)how << (how % 36);
    foyer_host_tick(fuzz->host, fuzz->now);
}

/* ---- the run -------------------------------------------------------------------------------------------- */

static void begin(struct fuzz *fuzz)
{
    struct foyer_host_config config = {.allocator = {counted_alloc, counted_free, fuzz},
                                       .receive_buffer_size = 16384,
                                       .send_buffer_size = 16384};
    struct foyer_addr own4 = address(true, 1), own6 = address(false, 1);
    struct foyer_endpoint any = {.port = LISTEN_PORT};
    memcpy(config.mac, host_mac, 6);
    fuzz->now = FOYER_NS_PER_S;
    fuzz->host = foyer_host_create(&config, fuzz->now);
    if (fuzz->host == NULL || foyer_host_add_address(fuzz->host, &own4, 24) != 0 ||
        foyer_host_add_address(fuzz->host, &own6, 64) != 0 ||
        foyer_socket_open(fuzz->host, FOYER_FAMILY_V6, FOYER_TCP, 1, &fuzz->listener) != 0 ||
        foyer_socket_bind(fuzz->host, fuzz->listener, &any, NULL) != 0 ||
        foyer_socket_listen(fuzz->host, fuzz->listener, 8, NULL) != 0)
        abort();
    for (unsigned i = 0; i < CONNS; i++) {
        struct conn *conn = &fuzz->conns[i];
        *conn = (struct conn){.is_v4 = i < CONNS / 2,
                              .host_port = LISTEN_PORT,
                              .peer_port = (uint16_t)(FIRST_PEER_PORT + i),
                              .peer_nxt = PEER_ISS};
        to_state(fuzz, conn, i % (CONNS / 2));
        fuzz->now += FOYER_NS_PER_MS;
    }
}

/* Whether the connections are where they should be: else nothing of worth is fuzzed. */
static void check_states(struct fuzz *fuzz)
{
    static const uint8_t states[CONNS / 2] = {
        FOYER_STATE_SYN_SENT,    FOYER_STATE_SYN_RECEIVED, FOYER_STATE_CLOSED,
        FOYER_STATE_ESTABLISHED, FOYER_STATE_ESTABLISHED,  FOYER_STATE_FIN_WAIT_1,
        FOYER_STATE_FIN_WAIT_2,  FOYER_STATE_CLOSE_WAIT,   FOYER_STATE_CLOSING,
        FOYER_STATE_LAST_ACK,    FOYER_STATE_CLOSED,       FOYER_STATE_CLOSED};
    struct foyer_socket_info info;
    for (unsigned i = 0; i < CONNS; i++) {
        uint8_t wanted = states[i % (CONNS / 2)];
        if (wanted != FOYER_STATE_CLOSED &&
            (foyer_socket_info(fuzz->host, fuzz->conns[i].socket, &info) != 0 ||
             info.state != wanted))
            abort();
    }
    if (foyer_socket_info(fuzz->host, fuzz->listener, &info) != 0 || info.request_count != 2)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.data = data;
    fuzz.size = size;
    begin(&fuzz);
    check_states(&fuzz);
    while (fuzz.size > 0) {
        uint8_t what = take(&fuzz);
        if (what < 0xa0)
            segment(&fuzz);
        else if (what < 0xb0)
            icmp(&fuzz);
        else if (what < 0xd0)
            pass_time(&fuzz);
        else
            call(&fuzz);
        pull(&fuzz);
    }
    foyer_host_destroy(fuzz.host);
    if (fuzz.allocated != 0)
        abort();
    return 0;
}
