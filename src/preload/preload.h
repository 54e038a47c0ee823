/*
 * libfoyer-preload.so: foyer's sockets behind the libc calls of an unmodified program.
 *
 *     entry points   io.c socket.c accept.c option.c fd.c poll.c epoll*.c resolve.c process.c stdio.c
 *          |         syscall.c signals.c source_filter.c splice.c
 *          |
 *     table.c        descriptor -> counted object, without locks
 *     keep*.c        connections that serve again; spare.c sockets prepared
 *     session.c      requests to foyerd, one at a time
 *     wait.c         readiness from shared memory, sleeping, the doorbell, locks of a slot
 *          |
 *     raw.h, real.h  the kernel, and libc
 *
 * Inside, a result is a count or a negative errno value; entry points turn it into libc's form
 * (result_int and friends). A descriptor that is not foyer's costs one load from the table.
 *
 * Nothing here may be called on a hidden descriptor by the program; see table_hide.
 */
#ifndef FOYER_PRELOAD_PRELOAD_H
#define FOYER_PRELOAD_PRELOAD_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "ipc/message.h"
#include "ipc/protocol.h"
#include "ipc/shm.h"

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

static inline int result_int(int result)
{
    if (likely(result >= 0))
        return result;
    errno = -result;
    return -1;
}

static inline ssize_t result_size(ssize_t result)
{
    if (likely(result >= 0))
        return result;
    errno = (int)-result;
    return -1;
}

/* ---- table.c ------------------------------------------------------------------------------- */

enum object_kind {
    OBJECT_NONE = 0,
    OBJECT_HIDDEN, /* a descriptor of the module's own: EBADF for the program */
    OBJECT_SOCKET,
    OBJECT_EPOLL,
};

/*
 * What descriptors point to. The memory of an object is never given back to the system, only to
 * the pool, so that a reader who lost a race reads a stale object and not a fault.
 */
struct object {
    _Atomic uint32_t references; /* table entries and calls in progress; 0: in the pool */
    _Atomic uint32_t fd_count;   /* table entries alone */
    enum object_kind kind;
    uint32_t pool_index;
};

/* One mapping of a connection's rings. */
struct channel {
    struct channel *next; /* of the same socket, older: a connect that failed */
    uint32_t pool_index;
    int bell; /* hidden descriptor that rings the peer; -1: the program end, which rings foyerd */
    uint64_t id;            /* 0: the mapping is not to be kept */
    _Atomic bool is_shared; /* a forked process has it mapped, too */
    _Atomic bool is_moved;  /* FOYER_SLOT_MOVED, and bell is the new one */
    void *memory;
    size_t size;
    struct foyer_ring rx, tx;
    uint8_t *rx_nook, *tx_nook; /* local carrier, else NULL: struct foyer_channel */
    /* hold.c: no writer is held back for so many bytes, from this position on. */
    _Atomic uint32_t hold_off_bytes, hold_off_from;
};

struct socket_object {
    struct object object;
    uint32_t family, type; /* AF_*, SOCK_* */
    uint64_t id;
    struct foyer_slot *slot;
    _Atomic(struct channel *) channel;
    _Atomic uint32_t no_space_count; /* how often a sender met a full ring */
    _Atomic uint32_t bell_count;     /* events that epoll took without draining the doorbell */
    _Atomic uint32_t watch_count;    /* registrations in epolls */
    _Atomic bool connect_pending;    /* connect said EINPROGRESS and was not asked again */
    uint32_t arena;
    _Atomic(struct direct_box *) direct; /* UDP: direct.c; NULL: no direct rings */
    _Atomic uint32_t relayed_count;      /* datagrams that were sent before there was one */
    _Atomic bool is_shared; /* another process may have the descriptor, or its flags are special */
    /*
     * A duplicate that the program does not see: of a socket that was spare, or of a connection
     * that was kept once. -1: none.
     */
    int hidden_fd;
    int set_fd; /* keep.c: the epoll of its listener's where it rings, or -1 */
    bool is_armed;
    /* Accepted by this process: from whom. */
    uint64_t listener_id;
    const struct foyer_slot *listener_slot; /* NULL: it was not */
};

/* syscall.c: the kernel's answer in libc's form, whatever the descriptor. */
long preload_kernel_call(long number, ...);

extern _Atomic(struct object *) *table;
extern uint32_t table_size; /* 0 while the module does nothing */
extern int table_hidden_base;

