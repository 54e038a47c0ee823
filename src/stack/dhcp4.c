/*
 * DHCPv4 client (RFC 2131 section 4.4), one per host at most.
 *
 *              +--------------------- NAK, silence, DUPLICATE, expiry ----------------------+
 *              v                                                                            |
 *     start   INIT --DISCOVER--> SELECTING --OFFER--> REQUESTING --ACK--> CHECKING --> BOUND
 *       |                                                                  ^            |  ^
 *       +--previous--> REBOOTING --ACK-------------------------------------+         T1 v  | ACK
 *                                                                              RENEWING, T2:
 *                                                                              REBINDING --+
 *
 * dhcp4_input and dhcp4_timer drive it. CHECKING is address.c's probing (RFC 5227); its verdict is
 * looked at in the timer, as is an address that was lost to another later on.
 *
 * Anybody on the link can answer. What is believed is bounded, and checked for being possible.
 */
#include <errno.h>

#include "stack/dhcp.h"
#include "wire/dhcp4.h"
#include "wire/udp.h"

#define START_DELAY_MAX_MS                                                                         \
    1000u /* RFC 2131 section 4.4.1 says 1 to 10 s (SHOULD): today's links
                                    have switches, and a second is what RFC 8415 asks for */
#define DECLINE_DELAY_NS (10 * FOYER_NS_PER_S) /* section 3.1 (5) */
#define RELEASE_NS FOYER_NS_PER_S              /* in which ARP finds the server */
#define RETRY_FIRST_MS 4000u                   /* section 4.1: 4 s, doubled up to 64, +- 1 s */
#define RETRY_DOUBLINGS_MAX 4u
#define RETRY_JITTER_MS 1000u
#define REQUEST_TRIES 4u                         /* section 3.1 (5): 60 s in all */
#define REBOOT_TRIES 2u                          /* 12 s; then the network is another one */
#define RENEW_RETRY_MIN_NS (60 * FOYER_NS_PER_S) /* section 4.4.5 */
#define LEASE_MIN_S 10u /* what is shorter would keep the link busy with nothing else */
#define MTU_MIN 576u    /* of an option that anybody could send */
#define MESSAGE_SIZE_MAX 1472u
#define ROUTES_MAX (WIRE_DHCP4_ROUTES_MAX + 2u)

enum state {
    INIT,
    REBOOTING,
    SELECTING,
    REQUESTING,
    CHECKING,
    BOUND,
    RENEWING,
    REBINDING,
    RELEASING,
};

struct dhcp4 {
    struct timer timer;
    uint8_t state; /* enum state */
    uint8_t tries, failures;
    bool is_unchecked, is_rapid_commit;
    bool has_address; /* lease.addr is among the host's addresses by our doing */
    uint32_t xid;
    uint16_t seconds; /* of the last DISCOVER: its REQUEST repeats it (section 3.1 (3)) */
    foyer_time_ns began_ns, requested_ns;
    struct foyer_addr wanted, server; /* what the REQUEST asks for, and whom */
    uint8_t client_id_size, host_name_size;
    uint8_t client_id[WIRE_DHCP4_CLIENT_ID_MAX];
    char host_name[63];
    struct foyer_dhcp4_lease lease;
    uint32_t route_count;
    struct wire_dhcp4_route routes[ROUTES_MAX]; /* those that are installed */
};

static void tell(struct foyer_host *host)
{
    host->own_events |= FOYER_EVENT_LEASE;
}

static void arm(struct foyer_host *host, foyer_time_ns at)
{
    timer_set(&host->timers, &host->dhcp4->timer, at);
}

/* ---- out ------------------------------------------------------------------------------------------- */

static void fill(const struct foyer_host *host, enum wire_dhcp4_type type,
                 struct wire_dhcp4 *ret_dhcp)
{
    static const uint8_t parameters[] = {
        WIRE_DHCP4_SUBNET_MASK, /* RFC 3442: the classless routes come before the routers */
        WIRE_DHCP4_CLASSLESS_ROUTES, WIRE_DHCP4_ROUTERS,       WIRE_DHCP4_NAME_SERVERS,
        WIRE_DHCP4_DOMAIN_NAME,      WIRE_DHCP4_INTERFACE_MTU, WIRE_DHCP4_TIME_SERVERS,
        WIRE_DHCP4_RENEWAL_TIME,     WIRE_DHCP4_REBINDING_TIME};
    const struct dhcp4 *dhcp = host->dhcp4;

