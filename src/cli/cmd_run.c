/*
 * foyer run: becomes the program, attached to foyer on a host of its own.
 *
 * Everything that can fail is tried before execvp, which keeps process id, terminal, working
 * directory and descriptors; so exit status and signals of the program are its own. What is added:
 * the environment of protocol.h, and one descriptor, the birth channel.
 */
#define _GNU_SOURCE /* O_PATH */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ipc/attach.h"
#include "cli/start.h"
#include "cli/text.h"

enum { OPTION_HOST = 'H' };

/* Above what programs count on, below what the default limit allows. */
#define BIRTH_FD_SPACE 16
#define BIRTH_FD_LIMIT 1024

static int explain_find(const struct cli_invocation *invocation, const char *program, int error)
{
    switch (error) {
    case -ENOENT:
        cli_error(invocation, "'%s' was not found%s", program,
                  strchr(program, '/') != NULL ? "" : " in the directories of PATH");
        return CLI_RUN_NOT_FOUND;
    case -EISDIR:
        cli_error(invocation, "'%s' is a directory, not a program", program);
        return CLI_RUN_NOT_EXECUTABLE;
    case -EACCES:
        cli_error(invocation,
                  "'%s' may not be run: it, or a directory on the way to it, lacks "
                  "execute permission for this user",
                  program);
        return CLI_RUN_NOT_EXECUTABLE;
    default:
        cli_error(invocation, "'%s' cannot be run: %s", program, strerror(-error));
        return error == -ENOTDIR ? CLI_RUN_NOT_FOUND : CLI_RUN_NOT_EXECUTABLE;
    }
}

static void explain_start(const struct cli_invocation *invocation, const char *program,
                          const struct attach_report *report)
{
    char *safe = text_safe(report->path);
    const char *path = safe != NULL ? safe : program;
    bool is_interpreter = strcmp(report->path, program) != 0;
    cli_error(invocation, "'%s' was not started: %s%s", program,
              is_interpreter ? "its interpreter, " : "it would run without foyer",
              is_interpreter ? path : "");
    free(safe);
}

/* Returns CLI_OK if the program would attach, or can be supervised. */
static int explain_report(const struct cli_invocation *invocation, const char *program,
                          const struct attach_report *report)
{
    switch (report->verdict) {
    case ATTACH_YES:
        return CLI_OK;
    case ATTACH_STATIC: /* under supervision: attach_needs_supervisor */
    case ATTACH_GO:
    case ATTACH_LIBC:
        return CLI_OK;
    case ATTACH_SETID:
    case ATTACH_CAPABILITIES:
        explain_start(invocation, program, report);
        fprintf(stderr,
                "The file has %s, and for such programs the dynamic linker ignores LD_PRELOAD\n"
                "(secure execution, see ld.so(8)). Run it as the user whose rights it takes, or "
                "use a copy\nwithout them.\n",
                report->verdict == ATTACH_SETID ? "the set-user-ID or set-group-ID bit"
                                                : "file capabilities");
        break;
    case ATTACH_MACHINE:
        explain_start(invocation, program, report);
        fprintf(stderr,
                "The file is for another architecture (%s) than foyer's module. Use a build of it "
                "for this\none.\n",
                report->detail);
        break;
    case ATTACH_MALFORMED:
        cli_error(invocation, "'%s' cannot be run: %s is a damaged ELF file", program,
                  report->path);
        return CLI_RUN_NOT_EXECUTABLE;
    case ATTACH_INTERPRETER:
        cli_error(invocation, "'%s' cannot be run: its interpreter '%s' does not exist", program,
                  report->detail);
        return CLI_RUN_NOT_EXECUTABLE;
    case ATTACH_LOOP:
        cli_error(invocation, "'%s' cannot be run: its interpreters are scripts without end",
                  program);
        return CLI_RUN_NOT_EXECUTABLE;
    }
    return CLI_RUN_FAILURE;
}

/* ---- environment ----------------------------------------------------------------------------- */

