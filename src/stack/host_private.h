/*
 * The host's state. Included at the end of stack.h and by nobody else.
 *
 * TCP uses `config`, `stats`, `timers`, `now_ns` and `tcp`; the other groups belong to the file
 * that is named above them.
 */
#ifndef FOYER_STACK_HOST_PRIVATE_H
#define FOYER_STACK_HOST_PRIVATE_H

#include "base/siphash.h"
#include "stack/tcp_fastopen.h"
#include "stack/tcp_host.h"
#include "stack/tcp_request.h"

#define HOST_LOCAL_BATCH 256u       /* packets delivered inside per output call */
#define HOST_ADDRESSES_MAX 16u      /* foyer_host_add_address promises it */
#define HOST_AUTO_ADDRESSES_MAX 16u /* beside them: those that routers' prefixes made */
#define HOST_LOOK_AHEAD 16u

/* Of FOYER_SMALL the first; foyer/features.h and docs/embedding.md tell of it. */
#define HOST_SIZE(small, usual) (FOYER_SMALL ? (small) : (usual))
#define HOST_OUTPUT_BATCH HOST_SIZE(8u, 64u) /* packets per output call: that many header buffers */
#define HOST_ROUTERS_MAX HOST_SIZE(2u, 8u)
#define HOST_PREFIXES_MAX HOST_SIZE(4u, 16u)
#define HOST_ROUTES_MAX HOST_SIZE(8u, 64u)
#define HOST_REDIRECTS_MAX HOST_SIZE(4u, 32u)
#define HOST_NEIGHBOURS_MAX HOST_SIZE(32u, 1024u)
#define HOST_LEARNED_MTUS_MAX HOST_SIZE(8u, 64u)
#define HOST_CONTROL_RING_BYTES HOST_SIZE(16u * 1024u, 256u * 1024u) /* a few large datagrams */
#define HOST_CROWDED_MAX                                                                           \
    HOST_SIZE(1u, 32u) /* destinations with a bitmap of their own, see ports_select.c */
/* UDP payload: what IP carries; of small hosts, what the control ring holds twice (fragments). */
#define HOST_DATAGRAM_MAX(is_v4) HOST_SIZE(8000u, (is_v4) ? 65507u : 65527u)
#define HOST_SOCKETS_DEFAULT HOST_SIZE(64u, 65536u)
#define HOST_BUFFER_DEFAULT HOST_SIZE(FOYER_RING_SIZE_MIN, 262144u)
#define HOST_BUFFER_MAX_DEFAULT HOST_SIZE(FOYER_RING_SIZE_MIN, 4u << 20)

enum timer_kind {
    TIMER_SOCK = 1,   /* sock.timer */
    TIMER_NEIGHBOUR,  /* neighbour.timer */
    TIMER_REASSEMBLY, /* reassembly.timer */
    TIMER_MTU,        /* host.mtu_timer: the first learned MTU expires */
    TIMER_ADDRESS,    /* host.address_timer: an address is to be probed, announced or ends */
    TIMER_GROUP,      /* host.group_timer: a membership is to be told */
    TIMER_ROUTER,     /* host.router_timer: a solicitation, a router's or a prefix's end */
    TIMER_REQUESTS,   /* host.requests.timer */
    TIMER_DHCP4,      /* of host.dhcp4 */
    TIMER_DHCP6,      /* of host.dhcp6 */
    TIMER_TIME_WAIT,  /* host.time_waits.timer */
    TIMER_UNITS,      /* host.tcp.units_timer */
};

/* address.c. What may be done with an address in each enum foyer_address_state: see host.h. */
struct host_address {
    struct foyer_addr addr;
    struct foyer_addr router;         /* autoconfigured: who advertised the prefix last */
    foyer_time_ns created_ns;         /* temporary: RFC 8981 section 3.4 counts from it */
    foyer_time_ns preferred_until_ns; /* FOYER_TIME_NEVER: for ever */
    foyer_time_ns valid_until_ns;
    foyer_time_ns next_ns;     /* the next probe, verdict or announcement */
    foyer_time_ns conflict_ns; /* the last conflict, 0: none yet (RFC 5227 section 2.4) */
    uint8_t nonce[6];          /* of the probes sent: they may come back (RFC 7527) */
    uint8_t prefix_length;     /* of the 128 bits: IPv4 lengths have 96 added */
    uint8_t state;             /* enum foyer_address_state, never DEPRECATED: that is a time */
    uint8_t origin;            /* enum foyer_address_origin */
    uint8_t probes_sent, announcements_left;
    uint8_t attempt; /* autoconfigured: duplicates found before (RFC 7217 DAD_Counter) */
    bool is_link_local;
    bool is_on_link;   /* the prefix says who else is on the link (not for autoconfigured) */
    bool is_claimed;   /* was probed for, and is given up when another insists */
    bool is_succeeded; /* temporary: its successor was made already */
};

