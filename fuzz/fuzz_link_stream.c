/* link/stream: whatever the peer writes, frames have the size that it announced and lie in order. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "link/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    struct link *link;
    if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return 0;
    if (link_stream_from_fd(fds[0], &link) < 0)
        abort();
    if (size > 0 && send(fds[1], data, size, MSG_DONTWAIT) != (ssize_t)size)
        abort();
    close(fds[1]);
    size_t at = 0;
    int count;
    struct foyer_packet packets[3];
    while ((count = link_receive(link, packets, 3, 0)) >= 0) { /* 0: a frame's beginning */
        for (int i = 0; i < count; i++) {
            const struct foyer_span *frame = &packets[i].spans[0];
            if (size - at < 4 || load_be32(data + at) != frame->size ||
                frame->size > size - at - 4 || memcmp(data + at + 4, frame->base, frame->size) != 0)
                abort();
            at += 4 + frame->size;
        }
    }
    if (count != -EPIPE && count != -EPROTO)
        abort();
    link_close(link);
    return 0;
}
