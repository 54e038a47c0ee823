/*
 * A TCP connection's state and the calls between TCP's files.
 *
 *   tcp_fast.c      segments that are just what is expected
 *   tcp_fast_out.c  segments that are all there is to say
 *   tcp_in.c        segments that arrive: demultiplexing and RFC 9293 section 3.10.7
 *   tcp_ack.c       what an acceptable ACK does to the sender
 *   tcp_receive.c   text, FIN and reassembly into the receive ring, the receive window
 *   tcp_options.c   options of both directions, timestamps, PAWS, the ISN
 *   tcp_ecn.c       explicit congestion notification
 *   tcp_accecn.c    its more accurate feedback (RFC 9768)
 *   tcp_urgent.c    urgent data of both directions
 *   tcp_mtu.c       black holes on the path, and probes for its MTU
 *   tcp_listen.c    SYN to a listener, the accept queue
 *   tcp_request.c   half-open connections, which have no socket yet
 *   tcp_cookie.c    those that have no memory at all
 *   tcp_fastopen.c  data in the SYN (RFC 7413)
 *   tcp_out.c       the next segment to send
 *   tcp_reply.c     segments outside of the pull: RST, challenge ACK
 *   tcp_timer.c     the logical deadlines behind the one timer
 *   tcp_recovery.c  the states of loss recovery, PRR, RTO, F-RTO, undo
 *   tcp_rack.c      RACK-TLP: what is lost, by time; loss probes
 *   tcp_board.c     what is out: SACK scoreboard and transmission times
 *   tcp_rtt.c       round trips and the RTO they give
 *   tcp_rate.c      the rate of delivery
 *   tcp_pace.c      when the next segment may go
 *   tcp_ranges.c    sorted lists of byte ranges and their pool
 *   tcp_cc*.c       congestion control
 *   tcp_statistics.c  what a connection's time went by
 *   tcp_socket.c    the calls of the socket API
 *
 * The state of RFC 9293 section 3.3.2 is sock->state. What is true in each:
 *
 *   CLOSED        sock->tcb is NULL: fresh, or over. Timers and tables know nothing of it.
 *   LISTEN        tcb is NULL. Half-open connections are struct request.
 *   SYN-SENT      our SYN is or will be out: snd_una == iss, rcv_nxt is void. No data moves.
 *   SYN-RECEIVED  a simultaneous open: the peer's SYN is known. With TCPF_FASTOPEN and
 *                 TCPF_PASSIVE: a SYN's data was taken, and data may be sent. (TCPF_PASSIVE: for the moment in
 *                 which a request becomes a socket.)
 *   ESTABLISHED   both directions open.
 *   CLOSE-WAIT    TCPF_FIN_RECEIVED; rx ring says FIN; we may send.
 *   FIN-WAIT-1    TCPF_FIN_QUEUED: our FIN follows snd_end; sent and not acknowledged, or not yet
 *                 sent because data stands before it.
 *   FIN-WAIT-2    our FIN is acknowledged: snd_una == snd_nxt == snd_end + 1. We may receive.
 *   CLOSING, LAST-ACK  both FINs are known, ours is not acknowledged.
 *   TIME-WAIT     only the slow deadline runs; rings are given back where nobody can read them.
 *
 * Sequence space of the sender, snd_una <= snd_nxt <= snd_end + 1:
 *
 *   snd_una   first byte not acknowledged. Everything before it is out of the ring.
 *   snd_nxt   next new byte. Never goes back: what is sent again stands on the board.
 *   snd_end   one past the last byte that the program wrote, as validated at the last look; the
 *             FIN's sequence number once TCPF_FIN_QUEUED.
 *
 * tx_offset and rx_offset translate: sequence number = offset + ring position. Positions in the
 * shared block are read once per look, checked against these private numbers and never used
 * unchecked: the memory belongs to a program.
 */
#ifndef FOYER_STACK_TCP_H
#define FOYER_STACK_TCP_H

#include "base/seq.h"
#include "stack/stack.h"
#include "stack/tcp_accecn.h"
#include "stack/tcp_board.h"
#include "stack/tcp_fastopen.h"
#include "wire/tcp.h"

/* ---- constants ------------------------------------------------------------------------------ */

#define TCP_MSS_DEFAULT_V4 536u /* RFC 9293 section 3.7.1 (MUST-15) */
#define TCP_MSS_DEFAULT_V6 1220u
#define TCP_MSS_MIN                                                                                \
    88u                         /* a peer's smaller MSS is not followed: Linux's tcp_min_snd_mss
                                    is 48; this leaves room for 40 bytes of options */
#define TCP_WINDOW_SCALE_MIN 7u /* so that a ring of up to 8 MiB can be attached after the SYN */

