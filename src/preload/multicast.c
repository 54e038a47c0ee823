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
#include <stddef.h>
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

/* ---- whole filters (RFC 3678) --------------------------------------------------------------- */

static int call_filter(const struct socket_object *sock, struct foyer_request_filter *request,
                       struct foyer_reply_filter *ret_reply)
{
    if (sock->type == SOCK_STREAM)
        return request->is_set != 0 ? -EINVAL : -EADDRNOTAVAIL; /* never a member */
    request->header = (struct foyer_request){
        .type = FOYER_REQUEST_FILTER, .size = sizeof(*request), .id = sock->id};
    return session_call(&request->header, NULL, &ret_reply->header, sizeof(*ret_reply), NULL);
}

static int set_mode(struct foyer_request_filter *request, uint32_t mode)
{
    if (foyer_addr_is_multicast(&request->group) && mode != MCAST_INCLUDE && mode != MCAST_EXCLUDE)
        return -EINVAL;
    request->is_set = 1;
    request->is_exclude = mode == MCAST_EXCLUDE;
    return 0;
}

/* IP_MSFILTER: struct ip_msfilter. */
static int set_filter4(const struct socket_object *sock, const void *value, socklen_t size)
{
    const size_t head_size = offsetof(struct ip_msfilter, imsf_slist);
    struct ip_msfilter head;
    struct foyer_reply_filter reply;
    if (size < head_size)
        return -EINVAL;
    memcpy(&head, value, head_size);
    if (head.imsf_numsrc > FOYER_FILTER_SOURCES_MAX)
        return -ENOBUFS;
    if (size < IP_MSFILTER_SIZE(head.imsf_numsrc))
        return -EINVAL;
    struct foyer_request_filter request = {.group = addr4(head.imsf_multiaddr),
                                           .interface = addr4(head.imsf_interface),
                                           .source_count = head.imsf_numsrc};
    for (uint32_t i = 0; i < head.imsf_numsrc; i++) {
        struct in_addr source;
        memcpy(&source, (const char *)value + IP_MSFILTER_SIZE(i), sizeof(source));
        request.sources[i] = addr4(source);
    }
    int error = set_mode(&request, head.imsf_fmode);
    return error < 0 ? error : call_filter(sock, &request, &reply);
}

static struct in_addr in_of(const struct foyer_addr *addr)
{
    struct in_addr in;
    memcpy(&in, &addr->bytes[12], sizeof(in));
    return in;
}

/* The caller's imsf_numsrc says for how many there is room, not its size: so does Linux. */
static int get_filter4(const struct socket_object *sock, void *ret_value, socklen_t *io_size)
{
    const size_t head_size = offsetof(struct ip_msfilter, imsf_slist);
    struct ip_msfilter head;
    struct foyer_reply_filter reply;
    if (*io_size < head_size)
        return -EINVAL;
    memcpy(&head, ret_value, head_size);
    struct foyer_request_filter request = {.group = addr4(head.imsf_multiaddr),
                                           .interface = addr4(head.imsf_interface)};
    int error = call_filter(sock, &request, &reply);
    if (error < 0)
        return error;
    uint32_t room = head.imsf_numsrc, count = reply.source_count;
    head.imsf_fmode = reply.is_exclude != 0 ? MCAST_EXCLUDE : MCAST_INCLUDE;
    head.imsf_numsrc = count;
    memcpy(ret_value, &head, head_size);
    count = count < room ? count : room;
    for (uint32_t i = 0; i < count; i++) {
        struct in_addr source = in_of(&reply.sources[i]);
        memcpy((char *)ret_value + IP_MSFILTER_SIZE(i), &source, sizeof(source));
    }
    *io_size = (socklen_t)IP_MSFILTER_SIZE(count);
    return 0;
}

/* For IPv6 Linux does not look at the families here. */
static int read_filter_address(const struct sockaddr_storage *storage, int level,
                               struct foyer_addr *ret_addr)
{
    struct sockaddr_in6 in6;
    if (level == IPPROTO_IP)
        return read_address(storage, level, ret_addr) < 0 ? -EADDRNOTAVAIL : 0;
    memcpy(&in6, storage, sizeof(in6));
    *ret_addr = addr6(&in6.sin6_addr);
    return 0;
}

/* MCAST_MSFILTER: struct group_filter. */
static int set_group_filter(const struct socket_object *sock, int level, const void *value,
                            socklen_t size)
{
    const size_t head_size = offsetof(struct group_filter, gf_slist);
    struct group_filter head;
    struct foyer_request_filter request = {.is_set = 1};
    struct foyer_reply_filter reply;
    if (size < head_size)
        return -EINVAL;
    memcpy(&head, value, head_size);
    if (head.gf_numsrc > FOYER_FILTER_SOURCES_MAX)
        return -ENOBUFS;
    if (size < GROUP_FILTER_SIZE(head.gf_numsrc))
        return -EINVAL;
    request.source_count = head.gf_numsrc;
    int error = read_filter_address(&head.gf_group, level, &request.group);
    for (uint32_t i = 0; i < head.gf_numsrc && error == 0; i++) {
        struct sockaddr_storage source;
        memcpy(&source, (const char *)value + GROUP_FILTER_SIZE(i), sizeof(source));
        error = read_filter_address(&source, level, &request.sources[i]);
    }
    if (error == 0)
        error = set_mode(&request, head.gf_fmode);
    if (error == 0 && !is_interface(head.gf_interface))
        error = -ENODEV;
    return error < 0 ? error : call_filter(sock, &request, &reply);
}

