/*
 * Who holds a port. (Who has a 4-tuple: ports_tuple.c. Who gets a packet: ports_deliver.c. The
 * choice of a port: ports_select.c.)
 *
 * Two tables. `connected` knows every 4-tuple (the fast way in). The buckets know, per protocol
 * and port, everybody who holds it: listeners, bound sockets, and connections, which hold their
 * local port too. In a bucket the holders are sorted into groups of equals, see ports.h.
 *
 * Rules of bind: Linux's, since programs are written against them (net/ipv4's
 * inet_csk_bind_conflict and udp_lib_lport_inuse describe the behaviour):
 *
 *   addresses meet where they are equal or one is the wildcard; the IPv6 wildcard meets IPv4
 *   unless it is V6ONLY. Two that meet conflict, except
 *   TCP: both have REUSEADDR and the present holder does not listen
 *   UDP: both have REUSEADDR
 *   either: both have REUSEPORT and belong to the same uid
 */
#include "stack/ports.h"

#include <errno.h>
#include <stdint.h>

#include "base/bytes.h"
#include "stack/ip.h"
#include "stack/tcp_time_wait.h"

#define SHARE_FLAGS (SOCK_REUSEADDR | SOCK_REUSEPORT | SOCK_V6ONLY)
#define GROUP_FLAGS (SHARE_FLAGS | SOCK_INTERCEPT)
#define RECEIVERS_MIN 4u
#define NOT_RECEIVING UINT32_MAX

int ports_init(struct foyer_host *host)
{
    for (size_t i = 0; i < sizeof(host->ephemeral_step) / sizeof(host->ephemeral_step[0]); i++)
        host->ephemeral_step[i] = (uint32_t)host_random(host);
    return hash_table_init(&host->connected, &host->config.allocator);
}

void ports_finish(struct foyer_host *host)
{
    /* All sockets are gone, and with them groups, buckets and their pages. */
    ports_select_finish(host);
    hash_table_finish(&host->connected);
    hash_table_finish(&host->port_groups);
}

/* ---- the table of connections ----------------------------------------------------------------- */

static void tuple_insert(struct foyer_host *host, struct sock *sock)
{
    hash_table_insert(&host->connected, &sock->connected_node,
                      ports_tuple_hash(host, sock->protocol, &sock->local, &sock->remote));
    host->tuple_memo.absent &= (uint8_t)~TUPLE_NOT_CONNECTED;
    sock->flags |= SOCK_CONNECTED;
    ports_note_tuple(host, sock->protocol, &sock->local, &sock->remote, true);
}

void ports_note_foreign_gone(struct foyer_host *host)
{
    if (!ports_has_foreign(host))
        host->path_generation++;
}

static void tuple_forget(struct foyer_host *host, struct sock *sock)
{
    hash_table_remove(&host->connected, &sock->connected_node);
    hash_table_shrink(&host->connected);
    if (host->recent_sock == sock)
        host->recent_sock = NULL;
    for (uint32_t i = 0; i < host->hint_count; i++) {
        if (host->hints[i] == sock)
            host->hints[i] = NULL;
    }
    if ((sock->flags & SOCK_INTERCEPTED) != 0) {
        host->intercepted_count--;
        ports_note_foreign_gone(host);
    }
    sock->flags &= ~(uint32_t)(SOCK_CONNECTED | SOCK_INTERCEPTED);
}

static void tuple_remove(struct foyer_host *host, struct sock *sock)
{
    if ((sock->flags & SOCK_CONNECTED) == 0)
        return;
    tuple_forget(host, sock);
    ports_note_tuple(host, sock->protocol, &sock->local, &sock->remote, false);
}

/* ---- buckets and groups ------------------------------------------------------------------------------ */

/* As many ports as a word of the bitmap of those that are held. */
#define PAGE_PORTS 64u

struct port_page {
    struct port_bucket *buckets[PAGE_PORTS];
};

struct port_bucket *ports_bucket(struct foyer_host *host, uint8_t protocol, uint16_t port)
{
    const struct port_page *page = ports_of(host, protocol)->pages[port / PAGE_PORTS];

    return page != NULL ? page->buckets[port % PAGE_PORTS] : NULL;
}

