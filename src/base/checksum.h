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

void checksum_add(struct checksum *sum, const void *bytes, size_t size);
/* The same of bytes that are copied in one pass; to and from do not overlap. */
void checksum_add_copy(struct checksum *sum, void *to, const void *from, size_t size);

/* Adds a host-order number as the wire would carry it; an even number of bytes before it. */
void checksum_add_u16(struct checksum *sum, uint16_t value);
void checksum_add_u32(struct checksum *sum, uint32_t value);

/*
 * Pseudo-header of RFC 9293 section 3.1 (IPv4; both addresses mapped) or RFC 8200 section 8.1.
 * size: transport header and payload. Both addresses are of one family.
 */
void checksum_add_pseudo(struct checksum *sum, const struct foyer_addr *src,
                         const struct foyer_addr *dst, uint8_t protocol, uint32_t size);

/* The sum folded to 16 bits, not complemented, host order (what CHECKSUM_PARTIAL stores). */
uint16_t checksum_fold(const struct checksum *sum);

/* The complement of the folded sum, host order: the value of the checksum field. */
uint16_t checksum_finish(const struct checksum *sum);

/*
 * RFC 1624 equation 3: the field's new value after a 16-bit word of what it covers changed.
 * All in host order.
 */
uint16_t checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word);

/* checksum_finish over one run of bytes. */
uint16_t checksum_of(const void *bytes, size_t size);

#endif
