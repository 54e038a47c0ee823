/*
 * What is sent when: Nagle, cork, SWS avoidance, delayed ACKs, windows and probes, super-segments,
 * and what close makes of bytes that nobody has read or acknowledged.
 */
#include "unit/stack/tcp_peer.h"

#include <errno.h>

#include "stack/tcp.h"

static const struct wire_tcp_options mss_1000 = {.has_mss = true, .mss = 1000};

static void ack_host(struct peer *peer, uint32_t ack, uint16_t window)
{
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = ack, .window = window});
}

static void set_option(struct peer *peer, enum foyer_option option, int64_t value)
{
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, option, value), 0);
}

/* After 4 GiB the sequence numbers come round: SND.UNA is the ISN again, and our SYN is no news. */
static void an_ack_that_meets_the_isn_again_frees_what_it_acknowledges(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct sock *sock = sock_from_handle(peer->host, peer->socket);

    (void)state;
    peer_write(peer, 1000);
    peer_expect(peer, ACK | PSH, 1, 1, 1000);
    uint32_t tail = foyer_ring_tail(&sock->rings->tx);
    sock->tcb->iss = seq_add(sock->tcb->snd_una, 999);
    ack_host(peer, 1000, 60000);
    assert_int_equal(foyer_ring_tail(&sock->rings->tx) - tail, 999);
    assert_int_equal(peer_info(peer).bytes_sent, UINT32_MAX);
    ack_host(peer, 1001, 60000);
    assert_int_equal(foyer_ring_tail(&sock->rings->tx) - tail, 1000);
    assert_int_equal(peer_info(peer).bytes_sent, 1ULL << 32);
    peer_destroy(peer);
}

/* ---- Nagle, cork, PSH ------------------------------------------------------------------------------ */

/* [test RFC9293 MUST-60 MUST-61] */
static void first_small_write_goes_at_once_with_psh(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 10);
    peer_expect(peer, ACK | PSH, 1, 1, 10);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-7 SHLD-27 MAY-16] */
static void nagle_holds_the_second_small_write(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 10);
    peer_expect(peer, ACK | PSH, 1, 1, 10);
    peer_write(peer, 10);
    peer_write(peer, 10);
    peer_expect_nothing(peer);
    ack_host(peer, 11, 60000);
    peer_expect(peer, ACK | PSH, 11, 1, 20);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-28] */
static void nagle_lets_full_segments_go(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 10);
    peer_expect(peer, ACK | PSH, 1, 1, 10);
    peer_write(peer, 1010);
    peer_expect(peer, ACK, 11, 1, 1000);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* Minshall: a short segment waits only for another short one, not for full ones.
 * [test RFC9293 MUST-61] */
static void short_tail_after_full_segments_goes_at_once(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 2500);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect(peer, ACK, 1001, 1, 1000);
    peer_expect(peer, ACK | PSH, 2001, 1, 500);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-17] */
static void nodelay_sends_every_write(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    set_option(peer, FOYER_OPT_NODELAY, 1);
    for (uint32_t i = 0; i < 3; i++) {
        peer_write(peer, 10);
        peer_expect(peer, ACK | PSH, 1 + i * 10, 1, 10);
    }
    peer_destroy(peer);
}

static void nodelay_set_later_releases_what_waits(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 10);
    peer_drain(peer);
    peer_write(peer, 10);
    peer_expect_nothing(peer);
    set_option(peer, FOYER_OPT_NODELAY, 1);
    peer_expect(peer, ACK | PSH, 11, 1, 10);
    peer_destroy(peer);
}

static void cork_holds_short_segments_until_pulled(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    set_option(peer, FOYER_OPT_CORK, 1);
    peer_write(peer, 600);
    peer_expect_nothing(peer);
    peer_write(peer, 600);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect_nothing(peer);
    set_option(peer, FOYER_OPT_CORK, 0);
    peer_expect(peer, ACK | PSH, 1001, 1, 200);
    peer_destroy(peer);
}

