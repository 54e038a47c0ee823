/*
 * More accurate ECN feedback, RFC 9768: who speaks it and what the handshake tells, what the
 * receiver counts and when it says so, what the sender makes of it, and where it stops to believe.
 */
#include "unit/stack/tcp_peer.h"

#include "stack/tcp.h"

#define ECE WIRE_TCP_ECE
#define CWR WIRE_TCP_CWR
#define AE WIRE_TCP_AE
#define ACE(n) ((uint16_t)((n) << 6))
#define ASK (AE | CWR | ECE)
#define NOT_ECT 0
#define ECT_1 1
#define ECT_0 2
#define CE 3

static const struct wire_tcp_options plain_options = {
    .has_mss = true, .mss = 1000, .has_sack_permitted = true};

/* ---- connections ------------------------------------------------------------------------------------ */

static void send_syn(struct peer *peer, uint16_t flags, uint8_t tos)
{
    peer_send(
        peer,
        (struct seg){.flags = SYN | flags, .window = 60000, .options = plain_options, .tos = tos});
}

static void send_ack(struct peer *peer, unsigned ace, uint32_t seq, uint32_t ack)
{
    peer_send(peer, (struct seg){.flags = ACK | ACE(ace), .seq = seq, .ack = ack, .window = 60000});
}

static void send_data(struct peer *peer, uint32_t seq, uint32_t size, uint8_t tos)
{
    peer_send(peer, (struct seg){.flags = ACK | ACE(5),
                                 .seq = seq,
                                 .ack = 1,
                                 .size = size,
                                 .window = 60000,
                                 .tos = tos});
}

/* The answer to the host's SYN. */
static void send_syn_ack(struct peer *peer, unsigned ace, uint8_t tos)
{
    peer_send(peer, (struct seg){.flags = SYN | ACK | ACE(ace),
                                 .ack = 1,
                                 .window = 60000,
                                 .options = plain_options,
                                 .tos = tos});
}

static struct peer *connecting(void)
{
    return peer_connecting(FOYER_OPT_ECN, FOYER_ECN_ACCURATE);
}

/* A listener that has been asked for AccECN and has agreed. */
static struct peer *answered(void)
{
    struct peer *peer = peer_listening(4, FOYER_OPT_ECN, FOYER_ECN_ACCURATE);

    send_syn(peer, ASK, NOT_ECT);
    assert_true(peer_expect(peer, SYN | ACK | ACE(2), 0, 1, 0).options.has_accecn);
    return peer;
}

/* The ACK that completes the host's handshake as a server. */
static void send_last_ack(struct peer *peer, unsigned ace)
{
    send_ack(peer, ace, 1, 1);
    peer_events(peer);
    peer_drain(peer);
}

/* A connection that the host asked for, both ends in AccECN mode. */
static struct peer *establish_with(uint32_t congestion)
{
    struct peer *peer = connecting();

    if (congestion != FOYER_CONGESTION_CUBIC)
        assert_int_equal(
            foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_CONGESTION, congestion), 0);
    peer_expect(peer, SYN | ASK, 0, 0, 0);
    send_syn_ack(peer, 2, NOT_ECT);
    peer_events(peer);
    peer_drain(peer);
    return peer;
}

static struct peer *establish(void)
{
    return establish_with(FOYER_CONGESTION_CUBIC);
}

static void write_flight(struct peer *peer, uint32_t size)
{
    peer_write(peer, size);
    peer_drain(peer);
}

static uint8_t ecn_of_new_data(struct peer *peer)
{
    struct seg seg;

    peer_write(peer, 1000);
    assert_true(peer_recv(peer, &seg));
    assert_int_equal(seg.size, 1000);
    return seg.tos & 3;
}

/* ---- the handshake ---------------------------------------------------------------------------------- */

/* [test RFC9768 3.1.1b 3.1.1c 3.1.2c 3.1.2f 3.1.3a 3.1.3c]
 * [test RFC9768 3.2.2.2b 3.2.3.2.1a 3.2.3.2.1b] */
