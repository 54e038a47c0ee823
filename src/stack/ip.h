/*
 * What link.c, route.c, ip.c, frag.c, icmp.c, ndp.c, output.c and udp.c tell one another.
 * TCP and the sockets need only stack.h.
 */
#ifndef FOYER_STACK_IP_H
#define FOYER_STACK_IP_H

#include "stack/stack.h"
#include "wire/eth.h"
#include "wire/icmp6.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

#define IP_MTU_LOCAL 65535u /* of the path to the host itself */
#define IP_MTU_MIN_V4 552u  /* what RFC 1191 routers may ask for; below it is an attack */
#define IP_MTU_MIN_V6 1280u /* RFC 8200 section 5 */
#define IP_TTL_DEFAULT 64u

/* ---- link.c: neighbours of both families ---------------------------------------------------- */

/*
 * RFC 4861 section 7.3.2, used for ARP as well.
 * INCOMPLETE: being asked for, no MAC yet; sockets park on waiters, packets on held.
 * REACHABLE:  the MAC was confirmed less than 30 s ago.
 * STALE:      usable; the next use starts DELAY.
 * DELAY:      usable; PROBE follows after 5 s without confirmation.
 * PROBE:      usable; asked by unicast; deleted after 3 tries.
 */
enum neighbour_state {
    NEIGHBOUR_INCOMPLETE,
    NEIGHBOUR_REACHABLE,
    NEIGHBOUR_STALE,
    NEIGHBOUR_DELAY,
    NEIGHBOUR_PROBE,
};

struct neighbour {
    struct hash_node node;
    struct list_node lru; /* host->neighbour_lru, most recently looked up last */
    struct list_node waiters;
    struct list_node held; /* of struct held_packet */
    struct timer timer;
    struct foyer_addr addr;
    foyer_time_ns confirmed_ns, used_ns;
    uint32_t held_bytes;
    uint8_t mac[6];
    uint8_t state; /* enum neighbour_state */
    uint8_t tries;
    bool is_router;
};

void link_init(struct foyer_host *host);
void link_finish(struct foyer_host *host);
void link_input(struct foyer_host *host, const struct foyer_packet *packet, foyer_time_ns now);
void neighbour_timer(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now);

struct neighbour *neighbour_find(const struct foyer_host *host, const struct foyer_addr *addr);
/* Finds or makes it; a fresh one is INCOMPLETE and not asked for yet. NULL: no room. */
struct neighbour *neighbour_get(struct foyer_host *host, const struct foyer_addr *addr);
/* True where a packet can go now; else resolution is under way. */
bool neighbour_use(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now);
/* Parks the socket until the neighbour answers. */
void neighbour_park(struct neighbour *neighbour, struct sock *sock);
/* Keeps a copy of a packet until the neighbour answers; drops the oldest beyond the limit. */
void neighbour_hold(struct foyer_host *host, struct neighbour *neighbour, uint8_t protocol,
                    const struct foyer_addr *src, const struct foyer_addr *dst, uint8_t ttl,
                    uint8_t tos, const void *bytes, size_t size);
/* The MAC is known. is_confirmed: by an answer to our question. */
void neighbour_learn(struct foyer_host *host, struct neighbour *neighbour, const uint8_t mac[6],
                     bool is_confirmed, foyer_time_ns now);
/* The answer came without news: reachable again. */
void neighbour_confirm(struct foyer_host *host, struct neighbour *neighbour, foyer_time_ns now);
void neighbour_make_stale(struct foyer_host *host, struct neighbour *neighbour);

/* RFC 5227: asks whether anybody has the address; tells everybody that we do. */
void arp_probe(struct foyer_host *host, const struct foyer_addr *addr);
void arp_announce(struct foyer_host *host, const struct foyer_addr *addr);

/* ---- address.c: the host's own addresses -------------------------------------------------------- */

int addresses_init(struct foyer_host *host);
/* In any state; NULL. Valid until an address comes or goes. */
struct host_address *address_find(struct foyer_host *host, const struct foyer_addr *addr);
static inline bool address_is_assigned(const struct host_address *address)
{
    return address->state == FOYER_ADDRESS_ASSIGNED;
}
static inline bool address_is_deprecated(const struct foyer_host *host,
                                         const struct host_address *address)
{
    return address->preferred_until_ns <= host->now_ns;
}
/* NULL: no room. The caller starts its probes, or arms. */
struct host_address *address_insert(struct foyer_host *host, const struct host_address *wanted);
void address_remove(struct foyer_host *host, struct host_address *address);
/* Makes it TENTATIVE and probes for it, a random while after now. */
void address_probe(struct foyer_host *host, struct host_address *address, foyer_time_ns now);
/* Another spoke as its owner. */
void address_conflict(struct foyer_host *host, struct host_address *address, foyer_time_ns now);
void addresses_arm(struct foyer_host *host);
void address_timer(struct foyer_host *host, foyer_time_ns now);
/* RFC 6724 section 5. */
bool address_choose_source(const struct foyer_host *host, const struct foyer_addr *dst,
                           const struct foyer_addr *next_hop, struct foyer_addr *ret_src);
