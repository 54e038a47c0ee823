/*
 * Requirements of RFC 9293 (appendix B) that no other test is about: addresses, both families, IP
 * and TCP options as they may come, ICMP, what a connection asks of IP. docs/rfc.md lists them all.
 */
#include "lan.h"
#include "unit/stack/tcp_peer.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/ports.h"
#include "stack/tcp.h"
#include "wire/icmp.h"

/* ---- a peer of either family, octet by octet --------------------------------------------------------- */

struct tcp_frame {
    struct foyer_addr src, dst;
    uint16_t src_port, dst_port, flags, window;
    uint32_t seq, ack;
    const uint8_t *options; /* as on the wire; a multiple of 4 */
    size_t options_size;
    const uint8_t *ip_options; /* IPv4 only; a multiple of 4 */
    size_t ip_options_size;
    size_t size; /* of the text, 'x' */
};

static void input(struct lan *lan, const struct tcp_frame *f)
{
    static uint8_t frame[4096];
    size_t tcp_size = WIRE_TCP_SIZE + f->options_size + f->size;
    size_t at = lan_ip(frame, &f->src, &f->dst, WIRE_PROTOCOL_TCP, f->ip_options_size + tcp_size);
    if (f->ip_options_size > 0) {
        uint8_t *ip = frame + WIRE_ETH_SIZE;
        memcpy(frame + at, f->ip_options, f->ip_options_size);
        ip[0] = (uint8_t)(4 << 4 | (WIRE_IPV4_SIZE + f->ip_options_size) / 4);
        lan_seal_ipv4(frame);
        at += f->ip_options_size;
    }
    struct wire_tcp tcp = {.src_port = f->src_port,
                           .dst_port = f->dst_port,
                           .seq = SEQ(f->seq),
                           .ack = SEQ(f->ack),
                           .flags = f->flags,
                           .window = f->window};
    wire_tcp_emit(frame + at, &tcp, NULL);
    if (f->options_size > 0)
        memcpy(frame + at + WIRE_TCP_SIZE, f->options, f->options_size);
    frame[at + 12] = (uint8_t)((WIRE_TCP_SIZE + f->options_size) / 4 << 4);
    memset(frame + at + WIRE_TCP_SIZE + f->options_size, 'x', f->size);
    lan_seal(frame, at + tcp_size);
    lan_input(lan, frame, at + tcp_size);
}

/* The next TCP segment of the last pull; its checksum is looked at. False: there is none. */
static bool next_segment(struct lan *lan, struct lan_view *ret_view, struct wire_tcp *ret_tcp,
                         struct wire_tcp_options *ret_options)
{
    const struct lan_frame *sent;
    while ((sent = lan_next(lan)) != NULL) {
        if (!lan_view(sent, ret_view) || ret_view->protocol != WIRE_PROTOCOL_TCP)
            continue;
        struct checksum sum;
        checksum_init(&sum);
        checksum_add_pseudo(&sum, &ret_view->src, &ret_view->dst, WIRE_PROTOCOL_TCP,
                            (uint32_t)ret_view->size);
        checksum_add(&sum, ret_view->transport, ret_view->size);
        assert_int_equal(checksum_finish(&sum), 0);
        int size = wire_tcp_parse(ret_view->transport, ret_view->size, ret_tcp);
        assert_true(size > 0);
        assert_true(wire_tcp_options_parse(ret_view->transport + WIRE_TCP_SIZE,
                                           (size_t)size - WIRE_TCP_SIZE, ret_options) >= 0);
        return true;
    }
    return false;
}

static foyer_socket listening(struct lan *lan, const struct foyer_addr *addr, uint16_t port)
{
    foyer_socket socket = lan_bound(lan, foyer_addr_is_v4(addr) ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6,
                                    FOYER_TCP, addr, port);
    assert_int_equal(foyer_socket_listen(lan->host, socket, 8, NULL), 0);
    return socket;
}

