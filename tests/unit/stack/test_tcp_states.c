/*
 * Every state of RFC 9293 section 3.3.2 against every kind of segment of section 3.10.7: what is
 * answered, and the state afterwards. One test per row of the table, named state and event.
 */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <string.h>

#define CLOSED FOYER_STATE_CLOSED
#define LISTEN FOYER_STATE_LISTEN
#define SYN_SENT FOYER_STATE_SYN_SENT
#define SYN_RECEIVED FOYER_STATE_SYN_RECEIVED
#define ESTABLISHED FOYER_STATE_ESTABLISHED
#define FIN_WAIT_1 FOYER_STATE_FIN_WAIT_1
#define FIN_WAIT_2 FOYER_STATE_FIN_WAIT_2
#define CLOSE_WAIT FOYER_STATE_CLOSE_WAIT
#define CLOSING FOYER_STATE_CLOSING
#define LAST_ACK FOYER_STATE_LAST_ACK
#define TIME_WAIT FOYER_STATE_TIME_WAIT

#define NONE 0xffff /* no answer */

struct row {
    const char *name;
    enum foyer_socket_state state;
    /* The segment; window 60000 where it matters. */
    uint16_t flags;
    uint32_t seq, ack, size;
    /* The answer. */
    uint16_t answer_flags; /* NONE: nothing is sent */
    uint32_t answer_seq, answer_ack;
    enum foyer_socket_state after;
};

/*
 * Where each state stands (see peer_to_state): the peer's next is 1, or 2 where its FIN is in;
 * the host's next is 1, or 2 where its FIN is out. The receive window is 64 KiB, so that +1000 is
 * in it and +100000 is not.
 */
