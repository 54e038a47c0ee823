/*
 * The goodput benchmark: what one stack, against itself, gets over a bad path. The path is
 * src/link/impair.c for all: foyer and lwIP live in virtual time; Linux, whose clock cannot be
 * had, in real time between two TAP devices.
 *
 * A run is one process (goodput.c forks it), since lwIP and network namespaces stay behind.
 */
#ifndef FOYER_BENCH_GOODPUT_H
#define FOYER_BENCH_GOODPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "link/impair.h"

#define GOODPUT_FLOWS_MAX 16u
#define GOODPUT_BUFFER_BYTES (8u << 20) /* of each end: the path's limits count, not these */

struct goodput_path {
    struct impair_config to, back;
    const char *congestion;  /* "cubic", "bbr"... */
    foyer_time_ns length_ns; /* from the moment the last flow is established */
    unsigned flows;
    uint64_t seed;
};

struct goodput_result {
    uint64_t flow_bytes[GOODPUT_FLOWS_MAX]; /* that arrived in order within the length */
    uint64_t retransmissions;
    uint64_t recoveries, undone, timeouts; /* foyer only */
    struct impair_stats to;
};

/* True: *ret_result is filled. False: cannot run here; the reason went to stderr. */
typedef bool goodput_run(const struct goodput_path *path, struct goodput_result *ret_result);

goodput_run goodput_foyer, goodput_kernel, goodput_lwip;

#endif
