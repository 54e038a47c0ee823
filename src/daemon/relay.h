/* Connections and datagrams that go through a host's stack: foyerd is the channel's other end. */
#ifndef FOYER_DAEMON_RELAY_H
#define FOYER_DAEMON_RELAY_H

#include "daemon/psocket.h"
#include "ipc/message.h"

/* Gives the socket a channel whose rings the stack reads and writes. Negative errno. */
int relay_attach(struct psocket *psocket);
/* Positive errno; EINPROGRESS; 0 for UDP. */
int relay_connect(struct psocket *psocket, const struct foyer_endpoint *remote,
                  struct message_fds *ret_fds);
/* Takes one connection from the stack for a listener and offers it. False: there was none. */
bool relay_accept(struct psocket *listener);
/* The program rang, or the stack did something: look at the rings now and until they are quiet. */
void relay_poke(struct psocket *psocket);
/* What the stack's sockets have to say. Bounded; true where there is more. */
bool relay_events(struct building_host *host);
/* End of the turn: sockets whose rings are quiet announce that foyerd sleeps. */
void relay_settle(struct daemon *daemon);

/* UDP: the oldest queued error; 0 or a positive errno for the reply. */
int relay_error_next(struct psocket *psocket, struct foyer_reply_error *reply);

#endif
