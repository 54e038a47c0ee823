/*
 * The stack as carrier. The rings of the channel are the stack's own buffers: it sends out of the
 * program's ring and receives straight into the other. This file moves the doorbells.
 *
 * Towards the program: an event of the stack rings, where the program's side is announced.
 * From the program: foyerd is the reader of rings[0] and the writer of rings[1] and announces
 * itself in both before it sleeps. A socket that was rung or had events is "active": its rings are
 * looked at each turn until nothing has moved; only then foyerd announces again. So a busy program
 * rings not at all.
 */
#include "daemon/relay.h"

#include <errno.h>
#include <unistd.h>

#include "daemon/accept.h"
#include "daemon/daemon.h"
#include "daemon/direct.h"
#include "daemon/local.h"
#include "daemon/log.h"

/*
 * Datagrams that find no room are lost, and their reader may not get a processor for some
 * milliseconds: room for 10 ms at 1 Gbit/s. Pages that are not needed are never touched.
 */
#define RELAY_RING_SIZE_UDP (1u << 20)
#define RELAY_EVENTS_MAX 64
#define RELAY_EVENT_BATCHES_MAX 16

static struct foyer_ring tx_ring(const struct psocket *psocket)
{
    return channel_ring(psocket->channel, 0); /* the program is always side 0 here */
}

static struct foyer_ring rx_ring(const struct psocket *psocket)
{
    return channel_ring(psocket->channel, 1);
}

/*
 * TCP: the program keeps to its SO_SNDBUF. There is no receive buffer at this end of the ring: what the
 * stack has sent stays there until it is acknowledged.
 */
static void tell_limits(struct psocket *psocket)
{
    struct foyer_ring tx = tx_ring(psocket), rx = rx_ring(psocket);
    foyer_slot_tell_limits(psocket->slot, &tx, &rx);
    atomic_store(&tx.shared->receive_limit, 1);
}

int relay_attach(struct psocket *psocket)
{
    struct channel *channel;
    uint32_t ring_size =
        psocket->protocol == FOYER_UDP ? RELAY_RING_SIZE_UDP : FOYER_CHANNEL_RING_SIZE_DEFAULT;
    int error = channel_create(ring_size, true, &channel);
    if (error != 0)
        return error;
    psocket->channel = channel;
    psocket->side = 0;
    struct foyer_ring rx = rx_ring(psocket), tx = tx_ring(psocket);
    error = foyer_socket_set_rings(psocket->host->stack, psocket->stack, &rx, &tx);
    if (error != 0) {
        psocket->channel = NULL;
        channel_release(channel);
        return error;
    }
    psocket->carrier = PSOCKET_RELAY;
    psocket->slot->ring_size = channel->ring_size;
    foyer_ring_announce_reader(&tx);
    foyer_ring_announce_writer(&rx);
    return 0;
}

static int connect_udp(struct psocket *psocket, const struct foyer_endpoint *remote)
{
    struct foyer_host *stack = psocket->host->stack;
    direct_flush(psocket); /* to whom it was sent: the peer until now */
    direct_names_change(psocket);
    int error = foyer_socket_connect(stack, psocket->stack, remote, psocket->daemon->loop.now_ns);
    if (error != 0)
        return -error;
    direct_names_change(psocket);
    psocket_update_endpoints(psocket);
    bool has_peer = psocket->slot->remote.port != 0;
    if (has_peer)
        atomic_fetch_or(&psocket->slot->options, FOYER_SLOT_PEER | FOYER_SLOT_BOUND);
    else
        atomic_fetch_and(&psocket->slot->options, ~(uint32_t)FOYER_SLOT_PEER);
    psocket->is_connected = has_peer;
    relay_poke(psocket);
    return 0;
}

int relay_connect(struct psocket *psocket, const struct foyer_endpoint *remote,
                  struct message_fds *ret_fds)
{
    if (psocket->protocol == FOYER_UDP)
        return connect_udp(psocket, remote);
    int error = relay_attach(psocket);
    if (error != 0)
        return -error;
    tell_limits(psocket);
    error = foyer_socket_connect(psocket->host->stack, psocket->stack, remote,
                                 psocket->daemon->loop.now_ns);
    if (error != 0 && error != -EINPROGRESS) {
        psocket_renew(psocket);
        return -error;
    }
    psocket_update_endpoints(psocket);
    if (!psocket->is_bound)
        psocket->since_s = wall_clock_s();
    atomic_fetch_or(&psocket->slot->options, FOYER_SLOT_BOUND | FOYER_SLOT_PEER);
    ret_fds->fds[0] = psocket->channel->memfd;
    ret_fds->count = 1;
    psocket->is_connecting = true;
    psocket_set_state(psocket, FOYER_SLOT_CONNECTING);
    relay_poke(psocket);
    return EINPROGRESS;
}

