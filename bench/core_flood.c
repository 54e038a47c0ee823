/* SYNs that lead nowhere: what they cost in memory, and what they cost others. */
#include <stdlib.h>

#include "base/bytes.h"
#include "core.h"
#include "core_pair.h"
#include "wire/eth.h"
#include "wire/ipv4.h"
#include "wire/tcp.h"

#define PORT 7
#define HALF_OPEN 88000u
#define PORTS_PER_LISTENER 44000u
#define STORM_FLOWS 256u
#define STORM_BYTES 65536u
#define FRAME_BYTES (WIRE_ETH_SIZE + WIRE_IPV4_SIZE + WIRE_TCP_SIZE_MAX)

/* A SYN to host 1 from an address and port that nobody answers for. */
static void send_syn(struct pair *pair, struct foyer_addr src, uint16_t src_port, uint16_t dst_port)
{
    uint8_t frame[FRAME_BYTES];
    struct wire_tcp_options options = {.has_mss = true,
                                       .mss = 1460,
                                       .has_window_scale = true,
                                       .window_scale = 7,
                                       .has_sack_permitted = true,
                                       .has_timestamps = true,
                                       .timestamp_value = 1};
    struct wire_tcp tcp = {.src_port = src_port,
                           .dst_port = dst_port,
                           .seq = SEQ(src_port * 7919u),
                           .flags = WIRE_TCP_SYN,
                           .window = 64240};
    struct wire_eth eth = {
        .dst = {2, 0, 0, 0, 0, 2}, .src = {2, 0, 0, 0, 0, 1}, .ethertype = WIRE_ETHERTYPE_IPV4};
    size_t size = wire_eth_emit(frame, &eth) + WIRE_IPV4_SIZE;
    size += wire_tcp_emit(frame + size, &tcp, &options);
    struct wire_ipv4 ip = {.total_size = (uint16_t)(size - WIRE_ETH_SIZE),
                           .ttl = 64,
                           .protocol = WIRE_PROTOCOL_TCP,
                           .src = src,
                           .dst = pair_endpoint(1, 0).addr};
    wire_ipv4_emit(frame + WIRE_ETH_SIZE, &ip);
    struct foyer_packet packet = {.spans = {{frame, size}},
                                  .span_count = 1,
                                  .arrival_ns = pair->now,
                                  .flags = FOYER_PACKET_CHECKSUM_VALID};
    foyer_host_input(pair->hosts[1], &packet, 1, pair->now);
}

/* What host 1 says to those who do not exist. */
static void swallow(struct pair *pair)
{
    struct foyer_packet packets[64];
    while (foyer_host_output(pair->hosts[1], packets, 64, pair->now) > 0)
        ;
}

/* ---- half-open connections and a storm --------------------------------------------------------- */

struct half_open {
    struct pair pair;
    uint64_t before_bytes, peak_bytes, rest_bytes;
};

static void storm(struct pair *pair, foyer_socket listener)
{
    static uint8_t bytes[STORM_BYTES];
    foyer_socket clients[STORM_FLOWS], servers[STORM_FLOWS];
    for (unsigned i = 0; i < STORM_FLOWS; i++)
        pair_establish(pair, listener, PORT + 2, &clients[i], &servers[i]);
    for (unsigned i = 0; i < STORM_FLOWS; i++)
        CORE_CHECK(foyer_socket_send(pair->hosts[0], clients[i], bytes, STORM_BYTES, pair->now) ==
                   STORM_BYTES);
    pair_settle(pair);
    for (unsigned i = 0; i < STORM_FLOWS; i++) {
        CORE_CHECK(foyer_socket_recv(pair->hosts[1], servers[i], bytes, STORM_BYTES, pair->now) ==
                   STORM_BYTES);
        CORE_CHECK(foyer_socket_close(pair->hosts[0], clients[i], pair->now) == 0);
        pair_settle(pair);
        CORE_CHECK(foyer_socket_close(pair->hosts[1], servers[i], pair->now) == 0);
    }
    pair_settle(pair);
    pair_drain_events(pair);
}

/* All of it happens here; the two rows read what was found. */
static void *half_open_open(long argument)
{
    struct half_open *half_open = malloc(sizeof(*half_open));
    CORE_CHECK(half_open != NULL);
    struct pair *pair = &half_open->pair;
    (void)argument;
    pair_init(pair, &(struct pair_config){0});
    for (uint16_t i = 0; i < 2; i++)
        (void)pair_listen(pair, PORT + i, HALF_OPEN);
    foyer_socket listener = pair_listen(pair, PORT + 2, 1024);
    foyer_socket client, server; /* the hosts know each other */
    pair_establish(pair, listener, PORT + 2, &client, &server);
    half_open->before_bytes = pair->allocated_bytes;

    for (uint32_t i = 0; i < HALF_OPEN; i++) {
        send_syn(pair, pair_endpoint(0, 0).addr, (uint16_t)(1024 + i % PORTS_PER_LISTENER),
                 (uint16_t)(PORT + i / PORTS_PER_LISTENER));
        swallow(pair);
    }
    half_open->peak_bytes = pair->allocated_bytes;
    struct foyer_host_stats stats;
    foyer_host_stats(pair->hosts[1], &stats);
    CORE_CHECK(stats.tcp_cookies_sent == 0);
    storm(pair, listener);
    /* Quiet: SYN-ACKs go unanswered until they are given up, TIME-WAIT ends. */
    for (unsigned i = 0; i < 200; i++) {
        pair_advance(pair, FOYER_NS_PER_S);
        swallow(pair);
    }
    half_open->rest_bytes = pair->allocated_bytes;
    return half_open;
}

