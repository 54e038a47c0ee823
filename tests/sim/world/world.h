/*
 * A random world, made from a seed alone: hosts on one switch, programs on them, and whatever can
 * go wrong, for a while. Then the network heals, and everything must come to an end.
 *
 *   main.c      arguments, campaigns, the shrinking of a seed that fails
 *   world.c     the plan: hosts, listeners, connections; the phases of a run
 *   program.c   TCP programs, which check every byte
 *   datagram.c  UDP programs
 *   fault.c     what goes wrong, and when
 *   hostile.c   segments and ICMP that nobody of these hosts sent
 *   inspect.c   invariants, looked at from inside after every call (the only file that knows the
 *               stack's private state)
 *
 * Each part draws from a random stream of its own, so that a fault can be left out (--without)
 * and the rest of the world stays much the same.
 */
#ifndef FOYER_TESTS_SIM_WORLD_H
#define FOYER_TESTS_SIM_WORLD_H

#include <stdarg.h>

#include "common/sim.h"

#define WORLD_LISTENERS 4 /* per host */
#define WORLD_STALE_MAX 16
#define WORLD_CAPTURED_MAX 64
#define WORLD_CAPTURED_BYTES 1600

enum fault {
    FAULT_LOSS = 0,
    FAULT_REORDER,
    FAULT_DUPLICATE,
    FAULT_DAMAGE,
    FAULT_DELAY,
    FAULT_RATE,
    FAULT_MARK, /* CE marks */
    FAULT_PATH, /* what is longer than the path takes vanishes without a word */
    FAULT_FLAP,
    FAULT_ADDRESS,
    FAULT_MEMORY,
    FAULT_BOUND, /* hosts with config.max_memory_bytes */
    FAULT_HOSTILE,
    FAULT_REPLAY,
    FAULT_ICMP,
    FAULT_JUMP,
    FAULT_COUNT,
};

extern const char *const fault_names[FAULT_COUNT];

/* Why a connection may fail. What is not excused is a bug. */
enum excuse {
    EXCUSE_LOSS = 1u << 0,      /* a handshake or an orphan that lost all of its tries */
    EXCUSE_PARTITION = 1u << 1, /* the link was down */
    EXCUSE_ADDRESS = 1u << 2,   /* an address of it went away */
    EXCUSE_MEMORY = 1u << 3,
    EXCUSE_ICMP = 1u << 4,     /* was told that nobody is there */
    EXCUSE_ABORT = 1u << 5,    /* the programs mean to */
    EXCUSE_OVERFLOW = 1u << 6, /* asks a listener that has no room */
    EXCUSE_REFUSED = 1u << 7,  /* the listener refuses some */
    EXCUSE_BROKEN = 1u << 8,   /* the other end failed, excused */
    EXCUSE_PEER_GONE = 1u << 9,
};

enum listener_kind {
    LISTENER_PLAIN = 0,
    LISTENER_LAZY,      /* a short backlog, accepted slowly */
    LISTENER_HOLD,      /* FOYER_OPT_HOLD: requests are decided on */
    LISTENER_INTERCEPT, /* everything that is meant for 10.99.0.0/16 and fd99::/16 */
};

struct world;
struct conn;

struct world_listener {
    struct world_host *host;
    foyer_socket socket;
    uint16_t port;
    enum listener_kind kind;
    bool is_open, has_waiting, has_requests, has_ended;
    uint32_t tied_count; /* requests with a user that has not come back yet */
    foyer_time_ns next_accept_ns;
};

/* One end of a connection: a program with a handle. */
struct end {
    struct world *world;
    struct world_host *host;
    struct conn *conn; /* NULL: accepted, and its header has not come yet */
    unsigned side;     /* 0: called connect */
    uint64_t user;
    foyer_socket socket;
    bool is_open, is_connected, is_readable, is_writable;
    bool has_shut_down, has_eof, has_closed_event, is_done, has_stalled, uses_rings;
    uint64_t sent, received;
    uint8_t header[16];
    struct foyer_ring rx, tx; /* uses_rings */
    void *ring_memory;
    foyer_time_ns next_read_ns, next_write_ns, progress_ns;
    int error;
};

enum abort_how {
    ABORT_CALL,
    ABORT_LINGER,
    ABORT_CLOSE,
    ABORT_COUNT,
};

/* What a program at one end does. */
struct plan {
    uint64_t to_send;
    uint32_t read_size, write_size;
    foyer_time_ns read_pause_ns, write_pause_ns;
    uint64_t stall_at; /* after so many bytes it reads nothing for stall_ns */
    foyer_time_ns stall_ns;
    uint64_t abort_at; /* UINT64_MAX: never; counts bytes of both directions */
    enum abort_how abort_how;
    bool shuts_after_eof; /* FIN only in answer to the peer's */
    bool closes_at_once;  /* close() instead of shutdown and waiting for the peer's FIN */
    bool waits_for_closed;
    bool nodelay, cork, keepalive, uses_rings;
    bool is_urgent, is_fast_open; /* some of its writes; the first */
    uint8_t congestion, ecn;
};

struct conn {
    unsigned index;
    struct world_host *hosts[2];
    struct world_listener *listener; /* NULL: simultaneous open */
    enum foyer_family family;
    struct foyer_endpoint remote;
    foyer_time_ns start_ns;
    struct plan plans[2];
    uint32_t request_size, response_size; /* 0: both send as they like */
    struct end *ends[2];
    unsigned retries;
    uint32_t excuses;
    bool is_opened, was_established;
    uint64_t pattern;
};

