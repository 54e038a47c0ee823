/*
 * The local carrier. connect meets listen in the port tables of two stacks (or of one); the two
 * programs get one channel and each the other's bell, and foyerd is out of it until one of them
 * hangs up.
 */
#include "daemon/local.h"

#include <errno.h>

#include "daemon/accept.h"
#include "daemon/daemon.h"
#include "daemon/keep.h"
#include "daemon/log.h"

#define LOCAL_RING_SIZE_MAX (4u << 20)

struct building_host *local_host_of(struct building_host *host, const struct foyer_addr *addr)
{
    /* RFC 1122 section 3.2.1.3 (g): loopback never leaves the host. */
    if (foyer_addr_is_loopback(addr) || foyer_host_has_address(host->stack, addr))
        return host;
    return building_find_addr(&host->daemon->building, addr);
}

/*
 * The listener that would get a SYN. Which of a SO_REUSEPORT group that is goes by the flow's hash;
 * where the source port is not known yet, a random one stands for it.
 */
static struct psocket *find_listener(struct psocket *psocket, struct building_host *to,
                                     const struct foyer_endpoint *remote)
{
    const struct building_host *host = psocket->host;
    struct foyer_endpoint source = psocket->slot->local;
    for (unsigned attempt = 0; attempt < 4; attempt++) {
        if (!psocket->is_bound || foyer_addr_is_any(&source.addr))
            source.addr = to == host                        ? remote->addr
                          : foyer_addr_is_v4(&remote->addr) ? host->addr4
                                                            : host->addr6;
        if (!psocket->is_bound)
            source.port = (uint16_t)psocket_fresh_id(psocket->daemon);
        struct psocket *listener;
        do {
            foyer_socket found = foyer_socket_find(to->stack, FOYER_TCP, remote, &source);
            listener = psocket_from_stack(psocket->daemon, to, found);
        } while (listener != NULL && psocket_reap(listener));
        if (listener == NULL || listener->is_listening)
            return listener;
        /* By chance the port of a connection that is there already. */
    }
    return NULL;
}

/* What an accepted socket has from its listener, as Linux clones it. */
static void inherit_options(const struct psocket *listener, struct psocket *accepted)
{
    uint32_t options = atomic_load(&listener->slot->options) & FOYER_SLOT_INHERITED;
    atomic_store(&accepted->slot->options, options | FOYER_SLOT_BOUND | FOYER_SLOT_PEER);
    foyer_slot_copy_settings(accepted->slot, listener->slot);
}

void local_accepted_init(const struct psocket *listener, struct psocket *accepted)
{
    inherit_options(listener, accepted);
    psocket_update_endpoints(accepted);
    accepted->slot->ring_size = accepted->channel->ring_size;
    accepted->slot->channel_id = accepted->channel->id;
    accepted->is_connected = true;
    psocket_set_state(accepted, FOYER_SLOT_CONNECTED);
}

/* A power of two that holds what either side asked for with SO_SNDBUF or SO_RCVBUF. */
static uint32_t choose_ring_size(const struct psocket *client, const struct psocket *listener)
{
    const uint32_t wishes[] = {
        client->slot->send_buffer,
        client->slot->receive_buffer,
        listener->slot->send_buffer,
        listener->slot->receive_buffer,
    };
    uint32_t size = FOYER_CHANNEL_RING_SIZE_DEFAULT;
    for (unsigned i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        while (size < wishes[i] && size < LOCAL_RING_SIZE_MAX)
            size *= 2;
    }
    return size;
}

/* What SO_SNDBUF and SO_RCVBUF of one end were set to, before there was a connection. */
static void tell_limits(const struct psocket *psocket)
{
    struct foyer_ring tx = channel_ring(psocket->channel, psocket->side);
    struct foyer_ring rx = channel_ring(psocket->channel, psocket->side ^ 1u);
    foyer_slot_tell_limits(psocket->slot, &tx, &rx);
}

/* peer may be gone: NULL. */
static void enter_accepted(struct psocket *accepted, const struct psocket *listener,
                           struct channel *channel, struct psocket *peer)
{
    channel_reference(channel);
    accepted->channel = channel;
    accepted->side = 1;
    accepted->carrier = PSOCKET_LOCAL;
    accepted->peer = peer;
    accepted->accepted_from = listener->id;
}

/* Enters the connection into both port tables and makes the accepted socket. */
static int make_accepted(struct psocket *psocket, struct building_host *to,
                         const struct foyer_endpoint *remote, struct psocket *listener,
                         struct channel *channel, struct psocket **ret_accepted)
{
    struct daemon *daemon = psocket->daemon;
    foyer_socket stack;
    int error = foyer_socket_connect_local(psocket->host->stack, psocket->stack, remote, to->stack,
                                           listener->stack, (uint64_t)listener->holder.pid, &stack,
                                           daemon->loop.now_ns);
    if (error != 0)
        return error;
    error = psocket_create(daemon, to, listener->arena, &listener->holder, listener->family,
                           FOYER_TCP, stack, ret_accepted);
    if (error != 0) {
        foyer_socket_abort(to->stack, stack, daemon->loop.now_ns);
        psocket_renew(psocket);
        return error;
    }
    enter_accepted(*ret_accepted, listener, channel, psocket);
    (*ret_accepted)->slot->peer_arena = psocket->arena->number;
    keep_begin(*ret_accepted, listener);
    local_accepted_init(listener, *ret_accepted);
    tell_limits(*ret_accepted);
    return 0;
}