static void nodelay_pushes_once_what_a_cork_holds(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    set_option(peer, FOYER_OPT_CORK, 1);
    set_option(peer, FOYER_OPT_NODELAY, 1); /* nothing waits */
    peer_write(peer, 40);
    peer_write(peer, 40);
    peer_expect_nothing(peer);
    set_option(peer, FOYER_OPT_NODELAY, 1);
    peer_expect(peer, ACK | PSH, 1, 1, 80);
    peer_write(peer, 40);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

static void info_tells_what_is_in_flight_and_what_is_lost(void **state)
{
    struct wire_tcp_options sack = {.sack_count = 1, .sack = {{SEQ(3001), SEQ(6001)}}};
    struct wire_tcp_options offer = {.has_mss = true, .mss = 1000, .has_sack_permitted = true};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &offer, 60000);
    assert_int_equal(peer_info(peer).flight_bytes, 0);
    peer_write(peer, 6000);
    peer_drain(peer);
    assert_int_equal(peer_info(peer).flight_bytes, 6000);
    assert_int_equal(peer_info(peer).recovery, FOYER_RECOVERY_NONE);
    peer_advance(peer, 50 * MS);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000, .options = sack});
    struct foyer_socket_info info = peer_info(peer);
    assert_int_equal(info.recovery, FOYER_RECOVERY_FAST);
    assert_int_equal(info.flight_bytes, 6000);
    assert_int_equal(info.sacked_bytes, 3000);
    assert_true(info.lost_bytes > 0 && info.lost_bytes <= 3000);
    peer_destroy(peer);
}

static void cork_lasts_200_ms_at_most(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    set_option(peer, FOYER_OPT_CORK, 1);
    peer_write(peer, 600);
    assert_int_equal(peer_advance_to_deadline(peer, FOYER_NS_PER_S), 200 * MS);
    peer_expect(peer, ACK | PSH, 1, 1, 600);
    peer_destroy(peer);
}

static void fin_overrides_nagle(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 10);
    peer_drain(peer);
    peer_write(peer, 10);
    peer_expect_nothing(peer);
    foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now);
    peer_expect(peer, ACK | PSH | FIN, 11, 1, 10);
    peer_destroy(peer);
}

/* ---- congestion window ---------------------------------------------------------------------------------- */

/* [test RFC9293 MUST-19] [test RFC9438 4.10a] */
static void initial_window_is_ten_segments(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct seg seg;
    unsigned count = 0;

    (void)state;
    peer_write(peer, 40000);
    while (peer_recv(peer, &seg))
        count++;
    assert_int_equal(count, 10);
    ack_host(peer, 10001, 60000); /* slow start: 10 acknowledged, 20 may go */
    for (count = 0; peer_recv(peer, &seg);)
        count++;
    assert_int_equal(count, 20);
    peer_destroy(peer);
}

/* ---- the peer's window -------------------------------------------------------------------------------- */

/* [test RFC9293 MUST-38] [test RFC7323 2.4c] */
static void window_is_never_exceeded(void **state)
{
    struct peer *peer = peer_establish_near(2500);

    (void)state;
    peer_write(peer, 10000);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect(peer, ACK, 1001, 1, 1000);
    peer_expect_nothing(peer); /* 500 is less than half of the largest window: SWS avoidance */
    ack_host(peer, 1001, 2500);
    peer_expect(peer, ACK, 2001, 1, 1000);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-38] What would be a lone segment is held back like any other. */
static void lone_segment_waits_for_the_window(void **state)
{
    struct peer *peer = peer_establish_near(2500);

    (void)state;
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 1, 1, 100);
    ack_host(peer, 101, 200);
    peer_write(peer, 300);
    peer_expect_nothing(peer);
    ack_host(peer, 101, 300);
    peer_expect(peer, ACK | PSH, 101, 1, 300);
    /* Nobody answers: RFC 6298 with a round trip of next to nothing. */
    assert_in_range(peer_advance_to_deadline(peer, FOYER_NS_PER_S), 200 * MS, 201 * MS);
    peer_expect(peer, ACK | PSH, 101, 1, 300);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-38 MUST-60] */