/* table_capacity descriptors, hidden ones from base. False: no memory. */
bool table_init(uint32_t capacity, int hidden_base);

static inline struct object *table_peek(int fd)
{
    return likely((unsigned)fd < table_size)
               ? atomic_load_explicit(&table[fd], memory_order_relaxed)
               : NULL;
}

static inline bool table_is_hidden(int fd)
{
    struct object *object = table_peek(fd);
    return object != NULL && object->kind == OBJECT_HIDDEN;
}

/* With a reference, or NULL. */
struct object *table_get(int fd);
/* With a reference; NULL where the descriptor is not a foyer socket. */
struct socket_object *table_get_socket(int fd);
void object_release(struct object *object);

static inline void socket_release(struct socket_object *sock)
{
    object_release(&sock->object);
}

/* An object with one reference, the caller's. NULL: no more. */
struct socket_object *socket_object_create(void);

/* All there are, those in the pool among them. */
void table_each_socket(void (*visit)(struct socket_object *sock));

/* Enters the object under a descriptor that the kernel just gave; takes its own reference. */
void table_set(int fd, struct object *object);
/* Before a descriptor is closed: takes the entry out. True where there was one. */
bool table_clear(int fd);
/* What table_set does, but whatever was there is taken out: after dup2. NULL empties. */
void table_replace(int fd, struct object *object);

/* Moves fd out of the program's sight; -errno where that fails (fd is closed then as well). */
int table_hide(int fd);
void table_mark_hidden(int fd);
void table_close_hidden(int fd);

struct channel *channel_create(int memfd, uint32_t ring_size, unsigned side, int bell);
/* The same of a channel that has an id: uses a mapping that was kept from an earlier connection. */
/* Both ends must do so, before anything goes through it. */
void channel_use_nooks(struct channel *channel, unsigned side);
struct channel *channel_create_kept(uint64_t id, int memfd, uint32_t ring_size, unsigned side,
                                    int bell);
void channel_destroy_all(struct channel *channel);
/* Around fork: mappings and descriptors that the child has are not used again. */
void table_fork_parent(void);
void table_fork_child(void);
/* The same where the child executes another program at once, and accepts nothing. */
void table_spawn(void);
/* The same for one socket, whose descriptor goes to another process. */
void table_note_shared(int fd);
void socket_add_channel(struct socket_object *sock, struct channel *channel);

/* ---- init.c -------------------------------------------------------------------------------- */

#define PRELOAD_PATH_MAX 4096u

struct preload_config {
    bool is_enabled;
    char socket_path[108]; /* foyerd's */
    char host[FOYER_NAME_MAX];
    int birth_fd;                 /* -1: none */
    bool is_sandboxed;            /* the program has installed a seccomp filter */
    struct rlimit program_nofile; /* what the program believes of RLIMIT_NOFILE */
    rlim_t real_nofile;
    long spin_us; /* how long waits look at memory at most; 0: not at all */
    bool keeps;   /* connections serve again: keep.c */
    /* The environment as it was given, "NAME=value", for programs that this one executes. */
    char env_preload[PRELOAD_PATH_MAX];
    char env_socket[160], env_host[FOYER_NAME_MAX + 16], env_fd[32];
    char env_supervisor[PRELOAD_PATH_MAX]; /* foyer-supervise; empty: not installed */
    bool is_supervised;                    /* it is above this process already */
    char own_path[PRELOAD_PATH_MAX];       /* the part of LD_PRELOAD that is this module */
};

extern struct preload_config preload_config;

void preload_warn(const char *text); /* one line on descriptor 2; the text has no newline */
/* If fd is a foyer socket of another process's making: enters it in the table. */
bool preload_adopt(int fd);
int preload_thread_id(void);
void preload_forget_thread_id(void);

/* ---- session.c ----------------------------------------------------------------------------- */

/*
 * One request to foyerd and its reply (at least reply_size bytes, else -EPROTO). ret_fds may be
 * NULL. Opens the process's session first where there is none. The reply's own error is returned
 * as a negative errno value (the reply is then filled in, too); -ENETDOWN: foyerd is gone.
 */
int session_call(struct foyer_request *request, const struct message_fds *fds,
                 struct foyer_reply *ret_reply, size_t reply_size, struct message_fds *ret_fds);
/* A request without reply. */
void session_tell(struct foyer_request *request);
/* The slots of an arena, by its number; NULL where this process has not mapped it. */
void *session_arena(uint32_t number);
/* Maps and remembers it; memfd is closed. NULL: no memory. */
void *session_add_arena(uint32_t number, int memfd);
void session_warn_gone(void);

