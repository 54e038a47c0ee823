/* A bad wire. */
#include "link/impair.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "link/frame.h"
#include "wire/eth.h"

#define QUEUE_BYTES_DEFAULT (1u << 20)
#define BATCH 32

void impair_init(struct impair *impair, const struct impair_config *config, uint64_t seed)
{
    *impair = (struct impair){.config = *config};
    if (impair->config.queue_bytes == 0)
        impair->config.queue_bytes = QUEUE_BYTES_DEFAULT;
    if (impair->config.reorder_ns == 0)
        impair->config.reorder_ns = config->delay_ns;
    if (impair->config.burst_loss_ppm == 0)
        impair->config.burst_loss_ppm = 1000000;
    random_init(&impair->random, seed);
    list_init(&impair->frames);
    list_init(&impair->lent);
}

void impair_finish(struct impair *impair)
{
    frame_free_all(&impair->frames);
    frame_free_all(&impair->lent);
}

/* From the end, where most frames belong. */
static void insert_by_due(struct impair *impair, struct frame *frame)
{
    struct list_node *before = impair->frames.prev;
    while (before != &impair->frames &&
           LIST_ENTRY(before, struct frame, node)->due_ns > frame->due_ns)
        before = before->prev;
    list_insert_before(before->next, &frame->node);
}

static uint64_t bytes_as_ns(const struct impair *impair, size_t size)
{
    return (uint64_t)((double)size * 8e9 / (double)impair->config.rate_bits_per_s);
}

/* When the bottleneck has passed the frame on, and whether it found a long queue; false where
 * there is no place in it. */
static bool pass_bottleneck(struct impair *impair, size_t size, foyer_time_ns now,
                            foyer_time_ns *ret_passed, bool *ret_is_long)
{
    uint64_t rate = impair->config.rate_bits_per_s;
    if (rate == 0) {
        *ret_passed = now;
        *ret_is_long = false;
        return true;
    }
    foyer_time_ns start = impair->line_free_ns > now ? impair->line_free_ns : now;
    uint64_t queued_ns = start - now;
    if (queued_ns > bytes_as_ns(impair, impair->config.queue_bytes)) {
        impair->stats.overflowed++;
        return false;
    }
    impair->line_free_ns = start + bytes_as_ns(impair, size);
    *ret_passed = impair->line_free_ns;
    *ret_is_long =
        impair->config.mark_bytes > 0 && queued_ns > bytes_as_ns(impair, impair->config.mark_bytes);
    return true;
}

/* ECT(0) and ECT(1) become CE (RFC 3168 section 5); what is not ECN-capable stays as it is. */
static void mark(struct impair *impair, struct frame *frame)
{
    struct wire_eth eth;
    uint8_t *ip = frame->bytes + WIRE_ETH_SIZE;
    if (wire_eth_parse(frame->bytes, frame->size, &eth) < 0 || frame->size < WIRE_ETH_SIZE + 20)
        return;
    if (eth.ethertype == WIRE_ETHERTYPE_IPV4 && (ip[1] & 3) != 0) {
        uint16_t before = load_be16(ip);
        ip[1] |= 3;
        store_be16(ip + 10, checksum_update(load_be16(ip + 10), before, load_be16(ip)));
    } else if (eth.ethertype == WIRE_ETHERTYPE_IPV6 && (ip[1] & 0x30) != 0) {
        ip[1] |= 0x30;
    } else {
        return;
    }
    impair->stats.marked++;
}

static void put_on_way(struct impair *impair, const struct foyer_packet *packet, foyer_time_ns now)
{
    foyer_time_ns due;
    bool is_long;
    if (!pass_bottleneck(impair, foyer_packet_size(packet), now, &due, &is_long))
        return;
    struct frame *frame = frame_copy(packet);
    if (frame == NULL)
        return;
    if (is_long || random_chance_ppm(&impair->random, impair->config.mark_ppm))
        mark(impair, frame);
    due += impair->config.delay_ns;
    if (impair->config.jitter_ns > 0)
        due += random_below(&impair->random, impair->config.jitter_ns + 1);
    if (impair->config.reorder_ns > 0 &&
        random_chance_ppm(&impair->random, impair->config.reorder_ppm)) {
        due += 1 + random_below(&impair->random, impair->config.reorder_ns);
        impair->stats.reordered++;
    } else {
        /* Jitter alone keeps the order. */
        due = due > impair->last_due_ns ? due : impair->last_due_ns;
        impair->last_due_ns = due;
    }
    frame->due_ns = due;
    insert_by_due(impair, frame);
}

/* One step of the chain, then its state's loss. */
static bool is_lost(struct impair *impair)
{
    const struct impair_config *config = &impair->config;
    if (config->burst_enter_ppm > 0) {
        uint32_t move = impair->is_in_burst ? config->burst_leave_ppm : config->burst_enter_ppm;
        impair->is_in_burst ^= random_chance_ppm(&impair->random, move);
    }
    if (!impair->is_in_burst)
        return random_chance_ppm(&impair->random, config->loss_ppm);
    bool lost = random_chance_ppm(&impair->random, config->burst_loss_ppm);
    impair->stats.lost_in_bursts += lost;
    return lost;
}

