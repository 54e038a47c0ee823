/*
 * A session of the foyer command with foyerd: connect, say hello, ask (docs/control.md).
 *
 * Functions here explain failures to the person themselves, except where a return value is
 * named as silent. Errors are negative errno values.
 */
#ifndef FOYER_CLI_CLIENT_H
#define FOYER_CLI_CLIENT_H

#include <jansson.h>

#include "cli/cli.h"
#include "ipc/paths.h"
#include "ipc/protocol.h"

struct client {
    int fd;
    struct paths paths;
    struct foyer_welcome welcome; /* its names are terminated */
};

/*
 * Connects to the building's foyerd and says hello. host and program may be NULL (empty).
 * -ENOENT, silent: foyerd does not run; client_explain_absence says so where that is an error.
 * ret_client->paths is set in this case too. Under sudo, where the building is that of the user
 * who called it, that user's runtime directory is looked at as well.
 */
int client_open(const struct cli_invocation *invocation, enum foyer_role role, const char *host,
                const char *program, struct client *ret_client);
void client_close(struct client *client);

/* client_open for control that also explains -ENOENT. */
int client_open_control(const struct cli_invocation *invocation, struct client *ret_client);

void client_explain_absence(const struct cli_invocation *invocation, const struct client *client);

/*
 * Sends one command and returns its answer, a JSON object that the caller decrefs. The request
 * is taken, also on failure; NULL means that there was no memory for it. fd: attached, stays
 * the caller's; -1 for none. -EREMOTEIO: foyerd refused, with its own words.
 */
int client_control(const struct cli_invocation *invocation, struct client *client, json_t *request,
                   int fd, json_t **ret_answer);

/* client_open_control, one command, client_close. */
int client_ask(const struct cli_invocation *invocation, json_t *request, int fd,
               json_t **ret_answer);

/* Members of an answer, with a harmless value where foyerd left one out or sent another type. */
const char *json_text(const json_t *object, const char *key);
int64_t json_number(const json_t *object, const char *key);

/* Prints a JSON value, indented, with a newline. */
void json_print(const json_t *value);

#endif
