/* link/vnet: what is taken of a header holds for the frame, and comes out again as it went in. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "link/vnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct virtio_net_hdr header, again;
    struct foyer_packet packet = {.span_count = 1}, reread = {.span_count = 1};
    if (size < sizeof(header))
        return 0;
    memcpy(&header, data, sizeof(header));
    size -= sizeof(header);
    packet.spans[0] = (struct foyer_span){data + sizeof(header), size};
    if (vnet_parse(&header, size, &packet) < 0)
        return 0;
    if ((packet.flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0 &&
        (size_t)packet.checksum_start + packet.checksum_offset + 2 > size)
        abort();
    if ((packet.gso_type != FOYER_GSO_NONE) != (packet.gso_size != 0))
        abort();
    vnet_emit(&again, &packet);
    if (vnet_parse(&again, size, &reread) < 0 || reread.flags != packet.flags ||
        reread.gso_type != packet.gso_type || reread.gso_size != packet.gso_size ||
        reread.checksum_start != packet.checksum_start ||
        reread.checksum_offset != packet.checksum_offset)
        abort();
    return 0;
}