bool relay_accept(struct psocket *listener)
{
    struct daemon *daemon = listener->daemon;
    struct building_host *host = listener->host;
    struct psocket *accepted;
    foyer_socket stack;
    if (foyer_socket_accept(host->stack, listener->stack, (uint64_t)listener->holder.pid, &stack) !=
        0)
        return false;
    int error = psocket_create(daemon, host, listener->arena, &listener->holder, listener->family,
                               FOYER_TCP, stack, &accepted);
    if (error != 0) {
        log_warning("host %s: a connection is dropped: %s", host->name, strerror(-error));
        foyer_socket_abort(host->stack, stack, daemon->loop.now_ns);
        building_host_touch(host);
        return true;
    }
    error = relay_attach(accepted);
    if (error != 0) {
        log_warning("host %s: a connection is dropped: %s", host->name, strerror(-error));
        accepted->is_unaccepted = true;
        psocket_close(accepted);
        return true;
    }
    local_accepted_init(listener, accepted);
    tell_limits(accepted);
    accept_offer(listener, accepted);
    relay_poke(accepted);
    return true;
}

/* ---- the program's doorbell ------------------------------------------------------------------- */

/* Positions and states that the program moves; a change is work for the stack. */
static bool has_moved(struct psocket *psocket)
{
    struct foyer_ring tx = tx_ring(psocket), rx = rx_ring(psocket);
    uint32_t head = foyer_ring_head(&tx), tail = foyer_ring_tail(&rx);
    uint32_t states = (atomic_load(&tx.shared->writer_state) & 0xff) |
                      (atomic_load(&rx.shared->reader_state) & 0xff) << 8;
    if (head == psocket->seen_head && tail == psocket->seen_tail && states == psocket->seen_states)
        return false;
    psocket->seen_head = head;
    psocket->seen_tail = tail;
    psocket->seen_states = states;
    return true;
}

static void activate(struct psocket *psocket)
{
    if (psocket->channel != NULL && !list_is_linked(&psocket->active_node))
        list_push_back(&psocket->daemon->active, &psocket->active_node);
}

/* The program's message that options changed may come after the doorbell for what it sent since. */
static void take_settings(struct psocket *psocket)
{
    uint32_t settings = atomic_load_explicit(&psocket->slot->settings, memory_order_acquire);
    if (settings == psocket->seen_settings)
        return;
    psocket->seen_settings = settings;
    psocket_apply_options(psocket);
}

void relay_poke(struct psocket *psocket)
{
    if (psocket->channel == NULL)
        return;
    take_settings(psocket);
    has_moved(psocket); /* what the stack sees now needs no second poke */
    foyer_socket_poke(psocket->host->stack, psocket->stack, psocket->daemon->loop.now_ns);
    building_host_touch(psocket->host);
    activate(psocket);
}

/*
 * foyerd goes to sleep over this socket. Space is announced for only while a good part of the
 * receive ring is taken: before that the window is wide open, and each arrival looks at the
 * ring anyway.
 */
static void announce(struct psocket *psocket)
{
    struct foyer_ring tx = tx_ring(psocket), rx = rx_ring(psocket);
    foyer_ring_announce_reader(&tx);
    if (foyer_ring_used(&rx) >= rx.size / 4)
        foyer_ring_announce_writer(&rx);
}

void relay_settle(struct daemon *daemon)
{
    struct list_node batch;
    struct list_node *node;
    list_init(&batch);
    list_splice_back(&batch, &daemon->active);
    while ((node = list_pop_front(&batch)) != NULL) {
        struct psocket *psocket = LIST_ENTRY(node, struct psocket, active_node);
        if (has_moved(psocket)) {
            relay_poke(psocket);
            continue;
        }
        announce(psocket);
        if (has_moved(psocket))
            relay_poke(psocket);
    }
    if (!list_is_empty(&daemon->active))
        loop_again(&daemon->loop);
}

/* ---- what the stack has to say ----------------------------------------------------------------- */

/* Rings where somebody waits in either ring. */
static void ring_waiters(struct psocket *psocket)
{
    struct foyer_ring tx = tx_ring(psocket), rx = rx_ring(psocket);
    bool reader = foyer_ring_take_reader_waiting(&rx);
    bool writer = foyer_ring_take_writer_waiting(&tx);
    if (reader || writer)
        psocket_ring_bell(psocket);
}

static void connected(struct psocket *psocket)
{
    psocket->is_connecting = false;
    psocket->is_connected = true;
    psocket_update_endpoints(psocket);
    psocket_set_state(psocket, FOYER_SLOT_CONNECTED);
    psocket_ring_bell(psocket);
}

