/*
 * Types that every part of foyer shares: time, addresses, endpoints, packets.
 *
 * Nothing here allocates, locks or makes a system call. All functions are pure.
 */
#ifndef FOYER_TYPES_H
#define FOYER_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "foyer/features.h"

#if defined(__GNUC__)
#define FOYER_API __attribute__((visibility("default")))
#else
#define FOYER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Monotonic time in nanoseconds, given by the caller; any epoch. 0 is a valid time. */
typedef uint64_t foyer_time_ns;

#define FOYER_TIME_NEVER UINT64_MAX
#define FOYER_NS_PER_US 1000ULL
#define FOYER_NS_PER_MS 1000000ULL
#define FOYER_NS_PER_S 1000000000ULL

/*
 * One address type for both families. IPv4 is held in its IPv4-mapped form ::ffff:a.b.c.d
 * (RFC 4291 section 2.5.5.2), network byte order. All zero bytes: the IPv6 wildcard ::.
 * The IPv4 wildcard is ::ffff:0.0.0.0.
 */
struct foyer_addr {
    uint8_t bytes[16];
};

/* An address and a port. The port is in host byte order. */
struct foyer_endpoint {
    struct foyer_addr addr;
    uint16_t port;
};

static inline bool foyer_addr_is_v4(const struct foyer_addr *addr)
{
#if FOYER_WITH_IPV6 == 0
    /* The library lets no other address in. */
    (void)addr;
    return true;
#else
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(addr->bytes, mapped, sizeof(mapped)) == 0;
#endif
}

static inline struct foyer_addr foyer_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    struct foyer_addr addr = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}};
    return addr;
}

static inline bool foyer_addr_eq(const struct foyer_addr *a, const struct foyer_addr *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* The wildcard of either family. */
static inline bool foyer_addr_is_any(const struct foyer_addr *addr)
{
    static const uint8_t zero[16];
    if (foyer_addr_is_v4(addr))
        return memcmp(addr->bytes + 12, zero, 4) == 0;
    return memcmp(addr->bytes, zero, 16) == 0;
}

/* 127.0.0.0/8 (RFC 1122 section 3.2.1.3) or ::1 (RFC 4291 section 2.5.3). */
static inline bool foyer_addr_is_loopback(const struct foyer_addr *addr)
{
    static const uint8_t one[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    if (foyer_addr_is_v4(addr))
        return addr->bytes[12] == 127;
    return memcmp(addr->bytes, one, 16) == 0;
}

/* 224.0.0.0/4 or ff00::/8. */
static inline bool foyer_addr_is_multicast(const struct foyer_addr *addr)
{
    if (foyer_addr_is_v4(addr))
        return (addr->bytes[12] & 0xf0) == 0xe0;
    return addr->bytes[0] == 0xff;
}

/* fe80::/10 (RFC 4291 section 2.5.6). */
static inline bool foyer_addr_is_link_local_v6(const struct foyer_addr *addr)
{
    return addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

/* A run of bytes that somebody else owns. */
struct foyer_span {
    const uint8_t *base;
    size_t size;
};

#define FOYER_PACKET_SPANS_MAX 4

/* Offload facts, in the sense of virtio_net_hdr. */
enum foyer_packet_flags {
    /* In: the link has verified the transport checksum, or the bytes never left this machine. */
    FOYER_PACKET_CHECKSUM_VALID = 1u << 0,
    /*
     * The transport checksum field holds only the pseudo-header sum; whoever puts the packet
     * on a real wire sums from checksum_start to the end and stores at
     * checksum_start + checksum_offset. On input this is taken as "valid" (as Linux does
     * between virtual machines).
     */
    FOYER_PACKET_CHECKSUM_PARTIAL = 1u << 1,
};

enum foyer_gso_type {
    FOYER_GSO_NONE = 0,
    FOYER_GSO_TCPV4 = 1, /* payload is cut into gso_size pieces by the link, headers repeated */
    FOYER_GSO_TCPV6 = 2,
    FOYER_GSO_UDP = 3,
};

/*
 * One Ethernet frame (without FCS), possibly a super-segment larger than the MTU.
 *
 * Shape: spans[0] holds at least all headers up to and including the transport header (on input
 * a frame whose headers cross into spans[1] is dropped as malformed; links linearise). The
 * payload may be spread over the rest. The spans are borrowed: on input until the call returns,
 * on output until the next call on the same host.
 */
struct foyer_packet {
    struct foyer_span spans[FOYER_PACKET_SPANS_MAX];
    uint8_t span_count;
    uint8_t flags;            /* enum foyer_packet_flags */
    uint8_t gso_type;         /* enum foyer_gso_type */
    uint16_t gso_size;        /* payload bytes per segment when gso_type is set */
    uint16_t header_size;     /* bytes of all headers, Ethernet included; 0 when not known */
    uint16_t checksum_start;  /* offset from the frame's first byte */
    uint16_t checksum_offset; /* of the checksum field from checksum_start */
    foyer_time_ns arrival_ns; /* in: when the link received it; round trips are measured by it */
};

static inline size_t foyer_packet_size(const struct foyer_packet *packet)
{
    size_t size = 0;
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++)
        size += packet->spans[i].size;
    return size;
}

/* The caller's memory. resize is not needed; alloc returns NULL when there is none. */
struct foyer_allocator {
    void *(*alloc)(void *context, size_t size); /* aligned for any object, contents undefined */
    void (*free)(void *context, void *memory, size_t size); /* memory may be NULL */
    void *context;
};

#ifdef __cplusplus
}
#endif
#endif
