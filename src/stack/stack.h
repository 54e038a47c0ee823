/*
 * What the files of src/stack share: the host, a socket, and the calls along a packet's path.
 *
 * Up:   host.c input -> link.c (Ethernet, ARP) -> ip.c -> icmp.c | udp.c | tcp_in.c -> rings
 * Down: rings -> host.c output loop -> tcp_out.c | udp.c fill a struct tx -> ip.c -> link.c
 *
 * Output is pulled: whoever has something to send puts its socket on the output list
 * (sock_want_output); the loop asks it for one packet at a time once the path to the peer is
 * resolved. So no packet is ever queued behind a neighbour that does not answer; it stays in the
 * socket's ring.
 *
 * Internal names carry no foyer_ prefix; nothing here is exported.
 */
#ifndef FOYER_STACK_STACK_H
#define FOYER_STACK_STACK_H

#include "foyer/features.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/timer.h"
#include "foyer/foyer.h"
#include "stack/slot.h"

struct tcb;       /* tcp.h: a TCP connection's state */
struct neighbour; /* link.c */

/* What is built in can speak it; where only IPv4 is, the mapped form is asked for by hand. */
static inline bool addr_is_spoken(const struct foyer_addr *addr)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return FOYER_WITH_IPV6 || memcmp(addr->bytes, mapped, sizeof(mapped)) == 0;
}

/*
 * One of the two may be left out (foyer/features.h). Then the answer is known to the compiler, and what
 * only the other needs is neither called nor linked; macros, so that it is so without optimisation.
 */
#define PROTOCOL_IS_TCP(protocol) (FOYER_WITH_TCP && (!FOYER_WITH_UDP || (protocol) == FOYER_TCP))
#define PROTOCOL_IS_UDP(protocol) (FOYER_WITH_UDP && (!FOYER_WITH_TCP || (protocol) == FOYER_UDP))

#define CONGESTION_DEFAULT (FOYER_WITH_CUBIC ? FOYER_CONGESTION_CUBIC : FOYER_CONGESTION_NEWRENO)
static inline bool congestion_is_built(int64_t id)
{
    return id == FOYER_CONGESTION_NEWRENO || (FOYER_WITH_CUBIC && id == FOYER_CONGESTION_CUBIC) ||
           (FOYER_WITH_DCTCP && id == FOYER_CONGESTION_DCTCP) ||
           (FOYER_WITH_BBR && id == FOYER_CONGESTION_BBR);
}

/* ---- sockets (socket.c) ------------------------------------------------------------------- */

enum sock_flags {
    SOCK_REUSEADDR = 1u << 0,
    SOCK_REUSEPORT = 1u << 1,
    SOCK_V6ONLY = 1u << 2,
    SOCK_BOUND = 1u << 3,         /* is in the bind table */
    SOCK_CONNECTED = 1u << 4,     /* is in the connected table */
    SOCK_LISTENING = 1u << 5,     /* is in the listen table */
    SOCK_LOCAL_CARRIER = 1u << 6, /* the caller carries the bytes; tcb is NULL */
    SOCK_ORPHAN = 1u << 7,        /* the handle was given back; freed when the tcb is done */
    SOCK_EXTERNAL_RINGS = 1u << 8,
    SOCK_SHUT_READ = 1u << 9,
    SOCK_SHUT_WRITE = 1u << 10,
    SOCK_PORT_CHOSEN = 1u << 11, /* connect chose the port: it is shared with other remotes */
    SOCK_IN_ACCEPT_QUEUE = 1u << 12,
    SOCK_ADDRESS_CHOSEN = 1u << 13, /* local.addr was the wildcard until connect */
    SOCK_HOLD = 1u << 14,           /* FOYER_OPT_HOLD */
    SOCK_INTERCEPT = 1u << 15,      /* FOYER_OPT_INTERCEPT is not off */
    SOCK_CHILD = 1u << 17,          /* of a listener, and not yet accepted */
    SOCK_INTERCEPTED = 1u << 18,    /* a connection that was meant for somebody else */
    SOCK_RECVERR = 1u << 19,        /* FOYER_OPT_RECVERR: udp_error.c has a queue for it */
    SOCK_UDP_GRO = 1u << 20,        /* FOYER_OPT_UDP_GRO */
    SOCK_SYN_DATA = 1u << 21,       /* the connection that is over was a Fast Open */
    SOCK_UDP_ZERO_IN = 1u << 22,    /* FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE */
    SOCK_UDP_ZERO_OUT = 1u << 23,   /* FOYER_OPT_UDP_ZERO_CHECKSUM_SEND */
    SOCK_UNPUSHED = 1u << 24,       /* FOYER_OPT_PUSH is 0 */
};

