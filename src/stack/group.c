/*
 * Groups: who of the host's sockets listens to which, and to which sources in it.
 *
 *     socket's call -> set_filter (the member's own list) -> update (the interface's state of the
 *     group) -> group_changed (group_report.c: routers are told)
 *
 * Each member has a filter: INCLUDE of some sources or EXCLUDE of some (RFC 9776 section 3.1). Of
 * each source that is named, the group counts by whom, so that the interface's state (section 3.2)
 * is known without going through the members.
 *
 * The host itself listens to the solicited-node groups of its addresses. It answers for them, and
 * announces them where it lives among strangers (enum foyer_host_behaviour); reception does not
 * depend on their entries here.
 */
#include "stack/group.h"

#include <errno.h>

#include "stack/ip.h"

#define GROUPS_MAX 256u
#define GROUP_SOURCES_MAX 256u /* all members' together */
#define MEMBERSHIPS_MAX 32u    /* per socket; Linux allows 20 */

/* What a socket wants of a group. */
struct filter {
    bool is_exclude;
    uint8_t count;
    struct foyer_addr sources[FOYER_GROUP_SOURCES_MAX];
};

/* ---- the table ------------------------------------------------------------------------------------ */

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

void group_forget_asked(struct foyer_host *host, struct group *group)
{
    host_free(host, group->asked, sizeof(*group->asked));
    group->asked = NULL;
}

static void group_free(struct foyer_host *host, struct group *group)
{
    struct list_node *node;
    while ((node = list_pop_front(&group->sources)) != NULL)
        host_free(host, LIST_ENTRY(node, struct group_source, node), sizeof(struct group_source));
    group_forget_asked(host, group);
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
    list_init(&group->sources);
    list_push_back(&host->groups, &group->node);
    host->group_count++;
    return group;
}

void group_tidy(struct foyer_host *host, struct group *group)
{
    LIST_FOREACH_SAFE (&group->sources, node) {
        struct group_source *source = LIST_ENTRY(node, struct group_source, node);
        if (source->include_count > 0 || source->exclude_count > 0 || source->changes_left > 0)
            continue;
        list_remove(&source->node);
        group->source_count--;
        host_free(host, source, sizeof(*source));
    }
    if (!group->is_wanted && group->mode_changes_left == 0 && group->presence_changes_left == 0 &&
        list_is_empty(&group->sources) && list_is_empty(&group->members))
        group_free(host, group);
}

/* ---- the interface's state (RFC 9776 section 3.2, RFC 9777 section 4.2) ------------------------------ */

static struct group_source *source_find(const struct group *group, const struct foyer_addr *addr)
{
    LIST_FOREACH (&group->sources, node) {
        struct group_source *source = LIST_ENTRY(node, struct group_source, node);
        if (foyer_addr_eq(&source->addr, addr))
            return source;
    }
    return NULL;
}

/* Nobody counts it yet. NULL: no memory, or more sources than a group may have. */
static struct group_source *source_get(struct foyer_host *host, struct group *group,
                                       const struct foyer_addr *addr)
{
    struct group_source *source = source_find(group, addr);
    if (source != NULL || group->source_count == GROUP_SOURCES_MAX)
        return source;
    source = host_alloc(host, sizeof(*source));
    if (source == NULL)
        return NULL;
    source->addr = *addr;
    source->is_passed = group->is_exclude;
    list_push_back(&group->sources, &source->node);
    group->source_count++;
    return source;
}

static bool is_passed(const struct group *group, const struct group_source *source)
{
    uint32_t any_source_count = group->own_count + group->exclude_count;
    /* [RFC3376 3.2a 3.2b] EXCLUDE: what all exclude who exclude anything, but what somebody includes. */
    return source->include_count > 0 ||
           (any_source_count > 0 && source->exclude_count < any_source_count);
}

bool group_passes(const struct group *group, const struct foyer_addr *addr)
{
    const struct group_source *source = source_find(group, addr);
    return source != NULL ? source->is_passed : group->is_exclude;
}

/*
 * After members came, went or changed their minds. is_silent: routers need not know.
 * May free the group.
 */
