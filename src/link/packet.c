/*
 * AF_PACKET: many frames per system call (recvmmsg, sendmmsg), each with its virtio_net_hdr.
 *
 * The memory-mapped rings (networking/packet_mmap) were measured and left out. TPACKET_V3 costs
 * its reader a twentieth per small frame and half per super-segment, but gives a block out when it
 * is full or, at best, a millisecond later, which every round trip would pay. TPACKET_V2 gives each
 * frame out at once; then a wake-up per frame is the cost, as without rings, and its slots of one
 * size for all run out ten times as soon.
 */
#define _GNU_SOURCE
#include "link/packet.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/list.h"
#include "link/vnet.h"

/* linux/if_packet.h of 4.20. */
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define BATCH 32
/* The default holds three super-segments. */
#define SOCKET_BUFFER_BYTES (4 << 20)
#define VLAN_TAG_SIZE 4u
#define MACS_SIZE 12u
/* A frame begins VLAN_TAG_SIZE behind a 64-byte boundary, so that a tag can be put back. */
#define BUFFER_SIZE ((64u + LINK_FRAME_MAX + 63u) & ~63u)

struct packet_link {
    struct link link;
    int fd;
    struct link_packet_stats stats;
    uint8_t *buffers; /* BATCH of BUFFER_SIZE; the kernel gives memory to what is touched */
};

/* One message's parts, on the stack. */
struct message {
    struct virtio_net_hdr header;
    struct iovec iov[FOYER_PACKET_SPANS_MAX + 1];
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
};

static struct packet_link *packet_link(const struct link *link)
{
    return LIST_ENTRY(link, struct packet_link, link);
}

/* Whether the interface itself is gone, and not only down. */
static bool is_gone(const struct packet_link *packet)
{
    struct sockaddr_ll name = {0};
    socklen_t size = sizeof(name);
    return getsockname(packet->fd, (struct sockaddr *)&name, &size) < 0 || name.sll_ifindex <= 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

static void prepare_send(struct msghdr *header, struct message *message,
                         const struct foyer_packet *packet)
{
    size_t count = 0;
    vnet_emit(&message->header, packet);
    message->iov[count++] = (struct iovec){&message->header, sizeof(message->header)};
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++)
        message->iov[count++] =
            (struct iovec){(void *)(uintptr_t)packet->spans[i].base, packet->spans[i].size};
    *header = (struct msghdr){.msg_iov = message->iov, .msg_iovlen = count};
}

/* What sendmmsg's error says of the first frame. 1: drop it, 0: wait, or what ends the link. */
static int send_error(struct packet_link *packet, int error)
{
    switch (error) {
    case EAGAIN:
        return 0;
    case ENXIO: /* unbound, as when the interface was deleted, or down */
    case ENODEV:
        if (is_gone(packet))
            return -EPIPE;
        return 1;
    case ENETDOWN:
    case EMSGSIZE: /* larger than the interface's MTU */
    case EINVAL:   /* the kernel can't make sense of the frame */
    case ENOBUFS:  /* the interface's own queue dropped it */
    case ENOMEM:
    case EFAULT:
    case EIO:
        return 1;
    default:
        return -error;
    }
}

static int packet_send(struct link *link, const struct foyer_packet *packets, size_t count,
                       foyer_time_ns now)
{
    struct packet_link *packet = packet_link(link);
    struct mmsghdr headers[BATCH];
    struct message messages[BATCH];
    size_t done = 0;
    (void)now;
    while (done < count) {
        unsigned batch = count - done < BATCH ? (unsigned)(count - done) : BATCH;
        for (unsigned i = 0; i < batch; i++)
            prepare_send(&headers[i].msg_hdr, &messages[i], &packets[done + i]);
        int sent = sendmmsg(packet->fd, headers, batch, MSG_DONTWAIT);
        if (sent >= 0) {
            done += (size_t)sent;
            continue;
        }
        if (errno == EINTR)
            continue;
        int verdict = send_error(packet, errno);
        if (verdict <= 0)
            return done > 0 || verdict == 0 ? (int)done : verdict;
        packet->stats.send_drops++;
        done++;
    }
    return (int)count;
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* The kernel takes a VLAN tag out of the frame and tells it beside; without it a frame of another
 * VLAN would pass for one of ours. It is put back, and the frame begins 4 bytes earlier. */
static void restore_tag(struct msghdr *header, uint8_t **frame, size_t *size,
                        struct virtio_net_hdr *vnet)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg != NULL;
         cmsg = CMSG_NXTHDR(header, cmsg)) {
        struct tpacket_auxdata aux;
        if (cmsg->cmsg_level != SOL_PACKET || cmsg->cmsg_type != PACKET_AUXDATA ||
            cmsg->cmsg_len < CMSG_LEN(sizeof(aux)))
            continue;
        memcpy(&aux, CMSG_DATA(cmsg), sizeof(aux));
        if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0 || *size < MACS_SIZE)
            return;
        uint16_t protocol =
            (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? aux.tp_vlan_tpid : ETH_P_8021Q;
        *frame -= VLAN_TAG_SIZE;
        *size += VLAN_TAG_SIZE;
        memmove(*frame, *frame + VLAN_TAG_SIZE, MACS_SIZE);
        store_be16(*frame + MACS_SIZE, protocol);
        store_be16(*frame + MACS_SIZE + 2, aux.tp_vlan_tci);
        if ((vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0)
            vnet->csum_start = (uint16_t)(vnet->csum_start + VLAN_TAG_SIZE);
        return;
    }
}

