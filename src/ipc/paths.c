#define _GNU_SOURCE /* secure_getenv, O_PATH */

#include "ipc/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

bool name_is_label(const char *name)
{
    size_t size = strnlen(name, FOYER_NAME_MAX);
    bool digits_only = true;
    if (size == 0 || size >= FOYER_NAME_MAX || name[0] == '-' || name[size - 1] == '-')
        return false;
    for (size_t i = 0; i < size; i++) {
        bool is_digit = name[i] >= '0' && name[i] <= '9';
        bool is_letter = name[i] >= 'a' && name[i] <= 'z';
        if (!is_digit && !is_letter && name[i] != '-')
            return false;
        digits_only = digits_only && is_digit;
    }
    return !digits_only;
}

static int format(char *to, const char *form, const char *a, const char *b)
{
    int size = snprintf(to, PATHS_SIZE_MAX, form, a, b);
    return size >= 0 && (unsigned)size < PATHS_SIZE_MAX ? 0 : -ENAMETOOLONG;
}

static int format_root(char *to)
{
    const char *directory = secure_getenv("FOYER_DIR");
    if (directory != NULL && directory[0] == '/')
        return format(to, "%s%s", directory, "");
    directory = secure_getenv("XDG_RUNTIME_DIR");
    /* XDG base directory specification: a relative path is to be ignored. */
    if (directory != NULL && directory[0] == '/')
        return format(to, "%s/%s", directory, "foyer");
    char uid[16];
    snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
    return format(to, "%s%s", "/tmp/foyer-", uid);
}

int paths_init(struct paths *ret_paths, const char *building)
{
    struct paths paths;
    memset(&paths, 0, sizeof(paths));
    if (building == NULL)
        building = secure_getenv("FOYER_BUILDING");
    if (building == NULL || building[0] == '\0')
        building = "default";
    if (!name_is_label(building))
        return -EINVAL;
    memcpy(paths.building, building, strlen(building));
    int error = format_root(paths.root);
    if (error == 0)
        error = format(paths.directory, "%s/%s", paths.root, building);
    if (error == 0)
        error = format(paths.socket, "%s/%s", paths.directory, "foyerd.sock");
    if (error == 0)
        error = format(paths.log, "%s/%s", paths.directory, "foyerd.log");
    if (error == 0)
        error = format(paths.lock, "%s/%s", paths.directory, "foyerd.lock");
    if (error == 0 && strlen(paths.socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        error = -ENAMETOOLONG;
    if (error == 0)
        *ret_paths = paths;
    return error;
}

static int check_directory(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP || errno == ENOTDIR ? -EPERM : -errno;
    struct stat status;
    int error = fstat(fd, &status) == 0 ? 0 : -errno;
    syscall(SYS_close, fd); /* not close(): see message.h */
    if (error == 0 && (status.st_uid != geteuid() || (status.st_mode & 077) != 0))
        error = -EPERM;
    return error;
}

int paths_check(const struct paths *paths)
{
    int error = check_directory(paths->root);
    return error == 0 ? check_directory(paths->directory) : error;
}

/* Whoever made it first is found out by check_directory. */
static int make_directory(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

int paths_prepare(const struct paths *paths)
{
    int error = make_directory(paths->root);
    if (error == 0)
        error = check_directory(paths->root);
    if (error == 0)
        error = make_directory(paths->directory);
    return error == 0 ? check_directory(paths->directory) : error;
}