/* A connection from the peer's port 4000 to port 80; the numbers of what the peer sends next. */
static foyer_socket accepted(struct lan *lan, bool v4, struct tcp_frame *ret_next)
{
    struct tcp_frame f = {.src = LAN_SRC(v4),
                          .dst = LAN_DST(v4),
                          .src_port = 4000,
                          .dst_port = 80,
                          .flags = SYN,
                          .seq = 1000,
                          .window = 50000};
    foyer_socket listener = listening(lan, &f.dst, 80), socket;
    struct lan_view view;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    lan_introduce_peer(lan);
    input(lan, &f);
    lan_pull(lan);
    assert_true(next_segment(lan, &view, &tcp, &options));
    assert_int_equal(tcp.flags, SYN | ACK);
    f.flags = ACK;
    f.seq = 1001;
    f.ack = tcp.seq.value + 1;
    input(lan, &f);
    assert_int_equal(foyer_socket_accept(lan->host, listener, 1, &socket), 0);
    lan_pull(lan);
    *ret_next = f;
    return socket;
}

static enum foyer_socket_state state_of(struct lan *lan, foyer_socket socket)
{
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    return info.state;
}

/* ---- headers --------------------------------------------------------------------------------------------- */

/* In both families, with and without text. [test RFC9293 MUST-2] */
static void every_segment_has_its_checksum(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct tcp_frame next;
        struct lan_view view;
        struct wire_tcp tcp;
        struct wire_tcp_options options;
        foyer_socket socket = accepted(lan, v4, &next);
        next.size = 10;
        input(lan, &next);
        assert_int_equal(foyer_socket_send(lan->host, socket, "answer", 6, lan->now), 6);
        foyer_socket_shutdown(lan->host, socket, FOYER_SHUTDOWN_WRITE, lan->now);
        lan_live(lan, 0);
        lan_pull(lan);
        lan_wait(lan, 2 * FOYER_NS_PER_S); /* and again */
        unsigned count = 0;
        lan_pull(lan);
        while (next_segment(lan, &view, &tcp, &options)) {
            count++;
        }
        assert_true(count > 0);
    }
}

/* Text, ACK, FIN and what is sent again. [test RFC9293 MUST-65] */
static void no_segment_but_syn_says_mss(void **state)
{
    (void)state;
    for (int has_ts = 0; has_ts < 2; has_ts++) {
        struct wire_tcp_options options = {.has_mss = true,
                                           .mss = 1000,
                                           .has_sack_permitted = true,
                                           .has_timestamps = has_ts,
                                           .timestamp_value = 1};
        struct peer *peer = peer_create();
        struct seg seg;
        unsigned count = 0;
        peer_establish(peer, &options, 60000);
        options = (struct wire_tcp_options){.has_timestamps = has_ts, .timestamp_value = 2};
        peer_send(
            peer,
            (struct seg){
                .flags = ACK, .seq = 1, .ack = 1, .size = 5, .window = 60000, .options = options});
        peer_expect(peer, ACK, 1, 6, 0);
        peer_send(peer, (struct seg){.flags = ACK,
                                     .seq = 100,
                                     .ack = 1,
                                     .size = 5,
                                     .window = 60000,
                                     .options = options});
        seg = peer_expect(peer, ACK, 1, 6, 0);
        assert_int_equal(seg.options.sack_count, 1);
        assert_false(seg.options.has_mss);
        peer_write(peer, 2500);
        foyer_socket_shutdown(peer->host, peer->socket, FOYER_SHUTDOWN_WRITE, peer->now);
        peer_advance(peer, FOYER_NS_PER_S);
        for (; peer_recv(peer, &seg); count++)
            assert_false(seg.options.has_mss);
        assert_true(count > 3);
        peer_destroy(peer);
    }
}

