/*
 * Reads /proc/net/tcp, tcp6, udp and udp6: the kernel's sockets, one per line (proc(5)).
 *
 *   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
 *    0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 51234 1
 *
 * Addresses are 32-bit words of network-order bytes printed as numbers of this machine, ports are
 * plain hexadecimal. Pure functions over bytes; called by machine.c and the fuzz target.
 */
#ifndef FOYER_CLI_PROCNET_H
#define FOYER_CLI_PROCNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

/* The kernel's numbers for TCP states (include/net/tcp_states.h); UDP uses 1 and 7. */
enum procnet_state {
    PROCNET_ESTABLISHED = 1,
    PROCNET_SYN_SENT,
    PROCNET_SYN_RECEIVED,
    PROCNET_FIN_WAIT_1,
    PROCNET_FIN_WAIT_2,
    PROCNET_TIME_WAIT,
    PROCNET_CLOSED, /* UDP: bound, not connected */
    PROCNET_CLOSE_WAIT,
    PROCNET_LAST_ACK,
    PROCNET_LISTEN,
    PROCNET_CLOSING,
    PROCNET_NEW_SYN_RECEIVED,
    PROCNET_STATE_COUNT,
};

struct procnet_entry {
    struct foyer_endpoint local, remote;
    uint8_t state; /* 1 .. PROCNET_STATE_COUNT - 1 */
    uint32_t uid;
    uint64_t inode; /* 0: no descriptor holds it any more, as in TIME_WAIT */
};

struct procnet_reader {
    const char *bytes; /* borrowed */
    size_t size, offset;
    size_t skipped_count; /* lines, the heading left out, that could not be read */
};

void procnet_reader_init(struct procnet_reader *reader, const char *bytes, size_t size);
/* The next socket; false at the end. Lines that are not as above are skipped and counted. */
bool procnet_reader_next(struct procnet_reader *reader, struct procnet_entry *ret_entry);

/* "LISTEN", "TIME_WAIT"; for UDP "UNCONNECTED" instead of "CLOSED". Never NULL. */
const char *procnet_state_name(uint8_t state, bool is_udp);

/*
 * The fields of /proc/<pid>/stat that foyer needs: the start in clock ticks after boot. The
 * program's name in it may hold spaces and parentheses.
 */
bool procnet_parse_stat(const char *bytes, size_t size, uint64_t *ret_start_ticks);
/* The line "btime N" of /proc/stat: when the machine was started, Unix time in seconds. */
bool procnet_parse_boot_time(const char *bytes, size_t size, uint64_t *ret_time_s);
/* The target of a link in /proc/<pid>/fd: "socket:[N]". */
bool procnet_parse_socket_link(const char *text, uint64_t *ret_inode);

#endif
