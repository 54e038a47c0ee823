/* What ports.c (who holds what), ports_tuple.c (4-tuples), ports_select.c (ephemeral choice) and
 * ports_deliver.c (who gets a packet) share; udp.c's groups. */
#ifndef FOYER_STACK_PORTS_H
#define FOYER_STACK_PORTS_H

#include "stack/stack.h"

struct port_group {
    struct port_group *next; /* in its list of the bucket */
    struct port_bucket *bucket;
    union {
        struct sock **receivers; /* is_receiving: the holders as an array, in order of binding */
        struct port_group **at;  /* else: what leads to it in the list */
    };
    struct foyer_addr addr;
    uint32_t owner_uid;
    uint32_t flags; /* of SOCK_REUSEADDR, _REUSEPORT, _V6ONLY, _INTERCEPT */
    struct slot_list holders;
    uint32_t count;
    uint32_t receiver_capacity; /* receiver_count is count */
    uint8_t family;
    bool is_receiving; /* a listener, or an unconnected datagram socket */
};

/*
 * All holders of one (protocol, port): a few groups of holders that are alike in every respect
 * that the rules of bind and delivery look at. So a bind next to a million accepted connections
 * compares with a handful of groups, not with a million sockets.
 *
 * Where addresses of others are intercepted there are as many groups of connections as addresses:
 * all but one are also in host->port_groups, by address and port.
 */
struct port_bucket {
    struct port_group *receivers;   /* groups that are receiving, the latest first */
    struct port_group *connections; /* the others */
    struct port_group first; /* the place of one of them, mostly the only one; bucket NULL: free */
    uint32_t bind_count;     /* holders by bind: connect does not share their port */
    uint16_t port;
    uint8_t protocol;
};

int ports_init(struct foyer_host *host);
void ports_finish(struct foyer_host *host);

struct port_bucket *ports_bucket(struct foyer_host *host, uint8_t protocol, uint16_t port);
/* Would the socket, bound to the address, conflict with a holder of the bucket? Who: */
bool ports_conflict(const struct foyer_host *host, const struct port_bucket *bucket,
                    const struct sock *sock, const struct foyer_addr *addr,
                    foyer_socket *ret_holder);
/* The record takes the orphan's place among the holders of its port, and the 4-tuple. */
void ports_hand_over(struct foyer_host *host, struct sock *sock, struct time_wait *wait);
void ports_end_time_wait(struct foyer_host *host, struct time_wait *wait);
/* FOYER_OPT_INTERCEPT. -EADDRINUSE, -EINVAL: bound to one address; -ENOMEM. OFF can't fail. */
int ports_intercept(struct foyer_host *host, struct sock *sock, enum foyer_intercept what);
enum foyer_intercept ports_intercepts(const struct foyer_host *host, const struct sock *sock);
/* Paths from the addresses of others end with the last who uses them. */
void ports_note_foreign_gone(struct foyer_host *host);
/* What an outsider may see a part of: the ISN's hash, the timestamps' offset. Never changes. */
uint64_t ports_tuple_secret(struct foyer_host *host, uint8_t protocol,
                            const struct foyer_endpoint *local,
                            const struct foyer_endpoint *remote);
uint32_t ports_tuple_hash(struct foyer_host *host, uint8_t protocol,
                          const struct foyer_endpoint *local, const struct foyer_endpoint *remote);
/* host->tuple_memo, with the tuple's hash. */
struct tuple_memo *ports_tuple_memo(struct foyer_host *host, uint8_t protocol,
                                    const struct foyer_endpoint *local,
                                    const struct foyer_endpoint *remote);
/* A socket's options, address or role changed while it holds a port. -ENOMEM: as before. */
int ports_regroup(struct foyer_host *host, struct sock *sock);
/* Receivers of a datagram sent to many; calls with index 0, 1, ... until NULL. */
struct sock *ports_group_receiver(struct foyer_host *host, const struct foyer_endpoint *local,
                                  uint32_t index);

/* Whether the host stands for others: packets to and from addresses that are not its own. */
static inline bool ports_has_foreign(const struct foyer_host *host)
{
    return host->interceptor_count > 0 || host->intercepted_count > 0;
}

static inline struct port_protocol *ports_of(struct foyer_host *host, uint8_t protocol)
{
    return &host->ports[PROTOCOL_IS_TCP(protocol) ? FOYER_WITH_UDP : 0];
}

static inline bool port_bitmap_has(const struct port_bitmap *bitmap, uint16_t port)
{
    return bitmap->words[port / 64] >> (port % 64) & 1;
}

static inline void port_bitmap_set(struct port_bitmap *bitmap, uint16_t port, bool value)
{
    uint64_t bit = 1ULL << (port % 64);
    if (value)
        bitmap->words[port / 64] |= bit;
    else
        bitmap->words[port / 64] &= ~bit;
}

/* ---- ports_select.c ------------------------------------------------------------------------ */

/* A free port for a bind to port 0; 0: none is left. */
uint16_t ports_choose_for_bind(struct foyer_host *host, const struct sock *sock,
                               const struct foyer_addr *addr);
/* A port that makes the socket's 4-tuple unique; 0: none is left. */
uint16_t ports_choose_for_connect(struct foyer_host *host, const struct sock *sock);
/* Whether a connect may use the 4-tuple: nobody has it, or a TIME-WAIT that may be reused. */
bool ports_tuple_is_free(struct foyer_host *host, uint8_t protocol,
                         const struct foyer_endpoint *local, const struct foyer_endpoint *remote);
/* Keeps the crowded destinations' bitmaps right; called when a 4-tuple comes and goes. */
void ports_note_tuple(struct foyer_host *host, uint8_t protocol, const struct foyer_endpoint *local,
                      const struct foyer_endpoint *remote, bool is_taken);
void ports_select_finish(struct foyer_host *host);

#endif
