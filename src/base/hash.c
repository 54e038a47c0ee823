/*
 * Linear hashing. Buckets are numbered 0..bucket_count-1. With base the largest power of two not
 * above bucket_count, the buckets below bucket_count - base have been split in this round and
 * use one more bit of the hash than the others. Splitting bucket b moves the nodes that have the
 * new bit to bucket b + base, which is the next to come into use.
 *
 * Segment 0 holds buckets 0..15; segment s > 0 holds 2^(s+3)..2^(s+4)-1.
 */
#include "base/hash.h"

#include <errno.h>
#include <string.h>

#define SEGMENT0_BITS 4
_Static_assert(HASH_BUCKETS_MIN == 1u << SEGMENT0_BITS, "segment arithmetic");

static inline unsigned log2_floor(uint32_t value)
{
    return 31u - (unsigned)__builtin_clz(value);
}

static inline unsigned segment_of(uint32_t bucket)
{
    return bucket < HASH_BUCKETS_MIN ? 0 : log2_floor(bucket) - SEGMENT0_BITS + 1;
}

static inline uint32_t segment_first(unsigned segment)
{
    return segment == 0 ? 0 : 1u << (segment + SEGMENT0_BITS - 1);
}

static inline size_t segment_bytes(unsigned segment)
{
    size_t buckets = segment == 0 ? HASH_BUCKETS_MIN : segment_first(segment);
    return buckets * sizeof(struct hash_node *);
}

static inline struct hash_node **bucket_at(const struct hash_table *table, uint32_t bucket)
{
    unsigned segment = segment_of(bucket);
    return &table->segments[segment][bucket - segment_first(segment)];
}

/* The low bits of a caller's hash must not be all there is: mix, so that any hash does. */
static inline uint32_t mix(uint32_t hash)
{
    hash ^= hash >> 16;
    hash *= 0x7feb352du;
    hash ^= hash >> 15;
    hash *= 0x846ca68bu;
    hash ^= hash >> 16;
    return hash;
}

static inline uint32_t bucket_of(const struct hash_table *table, uint32_t hash)
{
    uint32_t mixed = mix(hash);
    uint32_t base = 1u << log2_floor(table->bucket_count);
    uint32_t bucket = mixed & (2 * base - 1);
    return bucket < table->bucket_count ? bucket : mixed & (base - 1);
}

int hash_table_init(struct hash_table *table, const struct foyer_allocator *allocator)
{
    struct hash_node **first = allocator->alloc(allocator->context, segment_bytes(0));
    if (first == NULL)
        return -ENOMEM;
    memset(first, 0, segment_bytes(0));
    memset(table, 0, sizeof(*table));
    table->allocator = *allocator;
    table->bucket_count = HASH_BUCKETS_MIN;
    table->segments[0] = first;
    return 0;
}

void hash_table_finish(struct hash_table *table)
{
    for (unsigned i = 0; i < HASH_SEGMENTS_MAX; i++) {
        if (table->segments[i] != NULL)
            table->allocator.free(table->allocator.context, table->segments[i], segment_bytes(i));
    }
    memset(table, 0, sizeof(*table));
}

/* Brings one more bucket into use. Does nothing where there is no memory for it. */
static void split_one(struct hash_table *table)
{
    uint32_t fresh = table->bucket_count;
    unsigned segment = segment_of(fresh);
    if (segment >= HASH_SEGMENTS_MAX)
        return;
    if (table->segments[segment] == NULL) {
        /* Not cleared: each bucket is written below before its first use. */
        table->segments[segment] =
            table->allocator.alloc(table->allocator.context, segment_bytes(segment));
        if (table->segments[segment] == NULL)
            return;
    }
    uint32_t base = 1u << log2_floor(fresh);
    struct hash_node **stay = bucket_at(table, fresh - base);
    struct hash_node **move = bucket_at(table, fresh);
    *move = NULL;
    while (*stay != NULL) {
        struct hash_node *node = *stay;
        if ((mix(node->hash) & base) != 0) {
            *stay = node->next;
            *move = node;
            move = &node->next;
            node->next = NULL;
        } else {
            stay = &node->next;
        }
    }
    table->bucket_count = fresh + 1;
}

void hash_table_insert(struct hash_table *table, struct hash_node *node, uint32_t hash)
{
    if (table->count >> table->load_shift >= table->bucket_count)
        split_one(table);
    struct hash_node **bucket = bucket_at(table, bucket_of(table, hash));
    node->hash = hash;
    node->next = *bucket;
    node->is_linked = true;
    *bucket = node;
    table->count++;
}

void hash_table_remove(struct hash_table *table, struct hash_node *node)
{
    if (!node->is_linked)
        return;
    struct hash_node **at = bucket_at(table, bucket_of(table, node->hash));
    while (*at != NULL && *at != node)
        at = &(*at)->next;
    if (*at == node) {
        *at = node->next;
        table->count--;
    }
    node->next = NULL;
    node->is_linked = false;
}

/* The last bucket goes back to the one that it was split from. */
static void join_one(struct hash_table *table)
{
    uint32_t last = table->bucket_count - 1;
    struct hash_node **from = bucket_at(table, last);
    struct hash_node **to = bucket_at(table, last - (1u << log2_floor(last)));

    while (*to != NULL)
        to = &(*to)->next;
    *to = *from;
    table->bucket_count = last;
    unsigned segment = segment_of(last);
    if (last == segment_first(segment)) {
        table->allocator.free(table->allocator.context, table->segments[segment],
                              segment_bytes(segment));
        table->segments[segment] = NULL;
    }
}

void hash_table_shrink(struct hash_table *table)
{
    for (int i = 0; i < 5; i++) {
        if (table->bucket_count <= HASH_BUCKETS_MIN ||
            table->count >> table->load_shift >= table->bucket_count / 4)
            return;
        join_one(table);
    }
}

static struct hash_node *match(struct hash_node *node, uint32_t hash)
{
    while (node != NULL && node->hash != hash)
        node = node->next;
    return node;
}

void hash_table_prefetch(const struct hash_table *table, uint32_t hash)
{
    __builtin_prefetch(bucket_at(table, bucket_of(table, hash)));
}

const struct hash_node *hash_table_peek(const struct hash_table *table, uint32_t hash)
{
    return *bucket_at(table, bucket_of(table, hash));
}

struct hash_node *hash_table_first(const struct hash_table *table, uint32_t hash)
{
    return match(*bucket_at(table, bucket_of(table, hash)), hash);
}

struct hash_node *hash_table_next(const struct hash_node *node)
{
    return match(node->next, node->hash);
}

struct hash_node *hash_table_walk(const struct hash_table *table, const struct hash_node *node)
{
    uint32_t bucket = 0;
    if (node != NULL) {
        if (node->next != NULL)
            return node->next;
        bucket = bucket_of(table, node->hash) + 1;
    }
    for (; bucket < table->bucket_count; bucket++) {
        struct hash_node *first = *bucket_at(table, bucket);
        if (first != NULL)
            return first;
    }
    return NULL;
}
