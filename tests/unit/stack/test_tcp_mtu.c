/* Path MTU by trying (RFC 4821): a path that drops large segments in silence, played by hand. */
#include "tcp_peer.h"

#include <string.h>

#define STREAM_MAX 8000000u
#define FULL 1460u
#define BASE 1240u /* 1280 bytes with 40 of headers */

/* A receiver behind a path: what of the stream has arrived, and what was seen of probes. */
struct path {
    struct peer *peer;
    uint32_t limit;   /* larger segments are lost */
    uint32_t lose_at; /* the segment that begins there as well, once */
    uint32_t next;    /* the first byte that is missing */
    uint32_t probes, probes_lost, last_probe;
    uint32_t probe_end; /* of the last probe */
    uint32_t followers; /* segments sent behind it */
    bool is_probe_out;
    bool was_lost; /* the last probe */
    bool is_lossy; /* the next probe that is lost is not lost alone */
    uint8_t has[STREAM_MAX];
};

static struct path path;

static void take(const struct seg *seg)
{
    uint32_t mss = peer_info(path.peer).mss;
    if (seg->size > mss) {
        /* one at a time, above what works and not above all hope. */
        assert_false(path.is_probe_out);
        assert_true(seg->size <= FULL);
        /* the last one's loss could be seen without a timeout. */
        assert_true(!path.was_lost || path.followers >= 3);
        path.was_lost = seg->size > path.limit;
        path.probes++;
        path.last_probe = seg->size;
        path.probe_end = seg->seq + seg->size;
        path.followers = 0;
        path.is_probe_out = true;
    } else if (path.is_probe_out && seg->seq >= path.probe_end) {
        path.followers++;
    }
    if (seg->size > mss && seg->size > path.limit && path.is_lossy) {
        path.is_lossy = false;
        path.lose_at = path.probe_end + mss; /* the second behind it */
    }
    if (seg->size > path.limit || (path.lose_at != 0 && seg->seq == path.lose_at)) {
        path.probes_lost += seg->size > mss;
        if (seg->seq == path.lose_at)
            path.lose_at = 0;
        return;
    }
    assert_true(seg->seq + seg->size < STREAM_MAX);
    memset(path.has + seg->seq, 1, seg->size);
}

/* One round trip of 20 ms: what the host has sent arrives, and each segment is acknowledged. */
static void round_trip(void)
{
    struct seg seg;
    struct {
        uint32_t start, end;
    } arrived[200];
    unsigned count = 0;
    while (count < 200 && peer_recv(path.peer, &seg)) {
        if (seg.size == 0)
            continue;
        take(&seg);
        if (path.has[seg.seq]) {
            arrived[count].start = seg.seq;
            arrived[count++].end = seg.seq + seg.size;
        }
    }
    peer_advance(path.peer, 20 * MS);
    for (unsigned i = 0; i < count; i++) {
        while (path.has[path.next])
            path.next++;
        if (arrived[i].start > path.next)
            peer_sack(path.peer, path.next, arrived[i].start, arrived[i].end);
        else
            peer_ack(path.peer, path.next);
    }
    if (path.is_probe_out && path.next >= path.probe_end)
        path.is_probe_out = false;
}

static void keep_writing(void)
{
    while (path.peer->written < path.next + 40000 && path.peer->written + 1000 < STREAM_MAX)
        peer_write(path.peer, 1000);
}

/* A connection whose path takes limit bytes per segment, until it goes on after its third timeout. */
static void begin(uint32_t limit)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = FULL, .has_sack_permitted = true};
    memset(&path, 0, sizeof(path));
    path.peer = peer_create();
    path.limit = limit;
    path.next = 1;
    path.has[0] = 1;
    peer_establish(path.peer, &options, 60000);
    peer_write(path.peer, 20000);
    for (unsigned i = 0; i < 1000 && path.next == 1; i++)
        round_trip();
}

static void run(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        keep_writing();
        round_trip();
    }
}

/* All that was written has arrived. */
static void settle(void)
{
    for (unsigned i = 0; i < 100 && path.next <= path.peer->written; i++)
        round_trip();
    assert_int_equal(path.next, path.peer->written + 1);
}