/* [test RFC9293 MUST-15b SHLD-5b] [test RFC8200 8.3a] */
static void ipv6_segment_sizes(void **state)
{
    struct lan *lan = *state;
    struct tcp_frame next;
    struct foyer_socket_info info;
    foyer_socket socket = accepted(lan, false, &next); /* its SYN says no MSS */
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    assert_int_equal(info.mss, 1220);
    foyer_socket client = lan_open(lan, FOYER_FAMILY_V6, FOYER_TCP);
    struct foyer_endpoint remote = {lan_peer6, 99};
    foyer_socket_connect(lan->host, client, &remote, lan->now);
    lan_pull(lan);
    struct lan_view view;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    assert_true(next_segment(lan, &view, &tcp, &options));
    assert_true(options.has_mss);
    assert_int_equal(options.mss, 1440); /* 1500 less 40 and 20 */
}

/* Options that no SYN has a use for, unknown ones, and ones at odd offsets, in a segment of text.
 * [test RFC9293 MUST-5 MUST-6 MUST-64] */
static void options_come_in_any_segment_and_anywhere(void **state)
{
    struct lan *lan = *state;
    static const uint8_t in_syn[] = {1, 2, 4, 0x02, 0x58, 254, 5, 1, 2, 3, 0, 0};
    static const uint8_t in_text[] = {254, 3, 7, 2, 4, 1, 0, 1, 253, 2, 0, 0};
    struct tcp_frame next;
    struct lan_view view;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    accepted(lan, true, &next);
    struct tcp_frame syn = next;
    syn.src_port = 4001;
    syn.flags = SYN;
    syn.options = in_syn;
    syn.options_size = sizeof(in_syn);
    input(lan, &syn);
    lan_pull(lan);
    assert_true(next_segment(lan, &view, &tcp, &options));
    syn.options_size = 0;
    syn.flags = ACK;
    syn.ack = tcp.seq.value + 1;
    syn.seq++;
    input(lan, &syn);
    foyer_socket listener = FOYER_SOCKET_NONE, socket = FOYER_SOCKET_NONE;
    while (foyer_socket_next(lan->host, &listener) &&
           foyer_socket_accept(lan->host, listener, 1, &socket) != 0)
        ;
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    assert_int_equal(info.mss, 600); /* the MSS stood at an odd offset */
    syn.options = in_text;
    syn.options_size = sizeof(in_text);
    syn.size = 30;
    input(lan, &syn);
    uint8_t bytes[64];
    assert_int_equal(foyer_socket_recv(lan->host, socket, bytes, sizeof(bytes), lan->now), 30);
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    assert_int_equal(info.mss, 600); /* an MSS that is in no SYN says nothing */
}

/* RFC 1122 section 4.2.3.8: a time stamp, a record route and an unknown IP option.
 * [test RFC9293 MUST-50] [test RFC1122 3.2.1.8c] */
static void ip_options_are_passed_over(void **state)
{
    struct lan *lan = *state;
    static const uint8_t ip_options[] = {68, 8, 5, 0, 0, 0, 0,    0, 7, 7,
                                         4,  0, 0, 0, 0, 1, 0x9e, 4, 9, 9};
    struct tcp_frame next;
    foyer_socket socket = accepted(lan, true, &next);
    next.ip_options = ip_options;
    next.ip_options_size = sizeof(ip_options);
    next.size = 5;
    input(lan, &next);
    uint8_t bytes[16];
    assert_int_equal(foyer_socket_recv(lan->host, socket, bytes, sizeof(bytes), lan->now), 5);
}

/* [test RFC9293 SHLD-2] */
static void reset_may_carry_text(void **state)
{
    struct lan *lan = *state;
    struct tcp_frame next;
    foyer_socket socket = accepted(lan, true, &next);
    next.flags = RST | ACK;
    next.size = 20;
    input(lan, &next);
    assert_int_equal(state_of(lan, socket), FOYER_STATE_CLOSED);
    assert_int_equal(foyer_socket_take_error(lan->host, socket), -ECONNRESET);
}

/* ---- the window ------------------------------------------------------------------------------------------ */

/* Were it signed, 60000 were no window at all. [test RFC9293 MUST-1 REC-1] [test RFC7323 2.3b] */
static void window_is_unsigned_and_of_32_bits(void **state)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_window_scale = true, .window_scale = 14};
    struct peer *peer = peer_create();
    (void)state;
    peer_establish(peer, &options, 60000);
    assert_int_equal(peer_info(peer).send_window_bytes, 60000u << 14);
    peer_write(peer, 1000);
    peer_expect(peer, ACK | PSH, 1, 1, 1000);
    peer_destroy(peer);
}

