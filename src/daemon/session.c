/*
 * Sessions. Reads messages, has them checked (ipc/request.h), finds whom they are about and
 * answers. A malformed message ends its session and nothing else.
 */
#define _GNU_SOURCE /* struct ucred */

#include "daemon/session.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/conflict.h"
#include "daemon/control.h"
#include "daemon/daemon.h"
#include "daemon/direct.h"
#include "daemon/group.h"
#include "daemon/keep.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/relay.h"
#include "ipc/message.h"
#include "ipc/request.h"

#define SESSION_MESSAGES_MAX 32 /* per turn, so that one program can't keep others waiting */

/* ---- answers ---------------------------------------------------------------------------------- */

static struct foyer_reply reply_header(const struct request *request, int error)
{
    struct foyer_reply reply = {.type = request->type, .error = error, .id = request->id};
    return reply;
}

/* Whoever does not read its one answer is not worth waiting for. False: the session is over. */
static bool answer(struct session *session, const void *reply, size_t size,
                   const struct message_fds *fds)
{
    ssize_t sent = message_send(session->watch.fd, reply, size, fds, MSG_DONTWAIT);
    if (sent >= 0)
        return true;
    session_end(session, sent == -EPIPE ? "hung up" : strerror((int)-sent));
    return false;
}

static void answer_error(struct session *session, const struct request *request, int error)
{
    struct foyer_reply reply = reply_header(request, error);
    answer(session, &reply, sizeof(reply), NULL);
}

/* ---- HELLO and SESSION -------------------------------------------------------------------------- */

/* The host that HELLO names; made if need be. Positive errno. */
static int choose_host(struct session *session, const char *name)
{
    struct building *building = &session->daemon->building;
    char label[FOYER_NAME_MAX];
    if (session->is_from_birth) /* already held; another one may not be entered from here */
        return name[0] == '\0' || (building_name_normalise(name, label) &&
                                   strcmp(label, session->host->name) == 0)
                   ? 0
                   : EPERM;
    if (!building_name_normalise(name[0] != '\0' ? name : BUILDING_HOST_DEFAULT, label))
        return EINVAL;
    struct building_host *host = building_find_name(building, label);
    if (host == NULL) {
        int error = building_host_create(building, label, NULL, NULL, &host);
        if (error != 0)
            return -error;
    }
    building_host_hold(host);
    session->host = host;
    return 0;
}

static int enter(struct session *session, const struct foyer_hello *hello)
{
    bool is_command = hello->role == FOYER_ROLE_CONTROL;
    if (hello->version != (is_command ? FOYER_PROTOCOL_VERSION : protocol_build()))
        return EPROTO;
    if (hello->role != FOYER_ROLE_PROGRAM && session->is_from_birth)
        return EPERM;
    if (hello->acts_for_pid > 0) { /* for people to read; it gives no rights */
        session->holder.pid = hello->acts_for_pid;
        session->holder.is_supervised = true;
    }
    if (session->holder.is_supervised ||
        !process_name(session->holder.pid, session->holder.program))
        memcpy(session->holder.program, hello->program, sizeof(hello->program));
    session->parent_pid = hello->parent_pid;
    if (hello->role != FOYER_ROLE_CONTROL) {
        int error = choose_host(session, hello->host);
        if (error != 0)
            return error;
    }
    if (hello->role == FOYER_ROLE_PROGRAM) {
        int error = arena_create(++session->daemon->arena_count, &session->arena);
        if (error != 0)
            return -error;
    }
    session->role = hello->role;
    return 0;
}

static void serve_hello(struct session *session, const struct request *request)
{
    const struct foyer_hello *hello = &request->body.hello;
    struct foyer_welcome welcome;
    struct message_fds fds = {.count = 0};
    memset(&welcome, 0, sizeof(welcome));
    int error = enter(session, hello);
    welcome.header = reply_header(request, error);
    welcome.version = FOYER_PROTOCOL_VERSION;
    welcome.daemon_pid = getpid();
    memcpy(welcome.building, session->daemon->building.name, sizeof(welcome.building));
    if (error == 0 && session->host != NULL) {
        welcome.addr4 = session->host->addr4;
        welcome.addr6 = session->host->addr6;
        memcpy(welcome.host, session->host->name, sizeof(welcome.host));
    }
    if (session->arena != NULL) {
        welcome.arena = session->arena->number;
        fds.fds[fds.count++] = session->arena->memfd;
    }
    if (!answer(session, &welcome, sizeof(welcome), &fds))
        return;
    if (error != 0) {
        session_end(session, strerror(error));
        return;
    }
    log_debug("session: role %u, pid %d, %s", session->role, (int)session->holder.pid,
              session->holder.program);
}