static void a_listener_agrees_and_tells_the_mark_of_the_syn(void **state)
{
    static const struct {
        int64_t option;
        uint16_t syn;
        uint8_t tos;
        uint16_t answer;
    } rows[] = {
        {FOYER_ECN_ACCURATE_ACCEPT, ASK, NOT_ECT, ACE(2)},
        {FOYER_ECN_ACCURATE_ACCEPT, ASK, ECT_1, ACE(3)},
        {FOYER_ECN_ACCURATE_ACCEPT, ASK, ECT_0, ACE(4)},
        {FOYER_ECN_ACCURATE, ASK, CE, ACE(6)},
        {FOYER_ECN_ACCURATE, ACE(1), NOT_ECT, ACE(2)}, /* reserved for later versions */
        {FOYER_ECN_ACCURATE, ACE(2), NOT_ECT, ACE(2)},
        {FOYER_ECN_ACCURATE, ACE(4), NOT_ECT, ACE(2)},
        {FOYER_ECN_ACCURATE, ACE(5), NOT_ECT, ACE(2)},
        {FOYER_ECN_ACCURATE, ACE(6), NOT_ECT, ACE(2)},
        {FOYER_ECN_ACCURATE, CWR | ECE, NOT_ECT, ECE}, /* RFC 3168's */
        {FOYER_ECN_ACCURATE, 0, NOT_ECT, 0},
        {FOYER_ECN_ACCEPT, ASK, NOT_ECT, ECE}, /* what is not known is RFC 3168's question */
        {FOYER_ECN_OFF, ASK, NOT_ECT, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *peer = peer_listening(4, FOYER_OPT_ECN, rows[i].option);
        bool is_accurate = (rows[i].answer & (AE | CWR)) != 0;
        send_syn(peer, rows[i].syn, rows[i].tos);
        struct seg answer = peer_expect(peer, SYN | ACK | rows[i].answer, 0, 1, 0);
        assert_int_equal(answer.options.has_accecn, is_accurate);
        if (is_accurate) {
            assert_int_equal(answer.options.accecn_count, 3);
            assert_int_equal(answer.options.accecn[0], 1);
            assert_int_equal(answer.options.accecn[1], 0);
            assert_int_equal(answer.options.accecn[2], 1);
        }
        send_last_ack(peer, is_accurate ? 2 : 0);
        assert_int_equal(peer_info(peer).has_accurate_ecn, is_accurate);
        assert_int_equal(peer_info(peer).has_ecn, rows[i].answer == ECE);
        assert_int_equal(peer_info(peer).ecn.received_ce, 0); /* the SYN's mark is told already */
        assert_int_equal(ecn_of_new_data(peer), rows[i].answer != 0 ? ECT_0 : NOT_ECT);
        peer_destroy(peer);
    }
}

/* Table 4: what the handshake's last ACK says of our SYN-ACK, which went as Not-ECT.
 * [test RFC9768 3.1.5h 3.2.2.1c 3.2.2.1d 3.2.2.1e 3.2.2.3a] */
static void the_last_ack_tells_the_mark_of_the_syn_ack(void **state)
{
    static const struct {
        bool may_mark, is_deaf;
        uint32_t marks;
    } rows[8] = {{false, true, 0},  {true, false, 0}, {true, false, 0},  {false, false, 0},
                 {false, false, 0}, {true, false, 0}, {false, false, 1}, {true, false, 0}};

    (void)state;
    for (unsigned ace = 0; ace < 8; ace++) {
        struct peer *peer = answered();
        send_last_ack(peer, ace);
        assert_true(peer_info(peer).has_accurate_ecn);
        assert_int_equal(peer_info(peer).ecn.delivered_ce, rows[ace].marks);
        assert_int_equal(ecn_of_new_data(peer), rows[ace].may_mark ? ECT_0 : NOT_ECT);
        send_ack(peer, (5 + rows[ace].marks + 1) & 7, 1, 1001);
        assert_int_equal(peer_stats(peer).tcp_ecn_reductions, 0); /* nothing is out any more */
        peer_write(peer, 2000);
        peer_drain(peer);
        send_ack(peer, (5 + rows[ace].marks + 2) & 7, 1, 2001);
        assert_int_equal(peer_stats(peer).tcp_ecn_reductions, !rows[ace].is_deaf);
        /* Its own marks are told all the same. */
        peer_send(peer, (struct seg){.flags = ACK | ACE((5 + rows[ace].marks + 2) & 7),
                                     .seq = 1,
                                     .ack = 2001,
                                     .size = 1000,
                                     .window = 60000,
                                     .tos = CE});
        struct seg seg;
        do
            assert_true(peer_recv(peer, &seg));
        while (seg.ack != 1001);
        assert_int_equal(seg.flags & ASK, ACE(6));
        peer_destroy(peer);
    }
}

/* With SACK blocks it is a count, as every other. */
static void an_ack_with_sack_blocks_has_no_handshakes_encoding(void **state)
{
    struct peer *peer = answered();

    (void)state;
    peer_send(peer, (struct seg){.flags = ACK | ACE(6),
                                 .seq = 1,
                                 .ack = 1,
                                 .window = 60000,
                                 .options = {.sack_count = 1, .sack = {{SEQ(2001), SEQ(3001)}}}});
    peer_events(peer);
    peer_drain(peer);
    assert_int_equal(ecn_of_new_data(peer), ECT_0);
    peer_destroy(peer);
}

/* [test RFC9768 3.1.1a 3.1.1d 3.1.2a 3.1.2b 3.1.2d 3.1.2e 3.1.3b 3.1.5e 3.2.2.1a 3.2.2.2b 3.2.2.2c 3.2.2.3a] */
static void a_client_follows_the_answer(void **state)
{
    static const struct {
        unsigned answer;
        uint8_t tos;
        bool is_accurate, is_classic, may_mark;
        unsigned first_ace, received_ce;
    } rows[] = {
        {2, NOT_ECT, true, false, true, 2, 0},
        {2, ECT_1, true, false, true, 3, 0},
        {2, ECT_0, true, false, true, 4, 0},
        {2, CE, true, false, true, 6, 1},
        {5, NOT_ECT, true, false, true, 2, 0},  /* reserved: as it was sent */
        {3, NOT_ECT, true, false, false, 2, 0}, /* mangled: our SYN was Not-ECT */
        {4, NOT_ECT, true, false, false, 2, 0}, /* */
        {6, NOT_ECT, true, false, false, 2, 0}, /* */
        {1, NOT_ECT, false, true, true, 0, 0},  /* RFC 3168's */
        {0, NOT_ECT, false, false, false, 0, 0},
        {7, NOT_ECT, false, false, false, 0, 0}, /* our own flags back */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *peer = connecting();
        struct seg syn = peer_expect(peer, SYN | ASK, 0, 0, 0);
        assert_false(syn.options.has_accecn);
        send_syn_ack(peer, rows[i].answer, rows[i].tos);
        peer_write(peer, 1000); /* it does not take the bare ACK's place */
        peer_events(peer);
        assert_int_equal(peer_info(peer).has_accurate_ecn, rows[i].is_accurate);
        assert_int_equal(peer_info(peer).has_ecn, rows[i].is_classic);
        assert_int_equal(peer_info(peer).ecn.received_ce, rows[i].received_ce);
        assert_int_equal(peer_info(peer).ecn.delivered_ce, 0);
        if (rows[i].is_accurate) {
            struct seg first = peer_expect(peer, ACK | ACE(rows[i].first_ace), 1, 1, 0);
            assert_true(first.options.has_accecn);
            assert_true(first.options.accecn[0] != 0 && first.options.accecn[2] != 0);
        }
        struct seg data = peer_expect(
            peer, ACK | PSH | (rows[i].is_accurate ? ACE(5 + rows[i].received_ce) : 0), 1, 1, 1000);
        assert_int_equal(data.tos & 3, rows[i].may_mark ? ECT_0 : NOT_ECT);
        peer_destroy(peer);
    }
}

/* The SYN-ACK comes again: our ACK was lost. It may have lost its flags by then (section 3.2.3.2.2).
 * [test RFC9768 3.2.2.1b 3.1.5d] */
static void a_syn_ack_again_is_answered_with_the_handshakes_encoding(void **state)
{
    struct peer *peer = establish();

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        send_syn_ack(peer, i < 2 ? 2 : 0, i < 2 ? CE : ECT_0);
        peer_expect(peer, ACK | ACE(i < 2 ? 6 : 4), 1, 1, 0);
        assert_int_equal(peer_info(peer).ecn.received_ce, 1); /* once, however many are marked */
    }
    peer_send(peer, (struct seg){
                        .flags = ACK | ACE(5), .seq = 1, .ack = 1, .size = 2000, .window = 60000});
    peer_expect(peer, ACK | ACE(6), 1, 2001, 0); /* the counter: 5 + 1 */
    peer_destroy(peer);
}

