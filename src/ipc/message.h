/*
 * One message over an AF_UNIX socket, with up to FOYER_MESSAGE_FDS_MAX descriptors.
 *
 * Used by foyerd, the foyer command and the preload module. Everything goes to the kernel by
 * system call number and never through libc's symbols: in the preload module those are the
 * module's own functions, which would take the session for a socket of the program.
 *
 * Errors are negative errno values. Calls interrupted by a signal go on. Threading: no state.
 */
#ifndef FOYER_IPC_MESSAGE_H
#define FOYER_IPC_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/protocol.h"

/* A message's descriptors. All are close-on-exec when received. */
struct message_fds {
    int fds[FOYER_MESSAGE_FDS_MAX];
    unsigned count;
};

/*
 * Sends bytes as one message (SOCK_SEQPACKET) or one piece (SOCK_STREAM; descriptors stay with
 * its first byte). fds may be NULL and stay the caller's. flags: MSG_DONTWAIT or 0; never raises
 * SIGPIPE. Returns the number of bytes taken. -EAGAIN with MSG_DONTWAIT: the queue is full.
 * -EPIPE, -ECONNRESET: the other end is gone. -ETOOMANYREFS: too many descriptors in flight.
 */
ssize_t message_send(int sock, const void *bytes, size_t size, const struct message_fds *fds,
                     int flags);

/*
 * Receives one message. Returns its size, 0 at the other end's hang-up. Descriptors beyond what
 * fits are closed; ret_fds may be NULL, then all are. flags: MSG_DONTWAIT, MSG_PEEK or 0.
 * -EMSGSIZE: the message was longer than capacity; it is lost, its descriptors are closed.
 */
ssize_t message_receive(int sock, void *bytes, size_t capacity, struct message_fds *ret_fds,
                        int flags);

/* Closes all and sets count to 0. */
void message_fds_close(struct message_fds *fds);
/* Takes the descriptor at index out, so that message_fds_close leaves it alone; -1: none. */
int message_fds_take(struct message_fds *fds, unsigned index);

/*
 * Connects to foyerd: a SOCK_SEQPACKET socket, close-on-exec, blocking. Returns the descriptor;
 * -ENOENT, -ECONNREFUSED: foyerd does not run; -ENAMETOOLONG: the path is no socket address.
 */
int message_connect(const char *socket_path);

/*
 * One request and its reply on a blocking session. The reply's size is returned; request_fds and
 * ret_fds may be NULL. -EPIPE: foyerd is gone or ended the session. -EPROTO: the reply is
 * shorter than struct foyer_reply or answers another type of request.
 */
ssize_t message_call(int sock, const void *request, size_t request_size,
                     const struct message_fds *request_fds, void *ret_reply, size_t capacity,
                     struct message_fds *ret_fds);

#endif
