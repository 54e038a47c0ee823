/*
 * epoll_create, epoll_ctl and what becomes of a set when a descriptor is closed or the process forks.
 * The theory is in epoll_private.h.
 */
#define _GNU_SOURCE

#include "preload/epoll_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "preload/raw.h"
#include "preload/real.h"

static pthread_mutex_t epolls_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct epoll_object *) epolls;

#define WORDS_MAX 1024u
static _Atomic uint32_t *words; /* for epoll_object.waiters */
static uint32_t word_count;     /* of those that are free */

/* ---- objects ------------------------------------------------------------------------------- */

static uint32_t random_u32(void)
{
    uint32_t value;
    if (getrandom(&value, sizeof(value), 0) != (ssize_t)sizeof(value))
        value = (uint32_t)clock_ns();
    return value;
}

static struct object *epoll_object_create(void)
{
    pthread_mutex_lock(&epolls_lock);
    struct epoll_object *epoll = epolls;
    while (epoll != NULL && epoll->object.kind != OBJECT_NONE)
        epoll = epoll->next;
    if (epoll == NULL) {
        epoll = calloc(1, sizeof(*epoll));
        if (epoll != NULL) {
            pthread_mutex_init(&epoll->lock, NULL);
            epoll->next = epolls;
            epolls = epoll;
        }
    }
    if (epoll != NULL) {
        /* No pointer of a user and no small number has this bit. */
        epoll->tag = random_u32() | 1u << 31;
        epoll->sleeper = random_u32() | 1u;
        epoll->token = random_u32();
        if (epoll->waiters != NULL && atomic_load(epoll->waiters) > 0)
            epoll->waiters = NULL; /* still in use where it was inherited */
        epoll->has_joined = false;
        epoll->object.kind = OBJECT_EPOLL;
        atomic_store(&epoll->object.fd_count, 0);
        atomic_store(&epoll->sleepers, 0);
        epoll->is_nested = false;
        atomic_store(&epoll->object.references, 1);
    }
    pthread_mutex_unlock(&epolls_lock);
    return epoll == NULL ? NULL : &epoll->object;
}