/* [test RFC9768 3.1.4.1a 3.1.5b] */
static void a_lost_question_is_asked_twice(void **state)
{
    struct peer *peer = connecting();

    (void)state;
    struct seg first = peer_expect(peer, SYN | ASK, 0, 0, 0);
    (void)first;
    for (unsigned i = 0; i < 4; i++) {
        peer_advance_to_deadline(peer, 100 * FOYER_NS_PER_S);
        peer_expect(peer, SYN | (i == 0 ? ASK : 0), 0, 0, 0); /* never RFC 3168's after it */
    }
    /* The answer to the first one, late: the mode is the server's. */
    send_syn_ack(peer, 2, NOT_ECT);
    peer_expect(peer, ACK | ACE(2), 1, 1, 0);
    assert_true(peer_info(peer).has_accurate_ecn);
    assert_int_equal(ecn_of_new_data(peer), ECT_0); /* section 3.1.4.1: a client still may */
    peer_destroy(peer);
}

/* [test RFC9768 3.1.5a 3.1.5d 3.1.5f 3.1.5i] */
static void a_syn_again_changes_no_mode(void **state)
{
    struct peer *peer = answered();

    (void)state;
    send_syn(peer, ASK, CE);
    struct seg again = peer_expect(peer, SYN | ACK | ACE(6), 0, 1, 0);
    assert_false(again.options.has_accecn); /* section 3.2.3.2.2 */
    send_syn(peer, 0, NOT_ECT);
    peer_expect(peer, SYN | ACK | ACE(2), 0, 1, 0);
    send_last_ack(peer, 2);
    assert_true(peer_info(peer).has_accurate_ecn);
    assert_int_equal(ecn_of_new_data(peer), NOT_ECT); /* the client may be without it */
    peer_destroy(peer);
    /* And who began without it goes on without it. */
    peer = peer_listening(4, FOYER_OPT_ECN, FOYER_ECN_ACCURATE);
    send_syn(peer, 0, NOT_ECT);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    send_syn(peer, ASK, NOT_ECT);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    send_ack(peer, 0, 1, 1);
    peer_events(peer);
    assert_false(peer_info(peer).has_accurate_ecn);
    send_data(peer, 1, 1000, ECT_0); /* is no sign that the peer speaks it */
    peer_drain(peer);
    assert_int_equal(ecn_of_new_data(peer), NOT_ECT);
    peer_destroy(peer);
}

