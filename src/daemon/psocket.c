/*
 * A program's socket: from the request to hang-up. Called by session.c (requests), epoll (the
 * daemon end) and the three files that carry it: accept.c, local.c, relay.c.
 */
#define _GNU_SOURCE

#include "daemon/psocket.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daemon/accept.h"
#include "daemon/daemon.h"
#include "daemon/direct.h"
#include "daemon/keep.h"
#include "daemon/local.h"
#include "daemon/log.h"
#include "daemon/relay.h"

double wall_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- making and finding ----------------------------------------------------------------------- */

static uint32_t hash_id(const struct daemon *daemon, uint64_t id)
{
    return (uint32_t)siphash(&daemon->key, &id, sizeof(id));
}

struct psocket *psocket_find(const struct daemon *daemon, uint64_t id)
{
    for (struct hash_node *node = hash_table_first(&daemon->psockets, hash_id(daemon, id));
         node != NULL; node = hash_table_next(node)) {
        struct psocket *psocket = HASH_ENTRY(node, struct psocket, by_id);
        if (psocket->id == id)
            return psocket;
    }
    return NULL;
}

struct psocket *psocket_from_stack(const struct daemon *daemon, struct building_host *host,
                                   foyer_socket handle)
{
    struct foyer_socket_info info;
    if (handle.value == 0 || foyer_socket_info(host->stack, handle, &info) != 0)
        return NULL;
    return psocket_find(daemon, info.user);
}

uint64_t psocket_fresh_id(struct daemon *daemon)
{
    uint64_t counter = ++daemon->id_counter;
    return siphash(&daemon->key, &counter, sizeof(counter));
}

/*
 * Gives the daemon end its name, "\0foyer/<id>". Ids can't be guessed, so nobody in the network
 * namespace can take a name beforehand.
 */
static int bind_name(struct psocket *psocket, int daemon_end)
{
    for (unsigned attempt = 0; attempt < 8; attempt++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char text[32];
        psocket->id = psocket_fresh_id(psocket->daemon);
        if (psocket->id == 0 || psocket_find(psocket->daemon, psocket->id) != NULL)
            continue;
        int size = snprintf(text, sizeof(text), "foyer/%016llx", (unsigned long long)psocket->id);
        memcpy(address.sun_path + 1, text, (size_t)size);
        socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
        if (bind(daemon_end, (struct sockaddr *)&address, length) == 0)
            return 0;
        if (errno != EADDRINUSE)
            return -errno;
    }
    return -EADDRINUSE;
}

static void daemon_end_ready(struct watch *watch, uint32_t events);

