/* Runs the core rows: core [--rounds N] [--seconds S] [--full] [--json FILE] [row...]. */
#include "core.h"

#include <getopt.h>
#include <malloc.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define SIDES_MAX 3
#define ROUNDS_MAX 99

struct side {
    const char *name; /* NULL: no more sides */
    const struct subject *subject;
    long argument;
    double wanted; /* foyer must be this many times as good; 0: shown for comparison only */
};

struct row {
    const char *key, *label, *unit;
    bool lower_is_better;
    bool is_exact;   /* measured once: the same every time */
    bool needs_full; /* only with --full */
    double at_most;  /* bound of foyer's own figure; 0: none, unless has_bound */
    bool has_bound;
    struct side sides[SIDES_MAX];
};

/* foyer is always the last side, so that the rounds go other, foyer, other, foyer, ... */
static const struct row rows[] = {
    {.key = "bulk",
     .label = "bulk TCP, MTU 1500, all checksums in software",
     .unit = "Gbit/s",
     .sides = {{"lwIP", &lwip_bulk, 0, 10},
               {"floor", &bare_copies, 0, 0},
               {"foyer", &foyer_bulk, 0, 0}}},
    {.key = "bulk-offload",
     .label = "bulk TCP, MTU 1500, checksums left to the wire (lwIP cannot)",
     .unit = "Gbit/s",
     .sides = {{"lwIP", &lwip_bulk, 0, 0},
               {"floor", &bare_copies, 1, 0},
               {"foyer", &foyer_bulk, 1, 0}}},
    {.key = "bulk-64k",
     .label = "bulk TCP, 64 KiB super-segments",
     .unit = "Gbit/s",
     .sides = {{"memcpy", &bare_copies, 2, 0.7}, {"foyer", &foyer_bulk, 2, 0}}},
    {.key = "requests",
     .label = "request/response, 64 bytes each way",
     .unit = "1/s",
     .sides = {{"lwIP", &lwip_requests, 0, 3}, {"foyer", &foyer_requests, 0, 0}}},
    {.key = "connects",
     .label = "connect, accept, close both ways",
     .unit = "1/s",
     .sides = {{"lwIP", &lwip_connects, 0, 5},
               {"kernel", &kernel_connects, 0, 3},
               {"foyer", &foyer_connects, 0, 0}}},
    {.key = "tap-out",
     .label = "one stream over a TAP to the kernel",
     .unit = "Gbit/s",
     .sides = {{"veth", &kernel_veth, 0, 0.8},
               {"lwIP", &lwip_tap, 0, 5},
               {"foyer", &foyer_tap, 0, 0}}},
    {.key = "tap-in",
     .label = "one stream over a TAP from the kernel",
     .unit = "Gbit/s",
     .sides = {{"veth", &kernel_veth, 0, 0.8},
               {"lwIP", &lwip_tap, 1, 5},
               {"foyer", &foyer_tap, 1, 0}}},
    {.key = "idle",
     .label = "bytes per idle connection, 100,000 held (allocator's count)",
     .unit = "bytes",
     .lower_is_better = true,
     .is_exact = true,
     .at_most = 512,
     .sides = {{"foyer", &foyer_idle, 100000, 0}}},
    {.key = "idle-heap",
     .label = "the same with malloc's own overhead (lwIP: 2,000 held)",
     .unit = "bytes",
     .lower_is_better = true,
     .is_exact = true,
     .sides = {{"lwIP", &lwip_idle_heap, 2000, 0}, {"foyer", &foyer_idle_heap, 100000, 0}}},
    {.key = "idle-1m",
     .label = "bytes per idle connection, 1,000,000 held (allocator's count)",
     .unit = "bytes",
     .lower_is_better = true,
     .is_exact = true,
     .needs_full = true,
     .at_most = 512,
     .sides = {{"foyer", &foyer_idle, 1000000, 0}}},
    {.key = "half-open",
     .label = "bytes per half-open connection, 88,000 held",
     .unit = "bytes",
     .lower_is_better = true,
     .is_exact = true,
     .at_most = 128,
     .sides = {{"foyer", &foyer_half_open, 0, 0}}},
    {.key = "half-open-rest",
     .label = "bytes left of them and of a 256-flow storm after a quiet 200 s",
     .unit = "bytes",
     .lower_is_better = true,
     .is_exact = true,
     .at_most = 8192, /* the slots: 8 bytes for each socket that ever was at one time */
     .sides = {{"foyer", &foyer_half_open_rest, 0, 0}}},
    {.key = "syn-flood",
     .label = "goodput lost by 16 flows to 1,000,000 SYNs in 10 simulated s",
     .unit = "%",
     .lower_is_better = true,
     .is_exact = true,
     .at_most = 10,
     .sides = {{"foyer", &foyer_flood, 0, 0}}},
    {.key = "syn-flood-memory",
     .label = "memory grown in the second half of such a flood",
     .unit = "bytes",
     .lower_is_better = true,
     .is_exact = true,
     .has_bound = true,
     .sides = {{"foyer", &foyer_flood_memory, 0, 0}}},
    {.key = "demux-1k",
     .label = "input of one segment among 1,000 connections",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"lwIP", &lwip_demux, 1000, 0}, {"foyer", &foyer_demux, 1000, 0}}},
    {.key = "demux-10k",
     .label = "input of one segment among 10,000 connections",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"lwIP", &lwip_demux, 10000, 0}, {"foyer", &foyer_demux, 10000, 0}}},
    {.key = "demux-100k",
     .label = "input of one segment among 100,000 connections",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"foyer", &foyer_demux, 100000, 0}}},
    {.key = "demux-1m",
     .label = "input of one segment among 1,000,000 connections",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"foyer", &foyer_demux, 1000000, 0}}},
    {.key = "demux-10m",
     .label = "input of one segment among 10,000,000 connections",
     .unit = "ns",
     .lower_is_better = true,
     .needs_full = true,
     .sides = {{"foyer", &foyer_demux, 10000000, 0}}},
    {.key = "port-10",
     .label = "connect() to one destination, 10 % of the ports taken",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"lwIP", &lwip_port, 100, 0},
               {"kernel", &kernel_port, 100, 0},
               {"foyer", &foyer_port, 100, 0}}},
    {.key = "port-90",
     .label = "connect() to one destination, 90 % of the ports taken",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"lwIP", &lwip_port, 900, 0},
               {"kernel", &kernel_port, 900, 0},
               {"foyer", &foyer_port, 900, 0}}},
    {.key = "port-99.9",
     .label = "connect() to one destination, 99.9 % of the ports taken",
     .unit = "ns",
     .lower_is_better = true,
     .sides = {{"lwIP", &lwip_port, 999, 0},
               {"kernel", &kernel_port, 999, 0},
               {"foyer", &foyer_port, 999, 0}}},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static struct options {
    unsigned rounds;
    double seconds;
    bool full;
    const char *json;
} options = {.rounds = 5, .seconds = 0.5};

