#include "daemon/building.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "daemon/daemon.h"
#include "daemon/log.h"
#include "ipc/paths.h"

static uint32_t hash_bytes(const struct building *building, const void *bytes, size_t size)
{
    return (uint32_t)siphash(&building->key, bytes, size);
}

static void set_gateway_addresses(struct building *building)
{
    building->gateway4 = network_address(&building->net4, NETWORK_NUMBER_GATEWAY);
    building->gateway6 = network_address(&building->net6, NETWORK_NUMBER_GATEWAY);
}

int building_set_networks(struct building *building, const char *net4, const char *net6)
{
    struct network parsed4 = building->net4, parsed6 = building->net6;
    int error = 0;
    if (building->host_count > 0)
        return -EBUSY;
    if (net4 != NULL)
        error = network_parse(net4, true, &parsed4);
    if (error == 0 && net6 != NULL)
        error = network_parse(net6, false, &parsed6);
    if (error != 0)
        return error;
    building->net4 = parsed4;
    building->net6 = parsed6;
    set_gateway_addresses(building);
    return 0;
}

/* FNV-1a: the MACs of a building stay the same from one start to the next. */
static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash ^ hash >> 16;
}

int building_init(struct building *building, struct daemon *daemon, const char *name,
                  const char *net4, const char *net6)
{
    uint8_t key[16];
    memset(building, 0, sizeof(*building));
    building->daemon = daemon;
    memcpy(building->name, name, strlen(name) + 1);
    building->name_hash = hash_name(name);
    building->number_hint = NETWORK_NUMBER_FIRST;
    list_init(&building->hosts);
    if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
        return -EIO;
    building->key = siphash_key_from(key);
    int error = building_set_networks(building, net4 != NULL ? net4 : NETWORK_DEFAULT4,
                                      net6 != NULL ? net6 : NETWORK_DEFAULT6);
    if (error == 0)
        error = hash_table_init(&building->by_name, &daemon->allocator);
    if (error == 0)
        error = hash_table_init(&building->by_addr4, &daemon->allocator);
    if (error == 0)
        error = hash_table_init(&building->by_addr6, &daemon->allocator);
    if (error == 0)
        error = hash_table_init(&building->by_mac, &daemon->allocator);
    return error;
}

void building_finish(struct building *building)
{
    LIST_FOREACH_SAFE (&building->hosts, node) {
        building_host_destroy(LIST_ENTRY(node, struct building_host, node));
    }
    hash_table_finish(&building->by_name);
    hash_table_finish(&building->by_addr4);
    hash_table_finish(&building->by_addr6);
    hash_table_finish(&building->by_mac);
}

