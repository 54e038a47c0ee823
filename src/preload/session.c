/*
 * The process's session with foyerd: opened at the first request, one request at a time.
 *
 * It comes through the birth channel (a socket pair whose other end foyerd gets), which works
 * after chroot and setuid, else by foyerd's path. A forked child opens its own, since requests
 * and replies of two processes would mix.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "preload/raw.h"

#define ARENAS_MAX 4096u
#define ARENA_SIZE ((size_t)FOYER_ARENA_SLOT_COUNT * FOYER_SLOT_SIZE)

struct arena {
    uint32_t number;
    uint32_t epoch; /* of the foyerd that made it: a new one counts from 1 again */
    _Atomic(void *) memory;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int session_fd = -1;
static pid_t session_pid;
static pid_t parent_pid;
static uint32_t epoch = 1;
static bool is_birth_dead;
static _Atomic bool warned_gone;
static _Atomic bool is_other_build; /* a foyerd that runs, but not one for this module */
static struct arena arenas[ARENAS_MAX];
static _Atomic uint32_t arena_count;

void session_warn_gone(void)
{
    char line[200];
    if (atomic_exchange(&warned_gone, true))
        return;
    snprintf(line, sizeof(line),
             atomic_load(&is_other_build)
                 ? "foyer: foyerd is of another build than this program's foyer module (host %s); "
                   "start both anew, after: foyer down --force"
                 : "foyer: foyerd is not running any more (host %s); start it with: foyer up",
             preload_config.host);
    preload_warn(line);
}

/* ---- arenas -------------------------------------------------------------------------------- */

void *session_arena(uint32_t number)
{
    uint32_t count = atomic_load_explicit(&arena_count, memory_order_acquire);
    for (uint32_t i = count; i-- > 0;) {
        if (arenas[i].number == number && arenas[i].epoch == epoch)
            return atomic_load(&arenas[i].memory);
    }
    return NULL;
}

/* Never unmapped: the sockets in it may outlive the session that brought it. */
void *session_add_arena(uint32_t number, int memfd)
{
    void *known = session_arena(number);
    if (known != NULL || atomic_load(&arena_count) >= ARENAS_MAX) {
        raw_close(memfd);
        return known;
    }
    void *memory = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    raw_close(memfd);
    if (memory == MAP_FAILED)
        return NULL;
    uint32_t index = atomic_load(&arena_count);
    arenas[index].number = number;
    arenas[index].epoch = epoch;
    atomic_store(&arenas[index].memory, memory);
    atomic_store_explicit(&arena_count, index + 1, memory_order_release);
    return memory;
}

/* ---- opening ------------------------------------------------------------------------------- */

