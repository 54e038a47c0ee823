/* Programs on TCP connections. */
#include "common/stream.h"

#include <errno.h>
#include <string.h>

#define PATTERN_CHUNK 65536u
/* Longer than a run of lost retransmissions of any likelihood. */
#define STALL_NS (400 * FOYER_NS_PER_S)

static uint8_t pattern_byte(uint64_t pattern, uint64_t position)
{
    uint64_t z = pattern + (position >> 3) * 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return (uint8_t)((z ^ z >> 31) >> (position & 7) * 8);
}

/* A program that connects tries again where the network only failed to find the host. */
static bool reconnect(struct stream *stream, int error)
{
    struct sim_host *host = stream->host;
    if (error != -EHOSTUNREACH || stream->is_connected || stream->retries == 0)
        return false;
    stream->retries--;
    SIM_CHECK(host->sim, foyer_socket_close(host->host, stream->socket, host->sim->now) == 0);
    stream_connect(stream, host, stream->family, &stream->remote, stream->user);
    return true;
}

static void ended(struct stream *stream, int error)
{
    if (reconnect(stream, error))
        return;
    stream->error = error;
    if (!stream->may_fail)
        sim_fail(stream->host->sim, "host %u: stream fails with %s after %llu sent, %llu received",
                 stream->host->index, strerror(-error), (unsigned long long)stream->sent,
                 (unsigned long long)stream->received);
    (void)foyer_socket_close(stream->host->host, stream->socket, stream->host->sim->now);
    stream->is_open = false;
    stream->is_done = true;
}

static bool do_write(struct stream *stream)
{
    static uint8_t bytes[PATTERN_CHUNK];
    struct sim *sim = stream->host->sim;
    if (stream->sent == stream->to_send) {
        if (stream->has_shut_down)
            return false;
        int error = foyer_socket_shutdown(stream->host->host, stream->socket, FOYER_SHUTDOWN_WRITE,
                                          sim->now);
        if (error < 0) {
            ended(stream, error);
            return true;
        }
        stream->has_shut_down = true;
        return true;
    }
    uint64_t size = 1 + random_below(&sim->random, stream->write_size);
    if (size > stream->to_send - stream->sent)
        size = stream->to_send - stream->sent;
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = pattern_byte(stream->send_pattern, stream->sent + i);
    int64_t taken =
        foyer_socket_send(stream->host->host, stream->socket, bytes, (size_t)size, sim->now);
    if (taken == -EAGAIN) {
        stream->is_writable = false;
        return false;
    }
    if (taken < 0) {
        ended(stream, (int)taken);
        return true;
    }
    SIM_CHECK(sim, taken > 0 && (uint64_t)taken <= size);
    stream->sent += (uint64_t)taken;
    return true;
}

static bool do_read(struct stream *stream)
{
    static uint8_t bytes[PATTERN_CHUNK];
    struct sim *sim = stream->host->sim;
    size_t size = 1 + (size_t)random_below(&sim->random, stream->read_size);
    int64_t got = foyer_socket_recv(stream->host->host, stream->socket, bytes, size, sim->now);
    if (got == -EAGAIN) {
        stream->is_readable = false;
        return false;
    }
    if (got < 0) {
        ended(stream, (int)got);
        return true;
    }
    SIM_CHECK(sim, (size_t)got <= size);
    if (got == 0) {
        if (stream->received != stream->to_receive)
            sim_fail(sim, "host %u: end after %llu of %llu bytes", stream->host->index,
                     (unsigned long long)stream->received, (unsigned long long)stream->to_receive);
        stream->has_eof = true;
        stream->is_readable = false;
        return true;
    }
    for (int64_t i = 0; i < got; i++) {
        if (bytes[i] != pattern_byte(stream->receive_pattern, stream->received + (uint64_t)i))
            sim_fail(sim, "host %u: wrong byte at %llu", stream->host->index,
                     (unsigned long long)(stream->received + (uint64_t)i));
    }
    stream->received += (uint64_t)got;
    SIM_CHECK(sim, stream->received <= stream->to_receive);
    if (stream->read_pause_ns > 0)
        stream->next_read_ns = sim->now + stream->read_pause_ns;
    return true;
}

static bool stream_act(struct stream *stream)
{
    bool any = false;
    if (!stream->is_open)
        return false;
    if (stream->is_connected && stream->is_writable && !stream->has_shut_down)
        any |= do_write(stream);
    if (stream->is_open && stream->is_readable && !stream->has_eof &&
        stream->next_read_ns <= stream->host->sim->now)
        any |= do_read(stream);
    if (stream->is_open && stream->has_eof && stream->has_shut_down &&
        (stream->has_closed_event || !stream->waits_for_closed)) {
        SIM_CHECK(stream->host->sim, foyer_socket_close(stream->host->host, stream->socket,
                                                        stream->host->sim->now) == 0);
        stream->is_open = false;
        stream->is_done = true;
        any = true;
    }
    return any;
}

static bool streams_act(void *context)
{
    struct streams *streams = context;
    bool any = false;
    for (unsigned i = 0; i < streams->count; i++)
        any |= stream_act(streams->all[i]);
    if (any)
        streams->last_progress_ns = streams->sim->now;
    else if (!streams_done(streams) && streams->sim->now - streams->last_progress_ns > STALL_NS)
        sim_fail(streams->sim, "no program got on for %.0f s", STALL_NS / 1e9);
    return any;
}

static foyer_time_ns streams_deadline(void *context)
{
    struct streams *streams = context;
    foyer_time_ns next = FOYER_TIME_NEVER;
    for (unsigned i = 0; i < streams->count; i++) {
        const struct stream *stream = streams->all[i];
        if (stream->is_open && stream->is_readable && !stream->has_eof &&
            stream->next_read_ns > streams->sim->now && stream->next_read_ns < next)
            next = stream->next_read_ns;
    }
    return next;
}

