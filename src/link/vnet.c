/* virtio_net_hdr and offload facts. */
#include "link/vnet.h"

#include <errno.h>

void vnet_emit(struct virtio_net_hdr *ret, const struct foyer_packet *packet)
{
    static const uint8_t gso_types[] = {
        [FOYER_GSO_NONE] = VIRTIO_NET_HDR_GSO_NONE,
        [FOYER_GSO_TCPV4] = VIRTIO_NET_HDR_GSO_TCPV4,
        [FOYER_GSO_TCPV6] = VIRTIO_NET_HDR_GSO_TCPV6,
        [FOYER_GSO_UDP] = VNET_GSO_UDP_L4,
    };
    memset(ret, 0, sizeof(*ret));
    if ((packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0) {
        ret->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        ret->csum_start = packet->checksum_start;
        ret->csum_offset = packet->checksum_offset;
    } else if ((packet->flags & FOYER_PACKET_CHECKSUM_VALID) != 0) {
        ret->flags = VIRTIO_NET_HDR_F_DATA_VALID;
    }
    if (packet->gso_type != FOYER_GSO_NONE && packet->gso_type < sizeof(gso_types)) {
        ret->gso_type = gso_types[packet->gso_type];
        ret->gso_size = packet->gso_size;
        ret->hdr_len = packet->header_size;
    }
}

int vnet_parse(const struct virtio_net_hdr *header, size_t size, struct foyer_packet *packet)
{
    packet->flags = 0;
    packet->gso_type = FOYER_GSO_NONE;
    packet->gso_size = 0;
    packet->header_size = 0; /* hdr_len is a hint at best (virtio 1.2, section 5.1.6.4.1) */
    packet->checksum_start = 0;
    packet->checksum_offset = 0;

    if ((header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) {
        if ((size_t)header->csum_start + header->csum_offset + 2 > size)
            return -EINVAL;
        packet->flags = FOYER_PACKET_CHECKSUM_PARTIAL;
        packet->checksum_start = header->csum_start;
        packet->checksum_offset = header->csum_offset;
    } else if ((header->flags & VIRTIO_NET_HDR_F_DATA_VALID) != 0) {
        packet->flags = FOYER_PACKET_CHECKSUM_VALID;
    }

    switch (header->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return 0;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        packet->gso_type = FOYER_GSO_TCPV4;
        break;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        packet->gso_type = FOYER_GSO_TCPV6;
        break;
    case VNET_GSO_UDP_L4:
        packet->gso_type = FOYER_GSO_UDP;
        break;
    default: /* UFO was never asked for */
        return -EINVAL;
    }
    packet->gso_size = header->gso_size;
    return header->gso_size == 0 ? -EINVAL : 0;
}
