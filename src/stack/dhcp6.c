/*
 * DHCPv6 client (RFC 8415 section 18.2), one per host at most, with one IA_NA.
 *
 *     start --> WAITING --router: M--> SOLICITING --Advertise--> REQUESTING --Reply--> CHECKING
 *                  |                       ^                                              |
 *                  | router: O             +-- no address left, refused                    v
 *                  v                       |        (CONFIRMING) <--caller, any answer--> BOUND
 *              INFORMING --> INFORMED                                        T1: RENEWING, T2:
 *                                                                            REBINDING
 *
 * All messages are multicast from the link-local address; while that is TENTATIVE, nothing is
 * sent. CHECKING is duplicate address detection (address.c), whose verdict is looked at in the
 * timer; a duplicate is DECLINED. Reconfigure needs authentication, which nobody deploys, and is
 * ignored (section 18.2.11: MUST without it).
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "stack/dhcp.h"
#include "wire/dhcp6.h"
#include "wire/udp.h"

#define HOP_LIMIT 1u     /* ff02::1:2 does not leave the link */
#define MAX_RT_MIN_S 60u /* section 21.24 */
#define MAX_RT_MAX_S 86400u
#define REFRESH_DEFAULT_S 86400u /* section 21.23: IRT_DEFAULT, IRT_MINIMUM */
#define REFRESH_MIN_S 600u

enum state {
    WAITING,
    SOLICITING,
    REQUESTING,
    INFORMING,
    CONFIRMING,
    CHECKING,
    BOUND,
    RENEWING,
    REBINDING,
    DECLINING,
    INFORMED,
    RELEASING,
};

/* Section 7.6: what each exchange begins and goes on with; 0: no limit. */
struct exchange {
    uint8_t type, tries_max;
    uint16_t delay_max_ms, duration_s;
    uint32_t first_ms, max_ms;
};

static const struct exchange exchanges[] = {
    [SOLICITING] = {WIRE_DHCP6_SOLICIT, 0, 1000, 0, 1000, 3600000},
    [REQUESTING] = {WIRE_DHCP6_REQUEST, 10, 0, 0, 1000, 30000},
    [INFORMING] = {WIRE_DHCP6_INFORMATION_REQUEST, 0, 1000, 0, 1000, 3600000},
    [CONFIRMING] = {WIRE_DHCP6_CONFIRM, 0, 1000, 10, 1000, 4000},
    [RENEWING] = {WIRE_DHCP6_RENEW, 0, 0, 0, 10000, 600000},
    [REBINDING] = {WIRE_DHCP6_REBIND, 0, 0, 0, 10000, 600000},
    [DECLINING] = {WIRE_DHCP6_DECLINE, 4, 0, 0, 1000, 0},
    [RELEASING] = {WIRE_DHCP6_RELEASE, 4, 0, 0, 1000, 0},
};

struct dhcp6 {
    struct timer timer;
    uint8_t state; /* enum state */
    uint8_t mode;  /* enum foyer_dhcp6_mode */
    bool is_rapid_commit;
    uint8_t tries;
    uint32_t xid, iaid, rt_ms;
    uint32_t solicit_max_ms, inform_max_ms; /* SOL_MAX_RT, INF_MAX_RT */
    foyer_time_ns began_ns, renew_ns, rebind_ns;
    struct wire_dhcp6_duid client_id, server_id;
    int best_preference; /* SOLICITING: of the advertisement whose addresses are kept, or -1 */
    /* Those of the lease; REQUESTING: those that were advertised; DECLINING, RELEASING: those
     * that are given back. */
    uint8_t address_count, offered_count;
    struct foyer_addr addresses[WIRE_DHCP6_ADDRESSES_MAX], offered[WIRE_DHCP6_ADDRESSES_MAX];
    uint8_t name_server_count;
    struct foyer_addr name_servers[FOYER_DHCP_SERVERS_MAX];
    char domains[256];
};

static_assert(FOYER_DHCP_ADDRESSES_MAX == WIRE_DHCP6_ADDRESSES_MAX, "a lease has room for all");
static_assert(FOYER_DHCP_SERVERS_MAX == WIRE_DHCP6_NAME_SERVERS_MAX, "as well");

static void tell(struct foyer_host *host)
{
    host->own_events |= FOYER_EVENT_LEASE;
}

