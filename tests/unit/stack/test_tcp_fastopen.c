/*
 * TCP Fast Open, RFC 7413: cookies, data in the SYN both ways, the server's limit, the client's
 * retreat.
 */
#include "unit/stack/tcp_peer.h"

#include <errno.h>

#include "stack/stack.h"
#include "wire/icmp.h"

#define S FOYER_NS_PER_S

static const struct wire_tcp_options plain = {
    .has_mss = true, .mss = 1000, .has_sack_permitted = true};

static struct wire_tcp_options with_cookie(const uint8_t *cookie, uint8_t size)
{
    struct wire_tcp_options options = plain;
    options.has_fastopen = true;
    options.fastopen_size = size;
    if (size > 0)
        memcpy(options.fastopen, cookie, size);
    return options;
}

static void set_option(struct peer *peer, foyer_socket socket, enum foyer_option option, int value)
{
    assert_int_equal(foyer_socket_set_option(peer->host, socket, option, value), 0);
}

/* ---- server --------------------------------------------------------------------------------- */

/* Asks for a cookie from another port. */
static struct wire_tcp_options get_cookie(struct peer *peer)
{
    peer_send(peer,
              (struct seg){
                  .flags = SYN, .window = 60000, .src_port = 999, .options = with_cookie(NULL, 0)});
    struct seg answer = peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_true(answer.options.has_fastopen);
    assert_int_equal(answer.options.fastopen_size, 8);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1, .src_port = 999});
    return with_cookie(answer.options.fastopen, 8);
}

static void fast_syn(struct peer *peer, uint16_t port, const struct wire_tcp_options *options,
                     uint32_t size)
{
    peer_send(peer, (struct seg){.flags = SYN,
                                 .seq = 0,
                                 .data = NULL,
                                 .size = size,
                                 .window = 60000,
                                 .src_port = port,
                                 .options = *options});
}

/* A SYN's payload: its first byte is byte 1 of the stream, but peer_send counts from the SYN. */
static uint8_t syn_byte(uint32_t index)
{
    return peer_byte(index);
}

static foyer_socket take(struct peer *peer)
{
    foyer_socket socket = FOYER_SOCKET_NONE;
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &socket), 0);
    return socket;
}

/* Such a connection sends already: what controls its window is exchanged at once. */
static void congestion_control_may_be_chosen_before_the_handshake_ends(void **state)
{
    (void)state;
    for (int id = FOYER_CONGESTION_CUBIC; id <= FOYER_CONGESTION_BBR; id++) {
        struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 2);
        struct wire_tcp_options options = get_cookie(peer);

        fast_syn(peer, 0, &options, 100);
        peer_expect(peer, SYN | ACK, 0, 101, 0);
        peer->socket = take(peer);
        set_option(peer, peer->socket, FOYER_OPT_CONGESTION, id);
        assert_int_equal(peer_info(peer).congestion, id);
        peer_write(peer, 2000);
        peer_drain(peer);
        peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 2001, .window = 60000});
        assert_int_equal(peer_info(peer).flight_bytes, 0);
        set_option(peer, peer->socket, FOYER_OPT_CONGESTION, FOYER_CONGESTION_CUBIC);
        peer_destroy(peer);
    }
}

/* Section 4.2.2. [test RFC7413 4.2.2d] */
static void syn_data_is_read_and_answered_before_the_handshake_ends(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 2);
    struct wire_tcp_options options = get_cookie(peer);
    uint8_t bytes[200];

    fast_syn(peer, 0, &options, 100);
    struct seg answer = peer_expect(peer, SYN | ACK, 0, 101, 0);
    assert_false(answer.options.has_fastopen); /* the client has it */
    peer->socket = take(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_SYN_RECEIVED);
    assert_true(peer_info(peer).has_syn_data);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, sizeof(bytes), peer->now),
                     100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(bytes[i], syn_byte(i));
    peer_write(peer, 1500);
    peer_expect(peer, ACK, 1, 101, 1000);
    peer_expect(peer, ACK | PSH, 1001, 101, 500);
    /* One ACK for the SYN and half of the data. */
    peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 1001, .window = 60000});
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_info(peer).flight_bytes, 500);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 101, .ack = 1501, .window = 60000, .size = 10});
    peer_expect(peer, ACK, 1501, 111, 0);
    assert_int_equal(peer_info(peer).flight_bytes, 0);
    assert_int_equal(peer_info(peer).bytes_sent, 1500);
    assert_int_equal(peer_stats(peer).tcp_fastopen_passive, 1);
    peer_destroy(peer);
}

