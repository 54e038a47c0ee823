/* UDP header (RFC 768). */
#ifndef FOYER_WIRE_UDP_H
#define FOYER_WIRE_UDP_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_UDP_SIZE 8
#define WIRE_UDP_CHECKSUM_OFFSET 6

struct wire_udp {
    uint16_t src_port, dst_port;
    uint16_t size;     /* header and payload */
    uint16_t checksum; /* 0: none (IPv4; RFC 6935 for the rules in IPv6) */
};

/*
 * WIRE_UDP_SIZE. size is that of the IP payload, which may be longer than the datagram, and
 * may be larger than what is contiguous: only 8 bytes are read. -EINVAL: cut short, or a length
 * field below 8 or beyond the IP payload.
 */
int wire_udp_parse(const uint8_t *bytes, size_t size, struct wire_udp *ret);
size_t wire_udp_emit(uint8_t *bytes, const struct wire_udp *udp);

#endif
