/*
 * The socket options of multicast: membership (ip(7), ipv6(7), RFC 3678) and what datagrams to a group
 * are sent with. Members are in the host's stack, so foyerd is asked; the rest is in the slot.
 *
 * A host has two interfaces, lo (1) and its own (2). The stack's membership does not tell them apart.
 * What is sent with the loopback interface chosen stays on the host.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <netinet/in.h>
#include <string.h>

static struct foyer_addr addr4(struct in_addr in)
{
    uint8_t bytes[4];
    memcpy(bytes, &in, 4);
    return foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

static struct foyer_addr addr6(const struct in6_addr *in)
{
    struct foyer_addr addr;
    memcpy(addr.bytes, in, 16);
    return addr;
}

static bool is_interface(int64_t index)
{
    return index == 0 || index == FOYER_INTERFACE_LOOPBACK || index == FOYER_INTERFACE_HOST;
}

static int call(const struct socket_object *sock, struct foyer_request_group *request,
                uint32_t operation, uint32_t *ret_interface)
{
    struct foyer_reply_group reply;
    request->header = (struct foyer_request){
        .type = FOYER_REQUEST_GROUP, .size = sizeof(*request), .id = sock->id};
    request->operation = operation;
    int error = session_call(&request->header, NULL, &reply.header, sizeof(reply), NULL);
    if (error == 0 && ret_interface != NULL)
        *ret_interface = reply.interface;
    return error;
}

/* ---- membership ------------------------------------------------------------------------------ */

static uint32_t operation_of(int name)
{
    switch (name) {
    case IP_ADD_MEMBERSHIP:
    case MCAST_JOIN_GROUP:
        return FOYER_GROUP_JOIN;
    case IP_DROP_MEMBERSHIP:
    case MCAST_LEAVE_GROUP:
        return FOYER_GROUP_LEAVE;
    case IP_ADD_SOURCE_MEMBERSHIP:
    case MCAST_JOIN_SOURCE_GROUP:
        return FOYER_GROUP_JOIN_SOURCE;
    case IP_DROP_SOURCE_MEMBERSHIP:
    case MCAST_LEAVE_SOURCE_GROUP:
        return FOYER_GROUP_LEAVE_SOURCE;
    case IP_BLOCK_SOURCE:
    case MCAST_BLOCK_SOURCE:
        return FOYER_GROUP_BLOCK_SOURCE;
    case IP_UNBLOCK_SOURCE:
    case MCAST_UNBLOCK_SOURCE:
        return FOYER_GROUP_UNBLOCK_SOURCE;
    default:
        return 0;
    }
}

/* IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP: struct ip_mreq, or struct ip_mreqn. */
static int set_member4(struct socket_object *sock, int name, const void *value, socklen_t size)
{
    struct ip_mreqn mreq = {.imr_ifindex = 0};
    struct foyer_request_group request = {.operation = 0};
    if (size < sizeof(struct ip_mreq))
        return -EINVAL;
    memcpy(&mreq, value, size < sizeof(mreq) ? sizeof(struct ip_mreq) : sizeof(mreq));
    request.group = addr4(mreq.imr_multiaddr);
    if (mreq.imr_ifindex == 0)
        request.interface = addr4(mreq.imr_address);
    if (foyer_addr_is_multicast(&request.group) && !is_interface(mreq.imr_ifindex))
        return -ENODEV;
    return call(sock, &request, operation_of(name), NULL);
}

static int set_source4(struct socket_object *sock, int name, const void *value, socklen_t size)
{
    struct ip_mreq_source mreq;
    if (size != sizeof(mreq))
        return -EINVAL;
    memcpy(&mreq, value, sizeof(mreq));
    struct foyer_request_group request = {.group = addr4(mreq.imr_multiaddr),
                                          .source = addr4(mreq.imr_sourceaddr),
                                          .interface = addr4(mreq.imr_interface)};
    return call(sock, &request, operation_of(name), NULL);
}

