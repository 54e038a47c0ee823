/* foyer up: starts foyerd, or checks that it runs; sets the building's networks and ports. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "cli/start.h"
#include "cli/text.h"

#define END_TIMEOUT_MS 10000

enum { OPTION_NET4 = '4', OPTION_NET6 = '6', OPTION_PORTS = 'p' };

/* What the person asked for; NULL: nothing. */
struct wishes {
    const char *net4, *net6, *ephemeral_ports;
};

/* The bounds are foyerd's (docs/control.md); it refuses what does not fit. */
static bool check_network(struct cli_invocation *invocation, const char *text, bool is_v4)
{
    struct text_network network;
    if (text_network(text, &network) && foyer_addr_is_v4(&network.addr) == is_v4)
        return true;
    cli_usage_error(invocation, "'%s' is no IPv%c network; one looks like %s", text,
                    is_v4 ? '4' : '6', is_v4 ? "10.177.0.0/16" : "fd66:6f79:6572::/64");
    return false;
}

static int set_networks(const struct cli_invocation *invocation, struct client *client,
                        const struct wishes *wishes)
{
    json_t *answer;
    json_t *request =
        json_pack("{s:s, s:s*, s:s*, s:s*}", "command", "net-set", "net4", wishes->net4, "net6",
                  wishes->net6, "ephemeral_ports", wishes->ephemeral_ports);
    int error = client_control(invocation, client, request, -1, &answer);
    if (error == 0)
        json_decref(answer);
    return error;
}

/* A foyerd with networks that nobody asked for is not what the person wanted. */
static void end_again(const struct cli_invocation *invocation, struct client *client)
{
    json_t *answer;
    json_t *request = json_pack("{s:s, s:b}", "command", "down", "force", 0);
    if (client_control(invocation, client, request, -1, &answer) != 0)
        return;
    json_decref(answer);
    /* The session's end says that it serves no more (docs/control.md). */
    struct pollfd item = {.fd = client->fd, .events = POLLIN};
    while (poll(&item, 1, END_TIMEOUT_MS) < 0 && errno == EINTR)
        continue;
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        {"net4", required_argument, NULL, OPTION_NET4},
        {"net6", required_argument, NULL, OPTION_NET6},
        {"ephemeral-ports", required_argument, NULL, OPTION_PORTS},
        {0},
    };
    struct wishes wishes = {0};
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0) {
        if (option == OPTION_NET4)
            wishes.net4 = optarg;
        else if (option == OPTION_NET6)
            wishes.net6 = optarg;
        else
            wishes.ephemeral_ports = optarg;
    }
    if (option == CLI_OPTION_STOP || !cli_operands_check(invocation, 0, 0))
        return invocation->exit_status;
    if ((wishes.net4 != NULL && !check_network(invocation, wishes.net4, true)) ||
        (wishes.net6 != NULL && !check_network(invocation, wishes.net6, false)))
        return CLI_USAGE;

    struct client client;
    bool was_started = false;
    if (start_client_open(invocation, FOYER_ROLE_CONTROL, NULL, NULL, &client, &was_started) != 0)
        return CLI_FAILURE;
    int error = 0;
    if (wishes.net4 != NULL || wishes.net6 != NULL || wishes.ephemeral_ports != NULL)
        error = set_networks(invocation, &client, &wishes);
    if (error != 0 && was_started)
        end_again(invocation, &client);
    if (error == 0)
        printf("foyerd %s for building '%s', pid %d\n",
               was_started ? "was started" : "runs already", client.paths.building,
               client.welcome.daemon_pid);
    client_close(&client);
    return error == 0 ? CLI_OK : CLI_FAILURE;
}

const struct cli_command command_up = {
    .name = "up",
    .arguments = "[--building NAME] [--net4 NETWORK] [--net6 NETWORK] "
                 "[--ephemeral-ports FIRST-LAST]",
    .summary = "start foyerd, or set the building's networks",
    .help =
        "'foyer run' starts foyerd by itself; this command is for choosing the networks, and for\n"
        "having it run before the first program.\n"
        "\n"
        "Options:\n"
        "  --net4 NETWORK  the building's IPv4 network, like 10.177.0.0/16\n"
        "  --net6 NETWORK  the building's IPv6 network, like fd66:6f79:6572::/64\n"
        "  --ephemeral-ports FIRST-LAST\n"
        "                  where clients get their ports; else 49152-65535\n"
        "\n"
        "They can be changed as long as the building has no hosts.\n"
        "\n"
        "Exit status: 0 foyerd runs, 1 it does not or refused, 2 wrong usage.\n",
    .run = run,
};
