/*
 * foyer-supervise: foyer's sockets for programs into which no module can be loaded: statically
 * linked ones, Go's, those of another C library.
 *
 *     main.c        becomes the program; before that, starts the supervisor beside it
 *     filter.c      the seccomp filter: which system calls the kernel hands over
 *     serve.c       the supervisor's loop: notifications, its sockets, replies
 *     target.c      memory and descriptors of the program
 *     calls.c       one function per system call
 *     stream.c      TCP: connect, accept, and the bytes
 *     datagram.c    UDP
 *
 * The supervisor is an attached program like any other: what it does with sockets goes through
 * libfoyer-preload.so. The supervised program gets one end of an AF_UNIX pair in place of each
 * socket and reads and writes it as it likes, without being stopped; only the calls that AF_UNIX
 * would answer otherwise than TCP or UDP are handed over (seccomp_unotify(2)). Bytes are copied
 * between the pair and foyer's socket by the supervisor: the slow carrier.
 *
 * It treats all that it reads of the program as hostile; but the program runs with the same
 * rights as its supervisor, so what is guarded is the supervisor's soundness and the other
 * supervised processes, not a border.
 */
#ifndef FOYER_SUPERVISE_SUPERVISE_H
#define FOYER_SUPERVISE_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/hash.h"
#include "base/list.h"

/* ---- filter.c ------------------------------------------------------------------------------ */

/*
 * Installs the filter in this thread; it stays over exec and is inherited. Returns the descriptor
 * of its notifications; -EBUSY: the process is supervised already; else -errno.
 */
int filter_install(void);

/* ---- serve.c ------------------------------------------------------------------------------- */

struct vsocket;

/* A system call that was handed over, and has no answer yet. */
struct call {
    struct seccomp_notif notif;
    struct vsocket *socket;          /* while it is held */
    struct list_node node, all_node; /* on socket->held and supervisor->held */
    int64_t deadline_ns;             /* INT64_MAX: none */
};

static inline pid_t thread_of(const struct call *call)
{
    return (pid_t)call->notif.pid;
}

/* The first argument of all calls but socket. */
static inline int descriptor_of(const struct call *call)
{
    return (int)call->notif.data.args[0];
}

/* What an epoll event belongs to. */
struct watch {
    struct vsocket *socket;
    int fd;
    uint32_t events; /* as registered; 0: not registered */
};

enum vsocket_state {
    VSOCKET_FRESH,
    VSOCKET_CONNECTING,
    VSOCKET_STREAM,
    VSOCKET_LISTENING,
    VSOCKET_DATAGRAM,
    VSOCKET_FAILED, /* a connect that was not waited for; error tells why */
};

#define BUFFER_SIZE 65536u

/* Bytes on their way in one direction. */
struct buffer {
    uint8_t *bytes; /* BUFFER_SIZE, allocated at first use */
    size_t begin, end;
    bool is_source_over; /* end of file was read */
    bool is_over;        /* and passed on */
    bool is_reset;       /* not the end, but an error */
};

/* A connection that was accepted and not yet taken. */
struct accepted {
    struct list_node node;
    int net;
    struct sockaddr_storage remote;
    socklen_t remote_size;
};

struct vsocket {
    struct hash_node by_inode;
    struct list_node node; /* on supervisor.sockets, or .dead */
    ino_t inode;           /* of the program's end */
    pid_t thread;          /* that last asked for something with it */
    struct watch net;      /* foyer's socket */
    struct watch pair;     /* our end */
    int type;              /* SOCK_STREAM or SOCK_DGRAM */
    enum vsocket_state state;
    int error; /* VSOCKET_FAILED: what SO_ERROR will say */
    struct list_node held;

    /* Streams. */
    struct buffer out, in;     /* program to network; network to program */
    int stuffed_end;           /* the program's end while it is kept full; else -1 */
    size_t stuffed_bytes;      /* that are to be taken out of the pair again */
    bool is_program_gone;      /* all its descriptors are closed */
    struct list_node accepted; /* listeners */
    unsigned accepted_count;

    /* Datagrams: at most one is in the pair at a time, so that its sender is known. */
    bool is_in_flight;
    struct sockaddr_storage source;
    socklen_t source_size;
};

struct supervisor {
    int notify_fd, epoll_fd;
    bool is_target_gone; /* no process is left */
    struct hash_table by_inode;
    struct list_node sockets, dead;
    struct list_node held; /* calls without an answer */
    struct list_node lost; /* serve.c: answers that a signal kept from arriving */
    unsigned lost_count;
};

