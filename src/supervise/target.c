/* Memory and descriptors of a supervised process, through /proc and process_vm_readv. */
#define _GNU_SOURCE

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervise/supervise.h"

/* The text of a small file of /proc; false: the process is gone. */
static bool read_proc(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t count = read(fd, text, size - 1);
    close(fd);
    if (count < 0)
        return false;
    text[count] = '\0';
    return true;
}

bool target_socket_inode(pid_t thread, int fd, ino_t *ret_inode)
{
    char path[64], link[64];
    static const char prefix[] = "socket:[";
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)thread, fd);
    ssize_t size = readlink(path, link, sizeof(link) - 1);
    if (size < 0)
        return false;
    link[size] = '\0';
    if (strncmp(link, prefix, sizeof(prefix) - 1) != 0)
        return false;
    *ret_inode = (ino_t)strtoul(link + sizeof(prefix) - 1, NULL, 10);
    return true;
}

int target_find_socket(pid_t thread, ino_t inode)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)thread);
    DIR *folder = opendir(path);
    int copy = -ESRCH;
    if (folder == NULL)
        return -errno;
    for (const struct dirent *entry; copy < 0 && (entry = readdir(folder)) != NULL;) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        ino_t found;
        if (entry->d_name[0] == '.' || !target_socket_inode(thread, fd, &found) || found != inode)
            continue;
        copy = target_copy_descriptor(thread, fd);
        struct stat status;
        if (copy >= 0 && (fstat(copy, &status) != 0 || status.st_ino != inode)) {
            close(copy); /* another one by now */
            copy = -ESRCH;
        }
    }
    closedir(folder);
    return copy;
}

bool target_is_nonblocking(pid_t thread, int fd)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)thread, fd);
    if (!read_proc(path, text, sizeof(text)))
        return false;
    const char *flags = strstr(text, "flags:");
    return flags != NULL && (strtoul(flags + strlen("flags:"), NULL, 8) & O_NONBLOCK) != 0;
}

/* pidfd_open takes the process, not one of its threads. */
static pid_t process_of(pid_t thread)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
    if (!read_proc(path, text, sizeof(text)))
        return -1;
    const char *line = strstr(text, "\nTgid:");
    return line != NULL ? (pid_t)strtol(line + strlen("\nTgid:"), NULL, 10) : -1;
}

int target_copy_descriptor(pid_t thread, int fd)
{
    pid_t process = process_of(thread);
    if (process <= 0)
        return -ESRCH;
    int pidfd = (int)syscall(SYS_pidfd_open, process, 0);
    if (pidfd < 0)
        return -errno;
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    int error = copy < 0 ? -errno : 0;
    close(pidfd);
    return error != 0 ? error : copy;
}

int target_read(pid_t thread, uint64_t address, void *bytes, size_t size)
{
    struct iovec local = {bytes, size};
    struct iovec remote = {(void *)(uintptr_t)address, size};
    if (size == 0)
        return 0;
    return process_vm_readv(thread, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

int target_write(pid_t thread, uint64_t address, const void *bytes, size_t size)
{
    struct iovec local = {(void *)(uintptr_t)bytes, size};
    struct iovec remote = {(void *)(uintptr_t)address, size};
    if (size == 0)
        return 0;
    return process_vm_writev(thread, &local, 1, &remote, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}
