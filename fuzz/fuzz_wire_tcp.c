/* wire/tcp: options that parse survive emit and parse. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/tcp.h"

static bool same_options(const struct wire_tcp_options *a, const struct wire_tcp_options *b)
{
    if (a->has_mss != b->has_mss || a->has_window_scale != b->has_window_scale ||
        a->has_sack_permitted != b->has_sack_permitted || a->has_timestamps != b->has_timestamps)
        return false;
    if (a->mss != b->mss || a->window_scale != b->window_scale ||
        a->timestamp_value != b->timestamp_value || a->timestamp_echo != b->timestamp_echo)
        return false;
    if (a->has_fastopen != b->has_fastopen || a->fastopen_size != b->fastopen_size ||
        a->fastopen_is_experimental != b->fastopen_is_experimental ||
        memcmp(a->fastopen, b->fastopen, sizeof(a->fastopen)) != 0)
        return false;
    for (unsigned i = 0; i < b->sack_count; i++) {
        if (!seq_eq(a->sack[i].left, b->sack[i].left) ||
            !seq_eq(a->sack[i].right, b->sack[i].right))
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_tcp tcp;
    int header = wire_tcp_parse(data, size, &tcp);
    if (header < 0)
        return 0;
    if ((size_t)header > size || header != tcp.header_size)
        abort();
    struct wire_tcp_options options, again_options;
    if (wire_tcp_options_parse(data + WIRE_TCP_SIZE, (size_t)header - WIRE_TCP_SIZE, &options) < 0)
        return 0;
    uint8_t again[WIRE_TCP_SIZE_MAX];
    size_t emitted = wire_tcp_emit(again, &tcp, &options);
    struct wire_tcp again_tcp;
    if (emitted > sizeof(again) || wire_tcp_parse(again, emitted, &again_tcp) != (int)emitted ||
        wire_tcp_options_parse(again + WIRE_TCP_SIZE, emitted - WIRE_TCP_SIZE, &again_options) < 0)
        abort();
    uint8_t room = wire_tcp_sack_room(&options);
    if (again_options.sack_count != (options.sack_count < room ? options.sack_count : room) ||
        !same_options(&options, &again_options))
        abort();
    if (again_tcp.flags != tcp.flags || !seq_eq(again_tcp.seq, tcp.seq) ||
        !seq_eq(again_tcp.ack, tcp.ack) || again_tcp.window != tcp.window)
        abort();
    return 0;
}
