#include "daemon/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/session.h"

bool process_name(pid_t pid, char ret_name[FOYER_NAME_MAX])
{
    char path[64], name[FOYER_NAME_MAX];
    if (pid <= 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, name, sizeof(name) - 1);
    close(fd);
    if (size <= 0)
        return false;
    name[size] = '\0';
    name[strcspn(name, "\n")] = '\0';
    memcpy(ret_name, name, sizeof(name));
    return true;
}

void process_user(uid_t uid, char *ret_name, size_t capacity)
{
    struct passwd entry, *found = NULL;
    char buffer[4096];
    if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found != NULL)
        snprintf(ret_name, capacity, "%s", found->pw_name);
    else
        snprintf(ret_name, capacity, "%u", (unsigned)uid);
}

/* ---- which process has which socket ---------------------------------------------------------- */

struct holding {
    struct hash_node node;
    ino_t inode;
    pid_t pid;
    uid_t uid;
};

struct process_map {
    struct hash_table by_inode; /* several pids may have one inode */
    struct hash_table seen;     /* of holding, by pid: processes already read */
};

static uint32_t hash_number(uint64_t number)
{
    number *= 0x9e3779b97f4a7c15u; /* inodes and pids are the kernel's choice, not an attacker's */
    return (uint32_t)(number >> 32);
}

static struct holding *add(struct hash_table *table, uint64_t key, ino_t inode, pid_t pid,
                           uid_t uid)
{
    struct holding *holding = calloc(1, sizeof(*holding));
    if (holding == NULL)
        return NULL;
    holding->inode = inode;
    holding->pid = pid;
    holding->uid = uid;
    hash_table_insert(table, &holding->node, hash_number(key));
    return holding;
}

static bool find(const struct hash_table *table, uint64_t key, ino_t inode, pid_t pid,
                 struct holding *ret_found)
{
    for (struct hash_node *node = hash_table_first(table, hash_number(key)); node != NULL;
         node = hash_table_next(node)) {
        struct holding *holding = HASH_ENTRY(node, struct holding, node);
        if ((inode == 0 || holding->inode == inode) && (pid == 0 || holding->pid == pid)) {
            *ret_found = *holding;
            return true;
        }
    }
    return false;
}

/* Reads the links of /proc/<pid>/fd, of the form "socket:[12345]". */
static void read_descriptors(struct process_map *map, pid_t pid, uid_t uid)
{
    char path[64], target[64];
    struct holding found;
    if (pid <= 0 || find(&map->seen, (uint64_t)pid, 0, pid, &found))
        return;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    add(&map->seen, (uint64_t)pid, 0, pid, uid);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        static const char prefix[] = "socket:[";
        ssize_t size = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
        if (size <= 0)
            continue;
        target[size] = '\0';
        if (strncmp(target, prefix, sizeof(prefix) - 1) != 0)
            continue;
        unsigned long long inode = strtoull(target + sizeof(prefix) - 1, NULL, 10);
        add(&map->by_inode, inode, (ino_t)inode, pid, uid);
    }
    closedir(directory);
}

struct process_map *process_map_create(const struct daemon *daemon)
{
    struct process_map *map = calloc(1, sizeof(*map));
    if (map == NULL)
        return NULL;
    if (hash_table_init(&map->by_inode, &daemon->allocator) != 0 ||
        hash_table_init(&map->seen, &daemon->allocator) != 0) {
        process_map_destroy(map);
        return NULL;
    }
    LIST_FOREACH (&daemon->sessions, node) {
        const struct session *session = LIST_ENTRY(node, struct session, node);
        if (session->arena != NULL)
            read_descriptors(map, session->holder.pid, session->holder.uid);
    }
    HASH_FOREACH (&daemon->psockets, node) {
        const struct psocket *psocket = HASH_ENTRY(node, struct psocket, by_id);
        read_descriptors(map, psocket->holder.pid, psocket->holder.uid);
    }
    return map;
}

static void finish_table(struct hash_table *table)
{
    HASH_FOREACH_SAFE (table, node) {
        hash_table_remove(table, node);
        free(HASH_ENTRY(node, struct holding, node));
    }
    hash_table_finish(table);
}

void process_map_destroy(struct process_map *map)
{
    if (map == NULL)
        return;
    finish_table(&map->by_inode);
    finish_table(&map->seen);
    free(map);
}

static bool is_alive(pid_t pid)
{
    return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

void process_holder(const struct process_map *map, const struct psocket *psocket,
                    struct holder *ret_holder)
{
    struct holder holder = psocket->holder;
    struct holding found;
    ino_t inode = psocket->program_inode;
    bool is_readable = map != NULL && find(&map->seen, (uint64_t)holder.pid, 0, holder.pid, &found);
    /* What can't be looked at is the best there is. A supervisor has the descriptors itself. */
    if ((!is_readable || holder.is_supervised) && is_alive(holder.pid)) {
        *ret_holder = holder;
        return;
    }
    if (map != NULL && (find(&map->by_inode, inode, inode, holder.pid, &found) ||
                        find(&map->by_inode, inode, inode, 0, &found))) {
        if (found.pid != holder.pid) {
            holder.pid = found.pid;
            holder.uid = found.uid;
        }
        process_name(holder.pid, holder.program);
    } else {
        holder.pid = 0;
    }
    *ret_holder = holder;
}
