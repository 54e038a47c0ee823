/* The board against what it promises after every step: no gap, right sums, the order of time. */
#include "unit/stack/tcp_peer.h"

#include "base/random.h"
#include "stack/tcp.h"

#define MSS 1000u
#define STEPS 4000

struct bench {
    struct peer *peer;
    struct tcb tcb;
    struct random random;
    uint32_t now_us;
};

static void check_sums(const struct tcb *tcb)
{
    const struct tcp_board *board = tcb->board;
    uint32_t sacked = 0, lost = 0, sacked_count = 0, count = 0;
    seq_t at = tcb->snd_una;

    for (const struct tcp_sent *sent = board->first; sent != NULL; sent = sent->next) {
        assert_int_equal(sent->start.value, at.value);
        assert_true(seq_lt(sent->start, sent->end));
        assert_ptr_equal(sent->next != NULL ? sent->next->prev : board->last, sent);
        uint32_t size = seq_distance(sent->end, sent->start);
        sacked += sent->state == TCP_SENT_SACKED ? size : 0;
        sacked_count += sent->state == TCP_SENT_SACKED;
        lost += sent->state == TCP_SENT_LOST ? size : 0;
        at = sent->end;
        count++;
    }
    assert_int_equal(at.value, tcb->snd_nxt.value);
    assert_int_equal(board->sacked_bytes, sacked);
    assert_int_equal(board->sacked_count, sacked_count);
    assert_int_equal(board->lost_bytes, lost);
    assert_int_equal(board->record_count, count);
}

/* All that flies, and nothing else, by the time of its last transmission. */
static void check_time_order(const struct tcb *tcb)
{
    const struct tcp_board *board = tcb->board;
    uint32_t flying = 0, ordered = 0;

    for (const struct tcp_sent *sent = board->first; sent != NULL; sent = sent->next)
        flying += sent->state == TCP_SENT_FLYING;
    for (const struct tcp_sent *sent = board->oldest; sent != NULL; sent = sent->newer) {
        assert_int_equal(sent->state, TCP_SENT_FLYING);
        assert_ptr_equal(sent->newer != NULL ? sent->newer->older : board->latest, sent);
        if (sent->newer != NULL)
            assert_true((int32_t)(sent->newer->sent_us - sent->sent_us) >= 0);
        ordered++;
        assert_true(ordered <= flying);
    }
    assert_int_equal(ordered, flying);
}

static uint32_t below(struct bench *bench, uint32_t bound)
{
    return (uint32_t)random_below(&bench->random, bound);
}

static seq_t place(struct bench *bench)
{
    return seq_add(bench->tcb.snd_una, below(bench, tcp_flight(&bench->tcb)));
}

static void send_some(struct bench *bench)
{
    struct tcb *tcb = &bench->tcb;
    seq_t end = seq_add(tcb->snd_nxt, 1 + below(bench, 3 * MSS));

    if (!tcp_board_need(bench->peer->host, tcb))
        return;
    tcp_board_sent(bench->peer->host, tcb, tcb->snd_nxt, end, bench->now_us);
    tcb->snd_nxt = end;
}

static void send_lost_again(struct bench *bench)
{
    const struct tcp_sent *lost = tcp_board_first_lost(&bench->tcb);

    if (lost == NULL)
        return;
    uint32_t size = seq_distance(lost->end, lost->start);
    size = size < MSS ? size : MSS;
    tcp_board_sent_again(bench->peer->host, &bench->tcb, lost->start, seq_add(lost->start, size),
                         bench->now_us);
}

static void step(struct bench *bench)
{
    struct tcb *tcb = &bench->tcb;
    struct tcp_delivery delivery = {.arrival_us = bench->now_us};
    struct foyer_host *host = bench->peer->host;
    uint32_t what = below(bench, 100);

    bench->now_us += below(bench, 3) * 400;
    if (tcp_flight(tcb) == 0 || what < 35) {
        send_some(bench);
    } else if (what < 60) {
        seq_t start = place(bench), end = place(bench);
        if (seq_gt(start, tcb->snd_una) && seq_lt(start, end))
            tcp_board_sack(host, tcb, start, end, &delivery);
    } else if (what < 72) {
        tcb->snd_una = seq_add(place(bench), 1);
        tcp_board_ack(tcb, tcb->snd_una, &delivery);
    } else if (what < 80) {
        if (tcb->board->oldest != NULL)
            tcp_board_lose(tcb, tcb->board->oldest);
    } else if (what < 95) {
        send_lost_again(bench);
    } else if (what < 97) {
        tcp_board_revive(tcb, TCP_SENT_LOST);
    } else if (what < 98) {
        tcp_board_revive(tcb, TCP_SENT_SACKED);
    } else if (what < 99) {
        tcp_board_lose_all(tcb);
    } else {
        tcp_board_lose_first(host, tcb, MSS);
    }
}

static void board_keeps_its_promises(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct bench bench = {.peer = peer_create(), .now_us = UINT32_MAX - 100000};
        struct tcb *tcb = &bench.tcb;

        random_init(&bench.random, seed);
        tcb->mss = MSS;
        tcb->min_rtt_us = 64 * 200;
        tcb->snd_una = tcb->snd_nxt = SEQ(0u - 50000u);
        for (unsigned i = 0; i < STEPS; i++) {
            step(&bench);
            if (tcb->board == NULL)
                continue;
            check_sums(tcb);
            check_time_order(tcb);
        }
        tcp_board_give(bench.peer->host, tcb);
        peer_destroy(bench.peer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(board_keeps_its_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
