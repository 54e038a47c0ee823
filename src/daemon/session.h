/* Sessions: who talks to foyerd, in what role, and what is asked. */
#ifndef FOYER_DAEMON_SESSION_H
#define FOYER_DAEMON_SESSION_H

#include "daemon/arena.h"
#include "daemon/psocket.h"

struct session {
    struct daemon *daemon;
    struct list_node node; /* on daemon.sessions */
    struct watch watch;
    struct loop_garbage garbage;
    uint32_t role;              /* enum foyer_role; REQUEST_ROLE_NONE until HELLO */
    bool is_from_birth;         /* came through a birth channel, which has fixed its host */
    struct building_host *host; /* held from HELLO, or from birth, on */
    struct arena *arena;        /* PROGRAM */
    struct holder holder;
    pid_t parent_pid; /* as it says itself */
};

/* Takes the descriptor, also where it fails. birth: the channel's session, or NULL. */
int session_create(struct daemon *daemon, int fd, const struct session *birth);
/* Its sockets live on until their last descriptor is closed. */
void session_end(struct session *session, const char *why);
/* Ends all sessions that may take new ones. */
void session_end_all(struct daemon *daemon);

#endif
