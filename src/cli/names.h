/* The service registry as the foyer command uses it. */
#ifndef FOYER_CLI_NAMES_H
#define FOYER_CLI_NAMES_H

#include "cli/cli.h"
#include "registry/registry.h"

/*
 * A registry with /etc/services and the user's own file: FOYER_SERVICES, else
 * $XDG_CONFIG_HOME/foyer/services, else ~/.config/foyer/services. with_complaints: says on
 * standard error which lines of them cannot be understood. Explains -ENOMEM.
 */
int names_open(const struct cli_invocation *invocation, bool with_complaints,
               struct foyer_registry **ret_registry);

/* The service's name of a port, or NULL; borrowed from the registry. */
const char *names_of_port(const struct foyer_registry *registry, uint16_t port, uint8_t protocols);

/* A port or service as a person names it: "80", "80/tcp", "http", "domain/udp". */
struct names_port {
    uint16_t port;
    uint8_t protocols; /* those meant; for a name, those that it is registered for */
};

/*
 * Reads one; protocols are restricted to FOYER_REGISTRY_TCP and UDP. Explains failures, with
 * suggestions for names; -EINVAL: not to be understood, -ENOENT: no such service.
 */
int names_parse_port(const struct cli_invocation *invocation, const struct foyer_registry *registry,
                     const char *text, struct names_port *ret_port);

/* Appends "; did you mean 'a' or 'b'?" to an error of a misspelt name: prints to stderr. */
void names_explain_unknown(const struct cli_invocation *invocation,
                           const struct foyer_registry *registry, const char *name,
                           uint8_t protocols);

/* "tcp", "tcp,udp"; room for 32 bytes. */
#define NAMES_PROTOCOLS_SIZE 32u
void names_format_protocols(char ret_text[static NAMES_PROTOCOLS_SIZE], uint8_t protocols);

#endif
