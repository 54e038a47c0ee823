/* TCP header and options (RFC 9293). */
#include "wire/tcp.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum option {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2,
    OPTION_WINDOW_SCALE = 3,
    OPTION_SACK_PERMITTED = 4,
    OPTION_SACK = 5,
    OPTION_TIMESTAMPS = 8,
    OPTION_FASTOPEN = 34,
    OPTION_ACCECN_0 = 172,
    OPTION_ACCECN_1 = 174,
    OPTION_EXPERIMENTAL = 254,
};

#define FASTOPEN_MAGIC 0xf989u /* RFC 6994's experiment identifier */

#define FLAGS_MASK 0x1ffu

int wire_tcp_parse(const uint8_t *bytes, size_t size, struct wire_tcp *ret)
{
    if (size < WIRE_TCP_SIZE)
        return -EINVAL;
    unsigned header_size = (unsigned)(bytes[12] >> 4) * 4;
    if (header_size < WIRE_TCP_SIZE || header_size > size)
        return -EINVAL;
    *ret = (struct wire_tcp){
        .src_port = load_be16(bytes),
        .dst_port = load_be16(bytes + 2),
        .seq = SEQ(load_be32(bytes + 4)),
        .ack = SEQ(load_be32(bytes + 8)),
        .header_size = (uint8_t)header_size,
        .flags = load_be16(bytes + 12) & FLAGS_MASK,
        .window = load_be16(bytes + 14),
        .checksum = load_be16(bytes + WIRE_TCP_CHECKSUM_OFFSET),
        .urgent = load_be16(bytes + 18),
    };
    return (int)header_size;
}

/* RFC 7413 section 4.1.1: another size than a cookie's is as no option. */
static void parse_fastopen(const uint8_t *cookie, size_t size, bool is_experimental,
                           struct wire_tcp_options *options)
{
    if (size != 0 &&
        (size < WIRE_TCP_FASTOPEN_MIN || size > WIRE_TCP_FASTOPEN_MAX || size % 2 != 0))
        return;
    options->has_fastopen = true;
    options->fastopen_is_experimental = is_experimental;
    options->fastopen_size = (uint8_t)size;
    /* A second option takes the place of the first, all of it. */
    memset(options->fastopen, 0, sizeof(options->fastopen));
    memcpy(options->fastopen, cookie, size);
}

/* RFC 9768 section 3.2.3: whole fields count, what is left of another length is padding.
 * [RFC9768 3.2.3b] */
static void parse_accecn(const uint8_t *option, size_t option_size,
                         struct wire_tcp_options *options)
{
    size_t count = (option_size - 2) / 3;

    options->has_accecn = true;
    options->accecn_order = option[0] == OPTION_ACCECN_1;
    options->accecn_count = (uint8_t)(count < WIRE_TCP_ACCECN_MAX ? count : WIRE_TCP_ACCECN_MAX);
    for (unsigned i = 0; i < options->accecn_count; i++) {
        const uint8_t *field = option + 2 + 3 * i;
        options->accecn[i] = (uint32_t)field[0] << 16 | load_be16(field + 1);
    }
}