static const struct row rows[] = {
    /* RFC 9293 section 3.10.7.1 */
    {"closed_syn", CLOSED, SYN, 0, 0, 0, RST | ACK, 0, 1, CLOSED},
    {"closed_syn_with_data", CLOSED, SYN, 0, 0, 10, RST | ACK, 0, 11, CLOSED},
    {"closed_ack", CLOSED, ACK, 5, 77, 0, RST, 77, 0, CLOSED},
    {"closed_data", CLOSED, ACK | PSH, 5, 77, 10, RST, 77, 0, CLOSED},
    {"closed_fin", CLOSED, FIN, 5, 0, 0, RST | ACK, 0, 6, CLOSED},
    {"closed_rst", CLOSED, RST, 5, 0, 0, NONE, 0, 0, CLOSED},
    {"closed_rst_ack", CLOSED, RST | ACK, 5, 77, 0, NONE, 0, 0, CLOSED},

    /* 3.10.7.2 */
    {"listen_rst", LISTEN, RST, 0, 0, 0, NONE, 0, 0, CLOSED},
    {"listen_rst_ack", LISTEN, RST | ACK, 0, 9, 0, NONE, 0, 0, CLOSED},
    {"listen_ack", LISTEN, ACK, 0, 9, 0, RST, 9, 0, CLOSED},
    {"listen_syn_ack", LISTEN, SYN | ACK, 0, 9, 0, RST, 9, 0, CLOSED},
    {"listen_syn", LISTEN, SYN, 0, 0, 0, SYN | ACK, 0, 1, SYN_RECEIVED},
    {"listen_syn_with_data_takes_no_data", LISTEN, SYN, 0, 0, 5, SYN | ACK, 0, 1, SYN_RECEIVED},
    {"listen_syn_fin", LISTEN, SYN | FIN, 0, 0, 0, NONE, 0, 0, CLOSED},
    {"listen_fin", LISTEN, FIN, 0, 0, 0, NONE, 0, 0, CLOSED},
    {"listen_data", LISTEN, PSH, 0, 0, 5, NONE, 0, 0, CLOSED},

    /* 3.10.7.3 */
    {"syn_sent_syn_ack", SYN_SENT, SYN | ACK, 0, 1, 0, ACK, 1, 1, ESTABLISHED},
    {"syn_sent_syn_ack_old", SYN_SENT, SYN | ACK, 0, 0, 0, RST, 0, 0, SYN_SENT},
    {"syn_sent_syn_ack_too_new", SYN_SENT, SYN | ACK, 0, 2, 0, RST, 2, 0, SYN_SENT},
    {"syn_sent_ack_too_new", SYN_SENT, ACK, 5, 2, 0, RST, 2, 0, SYN_SENT},
    {"syn_sent_ack_alone", SYN_SENT, ACK, 5, 1, 0, NONE, 0, 0, SYN_SENT},
    {"syn_sent_rst_ack", SYN_SENT, RST | ACK, 0, 1, 0, NONE, 0, 0, CLOSED},
    {"syn_sent_rst_ack_wrong", SYN_SENT, RST | ACK, 0, 2, 0, NONE, 0, 0, SYN_SENT},
    {"syn_sent_rst_without_ack", SYN_SENT, RST, 0, 0, 0, NONE, 0, 0, SYN_SENT},
    {"syn_sent_syn", SYN_SENT, SYN, 0, 0, 0, SYN | ACK, 0, 1, SYN_RECEIVED},
    {"syn_sent_fin", SYN_SENT, FIN, 0, 0, 0, NONE, 0, 0, SYN_SENT},
    {"syn_sent_data", SYN_SENT, PSH | ACK, 1, 1, 9, NONE, 0, 0, SYN_SENT},
    {"syn_sent_syn_ack_with_data", SYN_SENT, SYN | ACK, 0, 1, 9, ACK, 1, 10, ESTABLISHED},
    {"syn_sent_syn_ack_fin", SYN_SENT, SYN | ACK | FIN, 0, 1, 0, ACK, 1, 2, CLOSE_WAIT},

    /* 3.10.7.4, SYN-RECEIVED after a passive open */
    {"syn_received_ack", SYN_RECEIVED, ACK, 1, 1, 0, NONE, 0, 0, ESTABLISHED},
    {"syn_received_ack_old", SYN_RECEIVED, ACK, 1, 0, 0, RST, 0, 0, SYN_RECEIVED},
    {"syn_received_ack_too_new", SYN_RECEIVED, ACK, 1, 2, 0, RST, 2, 0, SYN_RECEIVED},
    {"syn_received_data", SYN_RECEIVED, ACK, 1, 1, 9, ACK, 1, 10, ESTABLISHED},
    {"syn_received_fin", SYN_RECEIVED, FIN | ACK, 1, 1, 0, ACK, 1, 2, CLOSE_WAIT},
    {"syn_received_data_out_of_window", SYN_RECEIVED, ACK, 100001, 1, 9, ACK, 1, 1, SYN_RECEIVED},
    {"syn_received_rst_at_rcv_nxt", SYN_RECEIVED, RST, 1, 0, 0, NONE, 0, 0, CLOSED},
    {"syn_received_rst_in_window", SYN_RECEIVED, RST, 1001, 0, 0, ACK, 1, 1, SYN_RECEIVED},
    {"syn_received_rst_out_of_window", SYN_RECEIVED, RST, 100001, 0, 0, NONE, 0, 0, SYN_RECEIVED},
    {"syn_received_syn_again", SYN_RECEIVED, SYN, 0, 0, 0, SYN | ACK, 0, 1, SYN_RECEIVED},
    /* [test RFC9293 MUST-11] */
    {"syn_received_syn_in_window", SYN_RECEIVED, SYN, 1001, 0, 0, NONE, 0, 0, CLOSED},
    {"syn_received_syn_out_of_window", SYN_RECEIVED, SYN, 100001, 0, 0, ACK, 1, 1, SYN_RECEIVED},
    {"syn_received_no_ack", SYN_RECEIVED, PSH, 1, 0, 9, NONE, 0, 0, SYN_RECEIVED},

    {"established_data", ESTABLISHED, ACK, 1, 1, 100, ACK, 1, 101, ESTABLISHED},
    {"established_data_old", ESTABLISHED, ACK, 0, 1, 1, ACK, 1, 1, ESTABLISHED},
    /* [test RFC9293 MAY-13] */
    {"established_data_out_of_order", ESTABLISHED, ACK, 101, 1, 100, ACK, 1, 1, ESTABLISHED},
    {"established_data_out_of_window", ESTABLISHED, ACK, 100001, 1, 9, ACK, 1, 1, ESTABLISHED},
    {"established_data_without_ack", ESTABLISHED, PSH, 1, 0, 9, NONE, 0, 0, ESTABLISHED},
    {"established_fin", ESTABLISHED, FIN | ACK, 1, 1, 0, ACK, 1, 2, CLOSE_WAIT},
    {"established_fin_with_data", ESTABLISHED, FIN | ACK, 1, 1, 9, ACK, 1, 11, CLOSE_WAIT},
    {"established_fin_out_of_order", ESTABLISHED, FIN | ACK, 10, 1, 0, ACK, 1, 1, ESTABLISHED},
    {"established_ack_duplicate", ESTABLISHED, ACK, 1, 1, 0, NONE, 0, 0, ESTABLISHED},
    {"established_ack_old", ESTABLISHED, ACK, 1, 0, 0, NONE, 0, 0, ESTABLISHED},
    /* [test RFC9293 MAY-12] */
    /* [test RFC5961 5.2a 5.2b] */
    {"established_ack_very_old", ESTABLISHED, ACK, 1, -70000u, 0, ACK, 1, 1, ESTABLISHED},
    /* [test RFC5961 5.2a 5.2b] */
    {"established_ack_too_new", ESTABLISHED, ACK, 1, 2, 0, ACK, 1, 1, ESTABLISHED},
    {"established_keepalive", ESTABLISHED, ACK, 0, 1, 0, ACK, 1, 1, ESTABLISHED},
    /* [test RFC5961 3.2b] */
    {"established_rst_at_rcv_nxt", ESTABLISHED, RST, 1, 0, 0, NONE, 0, 0, CLOSED},
    /* [test RFC5961 3.2c 3.2d] */
    {"established_rst_in_window", ESTABLISHED, RST, 1001, 0, 0, ACK, 1, 1, ESTABLISHED},
    /* [test RFC5961 3.2a] */
    {"established_rst_out_of_window", ESTABLISHED, RST, 100001, 0, 0, NONE, 0, 0, ESTABLISHED},
    /* [test RFC5961 3.2a] */
    {"established_rst_before_window", ESTABLISHED, RST, 0, 0, 0, NONE, 0, 0, ESTABLISHED},
    /* [test RFC5961 4.2a 4.2b] */
    {"established_syn_in_window", ESTABLISHED, SYN, 1001, 0, 0, ACK, 1, 1, ESTABLISHED},
    /* [test RFC5961 4.2a 4.2b] */
    {"established_syn_at_rcv_nxt", ESTABLISHED, SYN, 1, 0, 0, ACK, 1, 1, ESTABLISHED},
    /* [test RFC5961 4.2a 4.2b] */
    {"established_syn_out_of_window", ESTABLISHED, SYN, 100001, 0, 0, ACK, 1, 1, ESTABLISHED},
    {"established_syn_ack_again", ESTABLISHED, SYN | ACK, 0, 1, 0, ACK, 1, 1, ESTABLISHED},

    {"fin_wait_1_ack_of_fin", FIN_WAIT_1, ACK, 1, 2, 0, NONE, 0, 0, FIN_WAIT_2},
    {"fin_wait_1_ack_old", FIN_WAIT_1, ACK, 1, 1, 0, NONE, 0, 0, FIN_WAIT_1},
    {"fin_wait_1_ack_too_new", FIN_WAIT_1, ACK, 1, 3, 0, ACK, 2, 1, FIN_WAIT_1},
    {"fin_wait_1_data", FIN_WAIT_1, ACK, 1, 1, 9, ACK, 2, 10, FIN_WAIT_1},
    {"fin_wait_1_fin", FIN_WAIT_1, FIN | ACK, 1, 1, 0, ACK, 2, 2, CLOSING},
    {"fin_wait_1_fin_with_ack_of_fin", FIN_WAIT_1, FIN | ACK, 1, 2, 0, ACK, 2, 2, TIME_WAIT},
    {"fin_wait_1_rst_at_rcv_nxt", FIN_WAIT_1, RST, 1, 0, 0, NONE, 0, 0, CLOSED},
    /* [test RFC5961 3.2c] */
    {"fin_wait_1_rst_in_window", FIN_WAIT_1, RST, 1001, 0, 0, ACK, 2, 1, FIN_WAIT_1},
    {"fin_wait_1_rst_out_of_window", FIN_WAIT_1, RST, 100001, 0, 0, NONE, 0, 0, FIN_WAIT_1},
    {"fin_wait_1_syn_in_window", FIN_WAIT_1, SYN, 1001, 0, 0, ACK, 2, 1, FIN_WAIT_1},

    {"fin_wait_2_data", FIN_WAIT_2, ACK, 1, 2, 9, ACK, 2, 10, FIN_WAIT_2},
    {"fin_wait_2_fin", FIN_WAIT_2, FIN | ACK, 1, 2, 0, ACK, 2, 2, TIME_WAIT},
    {"fin_wait_2_ack_too_new", FIN_WAIT_2, ACK, 1, 3, 0, ACK, 2, 1, FIN_WAIT_2},
    {"fin_wait_2_rst_at_rcv_nxt", FIN_WAIT_2, RST, 1, 0, 0, NONE, 0, 0, CLOSED},
    {"fin_wait_2_rst_in_window", FIN_WAIT_2, RST, 1001, 0, 0, ACK, 2, 1, FIN_WAIT_2},
    {"fin_wait_2_rst_out_of_window", FIN_WAIT_2, RST, 100001, 0, 0, NONE, 0, 0, FIN_WAIT_2},
    /* [test RFC5961 4.2a] */
    {"fin_wait_2_syn_in_window", FIN_WAIT_2, SYN, 1001, 0, 0, ACK, 2, 1, FIN_WAIT_2},

    {"close_wait_fin_again", CLOSE_WAIT, FIN | ACK, 1, 1, 0, ACK, 1, 2, CLOSE_WAIT},
    {"close_wait_data_after_fin", CLOSE_WAIT, ACK, 2, 1, 9, ACK, 1, 2, CLOSE_WAIT},
    {"close_wait_ack_too_new", CLOSE_WAIT, ACK, 2, 2, 0, ACK, 1, 2, CLOSE_WAIT},
    {"close_wait_rst_at_rcv_nxt", CLOSE_WAIT, RST, 2, 0, 0, NONE, 0, 0, CLOSED},
    {"close_wait_rst_in_window", CLOSE_WAIT, RST, 1001, 0, 0, ACK, 1, 2, CLOSE_WAIT},
    {"close_wait_rst_out_of_window", CLOSE_WAIT, RST, 100001, 0, 0, NONE, 0, 0, CLOSE_WAIT},
    {"close_wait_syn_in_window", CLOSE_WAIT, SYN, 1001, 0, 0, ACK, 1, 2, CLOSE_WAIT},

    {"closing_ack_of_fin", CLOSING, ACK, 2, 2, 0, NONE, 0, 0, TIME_WAIT},
    {"closing_ack_old", CLOSING, ACK, 2, 1, 0, NONE, 0, 0, CLOSING},
    {"closing_fin_again", CLOSING, FIN | ACK, 1, 1, 0, ACK, 2, 2, CLOSING},
    {"closing_rst_at_rcv_nxt", CLOSING, RST, 2, 0, 0, NONE, 0, 0, CLOSED},
    {"closing_rst_in_window", CLOSING, RST, 1001, 0, 0, ACK, 2, 2, CLOSING},
    {"closing_syn_in_window", CLOSING, SYN, 1001, 0, 0, ACK, 2, 2, CLOSING},

    {"last_ack_ack_of_fin", LAST_ACK, ACK, 2, 2, 0, NONE, 0, 0, CLOSED},
    {"last_ack_ack_old", LAST_ACK, ACK, 2, 1, 0, NONE, 0, 0, LAST_ACK},
    {"last_ack_fin_again", LAST_ACK, FIN | ACK, 1, 1, 0, ACK, 2, 2, LAST_ACK},
    {"last_ack_rst_at_rcv_nxt", LAST_ACK, RST, 2, 0, 0, NONE, 0, 0, CLOSED},
    {"last_ack_rst_in_window", LAST_ACK, RST, 1001, 0, 0, ACK, 2, 2, LAST_ACK},
    {"last_ack_syn_in_window", LAST_ACK, SYN, 1001, 0, 0, ACK, 2, 2, LAST_ACK},

    {"time_wait_fin_again", TIME_WAIT, FIN | ACK, 1, 2, 0, ACK, 2, 2, TIME_WAIT},
    {"time_wait_ack", TIME_WAIT, ACK, 2, 2, 0, NONE, 0, 0, TIME_WAIT},
    {"time_wait_data", TIME_WAIT, ACK, 2, 2, 9, ACK, 2, 2, TIME_WAIT},
    {"time_wait_rst_at_rcv_nxt", TIME_WAIT, RST, 2, 0, 0, NONE, 0, 0, TIME_WAIT},
    {"time_wait_rst_in_window", TIME_WAIT, RST, 1001, 0, 0, NONE, 0, 0, TIME_WAIT},
    {"time_wait_syn_old", TIME_WAIT, SYN, 0, 0, 0, ACK, 2, 2, TIME_WAIT},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct peer *peer = peer_create();

    if (row->state != CLOSED)
        peer_to_state(peer, row->state);
    peer_send(peer, (struct seg){.flags = row->flags,
                                 .seq = row->seq,
                                 .ack = row->ack,
                                 .size = row->size,
                                 .window = 60000});
    if (row->answer_flags == NONE)
        peer_expect_nothing(peer);
    else if (row->state == CLOSED && (row->answer_flags & ACK) != 0)
        peer_expect(peer, row->answer_flags, row->answer_seq, row->answer_ack, 0);
    else
        peer_expect(peer, row->answer_flags, row->answer_seq, row->answer_ack, 0);
    peer_expect_nothing(peer);
    assert_int_equal(peer_state(peer), row->after);
    peer_destroy(peer);
}

