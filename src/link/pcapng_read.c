/* pcapng from memory, block by block; every length is checked before what it covers is read. */
#include "link/pcapng_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"

/* The draft's section 11.1 registers these. */
#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_SIMPLE_PACKET 3u
#define BLOCK_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define LINKTYPE_ETHERNET 1u
#define OPTION_END 0u
#define OPTION_IF_TSRESOL 9u
#define OPTION_IF_TSOFFSET 14u
#define OPTION_EPB_FLAGS 2u
/* Type and length before, length behind. */
#define BLOCK_OVERHEAD 12u
#define FIRST_READ_SIZE 65536u

/* The body of one block, or what is left of it. */
struct body {
    const uint8_t *bytes;
    size_t size;
};

static uint16_t load16(const struct pcapng_reader *reader, const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return reader->is_swapped ? __builtin_bswap16(value) : value;
}

static uint32_t load32(const struct pcapng_reader *reader, const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return reader->is_swapped ? __builtin_bswap32(value) : value;
}

static uint64_t load64(const struct pcapng_reader *reader, const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return reader->is_swapped ? __builtin_bswap64(value) : value;
}

void pcapng_reader_init(struct pcapng_reader *reader, const uint8_t *bytes, size_t size)
{
    *reader = (struct pcapng_reader){.bytes = bytes, .size = size};
}

/* The next option of a block; false at the end or where it does not fit. */
static bool next_option(const struct pcapng_reader *reader, struct body *options,
                        uint16_t *ret_code, struct body *ret_value)
{
    if (options->size < 4)
        return false;
    uint16_t code = load16(reader, options->bytes), size = load16(reader, options->bytes + 2);
    size_t padded = (size + 3u) & ~3u;
    if (code == OPTION_END || padded > options->size - 4)
        return false;
    *ret_code = code;
    *ret_value = (struct body){options->bytes + 4, size};
    options->bytes += 4 + padded;
    options->size -= 4 + padded;
    return true;
}

/* if_tsresol: powers of 10, or of 2 with the highest bit set. 0: finer than 64 bits can tell. */
static uint64_t units_per_s(uint8_t resolution)
{
    unsigned exponent = resolution & 0x7f;
    if ((resolution & 0x80) != 0)
        return exponent < 64 ? 1ULL << exponent : 0;
    if (exponent > 19)
        return 0;
    uint64_t units = 1;
    while (exponent-- > 0)
        units *= 10;
    return units;
}

static int read_section(struct pcapng_reader *reader, struct body body)
{
    /* The byte order was found with the block's length. Versions 1.x are one format. */
    if (body.size < 16 || load16(reader, body.bytes + 4) != 1)
        return -EINVAL;
    reader->has_section = true;
    reader->interface_count = 0;
    return 0;
}

static int read_interface(struct pcapng_reader *reader, struct body body)
{
    if (body.size < 8 || reader->interface_count >= PCAPNG_INTERFACES_MAX)
        return -EINVAL;
    struct pcapng_interface *interface = &reader->interfaces[reader->interface_count++];
    *interface = (struct pcapng_interface){
        .is_ethernet = load16(reader, body.bytes) == LINKTYPE_ETHERNET,
        .snap_size = load32(reader, body.bytes + 4),
        .units_per_s = 1000000, /* section 4.2: microseconds unless if_tsresol says otherwise */
    };
    struct body options = {body.bytes + 8, body.size - 8}, value;
    uint16_t code;
    while (next_option(reader, &options, &code, &value)) {
        if (code == OPTION_IF_TSRESOL && value.size == 1)
            interface->units_per_s = units_per_s(value.bytes[0]);
        else if (code == OPTION_IF_TSOFFSET && value.size == 8)
            interface->offset_s = (int64_t)load64(reader, value.bytes);
    }
    return 0;
}

/* 0 where the time does not fit into 64 bits of nanoseconds. */
static foyer_time_ns to_ns(const struct pcapng_interface *interface, uint64_t units)
{
    if (interface->units_per_s == 0)
        return 0;
    uint64_t seconds = units / interface->units_per_s + (uint64_t)interface->offset_s;
    uint64_t rest = units % interface->units_per_s;
    if (seconds > UINT64_MAX / FOYER_NS_PER_S - 1)
        return 0;
    /* In integers up to the finest that does not overflow; 2^53 is enough beyond. */
    uint64_t ns = interface->units_per_s <= FOYER_NS_PER_S
                      ? rest * FOYER_NS_PER_S / interface->units_per_s
                      : (uint64_t)((double)rest * 1e9 / (double)interface->units_per_s);
    return seconds * FOYER_NS_PER_S + ns;
}