/* min_ms..max_ms, unpredictable, as a duration. */
foyer_time_ns ip_random_ms(struct foyer_host *host, uint32_t min_ms, uint32_t max_ms);

/* ---- router.c: what routers advertise ------------------------------------------------------------ */

void routers_init(struct foyer_host *host);
void router_timer(struct foyer_host *host, foyer_time_ns now);
/* A valid router advertisement. */
void router_advertised(struct foyer_host *host, const struct foyer_addr *router,
                       const struct wire_ndp *ndp, foyer_time_ns now);
/* It says that it is none any more. */
void router_forget(struct foyer_host *host, const struct foyer_addr *addr);
/* It does not answer: others are tried first from now on. Not a router: nothing happens. */
void router_unreachable(struct foyer_host *host, const struct foyer_addr *addr);
bool router_choose(const struct foyer_host *host, struct foyer_addr *ret_router);
/* By an advertised prefix; *ret_length: the longest, -1 where there is none. */
bool router_is_on_link(const struct foyer_host *host, const struct foyer_addr *addr,
                       int *ret_length);
/* When an autoconfigured address wants router_address_timer to be called. */
foyer_time_ns router_address_deadline(const struct foyer_host *host,
                                      const struct host_address *address);
void router_address_timer(struct foyer_host *host, struct host_address *address, foyer_time_ns now);
/* A duplicate was found: tries another identifier. False: enough of it. */
bool router_address_retry(struct foyer_host *host, struct host_address *address, foyer_time_ns now);

/* ---- route.c: routes, paths ------------------------------------------------------- */

/* How to reach a destination. */
struct ip_way {
    struct foyer_addr src;
    struct neighbour *neighbour; /* NULL: local, multicast or broadcast */
    uint8_t mac[6];              /* multicast and broadcast */
    bool is_local, is_broadcast, is_multicast;
    uint16_t mtu;
};

int route_init(struct foyer_host *host);
/* foyer_host_add_route; a gateway that is a wildcard means that the prefix is on the link. */
int route_add(struct foyer_host *host, const struct foyer_addr *prefix, uint8_t prefix_length,
              const struct foyer_addr *gateway);
/* src may be NULL or a wildcard: it is chosen. Errors of ip_path, -ENOBUFS. */
int ip_find_way(struct foyer_host *host, const struct foyer_addr *dst, const struct foyer_addr *src,
                struct ip_way *ret_way);
/* The same with another's address as src, whether or not the host still stands for others. */
int ip_find_way_from(struct foyer_host *host, const struct foyer_addr *dst,
                     const struct foyer_addr *src, bool may_be_foreign, struct ip_way *ret_way);
/* One of the host's addresses or loopback. */
bool ip_is_own(const struct foyer_host *host, const struct foyer_addr *addr);
/* 255.255.255.255 or a subnet's. */
bool ip_is_broadcast(const struct foyer_host *host, const struct foyer_addr *addr);
/* On the link by one of the host's prefixes. */
bool ip_is_on_link(const struct foyer_host *host, const struct foyer_addr *addr);
/* A group that the host listens to. */
bool ip_is_joined(const struct foyer_host *host, const struct foyer_addr *addr);
/* The address for a packet that answers or asks without a socket; false: there is none. */
bool ip_choose_source(const struct foyer_host *host, const struct foyer_addr *dst,
                      struct foyer_addr *ret_src);
/* Of the 128 bits; -EINVAL where it is too long for the family. */
int ip_wide_prefix_length(const struct foyer_addr *addr, uint8_t length);
bool ip_prefix_matches(const struct foyer_addr *a, const struct foyer_addr *b, unsigned bits);
/* Of a group or broadcast (RFC 1112 section 6.4, RFC 2464 section 7). */
void ip_group_mac(const struct foyer_addr *dst, bool is_broadcast, uint8_t ret_mac[6]);
void ip_mtu_timer(struct foyer_host *host, foyer_time_ns now);
struct foyer_addr ip_solicited_node(const struct foyer_addr *addr);

