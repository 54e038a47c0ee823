/* foyer services: which name belongs to which port, and the other way round. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/names.h"
#include "cli/table.h"
#include "cli/text.h"

enum { OPTION_PROTOCOL = 'p' };

/* What was asked for. */
struct query {
    const char *name; /* NULL: ports port_first..port_last */
    uint16_t port_first, port_last;
    bool is_single;
    uint8_t protocols;
};

/* "80", "6000-6063"; anything else is a name. False, explained: looks like ports and is none. */
static bool parse_query(struct cli_invocation *invocation, const char *text, struct query *query)
{
    char first_text[8];
    uint64_t first, last;
    query->name = NULL;
    if (text == NULL) {
        query->port_last = UINT16_MAX;
        return true;
    }
    size_t size = strspn(text, "0123456789");
    const char *rest = text + size;
    bool is_range = size > 0 && rest[0] == '-' && rest[1 + strspn(rest + 1, "0123456789")] == '\0';
    if (size == 0 || (rest[0] != '\0' && !is_range)) {
        query->name = text;
        return true;
    }
    snprintf(first_text, sizeof(first_text), "%.*s", size < 7 ? (int)size : 7, text);
    query->is_single = !is_range;
    if (!text_number(first_text, UINT16_MAX, &first) ||
        !text_number(is_range ? rest + 1 : first_text, UINT16_MAX, &last) || first > last) {
        cli_usage_error(invocation, "'%s' is no %s; ports are 0 to 65535", text,
                        is_range ? "range of ports" : "port");
        return false;
    }
    query->port_first = (uint16_t)first;
    query->port_last = (uint16_t)last;
    return true;
}

static const char *class_of(uint16_t port)
{
    return foyer_registry_range_name(foyer_registry_range_of(port));
}

static json_t *entry_json(const struct foyer_registry_entry *entry)
{
    json_t *protocols = json_array();
    for (unsigned bit = 1; bit <= FOYER_REGISTRY_DCCP; bit <<= 1) {
        if ((entry->protocols & bit) != 0)
            json_array_append_new(protocols,
                                  json_string(foyer_registry_protocol_name((uint8_t)bit)));
    }
    return json_pack("{s:s, s:i, s:i, s:o, s:s, s:b, s:s}", "name", entry->name, "port",
                     entry->port_first, "port_last", entry->port_last, "protocols", protocols,
                     "class", class_of(entry->port_first), "alias", entry->is_alias ? 1 : 0,
                     "source", foyer_registry_source_name(entry->source));
}

static void add_row(struct table *table, const struct foyer_registry_entry *entry)
{
    char protocols[NAMES_PROTOCOLS_SIZE];
    names_format_protocols(protocols, entry->protocols);
    table_add(table, entry->name);
    if (entry->port_first == entry->port_last)
        table_add_format(table, "%u", entry->port_first);
    else
        table_add_format(table, "%u-%u", entry->port_first, entry->port_last);
    table_add(table, protocols);
    table_add(table, class_of(entry->port_first));
    table_add(table, entry->is_alias ? "alias" : "name");
    table_add(table, foyer_registry_source_name(entry->source));
}

static struct foyer_registry_filter filter_of(const struct query *query)
{
    struct foyer_registry_filter filter = {
        .port_first = query->name != NULL ? 0 : query->port_first,
        .port_last = query->name != NULL ? UINT16_MAX : query->port_last,
        .protocols = query->protocols,
        /* A single port or name: all that is known; a list: the names that count. */
        .with_aliases = query->name != NULL || query->is_single,
        .match = FOYER_REGISTRY_MATCH_EXACT,
        .name = query->name,
    };
    return filter;
}

static void print_json(const struct foyer_registry *registry, const struct query *query)
{
    struct foyer_registry_filter filter = filter_of(query);
    struct foyer_registry_iterator iterator;
    struct foyer_registry_entry entry;
    struct foyer_registry_suggestion items[3];
    size_t count = 0;
    json_t *services = json_array(), *suggestions = json_array();
    foyer_registry_iterator_init(&iterator, registry, &filter);
    while (foyer_registry_iterator_next(&iterator, &entry))
        json_array_append_new(services, entry_json(&entry));
    if (query->name != NULL && json_array_size(services) == 0 &&
        foyer_registry_suggest(registry, query->name, query->protocols, items, 3, &count) == 0) {
        for (size_t i = 0; i < count; i++)
            json_array_append_new(suggestions, json_string(items[i].name));
    }
    json_t *answer = json_pack("{s:o, s:o}", "services", services, "suggestions", suggestions);
    if (query->is_single)
        json_object_set_new(answer, "class", json_string(class_of(query->port_first)));
    json_print(answer);
    json_decref(answer);
}

