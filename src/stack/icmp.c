/*
 * ICMP (RFC 792, RFC 1122 section 3.2.2) and ICMPv6 (RFC 4443): echo, errors out, errors in.
 *
 * An error that comes in is believed only as far as it can be checked: it must quote a packet
 * that this host can have sent (source, 4-tuple of a living socket), and TCP looks at the quoted
 * sequence number besides (RFC 5927). Source quench (RFC 6633) is ignored.
 */
#include <errno.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "stack/group.h"
#include "stack/ip.h"
#include "wire/icmp.h"
#include "wire/membership.h"
#include "wire/udp.h"

#define TOKENS_PER_S 1000u /* errors of this host per second ... */
#define TOKENS_MAX 50u     /* ... and at once, as Linux has it */
#define QUOTE_SIZE_V4 (576u - WIRE_IPV4_SIZE - WIRE_ICMP_SIZE)   /* RFC 1812 section 4.3.2.3 */
#define QUOTE_SIZE_V6 (1280u - WIRE_IPV6_SIZE - WIRE_ICMP6_SIZE) /* RFC 4443 section 2.4 (c) */

/* ---- out ----------------------------------------------------------------------------------------- */

bool icmp_take_token(struct foyer_host *host, foyer_time_ns now)
{
    foyer_time_ns per_token = FOYER_NS_PER_S / TOKENS_PER_S;
    uint64_t gained = (now - host->icmp_refilled_ns) / per_token;
    if (gained >= TOKENS_MAX) {
        host->icmp_tokens = TOKENS_MAX;
        host->icmp_refilled_ns = now;
    } else if (gained > 0) {
        uint32_t tokens = host->icmp_tokens + (uint32_t)gained;
        host->icmp_tokens = tokens < TOKENS_MAX ? tokens : TOKENS_MAX;
        host->icmp_refilled_ns += gained * per_token;
    }
    if (host->icmp_tokens == 0)
        return false;
    host->icmp_tokens--;
    /*
     * A global limit that counts exactly tells an observer how many errors others caused, and
     * so which port is open to whom (SAD DNS, CVE-2020-25705). So now and then one costs more.
     */
    if (host->icmp_tokens > 0 && (host_random(host) & 7) == 0)
        host->icmp_tokens--;
    return true;
}

/* May an error be sent in answer to this packet (RFC 1122 section 3.2.2, RFC 4443 2.4 (e))? */
static bool may_answer(const struct foyer_host *host, const struct rx *rx, uint8_t type,
                       uint8_t code)
{
    if (foyer_addr_is_any(&rx->src) || foyer_addr_is_multicast(&rx->src) ||
        ip_is_broadcast(host, &rx->src) || ip_is_broadcast(host, &rx->dst))
        return false;
    if (rx->family == 4)
        return !foyer_addr_is_multicast(&rx->dst) &&
               !(rx->protocol == WIRE_PROTOCOL_ICMP &&
                 (rx->transport_contiguous == 0 || wire_icmp_is_error(rx->transport[0])));
    /* (e.3): multicast only for parameter problem code 2. */
    if (foyer_addr_is_multicast(&rx->dst) && !(type == WIRE_ICMP6_PARAMETER_PROBLEM && code == 2))
        return false;
    return !(rx->protocol == WIRE_PROTOCOL_ICMP6 &&
             (rx->transport_contiguous == 0 || wire_icmp6_is_error(rx->transport[0]) ||
              rx->transport[0] == WIRE_ICMP6_REDIRECT));
}

/* The IP header's bytes before rx->transport; of a reassembled packet they are somewhere else. */
static size_t header_before_transport(const struct rx *rx)
{
    uintptr_t distance = (uintptr_t)rx->transport - (uintptr_t)rx->ip_header;
    return distance < rx->ip_contiguous ? distance : 0;
}

/* The packet may lie in several pieces, as what a socket of this very host has sent does. */
static size_t quotable_size(const struct rx *rx)
{
    size_t whole = header_before_transport(rx) + rx->size;
    bool is_in_pieces = rx->transport_contiguous < rx->size && header_before_transport(rx) > 0;
    return is_in_pieces && whole > rx->ip_contiguous ? whole : rx->ip_contiguous;
}

static void put_quote(const struct rx *rx, uint8_t *bytes, size_t size)
{
    size_t first = size < rx->ip_contiguous ? size : rx->ip_contiguous;
    memcpy(bytes, rx->ip_header, first);
    if (size > first)
        rx_copy(rx, first - header_before_transport(rx), bytes + first, size - first);
}

