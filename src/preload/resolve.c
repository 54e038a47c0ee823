/*
 * Names: what is written in numbers is libc's, then names and addresses of the building by
 * foyerd, then whatever libc finds.
 *
 * getaddrinfo's results are libc's own: for each address that foyerd gives, libc is asked with the
 * address in numbers, and the lists are chained. So the real freeaddrinfo frees them.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "preload/real.h"

#define ADDRS_MAX 8u

struct answer {
    struct foyer_addr addrs[ADDRS_MAX];
    unsigned count;
    char name[256];
};

static bool ask(struct foyer_request_resolve *request, struct answer *ret_answer)
{
    struct foyer_reply_resolve reply;
    int saved_errno = errno;
    request->header.type = FOYER_REQUEST_RESOLVE;
    request->header.size = sizeof(*request);
    int error = session_call(&request->header, NULL, &reply.header, sizeof(reply), NULL);
    errno = saved_errno;
    if (error < 0)
        return false;
    ret_answer->count = reply.addr_count < ADDRS_MAX ? reply.addr_count : ADDRS_MAX;
    memcpy(ret_answer->addrs, reply.addrs, sizeof(reply.addrs));
    memcpy(ret_answer->name, reply.name, sizeof(reply.name));
    ret_answer->name[sizeof(ret_answer->name) - 1] = 0;
    return true;
}

/* False: not a name of the building. */
static bool resolve_name(const char *name, struct answer *ret_answer)
{
    struct foyer_request_resolve request;
    memset(&request, 0, sizeof(request));
    size_t size = name == NULL ? 0 : strlen(name);
    if (!preload_config.is_enabled || size == 0 || size >= sizeof(request.name))
        return false;
    memcpy(request.name, name, size);
    return ask(&request, ret_answer) && ret_answer->count > 0;
}

static bool resolve_addr(const void *bytes, socklen_t size, int family, struct answer *ret_answer)
{
    struct foyer_request_resolve request;
    memset(&request, 0, sizeof(request));
    if (!preload_config.is_enabled)
        return false;
    if (family == AF_INET && size >= 4) {
        uint8_t v4[4];
        memcpy(v4, bytes, 4);
        request.addr = foyer_addr_v4(v4[0], v4[1], v4[2], v4[3]);
    } else if (family == AF_INET6 && size >= 16) {
        memcpy(request.addr.bytes, bytes, 16);
    } else {
        return false;
    }
    if (foyer_addr_is_any(&request.addr) || foyer_addr_is_loopback(&request.addr))
        return false;
    return ask(&request, ret_answer) && ret_answer->name[0] != 0;
}

/* ---- getaddrinfo --------------------------------------------------------------------------- */

static int chain_address(const struct foyer_addr *addr, const char *service,
                         const struct addrinfo *hints, struct addrinfo **io_tail,
                         struct addrinfo **io_head)
{
    char text[INET6_ADDRSTRLEN];
    struct addrinfo own = {.ai_family = AF_UNSPEC}, *list;
    if (hints != NULL)
        own = *hints;
    bool is_v4 = foyer_addr_is_v4(addr);
    if (own.ai_family != AF_UNSPEC && own.ai_family != (is_v4 ? AF_INET : AF_INET6) &&
        !(is_v4 && own.ai_family == AF_INET6 && (own.ai_flags & AI_V4MAPPED) != 0))
        return EAI_NONAME;
    /* AI_ADDRCONFIG asks about the kernel's interfaces, which have nothing to do with ours. */
    own.ai_flags &= ~(AI_ADDRCONFIG | AI_CANONNAME | AI_IDN | AI_CANONIDN);
    own.ai_flags |= AI_NUMERICHOST;
    if (is_v4)
        inet_ntop(AF_INET, addr->bytes + 12, text, sizeof(text));
    else
        inet_ntop(AF_INET6, addr->bytes, text, sizeof(text));
    int error = REAL(getaddrinfo)(text, service, &own, &list);
    if (error != 0)
        return error;
    if (*io_head == NULL)
        *io_head = list;
    else
        (*io_tail)->ai_next = list;
    while (list->ai_next != NULL)
        list = list->ai_next;
    *io_tail = list;
    return 0;
}

