/* The files that `foyer run` looks at: an ELF file or a script of any bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/elf.h"

struct file {
    const uint8_t *bytes;
    size_t size;
};

static bool read_file(void *context, uint64_t offset, void *bytes, size_t size)
{
    const struct file *file = context;
    if (offset > file->size || size > file->size - offset)
        return false;
    memcpy(bytes, file->bytes + offset, size);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file file = {.bytes = data, .size = size};
    struct elf_source source = {.read = read_file, .context = &file};
    struct elf_facts facts;
    struct script_line line;
    if (elf_read(&source, &facts) == 0) {
        size_t length = strnlen(facts.interpreter, sizeof(facts.interpreter));
        if (length == sizeof(facts.interpreter) || (!facts.has_interpreter && length != 0))
            abort();
        (void)elf_machine_name(&facts);
    }
    if (script_parse(data, size, &line) == 0) {
        /* What the kernel would run: a name without blanks, a trimmed argument. */
        size_t length = strlen(line.argument);
        if (line.interpreter[0] == '\0' || strpbrk(line.interpreter, " \t\n") != NULL ||
            (length > 0 && strchr(" \t", line.argument[length - 1]) != NULL))
            abort();
    }
    return 0;
}