/* What ends an attempt (RFC 9293 section 3.9.2.2) does not end a connection that is in use; until the
 * program has it, it is an attempt. */
static void a_hard_icmp_error_ends_what_nobody_has_taken(void **state)
{
    (void)state;
    for (int is_taken = 0; is_taken < 2; is_taken++) {
        struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 2);
        struct wire_tcp_options options = get_cookie(peer);

        fast_syn(peer, 0, &options, 100);
        peer_expect(peer, SYN | ACK, 0, 101, 0);
        if (is_taken)
            peer->socket = take(peer);
        peer_icmp(peer, WIRE_ICMP_UNREACHABLE, 1, 0, 0);
        assert_int_equal(peer_state(peer),
                         is_taken ? FOYER_STATE_SYN_RECEIVED : FOYER_STATE_CLOSED);
        peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 1, .window = 60000});
        assert_int_equal(peer_state(peer), is_taken ? FOYER_STATE_ESTABLISHED : FOYER_STATE_CLOSED);
        if (is_taken)
            assert_int_equal(peer_events(peer) & FOYER_EVENT_ERROR, 0);
        peer_destroy(peer);
    }
}

/* The SYN-ACK could tell 65535 bytes of a larger buffer: that alone is worth no segment. */
static void buffer_beyond_the_syn_acks_window_costs_no_segment(void **state)
{
    (void)state;
    struct peer *peer = peer_create_with(0, 1 << 20);

    peer_listen(peer, 8);
    set_option(peer, peer->listener, FOYER_OPT_FASTOPEN, 2);
    struct wire_tcp_options options = get_cookie(peer);
    options.has_window_scale = true;
    options.window_scale = 7;
    fast_syn(peer, 0, &options, 1000);
    assert_int_equal(peer_expect(peer, SYN | ACK, 0, 1001, 0).window, 65535);
    peer->socket = take(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1001, .ack = 1, .window = 1000});
    assert_int_equal(peer_read(peer, 1000), 1000);
    peer_expect_nothing(peer);
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1001, .ack = 1, .window = 1000, .size = 1000});
    assert_in_range(peer_expect(peer, ACK, 1, 2001, 0).window, ((1 << 20) - 2000) >> 7, 1 << 13);
    peer_destroy(peer);
}

/* Section 4.1.2: without a good cookie the data is left to the handshake, and a cookie given.
 * [test RFC7413 2a 4.2a] */
static void syn_without_a_good_cookie_is_an_ordinary_one(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, kind == 3 ? 0 : 2);
        struct wire_tcp_options options = kind == 3 ? with_cookie(NULL, 0) : get_cookie(peer);
        if (kind == 0)
            options.fastopen[7] ^= 1;
        else if (kind == 1)
            options.fastopen_size = 6;
        else if (kind == 2)
            options = plain;
        fast_syn(peer, 0, &options, 100);
        struct seg answer = peer_expect(peer, SYN | ACK, 0, 1, 0);
        assert_int_equal(answer.options.has_fastopen, kind < 2);
        assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &peer->socket),
                         -EAGAIN);
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000, .size = 100});
        peer_events(peer);
        assert_int_equal(peer_read(peer, 1000), 100);
        assert_false(peer_info(peer).has_syn_data);
        assert_int_equal(peer_stats(peer).tcp_fastopen_passive_fails, kind < 2);
        peer_destroy(peer);
    }
}

