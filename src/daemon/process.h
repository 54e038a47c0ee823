/* What /proc tells about the processes that hold sockets. Names are for people, not for trust. */
#ifndef FOYER_DAEMON_PROCESS_H
#define FOYER_DAEMON_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/hash.h"
#include "daemon/psocket.h"

/* The process's name (comm); false where there is none. */
bool process_name(pid_t pid, char ret_name[FOYER_NAME_MAX]);
/* The user's name, or the number. */
void process_user(uid_t uid, char *ret_name, size_t capacity);

/*
 * Who holds which socket, read once from the descriptors of the processes that have a session or
 * have opened a socket.
 * Processes whose descriptors may not be looked at (another user's) are left out.
 */
struct process_map;
struct process_map *process_map_create(const struct daemon *daemon); /* NULL: no memory */
void process_map_destroy(struct process_map *map);

/*
 * A live process that holds the socket: psocket->holder's where it still does, else one that has
 * a descriptor of it, else pid 0. map may be NULL: then liveness alone decides.
 */
void process_holder(const struct process_map *map, const struct psocket *psocket,
                    struct holder *ret_holder);

#endif
