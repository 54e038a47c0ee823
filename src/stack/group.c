/*
 * Groups: who of the host's sockets listens to which, and what multicast routers and snooping
 * switches are told of it: IGMPv3 (RFC 9776) and MLDv2 (RFC 9777), and their predecessors while
 * a querier that speaks no better was heard.
 *
 *     join, leave -> a report at once, repeated within a second (the first may be lost)
 *     query       -> a report after a random while, so that not all hosts speak together
 *
 * All memberships are for any source (EXCLUDE of nothing), so a report has no source lists, and a
 * query about sources is answered with the state of the whole group.
 *
 * The host itself listens to the solicited-node groups of its addresses. It answers for them, and
 * announces them where it lives among strangers (enum foyer_host_behaviour); reception does not
 * depend on their entries here.
 */
#include <errno.h>

#include "stack/ip.h"
#include "wire/membership.h"

#define GROUPS_MAX 256u
#define MEMBERSHIPS_MAX 32u /* per socket; Linux allows 20 */

#define ROBUSTNESS 2u                         /* RFC 9776 section 8.1 */
#define UNSOLICITED_INTERVAL_MS 1000u         /* section 8.11, RFC 9777 section 9.11 */
#define OLD_QUERIER_NS (260 * FOYER_NS_PER_S) /* section 8.12, 2 * 125 s + 10 s */
#define RESPONSE_MIN_MS 100u /* so that queries without delay do not make a host a loudspeaker */

static const struct foyer_addr all_igmpv3 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 22}};
static const struct foyer_addr all_routers4 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 2}};
static const struct foyer_addr all_mldv2 = {{0xff, 2, [15] = 0x16}};
static const struct foyer_addr all_routers6 = {{0xff, 2, [15] = 2}};

/* ---- the table ------------------------------------------------------------------------------------ */

bool group_is_everybodys(const struct foyer_addr *addr)
{
    static const uint8_t all6[14] = {0};
    if (foyer_addr_is_v4(addr))
        return addr->bytes[12] == 224 && addr->bytes[13] == 0 && addr->bytes[14] == 0 &&
               addr->bytes[15] == 1;
    return addr->bytes[0] == 0xff && (addr->bytes[1] == 1 || addr->bytes[1] == 2) &&
           memcmp(addr->bytes + 2, all6, 13) == 0 && addr->bytes[15] == 1;
}

/* RFC 9776 section 5, RFC 9777 section 6: all-nodes and what stays inside a host is not told. */
static bool is_told(const struct foyer_addr *addr)
{
    return !group_is_everybodys(addr) && (foyer_addr_is_v4(addr) || (addr->bytes[1] & 15) > 1);
}

struct group *group_find(const struct foyer_host *host, const struct foyer_addr *addr)
{
    LIST_FOREACH (&host->groups, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        if (foyer_addr_eq(&group->addr, addr))
            return group;
    }
    return NULL;
}

void groups_init(struct foyer_host *host)
{
    list_init(&host->groups);
    host->group_timer.kind = TIMER_GROUP;
    host->general_answer_ns[0] = host->general_answer_ns[1] = FOYER_TIME_NEVER;
}

static void group_free(struct foyer_host *host, struct group *group)
{
    list_remove(&group->node);
    host->group_count--;
    host_free(host, group, sizeof(*group));
}

void groups_finish(struct foyer_host *host)
{
    struct list_node *node;
    while ((node = list_first(&host->groups)) != NULL)
        group_free(host, LIST_ENTRY(node, struct group, node));
}

static void arm(struct foyer_host *host)
{
    foyer_time_ns first = host->general_answer_ns[0] < host->general_answer_ns[1]
                              ? host->general_answer_ns[0]
                              : host->general_answer_ns[1];
    LIST_FOREACH (&host->groups, node) {
        const struct group *group = LIST_ENTRY(node, struct group, node);
        first = group->answer_ns < first ? group->answer_ns : first;
        first = group->change_ns < first ? group->change_ns : first;
    }
    timer_set(&host->timers, &host->group_timer, first);
}

