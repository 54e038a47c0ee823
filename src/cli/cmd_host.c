/* foyer host: the building's hosts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/table.h"
#include "cli/text.h"

enum { OPTION_ADDRESS4 = '4', OPTION_ADDRESS6 = '6' };

static int ask(const struct cli_invocation *invocation, json_t *request, json_t **ret_answer)
{
    return client_ask(invocation, request, -1, ret_answer) == 0 ? CLI_OK : CLI_FAILURE;
}

static void print_host(const json_t *host)
{
    printf("name        %s\n", json_text(host, "name"));
    printf("IPv4        %s\n", json_text(host, "address4"));
    printf("IPv6        %s\n", json_text(host, "address6"));
    printf("MAC         %s\n", json_text(host, "mac"));
    printf("persistent  %s\n", json_is_true(json_object_get(host, "persistent")) ? "yes" : "no");
    printf("programs    %lld\n", (long long)json_number(host, "programs"));
    printf("sockets     %lld\n", (long long)json_number(host, "sockets"));
}

static int print_hosts(const struct cli_invocation *invocation, const json_t *hosts)
{
    static const char *const headings[] = {"NAME",       "IPV4",     "IPV6",   "MAC",
                                           "PERSISTENT", "PROGRAMS", "SOCKETS"};
    struct table table;
    table_init(&table, 7, headings);
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *host = json_array_get(hosts, i);
        table_add(&table, json_text(host, "name"));
        table_add(&table, json_text(host, "address4"));
        table_add(&table, json_text(host, "address6"));
        table_add(&table, json_text(host, "mac"));
        table_add(&table, json_is_true(json_object_get(host, "persistent")) ? "yes" : "no");
        table_add_format(&table, "%lld", (long long)json_number(host, "programs"));
        table_add_format(&table, "%lld", (long long)json_number(host, "sockets"));
    }
    if (table_print(&table, stdout) == 0)
        return CLI_OK;
    cli_error(invocation, "no memory for the table");
    return CLI_FAILURE;
}

static int list(const struct cli_invocation *invocation)
{
    json_t *answer;
    int status = ask(invocation, json_pack("{s:s}", "command", "hosts"), &answer);
    if (status != CLI_OK)
        return status;
    if (invocation->is_json)
        json_print(answer);
    else
        status = print_hosts(invocation, json_object_get(answer, "hosts"));
    json_decref(answer);
    return status;
}

static int show(const struct cli_invocation *invocation, const char *name)
{
    json_t *answer;
    const json_t *host = NULL;
    int status = ask(invocation, json_pack("{s:s}", "command", "hosts"), &answer);
    if (status != CLI_OK)
        return status;
    const json_t *hosts = json_object_get(answer, "hosts");
    for (size_t i = 0; i < json_array_size(hosts) && host == NULL; i++) {
        const json_t *candidate = json_array_get(hosts, i);
        if (strcmp(json_text(candidate, "name"), name) == 0)
            host = candidate;
    }
    if (host == NULL) {
        cli_error(invocation, "there is no host named '%s'; 'foyer host' lists those there are",
                  name);
        status = CLI_FAILURE;
    } else if (invocation->is_json) {
        json_print(host);
    } else {
        print_host(host);
    }
    json_decref(answer);
    return status;
}

static int add(const struct cli_invocation *invocation, const char *name, const char *address4,
               const char *address6)
{
    json_t *answer;
    int status = ask(invocation,
                     json_pack("{s:s, s:s, s:s*, s:s*}", "command", "host-add", "name", name,
                               "address4", address4, "address6", address6),
                     &answer);
    if (status != CLI_OK)
        return status;
    if (invocation->is_json)
        json_print(answer);
    else
        print_host(answer);
    json_decref(answer);
    return CLI_OK;
}

static int remove_host(const struct cli_invocation *invocation, const char *name)
{
    json_t *answer;
    int status =
        ask(invocation, json_pack("{s:s, s:s}", "command", "host-remove", "name", name), &answer);
    if (status == CLI_OK)
        json_decref(answer);
    return status;
}

static bool check_address(struct cli_invocation *invocation, const char *text, bool is_v4)
{
    struct foyer_addr addr;
    if (text_address(text, &addr) && foyer_addr_is_v4(&addr) == is_v4)
        return true;
    cli_usage_error(invocation, "'%s' is no IPv%c address", text, is_v4 ? '4' : '6');
    return false;
}

/* "add", "show" and "remove" take a name. */
static int run_action(struct cli_invocation *invocation, const char *address4, const char *address6)
{
    const char *action = optind < invocation->argc ? invocation->argv[optind] : "list";
    bool is_add = strcmp(action, "add") == 0, is_list = strcmp(action, "list") == 0;
    if (!is_list && !is_add && strcmp(action, "show") != 0 && strcmp(action, "remove") != 0)
        return cli_usage_error(invocation, "'%s' is none of list, add, show, remove", action);
    if ((address4 != NULL || address6 != NULL) && !is_add)
        return cli_usage_error(invocation, "addresses are only for 'foyer host add'");
    if (!cli_operands_check(invocation, is_list ? 0 : 2, is_list ? 1 : 2))
        return invocation->exit_status;
    if (is_list)
        return list(invocation);
    const char *name = invocation->argv[optind + 1];
    if (!name_is_label(name))
        return cli_usage_error(invocation,
                               "'%s' cannot be a host's name: use lower-case letters, digits and "
                               "hyphens, not digits alone",
                               name);
    if (is_add)
        return add(invocation, name, address4, address6);
    return action[0] == 's' ? show(invocation, name) : remove_host(invocation, name);
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        CLI_OPTIONS_JSON,
        {"address4", required_argument, NULL, OPTION_ADDRESS4},
        {"address6", required_argument, NULL, OPTION_ADDRESS6},
        {0},
    };
    const char *address4 = NULL, *address6 = NULL;
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0) {
        if (!check_address(invocation, optarg, option == OPTION_ADDRESS4))
            return CLI_USAGE;
        if (option == OPTION_ADDRESS4)
            address4 = optarg;
        else
            address6 = optarg;
    }
    if (option == CLI_OPTION_STOP)
        return invocation->exit_status;
    return run_action(invocation, address4, address6);
}

const struct cli_command command_host = {
    .name = "host",
    .arguments = "[list | add NAME | show NAME | remove NAME] [OPTION]...",
    .summary = "list, make and remove hosts",
    .help =
        "A host comes with the first program that runs on it and goes with the last one. A host\n"
        "that was added stays, with its addresses, until it is removed.\n"
        "\n"
        "Options:\n"
        "  --address4 ADDRESS  of add: its IPv4 address, in the building's network\n"
        "  --address6 ADDRESS  of add: its IPv6 address\n"
        "  --json              print JSON\n"
        "\n"
        "Exit status: 0 done, 1 foyerd refused or does not run, 2 wrong usage.\n",
    .run = run,
};
