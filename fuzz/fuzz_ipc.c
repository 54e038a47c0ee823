/*
 * Requests as they arrive at foyerd. The first two bytes are what the session knows itself: its
 * role and the number of descriptors; the rest is the message.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/request.h"

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* What foyerd relies on without looking again. */
static void check_request(const struct request *request, uint32_t role, unsigned fd_count,
                          const uint8_t *bytes, size_t size)
{
    check((request->type == FOYER_REQUEST_HELLO) == (role == REQUEST_ROLE_NONE));
    check((request->type == FOYER_REQUEST_SESSION) == (role == FOYER_ROLE_BIRTH));
    check((request->type == FOYER_REQUEST_CONTROL) == (role == FOYER_ROLE_CONTROL));
    switch (request->type) {
    case FOYER_REQUEST_HELLO:
        check(strnlen(request->body.hello.host, FOYER_NAME_MAX) < FOYER_NAME_MAX);
        check(strnlen(request->body.hello.program, FOYER_NAME_MAX) < FOYER_NAME_MAX);
        check(request->body.hello.role != REQUEST_ROLE_NONE);
        check(fd_count == 0);
        break;
    case FOYER_REQUEST_SESSION:
    case FOYER_REQUEST_ATTACH:
    case FOYER_REQUEST_INBOX:
        check(fd_count == 1);
        break;
    case FOYER_REQUEST_RESOLVE:
        check(memchr(request->body.resolve.name, 0, sizeof(request->body.resolve.name)) != NULL);
        break;
    case FOYER_REQUEST_FILTER:
        check(request->body.filter.source_count <= FOYER_FILTER_SOURCES_MAX && fd_count == 0);
        break;
    case FOYER_REQUEST_CONTROL:
        check((const uint8_t *)request->text == bytes + sizeof(struct foyer_request));
        check(request->text_size == size - sizeof(struct foyer_request));
        check(request->text_size > 0 && fd_count <= 1);
        break;
    default:
        check(fd_count == 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request request, untouched;
    if (size < 2)
        return 0;
    uint32_t role = data[0];
    unsigned fd_count = data[1];
    memset(&request, 0x5a, sizeof(request));
    untouched = request;
    if (request_parse(data + 2, size - 2, fd_count, role, &request) == 0)
        check_request(&request, role, fd_count, data + 2, size - 2);
    else
        check(memcmp(&request, &untouched, sizeof(request)) == 0);
    return 0;
}
