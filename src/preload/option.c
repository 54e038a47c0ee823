/*
 * getsockopt and setsockopt. What foyerd or the other holders must know is in the slot; what has
 * no effect here but does no harm either is accepted and forgotten; the rest is ENOPROTOOPT.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/time.h>

#include "preload/raw.h"
#include "preload/real.h"

/* Not in every libc's headers. */
#ifndef IPV6_ADDR_PREFERENCES
#define IPV6_ADDR_PREFERENCES 72
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74
#endif

/* Linux's defaults: net.core.rmem_max, tcp_rmem, tcp_wmem, tcp_keepalive_*. */
#define BUFFER_MAX (2 * 212992)
#define RECEIVE_BUFFER_MIN 2304
#define SEND_BUFFER_MIN 4608
#define STREAM_RECEIVE_BUFFER 131072
#define STREAM_SEND_BUFFER 2626560
#define DATAGRAM_BUFFER 212992
#define KEEP_IDLE_S 7200
#define KEEP_INTERVAL_S 75
#define KEEP_COUNT 9

/* ---- tables -------------------------------------------------------------------------------- */

#define ANY 0 /* of type: both */

/* Options that are one bit of the slot. */
static const struct {
    int level, name;
    uint32_t type, bit;
} bit_options[] = {
    {SOL_SOCKET, SO_REUSEADDR, ANY, FOYER_SLOT_REUSEADDR},
    {SOL_SOCKET, SO_REUSEPORT, ANY, FOYER_SLOT_REUSEPORT},
    {SOL_SOCKET, SO_KEEPALIVE, ANY, FOYER_SLOT_KEEPALIVE},
    {SOL_SOCKET, SO_BROADCAST, ANY, FOYER_SLOT_BROADCAST},
    {SOL_SOCKET, SO_OOBINLINE, ANY, FOYER_SLOT_OOBINLINE},
    {IPPROTO_TCP, TCP_NODELAY, SOCK_STREAM, FOYER_SLOT_NODELAY},
    {IPPROTO_TCP, TCP_CORK, SOCK_STREAM, FOYER_SLOT_CORK},
    {IPPROTO_IPV6, IPV6_V6ONLY, ANY, FOYER_SLOT_V6ONLY},
    {IPPROTO_IP, IP_PKTINFO, SOCK_DGRAM, FOYER_SLOT_RECV_PKTINFO},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO, SOCK_DGRAM, FOYER_SLOT_RECV_PKTINFO},
    {IPPROTO_IP, IP_RECVTTL, SOCK_DGRAM, FOYER_SLOT_RECV_TTL},
    {IPPROTO_IP, IP_RECVTOS, SOCK_DGRAM, FOYER_SLOT_RECV_TOS},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, SOCK_DGRAM, FOYER_SLOT_RECV_HOPLIMIT},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, SOCK_DGRAM, FOYER_SLOT_RECV_TCLASS},
    {IPPROTO_UDP, UDP_GRO, SOCK_DGRAM, FOYER_SLOT_GRO},
    {IPPROTO_IP, IP_RECVERR, SOCK_DGRAM, FOYER_SLOT_RECVERR},
    {IPPROTO_IPV6, IPV6_RECVERR, SOCK_DGRAM, FOYER_SLOT_RECVERR6},
};