/* ---- what a table can't say --------------------------------------------------------------------- */

/* [test RFC9293 MUST-12 MUST-47] */
static void rst_in_established_reports_econnreset(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    uint32_t events = peer_events(peer);
    assert_true((events & FOYER_EVENT_ERROR) != 0 && (events & FOYER_EVENT_CLOSED) != 0);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ECONNRESET);
    assert_int_equal(peer_stats(peer).tcp_estab_resets, 1);
    peer_destroy(peer);
}

static void rst_in_syn_sent_reports_econnrefused(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, SYN_SENT);
    peer_send(peer, (struct seg){.flags = RST | ACK, .ack = 1});
    assert_true((peer_events(peer) & FOYER_EVENT_ERROR) != 0);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ECONNREFUSED);
    assert_int_equal(peer_stats(peer).tcp_attempt_fails, 1);
    peer_destroy(peer);
}

static void active_open_raises_connected(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, SYN_SENT);
    assert_int_equal(peer_events(peer), 0);
    peer_send(peer, (struct seg){.flags = SYN | ACK, .ack = 1, .window = 1000});
    assert_true((peer_events(peer) & FOYER_EVENT_CONNECTED) != 0);
    peer_destroy(peer);
}

/* As on Linux and BSD: what was acknowledged is the program's, then comes the error. */
static void bytes_before_a_reset_are_read_first(void **state)
{
    struct peer *peer = peer_create();
    uint8_t bytes[200];

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 1000, .size = 100});
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = RST, .seq = 101});
    assert_int_equal(peer_state(peer), CLOSED);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, sizeof(bytes), peer->now),
                     100);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, sizeof(bytes), peer->now),
                     -ECONNRESET);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, sizeof(bytes), peer->now),
                     0);
    peer_destroy(peer);
}