/* Text of odd sizes comes, is read or not: the right edge stands still or moves to the right, but
 * for what the scale cannot express where the buffer is full (RFC 7323 section 2.4).
 * [test RFC9293 SHLD-14] [test RFC7323 2.4b] */
static void right_edge_of_our_window_never_goes_back(void **state)
{
    struct wire_tcp_options options = {
        .has_mss = true, .mss = 1000, .has_window_scale = true, .window_scale = 0};
    struct peer *peer = peer_create_with(0, 65536);
    uint32_t seq = 1, edge = 0;
    struct seg seg;
    (void)state;
    peer_establish(peer, &options, 60000);
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t size = 1 + i * 37 % 900;
        if (edge != 0 && seq + size > edge)
            size = edge - seq;
        peer_send(peer,
                  (struct seg){.flags = ACK, .seq = seq, .ack = 1, .size = size, .window = 60000});
        seq += size;
        if (i % 3 == 0)
            peer_read(peer, i * 53 % 1500);
        peer_advance(peer, 50 * MS);
        while (peer_recv(peer, &seg)) {
            uint32_t now = seg.ack + ((uint32_t)seg.window << 7);
            if (now + 128 <= edge)
                fail_msg("step %u: edge %u after %u", i, now, edge);
            edge = now > edge ? now : edge;
        }
    }
    assert_true(edge > 65536);
    peer_destroy(peer);
}

/* The window is taken back behind text that is out: what is inside of it is sent again, what is
 * outside ends no connection while the peer answers. [test RFC9293 SHLD-16 SHLD-17] */
static void text_within_a_shrunk_window_is_sent_again(void **state)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();
    struct seg seg;
    unsigned again = 0;
    (void)state;
    peer_establish(peer, &options, 5000);
    peer_write(peer, 5000);
    peer_drain(peer);
    peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 2000});
    for (int i = 0; i < 30; i++) {
        peer_advance_to_deadline(peer, 200 * FOYER_NS_PER_S);
        while (peer_recv(peer, &seg))
            again += seg.seq == 1 && seg.size > 0;
        peer_send(peer, (struct seg){.flags = ACK, .seq = 1, .ack = 1, .window = 0});
    }
    assert_true(again >= 1);
    assert_int_equal(peer_state(peer), FOYER_STATE_ESTABLISHED);
    peer_destroy(peer);
}

/* [test RFC9293 MUST-59] */
static void one_ack_for_all_that_waits(void **state)
{
    struct wire_tcp_options options = {.has_mss = true, .mss = 1000};
    struct peer *peer = peer_create();
    (void)state;
    peer_establish(peer, &options, 60000);
    for (uint32_t i = 0; i < 8; i++)
        peer_send(
            peer,
            (struct seg){.flags = ACK, .seq = 1 + i * 100, .ack = 1, .size = 100, .window = 60000});
    peer_expect(peer, ACK, 1, 801, 0);
    peer_expect_nothing(peer);
    peer_destroy(peer);
}

/* ---- opening ----------------------------------------------------------------------------------------------- */

static uint8_t secret_byte;

static void choose_secret(struct foyer_host_config *config)
{
    memset(config->secret, secret_byte, sizeof(config->secret));
}

static uint32_t isn_with_secret(uint8_t byte)
{
    secret_byte = byte;
    struct lan *lan = lan_create(0, choose_secret);
    struct foyer_endpoint local = {lan_host4, 80}, remote = {lan_peer4, 4000};
    uint32_t isn = tcp_isn_for(lan->host, &local, &remote, lan->now).value;
    lan_destroy(lan);
    return isn;
}

