/* What the clients of both DHCPs share: the way in from udp.c, and their end. */
#include "stack/dhcp.h"

#include "wire/dhcp4.h"
#include "wire/dhcp6.h"
#include "wire/udp.h"

/* A server keeps to what an Ethernet frame holds, or to max_size; more is cut and then damaged. */
#define MESSAGE_SIZE_MAX 2048u

bool dhcp_input(struct foyer_host *host, const struct rx *rx, uint16_t dst_port, size_t size,
                foyer_time_ns now)
{
    uint8_t bytes[MESSAGE_SIZE_MAX];
    bool is_v4 = rx->family == 4 && dst_port == WIRE_DHCP4_CLIENT_PORT;
    bool is_v6 = rx->family == 6 && dst_port == WIRE_DHCP6_CLIENT_PORT;

    if (!(is_v4 && host->dhcp4 != NULL) && !(FOYER_WITH_IPV6 && is_v6 && host->dhcp6 != NULL))
        return false;
    size_t copied =
        rx_copy(rx, WIRE_UDP_SIZE, bytes,
                size - WIRE_UDP_SIZE < sizeof(bytes) ? size - WIRE_UDP_SIZE : sizeof(bytes));
    return is_v4 || !FOYER_WITH_IPV6 ? dhcp4_input(host, bytes, copied, now)
                                     : dhcp6_input(host, bytes, copied, now);
}

void dhcp_address_changed(struct foyer_host *host, const struct host_address *address)
{
    if (address->origin == FOYER_ADDRESS_DHCP && foyer_addr_is_v4(&address->addr))
        dhcp4_look(host);
    else if (address->origin == FOYER_ADDRESS_DHCP || address->is_link_local)
        dhcp6_look(host);
}

bool dhcp_copy_name(char *to, size_t capacity, const char *from, size_t size)
{
    if (size > 0 && from[size - 1] == '\0')
        size--; /* RFC 2132 section 2: some servers end names so */
    if (size >= capacity)
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = from[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    memcpy(to, from, size);
    to[size] = '\0';
    return true;
}

void dhcp_finish(struct foyer_host *host)
{
    if (host->dhcp4 != NULL)
        (void)foyer_dhcp4_stop(host, false, host->now_ns);
    if (host->dhcp6 != NULL)
        (void)foyer_dhcp6_stop(host, false, host->now_ns);
}
