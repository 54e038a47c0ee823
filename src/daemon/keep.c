#include "daemon/keep.h"

#include "daemon/daemon.h"

/* A parked connection is dissolved when two sweeps in a row find it as it was. */
#define SWEEP_INTERVAL_NS (FOYER_NS_PER_S / 2)

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

static void sweep(struct loop_timer *timer)
{
    struct daemon *daemon = LIST_ENTRY(timer, struct daemon, keep_timer);
    struct list_node *node;
    struct list_node looked_at;
    list_init(&looked_at);
    /* Closing one may take any other off the list: so each goes to another list first. */
    while ((node = list_pop_front(&daemon->kept)) != NULL) {
        list_push_back(&looked_at, node);
        look_at(LIST_ENTRY(node, struct psocket, kept_node));
    }
    list_splice_back(&daemon->kept, &looked_at);
    if (!list_is_empty(&daemon->kept))
        loop_timer_set(&daemon->loop, timer, daemon->loop.now_ns + SWEEP_INTERVAL_NS, sweep);
}

static void enlist(struct psocket *psocket)
{
    struct daemon *daemon = psocket->daemon;
    if (list_is_empty(&daemon->kept))
        loop_timer_set(&daemon->loop, &daemon->keep_timer, daemon->loop.now_ns + SWEEP_INTERVAL_NS,
                       sweep);
    psocket->kept_word = 0;
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

enum keep_end keep_hang_up(struct psocket *psocket)
{
    struct foyer_keep *keep = keep_of(psocket);
    struct psocket *peer = psocket->peer;
    if (keep_is_offered(peer)) {
        /* Its program will accept it, and be told of the end; or be found not to want it. */
        watch_orphan(peer);
        return KEEP_END_OFFERED;
    }
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
    const uint32_t hindrances = FOYER_SLOT_NOT_KEPT | FOYER_SLOT_REUSEPORT;
    if ((atomic_load(&listener->slot->options) & hindrances) != 0)
        keep_forbid(accepted);
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
