/*
 * Sockets of a host: generation-tagged handles, so that a stale one is an error (-EBADF) and
 * never another socket. Readiness is pulled from a queue (foyer_host_events).
 *
 * Nothing blocks: what would block returns -EAGAIN. Threading as for the host.
 */
#ifndef FOYER_SOCKET_H
#define FOYER_SOCKET_H

#include "foyer/host.h"
#include "foyer/ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0 is never a valid handle. */
typedef struct {
    uint64_t value;
} foyer_socket;

#define FOYER_SOCKET_NONE ((foyer_socket){0})

enum foyer_protocol {
    FOYER_TCP = 6,
    FOYER_UDP = 17,
};

enum foyer_family {
    FOYER_FAMILY_V4 = 4,
    FOYER_FAMILY_V6 = 6, /* dual stack unless FOYER_OPT_V6ONLY */
};

/* RFC 9293 section 3.3.2, and what an unconnected or datagram socket is in. */
enum foyer_socket_state {
    FOYER_STATE_CLOSED = 0, /* fresh, or the connection is over */
    FOYER_STATE_LISTEN,
    FOYER_STATE_SYN_SENT,
    FOYER_STATE_SYN_RECEIVED,
    FOYER_STATE_ESTABLISHED, /* also a connected UDP socket */
    FOYER_STATE_FIN_WAIT_1,
    FOYER_STATE_FIN_WAIT_2,
    FOYER_STATE_CLOSE_WAIT,
    FOYER_STATE_CLOSING,
    FOYER_STATE_LAST_ACK,
    FOYER_STATE_TIME_WAIT,
};

enum foyer_event_bits {
    FOYER_EVENT_READABLE = 1u << 0,      /* bytes, a datagram or FIN are there */
    FOYER_EVENT_WRITABLE = 1u << 1,      /* ring space was released */
    FOYER_EVENT_ACCEPT = 1u << 2,        /* a connection waits for accept */
    FOYER_EVENT_CONNECTED = 1u << 3,     /* connect succeeded */
    FOYER_EVENT_PEER_FIN = 1u << 4,      /* the peer will send no more */
    FOYER_EVENT_ERROR = 1u << 5,         /* see foyer_socket_take_error */
    FOYER_EVENT_CLOSED = 1u << 6,        /* the connection is over in both directions */
    FOYER_EVENT_REQUEST = 1u << 7,       /* a connection request waits for foyer_request_next */
    FOYER_EVENT_URGENT = 1u << 8,        /* urgent data is announced, or its last byte is there */
    FOYER_EVENT_REQUEST_ENDED = 1u << 9, /* see foyer_request_next_ended */
    /* Of the host; its socket is FOYER_SOCKET_NONE. */
    FOYER_EVENT_LEASE = 1u << 16, /* see dhcp.h; only where a DHCP client was started */
};

struct foyer_event {
    foyer_socket socket;
    uint64_t user;   /* as set with foyer_socket_set_user */
    uint32_t events; /* enum foyer_event_bits */
};

/* Takes up to max pending events; each socket is in the queue at most once. */
FOYER_API size_t foyer_host_events(struct foyer_host *host, struct foyer_event *ret_events,
                                   size_t max);

/*
 * Opens a socket. owner is the caller's own name for who holds it (a process, a service); it is
 * what a port conflict reports. -EMFILE beyond max_sockets, -ENOMEM, -EPROTONOSUPPORT,
 * -EAFNOSUPPORT.
 */
FOYER_API int foyer_socket_open(struct foyer_host *host, enum foyer_family family,
                                enum foyer_protocol protocol, uint64_t owner,
                                foyer_socket *ret_socket);

FOYER_API int foyer_socket_set_user(struct foyer_host *host, foyer_socket socket, uint64_t user);
FOYER_API int foyer_socket_set_owner(struct foyer_host *host, foyer_socket socket, uint64_t owner);

/*
 * Reserves (protocol, address, port) for the socket with Linux's rules for wildcard, dual stack,
 * SO_REUSEADDR and SO_REUSEPORT. Port 0: an ephemeral port (RFC 6056).
 * -EADDRINUSE: *ret_holder (may be NULL) names the socket that holds it; choose another port.
 * -EADDRNOTAVAIL: the host does not have the address. -EINVAL: already bound.
 * -EAFNOSUPPORT: an IPv6 address on an IPv4 socket.
 */
