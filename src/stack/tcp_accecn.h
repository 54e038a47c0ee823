/*
 * More accurate ECN feedback (RFC 9768): the counters of both half connections, and the calls of
 * tcp_accecn.c. A connection speaks it where TCPF_ACCECN is set; TCPF_ECN_OK is clear then.
 */
#ifndef FOYER_STACK_TCP_ACCECN_H
#define FOYER_STACK_TCP_ACCECN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/seq.h"
#include "foyer/types.h"
#include "wire/tcp.h"

struct foyer_host;
struct foyer_socket_info;
struct sock;
struct tcb;
struct tcp_delivery;
struct tcp_segment;

/* What a compact request remembers (tcp_request.c); 0: it is none of AccECN. The two highest bits
 * are the IP-ECN field of the latest SYN. */
enum accecn_request {
    ACCECN_AGREED = 1u << 0,
    ACCECN_NO_ECT = 1u << 1, /* a SYN or SYN-ACK said (0,0,0): section 3.1.5 */
    ACCECN_AGAIN = 1u << 2,  /* a SYN came again: the option may be what the path drops */
    ACCECN_IP_ECN_SHIFT = 6,
};

/* Bytes by the IP-ECN field they came with, modulo 2^32. */
struct accecn_bytes {
    uint32_t ce, e0, e1;
};

struct tcp_accecn {
    /* As receiver: r.cep, and r.ceb, r.e0b, r.e1b. */
    uint32_t received_ce;
    struct accecn_bytes received;
    uint32_t told_ce;         /* r.cep in the last segment sent */
    struct accecn_bytes told; /* in the last option sent */
    /* As sender: s.cep, and s.ceb, s.e0b, s.e1b. */
    uint32_t sent_ce;
    struct accecn_bytes sent;
    uint32_t echo_ts;         /* the newest timestamp whose ACE was looked at */
    uint32_t segments_avg16;  /* acknowledged by an ACK, on average, times 16 */
    seq_t round_end;          /* of the first rounds */
    uint8_t rounds;           /* over, at most ACCECN_ROUNDS */
    uint8_t handshake_ip_ecn; /* of the latest SYN (server) or SYN-ACK (client) */
    bool is_asked;            /* our SYN said (1,1,1) */
    bool owes_handshake : 1;  /* the next bare ACK has the handshake's encoding (3.2.2.1) */
    bool owes_option : 1;     /* the next bare ACK has the option, whatever changed (3.2.3.2.1) */
    bool was_ce : 1;          /* the last segment received */
    bool is_ect_off : 1;      /* send no ECT: what we send is mangled, or the peer does not say */
    bool is_deaf : 1;         /* what the peer says of marks is no news of congestion */
    bool is_ace_seen : 1;
    bool is_option_seen : 1, is_option_ignored : 1;
    bool is_unmarked_seen : 1;     /* not all of what was sent is marked */
    bool is_handshake_segment : 1; /* the segment at hand had that encoding */
};

/* ---- the handshake ---------------------------------------------------------------------------- */

/* Bits of a compact request for a SYN to that listener; 0: something else is spoken. */
uint8_t accecn_request_of(const struct sock *listener, const struct tcp_segment *syn);
/* The SYN came again. False: it cannot be the same connection's, which is to be reset. */
bool accecn_request_again(uint8_t *bits, bool is_classic, const struct sock *listener,
                          const struct tcp_segment *syn);
/* AE, CWR and ECE of the SYN-ACK that is sent for the nth time, from 0. */
uint16_t accecn_syn_ack_flags(uint8_t bits, unsigned nth);
/* What is in each option of a SYN-ACK: the counters as they begin. */
void accecn_syn_ack_option(struct wire_tcp_options *options);
/* A child of such a request. There is tcb->extra. */
void accecn_enter_server(struct tcb *tcb, uint8_t bits);

/* Our SYN asks for it. False: with something else. */
bool accecn_ask(const struct sock *sock, uint16_t *ret_flags);
/* The answer to such a SYN, or the SYN that crossed it. False: what it means is tcp_ecn.c's. */
bool accecn_answered(struct sock *sock, const struct tcp_segment *seg);
/* Of a SYN-ACK by a socket. */
uint16_t accecn_reply_flags(struct tcb *tcb);
/* A SYN again, or a SYN-ACK that was sent again, to a socket. */
void accecn_syn_again(struct tcb *tcb, const struct tcp_segment *seg);
/* SYN-RECEIVED ends with that segment. */
void accecn_handshake_acked(struct tcb *tcb, const struct tcp_segment *seg);

/* AE, CWR and ECE, one after the other in the header, that tell a number of three bits. */
#define ACCECN_FLAGS_SHIFT 6
static inline uint16_t accecn_flags_of(unsigned ace)
{
    return (uint16_t)((ace & 7u) << ACCECN_FLAGS_SHIFT);
}

/* ---- segments --------------------------------------------------------------------------------- */

/* The ACE field of a segment. is_bare: an ACK without text, FIN and SACK blocks. */
uint16_t accecn_flags(struct tcb *tcb, bool is_bare);
/* The option, where it is due and fits, into the header and the room that the text leaves in the
 * segment. options has all else. */
void accecn_fill_option(struct tcb *tcb, struct wire_tcp_options *options, uint32_t room_bytes);
/* Whether a super-segment keeps its flags when it is cut: the link clears CWR after the first. */
bool accecn_may_coalesce(const struct tcb *tcb);
/* Any acceptable segment. */
void accecn_receive(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg);
/* The feedback of an ACK; its bytes are delivered. Whether it tells of new marks. */
bool accecn_ack(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                const struct tcp_delivery *delivery, foyer_time_ns now);

/* has_accurate_ecn and ecn. */
void accecn_info(const struct tcb *tcb, struct foyer_socket_info *ret_info);

#endif
