/*
 * Ethernet frames over a connected stream socket, each behind its size in 32 bits of network byte
 * order: what QEMU's `-netdev stream` (and socket) and passt speak. No offload facts cross it:
 * frames are complete, with their checksums.
 */
#ifndef FOYER_LINK_STREAM_H
#define FOYER_LINK_STREAM_H

#include "link/link.h"

/*
 * Connects to the socket at path. -EINVAL: the path is too long; what socket and connect say.
 * The other end that hangs up is -EPIPE; a size of 0 or beyond LINK_FRAME_MAX is -EPROTO.
 */
int link_stream_open(const char *path, struct link **ret_link);

/* The same over a connected stream socket, which is taken over on success. -ENOMEM. */
int link_stream_from_fd(int fd, struct link **ret_link);

#endif
