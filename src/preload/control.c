/*
 * What goes along with a datagram (msg_control): from the program to the carrier and back.
 *
 * The rules are those of udp_cmsg_send, ip_cmsg_send and ip6_datagram_send_ctl, and of their
 * counterparts on receipt. What a control message of another level says is nobody's business.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

/* ---- sending ------------------------------------------------------------------------------- */

/* The value, where the item is exactly that long. */
static int read_exact(const struct cmsghdr *item, void *ret_value, size_t size)
{
    if (item->cmsg_len != CMSG_LEN(size))
        return -EINVAL;
    memcpy(ret_value, CMSG_DATA(item), size);
    return 0;
}

static int read_number(const struct cmsghdr *item, int low, int high, int *ret_value)
{
    int error = read_exact(item, ret_value, sizeof(*ret_value));
    return error < 0 ? error : *ret_value < low || *ret_value > high ? -EINVAL : 0;
}

static void set_ttl(struct foyer_datagram_header *header, int value)
{
    if (value < 0) /* -1: the socket's */
        return;
    header->ttl = (uint8_t)value;
    header->flags |= FOYER_DATAGRAM_TTL;
}

/* -1 is not the socket's: ip6_datagram_send_ctl takes it, and 255 goes out. */
static void set_tos(struct foyer_datagram_header *header, int value)
{
    header->tos = (uint8_t)value;
    header->flags |= FOYER_DATAGRAM_TOS;
}

static void set_source(struct foyer_datagram_header *header, const struct foyer_addr *addr)
{
    if (foyer_addr_is_any(addr))
        return;
    memcpy(header->local_addr, addr->bytes, 16);
    header->flags |= FOYER_DATAGRAM_LOCAL;
}

static int parse_ip(const struct cmsghdr *item, struct foyer_datagram_header *header)
{
    struct in_pktinfo info;
    uint8_t bytes[4];
    int number = 0, error;
    switch (item->cmsg_type) {
    case IP_PKTINFO:
        error = read_exact(item, &info, sizeof(info));
        if (error < 0)
            return error;
        memcpy(bytes, &info.ipi_spec_dst, 4);
        struct foyer_addr addr = foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
        set_source(header, &addr);
        return 0;
    case IP_TTL:
        error = read_number(item, 1, 255, &number);
        if (error == 0)
            set_ttl(header, number);
        return error;
    case IP_TOS: /* an int or a byte */
        if (read_exact(item, bytes, 1) == 0)
            number = bytes[0];
        else if (read_number(item, 0, 255, &number) < 0)
            return -EINVAL;
        set_tos(header, number);
        return 0;
    default:
        return -EINVAL;
    }
}

static int parse_ipv6(const struct cmsghdr *item, struct foyer_datagram_header *header)
{
    struct in6_pktinfo info;
    struct foyer_addr addr;
    int number = 0, error;
    switch (item->cmsg_type) {
    case IPV6_PKTINFO:
        if (item->cmsg_len < CMSG_LEN(sizeof(info)))
            return -EINVAL;
        memcpy(&info, CMSG_DATA(item), sizeof(info));
        memcpy(addr.bytes, &info.ipi6_addr, 16);
        set_source(header, &addr);
        return 0;
    case IPV6_HOPLIMIT:
        error = read_number(item, -1, 255, &number);
        if (error == 0)
            set_ttl(header, number);
        return error;
    case IPV6_TCLASS:
        error = read_number(item, -1, 255, &number);
        if (error == 0)
            set_tos(header, number);
        return error;
    case IPV6_DONTFRAG:
        return read_number(item, 0, 1, &number);
    default:
        return -EINVAL;
    }
}