int local_hand_on(struct psocket *accepted, const struct psocket *listener,
                  struct psocket **ret_fresh)
{
    struct psocket *peer = accepted->peer, *fresh;
    int error = psocket_create(accepted->daemon, accepted->host, listener->arena, &listener->holder,
                               listener->family, FOYER_TCP, accepted->stack, &fresh);
    if (error != 0)
        return error;
    accepted->stack = FOYER_SOCKET_NONE;
    accepted->peer = NULL;
    accepted->channel->is_spoiled = true; /* whoever had it may be asleep and have it mapped */
    enter_accepted(fresh, listener, accepted->channel, peer);
    fresh->slot->peer_arena = accepted->slot->peer_arena;
    local_accepted_init(listener, fresh);
    fresh->slot->channel_id = 0;
    if (peer == NULL) {
        atomic_fetch_or(&fresh->slot->options, FOYER_SLOT_PEER_GONE);
    } else {
        peer->peer = fresh;
        atomic_fetch_or(&peer->slot->options, FOYER_SLOT_MOVED);
    }
    *ret_fresh = fresh;
    return 0;
}

int local_connect(struct psocket *psocket, struct building_host *to,
                  const struct foyer_endpoint *remote, struct message_fds *ret_fds)
{
    struct psocket *accepted;
    struct channel *channel;
    struct psocket *listener = find_listener(psocket, to, remote);
    if (listener == NULL)
        return ECONNREFUSED;
    const struct channel_pair pair = {
        .accepting_arena = listener->arena->number,
        .fork_counts = {psocket->host->fork_count, to->fork_count},
    };
    int error = channel_take(psocket->arena, &pair, choose_ring_size(psocket, listener),
                             psocket_fresh_id(psocket->daemon), &channel);
    if (error != 0)
        return -error;
    error = make_accepted(psocket, to, remote, listener, channel, &accepted);
    if (error != 0) {
        channel_release(channel);
        return -error;
    }
    psocket->channel = channel;
    psocket->side = 0;
    psocket->carrier = PSOCKET_LOCAL;
    psocket->peer = accepted;
    psocket->slot->ring_size = channel->ring_size;
    psocket->slot->channel_id = channel->id;
    psocket->slot->peer_arena = accepted->arena->number;
    tell_limits(psocket);
    psocket_update_endpoints(psocket);
    if (!psocket->is_bound)
        psocket->since_s = wall_clock_s();
    atomic_fetch_or(&psocket->slot->options, FOYER_SLOT_BOUND | FOYER_SLOT_PEER);
    ret_fds->fds[0] = channel->memfd;
    ret_fds->fds[1] = accepted->watch.fd;
    ret_fds->count = 2;
    if (accept_offer(listener, accepted)) {
        psocket->is_connected = true;
        psocket_set_state(psocket, FOYER_SLOT_CONNECTED);
        return 0;
    }
    psocket->is_connecting = true;
    psocket_set_state(psocket, FOYER_SLOT_CONNECTING);
    return EINPROGRESS;
}

void local_connected(struct psocket *client)
{
    client->is_connecting = false;
    client->is_connected = true;
    psocket_set_state(client, FOYER_SLOT_CONNECTED);
    psocket_ring_bell(client);
}

void local_failed(struct psocket *client, int error)
{
    struct psocket *accepted = client->peer;
    client->peer = NULL;
    accepted->peer = NULL;
    psocket_close(accepted);
    psocket_renew(client);
    psocket_set_error(client, error);
    psocket_set_state(client, FOYER_SLOT_FAILED);
    psocket_ring_bell(client);
}

static void set_state_once(_Atomic uint32_t *state, uint32_t value)
{
    uint32_t open = FOYER_RING_OPEN;
    if (value == FOYER_RING_RESET)
        atomic_store(state, value);
    else
        atomic_compare_exchange_strong(state, &open, value);
}

void local_hang_up(struct psocket *psocket, bool reset)
{
    struct psocket *peer = psocket->peer;
    if (peer == NULL)
        return;
    /* Nobody has accepted it: Linux resets what a closed listener's queue holds. */
    reset = reset || keep_is_offered(psocket);
    enum keep_end other_end = keep_hang_up(psocket);
    struct foyer_ring tx = channel_ring(psocket->channel, psocket->side);
    struct foyer_ring rx = channel_ring(psocket->channel, psocket->side ^ 1u);
    /* RFC 1122 section 4.2.2.13: closing with data unread SHOULD send a reset. Also where the
     * indexes contradict each other. */
    reset = reset || foyer_ring_used(&rx) != 0;
    /* A FIN that was sent stays known: what a reset means to the peer depends on it (tcp_reset). */
    uint32_t open = FOYER_RING_OPEN;
    foyer_arrival_note_end(&tx);
    atomic_compare_exchange_strong(&tx.shared->writer_state, &open,
                                   reset ? FOYER_RING_RESET : FOYER_RING_FIN);
    set_state_once(&rx.shared->reader_state, reset ? FOYER_RING_RESET : FOYER_RING_FIN);
    peer->peer = NULL;
    psocket->peer = NULL;
    /* Nobody has seen the other end yet, or its program has closed it already. */
    if (peer->program_end >= 0 || other_end == KEEP_END_LEFT) {
        psocket_close(peer);
        return;
    }
    atomic_fetch_or(&peer->slot->options, FOYER_SLOT_PEER_GONE);
    foyer_ring_take_reader_waiting(&tx);
    foyer_ring_take_writer_waiting(&rx);
    psocket_ring_bell(peer);
}
