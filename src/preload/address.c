/*
 * Addresses as a program sees them (sockaddr_in, sockaddr_in6) and as foyer holds them.
 *
 * An AF_INET6 socket sees IPv4 peers as ::ffff:a.b.c.d, which is foyer's own form.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <netinet/in.h>
#include <string.h>

static struct foyer_addr addr_from_v4(struct in_addr in)
{
    uint8_t bytes[4];
    memcpy(bytes, &in.s_addr, 4);
    return foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

int address_parse_program(const struct socket_object *sock, const struct sockaddr *addr,
                          socklen_t size, struct foyer_endpoint *ret_endpoint)
{
    sa_family_t family;
    if (size < sizeof(family) || addr == NULL)
        return -EINVAL;
    memset(ret_endpoint, 0, sizeof(*ret_endpoint));
    memcpy(&family, addr, sizeof(family));
    if (sock->family == AF_INET) {
        struct sockaddr_in in;
        if (size < sizeof(in))
            return -EINVAL;
        memcpy(&in, addr, sizeof(in));
        /* AF_UNSPEC with the wildcard address is taken for AF_INET (bind, in the kernel). */
        if (family != AF_INET && !(family == AF_UNSPEC && in.sin_addr.s_addr == INADDR_ANY))
            return -EAFNOSUPPORT;
        ret_endpoint->addr = addr_from_v4(in.sin_addr);
        ret_endpoint->port = ntohs(in.sin_port);
        return 0;
    }
    if (family == AF_INET && sock->type == SOCK_DGRAM) {
        /* udpv6_sendmsg and the like take the older family on a dual-stack socket. */
        struct sockaddr_in in;
        if (size < sizeof(in))
            return -EINVAL;
        if ((slot_options(sock) & FOYER_SLOT_V6ONLY) != 0)
            return -ENETUNREACH;
        memcpy(&in, addr, sizeof(in));
        ret_endpoint->addr = addr_from_v4(in.sin_addr);
        ret_endpoint->port = ntohs(in.sin_port);
        return 0;
    }
    struct sockaddr_in6 in6;
    if (size < SOCKADDR_IN6_SIZE_MIN)
        return -EINVAL;
    if (family != AF_INET6)
        return -EAFNOSUPPORT;
    memcpy(&in6, addr, SOCKADDR_IN6_SIZE_MIN);
    memcpy(ret_endpoint->addr.bytes, &in6.sin6_addr, 16);
    ret_endpoint->port = ntohs(in6.sin6_port);
    if (foyer_addr_is_v4(&ret_endpoint->addr) && (slot_options(sock) & FOYER_SLOT_V6ONLY) != 0)
        return -ENETUNREACH;
    return 0;
}

void address_store(const struct socket_object *sock, const struct foyer_endpoint *endpoint,
                   struct sockaddr *ret_addr, socklen_t *io_size)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    const void *from;
    socklen_t size;
    if (sock->family == AF_INET) {
        memset(&in, 0, sizeof(in));
        in.sin_family = AF_INET;
        in.sin_port = htons(endpoint->port);
        memcpy(&in.sin_addr, endpoint->addr.bytes + 12, 4);
        from = &in;
        size = sizeof(in);
    } else {
        memset(&in6, 0, sizeof(in6));
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(endpoint->port);
        memcpy(&in6.sin6_addr, endpoint->addr.bytes, 16);
        /* A host has one link; its index there is what a program may give back. */
        if (foyer_addr_is_link_local_v6(&endpoint->addr))
            in6.sin6_scope_id = 1;
        from = &in6;
        size = sizeof(in6);
    }
    if (ret_addr != NULL)
        memcpy(ret_addr, from, *io_size < size ? *io_size : size);
    *io_size = size;
}