static void arm(struct foyer_host *host, foyer_time_ns at)
{
    timer_set(&host->timers, &host->dhcp6->timer, at);
}

/* ---- out ------------------------------------------------------------------------------------------- */

static const struct host_address *find_link_local(const struct foyer_host *host)
{
    for (uint32_t i = 0; i < host->address_count; i++) {
        if (host->addresses[i].is_link_local && address_is_assigned(&host->addresses[i]))
            return &host->addresses[i];
    }
    return NULL;
}

static void put_ia(const struct dhcp6 *dhcp, struct wire_dhcp6 *message)
{
    /* What is offered, declined or released; else what the lease has. */
    bool is_offered =
        dhcp->state == REQUESTING || dhcp->state == DECLINING || dhcp->state == RELEASING;
    message->has_ia = true;
    message->iaid = dhcp->iaid;
    message->address_count = is_offered ? dhcp->offered_count : dhcp->address_count;
    for (unsigned i = 0; i < message->address_count; i++)
        message->addresses[i].addr = is_offered ? dhcp->offered[i] : dhcp->addresses[i];
}

static void put_parameters(struct wire_dhcp6 *message)
{
    bool is_information = message->type == WIRE_DHCP6_INFORMATION_REQUEST;
    message->parameters[message->parameter_count++] = WIRE_DHCP6_NAME_SERVERS;
    message->parameters[message->parameter_count++] = WIRE_DHCP6_DOMAINS;
    if (is_information) /* sections 21.23, 21.25: MUST be asked for */
        message->parameters[message->parameter_count++] = WIRE_DHCP6_REFRESH_TIME;
    message->parameters[message->parameter_count++] =
        is_information ? WIRE_DHCP6_INF_MAX_RT : WIRE_DHCP6_SOL_MAX_RT;
}

static void send_message(struct foyer_host *host, const struct foyer_addr *src, foyer_time_ns now)
{
    static const struct foyer_addr servers = {
        {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2}}; /* section 7.1 */
    const struct dhcp6 *dhcp = host->dhcp6;
    uint8_t type = exchanges[dhcp->state].type;
    foyer_time_ns elapsed_cs = (now - dhcp->began_ns) / (10 * FOYER_NS_PER_MS);
    struct wire_dhcp6 message = {
        .type = type, .xid = dhcp->xid, .client_id = dhcp->client_id, .has_elapsed = true};

    message.elapsed_cs = (uint16_t)(elapsed_cs < UINT16_MAX ? elapsed_cs : UINT16_MAX);
    if (type == WIRE_DHCP6_REQUEST || type == WIRE_DHCP6_RENEW || type == WIRE_DHCP6_RELEASE ||
        type == WIRE_DHCP6_DECLINE)
        message.server_id = dhcp->server_id;
    if (type != WIRE_DHCP6_INFORMATION_REQUEST)
        put_ia(dhcp, &message);
    if (type != WIRE_DHCP6_CONFIRM && type != WIRE_DHCP6_RELEASE && type != WIRE_DHCP6_DECLINE)
        put_parameters(&message);
    message.is_rapid_commit = type == WIRE_DHCP6_SOLICIT && dhcp->is_rapid_commit;

    uint8_t bytes[WIRE_UDP_SIZE + WIRE_DHCP6_SIZE_MAX];
    size_t size = WIRE_UDP_SIZE + wire_dhcp6_emit(bytes + WIRE_UDP_SIZE, &message);
    struct wire_udp udp = {.src_port = WIRE_DHCP6_CLIENT_PORT,
                           .dst_port = WIRE_DHCP6_SERVER_PORT,
                           .size = (uint16_t)size};
    wire_udp_emit(bytes, &udp);
    ip_send_control(host, WIRE_PROTOCOL_UDP, src, &servers, HOP_LIMIT, 0, bytes, size);
}

/* ---- an exchange (section 15) ------------------------------------------------------------------------ */

static void begin(struct foyer_host *host, enum state state, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    dhcp->state = (uint8_t)state;
    dhcp->tries = 0;
    dhcp->xid = (uint32_t)host_random(host) & 0xffffffu; /* section 16.1: a new one */
    if (state == SOLICITING) {
        dhcp->best_preference = -1;
        dhcp->offered_count = 0;
    }
    arm(host, now + ip_random_ms(host, 0, exchanges[state].delay_max_ms));
    tell(host);
}