/* Who knows all of the program but not the secret cannot tell the ISN. [test RFC9293 MUST-9 SHLD-1] */
static void isn_depends_on_the_secret(void **state)
{
    (void)state;
    assert_int_equal(isn_with_secret(1), isn_with_secret(1));
    assert_int_not_equal(isn_with_secret(1), isn_with_secret(2));
}

/* Or anybody could make connections collide in the table. */
static void table_hash_depends_on_the_secret(void **state)
{
    (void)state;
    for (int v4 = 0; v4 < 2; v4++) {
        uint32_t hashes[2];
        for (uint8_t i = 0; i < 2; i++) {
            secret_byte = i + 1;
            struct lan *lan = lan_create(0, choose_secret);
            struct foyer_endpoint local = {LAN_DST(v4), 80}, remote = {LAN_SRC(v4), 4000};
            hashes[i] = ports_tuple_hash(lan->host, FOYER_TCP, &local, &remote);
            lan_destroy(lan);
        }
        assert_int_not_equal(hashes[0], hashes[1]);
    }
}

/* Two listeners of one port on two addresses, and a third that comes while they are connected.
 * [test RFC9293 MUST-41 MUST-42] */
static void listeners_of_one_port_do_not_meddle(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr second = foyer_addr_v4(10, 0, 0, 11), third = foyer_addr_v4(10, 0, 0, 12);
    struct tcp_frame next;
    struct lan_view view;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    assert_int_equal(foyer_host_add_address(lan->host, &second, 24), 0);
    assert_int_equal(foyer_host_add_address(lan->host, &third, 24), 0);
    foyer_socket socket = accepted(lan, true, &next);
    foyer_socket other = listening(lan, &second, 80), got;
    struct tcp_frame syn = next;
    syn.dst = second;
    syn.flags = SYN;
    input(lan, &syn);
    lan_pull(lan);
    assert_true(next_segment(lan, &view, &tcp, &options));
    assert_true(foyer_addr_eq(&view.src, &second));
    listening(lan, &third, 80);
    syn.flags = ACK;
    syn.seq++;
    syn.ack = tcp.seq.value + 1;
    input(lan, &syn);
    assert_int_equal(foyer_socket_accept(lan->host, other, 1, &got), 0);
    next.size = 7;
    input(lan, &next);
    uint8_t bytes[16];
    assert_int_equal(foyer_socket_recv(lan->host, socket, bytes, sizeof(bytes), lan->now), 7);
    assert_int_equal(foyer_socket_recv(lan->host, got, bytes, sizeof(bytes), lan->now), -EAGAIN);
}

static struct foyer_addr source_of_syn(struct lan *lan, foyer_socket socket)
{
    struct foyer_endpoint remote = {lan_peer4, 99};
    struct lan_view view = {0};
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), -EINPROGRESS);
    lan_pull(lan);
    assert_true(next_segment(lan, &view, &tcp, &options));
    return view.src;
}

/* [test RFC9293 MUST-43 MUST-44 MUST-45] [test RFC1122 3.2.1.3a]
 * [test RFC1122 3.3.4.3b 3.3.4.3c] */
static void source_is_the_bound_address_or_what_ip_says(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr second = foyer_addr_v4(10, 0, 0, 11), far = foyer_addr_v4(10, 9, 0, 1);
    lan_introduce_peer(lan);
    assert_int_equal(foyer_host_add_address(lan->host, &far, 24), 0);
    assert_int_equal(foyer_host_add_address(lan->host, &second, 24), 0);
    struct foyer_addr src = source_of_syn(lan, lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP));
    assert_true(foyer_addr_eq(&src, &lan_host4));
    src = source_of_syn(lan, lan_bound(lan, FOYER_FAMILY_V4, FOYER_TCP, &second, 0));
    assert_true(foyer_addr_eq(&src, &second));
    src = source_of_syn(lan, lan_bound(lan, FOYER_FAMILY_V4, FOYER_TCP, &far, 0));
    assert_true(foyer_addr_eq(&src, &far)); /* even where it is not the best */
    struct foyer_endpoint nobodys = {foyer_addr_v4(10, 0, 0, 77), 0};
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &nobodys, NULL), -EADDRNOTAVAIL);
}

