/*
 * foyer link: what connects the building's switch with something else.
 *
 * A TAP is made here and not by foyerd, since it takes CAP_NET_ADMIN, which foyerd has no other
 * use for: the right is needed for a moment, by a short-lived command, and the descriptor goes to
 * foyerd. If anything fails on the way, closing it makes the interface vanish again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/table.h"
#include "cli/tap.h"
#include "cli/text.h"

enum { OPTION_ADDRESS = 'a' };

#define ADDRESSES_MAX 8
#define TAP_NAME_DEFAULT "foyer0"

struct addresses {
    struct text_network items[ADDRESSES_MAX];
    size_t count;
    bool are_chosen; /* by the person: then each has to work */
};

/* ---- list, remove ---------------------------------------------------------------------------- */

static int list(const struct cli_invocation *invocation)
{
    static const char *const headings[] = {"NAME",       "KIND",     "RX-PACKETS", "RX-BYTES",
                                           "TX-PACKETS", "TX-BYTES", "TX-DROPPED"};
    static const char *const numbers[] = {"rx_packets", "rx_bytes", "tx_packets", "tx_bytes",
                                          "tx_dropped"};
    json_t *answer;
    struct table table;
    if (client_ask(invocation, json_pack("{s:s}", "command", "links"), -1, &answer) != 0)
        return CLI_FAILURE;
    int error = 0;
    if (invocation->is_json) {
        json_print(answer);
    } else {
        const json_t *links = json_object_get(answer, "links");
        table_init(&table, 7, headings);
        for (size_t i = 0; i < json_array_size(links); i++) {
            const json_t *link = json_array_get(links, i);
            table_add(&table, json_text(link, "name"));
            table_add(&table, json_text(link, "kind"));
            for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++)
                table_add_format(&table, "%lld", (long long)json_number(link, numbers[k]));
        }
        error = table_print(&table, stdout);
    }
    json_decref(answer);
    if (error == 0)
        return CLI_OK;
    cli_error(invocation, "no memory for the table");
    return CLI_FAILURE;
}

static int remove_link(const struct cli_invocation *invocation, const char *name)
{
    json_t *answer;
    json_t *request = json_pack("{s:s, s:s}", "command", "link-remove", "name", name);
    if (client_ask(invocation, request, -1, &answer) != 0)
        return CLI_FAILURE;
    json_decref(answer);
    return CLI_OK;
}

/* ---- add tap --------------------------------------------------------------------------------- */

static void explain_tap(const struct cli_invocation *invocation, const char *name, int error)
{
    switch (error) {
    case -ENOENT:
    case -ENODEV:
    case -ENXIO:
        cli_error(invocation, "this machine has no /dev/net/tun; 'sudo modprobe tun' may bring it, "
                              "a container must be given it");
        break;
    case -EACCES:
    case -EPERM:
        cli_error(invocation,
                  "making the interface %s needs the right to administer networks (CAP_NET_ADMIN) "
                  "and access to /dev/net/tun, and this user lacks %s",
                  name, error == -EACCES ? "the access" : "the right");
        fputs(
            "Run it with sudo:\n"
            "  sudo foyer link add tap\n"
            "foyer then still looks for your own building, not root's; where its directory is an\n"
            "unusual one, name it: sudo FOYER_DIR=\"$FOYER_DIR\" foyer link add tap\n",
            stderr);
        break;
    case -EBUSY:
        cli_error(invocation,
                  "an interface %s exists and is in use; choose another name: 'foyer "
                  "link add tap NAME'",
                  name);
        break;
    case -EINVAL:
        cli_error(invocation,
                  "the interface %s exists and is no TAP; choose another name: 'foyer "
                  "link add tap NAME'",
                  name);
        break;
    default:
        cli_error(invocation, "cannot make the interface %s: %s", name, strerror(-error));
    }
}

/* The building's gateway with the length of its network: what the kernel's side is to be. */
static bool gateway_of(const json_t *status, const char *gateway_key, const char *net_key,
                       struct text_network *ret_address)
{
    struct text_network net;
    struct foyer_addr addr;
    if (!text_network(json_text(status, net_key), &net) ||
        !text_address(json_text(status, gateway_key), &addr) ||
        foyer_addr_is_v4(&addr) != foyer_addr_is_v4(&net.addr))
        return false;
    *ret_address = (struct text_network){.addr = addr, .prefix = net.prefix};
    return true;
}

static int default_addresses(const struct cli_invocation *invocation, struct client *client,
                             struct addresses *addresses)
{
    json_t *status;
    struct text_network *items = addresses->items;
    int error =
        client_control(invocation, client, json_pack("{s:s}", "command", "status"), -1, &status);
    if (error != 0)
        return error;
    if (gateway_of(status, "gateway4", "net4", &items[addresses->count]))
        addresses->count++;
    if (gateway_of(status, "gateway6", "net6", &items[addresses->count]))
        addresses->count++;
    json_decref(status);
    if (addresses->count > 0)
        return 0;
    cli_error(invocation, "foyerd does not tell the building's networks; name an address with "
                          "--address");
    return -EPROTO;
}

