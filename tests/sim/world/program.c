/*
 * TCP programs. Each acts on events alone, checks every byte that it reads, and knows what the
 * other end means to send: an end of stream that comes early or late is a failure, and so is an
 * error that nothing excuses.
 *
 * A connection's first 16 bytes, from the end that called connect, say which connection it is;
 * so the end that accepted it learns its plan.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "world.h"

#define CHUNK 65536u
#define ORPHAN_PATIENCE_NS (50 * FOYER_NS_PER_S) /* 0.2 s, doubled eight times */
#define MAGIC 0x666f7965u
#define HEADER_SIZE 16u
#define RETRY_NS (50 * FOYER_NS_PER_MS)
#define STRANGE_SIZE HEADER_SIZE /* as much as a stranger is read from */

/* ---- bytes ------------------------------------------------------------------------------------- */

static void header_of(const struct conn *conn, uint8_t header[HEADER_SIZE])
{
    store_be32(header, MAGIC);
    store_be32(header + 4, conn->index);
    store_be32(header + 8, (uint32_t)(conn->pattern >> 32));
    store_be32(header + 12, (uint32_t)conn->pattern);
}

static uint64_t pattern_word(uint64_t pattern, uint64_t index)
{
    uint64_t z = pattern + index * 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    return z ^ z >> 27;
}

/* What side sends at position. */
static void fill(const struct conn *conn, unsigned side, uint64_t position, uint8_t *bytes,
                 size_t size)
{
    uint8_t header[HEADER_SIZE];
    uint64_t word = 0, pattern = conn->pattern ^ (side == 0 ? 0 : 0x5555);
    header_of(conn, header);
    for (size_t i = 0; i < size; i++, position++) {
        if (i == 0 || (position & 7) == 0)
            word = pattern_word(pattern, position >> 3);
        bytes[i] = (uint8_t)(word >> (position & 7) * 8);
        if (side == 0 && position < HEADER_SIZE)
            bytes[i] = header[position];
    }
}

/* ---- failures ---------------------------------------------------------------------------------- */

void conn_describe(const struct conn *conn, char *text, size_t size)
{
    if (conn == NULL) {
        snprintf(text, size, "a connection that has not said its name");
        return;
    }
    int at = snprintf(text, size, "connection %u, host %u to %u port %u v%d", conn->index,
                      conn->hosts[0]->sim->index, conn->hosts[1]->sim->index, conn->remote.port,
                      (int)conn->family);
    for (unsigned side = 0; side < 2; side++) {
        const struct end *end = conn->ends[side];
        const struct plan *plan = &conn->plans[side];
        char inside[200] = "";
        if (at < 0 || (size_t)at >= size)
            return;
        if (end == NULL) {
            at += snprintf(text + at, size - (size_t)at, "\n  end %u: none", side);
            continue;
        }
        if (end->is_open)
            inspect_describe(end->host, end->socket, inside, sizeof(inside));
        at += snprintf(text + at, size - (size_t)at,
                       "\n  end %u: sent %llu of %llu, received %llu%s%s%s%s%s%s; %s", side,
                       (unsigned long long)end->sent, (unsigned long long)plan->to_send,
                       (unsigned long long)end->received, end->is_open ? " open" : "",
                       end->is_connected ? " connected" : "", end->has_eof ? " eof" : "",
                       end->has_shut_down ? " shut" : "", end->uses_rings ? " rings" : "",
                       end->is_done ? " done" : "", inside);
    }
}

_Noreturn static void fail(const struct end *end, const char *what)
{
    static char text[1024];
    conn_describe(end->conn, text, sizeof(text));
    sim_fail(&end->world->sim, "host %u: %s: %s", end->host->sim->index, what, text);
}

/* A connection that both ends know of has had its handshake. */
static bool is_complete(const struct conn *conn)
{
    return conn != NULL && conn->ends[0] != NULL && conn->ends[1] != NULL &&
           conn->ends[0]->is_connected && conn->ends[1]->is_connected;
}

/* A connection that nobody holds gives a peer up that stalls for longer than eight probes. */
static bool was_given_up(const struct end *end)
{
    const struct end *peer = end->conn->ends[1 - end->side];
    return end->has_stalled && end->conn->plans[end->side].stall_ns > ORPHAN_PATIENCE_NS &&
           peer != NULL && peer->is_done;
}

