/*
 * A chained hash table of nodes that live in the caller's objects.
 *
 * Grows by linear hashing (Larson 1988): an insert beyond the load factor splits one bucket, so
 * no call ever moves more than one chain, and the bucket array is a list of segments that double
 * in size and are never copied nor cleared as a whole. Every call is O(1) expected. Insert can't
 * fail: where the allocator has no memory the chains become longer. Where few nodes are left
 * hash_table_shrink joins buckets again, a few at a time, and gives segments back.
 *
 * The caller computes the hash (siphash, where an outsider chooses the keys), keeps it in the
 * node and compares keys itself:
 *
 *     for (struct hash_node *n = hash_table_first(t, hash); n != NULL; n = hash_table_next(n))
 *         if (key_eq(HASH_ENTRY(n, struct thing, node), key)) ...
 */
#ifndef FOYER_BASE_HASH_H
#define FOYER_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"

#define HASH_BUCKETS_MIN 16u
#define HASH_SEGMENTS_MAX 27u /* 2^4 * 2^26 = 2^30 buckets */

/* All zero: not in a table. Owned by the table between insert and remove. */
struct hash_node {
    struct hash_node *next;
    uint32_t hash;
    bool is_linked;
};

struct hash_table {
    struct foyer_allocator allocator;
    uint32_t count;        /* nodes */
    uint32_t bucket_count; /* in use; at least HASH_BUCKETS_MIN */
    uint8_t load_shift;    /* 2^this nodes per bucket: 0; a caller that prefers memory says more */
    struct hash_node **segments[HASH_SEGMENTS_MAX];
};

#define HASH_ENTRY(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

/* -ENOMEM. The allocator is copied. */
int hash_table_init(struct hash_table *table, const struct foyer_allocator *allocator);
/* Frees the buckets, not the nodes, which the caller owns. An all-zero table is allowed. */
void hash_table_finish(struct hash_table *table);

/* The node must not be in a table. Later inserts of an equal hash are found first. */
void hash_table_insert(struct hash_table *table, struct hash_node *node, uint32_t hash);
/* Does nothing for a node that is in no table. */
void hash_table_remove(struct hash_table *table, struct hash_node *node);

/*
 * After a remove that is not part of a walk: where the table is less than a quarter full a few
 * splits are undone, more than four per node, so that it has become small when it is empty.
 */
void hash_table_shrink(struct hash_table *table);

static inline bool hash_node_is_linked(const struct hash_node *node)
{
    return node->is_linked;
}

/* The nodes of one hash. */
struct hash_node *hash_table_first(const struct hash_table *table, uint32_t hash);
struct hash_node *hash_table_next(const struct hash_node *node);

/*
 * For callers that have several hashes to look up: prefetch asks for the bucket's memory, peek
 * tells the address of its first node (NULL: there is none) without looking at the node, and step
 * looks at a node and tells which one to look at: itself, or the next one if its hash is another.
 */
void hash_table_prefetch(const struct hash_table *table, uint32_t hash);
const struct hash_node *hash_table_peek(const struct hash_table *table, uint32_t hash);

static inline const struct hash_node *hash_node_step(const struct hash_node *node, uint32_t hash)
{
    return node->hash == hash ? node : node->next;
}

/* All nodes, in no order; node NULL: the first. No insert meanwhile. O(buckets) for a walk. */
struct hash_node *hash_table_walk(const struct hash_table *table, const struct hash_node *node);

#define HASH_FOREACH(table, node)                                                                  \
    for (struct hash_node *node = hash_table_walk(table, NULL); node != NULL;                      \
         node = hash_table_walk(table, node))

/* The same where the body may remove (and free) the node. */
#define HASH_FOREACH_SAFE(table, node)                                                             \
    for (struct hash_node *node = hash_table_walk(table, NULL),                                    \
                          *node##_next = node != NULL ? hash_table_walk(table, node) : NULL;       \
         node != NULL;                                                                             \
         node = node##_next, node##_next = node != NULL ? hash_table_walk(table, node) : NULL)

#endif