#define TCP_RTO_INITIAL_NS FOYER_NS_PER_S            /* RFC 6298 (2.1) */
#define TCP_RTO_INITIAL_LOST_NS (3 * FOYER_NS_PER_S) /* RFC 6298 (5.7) */
#define TCP_RTO_MIN_NS (200 * FOYER_NS_PER_MS)       /* below (2.4)'s 1 s, as Linux */
#define TCP_RTO_MAX_NS (120 * FOYER_NS_PER_S)        /* RFC 6298 (2.5): at least 60 s */
#define TCP_DELAYED_ACK_NS (40 * FOYER_NS_PER_MS)    /* RFC 9293 3.8.6.3 (MUST-40) */
#define TCP_CORK_NS (200 * FOYER_NS_PER_MS)
#define TCP_OVERRIDE_NS (200 * FOYER_NS_PER_MS) /* RFC 9293 3.8.6.2.1: 0.1 - 1 s */
#define TCP_TIME_WAIT_NS (60 * FOYER_NS_PER_S)  /* 2 MSL; MSL 30 s as Linux */
#define TCP_REUSE_NS FOYER_NS_PER_S /* in TIME-WAIT before a connect may reuse it, as Linux */
#define TCP_FIN_WAIT_2_NS (60 * FOYER_NS_PER_S) /* orphans only */
#define TCP_OOW_ACK_NS (500 * FOYER_NS_PER_MS)  /* answers to unacceptable segments */
#define TCP_SLEPT_NS (600 * FOYER_NS_PER_S)     /* a timer so late: the machine slept */
#define TCP_SYN_RETRIES 7u                      /* 247 s to give up */
#define TCP_SYN_ACK_RETRIES 5u                  /* 63 s */
#define TCP_DATA_RETRIES 15u                    /* RFC 9293 3.8.3 R2 (SHLD-11): at least 100 s */
#define TCP_ORPHAN_RETRIES 8u                   /* nobody waits for it any more */
#define TCP_R1_RETRIES 3u                       /* RFC 9293 3.8.3 R1 (SHLD-10) */
#define TCP_DUP_THRESH 3u                       /* RFC 5681, RFC 6675 DupThresh */
#define TCP_QUICK_ACKS 16u         /* segments at the start that are acknowledged at once */
#define TCP_REQUESTS_MIN 16u       /* requests that even a listener of backlog 0 may hold */
#define TCP_CHALLENGES_PER_S 1000u /* RFC 5961 section 7, per host */
/* Slow start that overruns a queue leaves a hole every second segment; what finds no room here is
 * sent again, and much of it in vain. */
#define TCP_RANGES_FEW 116u
#define TCP_RANGES_MAX 2048u
#define TCP_RECENT_MAX 4u

/* ---- byte ranges (tcp_ranges.c) --------------------------------------------------------------- */

struct tcp_range {
    seq_t start, end; /* start .. end - 1 */
};

/*
 * Sorted, disjoint, not adjacent ranges: the out-of-order bytes of a receiver, and what else only
 * a receiver with gaps or duplicates has to remember. Taken from the host's pool on first need.
 */
struct tcp_ranges {
    struct foyer_host *host;
    struct tcp_range *range; /* few, or an array of the allocator's */
    uint32_t count, capacity;
    seq_t fin_seq;          /* with TCPF_FIN_AHEAD */
    struct tcp_range dsack; /* with TCPF_DSACK */
    uint32_t recent_count;
    seq_t recent[TCP_RECENT_MAX]; /* a byte of the last changed ranges, newest first */
    struct tcp_range few[TCP_RANGES_FEW];
};

struct tcb;

/* The connection has out_of_order from now on. False: no memory. */
bool tcp_ranges_need(struct foyer_host *host, struct tcb *tcb);
/* Forgets the ranges, an early FIN and a D-SACK. */
void tcp_ranges_drop(struct foyer_host *host, struct tcb *tcb);
/* Gives them back where nothing is left in them. */
void tcp_ranges_give_if_empty(struct foyer_host *host, struct tcb *tcb);
/* Bytes came twice: the next ACK tells (RFC 2883), as far as there is memory to remember it. */
void tcp_ranges_note_dsack(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end);
/* Adds [start, end). False where that would need one range more than there is room for. */
bool tcp_ranges_add(struct tcp_ranges *ranges, seq_t start, seq_t end);
/* Removes everything before seq. */
void tcp_ranges_trim(struct tcp_ranges *ranges, seq_t seq);
/* Whether [start, end) is in one range already. */
bool tcp_ranges_contains(const struct tcp_ranges *ranges, seq_t start, seq_t end);

/* ---- the transmission control block ----------------------------------------------------------- */

enum tcp_flags {
    TCPF_PASSIVE = 1u << 0, /* made by a SYN to a listener */
    TCPF_SACK_OK = 1u << 1, /* negotiated */
    TCPF_TS_OK = 1u << 2,
    TCPF_WS_OK = 1u << 3,
    TCPF_SYN_PENDING = 1u << 4,   /* send SYN or SYN-ACK at the next pull */
    TCPF_ACK_NOW = 1u << 5,       /* send an ACK at the next pull */
    TCPF_ACK_DELAYED = 1u << 6,   /* ack_deadline_ns runs */
    TCPF_PROBE_NOW = 1u << 7,     /* window probe or keep-alive at the next pull */
    TCPF_FIN_QUEUED = 1u << 8,    /* the program sends no more: FIN stands at snd_end */
    TCPF_FIN_RECEIVED = 1u << 9,  /* rcv_nxt is past the peer's FIN */
    TCPF_RTT_TIMED = 1u << 10,    /* rtt_seq and rtt_start_ns run */
    TCPF_CWND_LIMITED = 1u << 11, /* cwnd was what stopped the last pull */
    TCPF_OVERRIDE = 1u << 12,     /* send what the window allows, however small */
    TCPF_DSACK = 1u << 13,        /* report out_of_order->dsack in the next ACK (RFC 2883) */
    TCPF_PERSIST = 1u << 14,      /* rto_deadline_ns is the persist timer */
    TCPF_FORCE_RXT = 1u << 15,    /* retransmit one segment at snd_una whatever cwnd says */
    TCPF_SYN_LOST = 1u << 16,     /* the handshake needed a retransmission */
    TCPF_FIN_AHEAD = 1u << 17,    /* a FIN came out of order: out_of_order->fin_seq */
    TCPF_TX_MAPPED = 1u << 18,    /* tx_offset is valid */
    TCPF_RX_MAPPED = 1u << 19,    /* rx_offset is valid */
    TCPF_REORDERED = 1u << 20,    /* RFC 8985 RACK.reordering_seen */
    TCPF_LOSS_PROBE = 1u << 21,   /* send a tail loss probe at the next pull */
    TCPF_ECN_OK = 1u << 22,       /* negotiated (RFC 3168) */
    TCPF_ECE = 1u << 23,          /* echo congestion until CWR comes */
    TCPF_CWR = 1u << 24,          /* say in the next new data that cwnd was reduced */
    TCPF_SYN_ACKED = 1u << 25,    /* the peer has acknowledged our SYN */
    TCPF_FASTOPEN = 1u << 26,     /* before: the handshake is a Fast Open; after: it had data */
    TCPF_TFO_OFFER = 1u << 27,    /* the SYN-ACK brings a cookie */
    TCPF_ACCECN = 1u << 28,       /* negotiated (RFC 9768): there is extra, and no TCPF_ECN_OK */
    /* One segment is out, sent at rtt_start_us, and not on a board yet: tcp_board_need puts it there
     * where more happens than that it is acknowledged (tcp_fast_out.c). There is no board then. */
    TCPF_LONE = 1u << 29,
    TCPF_URG_OUT = 1u << 30, /* extra->snd_up is beyond SND.UNA */
    TCPF_URG_IN = 1u << 31,  /* the reader has not passed extra->rcv_up */
};

