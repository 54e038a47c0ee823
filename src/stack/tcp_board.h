/*
 * The board: what a sender remembers of the bytes it has out, from the first that is sent until
 * all are acknowledged. A connection with nothing out has none.
 *
 * Records cover SND.UNA .. SND.NXT - 1 (a FIN counts) without a gap, in order, each with the time
 * of its last transmission, which is what RACK (RFC 8985 section 5.2) judges losses by. Segments
 * sent one after the other within a 64th of the round trip share one record and a super-segment
 * is one, so a record is not a segment: a SACK block, a loss or a retransmission cuts it where it
 * needs to.
 *
 *     SND.UNA                                                             SND.NXT
 *        | lost | flying, again | sacked | lost | sacked | flying | flying  |
 *
 * Board and records live in units of one size from the host's pool (see tcp_host.h). The first
 * unit is the board with a few records behind it, others hold records alone. Where no unit is to
 * be had, neighbours share a record or a SACK block is not believed: the cost is a late or a
 * needless retransmission.
 */
#ifndef FOYER_STACK_TCP_BOARD_H
#define FOYER_STACK_TCP_BOARD_H

#include "base/seq.h"
#include "foyer/types.h"

struct foyer_host;
struct tcb;

#define TCP_UNIT_BYTES 1024u
#define TCP_RECORDS_MAX 4096u /* per connection: bounds memory and the work per ACK */

enum tcp_sent_state {
    TCP_SENT_FLYING,
    TCP_SENT_LOST,   /* believed lost, and not sent again since */
    TCP_SENT_SACKED, /* the peer holds it */
};

/* What was delivered when a segment left, for the rate at which it arrives (tcp_rate.c). */
struct tcp_rate_mark {
    bool is_app_limited;
    uint32_t delivered_bytes, delivered_us;
    uint32_t first_sent_us; /* of the segments that the last ACK before told of */
    uint32_t flight_bytes;  /* with this one */
    uint32_t lost_bytes;
};

struct tcp_sent {
    struct tcp_sent *next, *prev;   /* by sequence number */
    struct tcp_sent *newer, *older; /* by sent_us, where the record flies */
    seq_t start, end;
    uint32_t sent_us; /* first of the last transmissions in it; the caller's clock, modulo 2^32 */
    uint8_t state;    /* enum tcp_sent_state */
    bool is_again;    /* was retransmitted */
    struct tcp_rate_mark mark;
};

/* What board->loss_deadline_ns is for; one of them at a time (RFC 8985 section 8). */
enum tcp_loss_timer {
    TCP_LOSS_TIMER_NONE = 0,
    TCP_LOSS_TIMER_REORDER, /* RACK: what is late by then is lost */
    TCP_LOSS_TIMER_PROBE,   /* TLP */
    TCP_LOSS_TIMER_EXPIRE,  /* all is acknowledged; the board waits only for a D-SACK */
};

enum tcp_board_flags {
    TCPB_DSACK_ROUND = 1u << 0,  /* dsack_round is set */
    TCPB_TLP = 1u << 1,          /* a loss probe is out: tlp_end */
    TCPB_TLP_AGAIN = 1u << 2,    /* and it was a retransmission */
    TCPB_UNDO = 1u << 3,         /* undo_* tell what was before the last reduction */
    TCPB_UNDO_DSACKED = 1u << 4, /* some of what was sent again was D-SACKed */
    TCPB_UNDO_ECHO = 1u << 5,    /* undo_ts is the first retransmission's timestamp */
    TCPB_FRTO = 1u << 6,         /* RFC 5682: whether the timeout was needed is not known yet */
    TCPB_RACK = 1u << 7,         /* rack_* are set */
};

/* The connection's side of it; sums modulo 2^32, times as sent_us. */
struct tcp_rate {
    uint32_t delivered_bytes, delivered_us;
    uint32_t first_sent_us;
    uint32_t lost_bytes;
    uint32_t app_limited_bytes; /* delivered_bytes beyond which it is no more so; 0: is not */
    uint32_t last_bytes,
        last_us; /* the last sample: what was delivered in which time; us 0: none */
};

