/*
 * foyer who: who holds a port, on foyer's hosts and on the machine itself.
 *
 * Both sides become objects like those of docs/control.md's "ports", with "where" added: one
 * table, and one form of JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/machine.h"
#include "cli/names.h"
#include "cli/sockets.h"
#include "cli/table.h"
#include "cli/text.h"

enum { OPTION_CONNECTED = 'c' };

struct search {
    struct names_port port;
    bool with_connected;
    json_t *holders;     /* array */
    size_t denied_count; /* processes that could not be looked into */
    bool has_unknown;    /* a socket of the machine has a holder that was not found */
};

/* ---- foyer's hosts --------------------------------------------------------------------------- */

static void add_foyer_sockets(struct search *search, const json_t *answer)
{
    json_t *sorted = socket_sort(json_object_get(answer, "sockets"));
    for (size_t i = 0; i < json_array_size(sorted); i++) {
        json_t *socket = json_array_get(sorted, i);
        if (socket_port(socket) != search->port.port ||
            (socket_protocol(socket) & search->port.protocols) == 0 ||
            (socket_is_connected(socket) && !search->with_connected))
            continue;
        json_object_set_new(socket, "where", json_string("foyer"));
        json_array_append(search->holders, socket);
    }
    json_decref(sorted);
}

/* No foyerd, no sockets of foyer's: the machine's are still worth showing. */
static json_t *ask_foyerd(const struct cli_invocation *invocation)
{
    struct client client;
    json_t *answer = NULL;
    if (client_open(invocation, FOYER_ROLE_CONTROL, NULL, NULL, &client) != 0)
        return NULL;
    if (client_control(invocation, &client, json_pack("{s:s, s:n}", "command", "ports", "host"), -1,
                       &answer) != 0)
        answer = NULL;
    client_close(&client);
    return answer;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static bool has_remote(const struct machine_socket *socket)
{
    return socket->entry.remote.port != 0 || !foyer_addr_is_any(&socket->entry.remote.addr);
}

/* holder NULL: nobody was found. NULL: no memory. */
static json_t *machine_json(const struct machine_socket *socket,
                            const struct machine_holder *holder)
{
    char local[TEXT_ENDPOINT_SIZE], remote[TEXT_ENDPOINT_SIZE], user[MACHINE_NAME_SIZE];
    char *program = text_safe(holder != NULL ? holder->program : "");
    char *user_safe;
    text_format_endpoint(local, &socket->entry.local);
    text_format_endpoint(remote, &socket->entry.remote);
    machine_user_name(socket->entry.uid, user);
    user_safe = text_safe(user);
    json_t *object = json_pack(
        "{s:s, s:n, s:s, s:s, s:s?, s:s, s:i, s:s*, s:s*, s:I, s:I}", "where", "machine", "host",
        "protocol", socket->is_udp ? "udp" : "tcp", "local", local, "remote",
        has_remote(socket) ? remote : NULL, "state",
        procnet_state_name(socket->entry.state, socket->is_udp), "pid",
        holder != NULL ? (int)holder->pid : 0, "program", program, "user", user_safe, "uid",
        (json_int_t)socket->entry.uid, "since", (json_int_t)(holder != NULL ? holder->since_s : 0));
    free(program);
    free(user_safe);
    return object;
}

static int add_machine_sockets(struct search *search)
{
    struct machine_report report;
    int error = machine_report_init(
        &report, search->port.port, (search->port.protocols & FOYER_REGISTRY_TCP) != 0,
        (search->port.protocols & FOYER_REGISTRY_UDP) != 0, search->with_connected);
    if (error != 0)
        return error;
    size_t next = 0;
    for (size_t i = 0; i < report.socket_count; i++) {
        const struct machine_socket *socket = &report.sockets[i];
        /* Inode 0: TIME_WAIT and the like, which no process holds any more. */
        if (socket->holder_count == 0) {
            json_array_append_new(search->holders, machine_json(socket, NULL));
            search->has_unknown = search->has_unknown || socket->entry.inode != 0;
        }
        for (; next < report.holder_count && report.holders[next].socket_index == i; next++)
            json_array_append_new(search->holders, machine_json(socket, &report.holders[next]));
    }
    search->denied_count = report.denied_count;
    machine_report_finish(&report);
    return 0;
}

/* ---- output ---------------------------------------------------------------------------------- */

static void print_json(const struct search *search, const char *service)
{
    json_t *protocols = json_array();
    if ((search->port.protocols & FOYER_REGISTRY_TCP) != 0)
        json_array_append_new(protocols, json_string("tcp"));
    if ((search->port.protocols & FOYER_REGISTRY_UDP) != 0)
        json_array_append_new(protocols, json_string("udp"));
    json_t *output =
        json_pack("{s:i, s:o, s:s?, s:O, s:I}", "port", (int)search->port.port, "protocols",
                  protocols, "service", service, "holders", search->holders, "unreadable_processes",
                  (json_int_t)search->denied_count);
    json_print(output);
    json_decref(output);
}

static int print_table(const struct search *search)
{
    static const char *const headings[] = {"WHERE", "PROTO",   "LOCAL", "REMOTE", "STATE",
                                           "PID",   "PROGRAM", "USER",  "SINCE"};
    struct table table;
    table_init(&table, 9, headings);
    for (size_t i = 0; i < json_array_size(search->holders); i++) {
        const json_t *socket = json_array_get(search->holders, i);
        const char *host = json_text(socket, "host");
        table_add(&table, host[0] != '\0' ? host : "(machine)");
        table_add(&table, json_text(socket, "protocol"));
        socket_add_cells(&table, socket);
    }
    return table_print(&table, stdout);
}

static void print_notes(const struct cli_invocation *invocation, const struct search *search)
{
    if (!search->has_unknown)
        return;
    if (search->denied_count > 0)
        cli_error(invocation,
                  "the rights of this user do not suffice to look into %zu processes; run it as "
                  "root to see the holders that are missing",
                  search->denied_count);
    else
        cli_error(invocation, "a socket without a process belongs to the kernel, or to a process "
                              "that cannot be seen from here (another container)");
}

static int print_result(const struct cli_invocation *invocation, const struct search *search,
                        const struct foyer_registry *registry)
{
    char protocols[NAMES_PROTOCOLS_SIZE];
    const char *service = names_of_port(registry, search->port.port, search->port.protocols);
    bool is_found = json_array_size(search->holders) > 0;
    int error = 0;
    if (invocation->is_json)
        print_json(search, service);
    else if (is_found)
        error = print_table(search);
    if (error != 0) {
        cli_error(invocation, "no memory for the table");
        return CLI_FAILURE;
    }
    if (is_found) {
        print_notes(invocation, search);
    } else {
        names_format_protocols(protocols, search->port.protocols);
        cli_error(invocation,
                  "nobody holds port %u/%s%s%s%s, neither on foyer's hosts nor on this "
                  "machine",
                  search->port.port, protocols, service != NULL ? " (" : "",
                  service != NULL ? service : "", service != NULL ? ")" : "");
    }
    return is_found ? CLI_OK : CLI_FAILURE;
}

static int find(const struct cli_invocation *invocation, struct search *search,
                const struct foyer_registry *registry)
{
    json_t *answer = ask_foyerd(invocation);
    int error = 0;
    add_foyer_sockets(search, answer);
    error = add_machine_sockets(search);
    /* A port that nobody offers may be the near end of somebody's connection. */
    if (error == 0 && json_array_size(search->holders) == 0 && !search->with_connected) {
        search->with_connected = true;
        add_foyer_sockets(search, answer);
        error = add_machine_sockets(search);
    }
    json_decref(answer);
    if (error == 0)
        return print_result(invocation, search, registry);
    cli_error(invocation, "cannot read the machine's sockets in /proc: %s", strerror(-error));
    return CLI_FAILURE;
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        CLI_OPTIONS_JSON,
        {"connected", no_argument, NULL, OPTION_CONNECTED},
        {0},
    };
    struct search search = {.denied_count = 0};
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0)
        search.with_connected = true;
    if (option == CLI_OPTION_STOP || !cli_operands_check(invocation, 1, 1))
        return invocation->exit_status;
    struct foyer_registry *registry;
    if (names_open(invocation, false, &registry) != 0)
        return CLI_FAILURE;
    int error = names_parse_port(invocation, registry, invocation->argv[optind], &search.port);
    int status = error == -EINVAL ? CLI_USAGE : CLI_FAILURE;
    if (error == 0) {
        search.holders = json_array();
        status = find(invocation, &search, registry);
        json_decref(search.holders);
    }
    foyer_registry_destroy(registry);
    return status;
}

const struct cli_command command_who = {
    .name = "who",
    .arguments = "PORT|SERVICE[/tcp|/udp] [--connected] [--json]",
    .summary = "show who holds a port, on foyer's hosts and on this machine",
    .help = "Shows each listening or bound socket with the processes that hold it. Where there is\n"
            "none, connections whose own port it is are shown.\n"
            "\n"
            "Options:\n"
            "  --connected  show connections in any case\n"
            "  --json       print JSON\n"
            "\n"
            "SINCE is when the port was taken; on the machine itself, when the program started.\n"
            "\n"
            "Exit status: 0 somebody holds it, 1 nobody does, 2 wrong usage.\n",
    .run = run,
};
