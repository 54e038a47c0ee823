/*
 * fork, exec and spawn: the new program must find the module and foyerd again, whatever it does
 * to its environment, and the limit it believes in.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/raw.h"
#include "preload/real.h"

/*
 * vfork's child shares the parent's memory: what it closes and duplicates before exec would be
 * done to the parent's table.
 */
ENTRY pid_t vfork(void)
{
    return REAL(fork)();
}

/* The module must live with the filter: see channel_ring. */
ENTRY int prctl(int operation, ...)
{
    va_list arguments;
    va_start(arguments, operation);
    unsigned long second = va_arg(arguments, unsigned long);
    unsigned long third = va_arg(arguments, unsigned long);
    unsigned long fourth = va_arg(arguments, unsigned long);
    unsigned long fifth = va_arg(arguments, unsigned long);
    va_end(arguments);
    if (operation == PR_SET_SECCOMP)
        preload_config.is_sandboxed = true;
    return REAL(prctl)(operation, second, third, fourth, fifth);
}

/* ---- environment --------------------------------------------------------------------------- */

void process_init(void)
{
    struct preload_config *config = &preload_config;
    const char *preload = getenv("LD_PRELOAD");
    if (preload != NULL && strlen(preload) + 12 < sizeof(config->env_preload)) {
        snprintf(config->env_preload, sizeof(config->env_preload), "LD_PRELOAD=%s", preload);
        /* The part with our name in it. */
        const char *at = strstr(preload, "libfoyer-preload");
        if (at != NULL) {
            while (at > preload && at[-1] != ':' && at[-1] != ' ')
                at--;
            size_t size = strcspn(at, ": ");
            memcpy(config->own_path, at, size);
            config->own_path[size] = 0;
        }
    }
    snprintf(config->env_socket, sizeof(config->env_socket), "FOYER_SOCKET=%.107s",
             config->socket_path);
    snprintf(config->env_host, sizeof(config->env_host), "FOYER_HOST=%.63s", config->host);
    if (config->birth_fd >= 0)
        snprintf(config->env_fd, sizeof(config->env_fd), "FOYER_FD=%d", config->birth_fd);
}

static bool has_name(const char *item, const char *like)
{
    size_t size = (size_t)(strchr(like, '=') - like) + 1;
    return strncmp(item, like, size) == 0;
}

static const char *find_name(char *const *environment, const char *like)
{
    for (; *environment != NULL; environment++) {
        if (has_name(*environment, like))
            return *environment;
    }
    return NULL;
}

#define OWN_COUNT 4u

/* Entries that must be there. */
static unsigned own_entries(const char *ret_entries[OWN_COUNT])
{
    const char *candidates[OWN_COUNT] = {preload_config.env_preload, preload_config.env_socket,
                                         preload_config.env_host, preload_config.env_fd};
    unsigned count = 0;
    for (unsigned i = 0; i < OWN_COUNT; i++) {
        if (candidates[i][0] != 0)
            ret_entries[count++] = candidates[i];
    }
    return count;
}

static bool is_complete(char *const *environment)
{
    const char *own[OWN_COUNT];
    unsigned count = own_entries(own);
    for (unsigned i = 0; i < count; i++) {
        const char *found = find_name(environment, own[i]);
        if (found == NULL)
            return false;
        if (own[i] == preload_config.env_preload) {
            if (strstr(found, preload_config.own_path) == NULL)
                return false;
        } else if (own[i] == preload_config.env_fd && strcmp(found, own[i]) != 0) {
            return false;
        }
    }
    return true;
}

static size_t environment_count(char *const *environment)
{
    size_t count = 0;
    while (environment[count] != NULL)
        count++;
    return count;
}

/* list has room for the old entries, OWN_COUNT more and the end; text for an LD_PRELOAD. */
static void complete(char *const *environment, char **list, char *text, size_t text_size)
{
    const char *own[OWN_COUNT];
    unsigned own_count = own_entries(own);
    size_t count = 0;
    for (; *environment != NULL; environment++) {
        bool is_replaced = false;
        for (unsigned i = 0; i < own_count; i++) {
            /* The program's own preloaded libraries stay, after ours. */
            if (own[i] == preload_config.env_preload && has_name(*environment, own[i]) &&
                strstr(*environment, preload_config.own_path) == NULL) {
                snprintf(text, text_size, "LD_PRELOAD=%s:%s", preload_config.own_path,
                         *environment + strlen("LD_PRELOAD="));
                list[count++] = text;
                is_replaced = true;
            } else if (own[i] == preload_config.env_fd && has_name(*environment, own[i])) {
                is_replaced = true;
                list[count++] = preload_config.env_fd;
            }
        }
        if (!is_replaced)
            list[count++] = *environment;
    }
    list[count] = NULL;
    for (unsigned i = 0; i < own_count; i++) {
        if (find_name(list, own[i]) == NULL) {
            list[count++] = (char *)(uintptr_t)own[i];
            list[count] = NULL;
        }
    }
}

static char *const empty_environment[] = {NULL};

