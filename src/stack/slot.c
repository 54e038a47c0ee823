/* The table of sockets and the lists that link its holders. See slot.h. */
#include "stack/slot.h"

#include "stack/tcp_time_wait.h"

#define SLOTS_FIRST 64u
#define TAG_MASK 3u
#define TAG_FREE 1u
#define TAG_TIME_WAIT 2u

void slots_init(struct slot_table *table)
{
    *table = (struct slot_table){.first_free = SLOT_NONE};
}

void slots_finish(struct foyer_host *host)
{
    struct slot_table *table = &host->slots;

    host_free(host, table->slots, table->capacity * sizeof(table->slots[0]));
    slots_init(table);
}

static bool grow(struct foyer_host *host)
{
    struct slot_table *table = &host->slots;
    uint32_t capacity = table->capacity ? table->capacity * 2 : SLOTS_FIRST;

    if (capacity > host->config.max_sockets)
        capacity = host->config.max_sockets;
    if (capacity <= table->capacity)
        return false;
    struct slot *larger = host_alloc_raw(host, capacity * sizeof(larger[0]));
    if (larger == NULL)
        return false;
    if (table->count > 0)
        memcpy(larger, table->slots, table->count * sizeof(larger[0]));
    host_free(host, table->slots, table->capacity * sizeof(table->slots[0]));
    table->slots = larger;
    table->capacity = capacity;
    return true;
}

bool slot_take(struct foyer_host *host, struct sock *sock)
{
    struct slot_table *table = &host->slots;
    uint32_t index = table->first_free;
    uint32_t generation = 1;

    if (index != SLOT_NONE) {
        table->first_free = (uint32_t)table->slots[index].word >> 2;
        generation = (uint32_t)(table->slots[index].word >> 32);
    } else {
        if (table->count == table->capacity && !grow(host))
            return false;
        index = table->count++;
    }
    sock->slot.index = index;
    sock->slot.generation = generation;
    table->slots[index].word = (uintptr_t)sock;
    table->used++;
    return true;
}

void slot_give(struct foyer_host *host, const struct slot_head *head)
{
    struct slot_table *table = &host->slots;
    uint32_t next_generation = head->generation + 1 != 0 ? head->generation + 1 : 1;

    table->slots[head->index].word =
        (uint64_t)next_generation << 32 | table->first_free << 2 | TAG_FREE;
    table->first_free = head->index;
    table->used--;
}

void slot_replace(struct foyer_host *host, const struct sock *sock, struct time_wait *wait)
{
    wait->slot.index = sock->slot.index;
    wait->slot.generation = sock->slot.generation;
    host->slots.slots[sock->slot.index].word = (uintptr_t)wait | TAG_TIME_WAIT;
}

static void *holder(const struct foyer_host *host, uint32_t index, unsigned tag)
{
    uint64_t word = host->slots.slots[index].word;

    return (word & TAG_MASK) == tag ? (void *)((uintptr_t)word - tag) : NULL;
}

struct sock *slot_sock(const struct foyer_host *host, uint32_t index)
{
    return holder(host, index, 0);
}

struct time_wait *slot_time_wait(const struct foyer_host *host, uint32_t index)
{
    return holder(host, index, TAG_TIME_WAIT);
}

/* ---- lists -------------------------------------------------------------------------------------- */

static struct slot_head *head_of(const struct foyer_host *host, uint32_t number)
{
    uint64_t word = host->slots.slots[number - 1].word;

    return (struct slot_head *)((uintptr_t)word & ~(uintptr_t)TAG_MASK);
}

void slot_list_push(struct foyer_host *host, struct slot_list *list, struct slot_head *head,
                    enum slot_link_kind kind)
{
    struct slot_link *link = &head->links[kind];
    uint32_t number = head->index + 1;

    link->next = number;
    link->prev = number;
    if (list->last != 0) {
        link->prev = list->last;
        head_of(host, list->last)->links[kind].next = number;
    } else {
        list->first = number;
    }
    list->last = number;
}

void slot_list_remove(struct foyer_host *host, struct slot_list *list, struct slot_head *head,
                      enum slot_link_kind kind)
{
    struct slot_link *link = &head->links[kind];
    uint32_t number = head->index + 1;
    bool is_first = link->prev == number, is_last = link->next == number;

    if (link->prev == 0)
        return;
    if (is_first)
        list->first = is_last ? 0 : link->next;
    else
        head_of(host, link->prev)->links[kind].next = is_last ? link->prev : link->next;
    if (is_last)
        list->last = is_first ? 0 : link->prev;
    else
        head_of(host, link->next)->links[kind].prev = is_first ? link->next : link->prev;
    *link = (struct slot_link){0};
}

struct slot_head *slot_list_first(const struct foyer_host *host, const struct slot_list *list)
{
    return list->first != 0 ? head_of(host, list->first) : NULL;
}

struct slot_head *slot_list_next(const struct foyer_host *host, const struct slot_head *head,
                                 enum slot_link_kind kind)
{
    uint32_t next = head->links[kind].next;

    return next != head->index + 1 ? head_of(host, next) : NULL;
}
