#include "daemon/direct.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/local.h"
#include "daemon/relay.h"

#define SWEEP_NS (10 * FOYER_NS_PER_S)
#define IDLE_SWEEPS 2u     /* without a datagram, until a ring is let go */
#define PER_HOST_MAX 4096u /* rings that lead to one host: a descriptor here for each */
#define FLUSH_ROUNDS 4u    /* of the sender's host, before the ring takes over */

struct direct {
    struct list_node port_node; /* of direct_table */
    struct list_node out_node;  /* of sender->direct_out; not while closing */
    struct list_node in_node;   /* of receiver->direct_in, in order of serial */
    struct psocket *sender;     /* NULL: closing */
    struct psocket *receiver;
    struct foyer_endpoint target, source;
    uint32_t serial;
    uint32_t start; /* of the receiver's relayed ring, when this one began */
    uint32_t end;   /* closing */
    uint32_t ring_size;
    uint32_t seen_head, idle_sweeps;
    int memfd;
    struct foyer_direct *control; /* hostile: written by both programs */
};

void direct_init(struct direct_table *table)
{
    for (unsigned i = 0; i < DIRECT_BUCKETS; i++)
        list_init(&table->by_port[i]);
}

static struct direct_table *table_of(const struct psocket *psocket)
{
    return &psocket->daemon->directs;
}

/* ---- the end of a ring ---------------------------------------------------------------------- */

static uint32_t head_of(const struct direct *direct)
{
    return atomic_load_explicit(&direct->control->ring.head, memory_order_acquire);
}

static uint32_t tail_of(const struct direct *direct)
{
    return atomic_load_explicit(&direct->control->ring.tail, memory_order_acquire);
}

/* The reader found it to make no sense. */
static bool is_spoilt(const struct direct *direct)
{
    return atomic_load(&direct->control->ring.reader_state) == FOYER_RING_RESET;
}

/* Whether the receiver has read all that it will read. */
static bool is_drained(const struct direct *direct)
{
    uint32_t left = (direct->sender != NULL ? head_of(direct) : direct->end) - tail_of(direct);
    return left == 0 || left > direct->ring_size || is_spoilt(direct);
}

static void detach_sender(struct direct *direct)
{
    if (direct->sender == NULL)
        return;
    list_remove(&direct->out_node);
    direct->sender->direct_out_count--;
    atomic_fetch_add(&direct->sender->slot->routes_generation, 1);
    direct->end = head_of(direct);
    direct->sender = NULL;
}

static void destroy(struct direct *direct)
{
    struct direct_table *table = table_of(direct->receiver);
    detach_sender(direct);
    direct->receiver->direct_dropped_count += atomic_load(&direct->control->dropped_count);
    atomic_fetch_add(&direct->receiver->slot->inbox_generation, 1);
    list_remove(&direct->in_node);
    direct->receiver->direct_in_count--;
    direct->receiver->host->direct_count--;
    list_remove(&direct->port_node);
    table->count--;
    munmap(direct->control, FOYER_DIRECT_DATA_OFFSET);
    close(direct->memfd);
    free(direct);
}

/* Nothing more goes in; what is in it can still be read. */
static void take_back(struct direct *direct)
{
    if (direct->sender == NULL)
        return;
    struct psocket *receiver = direct->receiver;
    detach_sender(direct);
    if (is_drained(direct)) {
        destroy(direct);
        return;
    }
    atomic_fetch_add(&receiver->slot->inbox_generation, 1);
    /* The sender may have died between its datagram and its doorbell. */
    psocket_ring_bell(receiver);
}

/* Lets go of what has been closed and read, or, with is_urgent, has not been used of late. */
static void collect(struct list_node *list, bool is_inbox, bool is_urgent)
{
    LIST_FOREACH_SAFE (list, node) {
        struct direct *direct = is_inbox ? LIST_ENTRY(node, struct direct, in_node)
                                         : LIST_ENTRY(node, struct direct, out_node);
        bool is_idle = direct->sender == NULL || is_spoilt(direct);
        if (is_urgent && direct->sender != NULL) {
            is_idle = head_of(direct) == direct->seen_head;
            direct->seen_head = head_of(direct);
        }
        if (is_idle && is_drained(direct))
            destroy(direct);
    }
}

