/* link/pcapng: blocks read back by their lengths, and a link that records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "link/memory.h"
#include "link/pcapng.h"

static uint8_t file[8192];
static size_t file_size;

static uint32_t word(size_t at)
{
    uint32_t value;
    assert_true(at + 4 <= file_size);
    memcpy(&value, file + at, 4);
    return value;
}

static uint16_t half_word(size_t at)
{
    uint16_t value;
    assert_true(at + 2 <= file_size);
    memcpy(&value, file + at, 2);
    return value;
}

static void read_file(const char *path)
{
    FILE *stream = fopen(path, "rb");
    assert_non_null(stream);
    file_size = fread(file, 1, sizeof(file), stream);
    fclose(stream);
    unlink(path);
}

/* Checks the block at an offset and returns where the next one begins. */
static size_t block(size_t at, uint32_t type)
{
    uint32_t size = word(at + 4);
    assert_int_equal(word(at), type);
    assert_int_equal(size % 4, 0);
    assert_int_equal(word(at + size - 4), size);
    return at + size;
}

static void recording_link(void **state)
{
    (void)state;
    char path[] = "/tmp/foyer-pcapng-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct pcapng_writer writer;
    assert_int_equal(pcapng_open_fd(&writer, fd, "lan0"), 0);
    struct link *a, *b, *recorded;
    struct link_memory_config config = {0};
    assert_int_equal(link_memory_create(&config, &a, &b), 0);
    assert_int_equal(link_pcapng_create(a, &writer, 1ULL << 40, &recorded), 0);

    static const uint8_t head[] = "0123456789abcdef", body[] = "xyz";
    struct foyer_packet packet = {.spans = {{head, 14}, {body, 3}}, .span_count = 2}, got[2];
    assert_int_equal(link_send(recorded, &packet, 1, 5), 1);
    assert_int_equal(link_receive(b, got, 2, 5), 1);
    packet.span_count = 1;
    assert_int_equal(link_send(b, &packet, 1, 6), 1);
    assert_int_equal(link_receive(recorded, got, 2, 7), 1);
    link_close(recorded);
    link_close(b);

    read_file(path);
    size_t at = block(0, 0x0a0d0d0a);
    assert_int_equal(word(8), 0x1a2b3c4d);
    size_t interface = at;
    at = block(at, 1);
    assert_int_equal(half_word(interface + 8), 1); /* Ethernet */
    assert_int_equal(half_word(interface + 10), 0);
    size_t first = at;
    at = block(at, 6);
    assert_int_equal(word(first + 12), 1u << 8); /* 2^40 */
    assert_int_equal(word(first + 16), 5);
    assert_int_equal(word(first + 20), 17);
    assert_int_equal(word(first + 24), 17);
    assert_memory_equal(file + first + 28, "0123456789abcdxyz", 17);
    assert_int_equal(half_word(first + 28 + 20), 2); /* epb_flags, 4 bytes */
    assert_int_equal(half_word(first + 28 + 22), 4);
    assert_int_equal(word(first + 28 + 24), PCAPNG_OUTBOUND);
    size_t second = at;
    at = block(at, 6);
    assert_int_equal(word(second + 16), 7);
    assert_int_equal(word(second + 20), 14);
    assert_int_equal(word(second + 28 + 16 + 4), PCAPNG_INBOUND);
    assert_int_equal(at, file_size);
}

static void errors(void **state)
{
    (void)state;
    struct pcapng_writer writer;
    assert_int_equal(pcapng_open(&writer, "/nonexistent/file", NULL), -ENOENT);
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pcapng_open_fd(&writer, fd, NULL), -ENOSPC);
    /* A disk that fills up later stops the recording and is told at close. */
    writer = (struct pcapng_writer){.fd = fd};
    struct foyer_packet packet = {.spans = {{(const uint8_t *)"x", 1}}, .span_count = 1};
    pcapng_write(&writer, &packet, PCAPNG_UNKNOWN, 0);
    pcapng_write(&writer, &packet, PCAPNG_UNKNOWN, 0);
    assert_int_equal(pcapng_close(&writer), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_link),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
