#define _GNU_SOURCE /* reallocarray, O_PATH */

#include "cli/machine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/text.h"

#define PROCNET_SIZE_MAX (256u << 20)

/* Reads a file of /proc, whose size nobody knows beforehand. The caller frees *ret_bytes. */
static int read_whole(const char *path, char **ret_bytes, size_t *ret_size)
{
    size_t size = 0, capacity = 16384;
    char *bytes = NULL;
    int error = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (error == 0) {
        if (bytes == NULL || size == capacity) {
            capacity *= 2;
            char *larger = capacity <= PROCNET_SIZE_MAX ? realloc(bytes, capacity) : NULL;
            if (larger == NULL) {
                error = -ENOMEM;
                break;
            }
            bytes = larger;
        }
        ssize_t count = read(fd, bytes + size, capacity - size);
        if (count == 0)
            break;
        if (count > 0)
            size += (size_t)count;
        else if (errno != EINTR)
            error = -errno;
    }
    close(fd);
    if (error != 0) {
        free(bytes);
        return error;
    }
    *ret_bytes = bytes;
    *ret_size = size;
    return 0;
}

/* For the small files of one process; terminated. */
static ssize_t read_small(const char *path, char *bytes, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t size = read(fd, bytes, capacity - 1);
    if (size < 0)
        size = -errno;
    close(fd);
    bytes[size > 0 ? size : 0] = '\0';
    return size;
}

/* ---- sockets --------------------------------------------------------------------------------- */

static bool is_wanted(const struct procnet_entry *entry, uint16_t port, bool is_udp,
                      bool with_connected)
{
    return entry->local.port == port &&
           (is_udp || with_connected || entry->state == PROCNET_LISTEN);
}

static int append_socket(struct machine_report *report, const struct procnet_entry *entry,
                         bool is_udp)
{
    struct machine_socket *sockets =
        reallocarray(report->sockets, report->socket_count + 1, sizeof(*sockets));
    if (sockets == NULL)
        return -ENOMEM;
    report->sockets = sockets;
    sockets[report->socket_count++] = (struct machine_socket){.entry = *entry, .is_udp = is_udp};
    return 0;
}

static int read_sockets(struct machine_report *report, const char *path, uint16_t port, bool is_udp,
                        bool with_connected)
{
    struct procnet_reader reader;
    struct procnet_entry entry;
    char *bytes = NULL;
    size_t size = 0;
    int error = read_whole(path, &bytes, &size);
    if (error == -ENOENT) /* a kernel without IPv6 */
        return 0;
    if (error != 0)
        return error;
    procnet_reader_init(&reader, bytes, size);
    while (error == 0 && procnet_reader_next(&reader, &entry)) {
        if (is_wanted(&entry, port, is_udp, with_connected))
            error = append_socket(report, &entry, is_udp);
    }
    free(bytes);
    return error;
}

/* ---- processes ------------------------------------------------------------------------------- */

static int64_t boot_time_s(void)
{
    char *bytes = NULL;
    size_t size = 0;
    uint64_t time_s = 0;
    if (read_whole("/proc/stat", &bytes, &size) != 0)
        return 0;
    if (!procnet_parse_boot_time(bytes, size, &time_s))
        time_s = 0;
    free(bytes);
    return (int64_t)time_s;
}

static void describe(struct machine_holder *holder, int64_t boot_s)
{
    char path[64], bytes[1024];
    uint64_t ticks;
    long per_second = sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)holder->pid);
    ssize_t size = read_small(path, bytes, sizeof(bytes));
    if (size > 0 && bytes[size - 1] == '\n')
        bytes[size - 1] = '\0';
    if (size > 0)
        snprintf(holder->program, sizeof(holder->program), "%.63s", bytes);
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)holder->pid);
    size = read_small(path, bytes, sizeof(bytes));
    if (size > 0 && boot_s > 0 && per_second > 0 &&
        procnet_parse_stat(bytes, (size_t)size, &ticks) && ticks < INT64_MAX / 2)
        holder->since_s = boot_s + (int64_t)(ticks / (uint64_t)per_second);
}

