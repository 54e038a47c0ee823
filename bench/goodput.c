/*
 * Goodput over bad paths, foyer beside Linux and lwIP: goodput [--seeds N] [--json FILE] [row...].
 * See goodput.h.
 */
#include "goodput.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core.h"

#define SEEDS_MAX 16u
#define MS FOYER_NS_PER_MS

struct side {
    const char *name; /* NULL: no more sides */
    goodput_run *run;
    const char *congestion;
    double wanted; /* foyer must be this many times as good; 0: shown for comparison only */
};

struct row {
    const char *key, *label;
    uint64_t rate_bits_per_s;
    uint32_t delay_ms; /* one way */
    uint32_t loss_ppm, reorder_ppm;
    uint32_t reorder_ms, length_s;
    unsigned flows;
    bool is_parallel; /* the seeds of a real-time side run at once */
    double jain_at_least;
    struct side sides[6];
};

#define SIDES                                                                                      \
    {                                                                                              \
        {"lwIP", goodput_lwip, "reno", 3}, {"Linux", goodput_kernel, "cubic", 1},                  \
        {                                                                                          \
            "foyer", goodput_foyer, "cubic", 0                                                     \
        }                                                                                          \
    }

static const struct row rows[] = {
    {"tunnel",
     "66 ms, 0.1 % up to 3 ms late, 0.003 % loss, 200 Mbit/s",
     200000000,
     33,
     30,
     1000,
     3,
     20,
     1,
     false,
     0,
     {{"Linux", goodput_kernel, "cubic", 0.95}, {"foyer", goodput_foyer, "cubic", 0}}},
    {"tunnel-bbr", "the same, BBR", 200000000, 33, 30, 1000, 3, 20, 1, false, 0,
     {{"Linux", goodput_kernel, "bbr", 0}, {"foyer", goodput_foyer, "bbr", 0}}},
    {"loss-1-100m-bbr", "1 % loss, BBR", 100000000, 10, 10000, 0, 0, 10, 1, true, 0,
     {{"Linux", goodput_kernel, "bbr", 0}, {"foyer", goodput_foyer, "bbr", 0}}},
    {"loss-5-100m-bbr", "5 % loss, BBR", 100000000, 10, 50000, 0, 0, 10, 1, true, 0,
     {{"Linux", goodput_kernel, "bbr", 0}, {"foyer", goodput_foyer, "bbr", 0}}},
    {"fairness-bbr", "8 flows, BBR", 100000000, 10, 0, 0, 0, 30, 8, false, 0,
     {{"Linux", goodput_kernel, "bbr", 0}, {"foyer", goodput_foyer, "bbr", 0}}},
    {"loss-1-100m", "1 % loss, 20 ms, 100 Mbit/s", 100000000, 10, 10000, 0, 0, 30, 1, true, 0,
     SIDES},
    {"loss-1-1g", "1 % loss, 20 ms, 1 Gbit/s", 1000000000, 10, 10000, 0, 0, 30, 1, true, 0, SIDES},
    {"loss-5-100m", "5 % loss, 20 ms, 100 Mbit/s", 100000000, 10, 50000, 0, 0, 30, 1, true, 0,
     SIDES},
    {"loss-5-1g", "5 % loss, 20 ms, 1 Gbit/s", 1000000000, 10, 50000, 0, 0, 30, 1, true, 0, SIDES},
    {"fairness",
     "8 flows, 20 ms, 100 Mbit/s",
     100000000,
     10,
     0,
     0,
     0,
     30,
     8,
     false,
     0.95,
     {{"Linux", goodput_kernel, "cubic", 0}, {"foyer", goodput_foyer, "cubic", 0}}},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static unsigned seeds = 3;

_Noreturn void core_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    exit(1);
}

