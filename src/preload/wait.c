/*
 * Readiness of a socket from shared memory, sleeping on its doorbell, and the locks of a slot.
 *
 * Sleeping: announce in the rings, count oneself in the slot's bell_sleepers, look once more, and
 * only then sleep in the kernel on the descriptor. Whoever changes a ring and finds the
 * announcement writes a byte to the daemon end; the kernel then wakes all who sleep there.
 *
 * The doorbell's bytes must be drained at some time, else nobody could sleep any more; but a
 * drained byte is lost for a sleeper whom the kernel has woken and not yet run: its poll() looks at
 * the queue again, finds it empty, and sleeps on. So bytes are drained only while nobody sleeps, and
 * nobody may begin to sleep while somebody drains (bit 31). Who finds other sleepers leaves the byte
 * to them, however long they take to run on a busy machine. A sleeper that was killed stays noted;
 * who has been patient for a while looks whether all of them still live.
 *
 * How to sleep: a thread without a deadline that has moved no byte sleeps in a blocking
 * recv(MSG_PEEK), which the kernel restarts or ends with EINTR after a signal handler just as it
 * does for a socket of its own (signal(7): SA_RESTART). With a timeout, or once bytes were moved,
 * the kernel never restarts: ppoll.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <sched.h>
#include <string.h>

#include "preload/raw.h"
#include "preload/real.h"

#define BELL_DRAINING (1u << 31)
#define BELL_PLACE_BITS ((1u << FOYER_SLOT_BELL_PLACES) - 1)
#define BELL_ONE_MORE (1u << FOYER_SLOT_BELL_PLACES) /* without a place */
#define BELL_YIELDS 100u
#define BELL_PATIENCE 200u /* rounds until sleepers that do not wake are looked for */

int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t deadline_of(const struct timespec *timeout)
{
    if (timeout == NULL || timeout->tv_sec >= 1000000000)
        return NO_DEADLINE;
    return clock_ns() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
}

int64_t deadline_left_ns(int64_t deadline_ns)
{
    if (deadline_ns == NO_DEADLINE)
        return -1;
    int64_t left_ns = deadline_ns - clock_ns();
    return left_ns > 0 ? left_ns : 0;
}

