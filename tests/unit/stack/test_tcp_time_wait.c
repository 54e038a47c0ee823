/* TIME-WAIT once the handle is given back: a record answers for the socket (tcp_time_wait.h). */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <stdlib.h>

#include "stack/tcp_time_wait.h"

static struct time_wait *record_of(struct peer *peer)
{
    return slot_time_wait(peer->host, (uint32_t)peer->socket.value);
}

/* peer->socket stays the handle that was given back. */
static struct peer *in_time_wait(void)
{
    struct peer *peer = peer_create();

    peer_to_state(peer, FOYER_STATE_TIME_WAIT);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer_expect_nothing(peer);
    assert_non_null(record_of(peer));
    return peer;
}

static void close_in_time_wait(struct peer *peer)
{
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_expect_nothing(peer);
    assert_non_null(record_of(peer));
}

struct row {
    const char *name;
    uint16_t flags;
    uint32_t seq, ack, size;
    bool is_answered; /* by an ACK of 2 at 2 */
};

/* The same as the TIME-WAIT rows of test_tcp_states.c. */
static const struct row rows[] = {
    {"fin_again", FIN | ACK, 1, 2, 0, true},
    {"ack", ACK, 2, 2, 0, false},
    {"data", ACK, 2, 2, 9, true},
    {"rst_at_rcv_nxt", RST, 2, 0, 0, false},
    {"rst_in_window", RST, 1001, 0, 0, false},
    {"syn_old", SYN, 0, 0, 0, true},
    {"ack_of_the_future", ACK, 2, 3, 0, true},
    {"old_data", ACK, -100u, 2, 50, true},
    {"no_ack", FIN, 1, 0, 0, false},
};

static void a_record_answers_as_the_socket_would(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct peer *peer = in_time_wait();
        peer_send(peer, (struct seg){.flags = row->flags,
                                     .seq = row->seq,
                                     .ack = row->ack,
                                     .size = row->size,
                                     .window = 60000});
        if (row->is_answered)
            peer_expect(peer, ACK, 2, 2, 0);
        peer_expect_nothing(peer);
        assert_non_null(record_of(peer));
        peer_destroy(peer);
    }
}

static void a_record_is_small_and_ends_after_two_msl(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 16);
    uint64_t before = peer->allocated_bytes;
    peer_destroy(peer);
    peer = peer_create();
    peer_establish(peer, NULL, 60000);
    close_in_time_wait(peer);
    /* Beside it: the pools' growth, the second group of its port. */
    assert_in_range(peer->allocated_bytes - before, 96, 96 + 1536);
    peer_advance(peer, 59 * FOYER_NS_PER_S);
    assert_non_null(record_of(peer));
    peer_advance(peer, 1 * FOYER_NS_PER_S + 2 * MS);
    assert_null(record_of(peer));
    assert_true(foyer_host_deadline(peer->host) == FOYER_TIME_NEVER);
    peer_destroy(peer);
}

static void a_fin_restarts_two_msl(void **state)
{
    struct peer *peer = in_time_wait();

    (void)state;
    peer_advance(peer, 50 * FOYER_NS_PER_S);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_advance(peer, 50 * FOYER_NS_PER_S);
    assert_non_null(record_of(peer));
    peer_advance(peer, 10 * FOYER_NS_PER_S + 2 * MS);
    assert_null(record_of(peer));
    peer_destroy(peer);
}

static void a_long_pause_ends_it_too(void **state)
{
    struct peer *peer = in_time_wait();

    (void)state;
    peer->now += (1ULL << 32) * MS + 10 * FOYER_NS_PER_S; /* milliseconds modulo 2^32 come round */
    foyer_host_tick(peer->host, peer->now);
    assert_null(record_of(peer));
    peer_destroy(peer);
}

static void the_handle_is_stale_but_the_listing_shows_it(void **state)
{
    struct peer *peer = in_time_wait();
    struct foyer_socket_info info;
    foyer_socket at = FOYER_SOCKET_NONE;
    bool is_listed = false;

    (void)state;
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), -EBADF);
    assert_int_equal(foyer_socket_send(peer->host, peer->socket, "x", 1, peer->now), -EBADF);
    assert_int_equal(foyer_socket_info(peer->host, peer->socket, &info), 0);
    assert_int_equal(info.state, FOYER_STATE_TIME_WAIT);
    assert_int_equal(info.local.port, peer->host_port);
    assert_int_equal(info.remote.port, peer->peer_port);
    while (foyer_socket_next(peer->host, &at))
        is_listed = is_listed || at.value == peer->socket.value;
    assert_true(is_listed);
    peer_destroy(peer);
}

static void it_holds_its_port_and_is_named(void **state)
{
    struct peer *peer = in_time_wait();
    struct foyer_endpoint any = {.port = peer->host_port};
    foyer_socket other, holder;

    (void)state;
    assert_int_equal(foyer_socket_close(peer->host, peer->listener, peer->now), 0);
    foyer_socket_open(peer->host, FOYER_FAMILY_V6, FOYER_TCP, 1, &other);
    assert_int_equal(foyer_socket_bind(peer->host, other, &any, &holder), -EADDRINUSE);
    assert_int_equal(holder.value, peer->socket.value);
    peer_advance(peer, 61 * FOYER_NS_PER_S);
    assert_int_equal(foyer_socket_bind(peer->host, other, &any, &holder), 0);
    peer_destroy(peer);
}

