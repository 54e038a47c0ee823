/*
 * A host: addresses, neighbours, routes, ports and sockets as one sans-IO state machine.
 *
 * Four verbs drive it: input (frames in), output (frames out), deadline (when to call tick),
 * tick (time passes). It has no thread, no clock, no system call and no global state; what it
 * does follows from its arguments alone. A host is used by one thread at a time; different hosts
 * are independent. No function calls back into the caller except the allocator.
 *
 * Errors are negative errno values (-EINVAL, ...); 0 or a count means success.
 *
 * A caller's loop:
 *
 *     foyer_host_input(host, frames, count, now);
 *     foyer_host_tick(host, now);                      when foyer_host_deadline() has come
 *     while ((n = foyer_host_output(host, out, 64, now)) > 0) send(out, n);
 *     while ((n = foyer_host_events(host, events, 64)) > 0) ...serve sockets...
 */
#ifndef FOYER_HOST_H
#define FOYER_HOST_H

#include "foyer/types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct foyer_host; /* opaque */

/* What the link below can do; segmentation and checksums are done in software where it can't. */
enum foyer_link_capability {
    FOYER_LINK_TX_CHECKSUM = 1u << 0, /* takes FOYER_PACKET_CHECKSUM_PARTIAL */
    FOYER_LINK_TSO4 = 1u << 1,        /* takes FOYER_GSO_TCPV4; implies TX_CHECKSUM */
    FOYER_LINK_TSO6 = 1u << 2,
    FOYER_LINK_USO = 1u << 3,
};

/*
 * What a host does of its own accord on a link that it shares with strangers. All off: it only
 * answers, as befits a host whose addresses one party gives out and knows to be unique.
 */
enum foyer_host_behaviour {
    /* Solicits routers and believes their advertisements: default routers, on-link prefixes,
     * link MTU, hop limit, neighbour timers (RFC 4861 section 6.3). */
    FOYER_HOST_ROUTER_DISCOVERY = 1u << 0,
    /* Makes addresses of advertised prefixes (RFC 4862) with opaque interface identifiers
     * (RFC 7217), which stay the same as long as config.secret and the MAC do. Checks them and
     * the link-local address for duplicates. Implies ROUTER_DISCOVERY. */
    FOYER_HOST_SLAAC = 1u << 1,
    /* And temporary ones, which new connections prefer (RFC 8981). Implies SLAAC. */
    FOYER_HOST_TEMPORARY_ADDRESSES = 1u << 2,
    /* Tells the link of added addresses: gratuitous ARP (RFC 5227 section 2.3), unsolicited
     * neighbour advertisements (RFC 4861 section 7.2.6). */
    FOYER_HOST_ANNOUNCE = 1u << 3,
    /* Stays with its routes where a router redirects it (RFC 1122 section 3.2.2.2, RFC 4861
     * section 8). Without it, redirects of the current first hop are followed. */
    FOYER_HOST_IGNORE_REDIRECTS = 1u << 4,
    /* Takes TCP segments without the timestamps that were agreed on, as Linux does; without it they
     * are dropped (RFC 7323 section 3.2). For peers behind what removes options. */
    FOYER_HOST_TOLERATE_MISSING_TIMESTAMPS = 1u << 5,
};

/* The defaults, where 0 stands for one; FOYER_SMALL has smaller ones (features.h). */
struct foyer_host_config {
    struct foyer_allocator allocator; /* all NULL: malloc and free are not used; must be given */
    uint8_t mac[6];                   /* unicast; required */
    uint16_t mtu;                     /* IP bytes per frame, 1280..65535; 0: 1500 */
    uint32_t link_capabilities;       /* enum foyer_link_capability */
    uint32_t gso_max_size;            /* largest super-segment payload; 0: 65160 */
    uint8_t secret[32];               /* keys ISN (RFC 6528), ports (RFC 6056), hashes; random */
    uint16_t ephemeral_first;         /* 0: 49152 */
    uint16_t ephemeral_last;          /* 0: 65535 */
    uint32_t max_sockets;             /* 0: 65536; the tables grow up to it */
    uint32_t receive_buffer_size;     /* default ring size, power of two; 0: 262144 */
    uint32_t send_buffer_size;        /* default ring size, power of two; 0: 262144 */
    /* To which TCP lets the rings that it owns grow where the path needs it (calls of recv and send
     * do that), powers of two; 0: 4 MiB, or the size above. FOYER_OPT_RECEIVE_BUFFER and
     * _SEND_BUFFER fix a socket's size; rings that the caller gave stay as they are. */
    uint32_t receive_buffer_max, send_buffer_max;
    uint32_t behaviour;    /* enum foyer_host_behaviour; 0: none of it */
    uint32_t max_requests; /* half-open passive connections, 128 bytes each; 0: 131072. Beyond it
                              SYNs are answered by cookies (RFC 4987), which cost no memory */
    /* Bound of all that the host takes from the allocator, but for itself (some 80 KiB) and its hash
     * tables' buckets (8 bytes per entry); 0: none. Near it new connections wait for cookies and
     * rings stay small; at it out-of-order data, TIME-WAITs and connections without a handle give
     * way, and calls fail with -ENOMEM. What was acknowledged to a peer is not lost. */
    uint64_t max_memory_bytes;
    uint32_t max_time_waits; /* closed connections in TIME-WAIT, 96 bytes each; 0: 65536. Beyond it,
                                and where a new socket finds max_sockets used up, the oldest end
                                early. They count in max_sockets */
    uint32_t congestion;     /* enum foyer_congestion: what sockets begin with; 0: CUBIC */
};