const struct timespec *time_limit(int64_t left_ns, struct timespec *memory)
{
    if (left_ns < 0)
        return NULL;
    *memory = (struct timespec){.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    return memory;
}

/* ---- locks --------------------------------------------------------------------------------- */

static _Atomic uint32_t *lock_word(struct socket_object *sock, int which)
{
    return which == LOCK_READ ? &sock->slot->read_lock : &sock->slot->write_lock;
}

static bool thread_is_dead(uint32_t id)
{
    return RAW(SYS_tkill, (int)id, 0) == -ESRCH;
}

int slot_lock(struct socket_object *sock, int which)
{
    _Atomic uint32_t *word = lock_word(sock, which);
    uint32_t self = (uint32_t)preload_thread_id();
    for (unsigned tries = 0;; tries++) {
        uint32_t holder = 0;
        if (likely(atomic_compare_exchange_strong(word, &holder, self)))
            return 0;
        if (holder == self)
            return -EDEADLK;
        if (tries < 64) {
            pause_cpu();
        } else if (tries < 128) {
            sched_yield();
        } else {
            /* Its thread may be dead: then whoever swaps the word first has the lock. */
            if (thread_is_dead(holder) && atomic_compare_exchange_strong(word, &holder, self))
                return 0;
            struct timespec nap = {.tv_nsec = 50000};
            RAW(SYS_nanosleep, &nap, NULL);
        }
    }
}

void slot_unlock(struct socket_object *sock, int which)
{
    atomic_store_explicit(lock_word(sock, which), 0, memory_order_release);
}

void small_lock_init(struct small_lock *lock)
{
    atomic_store(&lock->holder, 0);
}

bool small_lock_take(struct small_lock *lock)
{
    uint32_t self = (uint32_t)preload_thread_id();
    for (unsigned tries = 0;; tries++) {
        uint32_t holder = 0;
        if (likely(atomic_compare_exchange_strong(&lock->holder, &holder, self)))
            return true;
        if (holder == self)
            return false;
        if (tries < 64)
            pause_cpu();
        else
            sched_yield();
    }
}

void small_lock_give(struct small_lock *lock)
{
    atomic_store_explicit(&lock->holder, 0, memory_order_release);
}

/* ---- errors and resets --------------------------------------------------------------------- */

int slot_take_error(struct socket_object *sock)
{
    if (likely(atomic_load_explicit(&sock->slot->error, memory_order_relaxed) == 0))
        return 0;
    int error = atomic_exchange(&sock->slot->error, 0);
    return error > 0 && error < 4096 ? -error : 0;
}

void socket_note_reset(struct socket_object *sock, int error)
{
    uint32_t before = atomic_fetch_or(&sock->slot->options, FOYER_SLOT_RESET_SEEN);
    if ((before & FOYER_SLOT_RESET_SEEN) == 0) {
        int32_t none = 0;
        atomic_compare_exchange_strong(&sock->slot->error, &none, error);
    }
}

bool socket_is_reset(struct socket_object *sock, const struct channel *channel)
{
    /* Before the rings' states: these are older than PEER_GONE. */
    uint32_t options = atomic_load_explicit(&sock->slot->options, memory_order_acquire);
    if ((options & FOYER_SLOT_RESET_SEEN) != 0)
        return true;
    if (channel == NULL)
        return false;
    uint32_t writer = atomic_load_explicit(&channel->rx.shared->writer_state, memory_order_acquire);
    uint32_t reader = atomic_load_explicit(&channel->tx.shared->reader_state, memory_order_acquire);
    if (likely(writer < FOYER_RING_RESET && reader < FOYER_RING_RESET &&
               foyer_ring_used(&channel->rx) != UINT32_MAX &&
               foyer_ring_free(&channel->tx) != UINT32_MAX &&
               ((options & FOYER_SLOT_PEER_GONE) == 0 ||
                (writer != FOYER_RING_OPEN && reader != FOYER_RING_OPEN))))
        return false;
    /* tcp_reset: in CLOSE-WAIT the error is EPIPE. */
    socket_note_reset(sock, writer == FOYER_RING_FIN ? EPIPE : ECONNRESET);
    return true;
}

void socket_note_orphan(struct socket_object *sock)
{
    if (sock->type == SOCK_STREAM && slot_state(sock) == FOYER_SLOT_LISTENING)
        return;
    struct channel *channel = socket_channel_now(sock);
    bool has_fin =
        channel != NULL && atomic_load(&channel->rx.shared->writer_state) == FOYER_RING_FIN;
    socket_note_reset(sock, sock->type == SOCK_DGRAM ? ENETDOWN : has_fin ? EPIPE : ECONNRESET);
}

/* ---- readiness ----------------------------------------------------------------------------- */

/* As sk_stream_is_writeable: a sleeping writer is not woken for every byte. */
static bool has_room(const struct channel *channel, uint32_t need_bytes)
{
    uint32_t used = foyer_ring_used(&channel->tx), limit = foyer_ring_limit(&channel->tx);
    /* A limit of nothing, which a peer may write, is no room: else who waits would spin. */
    if (used >= limit)
        return used == UINT32_MAX; /* nonsense: a reset, soon */
    return limit - used >= (need_bytes != 0 ? need_bytes : limit / 3);
}

static uint32_t kernel_readiness(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN | POLLRDNORM};
    struct timespec zero = {0};
    return raw_ppoll(&item, 1, &zero) > 0 ? (uint32_t)(uint16_t)item.revents & (POLLIN | POLLRDNORM)
                                          : 0;
}

