/* wire/ipv6: the fixed header and the walk over extension headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/ipv4.h"
#include "wire/ipv6.h"

static const struct wire_ipv6 plain = {
    .traffic_class = 0xb9,
    .flow_label = 0xabcde,
    .payload_size = 8,
    .next_header = WIRE_PROTOCOL_UDP,
    .hop_limit = 64,
    .src = {{0xfd, [15] = 1}},
    .dst = {{0xfd, [15] = 2}},
};

static void emit_then_parse(void **state)
{
    (void)state;
    uint8_t bytes[48] = {0};
    assert_int_equal(wire_ipv6_emit(bytes, &plain), 40);
    assert_int_equal(bytes[0], 0x6b);
    struct wire_ipv6 ip;
    assert_int_equal(wire_ipv6_parse(bytes, sizeof(bytes), &ip), 40);
    assert_int_equal(ip.traffic_class, 0xb9);
    assert_int_equal(ip.flow_label, 0xabcde);
    assert_int_equal(ip.payload_size, 8);
    assert_int_equal(ip.next_header, 17);
    assert_int_equal(ip.hop_limit, 64);
    assert_true(foyer_addr_eq(&ip.src, &plain.src));
    assert_true(foyer_addr_eq(&ip.dst, &plain.dst));
    assert_int_equal(wire_ipv6_parse(bytes, 47, &ip), -EINVAL);
    assert_int_equal(wire_ipv6_parse_quoted(bytes, 47, &ip), 40);
    assert_int_equal(wire_ipv6_parse_quoted(bytes, 39, &ip), -EINVAL);
    bytes[0] = 0x4b;
    assert_int_equal(wire_ipv6_parse(bytes, sizeof(bytes), &ip), -EINVAL);
}

static void mapped_addresses_are_forged(void **state)
{
    (void)state;
    uint8_t bytes[48] = {0};
    struct wire_ipv6 forged = plain, ip;
    forged.src = foyer_addr_v4(127, 0, 0, 1);
    wire_ipv6_emit(bytes, &forged);
    assert_int_equal(wire_ipv6_parse(bytes, sizeof(bytes), &ip), -EINVAL);
    forged = plain;
    forged.dst = foyer_addr_v4(127, 0, 0, 1);
    wire_ipv6_emit(bytes, &forged);
    assert_int_equal(wire_ipv6_parse(bytes, sizeof(bytes), &ip), -EINVAL);
}

#define HBH 0
#define ROUTING 43
#define FRAGMENT 44
#define DSTOPT 60
#define UDP 17

/* bytes: what follows the fixed header. result: extension bytes or an error. */
static const struct {
    const char *name;
    uint8_t first;
    uint8_t bytes[32];
    uint8_t size;
    int result;
    uint8_t protocol;      /* where result >= 0 */
    uint8_t code, pointer; /* where result is -EPROTO */
    bool to_multicast;
} walks[] = {
    {"none", UDP, {0}, 8, 0, UDP, 0, 0, false},
    {"hop-by-hop of PadN", HBH, {UDP, 0, 1, 4}, 16, 8, UDP, 0, 0, false},
    {"hop-by-hop of Pad1", HBH, {UDP, 0, 0, 0, 0, 0, 0, 0}, 16, 8, UDP, 0, 0, false},
    {"router alert is skipped", HBH, {UDP, 0, 5, 2, 0, 0, 1, 0}, 16, 8, UDP, 0, 0, false},
    {"hop-by-hop, then destination",
     HBH,
     {DSTOPT, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4},
     24,
     16,
     UDP,
     0,
     0,
     false},
    {"destination, then hop-by-hop",
     DSTOPT,
     {HBH, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 1, 4},
     24,
     -EPROTO,
     0,
     1,
     40,
     false},
    {"option 01: discard", DSTOPT, {UDP, 0, 0x45, 4}, 16, -EINVAL, 0, 0, 0, false},
    {"option 10: report", DSTOPT, {UDP, 0, 0x85, 4}, 16, -EPROTO, 0, 2, 42, false},
    {"option 10 to multicast: report", DSTOPT, {UDP, 0, 0x85, 4}, 16, -EPROTO, 0, 2, 42, true},
    {"option 11: report", DSTOPT, {UDP, 0, 0, 0xc5, 3}, 16, -EPROTO, 0, 2, 43, false},
    {"option 11 to multicast: discard", DSTOPT, {UDP, 0, 0xc5, 4}, 16, -EINVAL, 0, 0, 0, true},
    /* [test RFC8200 4.2c] */
    {"01 before 10: discard", DSTOPT, {UDP, 0, 0x45, 0, 0x85, 0}, 16, -EINVAL, 0, 0, 0, false},
    {"10 before 01: report", DSTOPT, {UDP, 0, 0x85, 0, 0x45, 0}, 16, -EPROTO, 0, 2, 42, false},
    {"option over the end", DSTOPT, {UDP, 0, 5, 5}, 16, -EINVAL, 0, 0, 0, false},
    {"option without a length", DSTOPT, {UDP, 0, 1, 3, 0, 0, 0, 5}, 16, -EINVAL, 0, 0, 0, false},
    {"header over the end", DSTOPT, {UDP, 2, 1, 4}, 16, -EINVAL, 0, 0, 0, false},
    {"header cut", DSTOPT, {UDP, 0, 1, 4}, 7, -EINVAL, 0, 0, 0, false},
    {"routing, used up", ROUTING, {UDP, 0, 0, 0}, 16, 8, UDP, 0, 0, false},
    {"routing, segments left", ROUTING, {UDP, 0, 0, 1}, 16, -EPROTO, 0, 0, 42, false},
    {"atomic fragment", FRAGMENT, {UDP, 0, 0, 0, 1, 2, 3, 4}, 16, 8, UDP, 0, 0, false},
    {"first fragment", FRAGMENT, {UDP, 0, 0, 1, 1, 2, 3, 4}, 16, 8, UDP, 0, 0, false},
    {"first fragment, odd size", FRAGMENT, {UDP, 0, 0, 1, 1, 2, 3, 4}, 15, -EPROTO, 0, 0, 4, false},
    /* [test RFC8200 4.5j] and RFC 7112 section 5 */
    {"first fragment cuts TCP", FRAGMENT, {6, 0, 0, 1, 1, 2, 3, 4}, 16, -EPROTO, 0, 3, 0, false},
    {"first fragment cuts TCP's options",
     FRAGMENT,
     {6, 0, 0, 1, 1, 2, 3, 4, [20] = 0x70},
     32,
     -EPROTO,
     0,
     3,
     0,
     false},
    {"first fragment cuts options",
     FRAGMENT,
     {DSTOPT, 0, 0, 1, 1, 2, 3, 4, UDP, 2, 1, 4},
     16,
     -EPROTO,
     0,
     3,
     0,
     false},
    {"first fragment ends before UDP",
     FRAGMENT,
     {DSTOPT, 0, 0, 1, 1, 2, 3, 4, UDP, 0, 1, 4},
     16,
     -EPROTO,
     0,
     3,
     0,
     false},
    {"later fragment: rest is no header",
     FRAGMENT,
     {DSTOPT, 0, 0, 8, 1, 2, 3, 4, 9, 99},
     16,
     8,
     DSTOPT,
     0,
     0,
     false},
    {"fragment beyond 65535", FRAGMENT, {UDP, 0, 0xff, 0xf8}, 16, -EPROTO, 0, 0, 42, false},
    {"fragment twice", FRAGMENT, {FRAGMENT, 0, 0, 0, 0, 0, 0, 0, UDP}, 24, -EINVAL, 0, 0, 0, false},
    {"no next header", 59, {0}, 0, 0, 59, 0, 0, false},
};

