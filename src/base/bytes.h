/* Loads and stores of big-endian integers at any alignment. */
#ifndef FOYER_BASE_BYTES_H
#define FOYER_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

/* Between host order and the order on the wire. Compilers make better code of it than of bytes put
 * together one by one, above all where several stand side by side. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTES_SWAP_BE16(value) __builtin_bswap16(value)
#define BYTES_SWAP_BE32(value) __builtin_bswap32(value)
#define BYTES_SWAP_BE64(value) __builtin_bswap64(value)
#else
#define BYTES_SWAP_BE16(value) (value)
#define BYTES_SWAP_BE32(value) (value)
#define BYTES_SWAP_BE64(value) (value)
#endif

static inline uint16_t load_be16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof(value));
    return BYTES_SWAP_BE16(value);
}

static inline uint32_t load_be32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return BYTES_SWAP_BE32(value);
}

static inline uint64_t load_be64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return BYTES_SWAP_BE64(value);
}

static inline void store_be16(uint8_t *bytes, uint16_t value)
{
    value = BYTES_SWAP_BE16(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void store_be32(uint8_t *bytes, uint32_t value)
{
    value = BYTES_SWAP_BE32(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void store_be64(uint8_t *bytes, uint64_t value)
{
    value = BYTES_SWAP_BE64(value);
    memcpy(bytes, &value, sizeof(value));
}

/* Little-endian, for formats that are defined so (SipHash, pcapng as foyer writes it). */
static inline uint32_t load_le32(const uint8_t *bytes)
{
    return (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 |
           (uint32_t)bytes[0];
}

static inline uint64_t load_le64(const uint8_t *bytes)
{
    return (uint64_t)load_le32(bytes + 4) << 32 | load_le32(bytes);
}

#endif
