/* Rings that a program shares with the stack, and lies in. */
#include "unit/stack/tcp_peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_SIZE 8192u
#define URG WIRE_TCP_URG

struct program {
    struct foyer_ring_shared rx_shared, tx_shared;
    uint8_t rx_data[RING_SIZE], tx_data[RING_SIZE];
    struct foyer_ring rx, tx;
};

static struct program *share_rings(struct peer *peer, uint32_t position)
{
    struct program *program = aligned_alloc(64, sizeof(*program));

    memset(program, 0, sizeof(*program));
    program->rx = (struct foyer_ring){&program->rx_shared, program->rx_data, RING_SIZE};
    program->tx = (struct foyer_ring){&program->tx_shared, program->tx_data, RING_SIZE};
    atomic_store(&program->rx_shared.head, position);
    atomic_store(&program->rx_shared.tail, position);
    atomic_store(&program->tx_shared.head, position);
    atomic_store(&program->tx_shared.tail, position);
    assert_int_equal(foyer_socket_set_rings(peer->host, peer->socket, &program->rx, &program->tx),
                     0);
    return program;
}

static void program_writes(struct peer *peer, struct program *program, uint32_t size)
{
    uint32_t head = foyer_ring_head(&program->tx);

    for (uint32_t i = 0; i < size; i++) {
        uint8_t byte = host_byte(peer->written++);
        foyer_ring_put(&program->tx, head + i, &byte, 1);
    }
    foyer_ring_publish_head(&program->tx, head + size);
}

static void shared_ring_is_sent_across_its_end_and_released(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0xffffff00u); /* positions wrap, and the ring */

    (void)state;
    program_writes(peer, program, 3000);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect(peer, ACK, 1001, 1, 1000);
    peer_expect(peer, ACK | PSH, 2001, 1, 1000);
    assert_int_equal(foyer_ring_used(&program->tx), 3000);
    peer_ack(peer, 2001);
    assert_int_equal(foyer_ring_used(&program->tx), 1000);
    assert_true((peer_events(peer) & FOYER_EVENT_WRITABLE) != 0);
    peer_destroy(peer);
    free(program);
}

static void shared_ring_receives_in_place(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 8190);

    (void)state;
    peer_send(peer, (struct seg){.flags = ACK, .seq = 101, .ack = 1, .size = 50, .window = 60000});
    assert_int_equal(foyer_ring_used(&program->rx), 0);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .size = 100, .window = 60000});
    assert_int_equal(foyer_ring_used(&program->rx), 150);
    uint8_t bytes[150];
    foyer_ring_get(&program->rx, foyer_ring_tail(&program->rx), bytes, 150);
    for (uint32_t i = 0; i < 150; i++)
        assert_int_equal(bytes[i], peer_byte(1 + i));
    peer_destroy(peer);
    free(program);
}

/* What came ahead was SACKed: to throw it away is discouraged (RFC 2018 section 8). Where the new ring
 * has no place for it, it is. */
static void bytes_ahead_move_into_the_new_rings(void **state)
{
    (void)state;
    for (uint32_t hole = 100; hole <= RING_SIZE; hole += RING_SIZE - 120) {
        struct peer *peer = peer_establish_near(60000);
        bool fits = hole + 50 <= RING_SIZE;

        peer_send(peer, (struct seg){
                            .flags = ACK, .seq = 1 + hole, .ack = 1, .size = 50, .window = 60000});
        peer_drain(peer);
        struct program *program = share_rings(peer, 8190);
        for (uint32_t at = 0; at < hole; at += 1000)
            peer_send(peer, (struct seg){.flags = ACK,
                                         .seq = 1 + at,
                                         .ack = 1,
                                         .size = hole - at < 1000 ? hole - at : 1000,
                                         .window = 60000});
        uint32_t size = hole + (fits ? 50 : 0);
        assert_int_equal(foyer_ring_used(&program->rx), size);
        for (uint32_t i = 0; i < size; i++) {
            uint8_t byte;
            foyer_ring_get(&program->rx, 8190 + i, &byte, 1);
            assert_int_equal(byte, peer_byte(1 + i));
        }
        peer_destroy(peer);
        free(program);
    }
}

