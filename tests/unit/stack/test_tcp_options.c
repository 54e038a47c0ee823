/* Options: negotiation, MSS, window scale, timestamps and PAWS, SACK blocks of the receiver. */
#include "unit/stack/tcp_peer.h"

#include <string.h>

#include "stack/tcp.h"

static const struct wire_tcp_options all_options = {
    .has_mss = true,
    .mss = 1000,
    .has_window_scale = true,
    .window_scale = 3,
    .has_sack_permitted = true,
    .has_timestamps = true,
    .timestamp_value = 5000,
};

/* ---- negotiation -------------------------------------------------------------------------------- */

/* [test RFC9293 MUST-14 MUST-67 SHLD-5a MAY-3] [test RFC7323 3.2f] */
static void syn_offers_everything(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_connect(peer);
    struct seg syn = peer_expect(peer, SYN, 0, 0, 0);
    assert_true(syn.options.has_mss && syn.options.has_window_scale &&
                syn.options.has_sack_permitted && syn.options.has_timestamps);
    assert_int_equal(syn.options.mss, 1460); /* RFC 6691: MTU less fixed headers */
    assert_int_equal(syn.options.timestamp_echo, 0);
    peer_destroy(peer);
}

struct offer {
    const char *name;
    bool has_window_scale, has_sack_permitted, has_timestamps;
};

/* A SYN-ACK repeats what the SYN offered and nothing else (RFC 7323 sections 1.3 and 3.2).
 * [test RFC7323 2.2b 3.2a] [test RFC7323 2.3f] */
static void syn_ack_repeats_the_offer(void **state)
{
    const struct offer *offer = *state;
    struct peer *peer = peer_create();
    struct wire_tcp_options options = {
        .has_mss = true,
        .mss = 1460,
        .has_window_scale = offer->has_window_scale,
        .window_scale = 2,
        .has_sack_permitted = offer->has_sack_permitted,
        .has_timestamps = offer->has_timestamps,
        .timestamp_value = 77,
    };

    peer_listen(peer, 1);
    peer_send(peer, (struct seg){.flags = SYN, .window = 1000, .options = options});
    struct seg reply = peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_true(reply.options.has_mss);
    assert_int_equal(reply.options.has_window_scale, offer->has_window_scale);
    assert_int_equal(reply.options.has_sack_permitted, offer->has_sack_permitted);
    assert_int_equal(reply.options.has_timestamps, offer->has_timestamps);
    if (offer->has_timestamps)
        assert_int_equal(reply.options.timestamp_echo, 77);
    peer_destroy(peer);
}

static void data_size(struct wire_tcp_options options, uint32_t expected)
{
    struct peer *peer = peer_create();

    peer_establish(peer, &options, 60000);
    peer_write(peer, 10000);
    struct seg seg;
    assert_true(peer_recv(peer, &seg));
    assert_int_equal(seg.size, expected);
    assert_int_equal(peer_info(peer).mss, expected);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-14] */
static void mss_of_the_peer_is_obeyed(void **state)
{
    (void)state;
    data_size((struct wire_tcp_options){.has_mss = true, .mss = 700}, 700);
}

/* [test RFC9293 MUST-15a] */
static void mss_defaults_to_536(void **state)
{
    (void)state;
    data_size((struct wire_tcp_options){.has_mss = false}, 536); /* MUST-15 */
}

/* [test RFC9293 MUST-16] */
static void mss_is_bounded_by_the_path(void **state)
{
    (void)state;
    data_size((struct wire_tcp_options){.has_mss = true, .mss = 9000}, 1460);
}

/* [test RFC9293 MUST-16] */
static void mss_leaves_room_for_timestamps(void **state)
{
    (void)state;
    data_size((struct wire_tcp_options){.has_mss = true, .mss = 1000, .has_timestamps = true}, 988);
}

