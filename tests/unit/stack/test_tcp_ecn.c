/*
 * Explicit congestion notification, RFC 3168: who speaks it, on which segments, the echo until
 * CWR, one reduction per window.
 */
#include "unit/stack/tcp_peer.h"

#include "stack/tcp.h"

#define ECE WIRE_TCP_ECE
#define CWR WIRE_TCP_CWR
#define NOT_ECT 0
#define ECT_0 2
#define CE 3
#define S FOYER_NS_PER_S

static const struct wire_tcp_options plain_options = {
    .has_mss = true, .mss = 1000, .has_sack_permitted = true};

/* ---- who speaks it ------------------------------------------------------------------------- */

static struct peer *establish_ecn(void)
{
    struct peer *peer = peer_connecting(FOYER_OPT_ECN, FOYER_ECN_REQUEST);

    peer_expect(peer, SYN | ECE | CWR, 0, 0, 0);
    peer_send(peer,
              (struct seg){
                  .flags = SYN | ACK | ECE, .ack = 1, .window = 60000, .options = plain_options});
    peer_events(peer);
    peer_drain(peer);
    return peer;
}

static int ecn_of_new_data(struct peer *peer)
{
    peer_write(peer, 1000);
    return peer_expect(peer, ACK | PSH, 1, 1, 1000).tos & 3;
}

/* Section 6.1.1: the SYN asks with ECE and CWR, the SYN-ACK agrees with ECE alone.
 * [test RFC3168 6.1.1a 6.1.1b 6.1.1e] */
static void ecn_is_accepted_by_a_listener(void **state)
{
    static const struct {
        int64_t option;
        uint16_t syn_flags;
        bool is_agreed;
    } rows[] = {
        {FOYER_ECN_ACCEPT, ECE | CWR, true}, {FOYER_ECN_REQUEST, ECE | CWR, true},
        {FOYER_ECN_OFF, ECE | CWR, false},   {FOYER_ECN_ACCEPT, ECE, false},
        {FOYER_ECN_ACCEPT, CWR, false},      {FOYER_ECN_REQUEST, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int is_held = 0; is_held < 2; is_held++) {
            struct peer *peer = peer_create();
            peer_listen(peer, 4);
            assert_int_equal(
                foyer_socket_set_option(peer->host, peer->listener, FOYER_OPT_ECN, rows[i].option),
                0);
            assert_int_equal(
                foyer_socket_set_option(peer->host, peer->listener, FOYER_OPT_HOLD, is_held), 0);
            peer_send(peer, (struct seg){.flags = SYN | rows[i].syn_flags,
                                         .window = 60000,
                                         .options = plain_options});
            foyer_request request;
            if (is_held) {
                assert_int_equal(foyer_request_next(peer->host, peer->listener, &request), 0);
                foyer_request_accept(peer->host, request, peer->now);
            }
            struct seg answer =
                peer_expect(peer, SYN | ACK | (rows[i].is_agreed ? ECE : 0), 0, 1, 0);
            assert_int_equal(answer.tos & 3, NOT_ECT); /* section 6.1.1: not on a SYN-ACK */
            peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
            peer_events(peer);
            peer_drain(peer);
            assert_int_equal(ecn_of_new_data(peer), rows[i].is_agreed ? ECT_0 : NOT_ECT);
            peer_destroy(peer);
        }
    }
}

/* Section 6.1.1: who has received a SYN that does not ask SHOULD NOT set ECT.
 * [test RFC3168 6.1.1c] */
static void ecn_given_up_by_the_client_is_given_up(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 4);
    peer_send(peer, (struct seg){.flags = SYN | ECE | CWR, .window = 60000});
    peer_expect(peer, SYN | ACK | ECE, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_events(peer);
    peer_drain(peer);
    peer_write(peer, 100);
    assert_int_equal(peer_expect(peer, ACK | PSH, 1, 1, 100).tos & 3, NOT_ECT);
    peer_destroy(peer);
}

/* Section 6.1.1: a host that has sent a SYN that does not ask MUST NOT set ECT; section 6.1.1.1:
 * the second SYN does not ask. [test RFC3168 6.1.1b 6.1.1.1a] */
static void ecn_is_given_up_with_a_lost_syn(void **state)
{
    (void)state;
    struct peer *peer = peer_connecting(FOYER_OPT_ECN, FOYER_ECN_REQUEST);
    peer_expect(peer, SYN | ECE | CWR, 0, 0, 0);
    peer_advance(peer, 1 * S);
    peer_expect(peer, SYN, 0, 0, 0);
    peer_send(peer,
              (struct seg){
                  .flags = SYN | ACK | ECE, .ack = 1, .window = 60000, .options = plain_options});
    peer_events(peer);
    peer_drain(peer);
    assert_int_equal(ecn_of_new_data(peer), NOT_ECT);
    peer_destroy(peer);
}

