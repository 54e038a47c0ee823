/*
 * The board of what is out: its records and their pool. See tcp_board.h. Who decides what is lost
 * is tcp_rack.c and tcp_recovery.c; what goes out again, tcp_out.c.
 *
 * Work: O(records touched). A walk to a place starts where the last one ended, so what an ACK costs
 * is, over a flight, in proportion to what it changes.
 */
#include <assert.h>

#include "stack/tcp.h"

struct tcp_unit {
    struct tcp_unit *next;
    struct tcp_sent records[];
};

static_assert(sizeof(struct tcp_board) + 4 * sizeof(struct tcp_sent) <= TCP_UNIT_BYTES,
              "most flights need the first unit only");
static_assert(sizeof(struct tcp_unit) + TCP_UNIT_RECORDS * sizeof(struct tcp_sent) <=
                  TCP_UNIT_BYTES,
              "a unit holds its records");

/* ---- the pool ---------------------------------------------------------------------------------- */

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The most units in use at one time, in this period and in the one before. */
static void note_used(struct tcp_host *tcp, foyer_time_ns now)
{
    foyer_time_ns age_ns = now - tcp->peak_since_ns;

    if (age_ns > TCP_UNITS_PERIOD_NS) {
        tcp->peak_before = age_ns > 2 * TCP_UNITS_PERIOD_NS ? tcp->used_unit_count : tcp->peak;
        tcp->peak = tcp->used_unit_count;
        tcp->peak_since_ns = now;
    }
    tcp->peak = max_u32(tcp->peak, tcp->used_unit_count);
}

static uint32_t units_reserved(const struct tcp_host *tcp)
{
    return TCP_UNITS_MIN + tcp->tcb_count / TCP_UNITS_RATIO;
}

/* Free units that are kept: the reserve, or what lately was in use. */
static uint32_t units_kept(const struct foyer_host *host)
{
    const struct tcp_host *tcp = &host->tcp;
    uint32_t reserve = units_reserved(tcp);
    uint32_t peak = max_u32(tcp->peak, tcp->peak_before);

    if (peak <= tcp->used_unit_count || host_is_short(host))
        return reserve;
    return max_u32(reserve, peak - tcp->used_unit_count);
}

void *tcp_unit_take(struct foyer_host *host)
{
    struct tcp_host *tcp = &host->tcp;
    struct tcp_unit *unit = tcp->free_units;

    if (unit != NULL) {
        tcp->free_units = unit->next;
        tcp->free_unit_count--;
    } else {
        unit = host_alloc_raw(host, TCP_UNIT_BYTES); /* more at once than lately */
        if (unit == NULL)
            return NULL;
    }
    tcp->used_unit_count++;
    note_used(tcp, host->now_ns);
    return unit;
}

void tcp_units_trim_later(struct foyer_host *host)
{
    struct tcp_host *tcp = &host->tcp;

    if (tcp->free_unit_count > units_reserved(tcp) && !timer_is_armed(&tcp->units_timer))
        timer_set(&host->timers, &tcp->units_timer, host->now_ns + TCP_UNITS_PERIOD_NS);
}

/* A unit that nobody uses. */
static void keep_or_free(struct foyer_host *host, struct tcp_unit *unit)
{
    struct tcp_host *tcp = &host->tcp;

    if (tcp->free_unit_count >= units_kept(host)) {
        host_free(host, unit, TCP_UNIT_BYTES);
        return;
    }
    unit->next = tcp->free_units;
    tcp->free_units = unit;
    tcp->free_unit_count++;
    tcp_units_trim_later(host);
}

void tcp_unit_give(struct foyer_host *host, void *memory)
{
    host->tcp.used_unit_count--;
    note_used(&host->tcp, host->now_ns);
    keep_or_free(host, memory);
}

bool tcp_unit_pool_grow(struct foyer_host *host)
{
    if (host->tcp.free_unit_count >= units_kept(host))
        return true;
    struct tcp_unit *unit = host_alloc_raw(host, TCP_UNIT_BYTES);
    if (unit != NULL)
        keep_or_free(host, unit);
    return unit != NULL;
}

