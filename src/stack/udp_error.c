/*
 * The error queues of datagram sockets (FOYER_OPT_RECVERR): what ICMP said of datagrams that were
 * sent, one entry per message, as Linux's IP_RECVERR and IPV6_RECVERR give it.
 *
 * Few sockets have one, so a queue is not part of its socket: it is found by the socket's slot.
 * It is bounded, and made with the option; no error costs an allocation.
 */
#include <errno.h>

#include "base/bytes.h"
#include "stack/ip.h"
#include "wire/udp.h"

#define ERRORS_MAX 16u

struct error_queue {
    struct hash_node node; /* host->error_queues */
    struct sock *sock;
    uint32_t first, count;
    struct foyer_socket_error errors[ERRORS_MAX];
};

static uint32_t hash_of(const struct sock *sock)
{
    return sock->slot.index * 2654435761u; /* slots are the host's own: nobody chooses them */
}

static struct error_queue *find_queue(const struct foyer_host *host, const struct sock *sock)
{
    for (struct hash_node *node = hash_table_first(&host->error_queues, hash_of(sock));
         node != NULL; node = hash_table_next(node)) {
        struct error_queue *queue = HASH_ENTRY(node, struct error_queue, node);
        if (queue->sock == sock)
            return queue;
    }
    return NULL;
}

int udp_errors_switch(struct foyer_host *host, struct sock *sock, bool is_on)
{
    struct error_queue *queue;

    if (is_on == ((sock->flags & SOCK_RECVERR) != 0))
        return 0;
    if (!is_on) {
        queue = find_queue(host, sock);
        if (queue != NULL)
            hash_table_remove(&host->error_queues, &queue->node);
        host_free(host, queue, sizeof(*queue));
        sock->flags &= ~(uint32_t)SOCK_RECVERR;
        return 0;
    }
    if (host->error_queues.bucket_count == 0 &&
        hash_table_init(&host->error_queues, &host->config.allocator) != 0)
        return -ENOMEM;
    queue = host_alloc(host, sizeof(*queue));
    if (queue == NULL)
        return -ENOMEM;
    queue->sock = sock;
    hash_table_insert(&host->error_queues, &queue->node, hash_of(sock));
    sock->flags |= SOCK_RECVERR;
    return 0;
}

void udp_error_push(struct foyer_host *host, struct sock *sock,
                    const struct foyer_socket_error *error)
{
    struct error_queue *queue = find_queue(host, sock);

    if (queue == NULL || queue->count == ERRORS_MAX)
        return; /* the newest is lost, as where memory for it ran out */
    queue->errors[(queue->first + queue->count++) % ERRORS_MAX] = *error;
    sock_fail(host, sock, error->error);
}

void udp_icmp_error(struct foyer_host *host, struct sock *sock, const struct icmp_error *error,
                    const struct foyer_endpoint *remote)
{
    if ((sock->flags & SOCK_RECVERR) == 0) {
        /* RFC 1122 section 4.1.3.3; as on Linux only the connected are told, of hard errors. */
        if ((sock->flags & SOCK_CONNECTED) && error->is_hard)
            sock_fail(host, sock, error->error);
        return;
    }
    struct foyer_socket_error entry = {
        .error = error->error,
        .origin = foyer_addr_is_v4(&remote->addr) ? FOYER_ERROR_ICMP : FOYER_ERROR_ICMP6,
        .type = error->type,
        .code = error->code,
        .info = error->mtu,
        .offender = error->offender,
        .remote = *remote};
    size_t quoted = error->size - WIRE_UDP_SIZE; /* icmp.c has seen that 8 bytes are there */
    entry.payload_size = (uint8_t)(quoted < sizeof(entry.payload) ? quoted : sizeof(entry.payload));
    memcpy(entry.payload, error->transport + WIRE_UDP_SIZE, entry.payload_size);
    udp_error_push(host, sock, &entry);
}

int foyer_socket_error_next(struct foyer_host *host, foyer_socket socket,
                            struct foyer_socket_error *ret_error)
{
    struct sock *sock = sock_from_handle(host, socket);
    if (sock == NULL)
        return -EBADF;
    if (sock->protocol != FOYER_UDP)
        return -EOPNOTSUPP;
    struct error_queue *queue = sock->flags & SOCK_RECVERR ? find_queue(host, sock) : NULL;
    if (queue == NULL || queue->count == 0)
        return -EAGAIN;
    *ret_error = queue->errors[queue->first];
    queue->first = (queue->first + 1) % ERRORS_MAX;
    queue->count--;
    /* The pending error is the next one's, as on Linux; none is left with an empty queue. */
    sock->error = (int16_t)(queue->count > 0 ? queue->errors[queue->first].error : 0);
    return 0;
}