static void serve_session(struct session *session, struct message_fds *fds)
{
    int fd = message_fds_take(fds, 0);
    int error = session_create(session->daemon, fd, session);
    if (error != 0)
        log_warning("a process of host %s gets no session: %s", session->host->name,
                    strerror(-error));
}

/* ---- sockets -------------------------------------------------------------------------------------- */

/* A program may name the sockets of its own host: ids can't be guessed and are not told. */
static struct psocket *find_socket(struct session *session, uint64_t id)
{
    struct psocket *psocket = psocket_find(session->daemon, id);
    return psocket != NULL && psocket->host == session->host ? psocket : NULL;
}

static int open_socket(struct session *session, const struct foyer_request_socket *wanted,
                       struct psocket **ret_psocket)
{
    if (wanted->family != AF_INET && wanted->family != AF_INET6)
        return EAFNOSUPPORT;
    if (wanted->type != SOCK_STREAM && wanted->type != SOCK_DGRAM)
        return ESOCKTNOSUPPORT;
    bool is_udp = wanted->type == SOCK_DGRAM;
    enum foyer_protocol protocol = is_udp ? FOYER_UDP : FOYER_TCP;
    if (wanted->protocol != 0 && wanted->protocol != (uint32_t)protocol)
        return EPROTONOSUPPORT;
    int error;
    do {
        error = psocket_create(session->daemon, session->host, session->arena, &session->holder,
                               wanted->family == AF_INET6 ? FOYER_FAMILY_V6 : FOYER_FAMILY_V4,
                               protocol, FOYER_SOCKET_NONE, ret_psocket);
    } while ((error == -EMFILE || error == -ENFILE || error == -ENOSPC) &&
             keep_dissolve_all(session->daemon));
    if (error == 0 && is_udp) {
        error = relay_attach(*ret_psocket);
        if (error == 0)
            psocket_set_state(*ret_psocket, FOYER_SLOT_DATAGRAM);
        else
            psocket_close(*ret_psocket);
    }
    return -error;
}

/* Spares come as long as there is memory and a descriptor for them. */
static void open_spares(struct session *session, const struct foyer_request_socket *wanted,
                        struct foyer_reply_sockets *reply, struct message_fds *fds,
                        struct psocket *ret_spares[FOYER_SPARES_MAX])
{
    while (reply->spare_count < wanted->spare_count) {
        struct psocket *spare;
        if (open_socket(session, wanted, &spare) != 0)
            return;
        reply->spares[reply->spare_count].id = spare->id;
        reply->spares[reply->spare_count].slot = spare->slot_index;
        ret_spares[reply->spare_count++] = spare;
        fds->fds[fds->count++] = spare->program_end;
    }
}

static void serve_sockets(struct session *session, const struct request *request)
{
    struct psocket *first, *spares[FOYER_SPARES_MAX] = {NULL};
    struct foyer_reply_sockets reply;
    memset(&reply, 0, sizeof(reply));
    int error = request->body.socket.type != SOCK_STREAM
                    ? EOPNOTSUPP
                    : open_socket(session, &request->body.socket, &first);
    reply.first.header = reply_header(request, error);
    if (error != 0) {
        answer(session, &reply, sizeof(reply), NULL);
        return;
    }
    struct message_fds fds = {{first->program_end}, 1};
    reply.first.header.id = first->id;
    reply.first.arena = first->arena->number;
    reply.first.slot = first->slot_index;
    open_spares(session, &request->body.socket, &reply, &fds, spares);
    bool is_sent = answer(session, &reply, sizeof(reply), &fds);
    void (*finish)(struct psocket *) = is_sent ? psocket_sent : psocket_close;
    finish(first);
    for (uint32_t i = 0; i < reply.spare_count; i++)
        finish(spares[i]);
}

static void serve_socket(struct session *session, const struct request *request)
{
    struct psocket *psocket;
    struct foyer_reply_socket reply;
    memset(&reply, 0, sizeof(reply));
    int error = open_socket(session, &request->body.socket, &psocket);
    reply.header = reply_header(request, error);
    if (error != 0) {
        answer(session, &reply, sizeof(reply), NULL);
        return;
    }
    struct message_fds fds = {{psocket->program_end}, 1};
    reply.header.id = psocket->id;
    reply.arena = psocket->arena->number;
    reply.slot = psocket->slot_index;
    if (psocket->channel != NULL) {
        reply.ring_size = psocket->channel->ring_size;
        fds.fds[fds.count++] = psocket->channel->memfd;
    }
    if (answer(session, &reply, sizeof(reply), &fds))
        psocket_sent(psocket);
    else
        psocket_close(psocket);
}

