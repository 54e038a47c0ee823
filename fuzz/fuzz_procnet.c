/* Text of /proc: socket tables, process facts, links of descriptors. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/procnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct procnet_reader reader;
    struct procnet_entry entry;
    uint64_t value;
    size_t count = 0;
    procnet_reader_init(&reader, text, size);
    while (procnet_reader_next(&reader, &entry)) {
        count++;
        if (entry.state == 0 || entry.state >= PROCNET_STATE_COUNT ||
            strcmp(procnet_state_name(entry.state, false), "UNKNOWN") == 0)
            abort();
    }
    /* One line each, of at least a byte. */
    if (count + reader.skipped_count > size)
        abort();
    (void)procnet_parse_stat(text, size, &value);
    (void)procnet_parse_boot_time(text, size, &value);
    char *link = malloc(size + 1);
    if (link != NULL) {
        memcpy(link, data, size);
        link[size] = '\0';
        (void)procnet_parse_socket_link(link, &value);
        free(link);
    }
    return 0;
}