/* Work: the units that go back, each of which was asked for once. */
void tcp_units_timer(struct foyer_host *host, foyer_time_ns now)
{
    struct tcp_host *tcp = &host->tcp;

    note_used(tcp, now);
    while (tcp->free_unit_count > units_kept(host)) {
        struct tcp_unit *unit = tcp->free_units;
        tcp->free_units = unit->next;
        tcp->free_unit_count--;
        host_free(host, unit, TCP_UNIT_BYTES);
    }
    tcp_units_trim_later(host);
}

void tcp_unit_pool_finish(struct foyer_host *host)
{
    timer_cancel(&host->timers, &host->tcp.units_timer);
    while (host->tcp.free_units != NULL) {
        struct tcp_unit *unit = host->tcp.free_units;
        host->tcp.free_units = unit->next;
        host_free(host, unit, TCP_UNIT_BYTES);
    }
    host->tcp.free_unit_count = 0;
}

/* ---- records ------------------------------------------------------------------------------------- */

static void give_record(struct tcp_board *board, struct tcp_sent *sent)
{
    sent->next = board->free;
    board->free = sent;
}

static bool has_free_record(const struct tcp_board *board)
{
    return board->free != NULL || board->fresh_count > 0;
}

/* A fresh record, not yet in the list, or NULL. */
static struct tcp_sent *take_record(struct foyer_host *host, struct tcp_board *board)
{
    if (!has_free_record(board) && board->record_count < TCP_RECORDS_MAX) {
        struct tcp_unit *unit = tcp_unit_take(host);
        if (unit == NULL)
            return NULL;
        unit->next = board->units;
        board->units = unit;
        for (uint32_t i = TCP_UNIT_RECORDS; i-- > 0;)
            give_record(board, &unit->records[i]);
    }
    struct tcp_sent *sent = board->free;
    if (sent != NULL)
        board->free = sent->next;
    else if (board->fresh_count > 0)
        sent = (struct tcp_sent *)(void *)(board + 1) + --board->fresh_count;
    return sent;
}

/* Behind after, or as the first. */
static void link_record(struct tcp_board *board, struct tcp_sent *sent, struct tcp_sent *after)
{
    struct tcp_sent *before = after != NULL ? after->next : board->first;

    sent->prev = after;
    sent->next = before;
    if (after != NULL)
        after->next = sent;
    else
        board->first = sent;
    if (before != NULL)
        before->prev = sent;
    else
        board->last = sent;
    board->record_count++;
}

/* Into the time order behind after, or as the oldest. */
static void link_time(struct tcp_board *board, struct tcp_sent *sent, struct tcp_sent *after)
{
    struct tcp_sent *before = after != NULL ? after->newer : board->oldest;

    sent->older = after;
    sent->newer = before;
    if (after != NULL)
        after->newer = sent;
    else
        board->oldest = sent;
    if (before != NULL)
        before->older = sent;
    else
        board->latest = sent;
}

static void unlink_time(struct tcp_board *board, struct tcp_sent *sent)
{
    if (sent->older != NULL)
        sent->older->newer = sent->newer;
    else
        board->oldest = sent->newer;
    if (sent->newer != NULL)
        sent->newer->older = sent->older;
    else
        board->latest = sent->older;
}

static void drop_record(struct tcp_board *board, struct tcp_sent *sent)
{
    if (sent->state == TCP_SENT_FLYING)
        unlink_time(board, sent);
    if (sent->prev != NULL)
        sent->prev->next = sent->next;
    else
        board->first = sent->next;
    if (sent->next != NULL)
        sent->next->prev = sent->prev;
    else
        board->last = sent->prev;
    board->record_count--;
    if (board->newest == sent)
        board->newest = NULL;
    if (board->lost_hint == sent)
        board->lost_hint = sent->next;
    if (board->found == sent)
        board->found = sent->prev;
    give_record(board, sent);
}

static uint32_t size_of(const struct tcp_sent *sent)
{
    return seq_distance(sent->end, sent->start);
}

