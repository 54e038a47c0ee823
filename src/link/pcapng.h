/*
 * Writes what passes to a pcapng file (draft-ietf-opsawg-pcapng): one Ethernet interface,
 * nanoseconds, direction of each frame. As a writer alone, or as a link that wraps another.
 */
#ifndef FOYER_LINK_PCAPNG_H
#define FOYER_LINK_PCAPNG_H

#include "link/link.h"

struct pcapng_writer {
    int fd;
    int error; /* the first write error, negative; nothing is written after it */
};

enum pcapng_direction {
    PCAPNG_UNKNOWN = 0,
    PCAPNG_INBOUND = 1,
    PCAPNG_OUTBOUND = 2,
};

/* Creates or truncates the file. interface may be NULL. Negative errno of open or write. */
int pcapng_open(struct pcapng_writer *writer, const char *path, const char *interface);
/* Writes to an open fd (file or pipe), which is taken over on success. */
int pcapng_open_fd(struct pcapng_writer *writer, int fd, const char *interface);
/* Returns the first error there was, or 0. */
int pcapng_close(struct pcapng_writer *writer);

/*
 * Appends one frame, complete, without copying it. now is in nanoseconds since any epoch; for
 * wall-clock times in the file give wall-clock times. A checksum left to the link is written
 * as it is.
 */
void pcapng_write(struct pcapng_writer *writer, const struct foyer_packet *packet,
                  enum pcapng_direction direction, foyer_time_ns now);

/*
 * Wraps under and takes it over, and the writer too, on success. epoch_offset_ns is added to the
 * times (wall clock minus the caller's clock). A file that can't be written on does not disturb
 * the link. -ENOMEM.
 */
int link_pcapng_create(struct link *under, const struct pcapng_writer *writer,
                       uint64_t epoch_offset_ns, struct link **ret_link);

#endif
