/*
 * The short ways in and out and the long ones do the same: two hosts talk over a wire that loses, repeats,
 * reorders, marks and damages, once with the one and once with the other, and every frame, byte and counter is
 * compared. A failing seed is printed; give it as the only argument to see it again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>

#include "base/random.h"
#include "stack/ip.h"
#include "stack/socket.h"
#include "stack/tcp.h"
#include "wire/eth.h"
#include "wire/tcp.h"

#define SEEDS 120
#define STEPS 300
#define FRAMES_MAX 64
#define FRAME_BYTES 66000

static uint64_t first_seed = 1, seed_count = SEEDS;
static unsigned long taken_count, frame_count, lone_count, run_count;

struct frame {
    size_t size;
    struct foyer_packet packet; /* its facts; the bytes are here, in two spans */
    uint8_t bytes[FRAME_BYTES];
};

struct world {
    struct foyer_host *hosts[2];
    foyer_socket listener, sockets[2];
    foyer_time_ns now;
    struct random random;
    bool is_fast, is_lossy;
    size_t batch; /* packets per output call */
    uint64_t log; /* of all that was seen */
    unsigned long taken;
    struct foyer_packet queue[2 * FRAMES_MAX]; /* a batch on its way in */
    size_t queued;
    uint8_t bytes[70000]; /* the programs' */
};

