/* Frames over a stream: whole frames are taken out of, and put into, what read and write cut. */
#define _GNU_SOURCE
#include "link/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/list.h"

#define SIZE_SIZE 4u
#define BATCH 32
#define INPUT_SIZE (4u * (LINK_FRAME_MAX + SIZE_SIZE))
/* How often the rest of a frame is tried again where nothing else calls. */
#define RETRY_NS FOYER_NS_PER_MS

struct stream_link {
    struct link link;
    int fd;
    int error; /* ends the link once the frames before it are given out */
    size_t input_start, input_end;
    /* The rest of a frame of which a part has been written. */
    size_t rest_start, rest_end;
    foyer_time_ns retry_ns;
    uint8_t rest[LINK_FRAME_MAX + SIZE_SIZE];
    uint8_t input[INPUT_SIZE];
};

static struct stream_link *stream_link(const struct link *link)
{
    return LIST_ENTRY(link, struct stream_link, link);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Bytes written, 0 where the socket is full, or the error that ends the link. */
static ssize_t write_some(const struct stream_link *stream, struct iovec *iov, size_t count)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    for (;;) {
        ssize_t written = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written >= 0)
            return written;
        if (errno == EAGAIN || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
}

/* 1: nothing is left over, 0: the socket is full, or an error. */
static int write_rest(struct stream_link *stream, foyer_time_ns now)
{
    while (stream->rest_start < stream->rest_end) {
        struct iovec iov = {stream->rest + stream->rest_start,
                            stream->rest_end - stream->rest_start};
        ssize_t written = write_some(stream, &iov, 1);
        if (written <= 0) {
            stream->retry_ns = now + RETRY_NS;
            return (int)written;
        }
        stream->rest_start += (size_t)written;
    }
    return 1;
}

/* Keeps what is left of a frame after its first `written` bytes, size field included. */
static void keep_rest(struct stream_link *stream, const uint8_t size_field[SIZE_SIZE],
                      const struct foyer_packet *packet, size_t written, foyer_time_ns now)
{
    size_t at = SIZE_SIZE;
    memcpy(stream->rest, size_field, SIZE_SIZE);
    for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++) {
        memcpy(stream->rest + at, packet->spans[i].base, packet->spans[i].size);
        at += packet->spans[i].size;
    }
    stream->rest_start = written;
    stream->rest_end = at;
    stream->retry_ns = now + RETRY_NS;
}

/* What the other end could not make sense of: offloads left to the link, sizes out of range. */
static bool can_carry(const struct foyer_packet *packet)
{
    size_t size = foyer_packet_size(packet);
    return (packet->flags & FOYER_PACKET_CHECKSUM_PARTIAL) == 0 &&
           packet->gso_type == FOYER_GSO_NONE && size > 0 && size <= LINK_FRAME_MAX;
}

struct batch {
    struct iovec iov[BATCH * (FOYER_PACKET_SPANS_MAX + 1)];
    uint8_t sizes[BATCH][SIZE_SIZE];
    size_t iov_count, count;
};

/* From the first packet on, as many as are carried and fit. */
static void fill_batch(struct batch *batch, const struct foyer_packet *packets, size_t count)
{
    batch->iov_count = 0;
    batch->count = 0;
    while (batch->count < count && batch->count < BATCH && can_carry(&packets[batch->count])) {
        const struct foyer_packet *packet = &packets[batch->count];
        uint8_t *size = batch->sizes[batch->count++];
        store_be32(size, (uint32_t)foyer_packet_size(packet));
        batch->iov[batch->iov_count++] = (struct iovec){size, SIZE_SIZE};
        for (unsigned i = 0; i < packet->span_count && i < FOYER_PACKET_SPANS_MAX; i++)
            batch->iov[batch->iov_count++] =
                (struct iovec){(void *)(uintptr_t)packet->spans[i].base, packet->spans[i].size};
    }
}

/* How many frames of the batch are taken: written whole, or in part and the rest kept. */
static size_t count_taken(struct stream_link *stream, const struct batch *batch,
                          const struct foyer_packet *packets, size_t written, foyer_time_ns now)
{
    size_t taken = 0;
    while (taken < batch->count && written > 0) {
        size_t size = SIZE_SIZE + foyer_packet_size(&packets[taken]);
        if (written < size) {
            keep_rest(stream, batch->sizes[taken], &packets[taken], written, now);
            return taken + 1;
        }
        written -= size;
        taken++;
    }
    return taken;
}