/* [test RFC9768 3.1.5c] */
static void two_questions_in_one_handshake_are_reset(void **state)
{
    (void)state;
    for (int is_classic_first = 0; is_classic_first < 2; is_classic_first++) {
        struct peer *peer = peer_listening(4, FOYER_OPT_ECN, FOYER_ECN_ACCURATE);
        send_syn(peer, is_classic_first ? CWR | ECE : ASK, NOT_ECT);
        peer_expect(peer, SYN | ACK | (is_classic_first ? ECE : ACE(2)), 0, 1, 0);
        send_syn(peer, is_classic_first ? ASK : CWR | ECE, NOT_ECT);
        struct seg seg;
        assert_true(peer_recv(peer, &seg));
        assert_int_equal(seg.flags & (RST | SYN), RST);
        peer_expect_nothing(peer);
        peer_destroy(peer);
    }
}

/* [test RFC9768 3.1.5f 3.2.3.2.2a] */
static void a_lost_syn_ack_goes_plainer_each_time(void **state)
{
    struct peer *peer = answered();

    (void)state;
    peer_advance(peer, 1100 * MS);
    assert_false(peer_expect(peer, SYN | ACK | ACE(2), 0, 1, 0).options.has_accecn);
    peer_advance(peer, 2100 * MS);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    send_last_ack(peer, 2); /* of the first or second one */
    assert_true(peer_info(peer).has_accurate_ecn);
    assert_int_equal(ecn_of_new_data(peer), NOT_ECT);
    peer_destroy(peer);
}

/* [test RFC9768 3.1.2f] */
static void crossing_syns_agree(void **state)
{
    struct peer *peer = connecting();

    (void)state;
    peer_expect(peer, SYN | ASK, 0, 0, 0);
    send_syn(peer, ASK, ECT_0);
    peer_expect(peer, SYN | ACK | ACE(4), 0, 1, 0);
    send_syn_ack(peer, 2, NOT_ECT);
    peer_events(peer);
    peer_drain(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_true(peer_info(peer).has_accurate_ecn);
    assert_int_equal(ecn_of_new_data(peer), ECT_0);
    peer_destroy(peer);
}

/* ---- the receiver ----------------------------------------------------------------------------------- */

/* A connection whose first bytes have come, so that ACKs are delayed. */
static struct peer *establish_delaying(void)
{
    struct peer *peer = establish();

    for (uint32_t i = 0; i < 20; i++) {
        send_data(peer, 1 + 100 * i, 100, NOT_ECT);
        peer_advance(peer, 50 * MS);
        peer_drain(peer);
    }
    return peer;
}

/* [test RFC9768 3.2a 3.2b 3.2.2a 3.2.2.5.1a 3.2.2.5.1b] */
static void marks_are_counted_and_told(void **state)
{
    struct peer *peer = establish_delaying();
    uint32_t seq = 2001;

    (void)state;
    send_data(peer, seq, 100, ECT_0);
    peer_expect_nothing(peer);
    send_data(peer, seq += 100, 100, CE); /* a change: at once */
    peer_expect(peer, ACK | ACE(6), 1, seq + 100, 0);
    send_data(peer, seq += 100, 100, CE); /* no change, and one mark: later */
    peer_expect_nothing(peer);
    send_data(peer, seq += 100, 100, CE); /* two marks */
    peer_expect(peer, ACK | ACE(0), 1, seq + 100, 0);
    send_data(peer, seq += 100, 100, NOT_ECT);
    peer_expect_nothing(peer);
    send_data(peer, seq += 100, 100, CE); /* again */
    peer_expect(peer, ACK | ACE(1), 1, seq + 100, 0);
    assert_int_equal(peer_info(peer).ecn.received_ce, 4);
    assert_int_equal(peer_info(peer).ecn.received_ce_bytes, 400);
    assert_int_equal(peer_info(peer).ecn.received_e0_bytes, 100);
    send_data(peer, seq - 200, 100, CE); /* all of it is old: not acceptable */
    peer_drain(peer);
    assert_int_equal(peer_info(peer).ecn.received_ce, 4);
    peer_destroy(peer);
}

/* ACKs that are marked: after three of them, told by an ACK of ACKs. [test RFC9768 3.2.2.5.1b] */
static void marked_acks_are_told(void **state)
{
    struct peer *peer = establish();

    (void)state;
    peer_write(peer, 5000);
    peer_drain(peer);
    for (uint32_t i = 1; i <= 3; i++) {
        peer_send(
            peer,
            (struct seg){
                .flags = ACK | ACE(5), .seq = 1, .ack = 1 + 1000 * i, .window = 60000, .tos = CE});
        if (i < 3)
            peer_expect_nothing(peer);
    }
    peer_expect(peer, ACK | ACE(0), 5001, 1, 0);
    peer_destroy(peer);
}

/* An ACK of ACKs that told of a gap would look like a duplicate ACK. [test RFC9768 3.2.2.5.1c] */
static void marked_acks_are_not_told_beside_a_gap(void **state)
{
    struct peer *peer = establish();

    (void)state;
    write_flight(peer, 5000);
    send_data(peer, 1001, 1000, NOT_ECT);
    peer_drain(peer);
    for (uint32_t i = 1; i <= 4; i++) {
        peer_send(
            peer,
            (struct seg){
                .flags = ACK | ACE(5), .seq = 1, .ack = 1 + 1000 * i, .window = 60000, .tos = CE});
        peer_expect_nothing(peer);
    }
    peer_destroy(peer);
}

static void expect_option(struct peer *peer, uint8_t order, uint8_t count, uint32_t a, uint32_t b,
                          uint32_t c)
{
    struct seg seg;

    do
        assert_true(peer_recv(peer, &seg));
    while (!seg.options.has_accecn);
    assert_int_equal(seg.options.accecn_order, order);
    assert_int_equal(seg.options.accecn_count, count);
    assert_int_equal(seg.options.accecn[0], a);
    if (count > 1)
        assert_int_equal(seg.options.accecn[1], b);
    if (count > 2)
        assert_int_equal(seg.options.accecn[2], c);
    peer_drain(peer);
}

/* [test RFC9768 3.2.3a 3.2.3.1a 3.2.3.3b 3.2.3.3c] */
static void options_tell_the_bytes_that_changed(void **state)
{
    struct peer *peer = establish();

    (void)state;
    send_data(peer, 1, 2000, ECT_0);
    expect_option(peer, 0, 1, 2001, 0, 0);
    send_data(peer, 2001, 2000, CE);
    expect_option(peer, 0, 2, 2001, 2000, 0);
    send_data(peer, 4001, 2000, ECT_1);
    expect_option(peer, 0, 3, 2001, 2000, 2001);
    send_data(peer, 6001, 2000, NOT_ECT); /* no counter moves: none */
    struct seg seg = peer_expect(peer, ACK | ACE(6), 1, 8001, 0);
    assert_false(seg.options.has_accecn);
    peer_destroy(peer);

    peer = establish();
    send_data(peer, 1, 2000, ECT_1);
    expect_option(peer, 1, 1, 2001, 0, 0);
    send_data(peer, 2001, 2000, CE);
    expect_option(peer, 1, 2, 2001, 2000, 0);
    peer_destroy(peer);
}

/* Text has it where its segment is not full: it makes none longer than the path takes.
 * [test RFC9768 3.2.3.2.1c] */
static void text_that_leaves_room_has_the_option(void **state)
{
    /* The option of one counter has 8 bytes with its padding. */
    static const struct {
        uint32_t size, told;
    } rows[] = {{1000, 0}, {993, 0}, {992, 301}, {1, 401}};
    struct peer *peer = establish_delaying();
    uint32_t seq = 2001, sent = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        send_data(peer, seq, 100, ECT_0);
        peer_expect_nothing(peer);
        seq += 100;
        peer_write(peer, rows[i].size);
        struct seg seg = peer_expect(peer, ACK | PSH | ACE(5), sent, seq, rows[i].size);
        assert_int_equal(seg.options.has_accecn, rows[i].told != 0);
        assert_int_equal(seg.options.accecn[0], rows[i].told);
        sent += rows[i].size;
        send_ack(peer, 5, seq, sent);
        peer_drain(peer);
    }
    peer_write(peer, 1); /* no news */
    assert_false(peer_expect(peer, ACK | PSH | ACE(5), sent, seq, 1).options.has_accecn);
    peer_destroy(peer);
}

