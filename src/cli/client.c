#define _GNU_SOURCE /* struct ucred */

#include "cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/text.h"
#include "ipc/message.h"

/* What an answer may take; a building of a million sockets stays below. */
#define ANSWER_SIZE_MAX (512u << 20)

/* ---- connecting ------------------------------------------------------------------------------ */

/* The user on whose behalf root works under sudo; -1: none. */
static int64_t sudo_uid(void)
{
    const char *text = getenv("SUDO_UID");
    uint64_t uid;
    if (geteuid() != 0 || text == NULL || !text_number(text, UINT32_MAX - 1, &uid))
        return -1;
    return (int64_t)uid;
}

/*
 * In /tmp anybody could have made the directory and put a foyerd of their own there. So the other
 * end must be of this user; root may also be sent elsewhere by FOYER_DIR or sudo.
 */
static int check_peer(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return -errno;
    if (peer.uid == geteuid())
        return 0;
    if (geteuid() == 0 && (getenv("FOYER_DIR") != NULL || (int64_t)peer.uid == sudo_uid()))
        return 0;
    return -EPERM;
}

static int connect_to(const struct paths *paths)
{
    int fd = message_connect(paths->socket);
    if (fd == -ECONNREFUSED || fd == -ENOTDIR)
        return -ENOENT;
    if (fd < 0)
        return fd;
    int error = check_peer(fd);
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

/*
 * sudo drops XDG_RUNTIME_DIR and changes the user, so root would look for root's building. Looks
 * where the calling user's foyerd puts its socket (ipc/paths.h); on success *paths tells where.
 */
static int connect_as_sudo(struct paths *paths)
{
    static const char *const forms[] = {"/run/user/%lld/foyer", "/tmp/foyer-%lld"};
    int64_t uid = sudo_uid();
    if (uid < 0 || getenv("FOYER_DIR") != NULL)
        return -ENOENT;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char root[64];
        struct paths other;
        snprintf(root, sizeof(root), forms[i], (long long)uid);
        if (setenv("FOYER_DIR", root, 1) != 0)
            return -ENOMEM;
        int fd = paths_init(&other, paths->building) == 0 ? connect_to(&other) : -ENOENT;
        unsetenv("FOYER_DIR");
        if (fd >= 0) {
            *paths = other;
            return fd;
        }
    }
    return -ENOENT;
}

static void explain_paths(const struct cli_invocation *invocation, int error)
{
    const char *building =
        invocation->building != NULL ? invocation->building : getenv("FOYER_BUILDING");
    if (error == -EINVAL)
        cli_error(invocation,
                  "FOYER_BUILDING is '%s', which cannot be a building's name: use lower-case "
                  "letters, digits and hyphens, not digits alone",
                  building != NULL ? building : "");
    else
        cli_error(invocation,
                  "the path of foyerd's socket would be too long; set FOYER_DIR to a shorter "
                  "directory");
}

static void explain_connect(const struct cli_invocation *invocation, const struct paths *paths,
                            int error)
{
    if (error == -EPERM)
        cli_error(invocation,
                  "the foyerd at %s belongs to another user, so it is not used; set FOYER_DIR to "
                  "a directory of your own",
                  paths->socket);
    else if (error == -EACCES)
        cli_error(invocation,
                  "not permitted to use %s: the building '%s' belongs to another user; set "
                  "FOYER_DIR or use --building",
                  paths->socket, paths->building);
    else
        cli_error(invocation, "cannot connect to foyerd at %s: %s", paths->socket,
                  strerror(-error));
}