void icmp_send_error(struct foyer_host *host, const struct rx *rx, uint8_t type, uint8_t code,
                     uint32_t word, foyer_time_ns now)
{
    bool is_v4 = rx->family == 4;
    struct foyer_addr src = rx->dst;

    if (!may_answer(host, rx, type, code))
        return;
    if (!icmp_take_token(host, now)) {
        host->stats.icmp_out_limited++;
        return;
    }
    if (foyer_addr_is_multicast(&src) && !ip_choose_source(host, &rx->src, &src))
        return;
    size_t quote_max = is_v4 ? QUOTE_SIZE_V4 : QUOTE_SIZE_V6;
    size_t quote_size = quotable_size(rx) < quote_max ? quotable_size(rx) : quote_max;
    struct control *control = control_push(host, CONTROL_IP, WIRE_ICMP_SIZE + quote_size);
    if (control == NULL) {
        host->stats.out_control_full++;
        return;
    }
    control->protocol = is_v4 ? WIRE_PROTOCOL_ICMP : WIRE_PROTOCOL_ICMP6;
    control->src = src;
    control->dst = rx->src;
    control->ttl = IP_TTL_DEFAULT;
    uint8_t *bytes = control_bytes(control);
    bytes[0] = type;
    bytes[1] = code;
    store_be16(bytes + 2, 0);
    store_be32(bytes + 4, word);
    put_quote(rx, bytes + WIRE_ICMP_SIZE, quote_size);
    host->stats.icmp_out++;
}

void icmp_send_unreachable(struct foyer_host *host, const struct rx *rx, bool is_port,
                           foyer_time_ns now)
{
    if (rx->family == 4)
        icmp_send_error(host, rx, WIRE_ICMP_UNREACHABLE,
                        is_port ? WIRE_ICMP_UNREACHABLE_PORT : WIRE_ICMP_UNREACHABLE_HOST, 0, now);
    else
        icmp_send_error(host, rx, WIRE_ICMP6_UNREACHABLE,
                        is_port ? WIRE_ICMP6_UNREACHABLE_PORT : WIRE_ICMP6_UNREACHABLE_ADDRESS, 0,
                        now);
}

/* RFC 1122 section 3.2.2.6, RFC 4443 section 4.2: the data goes back whole. */
static void send_echo_reply(struct foyer_host *host, const struct rx *rx, uint8_t type)
{
    struct foyer_addr src = rx->dst;
    if (foyer_addr_is_multicast(&src) && !ip_choose_source(host, &rx->src, &src))
        return;
    struct control *control = control_push(host, CONTROL_IP, rx->size);
    if (control == NULL) {
        host->stats.out_control_full++;
        return;
    }
    control->protocol = rx->protocol;
    control->src = src;
    control->dst = rx->src;
    control->ttl = IP_TTL_DEFAULT;
    control->tos = rx->tos;
    uint8_t *bytes = control_bytes(control);
    size_t at = 0;
    for (unsigned i = 0; i < rx->payload_count; i++) {
        memcpy(bytes + at, rx->payload[i].base, rx->payload[i].size);
        at += rx->payload[i].size;
    }
    bytes[0] = type;
    store_be16(bytes + 2, 0);
    host->stats.icmp_out++;
}

/* ---- errors in ----------------------------------------------------------------------------------------- */

/* The ports of the quoted transport header say which socket it was. */
static void deliver_error(struct foyer_host *host, const struct rx *rx, struct icmp_error *error,
                          uint8_t protocol, const struct foyer_addr *quoted_src,
                          const struct foyer_addr *quoted_dst, foyer_time_ns now)
{
    /* An error goes to whom it quotes; so nobody outside can speak of loopback connections. */
    if (error->size < 8 || !foyer_addr_eq(quoted_src, &rx->dst))
        return;
    struct foyer_endpoint local = {*quoted_src, load_be16(error->transport)};
    struct foyer_endpoint remote = {*quoted_dst, load_be16(error->transport + 2)};
    if (FOYER_WITH_TCP && protocol == WIRE_PROTOCOL_TCP) {
        struct sock *sock = ports_find_connected(host, FOYER_TCP, &local, &remote);
        if (sock != NULL && sock->tcb != NULL) {
            error->is_hard = true; /* as Linux: an unestablished connection ends with any */
            tcp_icmp_error(host, sock, error, now);
            return;
        }
        struct request *request = request_find(host, &local, &remote);
        if (request != NULL)
            request_icmp_error(host, request, error);
    } else if (FOYER_WITH_UDP && protocol == WIRE_PROTOCOL_UDP) {
        struct sock *sock = ports_find_connected(host, FOYER_UDP, &local, &remote);
        if (sock == NULL)
            sock = ports_find_bound(host, FOYER_UDP, &local, &remote);
        if (sock == NULL)
            return;
        if (error->mtu > 0)
            ip_learn_mtu(host, quoted_dst, error->mtu, now);
        udp_icmp_error(host, sock, error, &remote);
    }
}

