#include "daemon/keep.h"

#include "daemon/accept.h"
#include "daemon/daemon.h"

/* A parked connection is dissolved when two sweeps in a row find it as it was. */
#define SWEEP_INTERVAL_NS (FOYER_NS_PER_S / 2)
/* An offered one is handed on when two looks in a row find it so, and nobody about to accept it. */
#define LOOK_INTERVAL_NS (FOYER_NS_PER_S / 50)
#define HANDED_ON_MAX 16u /* at one look */

static struct foyer_keep *keep_of(const struct psocket *psocket)
{
    return foyer_channel_keep(psocket->channel->memory);
}

/* The word is the programs' to write: a lie spoils this connection and no other. */
static enum foyer_keep_state state_of(const struct psocket *psocket)
{
    if (psocket->carrier != PSOCKET_LOCAL || psocket->channel == NULL || psocket->peer == NULL)
        return FOYER_KEEP_DISSOLVED;
    return foyer_keep_state(atomic_load(&keep_of(psocket)->word));
}

static bool has_left(const struct psocket *psocket)
{
    return (atomic_load(&psocket->slot->options) & FOYER_SLOT_LEFT) != 0;
}

bool keep_is_parked(const struct psocket *psocket)
{
    return state_of(psocket) == FOYER_KEEP_PARKED;
}

bool keep_dissolve(struct psocket *psocket)
{
    if (!keep_is_parked(psocket) ||
        !foyer_keep_change(keep_of(psocket), FOYER_KEEP_PARKED, FOYER_KEEP_DISSOLVED))
        return false;
    struct psocket *peer = psocket->peer;
    peer->peer = NULL;
    psocket->peer = NULL;
    psocket_close(peer);
    psocket_close(psocket);
    return true;
}

void keep_forbid(struct psocket *psocket)
{
    if (state_of(psocket) != FOYER_KEEP_DISSOLVED)
        foyer_keep_change(keep_of(psocket), FOYER_KEEP_OPEN, FOYER_KEEP_DISSOLVED);
}

/* ---- the sweep --------------------------------------------------------------------------------- */

/* Open for long: the connecting program will say when it leaves it. */
static void let_go(struct psocket *psocket)
{
    struct foyer_keep *keep = keep_of(psocket);
    atomic_store(&keep->is_noted, 0);
    /* It changes the word first and then looks whether it is noted. */
    if (atomic_load(&keep->word) == psocket->kept_word)
        list_remove(&psocket->kept_node);
}

static void look_at_orphan(struct psocket *psocket)
{
    bool is_offered = foyer_keep_state(atomic_load(&keep_of(psocket)->word)) == FOYER_KEEP_OFFERED;
    if (!has_left(psocket))
        list_remove(&psocket->kept_node); /* accepted */
    else if (!is_offered)
        psocket_close(psocket);
}

static void look_at(struct psocket *psocket)
{
    if (psocket->side == 1) {
        look_at_orphan(psocket);
        return;
    }
    uint64_t word = psocket->channel == NULL ? 0 : atomic_load(&keep_of(psocket)->word);
    bool is_same = word == psocket->kept_word;
    psocket->kept_word = word;
    switch (state_of(psocket)) {
    case FOYER_KEEP_PARKED:
        if (is_same)
            keep_dissolve(psocket);
        break;
    case FOYER_KEEP_DISSOLVED:
        list_remove(&psocket->kept_node);
        break;
    case FOYER_KEEP_OPEN:
    case FOYER_KEEP_LEFT_1:
        if (is_same)
            let_go(psocket);
        break;
    default:
        break;
    }
}

/* Other processes than the one that it was offered to would accept it as well. */
static bool has_more_acceptors(const struct psocket *accepted)
{
    const struct psocket *listener = psocket_find(accepted->daemon, accepted->accepted_from);
    return listener != NULL && (atomic_load(&listener->slot->options) & FOYER_SLOT_SHARED) != 0;
}

/*
 * The process has said that it waits, and has had time to wake; or has not come to its listener for
 * long. One that only has much to do comes to it all the time, and takes them in their order.
 */
static bool is_in_vain(struct psocket *noted, const struct psocket *accepted)
{
    const struct foyer_keep *keep = keep_of(accepted);
    uint64_t word = atomic_load(&keep->word);
    bool is_offered = has_left(accepted) && foyer_keep_state(word) == FOYER_KEEP_OFFERED;
    bool was_offered = is_offered && noted->offered_word == word;
    int64_t accepts_ns = atomic_load(&keep->accepts_ns);
    noted->offered_word = is_offered ? word : 0;
    return was_offered &&
           (accepts_ns == FOYER_KEEP_ACCEPTS ||
            accepts_ns < (int64_t)(accepted->daemon->loop.now_ns - LOOK_INTERVAL_NS));
}

/* True: handed on. */
static bool hand_on_in_vain(struct psocket *noted)
{
    struct psocket *accepted = noted->side == 1 ? noted : noted->peer;
    if (accepted == NULL || accepted->carrier != PSOCKET_LOCAL || accepted->channel == NULL ||
        !is_in_vain(noted, accepted) || !has_more_acceptors(accepted) || !accept_hand_on(accepted))
        return false;
    psocket_close(accepted);
    return true;
}