/* [test RFC9293 MUST-46a MUST-46b] */
static void open_to_a_group_is_refused(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr groups[] = {
        foyer_addr_v4(255, 255, 255, 255),
        foyer_addr_v4(10, 0, 0, 255),
        foyer_addr_v4(224, 0, 0, 1),
        {{0xff, 2, [15] = 1}},
    };
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        bool v4 = foyer_addr_is_v4(&groups[i]);
        foyer_socket socket = lan_open(lan, v4 ? FOYER_FAMILY_V4 : FOYER_FAMILY_V6, FOYER_TCP);
        struct foyer_endpoint remote = {groups[i], 80};
        int error = foyer_socket_connect(lan->host, socket, &remote, lan->now);
        if (error == 0 || error == -EINPROGRESS)
            fail_msg("row %zu: %d", i, error);
        assert_int_equal(lan_pull(lan), 0);
    }
}

/* Segments from and to addresses that no connection can have: no answer, and nothing comes of them.
 * [test RFC9293 MUST-57a MUST-57b MUST-63] */
static void segments_of_groups_are_discarded_in_silence(void **state)
{
    struct lan *lan = *state;
    const struct foyer_addr any4 = foyer_addr_v4(0, 0, 0, 0);
    const struct {
        struct foyer_addr src, dst;
    } rows[] = {
        {lan_peer4, foyer_addr_v4(255, 255, 255, 255)},
        {lan_peer4, foyer_addr_v4(10, 0, 0, 255)},
        {lan_peer4, foyer_addr_v4(224, 0, 0, 1)},
        {lan_peer6, {{0xff, 2, [15] = 1}}},
        {foyer_addr_v4(255, 255, 255, 255), lan_host4},
        {foyer_addr_v4(10, 0, 0, 255), lan_host4},
        {foyer_addr_v4(224, 0, 0, 1), lan_host4},
        {any4, lan_host4},
        {{{0xff, 2, [15] = 1}}, lan_host6},
        {{{0}}, lan_host6},
    };
    static const uint16_t flags[] = {SYN, ACK, RST, FIN | ACK, SYN | ACK};
    struct foyer_addr any6 = {{0}};
    foyer_socket listener = listening(lan, &any6, 80);
    lan_introduce_peer(lan);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t j = 0; j < sizeof(flags) / sizeof(flags[0]); j++) {
            input(lan, &(struct tcp_frame){.src = rows[i].src,
                                           .dst = rows[i].dst,
                                           .src_port = 4000,
                                           .dst_port = j == 1 ? 81 : 80,
                                           .flags = flags[j],
                                           .window = 100});
            if (lan_pull(lan) != 0)
                fail_msg("row %zu, flags %x: answered", i, flags[j]);
        }
    }
    /* None of them even reached TCP. */
    assert_int_equal(lan_stats(lan).tcp_in_segs, 0);
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(lan->host, listener, &info), 0);
    assert_int_equal(info.request_count, 0);
}

/* ---- what IP is told, and tells ------------------------------------------------------------------------ */

/* Before the connection and while it lasts. [test RFC9293 MUST-48 MUST-49 SHLD-21 SHLD-22]
 * [test RFC8200 7a] [test RFC1122 3.2.1.5a 3.2.1.7c] */
