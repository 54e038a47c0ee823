/*
 * foyerd's life: lock, socket, detaching, the loop and its end. Called by main.c.
 *
 * Start-up order matters: the lock first, so that only its holder may replace a socket file that
 * a killed foyerd has left; readiness is told when connect can succeed.
 */
#define _GNU_SOURCE

#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/psocket.h"
#include "daemon/relay.h"
#include "daemon/session.h"
#include "registry/registry.h"

#define DAEMON_ROUNDS_MAX 8 /* of the hosts, per turn */
#define DAEMON_ACCEPTS_MAX 64

/* ---- the work of a turn ---------------------------------------------------------------------- */

/* Output of one host may be input of another, so this goes round until nothing moves. */
static void serve_hosts(struct daemon *daemon)
{
    for (unsigned round = 0; round < DAEMON_ROUNDS_MAX; round++) {
        struct list_node batch;
        struct list_node *node;
        if (list_is_empty(&daemon->dirty_hosts))
            return;
        list_init(&batch);
        list_splice_back(&batch, &daemon->dirty_hosts);
        while ((node = list_pop_front(&batch)) != NULL) {
            struct building_host *host = LIST_ENTRY(node, struct building_host, dirty_node);
            bool has_more = fabric_from_host(&daemon->fabric, host);
            has_more = relay_events(host) || has_more;
            if (has_more)
                building_host_touch(host);
            building_host_schedule(host); /* may destroy it */
        }
    }
}

static void turn_work(void *context)
{
    struct daemon *daemon = context;
    serve_hosts(daemon);
    relay_settle(daemon);
    if (!list_is_empty(&daemon->dirty_hosts))
        loop_again(&daemon->loop);
}

/* ---- accepting sessions ------------------------------------------------------------------------ */

/* Out of descriptors, the listener stays readable: look again later, not in a circle. */
#define DAEMON_ACCEPT_PAUSE_NS (100 * FOYER_NS_PER_MS)

static void accept_again(struct loop_timer *timer)
{
    struct daemon *daemon = LIST_ENTRY(timer, struct daemon, accept_timer);
    loop_watch_change(&daemon->loop, &daemon->listener, EPOLLIN);
}

static void pause_accepting(struct daemon *daemon)
{
    log_warning("a session can't be accepted: %s", strerror(errno));
    loop_watch_change(&daemon->loop, &daemon->listener, 0);
    loop_timer_set(&daemon->loop, &daemon->accept_timer,
                   daemon->loop.now_ns + DAEMON_ACCEPT_PAUSE_NS, accept_again);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    struct daemon *daemon = LIST_ENTRY(watch, struct daemon, listener);
    (void)events;
    for (unsigned i = 0; i < DAEMON_ACCEPTS_MAX; i++) {
        // cppcheck-suppress nullPointer
        int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
                pause_accepting(daemon);
            return;
        }
        int error = session_create(daemon, fd, NULL);
        if (error != 0)
            log_warning("a session can't be made: %s", strerror(-error));
    }
}

static void signal_ready(struct watch *watch, uint32_t events)
{
    struct daemon *daemon = LIST_ENTRY(watch, struct daemon, signals);
    struct signalfd_siginfo info;
    (void)events;
    if (read(watch->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        log_info("signal %u from pid %u", info.ssi_signo, info.ssi_pid);
        daemon_stop(daemon);
    }
}

void daemon_stop(struct daemon *daemon)
{
    daemon->loop.is_stopping = true;
}

/* ---- start-up ------------------------------------------------------------------------------------ */

static void *allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context;
    (void)size;
    free(memory);
}

/* Three descriptors per connection: as many as we may have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/*
 * Says why on standard error, which the starter has directed to where people look; the end of
 * file on the readiness descriptor tells it that there is something to look at.
 */
static int give_up(const char *what, int error)
{
    fprintf(stderr, "foyerd: %s: %s\n", what, strerror(-error));
    return 1;
}

static int take_lock(struct daemon *daemon)
{
    int fd = open(daemon->paths.lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno == EWOULDBLOCK ? -EALREADY : -errno;
        close(fd);
        return error;
    }
    daemon->lock_fd = fd; /* held until the process ends */
    return 0;
}

static int open_listener(struct daemon *daemon)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, daemon->paths.socket, strlen(daemon->paths.socket) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    unlink(daemon->paths.socket); /* of a foyerd that was killed: we hold the lock */
    mode_t mask = umask(0177);
    int error = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
    umask(mask);
    if (error == 0 && listen(fd, 1024) != 0)
        error = -errno;
    if (error == 0)
        error = loop_watch(&daemon->loop, &daemon->listener, fd, EPOLLIN, listener_ready);
    if (error != 0)
        close(fd);
    return error;
}