static void drained_ring_asks_the_writer_to_ring(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    peer_drain(peer);
    assert_true(foyer_ring_take_reader_waiting(&program->tx));
    program_writes(peer, program, 100);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK | PSH, 1, 1, 100);
    peer_expect_nothing(peer);
    assert_true(foyer_ring_take_reader_waiting(&program->tx));
    peer_destroy(peer);
    free(program);
}

static void nearly_full_ring_asks_the_reader_to_ring(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    for (uint32_t seq = 1; seq < 1 + 7168; seq += 1024)
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = seq, .ack = 1, .size = 1024, .window = 60000});
    peer_drain(peer);
    assert_true(foyer_ring_take_writer_waiting(&program->rx));
    foyer_ring_publish_tail(&program->rx, 7168);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    struct seg ack = peer_expect(peer, ACK, 1, 7169, 0);
    assert_int_equal(ack.window, RING_SIZE);
    peer_destroy(peer);
    free(program);
}

/* FOYER_OPT_RECEIVE_LIMIT: nothing is taken back, and no more is offered until there is room below it. */
static void offered_window_keeps_to_the_limit(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    assert_int_equal(
        foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_RECEIVE_LIMIT, 2048), 0);
    for (uint32_t seq = 1; seq < 1 + 7168; seq += 1024)
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = seq, .ack = 1, .size = 1024, .window = 60000});
    peer_drain(peer);
    assert_int_equal(foyer_ring_used(&program->rx), 7168);
    foyer_ring_publish_tail(&program->rx, 5120); /* 2048 are left: all that may be */
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect_nothing(peer);
    foyer_ring_publish_tail(&program->rx, 7168);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    struct seg ack = peer_expect(peer, ACK, 1, 7169, 0);
    assert_int_equal(ack.window, 2048);
    assert_int_equal(foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_RECEIVE_LIMIT, 0),
                     0);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    ack = peer_expect(peer, ACK, 1, 7169, 0);
    assert_int_equal(ack.window, RING_SIZE);
    peer_destroy(peer);
    free(program);
}

static void fin_in_the_ring_ends_the_stream_after_its_bytes(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    program_writes(peer, program, 1500);
    atomic_store(&program->tx_shared.writer_state, FOYER_RING_FIN);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK, 1, 1, 1000);
    peer_expect(peer, ACK | PSH | FIN, 1001, 1, 500);
    assert_int_equal(peer_state(peer), FOYER_STATE_FIN_WAIT_1);
    peer_destroy(peer);
    free(program);
}

static void fin_of_the_peer_is_seen_in_the_ring(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    peer_send(peer, (struct seg){.flags = ACK | FIN, .seq = 1, .ack = 1, .size = 10});
    assert_int_equal(foyer_ring_used(&program->rx), 10);
    assert_int_equal(atomic_load(&program->rx_shared.writer_state), FOYER_RING_FIN);
    peer_destroy(peer);
    free(program);
}

static void reset_of_the_peer_is_seen_in_the_ring(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    peer_send(peer, (struct seg){.flags = RST, .seq = 1});
    assert_int_equal(atomic_load(&program->rx_shared.writer_state), FOYER_RING_RESET);
    assert_int_equal(atomic_load(&program->tx_shared.reader_state), FOYER_RING_RESET);
    peer_destroy(peer);
    free(program);
}

static void reset_in_the_ring_aborts(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    atomic_store(&program->tx_shared.writer_state, FOYER_RING_RESET);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, RST | ACK, 1, 1, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_destroy(peer);
    free(program);
}

/* ---- urgent data ------------------------------------------------------------------------------- */

static void program_writes_urgent(struct peer *peer, struct program *program, uint32_t size)
{
    foyer_ring_put_urgent(&program->tx, foyer_ring_head(&program->tx) + size - 1);
    program_writes(peer, program, size);
}