static void page_drop_if_empty(struct foyer_host *host, struct port_protocol *ports, uint16_t port)
{
    if (ports->held.words[port / PAGE_PORTS] != 0)
        return;
    host_free(host, ports->pages[port / PAGE_PORTS], sizeof(struct port_page));
    ports->pages[port / PAGE_PORTS] = NULL;
}

static struct port_bucket *bucket_get(struct foyer_host *host, uint8_t protocol, uint16_t port)
{
    struct port_bucket *bucket = ports_bucket(host, protocol, port);
    struct port_protocol *ports = ports_of(host, protocol);

    if (bucket != NULL)
        return bucket;
    struct port_page **page = &ports->pages[port / PAGE_PORTS];
    if (*page == NULL)
        *page = host_alloc(host, sizeof(**page));
    if (*page == NULL)
        return NULL;
    bucket = host_alloc(host, sizeof(*bucket));
    if (bucket == NULL) {
        page_drop_if_empty(host, ports, port);
        return NULL;
    }
    bucket->port = port;
    bucket->protocol = protocol;
    (*page)->buckets[port % PAGE_PORTS] = bucket;
    port_bitmap_set(&ports->held, port, true);
    return bucket;
}

static void bucket_drop_if_empty(struct foyer_host *host, struct port_bucket *bucket)
{
    struct port_protocol *ports = ports_of(host, bucket->protocol);
    uint16_t port = bucket->port;

    if (bucket->receivers != NULL || bucket->connections != NULL)
        return;
    port_bitmap_set(&ports->held, port, false);
    ports->pages[port / PAGE_PORTS]->buckets[port % PAGE_PORTS] = NULL;
    page_drop_if_empty(host, ports, port);
    host_free(host, bucket, sizeof(*bucket));
}

static bool is_receiving(const struct sock *sock)
{
    if (PROTOCOL_IS_TCP(sock->protocol))
        return (sock->flags & SOCK_LISTENING) != 0;
    return (sock->flags & SOCK_CONNECTED) == 0;
}

static bool group_fits(const struct port_group *group, const struct sock *sock)
{
    return group->flags == (sock->flags & GROUP_FLAGS) && group->family == sock->family &&
           group->is_receiving == is_receiving(sock) && group->owner_uid == sock->owner_uid &&
           foyer_addr_eq(&group->addr, &sock->local.addr);
}

/* A group of connections beside the bucket's first. */
struct hashed_group {
    struct port_group group;
    struct hash_node node; /* host->port_groups */
};

/* Peers choose the addresses that are intercepted: a keyed hash. */
static uint32_t group_hash(const struct foyer_host *host, const struct port_bucket *bucket,
                           const struct foyer_addr *addr)
{
    const uint64_t words[3] = {load_le64(addr->bytes), load_le64(addr->bytes + 8),
                               (uint64_t)bucket->protocol << 16 | bucket->port | 19ULL << 56};

    return (uint32_t)siphash13(&host->hash_key, words, 3);
}

static struct port_group *find_hashed(const struct foyer_host *host,
                                      const struct port_bucket *bucket, const struct sock *sock)
{
    if (host->port_groups.count == 0)
        return NULL;
    struct hash_node *node =
        hash_table_first(&host->port_groups, group_hash(host, bucket, &sock->local.addr));
    for (; node != NULL; node = hash_table_next(node)) {
        struct hashed_group *hashed = HASH_ENTRY(node, struct hashed_group, node);
        if (hashed->group.bucket == bucket && group_fits(&hashed->group, sock))
            return &hashed->group;
    }
    return NULL;
}

static struct port_group *find_group(const struct foyer_host *host, struct port_bucket *bucket,
                                     const struct sock *sock)
{
    if (bucket->first.bucket != NULL && group_fits(&bucket->first, sock))
        return &bucket->first;
    if (!is_receiving(sock))
        return find_hashed(host, bucket, sock);
    struct port_group *group = bucket->receivers;
    while (group != NULL && !group_fits(group, sock))
        group = group->next;
    return group;
}