/* RT, with RAND between -0.1 and 0.1 (section 15). */
static uint32_t next_rt_ms(struct foyer_host *host)
{
    const struct dhcp6 *dhcp = host->dhcp6;
    const struct exchange *exchange = &exchanges[dhcp->state];
    uint32_t max_ms = dhcp->state == SOLICITING  ? dhcp->solicit_max_ms
                      : dhcp->state == INFORMING ? dhcp->inform_max_ms
                                                 : exchange->max_ms;
    uint32_t base = dhcp->tries == 0 ? exchange->first_ms : 2 * dhcp->rt_ms;
    uint32_t spread = (dhcp->tries == 0 ? exchange->first_ms : dhcp->rt_ms) / 10;
    if (max_ms != 0 && base > max_ms) {
        base = max_ms;
        spread = max_ms / 10;
    }
    /* Section 18.2.1: the first Solicit waits no less than its time, so that all servers of the
     * link are heard. */
    uint32_t low = dhcp->state == SOLICITING && dhcp->tries == 0 ? base + 1 : base - spread;
    return (uint32_t)(ip_random_ms(host, low, base + spread) / FOYER_NS_PER_MS);
}

static void send_and_arm(struct foyer_host *host, foyer_time_ns until, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    const struct host_address *link_local = find_link_local(host);
    if (link_local == NULL) {
        arm(host, until); /* dhcp6_look calls when it is there */
        return;
    }
    if (dhcp->tries == 0)
        dhcp->began_ns = now;
    send_message(host, &link_local->addr, now);
    dhcp->rt_ms = next_rt_ms(host);
    if (dhcp->tries < UINT8_MAX)
        dhcp->tries++;
    foyer_time_ns at = now + dhcp->rt_ms * FOYER_NS_PER_MS;
    arm(host, at < until ? at : until);
}

/* ---- what a lease does to the host --------------------------------------------------------------------- */

static void remove_address(struct foyer_host *host, const struct foyer_addr *addr)
{
    struct host_address *address = address_find(host, addr);
    if (address != NULL && address->origin == FOYER_ADDRESS_DHCP)
        address_remove(host, address);
    addresses_arm(host);
}

static void drop_addresses(struct foyer_host *host)
{
    struct dhcp6 *dhcp = host->dhcp6;
    while (dhcp->address_count > 0)
        remove_address(host, &dhcp->addresses[--dhcp->address_count]);
}

static void forget(struct dhcp6 *dhcp, unsigned index)
{
    dhcp->address_count--;
    for (unsigned i = index; i < dhcp->address_count; i++)
        dhcp->addresses[i] = dhcp->addresses[i + 1];
}

static foyer_time_ns after_seconds(foyer_time_ns since, uint32_t seconds)
{
    return seconds == UINT32_MAX ? FOYER_TIME_NEVER : since + seconds * FOYER_NS_PER_S;
}

static bool is_leasable(const struct wire_dhcp6_address *address)
{
    /* Section 21.6: preferred beyond valid MUST be discarded. */
    return address->status == WIRE_DHCP6_SUCCESS && address->preferred_s <= address->valid_s &&
           !foyer_addr_is_any(&address->addr) && !foyer_addr_is_multicast(&address->addr) &&
           !foyer_addr_is_loopback(&address->addr) && !foyer_addr_is_link_local_v6(&address->addr);
}