/* A cookie has a bit for it in the timestamp; without one it cannot be remembered. */
static void ecn_travels_in_a_cookie(void **state)
{
    (void)state;
    for (int has_timestamps = 0; has_timestamps < 2; has_timestamps++) {
        struct peer *peer = peer_create();
        peer_listen(peer, 1);
        for (uint32_t i = 0; i < TCP_REQUESTS_MIN; i++)
            peer_send(peer, (struct seg){
                                .flags = SYN, .window = 60000, .src_port = (uint16_t)(1000 + i)});
        peer_drain(peer);
        struct wire_tcp_options options = plain_options;
        options.has_timestamps = has_timestamps;
        options.timestamp_value = 5000;
        peer_send(peer,
                  (struct seg){.flags = SYN | ECE | CWR, .window = 60000, .options = options});
        struct seg answer = peer_expect(peer, SYN | ACK | (has_timestamps ? ECE : 0), 0, 1, 0);
        struct wire_tcp_options echo = {.has_timestamps = has_timestamps,
                                        .timestamp_value = 5001,
                                        .timestamp_echo = answer.options.timestamp_value};
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000, .options = echo});
        peer_events(peer);
        peer_drain(peer);
        peer_write(peer, 100);
        assert_int_equal(peer_expect(peer, ACK | PSH, 1, 1, 100).tos & 3,
                         has_timestamps ? ECT_0 : NOT_ECT);
        peer_destroy(peer);
    }
}

/* ---- marks and echoes ---------------------------------------------------------------------------- */

/* [test RFC9293 SHLD-8] [test RFC3168 5a 6.1.5a] */
static void ecn_marks_new_data_only(void **state)
{
    struct peer *peer = establish_ecn();

    (void)state;
    peer_write(peer, 1000);
    struct seg seg = peer_expect(peer, ACK | PSH, 1, 1, 1000);
    assert_int_equal(seg.tos & 3, 2); /* ECT(0) */
    while (peer_stats(peer).tcp_rto_fired == 0)
        peer_advance(peer, 10 * MS);
    seg = peer_expect(peer, ACK | PSH, 1, 1, 1000);
    assert_int_equal(seg.tos & 3, 0); /* section 6.1.5 */
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-8] [test RFC3168 6.1.3a 6.1.4a] */
static void ecn_ce_is_echoed_until_cwr(void **state)
{
    struct peer *peer = establish_ecn();

    (void)state;
    peer_send(peer, (struct seg){
                        .flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000, .tos = 3});
    struct seg seg = peer_expect(peer, ACK | ECE, 1, 11, 0);
    assert_int_equal(seg.tos & 3, 0); /* section 6.1.4 */
    peer_send(peer, (struct seg){
                        .flags = ACK, .seq = 11, .ack = 1, .size = 10, .window = 60000, .tos = 2});
    peer_expect(peer, ACK | ECE, 1, 21, 0);
    peer_send(peer,
              (struct seg){
                  .flags = ACK | CWR, .seq = 21, .ack = 1, .size = 10, .window = 60000, .tos = 2});
    peer_expect(peer, ACK, 1, 31, 0);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-8] [test RFC3168 5b 6.1.2a 6.1.1d] */
static void ecn_echo_reduces_once_per_window_and_says_cwr(void **state)
{
    struct peer *peer = establish_ecn();
    struct seg seg;
    unsigned cwr_count = 0;

    (void)state;
    peer_write(peer, 60000);
    peer_drain(peer);
    for (uint32_t number = 1001; number <= 8001; number += 1000) {
        peer_send(peer, (struct seg){.flags = ACK | ECE, .seq = 1, .ack = number, .window = 60000});
        while (peer_recv(peer, &seg))
            cwr_count += (seg.flags & CWR) != 0;
    }
    assert_int_equal(peer_stats(peer).tcp_ecn_reductions, 1);
    assert_int_equal(peer_stats(peer).tcp_retrans_segs, 0);
    assert_int_equal(cwr_count, 1);
    assert_in_range(peer_info(peer).ssthresh_bytes, 6000, 7000);
    peer_destroy(peer);
}

static void ecn_is_not_spoken_where_it_was_not_asked_for(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &plain_options, 60000);
    peer_drain(peer);
    peer_send(peer, (struct seg){
                        .flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000, .tos = 3});
    peer_expect(peer, ACK, 1, 11, 0);
    peer_write(peer, 1000);
    struct seg seg = peer_expect(peer, ACK | PSH, 1, 11, 1000);
    assert_int_equal(seg.tos & 3, 0);
    peer_destroy(peer);
}

