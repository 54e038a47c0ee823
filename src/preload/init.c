/*
 * Start of the module in a process: whether it does anything at all, where hidden descriptors
 * live, and which inherited descriptors are foyer's.
 *
 * Without FOYER_SOCKET, FOYER_HOST and LD_PRELOAD's own mention nothing happens and every call
 * passes through.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "preload/raw.h"
#include "preload/real.h"

#define SPIN_DEFAULT_US 30
#define SPIN_MAX_US 1000

#define HIDDEN_BASE_MAX 32768
#define CAPACITY_MAX (1u << 20)

struct real_functions real_functions;
struct preload_config preload_config = {.birth_fd = -1};

/* ---- libc ---------------------------------------------------------------------------------- */

void real_resolve(void)
{
    /*
     * dlsym itself calls none of ours. Another thread doing the same stores the same pointers.
     */
#define RESOLVE(name)                                                                              \
    if (real_functions.name == NULL)                                                               \
        real_functions.name = (__typeof__(real_functions.name))dlsym(RTLD_NEXT, #name);
    REAL_LIST(RESOLVE)
#undef RESOLVE
}

/* ---- small things -------------------------------------------------------------------------- */

void preload_warn(const char *text)
{
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)},
        {.iov_base = (void *)(uintptr_t) "\n", .iov_len = 1},
    };
    if (table_peek(2) == NULL)
        RAW(SYS_writev, 2, parts, 2);
}

static __thread int thread_id __attribute__((tls_model("initial-exec")));

int preload_thread_id(void)
{
    if (unlikely(thread_id == 0))
        thread_id = (int)RAW(SYS_gettid);
    return thread_id;
}

void preload_forget_thread_id(void)
{
    thread_id = 0;
}

/* ---- inherited descriptors ----------------------------------------------------------------- */

/* The socket's id, if the other end of fd is a daemon end: "\0foyer/<16 hex digits>". */
static bool parse_peer_name(int fd, uint64_t *ret_id)
{
    static const char prefix[] = "foyer/";
    const size_t offset = offsetof(struct sockaddr_un, sun_path) + 1;
    struct sockaddr_un peer;
    socklen_t size = sizeof(peer);
    char digits[17];
    char *end;
    memset(&peer, 0, sizeof(peer));
    if (RAW(SYS_getpeername, fd, &peer, &size) < 0 || peer.sun_family != AF_UNIX)
        return false;
    if (size != offset + sizeof(prefix) - 1 + 16 || peer.sun_path[0] != 0 ||
        memcmp(peer.sun_path + 1, prefix, sizeof(prefix) - 1) != 0)
        return false;
    memcpy(digits, peer.sun_path + sizeof(prefix), 16);
    digits[16] = 0;
    *ret_id = strtoull(digits, &end, 16);
    return *end == 0 && *ret_id != 0;
}

/* Puts what foyerd says of the socket into an object. Descriptors in fds are used or closed. */
static struct socket_object *object_from_reply(const struct foyer_reply_attach *reply,
                                               struct message_fds *fds)
{
    int memfd = message_fds_take(fds, 0);
    void *arena = session_arena(reply->arena);
    if (memfd >= 0)
        arena = session_add_arena(reply->arena, memfd);
    struct foyer_slot *slot = arena == NULL ? NULL : foyer_arena_slot(arena, reply->slot);
    struct socket_object *sock = slot == NULL ? NULL : socket_object_create();
    if (sock == NULL)
        return NULL;
    sock->id = reply->header.id;
    atomic_store(&sock->is_shared, true);
    sock->slot = slot;
    sock->arena = reply->arena;
    sock->family = slot->family;
    sock->type = slot->type;
    if (reply->ring_size != 0) {
        int channel_fd = message_fds_take(fds, 1);
        int bell = reply->is_local ? message_fds_take(fds, 2) : -1;
        if (bell >= 0)
            bell = table_hide(bell);
        struct channel *channel = NULL;
        if (channel_fd >= 0 && (bell >= 0 || !reply->is_local))
            channel = channel_create(channel_fd, reply->ring_size, reply->side, bell);
        if (channel == NULL) {
            socket_release(sock);
            return NULL;
        }
        if (sock->slot->peer_arena != 0)
            channel_use_nooks(channel, reply->side);
        socket_add_channel(sock, channel);
    }
    return sock;
}

