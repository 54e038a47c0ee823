/* Urgent data: the pointer both ways, and what sockets see of it. */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <string.h>

#include "stack/tcp.h"

#define URG WIRE_TCP_URG

static const struct wire_tcp_options mss_1000 = {.has_mss = true, .mss = 1000};

static struct peer *establish(uint16_t window)
{
    struct peer *peer = peer_create();
    peer_establish(peer, &mss_1000, window);
    peer_events(peer);
    return peer;
}

static int64_t send_urgent(struct peer *peer, uint32_t size)
{
    uint8_t bytes[4000];
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = host_byte(peer->written + i);
    int64_t sent = foyer_socket_send_urgent(peer->host, peer->socket, bytes, size, peer->now);
    if (sent > 0)
        peer->written += (uint32_t)sent;
    return sent;
}

static uint32_t mark_of(struct peer *peer)
{
    uint32_t bytes = 0;
    assert_int_equal(foyer_socket_urgent_mark(peer->host, peer->socket, &bytes), 0);
    return bytes;
}

static int take(struct peer *peer, bool is_peek, uint8_t *ret_byte)
{
    return foyer_socket_recv_urgent(peer->host, peer->socket, is_peek, ret_byte);
}

static uint32_t read_some(struct peer *peer, uint8_t *bytes, uint32_t size)
{
    int64_t got = foyer_socket_recv(peer->host, peer->socket, bytes, size, peer->now);
    return got < 0 ? 0 : (uint32_t)got;
}

static void peer_text(struct peer *peer, uint32_t seq, uint32_t size, uint16_t urgent)
{
    peer_send(peer, (struct seg){.flags = (uint16_t)(ACK | (urgent != 0 ? URG : 0)),
                                 .seq = seq,
                                 .ack = 1,
                                 .window = 60000,
                                 .size = size,
                                 .urgent = urgent});
}

/* ---- out ------------------------------------------------------------------------------------------ */

/* [test RFC9293 MUST-30 MUST-62] The pointer says the first byte that is not urgent. */
static void the_pointer_is_behind_the_last_urgent_byte(void **state)
{
    struct peer *peer = establish(60000);
    (void)state;
    assert_int_equal(send_urgent(peer, 3), 3);
    struct seg seg = peer_expect(peer, ACK | PSH | URG, 1, 1, 3);
    assert_int_equal(seg.urgent, 3);
    /* What follows is not urgent; what was not acknowledged does not make it so. */
    foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_NODELAY, 1);
    peer_write(peer, 10);
    seg = peer_expect(peer, ACK | PSH, 4, 1, 10);
    assert_int_equal(seg.urgent, 0);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-31] Any length; every segment before the pointer's place tells of it. */
static void long_urgent_data_is_told_in_each_segment(void **state)
{
    struct peer *peer = establish(60000);
    (void)state;
    peer_write(peer, 500);
    peer_expect(peer, ACK | PSH, 1, 1, 500);
    assert_int_equal(send_urgent(peer, 2500), 2500);
    static const uint32_t sizes[] = {1000, 1000, 500};
    uint32_t at = 501;
    for (unsigned i = 0; i < 3; i++) {
        struct seg seg =
            peer_expect(peer, (uint16_t)(ACK | URG | (i == 2 ? PSH : 0)), at, 1, sizes[i]);
        assert_int_equal(seg.urgent, 3001 - at);
        at += sizes[i];
    }
    peer_destroy(peer);
}

/* A link that cuts would repeat the pointer, which is relative to its segment. */
static void urgent_data_is_not_given_in_super_segments(void **state)
{
    struct peer *peer = peer_create_with(FOYER_LINK_TSO4 | FOYER_LINK_TSO6, 65536);
    (void)state;
    peer_establish(peer, &mss_1000, 60000);
    peer_write(peer, 3000);
    struct seg seg = peer_expect(peer, ACK | PSH, 1, 1, 3000);
    assert_int_equal(seg.gso_size, 1000);
    assert_int_equal(send_urgent(peer, 2000), 2000);
    seg = peer_expect(peer, ACK | URG, 3001, 1, 1000);
    assert_int_equal(seg.urgent, 2000);
    seg = peer_expect(peer, ACK | PSH | URG, 4001, 1, 1000);
    assert_int_equal(seg.urgent, 1000);
    peer_destroy(peer);
}