static void update(struct foyer_host *host, struct group *group, bool is_silent)
{
    bool is_wanted = group->own_count > 0 || !list_is_empty(&group->members);
    bool is_exclude = group->own_count + group->exclude_count > 0;
    bool is_news = false;
    uint8_t robustness = is_silent || !group_is_told(&group->addr) ? 0 : GROUP_ROBUSTNESS;
    if (is_exclude != group->is_exclude) {
        group->mode_changes_left = robustness;
        is_news = true;
    }
    if (is_wanted != group->is_wanted)
        group->presence_changes_left = robustness;
    LIST_FOREACH (&group->sources, node) {
        struct group_source *source = LIST_ENTRY(node, struct group_source, node);
        bool passes = is_passed(group, source);
        if (passes != source->is_passed) {
            source->changes_left = robustness;
            is_news = true;
        }
        source->is_passed = passes;
    }
    group->is_exclude = is_exclude;
    group->is_wanted = is_wanted;
    if (is_news && robustness > 0)
        group_changed(host, group, host->now_ns);
    else
        group_tidy(host, group);
}

/* ---- the host's own groups --------------------------------------------------------------------------------- */

static bool is_announced(const struct foyer_host *host)
{
    return (host->config.behaviour & (FOYER_HOST_SLAAC | FOYER_HOST_ANNOUNCE)) != 0;
}

void group_own_join(struct foyer_host *host, const struct foyer_addr *unicast)
{
    if (foyer_addr_is_v4(unicast))
        return;
    struct foyer_addr addr = ip_solicited_node(unicast);
    struct group *group = group_get(host, &addr);
    if (group == NULL)
        return; /* heard nevertheless, only not told of */
    group->own_count++;
    update(host, group, !is_announced(host));
}

void group_own_leave(struct foyer_host *host, const struct foyer_addr *unicast)
{
    struct foyer_addr addr = ip_solicited_node(unicast);
    struct group *group = foyer_addr_is_v4(unicast) ? NULL : group_find(host, &addr);
    if (group == NULL || group->own_count == 0)
        return;
    group->own_count--;
    update(host, group, !is_announced(host));
}

/* ---- members ------------------------------------------------------------------------------------------------- */

static struct membership *membership_find(const struct group *group, const struct sock *sock)
{
    LIST_FOREACH (&group->members, node) {
        struct membership *membership = LIST_ENTRY(node, struct membership, node);
        if (membership->sock == sock)
            return membership;
    }
    return NULL;
}

bool group_has_member(const struct group *group, const struct sock *sock)
{
    return sock->membership_count > 0 && membership_find(group, sock) != NULL;
}

static bool has_source(const struct foyer_addr *sources, uint32_t count,
                       const struct foyer_addr *addr)
{
    for (uint32_t i = 0; i < count; i++) {
        if (foyer_addr_eq(&sources[i], addr))
            return true;
    }
    return false;
}

bool membership_passes(const struct membership *membership, const struct foyer_addr *source)
{
    return has_source(membership->sources, membership->source_count, source) !=
           membership->is_exclude;
}

/* Adds the member's list to the group's counts, or takes it away: by is 1 or -1. */
static void count_member(struct group *group, const struct membership *membership, int by)
{
    if (membership->is_exclude)
        group->exclude_count += (uint32_t)by;
    for (uint32_t i = 0; i < membership->source_count; i++) {
        struct group_source *source = source_find(group, &membership->sources[i]);
        if (membership->is_exclude)
            source->exclude_count += (uint32_t)by;
        else
            source->include_count += (uint32_t)by;
    }
}

static void membership_free(struct foyer_host *host, struct membership *membership)
{
    host_free(host, membership->sources, membership->source_count * sizeof(struct foyer_addr));
    host_free(host, membership, sizeof(*membership));
}

static void leave(struct foyer_host *host, struct group *group, struct membership *membership)
{
    membership->sock->membership_count--;
    list_remove(&membership->node);
    count_member(group, membership, -1);
    membership_free(host, membership);
    update(host, group, false);
}

/* A copy of the filter that is not the group's yet, with a place for each source in the group. */
static struct membership *membership_create(struct foyer_host *host, struct group *group,
                                            struct sock *sock, const struct filter *filter)
{
    size_t size = filter->count * sizeof(struct foyer_addr);
    struct membership *membership = host_alloc(host, sizeof(*membership));
    if (membership == NULL)
        return NULL;
    membership->sock = sock;
    membership->is_exclude = filter->is_exclude;
    if (size > 0) {
        membership->sources = host_alloc(host, size);
        if (membership->sources == NULL) {
            membership_free(host, membership);
            return NULL;
        }
        membership->source_count = filter->count;
        memcpy(membership->sources, filter->sources, size);
    }
    for (uint32_t i = 0; i < filter->count; i++) {
        if (source_get(host, group, &filter->sources[i]) == NULL) {
            membership_free(host, membership);
            return NULL;
        }
    }
    return membership;
}

