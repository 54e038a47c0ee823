/*
 * SipHash (Aumasson and Bernstein, 2012): a keyed hash whose outputs an outsider can't predict.
 * SipHash-2-4 keys what an outsider sees or may guess at: ISNs (RFC 6528), timestamps, ephemeral
 * ports (RFC 6056). SipHash-1-3, which has fewer rounds, is for hash tables, whose order nobody is
 * shown; Linux and several languages' tables use it so.
 */
#ifndef FOYER_BASE_SIPHASH_H
#define FOYER_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

/* The key from 16 bytes, as the reference implementation reads them. */
struct siphash_key siphash_key_from(const uint8_t bytes[16]);

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t size);

static inline void siphash_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0];
    v[0] = v[0] << 32 | v[0] >> 32;
    v[2] += v[3];
    v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2];
    v[0] += v[3];
    v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0];
    v[2] += v[1];
    v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2];
    v[2] = v[2] << 32 | v[2] >> 32;
}

/* The four words that a hash begins with. */
static inline void siphash_begin(const struct siphash_key *key, uint64_t ret_v[4])
{
    ret_v[0] = key->k0 ^ 0x736f6d6570736575ULL;
    ret_v[1] = key->k1 ^ 0x646f72616e646f6dULL;
    ret_v[2] = key->k0 ^ 0x6c7967656e657261ULL;
    ret_v[3] = key->k1 ^ 0x7465646279746573ULL;
}

static inline uint64_t siphash_words(const struct siphash_key *key, const uint64_t *words,
                                     size_t count, unsigned rounds, unsigned last_rounds)
{
    uint64_t v[4];
    siphash_begin(key, v);
    for (size_t i = 0; i < count; i++) {
        v[3] ^= words[i];
        for (unsigned round = 0; round < rounds; round++)
            siphash_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (unsigned round = 0; round < last_rounds; round++)
        siphash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/*
 * SipHash-1-3 of a string in words: its bytes in little-endian order, zeros up to the last word's
 * last byte, and in that the string's size modulo 256.
 */
static inline uint64_t siphash13(const struct siphash_key *key, const uint64_t *words, size_t count)
{
    return siphash_words(key, words, count, 1, 3);
}

/* SipHash-2-4 of the same. */
static inline uint64_t siphash24(const struct siphash_key *key, const uint64_t *words, size_t count)
{
    return siphash_words(key, words, count, 2, 4);
}

#endif