void session_fork_prepare(void);
void session_fork_parent(void);
void session_fork_child(void);

/* ---- wait.c -------------------------------------------------------------------------------- */

#define NO_DEADLINE INT64_MAX

int64_t clock_ns(void);

/* When a socket's timeout ends, 0: never. */
static inline int64_t deadline_after(int64_t timeout_us)
{
    return timeout_us > 0 ? clock_ns() + timeout_us * 1000 : NO_DEADLINE;
}

/* The same of a call's timeout. NULL, and what lasts for thirty years: never. */
int64_t deadline_of(const struct timespec *timeout);
/* How long until then: 0 where it has passed, -1 where it never comes. */
int64_t deadline_left_ns(int64_t deadline_ns);
/* That as ppoll takes it: NULL or `memory`. */
const struct timespec *time_limit(int64_t left_ns, struct timespec *memory);

static inline struct channel *socket_channel_now(const struct socket_object *sock)
{
    return atomic_load_explicit(&((struct socket_object *)(uintptr_t)sock)->channel,
                                memory_order_acquire);
}

/* FOYER_SLOT_MOVED is set: fetches the bell of whoever has the other end now. */
void socket_follow_peer(const struct socket_object *sock, int fd);
/* The channel; fetched from foyerd where another process made the connection. NULL: none. */
struct channel *socket_channel(struct socket_object *sock, int fd);

static inline uint32_t slot_state(const struct socket_object *sock)
{
    return atomic_load_explicit(&sock->slot->state, memory_order_acquire);
}

static inline uint32_t slot_options(const struct socket_object *sock)
{
    return atomic_load_explicit(&sock->slot->options, memory_order_relaxed);
}

/* Takes the pending error: 0 or negative errno. */
int slot_take_error(struct socket_object *sock);

/* Notes a reset: error becomes pending (once per connection), both directions are over. */
void socket_note_reset(struct socket_object *sock, int error);
/* Looks at the rings for a reset or nonsense, and notes it. True: the connection is reset. */
bool socket_is_reset(struct socket_object *sock, const struct channel *channel);

/* POLL* bits that hold now, as poll(2) and tcp(7) say for a TCP or UDP socket. */
uint32_t socket_readiness(struct socket_object *sock, int fd);

/* Wakes whoever sleeps behind the other end: the peer, or foyerd. False: it is not sure. */
bool channel_ring(const struct channel *channel, int fd);
/* The same, also where foyerd has given the other end to another process meanwhile. */
bool socket_ring(const struct socket_object *sock, int fd, const struct channel *channel);
/*
 * The same where the other end has announced itself in `waiter` (of either ring, after head or tail
 * was published) and nobody has rung for that announcement yet.
 */
void channel_wake(const struct socket_object *sock, int fd, const struct channel *channel,
                  struct foyer_ring_waiter *waiter);

/* Says in the rings that POLLIN and POLLOUT of `events` are waited for. */
void socket_announce(struct socket_object *sock, int fd, uint32_t events);
/* The same as part of one sleep behind many sockets: foyer_ring_announce_as. */
void socket_announce_as(struct socket_object *sock, int fd, uint32_t events, uint32_t sleeper,
                        uint32_t token);
void socket_retract(struct socket_object *sock, uint32_t token);

/* Around a sleep in the kernel on the socket's descriptor. */
void bell_enter(struct socket_object *sock);
void bell_leave(struct socket_object *sock);
/*
 * Empties the doorbell unless somebody sleeps on it. False: somebody does; where it was tried before
 * (rounds), after having left the core to them for a moment.
 */
bool bell_drain(struct socket_object *sock, int fd, unsigned rounds);
/* The daemon end is gone: whoever could ring is dead. */
void socket_note_orphan(struct socket_object *sock);

struct wait {
    uint32_t events;     /* POLLIN or POLLOUT */
    uint32_t need_bytes; /* how many must be readable or free; 0: what poll would say */
    int64_t deadline_ns; /* NO_DEADLINE: none */
    bool is_partial;     /* something was done already: a signal must end the wait */
    bool is_closing;     /* for what was sent before: SHUT_WR does not end the wait */
    unsigned rounds;     /* 0 at first */
};

/* Whether the wait is over, by shared memory alone. */
bool wait_holds(struct socket_object *sock, int fd, const struct wait *wait);
/* Sleeps until it may be over. 0, -EAGAIN at the deadline, -EINTR. */
int wait_sleep(struct socket_object *sock, int fd, struct wait *wait);