/* One option of option_size bytes, kind and length included. */
static int parse_option(const uint8_t *option, size_t option_size, struct wire_tcp_options *options)
{
    switch (option[0]) {
    case OPTION_MSS:
        if (option_size != 4)
            return -EINVAL;
        options->has_mss = true;
        options->mss = load_be16(option + 2);
        return 0;
    case OPTION_WINDOW_SCALE:
        if (option_size != 3)
            return -EINVAL;
        options->has_window_scale = true;
        /* RFC 7323 section 2.3: MUST use 14 where a larger value was received. */
        options->window_scale =
            option[2] > WIRE_TCP_WINDOW_SCALE_MAX ? WIRE_TCP_WINDOW_SCALE_MAX : option[2];
        return 0;
    case OPTION_SACK_PERMITTED:
        if (option_size != 2)
            return -EINVAL;
        options->has_sack_permitted = true;
        return 0;
    case OPTION_SACK:
        if (option_size < 10 || (option_size - 2) % 8 != 0 ||
            (option_size - 2) / 8 > WIRE_TCP_SACK_MAX)
            return -EINVAL;
        options->sack_count = (uint8_t)((option_size - 2) / 8);
        for (unsigned i = 0; i < options->sack_count; i++) {
            options->sack[i].left = SEQ(load_be32(option + 2 + 8 * i));
            options->sack[i].right = SEQ(load_be32(option + 6 + 8 * i));
        }
        return 0;
    case OPTION_TIMESTAMPS:
        if (option_size != 10)
            return -EINVAL;
        options->has_timestamps = true;
        options->timestamp_value = load_be32(option + 2);
        options->timestamp_echo = load_be32(option + 6);
        return 0;
    case OPTION_FASTOPEN:
        parse_fastopen(option + 2, option_size - 2, false, options);
        return 0;
    case OPTION_EXPERIMENTAL:
        if (option_size >= 4 && load_be16(option + 2) == FASTOPEN_MAGIC)
            parse_fastopen(option + 4, option_size - 4, true, options);
        return 0;
    case OPTION_ACCECN_0:
    case OPTION_ACCECN_1:
        parse_accecn(option, option_size, options);
        return 0;
    default: /* RFC 9293 section 3.1, MUST-6: ignore what is not implemented */
        return 0;
    }
}

/* [RFC9293 MUST-4 MUST-5 MUST-64] */
int wire_tcp_options_parse(const uint8_t *bytes, size_t size, struct wire_tcp_options *ret)
{
    /* Nearly every segment: timestamps as RFC 7323 appendix A lays them out. */
    if (size == 12 && load_be32(bytes) == WIRE_TCP_TIMESTAMPS_ALONE) {
        *ret = (struct wire_tcp_options){.has_timestamps = true,
                                         .timestamp_value = load_be32(bytes + 4),
                                         .timestamp_echo = load_be32(bytes + 8)};
        return 12;
    }
    struct wire_tcp_options options = {0};
    size_t at = 0;
    while (at < size && bytes[at] != OPTION_END) {
        if (bytes[at] == OPTION_NOP) {
            at++;
            continue;
        }
        /* RFC 9293 section 3.1, MUST-7: an illegal length must not lead the parser astray. */
        if (size - at < 2 || bytes[at + 1] < 2 || bytes[at + 1] > size - at)
            return -EINVAL;
        int error = parse_option(bytes + at, bytes[at + 1], &options);
        if (error < 0)
            return error;
        at += bytes[at + 1];
    }
    *ret = options;
    return (int)size;
}

/* Bytes of all options but SACK blocks. */
static size_t fixed_options_size(const struct wire_tcp_options *options)
{
    size_t size = 0;
    if (options->has_mss)
        size += 4;
    if (options->has_timestamps)
        size += 12; /* SACK-permitted takes the place of its padding */
    else if (options->has_sack_permitted)
        size += 4;
    if (options->has_window_scale)
        size += 4;
    if (options->has_fastopen)
        size += (2u + (options->fastopen_is_experimental ? 2u : 0u) + options->fastopen_size + 3) &
                ~(size_t)3;
    if (options->has_accecn)
        size += (2u + 3u * options->accecn_count + 3) & ~(size_t)3;
    return size;
}

uint8_t wire_tcp_sack_room(const struct wire_tcp_options *options)
{
    size_t fixed = fixed_options_size(options) + 4;
    size_t room = fixed < WIRE_TCP_OPTIONS_MAX ? (WIRE_TCP_OPTIONS_MAX - fixed) / 8 : 0;
    return (uint8_t)(room < WIRE_TCP_SACK_MAX ? room : WIRE_TCP_SACK_MAX);
}

static unsigned sack_count_sent(const struct wire_tcp_options *options)
{
    unsigned room = wire_tcp_sack_room(options);
    return options->sack_count < room ? options->sack_count : room;
}

