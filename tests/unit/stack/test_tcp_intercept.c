/* FOYER_OPT_INTERCEPT: a listener that stands for a whole network. */
#include "lan.h"

#include <errno.h>
#include <time.h>

#include "wire/tcp.h"

static const struct foyer_addr any6;

struct tcp_view {
    struct lan_view ip;
    struct wire_tcp tcp;
    size_t size; /* payload */
};

static void send_tcp(struct lan *lan, const struct foyer_addr *dst, uint16_t dst_port,
                     uint16_t flags, uint32_t seq, uint32_t ack)
{
    bool is_v4 = foyer_addr_is_v4(dst);
    uint8_t frame[LAN_FRAME_SIZE_MAX];
    size_t at = lan_ip(frame, is_v4 ? &lan_peer4 : &lan_peer6, dst, FOYER_TCP, WIRE_TCP_SIZE);
    struct wire_tcp tcp = {.src_port = 5000,
                           .dst_port = dst_port,
                           .seq = SEQ(seq),
                           .ack = SEQ(ack),
                           .flags = flags,
                           .window = 1000};
    at += wire_tcp_emit(frame + at, &tcp, NULL);
    lan_seal(frame, at);
    lan_input(lan, frame, at);
}

/* The only segment that the host answers with; false: none. */
static bool answer(struct lan *lan, struct tcp_view *ret_view)
{
    const struct lan_frame *frame;
    bool has_one = false;

    lan_pull(lan);
    while ((frame = lan_next(lan)) != NULL) {
        if (frame->bytes[12] == 8 && frame->bytes[13] == 6)
            continue; /* ARP */
        assert_true(lan_view(frame, &ret_view->ip));
        if (ret_view->ip.protocol != FOYER_TCP)
            continue; /* neighbour discovery */
        assert_false(has_one);
        has_one = true;
        int header = wire_tcp_parse(ret_view->ip.transport, ret_view->ip.size, &ret_view->tcp);
        assert_true(header > 0);
        ret_view->size = ret_view->ip.size - (size_t)header;
    }
    return has_one;
}

static foyer_socket interceptor(struct lan *lan, enum foyer_family family, uint16_t port, int what)
{
    struct foyer_addr any = family == FOYER_FAMILY_V4 ? foyer_addr_v4(0, 0, 0, 0) : any6;
    foyer_socket socket = lan_bound(lan, family, FOYER_TCP, &any, port);
    assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_INTERCEPT, what), 0);
    assert_int_equal(foyer_socket_listen(lan->host, socket, 10, NULL), 0);
    return socket;
}

static void every_destination_is_taken(void **state)
{
    struct lan *lan = *state;
    lan_introduce_peer(lan);
    const struct foyer_addr elsewhere[] = {
        foyer_addr_v4(8, 8, 8, 8),
        {{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}},
    };
    for (size_t i = 0; i < 2; i++) {
        struct tcp_view view;
        send_tcp(lan, &elsewhere[i], 443, WIRE_TCP_SYN, 100, 0);
        assert_false(answer(lan, &view)); /* nobody's business */
    }
    uint64_t dropped = lan_stats(lan).in_dropped_address;
    assert_int_equal(dropped, 2);
    foyer_socket listener = interceptor(lan, FOYER_FAMILY_V6, 80, FOYER_INTERCEPT_ALL);
    for (size_t i = 0; i < 2; i++) {
        struct tcp_view view;
        foyer_socket child;
        send_tcp(lan, &elsewhere[i], 443, WIRE_TCP_SYN, 100, 0);
        assert_true(answer(lan, &view));
        assert_int_equal(view.tcp.flags, WIRE_TCP_SYN | WIRE_TCP_ACK);
        assert_true(foyer_addr_eq(&view.ip.src, &elsewhere[i]));
        assert_int_equal(view.tcp.src_port, 443);
        uint32_t iss = view.tcp.seq.value;
        send_tcp(lan, &elsewhere[i], 443, WIRE_TCP_ACK, 101, iss + 1);
        assert_int_equal(foyer_socket_accept(lan->host, listener, 1, &child), 0);
        struct foyer_socket_info info;
        assert_int_equal(foyer_socket_info(lan->host, child, &info), 0);
        assert_true(foyer_addr_eq(&info.local.addr, &elsewhere[i]));
        assert_int_equal(info.local.port, 443);
        assert_int_equal(foyer_socket_send(lan->host, child, "hello", 5, lan->now), 5);
        assert_true(answer(lan, &view));
        assert_true(foyer_addr_eq(&view.ip.src, &elsewhere[i]));
        assert_int_equal(view.size, 5);
        foyer_socket_abort(lan->host, child, lan->now);
        assert_true(answer(lan, &view));
        assert_true(view.tcp.flags & WIRE_TCP_RST);
        assert_true(foyer_addr_eq(&view.ip.src, &elsewhere[i]));
    }
    /* Own addresses too, where nobody else listens. */
    struct tcp_view view;
    send_tcp(lan, &lan_host4, 9999, WIRE_TCP_SYN, 7, 0);
    assert_true(answer(lan, &view));
    assert_int_equal(view.tcp.flags, WIRE_TCP_SYN | WIRE_TCP_ACK);
    /* Not after its end; groups and what is not TCP never. */
    foyer_socket_close(lan->host, listener, lan->now);
    lan_pull(lan);
    send_tcp(lan, &elsewhere[0], 443, WIRE_TCP_SYN, 100, 0);
    assert_false(answer(lan, &view));
    assert_int_equal(lan_stats(lan).in_dropped_address, dropped + 1);
}