/* [test RFC7413 4.1.2a] */
static void cookies_of_the_key_before_count_and_are_replaced(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 9);
    static const uint8_t old_key[16] = "old key", new_key[16] = "new key";
    foyer_host_set_fastopen_keys(peer->host, old_key, NULL);
    struct wire_tcp_options old = get_cookie(peer);
    foyer_host_set_fastopen_keys(peer->host, new_key, old_key);
    fast_syn(peer, 1001, &old, 10);
    struct seg answer = peer_expect(peer, SYN | ACK, 0, 11, 0);
    assert_true(answer.options.has_fastopen);
    struct wire_tcp_options fresh = with_cookie(answer.options.fastopen, 8);
    assert_memory_not_equal(fresh.fastopen, old.fastopen, 8);
    foyer_host_set_fastopen_keys(peer->host, new_key, NULL);
    fast_syn(peer, 1002, &old, 10);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    fast_syn(peer, 1003, &fresh, 10);
    assert_false(peer_expect(peer, SYN | ACK, 0, 11, 0).options.has_fastopen);
    peer_destroy(peer);
}

/* Section 5.1. [test RFC7413 4.2b] */
static void pending_fast_opens_are_bounded(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 2);
    struct wire_tcp_options options = get_cookie(peer);

    fast_syn(peer, 1001, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 11, 0);
    uint32_t first_iss = peer->host_iss;
    fast_syn(peer, 1002, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 11, 0);
    take(peer); /* being accepted makes no room */
    fast_syn(peer, 1003, &options, 10);
    assert_false(peer_expect(peer, SYN | ACK, 0, 1, 0).options.has_fastopen);
    /* The first one's handshake ends. */
    peer->host_iss = first_iss;
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 11, .ack = 1, .window = 60000, .src_port = 1001});
    fast_syn(peer, 1004, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 11, 0);
    /* The second one is reset: its place is not free for a while. */
    peer_send(peer, (struct seg){.flags = RST, .seq = 11, .src_port = 1002});
    peer_drain(peer);
    fast_syn(peer, 1005, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer->is_silent = true;
    peer_advance(peer, 61 * S); /* 1004 gives up, too, after 63 s */
    peer_drain(peer);
    peer->is_silent = false;
    fast_syn(peer, 1006, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 11, 0);
    peer_destroy(peer);
}

/* The SYN again, be it a copy or what the client sends when it hears nothing. */
static void syn_again_brings_no_data_twice(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 2);
    struct wire_tcp_options options = get_cookie(peer);

    fast_syn(peer, 0, &options, 100);
    peer_expect(peer, SYN | ACK, 0, 101, 0);
    fast_syn(peer, 0, &options, 100);
    peer_expect(peer, SYN | ACK, 0, 101, 0);
    fast_syn(peer, 0, &plain, 0);
    peer_expect(peer, SYN | ACK, 0, 101, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 1, .window = 60000});
    /* And once more when all is over with. */
    fast_syn(peer, 0, &options, 100);
    peer_expect(peer, ACK, 1, 101, 0); /* RFC 5961 section 4 */
    peer->socket = take(peer);
    assert_int_equal(peer_read(peer, 1000), 100);
    assert_int_equal(peer_info(peer).bytes_received, 100);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

/* [test RFC7413 4.2.2e] */
static void syn_ack_of_a_fast_open_is_sent_again_and_given_up(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 1);
    struct wire_tcp_options options = get_cookie(peer);

    fast_syn(peer, 0, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 11, 0);
    peer->socket = take(peer);
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 1, 11, 100);
    for (int i = 0; i < 5; i++) {
        assert_in_range(peer_advance_to_deadline(peer, 100 * S), (1u << i) * S, (1u << i) * S + S);
        peer_expect(peer, SYN | ACK, 0, 11, 0); /* the data waits for the handshake */
    }
    peer_advance(peer, 40 * S);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ETIMEDOUT);
    fast_syn(peer, 1002, &options, 10); /* there is room again */
    peer_drain(peer);
    assert_int_equal(peer_stats(peer).tcp_fastopen_passive, 2);
    peer_destroy(peer);
}