static void sweep(struct loop_timer *timer)
{
    struct direct_table *table = LIST_ENTRY(timer, struct direct_table, timer);
    struct daemon *daemon = LIST_ENTRY(table, struct daemon, directs);
    for (unsigned i = 0; i < DIRECT_BUCKETS; i++) {
        LIST_FOREACH_SAFE (&table->by_port[i], node) {
            struct direct *direct = LIST_ENTRY(node, struct direct, port_node);
            bool is_used = direct->sender != NULL && head_of(direct) != direct->seen_head;
            direct->seen_head = head_of(direct);
            direct->idle_sweeps = is_used ? 0 : direct->idle_sweeps + 1;
            if ((direct->sender == NULL || direct->idle_sweeps >= IDLE_SWEEPS ||
                 is_spoilt(direct)) &&
                is_drained(direct))
                destroy(direct);
        }
    }
    if (table->count > 0)
        loop_timer_set(&daemon->loop, timer, daemon->loop.now_ns + SWEEP_NS, sweep);
}

static void take_back_port(const struct building_host *host, struct direct_table *table,
                           uint16_t port)
{
    LIST_FOREACH_SAFE (&table->by_port[port % DIRECT_BUCKETS], node) {
        struct direct *direct = LIST_ENTRY(node, struct direct, port_node);
        if (direct->target.port == port && direct->receiver->host == host)
            take_back(direct);
    }
}

void direct_names_change(struct psocket *psocket)
{
    struct foyer_socket_info info;
    struct direct_table *table = table_of(psocket);
    if (psocket->protocol != FOYER_UDP || table->count == 0)
        return;
    LIST_FOREACH_SAFE (&psocket->direct_out, node) {
        take_back(LIST_ENTRY(node, struct direct, out_node));
    }
    /* Also of others: a connected socket comes before one that is bound, and a group is shared. */
    if (foyer_socket_info(psocket->host->stack, psocket->stack, &info) == 0)
        take_back_port(psocket->host, table, info.local.port);
}

void direct_close(struct psocket *psocket)
{
    direct_names_change(psocket);
    LIST_FOREACH_SAFE (&psocket->direct_in, node) {
        destroy(LIST_ENTRY(node, struct direct, in_node));
    }
}

/* ---- a new ring ------------------------------------------------------------------------------ */

bool direct_flush(struct psocket *sender)
{
    struct building_host *host = sender->host;
    relay_poke(sender);
    for (unsigned round = 0; round < FLUSH_ROUNDS; round++) {
        bool has_more = fabric_from_host(&sender->daemon->fabric, host);
        struct foyer_ring tx = channel_ring(sender->channel, sender->side);
        /* Output that is lent leaves the ring with the next call. */
        if (!has_more && foyer_ring_used(&tx) == 0)
            return true;
    }
    return false;
}

/* The source that the stack would choose (ip_find_way). False: it would not send at all. */
static bool choose_source(const struct psocket *sender, const struct building_host *to,
                          const struct foyer_endpoint *target, struct foyer_endpoint *ret_source)
{
    struct foyer_socket_info info;
    bool is_v4 = foyer_addr_is_v4(&target->addr);
    uint32_t options = atomic_load(&sender->slot->options);
    if (foyer_socket_info(sender->host->stack, sender->stack, &info) != 0 || info.local.port == 0)
        return false;
    if (is_v4 ? sender->family == FOYER_FAMILY_V6 && (options & FOYER_SLOT_V6ONLY) != 0
              : sender->family == FOYER_FAMILY_V4)
        return false;
    *ret_source = info.local;
    if (foyer_addr_is_any(&info.local.addr))
        ret_source->addr = to == sender->host ? target->addr
                           : is_v4            ? sender->host->addr4
                                              : sender->host->addr6;
    /* RFC 1122 section 3.2.1.3 (g): loopback never leaves the host. */
    return foyer_addr_is_v4(&ret_source->addr) == is_v4 &&
           (to == sender->host || !foyer_addr_is_loopback(&ret_source->addr));
}

