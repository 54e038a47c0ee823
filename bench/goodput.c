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
    /* The foyer side of this congestion control must be so many times as good; 0: comparison. */
    double wanted;
    const char *by;
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

#define LWIP(wanted, by)                                                                           \
    {                                                                                              \
        "lwIP", goodput_lwip, "reno", wanted, by                                                   \
    }
#define LINUX(control, wanted)                                                                     \
    {                                                                                              \
        "Linux", goodput_kernel, control, wanted, control                                          \
    }
#define FOYER(control)                                                                             \
    {                                                                                              \
        "foyer", goodput_foyer, control, 0, NULL                                                   \
    }

/* clang-format off */
static const struct row rows[] = {
    {"tunnel", "200 Mbit/s, 66 ms, 0.1 % of packets up to 3 ms late, 0.003 % lost",
     200000000, 33, 30, 1000, 3, 20, 1, false, 0,
     {LINUX("cubic", 0.95), FOYER("cubic"), LINUX("bbr", 0.95), FOYER("bbr")}},
    {"loss-1-100m", "100 Mbit/s, 20 ms, 1 % lost", 100000000, 10, 10000, 0, 0, 20, 1, true, 0,
     {LWIP(3, "bbr"), LINUX("cubic", 1), FOYER("cubic"), LINUX("bbr", 0), FOYER("bbr")}},
    {"loss-1-1g", "1 Gbit/s, 20 ms, 1 % lost", 1000000000, 10, 10000, 0, 0, 20, 1, true, 0,
     {LWIP(3, "bbr"), LINUX("cubic", 1), FOYER("cubic"), FOYER("bbr")}},
    {"loss-5-100m", "100 Mbit/s, 20 ms, 5 % lost", 100000000, 10, 50000, 0, 0, 20, 1, true, 0,
     {LWIP(3, "cubic"), LINUX("cubic", 1), FOYER("cubic"), LINUX("bbr", 0), FOYER("bbr")}},
    {"loss-5-1g", "1 Gbit/s, 20 ms, 5 % lost", 1000000000, 10, 50000, 0, 0, 20, 1, true, 0,
     {LWIP(3, "cubic"), LINUX("cubic", 1), FOYER("cubic"), FOYER("bbr")}},
    {"fairness", "8 flows through one queue, 100 Mbit/s, 20 ms", 100000000, 10, 0, 0, 0, 30, 8,
     false, 0.95,
     {LINUX("cubic", 0), FOYER("cubic"), FOYER("bbr")}},
};
/* clang-format on */

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static unsigned seeds = 4;

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

/* Of the seeds that ran. */
struct summary {
    unsigned count;
    double mean, least, most; /* Mbit/s */
    double jain;              /* the least */
    unsigned long long lost, overflowed, again, recoveries, undone, timeouts;
};

static struct summary summarize(const struct row *row, const struct outcome *outcomes)
{
    struct summary summary = {.least = 1e18, .jain = 1};
    for (unsigned i = 0; i < seeds; i++) {
        const struct goodput_result *result = &outcomes[i].result;
        if (!outcomes[i].is_there)
            continue;
        double rate = mbit_per_s(row, result), fair = jain(row, result);
        summary.count++;
        summary.mean += rate;
        summary.least = rate < summary.least ? rate : summary.least;
        summary.most = rate > summary.most ? rate : summary.most;
        summary.jain = fair < summary.jain ? fair : summary.jain;
        summary.lost += result->to.lost;
        summary.overflowed += result->to.overflowed;
        summary.again += result->retransmissions;
        summary.recoveries += result->recoveries;
        summary.undone += result->undone;
        summary.timeouts += result->timeouts;
    }
    if (summary.count > 0)
        summary.mean /= summary.count;
    return summary;
}

static FILE *json;

