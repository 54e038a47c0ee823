/*
 * How many typing mistakes lie between two words. Pure; called by registry_suggest.c.
 */
#ifndef FOYER_REGISTRY_EDIT_DISTANCE_H
#define FOYER_REGISTRY_EDIT_DISTANCE_H

#include <stddef.h>

#define FOYER_EDIT_DISTANCE_SIZE_MAX 63u

/*
 * Damerau-Levenshtein distance in its restricted form (optimal string alignment): insertions,
 * deletions, replacements and swaps of neighbours, where nothing is edited twice. ASCII case
 * doesn't count.
 *
 * limit: where to stop. Returns the distance if it is at most `limit`, else limit + 1. Words
 * longer than FOYER_EDIT_DISTANCE_SIZE_MAX are beyond any limit.
 * Work: O(a_size * b_size), usually less because of the limit.
 */
size_t foyer_edit_distance(const char *a, size_t a_size, const char *b, size_t b_size,
                           size_t limit);

#endif
