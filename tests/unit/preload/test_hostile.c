/* A peer may write anything into the rings it shares with us: it spoils its own stream only. */
#include "harness.h"

static ssize_t receive(struct fixture *fixture, void *bytes, size_t size)
{
    return sock_recv(&fixture->sock, fixture->ends[0], bytes, size, MSG_DONTWAIT);
}

static ssize_t transmit(struct fixture *fixture, const void *bytes, size_t size)
{
    return sock_send(&fixture->sock, fixture->ends[0], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- streams ------------------------------------------------------------------------------- */

static void head_too_far_ahead_resets(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char bytes[2 * RING_SIZE];
    atomic_store(&fixture->shared[1].head, RING_SIZE + 1);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -ECONNRESET);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 0);
    assert_int_equal(transmit(fixture, bytes, 1), -EPIPE);
    fixture_destroy(fixture);
}

static void head_behind_tail_resets(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char bytes[16];
    atomic_store(&fixture->shared[1].tail, 100);
    atomic_store(&fixture->shared[1].head, 99);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -ECONNRESET);
    fixture_destroy(fixture);
}

static void full_ring_at_wrap_is_read_whole(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    static uint8_t bytes[RING_SIZE + 8];
    uint32_t tail = UINT32_MAX - 1000; /* positions wrap, too */
    atomic_store(&fixture->shared[1].tail, tail);
    for (uint32_t i = 0; i < RING_SIZE; i++)
        fixture->data[1][(tail + i) & (RING_SIZE - 1)] = (uint8_t)(i * 3);
    atomic_store(&fixture->shared[1].head, tail + RING_SIZE);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), RING_SIZE);
    for (uint32_t i = 0; i < RING_SIZE; i++)
        assert_int_equal(bytes[i], (uint8_t)(i * 3));
    assert_int_equal(receive(fixture, bytes, 1), -EAGAIN);
    fixture_destroy(fixture);
}

static void tail_nonsense_resets_sender(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char bytes[16] = {0};
    atomic_store(&fixture->shared[0].tail, 5);
    assert_int_equal(transmit(fixture, bytes, sizeof(bytes)), -ECONNRESET);
    assert_int_equal(transmit(fixture, bytes, sizeof(bytes)), -EPIPE);
    fixture_destroy(fixture);
}

static void unknown_states_are_a_reset(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char byte;
    atomic_store(&fixture->shared[1].writer_state, 77);
    assert_int_equal(receive(fixture, &byte, 1), -ECONNRESET);
    assert_int_equal(socket_readiness(&fixture->sock, fixture->ends[0]) & POLLHUP, POLLHUP);
    fixture_destroy(fixture);
}

