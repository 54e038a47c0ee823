/*
 * Which registrations of an epoll are ready, active, idle or parked: epoll_private.h. Called by
 * epoll_wait.c around each sleep, and by poll.c for an epoll inside of a poll.
 */
#define _GNU_SOURCE

#include "preload/epoll_private.h"

#include <string.h>

#include "preload/raw.h"

#define IDLE_AFTER_MIN 4u /* looks that found nothing, see idle_limit */
#define IDLE_AFTER_MAX 255u
#define IDLE_LOOKS 16384u
#define DRAIN_AFTER 16u /* doorbell bytes left in the queue between drains */

static struct signature sign(const struct registration *item)
{
    struct socket_object *sock = item->sock;
    const struct channel *channel = socket_channel_now(sock);
    struct signature now = {.state = slot_state(sock),
                            .no_space_count = atomic_load(&sock->no_space_count)};
    if (channel != NULL) {
        now.head = foyer_ring_head(&channel->rx);
        if (sock->type == SOCK_DGRAM)
            now.head += direct_heads(sock, item->fd);
        now.writer_state = atomic_load(&channel->rx.shared->writer_state);
    }
    return now;
}

/* The events to report now, or 0. */
static uint32_t evaluate(const struct registration *item, struct signature *ret_signature)
{
    if (item->is_disabled)
        return 0;
    /* Before the readiness, so that news in between are an edge the next time. */
    *ret_signature = sign(item);
    uint32_t bits = socket_readiness(item->sock, item->fd);
    ret_signature->bits = bits & (EPOLLRDHUP | EPOLLHUP);
    if ((bits & EPOLLOUT) == 0) /* an edge only once it is writable again */
        ret_signature->no_space_count = item->reported.no_space_count;
    ret_signature->error_count = item->reported.error_count;
    if ((bits & EPOLLERR) != 0) {
        /* Behind the error: none that is counted here is told twice, or not at all. */
        uint32_t error_count = atomic_load(&item->sock->slot->error_count);
        if ((error_count & 1) == 0)
            ret_signature->error_count = error_count;
        else if ((item->events & EPOLLET) != 0)
            bits &= ~(uint32_t)EPOLLERR; /* the next time */
    }
    uint32_t events = bits & (item->events | EPOLLERR | EPOLLHUP) & 0x7fffu;
    if (events == 0)
        return 0;
    if ((item->events & EPOLLET) != 0 && item->has_reported &&
        memcmp(ret_signature, &item->reported, sizeof(*ret_signature)) == 0)
        return 0;
    return events;
}

/* When a stream became readable; 0: it is not, or nobody has noted it. */
static uint32_t arrival_of(const struct registration *item, uint32_t events)
{
    const struct channel *channel = socket_channel_now(item->sock);
    if (channel == NULL || (events & (EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLHUP)) == 0)
        return 0;
    return atomic_load_explicit(&channel->rx.shared->filled_at, memory_order_relaxed);
}

/* Adds an event as the one with this index. */
static bool emit(const struct epoll_wait_call *call, struct registration *item, int index)
{
    struct epoll_event *event = &call->events[index];
    struct signature signature;
    uint32_t events = item->stamp == call->stamp ? 0 : evaluate(item, &signature);
    if (events == 0)
        return false;
    item->stamp = call->stamp;
    item->reported = signature;
    item->has_reported = true;
    item->idle_looks = 0;
    if ((item->events & EPOLLONESHOT) != 0)
        item->is_disabled = true;
    event->events = events;
    event->data = item->data;
    epoll_note_arrival(call, index, arrival_of(item, events));
    return true;
}

static void announce(const struct registration *item)
{
    socket_announce(item->sock, item->fd, item->events);
}

/*
 * A look is about a hundred times cheaper than a doorbell, so a socket that has been looked at in
 * vain a hundred times has cost what the doorbell would have. Where events come one at a time, each
 * of n sockets is looked at n times before its turn comes. But a wait looks at all that are active:
 * the more there are, the fewer looks each gets.
 */
static unsigned idle_limit(const struct epoll_object *epoll)
{
    uint32_t fair = IDLE_LOOKS / (epoll->active_count + 1);
    return fair > IDLE_AFTER_MAX ? IDLE_AFTER_MAX : fair < IDLE_AFTER_MIN ? IDLE_AFTER_MIN : fair;
}

/*
 * For a sleep. False: there is no room for it, so it is simply idle, and its announcement must not
 * be one that another doorbell answers.
 */