static uint32_t stream_readiness(struct socket_object *sock, const struct channel *channel)
{
    uint32_t options = slot_options(sock);
    if (channel == NULL || socket_is_reset(sock, channel))
        return POLLIN | POLLRDNORM | POLLRDHUP | POLLOUT | POLLWRNORM | POLLHUP;
    uint32_t bits = 0;
    uint32_t writer = atomic_load_explicit(&channel->rx.shared->writer_state, memory_order_acquire);
    uint32_t used = foyer_ring_used(&channel->rx);
    uint32_t wanted = sock->slot->receive_low_water;
    if (wanted == 0)
        wanted = 1;
    else if (wanted > foyer_ring_limit(&channel->rx) / 2)
        wanted = foyer_ring_limit(&channel->rx) / 2;
    if (unlikely(urgent_was_seen(&channel->rx))) {
        wanted += urgent_skipped(sock, channel);
        bits |= urgent_is_here(sock, channel) ? POLLPRI : 0u;
    }
    bool is_over = writer != FOYER_RING_OPEN || (options & FOYER_SLOT_SHUT_READ) != 0;
    if (used >= wanted || is_over)
        bits |= POLLIN | POLLRDNORM;
    if (is_over)
        bits |= POLLRDHUP;
    if (is_over && (options & FOYER_SLOT_SHUT_WRITE) != 0)
        bits |= POLLHUP;
    if ((options & FOYER_SLOT_SHUT_WRITE) != 0 || has_room(channel, 0) ||
        atomic_load_explicit(&channel->tx.shared->reader_state, memory_order_relaxed) != 0)
        bits |= POLLOUT | POLLWRNORM;
    return bits;
}

static uint32_t datagram_readiness(struct socket_object *sock, int fd,
                                   const struct channel *channel)
{
    uint32_t options = slot_options(sock);
    uint32_t bits = 0;
    if (channel == NULL || (options & FOYER_SLOT_RESET_SEEN) != 0)
        return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLHUP;
    if (atomic_load_explicit(&sock->slot->errors_waiting, memory_order_relaxed) != 0)
        bits |= POLLERR;
    if (foyer_ring_used(&channel->rx) != 0 || direct_has_data(sock, fd))
        bits |= POLLIN | POLLRDNORM;
    if ((options & FOYER_SLOT_SHUT_READ) != 0)
        bits |= POLLIN | POLLRDNORM | POLLRDHUP;
    if ((options & FOYER_SLOT_SHUT_READ) != 0 && (options & FOYER_SLOT_SHUT_WRITE) != 0)
        bits |= POLLHUP;
    if (has_room(channel, 0))
        bits |= POLLOUT | POLLWRNORM | POLLWRBAND;
    return bits;
}

uint32_t socket_readiness(struct socket_object *sock, int fd)
{
    uint32_t bits = 0;
    switch (slot_state(sock)) {
    case FOYER_SLOT_LISTENING:
        return keep_has_offer(sock) ? POLLIN | POLLRDNORM : kernel_readiness(fd);
    case FOYER_SLOT_CONNECTED:
        bits = stream_readiness(sock, socket_channel(sock, fd));
        break;
    case FOYER_SLOT_DATAGRAM:
        bits = datagram_readiness(sock, fd, socket_channel(sock, fd));
        break;
    case FOYER_SLOT_CONNECTING:
        break;
    case FOYER_SLOT_FAILED:
        bits = POLLIN | POLLRDNORM | POLLRDHUP | POLLOUT | POLLWRNORM | POLLHUP;
        break;
    default:
        bits = POLLOUT | POLLWRNORM | POLLHUP;
        break;
    }
    if (atomic_load_explicit(&sock->slot->error, memory_order_relaxed) != 0)
        bits |= POLLERR;
    return bits;
}

/* ---- doorbells ----------------------------------------------------------------------------- */

/*
 * A process in a seccomp sandbox of its own may be killed for sendto() and recvfrom(), which its
 * author did not need: sshd's is, before authentication. It may write(), read() and poll(), or it
 * could not use a socket at all. Those lack MSG_DONTWAIT and MSG_NOSIGNAL, so poll() is asked first.
 */