/* RFC 9293 section 3.5 figure 8. [test RFC9293 MUST-10] */
static void simultaneous_open_reaches_established(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, SYN_SENT);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_int_equal(peer_state(peer), SYN_RECEIVED);
    peer_send(peer, (struct seg){.flags = SYN | ACK, .seq = 0, .ack = 1, .window = 60000});
    assert_int_equal(peer_state(peer), ESTABLISHED);
    assert_true((peer_events(peer) & FOYER_EVENT_CONNECTED) != 0);
    peer_expect(peer, ACK, 1, 1, 0);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* RFC 7323 section 2.2: the window of a SYN is never scaled, of whichever kind it is. */
static void simultaneous_open_takes_the_window_unscaled(void **state)
{
    struct peer *peer = peer_create();
    struct wire_tcp_options options = {.has_window_scale = true, .window_scale = 7};

    (void)state;
    peer_to_state(peer, SYN_SENT);
    peer_send(peer, (struct seg){.flags = SYN, .window = 8192, .options = options});
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = SYN | ACK, .ack = 1, .window = 8192, .options = options});
    assert_int_equal(peer_state(peer), ESTABLISHED);
    assert_int_equal(peer_info(peer).send_window_bytes, 8192);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100});
    assert_int_equal(peer_info(peer).send_window_bytes, 12800);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-11] */