FOYER_API int foyer_socket_bind(struct foyer_host *host, foyer_socket socket,
                                const struct foyer_endpoint *local, foyer_socket *ret_holder);

/*
 * Accepts connections. backlog counts those not yet accepted. Binds to an ephemeral port where
 * the socket is not bound. -EADDRINUSE as bind (two reusers may bind, one may listen).
 */
FOYER_API int foyer_socket_listen(struct foyer_host *host, foyer_socket socket, uint32_t backlog,
                                  foyer_socket *ret_holder);

/*
 * Starts a connection (TCP) or sets the default peer (UDP; a wildcard address with port 0
 * dissolves it). TCP returns -EINPROGRESS; FOYER_EVENT_CONNECTED or _ERROR follow.
 * -ENETUNREACH: no route. -EADDRNOTAVAIL: no ephemeral port is left. -EISCONN, -EALREADY.
 * -ECONNREFUSED for TCP port 0, which is reserved.
 */
FOYER_API int foyer_socket_connect(struct foyer_host *host, foyer_socket socket,
                                   const struct foyer_endpoint *remote, foyer_time_ns now);

/*
 * TCP: connects and sends; what the socket writes first may travel in the SYN (TCP Fast Open, RFC
 * 7413; FOYER_OPT_FASTOPEN is set by it). That is so once the server has given a cookie to an
 * earlier connection between the same two addresses; else the bytes wait for the handshake, and a
 * cookie is asked for. A SYN may arrive twice: send only what the server may safely see twice
 * (section 6.1).
 *
 * How many bytes were taken, to be followed by foyer_socket_send once the socket is connected, or
 * -EINPROGRESS where size is 0. Errors as foyer_socket_connect; -ENOMEM. After an error nothing was
 * taken.
 */
FOYER_API int64_t foyer_socket_connect_send(struct foyer_host *host, foyer_socket socket,
                                            const struct foyer_endpoint *remote, const void *bytes,
                                            size_t size, foyer_time_ns now);

/* How many bytes a SYN to remote would carry now; 0: there is no cookie yet, or the path was found
 * to lose such SYNs. -EBADF, -EOPNOTSUPP. */
FOYER_API int foyer_socket_fastopen_room(struct foyer_host *host, foyer_socket socket,
                                         const struct foyer_addr *remote, uint32_t *ret_bytes);

/* Takes one established connection from a listener. -EAGAIN when there is none. */
FOYER_API int foyer_socket_accept(struct foyer_host *host, foyer_socket listener, uint64_t owner,
                                  foyer_socket *ret_socket);

/*
 * Connection requests, before anything is answered. With FOYER_OPT_HOLD on a listener each SYN
 * raises FOYER_EVENT_REQUEST; the caller looks at it, perhaps dials upstream first, and then lets
 * the handshake go on, refuses it or lets it pass in silence. To the peer it looks like a slow
 * host: its retransmitted SYNs find the request they made before. An accepted one comes out of
 * foyer_socket_accept once the peer has answered the SYN-ACK.
 *
 * A request that is not decided on in 60 s is dropped in silence, and so are requests beyond the
 * listener's backlog. Where the peer gives up with a reset, the request goes. In all these cases,
 * after a decision and after the listener's close the handle is stale: -EBADF, never another
 * request (except after 2^32 more requests).
 *
 * A caller that keeps something for a request (the connection upstream) ties it to it by
 * foyer_request_set_user: either the accepted socket brings the value along, or
 * foyer_request_next_ended does.
 */
typedef struct {
    uint64_t value; /* 0 is never valid */
} foyer_request;

struct foyer_request_info {
    foyer_socket listener;
    struct foyer_endpoint local, remote; /* local: whom the peer wants to reach */
    uint16_t mss;                        /* as the peer offers it; 0: not at all */
    uint16_t window_bytes;               /* the SYN's own, not scaled */
    bool has_window_scale, has_sack, has_timestamps;
};

/* The next request not seen before, in order of arrival. -EAGAIN; -EINVAL: not a listener. O(1). */
FOYER_API int foyer_request_next(struct foyer_host *host, foyer_socket listener,
                                 foyer_request *ret_request);