/*
 * For short stretches without a sleep, also where a signal handler may be the caller: then taking
 * fails, false, if the handler has interrupted the holder.
 */
struct small_lock {
    _Atomic uint32_t holder; /* thread id, or 0 */
};

void small_lock_init(struct small_lock *lock);
bool small_lock_take(struct small_lock *lock);
void small_lock_give(struct small_lock *lock);

enum { LOCK_READ, LOCK_WRITE };
/* 0; -EDEADLK where this very thread has it (a signal handler inside of the same call). */
int slot_lock(struct socket_object *sock, int which);
void slot_unlock(struct socket_object *sock, int which);

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spins while `holds` is false, as long as that may pay. */
bool wait_spin(bool (*holds)(void *context), void *context);
/* Whether it comes to hold within a time, and before the core is taken away. */
bool wait_look(bool (*holds)(void *context), void *context, long limit_us);

/* ---- datagram.c, control.c, direct.c -------------------------------------------------------- */

/* What comes along with a datagram. */
struct datagram_facts {
    struct foyer_endpoint peer;
    struct foyer_addr local; /* what it was sent to */
    uint32_t payload_size;
    uint16_t segment_size;
    uint8_t ttl, tos;
};

void ring_put_iov(const struct foyer_ring *ring, uint32_t position, const struct iovec *iov,
                  size_t count);
/* How many bytes of size had room. */
uint32_t ring_get_iov(const struct foyer_ring *ring, uint32_t position, uint32_t size,
                      const struct iovec *iov, size_t count);

/* control.c: into the header what a message to be sent asks for; 0 or -EINVAL. */
int control_parse(const struct socket_object *sock, const struct msghdr *message,
                  struct foyer_datagram_header *header);
/* One item alone, into what msg_control has room for. */
void control_put_one(struct msghdr *message, int level, int type, const void *value, size_t size);
/* errors.c: the oldest of a UDP socket's error queue; -EAGAIN. */
ssize_t errors_recv(struct socket_object *sock, struct msghdr *message);
/* What the program has asked for with what it received: msg_control and MSG_CTRUNC. */
void control_put(const struct socket_object *sock, const struct datagram_facts *facts,
                 struct msghdr *message);

/* False: it has to go through foyerd. True: it is on its way, or lost since there was no room. */
bool direct_send(struct socket_object *sock, int fd, const struct foyer_datagram_header *header,
                 const struct msghdr *message);
/* Whether a datagram waits in a direct ring. */
bool direct_has_data(struct socket_object *sock, int fd);
/* As socket_announce and its like. */
void direct_announce(struct socket_object *sock, int fd);
void direct_announce_as(struct socket_object *sock, int fd, uint32_t token);
void direct_retract(struct socket_object *sock, uint32_t token);
/* Moves with each datagram that comes. */
uint32_t direct_heads(struct socket_object *sock, int fd);
/*
 * With the slot's read lock: the next datagram, or how many bytes of it had room. -EAGAIN: there is
 * none, or it is the turn of relayed, the ring that foyerd writes.
 */
ssize_t direct_take(struct socket_object *sock, int fd, const struct foyer_ring *relayed,
                    struct msghdr *message, struct datagram_facts *ret_facts, bool is_peek);
/* Its size, or -1 in these cases. Takes the lock. */
int direct_next_size(struct socket_object *sock, int fd, const struct foyer_ring *relayed);
/* The last descriptor of this process goes. */
void direct_leave(struct socket_object *sock);
/* SO_RCVBUF. */
void direct_limit(struct socket_object *sock, int fd, uint32_t bytes);
void direct_destroy(struct socket_object *sock);
void direct_fork_prepare(void);
void direct_fork_parent(void);
void direct_fork_child(void);

/* ---- urgent.c ------------------------------------------------------------------------------- */

/* data.c: the byte at a position of a stream's ring. */
void store_get(const struct foyer_ring *ring, uint8_t *nook, uint32_t position, void *ret_byte);

/* Else none of the following has anything to say. */
static inline bool urgent_was_seen(const struct foyer_ring *ring)
{
    return atomic_load_explicit(&ring->shared->urgent, memory_order_relaxed) != 0;
}

/* An urgent byte has been published: SIGURG, and the doorbell. */
void urgent_signal(const struct socket_object *sock, int fd, const struct channel *channel);
/*
 * With the read lock: how many of the *io_size bytes from `at` on one recv may give, after having
 * passed over *ret_skip of them. False: none, since it has_some already.
 */