static void explain_hello(const struct cli_invocation *invocation, const struct client *client,
                          const char *host, int error)
{
    const char *building = client->paths.building;
    if (error == -EPROTO)
        cli_error(invocation,
                  "foyerd of building '%s' is of another version than this foyer; end it with "
                  "'foyer down --force' and start the programs anew (its log: %s)",
                  building, client->paths.log);
    else if (error == -EPERM || error == -EACCES)
        cli_error(invocation,
                  "foyerd of building '%s' refuses this session: this program is itself attached "
                  "to foyer, or belongs to another user",
                  building);
    else if (host != NULL && error == -EINVAL)
        cli_error(invocation,
                  "foyerd of building '%s' takes no host named '%s', the name is reserved; choose "
                  "another one with --host",
                  building, host);
    else if (host != NULL)
        cli_error(invocation, "foyerd of building '%s' cannot give a host named '%s': %s", building,
                  host, strerror(-error));
    else
        cli_error(invocation, "foyerd of building '%s' does not answer: %s", building,
                  strerror(-error));
}

static int say_hello(struct client *client, enum foyer_role role, const char *host,
                     const char *program)
{
    struct foyer_hello hello = {
        .header = {.type = FOYER_REQUEST_HELLO, .size = sizeof(hello)},
        .version = role == FOYER_ROLE_CONTROL ? FOYER_PROTOCOL_VERSION : protocol_build(),
        .role = role,
    };
    struct foyer_welcome welcome;
    if (host != NULL)
        snprintf(hello.host, sizeof(hello.host), "%s", host);
    if (program != NULL)
        snprintf(hello.program, sizeof(hello.program), "%s", program);
    memset(&welcome, 0, sizeof(welcome));
    ssize_t size =
        message_call(client->fd, &hello, sizeof(hello), NULL, &welcome, sizeof(welcome), NULL);
    if (size < 0) /* -EMSGSIZE: a welcome of another layout */
        return size == -EMSGSIZE ? -EPROTO : (int)size;
    if (welcome.header.error != 0)
        return welcome.header.error > 0 ? -welcome.header.error : -EPROTO;
    if ((size_t)size != sizeof(welcome))
        return -EPROTO;
    welcome.host[sizeof(welcome.host) - 1] = '\0';
    welcome.building[sizeof(welcome.building) - 1] = '\0';
    client->welcome = welcome;
    return 0;
}

int client_open(const struct cli_invocation *invocation, enum foyer_role role, const char *host,
                const char *program, struct client *ret_client)
{
    memset(ret_client, 0, sizeof(*ret_client));
    ret_client->fd = -1;
    int error = paths_init(&ret_client->paths, invocation->building);
    if (error != 0) {
        explain_paths(invocation, error);
        return error == -ENOENT ? -EINVAL : error;
    }
    int fd = connect_to(&ret_client->paths);
    if (fd == -ENOENT && role == FOYER_ROLE_CONTROL)
        fd = connect_as_sudo(&ret_client->paths);
    if (fd < 0) {
        if (fd != -ENOENT)
            explain_connect(invocation, &ret_client->paths, fd);
        return fd;
    }
    ret_client->fd = fd;
    error = say_hello(ret_client, role, host, program);
    if (error == 0)
        return 0;
    explain_hello(invocation, ret_client, host, error);
    client_close(ret_client);
    return error == -ENOENT ? -EIO : error; /* -ENOENT is the silent one */
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

void client_explain_absence(const struct cli_invocation *invocation, const struct client *client)
{
    cli_error(invocation,
              "foyerd does not run for building '%s' (%s); 'foyer up' and 'foyer run' start it",
              client->paths.building, client->paths.socket);
    if (geteuid() == 0 && getenv("FOYER_DIR") == NULL && getenv("SUDO_USER") != NULL)
        fprintf(stderr,
                "Under sudo this is root's building. If %s's foyerd uses another directory, name "
                "it:\n  sudo FOYER_DIR=DIRECTORY foyer %s ...\n",
                getenv("SUDO_USER"), invocation->command->name);
}

int client_open_control(const struct cli_invocation *invocation, struct client *ret_client)
{
    int error = client_open(invocation, FOYER_ROLE_CONTROL, NULL, NULL, ret_client);
    if (error == -ENOENT)
        client_explain_absence(invocation, ret_client);
    return error;
}

/* ---- asking ------------------------------------------------------------------------------ */

static int read_all(int fd, char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        ssize_t count = pread(fd, bytes + at, size - at, (off_t)at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            return -EPROTO;
        at += (size_t)count;
    }
    return 0;
}

static int load_answer(int fd, json_t **ret_answer)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    if (!S_ISREG(status.st_mode) || status.st_size <= 0 || status.st_size > ANSWER_SIZE_MAX)
        return -EPROTO;
    size_t size = (size_t)status.st_size;
    char *bytes = malloc(size);
    if (bytes == NULL)
        return -ENOMEM;
    int error = read_all(fd, bytes, size);
    if (error == 0) {
        *ret_answer = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(*ret_answer)) {
            json_decref(*ret_answer);
            error = -EPROTO;
        }
    }
    free(bytes);
    return error;
}

