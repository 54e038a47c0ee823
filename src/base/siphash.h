/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash whose outputs an outsider can't
 * predict. Keys ISNs (RFC 6528), ephemeral ports (RFC 6056) and hash tables.
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

#endif