/* What was sent before the handshake and lost is sent again after it. */
static void early_data_that_was_lost_comes_again(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 1);
    struct wire_tcp_options options = get_cookie(peer);

    fast_syn(peer, 0, &options, 10);
    peer_expect(peer, SYN | ACK, 0, 11, 0);
    peer->socket = take(peer);
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 1, 11, 100);
    peer_advance(peer, 50 * MS);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 11, .ack = 1, .window = 60000});
    peer_advance_to_deadline(peer, 2 * S);
    peer_expect(peer, ACK | PSH, 1, 11, 100);
    peer_destroy(peer);
}

static void socket_closed_or_listener_closed_before_the_handshake_ends(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 1);
        struct wire_tcp_options options = get_cookie(peer);
        fast_syn(peer, 0, &options, 10);
        peer_expect(peer, SYN | ACK, 0, 11, 0);
        if (kind == 0) { /* unread data is thrown away: SHLD-3 */
            peer->socket = take(peer);
            foyer_socket_close(peer->host, peer->socket, peer->now);
            peer_expect(peer, RST | ACK, 1, 11, 0);
        } else if (kind == 1) { /* read, and closed: FIN */
            peer->socket = take(peer);
            assert_int_equal(peer_read(peer, 100), 10);
            foyer_socket_close(peer->host, peer->socket, peer->now);
            peer_send(peer, (struct seg){.flags = ACK, .seq = 11, .ack = 1, .window = 60000});
            peer_expect(peer, FIN | ACK, 1, 11, 0);
        } else {
            foyer_socket_close(peer->host, peer->listener, peer->now);
            peer_expect(peer, RST | ACK, 1, 11, 0);
        }
        peer_destroy(peer);
    }
}

/* ---- client --------------------------------------------------------------------------------- */

/* Opens and sends; the SYN is not looked at yet. */
static void connect_send(struct peer *peer, uint32_t size)
{
    struct foyer_endpoint remote = {foyer_addr_v4(10, 0, 0, 2), PEER_PORT};
    uint8_t bytes[4000];

    for (uint32_t i = 0; i < size; i++)
        bytes[i] = host_byte(i);
    peer->written = size;
    peer->socket = FOYER_SOCKET_NONE;
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->socket),
                     0);
    int64_t result =
        foyer_socket_connect_send(peer->host, peer->socket, &remote, bytes, size, peer->now);
    assert_int_equal(result, size > 0 ? (int64_t)size : -EINPROGRESS);
    peer->host_port = peer_info(peer).local.port;
}

static void answer_syn(struct peer *peer, uint32_t ack, const struct wire_tcp_options *options)
{
    peer_send(peer,
              (struct seg){.flags = SYN | ACK, .ack = ack, .window = 60000, .options = *options});
}

static void close_now(struct peer *peer)
{
    foyer_socket_abort(peer->host, peer->socket, peer->now);
    peer_drain(peer);
    peer_events(peer);
    peer->written = 0;
}

static const struct wire_tcp_options *cookie_of_server(void)
{
    static struct wire_tcp_options options;
    options = with_cookie((const uint8_t *)"abcdef", 6);
    return &options;
}

