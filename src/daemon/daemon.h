/*
 * foyerd: one process and one loop per user and building. What its files share.
 *
 *   session.c   who talks to foyerd, and dispatch of requests
 *   psocket.c   a program's socket: life from socket() to hang-up
 *   accept.c    a listener's queue towards its program
 *   local.c     connections between two attached programs
 *   keep.c      those that both have closed, and will use again
 *   relay.c     connections and datagrams that go through a host's stack
 *   direct.c    datagrams from program to program
 *   building.c  hosts, their addresses and names
 *   fabric.c    the switch between hosts and links; links.c the links
 *   control.c   the foyer command's JSON; conflict.c the line for EADDRINUSE; process.c /proc
 *
 * Everything runs on one thread. Objects that epoll may still name are freed at the end of the
 * turn (loop_free_later). What programs can write (slots, rings) is read once and clamped.
 */
#ifndef FOYER_DAEMON_DAEMON_H
#define FOYER_DAEMON_DAEMON_H

#include "base/hash.h"
#include "base/list.h"
#include "base/siphash.h"
#include "daemon/building.h"
#include "daemon/direct.h"
#include "daemon/fabric.h"
#include "daemon/loop.h"
#include "foyer/foyer.h"
#include "ipc/paths.h"

struct foyer_registry;

struct daemon {
    struct loop loop;
    struct paths paths;
    struct foyer_allocator allocator; /* malloc and free */
    struct siphash_key key;           /* socket ids */
    uint64_t id_counter;
    struct foyer_registry *registry; /* NULL where it could not be loaded */
    struct building building;
    struct fabric fabric;
    struct hash_table psockets; /* of psocket.by_id */
    struct direct_table directs;
    struct list_node active;      /* of psocket.active_node: rings to look at this turn */
    struct list_node dirty_hosts; /* of building_host.dirty_node: may have output or events */
    struct list_node sessions;    /* of session.node */
    struct list_node kept;        /* of psocket.kept_node: connections to look after, keep.c */
    struct loop_timer keep_timer;
    foyer_time_ns kept_swept_ns;
    uint32_t session_count, arena_count;
    struct watch listener, signals;
    struct loop_timer accept_timer;
    int lock_fd;
    foyer_time_ns started_ns;
};

/* daemon.c */
struct daemon_options {
    const char *building;    /* NULL: as paths_init */
    const char *net4, *net6; /* NULL: default */
    bool foreground;
    int ready_fd; /* -1: none; gets one byte when sessions can be opened, end of file if never */
};
/* Runs foyerd; returns its exit status. */
int daemon_run(const struct daemon_options *options);
/* Leaves the loop at the end of the turn. */
void daemon_stop(struct daemon *daemon);

#endif
