/* SipHash-2-4 after the paper "SipHash: a fast short-input PRF", section 2. */
#include "base/siphash.h"

#include "base/bytes.h"

static inline uint64_t rotate_left(uint64_t value, unsigned count)
{
    return value << count | value >> (64 - count);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[0] = rotate_left(v[0], 32);
    v[2] += v[3];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[2] = rotate_left(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

struct siphash_key siphash_key_from(const uint8_t bytes[16])
{
    return (struct siphash_key){load_le64(bytes), load_le64(bytes + 8)};
}

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t v[4] = {
        key->k0 ^ 0x736f6d6570736575ULL,
        key->k1 ^ 0x646f72616e646f6dULL,
        key->k0 ^ 0x6c7967656e657261ULL,
        key->k1 ^ 0x7465646279746573ULL,
    };
    size_t rest = size;
    for (; rest >= 8; rest -= 8, at += 8)
        sip_word(v, load_le64(at));

    uint8_t last[8] = {0};
    if (rest > 0)
        memcpy(last, at, rest);
    last[7] = (uint8_t)size;
    sip_word(v, load_le64(last));

    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