/* Returns the exit status. notify_fd and the adopted sockets become its own. */
int serve(struct supervisor *supervisor);
int serve_init(struct supervisor *supervisor, int notify_fd);

/* Answers; the call is over. False: a signal or the end of the process was faster. */
bool reply_value(struct supervisor *supervisor, const struct call *call, int64_t value);
bool reply_error(struct supervisor *supervisor, const struct call *call, int error);
/* Lets the kernel do the call as if it had not been handed over. */
void reply_continue(struct supervisor *supervisor, const struct call *call);
/* The call's result is a new descriptor in the program, a copy of fd. */
bool reply_descriptor(struct supervisor *supervisor, const struct call *call, int fd,
                      bool is_cloexec);
/* False: the process is gone or does something else by now. */
bool call_is_valid(const struct supervisor *supervisor, const struct call *call);

/* Keeps the call until there is an answer; timeout_option: SO_RCVTIMEO or SO_SNDTIMEO. */
void call_hold(struct supervisor *supervisor, struct vsocket *socket, const struct call *call,
               int timeout_option);
void call_forget(struct call *held);

/* net becomes the new socket's. NULL: no memory or descriptors; net is closed. */
struct vsocket *vsocket_create(struct supervisor *supervisor, int net, int type,
                               int *ret_program_end);
void vsocket_destroy(struct supervisor *supervisor, struct vsocket *socket);
struct vsocket *vsocket_find(struct supervisor *supervisor, ino_t inode);
/* Asks epoll for these events; 0: none at all, not even a hang-up. */
void watch_set(struct supervisor *supervisor, struct watch *watch, uint32_t events);

int64_t now_ns(void);

/* ---- target.c ------------------------------------------------------------------------------ */

/* Inode of a socket that the program has; false: no such descriptor, or not a socket. */
bool target_socket_inode(pid_t thread, int fd, ino_t *ret_inode);
/* A copy of the descriptor that is the socket of this inode; -errno: the process has none. */
int target_find_socket(pid_t thread, ino_t inode);
/* O_NONBLOCK of the descriptor. */
bool target_is_nonblocking(pid_t thread, int fd);
/* A copy of the program's descriptor, or -errno. */
int target_copy_descriptor(pid_t thread, int fd);
/* 0 or -EFAULT: all or nothing. */
int target_read(pid_t thread, uint64_t address, void *bytes, size_t size);
int target_write(pid_t thread, uint64_t address, const void *bytes, size_t size);

/* ---- calls.c ------------------------------------------------------------------------------- */

void call_serve(struct supervisor *supervisor, const struct call *call);

/* A sockaddr and its size, as accept, getsockname and recvfrom return them. 0 or -errno. */
int call_store_address(const struct call *call, uint64_t address, uint64_t size_address,
                       const struct sockaddr_storage *value, socklen_t value_size);

/* ---- stream.c ------------------------------------------------------------------------------ */

void stream_connect(struct supervisor *supervisor, struct vsocket *socket, const struct call *call,
                    const struct sockaddr_storage *remote, socklen_t remote_size);
void stream_listen(struct supervisor *supervisor, struct vsocket *socket, const struct call *call);
void stream_accept(struct supervisor *supervisor, struct vsocket *socket, const struct call *call);
void stream_shutdown(struct supervisor *supervisor, struct vsocket *socket,
                     const struct call *call);
/* A socket whose connection exists. */
void stream_start(struct supervisor *supervisor, struct vsocket *socket);
/* Something happened at one of its ends. */
void stream_ready(struct supervisor *supervisor, struct vsocket *socket, const struct watch *watch,
                  uint32_t events);

/* ---- datagram.c ---------------------------------------------------------------------------- */

void datagram_start(struct supervisor *supervisor, struct vsocket *socket);
void datagram_ready(struct supervisor *supervisor, struct vsocket *socket,
                    const struct watch *watch, uint32_t events);
void datagram_sendto(struct supervisor *supervisor, struct vsocket *socket,
                     const struct call *call);
void datagram_sendmsg(struct supervisor *supervisor, struct vsocket *socket,
                      const struct call *call);
void datagram_recvfrom(struct supervisor *supervisor, struct vsocket *socket,
                       const struct call *call);
void datagram_recvmsg(struct supervisor *supervisor, struct vsocket *socket,
                      const struct call *call);

#endif
