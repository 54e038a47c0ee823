/*
 * A TAP device of the kernel, with virtio_net_hdr in front of each frame so that checksums and
 * segmentation cross the boundary undone: a frame may hold up to 64 KiB in either direction.
 *
 * Opening one by name needs CAP_NET_ADMIN in the network namespace (or a persistent device that
 * belongs to the caller) and access to /dev/net/tun; a file descriptor that somebody else opened
 * needs nothing.
 */
#ifndef FOYER_LINK_TAP_H
#define FOYER_LINK_TAP_H

#include "link/link.h"

#define LINK_TAP_NAME_SIZE 16

struct link_tap_config {
    const char *name;        /* NULL or "": the kernel chooses; may hold %d */
    bool no_receive_offload; /* every frame received is of MTU size with a filled checksum */
};

/*
 * Creates or attaches to the device in the calling thread's network namespace. ret_name may be
 * NULL. -EPERM, -ENOENT, -EACCES: see above; -EBUSY: the device is in use; -EINVAL: a bad name.
 */
int link_tap_open(const struct link_tap_config *config, struct link **ret_link,
                  char ret_name[LINK_TAP_NAME_SIZE]);

/*
 * The same from an open TAP descriptor, with or without IFF_VNET_HDR (then no offload is
 * possible). It is taken over on success. -EINVAL: not a TAP, or with packet information.
 */
int link_tap_from_fd(int fd, const struct link_tap_config *config, struct link **ret_link);

struct link_tap_stats {
    uint64_t send_drops;    /* frames the kernel would not take: interface down, malformed */
    uint64_t receive_drops; /* frames with offload facts that contradict their bytes */
};

/* The link must be one made by the two above. */
void link_tap_stats(const struct link *link, struct link_tap_stats *ret_stats);

#endif