/*
 * Makes a host. NULL where the allocator has no memory or the config is invalid. The config is
 * copied; the allocator's context must outlive the host.
 */
FOYER_API struct foyer_host *foyer_host_create(const struct foyer_host_config *config,
                                               foyer_time_ns now);

/* Frees the host and all its sockets without a word on the wire. NULL is allowed. */
FOYER_API void foyer_host_destroy(struct foyer_host *host);

/*
 * Gives the host an address of either family with its on-link prefix (0..32 or 0..128).
 * -EEXIST where it has it; -EINVAL for wildcard, multicast or loopback; -ENOSPC beyond 16.
 * Loopback (127.0.0.0/8 and ::1) is always there and never leaves the host. A link-local IPv6
 * address derived from the MAC (RFC 4291 appendix A) is there from the start.
 */
FOYER_API int foyer_host_add_address(struct foyer_host *host, const struct foyer_addr *addr,
                                     uint8_t prefix_length);
/*
 * The same, once nobody on the link is found to have it: probes first (RFC 4862 section 5.4, one
 * question in 1 to 2 s; RFC 5227 section 2.1, three in 4 to 7 s), during which the address is
 * TENTATIVE and neither source nor destination of anything. Ends ASSIGNED, and is announced, or
 * DUPLICATE. An IPv4 address so claimed is defended once in 10 s and then given up (RFC 5227
 * section 2.4 (b)); one that was added is defended always, at most once in 10 s (c).
 * foyer_host_addresses tells. Errors as add_address.
 */
FOYER_API int foyer_host_claim_address(struct foyer_host *host, const struct foyer_addr *addr,
                                       uint8_t prefix_length, foyer_time_ns now);
/* -ENOENT where the host has it not. Connections that use it go on unheard until they time out. */
FOYER_API int foyer_host_remove_address(struct foyer_host *host, const struct foyer_addr *addr);
/* Whether packets from and to the address are the host's: ASSIGNED or DEPRECATED. */
FOYER_API bool foyer_host_has_address(const struct foyer_host *host, const struct foyer_addr *addr);

enum foyer_address_state {
    FOYER_ADDRESS_TENTATIVE = 0, /* being probed for: not used */
    FOYER_ADDRESS_ASSIGNED,      /* used (RFC 4862: preferred) */
    FOYER_ADDRESS_DUPLICATE,     /* another has it: not used; remove it and claim another */
    FOYER_ADDRESS_DEPRECATED,    /* used by what uses it, not chosen for anything new */
};

enum foyer_address_origin {
    FOYER_ADDRESS_ADDED = 0, /* by add_address or claim_address */
    FOYER_ADDRESS_LINK_LOCAL,
    FOYER_ADDRESS_SLAAC,
    FOYER_ADDRESS_TEMPORARY,
    FOYER_ADDRESS_DHCP, /* see dhcp.h */
};

struct foyer_address_info {
    struct foyer_addr addr;
    uint8_t prefix_length;            /* 0..32 or 0..128 */
    uint8_t state;                    /* enum foyer_address_state */
    uint8_t origin;                   /* enum foyer_address_origin */
    foyer_time_ns preferred_until_ns; /* FOYER_TIME_NEVER: for ever */
    foyer_time_ns valid_until_ns;
};

/* Writes up to max of the host's addresses (32 at most are there) and returns how many. */
FOYER_API size_t foyer_host_addresses(const struct foyer_host *host,
                                      struct foyer_address_info *ret_addresses, size_t max);

/* Route of prefix/prefix_length (IPv4 lengths are 0..32) through a neighbour. Longest wins. */
FOYER_API int foyer_host_add_route(struct foyer_host *host, const struct foyer_addr *prefix,
                                   uint8_t prefix_length, const struct foyer_addr *gateway);
FOYER_API int foyer_host_remove_route(struct foyer_host *host, const struct foyer_addr *prefix,
                                      uint8_t prefix_length);

/*
 * Takes frames from the link. Malformed, misaddressed and damaged frames are dropped and
 * counted. Spans are borrowed for the call. Work: O(count + bytes).
 */