static void serve_bind_or_listen(struct session *session, const struct request *request)
{
    struct foyer_reply_endpoint reply;
    foyer_socket holder = FOYER_SOCKET_NONE;
    int error = EBADF;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    bool is_bind = request->type == FOYER_REQUEST_BIND;
    if (psocket != NULL) {
        error = is_bind ? psocket_bind(psocket, &request->body.endpoint.endpoint, &holder)
                        : psocket_listen(psocket, request->body.listen.backlog, &holder);
        reply.local = psocket->slot->local;
        building_host_touch(psocket->host);
    }
    if (error == EADDRINUSE) {
        uint16_t port = is_bind ? request->body.endpoint.endpoint.port : psocket->bound_to.port;
        conflict_describe(psocket, port, holder, reply.conflict);
        log_info("%s (pid %d): %s", session->holder.program, (int)session->holder.pid,
                 reply.conflict);
    }
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), NULL);
}

static void serve_connect(struct session *session, const struct request *request)
{
    const struct foyer_request_endpoint *wanted = &request->body.endpoint;
    struct foyer_reply_connect reply;
    struct message_fds fds = {.count = 0};
    int error = EBADF;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    if (psocket != NULL) {
        error = psocket_connect(psocket, &wanted->endpoint, wanted->family_unspecified != 0, &fds);
        reply.local = psocket->slot->local;
        reply.remote = psocket->slot->remote;
        reply.side = psocket->side;
        reply.ring_size = psocket->channel != NULL ? psocket->channel->ring_size : 0;
    }
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), &fds);
}

/*
 * The descriptor is the proof: its inode is that of the program end. Names of sockets alone prove
 * nothing, another network namespace has names of its own.
 */
static struct psocket *find_proved(struct session *session, const struct request *request,
                                   const struct message_fds *request_fds)
{
    struct stat status;
    struct psocket *psocket = psocket_find(session->daemon, request->id);
    return psocket != NULL && fstat(request_fds->fds[0], &status) == 0 &&
                   S_ISSOCK(status.st_mode) && status.st_ino == psocket->program_inode
               ? psocket
               : NULL;
}

static void serve_attach(struct session *session, const struct request *request,
                         const struct message_fds *request_fds)
{
    struct foyer_reply_attach reply;
    struct message_fds fds = {.count = 0};
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_proved(session, request, request_fds);
    if (psocket == NULL) {
        reply.header = reply_header(request, ENOTSOCK);
        answer(session, &reply, sizeof(reply), NULL);
        return;
    }
    reply.header = reply_header(request, 0);
    reply.arena = psocket->arena->number;
    reply.slot = psocket->slot_index;
    reply.side = psocket->side;
    fds.fds[fds.count++] = psocket->arena->memfd;
    if (psocket->channel != NULL) {
        psocket->channel->is_spoiled = true; /* one more process maps it */
        keep_forbid(psocket);
        reply.ring_size = psocket->channel->ring_size;
        fds.fds[fds.count++] = psocket->channel->memfd;
        if (psocket->peer != NULL) {
            reply.is_local = 1;
            fds.fds[fds.count++] = psocket->peer->watch.fd;
        }
    }
    answer(session, &reply, sizeof(reply), &fds);
}

static void serve_direct(struct session *session, const struct request *request)
{
    struct foyer_reply_direct reply;
    struct message_fds fds = {.count = 0};
    int error = EBADF;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    if (psocket != NULL)
        error = direct_request(psocket, &request->body.endpoint.endpoint, &reply, &fds);
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), &fds);
}

static void serve_inbox(struct session *session, const struct request *request,
                        const struct message_fds *request_fds)
{
    struct foyer_reply_inbox reply;
    struct message_fds fds = {.count = 0};
    int error = ENOTSOCK;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_proved(session, request, request_fds);
    if (psocket != NULL)
        error = direct_inbox(psocket, request->body.inbox.after, &reply, &fds);
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), &fds);
}

/*
 * Segments that the local carrier does not have. Programs size their datagrams by it (iperf3), so
 * it is what the path's MTU would give: that of Linux's loopback, or of the switch.
 */