    memset(ret_dhcp, 0, sizeof(*ret_dhcp));
    ret_dhcp->op = WIRE_DHCP4_BOOTREQUEST;
    ret_dhcp->type = (uint8_t)type;
    ret_dhcp->xid = dhcp->xid;
    ret_dhcp->seconds = dhcp->seconds;
    memcpy(ret_dhcp->mac, host->config.mac, 6);
    ret_dhcp->client_id_size = dhcp->client_id_size;
    memcpy(ret_dhcp->client_id, dhcp->client_id, dhcp->client_id_size);
    if (type != WIRE_DHCP4_DISCOVER && type != WIRE_DHCP4_REQUEST)
        return; /* section 4.4.1, table 5: MUST NOT in DECLINE and RELEASE */
    ret_dhcp->max_size = MESSAGE_SIZE_MAX + 28;
    ret_dhcp->parameter_count = sizeof(parameters);
    memcpy(ret_dhcp->parameters, parameters, sizeof(parameters));
    ret_dhcp->host_name.size = dhcp->host_name_size;
    memcpy(ret_dhcp->host_name.bytes, dhcp->host_name, dhcp->host_name_size);
}

/*
 * From 0.0.0.0 to everybody, as a whole frame: without an address there is no way. The broadcast
 * flag stays clear: foyer hears unicast before it has the address (section 4.1, SHOULD).
 */
static void send_unconfigured(struct foyer_host *host, const struct wire_dhcp4 *dhcp)
{
    uint8_t bytes[WIRE_UDP_SIZE + WIRE_DHCP4_SIZE_MAX];
    size_t size = WIRE_UDP_SIZE + wire_dhcp4_emit(bytes + WIRE_UDP_SIZE, dhcp);
    struct wire_udp udp = {.src_port = WIRE_DHCP4_CLIENT_PORT,
                           .dst_port = WIRE_DHCP4_SERVER_PORT,
                           .size = (uint16_t)size};
    wire_udp_emit(bytes, &udp);
    ip4_broadcast_unconfigured(host, WIRE_PROTOCOL_UDP, bytes, size);
}

/* With the leased address as source. */
static void send_configured(struct foyer_host *host, const struct foyer_addr *dst,
                            const struct wire_dhcp4 *dhcp)
{
    uint8_t bytes[WIRE_UDP_SIZE + WIRE_DHCP4_SIZE_MAX];
    size_t size = WIRE_UDP_SIZE + wire_dhcp4_emit(bytes + WIRE_UDP_SIZE, dhcp);
    struct wire_udp udp = {.src_port = WIRE_DHCP4_CLIENT_PORT,
                           .dst_port = WIRE_DHCP4_SERVER_PORT,
                           .size = (uint16_t)size};
    wire_udp_emit(bytes, &udp);
    ip_send_control(host, WIRE_PROTOCOL_UDP, &host->dhcp4->lease.addr, dst, IP_TTL_DEFAULT, 0,
                    bytes, size);
}

static uint16_t seconds_since(foyer_time_ns since, foyer_time_ns now)
{
    foyer_time_ns seconds = (now - since) / FOYER_NS_PER_S;
    return (uint16_t)(seconds < UINT16_MAX ? seconds : UINT16_MAX);
}

static void send_discover(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    struct wire_dhcp4 message;

    dhcp->seconds = seconds_since(dhcp->began_ns, now);
    dhcp->requested_ns = now; /* a rapid commit's lease counts from here */
    fill(host, WIRE_DHCP4_DISCOVER, &message);
    message.requested = dhcp->wanted; /* section 3.5: MAY suggest one */
    message.is_rapid_commit = dhcp->is_rapid_commit;
    send_unconfigured(host, &message);
}

