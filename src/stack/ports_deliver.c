/*
 * Who gets a packet that no connection knows, and listeners that stand for the addresses of others.
 *
 * Exact address before wildcard; the wildcard of the packet's own family before a dual-stack one;
 * within a REUSEPORT group by the flow's hash; else the latest bound.
 */
#include <errno.h>
#include <stdint.h>

#include "stack/ip.h"
#include "stack/ports.h"

/* ---- delivery ------------------------------------------------------------------------------------------------ */

/* 0: not meant for this group. */
static unsigned group_score(const struct port_group *group, const struct foyer_addr *dst,
                            bool is_foreign)
{
    bool is_v4 = foyer_addr_is_v4(dst);
    bool is_own_family = (group->family == FOYER_FAMILY_V4) == is_v4;
    unsigned score;
    if (!group->is_receiving || (is_foreign && (group->flags & SOCK_INTERCEPT) == 0))
        return 0;
    if (foyer_addr_eq(&group->addr, dst))
        score = 4;
    else if (!foyer_addr_is_any(&group->addr) || (is_v4 && (group->flags & SOCK_V6ONLY)) ||
             (!is_v4 && foyer_addr_is_v4(&group->addr)))
        return 0;
    else
        score = 1;
    return score + (is_own_family ? 1 : 0);
}

struct sock *ports_find_bound(struct foyer_host *host, uint8_t protocol,
                              const struct foyer_endpoint *local,
                              const struct foyer_endpoint *remote)
{
    struct port_bucket *bucket = ports_bucket(host, protocol, local->port);
    struct sock *interceptor = host->interceptors[foyer_addr_is_v4(&local->addr) ? 0 : 1];
    bool is_foreign = ports_has_foreign(host) && !ip_is_own(host, &local->addr);
    struct port_group *best = NULL;
    unsigned best_score = 0;

    if (!PROTOCOL_IS_TCP(protocol))
        interceptor = NULL, is_foreign = false;
    if (bucket == NULL)
        return interceptor;
    for (struct port_group *group = bucket->receivers; group != NULL; group = group->next) {
        unsigned score = group_score(group, &local->addr, is_foreign);
        if (score > best_score) {
            best_score = score;
            best = group;
        }
    }
    if (best == NULL)
        return interceptor;
    if (best->count > 1 && (best->flags & SOCK_REUSEPORT)) {
        uint32_t hash = ports_tuple_hash(host, protocol, local, remote);
        return best->receivers[(uint64_t)hash * best->count >> 32];
    }
    return best->receivers[best->count - 1];
}

struct sock *ports_group_receiver(struct foyer_host *host, const struct foyer_endpoint *local,
                                  uint32_t index)
{
    struct port_bucket *bucket = ports_bucket(host, FOYER_UDP, local->port);
    if (bucket == NULL)
        return NULL;
    for (struct port_group *group = bucket->receivers; group != NULL; group = group->next) {
        if (group_score(group, &local->addr, false) == 0)
            continue;
        if (index < group->count)
            return group->receivers[index];
        index -= group->count;
    }
    return NULL;
}

/* ---- interception ---------------------------------------------------------------------------------------- */

/* Which of host->interceptors a socket can be: for IPv4, for IPv6. */
static bool may_take(const struct sock *sock, size_t which)
{
    if (sock->family == FOYER_FAMILY_V4)
        return which == 0;
    return which == 1 || (sock->flags & SOCK_V6ONLY) == 0;
}

static bool is_all_taken(const struct foyer_host *host, const struct sock *sock)
{
    for (size_t i = 0; i < 2; i++) {
        const struct sock *present = host->interceptors[i];
        if (may_take(sock, i) && present != NULL && present != sock)
            return true;
    }
    return false;
}

static void set_interceptors(struct foyer_host *host, struct sock *sock, bool takes_all)
{
    for (size_t i = 0; i < 2; i++) {
        if (takes_all && may_take(sock, i))
            host->interceptors[i] = sock;
        else if (host->interceptors[i] == sock)
            host->interceptors[i] = NULL;
    }
}

int ports_intercept(struct foyer_host *host, struct sock *sock, enum foyer_intercept what)
{
    bool was_on = (sock->flags & SOCK_INTERCEPT) != 0, is_on = what != FOYER_INTERCEPT_OFF;
    uint32_t before = sock->flags;

    if (!was_on && !is_on)
        return 0;
    if (is_on && (!foyer_addr_is_any(&sock->local.addr) || sock->remote.port != 0))
        return -EINVAL;
    if (what == FOYER_INTERCEPT_ALL && is_all_taken(host, sock))
        return -EADDRINUSE;
    sock->flags = is_on ? before | SOCK_INTERCEPT : before & ~(uint32_t)SOCK_INTERCEPT;
    int error = ports_regroup(host, sock);
    if (error != 0 && is_on) {
        sock->flags = before;
        return error;
    }
    set_interceptors(host, sock, what == FOYER_INTERCEPT_ALL);
    if (is_on && !was_on)
        host->interceptor_count++;
    if (was_on && !is_on) {
        host->interceptor_count--;
        ports_note_foreign_gone(host);
    }
    return 0;
}

enum foyer_intercept ports_intercepts(const struct foyer_host *host, const struct sock *sock)
{
    if ((sock->flags & SOCK_INTERCEPT) == 0)
        return FOYER_INTERCEPT_OFF;
    return host->interceptors[0] == sock || host->interceptors[1] == sock ? FOYER_INTERCEPT_ALL
                                                                          : FOYER_INTERCEPT_ADDRESS;
}
