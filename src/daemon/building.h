/* The building: its hosts, their names, numbers and addresses. */
#ifndef FOYER_DAEMON_BUILDING_H
#define FOYER_DAEMON_BUILDING_H

#include "base/hash.h"
#include "base/list.h"
#include "base/siphash.h"
#include "daemon/loop.h"
#include "daemon/network.h"
#include "foyer/foyer.h"
#include "ipc/protocol.h"

#define BUILDING_DOMAIN "foyer.internal" /* ICANN keeps .internal for private use */
#define BUILDING_HOST_DEFAULT "building" /* where HELLO names none */
#define BUILDING_GATEWAY "gateway"       /* a name no host may have */
#define BUILDING_HOSTS_MAX 16384u

struct daemon;

struct building_host {
    struct daemon *daemon;
    struct list_node node; /* on building.hosts, in order of their making */
    struct hash_node by_name, by_addr4, by_addr6, by_mac;
    char name[FOYER_NAME_MAX];
    uint32_t number;
    struct foyer_addr addr4, addr6;
    uint8_t mac[6];
    struct foyer_host *stack;
    bool is_persistent;      /* stays without programs */
    bool is_retiring;        /* nothing holds it; its stack still says what was sent */
    foyer_time_ns retire_ns; /* retiring: until then at most */
    uint32_t session_count;  /* sessions and birth channels */
    uint32_t socket_count;
    uint32_t direct_count;    /* of direct rings that lead here */
    uint64_t fork_count;      /* of processes with sockets here */
    struct list_node sockets; /* of psocket.host_node */
    struct list_node dirty_node;
    struct loop_timer timer; /* foyer_host_deadline */
    struct loop_garbage garbage;
};

struct building {
    struct daemon *daemon;
    char name[FOYER_NAME_MAX];
    uint32_t name_hash;
    struct siphash_key key;
    struct network net4, net6;
    struct foyer_addr gateway4, gateway6;
    uint16_t ephemeral_first, ephemeral_last; /* of hosts made from now on; 0: the dynamic range */
    struct list_node hosts;
    struct hash_table by_name, by_addr4, by_addr6, by_mac;
    uint32_t host_count;
    uint32_t number_hint; /* no lower number is free */
    bool has_gateway;     /* a link is there: hosts have a default route */
};

int building_init(struct building *building, struct daemon *daemon, const char *name,
                  const char *net4, const char *net6);
/* Destroys the hosts; they have no sockets any more. */
void building_finish(struct building *building);

/* -EBUSY: there are hosts; -EINVAL as network_parse. NULL leaves a network as it is. */
int building_set_networks(struct building *building, const char *net4, const char *net6);

/*
 * Makes a host. addr4, addr6: in the building's networks, or NULL to choose.
 * -EINVAL: bad name or address; -EEXIST: the name or an address is taken; -ENOSPC; -ENOMEM.
 */
int building_host_create(struct building *building, const char *name,
                         const struct foyer_addr *addr4, const struct foyer_addr *addr6,
                         struct building_host **ret_host);
/* Takes it out of the building; sessions and sockets are gone. */
void building_host_destroy(struct building_host *host);
/* A session or birth channel lives on the host from now on. */
void building_host_hold(struct building_host *host);
/* The counts went down: retires the host where nothing holds it any more. */
void building_host_release(struct building_host *host);

/* Lower-cases a host's name and cuts off a trailing ".foyer.internal" and a final dot. False:
 * longer than any name. */
bool building_name_normalise(const char *text, char ret_name[FOYER_NAME_MAX]);

struct building_host *building_find_name(const struct building *building, const char *name);
struct building_host *building_find_addr(const struct building *building,
                                         const struct foyer_addr *addr);
struct building_host *building_find_mac(const struct building *building, const uint8_t mac[6]);

/*
 * A name (or, where that is empty, an address) of a host or of the gateway: canonical name and
 * both addresses. False: not of this building.
 */
struct building_resolution {
    char name[256];
    struct foyer_addr addrs[2];
    uint32_t addr_count;
};
bool building_resolve(const struct building *building, const char *name,
                      const struct foyer_addr *addr, struct building_resolution *ret_resolution);

/* In one of the building's networks. */
bool building_contains(const struct building *building, const struct foyer_addr *addr);

/* Default routes come and go with the links: without one there is no way out. */
void building_set_gateway(struct building *building, bool has_gateway);

/* Something was called on host->stack: it is served at the end of the turn. */
void building_host_touch(struct building_host *host);
/* Sets the host's timer again, and destroys it where it has retired and is silent. */
void building_host_schedule(struct building_host *host);

#endif