int control_parse(const struct socket_object *sock, const struct msghdr *message,
                  struct foyer_datagram_header *header)
{
    struct msghdr *walk = (struct msghdr *)(uintptr_t)message;
    if (message->msg_control == NULL || message->msg_controllen == 0)
        return 0;
    const uint8_t *end = (const uint8_t *)message->msg_control + message->msg_controllen;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(walk); item != NULL; item = CMSG_NXTHDR(walk, item)) {
        int error = 0;
        if (item->cmsg_len < sizeof(*item) ||
            item->cmsg_len > (size_t)(end - (const uint8_t *)item))
            return -EINVAL; /* CMSG_OK */
        if (item->cmsg_level == IPPROTO_UDP)
            error = item->cmsg_type == UDP_SEGMENT
                        ? read_exact(item, &header->segment_size, sizeof(header->segment_size))
                        : -EINVAL;
        else if (item->cmsg_level == IPPROTO_IP && sock->family == AF_INET)
            error = parse_ip(item, header);
        else if (item->cmsg_level == IPPROTO_IPV6 && sock->family == AF_INET6)
            error = parse_ipv6(item, header);
        if (error < 0)
            return error;
    }
    return 0;
}

/* ---- receiving ----------------------------------------------------------------------------- */

struct put {
    struct msghdr *message;
    size_t capacity, used;
};

/* As put_cmsg: what does not fit is cut, and MSG_CTRUNC says so. */
static void put_item(struct put *put, int level, int type, const void *value, size_t size)
{
    size_t left = put->capacity - put->used;
    struct cmsghdr header = {.cmsg_level = level, .cmsg_type = type};
    if (left < sizeof(header)) {
        put->message->msg_flags |= MSG_CTRUNC;
        return;
    }
    header.cmsg_len = CMSG_LEN(size);
    if (left < header.cmsg_len) {
        put->message->msg_flags |= MSG_CTRUNC;
        header.cmsg_len = left;
    }
    uint8_t *at = (uint8_t *)put->message->msg_control + put->used;
    memcpy(at, &header, sizeof(header));
    memcpy(at + CMSG_LEN(0), value, header.cmsg_len - CMSG_LEN(0));
    put->used += CMSG_SPACE(size) < left ? CMSG_SPACE(size) : left;
}

void control_put_one(struct msghdr *message, int level, int type, const void *value, size_t size)
{
    struct put put = {.message = message};
    put.capacity = message->msg_control == NULL ? 0 : message->msg_controllen;
    put_item(&put, level, type, value, size);
    message->msg_controllen = put.used;
}

static void put_pktinfo(const struct socket_object *sock, struct put *put,
                        const struct foyer_addr *local)
{
    static const uint8_t broadcast[4] = {255, 255, 255, 255};
    unsigned interface = foyer_addr_is_loopback(local) ? 1 : 2;
    if (sock->family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)interface};
        memcpy(&info.ipi_addr, local->bytes + 12, 4);
        /* What an answer may have as its source. */
        if (!foyer_addr_is_multicast(local) && memcmp(local->bytes + 12, broadcast, 4) != 0)
            info.ipi_spec_dst = info.ipi_addr;
        put_item(put, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = interface};
        memcpy(&info.ipi6_addr, local->bytes, 16);
        put_item(put, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

void control_put(const struct socket_object *sock, const struct datagram_facts *facts,
                 struct msghdr *message)
{
    struct put put = {.message = message};
    uint32_t options = slot_options(sock);
    int ttl = facts->ttl, tos = facts->tos;
    bool is_v4 = foyer_addr_is_v4(&facts->local);
    put.capacity = message->msg_control == NULL ? 0 : message->msg_controllen;
    message->msg_controllen = 0;
    if ((options & FOYER_SLOT_RECV_ANY) == 0)
        return;
    if ((options & FOYER_SLOT_RECV_PKTINFO) != 0)
        put_pktinfo(sock, &put, &facts->local);
    if ((options & FOYER_SLOT_RECV_HOPLIMIT) != 0 && !is_v4)
        put_item(&put, IPPROTO_IPV6, IPV6_HOPLIMIT, &ttl, sizeof(ttl));
    if ((options & FOYER_SLOT_RECV_TCLASS) != 0 && !is_v4)
        put_item(&put, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
    if ((options & FOYER_SLOT_RECV_TTL) != 0 && is_v4)
        put_item(&put, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
    if ((options & FOYER_SLOT_RECV_TOS) != 0 && is_v4)
        put_item(&put, IPPROTO_IP, IP_TOS, &facts->tos, sizeof(facts->tos));
    message->msg_controllen = put.used;
}