static void a_newer_syn_takes_its_place(void **state)
{
    struct peer *peer = in_time_wait();
    uint32_t old_iss = peer->host_iss;
    foyer_socket accepted;

    (void)state;
    peer_send(peer, (struct seg){.flags = SYN, .seq = 5000, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 5001, 0);
    assert_true((int32_t)(peer->host_iss - old_iss) > 2);
    assert_null(record_of(peer));
    peer_send(peer, (struct seg){.flags = ACK, .seq = 5001, .ack = 1, .window = 60000});
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &accepted), 0);
    peer_destroy(peer);
}

/* RFC 7323 section 5, RFC 6191 section 2. */
static void timestamps_tell_old_from_new(void **state)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1460, .has_timestamps = true, .timestamp_value = 1000};
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, &options, 60000);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    options = (struct wire_tcp_options){.has_timestamps = true, .timestamp_value = 1001};
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .options = options});
    struct seg ack = peer_expect(peer, ACK, 2, 2, 0);
    assert_int_equal(ack.options.timestamp_echo, 1001);
    peer_expect_nothing(peer);
    assert_non_null(record_of(peer));

    options.timestamp_value = 1002;
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .options = options});
    ack = peer_expect(peer, ACK, 2, 2, 0);
    assert_int_equal(ack.options.timestamp_echo, 1002);
    options.timestamp_value = 900;
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .options = options});
    ack = peer_expect(peer, ACK, 2, 2, 0);
    assert_int_equal(ack.options.timestamp_echo, 1002);
    assert_int_equal(peer_stats(peer).tcp_paws_drops, 1);
    /* Without a timestamp at all: not this connection's (RFC 7323 section 3.2). */
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2});
    peer_expect_nothing(peer);
    options.timestamp_value = 1003;
    peer_send(peer, (struct seg){.flags = SYN, .seq = -5000u, .options = options});
    peer_expect(peer, SYN | ACK, 0, -4999u, 0);
    peer_destroy(peer);
}

/* The next connection of the same listener, from another port, to TIME-WAIT. */
static void another(struct peer *peer)
{
    peer->peer_port++;
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &peer->socket), 0);
    close_in_time_wait(peer);
}

static void the_oldest_goes_where_there_are_too_many(void **state)
{
    struct peer *peer = in_time_wait();
    foyer_socket first = peer->socket;

    (void)state;
    peer->host->config.max_time_waits = 2;
    another(peer);
    assert_int_equal(peer_stats(peer).tcp_time_waits_shed, 0);
    foyer_socket second = peer->socket;
    another(peer);
    assert_int_equal(peer_stats(peer).tcp_time_waits_shed, 1);
    assert_null(slot_time_wait(peer->host, (uint32_t)first.value));
    assert_non_null(slot_time_wait(peer->host, (uint32_t)second.value));
    peer_destroy(peer);
}

static void a_new_socket_is_worth_more_than_the_oldest(void **state)
{
    struct peer *peer = in_time_wait();
    foyer_socket other;

    (void)state;
    peer->host->config.max_sockets = 2; /* the listener and it */
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), 0);
    assert_int_equal(peer_stats(peer).tcp_time_waits_shed, 1);
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), -EMFILE);
    peer_destroy(peer);
}

static void *no_memory(void *context, size_t size)
{
    (void)context;
    (void)size;
    return NULL;
}

static void without_memory_the_socket_stays(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_to_state(peer, FOYER_STATE_TIME_WAIT);
    peer->host->config.allocator.alloc = no_memory;
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    peer_expect_nothing(peer);
    assert_null(record_of(peer));
    assert_int_equal(peer_state(peer), FOYER_STATE_TIME_WAIT);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_advance(peer, 60 * FOYER_NS_PER_S);
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(peer->host, peer->socket, &info), -EBADF);
    peer_destroy(peer);
}

/* CLOSING: the handle is gone, both FINs crossed. */
static void a_simultaneous_close_ends_in_a_record(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_establish(peer, NULL, 60000);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_send(peer, (struct seg){.flags = FIN | ACK, .seq = 1, .ack = 2, .window = 60000});
    peer_expect(peer, ACK, 2, 2, 0);
    peer_expect_nothing(peer);
    assert_non_null(record_of(peer));
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_answers_as_the_socket_would),
        cmocka_unit_test(a_record_is_small_and_ends_after_two_msl),
        cmocka_unit_test(a_fin_restarts_two_msl),
        cmocka_unit_test(a_long_pause_ends_it_too),
        cmocka_unit_test(the_handle_is_stale_but_the_listing_shows_it),
        cmocka_unit_test(it_holds_its_port_and_is_named),
        cmocka_unit_test(a_newer_syn_takes_its_place),
        cmocka_unit_test(timestamps_tell_old_from_new),
        cmocka_unit_test(the_oldest_goes_where_there_are_too_many),
        cmocka_unit_test(a_new_socket_is_worth_more_than_the_oldest),
        cmocka_unit_test(without_memory_the_socket_stays),
        cmocka_unit_test(a_simultaneous_close_ends_in_a_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
