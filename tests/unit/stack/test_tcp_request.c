/*
 * Connection requests: half-open connections without a socket, SYN cookies when there are too
 * many, and requests that wait for their caller. RFC 9293 section 3.10.7, RFC 4987.
 */
#include "unit/stack/tcp_peer.h"

#include <errno.h>

#include "stack/tcp.h"

#define S FOYER_NS_PER_S

static const struct wire_tcp_options all_options = {.has_mss = true,
                                                    .mss = 1460,
                                                    .has_window_scale = true,
                                                    .window_scale = 7,
                                                    .has_sack_permitted = true};

static uint32_t request_count(struct peer *peer)
{
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(peer->host, peer->listener, &info), 0);
    return info.request_count;
}

static void syn_from(struct peer *peer, uint16_t port, const struct wire_tcp_options *options)
{
    peer_send(peer,
              (struct seg){.flags = SYN,
                           .window = 60000,
                           .src_port = port,
                           .options = options != NULL ? *options : (struct wire_tcp_options){0}});
}

/* Fills the request queue (a backlog of 1 has room for TCP_REQUESTS_MIN). */
static struct peer *with_full_queue(void)
{
    struct peer *peer = peer_create();
    peer_listen(peer, 1);
    for (uint32_t i = 0; i < TCP_REQUESTS_MIN; i++)
        syn_from(peer, (uint16_t)(1000 + i), NULL);
    peer_drain(peer);
    assert_int_equal(request_count(peer), TCP_REQUESTS_MIN);
    return peer;
}

static void half_open_is_small_and_goes(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 5000);
    uint64_t before = peer->allocated_bytes;
    for (uint32_t i = 0; i < 4000; i++)
        syn_from(peer, (uint16_t)(1000 + i), &all_options);
    peer_drain(peer);
    assert_int_equal(request_count(peer), 4000);
    uint64_t each = (peer->allocated_bytes - before) / 4000;
    print_message("%llu bytes per half-open connection\n", (unsigned long long)each);
    /* The block itself, and the table's buckets, which are not given back. */
    assert_true(each <= 128 + 16);
    peer->is_silent = true;
    peer_advance(peer, 64 * S); /* 1 + 2 + 4 + 8 + 16 + 32 */
    assert_int_equal(request_count(peer), 0);
    assert_true(peer->allocated_bytes - before <= 4000 * 16);
    peer_destroy(peer);
}

static void syn_again_is_one_request(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 4);
    for (int i = 0; i < 20; i++) {
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
        peer_expect(peer, SYN | ACK, 0, 1, 0);
    }
    assert_int_equal(request_count(peer), 1);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_events(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(request_count(peer), 0);
    peer_destroy(peer);
}

static void syn_ack_comes_again_five_times(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 4);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(peer_advance_to_deadline(peer, 100 * S), (1u << i) * S);
        peer_expect(peer, SYN | ACK, 0, 1, 0);
    }
    peer_advance(peer, 32 * S - 1);
    assert_int_equal(request_count(peer), 1);
    peer_advance(peer, 1);
    peer_expect_nothing(peer);
    assert_int_equal(request_count(peer), 0);
    assert_int_equal(peer_stats(peer).tcp_attempt_fails, 1);
    peer_destroy(peer);
}

/* Requests' times are kept modulo 49 days; after 28 of them a deadline looks as if it were to come. */
static void request_is_forgotten_after_a_long_sleep(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_listen(peer, 4);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer->now += 28 * 86400 * S;
    foyer_host_tick(peer->host, peer->now);
    peer_expect_nothing(peer);
    assert_int_equal(request_count(peer), 0);
    assert_int_equal(foyer_host_deadline(peer->host) > peer->now, true);
    peer_destroy(peer);
}

/* ---- cookies ----------------------------------------------------------------------------------------- */

