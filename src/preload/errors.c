/*
 * The error queue of a UDP socket (IP_RECVERR, IPV6_RECVERR; MSG_ERRQUEUE), which is in the stack: the
 * slot says whether there is something in it, and foyerd is asked for the oldest. As Linux's
 * ip_recv_error and ipv6_recv_error give it.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>

static void set_offender(const struct socket_object *sock, const struct foyer_reply_error *reply,
                         void *ret_address, socklen_t size)
{
    const struct foyer_endpoint offender = {.addr = reply->offender};
    memset(ret_address, 0, size);
    if (reply->origin != SO_EE_ORIGIN_ICMP && reply->origin != SO_EE_ORIGIN_ICMP6)
        return; /* nobody sent it */
    address_store(sock, &offender, ret_address, &size);
}

static void put_error(const struct socket_object *sock, const struct foyer_reply_error *reply,
                      struct msghdr *message)
{
    struct {
        struct sock_extended_err error;
        union {
            struct sockaddr_in v4;
            struct sockaddr_in6 v6;
        } offender;
    } value;
    memset(&value, 0, sizeof(value));
    value.error = (struct sock_extended_err){
        .ee_errno = (uint32_t)reply->number,
        .ee_origin = reply->origin,
        .ee_type = reply->type,
        .ee_code = reply->code,
        .ee_info = reply->info,
    };
    bool is_v4 = sock->family == AF_INET;
    size_t address_size = is_v4 ? sizeof(value.offender.v4) : sizeof(value.offender.v6);
    set_offender(sock, reply, &value.offender, (socklen_t)address_size);
    control_put_one(message, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_RECVERR : IPV6_RECVERR,
                    &value, sizeof(value.error) + address_size);
}

ssize_t errors_recv(struct socket_object *sock, struct msghdr *message)
{
    struct foyer_reply_error reply;
    struct foyer_request request = {
        .type = FOYER_REQUEST_ERROR, .size = sizeof(request), .id = sock->id};
    if (atomic_load(&sock->slot->errors_waiting) == 0)
        return -EAGAIN;
    int error = session_call(&request, NULL, &reply.header, sizeof(reply), NULL);
    if (error < 0)
        return error;
    size_t size =
        reply.payload_size < sizeof(reply.payload) ? reply.payload_size : sizeof(reply.payload);
    size_t copied = 0;
    for (size_t i = 0; i < message->msg_iovlen && copied < size; i++) {
        const struct iovec *iov = &message->msg_iov[i];
        size_t part = size - copied < iov->iov_len ? size - copied : iov->iov_len;
        memcpy(iov->iov_base, reply.payload + copied, part);
        copied += part;
    }
    message->msg_flags = MSG_ERRQUEUE | (copied < size ? MSG_TRUNC : 0);
    if (message->msg_name != NULL)
        address_store(sock, &reply.remote, message->msg_name, &message->msg_namelen);
    put_error(sock, &reply, message);
    return (ssize_t)copied;
}