size_t wire_tcp_options_size(const struct wire_tcp_options *options)
{
    unsigned sack_count = sack_count_sent(options);
    return fixed_options_size(options) + (sack_count > 0 ? 4 + 8 * sack_count : 0);
}

static uint8_t *emit_fastopen(uint8_t *at, const struct wire_tcp_options *options)
{
    const uint8_t *start = at;
    uint8_t size = options->fastopen_size;

    *at++ = options->fastopen_is_experimental ? OPTION_EXPERIMENTAL : OPTION_FASTOPEN;
    *at++ = (uint8_t)(2 + (options->fastopen_is_experimental ? 2 : 0) + size);
    if (options->fastopen_is_experimental) {
        store_be16(at, FASTOPEN_MAGIC);
        at += 2;
    }
    memcpy(at, options->fastopen, size);
    at += size;
    while ((at - start) % 4 != 0)
        *at++ = OPTION_NOP;
    return at;
}

/* [RFC9768 3.2.3a] */
static uint8_t *emit_accecn(uint8_t *at, const struct wire_tcp_options *options)
{
    const uint8_t *start = at;

    *at++ = options->accecn_order == 0 ? OPTION_ACCECN_0 : OPTION_ACCECN_1;
    *at++ = (uint8_t)(2 + 3 * options->accecn_count);
    for (unsigned i = 0; i < options->accecn_count; i++) {
        *at++ = (uint8_t)(options->accecn[i] >> 16);
        store_be16(at, (uint16_t)options->accecn[i]);
        at += 2;
    }
    while ((at - start) % 4 != 0)
        *at++ = OPTION_NOP;
    return at;
}

/* Every other option is padded in front, so that its 32-bit fields are aligned.
 * [RFC9293 MUST-68 MUST-69] */
static size_t emit_options(uint8_t *bytes, const struct wire_tcp_options *options)
{
    uint8_t *at = bytes;
    if (options->has_mss) {
        *at++ = OPTION_MSS;
        *at++ = 4;
        store_be16(at, options->mss);
        at += 2;
    }
    if (options->has_timestamps) {
        *at++ = options->has_sack_permitted ? OPTION_SACK_PERMITTED : OPTION_NOP;
        *at++ = options->has_sack_permitted ? 2 : OPTION_NOP;
        *at++ = OPTION_TIMESTAMPS;
        *at++ = 10;
        store_be32(at, options->timestamp_value);
        store_be32(at + 4, options->timestamp_echo);
        at += 8;
    }
    if (options->has_accecn)
        at = emit_accecn(at, options);
    if (options->has_sack_permitted && !options->has_timestamps) {
        *at++ = OPTION_NOP;
        *at++ = OPTION_NOP;
        *at++ = OPTION_SACK_PERMITTED;
        *at++ = 2;
    }
    if (options->has_window_scale) {
        *at++ = OPTION_NOP;
        *at++ = OPTION_WINDOW_SCALE;
        *at++ = 3;
        *at++ = options->window_scale;
    }
    if (options->has_fastopen)
        at = emit_fastopen(at, options);
    unsigned sack_count = sack_count_sent(options);
    if (sack_count > 0) {
        *at++ = OPTION_NOP;
        *at++ = OPTION_NOP;
        *at++ = OPTION_SACK;
        *at++ = (uint8_t)(2 + 8 * sack_count);
        for (unsigned i = 0; i < sack_count; i++) {
            store_be32(at, options->sack[i].left.value);
            store_be32(at + 4, options->sack[i].right.value);
            at += 8;
        }
    }
    return (size_t)(at - bytes);
}

size_t wire_tcp_emit(uint8_t *bytes, const struct wire_tcp *tcp,
                     const struct wire_tcp_options *options)
{
    size_t header_size = WIRE_TCP_SIZE;
    if (options != NULL)
        header_size += emit_options(bytes + WIRE_TCP_SIZE, options);
    wire_tcp_emit_fixed(bytes, tcp, header_size);
    return header_size;
}