/* What was accepted lives on without the listener; nobody is answered anew. */
static void connections_outlive_the_listener(void **state)
{
    struct lan *lan = *state;
    struct foyer_addr elsewhere = foyer_addr_v4(8, 8, 8, 8), other = foyer_addr_v4(8, 8, 4, 4);
    struct foyer_endpoint any = {.port = 443};
    foyer_socket plain, child;
    struct tcp_view view;
    char bytes[8];
    lan_introduce_peer(lan);
    assert_int_equal(foyer_socket_open(lan->host, FOYER_FAMILY_V6, FOYER_TCP, 1, &plain), 0);
    assert_int_equal(foyer_socket_bind(lan->host, plain, &any, NULL), 0);
    assert_int_equal(foyer_socket_listen(lan->host, plain, 10, NULL), 0);
    foyer_socket listener = interceptor(lan, FOYER_FAMILY_V6, 80, FOYER_INTERCEPT_ALL);
    send_tcp(lan, &elsewhere, 443, WIRE_TCP_SYN, 100, 0);
    assert_true(answer(lan, &view));
    uint32_t iss = view.tcp.seq.value;
    send_tcp(lan, &elsewhere, 443, WIRE_TCP_ACK, 101, iss + 1);
    assert_int_equal(foyer_socket_accept(lan->host, listener, 1, &child), 0);
    foyer_socket_close(lan->host, listener, lan->now);
    lan_pull(lan);
    assert_int_equal(foyer_socket_send(lan->host, child, "hello", 5, lan->now), 5);
    assert_true(answer(lan, &view));
    assert_true(foyer_addr_eq(&view.ip.src, &elsewhere));
    send_tcp(lan, &elsewhere, 443, WIRE_TCP_ACK | WIRE_TCP_FIN, 101, iss + 6);
    assert_true(answer(lan, &view));
    assert_int_equal(foyer_socket_recv(lan->host, child, bytes, sizeof(bytes), lan->now), 0);
    send_tcp(lan, &other, 443, WIRE_TCP_SYN, 100, 0);
    assert_false(answer(lan, &view));
    foyer_socket_abort(lan->host, child, lan->now);
    assert_true(answer(lan, &view)); /* the last word in that name */
    assert_true(view.tcp.flags & WIRE_TCP_RST);
    send_tcp(lan, &elsewhere, 443, WIRE_TCP_ACK, 102, iss + 6);
    assert_false(answer(lan, &view));
}

static void others_are_not_reached(void **state)
{
    struct lan *lan = *state;
    struct tcp_view view;
    uint8_t frame[2000];
    lan_introduce_peer(lan);
    struct foyer_addr elsewhere = foyer_addr_v4(8, 8, 8, 8);
    foyer_socket plain = lan_bound(lan, FOYER_FAMILY_V6, FOYER_TCP, &any6, 22);
    assert_int_equal(foyer_socket_listen(lan->host, plain, 10, NULL), 0);
    interceptor(lan, FOYER_FAMILY_V4, 80, FOYER_INTERCEPT_ADDRESS);
    /* A listener without the option has only the host's own addresses. */
    send_tcp(lan, &elsewhere, 22, WIRE_TCP_SYN, 1, 0);
    assert_true(answer(lan, &view));
    assert_true(view.tcp.flags & WIRE_TCP_RST);
    assert_true(foyer_addr_eq(&view.ip.src, &elsewhere));
    send_tcp(lan, &lan_host4, 22, WIRE_TCP_SYN, 1, 0);
    assert_true(answer(lan, &view));
    assert_int_equal(view.tcp.flags, WIRE_TCP_SYN | WIRE_TCP_ACK);
    /* Its own port is taken everywhere. */
    send_tcp(lan, &elsewhere, 80, WIRE_TCP_SYN, 1, 0);
    assert_true(answer(lan, &view));
    assert_int_equal(view.tcp.flags, WIRE_TCP_SYN | WIRE_TCP_ACK);
    /* A datagram to a stranger is not ours, nor is a group. */
    uint64_t dropped = lan_stats(lan).in_dropped_address;
    lan_input(lan, frame, lan_udp(frame, &lan_peer4, 9, &elsewhere, 80, "x", 1));
    struct foyer_addr group = foyer_addr_v4(224, 0, 0, 9);
    send_tcp(lan, &group, 80, WIRE_TCP_SYN, 1, 0);
    assert_false(answer(lan, &view));
    assert_true(lan_stats(lan).in_dropped_address > dropped);
}

