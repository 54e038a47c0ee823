/* Socket options: a table of which protocol has which, and the storing of each. */
#include <errno.h>

#include "stack/ports.h"
#include "stack/socket.h"

struct option_rule {
    int64_t min, max;
    bool is_tcp_only;
};

static const struct option_rule rules[] = {
    [FOYER_OPT_REUSEADDR] = {0, 1, false},
    [FOYER_OPT_REUSEPORT] = {0, 1, false},
    [FOYER_OPT_V6ONLY] = {0, 1, false},
    [FOYER_OPT_NODELAY] = {0, 1, true},
    [FOYER_OPT_CORK] = {0, 1, true},
    [FOYER_OPT_LINGER_NS] = {-1, INT64_MAX, false},
    [FOYER_OPT_KEEPALIVE] = {0, 1, false},
    [FOYER_OPT_KEEPIDLE_S] = {1, 32767, true},
    [FOYER_OPT_KEEPINTVL_S] = {1, 32767, true},
    [FOYER_OPT_KEEPCNT] = {1, 127, true},
    [FOYER_OPT_USER_TIMEOUT_MS] = {0, UINT32_MAX, true},
    [FOYER_OPT_MAXSEG] = {0, 65535, true},
    [FOYER_OPT_CONGESTION] = {FOYER_CONGESTION_CUBIC, FOYER_CONGESTION_BBR, true},
    [FOYER_OPT_RECEIVE_BUFFER] = {0, INT64_MAX, false},
    [FOYER_OPT_SEND_BUFFER] = {0, INT64_MAX, false},
    [FOYER_OPT_RECEIVE_LIMIT] = {0, UINT32_MAX, true},
    [FOYER_OPT_TTL] = {1, 255, false},
    [FOYER_OPT_TOS] = {0, 255, false},
    [FOYER_OPT_OWNER_UID] = {0, UINT32_MAX, false},
    [FOYER_OPT_BROADCAST] = {0, 1, false},
    [FOYER_OPT_ECN] = {FOYER_ECN_ACCEPT, FOYER_ECN_ACCURATE, true},
    [FOYER_OPT_PACING] = {FOYER_PACING_AUTO, FOYER_PACING_ON, true},
    [FOYER_OPT_MAX_PACING_RATE] = {0, INT64_MAX, true},
    [FOYER_OPT_TIMESTAMPS] = {0, 1, true},
    [FOYER_OPT_SACK] = {0, 1, true},
    [FOYER_OPT_FASTOPEN] = {0, UINT16_MAX, true},
    [FOYER_OPT_FASTOPEN_WITHOUT_COOKIE] = {0, 1, true},
    [FOYER_OPT_HOLD] = {0, 1, true},
    [FOYER_OPT_INTERCEPT] = {FOYER_INTERCEPT_OFF, FOYER_INTERCEPT_ALL, true},
    [FOYER_OPT_MULTICAST_TTL] = {0, 255, false},
    [FOYER_OPT_MULTICAST_LOOP] = {0, 1, false},
    [FOYER_OPT_MULTICAST_ALL] = {0, 3, false},
    [FOYER_OPT_OOBINLINE] = {0, 1, true},
    [FOYER_OPT_RECVERR] = {0, 1, false},
    [FOYER_OPT_UDP_GRO] = {0, 1, false},
    [FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE] = {0, 1, false},
    [FOYER_OPT_UDP_ZERO_CHECKSUM_SEND] = {0, 1, false},
    [FOYER_OPT_SYN_RETRIES] = {0, 127, true},
    [FOYER_OPT_QUICKACK] = {0, 1, true},
    [FOYER_OPT_PUSH] = {0, 1, true},
    [FOYER_OPT_STATISTICS] = {0, 1, true},
};

static bool is_datagram_option(enum foyer_option option)
{
    return option == FOYER_OPT_RECVERR || option == FOYER_OPT_UDP_GRO ||
           option == FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE ||
           option == FOYER_OPT_UDP_ZERO_CHECKSUM_SEND || option == FOYER_OPT_MULTICAST_TTL ||
           option == FOYER_OPT_MULTICAST_LOOP || option == FOYER_OPT_MULTICAST_ALL;
}

static const struct option_rule *find_rule(const struct sock *sock, enum foyer_option option)
{
    if ((unsigned)option == 0 || (unsigned)option >= sizeof(rules) / sizeof(rules[0]))
        return NULL;
    const struct option_rule *rule = &rules[option];
    if ((rule->is_tcp_only && !PROTOCOL_IS_TCP(sock->protocol)) ||
        (option == FOYER_OPT_V6ONLY && sock->family != FOYER_FAMILY_V6) ||
        (is_datagram_option(option) && !PROTOCOL_IS_UDP(sock->protocol)))
        return NULL;
    return rule;
}

