/* TCP header and options (RFC 9293 section 3.1 and 3.2, RFC 7323, RFC 2018, RFC 7413,
 * RFC 9768). */
#ifndef FOYER_WIRE_TCP_H
#define FOYER_WIRE_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/seq.h"

#define WIRE_TCP_SIZE 20
#define WIRE_TCP_SIZE_MAX 60
#define WIRE_TCP_OPTIONS_MAX 40
#define WIRE_TCP_CHECKSUM_OFFSET 16
#define WIRE_TCP_SACK_MAX 4
#define WIRE_TCP_ACCECN_MAX 3
#define WIRE_TCP_FASTOPEN_MIN 4 /* bytes of a cookie, an even number of them */
#define WIRE_TCP_FASTOPEN_MAX 16
#define WIRE_TCP_WINDOW_SCALE_MAX 14 /* RFC 7323 section 2.3 */
/* NOP, NOP, kind 8, length 10: what timestamps without other options begin with. */
#define WIRE_TCP_TIMESTAMPS_ALONE 0x0101080au

enum wire_tcp_flags {
    WIRE_TCP_FIN = 1u << 0,
    WIRE_TCP_SYN = 1u << 1,
    WIRE_TCP_RST = 1u << 2,
    WIRE_TCP_PSH = 1u << 3,
    WIRE_TCP_ACK = 1u << 4,
    WIRE_TCP_URG = 1u << 5,
    WIRE_TCP_ECE = 1u << 6,
    WIRE_TCP_CWR = 1u << 7,
    WIRE_TCP_AE = 1u << 8, /* AccECN, formerly NS */
};

struct wire_tcp {
    uint16_t src_port, dst_port;
    seq_t seq, ack;
    uint8_t header_size; /* 20..60; set by parse; emit computes it */
    uint16_t flags;      /* enum wire_tcp_flags */
    uint16_t window;     /* as on the wire, not scaled */
    uint16_t checksum;   /* set by parse; emit writes 0 */
    uint16_t urgent;
};

struct wire_tcp_sack {
    seq_t left, right; /* bytes left .. right - 1 */
};

/* All zero: no options. */
struct wire_tcp_options {
    bool has_mss, has_window_scale, has_sack_permitted, has_timestamps;
    uint16_t mss;
    uint8_t window_scale; /* parse: 14 where the peer asked for more (RFC 7323 section 2.3) */
    uint32_t timestamp_value, timestamp_echo;
    uint8_t sack_count;
    struct wire_tcp_sack sack[WIRE_TCP_SACK_MAX];
    /* RFC 7413 section 4.1.1. size 0: a request for a cookie. Parse: absent where the size is
     * wrong. Experimental: as option 254 with the magic of RFC 6994, which came before kind 34. */
    bool has_fastopen, fastopen_is_experimental;
    uint8_t fastopen_size;
    uint8_t fastopen[WIRE_TCP_FASTOPEN_MAX];
    /* RFC 9768 section 3.2.3: counters of 24 bits, as many as there are. Order 0 has those of ECT(0),
     * CE and ECT(1), order 1 of ECT(1), CE and ECT(0). */
    bool has_accecn;
    uint8_t accecn_order, accecn_count;
    uint32_t accecn[WIRE_TCP_ACCECN_MAX];
};

/*
 * The header's size, options included. size: contiguous bytes. -EINVAL: cut short or a data
 * offset below 5 or beyond size.
 */
int wire_tcp_parse(const uint8_t *bytes, size_t size, struct wire_tcp *ret);

/*
 * Reads the options at bytes + WIRE_TCP_SIZE, size = header_size - WIRE_TCP_SIZE. Returns size.
 * Unknown options are skipped (RFC 9293 section 3.1, MUST-6); an option length below 2, over the
 * end, or wrong for a known option is -EINVAL (MUST-7): drop the segment. An option given twice
 * counts the last time.
 */
int wire_tcp_options_parse(const uint8_t *bytes, size_t size, struct wire_tcp_options *ret);

/* Bytes that emit writes: a multiple of 4, at most 40. */
size_t wire_tcp_options_size(const struct wire_tcp_options *options);
/* How many SACK blocks fit beside the other options (RFC 2018 section 3; 3 with timestamps). */
uint8_t wire_tcp_sack_room(const struct wire_tcp_options *options);

/* Writes the fixed header of one that is header_size bytes long. */
static inline void wire_tcp_emit_fixed(uint8_t *bytes, const struct wire_tcp *tcp,
                                       size_t header_size)
{
    store_be16(bytes, tcp->src_port);
    store_be16(bytes + 2, tcp->dst_port);
    store_be32(bytes + 4, tcp->seq.value);
    store_be32(bytes + 8, tcp->ack.value);
    store_be32(bytes + 12,
               ((uint32_t)header_size / 4 << 12 | (tcp->flags & 0x1ffu)) << 16 | tcp->window);
    store_be32(bytes + 16, tcp->urgent); /* the checksum is 0 */
}

/* Header and timestamps alone, as RFC 7323 appendix A lays them out. */
static inline size_t wire_tcp_emit_with_timestamps(uint8_t *bytes, const struct wire_tcp *tcp,
                                                   uint32_t value, uint32_t echo)
{
    wire_tcp_emit_fixed(bytes, tcp, WIRE_TCP_SIZE + 12);
    store_be32(bytes + 20, WIRE_TCP_TIMESTAMPS_ALONE);
    store_be32(bytes + 24, value);
    store_be32(bytes + 28, echo);
    return WIRE_TCP_SIZE + 12;
}

/*
 * Writes header and options, checksum 0, and returns the size. options may be NULL. SACK blocks
 * beyond wire_tcp_sack_room are left out.
 */
size_t wire_tcp_emit(uint8_t *bytes, const struct wire_tcp *tcp,
                     const struct wire_tcp_options *options);

#endif
