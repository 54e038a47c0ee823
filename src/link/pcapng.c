/*
 * pcapng: a Section Header Block, an Interface Description Block, then an Enhanced Packet Block
 * per frame, in the machine's byte order as the format provides. Each block is one writev.
 */
#include "link/pcapng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/list.h"

#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define LINKTYPE_ETHERNET 1
#define OPTION_END 0
#define OPTION_IF_NAME 2
#define OPTION_IF_TSRESOL 9
#define OPTION_EPB_FLAGS 2
#define NAME_MAX_SIZE 64

/* Everything or an error. */
static int write_all(int fd, struct iovec *iov, int count)
{
    while (count > 0) {
        ssize_t written = writev(fd, iov, count);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        while (count > 0 && (size_t)written >= iov->iov_len) {
            written -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + written;
            iov->iov_len -= (size_t)written;
        }
    }
    return 0;
}

struct option_header {
    uint16_t code, size;
};

static size_t put(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return size;
}

static size_t put_option(uint8_t *at, uint16_t code, const void *value, uint16_t size)
{
    struct option_header header = {code, size};
    size_t padded = (size + 3u) & ~3u;
    put(at, &header, sizeof(header));
    memset(at + sizeof(header), 0, padded);
    if (value != NULL)
        put(at + sizeof(header), value, size);
    return sizeof(header) + padded;
}

static int write_head(int fd, const char *interface)
{
    uint8_t block[28 + 16 + 4 + NAME_MAX_SIZE + 8 + 4 + 4];
    struct {
        uint32_t type, size, magic;
        uint16_t major, minor;
        uint64_t section_size;
    } section = {BLOCK_SECTION, 28, BYTE_ORDER_MAGIC, 1, 0, UINT64_MAX};
    size_t at = 0;
    at += put(block, &section.type, 4);
    at += put(block + at, &section.size, 4);
    at += put(block + at, &section.magic, 4);
    at += put(block + at, &section.major, 2);
    at += put(block + at, &section.minor, 2);
    at += put(block + at, &section.section_size, 8);
    at += put(block + at, &section.size, 4);

    size_t start = at;
    struct {
        uint32_t type, size;
        uint16_t link_type, reserved;
        uint32_t snap_size; /* 0: no limit */
    } description = {BLOCK_INTERFACE, 0, LINKTYPE_ETHERNET, 0, 0};
    at += put(block + at, &description, sizeof(description));
    if (interface != NULL)
        at += put_option(block + at, OPTION_IF_NAME, interface,
                         (uint16_t)strnlen(interface, NAME_MAX_SIZE));
    uint8_t nanoseconds = 9;
    at += put_option(block + at, OPTION_IF_TSRESOL, &nanoseconds, 1);
    at += put_option(block + at, OPTION_END, NULL, 0);
    uint32_t size = (uint32_t)(at - start + 4);
    at += put(block + at, &size, 4);
    put(block + start + 4, &size, 4);

    struct iovec iov = {block, at};
    return write_all(fd, &iov, 1);
}

int pcapng_open_fd(struct pcapng_writer *writer, int fd, const char *interface)
{
    int error = write_head(fd, interface);
    if (error < 0)
        return error;
    *writer = (struct pcapng_writer){.fd = fd};
    return 0;
}

int pcapng_open(struct pcapng_writer *writer, const char *path, const char *interface)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int error = pcapng_open_fd(writer, fd, interface);
    if (error < 0)
        close(fd);
    return error;
}

int pcapng_close(struct pcapng_writer *writer)
{
    int error = writer->error;
    if (writer->fd >= 0 && close(writer->fd) < 0 && error == 0)
        error = -errno;
    writer->fd = -1;
    return error;
}

void pcapng_write(struct pcapng_writer *writer, const struct foyer_packet *packet,
                  enum pcapng_direction direction, foyer_time_ns now)
{
    if (writer->error < 0)
        return;
    uint32_t captured = (uint32_t)foyer_packet_size(packet);
    uint32_t padding = (4 - captured % 4) % 4;
    uint32_t flags = (uint32_t)direction;
    uint8_t tail[3 + 8 + 4 + 4] = {0};
    size_t tail_size = padding;
    tail_size += put_option(tail + tail_size, OPTION_EPB_FLAGS, &flags, sizeof(flags));
    tail_size += put_option(tail + tail_size, OPTION_END, NULL, 0);
    uint32_t size = (uint32_t)(28 + captured + tail_size + 4);
    tail_size += put(tail + tail_size, &size, 4);

    uint32_t head[7] = {
        BLOCK_PACKET, size, 0, (uint32_t)(now >> 32), (uint32_t)now, captured, captured,
    };
    struct iovec iov[FOYER_PACKET_SPANS_MAX + 2];
    int count = 0;
    iov[count++] = (struct iovec){head, sizeof(head)};
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++)
        iov[count++] =
            (struct iovec){(void *)(uintptr_t)packet->spans[i].base, packet->spans[i].size};
    iov[count++] = (struct iovec){tail, tail_size};
    writer->error = write_all(writer->fd, iov, count);
}

/* ---- the link ------------------------------------------------------------------------------- */

struct pcapng_link {
    struct link link;
    struct link *under;
    struct pcapng_writer writer;
    uint64_t epoch_offset_ns;
};

static struct pcapng_link *pcapng_link(const struct link *link)
{
    return LIST_ENTRY(link, struct pcapng_link, link);
}

static int pcapng_send(struct link *link, const struct foyer_packet *packets, size_t count,
                       foyer_time_ns now)
{
    struct pcapng_link *recorded = pcapng_link(link);
    int sent = link_send(recorded->under, packets, count, now);
    for (int i = 0; i < sent; i++)
        pcapng_write(&recorded->writer, &packets[i], PCAPNG_OUTBOUND,
                     now + recorded->epoch_offset_ns);
    return sent;
}

static int pcapng_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    struct pcapng_link *recorded = pcapng_link(link);
    int count = link_receive(recorded->under, ret_packets, max, now);
    for (int i = 0; i < count; i++)
        pcapng_write(&recorded->writer, &ret_packets[i], PCAPNG_INBOUND,
                     ret_packets[i].arrival_ns + recorded->epoch_offset_ns);
    return count;
}

static int pcapng_fd(const struct link *link)
{
    return link_fd(pcapng_link(link)->under);
}

static foyer_time_ns pcapng_deadline(const struct link *link)
{
    return link_deadline(pcapng_link(link)->under);
}

static void pcapng_link_close(struct link *link)
{
    struct pcapng_link *recorded = pcapng_link(link);
    (void)pcapng_close(&recorded->writer);
    link_close(recorded->under);
    free(recorded);
}

static const struct link_ops pcapng_ops = {
    .send = pcapng_send,
    .receive = pcapng_receive,
    .fd = pcapng_fd,
    .deadline = pcapng_deadline,
    .close = pcapng_link_close,
};

int link_pcapng_create(struct link *under, const struct pcapng_writer *writer,
                       uint64_t epoch_offset_ns, struct link **ret_link)
{
    struct pcapng_link *recorded = calloc(1, sizeof(*recorded));
    if (recorded == NULL)
        return -ENOMEM;
    recorded->link = (struct link){&pcapng_ops, under->capabilities};
    recorded->under = under;
    recorded->writer = *writer;
    recorded->epoch_offset_ns = epoch_offset_ns;
    *ret_link = &recorded->link;
    return 0;
}
