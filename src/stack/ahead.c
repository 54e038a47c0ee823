/*
 * Looking ahead in a batch of frames: which connections are they for? Among many connections each
 * frame's bucket, socket and control block are in nobody's cache, and each address is known only
 * once the line before it has come. So a few frames' ways are walked side by side, one step of
 * each at a time: the waits overlap instead of adding up.
 *
 * Nothing is decided here. A frame that looks odd is passed over; what is found is a hint, which
 * whoever takes the frame checks against it (ports_find_connected, tcp_fast.c).
 */
#include "base/bytes.h"
#include "stack/ip.h"
#include "stack/ports.h"
#include "stack/tcp.h"

#define PORTS_BYTES 4u
#define FRAGMENT_MASK 0x3fffu
/* One behind the other (struct tcp_sock): three cache lines, wherever an allocator's 16 bytes begin. */
#define SOCK_HOT_BYTES (sizeof(struct sock) - offsetof(struct sock, connected_node))
#define TCB_HOT_BYTES offsetof(struct tcb, ts_offset)
#define CHAIN_STEPS 2 /* nodes of a bucket that are looked at before the right one, at most */
_Static_assert(SOCK_HOT_BYTES <= 80 && SOCK_HOT_BYTES + TCB_HOT_BYTES <= 144, "three lines");

/* A TCP frame's addresses and ports, which stand in one run: from the source address on. */
struct tuple {
    const uint8_t *bytes; /* NULL: not such a frame */
    size_t addr_size;
};

static struct tuple tuple_of(const struct foyer_packet *packet)
{
    const struct foyer_span *first = &packet->spans[0];
    const struct tuple none = {NULL, 0};

    if (packet->span_count == 0 || first->size < WIRE_ETH_SIZE + WIRE_IPV4_SIZE + PORTS_BYTES)
        return none;
    const uint8_t *ip = first->base + WIRE_ETH_SIZE;
    if (load_be16(ip - 2) == WIRE_ETHERTYPE_IPV4) {
        if (ip[0] != (4 << 4 | WIRE_IPV4_SIZE / 4) || ip[9] != WIRE_PROTOCOL_TCP ||
            (load_be16(ip + 6) & FRAGMENT_MASK) != 0)
            return none;
        return (struct tuple){ip + 12, 4};
    }
    if (load_be16(ip - 2) != WIRE_ETHERTYPE_IPV6 || ip[6] != WIRE_PROTOCOL_TCP ||
        first->size < WIRE_ETH_SIZE + WIRE_IPV6_SIZE + PORTS_BYTES)
        return none;
    return (struct tuple){ip + 8, 16};
}

static bool is_same(const struct tuple *a, const struct tuple *b)
{
    return a->bytes != NULL && b->bytes != NULL && a->addr_size == b->addr_size &&
           memcmp(a->bytes, b->bytes, 2 * a->addr_size + PORTS_BYTES) == 0;
}

static struct foyer_endpoint endpoint(const struct tuple *tuple, bool is_remote)
{
    const uint8_t *addr = tuple->bytes + (is_remote ? 0 : tuple->addr_size);
    struct foyer_endpoint endpoint = {
        .port = load_be16(tuple->bytes + 2 * tuple->addr_size + (is_remote ? 0 : 2))};

    if (tuple->addr_size == 4)
        endpoint.addr = foyer_addr_v4(addr[0], addr[1], addr[2], addr[3]);
    else
        memcpy(endpoint.addr.bytes, addr, 16);
    return endpoint;
}

static void prefetch(const void *object, size_t size)
{
    __builtin_prefetch(object);
    __builtin_prefetch((const char *)object + size - 1);
}

void host_look_ahead(struct foyer_host *host, const struct foyer_packet *packets, size_t count)
{
    struct tuple tuples[HOST_LOOK_AHEAD];
    uint32_t hashes[HOST_LOOK_AHEAD];
    const struct hash_node *nodes[HOST_LOOK_AHEAD];

    host->hint_count = 0;
    if (count < 2)
        return;
    for (size_t i = 0; i < count; i++) {
        tuples[i] = tuple_of(&packets[i]);
        host->hints[i] = NULL;
        /* Frames of one connection mostly come together: the first brings all that is needed. */
        if (i > 0 && is_same(&tuples[i], &tuples[i - 1]))
            tuples[i].bytes = NULL;
        if (tuples[i].bytes == NULL)
            continue;
        struct foyer_endpoint local = endpoint(&tuples[i], false);
        struct foyer_endpoint remote = endpoint(&tuples[i], true);
        hashes[i] = ports_tuple_hash(host, FOYER_TCP, &local, &remote);
        hash_table_prefetch(&host->connected, hashes[i]);
    }
    for (size_t i = 0; i < count; i++) {
        nodes[i] = tuples[i].bytes != NULL ? hash_table_peek(&host->connected, hashes[i]) : NULL;
        if (nodes[i] != NULL)
            prefetch(nodes[i], SOCK_HOT_BYTES);
    }
    for (size_t step = 0; step < CHAIN_STEPS; step++) {
        for (size_t i = 0; i < count; i++) {
            if (nodes[i] == NULL)
                continue;
            const struct hash_node *node = hash_node_step(nodes[i], hashes[i]);
            if (node != nodes[i] && node != NULL)
                prefetch(node, SOCK_HOT_BYTES);
            nodes[i] = node;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == NULL || nodes[i]->hash != hashes[i])
            continue;
        struct sock *sock = HASH_ENTRY(nodes[i], struct sock, connected_node);
        host->hints[i] = sock;
        if (sock->tcb != NULL)
            prefetch(sock->tcb, TCB_HOT_BYTES);
    }
    host->hint_count = (uint32_t)count;
}