static int read_packet(struct pcapng_reader *reader, struct body body, struct pcapng_frame *ret)
{
    if (body.size < 20)
        return -EINVAL;
    uint32_t interface = load32(reader, body.bytes);
    uint32_t captured = load32(reader, body.bytes + 12);
    uint32_t original = load32(reader, body.bytes + 16);
    if (interface >= reader->interface_count || captured > body.size - 20)
        return -EINVAL;
    const struct pcapng_interface *from = &reader->interfaces[interface];
    if (!from->is_ethernet || captured < original || captured > LINK_FRAME_MAX) {
        reader->skipped++;
        return 0;
    }
    uint64_t units =
        (uint64_t)load32(reader, body.bytes + 4) << 32 | load32(reader, body.bytes + 8);
    *ret = (struct pcapng_frame){.bytes = body.bytes + 20,
                                 .size = captured,
                                 .time_ns = to_ns(from, units),
                                 .interface = interface};
    size_t padded = ((size_t)captured + 3) & ~(size_t)3;
    if (padded > body.size - 20)
        return -EINVAL;
    struct body options = {body.bytes + 20 + padded, body.size - 20 - padded}, value;
    uint16_t code;
    while (next_option(reader, &options, &code, &value)) {
        if (code == OPTION_EPB_FLAGS && value.size == 4)
            ret->direction = (enum pcapng_direction)(load32(reader, value.bytes) & 3);
    }
    return 1;
}

/* Of the first interface; without time, and what was captured is told by the snap length only. */
static int read_simple_packet(struct pcapng_reader *reader, struct body body,
                              struct pcapng_frame *ret)
{
    if (body.size < 4 || reader->interface_count == 0)
        return -EINVAL;
    uint32_t original = load32(reader, body.bytes);
    uint32_t snap_size = reader->interfaces[0].snap_size;
    if (!reader->interfaces[0].is_ethernet || (snap_size != 0 && original > snap_size) ||
        original > LINK_FRAME_MAX) {
        reader->skipped++;
        return 0;
    }
    if (original > body.size - 4)
        return -EINVAL;
    *ret = (struct pcapng_frame){.bytes = body.bytes + 4, .size = original};
    return 1;
}

/* The byte order stands in the body of a section's own header and holds for its length already. */
static int find_byte_order(struct pcapng_reader *reader, const uint8_t *block, size_t left)
{
    if (left < BLOCK_OVERHEAD + 16)
        return -EINVAL;
    reader->is_swapped = false;
    uint32_t magic = load32(reader, block + 8);
    reader->is_swapped = magic == __builtin_bswap32(BYTE_ORDER_MAGIC);
    return magic == BYTE_ORDER_MAGIC || reader->is_swapped ? 0 : -EINVAL;
}

int pcapng_read(struct pcapng_reader *reader, struct pcapng_frame *ret_frame)
{
    while (reader->at < reader->size) {
        const uint8_t *block = reader->bytes + reader->at;
        size_t left = reader->size - reader->at;
        if (left < BLOCK_OVERHEAD)
            return -EINVAL;
        uint32_t type = load32(reader, block); /* a section's reads the same both ways */
        if (type == BLOCK_SECTION) {
            int error = find_byte_order(reader, block, left);
            if (error < 0)
                return error;
        } else if (!reader->has_section) {
            return -EINVAL;
        }
        uint32_t size = load32(reader, block + 4);
        if (size < BLOCK_OVERHEAD || size % 4 != 0 || size > left ||
            load32(reader, block + size - 4) != size)
            return -EINVAL;
        struct body body = {block + 8, size - BLOCK_OVERHEAD};
        int result = 0;
        if (type == BLOCK_SECTION)
            result = read_section(reader, body);
        else if (type == BLOCK_INTERFACE)
            result = read_interface(reader, body);
        else if (type == BLOCK_PACKET)
            result = read_packet(reader, body, ret_frame);
        else if (type == BLOCK_SIMPLE_PACKET)
            result = read_simple_packet(reader, body, ret_frame);
        if (result < 0)
            return result;
        reader->at += size;
        if (result > 0)
            return 1;
    }
    return reader->has_section ? 0 : -EINVAL;
}