/* As MUST-66, from the sender's side: the news does not wait for the window. */
static void a_closed_window_lets_the_news_pass(void **state)
{
    struct peer *peer = establish(1000);
    (void)state;
    peer_write(peer, 1000);
    peer_expect(peer, ACK | PSH, 1, 1, 1000);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1001, .window = 0});
    assert_int_equal(send_urgent(peer, 5), 5);
    struct seg seg = peer_expect(peer, ACK | URG, 1001, 1, 0);
    assert_int_equal(seg.urgent, 5);
    peer_expect_nothing(peer);
    /* The probe says it as well: at SND.UNA - 1. */
    peer_advance(peer, 500 * MS);
    seg = peer_expect(peer, ACK | URG, 1000, 1, 0);
    assert_int_equal(seg.urgent, 6);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1001, .window = 5000});
    seg = peer_expect(peer, ACK | PSH | URG, 1001, 1, 5);
    assert_int_equal(seg.urgent, 5);
    peer_destroy(peer);
}

static void retransmissions_carry_it_again(void **state)
{
    struct peer *peer = establish(60000);
    (void)state;
    peer_write(peer, 1000);
    peer_expect(peer, ACK | PSH, 1, 1, 1000);
    assert_int_equal(send_urgent(peer, 1), 1);
    assert_int_equal(peer_expect(peer, ACK | PSH | URG, 1001, 1, 1).urgent, 1);
    peer_drain(peer);
    struct seg seg = {0};
    for (unsigned i = 0; i < 5 && seg.seq != 1; i++) {
        peer_advance(peer, 1000 * MS);
        while (peer_recv(peer, &seg) && seg.seq != 1)
            assert_true((seg.flags & URG) != 0 && seg.urgent == 1002 - seg.seq);
    }
    /* Sent after the urgent data was written, so it is known by now: it is ahead of byte 1. */
    assert_int_equal(seg.seq, 1);
    assert_true((seg.flags & URG) != 0);
    assert_int_equal(seg.urgent, 1001);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1002, .window = 60000});
    peer_drain(peer);
    peer_write(peer, 5);
    assert_int_equal(peer_expect(peer, ACK | PSH, 1002, 1, 5).urgent, 0);
    peer_destroy(peer);
}

/* The field has 16 bits: what is further is told as far as it reaches. */
static void a_far_pointer_is_cut(void **state)
{
    struct peer *peer = peer_create_with(0, 262144);
    struct wire_tcp_options options = mss_1000;
    options.has_window_scale = true;
    options.window_scale = 7;
    (void)state;
    peer_establish(peer, &options, 1);
    peer_drain(peer);
    peer_write(peer, 100000);
    peer_drain(peer);
    assert_int_equal(send_urgent(peer, 1), 1);
    struct sock *sock = sock_from_handle(peer->host, peer->socket);
    struct tcb *tcb = sock->tcb;
    assert_int_equal(tcp_urgent_pointer(tcb, tcb->snd_una), 65535);
    assert_int_equal(tcp_urgent_pointer(tcb, seq_back(tcb->snd_end, 9)), 9);
    peer_destroy(peer);
}

/* ---- in ------------------------------------------------------------------------------------------- */

/* [test RFC9293 MUST-33] How much is ahead can be asked for. */
static void the_byte_is_kept_apart(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[20], urgent = 0;
    (void)state;
    assert_int_equal(take(peer, false, &urgent), -EINVAL);
    peer_text(peer, 1, 10, 4); /* the fourth byte */
    assert_true((peer_events(peer) & FOYER_EVENT_URGENT) != 0);
    assert_int_equal(mark_of(peer), 3);
    assert_int_equal(take(peer, true, &urgent), 1);
    assert_int_equal(take(peer, false, &urgent), 1);
    assert_int_equal(urgent, peer_byte(4));
    assert_int_equal(take(peer, false, &urgent), -EINVAL); /* once */
    /* recv ends at the mark, then goes on behind the byte. */
    assert_int_equal(read_some(peer, bytes, 20), 3);
    assert_int_equal(mark_of(peer), 0);
    assert_int_equal(read_some(peer, bytes, 20), 6);
    assert_int_equal(bytes[0], peer_byte(5));
    uint32_t distance;
    assert_int_equal(foyer_socket_urgent_mark(peer->host, peer->socket, &distance), -ENODATA);
    peer_destroy(peer);
}