static void write_address(const struct foyer_addr *addr, int level,
                          struct sockaddr_storage *ret_storage)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = in_of(addr)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memset(ret_storage, 0, sizeof(*ret_storage));
    memcpy(&in6.sin6_addr, addr->bytes, sizeof(in6.sin6_addr));
    if (level == IPPROTO_IP)
        memcpy(ret_storage, &in, sizeof(in));
    else
        memcpy(ret_storage, &in6, sizeof(in6));
}

static int get_group_filter(const struct socket_object *sock, int level, void *ret_value,
                            socklen_t *io_size)
{
    const size_t head_size = offsetof(struct group_filter, gf_slist);
    struct group_filter head;
    struct foyer_request_filter request = {.is_set = 0};
    struct foyer_reply_filter reply;
    if (*io_size < head_size)
        return -EINVAL;
    memcpy(&head, ret_value, head_size);
    if (read_address(&head.gf_group, level, &request.group) < 0)
        return -EADDRNOTAVAIL;
    int error = is_interface(head.gf_interface) ? call_filter(sock, &request, &reply) : -ENODEV;
    if (error < 0)
        return error;
    uint32_t room = head.gf_numsrc, count = reply.source_count;
    head.gf_fmode = reply.is_exclude != 0 ? MCAST_EXCLUDE : MCAST_INCLUDE;
    head.gf_numsrc = count;
    memcpy(ret_value, &head, head_size);
    count = count < room ? count : room;
    for (uint32_t i = 0; i < count; i++) {
        struct sockaddr_storage source;
        write_address(&reply.sources[i], level, &source);
        memcpy((char *)ret_value + GROUP_FILTER_SIZE(i), &source, sizeof(source));
    }
    *io_size = (socklen_t)GROUP_FILTER_SIZE(count);
    return 0;
}

bool multicast_get_filter(const struct socket_object *sock, int level, int name, void *ret_value,
                          socklen_t *io_size, int *ret_error)
{
    if (level == IPPROTO_IP && name == IP_MSFILTER)
        *ret_error = get_filter4(sock, ret_value, io_size);
    else if ((level == IPPROTO_IP || level == IPPROTO_IPV6) && name == MCAST_MSFILTER)
        *ret_error = get_group_filter(sock, level, ret_value, io_size);
    else
        return false;
    return true;
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

/* ---- receiving without having joined -------------------------------------------------------- */

#define NOT_ALL_V4 1u
#define NOT_ALL_V6 2u

static int set_all(struct socket_object *sock, uint8_t bit, bool is_on)
{
    uint8_t not_all = sock->slot->multicast_not_all;
    sock->slot->multicast_not_all = (uint8_t)(is_on ? not_all & ~bit : not_all | bit);
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
    case IP_MSFILTER:
        return set_filter4(sock, value, size);
    case IP_MULTICAST_IF:
        return set_interface4(sock, value, size);
    case IP_MULTICAST_ALL:
        error = option_read_int(value, size, IPPROTO_IP, &number);
        if (error == 0 && number != 0 && number != 1)
            error = -EINVAL;
        return error < 0 ? error : set_all(sock, NOT_ALL_V4, number != 0);
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
    if (name != IPV6_MULTICAST_IF && name != IPV6_MULTICAST_HOPS && name != IPV6_MULTICAST_LOOP &&
        name != IPV6_MULTICAST_ALL)
        return -ENOPROTOOPT;
    int error = option_read_int(value, size, IPPROTO_IPV6, &number);
    if (error < 0)
        return error;
    switch (name) {
    case IPV6_MULTICAST_IF:
        return set_interface6(sock, number);
    case IPV6_MULTICAST_HOPS:
        return set_ttl(sock, number, -ENOPROTOOPT);
    case IPV6_MULTICAST_ALL:
        return set_all(sock, NOT_ALL_V6, number != 0);
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
    else if (name == MCAST_MSFILTER)
        *ret_error = set_group_filter(sock, level, value, size);
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
    else if (level == IPPROTO_IP && name == IP_MULTICAST_ALL)
        *ret_value = (slot->multicast_not_all & NOT_ALL_V4) == 0;
    else if (level == IPPROTO_IPV6 && name == IPV6_MULTICAST_ALL)
        *ret_value = (slot->multicast_not_all & NOT_ALL_V6) == 0;
    else
        return false;
    return true;
}