static void ttl_and_diffserv_are_the_programs(void **state)
{
    struct lan *lan = *state;
    for (int v4 = 0; v4 < 2; v4++) {
        struct tcp_frame next;
        struct lan_view view;
        struct wire_tcp tcp;
        struct wire_tcp_options options;
        foyer_socket socket = accepted(lan, v4, &next);
        for (int64_t i = 0; i < 2; i++) {
            foyer_socket_set_option(lan->host, socket, FOYER_OPT_NODELAY, 1);
            assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_TTL, 7 + i), 0);
            assert_int_equal(
                foyer_socket_set_option(lan->host, socket, FOYER_OPT_TOS, 0xb8 - 0x10 * i), 0);
            assert_int_equal(foyer_socket_send(lan->host, socket, "x", 1, lan->now), 1);
            lan_pull(lan);
            const uint8_t *ip = lan->frames[0].bytes + WIRE_ETH_SIZE;
            assert_true(next_segment(lan, &view, &tcp, &options));
            assert_int_equal(view.ttl, 7 + i);
            unsigned tos = v4 ? ip[1] : (unsigned)(load_be16(ip) >> 4 & 0xff);
            assert_int_equal(tos, 0xb8 - 0x10 * i);
            /* Bare ACKs too: this one is owed for text before the window. */
            lan_wait(lan, FOYER_NS_PER_S);
            lan_pull(lan);
            struct tcp_frame old = next;
            old.seq -= 1;
            old.size = 1;
            input(lan, &old);
            lan_pull(lan);
            ip = lan->frames[0].bytes + WIRE_ETH_SIZE;
            assert_true(next_segment(lan, &view, &tcp, &options));
            assert_int_equal(view.size, WIRE_TCP_SIZE);
            assert_int_equal(view.ttl, 7 + i);
            tos = v4 ? ip[1] : (unsigned)(load_be16(ip) >> 4 & 0xff);
            assert_int_equal(tos, 0xb8 - 0x10 * i);
        }
    }
}

/* The last frame that the host sent, quoted back. */
static void quote_back(struct lan *lan, uint8_t type, uint8_t code)
{
    static uint8_t frame[256];
    struct lan_frame *sent = &lan->frames[lan->frame_count - 1];
    bool v4 = load_be16(sent->bytes + 12) == WIRE_ETHERTYPE_IPV4;
    struct foyer_addr src = LAN_SRC(v4), dst = LAN_DST(v4);
    size_t quoted = sent->size - WIRE_ETH_SIZE < 100 ? sent->size - WIRE_ETH_SIZE : 100;
    lan_input(lan, frame,
              lan_icmp(frame, &src, &dst, type, code, 0, sent->bytes + WIRE_ETH_SIZE, quoted));
}