/* A word that the child has, too. */
static _Atomic uint32_t *shared_word(void)
{
    static _Atomic uint32_t unknown = 2; /* without memory: as if there were others */
    if (word_count == 0) {
        void *memory = mmap(NULL, WORDS_MAX * sizeof(*words), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return &unknown;
        words = memory;
        word_count = WORDS_MAX;
    }
    return &words[--word_count];
}

static void count_in(struct epoll_object *epoll)
{
    epoll->has_joined = true;
    atomic_fetch_add(epoll->waiters, 1);
}

/* The child might wait on what it has inherited, and take a doorbell that was ours. */
void epoll_fork_prepare(void)
{
    for (struct epoll_object *epoll = epolls; epoll != NULL; epoll = epoll->next) {
        if (epoll->object.kind != OBJECT_EPOLL)
            continue;
        if (epoll->waiters == NULL)
            epoll->waiters = shared_word();
        if (!epoll->has_joined && atomic_load(&epoll->sleepers) > 0)
            count_in(epoll);
    }
}

void epoll_fork_child(void)
{
    pthread_mutex_init(&epolls_lock, NULL);
    word_count = 0; /* the others are the parent's */
    for (struct epoll_object *epoll = epolls; epoll != NULL; epoll = epoll->next) {
        epoll->sleeper = random_u32() | 1u;
        epoll->token = random_u32(); /* so that it cannot take the parent's announcements back */
        epoll->has_joined = false;
        epoll->parked_count = 0;
        for (uint32_t i = 0; i < epoll->item_count; i++)
            epoll->items[i].is_parked = false;
        pthread_mutex_init(&epoll->lock, NULL);
        atomic_store(&epoll->sleepers, 0); /* those threads are not in this process */
    }
}

/* ---- registrations, all with the lock held --------------------------------------------------- */

static struct registration *find(struct epoll_object *epoll, int fd)
{
    uint32_t index = (unsigned)fd < epoll->by_fd_size ? epoll->by_fd[fd] : 0;
    return index == 0 ? NULL : &epoll->items[index - 1];
}

bool epoll_grow(void **array, uint32_t *capacity, uint32_t need, size_t item_size)
{
    uint32_t size = *capacity < 16 ? 16 : *capacity;
    while (size < need)
        size *= 2;
    if (size == *capacity)
        return true;
    void *bigger = realloc(*array, size * item_size);
    if (bigger == NULL)
        return false;
    memset((uint8_t *)bigger + *capacity * item_size, 0, (size - *capacity) * item_size);
    *array = bigger;
    *capacity = size;
    return true;
}

void epoll_activate(struct epoll_object *epoll, struct registration *item)
{
    item->idle_looks = 0;
    if (item->is_active)
        return;
    item->is_active = true;
    epoll->active[epoll->active_count++] = epoll_index_of(epoll, item);
}

/*
 * Another process may have taken doorbells, and answered announcements, of which this one knows
 * nothing: it looks at all once more. What it announces from now on is no other process's to retract.
 */
void epoll_join(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    if (!epoll->has_joined) {
        count_in(epoll);
        for (uint32_t i = 0; i < epoll->item_count; i++) {
            if (epoll->items[i].sock != NULL)
                epoll_activate(epoll, &epoll->items[i]);
        }
    }
    pthread_mutex_unlock(&epoll->lock);
}

static struct registration *add(struct epoll_object *epoll, int fd, struct socket_object *sock)
{
    uint32_t index = epoll->free_head != 0 ? epoll->free_head - 1 : epoll->item_count;
    /* Each registration is in the active list at most once. */
    if (!epoll_grow((void **)&epoll->items, &epoll->item_capacity, index + 1,
                    sizeof(*epoll->items)) ||
        !epoll_grow((void **)&epoll->active, &epoll->active_capacity, epoll->item_capacity,
                    sizeof(*epoll->active)) ||
        !epoll_grow((void **)&epoll->by_fd, &epoll->by_fd_size, (uint32_t)fd + 1, sizeof(uint32_t)))
        return NULL;
    struct registration *item = &epoll->items[index];
    if (epoll->free_head != 0)
        epoll->free_head = item->next_free;
    else
        epoll->item_count++;
    bool was_active = item->is_active; /* its old entry in the active list serves again */
    *item = (struct registration){.sock = sock, .fd = fd, .is_active = was_active};
    epoll->by_fd[fd] = index + 1;
    atomic_fetch_add(&sock->object.references, 1);
    atomic_fetch_add(&sock->watch_count, 1);
    return item;
}

struct socket_object *epoll_drop(struct epoll_object *epoll, struct registration *item)
{
    struct socket_object *sock = item->sock;
    uint32_t index = epoll_index_of(epoll, item);
    if ((unsigned)item->fd < epoll->by_fd_size && epoll->by_fd[item->fd] == index + 1)
        epoll->by_fd[item->fd] = 0;
    item->sock = NULL;
    item->next_free = epoll->free_head;
    epoll->free_head = index + 1;
    atomic_fetch_sub(&sock->watch_count, 1);
    return sock;
}

/* A number of the epoll's; -1: not known. */
static int epfd_of(const struct epoll_object *epoll)
{
    if (table_peek(epoll->epfd) == &epoll->object)
        return epoll->epfd;
    for (uint32_t fd = 0; fd < table_size; fd++) {
        if (table_peek((int)fd) == &epoll->object)
            return (int)fd;
    }
    return -1;
}

/* The file stays open under a number of ours, so the kernel must be told. */
static void forget_in_kernel(const struct epoll_object *epoll, const struct registration *item,
                             int fd)
{
    int epfd = epfd_of(epoll);
    if (item->fd != fd || epfd < 0 || raw_epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL) < 0)
        atomic_store(&item->sock->is_shared, true); /* then it must not be kept */
}

/* ---- sockets and sets that go ---------------------------------------------------------------- */

void epoll_forget_socket(struct socket_object *sock, int fd, bool is_kept)
{
    if (atomic_load(&sock->watch_count) == 0)
        return;
    for (struct epoll_object *epoll = epolls; epoll != NULL; epoll = epoll->next) {
        if (epoll->object.kind != OBJECT_EPOLL)
            continue;
        unsigned dropped = 0;
        pthread_mutex_lock(&epoll->lock);
        struct registration *item = find(epoll, fd);
        if (item != NULL && item->sock == sock) {
            if (is_kept)
                forget_in_kernel(epoll, item, fd);
            epoll_drop(epoll, item);
            dropped++;
        }
        struct watched_listener *listener;
        while ((listener = epoll_listener_find(epoll, sock, -1)) != NULL) {
            epoll_listener_drop(epoll, listener);
            dropped++;
        }
        /* Registered under another number, of a duplicate that is closed already. */
        for (uint32_t i = 0; i < epoll->item_count && atomic_load(&sock->watch_count) > 0; i++) {
            /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there are items */
            if (epoll->items[i].sock == sock) {
                if (is_kept)
                    forget_in_kernel(epoll, &epoll->items[i], fd);
                epoll_drop(epoll, &epoll->items[i]);
                dropped++;
            }
        }
        bool has_sleepers = dropped > 0 && atomic_load(&epoll->sleepers) > 0;
        int epfd = epoll->epfd;
        pthread_mutex_unlock(&epoll->lock);
        /* A doorbell that was to stand for others may go with the descriptor. */
        if (has_sleepers && table_peek(epfd) == &epoll->object)
            epoll_settle(epoll, epfd, false, true);
        while (dropped-- > 0)
            socket_release(sock);
    }
}