FOYER_API int foyer_request_info(struct foyer_host *host, foyer_request request,
                                 struct foyer_request_info *ret_info);
/*
 * user is the caller's own name for what will become of the request: as if set by
 * foyer_socket_set_user it is that of the socket that foyer_socket_accept takes. 0, as at first:
 * none, and nobody is told of the request's end. Before the decision: -EBADF.
 */
FOYER_API int foyer_request_set_user(struct foyer_host *host, foyer_request request, uint64_t user);
/*
 * Takes the user of a request that ended without a connection, but not by foyer_request_refuse,
 * _drop or the listener's close; FOYER_EVENT_REQUEST_ENDED announces it. Until it is taken it counts
 * in the listener's backlog. *ret_error: -ETIMEDOUT, nobody answered the SYN-ACK or nobody decided;
 * -ECONNRESET, the peer gave up; or what ICMP said (RFC 1122 section 4.2.3.9).
 * -EAGAIN: there is none; -EINVAL: not a listener. O(1).
 */
FOYER_API int foyer_request_next_ended(struct foyer_host *host, foyer_socket listener,
                                       uint64_t *ret_user, int *ret_error);
/* Sends the SYN-ACK. */
FOYER_API int foyer_request_accept(struct foyer_host *host, foyer_request request,
                                   foyer_time_ns now);
/* Sends a reset: the peer's connect fails with "connection refused". */
FOYER_API int foyer_request_refuse(struct foyer_host *host, foyer_request request,
                                   foyer_time_ns now);
/* Forgets it without a word; the peer's next SYN is a new request. */
FOYER_API int foyer_request_drop(struct foyer_host *host, foyer_request request);

/*
 * Moves the socket's payload into rings the caller provides (shared with a program). The stack
 * reads tx and writes rx; bytes that waited in the socket's own buffers are moved over. The
 * memory must stay valid until foyer_socket_close or _abort has returned. UDP rings hold struct
 * foyer_datagram_header records.
 * -ENOBUFS where what waits does not fit; -EINVAL for a bad size.
 */
FOYER_API int foyer_socket_set_rings(struct foyer_host *host, foyer_socket socket,
                                     const struct foyer_ring *rx, const struct foyer_ring *tx);

/* The program changed a ring (wrote, consumed, set FIN): look at it. Cheap; may be called early. */
FOYER_API void foyer_socket_poke(struct foyer_host *host, foyer_socket socket, foyer_time_ns now);

/*
 * Copying calls for those who do not share rings. send: how many bytes were taken, -EAGAIN,
 * -EPIPE after shutdown, or the pending error. recv: bytes, 0 at the peer's FIN, -EAGAIN.
 */
FOYER_API int64_t foyer_socket_send(struct foyer_host *host, foyer_socket socket, const void *bytes,
                                    size_t size, foyer_time_ns now);
FOYER_API int64_t foyer_socket_recv(struct foyer_host *host, foyer_socket socket, void *bytes,
                                    size_t size, foyer_time_ns now);

/*
 * TCP's urgent data (RFC 9293 section 3.8.5), as Linux gives it to sockets. New protocols should
 * not use it (RFC 6093 section 5). send_urgent is foyer_socket_send, after which all that was
 * written is urgent. The peer is told at once, even where its window is closed.
 * -ENOMEM: nothing was written. -EOPNOTSUPP: UDP.
 * In rings of the caller's (set_rings) the ring says it, both ways: see foyer_ring_put_urgent.
 */
FOYER_API int64_t foyer_socket_send_urgent(struct foyer_host *host, foyer_socket socket,
                                           const void *bytes, size_t size, foyer_time_ns now);
/*
 * The last urgent byte, which recv leaves out: recv gives what is before it, once more called what
 * is behind it. Until then it can be had here, once, or any number of times with is_peek.
 * 1: *ret_byte is set. -EAGAIN: announced, and not here yet; 0: it will not come any more.
 * -EINVAL: none is announced, it was taken or passed, or FOYER_OPT_OOBINLINE is set.
 */
FOYER_API int foyer_socket_recv_urgent(struct foyer_host *host, foyer_socket socket, bool is_peek,
                                       uint8_t *ret_byte);
/*
 * How many bytes there are before the last urgent one, counted from the reader; 0: it is next (the
 * mark). They need not have been received yet. -ENODATA: no urgent data is ahead of the reader.
 */
