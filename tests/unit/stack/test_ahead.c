/* Batches among many connections: what looks ahead (ahead.c) must not outlive what it saw. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "stack/tcp.h"
#include "unit/stack/lan.h"

#define CONNECTIONS 300u /* more than are needed to make the host look ahead */
#define BATCH 40u
#define FRAME_SIZE (WIRE_ETH_SIZE + WIRE_IPV6_SIZE + WIRE_TCP_SIZE)

static foyer_socket sockets[CONNECTIONS];

/* SYN-SENT towards the peer, port 1 + i; the SYNs are thrown away. */
static void open_all(struct lan *lan, bool is_v4)
{
    lan_introduce_peer(lan);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct foyer_endpoint remote = {LAN_SRC(is_v4), (uint16_t)(1 + i)};
        assert_int_equal(foyer_socket_open(lan->host, is_v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6,
                                           FOYER_TCP, 1, &sockets[i]),
                         0);
        assert_int_equal(foyer_socket_connect(lan->host, sockets[i], &remote, lan->now),
                         -EINPROGRESS);
        lan_pull(lan);
    }
}

/* The peer refuses. */
static size_t refusal(struct lan *lan, uint8_t *frame, bool is_v4, uint32_t index)
{
    struct sock *sock = sock_from_handle(lan->host, sockets[index]);
    struct foyer_addr src = LAN_SRC(is_v4), dst = LAN_DST(is_v4);
    size_t header_size = lan_ip(frame, &src, &dst, FOYER_TCP, WIRE_TCP_SIZE);
    size_t size = header_size + WIRE_TCP_SIZE;
    struct wire_tcp tcp = {
        .src_port = (uint16_t)(1 + index),
        .dst_port = sock->local.port,
        .ack = seq_add(sock->tcb->iss, 1),
        .flags = WIRE_TCP_RST | WIRE_TCP_ACK,
    };

    wire_tcp_emit(frame + header_size, &tcp, NULL);
    lan_seal(frame, size);
    return size;
}

static void each_frame_finds_its_own(void **state, bool is_v4)
{
    struct lan *lan = *state;
    static uint8_t frames[BATCH][FRAME_SIZE];
    struct foyer_packet packets[BATCH];

    open_all(lan, is_v4);
    /* The same connection twice in a look, and nobody's in between. */
    for (uint32_t i = 0; i < BATCH; i++) {
        size_t size = refusal(lan, frames[i], is_v4, i % 4 == 2 ? i - 2 : i);
        if (i % 4 == 3) {
            store_be16(frames[i] + size - WIRE_TCP_SIZE, 9999);
            store_be16(frames[i] + size - 4, 0);
            lan_seal(frames[i], size);
        }
        packets[i] = (struct foyer_packet){.spans = {{frames[i], size}}, .span_count = 1};
    }
    foyer_host_input(lan->host, packets, BATCH, lan->now);
    assert_int_equal(lan_stats(lan).tcp_in_segs, BATCH);
    assert_int_equal(lan_stats(lan).tcp_attempt_fails, BATCH / 2);
    for (uint32_t i = 0; i < BATCH; i++) {
        struct foyer_socket_info info;
        assert_int_equal(foyer_socket_info(lan->host, sockets[i], &info), 0);
        assert_int_equal(info.state, i % 4 < 2 ? FOYER_STATE_CLOSED : FOYER_STATE_SYN_SENT);
    }
    assert_int_equal(lan->host->hint_count, 0);
    assert_null(lan->host->recent_sock); /* the last that was looked for is gone */
}

static void ipv4_frames_of_a_batch_find_their_own(void **state)
{
    each_frame_finds_its_own(state, true);
}

static void ipv6_frames_of_a_batch_find_their_own(void **state)
{
    each_frame_finds_its_own(state, false);
}

/* Cut short, or not TCP, or not whole: passed over. */
static void odd_frames_are_nobodys(void **state)
{
    struct lan *lan = *state;
    uint8_t frame[FRAME_SIZE];
    struct foyer_packet packets[2];

    open_all(lan, true);
    for (size_t size = 0; size <= WIRE_ETH_SIZE + WIRE_IPV4_SIZE + WIRE_TCP_SIZE; size++) {
        refusal(lan, frame, true, 0);
        if (size == WIRE_ETH_SIZE + WIRE_IPV4_SIZE + WIRE_TCP_SIZE)
            frame[WIRE_ETH_SIZE + 9] = 99;
        uint8_t *exact = malloc(size + 1); /* for the sanitizer to see */
        memcpy(exact, frame, size);
        for (size_t i = 0; i < 2; i++)
            packets[i] = (struct foyer_packet){.spans = {{exact, size}}, .span_count = 1};
        foyer_host_input(lan->host, packets, 2, lan->now);
        free(exact);
    }
    assert_int_equal(lan_stats(lan).tcp_attempt_fails, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ipv4_frames_of_a_batch_find_their_own, lan_setup,
                                        lan_teardown),
        cmocka_unit_test_setup_teardown(ipv6_frames_of_a_batch_find_their_own, lan_setup,
                                        lan_teardown),
        cmocka_unit_test_setup_teardown(odd_frames_are_nobodys, lan_setup, lan_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