/* Two SACK blocks go before the option. [test RFC9768 3.2.3.3a] */
static void sack_comes_first(void **state)
{
    struct wire_tcp_options options = plain_options;
    struct peer *peer = connecting();
    struct seg seg;

    (void)state;
    options.has_timestamps = true;
    options.timestamp_value = 1000;
    peer_expect(peer, SYN | ASK, 0, 0, 0);
    peer_send(
        peer,
        (struct seg){.flags = SYN | ACK | ACE(2), .ack = 1, .window = 60000, .options = options});
    peer_drain(peer);
    options = (struct wire_tcp_options){.has_timestamps = true, .timestamp_value = 1001};
    static const uint8_t marks[] = {ECT_0, CE, ECT_0};
    for (uint32_t i = 0; i < 3; i++) {
        peer_send(peer, (struct seg){.flags = ACK | ACE(5),
                                     .seq = 1001 + 2000 * i,
                                     .ack = 1,
                                     .size = 1000,
                                     .window = 60000,
                                     .options = options,
                                     .tos = marks[i]});
        assert_true(peer_recv(peer, &seg));
        assert_int_equal(seg.options.sack_count, i == 0 ? 1 : 2);
        assert_true(seg.options.has_accecn);
    }
    /* With three fields there is no room beside two blocks. */
    peer_send(peer, (struct seg){.flags = ACK | ACE(5),
                                 .seq = 7001,
                                 .ack = 1,
                                 .size = 1000,
                                 .window = 60000,
                                 .options = options,
                                 .tos = ECT_1});
    assert_true(peer_recv(peer, &seg));
    assert_true(seg.options.sack_count >= 2);
    assert_false(seg.options.has_accecn);
    peer_destroy(peer);
}