static bool is_wanted(const struct group *group)
{
    return group->own_count > 0 || !list_is_empty(&group->members);
}

static struct group *group_get(struct foyer_host *host, const struct foyer_addr *addr)
{
    struct group *group = group_find(host, addr);
    if (group != NULL || host->group_count == GROUPS_MAX)
        return group;
    group = host_alloc(host, sizeof(*group));
    if (group == NULL)
        return NULL;
    group->addr = *addr;
    group->answer_ns = group->change_ns = FOYER_TIME_NEVER;
    list_init(&group->members);
    list_push_back(&host->groups, &group->node);
    host->group_count++;
    return group;
}

/* The host began or ceased to listen: to be told now and once more. */
static void changed(struct foyer_host *host, struct group *group, foyer_time_ns now)
{
    if (!is_told(&group->addr)) {
        if (!is_wanted(group))
            group_free(host, group);
        return;
    }
    group->changes_left = ROBUSTNESS;
    group->change_ns = now;
    if (!is_wanted(group))
        group->answer_ns = FOYER_TIME_NEVER;
    arm(host);
}

/* ---- messages --------------------------------------------------------------------------------------- */

static unsigned version_of(const struct foyer_host *host, bool is_v4, foyer_time_ns now)
{
    /* RFC 9776 section 7.2.1, RFC 9777 section 8.2.1: the oldest querier heard of late decides. */
    if (!is_v4)
        return now < host->old_querier_until_ns[2] ? 1 : 2;
    if (now < host->old_querier_until_ns[0])
        return 1;
    return now < host->old_querier_until_ns[1] ? 2 : 3;
}

static void send_message(struct foyer_host *host, const struct foyer_addr *dst, uint8_t *bytes,
                         size_t size)
{
    struct foyer_addr src;
    bool has_source = ip_choose_source(host, dst, &src);
    if (foyer_addr_is_v4(dst)) {
        if (!has_source)
            src = foyer_addr_v4(0, 0, 0, 0); /* RFC 9776 section 4.2.14 */
        wire_igmp_seal(bytes, size);
        ip4_send_to_group(host, &src, dst, WIRE_PROTOCOL_IGMP, bytes, size);
        return;
    }
    /* RFC 9777 section 5.2.14: link-local, or unspecified while there is none. */
    if (!has_source || !foyer_addr_is_link_local_v6(&src))
        memset(&src, 0, sizeof(src));
    ip6_send_to_group(host, &src, dst, 1, true, bytes, size);
}

static void send_record(struct foyer_host *host, const struct foyer_addr *addr, uint8_t type)
{
    uint8_t bytes[WIRE_MEMBERSHIP_REPORT_SIZE + WIRE_MEMBERSHIP_RECORD_MAX];
    bool is_v4 = foyer_addr_is_v4(addr);
    size_t size = wire_membership_begin(bytes, is_v4);
    size = wire_membership_add(bytes, size, type, addr);
    send_message(host, is_v4 ? &all_igmpv3 : &all_mldv2, bytes, size);
}

/* By the older versions a report goes to the group itself, where other members hear it. */
static void send_old(struct foyer_host *host, const struct group *group, unsigned version,
                     bool is_leave)
{
    uint8_t bytes[24];
    bool is_v4 = foyer_addr_is_v4(&group->addr);
    uint8_t type =
        is_v4 ? (version == 1 ? WIRE_IGMP_REPORT_V1 : WIRE_IGMP_REPORT_V2) : WIRE_MLD_REPORT_V1;
    const struct foyer_addr *dst = &group->addr;
    if (is_leave) {
        if (is_v4 && version == 1)
            return; /* RFC 1112 has no such message */
        type = is_v4 ? WIRE_IGMP_LEAVE_V2 : WIRE_MLD_DONE_V1;
        dst = is_v4 ? &all_routers4 : &all_routers6;
    }
    size_t size = wire_membership_old(bytes, type, &group->addr);
    send_message(host, dst, bytes, size);
}