static int append_holder(struct machine_report *report, size_t socket_index, pid_t pid,
                         int64_t boot_s)
{
    /* A process may hold it by several descriptors. */
    for (size_t i = report->holder_count; i > 0 && report->holders[i - 1].pid == pid; i--) {
        if (report->holders[i - 1].socket_index == socket_index)
            return 0;
    }
    struct machine_holder *holders =
        reallocarray(report->holders, report->holder_count + 1, sizeof(*holders));
    if (holders == NULL)
        return -ENOMEM;
    report->holders = holders;
    struct machine_holder *holder = &holders[report->holder_count++];
    *holder = (struct machine_holder){.socket_index = socket_index, .pid = pid};
    describe(holder, boot_s);
    report->sockets[socket_index].holder_count++;
    return 0;
}

static int match_link(struct machine_report *report, const char *target, pid_t pid, int64_t boot_s)
{
    uint64_t inode;
    if (!procnet_parse_socket_link(target, &inode) || inode == 0)
        return 0;
    for (size_t i = 0; i < report->socket_count; i++) {
        if (report->sockets[i].entry.inode == inode)
            return append_holder(report, i, pid, boot_s);
    }
    return 0;
}

/* A process that ends meanwhile is no error. */
static int scan_process(struct machine_report *report, pid_t pid, int64_t boot_s)
{
    char path[64];
    struct dirent *item;
    int error = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    if (directory == NULL) {
        report->denied_count += errno == EACCES || errno == EPERM;
        return errno == ENOMEM ? -ENOMEM : 0;
    }
    while (error == 0 && (item = readdir(directory)) != NULL) {
        char target[64]; /* longer ones are no sockets */
        ssize_t size = readlinkat(dirfd(directory), item->d_name, target, sizeof(target) - 1);
        if (size <= 0)
            continue;
        target[size] = '\0';
        error = match_link(report, target, pid, boot_s);
    }
    closedir(directory);
    return error;
}

static int compare_holders(const void *left, const void *right)
{
    const struct machine_holder *a = left, *b = right;
    if (a->socket_index != b->socket_index)
        return a->socket_index < b->socket_index ? -1 : 1;
    return a->pid < b->pid ? -1 : a->pid > b->pid;
}

static int scan_processes(struct machine_report *report)
{
    struct dirent *item;
    int error = 0;
    int64_t boot_s = boot_time_s();
    DIR *directory = opendir("/proc");
    if (directory == NULL)
        return -errno;
    while (error == 0 && (item = readdir(directory)) != NULL) {
        uint64_t pid;
        if (text_number(item->d_name, INT_MAX, &pid))
            error = scan_process(report, (pid_t)pid, boot_s);
    }
    closedir(directory);
    if (report->holder_count > 0)
        qsort(report->holders, report->holder_count, sizeof(*report->holders), compare_holders);
    return error;
}

int machine_report_init(struct machine_report *ret_report, uint16_t port, bool tcp, bool udp,
                        bool with_connected)
{
    static const struct {
        const char *path;
        bool is_udp;
    } files[] = {
        {"/proc/net/tcp", false},
        {"/proc/net/tcp6", false},
        {"/proc/net/udp", true},
        {"/proc/net/udp6", true},
    };
    struct machine_report report = {0};
    int error = 0;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && error == 0; i++) {
        if (files[i].is_udp ? udp : tcp)
            error = read_sockets(&report, files[i].path, port, files[i].is_udp, with_connected);
    }
    if (error == 0 && report.socket_count > 0)
        error = scan_processes(&report);
    if (error != 0)
        machine_report_finish(&report);
    else
        *ret_report = report;
    return error;
}

void machine_report_finish(struct machine_report *report)
{
    free(report->sockets);
    free(report->holders);
    *report = (struct machine_report){0};
}

void machine_user_name(uint32_t uid, char ret_name[static MACHINE_NAME_SIZE])
{
    const struct passwd *user = getpwuid(uid);
    if (user != NULL)
        snprintf(ret_name, MACHINE_NAME_SIZE, "%.63s", user->pw_name);
    else
        snprintf(ret_name, MACHINE_NAME_SIZE, "%u", uid);
}
