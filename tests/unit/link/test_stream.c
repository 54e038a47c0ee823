/* link/stream: frames across cuts anywhere, a full socket, a peer that does not keep to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/random.h"
#include "link/stream.h"

static void pair(struct link **ret_link, int *ret_fd)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(link_stream_from_fd(fds[0], ret_link), 0);
    assert_int_equal(link_capabilities(*ret_link), 0);
    *ret_fd = fds[1];
}

/* Two frames whose bytes come one by one, and then both with the beginning of a third. */
static void frames_across_cuts(void **state)
{
    (void)state;
    static const uint8_t wire[] = {0, 0, 0, 3, 'o', 'n', 'e', 0, 0, 0, 1, '2'};
    struct link *link;
    struct foyer_packet got[4];
    int fd, count = 0;
    pair(&link, &fd);
    for (size_t i = 0; i < sizeof(wire); i++) {
        assert_int_equal(write(fd, wire + i, 1), 1);
        int received = link_receive(link, got, 4, 9);
        assert_int_equal(received, i == 6 || i == 11);
        if (received > 0) {
            const char *expected = i == 6 ? "one" : "2";
            assert_int_equal(got[0].spans[0].size, strlen(expected));
            assert_memory_equal(got[0].spans[0].base, expected, strlen(expected));
            assert_true(got[0].arrival_ns == 9);
        }
        count += received;
    }
    assert_int_equal(count, 2);
    assert_int_equal(write(fd, wire, sizeof(wire)), sizeof(wire));
    assert_int_equal(write(fd, wire, 5), 5);
    assert_int_equal(link_receive(link, got, 1, 9), 1);
    assert_true(link_deadline(link) == 0); /* one was read with it; the descriptor is silent */
    assert_int_equal(link_receive(link, got, 4, 9), 1);
    assert_true(link_deadline(link) == FOYER_TIME_NEVER);
    assert_int_equal(link_receive(link, got, 4, 9), 0);
    close(fd);
    assert_int_equal(link_receive(link, got, 4, 9), -EPIPE);
    link_close(link);
}

static void bad_sizes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, LINK_FRAME_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < 3; i++) {
        struct link *link;
        struct foyer_packet got[2];
        int fd;
        uint8_t wire[9] = {0, 0, 0, 1, 'x'};
        store_be32(wire + 5, sizes[i]);
        pair(&link, &fd);
        assert_int_equal(write(fd, wire, sizeof(wire)), sizeof(wire));
        assert_int_equal(link_receive(link, got, 2, 0), 1);
        assert_int_equal(link_receive(link, got, 2, 0), -EPROTO);
        assert_int_equal(link_receive(link, got, 2, 0), -EPROTO);
        link_close(link);
        close(fd);
    }
}

/*
 * Frames of random sizes in two spans into a socket that fills up again and again, a reader that
 * takes random amounts: every frame taken arrives, whole and in order.
 */