/* No block is given up that finds room beside the option. */
static void sack_keeps_what_there_is_room_for(void **state)
{
    struct peer *peer = establish();

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct seg seg;
        send_data(peer, 1001 + 2000 * i, 1000, ECT_0);
        assert_true(peer_recv(peer, &seg));
        assert_true(seg.options.has_accecn);
        assert_int_equal(seg.options.sack_count, i < 3 ? i + 1 : 3);
    }
    peer_destroy(peer);
}

/* ---- the sender ------------------------------------------------------------------------------------- */

static void ack_with(struct peer *peer, uint32_t number, unsigned ace,
                     const struct wire_tcp_options *options)
{
    peer_send(peer, (struct seg){.flags = ACK | ACE(ace),
                                 .seq = 1,
                                 .ack = number,
                                 .window = 60000,
                                 .options = *options});
}

/* Once per window, and nothing says CWR: the flag is part of a number. [test RFC9768 3.1.5g] */
static void marks_reduce_once_per_window(void **state)
{
    struct peer *peer = establish();
    struct seg seg;

    (void)state;
    write_flight(peer, 10000);
    uint32_t cwnd = peer_info(peer).cwnd_bytes;
    send_ack(peer, 6, 1, 1001);
    assert_int_equal(peer_stats(peer).tcp_ecn_reductions, 1);
    send_ack(peer, 0, 1, 2001);
    assert_int_equal(peer_stats(peer).tcp_ecn_reductions, 1);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 3);
    assert_true(peer_info(peer).ssthresh_bytes < cwnd);
    for (uint32_t i = 3; i <= 10; i++)
        send_ack(peer, 0, 1, 1 + 1000 * i);
    peer_drain(peer);
    peer_write(peer, 2000);
    while (peer_recv(peer, &seg))
        assert_int_equal(seg.flags & ASK, ACE(5));
    peer_destroy(peer);
}

/* [test RFC9768 3.2.2.2a 3.2.2.4b] */
static void overtaken_acks_tell_nothing(void **state)
{
    struct peer *peer = establish();

    (void)state;
    write_flight(peer, 8000);
    send_ack(peer, 7, 1, 4001); /* two marks */
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 2);
    send_ack(peer, 5, 1, 2001);
    send_ack(peer, 6, 1, 3001);
    send_ack(peer, 6, 1, 4001);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 2);
    send_ack(peer, 7, 1, 5001);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 2);
    peer_destroy(peer);
}

/* An ACK that acknowledges nothing new counts by its timestamp: not where that is the handshake's. */
static void the_handshakes_timestamp_is_no_news(void **state)
{
    struct wire_tcp_options options = plain_options;
    struct peer *peer = peer_listening(4, FOYER_OPT_ECN, FOYER_ECN_ACCURATE);

    (void)state;
    options.has_timestamps = true;
    options.timestamp_value = 1;
    peer_send(peer, (struct seg){.flags = SYN | ASK, .window = 60000, .options = options});
    peer_expect(peer, SYN | ACK | ACE(2), 0, 1, 0);
    options = (struct wire_tcp_options){.has_timestamps = true, .timestamp_value = 2};
    ack_with(peer, 1, 2, &options);
    peer_events(peer);
    write_flight(peer, 1000);
    ack_with(peer, 1, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 0);
    options.timestamp_value = 3;
    ack_with(peer, 1, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 1);
    peer_destroy(peer);

    /* Nor that of a SYN-ACK, however large the number is. */
    peer = connecting();
    options = plain_options;
    options.has_timestamps = true;
    options.timestamp_value = 0x90000000;
    peer_expect(peer, SYN | ASK, 0, 0, 0);
    peer_send(
        peer,
        (struct seg){.flags = SYN | ACK | ACE(2), .ack = 1, .window = 60000, .options = options});
    peer_drain(peer);
    options = (struct wire_tcp_options){.has_timestamps = true, .timestamp_value = 0x90000000};
    write_flight(peer, 1000);
    ack_with(peer, 1, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 0);
    options.timestamp_value++;
    ack_with(peer, 1, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 1);
    peer_destroy(peer);
}

/* Nine segments at once, and ACE went on by one: was it nine? [test RFC9768 3.2.2.5.2a] */
static void a_counter_that_may_have_wrapped(void **state)
{
    static const struct {
        bool has_option;
        uint32_t ce_bytes, marks;
    } rows[] = {{false, 0, 9}, {true, 1000, 1}, {true, 9000, 9}};
    struct wire_tcp_options options = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *peer = establish();
        write_flight(peer, 9000);
        options.has_accecn = rows[i].has_option;
        options.accecn_count = 3;
        options.accecn[0] = 9001 - rows[i].ce_bytes;
        options.accecn[1] = rows[i].ce_bytes;
        options.accecn[2] = 1;
        ack_with(peer, 9001, 6, &options);
        assert_int_equal(peer_info(peer).ecn.delivered_ce, rows[i].marks);
        if (rows[i].has_option) {
            assert_int_equal(peer_info(peer).ecn.delivered_ce_bytes, rows[i].ce_bytes);
            assert_int_equal(peer_info(peer).ecn.delivered_e0_bytes, 9000 - rows[i].ce_bytes);
        }
        peer_destroy(peer);
    }
}

