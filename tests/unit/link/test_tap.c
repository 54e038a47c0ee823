/* link/tap against the kernel, in a network namespace of its own (77 where that is not allowed). */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "link/tap.h"
#include "wire/arp.h"
#include "wire/eth.h"
#include "wire/ipv4.h"
#include "wire/udp.h"

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 9};

static void set_address(int control, struct ifreq *request, unsigned long what, const char *addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, addr, &in.sin_addr), 1);
    memcpy(&request->ifr_addr, &in, sizeof(in));
    assert_int_equal(ioctl(control, what, request), 0);
}

/* The kernel's end is 192.0.2.1/24 and up. */
static void configure(const char *name)
{
    int control = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(control >= 0);
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    set_address(control, &request, SIOCSIFADDR, "192.0.2.1");
    set_address(control, &request, SIOCSIFNETMASK, "255.255.255.0");
    assert_int_equal(ioctl(control, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags |= IFF_UP;
    assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
    close(control);
}

/* Waits for a frame with the ethertype (and UDP where it is IPv4). */
static struct foyer_packet await(struct link *link, uint16_t ethertype)
{
    for (;;) {
        struct pollfd ready = {.fd = link_fd(link), .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 5000), 1);
        struct foyer_packet packet;
        int count = link_receive(link, &packet, 1, 42);
        assert_true(count >= 0);
        if (count == 0)
            continue;
        assert_true(packet.arrival_ns == 42);
        struct wire_eth eth;
        assert_int_equal(wire_eth_parse(packet.spans[0].base, packet.spans[0].size, &eth), 14);
        if (eth.ethertype == ethertype &&
            (ethertype != WIRE_ETHERTYPE_IPV4 || packet.spans[0].base[23] == WIRE_PROTOCOL_UDP))
            return packet;
    }
}

static void answer_arp(struct link *link)
{
    struct foyer_packet request = await(link, WIRE_ETHERTYPE_ARP);
    struct wire_arp arp;
    assert_int_equal(wire_arp_parse(request.spans[0].base + 14, request.spans[0].size - 14, &arp),
                     WIRE_ARP_SIZE);
    struct wire_arp reply = {.operation = WIRE_ARP_REPLY,
                             .sender_addr = arp.target_addr,
                             .target_addr = arp.sender_addr};
    memcpy(reply.sender_mac, our_mac, 6);
    memcpy(reply.target_mac, arp.sender_mac, 6);
    struct wire_eth eth = {.ethertype = WIRE_ETHERTYPE_ARP};
    memcpy(eth.src, our_mac, 6);
    memcpy(eth.dst, arp.sender_mac, 6);
    uint8_t frame[42];
    wire_eth_emit(frame, &eth);
    wire_arp_emit(frame + 14, &reply);
    struct foyer_packet packet = {.spans = {{frame, sizeof(frame)}}, .span_count = 1};
    assert_int_equal(link_send(link, &packet, 1, 0), 1);
}

/* Answers the datagram with its own payload, header and payload in two spans. */
static void echo(struct link *link, const struct foyer_packet *received, bool partial)
{
    static uint8_t payload[65536];
    const uint8_t *bytes = received->spans[0].base;
    uint8_t header[42];
    memcpy(header, bytes + 6, 6);
    memcpy(header + 6, bytes, 6);
    memcpy(header + 12, bytes + 12, 2);
    struct wire_ipv4 ip;
    assert_int_equal(wire_ipv4_parse(bytes + 14, received->spans[0].size - 14, &ip), 20);
    struct wire_udp udp;
    assert_int_equal(wire_udp_parse(bytes + 34, ip.total_size - 20u, &udp), 8);
    size_t payload_size = udp.size - 8u;
    memcpy(payload, bytes + 42, payload_size);
    struct foyer_addr swap = ip.src;
    ip.src = ip.dst;
    ip.dst = swap;
    wire_ipv4_emit(header + 14, &ip);
    udp = (struct wire_udp){udp.dst_port, udp.src_port, udp.size, 0};
    wire_udp_emit(header + 34, &udp);
    struct checksum sum;
    checksum_init(&sum);
    checksum_add_pseudo(&sum, &ip.src, &ip.dst, WIRE_PROTOCOL_UDP, udp.size);
    struct foyer_packet packet = {.spans = {{header, 42}, {payload, payload_size}},
                                  .span_count = 2};
    if (partial) {
        store_be16(header + 40, checksum_fold(&sum));
        packet.flags = FOYER_PACKET_CHECKSUM_PARTIAL;
        packet.checksum_start = 34;
        packet.checksum_offset = 6;
    } else {
        checksum_add(&sum, header + 34, 8);
        checksum_add(&sum, payload, payload_size);
        store_be16(header + 40, checksum_finish(&sum));
    }
    assert_int_equal(link_send(link, &packet, 1, 0), 1);
}

static void exchange_with_kernel(struct link *link, bool partial)
{
    int program = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    assert_int_equal(inet_pton(AF_INET, "192.0.2.2", &to.sin_addr), 1);
    char sent[1000], got[2000];
    memset(sent, 'q', sizeof(sent));
    assert_int_equal(sendto(program, sent, sizeof(sent), 0, (struct sockaddr *)&to, sizeof(to)),
                     sizeof(sent));
    answer_arp(link);
    struct foyer_packet datagram = await(link, WIRE_ETHERTYPE_IPV4);
    /* With the vnet header the kernel leaves the checksum to whoever needs it. */
    assert_int_equal((datagram.flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0, partial);
    echo(link, &datagram, partial);
    struct pollfd ready = {.fd = program, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 5000), 1); /* the kernel took the checksum for right */
    assert_int_equal(recv(program, got, sizeof(got), 0), sizeof(sent));
    assert_memory_equal(got, sent, sizeof(sent));
    close(program);
}

static void with_offloads(void **state)
{
    (void)state;
    struct link_tap_config config = {.name = "foyer%d"};
    struct link *link;
    char name[LINK_TAP_NAME_SIZE];
    assert_int_equal(link_tap_open(&config, &link, name), 0);
    assert_string_equal(name, "foyer0");
    uint32_t expected = FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6;
    assert_int_equal(link_capabilities(link) & expected, expected);
    configure(name);
    exchange_with_kernel(link, true);

    /* A frame that no kernel takes is counted, not an error. */
    uint8_t runt[3] = {0};
    struct foyer_packet packet = {.spans = {{runt, sizeof(runt)}}, .span_count = 1};
    assert_int_equal(link_send(link, &packet, 1, 0), 1);
    struct link_tap_stats stats;
    link_tap_stats(link, &stats);
    assert_int_equal(stats.send_drops, 1);
    link_close(link);
}

static void without_receive_offload(void **state)
{
    (void)state;
    struct link_tap_config config = {.no_receive_offload = true};
    struct link *link;
    char name[LINK_TAP_NAME_SIZE];
    assert_int_equal(link_tap_open(&config, &link, name), 0);
    configure(name);
    exchange_with_kernel(link, false);
    link_close(link);
}

/* A descriptor that another program opened, without the vnet header. */
static void plain_descriptor(void **state)
{
    (void)state;
    int fd = open("/dev/net/tun", O_RDWR);
    assert_true(fd >= 0);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "plain%d"};
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    struct link *link;
    assert_int_equal(link_tap_from_fd(fd, NULL, &link), 0);
    assert_int_equal(link_capabilities(link), 0);
    configure(request.ifr_name);
    exchange_with_kernel(link, false);
    uint8_t bytes[60] = {0};
    struct foyer_packet partial = {
        .spans = {{bytes, 60}}, .span_count = 1, .flags = FOYER_PACKET_CHECKSUM_PARTIAL};
    assert_int_equal(link_send(link, &partial, 1, 0), 1);
    struct link_tap_stats stats;
    link_tap_stats(link, &stats);
    assert_int_equal(stats.send_drops, 1);
    link_close(link);
}

static void not_a_tap(void **state)
{
    (void)state;
    struct link *link;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(link_tap_from_fd(fds[0], NULL, &link), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    struct link_tap_config config = {.name = "a-name-that-is-too-long"};
    assert_int_equal(link_tap_open(&config, &link, NULL), -EINVAL);
}

int main(void)
{
    /* As root or through a user namespace; in both cases nothing of the machine is touched. */
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        fprintf(stderr, "no network namespace: skipped\n");
        return 77;
    }
    int tun = open("/dev/net/tun", O_RDWR);
    if (tun < 0) {
        perror("/dev/net/tun: skipped");
        return 77;
    }
    close(tun);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_offloads),
        cmocka_unit_test(without_receive_offload),
        cmocka_unit_test(plain_descriptor),
        cmocka_unit_test(not_a_tap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
