/*
 * The host's memory: all that it takes from the caller's allocator is counted (but for itself and
 * its tables of buckets), and config.max_memory_bytes bounds it.
 *
 * What gives way, in this order; what was acknowledged to a peer is never lost:
 *
 *   from three quarters on ("short"):
 *     no connection requests: SYNs are answered by cookies (tcp_listen.c)
 *     new rings are small, none grows, empty ones are given back (socket_io.c): with the room
 *     shrinks the window that is offered for new data
 *   from seven eighths on:
 *     no rings for what is to be sent, so that what was sent can be received
 *   where an allocation was refused, at the beginning of the next call on the host:
 *     out-of-order queues are forgotten; the peers send them again (RFC 2018 section 8 allows it);
 *     rings in which nothing waits are given back
 *     the oldest TIME-WAITs end
 *     connections whose handle was given back are reset
 *
 * A refused allocation itself is answered as any other lack of memory: the segment is dropped, the
 * call fails with -ENOMEM. The work per call is bounded; what is not enough goes on at the next.
 */
#include "stack/socket.h"
#include "stack/tcp.h"
#include "stack/tcp_time_wait.h"

#define SHED_SLOTS 256u
#define SHED_TIME_WAITS 64u
#define SHED_ORPHANS 16u

void *host_alloc_raw(struct foyer_host *host, size_t size)
{
    uint64_t limit = host->config.max_memory_bytes;

    if (limit != 0 && host->stats.memory_bytes + size > limit) {
        host->stats.memory_refused++;
        host->wants_shed = true;
        return NULL;
    }
    void *memory = host->config.allocator.alloc(host->config.allocator.context, size);
    if (memory != NULL)
        host->stats.memory_bytes += size;
    return memory;
}

void *host_alloc(struct foyer_host *host, size_t size)
{
    void *memory = host_alloc_raw(host, size);
    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

void host_free(struct foyer_host *host, void *memory, size_t size)
{
    if (memory == NULL)
        return;
    host->stats.memory_bytes -= size;
    host->config.allocator.free(host->config.allocator.context, memory, size);
}

bool host_would_be_short(const struct foyer_host *host, uint64_t more_bytes)
{
    uint64_t limit = host->config.max_memory_bytes;

    return limit != 0 && host->stats.memory_bytes + more_bytes > limit - limit / 4;
}

bool host_is_short(const struct foyer_host *host)
{
    return host_would_be_short(host, 0);
}

bool host_refuses_to_send(struct foyer_host *host)
{
    uint64_t limit = host->config.max_memory_bytes;

    if (limit == 0 || host->stats.memory_bytes <= limit - limit / 8)
        return false;
    host->stats.memory_refused++;
    host->wants_shed = true;
    return true;
}

/* ---- shedding ------------------------------------------------------------------------------------ */

static void prune(struct foyer_host *host, struct sock *sock)
{
    if (FOYER_WITH_TCP && sock->tcb != NULL && tcp_has_gaps(sock->tcb)) {
        host->stats.tcp_pruned++;
        tcp_ranges_drop(host, sock->tcb);
    }
    sock_give_empty_rings(host, sock);
}

static bool is_orphan(const struct sock *sock)
{
    return PROTOCOL_IS_TCP(sock->protocol) && (sock->flags & SOCK_ORPHAN) != 0 && sock->tcb != NULL;
}

/* Looks at some sockets, beginning where the last time ended. */
static void walk(struct foyer_host *host, bool is_for_orphans)
{
    uint32_t aborted = 0;

    for (uint32_t i = 0; i < SHED_SLOTS && i < host->slots.count && aborted < SHED_ORPHANS; i++) {
        if (host->shed_hand >= host->slots.count)
            host->shed_hand = 0;
        struct sock *sock = slot_sock(host, host->shed_hand++);
        if (sock == NULL)
            continue;
        if (!is_for_orphans) {
            prune(host, sock);
        } else if (FOYER_WITH_TCP && is_orphan(sock)) {
            host->stats.tcp_orphans_aborted++;
            aborted++;
            tcp_abort(host, sock, host->now_ns);
        }
    }
}

void host_shed(struct foyer_host *host)
{
    uint64_t target = host->config.max_memory_bytes - host->config.max_memory_bytes / 8;

    host->wants_shed = false;
    walk(host, false);
    for (uint32_t i = 0; i < SHED_TIME_WAITS && host->stats.memory_bytes > target; i++) {
        if (!FOYER_WITH_TCP || !time_wait_shed(host))
            break;
    }
    if (host->stats.memory_bytes > target)
        walk(host, true);
}
