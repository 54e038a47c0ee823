/*
 * xoshiro256** (Blackman and Vigna): a small deterministic generator for simulation and for
 * choices that need no secrecy. What an outsider must not guess comes from siphash with the
 * host's secret.
 */
#ifndef FOYER_BASE_RANDOM_H
#define FOYER_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_init(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
/* 0 .. bound - 1, without bias; bound is not 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* True with the given probability in parts per million. */
bool random_chance_ppm(struct random *random, uint32_t ppm);
void random_fill(struct random *random, void *bytes, size_t size);

#endif