static struct goodput_path path_of(const struct row *row, const struct side *side, unsigned seed)
{
    uint64_t product_bytes = row->rate_bits_per_s / 8 * 2 * row->delay_ms / 1000;
    struct goodput_path path = {
        .to = {.loss_ppm = row->loss_ppm,
               .reorder_ppm = row->reorder_ppm,
               .reorder_ns = row->reorder_ms * MS,
               .delay_ns = row->delay_ms * MS,
               .rate_bits_per_s = row->rate_bits_per_s,
               .queue_bytes = product_bytes + 100000},
        .back = {.delay_ns = row->delay_ms * MS, .rate_bits_per_s = row->rate_bits_per_s},
        .congestion = side->congestion,
        .length_ns = row->length_s * FOYER_NS_PER_S,
        .flows = row->flows,
        .seed = seed + 1,
    };
    return path;
}

struct outcome {
    bool is_there;
    struct goodput_result result;
};

/* Each seed in a process of its own, one after the other unless they may run at once. */
static void run_side(const struct row *row, const struct side *side, struct outcome *outcomes)
{
    pid_t children[SEEDS_MAX];
    fflush(stdout);
    for (unsigned i = 0; i < seeds; i++) {
        children[i] = fork();
        CORE_CHECK(children[i] >= 0);
        if (children[i] == 0) {
            struct goodput_path path = path_of(row, side, i);
            outcomes[i].is_there = side->run(&path, &outcomes[i].result);
            _exit(0);
        }
        if (!row->is_parallel || side->run != goodput_kernel)
            waitpid(children[i], NULL, 0);
    }
    while (wait(NULL) > 0)
        ;
}

static double mbit_per_s(const struct row *row, const struct goodput_result *result)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < row->flows; i++)
        sum += result->flow_bytes[i];
    return (double)sum * 8 / 1e6 / row->length_s;
}

static double jain(const struct row *row, const struct goodput_result *result)
{
    double sum = 0, squares = 0;
    for (unsigned i = 0; i < row->flows; i++) {
        double bytes = (double)result->flow_bytes[i];
        sum += bytes;
        squares += bytes * bytes;
    }
    return squares > 0 ? sum * sum / (row->flows * squares) : 0;
}

static void print_outcome(const struct row *row, const struct side *side,
                          const struct outcome *outcome)
{
    const struct goodput_result *result = &outcome->result;
    printf("    %-6s %-6s %8.2f Mbit/s", side->name, side->congestion, mbit_per_s(row, result));
    if (row->flows > 1)
        printf("  Jain %.4f", jain(row, result));
    printf("  lost %llu + %llu late %llu again %llu recoveries %llu undone %llu timeouts %llu\n",
           (unsigned long long)result->to.lost, (unsigned long long)result->to.overflowed,
           (unsigned long long)result->to.reordered, (unsigned long long)result->retransmissions,
           (unsigned long long)result->recoveries, (unsigned long long)result->undone,
           (unsigned long long)result->timeouts);
}

static void run_row(const struct row *row)
{
    struct outcome *outcomes = mmap(NULL, SEEDS_MAX * sizeof(*outcomes), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CORE_CHECK(outcomes != MAP_FAILED);
    printf("%s: %s\n", row->key, row->label);
    for (const struct side *side = row->sides; side->name != NULL; side++) {
        memset(outcomes, 0, SEEDS_MAX * sizeof(*outcomes));
        run_side(row, side, outcomes);
        for (unsigned i = 0; i < seeds; i++) {
            if (outcomes[i].is_there)
                print_outcome(row, side, &outcomes[i]);
        }
    }
    munmap(outcomes, SEEDS_MAX * sizeof(*outcomes));
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seeds", required_argument, NULL, 's'}, {0}};
    int option;
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (option != 's')
            return 2;
        seeds = (unsigned)strtoul(optarg, NULL, 10);
        if (seeds == 0 || seeds > SEEDS_MAX)
            return 2;
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        bool is_wanted = optind == argc;
        for (int j = optind; j < argc; j++)
            is_wanted |= strcmp(argv[j], rows[i].key) == 0;
        if (is_wanted)
            run_row(&rows[i]);
    }
    return 0;
}