/* False: to be dropped. */
static bool take(struct mmsghdr *header, struct message *message, foyer_time_ns now,
                 struct foyer_packet *ret_packet)
{
    size_t size = header->msg_len;
    if ((header->msg_hdr.msg_flags & MSG_TRUNC) != 0 || size < sizeof(message->header))
        return false;
    size -= sizeof(message->header);
    uint8_t *frame = message->iov[1].iov_base;
    restore_tag(&header->msg_hdr, &frame, &size, &message->header);
    struct foyer_packet packet = {.spans = {{frame, size}}, .span_count = 1, .arrival_ns = now};
    if (vnet_parse(&message->header, size, &packet) < 0)
        return false;
    *ret_packet = packet;
    return true;
}

static int packet_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    struct packet_link *packet = packet_link(link);
    struct mmsghdr headers[BATCH];
    struct message messages[BATCH];
    unsigned batch = max < BATCH ? (unsigned)max : BATCH;
    for (unsigned i = 0; i < batch; i++) {
        struct message *message = &messages[i];
        uint8_t *frame = packet->buffers + (size_t)i * BUFFER_SIZE + VLAN_TAG_SIZE;
        message->iov[0] = (struct iovec){&message->header, sizeof(message->header)};
        message->iov[1] = (struct iovec){frame, LINK_FRAME_MAX};
        headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = message->iov,
                                                  .msg_iovlen = 2,
                                                  .msg_control = message->control,
                                                  .msg_controllen = sizeof(message->control)}};
    }
    int got;
    do
        got = recvmmsg(packet->fd, headers, batch, MSG_DONTWAIT, NULL);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got < 0 && errno == ENETDOWN) /* told once when it goes down, and when it goes away */
        return is_gone(packet) ? -EPIPE : 0;
    if (got < 0)
        return -errno;
    int count = 0;
    for (unsigned i = 0; i < (unsigned)got && i < batch; i++) {
        if (take(&headers[i], &messages[i], now, &ret_packets[count]))
            count++;
        else
            packet->stats.receive_drops++;
    }
    return count;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int packet_fd(const struct link *link)
{
    return packet_link(link)->fd;
}

static void packet_close(struct link *link)
{
    struct packet_link *packet = packet_link(link);
    close(packet->fd);
    free(packet->buffers);
    free(packet);
}

static const struct link_ops packet_ops = {
    .send = packet_send,
    .receive = packet_receive,
    .fd = packet_fd,
    .close = packet_close,
};

static int set_option(int fd, int option, int value)
{
    return setsockopt(fd, SOL_PACKET, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* The interface's index, if it carries Ethernet. */
static int find_interface(int fd, const char *name, int *ret_index)
{
    struct ifreq request = {0};
    if (name == NULL || name[0] == '\0' || strlen(name) >= IFNAMSIZ)
        return -EINVAL;
    memcpy(request.ifr_name, name, strlen(name));
    if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
        return -errno;
    if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
        return -EINVAL;
    if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
        return -errno;
    *ret_index = request.ifr_ifindex;
    return 0;
}

/* More than the machine's limit where we may, else up to it. */
static void enlarge(int fd, int force, int option)
{
    int size = SOCKET_BUFFER_BYTES;
    if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

/* Options come before bind: until then the socket receives nothing (protocol 0). */
static int prepare_socket(int fd, const struct link_packet_config *config)
{
    int index = 0;
    int error = find_interface(fd, config->interface, &index);
    if (error < 0)
        return error;
    error = set_option(fd, PACKET_VNET_HDR, 1);
    if (error == 0)
        error = set_option(fd, PACKET_AUXDATA, 1);
    if (error == 0)
        error = set_option(fd, PACKET_IGNORE_OUTGOING, 1);
    enlarge(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    enlarge(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    struct packet_mreq promiscuous = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
    if (error == 0 && !config->not_promiscuous &&
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) < 0)
        error = -errno;
    uint8_t all[2];
    store_be16(all, ETH_P_ALL);
    struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_ifindex = index};
    memcpy(&name.sll_protocol, all, sizeof(all));
    if (error == 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        error = -errno;
    /* An interface that is down has bind succeed and leave its error behind. */
    socklen_t size = sizeof(int);
    int pending;
    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &size);
    return error;
}

int link_packet_open(const struct link_packet_config *config, struct link **ret_link)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct packet_link *packet = calloc(1, sizeof(*packet));
    uint8_t *buffers = aligned_alloc(64, (size_t)BATCH * BUFFER_SIZE);
    int error = packet == NULL || buffers == NULL ? -ENOMEM : prepare_socket(fd, config);
    if (error < 0) {
        free(buffers);
        free(packet);
        close(fd);
        return error;
    }
    packet->link =
        (struct link){&packet_ops, FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6};
    packet->fd = fd;
    packet->buffers = buffers;
    *ret_link = &packet->link;
    return 0;
}

void link_packet_stats(const struct link *link, struct link_packet_stats *ret_stats)
{
    *ret_stats = packet_link(link)->stats;
}
