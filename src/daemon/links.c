#include "daemon/links.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/daemon.h"
#include "daemon/log.h"
#include "link/tap.h"

#define LINKS_MAX 64u
#define LINKS_BATCH 64
#define LINKS_BATCHES_MAX                                                                          \
    4 /* per turn; readiness is level-triggered, so the rest comes next turn */

static void link_ready(struct watch *watch, uint32_t events)
{
    struct lan_link *link = LIST_ENTRY(watch, struct lan_link, watch);
    struct daemon *daemon = link->daemon;
    struct foyer_packet packets[LINKS_BATCH];
    (void)events;
    for (unsigned batch = 0; batch < LINKS_BATCHES_MAX; batch++) {
        int count = link_receive(link->driver, packets, LINKS_BATCH, daemon->loop.now_ns);
        if (count < 0) {
            log_warning("link %s is removed: %s", link->name, strerror(-count));
            links_remove(link);
            return;
        }
        for (int i = 0; i < count; i++) {
            link->rx_packets++;
            link->rx_bytes += foyer_packet_size(&packets[i]);
        }
        if (count > 0)
            fabric_from_link(&daemon->fabric, link, packets, (size_t)count);
        if (count < LINKS_BATCH || !watch->is_active)
            return;
    }
}

struct lan_link *links_find(const struct daemon *daemon, const char *name)
{
    LIST_FOREACH (&daemon->fabric.links, node) {
        struct lan_link *link = LIST_ENTRY(node, struct lan_link, node);
        if (strcmp(link->name, name) == 0)
            return link;
    }
    return NULL;
}

static bool name_is_valid(const char *name)
{
    size_t size = strnlen(name, LINK_TAP_NAME_SIZE);
    if (size == 0 || size >= LINK_TAP_NAME_SIZE)
        return false;
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)name[i] <= 0x20 || (unsigned char)name[i] >= 0x7f || name[i] == '/')
            return false;
    }
    return true;
}

int links_add_tap(struct daemon *daemon, const char *name, int fd, struct lan_link **ret_link)
{
    struct fabric *fabric = &daemon->fabric;
    const struct link_tap_config config = {.name = name};
    if (!name_is_valid(name))
        return -EINVAL;
    if (links_find(daemon, name) != NULL)
        return -EEXIST;
    if (fabric->link_count >= LINKS_MAX)
        return -ENOSPC;
    struct lan_link *link = calloc(1, sizeof(*link));
    if (link == NULL)
        return -ENOMEM;
    link->daemon = daemon;
    link->kind = "tap";
    memcpy(link->name, name, strlen(name) + 1);
    int error = link_tap_from_fd(fd, &config, &link->driver);
    if (error != 0) {
        free(link);
        return error;
    }
    error = loop_watch(&daemon->loop, &link->watch, link_fd(link->driver), EPOLLIN, link_ready);
    if (error != 0) {
        link_close(link->driver);
        free(link);
        return error == -EPERM ? -EINVAL : error;
    }
    list_push_back(&fabric->links, &link->node);
    fabric->link_count++;
    building_set_gateway(&daemon->building, true);
    log_info("link %s (%s) is added", link->name, link->kind);
    *ret_link = link;
    return 0;
}

void links_remove(struct lan_link *link)
{
    struct fabric *fabric = &link->daemon->fabric;
    log_info("link %s is removed", link->name);
    loop_unwatch(&link->daemon->loop, &link->watch);
    list_remove(&link->node);
    fabric->link_count--;
    fabric_forget_link(fabric, link);
    if (fabric->link_count == 0)
        building_set_gateway(&link->daemon->building, false);
    link_close(link->driver);
    link->driver = NULL;
    loop_free_later(&link->daemon->loop, &link->garbage, link);
}

void links_send(struct lan_link *link, const struct foyer_packet *packets, size_t count)
{
    int sent = link_send(link->driver, packets, count, link->daemon->loop.now_ns);
    size_t taken = sent > 0 ? (size_t)sent : 0; /* what is broken says so on receive as well */
    for (size_t i = 0; i < taken; i++)
        link->tx_bytes += foyer_packet_size(&packets[i]);
    link->tx_packets += taken;
    link->tx_dropped += count - taken;
}