/* Section 18.2.10.1: new, extended or, with no time left, gone. */
static void install_address(struct foyer_host *host, const struct wire_dhcp6_address *leased,
                            foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    struct host_address *address = address_find(host, &leased->addr);
    unsigned index = 0;

    while (index < dhcp->address_count && !foyer_addr_eq(&dhcp->addresses[index], &leased->addr))
        index++;
    bool is_known = index < dhcp->address_count;
    if (leased->valid_s == 0) {
        if (is_known) {
            remove_address(host, &leased->addr);
            forget(dhcp, index);
        }
        return;
    }
    if (!is_known && (address != NULL || dhcp->address_count == WIRE_DHCP6_ADDRESSES_MAX))
        return; /* it is the host's by other means */
    if (address == NULL) {
        /* 128 bits: a lease says nothing of who else is on the link (section 18.2.10.1). */
        struct host_address wanted = {.addr = leased->addr,
                                      .created_ns = now,
                                      .next_ns = FOYER_TIME_NEVER,
                                      .prefix_length = 128,
                                      .origin = FOYER_ADDRESS_DHCP,
                                      .is_claimed = true};
        address = address_insert(host, &wanted);
        if (address == NULL)
            return;
        address_probe(host, address, now); /* section 18.2.10.1: MUST, RFC 4862 section 5.4 */
    }
    if (!is_known)
        dhcp->addresses[dhcp->address_count++] = leased->addr;
    address->preferred_until_ns = after_seconds(now, leased->preferred_s);
    address->valid_until_ns = after_seconds(now, leased->valid_s);
}

/* Section 14.2, 21.4: where the server leaves it to the client, 0.5 and 0.8 of the shortest
 * preferred lifetime. */
static void set_times(struct dhcp6 *dhcp, const struct wire_dhcp6 *reply, foyer_time_ns now)
{
    uint32_t shortest = UINT32_MAX;
    for (unsigned i = 0; i < reply->address_count; i++) {
        uint32_t preferred = reply->addresses[i].preferred_s;
        if (is_leasable(&reply->addresses[i]) && reply->addresses[i].valid_s > 0 &&
            preferred < shortest)
            shortest = preferred;
    }
    uint32_t t1 = reply->t1_s, t2 = reply->t2_s;
    if (t1 == 0)
        t1 = t2 != 0 && t2 / 2 < shortest / 2 ? t2 / 2 : shortest / 2;
    if (t2 == 0)
        t2 = shortest - shortest / 5;
    if (shortest == UINT32_MAX && reply->t1_s == 0)
        t1 = UINT32_MAX;
    if (shortest == UINT32_MAX && reply->t2_s == 0)
        t2 = UINT32_MAX;
    if (t1 == 0)
        t1 = 1; /* deprecated from the start: the least that does not spin */
    dhcp->renew_ns = after_seconds(now, t1);
    dhcp->rebind_ns = after_seconds(now, t2 < t1 ? t1 : t2);
}

/* ---- configuration --------------------------------------------------------------------------------------- */

/* dhcp_copy_name takes whole names: dots, and a zero at the end. */
static bool is_label(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '.' || bytes[i] == '\0')
            return false;
    }
    return true;
}

/* RFC 3646 section 4: names in RFC 1035 section 3.1's form, no compression. All or nothing. */
static bool set_domains(char *to, size_t capacity, const uint8_t *bytes, size_t size)
{
    size_t at = 0, written = 0;
    while (at < size) {
        size_t label = bytes[at++];
        if (label > 63 || label > size - at || written + label + 1 >= capacity)
            return false;
        if (label == 0) {
            if (written == 0 || to[written - 1] != '.')
                return false;
            to[written - 1] = ' ';
            continue;
        }
        if (!is_label(bytes + at, label) ||
            !dhcp_copy_name(to + written, capacity - written, (const char *)bytes + at, label))
            return false;
        at += label;
        written += label;
        to[written++] = '.';
    }
    if (written == 0 || to[written - 1] != ' ')
        return false;
    to[written - 1] = '\0';
    return true;
}

static void set_facts(struct dhcp6 *dhcp, const struct wire_dhcp6 *reply)
{
    dhcp->name_server_count = 0;
    for (unsigned i = 0; i < reply->name_server_count; i++) {
        const struct foyer_addr *addr = &reply->name_servers[i];
        if (!foyer_addr_is_any(addr) && !foyer_addr_is_multicast(addr) &&
            !foyer_addr_is_loopback(addr))
            dhcp->name_servers[dhcp->name_server_count++] = *addr;
    }
    if (!set_domains(dhcp->domains, sizeof(dhcp->domains), reply->domains, reply->domains_size))
        dhcp->domains[0] = '\0';
}

static void set_max_rt(struct dhcp6 *dhcp, const struct wire_dhcp6 *message)
{
    /* Sections 21.24 and 21.25: MUST ignore values out of range. */
    if (message->sol_max_rt_s >= MAX_RT_MIN_S && message->sol_max_rt_s <= MAX_RT_MAX_S)
        dhcp->solicit_max_ms = message->sol_max_rt_s * 1000;
    if (message->inf_max_rt_s >= MAX_RT_MIN_S && message->inf_max_rt_s <= MAX_RT_MAX_S)
        dhcp->inform_max_ms = message->inf_max_rt_s * 1000;
}