/* RFC 6675, RFC 5681: what the sender believes about the path. */
enum tcp_recovery_state {
    TCP_OPEN = 0,
    TCP_CWR,      /* reduced without a loss to repair, until snd_una >= recovery_point */
    TCP_RECOVERY, /* fast recovery, until snd_una >= recovery_point */
    TCP_LOSS,     /* after an RTO, until snd_una >= recovery_point */
};

struct tcp_cubic {
    union {
        struct {
            uint32_t w_max_bytes, w_max_undo_bytes;
            uint32_t w_est_bytes, cwnd_prior_bytes;
            uint32_t k_ms, epoch_ms;
            uint32_t credit; /* what rounding left over of growth: byte * byte / cwnd */
        };
        struct { /* is_hystart: HyStart++ (RFC 9406) runs, no loss was met yet */
            seq_t round_end;
            uint32_t last_min_us, current_min_us; /* UINT32_MAX: none */
            uint32_t baseline_us;                 /* of conservative slow start */
            uint8_t samples, css_rounds;
            bool is_css;
        } hystart;
    };
    bool in_epoch, after_rto, is_hystart;
};

struct tcp_newreno {
    uint32_t acked_bytes; /* towards the next increase (RFC 3465) */
};

/* tcp_statistics.c; as foyer_socket_statistics. */
struct tcp_statistics {
    uint64_t busy_us, window_limited_us, buffer_limited_us;
    uint32_t delivered_segments, delivered_ce_segments, reorder_events, reorder_segments;
    uint32_t since_us; /* the present kind of time */
    uint8_t kind;
};

/* What few connections need; in no idle one unless it once did. */
struct tcp_extra {
    seq_t snd_up; /* with TCPF_URG_OUT: SND.UP, the first byte that is not urgent */
    seq_t rcv_up; /* with TCPF_URG_IN: the last byte that is, RCV.UP less one */
    bool is_urgent_here, is_urgent_read; /* it was received; recv_urgent gave it */
    uint32_t urgent_seen; /* number of the last urgent byte that the tx ring told of */

    /* tcp_mtu.c: text bytes per segment. mtu_low 0: no black hole was met, the rest is void. */
    uint16_t mtu_low, mtu_high; /* works; may work */
    uint16_t mtu_size;          /* being tried; 0: to be chosen */
    uint8_t mtu_tries;          /* of that size */
    bool is_mtu_probe_out;      /* mtu_start .. mtu_end - 1 is a probe */
    bool is_mtu_repairing;      /* was one, and is not acknowledged yet */
    bool is_mtu_top_tried, is_mtu_done;
    bool is_mtu_unconfirmed; /* nothing came through since mtu_low was lowered */
    seq_t mtu_start, mtu_end;
    uint32_t mtu_done_ms;

    bool has_statistics;
    struct tcp_statistics statistics;
    struct tcp_accecn accecn; /* with TCPF_ACCECN */
};

struct tcp_dctcp {
    struct tcp_newreno reno;      /* first, as in the union: NewReno's functions serve both */
    uint32_t alpha;               /* share of marked bytes, in 1/2^20 */
    uint32_t all_bytes, ce_bytes; /* acknowledged in this window; of it, with ECE */
    seq_t window_end;
};

struct tcb {
    /* Up to received_ms: what every segment looks at, in few cache lines (ahead.c). */
    struct tcp_board *board;         /* sender: what is out; NULL: nothing */
    struct tcp_ranges *out_of_order; /* receiver: what is in the ring beyond rcv_nxt */
    uint32_t flags;                  /* enum tcp_flags */
    uint8_t recovery;                /* enum tcp_recovery_state; OPEN without a board */
    uint8_t snd_scale, rcv_scale;
    uint8_t probes; /* keep-alives unanswered */
    seq_t snd_una, snd_nxt;
    /* SEG.SEQ of the last window update. SND.WL2 is not kept: who gets that far acknowledges
     * SND.UNA or more, and SND.WL2 is never beyond SND.UNA. */
    seq_t snd_wl1;
    uint32_t snd_wnd;
    seq_t rcv_nxt;
    seq_t rcv_acked;                  /* rcv_nxt in the last segment sent */
    uint32_t ts_recent, ts_recent_ms; /* RFC 7323 */
    uint32_t received_ms;             /* last segment of the peer */

    uint32_t ts_offset;
    struct tcp_extra *extra; /* NULL: not needed so far */
    /* sock->timer is armed at the minimum of the deadlines. */
    foyer_time_ns rto_deadline_ns;  /* retransmission or persist */
    foyer_time_ns ack_deadline_ns;  /* delayed ACK */
    foyer_time_ns slow_deadline_ns; /* keep-alive, FIN-WAIT-2 or TIME-WAIT */

    /* Sender. */
    seq_t iss, snd_end;
    uint32_t snd_wnd_max;
    uint32_t tx_offset;

    /* Receiver. */
    seq_t irs;
    seq_t rcv_adv; /* right edge of the window as advertised; never goes back (SHLD-14) */
    uint32_t rx_offset;