/* A place for one more group; what is hashed is in the table then. */
static struct port_group *place_group(struct foyer_host *host, struct port_bucket *bucket,
                                      const struct sock *sock)
{
    /* A place that is in a list has a bucket. */
    if (bucket->first.bucket == NULL)
        return &bucket->first;
    if (is_receiving(sock))
        return host_alloc(host, sizeof(struct port_group));
    if (host->port_groups.bucket_count == 0 &&
        hash_table_init(&host->port_groups, &host->config.allocator) != 0)
        return NULL;
    struct hashed_group *hashed = host_alloc(host, sizeof(*hashed));
    if (hashed == NULL)
        return NULL;
    hash_table_insert(&host->port_groups, &hashed->node,
                      group_hash(host, bucket, &sock->local.addr));
    return &hashed->group;
}

static struct port_group *group_get(struct foyer_host *host, struct port_bucket *bucket,
                                    const struct sock *sock)
{
    struct port_group *group = find_group(host, bucket, sock);
    if (group != NULL)
        return group;
    group = place_group(host, bucket, sock);
    if (group == NULL)
        return NULL;
    group->bucket = bucket;
    group->addr = sock->local.addr;
    group->owner_uid = sock->owner_uid;
    group->flags = sock->flags & GROUP_FLAGS;
    group->family = sock->family;
    group->is_receiving = is_receiving(sock);
    struct port_group **list = group->is_receiving ? &bucket->receivers : &bucket->connections;
    group->next = *list;
    *list = group;
    if (!group->is_receiving) {
        group->at = list;
        if (group->next != NULL)
            group->next->at = &group->next;
    }
    return group;
}

static void drop_receivers(struct foyer_host *host, struct port_group *group)
{
    struct port_group **at = &group->bucket->receivers;

    while (*at != group)
        at = &(*at)->next;
    *at = group->next;
    host_free(host, group->receivers, group->receiver_capacity * sizeof(group->receivers[0]));
}

static void group_drop_if_empty(struct foyer_host *host, struct port_group *group)
{
    if (group->count > 0)
        return;
    bool is_receiving = group->is_receiving;
    if (is_receiving) {
        drop_receivers(host, group);
    } else {
        *group->at = group->next;
        if (group->next != NULL)
            group->next->at = group->at;
    }
    if (group == &group->bucket->first) {
        *group = (struct port_group){0};
    } else if (is_receiving) {
        host_free(host, group, sizeof(*group));
    } else {
        struct hashed_group *hashed = (struct hashed_group *)group;
        hash_table_remove(&host->port_groups, &hashed->node);
        hash_table_shrink(&host->port_groups);
        host_free(host, hashed, sizeof(*hashed));
    }
}

static int group_add(struct foyer_host *host, struct port_group *group, struct sock *sock)
{
    if (group->is_receiving && group->count == group->receiver_capacity) {
        uint32_t capacity = group->receiver_capacity ? group->receiver_capacity * 2 : RECEIVERS_MIN;
        struct sock **larger = host_alloc_raw(host, capacity * sizeof(larger[0]));
        if (larger == NULL)
            return -ENOMEM;
        if (group->count > 0)
            memcpy(larger, group->receivers, group->count * sizeof(larger[0]));
        host_free(host, group->receivers, group->receiver_capacity * sizeof(group->receivers[0]));
        group->receivers = larger;
        group->receiver_capacity = capacity;
    }
    sock->port_member = NOT_RECEIVING;
    if (group->is_receiving) {
        sock->port_member = group->count;
        group->receivers[group->count] = sock;
    }
    slot_list_push(host, &group->holders, &sock->slot, SLOT_LINK_PORT);
    group->count++;
    sock->port_group = group;
    return 0;
}

static void group_remove(struct foyer_host *host, struct port_group *group, struct sock *sock)
{
    slot_list_remove(host, &group->holders, &sock->slot, SLOT_LINK_PORT);
    group->count--;
    if (group->is_receiving) {
        struct sock *last = group->receivers[group->count];
        group->receivers[sock->port_member] = last;
        last->port_member = sock->port_member;
    }
    sock->port_group = NULL;
}

/* Enters the socket in the bucket of sock->local.port. */
static int hold(struct foyer_host *host, struct sock *sock)
{
    struct port_bucket *bucket = bucket_get(host, sock->protocol, sock->local.port);
    if (bucket == NULL)
        return -ENOMEM;
    struct port_group *group = group_get(host, bucket, sock);
    if (group == NULL || group_add(host, group, sock) != 0) {
        if (group != NULL)
            group_drop_if_empty(host, group);
        bucket_drop_if_empty(host, bucket);
        return -ENOMEM;
    }
    sock->flags |= SOCK_BOUND;
    return 0;
}