FOYER_API void foyer_host_input(struct foyer_host *host, const struct foyer_packet *packets,
                                size_t count, foyer_time_ns now);

/*
 * Fills up to max packets (64 at most) that the host wants to send and returns how many; 0 when
 * there is nothing more, or when the share of a call was used up by what the host sends to
 * itself: foyer_host_deadline then says now. The spans point into the host's headers and into the sockets' rings and are
 * valid until the next call on this host. Packets to the host's own addresses are not given
 * out; they are delivered inside. Work: O(max + bytes delivered inside).
 */
FOYER_API size_t foyer_host_output(struct foyer_host *host, struct foyer_packet *ret_packets,
                                   size_t max, foyer_time_ns now);

/* When tick wants to be called next: a time, or FOYER_TIME_NEVER. O(1). */
FOYER_API foyer_time_ns foyer_host_deadline(const struct foyer_host *host);

/* Runs the timers that are due. Work is proportional to the timers that fire. */
FOYER_API void foyer_host_tick(struct foyer_host *host, foyer_time_ns now);

/* Whether output has something to give. O(1). May say true where output then finds nothing. */
FOYER_API bool foyer_host_has_output(const struct foyer_host *host);

/* Counters since create. The names are those of RFC 4022, 4113 and 4293 where they have one. */
struct foyer_host_stats {
    uint64_t in_frames, out_frames;
    uint64_t in_dropped_malformed; /* header cut short, bad length or version */
    uint64_t in_dropped_checksum;  /* IPv4 header, ICMP, UDP or TCP checksum */
    uint64_t in_dropped_address;   /* not for this host */
    uint64_t in_dropped_protocol;  /* unknown ethertype or IP protocol */
    uint64_t in_dropped_memory;
    uint64_t in_fragments;         /* seen */
    uint64_t in_reassembled;       /* datagrams that became whole */
    uint64_t in_reassembly_failed; /* those that did not: time, overlap, limits */
    uint64_t out_control_full;     /* resets, ICMP or ARP that found the queue full */
    uint64_t icmp_in, icmp_out, icmp_out_limited;
    uint64_t icmp_redirects_refused;
    uint64_t ndp_router_advertisements; /* valid ones */
    uint64_t address_conflicts;         /* another spoke as the owner of one of ours */
    uint64_t udp_in_datagrams, udp_out_datagrams, udp_no_ports, udp_in_errors, udp_full;
    uint64_t tcp_active_opens, tcp_passive_opens, tcp_attempt_fails, tcp_estab_resets;
    uint64_t tcp_in_segs, tcp_out_segs, tcp_retrans_segs, tcp_in_errs, tcp_out_rsts;
    uint64_t tcp_rto_fired, tcp_fast_recoveries, tcp_listen_overflows, tcp_challenge_acks;
    uint64_t tcp_ooo_segs, tcp_dup_segs, tcp_paws_drops;
    uint64_t memory_bytes;        /* now taken, as config.max_memory_bytes counts */
    uint64_t memory_refused;      /* allocations beyond it */
    uint64_t tcp_pruned;          /* out-of-order queues given up for it */
    uint64_t tcp_orphans_aborted; /* connections without a handle, likewise */
    uint64_t tcp_time_waits_shed; /* TIME-WAITs that ended early to make room */
    uint64_t tcp_cookies_sent, tcp_cookies_received, tcp_cookies_failed; /* RFC 4987 */
    uint64_t tcp_spurious_recoveries; /* reductions that were undone */
    uint64_t tcp_mtu_black_holes, tcp_mtu_probes_good, tcp_mtu_probes_lost; /* RFC 8899 */
    uint64_t tcp_lost_retransmits, tcp_loss_probes, tcp_sack_reneged, tcp_ecn_reductions;
    /* RFC 7413. active: SYNs whose data was acknowledged, and was not; passive: SYNs whose data was
     * taken, and that brought a cookie which is none of ours, or found no memory. */
    uint64_t tcp_fastopen_active, tcp_fastopen_active_fails;
    uint64_t tcp_fastopen_passive, tcp_fastopen_passive_fails;
};

/*
 * The keys of TCP Fast Open's cookies (RFC 7413 section 4.1.2), 16 bytes each, which are copied.
 * The primary makes cookies and both check them, so keys rotate: the new one first, the old one
 * as backup, until clients have had the time to come back. NULL: no backup. Without this call the
 * key comes from the config's secret. The cookie is Linux's, so a key may be shared with other
 * servers behind one name.
 */
FOYER_API void foyer_host_set_fastopen_keys(struct foyer_host *host, const uint8_t primary[16],
                                            const uint8_t backup[16]);

FOYER_API void foyer_host_stats(const struct foyer_host *host, struct foyer_host_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
