/* Aligned tables of text on standard output; cells may come from hostile programs. */
#ifndef FOYER_CLI_TABLE_H
#define FOYER_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 12u

/* Init with the headings; its fields are private. */
struct table {
    size_t column_count;
    size_t cell_count; /* headings included */
    size_t capacity;
    char **cells;
    bool has_failed; /* no memory; table_print tells */
};

/* headings: column_count texts, at most TABLE_COLUMNS_MAX. They are copied, as all cells are. */
void table_init(struct table *table, size_t column_count, const char *const *headings);
/* Appends the next cell, row by row. NULL and "" show as "-". */
void table_add(struct table *table, const char *text);
void table_add_format(struct table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
size_t table_row_count(const struct table *table);
/* Prints and frees; 0 or -ENOMEM. An incomplete last row is left out. */
int table_print(struct table *table, FILE *file);

#endif