/* The time of the next paced transmission (tcp_pace.c). */
struct tcp_pace {
    uint64_t rate_bytes_per_s; /* 0: not paced */
    foyer_time_ns next_ns;     /* nothing goes out before, but what is left of a piece */
    foyer_time_ns piece_ns;    /* when the last piece began, and from when it counts */
    foyer_time_ns from_ns;
    uint32_t piece_bytes, sent_bytes; /* what is left of it, at piece_ns; what went since */
    foyer_time_ns deadline_ns;        /* next_ns while something waits for it */
};

struct tcp_board {
    struct tcp_unit *units; /* further ones */
    struct tcp_sent *first, *last, *free;
    struct tcp_sent *oldest, *latest; /* of what flies: the time order of RFC 8985 section 6.2 */
    struct tcp_sent *newest;          /* what was sent last of all; NULL: it is gone */
    struct tcp_sent *lost_hint;       /* nothing before it is lost; NULL: nothing is */
    struct tcp_sent *found;           /* what was looked for last, or NULL: SACKs come in a row */
    uint32_t record_count;
    uint32_t fresh_count; /* records behind the board that were never used, and are free too */
    uint32_t sacked_bytes, lost_bytes, sacked_count; /* of the records */
    uint32_t flags;                                  /* enum tcp_board_flags */

    foyer_time_ns loss_deadline_ns;
    uint8_t loss_timer; /* enum tcp_loss_timer */

    /* RFC 8985 section 5.3. */
    uint32_t rack_sent_us, rack_rtt_us;
    seq_t rack_end, rack_fack, dsack_round;
    seq_t tlp_end;

    seq_t small_end; /* end of the last segment shorter than mss (Minshall); SND.UNA: none yet */
    seq_t recovery_point; /* RFC 6675 RecoveryPoint */
    /* The most that was out since used_end was snd_nxt: how much of cwnd the program makes use of. */
    uint32_t used_bytes;
    seq_t used_end;
    uint32_t dup_acks; /* without SACK: segments that left the path */
    uint32_t prr_delivered_bytes, prr_out_bytes, prr_flight_bytes; /* RFC 9937 */

    struct tcp_rate rate;
    struct tcp_pace pace;

    uint32_t undo_cwnd_bytes, undo_ssthresh_bytes;
    seq_t undo_from;                /* SND.UNA when the reduction was made */
    uint32_t undo_again_bytes;      /* sent again since, and not D-SACKed */
    uint32_t undo_ts, undo_sent_us; /* the first retransmission's timestamp, and our clock */
};

#define TCP_BOARD_RECORDS                                                                          \
    ((TCP_UNIT_BYTES - (uint32_t)sizeof(struct tcp_board)) / (uint32_t)sizeof(struct tcp_sent))
#define TCP_UNIT_RECORDS ((TCP_UNIT_BYTES - 8u) / (uint32_t)sizeof(struct tcp_sent))

/* What an ACK tells of the rate of delivery: that of the segment sent last of those it is about. */
struct tcp_rate_sample {
    bool has_mark; /* the fields from mark to sent_us are set */
    bool is_again;
    struct tcp_rate_mark mark;
    seq_t end;
    uint32_t sent_us;
    uint32_t delivered_bytes; /* since mark */
    uint32_t interval_us;     /* in this time; 0: no rate can be told */
    uint32_t lost_bytes;      /* since mark */
};

