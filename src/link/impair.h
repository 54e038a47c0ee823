/*
 * A bad wire: loss, duplication, reordering, damage, delay, jitter and a bottleneck with a
 * bounded queue, decided by a seeded generator and the caller's (virtual) time alone. A frame that
 * ECN lets be marked (RFC 3168) is marked where the queue says so.
 *
 *   push -> loss -> duplication -> rate and queue, marks -> delay, jitter, reordering -> damage
 *        -> pop
 *
 * Used alone as one direction of a wire, or as a link that wraps another in both directions.
 */
#ifndef FOYER_LINK_IMPAIR_H
#define FOYER_LINK_IMPAIR_H

#include "base/list.h"
#include "base/random.h"
#include "link/link.h"

/*
 * All zero: a perfect wire without delay. Probabilities are in parts per million, per frame.
 *
 * Losses in bursts are Gilbert's and Elliott's model (Bell System Technical Journal 39 and 42): a
 * chain of two states that moves before each frame. In the good one loss_ppm holds, in the bad
 * one burst_loss_ppm. A burst lasts 1e6 / burst_leave_ppm frames on average, and the share of
 * frames in it is burst_enter_ppm / (burst_enter_ppm + burst_leave_ppm).
 */
struct impair_config {
    uint32_t loss_ppm, duplicate_ppm, reorder_ppm, damage_ppm;
    uint32_t burst_enter_ppm; /* good to bad; 0: never */
    uint32_t burst_leave_ppm; /* bad to good */
    uint32_t burst_loss_ppm;  /* 0: all (Gilbert's model) */
    foyer_time_ns delay_ns;
    foyer_time_ns jitter_ns;  /* 0..jitter_ns more, in order */
    foyer_time_ns reorder_ns; /* how much longer a reordered frame takes, at most; 0: delay_ns */
    uint64_t rate_bits_per_s; /* 0: infinite */
    size_t queue_bytes;       /* at the bottleneck; more is lost; 0: 1 MiB */
    size_t frame_bytes_max;   /* larger ones vanish, as on a path of a smaller MTU; 0: none */
    uint32_t mark_ppm;        /* frames with ECT become CE: at random */
    size_t mark_bytes;        /* and where more than this waits at the bottleneck; 0: never */
};

struct impair_stats {
    uint64_t frames, lost, lost_in_bursts, duplicated, reordered, damaged, overflowed, marked,
        too_large;
};

struct impair {
    struct impair_config config;
    struct random random;
    struct list_node frames;    /* on their way, by due_ns */
    struct list_node lent;      /* given out by the last pop */
    foyer_time_ns line_free_ns; /* when the bottleneck has sent all it has */
    foyer_time_ns last_due_ns;
    bool is_in_burst;
    struct impair_stats stats;
};

void impair_init(struct impair *impair, const struct impair_config *config, uint64_t seed);
void impair_finish(struct impair *impair);

/* Copies the packet onto its way. */
void impair_push(struct impair *impair, const struct foyer_packet *packet, foyer_time_ns now);

/*
 * Fills up to max packets whose time has come, arrival_ns their due time; the spans are valid
 * until the next pop.
 *
 * Damage changes one byte behind the Ethernet header of an IP frame, after the checksum that an
 * offload left open was filled in: so a checksum that covers the byte always sees it. Frames of
 * other protocols, which only Ethernet's FCS would protect, are lost instead.
 */
size_t impair_pop(struct impair *impair, struct foyer_packet *ret_packets, size_t max,
                  foyer_time_ns now);

/* When pop has something, or FOYER_TIME_NEVER. */
foyer_time_ns impair_deadline(const struct impair *impair);

/*
 * Wraps under, which it takes over on success: what is sent goes through one impairment, what is
 * received through another. Frames delayed on their way out are sent when send or receive is
 * called at or after link_deadline(). -ENOMEM.
 */
int link_impair_create(struct link *under, const struct impair_config *send_config,
                       const struct impair_config *receive_config, uint64_t seed,
                       struct link **ret_link);

#endif
