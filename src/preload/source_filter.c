/*
 * RFC 3678's functions for source filters: libc makes socket options of them by calls of its own,
 * which go past setsockopt() and getsockopt().
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <netinet/in.h>
#include <string.h>

#include "preload/real.h"

union filter4 {
    struct ip_msfilter head;
    char bytes[IP_MSFILTER_SIZE(FOYER_FILTER_SOURCES_MAX)];
};

union filter {
    struct group_filter head;
    char bytes[GROUP_FILTER_SIZE(FOYER_FILTER_SOURCES_MAX)];
};

static bool is_foreign(int fd)
{
    return table_peek(fd) == NULL;
}

ENTRY int setipv4sourcefilter(int fd, struct in_addr interface, struct in_addr group, uint32_t mode,
                              uint32_t count, const struct in_addr *sources)
{
    union filter4 filter = {.head = {.imsf_multiaddr = group,
                                     .imsf_interface = interface,
                                     .imsf_fmode = mode,
                                     .imsf_numsrc = count}};
    if (is_foreign(fd))
        return REAL(setipv4sourcefilter)(fd, interface, group, mode, count, sources);
    if (count > FOYER_FILTER_SOURCES_MAX)
        return result_int(-ENOBUFS);
    if (count > 0)
        memcpy(filter.bytes + IP_MSFILTER_SIZE(0), sources, count * sizeof(*sources));
    return setsockopt(fd, IPPROTO_IP, IP_MSFILTER, &filter, (socklen_t)IP_MSFILTER_SIZE(count));
}

ENTRY int getipv4sourcefilter(int fd, struct in_addr interface, struct in_addr group,
                              uint32_t *ret_mode, uint32_t *io_count, struct in_addr *ret_sources)
{
    union filter4 filter = {
        .head = {.imsf_multiaddr = group, .imsf_interface = interface, .imsf_numsrc = *io_count}};
    if (is_foreign(fd))
        return REAL(getipv4sourcefilter)(fd, interface, group, ret_mode, io_count, ret_sources);
    if (filter.head.imsf_numsrc > FOYER_FILTER_SOURCES_MAX)
        filter.head.imsf_numsrc = FOYER_FILTER_SOURCES_MAX; /* there are never more */
    uint32_t room = filter.head.imsf_numsrc;
    socklen_t size = (socklen_t)IP_MSFILTER_SIZE(room);
    if (getsockopt(fd, IPPROTO_IP, IP_MSFILTER, &filter, &size) != 0)
        return -1;
    *ret_mode = filter.head.imsf_fmode;
    *io_count = filter.head.imsf_numsrc;
    memcpy(ret_sources, filter.bytes + IP_MSFILTER_SIZE(0),
           (*io_count < room ? *io_count : room) * sizeof(*ret_sources));
    return 0;
}

static int level_of(const struct sockaddr *group)
{
    return group->sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
}

static void set_group(union filter *filter, const struct sockaddr *group, socklen_t size)
{
    memcpy(&filter->head.gf_group, group,
           size < sizeof(filter->head.gf_group) ? size : sizeof(filter->head.gf_group));
}

ENTRY int setsourcefilter(int fd, uint32_t interface, const struct sockaddr *group, socklen_t size,
                          uint32_t mode, uint32_t count, const struct sockaddr_storage *sources)
{
    union filter filter = {
        .head = {.gf_interface = interface, .gf_fmode = mode, .gf_numsrc = count}};
    if (is_foreign(fd))
        return REAL(setsourcefilter)(fd, interface, group, size, mode, count, sources);
    if (count > FOYER_FILTER_SOURCES_MAX)
        return result_int(-ENOBUFS);
    set_group(&filter, group, size);
    if (count > 0)
        memcpy(filter.bytes + GROUP_FILTER_SIZE(0), sources, count * sizeof(*sources));
    return setsockopt(fd, level_of(group), MCAST_MSFILTER, &filter,
                      (socklen_t)GROUP_FILTER_SIZE(count));
}

ENTRY int getsourcefilter(int fd, uint32_t interface, const struct sockaddr *group, socklen_t size,
                          uint32_t *ret_mode, uint32_t *io_count,
                          struct sockaddr_storage *ret_sources)
{
    union filter filter = {.head = {.gf_interface = interface, .gf_numsrc = *io_count}};
    if (is_foreign(fd))
        return REAL(getsourcefilter)(fd, interface, group, size, ret_mode, io_count, ret_sources);
    set_group(&filter, group, size);
    if (filter.head.gf_numsrc > FOYER_FILTER_SOURCES_MAX)
        filter.head.gf_numsrc = FOYER_FILTER_SOURCES_MAX;
    uint32_t room = filter.head.gf_numsrc;
    socklen_t filter_size = (socklen_t)GROUP_FILTER_SIZE(room);
    if (getsockopt(fd, level_of(group), MCAST_MSFILTER, &filter, &filter_size) != 0)
        return -1;
    *ret_mode = filter.head.gf_fmode;
    *io_count = filter.head.gf_numsrc;
    memcpy(ret_sources, filter.bytes + GROUP_FILTER_SIZE(0),
           (*io_count < room ? *io_count : room) * sizeof(*ret_sources));
    return 0;
}
