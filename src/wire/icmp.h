/* ICMP for IPv4 (RFC 792, RFC 1122 section 3.2.2, RFC 1191). */
#ifndef FOYER_WIRE_ICMP_H
#define FOYER_WIRE_ICMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_ICMP_SIZE 8

enum wire_icmp_type {
    WIRE_ICMP_ECHO_REPLY = 0,
    WIRE_ICMP_UNREACHABLE = 3,
    WIRE_ICMP_SOURCE_QUENCH = 4,
    WIRE_ICMP_REDIRECT = 5,
    WIRE_ICMP_ECHO = 8,
    WIRE_ICMP_TIME_EXCEEDED = 11,
    WIRE_ICMP_PARAMETER_PROBLEM = 12,
};

enum wire_icmp_unreachable {
    WIRE_ICMP_UNREACHABLE_NET = 0,
    WIRE_ICMP_UNREACHABLE_HOST = 1,
    WIRE_ICMP_UNREACHABLE_PROTOCOL = 2,
    WIRE_ICMP_UNREACHABLE_PORT = 3,
    WIRE_ICMP_UNREACHABLE_FRAG_NEEDED = 4,
    WIRE_ICMP_UNREACHABLE_SOURCE_ROUTE = 5,
    WIRE_ICMP_UNREACHABLE_ADMIN = 13,
};

struct wire_icmp {
    uint8_t type, code;
    uint16_t id, sequence; /* echo and echo reply; else 0 */
    uint16_t mtu;          /* unreachable, frag needed; 0 from routers older than RFC 1191 */
    uint8_t pointer;       /* parameter problem */
};

/* WIRE_ICMP_SIZE: what follows is the echo's data or the quoted packet. -EINVAL: cut short. */
int wire_icmp_parse(const uint8_t *bytes, size_t size, struct wire_icmp *ret);
bool wire_icmp_checksum_ok(const uint8_t *bytes, size_t size);
/* Is it one of the error messages, in answer to which none may be sent (RFC 1122 3.2.2)? */
bool wire_icmp_is_error(uint8_t type);

/* Writes 8 bytes with checksum 0; append the data, then seal the whole message. */
size_t wire_icmp_emit(uint8_t *bytes, const struct wire_icmp *icmp);
void wire_icmp_seal(uint8_t *bytes, size_t size);

#endif