/*
 * No malloc: the caller may be the child of a process that had a lock of it in another thread.
 * A complete environment in the variable `name`, on the stack of the caller.
 */
#define COMPLETE_ENVIRONMENT(name, environment)                                                    \
    char *const *name = (environment) != NULL ? (environment) : empty_environment;                 \
    char preload_text[2 * PRELOAD_PATH_MAX];                                                       \
    if (preload_config.is_enabled && !is_complete(name)) {                                         \
        char **list = __builtin_alloca((environment_count(name) + OWN_COUNT + 1) * sizeof(*list)); \
        complete(name, list, preload_text, sizeof(preload_text));                                  \
        name = list;                                                                               \
    }

/* ---- exec ---------------------------------------------------------------------------------- */

/*
 * ld.so(8), secure execution: where the real user or group is not the effective one, LD_PRELOAD is
 * ignored. squid runs its workers so when root started it. Not silently, at least.
 */
static void warn_of_secure_execution(void)
{
    if (RAW(SYS_getuid) != RAW(SYS_geteuid) || RAW(SYS_getgid) != RAW(SYS_getegid))
        preload_warn("foyer: a program is started whose real user or group is not the effective "
                     "one; it runs on this machine's network, without foyer");
}

/* The new program must begin with the limit that this one believes in. */
static void lower_limit(void)
{
    if (!preload_config.is_enabled)
        return;
    warn_of_secure_execution();
    RAW(SYS_prlimit64, 0, RLIMIT_NOFILE, &preload_config.program_nofile, NULL);
}

/* exec failed. */
static int raise_again(void)
{
    int saved_errno = errno;
    if (preload_config.is_enabled) {
        struct rlimit raised = {.rlim_cur = preload_config.program_nofile.rlim_max,
                                .rlim_max = preload_config.program_nofile.rlim_max};
        RAW(SYS_prlimit64, 0, RLIMIT_NOFILE, &raised, NULL);
    }
    errno = saved_errno;
    return -1;
}

ENTRY int execve(const char *path, char *const argv[], char *const environment[])
{
    COMPLETE_ENVIRONMENT(completed, environment);
    lower_limit();
    REAL(execve)(path, argv, completed);
    return raise_again();
}

ENTRY int execvpe(const char *file, char *const argv[], char *const environment[])
{
    COMPLETE_ENVIRONMENT(completed, environment);
    lower_limit();
    REAL(execvpe)(file, argv, completed);
    return raise_again();
}

ENTRY int fexecve(int fd, char *const argv[], char *const environment[])
{
    COMPLETE_ENVIRONMENT(completed, environment);
    lower_limit();
    REAL(fexecve)(fd, argv, completed);
    return raise_again();
}

ENTRY int execv(const char *path, char *const argv[])
{
    return execve(path, argv, environ);
}

ENTRY int execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

/* The arguments after `first`, up to NULL, as an array on the stack. */
#define COLLECT_ARGUMENTS(argv, arguments, first)                                                  \
    size_t argument_count = 1;                                                                     \
    va_list counting;                                                                              \
    va_copy(counting, arguments);                                                                  \
    while (va_arg(counting, char *) != NULL)                                                       \
        argument_count++;                                                                          \
    va_end(counting);                                                                              \
    char **argv = __builtin_alloca((argument_count + 1) * sizeof(*argv));                          \
    argv[0] = (char *)(uintptr_t)(first);                                                          \
    for (size_t i = 1; i <= argument_count; i++)                                                   \
        argv[i] = va_arg(arguments, char *);

ENTRY int execl(const char *path, const char *first, ...)
{
    va_list arguments;
    va_start(arguments, first);
    COLLECT_ARGUMENTS(argv, arguments, first);
    va_end(arguments);
    return execve(path, argv, environ);
}

ENTRY int execlp(const char *file, const char *first, ...)
{
    va_list arguments;
    va_start(arguments, first);
    COLLECT_ARGUMENTS(argv, arguments, first);
    va_end(arguments);
    return execvpe(file, argv, environ);
}

ENTRY int execle(const char *path, const char *first, ...)
{
    va_list arguments;
    va_start(arguments, first);
    COLLECT_ARGUMENTS(argv, arguments, first);
    char *const *environment = va_arg(arguments, char *const *);
    va_end(arguments);
    return execve(path, argv, environment);
}

/* ---- spawn --------------------------------------------------------------------------------- */

ENTRY int posix_spawn(pid_t *ret_pid, const char *path, const posix_spawn_file_actions_t *actions,
                      const posix_spawnattr_t *attributes, char *const argv[],
                      char *const environment[])
{
    COMPLETE_ENVIRONMENT(completed, environment);
    if (preload_config.is_enabled)
        warn_of_secure_execution();
    return REAL(posix_spawn)(ret_pid, path, actions, attributes, argv, completed);
}

ENTRY int posix_spawnp(pid_t *ret_pid, const char *file, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[],
                       char *const environment[])
{
    COMPLETE_ENVIRONMENT(completed, environment);
    if (preload_config.is_enabled)
        warn_of_secure_execution();
    return REAL(posix_spawnp)(ret_pid, file, actions, attributes, argv, completed);
}