/* Section 6.1.3: CWR ends the echo, also where the same segment is marked again: then it begins
 * anew. And section 6.1.5: a mark of bytes that came before means nothing. [test RFC3168 6.1.5b] */
static void ecn_mark_of_old_bytes_is_not_echoed(void **state)
{
    struct peer *peer = establish_ecn();

    (void)state;
    peer_send(
        peer,
        (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000, .tos = ECT_0});
    peer_expect(peer, ACK, 1, 11, 0);
    peer_send(peer, (struct seg){
                        .flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000, .tos = CE});
    peer_expect(peer, ACK, 1, 11, 0);
    peer_send(peer,
              (struct seg){
                  .flags = ACK | CWR, .seq = 11, .ack = 1, .size = 10, .window = 60000, .tos = CE});
    peer_expect(peer, ACK | ECE, 1, 21, 0);
    peer_destroy(peer);
}

/* Section 6.1.2: the sender says CWR after any reduction, on new data only (section 6.1.5); what
 * is echoed for the same window is no reason to reduce again. [test RFC3168 6.1.2c] */
static void ecn_loss_says_cwr_and_counts_once(void **state)
{
    struct peer *peer = establish_ecn();
    struct seg seg;
    unsigned cwr_count = 0, again_count = 0;
    uint32_t highest = 0;

    (void)state;
    peer_write(peer, 60000);
    while (peer_recv(peer, &seg))
        highest = seg.seq + seg.size;
    for (uint32_t right = 3001; right <= 10001; right += 1000) {
        struct wire_tcp_options sack = {.sack_count = 1};
        sack.sack[0].left = SEQ(2001);
        sack.sack[0].right = SEQ(right);
        peer_send(peer, (struct seg){.flags = ACK | (right > 6001 ? ECE : 0),
                                     .seq = 1,
                                     .ack = 1001,
                                     .window = 60000,
                                     .options = sack});
        peer_advance(peer, 1 * MS);
        while (peer_recv(peer, &seg)) {
            bool is_new = seg.seq >= highest;
            if ((seg.flags & CWR) != 0) {
                assert_true(is_new);
                cwr_count++;
            }
            if (!is_new) {
                assert_int_equal(seg.tos & 3, NOT_ECT);
                again_count++;
            } else {
                highest = seg.seq + seg.size;
            }
        }
    }
    assert_true(again_count >= 1);
    assert_int_equal(cwr_count, 1);
    assert_int_equal(peer_stats(peer).tcp_fast_recoveries, 1);
    assert_int_equal(peer_stats(peer).tcp_ecn_reductions, 0);
    assert_in_range(peer_info(peer).ssthresh_bytes, 6000, 8000); /* 0.7 of the flight, once */
    peer_destroy(peer);
}

/* After a timeout, too. */
static void ecn_timeout_says_cwr(void **state)
{
    struct peer *peer = establish_ecn();
    struct seg seg;

    (void)state;
    peer_write(peer, 3000);
    peer_drain(peer);
    while (peer_stats(peer).tcp_rto_fired == 0)
        peer_advance(peer, 10 * MS);
    while (peer_recv(peer, &seg)) {
        assert_int_equal(seg.flags & CWR, 0);
        assert_int_equal(seg.tos & 3, NOT_ECT);
    }
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 3001, .window = 60000});
    peer_drain(peer);
    peer_write(peer, 2000);
    seg = peer_expect(peer, ACK | CWR, 3001, 1, 1000);
    assert_int_equal(seg.tos & 3, ECT_0);
    peer_expect(peer, ACK | PSH, 4001, 1, 1000);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ecn_is_accepted_by_a_listener),
        cmocka_unit_test(ecn_given_up_by_the_client_is_given_up),
        cmocka_unit_test(ecn_is_given_up_with_a_lost_syn),
        cmocka_unit_test(ecn_travels_in_a_cookie),
        cmocka_unit_test(ecn_marks_new_data_only),
        cmocka_unit_test(ecn_ce_is_echoed_until_cwr),
        cmocka_unit_test(ecn_mark_of_old_bytes_is_not_echoed),
        cmocka_unit_test(ecn_echo_reduces_once_per_window_and_says_cwr),
        cmocka_unit_test(ecn_loss_says_cwr_and_counts_once),
        cmocka_unit_test(ecn_timeout_says_cwr),
        cmocka_unit_test(ecn_is_not_spoken_where_it_was_not_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