static int open_through_birth(void)
{
    int ends[2];
    if (preload_config.birth_fd < 0 || is_birth_dead)
        return -ENOENT;
    int error = (int)RAW(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
    if (error < 0)
        return error;
    struct foyer_request request = {.type = FOYER_REQUEST_SESSION, .size = sizeof(request)};
    struct message_fds fds = {.fds = {ends[1]}, .count = 1};
    ssize_t sent = message_send(preload_config.birth_fd, &request, sizeof(request), &fds, 0);
    raw_close(ends[1]);
    if (sent < 0) {
        raw_close(ends[0]);
        is_birth_dead = true;
        return (int)sent;
    }
    return ends[0];
}

/* foyer-supervise's sockets are the supervised program's. */
static int32_t acts_for(void)
{
    const char *text = getenv("FOYER_ACTS_FOR");
    long pid = text != NULL ? strtol(text, NULL, 10) : 0;
    return pid > 0 && pid <= INT32_MAX ? (int32_t)pid : 0;
}

static int greet(int fd)
{
    struct foyer_welcome welcome;
    struct message_fds fds;
    struct foyer_hello hello = {
        .header = {.type = FOYER_REQUEST_HELLO, .size = sizeof(hello)},
        .version = protocol_build(),
        .role = FOYER_ROLE_PROGRAM,
        .parent_pid = parent_pid,
        .acts_for_pid = acts_for(),
    };
    memcpy(hello.host, preload_config.host, sizeof(hello.host));
    prctl(PR_GET_NAME, hello.program);
    memset(&welcome, 0, sizeof(welcome));
    ssize_t size = message_call(fd, &hello, sizeof(hello), NULL, &welcome, sizeof(welcome), &fds);
    if (size < 0) /* -EMSGSIZE: a welcome of another layout */
        return size == -EMSGSIZE ? -EPROTO : (int)size;
    int arena = message_fds_take(&fds, 0);
    message_fds_close(&fds);
    if ((size_t)size < sizeof(welcome) || welcome.header.error != 0 || arena < 0) {
        if (arena >= 0)
            raw_close(arena);
        return welcome.header.error != 0 ? -welcome.header.error : -EPROTO;
    }
    return session_add_arena(welcome.arena, arena) != NULL ? 0 : -ENOMEM;
}

static int session_open(void)
{
    int fd = open_through_birth();
    int error = fd < 0 ? fd : greet(fd);
    if (error == -EPIPE || error == -ECONNREFUSED || error == -ECONNRESET || fd < 0) {
        if (fd >= 0)
            raw_close(fd);
        is_birth_dead = true;
        fd = message_connect(preload_config.socket_path);
        error = fd < 0 ? fd : greet(fd);
    }
    if (fd >= 0 && error < 0)
        raw_close(fd);
    atomic_store(&is_other_build, error == -EPROTO);
    if (error < 0) {
        /* Descriptors and memory are this process's own trouble; all else means foyerd. */
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM ? error : -ENETDOWN;
    }
    fd = table_hide(fd);
    if (fd < 0)
        return fd;
    session_fd = fd;
    session_pid = (pid_t)RAW(SYS_getpid);
    return 0;
}

static void session_close(void)
{
    table_close_hidden(session_fd);
    session_fd = -1;
}

/* ---- requests ------------------------------------------------------------------------------ */

/* A socket's id means nothing to another foyerd; these requests have none. */
static bool is_repeatable(const struct foyer_request *request)
{
    return request->type == FOYER_REQUEST_SOCKET || request->type == FOYER_REQUEST_RESOLVE;
}

static ssize_t call_once(struct foyer_request *request, const struct message_fds *fds,
                         struct foyer_reply *ret_reply, size_t reply_size,
                         struct message_fds *ret_fds)
{
    /* Also true in a child made by clone(), of which pthread_atfork knows nothing. */
    if (session_fd >= 0 && session_pid != (pid_t)RAW(SYS_getpid)) {
        parent_pid = session_pid;
        session_close();
    }
    if (session_fd < 0) {
        int error = session_open();
        if (error < 0)
            return error;
    }
    ssize_t size =
        message_call(session_fd, request, request->size, fds, ret_reply, reply_size, ret_fds);
    return size == -EPIPE || size == -ECONNRESET || size == -ENOTCONN ? -EPIPE : size;
}

int session_call(struct foyer_request *request, const struct message_fds *fds,
                 struct foyer_reply *ret_reply, size_t reply_size, struct message_fds *ret_fds)
{
    sigset_t all, before;
    sigfillset(&all);
    raw_sigmask(SIG_BLOCK, &all, &before);
    pthread_mutex_lock(&mutex);
    memset(ret_reply, 0, reply_size);
    ssize_t size = call_once(request, fds, ret_reply, reply_size, ret_fds);
    if (size == -EPIPE) {
        session_close();
        epoch++;
        keep_drop_connecting();
        size = is_repeatable(request) ? call_once(request, fds, ret_reply, reply_size, ret_fds)
                                      : -ENETDOWN;
        if (size == -EPIPE)
            size = -ENETDOWN;
    }
    pthread_mutex_unlock(&mutex);
    raw_sigmask(SIG_SETMASK, &before, NULL);
    if (size == -ENETDOWN)
        session_warn_gone();
    if (size < 0)
        return (int)size;
    if (ret_reply->error != 0)
        return ret_reply->error > 0 && ret_reply->error < 4096 ? -ret_reply->error : -EPROTO;
    if ((size_t)size < reply_size) {
        if (ret_fds != NULL)
            message_fds_close(ret_fds);
        return -EPROTO;
    }
    return 0;
}

void session_tell(struct foyer_request *request)
{
    sigset_t all, before;
    sigfillset(&all);
    raw_sigmask(SIG_BLOCK, &all, &before);
    pthread_mutex_lock(&mutex);
    if (session_fd >= 0 && session_pid == (pid_t)RAW(SYS_getpid))
        message_send(session_fd, request, request->size, NULL, 0);
    else if (session_fd < 0 && session_open() == 0)
        message_send(session_fd, request, request->size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    raw_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- fork ---------------------------------------------------------------------------------- */

static sigset_t fork_mask;

void session_fork_prepare(void)
{
    sigset_t all, before;
    sigfillset(&all);
    raw_sigmask(SIG_BLOCK, &all, &before);
    direct_fork_prepare();
    pthread_mutex_lock(&mutex);
    keep_fork_prepare();
    fork_mask = before;
}

void session_fork_parent(void)
{
    sigset_t before = fork_mask;
    keep_fork_parent();
    table_fork_parent();
    if (session_fd >= 0 && session_pid == (pid_t)RAW(SYS_getpid)) {
        /* Answered, so that nothing can overtake it. foyerd's end shows at the next request. */
        struct foyer_request request = {.type = FOYER_REQUEST_FORKED, .size = sizeof(request)};
        struct foyer_reply reply;
        message_call(session_fd, &request, request.size, NULL, &reply, sizeof(reply), NULL);
    }
    pthread_mutex_unlock(&mutex);
    direct_fork_parent();
    raw_sigmask(SIG_SETMASK, &before, NULL);
}

void session_fork_child(void)
{
    sigset_t before = fork_mask;
    pthread_mutex_unlock(&mutex);
    direct_fork_child();
    keep_fork_child();
    table_fork_child();
    spare_fork_child();
    if (session_fd >= 0) {
        /* Else foyerd would not see the parent's end while this process lives. */
        parent_pid = session_pid;
        session_close();
    }
    raw_sigmask(SIG_SETMASK, &before, NULL);
}