/* Options without effect here: set succeeds, get gives the default. */
static const struct {
    int level, name, value;
    uint32_t type;
} harmless_options[] = {
    {SOL_SOCKET, SO_PRIORITY, 0, ANY},
    {SOL_SOCKET, SO_DONTROUTE, 0, ANY},
    {SOL_SOCKET, SO_BUSY_POLL, 0, ANY},
    {SOL_SOCKET, SO_PREFER_BUSY_POLL, 0, ANY},
    {SOL_SOCKET, SO_BUSY_POLL_BUDGET, 8, ANY},
    {SOL_SOCKET, SO_INCOMING_CPU, -1, ANY},
    {SOL_SOCKET, SO_NO_CHECK, 0, ANY},
    {SOL_SOCKET, SO_SELECT_ERR_QUEUE, 0, ANY},
    {SOL_SOCKET, SO_TXREHASH, 1, ANY},
    {SOL_SOCKET, SO_MAX_PACING_RATE, -1, ANY},
    {SOL_SOCKET, SO_BSDCOMPAT, 0, ANY},
    {IPPROTO_TCP, TCP_QUICKACK, 1, SOCK_STREAM},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, SOCK_STREAM},
    {IPPROTO_TCP, TCP_SYNCNT, 6, SOCK_STREAM},
    {IPPROTO_TCP, TCP_LINGER2, 60, SOCK_STREAM},
    {IPPROTO_TCP, TCP_WINDOW_CLAMP, 0, SOCK_STREAM},
    {IPPROTO_TCP, TCP_NOTSENT_LOWAT, -1, SOCK_STREAM},
    {IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 0, SOCK_STREAM},
    {IPPROTO_TCP, TCP_THIN_DUPACK, 0, SOCK_STREAM},
    {IPPROTO_TCP, TCP_SAVE_SYN, 0, SOCK_STREAM},
    {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT, ANY},
    {IPPROTO_IP, IP_RECVERR, 0, SOCK_STREAM},
    {IPPROTO_IP, IP_RECVTOS, 0, SOCK_STREAM},
    {IPPROTO_IP, IP_RECVTTL, 0, SOCK_STREAM},
    {IPPROTO_IP, IP_RECVORIGDSTADDR, 0, ANY},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0, ANY},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_WANT, ANY},
    {IPPROTO_IPV6, IPV6_RECVERR, 0, SOCK_STREAM},
    {IPPROTO_IPV6, IPV6_RECVTCLASS, 0, SOCK_STREAM},
    {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0, SOCK_STREAM},
    {IPPROTO_IPV6, IPV6_DONTFRAG, 0, ANY},
    {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1, ANY},
    {IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 2, ANY},
};

static bool is_of_type(const struct socket_object *sock, uint32_t type)
{
    return type == ANY || sock->type == type;
}

static uint32_t find_bit(const struct socket_object *sock, int level, int name)
{
    for (size_t i = 0; i < sizeof(bit_options) / sizeof(bit_options[0]); i++) {
        if (bit_options[i].level == level && bit_options[i].name == name &&
            is_of_type(sock, bit_options[i].type))
            return bit_options[i].bit;
    }
    return 0;
}

static const int *find_harmless(const struct socket_object *sock, int level, int name)
{
    for (size_t i = 0; i < sizeof(harmless_options) / sizeof(harmless_options[0]); i++) {
        if (harmless_options[i].level == level && harmless_options[i].name == name &&
            is_of_type(sock, harmless_options[i].type))
            return &harmless_options[i].value;
    }
    return NULL;
}

/* ---- setting ------------------------------------------------------------------------------- */

static int clamp(int64_t value, int64_t low, int64_t high)
{
    return (int)(value < low ? low : value > high ? high : value);
}

static int set_timeout(const void *value, socklen_t size, int64_t *ret_us)
{
    struct timeval time;
    if (size < sizeof(time))
        return -EINVAL;
    memcpy(&time, value, sizeof(time));
    if (time.tv_usec < 0 || time.tv_usec >= 1000000)
        return -EDOM;
    if (time.tv_sec < 0) /* sock_set_timeout: at once, as near as a timeout can be */
        *ret_us = 1;
    else if (time.tv_sec > INT32_MAX)
        *ret_us = 0;
    else
        *ret_us = (int64_t)time.tv_sec * 1000000 + time.tv_usec;
    return 0;
}

static void set_bit(struct socket_object *sock, uint32_t bit, bool is_on)
{
    if (is_on)
        atomic_fetch_or(&sock->slot->options, bit);
    else
        atomic_fetch_and(&sock->slot->options, ~bit);
}

static int set_linger(struct socket_object *sock, const void *value, socklen_t size)
{
    struct linger linger;
    if (size < sizeof(linger))
        return -EINVAL;
    memcpy(&linger, value, sizeof(linger));
    sock->slot->linger_s = linger.l_linger;
    set_bit(sock, FOYER_SLOT_LINGER, linger.l_onoff != 0);
    return 0;
}