/* A flag that the tables sort by: the socket moves to the group of its new equals. */
static int set_flag(struct foyer_host *host, struct sock *sock, uint32_t flag, bool value)
{
    uint32_t before = sock->flags;
    sock->flags = value ? sock->flags | flag : sock->flags & ~flag;
    int error = ports_regroup(host, sock);
    if (error != 0)
        sock->flags = before;
    return error;
}

static int set_owner_uid(struct foyer_host *host, struct sock *sock, uint32_t uid)
{
    uint32_t before = sock->owner_uid;
    sock->owner_uid = uid;
    int error = ports_regroup(host, sock);
    if (error != 0)
        sock->owner_uid = before;
    return error;
}

/* ---- the shared record ------------------------------------------------------------------------ */

struct sock_options *sock_options_own(struct foyer_host *host, struct sock *sock)
{
    if (sock->options->refs != 1) {
        struct sock_options *own = host_alloc_raw(host, sizeof(*own));
        if (own == NULL)
            return NULL;
        *own = *sock->options;
        own->refs = 1;
        sock_options_give(host, sock);
        sock->options = own;
    }
    return sock->options;
}

/* The host's defaults are counted by nobody: they live as long as the host. */
void sock_options_share(struct sock *sock, const struct sock *from)
{
    sock->options = from->options;
    if (sock->options->refs != UINT32_MAX)
        sock->options->refs++;
}

void sock_options_give(struct foyer_host *host, struct sock *sock)
{
    if (sock->options->refs != UINT32_MAX && --sock->options->refs == 0)
        host_free(host, sock->options, sizeof(*sock->options));
    sock->options = &host->default_options;
}

/* ---- storing ------------------------------------------------------------------------------------- */

static uint32_t ring_size_for(int64_t bytes)
{
    uint32_t size = FOYER_RING_SIZE_MIN;
    while (size < FOYER_RING_SIZE_MAX && size < bytes)
        size *= 2;
    return size;
}

static int set_udp_flag(struct sock *sock, uint32_t flag, bool is_on)
{
    sock->flags = is_on ? sock->flags | flag : sock->flags & ~flag;
    return 0;
}

/* Those that other tables or limits depend on. 1: not one of them. */
static int set_shared_option(struct foyer_host *host, struct sock *sock, enum foyer_option option,
                             int64_t value)
{
    switch (option) {
    case FOYER_OPT_REUSEADDR:
        return set_flag(host, sock, SOCK_REUSEADDR, value != 0);
    case FOYER_OPT_REUSEPORT:
        return set_flag(host, sock, SOCK_REUSEPORT, value != 0);
    case FOYER_OPT_V6ONLY:
        return sock->flags & SOCK_BOUND ? -EINVAL : set_flag(host, sock, SOCK_V6ONLY, value != 0);
    case FOYER_OPT_OWNER_UID:
        return set_owner_uid(host, sock, (uint32_t)value);
    case FOYER_OPT_RECVERR:
        return FOYER_WITH_UDP ? udp_errors_switch(host, sock, value != 0) : -ENOPROTOOPT;
    case FOYER_OPT_UDP_GRO:
        return set_udp_flag(sock, SOCK_UDP_GRO, value != 0);
    case FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE:
        return set_udp_flag(sock, SOCK_UDP_ZERO_IN, value != 0);
    case FOYER_OPT_UDP_ZERO_CHECKSUM_SEND:
        return set_udp_flag(sock, SOCK_UDP_ZERO_OUT, value != 0);
    case FOYER_OPT_HOLD:
        return set_flag(host, sock, SOCK_HOLD, value != 0);
    case FOYER_OPT_INTERCEPT:
        return ports_intercept(host, sock, (enum foyer_intercept)value);
    case FOYER_OPT_MAXSEG:
        /* 0: no limit of its own; else as Linux, which takes no less than 88. */
        if (value != 0 && value < 88)
            return -EINVAL;
        return 1;
    default:
        return 1;
    }
}