static void tiny_mss_is_not_followed(void **state)
{
    (void)state;
    data_size((struct wire_tcp_options){.has_mss = true, .mss = 1}, TCP_MSS_MIN);
}

/* ---- window scale --------------------------------------------------------------------------------- */

/* [test RFC7323 2.3d] */
/* FOYER_OPT_TIMESTAMPS and FOYER_OPT_SACK: neither offered nor agreed to; what the peer says all the
 * same does not count (RFC 7323 section 3.2). */
static void options_that_are_not_wanted(void **state)
{
    static const struct wire_tcp_options all = {.has_mss = true,
                                                .mss = 1000,
                                                .has_sack_permitted = true,
                                                .has_timestamps = true,
                                                .timestamp_value = 1000};
    struct foyer_endpoint remote = {foyer_addr_v4(10, 0, 0, 2), PEER_PORT};

    (void)state;
    for (int wanted = 0; wanted < 4; wanted++) {
        bool has_timestamps = (wanted & 1) != 0, has_sack = (wanted & 2) != 0;
        struct peer *peer = peer_create();
        peer_listen(peer, 1);
        foyer_socket client;
        foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &client);
        for (int i = 0; i < 2; i++) {
            foyer_socket socket = i == 0 ? peer->listener : client;
            foyer_socket_set_option(peer->host, socket, FOYER_OPT_TIMESTAMPS, has_timestamps);
            foyer_socket_set_option(peer->host, socket, FOYER_OPT_SACK, has_sack);
        }
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = all});
        struct seg seg = peer_expect(peer, SYN | ACK, 0, 1, 0);
        assert_int_equal(seg.options.has_timestamps, has_timestamps);
        assert_int_equal(seg.options.has_sack_permitted, has_sack);

        peer->socket = client;
        foyer_socket_connect(peer->host, client, &remote, peer->now);
        peer->host_port = peer_info(peer).local.port;
        seg = peer_expect(peer, SYN, 0, 0, 0);
        assert_int_equal(seg.options.has_timestamps, has_timestamps);
        assert_int_equal(seg.options.has_sack_permitted, has_sack);
        peer_send(peer,
                  (struct seg){.flags = SYN | ACK, .ack = 1, .window = 60000, .options = all});
        assert_int_equal(peer_expect(peer, ACK, 1, 1, 0).options.has_timestamps, has_timestamps);
        assert_int_equal(peer_info(peer).has_timestamps, has_timestamps);
        assert_int_equal(peer_info(peer).has_sack, has_sack);
        peer_destroy(peer);
    }
}

static void window_of_the_peer_is_scaled_after_the_syn(void **state)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_window_scale = true, .window_scale = 3};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 500); /* 4000 bytes */
    assert_int_equal(peer_info(peer).send_window_bytes, 4000);
    peer_write(peer, 10000);
    for (uint32_t seq = 1; seq < 4000; seq += 2000) { /* half of the window at a time */
        peer_expect(peer, ACK, seq, 1, 1000);
        peer_expect(peer, ACK | PSH, seq + 1000, 1, 1000);
    }
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* [test RFC7323 2.2a 2.3c] */
static void own_window_is_not_scaled_in_the_syn_ack_and_scaled_later(void **state)
{
    struct wire_tcp_options options = {.has_window_scale = true, .window_scale = 0};
    struct peer *peer = peer_create_with(0, 1u << 20);

    (void)state;
    peer_listen(peer, 1);
    peer_send(peer, (struct seg){.flags = SYN, .window = 1000, .options = options});
    struct seg reply = peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_int_equal(reply.window, 65535);
    assert_int_equal(reply.options.window_scale, 7);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 1000});
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 1, .window = 1000});
    struct seg ack = peer_expect(peer, ACK, 1, 2, 0);
    assert_int_equal((uint32_t)ack.window << 7, (1u << 20) - 128); /* 1 byte used, rounded down */
    peer_destroy(peer);
}

