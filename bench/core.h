/*
 * The core benchmarks: what libfoyer costs by itself, in one process, beside lwIP, the kernel's
 * loopback or a bare memcpy doing the same work.
 *
 * A subject is one way to do a row's work: opened once, measured as often as there are rounds
 * (the sides of a row take turns), closed. core.c runs the rows and prints them.
 */
#ifndef FOYER_BENCH_CORE_H
#define FOYER_BENCH_CORE_H

#include <stdbool.h>
#include <stdint.h>

struct subject {
    /* NULL: cannot run here; the reason went to stderr. argument is the row's. */
    void *(*open)(long argument);
    /* One figure, from about `seconds` of work. */
    double (*measure)(void *state, double seconds);
    void (*close)(void *state);
};

/* Of two hosts on a memory wire (core_foyer.c). Arguments: see there. */
extern const struct subject foyer_bulk, foyer_requests, foyer_connects, foyer_idle, foyer_idle_heap,
    foyer_port;
/* Of one host and peers that are only their segments (core_demux.c). */
extern const struct subject foyer_demux;
/* SYNs that lead nowhere (core_flood.c). */
extern const struct subject foyer_half_open, foyer_half_open_rest, foyer_flood, foyer_flood_memory;
/* Of two copies of Debian's liblwip, likewise (core_lwip.c). */
extern const struct subject lwip_bulk, lwip_requests, lwip_connects, lwip_idle_heap, lwip_demux,
    lwip_port;
/* Of the kernel's loopback, in a network namespace of its own (core_kernel.c). */
extern const struct subject kernel_connects, kernel_port;
/* Of one stream over a TAP, and of the kernel's over veth (core_tap.c). */
extern const struct subject foyer_tap, lwip_tap, kernel_veth;
/* The copies of foyer_bulk and nothing else (core_foyer.c). */
extern const struct subject bare_copies;

/* Ephemeral ports of every side of the port rows: RFC 6335's dynamic range. */
#define CORE_PORT_FIRST 49152u
#define CORE_PORT_LAST 65535u

/* Seconds of processor time of this thread, so that a busy machine is not taken for slowness. */
double core_seconds(void);
/* What one call of it costs. */
double core_clock_cost(void);
/* Bytes the C library's heap has given out. */
uint64_t core_heap_bytes(void);
/* A fixed sequence: 0 <= result < bound. */
uint32_t core_random(uint64_t *state, uint32_t bound);
/* Prints why and ends the process where condition is false. */
#define CORE_CHECK(condition) ((condition) ? (void)0 : core_fail(__FILE__, __LINE__, #condition))
_Noreturn void core_fail(const char *file, int line, const char *what);

#endif