static void cookie_makes_a_connection(void **state)
{
    (void)state;
    static const struct {
        uint16_t mss, expected;
    } rows[] = {{1460, 1460}, {1459, 1440}, {600, 536}, {65535, 1460}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *peer = with_full_queue();
        struct wire_tcp_options options = {.has_mss = true, .mss = rows[i].mss};
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = options});
        struct seg answer = peer_expect(peer, SYN | ACK, 0, 1, 0);
        assert_false(answer.options.has_window_scale); /* nothing would remember them */
        assert_false(answer.options.has_sack_permitted);
        assert_int_equal(request_count(peer), TCP_REQUESTS_MIN);
        assert_int_equal(peer_stats(peer).tcp_cookies_sent, 1);
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 500, .size = 10});
        peer_events(peer);
        assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
        assert_int_equal(peer_info(peer).mss, rows[i].expected);
        assert_int_equal(peer_info(peer).send_window_bytes, 500);
        assert_int_equal(peer_read(peer, 100), 10);
        assert_int_equal(peer_stats(peer).tcp_cookies_received, 1);
        peer_destroy(peer);
    }
}

/* The SYN comes again when there is room, and its answer crosses the ACK that brings the cookie. */
static void cookie_counts_where_a_request_was_made_since(void **state)
{
    (void)state;
    struct peer *peer = with_full_queue();
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    uint32_t cookie_iss = peer->host_iss;
    peer->is_silent = true;
    peer_advance(peer, 64 * S); /* the others give up */
    peer->is_silent = false;
    assert_int_equal(request_count(peer), 0);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_drain(peer);
    assert_int_equal(request_count(peer), 1);
    assert_int_not_equal(peer->host_iss, cookie_iss);
    peer->host_iss = cookie_iss;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 500, .size = 10});
    peer_events(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_read(peer, 100), 10);
    assert_int_equal(request_count(peer), 0);
    peer_destroy(peer);
}

static void cookie_keeps_options_in_the_timestamp(void **state)
{
    (void)state;
    struct peer *peer = with_full_queue();
    struct wire_tcp_options options = all_options;
    options.has_timestamps = true;
    options.timestamp_value = 5000;
    options.window_scale = 3;
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = options});
    struct seg answer = peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_true(answer.options.has_window_scale && answer.options.has_sack_permitted &&
                answer.options.has_timestamps);
    struct wire_tcp_options echo = {.has_timestamps = true,
                                    .timestamp_value = 5001,
                                    .timestamp_echo = answer.options.timestamp_value};
    peer_send(peer,
              (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 1000, .options = echo});
    peer_events(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_info(peer).send_window_bytes, 8000);
    /* SACK was agreed on: a hole is told. */
    echo.timestamp_value = 5002;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 1, .size = 10, .options = echo});
    assert_int_equal(peer_expect(peer, ACK, 1, 1, 0).options.sack_count, 1);
    peer_destroy(peer);
}

static void cookie_forged_or_old_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t seq, ack;
        foyer_time_ns wait_ns;
        bool is_good;
    } rows[] = {
        {1, 1, 0, true},          {1, 2, 0, false},     {1, 0x1000001, 0, false},
        {1, 0x8000001, 0, false}, {1, 1, 60 * S, true}, {1, 1, 200 * S, false},
        {1, 1, 2048 * S, false}, /* the minutes' five bits went round */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct peer *peer = with_full_queue();
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
        peer_expect(peer, SYN | ACK, 0, 1, 0);
        peer->is_silent = true; /* the others' SYN-ACKs */
        peer_advance(peer, rows[i].wait_ns);
        peer_drain(peer);
        peer->is_silent = false;
        peer_send(peer, (struct seg){
                            .flags = ACK, .seq = rows[i].seq, .ack = rows[i].ack, .window = 500});
        if (!rows[i].is_good)
            peer_expect(peer, RST, rows[i].ack, 0, 0);
        peer_events(peer);
        assert_int_equal(peer->socket.value != 0, rows[i].is_good);
        peer_destroy(peer);
    }
}

/* The client believes itself established once the SYN-ACK came, and all it sends acknowledges just
 * that. What overtakes the segment that brings the cookie back, or outlives it, ends nothing. */
static void cookie_overtaken_by_later_segments_still_counts(void **state)
{
    (void)state;
    struct peer *peer = with_full_queue();
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 11, .ack = 1, .window = 500});
    peer_send(peer, (struct seg){.flags = ACK, .seq = 6, .ack = 1, .window = 500, .size = 5});
    peer_expect_nothing(peer);
    assert_int_equal(peer_stats(peer).tcp_cookies_failed, 0);
    /* Other numbers than the cookie's are nobody's: RFC 9293 section 3.10.7.2. */
    peer_send(peer, (struct seg){.flags = ACK, .seq = 6, .ack = 70000, .window = 500, .size = 5});
    peer_expect(peer, RST, 70000, 0, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 500, .size = 10});
    peer_events(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_read(peer, 100), 10);
    peer_destroy(peer);
}

