/*
 * A deterministic network: hosts (libfoyer through its public API only), impaired wires between
 * two of them or to one switch, and virtual time. Everything that happens follows from the seed.
 *
 *   host --output--> check --> impair (one per direction) --input--> host
 *   host --output--> check --> impair --> switch, by MAC address --> impair --input--> host
 *
 * A run ends by sim_fail, with the seed and how to replay it, or by returning.
 */
#ifndef FOYER_TESTS_SIM_H
#define FOYER_TESTS_SIM_H

#include <foyer/foyer.h>

#include "base/random.h"
#include "link/impair.h"
#include "link/pcapng.h"

#define SIM_HOSTS_MAX 16
#define SIM_WIRES_MAX 16

struct sim;
struct sim_wire;

struct sim_host {
    struct sim *sim;
    struct foyer_host *host;
    struct sim_wire *wire;
    unsigned wire_end; /* 0 or 1 */
    unsigned index;
    uint8_t mac[6];
    uint16_t mtu;
    uint32_t capabilities;
    struct foyer_addr addr4, addr6;
    size_t allocated_bytes, allocated_peak_bytes, allocated_count;
    uint32_t no_memory_ppm;     /* how often an allocation fails */
    bool is_touched;            /* since watch.before_output was told */
    bool may_send_from_strange; /* its addresses come and go, or it stands for others */
};

struct sim_wire {
    struct sim_host *ends[2]; /* the second may be NULL: the switch */
    struct impair way[2];     /* way[i]: from ends[i] */
    bool is_down;             /* what is sent is lost */
};

/* What plays the programs on the hosts. All of them may be NULL. */
struct sim_app {
    void *context;
    void (*event)(void *context, struct sim_host *host, const struct foyer_event *event);
    bool (*act)(void *context);               /* whether anything was done */
    foyer_time_ns (*deadline)(void *context); /* when act wants to be called */
};

/* What looks on; all of them may be NULL. */
struct sim_watch {
    void *context;
    void (*before_output)(void *context, struct sim_host *host); /* where anything happened */
    void (*after_output)(void *context, struct sim_host *host);  /* where anything was sent */
    void (*frame)(void *context, struct sim_host *from, const struct foyer_packet *packet);
};

struct sim {
    uint64_t seed;
    const char *name;   /* of the scenario */
    const char *replay; /* command that takes --seed; NULL: the scenario's */
    struct random random;
    foyer_time_ns now;
    uint64_t rounds, rounds_at_now;
    struct sim_host hosts[SIM_HOSTS_MAX];
    unsigned host_count;
    struct sim_wire wires[SIM_WIRES_MAX];
    unsigned wire_count;
    struct sim_app app;
    struct sim_watch watch;
    uint64_t frames;
    struct pcapng_writer pcapng;
    bool is_recorded;
};

/* Names what runs, for sim_fail. */
void sim_init(struct sim *sim, const char *name, uint64_t seed);
/* Destroys the hosts and fails where memory was not given back. */
void sim_finish(struct sim *sim);

struct sim_host_config {
    uint16_t mtu;
    uint32_t capabilities;
    uint32_t receive_buffer_size, send_buffer_size; /* 0: the library's default */
    uint32_t max_requests;                          /* 0: the library's default */
    uint16_t ephemeral_first, ephemeral_last;       /* 0: the library's default */
    uint64_t max_memory_bytes;                      /* 0: none */
};

/* A host with the addresses 10.0.0.(index + 1)/24 and fd00::(index + 1)/64. */
struct sim_host *sim_add_host(struct sim *sim, const struct sim_host_config *config);
struct sim_wire *sim_add_wire(struct sim *sim, struct sim_host *a, struct sim_host *b,
                              const struct impair_config *from_a,
                              const struct impair_config *from_b);

/* A wire to the switch, which all such wires share: up from the host, down to it. */
struct sim_wire *sim_add_port(struct sim *sim, struct sim_host *host,
                              const struct impair_config *up, const struct impair_config *down);

/* One round: deliver, tick, output, events, act; time moves where nothing was left to do.
 * False: nothing will ever happen again. */
bool sim_step(struct sim *sim);

/* Steps until done says so. Fails where that takes longer than limit_ns of virtual time. */
void sim_run_until(struct sim *sim, bool (*done)(void *context), void *context,
                   foyer_time_ns limit_ns, const char *what);
/* Steps until nothing is left: no frame, no timer. Fails beyond limit_ns. */
void sim_run_out(struct sim *sim, foyer_time_ns limit_ns);

unsigned sim_socket_count(const struct sim_host *host);
struct foyer_endpoint sim_endpoint(const struct sim_host *host, enum foyer_family family,
                                   uint16_t port);

/* Prints, with the seed, and ends the process. */
_Noreturn void sim_fail(const struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define SIM_CHECK(sim, condition)                                                                  \
    ((condition) ? (void)0 : sim_fail((sim), "%s:%d: not true: %s", __FILE__, __LINE__, #condition))

/* check.c: fails where a host's frame is not what the RFCs and the host's link allow. */
void sim_check_packet(const struct sim_host *host, const struct foyer_packet *packet);

/* ---- seeds and arguments (options.c) ----------------------------------------------------------- */

struct sim_options {
    bool has_seed;
    uint64_t seed;
    const char *scenario; /* NULL: all */
    const char *pcapng;   /* NULL: none */
    unsigned fixed_seeds, fresh_seeds;
};

/* --seed N, --scenario NAME, --pcapng FILE, --fresh N. Ends the process on anything else. */
void sim_options_parse(struct sim_options *options, int argc, char **argv);

/* Runs the scenario for seeds 1..fixed, then for fresh ones, or for --seed alone. */
void sim_run_seeds(const struct sim_options *options, const char *name,
                   void (*scenario)(struct sim *sim, const void *argument), const void *argument);

#endif
