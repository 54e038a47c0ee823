/* What threads and processes share: the table, a slot's locks, the doorbell. */
#include "harness.h"

#include <sys/wait.h>

/* ---- the table ----------------------------------------------------------------------------- */

static void last_reference_gives_the_object_back(void **state)
{
    (void)state;
    assert_true(table_size != 0 || table_init(1024, 512));
    struct socket_object *first = socket_object_create();
    table_set(300, &first->object);
    table_replace(301, &first->object);
    socket_release(first);
    assert_ptr_equal(table_get_socket(300), first);
    assert_true(table_clear(300));
    assert_null(table_get(300));
    assert_true(table_clear(301));
    assert_int_equal(atomic_load(&first->object.references), 1); /* ours, of table_get_socket */
    socket_release(first);
    struct socket_object *second = socket_object_create();
    assert_ptr_equal(second, first); /* its memory serves again */
    socket_release(second);
    assert_false(table_clear(301));
}

static void hidden_descriptors_are_nobodys(void **state)
{
    (void)state;
    int fd = table_hide(dup(2));
    assert_true(fd >= table_hidden_base);
    assert_true(table_is_hidden(fd));
    assert_null(table_get_socket(fd));
    assert_false(table_clear(fd));
    assert_true(table_is_hidden(fd));
    table_close_hidden(fd);
    assert_false(table_is_hidden(fd));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static _Atomic bool is_over;

static void *look_up(void *argument)
{
    unsigned *found = argument;
    while (!atomic_load(&is_over)) {
        for (int fd = 310; fd < 314; fd++) {
            struct socket_object *sock = table_get_socket(fd);
            if (sock == NULL)
                continue;
            /* Whoever holds a reference holds the object that was entered under this number. */
            if (sock->id != (uint64_t)fd)
                return "wrong object";
            ++*found;
            socket_release(sock);
        }
    }
    return NULL;
}

static void lookups_never_meet_a_reused_object(void **state)
{
    (void)state;
    pthread_t threads[2];
    unsigned found[2] = {0};
    atomic_store(&is_over, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_up, &found[i]), 0);
    for (unsigned i = 0; i < 200000 || found[0] == 0 || found[1] == 0; i++) {
        int fd = 310 + (int)(i % 4);
        struct socket_object *sock = socket_object_create();
        assert_non_null(sock);
        sock->id = (uint64_t)fd;
        table_set(fd, &sock->object);
        socket_release(sock);
        table_clear(310 + (int)((i * 7 + 3) % 4));
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++) {
        void *problem;
        pthread_join(threads[i], &problem);
        assert_null(problem);
    }
    for (int fd = 310; fd < 314; fd++)
        table_clear(fd);
}

/* ---- locks --------------------------------------------------------------------------------- */

static void lock_of_a_dead_thread_is_taken_over(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0); /* its number names nobody now */
    atomic_store(&fixture->slot.write_lock, (uint32_t)child);
    assert_int_equal(slot_lock(&fixture->sock, LOCK_WRITE), 0);
    assert_int_equal(atomic_load(&fixture->slot.write_lock), (uint32_t)preload_thread_id());
    slot_unlock(&fixture->sock, LOCK_WRITE);
    fixture_destroy(fixture);
}

/* A signal handler that comes in the middle of the same call must not wait for itself. */
static void own_lock_is_an_error(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char byte = 0;
    assert_int_equal(slot_lock(&fixture->sock, LOCK_WRITE), 0);
    assert_int_equal(slot_lock(&fixture->sock, LOCK_WRITE), -EDEADLK);
    assert_int_equal(sock_send(&fixture->sock, fixture->ends[0], &byte, 1, 0), -EAGAIN);
    slot_unlock(&fixture->sock, LOCK_WRITE);
    fixture_destroy(fixture);
}

/* ---- the doorbell -------------------------------------------------------------------------- */

