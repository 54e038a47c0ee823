/*
 * libfoyer behind packetdrill's table. One host, its clock and its wire:
 *
 *   clock.c    virtual time; calls that block, and who wakes them
 *   wire.c     raw IP in and out of Ethernet; the one neighbour that answers ARP and NDP
 *   calls.c    the socket calls
 *   options.c  socket options, TCP_INFO, ioctl, fcntl
 *   poll.c     poll and epoll
 *   notice.c   the error queue: what became of bytes sent (MSG_ZEROCOPY, SO_TIMESTAMPING)
 *   files.c    sendfile, splice
 *   table.c    locking and errno around all of them
 *
 * Only the public API of libfoyer is used. Inside, a call answers with a result or a negative
 * errno; -EAGAIN from a `struct pd_call` means not yet.
 */
#ifndef FOYER_TESTS_PACKETDRILL_ADAPTER_H
#define FOYER_TESTS_PACKETDRILL_ADAPTER_H

#include <foyer/foyer.h>
#include <pthread.h>

#include "abi.h"

#define PD_SOCKETS_MAX 1024
#define PD_FD_FIRST 1000 /* not to be taken for a descriptor of the process */
#define PD_WATCHES_MAX 64
#define PD_RECORDS_MAX 32
#define PD_NOTICES_MAX 64 /* of a socket, waiting to happen or to be read */

struct pd_watch {
    int fd; /* -1: free */
    uint32_t events;
    epoll_data_t data;
    bool is_armed; /* edge-triggered: something happened since the last report */
};

/* Something to tell once the stream has got to a place: a position of the send ring. */
struct pd_mark {
    uint32_t end;
    uint32_t id;
    bool is_zerocopy; /* else: timestamps */
    bool is_sent;     /* told of */
};

/* What a socket's error queue holds. */
struct pd_notice {
    uint8_t origin, code; /* SO_EE_ORIGIN_..., SO_EE_CODE_... */
    uint32_t info, data;
    foyer_time_ns time_ns;
};

struct pd_socket {
    bool is_open, is_epoll, is_tcp;
    bool is_nonblocking, is_listening;
    bool is_connecting; /* connect has not said yet how it ended */
    bool connects_fast; /* TCP_FASTOPEN_CONNECT: connect waits for the first bytes */
    bool is_deferred;   /* such a connect was called, to remote */
    struct foyer_endpoint remote;
    bool has_more;  /* corked by MSG_MORE, not by TCP_CORK */
    bool is_corked; /* by TCP_CORK */
    bool has_shut_read, has_shut_write;
    bool has_error;    /* there is one to take */
    bool has_own_keys; /* TCP_FASTOPEN_KEY: the host's, as long as the socket lives */
    bool is_v6;
    foyer_socket handle;
    struct foyer_ring rx, tx; /* unset: none yet */
    struct pd_watch *watches; /* epoll */
    bool tells_inq;           /* TCP_INQ */
    uint32_t send_limit;      /* SO_SNDBUF as Linux keeps it, doubled; 0: the ring's */
    /* Behind MSG_EOR: bytes that are taken and wait until all before them has left, so that no
     * segment holds both; the ends of records among them. */
    uint8_t *held;
    size_t held_size, record_ends[PD_RECORDS_MAX];
    unsigned record_count;
    bool ends_record;       /* the ring's last byte is the last of a record */
    uint32_t notsent_lowat; /* TCP_NOTSENT_LOWAT; 0: the namespace's */
    bool is_zerocopy;       /* SO_ZEROCOPY */
    uint32_t zerocopy_next;
    uint32_t timestamping;       /* SO_TIMESTAMPING */
    uint32_t timestamping_start; /* where the stream was when it was set */
    unsigned mark_count, notice_count;
    struct pd_mark marks[PD_NOTICES_MAX];
    struct pd_notice notices[PD_NOTICES_MAX];
};

/* A call that may have to wait. */
struct pd_call {
    ssize_t (*attempt)(struct pd_call *call); /* -EAGAIN: not yet */
    struct pd *pd;
    struct pd_socket *socket;
    foyer_time_ns deadline_ns; /* then it ends with timeout_result */
    ssize_t timeout_result;
    ssize_t result;
    bool is_done;
};

struct pd_packet {
    struct pd_packet *next;
    foyer_time_ns sent_ns;
    size_t size;
    uint8_t bytes[];
};

struct pd {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t script_thread;
    foyer_time_ns now;
    struct foyer_host *host; /* NULL until the first socket: then the script's sysctls are set */
    uint16_t mtu;
    bool is_without_tso;
    struct foyer_addr local4, local6;
    struct pd_call *waiting; /* of the other thread */
    bool is_returning;       /* its call ended, it has not read the clock yet */
    pid_t returner;          /* that thread, once it has; 0: none */
    struct pd_packet *packets, **packets_end;
    struct pd_socket sockets[PD_SOCKETS_MAX];
};

/* ---- clock.c -------------------------------------------------------------------------------- */