/*
 * Where both sides have sent as much, as with an echo, both numbers have moved on by the same: that is
 * not the connection's beginning, and what comes after its end makes no new one.
 */
static void cookie_does_not_count_after_an_echo(void **state)
{
    (void)state;
    struct peer *peer = with_full_queue();
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    for (uint32_t size = 1; size < 200000; size = size * 3 + 1) {
        peer_send(
            peer,
            (struct seg){.flags = ACK, .seq = 1 + size, .ack = 1 + size, .window = 500, .size = 5});
        peer_expect(peer, RST, 1 + size, 0, 0);
    }
    peer_events(peer);
    assert_int_equal(peer->socket.value, 0);
    peer_destroy(peer);
}

/* A listener that sends cookies all the time forgets the old ones all the same. */
static void cookie_of_long_ago_is_refused_beside_fresh_ones(void **state)
{
    (void)state;
    struct peer *peer = with_full_queue();
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    uint32_t iss = peer->host_iss;
    peer->is_silent = true;
    peer_advance(peer, 200 * S); /* the requests are gone */
    for (uint32_t i = 0; i <= TCP_REQUESTS_MIN; i++)
        syn_from(peer, (uint16_t)(2000 + i), NULL);
    peer_drain(peer);
    peer->is_silent = false;
    assert_int_equal(peer_stats(peer).tcp_cookies_sent, 2);
    peer->host_iss = iss;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 500});
    peer_expect(peer, RST, 1, 0, 0);
    peer_events(peer);
    assert_int_equal(peer->socket.value, 0);
    peer_destroy(peer);
}

static void no_cookie_counts_where_none_was_sent(void **state)
{
    (void)state;
    struct peer *peer = with_full_queue();
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    /* Another listener of the same host, same secret. */
    foyer_socket_close(peer->host, peer->listener, peer->now);
    peer_listen(peer, 1);
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 500});
    peer_expect(peer, RST, 1, 0, 0);
    peer_destroy(peer);
}

/* A million SYNs of as many ports and sequence numbers, over ten seconds. */
static void flood_costs_no_memory(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    peer_establish(peer, &all_options, 60000);
    uint64_t before = peer->allocated_bytes;
    uint64_t most = before;
    uint32_t moved = 0;
    peer->is_silent = true;
    for (uint32_t i = 0; i < 1000000; i++) {
        peer_send(peer, (struct seg){.flags = SYN,
                                     .seq = i * 7919u,
                                     .window = 60000,
                                     .src_port = (uint16_t)(1 + i % 39999)});
        peer_drain(peer);
        if (peer->allocated_bytes > most)
            most = peer->allocated_bytes;
        if (i % 1000 != 0)
            continue;
        peer_advance(peer, 10 * MS);
        peer_drain(peer);
        /* The connection that was there before goes on. */
        peer_send(
            peer,
            (struct seg){
                .flags = ACK | PSH, .seq = 1 + moved, .ack = 1, .window = 60000, .size = 100});
        assert_int_equal(peer_read(peer, 1000), 100);
        moved += 100;
    }
    print_message("%llu bytes more at the peak\n", (unsigned long long)(most - before));
    /* The backlog's worth of requests, the connection's own ring, a few table segments. */
    assert_true(most - before <= 65536 + 4096 + 64 * 128);
    assert_true(peer_stats(peer).tcp_cookies_sent > 900000);
    peer_advance(peer, 64 * S);
    assert_int_equal(request_count(peer), 0);
    peer_destroy(peer);
}

/* ---- requests that wait for the caller ------------------------------------------------------------------- */

static foyer_request next_request(struct peer *peer)
{
    foyer_request request = {0};
    assert_int_equal(foyer_request_next(peer->host, peer->listener, &request), 0);
    return request;
}

