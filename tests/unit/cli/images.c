#include "images.h"

#include <elf.h>
#include <string.h>

#define HEADERS_MAX 4u

void image_set(struct image *image, size_t offset, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++) {
        size_t at = image->is_big ? offset + size - 1 - i : offset + i;
        image->bytes[at] = (uint8_t)(value >> (8 * i));
    }
}

void image_init(struct image *image, bool is_64, bool is_big, uint16_t machine)
{
    memset(image, 0, sizeof(*image));
    image->is_64 = is_64;
    image->is_big = is_big;
    memcpy(image->bytes, ELFMAG, SELFMAG);
    image->bytes[EI_CLASS] = is_64 ? ELFCLASS64 : ELFCLASS32;
    image->bytes[EI_DATA] = is_big ? ELFDATA2MSB : ELFDATA2LSB;
    image->bytes[EI_VERSION] = EV_CURRENT;
    image_set(image, 16, 2, ET_DYN);
    image_set(image, 18, 2, machine);
    size_t header_size = is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
    size_t entry_size = is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    image_set(image, is_64 ? 32 : 28, is_64 ? 8 : 4, header_size);
    image_set(image, is_64 ? 54 : 42, 2, entry_size);
    image->data_end = header_size + HEADERS_MAX * entry_size;
    image->size = image->data_end;
}

size_t image_add(struct image *image, uint32_t type, const void *contents, size_t size)
{
    size_t header_size = image->is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
    size_t entry_size = image->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    size_t at = header_size + image->header_count * entry_size;
    image_set(image, at, 4, type);
    image_set(image, at + (image->is_64 ? 8 : 4), image->is_64 ? 8 : 4, image->data_end);
    image_set(image, at + (image->is_64 ? 32 : 16), image->is_64 ? 8 : 4, size);
    image_set(image, at + (image->is_64 ? 48 : 28), image->is_64 ? 8 : 4, 4);
    if (size > 0)
        memcpy(image->bytes + image->data_end, contents, size);
    image->data_end += size;
    image->size = image->data_end;
    image->header_count++;
    image_set(image, image->is_64 ? 56 : 44, 2, image->header_count);
    return at;
}

static bool read_image(void *context, uint64_t offset, void *bytes, size_t size)
{
    const struct image *image = context;
    if (offset > image->size || size > image->size - offset)
        return false;
    memcpy(bytes, image->bytes + offset, size);
    return true;
}

struct elf_source image_source(struct image *image)
{
    return (struct elf_source){.read = read_image, .context = image};
}

void image_init_like(struct image *image, const struct elf_facts *own)
{
    image_init(image, own->class == ELFCLASS64, own->data == ELFDATA2MSB, own->machine);
    image_add(image, PT_INTERP, own->interpreter, strlen(own->interpreter) + 1);
    image_add(image, PT_DYNAMIC, NULL, 0);
}