/* LD_PRELOAD with our module in front; an outer `foyer run` may have put one there already. */
static char *preload_value(const char *module, const char *before)
{
    size_t size = strlen(module) + (before != NULL ? strlen(before) : 0) + 2;
    char *value = malloc(size);
    if (value == NULL)
        return NULL;
    char *end = stpcpy(value, module);
    while (before != NULL && *before != '\0') {
        size_t length = strcspn(before, ": "); /* ld.so(8): both separate */
        const char *name = memrchr(before, '/', length);
        size_t name_size = name != NULL ? (size_t)(before + length - name - 1) : length;
        const char *own = text_basename(module);
        bool is_ours =
            name_size == strlen(own) && memcmp(before + length - name_size, own, name_size) == 0;
        if (length > 0 && !is_ours) {
            *end++ = ':';
            end = mempcpy(end, before, length);
            *end = '\0';
        }
        before += length + (before[length] != '\0');
    }
    return value;
}

static int set_environment(const struct client *client, const char *module, const char *supervisor,
                           int birth_fd)
{
    char fd_text[16];
    char *preload = preload_value(module, getenv("LD_PRELOAD"));
    if (preload == NULL)
        return -ENOMEM;
    snprintf(fd_text, sizeof(fd_text), "%d", birth_fd);
    bool ok = setenv("LD_PRELOAD", preload, 1) == 0 &&
              setenv("FOYER_SOCKET", client->paths.socket, 1) == 0 &&
              setenv("FOYER_HOST", client->welcome.host, 1) == 0 &&
              setenv("FOYER_FD", fd_text, 1) == 0 &&
              setenv("FOYER_SUPERVISOR", supervisor, 1) == 0 &&
              (strcmp(client->paths.building, "default") == 0
                   ? unsetenv("FOYER_BUILDING")
                   : setenv("FOYER_BUILDING", client->paths.building, 1)) == 0;
    free(preload);
    return ok ? 0 : -ENOMEM;
}

/* Out of the way of the program's own descriptors, and kept over exec. Returns it or -errno. */
static int raise_birth_fd(int fd)
{
    struct rlimit limit;
    int base = BIRTH_FD_LIMIT - BIRTH_FD_SPACE;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < BIRTH_FD_LIMIT)
        base = limit.rlim_cur > 2 * BIRTH_FD_SPACE ? (int)limit.rlim_cur - BIRTH_FD_SPACE : 3;
    int high = fcntl(fd, F_DUPFD, base);
    if (high < 0)
        high = fcntl(fd, F_DUPFD, 3);
    return high < 0 ? -errno : high;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int find_module(const struct cli_invocation *invocation, char module[static ELF_PATH_MAX])
{
    if (start_find_preload(module) != 0) {
        cli_error(invocation,
                  "foyer's module is missing (looked for %s last); the installation "
                  "is incomplete",
                  module);
        return CLI_RUN_FAILURE;
    }
    if (strpbrk(module, ": ") != NULL) {
        cli_error(invocation,
                  "foyer's module is at '%s', and LD_PRELOAD cannot hold a path with a "
                  "colon or a space; install foyer elsewhere",
                  module);
        return CLI_RUN_FAILURE;
    }
    return CLI_OK;
}

/*
 * foyer-supervise, where it is there; children of the program may need it, too. It is not needed
 * where a supervised program runs this command: the supervisor is inherited, and so is its host.
 */
static int find_supervisor(const struct cli_invocation *invocation, const char *program,
                           bool is_needed, const char *host, char supervisor[static ELF_PATH_MAX])
{
    const char *host_before = getenv("FOYER_HOST");
    if (is_needed && getenv("FOYER_SUPERVISED") != NULL &&
        (host_before == NULL || (host != NULL && strcmp(host, host_before) != 0))) {
        cli_error(invocation,
                  "'%s' was not started: it is a program that foyer supervises, and so is the one "
                  "that\nstarts it; both have to be on the same host",
                  program);
        return CLI_RUN_FAILURE;
    }
    if (start_find_supervisor(supervisor) == 0)
        return CLI_OK;
    if (is_needed) {
        cli_error(invocation,
                  "'%s' was not started: it needs %s, which is missing; the installation is "
                  "incomplete",
                  program, supervisor);
        return CLI_RUN_FAILURE;
    }
    supervisor[0] = '\0';
    return CLI_OK;
}

