/*
 * What foyerd and attached programs (and the foyer command) say to each other.
 *
 * A session is an AF_UNIX SOCK_SEQPACKET connection, one per process. One request, one reply,
 * in order; a process serialises its threads. Messages are the fixed structs below, in host
 * byte order, with descriptors attached where it says so. Every request begins with struct
 * foyer_request, every reply with struct foyer_reply. foyerd checks size, type and every field;
 * a malformed request ends the session.
 *
 * A program's socket is one end of an AF_UNIX SOCK_STREAM pair, the "program end"; foyerd holds
 * the "daemon end". Meaning of bytes on the pair:
 *   daemon end -> program end, not listening: doorbell, any bytes: "look at shared memory".
 *   daemon end -> program end, listening:     struct foyer_accept with 2 or 3 descriptors.
 *   program end -> daemon end:                doorbell for foyerd: "look at rings and slot".
 *   hang-up of the program end:               the last holder closed it: close the socket.
 *   hang-up of the daemon end:                foyerd and the peer are both gone: ECONNRESET.
 * For the local carrier each end also gets a duplicate of the *other's* daemon end (the peer
 * bell), and rings the peer directly by writing one byte there.
 * The daemon end is bound to the abstract name "\0foyer/<16 hex digits of the socket id>", so that
 * getpeername() on any AF_UNIX descriptor tells whether it is a foyer socket (after exec, or
 * received by SCM_RIGHTS); FOYER_REQUEST_ATTACH then fetches its memory.
 *
 * A "birth channel" is a session whose only use is FOYER_REQUEST_SESSION: `foyer run` opens it,
 * its descriptor is inherited by every descendant (number in FOYER_FD), and it carries one end of
 * a fresh socketpair to foyerd, which becomes the sender's session. It works after chroot,
 * setuid and fork. SO_PEERCRED of the session's descriptor tells foyerd the process.
 *
 * Environment of attached programs: LD_PRELOAD, FOYER_SOCKET (path of foyerd's socket),
 * FOYER_HOST (name of the host), FOYER_FD (birth channel), FOYER_SUPERVISOR (path of
 * foyer-supervise); FOYER_SUPERVISED below it; FOYER_ACTS_FOR (process id) in the supervisor.
 */
#ifndef FOYER_IPC_PROTOCOL_H
#define FOYER_IPC_PROTOCOL_H

#include "foyer/types.h"
#include "ipc/shm.h"

/* Of HELLO and CONTROL alone: whatever foyer a person has can end whatever foyerd runs. */
#define FOYER_PROTOCOL_VERSION 1u
/*
 * Programs share memory with foyerd and each other, and its layout changes without a number being
 * raised. So theirs is a digest of the headers that say it (src/ipc/CMakeLists.txt): foyerd takes
 * no program of another build.
 */
uint32_t protocol_build(void);
#define FOYER_NAME_MAX 64u       /* host and program names, with terminating 0 */
#define FOYER_MESSAGE_MAX 65536u /* bytes of any message */
#define FOYER_MESSAGE_FDS_MAX 8u

enum foyer_request_type {
    FOYER_REQUEST_HELLO = 1, /* foyer_hello; reply foyer_welcome + [arena fd] for programs */
    FOYER_REQUEST_SESSION,   /* birth channel only: + [session fd]; no reply here */
    FOYER_REQUEST_SOCKET,    /* foyer_request_socket; foyer_reply_socket + [program end, (channel)],
                                or foyer_reply_sockets + [program end, spare program ends] */
    FOYER_REQUEST_BIND,      /* foyer_request_endpoint; foyer_reply_endpoint */
    FOYER_REQUEST_LISTEN,    /* foyer_request_listen; foyer_reply_endpoint */
    FOYER_REQUEST_CONNECT, /* foyer_request_endpoint; foyer_reply_connect + [channel, (peer bell)] */
    FOYER_REQUEST_OPTIONS, /* foyer_request: the slot's options changed; no reply.
                                Rings: whoever sleeps on the socket looks at the slot again */
    FOYER_REQUEST_ATTACH,  /* foyer_request + [program end]; foyer_reply_attach + [arena,
                                (channel), (peer bell)] */
    FOYER_REQUEST_RESOLVE, /* foyer_request_resolve; foyer_reply_resolve */
    FOYER_REQUEST_INFO,    /* foyer_request: TCP_INFO; foyer_reply_info */
    FOYER_REQUEST_CONTROL, /* foyer_request then JSON text, (+ [fd]); foyer_reply + [memfd with
                                JSON]. For the foyer command; see docs/control.md */
    FOYER_REQUEST_FORKED,  /* foyer_request; foyer_reply. The process has a child that maps the
                                same channels: none of them may serve another connection */
    FOYER_REQUEST_DIRECT,  /* foyer_request_endpoint; foyer_reply_direct + [direct]. UDP: the ring
                                that leads from this socket to whoever has the endpoint */
    FOYER_REQUEST_INBOX,   /* foyer_request_inbox + [program end]; foyer_reply_inbox + [directs].
                                The rings that lead to this socket */
    FOYER_REQUEST_GROUP,   /* foyer_request_group; foyer_reply_group. UDP: multicast membership */
    FOYER_REQUEST_ERROR,   /* foyer_request; foyer_reply_error. UDP: the oldest queued error */
    FOYER_REQUEST_KEPT,    /* foyer_request; no reply. The connecting end has left a connection that
                                may be parked: foyerd is to look after it */
    FOYER_REQUEST_FILTER,  /* foyer_request_filter; foyer_reply_filter. UDP: whole source filters */
};

