/*
 * Sorted lists of byte ranges, used for the out-of-order bytes of a receiver. A list begins in a
 * unit of the host's pool (see tcp_host.h) and asks the allocator only for the many holes that a
 * sender makes when it overruns a queue.
 *
 * Every call is O(ranges); what is newest, beyond all others, is found first.
 */
#include <assert.h>
#include <errno.h>

#include "stack/tcp.h"

static_assert(sizeof(struct tcp_ranges) <= TCP_UNIT_BYTES, "a list begins in one unit");

int tcp_host_init(struct foyer_host *host)
{
    memset(&host->tcp, 0, sizeof(host->tcp));
    host->tcp.challenge_tokens = TCP_CHALLENGES_PER_S;
    host->tcp.challenge_refilled_ns = host->now_ns;
    host->tcp.units_timer.kind = TIMER_UNITS;
    for (uint32_t i = 0; i < TCP_UNITS_MIN; i++) {
        if (!tcp_unit_pool_grow(host))
            return -ENOMEM;
    }
    return 0;
}

void tcp_host_finish(struct foyer_host *host)
{
    tcp_unit_pool_finish(host);
}

bool tcp_ranges_need(struct foyer_host *host, struct tcb *tcb)
{
    if (tcb->out_of_order != NULL)
        return true;
    struct tcp_ranges *ranges = tcp_unit_take(host);
    if (ranges == NULL)
        return false;
    ranges->host = host;
    ranges->range = ranges->few;
    ranges->capacity = TCP_RANGES_FEW;
    ranges->count = 0;
    ranges->recent_count = 0;
    tcb->out_of_order = ranges;
    return true;
}

static void free_array(struct tcp_ranges *ranges)
{
    if (ranges->range != ranges->few)
        host_free(ranges->host, ranges->range, ranges->capacity * sizeof(struct tcp_range));
}

void tcp_ranges_drop(struct foyer_host *host, struct tcb *tcb)
{
    tcb->flags &= ~(uint32_t)(TCPF_DSACK | TCPF_FIN_AHEAD);
    if (tcb->out_of_order == NULL)
        return;
    free_array(tcb->out_of_order);
    tcp_unit_give(host, tcb->out_of_order);
    tcb->out_of_order = NULL;
}

void tcp_ranges_give_if_empty(struct foyer_host *host, struct tcb *tcb)
{
    if (!tcp_has_gaps(tcb) && (tcb->flags & (TCPF_DSACK | TCPF_FIN_AHEAD)) == 0)
        tcp_ranges_drop(host, tcb);
}

void tcp_ranges_note_dsack(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end)
{
    if ((tcb->flags & TCPF_SACK_OK) == 0 || !tcp_ranges_need(host, tcb))
        return;
    tcb->out_of_order->dsack = (struct tcp_range){start, end};
    tcb->flags |= TCPF_DSACK;
}

static bool grow(struct tcp_ranges *ranges)
{
    uint32_t capacity = ranges->capacity * 4;

    if (capacity > TCP_RANGES_MAX)
        capacity = TCP_RANGES_MAX;
    if (capacity <= ranges->capacity)
        return false;
    struct tcp_range *more = host_alloc_raw(ranges->host, capacity * sizeof(struct tcp_range));
    if (more == NULL)
        return false;
    memcpy(more, ranges->range, ranges->count * sizeof(struct tcp_range));
    free_array(ranges);
    ranges->range = more;
    ranges->capacity = capacity;
    return true;
}

/* Moves (or enters) the range that holds seq to the front of the recently changed ones. */
static void note_recent(struct tcp_ranges *ranges, const struct tcp_range *changed, seq_t seq)
{
    seq_t kept[TCP_RECENT_MAX];
    uint32_t count = 0;

    kept[count++] = seq;
    for (uint32_t i = 0; i < ranges->recent_count && count < TCP_RECENT_MAX; i++) {
        bool is_inside =
            seq_ge(ranges->recent[i], changed->start) && seq_lt(ranges->recent[i], changed->end);
        if (!is_inside)
            kept[count++] = ranges->recent[i];
    }
    memcpy(ranges->recent, kept, count * sizeof(kept[0]));
    ranges->recent_count = count;
}

bool tcp_ranges_add(struct tcp_ranges *ranges, seq_t start, seq_t end)
{
    struct tcp_range *range = ranges->range;
    uint32_t first, last = ranges->count;

    if (!seq_lt(start, end))
        return true;
    /* first .. last - 1 touch the new range and become one with it. */
    while (last > 0 && seq_gt(range[last - 1].start, end))
        last--;
    for (first = last; first > 0 && seq_ge(range[first - 1].end, start); first--)
        ;
    if (first == last) {
        if (ranges->count == ranges->capacity && !grow(ranges))
            return false;
        range = ranges->range;
        memmove(&range[first + 1], &range[first], (ranges->count - first) * sizeof(range[0]));
        range[first] = (struct tcp_range){start, end};
        ranges->count++;
    } else {
        range[first].start = seq_min(range[first].start, start);
        range[first].end = seq_max(range[last - 1].end, end);
        memmove(&range[first + 1], &range[last], (ranges->count - last) * sizeof(range[0]));
        ranges->count -= last - first - 1;
    }
    note_recent(ranges, &range[first], start);
    return true;
}

void tcp_ranges_trim(struct tcp_ranges *ranges, seq_t seq)
{
    uint32_t gone = 0;

    while (gone < ranges->count && seq_le(ranges->range[gone].end, seq))
        gone++;
    if (gone > 0) {
        ranges->count -= gone;
        memmove(&ranges->range[0], &ranges->range[gone], ranges->count * sizeof(struct tcp_range));
    }
    if (ranges->count > 0)
        ranges->range[0].start = seq_max(ranges->range[0].start, seq);

    uint32_t kept = 0;
    for (uint32_t i = 0; i < ranges->recent_count; i++) {
        if (seq_ge(ranges->recent[i], seq))
            ranges->recent[kept++] = ranges->recent[i];
    }
    ranges->recent_count = kept;
}

bool tcp_ranges_contains(const struct tcp_ranges *ranges, seq_t start, seq_t end)
{
    uint32_t i = ranges->count;

    while (i > 0 && seq_gt(ranges->range[i - 1].start, start))
        i--;
    return i > 0 && seq_le(end, ranges->range[i - 1].end);
}