bool urgent_cut(struct socket_object *sock, const struct channel *channel, uint32_t at,
                bool has_some, uint32_t *io_size, uint32_t *ret_skip);
ssize_t urgent_recv(struct socket_object *sock, int fd, const struct iovec *iov, size_t count,
                    int flags);
/* POLLPRI. */
bool urgent_is_here(const struct socket_object *sock, const struct channel *channel);
/* SIOCATMARK. */
bool urgent_is_at_mark(const struct socket_object *sock, const struct channel *channel);
/* How many of the next bytes recv passes over, so that POLLIN takes more. */
uint32_t urgent_skipped(const struct socket_object *sock, const struct channel *channel);
/* FIONREAD: how many of `used` bytes come before the mark. */
uint32_t urgent_readable(const struct socket_object *sock, const struct channel *channel,
                         uint32_t used);

/* ---- multicast.c ---------------------------------------------------------------------------- */

/* option.c: the value that setsockopt was given; -EINVAL. */
int option_read_int(const void *value, socklen_t size, int level, int *ret_value);
/* False: it is no option of multicast. */
bool multicast_set(struct socket_object *sock, int level, int name, const void *value,
                   socklen_t size, int *ret_error);
/* True: it is a filter's, see ret_error. */
bool multicast_get_filter(const struct socket_object *sock, int level, int name, void *ret_value,
                          socklen_t *io_size, int *ret_error);
bool multicast_get(const struct socket_object *sock, int level, int name, int *ret_value);

/* ---- address.c ----------------------------------------------------------------------------- */

/* RFC 2133: without sin6_scope_id, as the kernel still accepts. */
#define SOCKADDR_IN6_SIZE_MIN 24u

/* From the program's form; is_connect: how connect and sendto check. 0 or -errno. */
int address_parse_program(const struct socket_object *sock, const struct sockaddr *addr,
                          socklen_t size, struct foyer_endpoint *ret_endpoint);
/* Into the program's form, cut to *io_size, which becomes the full size. */
void address_store(const struct socket_object *sock, const struct foyer_endpoint *endpoint,
                   struct sockaddr *ret_addr, socklen_t *io_size);

/* ---- keep.c -------------------------------------------------------------------------------- */

/* Once per process, and in each forked child. */
void keep_init(void);

/* Whether the connection may be parked when the program closes it. */
bool keep_may_leave(const struct socket_object *sock);
/* Its last number fd is about to be closed: does so for the peer. False: close it as ever. */
bool keep_leave(struct socket_object *sock, int fd);
/*
 * Its last number is about to be closed, and it is not kept: tells the peer, where nobody else has it
 * open, that it is so or that the connection is reset. foyerd would, but only when it hears of it.
 */
void keep_say_end(struct socket_object *sock);
void keep_drop_hidden(struct socket_object *sock);
/* Lets go of an end that nobody has open. */
void keep_forget(struct socket_object *sock);

/* 0, -EINPROGRESS: fd is connected, and another object than `fresh`. -EAGAIN: ask foyerd. */
int keep_connect(struct socket_object *fresh, int fd, const struct foyer_endpoint *remote);

/* This process accepts from it, or waits for connections. */
void keep_note_acceptor(struct socket_object *listener);
/* Connections are kept from a listener that other processes accept from, too. */
bool keep_is_shared(void);
/* It comes by while it is busy; who connects is to know. */
void keep_look(const struct socket_object *listener);
/* Another process gets the descriptor, too. */
void keep_listener_shared(struct socket_object *listener);
/* There are kept ends of accepted connections. */
bool keep_is_active(void);
bool keep_has_offer(const struct socket_object *listener);
/* A descriptor, and its object with a reference. -EAGAIN: none is offered. */
int keep_accept(struct socket_object *listener, int flags, struct socket_object **ret_sock);
/* From now on no connection of the listener is kept. */
void keep_forbid(struct socket_object *listener);
/* The listener is closed or shut down. */
void keep_listener_over(const struct socket_object *listener);

/* foyerd is gone: what it knew, another one does not. */
void keep_drop_connecting(void);

/*
 * A sleep on listeners: begin, arm each, look once more whether something is offered, and sleep on
 * keep_poll_fd() of each as well (-1: there is none); then end, disarm each, and take_rings where it
 * was readable.
 */
