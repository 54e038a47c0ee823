/* Virtual time, and calls that wait in it. */
#include "adapter.h"

#include <errno.h>
#include <stdio.h>

/* A call on the script's own thread that nothing ends within this time never ends. */
#define PD_PATIENCE_NS (3600 * FOYER_NS_PER_S)

bool pd_is_script_thread(const struct pd *pd)
{
    return pthread_equal(pthread_self(), pd->script_thread) != 0;
}

foyer_time_ns pd_deadline(const struct pd *pd)
{
    foyer_time_ns deadline = pd->host != NULL ? foyer_host_deadline(pd->host) : FOYER_TIME_NEVER;

    if (pd->waiting != NULL && pd->waiting->deadline_ns < deadline)
        deadline = pd->waiting->deadline_ns;
    return deadline;
}

static void take_events(struct pd *pd)
{
    struct foyer_event events[16];
    size_t count;

    while ((count = foyer_host_events(pd->host, events, 16)) > 0)
        for (size_t i = 0; i < count; i++)
            if (events[i].user >= PD_FD_FIRST && events[i].user < PD_FD_FIRST + PD_SOCKETS_MAX)
                pd_poll_event(pd, &pd->sockets[events[i].user - PD_FD_FIRST], events[i].events);
}

static bool try_call(struct pd_call *call)
{
    call->result = call->attempt(call);
    if (call->result == -EAGAIN) {
        if (call->pd->now < call->deadline_ns)
            return false;
        call->result = call->timeout_result;
    }
    return true;
}

/*
 * The waiting call is tried here, by the script's thread, and time stands still until the thread
 * that made it has read the clock: so it sees the moment at which its call ended, in every run.
 */
void pd_settle(struct pd *pd)
{
    if (pd->host == NULL)
        return;
    pd_wire_output(pd);
    take_events(pd);
    for (unsigned i = 0; i < PD_SOCKETS_MAX; i++)
        if (pd->sockets[i].held_size > 0)
            pd_records_look(pd, &pd->sockets[i]);
    for (unsigned i = 0; i < PD_SOCKETS_MAX; i++)
        if (pd->sockets[i].mark_count > 0)
            pd_marks_look(pd, &pd->sockets[i]);
    if (!pd_is_script_thread(pd) || pd->waiting == NULL)
        return;
    bool is_done = try_call(pd->waiting);
    pd_wire_output(pd);
    if (!is_done)
        return;
    pd->waiting->is_done = true;
    pd->waiting = NULL;
    pd->is_returning = true;
    pthread_cond_broadcast(&pd->changed);
    while (pd->is_returning)
        pthread_cond_wait(&pd->changed, &pd->lock);
}

void pd_returned(struct pd *pd)
{
    if (!pd->is_returning)
        return;
    pd->is_returning = false;
    pthread_cond_broadcast(&pd->changed);
}

void pd_advance(struct pd *pd, foyer_time_ns target_ns)
{
    for (;;) {
        foyer_time_ns deadline = pd_deadline(pd);
        if (deadline > target_ns)
            break;
        if (deadline > pd->now)
            pd->now = deadline;
        if (pd->host != NULL)
            foyer_host_tick(pd->host, pd->now);
        pd_settle(pd);
    }
    if (target_ns > pd->now)
        pd->now = target_ns;
}

/* The script did not expect the call to block: time runs until it ends. */
static ssize_t wait_here(struct pd_call *call)
{
    struct pd *pd = call->pd;
    foyer_time_ns patience_ns = pd->now + PD_PATIENCE_NS;

    while (!try_call(call)) {
        foyer_time_ns next = pd_deadline(pd);
        if (call->deadline_ns < next)
            next = call->deadline_ns;
        if (next > patience_ns)
            return -EINTR;
        pd_advance(pd, next);
    }
    return call->result;
}

ssize_t pd_run(struct pd_call *call, bool may_wait)
{
    struct pd *pd = call->pd;

    if (try_call(call))
        return call->result;
    if (!may_wait)
        return -EAGAIN;
    if (pd_is_script_thread(pd))
        return wait_here(call);
    pd_settle(pd);
    pd->waiting = call;
    while (!call->is_done)
        pthread_cond_wait(&pd->changed, &pd->lock);
    return call->result;
}
