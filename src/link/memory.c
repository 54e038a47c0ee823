/* A wire inside one process. */
#include "link/memory.h"

#include <errno.h>
#include <stdlib.h>

#include "link/frame.h"

#define QUEUE_PACKETS_DEFAULT 1024

struct wire;

struct memory_link {
    struct link link;
    struct wire *wire;
    struct memory_link *peer;
    struct list_node queue; /* sent by the peer, not yet received */
    size_t queue_count;
    struct list_node lent; /* given out by the last receive */
    bool is_open;
};

/* Both ends in one piece of memory, freed with the second of them. */
struct wire {
    struct memory_link ends[2];
    size_t queue_packets;
};

static struct memory_link *memory_link(struct link *link)
{
    return LIST_ENTRY(link, struct memory_link, link);
}

static int memory_send(struct link *link, const struct foyer_packet *packets, size_t count,
                       foyer_time_ns now)
{
    struct memory_link *peer = memory_link(link)->peer;
    (void)now;
    if (!peer->is_open)
        return -EPIPE;
    size_t taken = 0;
    for (; taken < count && peer->queue_count < peer->wire->queue_packets; taken++) {
        struct frame *frame = frame_copy(&packets[taken]);
        if (frame == NULL)
            continue; /* a wire may lose a frame */
        list_push_back(&peer->queue, &frame->node);
        peer->queue_count++;
    }
    return (int)taken;
}

static int memory_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    struct memory_link *end = memory_link(link);
    frame_free_all(&end->lent);
    size_t count = 0;
    struct list_node *node;
    while (count < max && (node = list_pop_front(&end->queue)) != NULL) {
        struct frame *frame = LIST_ENTRY(node, struct frame, node);
        end->queue_count--;
        list_push_back(&end->lent, node);
        ret_packets[count] = frame->packet;
        ret_packets[count++].arrival_ns = now;
    }
    if (count == 0 && !end->peer->is_open && max > 0)
        return -EPIPE;
    return (int)count;
}

static void memory_close(struct link *link)
{
    struct memory_link *end = memory_link(link);
    frame_free_all(&end->lent);
    frame_free_all(&end->queue);
    end->is_open = false;
    if (!end->peer->is_open)
        free(end->wire);
}

static const struct link_ops memory_ops = {
    .send = memory_send,
    .receive = memory_receive,
    .close = memory_close,
};

int link_memory_create(const struct link_memory_config *config, struct link **ret_a,
                       struct link **ret_b)
{
    struct wire *wire = calloc(1, sizeof(*wire));
    if (wire == NULL)
        return -ENOMEM;
    wire->queue_packets =
        config->queue_packets != 0 ? config->queue_packets : QUEUE_PACKETS_DEFAULT;
    for (int i = 0; i < 2; i++) {
        struct memory_link *end = &wire->ends[i];
        end->link = (struct link){&memory_ops, config->capabilities};
        end->wire = wire;
        end->peer = &wire->ends[1 - i];
        end->is_open = true;
        list_init(&end->queue);
        list_init(&end->lent);
    }
    *ret_a = &wire->ends[0].link;
    *ret_b = &wire->ends[1].link;
    return 0;
}