/* A socket's two rings. Sockets that have none yet all point at sock_no_rings. */
struct sock_rings {
    struct foyer_ring rx, tx;
    /* Of rings of the socket's own: what the program has read since, see tune_receive. */
    uint32_t rx_mark, rx_mark_us;
};

extern const struct sock_rings sock_no_rings;

/*
 * Options that few programs change. Sockets share one record, copied when one of them writes
 * (socket_options.c): the host's defaults, or a listener's with its children.
 */
struct sock_options {
    uint32_t refs;
    uint32_t rx_size_wanted, tx_size_wanted;
    uint32_t rx_limit;                 /* FOYER_OPT_RECEIVE_LIMIT; 0: none */
    uint32_t rx_size_max, tx_size_max; /* to which TCP's own rings may grow */
    uint32_t user_timeout_ms;
    int64_t linger_ns;                    /* -1: off */
    uint64_t max_pacing_rate_bytes_per_s; /* 0: none */
    uint16_t keep_idle_s, keep_interval_s;
    uint16_t max_segment; /* 0: no limit of its own */
    uint8_t keep_count;
    uint8_t ecn;    /* enum foyer_ecn */
    uint8_t pacing; /* enum foyer_pacing */
    uint16_t fastopen;
    bool fastopen_without_cookie, without_timestamps, without_sack;
    bool has_statistics;
    uint8_t syn_retries; /* 0: TCP_SYN_RETRIES */
};

/* What only a listener has. */
struct listen {
    struct slot_list accept_queue; /* by SLOT_LINK_QUEUE: established, not yet accepted */
    struct list_node requests;     /* of request.queue_node, all but the held */
    struct list_node held;         /* those that the caller has not seen yet */
    struct list_node ended;        /* those whose end the caller has not seen yet */
    uint32_t backlog;
    uint32_t accept_count;
    uint32_t request_count;  /* in all three */
    foyer_time_ns cookie_ns; /* with has_sent_cookie: when the last one was sent */
    bool has_sent_cookie;
    /* RFC 7413 section 5.1: children in SYN-RECEIVED, those included that were reset lately. */
    uint32_t fastopen_count, fastopen_reset_count;
    foyer_time_ns fastopen_reset_ns; /* the last reset */
};

/*
 * Unions keep an idle connection small. A listener has no path; its children have no events for
 * anybody before they are accepted, and no user; datagram sockets have no timer.
 */
struct sock {
    /* SLOT_LINK_QUEUE: on host->event_list while events != 0; with SOCK_CHILD, in the listener's
     * accept queue. SLOT_LINK_PORT: among the holders of its port_group. */
    struct slot_head slot;

