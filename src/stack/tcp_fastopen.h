/* TCP Fast Open (RFC 7413): see tcp_fastopen.c. */
#ifndef FOYER_STACK_TCP_FASTOPEN_H
#define FOYER_STACK_TCP_FASTOPEN_H

#include "base/seq.h"
#include "base/siphash.h"
#include "foyer/socket.h"
#include "wire/tcp.h"

#define FASTOPEN_COOKIE_SIZE 8u /* of ours; others' have 4 to 16 bytes */
#define FASTOPEN_PATHS 64u      /* that a client remembers */
#define FASTOPEN_RETRY_NS (60 * FOYER_NS_PER_S)
#define FASTOPEN_RESET_NS (60 * FOYER_NS_PER_S)

struct sock;
struct tcb;
struct tcp_segment;

/* What a client knows of one of its paths. */
struct fastopen_path {
    struct foyer_addr client, server;
    uint64_t used; /* 0: the place is free; else the larger, the later */
    foyer_time_ns failed_ns;
    uint16_t mss; /* as the server offers it; 0: it does not */
    uint8_t cookie[WIRE_TCP_FASTOPEN_MAX];
    uint8_t cookie_size; /* 0: none yet */
    uint8_t failures;    /* in a row: SYNs that came through only without data and option */
};

/* Per host. */
struct fastopen {
    struct siphash_key keys[2]; /* the first makes cookies, both check them */
    int key_count;
    struct fastopen_path *paths; /* FASTOPEN_PATHS of them; NULL: nobody asked yet */
    uint64_t clock;
};

/* Keys of the host's own secret. */
void fastopen_init(struct foyer_host *host);
void fastopen_finish(struct foyer_host *host);

/* ---- server --------------------------------------------------------------------------------- */

enum fastopen_verdict {
    FASTOPEN_NONE,     /* nothing about it */
    FASTOPEN_GIVE,     /* no data; the SYN-ACK brings a cookie */
    FASTOPEN_GOOD,     /* the data is taken */
    FASTOPEN_GOOD_OLD, /* the same; the cookie's key is on its way out: the SYN-ACK brings another */
};

enum fastopen_verdict fastopen_judge(struct foyer_host *host, struct sock *listener,
                                     const struct tcp_segment *seg, foyer_time_ns now);
/* The option of a SYN-ACK. */
void fastopen_offer(const struct foyer_host *host, const struct foyer_addr *client,
                    const struct foyer_addr *server, bool is_experimental,
                    struct wire_tcp_options *options);
/* A child begins in SYN-RECEIVED; its handshake is complete, or it is over. */
void fastopen_enter(struct sock *listener, struct tcb *tcb);
void fastopen_leave(struct foyer_host *host, struct tcb *tcb, bool is_reset, foyer_time_ns now);

/* ---- client --------------------------------------------------------------------------------- */

/* The table of paths; it is there from then on. 0, -ENOMEM. */
int fastopen_need_table(struct foyer_host *host);
/* How much data a SYN to the server would carry now. */
uint32_t fastopen_room(const struct foyer_host *host, const struct sock *sock,
                       const struct foyer_addr *server);
/* What Fast Open adds to a SYN that leaves: the option, and how many bytes of the ring. */
uint32_t fastopen_fill_syn(struct foyer_host *host, struct sock *sock,
                           struct wire_tcp_options *options, foyer_time_ns now);
/* What an ACK may acknowledge before the handshake is complete. */
seq_t fastopen_highest_ack(const struct tcb *tcb);
/* Our SYN is acknowledged, snd_una not moved yet: how many bytes of data with it, and how many that
 * it carried were not. */
uint32_t fastopen_syn_acked(struct foyer_host *host, struct sock *sock,
                            const struct tcp_segment *seg, uint32_t *ret_refused_bytes,
                            foyer_time_ns now);

#endif
