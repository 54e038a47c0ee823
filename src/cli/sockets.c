#include "cli/sockets.h"

#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/names.h"
#include "cli/table.h"
#include "cli/text.h"

uint8_t socket_protocol(const json_t *socket)
{
    return foyer_registry_protocol_parse(json_text(socket, "protocol"));
}

static uint16_t port_of(const json_t *socket, const char *key)
{
    uint16_t port = 0;
    return text_endpoint_port(json_text(socket, key), &port) ? port : 0;
}

uint16_t socket_port(const json_t *socket)
{
    return port_of(socket, "local");
}

bool socket_is_connected(const json_t *socket)
{
    return json_is_string(json_object_get(socket, "remote"));
}

const char *socket_service(const struct foyer_registry *registry, const json_t *socket)
{
    uint8_t protocols = socket_protocol(socket);
    uint16_t local = socket_port(socket), remote = port_of(socket, "remote");
    if (protocols == 0)
        return NULL;
    const char *local_name = names_of_port(registry, local, protocols);
    if (!socket_is_connected(socket))
        return local_name;
    const char *remote_name = names_of_port(registry, remote, protocols);
    if (local_name == NULL || remote_name == NULL)
        return local_name != NULL ? local_name : remote_name;
    /* Ephemeral ports lie above the services, and the well-known part lies lowest. */
    return local <= remote ? local_name : remote_name;
}

int socket_compare(const void *left, const void *right)
{
    const json_t *a = *(json_t *const *)left, *b = *(json_t *const *)right;
    int order = strcmp(json_text(a, "host"), json_text(b, "host"));
    if (order == 0)
        order = (int)socket_port(a) - (int)socket_port(b);
    if (order == 0)
        order = strcmp(json_text(a, "protocol"), json_text(b, "protocol"));
    if (order == 0)
        order = (int)socket_is_connected(a) - (int)socket_is_connected(b);
    if (order == 0)
        order = strcmp(json_text(a, "remote"), json_text(b, "remote"));
    return order;
}

json_t *socket_sort(const json_t *sockets)
{
    size_t count = json_array_size(sockets);
    json_t **items = calloc(count + 1, sizeof(json_t *));
    json_t *sorted = json_array();
    if (items == NULL || sorted == NULL) {
        free(items);
        json_decref(sorted);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        items[i] = json_array_get(sockets, i);
    qsort(items, count, sizeof(json_t *), socket_compare);
    for (size_t i = 0; i < count; i++)
        json_array_append(sorted, items[i]);
    free(items);
    return sorted;
}

void socket_add_cells(struct table *table, const json_t *socket)
{
    char since[TEXT_TIME_SIZE];
    int64_t pid = json_number(socket, "pid");
    text_format_time(since, json_number(socket, "since"));
    table_add(table, json_text(socket, "local"));
    table_add(table, json_text(socket, "remote"));
    table_add(table, json_text(socket, "state"));
    if (pid > 0)
        table_add_format(table, "%lld", (long long)pid);
    else
        table_add(table, NULL);
    table_add(table, json_text(socket, "program"));
    table_add(table, json_text(socket, "user"));
    table_add(table, since);
}