void epoll_drop_listener(int fd)
{
    for (uint32_t epfd = 0; epfd < table_size; epfd++) {
        struct object *object = atomic_load_explicit(&table[epfd], memory_order_relaxed);
        if (object != NULL && object->kind == OBJECT_EPOLL)
            raw_epoll_ctl((int)epfd, EPOLL_CTL_DEL, fd, NULL);
    }
}

/* Nobody holds the object any more, so nobody holds the lock. */
void epoll_destroy(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->item_count; i++) {
        if (epoll->items[i].sock != NULL)
            socket_release(epoll_drop(epoll, &epoll->items[i]));
    }
    while (epoll->listener_count > 0) {
        struct socket_object *sock = epoll->listeners[0].sock;
        epoll_listener_drop(epoll, &epoll->listeners[0]);
        socket_release(sock);
    }
    free(epoll->items);
    free(epoll->active);
    free(epoll->parked);
    free(epoll->by_fd);
    epoll->items = NULL;
    epoll->active = epoll->by_fd = epoll->parked = NULL;
    epoll->parked_count = epoll->parked_capacity = 0;
    epoll->item_count = epoll->item_capacity = epoll->free_head = 0;
    epoll->active_count = epoll->active_capacity = epoll->by_fd_size = 0;
    if (epoll->has_joined)
        atomic_fetch_sub(epoll->waiters, 1);
    pthread_mutex_unlock(&epoll->lock);
    epoll->object.kind = OBJECT_NONE;
}

/* ---- control --------------------------------------------------------------------------------- */

void epoll_remove_now(struct epoll_object *epoll, int epfd, struct registration *item)
{
    raw_epoll_ctl(epfd, EPOLL_CTL_DEL, item->fd, NULL);
    /* Not the last reference: as above. */
    socket_release(epoll_drop(epoll, item));
}

static int control_add(struct epoll_object *epoll, int epfd, int fd, struct socket_object *sock,
                       const struct epoll_event *event)
{
    struct registration *stale = find(epoll, fd), *item;
    if (stale != NULL && stale->sock == sock)
        return -EEXIST;
    if (stale != NULL)
        epoll->by_fd[fd] = 0; /* another socket's, alive by a duplicate; it stays registered */
    item = add(epoll, fd, sock);
    if (item == NULL)
        return -ENOMEM;
    item->events = event->events & ~(uint32_t)EPOLLEXCLUSIVE;
    item->data = event->data;
    epoll_activate(epoll, item);
    int error = epoll_arm(epoll, epfd, item, EPOLL_CTL_ADD);
    if (error < 0)
        socket_release(epoll_drop(epoll, item));
    return error;
}

static int control_modify(struct epoll_object *epoll, int epfd, struct registration *item,
                          const struct epoll_event *event)
{
    if ((event->events & EPOLLEXCLUSIVE) != 0)
        return -EINVAL;
    item->events = event->events;
    item->data = event->data;
    item->is_disabled = false;
    item->has_reported = false;
    if (epoll_hand_to_kernel(epoll, epfd, item))
        return 0;
    epoll_activate(epoll, item);
    /* Only those who sleep in this very moment need to hear of it. */
    if (atomic_load(&epoll->sleepers) > 0)
        epoll_arm(epoll, epfd, item, EPOLL_CTL_MOD);
    return 0;
}

/*
 * Many event loops take a descriptor out and put it back for each request. So a removed one stays in
 * the kernel's set, silent, until its next doorbell; put back before that, it costs no system call.
 */
static int control_remove(struct epoll_object *epoll, int epfd, struct registration *item)
{
    if (epoll->is_nested) {
        epoll_remove_now(epoll, epfd, item);
        return 0;
    }
    item->is_removed = item->is_disabled = true;
    return 0;
}

/* The same descriptor and socket again, after control_remove. */
static int control_put_back(struct epoll_object *epoll, int epfd, struct registration *item,
                            const struct epoll_event *event)
{
    item->is_removed = item->is_disabled = item->has_reported = false;
    item->events = event->events & ~(uint32_t)EPOLLEXCLUSIVE;
    item->data = event->data;
    epoll_activate(epoll, item);
    if (atomic_load(&epoll->sleepers) > 0)
        epoll_arm(epoll, epfd, item, EPOLL_CTL_MOD);
    return 0;
}