/* [test RFC8200 4a 4c 4.2a 4.2b 4.4a 4.4b] */
static void walk(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
        struct wire_ipv6 ip = plain;
        ip.next_header = walks[i].first;
        ip.payload_size = walks[i].size;
        if (walks[i].to_multicast)
            ip.dst.bytes[0] = 0xff;
        /* On the heap, so that the sanitizer sees a read past the end. */
        size_t size = 40u + walks[i].size;
        uint8_t *packet = malloc(size);
        wire_ipv6_emit(packet, &ip);
        memcpy(packet + 40, walks[i].bytes, walks[i].size);
        struct wire_ipv6_chain chain = {0};
        struct wire_ipv6_problem problem = {0};
        int result = wire_ipv6_walk(packet, size, &ip, &chain, &problem);
        free(packet);
        if (result != walks[i].result || problem.code != walks[i].code ||
            problem.pointer != walks[i].pointer || chain.protocol != walks[i].protocol)
            fail_msg("%s: result %d protocol %u code %u pointer %u", walks[i].name, result,
                     chain.protocol, problem.code, problem.pointer);
    }
}

static void fragment_fields(void **state)
{
    (void)state;
    struct wire_ipv6 ip = plain;
    ip.next_header = HBH;
    ip.payload_size = 24;
    uint8_t packet[64] = {0};
    wire_ipv6_emit(packet, &ip);
    static const uint8_t rest[] = {FRAGMENT, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 5, 0xa9, 1, 2, 3, 4};
    memcpy(packet + 40, rest, sizeof(rest));
    struct wire_ipv6_chain chain;
    struct wire_ipv6_problem problem;
    assert_int_equal(wire_ipv6_walk(packet, sizeof(packet), &ip, &chain, &problem), 16);
    assert_true(chain.has_fragment);
    assert_true(chain.more_fragments);
    assert_int_equal(chain.fragment_offset, 1448);
    assert_int_equal(chain.fragment_id, 0x01020304);
    assert_int_equal(chain.fragment_header_offset, 48);
    assert_int_equal(chain.fragment_next_header_offset, 40);
    assert_int_equal(chain.protocol_offset, 48);
}

static void walk_is_bounded(void **state)
{
    (void)state;
    struct wire_ipv6 ip = plain;
    ip.next_header = DSTOPT;
    uint8_t packet[40 + 8 * 16] = {0};
    for (unsigned count = 1; count <= 16; count++) {
        for (unsigned i = 0; i < count; i++) {
            uint8_t *header = packet + 40 + 8 * i;
            header[0] = i + 1 == count ? UDP : DSTOPT;
            header[1] = 0;
            header[2] = 1;
            header[3] = 4;
        }
        ip.payload_size = (uint16_t)(8 * count);
        struct wire_ipv6_chain chain;
        struct wire_ipv6_problem problem;
        int result = wire_ipv6_walk(packet, sizeof(packet), &ip, &chain, &problem);
        assert_int_equal(result, count <= WIRE_IPV6_EXTENSIONS_MAX ? (int)(8 * count) : -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emit_then_parse),
        cmocka_unit_test(mapped_addresses_are_forged),
        cmocka_unit_test(walk),
        cmocka_unit_test(fragment_fields),
        cmocka_unit_test(walk_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
