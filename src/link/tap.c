/* TAP: one frame per writev and readv. */
#include "link/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"
#include "link/vnet.h"

/* linux/if_tun.h of 6.2; older headers lack them, a newer kernel knows them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/*
 * A batch ends where the largest frame might not fit any more: three super-segments, or more small
 * frames than anybody asks for. They lie one behind the other, so that what the next batch is read
 * to is still in the cache.
 */
#define BUFFER_SIZE (4u * 65536u)
#define FRAME_ALIGN 64u /* each frame starts on its own cache line */

struct tap_link {
    struct link link;
    int fd;
    bool has_vnet_header;
    struct link_tap_stats stats;
    uint8_t *buffer; /* BUFFER_SIZE bytes */
};

static struct tap_link *tap_link(const struct link *link)
{
    return LIST_ENTRY(link, struct tap_link, link);
}

/* 1: sent or dropped, 0: the device's queue is full, or an error that ends the link. */
static int send_one(struct tap_link *tap, const struct foyer_packet *packet)
{
    struct virtio_net_hdr header;
    struct iovec iov[FOYER_PACKET_SPANS_MAX + 1];
    int count = 0;
    if (tap->has_vnet_header) {
        vnet_emit(&header, packet);
        iov[count++] = (struct iovec){&header, sizeof(header)};
    } else if ((packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0 ||
               packet->gso_type != FOYER_GSO_NONE) {
        tap->stats.send_drops++; /* the capabilities said so */
        return 1;
    }
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++)
        iov[count++] =
            (struct iovec){(void *)(uintptr_t)packet->spans[i].base, packet->spans[i].size};
    for (;;) {
        if (writev(tap->fd, iov, count) >= 0)
            return 1;
        switch (errno) {
        case EINTR:
            continue;
        case EAGAIN:
            return 0;
        case EIO:    /* the interface is down */
        case EINVAL: /* the kernel can't make sense of the frame */
        case ENOBUFS:
        case ENOMEM:
        case EFAULT:
            tap->stats.send_drops++;
            return 1;
        default: /* EBADFD: the device was deleted */
            return -errno;
        }
    }
}

static int tap_send(struct link *link, const struct foyer_packet *packets, size_t count,
                    foyer_time_ns now)
{
    struct tap_link *tap = tap_link(link);
    (void)now;
    for (size_t i = 0; i < count; i++) {
        int sent = send_one(tap, &packets[i]);
        if (sent <= 0)
            return i > 0 || sent == 0 ? (int)i : sent;
    }
    return (int)count;
}

static int tap_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                       foyer_time_ns now)
{
    struct tap_link *tap = tap_link(link);
    size_t header_size = tap->has_vnet_header ? sizeof(struct virtio_net_hdr) : 0;
    size_t count = 0, used = 0;
    while (count < max && BUFFER_SIZE - used >= LINK_FRAME_MAX) {
        uint8_t *frame = tap->buffer + used;
        struct virtio_net_hdr header = {0};
        struct iovec iov[2] = {{&header, header_size}, {frame, BUFFER_SIZE - used}};
        ssize_t got = readv(tap->fd, iov, 2);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            break;
        if (got < 0)
            return count > 0 ? (int)count : -errno;
        if (got == 0) /* not a TAP after all: a stream's end */
            return count > 0 ? (int)count : -EPIPE;
        struct foyer_packet packet = {.span_count = 1, .arrival_ns = now};
        if ((size_t)got < header_size) {
            tap->stats.receive_drops++;
            continue;
        }
        packet.spans[0] = (struct foyer_span){frame, (size_t)got - header_size};
        if (vnet_parse(&header, packet.spans[0].size, &packet) < 0) {
            tap->stats.receive_drops++;
            continue;
        }
        ret_packets[count++] = packet;
        used += (packet.spans[0].size + FRAME_ALIGN - 1) & ~(size_t)(FRAME_ALIGN - 1);
    }
    return (int)count;
}

static int tap_fd(const struct link *link)
{
    return tap_link(link)->fd;
}

static void tap_close(struct link *link)
{
    struct tap_link *tap = tap_link(link);
    close(tap->fd);
    free(tap->buffer);
    free(tap);
}

static const struct link_ops tap_ops = {
    .send = tap_send,
    .receive = tap_receive,
    .fd = tap_fd,
    .close = tap_close,
};

/* What the kernel may leave undone in frames it hands out. Sets the link's own capabilities. */
static int set_offloads(struct tap_link *tap, bool no_receive_offload)
{
    int header_size = sizeof(struct virtio_net_hdr);
    if (ioctl(tap->fd, TUNSETVNETHDRSZ, &header_size) < 0)
        return -errno;

    unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    uint32_t capabilities = FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6;
    /* The kernel that can hand out USO also takes it. */
    if (ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)(tso | TUN_F_USO4 | TUN_F_USO6)) == 0)
        capabilities |= FOYER_LINK_USO;
    else if (ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)tso) < 0)
        return -errno;
    if (no_receive_offload && ioctl(tap->fd, TUNSETOFFLOAD, 0UL) < 0)
        return -errno;
    tap->link.capabilities = capabilities;
    return 0;
}

int link_tap_from_fd(int fd, const struct link_tap_config *config, struct link **ret_link)
{
    struct ifreq request = {0};
    if (ioctl(fd, TUNGETIFF, &request) < 0)
        return -EINVAL;
    if ((request.ifr_flags & IFF_TAP) == 0 || (request.ifr_flags & IFF_NO_PI) == 0)
        return -EINVAL;

    struct tap_link *tap = calloc(1, sizeof(*tap));
    if (tap == NULL)
        return -ENOMEM;
    tap->link.ops = &tap_ops;
    tap->fd = fd;
    tap->has_vnet_header = (request.ifr_flags & IFF_VNET_HDR) != 0;
    tap->buffer = aligned_alloc(FRAME_ALIGN, BUFFER_SIZE);
    int error = tap->buffer == NULL ? -ENOMEM : 0;
    if (error == 0 && tap->has_vnet_header)
        error = set_offloads(tap, config != NULL && config->no_receive_offload);
    int flags = fcntl(fd, F_GETFL);
    if (error == 0 && (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
        error = -errno;
    if (error < 0) {
        free(tap->buffer);
        free(tap);
        return error;
    }
    *ret_link = &tap->link;
    return 0;
}

int link_tap_open(const struct link_tap_config *config, struct link **ret_link,
                  char ret_name[LINK_TAP_NAME_SIZE])
{
    _Static_assert(LINK_TAP_NAME_SIZE == IFNAMSIZ, "the kernel's size of a name");
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (config->name != NULL) {
        if (strlen(config->name) >= IFNAMSIZ)
            return -EINVAL;
        memcpy(request.ifr_name, config->name, strlen(config->name));
    }
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
    if (error == 0)
        error = link_tap_from_fd(fd, config, ret_link);
    if (error < 0) {
        close(fd);
        return error;
    }
    if (ret_name != NULL)
        memcpy(ret_name, request.ifr_name, LINK_TAP_NAME_SIZE);
    return 0;
}

void link_tap_stats(const struct link *link, struct link_tap_stats *ret_stats)
{
    *ret_stats = tap_link(link)->stats;
}