struct foyer_request {
    uint32_t type; /* enum foyer_request_type */
    uint32_t size; /* bytes of the whole message */
    uint64_t id;   /* the socket it is about, or 0 */
};

struct foyer_reply {
    uint32_t type; /* of the request */
    int32_t error; /* 0 or a positive errno */
    uint64_t id;
};

enum foyer_role {
    FOYER_ROLE_PROGRAM = 1, /* will open sockets */
    FOYER_ROLE_BIRTH,       /* `foyer run`: a birth channel; makes the host if need be */
    FOYER_ROLE_CONTROL,     /* the foyer command: FOYER_REQUEST_CONTROL only */
};

struct foyer_hello {
    struct foyer_request header;
    /* FOYER_PROTOCOL_VERSION, but for FOYER_ROLE_PROGRAM and _BIRTH protocol_build(); else EPROTO */
    uint32_t version;
    uint32_t role;
    int32_t parent_pid; /* the process it was forked from, or 0 */
    /* The process that its sockets are for, where that is another one (foyer-supervise); or 0. */
    int32_t acts_for_pid;
    char host[FOYER_NAME_MAX]; /* terminated; empty: that of the birth channel */
    char program[FOYER_NAME_MAX];
};

struct foyer_welcome {
    struct foyer_reply header;
    uint32_t version;
    uint32_t arena; /* its number; the fd comes with the message for FOYER_ROLE_PROGRAM */
    int32_t daemon_pid;
    uint32_t reserved;
    struct foyer_addr addr4, addr6; /* the host's own */
    char host[FOYER_NAME_MAX];
    char building[FOYER_NAME_MAX];
};

struct foyer_request_socket {
    struct foyer_request header;
    uint32_t family, type, protocol; /* AF_INET or AF_INET6; SOCK_STREAM or SOCK_DGRAM */
    uint32_t spare_count; /* more of the same kind, for later; at most FOYER_SPARES_MAX, not UDP */
};

struct foyer_reply_socket {
    struct foyer_reply header; /* id: the new socket's */
    uint32_t arena, slot;
    uint32_t ring_size; /* of the channel (UDP), else 0 */
    uint32_t reserved;
};

#define FOYER_SPARES_MAX (FOYER_MESSAGE_FDS_MAX - 1u)

/* Where spares were asked for. There may be fewer, their descriptors come in the same order. */
struct foyer_reply_sockets {
    struct foyer_reply_socket first;
    uint32_t spare_count;
    uint32_t reserved;
    struct foyer_spare {
        uint64_t id;
        uint32_t slot; /* of the same arena */
        uint32_t reserved;
    } spares[FOYER_SPARES_MAX];
};

/* BIND, CONNECT, DIRECT. For CONNECT of UDP, the wildcard with port 0 dissolves the connection. */
struct foyer_request_endpoint {
    struct foyer_request header;
    struct foyer_endpoint endpoint;
    uint8_t family_unspecified; /* CONNECT: AF_UNSPEC */
    uint8_t reserved[5];
};

#define FOYER_CONFLICT_TEXT_MAX 512u

struct foyer_reply_endpoint {
    struct foyer_reply header;
    struct foyer_endpoint local;
    uint8_t reserved[6];
    /* EADDRINUSE: one line for the person, terminated, no newline: who holds it, what to do. */
    char conflict[FOYER_CONFLICT_TEXT_MAX];
};

struct foyer_request_listen {
    struct foyer_request header;
    uint32_t backlog;
    uint32_t reserved;
};

/*
 * error 0: connected (local carrier: descriptors channel and peer bell; UDP: none).
 * EINPROGRESS: foyerd works on it (descriptor: channel); slot state and doorbell will tell.
 */
struct foyer_reply_connect {
    struct foyer_reply header;
    uint32_t ring_size;
    uint32_t side; /* which the program is: 0 */
    struct foyer_endpoint local, remote;
    uint8_t reserved[4];
    char conflict[FOYER_CONFLICT_TEXT_MAX]; /* as above, for EADDRINUSE; or why unreachable */
};

/* On the listener's pair, with [program end, channel, (peer bell when is_local)]. */
struct foyer_accept {
    uint64_t id;
    uint32_t arena, slot; /* the listener's arena */
    uint32_t ring_size;
    uint32_t side; /* which the acceptor is: 1 for the local carrier, 0 when relayed */
    uint32_t is_local;
    struct foyer_endpoint local, remote;
};

