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

/*
 * Runs of payload are summed, and copied where they are on their way to a ring, many bytes at a
 * time: as 32-bit words in 64-bit lanes, so that no carry is lost before 2^32 words. The compiler's
 * vectors serve every machine that has some; AVX2 is used where the processor is found to have it.
 */
#define RUN_MIN 128u /* below it the plain loop is as quick */

/* The CHECKSUM_NO_* are for tests and for what has no such processor to ask (freestanding). */
#if (defined(__SSE2__) || defined(__ARM_NEON)) && !defined(CHECKSUM_NO_LANES)
#define HAVE_LANES 1
#if defined(__x86_64__) && __STDC_HOSTED__ && !defined(CHECKSUM_NO_AVX2)
#define HAVE_AVX2 1
#endif
#endif

#define LOW_WORDS 0xffffffffu

#ifdef HAVE_LANES
typedef uint64_t lanes __attribute__((vector_size(16)));

static inline lanes load_lanes(const uint8_t *bytes)
{
    lanes value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* size is a multiple of 32. */
static uint64_t sum_lanes(const uint8_t *bytes, size_t size)
{
    lanes a = {0}, b = {0}, c = {0}, d = {0};
    for (const uint8_t *end = bytes + size; bytes < end; bytes += 32) {
        lanes x = load_lanes(bytes), y = load_lanes(bytes + 16);
        a += x & LOW_WORDS;
        b += x >> 32;
        c += y & LOW_WORDS;
        d += y >> 32;
    }
    a = a + b + (c + d);
    return add64(a[0], a[1]);
}

static uint64_t sum_copy_lanes(uint8_t *to, const uint8_t *bytes, size_t size)
{
    lanes a = {0}, b = {0}, c = {0}, d = {0};
    for (const uint8_t *end = bytes + size; bytes < end; bytes += 32, to += 32) {
        lanes x = load_lanes(bytes), y = load_lanes(bytes + 16);
        memcpy(to, &x, sizeof(x));
        memcpy(to + 16, &y, sizeof(y));
        a += x & LOW_WORDS;
        b += x >> 32;
        c += y & LOW_WORDS;
        d += y >> 32;
    }
    a = a + b + (c + d);
    return add64(a[0], a[1]);
}
#endif

#ifdef HAVE_AVX2
typedef uint64_t wide_lanes __attribute__((vector_size(32)));

__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *bytes, size_t size)
{
    wide_lanes a = {0}, b = {0}, c = {0}, d = {0}, x, y;
    const uint8_t *end = bytes + size;
    for (; end - bytes >= 64; bytes += 64) {
        memcpy(&x, bytes, sizeof(x));
        memcpy(&y, bytes + 32, sizeof(y));
        a += x & LOW_WORDS;
        b += x >> 32;
        c += y & LOW_WORDS;
        d += y >> 32;
    }
    if (bytes < end) {
        memcpy(&x, bytes, sizeof(x));
        a += x & LOW_WORDS;
        b += x >> 32;
    }
    a = a + b + (c + d);
    return add64(add64(a[0], a[1]), add64(a[2], a[3]));
}

__attribute__((target("avx2"))) static uint64_t sum_copy_avx2(uint8_t *to, const uint8_t *bytes,
                                                              size_t size)
{
    wide_lanes a = {0}, b = {0}, c = {0}, d = {0}, x, y;
    const uint8_t *end = bytes + size;
    for (; end - bytes >= 64; bytes += 64, to += 64) {
        memcpy(&x, bytes, sizeof(x));
        memcpy(&y, bytes + 32, sizeof(y));
        memcpy(to, &x, sizeof(x));
        memcpy(to + 32, &y, sizeof(y));
        a += x & LOW_WORDS;
        b += x >> 32;
        c += y & LOW_WORDS;
        d += y >> 32;
    }
    if (bytes < end) {
        memcpy(&x, bytes, sizeof(x));
        memcpy(to, &x, sizeof(x));
        a += x & LOW_WORDS;
        b += x >> 32;
    }
    a = a + b + (c + d);
    return add64(add64(a[0], a[1]), add64(a[2], a[3]));
}

static inline bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#endif

/* The sum of size bytes, a multiple of 32. */
static uint64_t sum_blocks(const uint8_t *bytes, size_t size)
{
#ifdef HAVE_AVX2
    if (has_avx2())
        return sum_avx2(bytes, size);
#endif
#ifdef HAVE_LANES
    return sum_lanes(bytes, size);
#else
    uint64_t a = 0, b = 0;
    for (const uint8_t *end = bytes + size; bytes < end; bytes += 16) {
        a += load32(bytes);
        b += load32(bytes + 4);
        a += load32(bytes + 8);
        b += load32(bytes + 12);
    }
    return add64(a, b);
#endif
}

/* And copies them. */
static uint64_t sum_copy_blocks(uint8_t *to, const uint8_t *bytes, size_t size)
{
#ifdef HAVE_AVX2
    if (has_avx2())
        return sum_copy_avx2(to, bytes, size);
#endif
#ifdef HAVE_LANES
    return sum_copy_lanes(to, bytes, size);
#else
    memcpy(to, bytes, size);
    return sum_blocks(to, size);
#endif
}

/* The sum of a run that starts at an even offset; a last odd byte is padded with zero. */
static inline uint64_t sum_run(const uint8_t *bytes, size_t size)
{
    uint64_t a = 0, b = 0;
    if (size >= RUN_MIN) {
        size_t blocks = size & ~(size_t)31;
        b = sum_blocks(bytes, blocks);
        bytes += blocks;
        size -= blocks;
    }
    for (; size >= 16; size -= 16, bytes += 16) {
        a += load32(bytes) + load32(bytes + 4);
        a += load32(bytes + 8) + load32(bytes + 12);
    }
    for (; size >= 4; size -= 4, bytes += 4)
        a += load32(bytes);
    if (size > 0) {
        uint8_t last[4] = {0};
        memcpy(last, bytes, size);
        a += load32(last);
    }
    return add64(a, b);
}

/* A run joins the sum; the bytes before it may be odd in number. */
static void add_run(struct checksum *sum, uint64_t run, size_t size)
{
    if (sum->odd) {
        /* The run's bytes stand in the other half of their words (RFC 1071 section 2 (B)). */
        uint16_t folded = fold64(run);
        run = (uint16_t)(folded << 8 | folded >> 8);
    }
    sum->sum = add64(sum->sum, run);
    sum->odd ^= (size & 1) != 0;
}

void checksum_add(struct checksum *sum, const void *bytes, size_t size)
{
    if (size > 0)
        add_run(sum, sum_run(bytes, size), size);
}

void checksum_add_copy(struct checksum *sum, void *to, const void *from, size_t size)
{
    size_t blocks = size >= RUN_MIN ? size & ~(size_t)31 : 0;
    uint64_t run = 0;

    if (size == 0)
        return;
    if (blocks > 0)
        run = sum_copy_blocks(to, from, blocks);
    if (size > blocks) {
        memcpy((uint8_t *)to + blocks, (const uint8_t *)from + blocks, size - blocks);
        run = add64(run, sum_run((const uint8_t *)to + blocks, size - blocks));
    }
    add_run(sum, run, size);
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
