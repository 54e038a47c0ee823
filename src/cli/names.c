#include "cli/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

#define COMPLAINTS_MAX 8u
#define SUGGESTIONS_MAX 3u
#define USER_PATH_SIZE 4096u

static const char *user_path(char buffer[static USER_PATH_SIZE])
{
    const char *path = getenv("FOYER_SERVICES");
    if (path != NULL && path[0] != '\0')
        return path;
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int size;
    if (config != NULL && config[0] == '/')
        size = snprintf(buffer, USER_PATH_SIZE, "%s/foyer/services", config);
    else if (home != NULL && home[0] == '/')
        size = snprintf(buffer, USER_PATH_SIZE, "%s/.config/foyer/services", home);
    else
        return NULL;
    return size > 0 && (size_t)size < USER_PATH_SIZE ? buffer : NULL;
}

static void print_complaints(const struct cli_invocation *invocation,
                             const struct foyer_registry_error_list *errors)
{
    for (size_t i = 0; i < errors->count && i < errors->capacity; i++) {
        const struct foyer_registry_error *error = &errors->items[i];
        const char *text = error->error != 0 ? strerror(-error->error)
                                             : foyer_registry_problem_text(error->problem);
        if (error->line != 0)
            cli_error(invocation, "%s, line %u is left out: %s", error->path, error->line, text);
        else
            cli_error(invocation, "%s: %s", error->path, text);
    }
    if (errors->count > errors->capacity)
        cli_error(invocation, "and %zu more", errors->count - errors->capacity);
}

int names_open(const struct cli_invocation *invocation, bool with_complaints,
               struct foyer_registry **ret_registry)
{
    char path[USER_PATH_SIZE];
    struct foyer_registry_error items[COMPLAINTS_MAX];
    struct foyer_registry_error_list errors = {.items = items, .capacity = COMPLAINTS_MAX};
    struct foyer_registry *registry = NULL;
    int error = foyer_registry_create(&registry);
    if (error == 0)
        error = foyer_registry_load_default(registry, user_path(path), &errors);
    if (error != 0) {
        foyer_registry_destroy(registry);
        cli_error(invocation, "cannot load the names of services: %s", strerror(-error));
        return error;
    }
    if (with_complaints)
        print_complaints(invocation, &errors);
    *ret_registry = registry;
    return 0;
}

const char *names_of_port(const struct foyer_registry *registry, uint16_t port, uint8_t protocols)
{
    struct foyer_registry_entry entry;
    return foyer_registry_lookup_port(registry, port, protocols, &entry) == 0 ? entry.name : NULL;
}

void names_explain_unknown(const struct cli_invocation *invocation,
                           const struct foyer_registry *registry, const char *name,
                           uint8_t protocols)
{
    struct foyer_registry_suggestion items[SUGGESTIONS_MAX];
    char text[256] = "";
    size_t count = 0, size = 0;
    if (foyer_registry_suggest(registry, name, protocols, items, SUGGESTIONS_MAX, &count) != 0)
        count = 0;
    for (size_t i = 0; i < count && size < sizeof(text); i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%s (%u)",
                                 i == 0           ? "; did you mean "
                                 : i + 1 == count ? " or "
                                                  : ", ",
                                 items[i].name, items[i].port);
    cli_error(invocation, "no service is named '%s'%s%s", name, text, count > 0 ? "?" : "");
}

int names_parse_port(const struct cli_invocation *invocation, const struct foyer_registry *registry,
                     const char *text, struct names_port *ret_port)
{
    char name[FOYER_REGISTRY_NAME_SIZE_MAX + 1];
    struct names_port port = {.protocols = FOYER_REGISTRY_TCP | FOYER_REGISTRY_UDP};
    const char *slash = strchr(text, '/');
    size_t size = slash != NULL ? (size_t)(slash - text) : strlen(text);
    uint64_t number;
    if (slash != NULL)
        port.protocols &= foyer_registry_protocol_parse(slash + 1);
    if (port.protocols == 0) {
        cli_error(invocation, "'%s' is no protocol here; there are tcp and udp", slash + 1);
        return -EINVAL;
    }
    if (size == 0 || size >= sizeof(name)) {
        cli_error(invocation, "'%s' is neither a port nor the name of a service", text);
        return -EINVAL;
    }
    memcpy(name, text, size);
    name[size] = '\0';
    if (strspn(name, "0123456789") == size) {
        if (!text_number(name, UINT16_MAX, &number) || number == 0) {
            cli_error(invocation, "'%s' is no port; ports are 1 to 65535", name);
            return -EINVAL;
        }
        port.port = (uint16_t)number;
    } else {
        struct foyer_registry_entry entry;
        if (foyer_registry_lookup_name(registry, name, port.protocols, &entry) != 0) {
            names_explain_unknown(invocation, registry, name, port.protocols);
            return -ENOENT;
        }
        port.port = entry.port_first;
        port.protocols &= entry.protocols;
    }
    *ret_port = port;
    return 0;
}

void names_format_protocols(char ret_text[static NAMES_PROTOCOLS_SIZE], uint8_t protocols)
{
    size_t size = 0;
    ret_text[0] = '\0';
    for (unsigned bit = 1; bit <= FOYER_REGISTRY_DCCP; bit <<= 1) {
        if ((protocols & bit) != 0)
            size +=
                (size_t)snprintf(ret_text + size, NAMES_PROTOCOLS_SIZE - size, "%s%s",
                                 size > 0 ? "," : "", foyer_registry_protocol_name((uint8_t)bit));
    }
}
