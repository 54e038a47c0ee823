/*
 * Sorted lists of byte ranges, and the host's pool of them (see tcp_host.h for why a pool).
 * Used for out-of-order bytes of a receiver.
 * Every call is O(TCP_RANGES_MAX).
 */
#include "stack/tcp.h"

struct tcp_pool_chunk {
    struct tcp_pool_chunk *next;
    struct tcp_ranges ranges[TCP_POOL_MIN];
};

void tcp_pool_grow(struct foyer_host *host)
{
    struct tcp_host *tcp = &host->tcp;

    tcp_board_pool_grow(host);
    if (tcp->ranges_total >= TCP_POOL_MIN + tcp->tcb_count / TCP_POOL_RATIO)
        return;
    struct tcp_pool_chunk *chunk = host_alloc(host, sizeof(*chunk));
    if (chunk == NULL)
        return; /* the next connection tries again; until then the pool serves more of them */
    chunk->next = tcp->chunks;
    tcp->chunks = chunk;
    for (size_t i = 0; i < TCP_POOL_MIN; i++) {
        chunk->ranges[i].next_free = tcp->free_ranges;
        tcp->free_ranges = &chunk->ranges[i];
    }
    tcp->ranges_total += TCP_POOL_MIN;
}

int tcp_host_init(struct foyer_host *host)
{
    memset(&host->tcp, 0, sizeof(host->tcp));
    host->tcp.challenge_tokens = TCP_CHALLENGES_PER_S;
    host->tcp.challenge_refilled_ns = host->now_ns;
    return 0;
}

void tcp_host_finish(struct foyer_host *host)
{
    while (host->tcp.chunks != NULL) {
        struct tcp_pool_chunk *chunk = host->tcp.chunks;
        host->tcp.chunks = chunk->next;
        host_free(host, chunk, sizeof(*chunk));
    }
    host->tcp.free_ranges = NULL;
    host->tcp.ranges_total = 0;
    tcp_board_pool_finish(host);
}

struct tcp_ranges *tcp_ranges_take(struct foyer_host *host)
{
    struct tcp_ranges *ranges = host->tcp.free_ranges;

    if (ranges == NULL)
        return NULL;
    host->tcp.free_ranges = ranges->next_free;
    ranges->next_free = NULL;
    ranges->count = 0;
    ranges->recent_count = 0;
    return ranges;
}

void tcp_ranges_give(struct foyer_host *host, struct tcp_ranges **ranges)
{
    if (*ranges == NULL)
        return;
    (*ranges)->next_free = host->tcp.free_ranges;
    host->tcp.free_ranges = *ranges;
    *ranges = NULL;
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
    uint32_t first = 0, last;

    if (!seq_lt(start, end))
        return true;
    while (first < ranges->count && seq_lt(range[first].end, start))
        first++;
    /* first .. last - 1 touch the new range and become one with it. */
    for (last = first; last < ranges->count && seq_le(range[last].start, end); last++)
        ;
    if (first == last) {
        if (ranges->count == TCP_RANGES_MAX)
            return false;
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
    for (uint32_t i = 0; i < ranges->count; i++) {
        if (seq_le(ranges->range[i].start, start) && seq_le(end, ranges->range[i].end))
            return true;
    }
    return false;
}

uint32_t tcp_ranges_bytes(const struct tcp_ranges *ranges)
{
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < ranges->count; i++)
        bytes += seq_distance(ranges->range[i].end, ranges->range[i].start);
    return bytes;
}
