/*
 * Where a building's files are, and what names may look like.
 *
 *     $FOYER_DIR, else $XDG_RUNTIME_DIR/foyer, else /tmp/foyer-UID     the runtime directory
 *         <building>/                                                  FOYER_BUILDING or "default"
 *             foyerd.sock  foyerd.log  foyerd.lock
 *
 * The directories must belong to the effective user and be closed to everybody else, and may not
 * be symbolic links: in /tmp anybody could have made them first.
 */
#ifndef FOYER_IPC_PATHS_H
#define FOYER_IPC_PATHS_H

#include <stdbool.h>

#include "ipc/protocol.h"

#define PATHS_SIZE_MAX 512u

struct paths {
    char building[FOYER_NAME_MAX];
    char root[PATHS_SIZE_MAX];      /* the runtime directory */
    char directory[PATHS_SIZE_MAX]; /* the building's */
    char socket[PATHS_SIZE_MAX];
    char log[PATHS_SIZE_MAX];
    char lock[PATHS_SIZE_MAX];
};

/*
 * Works the paths out from the environment; touches no file. building NULL: from FOYER_BUILDING,
 * else "default". -EINVAL: the building's name is not a label. -ENAMETOOLONG: too long for a
 * socket's address; choose a shorter FOYER_DIR.
 */
int paths_init(struct paths *ret_paths, const char *building);

/*
 * Makes the two directories where they are missing (mode 0700) and checks them. -EPERM: one is
 * not the user's own, is open to others or is a symbolic link. Other errors as mkdir and open.
 */
int paths_prepare(const struct paths *paths);

/* Checks only; -ENOENT where there is no such building. */
int paths_check(const struct paths *paths);

/*
 * RFC 1123 section 2.1: letters, digits and hyphens, neither first nor last a hyphen, 1..63
 * characters; here lower case only, since names are compared as bytes and used in file names.
 * Not digits alone: that would read as an address or a process id.
 */
bool name_is_label(const char *name);

#endif
