/*
 * foyer-sim: random worlds from seeds.
 *
 *   foyer-sim --seed N [--verbose] [--trace FILE] [--without FAULT,...]   one world, exactly
 *   foyer-sim --seeds A..B [--jobs N] [--fresh N]                          many; 1 where any fails
 *
 * A seed that fails is run again with one kind of fault left out after the other, and the
 * smallest set that still fails is printed.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

#define JOBS_MAX 16
#define FAILURES_MAX 5     /* then a campaign has seen enough */
#define WORLD_LIMIT_S 120u /* of a processor's time: a stack that hangs */

struct options {
    uint64_t first, last;
    unsigned jobs, fresh;
    uint32_t without;
    bool is_one, is_verbose;
    const char *trace;
};

/* Shared with the children. */
struct job {
    uint64_t seed; /* at work on */
    struct world_counts counts;
};

struct campaign {
    _Atomic uint64_t next, failures;
    struct job jobs[JOBS_MAX];
};

_Noreturn static void usage(void)
{
    fprintf(stderr, "usage: foyer-sim --seed N [--verbose] [--trace FILE] [--without FAULT,...]\n"
                    "       foyer-sim --seeds A..B [--jobs N] [--fresh N] [--without FAULT,...]\n"
                    "faults:");
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        fprintf(stderr, " %s", fault_names[i]);
    fprintf(stderr, "\n");
    exit(2);
}

static uint64_t number(const char *text, char **ret_end)
{
    errno = 0;
    uint64_t value = strtoull(text, ret_end, 0);
    if (errno != 0 || *ret_end == text)
        usage();
    return value;
}

static uint32_t parse_faults(char *list)
{
    uint32_t faults = 0;
    for (char *save, *name = strtok_r(list, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save)) {
        unsigned i = 0;
        while (i < FAULT_COUNT && strcmp(name, fault_names[i]) != 0)
            i++;
        if (i == FAULT_COUNT)
            usage();
        faults |= 1u << i;
    }
    return faults;
}

static void parse_value(struct options *options, const char *name, char *value)
{
    char *end = NULL;
    if (strcmp(name, "--seed") == 0) {
        options->is_one = true;
        options->first = options->last = number(value, &end);
    } else if (strcmp(name, "--seeds") == 0) {
        options->first = number(value, &end);
        if (strncmp(end, "..", 2) != 0)
            usage();
        options->last = number(end + 2, &end);
    } else if (strcmp(name, "--jobs") == 0) {
        options->jobs = (unsigned)number(value, &end);
    } else if (strcmp(name, "--fresh") == 0) {
        options->fresh = (unsigned)number(value, &end);
    } else if (strcmp(name, "--trace") == 0) {
        options->trace = value;
    } else if (strcmp(name, "--without") == 0) {
        options->without = parse_faults(value);
    } else {
        usage();
    }
    if (end != NULL && *end != '\0')
        usage();
}

static struct options parse(int argc, char **argv)
{
    struct options options = {.first = 1, .last = 0, .jobs = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0) {
            options.is_verbose = true;
        } else if (i + 1 < argc) {
            parse_value(&options, argv[i], argv[i + 1]);
            i++;
        } else {
            usage();
        }
    }
    if (options.jobs < 1 || options.jobs > JOBS_MAX ||
        (options.last < options.first && options.fresh == 0))
        usage();
    return options;
}

/* ---- one world in a process of its own --------------------------------------------------------- */

static void guard(void)
{
    /* A fault that takes for ever is one too. */
    static timer_t timer;
    static bool has_timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU};
    struct itimerspec limit = {.it_value.tv_sec = WORLD_LIMIT_S};
    if (!has_timer && timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0)
        abort();
    has_timer = true;
    timer_settime(timer, 0, &limit, NULL);
}

static bool fails(uint64_t seed, uint32_t without, bool is_quiet)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        static struct world_counts counts;
        if (is_quiet && (freopen("/dev/null", "w", stderr) == NULL ||
                         freopen("/dev/null", "w", stdout) == NULL))
            _exit(3);
        guard();
        world_run(seed, without, false, NULL, &counts);
        exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* Leaves out what is not needed for the failure. */
