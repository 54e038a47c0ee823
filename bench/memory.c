/*
 * What the machine's memory gives to somebody who has very many connections: memory COUNT reads COUNT
 * objects of 448 bytes in huge pages in random order, the first line of each or four in a row.
 *
 *     dependent    each address is known only from the object before
 *     independent  all addresses are known beforehand
 *     with work    some 60 ns of it for each object, whose lines are prefetched so many objects ahead;
 *                  what is above the time of 1,000 objects is waiting that prefetching does not hide
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define OBJECT_BYTES 448u
#define LINE_BYTES 64u
#define READS 1000000u
#define AHEAD_MAX 32u
#define WORK_STEPS 64u
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

static uint8_t *objects;
static uint32_t *order;

static double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Its first line; all memory is 0, which neither the processor nor the compiler knows. */
static const volatile uint32_t *object(size_t index)
{
    return (const volatile uint32_t *)(const void *)(objects + order[index] * (size_t)OBJECT_BYTES);
}

static uint32_t read_lines(size_t index, unsigned lines)
{
    uint32_t sum = 0;
    for (unsigned line = 0; line < lines; line++)
        sum += object(index)[line * LINE_BYTES / sizeof(uint32_t)];
    return sum;
}

static void show(const char *what, unsigned lines, double start)
{
    printf("%-32s %u lines: %6.1f ns\n", what, lines, (now_ns() - start) / READS);
}

static void read_dependent(unsigned lines)
{
    double start = now_ns();
    size_t next = 0;
    for (size_t i = 0; i < READS; i++)
        next = read_lines(i + next, lines);
    show("dependent", lines, start);
}

static void read_independent(unsigned lines)
{
    double start = now_ns();
    for (size_t i = 0; i < READS; i++)
        (void)read_lines(i, lines);
    show("independent", lines, start);
}

static void read_ahead(unsigned lines, unsigned ahead)
{
    double start = now_ns();
    volatile uint32_t result;
    uint32_t state = 1;
    for (size_t i = 0; i < READS; i++) {
        const uint8_t *later = objects + order[i + ahead] * (size_t)OBJECT_BYTES;
        for (unsigned line = 0; ahead > 0 && line < lines; line++)
            __builtin_prefetch(later + line * LINE_BYTES);
        uint32_t sum = read_lines(i, lines);
        for (unsigned step = 0; step < WORK_STEPS; step++) /* each waits for the one before */
            state = (state * 3 + 1 + sum) & 0xff0ffu;
    }
    result = state;
    (void)result;
    char what[64];
    snprintf(what, sizeof(what), "with work, asked for %u ahead", ahead);
    show(what, lines, start);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    size_t size = (count * OBJECT_BYTES + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
    objects = aligned_alloc(HUGE_PAGE_BYTES, size);
    order = malloc((READS + AHEAD_MAX) * sizeof(order[0]));
    if (count == 0 || count > UINT32_MAX || objects == NULL || order == NULL) {
        fputs("memory [objects]: no memory for so many\n", stderr);
        return 1;
    }
    (void)madvise(objects, size, MADV_HUGEPAGE);
    for (size_t at = 0; at < size; at++)
        objects[at] = 0;
    uint64_t random = 1;
    for (size_t i = 0; i < READS + AHEAD_MAX; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        order[i] = (uint32_t)((random >> 32) * count >> 32);
    }
    for (unsigned lines = 1; lines <= 4; lines += 3) {
        read_dependent(lines);
        read_independent(lines);
    }
    for (unsigned ahead = 0; ahead <= AHEAD_MAX; ahead = ahead > 0 ? 2 * ahead : 2)
        read_ahead(4, ahead);
    free(objects);
    free(order);
    return 0;
}