static uint32_t excuses_of(const struct end *end)
{
    uint32_t excuses = end->world->excuses | end->host->excuses;
    if (end->conn == NULL)
        return excuses | EXCUSE_BROKEN; /* whom it would have named is not known */
    excuses |= end->conn->excuses | (was_given_up(end) ? EXCUSE_ABORT : 0);
    for (unsigned i = 0; i < 2; i++) {
        struct foyer_host_stats stats;
        foyer_host_stats(end->conn->hosts[i]->sim->host, &stats);
        /* What nobody holds any more gives way where memory ran short. */
        excuses |= stats.tcp_orphans_aborted > 0 ? EXCUSE_ABORT : 0;
        excuses |= end->conn->hosts[i]->excuses;
    }
    return excuses;
}

static bool is_excused(const struct end *end, int error)
{
    uint32_t excuses = excuses_of(end);
    uint32_t good = EXCUSE_ABORT | EXCUSE_BROKEN | EXCUSE_PEER_GONE | EXCUSE_ADDRESS;
    if (!is_complete(end->conn))
        good |= EXCUSE_LOSS | EXCUSE_PARTITION | EXCUSE_MEMORY | EXCUSE_ICMP | EXCUSE_OVERFLOW |
                EXCUSE_REFUSED;
    /* The server's end of a Fast Open waits to be accepted before its handshake is complete (RFC 7413
     * section 4.2.2), and until it is a hard ICMP error ends it (RFC 9293 section 3.9.2.2). */
    if (end->conn != NULL && end->conn->plans[0].is_fast_open)
        good |= EXCUSE_ICMP;
    /* Keep-alives and retransmissions that gave up. */
    if (error == -ETIMEDOUT || error == -EHOSTUNREACH)
        good |= EXCUSE_PARTITION | EXCUSE_LOSS;
    return (excuses & good) != 0;
}

static void end_over(struct end *end)
{
    end->is_open = false;
    end->is_done = true;
    stale_add(end->host, end->socket);
    free(end->ring_memory);
    end->ring_memory = NULL;
    end->progress_ns = end->world->sim.now;
}

void stale_add(struct world_host *host, foyer_socket socket)
{
    host->stale[host->stale_count++ % WORLD_STALE_MAX] = socket;
}

static void end_close(struct end *end)
{
    struct sim *sim = &end->world->sim;
    /* What is unsent in the program's ring must be kept somewhere: without memory, a reset. */
    if (end->uses_rings && (end->host->excuses & EXCUSE_MEMORY) != 0 && end->conn != NULL)
        end->conn->excuses |= EXCUSE_ABORT;
    int error = foyer_socket_close(end->host->sim->host, end->socket, sim->now);
    if (error != 0)
        fail(end, strerror(-error));
    end_over(end);
}

/*
 * The peer closed in good order, and what it sent is here; it only was not there any more to hear
 * of it: an orphan in FIN-WAIT-2 is not kept for ever.
 */
static bool is_harmless(const struct end *end)
{
    const struct end *peer = end->conn != NULL ? end->conn->ends[1 - end->side] : NULL;
    return peer != NULL && peer->is_done && peer->error == 0 && end->received == peer->sent &&
           peer->received == end->sent;
}

void end_failed(struct end *end, int error, const char *what)
{
    if (is_harmless(end)) {
        end_close(end);
        return;
    }
    if (!is_excused(end, error)) {
        char text[80];
        snprintf(text, sizeof(text), "%s: %s", what, strerror(-error));
        fail(end, text);
    }
    end->error = error;
    if (end->conn != NULL)
        end->conn->excuses |= EXCUSE_BROKEN;
    end_close(end);
}

void end_abandon(struct end *end, uint32_t excuse)
{
    struct sim *sim = &end->world->sim;
    if (end->conn != NULL)
        end->conn->excuses |= excuse;
    SIM_CHECK(sim, foyer_socket_abort(end->host->sim->host, end->socket, sim->now) == 0);
    end_over(end);
}

/* ---- rings of the program's own ------------------------------------------------------------------ */

static void poke(struct end *end)
{
    foyer_socket_poke(end->host->sim->host, end->socket, end->world->sim.now);
}