/* RFC 9776 section 2, IPMulticastListen: what the socket wants of the group from now on. */
static int set_filter(struct foyer_host *host, struct sock *sock, const struct foyer_addr *addr,
                      const struct filter *filter)
{
    struct group *group = group_find(host, addr);
    struct membership *old = group != NULL ? membership_find(group, sock) : NULL;
    if (!filter->is_exclude && filter->count == 0) {
        if (old == NULL)
            return -EADDRNOTAVAIL;
        leave(host, group, old);
        return 0;
    }
    if ((old == NULL && sock->membership_count == MEMBERSHIPS_MAX) ||
        (group == NULL && host->group_count == GROUPS_MAX))
        return -ENOBUFS;
    group = group_get(host, addr);
    if (group == NULL)
        return -ENOMEM;
    struct membership *membership = membership_create(host, group, sock, filter);
    if (membership == NULL) {
        /* [RFC3376 3.2c] The old filter stands. */
        int error = group->source_count == GROUP_SOURCES_MAX ? -ENOBUFS : -ENOMEM;
        group_tidy(host, group);
        return error;
    }
    if (old != NULL) {
        list_remove(&old->node);
        count_member(group, old, -1);
        membership_free(host, old);
    } else {
        sock->membership_count++;
    }
    list_push_back(&group->members, &membership->node);
    count_member(group, membership, 1);
    update(host, group, false);
    return 0;
}

void group_leave_all(struct foyer_host *host, struct sock *sock)
{
    LIST_FOREACH_SAFE (&host->groups, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        struct membership *membership = membership_find(group, sock);
        if (membership != NULL)
            leave(host, group, membership);
        if (sock->membership_count == 0)
            return;
    }
}

/* ---- sockets' calls -------------------------------------------------------------------------------------------- */

/* The socket, and what it wants of the group so far: INCLUDE of nothing where it is no member. */
static int look_up(struct foyer_host *host, foyer_socket socket, const struct foyer_addr *addr,
                   struct sock **ret_sock, struct filter *ret_filter)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (!PROTOCOL_IS_UDP(sock->protocol))
        return -EOPNOTSUPP;
    bool is_v4 = foyer_addr_is_v4(addr);
    if (!addr_is_spoken(addr) || !foyer_addr_is_multicast(addr) ||
        (is_v4 && (sock->flags & SOCK_V6ONLY)) || (!is_v4 && sock->family == FOYER_FAMILY_V4))
        return -EINVAL;
    const struct group *group = group_find(host, addr);
    const struct membership *membership = group != NULL ? membership_find(group, sock) : NULL;
    *ret_sock = sock;
    ret_filter->is_exclude = membership != NULL && membership->is_exclude;
    ret_filter->count = membership != NULL ? membership->source_count : 0;
    if (ret_filter->count > 0)
        memcpy(ret_filter->sources, membership->sources,
               ret_filter->count * sizeof(struct foyer_addr));
    return 0;
}

static bool is_member(const struct filter *filter)
{
    return filter->is_exclude || filter->count > 0;
}

static bool is_source_for(const struct foyer_addr *group, const struct foyer_addr *source)
{
    return addr_is_spoken(source) && foyer_addr_is_v4(source) == foyer_addr_is_v4(group) &&
           !foyer_addr_is_any(source) && !foyer_addr_is_multicast(source);
}

int foyer_socket_join_group(struct foyer_host *host, foyer_socket socket,
                            const struct foyer_addr *addr, foyer_time_ns now)
{
    struct filter filter;
    struct sock *sock;
    host_begin(host, now);
    int error = look_up(host, socket, addr, &sock, &filter);
    if (error != 0)
        return error;
    if (is_member(&filter))
        return -EADDRINUSE;
    filter.is_exclude = true;
    return set_filter(host, sock, addr, &filter);
}

int foyer_socket_leave_group(struct foyer_host *host, foyer_socket socket,
                             const struct foyer_addr *addr, foyer_time_ns now)
{
    struct filter filter;
    struct sock *sock;
    host_begin(host, now);
    int error = look_up(host, socket, addr, &sock, &filter);
    if (error != 0)
        return error;
    filter.is_exclude = false;
    filter.count = 0;
    return set_filter(host, sock, addr, &filter);
}