static int make_pair(struct psocket *psocket)
{
    int ends[2];
    struct stat status;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    int error = bind_name(psocket, ends[0]);
    if (error == 0 && fstat(ends[1], &status) != 0)
        error = -errno;
    if (error == 0)
        error =
            loop_watch(&psocket->daemon->loop, &psocket->watch, ends[0], EPOLLIN, daemon_end_ready);
    if (error != 0) {
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    psocket->program_inode = status.st_ino;
    psocket->program_end = ends[1];
    return 0;
}

static int open_stack(struct psocket *psocket)
{
    struct foyer_host *stack = psocket->host->stack;
    int error = foyer_socket_open(stack, psocket->family, psocket->protocol,
                                  (uint64_t)psocket->holder.pid, &psocket->stack);
    if (error != 0)
        return error;
    foyer_socket_set_user(stack, psocket->stack, psocket->id);
    foyer_socket_set_option(stack, psocket->stack, FOYER_OPT_OWNER_UID, psocket->holder.uid);
    return 0;
}

static int take_slot(struct psocket *psocket)
{
    int error = arena_slot_take(psocket->arena, &psocket->slot_index);
    if (error != 0)
        return error;
    bool is_udp = psocket->protocol == FOYER_UDP;
    struct foyer_slot *slot = foyer_arena_slot(psocket->arena->memory, psocket->slot_index);
    slot->family = psocket->family == FOYER_FAMILY_V6 ? AF_INET6 : AF_INET;
    slot->type = is_udp ? SOCK_DGRAM : SOCK_STREAM;
    slot->protocol = (uint32_t)psocket->protocol;
    atomic_store(&slot->state, FOYER_SLOT_FRESH);
    atomic_store(&slot->id, psocket->id);
    psocket->slot = slot;
    return 0;
}

int psocket_create(struct daemon *daemon, struct building_host *host, struct arena *arena,
                   const struct holder *holder, enum foyer_family family,
                   enum foyer_protocol protocol, foyer_socket stack, struct psocket **ret_psocket)
{
    struct psocket *psocket = calloc(1, sizeof(*psocket));
    if (psocket == NULL)
        return -ENOMEM;
    psocket->daemon = daemon;
    psocket->host = host;
    psocket->arena = arena;
    psocket->holder = *holder;
    psocket->family = family;
    psocket->protocol = protocol;
    psocket->program_end = -1;
    psocket->since_s = wall_clock_s();
    list_init(&psocket->direct_out);
    list_init(&psocket->direct_in);
    int error = make_pair(psocket);
    if (error != 0) {
        free(psocket);
        return error;
    }
    error = take_slot(psocket);
    if (error == 0 && stack.value != 0) {
        psocket->stack = stack;
        foyer_socket_set_user(host->stack, stack, psocket->id);
    } else if (error == 0) {
        error = open_stack(psocket);
    }
    if (error != 0) {
        if (psocket->slot != NULL)
            arena_slot_give_back(arena, psocket->slot_index);
        loop_unwatch(&daemon->loop, &psocket->watch);
        close(psocket->watch.fd);
        close(psocket->program_end);
        loop_free_later(&daemon->loop, &psocket->garbage, psocket);
        return error;
    }
    hash_table_insert(&daemon->psockets, &psocket->by_id, hash_id(daemon, psocket->id));
    list_push_back(&host->sockets, &psocket->host_node);
    host->socket_count++;
    *ret_psocket = psocket;
    return 0;
}

void psocket_sent(struct psocket *psocket)
{
    close(psocket->program_end);
    psocket->program_end = -1;
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* SO_LINGER with 0 seconds: close resets. Read of the slot, which decides about its own stream. */
static bool wants_reset(const struct psocket *psocket)
{
    uint32_t options = atomic_load(&psocket->slot->options);
    return (options & FOYER_SLOT_LINGER) != 0 && psocket->slot->linger_s == 0;
}

/* Lets go of the stack's socket. */
static void close_stack(struct psocket *psocket, bool reset)
{
    struct foyer_host *stack = psocket->host->stack;
    foyer_time_ns now = psocket->daemon->loop.now_ns;
    if (psocket->stack.value == 0)
        return;
    foyer_socket_set_user(stack, psocket->stack, 0);
    if (reset) {
        foyer_socket_abort(stack, psocket->stack, now);
    } else {
        foyer_socket_poke(stack, psocket->stack, now);
        foyer_socket_close(stack, psocket->stack, now);
    }
    psocket->stack = FOYER_SOCKET_NONE;
    building_host_touch(psocket->host);
}

/* Takes the socket out of whatever it is part of. */
static void detach(struct psocket *psocket, bool reset)
{
    loop_timer_cancel(&psocket->daemon->loop, &psocket->timer);
    if (psocket->is_listening)
        accept_listener_close(psocket);
    accept_forget(psocket);
    list_remove(&psocket->kept_node);
    list_remove(&psocket->active_node);
    direct_close(psocket);
    if (psocket->carrier == PSOCKET_LOCAL)
        local_hang_up(psocket, reset);
    close_stack(psocket, reset);
    channel_release(psocket->channel); /* after close_stack: the stack has used the rings */
    psocket->channel = NULL;
    psocket->carrier = PSOCKET_IDLE;
    psocket->is_connecting = false;
    psocket->is_connected = false;
}

void psocket_close(struct psocket *psocket)
{
    struct daemon *daemon = psocket->daemon;
    struct building_host *host = psocket->host;
    log_debug("socket %016llx of %s is closed", (unsigned long long)psocket->id,
              psocket->holder.program);
    loop_unwatch(&daemon->loop, &psocket->watch);
    if (psocket->channel != NULL &&
        (atomic_load(&psocket->slot->options) & FOYER_SLOT_CHANNEL_LEFT) == 0)
        psocket->channel->is_spoiled = true;
    detach(psocket, psocket->is_unaccepted || wants_reset(psocket));
    close(psocket->watch.fd);
    if (psocket->program_end >= 0)
        close(psocket->program_end);
    arena_slot_give_back(psocket->arena, psocket->slot_index);
    hash_table_remove(&daemon->psockets, &psocket->by_id);
    list_remove(&psocket->host_node);
    host->socket_count--;
    building_host_release(host);
    loop_free_later(&daemon->loop, &psocket->garbage, psocket);
}

int psocket_renew(struct psocket *psocket)
{
    struct foyer_socket_info info;
    if (psocket->channel != NULL) /* it stays mapped with the socket */
        psocket->channel->is_spoiled = true;
    psocket->slot->channel_id = 0;
    psocket->slot->peer_arena = 0;
    psocket->rung_urgent = 0;
    atomic_store(&psocket->slot->urgent_taken, 0);
    atomic_store(&psocket->slot->urgent_passed, 0);
    atomic_fetch_and(&psocket->slot->options,
                     ~(uint32_t)(FOYER_SLOT_PEER_GONE | FOYER_SLOT_RESET_SEEN));
    detach(psocket, true);
    int error = open_stack(psocket);
    if (error != 0)
        return error;
    psocket_apply_options(psocket);
    if (psocket->is_bound)
        error = foyer_socket_bind(psocket->host->stack, psocket->stack, &psocket->bound_to, NULL);
    if (psocket->protocol == FOYER_UDP && error == 0)
        error = relay_attach(psocket);
    if (foyer_socket_info(psocket->host->stack, psocket->stack, &info) == 0)
        psocket->slot->local = info.local;
    memset(&psocket->slot->remote, 0, sizeof(psocket->slot->remote));
    return error;
}

/* Its last holder is gone. What was offered to that one alone, others may accept. */
static void hung_up(struct psocket *psocket)
{
    accept_hand_on(psocket);
    psocket_close(psocket);
}

bool psocket_reap(struct psocket *psocket)
{
    struct pollfd end = {.fd = psocket->watch.fd};
    if (keep_dissolve(psocket))
        return true;
    if (psocket->program_end >= 0 || poll(&end, 1, 0) != 1 || (end.revents & POLLHUP) == 0)
        return false;
    hung_up(psocket);
    return true;
}

/* The same for whoever holds what psocket wants. */
static bool reap_holder(const struct psocket *psocket, foyer_socket holder)
{
    struct psocket *other = psocket_from_stack(psocket->daemon, psocket->host, holder);
    return other != NULL && other != psocket && psocket_reap(other);
}

/* The same for all of a host: a 4-tuple is taken, and the stack does not say by whom. */
static bool reap_host(const struct psocket *psocket)
{
    struct list_node *sockets = &psocket->host->sockets, *node;
    bool has_reaped = false;
    struct list_node looked_at;
    list_init(&looked_at);
    /* Closing one may take any other off the list: so each goes to another list first. */
    while ((node = list_pop_front(sockets)) != NULL) {
        struct psocket *other = LIST_ENTRY(node, struct psocket, host_node);
        list_push_back(&looked_at, node);
        has_reaped |= other != psocket && psocket_reap(other);
    }
    list_splice_back(sockets, &looked_at);
    return has_reaped;
}

/* ---- the daemon end ------------------------------------------------------------------------------ */

static void daemon_end_ready(struct watch *watch, uint32_t events)
{
    struct psocket *psocket = LIST_ENTRY(watch, struct psocket, watch);
    char bells[4096];
    if ((events & EPOLLHUP) != 0) {
        hung_up(psocket);
        return;
    }
    if ((events & EPOLLERR) != 0) {
        int error;
        socklen_t size = sizeof(error);
        getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if ((events & EPOLLIN) != 0) {
        /* Level-triggered: what is left comes back next turn. */
        ssize_t count = recv(watch->fd, bells, sizeof(bells), MSG_DONTWAIT);
        if (count == 0) /* shut down for writing by a raw call; only hang-up counts from now on */
            loop_watch_change(&psocket->daemon->loop, watch, 0);
    }
    if (psocket->is_listening)
        accept_pump(psocket);
    else if (psocket->carrier == PSOCKET_RELAY) {
        direct_ring_receivers(psocket);
        relay_poke(psocket);
    }
}

static void ring(struct psocket *psocket, int flags)
{
    char bell = 0;
    if (psocket->is_listening)
        return;
    atomic_store(&psocket->slot->bell_dirty, 1);
    /* EAGAIN: the queue is full of bells, so nobody has missed one. EPIPE: hang-up follows. */
    ssize_t sent = send(psocket->watch.fd, &bell, 1, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent;
}

void psocket_ring_bell(struct psocket *psocket)
{
    ring(psocket, 0);
}

void psocket_ring_urgent(struct psocket *psocket)
{
    ring(psocket, MSG_OOB);
    ring(psocket, 0);
}

/* ---- the slot -------------------------------------------------------------------------------------- */

void psocket_set_state(struct psocket *psocket, enum foyer_slot_state state)
{
    atomic_store_explicit(&psocket->slot->state, (uint32_t)state, memory_order_release);
}

void psocket_set_error(struct psocket *psocket, int error)
{
    struct foyer_slot *slot = psocket->slot;
    int32_t none = 0;
    atomic_fetch_add(&slot->error_count, 1);
    if ((atomic_load(&slot->options) & FOYER_SLOT_RECVERR_ANY) != 0)
        atomic_store(&slot->errors_waiting, 1);
    atomic_compare_exchange_strong(&slot->error, &none, error);
    atomic_fetch_add(&slot->error_count, 1);
}

void psocket_update_endpoints(struct psocket *psocket)
{
    struct foyer_socket_info info;
    if (foyer_socket_info(psocket->host->stack, psocket->stack, &info) != 0)
        return;
    psocket->slot->local = info.local;
    psocket->slot->remote = info.remote;
}

static void set_option(struct psocket *psocket, enum foyer_option option, int64_t value)
{
    /* A value out of range was the program's; the stack keeps what it had. */
    foyer_socket_set_option(psocket->host->stack, psocket->stack, option, value);
}

void psocket_apply_options(struct psocket *psocket)
{
    const struct foyer_slot *slot = psocket->slot;
    uint32_t options = atomic_load(&slot->options);
    set_option(psocket, FOYER_OPT_REUSEADDR, (options & FOYER_SLOT_REUSEADDR) != 0);
    set_option(psocket, FOYER_OPT_REUSEPORT, (options & FOYER_SLOT_REUSEPORT) != 0);
    if (psocket->family == FOYER_FAMILY_V6)
        set_option(psocket, FOYER_OPT_V6ONLY, (options & FOYER_SLOT_V6ONLY) != 0);
    if (slot->ttl != 0)
        set_option(psocket, FOYER_OPT_TTL, slot->ttl);
    if (slot->tos != 0)
        set_option(psocket, FOYER_OPT_TOS, slot->tos);
    if (psocket->protocol == FOYER_UDP) {
        set_option(psocket, FOYER_OPT_BROADCAST, (options & FOYER_SLOT_BROADCAST) != 0);
        set_option(psocket, FOYER_OPT_RECVERR, (options & FOYER_SLOT_RECVERR_ANY) != 0);
        set_option(psocket, FOYER_OPT_MULTICAST_ALL, 3 & ~slot->multicast_not_all);
        set_option(psocket, FOYER_OPT_MULTICAST_LOOP,
                   (options & FOYER_SLOT_NO_MULTICAST_LOOP) == 0);
        int64_t hops = slot->multicast_ttl == 0 ? 1 : slot->multicast_ttl - 1;
        bool stays = slot->multicast_interface == FOYER_INTERFACE_LOOPBACK;
        set_option(psocket, FOYER_OPT_MULTICAST_TTL, stays ? 0 : hops);
        return;
    }
    int64_t linger_s = slot->linger_s;
    bool lingers = (options & FOYER_SLOT_LINGER) != 0 && linger_s >= 0;
    set_option(psocket, FOYER_OPT_LINGER_NS, lingers ? linger_s * (int64_t)FOYER_NS_PER_S : -1);
    set_option(psocket, FOYER_OPT_NODELAY, (options & FOYER_SLOT_NODELAY) != 0);
    set_option(psocket, FOYER_OPT_CORK, (options & FOYER_SLOT_CORK) != 0);
    set_option(psocket, FOYER_OPT_KEEPALIVE, (options & FOYER_SLOT_KEEPALIVE) != 0);
    if (slot->keep_idle_s != 0)
        set_option(psocket, FOYER_OPT_KEEPIDLE_S, slot->keep_idle_s);
    if (slot->keep_interval_s != 0)
        set_option(psocket, FOYER_OPT_KEEPINTVL_S, slot->keep_interval_s);
    if (slot->keep_count != 0)
        set_option(psocket, FOYER_OPT_KEEPCNT, slot->keep_count);
    if (slot->max_segment != 0)
        set_option(psocket, FOYER_OPT_MAXSEG, slot->max_segment);
    set_option(psocket, FOYER_OPT_USER_TIMEOUT_MS, slot->user_timeout_ms);
    /* As payload: see foyer_slot_tell_limits. */
    set_option(psocket, FOYER_OPT_RECEIVE_LIMIT, slot->receive_buffer / 2);
}

/* ---- requests --------------------------------------------------------------------------------------- */

int psocket_bind(struct psocket *psocket, const struct foyer_endpoint *endpoint,
                 foyer_socket *ret_conflict)
{
    *ret_conflict = FOYER_SOCKET_NONE;
    if (psocket->is_bound || psocket->is_listening || psocket->carrier == PSOCKET_LOCAL)
        return EINVAL;
    psocket_apply_options(psocket);
    int error;
    do {
        error = foyer_socket_bind(psocket->host->stack, psocket->stack, endpoint, ret_conflict);
    } while (error == -EADDRINUSE && reap_holder(psocket, *ret_conflict));
    if (error != 0)
        return -error;
    direct_names_change(psocket);
    psocket_update_endpoints(psocket);
    psocket->is_bound = true;
    psocket->bound_to = psocket->slot->local;
    psocket->since_s = wall_clock_s();
    atomic_fetch_or(&psocket->slot->options, FOYER_SLOT_BOUND);
    return 0;
}

int psocket_listen(struct psocket *psocket, uint32_t backlog, foyer_socket *ret_conflict)
{
    *ret_conflict = FOYER_SOCKET_NONE;
    if (psocket->protocol != FOYER_TCP)
        return EOPNOTSUPP;
    if (psocket->is_connecting || psocket->is_connected)
        return EINVAL;
    if (backlog > PSOCKET_BACKLOG_MAX)
        backlog = PSOCKET_BACKLOG_MAX;
    psocket_apply_options(psocket);
    int error;
    do {
        error = foyer_socket_listen(psocket->host->stack, psocket->stack, backlog, ret_conflict);
    } while (error == -EADDRINUSE && reap_holder(psocket, *ret_conflict));
    if (error != 0)
        return -error;
    psocket->backlog = backlog;
    if (!psocket->is_listening) {
        keep_dissolve_port(psocket);
        accept_listener_init(psocket);
        psocket->since_s = wall_clock_s();
        psocket_update_endpoints(psocket);
        psocket_set_state(psocket, FOYER_SLOT_LISTENING);
    }
    accept_pump(psocket);
    return 0;
}

/*
 * TCP to AF_UNSPEC: the connection is dissolved, as connect(2) has it. A listener no longer listens
 * (Linux's tcp_disconnect; shutdown() does it by this way), but has the port that bind() gave it.
 */
static int disconnect(struct psocket *psocket)
{
    bool was_listening = psocket->is_listening;
    if (was_listening)
        accept_listener_reset(psocket);
    if (was_listening || psocket->carrier != PSOCKET_IDLE) {
        int error = psocket_renew(psocket);
        if (error != 0)
            return -error;
    }
    psocket_set_state(psocket, FOYER_SLOT_FRESH);
    if (was_listening)
        psocket_ring_bell(psocket); /* those who sleep in accept */
    return 0;
}

/*
 * Where the program does not wait it is told that the connection is under way (preload/socket.c),
 * and of the refusal as of one that came later. One that waits has a socket as before.
 */
static void note_refusal(struct psocket *psocket, int error)
{
    if (error != ECONNREFUSED || (atomic_load(&psocket->slot->options) & FOYER_SLOT_NONBLOCK) == 0)
        return;
    psocket_set_error(psocket, ECONNREFUSED);
    psocket_set_state(psocket, FOYER_SLOT_FAILED);
}

static int connect_tcp(struct psocket *psocket, const struct foyer_endpoint *remote,
                       struct message_fds *ret_fds)
{
    const struct building *building = &psocket->daemon->building;
    if (psocket->is_listening || psocket->is_connected)
        return EISCONN;
    if (psocket->is_connecting)
        return EALREADY;
    if (psocket->carrier != PSOCKET_IDLE) { /* an earlier attempt failed */
        int error = psocket_renew(psocket);
        if (error != 0)
            return -error;
    }
    struct building_host *to = local_host_of(psocket->host, &remote->addr);
    if (to != NULL) {
        int error = local_connect(psocket, to, remote, ret_fds);
        bool has_room = false;
        if (error == EADDRNOTAVAIL || error == EADDRINUSE)
            has_room = reap_host(psocket);
        else if (error == EMFILE || error == ENFILE)
            has_room = keep_dissolve_all(psocket->daemon);
        if (has_room)
            error = local_connect(psocket, to, remote, ret_fds);
        note_refusal(psocket, error);
        return error;
    }
    if (building->daemon->fabric.link_count == 0)
        return building_contains(building, &remote->addr) ? EHOSTUNREACH : ENETUNREACH;
    return relay_connect(psocket, remote, ret_fds);
}

int psocket_connect(struct psocket *psocket, const struct foyer_endpoint *endpoint,
                    bool family_unspecified, struct message_fds *ret_fds)
{
    struct foyer_endpoint remote = *endpoint;
    bool is_v4 = foyer_addr_is_v4(&remote.addr);
    psocket_apply_options(psocket);
    if (family_unspecified && psocket->protocol == FOYER_TCP)
        return disconnect(psocket);
    if (family_unspecified) {
        memset(&remote, 0, sizeof(remote));
        return relay_connect(psocket, &remote, ret_fds);
    }
    if (!is_v4 && psocket->family == FOYER_FAMILY_V4)
        return EAFNOSUPPORT;
    if (is_v4 && psocket->family == FOYER_FAMILY_V6 &&
        (atomic_load(&psocket->slot->options) & FOYER_SLOT_V6ONLY) != 0)
        return ENETUNREACH;
    if (foyer_addr_is_any(&remote.addr)) /* Linux: the wildcard as destination is this host */
        remote.addr = is_v4 ? foyer_addr_v4(127, 0, 0, 1) : (struct foyer_addr){{[15] = 1}};
    if (psocket->protocol == FOYER_UDP)
        return relay_connect(psocket, &remote, ret_fds);
    return connect_tcp(psocket, &remote, ret_fds);
}