static int set_socket_level(struct socket_object *sock, int name, int value)
{
    struct foyer_slot *slot = sock->slot;
    switch (name) {
    case SO_RCVBUF:
        slot->receive_buffer = (uint32_t)clamp(2 * (int64_t)value, RECEIVE_BUFFER_MIN, BUFFER_MAX);
        return 0;
    case SO_SNDBUF:
        slot->send_buffer = (uint32_t)clamp(2 * (int64_t)value, SEND_BUFFER_MIN, BUFFER_MAX);
        return 0;
    case SO_RCVBUFFORCE:
        slot->receive_buffer = (uint32_t)clamp(2 * (int64_t)value, RECEIVE_BUFFER_MIN, INT_MAX);
        return 0;
    case SO_SNDBUFFORCE:
        slot->send_buffer = (uint32_t)clamp(2 * (int64_t)value, SEND_BUFFER_MIN, INT_MAX);
        return 0;
    case SO_RCVLOWAT:
        slot->receive_low_water = value < 0 ? INT_MAX : value == 0 ? 1u : (uint32_t)value;
        return 0;
    case SO_MARK:
        return -EPERM;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_tcp_level(struct socket_object *sock, int name, int value)
{
    struct foyer_slot *slot = sock->slot;
    switch (name) {
    case TCP_KEEPIDLE:
        if (value < 1 || value > 32767)
            return -EINVAL;
        slot->keep_idle_s = (uint16_t)value;
        return 0;
    case TCP_KEEPINTVL:
        if (value < 1 || value > 32767)
            return -EINVAL;
        slot->keep_interval_s = (uint16_t)value;
        return 0;
    case TCP_KEEPCNT:
        if (value < 1 || value > 127)
            return -EINVAL;
        slot->keep_count = (uint16_t)value;
        return 0;
    case TCP_MAXSEG:
        if (value != 0 && (value < 88 || value > 32767))
            return -EINVAL;
        slot->max_segment = (uint16_t)value;
        return 0;
    case TCP_USER_TIMEOUT:
        if (value < 0)
            return -EINVAL;
        slot->user_timeout_ms = (uint32_t)value;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_udp_level(struct socket_object *sock, int name, int value)
{
    if (name != UDP_SEGMENT || sock->type != SOCK_DGRAM)
        return -ENOPROTOOPT;
    if (value < 0 || value > UINT16_MAX)
        return -EINVAL;
    sock->slot->segment_size = (uint16_t)value;
    return 0;
}

static int set_ip_level(struct socket_object *sock, int level, int name, int value)
{
    struct foyer_slot *slot = sock->slot;
    if ((level == IPPROTO_IP && name == IP_TTL) ||
        (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS)) {
        if (value != -1 && (value < 1 || value > 255) && !(level == IPPROTO_IPV6 && value == 0))
            return -EINVAL;
        slot->ttl = value == -1 ? 0 : (uint8_t)value;
        return 0;
    }
    if ((level == IPPROTO_IP && name == IP_TOS) || (level == IPPROTO_IPV6 && name == IPV6_TCLASS)) {
        slot->tos = (uint8_t)value;
        return 0;
    }
    return -ENOPROTOOPT;
}

/* TCP_CONGESTION and others whose value is text. */
static int set_text(int level, int name, const void *value, socklen_t size, bool *ret_is_text)
{
    char text[32] = {0};
    memcpy(text, value, size < sizeof(text) - 1 ? size : sizeof(text) - 1);
    *ret_is_text = true;
    if (level == IPPROTO_TCP && name == TCP_CONGESTION)
        return strcmp(text, "cubic") == 0 || strcmp(text, "reno") == 0 ? 0 : -ENOENT;
    if (level == IPPROTO_TCP && name == TCP_ULP)
        return -ENOENT;
    if (level == SOL_SOCKET && name == SO_BINDTODEVICE)
        return text[0] == 0 || strcmp(text, "lo") == 0 ? 0 : -ENODEV;
    *ret_is_text = false;
    return 0;
}

int option_read_int(const void *value, socklen_t size, int level, int *ret_value)
{
    /* IPPROTO_IP options may be one byte (ip(7)). */
    if (size >= sizeof(int))
        memcpy(ret_value, value, sizeof(int));
    else if (size >= 1 && level == IPPROTO_IP)
        *ret_value = *(const uint8_t *)value;
    else
        return -EINVAL;
    return 0;
}

static int option_set(struct socket_object *sock, int level, int name, const void *value,
                      socklen_t size)
{
    bool is_text;
    int number;
    if (level == IPPROTO_IPV6 && sock->family != AF_INET6)
        return -ENOPROTOOPT;
    if (level == IPPROTO_TCP && sock->type != SOCK_STREAM)
        return -ENOPROTOOPT;
    if ((int)size < 0)
        return -EINVAL;
    if (value == NULL)
        return -EFAULT;
    int error = set_text(level, name, value, size, &is_text);
    if (is_text)
        return error;
    if (level == SOL_SOCKET && name == SO_RCVTIMEO)
        return set_timeout(value, size, &sock->slot->receive_timeout_us);
    if (level == SOL_SOCKET && name == SO_SNDTIMEO)
        return set_timeout(value, size, &sock->slot->send_timeout_us);
    if (level == SOL_SOCKET && name == SO_LINGER)
        return set_linger(sock, value, size);
    if (multicast_set(sock, level, name, value, size, &error))
        return error;
    error = option_read_int(value, size, level, &number);
    if (error < 0)
        return error;
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY &&
        (slot_options(sock) & FOYER_SLOT_BOUND) != 0)
        return -EINVAL;
    uint32_t bit = find_bit(sock, level, name);
    if (bit != 0) {
        set_bit(sock, bit, number != 0);
        /* do_ip_setsockopt: what is queued goes. */
        if ((bit & FOYER_SLOT_RECVERR_ANY) != 0 && number == 0)
            atomic_store(&sock->slot->errors_waiting, 0);
        return 0;
    }
    if (find_harmless(sock, level, name) != NULL)
        return 0;
    switch (level) {
    case SOL_SOCKET:
        return set_socket_level(sock, name, number);
    case IPPROTO_TCP:
        return set_tcp_level(sock, name, number);
    case IPPROTO_UDP:
        return set_udp_level(sock, name, number);
    case IPPROTO_IP:
    case IPPROTO_IPV6:
        return set_ip_level(sock, level, name, number);
    default:
        return -ENOPROTOOPT;
    }
}

static bool is_local(const struct socket_object *sock)
{
    const struct channel *channel = socket_channel_now(sock);
    return slot_state(sock) == FOYER_SLOT_CONNECTED && channel != NULL && channel->bell >= 0;
}

/* A connection, over whichever carrier, keeps to SO_SNDBUF and SO_RCVBUF. */
static bool has_limits(const struct socket_object *sock)
{
    uint32_t state = slot_state(sock);
    return sock->type == SOCK_STREAM && socket_channel_now(sock) != NULL &&
           (state == FOYER_SLOT_CONNECTED || state == FOYER_SLOT_CONNECTING);
}

/* What a connection holds has changed: there may be room for those who wait for it. */
static void tell_limits(struct socket_object *sock, int fd)
{
    const struct channel *channel = socket_channel_now(sock);
    foyer_slot_tell_limits(sock->slot, &channel->tx, &channel->rx);
    channel_wake(sock, fd, channel, &channel->rx.shared->writer_waiter);
}

/*
 * foyerd reads most options when it is asked for something; a stack in action must be told. And it
 * rings this end's own bell, for those who wait to send.
 */
static void tell_options(struct socket_object *sock)
{
    uint32_t state = slot_state(sock);
    if (state == FOYER_SLOT_FRESH || state == FOYER_SLOT_FAILED)
        return;
    atomic_fetch_add_explicit(&sock->slot->settings, 1, memory_order_release);
    struct foyer_request request = {
        .type = FOYER_REQUEST_OPTIONS, .size = sizeof(request), .id = sock->id};
    session_tell(&request);
}

ENTRY int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(setsockopt)(fd, level, name, value, size);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF)
                                   : REAL(setsockopt)(fd, level, name, value, size);
    int error = option_set(sock, level, name, value, size);
    bool is_buffer = level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_SNDBUFFORCE ||
                                             name == SO_RCVBUF || name == SO_RCVBUFFORCE);
    if (error == 0 && is_buffer && has_limits(sock))
        tell_limits(sock, fd);
    if (error == 0 && find_harmless(sock, level, name) == NULL && (is_buffer || !is_local(sock)))
        tell_options(sock);
    if (error == 0 && sock->type == SOCK_DGRAM && sock->slot->receive_buffer != 0)
        direct_limit(sock, fd, sock->slot->receive_buffer);
    socket_release(sock);
    return result_int(error);
}