static void sleepers_keep_the_byte(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    char byte;
    assert_int_equal(send(fixture->ends[1], "x", 1, 0), 1);
    bell_enter(&fixture->sock);
    assert_false(bell_drain(&fixture->sock, fixture->ends[0], 0));
    assert_int_equal(recv(fixture->ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT), 1);
    bell_leave(&fixture->sock);
    assert_true(bell_drain(&fixture->sock, fixture->ends[0], 0));
    assert_int_equal(recv(fixture->ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    assert_int_equal(atomic_load(&fixture->slot.bell_sleepers), 0);
    fixture_destroy(fixture);
}

static void *sleep_and_die(void *argument)
{
    struct fixture *fixture = argument;
    bell_enter(&fixture->sock); /* and is never seen again */
    return NULL;
}

/* A sleeper that was killed stays noted, and may not make the others spin for ever. */
static void a_dead_sleeper_does_not_stop_the_rest(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    pthread_t thread;
    char byte;
    ssize_t left = 1;
    assert_int_equal(pthread_create(&thread, NULL, sleep_and_die, fixture), 0);
    pthread_join(thread, NULL);
    assert_int_equal(send(fixture->ends[1], "x", 1, 0), 1);
    /* Longer where a busy machine does not let us run often enough to become impatient. */
    for (int64_t limit_us = 300000; left == 1 && limit_us <= 30000000; limit_us *= 10) {
        fixture->slot.receive_timeout_us = limit_us;
        assert_int_equal(sock_recv(&fixture->sock, fixture->ends[0], &byte, 1, 0), -EAGAIN);
        left = recv(fixture->ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    }
    assert_int_equal(left, -1);
    fixture_destroy(fixture);
}

/* The other program's side of a doorbell: how often it was rung. */
static int rings_of(const struct fixture *fixture)
{
    char bytes[16];
    ssize_t size = recv(fixture->ends[1], bytes, sizeof(bytes), MSG_DONTWAIT);
    return size < 0 ? 0 : (int)size;
}

static int rings_after_send(struct fixture *fixture)
{
    assert_int_equal(sock_send(&fixture->sock, fixture->ends[0], "x", 1, MSG_NOSIGNAL), 1);
    return rings_of(fixture);
}

static void announce_sleep(struct fixture *fixture, uint32_t sleeper, uint32_t token)
{
    foyer_ring_announce_as(&fixture->shared[0].reader_waiter, sleeper, token);
}

static struct fixture *local_fixture(uint32_t peer_arena)
{
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    fixture->slot.peer_arena = peer_arena;
    fixture->channel.bell = fixture->ends[0];
    return fixture;
}

static void one_doorbell_answers_a_sleep_behind_many_rings(void **state)
{
    (void)state;
    struct fixture *first = local_fixture(7), *second = local_fixture(7);
    announce_sleep(first, 5, 1000);
    announce_sleep(second, 5, 1000);
    assert_int_equal(rings_after_send(first), 1);
    assert_int_equal(rings_after_send(second), 0);
    assert_int_equal(rings_after_send(second), 0);
    /* The sleeper wakes, takes back what was not answered by itself, and sleeps again. */
    foyer_ring_retract(&second->shared[0].reader_waiter, 1000);
    assert_int_equal(rings_after_send(second), 0);
    announce_sleep(first, 5, 1001);
    announce_sleep(second, 5, 1001);
    assert_int_equal(rings_after_send(second), 1);
    assert_int_equal(rings_after_send(first), 0);
    fixture_destroy(first);
    fixture_destroy(second);
}

static void other_sleeps_want_their_own_doorbell(void **state)
{
    (void)state;
    static const struct {
        uint32_t peer_arena, sleeper, token;
    } others[] = {
        {8, 5, 1000},  /* another program that shows a token it saw somewhere */
        {15, 5, 1000}, /* that comes to the same place of the table */
        {0, 5, 1000},  /* who knows whose */
        {7, 6, 1000},  /* another event loop of the program */
        {7, 0, 1000},  /* one that another process may take the doorbells of */
        {7, 5, 1001},  /* the next sleep */
        {7, 5, 1},     /* a thread that blocks */
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct fixture *first = local_fixture(7), *other = local_fixture(others[i].peer_arena);
        announce_sleep(first, 5, 1000 + 10 * (uint32_t)i);
        announce_sleep(other, others[i].sleeper,
                       others[i].token + (others[i].token > 1 ? 10 * (uint32_t)i : 0));
        assert_int_equal(rings_after_send(first), 1);
        assert_int_equal(rings_after_send(other), 1);
        fixture_destroy(first);
        fixture_destroy(other);
    }
}

/* Two event loops watch one socket: the doorbell of one of them does not wake the other. */
static void two_sleeps_behind_one_ring_are_not_answered_elsewhere(void **state)
{
    (void)state;
    struct fixture *first = local_fixture(9), *both = local_fixture(9);
    announce_sleep(first, 5, 2000);
    announce_sleep(both, 5, 2000);
    announce_sleep(both, 6, 3000);
    assert_int_equal(rings_after_send(first), 1);
    assert_int_equal(rings_after_send(both), 1);
    fixture_destroy(first);
    fixture_destroy(both);
}

/* What a closed descriptor did not hear is no answer. */
static void a_doorbell_that_failed_answers_nothing(void **state)
{
    (void)state;
    struct fixture *first = local_fixture(10), *second = local_fixture(10);
    announce_sleep(first, 5, 4000);
    announce_sleep(second, 5, 4000);
    shutdown(first->ends[1], SHUT_RD);
    assert_int_equal(sock_send(&first->sock, first->ends[0], "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(rings_after_send(second), 1);
    fixture_destroy(first);
    fixture_destroy(second);
}

struct slow {
    struct fixture *fixture;
    pthread_barrier_t sleeps, may_wake;
};

static void *sleep_and_wake_late(void *argument)
{
    struct slow *slow = argument;
    bell_enter(&slow->fixture->sock);
    pthread_barrier_wait(&slow->sleeps);
    pthread_barrier_wait(&slow->may_wake); /* the kernel has woken it, and it gets no core */
    char byte;
    ssize_t size = recv(slow->fixture->ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    bell_leave(&slow->fixture->sock);
    return size == 1 ? NULL : "the doorbell was drained";
}

/* On a busy machine a sleeper may get a core very late; its wake-up must be there still. */
static void a_slow_sleeper_keeps_the_byte(void **state)
{
    (void)state;
    struct slow slow = {.fixture = fixture_create(SOCK_STREAM)};
    struct fixture *fixture = slow.fixture;
    pthread_t thread;
    void *problem;
    char byte;
    pthread_barrier_init(&slow.sleeps, NULL, 2);
    pthread_barrier_init(&slow.may_wake, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, sleep_and_wake_late, &slow), 0);
    pthread_barrier_wait(&slow.sleeps);
    assert_int_equal(send(fixture->ends[1], "x", 1, 0), 1);
    fixture->slot.receive_timeout_us = 300000;
    assert_int_equal(sock_recv(&fixture->sock, fixture->ends[0], &byte, 1, 0), -EAGAIN);
    pthread_barrier_wait(&slow.may_wake);
    pthread_join(thread, &problem);
    if (problem != NULL)
        print_message("%s\n", (const char *)problem);
    assert_null(problem);
    assert_int_equal(atomic_load(&fixture->slot.bell_sleepers), 0);
    fixture_destroy(fixture);
}

/* More of them than have a place. */
static void sleepers_beyond_the_places(void **state)
{
    (void)state;
    struct slow slow[12];
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    pthread_t threads[12];
    assert_int_equal(send(fixture->ends[1], "x", 1, 0), 1);
    for (int i = 0; i < 12; i++) {
        slow[i].fixture = fixture;
        pthread_barrier_init(&slow[i].sleeps, NULL, 2);
        pthread_barrier_init(&slow[i].may_wake, NULL, 2);
        assert_int_equal(pthread_create(&threads[i], NULL, sleep_and_wake_late, &slow[i]), 0);
        pthread_barrier_wait(&slow[i].sleeps);
    }
    for (int i = 0; i < 12; i++) {
        void *problem;
        assert_false(bell_drain(&fixture->sock, fixture->ends[0], 1000));
        pthread_barrier_wait(&slow[i].may_wake);
        pthread_join(threads[i], &problem);
        assert_null(problem);
    }
    assert_int_equal(atomic_load(&fixture->slot.bell_sleepers), 0);
    assert_true(bell_drain(&fixture->sock, fixture->ends[0], 0));
    fixture_destroy(fixture);
}

struct side {
    struct fixture *fixture;
    unsigned count;
};

/* The other end, by hand: echoes what comes, ringing only where it is asked to. */
static void *echo(void *argument)
{
    struct side *side = argument;
    struct foyer_ring *in = &side->fixture->channel.tx, *out = &side->fixture->channel.rx;
    for (unsigned done = 0; done < side->count;) {
        uint32_t used = foyer_ring_used(in);
        uint32_t room = foyer_ring_free(out);
        uint8_t bytes[RING_SIZE];
        uint32_t part = used < room ? used : room;
        if (part == 0) {
            sched_yield();
            continue;
        }
        uint32_t tail = foyer_ring_tail(in), head = foyer_ring_head(out);
        foyer_ring_get(in, tail, bytes, part);
        foyer_ring_put(out, head, bytes, part);
        foyer_ring_publish_tail(in, tail + part);
        foyer_ring_publish_head(out, head + part);
        bool rings = foyer_ring_take_reader_waiting(out);
        if (foyer_ring_free(in) >= in->size / 3)
            rings |= foyer_ring_take_writer_waiting(in);
        if (rings && send(side->fixture->ends[1], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
            return "queue full";
        done += part;
    }
    return NULL;
}

static void *write_all(void *argument)
{
    struct side *side = argument;
    static uint8_t bytes[1500];
    for (unsigned done = 0; done < side->count;) {
        size_t part = side->count - done < sizeof(bytes) ? side->count - done : sizeof(bytes);
        ssize_t size = sock_send(&side->fixture->sock, side->fixture->ends[0], bytes, part, 0);
        if (size <= 0)
            return "send failed";
        done += (unsigned)size;
    }
    return NULL;
}

/* A reader and a writer sleep on one doorbell, over and over: neither may miss its wake-up. */
static void both_directions_sleep_and_wake(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    struct side side = {.fixture = fixture, .count = 4u << 20};
    pthread_t threads[2];
    void *problem;
    alarm(100);
    assert_int_equal(pthread_create(&threads[0], NULL, echo, &side), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, write_all, &side), 0);
    for (unsigned done = 0; done < side.count;) {
        char bytes[1100];
        ssize_t size = sock_recv(&fixture->sock, fixture->ends[0], bytes, sizeof(bytes), 0);
        assert_true(size > 0);
        done += (unsigned)size;
        /* Not the whole, which takes long on a busy machine: a lost wake-up stops it for good. */
        if (done / 65536 != (done - (unsigned)size) / 65536)
            alarm(100);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &problem);
        assert_null(problem);
    }
    alarm(0);
    assert_int_equal(atomic_load(&fixture->slot.bell_sleepers), 0);
    fixture_destroy(fixture);
}

/* Moves whole rings of bytes through the sockets' two rings, as fast as positions can be stored. */
static void *move_positions(void *argument)
{
    struct fixture *fixture = argument;
    for (uint32_t position = RING_SIZE; !atomic_load(&is_over); position += RING_SIZE) {
        for (int i = 0; i < 2; i++) {
            const struct foyer_ring ring = {&fixture->shared[i], fixture->data[i], RING_SIZE};
            foyer_ring_publish_head(&ring, position);
            foyer_ring_publish_tail(&ring, position);
        }
    }
    return NULL;
}

/*
 * Whoever looks at a ring that other threads write and read may lose its core between the two
 * positions: they contradict each other then, and nobody is hostile.
 */
static void a_look_at_a_busy_ring_is_no_reset(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(SOCK_STREAM);
    pthread_t thread;
    void *problem;
    atomic_store(&is_over, false);
    assert_int_equal(pthread_create(&thread, NULL, move_positions, fixture), 0);
    for (unsigned i = 0; i < 3000000 && !socket_is_reset(&fixture->sock, &fixture->channel); i++)
        continue;
    atomic_store(&is_over, true);
    pthread_join(thread, &problem);
    assert_int_equal(atomic_load(&fixture->slot.error), 0);
    /* Those that do stay in contradiction are a hostile peer's. */
    atomic_fetch_add(&fixture->shared[1].head, RING_SIZE + 1);
    assert_true(socket_is_reset(&fixture->sock, &fixture->channel));
    fixture_destroy(fixture);
}

static enum foyer_ring_state last_words;

/* The peer sends a byte and is gone, after a reader has found nothing and before it asks why. */
static void say_last_words(struct socket_object *sock)
{
    const struct foyer_ring *rx = &socket_channel_now(sock)->rx;
    harness_after_unlock = NULL;
    foyer_ring_put(rx, 0, "x", 1);
    foyer_ring_publish_head(rx, 1);
    atomic_store(&rx->shared->writer_state, (uint32_t)last_words);
}

/* tcp_recvmsg: bytes that came before the end, or the reset, are read before it is told. */
static void last_words_come_before_the_end(void **state)
{
    (void)state;
    for (last_words = FOYER_RING_FIN; last_words <= FOYER_RING_RESET; last_words++) {
        struct fixture *fixture = fixture_create(SOCK_STREAM);
        int fd = fixture->ends[0];
        ssize_t end = last_words == FOYER_RING_FIN ? 0 : -ECONNRESET;
        char byte = 0;
        harness_after_unlock = say_last_words;
        assert_int_equal(sock_recv(&fixture->sock, fd, &byte, 1, MSG_DONTWAIT), 1);
        assert_int_equal(byte, 'x');
        assert_int_equal(sock_recv(&fixture->sock, fd, &byte, 1, MSG_DONTWAIT), end);
        assert_int_equal(sock_recv(&fixture->sock, fd, &byte, 1, MSG_DONTWAIT), 0);
        fixture_destroy(fixture);
    }
}

/* ---- kept connections ---------------------------------------------------------------------- */

static bool was_left_when_open;

static void look_whether_left(const struct socket_object *sock)
{
    const struct foyer_keep *keep = foyer_channel_keep(socket_channel_now(sock)->memory);
    was_left_when_open = foyer_keep_state(atomic_load(&keep->word)) == FOYER_KEEP_OPEN &&
                         (slot_options(sock) & FOYER_SLOT_LEFT) != 0;
}

/* foyerd closes an open end that has been left, with the other: accept() must not be in between. */
static void an_accepted_end_is_in_use_before_it_is_open(void **state)
{
    (void)state;
    struct fixture *listener = fixture_create(SOCK_STREAM), *kept = fixture_create(SOCK_STREAM);
    struct foyer_channel *memory = aligned_alloc(64, sizeof(*memory));
    struct socket_object *sock = NULL;
    assert_non_null(memory);
    memset(memory, 0, sizeof(*memory));
    atomic_store(&memory->keep.word, FOYER_KEEP_OFFERED);
    atomic_store(&kept->slot.options, FOYER_SLOT_LEFT);
    listener->sock.id = kept->sock.listener_id = 77;
    kept->channel.memory = memory;
    kept->sock.hidden_fd = table_hide(dup(kept->ends[0]));
    atomic_fetch_add(&kept->sock.object.references, 1); /* the list's */
    assert_true(kept_put(&kept_accepting, &(struct kept){&kept->sock, &memory->keep, 77}));
    was_left_when_open = true;
    harness_before_renewal = look_whether_left;
    int fd = keep_accept(&listener->sock, 0, &sock);
    harness_before_renewal = NULL;
    assert_true(fd >= 0);
    assert_ptr_equal(sock, &kept->sock);
    assert_false(was_left_when_open);
    assert_int_equal(foyer_keep_state(atomic_load(&memory->keep.word)), FOYER_KEEP_OPEN);
    table_clear(fd);
    close(fd);
    keep_drop_hidden(&kept->sock);
    fixture_destroy(kept);
    fixture_destroy(listener);
    free(memory);
}

/* ---- nooks --------------------------------------------------------------------------------- */

/* A stream from one fixture's socket to another one's, over the same memory. */
struct stream {
    struct fixture *writer, *reader;
    uint8_t *nook; /* on the heap, exactly its size */
    uint8_t next_sent, next_read;
};

static struct stream stream_create(uint32_t start)
{
    struct stream stream = {
        .writer = fixture_create(SOCK_STREAM),
        .reader = fixture_create(SOCK_STREAM),
        .nook = malloc(FOYER_CHANNEL_NOOK_SIZE),
    };
    atomic_store(&stream.writer->shared[0].head, start);
    atomic_store(&stream.writer->shared[0].tail, start);
    stream.writer->channel.tx_nook = stream.nook;
    stream.reader->channel.rx = stream.writer->channel.tx;
    stream.reader->channel.rx_nook = stream.nook;
    return stream;
}

static void stream_destroy(struct stream *stream)
{
    fixture_destroy(stream->writer);
    fixture_destroy(stream->reader);
    free(stream->nook);
}

static size_t stream_put(struct stream *stream, size_t size)
{
    static uint8_t bytes[3 * RING_SIZE];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(stream->next_sent + i);
    ssize_t sent =
        sock_send(&stream->writer->sock, stream->writer->ends[0], bytes, size, MSG_DONTWAIT);
    if (sent < 0)
        return 0;
    stream->next_sent = (uint8_t)(stream->next_sent + sent);
    return (size_t)sent;
}

static size_t stream_get(struct stream *stream, size_t size, int flags)
{
    static uint8_t bytes[3 * RING_SIZE];
    ssize_t got = sock_recv(&stream->reader->sock, stream->reader->ends[0], bytes, size,
                            MSG_DONTWAIT | flags);
    if (got < 0)
        return 0;
    for (ssize_t i = 0; i < got; i++)
        assert_int_equal(bytes[i], (uint8_t)(stream->next_read + i));
    if ((flags & MSG_PEEK) == 0)
        stream->next_read = (uint8_t)(stream->next_read + got);
    return (size_t)got;
}

static void small_requests_stay_in_the_nook(void **state)
{
    (void)state;
    struct stream stream = stream_create(UINT32_MAX - 5000);
    memset(stream.writer->data[0], 0xee, RING_SIZE);
    for (unsigned i = 0; i < 2000; i++) {
        size_t size = 1 + i * 37 % FOYER_CHANNEL_NOOK_SIZE;
        assert_int_equal(stream_put(&stream, size), size);
        assert_int_equal(stream_get(&stream, RING_SIZE, MSG_PEEK), size);
        assert_int_equal(stream_get(&stream, RING_SIZE, 0), size);
    }
    for (unsigned i = 0; i < RING_SIZE; i++)
        assert_int_equal(stream.writer->data[0][i], 0xee);
    stream_destroy(&stream);
}

/* Any mixture of sizes, with the ring empty, full and between; positions wrap round 2^32. */
static void bytes_come_as_they_went(void **state)
{
    (void)state;
    unsigned seed = 7;
    struct stream stream = stream_create(UINT32_MAX - 300000);
    size_t waiting = 0;
    for (unsigned i = 0; i < 60000; i++) {
        unsigned kind = (unsigned)rand_r(&seed);
        size_t limit = kind % 3 == 0 ? 64 : kind % 3 == 1 ? RING_SIZE : 2 * RING_SIZE;
        size_t size = 1 + (size_t)rand_r(&seed) % limit;
        if (kind / 8 % 2 == 0) {
            size_t room = RING_SIZE - waiting;
            assert_int_equal(stream_put(&stream, size), size < room ? size : room);
            waiting += size < room ? size : room;
        } else {
            size_t there = size < waiting ? size : waiting;
            if (kind / 16 % 4 == 0)
                assert_int_equal(stream_get(&stream, size, MSG_PEEK), there);
            assert_int_equal(stream_get(&stream, size, 0), there);
            waiting -= there;
        }
    }
    stream_destroy(&stream);
}

/* The sanitizer sees whether any origin leads out of nook and data. */
static void a_wild_origin_spoils_the_bytes_alone(void **state)
{
    (void)state;
    static char bytes[RING_SIZE];
    unsigned seed = 9;
    struct stream stream = stream_create(0);
    int fds[2] = {stream.writer->ends[0], stream.reader->ends[0]};
    for (unsigned i = 0; i < 20000; i++) {
        atomic_store(&stream.writer->shared[0].origin, (uint32_t)rand_r(&seed)
                                                           << (rand_r(&seed) % 16));
        sock_send(&stream.writer->sock, fds[0], bytes, (size_t)rand_r(&seed) % RING_SIZE,
                  MSG_DONTWAIT);
        atomic_store(&stream.writer->shared[0].origin, (uint32_t)rand_r(&seed)
                                                           << (rand_r(&seed) % 16));
        sock_recv(&stream.reader->sock, fds[1], bytes, (size_t)rand_r(&seed) % RING_SIZE,
                  MSG_DONTWAIT);
    }
    stream_destroy(&stream);
}

static void a_file_goes_into_the_nook_and_on(void **state)
{
    (void)state;
    struct stream stream = stream_create(12345);
    uint8_t bytes[RING_SIZE];
    FILE *file = tmpfile();
    for (unsigned i = 0; i < RING_SIZE; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(fwrite(bytes, 1, RING_SIZE, file), RING_SIZE);
    fflush(file);
    for (unsigned i = 0; i < 40; i++) {
        size_t size = i % 4 == 0 ? RING_SIZE : 256 * (1 + i % 9); /* begins with 0 each time */
        off_t offset = 0;
        assert_int_equal(stream_send_file(&stream.writer->sock, stream.writer->ends[0],
                                          fileno(file), &offset, size, 0),
                         size);
        assert_int_equal(stream_get(&stream, 100, 0), 100);
        assert_int_equal(stream_get(&stream, RING_SIZE, 0), size - 100);
    }
    fclose(file);
    stream_destroy(&stream);
}

/* ---- spinning ------------------------------------------------------------------------------ */

struct spin_scene {
    int64_t look_ns; /* how long a look takes */
    unsigned looks, ready_after;
};

static bool scene_holds(void *context)
{
    struct spin_scene *scene = context;
    harness_clock_ns += scene->look_ns;
    return ++scene->looks > scene->ready_after;
}

static bool spins_after(int64_t pause_ns)
{
    struct spin_scene scene = {.look_ns = 20, .ready_after = 8};
    harness_clock_ns += pause_ns;
    return wait_spin(scene_holds, &scene);
}

/* The core is away now and then on any machine: what was lost is not to be lost a hundred times. */
static void a_short_gap_stops_spinning_shortly(void **state)
{
    (void)state;
    harness_clock_ns = 1000000000;
    preload_config.spin_us = 30;
    assert_true(spins_after(0));
    struct spin_scene gap = {.look_ns = 25000, .ready_after = 1000};
    assert_false(wait_spin(scene_holds, &gap));
    assert_int_equal(gap.looks, 1);
    assert_false(spins_after(1000));
    assert_true(spins_after(1000000));
    /* Another thread's turn. */
    gap = (struct spin_scene){.look_ns = 3000000, .ready_after = 1000};
    assert_false(wait_spin(scene_holds, &gap));
    assert_false(spins_after(10000000));
    assert_true(spins_after(100000000));
    preload_config.spin_us = 0;
    harness_clock_ns = 0;
}

/* A look at many connections takes microseconds, and sixteen of them no gap make. */
static void slow_looks_are_no_gap(void **state)
{
    (void)state;
    harness_clock_ns = 2000000000;
    preload_config.spin_us = 30;
    struct spin_scene slow = {.look_ns = 1500, .ready_after = 15};
    assert_true(wait_spin(scene_holds, &slow));
    slow = (struct spin_scene){.look_ns = 1500, .ready_after = 1000};
    assert_false(wait_spin(scene_holds, &slow));
    assert_in_range(slow.looks, 20, 40); /* until the time was over */
    assert_true(spins_after(0));
    preload_config.spin_us = 0;
    harness_clock_ns = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_reference_gives_the_object_back),
        cmocka_unit_test(hidden_descriptors_are_nobodys),
        cmocka_unit_test(lookups_never_meet_a_reused_object),
        cmocka_unit_test(lock_of_a_dead_thread_is_taken_over),
        cmocka_unit_test(own_lock_is_an_error),
        cmocka_unit_test(sleepers_keep_the_byte),
        cmocka_unit_test(a_dead_sleeper_does_not_stop_the_rest),
        cmocka_unit_test(a_slow_sleeper_keeps_the_byte),
        cmocka_unit_test(sleepers_beyond_the_places),
        cmocka_unit_test(one_doorbell_answers_a_sleep_behind_many_rings),
        cmocka_unit_test(other_sleeps_want_their_own_doorbell),
        cmocka_unit_test(two_sleeps_behind_one_ring_are_not_answered_elsewhere),
        cmocka_unit_test(a_doorbell_that_failed_answers_nothing),
        cmocka_unit_test(both_directions_sleep_and_wake),
        cmocka_unit_test(a_look_at_a_busy_ring_is_no_reset),
        cmocka_unit_test(last_words_come_before_the_end),
        cmocka_unit_test(an_accepted_end_is_in_use_before_it_is_open),
        cmocka_unit_test(small_requests_stay_in_the_nook),
        cmocka_unit_test(bytes_come_as_they_went),
        cmocka_unit_test(a_wild_origin_spoils_the_bytes_alone),
        cmocka_unit_test(a_file_goes_into_the_nook_and_on),
        cmocka_unit_test(a_short_gap_stops_spinning_shortly),
        cmocka_unit_test(slow_looks_are_no_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
