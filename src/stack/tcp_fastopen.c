/*
 * TCP Fast Open (RFC 7413): data in the SYN, for clients that bring a cookie which proves that
 * they were at their address before.
 *
 * Server: the cookie is a keyed hash of both addresses, as Linux computes it, so that servers of
 * one name may share a key, whatever they run on. A SYN with a good one makes the socket at once
 * (tcp_listen.c): it waits in the accept queue in SYN-RECEIVED, its data can be read, and it may
 * send. How many such sockets may exist before their handshakes are complete is the listener's
 * option (section 5.1); what the socket has to know for that stands in tcb->handshake.
 *
 * Client: cookies are kept by pairs of addresses in a table of fixed size, allocated with the
 * first socket that wants them. The SYN takes what the ring holds when it leaves. What the SYN-ACK
 * does not acknowledge of it is sent again at once (section 4.2.1). A SYN that is sent again has
 * neither data nor option, and where that helped, the path is left alone for a while (section 4.1.3,
 * 7.1).
 */
#include "stack/tcp_fastopen.h"

#include <errno.h>

#include "stack/slot.h"
#include "stack/socket.h"
#include "stack/tcp.h"

/* ---- keys and cookies ----------------------------------------------------------------------- */

void foyer_host_set_fastopen_keys(struct foyer_host *host, const uint8_t primary[16],
                                  const uint8_t backup[16])
{
    host->fastopen.keys[0] = siphash_key_from(primary);
    host->fastopen.key_count = 1;
    if (backup != NULL)
        host->fastopen.keys[host->fastopen.key_count++] = siphash_key_from(backup);
}

void fastopen_init(struct foyer_host *host)
{
    struct siphash_key secret = siphash_key_from(host->config.secret);

    host->fastopen.keys[0].k0 = siphash(&secret, "fastopen 0", 10);
    host->fastopen.keys[0].k1 = siphash(&secret, "fastopen 1", 10);
    host->fastopen.key_count = 1;
}

static void make_cookie(const struct siphash_key *key, const struct foyer_addr *client,
                        const struct foyer_addr *server, uint8_t ret_cookie[FASTOPEN_COOKIE_SIZE])
{
    uint8_t bytes[32];
    size_t size = foyer_addr_is_v4(client) ? 4 : 16;

    memcpy(bytes, client->bytes + 16 - size, size);
    memcpy(bytes + size, server->bytes + 16 - size, size);
    uint64_t hash = siphash(key, bytes, 2 * size);
    for (unsigned i = 0; i < FASTOPEN_COOKIE_SIZE; i++)
        ret_cookie[i] = (uint8_t)(hash >> 8 * i);
}

void fastopen_offer(const struct foyer_host *host, const struct foyer_addr *client,
                    const struct foyer_addr *server, bool is_experimental,
                    struct wire_tcp_options *options)
{
    options->has_fastopen = true;
    options->fastopen_is_experimental = is_experimental;
    options->fastopen_size = FASTOPEN_COOKIE_SIZE;
    make_cookie(&host->fastopen.keys[0], client, server, options->fastopen);
}

/* The index of the key that made the cookie; -1: none did. */
static int check_cookie(const struct foyer_host *host, const struct tcp_segment *seg)
{
    uint8_t cookie[FASTOPEN_COOKIE_SIZE];

    if (seg->options.fastopen_size != FASTOPEN_COOKIE_SIZE)
        return -1;
    for (int i = 0; i < host->fastopen.key_count; i++) {
        make_cookie(&host->fastopen.keys[i], &seg->rx->src, &seg->rx->dst, cookie);
        if (memcmp(cookie, seg->options.fastopen, sizeof(cookie)) == 0)
            return i;
    }
    return -1;
}

/* ---- the server's limit (section 5.1) --------------------------------------------------------- */

/* A reset right after the SYN may be the answer of a third party whose address was used: such
 * requests count for a while longer, or an attacker had its places back at once. */
static bool has_room(struct sock *listener, foyer_time_ns now)
{
    struct listen *listen = listener->listen;

    if (listen->fastopen_reset_count > 0 && now - listen->fastopen_reset_ns >= FASTOPEN_RESET_NS) {
        listen->fastopen_count -= listen->fastopen_reset_count;
        listen->fastopen_reset_count = 0;
    }
    return listen->fastopen_count < listener->options->fastopen;
}