/* No room is not a little room: whoever waits for it would never sleep. */
static void tiny_limits_leave_no_room(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char bytes[16] = {0};
    atomic_store(&fixture->shared[0].send_limit, 1);
    atomic_store(&fixture->shared[0].receive_limit, 1);
    assert_int_equal(transmit(fixture, bytes, sizeof(bytes)), 2);
    assert_int_equal(transmit(fixture, bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(socket_readiness(&fixture->sock, fixture->ends[0]) & POLLOUT, 0);
    fixture_destroy(fixture);
}

struct scribbler {
    struct fixture *fixture;
    _Atomic bool is_over;
};

/* Writes nonsense into both control blocks, without pause. */
static void *scribble(void *argument)
{
    struct scribbler *scribbler = argument;
    uint64_t random = 88172645463325252u;
    while (!atomic_load(&scribbler->is_over)) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        struct foyer_ring_shared *shared = &scribbler->fixture->shared[random & 1];
        uint32_t value = (uint32_t)(random >> 32);
        if ((random & 2) != 0)
            value %= RING_SIZE; /* often plausible */
        if ((random & 4) != 0)
            atomic_store(&shared->head, value);
        else
            atomic_store(&shared->tail, value);
        if ((random & 0xff0) == 0)
            atomic_store(&shared->writer_state, value & 3);
        if ((random & 0xff00) == 0)
            atomic_store(&shared->reader_state, value & 3);
    }
    return NULL;
}

static void scribbling_peer_does_no_harm(void **state)
{
    (void)state;
    for (uint32_t type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
        struct fixture *fixture = fixture_create(type);
        struct scribbler scribbler = {.fixture = fixture};
        pthread_t thread;
        char bytes[3000] = {0};
        unsigned moved = 0;
        atomic_fetch_or(&fixture->slot.options, FOYER_SLOT_PEER);
        assert_int_equal(pthread_create(&thread, NULL, scribble, &scribbler), 0);
        for (unsigned i = 0; i < 100000; i++) {
            size_t size = i % sizeof(bytes);
            ssize_t result =
                (i & 1) != 0 ? receive(fixture, bytes, size) : transmit(fixture, bytes, size);
            assert_true(result <= (ssize_t)size);
            moved += result > 0;
            /* A new connection, so to say: else nothing is looked at any more. */
            atomic_store(&fixture->slot.options, FOYER_SLOT_PEER);
            atomic_store(&fixture->slot.error, 0);
            /* The scribbler may sleep right after it has spoilt the rings for good. */
            if (i % 16 == 0)
                memset(fixture->shared, 0, 2 * sizeof(fixture->shared[0]));
        }
        atomic_store(&scribbler.is_over, true);
        pthread_join(thread, NULL);
        assert_true(moved > 0);
        fixture_destroy(fixture);
    }
}

/* ---- datagrams ----------------------------------------------------------------------------- */

static void put_datagram(struct fixture *fixture, uint32_t claimed, uint32_t used)
{
    struct foyer_datagram_header header = {.payload_size = claimed, .peer_port = 7};
    uint32_t head = atomic_load(&fixture->shared[1].head);
    foyer_ring_put(&fixture->channel.rx, head, &header, sizeof(header));
    atomic_store(&fixture->shared[1].head, head + used);
}

static void datagram_larger_than_its_ring_is_dropped(void **state)
{
    (void)state;
    static const uint32_t claims[] = {RING_SIZE,  65527,      65528,
                                      0x7fffffff, UINT32_MAX, UINT32_MAX - 54};
    static char bytes[70000];
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        struct fixture *fixture = fixture_create(SOCK_DGRAM);
        put_datagram(fixture, claims[i], 64);
        assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
        /* And the next one is read as if nothing had been. */
        put_datagram(fixture, 8, foyer_datagram_record_size(8));
        assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 8);
        fixture_destroy(fixture);
    }
}

static void datagram_without_a_whole_header_is_dropped(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_DGRAM);
    char bytes[64];
    put_datagram(fixture, 0, 40);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(foyer_ring_used(&fixture->channel.rx), 0);
    fixture_destroy(fixture);
}

/* ---- direct rings -------------------------------------------------------------------------- */

/* A ring that leads to the fixture's socket, as foyerd would have told of it. */
static struct direct_ring *direct_to(struct fixture *fixture)
{
    struct direct_box *box = box_make(&fixture->sock);
    int memfd = memfd_create("direct", MFD_CLOEXEC);
    const struct foyer_direct_entry entry = {.serial = 1, .ring_size = FOYER_DIRECT_RING_SIZE_MIN};
    assert_true(box != NULL && memfd >= 0);
    assert_return_code(ftruncate(memfd, (off_t)foyer_direct_size(entry.ring_size)), 0);
    assert_true(add_ring(box, &entry, memfd));
    atomic_store(&box->inbox_generation, 1);
    atomic_store(&fixture->slot.inbox_generation, 1);
    return atomic_load(&box->rings[0]);
}

static void direct_write(struct direct_ring *ring, uint32_t payload_size, uint32_t record_size)
{
    struct foyer_direct_header header = {.payload_size = payload_size};
    uint32_t head = foyer_ring_head(&ring->ring);
    foyer_ring_put(&ring->ring, head, &header, sizeof(header));
    foyer_ring_publish_head(&ring->ring, head + record_size);
}