struct figures {
    double values[ROUNDS_MAX];
    unsigned count;
};

/* ---- what the subjects share ------------------------------------------------------------------ */

double core_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double core_clock_cost(void)
{
    double start = core_seconds();
    for (unsigned i = 0; i < 1000; i++)
        (void)core_seconds();
    return (core_seconds() - start) / 1001;
}

uint64_t core_heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

uint32_t core_random(uint64_t *state, uint32_t bound)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((*state >> 32) * bound) >> 32);
}

void core_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    exit(1);
}

/* ---- figures ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct figures *figures)
{
    struct figures sorted = *figures;
    qsort(sorted.values, sorted.count, sizeof(sorted.values[0]), compare);
    unsigned half = sorted.count / 2;
    if (sorted.count % 2 == 1)
        return sorted.values[half];
    return (sorted.values[half - 1] + sorted.values[half]) / 2;
}

/* Half the range, in per cent of the median. */
static double spread(const struct figures *figures)
{
    double low = figures->values[0], high = low;
    for (unsigned i = 1; i < figures->count; i++) {
        low = fmin(low, figures->values[i]);
        high = fmax(high, figures->values[i]);
    }
    return 50 * (high - low) / median(figures);
}

static unsigned side_count(const struct row *row)
{
    unsigned count = 0;
    while (count < SIDES_MAX && row->sides[count].name != NULL)
        count++;
    return count;
}

static void print_row(const struct row *row, const struct figures *figures)
{
    unsigned last = side_count(row) - 1;
    const struct figures *own = &figures[last];
    double mine = median(own);
    printf("%-66s %-6s foyer  %11.5g  +-%2.0f %%", row->label, row->unit, mine, spread(own));
    if (row->at_most > 0 || row->has_bound)
        printf("   wanted <= %g: %s", row->at_most, mine <= row->at_most ? "met" : "NOT MET");
    printf("\n");
    for (unsigned i = 0; i < last; i++) {
        if (figures[i].count == 0)
            continue;
        double other = median(&figures[i]);
        double ratio = row->lower_is_better ? other / mine : mine / other;
        printf("%73s %-6s %11.5g  +-%2.0f %%   foyer is %.3g times as good", "", row->sides[i].name,
               other, spread(&figures[i]), ratio);
        if (row->sides[i].wanted > 0)
            printf(", wanted %g: %s", row->sides[i].wanted,
                   ratio >= row->sides[i].wanted ? "met" : "NOT MET");
        printf("\n");
    }
    fflush(stdout);
}