/* ---- states ------------------------------------------------------------------------------------------------ */

static void solicit_anew(struct foyer_host *host, foyer_time_ns now)
{
    drop_addresses(host);
    begin(host, SOLICITING, now);
}

/* CHECKING while one is tentative, then BOUND. */
static void rest(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    uint8_t state = BOUND;
    if (dhcp->address_count == 0) {
        begin(host, SOLICITING, now);
        return;
    }
    for (unsigned i = 0; i < dhcp->address_count; i++) {
        const struct host_address *address = address_find(host, &dhcp->addresses[i]);
        if (address != NULL && address->state == FOYER_ADDRESS_TENTATIVE)
            state = CHECKING;
    }
    dhcp->state = state;
    arm(host, dhcp->renew_ns);
    tell(host);
}

/* Takes out those that expired or were lost to another. True: the state changed by it. */
static bool check_addresses(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    uint8_t declined = 0;

    if (dhcp->state < CONFIRMING || dhcp->state > REBINDING)
        return false;
    for (unsigned i = dhcp->address_count; i-- > 0;) {
        struct foyer_addr addr = dhcp->addresses[i];
        const struct host_address *address = address_find(host, &addr);
        if (address != NULL && address->state != FOYER_ADDRESS_DUPLICATE)
            continue;
        forget(dhcp, i);
        if (address == NULL)
            continue;
        dhcp->offered[declined++] = addr;
        remove_address(host, &addr);
    }
    if (declined > 0) {
        dhcp->offered_count = declined;
        begin(host, DECLINING, now); /* section 18.2.8 */
        return true;
    }
    if (dhcp->address_count > 0)
        return false;
    solicit_anew(host, now);
    return true;
}

static void finish(struct foyer_host *host)
{
    struct dhcp6 *dhcp = host->dhcp6;
    drop_addresses(host);
    timer_cancel(&host->timers, &dhcp->timer);
    host_free(host, dhcp, sizeof(*dhcp));
    host->dhcp6 = NULL;
    tell(host);
}

/* The exchange ended without an answer (sections 18.2.2, .3, .7, .8). */
static void give_up(struct foyer_host *host, foyer_time_ns now)
{
    switch ((enum state)host->dhcp6->state) {
    case REQUESTING:
        begin(host, SOLICITING, now);
        break;
    case CONFIRMING: /* SHOULD go on with what it has */
    case DECLINING:
        rest(host, now);
        break;
    case RELEASING:
        finish(host);
        break;
    default:
        break;
    }
}

static void go_on(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    const struct exchange *exchange = &exchanges[dhcp->state];
    foyer_time_ns until = FOYER_TIME_NEVER;

    if (dhcp->tries > 0 && exchange->duration_s > 0) {
        until = dhcp->began_ns + exchange->duration_s * FOYER_NS_PER_S;
        if (now >= until) {
            give_up(host, now);
            return;
        }
    }
    if (exchange->tries_max > 0 && dhcp->tries >= exchange->tries_max) {
        give_up(host, now);
        return;
    }
    if (dhcp->state == RENEWING)
        until = dhcp->rebind_ns;
    send_and_arm(host, until, now);
}

