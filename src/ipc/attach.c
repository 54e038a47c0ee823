#define _GNU_SOURCE /* O_PATH, PATH_MAX */

#include "ipc/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The kernel follows five interpreters that are scripts themselves (exec_binprm in fs/exec.c). */
#define INTERPRETERS_MAX 5

static const char *basename_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* ---- the search in PATH ---------------------------------------------------------------------- */

static int check_executable(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    return access(path, X_OK) == 0 ? 0 : -errno;
}

/* One element of PATH; an empty one is the working directory (POSIX.1-2017, 8.3). */
static int try_directory(const char *directory, size_t size, const char *program,
                         char ret_path[static ELF_PATH_MAX])
{
    char path[ELF_PATH_MAX];
    int length = size == 0 ? snprintf(path, sizeof(path), "./%s", program)
                           : snprintf(path, sizeof(path), "%.*s/%s", (int)size, directory, program);
    if (length < 0 || (size_t)length >= sizeof(path))
        return -ENAMETOOLONG;
    int error = check_executable(path);
    if (error == 0)
        memcpy(ret_path, path, (size_t)length + 1);
    /* A directory that may not be searched has nothing that could be named, as shells see it. */
    struct stat status;
    if (error == -EACCES && stat(path, &status) != 0)
        return -ENOENT;
    return error;
}

int attach_find(const char *program, char ret_path[static ELF_PATH_MAX])
{
    size_t program_size = strlen(program);
    if (program_size == 0)
        return -ENOENT;
    if (program_size >= ELF_PATH_MAX)
        return -ENAMETOOLONG;
    if (strchr(program, '/') != NULL) {
        int error = check_executable(program);
        if (error == 0)
            memcpy(ret_path, program, program_size + 1);
        return error;
    }
    const char *search = getenv("PATH");
    if (search == NULL)
        search = "/bin:/usr/bin"; /* as execvp(3) */
    int result = -ENOENT;
    for (;;) {
        size_t size = strcspn(search, ":");
        int error =
            size < ELF_PATH_MAX ? try_directory(search, size, program, ret_path) : -ENAMETOOLONG;
        if (error == 0)
            return 0;
        /* A later directory may have one that can be run; else this one is worth naming. */
        if (error == -EACCES && result == -ENOENT)
            result = error;
        if (search[size] == '\0')
            return result;
        search += size + 1;
    }
}

/* ---- what the file is -------------------------------------------------------------------- */

static bool read_file(void *context, uint64_t offset, void *bytes, size_t size)
{
    int fd = *(const int *)context;
    uint8_t *to = bytes;
    while (size > 0) {
        if (offset > INT64_MAX)
            return false;
        ssize_t count = pread(fd, to, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        to += count;
        offset += (uint64_t)count;
        size -= (size_t)count;
    }
    return true;
}

static int facts_of(int fd, struct elf_facts *ret_facts)
{
    struct elf_source source = {.read = read_file, .context = &fd};
    return elf_read(&source, ret_facts);
}

bool attach_own_facts(struct elf_facts *ret_facts)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    int error = facts_of(fd, ret_facts);
    close(fd);
    return error == 0;
}

/*
 * Would the kernel start it with AT_SECURE set (getauxval(3))? Then ld.so(8) ignores the path in
 * LD_PRELOAD. Root gains nothing by a program of root's, so nothing is dropped there.
 */
