/*
 * The public calls of what is left out (foyer/features.h): each answers as is said there. Where all is in,
 * there is nothing here; nothing else in a reduced library calls these.
 */
#include <errno.h>

#include "foyer/foyer.h"

/* Whatever was asked for, the answer is the same. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#if !FOYER_WITH_TCP

int foyer_request_next(struct foyer_host *host, foyer_socket listener, foyer_request *ret_request)
{
    return -EBADF;
}

int foyer_request_info(struct foyer_host *host, foyer_request request,
                       struct foyer_request_info *ret_info)
{
    return -EBADF;
}

int foyer_request_set_user(struct foyer_host *host, foyer_request request, uint64_t user)
{
    return -EBADF;
}

int foyer_request_next_ended(struct foyer_host *host, foyer_socket listener, uint64_t *ret_user,
                             int *ret_error)
{
    return -EBADF;
}

int foyer_request_accept(struct foyer_host *host, foyer_request request, foyer_time_ns now)
{
    return -EBADF;
}

int foyer_request_refuse(struct foyer_host *host, foyer_request request, foyer_time_ns now)
{
    return -EBADF;
}

int foyer_request_drop(struct foyer_host *host, foyer_request request)
{
    return -EBADF;
}

int64_t foyer_socket_send_urgent(struct foyer_host *host, foyer_socket socket, const void *bytes,
                                 size_t size, foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_recv_urgent(struct foyer_host *host, foyer_socket socket, bool is_peek,
                             uint8_t *ret_byte)
{
    return -EOPNOTSUPP;
}

int foyer_socket_urgent_mark(struct foyer_host *host, foyer_socket socket, uint32_t *ret_bytes)
{
    return -EOPNOTSUPP;
}

#endif

#if !FOYER_WITH_UDP

int foyer_socket_error_next(struct foyer_host *host, foyer_socket socket,
                            struct foyer_socket_error *ret_error)
{
    return -EOPNOTSUPP;
}

#endif

#if !FOYER_WITH_DHCP

int foyer_dhcp4_start(struct foyer_host *host, const struct foyer_dhcp4_config *config,
                      foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_dhcp4_stop(struct foyer_host *host, bool is_release, foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_dhcp4_lease(const struct foyer_host *host, struct foyer_dhcp4_lease *ret_lease)
{
    return -EOPNOTSUPP;
}

int foyer_dhcp6_start(struct foyer_host *host, const struct foyer_dhcp6_config *config,
                      foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_dhcp6_stop(struct foyer_host *host, bool is_release, foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_dhcp6_confirm(struct foyer_host *host, foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_dhcp6_lease(const struct foyer_host *host, struct foyer_dhcp6_lease *ret_lease)
{
    return -EOPNOTSUPP;
}

#endif

#if !FOYER_WITH_MULTICAST

int foyer_socket_join_group(struct foyer_host *host, foyer_socket socket,
                            const struct foyer_addr *group, foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_leave_group(struct foyer_host *host, foyer_socket socket,
                             const struct foyer_addr *group, foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_join_source(struct foyer_host *host, foyer_socket socket,
                             const struct foyer_addr *group, const struct foyer_addr *source,
                             foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_leave_source(struct foyer_host *host, foyer_socket socket,
                              const struct foyer_addr *group, const struct foyer_addr *source,
                              foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_block_source(struct foyer_host *host, foyer_socket socket,
                              const struct foyer_addr *group, const struct foyer_addr *source,
                              foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_unblock_source(struct foyer_host *host, foyer_socket socket,
                                const struct foyer_addr *group, const struct foyer_addr *source,
                                foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_set_source_filter(struct foyer_host *host, foyer_socket socket,
                                   const struct foyer_addr *group, enum foyer_filter_mode mode,
                                   const struct foyer_addr *sources, size_t count,
                                   foyer_time_ns now)
{
    return -EOPNOTSUPP;
}

int foyer_socket_source_filter(struct foyer_host *host, foyer_socket socket,
                               const struct foyer_addr *group, enum foyer_filter_mode *ret_mode,
                               struct foyer_addr *ret_sources, size_t max)
{
    return -EOPNOTSUPP;
}

#endif