static int stream_send(struct link *link, const struct foyer_packet *packets, size_t count,
                       foyer_time_ns now)
{
    struct stream_link *stream = stream_link(link);
    struct batch batch;
    int result = write_rest(stream, now);
    if (result <= 0)
        return result;
    size_t done = 0;
    while (done < count) {
        fill_batch(&batch, packets + done, count - done);
        if (batch.count == 0) {
            done++; /* dropped */
            continue;
        }
        ssize_t written = write_some(stream, batch.iov, batch.iov_count);
        if (written < 0)
            return done > 0 ? (int)done : (int)written;
        size_t taken = count_taken(stream, &batch, packets + done, (size_t)written, now);
        done += taken;
        if (taken < batch.count || stream->rest_start < stream->rest_end)
            break;
    }
    return (int)done;
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* Reads once, behind what is there; errors are kept for when that is used up. */
static void fill_input(struct stream_link *stream)
{
    size_t left = stream->input_end - stream->input_start;
    memmove(stream->input, stream->input + stream->input_start, left);
    stream->input_start = 0;
    stream->input_end = left;
    ssize_t got;
    do
        got = recv(stream->fd, stream->input + left, INPUT_SIZE - left, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        stream->input_end += (size_t)got;
    else if (got == 0 || errno == ECONNRESET)
        stream->error = -EPIPE;
    else if (errno != EAGAIN)
        stream->error = -errno;
}

static size_t take_frames(struct stream_link *stream, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    size_t count = 0;
    while (count < max && stream->input_end - stream->input_start >= SIZE_SIZE) {
        const uint8_t *at = stream->input + stream->input_start;
        uint32_t size = load_be32(at);
        if (size == 0 || size > LINK_FRAME_MAX) {
            stream->error = -EPROTO;
            break;
        }
        if (size > stream->input_end - stream->input_start - SIZE_SIZE)
            break;
        ret_packets[count++] = (struct foyer_packet){
            .spans = {{at + SIZE_SIZE, size}}, .span_count = 1, .arrival_ns = now};
        stream->input_start += SIZE_SIZE + size;
    }
    return count;
}

static int stream_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    struct stream_link *stream = stream_link(link);
    (void)write_rest(stream, now); /* an error comes back from recv */
    size_t count = take_frames(stream, ret_packets, max, now);
    if (count == 0 && stream->error == 0 && max > 0) {
        fill_input(stream);
        count = take_frames(stream, ret_packets, max, now);
    }
    return count > 0 ? (int)count : stream->error;
}

/* Frames that were read with others do not make the descriptor readable again. */
static bool has_frame(const struct stream_link *stream)
{
    size_t left = stream->input_end - stream->input_start;
    return left >= SIZE_SIZE && load_be32(stream->input + stream->input_start) <= left - SIZE_SIZE;
}

static foyer_time_ns stream_deadline(const struct link *link)
{
    const struct stream_link *stream = stream_link(link);
    if (has_frame(stream))
        return 0;
    return stream->rest_start < stream->rest_end ? stream->retry_ns : FOYER_TIME_NEVER;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int stream_fd(const struct link *link)
{
    return stream_link(link)->fd;
}

static void stream_close(struct link *link)
{
    struct stream_link *stream = stream_link(link);
    close(stream->fd);
    free(stream);
}

static const struct link_ops stream_ops = {
    .send = stream_send,
    .receive = stream_receive,
    .fd = stream_fd,
    .deadline = stream_deadline,
    .close = stream_close,
};

int link_stream_from_fd(int fd, struct link **ret_link)
{
    struct stream_link *stream = malloc(sizeof(*stream));
    if (stream == NULL)
        return -ENOMEM;
    stream->link = (struct link){&stream_ops, 0};
    stream->fd = fd;
    stream->error = 0;
    stream->input_start = stream->input_end = 0;
    stream->rest_start = stream->rest_end = 0;
    stream->retry_ns = 0;
    *ret_link = &stream->link;
    return 0;
}

int link_stream_open(const char *path, struct link **ret_link)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(name.sun_path))
        return -EINVAL;
    memcpy(name.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ? -errno : 0;
    if (error == 0)
        error = link_stream_from_fd(fd, ret_link);
    if (error < 0)
        close(fd);
    return error;
}