static void *take(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void give(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

static struct foyer_endpoint endpoint(unsigned end, bool is_v4, uint16_t port)
{
    struct foyer_endpoint self = {foyer_addr_v4(10, 0, 0, (uint8_t)(end + 1)), port};
    if (!is_v4)
        self.addr = (struct foyer_addr){{0xfd, [15] = (uint8_t)(end + 1)}};
    return self;
}

static void note(struct world *world, const void *bytes, size_t size)
{
    struct siphash_key key = {world->log, size};
    world->log = siphash(&key, bytes, size);
}

/* PSH tells where a burst was stopped, and how much of it goes at once is what the batches differ
 * in: the log leaves it, and the checksum over it, out. */
static void note_frame(struct world *world, const struct frame *frame)
{
    static uint8_t bytes[sizeof(frame->bytes)];
    size_t tcp = WIRE_ETH_SIZE + (frame->bytes[12] == 0x86 ? 40 : 20);
    memcpy(bytes, frame->bytes, frame->size);
    if (frame->size >= tcp + WIRE_TCP_SIZE) {
        bytes[tcp + 13] &= (uint8_t)~WIRE_TCP_PSH;
        memset(bytes + tcp + WIRE_TCP_CHECKSUM_OFFSET, 0, 2);
    }
    note(world, bytes, frame->size);
}

/* What foyer_host_input does, with or without the short way. */
static void input(struct world *world, unsigned end)
{
    struct foyer_host *host = world->hosts[end];
    host_begin(host, world->now);
    for (size_t i = 0, taken; i < world->queued; i += taken) {
        taken = world->is_fast
                    ? tcp_fast_input(host, &world->queue[i], world->queued - i, world->now)
                    : 0;
        world->taken += taken;
        run_count += taken > 1;
        if (taken == 0) {
            link_input(host, &world->queue[i], world->now);
            taken = 1;
        }
        host->stats.in_frames += taken;
        frame_count += taken;
    }
    world->queued = 0;
}

static void copy_frame(struct frame *frame, const struct foyer_packet *packet)
{
    frame->packet = *packet;
    frame->size = 0;
    for (unsigned i = 0; i < packet->span_count; i++) {
        memcpy(frame->bytes + frame->size, packet->spans[i].base, packet->spans[i].size);
        frame->size += packet->spans[i].size;
    }
}

/* It joins the batch. */
static void deliver(struct world *world, struct frame *frame)
{
    size_t cut = frame->packet.header_size + (size_t)random_below(&world->random, 200);
    if (cut > frame->size)
        cut = frame->size;
    frame->packet.spans[0] = (struct foyer_span){frame->bytes, cut};
    frame->packet.spans[1] = (struct foyer_span){frame->bytes + cut, frame->size - cut};
    frame->packet.span_count = 2;
    frame->packet.arrival_ns = world->now;
    world->queue[world->queued++] = frame->packet;
}

/* Everything that one host sends goes to the other, or most of it. */
static void carry(struct world *world, unsigned from)
{
    static struct frame frames[FRAMES_MAX];
    struct foyer_packet packets[FRAMES_MAX];
    size_t count = 0, more;

    do {
        size_t room = FRAMES_MAX - count < world->batch ? FRAMES_MAX - count : world->batch;
        more = foyer_host_output(world->hosts[from], packets, room, world->now);
        for (size_t i = 0; i < more; i++, count++) {
            copy_frame(&frames[count], &packets[i]);
            note_frame(world, &frames[count]);
        }
    } while (more > 0 && count < FRAMES_MAX);
    for (size_t i = 0; i < count; i++) {
        uint64_t fate = world->is_lossy ? random_below(&world->random, 60) : 60;
        if (fate == 0)
            continue;
        if (fate == 1 && frames[i].size > 60) { /* somewhere behind the addresses */
            input(world, 1 - from);             /* it may be there already, in order */
            frames[i].bytes[54 + random_below(&world->random, frames[i].size - 54)] ^= 0x10;
        }
        if (fate == 4 && frames[i].bytes[12] == 0x86) { /* IPv6: the router says CE */
            input(world, 1 - from);
            frames[i].bytes[15] |= 0x30;
        }
        if (fate == 2 && i + 1 < count)
            deliver(world, &frames[i + 1]);
        deliver(world, &frames[i]);
        if (fate == 3)
            deliver(world, &frames[i]);
        if (fate == 5)
            input(world, 1 - from); /* batches end anywhere */
    }
    input(world, 1 - from);
}

static struct world *world_open(uint64_t seed, bool is_fast, size_t batch)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    random_init(&world->random, seed);
    world->now = FOYER_NS_PER_S;
    world->is_fast = is_fast;
    world->batch = batch;
    bool is_v4 = seed % 7 < 4;
    uint32_t capabilities = seed % 3 == 0   ? 0
                            : seed % 3 == 1 ? FOYER_LINK_TX_CHECKSUM
                                            : FOYER_LINK_TSO4 | FOYER_LINK_TSO6;
    for (unsigned i = 0; i < 2; i++) {
        struct foyer_host_config config = {.allocator = {take, give, NULL},
                                           .mac = {2, 0, 0, 0, 0, (uint8_t)(i + 1)},
                                           .link_capabilities = capabilities,
                                           .receive_buffer_size = seed % 5 == 0 ? 8192 : 65536,
                                           .secret = {(uint8_t)seed, (uint8_t)i}};
        struct foyer_endpoint self = endpoint(i, is_v4, 0);
        world->hosts[i] = foyer_host_create(&config, world->now);
        assert_non_null(world->hosts[i]);
        world->hosts[i]->takes_long_way = !is_fast;
        assert_int_equal(foyer_host_add_address(world->hosts[i], &self.addr, is_v4 ? 24 : 64), 0);
    }
    uint8_t family = is_v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6;
    struct foyer_endpoint server = endpoint(1, is_v4, 80);
    assert_int_equal(foyer_socket_open(world->hosts[1], family, FOYER_TCP, 1, &world->listener), 0);
    assert_int_equal(foyer_socket_bind(world->hosts[1], world->listener, &server, NULL), 0);
    assert_int_equal(foyer_socket_listen(world->hosts[1], world->listener, 4, NULL), 0);
    assert_int_equal(foyer_socket_open(world->hosts[0], family, FOYER_TCP, 1, &world->sockets[0]),
                     0);
    assert_int_equal(foyer_socket_connect(world->hosts[0], world->sockets[0], &server, world->now),
                     -EINPROGRESS);
    for (unsigned i = 0; i < 6; i++)
        carry(world, i % 2);
    assert_int_equal(foyer_socket_accept(world->hosts[1], world->listener, 1, &world->sockets[1]),
                     0);
    world->is_lossy = seed % 4 != 0;
    return world;
}

static void talk(struct world *world, unsigned end)
{
    uint8_t *bytes = world->bytes;
    size_t size = 1 + (size_t)random_below(&world->random, random_below(&world->random, 2) == 0
                                                               ? 200
                                                               : sizeof(world->bytes) - 1);
    int64_t done;
    switch (random_below(&world->random, 4)) {
    case 0:
        random_fill(&world->random, bytes, size < 64 ? size : 64);
        done = foyer_socket_send(world->hosts[end], world->sockets[end], bytes, size, world->now);
        note(world, &done, sizeof(done));
        break;
    case 1:
        done = foyer_socket_recv(world->hosts[end], world->sockets[end], bytes, size, world->now);
        note(world, &done, sizeof(done));
        if (done > 0)
            note(world, bytes, (size_t)done);
        break;
    default:
        break;
    }
}

static void pass_time(struct world *world)
{
    world->now +=
        random_below(&world->random, 8) == 0 ? 90 * FOYER_NS_PER_MS : 40 * FOYER_NS_PER_US;
    for (unsigned i = 0; i < 2; i++)
        if (foyer_host_deadline(world->hosts[i]) <= world->now)
            foyer_host_tick(world->hosts[i], world->now);
}

/* How often a segment was out without a board. */
static void count_lone(struct world *world)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct sock *sock = sock_from_handle(world->hosts[i], world->sockets[i]);
        if (sock != NULL && sock->tcb != NULL)
            lone_count += (sock->tcb->flags & TCPF_LONE) != 0;
    }
}