FOYER_API int foyer_socket_urgent_mark(struct foyer_host *host, foyer_socket socket,
                                       uint32_t *ret_bytes);

/* UDP. remote may be NULL on a connected socket. -EMSGSIZE: larger than 65507 (65527 for v6;
 * 8000 with FOYER_SMALL). */
FOYER_API int64_t foyer_socket_send_to(struct foyer_host *host, foyer_socket socket,
                                       const void *bytes, size_t size,
                                       const struct foyer_endpoint *remote, foyer_time_ns now);
/* Returns the datagram's own size even where it was cut to size. ret_* may be NULL. */
FOYER_API int64_t foyer_socket_recv_from(struct foyer_host *host, foyer_socket socket, void *bytes,
                                         size_t size, struct foyer_endpoint *ret_remote,
                                         struct foyer_addr *ret_local);

/* A datagram with all that can be said of it. */
struct foyer_datagram {
    struct foyer_endpoint remote; /* to send: port 0: the connected peer */
    /* Received: what it was sent to. To send: the source, an address of the host's; a wildcard:
     * the socket's, or chosen. */
    struct foyer_addr local;
    int16_t ttl, tos; /* hop limit and traffic class; to send: -1: the socket's */
    /* 0: one datagram. Else the bytes are several, of this size each but the last (GSO, GRO): to
     * send at most 64; received only with FOYER_OPT_UDP_GRO. */
    uint16_t segment_size;
    bool has_checksum; /* to send: whatever FOYER_OPT_UDP_ZERO_CHECKSUM_SEND says */
};

/* As foyer_socket_send_to and _recv_from. -EINVAL: ttl or tos out of range, more than 64 segments;
 * -EADDRNOTAVAIL: local is not the host's. */
FOYER_API int64_t foyer_socket_send_datagram(struct foyer_host *host, foyer_socket socket,
                                             const void *bytes, size_t size,
                                             const struct foyer_datagram *datagram,
                                             foyer_time_ns now);
FOYER_API int64_t foyer_socket_recv_datagram(struct foyer_host *host, foyer_socket socket,
                                             void *bytes, size_t size,
                                             struct foyer_datagram *ret_datagram);

enum foyer_error_origin { /* the numbers of SO_EE_ORIGIN_... */
                          FOYER_ERROR_LOCAL = 1,
                          FOYER_ERROR_ICMP = 2,
                          FOYER_ERROR_ICMP6 = 3,
};

struct foyer_socket_error {
    int error;                    /* negative errno */
    uint8_t origin;               /* enum foyer_error_origin */
    uint8_t type, code;           /* of the ICMP message */
    uint32_t info;                /* -EMSGSIZE: the MTU */
    struct foyer_addr offender;   /* who sent the message; all zero: nobody */
    struct foyer_endpoint remote; /* where the datagram was sent */
    uint8_t payload_size;
    uint8_t payload[64]; /* of the datagram, as far as it was quoted */
};

/*
 * The oldest of a UDP socket's queued errors (FOYER_OPT_RECVERR; 16 are kept). Each also was a
 * pending error with FOYER_EVENT_ERROR; after this call the next one is. -EAGAIN: none is left.
 */
FOYER_API int foyer_socket_error_next(struct foyer_host *host, foyer_socket socket,
                                      struct foyer_socket_error *ret_error);

/*
 * UDP. The socket gets what is sent to the group and its port (RFC 1112); none but members do, except
 * for the groups of all hosts (224.0.0.1, ff02::1) and by FOYER_OPT_MULTICAST_ALL. Routers are told by
 * IGMP and MLD. Closing leaves. join: -EADDRINUSE: is a member; -ENOBUFS: beyond 32 groups of a socket
 * or 256 of the host, -ENOMEM. leave: -EADDRNOTAVAIL: is no member. Both: -EINVAL: no group, or one of
 * a family that the socket does not speak; -EOPNOTSUPP for TCP.
 */
FOYER_API int foyer_socket_join_group(struct foyer_host *host, foyer_socket socket,
                                      const struct foyer_addr *group, foyer_time_ns now);
FOYER_API int foyer_socket_leave_group(struct foyer_host *host, foyer_socket socket,
                                       const struct foyer_addr *group, foyer_time_ns now);

