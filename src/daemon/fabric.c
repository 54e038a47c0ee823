#include "daemon/fabric.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "daemon/links.h"

#define FABRIC_BATCH 64
#define FABRIC_BATCHES_MAX 8                     /* per host and turn */
#define FABRIC_MAC_AGE_NS (300 * FOYER_NS_PER_S) /* IEEE 802.1Q's recommended ageing time */

/* Where an address behind a link was seen last. */
struct learned {
    struct hash_node node;
    struct list_node age_node;
    struct lan_link *link;
    foyer_time_ns seen_ns;
    uint8_t mac[6];
};

int fabric_init(struct fabric *fabric, struct daemon *daemon)
{
    memset(fabric, 0, sizeof(*fabric));
    fabric->daemon = daemon;
    list_init(&fabric->links);
    list_init(&fabric->by_age);
    return hash_table_init(&fabric->macs, &daemon->allocator);
}

static void forget(struct fabric *fabric, struct learned *learned)
{
    hash_table_remove(&fabric->macs, &learned->node);
    list_remove(&learned->age_node);
    fabric->mac_count--;
    free(learned);
}

void fabric_finish(struct fabric *fabric)
{
    LIST_FOREACH_SAFE (&fabric->links, node) {
        links_remove(LIST_ENTRY(node, struct lan_link, node));
    }
    LIST_FOREACH_SAFE (&fabric->by_age, node) {
        forget(fabric, LIST_ENTRY(node, struct learned, age_node));
    }
    hash_table_finish(&fabric->macs);
}

void fabric_forget_link(struct fabric *fabric, const struct lan_link *link)
{
    LIST_FOREACH_SAFE (&fabric->by_age, node) {
        struct learned *learned = LIST_ENTRY(node, struct learned, age_node);
        if (learned->link == link)
            forget(fabric, learned);
    }
}

/* ---- learning --------------------------------------------------------------------------------- */

static uint32_t hash_mac(const struct fabric *fabric, const uint8_t mac[6])
{
    return (uint32_t)siphash(&fabric->daemon->key, mac, 6);
}

static struct learned *find_learned(const struct fabric *fabric, const uint8_t mac[6])
{
    for (struct hash_node *node = hash_table_first(&fabric->macs, hash_mac(fabric, mac));
         node != NULL; node = hash_table_next(node)) {
        struct learned *learned = HASH_ENTRY(node, struct learned, node);
        if (memcmp(learned->mac, mac, 6) == 0)
            return learned;
    }
    return NULL;
}

/* False: the frame claims to come from one of our hosts (RFC 826 knows no better; drop it). */
static bool learn(struct fabric *fabric, struct lan_link *link, const uint8_t mac[6])
{
    if ((mac[0] & 1) != 0 || building_find_mac(&fabric->daemon->building, mac) != NULL)
        return false;
    struct learned *learned = find_learned(fabric, mac);
    if (learned == NULL) {
        /* A flood of addresses pushes out the oldest, and costs no more than flooding frames. */
        if (fabric->mac_count >= FABRIC_MACS_MAX)
            forget(fabric, LIST_ENTRY(list_first(&fabric->by_age), struct learned, age_node));
        learned = calloc(1, sizeof(*learned));
        if (learned == NULL)
            return true;
        memcpy(learned->mac, mac, 6);
        hash_table_insert(&fabric->macs, &learned->node, hash_mac(fabric, mac));
        fabric->mac_count++;
    }
    learned->link = link;
    learned->seen_ns = fabric->daemon->loop.now_ns;
    list_remove(&learned->age_node);
    list_push_back(&fabric->by_age, &learned->age_node);
    return true;
}

/* ---- forwarding -------------------------------------------------------------------------------- */

struct port {
    struct building_host *host; /* one of the two, or neither: flood */
    struct lan_link *link;
};

static struct port find_port(struct fabric *fabric, const uint8_t mac[6])
{
    struct port port = {NULL, NULL};
    if ((mac[0] & 1) != 0)
        return port;
    port.host = building_find_mac(&fabric->daemon->building, mac);
    if (port.host != NULL)
        return port;
    struct learned *learned = find_learned(fabric, mac);
    if (learned != NULL && fabric->daemon->loop.now_ns - learned->seen_ns <= FABRIC_MAC_AGE_NS)
        port.link = learned->link;
    return port;
}

static void to_host(struct building_host *host, const struct foyer_packet *packets, size_t count)
{
    foyer_host_input(host->stack, packets, count, host->daemon->loop.now_ns);
    building_host_touch(host);
}

static void flood(struct fabric *fabric, const struct port *from,
                  const struct foyer_packet *packets, size_t count)
{
    LIST_FOREACH (&fabric->daemon->building.hosts, node) {
        struct building_host *host = LIST_ENTRY(node, struct building_host, node);
        if (host != from->host)
            to_host(host, packets, count);
    }
    LIST_FOREACH (&fabric->links, node) {
        struct lan_link *link = LIST_ENTRY(node, struct lan_link, node);
        if (link != from->link)
            links_send(link, packets, count);
    }
}

static const uint8_t *destination(const struct foyer_packet *packet)
{
    return packet->spans[0].base;
}

/* Passes on a run of frames with one destination. */
static void forward(struct fabric *fabric, const struct port *from,
                    const struct foyer_packet *packets, size_t count)
{
    struct port to = find_port(fabric, destination(packets));
    if (to.host == NULL && to.link == NULL)
        flood(fabric, from, packets, count);
    else if (to.host != NULL && to.host != from->host)
        to_host(to.host, packets, count);
    else if (to.link != NULL && to.link != from->link)
        links_send(to.link, packets, count);
    /* Else the destination is where the frame came from. */
}

/* Cuts a batch into runs with one destination each, so that the other side sees batches too. */
static void forward_batch(struct fabric *fabric, const struct port *from,
                          const struct foyer_packet *packets, size_t count)
{
    size_t start = 0;
    for (size_t i = 1; i <= count; i++) {
        if (i == count || memcmp(destination(&packets[i]), destination(&packets[start]), 6) != 0) {
            forward(fabric, from, packets + start, i - start);
            start = i;
        }
    }
}

void fabric_from_link(struct fabric *fabric, struct lan_link *link,
                      const struct foyer_packet *packets, size_t count)
{
    const struct port from = {.link = link};
    size_t start = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_good = packets[i].span_count > 0 && packets[i].spans[0].size >= 14 &&
                       learn(fabric, link, packets[i].spans[0].base + 6);
        if (is_good)
            continue;
        forward_batch(fabric, &from, packets + start, i - start);
        start = i + 1;
    }
    forward_batch(fabric, &from, packets + start, count - start);
}

bool fabric_from_host(struct fabric *fabric, struct building_host *host)
{
    struct foyer_packet packets[FABRIC_BATCH];
    const struct port from = {.host = host};
    for (unsigned batch = 0; batch < FABRIC_BATCHES_MAX; batch++) {
        size_t count =
            foyer_host_output(host->stack, packets, FABRIC_BATCH, fabric->daemon->loop.now_ns);
        for (size_t i = 0; i < count; i++)
            packets[i].arrival_ns = fabric->daemon->loop.now_ns;
        forward_batch(fabric, &from, packets, count);
        if (count < FABRIC_BATCH)
            return foyer_host_has_output(host->stack);
    }
    return true;
}
