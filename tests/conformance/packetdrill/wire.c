/*
 * The host's wire. packetdrill speaks raw IP, the host Ethernet: one neighbour, the gateway of
 * every destination, answers ARP and neighbour discovery at once and is never seen by a script.
 */
#include "adapter.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "wire/arp.h"
#include "wire/eth.h"
#include "wire/icmp6.h"
#include "wire/ipv6.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_IPV6 0x86dd

static const uint8_t host_mac[6] = {0x02, 0, 0, 0, 0, 0x01};
static const uint8_t gateway_mac[6] = {0x02, 0, 0, 0, 0, 0x02};

static void *take(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void give(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

long pd_sysctl(const char *name, unsigned place, long fallback)
{
    char path[128];
    long values[3] = {fallback, fallback, fallback};

    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return fallback;
    int count = fscanf(file, "%ld %ld %ld", &values[0], &values[1], &values[2]);
    fclose(file);
    return count > (int)place ? values[place] : fallback;
}

/* The largest power of two that is not above: then the window scale is the one Linux takes. */
static uint32_t ring_size_for(long bytes)
{
    uint32_t size = FOYER_RING_SIZE_MIN;

    while (size < FOYER_RING_SIZE_MAX && (long)size * 2 <= bytes)
        size *= 2;
    return size;
}

static bool add_addresses(struct pd *pd)
{
    static const struct foyer_addr gateway6 = {{0xfe, 0x80, [15] = 0xfe}};
    struct foyer_addr gateway4 = pd->local4, any4 = foyer_addr_v4(0, 0, 0, 0);
    struct foyer_addr any6 = {{0}};

    gateway4.bytes[15] ^= 0x80; /* another one of the same /16 */
    return foyer_host_add_address(pd->host, &pd->local4, 16) == 0 &&
           foyer_host_add_address(pd->host, &pd->local6, 64) == 0 &&
           foyer_host_add_route(pd->host, &any4, 0, &gateway4) == 0 &&
           foyer_host_add_route(pd->host, &any6, 0, &gateway6) == 0;
}

/* tcp_fastopen_key: four words in hexadecimal, each in little-endian order in the key. */
void pd_fastopen_keys_reset(struct pd *pd)
{
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_fastopen_key", "r");
    unsigned words[4];
    uint8_t key[16];

    if (file == NULL)
        return;
    if (fscanf(file, "%x-%x-%x-%x", &words[0], &words[1], &words[2], &words[3]) == 4) {
        for (int i = 0; i < 16; i++)
            key[i] = (uint8_t)(words[i / 4] >> 8 * (i % 4));
        foyer_host_set_fastopen_keys(pd->host, key, NULL);
    }
    fclose(file);
}

/* What goes in a millisecond, on the paths of scripts tcp_min_tso_segs; 0: the most there is. */
static uint32_t super_segment_bytes(void)
{
    long segments = pd_sysctl("tcp_min_tso_segs", 0, 2);

    return segments > 0 && segments < 45 ? (uint32_t)segments * 1460u : 0;
}

/* Buffer sizes are those of the namespace that packetdrill runs in, as its scripts set them. */
bool pd_host_start(struct pd *pd)
{
    struct foyer_host_config config = {
        .allocator = {take, give, NULL},
        .mtu = pd->mtu,
        /* Linux's packets are seen before they are cut, too. */
        .link_capabilities =
            FOYER_LINK_TX_CHECKSUM | (pd->is_without_tso ? 0u : FOYER_LINK_TSO4 | FOYER_LINK_TSO6),
        .gso_max_size = super_segment_bytes(),
        .receive_buffer_size = ring_size_for(pd_sysctl("tcp_rmem", 2, 6 << 20)),
        .send_buffer_size = ring_size_for(pd_sysctl("tcp_wmem", 2, 4 << 20)),
        .behaviour = FOYER_HOST_TOLERATE_MISSING_TIMESTAMPS, /* as Linux; scripts rely on it */
        .secret = "the same in every run of a test",
    };

    memcpy(config.mac, host_mac, sizeof(config.mac));
    pd->host = foyer_host_create(&config, pd->now);
    if (pd->host != NULL)
        pd_fastopen_keys_reset(pd);
    return pd->host != NULL && add_addresses(pd);
}

static void input_frame(struct pd *pd, const uint8_t *bytes, size_t size)
{
    struct foyer_packet packet = {.spans = {{bytes, size}}, .span_count = 1, .arrival_ns = pd->now};

    foyer_host_input(pd->host, &packet, 1, pd->now);
}

static void answer(struct pd *pd, uint16_t ethertype, const uint8_t *bytes, size_t size)
{
    uint8_t frame[256];

    memcpy(frame, host_mac, 6);
    memcpy(frame + 6, gateway_mac, 6);
    store_be16(frame + 12, ethertype);
    memcpy(frame + WIRE_ETH_SIZE, bytes, size);
    input_frame(pd, frame, WIRE_ETH_SIZE + size);
}

static void answer_arp(struct pd *pd, const uint8_t *bytes, size_t size)
{
    struct wire_arp request, reply = {.operation = WIRE_ARP_REPLY};
    uint8_t out[WIRE_ARP_SIZE];

    if (wire_arp_parse(bytes, size, &request) < 0 || request.operation != WIRE_ARP_REQUEST)
        return;
    memcpy(reply.sender_mac, gateway_mac, 6);
    memcpy(reply.target_mac, host_mac, 6);
    reply.sender_addr = request.target_addr;
    reply.target_addr = request.sender_addr;
    answer(pd, ETHERTYPE_ARP, out, wire_arp_emit(out, &reply));
}

/* True where the packet is neighbour discovery or another word among neighbours. */
static bool handle_neighbour_talk(struct pd *pd, const uint8_t *bytes, size_t size)
{
    uint8_t out[40 + WIRE_NDP_SIZE_MAX] = {0x60};
    struct foyer_addr src, dst;
    struct wire_ndp ndp;

    if (size < 41 || bytes[6] != 58 || bytes[40] < 130 || bytes[40] > 143)
        return size >= 41 && bytes[6] == 0; /* MLD comes with a hop-by-hop header */
    if (wire_ndp_parse(bytes + 40, size - 40, &ndp) < 0 ||
        ndp.type != WIRE_ICMP6_NEIGHBOUR_SOLICITATION)
        return true;
    memcpy(dst.bytes, bytes + 8, 16);
    src = ndp.target;
    struct wire_ndp advertisement = {.type = WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT,
                                     .target = ndp.target,
                                     .is_router = true,
                                     .is_solicited = true,
                                     .is_override = true,
                                     .has_target_mac = true};
    memcpy(advertisement.target_mac, gateway_mac, 6);
    size_t written = wire_ndp_emit(out + 40, &advertisement);
    wire_icmp6_seal(out + 40, written, &src, &dst);
    store_be16(out + 4, (uint16_t)written);
    out[6] = 58;
    out[7] = 255; /* RFC 4861 section 7.1.2 */
    memcpy(out + 8, src.bytes, 16);
    memcpy(out + 24, dst.bytes, 16);
    if (!foyer_addr_is_any(&dst)) /* duplicate address detection wants no answer */
        answer(pd, ETHERTYPE_IPV6, out, 40 + written);
    return true;
}

static void keep_packet(struct pd *pd, const uint8_t *bytes, size_t size)
{
    struct pd_packet *packet = malloc(sizeof(*packet) + size);

    if (packet == NULL)
        abort();
    packet->next = NULL;
    packet->sent_ns = pd->now;
    packet->size = size;
    memcpy(packet->bytes, bytes, size);
    *pd->packets_end = packet;
    pd->packets_end = &packet->next;
}

static void take_frame(struct pd *pd, const struct foyer_packet *packet)
{
    static uint8_t frame[WIRE_ETH_SIZE + 65536]; /* under pd->lock */
    size_t size = 0;

    for (unsigned i = 0; i < packet->span_count; i++) {
        if (packet->spans[i].size > sizeof(frame) - size)
            abort(); /* more than the MTU: the host's error, not the script's */
        memcpy(frame + size, packet->spans[i].base, packet->spans[i].size);
        size += packet->spans[i].size;
    }
    const uint8_t *ip = frame + WIRE_ETH_SIZE;
    size_t ip_size = size - WIRE_ETH_SIZE;
    uint16_t ethertype = load_be16(frame + 12);
    if (ethertype == ETHERTYPE_ARP)
        answer_arp(pd, ip, ip_size);
    else if (ethertype == ETHERTYPE_IPV4 ||
             (ethertype == ETHERTYPE_IPV6 && !handle_neighbour_talk(pd, ip, ip_size)))
        keep_packet(pd, ip, ip_size);
}

void pd_wire_output(struct pd *pd)
{
    struct foyer_packet packet;

    /* One at a time: an answer is input, and that ends what output lent. */
    while (foyer_host_output(pd->host, &packet, 1, pd->now) > 0)
        take_frame(pd, &packet);
}

void pd_wire_input(struct pd *pd, const uint8_t *bytes, size_t size)
{
    static uint8_t frame[WIRE_ETH_SIZE + 65536];

    if (size == 0 || size > 65536)
        return;
    memcpy(frame, host_mac, 6);
    memcpy(frame + 6, gateway_mac, 6);
    store_be16(frame + 12, bytes[0] >> 4 == 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
    memcpy(frame + WIRE_ETH_SIZE, bytes, size);
    input_frame(pd, frame, WIRE_ETH_SIZE + size);
}