static void simultaneous_open_refused(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, SYN_SENT);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    assert_int_equal(peer_state(peer), CLOSED);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ECONNREFUSED);
    peer_destroy(peer);
}

/* RFC 9293 section 3.6, figure 13. */
static void simultaneous_close_reaches_time_wait(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, FIN_WAIT_1);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    assert_int_equal(peer_state(peer), CLOSING);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 2, .ack = 2, .window = 60000});
    assert_int_equal(peer_state(peer), TIME_WAIT);
    assert_true((peer_events(peer) & FOYER_EVENT_CLOSED) != 0);
    peer_destroy(peer);
}

static void half_close_still_receives(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, FIN_WAIT_2);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 2, .size = 500, .window = 60000});
    peer_expect(peer, ACK, 2, 501, 0);
    assert_int_equal(peer_read(peer, 1000), 500);
    peer_destroy(peer);
}

static void close_wait_still_sends(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, CLOSE_WAIT);
    peer_write(peer, 500);
    peer_expect(peer, ACK | PSH, 1, 2, 500);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 2, .ack = 501, .window = 60000});
    assert_int_equal(
        foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now), 0);
    peer_expect(peer, FIN | ACK, 501, 2, 0);
    assert_int_equal(peer_state(peer), LAST_ACK);
    peer_destroy(peer);
}

