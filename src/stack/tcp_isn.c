/* Initial sequence numbers, of requests (tcp_request.c) and of sockets that connect (tcp_socket.c). */
#include "stack/ports.h"
#include "stack/tcp.h"

/*
 * RFC 6528 section 3, RFC 9293 section 3.4.1 (MUST-8, SHLD-1, MUST-9): a 4 us clock plus a hash
 * of the 4-tuple under the host's secret.
 */
seq_t tcp_isn_for(struct foyer_host *host, const struct foyer_endpoint *local,
                  const struct foyer_endpoint *remote, foyer_time_ns now)
{
    uint32_t hash = (uint32_t)ports_tuple_secret(host, FOYER_TCP, local, remote);

    return SEQ(hash + (uint32_t)(now / (4 * FOYER_NS_PER_US)));
}

seq_t tcp_isn(struct foyer_host *host, const struct sock *sock, foyer_time_ns now)
{
    return tcp_isn_for(host, &sock->local, &sock->remote, now);
}