static void use_rings(struct end *end)
{
    struct random *random = &end->world->program_random;
    struct foyer_ring *rings[] = {&end->rx, &end->tx};
    uint32_t sizes[2];
    size_t total = 0;
    for (unsigned i = 0; i < 2; i++) {
        sizes[i] = 65536u << below(random, 3);
        total += sizes[i] + sizeof(struct foyer_ring_shared);
    }
    uint8_t *memory = aligned_alloc(64, total);
    if (memory == NULL)
        abort();
    end->ring_memory = memory;
    for (unsigned i = 0; i < 2; i++) {
        rings[i]->shared = (struct foyer_ring_shared *)(void *)memory;
        memset(memory, 0, sizeof(struct foyer_ring_shared));
        rings[i]->data = memory + sizeof(struct foyer_ring_shared);
        rings[i]->size = sizes[i];
        memory = rings[i]->data + sizes[i];
    }
    int error = foyer_socket_set_rings(end->host->sim->host, end->socket, &end->rx, &end->tx);
    /* No memory, or what waits does not fit: it goes on without. */
    end->uses_rings = error == 0;
    if (error != 0) {
        SIM_CHECK(&end->world->sim, error == -ENOBUFS || error == -ENOMEM);
        free(end->ring_memory);
        end->ring_memory = NULL;
    }
}

/* As a program with a doorbell: it rings only where the stack asked for it. */
static int64_t ring_send(struct end *end, const uint8_t *bytes, size_t size)
{
    if (atomic_load(&end->tx.shared->reader_state) != FOYER_RING_OPEN) {
        int error = foyer_socket_take_error(end->host->sim->host, end->socket);
        return error != 0 ? error : -EPIPE;
    }
    uint32_t room = foyer_ring_free(&end->tx);
    SIM_CHECK(&end->world->sim, room != UINT32_MAX);
    if (room == 0) {
        foyer_ring_announce_writer(&end->tx);
        if ((room = foyer_ring_free(&end->tx)) == 0)
            return -EAGAIN;
    }
    uint32_t count = size < room ? (uint32_t)size : room;
    uint32_t head = foyer_ring_head(&end->tx);
    foyer_ring_put(&end->tx, head, bytes, count);
    foyer_ring_publish_head(&end->tx, head + count);
    if (foyer_ring_take_reader_waiting(&end->tx))
        poke(end);
    return count;
}