struct errno_entry {
    int error;
    bool is_hard;
};

/* By the code of destination unreachable; hard as in RFC 1122 sections 3.2.2.1 and 4.2.3.9. */
static const struct errno_entry unreachable_v4[] = {
    {-ENETUNREACH, false},  {-EHOSTUNREACH, false}, {-ENOPROTOOPT, true},  {-ECONNREFUSED, true},
    {-EMSGSIZE, false},     {-EOPNOTSUPP, false},   {-ENETUNREACH, true},  {-EHOSTDOWN, true},
    {-ENONET, true},        {-ENETUNREACH, true},   {-EHOSTUNREACH, true}, {-ENETUNREACH, false},
    {-EHOSTUNREACH, false}, {-EHOSTUNREACH, true},  {-EHOSTUNREACH, true}, {-EHOSTUNREACH, true},
};

static const struct errno_entry unreachable_v6[] = {
    {-ENETUNREACH, false}, {-EACCES, true}, {-EHOSTUNREACH, false}, {-EHOSTUNREACH, false},
    {-ECONNREFUSED, true}, {-EACCES, true}, {-EACCES, true},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* RFC 1191 section 7: what a router that does not say it may have meant. */
static uint16_t plateau_below(uint16_t size)
{
    static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 576};
    for (size_t i = 0; i < COUNT_OF(plateaus); i++) {
        if (plateaus[i] < size)
            return plateaus[i];
    }
    return 576;
}

