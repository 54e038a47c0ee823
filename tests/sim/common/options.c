/* Seeds and arguments. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/sim.h"

static void usage(const char *program)
{
    fprintf(stderr, "usage: %s [--seed N] [--scenario NAME] [--pcapng FILE] [--fresh N]\n",
            program);
    exit(2);
}

static uint64_t number(const char *program, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (errno != 0 || *end != '\0' || end == text)
        usage(program);
    return value;
}

void sim_options_parse(struct sim_options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            usage(argv[0]);
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--seed") == 0) {
            options->has_seed = true;
            options->seed = number(argv[0], value);
        } else if (strcmp(argv[i], "--scenario") == 0) {
            options->scenario = value;
        } else if (strcmp(argv[i], "--pcapng") == 0) {
            options->pcapng = value;
        } else if (strcmp(argv[i], "--fresh") == 0) {
            options->fresh_seeds = (unsigned)number(argv[0], value);
        } else {
            usage(argv[0]);
        }
    }
}

static void run_one(const struct sim_options *options, const char *name, uint64_t seed,
                    void (*scenario)(struct sim *sim, const void *argument), const void *argument)
{
    static struct sim sim; /* large */
    printf("%s seed %llu\n", name, (unsigned long long)seed);
    fflush(stdout);
    sim_init(&sim, name, seed);
    if (options->pcapng != NULL) {
        SIM_CHECK(&sim, pcapng_open(&sim.pcapng, options->pcapng, "sim") == 0);
        sim.is_recorded = true;
    }
    scenario(&sim, argument);
    sim_finish(&sim);
}

void sim_run_seeds(const struct sim_options *options, const char *name,
                   void (*scenario)(struct sim *sim, const void *argument), const void *argument)
{
    if (options->scenario != NULL && strcmp(options->scenario, name) != 0)
        return;
    if (options->has_seed) {
        run_one(options, name, options->seed, scenario, argument);
        return;
    }
    for (uint64_t seed = 1; seed <= options->fixed_seeds; seed++)
        run_one(options, name, seed, scenario, argument);
    for (unsigned i = 0; i < options->fresh_seeds; i++) {
        uint32_t seed;
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
            abort();
        run_one(options, name, seed, scenario, argument);
    }
}
