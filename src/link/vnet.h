/*
 * Between struct virtio_net_hdr (OASIS virtio 1.2, section 5.1.6) and the offload facts of
 * struct foyer_packet. What comes in is checked against the frame's size.
 */
#ifndef FOYER_LINK_VNET_H
#define FOYER_LINK_VNET_H

#include <linux/virtio_net.h>

#include "foyer/types.h"

/* From linux/virtio_net.h of 6.2; older headers lack it. */
#define VNET_GSO_UDP_L4 5

void vnet_emit(struct virtio_net_hdr *ret, const struct foyer_packet *packet);

/* Sets flags, gso_* and checksum_* of a packet of size bytes. -EINVAL: contradictory. */
int vnet_parse(const struct virtio_net_hdr *header, size_t size, struct foyer_packet *packet);

#endif