/* The neighbour that packets to dst go to; false: there is no way. */
bool ip_next_hop(const struct foyer_host *host, const struct foyer_addr *dst,
                 struct foyer_addr *ret_next_hop);

/* ---- redirect.c: other next hops for single destinations ----------------------------------------- */

bool redirect_find(const struct foyer_host *host, const struct foyer_addr *dst,
                   struct foyer_addr *ret_next_hop);
/* It does not answer, or is a router no more. */
void redirect_forget(struct foyer_host *host, const struct foyer_addr *next_hop);
/* The checksum is right, 8 bytes are there. */
void redirect4_input(struct foyer_host *host, const struct rx *rx);
void redirect6_input(struct foyer_host *host, const struct rx *rx, const struct wire_ndp *ndp,
                     foyer_time_ns now);

/* ---- ip.c: headers off and on ------------------------------------------------------------------ */

/* packet: the whole frame; its Ethernet header is checked. is_group: sent to many by the link. */
void ip4_input(struct foyer_host *host, const struct foyer_packet *packet, bool is_group,
               foyer_time_ns now);
void ip6_input(struct foyer_host *host, const struct foyer_packet *packet, bool is_group,
               foyer_time_ns now);
/* Hands a packet without IP header problems to its protocol. */
void ip_deliver(struct foyer_host *host, struct rx *rx, foyer_time_ns now);

/* What of rx follows from where in the packet the headers begin; size: transport and behind. */
void rx_fill(struct rx *rx, const struct foyer_packet *packet, size_t ip_offset,
             size_t transport_offset, size_t size);

/* A datagram that frag.c put together: IP header and all in one run. */
void ip_input_reassembled(struct foyer_host *host, const uint8_t *bytes, size_t size,
                          uint8_t family, foyer_time_ns arrival_ns, foyer_time_ns now);

/* Where a packet goes; what struct tx does not say. */
struct ip_out {
    struct foyer_addr src, dst;
    uint8_t protocol;
    const uint8_t *mac; /* NULL: to the host itself, no Ethernet header */
};

/*
 * Queues an ICMPv6 message to a group of the link as a whole frame: src may be the unspecified
 * address, which has no way. bytes: the message, checksum 0; at most IP6_GROUP_MESSAGE_MAX.
 */
#define IP6_GROUP_MESSAGE_MAX 1232u /* 1280 without IPv6 header and router alert */
void ip6_send_to_group(struct foyer_host *host, const struct foyer_addr *src,
                       const struct foyer_addr *group, uint8_t hop_limit, bool router_alert,
                       const uint8_t *bytes, size_t size);

/* A packet of its headers alone so far. Field by field: what spans[1] and the others hold means
 * nothing, and to clear them costs as much as to write a header. */
static inline void packet_begin(struct foyer_packet *packet, const uint8_t *start, size_t size)
{
    packet->spans[0] = (struct foyer_span){start, size};
    packet->span_count = 1;
    packet->flags = 0;
    packet->gso_type = FOYER_GSO_NONE;
    packet->gso_size = 0;
    packet->header_size = (uint16_t)size;
    packet->checksum_start = packet->checksum_offset = 0;
    packet->arrival_ns = 0;
}

/* Writes the headers in front of the transport header and fills the packet. */
void ip_emit(struct foyer_host *host, const struct tx *tx, const struct ip_out *out,
             struct foyer_packet *ret_packet);
/* Ethernet and IP in front of the transport header; where they begin. */
uint8_t *ip_put_headers(struct foyer_host *host, const struct tx *tx, const struct ip_out *out);
size_t ip_payload_size(const struct tx *tx);
/* A super-segment for a link that cannot cut, see segment.c: into as many packets, which are
 * there. headers: one buffer for each, the first is tx->header. */
size_t ip_emit_segments(struct foyer_host *host, const struct tx *tx, const struct ip_out *out,
                        uint8_t (*headers)[TX_HEADER_SIZE], struct foyer_packet *ret_packets);
/* The same, delivered inside at once. */
void ip_deliver_inside(struct foyer_host *host, const struct tx *tx, const struct ip_out *out,
                       foyer_time_ns now);

/* The same with an IPv4 header: TTL 1, internetwork control, router alert (RFC 9776 section 4). */
void ip4_send_to_group(struct foyer_host *host, const struct foyer_addr *src,
                       const struct foyer_addr *group, uint8_t protocol, const uint8_t *bytes,
                       size_t size);

/* The same from 0.0.0.0 to 255.255.255.255; bytes: a UDP header and all, checksum 0. */
void ip4_broadcast_unconfigured(struct foyer_host *host, uint8_t protocol, const uint8_t *bytes,
                                size_t size);

