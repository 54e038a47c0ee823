/*
 * A whole host: frames from a hostile link, calls from a program, rings that change under the
 * stack, and time.
 *
 * The input is a list of actions: one byte says which, the following bytes are its arguments. A
 * frame action takes a length and that many bytes and completes them (addresses, lengths,
 * checksums) as far as its flags ask, so that the fuzzer gets behind the checks of each layer.
 * The host has a listener, a UDP socket with rings of its own, one with shared rings, and
 * connections on their way.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "foyer/foyer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SOCKETS_MAX 16u
#define RING_SIZE 4096u
#define SENT_MAX 8u

static const uint8_t host_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};

struct shared {
    struct foyer_ring_shared rx_shared, tx_shared;
    uint8_t rx_data[RING_SIZE], tx_data[RING_SIZE];
};

struct fuzz {
    struct foyer_host *host;
    foyer_time_ns now;
    const uint8_t *data;
    size_t size;
    size_t allocated;
    foyer_socket sockets[SOCKETS_MAX];
    unsigned socket_count;
    struct shared *shared;
    uint8_t last[SENT_MAX][2048]; /* frames the host sent, to be answered or quoted */
    size_t last_size[SENT_MAX];
    unsigned last_index;
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

static struct foyer_addr addr6(uint8_t last)
{
    return (struct foyer_addr){{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}};
}

static struct foyer_endpoint endpoint(uint8_t which, uint16_t port)
{
    struct foyer_endpoint result = {.port = port};
    switch (which % 8) {
    case 0:
        result.addr = foyer_addr_v4(10, 0, 0, 2);
        break;
    case 1:
        result.addr = addr6(2);
        break;
    case 2:
        result.addr = foyer_addr_v4(127, 0, 0, 1);
        break;
    case 3:
        result.addr = foyer_addr_v4(10, 0, 0, 1);
        break;
    case 4:
        result.addr = foyer_addr_v4(0, 0, 0, 0);
        break;
    case 5:
        result.addr = foyer_addr_v4(10, 0, 0, 255);
        break;
    case 6:
        result.addr = foyer_addr_v4(10, 0, 0, which);
        break;
    default:
        break; /* the IPv6 wildcard */
    }
    return result;
}

/* ---- frames ---------------------------------------------------------------------------------------- */

static void pull(struct fuzz *fuzz)
{
    struct foyer_packet packets[16];
    size_t count;
    /* Bounded, since the host may speak with itself for ever. */
    for (int rounds = 0; rounds < 20; rounds++) {
        count = foyer_host_output(fuzz->host, packets, 16, fuzz->now);
        if (count == 0)
            return;
        for (size_t i = 0; i < count; i++) {
            unsigned slot = fuzz->last_index++ % SENT_MAX;
            size_t at = 0;
            for (unsigned s = 0; s < packets[i].span_count; s++) {
                const struct foyer_span *span = &packets[i].spans[s];
                size_t room = sizeof(fuzz->last[0]) - at;
                size_t copied = span->size < room ? span->size : room;
                memcpy(fuzz->last[slot] + at, span->base, copied);
                at += copied;
            }
            fuzz->last_size[slot] = at;
        }
    }
}

static void seal(uint8_t *ip, size_t size, bool is_v4)
{
    size_t header = is_v4 ? 20 : 40;
    if (size < header + 8)
        return;
    uint8_t protocol = is_v4 ? ip[9] : ip[6];
    size_t at = header + (protocol == 6 ? 16 : protocol == 17 ? 6 : 2);
    if (at + 2 > size)
        return;
    struct foyer_addr src = addr6(0), dst = addr6(0);
    if (is_v4) {
        src = foyer_addr_v4(ip[12], ip[13], ip[14], ip[15]);
        dst = foyer_addr_v4(ip[16], ip[17], ip[18], ip[19]);
    } else {
        memcpy(src.bytes, ip + 8, 16);
        memcpy(dst.bytes, ip + 24, 16);
    }
    struct checksum sum;
    store_be16(ip + at, 0);
    checksum_init(&sum);
    if (protocol != 1)
        checksum_add_pseudo(&sum, &src, &dst, protocol, (uint32_t)(size - header));
    checksum_add(&sum, ip + header, size - header);
    store_be16(ip + at, checksum_finish(&sum));
}

