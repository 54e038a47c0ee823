/*
 * Signals: SIGPIPE, and what a handler does to a call that is blocked, with and without SA_RESTART.
 */
#define _GNU_SOURCE
/* sysv_signal(), and sigset() without its warning. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include "semantics.h"

#include <sys/resource.h>

static volatile sig_atomic_t signal_count;
static sem_t is_handled;

static void count_signal(int number)
{
    (void)number;
    signal_count++;
    sem_post(&is_handled);
}

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = flags};
    sem_init(&is_handled, 0, 0);
    sigaction(number, &action, NULL);
}

static void sigpipe(void)
{
    int a, b;
    stream_pair(&a, &b);
    handle(SIGPIPE, 0);
    shutdown(a, SHUT_WR);
    say_result("send", send(a, "x", 1, 0));
    say_result("write", write(a, "x", 1));
    say(" signals=%d", (int)signal_count);
    say_result("nosignal", send(a, "x", 1, MSG_NOSIGNAL));
    say(" signals=%d", (int)signal_count);
}

static void sigpipe_kills(void)
{
    int a, b;
    stream_pair(&a, &b);
    shutdown(a, SHUT_WR);
    if (write(a, "x", 1) < 0)
        say(" survived");
}

struct interrupt {
    pid_t process, thread;
    int send_fd;
};

static void await_handled(void)
{
    while (sem_wait(&is_handled) != 0)
        ;
}

/* Once the thread sleeps: a signal; once it has handled that and sleeps again: a byte. */
static void *interrupter(void *argument)
{
    struct interrupt *job = argument;
    wait_asleep(job->process, job->thread);
    kill(job->process, SIGUSR1);
    if (job->send_fd < 0)
        return NULL;
    await_handled();
    wait_asleep(job->process, job->thread);
    send(job->send_fd, "x", 1, 0);
    return NULL;
}

