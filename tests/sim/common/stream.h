/*
 * A program at one end of a TCP connection: writes so many bytes of a pattern, checks what it
 * reads against the other end's pattern, ends its direction with FIN, waits for the peer's, and
 * closes. It acts on events alone, as an edge-triggered program would: an event that the stack
 * forgets shows as a run that never ends.
 */
#ifndef FOYER_TESTS_SIM_STREAM_H
#define FOYER_TESTS_SIM_STREAM_H

#include "common/sim.h"

struct stream {
    struct sim_host *host;
    foyer_socket socket;
    uint64_t user; /* as set on the socket */
    uint64_t send_pattern, receive_pattern;
    uint64_t to_send, sent, to_receive, received;
    uint32_t read_size, write_size; /* largest per call */
    foyer_time_ns read_pause_ns;    /* after each read: a slow reader; 0: none */
    foyer_time_ns next_read_ns;
    bool waits_for_closed; /* close only after FOYER_EVENT_CLOSED */
    bool is_open;          /* the handle is ours */
    bool is_connected, is_readable, is_writable;
    bool has_shut_down, has_eof, has_closed_event, is_done;
    int error;
    bool may_fail;    /* an error ends it instead of the run */
    unsigned retries; /* of a connect that fails with EHOSTUNREACH: a resolution that was lost */
    struct foyer_endpoint remote;
    enum foyer_family family;
    enum foyer_ecn ecn; /* of a stream that connects */
    bool is_fast;       /* it sends with the SYN (TCP Fast Open) */
};

struct listener {
    struct sim_host *host;
    foyer_socket socket;
    /* Streams that accepted connections are given to, in order. */
    struct stream **accepts;
    unsigned accept_count, accepted;
};

/* Every stream and listener of a run; its address is the app's context. */
struct streams {
    struct sim *sim;
    struct stream **all;
    unsigned count;
    struct listener *listener; /* NULL: none */
    foyer_time_ns last_progress_ns;
};

struct sim_app streams_app(struct streams *streams);
bool streams_done(void *context); /* struct streams */

void listener_open(struct listener *listener, struct sim_host *host, enum foyer_family family,
                   uint16_t port, uint32_t backlog);
void stream_connect(struct stream *stream, struct sim_host *host, enum foyer_family family,
                    const struct foyer_endpoint *remote, uint64_t user);

#endif