/* [test RFC9293 MUST-54 MUST-56a MUST-56b MUST-56c] [test RFC1122 3.2.2.1c 3.2.2.4a] */
static void soft_icmp_errors_end_no_connection_and_are_told_at_its_end(void **state)
{
    struct lan *lan = *state;
    static const struct {
        bool v4;
        uint8_t type, code;
        int error;
    } rows[] = {
        {true, 3, 0, -ENETUNREACH},   {true, 3, 1, -EHOSTUNREACH},  {true, 3, 5, -EOPNOTSUPP},
        {true, 11, 0, -EHOSTUNREACH}, {true, 11, 1, -EHOSTUNREACH}, {true, 12, 0, -EPROTO},
        {false, 1, 0, -ENETUNREACH},  {false, 1, 3, -EHOSTUNREACH}, {false, 3, 0, -EHOSTUNREACH},
        {false, 4, 0, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct lan *each = lan_create(0, NULL);
        struct tcp_frame next;
        foyer_socket socket = accepted(each, rows[i].v4, &next);
        foyer_socket_set_option(each->host, socket, FOYER_OPT_USER_TIMEOUT_MS, 5000);
        assert_int_equal(foyer_socket_send(each->host, socket, "x", 1, each->now), 1);
        lan_pull(each);
        quote_back(each, rows[i].type, rows[i].code);
        assert_int_equal(state_of(each, socket), FOYER_STATE_ESTABLISHED);
        assert_int_equal(foyer_socket_take_error(each->host, socket), 0);
        lan_live(each, 6 * FOYER_NS_PER_S);
        int error = foyer_socket_take_error(each->host, socket);
        if (error != rows[i].error)
            fail_msg("row %zu: %d", i, error);
        lan_destroy(each);
    }
    (void)lan;
}

/* RFC 6633: neither the window nor anything else hears of it. [test RFC9293 MUST-55] */
static void source_quench_is_discarded_in_silence(void **state)
{
    struct lan *lan = *state;
    struct tcp_frame next;
    struct foyer_socket_info before, after;
    foyer_socket socket = accepted(lan, true, &next);
    assert_int_equal(foyer_socket_send(lan->host, socket, "x", 1, lan->now), 1);
    lan_pull(lan);
    assert_int_equal(foyer_socket_info(lan->host, socket, &before), 0);
    quote_back(lan, 4, 0);
    assert_int_equal(lan_pull(lan), 0);
    assert_int_equal(foyer_socket_info(lan->host, socket, &after), 0);
    assert_int_equal(after.cwnd_bytes, before.cwnd_bytes);
    assert_int_equal(after.ssthresh_bytes, before.ssthresh_bytes);
    assert_int_equal(foyer_socket_take_error(lan->host, socket), 0);
    assert_int_equal(after.state, FOYER_STATE_ESTABLISHED);
    /* Nor does it say why the connection ends, should it end. */
    foyer_socket_set_option(lan->host, socket, FOYER_OPT_USER_TIMEOUT_MS, 5000);
    lan_live(lan, 6 * FOYER_NS_PER_S);
    assert_int_equal(foyer_socket_take_error(lan->host, socket), -ETIMEDOUT);
}

/* R1 is three retransmissions: then the neighbour, though known until now, is asked whether it is
 * still there, long before its entry would have aged. [test RFC9293 MUST-20a SHLD-10]
 * [test RFC1122 3.3.1.4b] */
static void retransmissions_make_ip_doubt_the_next_hop(void **state)
{
    struct lan *lan = *state;
    static uint8_t frame[256];
    struct tcp_frame next;
    foyer_socket socket = accepted(lan, false, &next);
    lan_input(lan, frame, lan_advertise(frame, &lan_peer6, true));
    struct neighbour *neighbour = neighbour_find(lan->host, &lan_peer6);
    neighbour_confirm(lan->host, neighbour, lan->now);
    assert_int_equal(foyer_socket_send(lan->host, socket, "x", 1, lan->now), 1);
    unsigned retransmissions = 0, questions = 0;
    for (unsigned ms = 0; ms < 12000 && questions == 0; ms += 50) {
        lan_wait(lan, 50 * FOYER_NS_PER_MS);
        lan_pull(lan);
        for (unsigned i = 0; i < lan->frame_count; i++) {
            struct lan_view view;
            if (!lan_view(&lan->frames[i], &view))
                continue;
            retransmissions += view.protocol == WIRE_PROTOCOL_TCP;
            questions += view.protocol == WIRE_PROTOCOL_ICMP6 &&
                         view.transport[0] == WIRE_ICMP6_NEIGHBOUR_SOLICITATION;
        }
        if (retransmissions < 3)
            assert_int_equal(neighbour->state, NEIGHBOUR_REACHABLE);
    }
    assert_int_equal(questions, 1);
    assert_in_range(retransmissions, 3, 7);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_segment_has_its_checksum),
        cmocka_unit_test(no_segment_but_syn_says_mss),
        TEST(ipv6_segment_sizes),
        TEST(options_come_in_any_segment_and_anywhere),
        TEST(ip_options_are_passed_over),
        TEST(reset_may_carry_text),
        cmocka_unit_test(window_is_unsigned_and_of_32_bits),
        cmocka_unit_test(right_edge_of_our_window_never_goes_back),
        cmocka_unit_test(text_within_a_shrunk_window_is_sent_again),
        cmocka_unit_test(one_ack_for_all_that_waits),
        cmocka_unit_test(isn_depends_on_the_secret),
        cmocka_unit_test(table_hash_depends_on_the_secret),
        TEST(listeners_of_one_port_do_not_meddle),
        TEST(source_is_the_bound_address_or_what_ip_says),
        TEST(open_to_a_group_is_refused),
        TEST(segments_of_groups_are_discarded_in_silence),
        TEST(ttl_and_diffserv_are_the_programs),
        TEST(soft_icmp_errors_end_no_connection_and_are_told_at_its_end),
        TEST(source_quench_is_discarded_in_silence),
        TEST(retransmissions_make_ip_doubt_the_next_hop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