static void fin_out_of_order_counts_when_the_gap_is_filled(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    peer_send(peer,
              (struct seg){.flags = FIN | ACK, .seq = 101, .ack = 1, .size = 50, .window = 60000});
    peer_expect(peer, ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 100, .window = 60000});
    peer_expect(peer, ACK, 1, 152, 0);
    assert_int_equal(peer_state(peer), CLOSE_WAIT);
    assert_int_equal(peer_read(peer, 1000), 150);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, &(uint8_t){0}, 1, peer->now), 0);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-13] */
static void time_wait_lasts_two_msl(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, TIME_WAIT);
    peer_advance(peer, 59 * FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), TIME_WAIT);
    peer_advance(peer, 1 * FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), CLOSED);
    peer_destroy(peer);
}

static void time_wait_fin_restarts_two_msl(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, TIME_WAIT);
    peer_advance(peer, 50 * FOYER_NS_PER_S);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_advance(peer, 50 * FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), TIME_WAIT);
    peer_advance(peer, 10 * FOYER_NS_PER_S);
    assert_int_equal(peer_state(peer), CLOSED);
    peer_destroy(peer);
}

/* RFC 9293 section 3.6.1, RFC 6191. [test RFC9293 MAY-2] */
static void time_wait_new_syn_with_larger_seq_takes_over(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, TIME_WAIT);
    uint32_t old_iss = peer->host_iss;
    peer_send(peer, (struct seg){.flags = SYN, .seq = 5000, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 5001, 0);
    assert_true((int32_t)(peer->host_iss - old_iss) > 2);
    assert_int_equal(peer_state(peer), CLOSED); /* the old handle; the new one is not accepted */
    peer_send(peer, (struct seg){.flags = ACK, .seq = 5001, .ack = 1, .window = 60000});
    foyer_socket accepted;
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &accepted), 0);
    peer_destroy(peer);
}