static void take_events(struct world *world)
{
    struct foyer_event events[8];
    for (unsigned i = 0; i < 2; i++) {
        size_t count = foyer_host_events(world->hosts[i], events, 8);
        for (size_t j = 0; j < count; j++)
            note(world, &events[j].events, sizeof(events[j].events));
    }
}

/* What later segments are judged by. */
static void note_connection(struct world *world, unsigned end)
{
    const struct sock *sock = sock_from_handle(world->hosts[end], world->sockets[end]);
    if (sock == NULL || sock->tcb == NULL)
        return;
    const struct tcb *tcb = sock->tcb;
    uint32_t numbers[] = {tcb->snd_una.value, tcb->snd_nxt.value, tcb->snd_wl1.value, tcb->snd_wnd,
                          tcb->rcv_nxt.value, tcb->rcv_adv.value, tcb->ts_recent,     tcb->rcv_mss,
                          tcb->srtt_us8,      tcb->rttvar_us4,    tcb->cwnd_bytes};
    note(world, numbers, sizeof(numbers));
}

static uint64_t run(uint64_t seed, bool is_fast, size_t batch, enum foyer_pacing pacing)
{
    struct world *world = world_open(seed, is_fast, batch);
    for (unsigned i = 0; i < 2; i++)
        (void)foyer_socket_set_option(world->hosts[i], world->sockets[i], FOYER_OPT_PACING, pacing);
    for (unsigned step = 0; step < STEPS; step++) {
        talk(world, (unsigned)random_below(&world->random, 2));
        carry(world, (unsigned)random_below(&world->random, 2));
        count_lone(world);
        if (step > STEPS - 20 && random_below(&world->random, 9) == 0)
            (void)foyer_socket_shutdown(world->hosts[0], world->sockets[0], FOYER_SHUTDOWN_WRITE,
                                        world->now);
        if (random_below(&world->random, 3) == 0)
            pass_time(world);
        take_events(world);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct foyer_host_stats stats;
        struct foyer_socket_info info;
        note_connection(world, i);
        foyer_host_stats(world->hosts[i], &stats);
        note(world, &stats, sizeof(stats));
        memset(&info, 0, sizeof(info));
        if (foyer_socket_info(world->hosts[i], world->sockets[i], &info) == 0) {
            uint64_t numbers[] = {info.bytes_sent, info.bytes_received, info.rtt_us,
                                  info.cwnd_bytes, info.flight_bytes,   info.state};
            note(world, numbers, sizeof(numbers));
        }
        foyer_host_destroy(world->hosts[i]);
    }
    uint64_t log = world->log;
    taken_count += world->taken;
    free(world);
    return log;
}

static void both_ways_are_one(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed; seed < first_seed + seed_count; seed++) {
        enum foyer_pacing pacing = seed % 2 == 0 ? FOYER_PACING_ON : FOYER_PACING_OFF;
        uint64_t fast = run(seed, true, FRAMES_MAX, pacing);
        uint64_t slow = run(seed, false, FRAMES_MAX, pacing);
        if (fast != slow)
            print_error("seed %llu\n", (unsigned long long)seed);
        assert_true(fast == slow);
    }
    /* Else it tests nothing: of half the frames, those of the fast runs, most are usual. */
    print_message("%lu of %lu frames went the short way, %lu runs, %lu times one was out alone\n",
                  taken_count, frame_count / 2, run_count, lone_count);
    assert_true(seed_count == 1 || taken_count > frame_count / 10);
    assert_true(seed_count == 1 || (lone_count > SEEDS && run_count > SEEDS));
}

/*
 * What segment.c cuts is what TCP makes segment by segment. Without losses: one round trip is timed
 * in the one case by a segment, in the other by all that went with it. Nor with pacing: a piece that
 * one carry does not take whole is decided on in the one case, begun anew later in the other.
 */
static void cut_or_one_by_one(void **state)
{
    (void)state;
    for (uint64_t seed = 4 * first_seed; seed < 4 * (first_seed + seed_count); seed += 4) {
        uint64_t many = run(seed, true, FRAMES_MAX, FOYER_PACING_OFF);
        uint64_t single = run(seed, true, 1, FOYER_PACING_OFF);
        if (many != single)
            print_error("seed %llu\n", (unsigned long long)seed);
        assert_true(many == single);
    }
}

#define NO_WINDOW 200u

