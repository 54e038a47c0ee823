/* Socket options, TCP_INFO, ioctl and fcntl: Linux's names and units for libfoyer's. */
#include "adapter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define PD_SEND_MIN 4608 /* Linux's SOCK_MIN_SNDBUF */

struct option_name {
    int level, name;
    enum foyer_option option;
};

/* Those whose value is the same int on both sides. */
static const struct option_name int_options[] = {
    {SOL_SOCKET, SO_REUSEADDR, FOYER_OPT_REUSEADDR},
    {SOL_SOCKET, SO_REUSEPORT, FOYER_OPT_REUSEPORT},
    {SOL_SOCKET, SO_KEEPALIVE, FOYER_OPT_KEEPALIVE},
    {SOL_SOCKET, SO_BROADCAST, FOYER_OPT_BROADCAST},
    {SOL_SOCKET, SO_RCVBUF, FOYER_OPT_RECEIVE_BUFFER},
    {SOL_SOCKET, SO_SNDBUF, FOYER_OPT_SEND_BUFFER},
    {IPPROTO_TCP, TCP_NODELAY, FOYER_OPT_NODELAY},
    {IPPROTO_TCP, TCP_CORK, FOYER_OPT_CORK},
    {IPPROTO_TCP, TCP_KEEPIDLE, FOYER_OPT_KEEPIDLE_S},
    {IPPROTO_TCP, TCP_KEEPINTVL, FOYER_OPT_KEEPINTVL_S},
    {IPPROTO_TCP, TCP_KEEPCNT, FOYER_OPT_KEEPCNT},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, FOYER_OPT_USER_TIMEOUT_MS},
    {IPPROTO_TCP, TCP_MAXSEG, FOYER_OPT_MAXSEG},
    {IPPROTO_TCP, TCP_FASTOPEN, FOYER_OPT_FASTOPEN},
    {IPPROTO_TCP, TCP_SYNCNT, FOYER_OPT_SYN_RETRIES},
    {IPPROTO_TCP, TCP_QUICKACK, FOYER_OPT_QUICKACK},
    {IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, FOYER_OPT_FASTOPEN_WITHOUT_COOKIE},
    {IPPROTO_IP, IP_TTL, FOYER_OPT_TTL},
    {IPPROTO_IP, IP_TOS, FOYER_OPT_TOS},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS, FOYER_OPT_TTL},
    {IPPROTO_IPV6, IPV6_TCLASS, FOYER_OPT_TOS},
    {IPPROTO_IPV6, IPV6_V6ONLY, FOYER_OPT_V6ONLY},
};

static const struct option_name *find_int_option(int level, int name)
{
    for (size_t i = 0; i < sizeof(int_options) / sizeof(int_options[0]); i++)
        if (int_options[i].level == level && int_options[i].name == name)
            return &int_options[i];
    return NULL;
}

static void set(struct pd *pd, struct pd_socket *socket, enum foyer_option option, int64_t value)
{
    foyer_socket_set_option(pd->host, socket->handle, option, value);
}

/* tcp_fastopen: 1 a client may, 2 a server may, 4 a client needs no cookie, 0x200 nor does a
 * server, 0x400 every listener does. */
static void init_fastopen(struct pd *pd, struct pd_socket *socket)
{
    long bits = pd_sysctl("tcp_fastopen", 0, 0);

    if ((bits & 0x202) == 0x202 || (bits & 5) == 5)
        set(pd, socket, FOYER_OPT_FASTOPEN_WITHOUT_COOKIE, 1);
}

/* The namespace's defaults; a congestion control that libfoyer has not is CUBIC. */
void pd_options_init(struct pd *pd, struct pd_socket *socket)
{
    static const uint8_t ecn[] = {
        FOYER_ECN_OFF,      FOYER_ECN_REQUEST,         FOYER_ECN_ACCEPT,
        FOYER_ECN_ACCURATE, FOYER_ECN_ACCURATE_ACCEPT, FOYER_ECN_ACCURATE_ACCEPT};
    long asked = pd_sysctl("tcp_ecn", 0, 2);

    if (socket->is_tcp) {
        set(pd, socket, FOYER_OPT_ECN, asked >= 0 && asked < 6 ? ecn[asked] : FOYER_ECN_ACCEPT);
        set(pd, socket, FOYER_OPT_TIMESTAMPS, pd_sysctl("tcp_timestamps", 0, 1) != 0);
        set(pd, socket, FOYER_OPT_SACK, pd_sysctl("tcp_sack", 0, 1) != 0);
        set(pd, socket, FOYER_OPT_STATISTICS, 1);
        set(pd, socket, FOYER_OPT_SYN_RETRIES, pd_sysctl("tcp_syn_retries", 0, 6));
        set(pd, socket, FOYER_OPT_PACING, FOYER_PACING_OFF); /* Linux's CUBIC has fq for it */
        init_fastopen(pd, socket);
    }
    char name[32] = "";
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "r");

    if (file == NULL)
        return;
    if (fscanf(file, "%31s", name) == 1 && strcmp(name, "reno") == 0 && socket->is_tcp)
        foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_CONGESTION,
                                FOYER_CONGESTION_NEWRENO);
    fclose(file);
}

