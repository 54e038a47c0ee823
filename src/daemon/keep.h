/*
 * Connections that both programs have closed and hold, hidden, for their next one. The programs do
 * that among themselves (docs/decisions/0006); foyerd takes back what they have not used for a
 * while, or what somebody else needs, and takes both ends away where one is gone.
 */
#ifndef FOYER_DAEMON_KEEP_H
#define FOYER_DAEMON_KEEP_H

#include "daemon/psocket.h"

/* The connecting end says that its connection may be parked from now on. */
void keep_note(struct psocket *psocket);
/* No program has it open. */
bool keep_is_parked(const struct psocket *psocket);
/* Closes both ends of a parked connection. False: it is none. */
bool keep_dissolve(struct psocket *psocket);
/* More processes than the two have it: it will not be parked. */
void keep_forbid(struct psocket *psocket);

/*
 * One end is gone; the connection is not kept from now on, unless it waits to be accepted. What it was
 * to the other end's program.
 */
enum keep_end {
    KEEP_END_OPEN,    /* it has it open */
    KEEP_END_LEFT,    /* it has closed it: that end goes, too */
    KEEP_END_OFFERED, /* it may accept it still */
};
enum keep_end keep_hang_up(struct psocket *psocket);
/* psocket is the accepting end, and its program has not accepted. */
bool keep_is_offered(const struct psocket *psocket);
/* The same, and from now on its program cannot; the connection is not kept again. */
bool keep_withdraw(const struct psocket *psocket);

/* Dissolves what came from a listener; is_closed: also what it has not accepted yet. */
void keep_listener_over(struct psocket *listener, bool is_closed);
/* A connection to this listener begins: forbidden where it will not be parked anyway. */
void keep_begin(struct psocket *accepted, const struct psocket *listener);
/* Descriptors or memory have run out. False: there was nothing to dissolve. */
bool keep_dissolve_all(struct daemon *daemon);
/* A new listener: connections to its port may be for it now. */
void keep_dissolve_port(const struct psocket *listener);

#endif
