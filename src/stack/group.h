/*
 * Multicast groups: which of the host's sockets listen to which, from which sources (group.c), and
 * what multicast routers are told of it (group_report.c). Both are not there without
 * FOYER_WITH_MULTICAST: who calls them asks first.
 */
#ifndef FOYER_STACK_GROUP_H
#define FOYER_STACK_GROUP_H

#include "stack/stack.h"
#include "wire/membership.h"

/*
 * A source that members name, or that is still to be told of. Lists of sources are short (64 per
 * member, GROUP_SOURCES_MAX per group), so they are searched from end to end.
 */
struct group_source {
    struct list_node node; /* group.sources */
    struct foyer_addr addr;
    uint32_t include_count, exclude_count; /* members that have it in their list, by their mode */
    uint8_t changes_left; /* reports that are still to name it (RFC 9776 section 5.1) */
    bool is_passed;       /* by the interface's filter, as last worked out */
};

/* What one socket listens to: RFC 9776 section 3.1's socket state. INCLUDE of nothing has none. */
struct membership {
    struct list_node node; /* group.members */
    struct sock *sock;
    struct foyer_addr *sources; /* source_count of them; NULL: none */
    uint8_t source_count;
    bool is_exclude;
};

/* Sources that a pending answer is about (section 5.2). More than these: the answer is about all. */
#define GROUP_ASKED_MAX 16u

struct group_asked {
    uint8_t count;
    struct foyer_addr sources[GROUP_ASKED_MAX];
};

struct group {
    struct list_node node;    /* host->groups */
    struct list_node members; /* of struct membership */
    struct list_node sources; /* of struct group_source */
    struct foyer_addr addr;
    uint32_t own_count;     /* addresses whose solicited-node group it is: members for any source */
    uint32_t exclude_count; /* members in mode EXCLUDE, without own_count */
    uint32_t source_count;
    /* The interface's state (section 3.2) as last worked out. */
    bool is_exclude, is_wanted;
    /* How many times the change of its mode is still to be told; to queriers of older versions, that
     * it is wanted or not. */
    uint8_t mode_changes_left, presence_changes_left;
    foyer_time_ns change_ns;   /* when a change is to be told (again) */
    foyer_time_ns answer_ns;   /* when a query is to be answered */
    struct group_asked *asked; /* the answer is about these sources; NULL: about the whole group */
};

/* All hosts of the link: everybody is a member without having joined (route.c). */
bool group_is_everybodys(const struct foyer_addr *addr);

/* ---- group.c ------------------------------------------------------------------------------------ */

void groups_init(struct foyer_host *host);
void groups_finish(struct foyer_host *host); /* all sockets are freed already */
struct group *group_find(const struct foyer_host *host, const struct foyer_addr *addr);
bool group_has_member(const struct group *group, const struct sock *sock);
/* Does the member want what comes from there? */
bool membership_passes(const struct membership *membership, const struct foyer_addr *source);
/* Does anybody? */
bool group_passes(const struct group *group, const struct foyer_addr *source);
/* The solicited-node group of an IPv6 address that comes or goes; others have none. */
void group_own_join(struct foyer_host *host, const struct foyer_addr *unicast);
void group_own_leave(struct foyer_host *host, const struct foyer_addr *unicast);
/* The socket is closed. */
void group_leave_all(struct foyer_host *host, struct sock *sock);
/* Frees what nobody wants and nobody has to be told of any more, perhaps the group itself. */
void group_tidy(struct foyer_host *host, struct group *group);
void group_forget_asked(struct foyer_host *host, struct group *group);

/* ---- group_report.c ------------------------------------------------------------------------------- */

void group_timer(struct foyer_host *host, foyer_time_ns now);
/* The interface's state of the group is another one: to be told now and once more. */
void group_changed(struct foyer_host *host, struct group *group, foyer_time_ns now);
/* What was said before there was a link-local address to say it from, routers have not believed. */
void group_tell_all_v6(struct foyer_host *host, foyer_time_ns now);
/* RFC 9776 section 5, RFC 9777 section 6: all-nodes and what stays inside a host is not told. */
bool group_is_told(const struct foyer_addr *addr);
void igmp_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now);
void mld_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now);

#define GROUP_ROBUSTNESS 2u /* RFC 9776 section 8.1 */

#endif