static void cookie_that_was_not_asked_for_is_not_kept(void **state)
{
    struct peer *peer = peer_create();
    struct foyer_endpoint remote = {foyer_addr_v4(10, 0, 0, 2), PEER_PORT};

    (void)state;
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->socket),
                     0);
    set_option(peer, peer->socket, FOYER_OPT_FASTOPEN_WITHOUT_COOKIE, 1);
    uint8_t byte = host_byte(0);
    peer->written = 1;
    assert_int_equal(
        foyer_socket_connect_send(peer->host, peer->socket, &remote, &byte, 1, peer->now), 1);
    peer->host_port = peer_info(peer).local.port;
    struct seg syn = peer_expect(peer, SYN, 0, 0, 1);
    assert_false(syn.options.has_fastopen);
    answer_syn(peer, 2, cookie_of_server());
    peer_expect(peer, ACK, 2, 1, 0);
    close_now(peer);
    connect_send(peer, 0);
    syn = peer_expect(peer, SYN, 0, 0, 0);
    assert_int_equal(syn.options.fastopen_size, 0); /* none is known: it asks */
    peer_destroy(peer);
}

static struct peer *with_known_cookie(void)
{
    struct peer *peer = peer_create();
    connect_send(peer, 0);
    struct seg syn = peer_expect(peer, SYN, 0, 0, 0);
    assert_true(syn.options.has_fastopen);
    assert_int_equal(syn.options.fastopen_size, 0);
    answer_syn(peer, 1, cookie_of_server());
    peer_expect(peer, ACK, 1, 1, 0);
    close_now(peer);
    return peer;
}

/* Section 4.2.1, first connection: the data waits. [test RFC7413 4.2.1a 4.2.2a 4.1.3a 9a] */
static void first_connection_asks_for_a_cookie(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    connect_send(peer, 100);
    struct seg syn = peer_expect(peer, SYN, 0, 0, 0);
    assert_true(syn.options.has_fastopen);
    assert_int_equal(syn.options.fastopen_size, 0);
    answer_syn(peer, 1, cookie_of_server());
    peer_expect(peer, ACK | PSH, 1, 1, 100);
    assert_false(peer_info(peer).has_syn_data);
    peer_destroy(peer);
}

static void second_connection_sends_data_with_the_syn(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    connect_send(peer, 100);
    struct seg syn = peer_expect(peer, SYN, 0, 0, 100);
    assert_int_equal(syn.options.fastopen_size, 6);
    assert_memory_equal(syn.options.fastopen, "abcdef", 6);
    answer_syn(peer, 101, &plain);
    peer_expect(peer, ACK, 101, 1, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_true(peer_info(peer).has_syn_data);
    assert_int_equal(peer_info(peer).bytes_sent, 100);
    assert_int_equal(peer_info(peer).flight_bytes, 0);
    peer_write(peer, 50);
    peer_expect(peer, ACK | PSH, 101, 1, 50);
    assert_int_equal(peer_stats(peer).tcp_fastopen_active, 1);
    peer_advance(peer, 10 * S);
    peer_destroy(peer);
}

/* Section 4.2.1: what the SYN-ACK does not acknowledge is sent after it. [test RFC7413 4.2.2c] */
static void syn_data_not_acknowledged_is_sent_again_at_once(void **state)
{
    (void)state;
    static const struct {
        uint32_t ack, left;
    } rows[] = {{1, 100}, {41, 60}, {101, 0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *peer = with_known_cookie();
        connect_send(peer, 100);
        peer_expect(peer, SYN, 0, 0, 100);
        answer_syn(peer, 102, &plain); /* more than was sent: not ours (RFC 9293 3.10.7.3) */
        peer_expect(peer, RST, 102, 0, 0);
        answer_syn(peer, rows[i].ack, &plain);
        if (rows[i].left > 0)
            peer_expect(peer, ACK | PSH, rows[i].ack, 1, rows[i].left);
        else
            peer_expect(peer, ACK, rows[i].ack, 1, 0);
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 101, .window = 60000});
        assert_int_equal(peer_info(peer).flight_bytes, 0);
        assert_int_equal(peer_info(peer).bytes_sent, 100);
        assert_int_equal(peer_stats(peer).tcp_fastopen_active_fails, rows[i].ack == 1);
        peer_destroy(peer);
    }
}

/* It was out before: no round trip is timed by it (RFC 6298 section 3), and Nagle's rule is not about
 * it. It was refused, not lost: cwnd stays. */