static void print_summary(const struct row *row, const struct side *side,
                          const struct summary *summary)
{
    if (summary->count == 0)
        return;
    printf("    %-6s %-6s %8.2f Mbit/s (%.2f to %.2f)", side->name, side->congestion, summary->mean,
           summary->least, summary->most);
    if (row->flows > 1)
        printf("  Jain's index %.4f", summary->jain);
    printf("  lost %llu + %llu, again %llu", summary->lost, summary->overflowed, summary->again);
    if (side->run == goodput_foyer)
        printf(", recoveries %llu, undone %llu, timeouts %llu", summary->recoveries,
               summary->undone, summary->timeouts);
    printf("\n");
    if (json != NULL)
        fprintf(json,
                "  {\"row\": \"%s\", \"side\": \"%s\", \"congestion\": \"%s\", "
                "\"seeds\": %u, \"mbit_per_s\": %.3f, \"least\": %.3f, \"most\": %.3f, "
                "\"jain\": %.4f},\n",
                row->key, side->name, side->congestion, summary->count, summary->mean,
                summary->least, summary->most, summary->jain);
}

/* Whether every mark of the row is met. */
static bool judge(const struct row *row, const struct summary *summaries)
{
    bool is_met = true;
    for (unsigned i = 0; row->sides[i].name != NULL; i++) {
        const struct side *foyer = &row->sides[i];
        if (foyer->run != goodput_foyer || summaries[i].count == 0)
            continue;
        if (row->jain_at_least > 0) {
            bool is_fair = summaries[i].jain >= row->jain_at_least;
            printf("    foyer's %s: index %.4f, at least %.2f: %s\n", foyer->congestion,
                   summaries[i].jain, row->jain_at_least, is_fair ? "met" : "MISSED");
            is_met &= is_fair;
        }
        for (unsigned j = 0; row->sides[j].name != NULL; j++) {
            const struct side *other = &row->sides[j];
            if (other->wanted <= 0 || summaries[j].count == 0 ||
                strcmp(other->by, foyer->congestion) != 0)
                continue;
            double ratio = summaries[i].mean / summaries[j].mean;
            printf("    foyer's %s / %s's %s: %.2f, at least %.2f: %s\n", foyer->congestion,
                   other->name, other->congestion, ratio, other->wanted,
                   ratio >= other->wanted ? "met" : "MISSED");
            is_met &= ratio >= other->wanted;
        }
    }
    return is_met;
}

static bool run_row(const struct row *row)
{
    struct summary summaries[6];
    struct outcome *outcomes = mmap(NULL, SEEDS_MAX * sizeof(*outcomes), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CORE_CHECK(outcomes != MAP_FAILED);
    printf("%s: %s, %u s, %u seeds\n", row->key, row->label, row->length_s, seeds);
    for (unsigned i = 0; row->sides[i].name != NULL; i++) {
        memset(outcomes, 0, SEEDS_MAX * sizeof(*outcomes));
        run_side(row, &row->sides[i], outcomes);
        summaries[i] = summarize(row, outcomes);
        print_summary(row, &row->sides[i], &summaries[i]);
    }
    munmap(outcomes, SEEDS_MAX * sizeof(*outcomes));
    return judge(row, summaries);
}

/* 0: every mark is met. */
int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"seeds", required_argument, NULL, 's'}, {"json", required_argument, NULL, 'j'}, {0}};
    bool is_met = true;
    int option;
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (option == 'j') {
            json = fopen(optarg, "we");
            CORE_CHECK(json != NULL && fputs("[\n", json) >= 0);
            continue;
        }
        seeds = option == 's' ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        if (seeds == 0 || seeds > SEEDS_MAX) {
            fprintf(stderr, "usage: goodput [--seeds 1..%u] [--json FILE] [row...]\n", SEEDS_MAX);
            return 2;
        }
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        bool is_wanted = optind == argc;
        for (int j = optind; j < argc; j++)
            is_wanted |= strcmp(argv[j], rows[i].key) == 0;
        if (is_wanted)
            is_met &= run_row(&rows[i]);
    }
    if (json != NULL) {
        fputs("  {}\n]\n", json);
        fclose(json);
    }
    return is_met ? 0 : 1;
}