/* A window that cannot grow any more is told once, not for ever. */
static void window_without_scale_of_a_large_buffer_is_told_once(void **state)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create_with(0, 1u << 20);
    struct seg seg;

    (void)state;
    peer_establish(peer, &options, 20000);
    peer_expect_nothing(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 20000, .size = 1000});
    seg = peer_expect(peer, ACK, 1, 1001, 0);
    assert_int_equal(seg.window, 65535);
    peer_expect_nothing(peer);
    assert_int_equal(peer_read(peer, 1000), 1000);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* RFC 7323 section 2.2: a SYN shows 65535 bytes at most; the rest comes with the first ACK. */
static void buffer_beyond_the_syns_window_costs_no_segment(void **state)
{
    enum { SIZE = 1 << 20 };
    static struct foyer_ring_shared rx_shared, tx_shared;
    static uint8_t rx_data[SIZE], tx_data[SIZE];
    struct foyer_ring rx = {&rx_shared, rx_data, SIZE}, tx = {&tx_shared, tx_data, SIZE};
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_window_scale = true, .window_scale = 3};
    struct peer *peer = peer_create_with(0, SIZE);

    (void)state;
    peer_establish(peer, &options, 20000);
    assert_int_equal(foyer_socket_set_rings(peer->host, peer->socket, &rx, &tx), 0);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect_nothing(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 20000, .size = 1000});
    struct seg seg = peer_expect(peer, ACK, 1, 1001, 0);
    assert_in_range(seg.window, (SIZE - 2000) >> 7, SIZE >> 7);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* [test RFC7323 2.3a] */
static void scale_beyond_14_counts_as_14(void **state)
{
    struct wire_tcp_options options = {.has_window_scale = true, .window_scale = 15};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 1);
    assert_int_equal(peer_info(peer).send_window_bytes, 1u << 14);
    peer_destroy(peer);
}

/* ---- timestamps ------------------------------------------------------------------------------------- */

static struct seg with_ts(struct seg seg, uint32_t value, uint32_t echo)
{
    seg.options.has_timestamps = true;
    seg.options.timestamp_value = value;
    seg.options.timestamp_echo = echo;
    return seg;
}

static struct peer *establish_with_timestamps(void)
{
    struct peer *peer = peer_create();

    peer_establish(peer, &all_options, 5000);
    return peer;
}

/* [test RFC7323 3.2b] [test RFC7323 3.2g] */
static void timestamps_are_in_every_segment_and_echoed(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10}, 5010, 0));
    struct seg ack = peer_expect(peer, ACK, 1, 11, 0);
    assert_true(ack.options.has_timestamps);
    assert_int_equal(ack.options.timestamp_echo, 5010);
    peer_destroy(peer);
}

/* RFC 7323 section 4.3: a segment beyond a gap does not move TS.Recent. */
/* RFC 7323 section 3.2, SHOULD. [test RFC7323 3.2c] */
static void timestamps_are_in_a_reset(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10}, 5010, 0));
    peer_drain(peer);
    assert_int_equal(foyer_socket_abort(peer->host, peer->socket, peer->now), 0);
    struct seg rst = peer_expect(peer, RST | ACK, 1, 11, 0);
    assert_true(rst.options.has_timestamps);
    assert_int_equal(rst.options.timestamp_echo, 5010);
    peer_destroy(peer);
}

/* [test RFC7323 4.3a 4.3c] */
static void timestamp_of_out_of_order_data_is_not_echoed(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 101, .ack = 1, .size = 10}, 5020, 0));
    struct seg ack = peer_expect(peer, ACK, 1, 1, 0);
    assert_int_equal(ack.options.timestamp_echo, 5000);
    peer_destroy(peer);
}

/* RFC 5961 section 5: who guesses a sequence number and no ACK must not steer PAWS.
 * [test RFC5961 5.2b] */
