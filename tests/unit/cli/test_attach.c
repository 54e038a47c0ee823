/* Finding a program, and telling which files would run unattached. */
#define _GNU_SOURCE /* ST_NOSUID */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/attach.h"
#include "images.h"

static char folder[64];
static struct elf_facts own;

static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t size, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void write_script(const char *path, const char *text)
{
    write_file(path, text, strlen(text), 0755);
}

static struct attach_report check(const char *path)
{
    struct attach_report report;
    attach_check(path, getuid(), getgid(), &own, &report);
    return report;
}

static int group_setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/foyer-test-attach-XXXXXX");
    return mkdtemp(folder) != NULL && attach_own_facts(&own) ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void this_program_attaches(void **state)
{
    (void)state;
    assert_true(own.has_interpreter);
    assert_int_equal(check("/proc/self/exe").verdict, ATTACH_YES);
    assert_int_equal(check("/bin/sh").verdict, ATTACH_YES);
}

static void kinds_of_files(void **state)
{
    (void)state;
    const char *path = in_folder("program");
    struct image image;

    image_init_like(&image, &own);
    write_file(path, image.bytes, image.size, 0755);
    assert_int_equal(check(path).verdict, ATTACH_YES);

    image_init(&image, own.class == ELFCLASS64, own.data == ELFDATA2MSB, own.machine);
    image_add(&image, PT_DYNAMIC, NULL, 0);
    write_file(path, image.bytes, image.size, 0755);
    assert_int_equal(check(path).verdict, ATTACH_STATIC);

    image_init_like(&image, &own);
    image_set(&image, 18, 2, own.machine == EM_386 ? EM_X86_64 : EM_386);
    write_file(path, image.bytes, image.size, 0755);
    struct attach_report report = check(path);
    assert_int_equal(report.verdict, ATTACH_MACHINE);
    assert_true(strlen(report.detail) > 0);

    image_init(&image, own.class == ELFCLASS64, own.data == ELFDATA2MSB, own.machine);
    image_add(&image, PT_INTERP, "/lib/ld-musl-x86_64.so.1", 25);
    image_add(&image, PT_DYNAMIC, NULL, 0);
    write_file(path, image.bytes, image.size, 0755);
    report = check(path);
    assert_int_equal(report.verdict, ATTACH_LIBC);
    assert_string_equal(report.detail, "ld-musl-x86_64.so.1");

    image_init_like(&image, &own);
    write_file(path, image.bytes, 30, 0755);
    assert_int_equal(check(path).verdict, ATTACH_MALFORMED);
}

static void set_user_id(void **state)
{
    (void)state;
    const char *path = in_folder("setid");
    struct statvfs mount;
    struct image image;
    struct attach_report report;
    /* There the kernel ignores the bits. */
    if (statvfs(folder, &mount) != 0 || (mount.f_flag & ST_NOSUID) != 0 ||
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
        skip();
    image_init_like(&image, &own);
    write_file(path, image.bytes, image.size, 04755);
    attach_check(path, getuid() + 1, getgid(), &own, &report);
    assert_int_equal(report.verdict, ATTACH_SETID);
    /* Its owner gains nothing. */
    attach_check(path, getuid(), getgid(), &own, &report);
    assert_int_equal(report.verdict, ATTACH_YES);
    write_file(path, image.bytes, image.size, 02755);
    attach_check(path, getuid(), getgid() + 1, &own, &report);
    assert_int_equal(report.verdict, ATTACH_SETID);
    /* Not a set-group-ID program without execution by the group. */
    write_file(path, image.bytes, image.size, 02705);
    attach_check(path, getuid(), getgid() + 1, &own, &report);
    assert_int_equal(report.verdict, ATTACH_YES);
}

static void scripts_are_followed(void **state)
{
    (void)state;
    char text[512];
    struct image image;
    const char *static_path = in_folder("static");
    image_init(&image, own.class == ELFCLASS64, own.data == ELFDATA2MSB, own.machine);
    write_file(static_path, image.bytes, image.size, 0755);

    const char *script = in_folder("script");
    write_script(script, "#!/bin/sh\nexit 0\n");
    assert_int_equal(check(script).verdict, ATTACH_YES);

    snprintf(text, sizeof(text), "#!%s -x\n", static_path);
    write_script(script, text);
    struct attach_report report = check(script);
    assert_int_equal(report.verdict, ATTACH_STATIC);
    assert_string_equal(report.path, static_path);

    /* By way of a second script, and by way of env. */
    const char *second = in_folder("second");
    snprintf(text, sizeof(text), "#!%s\n", script);
    write_script(second, text);
    assert_int_equal(check(second).verdict, ATTACH_STATIC);
    snprintf(text, sizeof(text), "#!/usr/bin/env %s\n", static_path);
    write_script(second, text);
    assert_int_equal(check(second).verdict, ATTACH_STATIC);

    write_script(script, "#!/nowhere/at/all\n");
    report = check(script);
    assert_int_equal(report.verdict, ATTACH_INTERPRETER);
    assert_string_equal(report.detail, "/nowhere/at/all");

    snprintf(text, sizeof(text), "#!%s\n", script);
    write_script(script, text);
    assert_int_equal(check(script).verdict, ATTACH_LOOP);

    /* Without #! it is the shell's. */
    write_script(script, "exit 0\n");
    assert_int_equal(check(script).verdict, ATTACH_YES);
    write_script(script, "");
    assert_int_equal(check(script).verdict, ATTACH_YES);
}

static void search_in_path(void **state)
{
    (void)state;
    char found[ELF_PATH_MAX], search[512], *before = strdup(getenv("PATH"));
    assert_int_equal(mkdir(in_folder("a"), 0700), 0);
    assert_int_equal(mkdir(in_folder("b"), 0700), 0);
    write_file(in_folder("a/tool"), "", 0, 0644);
    snprintf(search, sizeof(search), "%s/a:%s/b", folder, folder);
    setenv("PATH", search, 1);
    assert_int_equal(attach_find("tool", found), -EACCES);
    write_script(in_folder("b/tool"), "exit 0\n");
    assert_int_equal(attach_find("tool", found), 0);
    assert_string_equal(found, in_folder("b/tool"));
    assert_int_equal(attach_find("no-such-tool", found), -ENOENT);
    assert_int_equal(attach_find("", found), -ENOENT);
    assert_int_equal(attach_find("/tmp", found), -EISDIR);
    assert_int_equal(attach_find("/nowhere/tool", found), -ENOENT);
    /* A directory of that name is passed over. */
    assert_int_equal(mkdir(in_folder("a/dir"), 0700), 0);
    write_script(in_folder("b/dir"), "exit 0\n");
    assert_int_equal(attach_find("dir", found), 0);
    assert_string_equal(found, in_folder("b/dir"));
    /* An empty element is the working directory; the result must not be looked for again. */
    char *directory = getcwd(NULL, 0);
    assert_int_equal(chdir(in_folder("b")), 0);
    setenv("PATH", "/nowhere:", 1);
    assert_int_equal(attach_find("tool", found), 0);
    assert_string_equal(found, "./tool");
    assert_int_equal(chdir(directory), 0);
    free(directory);
    setenv("PATH", before, 1);
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_program_attaches), cmocka_unit_test(kinds_of_files),
        cmocka_unit_test(set_user_id),           cmocka_unit_test(scripts_are_followed),
        cmocka_unit_test(search_in_path),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
