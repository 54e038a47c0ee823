/* link/pcapng_read: whatever the file, frames lie within it and reading comes to an end. */
#include <stdint.h>
#include <stdlib.h>

#include "link/pcapng_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pcapng_reader reader;
    struct pcapng_frame frame;
    pcapng_reader_init(&reader, data, size);
    size_t frames = 0;
    while (pcapng_read(&reader, &frame) > 0) {
        if (frame.bytes < data || frame.size > size ||
            (size_t)(frame.bytes - data) > size - frame.size || ++frames > size / 12)
            abort();
    }
    return 0;
}
