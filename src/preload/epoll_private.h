/*
 * epoll, inside of epoll.c (epoll_ctl), epoll_listener.c, epoll_ready.c (what is ready) and
 * epoll_wait.c. The kernel's epoll stays what the program sleeps in; see docs/decisions/0002.
 *
 * Descriptors of the kernel, listeners among them, are registered as the program asked. Any other
 * foyer socket is registered edge-triggered for input and output under our own tag: it is always
 * writable for the kernel, so each doorbell byte is an event for every epoll that watches it.
 * Level, edge and one-shot towards the program come from shared memory.
 *
 * A registration is active or idle. Active: its socket is looked at in memory at every wait. Idle:
 * it was announced and was not ready then; the doorbell makes it active. What is found not ready
 * a few times becomes idle, so a wait costs by what is busy and not by what is registered.
 *
 * For a sleep the active ones are announced too, and parked. The first doorbell ends the sleep; the
 * parked ones are then active again and their announcements are taken back, so that those who
 * write to us while we are awake need not ring, once for each connection.
 *
 * Those announcements carry a token of the sleep, and one doorbell is enough for all of them
 * (foyer_ring_announce_as). So whoever takes a doorbell from the kernel, or closes a descriptor that
 * may have one, sees to it that all the parked are looked at: epoll_unpark, epoll_settle.
 *
 * Several threads in one epoll: a thread that goes off with events while others sleep announces
 * all that is active, else data for a socket that only the absent thread looks at would wait.
 *
 * An epoll inside of another one must be ready for the kernel whenever it has events: after each
 * wait on it, its sockets are announced, and those still ready are armed again in the kernel.
 *
 * A listener's connections also come by keep.c, without the kernel: it is looked at in memory as well,
 * and the bells of its kept connections are in the kernel's set.
 *
 * An epoll that a child has inherited is one for the kernel, which gives a doorbell to one of the
 * processes that wait on it; each has registrations of its own. So whoever goes off there arms what is
 * ready still, for the others, and nobody takes announcements back, which are anyone's. All that a
 * process costs which inherits an epoll and never waits on it (fork and exec) is a look at `waiters`.
 * Limits: a process that is killed with a doorbell in hand takes it along; and what one of them
 * registers after the fork, another may take from the kernel and cannot pass on.
 */
#ifndef FOYER_PRELOAD_EPOLL_PRIVATE_H
#define FOYER_PRELOAD_EPOLL_PRIVATE_H

#include "preload/preload.h"

#include <sys/epoll.h>

#include "preload/raw.h"

#define KEPT_BELLS UINT32_MAX /* in place of a registration's index: the set of keep_poll_fd() */

/* What edge-triggered means by "something new". */
struct signature {
    uint32_t head, writer_state, state, bits, no_space_count, error_count;
};

struct registration {
    struct socket_object *sock; /* with a reference; NULL: free */
    int fd;
    uint32_t events; /* the program's */
    epoll_data_t data;
    struct signature reported;
    bool is_active, is_parked, is_disabled, has_reported;
    bool is_removed; /* by the program; the kernel still has it, see control_remove in epoll.c */
    uint8_t idle_looks;
    uint32_t next_free;
    uint32_t token; /* of its announcement, where it is parked */
    uint64_t stamp; /* of the wait that last reported it: once per wait, whatever comes twice */
};

/* A listener, which the kernel watches as the program asked. */
struct watched_listener {
    struct socket_object *sock; /* with a reference */
    int fd;
    uint32_t events;
    epoll_data_t data;
    uint64_t stamp; /* as above */
};

#define LISTENERS_MAX 16u /* the connections of more are not kept */

struct epoll_object {
    struct object object;
    struct epoll_object *next; /* of all, never freed */
    struct watched_listener listeners[LISTENERS_MAX];
    uint32_t listener_count;
    pthread_mutex_t lock;
    uint32_t tag;                    /* upper half of our registrations' data */
    uint32_t sleeper;                /* of our announcements; another one in each process */
    uint32_t token;                  /* of the last sleep's */
    int epfd;                        /* one that a thread sleeps with */
    _Atomic uint32_t doorbell_count; /* taken from the kernel */
    struct registration *items;
    uint32_t item_count, item_capacity, free_head; /* free_head: index + 1 */
    uint32_t *by_fd;                               /* index + 1 */
    uint32_t by_fd_size;
    uint32_t *active;
    uint32_t active_count, active_capacity, cursor;
    uint32_t *parked;
    uint32_t parked_count, parked_capacity;
    _Atomic uint32_t sleepers;
    bool is_nested; /* registered in another epoll */
    /* In memory that a child has, too: how many have waited since a fork. NULL: none has it. */
    _Atomic uint32_t *_Atomic waiters;
    bool has_joined; /* this process is among them */
    int64_t kernel_checked_ns;
    bool was_kernel_first;
    _Atomic uint64_t next_stamp;
};

#define EPOLL_ORDERED 64 /* of more events the rest comes as it was found */

/* One epoll_wait. */
struct epoll_wait_call {
    struct epoll_object *epoll;
    int epfd;
    struct epoll_event *events;
    int max;
    const sigset_t *mask;
    int64_t deadline_ns;
    uint64_t stamp;
    /* EPOLL_ORDERED: when each event came, as foyer_arrival_now; 0: unknown */
    uint32_t *arrivals;
};

