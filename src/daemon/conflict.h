/* The one line that a person reads when a port is taken. */
#ifndef FOYER_DAEMON_CONFLICT_H
#define FOYER_DAEMON_CONFLICT_H

#include "daemon/psocket.h"

struct foyer_registry;

/* What the line is made of. Pure, for tests. */
struct conflict {
    const char *protocol; /* "tcp" or "udp" */
    uint16_t port;
    const char *service; /* the port's registered name, or NULL */
    const char *host;
    const char *program; /* of the holder; NULL: no program holds it any more */
    pid_t pid;           /* 0: not known */
    const char *user;
    double since_s; /* Unix time */
    double now_s;
};

/* One line without newline, at most FOYER_CONFLICT_TEXT_MAX - 1 bytes. */
void conflict_format(const struct conflict *conflict, char ret_text[FOYER_CONFLICT_TEXT_MAX]);

/* wanted: what psocket asked for; holder: the stack's handle of who has it. */
void conflict_describe(struct psocket *psocket, uint16_t port, foyer_socket holder,
                       char ret_text[FOYER_CONFLICT_TEXT_MAX]);

#endif
