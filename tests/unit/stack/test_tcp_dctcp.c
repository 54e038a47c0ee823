/* DCTCP, RFC 8257: the share of marks, and the receiver's echo of exactly what was marked. */
#include "unit/stack/tcp_peer.h"

#include "stack/tcp.h"

#define ECE WIRE_TCP_ECE
#define CWR WIRE_TCP_CWR
#define ECT_0 2
#define CE 3
#define MSS 1000u
#define ALPHA_ONE (1u << 20)

/* ---- the sender --------------------------------------------------------------------------------- */

/* A window of ten segments, marked of them with ECE. */
static void window(struct tcb *tcb, unsigned marked)
{
    for (unsigned i = 0; i < 10; i++) {
        tcb->snd_una = seq_add(tcb->snd_una, MSS);
        if (i == 0)
            tcb->snd_nxt = seq_add(tcb->snd_una, 9 * MSS);
        tcp_cc(tcb)->on_ecn(tcb, MSS, i < marked ? MSS : 0);
    }
    tcb->snd_nxt = seq_add(tcb->snd_una, 10 * MSS);
}

static void make(struct tcb *tcb)
{
    memset(tcb, 0, sizeof(*tcb));
    tcb->mss = MSS;
    tcb->cc_id = FOYER_CONGESTION_DCTCP;
    tcp_cc_init(NULL, tcb);
    tcb->cwnd_bytes = 100 * MSS;
    tcb->snd_nxt = SEQ(10 * MSS);
}

/* Section 3.3 with g = 1/16: alpha moves a sixteenth of the way in each window.
 * [test RFC8257 3.3a 4.2a 4.2b] */
static void alpha_follows_the_share_of_marks(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb);
    assert_int_equal(tcb.cc.dctcp.alpha, ALPHA_ONE); /* section 4.2: SHOULD */
    tcb.cc.dctcp.window_end = SEQ(10 * MSS);
    window(&tcb, 0);
    assert_int_equal(tcb.cc.dctcp.alpha, ALPHA_ONE / 16 * 15);
    for (unsigned i = 0; i < 200; i++)
        window(&tcb, 0);
    assert_in_range(tcb.cc.dctcp.alpha, 0, 32);
    for (unsigned i = 0; i < 300; i++)
        window(&tcb, 10);
    assert_in_range(tcb.cc.dctcp.alpha, ALPHA_ONE - 32, ALPHA_ONE);
}

/* [test RFC8257 3.3b] */
static void marks_reduce_by_half_of_alpha(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb);
    tcp_cc(&tcb)->on_ece(&tcb, 100 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 50 * MSS);
    tcb.cc.dctcp.alpha = ALPHA_ONE / 4;
    tcp_cc(&tcb)->on_ece(&tcb, 100 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 87500);
    tcb.cc.dctcp.alpha = ALPHA_ONE;
    tcb.cwnd_bytes = 3 * MSS;
    tcp_cc(&tcb)->on_ece(&tcb, 3 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 2 * MSS);
}

/* Section 3.5. [test RFC8257 3.5a] */
static void losses_halve(void **state)
{
    struct tcb tcb;

    (void)state;
    make(&tcb);
    tcb.cc.dctcp.alpha = 0;
    tcp_cc(&tcb)->on_loss(&tcb, 100 * MSS, 0);
    assert_int_equal(tcb.ssthresh_bytes, 50 * MSS);
}

/* ---- the receiver ------------------------------------------------------------------------------- */

static struct peer *establish(void)
{
    static const struct wire_tcp_options options = {
        .has_mss = true, .mss = MSS, .has_sack_permitted = true};
    struct peer *peer = peer_connecting(FOYER_OPT_CONGESTION, FOYER_CONGESTION_DCTCP);

    peer_expect(peer, SYN | ECE | CWR, 0, 0, 0); /* it asks for ECN by itself */
    peer_send(peer, (struct seg){
                        .flags = SYN | ACK | ECE, .ack = 1, .window = 60000, .options = options});
    peer_events(peer);
    peer_drain(peer);
    return peer;
}

static uint32_t text(struct peer *peer, uint32_t seq, uint8_t tos)
{
    peer_send(
        peer,
        (struct seg){.flags = ACK, .seq = seq, .ack = 1, .window = 60000, .size = 100, .tos = tos});
    return seq + 100;
}

/* So many that ACKs are delayed. */
static uint32_t past_quick_acks(struct peer *peer)
{
    uint32_t seq = 1;

    for (unsigned i = 0; i < 40; i++) {
        seq = text(peer, seq, ECT_0);
        peer_drain(peer);
    }
    peer_advance(peer, 50 * MS);
    peer_drain(peer);
    return seq;
}

/* Section 3.2: what came before the first mark is acknowledged without an echo, and at once.
 * [test RFC8257 3.2a 3.2b] */
static void echo_changes_with_the_marks(void **state)
{
    struct peer *peer = establish();
    uint32_t seq = past_quick_acks(peer);
    struct seg seg;

    (void)state;
    seq = text(peer, seq, ECT_0);
    assert_false(peer_recv(peer, &seg)); /* delayed */
    (void)text(peer, seq, CE);
    peer_expect(peer, ACK, 1, seq, 0);
    seq += 100;
    peer_expect(peer, ACK | ECE, 1, seq, 0);
    seq = text(peer, seq, CE);
    assert_false(peer_recv(peer, &seg)); /* a mark like the last is no news */
    (void)text(peer, seq, ECT_0);
    peer_expect(peer, ACK | ECE, 1, seq, 0);
    seq += 100;
    peer_expect(peer, ACK, 1, seq, 0);
    peer_destroy(peer);
}

/* Unlike RFC 3168's receiver, which goes on until CWR and stops with it. */
static void cwr_does_not_end_the_echo(void **state)
{
    struct peer *peer = establish();
    uint32_t seq = past_quick_acks(peer);

    (void)state;
    seq = text(peer, seq, CE);
    peer_expect(peer, ACK | ECE, 1, seq, 0);
    peer_send(
        peer,
        (struct seg){
            .flags = ACK | CWR, .seq = seq, .ack = 1, .window = 60000, .size = 100, .tos = CE});
    peer_advance(peer, 50 * MS);
    peer_expect(peer, ACK | ECE, 1, seq + 100, 0);
    peer_destroy(peer);
}

static void host_says_what_sockets_begin_with(void **state)
{
    struct peer *peer = peer_create();
    foyer_socket socket;
    int64_t value;

    (void)state;
    peer->host->config.congestion = FOYER_CONGESTION_DCTCP;
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &socket), 0);
    assert_int_equal(foyer_socket_get_option(peer->host, socket, FOYER_OPT_CONGESTION, &value), 0);
    assert_int_equal(value, FOYER_CONGESTION_DCTCP);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpha_follows_the_share_of_marks),
        cmocka_unit_test(marks_reduce_by_half_of_alpha),
        cmocka_unit_test(losses_halve),
        cmocka_unit_test(echo_changes_with_the_marks),
        cmocka_unit_test(cwr_does_not_end_the_echo),
        cmocka_unit_test(host_says_what_sockets_begin_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