/* Holders by bind (and those who inherited from one) keep a port from being shared by connect. */
static void count_bind(struct foyer_host *host, struct port_bucket *bucket, bool is_added)
{
    bucket->bind_count += is_added ? 1u : UINT32_MAX;
    port_bitmap_set(&ports_of(host, bucket->protocol)->bound, bucket->port, bucket->bind_count > 0);
}

int ports_regroup(struct foyer_host *host, struct sock *sock)
{
    struct port_group *old = sock->port_group;
    if (old == NULL || group_fits(old, sock))
        return 0;
    struct port_group *group = group_get(host, old->bucket, sock);
    if (group == NULL)
        return -ENOMEM;
    group_remove(host, old, sock);
    int error = group_add(host, group, sock);
    if (error != 0) {
        group_drop_if_empty(host, group);
        (void)group_add(host, old, sock); /* its array has the place still */
        return error;
    }
    group_drop_if_empty(host, old);
    return 0;
}

void ports_unbind(struct foyer_host *host, struct sock *sock)
{
    tuple_remove(host, sock);
    struct port_group *group = sock->port_group;
    if (group == NULL)
        return;
    struct port_bucket *bucket = group->bucket;
    group_remove(host, group, sock);
    group_drop_if_empty(host, group);
    if ((sock->flags & SOCK_PORT_CHOSEN) == 0)
        count_bind(host, bucket, false);
    bucket_drop_if_empty(host, bucket);
    sock->flags &= ~(uint32_t)(SOCK_BOUND | SOCK_LISTENING | SOCK_PORT_CHOSEN);
}

/* ---- the rules of bind ---------------------------------------------------------------------------------- */

static bool is_any_v6(const struct foyer_addr *addr)
{
    return foyer_addr_is_any(addr) && !foyer_addr_is_v4(addr);
}

/* Can a packet be meant for both? V6ONLY limits an IPv6 wildcard to IPv6. */
static bool addresses_meet(const struct foyer_addr *a, bool a_v6only, const struct foyer_addr *b,
                           bool b_v6only)
{
    if (foyer_addr_eq(a, b))
        return true;
    if (is_any_v6(a))
        return !(a_v6only && foyer_addr_is_v4(b));
    if (is_any_v6(b))
        return !(b_v6only && foyer_addr_is_v4(a));
    return foyer_addr_is_v4(a) == foyer_addr_is_v4(b) &&
           (foyer_addr_is_any(a) || foyer_addr_is_any(b));
}

static bool is_shared(const struct port_group *group, const struct sock *sock)
{
    uint32_t both = group->flags & sock->flags;
    if ((both & SOCK_REUSEADDR) && !(PROTOCOL_IS_TCP(sock->protocol) && group->is_receiving))
        return true;
    return (both & SOCK_REUSEPORT) && group->owner_uid == sock->owner_uid;
}

static bool conflicts_with(const struct foyer_host *host, const struct port_group *group,
                           const struct sock *sock, const struct foyer_addr *addr,
                           foyer_socket *ret_holder)
{
    if (!addresses_meet(&group->addr, group->flags & SOCK_V6ONLY, addr,
                        sock->flags & SOCK_V6ONLY) ||
        is_shared(group, sock))
        return false;
    const struct slot_head *holder = slot_list_first(host, &group->holders);
    if (holder == &sock->slot)
        holder = slot_list_next(host, holder, SLOT_LINK_PORT);
    if (holder == NULL)
        return false;
    *ret_holder = slot_handle(holder);
    return true;
}

static bool conflicts_with_any(const struct foyer_host *host, const struct port_group *groups,
                               const struct sock *sock, const struct foyer_addr *addr,
                               foyer_socket *ret_holder)
{
    for (const struct port_group *group = groups; group != NULL; group = group->next) {
        if (conflicts_with(host, group, sock, addr, ret_holder))
            return true;
    }
    return false;
}

