/*
 * Sequence numbers modulo 2^32 (RFC 9293 section 3.4). A type of its own, so that they are
 * compared through these functions and in no other way. Comparison is meaningful for numbers
 * less than 2^31 apart.
 */
#ifndef FOYER_BASE_SEQ_H
#define FOYER_BASE_SEQ_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t value;
} seq_t;

#define SEQ(number) ((seq_t){(number)})

static inline seq_t seq_add(seq_t seq, uint32_t count)
{
    return (seq_t){seq.value + count};
}

static inline seq_t seq_back(seq_t seq, uint32_t count)
{
    return (seq_t){seq.value - count};
}

/* a - b: positive where a comes after b. */
static inline int32_t seq_sub(seq_t a, seq_t b)
{
    return (int32_t)(a.value - b.value);
}

/* a - b where a is known not to come before b: a count of bytes. */
static inline uint32_t seq_distance(seq_t a, seq_t b)
{
    return a.value - b.value;
}

static inline bool seq_eq(seq_t a, seq_t b)
{
    return a.value == b.value;
}

static inline bool seq_lt(seq_t a, seq_t b)
{
    return seq_sub(a, b) < 0;
}

static inline bool seq_le(seq_t a, seq_t b)
{
    return seq_sub(a, b) <= 0;
}

static inline bool seq_gt(seq_t a, seq_t b)
{
    return seq_sub(a, b) > 0;
}

static inline bool seq_ge(seq_t a, seq_t b)
{
    return seq_sub(a, b) >= 0;
}

static inline seq_t seq_max(seq_t a, seq_t b)
{
    return seq_gt(a, b) ? a : b;
}

static inline seq_t seq_min(seq_t a, seq_t b)
{
    return seq_lt(a, b) ? a : b;
}

/* first <= seq < first + count; exact for every count up to 2^32 - 1. */
static inline bool seq_in_window(seq_t seq, seq_t first, uint32_t count)
{
    return seq.value - first.value < count;
}

#endif