static int answer_to_addrinfo(const struct answer *answer, const char *service,
                              const struct addrinfo *hints, struct addrinfo **ret_list)
{
    struct addrinfo *head = NULL, *tail = NULL;
    int last_error = EAI_NONAME;
    for (unsigned i = 0; i < answer->count; i++) {
        int error = chain_address(&answer->addrs[i], service, hints, &tail, &head);
        if (error != 0 && error != EAI_NONAME)
            last_error = error;
    }
    if (head == NULL)
        return last_error;
    if (hints != NULL && (hints->ai_flags & AI_CANONNAME) != 0)
        head->ai_canonname = strdup(answer->name); /* freeaddrinfo frees it */
    *ret_list = head;
    return 0;
}

/* Also the short forms that inet_aton takes: "127.1". */
static bool is_numeric(const char *node)
{
    struct in_addr v4;
    struct in6_addr v6;
    return inet_aton(node, &v4) != 0 || inet_pton(AF_INET6, node, &v6) == 1 ||
           strchr(node, ':') != NULL;
}

ENTRY int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                      struct addrinfo **ret_list)
{
    struct answer answer;
    if (!preload_config.is_enabled || node == NULL || is_numeric(node) ||
        (hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0)) {
        struct addrinfo own;
        if (preload_config.is_enabled && hints != NULL && (hints->ai_flags & AI_ADDRCONFIG) != 0) {
            own = *hints;
            own.ai_flags &= ~AI_ADDRCONFIG;
            hints = &own;
        }
        return REAL(getaddrinfo)(node, service, hints, ret_list);
    }
    if (resolve_name(node, &answer))
        return answer_to_addrinfo(&answer, service, hints, ret_list);
    return REAL(getaddrinfo)(node, service, hints, ret_list);
}

ENTRY int getnameinfo(const struct sockaddr *addr, socklen_t size, char *node, socklen_t node_size,
                      char *service, socklen_t service_size, int flags)
{
    struct answer answer;
    const void *bytes = NULL;
    if (addr != NULL && addr->sa_family == AF_INET && size >= sizeof(struct sockaddr_in))
        bytes = &((const struct sockaddr_in *)(const void *)addr)->sin_addr;
    else if (addr != NULL && addr->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6))
        bytes = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
    if (node == NULL || node_size == 0 || (flags & NI_NUMERICHOST) != 0 || bytes == NULL ||
        !resolve_addr(bytes, 16, addr->sa_family, &answer))
        return REAL(getnameinfo)(addr, size, node, node_size, service, service_size, flags);
    if (strlen(answer.name) >= node_size)
        return EAI_OVERFLOW;
    memcpy(node, answer.name, strlen(answer.name) + 1);
    if (service == NULL || service_size == 0)
        return 0;
    return REAL(getnameinfo)(addr, size, NULL, 0, service, service_size, flags);
}

/* ---- the older functions ------------------------------------------------------------------- */

/* A hostent in the caller's buffer. 0 or ERANGE. */
static int build_hostent(const struct answer *answer, int family, struct hostent *ret_host,
                         char *buffer, size_t size)
{
    size_t addr_size = family == AF_INET ? 4 : 16;
    size_t name_size = strlen(answer->name) + 1;
    size_t offset = (8 - (uintptr_t)buffer % 8) % 8;
    size_t pointers = (ADDRS_MAX + 2) * sizeof(char *);
    if (size < offset + pointers + ADDRS_MAX * addr_size + name_size)
        return ERANGE;
    char **list = (char **)(void *)(buffer + offset);
    char *bytes = buffer + offset + pointers;
    unsigned count = 0;
    for (unsigned i = 0; i < answer->count; i++) {
        if (foyer_addr_is_v4(&answer->addrs[i]) != (family == AF_INET))
            continue;
        memcpy(bytes, answer->addrs[i].bytes + (family == AF_INET ? 12 : 0), addr_size);
        list[count++] = bytes;
        bytes += addr_size;
    }
    list[count] = NULL;
    list[ADDRS_MAX + 1] = NULL;
    memcpy(bytes, answer->name, name_size);
    *ret_host = (struct hostent){
        .h_name = bytes,
        .h_aliases = &list[ADDRS_MAX + 1],
        .h_addrtype = family,
        .h_length = (int)addr_size,
        .h_addr_list = list,
    };
    return 0;
}