static void sws_override_sends_the_small_piece(void **state)
{
    struct peer *peer = peer_establish_near(2500);

    (void)state;
    peer_write(peer, 2000);
    peer_drain(peer);
    peer_write(peer, 3000);
    ack_host(peer, 2001, 300); /* nothing in flight, a small window */
    peer_expect_nothing(peer);
    assert_int_equal(peer_advance_to_deadline(peer, FOYER_NS_PER_S), 200 * MS);
    peer_expect(peer, ACK, 2001, 1, 300);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-38] */
static void half_of_the_largest_window_is_enough(void **state)
{
    struct peer *peer = peer_establish_near(800); /* never as large as a segment */

    (void)state;
    peer_write(peer, 3000);
    peer_expect(peer, ACK, 1, 1, 800);
    ack_host(peer, 801, 400);
    peer_expect(peer, ACK, 801, 1, 400);
    ack_host(peer, 1201, 399);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* MUST-34: the right edge goes back behind what is in flight. [test RFC9293 MUST-34 SHLD-15]
 * [test RFC7323 2.4a] */
static void shrunk_window_stops_new_data_and_is_survived(void **state)
{
    struct peer *peer = peer_establish_near(5000);

    (void)state;
    peer_write(peer, 8000);
    peer_drain(peer);
    ack_host(peer, 1001, 1000);
    peer_expect_nothing(peer);
    ack_host(peer, 5001, 60000);
    peer_expect(peer, ACK, 5001, 1, 1000);
    peer_destroy(peer);
}

/* Its number is older than that of the last window's: what was lost before is sent again. */
static void window_of_a_retransmission_that_acknowledges_more_counts(void **state)
{
    struct peer *peer = peer_establish_near(5000);

    (void)state;
    peer_write(peer, 8000);
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1001, .ack = 1, .window = 5000, .size = 100});
    peer_drain(peer);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1, .ack = 5001, .window = 1000, .size = 1000});
    peer_expect(peer, ACK, 5001, 1101, 1000);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-35 MUST-36 SHLD-29 SHLD-30] */
static void zero_window_is_probed_with_backoff(void **state)
{
    static const unsigned delays_ms[] = {200, 400, 800, 1600, 3200};
    struct peer *peer = peer_establish_near(1000);

    (void)state;
    peer_write(peer, 3000);
    peer_expect(peer, ACK, 1, 1, 1000);
    ack_host(peer, 1001, 0);
    peer_expect_nothing(peer);
    for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
        foyer_time_ns waited = peer_advance_to_deadline(peer, 10 * FOYER_NS_PER_S);
        assert_in_range(waited, delays_ms[i] * MS, delays_ms[i] * MS + MS);
        peer_expect(peer, ACK, 1000, 1, 0); /* below SND.UNA: the peer must answer */
        ack_host(peer, 1001, 0);
    }
    ack_host(peer, 1001, 5000);
    peer_expect(peer, ACK, 1001, 1, 1000);
    peer_expect(peer, ACK | PSH, 2001, 1, 1000);
    peer_destroy(peer);
}