static void direct_ring_of_nonsense_is_left_alone(void **state)
{
    (void)state;
    static const struct {
        uint32_t payload_size, record_size;
    } bad[] = {{100, 24}, {UINT32_MAX, 24}, {65528, 131072}, {0, 8}, {0, UINT32_MAX}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fixture *fixture = fixture_create(SOCK_DGRAM);
        struct direct_ring *ring = direct_to(fixture);
        char bytes[64];
        direct_write(ring, 5, 24);
        assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 5);
        direct_write(ring, bad[i].payload_size, bad[i].record_size);
        assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
        assert_int_equal(atomic_load(&ring->shared->ring.reader_state), FOYER_RING_RESET);
        assert_false(direct_has_data(&fixture->sock, fixture->ends[0]));
        direct_write(ring, 5, 24);
        assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
        direct_destroy(&fixture->sock);
        fixture_destroy(fixture);
    }
}

/* Whatever its writer goes on to do to it. */
static void direct_ring_ends_where_it_was_taken_back(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_DGRAM);
    struct direct_ring *ring = direct_to(fixture);
    char bytes[64];
    for (int i = 0; i < 3; i++)
        direct_write(ring, 5, 24);
    struct foyer_reply_inbox reply = {.state_count = 1, .states = {{1, 48, 1}}};
    update_states(box_now(&fixture->sock), &reply);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 5);
    atomic_store(&ring->shared->ring.tail, 0); /* once more, please */
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
    atomic_store(&ring->shared->ring.tail, 24);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
    direct_destroy(&fixture->sock);
    fixture_destroy(fixture);

    fixture = fixture_create(SOCK_DGRAM);
    ring = direct_to(fixture);
    for (int i = 0; i < 3; i++)
        direct_write(ring, 5, 24);
    update_states(box_now(&fixture->sock), &reply);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 5);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 5);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
    direct_destroy(&fixture->sock);
    fixture_destroy(fixture);
}

static struct direct_box *box_in_use;

static void take_back_after_two(void)
{
    static const struct foyer_reply_inbox reply = {.state_count = 1, .states = {{1, 48, 1}}};
    harness_after_take = NULL;
    update_states(box_in_use, &reply);
}

/* One thread reads while another one, which asks whether there is something, hears of foyerd. */
static void direct_ring_taken_back_while_it_is_read(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_DGRAM);
    struct direct_ring *ring = direct_to(fixture);
    char bytes[64];
    for (int i = 0; i < 2; i++)
        direct_write(ring, 5, 24);
    box_in_use = box_now(&fixture->sock);
    harness_after_take = take_back_after_two;
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 5);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), 5);
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(atomic_load(&ring->shared->ring.reader_state), FOYER_RING_OPEN);
    direct_destroy(&fixture->sock);
    fixture_destroy(fixture);
}

/* Its writer has moved the tail before foyerd said where the ring ends. */
static void direct_ring_holds_no_more_than_its_size(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_DGRAM);
    struct direct_ring *ring = direct_to(fixture);
    struct foyer_reply_inbox reply = {.state_count = 1, .states = {{1, 48, 1}}};
    char bytes[64];
    for (int i = 0; i < 3; i++)
        direct_write(ring, 5, 24);
    atomic_store(&ring->shared->ring.tail, 48 - 2 * FOYER_DIRECT_RING_SIZE_MIN);
    update_states(box_now(&fixture->sock), &reply);
    assert_false(direct_has_data(&fixture->sock, fixture->ends[0]));
    assert_int_equal(receive(fixture, bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(atomic_load(&ring->shared->ring.reader_state), FOYER_RING_RESET);
    direct_destroy(&fixture->sock);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_too_far_ahead_resets),
        cmocka_unit_test(head_behind_tail_resets),
        cmocka_unit_test(full_ring_at_wrap_is_read_whole),
        cmocka_unit_test(tail_nonsense_resets_sender),
        cmocka_unit_test(unknown_states_are_a_reset),
        cmocka_unit_test(tiny_limits_leave_no_room),
        cmocka_unit_test(scribbling_peer_does_no_harm),
        cmocka_unit_test(datagram_larger_than_its_ring_is_dropped),
        cmocka_unit_test(datagram_without_a_whole_header_is_dropped),
        cmocka_unit_test(direct_ring_of_nonsense_is_left_alone),
        cmocka_unit_test(direct_ring_ends_where_it_was_taken_back),
        cmocka_unit_test(direct_ring_taken_back_while_it_is_read),
        cmocka_unit_test(direct_ring_holds_no_more_than_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