/*
 * A connection failed. Its TCP has said so in the rings already, and a program that looked there has
 * noted a reset by itself: it is told once, of what it was where it has not asked yet.
 */
static void tell_failure(struct psocket *psocket, int error)
{
    struct foyer_slot *slot = psocket->slot;
    struct foyer_ring tx = tx_ring(psocket), rx = rx_ring(psocket);
    int32_t noted = ECONNRESET;
    if ((atomic_load(&slot->options) & FOYER_SLOT_RESET_SEEN) != 0)
        atomic_compare_exchange_strong(&slot->error, &noted, error);
    else
        psocket_set_error(psocket, error);
    atomic_fetch_or(&slot->options, FOYER_SLOT_RESET_SEEN);
    atomic_store(&rx.shared->writer_state, FOYER_RING_RESET);
    atomic_store(&tx.shared->reader_state, FOYER_RING_RESET);
}

static void failed(struct psocket *psocket)
{
    int error = -foyer_socket_take_error(psocket->host->stack, psocket->stack);
    if (error <= 0)
        return;
    if (psocket->protocol == FOYER_TCP && psocket->is_connected)
        tell_failure(psocket, error);
    else
        psocket_set_error(psocket, error);
    if (psocket->is_connecting) {
        psocket->is_connecting = false;
        psocket_set_state(psocket, FOYER_SLOT_FAILED);
    }
    psocket_ring_bell(psocket);
}

int relay_error_next(struct psocket *psocket, struct foyer_reply_error *reply)
{
    struct foyer_host *stack = psocket->host->stack;
    struct foyer_slot *slot = psocket->slot;
    struct foyer_socket_error error;
    int result = foyer_socket_error_next(stack, psocket->stack, &error);
    /*
     * sock_dequeue_err_skb: the pending error is that of the next one, if there is any, and it is
     * told of.
     */
    int next = result == 0 ? -foyer_socket_take_error(stack, psocket->stack) : 0;
    if (next > 0)
        atomic_fetch_add(&slot->error_count, 1);
    atomic_store(&slot->errors_waiting, next > 0);
    if (result != 0)
        return -result;
    atomic_store(&slot->error, next);
    if (next > 0) {
        atomic_fetch_add(&slot->error_count, 1);
        psocket_ring_bell(psocket);
    }
    reply->number = -error.error;
    reply->info = error.info;
    reply->origin = error.origin;
    reply->type = error.type;
    reply->code = error.code;
    reply->payload_size = error.payload_size;
    reply->remote = error.remote;
    reply->offender = error.offender;
    memcpy(reply->payload, error.payload, sizeof(reply->payload));
    return 0;
}

/* One SIGURG for each urgent byte; the stack announces it and tells once more when it is there. */
static void ring_urgent(struct psocket *psocket)
{
    struct foyer_ring rx = rx_ring(psocket);
    uint64_t urgent = atomic_load_explicit(&rx.shared->urgent, memory_order_relaxed);
    if ((uint32_t)(urgent >> 32) == psocket->rung_urgent)
        return;
    psocket->rung_urgent = (uint32_t)(urgent >> 32);
    psocket_ring_urgent(psocket);
}

static void serve_event(struct psocket *psocket, uint32_t events)
{
    if (psocket->is_listening) {
        if ((events & FOYER_EVENT_ACCEPT) != 0) {
            psocket->has_stack_pending = true;
            accept_pump(psocket);
        }
        return;
    }
    if (psocket->carrier != PSOCKET_RELAY)
        return;
    if ((events & FOYER_EVENT_CONNECTED) != 0 && psocket->is_connecting)
        connected(psocket);
    if ((events & FOYER_EVENT_ERROR) != 0)
        failed(psocket);
    if ((events & FOYER_EVENT_URGENT) != 0)
        ring_urgent(psocket);
    if ((events & FOYER_EVENT_CLOSED) != 0)
        psocket_ring_bell(psocket);
    else
        ring_waiters(psocket);
    activate(psocket);
}

bool relay_events(struct building_host *host)
{
    struct foyer_event events[RELAY_EVENTS_MAX];
    for (unsigned batch = 0; batch < RELAY_EVENT_BATCHES_MAX; batch++) {
        size_t count = foyer_host_events(host->stack, events, RELAY_EVENTS_MAX);
        for (size_t i = 0; i < count; i++) {
            struct psocket *psocket = psocket_find(host->daemon, events[i].user);
            if (psocket != NULL && psocket->stack.value == events[i].socket.value)
                serve_event(psocket, events[i].events);
        }
        if (count < RELAY_EVENTS_MAX)
            return false;
    }
    return true;
}
