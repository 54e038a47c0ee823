/*
 * Reads what foyer must know of a program file before it is run: the headers of an ELF
 * file, or the first line of a script. Pure functions over bytes that anybody may have written;
 * called by attach.c and the fuzz target.
 *
 * Sources: System V ABI (gABI) chapters 4 and 5, ELF header and program header; elf(5);
 * execve(2) for the #! line.
 */
#ifndef FOYER_IPC_ELF_H
#define FOYER_IPC_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_PATH_MAX 4096u

/* Where the bytes come from. */
struct elf_source {
    /* Copies exactly size bytes from offset; false where there are not so many. */
    bool (*read)(void *context, uint64_t offset, void *bytes, size_t size);
    void *context;
};

struct elf_facts {
    uint8_t class;        /* ELFCLASS32 or ELFCLASS64 */
    uint8_t data;         /* ELFDATA2LSB or ELFDATA2MSB */
    uint16_t type;        /* ET_EXEC, ET_DYN, ... */
    uint16_t machine;     /* EM_X86_64, ... */
    bool has_interpreter; /* PT_INTERP: a dynamic linker loads it, and so what is preloaded */
    bool has_dynamic;     /* PT_DYNAMIC */
    bool is_go;           /* has the note of the Go linker */
    char interpreter[ELF_PATH_MAX]; /* terminated; empty without PT_INTERP */
};

/*
 * ret_facts: written on success only. Returns 0; -ENOEXEC: no ELF file; -EBADMSG: begins like one
 * but is cut off or contradicts itself. Work: at most 65535 program headers and 64 KiB of notes.
 */
int elf_read(const struct elf_source *source, struct elf_facts *ret_facts);

/* "x86-64", "aarch64", ...; NULL for a machine without a name here. */
const char *elf_machine_name(const struct elf_facts *facts);

/* The kernel looks at so many bytes of a file's beginning (BINPRM_BUF_SIZE). */
#define SCRIPT_LINE_MAX 256u

struct script_line {
    char interpreter[SCRIPT_LINE_MAX]; /* terminated, never empty */
    char argument[SCRIPT_LINE_MAX];    /* all that follows, as the kernel passes it; or empty */
};

/*
 * bytes: the file's beginning, at most SCRIPT_LINE_MAX of them. Returns 0; -ENOEXEC where the
 * kernel takes it for no script: no "#!", no interpreter, or an interpreter's name that is cut off.
 */
int script_parse(const uint8_t *bytes, size_t size, struct script_line *ret_line);

#endif