static enum attach_verdict check_privileges(int fd, unsigned uid, unsigned gid)
{
    struct stat status;
    struct statvfs mount;
    if (fstat(fd, &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
        (fstatvfs(fd, &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0))
        return ATTACH_YES;
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != uid)
        return ATTACH_SETID;
    /* Without group execution the bit once meant mandatory locking. */
    if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != gid)
        return ATTACH_SETID;
    /* capabilities(7): 20 bytes; any size will do here. */
    if (uid != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
        return ATTACH_CAPABILITIES;
    return ATTACH_YES;
}

static enum attach_verdict check_elf(const struct elf_facts *facts, const struct elf_facts *own,
                                     char *detail, size_t detail_size)
{
    if (own != NULL && (facts->machine != own->machine || facts->class != own->class ||
                        facts->data != own->data)) {
        const char *name = elf_machine_name(facts);
        if (name != NULL)
            snprintf(detail, detail_size, "%s", name);
        else
            snprintf(detail, detail_size, "machine %u", facts->machine);
        return ATTACH_MACHINE;
    }
    /* A static program made position independent still has PT_DYNAMIC, but no linker. */
    if (!facts->has_interpreter || !facts->has_dynamic)
        return ATTACH_STATIC;
    if (facts->is_go)
        return ATTACH_GO;
    const char *linker = basename_of(facts->interpreter);
    if (own != NULL && own->has_interpreter && strcmp(linker, basename_of(own->interpreter)) != 0) {
        snprintf(detail, detail_size, "%.127s", linker);
        return ATTACH_LIBC;
    }
    return ATTACH_YES;
}

/* `#!/usr/bin/env NAME`: env is not what will run. True if path now names that program. */
static bool follow_env(const struct script_line *line, char path[static ELF_PATH_MAX])
{
    const char *argument = line->argument;
    if (strcmp(basename_of(line->interpreter), "env") != 0 || argument[0] == '\0' ||
        argument[0] == '-' || strpbrk(argument, "= \t") != NULL)
        return false;
    return attach_find(argument, path) == 0;
}

bool attach_needs_supervisor(enum attach_verdict verdict)
{
    return verdict == ATTACH_STATIC || verdict == ATTACH_GO || verdict == ATTACH_LIBC;
}

/* One file on the way to the program that will run; true: path was replaced, look again. */
static bool check_file(const char *path, unsigned uid, unsigned gid, const struct elf_facts *own,
                       struct attach_report *report, char next[static ELF_PATH_MAX])
{
    uint8_t head[SCRIPT_LINE_MAX];
    struct elf_facts facts;
    struct script_line line;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return false; /* executable and not readable: the kernel decides */
    int error = facts_of(fd, &facts);
    if (error == 0) {
        report->verdict = check_privileges(fd, uid, gid);
        if (report->verdict == ATTACH_YES)
            report->verdict = check_elf(&facts, own, report->detail, sizeof(report->detail));
    } else if (error == -EBADMSG) {
        report->verdict = ATTACH_MALFORMED;
    }
    ssize_t size = error == -ENOEXEC ? pread(fd, head, sizeof(head), 0) : -1;
    close(fd);
    if (size < 0)
        return false;
    if (script_parse(head, (size_t)size, &line) != 0) {
        /* execvp(3) gives what the kernel does not know to the shell. */
        snprintf(next, ELF_PATH_MAX, "%s", "/bin/sh");
        return true;
    }
    if (access(line.interpreter, F_OK) != 0) {
        report->verdict = ATTACH_INTERPRETER;
        snprintf(report->detail, sizeof(report->detail), "%.127s", line.interpreter);
        return false;
    }
    if (!follow_env(&line, next))
        snprintf(next, ELF_PATH_MAX, "%s", line.interpreter);
    return true;
}

void attach_check(const char *path, unsigned uid, unsigned gid, const struct elf_facts *own,
                  struct attach_report *ret_report)
{
    char next[ELF_PATH_MAX] = "";
    memset(ret_report, 0, sizeof(*ret_report));
    snprintf(ret_report->path, sizeof(ret_report->path), "%s", path);
    /* The program, its interpreters, and one more each for `env`. */
    for (int i = 0; i <= 2 * INTERPRETERS_MAX; i++) {
        if (!check_file(ret_report->path, uid, gid, own, ret_report, next))
            return;
        memcpy(ret_report->path, next, sizeof(next));
    }
    ret_report->verdict = ATTACH_LOOP;
}