static struct psocket *find_receiver(const struct psocket *sender, struct building_host *to,
                                     const struct foyer_endpoint *target,
                                     const struct foyer_endpoint *source)
{
    struct psocket *receiver;
    do {
        foyer_socket found = foyer_socket_find(to->stack, FOYER_UDP, target, source);
        receiver = psocket_from_stack(sender->daemon, to, found);
    } while (receiver != NULL && receiver != sender && psocket_reap(receiver));
    return receiver != NULL && receiver->carrier == PSOCKET_RELAY && receiver->channel != NULL
               ? receiver
               : NULL;
}

static bool has_room(struct psocket *sender, struct psocket *receiver)
{
    if (sender->direct_out_count >= FOYER_DIRECT_MAX)
        collect(&sender->direct_out, false, true);
    if (receiver->direct_in_count >= FOYER_DIRECT_MAX ||
        receiver->host->direct_count >= PER_HOST_MAX)
        collect(&receiver->direct_in, true, true);
    return sender->direct_out_count < FOYER_DIRECT_MAX &&
           receiver->direct_in_count < FOYER_DIRECT_MAX &&
           receiver->host->direct_count < PER_HOST_MAX;
}

static uint32_t choose_ring_size(const struct psocket *receiver)
{
    uint32_t wish = receiver->slot->receive_buffer, size = FOYER_DIRECT_RING_SIZE_MIN;
    while (size < wish && size < FOYER_DIRECT_RING_SIZE_MAX)
        size *= 2;
    return size;
}

static uint32_t choose_limit(const struct psocket *receiver, uint32_t ring_size)
{
    uint32_t wish = receiver->slot->receive_buffer;
    return wish != 0 && wish < ring_size ? wish : ring_size;
}

static int create(struct psocket *sender, struct psocket *receiver,
                  const struct foyer_endpoint *target, const struct foyer_endpoint *source,
                  struct direct **ret_direct)
{
    struct direct_table *table = table_of(sender);
    struct direct *direct = calloc(1, sizeof(*direct));
    if (direct == NULL)
        return -ENOMEM;
    direct->ring_size = choose_ring_size(receiver);
    direct->memfd = memory_create("foyer-direct", foyer_direct_size(direct->ring_size));
    if (direct->memfd < 0) {
        int error = direct->memfd;
        free(direct);
        return error;
    }
    void *control =
        mmap(NULL, FOYER_DIRECT_DATA_OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, direct->memfd, 0);
    if (control == MAP_FAILED) {
        close(direct->memfd);
        free(direct);
        return -ENOMEM;
    }
    direct->control = control;
    direct->sender = sender;
    direct->receiver = receiver;
    direct->target = *target;
    direct->source = *source;
    direct->serial = ++receiver->direct_serial;
    struct foyer_ring relayed = channel_ring(receiver->channel, receiver->side ^ 1u);
    direct->start = foyer_ring_head(&relayed);
    atomic_store(&direct->control->limit_bytes, choose_limit(receiver, direct->ring_size));
    atomic_store(&direct->control->ring.reader_waiter.waiting, 1);
    list_push_back(&sender->direct_out, &direct->out_node);
    sender->direct_out_count++;
    list_push_back(&receiver->direct_in, &direct->in_node);
    receiver->direct_in_count++;
    receiver->host->direct_count++;
    list_push_back(&table->by_port[target->port % DIRECT_BUCKETS], &direct->port_node);
    if (table->count++ == 0)
        loop_timer_set(&sender->daemon->loop, &table->timer, sender->daemon->loop.now_ns + SWEEP_NS,
                       sweep);
    atomic_fetch_add(&receiver->slot->inbox_generation, 1);
    *ret_direct = direct;
    return 0;
}

static struct direct *find(const struct psocket *sender, const struct foyer_endpoint *target)
{
    LIST_FOREACH (&sender->direct_out, node) {
        struct direct *direct = LIST_ENTRY(node, struct direct, out_node);
        if (direct->target.port == target->port &&
            foyer_addr_eq(&direct->target.addr, &target->addr))
            return direct;
    }
    return NULL;
}