static void close_window(struct world *world, uint32_t size)
{
    struct tcb *tcb = sock_from_handle(world->hosts[1], world->sockets[1])->tcb;
    tcb->rcv_adv = seq_add(tcb->rcv_nxt, size);
}

/* Segments in one batch, and one bit is wrong in the headers of the second; what came of
 * it. Beyond all headers: nothing is wrong, but there is no window for the second. */
static uint64_t run_with_damage(uint64_t seed, bool is_fast, size_t at, uint8_t bit)
{
    static struct frame frames[FRAMES_MAX];
    struct foyer_packet packets[FRAMES_MAX];
    struct world *world = world_open(seed, is_fast, FRAMES_MAX);
    struct foyer_host_stats stats;

    memset(world->bytes, 7, sizeof(world->bytes));
    for (unsigned i = 0; i < 2; i++) { /* the first makes the ring */
        assert_int_equal(foyer_socket_send(world->hosts[0], world->sockets[0], world->bytes,
                                           i == 0 ? 10 : 4000, world->now),
                         i == 0 ? 10 : 4000);
        if (i == 0)
            carry(world, 0);
    }
    size_t count = foyer_host_output(world->hosts[0], packets, FRAMES_MAX, world->now);
    assert_in_range(count, 2, 4);
    for (size_t i = 0; i < count; i++)
        copy_frame(&frames[i], &packets[i]);
    if (at < frames[1].packet.header_size)
        frames[1].bytes[at] ^= bit;
    else if (at == NO_WINDOW)
        close_window(world, (uint32_t)frames[0].size);
    for (size_t i = 0; i < count; i++)
        deliver(world, &frames[i]);
    input(world, 1);
    carry(world, 1);
    int64_t size = foyer_socket_recv(world->hosts[1], world->sockets[1], world->bytes,
                                     sizeof(world->bytes), world->now);
    note(world, &size, sizeof(size));
    foyer_host_stats(world->hosts[1], &stats);
    note(world, &stats, sizeof(stats));
    note_connection(world, 1);
    for (unsigned i = 0; i < 2; i++)
        foyer_host_destroy(world->hosts[i]);
    uint64_t log = world->log;
    free(world);
    return log;
}

/* Where frames are taken together, each is still looked at. */
static void each_of_a_run_is_judged(void **state)
{
    (void)state;
    for (uint64_t seed = 12; seed <= 48; seed += 12) { /* both families, no offload */
        unsigned long runs_before = run_count;
        assert_true(run_with_damage(seed, true, NO_WINDOW, 0) ==
                    run_with_damage(seed, false, NO_WINDOW, 0));
        for (size_t at = 0; at < 90; at++)
            for (unsigned bit = 1; bit < 256; bit *= 2) {
                bool is_one = run_with_damage(seed, true, at, (uint8_t)bit) ==
                              run_with_damage(seed, false, at, (uint8_t)bit);
                if (!is_one)
                    print_error("seed %llu, bit %u of byte %zu\n", (unsigned long long)seed, bit,
                                at);
                assert_true(is_one);
            }
        assert_true(run_count > runs_before);
    }
}

/* The short way does not ask whose the addresses are: it must know when that changes. */
static void nothing_comes_in_for_a_removed_address(void **state)
{
    (void)state;
    for (uint64_t seed = 4; seed <= 8; seed += 4) { /* IPv6 and IPv4 */
        struct world *world = world_open(seed, true, FRAMES_MAX);
        struct foyer_endpoint self = endpoint(1, seed % 7 < 4, 0);
        uint8_t bytes[100] = {0};

        assert_int_equal(
            foyer_socket_send(world->hosts[0], world->sockets[0], bytes, 100, world->now), 100);
        carry(world, 0);
        assert_int_equal(
            foyer_socket_recv(world->hosts[1], world->sockets[1], bytes, 100, world->now), 100);
        assert_true(world->taken > 0);
        carry(world, 1); /* its ACK */
        assert_int_equal(foyer_host_remove_address(world->hosts[1], &self.addr), 0);
        assert_int_equal(
            foyer_socket_send(world->hosts[0], world->sockets[0], bytes, 100, world->now), 100);
        carry(world, 0);
        assert_int_equal(
            foyer_socket_recv(world->hosts[1], world->sockets[1], bytes, 100, world->now), -EAGAIN);
        struct foyer_host_stats stats;
        foyer_host_stats(world->hosts[1], &stats);
        assert_int_equal(stats.in_dropped_address, 1);
        for (unsigned i = 0; i < 2; i++)
            foyer_host_destroy(world->hosts[i]);
        free(world);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        seed_count = 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_are_one),
        cmocka_unit_test(cut_or_one_by_one),
        cmocka_unit_test(each_of_a_run_is_judged),
        cmocka_unit_test(nothing_comes_in_for_a_removed_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