static void sweep(struct loop_timer *timer)
{
    struct daemon *daemon = LIST_ENTRY(timer, struct daemon, keep_timer);
    struct list_node *node;
    struct list_node looked_at;
    unsigned handed_on_count = 0;
    bool is_due = daemon->loop.now_ns - daemon->kept_swept_ns >= SWEEP_INTERVAL_NS;
    list_init(&looked_at);
    /* Closing one may take any other off the list: so each goes to another list first. */
    while ((node = list_pop_front(&daemon->kept)) != NULL) {
        list_push_back(&looked_at, node);
        struct psocket *noted = LIST_ENTRY(node, struct psocket, kept_node);
        if (handed_on_count < HANDED_ON_MAX && hand_on_in_vain(noted))
            handed_on_count++;
        else if (is_due)
            look_at(noted);
    }
    list_splice_back(&daemon->kept, &looked_at);
    if (is_due)
        daemon->kept_swept_ns = daemon->loop.now_ns;
    if (!list_is_empty(&daemon->kept))
        loop_timer_set(&daemon->loop, timer, daemon->loop.now_ns + LOOK_INTERVAL_NS, sweep);
}

static void enlist(struct psocket *psocket)
{
    struct daemon *daemon = psocket->daemon;
    if (list_is_empty(&daemon->kept)) {
        daemon->kept_swept_ns = daemon->loop.now_ns;
        loop_timer_set(&daemon->loop, &daemon->keep_timer, daemon->loop.now_ns + LOOK_INTERVAL_NS,
                       sweep);
    }
    psocket->kept_word = 0;
    psocket->offered_word = 0;
    list_push_back(&daemon->kept, &psocket->kept_node);
}

void keep_note(struct psocket *psocket)
{
    if (psocket->side != 0 || state_of(psocket) == FOYER_KEEP_DISSOLVED ||
        list_is_linked(&psocket->kept_node))
        return;
    enlist(psocket);
}

/*
 * The connecting end is gone, and the other one has not been accepted. It cannot be told from the
 * word for good, which the other program's children may still write.
 */
static void watch_orphan(struct psocket *psocket)
{
    list_remove(&psocket->kept_node);
    enlist(psocket);
}

/* ---- the end of one side ------------------------------------------------------------------------- */

bool keep_is_offered(const struct psocket *psocket)
{
    return psocket->side == 1 && has_left(psocket) && state_of(psocket) == FOYER_KEEP_OFFERED;
}

bool keep_withdraw(const struct psocket *psocket)
{
    /* What the programs have made of the word since, is theirs; this end is closed after that. */
    return psocket->side == 1 && psocket->carrier == PSOCKET_LOCAL && psocket->channel != NULL &&
           has_left(psocket) &&
           foyer_keep_change(keep_of(psocket), FOYER_KEEP_OFFERED, FOYER_KEEP_DISSOLVED);
}

enum keep_end keep_hang_up(struct psocket *psocket)
{
    struct foyer_keep *keep = keep_of(psocket);
    struct psocket *peer = psocket->peer;
    if (keep_is_offered(peer)) {
        /* Its program will accept it, and be told of the end; or be found not to want it. */
        watch_orphan(peer);
        return KEEP_END_OFFERED;
    }
    /* Its program is about to accept it: it finds the word as it was, and the end in the rings. */
    if (peer->side == 1 && !has_left(peer) && state_of(peer) == FOYER_KEEP_OFFERED)
        return KEEP_END_OPEN;
    atomic_store(&keep->word, FOYER_KEEP_DISSOLVED);
    /* Not by the word, which whoever is gone may have written. */
    return has_left(peer) ? KEEP_END_LEFT : KEEP_END_OPEN;
}

/* ---- listeners ----------------------------------------------------------------------------------- */

static bool close_from(struct psocket *accepted, bool is_closed)
{
    if (keep_dissolve(accepted))
        return true;
    if (!is_closed || (accepted->peer != NULL && !keep_is_offered(accepted)))
        return false;
    psocket_close(accepted);
    return true;
}

void keep_listener_over(struct psocket *listener, bool is_closed)
{
    const struct list_node *head = &listener->daemon->kept;
    struct list_node *node = head->next;
    while (node != NULL && node != head) {
        struct psocket *noted = LIST_ENTRY(node, struct psocket, kept_node);
        struct psocket *accepted = noted->side == 1 ? noted : noted->peer;
        bool is_gone = accepted != NULL && accepted->accepted_from == listener->id &&
                       close_from(accepted, is_closed);
        node = is_gone ? head->next : node->next;
    }
}

void keep_begin(struct psocket *accepted, const struct psocket *listener)
{
    uint32_t options = atomic_load(&listener->slot->options);
    if ((options & FOYER_SLOT_NOT_KEPT) != 0)
        keep_forbid(accepted);
    atomic_store(&keep_of(accepted)->is_of_group, (options & FOYER_SLOT_REUSEPORT) != 0);
}

bool keep_dissolve_all(struct daemon *daemon)
{
    const struct list_node *head = &daemon->kept;
    struct list_node *node = head->next;
    bool has_any = false;
    while (node != head) {
        bool is_gone = keep_dissolve(LIST_ENTRY(node, struct psocket, kept_node));
        has_any |= is_gone;
        node = is_gone ? head->next : node->next;
    }
    return has_any;
}

void keep_dissolve_port(const struct psocket *listener)
{
    const struct list_node *head = &listener->daemon->kept;
    struct foyer_socket_info own, info;
    if (list_is_empty(head) || foyer_socket_info(listener->host->stack, listener->stack, &own) != 0)
        return;
    struct list_node *node = head->next;
    while (node != head) {
        struct psocket *accepted = LIST_ENTRY(node, struct psocket, kept_node)->peer;
        bool is_gone = accepted != NULL && accepted->host == listener->host &&
                       foyer_socket_info(accepted->host->stack, accepted->stack, &info) == 0 &&
                       info.local.port == own.local.port && keep_dissolve(accepted);
        node = is_gone ? head->next : node->next;
    }
}