/* Moves time to target_ns, through every deadline on the way. */
void pd_advance(struct pd *pd, foyer_time_ns target_ns);
/* When something can next happen by itself. */
foyer_time_ns pd_deadline(const struct pd *pd);
/* Takes what the host wants to send and say, and finishes the waiting call where that can end. */
void pd_settle(struct pd *pd);
ssize_t pd_run(struct pd_call *call, bool may_wait);
bool pd_is_script_thread(const struct pd *pd);
/* The other thread is past its call. */
void pd_returned(struct pd *pd);

/* ---- wire.c --------------------------------------------------------------------------------- */

bool pd_host_start(struct pd *pd);
void pd_wire_output(struct pd *pd);
void pd_wire_input(struct pd *pd, const uint8_t *bytes, size_t size);
/* Back to the namespace's. */
void pd_fastopen_keys_reset(struct pd *pd);
/* The first number of a file under /proc/sys/net/ipv4, at the given place; or the fallback. */
long pd_sysctl(const char *name, unsigned place, long fallback);

/* ---- calls.c -------------------------------------------------------------------------------- */

struct pd_socket *pd_socket_get(struct pd *pd, int fd);
int pd_socket_fd(const struct pd *pd, const struct pd_socket *socket);
struct pd_socket *pd_socket_new(struct pd *pd); /* NULL: too many */
enum foyer_socket_state pd_state(struct pd *pd, const struct pd_socket *socket);
uint32_t pd_readable_bytes(const struct pd_socket *socket);
bool pd_has_eof(const struct pd_socket *socket);

int pd_open(struct pd *pd, int domain, int type, int protocol);
int pd_bind(struct pd *pd, int fd, const struct sockaddr *addr, socklen_t size);
int pd_listen(struct pd *pd, int fd, int backlog);
int pd_accept(struct pd *pd, int fd, struct sockaddr *ret_addr, socklen_t *io_size);
int pd_connect(struct pd *pd, int fd, const struct sockaddr *addr, socklen_t size);
ssize_t pd_receive(struct pd *pd, int fd, struct msghdr *msg, int flags);
ssize_t pd_send(struct pd *pd, int fd, const struct msghdr *msg, int flags);
/* Moves on what MSG_EOR holds back. */
void pd_records_look(struct pd *pd, struct pd_socket *socket);
/* A packet came: what MSG_MORE held goes by Nagle's rule. */
void pd_more_over(struct pd *pd);
/* What a socket's bytes that are not acknowledged count against send_limit. */
uint32_t pd_send_memory(const struct pd_socket *socket, const struct foyer_socket_info *info);
int pd_shutdown(struct pd *pd, int fd, int how);
int pd_close(struct pd *pd, int fd);

/* ---- notice.c ------------------------------------------------------------------------------- */

/* What was written just now ends at the head of the send ring. */
void pd_mark_written(struct pd_socket *socket, bool is_zerocopy);
/* Marks that the stream has passed become notices. */
void pd_marks_look(struct pd *pd, struct pd_socket *socket);
/* recvmsg with MSG_ERRQUEUE. */
ssize_t pd_notice_receive(struct pd_socket *socket, struct msghdr *msg);
/* Writes one control message where the caller left room for it. */
void pd_control_put(struct msghdr *msg, size_t *io_used, int level, int type, const void *data,
                    size_t size);

/* ---- files.c -------------------------------------------------------------------------------- */

ssize_t pd_sendfile(struct pd *pd, int fd, int file, off_t *io_offset, size_t count);
/* From a socket into the pipe that the process has at pipe_fd. */
ssize_t pd_splice(struct pd *pd, int fd, int pipe_fd, size_t size, unsigned flags);

/* ---- options.c ------------------------------------------------------------------------------ */

int pd_getsockopt(struct pd *pd, int fd, int level, int name, void *ret_value, socklen_t *io_size);
int pd_setsockopt(struct pd *pd, int fd, int level, int name, const void *value, socklen_t size);
int pd_ioctl(struct pd *pd, int fd, unsigned long request, void *argument);
int pd_fcntl(struct pd *pd, int fd, int command, int argument);
/* TCP_NOTSENT_LOWAT in force; UINT32_MAX: none. */
uint32_t pd_notsent_lowat(const struct pd_socket *socket);
/* What a fresh socket takes from the namespace: congestion control. */
void pd_options_init(struct pd *pd, struct pd_socket *socket);

/* ---- poll.c --------------------------------------------------------------------------------- */

bool pd_is_writable(const struct pd_socket *socket, const struct foyer_socket_info *info);
/* The host said that something happened to a socket. */
void pd_poll_event(struct pd *pd, struct pd_socket *socket, uint32_t bits);
void pd_poll_closed(struct pd *pd, const struct pd_socket *socket);
int pd_poll(struct pd *pd, struct pollfd *fds, nfds_t count, int timeout_ms);
int pd_epoll_create(struct pd *pd);
int pd_epoll_ctl(struct pd *pd, int epoll_fd, int operation, int fd, struct epoll_event *event);
int pd_epoll_wait(struct pd *pd, int epoll_fd, struct epoll_event *events, int max, int timeout_ms);

#endif