static bool park(struct epoll_object *epoll, struct registration *item)
{
    if (!item->is_parked) {
        if (!epoll_grow((void **)&epoll->parked, &epoll->parked_capacity, epoll->parked_count + 1,
                        sizeof(*epoll->parked)))
            return false;
        item->is_parked = true;
        epoll->parked[epoll->parked_count++] = epoll_index_of(epoll, item);
    }
    item->token = epoll->token;
    return true;
}

/*
 * After a sleep: the doorbell that ended it may have been meant for any of the parked, so each of
 * them is to be looked at. Where others sleep still their announcements are needed, but in the plain
 * form: this thread has taken the one doorbell.
 */
static void unpark_locked(struct epoll_object *epoll)
{
    bool is_alone =
        atomic_load(&epoll->sleepers) == 0 && !epoll->is_nested && !epoll_is_shared(epoll);
    for (uint32_t i = 0; i < epoll->parked_count; i++) {
        struct registration *item = &epoll->items[epoll->parked[i]];
        if (!item->is_parked)
            continue;
        item->is_parked = false;
        if (item->sock == NULL)
            continue;
        if (!is_alone)
            announce(item);
        else
            socket_retract(item->sock, item->token);
        if (!item->is_active) {
            item->is_active = true;
            epoll->active[epoll->active_count++] = epoll->parked[i];
        }
    }
    epoll->parked_count = 0;
    atomic_thread_fence(memory_order_seq_cst); /* as foyer_ring_retract says */
}

void epoll_unpark(struct epoll_object *epoll)
{
    pthread_mutex_lock(&epoll->lock);
    unpark_locked(epoll);
    pthread_mutex_unlock(&epoll->lock);
}

/*
 * Takes registrations off the active list that need not be on it: gone, disabled or quiet. parks:
 * those that were busy a moment ago are to be active again after the sleep.
 */
static bool quieten(struct epoll_object *epoll, unsigned idle_after, bool parks)
{
    unsigned limit = idle_limit(epoll);
    bool is_ready = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < epoll->active_count; i++) {
        uint32_t index = epoll->active[i];
        struct registration *item = &epoll->items[index];
        struct signature signature;
        bool stays = false;
        if (item->sock != NULL && !item->is_disabled) {
            if (item->idle_looks < idle_after) {
                stays = true;
            } else {
                if (parks && item->idle_looks < limit && park(epoll, item))
                    socket_announce_as(item->sock, item->fd, item->events,
                                       epoll_is_shared(epoll) ? 0 : epoll->sleeper, epoll->token);
                else
                    announce(item);
                stays = evaluate(item, &signature) != 0;
                is_ready |= stays;
            }
        }
        item->is_active = stays;
        if (stays)
            epoll->active[kept++] = index;
    }
    epoll->active_count = kept;
    return is_ready;
}

bool epoll_announce_all(struct epoll_object *epoll, int epfd)
{
    pthread_mutex_lock(&epoll->lock);
    epoll->epfd = epfd;
    epoll->token = epoll->token + 1 > 1 ? epoll->token + 1 : 2;
    bool is_ready = quieten(epoll, 0, !epoll->is_nested);
    is_ready |= epoll_has_offers(epoll, true);
    pthread_mutex_unlock(&epoll->lock);
    return is_ready;
}

int epoll_collect(const struct epoll_wait_call *call, int count, int max, bool is_look)
{
    struct epoll_object *epoll = call->epoll;
    bool has_quiet = false;
    pthread_mutex_lock(&epoll->lock);
    uint32_t active_count = epoll->active_count, looked = 0;
    unsigned limit = idle_limit(epoll);
    uint32_t start = active_count > 0 ? epoll->cursor % active_count : 0;
    for (; looked < active_count && count < max; looked++) {
        struct registration *item = &epoll->items[epoll->active[(start + looked) % active_count]];
        if (item->sock == NULL || epoll_hand_to_kernel(epoll, call->epfd, item)) {
            has_quiet = true;
        } else if (emit(call, item, count)) {
            count++;
        } else if (item->is_disabled || (is_look && ++item->idle_looks >= limit)) {
            item->idle_looks = (uint8_t)limit;
            has_quiet = true;
        }
    }
    epoll->cursor = active_count > 0 ? (start + looked) % active_count : 0;
    if (epoll->listener_count > 0 && keep_is_active()) {
        int offers = count;
        for (count = epoll_collect_offers(call, count, max); offers < count; offers++)
            epoll_note_arrival(call, offers, 0);
    }
    if (has_quiet)
        quieten(epoll, limit, false);
    pthread_mutex_unlock(&epoll->lock);
    return count;
}