static int set_member6(struct socket_object *sock, int name, const void *value, socklen_t size)
{
    struct ipv6_mreq mreq;
    if (size < sizeof(mreq))
        return -EINVAL;
    memcpy(&mreq, value, sizeof(mreq));
    struct foyer_request_group request = {.group = addr6(&mreq.ipv6mr_multiaddr)};
    if (foyer_addr_is_v4(&request.group))
        return -EINVAL;
    if (foyer_addr_is_multicast(&request.group) && !is_interface(mreq.ipv6mr_interface))
        return name == IPV6_JOIN_GROUP ? -ENODEV : -EADDRNOTAVAIL;
    return call(sock, &request, name == IPV6_JOIN_GROUP ? FOYER_GROUP_JOIN : FOYER_GROUP_LEAVE,
                NULL);
}

/* -EINVAL: not of the level's family, as Linux says for IPv4; for IPv6 it says EADDRNOTAVAIL. */
static int read_address(const struct sockaddr_storage *storage, int level,
                        struct foyer_addr *ret_addr)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (storage->ss_family != (level == IPPROTO_IP ? AF_INET : AF_INET6))
        return level == IPPROTO_IP ? -EINVAL : -EADDRNOTAVAIL;
    memcpy(&in, storage, sizeof(in));
    memcpy(&in6, storage, sizeof(in6));
    *ret_addr = level == IPPROTO_IP ? addr4(in.sin_addr) : addr6(&in6.sin6_addr);
    return 0;
}