static void timestamp_of_an_unacceptable_ack_is_not_taken(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer,
              with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 9000, .size = 10}, 9000, 0));
    struct seg ack = peer_expect(peer, ACK, 1, 1, 0);
    assert_int_equal(ack.options.timestamp_echo, 5000);
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10}, 5010, 0));
    ack = peer_expect(peer, ACK, 1, 11, 0);
    assert_int_equal(ack.options.timestamp_echo, 5010);
    peer_destroy(peer);
}

/* [test RFC7323 5.3a] */
static void paws_drops_older_data_and_acknowledges(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10}, 4999, 0));
    peer_expect(peer, ACK, 1, 1, 0);
    assert_int_equal(peer_stats(peer).tcp_paws_drops, 1);
    assert_int_equal(peer_read(peer, 10), 0);
    peer_destroy(peer);
}

/* [test RFC7323 5.3b] */
static void paws_lets_rst_through(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer, with_ts((struct seg){.flags = RST, .seq = 1}, 4999, 0));
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_destroy(peer);
}

/* [test RFC7323 5.5a] */
static void paws_forgets_after_24_days(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_advance(peer, 24ull * 24 * 3600 * FOYER_NS_PER_S + FOYER_NS_PER_S);
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10}, 4999, 0));
    assert_int_equal(peer_read(peer, 10), 10);
    peer_destroy(peer);
}

/* [test RFC7323 5.3c] */
static void paws_compares_modulo_2_32(void **state)
{
    struct wire_tcp_options options = {.has_timestamps = true, .timestamp_value = 0xffffffff};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 5000);
    peer_send(peer, with_ts((struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10}, 3, 0));
    assert_int_equal(peer_read(peer, 10), 10);
    peer_destroy(peer);
}

/* RFC 7323 section 3.2. [test RFC7323 3.2d 3.2e] */
static void segment_without_negotiated_timestamps_is_dropped(void **state)
{
    struct peer *peer = establish_with_timestamps();

    (void)state;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10});
    peer_expect_nothing(peer);
    assert_int_equal(peer_read(peer, 10), 0);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-1] [test RFC7323 5.4b] */
static void timestamps_differ_between_connections(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 4);
    uint32_t values[2], isns[2];
    for (uint16_t i = 0; i < 2; i++) {
        peer_send(
            peer,
            (struct seg){.flags = SYN, .src_port = (uint16_t)(1000 + i), .options = all_options});
        values[i] = peer_expect(peer, SYN | ACK, 0, 1, 0).options.timestamp_value;
        isns[i] = peer->host_iss;
    }
    assert_int_not_equal(values[0], values[1]);
    assert_int_not_equal(isns[0], isns[1]);
    peer_destroy(peer);
}

static uint32_t iss_at(foyer_time_ns delay)
{
    struct peer *peer = peer_create();

    peer->now += delay;
    peer_listen(peer, 1);
    peer_send(peer, (struct seg){.flags = SYN});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    uint32_t iss = peer->host_iss;
    peer_destroy(peer);
    return iss;
}

/* RFC 9293 section 3.4.1 (MUST-8): the same 4-tuple's ISN follows a 4 us clock.
 * [test RFC9293 MUST-8] */
static void isn_grows_by_one_per_four_microseconds(void **state)
{
    (void)state;
    assert_int_equal(iss_at(4000 * FOYER_NS_PER_US) - iss_at(0), 1000);
}

/* [test RFC6298 3b] */
static void round_trip_is_measured_from_arrival(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 1);
    peer_send(peer, (struct seg){.flags = SYN, .window = 1000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_advance(peer, 25 * MS);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 1000});
    peer_events(peer);
    assert_int_equal(peer_info(peer).rtt_us, 25000);
    assert_int_equal(peer_info(peer).rttvar_us, 12500);
    peer_destroy(peer);
}

/* ---- SACK blocks ------------------------------------------------------------------------------------- */

static struct peer *establish_with_sack(void)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = 1000, .has_sack_permitted = true};
    struct peer *peer = peer_create();

    peer_establish(peer, &options, 60000);
    return peer;
}