static int watch_signals(struct daemon *daemon)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    return loop_watch(&daemon->loop, &daemon->signals, fd, EPOLLIN, signal_ready);
}

/* Own session, log to the file, away from the starter's directory and terminal. */
static int detach(const struct daemon *daemon)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log_fd =
        open(daemon->paths.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (null_fd < 0 || log_fd < 0)
        return -errno;
    setsid(); /* EPERM: it leads one already */
    if (chdir("/") != 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0)
        return -errno;
    close(null_fd);
    close(log_fd);
    return 0;
}

static int init(struct daemon *daemon, const struct daemon_options *options)
{
    uint8_t key[16];
    daemon->allocator = (struct foyer_allocator){allocate, release, NULL};
    if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
        return -EIO;
    daemon->key = siphash_key_from(key);
    list_init(&daemon->active);
    list_init(&daemon->dirty_hosts);
    list_init(&daemon->sessions);
    direct_init(&daemon->directs);
    list_init(&daemon->kept);
    int error = loop_init(&daemon->loop, turn_work, daemon);
    if (error == 0)
        error = hash_table_init(&daemon->psockets, &daemon->allocator);
    if (error == 0)
        error = fabric_init(&daemon->fabric, daemon);
    if (error == 0)
        error = building_init(&daemon->building, daemon, daemon->paths.building, options->net4,
                              options->net6);
    daemon->started_ns = daemon->loop.now_ns;
    if (foyer_registry_create(&daemon->registry) == 0)
        foyer_registry_load_default(daemon->registry, NULL, NULL);
    return error;
}

/* The building's end: every program's socket hangs up, every link is let go. */
static void finish(struct daemon *daemon)
{
    loop_unwatch(&daemon->loop, &daemon->listener);
    unlink(daemon->paths.socket); /* before the sessions end: nobody is to find a closed door */
    close(daemon->listener.fd);
    close(daemon->lock_fd); /* whoever sees its session end may start the next foyerd */
    session_end_all(daemon);
    LIST_FOREACH (&daemon->building.hosts, node) {
        struct building_host *host = LIST_ENTRY(node, struct building_host, node);
        struct list_node *socket_node;
        while ((socket_node = list_first(&host->sockets)) != NULL)
            psocket_close(LIST_ENTRY(socket_node, struct psocket, host_node));
    }
    turn_work(daemon); /* resets and FINs go out */
    fabric_finish(&daemon->fabric);
    building_finish(&daemon->building);
    hash_table_finish(&daemon->psockets);
    foyer_registry_destroy(daemon->registry);
    loop_unwatch(&daemon->loop, &daemon->signals);
    close(daemon->signals.fd);
    loop_finish(&daemon->loop);
}

static int serve(struct daemon *daemon, const struct daemon_options *options)
{
    log_info("foyerd %s serves building %s as pid %d", FOYER_VERSION, daemon->paths.building,
             (int)getpid());
    if (options->ready_fd >= 0) {
        ssize_t written = write(options->ready_fd, "0", 1);
        (void)written;
        close(options->ready_fd);
    }
    int error = loop_run(&daemon->loop);
    if (error != 0)
        log_error("epoll: %s", strerror(-error));
    finish(daemon);
    log_info("foyerd is down");
    return error == 0 ? 0 : 1;
}

int daemon_run(const struct daemon_options *options)
{
    static struct daemon daemon; /* large, and one per process */
    int error = paths_init(&daemon.paths, options->building);
    if (error == -EINVAL)
        return give_up("the building's name must be a label of a-z, 0-9 and -", error);
    if (error != 0)
        return give_up("the runtime directory's path is too long, set FOYER_DIR", error);
    error = paths_prepare(&daemon.paths);
    if (error != 0)
        return give_up(daemon.paths.directory, error);
    error = take_lock(&daemon);
    if (error == -EALREADY)
        return give_up("another foyerd serves this building", error);
    if (error != 0)
        return give_up(daemon.paths.lock, error);
    raise_descriptor_limit();
    error = init(&daemon, options);
    if (error != 0)
        return give_up("starting", error);
    error = watch_signals(&daemon);
    if (error == 0)
        error = open_listener(&daemon);
    if (error == 0 && !options->foreground)
        error = detach(&daemon);
    if (error != 0)
        return give_up(daemon.paths.socket, error);
    return serve(&daemon, options);
}