    uint8_t events; /* enum foyer_event_bits, not yet taken by the caller */
    uint8_t ttl, tos;
    uint8_t congestion;
    uint16_t path_mtu; /* IP bytes */
    int16_t error;     /* pending, negative errno, or 0 */
    uint32_t owner_uid;
    uint32_t port_member; /* index among port_group's receivers, UINT32_MAX: none */
    union {
        struct neighbour *neighbour; /* the way to remote, cached; see ip_path */
        struct listen *listen;       /* in LISTEN */
    };
    const struct sock_rings *rings; /* unset until first needed or given by the caller */
    /* On host->output_list while it has something to send; while the path to the peer is not
     * resolved, on neighbour->waiters instead. */
    struct list_node output_node;
    union {
        struct timer timer; /* TCP's one timer, kind TIMER_SOCK: host.c calls tcp_timer */
        struct {
            /* UDP: the stack's own positions, since what the rings hold can be forged. */
            struct list_node release_node; /* host->release_list until the tail is published */
            uint32_t udp_rx_head, udp_tx_tail;
            uint32_t udp_tx_offset; /* payload at the tail that is sent as segments already */
            uint8_t multicast_ttl, membership_count;
            bool multicast_loop;
            uint8_t multicast_all; /* FOYER_OPT_MULTICAST_ALL */
        };
    };
    struct sock_options *options; /* shared: written only through sock_options_own */
    union {
        uint64_t owner;
        uint64_t next_user; /* while SOCK_CHILD is set: what user will be; its owner is that of
                               the listener */
    };
    union {
        uint64_t user;
        struct sock *listener; /* while SOCK_CHILD is set: whose queue it is or will be in */
    };
    struct port_group *port_group; /* ports.c; NULL while it holds no port */

    /* From here to the end, and on in the tcb, which lies behind it: what every segment looks at, in
     * few cache lines (ahead.c). */
    struct hash_node connected_node;
    struct tcb *tcb;          /* TCP only; from connect or SYN on */
    uint32_t flags;           /* enum sock_flags */
    uint32_t path_generation; /* compared with host->path_generation */
    uint8_t protocol;         /* enum foyer_protocol */
    uint8_t family;           /* enum foyer_family */
    uint8_t state;            /* enum foyer_socket_state */
    /* The path is local: remote is one of the host's own addresses. */
    bool path_is_local : 1, keepalive : 1, nodelay : 1, cork : 1, broadcast : 1;
    bool oobinline : 1;
    bool has_urgent_event : 1, has_ended_event : 1; /* beside events, which has no bits for them */
    struct foyer_endpoint local, remote;
};

_Static_assert(offsetof(struct sock, slot) == 0, "lists lead to the slot");
_Static_assert(sizeof(void *) > 8 || sizeof(struct sock) <= 208, "idle connections are many");

struct sock *sock_from_handle(struct foyer_host *host, foyer_socket handle); /* NULL: stale */
foyer_socket sock_handle(const struct sock *sock);
/* A fresh socket, or NULL. tcp_in.c makes one for each connection request. */
struct sock *sock_create(struct foyer_host *host, uint8_t family, uint8_t protocol);
/* Takes it out of every table, list and timer, frees rings it owns and the tcb. */
void sock_free(struct foyer_host *host, struct sock *sock);
/* The same, but somebody else has its slot already. */
void sock_free_without_slot(struct foyer_host *host, struct sock *sock);
/* Adds bits and queues the socket for foyer_host_events. */
void sock_event(struct foyer_host *host, struct sock *sock, uint32_t bits);
/* Stores the error (the first one stays) and raises FOYER_EVENT_ERROR. */
void sock_fail(struct foyer_host *host, struct sock *sock, int error);
/* Puts the socket on the output list; idempotent, O(1). */
void sock_want_output(struct foyer_host *host, struct sock *sock);
/* Allocates the socket's own rings where it has none. -ENOMEM. */
int sock_need_rx(struct foyer_host *host, struct sock *sock);
int sock_need_tx(struct foyer_host *host, struct sock *sock);
/* A connection's own rings in which nothing waits; the next bytes make new ones. */
void sock_give_empty_rings(struct foyer_host *host, struct sock *sock);

/* ---- ports (ports*.c): who may hold a port, and who gets a packet ----------------------------- */

/* Rules of Linux's inet_csk_get_port and udp's; *ret_holder may be set on -EADDRINUSE. */
int ports_bind(struct foyer_host *host, struct sock *sock, const struct foyer_endpoint *local,
               foyer_socket *ret_holder);