static int set_congestion(struct pd *pd, struct pd_socket *socket, const char *name, size_t size)
{
    enum foyer_congestion congestion;

    size = strnlen(name, size);
    if (size == 5 && memcmp(name, "cubic", 5) == 0)
        congestion = FOYER_CONGESTION_CUBIC;
    else if (size == 4 && memcmp(name, "reno", 4) == 0)
        congestion = FOYER_CONGESTION_NEWRENO;
    else
        return -ENOENT;
    return foyer_socket_set_option(pd->host, socket->handle, FOYER_OPT_CONGESTION, congestion);
}

static int set_linger(struct pd *pd, struct pd_socket *socket, const void *value, socklen_t size)
{
    struct linger linger;

    if (size < sizeof(linger))
        return -EINVAL;
    memcpy(&linger, value, sizeof(linger));
    return foyer_socket_set_option(
        pd->host, socket->handle, FOYER_OPT_LINGER_NS,
        linger.l_onoff != 0 ? (int64_t)linger.l_linger * (int64_t)FOYER_NS_PER_S : -1);
}

uint32_t pd_notsent_lowat(const struct pd_socket *socket)
{
    return socket->notsent_lowat != 0 ? socket->notsent_lowat
                                      : (uint32_t)pd_sysctl("tcp_notsent_lowat", 0, UINT32_MAX);
}

/* Options that live in the adapter alone; NULL: not one of them. */
static uint32_t *find_own_option(struct pd_socket *socket, int level, int name)
{
    if (level == IPPROTO_TCP && name == TCP_NOTSENT_LOWAT)
        return &socket->notsent_lowat;
    if (level == SOL_SOCKET && name == SO_TIMESTAMPING)
        return &socket->timestamping;
    return NULL;
}

static bool *find_own_switch(struct pd_socket *socket, int level, int name)
{
    if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT)
        return &socket->connects_fast;
    if (level == IPPROTO_TCP && name == TCP_INQ)
        return &socket->tells_inq;
    if (level == SOL_SOCKET && name == SO_ZEROCOPY)
        return &socket->is_zerocopy;
    return NULL;
}

/* 1: not one of them. */
static int set_own_option(struct pd_socket *socket, int level, int name, int number)
{
    uint32_t *own = find_own_option(socket, level, name);
    bool *own_switch = find_own_switch(socket, level, name);

    if (own == NULL && own_switch == NULL)
        return 1;
    if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT &&
        (pd_sysctl("tcp_fastopen", 0, 1) & 1) == 0)
        return -EOPNOTSUPP;
    if (own_switch != NULL)
        *own_switch = number != 0;
    else
        *own = (uint32_t)number;
    if (own == &socket->timestamping && foyer_ring_is_set(&socket->tx))
        socket->timestamping_start = foyer_ring_head(&socket->tx);
    return 0;
}

/* Those that change nothing here: the stack always discovers the path MTU, and there is neither
 * routing by mark nor a socket bound to an address that the host has not. */
static bool is_without_effect(int level, int name)
{
    return (level == IPPROTO_IP && (name == IP_MTU_DISCOVER || name == IP_FREEBIND)) ||
           (level == SOL_SOCKET && name == SO_MARK);
}

static int set_fastopen_keys(struct pd *pd, struct pd_socket *socket, const uint8_t *value,
                             socklen_t size)
{
    if (size != 16 && size != 32)
        return -EINVAL;
    foyer_host_set_fastopen_keys(pd->host, value, size == 32 ? value + 16 : NULL);
    socket->has_own_keys = true;
    return 0;
}