static struct seg send_data(struct peer *peer, uint32_t seq, uint32_t size, uint32_t ack)
{
    peer_send(peer, (struct seg){.flags = ACK, .seq = seq, .ack = 1, .size = size, .window = 1000});
    return peer_expect(peer, ACK, 1, ack, 0);
}

static void assert_block(const struct seg *seg, unsigned index, uint32_t left, uint32_t right)
{
    assert_true(index < seg->options.sack_count);
    assert_int_equal(seg->options.sack[index].left.value, left);
    assert_int_equal(seg->options.sack[index].right.value, right);
}

static void sack_reports_the_latest_range_first(void **state)
{
    struct peer *peer = establish_with_sack();

    (void)state;
    struct seg ack = send_data(peer, 201, 100, 1);
    assert_int_equal(ack.options.sack_count, 1);
    assert_block(&ack, 0, 201, 301);
    ack = send_data(peer, 401, 100, 1);
    assert_block(&ack, 0, 401, 501);
    assert_block(&ack, 1, 201, 301);
    ack = send_data(peer, 301, 50, 1); /* joins the first: that changed last */
    assert_block(&ack, 0, 201, 351);
    assert_block(&ack, 1, 401, 501);
    ack = send_data(peer, 351, 50, 1); /* joins both */
    assert_int_equal(ack.options.sack_count, 1);
    assert_block(&ack, 0, 201, 501);
    ack = send_data(peer, 1, 200, 501);
    assert_int_equal(ack.options.sack_count, 0);
    assert_int_equal(peer_read(peer, 1000), 500);
    peer_destroy(peer);
}

static void sack_reports_at_most_four_blocks(void **state)
{
    struct peer *peer = establish_with_sack();
    struct seg ack = {0};

    (void)state;
    for (uint32_t i = 0; i < 6; i++)
        ack = send_data(peer, 101 + 200 * i, 100, 1);
    assert_int_equal(ack.options.sack_count, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_block(&ack, i, 1101 - 200 * i, 1201 - 200 * i);
    peer_destroy(peer);
}

/* RFC 2883 section 4. [test RFC9768 3.1.1e] */
static void dsack_reports_what_came_twice(void **state)
{
    struct peer *peer = establish_with_sack();

    (void)state;
    send_data(peer, 1, 100, 101);
    struct seg ack = send_data(peer, 1, 100, 101);
    assert_block(&ack, 0, 1, 101);
    ack = send_data(peer, 201, 100, 101);
    assert_block(&ack, 0, 201, 301);
    ack = send_data(peer, 201, 100, 101);
    assert_block(&ack, 0, 201, 301);
    assert_block(&ack, 1, 201, 301);
    assert_true(peer_stats(peer).tcp_dup_segs >= 2);
    peer_destroy(peer);
}

/* RFC 2883 section 4: also where the rest of the segment is new. */
static void dsack_reports_what_a_segment_repeats_in_part(void **state)
{
    struct peer *peer = establish_with_sack();

    (void)state;
    send_data(peer, 201, 200, 1);
    send_data(peer, 501, 100, 1);
    send_data(peer, 801, 100, 1);
    struct seg ack = send_data(peer, 851, 100, 1); /* beyond the gap */
    assert_block(&ack, 0, 851, 901);
    assert_block(&ack, 1, 801, 951);
    ack = send_data(peer, 1, 650, 651); /* fills the gap, repeats two runs: the first is told */
    assert_block(&ack, 0, 201, 401);
    assert_block(&ack, 1, 801, 951);
    peer_destroy(peer);
}

static void sack_is_not_sent_where_not_negotiated(void **state)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 60000);
    assert_int_equal(send_data(peer, 201, 100, 1).options.sack_count, 0);
    peer_destroy(peer);
}

/* Every byte's value follows from its sequence number: whatever the order, the stream is right.
 * [test RFC9293 SHLD-31] */
