/* The size of TCP's own rings, and what gives way where config.max_memory_bytes is reached. */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stack/tcp_time_wait.h"

#define RING 4096u

static struct sock *sock_of(struct peer *peer)
{
    return sock_from_handle(peer->host, peer->socket);
}

/* What send_text acknowledges. */
static uint32_t text_ack;

/* Rings of 4 KiB that may grow to 64 KiB, and a path of 100 ms. */
static struct peer *establish(void)
{
    static const struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_sack_permitted = true};
    struct peer *peer = peer_create_with(0, RING);

    text_ack = 1;

    peer->host->default_options.rx_size_max = 65536;
    peer->host->default_options.tx_size_max = 65536;
    peer_establish(peer, &options, 60000);
    sock_of(peer)->tcb->srtt_us8 = 8 * 100000;
    return peer;
}

static void text(uint8_t *bytes, uint32_t seq, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((seq + i) * 7 / 3);
}

static void send_text(struct peer *peer, uint32_t seq, uint32_t size)
{
    uint8_t bytes[2000];

    text(bytes, seq, size);
    peer_send(peer, (struct seg){.flags = ACK,
                                 .seq = seq,
                                 .ack = text_ack,
                                 .size = size,
                                 .data = bytes,
                                 .window = 60000});
    peer_drain(peer);
}

static void read_text(struct peer *peer, uint32_t seq, uint32_t size)
{
    uint8_t bytes[8192], wanted[8192];

    text(wanted, seq, size);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, sizeof(bytes), peer->now),
                     size);
    assert_memory_equal(bytes, wanted, size);
    peer_drain(peer);
}

static void the_receive_ring_grows_with_what_is_read_per_round_trip(void **state)
{
    struct peer *peer = establish();
    const struct foyer_ring *ring;

    (void)state;
    send_text(peer, 1, 1000);
    read_text(peer, 1, 1000); /* the measuring begins */
    ring = &sock_of(peer)->rings->rx;
    assert_int_equal(ring->size, RING);
    peer_advance(peer, 100 * MS);
    for (uint32_t i = 0; i < 3; i++)
        send_text(peer, 1001 + i * 1000, 1000);
    send_text(peer, 4501, 500); /* beyond a gap: it must move, too */
    read_text(peer, 1001, 3000);
    assert_int_equal(ring->size, 2 * RING);
    send_text(peer, 4001, 500);
    read_text(peer, 4001, 1000);

    /* Little in the next round trips: it stays. */
    peer_advance(peer, 100 * MS);
    send_text(peer, 5001, 1000);
    read_text(peer, 5001, 1000);
    assert_int_equal(ring->size, 2 * RING);
    /* Much, but in a long time. */
    for (uint32_t i = 0; i < 6; i++)
        send_text(peer, 6001 + i * 1000, 1000);
    peer_advance(peer, 1000 * MS);
    read_text(peer, 6001, 6000);
    assert_int_equal(ring->size, 2 * RING);
    peer_destroy(peer);
}

static void a_size_that_was_asked_for_is_kept(void **state)
{
    struct peer *peer = establish();

    (void)state;
    assert_int_equal(
        foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_RECEIVE_BUFFER, RING), 0);
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_SEND_BUFFER, RING),
                     0);
    sock_of(peer)->options->rx_size_max = RING; /* the value was the default already */
    sock_of(peer)->options->tx_size_max = RING;
    send_text(peer, 1, 1000);
    read_text(peer, 1, 1000);
    peer_advance(peer, 100 * MS);
    for (uint32_t i = 0; i < 3; i++)
        send_text(peer, 1001 + i * 1000, 1000);
    read_text(peer, 1001, 3000);
    assert_int_equal(sock_of(peer)->rings->rx.size, RING);
    peer_destroy(peer);
}