static void syn_data_sent_again_is_a_retransmission_but_no_loss(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    peer_advance(peer, 20 * MS);
    answer_syn(peer, 1, &plain);
    uint32_t cwnd_bytes = peer_info(peer).cwnd_bytes, rtt_us = peer_info(peer).rtt_us;
    peer_expect(peer, ACK | PSH, 1, 1, 100);
    assert_int_equal(peer_info(peer).retransmissions, 1);
    assert_int_equal(peer_info(peer).retransmitting_bytes, 100);
    peer_write(peer, 50);
    peer_expect(peer, ACK | PSH, 101, 1, 50);
    peer_write(peer, 50);
    peer_expect_nothing(peer); /* this one waits: a short one that is new is out */
    peer_advance(peer, 90 * MS);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 101, .window = 60000});
    assert_int_equal(peer_info(peer).rtt_us, rtt_us);
    assert_int_equal(peer_info(peer).recovery, FOYER_RECOVERY_NONE);
    assert_true(peer_info(peer).cwnd_bytes >= cwnd_bytes);
    peer_destroy(peer);
}

/* The server speaks before anything went again, and its window takes a part only. */
static void refused_syn_data_keeps_to_the_window_and_is_no_loss_to_acks(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    peer_send(peer, (struct seg){.flags = SYN | ACK, .ack = 1, .window = 30, .options = plain});
    uint32_t cwnd_bytes = peer_info(peer).cwnd_bytes;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 30, .size = 10});
    peer_expect(peer, ACK | PSH, 1, 11, 30);
    assert_int_equal(peer_info(peer).retransmissions, 1);
    peer_expect_nothing(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 11, .ack = 31, .window = 60000});
    peer_expect(peer, ACK | PSH, 31, 11, 70);
    assert_int_equal(peer_info(peer).retransmissions, 1);
    assert_true(peer_info(peer).cwnd_bytes >= cwnd_bytes);
    assert_true(peer_info(peer).ssthresh_bytes >= 1u << 30);
    peer_destroy(peer);
}

/* Section 4.1.3: not more than the server's MSS has room for, all options taken off. */
static void syn_data_is_bounded_by_the_cached_mss(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    struct foyer_addr server = foyer_addr_v4(10, 0, 0, 2), other = foyer_addr_v4(10, 0, 0, 3);
    uint32_t room;

    peer_listen(peer, 1); /* any socket may ask */
    assert_int_equal(foyer_socket_fastopen_room(peer->host, peer->listener, &server, &room), 0);
    assert_int_equal(room, 960);
    assert_int_equal(foyer_socket_fastopen_room(peer->host, peer->listener, &other, &room), 0);
    assert_int_equal(room, 0);
    connect_send(peer, 3000);
    peer_expect(peer, SYN, 0, 0, 960);
    answer_syn(peer, 961, &plain);
    peer_expect(peer, ACK, 961, 1, 1000);
    peer_expect(peer, ACK, 1961, 1, 1000);
    peer_expect(peer, ACK | PSH, 2961, 1, 40);
    peer_destroy(peer);
}

/* Section 7.1: SYNs with data or option may be dropped on the way.
 * [test RFC7413 4.1.3.1a 4.1.3.1b 4.2.2b] */
static void lost_syn_goes_again_plain_and_the_path_is_left_alone(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    for (int turn = 0; turn < 3; turn++) {
        connect_send(peer, 100);
        peer_expect(peer, SYN, 0, 0, 100); /* once more after the first */
        assert_int_equal(peer_advance_to_deadline(peer, 2 * S), S);
        struct seg again = peer_expect(peer, SYN, 0, 0, 0);
        assert_false(again.options.has_fastopen);
        answer_syn(peer, 1, &plain);
        peer_expect(peer, ACK | PSH, 1, 1, 100);
        close_now(peer);
        if (turn == 0)
            continue;
        /* For 4 minutes after the second, 8 after the third. */
        peer_advance(peer, (turn == 1 ? 230 : 470) * S);
        connect_send(peer, 100);
        again = peer_expect(peer, SYN, 0, 0, 0);
        assert_false(again.options.has_fastopen);
        close_now(peer);
        peer_advance(peer, 60 * S);
    }
    /* A cookie forgives: the SYN with the option came through, late as it was. */
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    peer_advance(peer, S);
    peer_expect(peer, SYN, 0, 0, 0);
    answer_syn(peer, 1, cookie_of_server());
    close_now(peer);
    /* So does a success. */
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    answer_syn(peer, 101, &plain);
    peer_expect(peer, ACK, 101, 1, 0);
    close_now(peer);
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    close_now(peer);
    peer_destroy(peer);
}

