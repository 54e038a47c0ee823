/* What socket.c and socket_io.c share with host.c. */
#ifndef FOYER_STACK_SOCKET_H
#define FOYER_STACK_SOCKET_H

#include "stack/stack.h"

int sockets_init(struct foyer_host *host);
void sockets_finish(struct foyer_host *host);
/* Frees rings the socket owns; forgets those it was given. */
void sock_drop_rings(struct foyer_host *host, struct sock *sock);
/* Copies what matters into rings of the socket's own and forgets those it was given. */
int sock_take_rings_back(struct foyer_host *host, struct sock *sock);

/* The options to write to: a record of the socket's own. NULL: no memory, nothing changed. */
struct sock_options *sock_options_own(struct foyer_host *host, struct sock *sock);
/* A fresh socket takes over another's; both share them until one writes. */
void sock_options_share(struct sock *sock, const struct sock *from);
void sock_options_give(struct foyer_host *host, struct sock *sock);

#endif