enum fastopen_verdict fastopen_judge(struct foyer_host *host, struct sock *listener,
                                     const struct tcp_segment *seg, foyer_time_ns now)
{
    const struct sock_options *options = listener->options;
    bool is_open = options->fastopen_without_cookie;

    if (options->fastopen == 0 || (!seg->options.has_fastopen && !is_open))
        return FASTOPEN_NONE;
    /* Where there is no room Fast Open is off, and no cookie is given (section 5.1). */
    if (!has_room(listener, now))
        return FASTOPEN_NONE;
    if (is_open)
        return seg->size > 0 || seg->options.has_fastopen ? FASTOPEN_GOOD : FASTOPEN_NONE;
    if (seg->options.fastopen_size == 0)
        return FASTOPEN_GIVE;
    int key = check_cookie(host, seg);
    if (key < 0) {
        host->stats.tcp_fastopen_passive_fails++;
        return FASTOPEN_GIVE;
    }
    return key == 0 ? FASTOPEN_GOOD : FASTOPEN_GOOD_OLD;
}

void fastopen_enter(struct sock *listener, struct tcb *tcb)
{
    tcb->flags |= TCPF_FASTOPEN;
    tcb->handshake.listener_index = listener->slot.index;
    tcb->handshake.listener_generation = listener->slot.generation;
    listener->listen->fastopen_count++;
}

void fastopen_leave(struct foyer_host *host, struct tcb *tcb, bool is_reset, foyer_time_ns now)
{
    if ((tcb->flags & (TCPF_FASTOPEN | TCPF_PASSIVE | TCPF_SYN_ACKED)) !=
            (TCPF_FASTOPEN | TCPF_PASSIVE) ||
        tcb->handshake.listener_index == SLOT_NONE)
        return;
    struct sock *listener = slot_sock(host, tcb->handshake.listener_index);
    uint32_t generation = tcb->handshake.listener_generation;

    tcb->handshake.listener_index = SLOT_NONE; /* it counts no more */
    if (listener == NULL || listener->slot.generation != generation ||
        listener->state != FOYER_STATE_LISTEN)
        return;
    if (is_reset) {
        listener->listen->fastopen_reset_count++;
        listener->listen->fastopen_reset_ns = now;
    } else {
        listener->listen->fastopen_count--;
    }
}

/* ---- the client's memory ------------------------------------------------------------------------ */

int fastopen_need_table(struct foyer_host *host)
{
    if (host->fastopen.paths == NULL)
        host->fastopen.paths = host_alloc(host, FASTOPEN_PATHS * sizeof(struct fastopen_path));
    return host->fastopen.paths != NULL ? 0 : -ENOMEM;
}

void fastopen_finish(struct foyer_host *host)
{
    if (host->fastopen.paths != NULL)
        host_free(host, host->fastopen.paths, FASTOPEN_PATHS * sizeof(struct fastopen_path));
}

/* Where the socket has no address yet: any path to the server. */
static struct fastopen_path *find_path(const struct foyer_host *host, const struct sock *sock,
                                       const struct foyer_addr *server)
{
    for (unsigned i = 0; i < FASTOPEN_PATHS && host->fastopen.paths != NULL; i++) {
        struct fastopen_path *path = &host->fastopen.paths[i];
        if (path->used != 0 && foyer_addr_eq(&path->server, server) &&
            (foyer_addr_is_any(&sock->local.addr) ||
             foyer_addr_eq(&path->client, &sock->local.addr)))
            return path;
    }
    return NULL;
}

/* The path's place, or that of the one unused for longest. NULL: no table. */
static struct fastopen_path *take_path(struct foyer_host *host, const struct sock *sock)
{
    struct fastopen_path *path = find_path(host, sock, &sock->remote.addr);

    if (path == NULL && host->fastopen.paths != NULL) {
        path = &host->fastopen.paths[0];
        for (unsigned i = 1; i < FASTOPEN_PATHS; i++) {
            if (host->fastopen.paths[i].used < path->used)
                path = &host->fastopen.paths[i];
        }
        *path = (struct fastopen_path){.client = sock->local.addr, .server = sock->remote.addr};
    }
    if (path != NULL)
        path->used = ++host->fastopen.clock;
    return path;
}

/* Section 7.1: a path that lost such SYNs twice or more in a row is left alone, longer each time.
 * One loss is a loss, as Linux sees it. */
static bool is_left_alone(const struct fastopen_path *path, foyer_time_ns now)
{
    unsigned doublings = path->failures < 10 ? path->failures : 10;

    return path->failures > 1 && now - path->failed_ns < FASTOPEN_RETRY_NS << doublings;
}

