/* foyer down: ends foyerd, and waits until it has ended. */
#define _GNU_SOURCE /* pidfd_open */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/client.h"

#define DOWN_TIMEOUT_MS 10000

/*
 * The session's end says that foyerd serves no more; the process's, that its lock is free and it
 * can be started anew. A kernel or sandbox without pidfd_open leaves it at the first.
 */
static int wait_end(struct client *client, int pid_fd)
{
    int fd = pid_fd >= 0 ? pid_fd : client->fd;
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int count;
    do {
        count = poll(&item, 1, DOWN_TIMEOUT_MS);
    } while (count < 0 && errno == EINTR);
    return count > 0 ? 0 : -ETIMEDOUT;
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        {"force", no_argument, NULL, 'f'},
        {0},
    };
    bool is_forced = false;
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0)
        is_forced = true;
    if (option == CLI_OPTION_STOP || !cli_operands_check(invocation, 0, 0))
        return invocation->exit_status;

    struct client client;
    int error = client_open(invocation, FOYER_ROLE_CONTROL, NULL, NULL, &client);
    if (error == -ENOENT) {
        printf("foyerd does not run for building '%s'\n", client.paths.building);
        return CLI_OK;
    }
    if (error != 0)
        return CLI_FAILURE;
    json_t *answer;
    int pid_fd = (int)syscall(SYS_pidfd_open, client.welcome.daemon_pid, 0);
    error = client_control(invocation, &client,
                           json_pack("{s:s, s:b}", "command", "down", "force", is_forced ? 1 : 0),
                           -1, &answer);
    if (error == 0) {
        json_decref(answer);
        error = wait_end(&client, pid_fd);
        if (error != 0)
            cli_error(invocation, "foyerd (pid %d) has agreed to end but is still there after %d s",
                      client.welcome.daemon_pid, DOWN_TIMEOUT_MS / 1000);
    }
    if (pid_fd >= 0)
        close(pid_fd);
    client_close(&client);
    return error == 0 ? CLI_OK : CLI_FAILURE;
}

const struct cli_command command_down = {
    .name = "down",
    .arguments = "[--building NAME] [--force]",
    .summary = "end foyerd",
    .help = "Refuses while programs are attached, and names them.\n"
            "\n"
            "Options:\n"
            "  --force  end foyerd all the same; the programs' connections break\n"
            "\n"
            "Exit status: 0 foyerd has ended or did not run, 1 it refused, 2 wrong usage.\n",
    .run = run,
};
