/*
 * Random segments, calls and times against one host: whatever comes, the invariants of tcp.h
 * hold, no byte is invented, and all memory comes back. A failing seed is printed; give it as the
 * only argument to see it again.
 */
#include "unit/stack/tcp_peer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "stack/tcp.h"

#define SEEDS 60
#define STEPS 400

static uint64_t first_seed = 1, seed_count = SEEDS;

/* One of the numbers that matter, or one near them, or any. */
static uint32_t number_near(struct random *random, uint32_t a, uint32_t b)
{
    switch (random_below(random, 8)) {
    case 0:
        return (uint32_t)random_u64(random);
    case 1:
        return a + (uint32_t)random_below(random, 5) - 2;
    case 2:
        return b + (uint32_t)random_below(random, 5) - 2;
    case 3:
        return a + (uint32_t)random_below(random, 70000);
    case 4:
        return a - (uint32_t)random_below(random, 70000);
    default:
        return a;
    }
}

static struct sock *any_connection(struct peer *peer)
{
    foyer_socket at = FOYER_SOCKET_NONE;

    while (foyer_socket_next(peer->host, &at)) {
        struct sock *sock = sock_from_handle(peer->host, at);
        if (sock != NULL && sock->tcb != NULL)
            return sock;
    }
    return NULL;
}

/* The records cover what is out, without a gap, and the sums are theirs. */
static void check_board(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;
    const struct tcp_board *board = tcb->board;
    uint32_t sacked = 0, lost = 0, sacked_count = 0, count = 0;

    if (board == NULL && (tcb->flags & TCPF_LONE) != 0) {
        assert_true(tcp_flight(tcb) > 0 && tcb->rto_deadline_ns != FOYER_TIME_NEVER);
        return;
    }
    assert_false(tcb->flags & TCPF_LONE);
    if (board == NULL) {
        assert_true(tcp_flight(tcb) == 0 || sock->state < FOYER_STATE_ESTABLISHED);
        return;
    }
    seq_t at = tcb->snd_una;
    const struct tcp_sent *prev = NULL;
    for (const struct tcp_sent *sent = board->first; sent != NULL; prev = sent, sent = sent->next) {
        assert_true(seq_eq(sent->start, at) && seq_lt(sent->start, sent->end));
        assert_ptr_equal(sent->prev, prev);
        uint32_t size = seq_distance(sent->end, sent->start);
        sacked += sent->state == TCP_SENT_SACKED ? size : 0;
        lost += sent->state == TCP_SENT_LOST ? size : 0;
        sacked_count += sent->state == TCP_SENT_SACKED;
        count++;
        at = sent->end;
    }
    assert_ptr_equal(board->last, prev);
    assert_true(seq_eq(at, tcb->snd_nxt));
    assert_int_equal(board->sacked_bytes, sacked);
    assert_int_equal(board->lost_bytes, lost);
    assert_int_equal(board->sacked_count, sacked_count);
    assert_int_equal(board->record_count, count);
    assert_true(board->first == NULL || board->first->state != TCP_SENT_SACKED);
}

static void check_invariants(const struct sock *sock)
{
    const struct tcb *tcb = sock->tcb;

    assert_true(seq_le(tcb->snd_una, tcb->snd_nxt));
    assert_true(seq_le(tcb->snd_nxt, seq_add(tcb->snd_end, 1)));
    if (sock->state >= FOYER_STATE_SYN_RECEIVED)
        assert_true(seq_le(tcb->rcv_nxt, tcb->rcv_adv));
    assert_true(tcp_pipe(tcb) <= 2 * tcp_flight(tcb));
    if (sock->state >= FOYER_STATE_ESTABLISHED)
        assert_true(tcb->cwnd_bytes >= tcb->mss && tcb->mss > 0);
    check_board(sock);
    if (tcb->out_of_order != NULL && tcb->out_of_order->count > 0)
        assert_true(seq_gt(tcb->out_of_order->range[0].start, tcb->rcv_nxt));
    /* Something in flight or unsent always has a timer. */
    if (tcp_flight(tcb) > 0)
        assert_true(timer_is_armed(&sock->timer));
}