/*
 * The same from some sources alone (RFC 3376, RFC 3810; the calls of RFC 3678). A member's filter is
 * EXCLUDE with a list, which may be empty (as foyer_socket_join_group makes it), or INCLUDE with a list
 * of at least one. Datagrams to the group from other sources are not given to the socket; routers are
 * told of all sockets' filters together. source: unicast, of the group's family.
 *
 * join_source: the socket becomes a member for the source (IP_ADD_SOURCE_MEMBERSHIP), or adds it to
 * its INCLUDE list; a list EXCLUDE without sources gives way to it. leave_source takes one from the
 * INCLUDE list; with the last one the socket leaves. block_source and unblock_source change the
 * EXCLUDE list of a member.
 *
 * -EINVAL: the list is of the other mode, no member (but for join_source), no source or no group;
 * -EADDRNOTAVAIL: it is in the list already, or is not; -ENOBUFS: beyond 64 sources in a list or 256
 * of all lists of the group, or as join_group; -ENOMEM. After an error all is as before. Others as
 * foyer_socket_join_group. O(sources of the group) per source of the list.
 */
#define FOYER_GROUP_SOURCES_MAX 64

enum foyer_filter_mode {
    FOYER_FILTER_INCLUDE = 0,
    FOYER_FILTER_EXCLUDE = 1,
};

FOYER_API int foyer_socket_join_source(struct foyer_host *host, foyer_socket socket,
                                       const struct foyer_addr *group,
                                       const struct foyer_addr *source, foyer_time_ns now);
FOYER_API int foyer_socket_leave_source(struct foyer_host *host, foyer_socket socket,
                                        const struct foyer_addr *group,
                                        const struct foyer_addr *source, foyer_time_ns now);
FOYER_API int foyer_socket_block_source(struct foyer_host *host, foyer_socket socket,
                                        const struct foyer_addr *group,
                                        const struct foyer_addr *source, foyer_time_ns now);
FOYER_API int foyer_socket_unblock_source(struct foyer_host *host, foyer_socket socket,
                                          const struct foyer_addr *group,
                                          const struct foyer_addr *source, foyer_time_ns now);
/*
 * Puts a whole filter in the place of the old one (IPMulticastListen of RFC 3376 section 2, IP_MSFILTER);
 * a socket that is no member becomes one. sources may be NULL where count is 0. INCLUDE of nothing
 * leaves: -EADDRNOTAVAIL where it is no member. Other errors as above.
 */
FOYER_API int foyer_socket_set_source_filter(struct foyer_host *host, foyer_socket socket,
                                             const struct foyer_addr *group,
                                             enum foyer_filter_mode mode,
                                             const struct foyer_addr *sources, size_t count,
                                             foyer_time_ns now);
/* How many sources the filter has, of which up to max are written, and its mode. -EADDRNOTAVAIL: no
 * member; others as above. */
FOYER_API int foyer_socket_source_filter(struct foyer_host *host, foyer_socket socket,
                                         const struct foyer_addr *group,
                                         enum foyer_filter_mode *ret_mode,
                                         struct foyer_addr *ret_sources, size_t max);

enum foyer_shutdown {
    FOYER_SHUTDOWN_READ = 1,
    FOYER_SHUTDOWN_WRITE = 2,
};

/* Half close: FIN follows what is in the send buffer. -ENOTCONN. */
FOYER_API int foyer_socket_shutdown(struct foyer_host *host, foyer_socket socket, unsigned how,
                                    foyer_time_ns now);

/*
 * Gives the handle back. TCP goes on by itself to deliver what was sent and ends the connection
 * (a reset where unread bytes are thrown away, RFC 1122 section 4.2.2.13, or linger is 0).
 * Rings given with set_rings are not touched after this returns: unsent bytes are copied.
 */
FOYER_API int foyer_socket_close(struct foyer_host *host, foyer_socket socket, foyer_time_ns now);

/* Ends the connection with a reset and gives the handle back. */
FOYER_API int foyer_socket_abort(struct foyer_host *host, foyer_socket socket, foyer_time_ns now);