static double half_open_measure(void *state, double seconds)
{
    const struct half_open *half_open = state;
    (void)seconds;
    return (double)(half_open->peak_bytes - half_open->before_bytes) / HALF_OPEN;
}

static double half_open_rest_measure(void *state, double seconds)
{
    const struct half_open *half_open = state;
    (void)seconds;
    return (double)half_open->rest_bytes - (double)half_open->before_bytes;
}

static void half_open_close(void *state)
{
    struct half_open *half_open = state;
    pair_finish(&half_open->pair);
    free(half_open);
}

const struct subject foyer_half_open = {half_open_open, half_open_measure, half_open_close};
const struct subject foyer_half_open_rest = {half_open_open, half_open_rest_measure,
                                             half_open_close};

/* ---- a SYN flood --------------------------------------------------------------------------------- */

#define FLOOD_SYNS 1000000u
#define FLOOD_MS 10000u /* simulated */
#define FLOWS 16u
#define LINK_PACKETS_PER_MS 80u /* each way: about 1 Gbit/s */

struct flood {
    struct pair pair;
    foyer_socket clients[FLOWS], servers[FLOWS];
    uint8_t *bytes;
    uint64_t grown_bytes; /* of memory, in the second half of the flood */
};

static void *flood_open(long argument)
{
    struct flood *flood = malloc(sizeof(*flood));
    CORE_CHECK(flood != NULL);
    (void)argument;
    *flood = (struct flood){0};
    pair_init(&flood->pair, &(struct pair_config){0});
    flood->bytes = calloc(1, STORM_BYTES);
    CORE_CHECK(flood->bytes != NULL);
    foyer_socket listener = pair_listen(&flood->pair, PORT, 1024);
    for (unsigned i = 0; i < FLOWS; i++)
        pair_establish(&flood->pair, listener, PORT, &flood->clients[i], &flood->servers[i]);
    return flood;
}

/* A millisecond of a link that takes so many packets each way; what is more stays in the host. */
static void carry_for_a_ms(struct pair *pair)
{
    for (unsigned from = 0; from < 2; from++) {
        struct foyer_packet packets[16];
        for (unsigned left = LINK_PACKETS_PER_MS; left > 0;) {
            size_t count =
                foyer_host_output(pair->hosts[from], packets, left < 16 ? left : 16, pair->now);
            if (count == 0)
                break;
            for (size_t i = 0; i < count; i++)
                packets[i].arrival_ns = pair->now;
            /* SYN-ACKs of the flood find nobody: the answer would be a reset, from elsewhere. */
            foyer_host_input(pair->hosts[1 - from], packets, count, pair->now);
            left -= (unsigned)count;
        }
    }
    pair_drain_events(pair);
    pair_advance(pair, FOYER_NS_PER_MS);
}

static uint64_t run(struct flood *flood, uint32_t syns_per_ms)
{
    struct pair *pair = &flood->pair;
    uint64_t received = 0, half_bytes = 0, random = 1;
    for (unsigned ms = 0; ms < FLOOD_MS; ms++) {
        if (ms == FLOOD_MS / 2)
            half_bytes = pair->allocated_bytes;
        for (uint32_t i = 0; i < syns_per_ms; i++) {
            /* On the link, but not there; 10.0.0.1 is the established flows' own. */
            struct foyer_addr src =
                foyer_addr_v4(10, 0, 0, (uint8_t)(3 + core_random(&random, 250)));
            send_syn(pair, src, (uint16_t)(1 + core_random(&random, 65534)), PORT);
        }
        for (unsigned i = 0; i < FLOWS; i++) {
            while (foyer_socket_send(pair->hosts[0], flood->clients[i], flood->bytes, STORM_BYTES,
                                     pair->now) == STORM_BYTES)
                ;
            int64_t size;
            while ((size = foyer_socket_recv(pair->hosts[1], flood->servers[i], flood->bytes,
                                             STORM_BYTES, pair->now)) > 0)
                received += (uint64_t)size;
        }
        carry_for_a_ms(pair);
    }
    flood->grown_bytes =
        pair->allocated_bytes > half_bytes ? pair->allocated_bytes - half_bytes : 0;
    return received;
}

/* Goodput lost by 16 flows on a link of about 1 Gbit/s, in per cent; time is simulated. */
static double flood_measure(void *state, double seconds)
{
    struct flood *flood = state;
    (void)seconds;
    uint64_t quiet = run(flood, 0);
    uint64_t flooded = run(flood, FLOOD_SYNS / FLOOD_MS);
    CORE_CHECK(quiet > 0);
    return 100.0 * (1.0 - (double)flooded / (double)quiet);
}

static double flood_memory_measure(void *state, double seconds)
{
    struct flood *flood = state;
    (void)seconds;
    (void)run(flood, FLOOD_SYNS / FLOOD_MS);
    return (double)flood->grown_bytes;
}

static void flood_close(void *state)
{
    struct flood *flood = state;
    pair_finish(&flood->pair);
    free(flood->bytes);
    free(flood);
}

const struct subject foyer_flood = {flood_open, flood_measure, flood_close};
const struct subject foyer_flood_memory = {flood_open, flood_memory_measure, flood_close};
