/*
 * A circular doubly linked list of nodes that live in the caller's objects. The head is a node
 * of its own. A node that is all zero or linked to itself is in no list; removing it does
 * nothing. Every call is O(1).
 */
#ifndef FOYER_BASE_LIST_H
#define FOYER_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next;
};

#define LIST_ENTRY(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

/* Heads must be initialised; nodes may be, or be zero. */
static inline void list_init(struct list_node *node)
{
    node->prev = node;
    node->next = node;
}

static inline bool list_is_linked(const struct list_node *node)
{
    return node->next != NULL && node->next != node;
}

/* A head that was never initialised (all zero) counts as empty. */
static inline bool list_is_empty(const struct list_node *head)
{
    return !list_is_linked(head);
}

static inline void list_insert_before(struct list_node *at, struct list_node *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

/* The node must be in no list. */
static inline void list_push_back(struct list_node *head, struct list_node *node)
{
    list_insert_before(head, node);
}

static inline void list_push_front(struct list_node *head, struct list_node *node)
{
    list_insert_before(head->next, node);
}

/* Idempotent. */
static inline void list_remove(struct list_node *node)
{
    if (list_is_linked(node)) {
        node->prev->next = node->next;
        node->next->prev = node->prev;
    }
    list_init(node);
}

/* NULL where the list is empty. */
static inline struct list_node *list_first(const struct list_node *head)
{
    /* The analyzer does not see that a popped and freed node is on no list any more. */
    return list_is_empty(head) ? NULL : head->next; /* NOLINT(clang-analyzer-unix.Malloc) */
}

static inline struct list_node *list_last(const struct list_node *head)
{
    return list_is_empty(head) ? NULL : head->prev;
}

/* The node after this one, or NULL at the end. */
static inline struct list_node *list_next(const struct list_node *head,
                                          const struct list_node *node)
{
    return node->next == head ? NULL : node->next;
}

static inline struct list_node *list_pop_front(struct list_node *head)
{
    struct list_node *node = list_first(head);
    if (node != NULL)
        list_remove(node);
    return node;
}

/* Moves all nodes of from to the end of to; from is empty afterwards. */
static inline void list_splice_back(struct list_node *to, struct list_node *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define LIST_FOREACH(head, node)                                                                   \
    for (struct list_node *node = list_first(head); node != NULL; node = list_next(head, node))

/* The body may remove the node it is at (and no other). */
#define LIST_FOREACH_SAFE(head, node)                                                              \
    for (struct list_node *node = list_first(head),                                                \
                          *node##_next = node != NULL ? list_next(head, node) : NULL;              \
         node != NULL;                                                                             \
         node = node##_next, node##_next = node != NULL ? list_next(head, node) : NULL)

#endif