/* [test RFC9293 SHLD-4] */
static void time_wait_new_syn_with_larger_timestamp_takes_over(void **state)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1460, .has_timestamps = true, .timestamp_value = 1000};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 60000);
    options = (struct wire_tcp_options){.has_timestamps = true, .timestamp_value = 1001};
    foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now);
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .options = options});
    peer_expect(peer, ACK, 2, 2, 0);
    assert_int_equal(peer_state(peer), TIME_WAIT);

    /* An older number, but a newer time. */
    options.timestamp_value = 1001;
    peer_send(peer, (struct seg){.flags = SYN, .seq = -5000u, .options = options});
    peer_expect(peer, ACK, 2, 2, 0);
    options.timestamp_value = 1002;
    peer_send(peer, (struct seg){.flags = SYN, .seq = -5000u, .options = options});
    peer_expect(peer, SYN | ACK, 0, -4999u, 0);
    peer_destroy(peer);
}

static void time_wait_of_a_closed_handle_frees_itself(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer->socket = FOYER_SOCKET_NONE;
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_advance(peer, 60 * FOYER_NS_PER_S);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 2, .ack = 2, .window = 60000});
    peer_expect(peer, RST, 2, 0, 0); /* nobody is there any more */
    peer_destroy(peer);
}

/* [test RFC5961 7a] */
static void challenge_acks_are_limited_per_second(void **state)
{
    struct peer *peer = peer_create();
    struct seg seg;
    unsigned answers = 0;

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    for (int i = 0; i < 1500; i++) {
        peer_send(peer, (struct seg){.flags = RST, .seq = 1001});
        while (peer_recv(peer, &seg))
            answers++;
    }
    assert_int_equal(answers, 1000); /* RFC 5961 section 7 */
    assert_int_equal(peer_stats(peer).tcp_challenge_acks, 1000);
    peer_advance(peer, FOYER_NS_PER_S);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1001});
    peer_expect(peer, ACK, 1, 1, 0);
    peer_destroy(peer);
}

static void unacceptable_acks_are_answered_at_most_twice_a_second(void **state)
{
    struct peer *peer = peer_create();
    struct seg seg;
    unsigned answers = 0;

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    for (int i = 0; i < 100; i++) {
        peer_send(peer, (struct seg){.flags = ACK, .seq = 0, .ack = 1, .window = 60000});
        peer_advance(peer, 10 * MS);
        while (peer_recv(peer, &seg))
            answers++;
    }
    assert_in_range(answers, 1, 3);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-3] */
static void damaged_checksum_is_dropped_and_counted(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, ESTABLISHED);
    peer_send_damaged(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 10});
    peer_expect_nothing(peer);
    assert_int_equal(peer_stats(peer).in_dropped_checksum, 1);
    assert_int_equal(peer_read(peer, 10), 0);
    peer_destroy(peer);
}

static void port_zero_is_dropped_and_counted(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 1);
    peer->peer_port = 0;
    peer_send(peer, (struct seg){.flags = SYN});
    peer_expect_nothing(peer);
    assert_int_equal(peer_stats(peer).tcp_in_errs, 1);
    peer_destroy(peer);
}

/* ---- listeners ------------------------------------------------------------------------------------ */

static void open_request(struct peer *peer, uint16_t port)
{
    peer_send(peer, (struct seg){.flags = SYN, .window = 1000, .src_port = port});
}

static void accept_queue_full_drops_the_last_ack(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 0); /* one fits: Linux's rule */
    open_request(peer, 1001);
    struct seg first = peer_expect(peer, SYN | ACK, 0, 1, 0);
    uint32_t first_iss = peer->host_iss;
    open_request(peer, 1002);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .src_port = 1002});
    /* The queue is full now: the first one's last ACK is dropped. */
    peer->host_iss = first_iss;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .src_port = 1001});
    assert_int_equal(peer_stats(peer).tcp_listen_overflows, 1);
    (void)first;
    /* A SYN is dropped too. */
    open_request(peer, 1003);
    assert_int_equal(peer_stats(peer).tcp_listen_overflows, 2);
    peer_expect_nothing(peer);
    /* Once there is room, the SYN-ACK that comes again is answered with success. */
    foyer_socket accepted;
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &accepted), 0);
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &accepted), -EAGAIN);
    peer_advance(peer, FOYER_NS_PER_S);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .src_port = 1001});
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &accepted), 0);
    peer_destroy(peer);
}