/* RFC 3678's: struct group_req, or struct group_source_req. */
static int set_group(struct socket_object *sock, int level, int name, const void *value,
                     socklen_t size)
{
    struct group_source_req source;
    struct group_req group;
    struct foyer_request_group request = {.operation = 0};
    bool has_source = name != MCAST_JOIN_GROUP && name != MCAST_LEAVE_GROUP;
    if (size < (has_source ? sizeof(source) : sizeof(group)))
        return -EINVAL;
    memcpy(&group, value, sizeof(group));
    int error = read_address(&group.gr_group, level, &request.group);
    if (error == 0 && has_source) {
        memcpy(&source, value, sizeof(source));
        error = read_address(&source.gsr_group, level, &request.group);
        group.gr_interface = source.gsr_interface;
    }
    if (error == 0 && has_source)
        error = read_address(&source.gsr_source, level, &request.source);
    if (error == 0 && !is_interface(group.gr_interface))
        error = -ENODEV;
    return error < 0 ? error : call(sock, &request, operation_of(name), NULL);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* IP_MULTICAST_IF: struct in_addr, struct ip_mreq or struct ip_mreqn. */
static int set_interface4(struct socket_object *sock, const void *value, socklen_t size)
{
    struct ip_mreqn mreq = {.imr_ifindex = 0};
    struct foyer_slot *slot = sock->slot;
    uint32_t index;
    if (sock->type == SOCK_STREAM || size < sizeof(struct in_addr))
        return -EINVAL;
    if (size >= sizeof(struct ip_mreq))
        memcpy(&mreq, value, size < sizeof(mreq) ? sizeof(struct ip_mreq) : sizeof(mreq));
    else
        memcpy(&mreq.imr_address, value, sizeof(mreq.imr_address));
    index = (uint32_t)mreq.imr_ifindex;
    if (!is_interface(mreq.imr_ifindex))
        return -EADDRNOTAVAIL;
    if (index == 0 && mreq.imr_address.s_addr != 0) {
        struct foyer_request_group request = {.interface = addr4(mreq.imr_address)};
        int error = call(sock, &request, FOYER_GROUP_INTERFACE, &index);
        if (error < 0)
            return error;
    }
    slot->multicast_interface = (uint8_t)index;
    memcpy(slot->multicast_addr4, &mreq.imr_address, sizeof(slot->multicast_addr4));
    return 0;
}

static int set_interface6(struct socket_object *sock, int value)
{
    if (sock->type == SOCK_STREAM)
        return -ENOPROTOOPT;
    if (!is_interface(value))
        return -ENODEV;
    sock->slot->multicast_interface = (uint8_t)value;
    return 0;
}

static int set_ttl(struct socket_object *sock, int value, int stream_error)
{
    if (sock->type == SOCK_STREAM)
        return stream_error;
    if (value < -1 || value > 255)
        return -EINVAL;
    sock->slot->multicast_ttl = value == -1 ? 0 : (uint16_t)(value + 1);
    return 0;
}

static int set_loop(struct socket_object *sock, int value)
{
    if (value != 0)
        atomic_fetch_and(&sock->slot->options, ~(uint32_t)FOYER_SLOT_NO_MULTICAST_LOOP);
    else
        atomic_fetch_or(&sock->slot->options, FOYER_SLOT_NO_MULTICAST_LOOP);
    return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static int set4(struct socket_object *sock, int name, const void *value, socklen_t size)
{
    int number = 0, error;
    switch (name) {
    case IP_ADD_MEMBERSHIP:
    case IP_DROP_MEMBERSHIP:
        return sock->type == SOCK_STREAM ? -EPROTO : set_member4(sock, name, value, size);
    case IP_ADD_SOURCE_MEMBERSHIP:
    case IP_DROP_SOURCE_MEMBERSHIP:
    case IP_BLOCK_SOURCE:
    case IP_UNBLOCK_SOURCE:
        return sock->type == SOCK_STREAM ? -EPROTO : set_source4(sock, name, value, size);
    case IP_MULTICAST_IF:
        return set_interface4(sock, value, size);
    case IP_MULTICAST_TTL:
        error = option_read_int(value, size, IPPROTO_IP, &number);
        return error < 0 ? error : set_ttl(sock, number, -EINVAL);
    case IP_MULTICAST_LOOP:
        error = option_read_int(value, size, IPPROTO_IP, &number);
        return error < 0 ? error : set_loop(sock, number);
    default:
        return -ENOPROTOOPT;
    }
}

static int set6(struct socket_object *sock, int name, const void *value, socklen_t size)
{
    int number = 0;
    if (name == IPV6_JOIN_GROUP || name == IPV6_LEAVE_GROUP)
        return sock->type == SOCK_STREAM ? -EPROTO : set_member6(sock, name, value, size);
    if (name != IPV6_MULTICAST_IF && name != IPV6_MULTICAST_HOPS && name != IPV6_MULTICAST_LOOP)
        return -ENOPROTOOPT;
    int error = option_read_int(value, size, IPPROTO_IPV6, &number);
    if (error < 0)
        return error;
    switch (name) {
    case IPV6_MULTICAST_IF:
        return set_interface6(sock, number);
    case IPV6_MULTICAST_HOPS:
        return set_ttl(sock, number, -ENOPROTOOPT);
    default:
        return number != 0 && number != 1 ? -EINVAL : set_loop(sock, number);
    }
}

bool multicast_set(struct socket_object *sock, int level, int name, const void *value,
                   socklen_t size, int *ret_error)
{
    *ret_error = -ENOPROTOOPT;
    if (level != IPPROTO_IP && level != IPPROTO_IPV6)
        return false;
    if (name >= MCAST_JOIN_GROUP && name <= MCAST_LEAVE_SOURCE_GROUP)
        *ret_error =
            sock->type == SOCK_STREAM ? -EPROTO : set_group(sock, level, name, value, size);
    else
        *ret_error =
            level == IPPROTO_IP ? set4(sock, name, value, size) : set6(sock, name, value, size);
    return *ret_error != -ENOPROTOOPT;
}

bool multicast_get(const struct socket_object *sock, int level, int name, int *ret_value)
{
    const struct foyer_slot *slot = sock->slot;
    if (level == IPPROTO_IP && name == IP_MULTICAST_IF)
        memcpy(ret_value, slot->multicast_addr4, sizeof(*ret_value));
    else if (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_IF)
        *ret_value = slot->multicast_interface;
    else if ((level == IPPROTO_IP && name == IP_MULTICAST_TTL) ||
             (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_HOPS))
        *ret_value = slot->multicast_ttl == 0 ? 1 : slot->multicast_ttl - 1;
    else if ((level == IPPROTO_IP && name == IP_MULTICAST_LOOP) ||
             (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_LOOP))
        *ret_value = (slot_options(sock) & FOYER_SLOT_NO_MULTICAST_LOOP) == 0;
    else
        return false;
    return true;
}