static inline void epoll_note_arrival(const struct epoll_wait_call *call, int index,
                                      uint32_t arrival)
{
    if (index < EPOLL_ORDERED)
        call->arrivals[index] = arrival;
}

/* ---- epoll.c: all but epoll_get with the lock held ------------------------------------------ */

static inline uint32_t epoll_index_of(const struct epoll_object *epoll,
                                      const struct registration *item)
{
    return (uint32_t)(item - epoll->items);
}

/* Several processes wait on it: one doorbell must not stand for all. */
static inline bool epoll_is_shared(const struct epoll_object *epoll)
{
    _Atomic uint32_t *waiters = epoll->waiters;
    return unlikely(waiters != NULL) && atomic_load(waiters) > 1;
}

/* Tells the kernel of a registration under our tag: EPOLL_CTL_ADD or, to be rung for, _MOD. */
static inline int epoll_arm(const struct epoll_object *epoll, int epfd,
                            const struct registration *item, int operation)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = (uint64_t)epoll->tag << 32 | epoll_index_of(epoll, item),
    };
    return raw_epoll_ctl(epfd, operation, item->fd, &event);
}

/* False: no memory. What is new is zero. */
bool epoll_grow(void **array, uint32_t *capacity, uint32_t need, size_t item_size);
void epoll_activate(struct epoll_object *epoll, struct registration *item);
/* The socket's reference is the caller's to release, without the lock. */
struct socket_object *epoll_drop(struct epoll_object *epoll, struct registration *item);
/* What control_remove put off. */
void epoll_remove_now(struct epoll_object *epoll, int epfd, struct registration *item);
void epoll_join(struct epoll_object *epoll);

/* A child has it, or it is inherited: this process is to be counted in before it waits. Locks. */
static inline void epoll_note_waiter(struct epoll_object *epoll)
{
    if (unlikely(epoll->waiters != NULL && !epoll->has_joined))
        epoll_join(epoll);
}

/* The epoll behind a descriptor, with a reference; NULL: it is none. */
struct epoll_object *epoll_get(int epfd);

/* ---- epoll_listener.c: with the lock held, where nothing else is said ------------------------ */

/* fd -1: under any number. */
struct watched_listener *epoll_listener_find(struct epoll_object *epoll,
                                             const struct socket_object *sock, int fd);
/* The socket's reference is the caller's to release. */
void epoll_listener_drop(struct epoll_object *epoll, struct watched_listener *listener);
/* What the kernel's file says of a listener beyond connections is not a listener's. */
uint32_t epoll_listener_events(uint32_t events);
/*
 * Enters a listener that the kernel watches, or changes what is noted. Where kept connections cannot
 * be told of as the kernel would tell, there will be none.
 */
void epoll_listener_note(struct epoll_object *epoll, int epfd, int fd, struct socket_object *sock,
                         const struct epoll_event *event);
void epoll_listener_hand_over(struct epoll_object *epoll, int epfd, struct registration *item);

/* A socket that was registered before listen(): from now on its readiness is the kernel's. */
static inline bool epoll_hand_to_kernel(struct epoll_object *epoll, int epfd,
                                        struct registration *item)
{
    if (likely(slot_state(item->sock) != FOYER_SLOT_LISTENING))
        return false;
    epoll_listener_hand_over(epoll, epfd, item);
    return true;
}

/* For an epoll in an epoll: it would have to stay ready while connections are offered. Locks. */
void epoll_forbid_kept(struct epoll_object *epoll);
/* Whether connections wait on one of the listeners. */
bool epoll_has_offers(struct epoll_object *epoll, bool will_sleep);
/*
 * Adds listeners with kept connections that were offered. One that the kernel has reported in this
 * wait is not reported twice: who takes all that is there gets these, too.
 */
int epoll_collect_offers(const struct epoll_wait_call *call, int count, int max);
/* The kernel's event of a listener that is reported already; else it is noted as such. Locks. */
bool epoll_listener_is_told(const struct epoll_wait_call *call, const struct epoll_event *event);
/* Where connections are kept. Locks. */
void epoll_each_listener(struct epoll_object *epoll,
                         void (*act)(const struct socket_object *listener));

/* ---- epoll_ready.c: these lock ------------------------------------------------------------- */

/*
 * Looks at the active sockets; adds to the count events that are there already. is_look: what is
 * found quiet comes nearer to being idle; the looks of one spin are many and mean nothing.
 */
int epoll_collect(const struct epoll_wait_call *call, int count, int max, bool is_look);
/* Sorts what the kernel gave behind the first `from` events: how many are for the program. */
int epoll_sort_events(const struct epoll_wait_call *call, int from, int count);
/*
 * What became ready first is told of first, as by Linux: programs that send on two connections to one
 * server count on it. The kernel's own descriptors, whose time is unknown, keep their place at the
 * front or come there. Takes no lock.
 */
void epoll_put_in_order(const struct epoll_wait_call *call, int count);
/* Before a sleep. True: something is ready. */
bool epoll_announce_all(struct epoll_object *epoll, int epfd);
/* After it. */
void epoll_unpark(struct epoll_object *epoll);
/*
 * This thread goes off, with events or a doorbell; those who sleep must hear of the rest. is_level:
 * also of what was reported and is still ready.
 */
void epoll_settle(struct epoll_object *epoll, int epfd, bool is_level, bool has_doorbell);

#endif