/* Bytes join or leave a state's sum. */
static void count_bytes(struct tcp_board *board, uint8_t state, uint32_t size, bool is_more)
{
    uint32_t *sum = state == TCP_SENT_SACKED ? &board->sacked_bytes
                    : state == TCP_SENT_LOST ? &board->lost_bytes
                                             : NULL;

    if (sum != NULL)
        *sum = is_more ? *sum + size : *sum - size;
}

static bool is_later(uint32_t a_us, uint32_t b_us)
{
    return (int32_t)(a_us - b_us) > 0;
}

/* What flies after all takes its old place in the time order, which is looked for from near's. */
static void fly_again(struct tcp_board *board, struct tcp_sent *sent, struct tcp_sent *near)
{
    while (near != NULL && is_later(near->sent_us, sent->sent_us))
        near = near->older;
    struct tcp_sent *newer = near != NULL ? near->newer : board->oldest;
    while (newer != NULL && !is_later(newer->sent_us, sent->sent_us)) {
        near = newer;
        newer = newer->newer;
    }
    link_time(board, sent, near);
}

/* Of a record that flew to another state, or of one that is sent now. */
static void set_state(struct tcp_board *board, struct tcp_sent *sent, enum tcp_sent_state state)
{
    if (sent->state == TCP_SENT_FLYING)
        unlink_time(board, sent);
    if (state == TCP_SENT_FLYING)
        link_time(board, sent, board->latest);
    count_bytes(board, sent->state, size_of(sent), false);
    board->sacked_count -= sent->state == TCP_SENT_SACKED;
    sent->state = (uint8_t)state;
    count_bytes(board, sent->state, size_of(sent), true);
    board->sacked_count += sent->state == TCP_SENT_SACKED;
    if (state == TCP_SENT_LOST &&
        (board->lost_hint == NULL || seq_lt(sent->start, board->lost_hint->start)))
        board->lost_hint = sent;
}

/* The record that holds seq: looked for from the last one found. */
static struct tcp_sent *find_record(struct tcp_board *board, seq_t seq)
{
    struct tcp_sent *sent = board->found;

    if (board->last == NULL)
        return NULL;

    if (board->lost_hint != NULL && seq_eq(board->lost_hint->start, seq))
        return board->lost_hint;
    if (sent == NULL || seq_ge(seq, board->last->start))
        sent = board->last; /* where what is new stands */
    while (sent != NULL && seq_gt(sent->start, seq))
        sent = sent->prev;
    while (sent != NULL && sent->next != NULL && seq_le(sent->next->start, seq))
        sent = sent->next;
    board->found = sent;
    return sent;
}

/* Cuts at seq, inside of the record, which keeps what is before. False: no record. */
static bool split(struct foyer_host *host, struct tcp_board *board, struct tcp_sent *sent,
                  seq_t seq)
{
    struct tcp_sent *rest = take_record(host, board);

    if (rest == NULL)
        return false;
    rest->start = seq;
    rest->end = sent->end;
    rest->sent_us = sent->sent_us;
    rest->state = sent->state;
    rest->is_again = sent->is_again;
    rest->mark = sent->mark;
    sent->end = seq;
    board->sacked_count += rest->state == TCP_SENT_SACKED;
    link_record(board, rest, sent);
    if (rest->state == TCP_SENT_FLYING)
        link_time(board, rest, sent);
    return true;
}

/* The record takes over the one behind it. */
static void merge_next(struct tcp_board *board, struct tcp_sent *sent)
{
    struct tcp_sent *next = sent->next;

    sent->end = next->end;
    sent->is_again = sent->is_again || next->is_again;
    if (is_later(next->sent_us, sent->sent_us))
        sent->sent_us = next->sent_us;
    board->sacked_count -= next->state == TCP_SENT_SACKED;
    drop_record(board, next);
}

/* SACKed bytes need no time; lost ones need none either, but whether they were sent again. */
static bool may_merge(const struct tcp_sent *a, const struct tcp_sent *b)
{
    if (a == NULL || b == NULL || a->state != b->state)
        return false;
    return a->state == TCP_SENT_SACKED || (a->state == TCP_SENT_LOST && a->is_again == b->is_again);
}

