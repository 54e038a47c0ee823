/*
 * 4-tuples: their hashes, and whose each is. A segment's tuple is asked for by one table after the
 * other, and a connection's beginning asks several times more: what was computed last is kept.
 *
 * Called by whoever has a segment (tcp_in.c, tcp_fast.c, udp.c, icmp.c) and by ports.c.
 */
#include <stdint.h>

#include "base/bytes.h"
#include "stack/ports.h"

/* The tuple in words, as SipHash takes them. */
static struct tuple_memo *memo_of(struct foyer_host *host, uint8_t protocol,
                                  const struct foyer_endpoint *local,
                                  const struct foyer_endpoint *remote)
{
    struct tuple_memo *memo = &host->tuple_memo;
    uint64_t rest = (uint64_t)protocol << 32 | (uint64_t)remote->port << 16 | (uint64_t)local->port;

    /* What tells IPv4 tuples apart fits in two words of the hash, and every segment pays. */
    if (foyer_addr_is_v4(&local->addr) && foyer_addr_is_v4(&remote->addr)) {
        uint64_t addresses =
            (uint64_t)load_le32(remote->addr.bytes + 12) << 32 | load_le32(local->addr.bytes + 12);
        rest |= 13ULL << 56;
        if (memo->words[0] != addresses || memo->words[1] != rest || memo->count != 2) {
            memo->words[0] = addresses;
            memo->words[1] = rest;
            memo->count = 2;
            memo->is_hashed = memo->has_secret = false;
            memo->absent = 0;
        }
        return memo;
    }
    const uint64_t words[5] = {
        load_le64(local->addr.bytes),
        load_le64(local->addr.bytes + 8),
        load_le64(remote->addr.bytes),
        load_le64(remote->addr.bytes + 8),
        rest | 37ULL << 56,
    };
    if (memo->count != 5 || memcmp(memo->words, words, sizeof(words)) != 0) {
        memcpy(memo->words, words, sizeof(words));
        memo->count = 5;
        memo->is_hashed = memo->has_secret = false;
        memo->absent = 0;
    }
    return memo;
}

static uint32_t memo_hash(const struct foyer_host *host, struct tuple_memo *memo)
{
    if (!memo->is_hashed) {
        memo->hash = (uint32_t)siphash13(&host->hash_key, memo->words, memo->count);
        memo->is_hashed = true;
    }
    return memo->hash;
}

uint32_t ports_tuple_hash(struct foyer_host *host, uint8_t protocol,
                          const struct foyer_endpoint *local, const struct foyer_endpoint *remote)
{
    return memo_hash(host, memo_of(host, protocol, local, remote));
}

struct tuple_memo *ports_tuple_memo(struct foyer_host *host, uint8_t protocol,
                                    const struct foyer_endpoint *local,
                                    const struct foyer_endpoint *remote)
{
    struct tuple_memo *memo = memo_of(host, protocol, local, remote);

    (void)memo_hash(host, memo);
    return memo;
}

uint64_t ports_tuple_secret(struct foyer_host *host, uint8_t protocol,
                            const struct foyer_endpoint *local, const struct foyer_endpoint *remote)
{
    struct tuple_memo *memo = memo_of(host, protocol, local, remote);

    if (!memo->has_secret) {
        memo->secret = siphash24(&host->hash_key, memo->words, memo->count);
        memo->has_secret = true;
    }
    return memo->secret;
}

static bool has_tuple(const struct sock *sock, uint8_t protocol, const struct foyer_endpoint *local,
                      const struct foyer_endpoint *remote)
{
    return sock->remote.port == remote->port && sock->local.port == local->port &&
           sock->protocol == protocol && foyer_addr_eq(&sock->remote.addr, &remote->addr) &&
           foyer_addr_eq(&sock->local.addr, &local->addr);
}

struct sock *ports_find_connected(struct foyer_host *host, uint8_t protocol,
                                  const struct foyer_endpoint *local,
                                  const struct foyer_endpoint *remote)
{
    /* Whose segment came last, or is expected next (ahead.c). */
    if (host->recent_sock != NULL && has_tuple(host->recent_sock, protocol, local, remote))
        return host->recent_sock;
    struct tuple_memo *memo = memo_of(host, protocol, local, remote);
    if ((memo->absent & TUPLE_NOT_CONNECTED) != 0)
        return NULL;
    for (struct hash_node *node = hash_table_first(&host->connected, memo_hash(host, memo));
         node != NULL; node = hash_table_next(node)) {
        struct sock *sock = HASH_ENTRY(node, struct sock, connected_node);
        if (has_tuple(sock, protocol, local, remote))
            return sock;
    }
    memo->absent |= TUPLE_NOT_CONNECTED;
    return NULL;
}
