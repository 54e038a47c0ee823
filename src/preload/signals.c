/*
 * Which of the process's signal handlers have SA_RESTART. accept() must know where it sleeps in
 * ppoll(), which no handler restarts and which does not tell what handler ran (accept.c).
 *
 * The kernel is asked, signal by signal, when handlers may have changed: libc's functions that set
 * them are entry points for no other reason.
 */
#define _GNU_SOURCE

#include "preload/preload.h"

#include <string.h>
#include <sys/signalfd.h>

#include "preload/raw.h"
#include "preload/real.h"

static _Atomic uint32_t change_count; /* how often handlers have been set */

/* Signal n is bit n - 1. */
struct signal_handlers {
    uint64_t restarting, interrupting;
};

/* The kernel's, rt_sigaction(2). */
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static struct signal_handlers ask_kernel(void)
{
    struct signal_handlers handlers = {0};
    for (int number = 1; number < _NSIG; number++) {
        struct kernel_action action;
        if (RAW(SYS_rt_sigaction, number, NULL, &action, sizeof(action.mask)) < 0 ||
            action.handler == SIG_DFL || action.handler == SIG_IGN)
            continue;
        uint64_t bit = UINT64_C(1) << (number - 1);
        if ((action.flags & SA_RESTART) != 0)
            handlers.restarting |= bit;
        else
            handlers.interrupting |= bit;
    }
    return handlers;
}

static struct signal_handlers handlers_now(void)
{
    static __thread struct {
        struct signal_handlers handlers;
        uint32_t change_count;
        bool is_known;
    } last __attribute__((tls_model("initial-exec")));
    uint32_t count = atomic_load(&change_count);
    if (unlikely(!last.is_known || last.change_count != count)) {
        last.handlers = ask_kernel();
        last.change_count = count;
        last.is_known = true;
    }
    return last.handlers;
}

bool signal_handlers_restart(void)
{
    return handlers_now().interrupting == 0;
}

void signal_handlers_changed(void)
{
    atomic_fetch_add(&change_count, 1);
}

/* ---- sleeping ------------------------------------------------------------------------------ */

/* One for the next sleep, or -1. It tells each thread of that thread's signals (signalfd(2)). */
static _Atomic int idle_fd = -1;

static uint64_t blocked_now(void)
{
    uint64_t blocked = 0;
    RAW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, sizeof(blocked));
    return blocked;
}

void signal_sleep_begin(struct signal_sleep *ret_sleep)
{
    struct signal_handlers handlers = handlers_now();
    ret_sleep->fd = -1;
    if (handlers.restarting == 0 || handlers.interrupting == 0 || preload_config.is_sandboxed)
        return;
    uint64_t blocked = blocked_now();
    /* What is blocked already may be pending for ever. */
    uint64_t deferred = handlers.restarting & ~blocked;
    int fd = atomic_exchange(&idle_fd, -1);
    int result = (int)RAW(SYS_signalfd4, fd, &deferred, sizeof(deferred), SFD_CLOEXEC);
    if (result >= 0 && fd < 0)
        result = fd = table_hide(result);
    if (result < 0) {
        table_close_hidden(fd);
        return;
    }
    blocked |= deferred;
    ret_sleep->fd = fd;
    sigemptyset(&ret_sleep->blocked);
    /* sigaddset() refuses those of libc's own. */
    memcpy(&ret_sleep->blocked, &blocked, sizeof(blocked));
}

void signal_sleep_end(const struct signal_sleep *sleep)
{
    if (sleep->fd >= 0)
        table_close_hidden(atomic_exchange(&idle_fd, sleep->fd));
}

/* ---- entry points -------------------------------------------------------------------------- */

/* After the call: whoever asked the kernel before it looks again. */
#define CHANGED(call)                                                                              \
    __typeof__(call) changed_result = (call);                                                      \
    signal_handlers_changed();                                                                     \
    return changed_result

ENTRY int sigaction(int number, const struct sigaction *action, struct sigaction *ret_before)
{
    if (action == NULL)
        return REAL(sigaction)(number, NULL, ret_before);
    CHANGED(REAL(sigaction)(number, action, ret_before));
}

ENTRY sighandler_t signal(int number, sighandler_t handler)
{
    CHANGED(REAL(signal)(number, handler));
}

sighandler_t bsd_signal(int number, sighandler_t handler); /* declared for old X/Open alone */

ENTRY sighandler_t bsd_signal(int number, sighandler_t handler)
{
    CHANGED(REAL(signal)(number, handler));
}

ENTRY sighandler_t ssignal(int number, sighandler_t handler)
{
    CHANGED(REAL(signal)(number, handler));
}

ENTRY sighandler_t sysv_signal(int number, sighandler_t handler)
{
    CHANGED(REAL(sysv_signal)(number, handler));
}

/* What signal() is with _XOPEN_SOURCE alone. */
ENTRY sighandler_t __sysv_signal(int number, sighandler_t handler)
{
    CHANGED(REAL(sysv_signal)(number, handler));
}

ENTRY sighandler_t sigset(int number, sighandler_t handler)
{
    CHANGED(REAL(sigset)(number, handler));
}

ENTRY int siginterrupt(int number, int is_on)
{
    CHANGED(REAL(siginterrupt)(number, is_on));
}