int pd_setsockopt(struct pd *pd, int fd, int level, int name, const void *value, socklen_t size)
{
    struct pd_socket *socket = pd_socket_get(pd, fd);
    int number;

    if (socket == NULL || socket->is_epoll)
        return socket == NULL ? -EBADF : -ENOTSOCK;
    if (value == NULL)
        return -EFAULT;
    if (level == SOL_SOCKET && name == SO_LINGER)
        return set_linger(pd, socket, value, size);
    if (level == IPPROTO_TCP && name == TCP_CONGESTION)
        return set_congestion(pd, socket, value, size);
    if (is_without_effect(level, name))
        return 0;
    if (level == IPPROTO_TCP && name == TCP_FASTOPEN_KEY)
        return set_fastopen_keys(pd, socket, value, size);
    if (size >= sizeof(number)) {
        memcpy(&number, value, sizeof(number));
        int result = set_own_option(socket, level, name, number);
        if (result <= 0)
            return result;
    }
    const struct option_name *option = find_int_option(level, name);
    if (option == NULL)
        return -ENOPROTOOPT;
    /* ip(7): a single byte will do for options of the IP header. */
    bool is_byte = level == IPPROTO_IP && size >= 1 && size < sizeof(number);
    if (size < sizeof(number) && !is_byte)
        return -EINVAL;
    if (is_byte)
        number = *(const uint8_t *)value;
    else
        memcpy(&number, value, sizeof(number));
    if (option->option == FOYER_OPT_CORK)
        socket->is_corked = number != 0;
    if (option->option == FOYER_OPT_SEND_BUFFER)
        socket->send_limit = number < PD_SEND_MIN / 2 ? PD_SEND_MIN : 2u * (uint32_t)number;
    bool is_switch = level == SOL_SOCKET
                         ? name != SO_RCVBUF && name != SO_SNDBUF
                         : level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_CORK);
    return foyer_socket_set_option(pd->host, socket->handle, option->option,
                                   is_switch ? number != 0 : number);
}

static uint8_t linux_state(enum foyer_socket_state state)
{
    static const uint8_t states[] = {
        [FOYER_STATE_CLOSED] = 7,       [FOYER_STATE_LISTEN] = 10,     [FOYER_STATE_SYN_SENT] = 2,
        [FOYER_STATE_SYN_RECEIVED] = 3, [FOYER_STATE_ESTABLISHED] = 1, [FOYER_STATE_FIN_WAIT_1] = 4,
        [FOYER_STATE_FIN_WAIT_2] = 5,   [FOYER_STATE_CLOSE_WAIT] = 8,  [FOYER_STATE_CLOSING] = 11,
        [FOYER_STATE_LAST_ACK] = 9,     [FOYER_STATE_TIME_WAIT] = 6,
    };
    return states[state];
}

/* Linux's tcpi_ca_state:. */
static uint8_t linux_ca_state(const struct foyer_socket_info *info)
{
    switch (info->recovery) {
    case FOYER_RECOVERY_FAST:
        return TCP_CA_Recovery;
    case FOYER_RECOVERY_TIMEOUT:
        return TCP_CA_Loss;
    case FOYER_RECOVERY_CWR:
        return TCP_CA_CWR;
    default:
        return info->sacked_bytes > 0 ? TCP_CA_Disorder : TCP_CA_Open;
    }
}

static uint32_t segments(uint32_t bytes, uint32_t mss)
{
    return (bytes + mss - 1) / mss;
}

/* What follows tcpi_snd_wnd since Linux 6.2, 6.7 and 6.18, and older headers have not. */
struct tcp_info_tail {
    uint32_t rcv_wnd, rehash;
    uint16_t total_rto, total_rto_recoveries;
    uint32_t total_rto_time_ms;
    uint32_t received_ce, delivered_e1_bytes, delivered_e0_bytes, delivered_ce_bytes;
    uint32_t received_e1_bytes, received_e0_bytes, received_ce_bytes;
};

#define TCP_INFO_TAIL (offsetof(struct tcp_info, tcpi_snd_wnd) + sizeof(uint32_t))

static void put_tcp_info_tail(const struct foyer_socket_info *info, uint8_t *ret_value,
                              socklen_t size)
{
    const struct foyer_ecn_counters *ecn = &info->ecn;
    struct tcp_info_tail tail = {
        .received_ce = ecn->received_ce,
        .delivered_e1_bytes = ecn->delivered_e1_bytes,
        .delivered_e0_bytes = ecn->delivered_e0_bytes,
        .delivered_ce_bytes = ecn->delivered_ce_bytes,
        .received_e1_bytes = ecn->received_e1_bytes,
        .received_e0_bytes = ecn->received_e0_bytes,
        .received_ce_bytes = ecn->received_ce_bytes,
    };

    if (size > TCP_INFO_TAIL)
        memcpy(ret_value + TCP_INFO_TAIL, &tail,
               size - TCP_INFO_TAIL < sizeof(tail) ? size - TCP_INFO_TAIL : sizeof(tail));
}

