/* foyer status */
#include <stdio.h>

#include "cli/client.h"
#include "cli/text.h"

static void print_status(const json_t *answer)
{
    char uptime[TEXT_TIME_SIZE];
    char *socket_path = text_safe(json_text(answer, "socket"));
    int64_t uptime_s = json_number(answer, "uptime_s");
    text_format_duration(uptime, uptime_s > 0 ? (uint64_t)uptime_s : 0);
    printf("building  %s\n", json_text(answer, "building"));
    printf("foyerd    %s, pid %lld, up for %s\n", json_text(answer, "version"),
           (long long)json_number(answer, "pid"), uptime);
    printf("socket    %s\n", socket_path != NULL ? socket_path : "");
    printf("networks  %s  %s\n", json_text(answer, "net4"), json_text(answer, "net6"));
    printf("hosts     %lld\n", (long long)json_number(answer, "hosts"));
    printf("sockets   %lld\n", (long long)json_number(answer, "sockets"));
    printf("sessions  %lld\n", (long long)json_number(answer, "sessions"));
    printf("links     %lld\n", (long long)json_number(answer, "links"));
    free(socket_path);
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {CLI_OPTIONS_COMMON, CLI_OPTIONS_JSON, {0}};
    json_t *answer;
    if (!cli_options_end(invocation, options, 0, 0))
        return invocation->exit_status;
    if (client_ask(invocation, json_pack("{s:s}", "command", "status"), -1, &answer) != 0)
        return CLI_FAILURE;
    if (invocation->is_json)
        json_print(answer);
    else
        print_status(answer);
    json_decref(answer);
    return CLI_OK;
}

const struct cli_command command_status = {
    .name = "status",
    .arguments = "[--building NAME] [--json]",
    .summary = "show whether foyerd runs, and what it serves",
    .help = "Options:\n"
            "  --json  print what foyerd answers, as JSON\n"
            "\n"
            "Exit status: 0 foyerd runs, 1 it does not, 2 wrong usage.\n",
    .run = run,
};
