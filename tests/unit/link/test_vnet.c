/* link/vnet: virtio_net_hdr both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/vnet.h"

static const struct {
    const char *name;
    struct foyer_packet packet;
    struct virtio_net_hdr header;
} pairs[] = {
    {"plain", {.flags = 0}, {.flags = 0}},
    {"valid", {.flags = FOYER_PACKET_CHECKSUM_VALID}, {.flags = VIRTIO_NET_HDR_F_DATA_VALID}},
    {"partial",
     {.flags = FOYER_PACKET_CHECKSUM_PARTIAL, .checksum_start = 34, .checksum_offset = 6},
     {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6}},
    {"TSO4",
     {.flags = FOYER_PACKET_CHECKSUM_PARTIAL,
      .checksum_start = 34,
      .checksum_offset = 16,
      .gso_type = FOYER_GSO_TCPV4,
      .gso_size = 1448},
     {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
      .csum_start = 34,
      .csum_offset = 16,
      .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
      .gso_size = 1448}},
    {"TSO6",
     {.flags = FOYER_PACKET_CHECKSUM_PARTIAL,
      .checksum_start = 54,
      .checksum_offset = 16,
      .gso_type = FOYER_GSO_TCPV6,
      .gso_size = 1428},
     {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
      .csum_start = 54,
      .csum_offset = 16,
      .gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
      .gso_size = 1428}},
    {"USO",
     {.flags = FOYER_PACKET_CHECKSUM_PARTIAL,
      .checksum_start = 34,
      .checksum_offset = 6,
      .gso_type = FOYER_GSO_UDP,
      .gso_size = 1200},
     {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
      .csum_start = 34,
      .csum_offset = 6,
      .gso_type = VNET_GSO_UDP_L4,
      .gso_size = 1200}},
};

static void both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct virtio_net_hdr header;
        vnet_emit(&header, &pairs[i].packet);
        if (memcmp(&header, &pairs[i].header, sizeof(header)) != 0)
            fail_msg("emit %s", pairs[i].name);
        struct foyer_packet packet = {0};
        assert_int_equal(vnet_parse(&pairs[i].header, 1514, &packet), 0);
        if (packet.flags != pairs[i].packet.flags ||
            packet.checksum_start != pairs[i].packet.checksum_start ||
            packet.checksum_offset != pairs[i].packet.checksum_offset ||
            packet.gso_type != pairs[i].packet.gso_type ||
            packet.gso_size != pairs[i].packet.gso_size)
            fail_msg("parse %s", pairs[i].name);
    }
}

static void contradictions(void **state)
{
    (void)state;
    struct foyer_packet packet;
    struct virtio_net_hdr header = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
    assert_int_equal(vnet_parse(&header, 52, &packet), 0);
    assert_int_equal(vnet_parse(&header, 51, &packet), -EINVAL);
    header.csum_start = header.csum_offset = 65535;
    assert_int_equal(vnet_parse(&header, 65550, &packet), -EINVAL);
    header = (struct virtio_net_hdr){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4};
    assert_int_equal(vnet_parse(&header, 1514, &packet), -EINVAL);
    header = (struct virtio_net_hdr){.gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 1400};
    assert_int_equal(vnet_parse(&header, 1514, &packet), -EINVAL);
    header = (struct virtio_net_hdr){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN,
                                     .gso_size = 1400};
    assert_int_equal(vnet_parse(&header, 1514, &packet), 0);
    assert_int_equal(packet.gso_type, FOYER_GSO_TCPV4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(contradictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
