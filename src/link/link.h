/*
 * A link carries Ethernet frames between a stack or switch and something else. This is the one
 * contract of all drivers: memory.h, tap.h, packet.h, xdp.h, stream.h and pcapng_read.h make
 * links, and impair.h and pcapng.h wrap any other.
 *
 * A link belongs to one thread at a time. Nothing blocks. Time is the caller's: the arrival time
 * of what is received, and what impaired links go by.
 */
#ifndef FOYER_LINK_LINK_H
#define FOYER_LINK_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "foyer/host.h"
#include "foyer/types.h"

/* The largest frame: an IP packet of 65535 bytes, Ethernet and a VLAN tag. */
#define LINK_FRAME_MAX (65535u + 14u + 4u)

struct link;

struct link_ops {
    int (*send)(struct link *link, const struct foyer_packet *packets, size_t count,
                foyer_time_ns now);
    int (*receive)(struct link *link, struct foyer_packet *ret_packets, size_t max,
                   foyer_time_ns now);
    int (*fd)(const struct link *link);                 /* NULL: none */
    foyer_time_ns (*deadline)(const struct link *link); /* NULL: never */
    void (*close)(struct link *link);
};

/* A driver's own structure begins with this. */
struct link {
    const struct link_ops *ops;
    uint32_t capabilities; /* enum foyer_link_capability: what send takes */
};

/*
 * Sends a batch in order; the packets are borrowed for the call. Returns how many were taken;
 * fewer than count where the link is full: keep the rest until it drains (fd writable), or drop
 * it, as a wire would. A packet the link can't carry is dropped and counts as taken.
 * -EPIPE: the other end is gone for good; other errors: the link is broken, close it.
 */
static inline int link_send(struct link *link, const struct foyer_packet *packets, size_t count,
                            foyer_time_ns now)
{
    return link->ops->send(link, packets, count, now);
}

/*
 * Fills up to max packets, each in one span, with arrival_ns and checked offload facts; 0 where
 * there is none. The spans are valid until the next receive on this link. Errors as send.
 */
static inline int link_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                               foyer_time_ns now)
{
    return link->ops->receive(link, ret_packets, max, now);
}

/* To be polled for reading (and writing, while send takes less than all); -1: there is none. */
static inline int link_fd(const struct link *link)
{
    return link->ops->fd != NULL ? link->ops->fd(link) : -1;
}

/* When receive (and send, which lets time pass) is worth calling even without the fd's word. */
static inline foyer_time_ns link_deadline(const struct link *link)
{
    return link->ops->deadline != NULL ? link->ops->deadline(link) : FOYER_TIME_NEVER;
}

static inline uint32_t link_capabilities(const struct link *link)
{
    return link->capabilities;
}

/* Closes and frees; a wrapper closes what it wraps. NULL is allowed. */
static inline void link_close(struct link *link)
{
    if (link != NULL)
        link->ops->close(link);
}

#endif
