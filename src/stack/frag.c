/*
 * Reassembly of fragments (RFC 791 section 3.2, RFC 1122 section 3.3.2, RFC 8200 section 4.5).
 * Cutting is output.c's.
 *
 * Fragments are an old way to make a host hold memory for strangers, so everything is bounded:
 * datagrams, bytes and pieces; the oldest datagram goes first. Fragments that overlap void the
 * whole datagram (RFC 5722 for IPv6; for IPv4 nobody sends them for a good reason either). An
 * exact repetition is ignored.
 *
 * A complete datagram is written into one run of bytes behind a fresh IP header and goes through
 * ip.c once more, so that extension headers behind the Fragment header are walked there.
 */
#include "stack/ip.h"
#include "wire/icmp.h"

#define REASSEMBLIES_MAX HOST_SIZE(4u, 64u)
#define REASSEMBLY_BYTES_MAX HOST_SIZE(16u * 1024u, 1024u * 1024u) /* with its bookkeeping */
#define PIECES_MAX 128u /* 64 KiB at the smallest MTU allowed, 576 */
/* RFC 1122 asks for 60 to 120 s; identifications wrap sooner at today's rates (RFC 4963), so 30
 * as in Linux. */
#define TIMEOUT_V4_NS (30 * FOYER_NS_PER_S)
#define TIMEOUT_V6_NS (60 * FOYER_NS_PER_S) /* RFC 8200 section 4.5 */
#define NO_TOTAL UINT32_MAX
#define QUOTE_MAX 1280u

#define ECN_MASK 0x03u /* of tos: RFC 3168 section 5 */
#define ECN_NOT_ECT 0u
#define ECN_CE 3u

struct piece {
    struct list_node node;
    uint32_t offset, size;
    uint8_t bytes[];
};

struct reassembly {
    struct list_node node; /* host->reassemblies, oldest first */
    struct timer timer;
    struct list_node pieces; /* by offset */
    struct foyer_addr src, dst;
    uint32_t id;
    uint32_t total; /* bytes of the datagram once its last piece is here, else NO_TOTAL */
    uint32_t have;
    uint32_t piece_count;
    uint8_t family, protocol, ttl, tos;
    uint8_t ecn_seen; /* by 1 << each IP-ECN field that a piece came with */
};

void frag_init(struct foyer_host *host)
{
    list_init(&host->reassemblies);
}

static void drop(struct foyer_host *host, struct reassembly *reassembly)
{
    struct list_node *node;
    while ((node = list_pop_front(&reassembly->pieces)) != NULL) {
        struct piece *piece = LIST_ENTRY(node, struct piece, node);
        size_t size = sizeof(*piece) + piece->size;
        host->reassembly_bytes -= (uint32_t)size;
        host_free(host, piece, size);
    }
    timer_cancel(&host->timers, &reassembly->timer);
    list_remove(&reassembly->node);
    host->reassembly_count--;
    host->reassembly_bytes -= (uint32_t)sizeof(*reassembly);
    host_free(host, reassembly, sizeof(*reassembly));
}

void frag_finish(struct foyer_host *host)
{
    struct list_node *node;
    while ((node = list_first(&host->reassemblies)) != NULL)
        drop(host, LIST_ENTRY(node, struct reassembly, node));
}

/* The oldest go until size bytes more fit; keep is not touched. */
static bool make_room(struct foyer_host *host, size_t size, const struct reassembly *keep)
{
    while (host->reassembly_bytes + size > REASSEMBLY_BYTES_MAX ||
           host->reassembly_count >= REASSEMBLIES_MAX + (keep != NULL)) {
        struct list_node *node = list_first(&host->reassemblies);
        if (node != NULL && keep != NULL && node == &keep->node)
            node = list_next(&host->reassemblies, node);
        if (node == NULL)
            return false;
        host->stats.in_reassembly_failed++;
        drop(host, LIST_ENTRY(node, struct reassembly, node));
    }
    return true;
}

static struct reassembly *find(struct foyer_host *host, const struct fragment *fragment)
{
    LIST_FOREACH (&host->reassemblies, node) {
        struct reassembly *known = LIST_ENTRY(node, struct reassembly, node);
        /* RFC 8200: source, destination, identification; RFC 791 counts the protocol as well. */
        if (known->id == fragment->id && known->family == fragment->family &&
            (known->family == 6 || known->protocol == fragment->protocol) &&
            foyer_addr_eq(&known->src, &fragment->src) &&
            foyer_addr_eq(&known->dst, &fragment->dst))
            return known;
    }
    return NULL;
}