static void held_is_told_and_silent(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    foyer_request none;
    assert_int_equal(foyer_request_next(peer->host, peer->listener, &none), -EAGAIN);
    for (int i = 0; i < 3; i++) { /* its SYN comes again: still one request */
        peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = all_options});
        peer_expect_nothing(peer);
    }
    struct foyer_event event;
    assert_int_equal(foyer_host_events(peer->host, &event, 1), 1);
    assert_int_equal(event.socket.value, peer->listener.value);
    assert_int_equal(event.events, FOYER_EVENT_REQUEST);
    foyer_request request = next_request(peer);
    assert_int_equal(foyer_request_next(peer->host, peer->listener, &none), -EAGAIN);
    struct foyer_request_info info;
    assert_int_equal(foyer_request_info(peer->host, request, &info), 0);
    assert_int_equal(info.listener.value, peer->listener.value);
    assert_int_equal(info.local.port, HOST_PORT);
    assert_int_equal(info.remote.port, PEER_PORT);
    assert_int_equal(info.mss, 1460);
    assert_int_equal(info.window_bytes, 60000);
    assert_true(info.has_window_scale && info.has_sack && !info.has_timestamps);
    /* Accepted: the handshake goes on as ever. */
    assert_int_equal(foyer_request_accept(peer->host, request, peer->now), 0);
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_int_equal(foyer_request_accept(peer->host, request, peer->now), -EBADF);
    assert_int_equal(foyer_request_info(peer->host, request, &info), -EBADF);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 100});
    peer_events(peer);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    assert_int_equal(peer_info(peer).send_window_bytes, 100 << 7);
    peer_destroy(peer);
}

static void refused_and_dropped(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    foyer_request request = next_request(peer);
    assert_int_equal(foyer_request_refuse(peer->host, request, peer->now), 0);
    struct seg reset;
    assert_true(peer_recv(peer, &reset));
    assert_int_equal(reset.flags, RST | ACK);
    assert_int_equal(reset.ack, 1);
    assert_int_equal(foyer_request_refuse(peer->host, request, peer->now), -EBADF);

    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    foyer_request second = next_request(peer);
    assert_int_not_equal(second.value, request.value);
    assert_int_equal(foyer_request_drop(peer->host, request), -EBADF); /* not the second */
    assert_int_equal(foyer_request_drop(peer->host, second), 0);
    peer_expect_nothing(peer);
    assert_int_equal(request_count(peer), 0);
    assert_int_equal(foyer_request_drop(peer->host, (foyer_request){0}), -EBADF);
    peer_destroy(peer);
}

static void held_ends_by_time_reset_or_close(void **state)
{
    (void)state;
    struct foyer_request_info info;
    struct peer *peer = peer_listening(4, FOYER_OPT_HOLD, 1);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    foyer_request request = next_request(peer);
    peer_advance(peer, 59 * S);
    assert_int_equal(foyer_request_info(peer->host, request, &info), 0);
    peer_advance(peer, 2 * S);
    peer_expect_nothing(peer);
    assert_int_equal(foyer_request_info(peer->host, request, &info), -EBADF);

    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    request = next_request(peer);
    peer_send(peer, (struct seg){.flags = RST, .seq = 5}); /* anybody's */
    assert_int_equal(foyer_request_info(peer->host, request, &info), 0);
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    assert_int_equal(foyer_request_info(peer->host, request, &info), -EBADF);

    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    request = next_request(peer);
    foyer_socket_close(peer->host, peer->listener, peer->now);
    assert_int_equal(foyer_request_accept(peer->host, request, peer->now), -EBADF);
    peer_destroy(peer);
}

static void held_are_bounded_without_cookies(void **state)
{
    (void)state;
    struct peer *peer = peer_listening(20, FOYER_OPT_HOLD, 1);
    for (uint32_t i = 0; i < 30; i++)
        syn_from(peer, (uint16_t)(1000 + i), NULL);
    peer_expect_nothing(peer);
    assert_int_equal(request_count(peer), 20);
    assert_int_equal(peer_stats(peer).tcp_listen_overflows, 10);
    for (uint32_t i = 0; i < 20; i++) {
        struct foyer_request_info info;
        assert_int_equal(foyer_request_info(peer->host, next_request(peer), &info), 0);
        assert_int_equal(info.remote.port, 1000 + i); /* in order of arrival */
    }
    peer_destroy(peer);
}