static void the_send_ring_grows_with_the_congestion_window(void **state)
{
    struct peer *peer = establish();
    static uint8_t bytes[65536];

    (void)state;
    sock_of(peer)->tcb->cwnd_bytes = 10000;
    text(bytes, 1, sizeof(bytes));
    assert_int_equal(foyer_socket_send(peer->host, peer->socket, bytes, 3000, peer->now), 3000);
    struct seg seg = peer_expect(peer, ACK, 1, 1, 1000);
    assert_int_equal(foyer_socket_send(peer->host, peer->socket, bytes + 3000, 20000, peer->now),
                     20000);
    assert_int_equal(sock_of(peer)->rings->tx.size, 32768);
    for (uint32_t at = 1000; at < 10000; at += 1000) {
        assert_true(peer_recv(peer, &seg));
        assert_int_equal(seg.seq, 1 + at);
        assert_memory_equal(seg.data, bytes + at, 1000);
    }
    /* The window is not larger: nor need the ring be. */
    int64_t sent = foyer_socket_send(peer->host, peer->socket, bytes, sizeof(bytes), peer->now);
    assert_int_equal(sent, 32768 - 23000);
    peer_destroy(peer);
}

/* ---- the limit ------------------------------------------------------------------------------------- */

/* The host has used up all but so much. */
static void leave(struct peer *peer, uint64_t bytes)
{
    peer->host->config.max_memory_bytes = peer_stats(peer).memory_bytes + bytes;
}

static void all_memory_is_counted(void **state)
{
    struct peer *peer = establish();
    uint64_t before = peer_stats(peer).memory_bytes;

    (void)state;
    uint64_t allocated = peer->allocated_bytes;
    send_text(peer, 1, 1000);
    assert_int_equal(peer_stats(peer).memory_bytes - before, peer->allocated_bytes - allocated);
    assert_true(peer->allocated_bytes - allocated > RING);
    peer_destroy(peer);
}

static void without_room_for_a_ring_the_text_is_not_acknowledged(void **state)
{
    struct peer *peer = establish();

    (void)state;
    leave(peer, 1000);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 100, .window = 60000});
    struct seg seg;
    while (peer_recv(peer, &seg))
        assert_int_equal(seg.ack, 1);
    assert_true(peer_stats(peer).memory_refused > 0);
    peer->host->config.max_memory_bytes = 0;
    send_text(peer, 1, 100); /* again */
    read_text(peer, 1, 100);
    peer_destroy(peer);
}

static void near_the_limit_rings_are_small_and_do_not_stay(void **state)
{
    static const struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create_with(0, 65536);

    (void)state;
    text_ack = 1;
    peer_establish(peer, &options, 60000);
    leave(peer, peer_stats(peer).memory_bytes / 4);
    assert_true(host_is_short(peer->host));
    send_text(peer, 1, 1000);
    assert_int_equal(sock_of(peer)->rings->rx.size, 16384);
    read_text(peer, 1, 1000);
    assert_false(foyer_ring_is_set(&sock_of(peer)->rings->rx));
    /* The stream goes on where it was. */
    send_text(peer, 1001, 500);
    read_text(peer, 1001, 500);
    peer_write(peer, 700);
    peer_expect(peer, ACK | PSH, 1, 1501, 700);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1501, .ack = 701, .window = 60000});
    send_text(peer, 1501, 10);
    read_text(peer, 1501, 10);
    assert_false(foyer_ring_is_set(&sock_of(peer)->rings->tx));
    peer_write(peer, 300);
    peer_expect(peer, ACK | PSH, 701, 1511, 300);
    peer_destroy(peer);
}

static void near_the_limit_syns_are_answered_by_cookies(void **state)
{
    struct peer *peer = peer_create();

    (void)state;
    peer_listen(peer, 16);
    leave(peer, 1000);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    assert_int_equal(peer_stats(peer).tcp_cookies_sent, 1);
    peer_destroy(peer);
}

static void at_the_limit_gaps_are_forgotten_and_in_order_bytes_are_not(void **state)
{
    struct peer *peer = establish();

    (void)state;
    send_text(peer, 1, 1000);
    send_text(peer, 2001, 1000); /* beyond a gap */
    assert_true(tcp_has_gaps(sock_of(peer)->tcb));
    leave(peer, 100);
    foyer_socket other;
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), -ENOMEM);
    foyer_host_tick(peer->host, peer->now);
    assert_false(tcp_has_gaps(sock_of(peer)->tcb));
    assert_int_equal(peer_stats(peer).tcp_pruned, 1);
    peer->host->config.max_memory_bytes = 0;
    read_text(peer, 1, 1000);
    send_text(peer, 1001, 1000);
    send_text(peer, 2001, 1000);
    read_text(peer, 1001, 2000);
    peer_destroy(peer);
}