    /* Round trips (RFC 6298). */
    uint32_t srtt_us8, rttvar_us4; /* scaled by 8 and by 4; srtt 0: no sample yet */
    union {
        struct {
            uint32_t min_rtt_us, min_rtt_ms; /* RFC 8985 RACK.min_RTT, and when it was; 0: none */
        };
        /* With TCPF_FASTOPEN until TCPF_SYN_ACKED, then 0. */
        union {
            struct { /* TCPF_PASSIVE: who counts it */
                uint32_t listener_index, listener_generation;
            };
            uint32_t syn_data_bytes; /* else: that our SYN carried; snd_nxt does not count them */
        } handshake;
    };
    uint32_t rtt_start_us;
    seq_t rtt_seq; /* the timed segment's end */

    /* Congestion and loss. */
    uint32_t cwnd_bytes, ssthresh_bytes;
    union {
        struct tcp_cubic cubic;
        struct tcp_newreno newreno;
        struct tcp_dctcp dctcp;
        struct tcp_bbr *bbr; /* a unit of the pool */
    } cc;

    /* Times in milliseconds of the caller's clock, modulo 2^32. */
    uint32_t stalled_ms; /* when what is now unanswered was first sent (user timeout) */
    uint32_t sent_ms;    /* last data segment of ours */
    uint32_t oow_ack_ms; /* last answer to an unacceptable segment */

    uint32_t sent_wraps, received_wraps; /* of the 32-bit counts, see tcp_bytes_sent */
    uint32_t retransmissions;

    uint16_t mss;            /* payload per segment, options taken off (RFC 9293 3.7.1 MUST-16) */
    uint16_t peer_mss;       /* as in its option, or the default */
    uint16_t rcv_mss;        /* estimate of what the peer sends per segment */
    uint8_t reorder_mult;    /* RFC 8985 RACK.reo_wnd_mult, less one */
    uint8_t reorder_persist; /* RFC 8985 RACK.reo_wnd_persist */
    uint8_t backoff;         /* doublings of the RTO */
    uint8_t retries;         /* since something was acknowledged */
    uint8_t quick_acks : 7;
    bool is_probed : 1; /* a loss probe went out, and no round trip was measured since */
    uint8_t cc_id;      /* enum foyer_congestion */
    int16_t soft_error; /* of ICMP; reported if the connection times out (RFC 1122 4.2.3.9) */
};

/* An idle connection has to stay below 512 bytes with all that it needs elsewhere
 * (docs/benchmarks/core.md). What only an active one needs belongs to its board or its ranges. */
_Static_assert(sizeof(void *) > 8 || sizeof(struct tcb) <= 232, "idle connections are many");

/* One allocation: sock.tcb leads to it from tcp_create to tcp_free, and is NULL else. */
struct tcp_sock {
    struct sock sock;
    struct tcb tcb;
};

/* A segment on its way in: the header in host order and where its text lies. */
struct tcp_segment {
    const struct rx *rx;
    struct wire_tcp tcp;
    struct wire_tcp_options options;
    seq_t seq;          /* after trimming: of the first byte of text that is left */
    uint32_t offset;    /* of that byte from the transport header */
    uint32_t size;      /* text bytes that are left */
    uint32_t text_size; /* as received */
    bool is_fin;        /* FIN flag, unless trimmed away */
    uint8_t fastopen;   /* enum fastopen_verdict, of a SYN to a listener */
    bool was_syn;       /* a SYN whose flag was taken off: its window is not scaled */
    bool has_isn_floor; /* it takes over a TIME-WAIT: our ISN must be beyond isn_floor */
    seq_t isn_floor;
};

static inline uint32_t tcp_ms(foyer_time_ns now)
{
    return (uint32_t)(now / FOYER_NS_PER_MS);
}

static inline uint32_t tcp_us(foyer_time_ns now)
{
    return (uint32_t)(now / FOYER_NS_PER_US);
}

static inline uint32_t tcp_flight(const struct tcb *tcb)
{
    return seq_distance(tcb->snd_nxt, tcb->snd_una);
}

/* Whether our FIN is out: it stands at snd_end, and snd_nxt passes that only with it. */
static inline bool tcp_fin_sent(const struct tcb *tcb)
{
    return (tcb->flags & TCPF_FIN_QUEUED) != 0 && seq_gt(tcb->snd_nxt, tcb->snd_end);
}

/* First byte of data that is not acknowledged: our SYN, which stands before it, is no byte. */
static inline seq_t tcp_data_una(const struct tcb *tcb)
{
    return (tcb->flags & TCPF_SYN_ACKED) == 0 ? seq_add(tcb->iss, 1)
                                              : seq_min(tcb->snd_una, tcb->snd_end);
}

/* rcv_nxt without the peer's FIN: the sequence number of the ring's head. */
static inline seq_t tcp_data_nxt(const struct tcb *tcb)
{
    return (tcb->flags & TCPF_FIN_RECEIVED) != 0 ? seq_back(tcb->rcv_nxt, 1) : tcb->rcv_nxt;
}

/* Bytes of data acknowledged by the peer: the sequence numbers tell all but the wraps. */
static inline uint64_t tcp_bytes_sent(const struct tcb *tcb)
{
    return (uint64_t)tcb->sent_wraps << 32 | (tcp_data_una(tcb).value - tcb->iss.value - 1);
}

/* Bytes of data received in order; 0 before the peer's SYN. */
static inline uint64_t tcp_bytes_received(const struct tcb *tcb)
{
    if (seq_eq(tcb->rcv_nxt, tcb->irs) && tcb->received_wraps == 0)
        return 0;
    return (uint64_t)tcb->received_wraps << 32 | (tcp_data_nxt(tcb).value - tcb->irs.value - 1);
}

/* Whether out-of-order bytes wait for those before them. */
static inline bool tcp_has_gaps(const struct tcb *tcb)
{
    return tcb->out_of_order != NULL && tcb->out_of_order->count > 0;
}

