/*
 * AF_XDP by libxdp, which also loads the small program that redirects the queue's frames.
 *
 *   fill ring: free frames to the kernel      rx ring: frames received, lent until the next receive
 *   tx ring: frames to send                   completion ring: frames sent, free again
 *
 * One half of the memory's frames is for receiving and goes round fill and rx; the other is for
 * sending and goes round tx and completion. See the kernel's networking/af_xdp.
 */
#include "link/xdp.h"

#include <errno.h>

#ifdef FOYER_HAVE_XDP

#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* libxdp's inline functions are not written for our warnings. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>
#include <xdp/xsk.h>
#pragma GCC diagnostic pop

#include "base/list.h"

/* Of each direction; a ring's size is a power of two. */
#define FRAMES 2048u
#define FRAME_SIZE XSK_UMEM__DEFAULT_FRAME_SIZE
#define BATCH 64u

struct xdp_link {
    struct link link;
    struct xsk_umem *umem;
    struct xsk_socket *socket;
    uint8_t *memory; /* 2 * FRAMES of FRAME_SIZE: for receiving, then for sending */
    struct xsk_ring_prod fill, tx;
    struct xsk_ring_cons rx, completion;
    uint64_t free_frames[FRAMES]; /* for sending; addresses in memory */
    uint32_t free_count;
    uint64_t lent[BATCH]; /* given out by the last receive */
    uint32_t lent_count;
    uint64_t send_drops;
};

static struct xdp_link *xdp_link(const struct link *link)
{
    return LIST_ENTRY(link, struct xdp_link, link);
}

/* ---- sending -------------------------------------------------------------------------------- */

static void take_completed(struct xdp_link *xdp)
{
    uint32_t at;
    uint32_t count = xsk_ring_cons__peek(&xdp->completion, FRAMES, &at);
    for (uint32_t i = 0; i < count; i++)
        xdp->free_frames[xdp->free_count++] = *xsk_ring_cons__comp_addr(&xdp->completion, at + i);
    xsk_ring_cons__release(&xdp->completion, count);
}

/* 1: put into the ring, or dropped, 0: the ring is full. */
static int put_frame(struct xdp_link *xdp, const struct foyer_packet *packet)
{
    size_t size = foyer_packet_size(packet);
    if (size == 0 || size > LINK_XDP_FRAME_MAX || packet->gso_type != FOYER_GSO_NONE ||
        (packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) != 0) {
        xdp->send_drops++;
        return 1;
    }
    uint32_t at;
    if (xdp->free_count == 0 || xsk_ring_prod__reserve(&xdp->tx, 1, &at) != 1)
        return 0;
    uint64_t frame = xdp->free_frames[--xdp->free_count];
    uint8_t *to = xdp->memory + frame;
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++) {
        memcpy(to, packet->spans[i].base, packet->spans[i].size);
        to += packet->spans[i].size;
    }
    *xsk_ring_prod__tx_desc(&xdp->tx, at) = (struct xdp_desc){.addr = frame, .len = (uint32_t)size};
    xsk_ring_prod__submit(&xdp->tx, 1);
    return 1;
}

/* Has the kernel look at the tx ring. In copy mode it sends some frames at each call. */
static int kick(struct xdp_link *xdp)
{
    while (xsk_ring_prod__needs_wakeup(&xdp->tx)) {
        ssize_t sent = sendto(xsk_socket__fd(xdp->socket), NULL, 0, MSG_DONTWAIT, NULL, 0);
        if (sent >= 0 || errno == EAGAIN) {
            uint32_t free_before = xdp->free_count;
            take_completed(xdp);
            if (sent >= 0 || xdp->free_count == free_before)
                return 0;
        } else if (errno == ENXIO || errno == ENETDOWN) {
            return -EPIPE;
        } else if (errno != EINTR) {
            /* EBUSY, ENOBUFS: the driver is full; what is in the ring waits there. */
            return errno == EBUSY || errno == ENOBUFS ? 0 : -errno;
        }
    }
    return 0;
}