static uint32_t local_mss(const struct psocket *psocket)
{
    bool is_inside = psocket->peer != NULL && psocket->peer->host == psocket->host;
    return is_inside ? 32741 : 1448;
}

static void serve_info(struct session *session, const struct request *request)
{
    struct foyer_reply_info reply;
    struct foyer_socket_info info;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    if (psocket == NULL || foyer_socket_info(psocket->host->stack, psocket->stack, &info) != 0) {
        reply.header = reply_header(request, EBADF);
        answer(session, &reply, sizeof(reply), NULL);
        return;
    }
    reply.header = reply_header(request, 0);
    reply.state = (uint32_t)info.state;
    reply.rtt_us = info.rtt_us;
    reply.rttvar_us = info.rttvar_us;
    reply.rto_us = info.rto_us;
    reply.cwnd_bytes = info.cwnd_bytes;
    reply.ssthresh_bytes = info.ssthresh_bytes;
    reply.mss = psocket->carrier == PSOCKET_LOCAL ? local_mss(psocket) : info.mss;
    reply.retransmissions = (uint32_t)info.retransmissions;
    reply.bytes_sent = info.bytes_sent;
    reply.bytes_received = info.bytes_received;
    answer(session, &reply, sizeof(reply), NULL);
}

static void serve_options(struct session *session, const struct request *request)
{
    struct psocket *psocket = find_socket(session, request->id);
    if (psocket == NULL)
        return; /* there is no answer to say so in */
    psocket_apply_options(psocket);
    direct_limit(psocket);
    if (psocket->is_listening && (atomic_load(&psocket->slot->options) & FOYER_SLOT_NOT_KEPT) != 0)
        keep_listener_over(psocket, false);
    psocket_ring_bell(psocket); /* shutdown in one thread ends the sleep of another */
    building_host_touch(psocket->host);
}

static void serve_group(struct session *session, const struct request *request)
{
    struct foyer_reply_group reply;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    int error = psocket == NULL ? EBADF : group_request(psocket, &request->body.group, &reply);
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), NULL);
}

static void serve_filter(struct session *session, const struct request *request)
{
    struct foyer_reply_filter reply;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    int error = psocket == NULL ? EBADF : filter_request(psocket, &request->body.filter, &reply);
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), NULL);
}

static void serve_error(struct session *session, const struct request *request)
{
    struct foyer_reply_error reply;
    memset(&reply, 0, sizeof(reply));
    struct psocket *psocket = find_socket(session, request->id);
    int error = psocket == NULL ? EBADF : relay_error_next(psocket, &reply);
    reply.header = reply_header(request, error);
    answer(session, &reply, sizeof(reply), NULL);
}

static void serve_kept(struct session *session, const struct request *request)
{
    struct psocket *psocket = find_socket(session, request->id);
    if (psocket != NULL)
        keep_note(psocket);
}

static void serve_resolve(struct session *session, const struct request *request)
{
    const struct foyer_request_resolve *wanted = &request->body.resolve;
    struct foyer_reply_resolve reply;
    struct building_resolution found;
    memset(&reply, 0, sizeof(reply));
    bool is_known =
        building_resolve(&session->daemon->building, wanted->name, &wanted->addr, &found);
    reply.header = reply_header(request, is_known ? 0 : ENOENT);
    if (is_known) {
        memcpy(reply.name, found.name, sizeof(reply.name));
        reply.addr_count = found.addr_count;
        memcpy(reply.addrs, found.addrs, sizeof(found.addrs));
    }
    answer(session, &reply, sizeof(reply), NULL);
}