void ports_unbind(struct foyer_host *host, struct sock *sock);
int ports_listen(struct foyer_host *host, struct sock *sock, foyer_socket *ret_holder);
/* Chooses an ephemeral port for the 4-tuple where the socket is not bound (RFC 6056 3.3.4). */
int ports_connect(struct foyer_host *host, struct sock *sock); /* uses sock->local, ->remote */
/* Enters a passively opened connection: shares the listener's port, no conflict check. */
int ports_adopt(struct foyer_host *host, struct sock *sock, struct sock *listener);
void ports_disconnect(struct foyer_host *host, struct sock *sock);
struct sock *ports_find_connected(struct foyer_host *host, uint8_t protocol,
                                  const struct foyer_endpoint *local,
                                  const struct foyer_endpoint *remote);
/* Listener (TCP) or bound socket (UDP) with Linux's scoring; REUSEPORT groups by flow hash. */
struct sock *ports_find_bound(struct foyer_host *host, uint8_t protocol,
                              const struct foyer_endpoint *local,
                              const struct foyer_endpoint *remote);

/* ---- the path of a packet up ------------------------------------------------------------------ */

/* What ip.c knows of a packet once its headers are off. All borrowed for the call. */
struct rx {
    struct foyer_addr src, dst;
    uint8_t family; /* 4 or 6 */
    uint8_t protocol;
    uint8_t ttl, tos;
    bool checksum_valid;         /* the transport checksum need not be looked at */
    const uint8_t *transport;    /* transport header; all of it lies in one span */
    size_t transport_contiguous; /* bytes contiguous at transport */
    size_t size;                 /* transport header and payload together */
    struct foyer_span payload[FOYER_PACKET_SPANS_MAX + 1]; /* same bytes as spans, from transport */
    uint8_t payload_count;
    uint16_t gso_size;        /* coalesced by the link: size of each segment, else 0 */
    const uint8_t *ip_header; /* for ICMP errors that quote the packet */
    size_t ip_contiguous;
    uint16_t protocol_offset; /* IPv6: of the next header field that says protocol */
    foyer_time_ns arrival_ns;
};

/* Copies size bytes at offset (from the transport header) to a ring position. In bounds. */
void rx_copy_to_ring(const struct rx *rx, size_t offset, const struct foyer_ring *ring,
                     uint32_t pos, uint32_t size);
/* Copies size bytes at offset (from the transport header), or those that there are: how many. */
size_t rx_copy(const struct rx *rx, size_t offset, uint8_t *bytes, size_t size);
/* Pseudo-header checksum over the whole transport part; true where it is right. */
bool rx_checksum_ok(const struct rx *rx);

void tcp_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now);
/* ahead.c: whose are the frames, HOST_LOOK_AHEAD at most? Asks for the memory of what it finds. */
void host_look_ahead(struct foyer_host *host, const struct foyer_packet *packets, size_t count);
/* The same where it is known whose it is: sock has a tcb. */
void tcp_input_for(struct foyer_host *host, struct sock *sock, const struct rx *rx,
                   foyer_time_ns now);
/* Whole frames, at least one, before anybody has looked at them: how many of them, from the first on,
 * were dealt with. 0: it is not as simple as that, and nothing was done; it goes the long way. */
size_t tcp_fast_input(struct foyer_host *host, const struct foyer_packet *packets, size_t count,
                      foyer_time_ns now);
void udp_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now);
void icmp4_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now);
void icmp6_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now);

/* An ICMP error that quotes a segment this host sent; transport points at the 8+ quoted bytes. */
struct icmp_error {
    int error;          /* errno it maps to, negative (RFC 1122 4.2.3.9, 3.2.2.1) */
    bool is_hard;       /* ends an unestablished connection (RFC 5461 says never an established) */
    bool is_local;      /* from this host's own neighbour cache; then transport is NULL, size 0 */
    uint16_t mtu;       /* > 0: packet too big (RFC 1191, RFC 8201) */
    uint8_t type, code; /* of the message */
    struct foyer_addr offender;
    const uint8_t *transport;
    size_t size;
};
/*
 * TCP checks the quoted sequence number (RFC 5927 section 4.1; not where is_local) and then calls
 * ip_learn_mtu itself for error->mtu; for UDP icmp.c does.
 */