static void full_socket_keeps_frames_whole(void **state)
{
    (void)state;
    static uint8_t body[LINK_FRAME_MAX], stream[70000];
    struct random random;
    random_init(&random, 11);
    struct link *link;
    int fd, small = 4096;
    pair(&link, &fd);
    assert_int_equal(setsockopt(link_fd(link), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    uint32_t sent = 0, received = 0;
    size_t filled = 0, rests = 0;
    foyer_time_ns now = 0;
    while (received < 2000) {
        uint8_t head[14];
        memset(head, 0, sizeof(head));
        store_be32(head, sent);
        size_t size = random_below(&random, 4) == 0
                          ? (size_t)random_below(&random, LINK_FRAME_MAX - 13)
                          : (size_t)random_below(&random, 300);
        memset(body, (int)(sent & 0xff), size);
        struct foyer_packet packet = {.spans = {{head, 14}, {body, size}}, .span_count = 2};
        int taken = link_send(link, &packet, 1, now++);
        assert_in_range(taken, 0, 1);
        sent += (uint32_t)taken;
        rests += link_deadline(link) != FOYER_TIME_NEVER;

        size_t room = 1 + (size_t)random_below(&random, sizeof(stream) - filled);
        ssize_t got = recv(fd, stream + filled, room, MSG_DONTWAIT);
        filled += got > 0 ? (size_t)got : 0;
        while (filled >= 4 && filled - 4 >= load_be32(stream)) {
            uint32_t frame = load_be32(stream);
            assert_in_range(frame, 14, LINK_FRAME_MAX);
            assert_int_equal(load_be32(stream + 4), received);
            for (size_t i = 14; i < frame; i++)
                assert_true(stream[4 + i] == (received & 0xff));
            received++;
            memmove(stream, stream + 4 + frame, filled - 4 - frame);
            filled -= 4 + frame;
        }
    }
    assert_true(rests > 100);
    close(fd);
    struct foyer_packet packet = {.spans = {{body, 60}}, .span_count = 1};
    int result;
    while ((result = link_send(link, &packet, 1, now)) >= 0)
        ;
    assert_int_equal(result, -EPIPE); /* and no SIGPIPE */
    link_close(link);
}

/* The rest of the last frame goes out without another send. */
static void rest_goes_by_itself(void **state)
{
    (void)state;
    static uint8_t body[60000], stream[70000];
    struct link *link;
    int fd, small = 4096;
    pair(&link, &fd);
    assert_int_equal(setsockopt(link_fd(link), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    struct foyer_packet packet = {.spans = {{body, sizeof(body)}}, .span_count = 1}, got;
    assert_int_equal(link_send(link, &packet, 1, 1000), 1);
    size_t filled = 0;
    foyer_time_ns now = 1000;
    while (link_deadline(link) != FOYER_TIME_NEVER) {
        assert_true(link_deadline(link) == now + FOYER_NS_PER_MS);
        ssize_t count = recv(fd, stream + filled, sizeof(stream) - filled, MSG_DONTWAIT);
        assert_true(count > 0);
        filled += (size_t)count;
        now = link_deadline(link);
        assert_int_equal(link_receive(link, &got, 1, now), 0);
    }
    filled += (size_t)recv(fd, stream + filled, sizeof(stream) - filled, MSG_DONTWAIT);
    assert_int_equal(filled, 4 + sizeof(body));
    link_close(link);
    close(fd);
}

static void what_cannot_be_carried_is_dropped(void **state)
{
    (void)state;
    struct link *link;
    int fd;
    static uint8_t bytes[LINK_FRAME_MAX + 1];
    pair(&link, &fd);
    struct foyer_packet packets[5] = {
        {.spans = {{bytes, 60}}, .span_count = 1, .flags = FOYER_PACKET_CHECKSUM_PARTIAL},
        {.spans = {{bytes, 60}}, .span_count = 1, .gso_type = FOYER_GSO_TCPV4, .gso_size = 9},
        {.spans = {{bytes, 33}}, .span_count = 1},
        {.spans = {{bytes, sizeof(bytes)}}, .span_count = 1},
        {.spans = {{bytes, 0}}, .span_count = 1},
    };
    assert_int_equal(link_send(link, packets, 5, 0), 5);
    uint8_t got[200];
    assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), 4 + 33);
    struct link *none;
    assert_int_equal(link_stream_open("/nonexistent/socket", &none), -ENOENT);
    char longer[200];
    memset(longer, 'x', sizeof(longer));
    longer[199] = '\0';
    assert_int_equal(link_stream_open(longer, &none), -EINVAL);
    link_close(link);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_across_cuts),
        cmocka_unit_test(bad_sizes),
        cmocka_unit_test(full_socket_keeps_frames_whole),
        cmocka_unit_test(rest_goes_by_itself),
        cmocka_unit_test(what_cannot_be_carried_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