static bool is_current(const struct foyer_host *host, bool is_v4, foyer_time_ns now)
{
    return version_of(host, is_v4, now) == (is_v4 ? 3 : 2);
}

static void send_change(struct foyer_host *host, struct group *group, foyer_time_ns now)
{
    bool is_v4 = foyer_addr_is_v4(&group->addr);
    bool is_leave = !is_wanted(group);
    if (is_current(host, is_v4, now)) {
        send_record(host, &group->addr, is_leave ? WIRE_GROUP_TO_INCLUDE : WIRE_GROUP_TO_EXCLUDE);
    } else {
        send_old(host, group, version_of(host, is_v4, now), is_leave);
        if (is_leave)
            group->changes_left = 1; /* RFC 2236 section 3: once */
    }
    group->changes_left--;
    group->change_ns = group->changes_left > 0
                           ? now + ip_random_ms(host, 1, UNSOLICITED_INTERVAL_MS)
                           : FOYER_TIME_NEVER;
}

static void send_answer(struct foyer_host *host, struct group *group, foyer_time_ns now)
{
    bool is_v4 = foyer_addr_is_v4(&group->addr);
    group->answer_ns = FOYER_TIME_NEVER;
    if (is_current(host, is_v4, now))
        send_record(host, &group->addr, WIRE_GROUP_IS_EXCLUDE);
    else
        send_old(host, group, version_of(host, is_v4, now), false);
}

/* All groups of the family, in as few reports as hold them. */
static void send_general_answer(struct foyer_host *host, bool is_v4)
{
    const struct foyer_addr *dst = is_v4 ? &all_igmpv3 : &all_mldv2;
    uint8_t bytes[IP6_GROUP_MESSAGE_MAX];
    size_t size = wire_membership_begin(bytes, is_v4);
    LIST_FOREACH (&host->groups, node) {
        const struct group *group = LIST_ENTRY(node, struct group, node);
        if (foyer_addr_is_v4(&group->addr) != is_v4 || !is_wanted(group) || !is_told(&group->addr))
            continue;
        if (size + WIRE_MEMBERSHIP_RECORD_MAX > sizeof(bytes)) {
            send_message(host, dst, bytes, size);
            size = wire_membership_begin(bytes, is_v4);
        }
        size = wire_membership_add(bytes, size, WIRE_GROUP_IS_EXCLUDE, &group->addr);
    }
    if (size > WIRE_MEMBERSHIP_REPORT_SIZE)
        send_message(host, dst, bytes, size);
}

void group_timer(struct foyer_host *host, foyer_time_ns now)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        if (host->general_answer_ns[v6] <= now) {
            host->general_answer_ns[v6] = FOYER_TIME_NEVER;
            send_general_answer(host, v6 == 0);
        }
    }
    struct list_node *next;
    for (struct list_node *node = list_first(&host->groups); node != NULL; node = next) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        next = list_next(&host->groups, node);
        if (group->answer_ns <= now)
            send_answer(host, group, now);
        if (group->change_ns <= now)
            send_change(host, group, now);
        if (!is_wanted(group) && group->changes_left == 0)
            group_free(host, group);
    }
    arm(host);
}

/* ---- queries and others' reports ------------------------------------------------------------------------ */

static void note_querier(struct foyer_host *host, bool is_v4, unsigned version, foyer_time_ns now)
{
    if (version >= (is_v4 ? 3u : 2u))
        return;
    unsigned slot = is_v4 ? version - 1 : 2;
    host->old_querier_until_ns[slot] = now + OLD_QUERIER_NS;
    /* RFC 9776 section 7.2.1: what was to be said in the newer version is not said any more. */
    host->general_answer_ns[!is_v4] = FOYER_TIME_NEVER;
}

static void sooner(foyer_time_ns *time, foyer_time_ns wanted)
{
    *time = wanted < *time ? wanted : *time;
}