static struct reassembly *create(struct foyer_host *host, const struct fragment *fragment,
                                 foyer_time_ns now)
{
    if (!make_room(host, sizeof(struct reassembly), NULL))
        return NULL;
    struct reassembly *fresh = host_alloc(host, sizeof(*fresh));
    if (fresh == NULL)
        return NULL;
    fresh->src = fragment->src;
    fresh->dst = fragment->dst;
    fresh->id = fragment->id;
    fresh->family = fragment->family;
    fresh->protocol = fragment->protocol;
    fresh->total = NO_TOTAL;
    list_init(&fresh->pieces);
    fresh->timer.kind = TIMER_REASSEMBLY;
    timer_set(&host->timers, &fresh->timer,
              now + (fragment->family == 4 ? TIMEOUT_V4_NS : TIMEOUT_V6_NS));
    list_push_back(&host->reassemblies, &fresh->node);
    host->reassembly_count++;
    host->reassembly_bytes += (uint32_t)sizeof(*fresh);
    return fresh;
}

/* ---- a piece's place ------------------------------------------------------------------------------ */

enum fit {
    FIT_NEW,
    FIT_REPEATED,
    FIT_OVERLAPS,
};

/* *ret_before: the node in front of which the piece belongs. Work: O(pieces), from the end. */
static enum fit find_place(struct reassembly *reassembly, uint32_t offset, uint32_t size,
                           struct list_node **ret_before)
{
    struct list_node *before = &reassembly->pieces;
    for (struct list_node *node = reassembly->pieces.prev; node != &reassembly->pieces;
         node = node->prev) {
        const struct piece *piece = LIST_ENTRY(node, struct piece, node);
        if (piece->offset == offset && piece->size == size)
            return FIT_REPEATED;
        if (piece->offset + piece->size <= offset)
            break;
        if (piece->offset < offset + size)
            return FIT_OVERLAPS;
        before = node;
    }
    *ret_before = before;
    return FIT_NEW;
}

static bool is_beyond_total(const struct reassembly *reassembly, const struct fragment *fragment,
                            uint32_t end)
{
    if (reassembly->total != NO_TOTAL)
        return end > reassembly->total || (!fragment->more && end != reassembly->total);
    if (fragment->more || list_is_empty(&reassembly->pieces))
        return false;
    const struct piece *last = LIST_ENTRY(reassembly->pieces.prev, struct piece, node);
    return last->offset + last->size > end;
}