/* router.c */
struct host_router {
    struct foyer_addr addr;
    foyer_time_ns until_ns;
    int8_t preference; /* RFC 4191: -1, 0, 1 */
};

struct host_prefix {
    struct foyer_addr prefix;
    uint8_t length;
    foyer_time_ns until_ns;
};

struct host_route {
    struct foyer_addr prefix;
    struct foyer_addr gateway; /* a wildcard: on the link */
    uint8_t prefix_length;     /* of the 128 bits */
};

/* redirect.c */
struct host_redirect {
    struct foyer_addr dst, next_hop;
};

struct learned_mtu {
    struct foyer_addr dst;
    uint16_t mtu; /* 0: the slot is free */
    foyer_time_ns expires_ns;
};

/* ports.c: one bit per port. */
struct port_bitmap {
    uint64_t words[1024];
};

struct port_page; /* ports.c: the buckets of 64 ports in a row */

struct port_protocol {
    struct port_bitmap held;       /* somebody holds the port: not for autobind */
    struct port_bitmap bound;      /* held by bind, not by connect alone: not shared by connect */
    struct port_page *pages[1024]; /* NULL: nobody holds any of them */
};

/* tcp_time_wait.c */
struct time_waits {
    struct hash_table table; /* of struct time_wait */
    struct slot_list by_end; /* by SLOT_LINK_QUEUE, the oldest first */
    struct timer timer;      /* kind TIMER_TIME_WAIT */
};

/* route.c: the way that was asked for last. */
struct way_memo {
    struct foyer_addr src, dst;
    struct neighbour *neighbour;
    uint32_t generation; /* true while it is path_generation */
    uint16_t mtu;
    bool is_default; /* src is the one that is chosen where none is given; IPv4 only, whose choice
                        does not change with time */
};

/* ports_tuple.c: the 4-tuple that was asked for last, and its hashes. */
struct tuple_memo {
    uint64_t words[5];
    uint64_t secret;
    uint32_t count; /* of words; 0: none yet */
    uint32_t hash;
    bool is_hashed, has_secret;
    uint8_t absent; /* enum tuple_absent */
};

/* Where the tuple was looked for in vain since; an insert there forgets it. */
enum tuple_absent {
    TUPLE_NOT_CONNECTED = 1u << 0, /* host->connected */
    TUPLE_NOT_WAITING = 1u << 1,   /* host->time_waits.table */
};

struct crowded_destination; /* ports_select.c */
struct reassembly;          /* frag.c */
struct dhcp4;               /* dhcp4.c */
struct dhcp6;               /* dhcp6.c */

struct foyer_host {
    struct foyer_host_config config; /* defaults are filled in */
    struct foyer_host_stats stats;
    struct timer_queue timers;
    foyer_time_ns now_ns;                  /* of the call that is being served */
    uint32_t shed_hand;                    /* memory.c: the slot to look at next */
    bool wants_shed;                       /* an allocation was refused */
    uint64_t random_counter;               /* host_random */
    struct siphash_key hash_key, port_key; /* the two halves of config.secret */
    struct tcp_host tcp;
    struct requests requests; /* tcp_request.c */
    struct fastopen fastopen; /* tcp_fastopen.c */
    struct time_waits time_waits;

    /* socket.c */
    struct slot_table slots;
    struct sock_options default_options;
    struct slot_list event_list;   /* of sockets, by SLOT_LINK_QUEUE */
    struct list_node output_list;  /* of sock.output_node */
    struct list_node release_list; /* of sock.release_node: ring space to give back (udp.c) */
    uint32_t own_events;           /* enum foyer_event_bits without a socket, not yet taken */