static void random_segment(struct peer *peer, struct random *random)
{
    static const uint16_t flags[] = {
        ACK,       ACK, ACK | PSH, ACK | FIN,       SYN,       SYN | ACK, RST, RST | ACK,
        ACK | SYN, FIN, 0,         ACK | PSH | FIN, SYN | FIN, ACK,       ACK, ACK | PSH};
    struct sock *sock = any_connection(peer);
    uint32_t next = 1, una = 1, snd_nxt = 1;

    if (sock != NULL) {
        next = sock->tcb->rcv_nxt.value - PEER_ISS;
        una = sock->tcb->snd_una.value - peer->host_iss;
        snd_nxt = sock->tcb->snd_nxt.value - peer->host_iss;
    }
    struct seg seg = {
        .flags = flags[random_below(random, sizeof(flags) / sizeof(flags[0]))],
        .seq = number_near(random, next, 0),
        .ack = number_near(random, snd_nxt, una),
        .window = (uint16_t)(random_below(random, 4) == 0 ? 0 : random_below(random, 65536)),
        .size = (uint32_t)(random_below(random, 2) == 0 ? 0 : random_below(random, 1400)),
    };
    /* A reset ends the game early: not too often. */
    if ((seg.flags & RST) != 0 && random_below(random, 20) != 0)
        return;
    for (uint64_t i = random_below(random, 4); i > 0; i--) {
        uint32_t left = number_near(random, una, snd_nxt);
        seg.options.sack[seg.options.sack_count++] =
            (struct wire_tcp_sack){SEQ(left), SEQ(left + (uint32_t)random_below(random, 5000))};
    }
    if (seg.options.sack_count > 3)
        seg.options.sack_count = 3;
    if (random_below(random, 20) == 0)
        seg.options.sack_count = 0, seg.options.has_mss = true,
        seg.options.mss = (uint16_t)random_u64(random);
    peer_send(peer, seg);
}

static void random_call(struct peer *peer, struct random *random)
{
    if (peer->socket.value == 0)
        return;
    switch (random_below(random, 24)) {
    case 0:
        foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now);
        break;
    case 1:
        foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_CORK,
                                (int64_t)random_below(random, 2));
        break;
    case 2:
        foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_NODELAY,
                                (int64_t)random_below(random, 2));
        break;
    case 3:
        foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_KEEPALIVE, 1);
        break;
    case 4:
        if (random_below(random, 10) == 0) {
            foyer_socket_close(peer->host, peer->socket, peer->now);
            peer->socket = FOYER_SOCKET_NONE;
        }
        break;
    default: {
        static uint8_t bytes[5000];
        size_t size = (size_t)random_below(random, sizeof(bytes));
        if (random_below(random, 2) == 0) {
            for (size_t i = 0; i < size; i++)
                bytes[i] = host_byte(peer->written + (uint32_t)i);
            int64_t taken = foyer_socket_send(peer->host, peer->socket, bytes, size, peer->now);
            if (taken > 0)
                peer->written += (uint32_t)taken;
        } else {
            foyer_socket_recv(peer->host, peer->socket, bytes, size, peer->now);
        }
    }
    }
}

static void run_seed(uint64_t seed)
{
    struct random random;
    random_init(&random, seed);
    struct wire_tcp_options options = {
        .has_mss = true,
        .mss = (uint16_t)(300 + random_below(&random, 1200)),
        .has_sack_permitted = random_below(&random, 4) != 0,
        .has_window_scale = random_below(&random, 2) == 0,
        .window_scale = (uint8_t)random_below(&random, 15),
    };
    struct peer *peer = peer_create_with(random_below(&random, 2) == 0 ? FOYER_LINK_TSO4 : 0, 8192);

    peer_establish(peer, &options, (uint16_t)random_below(&random, 65536));
    for (unsigned step = 0; step < STEPS; step++) {
        switch (random_below(&random, 4)) {
        case 0:
            random_call(peer, &random);
            break;
        case 1:
            peer_advance(peer, random_below(&random, 10) == 0
                                   ? random_below(&random, 100 * FOYER_NS_PER_S)
                                   : random_below(&random, 300 * MS));
            break;
        default:
            random_segment(peer, &random);
        }
        peer_drain(peer);
        struct sock *sock = any_connection(peer);
        if (sock != NULL)
            check_invariants(sock);
    }
    peer_destroy(peer);
}

static void random_segments_keep_the_invariants(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
        run_seed(seed);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_segments_keep_the_invariants)};

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        seed_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
