/*
 * getifaddrs(3): the interfaces of the program's host, not the machine's. A server that binds each
 * address by itself (BIND's named) would else listen where its host is not.
 *
 * Not covered: netlink and ioctl(SIOCGIFCONF), which tell of the kernel's interfaces. The masks are
 * those of single hosts, since foyerd does not tell programs the network's.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "preload/real.h"

#define INTERFACE_MAX 10u /* loopback twice and what RESOLVE can tell */

struct interface {
    struct ifaddrs entry;
    struct sockaddr_storage addr, mask;
    char name[IF_NAMESIZE];
};

static void set_address(struct sockaddr_storage *to, const struct foyer_addr *addr)
{
    if (foyer_addr_is_v4(addr)) {
        struct sockaddr_in *v4 = (void *)to;
        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, addr->bytes + 12, 4);
    } else {
        struct sockaddr_in6 *v6 = (void *)to;
        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, addr->bytes, 16);
    }
}

static void set_mask(struct sockaddr_storage *to, const struct foyer_addr *addr, unsigned bits)
{
    struct foyer_addr mask = *addr; /* keeps the prefix that says IPv4 */
    unsigned from = foyer_addr_is_v4(addr) ? 12 : 0;
    for (unsigned i = from; i < sizeof(mask.bytes); i++) {
        unsigned here = bits > 8 ? 8 : bits;
        mask.bytes[i] = (uint8_t)(0xff00u >> here);
        bits -= here;
    }
    set_address(to, &mask);
}

static void add(struct interface *list, unsigned *io_count, const char *name,
                const struct foyer_addr *addr, unsigned bits)
{
    struct interface *one = &list[*io_count];
    if (*io_count == INTERFACE_MAX)
        return;
    memcpy(one->name, name, strlen(name) + 1);
    set_address(&one->addr, addr);
    set_mask(&one->mask, addr, bits);
    one->entry.ifa_name = one->name;
    one->entry.ifa_flags = IFF_UP | IFF_RUNNING;
    if (foyer_addr_is_loopback(addr))
        one->entry.ifa_flags |= IFF_LOOPBACK;
    one->entry.ifa_addr = (struct sockaddr *)&one->addr;
    one->entry.ifa_netmask = (struct sockaddr *)&one->mask;
    if (*io_count > 0)
        list[*io_count - 1].entry.ifa_next = &one->entry;
    (*io_count)++;
}

ENTRY int getifaddrs(struct ifaddrs **ret_list)
{
    static const struct foyer_addr loopback6 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    if (!preload_config.is_enabled)
        return REAL(getifaddrs)(ret_list);
    struct foyer_request_resolve request;
    struct foyer_reply_resolve reply;
    memset(&request, 0, sizeof(request));
    request.header.type = FOYER_REQUEST_RESOLVE;
    request.header.size = sizeof(request);
    memcpy(request.name, preload_config.host, strlen(preload_config.host) + 1);
    int error = session_call(&request.header, NULL, &reply.header, sizeof(reply), NULL);
    if (error < 0)
        return result_int(error);
    struct interface *list = calloc(INTERFACE_MAX, sizeof(*list));
    if (list == NULL)
        return result_int(-ENOMEM);
    struct foyer_addr loopback4 = foyer_addr_v4(127, 0, 0, 1);
    unsigned count = 0;
    add(list, &count, "lo", &loopback4, 8);
    add(list, &count, "lo", &loopback6, 128);
    for (unsigned i = 0; i < reply.addr_count && i < INTERFACE_MAX - 2; i++)
        add(list, &count, "foyer0", &reply.addrs[i], foyer_addr_is_v4(&reply.addrs[i]) ? 32 : 128);
    *ret_list = &list->entry;
    return 0;
}

/* One block, ours or libc's own. */
ENTRY void freeifaddrs(struct ifaddrs *list)
{
    if (preload_config.is_enabled)
        free(list);
    else
        REAL(freeifaddrs)(list);
}