/*
 * One event of the kernel under our tag. True: it became an event for the program, the one with index
 * `to`, which is the event's own place or one before.
 */
static bool take_doorbell(const struct epoll_wait_call *call, const struct epoll_event *event,
                          int to)
{
    struct epoll_object *epoll = call->epoll;
    bool is_event = false;
    if ((uint32_t)event->data.u64 == KEPT_BELLS) {
        epoll_each_listener(epoll, keep_take_rings);
        return false;
    }
    pthread_mutex_lock(&epoll->lock);
    atomic_fetch_add(&epoll->doorbell_count, 1);
    uint32_t index = (uint32_t)event->data.u64;
    struct registration *item = index < epoll->item_count ? &epoll->items[index] : NULL;
    if (item != NULL && item->sock != NULL && item->is_removed) {
        epoll_remove_now(epoll, call->epfd, item);
    } else if (item != NULL && item->sock != NULL &&
               !epoll_hand_to_kernel(epoll, call->epfd, item)) {
        if ((event->events & EPOLLHUP) != 0)
            socket_note_orphan(item->sock);
        if ((event->events & EPOLLIN) != 0 &&
            atomic_fetch_add(&item->sock->bell_count, 1) + 1 >= DRAIN_AFTER &&
            bell_drain(item->sock, item->fd, 0))
            atomic_store(&item->sock->bell_count, 0);
        if (item->is_active) {
            item->idle_looks = 0; /* it was, or will be, looked at as such */
        } else {
            epoll_activate(epoll, item);
            is_event = emit(call, item, to);
        }
    }
    pthread_mutex_unlock(&epoll->lock);
    return is_event;
}

int epoll_sort_events(const struct epoll_wait_call *call, int from, int count)
{
    int kept = from;
    for (int i = from; i < from + count; i++) {
        struct epoll_event event = call->events[i];
        if (event.data.u64 >> 32 == call->epoll->tag) {
            kept += take_doorbell(call, &event, kept) ? 1 : 0;
        } else if (!epoll_listener_is_told(call, &event)) {
            call->events[kept] = event;
            epoll_note_arrival(call, kept++, 0);
        }
    }
    return kept - from;
}

static bool comes_before(uint32_t one, uint32_t other)
{
    return other != 0 && (one == 0 || foyer_arrival_is_earlier(one, other));
}

void epoll_put_in_order(const struct epoll_wait_call *call, int count)
{
    for (int i = 1; i < count && i < EPOLL_ORDERED; i++) {
        struct epoll_event event = call->events[i];
        uint32_t arrival = call->arrivals[i];
        int at = i;
        for (; at > 0 && comes_before(arrival, call->arrivals[at - 1]); at--) {
            call->events[at] = call->events[at - 1];
            call->arrivals[at] = call->arrivals[at - 1];
        }
        call->events[at] = event;
        call->arrivals[at] = arrival;
    }
}

void epoll_settle(struct epoll_object *epoll, int epfd, bool is_level, bool has_doorbell)
{
    pthread_mutex_lock(&epoll->lock);
    if (has_doorbell)
        unpark_locked(epoll);
    for (uint32_t i = 0; i < epoll->active_count; i++) {
        struct registration *item = &epoll->items[epoll->active[i]];
        struct signature signature;
        if (item->sock == NULL || item->is_disabled)
            continue;
        announce(item);
        if (evaluate(item, &signature) != 0 &&
            (is_level || !item->has_reported ||
             memcmp(&signature, &item->reported, sizeof(signature)) != 0))
            epoll_arm(epoll, epfd, item, EPOLL_CTL_MOD);
    }
    for (uint32_t i = 0; i < epoll->listener_count; i++)
        keep_wake(epoll->listeners[i].sock);
    pthread_mutex_unlock(&epoll->lock);
}

bool epoll_is_ready(struct object *object, bool will_sleep)
{
    struct epoll_object *epoll = (struct epoll_object *)object;
    struct signature signature;
    bool is_ready = false;
    pthread_mutex_lock(&epoll->lock);
    for (uint32_t i = 0; i < epoll->active_count && !is_ready; i++) {
        const struct registration *item = &epoll->items[epoll->active[i]];
        is_ready = item->sock != NULL && evaluate(item, &signature) != 0;
    }
    if (!is_ready && will_sleep)
        is_ready = quieten(epoll, 0, false);
    is_ready |= epoll_has_offers(epoll, will_sleep);
    pthread_mutex_unlock(&epoll->lock);
    return is_ready;
}
