/*
 * Checks what arrives at foyerd on a session before anything else looks at it. Pure: no state, no
 * system call; the same bytes always give the same answer (fuzz/fuzz_ipc.c).
 */
#ifndef FOYER_IPC_REQUEST_H
#define FOYER_IPC_REQUEST_H

#include "ipc/protocol.h"

/* A request that was checked: a copy in aligned memory, text borrowed from the message. */
struct request {
    uint32_t type; /* enum foyer_request_type: says which member counts */
    uint64_t id;
    union {
        struct foyer_hello hello;
        struct foyer_request_socket socket;
        struct foyer_request_endpoint endpoint; /* BIND, CONNECT and DIRECT */
        struct foyer_request_listen listen;
        struct foyer_request_resolve resolve;
        struct foyer_request_inbox inbox;
        struct foyer_request_group group;
        struct foyer_request_filter filter;
    } body;
    const char *text; /* CONTROL: the JSON, not terminated; borrowed from bytes */
    size_t text_size;
};

/*
 * What a session is to foyerd so far; HELLO must come first and once, and each role has its own
 * requests.
 */
#define REQUEST_ROLE_NONE 0u

/*
 * Checks size, type, role, number of descriptors, termination of strings and the range of every
 * field. 0; -EPROTO: malformed, the session must end; ret_request is then untouched.
 */
int request_parse(const void *bytes, size_t size, unsigned fd_count, uint32_t role,
                  struct request *ret_request);

#endif