/* RFC 7413 section 4.2.2: a server may send before the handshake is complete. */
static inline bool tcp_is_fast_child(const struct sock *sock)
{
    return sock->state == FOYER_STATE_SYN_RECEIVED &&
           (sock->tcb->flags & (TCPF_FASTOPEN | TCPF_PASSIVE)) == (TCPF_FASTOPEN | TCPF_PASSIVE);
}

/* Whether losses are told by SACK (RFC 8985) or by counting duplicate ACKs (RFC 6582). */
static inline bool tcp_has_sack(const struct tcb *tcb)
{
    return (tcb->flags & TCPF_SACK_OK) != 0;
}

/* SYN-RECEIVED and before have no room for data; TIME-WAIT and after have no use for it. */
static inline bool tcp_is_synchronized(const struct sock *sock)
{
    return sock->state >= FOYER_STATE_ESTABLISHED;
}

/* ---- tcp_in.c --------------------------------------------------------------------------------- */

/* Processes a segment for a connection; the socket may be freed by it. */
void tcp_segment_arrives(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                         foyer_time_ns now);
/*
 * RFC 6191 section 2, RFC 9293 section 3.6.1 (MAY-2): whether a SYN for a 4-tuple in TIME-WAIT is
 * a new connection's for certain, by its timestamp or by its sequence number.
 */
bool tcp_syn_is_newer(const struct tcp_segment *seg, bool has_timestamps, uint32_t ts_recent,
                      seq_t rcv_nxt);

/* ---- tcp_urgent.c ------------------------------------------------------------------------------ */

/* False: no memory. */
bool tcp_extra_need(struct foyer_host *host, struct tcb *tcb);
void tcp_extra_give(struct foyer_host *host, struct tcb *tcb);
/* Is there urgent data from seq on? Then its segment carries URG and this pointer. */
bool tcp_urgent_is_ahead(const struct tcb *tcb, seq_t seq);
uint16_t tcp_urgent_pointer(const struct tcb *tcb, seq_t seq);
/* What the writer of the tx ring has stored in its word urgent, read after head. */
void tcp_urgent_look(struct foyer_host *host, struct sock *sock, uint64_t word);
/* snd_una moved. */
void tcp_urgent_acked(struct tcb *tcb);
/* A segment with URG, before its text. */
void tcp_urgent_input(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg);
/* Tells the reader of a ring of the caller's where the urgent byte is, or will be. */
void tcp_urgent_show(struct sock *sock);
/* With TCPF_URG_IN: text came. */
void tcp_urgent_received(struct foyer_host *host, struct sock *sock);

/* ---- tcp_mtu.c --------------------------------------------------------------------------------- */