/* There is memory, but not for as large a ring as was wanted. */
static void a_ring_that_would_make_memory_short_is_small(void **state)
{
    static const struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create_with(0, 1u << 20);

    (void)state;
    text_ack = 1;
    peer_establish(peer, &options, 60000);
    leave(peer, peer_stats(peer).memory_bytes / 3 + 100000);
    assert_false(host_is_short(peer->host));
    send_text(peer, 1, 1000);
    assert_int_equal(sock_of(peer)->rings->rx.size, 16384);
    read_text(peer, 1, 1000);
    peer_destroy(peer);
}

/* Otherwise what is sent and the room to receive it, on this host or another, wait for each other. */
static void near_the_limit_what_arrives_goes_before_what_is_sent(void **state)
{
    struct peer *peer = establish();
    uint8_t byte = 0;

    (void)state;
    leave(peer, peer_stats(peer).memory_bytes / 8);
    assert_int_equal(foyer_socket_send(peer->host, peer->socket, &byte, 1, peer->now), -ENOMEM);
    send_text(peer, 1, 100);
    read_text(peer, 1, 100);
    peer_destroy(peer);
}

static void at_the_limit_empty_rings_are_given_back(void **state)
{
    struct peer *peer = establish();
    struct foyer_endpoint remote = {foyer_addr_v4(10, 0, 0, 2), 9};
    foyer_socket datagrams, other;
    uint8_t byte = 0;

    (void)state;
    send_text(peer, 1, 100);
    read_text(peer, 1, 100);
    peer_write(peer, 100);
    peer_expect(peer, ACK | PSH, 1, 101, 100);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 101, .window = 60000});
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_UDP, 1, &datagrams), 0);
    assert_int_equal(foyer_socket_send_to(peer->host, datagrams, &byte, 1, &remote, peer->now), 1);
    peer_drain(peer);
    const struct sock *udp = sock_from_handle(peer->host, datagrams);
    assert_true(foyer_ring_is_set(&udp->rings->tx));
    leave(peer, 100);
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), -ENOMEM);
    foyer_host_tick(peer->host, peer->now);
    assert_false(foyer_ring_is_set(&sock_of(peer)->rings->rx));
    assert_false(foyer_ring_is_set(&sock_of(peer)->rings->tx));
    assert_false(foyer_ring_is_set(&udp->rings->tx));
    /* They come again. */
    peer->host->config.max_memory_bytes = 0;
    send_text(peer, 101, 100);
    read_text(peer, 101, 100);
    assert_int_equal(foyer_socket_send_to(peer->host, datagrams, &byte, 1, &remote, peer->now), 1);
    /* Behind a FIN that is acknowledged nothing is kept either. */
    peer_write(peer, 100);
    foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now);
    peer_drain(peer);
    text_ack = 202;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 201, .ack = 202, .window = 60000});
    assert_int_equal(peer_state(peer), FOYER_STATE_FIN_WAIT_2);
    leave(peer, 100);
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), -ENOMEM);
    foyer_host_tick(peer->host, peer->now);
    assert_false(foyer_ring_is_set(&sock_of(peer)->rings->tx));
    send_text(peer, 201, 100);
    read_text(peer, 201, 100);
    peer_destroy(peer);
}

static void at_the_limit_time_waits_and_orphans_go(void **state)
{
    struct peer *peer = peer_create();
    foyer_socket other;

    (void)state;
    peer_to_state(peer, FOYER_STATE_TIME_WAIT);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_expect_nothing(peer);
    foyer_socket waiting = peer->socket;
    peer->peer_port++;
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &peer->socket), 0);
    foyer_socket_close(peer->host, peer->socket, peer->now);
    peer_expect(peer, FIN | ACK, 1, 1, 0);
    leave(peer, 0);
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), -ENOMEM);
    foyer_host_tick(peer->host, peer->now);
    peer_expect(peer, RST | ACK, 2, 1, 0);
    assert_int_equal(peer_stats(peer).tcp_time_waits_shed, 1);
    assert_int_equal(peer_stats(peer).tcp_orphans_aborted, 1);
    assert_null(slot_time_wait(peer->host, (uint32_t)waiting.value));
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_TCP, 1, &other), 0);
    peer_destroy(peer);
}