/* Whatever made the stack look at the ring: who sees the byte sees that it is urgent. */
static void the_ring_says_what_is_urgent(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0xffffff00u);

    (void)state;
    foyer_socket_set_option(peer->host, peer->socket, FOYER_OPT_NODELAY, 1);
    program_writes_urgent(peer, program, 3);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    assert_int_equal(peer_expect(peer, ACK | PSH | URG, 1, 1, 3).urgent, 3);
    program_writes(peer, program, 10);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK | PSH, 4, 1, 10);
    program_writes(peer, program, 5);
    program_writes_urgent(peer, program, 1);
    program_writes(peer, program, 5);
    peer_ack(peer, 14); /* the look that comes with an ACK */
    assert_int_equal(peer_expect(peer, ACK | PSH | URG, 14, 1, 11).urgent, 6);
    peer_destroy(peer);
    free(program);
}

static void marked_and_not_yet_written_is_told_with_the_byte(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    foyer_ring_put_urgent(&program->tx, 0);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect_nothing(peer);
    program_writes(peer, program, 1);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    assert_int_equal(peer_expect(peer, ACK | PSH | URG, 1, 1, 1).urgent, 1);
    /* A mark that never was within the ring. */
    peer_ack(peer, 2);
    foyer_ring_put_urgent(&program->tx, 0x7fffffff);
    program_writes(peer, program, 10);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK | PSH, 2, 1, 10);
    peer_destroy(peer);
    free(program);
}

static void without_memory_it_is_sent_like_other_text(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    peer->fail_allocations = true;
    program_writes_urgent(peer, program, 1);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK | PSH, 1, 1, 1);
    peer->fail_allocations = false;
    peer_ack(peer, 2);
    program_writes_urgent(peer, program, 1);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    assert_int_equal(peer_expect(peer, ACK | PSH | URG, 2, 1, 1).urgent, 1);
    peer_destroy(peer);
    free(program);
}

static uint64_t mark_of(uint32_t number, uint32_t position)
{
    return (uint64_t)number << 32 | position;
}

static void the_ring_says_what_came_urgent(void **state)
{
    (void)state;
    for (int given_late = 0; given_late < 2; given_late++) {
        struct peer *peer = peer_establish_near(60000);
        struct program *program = given_late != 0 ? NULL : share_rings(peer, 8190);

        peer_send(peer, (struct seg){.flags = ACK | PSH | URG,
                                     .seq = 1,
                                     .ack = 1,
                                     .size = 10,
                                     .window = 60000,
                                     .urgent = 6});
        if (program == NULL)
            program = share_rings(peer, 8190);
        assert_int_equal(foyer_ring_used(&program->rx), 10);
        assert_true(atomic_load(&program->rx_shared.urgent) == mark_of(1, 8195));
        assert_true((peer_events(peer) & FOYER_EVENT_URGENT) != 0);
        /* Announced before it comes. */
        peer_send(peer, (struct seg){
                            .flags = ACK | URG, .seq = 11, .ack = 1, .window = 60000, .urgent = 3});
        assert_true(atomic_load(&program->rx_shared.urgent) == mark_of(2, 8202));
        peer_destroy(peer);
        free(program);
    }
}

/* What a hostile program can write into the block: it spoils its own connection. */
enum lie { LIE_HEAD_TOO_FAR, LIE_HEAD_BACK, LIE_STATE, LIE_TAIL_AHEAD, LIE_TAIL_FAR_BACK };

struct lie_row {
    const char *name;
    enum lie lie;
};

static void tell_lie(struct program *program, enum lie lie)
{
    switch (lie) {
    case LIE_HEAD_TOO_FAR:
        atomic_store(&program->tx_shared.head, 500 + RING_SIZE + 1);
        break;
    case LIE_HEAD_BACK:
        atomic_store(&program->tx_shared.head, 499); /* 500 were taken over already */
        break;
    case LIE_STATE:
        atomic_store(&program->tx_shared.writer_state, 0xdeadbeef);
        break;
    case LIE_TAIL_AHEAD:
        atomic_store(&program->rx_shared.tail, 1); /* nothing was received */
        break;
    case LIE_TAIL_FAR_BACK:
        atomic_store(&program->rx_shared.tail, 0u - RING_SIZE - 1);
        break;
    }
}