static int configure(const struct cli_invocation *invocation, const char *name,
                     const struct addresses *addresses)
{
    for (size_t i = 0; i < addresses->count; i++) {
        char text[TEXT_ADDRESS_SIZE];
        const struct text_network *address = &addresses->items[i];
        int error = tap_add_address(name, address);
        if (error == 0)
            continue;
        text_format_address(text, &address->addr);
        cli_error(invocation, "cannot give the interface %s the address %s/%u: %s", name, text,
                  address->prefix, strerror(-error));
        /* Machines with IPv6 switched off are common, and IPv4 serves them. */
        if (addresses->are_chosen || foyer_addr_is_v4(&address->addr))
            return error;
    }
    int error = tap_set_up(name);
    if (error != 0)
        cli_error(invocation, "cannot set the interface %s up: %s", name, strerror(-error));
    return error;
}

static int hand_over(const struct cli_invocation *invocation, struct client *client,
                     const char *name, int fd)
{
    json_t *answer;
    json_t *request =
        json_pack("{s:s, s:s, s:s}", "command", "link-add", "kind", "tap", "name", name);
    int error = client_control(invocation, client, request, fd, &answer);
    if (error != 0)
        return error;
    if (invocation->is_json)
        json_print(answer);
    json_decref(answer);
    return 0;
}

static void print_done(const char *name, const struct addresses *addresses)
{
    printf("%s  up", name);
    for (size_t i = 0; i < addresses->count; i++) {
        char text[TEXT_ADDRESS_SIZE];
        text_format_address(text, &addresses->items[i].addr);
        printf("  %s/%u", text, addresses->items[i].prefix);
    }
    putchar('\n');
}

static int add_tap(const struct cli_invocation *invocation, const char *name,
                   struct addresses *addresses)
{
    struct client client;
    if (client_open_control(invocation, &client) != 0)
        return CLI_FAILURE;
    int error = addresses->are_chosen ? 0 : default_addresses(invocation, &client, addresses);
    if (error == 0) {
        int fd = tap_open(name);
        error = fd < 0 ? fd : 0;
        if (error != 0)
            explain_tap(invocation, name, error);
        if (error == 0)
            error = configure(invocation, name, addresses);
        if (error == 0)
            error = hand_over(invocation, &client, name, fd);
        if (fd >= 0)
            close(fd);
    }
    client_close(&client);
    if (error == 0 && !invocation->is_json)
        print_done(name, addresses);
    return error == 0 ? CLI_OK : CLI_FAILURE;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int run_add(struct cli_invocation *invocation, struct addresses *addresses)
{
    if (!cli_operands_check(invocation, 2, 3))
        return invocation->exit_status;
    const char *kind = invocation->argv[optind + 1];
    const char *name = invocation->argv[optind + 2];
    if (strcmp(kind, "tap") != 0)
        return cli_usage_error(invocation, "'%s' is no kind of link; there is tap", kind);
    if (name == NULL)
        name = TAP_NAME_DEFAULT;
    if (!tap_name_is_valid(name))
        return cli_usage_error(invocation,
                               "'%s' cannot be an interface's name: at most 15 visible ASCII "
                               "characters, none of / : %%",
                               name);
    return add_tap(invocation, name, addresses);
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        CLI_OPTIONS_JSON,
        {"address", required_argument, NULL, OPTION_ADDRESS},
        {0},
    };
    struct addresses addresses = {.count = 0};
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0) {
        if (addresses.count == ADDRESSES_MAX)
            return cli_usage_error(invocation, "more than %d addresses", ADDRESSES_MAX);
        if (!text_network(optarg, &addresses.items[addresses.count]))
            return cli_usage_error(invocation,
                                   "'%s' is no address with a length; one looks like "
                                   "10.177.0.1/16",
                                   optarg);
        addresses.count++;
        addresses.are_chosen = true;
    }
    if (option == CLI_OPTION_STOP)
        return invocation->exit_status;
    const char *action = optind < invocation->argc ? invocation->argv[optind] : "list";
    if (strcmp(action, "add") == 0)
        return run_add(invocation, &addresses);
    if (addresses.are_chosen)
        return cli_usage_error(invocation, "--address is only for 'foyer link add'");
    if (strcmp(action, "list") == 0)
        return cli_operands_check(invocation, 0, 1) ? list(invocation) : invocation->exit_status;
    if (strcmp(action, "remove") == 0)
        return cli_operands_check(invocation, 2, 2)
                   ? remove_link(invocation, invocation->argv[optind + 1])
                   : invocation->exit_status;
    return cli_usage_error(invocation, "'%s' is none of list, add, remove", action);
}

const struct cli_command command_link = {
    .name = "link",
    .arguments = "[list | add tap [NAME] | remove NAME] [OPTION]...",
    .summary = "list, add and remove links to the machine's kernel",
    .help =
        "'add tap' makes a network interface (foyer0 if no name is given) through which programs\n"
        "of the machine's kernel reach foyer's hosts by address, and the other way round. It\n"
        "needs CAP_NET_ADMIN: 'sudo foyer link add tap'. The interface goes when the link is\n"
        "removed or foyerd ends.\n"
        "\n"
        "Options:\n"
        "  --address ADDRESS/LENGTH  of add: the interface's address, may be given several\n"
        "                            times; else the building's gateway addresses\n"
        "  --json                    print JSON\n"
        "\n"
        "Exit status: 0 done, 1 failed or foyerd does not run, 2 wrong usage.\n",
    .run = run,
};