static int64_t get_option(const struct foyer_host *host, const struct sock *sock,
                          enum foyer_option option)
{
    switch (option) {
    case FOYER_OPT_REUSEADDR:
        return (sock->flags & SOCK_REUSEADDR) != 0;
    case FOYER_OPT_REUSEPORT:
        return (sock->flags & SOCK_REUSEPORT) != 0;
    case FOYER_OPT_V6ONLY:
        return (sock->flags & SOCK_V6ONLY) != 0;
    case FOYER_OPT_NODELAY:
        return sock->nodelay;
    case FOYER_OPT_CORK:
        return sock->cork;
    case FOYER_OPT_LINGER_NS:
        return sock->options->linger_ns;
    case FOYER_OPT_KEEPALIVE:
        return sock->keepalive;
    case FOYER_OPT_KEEPIDLE_S:
        return sock->options->keep_idle_s;
    case FOYER_OPT_KEEPINTVL_S:
        return sock->options->keep_interval_s;
    case FOYER_OPT_KEEPCNT:
        return sock->options->keep_count;
    case FOYER_OPT_ECN:
        return sock->options->ecn;
    case FOYER_OPT_PACING:
        return sock->options->pacing;
    case FOYER_OPT_MAX_PACING_RATE:
        return (int64_t)sock->options->max_pacing_rate_bytes_per_s;
    case FOYER_OPT_TIMESTAMPS:
        return !sock->options->without_timestamps;
    case FOYER_OPT_SACK:
        return !sock->options->without_sack;
    case FOYER_OPT_FASTOPEN:
        return sock->options->fastopen;
    case FOYER_OPT_FASTOPEN_WITHOUT_COOKIE:
        return sock->options->fastopen_without_cookie;
    case FOYER_OPT_USER_TIMEOUT_MS:
        return sock->options->user_timeout_ms;
    case FOYER_OPT_MAXSEG:
        return sock->options->max_segment;
    case FOYER_OPT_CONGESTION:
        return sock->congestion;
    case FOYER_OPT_RECEIVE_BUFFER:
        return foyer_ring_is_set(&sock->rings->rx) ? sock->rings->rx.size
                                                   : sock->options->rx_size_wanted;
    case FOYER_OPT_SEND_BUFFER:
        return foyer_ring_is_set(&sock->rings->tx) ? sock->rings->tx.size
                                                   : sock->options->tx_size_wanted;
    case FOYER_OPT_RECEIVE_LIMIT:
        return sock->options->rx_limit;
    case FOYER_OPT_TTL:
        return sock->ttl;
    case FOYER_OPT_TOS:
        return sock->tos;
    case FOYER_OPT_OWNER_UID:
        return sock->owner_uid;
    case FOYER_OPT_BROADCAST:
        return sock->broadcast;
    case FOYER_OPT_HOLD:
        return (sock->flags & SOCK_HOLD) != 0;
    case FOYER_OPT_INTERCEPT:
        return ports_intercepts(host, sock);
    case FOYER_OPT_MULTICAST_TTL:
        return sock->multicast_ttl;
    case FOYER_OPT_MULTICAST_LOOP:
        return sock->multicast_loop;
    case FOYER_OPT_MULTICAST_ALL:
        return sock->multicast_all;
    case FOYER_OPT_OOBINLINE:
        return sock->oobinline;
    case FOYER_OPT_RECVERR:
        return (sock->flags & SOCK_RECVERR) != 0;
    case FOYER_OPT_UDP_GRO:
        return (sock->flags & SOCK_UDP_GRO) != 0;
    case FOYER_OPT_UDP_ZERO_CHECKSUM_RECEIVE:
        return (sock->flags & SOCK_UDP_ZERO_IN) != 0;
    case FOYER_OPT_UDP_ZERO_CHECKSUM_SEND:
        return (sock->flags & SOCK_UDP_ZERO_OUT) != 0;
    case FOYER_OPT_SYN_RETRIES:
        return sock->options->syn_retries;
    case FOYER_OPT_QUICKACK:
        return FOYER_WITH_TCP && tcp_acks_quickly(sock);
    case FOYER_OPT_PUSH:
        return (sock->flags & SOCK_UNPUSHED) == 0;
    case FOYER_OPT_STATISTICS:
        return sock->options->has_statistics;
    }
    return 0;
}

