#include "ipc/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

/* Bounds on what a hostile file can make us do. */
#define NOTES_SIZE_MAX 65536u

/* The fields that we need, wherever the class puts them. */
struct program_header {
    uint32_t type;
    uint64_t offset, file_size, align;
};

struct reader {
    const struct elf_source *source;
    bool is_64, is_big;
};

static uint64_t load(const struct reader *reader, const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[reader->is_big ? i : size - 1 - i];
    return value;
}

static bool read_at(const struct reader *reader, uint64_t offset, void *bytes, size_t size)
{
    return reader->source->read(reader->source->context, offset, bytes, size);
}

static bool read_program_header(const struct reader *reader, uint64_t offset,
                                struct program_header *ret_header)
{
    uint8_t bytes[sizeof(Elf64_Phdr)];
    size_t size = reader->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (!read_at(reader, offset, bytes, size))
        return false;
    ret_header->type = (uint32_t)load(reader, bytes, 4);
    if (reader->is_64) {
        ret_header->offset = load(reader, bytes + offsetof(Elf64_Phdr, p_offset), 8);
        ret_header->file_size = load(reader, bytes + offsetof(Elf64_Phdr, p_filesz), 8);
        ret_header->align = load(reader, bytes + offsetof(Elf64_Phdr, p_align), 8);
    } else {
        ret_header->offset = load(reader, bytes + offsetof(Elf32_Phdr, p_offset), 4);
        ret_header->file_size = load(reader, bytes + offsetof(Elf32_Phdr, p_filesz), 4);
        ret_header->align = load(reader, bytes + offsetof(Elf32_Phdr, p_align), 4);
    }
    return true;
}

static int read_interpreter(const struct reader *reader, const struct program_header *header,
                            struct elf_facts *facts)
{
    /* gABI: "a null-terminated path name"; the kernel refuses other sizes too. */
    if (header->file_size < 2 || header->file_size > sizeof(facts->interpreter))
        return -EBADMSG;
    size_t size = (size_t)header->file_size;
    if (!read_at(reader, header->offset, facts->interpreter, size) ||
        facts->interpreter[size - 1] != '\0')
        return -EBADMSG;
    facts->has_interpreter = true;
    return 0;
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) / align * align;
}

/* The Go linker leaves its build id as a note of owner "Go", type 4. */
static bool notes_have_go(const struct reader *reader, const struct program_header *header)
{
    uint64_t align = header->align == 8 ? 8 : 4;
    uint64_t size = header->file_size < NOTES_SIZE_MAX ? header->file_size : NOTES_SIZE_MAX;
    uint64_t at = 0;
    while (size - at >= 12) {
        uint8_t note[16];
        size_t note_size = size - at >= 16 ? 16 : 12;
        if (header->offset > UINT64_MAX - size ||
            !read_at(reader, header->offset + at, note, note_size))
            return false;
        uint64_t name_size = load(reader, note, 4), desc_size = load(reader, note + 4, 4);
        if (note_size == 16 && name_size == 4 && load(reader, note + 8, 4) == 4 &&
            memcmp(note + 12, "Go\0", 4) == 0)
            return true;
        /* Both below 2^32: no overflow. */
        uint64_t step = align_up(12 + name_size, align) + align_up(desc_size, align);
        if (step > size - at)
            return false;
        at += step;
    }
    return false;
}

static int read_program_headers(const struct reader *reader, uint64_t offset, size_t entry_size,
                                size_t count, struct elf_facts *facts)
{
    size_t min = reader->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (count > 0 && (entry_size < min || offset > UINT64_MAX - count * entry_size))
        return -EBADMSG;
    for (size_t i = 0; i < count; i++) {
        struct program_header header;
        if (!read_program_header(reader, offset + i * entry_size, &header))
            return -EBADMSG;
        if (header.type == PT_INTERP && !facts->has_interpreter) {
            int error = read_interpreter(reader, &header, facts);
            if (error != 0)
                return error;
        } else if (header.type == PT_DYNAMIC) {
            facts->has_dynamic = true;
        } else if (header.type == PT_NOTE && !facts->is_go) {
            facts->is_go = notes_have_go(reader, &header);
        }
    }
    return 0;
}