enum foyer_option {
    FOYER_OPT_REUSEADDR = 1, /* 0 or 1 */
    FOYER_OPT_REUSEPORT,     /* 0 or 1 */
    FOYER_OPT_V6ONLY,        /* 0 or 1; before bind */
    FOYER_OPT_NODELAY,       /* 0 or 1 */
    FOYER_OPT_CORK,          /* 0 or 1 */
    FOYER_OPT_LINGER_NS,     /* -1: off; 0: reset on close */
    FOYER_OPT_KEEPALIVE,     /* 0 or 1 */
    FOYER_OPT_KEEPIDLE_S,
    FOYER_OPT_KEEPINTVL_S,
    FOYER_OPT_KEEPCNT,
    FOYER_OPT_USER_TIMEOUT_MS,
    FOYER_OPT_MAXSEG,
    FOYER_OPT_CONGESTION,     /* enum foyer_congestion */
    FOYER_OPT_RECEIVE_BUFFER, /* bytes; rounded up to a power of two; before data */
    FOYER_OPT_SEND_BUFFER,
    FOYER_OPT_TTL,       /* 1..255 */
    FOYER_OPT_TOS,       /* 0..255 */
    FOYER_OPT_OWNER_UID, /* who may share the port by REUSEPORT, as Linux compares uids */
    FOYER_OPT_BROADCAST,
    FOYER_OPT_HOLD,      /* 0 or 1; a listener's requests wait for the caller: foyer_request_next */
    FOYER_OPT_INTERCEPT, /* enum foyer_intercept; a listener takes what is meant for others */
    FOYER_OPT_MULTICAST_TTL,  /* UDP; 0..255, 0: not beyond this host. Default 1 */
    FOYER_OPT_MULTICAST_LOOP, /* UDP; 0 or 1: the host's own members hear it too. Default 1 */
    FOYER_OPT_ECN,            /* enum foyer_ecn; before connect or listen */
    FOYER_OPT_OOBINLINE, /* 0 or 1; urgent data is data like other: see foyer_socket_recv_urgent */
    FOYER_OPT_PACING,    /* enum foyer_pacing */
    FOYER_OPT_MAX_PACING_RATE, /* bytes per second; 0: none. Paces whatever FOYER_OPT_PACING says */
    FOYER_OPT_FASTOPEN,   /* RFC 7413; 0: off. A listener: how many connections whose data came with
                           the SYN may wait for the end of their handshake (with FOYER_OPT_HOLD:
                           none). Else: whether connect uses it, for what is in the ring */
    FOYER_OPT_TIMESTAMPS, /* 0 or 1, the default: whether RFC 7323's are offered and agreed to */
    FOYER_OPT_SACK,       /* the same for RFC 2018's selective acknowledgements */
    FOYER_OPT_FASTOPEN_WITHOUT_COOKIE, /* 0 or 1; only where nobody can forge addresses */
    FOYER_OPT_RECVERR, /* UDP; 0 or 1: errors are queued, see foyer_socket_error_next; of every kind,
                          and for unconnected sockets as well */
    FOYER_OPT_UDP_GRO, /* UDP; 0 or 1: what the link coalesced comes in one piece, segment_size says
                          how to cut it */
    FOYER_OPT_SYN_RETRIES, /* 1..127: how often a SYN is sent again before connect fails; 0: until
                              four minutes are over */
    FOYER_OPT_QUICKACK, /* TCP; 1: the next 16 segments are acknowledged at once, as are the first of
                           a connection; 0: ACKs wait for company (RFC 9293 section 3.8.6.3) from now
                           on. Of a connection: not kept for the next */
    FOYER_OPT_PUSH, /* TCP; 1, the default: PSH where the buffer is emptied. 0: not, as for a SEND
                       without PUSH (RFC 9293 section 3.9.1.2); 1 again once what a cork held has
                       waited for its time */
    FOYER_OPT_STATISTICS, /* TCP; 0 or 1: foyer_socket_info's statistics are counted, for which the
                             connection needs some 100 bytes more */
    /* UDP; 0 or 1, 0 is the default. RFC 6936: for tunnels whose inner packets are protected, and
     * nothing else. IPv6 datagrams without a checksum are taken; those of either family are sent
     * without one, but for what foyer_datagram says. */
    FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE,
    FOYER_OPT_UDP_ZERO_CHECKSUM_SEND,
    FOYER_OPT_RECEIVE_LIMIT, /* TCP; bytes, 0, the default: none. The peer is offered no more of the
                                receive ring than this, whoever gave the ring; what it was offered
                                before it may still send */
    FOYER_OPT_MULTICAST_ALL, /* UDP; 0, the default: only members get what is sent to a group. Else a
                                sum of 1, for IPv4, and 2, for IPv6: a socket that has not joined the
                                group gets it, too, where another one of the host has and it is bound
                                to the port (Linux' IP_MULTICAST_ALL and IPV6_MULTICAST_ALL) */
};