/* [test RFC9768 3.2.3.1a 3.2.3.2.5a] */
static void both_orders_and_short_options_are_read(void **state)
{
    struct peer *peer = establish();
    struct wire_tcp_options options = {
        .has_accecn = true, .accecn_order = 1, .accecn_count = 2, .accecn = {501, 1500, 0}};

    (void)state;
    write_flight(peer, 9000);
    ack_with(peer, 2001, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_e1_bytes, 500);
    assert_int_equal(peer_info(peer).ecn.delivered_ce_bytes, 1500);
    options = (struct wire_tcp_options){.has_accecn = true, .accecn_count = 1, .accecn = {3001}};
    ack_with(peer, 5001, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_e0_bytes, 3000);
    options = (struct wire_tcp_options){.has_accecn = true};
    ack_with(peer, 6001, 6, &options);
    /* ACE goes on alone. */
    send_ack(peer, 7, 1, 7001);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 2);
    assert_int_equal(ecn_of_new_data(peer), ECT_0);
    peer_destroy(peer);
}

/* ---- what is not believed --------------------------------------------------------------------------- */

/* A path that clears the flags, or a peer that does not count. [test RFC9768 3.2.2.4a] */
static void a_count_of_zero_at_the_start_is_none(void **state)
{
    struct peer *peer = establish();

    (void)state;
    write_flight(peer, 2000);
    send_ack(peer, 0, 1, 2001);
    assert_int_equal(ecn_of_new_data(peer), NOT_ECT);
    write_flight(peer, 3000);
    send_ack(peer, 3, 1, 4001);
    assert_int_equal(peer_stats(peer).tcp_ecn_reductions, 0);
    send_data(peer, 1, 1000, CE); /* our own half goes on */
    struct seg seg;
    do
        assert_true(peer_recv(peer, &seg));
    while (seg.ack != 1001);
    assert_int_equal(seg.flags & ASK, ACE(6));
    peer_destroy(peer);
}

/* [test RFC9768 3.2.3.2.4a 3.2.3.2.4b] */
static void an_option_of_zeros_at_the_start_is_none(void **state)
{
    struct peer *peer = establish();
    struct wire_tcp_options options = {.has_accecn = true, .accecn_count = 3, .accecn = {0, 0, 0}};

    (void)state;
    write_flight(peer, 9000);
    ack_with(peer, 9001, 6, &options);
    assert_int_equal(peer_info(peer).ecn.delivered_ce, 9); /* as without one */
    options.accecn[0] = 5001; /* and what comes later is not believed either */
    write_flight(peer, 1000);
    ack_with(peer, 10001, 6, &options);
    assert_int_equal((int32_t)peer_info(peer).ecn.delivered_e0_bytes, 0);
    peer_destroy(peer);
    /* Another beginning than ours is no reason (MUST NOT). */
    peer = establish();
    options.accecn[0] = 700, options.accecn[1] = 5, options.accecn[2] = 9;
    write_flight(peer, 2000);
    ack_with(peer, 2001, 5, &options);
    assert_true(peer_info(peer).ecn.delivered_ce < 8);
    assert_int_equal(peer_info(peer).ecn.delivered_e0_bytes, 699);
    peer_destroy(peer);
}

/* [test RFC9768 3.2.3.2.5b] */
static void marked_bytes_without_a_marked_packet_end_ect(void **state)
{
    struct peer *peer = establish();
    struct wire_tcp_options options = {
        .has_accecn = true, .accecn_count = 2, .accecn = {1001, 1000, 0}};

    (void)state;
    write_flight(peer, 2000);
    ack_with(peer, 2001, 5, &options);
    assert_int_equal(ecn_of_new_data(peer), NOT_ECT);
    peer_destroy(peer);
}

/* Section 3.2.2.3: all of four rounds, as no queue would. */
static void marks_on_everything_are_no_queue(void **state)
{
    struct peer *peer = establish();
    unsigned ace = 5;
    uint32_t next = 1;

    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        peer_write(peer, 2000);
        struct seg seg;
        uint8_t tos = NOT_ECT;
        while (peer_recv(peer, &seg))
            if (seg.size > 0)
                tos = seg.tos & 3;
        assert_int_equal(tos, round < 4 ? ECT_0 : NOT_ECT);
        ace = (ace + 2) & 7;
        next += 2000;
        peer_advance(peer, 20 * MS);
        send_ack(peer, ace, 1, next);
    }
    peer_destroy(peer);
}

/* ---- beside it ---------------------------------------------------------------------------------------- */

