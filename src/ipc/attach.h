/*
 * Finds the program that is to be run, and tells beforehand whether it would attach: foyer's module
 * comes into a program through the dynamic linker (LD_PRELOAD), so a program that does not use it,
 * or one for which the linker ignores the environment, would silently talk to the kernel.
 *
 * Called by `foyer run` and, in attached programs, by exec; reads files, changes nothing, allocates
 * nothing.
 */
#ifndef FOYER_IPC_ATTACH_H
#define FOYER_IPC_ATTACH_H

#include "ipc/elf.h"

/*
 * As execvp(3) searches: a name with a slash is a path, others are looked for in PATH.
 * Returns 0; -ENOENT; -EACCES: there but not executable; -EISDIR: a directory; -ENAMETOOLONG.
 */
int attach_find(const char *program, char ret_path[static ELF_PATH_MAX]);

enum attach_verdict {
    ATTACH_YES,          /* or the file could not be read, and nothing speaks against it */
    ATTACH_STATIC,       /* no dynamic linker: LD_PRELOAD means nothing */
    ATTACH_GO,           /* Go's runtime makes system calls past libc */
    ATTACH_SETID,        /* set-user-ID or set-group-ID: secure execution, see ld.so(8) */
    ATTACH_CAPABILITIES, /* file capabilities: the same */
    ATTACH_MACHINE,      /* of another architecture than libfoyer-preload.so */
    ATTACH_LIBC,         /* loaded by the dynamic linker of another C library */
    ATTACH_MALFORMED,    /* begins like a program and is none */
    ATTACH_INTERPRETER,  /* a script whose interpreter is not there: detail names it */
    ATTACH_LOOP,         /* interpreters that are scripts, without end */
};

struct attach_report {
    enum attach_verdict verdict;
    char path[ELF_PATH_MAX]; /* the file it is about: the program or its interpreter */
    char detail[128];        /* name of the machine or dynamic linker; else empty */
};

/*
 * path: of an existing file. uid, gid: the real ones of the process that will run it.
 * own: the facts about a program that does attach, that is foyer itself; NULL if unknown.
 */
void attach_check(const char *path, unsigned uid, unsigned gid, const struct elf_facts *own,
                  struct attach_report *ret_report);

/* Such a program runs under foyer-supervise; the others that do not attach are refused. */
bool attach_needs_supervisor(enum attach_verdict verdict);

/* Facts about the running program; false where /proc does not tell. */
bool attach_own_facts(struct elf_facts *ret_facts);

#endif
