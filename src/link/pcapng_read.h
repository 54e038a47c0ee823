/*
 * Reads what pcapng.h and others wrote (draft-ietf-opsawg-pcapng): both byte orders, any number
 * of sections and interfaces, their time resolutions and offsets. Ethernet frames of Enhanced and
 * Simple Packet Blocks come out; other blocks, other link types and frames that were cut short
 * when captured are passed over and counted.
 */
#ifndef FOYER_LINK_PCAPNG_READ_H
#define FOYER_LINK_PCAPNG_READ_H

#include "link/link.h"
#include "link/pcapng.h"

/* More interfaces of one section are -EINVAL. */
#define PCAPNG_INTERFACES_MAX 64

struct pcapng_interface {
    uint64_t units_per_s; /* of the time stamps */
    int64_t offset_s;
    uint32_t snap_size; /* 0: none */
    bool is_ethernet;
};

struct pcapng_reader {
    const uint8_t *bytes; /* the whole file; borrowed */
    size_t size, at;
    bool is_swapped; /* the section's byte order is not this machine's */
    bool has_section;
    uint32_t interface_count;
    struct pcapng_interface interfaces[PCAPNG_INTERFACES_MAX];
    uint64_t skipped; /* frames passed over */
};

struct pcapng_frame {
    const uint8_t *bytes;
    size_t size;
    foyer_time_ns time_ns; /* since the epoch of the file, mostly 1970; 0 where it has none */
    enum pcapng_direction direction;
    uint32_t interface;
};

void pcapng_reader_init(struct pcapng_reader *reader, const uint8_t *bytes, size_t size);

/* 1: a frame, 0: the end, -EINVAL: not a pcapng file, or broken from here on. */
int pcapng_read(struct pcapng_reader *reader, struct pcapng_frame *ret_frame);

struct link_replay_config {
    bool outbound; /* give out the frames that were sent, not those that were received or are of
                       unknown direction */
    bool at_once;  /* do not keep the recorded distances in time */
};

/*
 * A link that receives what the file holds, in its order. The first frame arrives with the first
 * receive, the others as much later as they were recorded (a time that goes back counts as no
 * distance); link_deadline tells when. What is sent on the link is dropped. The end is -EPIPE.
 * The file is read as a whole. What opening it said, -EIO, -ENOMEM; -EINVAL: no pcapng file.
 */
int link_replay_open(const char *path, const struct link_replay_config *config,
                     struct link **ret_link);

#endif