static int control(struct epoll_object *epoll, int epfd, int operation, int fd,
                   struct socket_object *sock, struct epoll_event *event)
{
    int error = -EINVAL;
    pthread_mutex_lock(&epoll->lock);
    struct registration *item = find(epoll, fd);
    bool is_ours = item != NULL && item->sock == sock;
    bool was_removed = is_ours && item->is_removed;
    if (was_removed && slot_state(sock) == FOYER_SLOT_LISTENING) {
        epoll_remove_now(epoll, epfd, item);
        is_ours = was_removed = false;
    }
    if (was_removed && operation != EPOLL_CTL_ADD) {
        error = -ENOENT;
    } else if (was_removed) {
        error = event == NULL ? -EFAULT : control_put_back(epoll, epfd, item, event);
    } else if (!is_ours &&
               (operation != EPOLL_CTL_ADD || slot_state(sock) == FOYER_SLOT_LISTENING)) {
        struct epoll_event copy = {0};
        bool is_listener = event != NULL && slot_state(sock) == FOYER_SLOT_LISTENING;
        if (is_listener) {
            copy.events = epoll_listener_events(event->events);
            copy.data = event->data;
        }
        error = raw_epoll_ctl(epfd, operation, fd, is_listener ? &copy : event);
        struct watched_listener *listener = epoll_listener_find(epoll, sock, fd);
        if (error == 0 && is_listener && operation != EPOLL_CTL_DEL) {
            epoll_listener_note(epoll, epfd, fd, sock, event);
        } else if (error == 0 && operation == EPOLL_CTL_DEL && listener != NULL) {
            if (keep_poll_fd(sock) >= 0)
                raw_epoll_ctl(epfd, EPOLL_CTL_DEL, keep_poll_fd(sock), NULL);
            epoll_listener_drop(epoll, listener);
            socket_release(sock); /* not the last: our caller has one */
        }
    } else if (operation == EPOLL_CTL_ADD) {
        error = event == NULL ? -EFAULT : control_add(epoll, epfd, fd, sock, event);
    } else if (operation == EPOLL_CTL_MOD) {
        error = event == NULL ? -EFAULT : control_modify(epoll, epfd, item, event);
    } else if (operation == EPOLL_CTL_DEL) {
        error = control_remove(epoll, epfd, item);
    }
    pthread_mutex_unlock(&epoll->lock);
    return error;
}

struct epoll_object *epoll_get(int epfd)
{
    struct object *object = table_get(epfd);
    if (object == NULL || object->kind == OBJECT_HIDDEN)
        return NULL;
    if (object->kind == OBJECT_EPOLL)
        return (struct epoll_object *)object;
    object_release(object);
    return NULL;
}

/* An epoll goes into another one. */
static int nest(int epfd, int operation, int fd, struct epoll_event *event)
{
    int result = REAL(epoll_ctl)(epfd, operation, fd, event);
    struct epoll_object *inner = result == 0 ? epoll_get(fd) : NULL;
    if (inner != NULL) {
        if (operation != EPOLL_CTL_DEL) {
            inner->is_nested = true;
            epoll_forbid_kept(inner);
            epoll_settle(inner, fd, true, true);
        }
        object_release(&inner->object);
    }
    return result;
}

ENTRY int epoll_ctl(int epfd, int operation, int fd, struct epoll_event *event)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(epoll_ctl)(epfd, operation, fd, event);
    if (table_is_hidden(fd) || table_is_hidden(epfd))
        return result_int(-EBADF);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return nest(epfd, operation, fd, event);
    struct epoll_object *epoll = epoll_get(epfd);
    int result;
    if (epoll == NULL) {
        table_note_shared(fd); /* a set that we know nothing of would keep it */
        result = REAL(epoll_ctl)(epfd, operation, fd, event);
    } else {
        result = result_int(control(epoll, epfd, operation, fd, sock, event));
    }
    if (epoll != NULL)
        object_release(&epoll->object);
    socket_release(sock);
    return result;
}

static int created(int epfd)
{
    if (epfd < 0 || !preload_config.is_enabled)
        return epfd;
    struct object *object = epoll_object_create();
    if (object == NULL) {
        raw_close(epfd);
        return result_int(-ENOMEM);
    }
    ((struct epoll_object *)object)->epfd = epfd;
    table_replace(epfd, object);
    object_release(object);
    return epfd;
}

ENTRY int epoll_create(int size)
{
    return created(REAL(epoll_create)(size));
}

ENTRY int epoll_create1(int flags)
{
    return created(REAL(epoll_create1)(flags));
}