static void serve_control(struct session *session, const struct request *request,
                          struct message_fds *request_fds)
{
    int memfd = control_serve(session->daemon, request->text, request->text_size, request_fds);
    if (memfd < 0) {
        answer_error(session, request, -memfd);
        return;
    }
    struct foyer_reply reply = reply_header(request, 0);
    struct message_fds fds = {{memfd}, 1};
    answer(session, &reply, sizeof(reply), &fds);
    close(memfd);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void serve(struct session *session, const struct request *request, struct message_fds *fds)
{
    switch (request->type) {
    case FOYER_REQUEST_HELLO:
        serve_hello(session, request);
        break;
    case FOYER_REQUEST_SESSION:
        serve_session(session, fds);
        break;
    case FOYER_REQUEST_SOCKET:
        if (request->body.socket.spare_count > 0)
            serve_sockets(session, request);
        else
            serve_socket(session, request);
        break;
    case FOYER_REQUEST_BIND:
    case FOYER_REQUEST_LISTEN:
        serve_bind_or_listen(session, request);
        break;
    case FOYER_REQUEST_CONNECT:
        serve_connect(session, request);
        break;
    case FOYER_REQUEST_OPTIONS:
        serve_options(session, request);
        break;
    case FOYER_REQUEST_ATTACH:
        serve_attach(session, request, fds);
        break;
    case FOYER_REQUEST_FORKED:
        session->host->fork_count++;
        answer_error(session, request, 0);
        break;
    case FOYER_REQUEST_DIRECT:
        serve_direct(session, request);
        break;
    case FOYER_REQUEST_INBOX:
        serve_inbox(session, request, fds);
        break;
    case FOYER_REQUEST_GROUP:
        serve_group(session, request);
        break;
    case FOYER_REQUEST_FILTER:
        serve_filter(session, request);
        break;
    case FOYER_REQUEST_ERROR:
        serve_error(session, request);
        break;
    case FOYER_REQUEST_KEPT:
        serve_kept(session, request);
        break;
    case FOYER_REQUEST_RESOLVE:
        serve_resolve(session, request);
        break;
    case FOYER_REQUEST_INFO:
        serve_info(session, request);
        break;
    default:
        serve_control(session, request, fds);
        break;
    }
}

static void session_ready(struct watch *watch, uint32_t events)
{
    static alignas(8) uint8_t bytes[FOYER_MESSAGE_MAX];
    struct session *session = LIST_ENTRY(watch, struct session, watch);
    (void)events; /* hang-up is read as an empty message, after what was sent before it */
    for (unsigned i = 0; i < SESSION_MESSAGES_MAX && watch->is_active; i++) {
        struct message_fds fds = {.count = 0};
        struct request request;
        ssize_t size = message_receive(watch->fd, bytes, sizeof(bytes), &fds, MSG_DONTWAIT);
        if (size == -EAGAIN)
            return;
        if (size <= 0) {
            session_end(session, size == 0 ? NULL : strerror((int)-size));
            return;
        }
        int error = request_parse(bytes, (size_t)size, fds.count, session->role, &request);
        if (error == 0)
            serve(session, &request, &fds);
        else
            session_end(session, "malformed request");
        message_fds_close(&fds);
        /* Who waits for an answer has sent nothing more; epoll tells of those who have. */
        if (error == 0 && request.type != FOYER_REQUEST_OPTIONS &&
            request.type != FOYER_REQUEST_SESSION && request.type != FOYER_REQUEST_KEPT)
            return;
    }
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int session_create(struct daemon *daemon, int fd, const struct session *birth)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    int type = 0, domain = 0;
    socklen_t type_size = sizeof(type), domain_size = sizeof(domain);
    /* What comes through a birth channel could be any descriptor. */
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0 || type != SOCK_SEQPACKET ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) != 0 || domain != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        close(fd);
        return -EPROTOTYPE;
    }
    if (birth == NULL && peer.uid != geteuid() && peer.uid != 0) {
        close(fd); /* the directory's mode has let nobody else in; make sure */
        return -EPERM;
    }
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        close(fd);
        return -ENOMEM;
    }
    session->daemon = daemon;
    session->holder.pid = peer.pid;
    session->holder.uid = peer.uid;
    int error = loop_watch(&daemon->loop, &session->watch, fd, EPOLLIN, session_ready);
    if (error != 0) {
        close(fd);
        free(session);
        return error;
    }
    if (birth != NULL) {
        session->is_from_birth = true;
        session->host = birth->host;
        building_host_hold(session->host);
    }
    list_push_back(&daemon->sessions, &session->node);
    daemon->session_count++;
    return 0;
}

void session_end(struct session *session, const char *why)
{
    struct daemon *daemon = session->daemon;
    if (!session->watch.is_active)
        return;
    if (why != NULL)
        log_warning("session of %s (pid %d) ends: %s",
                    session->holder.program[0] != '\0' ? session->holder.program : "a process",
                    (int)session->holder.pid, why);
    loop_unwatch(&daemon->loop, &session->watch);
    close(session->watch.fd);
    list_remove(&session->node);
    daemon->session_count--;
    arena_release(session->arena);
    session->arena = NULL;
    if (session->host != NULL) {
        session->host->session_count--;
        building_host_release(session->host);
    }
    loop_free_later(&daemon->loop, &session->garbage, session);
}

void session_end_all(struct daemon *daemon)
{
    struct list_node *node;
    while ((node = list_first(&daemon->sessions)) != NULL)
        session_end(LIST_ENTRY(node, struct session, node), NULL);
}
