/*
 * The Internet checksum. Sums native-endian words (RFC 1071 section 2 (B): byte order does not
 * matter until the end) with the carries collected in 64 bits and folded back.
 */
#include "base/checksum.h"

#include <string.h>

/*
 * Runs of payload are summed, and copied where they are on their way to a ring, many bytes at a
 * time: as 32-bit words in 64-bit lanes, so that no carry is lost before 2^32 words. The compiler's
 * vectors serve every machine that has some; AVX2 is used where the processor is found to have it.
 *
 * The CHECKSUM_NO_* are for tests and for what has no such processor to ask (freestanding).
 */
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
    return checksum_add64(a[0], a[1]);
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
    return checksum_add64(a[0], a[1]);
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
    return checksum_add64(checksum_add64(a[0], a[1]), checksum_add64(a[2], a[3]));
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
    return checksum_add64(checksum_add64(a[0], a[1]), checksum_add64(a[2], a[3]));
}

static inline bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#endif

uint64_t checksum_blocks(const uint8_t *bytes, size_t size)
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
        a += checksum_load32(bytes);
        b += checksum_load32(bytes + 4);
        a += checksum_load32(bytes + 8);
        b += checksum_load32(bytes + 12);
    }
    return checksum_add64(a, b);
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
    return checksum_blocks(to, size);
#endif
}

/* The same word by word, for what is short. */
static inline uint64_t sum_copy_words(uint8_t *to, const uint8_t *bytes, size_t size)
{
    uint64_t run = 0, words[4], last = 0;

    for (; size >= sizeof(words); size -= sizeof(words), bytes += sizeof(words)) {
        memcpy(words, bytes, sizeof(words));
        memcpy(to, words, sizeof(words));
        run = checksum_add64(run, words[0]);
        run = checksum_add64(run, words[1]);
        run = checksum_add64(run, words[2]);
        run = checksum_add64(run, words[3]);
        to += sizeof(words);
    }
    for (; size >= 8; size -= 8, bytes += 8, to += 8) {
        memcpy(words, bytes, 8);
        memcpy(to, words, 8);
        run = checksum_add64(run, words[0]);
    }
    if (size > 0) {
        memcpy(&last, bytes, size);
        memcpy(to, &last, size);
    }
    return checksum_add64(run, last);
}

void checksum_add_copy(struct checksum *sum, void *to, const void *from, size_t size)
{
    size_t blocks = size >= CHECKSUM_BLOCKS_MIN ? size & ~(size_t)31 : 0;
    uint64_t run = 0;

    if (blocks > 0)
        run = sum_copy_blocks(to, from, blocks);
    run = checksum_add64(
        run, sum_copy_words((uint8_t *)to + blocks, (const uint8_t *)from + blocks, size - blocks));
    checksum_add_run(sum, run, size);
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
