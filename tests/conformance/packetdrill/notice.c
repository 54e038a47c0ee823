/*
 * The error queue of a TCP socket, as far as it tells what became of bytes that were sent. The send
 * ring is the adapter's own: its tail says what the peer has acknowledged, so a buffer that was lent
 * by MSG_ZEROCOPY could be had back when the tail passes its end. Each range of calls is told once.
 */
#include "adapter.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <time.h>

/* ---- marks ---------------------------------------------------------------------------------- */

static void add_mark(struct pd_socket *socket, struct pd_mark mark)
{
    if (socket->mark_count < PD_NOTICES_MAX)
        socket->marks[socket->mark_count++] = mark;
}

void pd_mark_written(struct pd_socket *socket, bool is_zerocopy)
{
    const unsigned when =
        SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_ACK;

    if (!foyer_ring_is_set(&socket->tx))
        return;
    uint32_t end = foyer_ring_head(&socket->tx);
    if (is_zerocopy && socket->is_zerocopy)
        add_mark(socket,
                 (struct pd_mark){.end = end, .id = socket->zerocopy_next++, .is_zerocopy = true});
    if ((socket->timestamping & when) != 0) /* SOF_TIMESTAMPING_OPT_ID: the last byte's number */
        add_mark(socket, (struct pd_mark){.end = end, .id = end - socket->timestamping_start - 1});
}

static void add_notice(struct pd_socket *socket, struct pd_notice notice)
{
    struct pd_notice *last =
        socket->notice_count > 0 ? &socket->notices[socket->notice_count - 1] : NULL;

    /* One notice for calls in a row: from info to data. */
    if (notice.origin == SO_EE_ORIGIN_ZEROCOPY && last != NULL && last->origin == notice.origin &&
        last->data + 1 == notice.info) {
        last->data = notice.data;
        return;
    }
    if (socket->notice_count < PD_NOTICES_MAX)
        socket->notices[socket->notice_count++] = notice;
}

static bool has_passed(uint32_t position, uint32_t end)
{
    return (int32_t)(position - end) >= 0;
}

static void tell_time(struct pd *pd, struct pd_socket *socket, const struct pd_mark *mark,
                      uint32_t what)
{
    add_notice(socket, (struct pd_notice){.origin = SO_EE_ORIGIN_TIMESTAMPING,
                                          .info = what,
                                          .data = mark->id,
                                          .time_ns = pd->now});
}

/* True: the mark has said all. */
static bool look_at(struct pd *pd, struct pd_socket *socket, struct pd_mark *mark, uint32_t sent,
                    uint32_t acked)
{
    if (mark->is_zerocopy) {
        if (!has_passed(acked, mark->end))
            return false;
        /* To the virtual wire everything is copied, as to Linux's TUN. */
        add_notice(socket, (struct pd_notice){.origin = SO_EE_ORIGIN_ZEROCOPY,
                                              .code = SO_EE_CODE_ZEROCOPY_COPIED,
                                              .info = mark->id,
                                              .data = mark->id});
        return true;
    }
    if (!mark->is_sent && has_passed(sent, mark->end)) {
        mark->is_sent = true;
        if ((socket->timestamping & SOF_TIMESTAMPING_TX_SCHED) != 0)
            tell_time(pd, socket, mark, SCM_TSTAMP_SCHED);
        if ((socket->timestamping & SOF_TIMESTAMPING_TX_SOFTWARE) != 0)
            tell_time(pd, socket, mark, SCM_TSTAMP_SND);
    }
    if (!has_passed(acked, mark->end))
        return false;
    if ((socket->timestamping & SOF_TIMESTAMPING_TX_ACK) != 0)
        tell_time(pd, socket, mark, SCM_TSTAMP_ACK);
    return true;
}

void pd_marks_look(struct pd *pd, struct pd_socket *socket)
{
    struct foyer_socket_info info;
    unsigned kept = 0, before = socket->notice_count;

    if (socket->mark_count == 0 || foyer_socket_info(pd->host, socket->handle, &info) != 0)
        return;
    uint32_t acked = foyer_ring_tail(&socket->tx);
    uint32_t sent = foyer_ring_head(&socket->tx) - info.unsent_bytes;
    for (unsigned i = 0; i < socket->mark_count; i++)
        if (!look_at(pd, socket, &socket->marks[i], sent, acked))
            socket->marks[kept++] = socket->marks[i];
    bool has_told = kept != socket->mark_count || socket->notice_count != before;
    socket->mark_count = kept;
    if (has_told)
        pd_poll_event(pd, socket, 0);
}

/* ---- reading -------------------------------------------------------------------------------- */

void pd_control_put(struct msghdr *msg, size_t *io_used, int level, int type, const void *data,
                    size_t size)
{
    struct cmsghdr header = {.cmsg_len = CMSG_LEN(size), .cmsg_level = level, .cmsg_type = type};

    if (msg->msg_control == NULL || msg->msg_controllen - *io_used < CMSG_SPACE(size)) {
        msg->msg_flags |= MSG_CTRUNC;
        return;
    }
    uint8_t *to = (uint8_t *)msg->msg_control + *io_used;
    memset(to, 0, CMSG_SPACE(size));
    memcpy(to, &header, sizeof(header));
    memcpy(to + CMSG_LEN(0), data, size);
    *io_used += CMSG_SPACE(size);
}

ssize_t pd_notice_receive(struct pd_socket *socket, struct msghdr *msg)
{
    size_t used = 0;

    if (socket->notice_count == 0)
        return -EAGAIN;
    struct pd_notice notice = socket->notices[0];
    memmove(&socket->notices[0], &socket->notices[1],
            --socket->notice_count * sizeof(socket->notices[0]));
    msg->msg_flags = MSG_ERRQUEUE;
    if (notice.origin == SO_EE_ORIGIN_TIMESTAMPING) {
        struct timespec times[3] = {{.tv_sec = (time_t)(notice.time_ns / FOYER_NS_PER_S),
                                     .tv_nsec = (long)(notice.time_ns % FOYER_NS_PER_S)}};
        pd_control_put(msg, &used, SOL_SOCKET, SO_TIMESTAMPING, times, sizeof(times));
        msg->msg_flags |= MSG_TRUNC; /* Linux would give back the packet: there is no room for it */
    }
    struct {
        struct sock_extended_err error;
        struct sockaddr_in6 offender; /* nobody */
    } report = {.error = {.ee_errno = notice.origin == SO_EE_ORIGIN_TIMESTAMPING ? ENOMSG : 0,
                          .ee_origin = notice.origin,
                          .ee_code = notice.code,
                          .ee_info = notice.info,
                          .ee_data = notice.data}};
    size_t size = sizeof(report.error) +
                  (socket->is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    pd_control_put(msg, &used, socket->is_v6 ? SOL_IPV6 : SOL_IP,
                   socket->is_v6 ? IPV6_RECVERR : IP_RECVERR, &report, size);
    msg->msg_controllen = used;
    return 0;
}
