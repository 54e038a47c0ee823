/* Loads and stores of big-endian integers at any alignment. */
#ifndef FOYER_BASE_BYTES_H
#define FOYER_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

static inline uint16_t load_be16(const uint8_t *bytes)
{
    return (uint16_t)((unsigned)bytes[0] << 8 | bytes[1]);
}

static inline uint32_t load_be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

static inline uint64_t load_be64(const uint8_t *bytes)
{
    return (uint64_t)load_be32(bytes) << 32 | load_be32(bytes + 4);
}

static inline void store_be16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void store_be32(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

static inline void store_be64(uint8_t *bytes, uint64_t value)
{
    store_be32(bytes, (uint32_t)(value >> 32));
    store_be32(bytes + 4, (uint32_t)value);
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
