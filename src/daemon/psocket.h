/* A program's socket, as foyerd sees it. */
#ifndef FOYER_DAEMON_PSOCKET_H
#define FOYER_DAEMON_PSOCKET_H

#include <sys/types.h>

#include "base/hash.h"
#include "base/list.h"
#include "daemon/arena.h"
#include "daemon/building.h"
#include "daemon/loop.h"
#include "foyer/foyer.h"
#include "ipc/protocol.h"

struct daemon;

/* Who holds a socket or runs a session. */
struct holder {
    pid_t pid; /* 0: not known */
    uid_t uid;
    bool is_supervised; /* pid is the program; its descriptors are foyer-supervise's */
    char program[FOYER_NAME_MAX];
};

enum psocket_carrier {
    PSOCKET_IDLE = 0, /* fresh, bound or listening */
    PSOCKET_LOCAL,    /* the two programs carry the bytes; peer may be gone */
    PSOCKET_RELAY,    /* foyerd's stack is the other end of the channel */
};

#define PSOCKET_BACKLOG_MAX 4096u /* Linux's net.core.somaxconn */

struct psocket {
    struct daemon *daemon;
    struct hash_node by_id; /* on daemon.psockets */
    uint64_t id;
    struct watch watch; /* the daemon end */
    struct loop_garbage garbage;
    struct building_host *host;
    struct list_node host_node;
    struct arena *arena;
    uint32_t slot_index;
    struct foyer_slot *slot; /* hostile */
    foyer_socket stack;
    ino_t program_inode; /* of the program end: proves that a descriptor is this socket */
    enum foyer_family family;
    enum foyer_protocol protocol;
    struct holder holder;
    double since_s; /* Unix time at which it got its port */
    bool is_bound;  /* by bind: bound_to */
    struct foyer_endpoint bound_to;

    enum psocket_carrier carrier;
    struct channel *channel;
    unsigned side; /* which the program is */
    bool is_connecting, is_connected;
    struct psocket *peer;                       /* local carrier */
    struct list_node active_node;               /* on daemon.active (relay) */
    uint32_t seen_head, seen_tail, seen_states; /* of the rings when last poked */
    uint32_t seen_settings;                     /* of the slot, as handed to the stack */
    uint32_t rung_urgent;                       /* number of the last urgent byte received */

    /* UDP: direct.c. */
    struct list_node direct_out, direct_in;
    uint32_t direct_out_count, direct_in_count;
    uint64_t direct_dropped_count; /* of rings that are gone */
    uint32_t direct_serial;        /* of the last ring that was made to lead here */
    uint64_t accepted_from;        /* id of the listener; local carrier */
    struct list_node kept_node;    /* on daemon.kept: keep.c */
    uint64_t kept_word;            /* at the last sweep */
    uint64_t offered_word; /* at the last look for those that wait in vain; 0: not offered */

    /* Listener: accept.c. */
    bool is_listening;
    bool waits_for_room;    /* the pair's queue was full: EPOLLOUT will come */
    bool has_stack_pending; /* the stack has connections for it */
    uint32_t backlog;
    uint32_t in_flight_count;            /* sent and not yet taken by the program */
    uint32_t accepted_seen;              /* slot->accepted, as far as it was believed */
    struct list_node in_flight, pending; /* of queue_node; pending: not yet sent */

    /* An accepted socket on its way to the program: accept.c. */
    struct psocket *listener; /* whose in_flight or pending queue it is on */
    struct list_node queue_node;
    int program_end;         /* until it is sent; else -1 */
    bool is_unaccepted;      /* its listener was closed before it was taken */
    struct loop_timer timer; /* a connect that waits for room */
};

/*
 * Makes the pair, the slot and the watch. program_end stays in psocket->program_end until the
 * caller has sent it (psocket_sent). stack is FOYER_SOCKET_NONE: one is opened.
 * -EMFILE, -ENOSPC, -ENOMEM, -EPROTONOSUPPORT.
 */
int psocket_create(struct daemon *daemon, struct building_host *host, struct arena *arena,
                   const struct holder *holder, enum foyer_family family,
                   enum foyer_protocol protocol, foyer_socket stack, struct psocket **ret_psocket);
void psocket_sent(struct psocket *psocket);

/* The last holder is gone, or the building: closes, tells the peer, frees. */
void psocket_close(struct psocket *psocket);

struct psocket *psocket_find(const struct daemon *daemon, uint64_t id);
/* From a stack's handle; NULL: nobody's any more. */
struct psocket *psocket_from_stack(const struct daemon *daemon, struct building_host *host,
                                   foyer_socket handle);

/*
 * Closes the socket where its last holder is gone and the loop has not told yet, or where both ends
 * of its connection have left it (keep.h); close(2) gives a port back before it returns, so a
 * conflict with such a socket is none. True: it is closed.
 */
bool psocket_reap(struct psocket *psocket);

/* Tells the program's waiters to look at shared memory. Not on listeners. */
void psocket_ring_bell(struct psocket *psocket);
/* Urgent data has come: the kernel also sends SIGURG to whom the program has named (F_SETOWN). */
void psocket_ring_urgent(struct psocket *psocket);
/* Addresses into the slot, then state, then bell (unless quiet: a reply tells as well). */
void psocket_set_state(struct psocket *psocket, enum foyer_slot_state state);
/* The slot's pending error, positive errno; keeps an earlier one. */
void psocket_set_error(struct psocket *psocket, int error);
/* Reads the local and remote endpoint from the stack into the slot. */
void psocket_update_endpoints(struct psocket *psocket);
/* Hands the slot's options to the stack. */
void psocket_apply_options(struct psocket *psocket);
/*
 * The connection failed or was dissolved: drops channel and peer, opens a fresh stack socket,
 * bound as before where the program had bound it, so that connect may be tried again.
 */
int psocket_renew(struct psocket *psocket);

/* Requests. 0 or a positive errno for the reply; *ret_conflict: who holds the port, or NULL. */
int psocket_bind(struct psocket *psocket, const struct foyer_endpoint *endpoint,
                 foyer_socket *ret_conflict);
int psocket_listen(struct psocket *psocket, uint32_t backlog, foyer_socket *ret_conflict);
/* As above; EINPROGRESS. reply->header.error is left to the caller; ret_fds are borrowed. */
struct message_fds;
int psocket_connect(struct psocket *psocket, const struct foyer_endpoint *endpoint,
                    bool family_unspecified, struct message_fds *ret_fds);

/* An id that was never given before and can't be guessed. */
uint64_t psocket_fresh_id(struct daemon *daemon);

double wall_clock_s(void);

#endif