static size_t count_entries(const struct foyer_registry *registry, const struct query *query)
{
    struct foyer_registry_filter filter = filter_of(query);
    struct foyer_registry_iterator iterator;
    struct foyer_registry_entry entry;
    size_t count = 0;
    foyer_registry_iterator_init(&iterator, registry, &filter);
    while (foyer_registry_iterator_next(&iterator, &entry))
        count++;
    return count;
}

static void explain_nothing(const struct cli_invocation *invocation,
                            const struct foyer_registry *registry, const struct query *query)
{
    char protocols[NAMES_PROTOCOLS_SIZE];
    names_format_protocols(protocols, query->protocols);
    if (query->name != NULL)
        names_explain_unknown(invocation, registry, query->name, query->protocols);
    else if (query->is_single)
        cli_error(invocation, "port %u (%s) has no service's name for %s", query->port_first,
                  class_of(query->port_first), protocols);
    else
        cli_error(invocation, "no port of %u-%u has a service's name for %s", query->port_first,
                  query->port_last, protocols);
}

static int print_table(const struct cli_invocation *invocation,
                       const struct foyer_registry *registry, const struct query *query)
{
    static const char *const headings[] = {"SERVICE", "PORT", "PROTO", "CLASS", "KIND", "SOURCE"};
    struct foyer_registry_filter filter = filter_of(query);
    struct foyer_registry_iterator iterator;
    struct foyer_registry_entry entry;
    struct table table;
    table_init(&table, 6, headings);
    foyer_registry_iterator_init(&iterator, registry, &filter);
    while (foyer_registry_iterator_next(&iterator, &entry))
        add_row(&table, &entry);
    if (table_print(&table, stdout) == 0)
        return CLI_OK;
    cli_error(invocation, "no memory for the table");
    return CLI_FAILURE;
}

static int run(struct cli_invocation *invocation)
{
    static const struct option options[] = {
        CLI_OPTIONS_COMMON,
        CLI_OPTIONS_JSON,
        {"protocol", required_argument, NULL, OPTION_PROTOCOL},
        {0},
    };
    struct query query = {.protocols = FOYER_REGISTRY_ALL_PROTOCOLS};
    int option;
    while ((option = cli_option_next(invocation, options, false)) >= 0) {
        query.protocols = foyer_registry_protocol_parse(optarg);
        if (query.protocols == 0)
            return cli_usage_error(invocation,
                                   "'%s' is no protocol; there are tcp, udp, sctp, dccp", optarg);
    }
    if (option == CLI_OPTION_STOP || !cli_operands_check(invocation, 0, 1) ||
        !parse_query(invocation, invocation->argv[optind], &query))
        return invocation->exit_status;

    struct foyer_registry *registry;
    if (names_open(invocation, true, &registry) != 0)
        return CLI_FAILURE;
    int status = count_entries(registry, &query) > 0 ? CLI_OK : CLI_FAILURE;
    if (invocation->is_json)
        print_json(registry, &query);
    else if (status == CLI_OK)
        status = print_table(invocation, registry, &query);
    else
        explain_nothing(invocation, registry, &query);
    foyer_registry_destroy(registry);
    return status;
}

const struct cli_command command_services = {
    .name = "services",
    .arguments = "[NAME|PORT|FIRST-LAST] [--protocol PROTOCOL] [--json]",
    .summary = "look up names and ports of services",
    .help =
        "Without an argument: all services. The names are IANA's, overridden by /etc/services,\n"
        "overridden by ~/.config/foyer/services (or the file that FOYER_SERVICES names).\n"
        "\n"
        "Options:\n"
        "  --protocol PROTOCOL  only tcp, udp, sctp or dccp\n"
        "  --json               print JSON\n"
        "\n"
        "Exit status: 0 found, 1 nothing found, 2 wrong usage.\n",
    .run = run,
};