/* Makes the frame pass the first checks: MACs, version, lengths, addresses, checksums. */
static void complete(uint8_t *frame, size_t size, uint8_t flags)
{
    bool is_v4 = (flags & 1) != 0;
    memcpy(frame, host_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    if (flags & 2) {
        store_be16(frame + 12, 0x0806);
        if (size >= 42) {
            static const uint8_t head[6] = {0, 1, 8, 0, 6, 4};
            memcpy(frame + 14, head, 6);
        }
        return;
    }
    uint8_t *ip = frame + 14;
    size_t ip_size = size - 14;
    store_be16(frame + 12, is_v4 ? 0x0800 : 0x86dd);
    if (is_v4 && ip_size >= 20) {
        static const uint8_t addrs[8] = {10, 0, 0, 2, 10, 0, 0, 1};
        ip[0] = 0x45;
        store_be16(ip + 2, (uint16_t)ip_size);
        if ((flags & 4) == 0)
            store_be16(ip + 6, 0);
        memcpy(ip + 12, addrs, 8);
        store_be16(ip + 10, 0);
        store_be16(ip + 10, checksum_of(ip, 20));
        seal(ip, ip_size, true);
    } else if (!is_v4 && ip_size >= 40) {
        struct foyer_addr src = addr6(2), dst = addr6(1);
        ip[0] = 0x60;
        store_be16(ip + 4, (uint16_t)(ip_size - 40));
        memcpy(ip + 8, src.bytes, 16);
        memcpy(ip + 24, dst.bytes, 16);
        seal(ip, ip_size, false);
    }
}

static void input(struct fuzz *fuzz, const uint8_t *frame, size_t size, uint8_t flags)
{
    /* In two spans at times, as a link hands over large packets; each its own memory. */
    size_t first = flags & 16 && size > 80 ? 80 : size;
    uint8_t *a = malloc(first + 1);
    uint8_t *b = malloc(size - first + 1);
    if (a == NULL || b == NULL)
        abort();
    memcpy(a, frame, first);
    memcpy(b, frame + first, size - first);
    /* Shifted by one at times: nothing may rely on alignment. */
    struct foyer_packet packet = {.spans = {{a, first}, {b, size - first}},
                                  .span_count = size > first ? 2 : 1,
                                  .flags = flags & 32 ? FOYER_PACKET_CHECKSUM_VALID : 0,
                                  .arrival_ns = fuzz->now};
    if (flags & 64) {
        packet.gso_type = FOYER_GSO_UDP;
        packet.gso_size = (uint16_t)(flags * 7u);
    }
    foyer_host_input(fuzz->host, &packet, 1, fuzz->now);
    free(a);
    free(b);
}

static void input_frame(struct fuzz *fuzz)
{
    uint8_t flags = take(fuzz);
    size_t size = take16(fuzz) % 1800;
    if (size > fuzz->size)
        size = fuzz->size;
    uint8_t frame[1800];
    memcpy(frame, fuzz->data, size);
    fuzz->data += size;
    fuzz->size -= size;
    if ((flags & 128) == 0 && size >= 14)
        complete(frame, size, flags);
    input(fuzz, frame, size, flags);
}

/* A frame the host sent, turned round: ports and addresses fit, some bytes are changed. */
static void input_echo(struct fuzz *fuzz)
{
    uint8_t flags = take(fuzz);
    unsigned slot = take(fuzz) % SENT_MAX;
    uint8_t frame[2048];
    size_t size = fuzz->last_size[slot];
    if (size < 54)
        return;
    memcpy(frame, fuzz->last[slot], size);
    bool is_v4 = load_be16(frame + 12) == 0x0800;
    uint8_t *transport = frame + (is_v4 ? 34 : 54);
    if ((size_t)(transport - frame) + 20 <= size) {
        uint8_t ports[4];
        memcpy(ports, transport, 4);
        memcpy(transport, ports + 2, 2);
        memcpy(transport + 2, ports, 2);
        if ((is_v4 ? frame[23] : frame[20]) == 6) {
            uint8_t seq[4];
            memcpy(seq, transport + 4, 4);
            memcpy(transport + 4, transport + 8, 4);
            store_be32(transport + 8, load_be32(seq) + take(fuzz));
            transport[13] = take(fuzz); /* flags */
        }
    }
    for (unsigned changes = take(fuzz) % 4; changes > 0; changes--) {
        size_t at = take(fuzz);
        uint8_t value = take(fuzz);
        if (at < size)
            frame[at] = value;
    }
    complete(frame, size, (uint8_t)((flags & ~3u) | is_v4));
    input(fuzz, frame, size, flags);
}

/*
 * What a router or querier says, with its checksums right: advertisements with prefixes, neighbour
 * messages about the host's own addresses, IGMP and MLD queries.
 */
static void input_router(struct fuzz *fuzz)
{
    static const uint8_t types[8] = {134, 134, 135, 136, 130, 131, 137, 133};
    uint8_t how = take(fuzz), frame[300] = {0};
    bool is_igmp = (how & 8) != 0, has_alert = types[how & 7] == 130 || types[how & 7] == 131;
    size_t header = is_igmp ? 34 : has_alert ? 62 : 54;
    size_t size = header + (is_igmp ? 8 : 24) + take(fuzz) % 128;
    for (size_t at = header; at < size; at++)
        frame[at] = take(fuzz);
    if (is_igmp) {
        static const uint8_t addrs[8] = {10, 0, 0, 2, 224, 0, 0, 1};
        frame[header] = how & 16 ? 0x11 : 0x16;
        store_be16(frame + header + 2, 0);
        store_be16(frame + header + 2, checksum_of(frame + header, size - header));
        store_be16(frame + 12, 0x0800);
        frame[14] = 0x45;
        store_be16(frame + 16, (uint16_t)(size - 14));
        frame[22] = 1;
        frame[23] = 2;
        memcpy(frame + 26, addrs, 8);
        store_be16(frame + 24, checksum_of(frame + 14, 20));
    } else {
        static const uint8_t alert[8] = {58, 0, 5, 2, 0, 0, 1, 0};
        struct foyer_addr src = {{0xfe, 0x80, [15] = how >> 5}};
        struct foyer_addr dst = {{0xff, 2, [15] = 1}};
        frame[header] = types[how & 7];
        frame[header + 1] = 0;
        if (how & 16 && frame[header] != 134)
            dst = addr6(1);
        if (frame[header] == 135 || frame[header] == 136) {
            struct foyer_address_info infos[32];
            size_t count = foyer_host_addresses(fuzz->host, infos, 32);
            if (count > 0)
                memcpy(frame + header + 8, infos[take(fuzz) % count].addr.bytes, 16);
        }
        store_be16(frame + 12, 0x86dd);
        frame[14] = 0x60;
        store_be16(frame + 18, (uint16_t)(size - 54));
        frame[20] = has_alert ? 0 : 58;
        frame[21] = has_alert ? 1 : 255;
        memcpy(frame + 22, src.bytes, 16);
        memcpy(frame + 38, dst.bytes, 16);
        if (has_alert)
            memcpy(frame + 54, alert, 8);
        struct checksum sum;
        checksum_init(&sum);
        store_be16(frame + header + 2, 0);
        checksum_add_pseudo(&sum, &src, &dst, 58, (uint32_t)(size - header));
        checksum_add(&sum, frame + header, size - header);
        store_be16(frame + header + 2, checksum_finish(&sum));
    }
    memset(frame, 0xff, 6);
    memcpy(frame + 6, peer_mac, 6);
    input(fuzz, frame, size, 0);
}

/* An ICMP error that quotes what the host sent. */
static void input_error(struct fuzz *fuzz)
{
    unsigned slot = take(fuzz) % SENT_MAX;
    uint8_t frame[2048] = {0};
    size_t sent = fuzz->last_size[slot];
    if (sent < 42)
        return;
    bool is_v4 = load_be16(fuzz->last[slot] + 12) == 0x0800;
    size_t quoted = sent - 14 < 200 ? sent - 14 : 200;
    size_t header = is_v4 ? 34 : 54;
    if (is_v4) {
        frame[22] = 64;
        frame[23] = 1;
    } else {
        frame[20] = 58;
        frame[21] = 64;
    }
    frame[header] = take(fuzz);
    frame[header + 1] = take(fuzz);
    store_be16(frame + header + 6, take16(fuzz));
    memcpy(frame + header + 8, fuzz->last[slot] + 14, quoted);
    complete(frame, header + 8 + quoted, is_v4);
    input(fuzz, frame, header + 8 + quoted, 0);
}

/* ---- the program ------------------------------------------------------------------------------------ */

static foyer_socket pick(struct fuzz *fuzz)
{
    return fuzz->sockets[take(fuzz) % SOCKETS_MAX];
}

static void remember(struct fuzz *fuzz, foyer_socket socket)
{
    unsigned slot = fuzz->socket_count++ % SOCKETS_MAX;
    foyer_socket_abort(fuzz->host, fuzz->sockets[slot], fuzz->now); /* may be stale */
    fuzz->sockets[slot] = socket;
}

static void share_rings(struct fuzz *fuzz)
{
    foyer_socket socket = pick(fuzz);
    struct foyer_ring rx = {&fuzz->shared->rx_shared, fuzz->shared->rx_data, RING_SIZE};
    struct foyer_ring tx = {&fuzz->shared->tx_shared, fuzz->shared->tx_data, RING_SIZE};
    (void)foyer_socket_set_rings(fuzz->host, socket, &rx, &tx);
}

/* The program's side of shared memory can hold anything at any time. */
static void scribble(struct fuzz *fuzz)
{
    struct shared *shared = fuzz->shared;
    uint8_t what = take(fuzz);
    uint32_t value = (uint32_t)take16(fuzz) << (what & 16 ? 16 : 0);
    switch (what % 6) {
    case 0:
        atomic_store(&shared->tx_shared.head, value);
        break;
    case 1:
        atomic_store(&shared->tx_shared.tail, value);
        break;
    case 2:
        atomic_store(&shared->rx_shared.head, value);
        break;
    case 3:
        atomic_store(&shared->rx_shared.tail, value);
        break;
    case 4:
        atomic_store(&shared->tx_shared.writer_state, value & 3);
        break;
    default:
        for (unsigned count = what; count > 0; count--)
            shared->tx_data[value++ % RING_SIZE] = take(fuzz);
        break;
    }
}

static void open_and_connect(struct fuzz *fuzz)
{
    uint8_t how = take(fuzz);
    foyer_socket socket;
    if (foyer_socket_open(fuzz->host, how & 1 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6,
                          how & 2 ? FOYER_TCP : FOYER_UDP, how, &socket) != 0)
        return;
    remember(fuzz, socket);
    struct foyer_endpoint remote = endpoint(how >> 2, take(fuzz));
    (void)foyer_socket_connect(fuzz->host, socket, &remote, fuzz->now);
}

static void send_some(struct fuzz *fuzz)
{
    static const uint8_t zeros[4000];
    foyer_socket socket = pick(fuzz);
    size_t size = take16(fuzz) % sizeof(zeros);
    uint8_t how = take(fuzz);
    struct foyer_endpoint remote = endpoint(how, how);
    if (how & 1)
        (void)foyer_socket_send_to(fuzz->host, socket, zeros, size, &remote, fuzz->now);
    else
        (void)foyer_socket_send(fuzz->host, socket, zeros, size, fuzz->now);
}

static void filter_sources(struct fuzz *fuzz, foyer_socket socket, const struct foyer_addr *group)
{
    struct foyer_addr sources[80];
    enum foyer_filter_mode mode;
    uint8_t how = take(fuzz), count = take(fuzz) % 80;
    for (uint32_t i = 0; i < 80; i++)
        sources[i] = foyer_addr_is_v4(group) ? foyer_addr_v4(10, 0, (uint8_t)i, how & 7)
                                             : addr6((uint8_t)((how & 7) + i));
    switch (how >> 4 & 7) {
    case 0:
        (void)foyer_socket_join_source(fuzz->host, socket, group, sources, fuzz->now);
        break;
    case 1:
        (void)foyer_socket_leave_source(fuzz->host, socket, group, sources, fuzz->now);
        break;
    case 2:
        (void)foyer_socket_block_source(fuzz->host, socket, group, sources, fuzz->now);
        break;
    case 3:
        (void)foyer_socket_unblock_source(fuzz->host, socket, group, sources, fuzz->now);
        break;
    case 4:
        if (foyer_socket_source_filter(fuzz->host, socket, group, &mode, sources, 80) > 64)
            abort();
        break;
    default:
        (void)foyer_socket_set_source_filter(fuzz->host, socket, group, how >> 4 & 1, sources,
                                             count, fuzz->now);
    }
}

static void join_or_leave(struct fuzz *fuzz, foyer_socket socket)
{
    uint8_t how = take(fuzz);
    struct foyer_addr group = how & 1 ? foyer_addr_v4(224, 0, 0, how & 15)
                                      : (struct foyer_addr){{0xff, 2, [15] = how & 15}};
    if (how & 32)
        filter_sources(fuzz, socket, &group);
    else if (how & 16)
        (void)foyer_socket_leave_group(fuzz->host, socket, &group, fuzz->now);
    else
        (void)foyer_socket_join_group(fuzz->host, socket, &group, fuzz->now);
}

/* Addresses that are claimed and taken away again. */
static void come_and_go(struct fuzz *fuzz)
{
    struct foyer_address_info infos[32];
    uint8_t how = take(fuzz);
    struct foyer_addr addr = how & 1 ? foyer_addr_v4(10, 0, 0, how & 14) : addr6(how & 14);
    if (how & 16)
        (void)foyer_host_remove_address(fuzz->host, &addr);
    else
        (void)foyer_host_claim_address(fuzz->host, &addr, how & 1 ? 24 : 64, fuzz->now);
    if (foyer_host_addresses(fuzz->host, infos, 32) > 32)
        abort();
}

static void call(struct fuzz *fuzz)
{
    static uint8_t buffer[5000];
    struct foyer_event events[8];
    struct foyer_socket_info info;
    struct foyer_endpoint local;
    foyer_socket socket;
    uint8_t what = take(fuzz);
    /* Apart, so that older inputs keep their meaning. */
    switch (what >= 0xf0 ? 12 + what % 2 : what % 12) {
    case 12:
        socket = pick(fuzz);
        join_or_leave(fuzz, socket);
        break;
    case 13:
        come_and_go(fuzz);
        break;
    case 0:
        if (foyer_socket_accept(fuzz->host, fuzz->sockets[0], 1, &socket) == 0)
            remember(fuzz, socket);
        break;
    case 1:
        open_and_connect(fuzz);
        break;
    case 2:
        send_some(fuzz);
        break;
    case 3:
        (void)foyer_socket_recv(fuzz->host, pick(fuzz), buffer, sizeof(buffer), fuzz->now);
        break;
    case 4:
        (void)foyer_socket_shutdown(fuzz->host, pick(fuzz), take(fuzz) % 4, fuzz->now);
        break;
    case 5:
        (void)foyer_socket_close(fuzz->host, pick(fuzz), fuzz->now);
        break;
    case 6:
        (void)foyer_socket_abort(fuzz->host, pick(fuzz), fuzz->now);
        break;
    case 7:
        socket = pick(fuzz);
        (void)foyer_socket_set_option(fuzz->host, socket, (enum foyer_option)(take(fuzz) % 24),
                                      take(fuzz) - 1);
        break;
    case 8:
        socket = pick(fuzz);
        local = endpoint(take(fuzz), take(fuzz));
        (void)foyer_socket_bind(fuzz->host, socket, &local, NULL);
        (void)foyer_socket_listen(fuzz->host, socket, take(fuzz), NULL);
        break;
    case 9:
        share_rings(fuzz);
        break;
    case 10:
        foyer_socket_poke(fuzz->host, pick(fuzz), fuzz->now);
        (void)foyer_socket_info(fuzz->host, pick(fuzz), &info);
        break;
    default:
        (void)foyer_host_events(fuzz->host, events, 8);
        break;
    }
}

/* ---- the run -------------------------------------------------------------------------------------------- */

static void begin(struct fuzz *fuzz)
{
    struct foyer_host_config config = {.allocator = {counted_alloc, counted_free, fuzz},
                                       .receive_buffer_size = 16384,
                                       .send_buffer_size = 16384,
                                       .max_sockets = 64};
    memcpy(config.mac, host_mac, 6);
    uint8_t how = take(fuzz);
    if (how & 1)
        config.link_capabilities = FOYER_LINK_TSO4 | FOYER_LINK_TSO6 | FOYER_LINK_USO;
    config.behaviour = how >> 4;
    fuzz->now = FOYER_NS_PER_S;
    fuzz->host = foyer_host_create(&config, fuzz->now);
    if (fuzz->host == NULL)
        abort();
    struct foyer_addr own4 = foyer_addr_v4(10, 0, 0, 1), own6 = addr6(1);
    struct foyer_endpoint any = {.port = 80};
    foyer_host_add_address(fuzz->host, &own4, 24);
    foyer_host_add_address(fuzz->host, &own6, 64);
    foyer_socket_open(fuzz->host, FOYER_FAMILY_V6, FOYER_TCP, 1, &fuzz->sockets[0]);
    foyer_socket_bind(fuzz->host, fuzz->sockets[0], &any, NULL);
    foyer_socket_listen(fuzz->host, fuzz->sockets[0], 4, NULL);
    foyer_socket_open(fuzz->host, FOYER_FAMILY_V6, FOYER_UDP, 1, &fuzz->sockets[1]);
    foyer_socket_bind(fuzz->host, fuzz->sockets[1], &any, NULL);
    foyer_socket_open(fuzz->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &fuzz->sockets[2]);
    struct foyer_endpoint peer = endpoint(0, 80);
    foyer_socket_connect(fuzz->host, fuzz->sockets[2], &peer, fuzz->now);
    fuzz->socket_count = 3;
    pull(fuzz);
}

static void tick(struct fuzz *fuzz)
{
    uint8_t how = take(fuzz);
    foyer_time_ns deadline = foyer_host_deadline(fuzz->host);
    if (how & 1 && deadline != FOYER_TIME_NEVER && deadline > fuzz->now)
        fuzz->now = deadline;
    else
        fuzz->now += (foyer_time_ns)how << (how % 32);
    foyer_host_tick(fuzz->host, fuzz->now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *fuzz = calloc(1, sizeof(*fuzz));
    if (fuzz == NULL)
        abort();
    fuzz->data = data;
    fuzz->size = size;
    fuzz->shared = aligned_alloc(64, (sizeof(*fuzz->shared) + 63) & ~(size_t)63);
    if (fuzz->shared == NULL)
        abort();
    memset(fuzz->shared, 0, sizeof(*fuzz->shared));
    begin(fuzz);
    while (fuzz->size > 0) {
        uint8_t what = take(fuzz);
        switch (what >= 0xe0 ? 8 : what % 8) {
        case 8:
            input_router(fuzz);
            break;
        case 0:
        case 1:
            input_frame(fuzz);
            break;
        case 2:
            input_echo(fuzz);
            break;
        case 3:
            input_error(fuzz);
            break;
        case 4:
            tick(fuzz);
            break;
        case 5:
            scribble(fuzz);
            break;
        default:
            call(fuzz);
            break;
        }
        pull(fuzz);
    }
    foyer_host_destroy(fuzz->host);
    if (fuzz->allocated != 0)
        abort();
    free(fuzz->shared);
    free(fuzz);
    return 0;
}
