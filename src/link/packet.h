/*
 * A network interface of the kernel through an AF_PACKET socket, with virtio_net_hdr in front of
 * each frame, so that checksums and segmentation cross the boundary undone where the interface
 * can do them (veth) and the kernel makes up for it where it can't.
 *
 * The interface stays the kernel's: it sees the same frames and answers what is for its own
 * addresses. So the host behind this link needs a MAC address and IP addresses of its own.
 *
 * Opening one needs CAP_NET_RAW in the interface's network namespace.
 */
#ifndef FOYER_LINK_PACKET_H
#define FOYER_LINK_PACKET_H

#include "link/link.h"

struct link_packet_config {
    const char *interface; /* its name, in the calling thread's network namespace */
    /* Only frames to the interface's own MAC address, broadcast and the multicast groups that the
     * kernel is in are received. Otherwise the interface is made promiscuous while the link is
     * open, as a host with another MAC address needs it. */
    bool not_promiscuous;
};

/*
 * -EPERM: see above; -ENODEV: there is no such interface; -EINVAL: a bad name, or an interface that
 * does not carry Ethernet. An interface that is down is no error: nothing comes, what is sent is
 * dropped. One that goes away ends the link with -EPIPE.
 */
int link_packet_open(const struct link_packet_config *config, struct link **ret_link);

struct link_packet_stats {
    uint64_t send_drops;    /* frames the kernel would not take: down, too large, malformed */
    uint64_t receive_drops; /* too large, or with offload facts that contradict their bytes */
};

/* The link must be one made by link_packet_open. */
void link_packet_stats(const struct link *link, struct link_packet_stats *ret_stats);

#endif
