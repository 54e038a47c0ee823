/* Frames that a link owns: a packet copied into one run of bytes, and queues of them. */
#ifndef FOYER_LINK_FRAME_H
#define FOYER_LINK_FRAME_H

#include "base/list.h"
#include "foyer/types.h"

struct frame {
    struct list_node node;
    foyer_time_ns due_ns; /* for whoever delays it */
    size_t size;
    struct foyer_packet packet; /* its span 0 is bytes */
    uint8_t bytes[];
};

/* NULL where there is no memory or the packet is larger than LINK_FRAME_MAX. */
struct frame *frame_copy(const struct foyer_packet *packet);
void frame_free(struct frame *frame);
void frame_free_all(struct list_node *frames);

/* The same facts about other bytes: packet with one span. */
struct foyer_packet frame_packet(const struct foyer_packet *facts, const uint8_t *bytes,
                                 size_t size);

/*
 * Computes the transport checksum that CHECKSUM_PARTIAL left to the link and clears the
 * offload's checksum flags, so that the bytes stand for themselves (of a super-segment, as one
 * packet). -EINVAL where the offsets lie outside.
 */
int frame_finish_checksum(struct frame *frame);

#endif