static void requests_are_bounded(void **state)
{
    struct peer *peer = peer_create();
    struct seg seg;
    unsigned answers = 0;

    (void)state;
    peer_listen(peer, 32);
    for (uint16_t port = 1000; port < 1100; port++)
        open_request(peer, port);
    while (peer_recv(peer, &seg))
        answers++;
    /* All are answered; those beyond the backlog by cookies, which nobody remembers. */
    assert_int_equal(answers, 100);
    assert_int_equal(peer_stats(peer).tcp_cookies_sent, 68);
    peer_destroy(peer);
}

static void request_gives_up_after_five_retries(void **state)
{
    static const unsigned delays_s[] = {1, 2, 4, 8, 16};
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 1);
    open_request(peer, 1001);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    for (size_t i = 0; i < 5; i++) {
        foyer_time_ns waited = peer_advance_to_deadline(peer, 100 * FOYER_NS_PER_S);
        assert_int_equal(waited, delays_s[i] * FOYER_NS_PER_S);
        peer_expect(peer, SYN | ACK, 0, 1, 0);
    }
    peer_advance(peer, 100 * FOYER_NS_PER_S);
    peer_expect_nothing(peer);
    assert_int_equal(peer_state(peer), CLOSED);
    assert_int_equal(foyer_socket_next(peer->host, &(foyer_socket){peer->listener.value}), false);
    peer_destroy(peer);
}

static void listener_close_resets_its_children(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 4);
    open_request(peer, 1001);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .src_port = 1001});
    peer_expect_nothing(peer);
    assert_int_equal(foyer_socket_close(peer->host, peer->listener, peer->now), 0);
    peer_expect(peer, RST | ACK, 1, 1, 0);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

int main(void)
{
    enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(rst_in_established_reports_econnreset),
        cmocka_unit_test(rst_in_syn_sent_reports_econnrefused),
        cmocka_unit_test(active_open_raises_connected),
        cmocka_unit_test(bytes_before_a_reset_are_read_first),
        cmocka_unit_test(simultaneous_open_reaches_established),
        cmocka_unit_test(simultaneous_open_takes_the_window_unscaled),
        cmocka_unit_test(simultaneous_open_refused),
        cmocka_unit_test(simultaneous_close_reaches_time_wait),
        cmocka_unit_test(half_close_still_receives),
        cmocka_unit_test(close_wait_still_sends),
        cmocka_unit_test(fin_out_of_order_counts_when_the_gap_is_filled),
        cmocka_unit_test(time_wait_lasts_two_msl),
        cmocka_unit_test(time_wait_fin_restarts_two_msl),
        cmocka_unit_test(time_wait_new_syn_with_larger_seq_takes_over),
        cmocka_unit_test(time_wait_new_syn_with_larger_timestamp_takes_over),
        cmocka_unit_test(time_wait_of_a_closed_handle_frees_itself),
        cmocka_unit_test(challenge_acks_are_limited_per_second),
        cmocka_unit_test(unacceptable_acks_are_answered_at_most_twice_a_second),
        cmocka_unit_test(damaged_checksum_is_dropped_and_counted),
        cmocka_unit_test(port_zero_is_dropped_and_counted),
        cmocka_unit_test(accept_queue_full_drops_the_last_ack),
        cmocka_unit_test(requests_are_bounded),
        cmocka_unit_test(request_gives_up_after_five_retries),
        cmocka_unit_test(listener_close_resets_its_children),
    };
    enum { OTHERS = sizeof(others) / sizeof(others[0]) };
    static struct CMUnitTest tests[ROWS + OTHERS];

    for (size_t i = 0; i < ROWS; i++)
        tests[i] = (struct CMUnitTest){
            .name = rows[i].name, .test_func = run_row, .initial_state = (void *)&rows[i]};
    memcpy(&tests[ROWS], others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