/* The lesser of mss and what is known to come through. */
uint32_t tcp_mtu_bound(const struct tcb *tcb, uint32_t mss);
/* Before the reaction to a timeout; tcb->retries counts it already. */
void tcp_mtu_on_rto(struct foyer_host *host, struct sock *sock);
void tcp_mtu_on_icmp(struct sock *sock, uint16_t mtu);
/* The size that wants to be tried next; 0: none (now). */
uint16_t tcp_mtu_probe_size(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Is there enough of everything? *ret_must_wait: nearly, do not spend what there is. */
bool tcp_mtu_may_probe(const struct sock *sock, uint16_t size, uint32_t unsent, uint32_t window,
                       bool *ret_must_wait);
void tcp_mtu_probe_sent(struct tcb *tcb, seq_t start, uint16_t size);
/* snd_una moved; there is an extra. */
void tcp_mtu_on_progress(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Is what is lost a probe, and nothing else? Then it is noted: no reason to slow down. */
bool tcp_mtu_is_probe_lost(struct foyer_host *host, struct tcb *tcb);

/* ---- tcp_ack.c -------------------------------------------------------------------------------- */

/* The ACK field of an acceptable segment, 3.10.7.4 fifth; false: the segment is dropped. */
bool tcp_ack_input(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                   foyer_time_ns now);
/* snd_una moves to ack over our SYN: the handshake's part that both sides share. */
void tcp_established(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                     foyer_time_ns now);

/* ---- tcp_receive.c ---------------------------------------------------------------------------- */

/* Text and FIN, 3.10.7.4 seventh and eighth. May free the socket. */
void tcp_text_input(struct foyer_host *host, struct sock *sock, struct tcp_segment *seg,
                    foyer_time_ns now);
/* The next size bytes lie in the ring already, and nothing is held beyond them; the largest segment
 * of them had segment_size. The event is the caller's to raise. */
void tcp_text_taken(struct foyer_host *host, struct sock *sock, uint32_t size,
                    uint32_t segment_size, uint32_t gso_size, foyer_time_ns now);
/* The window to advertise now, unscaled bytes; moves rcv_adv where it opens. */
uint32_t tcp_window_select(struct sock *sock);
/* What our SYN or SYN-ACK advertises. */
uint32_t tcp_syn_window(const struct sock *sock);
/* The program may have consumed: sends a window update where it is worth one. False: hostile. */
bool tcp_window_look(struct foyer_host *host, struct sock *sock);
/* Bytes the receive ring has room for beyond rcv_nxt; UINT32_MAX: hostile indexes. */
uint32_t tcp_receive_room(const struct sock *sock);
/* Ties the sequence numbers to the rx ring's positions, once there is a ring. */
void tcp_rx_map(struct sock *sock);
/* SACK blocks for the next ACK: D-SACK first, then the most recent ranges (RFC 2018, 2883). */
void tcp_sack_fill(struct tcb *tcb, struct wire_tcp_options *options);

/* ---- tcp_isn.c -------------------------------------------------------------------------------- */

seq_t tcp_isn_for(struct foyer_host *host, const struct foyer_endpoint *local,
                  const struct foyer_endpoint *remote, foyer_time_ns now);
seq_t tcp_isn(struct foyer_host *host, const struct sock *sock, foyer_time_ns now);

/* ---- tcp_options.c ---------------------------------------------------------------------------- */

uint32_t tcp_ts_offset_for(struct foyer_host *host, const struct foyer_endpoint *local,
                           const struct foyer_endpoint *remote);
uint32_t tcp_ts_offset(struct foyer_host *host, const struct sock *sock);
/* The MSS option for a peer; the socket's own limit counts. */
uint16_t tcp_mss_for_syn(const struct foyer_host *host, const struct sock *sock,
                         const struct foyer_addr *remote);
uint32_t tcp_ts_now(const struct tcb *tcb, foyer_time_ns now);
/* The options of our SYN or SYN-ACK. */
void tcp_options_for_syn(const struct foyer_host *host, const struct sock *sock, bool is_reply,
                         struct wire_tcp_options *ret_options, foyer_time_ns now);
/* The options of any other segment. */
void tcp_options_for_segment(const struct tcb *tcb, struct wire_tcp_options *ret_options,
                             foyer_time_ns now);
/* Takes over what the peer's SYN offers. */
void tcp_options_negotiate(const struct foyer_host *host, struct sock *sock,
                           const struct tcp_segment *seg, foyer_time_ns now);
/* RFC 7323 section 5.3 R1: whether the segment is too old. */
bool tcp_paws_rejects(const struct foyer_host *host, const struct tcb *tcb,
                      const struct tcp_segment *seg, foyer_time_ns now);
/* RFC 7323 section 4.3: TS.Recent of an acceptable segment. */
void tcp_ts_update(struct tcb *tcb, const struct tcp_segment *seg, foyer_time_ns now);
/* tcb->mss from the path MTU, the peer's MSS and the options that every segment carries. */
/* The largest segment that link, peer and option allow, whatever the path is known to take. */
uint16_t tcp_mss_limit(const struct foyer_host *host, const struct sock *sock);
void tcp_mss_update(const struct foyer_host *host, struct sock *sock);
/* The same at each pull: the path's MTU may have changed. */
void tcp_mss_follow(const struct foyer_host *host, struct sock *sock);
uint8_t tcp_rcv_scale(const struct foyer_host *host, const struct sock *sock);

/* ---- tcp_ecn.c (RFC 3168) --------------------------------------------------------------------- */

/* Whether a SYN is an ECN-setup SYN. */
bool tcp_ecn_is_asked(const struct tcp_segment *syn);
/* ECE and CWR of our SYN, or ECE of our SYN-ACK. */
uint16_t tcp_ecn_syn_flags(const struct sock *sock, bool is_reply);
/* Of the peer's SYN or SYN-ACK. */
void tcp_ecn_negotiate(struct sock *sock, const struct tcp_segment *seg);
/* A segment's mark and CWR, after its text was trimmed to the window. */
void tcp_ecn_receive(struct foyer_host *host, struct sock *sock, const struct tcp_segment *seg,
                     foyer_time_ns now);
/* cwnd was reduced: the peer is told by CWR. */
void tcp_ecn_reduced(struct tcb *tcb);
/* What an ACK says of marks; whether it tells of new ones. */
bool tcp_ecn_ack(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                 const struct tcp_delivery *delivery, foyer_time_ns now);
/* ECE of any segment, or ACE (is_bare: without text, FIN and SACK blocks); CWR of one with new data. */
uint16_t tcp_ecn_flags(struct tcb *tcb, bool is_bare);
uint16_t tcp_ecn_flags_of_new_data(struct tcb *tcb);
/* tos with its last two bits as the segment's kind demands. */
uint8_t tcp_ecn_tos(const struct tcb *tcb, uint8_t tos, bool is_new_data);

/* ---- tcp_listen.c ----------------------------------------------------------------------------- */

void tcp_listen_input(struct foyer_host *host, struct sock *listener, struct tcp_segment *seg,
                      foyer_time_ns now);
/* Whether the listener has no room for one more established connection. */
bool tcp_accept_queue_is_full(const struct sock *listener);
/* A child became established: to the accept queue. */
void tcp_request_established(struct foyer_host *host, struct sock *sock);
/* Takes a child out of its listener's accept queue. */
void tcp_listener_forget(struct foyer_host *host, struct sock *sock);

/* ---- tcp_out.c -------------------------------------------------------------------------------- */

/* Looks at the program's end of tx: new bytes, FIN, reset. False: aborted and maybe freed. */
bool tcp_send_look(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Before TCP waits for the program: it must say when it writes, and may just have done so. False:
 * as tcp_send_look. */
bool tcp_send_watch(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Ties the sequence numbers to the tx ring's positions, once there is a ring. */
void tcp_tx_map(struct sock *sock);
/* Whether data or FIN wait to be sent for the first time. */
bool tcp_has_unsent(const struct tcb *tcb);

/* ---- tcp_reply.c ------------------------------------------------------------------------------ */

void tcp_send_rst_for(struct foyer_host *host, const struct tcp_segment *seg);
/* An ACK of what is owed, before what comes next changes what it says. */
void tcp_send_ack(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* RST of a synchronized or half-open connection, as RFC 9293 section 3.10.5 ABORT. */
void tcp_send_rst(struct foyer_host *host, struct sock *sock);
/* Takes one of the host's challenge ACKs of this second (RFC 5961 section 7); false: none left. */
bool tcp_take_challenge(struct foyer_host *host, foyer_time_ns now);
/* RFC 5961: an ACK at snd_nxt / rcv_nxt, limited per host. */
void tcp_send_challenge(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* The ACK that answers an unacceptable segment, limited per connection. */
void tcp_send_oow_ack(struct foyer_host *host, struct sock *sock, foyer_time_ns now);

/* ---- tcp_timer.c ------------------------------------------------------------------------------ */

/* Arms the timer at the minimum of the deadlines. */
void tcp_timer_arm(struct foyer_host *host, struct sock *sock);
/* Restarts the retransmission or persist timer from now, or stops it, as the flight demands. */
void tcp_rto_restart(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Starts it only where it does not run. */
void tcp_rto_ensure(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
void tcp_keepalive_restart(struct sock *sock, foyer_time_ns now);
void tcp_ack_schedule(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
void tcp_time_wait_enter(struct foyer_host *host, struct sock *sock, foyer_time_ns now);

/* ---- tcp_recovery.c --------------------------------------------------------------------------- */

/* SACK blocks of an ACK onto the board; snd_una has moved already. */
void tcp_sack_input(struct foyer_host *host, struct tcb *tcb, const struct tcp_segment *seg,
                    struct tcp_delivery *delivery);
/* What all of the ACK means: enter, run, leave or undo recovery. */
void tcp_recovery_on_ack(struct foyer_host *host, struct sock *sock, struct tcp_delivery *delivery,
                         foyer_time_ns now);
void tcp_recovery_on_rto(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
void tcp_recovery_on_reorder_timer(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* The path takes only smaller segments: all goes out again, and that is no congestion. */
void tcp_recovery_on_too_big(struct foyer_host *host, struct tcb *tcb);
/* Data of our SYN, size bytes from SND.UNA on, was not acknowledged with it. */
void tcp_recovery_on_refused(struct foyer_host *host, struct tcb *tcb, uint32_t size,
                             foyer_time_ns now);
/* A tail loss probe repaired a loss. */
void tcp_recovery_on_repaired(struct foyer_host *host, struct tcb *tcb, foyer_time_ns now);
/* The peer echoes congestion (RFC 3168). */
void tcp_recovery_on_ece(struct foyer_host *host, struct tcb *tcb,
                         const struct tcp_delivery *delivery, foyer_time_ns now);
/* RFC 6675 SetPipe: bytes believed to be on the path. */
uint32_t tcp_pipe(const struct tcb *tcb);
/* The next lost run of bytes, which may go out again. False: none. */
bool tcp_next_lost(const struct tcb *tcb, struct tcp_range *ret_run);
/* The board knows of it already. */
void tcp_recovery_on_sent(struct tcb *tcb, uint32_t size, bool is_again, foyer_time_ns now);
/* Nothing is out any more that matters. */
void tcp_recovery_reset(struct foyer_host *host, struct tcb *tcb);

/* ---- tcp_rack.c (RFC 8985) -------------------------------------------------------------------- */

/* A record, up to end, is delivered. */
void tcp_rack_note(struct tcb *tcb, const struct tcp_sent *sent, seq_t end,
                   struct tcp_delivery *delivery);
/* The same for a flight that was one segment, sent once: its round trip. */
void tcp_rtt_of_lone(struct tcb *tcb, uint32_t rtt_us, foyer_time_ns now);
void tcp_rack_on_ack(struct tcb *tcb, const struct tcp_delivery *delivery, foyer_time_ns now);
/* Marks what is lost; the bytes newly so. *ret_wait_us: when to look again, 0: not by time. */
uint32_t tcp_rack_detect(struct foyer_host *host, struct tcb *tcb, uint32_t now_us,
                         uint32_t *ret_wait_us);
void tcp_rack_on_rto(struct foyer_host *host, struct tcb *tcb, uint32_t now_us);
/* A recovery ended: the reordering window forgets. */
void tcp_rack_recovered(struct tcb *tcb);
void tcp_probe_on_ack(struct foyer_host *host, struct tcb *tcb, const struct tcp_delivery *delivery,
                      foyer_time_ns now);
/* Whether a loss probe may go now, as far as the board is concerned. */
bool tcp_probe_is_due(const struct tcb *tcb);
void tcp_probe_sent(struct tcb *tcb, bool is_again);
/* After an ACK: the reordering timer where wait_us is not 0, else a probe's or none. */
void tcp_loss_timer_update(struct foyer_host *host, struct sock *sock, uint32_t wait_us,
                           foyer_time_ns now);
/* After new data went out. */
void tcp_probe_reschedule(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
void tcp_loss_timer_fires(struct foyer_host *host, struct sock *sock, foyer_time_ns now);

/* ---- tcp_rtt.c -------------------------------------------------------------------------------- */

void tcp_rtt_sample(struct tcb *tcb, uint32_t rtt_us);
/* RFC 6298 (2.3), without backoff. */
foyer_time_ns tcp_rto_base_ns(const struct tcb *tcb);
foyer_time_ns tcp_rto_ns(const struct tcb *tcb);

/* ---- tcp_rate.c ------------------------------------------------------------------------------- */

/* size bytes of the record go out; the first: they begin it. */
void tcp_rate_on_sent(struct tcb *tcb, struct tcp_sent *sent, uint32_t size, bool is_first,
                      uint32_t now_us);
/* size bytes of the record, up to end, are delivered. */
void tcp_rate_on_delivered(struct tcb *tcb, const struct tcp_sent *sent, seq_t end, uint32_t size,
                           struct tcp_delivery *delivery);
/* After all of the ACK: the sample. */
void tcp_rate_take(struct tcb *tcb, struct tcp_delivery *delivery);
/* The program has nothing more to send though cwnd would let it. */
void tcp_rate_app_limited(struct tcb *tcb);
/* Bytes per second of the last sample; 0: none is known. */
uint64_t tcp_rate_bytes_per_s(const struct tcb *tcb);

/* ---- tcp_pace.c ------------------------------------------------------------------------------- */

/* The rate anew, of cwnd and round trip or of the congestion control. */
void tcp_pace_update(struct sock *sock);
/* Whether a window-based congestion control has no rate now. */
bool tcp_pace_is_off(const struct sock *sock);
/* Whether data must wait; the timer will say when it need not. */
bool tcp_pace_holds(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* How much of the piece is left; at least a segment. */
uint32_t tcp_pace_room(const struct tcb *tcb);
void tcp_pace_on_sent(struct tcb *tcb, uint32_t size);
void tcp_pace_fires(struct foyer_host *host, struct sock *sock);

/* ---- tcp_cc.c --------------------------------------------------------------------------------- */

/*
 * A congestion control. It owns cwnd_bytes and ssthresh_bytes outside of recovery; during fast
 * recovery tcp_recovery.c moves cwnd towards ssthresh (PRR), after an RTO cwnd starts at one
 * segment and grows by on_ack.
 */
struct tcp_cc_ops {
    bool has_state; /* in a unit of the pool, cc.bbr */
    void (*init)(struct tcb *tcb);
    /* All that an ACK tells, once recovery has looked at it. Who has it owns cwnd in recovery as
     * well: on_ack is not called, PRR does not run, the window does not decay. May be NULL. */
    void (*on_sample)(struct tcb *tcb, const struct tcp_delivery *delivery, foyer_time_ns now);
    /* size bytes of a record are now believed to be lost; NULL: not wanted. */
    void (*on_lost)(struct tcb *tcb, const struct tcp_sent *sent, uint32_t size);
    /* Nothing is out, and data follow; NULL: the window decays (RFC 5681 section 4.1). */
    void (*on_restart)(struct tcb *tcb, foyer_time_ns now);
    /* acked_bytes were acknowledged, with ECE or without; NULL: not wanted. */
    void (*on_ecn)(struct tcb *tcb, uint32_t acked_bytes, uint32_t ce_bytes);
    /* Marks were echoed: sets ssthresh; NULL: as on_loss. */
    void (*on_ece)(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now);
    /* acked_bytes left the network and cwnd was used up; not called in fast recovery. */
    void (*on_ack)(struct tcb *tcb, uint32_t acked_bytes, foyer_time_ns now);
    /* A round trip as an ACK shows it, before on_ack; NULL: not wanted. */
    void (*on_rtt)(struct tcb *tcb, uint32_t rtt_us);
    /* A loss of this flight was found: sets ssthresh. */
    void (*on_loss)(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now);
    void (*on_rto)(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now);
    /* The reduction was wrong: back to what on_loss or on_rto found. */
    void (*on_undo)(struct tcb *tcb);
    /* Bytes per second to send at; NULL: as cwnd and round trip give it. */
    uint64_t (*pacing_rate)(const struct tcb *tcb);
    /* Nothing was sent for idle_ms: time that must not count as growth (RFC 9438 5.8). */
    void (*on_idle)(struct tcb *tcb, uint32_t idle_ms);
};

extern const struct tcp_cc_ops tcp_cc_cubic, tcp_cc_newreno, tcp_cc_dctcp, tcp_cc_bbr;

const struct tcp_cc_ops *tcp_cc(const struct tcb *tcb);
/* RFC 6928: min(10 * mss, max(2 * mss, 14600)). */
uint32_t tcp_cc_initial_window(uint32_t mss);
void tcp_cc_init(struct foyer_host *host, struct tcb *tcb);
/* CUBIC where there is no memory for the one asked for. */
void tcp_cc_select(struct foyer_host *host, struct tcb *tcb, uint8_t id);
void tcp_cc_give(struct foyer_host *host, struct tcb *tcb);
/* RFC 5681 section 4.1: the window decays while nothing is sent. True where it may have. */
bool tcp_cc_restart_after_idle(struct tcb *tcb, foyer_time_ns now);
/* New data went out: the largest flight of a window of data is remembered on the board. */
void tcp_cc_note_flight(struct tcb *tcb);
/* That flight, or the present one; before SND.UNA moves. */
uint32_t tcp_cc_used_bytes(const struct tcb *tcb);
/* Slow start's part of growth; returns the bytes left for congestion avoidance. */
uint32_t tcp_cc_slow_start(struct tcb *tcb, uint32_t acked_bytes);
/* tcp_cc_newreno.c: RFC 5681's growth and its reaction to losses, which DCTCP has as well. */
void tcp_newreno_on_ack(struct tcb *tcb, uint32_t acked_bytes, foyer_time_ns now);
void tcp_newreno_on_loss(struct tcb *tcb, uint32_t flight_bytes, foyer_time_ns now);
void tcp_newreno_on_undo(struct tcb *tcb);
void tcp_newreno_on_idle(struct tcb *tcb, uint32_t idle_ms);

/* ---- tcp_statistics.c ------------------------------------------------------------------------- */

/* FOYER_OPT_STATISTICS, as it is now. */
void tcp_statistics_switch(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* For connections with an extra; what cannot be counted is not. */
void tcp_statistics_look(const struct sock *sock, foyer_time_ns now);
void tcp_statistics_on_ack(struct tcb *tcb, const struct tcp_delivery *delivery, bool has_ece);
void tcp_statistics_tell(const struct foyer_host *host, const struct sock *sock,
                         struct foyer_socket_info *ret_info);

/* ---- tcp_socket.c ----------------------------------------------------------------------------- */

/*
 * RFC 6191, RFC 6056 section 3.5: whether a connect may take the 4-tuple over from a TIME-WAIT.
 * Timestamps protect the new connection from the old one's segments once their clock has moved.
 */
bool tcp_time_wait_is_reusable(const struct foyer_host *host, const struct sock *sock);
/* State, sequence numbers and timers are the caller's to set. */
struct tcb *tcp_create(struct foyer_host *host, struct sock *sock);
/*
 * The connection is over: tables, timer, tcb and own rings go; rings say so to the program.
 * error 0: an orderly end. An orphan is freed, and so is a child nobody accepted: true then.
 */
bool tcp_finish(struct foyer_host *host, struct sock *sock, int error);
/* Our side sends no more: FIN after what is in the ring. */
void tcp_queue_fin(struct foyer_host *host, struct sock *sock, foyer_time_ns now);

#endif
