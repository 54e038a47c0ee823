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