static bool sandbox_allows(int fd, short event)
{
    struct pollfd item = {.fd = fd, .events = event};
    struct timespec zero = {0};
    return raw_ppoll(&item, 1, &zero) > 0 && (item.revents & event) != 0 &&
           (event == POLLIN || (item.revents & (POLLERR | POLLHUP)) == 0);
}

bool channel_ring(const struct channel *channel, int fd)
{
    int saved_errno = errno;
    char byte = 0;
    long sent = 0;
    int bell = channel->bell >= 0 ? channel->bell : fd;
    /* A full queue needs no further byte: the other side is readable for the kernel. */
    if (likely(!preload_config.is_sandboxed))
        sent = raw_send(bell, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (sandbox_allows(bell, POLLOUT))
        sent = RAW(SYS_write, bell, &byte, 1);
    errno = saved_errno;
    return sent == 1;
}

bool socket_ring(const struct socket_object *sock, int fd, const struct channel *channel)
{
    /* Whoever announced there did so after foyerd had set it. */
    if (unlikely((slot_options(sock) & FOYER_SLOT_MOVED) != 0))
        socket_follow_peer(sock, fd);
    return channel_ring(channel, fd);
}

/*
 * The sleeps that this thread has rung for last, one of each of a few peers. An event loop that
 * sleeps behind fifty sockets is rung once, not fifty times (foyer_ring_announce_as). The peer's
 * arena is part of it, since a hostile peer could announce a token that it saw in another one's ring.
 */
#define RUNG_COUNT 8u

struct rung {
    uint32_t peer_arena, sleeper, token;
};

static __thread struct rung rung[RUNG_COUNT] __attribute__((tls_model("initial-exec")));

static void wake_announced(const struct socket_object *sock, int fd, const struct channel *channel,
                           struct foyer_ring_waiter *waiter, uint32_t token)
{
    const struct rung now = {
        .peer_arena = channel->bell >= 0 ? sock->slot->peer_arena : 0,
        .sleeper = atomic_load_explicit(&waiter->sleeper, memory_order_relaxed),
        .token = token,
    };
    struct rung *last = &rung[now.peer_arena % RUNG_COUNT];
    bool is_answerable = token > 1 && now.peer_arena != 0 && now.sleeper != 0;
    if (is_answerable && last->token == token && last->sleeper == now.sleeper &&
        last->peer_arena == now.peer_arena)
        return; /* it stands until the sleeper takes it back */
    uint32_t taken = atomic_exchange(&waiter->waiting, 0);
    /* A bell that may not have been heard answers for nobody else. */
    if (taken != 0 && socket_ring(sock, fd, channel) && is_answerable && taken == token)
        *last = now;
}

void channel_wake(const struct socket_object *sock, int fd, const struct channel *channel,
                  struct foyer_ring_waiter *waiter)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t token = atomic_load_explicit(&waiter->waiting, memory_order_acquire);
    if (token != 0)
        wake_announced(sock, fd, channel, waiter, token);
}

static ssize_t take_bytes(int fd, char *bytes, size_t size)
{
    if (likely(!preload_config.is_sandboxed))
        return raw_recv(fd, bytes, size, MSG_DONTWAIT);
    return sandbox_allows(fd, POLLIN) ? (ssize_t)RAW(SYS_read, fd, bytes, size) : -EAGAIN;
}

void socket_announce(struct socket_object *sock, int fd, uint32_t events)
{
    struct channel *channel = socket_channel(sock, fd);
    if (channel == NULL)
        return; /* listening or fresh: the kernel, or foyerd without being asked */
    /* The reader's announcement also stands for FIN and reset, which everybody hears of. */
    foyer_ring_announce_reader(&channel->rx);
    if (sock->type == SOCK_DGRAM)
        direct_announce(sock, fd);
    if ((events & (POLLOUT | POLLWRNORM | POLLWRBAND)) != 0)
        foyer_ring_announce_writer(&channel->tx);
}

