/* Finds the parts of foyer that belong to this command, and starts foyerd. */
#ifndef FOYER_CLI_START_H
#define FOYER_CLI_START_H

#include "cli/client.h"
#include "ipc/elf.h"

/*
 * The absolute path of libfoyer-preload.so: in lib beside the directory of this program (build
 * tree), else where it was installed. Returns 0, or -ENOENT with ret_path naming the last place.
 */
int start_find_preload(char ret_path[static ELF_PATH_MAX]);

/* The same of foyer-supervise, which is beside this program. */
int start_find_supervisor(char ret_path[static ELF_PATH_MAX]);

/*
 * client_open, for any role, that starts foyerd first where it does not run; explains every
 * failure. ret_was_started may be NULL. Concurrent callers start one foyerd only.
 */
int start_client_open(const struct cli_invocation *invocation, enum foyer_role role,
                      const char *host, const char *program, struct client *ret_client,
                      bool *ret_was_started);

#endif
