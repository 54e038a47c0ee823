/* Pacing and the rate of delivery, by hand-made ACKs. A segment carries 1000 bytes. */
#include "unit/stack/tcp_peer.h"

#define MSS 1000u
#define RTT (100 * MS)
#define IW (10 * MSS)

static void set(struct peer *peer, enum foyer_option option, int64_t value)
{
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, option, value), 0);
}

/* A connection whose sender knows that the round trip takes 100 ms. */
static struct peer *establish(void)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = MSS, .has_sack_permitted = true};
    struct peer *peer = peer_create();

    peer_listen(peer, 16);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = options});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_advance(peer, RTT);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_events(peer);
    peer_drain(peer);
    return peer;
}

/* The initial window has made a round trip; more than enough is written. */
static struct peer *one_round(int64_t pacing)
{
    struct peer *peer = establish();

    set(peer, FOYER_OPT_PACING, pacing);
    peer_write(peer, 60000);
    peer_drain(peer);
    peer_advance(peer, RTT);
    return peer;
}

static uint32_t take(struct peer *peer, foyer_time_ns *ret_last_ns)
{
    struct seg seg;
    uint32_t size = 0;

    while (peer_recv(peer, &seg)) {
        size += seg.size;
        *ret_last_ns = seg.at_ns;
    }
    return size;
}

/* 20 segments per 100 ms, twice that in slow start: 400 kB/s, a pair every 5 ms. */
static void paced_data_leaves_in_pairs_over_the_round_trip(void **state)
{
    struct peer *peer = one_round(FOYER_PACING_AUTO);
    foyer_time_ns at_ns = 0, last_ns = 0;
    uint32_t sent = 0, pieces = 0;

    (void)state;
    peer_ack(peer, 1 + IW);
    assert_int_equal(peer_info(peer).pacing_rate_bytes_per_s, 2 * 2 * IW * 10);
    foyer_time_ns start_ns = peer->now;
    for (unsigned ms = 0; ms < 60; ms++) {
        uint32_t size = take(peer, &at_ns);
        if (size > 0) {
            assert_in_range(size, 1, 2 * MSS);
            if (pieces > 0)
                assert_int_equal(at_ns - last_ns, 5 * MS);
            last_ns = at_ns;
            pieces++;
        }
        sent += size;
        peer_advance(peer, MS);
    }
    assert_int_equal(sent, 2 * IW); /* cwnd is the end of it */
    assert_int_equal(last_ns - start_ns, 45 * MS);
    peer_destroy(peer);
}

static void unpaced_data_leaves_at_once(void **state)
{
    struct peer *peer = one_round(FOYER_PACING_OFF);
    foyer_time_ns at_ns;

    (void)state;
    peer_ack(peer, 1 + IW);
    assert_int_equal(take(peer, &at_ns), 2 * IW);
    assert_int_equal(peer_info(peer).pacing_rate_bytes_per_s, 0);
    peer_destroy(peer);
}

static void initial_window_is_not_paced_where_nobody_asks(void **state)
{
    struct peer *peer = establish();
    foyer_time_ns at_ns;

    (void)state;
    peer_write(peer, 50000);
    assert_int_equal(take(peer, &at_ns), IW);
    peer_destroy(peer);
}

/* 100 kB/s, whatever the path would take: two segments every 20 ms. */
static void greatest_rate_is_kept(void **state)
{
    struct peer *peer = one_round(FOYER_PACING_OFF);
    foyer_time_ns at_ns;
    uint32_t sent = 0;

    (void)state;
    set(peer, FOYER_OPT_MAX_PACING_RATE, 100000);
    peer_ack(peer, 1 + IW);
    for (unsigned ms = 0; ms < 100; ms++) {
        sent += take(peer, &at_ns);
        assert_true(sent <= 100 * ms + 2 * MSS);
        peer_advance(peer, MS);
    }
    assert_true(sent >= 100 * 99);
    peer_destroy(peer);
}

/* An ACK goes out though data must wait. */
static void acks_are_not_held_up(void **state)
{
    struct peer *peer = one_round(FOYER_PACING_ON);
    foyer_time_ns at_ns;
    struct seg seg;

    (void)state;
    peer_ack(peer, 1 + IW);
    (void)take(peer, &at_ns);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1, .ack = 1 + IW, .window = 60000, .size = 1});
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 2, .ack = 1 + IW, .window = 60000, .size = 1});
    assert_true(peer_recv(peer, &seg));
    assert_int_equal(seg.size, 0);
    assert_int_equal(seg.ack, 3);
    peer_destroy(peer);
}

/* Ten segments arrived in a round trip of 100 ms: 100 kB/s. */
static void delivery_rate_is_that_of_the_acks(void **state)
{
    struct peer *peer = one_round(FOYER_PACING_OFF);

    (void)state;
    peer_ack(peer, 1 + IW);
    assert_int_equal(peer_info(peer).delivery_rate_bytes_per_s, IW * 10);
    assert_false(peer_info(peer).is_app_limited);
    /* The next twenty leave at once, but their ACKs come over 200 ms: the path gives 10 in 100. */
    peer_drain(peer);
    peer_advance(peer, RTT);
    for (unsigned i = 1; i <= 20; i++) {
        peer_ack(peer, 1 + IW + i * MSS);
        peer_drain(peer);
        peer_advance(peer, 10 * MS);
    }
    assert_in_range(peer_info(peer).delivery_rate_bytes_per_s, 60000, 100000);
    peer_destroy(peer);
}

/* A burst of ACKs must not look like a fast path: sending took its time. */
static void compressed_acks_do_not_make_the_rate(void **state)
{
    struct peer *peer = one_round(FOYER_PACING_OFF);

    (void)state;
    for (unsigned i = 1; i <= 10; i++) { /* each ACK lets two more out */
        peer_ack(peer, 1 + i * MSS);
        peer_drain(peer);
        peer_advance(peer, 10 * MS);
    }
    /* 20 were sent over 90 ms; all of their ACKs come now. */
    for (unsigned i = 1; i <= 20; i++)
        peer_ack(peer, 1 + IW + i * MSS);
    assert_in_range(peer_info(peer).delivery_rate_bytes_per_s, 90000, 230000);
    peer_destroy(peer);
}

static void a_silent_program_is_app_limited(void **state)
{
    struct peer *peer = establish();

    (void)state;
    peer_write(peer, 3000);
    peer_drain(peer);
    assert_false(peer_info(peer).is_app_limited); /* it may have more to say at once */
    peer_advance(peer, 10 * MS);
    peer_write(peer, 3000);
    peer_drain(peer);
    assert_true(peer_info(peer).is_app_limited);
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paced_data_leaves_in_pairs_over_the_round_trip),
        cmocka_unit_test(unpaced_data_leaves_at_once),
        cmocka_unit_test(initial_window_is_not_paced_where_nobody_asks),
        cmocka_unit_test(greatest_rate_is_kept),
        cmocka_unit_test(acks_are_not_held_up),
        cmocka_unit_test(delivery_rate_is_that_of_the_acks),
        cmocka_unit_test(compressed_acks_do_not_make_the_rate),
        cmocka_unit_test(a_silent_program_is_app_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
