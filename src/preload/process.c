/*
 * fork, exec and spawn: the new program must find the module and foyerd again, whatever it does
 * to its environment, and the limit it believes in.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/attach.h"
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

/*
 * libc starts these without fork's handlers. What is not closed by exec is then held by the child,
 * too; when it leaves, nobody tells us.
 */
ENTRY int system(const char *command)
{
    table_spawn();
    return REAL(system)(command);
}

ENTRY FILE *popen(const char *command, const char *mode)
{
    table_spawn();
    return REAL(popen)(command, mode);
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
    const char *supervisor = getenv("FOYER_SUPERVISOR");
    if (supervisor != NULL && strlen(supervisor) + 18 < sizeof(config->env_supervisor))
        snprintf(config->env_supervisor, sizeof(config->env_supervisor), "FOYER_SUPERVISOR=%s",
                 supervisor);
    config->is_supervised = getenv("FOYER_SUPERVISED") != NULL;
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

#define OWN_COUNT 5u

/* Entries that must be there. */
static unsigned own_entries(const char *ret_entries[OWN_COUNT])
{
    const char *candidates[OWN_COUNT] = {preload_config.env_preload, preload_config.env_socket,
                                         preload_config.env_host, preload_config.env_fd,
                                         preload_config.env_supervisor};
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

/* The new program must begin with the limit that this one believes in. */
static void lower_limit(void)
{
    if (!preload_config.is_enabled)
        return;
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

/* ---- programs without the module ----------------------------------------------------------- */

enum launch { LAUNCH_PLAIN, LAUNCH_SUPERVISED, LAUNCH_REFUSED };

static enum launch refuse(const struct attach_report *report, const char *why)
{
    char line[ELF_PATH_MAX + 300];
    snprintf(line, sizeof(line), "foyer: %s is not started on host %s: %s", report->path,
             preload_config.host, why);
    preload_warn(line);
    return LAUNCH_REFUSED;
}

/*
 * ld.so(8), secure execution: where the real user or group is not the effective one, LD_PRELOAD is
 * ignored, and the supervisor could not read the program's memory. squid runs its workers so when
 * root started it.
 */
static bool is_secure_execution(void)
{
    return RAW(SYS_getuid) != RAW(SYS_geteuid) || RAW(SYS_getgid) != RAW(SYS_getegid);
}

/* Would the module come into this program? If not, it must not run silently without foyer. */
static enum launch judge(const char *path, char *const *environment)
{
    struct attach_report report;
    struct elf_facts own;
    if (!preload_config.is_enabled || preload_config.is_supervised ||
        find_name(environment, "FOYER_SUPERVISED=") != NULL)
        return LAUNCH_PLAIN;
    bool has_own = attach_own_facts(&own);
    attach_check(path, getuid(), getgid(), has_own ? &own : NULL, &report);
    /* One that cannot be executed the kernel explains. */
    if (is_secure_execution() && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
        return refuse(&report, "the real user or group of who starts it is not the effective one, "
                               "and then the dynamic linker ignores foyer's module, see ld.so(8)");
    switch (report.verdict) {
    case ATTACH_STATIC:
    case ATTACH_GO:
    case ATTACH_LIBC:
        if (preload_config.env_supervisor[0] != 0)
            return LAUNCH_SUPERVISED;
        return refuse(&report, "foyer's module cannot be loaded into it, and foyer-supervise is "
                               "not installed");
    case ATTACH_SETID:
        return refuse(&report, "for a set-user-ID or set-group-ID program the dynamic linker "
                               "ignores foyer's module, see ld.so(8)");
    case ATTACH_CAPABILITIES:
        return refuse(&report, "for a program with file capabilities the dynamic linker ignores "
                               "foyer's module, see ld.so(8)");
    case ATTACH_MACHINE:
        return refuse(&report, "it is of another architecture than foyer's module");
    default:
        return LAUNCH_PLAIN; /* the kernel explains what is damaged or missing */
    }
}

static size_t argument_count(char *const argv[])
{
    size_t count = 0;
    while (argv != NULL && argv[count] != NULL)
        count++;
    return count;
}

/* list: room for the arguments, two more and the end. */
static void put_supervisor_first(char **list, const char *path, char *const argv[])
{
    size_t count = argument_count(argv);
    *list++ = (char *)(uintptr_t) "foyer-supervise";
    *list++ = (char *)(uintptr_t)path;
    if (count == 0) /* the program's name has to be there */
        *list++ = (char *)(uintptr_t)path;
    for (size_t i = 0; i < count; i++)
        *list++ = argv[i];
    *list = NULL;
}

/*
 * What is to be executed in place of path and argv, as variables on the stack of the caller;
 * without malloc, as above. `refused` is what the caller does where it must not run.
 */
#define DECIDE_LAUNCH(launch_path, launch_argv, path, argv, environment, refused)                  \
    const char *launch_path = (path);                                                              \
    char *const *launch_argv = (argv);                                                             \
    switch (judge(launch_path, environment)) {                                                     \
    case LAUNCH_PLAIN:                                                                             \
        break;                                                                                     \
    case LAUNCH_SUPERVISED: {                                                                      \
        char **launch_list = __builtin_alloca((argument_count(argv) + 4) * sizeof(char *));        \
        put_supervisor_first(launch_list, launch_path, argv);                                      \
        launch_argv = launch_list;                                                                 \
        launch_path = preload_config.env_supervisor + strlen("FOYER_SUPERVISOR=");                 \
        break;                                                                                     \
    }                                                                                              \
    case LAUNCH_REFUSED:                                                                           \
        refused;                                                                                   \
    }

static int refused_exec(void)
{
    errno = EPERM;
    return -1;
}

ENTRY int execve(const char *path, char *const argv[], char *const environment[])
{
    COMPLETE_ENVIRONMENT(completed, environment);
    DECIDE_LAUNCH(launch_path, launch_argv, path, argv, completed, return refused_exec());
    lower_limit();
    REAL(execve)(launch_path, launch_argv, completed);
    return raise_again();
}

ENTRY int execvpe(const char *file, char *const argv[], char *const environment[])
{
    char path[ELF_PATH_MAX];
    COMPLETE_ENVIRONMENT(completed, environment);
    if (attach_find(file, path) == 0) {
        DECIDE_LAUNCH(launch_path, launch_argv, path, argv, completed, return refused_exec());
        if (launch_argv != argv)
            return execve(launch_path, launch_argv, completed);
    }
    lower_limit();
    REAL(execvpe)(file, argv, completed);
    return raise_again();
}

ENTRY int fexecve(int fd, char *const argv[], char *const environment[])
{
    char path[64];
    COMPLETE_ENVIRONMENT(completed, environment);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    DECIDE_LAUNCH(launch_path, launch_argv, path, argv, completed, return refused_exec());
    if (launch_argv != argv)
        return execve(launch_path, launch_argv, completed);
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
    DECIDE_LAUNCH(launch_path, launch_argv, path, argv, completed, return EPERM);
    table_spawn();
    return REAL(posix_spawn)(ret_pid, launch_path, actions, attributes, launch_argv, completed);
}

ENTRY int posix_spawnp(pid_t *ret_pid, const char *file, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[],
                       char *const environment[])
{
    char path[ELF_PATH_MAX];
    COMPLETE_ENVIRONMENT(completed, environment);
    table_spawn();
    if (attach_find(file, path) == 0) {
        DECIDE_LAUNCH(launch_path, launch_argv, path, argv, completed, return EPERM);
        if (launch_argv != argv)
            return REAL(posix_spawn)(ret_pid, launch_path, actions, attributes, launch_argv,
                                     completed);
    }
    return REAL(posix_spawnp)(ret_pid, file, actions, attributes, argv, completed);
}