/* ---- RFC 6191, the connecting side ---------------------------------------------------------------------- */

/* The host's socket from a fixed port, connected and closed by the host first: TIME-WAIT. */
static int connect_from(struct peer *peer, uint16_t port)
{
    struct foyer_endpoint local = {foyer_addr_v4(10, 0, 0, 1), port};
    struct foyer_endpoint remote = {foyer_addr_v4(10, 0, 0, 2), PEER_PORT};
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &peer->socket),
                     0);
    foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_REUSEADDR, 1);
    assert_int_equal(foyer_socket_bind(peer->host, peer->socket, &local, NULL), 0);
    peer->host_port = port;
    return foyer_socket_connect(peer->host, peer->socket, &remote, peer->now);
}

static void connect_and_close(struct peer *peer, uint16_t port, bool has_ts)
{
    struct wire_tcp_options options = {.has_timestamps = has_ts, .timestamp_value = 1000};
    assert_int_equal(connect_from(peer, port), -EINPROGRESS);
    peer_expect(peer, SYN, 0, 0, 0);
    options.timestamp_echo = peer->last_ts;
    peer_send(peer, (struct seg){.flags = SYN | ACK, .ack = 1, .window = 500, .options = options});
    peer_expect(peer, ACK, 1, 1, 0);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){
                        .flags = FIN | ACK, .seq = 1, .ack = 2, .window = 500, .options = options});
    peer_expect(peer, ACK, 2, 2, 0);
}

/* [test RFC9293 SHLD-4] */
static void connect_reuses_a_time_wait(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    connect_and_close(peer, 7777, true);
    uint32_t iss = peer->host_iss, last_ts = peer->last_ts;
    /* Its clock must have moved. */
    peer_advance(peer, 900 * MS);
    assert_int_equal(connect_from(peer, 7777), -EADDRNOTAVAIL);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_advance(peer, 200 * MS);
    assert_int_equal(connect_from(peer, 7777), -EINPROGRESS);
    struct seg syn;
    assert_true(peer_recv(peer, &syn));
    assert_int_equal(syn.flags, SYN);
    assert_true((int32_t)(peer->host_iss - iss) > 2);    /* RFC 9293 section 3.6.1 */
    assert_true((int32_t)(peer->last_ts - last_ts) > 0); /* the peer's PAWS lets it pass */
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_destroy(peer);
}

static void connect_respects_a_time_wait_without_timestamps(void **state)
{
    (void)state;
    struct peer *peer = peer_create();
    connect_and_close(peer, 7777, false);
    peer_advance(peer, 59 * S);
    assert_int_equal(connect_from(peer, 7777), -EADDRNOTAVAIL);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_advance(peer, 2 * S);
    assert_int_equal(connect_from(peer, 7777), -EINPROGRESS);
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_open_is_small_and_goes),
        cmocka_unit_test(syn_again_is_one_request),
        cmocka_unit_test(syn_ack_comes_again_five_times),
        cmocka_unit_test(request_is_forgotten_after_a_long_sleep),
        cmocka_unit_test(cookie_makes_a_connection),
        cmocka_unit_test(cookie_counts_where_a_request_was_made_since),
        cmocka_unit_test(cookie_keeps_options_in_the_timestamp),
        cmocka_unit_test(cookie_forged_or_old_is_refused),
        cmocka_unit_test(cookie_overtaken_by_later_segments_still_counts),
        cmocka_unit_test(cookie_does_not_count_after_an_echo),
        cmocka_unit_test(cookie_of_long_ago_is_refused_beside_fresh_ones),
        cmocka_unit_test(no_cookie_counts_where_none_was_sent),
        cmocka_unit_test(flood_costs_no_memory),
        cmocka_unit_test(held_is_told_and_silent),
        cmocka_unit_test(refused_and_dropped),
        cmocka_unit_test(held_ends_by_time_reset_or_close),
        cmocka_unit_test(held_are_bounded_without_cookies),
        cmocka_unit_test(connect_reuses_a_time_wait),
        cmocka_unit_test(connect_respects_a_time_wait_without_timestamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