static bool has_family(const struct answer *answer, int family)
{
    for (unsigned i = 0; i < answer->count; i++) {
        if (foyer_addr_is_v4(&answer->addrs[i]) == (family == AF_INET))
            return true;
    }
    return false;
}

static int answer_r(const struct answer *answer, int family, struct hostent *host, char *buffer,
                    size_t size, struct hostent **ret_result, int *ret_h_errno)
{
    *ret_result = NULL;
    if (!has_family(answer, family)) {
        *ret_h_errno = NO_DATA;
        return 0;
    }
    int error = build_hostent(answer, family, host, buffer, size);
    if (error != 0) {
        *ret_h_errno = NETDB_INTERNAL;
        return error;
    }
    *ret_result = host;
    return 0;
}

ENTRY int gethostbyname2_r(const char *name, int family, struct hostent *host, char *buffer,
                           size_t size, struct hostent **ret_result, int *ret_h_errno)
{
    struct answer answer;
    if ((family == AF_INET || family == AF_INET6) && !is_numeric(name) &&
        resolve_name(name, &answer))
        return answer_r(&answer, family, host, buffer, size, ret_result, ret_h_errno);
    return REAL(gethostbyname2_r)(name, family, host, buffer, size, ret_result, ret_h_errno);
}

ENTRY int gethostbyname_r(const char *name, struct hostent *host, char *buffer, size_t size,
                          struct hostent **ret_result, int *ret_h_errno)
{
    struct answer answer;
    if (!is_numeric(name) && resolve_name(name, &answer))
        return answer_r(&answer, AF_INET, host, buffer, size, ret_result, ret_h_errno);
    return REAL(gethostbyname_r)(name, host, buffer, size, ret_result, ret_h_errno);
}

ENTRY int gethostbyaddr_r(const void *addr, socklen_t addr_size, int family, struct hostent *host,
                          char *buffer, size_t size, struct hostent **ret_result, int *ret_h_errno)
{
    struct answer answer;
    if (resolve_addr(addr, addr_size, family, &answer))
        return answer_r(&answer, family, host, buffer, size, ret_result, ret_h_errno);
    return REAL(gethostbyaddr_r)(addr, addr_size, family, host, buffer, size, ret_result,
                                 ret_h_errno);
}

/* gethostbyname(3): the result may be in static memory. */
static struct hostent *static_answer(const struct answer *answer, int family)
{
    static __thread struct hostent host;
    static __thread char buffer[1024];
    struct hostent *result;
    int code = 0;
    answer_r(answer, family, &host, buffer, sizeof(buffer), &result, &code);
    if (result == NULL)
        h_errno = code;
    return result;
}

ENTRY struct hostent *gethostbyname2(const char *name, int family)
{
    struct answer answer;
    if ((family == AF_INET || family == AF_INET6) && !is_numeric(name) &&
        resolve_name(name, &answer))
        return static_answer(&answer, family);
    return REAL(gethostbyname2)(name, family);
}

ENTRY struct hostent *gethostbyname(const char *name)
{
    struct answer answer;
    if (!is_numeric(name) && resolve_name(name, &answer))
        return static_answer(&answer, AF_INET);
    return REAL(gethostbyname)(name);
}

ENTRY struct hostent *gethostbyaddr(const void *addr, socklen_t size, int family)
{
    struct answer answer;
    if (resolve_addr(addr, size, family, &answer))
        return static_answer(&answer, family);
    return REAL(gethostbyaddr)(addr, size, family);
}

/* ---- the host's own name ------------------------------------------------------------------- */

ENTRY int gethostname(char *name, size_t size)
{
    if (!preload_config.is_enabled)
        return REAL(gethostname)(name, size);
    size_t own = strlen(preload_config.host) + 1;
    memcpy(name, preload_config.host, own < size ? own : size);
    return own > size ? result_int(-ENAMETOOLONG) : 0;
}

ENTRY int uname(struct utsname *ret_name)
{
    int result = REAL(uname)(ret_name);
    if (result == 0 && preload_config.is_enabled)
        snprintf(ret_name->nodename, sizeof(ret_name->nodename), "%s", preload_config.host);
    return result;
}