/* Returns only if the program cannot be run. */
static int execute(const struct cli_invocation *invocation, const char *path, char **arguments,
                   const char *supervisor)
{
    int error;
    if (supervisor != NULL && getenv("FOYER_SUPERVISED") == NULL) {
        size_t count = 0;
        while (arguments[count] != NULL)
            count++;
        char **all = calloc(count + 3, sizeof(*all));
        if (all != NULL) {
            all[0] = (char *)(uintptr_t) "foyer-supervise";
            all[1] = (char *)(uintptr_t)path;
            memcpy(all + 2, arguments, count * sizeof(*all));
            execv(supervisor, all);
        }
        error = errno;
        free(all);
    } else {
        execvp(path, arguments);
        error = errno;
    }
    cli_error(invocation, "'%s' cannot be run: %s", arguments[0], strerror(error));
    return error == ENOENT ? CLI_RUN_NOT_FOUND : CLI_RUN_NOT_EXECUTABLE;
}

static int run_program(const struct cli_invocation *invocation, const char *host, char **arguments)
{
    char path[ELF_PATH_MAX], module[ELF_PATH_MAX], label[FOYER_NAME_MAX];
    char supervisor[ELF_PATH_MAX];
    struct elf_facts own;
    struct attach_report report;
    int error = attach_find(arguments[0], path);
    if (error != 0)
        return explain_find(invocation, arguments[0], error);
    bool has_own = attach_own_facts(&own);
    attach_check(path, getuid(), getgid(), has_own ? &own : NULL, &report);
    /* For the comparison with the report's path, which is the one that was found. */
    int status = explain_report(invocation, path, &report);
    if (status == CLI_OK)
        status = find_module(invocation, module);
    bool is_supervised = attach_needs_supervisor(report.verdict);
    if (status == CLI_OK)
        status = find_supervisor(invocation, arguments[0], is_supervised, host, supervisor);
    if (status != CLI_OK)
        return status;

    struct client client;
    if (host == NULL) {
        text_label(label, text_basename(path));
        host = label;
    }
    error =
        start_client_open(invocation, FOYER_ROLE_BIRTH, host, text_basename(path), &client, NULL);
    if (error != 0)
        return CLI_RUN_FAILURE;
    int birth_fd = raise_birth_fd(client.fd);
    error = birth_fd < 0 ? birth_fd : set_environment(&client, module, supervisor, birth_fd);
    if (error != 0) {
        cli_error(invocation, "cannot pass foyer's session on to '%s': %s", arguments[0],
                  strerror(-error));
        return CLI_RUN_FAILURE;
    }
    return execute(invocation, path, arguments, is_supervised ? supervisor : NULL);
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        {"host", required_argument, NULL, OPTION_HOST},
        {0},
    };
    const char *host = NULL;
    int option;
    while ((option = cli_option_next(invocation, options, true)) >= 0) {
        if (!name_is_label(optarg))
            return cli_usage_error(invocation,
                                   "'%s' cannot be a host's name: use lower-case letters, digits "
                                   "and hyphens, not digits alone",
                                   optarg);
        host = optarg;
    }
    if (option == CLI_OPTION_STOP)
        return invocation->exit_status;
    if (optind == invocation->argc)
        return cli_usage_error(invocation, "which program?");
    return run_program(invocation, host, invocation->argv + optind);
}

const struct cli_command command_run = {
    .name = "run",
    .arguments = "[--host NAME] [--building NAME] [--] PROGRAM [ARGUMENT]...",
    .summary = "run a program on a host of its own",
    .help =
        "The program needs no change. Its TCP and UDP sockets are foyer's, on a host with its own\n"
        "addresses and all its ports free; programs of the same host share it. Starts foyerd if\n"
        "it does not run.\n"
        "\n"
        "Options:\n"
        "  --host NAME  the host's name, else made from the program's; other programs of the\n"
        "               building reach it by this name\n"
        "\n"
        "Statically linked programs, Go's, and those of another C library run under supervision:\n"
        "the same host and ports, but slower. Refused are programs that would run unattached:\n"
        "set-user-ID, with file capabilities, of another architecture.\n"
        "\n"
        "Exit status: that of the program; 125 foyer failed or refuses the program, 126 it cannot\n"
        "be run, 127 it was not found, 2 wrong usage.\n",
    .run = run,
};
