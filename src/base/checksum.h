/*
 * The Internet checksum (RFC 1071) over bytes that come in pieces of any length.
 *
 * To fill in: init, add pseudo-header and bytes with the checksum field 0, store_be16 what
 * finish returns. To verify: add everything as received; finish returns 0 where it is right.
 */
#ifndef FOYER_BASE_CHECKSUM_H
#define FOYER_BASE_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "foyer/types.h"

struct checksum {
    uint64_t sum; /* of 16-bit words in memory order, partly folded */
    bool odd;     /* an odd number of bytes was added so far */
};

static inline void checksum_init(struct checksum *sum)
{
    sum->sum = 0;
    sum->odd = false;
}

#define CHECKSUM_BLOCKS_MIN 128u /* below it plain words are as quick */

/* Ones' complement addition in 64 bits: the carry comes back in at the bottom. */
static inline uint64_t checksum_add64(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b;
    return sum + (sum < b);
}

static inline uint64_t checksum_load32(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static inline uint16_t checksum_fold64(uint64_t sum)
{
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    return (uint16_t)sum;
}

/* Between host order and the order in memory. */
static inline uint16_t checksum_swap(uint16_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap16(value);
#else
    return value;
#endif
}

/* The sum of size bytes, a multiple of 32. */
uint64_t checksum_blocks(const uint8_t *bytes, size_t size);

/* The sum of a run that starts at an even offset; a last odd byte is padded with zero. */
static inline uint64_t checksum_run(const uint8_t *bytes, size_t size)
{
    uint64_t run = 0, word;
    if (size >= CHECKSUM_BLOCKS_MIN) {
        size_t blocks = size & ~(size_t)31;
        run = checksum_blocks(bytes, blocks);
        bytes += blocks;
        size -= blocks;
    }
    for (; size >= 32; size -= 32, bytes += 32) {
        uint64_t words[4];
        memcpy(words, bytes, sizeof(words));
        run = checksum_add64(run, words[0]);
        run = checksum_add64(run, words[1]);
        run = checksum_add64(run, words[2]);
        run = checksum_add64(run, words[3]);
    }
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&word, bytes, sizeof(word));
        run = checksum_add64(run, word);
    }
    if (size >= 4) {
        run = checksum_add64(run, checksum_load32(bytes));
        size -= 4;
        bytes += 4;
    }
    if (size > 0) {
        uint8_t last[4] = {0};
        memcpy(last, bytes, size);
        run = checksum_add64(run, checksum_load32(last));
    }
    return run;
}

/* The same of a few bytes, a multiple of 4, whose number the compiler knows. */
static inline __attribute__((always_inline)) uint64_t checksum_fixed(const uint8_t *bytes,
                                                                     size_t size)
{
    uint64_t run = 0, word;
    for (; size >= 8; size -= 8, bytes += 8) {
        memcpy(&word, bytes, sizeof(word));
        run = checksum_add64(run, word);
    }
    return size > 0 ? checksum_add64(run, checksum_load32(bytes)) : run;
}

/* A run joins the sum; the bytes before it may be odd in number. */
static inline void checksum_add_run(struct checksum *sum, uint64_t run, size_t size)
{
    if (sum->odd) {
        /* The run's bytes stand in the other half of their words (RFC 1071 section 2 (B)). */
        uint16_t folded = checksum_fold64(run);
        run = (uint16_t)(folded << 8 | folded >> 8);
    }
    sum->sum = checksum_add64(sum->sum, run);
    sum->odd ^= (size & 1) != 0;
}

static inline void checksum_add(struct checksum *sum, const void *bytes, size_t size)
{
    checksum_add_run(sum, checksum_run(bytes, size), size);
}
/* The same of bytes that are copied in one pass; to and from do not overlap. */
void checksum_add_copy(struct checksum *sum, void *to, const void *from, size_t size);

/* Adds a host-order number as the wire would carry it; an even number of bytes before it. */
static inline void checksum_add_u16(struct checksum *sum, uint16_t value)
{
    sum->sum = checksum_add64(sum->sum, checksum_swap(value));
}

static inline void checksum_add_u32(struct checksum *sum, uint32_t value)
{
    sum->sum = checksum_add64(sum->sum, (uint64_t)checksum_swap((uint16_t)(value >> 16)) +
                                            checksum_swap((uint16_t)value));
}

/*
 * Pseudo-header of RFC 9293 section 3.1 (IPv4; both addresses mapped) or RFC 8200 section 8.1.
 * size: transport header and payload. Both addresses are of one family.
 */
static inline void checksum_add_pseudo(struct checksum *sum, const struct foyer_addr *src,
                                       const struct foyer_addr *dst, uint8_t protocol,
                                       uint32_t size)
{
    /* The two layouts differ in the order and width of fields only, which sums don't see. */
    if (foyer_addr_is_v4(src)) {
        sum->sum = checksum_add64(sum->sum, checksum_load32(src->bytes + 12) +
                                                checksum_load32(dst->bytes + 12));
    } else {
        sum->sum = checksum_add64(sum->sum, checksum_run(src->bytes, 16));
        sum->sum = checksum_add64(sum->sum, checksum_run(dst->bytes, 16));
    }
    checksum_add_u32(sum, size);
    checksum_add_u16(sum, protocol);
}

/* The sum folded to 16 bits, not complemented, host order (what CHECKSUM_PARTIAL stores). */
static inline uint16_t checksum_fold(const struct checksum *sum)
{
    return checksum_swap(checksum_fold64(sum->sum));
}

/* The complement of the folded sum, host order: the value of the checksum field. */
static inline uint16_t checksum_finish(const struct checksum *sum)
{
    return (uint16_t)~checksum_fold(sum);
}

/*
 * RFC 1624 equation 3: the field's new value after a 16-bit word of what it covers changed.
 * All in host order.
 */
uint16_t checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word);

/* checksum_finish over one run of bytes. */
uint16_t checksum_of(const void *bytes, size_t size);

#endif
