#include "daemon/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

/* Digits only, and the rest of the text. */
static bool parse_port(const char **text, uint16_t *ret_port)
{
    uint32_t value = 0;
    const char *at = *text;
    for (; *at >= '0' && *at <= '9' && value <= UINT16_MAX; at++)
        value = value * 10 + (uint32_t)(*at - '0');
    if (value == 0 || value > UINT16_MAX)
        return false;
    *text = at;
    *ret_port = (uint16_t)value;
    return true;
}

bool port_range_parse(const char *text, uint16_t *ret_first, uint16_t *ret_last)
{
    uint16_t first, last;
    if (!parse_port(&text, &first) || *text++ != '-' || !parse_port(&text, &last) ||
        *text != '\0' || first > last)
        return false;
    *ret_first = first;
    *ret_last = last;
    return true;
}

bool address_parse(const char *text, struct foyer_addr *ret_addr)
{
    uint8_t bytes[4];
    if (inet_pton(AF_INET, text, bytes) == 1) {
        *ret_addr = foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
        return true;
    }
    return inet_pton(AF_INET6, text, ret_addr->bytes) == 1;
}

void address_format(const struct foyer_addr *addr, char ret_text[NETWORK_TEXT_SIZE])
{
    if (foyer_addr_is_v4(addr))
        inet_ntop(AF_INET, addr->bytes + 12, ret_text, NETWORK_TEXT_SIZE);
    else
        inet_ntop(AF_INET6, addr->bytes, ret_text, NETWORK_TEXT_SIZE);
}

void endpoint_format(const struct foyer_endpoint *endpoint, char ret_text[NETWORK_TEXT_SIZE])
{
    char text[INET6_ADDRSTRLEN];
    if (foyer_addr_is_v4(&endpoint->addr)) {
        inet_ntop(AF_INET, endpoint->addr.bytes + 12, text, sizeof(text));
        snprintf(ret_text, NETWORK_TEXT_SIZE, "%s:%u", text, endpoint->port);
    } else {
        inet_ntop(AF_INET6, endpoint->addr.bytes, text, sizeof(text));
        snprintf(ret_text, NETWORK_TEXT_SIZE, "[%s]:%u", text, endpoint->port);
    }
}

/* How many of the 128 bits are the prefix: IPv4 addresses are held mapped. */
static unsigned prefix_bits(const struct network *network)
{
    return network->length + (foyer_addr_is_v4(&network->prefix) ? 96u : 0u);
}

static bool bit_is_set(const struct foyer_addr *addr, unsigned bit)
{
    return (addr->bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
}

int network_parse(const char *text, bool is_v4, struct network *ret_network)
{
    char address[INET6_ADDRSTRLEN];
    struct network network;
    char *end;
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof(address))
        return -EINVAL;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    unsigned long length = strtoul(slash + 1, &end, 10);
    if (slash[1] < '1' || slash[1] > '9' || *end != '\0')
        return -EINVAL;
    if (!address_parse(address, &network.prefix) || foyer_addr_is_v4(&network.prefix) != is_v4)
        return -EINVAL;
    if (length < (is_v4 ? 8u : 64u) || length > (is_v4 ? 28u : 112u))
        return -EINVAL;
    network.length = (uint8_t)length;
    for (unsigned bit = prefix_bits(&network); bit < 128; bit++) {
        if (bit_is_set(&network.prefix, bit))
            return -EINVAL;
    }
    if (foyer_addr_is_loopback(&network.prefix) || foyer_addr_is_multicast(&network.prefix) ||
        foyer_addr_is_link_local_v6(&network.prefix) || foyer_addr_is_any(&network.prefix))
        return -EINVAL;
    *ret_network = network;
    return 0;
}

void network_format(const struct network *network, char ret_text[NETWORK_TEXT_SIZE])
{
    char text[NETWORK_TEXT_SIZE];
    address_format(&network->prefix, text);
    snprintf(ret_text, NETWORK_TEXT_SIZE, "%.46s/%u", text, network->length);
}

uint32_t network_number_max(const struct network *network)
{
    unsigned bits = 128 - prefix_bits(network);
    uint32_t all_ones = bits >= 32 ? UINT32_MAX : (1u << bits) - 1;
    return all_ones - 1;
}

struct foyer_addr network_address(const struct network *network, uint32_t number)
{
    struct foyer_addr addr = network->prefix;
    store_be32(addr.bytes + 12, load_be32(addr.bytes + 12) | number);
    return addr;
}

bool network_contains(const struct network *network, const struct foyer_addr *addr)
{
    for (unsigned bit = 0; bit < prefix_bits(network); bit++) {
        if (bit_is_set(addr, bit) != bit_is_set(&network->prefix, bit))
            return false;
    }
    return true;
}

void network_mac(uint32_t building, uint32_t number, uint8_t ret_mac[6])
{
    ret_mac[0] = 0x02; /* IEEE 802 section 8.4: locally administered, individual */
    ret_mac[1] = (uint8_t)(building >> 8);
    ret_mac[2] = (uint8_t)building;
    ret_mac[3] = (uint8_t)(number >> 16);
    ret_mac[4] = (uint8_t)(number >> 8);
    ret_mac[5] = (uint8_t)number;
}