/* ---- frag.c ---------------------------------------------------------------------------------------- */

/* What ip.c read of a fragment's headers; its part of the packet is in the struct rx beside. */
struct fragment {
    struct foyer_addr src, dst;
    uint32_t id;
    uint8_t family, protocol, ttl, tos;
    bool more;
    uint32_t offset;
    uint32_t header_offset; /* IPv6: of the Fragment header from the packet's first byte */
    foyer_time_ns arrival_ns;
};

void frag_init(struct foyer_host *host);
void frag_finish(struct foyer_host *host);
void frag_input(struct foyer_host *host, const struct fragment *fragment, const struct rx *part,
                foyer_time_ns now);
void frag_timer(struct foyer_host *host, struct timer *timer, foyer_time_ns now);

/* ---- output.c: the queue of packets without a socket ------------------------------------------- */

enum control_kind {
    CONTROL_PADDING = 0, /* to the ring's end */
    CONTROL_FRAME,       /* a whole Ethernet frame: ARP, group messages */
    CONTROL_IP,          /* transport header and payload */
};

struct control {
    uint32_t entry_size; /* this header, the bytes, padding */
    uint32_t kind_word;  /* enum control_kind */
    uint32_t size;       /* bytes that follow */
    uint32_t sent;       /* of them, as fragments */
    uint32_t fragment_id;
    uint8_t protocol, ttl, tos;
    bool is_looped; /* to a group or broadcast: the host's own sockets get a copy */
    struct foyer_addr src, dst;
    bool without_checksum; /* as in struct tx */
    bool is_foreign;       /* src was not the host's own, and the host's to use all the same */
    uint8_t reserved[6];
};

/* Room for size bytes behind the entry, to be filled at once; NULL: the queue is full. */
struct control *control_push(struct foyer_host *host, enum control_kind kind, size_t size);
static inline uint8_t *control_bytes(struct control *control)
{
    return (uint8_t *)(control + 1);
}
bool control_is_empty(const struct foyer_host *host);
int output_init(struct foyer_host *host);
void output_finish(struct foyer_host *host);
/* What the last output call lent is not looked at any more: releases it. */
void output_release(struct foyer_host *host);

/* ---- icmp.c, ndp.c ----------------------------------------------------------------------------------- */

/* One more message allowed by the rate limit (RFC 4443 section 2.4 (f), RFC 1812 4.3.2.8)? */
bool icmp_take_token(struct foyer_host *host, foyer_time_ns now);
/* Quotes rx. word: the second word of the ICMP header. Checks to whom none may be sent. */
void icmp_send_error(struct foyer_host *host, const struct rx *rx, uint8_t type, uint8_t code,
                     uint32_t word, foyer_time_ns now);
void ndp_input(struct foyer_host *host, const struct rx *rx, const uint8_t *bytes, size_t size,
               foyer_time_ns now);
/* Does anybody have this tentative address (RFC 4862 section 5.4.2)? */
void ndp_probe(struct foyer_host *host, const struct host_address *address);
/* Unsolicited: the address is ours (RFC 4861 section 7.2.6). */
void ndp_announce(struct foyer_host *host, const struct foyer_addr *addr);
void ndp_solicit_routers(struct foyer_host *host);
/* Asks for a neighbour: by multicast, or by unicast where it is only to confirm. */
void ndp_solicit(struct foyer_host *host, const struct neighbour *neighbour, bool is_unicast);

/* ---- udp.c --------------------------------------------------------------------------------------------- */

/*
 * Takes the next datagram of the socket: one packet in tx and out, or queued as a control packet
 * where it must be fragmented. Returns enum udp_step.
 */
enum udp_step {
    UDP_IDLE,    /* nothing to send (now): off the list */
    UDP_PACKET,  /* tx, out and way are filled */
    UDP_SKIPPED, /* a record was dealt with without a packet; call again */
};
enum udp_step udp_next(struct foyer_host *host, struct sock *sock, struct tx *tx,
                       struct ip_out *out, struct ip_way *way, foyer_time_ns now);
/* The neighbour does not answer: what waits is lost. */
void udp_unreachable(struct foyer_host *host, struct sock *sock);
void udp_release(struct foyer_host *host, struct sock *sock);
void udp_poke(struct foyer_host *host, struct sock *sock, foyer_time_ns now);
int udp_connect(struct foyer_host *host, struct sock *sock, const struct foyer_endpoint *remote);
void udp_disconnect(struct foyer_host *host, struct sock *sock);

#endif
