/*
 * What multicast routers and snooping switches are told of the host's groups: IGMPv3 (RFC 9776, before
 * it RFC 3376) and MLDv2 (RFC 9777, before it RFC 3810), and their predecessors while a querier that
 * speaks no better was heard.
 *
 *     group_changed -> a report at once, repeated within a second (the first may be lost)
 *     query         -> a report after a random while, so that not all hosts speak together
 */
#include <errno.h>

#include "stack/group.h"
#include "stack/ip.h"

#define UNSOLICITED_INTERVAL_MS 1000u /* RFC 9776 section 8.11, RFC 9777 section 9.11 */
#define QUERY_INTERVAL_S 125u         /* section 8.2: where no query has told it */
#define RESPONSE_INTERVAL_S 10u       /* section 8.3 */
#define RESPONSE_MIN_MS 100u /* so that queries without delay do not make a host a loudspeaker */

static const struct foyer_addr all_igmpv3 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 22}};
static const struct foyer_addr all_routers4 = {
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 224, 0, 0, 2}};
static const struct foyer_addr all_mldv2 = {{0xff, 2, [15] = 0x16}};
static const struct foyer_addr all_routers6 = {{0xff, 2, [15] = 2}};

bool group_is_told(const struct foyer_addr *addr)
{
    return !group_is_everybodys(addr) && (foyer_addr_is_v4(addr) || (addr->bytes[1] & 15) > 1);
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

void group_changed(struct foyer_host *host, struct group *group, foyer_time_ns now)
{
    group->change_ns = now;
    if (!group->is_wanted) {
        group->answer_ns = FOYER_TIME_NEVER;
        group_forget_asked(host, group);
    }
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

static bool is_current(const struct foyer_host *host, bool is_v4, foyer_time_ns now)
{
    return version_of(host, is_v4, now) == (is_v4 ? 3 : 2);
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

/* ---- reports of the current versions ------------------------------------------------------------------ */

/* As many messages as the records need; each is sent when the next record or source has no room. */
struct report {
    struct foyer_host *host;
    const struct foyer_addr *group; /* of the record that was begun last */
    size_t size, limit, record;     /* record: where it begins */
    bool is_v4;
    uint8_t type;
    uint8_t bytes[IP6_GROUP_MESSAGE_MAX];
};

static void report_begin(struct report *report, struct foyer_host *host, bool is_v4)
{
    report->host = host;
    report->is_v4 = is_v4;
    size_t header = is_v4 ? WIRE_IPV4_SIZE + 4 : WIRE_IPV6_SIZE + 8;
    size_t mtu = ip_link_mtu(host, is_v4 ? &all_igmpv3 : &all_mldv2);
    report->limit = mtu - header < IP6_GROUP_MESSAGE_MAX ? mtu - header : IP6_GROUP_MESSAGE_MAX;
    report->size = wire_membership_begin(report->bytes, is_v4);
}

static void report_send(struct report *report)
{
    if (report->size == WIRE_MEMBERSHIP_REPORT_SIZE)
        return;
    send_message(report->host, report->is_v4 ? &all_igmpv3 : &all_mldv2, report->bytes,
                 report->size);
    report->size = wire_membership_begin(report->bytes, report->is_v4);
}

/* size: what the record should have room for, sources included. */
static void report_record(struct report *report, uint8_t type, const struct foyer_addr *group,
                          size_t size)
{
    if (report->size + size > report->limit)
        report_send(report);
    report->type = type;
    report->group = group;
    report->record = report->size;
    report->size = wire_membership_add(report->bytes, report->size, type, group);
}

/* RFC 9776 section 4.2.16, RFC 9777 section 5.2.15: what does not fit begins another record, but a list
 * of excluded sources is cut, for two records would contradict each other. [RFC3376 4.2.16a 4.2.16b] */
static void report_source(struct report *report, const struct foyer_addr *source)
{
    size_t need = wire_membership_source_size(report->is_v4);
    if (report->size + need > report->limit) {
        if (report->type == WIRE_GROUP_IS_EXCLUDE || report->type == WIRE_GROUP_TO_EXCLUDE)
            return;
        report_record(report, report->type, report->group, report->limit);
    }
    report->size = wire_membership_add_source(report->bytes, report->size, report->record, source);
}

/* Which of a group's sources a record names. */
struct choice {
    bool is_passed;
    bool is_changed_only;
};

static bool is_chosen(const struct group_source *source, struct choice choice)
{
    return source->is_passed == choice.is_passed &&
           (!choice.is_changed_only || source->changes_left > 0);
}

/* is_needed: also where it names no source. */
static void report_sources(struct report *report, const struct group *group, uint8_t type,
                           struct choice choice, bool is_needed)
{
    size_t count = 0;
    LIST_FOREACH (&group->sources, node)
        count += is_chosen(LIST_ENTRY(node, struct group_source, node), choice);
    if (count == 0 && !is_needed)
        return;
    report_record(report, type, &group->addr,
                  wire_membership_record_size(report->is_v4) +
                      count * wire_membership_source_size(report->is_v4));
    LIST_FOREACH (&group->sources, node) {
        const struct group_source *source = LIST_ENTRY(node, struct group_source, node);
        if (is_chosen(source, choice))
            report_source(report, &source->addr);
    }
}

/* Its mode with what is passed or blocked by it. */
static void report_state(struct report *report, const struct group *group, uint8_t type_include,
                         uint8_t type_exclude)
{
    struct choice choice = {.is_passed = !group->is_exclude};
    report_sources(report, group, group->is_exclude ? type_exclude : type_include, choice, true);
}

/* ---- changes (RFC 9776 section 5.1, RFC 9777 section 6.1) ------------------------------------------------ */

/* [RFC3376 5.1a 5.1b 5.1c] */
static void report_changes(struct foyer_host *host, const struct group *group, bool is_v4)
{
    struct report report;
    report_begin(&report, host, is_v4);
    if (group->mode_changes_left > 0) {
        report_state(&report, group, WIRE_GROUP_TO_INCLUDE, WIRE_GROUP_TO_EXCLUDE);
    } else {
        struct choice allowed = {.is_passed = true, .is_changed_only = true};
        struct choice blocked = {.is_passed = false, .is_changed_only = true};
        report_sources(&report, group, WIRE_GROUP_ALLOW, allowed, false);
        report_sources(&report, group, WIRE_GROUP_BLOCK, blocked, false);
    }
    report_send(&report);
}

static void count_down(uint8_t *left, uint8_t *io_most)
{
    if (*left > 0)
        (*left)--;
    *io_most = *left > *io_most ? *left : *io_most;
}

static void send_change(struct foyer_host *host, struct group *group, foyer_time_ns now)
{
    bool is_v4 = foyer_addr_is_v4(&group->addr);
    uint8_t left = 0;
    if (is_current(host, is_v4, now)) {
        report_changes(host, group, is_v4);
    } else if (group->presence_changes_left > 0) {
        send_old(host, group, version_of(host, is_v4, now), !group->is_wanted);
        if (!group->is_wanted)
            group->presence_changes_left = 1; /* RFC 2236 section 3: once */
    }
    LIST_FOREACH (&group->sources, node)
        count_down(&LIST_ENTRY(node, struct group_source, node)->changes_left, &left);
    count_down(&group->mode_changes_left, &left);
    count_down(&group->presence_changes_left, &left);
    group->change_ns =
        left > 0 ? now + ip_random_ms(host, 1, UNSOLICITED_INTERVAL_MS) : FOYER_TIME_NEVER;
}

/* ---- answers (RFC 9776 section 5.2, RFC 9777 section 6.2 and 6.3) ------------------------------------------ */

/* About the sources that were asked for: [RFC3376 5.2f] INCLUDE (A): A*B, EXCLUDE (A): B-A. */
static void report_asked(struct report *report, const struct group *group)
{
    bool has_record = false;
    for (uint32_t i = 0; i < group->asked->count; i++) {
        if (!group_passes(group, &group->asked->sources[i]))
            continue;
        if (!has_record)
            report_record(report, WIRE_GROUP_IS_INCLUDE, &group->addr, report->limit);
        has_record = true;
        report_source(report, &group->asked->sources[i]);
    }
}

static void send_answer(struct foyer_host *host, struct group *group, foyer_time_ns now)
{
    bool is_v4 = foyer_addr_is_v4(&group->addr);
    group->answer_ns = FOYER_TIME_NEVER;
    if (!is_current(host, is_v4, now)) {
        send_old(host, group, version_of(host, is_v4, now), false);
    } else {
        struct report report;
        report_begin(&report, host, is_v4);
        if (group->asked != NULL)
            report_asked(&report, group);
        else
            report_state(&report, group, WIRE_GROUP_IS_INCLUDE, WIRE_GROUP_IS_EXCLUDE);
        report_send(&report);
    }
    group_forget_asked(host, group);
}

/* All groups of the family, in as few reports as hold them. */
static void send_general_answer(struct foyer_host *host, bool is_v4)
{
    struct report report;
    report_begin(&report, host, is_v4);
    LIST_FOREACH (&host->groups, node) {
        const struct group *group = LIST_ENTRY(node, struct group, node);
        if (foyer_addr_is_v4(&group->addr) == is_v4 && group->is_wanted &&
            group_is_told(&group->addr))
            report_state(&report, group, WIRE_GROUP_IS_INCLUDE, WIRE_GROUP_IS_EXCLUDE);
    }
    report_send(&report);
}

void group_timer(struct foyer_host *host, foyer_time_ns now)
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        if (host->general_answer_ns[v6] <= now) {
            host->general_answer_ns[v6] = FOYER_TIME_NEVER;
            send_general_answer(host, v6 == 0);
        }
    }
    LIST_FOREACH_SAFE (&host->groups, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        if (group->answer_ns <= now)
            send_answer(host, group, now);
        if (group->change_ns <= now)
            send_change(host, group, now);
        group_tidy(host, group);
    }
    arm(host);
}

void group_tell_all_v6(struct foyer_host *host, foyer_time_ns now)
{
    /* [RFC3810 5.2.13b] */
    if (is_current(host, false, now)) {
        host->general_answer_ns[1] = now;
    } else {
        LIST_FOREACH (&host->groups, node) {
            struct group *group = LIST_ENTRY(node, struct group, node);
            if (!foyer_addr_is_v4(&group->addr) && group->is_wanted && group_is_told(&group->addr))
                group->answer_ns = now;
        }
    }
    arm(host);
}

/* ---- queries and others' reports ------------------------------------------------------------------------ */

/* RFC 9776 section 7.2.1: what was to be said in the newer version is not said any more. */
static void cancel_all(struct foyer_host *host, bool is_v4)
{
    host->general_answer_ns[!is_v4] = FOYER_TIME_NEVER;
    LIST_FOREACH_SAFE (&host->groups, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        if (foyer_addr_is_v4(&group->addr) != is_v4)
            continue;
        group->answer_ns = group->change_ns = FOYER_TIME_NEVER;
        group->mode_changes_left = group->presence_changes_left = 0;
        LIST_FOREACH (&group->sources, at)
            LIST_ENTRY(at, struct group_source, node)->changes_left = 0;
        group_forget_asked(host, group);
        group_tidy(host, group);
    }
}

static void note_querier(struct foyer_host *host, bool is_v4, const struct wire_membership *query,
                         foyer_time_ns now)
{
    unsigned version_before = version_of(host, is_v4, now);
    if (query->query_interval_s > 0)
        host->query_interval_s[!is_v4] = query->query_interval_s;
    if (query->version >= (is_v4 ? 3u : 2u))
        return;
    /* [RFC3376 8.12a] [RFC3810 9.12a] */
    uint32_t interval_s =
        host->query_interval_s[!is_v4] != 0 ? host->query_interval_s[!is_v4] : QUERY_INTERVAL_S;
    unsigned slot = is_v4 ? query->version - 1 : 2;
    host->old_querier_until_ns[slot] =
        now + (GROUP_ROBUSTNESS * interval_s + RESPONSE_INTERVAL_S) * FOYER_NS_PER_S;
    if (version_of(host, is_v4, now) != version_before)
        cancel_all(host, is_v4);
}

/* RFC 9776 section 9.2 lets a host remember few sources, and answer with more than it was asked for. */
static void remember_asked(struct foyer_host *host, struct group *group,
                           const struct wire_membership *query)
{
    if (group->asked == NULL)
        group->asked = host_alloc(host, sizeof(*group->asked));
    for (uint32_t i = 0; i < query->source_count && group->asked != NULL; i++) {
        if (group->asked->count == GROUP_ASKED_MAX)
            group_forget_asked(host, group);
        else
            group->asked->sources[group->asked->count++] = wire_membership_source(query, i);
    }
}

/* [RFC3376 5.2b 5.2c 5.2d] */
static void schedule_answer(struct foyer_host *host, struct group *group,
                            const struct wire_membership *query, foyer_time_ns wanted)
{
    bool is_pending = group->answer_ns != FOYER_TIME_NEVER;
    if (query->source_count == 0)
        group_forget_asked(host, group);
    else if (!is_pending || group->asked != NULL)
        remember_asked(host, group, query);
    if (wanted < group->answer_ns)
        group->answer_ns = wanted;
}

static void query_input(struct foyer_host *host, const struct wire_membership *query, bool is_v4,
                        foyer_time_ns now)
{
    uint32_t max_ms =
        query->max_response_ms > RESPONSE_MIN_MS ? query->max_response_ms : RESPONSE_MIN_MS;
    bool is_general = foyer_addr_is_any(&query->group);
    note_querier(host, is_v4, query, now);
    foyer_time_ns wanted = now + ip_random_ms(host, 1, max_ms);
    if (host->general_answer_ns[!is_v4] <= wanted)
        return; /* [RFC3376 5.2a] */
    if (is_general && is_current(host, is_v4, now)) {
        host->general_answer_ns[!is_v4] = wanted;
        arm(host);
        return;
    }
    LIST_FOREACH (&host->groups, node) {
        struct group *group = LIST_ENTRY(node, struct group, node);
        if (foyer_addr_is_v4(&group->addr) != is_v4 || !group->is_wanted ||
            !group_is_told(&group->addr))
            continue;
        if (is_general)
            wanted = now + ip_random_ms(host, 1, max_ms);
        if (is_general || foyer_addr_eq(&group->addr, &query->group))
            schedule_answer(host, group, query, wanted);
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

/* [RFC3376 4.1.12a 4.2.14a] Whatever address of ours it was sent to, but [RFC3376 9.1b]. */
static bool is_sent_right(const struct rx *rx, const struct wire_membership *igmp)
{
    bool is_general_query = igmp->type == WIRE_IGMP_QUERY && foyer_addr_is_any(&igmp->group);
    return !is_general_query || !foyer_addr_is_multicast(&rx->dst) || group_is_everybodys(&rx->dst);
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
    /* RFC 9776 sections 4 and 9.1: from this link. */
    if (parsed < 0 || rx->ttl != 1 || !is_sent_right(rx, &igmp)) {
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
