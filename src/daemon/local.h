/* The local carrier: both ends are attached programs, and the bytes never pass foyerd. */
#ifndef FOYER_DAEMON_LOCAL_H
#define FOYER_DAEMON_LOCAL_H

#include "daemon/psocket.h"
#include "ipc/message.h"

/* Whether the address belongs to a host of the building, from host's point of view. */
struct building_host *local_host_of(struct building_host *host, const struct foyer_addr *addr);

/*
 * Connects with a listener on `to`. 0: connected; EINPROGRESS: the listener's queue is full;
 * other positive errno. ret_fds: channel and peer bell, borrowed.
 */
int local_connect(struct psocket *psocket, struct building_host *to,
                  const struct foyer_endpoint *remote, struct message_fds *ret_fds);
/* An accepted socket is set up: endpoints, what it inherits of its listener, state. */
void local_accepted_init(const struct psocket *listener, struct psocket *accepted);
/* psocket closes or is reset: tells the peer, lets go of it. */
void local_hang_up(struct psocket *psocket, bool reset);
/* A connect that waited for room in the listener's queue: it got in, or it failed with error. */
void local_connected(struct psocket *client);
void local_failed(struct psocket *client, int error);

/*
 * The accepting end of a connection is given up by the process that has it, unseen by its program:
 * another end in its place, for the listener's queue. accepted is without connection then. -EMFILE,
 * -ENOSPC, -ENOMEM.
 */
int local_hand_on(struct psocket *accepted, const struct psocket *listener,
                  struct psocket **ret_fresh);

#endif
