/*
 * A listener's queue. Connections reach a program as messages on the listener's pair; the
 * kernel's queue of that pair is the accept queue, and foyerd sends no more into it than the
 * backlog allows. What does not fit waits here (connections between programs; the client is
 * still connecting) or in the stack (connections from outside).
 */
#ifndef FOYER_DAEMON_ACCEPT_H
#define FOYER_DAEMON_ACCEPT_H

#include "daemon/psocket.h"

void accept_listener_init(struct psocket *listener);
/* accepted goes to the listener now (true) or when there is room (false: it is pending). */
bool accept_offer(struct psocket *listener, struct psocket *accepted);
/* The program took connections, or the stack has some: moves on what can be. */
void accept_pump(struct psocket *listener);
/* Connections waiting: in flight, pending, and not yet taken from the stack. */
uint32_t accept_queue_count(struct psocket *listener);
/* The listener closes: pending connects are refused; those in flight die with the pair. */
void accept_listener_close(struct psocket *listener);
/* The listener no longer listens, but lives: nobody waits any more, connections not taken are reset. */
void accept_listener_reset(struct psocket *listener);
/* accepted closes: takes it off its listener's queue. */
void accept_forget(struct psocket *accepted);

/*
 * A kept connection that was offered to a process that does not accept it, and is about to be closed
 * for that: it goes to the listener's queue, for whoever accepts. The psocket is left without its
 * connection. False: it is none of these, or cannot.
 */
bool accept_hand_on(struct psocket *psocket);

#endif
