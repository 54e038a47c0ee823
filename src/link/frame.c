/* Frames that a link owns. */
#include "link/frame.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "link/link.h"

struct foyer_packet frame_packet(const struct foyer_packet *facts, const uint8_t *bytes,
                                 size_t size)
{
    struct foyer_packet packet = *facts;
    memset(packet.spans, 0, sizeof(packet.spans));
    packet.spans[0] = (struct foyer_span){bytes, size};
    packet.span_count = 1;
    return packet;
}

struct frame *frame_copy(const struct foyer_packet *packet)
{
    size_t size = foyer_packet_size(packet);
    if (size > LINK_FRAME_MAX)
        return NULL;
    struct frame *frame = malloc(sizeof(*frame) + size);
    if (frame == NULL)
        return NULL;
    size_t at = 0;
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++) {
        if (packet->spans[i].size > 0)
            memcpy(frame->bytes + at, packet->spans[i].base, packet->spans[i].size);
        at += packet->spans[i].size;
    }
    frame->node = (struct list_node){0};
    frame->due_ns = 0;
    frame->size = size;
    frame->packet = frame_packet(packet, frame->bytes, size);
    return frame;
}

void frame_free(struct frame *frame)
{
    free(frame);
}

void frame_free_all(struct list_node *frames)
{
    struct list_node *node;
    while ((node = list_pop_front(frames)) != NULL)
        frame_free(LIST_ENTRY(node, struct frame, node));
}

int frame_finish_checksum(struct frame *frame)
{
    struct foyer_packet *packet = &frame->packet;
    if ((packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0) {
        size_t start = packet->checksum_start;
        size_t field = start + packet->checksum_offset;
        if (start >= frame->size || field + 2 > frame->size)
            return -EINVAL;
        /* The field holds the pseudo-header's sum, which thereby is part of the sum. */
        uint16_t sum = checksum_of(frame->bytes + start, frame->size - start);
        store_be16(frame->bytes + field, sum != 0 ? sum : 0xffff); /* RFC 768: 0 means none */
    }
    packet->flags &= (uint8_t) ~(FOYER_PACKET_CHECKSUM_PARTIAL | FOYER_PACKET_CHECKSUM_VALID);
    packet->checksum_start = 0;
    packet->checksum_offset = 0;
    return 0;
}
