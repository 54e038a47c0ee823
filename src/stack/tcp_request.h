/*
 * Connection requests: half-open connections before they are worth a socket.
 *
 *   held       FOYER_OPT_HOLD: nothing is answered yet; the caller decides (socket_request.c)
 *   answered   a SYN-ACK is out; the peer's ACK makes a socket of it, five retransmissions or a
 *              reset end it
 *   ended      it came to nothing, and the caller, who had tied something to it, has not heard of
 *              it yet: it is in no table any more
 *
 * A request is one small block from the host's allocator and knows what the SYN said and what
 * was answered. Where a listener's or the host's share is used up nothing is kept: the answer is
 * a SYN cookie (RFC 4987 section 3.6; tcp_cookie.c).
 *
 * Time: all requests of one level (retransmissions so far; held ones have a level of their own)
 * wait equally long, so that each level is a list in the order of its deadlines, and one timer
 * of the host serves them all.
 */
#ifndef FOYER_STACK_TCP_REQUEST_H
#define FOYER_STACK_TCP_REQUEST_H

#include "base/hash.h"
#include "base/list.h"
#include "base/seq.h"
#include "base/timer.h"
#include "foyer/socket.h"

#define REQUEST_RETRIES 5u                   /* of the SYN-ACK: given up after 63 s, as Linux */
#define REQUEST_LEVELS (REQUEST_RETRIES + 2) /* and one for those that are held */
#define REQUEST_LEVEL_HELD (REQUEST_RETRIES + 1)
#define REQUESTS_MAX_DEFAULT (FOYER_SMALL ? 32u : 131072u) /* per host: 16 MiB */

struct sock;
struct icmp_error;
struct tcp_segment;
struct wire_tcp_options;

enum request_flags {
    REQUEST_WS = 1u << 0,
    REQUEST_SACK = 1u << 1,
    REQUEST_TS = 1u << 2,
    REQUEST_MSS = 1u << 3,
    REQUEST_ECN = 1u << 4,          /* an ECN-setup SYN, to a listener that agrees */
    REQUEST_TIMED = 1u << 5,        /* sent_us is when the only SYN-ACK left */
    REQUEST_FASTOPEN = 1u << 6,     /* the SYN-ACK brings a cookie (RFC 7413) */
    REQUEST_FASTOPEN_OLD = 1u << 7, /* in the experimental option, as the SYN had it */
};

struct request {
    struct hash_node node;       /* in requests.table, by 4-tuple */
    struct list_node due_node;   /* in requests.due[level] */
    struct list_node queue_node; /* in listen->requests, or listen->held until the caller saw it,
                                    or listen->ended */
    struct sock *listener;
    struct foyer_endpoint local, remote;
    seq_t irs, iss; /* iss is void while it is held */
    uint32_t ts_recent;
    uint32_t sent_us;     /* of the last SYN-ACK; held: of the SYN. Modulo 2^32 */
    uint32_t serial;      /* with node.hash the handle */
    uint16_t mss, window; /* as in the SYN */
    uint8_t snd_scale : 7;
    bool was_held : 1; /* it is a struct held_request */
    uint8_t flags;     /* enum request_flags */
    uint8_t level;
    uint8_t accecn; /* enum accecn_request */
};

_Static_assert(sizeof(struct request) <= 120, "a flood is paid for in these");

/* What the caller has seen, and may have tied something to. */
struct held_request {
    struct request request;
    uint64_t user; /* 0: nobody asks what becomes of it */
    int error;     /* of ICMP, and no reason to give up; ended: why it did */
};

static inline struct held_request *held_request(struct request *request)
{
    return request->was_held ? (struct held_request *)request : NULL;
}

/* Per host. */
struct requests {
    struct hash_table table;
    struct list_node due[REQUEST_LEVELS];
    struct timer timer; /* kind TIMER_REQUESTS */
    uint32_t last_serial;
};

int requests_init(struct foyer_host *host);
void requests_finish(struct foyer_host *host);
/* requests.timer. */
void requests_timer(struct foyer_host *host, foyer_time_ns now);

struct request *request_find(struct foyer_host *host, const struct foyer_endpoint *local,
                             const struct foyer_endpoint *remote);
struct request *request_from_handle(struct foyer_host *host, foyer_request handle);
foyer_request request_handle(const struct request *request);
/* A SYN that was not seen before. It is held, or answered at once. NULL: no memory or no way. */
struct request *request_create(struct foyer_host *host, struct sock *listener,
                               const struct tcp_segment *seg, bool is_held, foyer_time_ns now);
void request_free(struct foyer_host *host, struct request *request);
/* The same, but not by the caller's will: it is told why, where it wants to know. */
void request_end(struct foyer_host *host, struct request *request, int error);
/* An ICMP error that quotes something from local to remote. May free it. */
void request_icmp_error(struct foyer_host *host, struct request *request,
                        const struct icmp_error *error);
/* A segment for a 4-tuple that has a request. May free it. */
void request_input(struct foyer_host *host, struct request *request, struct tcp_segment *seg,
                   foyer_time_ns now);
/* Sends the SYN-ACK of a held one. */
void request_answer(struct foyer_host *host, struct request *request, foyer_time_ns now);
/* Tells the peer that nobody is there. */
void request_reset(struct foyer_host *host, const struct request *request);

/* Whether the connection will speak ECN (RFC 3168). */
bool syn_asks_ecn(const struct sock *listener, const struct tcp_segment *seg);

/* What a SYN-ACK says, whether or not anything is remembered of it. */
struct syn_ack {
    const struct sock *listener;
    const struct foyer_endpoint *local, *remote;
    seq_t iss, irs;
    const struct wire_tcp_options *peer; /* what the SYN offered */
    uint32_t ts_value;
    bool has_ecn;   /* RFC 3168: asked for and agreed to */
    uint8_t accecn; /* the same of RFC 9768: enum accecn_request, and which try it is */
    uint8_t nth;
};
void syn_ack_send(struct foyer_host *host, const struct syn_ack *syn_ack);

/* A handshake that is complete but for its socket. */
struct handshake {
    struct sock *listener;
    const struct wire_tcp_options *peer; /* what the SYN offered */
    seq_t irs, iss;
    uint16_t window;  /* of the SYN */
    bool has_ecn;     /* RFC 3168: our SYN-ACK agreed */
    uint8_t accecn;   /* RFC 9768: enum accecn_request */
    bool is_timed;    /* sent_us tells when the only SYN-ACK left */
    uint32_t sent_us; /* modulo 2^32 */
    uint64_t user;    /* for the socket, once it is accepted */
};
/*
 * Makes the socket and gives it the segment, an ACK of iss + 1. False: no memory, nothing
 * happened. The caller has seen to the accept queue's room.
 */
bool handshake_complete(struct foyer_host *host, const struct handshake *handshake,
                        struct tcp_segment *seg, foyer_time_ns now);

/*
 * RFC 7413 section 4.2.2: the SYN brought a good cookie. Makes the socket in SYN-RECEIVED, takes
 * the data, puts the socket in the accept queue and answers. False: as above.
 */
bool handshake_begin_fast(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                          foyer_time_ns now);

/* ---- tcp_cookie.c --------------------------------------------------------------------------------- */

/* Answers a SYN with a cookie. */
void cookie_answer(struct foyer_host *host, struct sock *listener, const struct tcp_segment *seg,
                   foyer_time_ns now);
/* An ACK to a listener: makes a socket where it brings a cookie back, and is silent about what else
 * is of a connection that a cookie stands for. False: it is a stranger's. */
bool cookie_input(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                  foyer_time_ns now);

#endif