/* Those of the shared record. */
static int set_rare_option(struct foyer_host *host, struct sock *sock, enum foyer_option option,
                           int64_t value)
{
    struct sock_options *options = sock_options_own(host, sock);
    if (options == NULL)
        return -ENOMEM;
    switch (option) {
    case FOYER_OPT_LINGER_NS:
        options->linger_ns = value;
        break;
    case FOYER_OPT_KEEPIDLE_S:
        options->keep_idle_s = (uint16_t)value;
        break;
    case FOYER_OPT_KEEPINTVL_S:
        options->keep_interval_s = (uint16_t)value;
        break;
    case FOYER_OPT_KEEPCNT:
        options->keep_count = (uint8_t)value;
        break;
    case FOYER_OPT_ECN:
        options->ecn = (uint8_t)value;
        break;
    case FOYER_OPT_PACING:
        options->pacing = (uint8_t)value;
        break;
    case FOYER_OPT_MAX_PACING_RATE:
        options->max_pacing_rate_bytes_per_s = (uint64_t)value;
        break;
    case FOYER_OPT_TIMESTAMPS:
        options->without_timestamps = value == 0;
        break;
    case FOYER_OPT_SACK:
        options->without_sack = value == 0;
        break;
    case FOYER_OPT_FASTOPEN:
        options->fastopen = (uint16_t)value;
        break;
    case FOYER_OPT_FASTOPEN_WITHOUT_COOKIE:
        options->fastopen_without_cookie = value != 0;
        break;
    case FOYER_OPT_USER_TIMEOUT_MS:
        options->user_timeout_ms = (uint32_t)value;
        break;
    case FOYER_OPT_MAXSEG:
        options->max_segment = (uint16_t)value;
        break;
    case FOYER_OPT_SYN_RETRIES:
        options->syn_retries = (uint8_t)value;
        break;
    case FOYER_OPT_STATISTICS:
        options->has_statistics = value != 0;
        break;
    case FOYER_OPT_RECEIVE_BUFFER:
        options->rx_size_wanted = ring_size_for(value);
        options->rx_size_max = options->rx_size_wanted;
        break;
    case FOYER_OPT_SEND_BUFFER:
        options->tx_size_wanted = ring_size_for(value);
        options->tx_size_max = options->tx_size_wanted;
        break;
    case FOYER_OPT_RECEIVE_LIMIT:
        options->rx_limit = (uint32_t)value;
        break;
    default:
        break;
    }
    return 0;
}

static int set_plain_option(struct foyer_host *host, struct sock *sock, enum foyer_option option,
                            int64_t value)
{
    switch (option) {
    case FOYER_OPT_NODELAY:
        sock->nodelay = value != 0;
        break;
    case FOYER_OPT_CORK:
        sock->cork = value != 0;
        break;
    case FOYER_OPT_KEEPALIVE:
        sock->keepalive = value != 0;
        break;
    case FOYER_OPT_CONGESTION:
        sock->congestion = (uint8_t)value;
        break;
    case FOYER_OPT_TTL:
        sock->ttl = (uint8_t)value;
        break;
    case FOYER_OPT_TOS:
        sock->tos = (uint8_t)value;
        break;
    case FOYER_OPT_BROADCAST:
        sock->broadcast = value != 0;
        break;
    case FOYER_OPT_OOBINLINE:
        sock->oobinline = value != 0;
        break;
    case FOYER_OPT_MULTICAST_TTL:
        sock->multicast_ttl = (uint8_t)value;
        break;
    case FOYER_OPT_MULTICAST_LOOP:
        sock->multicast_loop = value != 0;
        break;
    case FOYER_OPT_MULTICAST_ALL:
        sock->multicast_all = (uint8_t)value;
        break;
    case FOYER_OPT_PUSH:
        sock->flags =
            value == 0 ? sock->flags | SOCK_UNPUSHED : sock->flags & ~(uint32_t)SOCK_UNPUSHED;
        break;
    case FOYER_OPT_QUICKACK:
        if (FOYER_WITH_TCP)
            tcp_ack_quickly(sock, value != 0);
        break;
    default:
        return get_option(host, sock, option) == value ? 0
                                                       : set_rare_option(host, sock, option, value);
    }
    return 0;
}

int foyer_socket_set_option(struct foyer_host *host, foyer_socket socket, enum foyer_option option,
                            int64_t value)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    const struct option_rule *rule = find_rule(sock, option);
    if (rule == NULL)
        return -ENOPROTOOPT;
    if (value < rule->min || value > rule->max ||
        (option == FOYER_OPT_CONGESTION && !congestion_is_built(value)))
        return -EINVAL;
    int result = set_shared_option(host, sock, option, value);
    if (result > 0)
        result = set_plain_option(host, sock, option, value);
    if (result < 0)
        return result;
    if (FOYER_WITH_TCP && sock->tcb != NULL)
        tcp_option_changed(host, sock, option, host->now_ns);
    return 0;
}

int foyer_socket_get_option(struct foyer_host *host, foyer_socket socket, enum foyer_option option,
                            int64_t *ret_value)
{
    const struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (find_rule(sock, option) == NULL)
        return -ENOPROTOOPT;
    *ret_value = get_option(host, sock, option);
    return 0;
}