static int add_source(struct filter *filter, const struct foyer_addr *source)
{
    if (has_source(filter->sources, filter->count, source))
        return -EADDRNOTAVAIL;
    if (filter->count == FOYER_GROUP_SOURCES_MAX)
        return -ENOBUFS; /* [RFC3376 3.1a] */
    filter->sources[filter->count++] = *source;
    return 0;
}

static int remove_source(struct filter *filter, const struct foyer_addr *source)
{
    for (uint32_t i = 0; i < filter->count; i++) {
        if (!foyer_addr_eq(&filter->sources[i], source))
            continue;
        filter->sources[i] = filter->sources[--filter->count];
        return 0;
    }
    return -EADDRNOTAVAIL;
}

/* One source in or out of a list of the mode (RFC 3678 section 4.1.2 and 4.1.3). */
static int change_source(struct foyer_host *host, foyer_socket socket,
                         const struct foyer_addr *addr, const struct foyer_addr *source,
                         bool is_exclude, bool is_added)
{
    struct filter filter;
    struct sock *sock;
    int error = look_up(host, socket, addr, &sock, &filter);
    if (error != 0)
        return error;
    if (!is_source_for(addr, source))
        return -EINVAL;
    bool is_joining = is_added && !is_exclude;
    /* As on Linux: who listens to any source may begin to name those that it wants. */
    if (is_joining && filter.count == 0)
        filter.is_exclude = false;
    if (filter.is_exclude != is_exclude || (!is_member(&filter) && !is_joining))
        return -EINVAL;
    error = is_added ? add_source(&filter, source) : remove_source(&filter, source);
    return error != 0 ? error : set_filter(host, sock, addr, &filter);
}

int foyer_socket_join_source(struct foyer_host *host, foyer_socket socket,
                             const struct foyer_addr *group, const struct foyer_addr *source,
                             foyer_time_ns now)
{
    host_begin(host, now);
    return change_source(host, socket, group, source, false, true);
}

int foyer_socket_leave_source(struct foyer_host *host, foyer_socket socket,
                              const struct foyer_addr *group, const struct foyer_addr *source,
                              foyer_time_ns now)
{
    host_begin(host, now);
    return change_source(host, socket, group, source, false, false);
}

int foyer_socket_block_source(struct foyer_host *host, foyer_socket socket,
                              const struct foyer_addr *group, const struct foyer_addr *source,
                              foyer_time_ns now)
{
    host_begin(host, now);
    return change_source(host, socket, group, source, true, true);
}

int foyer_socket_unblock_source(struct foyer_host *host, foyer_socket socket,
                                const struct foyer_addr *group, const struct foyer_addr *source,
                                foyer_time_ns now)
{
    host_begin(host, now);
    return change_source(host, socket, group, source, true, false);
}

int foyer_socket_set_source_filter(struct foyer_host *host, foyer_socket socket,
                                   const struct foyer_addr *group, enum foyer_filter_mode mode,
                                   const struct foyer_addr *sources, size_t count,
                                   foyer_time_ns now)
{
    struct filter filter;
    struct sock *sock;
    host_begin(host, now);
    int error = look_up(host, socket, group, &sock, &filter);
    if (error != 0)
        return error;
    if (mode != FOYER_FILTER_INCLUDE && mode != FOYER_FILTER_EXCLUDE)
        return -EINVAL;
    filter.is_exclude = mode == FOYER_FILTER_EXCLUDE;
    filter.count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_source_for(group, &sources[i]))
            return -EINVAL;
        /* Twice the same is once. */
        if (add_source(&filter, &sources[i]) == -ENOBUFS)
            return -ENOBUFS;
    }
    return set_filter(host, sock, group, &filter);
}

int foyer_socket_source_filter(struct foyer_host *host, foyer_socket socket,
                               const struct foyer_addr *group, enum foyer_filter_mode *ret_mode,
                               struct foyer_addr *ret_sources, size_t max)
{
    struct filter filter;
    struct sock *sock;
    int error = look_up(host, socket, group, &sock, &filter);
    if (error != 0)
        return error;
    if (!is_member(&filter))
        return -EADDRNOTAVAIL;
    *ret_mode = filter.is_exclude ? FOYER_FILTER_EXCLUDE : FOYER_FILTER_INCLUDE;
    for (size_t i = 0; i < filter.count && i < max; i++)
        ret_sources[i] = filter.sources[i];
    return filter.count;
}