/* The hashed groups whose address is `at`. */
static bool conflicts_at(const struct foyer_host *host, const struct port_bucket *bucket,
                         const struct foyer_addr *at, const struct sock *sock,
                         const struct foyer_addr *addr, foyer_socket *ret_holder)
{
    for (struct hash_node *node =
             hash_table_first(&host->port_groups, group_hash(host, bucket, at));
         node != NULL; node = hash_table_next(node)) {
        const struct hashed_group *hashed = HASH_ENTRY(node, struct hashed_group, node);
        if (hashed->group.bucket == bucket &&
            conflicts_with(host, &hashed->group, sock, addr, ret_holder))
            return true;
    }
    return false;
}

/* One address meets itself and the wildcards: where peers choose the addresses that connections are
 * to, their number does not matter to who binds to one. */
static bool conflicts_with_connections(const struct foyer_host *host,
                                       const struct port_bucket *bucket, const struct sock *sock,
                                       const struct foyer_addr *addr, foyer_socket *ret_holder)
{
    const struct foyer_addr any_v4 = foyer_addr_v4(0, 0, 0, 0), any_v6 = {{0}};
    const struct port_group *first = &bucket->first;

    if (foyer_addr_is_any(addr) || host->port_groups.count == 0)
        return conflicts_with_any(host, bucket->connections, sock, addr, ret_holder);
    return (first->bucket != NULL && !first->is_receiving &&
            conflicts_with(host, first, sock, addr, ret_holder)) ||
           conflicts_at(host, bucket, addr, sock, addr, ret_holder) ||
           conflicts_at(host, bucket, &any_v4, sock, addr, ret_holder) ||
           conflicts_at(host, bucket, &any_v6, sock, addr, ret_holder);
}

bool ports_conflict(const struct foyer_host *host, const struct port_bucket *bucket,
                    const struct sock *sock, const struct foyer_addr *addr,
                    foyer_socket *ret_holder)
{
    return bucket != NULL && (conflicts_with_any(host, bucket->receivers, sock, addr, ret_holder) ||
                              conflicts_with_connections(host, bucket, sock, addr, ret_holder));
}

int ports_bind(struct foyer_host *host, struct sock *sock, const struct foyer_endpoint *local,
               foyer_socket *ret_holder)
{
    if (sock->flags & SOCK_BOUND)
        return -EINVAL;
    uint16_t port = local->port;
    if (port == 0) {
        port = ports_choose_for_bind(host, sock, &local->addr);
        if (port == 0)
            return -EADDRINUSE;
    } else if (ports_conflict(host, ports_bucket(host, sock->protocol, port), sock, &local->addr,
                              ret_holder)) {
        return -EADDRINUSE;
    }
    struct foyer_endpoint before = sock->local;
    sock->local.addr = local->addr;
    sock->local.port = port;
    int error = hold(host, sock);
    if (error != 0) {
        sock->local = before;
        return error;
    }
    count_bind(host, sock->port_group->bucket, true);
    return 0;
}

/* [RFC9293 MUST-41 MUST-42] */
int ports_listen(struct foyer_host *host, struct sock *sock, foyer_socket *ret_holder)
{
    /* As Linux does, the rules are asked once more: two reusers may bind, one may listen. */
    if (ports_conflict(host, sock->port_group->bucket, sock, &sock->local.addr, ret_holder))
        return -EADDRINUSE;
    sock->flags |= SOCK_LISTENING;
    int error = ports_regroup(host, sock);
    if (error != 0)
        sock->flags &= ~(uint32_t)SOCK_LISTENING;
    return error;
}

/* ---- connections -------------------------------------------------------------------------------------------- */

bool ports_tuple_is_free(struct foyer_host *host, uint8_t protocol,
                         const struct foyer_endpoint *local, const struct foyer_endpoint *remote)
{
    const struct sock *sock = ports_find_connected(host, protocol, local, remote);

    if (!PROTOCOL_IS_TCP(protocol))
        return sock == NULL;
    if (sock != NULL)
        return tcp_time_wait_is_reusable(host, sock);
    const struct time_wait *wait = time_wait_find(host, local, remote);
    return wait == NULL || time_wait_is_reusable(host, wait);
}

