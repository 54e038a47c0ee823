/* foyer ports: who holds which port on foyer's hosts. */
#include <stdio.h>

#include "cli/client.h"
#include "cli/names.h"
#include "cli/sockets.h"
#include "cli/table.h"

enum { OPTION_LISTENING = 'l', OPTION_CONNECTED = 'c', OPTION_PROTOCOL = 'p' };

struct filter {
    bool listening, connected; /* neither: both */
    uint8_t protocols;
};

static bool passes(const struct filter *filter, const json_t *socket)
{
    bool wants_all = filter->listening == filter->connected;
    return (socket_protocol(socket) & filter->protocols) != 0 &&
           (wants_all || filter->connected == socket_is_connected(socket));
}

/* The answer's sockets that pass, in order, each with its "service". NULL: no memory. */
static json_t *select_sockets(const json_t *answer, const struct filter *filter,
                              const struct foyer_registry *registry)
{
    json_t *sorted = socket_sort(json_object_get(answer, "sockets"));
    json_t *selected = sorted != NULL ? json_array() : NULL;
    for (size_t i = 0; i < json_array_size(sorted); i++) {
        json_t *socket = json_array_get(sorted, i);
        if (!passes(filter, socket))
            continue;
        const char *service = socket_service(registry, socket);
        json_object_set_new(socket, "service",
                            service != NULL ? json_string(service) : json_null());
        json_array_append(selected, socket);
    }
    json_decref(sorted);
    return selected;
}

static int print_table(const struct cli_invocation *invocation, const json_t *sockets)
{
    static const char *const headings[] = {"HOST", "PROTO",   "LOCAL", "REMOTE", "STATE",
                                           "PID",  "PROGRAM", "USER",  "SINCE",  "SERVICE"};
    struct table table;
    table_init(&table, 10, headings);
    for (size_t i = 0; i < json_array_size(sockets); i++) {
        const json_t *socket = json_array_get(sockets, i);
        table_add(&table, json_text(socket, "host"));
        table_add(&table, json_text(socket, "protocol"));
        socket_add_cells(&table, socket);
        table_add(&table, json_text(socket, "service"));
    }
    if (table_print(&table, stdout) == 0)
        return CLI_OK;
    cli_error(invocation, "no memory for the table");
    return CLI_FAILURE;
}

static int show(const struct cli_invocation *invocation, const char *host,
                const struct filter *filter)
{
    json_t *answer;
    struct foyer_registry *registry;
    json_t *request = json_pack("{s:s, s:s?}", "command", "ports", "host", host);
    if (client_ask(invocation, request, -1, &answer) != 0)
        return CLI_FAILURE;
    if (names_open(invocation, false, &registry) != 0) {
        json_decref(answer);
        return CLI_FAILURE;
    }
    int status = CLI_OK;
    json_t *sockets = select_sockets(answer, filter, registry);
    if (sockets == NULL) {
        cli_error(invocation, "no memory for the sockets");
        status = CLI_FAILURE;
    } else if (invocation->is_json) {
        json_t *output = json_pack("{s:O}", "sockets", sockets);
        json_print(output);
        json_decref(output);
    } else {
        status = print_table(invocation, sockets);
    }
    json_decref(sockets);
    json_decref(answer);
    foyer_registry_destroy(registry);
    return status;
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        CLI_OPTIONS_JSON,
        {"listening", no_argument, NULL, OPTION_LISTENING},
        {"connected", no_argument, NULL, OPTION_CONNECTED},
        {"protocol", required_argument, NULL, OPTION_PROTOCOL},
        {0},
    };
    struct filter filter = {.protocols = FOYER_REGISTRY_TCP | FOYER_REGISTRY_UDP};
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0) {
        if (option == OPTION_LISTENING)
            filter.listening = true;
        else if (option == OPTION_CONNECTED)
            filter.connected = true;
        else
            filter.protocols =
                foyer_registry_protocol_parse(optarg) & (FOYER_REGISTRY_TCP | FOYER_REGISTRY_UDP);
        if (filter.protocols == 0)
            return cli_usage_error(invocation, "'%s' is no protocol here; there are tcp and udp",
                                   optarg);
    }
    if (option == CLI_OPTION_STOP || !cli_operands_check(invocation, 0, 1))
        return invocation->exit_status;
    return show(invocation, invocation->argv[optind], &filter);
}

const struct cli_command command_ports = {
    .name = "ports",
    .arguments = "[HOST] [--listening] [--connected] [--protocol tcp|udp] [--json]",
    .summary = "show who holds which port on foyer's hosts",
    .help =
        "Options:\n"
        "  --listening               only sockets that wait for others\n"
        "  --connected               only sockets with another end\n"
        "  --protocol tcp|udp        only that protocol\n"
        "  --json                    print JSON\n"
        "\n"
        "SINCE is when the port was taken. SERVICE is the name that the registry gives the port,\n"
        "which need not be what the program serves.\n"
        "\n"
        "Exit status: 0 also if there are none, 1 foyerd does not run or there is no such host,\n"
        "2 wrong usage.\n",
    .run = run,
};