/* The record that is left with what was sent's bytes. */
static struct tcp_sent *merge_around(struct tcp_board *board, struct tcp_sent *sent)
{
    if (may_merge(sent, sent->next))
        merge_next(board, sent);
    if (may_merge(sent->prev, sent)) {
        sent = sent->prev;
        merge_next(board, sent);
    }
    return sent;
}

/* ---- the board's life ------------------------------------------------------------------------------ */

/* What went out without a board stands on it as if it had been there from the beginning. */
static void put_lone(struct foyer_host *host, struct tcb *tcb)
{
    seq_t end = tcb->snd_nxt;

    tcb->flags &= ~(uint32_t)TCPF_LONE;
    tcb->snd_nxt = tcb->snd_una;
    tcp_board_sent(host, tcb, tcb->snd_una, end, tcb->rtt_start_us);
    tcb->snd_nxt = end;
    tcp_cc_note_flight(tcb);
    if (tcp_flight(tcb) % tcb->mss != 0)
        tcb->board->small_end = end;
    /* The probe that goes in the timeout's place (RFC 8985 section 7.2), see may_go. */
    if (tcp_probe_is_due(tcb)) {
        tcb->board->loss_timer = TCP_LOSS_TIMER_PROBE;
        tcb->board->loss_deadline_ns = tcb->rto_deadline_ns;
    }
}

bool tcp_board_need(struct foyer_host *host, struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    if (board != NULL) {
        if (has_free_record(board) ||
            (board->last != NULL && board->last->state == TCP_SENT_FLYING))
            return true;
        struct tcp_sent *sent = take_record(host, board);
        if (sent != NULL)
            give_record(board, sent);
        return sent != NULL;
    }
    board = tcp_unit_take(host);
    if (board == NULL)
        return false;
    memset(board, 0, sizeof(*board));
    board->loss_deadline_ns = FOYER_TIME_NEVER;
    board->pace.deadline_ns = FOYER_TIME_NEVER;
    /* It had nothing to say for a while: the first rates are the program's. */
    board->rate.app_limited_bytes = tcp_bytes_sent(tcb) > 0;
    board->recovery_point = tcb->snd_una;
    board->rack_fack = tcb->snd_una;
    board->small_end = tcb->snd_una;
    board->fresh_count = TCP_BOARD_RECORDS;
    tcb->board = board;
    if ((tcb->flags & TCPF_LONE) != 0)
        put_lone(host, tcb);
    return true;
}

void tcp_board_give(struct foyer_host *host, struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    if (board == NULL)
        return;
    for (struct tcp_unit *unit = board->units, *next; unit != NULL; unit = next) {
        next = unit->next;
        tcp_unit_give(host, unit);
    }
    tcp_unit_give(host, board);
    tcb->board = NULL;
}

bool tcp_board_has_small(const struct tcb *tcb)
{
    return tcb->board != NULL && seq_gt(tcb->board->small_end, tcb->snd_una);
}

uint32_t tcp_board_grain_us(const struct tcb *tcb)
{
    return tcb->min_rtt_us / 64;
}

/* ---- what goes out ----------------------------------------------------------------------------------- */

/* Whether bytes that go out now may share the record: nothing went out between them, or the order
 * of transmissions, which RACK goes by, were lost. */
static bool is_company(const struct tcb *tcb, const struct tcp_sent *sent, bool is_again,
                       uint32_t now_us)
{
    return sent != NULL && sent == tcb->board->newest && sent->state == TCP_SENT_FLYING &&
           sent->is_again == is_again && now_us - sent->sent_us <= tcp_board_grain_us(tcb);
}

/* Hosts send many segments at one time, and among new ones sequence numbers tell their order. New
 * ones and those sent again do not share a microsecond. */
static uint32_t time_for(const struct tcp_board *board, bool is_again, uint32_t now_us)
{
    const struct tcp_sent *latest = board->latest;

    if (latest == NULL || is_later(now_us, latest->sent_us))
        return now_us;
    return latest->sent_us + (latest->is_again != is_again);
}

