/* The foyer command's requests, as JSON; see docs/control.md. */
#ifndef FOYER_DAEMON_CONTROL_H
#define FOYER_DAEMON_CONTROL_H

#include <stddef.h>

#include "ipc/message.h"

struct daemon;

/*
 * Serves one command. text: JSON, not terminated. fds: what came with it; what is kept is taken
 * out. Returns a memfd with the answer at offset 0, which is the caller's; negative errno where
 * there is no answer at all (no memory, no descriptor).
 */
int control_serve(struct daemon *daemon, const char *text, size_t size, struct message_fds *fds);

#endif
