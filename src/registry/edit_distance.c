#include "registry/edit_distance.h"

#include <stdint.h>
#include <string.h>

#include "registry/services_reader.h"

#define ROW_SIZE (FOYER_EDIT_DISTANCE_SIZE_MAX + 1)

static uint8_t min(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

size_t foyer_edit_distance(const char *a, size_t a_size, const char *b, size_t b_size, size_t limit)
{
    size_t difference = a_size > b_size ? a_size - b_size : b_size - a_size;
    if (a_size > FOYER_EDIT_DISTANCE_SIZE_MAX || b_size > FOYER_EDIT_DISTANCE_SIZE_MAX ||
        difference > limit) {
        return limit + 1;
    }
    /* rows[i % 3][j]: distance of a's first i characters from b's first j. */
    uint8_t rows[3][ROW_SIZE];
    for (size_t j = 0; j <= b_size; j++) {
        rows[0][j] = (uint8_t)j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        uint8_t *row = rows[i % 3];
        const uint8_t *above = rows[(i - 1) % 3];
        char x = foyer_services_fold(a[i - 1]);
        uint8_t best = row[0] = (uint8_t)i;
        for (size_t j = 1; j <= b_size; j++) {
            char y = foyer_services_fold(b[j - 1]);
            row[j] =
                min((uint8_t)(min(above[j], row[j - 1]) + 1), (uint8_t)(above[j - 1] + (x != y)));
            if (i > 1 && j > 1 && x == foyer_services_fold(b[j - 2]) &&
                y == foyer_services_fold(a[i - 2])) {
                row[j] = min(row[j], (uint8_t)(rows[(i - 2) % 3][j - 2] + 1));
            }
            best = min(best, row[j]);
        }
        /*
         * No later row is better. A swap reaches back across this row, but costs no less than the
         * replacement that led from there into this row.
         */
        if (best > limit) {
            return limit + 1;
        }
    }
    size_t distance = rows[a_size % 3][b_size];
    return distance <= limit ? distance : limit + 1;
}