static foyer_socket reuser(struct lan *lan)
{
    foyer_socket socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_REUSEADDR, 1), 0);
    return socket;
}

/* Who holds the wildcard, without listening, is in the way of every address, in whatever place. */
static void a_bind_meets_the_wildcard_among_connections(void **state)
{
    struct lan *lan = *state;
    const struct foyer_endpoint any4 = {foyer_addr_v4(0, 0, 0, 0), 443}, own = {lan_host4, 443};
    const struct foyer_addr elsewhere[] = {foyer_addr_v4(8, 8, 8, 8), foyer_addr_v4(8, 8, 4, 4)};
    foyer_socket holder, child, listener = reuser(lan);
    lan_introduce_peer(lan);
    assert_int_equal(foyer_socket_bind(lan->host, listener, &any4, NULL), 0);
    assert_int_equal(foyer_socket_set_option(lan->host, listener, FOYER_OPT_INTERCEPT, 1), 0);
    assert_int_equal(foyer_socket_listen(lan->host, listener, 10, NULL), 0);
    for (size_t i = 0; i < 2; i++) {
        struct tcp_view view = {0};
        send_tcp(lan, &elsewhere[i], 443, WIRE_TCP_SYN, 100, 0);
        assert_true(answer(lan, &view));
        send_tcp(lan, &elsewhere[i], 443, WIRE_TCP_ACK, 101, view.tcp.seq.value + 1);
        assert_int_equal(foyer_socket_accept(lan->host, listener, 1, &child), 0);
    }
    foyer_socket_close(lan->host, listener, lan->now);
    foyer_socket first = reuser(lan), wildcard = reuser(lan);
    assert_int_equal(foyer_socket_bind(lan->host, first, &own, NULL), 0);
    assert_int_equal(foyer_socket_bind(lan->host, wildcard, &any4, NULL), 0);
    foyer_socket_close(lan->host, first, lan->now);
    foyer_socket last = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(foyer_socket_bind(lan->host, last, &own, &holder), -EADDRINUSE);
    assert_int_equal(holder.value, wildcard.value);
    foyer_socket_close(lan->host, wildcard, lan->now);
    assert_int_equal(foyer_socket_bind(lan->host, last, &own, NULL), 0);
}

static void option_rules(void **state)
{
    struct lan *lan = *state;
    struct foyer_host *host = lan->host;
    int64_t value;
    foyer_socket first = interceptor(lan, FOYER_FAMILY_V4, 80, FOYER_INTERCEPT_ALL);
    assert_int_equal(foyer_socket_get_option(host, first, FOYER_OPT_INTERCEPT, &value), 0);
    assert_int_equal(value, FOYER_INTERCEPT_ALL);
    foyer_socket second = lan_open(lan, FOYER_FAMILY_V6, FOYER_TCP);
    /* Dual stack: IPv4 is taken by the other. */
    assert_int_equal(foyer_socket_set_option(host, second, FOYER_OPT_INTERCEPT, 2), -EADDRINUSE);
    assert_int_equal(foyer_socket_set_option(host, second, FOYER_OPT_V6ONLY, 1), 0);
    assert_int_equal(foyer_socket_set_option(host, second, FOYER_OPT_INTERCEPT, 2), 0);
    assert_int_equal(foyer_socket_set_option(host, first, FOYER_OPT_INTERCEPT, 1), 0);
    assert_int_equal(foyer_socket_set_option(host, first, FOYER_OPT_INTERCEPT, 2), 0);
    assert_int_equal(foyer_socket_set_option(host, first, FOYER_OPT_INTERCEPT, 0), 0);
    assert_int_equal(foyer_socket_get_option(host, first, FOYER_OPT_INTERCEPT, &value), 0);
    assert_int_equal(value, FOYER_INTERCEPT_OFF);
    foyer_socket third = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(foyer_socket_set_option(host, third, FOYER_OPT_INTERCEPT, 2), 0);
    foyer_socket fourth = lan_bound(lan, FOYER_FAMILY_V4, FOYER_TCP, &lan_host4, 81);
    assert_int_equal(foyer_socket_set_option(host, fourth, FOYER_OPT_INTERCEPT, 1), -EINVAL);
    foyer_socket udp = lan_open(lan, FOYER_FAMILY_V4, FOYER_UDP);
    assert_int_equal(foyer_socket_set_option(host, udp, FOYER_OPT_INTERCEPT, 1), -ENOPROTOOPT);
    /* Bound to one address later, it would have a promise it can't keep. */
    struct foyer_endpoint own = {lan_host4, 82};
    assert_int_equal(foyer_socket_bind(host, third, &own, NULL), -EINVAL);
}