/* Section 4.1.3: data within the MSS that the server told with the cookie. */
static uint32_t syn_room(const struct foyer_host *host, const struct sock *sock,
                         const struct fastopen_path *path, const struct foyer_addr *server)
{
    uint32_t mss = tcp_mss_for_syn(host, sock, server);

    if (path != NULL && path->mss != 0 && path->mss < mss)
        mss = path->mss;
    return mss > WIRE_TCP_OPTIONS_MAX ? mss - WIRE_TCP_OPTIONS_MAX : 0;
}

uint32_t fastopen_room(const struct foyer_host *host, const struct sock *sock,
                       const struct foyer_addr *server)
{
    const struct fastopen_path *path = find_path(host, sock, server);

    if (path != NULL && is_left_alone(path, host->now_ns))
        return 0;
    if (!sock->options->fastopen_without_cookie && (path == NULL || path->cookie_size == 0))
        return 0;
    return syn_room(host, sock, path, server);
}

uint32_t fastopen_fill_syn(struct foyer_host *host, struct sock *sock,
                           struct wire_tcp_options *options, foyer_time_ns now)
{
    struct tcb *tcb = sock->tcb;
    bool is_open = sock->options->fastopen_without_cookie;

    if (sock->options->fastopen == 0 || sock->state != FOYER_STATE_SYN_SENT ||
        (tcb->flags & (TCPF_SYN_LOST | TCPF_FASTOPEN)) != 0)
        return 0;
    const struct fastopen_path *path = find_path(host, sock, &sock->remote.addr);
    if (path != NULL && is_left_alone(path, now))
        return 0;
    tcb->flags |= TCPF_FASTOPEN;
    if (!is_open) {
        options->has_fastopen = true; /* without a cookie: a request for one */
        if (path == NULL || path->cookie_size == 0)
            return 0;
        options->fastopen_size = path->cookie_size;
        memcpy(options->fastopen, path->cookie, path->cookie_size);
    }
    uint32_t room = syn_room(host, sock, path, &sock->remote.addr);
    uint32_t size = seq_distance(tcb->snd_end, seq_add(tcb->iss, 1));
    size = size < room ? size : room;
    tcb->handshake.syn_data_bytes = size;
    return size;
}

seq_t fastopen_highest_ack(const struct tcb *tcb)
{
    if ((tcb->flags & (TCPF_FASTOPEN | TCPF_PASSIVE | TCPF_SYN_ACKED)) != TCPF_FASTOPEN)
        return tcb->snd_nxt;
    return seq_add(tcb->snd_nxt, tcb->handshake.syn_data_bytes);
}

uint32_t fastopen_syn_acked(struct foyer_host *host, struct sock *sock,
                            const struct tcp_segment *seg, uint32_t *ret_refused_bytes,
                            foyer_time_ns now)
{
    const struct wire_tcp_options *options = &seg->options;
    struct tcb *tcb = sock->tcb;
    bool was_lost = (tcb->flags & TCPF_SYN_LOST) != 0;

    *ret_refused_bytes = 0;
    if ((tcb->flags & (TCPF_FASTOPEN | TCPF_PASSIVE)) != TCPF_FASTOPEN)
        return 0;
    uint32_t sent_bytes = tcb->handshake.syn_data_bytes;
    uint32_t acked_bytes = seq_distance(seg->tcp.ack, tcb->snd_nxt);
    *ret_refused_bytes = sent_bytes - acked_bytes;
    if (acked_bytes > 0)
        host->stats.tcp_fastopen_active++;
    else if (sent_bytes > 0)
        host->stats.tcp_fastopen_active_fails++;
    if (acked_bytes == 0 || *ret_refused_bytes > 0)
        tcb->flags &= ~(uint32_t)TCPF_FASTOPEN;
    /* RFC 7413 section 4.1.2: a cookie is the answer to a request, and who sends without one makes
     * none. */
    bool has_cookie = options->has_fastopen && options->fastopen_size > 0 &&
                      !sock->options->fastopen_without_cookie;
    if (!has_cookie && !was_lost && acked_bytes == 0)
        return 0;
    struct fastopen_path *path = take_path(host, sock);
    if (path == NULL)
        return acked_bytes;
    if (has_cookie) {
        path->cookie_size = options->fastopen_size;
        memcpy(path->cookie, options->fastopen, path->cookie_size);
    }
    if (options->has_mss)
        path->mss = options->mss;
    /* With a cookie the loss was a chance one: the SYN that asked for it came through. */
    if (acked_bytes > 0 || !was_lost || has_cookie) {
        path->failures = 0;
    } else {
        path->failures = path->failures < UINT8_MAX ? path->failures + 1 : UINT8_MAX;
        path->failed_ns = now;
    }
    return acked_bytes;
}