/* ---- getting ------------------------------------------------------------------------------- */

static int put(const void *from, size_t from_size, void *ret_value, socklen_t *io_size)
{
    if ((int)*io_size < 0)
        return -EINVAL;
    if (*io_size > from_size)
        *io_size = (socklen_t)from_size;
    memcpy(ret_value, from, *io_size);
    return 0;
}

static int put_timeout(int64_t us, void *ret_value, socklen_t *io_size)
{
    struct timeval time = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    return put(&time, sizeof(time), ret_value, io_size);
}

static int get_tcp_info(struct socket_object *sock, void *ret_value, socklen_t *io_size)
{
    struct foyer_request request = {
        .type = FOYER_REQUEST_INFO, .size = sizeof(request), .id = sock->id};
    struct foyer_reply_info reply = {0};
    struct tcp_info info;
    /* enum foyer_socket_state, as tcp_info has it. */
    static const uint8_t states[] = {TCP_CLOSE,       TCP_LISTEN,    TCP_SYN_SENT,  TCP_SYN_RECV,
                                     TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT,
                                     TCP_CLOSING,     TCP_LAST_ACK,  TCP_TIME_WAIT};
    int error = session_call(&request, NULL, &reply.header, sizeof(reply), NULL);
    if (error < 0)
        return error;
    memset(&info, 0, sizeof(info));
    info.tcpi_state = reply.state < sizeof(states) ? states[reply.state] : TCP_CLOSE;
    const struct channel *channel = socket_channel_now(sock);
    if (info.tcpi_state == TCP_ESTABLISHED && channel != NULL &&
        (slot_options(sock) & FOYER_SLOT_RESET_SEEN) != 0)
        info.tcpi_state = TCP_CLOSE;
    else if (info.tcpi_state == TCP_ESTABLISHED && channel != NULL &&
             atomic_load(&channel->rx.shared->writer_state) == FOYER_RING_FIN)
        info.tcpi_state = TCP_CLOSE_WAIT; /* the local carrier: foyerd does not see FINs */
    info.tcpi_rto = reply.rto_us;
    info.tcpi_snd_mss = reply.mss;
    info.tcpi_rcv_mss = reply.mss;
    info.tcpi_rtt = reply.rtt_us;
    info.tcpi_rttvar = reply.rttvar_us;
    info.tcpi_snd_cwnd = reply.mss != 0 ? reply.cwnd_bytes / reply.mss : 0;
    info.tcpi_snd_ssthresh = reply.mss != 0 ? reply.ssthresh_bytes / reply.mss : 0;
    info.tcpi_total_retrans = reply.retransmissions;
    info.tcpi_pmtu = reply.mss + 40;
    info.tcpi_advmss = reply.mss;
    return put(&info, sizeof(info), ret_value, io_size);
}