/* RFC 9776 section 5.2, RFC 9777 section 6.2. */
static void query_input(struct foyer_host *host, const struct wire_membership *query, bool is_v4,
                        foyer_time_ns now)
{
    uint32_t max_ms = query->max_response_ms;
    bool is_general = foyer_addr_is_any(&query->group);
    note_querier(host, is_v4, query->version, now);
    if (max_ms < RESPONSE_MIN_MS)
        max_ms = RESPONSE_MIN_MS;
    if (is_general && is_current(host, is_v4, now)) {
        sooner(&host->general_answer_ns[!is_v4], now + ip_random_ms(host, 1, max_ms));
        arm(host);
        return;
    }
    LIST_FOREACH (&host->groups, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        if (foyer_addr_is_v4(&group->addr) == is_v4 && is_wanted(group) && is_told(&group->addr) &&
            (is_general || foyer_addr_eq(&group->addr, &query->group)))
            sooner(&group->answer_ns, now + ip_random_ms(host, 1, max_ms));
    }
    arm(host);
}

/* RFC 2236 section 3, RFC 2710 section 4: another member has said it. */
static void report_input(struct foyer_host *host, const struct foyer_addr *addr, foyer_time_ns now)
{
    struct group *group = group_find(host, addr);
    if (group != NULL && !is_current(host, foyer_addr_is_v4(addr), now))
        group->answer_ns = FOYER_TIME_NEVER;
}

void igmp_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now)
{
    struct wire_membership igmp;
    int parsed = rx->transport_contiguous == rx->size
                     ? wire_igmp_parse(rx->transport, rx->size, &igmp)
                     : -EINVAL;
    if (parsed == -EBADMSG) {
        host->stats.in_dropped_checksum++;
        return;
    }
    /* RFC 9776 sections 4 and 9.1: from this link, to the group in question or to all. */
    bool is_general = parsed == 0 && foyer_addr_is_any(&igmp.group);
    if (parsed < 0 || rx->ttl != 1 ||
        !(group_is_everybodys(&rx->dst) || (!is_general && foyer_addr_eq(&rx->dst, &igmp.group)))) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (igmp.type == WIRE_IGMP_QUERY)
        query_input(host, &igmp, true, now);
    else
        report_input(host, &igmp.group, now);
}

/* RFC 9777 section 6.2 wants the Router Alert option in what is sent to MLD. */
static bool has_router_alert(const struct rx *rx)
{
    const uint8_t *ip = rx->ip_header;
    if (rx->ip_contiguous < WIRE_IPV6_SIZE + 8 || ip[6] != 0)
        return false;
    size_t end = WIRE_IPV6_SIZE + 8 + (size_t)ip[WIRE_IPV6_SIZE + 1] * 8;
    if (end > rx->ip_contiguous)
        return false;
    for (size_t at = WIRE_IPV6_SIZE + 2; at + 1 < end; at += ip[at] == 0 ? 1 : 2u + ip[at + 1]) {
        if (ip[at] == 5)
            return true;
    }
    return false;
}

