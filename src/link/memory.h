/*
 * A wire inside one process: two links, each receiving what the other sends. Frames are copied
 * into a bounded queue; offload facts travel with them, as between virtual machines.
 */
#ifndef FOYER_LINK_MEMORY_H
#define FOYER_LINK_MEMORY_H

#include "link/link.h"

struct link_memory_config {
    size_t queue_packets;  /* per direction; 0: 1024 */
    uint32_t capabilities; /* enum foyer_link_capability, of both ends */
};

/*
 * Both ends may be closed in any order; sends to a closed end give -EPIPE, what was sent before
 * the end was closed can still be received. -ENOMEM.
 */
int link_memory_create(const struct link_memory_config *config, struct link **ret_a,
                       struct link **ret_b);

#endif