/* MUST-37: answered probes keep the connection for ever. [test RFC9293 MUST-37] */
static void zero_window_lasts_while_probes_are_answered(void **state)
{
    struct peer *peer = peer_establish_near(1000);

    (void)state;
    peer_write(peer, 3000);
    peer_drain(peer);
    ack_host(peer, 1001, 0);
    for (int i = 0; i < 40; i++) {
        peer_advance_to_deadline(peer, 200 * FOYER_NS_PER_S);
        peer_expect(peer, ACK, 1000, 1, 0);
        ack_host(peer, 1001, 0);
    }
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

static void zero_window_ends_where_probes_are_not_answered(void **state)
{
    struct peer *peer = peer_establish_near(1000);

    (void)state;
    peer_write(peer, 3000);
    peer_drain(peer);
    ack_host(peer, 1001, 0);
    peer_advance(peer, 3000 * FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_events(peer);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ETIMEDOUT);
    peer_destroy(peer);
}

/* ---- our window ---------------------------------------------------------------------------------------- */

static void fill(struct peer *peer, uint32_t from, uint32_t to)
{
    for (uint32_t seq = from; seq < to; seq += 1024)
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = seq, .ack = 1, .size = 1024, .window = 60000});
}

static struct seg last_ack(struct peer *peer)
{
    struct seg seg = {0}, next;

    while (peer_recv(peer, &next))
        seg = next;
    return seg;
}

/* [test RFC9293 MUST-39 MAY-8] */
static void window_closes_and_its_opening_is_told(void **state)
{
    struct peer *peer = peer_create_with(0, 16384);

    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    fill(peer, 1, 16385);
    struct seg ack = last_ack(peer);
    assert_int_equal(ack.ack, 16385);
    assert_int_equal(ack.window, 0);
    /* Receiver's SWS avoidance: a little room is not told. */
    assert_int_equal(peer_read(peer, 500), 500);
    peer_expect_nothing(peer);
    assert_int_equal(peer_read(peer, 4000), 4000);
    ack = peer_expect(peer, ACK, 1, 16385, 0);
    assert_int_equal(ack.window, 4500);
    peer_destroy(peer);
}

/* MUST-66, RFC 9293 section 3.10.7.4: with a closed window data is refused, an ACK is taken.
 * [test RFC9293 MUST-66] */
static void closed_window_refuses_data_but_takes_the_ack(void **state)
{
    struct peer *peer = peer_create_with(0, 16384);

    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    fill(peer, 1, 16385);
    peer_drain(peer);
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 1, 16385, 100);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 16385, .ack = 101, .size = 10, .window = 60000});
    peer_expect(peer, ACK, 101, 16385, 0);
    assert_int_equal(peer_info(peer).bytes_sent, 100);
    peer_events(peer);
    peer_send(
        peer,
        (struct seg){
            .flags = ACK | WIRE_TCP_URG, .seq = 16385, .ack = 101, .window = 60000, .urgent = 20});
    assert_true((peer_events(peer) & FOYER_EVENT_URGENT) != 0);
    peer_send(peer, (struct seg){.flags = RST, .seq = 16385});
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_destroy(peer);
}

static void data_beyond_the_window_is_cut(void **state)
{
    struct peer *peer = peer_create_with(0, 16384);

    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    fill(peer, 1, 15361);
    peer_drain(peer);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 15361, .ack = 1, .size = 1400, .window = 60000});
    struct seg ack = peer_expect(peer, ACK, 1, 16385, 0);
    assert_int_equal(ack.window, 0);
    assert_int_equal(peer_read(peer, 20000), 16384);
    peer_destroy(peer);
}

/* ---- ACKs ------------------------------------------------------------------------------------------------ */

static void use_up_quick_acks(struct peer *peer)
{
    for (uint32_t i = 0; i < 16; i++) {
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = 1 + i, .ack = 1, .size = 1, .window = 60000});
        peer_expect(peer, ACK, 1, 2 + i, 0);
    }
}

static void first_segments_are_acknowledged_at_once(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    use_up_quick_acks(peer);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-18 MUST-40] */
static void later_a_small_segment_waits_40_ms(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    use_up_quick_acks(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 17, .ack = 1, .size = 10, .window = 60000});
    peer_expect_nothing(peer);
    assert_int_equal(peer_advance_to_deadline(peer, FOYER_NS_PER_S), 40 * MS);
    peer_expect(peer, ACK, 1, 27, 0);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-19] */
