/* ELF files in memory, made field by field for tests. */
#ifndef FOYER_TESTS_UNIT_CLI_IMAGES_H
#define FOYER_TESTS_UNIT_CLI_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/elf.h"

struct image {
    uint8_t bytes[4096];
    size_t size;
    bool is_64, is_big;
    unsigned header_count;
    size_t data_end; /* where the next segment's contents go */
};

/* An ELF header of ET_DYN with room for four program headers. */
void image_init(struct image *image, bool is_64, bool is_big, uint16_t machine);
/* A program header; contents may be NULL if size is 0. Returns its offset in the image. */
size_t image_add(struct image *image, uint32_t type, const void *contents, size_t size);
/* Overwrites a number in the image's byte order. */
void image_set(struct image *image, size_t offset, size_t size, uint64_t value);
/* Reads the image; borrowed. */
struct elf_source image_source(struct image *image);

/* An image of this machine's kind that is linked dynamically, as `own` says. */
void image_init_like(struct image *image, const struct elf_facts *own);

#endif