/* What libfoyer tells; everything else of the structure is 0. */
static int get_tcp_info(struct pd *pd, struct pd_socket *socket, void *ret_value, socklen_t size)
{
    struct foyer_socket_info info;
    int error = foyer_socket_info(pd->host, socket->handle, &info);

    if (error != 0)
        return error;
    uint32_t mss = info.mss != 0 ? info.mss : 1;
    struct tcp_info out = {
        .tcpi_state = linux_state(info.state),
        .tcpi_ca_state = linux_ca_state(&info),
        .tcpi_backoff = info.backoff,
        .tcpi_options = (uint8_t)((info.has_timestamps ? TCPI_OPT_TIMESTAMPS : 0) |
                                  (info.has_sack ? TCPI_OPT_SACK : 0) |
                                  (info.has_window_scale ? TCPI_OPT_WSCALE : 0) |
                                  (info.has_ecn || info.has_accurate_ecn ? TCPI_OPT_ECN : 0) |
                                  (info.has_syn_data ? TCPI_OPT_SYN_DATA : 0)),
        .tcpi_snd_wscale = info.send_scale & 15u,
        .tcpi_rcv_wscale = info.receive_scale & 15u,
        .tcpi_rcv_mss = info.receive_mss,
        .tcpi_advmss = info.advertised_mss,
        .tcpi_notsent_bytes = info.unsent_bytes,
        .tcpi_last_data_sent = info.idle_send_ms,
        .tcpi_last_data_recv = info.idle_recv_ms,
        .tcpi_last_ack_recv = info.idle_recv_ms,
        .tcpi_min_rtt = info.min_rtt_us,
        .tcpi_delivery_rate = info.delivery_rate_bytes_per_s,
        .tcpi_pacing_rate = info.pacing_rate_bytes_per_s,
        .tcpi_probes = info.probes,
        .tcpi_unacked = segments(info.flight_bytes, mss),
        .tcpi_sacked = segments(info.sacked_bytes, mss),
        /* Linux counts what was lost as lost until it is acknowledged. */
        .tcpi_lost =
            segments(info.lost_bytes +
                         (info.recovery != FOYER_RECOVERY_NONE ? info.retransmitting_bytes : 0),
                     mss),
        .tcpi_retrans = segments(info.retransmitting_bytes, mss),
        .tcpi_busy_time = info.statistics.busy_us,
        .tcpi_rwnd_limited = info.statistics.window_limited_us,
        .tcpi_sndbuf_limited = info.statistics.buffer_limited_us,
        .tcpi_delivered = info.statistics.delivered_segments,
        .tcpi_delivered_ce =
            info.has_accurate_ecn ? info.ecn.delivered_ce : info.statistics.delivered_ce_segments,
        .tcpi_reordering = info.statistics.reorder_segments,
        .tcpi_reord_seen = info.statistics.reorder_events,
        .tcpi_rto = info.rto_us,
        .tcpi_snd_mss = info.mss,
        .tcpi_rtt = info.rtt_us,
        .tcpi_rttvar = info.rttvar_us,
        .tcpi_snd_cwnd = info.cwnd_bytes / mss,
        .tcpi_snd_ssthresh =
            info.ssthresh_bytes >= INT32_MAX ? INT32_MAX : info.ssthresh_bytes / mss,
        .tcpi_total_retrans = (uint32_t)info.retransmissions,
        .tcpi_bytes_received = info.bytes_received,
        .tcpi_bytes_sent = info.bytes_sent,
    };
    memset(ret_value, 0, size);
    memcpy(ret_value, &out, size < sizeof(out) ? size : sizeof(out));
    put_tcp_info_tail(&info, ret_value, size);
    return 0;
}

static int get_text(const char *text, void *ret_value, socklen_t *io_size)
{
    char padded[16] = ""; /* TCP_CA_NAME_MAX */

    snprintf(padded, sizeof(padded), "%s", text);
    if (*io_size > sizeof(padded))
        *io_size = sizeof(padded);
    memcpy(ret_value, padded, *io_size);
    return 0;
}