static void start_interrupter(struct interrupt *job, int send_fd)
{
    pthread_t thread;
    sigset_t set, before;
    *job = (struct interrupt){.process = getpid(), .thread = gettid(), .send_fd = send_fd};
    /* Only the thread that sleeps takes the signal. */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    pthread_create(&thread, NULL, interrupter, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void interrupted_recv(void)
{
    int a, b;
    char byte;
    struct interrupt job;
    stream_pair(&a, &b);
    handle(SIGUSR1, 0);
    start_interrupter(&job, a);
    say_result("recv", recv(b, &byte, 1, 0));
    say(" signals=%d", (int)signal_count);
}

static void restarted_recv(void)
{
    int a, b;
    char byte;
    struct interrupt job;
    stream_pair(&a, &b);
    handle(SIGUSR1, SA_RESTART);
    start_interrupter(&job, a);
    say_result("recv", recv(b, &byte, 1, 0));
    say(" signals=%d", (int)signal_count);
}

static void interrupted_recv_with_timeout(void)
{
    int a, b;
    char byte;
    struct interrupt job;
    struct timeval time = {.tv_sec = 5};
    stream_pair(&a, &b);
    setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    handle(SIGUSR1, SA_RESTART);
    start_interrupter(&job, a);
    say_result("recv", recv(b, &byte, 1, 0));
}

static void interrupted_accept(void)
{
    struct interrupt job;
    int listening = listener(4);
    handle(SIGUSR1, 0);
    start_interrupter(&job, -1);
    say_ok("accept", accept(listening, NULL, NULL));
}

static void interrupted_send(void)
{
    int a, b;
    static char bytes[1 << 20];
    struct interrupt job;
    stream_pair(&a, &b);
    fill(a);
    handle(SIGUSR1, 0);
    start_interrupter(&job, -1);
    say_result("send", send(a, bytes, sizeof(bytes), 0));
    say(" signals=%d", (int)signal_count);
}

static void interrupted_partial_send(void)
{
    int a, b;
    static char bytes[64 << 20];
    struct interrupt job;
    stream_pair(&a, &b);
    handle(SIGUSR1, SA_RESTART);
    start_interrupter(&job, -1);
    ssize_t size = send(a, bytes, sizeof(bytes), 0);
    say(" partial=%d", size > 0 && size < (ssize_t)sizeof(bytes));
}

static void interrupted_waitall(void)
{
    int a, b;
    char text[16];
    struct interrupt job;
    stream_pair(&a, &b);
    send(a, "abc", 3, 0);
    handle(SIGUSR1, SA_RESTART);
    start_interrupter(&job, -1);
    say_result("recv", recv(b, text, 16, MSG_WAITALL));
}

/* ---- handlers of both kinds ------------------------------------------------------------------- */

/*
 * accept() while one handler has SA_RESTART (SIGUSR1) and another one has not (SIGUSR2): which of
 * them ran decides.
 */
struct mixed {
    const char *name;
    int signals[4];     /* one after the other, each once the thread sleeps; 0: the end */
    bool is_for_thread; /* tgkill(), not kill() */
    bool connects;      /* at last */
};

struct mixed_job {
    const struct mixed *mixed;
    pid_t process, thread;
    int listening;
};

static void *send_signals(void *argument)
{
    const struct mixed_job *job = argument;
    for (unsigned i = 0; i < 4 && job->mixed->signals[i] != 0; i++) {
        wait_asleep(job->process, job->thread);
        if (job->mixed->is_for_thread)
            tgkill(job->process, job->thread, job->mixed->signals[i]);
        else
            kill(job->process, job->mixed->signals[i]);
        await_handled();
    }
    if (job->mixed->connects) {
        wait_asleep(job->process, job->thread);
        connected_to(job->listening);
    }
    return NULL;
}

/* Returns where the signals have all come. */
static void accept_mixed(const struct mixed *mixed, int listening, int flags)
{
    pthread_t thread;
    struct mixed_job job = {mixed, getpid(), gettid(), listening};
    sigset_t set, before;
    sigfillset(&set);
    signal_count = 0;
    sem_init(&is_handled, 0, 0);
    /* Only the thread that sleeps takes them. */
    pthread_sigmask(SIG_BLOCK, &set, &before);
    pthread_create(&thread, NULL, send_signals, &job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    say_ok(mixed->name, accept4(listening, NULL, NULL, flags));
    pthread_join(thread, NULL);
    say(" signals=%d", (int)signal_count);
}

static const struct mixed both_kinds[] = {
    {"restart", {SIGUSR1}, false, true},
    {"interrupt", {SIGUSR2}, false, false},
    {"restart-interrupt", {SIGUSR1, SIGUSR1, SIGUSR2}, false, false},
    {"thread-restart", {SIGUSR1, SIGUSR1}, true, true},
    {"thread-interrupt", {SIGUSR1, SIGUSR2}, true, false},
};

static void accept_both_kinds(void)
{
    int listening = listener(8);
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    for (size_t i = 0; i < sizeof(both_kinds) / sizeof(both_kinds[0]); i++)
        accept_mixed(&both_kinds[i], listening, 0);
}

/* One that is blocked and pending ends nothing. */
static void accept_both_kinds_pending(void)
{
    int listening = listener(8);
    sigset_t set;
    handle(SIGUSR1, SA_RESTART);
    handle(SIGHUP, SA_RESTART);
    handle(SIGUSR2, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGHUP);
    accept_mixed(&both_kinds[0], listening, 0);
    accept_mixed(&both_kinds[2], listening, SOCK_CLOEXEC);
    sigpending(&set);
    say(" pending=%d", sigismember(&set, SIGHUP));
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    say(" idle=%d", usage.ru_utime.tv_sec + usage.ru_stime.tv_sec < 1);
}

/* The kinds change between one accept() and the next, in each way that libc has. */
static void accept_kinds_change(void)
{
    int listening = listener(8);
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    accept_mixed(&both_kinds[0], listening, 0);
    static const struct mixed one = {"no-restart", {SIGUSR1}, false, false};
    static const struct mixed two = {"now-restarts", {SIGUSR2}, false, true};
    handle(SIGUSR1, 0);
    handle(SIGUSR2, SA_RESTART);
    accept_mixed(&one, listening, 0);
    accept_mixed(&two, listening, 0);
    signal(SIGUSR1, count_signal); /* BSD's */
    accept_mixed(&both_kinds[0], listening, 0);
    siginterrupt(SIGUSR1, 1);
    accept_mixed(&one, listening, 0);
    sigset(SIGUSR1, count_signal);
    accept_mixed(&one, listening, 0);
    siginterrupt(SIGUSR1, 0);
    accept_mixed(&both_kinds[0], listening, 0);
    sysv_signal(SIGUSR1, count_signal);
    accept_mixed(&one, listening, 0);
}

/* Another thread could take it, too, but the kernel asks the first one first. */
static void *sleep_for_ever(void *argument)
{
    (void)argument;
    for (;;)
        pause();
    return NULL;
}

static void accept_in_main_thread(void)
{
    pthread_t thread;
    int listening = listener(8);
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    pthread_create(&thread, NULL, sleep_for_ever, NULL);
    accept_mixed(&both_kinds[1], listening, 0);
}

/* With a timeout nothing is restarted (signal(7)). */
static void accept_both_kinds_timeout(void)
{
    int listening = listener(8);
    struct timeval time = {.tv_sec = 5};
    static const struct mixed once = {"restart", {SIGUSR1}, false, false};
    handle(SIGUSR1, SA_RESTART);
    handle(SIGUSR2, 0);
    setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
    accept_mixed(&once, listening, 0);
}

static const struct semantics_case cases[] = {
    {"sigpipe", sigpipe},
    {"sigpipe_kills", sigpipe_kills},
    {"interrupted_recv", interrupted_recv},
    {"restarted_recv", restarted_recv},
    {"interrupted_recv_with_timeout", interrupted_recv_with_timeout},
    {"interrupted_accept", interrupted_accept},
    {"interrupted_send", interrupted_send},
    {"interrupted_partial_send", interrupted_partial_send},
    {"interrupted_waitall", interrupted_waitall},
    {"accept_both_kinds", accept_both_kinds},
    {"accept_both_kinds_pending", accept_both_kinds_pending},
    {"accept_kinds_change", accept_kinds_change},
    {"accept_in_main_thread", accept_in_main_thread},
    {"accept_both_kinds_timeout", accept_both_kinds_timeout},
};

SEMANTICS_MAIN(cases)