static struct piece *make_piece(struct foyer_host *host, const struct reassembly *reassembly,
                                const struct rx *part, uint32_t offset)
{
    size_t size = sizeof(struct piece) + part->size;
    if (!make_room(host, size, reassembly))
        return NULL;
    struct piece *piece = host_alloc_raw(host, size);
    if (piece == NULL)
        return NULL;
    *piece = (struct piece){.offset = offset, .size = (uint32_t)part->size};
    size_t at = 0;
    for (unsigned i = 0; i < part->payload_count; i++) {
        memcpy(piece->bytes + at, part->payload[i].base, part->payload[i].size);
        at += part->payload[i].size;
    }
    host->reassembly_bytes += (uint32_t)size;
    return piece;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

/* Header and the first size bytes in one run; NULL: no memory. */
static uint8_t *linearise(struct foyer_host *host, const struct reassembly *reassembly,
                          uint32_t size, size_t *ret_size)
{
    size_t header_size = reassembly->family == 4 ? WIRE_IPV4_SIZE : WIRE_IPV6_SIZE;
    uint8_t *bytes = host_alloc_raw(host, header_size + size);
    if (bytes == NULL)
        return NULL;
    if (reassembly->family == 4) {
        struct wire_ipv4 ip = {.tos = reassembly->tos,
                               .total_size = (uint16_t)(header_size + size),
                               .id = (uint16_t)reassembly->id,
                               .ttl = reassembly->ttl,
                               .protocol = reassembly->protocol,
                               .src = reassembly->src,
                               .dst = reassembly->dst};
        wire_ipv4_emit(bytes, &ip);
    } else {
        struct wire_ipv6 ip = {.traffic_class = reassembly->tos,
                               .payload_size = (uint16_t)size,
                               .next_header = reassembly->protocol,
                               .hop_limit = reassembly->ttl,
                               .src = reassembly->src,
                               .dst = reassembly->dst};
        wire_ipv6_emit(bytes, &ip);
    }
    uint32_t left = size;
    LIST_FOREACH (&reassembly->pieces, node) {
        const struct piece *piece = LIST_ENTRY(node, struct piece, node);
        uint32_t take = piece->size < left ? piece->size : left;
        memcpy(bytes + header_size + (size - left), piece->bytes, take);
        left -= take;
    }
    *ret_size = header_size + size;
    return bytes;
}

/* RFC 3168 section 5.3: a mark of any piece is the datagram's; a transport that cannot answer it gets
 * none. False: dropped, as a queue would have. [RFC3168 5.3a 5.3b 5.3c] */
static bool settle_mark(struct reassembly *reassembly)
{
    if ((reassembly->ecn_seen & 1u << ECN_CE) == 0)
        return true;
    if ((reassembly->ecn_seen & 1u << ECN_NOT_ECT) != 0)
        return false;
    reassembly->tos |= ECN_CE;
    return true;
}

static void complete(struct foyer_host *host, struct reassembly *reassembly,
                     foyer_time_ns arrival_ns, foyer_time_ns now)
{
    size_t size;
    uint8_t *bytes = NULL;
    uint8_t family = reassembly->family;
    uint32_t limit = family == 4 ? 65535 - WIRE_IPV4_SIZE : 65535;
    if (reassembly->total <= limit)
        bytes = linearise(host, reassembly, reassembly->total, &size);
    drop(host, reassembly);
    if (bytes == NULL) {
        host->stats.in_dropped_memory++;
        return;
    }
    host->stats.in_reassembled++;
    ip_input_reassembled(host, bytes, size, family, arrival_ns, now);
    host_free(host, bytes, size);
}

/* RFC 792 and RFC 8200 section 4.5: the sender is told where the first piece came. */
void frag_timer(struct foyer_host *host, struct timer *timer, foyer_time_ns now)
{
    struct reassembly *reassembly = TIMER_ENTRY(timer, struct reassembly, timer);
    struct list_node *node = list_first(&reassembly->pieces);
    const struct piece *first = node != NULL ? LIST_ENTRY(node, struct piece, node) : NULL;

    host->stats.in_reassembly_failed++;
    if (first != NULL && first->offset == 0) {
        size_t size;
        uint32_t quoted = first->size < QUOTE_MAX ? first->size : QUOTE_MAX;
        uint8_t *bytes = linearise(host, reassembly, quoted, &size);
        if (bytes != NULL) {
            size_t header_size = size - quoted;
            struct rx rx = {.src = reassembly->src,
                            .dst = reassembly->dst,
                            .family = reassembly->family,
                            .protocol = reassembly->protocol,
                            .transport = bytes + header_size,
                            .transport_contiguous = quoted,
                            .size = quoted,
                            .ip_header = bytes,
                            .ip_contiguous = size};
            icmp_send_error(host, &rx,
                            reassembly->family == 4 ? (uint8_t)WIRE_ICMP_TIME_EXCEEDED
                                                    : (uint8_t)WIRE_ICMP6_TIME_EXCEEDED,
                            1, 0, now);
            host_free(host, bytes, size);
        }
    }
    drop(host, reassembly);
}

/* False: malformed, and the sender of an IPv6 one is told so (RFC 8200 section 4.5). */
static bool is_well_formed(struct foyer_host *host, const struct fragment *fragment,
                           const struct rx *part, foyer_time_ns now)
{
    size_t end = fragment->offset + part->size;
    bool is_even = !fragment->more || part->size % 8 == 0;
    if (part->size > 0 && is_even && end <= 65535)
        return true;
    host->stats.in_dropped_malformed++;
    if (fragment->family == 6 && part->size > 0)
        icmp_send_error(host, part, WIRE_ICMP6_PARAMETER_PROBLEM, 0,
                        !is_even ? 4 : fragment->header_offset + 2, now);
    return false;
}

void frag_input(struct foyer_host *host, const struct fragment *fragment, const struct rx *part,
                foyer_time_ns now)
{
    host->stats.in_fragments++;
    if (!is_well_formed(host, fragment, part, now))
        return;
    uint32_t size = (uint32_t)part->size;
    struct reassembly *reassembly = find(host, fragment);
    if (reassembly == NULL)
        reassembly = create(host, fragment, now);
    if (reassembly == NULL) {
        host->stats.in_dropped_memory++;
        return;
    }
    struct list_node *before;
    enum fit fit = find_place(reassembly, fragment->offset, size, &before);
    if (fit == FIT_REPEATED)
        return;
    if (fit == FIT_OVERLAPS || is_beyond_total(reassembly, fragment, fragment->offset + size) ||
        reassembly->piece_count == PIECES_MAX) {
        host->stats.in_reassembly_failed++;
        drop(host, reassembly);
        return;
    }
    struct piece *piece = make_piece(host, reassembly, part, fragment->offset);
    if (piece == NULL) {
        host->stats.in_dropped_memory++;
        drop(host, reassembly);
        return;
    }
    list_insert_before(before, &piece->node);
    reassembly->ecn_seen |= (uint8_t)(1u << (fragment->tos & ECN_MASK));
    reassembly->piece_count++;
    reassembly->have += size;
    if (!fragment->more)
        reassembly->total = fragment->offset + size;
    if (fragment->offset == 0) {
        /* RFC 8200 section 4.5: the first fragment's header is the datagram's. */
        reassembly->protocol = fragment->protocol;
        reassembly->ttl = fragment->ttl;
        reassembly->tos = fragment->tos;
    }
    if (reassembly->have != reassembly->total)
        return;
    if (!settle_mark(reassembly)) {
        host->stats.in_reassembly_failed++;
        drop(host, reassembly);
        return;
    }
    complete(host, reassembly, fragment->arrival_ns, now);
}