static void a_byte_that_nobody_took_is_passed(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[20], urgent;
    (void)state;
    peer_text(peer, 1, 1, 1);
    assert_int_equal(mark_of(peer), 0);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, 20, peer->now), -EAGAIN);
    assert_int_equal(take(peer, false, &urgent), -EINVAL);
    peer_text(peer, 2, 5, 0);
    assert_int_equal(read_some(peer, bytes, 20), 5);
    assert_int_equal(bytes[0], peer_byte(2));
    peer_destroy(peer);
}

static void inline_it_is_a_byte_like_others(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[20], urgent;
    (void)state;
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_OOBINLINE, 1), 0);
    peer_text(peer, 1, 10, 4);
    assert_int_equal(take(peer, false, &urgent), -EINVAL);
    assert_int_equal(read_some(peer, bytes, 20), 3); /* the mark still ends a recv */
    assert_int_equal(mark_of(peer), 0);
    assert_int_equal(read_some(peer, bytes, 20), 7);
    assert_int_equal(bytes[0], peer_byte(4));
    peer_destroy(peer);
}

/* What a listener has is its connections' from their first byte on, before accept gives them out. */
static void inline_is_inherited(void **state)
{
    struct peer *peer = peer_create();
    uint8_t bytes[20];
    (void)state;
    peer_listen(peer, 8);
    assert_int_equal(foyer_socket_set_option(peer->host, peer->listener, FOYER_OPT_OOBINLINE, 1),
                     0);
    peer_send(peer, (struct seg){.flags = SYN, .window = 60000, .options = mss_1000});
    peer_expect(peer, SYN | ACK, 0, 1, 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 60000});
    peer_text(peer, 1, 1, 1);
    peer_text(peer, 2, 1, 1); /* takes the first one's place */
    assert_int_equal(foyer_socket_accept(peer->host, peer->listener, 1, &peer->socket), 0);
    uint32_t got = read_some(peer, bytes, 20);
    got += read_some(peer, bytes + got, 20 - got);
    assert_int_equal(got, 2);
    assert_int_equal(bytes[0], peer_byte(1));
    peer_destroy(peer);
}

/* [test RFC9293 MUST-32] Announced before it is there. */
static void an_announcement_comes_before_the_byte(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[100], urgent;
    (void)state;
    peer_send(peer,
              (struct seg){.flags = ACK | URG, .seq = 1, .ack = 1, .window = 60000, .urgent = 50});
    assert_int_equal(peer_events(peer) & FOYER_EVENT_URGENT, FOYER_EVENT_URGENT);
    assert_int_equal(mark_of(peer), 49);
    assert_int_equal(take(peer, false, &urgent), -EAGAIN);
    peer_text(peer, 1, 40, 50);
    assert_int_equal(peer_events(peer) & FOYER_EVENT_URGENT, 0); /* no news */
    peer_text(peer, 41, 30, 10);
    assert_int_equal(peer_events(peer) & FOYER_EVENT_URGENT, FOYER_EVENT_URGENT);
    assert_int_equal(take(peer, false, &urgent), 1);
    assert_int_equal(urgent, peer_byte(50));
    assert_int_equal(read_some(peer, bytes, 100), 49);
    assert_int_equal(read_some(peer, bytes, 100), 20);
    /* A copy of the segment tells nothing new. */
    peer_text(peer, 41, 30, 10);
    assert_int_equal(peer_events(peer) & FOYER_EVENT_URGENT, 0);
    assert_int_equal(take(peer, false, &urgent), -EINVAL);
    peer_destroy(peer);
}

static void it_comes_out_of_order(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[100], urgent;
    (void)state;
    peer_text(peer, 11, 10, 10);
    assert_int_equal(mark_of(peer), 19);
    assert_int_equal(take(peer, false, &urgent), -EAGAIN);
    peer_text(peer, 1, 10, 0);
    assert_int_equal(take(peer, false, &urgent), 1);
    assert_int_equal(urgent, peer_byte(20));
    assert_int_equal(read_some(peer, bytes, 100), 19);
    peer_destroy(peer);
}