static void out_of_order_bytes_land_in_their_place(void **state)
{
    struct peer *peer = establish_with_sack();
    uint8_t bytes[6000];

    (void)state;
    for (uint32_t i = 60; i-- > 0;)
        peer_send(peer, (struct seg){
                            .flags = ACK, .seq = 1 + i * 100, .ack = 1, .size = i % 2 ? 100 : 130});
    /* More ranges than are held at once: those beyond are dropped and come again. */
    for (uint32_t i = 0; i < 60; i++)
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1 + i * 100, .ack = 1, .size = 100});
    peer_drain(peer);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, sizeof(bytes), peer->now),
                     6000);
    for (uint32_t i = 0; i < 6000; i++)
        assert_int_equal(bytes[i], peer_byte(1 + i));
    peer_destroy(peer);
}

int main(void)
{
    static struct offer offers[] = {
        {"syn_ack_without_options", false, false, false},
        {"syn_ack_with_window_scale", true, false, false},
        {"syn_ack_with_sack_permitted", false, true, false},
        {"syn_ack_with_timestamps", false, false, true},
        {"syn_ack_with_all", true, true, true},
    };
    enum { OFFERS = sizeof(offers) / sizeof(offers[0]) };
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(syn_offers_everything),
        cmocka_unit_test(mss_of_the_peer_is_obeyed),
        cmocka_unit_test(mss_defaults_to_536),
        cmocka_unit_test(mss_is_bounded_by_the_path),
        cmocka_unit_test(mss_leaves_room_for_timestamps),
        cmocka_unit_test(tiny_mss_is_not_followed),
        cmocka_unit_test(options_that_are_not_wanted),
        cmocka_unit_test(window_of_the_peer_is_scaled_after_the_syn),
        cmocka_unit_test(own_window_is_not_scaled_in_the_syn_ack_and_scaled_later),
        cmocka_unit_test(window_without_scale_of_a_large_buffer_is_told_once),
        cmocka_unit_test(buffer_beyond_the_syns_window_costs_no_segment),
        cmocka_unit_test(scale_beyond_14_counts_as_14),
        cmocka_unit_test(timestamps_are_in_every_segment_and_echoed),
        cmocka_unit_test(timestamps_are_in_a_reset),
        cmocka_unit_test(timestamp_of_out_of_order_data_is_not_echoed),
        cmocka_unit_test(timestamp_of_an_unacceptable_ack_is_not_taken),
        cmocka_unit_test(paws_drops_older_data_and_acknowledges),
        cmocka_unit_test(paws_lets_rst_through),
        cmocka_unit_test(paws_forgets_after_24_days),
        cmocka_unit_test(paws_compares_modulo_2_32),
        cmocka_unit_test(segment_without_negotiated_timestamps_is_dropped),
        cmocka_unit_test(timestamps_differ_between_connections),
        cmocka_unit_test(isn_grows_by_one_per_four_microseconds),
        cmocka_unit_test(round_trip_is_measured_from_arrival),
        cmocka_unit_test(sack_reports_the_latest_range_first),
        cmocka_unit_test(sack_reports_at_most_four_blocks),
        cmocka_unit_test(dsack_reports_what_came_twice),
        cmocka_unit_test(dsack_reports_what_a_segment_repeats_in_part),
        cmocka_unit_test(sack_is_not_sent_where_not_negotiated),
        cmocka_unit_test(out_of_order_bytes_land_in_their_place),
    };
    enum { OTHERS = sizeof(others) / sizeof(others[0]) };
    static struct CMUnitTest tests[OFFERS + OTHERS];

    for (size_t i = 0; i < OFFERS; i++)
        tests[i] = (struct CMUnitTest){.name = offers[i].name,
                                       .test_func = syn_ack_repeats_the_offer,
                                       .initial_state = &offers[i]};
    memcpy(&tests[OFFERS], others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