/* ---- the data path ---------------------------------------------------------------------------------- */

static void *must_not(void *context, size_t size)
{
    (void)context;
    (void)size;
    fail_msg("the data path called the allocator");
    return NULL;
}

static void data_both_ways_with_gaps_calls_no_allocator(void **state)
{
    struct peer *peer = establish();

    (void)state;
    send_text(peer, 1, 10); /* the rings are made by the first bytes */
    read_text(peer, 1, 10);
    peer_write(peer, 10);
    peer_expect(peer, ACK | PSH, 1, 11, 10);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 11, .ack = 11, .window = 60000});
    sock_of(peer)->options->rx_size_max = RING;
    peer->host->config.allocator.alloc = must_not;
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t seq = 11 + i * 1000, ack = 11 + i * 2000;
        text_ack = ack;
        peer_write(peer, 2000);
        peer_drain(peer);
        send_text(peer, seq + 500, 500); /* a gap, then what was missing, then it all again */
        send_text(peer, seq, 500);
        send_text(peer, seq, 1000);
        peer_send(peer, (struct seg){.flags = ACK,
                                     .seq = seq + 1000,
                                     .ack = ack,
                                     .window = 60000,
                                     .options = {.sack_count = 1,
                                                 .sack = {{SEQ(ack + 1000), SEQ(ack + 2000)}}}});
        peer_drain(peer);
        peer_advance(peer, 300 * MS);
        peer_drain(peer);
        peer_send(peer, (struct seg){
                            .flags = ACK, .seq = seq + 1000, .ack = ack + 2000, .window = 60000});
        peer_drain(peer);
        read_text(peer, seq, 1000);
    }
    assert_true(peer_stats(peer).tcp_retrans_segs > 0 && peer_stats(peer).tcp_ooo_segs >= 100);
    peer->host->config.allocator.alloc = NULL; /* nor does the end */
    peer_destroy(peer);
}

static void units_are_kept_for_as_long_as_they_were_needed(void **state)
{
    struct peer *peer = peer_create();
    struct tcp_host *tcp = &peer->host->tcp;
    void *units[100];

    (void)state;
    assert_int_equal(tcp->free_unit_count, TCP_UNITS_MIN);
    for (int i = 0; i < 100; i++)
        units[i] = tcp_unit_take(peer->host);
    for (int i = 0; i < 100; i++)
        tcp_unit_give(peer->host, units[i]);
    assert_int_equal(tcp->free_unit_count, 100); /* the next burst needs no allocator */
    peer_advance(peer, TCP_UNITS_PERIOD_NS);
    assert_int_equal(tcp->free_unit_count, 100);
    peer_advance(peer, 3 * TCP_UNITS_PERIOD_NS);
    assert_int_equal(tcp->free_unit_count, TCP_UNITS_MIN);
    assert_true(foyer_host_deadline(peer->host) == FOYER_TIME_NEVER);
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_receive_ring_grows_with_what_is_read_per_round_trip),
        cmocka_unit_test(a_size_that_was_asked_for_is_kept),
        cmocka_unit_test(the_send_ring_grows_with_the_congestion_window),
        cmocka_unit_test(all_memory_is_counted),
        cmocka_unit_test(without_room_for_a_ring_the_text_is_not_acknowledged),
        cmocka_unit_test(near_the_limit_rings_are_small_and_do_not_stay),
        cmocka_unit_test(near_the_limit_syns_are_answered_by_cookies),
        cmocka_unit_test(at_the_limit_gaps_are_forgotten_and_in_order_bytes_are_not),
        cmocka_unit_test(a_ring_that_would_make_memory_short_is_small),
        cmocka_unit_test(near_the_limit_what_arrives_goes_before_what_is_sent),
        cmocka_unit_test(at_the_limit_empty_rings_are_given_back),
        cmocka_unit_test(at_the_limit_time_waits_and_orphans_go),
        cmocka_unit_test(data_both_ways_with_gaps_calls_no_allocator),
        cmocka_unit_test(units_are_kept_for_as_long_as_they_were_needed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