static int xdp_send(struct link *link, const struct foyer_packet *packets, size_t count,
                    foyer_time_ns now)
{
    struct xdp_link *xdp = xdp_link(link);
    size_t done = 0;
    (void)now;
    take_completed(xdp);
    while (done < count && put_frame(xdp, &packets[done]) > 0)
        done++;
    int error = kick(xdp);
    return error < 0 ? error : (int)done;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void give_back(struct xdp_link *xdp)
{
    uint32_t at;
    /* There is room: the ring has a place for each frame of this half. */
    if (xdp->lent_count == 0 || xsk_ring_prod__reserve(&xdp->fill, xdp->lent_count, &at) == 0)
        return;
    for (uint32_t i = 0; i < xdp->lent_count; i++)
        *xsk_ring_prod__fill_addr(&xdp->fill, at + i) = xdp->lent[i];
    xsk_ring_prod__submit(&xdp->fill, xdp->lent_count);
    xdp->lent_count = 0;
}

/* The device was taken down or away: the kernel unbinds the socket and leaves an error. */
static int check_alive(struct xdp_link *xdp)
{
    int fd = xsk_socket__fd(xdp->socket), error = 0;
    socklen_t size = sizeof(error);
    if (xsk_ring_prod__needs_wakeup(&xdp->fill))
        (void)recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return error != 0 ? -EPIPE : 0;
}

static int xdp_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                       foyer_time_ns now)
{
    struct xdp_link *xdp = xdp_link(link);
    uint32_t at;
    give_back(xdp);
    take_completed(xdp);
    uint32_t count = xsk_ring_cons__peek(&xdp->rx, max < BATCH ? (uint32_t)max : BATCH, &at);
    if (count == 0)
        return check_alive(xdp);
    for (uint32_t i = 0; i < count; i++) {
        const struct xdp_desc *frame = xsk_ring_cons__rx_desc(&xdp->rx, at + i);
        ret_packets[i] = (struct foyer_packet){
            .spans = {{xdp->memory + frame->addr, frame->len}},
            .span_count = 1,
            .arrival_ns = now,
        };
        /* The address of a frame, not of the bytes behind its headroom. */
        xdp->lent[i] = frame->addr & ~(uint64_t)(FRAME_SIZE - 1);
    }
    xdp->lent_count = count;
    xsk_ring_cons__release(&xdp->rx, count);
    return (int)count;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int xdp_fd(const struct link *link)
{
    return xsk_socket__fd(xdp_link(link)->socket);
}

static void xdp_close(struct link *link)
{
    struct xdp_link *xdp = xdp_link(link);
    if (xdp->socket != NULL)
        xsk_socket__delete(xdp->socket);
    if (xdp->umem != NULL)
        (void)xsk_umem__delete(xdp->umem);
    if (xdp->memory != NULL)
        munmap(xdp->memory, (size_t)2 * FRAMES * FRAME_SIZE);
    free(xdp);
}

static const struct link_ops xdp_ops = {
    .send = xdp_send,
    .receive = xdp_receive,
    .fd = xdp_fd,
    .close = xdp_close,
};

static int make_umem(struct xdp_link *xdp)
{
    size_t size = (size_t)2 * FRAMES * FRAME_SIZE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    xdp->memory = memory;
    struct xsk_umem_config config = {
        .fill_size = FRAMES, .comp_size = FRAMES, .frame_size = FRAME_SIZE};
    return xsk_umem__create(&xdp->umem, memory, size, &xdp->fill, &xdp->completion, &config);
}

static int make_socket(struct xdp_link *xdp, const struct link_xdp_config *config)
{
    struct xsk_socket_config socket_config = {
        .rx_size = FRAMES,
        .tx_size = FRAMES,
        .bind_flags = (uint16_t)(XDP_USE_NEED_WAKEUP | (config->force_copy ? XDP_COPY : 0)),
    };
    int error = xsk_socket__create(&xdp->socket, config->interface, config->queue, xdp->umem,
                                   &xdp->rx, &xdp->tx, &socket_config);
    if (error < 0)
        return error;
    uint32_t at;
    if (xsk_ring_prod__reserve(&xdp->fill, FRAMES, &at) != FRAMES)
        return -ENOMEM;
    for (uint32_t i = 0; i < FRAMES; i++) {
        *xsk_ring_prod__fill_addr(&xdp->fill, at + i) = (uint64_t)i * FRAME_SIZE;
        xdp->free_frames[i] = (uint64_t)(FRAMES + i) * FRAME_SIZE;
    }
    xsk_ring_prod__submit(&xdp->fill, FRAMES);
    xdp->free_count = FRAMES;
    return 0;
}

int link_xdp_open(const struct link_xdp_config *config, struct link **ret_link)
{
    if (config->interface == NULL || config->interface[0] == '\0' ||
        strlen(config->interface) >= IF_NAMESIZE)
        return -EINVAL;
    if (if_nametoindex(config->interface) == 0)
        return -ENODEV;
    /* Errors are returned, not printed. */
    (void)libbpf_set_print(NULL);
    (void)libxdp_set_print(NULL);
    struct xdp_link *xdp = calloc(1, sizeof(*xdp));
    if (xdp == NULL)
        return -ENOMEM;
    xdp->link.ops = &xdp_ops;
    int error = make_umem(xdp);
    if (error == 0)
        error = make_socket(xdp, config);
    if (error < 0) {
        xdp_close(&xdp->link);
        return error;
    }
    *ret_link = &xdp->link;
    return 0;
}

void link_xdp_stats(const struct link *link, struct link_xdp_stats *ret_stats)
{
    const struct xdp_link *xdp = xdp_link(link);
    struct xdp_statistics kernel = {0};
    socklen_t size = sizeof(kernel);
    (void)getsockopt(xsk_socket__fd(xdp->socket), SOL_XDP, XDP_STATISTICS, &kernel, &size);
    *ret_stats = (struct link_xdp_stats){
        .send_drops = xdp->send_drops + kernel.tx_invalid_descs,
        .receive_drops = kernel.rx_dropped + kernel.rx_ring_full,
    };
}

#else

int link_xdp_open(const struct link_xdp_config *config, struct link **ret_link)
{
    (void)config, (void)ret_link;
    return -EOPNOTSUPP;
}

void link_xdp_stats(const struct link *link, struct link_xdp_stats *ret_stats)
{
    (void)link;
    *ret_stats = (struct link_xdp_stats){0};
}

#endif