/* What one ACK delivers; collected by tcp_board_ack and tcp_board_sack. */
struct tcp_delivery {
    uint32_t arrival_us;
    uint32_t echo;        /* the timestamp echoed */
    uint32_t echo_age_ms; /* how long ago that was by our clock */
    bool has_echo;        /* timestamps are on and the echo is not 0 */
    bool is_bare;         /* the segment has no text and no FIN */
    bool is_window_changed, is_duplicate;
    uint32_t acked_bytes;     /* SND.UNA moved by it */
    uint32_t delivered_bytes; /* newly acknowledged or SACKed */
    uint32_t sacked_bytes;    /* newly SACKed */
    bool has_original;        /* of it, bytes of before RecoveryPoint never sent again */
    bool has_again;           /* of it, bytes that were sent again */
    bool has_again_lately;    /* since the reduction that may be undone */
    bool is_reordered;        /* never sent again, and overtaken by others */
    seq_t reordered_start;    /* of the first such */
    uint32_t rtt_us;          /* of what was sent last and never again; 0: none */
    seq_t fack_before;        /* RACK.fack before this ACK */
    bool has_rack;            /* RACK.rtt is of this ACK: of what was sent at rack_sent_us */
    uint32_t rack_sent_us;
    struct tcp_rate_sample rate;
    bool has_dsack;
    seq_t dsack_start, dsack_end; /* RFC 2883 */
    bool is_needless;             /* the D-SACK is of what recovery sent again */
};

/* Units of the host's pool, TCP_UNIT_BYTES each, contents undefined; NULL: no memory. */
void *tcp_unit_take(struct foyer_host *host);
void tcp_unit_give(struct foyer_host *host, void *memory);
/* The pool keeps pace with the connections: one unit more where one was made. False: no memory. */
bool tcp_unit_pool_grow(struct foyer_host *host);
/* Starts the timer where there are more than the reserve. */
void tcp_units_trim_later(struct foyer_host *host);
/* host->tcp.units_timer: what was not needed lately goes back. */
void tcp_units_timer(struct foyer_host *host, foyer_time_ns now);
void tcp_unit_pool_finish(struct foyer_host *host);

/* A board with room for one more record, and what is out on it; false where there is no memory. */
bool tcp_board_need(struct foyer_host *host, struct tcb *tcb);
void tcp_board_give(struct foyer_host *host, struct tcb *tcb);
/* New bytes went out at SND.NXT. */
void tcp_board_sent(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end,
                    uint32_t now_us);
/* Bytes of one record, from its start or up to its end, went out again. */
void tcp_board_sent_again(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end,
                          uint32_t now_us);
/* Bytes from SND.UNA on that a SYN carried, and the peer refused, are the first to be sent again.
 * There is a board, and nothing on it. */
void tcp_board_refused(struct foyer_host *host, struct tcb *tcb, uint32_t size);
/* Everything before una is the peer's. */
void tcp_board_ack(struct tcb *tcb, seq_t una, struct tcp_delivery *delivery);
/* Bytes start .. end - 1, all in flight, are held by the peer. */
void tcp_board_sack(struct foyer_host *host, struct tcb *tcb, seq_t start, seq_t end,
                    struct tcp_delivery *delivery);
/* The record and all behind it that is in the same state may become one with it. */
struct tcp_sent *tcp_board_lose(struct tcb *tcb, struct tcp_sent *sent);
/* The first bytes that are out, at most size of them, are lost; nothing where they are SACKed. */
void tcp_board_lose_first(struct foyer_host *host, struct tcb *tcb, uint32_t size);
/* Everything that flies is lost. */
void tcp_board_lose_all(struct tcb *tcb);
/* Everything lost flies (the loss was an error), or everything SACKED does (the peer reneged). */
void tcp_board_revive(struct tcb *tcb, enum tcp_sent_state from);
/* The first lost record, or NULL. */
const struct tcp_sent *tcp_board_first_lost(const struct tcb *tcb);
/* Whether a segment shorter than mss is out. */
bool tcp_board_has_small(const struct tcb *tcb);
/* How many bytes that were sent again are out and neither SACKed nor lost. O(records). */
uint32_t tcp_board_again_bytes(const struct tcb *tcb);
/* Whether bytes that were sent again are still out. */
bool tcp_board_has_again(const struct tcb *tcb);
/* Sequence numbers that one record stands for although they were not sent at one time. */
uint32_t tcp_board_grain_us(const struct tcb *tcb);

#endif
