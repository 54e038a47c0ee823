/*
 * Descriptor -> object, read without locks by every call of the program.
 *
 * A reader loads the entry, takes a reference unless the count is 0, and looks at the entry again:
 * if it is still the same, the reference is on the right object. This is safe because an object's
 * memory is only ever reused for an object of the same kind (pools below). Nothing here takes a
 * lock or calls malloc, since close() may be called in a signal handler.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <sys/mman.h>

#include "preload/raw.h"

_Atomic(struct object *) *table;
uint32_t table_size;
int table_hidden_base;

static struct object hidden_object = {.kind = OBJECT_HIDDEN, .references = 1};

/* ---- pools --------------------------------------------------------------------------------- */

/* A stack of free indexes; the head's upper half counts, against ABA. */
struct pool {
    uint8_t *memory;
    _Atomic uint32_t *next;
    size_t item_size;
    uint32_t capacity;
    _Atomic uint32_t used;      /* items below were given out at least once */
    _Atomic uint64_t free_head; /* count << 32 | index + 1 */
};

static struct pool socket_pool, channel_pool;

static void *reserve(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool pool_init(struct pool *pool, size_t item_size, uint32_t capacity)
{
    pool->item_size = (item_size + 63) & ~(size_t)63;
    pool->capacity = capacity;
    pool->memory = reserve(pool->item_size * capacity);
    pool->next = reserve(sizeof(uint32_t) * capacity);
    return pool->memory != NULL && pool->next != NULL;
}

static void *pool_take(struct pool *pool, uint32_t *ret_index)
{
    uint64_t head = atomic_load(&pool->free_head);
    while ((uint32_t)head != 0) {
        uint32_t index = (uint32_t)head - 1;
        uint64_t after = ((head >> 32) + 1) << 32 | atomic_load(&pool->next[index]);
        if (atomic_compare_exchange_weak(&pool->free_head, &head, after)) {
            *ret_index = index;
            return pool->memory + pool->item_size * index;
        }
    }
    uint32_t index = atomic_fetch_add(&pool->used, 1);
    if (index >= pool->capacity) {
        atomic_fetch_sub(&pool->used, 1);
        return NULL;
    }
    *ret_index = index;
    return pool->memory + pool->item_size * index;
}

static void pool_give(struct pool *pool, uint32_t index)
{
    uint64_t head = atomic_load(&pool->free_head), after;
    do {
        atomic_store(&pool->next[index], (uint32_t)head);
        after = ((head >> 32) + 1) << 32 | (index + 1);
    } while (!atomic_compare_exchange_weak(&pool->free_head, &head, after));
}

/* ---- objects ------------------------------------------------------------------------------- */

bool table_init(uint32_t capacity, int hidden_base)
{
    table = reserve(sizeof(*table) * capacity);
    if (table == NULL)
        return false;
    /* Calls in progress may keep a few more objects alive than there are descriptors. */
    uint32_t objects = capacity + 1024;
    if (!pool_init(&socket_pool, sizeof(struct socket_object), objects) ||
        !pool_init(&channel_pool, sizeof(struct channel), objects))
        return false;
    table_hidden_base = hidden_base;
    table_size = capacity;
    return true;
}

struct socket_object *socket_object_create(void)
{
    uint32_t index = 0;
    struct socket_object *sock = pool_take(&socket_pool, &index);
    if (sock == NULL)
        return NULL;
    /* references stays 0 meanwhile: readers with an old pointer keep off. */
    sock->object.kind = OBJECT_SOCKET;
    sock->object.pool_index = index;
    atomic_store(&sock->object.fd_count, 0);
    atomic_store(&sock->channel, NULL);
    atomic_store(&sock->no_space_count, 0);
    atomic_store(&sock->bell_count, 0);
    atomic_store(&sock->watch_count, 0);
    atomic_store(&sock->connect_pending, false);
    atomic_store(&sock->direct, NULL);
    atomic_store(&sock->relayed_count, 0);
    atomic_store(&sock->is_shared, false);
    sock->hidden_fd = -1;
    sock->set_fd = -1;
    sock->is_armed = false;
    sock->listener_id = 0;
    sock->listener_slot = NULL;
    sock->slot = NULL;
    sock->id = 0;
    atomic_store_explicit(&sock->object.references, 1, memory_order_release);
    return sock;
}

void table_each_socket(void (*visit)(struct socket_object *sock))
{
    uint32_t used = atomic_load(&socket_pool.used);
    for (uint32_t i = 0; i < used && i < socket_pool.capacity; i++)
        visit((struct socket_object *)(void *)(socket_pool.memory + socket_pool.item_size * i));
}

static void object_destroy(struct object *object)
{
    if (object->kind == OBJECT_EPOLL) {
        epoll_destroy((struct epoll_object *)object);
        return;
    }
    struct socket_object *sock = (struct socket_object *)object;
    keep_drop_hidden(sock);
    channel_destroy_all(atomic_exchange(&sock->channel, NULL));
    direct_destroy(sock);
    pool_give(&socket_pool, object->pool_index);
}

void object_release(struct object *object)
{
    if (atomic_fetch_sub(&object->references, 1) == 1)
        object_destroy(object);
}

struct object *table_get(int fd)
{
    if ((unsigned)fd >= table_size)
        return NULL;
    for (;;) {
        struct object *object = atomic_load(&table[fd]);
        if (object == NULL || object->kind == OBJECT_HIDDEN)
            return object;
        uint32_t count = atomic_load_explicit(&object->references, memory_order_relaxed);
        while (count != 0 && !atomic_compare_exchange_weak(&object->references, &count, count + 1))
            ;
        if (count == 0)
            continue; /* it is going; the entry is empty or another one by now */
        if (likely(atomic_load(&table[fd]) == object))
            return object;
        object_release(object);
    }
}

struct socket_object *table_get_socket(int fd)
{
    struct object *object = table_get(fd);
    if (object == NULL || object->kind == OBJECT_HIDDEN)
        return NULL;
    if (likely(object->kind == OBJECT_SOCKET))
        return (struct socket_object *)object;
    object_release(object);
    return NULL;
}

/* ---- entries ------------------------------------------------------------------------------- */

/*
 * The descriptor, the last one of its socket here, is about to be closed. Where no other call is
 * in progress nobody will touch the rings again, and foyerd may hear that with the hang-up.
 */
static void leave_channel(struct socket_object *sock)
{
    struct channel *channel = socket_channel_now(sock);
    if (channel != NULL && channel->id != 0 && channel->next == NULL &&
        !atomic_load(&channel->is_shared) && atomic_load(&sock->object.references) == 1)
        atomic_fetch_or(&sock->slot->options, FOYER_SLOT_CHANNEL_LEFT);
}

/* The last number of a socket goes. is_open: as below. */
static void socket_dropped(int fd, struct socket_object *sock, bool is_open)
{
    bool may_leave = is_open && sock->slot != NULL && keep_may_leave(sock);
    if (sock->slot != NULL && slot_state(sock) == FOYER_SLOT_LISTENING)
        keep_listener_over(sock);
    epoll_forget_socket(sock, fd, is_open && (may_leave || sock->hidden_fd >= 0));
    direct_leave(sock);
    if (may_leave && keep_leave(sock, fd))
        return;
    if (is_open) {
        keep_say_end(sock);
        leave_channel(sock);
    }
    keep_drop_hidden(sock);
}

/* is_open: the kernel's descriptor is still there, so foyerd has not seen its end. */
static void entry_dropped(int fd, struct object *object, bool is_open)
{
    if (object == NULL || object->kind == OBJECT_HIDDEN)
        return;
    bool was_last = atomic_fetch_sub(&object->fd_count, 1) == 1;
    if (was_last && object->kind == OBJECT_SOCKET)
        socket_dropped(fd, (struct socket_object *)object, is_open);
    object_release(object);
}

void table_replace(int fd, struct object *object)
{
    if ((unsigned)fd >= table_size)
        return;
    if (object != NULL) {
        atomic_fetch_add(&object->references, 1);
        atomic_fetch_add(&object->fd_count, 1);
    }
    entry_dropped(fd, atomic_exchange(&table[fd], object), false);
}

void table_set(int fd, struct object *object)
{
    table_replace(fd, object);
}

bool table_clear(int fd)
{
    if (table_peek(fd) == NULL || table_is_hidden(fd))
        return false;
    struct object *object = atomic_exchange(&table[fd], NULL);
    entry_dropped(fd, object, true);
    return object != NULL;
}

void table_mark_hidden(int fd)
{
    if ((unsigned)fd < table_size)
        atomic_store(&table[fd], &hidden_object);
}

int table_hide(int fd)
{
    int high = raw_fcntl(fd, F_DUPFD_CLOEXEC, table_hidden_base);
    raw_close(fd);
    if (high < 0)
        return high == -EINVAL ? -EMFILE : high;
    table_mark_hidden(high);
    return high;
}

void table_close_hidden(int fd)
{
    if (fd < 0)
        return;
    if ((unsigned)fd < table_size)
        atomic_store(&table[fd], NULL);
    raw_close(fd);
}

/* ---- channels ------------------------------------------------------------------------------ */

/*
 * Mappings of connections that are over. foyerd gives their memory to the next connection between
 * the same two programs, which then needs no mapping and meets no page fault. Nobody waits for
 * the lock, so that close() may be called by a signal handler.
 */
#define MAPPINGS_MAX 64u

struct mapping {
    uint64_t id;
    void *memory;
    size_t size;
};

static struct mapping mappings[MAPPINGS_MAX];
static uint32_t mapping_next; /* the oldest, which is replaced */
static atomic_flag mappings_lock = ATOMIC_FLAG_INIT;

/* False: the mapping was not kept. */
static bool keep_mapping(const struct channel *channel)
{
    if (channel->id == 0 || atomic_load(&channel->is_shared) ||
        atomic_flag_test_and_set_explicit(&mappings_lock, memory_order_acquire))
        return false;
    struct mapping *place = &mappings[mapping_next % MAPPINGS_MAX];
    for (uint32_t i = 0; i < MAPPINGS_MAX; i++) {
        if (mappings[i].memory == NULL) {
            place = &mappings[i];
            break;
        }
    }
    if (place->memory != NULL) {
        munmap(place->memory, place->size);
        mapping_next++;
    }
    *place = (struct mapping){channel->id, channel->memory, channel->size};
    atomic_flag_clear_explicit(&mappings_lock, memory_order_release);
    return true;
}

/* MAP_FAILED: there is none. */
static void *take_mapping(uint64_t id, size_t size)
{
    void *memory = MAP_FAILED;
    if (id == 0 || atomic_flag_test_and_set_explicit(&mappings_lock, memory_order_acquire))
        return memory;
    for (uint32_t i = 0; i < MAPPINGS_MAX; i++) {
        if (mappings[i].memory != NULL && mappings[i].id == id && mappings[i].size == size) {
            memory = mappings[i].memory;
            mappings[i].memory = NULL;
            break;
        }
    }
    atomic_flag_clear_explicit(&mappings_lock, memory_order_release);
    return memory;
}

static uint32_t pool_used(struct pool *pool)
{
    uint32_t used = atomic_load(&pool->used);
    return used < pool->capacity ? used : pool->capacity;
}

static struct socket_object *pool_socket(uint32_t index)
{
    return (struct socket_object *)(void *)(socket_pool.memory + socket_pool.item_size * index);
}

void table_spawn(void)
{
    for (uint32_t i = 0; i < pool_used(&channel_pool); i++) {
        uint8_t *item = channel_pool.memory + channel_pool.item_size * i;
        atomic_store(&((struct channel *)(void *)item)->is_shared, true);
    }
    for (uint32_t i = 0; i < pool_used(&socket_pool); i++)
        atomic_store(&pool_socket(i)->is_shared, true);
}

static bool is_listener(const struct socket_object *sock)
{
    return sock->slot != NULL && slot_state(sock) == FOYER_SLOT_LISTENING;
}

void table_fork_parent(void)
{
    table_spawn();
    for (uint32_t i = 0; i < pool_used(&socket_pool); i++) {
        struct socket_object *sock = pool_socket(i);
        if (atomic_load(&sock->object.references) > 0 && is_listener(sock))
            keep_listener_shared(sock);
    }
}

void table_note_shared(int fd)
{
    struct socket_object *sock = table_peek(fd) == NULL ? NULL : table_get_socket(fd);
    if (sock == NULL)
        return;
    atomic_store(&sock->is_shared, true);
    if (is_listener(sock))
        keep_listener_shared(sock);
    socket_release(sock);
}

void table_fork_child(void)
{
    table_spawn();
    for (uint32_t i = 0; i < pool_used(&socket_pool); i++) {
        struct socket_object *sock = pool_socket(i);
        sock->set_fd = -1; /* that is the parent's */
        if (atomic_load(&sock->object.references) > 0)
            keep_drop_hidden(sock);
    }
    /* Another thread may have been at it: then what it was about to note stays mapped. */
    for (uint32_t i = 0; i < MAPPINGS_MAX; i++) {
        if (mappings[i].memory != NULL)
            munmap(mappings[i].memory, mappings[i].size);
        mappings[i].memory = NULL;
    }
    atomic_flag_clear(&mappings_lock);
}

struct channel *channel_create(int memfd, uint32_t ring_size, unsigned side, int bell)
{
    return channel_create_kept(0, memfd, ring_size, side, bell);
}

void channel_use_nooks(struct channel *channel, unsigned side)
{
    struct foyer_channel *memory = channel->memory;
    channel->tx_nook = memory->nooks[side & 1];
    channel->rx_nook = memory->nooks[(side ^ 1) & 1];
}

/* Maps the rings; memfd and, on failure, bell are closed. */
struct channel *channel_create_kept(uint64_t id, int memfd, uint32_t ring_size, unsigned side,
                                    int bell)
{
    uint32_t index = 0;
    struct channel *channel = NULL;
    void *memory = MAP_FAILED;
    size_t size = foyer_channel_size(ring_size);
    bool is_valid = ring_size >= FOYER_RING_SIZE_MIN && ring_size <= FOYER_RING_SIZE_MAX &&
                    (ring_size & (ring_size - 1)) == 0;
    if (is_valid)
        memory = take_mapping(id, size);
    if (is_valid && memory == MAP_FAILED)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
    raw_close(memfd);
    if (memory != MAP_FAILED)
        channel = pool_take(&channel_pool, &index);
    if (channel == NULL) {
        if (memory != MAP_FAILED)
            munmap(memory, size);
        table_close_hidden(bell);
        return NULL;
    }
    channel->next = NULL;
    channel->id = id;
    atomic_store(&channel->is_shared, false);
    atomic_store(&channel->is_moved, false);
    channel->pool_index = index;
    channel->bell = bell;
    channel->rx_nook = channel->tx_nook = NULL;
    atomic_store(&channel->hold_off_bytes, 0);
    channel->memory = memory;
    channel->size = size;
    channel->tx = foyer_channel_ring(memory, ring_size, side);
    channel->rx = foyer_channel_ring(memory, ring_size, side ^ 1);
    return channel;
}

void channel_destroy_all(struct channel *channel)
{
    while (channel != NULL) {
        struct channel *next = channel->next;
        if (!keep_mapping(channel))
            munmap(channel->memory, channel->size);
        table_close_hidden(channel->bell);
        pool_give(&channel_pool, channel->pool_index);
        channel = next;
    }
}

/* Older channels stay mapped: another thread may be looking at them. */
void socket_add_channel(struct socket_object *sock, struct channel *channel)
{
    struct channel *before = atomic_load(&sock->channel);
    do
        channel->next = before;
    while (!atomic_compare_exchange_weak(&sock->channel, &before, channel));
}