int direct_request(struct psocket *sender, const struct foyer_endpoint *target,
                   struct foyer_reply_direct *reply, struct message_fds *ret_fds)
{
    struct foyer_endpoint source;
    if (sender->protocol != FOYER_UDP || sender->carrier != PSOCKET_RELAY || target->port == 0)
        return EOPNOTSUPP;
    struct direct *direct = find(sender, target);
    /* The reader says that it has closed its socket: then so it is, before anything else is done. */
    if (direct != NULL && atomic_load(&direct->control->ring.reader_state) != FOYER_RING_OPEN &&
        direct->receiver != sender && psocket_reap(direct->receiver))
        direct = NULL;
    if (direct != NULL && is_spoilt(direct)) {
        destroy(direct);
        direct = NULL;
    }
    if (direct == NULL) {
        struct building_host *to = local_host_of(sender->host, &target->addr);
        if (to == NULL || !choose_source(sender, to, target, &source))
            return EOPNOTSUPP;
        struct psocket *receiver = find_receiver(sender, to, target, &source);
        if (receiver == NULL)
            return ECONNREFUSED;
        if (!direct_flush(sender))
            return EAGAIN;
        if (!has_room(sender, receiver))
            return ENOBUFS;
        int error = create(sender, receiver, target, &source, &direct);
        if (error != 0)
            return -error;
    }
    reply->ring_size = direct->ring_size;
    reply->generation = atomic_load(&sender->slot->routes_generation);
    reply->source = direct->source.addr;
    ret_fds->fds[0] = direct->memfd;
    ret_fds->count = 1;
    return 0;
}

/* ---- the receiver's view ------------------------------------------------------------------- */

static void describe(const struct direct *direct, struct foyer_reply_inbox *reply,
                     struct message_fds *ret_fds)
{
    struct foyer_direct_entry *entry = &reply->entries[reply->entry_count++];
    entry->serial = direct->serial;
    entry->ring_size = direct->ring_size;
    entry->start = direct->start;
    entry->local = direct->target.addr;
    entry->source = direct->source;
    ret_fds->fds[ret_fds->count++] = direct->memfd;
}

int direct_inbox(struct psocket *receiver, uint32_t after, struct foyer_reply_inbox *reply,
                 struct message_fds *ret_fds)
{
    if (receiver->protocol != FOYER_UDP)
        return EOPNOTSUPP;
    collect(&receiver->direct_in, true, false);
    reply->generation = atomic_load(&receiver->slot->inbox_generation);
    LIST_FOREACH (&receiver->direct_in, node) {
        const struct direct *direct = LIST_ENTRY(node, struct direct, in_node);
        struct foyer_direct_state *state = &reply->states[reply->state_count++];
        *state = (struct foyer_direct_state){direct->serial, direct->end, direct->sender == NULL};
        if (direct->serial <= after)
            continue;
        if (ret_fds->count == FOYER_MESSAGE_FDS_MAX)
            reply->has_more = 1;
        else
            describe(direct, reply, ret_fds);
    }
    return 0;
}

void direct_ring_receivers(struct psocket *sender)
{
    LIST_FOREACH (&sender->direct_out, node) {
        struct direct *direct = LIST_ENTRY(node, struct direct, out_node);
        if (atomic_exchange(&direct->control->wants_bell, 0) != 0)
            psocket_ring_bell(direct->receiver);
    }
}

uint64_t direct_dropped_count(const struct psocket *receiver)
{
    uint64_t sum = receiver->direct_dropped_count;
    LIST_FOREACH (&receiver->direct_in, node) {
        sum += atomic_load(&LIST_ENTRY(node, struct direct, in_node)->control->dropped_count);
    }
    return sum & INT64_MAX;
}

void direct_limit(struct psocket *receiver)
{
    LIST_FOREACH (&receiver->direct_in, node) {
        struct direct *direct = LIST_ENTRY(node, struct direct, in_node);
        atomic_store(&direct->control->limit_bytes, choose_limit(receiver, direct->ring_size));
    }
}