/*
 * Interception, for tunnels and tests that stand for a whole network. The frames must reach the
 * host's MAC; the answers carry the intercepted address as their source, and so do
 * foyer_socket_info's local and the segments of the accepted connection. It is TCP only: other
 * packets to addresses that are not the host's are dropped as ever. The socket must be bound to a
 * wildcard address (or not yet bound). Sockets without the option never get such connections.
 */
enum foyer_intercept {
    FOYER_INTERCEPT_OFF = 0,
    FOYER_INTERCEPT_ADDRESS = 1, /* every address, the port that the listener is bound to */
    FOYER_INTERCEPT_ALL = 2,     /* every address and every port, own ones included, where no
                                    other listener fits; one per family: -EADDRINUSE */
};

/* RFC 3168: whether a connection negotiates explicit congestion notification. */
enum foyer_ecn {
    FOYER_ECN_ACCEPT = 0, /* where the peer asks: the default */
    FOYER_ECN_REQUEST,    /* and ask for it */
    FOYER_ECN_OFF,
    FOYER_ECN_ACCURATE_ACCEPT, /* as ACCEPT, and RFC 9768's feedback where the peer asks for that */
    FOYER_ECN_ACCURATE,        /* and ask for it; who does not know it may agree to RFC 3168's */
};

/* Whether data leaves spread over the round trip instead of in bursts; BBR always paces. */
enum foyer_pacing {
    FOYER_PACING_AUTO = 0, /* where the round trip is 1 ms or more: the default */
    FOYER_PACING_OFF,
    FOYER_PACING_ON,
};

enum foyer_congestion {
    FOYER_CONGESTION_CUBIC = 0,
    FOYER_CONGESTION_NEWRENO = 1,
    FOYER_CONGESTION_DCTCP = 2, /* RFC 8257; for networks of one operator, both ends, with marks */
    FOYER_CONGESTION_BBR = 3,   /* draft-ietf-ccwg-bbr, version 3 */
};

/* -ENOPROTOOPT for an option that the protocol does not have, -EINVAL for a value. */
FOYER_API int foyer_socket_set_option(struct foyer_host *host, foyer_socket socket,
                                      enum foyer_option option, int64_t value);
FOYER_API int foyer_socket_get_option(struct foyer_host *host, foyer_socket socket,
                                      enum foyer_option option, int64_t *ret_value);

/* What TCP's sender is doing about losses. */
enum foyer_recovery {
    FOYER_RECOVERY_NONE = 0,
    FOYER_RECOVERY_FAST,    /* fast recovery (RFC 5681, RFC 6675) */
    FOYER_RECOVERY_TIMEOUT, /* after a retransmission timeout */
    FOYER_RECOVERY_CWR,     /* cwnd is being reduced, nothing is lost: ECN, or a probe's repair */
};

/* With FOYER_OPT_STATISTICS, since the connection began or the option was set. */
struct foyer_socket_statistics {
    uint64_t busy_us; /* something was unacknowledged or unsent; all the following included */
    uint64_t window_limited_us; /* unsent bytes found no room in the peer's window */
    uint64_t
        buffer_limited_us; /* all is sent, and the send ring is full of what is not acknowledged */
    uint32_t
        delivered_segments; /* acknowledged or SACKed, our SYN included; of bytes, as if full */
    uint32_t delivered_ce_segments; /* of them, by ACKs that told of congestion marks */
    uint32_t reorder_events;
    uint32_t reorder_segments; /* the longest that one was overtaken by; at least 3 (DupThresh) */
};

/* RFC 9768, without the values that its counters begin with: packets, and bytes by the IP-ECN field
 * that they came with; modulo 2^32. received: by us; delivered: of ours, as the peer tells. */
struct foyer_ecn_counters {
    uint32_t received_ce, received_ce_bytes, received_e0_bytes, received_e1_bytes;
    uint32_t delivered_ce, delivered_ce_bytes, delivered_e0_bytes, delivered_e1_bytes;
};