void tcp_icmp_error(struct foyer_host *host, struct sock *sock, const struct icmp_error *error,
                    foyer_time_ns now);
void udp_icmp_error(struct foyer_host *host, struct sock *sock, const struct icmp_error *error,
                    const struct foyer_endpoint *remote);
/* FOYER_OPT_RECVERR. -ENOMEM. */
int udp_errors_switch(struct foyer_host *host, struct sock *sock, bool is_on);
void udp_error_push(struct foyer_host *host, struct sock *sock,
                    const struct foyer_socket_error *error);

/* ---- the path of a packet down ------------------------------------------------------------------ */

#define TX_TRANSPORT_OFFSET 54 /* room for Ethernet and IPv6 in front */
#define TX_HEADER_SIZE 128     /* 54 + 60 (TCP with options), rounded */

/* One packet on its way down. transport.c fills header from TX_TRANSPORT_OFFSET on and payload. */
struct tx {
    uint8_t *header;              /* TX_HEADER_SIZE bytes */
    uint16_t transport_size;      /* bytes filled at header + TX_TRANSPORT_OFFSET */
    struct foyer_span payload[2]; /* usually spans of the ring */
    uint8_t payload_count;
    uint8_t tos, ttl;
    uint8_t gso_type; /* set by TCP where payload is larger than gso_size */
    uint16_t gso_size;
    bool dont_fragment;
    bool without_checksum; /* UDP: the field stays 0 (RFC 6935) */
    bool is_last;          /* set by TCP: it has nothing more now, and need not be asked again */
};

/*
 * Asks the socket for its next packet: true where tx was filled, false where there is nothing
 * (more) to send now; the loop then takes the socket off the output list. The checksum field is
 * left 0: ip.c fills it or leaves it to the link. Never produces more than tx_max_payload bytes.
 */
bool tcp_output(struct foyer_host *host, struct sock *sock, struct tx *tx, foyer_time_ns now);
/* The same down to the Ethernet header, for what is as simple as that; else false, and nothing was
 * done. header: TX_HEADER_SIZE bytes. Takes the socket off the output list where that was all. */
bool tcp_fast_output(struct foyer_host *host, struct sock *sock, uint8_t *header,
                     struct foyer_packet *ret_packet, foyer_time_ns now);

/* Largest TCP payload handed down for this socket at once: GSO-sized, but where the link cannot
 * cut no more than the output call that is being served has packets for. */
uint32_t ip_tx_max_payload(const struct foyer_host *host, const struct sock *sock, uint32_t mss);

/*
 * Finds source address, route, neighbour and path MTU for sock->remote. 0; -ENETUNREACH,
 * -EADDRNOTAVAIL. Fills sock->local.addr where it is the wildcard.
 */
int ip_path(struct foyer_host *host, struct sock *sock);
/* IP bytes per packet on the path. */
uint16_t ip_path_mtu(const struct foyer_host *host, const struct sock *sock);
/* Remembers a smaller MTU for the destination (bounded below: 1280 for IPv6, 552 for IPv4). */
void ip_learn_mtu(struct foyer_host *host, const struct foyer_addr *dst, uint16_t mtu,
                  foyer_time_ns now);
/* The same, up or down: what was found by trying (RFC 8899). */
void ip_set_mtu(struct foyer_host *host, const struct foyer_addr *dst, uint16_t mtu,
                foyer_time_ns now);
/* Of the link to it, whatever the path is known to take. */
uint16_t ip_link_mtu(const struct foyer_host *host, const struct foyer_addr *dst);

/*
 * Queues a small stateless packet (RST, ICMP, challenge ACK of TIME-WAIT): transport header and
 * payload in one run of bytes, checksum field 0. Dropped and counted where the bounded queue is
 * full. src must be an address of the host.
 */