struct foyer_reply_attach {
    struct foyer_reply header; /* id of the socket; ENOTSOCK: not a foyer socket of this daemon */
    uint32_t arena, slot;
    uint32_t ring_size; /* 0: no channel */
    uint32_t side;
    uint32_t is_local; /* a peer bell comes with it */
    uint32_t reserved;
};

struct foyer_request_resolve {
    struct foyer_request header;
    struct foyer_addr addr; /* looked up where name is empty */
    char name[256];
};

struct foyer_reply_resolve {
    struct foyer_reply header; /* ENOENT: not a name or address of this building */
    uint32_t addr_count;
    uint32_t reserved;
    struct foyer_addr addrs[8];
    char name[256]; /* canonical */
};

/*
 * EAGAIN: datagrams are on their way through foyerd still; ECONNREFUSED: nobody has the endpoint;
 * EOPNOTSUPP: it is not reached so; ENOBUFS: no more rings. Then datagrams go through foyerd.
 */
struct foyer_reply_direct {
    struct foyer_reply header;
    uint32_t ring_size;
    uint32_t generation;      /* the slot's routes_generation that this answer is good for */
    struct foyer_addr source; /* what the datagrams have as their source */
};

struct foyer_request_inbox {
    struct foyer_request header;
    uint32_t after; /* of the rings' serial numbers: earlier ones are mapped already; at first 0 */
    uint32_t reserved;
};

struct foyer_direct_state {
    uint32_t serial;
    uint32_t end; /* is_closing: of the ring's positions; what is behind it came too late */
    uint32_t is_closing;
};

/*
 * states are those of all rings, in order of serial; there are descriptors for the entries, which
 * begin with the first serial after `after`. There may be more entries than fit.
 */
struct foyer_reply_inbox {
    struct foyer_reply header;
    uint32_t generation; /* the slot's inbox_generation that this answer is good for */
    uint32_t state_count, entry_count;
    uint32_t has_more;
    struct foyer_direct_state states[FOYER_DIRECT_MAX];
    struct foyer_direct_entry {
        uint32_t serial;
        uint32_t ring_size;
        uint32_t start; /* position in the relayed ring: what is before it there came earlier */
        struct foyer_addr local; /* what the datagrams were sent to */
        struct foyer_endpoint source;
        uint8_t reserved[2];
    } entries[FOYER_MESSAGE_FDS_MAX];
};

/* A host's interfaces, by if_nametoindex's numbers. */
#define FOYER_INTERFACE_LOOPBACK 1u
#define FOYER_INTERFACE_HOST 2u

enum foyer_group_operation {
    FOYER_GROUP_INTERFACE = 1, /* which one has the address: EADDRNOTAVAIL */
    FOYER_GROUP_JOIN,
    FOYER_GROUP_LEAVE,
    FOYER_GROUP_JOIN_SOURCE, /* from here on with a source */
    FOYER_GROUP_LEAVE_SOURCE,
    FOYER_GROUP_BLOCK_SOURCE,
    FOYER_GROUP_UNBLOCK_SOURCE,
};

/* ENODEV: the host has no interface with that address. Others as foyer_socket_join_group and its like. */
struct foyer_request_group {
    struct foyer_request header;
    uint32_t operation; /* enum foyer_group_operation */
    uint32_t reserved;
    struct foyer_addr group, source;
    struct foyer_addr interface; /* an address of it; a wildcard: whichever */
};

struct foyer_reply_group {
    struct foyer_reply header;
    uint32_t interface; /* FOYER_INTERFACE_...; 0: none has that address */
    uint32_t reserved;
};

#define FOYER_FILTER_SOURCES_MAX 64u

/* Get: what follows `interface` does not count. ENODEV, EADDRNOTAVAIL and others as Linux has them. */
struct foyer_request_filter {
    struct foyer_request header;
    uint32_t is_set; /* 0: get; 1 */
    uint32_t is_exclude;
    struct foyer_addr group;
    struct foyer_addr interface; /* an address of it; a wildcard: whichever */
    uint32_t source_count;
    uint32_t reserved;
    struct foyer_addr sources[FOYER_FILTER_SOURCES_MAX];
};

struct foyer_reply_filter {
    struct foyer_reply header;
    uint32_t is_exclude;
    uint32_t source_count;
    struct foyer_addr sources[FOYER_FILTER_SOURCES_MAX];
};

/* struct foyer_socket_error. EAGAIN: there is none. */
struct foyer_reply_error {
    struct foyer_reply header;
    int32_t number; /* positive errno */
    uint32_t info;
    uint8_t origin, type, code, payload_size;
    uint8_t reserved[2];
    struct foyer_endpoint remote;
    struct foyer_addr offender;
    uint8_t payload[64];
};

/* What TCP_INFO needs, from struct foyer_socket_info. */
struct foyer_reply_info {
    struct foyer_reply header;
    uint32_t state; /* enum foyer_socket_state */
    uint32_t rtt_us, rttvar_us, rto_us, cwnd_bytes, ssthresh_bytes, mss;
    uint32_t retransmissions;
    uint64_t bytes_sent, bytes_received;
};

#endif