void socket_announce_as(struct socket_object *sock, int fd, uint32_t events, uint32_t sleeper,
                        uint32_t token)
{
    struct channel *channel = socket_channel(sock, fd);
    if (channel == NULL)
        return;
    foyer_ring_announce_as(&channel->rx.shared->reader_waiter, sleeper, token);
    if (sock->type == SOCK_DGRAM)
        direct_announce_as(sock, fd, token);
    if ((events & (POLLOUT | POLLWRNORM | POLLWRBAND)) != 0)
        foyer_ring_announce_as(&channel->tx.shared->writer_waiter, sleeper, token);
}

void socket_retract(struct socket_object *sock, uint32_t token)
{
    const struct channel *channel = socket_channel_now(sock);
    if (channel == NULL)
        return;
    foyer_ring_retract(&channel->rx.shared->reader_waiter, token);
    foyer_ring_retract(&channel->tx.shared->writer_waiter, token);
    if (sock->type == SOCK_DGRAM)
        direct_retract(sock, token);
}

/* Who drains needs a few microseconds of a core, and may wait long for these; unless it is dead. */
static void await_drainer(struct foyer_slot *slot, unsigned tries)
{
    uint32_t drainer = atomic_load(&slot->bell_drainer);
    /* This very thread: we are in a signal handler, and it goes on after us. */
    bool is_gone = drainer == (uint32_t)preload_thread_id() ||
                   (tries > BELL_YIELDS && drainer != 0 && thread_is_dead(drainer));
    if (is_gone && atomic_compare_exchange_strong(&slot->bell_drainer, &drainer, 0))
        atomic_fetch_and(&slot->bell_sleepers, ~BELL_DRAINING);
    sched_yield();
}

void bell_enter(struct socket_object *sock)
{
    struct foyer_slot *slot = sock->slot;
    uint32_t word = atomic_load(&slot->bell_sleepers);
    for (unsigned tries = 0;; tries++) {
        uint32_t free_bits = ~word & BELL_PLACE_BITS;
        uint32_t bit = free_bits & -free_bits;
        if ((word & BELL_DRAINING) != 0) {
            await_drainer(slot, tries);
            word = atomic_load(&slot->bell_sleepers);
        } else if (atomic_compare_exchange_weak(&slot->bell_sleepers, &word,
                                                word + (bit != 0 ? bit : BELL_ONE_MORE))) {
            if (bit != 0)
                atomic_store(&slot->bell_threads[__builtin_ctz(bit)],
                             (uint32_t)preload_thread_id());
            return;
        }
    }
}

void bell_leave(struct socket_object *sock)
{
    struct foyer_slot *slot = sock->slot;
    uint32_t self = (uint32_t)preload_thread_id();
    for (unsigned i = 0; i < FOYER_SLOT_BELL_PLACES; i++) {
        if (atomic_load_explicit(&slot->bell_threads[i], memory_order_relaxed) == self) {
            atomic_store(&slot->bell_threads[i], 0);
            atomic_fetch_and(&slot->bell_sleepers, ~(1u << i));
            return;
        }
    }
    atomic_fetch_sub(&slot->bell_sleepers, BELL_ONE_MORE);
}

/* Takes those out that were killed in their sleep. */
static void bury_dead(struct foyer_slot *slot)
{
    for (unsigned i = 0; i < FOYER_SLOT_BELL_PLACES; i++) {
        uint32_t id = atomic_load(&slot->bell_threads[i]);
        if (id != 0 && thread_is_dead(id) &&
            atomic_compare_exchange_strong(&slot->bell_threads[i], &id, 0))
            atomic_fetch_and(&slot->bell_sleepers, ~(1u << i));
    }
}