void impair_push(struct impair *impair, const struct foyer_packet *packet, foyer_time_ns now)
{
    impair->stats.frames++;
    if (impair->config.frame_bytes_max > 0 &&
        foyer_packet_size(packet) > impair->config.frame_bytes_max) {
        impair->stats.too_large++;
        return;
    }
    if (is_lost(impair)) {
        impair->stats.lost++;
        return;
    }
    put_on_way(impair, packet, now);
    if (random_chance_ppm(&impair->random, impair->config.duplicate_ppm)) {
        impair->stats.duplicated++;
        put_on_way(impair, packet, now);
    }
}

/* False: the frame is lost by it. */
static bool damage(struct impair *impair, struct frame *frame)
{
    impair->stats.damaged++;
    struct wire_eth eth;
    if (wire_eth_parse(frame->bytes, frame->size, &eth) < 0 || frame->size == WIRE_ETH_SIZE)
        return false;
    if (eth.ethertype != WIRE_ETHERTYPE_IPV4 && eth.ethertype != WIRE_ETHERTYPE_IPV6)
        return false;
    if (frame_finish_checksum(frame) < 0)
        return false;
    size_t at = WIRE_ETH_SIZE + (size_t)random_below(&impair->random, frame->size - WIRE_ETH_SIZE);
    frame->bytes[at] ^= (uint8_t)(1 + random_below(&impair->random, 255));
    return true;
}

size_t impair_pop(struct impair *impair, struct foyer_packet *ret_packets, size_t max,
                  foyer_time_ns now)
{
    frame_free_all(&impair->lent);
    size_t count = 0;
    struct list_node *node;
    while (count < max && (node = list_first(&impair->frames)) != NULL) {
        struct frame *frame = LIST_ENTRY(node, struct frame, node);
        if (frame->due_ns > now)
            break;
        list_remove(node);
        list_push_back(&impair->lent, node);
        if (random_chance_ppm(&impair->random, impair->config.damage_ppm) && !damage(impair, frame))
            continue;
        frame->packet.arrival_ns = frame->due_ns;
        ret_packets[count++] = frame->packet;
    }
    return count;
}

foyer_time_ns impair_deadline(const struct impair *impair)
{
    const struct list_node *first = list_first(&impair->frames);
    return first == NULL ? FOYER_TIME_NEVER : LIST_ENTRY(first, struct frame, node)->due_ns;
}

/* ---- the link ------------------------------------------------------------------------------- */

struct impair_link {
    struct link link;
    struct link *under;
    struct impair out, in;
};

static struct impair_link *impair_link(const struct link *link)
{
    return LIST_ENTRY(link, struct impair_link, link);
}

/* Sends what has waited long enough. What the link below can't take is lost. */
static int flush(struct impair_link *impaired, foyer_time_ns now)
{
    struct foyer_packet packets[BATCH];
    size_t count;
    while ((count = impair_pop(&impaired->out, packets, BATCH, now)) > 0) {
        int sent = link_send(impaired->under, packets, count, now);
        if (sent < 0)
            return sent;
    }
    return 0;
}

static int impair_send(struct link *link, const struct foyer_packet *packets, size_t count,
                       foyer_time_ns now)
{
    struct impair_link *impaired = impair_link(link);
    for (size_t i = 0; i < count; i++)
        impair_push(&impaired->out, &packets[i], now);
    int error = flush(impaired, now);
    return error < 0 ? error : (int)count;
}

static int impair_receive(struct link *link, struct foyer_packet *ret_packets, size_t max,
                          foyer_time_ns now)
{
    struct impair_link *impaired = impair_link(link);
    int error = flush(impaired, now);
    struct foyer_packet packets[BATCH];
    int count;
    while ((count = link_receive(impaired->under, packets, BATCH, now)) > 0) {
        for (int i = 0; i < count; i++)
            impair_push(&impaired->in, &packets[i], now);
        if (count < BATCH)
            break;
    }
    size_t popped = impair_pop(&impaired->in, ret_packets, max, now);
    /* What still is on its way arrives before the end is told. */
    if (popped > 0 || !list_is_empty(&impaired->in.frames))
        return (int)popped;
    return error < 0 ? error : count < 0 ? count : 0;
}

static int impair_fd(const struct link *link)
{
    return link_fd(impair_link(link)->under);
}

static foyer_time_ns impair_link_deadline(const struct link *link)
{
    const struct impair_link *impaired = impair_link(link);
    foyer_time_ns out = impair_deadline(&impaired->out), in = impair_deadline(&impaired->in);
    foyer_time_ns under = link_deadline(impaired->under);
    foyer_time_ns first = out < in ? out : in;
    return first < under ? first : under;
}

static void impair_close(struct link *link)
{
    struct impair_link *impaired = impair_link(link);
    impair_finish(&impaired->out);
    impair_finish(&impaired->in);
    link_close(impaired->under);
    free(impaired);
}

static const struct link_ops impair_ops = {
    .send = impair_send,
    .receive = impair_receive,
    .fd = impair_fd,
    .deadline = impair_link_deadline,
    .close = impair_close,
};

int link_impair_create(struct link *under, const struct impair_config *send_config,
                       const struct impair_config *receive_config, uint64_t seed,
                       struct link **ret_link)
{
    struct impair_link *impaired = calloc(1, sizeof(*impaired));
    if (impaired == NULL)
        return -ENOMEM;
    impaired->link = (struct link){&impair_ops, under->capabilities};
    impaired->under = under;
    impair_init(&impaired->out, send_config, seed);
    impair_init(&impaired->in, receive_config, seed ^ 0x5bd1e995u);
    *ret_link = &impaired->link;
    return 0;
}
