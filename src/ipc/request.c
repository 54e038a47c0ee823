#include "ipc/request.h"

#include <errno.h>
#include <sys/socket.h>

#include "ipc/protocol.h"

/* One row per type: its exact size (0: at least a header), its role and its descriptors. */
struct rule {
    uint16_t size;
    uint8_t role;
    uint8_t fds_min, fds_max;
};

static const struct rule rules[] = {
    [FOYER_REQUEST_HELLO] = {sizeof(struct foyer_hello), REQUEST_ROLE_NONE, 0, 0},
    [FOYER_REQUEST_SESSION] = {sizeof(struct foyer_request), FOYER_ROLE_BIRTH, 1, 1},
    [FOYER_REQUEST_SOCKET] = {sizeof(struct foyer_request_socket), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_BIND] = {sizeof(struct foyer_request_endpoint), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_LISTEN] = {sizeof(struct foyer_request_listen), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_CONNECT] = {sizeof(struct foyer_request_endpoint), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_OPTIONS] = {sizeof(struct foyer_request), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_ATTACH] = {sizeof(struct foyer_request), FOYER_ROLE_PROGRAM, 1, 1},
    [FOYER_REQUEST_RESOLVE] = {sizeof(struct foyer_request_resolve), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_INFO] = {sizeof(struct foyer_request), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_CONTROL] = {0, FOYER_ROLE_CONTROL, 0, 1},
    [FOYER_REQUEST_FORKED] = {sizeof(struct foyer_request), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_DIRECT] = {sizeof(struct foyer_request_endpoint), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_INBOX] = {sizeof(struct foyer_request_inbox), FOYER_ROLE_PROGRAM, 1, 1},
    [FOYER_REQUEST_GROUP] = {sizeof(struct foyer_request_group), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_FILTER] = {sizeof(struct foyer_request_filter), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_ERROR] = {sizeof(struct foyer_request), FOYER_ROLE_PROGRAM, 0, 0},
    [FOYER_REQUEST_KEPT] = {sizeof(struct foyer_request), FOYER_ROLE_PROGRAM, 0, 0},
};

static bool is_terminated(const char *text, size_t capacity)
{
    return memchr(text, 0, capacity) != NULL;
}

static bool hello_is_valid(const struct foyer_hello *hello)
{
    return hello->role >= FOYER_ROLE_PROGRAM && hello->role <= FOYER_ROLE_CONTROL &&
           hello->parent_pid >= 0 && hello->acts_for_pid >= 0 &&
           is_terminated(hello->host, sizeof(hello->host)) &&
           is_terminated(hello->program, sizeof(hello->program));
}

static bool body_is_valid(const struct request *request)
{
    switch (request->type) {
    case FOYER_REQUEST_HELLO:
        return hello_is_valid(&request->body.hello);
    case FOYER_REQUEST_CONNECT:
        return request->id != 0 && request->body.endpoint.family_unspecified <= 1;
    case FOYER_REQUEST_BIND:
    case FOYER_REQUEST_LISTEN:
    case FOYER_REQUEST_OPTIONS:
    case FOYER_REQUEST_ATTACH:
    case FOYER_REQUEST_INFO:
    case FOYER_REQUEST_DIRECT:
    case FOYER_REQUEST_INBOX:
    case FOYER_REQUEST_ERROR:
    case FOYER_REQUEST_KEPT:
        return request->id != 0;
    case FOYER_REQUEST_SOCKET:
        return request->body.socket.spare_count <= FOYER_SPARES_MAX;
    case FOYER_REQUEST_GROUP:
        return request->id != 0 && request->body.group.operation >= FOYER_GROUP_INTERFACE &&
               request->body.group.operation <= FOYER_GROUP_UNBLOCK_SOURCE;
    case FOYER_REQUEST_FILTER:
        return request->id != 0 && request->body.filter.is_set <= 1 &&
               request->body.filter.is_exclude <= 1 &&
               request->body.filter.source_count <= FOYER_FILTER_SOURCES_MAX;
    case FOYER_REQUEST_RESOLVE:
        return is_terminated(request->body.resolve.name, sizeof(request->body.resolve.name));
    case FOYER_REQUEST_CONTROL:
        return request->text_size > 0;
    default:
        return true; /* SESSION has no fields */
    }
}

int request_parse(const void *bytes, size_t size, unsigned fd_count, uint32_t role,
                  struct request *ret_request)
{
    struct foyer_request header;
    if (size < sizeof(header) || size > FOYER_MESSAGE_MAX)
        return -EPROTO;
    memcpy(&header, bytes, sizeof(header));
    if (header.size != size || header.type == 0 || header.type >= sizeof(rules) / sizeof(rules[0]))
        return -EPROTO;
    const struct rule *rule = &rules[header.type];
    if (rule->role != role || fd_count < rule->fds_min || fd_count > rule->fds_max)
        return -EPROTO;
    if (rule->size != 0 && rule->size != size)
        return -EPROTO;

    struct request request;
    memset(&request, 0, sizeof(request));
    request.type = header.type;
    request.id = header.id;
    if (rule->size != 0) {
        memcpy(&request.body, bytes, size);
    } else {
        request.text = (const char *)bytes + sizeof(header);
        request.text_size = size - sizeof(header);
    }
    if (!body_is_valid(&request))
        return -EPROTO;
    *ret_request = request;
    return 0;
}