/* Section 4.3.2, table 4: what tells the four kinds of REQUEST apart. */
static void send_request(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    struct wire_dhcp4 message;

    if (dhcp->state == RENEWING || dhcp->state == REBINDING) {
        /* A new transaction each time (section 4.1 allows it): the ACK then tells which REQUEST
         * the new lease counts from. */
        dhcp->xid = (uint32_t)host_random(host);
        dhcp->requested_ns = now;
        dhcp->seconds = seconds_since(dhcp->began_ns, now);
        fill(host, WIRE_DHCP4_REQUEST, &message);
        message.client = dhcp->lease.addr;
        const struct foyer_addr everybody = foyer_addr_v4(255, 255, 255, 255);
        send_configured(host, dhcp->state == RENEWING ? &dhcp->lease.server : &everybody, &message);
        return;
    }
    if (dhcp->tries == 0)
        dhcp->requested_ns = now; /* section 4.4.1: the lease counts from the first REQUEST */
    if (dhcp->state == REBOOTING)
        dhcp->seconds = seconds_since(dhcp->began_ns, now);
    fill(host, WIRE_DHCP4_REQUEST, &message);
    message.requested = dhcp->wanted;
    if (dhcp->state == REQUESTING)
        message.server_id = dhcp->server;
    send_unconfigured(host, &message);
}

static void send_decline(struct foyer_host *host)
{
    struct dhcp4 *dhcp = host->dhcp4;
    struct wire_dhcp4 message;

    dhcp->xid = (uint32_t)host_random(host);
    fill(host, WIRE_DHCP4_DECLINE, &message);
    message.requested = dhcp->lease.addr;
    message.server_id = dhcp->lease.server;
    send_unconfigured(host, &message);
}

/* ---- what a lease does to the host --------------------------------------------------------------------- */

static void remove_routes(struct foyer_host *host)
{
    struct dhcp4 *dhcp = host->dhcp4;
    while (dhcp->route_count > 0) {
        const struct wire_dhcp4_route *route = &dhcp->routes[--dhcp->route_count];
        (void)foyer_host_remove_route(host, &route->prefix, route->prefix_length);
    }
}

static void add_route(struct foyer_host *host, const struct wire_dhcp4_route *route)
{
    struct dhcp4 *dhcp = host->dhcp4;
    /* One that the caller set stays the caller's. */
    if (dhcp->route_count < ROUTES_MAX &&
        route_add(host, &route->prefix, route->prefix_length, &route->gateway) == 0)
        dhcp->routes[dhcp->route_count++] = *route;
}

static void add_routes(struct foyer_host *host, const struct wire_dhcp4 *ack)
{
    const struct foyer_addr any = foyer_addr_v4(0, 0, 0, 0);

    remove_routes(host);
    if (ack->has_routes) {
        /* RFC 3442: with them, the routers option MUST be ignored. */
        for (unsigned i = 0; i < ack->route_count; i++)
            add_route(host, &ack->routes[i]);
        return;
    }
    if (ack->routers.count == 0)
        return;
    const struct foyer_addr *router = &ack->routers.addrs[0]; /* in order of preference */
    struct wire_dhcp4_route by_default = {.prefix = any, .gateway = *router};
    if (!ip_prefix_matches(&host->dhcp4->lease.addr, router,
                           96u + host->dhcp4->lease.prefix_length)) {
        /* Outside of the subnet, as with masks of 32 bits: it must be on the link all the same. */
        struct wire_dhcp4_route to_router = {
            .prefix = *router, .prefix_length = 32, .gateway = any};
        add_route(host, &to_router);
    }
    add_route(host, &by_default);
}

static void set_mtu(struct foyer_host *host, uint16_t mtu)
{
    uint16_t used = mtu >= MTU_MIN && mtu < host->config.mtu ? mtu : host->config.mtu;
    if (used != host->link_mtu_v4)
        host->path_generation++;
    host->link_mtu_v4 = used;
}

static void drop_lease(struct foyer_host *host)
{
    struct dhcp4 *dhcp = host->dhcp4;
    remove_routes(host);
    set_mtu(host, 0);
    struct host_address *address = dhcp->has_address ? address_find(host, &dhcp->lease.addr) : NULL;
    if (address != NULL && address->origin == FOYER_ADDRESS_DHCP) {
        address_remove(host, address);
        addresses_arm(host);
    }
    dhcp->has_address = false;
    memset(&dhcp->lease, 0, sizeof(dhcp->lease));
    dhcp->lease.addr = dhcp->lease.server = foyer_addr_v4(0, 0, 0, 0);
}