/* The first SYN came through after all: its data was taken though the second is answered. */
static void data_of_the_first_syn_is_acknowledged_after_the_second(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    peer_advance(peer, S);
    peer_expect(peer, SYN, 0, 0, 0);
    answer_syn(peer, 101, &plain);
    peer_expect(peer, ACK, 101, 1, 0);
    assert_int_equal(peer_info(peer).bytes_sent, 100);
    peer_destroy(peer);
}

/* Both SYNs cross, ours with data. */
static void simultaneous_fast_open(void **state)
{
    (void)state;
    struct peer *peer = with_known_cookie();
    connect_send(peer, 100);
    peer_expect(peer, SYN, 0, 0, 100);
    peer_send(peer, (struct seg){.flags = SYN, .size = 50, .window = 60000, .options = plain});
    peer_expect(peer, SYN | ACK, 0, 1, 0); /* its data is not taken */
    answer_syn(peer, 101, &plain);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_info(peer).bytes_sent, 100);
    peer_destroy(peer);
}

static void server_and_client_need_no_cookie_where_none_is_wanted(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(8, FOYER_OPT_FASTOPEN, 1);
    set_option(peer, peer->listener, FOYER_OPT_FASTOPEN_WITHOUT_COOKIE, 1);
    fast_syn(peer, 0, &plain, 100);
    peer_expect(peer, SYN | ACK, 0, 101, 0);
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cookie_that_was_not_asked_for_is_not_kept),
        cmocka_unit_test(syn_data_is_read_and_answered_before_the_handshake_ends),
        cmocka_unit_test(a_hard_icmp_error_ends_what_nobody_has_taken),
        cmocka_unit_test(congestion_control_may_be_chosen_before_the_handshake_ends),
        cmocka_unit_test(buffer_beyond_the_syn_acks_window_costs_no_segment),
        cmocka_unit_test(syn_without_a_good_cookie_is_an_ordinary_one),
        cmocka_unit_test(cookies_of_the_key_before_count_and_are_replaced),
        cmocka_unit_test(pending_fast_opens_are_bounded),
        cmocka_unit_test(syn_again_brings_no_data_twice),
        cmocka_unit_test(syn_ack_of_a_fast_open_is_sent_again_and_given_up),
        cmocka_unit_test(early_data_that_was_lost_comes_again),
        cmocka_unit_test(socket_closed_or_listener_closed_before_the_handshake_ends),
        cmocka_unit_test(first_connection_asks_for_a_cookie),
        cmocka_unit_test(second_connection_sends_data_with_the_syn),
        cmocka_unit_test(syn_data_not_acknowledged_is_sent_again_at_once),
        cmocka_unit_test(syn_data_sent_again_is_a_retransmission_but_no_loss),
        cmocka_unit_test(refused_syn_data_keeps_to_the_window_and_is_no_loss_to_acks),
        cmocka_unit_test(syn_data_is_bounded_by_the_cached_mss),
        cmocka_unit_test(lost_syn_goes_again_plain_and_the_path_is_left_alone),
        cmocka_unit_test(data_of_the_first_syn_is_acknowledged_after_the_second),
        cmocka_unit_test(simultaneous_fast_open),
        cmocka_unit_test(server_and_client_need_no_cookie_where_none_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