static void accept_all(struct listener *listener)
{
    struct sim *sim = listener->host->sim;
    for (;;) {
        foyer_socket socket;
        int error = foyer_socket_accept(listener->host->host, listener->socket, 1, &socket);
        if (error == -EAGAIN)
            return;
        SIM_CHECK(sim, error == 0);
        if (listener->accepted == listener->accept_count)
            sim_fail(sim, "a connection more than were asked for");
        struct stream *stream = listener->accepts[listener->accepted++];
        stream->host = listener->host;
        stream->socket = socket;
        stream->is_open = stream->is_connected = true;
        stream->is_readable = stream->is_writable = true; /* events before now were not ours */
        SIM_CHECK(sim, foyer_socket_set_user(listener->host->host, socket, stream->user) == 0);
        struct foyer_socket_info info;
        SIM_CHECK(sim, foyer_socket_info(listener->host->host, socket, &info) == 0);
        stream->has_closed_event = info.state == FOYER_STATE_CLOSED;
    }
}

static void stream_event(struct stream *stream, uint32_t bits)
{
    if ((bits & FOYER_EVENT_ERROR) != 0) {
        int error = foyer_socket_take_error(stream->host->host, stream->socket);
        SIM_CHECK(stream->host->sim, error < 0);
        ended(stream, error);
        return;
    }
    if ((bits & FOYER_EVENT_CONNECTED) != 0)
        stream->is_connected = stream->is_writable = true;
    if ((bits & FOYER_EVENT_WRITABLE) != 0)
        stream->is_writable = true;
    if ((bits & (FOYER_EVENT_READABLE | FOYER_EVENT_PEER_FIN)) != 0)
        stream->is_readable = true;
    if ((bits & FOYER_EVENT_CLOSED) != 0) {
        stream->has_closed_event = true;
        stream->is_readable = true; /* what is left, and the end */
    }
}

static void streams_event(void *context, struct sim_host *host, const struct foyer_event *event)
{
    struct streams *streams = context;
    struct listener *listener = streams->listener;
    if (listener != NULL && listener->host == host &&
        event->socket.value == listener->socket.value) {
        SIM_CHECK(streams->sim, (event->events & ~(uint32_t)FOYER_EVENT_ACCEPT) == 0);
        accept_all(listener);
        return;
    }
    for (unsigned i = 0; i < streams->count; i++) {
        struct stream *stream = streams->all[i];
        if (stream->is_open && stream->host == host &&
            stream->socket.value == event->socket.value) {
            SIM_CHECK(streams->sim, event->user == stream->user || event->user == 0);
            stream_event(stream, event->events);
            return;
        }
    }
    /* Of a connection that is not accepted yet, or that was closed: nobody's business. */
}

struct sim_app streams_app(struct streams *streams)
{
    streams->last_progress_ns = streams->sim->now;
    return (struct sim_app){streams, streams_event, streams_act, streams_deadline};
}

bool streams_done(void *context)
{
    const struct streams *streams = context;
    for (unsigned i = 0; i < streams->count; i++) {
        if (!streams->all[i]->is_done)
            return false;
    }
    return true;
}

void listener_open(struct listener *listener, struct sim_host *host, enum foyer_family family,
                   uint16_t port, uint32_t backlog)
{
    struct foyer_endpoint local = {.port = port};
    if (family == FOYER_FAMILY_V4)
        local.addr = foyer_addr_v4(0, 0, 0, 0);
    listener->host = host;
    SIM_CHECK(host->sim,
              foyer_socket_open(host->host, family, FOYER_TCP, 1, &listener->socket) == 0);
    SIM_CHECK(host->sim, foyer_socket_bind(host->host, listener->socket, &local, NULL) == 0);
    SIM_CHECK(host->sim, foyer_socket_listen(host->host, listener->socket, backlog, NULL) == 0);
}

static void connect_with_data(struct stream *stream)
{
    uint8_t bytes[4000];
    struct sim *sim = stream->host->sim;
    uint64_t size = random_below(&sim->random, sizeof(bytes));
    if (size > stream->to_send)
        size = stream->to_send;
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = pattern_byte(stream->send_pattern, i);
    int64_t taken = foyer_socket_connect_send(stream->host->host, stream->socket, &stream->remote,
                                              bytes, (size_t)size, sim->now);
    if (taken < 0 && taken != -EINPROGRESS)
        sim_fail(sim, "connect: %s", strerror((int)-taken));
    stream->sent = taken > 0 ? (uint64_t)taken : 0;
}

void stream_connect(struct stream *stream, struct sim_host *host, enum foyer_family family,
                    const struct foyer_endpoint *remote, uint64_t user)
{
    struct sim *sim = host->sim;
    stream->host = host;
    stream->user = user;
    stream->family = family;
    stream->remote = *remote;
    SIM_CHECK(sim, foyer_socket_open(host->host, family, FOYER_TCP, 1, &stream->socket) == 0);
    SIM_CHECK(sim, foyer_socket_set_user(host->host, stream->socket, user) == 0);
    SIM_CHECK(sim,
              foyer_socket_set_option(host->host, stream->socket, FOYER_OPT_ECN, stream->ecn) == 0);
    stream->is_open = true;
    if (stream->is_fast) {
        connect_with_data(stream);
        return;
    }
    int error = foyer_socket_connect(host->host, stream->socket, remote, sim->now);
    if (error != -EINPROGRESS)
        sim_fail(sim, "connect: %s", strerror(-error));
}