/* ---- many addresses ------------------------------------------------------------------------------------ */

#define MANY 12000u
#define SLICE 1000u
#define BINDS 100u

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct foyer_addr address_of(uint32_t i)
{
    return foyer_addr_v4(8, 1, (uint8_t)(i / 200), (uint8_t)(1 + i % 200));
}

static foyer_socket take_one(struct lan *lan, foyer_socket listener, uint32_t i)
{
    const struct foyer_addr addr = address_of(i);
    struct tcp_view view = {0};
    foyer_socket child;
    send_tcp(lan, &addr, 443, WIRE_TCP_SYN, 100, 0);
    assert_true(answer(lan, &view));
    send_tcp(lan, &addr, 443, WIRE_TCP_ACK, 101, view.tcp.seq.value + 1);
    assert_int_equal(foyer_socket_accept(lan->host, listener, 1, &child), 0);
    return child;
}

/* Binds to the same port: of our own address, which nobody has, and of one that somebody has. */
static void bind_beside(struct lan *lan, foyer_socket present, double seconds_each)
{
    const struct foyer_endpoint free = {lan_host4, 443}, any4 = {foyer_addr_v4(0, 0, 0, 0), 443};
    struct foyer_endpoint taken = {address_of(0), 443};
    struct foyer_addr addr = taken.addr;
    foyer_socket socket, holder;
    double begin = cpu_seconds();

    for (uint32_t i = 0; i < BINDS; i++) {
        socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
        assert_int_equal(foyer_socket_bind(lan->host, socket, &free, NULL), 0);
        foyer_socket_close(lan->host, socket, lan->now);
    }
    double each = (cpu_seconds() - begin) / BINDS;
    print_message("%.1f us for each bind beside them\n", each * 1e6);
    assert_true(each < seconds_each);

    assert_int_equal(foyer_host_add_address(lan->host, &addr, 32), 0);
    socket = lan_open(lan, FOYER_FAMILY_V4, FOYER_TCP);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &taken, &holder), -EADDRINUSE);
    assert_int_equal(holder.value, present.value);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &any4, NULL), -EADDRINUSE);
    assert_int_equal(foyer_socket_set_option(lan->host, socket, FOYER_OPT_REUSEADDR, 1), 0);
    assert_int_equal(foyer_socket_bind(lan->host, socket, &free, NULL), 0);
    foyer_socket_close(lan->host, socket, lan->now);
}

/* All connections hold one port, each an address of its own: that must not be a list to walk. */
static void many_addresses_at_one_port_cost_no_more_each(void **state)
{
    struct lan *lan = *state;
    static foyer_socket children[MANY];
    double first = 0, last = 0;
    lan_introduce_peer(lan);
    foyer_socket listener = interceptor(lan, FOYER_FAMILY_V4, 443, FOYER_INTERCEPT_ADDRESS);
    for (uint32_t i = 0; i < MANY; i += SLICE) {
        double begin = cpu_seconds();
        for (uint32_t j = i; j < i + SLICE; j++)
            children[j] = take_one(lan, listener, j);
        last = cpu_seconds() - begin;
        first = i == 0 ? last : first;
    }
    print_message("%.1f us for each of the first, %.1f for each of the last\n", first * 1e6 / SLICE,
                  last * 1e6 / SLICE);
    assert_true(last < 5 * first);
    foyer_socket_close(lan->host, listener, lan->now);
    bind_beside(lan, children[0], 5 * first / SLICE);
    double begin = cpu_seconds();
    for (uint32_t i = 0; i < MANY; i++) {
        struct tcp_view view;
        assert_int_equal(foyer_socket_abort(lan->host, children[i], lan->now), 0);
        assert_true(
            answer(lan, &view)); /* the last one too, after which nobody stands for others */
    }
    double ending = cpu_seconds() - begin;
    print_message("%.1f us for the end of each\n", ending * 1e6 / MANY);
    assert_true(ending / MANY < 5 * first / SLICE);
    /* The port is free again. */
    (void)interceptor(lan, FOYER_FAMILY_V4, 443, FOYER_INTERCEPT_OFF);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_destination_is_taken),
        TEST(connections_outlive_the_listener),
        TEST(others_are_not_reached),
        TEST(a_bind_meets_the_wildcard_among_connections),
        TEST(option_rules),
        TEST(many_addresses_at_one_port_cost_no_more_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
