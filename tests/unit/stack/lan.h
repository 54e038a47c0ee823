/*
 * A host on a LAN that the test plays by hand: frames are built from their headers, what the
 * host sends is kept in order and in one piece. Memory is counted, so that destroy finds leaks.
 */
#ifndef TESTS_UNIT_STACK_LAN_H
#define TESTS_UNIT_STACK_LAN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "foyer/foyer.h"
#include "stack/ip.h"

#define LAN_FRAMES_MAX 256
#define LAN_FRAME_SIZE_MAX 66000

struct lan_frame {
    uint8_t *bytes;
    size_t size;
    uint8_t flags, gso_type;
    uint16_t gso_size;
};

struct lan {
    struct foyer_host *host;
    foyer_time_ns now;
    size_t allocated;                        /* bytes the host holds */
    uint32_t fail_after;                     /* allocations until they fail; UINT32_MAX: never */
    struct lan_frame frames[LAN_FRAMES_MAX]; /* what pull took */
    unsigned frame_count, frame_next;
};

/* The host is 10.0.0.1/24, fd00::1/64 and its link-local address; the peer .2 and ::2. */
extern const uint8_t lan_host_mac[6], lan_peer_mac[6];
extern const struct foyer_addr lan_host4, lan_peer4, lan_host6, lan_peer6;
extern const struct foyer_addr lan_peer_link_local; /* fe80::2 */
struct foyer_addr lan_addr6(uint8_t last);          /* fd00::last */
struct foyer_addr lan_all_nodes(bool v4);           /* 224.0.0.1, ff02::1 */
#define LAN_SRC(v4) ((v4) ? lan_peer4 : lan_peer6)
#define LAN_DST(v4) ((v4) ? lan_host4 : lan_host6)

int lan_setup(void **state);    /* cmocka: *state is a struct lan * */
int lan_teardown(void **state); /* fails where the host left memory behind */
struct lan *lan_create(uint32_t link_capabilities, void (*adjust)(struct foyer_host_config *));
void lan_destroy(struct lan *lan);

void lan_input(struct lan *lan, const uint8_t *frame, size_t size);
void lan_input_flags(struct lan *lan, const uint8_t *frame, size_t size, uint8_t flags);
/* Advances time through all deadlines in between. */
void lan_wait(struct lan *lan, foyer_time_ns ns);
/* The same, with what the host sends going nowhere. */
void lan_live(struct lan *lan, foyer_time_ns ns);
/* Takes what the host sends now; how many frames. The next lan_frame call starts over. */
unsigned lan_pull(struct lan *lan);
/* The next frame of the last pull; NULL: none. */
const struct lan_frame *lan_next(struct lan *lan);
struct foyer_host_stats lan_stats(const struct lan *lan);

/* Builders; return the frame's size. The frame has room for LAN_FRAME_SIZE_MAX bytes. */
size_t lan_eth(uint8_t *frame, const uint8_t dst[6], uint16_t ethertype);
size_t lan_ip(uint8_t *frame, const struct foyer_addr *src, const struct foyer_addr *dst,
              uint8_t protocol, size_t size);
size_t lan_udp(uint8_t *frame, const struct foyer_addr *src, uint16_t src_port,
               const struct foyer_addr *dst, uint16_t dst_port, const void *payload, size_t size);
size_t lan_icmp(uint8_t *frame, const struct foyer_addr *src, const struct foyer_addr *dst,
                uint8_t type, uint8_t code, uint32_t word, const void *rest, size_t size);
/* Sends the host a neighbour discovery message. */
void lan_send_ndp(struct lan *lan, const struct wire_ndp *ndp, const struct foyer_addr *src,
                  const struct foyer_addr *dst, uint8_t hop_limit);
/* Fills the transport checksum of a frame that lan_ip began. */
void lan_seal(uint8_t *frame, size_t size);
/* The IPv4 header's, after something in it was changed. */
void lan_seal_ipv4(uint8_t *frame);
/* A message of IGMP or MLD from the peer; its checksum is filled in. */
size_t lan_membership(uint8_t *frame, const struct foyer_addr *dst, const uint8_t *message,
                      size_t size);
/* The query among them, up to its address; NULL: about all groups. Returns its size. */
size_t lan_query(uint8_t *message, bool v4, const struct foyer_addr *group, uint32_t max_ms);

/* The peer makes itself known in both families. */
void lan_introduce_peer(struct lan *lan);
size_t lan_arp(uint8_t *frame, uint16_t operation, const struct foyer_addr *sender,
               const struct foyer_addr *target, const uint8_t dst[6]);
size_t lan_advertise(uint8_t *frame, const struct foyer_addr *target, bool solicited);

/* The transport part of an IP frame, after the headers were checked; NULL where it is none. */
struct lan_view {
    bool is_v4;
    uint8_t protocol;
    struct foyer_addr src, dst;
    const uint8_t *transport;
    size_t size;
    uint8_t ttl;
    bool dont_fragment, more_fragments;
    uint16_t fragment_offset;
};
bool lan_view(const struct lan_frame *frame, struct lan_view *ret_view);

foyer_socket lan_open(struct lan *lan, enum foyer_family family, enum foyer_protocol protocol);
foyer_socket lan_bound(struct lan *lan, enum foyer_family family, enum foyer_protocol protocol,
                       const struct foyer_addr *addr, uint16_t port);

#endif
