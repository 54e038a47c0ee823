/*
 * A queue of a network interface through an AF_XDP socket: frames arrive in memory shared with
 * the kernel before its own stack sees them, and are sent past it.
 *
 * Every frame of the queue is the link's: the kernel gets none of them while the link is open. An
 * interface with several queues gives a link only its share; set it to one queue, or steer to
 * it. There are no offloads: frames are complete, at most LINK_XDP_FRAME_MAX long. Where the other
 * end leaves checksums undone, as the kernel does on a veth pair, they arrive undone and are
 * dropped by the host: switch that off there (ethtool -K eth0 tx off).
 *
 * Opening one needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF (or CAP_SYS_ADMIN).
 */
#ifndef FOYER_LINK_XDP_H
#define FOYER_LINK_XDP_H

#include "link/link.h"

/* What a UMEM frame of 4096 bytes leaves beside the kernel's headroom. */
#define LINK_XDP_FRAME_MAX 3584u

struct link_xdp_config {
    const char *interface; /* its name, in the calling thread's network namespace */
    uint32_t queue;
    bool force_copy; /* no zero copy, even where the driver could */
};

/*
 * -EOPNOTSUPP: built without libxdp. -EPERM, -ENODEV, -EINVAL: a bad name or queue; -EBUSY: the
 * queue has another socket; else what libxdp says. An interface that goes away, or down, ends the
 * link with -EPIPE.
 */
int link_xdp_open(const struct link_xdp_config *config, struct link **ret_link);

struct link_xdp_stats {
    uint64_t send_drops;    /* too large, or with an offload */
    uint64_t receive_drops; /* by the kernel: no free frame, the ring full, too large */
};

/* The link must be one made by link_xdp_open. */
void link_xdp_stats(const struct link *link, struct link_xdp_stats *ret_stats);

#endif