static void every_second_full_segment_is_acknowledged(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    use_up_quick_acks(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 17, .ack = 1, .size = 1000, .window = 60000});
    peer_expect_nothing(peer);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1017, .ack = 1, .size = 1000, .window = 60000});
    peer_expect(peer, ACK, 1, 2017, 0);
    peer_destroy(peer);
}

static void coalesced_segments_are_acknowledged_at_once(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    use_up_quick_acks(peer);
    peer_send(
        peer,
        (struct seg){
            .flags = ACK, .seq = 17, .ack = 1, .size = 8000, .gso_size = 1000, .window = 60000});
    peer_expect(peer, ACK, 1, 8017, 0);
    assert_int_equal(peer_read(peer, 10000), 8016);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-58] */
static void delayed_ack_rides_on_data(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    use_up_quick_acks(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 17, .ack = 1, .size = 10, .window = 60000});
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 1, 27, 100);
    peer_advance(peer, 100 * MS);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* ---- super-segments --------------------------------------------------------------------------------------- */

static void tso_link_gets_super_segments_of_whole_mss(void **state)
{
    struct peer *peer = peer_create_with(FOYER_LINK_TSO4, 65536);

    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    peer_write(peer, 30000);
    /* Half of cwnd each; PSH, though more waits: a receiver that coalesces need not wait for it. */
    struct seg seg = peer_expect(peer, ACK | PSH, 1, 1, 5000);
    assert_int_equal(seg.gso_size, 1000);
    peer_expect(peer, ACK | PSH, 5001, 1, 5000);
    peer_expect_nothing(peer);
    ack_host(peer, 10001, 60000);
    seg = peer_expect(peer, ACK | PSH, 10001, 1, 10000);
    assert_int_equal(seg.gso_size, 1000);
    peer_expect(peer, ACK | PSH, 20001, 1, 10000);
    peer_destroy(peer);
}

static void super_segment_takes_half_of_the_peers_window(void **state)
{
    struct peer *peer = peer_create_with(FOYER_LINK_TSO4, 65536);

    (void)state;
    peer_establish(peer, &mss_1000, 7000);
    peer_write(peer, 6500);
    peer_expect(peer, ACK | PSH, 1, 1, 3000);
    peer_expect(peer, ACK | PSH, 3001, 1, 3000);
    peer_expect(peer, ACK | PSH, 6001, 1, 500);
    peer_destroy(peer);
}

static void lone_segment_amid_a_transfer_is_not_pushed(void **state)
{
    struct peer *peer = peer_create_with(FOYER_LINK_TSO4, 65536);

    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    peer_write(peer, 30000);
    peer_drain(peer);
    ack_host(peer, 1, 1000); /* the window shrinks behind what is out */
    ack_host(peer, 10001, 1000);
    peer_expect(peer, ACK, 10001, 1, 1000);
    peer_destroy(peer);
}

static void one_mss_is_no_super_segment(void **state)
{
    struct peer *peer = peer_create_with(FOYER_LINK_TSO4, 65536);

    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    peer_write(peer, 1000);
    assert_int_equal(peer_expect(peer, ACK | PSH, 1, 1, 1000).gso_size, 0);
    peer_destroy(peer);
}

/* ---- close ------------------------------------------------------------------------------------------------- */

/* [test RFC9293 MAY-1 SHLD-3] */
static void close_with_unread_bytes_resets(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000});
    peer_drain(peer);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, RST | ACK, 1, 11, 0);
    peer_destroy(peer);
}

static void close_with_linger_0_resets(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    set_option(peer, FOYER_OPT_LINGER_NS, 0);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, RST | ACK, 1, 1, 0);
    peer_destroy(peer);
}

/* [test RFC9293 MAY-1 SHLD-3] */
static void data_for_a_closed_handle_resets(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 2, .size = 10, .window = 60000});
    peer_expect(peer, RST, 2, 0, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 11, .ack = 2, .window = 60000});
    peer_expect(peer, RST, 2, 0, 0);
    peer_destroy(peer);
}