/* [RFC1122 3.2.2.4a 3.2.2.5a] */
static void error4_input(struct foyer_host *host, const struct rx *rx, const struct wire_icmp *icmp,
                         foyer_time_ns now)
{
    const uint8_t *quote = rx->transport + WIRE_ICMP_SIZE;
    size_t size = rx->transport_contiguous - WIRE_ICMP_SIZE;
    struct icmp_error error = {
        .error = -EHOSTUNREACH, .type = icmp->type, .code = icmp->code, .offender = rx->src};
    struct wire_ipv4 ip;

    int header_size = wire_ipv4_parse_quoted(quote, size, &ip);
    if (header_size < 0 || ip.fragment_offset != 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (icmp->type == WIRE_ICMP_PARAMETER_PROBLEM) {
        error.error = -EPROTO;
        error.is_hard = true;
    } else if (icmp->type == WIRE_ICMP_UNREACHABLE) {
        if (icmp->code >= COUNT_OF(unreachable_v4))
            return;
        error.error = unreachable_v4[icmp->code].error;
        error.is_hard = unreachable_v4[icmp->code].is_hard;
        if (icmp->code == WIRE_ICMP_UNREACHABLE_FRAG_NEEDED)
            error.mtu = icmp->mtu != 0 ? icmp->mtu : plateau_below(ip.total_size);
    }
    error.transport = quote + header_size;
    error.size = size - (size_t)header_size;
    deliver_error(host, rx, &error, ip.protocol, &ip.src, &ip.dst, now);
}

static void error6_input(struct foyer_host *host, const struct rx *rx,
                         const struct wire_icmp6 *icmp, foyer_time_ns now)
{
    const uint8_t *quote = rx->transport + WIRE_ICMP6_SIZE;
    size_t size = rx->transport_contiguous - WIRE_ICMP6_SIZE;
    struct icmp_error error = {
        .error = -EHOSTUNREACH, .type = icmp->type, .code = icmp->code, .offender = rx->src};
    struct wire_ipv6_problem problem;
    struct wire_ipv6_chain chain;
    struct wire_ipv6 ip;

    if (wire_ipv6_parse_quoted(quote, size, &ip) < 0 ||
        wire_ipv6_walk(quote, size, &ip, &chain, &problem) < 0 || chain.fragment_offset != 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (icmp->type == WIRE_ICMP6_PACKET_TOO_BIG) {
        /* RFC 8201 section 4: below 1280 MUST be discarded. */
        if (icmp->mtu < IP_MTU_MIN_V6)
            return;
        error.error = -EMSGSIZE;
        error.mtu = (uint16_t)(icmp->mtu < 65535 ? icmp->mtu : 65535);
    } else if (icmp->type == WIRE_ICMP6_PARAMETER_PROBLEM) {
        error.error = -EPROTO;
        error.is_hard = true;
    } else if (icmp->type == WIRE_ICMP6_UNREACHABLE) {
        if (icmp->code >= COUNT_OF(unreachable_v6))
            return;
        error.error = unreachable_v6[icmp->code].error;
        error.is_hard = unreachable_v6[icmp->code].is_hard;
    }
    error.transport = quote + WIRE_IPV6_SIZE + chain.size;
    error.size = size - WIRE_IPV6_SIZE - chain.size;
    deliver_error(host, rx, &error, chain.protocol, &ip.src, &ip.dst, now);
}

/* ---- in -------------------------------------------------------------------------------------------------- */

static bool is_checksum_right(const struct rx *rx)
{
    if (rx->checksum_valid)
        return true;
    if (rx->family == 6)
        return rx_checksum_ok(rx); /* RFC 4443 section 2.3: with the pseudo-header */
    struct checksum sum;
    checksum_init(&sum);
    for (unsigned i = 0; i < rx->payload_count; i++)
        checksum_add(&sum, rx->payload[i].base, rx->payload[i].size);
    return checksum_finish(&sum) == 0;
}

void icmp4_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now)
{
    struct wire_icmp icmp;
    if (wire_icmp_parse(rx->transport, rx->transport_contiguous, &icmp) < 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (!is_checksum_right(rx)) {
        host->stats.in_dropped_checksum++;
        return;
    }
    host->stats.icmp_in++;
    switch (icmp.type) {
    case WIRE_ICMP_ECHO:
        /* RFC 1122 section 3.2.2.6: to a broadcast MAY be discarded, and serves only attacks. */
        if (!foyer_addr_is_multicast(&rx->dst) && !ip_is_broadcast(host, &rx->dst))
            send_echo_reply(host, rx, WIRE_ICMP_ECHO_REPLY);
        break;
    case WIRE_ICMP_REDIRECT:
        redirect4_input(host, rx);
        break;
    case WIRE_ICMP_UNREACHABLE:
    case WIRE_ICMP_TIME_EXCEEDED:
    case WIRE_ICMP_PARAMETER_PROBLEM:
        error4_input(host, rx, &icmp, now);
        break;
    default:
        break;
    }
}

void icmp6_input(struct foyer_host *host, const struct rx *rx, foyer_time_ns now)
{
    struct wire_icmp6 icmp;
    if (wire_icmp6_parse(rx->transport, rx->transport_contiguous, &icmp) < 0) {
        host->stats.in_dropped_malformed++;
        return;
    }
    if (!is_checksum_right(rx)) {
        host->stats.in_dropped_checksum++;
        return;
    }
    host->stats.icmp_in++;
    switch (icmp.type) {
    case WIRE_ICMP6_ECHO:
        if (!foyer_addr_is_any(&rx->src))
            send_echo_reply(host, rx, WIRE_ICMP6_ECHO_REPLY);
        break;
    case WIRE_ICMP6_UNREACHABLE:
    case WIRE_ICMP6_PACKET_TOO_BIG:
    case WIRE_ICMP6_TIME_EXCEEDED:
    case WIRE_ICMP6_PARAMETER_PROBLEM:
        error6_input(host, rx, &icmp, now);
        break;
    case WIRE_ICMP6_ROUTER_SOLICITATION:
    case WIRE_ICMP6_ROUTER_ADVERTISEMENT:
    case WIRE_ICMP6_NEIGHBOUR_SOLICITATION:
    case WIRE_ICMP6_NEIGHBOUR_ADVERTISEMENT:
    case WIRE_ICMP6_REDIRECT:
        ndp_input(host, rx, rx->transport, rx->size, now);
        break;
    case WIRE_MLD_QUERY:
    case WIRE_MLD_REPORT_V1:
        if (FOYER_WITH_MULTICAST)
            mld_input(host, rx, now);
        break;
    default:
        break;
    }
}