struct datagrams; /* datagram.c */

/* What inspect.c saw of a socket last. */
struct shadow {
    uint32_t generation;
    bool is_set;
    uint8_t state;
    uint32_t snd_una, snd_nxt, rcv_nxt, pipe_bytes;
};

struct world_host {
    struct sim_host *sim;
    struct world_listener listeners[WORLD_LISTENERS];
    foyer_socket stale[WORLD_STALE_MAX]; /* handles that were given back */
    unsigned stale_count;
    uint32_t excuses;   /* of connections with an end here */
    bool is_without[2]; /* of its address of either family, for a while: v4, v6 */
    foyer_time_ns address_back_ns, memory_back_ns, link_up_ns;
    struct shadow *shadows; /* by the handle's index */
    uint32_t shadow_count;
};

struct captured {
    uint8_t bytes[WORLD_CAPTURED_BYTES];
    size_t size;
};

struct world_counts {
    uint64_t worlds, connections, established, completed, excused, datagrams, frames, faults,
        hostile, inspections, failed_worlds;
};

struct world {
    struct sim sim;
    uint32_t faults; /* 1 << enum fault: what may happen here */
    uint32_t without;
    bool is_verbose;
    struct random plan_random, program_random, fault_random, hostile_random, memory_random;
    struct world_host hosts[SIM_HOSTS_MAX];
    unsigned host_count;
    uint16_t mtu;
    struct conn *conns;
    unsigned conn_count, conn_next; /* in order of start_ns */
    struct end **ends;              /* all, by user - 1 */
    unsigned end_count, end_capacity;
    struct end **live; /* those that are open */
    unsigned live_count, live_capacity;
    foyer_time_ns start_ns, heal_ns, next_fault_ns, next_look_ns;
    bool is_healed, is_ending;
    uint32_t excuses; /* of everybody */
    struct captured captured[WORLD_CAPTURED_MAX];
    unsigned captured_count;
    struct datagrams *datagrams;
    uint8_t congestion_count;
    struct world_counts *counts;
};

/* ---- world.c ----------------------------------------------------------------------------------- */

/* Runs one world to its end; ends the process where something is wrong. */
void world_run(uint64_t seed, uint32_t without, bool is_verbose, const char *trace,
               struct world_counts *counts);
void world_say(const struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct random world_random(const struct world *world, uint64_t part);
uint64_t below(struct random *random, uint64_t bound);
bool one_in(struct random *random, uint64_t bound);
bool world_has(const struct world *world, enum fault fault);
/* Puts an end among those that act, and gives it a user number. */
struct end *world_add_end(struct world *world, struct world_host *host);

/* ---- program.c --------------------------------------------------------------------------------- */

void conn_open(struct world *world, struct conn *conn);
/* A line about a connection, for failures. */
void conn_describe(const struct conn *conn, char *text, size_t size);
void end_event(struct end *end, uint32_t bits);
bool end_act(struct end *end);
foyer_time_ns end_deadline(const struct end *end);
/* Ends it; a failure that is not excused ends the run. */
void end_failed(struct end *end, int error, const char *what);
void end_abandon(struct end *end, uint32_t excuse);
bool listener_act(struct world_listener *listener);
/* What was tied to requests is still somewhere. */
void listener_check(const struct world_listener *listener);
void listener_open_any(struct world *world, struct world_host *host, enum listener_kind kind);
void stale_add(struct world_host *host, foyer_socket socket);

/* ---- datagram.c -------------------------------------------------------------------------------- */

void datagrams_init(struct world *world);
bool datagrams_event(struct world *world, struct world_host *host, const struct foyer_event *event);
bool datagrams_act(struct world *world);
foyer_time_ns datagrams_deadline(struct world *world);
void datagrams_finish(struct world *world);

/* ---- fault.c ----------------------------------------------------------------------------------- */

/* Which faults there will be; before the hosts are made. */
void faults_choose(struct world *world);
void faults_init(struct world *world);
bool faults_act(struct world *world);
foyer_time_ns faults_deadline(const struct world *world);
void faults_heal(struct world *world);

/* ---- hostile.c --------------------------------------------------------------------------------- */

/* Remembers some of the frames that pass, to be sent again or to be quoted. */
void hostile_capture(struct world *world, const struct foyer_packet *packet);
void hostile_blind(struct world *world);
void hostile_replay(struct world *world);
void hostile_icmp(struct world *world);

/* ---- inspect.c --------------------------------------------------------------------------------- */

void inspect_before_output(void *context, struct sim_host *host);
void inspect_after_output(void *context, struct sim_host *host);
/* A segment against what its receiver has advertised. */
void inspect_frame(struct world *world, struct world_host *from, const struct foyer_packet *packet);
/* Whether the peer's host still knows of the connection that the end is one end of. */
bool inspect_has_peer(const struct world *world, const struct end *end,
                      const struct world_host *peer);
/* With no socket left: no port, no 4-tuple, no request, no timer of a socket. */
void inspect_at_rest(struct world *world, struct world_host *host);
/* A line about a socket, for failures. */
void inspect_describe(struct world_host *host, foyer_socket socket, char *text, size_t size);

#endif