/* [RFC8985 5.1b] */
void tcp_board_sent(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end,
                    uint32_t now_us)
{
    struct tcp_board *board = tcb->board;
    struct tcp_sent *last = board->last;

    now_us = time_for(board, false, now_us);
    if (is_company(tcb, last, false, now_us)) {
        last->end = end;
        tcp_rate_on_sent(tcb, last, seq_distance(end, start), false, now_us);
        return;
    }
    struct tcp_sent *sent = take_record(host, board);
    if (sent == NULL) {
        /* tcp_board_need has seen that the last one flies: the two share the later time. */
        last->end = end;
        last->sent_us = now_us;
        unlink_time(board, last);
        link_time(board, last, board->latest);
        tcp_rate_on_sent(tcb, last, seq_distance(end, start), true, now_us);
        return;
    }
    sent->start = start;
    sent->end = end;
    sent->sent_us = now_us;
    sent->state = TCP_SENT_FLYING;
    sent->is_again = false;
    tcp_rate_on_sent(tcb, sent, seq_distance(end, start), true, now_us);
    link_record(board, sent, board->last);
    link_time(board, sent, board->latest);
    board->newest = sent;
}

/* The record's first bytes join the one before it, which was sent just now. */
static void join_previous(struct tcp_board *board, struct tcp_sent *sent, seq_t end)
{
    struct tcp_sent *prev = sent->prev;

    count_bytes(board, sent->state, seq_distance(end, sent->start), false);
    prev->end = end;
    sent->start = end;
    if (seq_eq(sent->start, sent->end)) {
        board->sacked_count -= sent->state == TCP_SENT_SACKED;
        drop_record(board, sent);
    }
}

void tcp_board_sent_again(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end,
                          uint32_t now_us)
{
    struct tcp_board *board = tcb->board;
    struct tcp_sent *sent = find_record(board, start);

    if (sent == NULL)
        return;
    now_us = time_for(board, true, now_us);
    if (seq_lt(sent->start, start)) { /* a loss probe: the last bytes of the record */
        if (split(host, board, sent, start))
            sent = sent->next;
    } else if (is_company(tcb, sent->prev, true, now_us)) {
        tcp_rate_on_sent(tcb, sent->prev, seq_distance(end, start), false, now_us);
        join_previous(board, sent, end);
        return;
    }
    /* Without a record to cut with, the rest of this one passes for sent again too; the timeout
     * will find out. */
    if (seq_lt(end, sent->end))
        split(host, board, sent, end);
    tcp_rate_on_sent(tcb, sent, size_of(sent), true, now_us);
    set_state(board, sent, TCP_SENT_FLYING);
    sent->is_again = true;
    sent->sent_us = now_us;
    board->newest = sent;
}

/* Lost, but nobody is told of a loss: congestion control and the rate know nothing of a SYN. */
void tcp_board_refused(struct foyer_host *host, struct tcb *tcb, uint32_t size)
{
    struct tcp_sent *sent = take_record(host, tcb->board);

    if (sent == NULL)
        return;
    *sent = (struct tcp_sent){.start = tcb->snd_una,
                              .end = seq_add(tcb->snd_una, size),
                              .state = TCP_SENT_LOST,
                              .is_again = true};
    link_record(tcb->board, sent, NULL);
    count_bytes(tcb->board, TCP_SENT_LOST, size, true);
    tcb->board->lost_hint = sent;
    tcb->snd_nxt = sent->end;
}

/* ---- what comes back ----------------------------------------------------------------------------------- */

static void note_delivered(struct tcb *tcb, const struct tcp_sent *sent, seq_t end, bool is_sack,
                           struct tcp_delivery *delivery)
{
    uint32_t size = seq_distance(end, sent->start);

    delivery->delivered_bytes += size;
    if (is_sack)
        delivery->sacked_bytes += size;
    if (sent->is_again) {
        delivery->has_again = true;
        delivery->has_again_lately =
            delivery->has_again_lately || !is_later(tcb->board->undo_sent_us, sent->sent_us);
    } else if (seq_le(end, tcb->board->recovery_point))
        delivery->has_original = true;
    tcp_rate_on_delivered(tcb, sent, end, size, delivery);
    tcp_rack_note(tcb, sent, end, delivery);
}