bool preload_adopt(int fd)
{
    uint64_t id;
    if (!parse_peer_name(fd, &id))
        return false;
    struct foyer_request request = {
        .type = FOYER_REQUEST_ATTACH, .size = sizeof(request), .id = id};
    struct foyer_reply_attach reply = {0};
    struct message_fds own = {.fds = {fd}, .count = 1}, fds = {.count = 0};
    int error = session_call(&request, &own, &reply.header, sizeof(reply), &fds);
    struct socket_object *sock = error < 0 ? NULL : object_from_reply(&reply, &fds);
    message_fds_close(&fds);
    if (sock == NULL)
        return false;
    table_replace(fd, &sock->object);
    socket_release(sock);
    return true;
}

/* Where another process of ours connected the socket, this one learns of the rings later. */
struct channel *socket_channel(struct socket_object *sock, int fd)
{
    struct channel *channel = socket_channel_now(sock);
    if (likely(channel != NULL))
        return channel;
    uint32_t state = slot_state(sock);
    if (state != FOYER_SLOT_CONNECTED && state != FOYER_SLOT_CONNECTING &&
        state != FOYER_SLOT_DATAGRAM)
        return NULL;
    struct foyer_request request = {
        .type = FOYER_REQUEST_ATTACH, .size = sizeof(request), .id = sock->id};
    struct foyer_reply_attach reply = {0};
    struct message_fds own = {.fds = {fd}, .count = 1}, fds = {.count = 0};
    if (session_call(&request, &own, &reply.header, sizeof(reply), &fds) == 0) {
        struct socket_object *other = object_from_reply(&reply, &fds);
        if (other != NULL) {
            /* Unless another thread was first. */
            struct channel *fetched = atomic_exchange(&other->channel, NULL);
            if (fetched != NULL &&
                !atomic_compare_exchange_strong(&sock->channel, &channel, fetched))
                channel_destroy_all(fetched);
            socket_release(other);
        }
    }
    message_fds_close(&fds);
    return socket_channel_now(sock);
}

void socket_follow_peer(const struct socket_object *sock, int fd)
{
    struct channel *channel = socket_channel_now(sock);
    if (channel == NULL || channel->bell < 0 || atomic_load(&channel->is_moved))
        return;
    struct foyer_request request = {
        .type = FOYER_REQUEST_ATTACH, .size = sizeof(request), .id = sock->id};
    struct foyer_reply_attach reply = {0};
    struct message_fds own = {.fds = {fd}, .count = 1}, fds = {.count = 0};
    int error = session_call(&request, &own, &reply.header, sizeof(reply), &fds);
    int bell = error == 0 && reply.is_local ? message_fds_take(&fds, 2) : -1;
    /* Under the same number: other threads may be about to ring. */
    if (bell >= 0) {
        RAW(SYS_dup3, bell, channel->bell, O_CLOEXEC);
        raw_close(bell);
    }
    message_fds_close(&fds);
    atomic_store(&channel->is_moved, true);
}

struct linux_dirent64 {
    uint64_t d_ino;
    int64_t d_off;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[];
};

static void adopt_if_socket(int fd)
{
    struct stat status;
    if (fd == preload_config.birth_fd || table_peek(fd) != NULL)
        return;
    if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
        preload_adopt(fd);
}

