#include "daemon/group.h"

#include <errno.h>

#include "daemon/daemon.h"

/* The one that has the address; 0: none. */
static uint32_t interface_of(const struct psocket *psocket, const struct foyer_addr *addr)
{
    if (foyer_addr_is_loopback(addr))
        return FOYER_INTERFACE_LOOPBACK;
    return foyer_host_has_address(psocket->host->stack, addr) ? FOYER_INTERFACE_HOST : 0;
}

/* IPV6_JOIN_GROUP leaves it out, IP_ADD_MEMBERSHIP may. */
static bool has_interface(const struct psocket *psocket, const struct foyer_addr *addr)
{
    return foyer_addr_is_any(addr) || interface_of(psocket, addr) != 0;
}

static int change(struct psocket *psocket, const struct foyer_request_group *request)
{
    struct foyer_host *stack = psocket->host->stack;
    const struct foyer_addr *group = &request->group, *source = &request->source;
    foyer_time_ns now = psocket->daemon->loop.now_ns;
    switch (request->operation) {
    case FOYER_GROUP_JOIN:
        return foyer_socket_join_group(stack, psocket->stack, group, now);
    case FOYER_GROUP_LEAVE:
        return foyer_socket_leave_group(stack, psocket->stack, group, now);
    case FOYER_GROUP_JOIN_SOURCE:
        return foyer_socket_join_source(stack, psocket->stack, group, source, now);
    case FOYER_GROUP_LEAVE_SOURCE:
        return foyer_socket_leave_source(stack, psocket->stack, group, source, now);
    case FOYER_GROUP_BLOCK_SOURCE:
        return foyer_socket_block_source(stack, psocket->stack, group, source, now);
    default:
        return foyer_socket_unblock_source(stack, psocket->stack, group, source, now);
    }
}

int group_request(struct psocket *psocket, const struct foyer_request_group *request,
                  struct foyer_reply_group *reply)
{
    reply->interface = interface_of(psocket, &request->interface);
    if (request->operation == FOYER_GROUP_INTERFACE)
        return reply->interface == 0 ? EADDRNOTAVAIL : 0;
    if (foyer_addr_is_multicast(&request->group) && !has_interface(psocket, &request->interface))
        return ENODEV;
    int error = change(psocket, request);
    building_host_touch(psocket->host); /* routers are told */
    return -error;
}

/* ---- whole filters (RFC 3678) --------------------------------------------------------------------- */

_Static_assert(FOYER_FILTER_SOURCES_MAX == FOYER_GROUP_SOURCES_MAX,
               "the reply holds what there is");

static int get_filter(struct psocket *psocket, const struct foyer_addr *group,
                      struct foyer_reply_filter *reply)
{
    enum foyer_filter_mode mode = FOYER_FILTER_INCLUDE;
    int count = foyer_socket_source_filter(psocket->host->stack, psocket->stack, group, &mode,
                                           reply->sources, FOYER_FILTER_SOURCES_MAX);
    if (count < 0)
        return -count;
    reply->is_exclude = mode == FOYER_FILTER_EXCLUDE;
    reply->source_count = (uint32_t)count;
    return 0;
}

/* As on Linux only for members, and INCLUDE of nothing leaves. */
static int set_filter(struct psocket *psocket, const struct foyer_request_filter *request,
                      struct foyer_reply_filter *reply)
{
    struct foyer_host *stack = psocket->host->stack;
    foyer_time_ns now = psocket->daemon->loop.now_ns;
    bool leaves = !request->is_exclude && request->source_count == 0;
    int error = leaves ? 0 : get_filter(psocket, &request->group, reply);
    if (error != 0)
        return error == EADDRNOTAVAIL ? EINVAL : error;
    error = foyer_socket_set_source_filter(stack, psocket->stack, &request->group,
                                           request->is_exclude ? FOYER_FILTER_EXCLUDE
                                                               : FOYER_FILTER_INCLUDE,
                                           request->sources, request->source_count, now);
    building_host_touch(psocket->host); /* routers are told */
    return -error;
}

int filter_request(struct psocket *psocket, const struct foyer_request_filter *request,
                   struct foyer_reply_filter *reply)
{
    if (!foyer_addr_is_multicast(&request->group))
        return EINVAL;
    if (!has_interface(psocket, &request->interface))
        return ENODEV;
    return request->is_set ? set_filter(psocket, request, reply)
                           : get_filter(psocket, &request->group, reply);
}