static int get_number(struct pd *pd, struct pd_socket *socket, const struct option_name *option,
                      int *ret_number)
{
    struct foyer_socket_info info;
    int64_t value;
    int error = foyer_socket_get_option(pd->host, socket->handle, option->option, &value);

    if (error != 0)
        return error;
    /* Linux answers with the segment size in use. */
    if (option->option == FOYER_OPT_MAXSEG && value == 0 &&
        foyer_socket_info(pd->host, socket->handle, &info) == 0 && info.mss != 0)
        value = info.mss;
    /* socket(7): the kernel doubles what was asked for, and says so. */
    bool is_size =
        option->option == FOYER_OPT_RECEIVE_BUFFER || option->option == FOYER_OPT_SEND_BUFFER;
    *ret_number = (int)(is_size ? value * 2 : value);
    if (option->option == FOYER_OPT_SEND_BUFFER && socket->send_limit != 0)
        *ret_number = (int)socket->send_limit;
    return 0;
}

static int take_error(struct pd *pd, struct pd_socket *socket)
{
    socket->has_error = false;
    return -foyer_socket_take_error(pd->host, socket->handle);
}

int pd_getsockopt(struct pd *pd, int fd, int level, int name, void *ret_value, socklen_t *io_size)
{
    struct pd_socket *socket = pd_socket_get(pd, fd);
    int64_t congestion;
    int number, error = 0;

    if (socket == NULL || socket->is_epoll)
        return socket == NULL ? -EBADF : -ENOTSOCK;
    if (ret_value == NULL || io_size == NULL)
        return -EFAULT;
    if (level == IPPROTO_TCP && name == TCP_INFO)
        return get_tcp_info(pd, socket, ret_value, *io_size);
    if (level == IPPROTO_TCP && name == TCP_CONGESTION) {
        error =
            foyer_socket_get_option(pd->host, socket->handle, FOYER_OPT_CONGESTION, &congestion);
        const char *text = congestion == FOYER_CONGESTION_CUBIC ? "cubic" : "reno";
        return error != 0 ? error : get_text(text, ret_value, io_size);
    }
    if (level == IPPROTO_TCP && name == TCP_CC_INFO) {
        *io_size = 0; /* as of a congestion control that tells nothing */
        return 0;
    }
    if (level == SOL_SOCKET && name == SO_MEMINFO) {
        memset(ret_value, 0, *io_size); /* libfoyer counts no such memory */
        return 0;
    }
    const struct option_name *option = find_int_option(level, name);
    if (level == SOL_SOCKET && name == SO_ERROR)
        number = take_error(pd, socket);
    else if (level == SOL_SOCKET && name == SO_TYPE)
        number = socket->is_tcp ? SOCK_STREAM : SOCK_DGRAM;
    else if (find_own_option(socket, level, name) != NULL)
        number = (int)*find_own_option(socket, level, name);
    else if (find_own_switch(socket, level, name) != NULL)
        number = *find_own_switch(socket, level, name);
    else if (option != NULL)
        error = get_number(pd, socket, option, &number);
    else
        return -ENOPROTOOPT;
    if (error != 0)
        return error;
    if (*io_size > sizeof(number))
        *io_size = sizeof(number);
    memcpy(ret_value, &number, *io_size);
    return 0;
}

int pd_ioctl(struct pd *pd, int fd, unsigned long request, void *argument)
{
    struct pd_socket *socket = pd_socket_get(pd, fd);
    uint32_t count = 0;

    if (socket == NULL || socket->is_epoll)
        return socket == NULL ? -EBADF : -ENOTTY;
    if (argument == NULL)
        return -EFAULT;
    if (request == SIOCINQ) {
        if (socket->is_listening)
            return -EINVAL;
        count = pd_readable_bytes(socket);
        /* Linux counts the FIN as a byte less: with nothing else left it says 0. */
    } else if (request == SIOCOUTQ) {
        if (socket->is_listening)
            return -EINVAL;
        if (foyer_ring_is_set(&socket->tx))
            count = foyer_ring_used(&socket->tx);
    } else {
        return -ENOTTY;
    }
    *(int *)argument = (int)count;
    return 0;
}

int pd_fcntl(struct pd *pd, int fd, int command, int argument)
{
    struct pd_socket *socket = pd_socket_get(pd, fd);

    if (socket == NULL)
        return -EBADF;
    switch (command) {
    case F_GETFL:
        return O_RDWR | (socket->is_nonblocking ? O_NONBLOCK : 0);
    case F_SETFL:
        socket->is_nonblocking = (argument & O_NONBLOCK) != 0;
        return 0;
    case F_GETFD:
    case F_SETFD:
        return 0;
    default:
        return -EINVAL;
    }
}