static void adopt_inherited(void)
{
    char buffer[4096] __attribute__((aligned(8)));
    int directory =
        (int)RAW(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (directory < 0) {
        /* No /proc (a chroot): the first descriptors are where inherited ones are. */
        for (int fd = 0; fd < 64; fd++)
            adopt_if_socket(fd);
        return;
    }
    long size;
    while ((size = RAW(SYS_getdents64, directory, buffer, sizeof(buffer))) > 0) {
        for (long at = 0; at < size;) {
            const struct linux_dirent64 *entry = (const void *)(buffer + at);
            at += entry->d_reclen;
            char *end;
            long fd = strtol(entry->d_name, &end, 10);
            if (*end == 0 && fd >= 0 && fd <= INT32_MAX && fd != directory)
                adopt_if_socket((int)fd);
        }
    }
    raw_close(directory);
}

/* ---- set-up -------------------------------------------------------------------------------- */

static bool copy_text(char *to, size_t size, const char *from)
{
    if (from == NULL || from[0] == 0 || strlen(from) >= size)
        return false;
    memcpy(to, from, strlen(from) + 1);
    return true;
}

static bool read_environment(void)
{
    struct preload_config *config = &preload_config;
    if (!copy_text(config->socket_path, sizeof(config->socket_path), getenv("FOYER_SOCKET")) ||
        !copy_text(config->host, sizeof(config->host), getenv("FOYER_HOST")))
        return false;
    const char *birth = getenv("FOYER_FD");
    if (birth != NULL && birth[0] != 0) {
        char *end;
        long fd = strtol(birth, &end, 10);
        struct stat status;
        if (*end == 0 && fd >= 0 && fd <= INT32_MAX && fstat((int)fd, &status) == 0 &&
            S_ISSOCK(status.st_mode))
            config->birth_fd = (int)fd;
    }
    const char *keep = getenv("FOYER_KEEP");
    config->keeps = keep == NULL || strcmp(keep, "0") != 0;
    const char *spin = getenv("FOYER_SPIN_US");
    config->spin_us = spin != NULL ? strtol(spin, NULL, 10) : SPIN_DEFAULT_US;
    if (config->spin_us < 0 || config->spin_us > SPIN_MAX_US ||
        REAL(sysconf)(_SC_NPROCESSORS_ONLN) < 2)
        config->spin_us = 0;
    return true;
}

/*
 * Programs believe the limit they were given; hidden descriptors need room above, so the soft
 * limit is the hard one in truth.
 */
static uint32_t raise_limit(void)
{
    struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
    RAW(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    preload_config.program_nofile = limit;
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (RAW(SYS_prlimit64, 0, RLIMIT_NOFILE, &raised, NULL) < 0)
        raised.rlim_cur = limit.rlim_cur;
    preload_config.real_nofile = raised.rlim_cur;
    return raised.rlim_cur > CAPACITY_MAX ? CAPACITY_MAX : (uint32_t)raised.rlim_cur;
}

static void atfork_prepare(void)
{
    session_fork_prepare();
    epoll_fork_prepare(); /* under its lock */
}

static void atfork_child(void)
{
    preload_forget_thread_id();
    session_fork_child();
    epoll_fork_child();
}

__attribute__((constructor)) static void preload_init(void)
{
    int saved_errno = errno;
    real_resolve();
    if (!read_environment())
        return;
    uint32_t capacity = raise_limit();
    uint32_t base = capacity / 2 < HIDDEN_BASE_MAX ? capacity / 2 : HIDDEN_BASE_MAX;
    if (preload_config.birth_fd >= (int)capacity || !table_init(capacity, (int)base)) {
        preload_warn("foyer: no memory for the table of sockets");
        return;
    }
    if (preload_config.birth_fd >= 0)
        table_mark_hidden(preload_config.birth_fd);
    preload_config.is_enabled = true;
    keep_init();
    pthread_atfork(atfork_prepare, session_fork_parent, atfork_child);
    process_init();
    adopt_inherited();
    stdio_init();
    errno = saved_errno;
}