/* What `foyer ports` shows of a socket. */
struct foyer_socket_info {
    enum foyer_protocol protocol;
    enum foyer_family family;
    enum foyer_socket_state state;
    bool is_bound;
    bool is_local_carrier; /* see foyer_socket_connect_local */
    struct foyer_endpoint local;
    struct foyer_endpoint remote; /* wildcard and 0 where not connected */
    uint64_t owner;
    uint64_t user;
    uint32_t accept_queue_count; /* LISTEN: waiting */
    uint32_t request_count;      /* LISTEN: half-open, held ones included; cookies are not known.
                                    And ended ones, until foyer_request_next_ended */
    uint32_t backlog;
    uint64_t bytes_sent, bytes_received, retransmissions;
    uint32_t rtt_us, rttvar_us, rto_us, cwnd_bytes, ssthresh_bytes, mss;
    uint32_t send_window_bytes, receive_window_bytes;
    enum foyer_recovery recovery;
    uint32_t flight_bytes;             /* sent and not acknowledged */
    uint32_t sacked_bytes, lost_bytes; /* of it: what the peer holds; lost and not sent again yet */
    uint64_t delivery_rate_bytes_per_s; /* of the last round trip; 0: nothing is out */
    uint64_t pacing_rate_bytes_per_s;   /* 0: is not paced, or nothing is out */
    uint32_t min_rtt_us;                /* 0: not known */
    bool is_app_limited;                /* delivery_rate is the program's, not the path's */
    enum foyer_congestion congestion;   /* as in use */
    uint8_t backoff;                    /* doublings of the retransmission timeout */
    uint8_t probes;                     /* keep-alives that found no answer */
    /* What was agreed on in the handshake. */
    bool has_timestamps, has_sack, has_window_scale, has_ecn;
    bool has_accurate_ecn; /* RFC 9768; has_ecn is false then */
    bool has_syn_data;     /* Fast Open: data came or went with the SYN; also after a reset */
    uint8_t send_scale, receive_scale;   /* of the peer's window and of ours */
    uint16_t receive_mss;                /* what the peer sends per segment, estimated */
    uint16_t advertised_mss;             /* what our SYN offers */
    uint32_t unsent_bytes;               /* written, not sent yet; without what was not looked at */
    struct foyer_ecn_counters ecn;       /* zero without has_accurate_ecn */
    uint32_t idle_send_ms, idle_recv_ms; /* since the last data was sent, since the peer spoke */
    uint32_t retransmitting_bytes;       /* of flight_bytes: sent again, and not acknowledged yet */
    bool has_statistics;
    struct foyer_socket_statistics statistics;
};

FOYER_API int foyer_socket_info(struct foyer_host *host, foyer_socket socket,
                                struct foyer_socket_info *ret_info);

/* Takes (returns and clears) the pending error as SO_ERROR does: 0 or a negative errno. */
FOYER_API int foyer_socket_take_error(struct foyer_host *host, foyer_socket socket);

/* Iterates all sockets: start with FOYER_SOCKET_NONE; returns false at the end. */
FOYER_API bool foyer_socket_next(struct foyer_host *host, foyer_socket *io_socket);

/* Who would get a TCP connection request or a datagram from remote to local; NONE: nobody. */
FOYER_API foyer_socket foyer_socket_find(struct foyer_host *host, enum foyer_protocol protocol,
                                         const struct foyer_endpoint *local,
                                         const struct foyer_endpoint *remote);

/*
 * The local carrier: connects a socket of one host with a listener of another (or the same) by
 * the port tables alone, for callers that carry the bytes themselves. Both ends are then
 * ESTABLISHED in their tables (ports and 4-tuples are taken, an ephemeral port is chosen) but no
 * segment is ever sent; the new socket is returned at once, as if accepted, and does not count
 * in the listener's queue. Errors as foyer_socket_connect.
 */
FOYER_API int foyer_socket_connect_local(struct foyer_host *host, foyer_socket socket,
                                         const struct foyer_endpoint *remote,
                                         struct foyer_host *listener_host, foyer_socket listener,
                                         uint64_t owner, foyer_socket *ret_accepted,
                                         foyer_time_ns now);

#ifdef __cplusplus
}
#endif
#endif