int elf_read(const struct elf_source *source, struct elf_facts *ret_facts)
{
    uint8_t bytes[sizeof(Elf64_Ehdr)];
    struct reader reader = {.source = source};
    struct elf_facts facts;
    memset(&facts, 0, sizeof(facts));
    if (!read_at(&reader, 0, bytes, SELFMAG) || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return -ENOEXEC;
    if (!read_at(&reader, 0, bytes, EI_NIDENT))
        return -EBADMSG;
    facts.class = bytes[EI_CLASS];
    facts.data = bytes[EI_DATA];
    if ((facts.class != ELFCLASS32 && facts.class != ELFCLASS64) ||
        (facts.data != ELFDATA2LSB && facts.data != ELFDATA2MSB))
        return -EBADMSG;
    reader.is_64 = facts.class == ELFCLASS64;
    reader.is_big = facts.data == ELFDATA2MSB;
    if (!read_at(&reader, 0, bytes, reader.is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
        return -EBADMSG;
    /* The same place in both classes. */
    facts.type = (uint16_t)load(&reader, bytes + offsetof(Elf64_Ehdr, e_type), 2);
    facts.machine = (uint16_t)load(&reader, bytes + offsetof(Elf64_Ehdr, e_machine), 2);
    uint64_t offset;
    size_t entry_size, count;
    if (reader.is_64) {
        offset = load(&reader, bytes + offsetof(Elf64_Ehdr, e_phoff), 8);
        entry_size = (size_t)load(&reader, bytes + offsetof(Elf64_Ehdr, e_phentsize), 2);
        count = (size_t)load(&reader, bytes + offsetof(Elf64_Ehdr, e_phnum), 2);
    } else {
        offset = load(&reader, bytes + offsetof(Elf32_Ehdr, e_phoff), 4);
        entry_size = (size_t)load(&reader, bytes + offsetof(Elf32_Ehdr, e_phentsize), 2);
        count = (size_t)load(&reader, bytes + offsetof(Elf32_Ehdr, e_phnum), 2);
    }
    int error = read_program_headers(&reader, offset, entry_size, count, &facts);
    if (error == 0)
        *ret_facts = facts;
    return error;
}

const char *elf_machine_name(const struct elf_facts *facts)
{
    switch (facts->machine) {
    case EM_386:
        return "i386";
    case EM_X86_64:
        return facts->class == ELFCLASS32 ? "x32" : "x86-64";
    case EM_ARM:
        return "arm";
    case EM_AARCH64:
        return "aarch64";
    case EM_RISCV:
        return facts->class == ELFCLASS32 ? "riscv32" : "riscv64";
    case EM_PPC:
        return "powerpc";
    case EM_PPC64:
        return "ppc64";
    case EM_S390:
        return "s390";
    case EM_MIPS:
        return "mips";
    case EM_SPARCV9:
        return "sparc64";
    case 258: /* EM_LOONGARCH, newer than some libc's header */
        return "loongarch";
    default:
        return NULL;
    }
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

int script_parse(const uint8_t *bytes, size_t size, struct script_line *ret_line)
{
    if (size > SCRIPT_LINE_MAX)
        size = SCRIPT_LINE_MAX;
    if (size < 2 || bytes[0] != '#' || bytes[1] != '!')
        return -ENOEXEC;
    size_t begin = 2, end = 2;
    /* The kernel ends the line at a newline or a 0 (load_script in fs/binfmt_script.c). */
    while (end < size && bytes[end] != '\n' && bytes[end] != '\0')
        end++;
    bool is_cut = end == SCRIPT_LINE_MAX;
    while (begin < end && is_blank(bytes[begin]))
        begin++;
    size_t name_end = begin;
    while (name_end < end && !is_blank(bytes[name_end]))
        name_end++;
    /* A name that reaches the buffer's end may go on; the kernel refuses it. */
    if (name_end == begin || (is_cut && name_end == end))
        return -ENOEXEC;
    size_t argument = name_end;
    while (argument < end && is_blank(bytes[argument]))
        argument++;
    while (end > argument && is_blank(bytes[end - 1]))
        end--;
    /* Both are shorter than the line, whose first two bytes are "#!": a 0 has room. */
    memset(ret_line, 0, sizeof(*ret_line));
    memcpy(ret_line->interpreter, bytes + begin, name_end - begin);
    memcpy(ret_line->argument, bytes + argument, end - argument);
    return 0;
}