static void hostile_ring_resets_its_connection(void **state)
{
    const struct lie_row *row = *state;
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    program_writes(peer, program, 500);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK | PSH, 1, 1, 500);
    tell_lie(program, row->lie);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, RST | ACK, 501, 1, 0);
    assert_int_equal(peer_state(peer), FOYER_STATE_CLOSED);
    peer_events(peer);
    assert_int_equal(foyer_socket_take_error(peer->host, peer->socket), -ECONNRESET);
    peer_destroy(peer);
    free(program);
}

/* The stack's own positions are never read back: the program may overwrite what it publishes. */
static void forged_stack_indexes_change_nothing(void **state)
{
    struct peer *peer = peer_establish_near(60000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    program_writes(peer, program, 500);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK | PSH, 1, 1, 500);
    atomic_store(&program->tx_shared.tail, 0x12345678);
    atomic_store(&program->rx_shared.head, 0x12345678);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 501, .size = 10, .window = 60000});
    assert_int_equal(atomic_load(&program->tx_shared.tail), 500);
    assert_int_equal(atomic_load(&program->rx_shared.head), 10);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
    free(program);
}

static void close_with_shared_rings_still_delivers(void **state)
{
    struct peer *peer = peer_establish_near(1000);
    struct program *program = share_rings(peer, 0);

    (void)state;
    program_writes(peer, program, 3000);
    foyer_socket_poke(peer->host, peer->socket, peer->now);
    peer_expect(peer, ACK, 1, 1, 1000);
    assert_int_equal(foyer_socket_close(peer->host, peer->socket, peer->now), 0);
    memset(program, 0xee, sizeof(*program)); /* the memory is the program's again */
    free(program);
    peer->socket = FOYER_SOCKET_NONE;
    peer_ack(peer, 1001);
    peer_expect(peer, ACK, 1001, 1, 1000);
    peer_expect(peer, ACK | PSH | FIN, 2001, 1, 1000);
    peer_destroy(peer);
}

int main(void)
{
    static struct lie_row lies[] = {
        {"hostile_head_too_far", LIE_HEAD_TOO_FAR},
        {"hostile_head_back", LIE_HEAD_BACK},
        {"hostile_state", LIE_STATE},
        {"hostile_tail_ahead", LIE_TAIL_AHEAD},
        {"hostile_tail_far_back", LIE_TAIL_FAR_BACK},
    };
    enum { LIES = sizeof(lies) / sizeof(lies[0]) };
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(shared_ring_is_sent_across_its_end_and_released),
        cmocka_unit_test(shared_ring_receives_in_place),
        cmocka_unit_test(bytes_ahead_move_into_the_new_rings),
        cmocka_unit_test(drained_ring_asks_the_writer_to_ring),
        cmocka_unit_test(nearly_full_ring_asks_the_reader_to_ring),
        cmocka_unit_test(offered_window_keeps_to_the_limit),
        cmocka_unit_test(fin_in_the_ring_ends_the_stream_after_its_bytes),
        cmocka_unit_test(fin_of_the_peer_is_seen_in_the_ring),
        cmocka_unit_test(reset_of_the_peer_is_seen_in_the_ring),
        cmocka_unit_test(reset_in_the_ring_aborts),
        cmocka_unit_test(the_ring_says_what_is_urgent),
        cmocka_unit_test(marked_and_not_yet_written_is_told_with_the_byte),
        cmocka_unit_test(without_memory_it_is_sent_like_other_text),
        cmocka_unit_test(the_ring_says_what_came_urgent),
        cmocka_unit_test(forged_stack_indexes_change_nothing),
        cmocka_unit_test(close_with_shared_rings_still_delivers),
    };
    enum { OTHERS = sizeof(others) / sizeof(others[0]) };
    static struct CMUnitTest tests[LIES + OTHERS];

    for (size_t i = 0; i < LIES; i++)
        tests[i] = (struct CMUnitTest){.name = lies[i].name,
                                       .test_func = hostile_ring_resets_its_connection,
                                       .initial_state = &lies[i]};
    memcpy(&tests[LIES], others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