/* The address with its new times. False: no room for it. */
static bool install_address(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    struct host_address *address = address_find(host, &dhcp->lease.addr);

    if (address == NULL) {
        struct host_address wanted = {.addr = dhcp->lease.addr,
                                      .created_ns = now,
                                      .preferred_until_ns = dhcp->lease.expires_ns,
                                      .valid_until_ns = dhcp->lease.expires_ns,
                                      .next_ns = FOYER_TIME_NEVER,
                                      .prefix_length = (uint8_t)(96 + dhcp->lease.prefix_length),
                                      .state = FOYER_ADDRESS_ASSIGNED,
                                      .origin = FOYER_ADDRESS_DHCP,
                                      .is_on_link = true,
                                      .is_claimed = true};
        address = address_insert(host, &wanted);
        if (address == NULL)
            return false;
        dhcp->has_address = true;
        if (!dhcp->is_unchecked)
            address_probe(host, address, now);
    } else if (address->origin == FOYER_ADDRESS_DHCP) {
        address->prefix_length = (uint8_t)(96 + dhcp->lease.prefix_length);
        address->preferred_until_ns = address->valid_until_ns = dhcp->lease.expires_ns;
    }
    addresses_arm(host);
    return true;
}

/* ---- states --------------------------------------------------------------------------------------------- */

static void enter_init(struct foyer_host *host, foyer_time_ns delay, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    drop_lease(host);
    dhcp->state = INIT;
    dhcp->tries = 0;
    arm(host, now + delay);
    tell(host);
}

/* Servers that refuse, one by one, what they offered are not asked without end. */
static void start_over(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    foyer_time_ns delay = ip_random_ms(host, 0, START_DELAY_MAX_MS);
    if (dhcp->failures > 0)
        delay += (FOYER_NS_PER_S << (dhcp->failures < 6 ? dhcp->failures : 6));
    if (dhcp->failures < UINT8_MAX)
        dhcp->failures++;
    enter_init(host, delay, now);
}

/* Section 4.1: after the n-th message. */
static foyer_time_ns retry_delay(struct foyer_host *host, unsigned sent)
{
    unsigned doublings = sent - 1 < RETRY_DOUBLINGS_MAX ? sent - 1 : RETRY_DOUBLINGS_MAX;
    uint32_t base = RETRY_FIRST_MS << doublings;
    return ip_random_ms(host, base - RETRY_JITTER_MS, base + RETRY_JITTER_MS);
}

static void discover(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    if (dhcp->state == INIT) {
        dhcp->state = SELECTING;
        dhcp->began_ns = now;
        dhcp->xid = (uint32_t)host_random(host);
    }
    send_discover(host, now);
    if (dhcp->tries < UINT8_MAX)
        dhcp->tries++;
    arm(host, now + retry_delay(host, dhcp->tries));
}

static void request(struct foyer_host *host, unsigned tries_max, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    if (dhcp->tries == tries_max) {
        if (dhcp->state == REBOOTING)
            enter_init(host, 0, now);
        else
            start_over(host, now);
        return;
    }
    send_request(host, now);
    dhcp->tries++;
    arm(host, now + retry_delay(host, dhcp->tries));
}

/* Section 4.4.5: half of what is left until then, but no less than a minute. */
static foyer_time_ns renew_retry(foyer_time_ns until, foyer_time_ns now)
{
    foyer_time_ns half = (until - now) / 2;
    if (half < RENEW_RETRY_MIN_NS)
        half = RENEW_RETRY_MIN_NS;
    return until - now < half ? until : now + half;
}

static void renew(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    uint8_t before = dhcp->state;

    if (now >= dhcp->lease.expires_ns) {
        enter_init(host, 0, now); /* section 4.4.5: MUST immediately stop any other network use */
        return;
    }
    if (before == BOUND)
        dhcp->began_ns = now;
    dhcp->state = now >= dhcp->lease.rebind_ns ? REBINDING : RENEWING;
    if (dhcp->state != before)
        tell(host);
    send_request(host, now);
    arm(host,
        renew_retry(dhcp->state == RENEWING ? dhcp->lease.rebind_ns : dhcp->lease.expires_ns, now));
}

static void become_bound(struct foyer_host *host)
{
    struct dhcp4 *dhcp = host->dhcp4;
    dhcp->state = BOUND;
    dhcp->failures = 0;
    dhcp->wanted = dhcp->lease.addr; /* if it comes to starting over */
    arm(host, dhcp->lease.renew_ns);
    tell(host);
}

/* Is the address still ours to use? False: it is not, and what follows from that was done. */
static bool check_address(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    if (dhcp->state < CHECKING || dhcp->state == RELEASING)
        return true;
    const struct host_address *address = address_find(host, &dhcp->lease.addr);
    if (address == NULL) { /* expired, or removed by the caller */
        enter_init(host, 0, now);
        return false;
    }
    if (address->state != FOYER_ADDRESS_DUPLICATE)
        return true;
    send_decline(host); /* section 3.1 (5): MUST */
    dhcp->wanted = foyer_addr_v4(0, 0, 0, 0);
    enter_init(host, DECLINE_DELAY_NS, now);
    return false;
}