void dhcp6_timer(struct foyer_host *host, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    if (check_addresses(host, now))
        return;
    switch ((enum state)dhcp->state) {
    case WAITING:
        break;
    case SOLICITING:
        /* Section 18.2.1: the first time is over, the best of the answers is taken. */
        if (dhcp->tries > 0 && dhcp->best_preference >= 0) {
            begin(host, REQUESTING, now);
            break;
        }
        go_on(host, now);
        break;
    case CHECKING:
        rest(host, now);
        break;
    case BOUND:
    case RENEWING:
        if (now >= dhcp->rebind_ns)
            begin(host, REBINDING, now);
        else if (dhcp->state == RENEWING)
            go_on(host, now);
        else if (now >= dhcp->renew_ns)
            begin(host, RENEWING, now);
        else
            arm(host, dhcp->renew_ns);
        break;
    case INFORMED:
        begin(host, INFORMING, now);
        break;
    case REQUESTING:
    case INFORMING:
    case CONFIRMING:
    case REBINDING:
    case DECLINING:
    case RELEASING:
        go_on(host, now);
        break;
    }
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

/* Sections 18.2.9 and 18.2.1 */
static void advertise_input(struct foyer_host *host, const struct wire_dhcp6 *message,
                            foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    struct foyer_addr offered[WIRE_DHCP6_ADDRESSES_MAX];
    uint8_t count = 0;

    set_max_rt(dhcp, message); /* also of one that has nothing else to give */
    if (!message->has_ia || message->iaid != dhcp->iaid ||
        message->ia_status != WIRE_DHCP6_SUCCESS || message->status != WIRE_DHCP6_SUCCESS)
        return;
    for (unsigned i = 0; i < message->address_count; i++) {
        if (is_leasable(&message->addresses[i]) && message->addresses[i].valid_s > 0)
            offered[count++] = message->addresses[i].addr;
    }
    if (count == 0 || message->preference <= dhcp->best_preference)
        return;
    dhcp->best_preference = message->preference;
    dhcp->server_id = message->server_id;
    dhcp->offered_count = count;
    memcpy(dhcp->offered, offered, sizeof(offered));
    if (message->preference == UINT8_MAX || dhcp->tries > 1)
        begin(host, REQUESTING, now);
}

/* An IA with addresses: the answer to Solicit, Request, Renew and Rebind (section 18.2.10.1). */
static void lease_input(struct foyer_host *host, const struct wire_dhcp6 *reply, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    bool is_extension = dhcp->state == RENEWING || dhcp->state == REBINDING;

    if (reply->status == WIRE_DHCP6_NOT_ON_LINK ||
        (reply->has_ia && reply->ia_status == WIRE_DHCP6_NOT_ON_LINK)) {
        solicit_anew(host, now);
        return;
    }
    if (reply->status != WIRE_DHCP6_SUCCESS || !reply->has_ia || reply->iaid != dhcp->iaid)
        return; /* the exchange goes on */
    if (reply->t1_s > reply->t2_s && reply->t2_s != 0)
        return; /* section 21.4 */
    if (reply->ia_status == WIRE_DHCP6_NO_BINDING && is_extension) {
        /* The server knows nothing of it: MUST be requested anew. */
        dhcp->server_id = reply->server_id;
        dhcp->offered_count = dhcp->address_count;
        memcpy(dhcp->offered, dhcp->addresses, sizeof(dhcp->offered));
        begin(host, REQUESTING, now);
        return;
    }
    if (reply->ia_status != WIRE_DHCP6_SUCCESS) {
        if (!is_extension)
            solicit_anew(host, now);
        return;
    }
    unsigned usable = 0;
    for (unsigned i = 0; i < reply->address_count; i++) {
        if (!is_leasable(&reply->addresses[i]))
            continue;
        install_address(host, &reply->addresses[i], now);
        usable++;
    }
    if (usable == 0)
        return;
    dhcp->server_id = reply->server_id;
    set_times(dhcp, reply, now);
    set_facts(dhcp, reply);
    addresses_arm(host);
    host->path_generation++;
    rest(host, now);
}

static void information_input(struct foyer_host *host, const struct wire_dhcp6 *reply,
                              foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    uint32_t refresh_s = reply->refresh_s != 0 ? reply->refresh_s : REFRESH_DEFAULT_S;

    if (reply->status != WIRE_DHCP6_SUCCESS)
        return;
    set_facts(dhcp, reply);
    dhcp->state = INFORMED;
    arm(host, after_seconds(now, refresh_s < REFRESH_MIN_S ? REFRESH_MIN_S : refresh_s));
    tell(host);
}

static void reply_input(struct foyer_host *host, const struct wire_dhcp6 *reply, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;

    set_max_rt(dhcp, reply);
    switch ((enum state)dhcp->state) {
    case SOLICITING:
        /* Section 18.2.10: without the option the Reply MUST be discarded. */
        if (dhcp->is_rapid_commit && reply->is_rapid_commit && dhcp->tries > 0)
            lease_input(host, reply, now);
        break;
    case REQUESTING:
    case RENEWING:
    case REBINDING:
        if (dhcp->tries > 0)
            lease_input(host, reply, now);
        break;
    case INFORMING:
        information_input(host, reply, now);
        break;
    case CONFIRMING:
        if (reply->status == WIRE_DHCP6_NOT_ON_LINK)
            solicit_anew(host, now);
        else if (reply->status == WIRE_DHCP6_SUCCESS)
            rest(host, now);
        break;
    case DECLINING: /* whatever the server says, it is over */
        rest(host, now);
        break;
    case RELEASING:
        finish(host);
        break;
    case WAITING:
    case CHECKING:
    case BOUND:
    case INFORMED:
        break;
    }
}

static bool duid_eq(const struct wire_dhcp6_duid *a, const struct wire_dhcp6_duid *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

bool dhcp6_input(struct foyer_host *host, const uint8_t *bytes, size_t size, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    struct wire_dhcp6 message;

    if (dhcp == NULL)
        return false;
    /* Sections 16.3 and 16.10 */
    if (wire_dhcp6_parse(bytes, size, &message) < 0 || message.xid != dhcp->xid ||
        message.server_id.size == 0)
        return true;
    if (!duid_eq(&message.client_id, &dhcp->client_id) &&
        !(dhcp->state == INFORMING && message.client_id.size == 0))
        return true;
    if (message.type == WIRE_DHCP6_ADVERTISE && dhcp->state == SOLICITING && dhcp->tries > 0)
        advertise_input(host, &message, now);
    else if (message.type == WIRE_DHCP6_REPLY)
        reply_input(host, &message, now);
    return true;
}

void dhcp6_advertised(struct foyer_host *host, bool is_managed, bool is_other, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    if (dhcp == NULL || dhcp->mode != FOYER_DHCP6_AS_ADVERTISED)
        return;
    bool is_informing = dhcp->state == INFORMING || dhcp->state == INFORMED;
    if (is_managed && (dhcp->state == WAITING || is_informing))
        begin(host, SOLICITING, now);
    else if (is_other && dhcp->state == WAITING) /* RFC 4861 section 4.2: M says O too */
        begin(host, INFORMING, now);
}

/* ---- the caller's side ------------------------------------------------------------------------------------------ */

static void set_ids(const struct foyer_host *host, struct dhcp6 *dhcp,
                    const struct foyer_dhcp6_config *config)
{
    const uint8_t *mac = host->config.mac;
    dhcp->iaid = config->iaid != 0 ? config->iaid : load_be32(mac + 2);
    if (config->duid != NULL) {
        dhcp->client_id.size = (uint8_t)config->duid_size;
        memcpy(dhcp->client_id.bytes, config->duid, config->duid_size);
        return;
    }
    /* Section 11.4: DUID-LL, Ethernet. */
    const uint8_t link_layer[10] = {0, 3, 0, 1, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]};
    dhcp->client_id.size = sizeof(link_layer);
    memcpy(dhcp->client_id.bytes, link_layer, sizeof(link_layer));
}

int foyer_dhcp6_start(struct foyer_host *host, const struct foyer_dhcp6_config *config,
                      foyer_time_ns now)
{
    static const struct foyer_dhcp6_config defaults;

    if (!FOYER_WITH_IPV6)
        return -EOPNOTSUPP;
    host_begin(host, now);
    if (config == NULL)
        config = &defaults;
    if (host->dhcp6 != NULL)
        return -EALREADY;
    if ((unsigned)config->mode > FOYER_DHCP6_INFORMATION ||
        (config->duid != NULL &&
         (config->duid_size < 3 || config->duid_size > WIRE_DHCP6_DUID_MAX)))
        return -EINVAL;
    struct dhcp6 *dhcp = host_alloc(host, sizeof(*dhcp));
    if (dhcp == NULL)
        return -ENOMEM;
    host->dhcp6 = dhcp;
    dhcp->timer.kind = TIMER_DHCP6;
    dhcp->mode = (uint8_t)config->mode;
    dhcp->is_rapid_commit = config->is_rapid_commit;
    dhcp->solicit_max_ms = exchanges[SOLICITING].max_ms;
    dhcp->inform_max_ms = exchanges[INFORMING].max_ms;
    dhcp->renew_ns = dhcp->rebind_ns = FOYER_TIME_NEVER;
    set_ids(host, dhcp, config);
    if (config->mode == FOYER_DHCP6_ADDRESSES)
        begin(host, SOLICITING, host->now_ns);
    else if (config->mode == FOYER_DHCP6_INFORMATION)
        begin(host, INFORMING, host->now_ns);
    else
        dhcp6_advertised(host, host->is_managed, host->is_other, host->now_ns);
    tell(host);
    return 0;
}

int foyer_dhcp6_stop(struct foyer_host *host, bool is_release, foyer_time_ns now)
{
    struct dhcp6 *dhcp = host->dhcp6;
    host_begin(host, now);
    if (dhcp == NULL)
        return -ENOENT;
    bool has_lease = dhcp->state >= CONFIRMING && dhcp->state <= REBINDING;
    if (!is_release || !has_lease || dhcp->server_id.size == 0) {
        finish(host);
        return 0;
    }
    /* Section 18.2.7: MUST stop using the addresses first. */
    dhcp->offered_count = dhcp->address_count;
    memcpy(dhcp->offered, dhcp->addresses, sizeof(dhcp->offered));
    drop_addresses(host);
    begin(host, RELEASING, host->now_ns);
    return 0;
}

int foyer_dhcp6_confirm(struct foyer_host *host, foyer_time_ns now)
{
    host_begin(host, now);
    if (host->dhcp6 == NULL)
        return -ENOENT;
    if (host->dhcp6->state < CHECKING || host->dhcp6->state > REBINDING)
        return -EINVAL;
    begin(host, CONFIRMING, host->now_ns);
    return 0;
}

int foyer_dhcp6_lease(const struct foyer_host *host, struct foyer_dhcp6_lease *ret_lease)
{
    static const uint8_t states[] = {
        [WAITING] = FOYER_DHCP_WAITING,      [SOLICITING] = FOYER_DHCP_SEARCHING,
        [REQUESTING] = FOYER_DHCP_SEARCHING, [INFORMING] = FOYER_DHCP_SEARCHING,
        [CONFIRMING] = FOYER_DHCP_BOUND,     [CHECKING] = FOYER_DHCP_CHECKING,
        [BOUND] = FOYER_DHCP_BOUND,          [RENEWING] = FOYER_DHCP_RENEWING,
        [REBINDING] = FOYER_DHCP_REBINDING,  [DECLINING] = FOYER_DHCP_CHECKING,
        [INFORMED] = FOYER_DHCP_INFORMED,    [RELEASING] = FOYER_DHCP_RELEASING,
    };
    const struct dhcp6 *dhcp = host->dhcp6;
    if (dhcp == NULL)
        return -ENOENT;
    memset(ret_lease, 0, sizeof(*ret_lease));
    ret_lease->state = (enum foyer_dhcp_state)states[dhcp->state];
    ret_lease->renew_ns = dhcp->renew_ns;
    ret_lease->rebind_ns = dhcp->rebind_ns;
    struct foyer_address_info all[HOST_ADDRESSES_MAX + HOST_AUTO_ADDRESSES_MAX];
    size_t count = foyer_host_addresses(host, all, sizeof(all) / sizeof(all[0]));
    for (unsigned i = 0; i < dhcp->address_count; i++) {
        for (size_t a = 0; a < count; a++) {
            if (foyer_addr_eq(&all[a].addr, &dhcp->addresses[i]))
                ret_lease->addresses[ret_lease->address_count++] = all[a];
        }
    }
    ret_lease->name_server_count = dhcp->name_server_count;
    memcpy(ret_lease->name_servers, dhcp->name_servers, sizeof(ret_lease->name_servers));
    memcpy(ret_lease->domains, dhcp->domains, sizeof(ret_lease->domains));
    return 0;
}

void dhcp6_look(struct foyer_host *host)
{
    struct dhcp6 *dhcp = host->dhcp6;
    if (dhcp == NULL)
        return;
    /* An exchange that could not speak yet, or one whose addresses are in question. */
    bool is_mute = dhcp->tries == 0 && dhcp->state != WAITING && dhcp->state != INFORMED;
    if (is_mute || (dhcp->state >= CONFIRMING && dhcp->state <= REBINDING))
        arm(host, host->now_ns);
}