void mld_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now)
{
    struct wire_membership mld;
    if (rx->transport_contiguous != rx->size || rx->ttl != 1 || !has_router_alert(rx) ||
        wire_mld_parse(rx->transport, rx->size, &mld) < 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (mld.type == WIRE_MLD_REPORT_V1)
        report_input(host, &mld.group, now);
    else if (foyer_addr_is_link_local_v6(&rx->src)) /* RFC 9777 section 5.1.14, MUST */
        query_input(host, &mld, false, now);
    else
        host->stats.in_dropped_malformed++;
}

/* ---- the host's own groups --------------------------------------------------------------------------------- */

void group_own_join(struct foyer_host *host, const struct foyer_addr *unicast)
{
    if (foyer_addr_is_v4(unicast))
        return;
    struct foyer_addr addr = ip_solicited_node(unicast);
    struct group *group = group_get(host, &addr);
    if (group == NULL)
        return; /* heard nevertheless, only not told of */
    bool was_wanted = is_wanted(group);
    group->own_count++;
    if (!was_wanted && (host->config.behaviour & (FOYER_HOST_SLAAC | FOYER_HOST_ANNOUNCE)))
        changed(host, group, host->now_ns);
}

void group_own_leave(struct foyer_host *host, const struct foyer_addr *unicast)
{
    struct foyer_addr addr = ip_solicited_node(unicast);
    struct group *group = foyer_addr_is_v4(unicast) ? NULL : group_find(host, &addr);
    if (group == NULL || group->own_count == 0)
        return;
    group->own_count--;
    if (is_wanted(group))
        return;
    if (host->config.behaviour & (FOYER_HOST_SLAAC | FOYER_HOST_ANNOUNCE))
        changed(host, group, host->now_ns);
    else
        group_free(host, group);
}

/* ---- sockets' groups ------------------------------------------------------------------------------------------ */

static struct membership *find_membership(const struct group *group, const struct sock *sock)
{
    LIST_FOREACH (&group->members, node) {
        struct membership *membership = LIST_ENTRY(node, struct membership, node);
        if (membership->sock == sock)
            return membership;
    }
    return NULL;
}

static int check_socket(const struct sock *sock, const struct foyer_addr *addr)
{
    if (sock == NULL)
        return -EBADF;
    if (sock->protocol != FOYER_UDP)
        return -EOPNOTSUPP;
    bool is_v4 = foyer_addr_is_v4(addr);
    if (!addr_is_spoken(addr) || !foyer_addr_is_multicast(addr) ||
        (is_v4 && (sock->flags & SOCK_V6ONLY)) || (!is_v4 && sock->family == FOYER_FAMILY_V4))
        return -EINVAL;
    return 0;
}

int foyer_socket_join_group(struct foyer_host *host, foyer_socket socket,
                            const struct foyer_addr *addr, foyer_time_ns now)
{
    host_begin(host, now);
    struct sock *sock = sock_from_handle(host, socket);
    int error = check_socket(sock, addr);
    if (error != 0)
        return error;
    struct group *group = group_find(host, addr);
    if (group != NULL && find_membership(group, sock) != NULL)
        return -EADDRINUSE;
    if (sock->membership_count == MEMBERSHIPS_MAX ||
        (group == NULL && host->group_count == GROUPS_MAX))
        return -ENOBUFS;
    struct membership *membership = host_alloc(host, sizeof(*membership));
    if (membership != NULL)
        group = group_get(host, addr);
    if (membership == NULL || group == NULL) {
        host_free(host, membership, sizeof(*membership));
        return -ENOMEM;
    }
    bool was_wanted = is_wanted(group);
    membership->sock = sock;
    list_push_back(&group->members, &membership->node);
    sock->membership_count++;
    if (!was_wanted)
        changed(host, group, host->now_ns);
    return 0;
}

static void leave(struct foyer_host *host, struct group *group, struct membership *membership)
{
    membership->sock->membership_count--;
    list_remove(&membership->node);
    host_free(host, membership, sizeof(*membership));
    if (!is_wanted(group))
        changed(host, group, host->now_ns);
}

int foyer_socket_leave_group(struct foyer_host *host, foyer_socket socket,
                             const struct foyer_addr *addr, foyer_time_ns now)
{
    host_begin(host, now);
    struct sock *sock = sock_from_handle(host, socket);
    int error = check_socket(sock, addr);
    if (error != 0)
        return error;
    struct group *group = group_find(host, addr);
    struct membership *membership = group != NULL ? find_membership(group, sock) : NULL;
    if (membership == NULL)
        return -EADDRNOTAVAIL;
    leave(host, group, membership);
    return 0;
}

void group_leave_all(struct foyer_host *host, struct sock *sock)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&host->groups);
         node != NULL && sock->membership_count > 0; node = next) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        next = list_next(&host->groups, node);
        struct membership *membership = find_membership(group, sock);
        if (membership != NULL)
            leave(host, group, membership);
    }
}