/* A later pointer replaces one that was not taken; an earlier one changes nothing. */
static void the_last_pointer_counts(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[100], urgent;
    (void)state;
    peer_text(peer, 1, 10, 5);
    peer_text(peer, 11, 10, 5);
    assert_int_equal(mark_of(peer), 14);
    peer_send(peer,
              (struct seg){.flags = ACK | URG, .seq = 21, .ack = 1, .window = 60000, .urgent = 0});
    assert_int_equal(mark_of(peer), 14);
    assert_int_equal(take(peer, false, &urgent), 1);
    assert_int_equal(urgent, peer_byte(15));
    /* The first one is in the stream now, as Linux leaves it. */
    assert_int_equal(read_some(peer, bytes, 100), 14);
    assert_int_equal(bytes[4], peer_byte(5));
    /* But one at the reader's place is not. */
    peer_text(peer, 21, 5, 5);
    assert_int_equal(read_some(peer, bytes, 100), 9);
    assert_int_equal(mark_of(peer), 0);
    peer_text(peer, 26, 5, 5);
    assert_int_equal(mark_of(peer), 4);
    assert_int_equal(read_some(peer, bytes, 100), 4);
    assert_int_equal(bytes[0], peer_byte(26));
    peer_destroy(peer);
}

/* A pointer to what is not there when the stream ends. */
static void a_promise_that_the_fin_breaks(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[100], urgent;
    (void)state;
    peer_send(
        peer,
        (struct seg){
            .flags = ACK | URG | FIN, .seq = 1, .ack = 1, .window = 60000, .size = 4, .urgent = 5});
    assert_int_equal(take(peer, false, &urgent), 0);
    assert_int_equal(read_some(peer, bytes, 100), 4);
    assert_int_equal(foyer_socket_recv(peer->host, peer->socket, bytes, 100, peer->now), 0);
    peer_destroy(peer);
}

static void no_memory_leaves_it_in_the_stream(void **state)
{
    struct peer *peer = establish(60000);
    uint8_t bytes[10];
    uint32_t distance;
    (void)state;
    peer_text(peer, 1, 1, 0); /* the ring is there */
    peer->fail_allocations = true;
    peer_text(peer, 2, 4, 2);
    assert_int_equal(send_urgent(peer, 1), -ENOMEM);
    peer->fail_allocations = false;
    assert_int_equal(foyer_socket_urgent_mark(peer->host, peer->socket, &distance), -ENODATA);
    assert_int_equal(read_some(peer, bytes, 10), 5);
    peer_destroy(peer);
}

static void only_tcp_has_it(void **state)
{
    struct peer *peer = establish(60000);
    foyer_socket udp;
    uint8_t byte = 0;
    uint32_t distance;
    (void)state;
    assert_int_equal(foyer_socket_open(peer->host, FOYER_FAMILY_V4, FOYER_UDP, 0, &udp), 0);
    assert_int_equal(foyer_socket_send_urgent(peer->host, udp, &byte, 1, 0), -EOPNOTSUPP);
    assert_int_equal(foyer_socket_recv_urgent(peer->host, udp, false, &byte), -EOPNOTSUPP);
    assert_int_equal(foyer_socket_urgent_mark(peer->host, udp, &distance), -EOPNOTSUPP);
    assert_int_equal(foyer_socket_set_option(peer->host, udp, FOYER_OPT_OOBINLINE, 1),
                     -ENOPROTOOPT);
    assert_int_equal(foyer_socket_send_urgent(peer->host, FOYER_SOCKET_NONE, &byte, 1, 0), -EBADF);
    peer_destroy(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pointer_is_behind_the_last_urgent_byte),
        cmocka_unit_test(long_urgent_data_is_told_in_each_segment),
        cmocka_unit_test(urgent_data_is_not_given_in_super_segments),
        cmocka_unit_test(a_closed_window_lets_the_news_pass),
        cmocka_unit_test(retransmissions_carry_it_again),
        cmocka_unit_test(a_far_pointer_is_cut),
        cmocka_unit_test(the_byte_is_kept_apart),
        cmocka_unit_test(a_byte_that_nobody_took_is_passed),
        cmocka_unit_test(inline_it_is_a_byte_like_others),
        cmocka_unit_test(inline_is_inherited),
        cmocka_unit_test(an_announcement_comes_before_the_byte),
        cmocka_unit_test(it_comes_out_of_order),
        cmocka_unit_test(the_last_pointer_counts),
        cmocka_unit_test(a_promise_that_the_fin_breaks),
        cmocka_unit_test(no_memory_leaves_it_in_the_stream),
        cmocka_unit_test(only_tcp_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