static void drain(struct socket_object *sock, int fd)
{
    char bytes[256];
    ssize_t size;
    int saved_errno = errno;
    do {
        /* Another thread may have closed fd, and it may be something else by now. */
        if (table_peek(fd) != &sock->object)
            break;
        size = take_bytes(fd, bytes, sizeof(bytes));
        if (size == 0 || size == -ECONNRESET)
            socket_note_orphan(sock);
    } while (size == (ssize_t)sizeof(bytes));
    errno = saved_errno;
}

bool bell_drain(struct socket_object *sock, int fd, unsigned rounds)
{
    struct foyer_slot *slot = sock->slot;
    uint32_t nobody = 0, no_drainer = 0;
    if (slot_state(sock) == FOYER_SLOT_LISTENING)
        return true; /* those bytes are connections */
    if (atomic_compare_exchange_strong(&slot->bell_drainer, &no_drainer,
                                       (uint32_t)preload_thread_id())) {
        bool is_mine = atomic_compare_exchange_strong(&slot->bell_sleepers, &nobody, BELL_DRAINING);
        if (is_mine && slot_state(sock) != FOYER_SLOT_LISTENING)
            drain(sock, fd);
        if (is_mine)
            atomic_fetch_and(&slot->bell_sleepers, ~BELL_DRAINING);
        atomic_store(&slot->bell_drainer, 0);
        if (is_mine)
            return true;
    } else {
        await_drainer(slot, rounds);
    }
    if (rounds == 0)
        return false;
    if (rounds >= BELL_PATIENCE)
        bury_dead(slot);
    if (rounds < BELL_YIELDS) {
        sched_yield();
    } else {
        struct timespec nap = {.tv_nsec = rounds < 2 * BELL_PATIENCE ? 100000 : 1000000};
        RAW(SYS_nanosleep, &nap, NULL);
    }
    return false;
}

/* ---- spinning ------------------------------------------------------------------------------ */

/*
 * Spinning pays where the peer runs on another core and answers within the time that a sleep and
 * a wake-up cost. Each thread learns from its last tries whether that is so. Where there are more
 * threads to run than cores, a thread that spins keeps the core from the very one that would
 * answer. The scheduler then takes the core away in the middle of a spin, and the clock shows it
 * as a gap between two looks: such a thread does not spin again for a while. In proportion to the gap:
 * another thread's turn takes milliseconds, an interrupt or the machine under a virtual one tens of
 * microseconds, some fifty times a second.
 */
#define SPIN_GAP_NS 15000 /* no look takes so long by itself */
#define SPIN_CLOCK_NS 300 /* between two looks at the clock, about */
#define SPIN_PAUSE_GAPS 8 /* how long: so many gaps */
static __thread unsigned spin_credit __attribute__((tls_model("initial-exec"))) = 4;
static __thread unsigned spin_skipped __attribute__((tls_model("initial-exec")));
static __thread int64_t spin_again_ns __attribute__((tls_model("initial-exec")));

bool wait_look(bool (*holds)(void *context), void *context, long limit_us)
{
    int64_t now = clock_ns(), end = now + limit_us * 1000;
    unsigned looks = 1; /* between two looks at the clock; one at a full epoll set takes long */
    do {
        for (unsigned i = 0; i < looks; i++) {
            if (holds(context))
                return true;
            pause_cpu();
        }
        int64_t before = now;
        now = clock_ns();
        if (now - before > SPIN_GAP_NS) {
            spin_again_ns = now + SPIN_PAUSE_GAPS * (now - before);
            break;
        }
        if (now - before < SPIN_CLOCK_NS && looks < 16)
            looks *= 2;
    } while (now < end);
    return false;
}

bool wait_spin(bool (*holds)(void *context), void *context)
{
    if (preload_config.spin_us == 0)
        return false;
    if (spin_credit == 0 && ++spin_skipped < 32)
        return false;
    spin_skipped = 0;
    if (clock_ns() < spin_again_ns)
        return false;
    bool is_paid = wait_look(holds, context, preload_config.spin_us);
    if (is_paid && spin_credit < 8)
        spin_credit++;
    if (!is_paid && spin_credit > 0)
        spin_credit--;
    return is_paid;
}

