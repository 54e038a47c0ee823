/* SipHash-2-4 after the paper "SipHash: a fast short-input PRF", section 2. */
#include "base/siphash.h"

#include "base/bytes.h"

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    siphash_round(v);
    siphash_round(v);
    v[0] ^= word;
}

struct siphash_key siphash_key_from(const uint8_t bytes[16])
{
    return (struct siphash_key){load_le64(bytes), load_le64(bytes + 8)};
}

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t v[4];
    size_t rest = size;

    siphash_begin(key, v);
    for (; rest >= 8; rest -= 8, at += 8)
        sip_word(v, load_le64(at));

    uint8_t last[8] = {0};
    if (rest > 0)
        memcpy(last, at, rest);
    last[7] = (uint8_t)size;
    sip_word(v, load_le64(last));

    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        siphash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