static void json_row(FILE *json, const struct row *row, const struct figures *figures,
                     bool is_first)
{
    fprintf(json, "%s\n  {\"key\": \"%s\", \"label\": \"%s\", \"unit\": \"%s\", \"sides\": {",
            is_first ? "" : ",", row->key, row->label, row->unit);
    const char *comma = "";
    for (unsigned i = 0; i < side_count(row); i++) {
        if (figures[i].count == 0)
            continue;
        fprintf(json, "%s\n    \"%s\": {\"median\": %.8g, \"spread_percent\": %.3g, \"values\": [",
                comma, row->sides[i].name, median(&figures[i]), spread(&figures[i]));
        for (unsigned j = 0; j < figures[i].count; j++)
            fprintf(json, "%s%.8g", j > 0 ? ", " : "", figures[i].values[j]);
        fprintf(json, "]}");
        comma = ",";
    }
    fprintf(json, "}}");
}

/* ---- running ------------------------------------------------------------------------------------ */

static void run_row(const struct row *row, struct figures *figures)
{
    void *states[SIDES_MAX] = {NULL};
    unsigned sides = side_count(row), rounds = row->is_exact ? 1 : options.rounds;
    for (unsigned i = 0; i < sides; i++)
        states[i] = row->sides[i].subject->open(row->sides[i].argument);
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < sides; i++) {
            if (states[i] == NULL)
                continue;
            if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r%s: round %u of %u, %s        \r", row->key, round + 1, rounds,
                        row->sides[i].name);
            figures[i].values[figures[i].count++] =
                row->sides[i].subject->measure(states[i], options.seconds);
        }
    }
    for (unsigned i = 0; i < sides; i++)
        if (states[i] != NULL)
            row->sides[i].subject->close(states[i]);
}

static bool is_asked_for(const struct row *row, char **names, int count)
{
    if (count == 0)
        return !row->needs_full || options.full;
    for (int i = 0; i < count; i++)
        if (strcmp(row->key, names[i]) == 0)
            return true;
    return false;
}

static _Noreturn void usage(void)
{
    fprintf(stderr,
            "usage: core [--rounds N] [--seconds S] [--full] [--json FILE] [row...]\nrows:");
    for (size_t i = 0; i < ROW_COUNT; i++)
        fprintf(stderr, " %s", rows[i].key);
    fprintf(stderr, "\n");
    exit(2);
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"full", no_argument, NULL, 'f'},
                                          {"json", required_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'r')
            options.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 's')
            options.seconds = strtod(optarg, NULL);
        else if (c == 'f')
            options.full = true;
        else if (c == 'j')
            options.json = optarg;
        else
            usage();
    }
    if (options.rounds < 1 || options.rounds > ROUNDS_MAX || !(options.seconds > 0))
        usage();
    for (int i = optind; i < argc; i++) {
        bool is_known = false;
        for (size_t j = 0; j < ROW_COUNT; j++)
            is_known |= strcmp(rows[j].key, argv[i]) == 0;
        if (!is_known)
            usage();
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    /* One core: whatever the rows measure, the scheduler must not move it about. */
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((unsigned)sched_getcpu(), &cpus);
    (void)sched_setaffinity(0, sizeof(cpus), &cpus);

    FILE *json = options.json != NULL ? fopen(options.json, "we") : NULL;
    if (options.json != NULL && json == NULL) {
        perror(options.json);
        return 1;
    }
    struct utsname machine;
    uname(&machine);
    printf(
        "core rows, one process on one core, processor time; Linux %s %s; medians of %u rounds\n",
        machine.release, machine.machine, options.rounds);
    if (json != NULL)
        fprintf(json, "{\"kernel\": \"%s\", \"machine\": \"%s\", \"rows\": [", machine.release,
                machine.machine);
    bool is_first = true;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (!is_asked_for(&rows[i], argv + optind, argc - optind))
            continue;
        struct figures figures[SIDES_MAX] = {0};
        run_row(&rows[i], figures);
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "%60s\r", "");
        print_row(&rows[i], figures);
        if (json != NULL)
            json_row(json, &rows[i], figures, is_first);
        is_first = false;
    }
    if (json != NULL) {
        fprintf(json, "\n]}\n");
        if (fclose(json) != 0)
            return 1;
    }
    return 0;
}