static void shrink(uint64_t seed, uint32_t without)
{
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if ((without & 1u << i) == 0 && fails(seed, without | 1u << i, true))
            without |= 1u << i;
    }
    fprintf(stderr, "smallest: foyer-sim --seed %llu", (unsigned long long)seed);
    bool is_first = true;
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        if ((without & 1u << i) == 0)
            continue;
        fprintf(stderr, "%s%s", is_first ? " --without " : ",", fault_names[i]);
        is_first = false;
    }
    fprintf(stderr, "\n");
}

/* ---- a campaign ------------------------------------------------------------------------------------ */

static uint64_t fresh_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        abort();
    return seed;
}

static bool take_seed(const struct options *options, struct campaign *campaign, uint64_t *ret_seed)
{
    uint64_t count = options->last >= options->first ? options->last - options->first + 1 : 0;
    uint64_t index = atomic_fetch_add(&campaign->next, 1);
    if (index >= count + options->fresh || atomic_load(&campaign->failures) >= FAILURES_MAX)
        return false;
    *ret_seed = index < count ? options->first + index : fresh_seed();
    return true;
}

/* Works until there are no seeds left or a world fails, which ends the process. */
static pid_t start(const struct options *options, struct campaign *campaign, struct job *job)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    uint64_t seed;
    while (take_seed(options, campaign, &seed)) {
        job->seed = seed;
        guard();
        world_run(seed, options->without, false, NULL, &job->counts);
    }
    exit(0);
}

static void report(const struct campaign *campaign, const struct options *options, double seconds)
{
    struct world_counts sum = {0};
    for (unsigned i = 0; i < options->jobs; i++) {
        const struct world_counts *counts = &campaign->jobs[i].counts;
        sum.worlds += counts->worlds;
        sum.connections += counts->connections;
        sum.established += counts->established;
        sum.completed += counts->completed;
        sum.datagrams += counts->datagrams;
        sum.frames += counts->frames;
        sum.faults += counts->faults;
        sum.hostile += counts->hostile;
        sum.inspections += counts->inspections;
    }
    printf("%llu worlds, %llu failed: %llu connections (%llu established), %llu datagrams, "
           "%llu frames, %llu faults, %llu hostile frames, %llu looks inside, %.1f s\n",
           (unsigned long long)sum.worlds, (unsigned long long)campaign->failures,
           (unsigned long long)sum.connections, (unsigned long long)sum.established,
           (unsigned long long)sum.datagrams, (unsigned long long)sum.frames,
           (unsigned long long)sum.faults, (unsigned long long)sum.hostile,
           (unsigned long long)sum.inspections, seconds);
}

static int run_campaign(const struct options *options)
{
    struct campaign *campaign =
        mmap(NULL, sizeof(*campaign), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[JOBS_MAX];
    struct timespec began, ended;
    if (campaign == MAP_FAILED)
        abort();
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (unsigned i = 0; i < options->jobs; i++)
        pids[i] = start(options, campaign, &campaign->jobs[i]);
    for (unsigned left = options->jobs; left > 0;) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0)
            abort();
        unsigned i = 0;
        while (i < options->jobs && pids[i] != pid)
            i++;
        if (i == options->jobs)
            continue;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            left--;
            continue;
        }
        uint64_t seed = campaign->jobs[i].seed;
        atomic_fetch_add(&campaign->failures, 1);
        if (WIFSIGNALED(status))
            fprintf(stderr, "FAILED seed %llu: %s\n", (unsigned long long)seed,
                    strsignal(WTERMSIG(status)));
        shrink(seed, options->without);
        pids[i] = start(options, campaign, &campaign->jobs[i]);
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    report(campaign, options,
           (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9);
    return campaign->failures == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    if (!options.is_one)
        return run_campaign(&options);
    struct world_counts counts = {0};
    world_run(options.first, options.without, options.is_verbose, options.trace, &counts);
    printf("seed %llu: %llu connections, %llu established, %llu frames, %llu faults\n",
           (unsigned long long)options.first, (unsigned long long)counts.connections,
           (unsigned long long)counts.established, (unsigned long long)counts.frames,
           (unsigned long long)counts.faults);
    return 0;
}