static int default_buffer(uint32_t set, const struct socket_object *sock, int stream_default)
{
    if (set != 0)
        return (int)set;
    return sock->type == SOCK_STREAM ? stream_default : DATAGRAM_BUFFER;
}

/* Options whose value is an int. -ENOPROTOOPT: it is none. */
static int get_number(struct socket_object *sock, int level, int name, int *ret_value)
{
    const struct foyer_slot *slot = sock->slot;
    uint32_t bit = find_bit(sock, level, name);
    const int *harmless = find_harmless(sock, level, name);
    if (bit != 0 || harmless != NULL) {
        *ret_value = bit != 0 ? (slot_options(sock) & bit) != 0 : *harmless;
        return 0;
    }
    static const struct {
        int level, name;
    } keys[] = {
        {SOL_SOCKET, SO_TYPE},       {SOL_SOCKET, SO_DOMAIN},     {SOL_SOCKET, SO_PROTOCOL},
        {SOL_SOCKET, SO_ACCEPTCONN}, {SOL_SOCKET, SO_ERROR},      {SOL_SOCKET, SO_RCVBUF},
        {SOL_SOCKET, SO_SNDBUF},     {SOL_SOCKET, SO_RCVLOWAT},   {SOL_SOCKET, SO_SNDLOWAT},
        {SOL_SOCKET, SO_MARK},       {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_KEEPINTVL},
        {IPPROTO_TCP, TCP_KEEPCNT},  {IPPROTO_TCP, TCP_MAXSEG},   {IPPROTO_TCP, TCP_USER_TIMEOUT},
        {IPPROTO_IP, IP_TTL},        {IPPROTO_IP, IP_TOS},        {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
        {IPPROTO_IPV6, IPV6_TCLASS}, {IPPROTO_UDP, UDP_SEGMENT}};
    const int values[] = {
        (int)sock->type,
        (int)sock->family,
        sock->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP,
        slot_state(sock) == FOYER_SLOT_LISTENING,
        0, /* SO_ERROR: below */
        default_buffer(slot->receive_buffer, sock, STREAM_RECEIVE_BUFFER),
        default_buffer(slot->send_buffer, sock, STREAM_SEND_BUFFER),
        slot->receive_low_water == 0 ? 1 : (int)slot->receive_low_water,
        1,
        0,
        slot->keep_idle_s != 0 ? slot->keep_idle_s : KEEP_IDLE_S,
        slot->keep_interval_s != 0 ? slot->keep_interval_s : KEEP_INTERVAL_S,
        slot->keep_count != 0 ? slot->keep_count : KEEP_COUNT,
        slot->max_segment != 0 ? slot->max_segment : 536, /* RFC 9293 section 3.7.1 */
        (int)slot->user_timeout_ms,
        slot->ttl != 0 ? slot->ttl : 64,
        slot->tos,
        slot->ttl != 0 ? slot->ttl : 64,
        slot->tos,
        slot->segment_size,
    };
    _Static_assert(sizeof(values) / sizeof(values[0]) == sizeof(keys) / sizeof(keys[0]),
                   "one value per key");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i].level != level || keys[i].name != name)
            continue;
        *ret_value = values[i];
        if (level == SOL_SOCKET && name == SO_ERROR) {
            /* A reset that nobody has seen yet becomes the error now. */
            if (slot_state(sock) == FOYER_SLOT_CONNECTED)
                socket_is_reset(sock, socket_channel_now(sock));
            *ret_value = -slot_take_error(sock);
        }
        return 0;
    }
    return -ENOPROTOOPT;
}

