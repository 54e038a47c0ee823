/*
 * A TCP peer made by hand: it sends the segments a test says and shows those the host under test
 * sends. The host is 10.0.0.1, the peer 10.0.0.2; ARP is answered. Time is the test's.
 *
 * Sequence numbers are relative: 0 is each side's SYN, 1 its first byte. The host's ISS is
 * learned from its SYN.
 */
#ifndef TESTS_UNIT_STACK_TCP_PEER_H
#define TESTS_UNIT_STACK_TCP_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "foyer/foyer.h"
#include "wire/tcp.h"

#define PEER_QUEUE_MAX 512
#define PEER_ISS 0xfffffff0u /* so that sequence numbers wrap early in each test */
#define PEER_PORT 40000
#define HOST_PORT 80

#define FIN WIRE_TCP_FIN
#define SYN WIRE_TCP_SYN
#define RST WIRE_TCP_RST
#define PSH WIRE_TCP_PSH
#define ACK WIRE_TCP_ACK

#define MS FOYER_NS_PER_MS

/* A segment as the test sees it: numbers relative, options as on the wire. */
struct seg {
    uint16_t flags;
    uint32_t seq, ack;
    uint16_t window; /* not scaled */
    uint16_t urgent;
    uint32_t size;
    const uint8_t *data;
    struct wire_tcp_options options; /* SACK blocks are relative too */
    uint16_t src_port, dst_port;     /* 0: the connection's */
    uint8_t gso_segments;            /* out: cut by the link into so many; in: coalesced of */
    uint16_t gso_size;
    foyer_time_ns at_ns; /* when the host sent it */
    uint8_t tos;         /* of its IP header */
};

struct peer {
    struct foyer_host *host;
    foyer_socket listener, socket; /* socket: the connection's, once there is one */
    foyer_time_ns now;
    uint32_t host_iss;
    uint16_t host_port, peer_port;
    uint32_t ts_offset; /* of the peer's own timestamps; 0: none are sent by peer_send */
    uint32_t last_ts;   /* the last timestamp value the host sent */
    bool has_ts;
    uint32_t window; /* what peer_ack and friends announce */
    uint32_t capabilities;
    uint64_t allocated_bytes;
    struct seg queue[PEER_QUEUE_MAX];
    uint8_t *payloads[PEER_QUEUE_MAX];
    size_t first, count;
    uint32_t events;  /* of the connection's socket, collected */
    uint32_t written; /* bytes by peer_write */
    bool fail_allocations;
    bool is_silent; /* output is thrown away */
};

struct peer *peer_create(void);
struct peer *peer_create_with(uint32_t capabilities, uint32_t ring_size);
struct peer *peer_create_behaving(uint32_t behaviour); /* enum foyer_host_behaviour */
void peer_destroy(struct peer *peer);

/* Sends a segment as it is. */
void peer_send(struct peer *peer, struct seg seg);
/* Sends it wrapped in a real checksum that is wrong by one bit. */
void peer_send_damaged(struct peer *peer, struct seg seg);
/* An ICMP error of a router about the segment that the host sent at a sequence number. */
void peer_icmp(struct peer *peer, uint8_t type, uint8_t code, uint32_t word, uint32_t seq);
/* Takes what the host sends; true and *ret_seg where there was a TCP segment. */
bool peer_recv(struct peer *peer, struct seg *ret_seg);
/* Bare ACKs of a peer that has sent nothing, with a window of 60000; one with a SACK block. */
void peer_ack(struct peer *peer, uint32_t number);
void peer_sack(struct peer *peer, uint32_t number, uint32_t left, uint32_t right);
/* The next segment must have these; returns it. data size is checked. */
struct seg peer_expect(struct peer *peer, uint16_t flags, uint32_t seq, uint32_t ack,
                       uint32_t size);
void peer_expect_nothing(struct peer *peer);
/* Drops what the host has sent so far. */
void peer_drain(struct peer *peer);
/* Lets time pass, firing timers on their deadlines. */
void peer_advance(struct peer *peer, foyer_time_ns ns);
/* Advances to the next deadline (at most limit) and returns how far that was. */
foyer_time_ns peer_advance_to_deadline(struct peer *peer, foyer_time_ns limit);
/* Collects events of the host; returns those of the connection since the last call. */
uint32_t peer_events(struct peer *peer);
enum foyer_socket_state peer_state(struct peer *peer);
struct foyer_socket_info peer_info(struct peer *peer);
struct foyer_host_stats peer_stats(struct peer *peer);

/* Brings the connection to a state, as server (host listens) except where the state says. */
void peer_listen(struct peer *peer, uint32_t backlog);
void peer_connect(struct peer *peer);
/* A new peer whose host listens, connects, with an option set. */
struct peer *peer_listening(uint32_t backlog, enum foyer_option option, int64_t value);
struct peer *peer_connecting(enum foyer_option option, int64_t value);
void peer_establish(struct peer *peer, const struct wire_tcp_options *options, uint16_t window);
/* A new peer that has established a connection without any option but an MSS of 1000. */
struct peer *peer_establish_near(uint16_t window);
/* A new peer that has established a connection with SACK (and timestamps) over so long a path. */
struct peer *peer_establish_far(foyer_time_ns rtt, bool has_ts);
/* The same, once the host's first 2000 bytes have made the round trip. */
struct peer *peer_establish_warm(foyer_time_ns rtt, bool has_ts);
void peer_to_state(struct peer *peer, enum foyer_socket_state state);

/* The byte that the peer sends at a sequence number, unless a segment brings its own. */
uint8_t peer_byte(uint32_t seq);
/* The byte that peer_write writes at an index; checked in every segment the host sends. */
uint8_t host_byte(uint32_t index);
void peer_write(struct peer *peer, uint32_t size);
uint32_t peer_read(struct peer *peer, uint32_t size);

#endif
