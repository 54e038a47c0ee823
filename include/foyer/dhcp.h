/*
 * A host that is told its addresses: clients of DHCPv4 (RFC 2131) and DHCPv6 (RFC 8415).
 *
 * A client is a part of its host: it speaks through foyer_host_output, hears through
 * foyer_host_input and waits by foyer_host_deadline. What it learns it installs by itself:
 * addresses (origin FOYER_ADDRESS_DHCP, gone when their time is), routes, the IPv4 MTU. What
 * concerns the programs above (name servers, ...) is in the lease.
 *
 * Whenever a lease's state or contents changed, foyer_host_events gives an event without a
 * socket: FOYER_SOCKET_NONE with FOYER_EVENT_LEASE. Ask foyer_dhcp4_lease or _dhcp6_lease then.
 *
 * While a client runs, its port (68, 546) is its own: sockets hear nothing there.
 */
#ifndef FOYER_DHCP_H
#define FOYER_DHCP_H

#include "foyer/host.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FOYER_DHCP_SERVERS_MAX 4
#define FOYER_DHCP_ADDRESSES_MAX 4

enum foyer_dhcp_state {
    FOYER_DHCP_WAITING = 0, /* DHCPv6: for a router to say what is to be asked for */
    FOYER_DHCP_SEARCHING,   /* no lease; asking */
    FOYER_DHCP_CHECKING,    /* granted; it is asked whether another has the address */
    FOYER_DHCP_BOUND,       /* the addresses are used */
    FOYER_DHCP_RENEWING,    /* and their server is asked for more time */
    FOYER_DHCP_REBINDING,   /* and any server is */
    FOYER_DHCP_INFORMED,    /* DHCPv6: configuration without addresses */
    FOYER_DHCP_RELEASING,   /* on the way out */
};

/* ---- DHCPv4 ------------------------------------------------------------------------------------ */

struct foyer_dhcp4_config {
    /* An address of an earlier lease, asked for again (INIT-REBOOT, RFC 2131 section 3.2); a
     * wildcard: none. Same where the link was changed: stop and start with the present one. */
    struct foyer_addr previous;
    /* At most 64 bytes, the first is the type (RFC 2132 section 9.14). NULL: 1 and the MAC. */
    const uint8_t *client_id;
    size_t client_id_size;
    const char *host_name; /* told to the server; at most 63 bytes; NULL: none */
    bool is_unchecked;     /* use the address at once instead of probing for it (RFC 5227) for 4 to
                              7 s, as RFC 2131 section 3.1 (5) says a client SHOULD */
    bool is_rapid_commit;  /* two messages instead of four where the server agrees (RFC 4039) */
};

struct foyer_dhcp4_lease {
    enum foyer_dhcp_state state;
    /* The rest is void in SEARCHING, but for what a running REBOOT asks for. */
    struct foyer_addr addr, server;
    uint8_t prefix_length;                                      /* 0..32 */
    foyer_time_ns obtained_ns, renew_ns, rebind_ns, expires_ns; /* FOYER_TIME_NEVER: for ever */
    uint16_t mtu;                                               /* 0: not told */
    uint8_t router_count, name_server_count, time_server_count;
    struct foyer_addr routers[FOYER_DHCP_SERVERS_MAX];
    struct foyer_addr name_servers[FOYER_DHCP_SERVERS_MAX];
    struct foyer_addr time_servers[FOYER_DHCP_SERVERS_MAX]; /* NTP */
    char domain[256]; /* letters, digits, '-', '_' and '.' only; "": none */
};

/*
 * Starts the client. config may be NULL: all defaults; it is copied. -EALREADY: it runs;
 * -ENOMEM; -EINVAL: a client identifier or name that is too long, a previous address that none
 * can have.
 */
FOYER_API int foyer_dhcp4_start(struct foyer_host *host, const struct foyer_dhcp4_config *config,
                                foyer_time_ns now);
/*
 * Stops it; address and routes go. is_release: the server is told (RFC 2131 section 3.1 (6)),
 * which takes a second in state RELEASING; without it the server keeps the lease, and a client
 * that starts with it as previous gets it again. -ENOENT: it does not run.
 */
FOYER_API int foyer_dhcp4_stop(struct foyer_host *host, bool is_release, foyer_time_ns now);
/* -ENOENT: no client runs. */
FOYER_API int foyer_dhcp4_lease(const struct foyer_host *host, struct foyer_dhcp4_lease *ret_lease);

/* ---- DHCPv6 ------------------------------------------------------------------------------------ */

enum foyer_dhcp6_mode {
    /* What routers advertise (RFC 4861 section 4.2): M asks for addresses, O for configuration.
     * Needs FOYER_HOST_ROUTER_DISCOVERY. */
    FOYER_DHCP6_AS_ADVERTISED = 0,
    FOYER_DHCP6_ADDRESSES,   /* ask for addresses whatever routers say */
    FOYER_DHCP6_INFORMATION, /* configuration only: Information-request */
};

struct foyer_dhcp6_config {
    enum foyer_dhcp6_mode mode;
    /* DUID (RFC 8415 section 11), at most 130 bytes. NULL: DUID-LL of the MAC. */
    const uint8_t *duid;
    size_t duid_size;
    uint32_t iaid;        /* of the IA_NA; 0: made of the MAC */
    bool is_rapid_commit; /* RFC 8415 section 18.2.1 */
};

struct foyer_dhcp6_lease {
    enum foyer_dhcp_state state;
    uint8_t address_count;
    struct foyer_address_info addresses[FOYER_DHCP_ADDRESSES_MAX];
    foyer_time_ns renew_ns, rebind_ns; /* T1 and T2; FOYER_TIME_NEVER: never */
    uint8_t name_server_count;
    struct foyer_addr name_servers[FOYER_DHCP_SERVERS_MAX]; /* RFC 3646 */
    char domains[256]; /* search list, separated by blanks; characters as in DHCPv4's domain */
};

/* Errors as foyer_dhcp4_start. */
FOYER_API int foyer_dhcp6_start(struct foyer_host *host, const struct foyer_dhcp6_config *config,
                                foyer_time_ns now);
/* is_release: tells the server, up to four times in 15 s (section 18.2.7). -ENOENT. */
FOYER_API int foyer_dhcp6_stop(struct foyer_host *host, bool is_release, foyer_time_ns now);
/*
 * The link may be another one now: asks whether the addresses belong to it (section 18.2.3), and
 * starts over where not. -ENOENT: no client runs; -EINVAL: it has no addresses.
 */
FOYER_API int foyer_dhcp6_confirm(struct foyer_host *host, foyer_time_ns now);
FOYER_API int foyer_dhcp6_lease(const struct foyer_host *host, struct foyer_dhcp6_lease *ret_lease);

#ifdef __cplusplus
}
#endif

#endif