void dhcp4_timer(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    if (!check_address(host, now))
        return;
    switch ((enum state)dhcp->state) {
    case INIT:
    case SELECTING:
        discover(host, now);
        break;
    case REBOOTING:
        request(host, REBOOT_TRIES, now);
        break;
    case REQUESTING:
        request(host, REQUEST_TRIES, now);
        break;
    case CHECKING:
        if (foyer_host_has_address(host, &dhcp->lease.addr))
            become_bound(host);
        break;
    case BOUND:
        if (now < dhcp->lease.renew_ns) {
            arm(host, dhcp->lease.renew_ns);
            break;
        }
        renew(host, now);
        break;
    case RENEWING:
    case REBINDING:
        renew(host, now);
        break;
    case RELEASING:
        (void)foyer_dhcp4_stop(host, false, now);
        break;
    }
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

static bool is_host_address(const struct foyer_addr *addr)
{
    return !foyer_addr_is_any(addr) && !foyer_addr_is_multicast(addr) &&
           !foyer_addr_is_loopback(addr) && addr->bytes[12] < 240 && addr->bytes[12] != 0;
}

/* RFC 950 has no answer to a missing mask; before it the address had. */
static uint8_t natural_prefix_length(const struct foyer_addr *addr)
{
    return addr->bytes[12] < 128 ? 8 : addr->bytes[12] < 192 ? 16 : 24;
}

static foyer_time_ns after_seconds(foyer_time_ns since, uint32_t seconds)
{
    return seconds == UINT32_MAX ? FOYER_TIME_NEVER : since + seconds * FOYER_NS_PER_S;
}

/* Section 4.4.5: T1 and T2 as told, or 0.5 and 0.875 of the lease; with some random fuzz. */
static void set_times(struct foyer_host *host, const struct wire_dhcp4 *ack)
{
    struct foyer_dhcp4_lease *lease = &host->dhcp4->lease;
    uint32_t lease_s = ack->lease_s;
    uint32_t renew_s = ack->has_renewal ? ack->renewal_s : lease_s / 2;
    uint32_t rebind_s = ack->has_rebinding ? ack->rebinding_s : lease_s - lease_s / 8;

    if (renew_s == 0 || renew_s >= rebind_s || rebind_s >= lease_s) {
        renew_s = lease_s / 2;
        rebind_s = lease_s - lease_s / 8;
    }
    lease->obtained_ns = host->dhcp4->requested_ns;
    lease->expires_ns = after_seconds(lease->obtained_ns, lease_s);
    if (lease_s == UINT32_MAX) {
        lease->renew_ns = lease->rebind_ns = FOYER_TIME_NEVER;
        return;
    }
    uint32_t fuzz_ms = renew_s < 1000 ? renew_s * 50 : 50000; /* up to a twentieth earlier */
    lease->rebind_ns = after_seconds(lease->obtained_ns, rebind_s);
    lease->renew_ns = after_seconds(lease->obtained_ns, renew_s) - ip_random_ms(host, 0, fuzz_ms);
}

static uint8_t copy_addrs(struct foyer_addr *to, const struct wire_dhcp4_addrs *from)
{
    uint8_t count = 0;
    for (unsigned i = 0; i < from->count; i++) {
        if (is_host_address(&from->addrs[i]))
            to[count++] = from->addrs[i];
    }
    return count;
}

static void set_facts(struct foyer_dhcp4_lease *lease, const struct wire_dhcp4 *ack)
{
    lease->prefix_length = ack->has_mask ? ack->prefix_length : natural_prefix_length(&ack->yours);
    lease->mtu = ack->mtu;
    lease->router_count = copy_addrs(lease->routers, &ack->routers);
    lease->name_server_count = copy_addrs(lease->name_servers, &ack->name_servers);
    lease->time_server_count = copy_addrs(lease->time_servers, &ack->time_servers);
    if (!dhcp_copy_name(lease->domain, sizeof(lease->domain), ack->domain.bytes, ack->domain.size))
        lease->domain[0] = '\0';
}

static void take_ack(struct foyer_host *host, const struct wire_dhcp4 *ack, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;

    if (!is_host_address(&ack->yours) || !ack->has_lease || ack->lease_s < LEASE_MIN_S)
        return;
    /* A server that moves its client gives it another address in an ACK. */
    if (!foyer_addr_eq(&ack->yours, &dhcp->lease.addr))
        drop_lease(host);
    dhcp->lease.addr = ack->yours;
    if (is_host_address(&ack->server_id))
        dhcp->lease.server = ack->server_id;
    set_facts(&dhcp->lease, ack);
    set_times(host, ack);
    if (!install_address(host, now)) {
        start_over(host, now);
        return;
    }
    add_routes(host, ack);
    set_mtu(host, ack->mtu);
    if (foyer_host_has_address(host, &dhcp->lease.addr)) {
        become_bound(host);
        return;
    }
    dhcp->state = CHECKING;
    arm(host, FOYER_TIME_NEVER); /* until address.c knows */
    tell(host);
}

static void take_offer(struct foyer_host *host, const struct wire_dhcp4 *offer, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    /* Table 3: an OFFER MUST name its server. The first that comes is taken. */
    if (!is_host_address(&offer->yours) || !is_host_address(&offer->server_id))
        return;
    dhcp->state = REQUESTING;
    dhcp->wanted = offer->yours;
    dhcp->server = offer->server_id;
    dhcp->tries = 0;
    request(host, REQUEST_TRIES, now);
}

static bool is_from_chosen(const struct dhcp4 *dhcp, const struct wire_dhcp4 *message)
{
    return dhcp->state != REQUESTING || foyer_addr_is_any(&message->server_id) ||
           foyer_addr_eq(&message->server_id, &dhcp->server);
}

/* Is it an answer to what was sent last? */
static bool is_ours(const struct foyer_host *host, const struct wire_dhcp4 *message)
{
    const struct dhcp4 *dhcp = host->dhcp4;
    if (message->op != WIRE_DHCP4_BOOTREPLY || message->xid != dhcp->xid ||
        memcmp(message->mac, host->config.mac, 6) != 0)
        return false;
    /* RFC 6842 section 3: MUST be ours where it comes back. */
    return message->client_id_size == 0 ||
           (message->client_id_size == dhcp->client_id_size &&
            memcmp(message->client_id, dhcp->client_id, dhcp->client_id_size) == 0);
}

bool dhcp4_input(struct foyer_host *host, const uint8_t *bytes, size_t size, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    struct wire_dhcp4 message;

    if (dhcp == NULL)
        return false;
    if (wire_dhcp4_parse(bytes, size, &message) < 0 || !is_ours(host, &message))
        return true;
    bool is_asking = dhcp->state == REBOOTING || dhcp->state == REQUESTING ||
                     dhcp->state == RENEWING || dhcp->state == REBINDING;
    if (message.type == WIRE_DHCP4_OFFER && dhcp->state == SELECTING) {
        take_offer(host, &message, now);
    } else if (message.type == WIRE_DHCP4_ACK && dhcp->state == SELECTING) {
        /* RFC 4039 section 3.1: only what says so is a committed lease. */
        if (dhcp->is_rapid_commit && message.is_rapid_commit)
            take_ack(host, &message, now);
    } else if (message.type == WIRE_DHCP4_ACK && is_asking && is_from_chosen(dhcp, &message)) {
        if (!is_host_address(&message.server_id) && dhcp->state == REQUESTING)
            message.server_id = dhcp->server;
        take_ack(host, &message, now);
    } else if (message.type == WIRE_DHCP4_NAK && is_asking && is_from_chosen(dhcp, &message)) {
        dhcp->wanted = foyer_addr_v4(0, 0, 0, 0);
        start_over(host, now);
    }
    return true;
}

bool dhcp4_is_expecting(const struct foyer_host *host)
{
    const struct dhcp4 *dhcp = host->dhcp4;
    return dhcp != NULL && dhcp->state < CHECKING;
}

/* ---- the caller's side ------------------------------------------------------------------------------------------ */

static bool is_config_valid(const struct foyer_dhcp4_config *config)
{
    return (config->client_id == NULL ||
            (config->client_id_size >= 2 && config->client_id_size <= WIRE_DHCP4_CLIENT_ID_MAX)) &&
           (foyer_addr_is_any(&config->previous) ||
            (foyer_addr_is_v4(&config->previous) && is_host_address(&config->previous)));
}

int foyer_dhcp4_start(struct foyer_host *host, const struct foyer_dhcp4_config *config,
                      foyer_time_ns now)
{
    static const struct foyer_dhcp4_config defaults;
    size_t name_size = 0;

    host_begin(host, now);
    if (config == NULL)
        config = &defaults;
    while (config->host_name != NULL && name_size <= sizeof(host->dhcp4->host_name) &&
           config->host_name[name_size] != '\0')
        name_size++;
    if (host->dhcp4 != NULL)
        return -EALREADY;
    if (!is_config_valid(config) || name_size > sizeof(host->dhcp4->host_name))
        return -EINVAL;
    struct dhcp4 *dhcp = host_alloc(host, sizeof(*dhcp));
    if (dhcp == NULL)
        return -ENOMEM;
    host->dhcp4 = dhcp;
    dhcp->timer.kind = TIMER_DHCP4;
    dhcp->is_unchecked = config->is_unchecked;
    dhcp->is_rapid_commit = config->is_rapid_commit;
    dhcp->host_name_size = (uint8_t)name_size;
    if (name_size > 0)
        memcpy(dhcp->host_name, config->host_name, name_size);
    if (config->client_id != NULL) {
        dhcp->client_id_size = (uint8_t)config->client_id_size;
        memcpy(dhcp->client_id, config->client_id, config->client_id_size);
    } else {
        dhcp->client_id_size = 7;
        dhcp->client_id[0] = 1; /* Ethernet */
        memcpy(dhcp->client_id + 1, host->config.mac, 6);
    }
    dhcp->wanted = foyer_addr_v4(0, 0, 0, 0);
    enter_init(host, ip_random_ms(host, 0, START_DELAY_MAX_MS), host->now_ns);
    if (!foyer_addr_is_any(&config->previous)) {
        dhcp->state = REBOOTING;
        dhcp->wanted = config->previous;
        dhcp->began_ns = host->now_ns;
        dhcp->xid = (uint32_t)host_random(host);
    }
    return 0;
}

int foyer_dhcp4_stop(struct foyer_host *host, bool is_release, foyer_time_ns now)
{
    struct dhcp4 *dhcp = host->dhcp4;
    host_begin(host, now);
    if (dhcp == NULL)
        return -ENOENT;
    bool has_lease = dhcp->state >= BOUND && dhcp->state < RELEASING;
    if (is_release && has_lease) {
        struct wire_dhcp4 message;
        dhcp->xid = (uint32_t)host_random(host);
        dhcp->seconds = 0;
        fill(host, WIRE_DHCP4_RELEASE, &message);
        message.client = dhcp->lease.addr;
        message.server_id = dhcp->lease.server;
        send_configured(host, &dhcp->lease.server, &message);
        dhcp->state = RELEASING;
        /* The message leaves with the address as its source; nothing new does. */
        struct host_address *address = address_find(host, &dhcp->lease.addr);
        if (address != NULL)
            address->preferred_until_ns = host->now_ns;
        arm(host, host->now_ns + RELEASE_NS);
        tell(host);
        return 0;
    }
    drop_lease(host);
    timer_cancel(&host->timers, &dhcp->timer);
    host_free(host, dhcp, sizeof(*dhcp));
    host->dhcp4 = NULL;
    tell(host);
    return 0;
}

int foyer_dhcp4_lease(const struct foyer_host *host, struct foyer_dhcp4_lease *ret_lease)
{
    static const uint8_t states[] = {
        [INIT] = FOYER_DHCP_SEARCHING,      [REBOOTING] = FOYER_DHCP_SEARCHING,
        [SELECTING] = FOYER_DHCP_SEARCHING, [REQUESTING] = FOYER_DHCP_SEARCHING,
        [CHECKING] = FOYER_DHCP_CHECKING,   [BOUND] = FOYER_DHCP_BOUND,
        [RENEWING] = FOYER_DHCP_RENEWING,   [REBINDING] = FOYER_DHCP_REBINDING,
        [RELEASING] = FOYER_DHCP_RELEASING,
    };
    if (host->dhcp4 == NULL)
        return -ENOENT;
    *ret_lease = host->dhcp4->lease;
    ret_lease->state = (enum foyer_dhcp_state)states[host->dhcp4->state];
    return 0;
}

void dhcp4_look(struct foyer_host *host)
{
    if (host->dhcp4 != NULL)
        arm(host, host->now_ns);
}