/* ---- waiting ------------------------------------------------------------------------------- */

bool wait_holds(struct socket_object *sock, int fd, const struct wait *wait)
{
    uint32_t state = slot_state(sock);
    if (state != FOYER_SLOT_CONNECTED && state != FOYER_SLOT_DATAGRAM)
        return state != FOYER_SLOT_CONNECTING;
    if (atomic_load_explicit(&sock->slot->error, memory_order_relaxed) != 0)
        return true;
    const struct channel *channel = socket_channel(sock, fd);
    if (channel == NULL || socket_is_reset(sock, channel))
        return true;
    uint32_t options = slot_options(sock);
    if (wait->events == POLLIN) {
        uint32_t need = wait->need_bytes != 0 ? wait->need_bytes : 1;
        return foyer_ring_used(&channel->rx) >= need || (options & FOYER_SLOT_SHUT_READ) != 0 ||
               (sock->type == SOCK_DGRAM && direct_has_data(sock, fd)) ||
               atomic_load(&channel->rx.shared->writer_state) != FOYER_RING_OPEN;
    }
    return has_room(channel, wait->need_bytes) ||
           ((options & FOYER_SLOT_SHUT_WRITE) != 0 && !wait->is_closing) ||
           atomic_load(&channel->tx.shared->reader_state) != FOYER_RING_OPEN;
}

struct sleeper {
    struct socket_object *sock;
    int fd;
    const struct wait *wait;
};

static bool sleeper_holds(void *context)
{
    struct sleeper *sleeper = context;
    return wait_holds(sleeper->sock, sleeper->fd, sleeper->wait);
}

/* A cancelled thread leaves nothing behind: neither its count nor its caller's reference. */
static void sleeper_cancelled(void *context)
{
    struct sleeper *sleeper = context;
    bell_leave(sleeper->sock);
    socket_release(sleeper->sock);
}

static int sleep_poll(int fd, int64_t deadline_ns)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    struct timespec memory;
    int64_t left_ns = deadline_left_ns(deadline_ns);
    if (left_ns == 0)
        return -EAGAIN;
    int count = REAL(ppoll)(&item, 1, time_limit(left_ns, &memory), NULL);
    if (count > 0)
        return (item.revents & POLLNVAL) != 0 ? -EBADF : 0;
    return count == 0 ? -EAGAIN : -errno;
}

static int sleep_recv(struct socket_object *sock, int fd)
{
    char byte;
    ssize_t size = REAL(recv)(fd, &byte, 1, MSG_PEEK);
    if (size > 0)
        return 0;
    if (size == 0 || errno == ECONNRESET) {
        socket_note_orphan(sock);
        return 0;
    }
    /* The kernel's file may be non-blocking though the slot says otherwise. */
    return errno == EAGAIN ? sleep_poll(fd, NO_DEADLINE) : -errno;
}

int wait_sleep(struct socket_object *sock, int fd, struct wait *wait)
{
    struct sleeper sleeper = {.sock = sock, .fd = fd, .wait = wait};
    if (wait->rounds == 0 && wait_spin(sleeper_holds, &sleeper))
        return 0;
    if (wait->rounds > 0)
        bell_drain(sock, fd, wait->rounds);
    wait->rounds++;
    socket_announce(sock, fd, wait->events);
    int result = 0;
    bell_enter(sock);
    if (!wait_holds(sock, fd, wait)) {
        if (table_peek(fd) != &sock->object) {
            result = -EBADF;
        } else {
            pthread_cleanup_push(sleeper_cancelled, &sleeper);
            if (wait->deadline_ns == NO_DEADLINE && !wait->is_partial &&
                !preload_config.is_sandboxed)
                result = sleep_recv(sock, fd);
            else
                result = sleep_poll(fd, wait->deadline_ns);
            pthread_cleanup_pop(0);
        }
        bell_leave(sock);
        bell_drain(sock, fd, 0);
    } else {
        bell_leave(sock);
    }
    return result;
}
