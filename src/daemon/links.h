/* The building's links to the world outside: TAP devices. */
#ifndef FOYER_DAEMON_LINKS_H
#define FOYER_DAEMON_LINKS_H

#include "base/list.h"
#include "daemon/loop.h"
#include "foyer/types.h"
#include "ipc/protocol.h"

struct daemon;
struct link;

struct lan_link {
    struct daemon *daemon;
    struct list_node node; /* on fabric.links */
    struct watch watch;
    struct loop_garbage garbage;
    char name[FOYER_NAME_MAX];
    const char *kind;
    struct link *driver;
    uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes, tx_dropped;
};

/*
 * Adds a TAP from an open descriptor, which is taken over on success. -EINVAL: no TAP or a bad
 * name; -EEXIST: there is a link of that name; -ENOSPC; -ENOMEM.
 */
int links_add_tap(struct daemon *daemon, const char *name, int fd, struct lan_link **ret_link);
struct lan_link *links_find(const struct daemon *daemon, const char *name);
void links_remove(struct lan_link *link);
/* Frames to the link; what it can't take is dropped and counted, as on a wire. */
void links_send(struct lan_link *link, const struct foyer_packet *packets, size_t count);

#endif