/* RFC 5961 section 3.2: the peer believes only a RST at the number that it expects. */
static void data_for_a_closed_handle_resets_where_the_peer_waits(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10, .window = 60000});
    peer_expect(peer, RST, 1, 0, 0);
    peer_destroy(peer);
}

static void abort_resets(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    peer_write(peer, 100);
    peer_drain(peer);
    assert_int_equal(foyer_socket_abort(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, RST | ACK, 101, 1, 0);
    peer_destroy(peer);
}

static void orphan_in_fin_wait_2_ends_after_a_minute(void **state)
{
    struct peer *peer = peer_establish_near(60000);

    (void)state;
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    ack_host(peer, 2, 60000);
    assert_int_equal(peer_state(peer), FOYER_STATE_FIN_WAIT_2);
    peer_advance(peer, 59 * FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), FOYER_STATE_FIN_WAIT_2);
    peer_advance(peer, FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_destroy(peer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ack_that_meets_the_isn_again_frees_what_it_acknowledges),
        cmocka_unit_test(first_small_write_goes_at_once_with_psh),
        cmocka_unit_test(nagle_holds_the_second_small_write),
        cmocka_unit_test(nagle_lets_full_segments_go),
        cmocka_unit_test(short_tail_after_full_segments_goes_at_once),
        cmocka_unit_test(nodelay_sends_every_write),
        cmocka_unit_test(nodelay_set_later_releases_what_waits),
        cmocka_unit_test(cork_holds_short_segments_until_pulled),
        cmocka_unit_test(nodelay_pushes_once_what_a_cork_holds),
        cmocka_unit_test(info_tells_what_is_in_flight_and_what_is_lost),
        cmocka_unit_test(cork_lasts_200_ms_at_most),
        cmocka_unit_test(fin_overrides_nagle),
        cmocka_unit_test(initial_window_is_ten_segments),
        cmocka_unit_test(window_is_never_exceeded),
        cmocka_unit_test(lone_segment_waits_for_the_window),
        cmocka_unit_test(sws_override_sends_the_small_piece),
        cmocka_unit_test(half_of_the_largest_window_is_enough),
        cmocka_unit_test(shrunk_window_stops_new_data_and_is_survived),
        cmocka_unit_test(window_of_a_retransmission_that_acknowledges_more_counts),
        cmocka_unit_test(zero_window_is_probed_with_backoff),
        cmocka_unit_test(zero_window_lasts_while_probes_are_answered),
        cmocka_unit_test(zero_window_ends_where_probes_are_not_answered),
        cmocka_unit_test(window_closes_and_its_opening_is_told),
        cmocka_unit_test(closed_window_refuses_data_but_takes_the_ack),
        cmocka_unit_test(data_beyond_the_window_is_cut),
        cmocka_unit_test(first_segments_are_acknowledged_at_once),
        cmocka_unit_test(later_a_small_segment_waits_40_ms),
        cmocka_unit_test(every_second_full_segment_is_acknowledged),
        cmocka_unit_test(coalesced_segments_are_acknowledged_at_once),
        cmocka_unit_test(delayed_ack_rides_on_data),
        cmocka_unit_test(tso_link_gets_super_segments_of_whole_mss),
        cmocka_unit_test(super_segment_takes_half_of_the_peers_window),
        cmocka_unit_test(lone_segment_amid_a_transfer_is_not_pushed),
        cmocka_unit_test(one_mss_is_no_super_segment),
        cmocka_unit_test(close_with_unread_bytes_resets),
        cmocka_unit_test(close_with_linger_0_resets),
        cmocka_unit_test(data_for_a_closed_handle_resets),
        cmocka_unit_test(data_for_a_closed_handle_resets_where_the_peer_waits),
        cmocka_unit_test(abort_resets),
        cmocka_unit_test(orphan_in_fin_wait_2_ends_after_a_minute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