static int option_get(struct socket_object *sock, int level, int name, void *ret_value,
                      socklen_t *io_size)
{
    if ((level == IPPROTO_IPV6 && sock->family != AF_INET6) ||
        (level == IPPROTO_TCP && sock->type != SOCK_STREAM))
        return -EOPNOTSUPP;
    if (level != SOL_SOCKET && level != IPPROTO_TCP && level != IPPROTO_IP &&
        level != IPPROTO_IPV6 && level != IPPROTO_UDP)
        return -EOPNOTSUPP;
    if (level == SOL_SOCKET && name == SO_RCVTIMEO)
        return put_timeout(sock->slot->receive_timeout_us, ret_value, io_size);
    if (level == SOL_SOCKET && name == SO_SNDTIMEO)
        return put_timeout(sock->slot->send_timeout_us, ret_value, io_size);
    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger linger = {
            .l_onoff = (slot_options(sock) & FOYER_SLOT_LINGER) != 0,
            .l_linger = sock->slot->linger_s,
        };
        return put(&linger, sizeof(linger), ret_value, io_size);
    }
    if (level == SOL_SOCKET && name == SO_COOKIE)
        return put(&sock->id, sizeof(sock->id), ret_value, io_size);
    if (level == SOL_SOCKET && name == SO_PEERCRED) {
        struct ucred nobody = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};
        return put(&nobody, sizeof(nobody), ret_value, io_size);
    }
    if (level == SOL_SOCKET && name == SO_BINDTODEVICE) {
        *io_size = 0;
        return 0;
    }
    if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
        static const char text[16] = "cubic";
        return put(text, sizeof(text), ret_value, io_size);
    }
    if (level == IPPROTO_TCP && name == TCP_INFO)
        return get_tcp_info(sock, ret_value, io_size);
    int number, error;
    if (multicast_get_filter(sock, level, name, ret_value, io_size, &error))
        return error;
    error = multicast_get(sock, level, name, &number) ? 0 : get_number(sock, level, name, &number);
    return error < 0 ? error : put(&number, sizeof(number), ret_value, io_size);
}

ENTRY int getsockopt(int fd, int level, int name, void *ret_value, socklen_t *io_size)
{
    if (likely(table_peek(fd) == NULL))
        return REAL(getsockopt)(fd, level, name, ret_value, io_size);
    struct socket_object *sock = table_get_socket(fd);
    if (sock == NULL)
        return table_is_hidden(fd) ? result_int(-EBADF)
                                   : REAL(getsockopt)(fd, level, name, ret_value, io_size);
    int error = option_get(sock, level, name, ret_value, io_size);
    socket_release(sock);
    return result_int(error);
}