void tcp_board_ack(struct tcb *tcb, seq_t una, struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;

    board->small_end = seq_max(board->small_end, una); /* or it were old news after 2 GiB */
    while (board->first != NULL && seq_lt(board->first->start, una)) {
        struct tcp_sent *sent = board->first;
        seq_t end = seq_min(sent->end, una);
        uint32_t size = seq_distance(end, sent->start);

        if (sent->state != TCP_SENT_SACKED)
            note_delivered(tcb, sent, end, false, delivery);
        count_bytes(board, sent->state, size, false);
        if (seq_lt(end, sent->end)) {
            sent->start = end;
            break;
        }
        board->sacked_count -= sent->state == TCP_SENT_SACKED;
        drop_record(board, sent);
    }
}

/* [RFC6675 4a] */
void tcp_board_sack(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end,
                    struct tcp_delivery *delivery)
{
    struct tcp_board *board = tcb->board;
    struct tcp_sent *sent = find_record(board, start);

    for (; sent != NULL && seq_lt(sent->start, end); sent = sent->next) {
        if (sent->state == TCP_SENT_SACKED)
            continue;
        if (seq_lt(sent->start, start)) {
            if (!split(host, board, sent, start))
                return; /* not believed: its bytes are sent again at worst */
            sent = sent->next;
        }
        if (seq_lt(end, sent->end) && !split(host, board, sent, end))
            return;
        note_delivered(tcb, sent, sent->end, true, delivery);
        set_state(board, sent, TCP_SENT_SACKED);
        sent = merge_around(board, sent);
    }
}

/* ---- what is lost ---------------------------------------------------------------------------------------- */

struct tcp_sent *tcp_board_lose(struct tcb *tcb, struct tcp_sent *sent)
{
    tcb->board->rate.lost_bytes += size_of(sent);
    if (tcp_cc(tcb)->on_lost != NULL)
        tcp_cc(tcb)->on_lost(tcb, sent, size_of(sent));
    set_state(tcb->board, sent, TCP_SENT_LOST);
    return merge_around(tcb->board, sent);
}

void tcp_board_lose_first(struct foyer_host *host, struct tcb *tcb, uint32_t size)
{
    struct tcp_sent *sent = tcb->board->first;

    if (sent == NULL || sent->state != TCP_SENT_FLYING)
        return;
    if (size_of(sent) > size)
        split(host, tcb->board, sent, seq_add(sent->start, size));
    tcp_board_lose(tcb, sent);
}

void tcp_board_lose_all(struct tcb *tcb)
{
    for (struct tcp_sent *sent = tcb->board->first; sent != NULL; sent = sent->next) {
        if (sent->state == TCP_SENT_FLYING)
            sent = tcp_board_lose(tcb, sent);
    }
}

void tcp_board_revive(struct tcb *tcb, enum tcp_sent_state from)
{
    struct tcp_board *board = tcb->board;
    struct tcp_sent *near = board->oldest; /* neighbours by number are mostly so by time */

    for (struct tcp_sent *sent = board->first; sent != NULL; sent = sent->next) {
        if (sent->state != (uint8_t)from)
            continue;
        set_state(board, sent, TCP_SENT_FLYING);
        unlink_time(board, sent);
        fly_again(board, sent, near);
        near = sent;
    }
}

const struct tcp_sent *tcp_board_first_lost(const struct tcb *tcb)
{
    struct tcp_board *board = tcb->board;

    if (board == NULL || board->lost_bytes == 0)
        return NULL;
    while (board->lost_hint != NULL && board->lost_hint->state != TCP_SENT_LOST)
        board->lost_hint = board->lost_hint->next;
    return board->lost_hint;
}

uint32_t tcp_board_again_bytes(const struct tcb *tcb)
{
    uint32_t bytes = 0;

    for (const struct tcp_sent *sent = tcb->board->latest; sent != NULL; sent = sent->older) {
        if (sent->is_again)
            bytes += seq_distance(sent->end, sent->start);
    }
    return bytes;
}

bool tcp_board_has_again(const struct tcb *tcb)
{
    for (const struct tcp_sent *sent = tcb->board->latest; sent != NULL; sent = sent->older) {
        if (sent->is_again)
            return true;
    }
    return false;
}
