/*
 * The machine's own side of `foyer who`: which of the kernel's sockets has a port, and which
 * processes hold it. Reads /proc of the caller's network namespace; changes nothing.
 */
#ifndef FOYER_CLI_MACHINE_H
#define FOYER_CLI_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/procnet.h"

#define MACHINE_NAME_SIZE 64u

struct machine_socket {
    struct procnet_entry entry;
    bool is_udp;
    size_t holder_count; /* of machine_report.holders that have this socket's index */
};

/* A process that holds one of the sockets. */
struct machine_holder {
    size_t socket_index;
    pid_t pid;
    char program[MACHINE_NAME_SIZE]; /* as /proc/<pid>/comm has it: any bytes; empty: unknown */
    int64_t since_s;                 /* its start, Unix time; 0: unknown */
};

struct machine_report {
    struct machine_socket *sockets;
    size_t socket_count;
    struct machine_holder *holders; /* by socket, then pid */
    size_t holder_count;
    size_t denied_count; /* processes whose descriptors may not be read */
};

/*
 * Sockets with this local port, of TCP and UDP as asked. Listeners and UDP sockets; with_connected:
 * also TCP connections from this port. machine_report_finish frees. Returns 0, -ENOMEM, or the
 * error of reading /proc.
 */
int machine_report_init(struct machine_report *ret_report, uint16_t port, bool tcp, bool udp,
                        bool with_connected);
void machine_report_finish(struct machine_report *report);

/* The user's name, or the number as text where there is none. */
void machine_user_name(uint32_t uid, char ret_name[static MACHINE_NAME_SIZE]);

#endif