/* Sends struct foyer_request and the JSON text after it. */
static int call(struct client *client, const json_t *request, int fd, json_t **ret_answer)
{
    struct foyer_request header = {.type = FOYER_REQUEST_CONTROL};
    struct foyer_reply reply = {.error = 0};
    struct message_fds request_fds = {.fds = {fd}, .count = fd >= 0 ? 1u : 0u};
    struct message_fds fds = {.count = 0};
    char *text = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    if (text == NULL)
        return -ENOMEM;
    size_t size = sizeof(header) + strlen(text);
    char *message = size <= FOYER_MESSAGE_MAX ? malloc(size) : NULL;
    ssize_t result = size <= FOYER_MESSAGE_MAX ? -ENOMEM : -EMSGSIZE;
    if (message != NULL) {
        header.size = (uint32_t)size;
        memcpy(message, &header, sizeof(header));
        memcpy(message + sizeof(header), text, size - sizeof(header));
        result = message_call(client->fd, message, size, &request_fds, &reply, sizeof(reply), &fds);
    }
    free(message);
    free(text);
    int error = result < 0 ? (int)result : 0;
    if (error == 0 && fds.count == 1)
        error = load_answer(fds.fds[0], ret_answer);
    else if (error == 0)
        error = reply.error > 0 ? -reply.error : -EPROTO;
    message_fds_close(&fds);
    return error;
}

int client_control(const struct cli_invocation *invocation, struct client *client, json_t *request,
                   int fd, json_t **ret_answer)
{
    json_t *answer = NULL;
    int error = call(client, request, fd, &answer);
    json_decref(request);
    if (error == -EPIPE) {
        cli_error(invocation, "foyerd of building '%s' went away; its log is %s",
                  client->paths.building, client->paths.log);
        return error;
    }
    if (error != 0) {
        cli_error(invocation, "foyerd of building '%s' did not answer: %s", client->paths.building,
                  strerror(-error));
        return error;
    }
    const json_t *refusal = json_object_get(answer, "error");
    if (refusal != NULL) {
        char *text = text_safe(json_text(refusal, "message"));
        cli_error(invocation, "%s", text != NULL && text[0] != '\0' ? text : "foyerd refused");
        free(text);
        json_decref(answer);
        return -EREMOTEIO;
    }
    *ret_answer = answer;
    return 0;
}

int client_ask(const struct cli_invocation *invocation, json_t *request, int fd,
               json_t **ret_answer)
{
    struct client client;
    int error = client_open_control(invocation, &client);
    if (error != 0) {
        json_decref(request);
        return error;
    }
    error = client_control(invocation, &client, request, fd, ret_answer);
    client_close(&client);
    return error;
}

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

int64_t json_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value))
        return (int64_t)json_integer_value(value);
    double real = json_real_value(value);
    return real > -9e15 && real < 9e15 ? (int64_t)real : 0;
}

void json_print(const json_t *value)
{
    /* A failed write shows in cli_main, which checks the stream. */
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
}
