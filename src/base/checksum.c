/*
 * The Internet checksum. Sums native-endian words (RFC 1071 section 2 (B): byte order does not
 * matter until the end) with the carries collected in 64 bits and folded back.
 */
#include "base/checksum.h"

#include <string.h>

/* Ones' complement addition in 64 bits: the carry comes back in at the bottom. */
static inline uint64_t add64(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b;
    return sum + (sum < b);
}

static uint16_t fold64(uint64_t sum)
{
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 32) + (sum & 0xffffffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    return (uint16_t)sum;
}

static inline uint16_t swap_to_host(uint16_t memory_order)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap16(memory_order);
#else
    return memory_order;
#endif
}

static inline uint16_t to_memory_order(uint16_t host_order)
{
    return swap_to_host(host_order); /* its own inverse */
}

static inline uint64_t load32(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* The sum of a run that starts at an even offset; a last odd byte is padded with zero. */
static inline uint64_t sum_run(const uint8_t *bytes, size_t size)
{
    /* Four accumulators of 32-bit words: no carry is lost before 2^32 words. */
    uint64_t a = 0, b = 0, c = 0, d = 0;
    while (size >= 32) {
        a += load32(bytes);
        b += load32(bytes + 4);
        c += load32(bytes + 8);
        d += load32(bytes + 12);
        a += load32(bytes + 16);
        b += load32(bytes + 20);
        c += load32(bytes + 24);
        d += load32(bytes + 28);
        bytes += 32;
        size -= 32;
    }
    while (size >= 4) {
        a += load32(bytes);
        bytes += 4;
        size -= 4;
    }
    if (size > 0) {
        uint8_t last[4] = {0};
        memcpy(last, bytes, size);
        b += load32(last);
    }
    return add64(add64(a, b), add64(c, d));
}

void checksum_add(struct checksum *sum, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    uint64_t run = sum_run(bytes, size);
    if (sum->odd) {
        /* The run's bytes stand in the other half of their words (RFC 1071 section 2 (B)). */
        uint16_t folded = fold64(run);
        run = (uint16_t)(folded << 8 | folded >> 8);
    }
    sum->sum = add64(sum->sum, run);
    sum->odd ^= (size & 1) != 0;
}

void checksum_add_u16(struct checksum *sum, uint16_t value)
{
    sum->sum = add64(sum->sum, to_memory_order(value));
}

void checksum_add_u32(struct checksum *sum, uint32_t value)
{
    checksum_add_u16(sum, (uint16_t)(value >> 16));
    checksum_add_u16(sum, (uint16_t)value);
}

void checksum_add_pseudo(struct checksum *sum, const struct foyer_addr *src,
                         const struct foyer_addr *dst, uint8_t protocol, uint32_t size)
{
    /* The two layouts differ in the order and width of fields only, which sums don't see. */
    if (foyer_addr_is_v4(src)) {
        sum->sum = add64(sum->sum, load32(src->bytes + 12) + load32(dst->bytes + 12));
    } else {
        sum->sum = add64(sum->sum, sum_run(src->bytes, 16));
        sum->sum = add64(sum->sum, sum_run(dst->bytes, 16));
    }
    checksum_add_u32(sum, size);
    checksum_add_u16(sum, protocol);
}

uint16_t checksum_fold(const struct checksum *sum)
{
    return swap_to_host(fold64(sum->sum));
}

uint16_t checksum_finish(const struct checksum *sum)
{
    return (uint16_t)~checksum_fold(sum);
}

uint16_t checksum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word)
{
    uint32_t sum = (uint16_t)~checksum;
    sum += (uint16_t)~old_word;
    sum += new_word;
    sum = (sum >> 16) + (sum & 0xffffu);
    sum = (sum >> 16) + (sum & 0xffffu);
    return (uint16_t)~sum;
}

uint16_t checksum_of(const void *bytes, size_t size)
{
    struct checksum sum;
    checksum_init(&sum);
    checksum_add(&sum, bytes, size);
    return checksum_finish(&sum);
}
