/* Tables of sockets, as `foyer ports` and `foyer who` show them. */
#ifndef FOYER_CLI_SOCKETS_H
#define FOYER_CLI_SOCKETS_H

#include <jansson.h>

#include "registry/registry.h"

/* Bit of the socket's protocol (registry.h), or 0. socket: an element of the answer to "ports". */
uint8_t socket_protocol(const json_t *socket);
/* Its local port, or 0. */
uint16_t socket_port(const json_t *socket);
bool socket_is_connected(const json_t *socket);

/*
 * The service's name for a socket: that of the local port, or, where it is connected, of the
 * better known of the two ports. NULL for none; borrowed from the registry.
 */
const char *socket_service(const struct foyer_registry *registry, const json_t *socket);

/* Order of tables: host, port, protocol, listeners before connections, remote end. For qsort
 * over an array of json_t pointers. */
int socket_compare(const void *left, const void *right);

/* An array's elements in that order, as a new array. NULL: no memory. */
json_t *socket_sort(const json_t *sockets);

struct table;
/* LOCAL REMOTE STATE PID PROGRAM USER SINCE, seven cells. */
void socket_add_cells(struct table *table, const json_t *socket);

#endif