/* ---- the link ------------------------------------------------------------------------------- */

struct replay_link {
    struct link link;
    struct link_replay_config config;
    struct pcapng_reader reader;
    uint8_t *bytes; /* the file */
    size_t size;
    struct pcapng_frame next;
    int state; /* of next, as pcapng_read returned it */
    bool has_started;
    foyer_time_ns due_ns; /* of next, by the caller's clock */
    foyer_time_ns last_time_ns;
};

static struct replay_link *replay_link(const struct link *link)
{
    return LIST_ENTRY(link, struct replay_link, link);
}

static void advance(struct replay_link *replay)
{
    do {
        replay->state = pcapng_read(&replay->reader, &replay->next);
    } while (replay->state > 0 &&
             (replay->next.direction == PCAPNG_OUTBOUND) != replay->config.outbound);
    if (replay->state <= 0)
        return;
    foyer_time_ns gap = 0;
    if (!replay->config.at_once && replay->next.time_ns > replay->last_time_ns)
        gap = replay->next.time_ns - replay->last_time_ns;
    replay->last_time_ns = replay->next.time_ns;
    /* A file may claim any distance; the deadline stays one. */
    replay->due_ns =
        gap < FOYER_TIME_NEVER - replay->due_ns ? replay->due_ns + gap : FOYER_TIME_NEVER - 1;
}

static int replay_send(struct link *link, const struct foyer_packet *packets, size_t count,
                       foyer_time_ns now)
{
    (void)link, (void)packets, (void)now;
    return (int)count;
}

static int replay_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    struct replay_link *replay = replay_link(link);
    if (!replay->has_started) {
        replay->has_started = true;
        replay->due_ns = now;
    }
    size_t count = 0;
    while (count < max && replay->state > 0 && replay->due_ns <= now) {
        ret_packets[count++] = (struct foyer_packet){
            .spans = {{replay->next.bytes, replay->next.size}},
            .span_count = 1,
            .arrival_ns = replay->due_ns,
        };
        advance(replay);
    }
    if (count > 0 || replay->state > 0 || max == 0)
        return (int)count;
    return replay->state < 0 ? replay->state : -EPIPE;
}

static foyer_time_ns replay_deadline(const struct link *link)
{
    const struct replay_link *replay = replay_link(link);
    return replay->has_started ? replay->due_ns : 0;
}

static void replay_close(struct link *link)
{
    struct replay_link *replay = replay_link(link);
    free(replay->bytes);
    free(replay);
}

static const struct link_ops replay_ops = {
    .send = replay_send,
    .receive = replay_receive,
    .deadline = replay_deadline,
    .close = replay_close,
};

/* Not mapped: a file that somebody cuts short would end the process with SIGBUS. */
static int read_file(const char *path, uint8_t **ret_bytes, size_t *ret_size)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return -errno;
    uint8_t *bytes = NULL;
    size_t size = 0, capacity = 0, got;
    int error = 0;
    do {
        if (size == capacity) {
            uint8_t *larger = realloc(bytes, capacity = capacity * 2 + FIRST_READ_SIZE);
            if (larger == NULL) {
                error = -ENOMEM;
                break;
            }
            bytes = larger;
        }
        got = fread(bytes + size, 1, capacity - size, file);
        size += got;
    } while (got > 0);
    if (error == 0 && ferror(file))
        error = -EIO;
    (void)fclose(file);
    if (error < 0) {
        free(bytes);
        return error;
    }
    *ret_bytes = bytes;
    *ret_size = size;
    return 0;
}

int link_replay_open(const char *path, const struct link_replay_config *config,
                     struct link **ret_link)
{
    struct replay_link *replay = calloc(1, sizeof(*replay));
    if (replay == NULL)
        return -ENOMEM;
    int error = read_file(path, &replay->bytes, &replay->size);
    if (error < 0) {
        free(replay);
        return error;
    }
    replay->link.ops = &replay_ops;
    replay->config = *config;
    pcapng_reader_init(&replay->reader, replay->bytes, replay->size);
    advance(replay);
    replay->due_ns = 0; /* the first frame's own time is no distance */
    if (replay->state < 0) {
        error = replay->state;
        replay_close(&replay->link);
        return error;
    }
    *ret_link = &replay->link;
    return 0;
}