/* Ends the TIME-WAIT whose place the socket takes. False: the 4-tuple is not to be had. */
static bool take_tuple(struct foyer_host *host, struct sock *sock)
{
    struct sock *old = ports_find_connected(host, sock->protocol, &sock->local, &sock->remote);

    host->has_isn_floor = false;
    if (old == NULL) {
        if (!PROTOCOL_IS_TCP(sock->protocol))
            return true;
        struct time_wait *wait = time_wait_find(host, &sock->local, &sock->remote);
        if (wait == NULL)
            return true;
        if (!time_wait_is_reusable(host, wait))
            return false;
        host->has_isn_floor = true;
        host->isn_floor = wait->snd_nxt;
        time_wait_end(host, wait);
        return true;
    }
    if (!PROTOCOL_IS_TCP(sock->protocol) || !tcp_time_wait_is_reusable(host, old))
        return false;
    host->has_isn_floor = true;
    host->isn_floor = old->tcb->snd_nxt;
    tcp_finish(host, old, 0);
    return true;
}

int ports_connect(struct foyer_host *host, struct sock *sock)
{
    int error;
    if (sock->flags & SOCK_CONNECTED)
        return 0;
    if (sock->flags & SOCK_BOUND) {
        /* A datagram socket may double another's 4-tuple where REUSEADDR let it bind. */
        if (PROTOCOL_IS_TCP(sock->protocol) && !take_tuple(host, sock))
            return -EADDRNOTAVAIL;
        tuple_insert(host, sock);
        error = ports_regroup(host, sock); /* the address may have been the wildcard till now */
        if (error != 0)
            tuple_remove(host, sock);
        return error;
    }
    uint16_t port = ports_choose_for_connect(host, sock);
    if (port == 0)
        return -EADDRNOTAVAIL;
    sock->local.port = port;
    (void)take_tuple(host, sock);
    tuple_insert(host, sock);
    error = hold(host, sock);
    if (error != 0) {
        tuple_remove(host, sock);
        sock->local.port = 0;
        return error;
    }
    sock->flags |= SOCK_PORT_CHOSEN;
    return 0;
}

int ports_adopt(struct foyer_host *host, struct sock *sock, struct sock *listener)
{
    if (ports_find_connected(host, sock->protocol, &sock->local, &sock->remote) != NULL ||
        (PROTOCOL_IS_TCP(sock->protocol) &&
         time_wait_find(host, &sock->local, &sock->remote) != NULL))
        return -EEXIST;
    sock->flags |= listener->flags & SHARE_FLAGS;
    sock->owner_uid = listener->owner_uid;
    tuple_insert(host, sock);
    int error = hold(host, sock);
    if (error != 0) {
        tuple_remove(host, sock);
        return error;
    }
    count_bind(host, sock->port_group->bucket, true);
    if (!ip_is_own(host, &sock->local.addr)) {
        sock->flags |= SOCK_INTERCEPTED;
        host->intercepted_count++;
    }
    return 0;
}

void ports_disconnect(struct foyer_host *host, struct sock *sock)
{
    tuple_remove(host, sock);
    /* A port that connect chose goes with the connection, one from bind stays (as on Linux). */
    if (sock->flags & SOCK_PORT_CHOSEN)
        ports_unbind(host, sock);
    else
        (void)ports_regroup(host, sock); /* without memory a UDP socket stays unreachable */
}

void ports_hand_over(struct foyer_host *host, struct sock *sock, struct time_wait *wait)
{
    struct port_group *group = sock->port_group;

    /* The 4-tuple stays taken, or reusable, as it was: nobody need be told. */
    tuple_forget(host, sock);
    /* So does its place among the holders, which are linked by index. */
    wait->slot.links[SLOT_LINK_PORT] = sock->slot.links[SLOT_LINK_PORT];
    sock->slot.links[SLOT_LINK_PORT] = (struct slot_link){0};
    wait->port_group = group;
    sock->port_group = NULL;
    sock->flags &= ~(uint32_t)SOCK_BOUND;
}

void ports_end_time_wait(struct foyer_host *host, struct time_wait *wait)
{
    if (!FOYER_WITH_TCP)
        return;
    struct foyer_endpoint local = time_wait_local(wait), remote = time_wait_remote(wait);
    struct port_group *group = wait->port_group;
    struct port_bucket *bucket = group->bucket;

    slot_list_remove(host, &group->holders, &wait->slot, SLOT_LINK_PORT);
    group->count--;
    group_drop_if_empty(host, group);
    if (!wait->is_port_chosen)
        count_bind(host, bucket, false);
    bucket_drop_if_empty(host, bucket);
    ports_note_tuple(host, FOYER_TCP, &local, &remote, false);
}
