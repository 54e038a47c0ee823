/*
 * The switch: Ethernet frames between the stacks of the building's hosts and its links.
 *
 * A frame goes from one host's output into another's input without being copied. Hosts are known
 * by the MACs that foyerd gave them; what is behind a link is learned from source addresses.
 * Broadcast, multicast and unknown addresses are flooded.
 */
#ifndef FOYER_DAEMON_FABRIC_H
#define FOYER_DAEMON_FABRIC_H

#include "base/hash.h"
#include "base/list.h"
#include "foyer/types.h"

struct building_host;
struct daemon;
struct lan_link;

#define FABRIC_MACS_MAX 4096u /* learned */

struct fabric {
    struct daemon *daemon;
    struct list_node links; /* of lan_link.node */
    uint32_t link_count;
    struct hash_table macs;  /* of learned.node */
    struct list_node by_age; /* of learned.age_node, the oldest first */
    uint32_t mac_count;
};

int fabric_init(struct fabric *fabric, struct daemon *daemon);
void fabric_finish(struct fabric *fabric);

/* Frames that a link has received. Borrowed for the call. */
void fabric_from_link(struct fabric *fabric, struct lan_link *link,
                      const struct foyer_packet *packets, size_t count);
/* Passes on what a host wants to send; true where it has more. Bounded. */
bool fabric_from_host(struct fabric *fabric, struct building_host *host);
/* Forgets what was learned of a link. */
void fabric_forget_link(struct fabric *fabric, const struct lan_link *link);

#endif