static int64_t ring_recv(struct end *end, uint8_t *bytes, size_t size)
{
    uint32_t state = atomic_load(&end->rx.shared->writer_state);
    uint32_t used = foyer_ring_used(&end->rx);
    SIM_CHECK(&end->world->sim, used != UINT32_MAX);
    if (used == 0 && state == FOYER_RING_RESET) {
        int error = foyer_socket_take_error(end->host->sim->host, end->socket);
        return error != 0 ? error : -ECONNRESET;
    }
    if (used == 0) {
        if (state == FOYER_RING_FIN)
            return 0;
        foyer_ring_announce_reader(&end->rx);
        if (foyer_ring_used(&end->rx) == 0)
            return -EAGAIN;
        used = foyer_ring_used(&end->rx);
    }
    uint32_t count = size < used ? (uint32_t)size : used;
    uint32_t tail = foyer_ring_tail(&end->rx);
    foyer_ring_get(&end->rx, tail, bytes, count);
    foyer_ring_publish_tail(&end->rx, tail + count);
    if (foyer_ring_take_writer_waiting(&end->rx))
        poke(end);
    return count;
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* How much may have been sent by now: all of it, or as far as requests and responses have come. */
static uint64_t allowed(const struct end *end)
{
    const struct conn *conn = end->conn;
    uint64_t all = conn->plans[end->side].to_send;
    if (conn->request_size == 0)
        return all;
    uint64_t may;
    if (end->side == 0)
        may = (end->received / conn->response_size + 1ULL) * conn->request_size;
    else
        may = end->received / conn->request_size * conn->response_size;
    return may < all ? may : all;
}

static bool shut_down(struct end *end)
{
    int error = foyer_socket_shutdown(end->host->sim->host, end->socket, FOYER_SHUTDOWN_WRITE,
                                      end->world->sim.now);
    if (error < 0) {
        end_failed(end, error, "shutdown");
        return true;
    }
    end->has_shut_down = true;
    return true;
}

static bool do_write(struct end *end)
{
    static uint8_t bytes[CHUNK];
    struct world *world = end->world;
    const struct plan *plan = &end->conn->plans[end->side];
    if (end->sent == plan->to_send) {
        if (plan->closes_at_once || (plan->shuts_after_eof && !end->has_eof))
            return false;
        return shut_down(end);
    }
    uint64_t left = allowed(end) - end->sent;
    if (left == 0)
        return false;
    uint64_t size = 1 + below(&world->program_random, plan->write_size);
    if (size > left)
        size = left;
    fill(end->conn, end->side, end->sent, bytes, (size_t)size);
    struct foyer_host *host = end->host->sim->host;
    int64_t taken;
    if (end->uses_rings)
        taken = ring_send(end, bytes, (size_t)size);
    else if (plan->is_urgent && one_in(&world->program_random, 4))
        taken = foyer_socket_send_urgent(host, end->socket, bytes, (size_t)size, world->sim.now);
    else
        taken = foyer_socket_send(host, end->socket, bytes, (size_t)size, world->sim.now);
    if (taken == -EAGAIN) {
        end->is_writable = false;
        return false;
    }
    if (taken == -ENOMEM && (end->host->excuses & EXCUSE_MEMORY) != 0) {
        end->next_write_ns = world->sim.now + RETRY_NS;
        return true;
    }
    if (taken < 0) {
        end_failed(end, (int)taken, "send");
        return true;
    }
    SIM_CHECK(&world->sim, taken > 0 && (uint64_t)taken <= size);
    end->sent += (uint64_t)taken;
    end->progress_ns = world->sim.now;
    if (plan->write_pause_ns > 0)
        end->next_write_ns = world->sim.now + below(&world->program_random, plan->write_pause_ns);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------------- */

/*
 * A copy of the segment that brought a SYN cookie back makes the connection again once the first is
 * gone: nothing was remembered of it (RFC 4987 section 3.6). So does a copy of a SYN with data (RFC
 * 7413 section 6.1).
 */
static bool is_ghost(const struct end *end, const struct conn *conn)
{
    struct foyer_host_stats stats;
    foyer_host_stats(end->host->sim->host, &stats);
    return (stats.tcp_cookies_received > 0 || conn->plans[0].is_fast_open) &&
           conn->ends[1] != NULL && conn->ends[1]->is_done;
}

/* An accepted end learns who it is. */
static void take_header(struct end *end, const uint8_t *bytes)
{
    struct world *world = end->world;
    uint32_t index = load_be32(bytes + 4);
    if (load_be32(bytes) != MAGIC || index >= world->conn_count)
        fail(end, "a stranger's first bytes");
    struct conn *conn = &world->conns[index];
    uint8_t header[HEADER_SIZE];
    header_of(conn, header);
    if (memcmp(header, bytes, HEADER_SIZE) == 0 && is_ghost(end, conn)) {
        end_abandon(end, 0);
        return;
    }
    if (memcmp(header, bytes, HEADER_SIZE) != 0 || conn->ends[1] != NULL ||
        conn->listener == NULL || conn->listener->host != end->host || conn->ends[0] == NULL) {
        end->conn = conn;
        fail(end, "bytes of another connection");
    }
    end->conn = conn;
    conn->ends[1] = end;
    conn->was_established = true;
    world->counts->established++;
    struct foyer_socket_info info;
    SIM_CHECK(&world->sim, foyer_socket_info(end->host->sim->host, end->socket, &info) == 0);
    if (info.local.port != conn->remote.port ||
        !foyer_addr_eq(&info.local.addr, &conn->remote.addr))
        fail(end, "accepted for another address");
    const struct plan *plan = &conn->plans[1];
    foyer_socket_set_option(end->host->sim->host, end->socket, FOYER_OPT_NODELAY, plan->nodelay);
    foyer_socket_set_option(end->host->sim->host, end->socket, FOYER_OPT_CONGESTION,
                            plan->congestion);
    if (plan->uses_rings && world->sim.now < world->heal_ns)
        use_rings(end);
}

static void check_bytes(struct end *end, const uint8_t *bytes, size_t size)
{
    static uint8_t expected[CHUNK];
    fill(end->conn, 1 - end->side, end->received, expected, size);
    if (memcmp(bytes, expected, size) != 0) {
        char text[80];
        uint64_t at = end->received;
        for (size_t i = 0; bytes[i] == expected[i]; i++)
            at++;
        snprintf(text, sizeof(text), "wrong byte at %llu", (unsigned long long)at);
        fail(end, text);
    }
}

/* The peer's FIN: it must have sent all that it ever will. */
static void take_eof(struct end *end)
{
    end->has_eof = true;
    end->is_readable = false;
    end->progress_ns = end->world->sim.now;
    if (end->conn == NULL) {
        end_close(end); /* who called gave up before it had sent its name */
        return;
    }
    const struct end *peer = end->conn->ends[1 - end->side];
    if (peer == NULL || (!peer->has_shut_down && !peer->is_done))
        fail(end, "an end that the peer did not make");
    if (end->received != peer->sent)
        fail(end, "an end before all bytes");
}

static void took(struct end *end, const uint8_t *bytes, size_t size)
{
    struct world *world = end->world;
    end->progress_ns = world->sim.now;
    if (end->conn == NULL) {
        memcpy(end->header + end->received, bytes, size);
        end->received += size;
        if (end->received == HEADER_SIZE)
            take_header(end, end->header);
        return;
    }
    check_bytes(end, bytes, size);
    end->received += size;
    const struct plan *plan = &end->conn->plans[end->side];
    if (end->received > end->conn->plans[1 - end->side].to_send)
        fail(end, "more than was sent");
    if (plan->read_pause_ns > 0)
        end->next_read_ns = world->sim.now + below(&world->program_random, plan->read_pause_ns);
    if (!end->has_stalled && end->received >= plan->stall_at) {
        end->has_stalled = true;
        end->next_read_ns = world->sim.now + plan->stall_ns;
    }
}

static bool do_read(struct end *end)
{
    static uint8_t bytes[CHUNK];
    struct world *world = end->world;
    size_t size;
    if (end->conn == NULL)
        size = HEADER_SIZE - (size_t)end->received;
    else
        size = 1 + (size_t)below(&world->program_random, end->conn->plans[end->side].read_size);
    int64_t got = end->uses_rings ? ring_recv(end, bytes, size)
                                  : foyer_socket_recv(end->host->sim->host, end->socket, bytes,
                                                      size, world->sim.now);
    if (got == -EAGAIN) {
        end->is_readable = false;
        return false;
    }
    if (got < 0) {
        end_failed(end, (int)got, "recv");
        return true;
    }
    SIM_CHECK(&world->sim, (size_t)got <= size);
    if (got == 0)
        take_eof(end);
    else
        took(end, bytes, (size_t)got);
    return true;
}

/* ---- ending ----------------------------------------------------------------------------------------- */

/* Half way: whatever the peer has on its way is lost, and it learns so. */
static void give_up(struct end *end, const struct plan *plan)
{
    struct foyer_host *host = end->host->sim->host;
    end->conn->excuses |= EXCUSE_ABORT;
    if (plan->abort_how == ABORT_CALL) {
        end_abandon(end, EXCUSE_ABORT);
        return;
    }
    if (plan->abort_how == ABORT_LINGER)
        foyer_socket_set_option(host, end->socket, FOYER_OPT_LINGER_NS, 0);
    end_close(end);
}

static bool is_over(const struct end *end)
{
    const struct conn *conn = end->conn;
    const struct plan *plan = &conn->plans[end->side];
    if (plan->closes_at_once && end->sent == plan->to_send &&
        end->received == conn->plans[1 - end->side].to_send)
        return true;
    return end->has_eof && end->has_shut_down && (end->has_closed_event || !plan->waits_for_closed);
}

bool end_act(struct end *end)
{
    struct world *world = end->world;
    bool any = false;
    if (!end->is_open)
        return false;
    if (end->is_connected && end->is_writable && !end->has_shut_down && end->conn != NULL &&
        end->next_write_ns <= world->sim.now)
        any |= do_write(end);
    if (end->is_open && end->is_readable && !end->has_eof && end->next_read_ns <= world->sim.now)
        any |= do_read(end);
    if (!end->is_open || end->conn == NULL)
        return any;
    const struct plan *plan = &end->conn->plans[end->side];
    if (end->is_connected && end->sent + end->received >= plan->abort_at) {
        give_up(end, plan);
        return true;
    }
    if (end->is_connected && is_over(end)) {
        world->counts->completed++;
        end_close(end);
        return true;
    }
    return any;
}

foyer_time_ns end_deadline(const struct end *end)
{
    foyer_time_ns now = end->world->sim.now, next = FOYER_TIME_NEVER;
    if (!end->is_open)
        return next;
    if (end->is_readable && !end->has_eof && end->next_read_ns > now)
        next = end->next_read_ns;
    if (end->is_writable && end->next_write_ns > now && end->next_write_ns < next)
        next = end->next_write_ns;
    return next;
}

void end_event(struct end *end, uint32_t bits)
{
    end->progress_ns = end->world->sim.now;
    if ((bits & FOYER_EVENT_CONNECTED) != 0) {
        end->is_connected = end->is_writable = true;
        if (end->conn->plans[end->side].uses_rings)
            use_rings(end);
        end->is_readable = true;
    }
    if ((bits & FOYER_EVENT_ERROR) != 0) {
        /* What came before it is read first. */
        if (!end->is_connected || end->has_eof) {
            int error = foyer_socket_take_error(end->host->sim->host, end->socket);
            SIM_CHECK(&end->world->sim, error < 0);
            end_failed(end, error, "event");
            return;
        }
        end->is_readable = true;
    }
    if ((bits & FOYER_EVENT_WRITABLE) != 0)
        end->is_writable = true;
    if ((bits & (FOYER_EVENT_READABLE | FOYER_EVENT_PEER_FIN)) != 0)
        end->is_readable = true;
    if ((bits & FOYER_EVENT_CLOSED) != 0) {
        end->has_closed_event = true;
        end->is_readable = end->is_writable = true;
    }
}

/* ---- beginning --------------------------------------------------------------------------------------- */

static void set_options(struct end *end, const struct plan *plan)
{
    struct foyer_host *host = end->host->sim->host;
    const struct {
        enum foyer_option option;
        int64_t value;
    } options[] = {
        {FOYER_OPT_NODELAY, plan->nodelay},
        {FOYER_OPT_CORK, plan->cork},
        {FOYER_OPT_KEEPALIVE, plan->keepalive},
        {FOYER_OPT_KEEPIDLE_S, 2},
        {FOYER_OPT_KEEPINTVL_S, 2},
        {FOYER_OPT_KEEPCNT, 5},
        {FOYER_OPT_CONGESTION, plan->congestion},
        {FOYER_OPT_ECN, plan->ecn},
        {FOYER_OPT_OOBINLINE, 1},
    };
    for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int error = foyer_socket_set_option(host, end->socket, options[i].option, options[i].value);
        SIM_CHECK(&end->world->sim,
                  error == 0 || (error == -ENOMEM && (end->host->excuses & EXCUSE_MEMORY) != 0));
    }
}

static struct end *open_end(struct world *world, struct conn *conn, unsigned side)
{
    struct world_host *host = conn->hosts[side];
    foyer_socket socket;
    int error = foyer_socket_open(host->sim->host, conn->family, FOYER_TCP, 1, &socket);
    if (error == -ENOMEM && (host->excuses & EXCUSE_MEMORY) != 0)
        return NULL;
    SIM_CHECK(&world->sim, error == 0);
    struct end *end = world_add_end(world, host);
    end->conn = conn;
    end->side = side;
    end->socket = socket;
    end->is_open = true;
    conn->ends[side] = end;
    SIM_CHECK(&world->sim, foyer_socket_set_user(host->sim->host, socket, end->user) == 0);
    set_options(end, &conn->plans[side]);
    return end;
}

/* With what it writes first, if that is how the program does it (RFC 7413). */
static int64_t connect_and_send(struct end *end, const struct foyer_endpoint *remote)
{
    static uint8_t bytes[CHUNK];
    const struct plan *plan = &end->conn->plans[end->side];
    struct world *world = end->world;
    uint64_t size = 1 + below(&world->program_random, plan->write_size);
    if (size > allowed(end))
        size = allowed(end);
    fill(end->conn, end->side, 0, bytes, (size_t)size);
    int64_t taken = foyer_socket_connect_send(end->host->sim->host, end->socket, remote, bytes,
                                              (size_t)size, world->sim.now);
    SIM_CHECK(&world->sim, taken <= (int64_t)size && taken != 0);
    if (taken > 0)
        end->sent = (uint64_t)taken;
    return taken > 0 ? -EINPROGRESS : taken;
}

static void connect_end(struct end *end, const struct foyer_endpoint *remote)
{
    struct foyer_host *host = end->host->sim->host;
    int64_t error = end->conn->plans[end->side].is_fast_open
                        ? connect_and_send(end, remote)
                        : foyer_socket_connect(host, end->socket, remote, end->world->sim.now);
    if (error == -EINPROGRESS)
        return;
    /* Many connections to one place from a few ports; the others are in TIME-WAIT. */
    if (error == -EADDRNOTAVAIL)
        end->conn->excuses |= EXCUSE_OVERFLOW;
    end_failed(end, (int)error, "connect");
}

/* Both call connect at one time, from ports of their choice (RFC 9293 section 3.5, figure 7). */
static void open_both(struct world *world, struct conn *conn)
{
    struct foyer_endpoint locals[2];
    for (unsigned side = 0; side < 2; side++) {
        locals[side] = sim_endpoint(conn->hosts[side]->sim, conn->family,
                                    (uint16_t)(20000 + 2 * conn->index + side));
        struct end *end = open_end(world, conn, side);
        if (end == NULL ||
            foyer_socket_bind(end->host->sim->host, end->socket, &locals[side], NULL) != 0) {
            conn->excuses |= EXCUSE_BROKEN;
            SIM_CHECK(&world->sim,
                      ((conn->hosts[side]->excuses) & (EXCUSE_MEMORY | EXCUSE_ADDRESS)) != 0);
            if (end != NULL)
                end_close(end);
        }
    }
    conn->was_established = true;
    world->counts->established++;
    for (unsigned side = 0; side < 2; side++) {
        if (conn->ends[side] != NULL && conn->ends[side]->is_open)
            connect_end(conn->ends[side], &locals[1 - side]);
    }
}

void conn_open(struct world *world, struct conn *conn)
{
    conn->is_opened = true;
    world->counts->connections++;
    if (conn->listener == NULL) {
        open_both(world, conn);
        return;
    }
    if (!conn->listener->is_open)
        conn->excuses |= EXCUSE_REFUSED;
    struct end *end = open_end(world, conn, 0);
    if (end != NULL)
        connect_end(end, &conn->remote);
}

/* ---- listeners --------------------------------------------------------------------------------------- */

void listener_open_any(struct world *world, struct world_host *host, enum listener_kind kind)
{
    struct sim *sim = &world->sim;
    struct world_listener *listener = &host->listeners[kind];
    struct foyer_endpoint local = {.port = (uint16_t)(7 + (unsigned)kind)};
    uint32_t backlog = kind == LISTENER_LAZY ? (uint32_t)below(&world->plan_random, 4) : 512;
    *listener = (struct world_listener){.host = host, .port = local.port, .kind = kind};
    SIM_CHECK(sim, foyer_socket_open(host->sim->host, FOYER_FAMILY_V6, FOYER_TCP, 1,
                                     &listener->socket) == 0);
    if (kind == LISTENER_HOLD)
        SIM_CHECK(sim, foyer_socket_set_option(host->sim->host, listener->socket, FOYER_OPT_HOLD,
                                               1) == 0);
    /* Inherited, so that urgent bytes stay in the stream from the first one on. */
    SIM_CHECK(sim, foyer_socket_set_option(host->sim->host, listener->socket, FOYER_OPT_OOBINLINE,
                                           1) == 0);
    if (one_in(&world->plan_random, 2))
        SIM_CHECK(sim,
                  foyer_socket_set_option(host->sim->host, listener->socket, FOYER_OPT_FASTOPEN,
                                          1 + (int64_t)below(&world->plan_random, 20)) == 0);
    if (kind == LISTENER_INTERCEPT)
        SIM_CHECK(sim, foyer_socket_set_option(host->sim->host, listener->socket,
                                               FOYER_OPT_INTERCEPT, FOYER_INTERCEPT_ADDRESS) == 0);
    SIM_CHECK(sim, foyer_socket_bind(host->sim->host, listener->socket, &local, NULL) == 0);
    SIM_CHECK(sim, foyer_socket_listen(host->sim->host, listener->socket, backlog, NULL) == 0);
    listener->is_open = true;
}

/* What a request of these two is tied to. */
static uint64_t tie_of(const struct foyer_endpoint *local, const struct foyer_endpoint *remote)
{
    uint64_t tie = 1;
    for (unsigned i = 0; i < sizeof(remote->addr.bytes); i++)
        tie = tie * 31 + remote->addr.bytes[i] + 7u * local->addr.bytes[i];
    return (tie * 31 + remote->port) * 31 + local->port;
}

/* What was tied to a request comes back with a socket, or by the request's end, and once. */
static void untie(struct world_listener *listener)
{
    struct sim *sim = listener->host->sim->sim;
    SIM_CHECK(sim, listener->tied_count > 0);
    listener->tied_count--;
}

void listener_check(const struct world_listener *listener)
{
    struct sim *sim = listener->host->sim->sim;
    struct foyer_socket_info info;
    SIM_CHECK(sim, foyer_socket_info(listener->host->sim->host, listener->socket, &info) == 0);
    SIM_CHECK(sim, listener->tied_count <= info.request_count + info.accept_queue_count);
}

static bool accept_one(struct world_listener *listener)
{
    struct sim *sim = listener->host->sim->sim;
    struct world *world = sim->app.context;
    foyer_socket socket;
    int error = foyer_socket_accept(listener->host->sim->host, listener->socket, 1, &socket);
    if (error == -EAGAIN) {
        listener->has_waiting = false;
        return false;
    }
    SIM_CHECK(sim, error == 0);
    struct end *end = world_add_end(world, listener->host);
    end->side = 1;
    end->socket = socket;
    end->is_open = end->is_connected = true;
    end->is_readable = end->is_writable = true; /* events before now were not ours */
    struct foyer_socket_info info;
    SIM_CHECK(sim, foyer_socket_info(listener->host->sim->host, socket, &info) == 0);
    if (info.user != 0) {
        SIM_CHECK(sim, info.user == tie_of(&info.local, &info.remote));
        untie(listener);
    }
    SIM_CHECK(sim, foyer_socket_set_user(listener->host->sim->host, socket, end->user) == 0);
    end->has_closed_event = info.state == FOYER_STATE_CLOSED || info.state == FOYER_STATE_TIME_WAIT;
    if (listener->kind == LISTENER_LAZY)
        listener->next_accept_ns = sim->now + below(&world->program_random, 300 * FOYER_NS_PER_MS);
    return true;
}

static void decide(struct world_listener *listener, foyer_request request)
{
    struct foyer_host *host = listener->host->sim->host;
    struct sim *sim = listener->host->sim->sim;
    struct world *world = sim->app.context;
    struct foyer_request_info info;
    int error = foyer_request_info(host, request, &info);
    SIM_CHECK(sim, error == 0 && info.listener.value == listener->socket.value);
    switch (below(&world->program_random, 10)) {
    case 0:
        SIM_CHECK(sim, foyer_request_refuse(host, request, sim->now) == 0);
        break;
    case 1:
        SIM_CHECK(sim, foyer_request_drop(host, request) == 0);
        break;
    default:
        SIM_CHECK(sim,
                  foyer_request_set_user(host, request, tie_of(&info.local, &info.remote)) == 0);
        listener->tied_count++;
        SIM_CHECK(sim, foyer_request_accept(host, request, sim->now) == 0);
        return;
    }
    SIM_CHECK(sim, foyer_request_info(host, request, &info) == -EBADF);
    SIM_CHECK(sim, foyer_request_accept(host, request, sim->now) == -EBADF);
}

bool listener_act(struct world_listener *listener)
{
    bool any = false;
    if (!listener->is_open)
        return false;
    while (listener->has_requests) {
        foyer_request request;
        int error = foyer_request_next(listener->host->sim->host, listener->socket, &request);
        if (error == 0)
            decide(listener, request);
        else
            listener->has_requests = false;
        any = true;
    }
    while (listener->has_ended) {
        uint64_t user;
        int error, ended = foyer_request_next_ended(listener->host->sim->host, listener->socket,
                                                    &user, &error);
        if (ended == 0)
            untie(listener);
        else
            listener->has_ended = false;
        any = true;
    }
    if (any)
        listener_check(listener);
    while (listener->has_waiting && listener->next_accept_ns <= listener->host->sim->sim->now)
        any |= accept_one(listener);
    return any;
}