int keep_poll_fd(struct socket_object *listener);
void keep_sleep_begin(void);
void keep_arm(const struct socket_object *listener);
void keep_sleep_end(void);
void keep_disarm(const struct socket_object *listener);
/* For others who sleep: arms the listener, and rings where something is offered already. */
void keep_wake(const struct socket_object *listener);
void keep_take_rings(const struct socket_object *listener);

void keep_fork_prepare(void);
void keep_fork_parent(void);
void keep_fork_child(void);

/* ---- signals.c ----------------------------------------------------------------------------- */

/* No handler of the process is without SA_RESTART. */
bool signal_handlers_restart(void);
/* Somebody has set a handler. */
void signal_handlers_changed(void);

/*
 * A sleep in ppoll() that a handler without SA_RESTART ends, and another one does not, where there are
 * of both: with `blocked` the signals of the latter wait, fd is readable when one of them does, and it is
 * handled when ppoll() has returned. Otherwise fd is -1.
 */
struct signal_sleep {
    int fd; /* hidden */
    sigset_t blocked;
};

void signal_sleep_begin(struct signal_sleep *ret_sleep);
void signal_sleep_end(const struct signal_sleep *sleep);

/* ---- spare.c ------------------------------------------------------------------------------- */

struct spare {
    int fd; /* hidden */
    uint32_t family, arena, slot;
    uint64_t id;
};

/* True: there is one of this family, and it is out of the list. */
bool spare_take(uint32_t family, struct spare *ret_spare);
/* False: no room. */
bool spare_put(const struct spare *spare);
/* In a forked child: the parent's spare sockets are not its own. */
void spare_fork_child(void);

/* ---- socket.c, data.c, epoll.c ------------------------------------------------------------- */

/* UDP without a port gets one from foyerd, as sendto does in the kernel. */
int socket_autobind(struct socket_object *sock);
bool socket_is_nonblocking(const struct socket_object *sock, int flags);
void socket_set_nonblocking(struct socket_object *sock, int fd, bool is_on);
/* Enters a program end under its descriptor; flags are SOCK_CLOEXEC and SOCK_NONBLOCK. */
int socket_install(struct socket_object *sock, int fd, int flags);
/* Before close(fd): waits as SO_LINGER has it. fd stays open meanwhile, to be woken by it. */
void socket_linger(int fd);
/* Its own doorbell, for others who sleep on it: by foyerd, since this end cannot ring it. */
void socket_ring_own_bell(const struct socket_object *sock);
/* A descriptor the program can be given; -EMFILE above what it believes of its limit. */
int socket_check_limit(int fd);

/* hold.c: sends of so few bytes are messages, and more than so many bytes of them a long queue. */
#define HOLD_MESSAGE_MAX 128u
#define HOLD_QUEUE 4096u
/* After a send that may sleep: `used` bytes were in the ring then. */
void hold_back(struct channel *channel, uint32_t used);

ssize_t stream_send(struct socket_object *sock, int fd, const struct iovec *iov, size_t count,
                    int flags);
ssize_t stream_send_file(struct socket_object *sock, int fd, int file, off_t *offset, size_t size,
                         int flags);
ssize_t stream_recv(struct socket_object *sock, int fd, const struct iovec *iov, size_t count,
                    int flags);
ssize_t datagram_send(struct socket_object *sock, int fd, const struct msghdr *message, int flags);
ssize_t datagram_recv(struct socket_object *sock, int fd, struct msghdr *message, int flags);
ssize_t stream_send_error(struct socket_object *sock, int flags);
ssize_t sock_send(struct socket_object *sock, int fd, const void *bytes, size_t size, int flags);
ssize_t sock_recv(struct socket_object *sock, int fd, void *bytes, size_t size, int flags);

struct epoll_object;
/*
 * fd, the last descriptor of a socket in this process, goes: so do its registrations. is_kept: the
 * kernel would not forget them, since the file stays open.
 */
void epoll_forget_socket(struct socket_object *sock, int fd, bool is_kept);
void epoll_destroy(struct epoll_object *epoll);
/* An epoll descriptor inside of poll: whether it has foyer events; announces where it has none. */
bool epoll_is_ready(struct object *object, bool will_sleep);
void epoll_fork_prepare(void);
void epoll_fork_child(void);
/* Takes a listener's descriptor out of the kernel's sets: its file is about to be another one. */
void epoll_drop_listener(int fd);

/* Before exec: what environment and limits the new program must have. */
void process_init(void);
/* Standard streams that are foyer sockets. */
void stdio_init(void);

#endif