    /* ports.c */
    struct hash_table connected;         /* of sock.connected_node */
    struct sock *recent_sock;            /* in it: whose segment came last, or NULL */
    struct sock *hints[HOST_LOOK_AHEAD]; /* in it: whose the next frames may be (ahead.c) */
    uint32_t hint_count;                 /* 0 outside of input */
    struct tuple_memo tuple_memo;
    struct port_protocol ports[FOYER_WITH_TCP + FOYER_WITH_UDP]; /* see ports_of */
    struct hash_table port_groups; /* no buckets until the first; see ports.h */
    uint32_t ephemeral_step[64];   /* RFC 6056 section 3.3.4, table[] */
    struct crowded_destination *crowded[HOST_CROWDED_MAX];
    uint32_t crowded_count;
    uint64_t crowded_clock;
    /* Set by ports_connect, taken by the tcp_connect that follows: the 4-tuple was in TIME-WAIT,
     * and the new ISN must be beyond isn_floor (RFC 6191). */
    bool has_isn_floor;
    seq_t isn_floor;
    struct sock *interceptors[2]; /* FOYER_INTERCEPT_ALL: for IPv4 and for IPv6, or NULL */
    uint32_t interceptor_count;   /* sockets with SOCK_INTERCEPT */
    uint32_t intercepted_count;   /* connections with SOCK_INTERCEPTED, which may outlive them */

    /* address.c */
    struct host_address addresses[HOST_ADDRESSES_MAX + HOST_AUTO_ADDRESSES_MAX];
    struct timer address_timer;

    /* router.c: what router advertisements said */
    struct host_router routers[HOST_ROUTERS_MAX];   /* the first is tried first among equals */
    struct host_prefix prefixes[HOST_PREFIXES_MAX]; /* on the link */
    uint32_t router_count, prefix_count;
    struct timer router_timer;
    foyer_time_ns solicit_ns; /* the next router solicitation, FOYER_TIME_NEVER: none */
    uint32_t solicit_interval_ms;
    foyer_time_ns reachable_ns, retransmit_ns; /* IPv6: RFC 4861 section 6.3.2 */
    foyer_time_ns reachable_until_ns;          /* when the former is drawn anew */
    uint32_t base_reachable_ms;
    uint16_t link_mtu_v6;
    uint8_t hop_limit;
    bool is_managed, is_other; /* M and O of the last advertisement */

    /* dhcp4.c, dhcp6.c: NULL while no client runs */
    struct dhcp4 *dhcp4;
    struct dhcp6 *dhcp6;
    uint16_t link_mtu_v4;

    /* group.c, group_report.c; the index says the family: 0 IPv4, 1 IPv6 */
    struct list_node groups;
    uint32_t group_count;
    struct timer group_timer;
    foyer_time_ns general_answer_ns[2];
    foyer_time_ns old_querier_until_ns[3]; /* IGMPv1, IGMPv2, MLDv1 */
    uint32_t query_interval_s[2];          /* as queries tell; 0: none has yet */

    /* ip.c */
    struct host_route routes[HOST_ROUTES_MAX];
    struct learned_mtu learned_mtus[HOST_LEARNED_MTUS_MAX];
    struct host_redirect redirects[HOST_REDIRECTS_MAX]; /* the oldest first */
    uint32_t address_count, route_count, redirect_count;
    struct timer mtu_timer;
    struct way_memo way_memo;
    uint32_t path_generation; /* moves when addresses, routes, neighbours or MTUs do */
    uint16_t ipv4_id;

    /* udp_error.c */
    struct hash_table error_queues; /* of struct error_queue; no buckets until the first */

    /* link.c */
    struct hash_table neighbours; /* of struct neighbour */
    struct list_node neighbour_lru;
    uint32_t neighbour_count;

    /* icmp.c: token bucket of errors and replies */
    uint32_t icmp_tokens;
    foyer_time_ns icmp_refilled_ns;

    /* frag.c */
    struct list_node reassemblies;
    uint32_t reassembly_count, reassembly_bytes;
    uint32_t fragment_id;

    /* output.c: the queue of stateless packets and the batch's header buffers */
    uint8_t *control_ring;
    uint32_t control_head, control_tail, control_sent;
    uint32_t output_room; /* packets that the output call being served can still give; at least 1 */
    bool takes_long_way;  /* for tests: tcp_fast_out.c is left out */
    bool local_pending;   /* the last output call stopped at HOST_LOCAL_BATCH */
    uint8_t headers[HOST_OUTPUT_BATCH][TX_HEADER_SIZE];
};

/*
 * A number that others cannot predict: siphash of a counter under the host's secret. For ISNs'
 * jitter, IP identifications, port offsets; reproducible from the config alone.
 */
uint64_t host_random(struct foyer_host *host);
/* What host_begin rarely has to do. */
void host_begin_more(struct foyer_host *host);

/* Every public call that is given the time begins with it. */
static inline void host_begin(struct foyer_host *host, foyer_time_ns now)
{
    /* A caller whose clock steps back must not turn the timers round. */
    if (now > host->now_ns)
        host->now_ns = now;
    host->control_tail = host->control_sent; /* what output lent comes back */
    if (!list_is_empty(&host->release_list) || host->wants_shed)
        host_begin_more(host);
}

#endif