/* [test RFC4821 7.1a 7.1b 7.3c 7.4a 7.6.1a 7.6.2a 7.7a] */
static void a_hole_is_found_and_the_size_between(void **state)
{
    (void)state;
    begin(1400);
    assert_int_equal(peer_info(path.peer).mss, BASE);
    assert_int_equal(peer_stats(path.peer).tcp_mtu_black_holes, 1);
    run(200);
    uint32_t mss = peer_info(path.peer).mss;
    assert_in_range(mss, 1400 - 8, 1400);
    assert_true(path.probes_lost > 0 && path.probes > path.probes_lost);
    assert_int_equal(path.probes_lost % 3, 0); /* a size is given up after three */
    peer_destroy(path.peer);
}

/* [test RFC4821 4a] */
static void lost_probe_alone_is_no_congestion(void **state)
{
    (void)state;
    begin(1400);
    for (unsigned i = 0; i < 200 && path.probes_lost < 3; i++) {
        struct foyer_socket_info before = peer_info(path.peer);
        uint32_t lost = path.probes_lost;
        run(1);
        if (path.probes_lost == lost)
            continue;
        run(3);
        struct foyer_socket_info after = peer_info(path.peer);
        assert_true(after.cwnd_bytes >= before.cwnd_bytes);
        assert_int_equal(after.ssthresh_bytes, before.ssthresh_bytes);
    }
    assert_int_equal(path.probes_lost, 3);
    assert_int_equal(peer_stats(path.peer).tcp_fast_recoveries, 0);
    peer_destroy(path.peer);
}

/* [test RFC4821 7.4b 7.4c] */
static void no_probe_without_what_follows_it(void **state)
{
    (void)state;
    begin(1400);
    settle();
    uint32_t probes = path.probes;
    for (unsigned i = 0; i < 20; i++) {
        peer_write(path.peer, 4 * BASE);
        settle();
    }
    assert_int_equal(path.probes, probes);
    peer_write(path.peer, 8 * BASE);
    settle();
    assert_true(path.probes > probes);
    peer_destroy(path.peer);
}

/* Nor is it the size that failed. [test RFC4821 4b 7.6.4a] */
static void another_loss_beside_it_is(void **state)
{
    (void)state;
    begin(1400);
    path.is_lossy = true;
    uint32_t cwnd = 0;
    for (unsigned i = 0; i < 200 && path.is_lossy; i++) {
        assert_int_equal(peer_stats(path.peer).tcp_fast_recoveries, 0);
        cwnd = peer_info(path.peer).cwnd_bytes;
        run(1);
    }
    run(2);
    assert_int_equal(peer_stats(path.peer).tcp_fast_recoveries, 1);
    assert_true(peer_info(path.peer).ssthresh_bytes < cwnd);
    peer_destroy(path.peer);
}

/* A larger segment is no larger window. [test RFC4821 4c] */
static void window_does_not_grow_with_the_size(void **state)
{
    (void)state;
    begin(FULL - 1);
    for (unsigned i = 0; i < 200; i++) {
        uint32_t mss = peer_info(path.peer).mss, cwnd = peer_info(path.peer).cwnd_bytes;
        uint32_t next = path.next;
        run(1);
        if (peer_info(path.peer).mss > mss)
            assert_true(peer_info(path.peer).cwnd_bytes <= cwnd + (path.next - next));
    }
    assert_true(peer_info(path.peer).mss > BASE);
    peer_destroy(path.peer);
}

/* The path may have become wider: asked anew after ten minutes. [test RFC4821 7.3a 7.3b] */
static void hope_comes_back_after_ten_minutes(void **state)
{
    (void)state;
    begin(1400);
    run(200);
    uint32_t probes = path.probes, mss = peer_info(path.peer).mss;
    path.limit = FULL;
    for (unsigned s = 0; s < 590; s += 10) {
        run(2);
        settle();
        assert_int_equal(path.probes, probes);
        peer_advance(path.peer, 10 * FOYER_NS_PER_S - 100 * MS);
    }
    assert_int_equal(peer_info(path.peer).mss, mss);
    peer_advance(path.peer, 20 * FOYER_NS_PER_S);
    run(50);
    assert_true(path.probes > probes);
    assert_int_equal(peer_info(path.peer).mss, FULL);
    peer_destroy(path.peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hole_is_found_and_the_size_between),
        cmocka_unit_test(lost_probe_alone_is_no_congestion),
        cmocka_unit_test(no_probe_without_what_follows_it),
        cmocka_unit_test(another_loss_beside_it_is),
        cmocka_unit_test(window_does_not_grow_with_the_size),
        cmocka_unit_test(hope_comes_back_after_ten_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
