/* xoshiro256**, seeded by splitmix64 as its authors advise. */
#include "base/random.h"

#include <string.h>

static inline uint64_t rotate_left(uint64_t value, unsigned count)
{
    return value << count | value >> (64 - count);
}

void random_init(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        random->state[i] = z ^ z >> 31;
    }
}

uint64_t random_u64(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    /* Values below 2^64 mod bound would make the small results more likely. */
    uint64_t unfair = (0 - bound) % bound;
    uint64_t value;
    do {
        value = random_u64(random);
    } while (value < unfair);
    return value % bound;
}

bool random_chance_ppm(struct random *random, uint32_t ppm)
{
    return random_below(random, 1000000) < ppm;
}

void random_fill(struct random *random, void *bytes, size_t size)
{
    uint8_t *at = bytes;
    while (size > 0) {
        uint64_t value = random_u64(random);
        size_t count = size < sizeof(value) ? size : sizeof(value);
        memcpy(at, &value, count);
        at += count;
        size -= count;
    }
}