bool building_name_normalise(const char *text, char ret_name[FOYER_NAME_MAX])
{
    static const char suffix[] = "." BUILDING_DOMAIN;
    char name[FOYER_NAME_MAX + sizeof(suffix) + 1];
    size_t size = strnlen(text, sizeof(name));
    if (size >= sizeof(name))
        return false;
    for (size_t i = 0; i <= size; i++)
        name[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
    if (size > 0 && name[size - 1] == '.')
        name[--size] = '\0';
    if (size > sizeof(suffix) - 1 &&
        memcmp(name + size - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) == 0) {
        size -= sizeof(suffix) - 1;
        name[size] = '\0';
    }
    if (size >= FOYER_NAME_MAX)
        return false;
    memcpy(ret_name, name, size + 1);
    return true;
}

struct building_host *building_find_name(const struct building *building, const char *name)
{
    uint32_t hash = hash_bytes(building, name, strlen(name));
    for (struct hash_node *node = hash_table_first(&building->by_name, hash); node != NULL;
         node = hash_table_next(node)) {
        struct building_host *host = HASH_ENTRY(node, struct building_host, by_name);
        if (strcmp(host->name, name) == 0)
            return host;
    }
    return NULL;
}

static struct building_host *find_addr4(const struct building *building,
                                        const struct foyer_addr *addr)
{
    uint32_t hash = hash_bytes(building, addr, sizeof(*addr));
    for (struct hash_node *node = hash_table_first(&building->by_addr4, hash); node != NULL;
         node = hash_table_next(node)) {
        struct building_host *host = HASH_ENTRY(node, struct building_host, by_addr4);
        if (foyer_addr_eq(&host->addr4, addr))
            return host;
    }
    return NULL;
}

static struct building_host *find_addr6(const struct building *building,
                                        const struct foyer_addr *addr)
{
    uint32_t hash = hash_bytes(building, addr, sizeof(*addr));
    for (struct hash_node *node = hash_table_first(&building->by_addr6, hash); node != NULL;
         node = hash_table_next(node)) {
        struct building_host *host = HASH_ENTRY(node, struct building_host, by_addr6);
        if (foyer_addr_eq(&host->addr6, addr))
            return host;
    }
    return NULL;
}

struct building_host *building_find_addr(const struct building *building,
                                         const struct foyer_addr *addr)
{
    return foyer_addr_is_v4(addr) ? find_addr4(building, addr) : find_addr6(building, addr);
}

struct building_host *building_find_mac(const struct building *building, const uint8_t mac[6])
{
    uint32_t hash = hash_bytes(building, mac, 6);
    for (struct hash_node *node = hash_table_first(&building->by_mac, hash); node != NULL;
         node = hash_table_next(node)) {
        struct building_host *host = HASH_ENTRY(node, struct building_host, by_mac);
        if (memcmp(host->mac, mac, 6) == 0)
            return host;
    }
    return NULL;
}

bool building_resolve(const struct building *building, const char *name,
                      const struct foyer_addr *addr, struct building_resolution *ret_resolution)
{
    char label[FOYER_NAME_MAX] = "";
    const struct building_host *host = NULL;
    bool is_gateway;
    if (name[0] != '\0') {
        if (!building_name_normalise(name, label))
            return false;
        is_gateway = strcmp(label, BUILDING_GATEWAY) == 0;
        host = is_gateway ? NULL : building_find_name(building, label);
    } else {
        is_gateway =
            foyer_addr_eq(addr, &building->gateway4) || foyer_addr_eq(addr, &building->gateway6);
        host = is_gateway ? NULL : building_find_addr(building, addr);
    }
    if (host == NULL && !is_gateway)
        return false;
    memset(ret_resolution, 0, sizeof(*ret_resolution));
    snprintf(ret_resolution->name, sizeof(ret_resolution->name), "%s." BUILDING_DOMAIN,
             is_gateway ? BUILDING_GATEWAY : host->name);
    ret_resolution->addrs[0] = is_gateway ? building->gateway4 : host->addr4;
    ret_resolution->addrs[1] = is_gateway ? building->gateway6 : host->addr6;
    ret_resolution->addr_count = 2;
    return true;
}

bool building_contains(const struct building *building, const struct foyer_addr *addr)
{
    return network_contains(foyer_addr_is_v4(addr) ? &building->net4 : &building->net6, addr);
}

/* -EEXIST, -EINVAL: the address is not one that a host of this building may have. */
static int check_address(const struct building *building, const struct foyer_addr *addr)
{
    bool is_v4 = foyer_addr_is_v4(addr);
    const struct network *network = is_v4 ? &building->net4 : &building->net6;
    const struct foyer_addr *gateway = is_v4 ? &building->gateway4 : &building->gateway6;
    if (!network_contains(network, addr) || foyer_addr_eq(addr, &network->prefix) ||
        foyer_addr_eq(addr, gateway))
        return -EINVAL;
    if (is_v4) {
        struct foyer_addr broadcast = network_address(network, network_number_max(network) + 1);
        if (foyer_addr_eq(addr, &broadcast))
            return -EINVAL;
    }
    return building_find_addr(building, addr) != NULL ? -EEXIST : 0;
}

/* The lowest number of which nothing is taken, so that small buildings have small numbers. */
static int choose_number(struct building *building, uint32_t *ret_number)
{
    uint32_t max4 = network_number_max(&building->net4);
    uint32_t max6 = network_number_max(&building->net6);
    uint32_t max = max4 < max6 ? max4 : max6;
    for (uint32_t number = building->number_hint; number <= max; number++) {
        struct foyer_addr addr4 = network_address(&building->net4, number);
        struct foyer_addr addr6 = network_address(&building->net6, number);
        uint8_t mac[6];
        network_mac(building->name_hash, number, mac);
        if (find_addr4(building, &addr4) == NULL && find_addr6(building, &addr6) == NULL &&
            building_find_mac(building, mac) == NULL) {
            *ret_number = number;
            return 0;
        }
    }
    return -ENOSPC;
}

/* Both addresses and the number: asked for, else of the same number. */
static int assign(struct building *building, struct building_host *host,
                  const struct foyer_addr *addr4, const struct foyer_addr *addr6)
{
    int error = 0;
    if (addr4 != NULL)
        error = check_address(building, addr4);
    if (error == 0 && addr6 != NULL)
        error = check_address(building, addr6);
    if (error == 0)
        error = choose_number(building, &host->number);
    if (error != 0)
        return error;
    if (addr4 == NULL && addr6 == NULL)
        building->number_hint = host->number + 1;
    host->addr4 = network_address(&building->net4, host->number);
    host->addr6 = network_address(&building->net6, host->number);
    if (addr4 != NULL)
        host->addr4 = *addr4;
    if (addr6 != NULL)
        host->addr6 = *addr6;
    network_mac(building->name_hash, host->number, host->mac);
    return 0;
}

static void set_routes(struct building_host *host, bool has_gateway)
{
    const struct building *building = &host->daemon->building;
    struct foyer_addr any4 = foyer_addr_v4(0, 0, 0, 0);
    struct foyer_addr any6 = {{0}};
    foyer_host_remove_route(host->stack, &any4, 0);
    foyer_host_remove_route(host->stack, &any6, 0);
    if (has_gateway) {
        foyer_host_add_route(host->stack, &any4, 0, &building->gateway4);
        foyer_host_add_route(host->stack, &any6, 0, &building->gateway6);
    }
}

/*
 * The stack behind the name. 1500 bytes, because a TAP's other end takes no larger IP packet
 * unless told; large writes cross the switch and the TAP as super-segments all the same.
 */
static int create_stack(struct building *building, struct building_host *host)
{
    struct foyer_host_config config = {
        .allocator = building->daemon->allocator,
        .mtu = 1500,
        .link_capabilities = FOYER_LINK_TX_CHECKSUM | FOYER_LINK_TSO4 | FOYER_LINK_TSO6,
        .ephemeral_first = building->ephemeral_first,
        .ephemeral_last = building->ephemeral_last,
        .max_sockets = 1u << 20,
    };
    memcpy(config.mac, host->mac, sizeof(config.mac));
    if (getrandom(config.secret, sizeof(config.secret), 0) != (ssize_t)sizeof(config.secret))
        return -EIO;
    host->stack = foyer_host_create(&config, building->daemon->loop.now_ns);
    if (host->stack == NULL)
        return -ENOMEM;
    int error = foyer_host_add_address(host->stack, &host->addr4, building->net4.length);
    if (error == 0)
        error = foyer_host_add_address(host->stack, &host->addr6, building->net6.length);
    if (error != 0) {
        foyer_host_destroy(host->stack);
        return error;
    }
    set_routes(host, building->has_gateway);
    return 0;
}

int building_host_create(struct building *building, const char *name,
                         const struct foyer_addr *addr4, const struct foyer_addr *addr6,
                         struct building_host **ret_host)
{
    if (!name_is_label(name) || strcmp(name, BUILDING_GATEWAY) == 0 ||
        strcmp(name, "localhost") == 0)
        return -EINVAL;
    if (building_find_name(building, name) != NULL)
        return -EEXIST;
    if (building->host_count >= BUILDING_HOSTS_MAX)
        return -ENOSPC;
    struct building_host *host = calloc(1, sizeof(*host));
    if (host == NULL)
        return -ENOMEM;
    host->daemon = building->daemon;
    memcpy(host->name, name, strlen(name) + 1);
    list_init(&host->sockets);
    int error = assign(building, host, addr4, addr6);
    if (error == 0)
        error = create_stack(building, host);
    if (error != 0) {
        free(host);
        return error;
    }
    hash_table_insert(&building->by_name, &host->by_name,
                      hash_bytes(building, host->name, strlen(host->name)));
    hash_table_insert(&building->by_addr4, &host->by_addr4,
                      hash_bytes(building, &host->addr4, sizeof(host->addr4)));
    hash_table_insert(&building->by_addr6, &host->by_addr6,
                      hash_bytes(building, &host->addr6, sizeof(host->addr6)));
    hash_table_insert(&building->by_mac, &host->by_mac, hash_bytes(building, host->mac, 6));
    list_push_back(&building->hosts, &host->node);
    building->host_count++;
    building_host_touch(host);
    char text4[NETWORK_TEXT_SIZE], text6[NETWORK_TEXT_SIZE];
    address_format(&host->addr4, text4);
    address_format(&host->addr6, text6);
    log_info("host %s: %s, %s", host->name, text4, text6);
    *ret_host = host;
    return 0;
}

void building_host_destroy(struct building_host *host)
{
    struct building *building = &host->daemon->building;
    log_info("host %s is removed", host->name);
    hash_table_remove(&building->by_name, &host->by_name);
    hash_table_remove(&building->by_addr4, &host->by_addr4);
    hash_table_remove(&building->by_addr6, &host->by_addr6);
    hash_table_remove(&building->by_mac, &host->by_mac);
    list_remove(&host->node);
    list_remove(&host->dirty_node);
    loop_timer_cancel(&host->daemon->loop, &host->timer);
    building->host_count--;
    if (host->number < building->number_hint)
        building->number_hint = host->number;
    foyer_host_destroy(host->stack);
    host->stack = NULL;
    loop_free_later(&host->daemon->loop, &host->garbage, host);
}

void building_host_hold(struct building_host *host)
{
    host->session_count++;
    host->is_retiring = false;
}

/* How long a stack may go on to deliver what programs that are gone have sent. */
#define BUILDING_RETIRE_NS (120 * FOYER_NS_PER_S)

void building_host_release(struct building_host *host)
{
    if (host->session_count > 0 || host->socket_count > 0 || host->is_persistent ||
        host->is_retiring)
        return;
    host->is_retiring = true;
    host->retire_ns = host->daemon->loop.now_ns + BUILDING_RETIRE_NS;
    building_host_touch(host);
}

void building_set_gateway(struct building *building, bool has_gateway)
{
    building->has_gateway = has_gateway;
    LIST_FOREACH (&building->hosts, node) {
        set_routes(LIST_ENTRY(node, struct building_host, node), has_gateway);
    }
}

void building_host_touch(struct building_host *host)
{
    if (!list_is_linked(&host->dirty_node))
        list_push_back(&host->daemon->dirty_hosts, &host->dirty_node);
}

static void timer_due(struct loop_timer *timer)
{
    struct building_host *host = LIST_ENTRY(timer, struct building_host, timer);
    foyer_host_tick(host->stack, host->daemon->loop.now_ns);
    building_host_touch(host);
}

void building_host_schedule(struct building_host *host)
{
    foyer_time_ns deadline = foyer_host_deadline(host->stack);
    if (host->is_retiring) {
        bool is_silent = deadline == FOYER_TIME_NEVER && !foyer_host_has_output(host->stack);
        if (is_silent || host->daemon->loop.now_ns >= host->retire_ns) {
            building_host_destroy(host);
            return;
        }
        deadline = deadline < host->retire_ns ? deadline : host->retire_ns;
    }
    loop_timer_set(&host->daemon->loop, &host->timer, deadline, timer_due);
}
