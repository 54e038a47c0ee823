/* Two foyer hosts in one process; what one sends is handed to the other without a copy. */
#ifndef FOYER_BENCH_CORE_PAIR_H
#define FOYER_BENCH_CORE_PAIR_H

#include <foyer/foyer.h>

struct pair_config {
    uint32_t capabilities;
    uint32_t max_sockets;
    uint16_t ephemeral_first; /* 0: the library's */
    /* Memory of huge pages where the kernel gives them, as a program with millions of connections
     * would take it; what is freed is not used again. */
    bool has_huge_pages;
};

struct arena; /* core_pair.c */

struct pair {
    struct foyer_host *hosts[2]; /* 10.0.0.1 and 10.0.0.2, neighbours once they have spoken */
    foyer_time_ns now;
    uint64_t allocated_bytes; /* of both: given out and not given back */
    struct arena *arenas;     /* has_huge_pages: the latest first; else NULL */
};

void pair_init(struct pair *pair, const struct pair_config *config);
void pair_finish(struct pair *pair);

struct foyer_endpoint pair_endpoint(unsigned end, uint16_t port);
/* A listener on host 1. */
foyer_socket pair_listen(struct pair *pair, uint16_t port, uint32_t backlog);
/* A socket of host 0 that has begun to connect to host 1. */
foyer_socket pair_connect(struct pair *pair, uint16_t port);
/* A connection: *ret_client on host 0, *ret_server on host 1. */
void pair_establish(struct pair *pair, foyer_socket listener, uint16_t port,
                    foyer_socket *ret_client, foyer_socket *ret_server);

/* Hands over what host `from` has to send; whether there was anything. */
bool pair_carry(struct pair *pair, unsigned from);
/* Carries both ways until neither has anything left; time stands still. */
void pair_settle(struct pair *pair);
/* Time passes: timers run as they come due. */
void pair_advance(struct pair *pair, foyer_time_ns by_ns);
/* Takes the hosts' events, which the benchmarks do not go by. */
void pair_drain_events(struct pair *pair);

#endif