/* RFC 8257 with bytes that the option counts: a quarter of them is marked. */
static void dctcp_takes_the_bytes(void **state)
{
    struct peer *peer = establish_with(FOYER_CONGESTION_DCTCP);
    const struct tcb *tcb = sock_from_handle(peer->host, peer->socket)->tcb;
    struct wire_tcp_options options = {.has_accecn = true, .accecn_count = 2};
    uint32_t ce = 0, e0 = 1, next = 1;
    unsigned ace = 5;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        write_flight(peer, 8000);
        for (unsigned i = 0; i < 4 && tcp_flight(tcb) > 0; i++) {
            next += 2000;
            ce += 500, e0 += 1500;
            if (i == 0)
                ace = (ace + 1) & 7;
            options.accecn[0] = e0, options.accecn[1] = ce;
            peer_advance(peer, 1 * MS);
            ack_with(peer, next, ace, &options);
            peer_drain(peer);
        }
        while (tcp_flight(tcb) > 0) {
            next += tcp_flight(tcb);
            options.accecn[0] = e0, options.accecn[1] = ce;
            ack_with(peer, next, ace, &options);
            peer_drain(peer);
        }
    }
    assert_in_range(tcb->cc.dctcp.alpha, (1u << 20) / 5, (1u << 20) / 3);
    peer_destroy(peer);
}

/* The link would clear CWR of the second segment and what follows. [test RFC9768 3.3.4a] */
static void super_segments_keep_the_count(void **state)
{
    struct peer *peer = peer_create_with(FOYER_LINK_TSO4, 65536);
    struct seg seg;

    (void)state;
    peer_listen(peer, 4);
    foyer_socket_set_option(peer->host, peer->listener, FOYER_OPT_ECN, FOYER_ECN_ACCURATE);
    send_syn(peer, ASK, NOT_ECT);
    peer_expect(peer, SYN | ACK | ACE(2), 0, 1, 0);
    send_last_ack(peer, 2);
    for (uint32_t marks = 0; marks < 3; marks++) {
        peer_write(peer, 4000);
        unsigned largest = 0;
        while (peer_recv(peer, &seg)) {
            assert_int_equal(seg.flags & ASK, ACE((5 + marks) & 7));
            largest = seg.size > largest ? seg.size : largest;
        }
        assert_int_equal(largest, ((5 + marks) & 2) != 0 ? 1000 : 4000);
        send_ack(peer, 5, 1, 4001 + 4000 * marks);
        peer_drain(peer);
        send_data(peer, 1 + 100 * marks, 100, CE);
        peer_drain(peer);
    }
    peer_destroy(peer);
}

/* [test RFC9768 3.2.2a] */
static void time_wait_keeps_the_count(void **state)
{
    struct peer *peer = establish();

    (void)state;
    send_data(peer, 1, 100, CE);
    peer_drain(peer);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer_read(peer, 0);
    peer_advance(peer, 1 * MS);
    peer_drain(peer);
    peer_send(peer,
              (struct seg){.flags = ACK | FIN | ACE(5), .seq = 101, .ack = 2, .window = 60000});
    peer_drain(peer);
    peer_send(peer,
              (struct seg){.flags = ACK | FIN | ACE(5), .seq = 101, .ack = 2, .window = 60000});
    struct seg seg;
    if (peer_recv(peer, &seg) && (seg.flags & RST) == 0)
        assert_int_equal(seg.flags & ASK, ACE(6));
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_agrees_and_tells_the_mark_of_the_syn),
        cmocka_unit_test(the_last_ack_tells_the_mark_of_the_syn_ack),
        cmocka_unit_test(an_ack_with_sack_blocks_has_no_handshakes_encoding),
        cmocka_unit_test(a_client_follows_the_answer),
        cmocka_unit_test(a_syn_ack_again_is_answered_with_the_handshakes_encoding),
        cmocka_unit_test(a_lost_question_is_asked_twice),
        cmocka_unit_test(a_syn_again_changes_no_mode),
        cmocka_unit_test(two_questions_in_one_handshake_are_reset),
        cmocka_unit_test(a_lost_syn_ack_goes_plainer_each_time),
        cmocka_unit_test(crossing_syns_agree),
        cmocka_unit_test(marks_are_counted_and_told),
        cmocka_unit_test(marked_acks_are_told),
        cmocka_unit_test(marked_acks_are_not_told_beside_a_gap),
        cmocka_unit_test(options_tell_the_bytes_that_changed),
        cmocka_unit_test(text_that_leaves_room_has_the_option),
        cmocka_unit_test(sack_comes_first),
        cmocka_unit_test(sack_keeps_what_there_is_room_for),
        cmocka_unit_test(marks_reduce_once_per_window),
        cmocka_unit_test(overtaken_acks_tell_nothing),
        cmocka_unit_test(the_handshakes_timestamp_is_no_news),
        cmocka_unit_test(a_counter_that_may_have_wrapped),
        cmocka_unit_test(both_orders_and_short_options_are_read),
        cmocka_unit_test(a_count_of_zero_at_the_start_is_none),
        cmocka_unit_test(an_option_of_zeros_at_the_start_is_none),
        cmocka_unit_test(marked_bytes_without_a_marked_packet_end_ect),
        cmocka_unit_test(marks_on_everything_are_no_queue),
        cmocka_unit_test(dctcp_takes_the_bytes),
        cmocka_unit_test(super_segments_keep_the_count),
        cmocka_unit_test(time_wait_keeps_the_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