void ip_send_control(struct foyer_host *host, uint8_t protocol, const struct foyer_addr *src,
                     const struct foyer_addr *dst, uint8_t ttl, uint8_t tos, const void *bytes,
                     size_t size);

/* ICMP(v6) destination unreachable that quotes the packet, rate-limited (RFC 1812 4.3.2.8). */
void icmp_send_unreachable(struct foyer_host *host, const struct rx *rx, bool is_port,
                           foyer_time_ns now);

/* ---- TCP's side of the socket calls (tcp_socket.c); arguments are checked by socket.c --------- */

int tcp_connect(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Whether the handshake is far enough for the program's bytes. tcb is not NULL. */
bool tcp_may_write(const struct sock *sock);
void tcp_poke(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* The same where it is known what was done, by send or recv. */
void tcp_written(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
void tcp_consumed(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* The path is not resolved: a timer asks for it again, should nothing else do so. May free. */
void tcp_parked(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
int tcp_shutdown(struct foyer_host *host, struct sock *sock, unsigned how, foyer_time_ns now);
/* Either frees the socket or makes it an orphan that frees itself. tcb is not NULL. */
void tcp_close(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Resets the connection and frees the socket. tcb is not NULL. */
void tcp_abort(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Resets the children that wait in the queue or in SYN-RECEIVED; the caller frees the listener. */
void tcp_listener_close(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
/* Forgets the requests of a listener; is_told: with a reset to each peer. */
void tcp_requests_drop(struct foyer_host *host, struct sock *listener, bool is_told);
/* Bytes that came out of order go into the ring that takes the old one's place, in which those in
 * order are already; where they do not fit they are forgotten. */
void tcp_move_ahead(struct foyer_host *host, struct sock *sock, const struct foyer_ring *to);
/* The rings were exchanged (bytes already moved, positions may differ): rebase. */
void tcp_rings_changed(struct foyer_host *host, struct sock *sock);
/* used bytes wait for the reader: how many of them a recv may give. May move over the mark. */
uint32_t tcp_urgent_limit(struct sock *sock, uint32_t used);
/* FOYER_OPT_QUICKACK. */
bool tcp_acks_quickly(const struct sock *sock);
void tcp_ack_quickly(struct sock *sock, bool is_quick);
void tcp_option_changed(struct foyer_host *host, struct sock *sock, enum foyer_option option,
                        foyer_time_ns now);
void tcp_info(const struct foyer_host *host, const struct sock *sock,
              struct foyer_socket_info *ret_info);
void tcp_timer(struct foyer_host *host, struct sock *sock, foyer_time_ns now); /* sock->timer */
/* The socket has no tcb then. sock_free cancels sock->timer. */
void tcp_free(struct foyer_host *host, struct sock *sock);
/* At the host's creation and end (then all sockets are freed already). 0 or -ENOMEM. */
int tcp_host_init(struct foyer_host *host);
void tcp_host_finish(struct foyer_host *host);

/* ---- the host (host.c, memory.c) -------------------------------------------------------------------------- */

void *host_alloc(struct foyer_host *host, size_t size);     /* zeroed; NULL */
void *host_alloc_raw(struct foyer_host *host, size_t size); /* contents undefined; NULL */
void host_free(struct foyer_host *host, void *memory, size_t size);
/* Whether so much of config.max_memory_bytes is taken that the rest is for what others send; notes
 * that something was refused (memory.c). */
bool host_refuses_to_send(struct foyer_host *host);
/* Whether most of config.max_memory_bytes is taken, or with so much more (memory.c). */
bool host_would_be_short(const struct foyer_host *host, uint64_t more_bytes);
bool host_is_short(const struct foyer_host *host);
/* Gives up what can be given up; frees no socket that anybody has a handle of. */
void host_shed(struct foyer_host *host);

#include "stack/host_private.h" /* struct foyer_host itself, owned by host.c's author */

#endif
