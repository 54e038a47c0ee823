#define _GNU_SOURCE /* vasprintf, reallocarray */

#include "cli/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include "cli/text.h"

void table_init(struct table *table, size_t column_count, const char *const *headings)
{
    *table = (struct table){.column_count = column_count};
    for (size_t i = 0; i < column_count; i++)
        table_add(table, headings[i]);
}

void table_add(struct table *table, const char *text)
{
    if (table->has_failed)
        return;
    if (table->cell_count == table->capacity) {
        size_t capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        char **cells = reallocarray(table->cells, capacity, sizeof(*cells));
        if (cells == NULL) {
            table->has_failed = true;
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    char *cell = text_safe(text == NULL || text[0] == '\0' ? "-" : text);
    if (cell == NULL)
        table->has_failed = true;
    else
        table->cells[table->cell_count++] = cell;
}

void table_add_format(struct table *table, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0) {
        table->has_failed = true;
        return;
    }
    table_add(table, text);
    free(text);
}

size_t table_row_count(const struct table *table)
{
    return table->cell_count / table->column_count - 1;
}

static void finish(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
}

int table_print(struct table *table, FILE *file)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    size_t columns = table->column_count;
    if (table->has_failed || columns > TABLE_COLUMNS_MAX) {
        finish(table);
        return -ENOMEM;
    }
    size_t count = table->cell_count - table->cell_count % columns;
    for (size_t i = 0; i < count; i++) {
        size_t width = text_width(table->cells[i]);
        if (width > widths[i % columns])
            widths[i % columns] = width;
    }
    for (size_t i = 0; i < count; i++) {
        fputs(table->cells[i], file);
        if ((i + 1) % columns == 0) {
            fputc('\n', file); /* no padding at a line's end */
            continue;
        }
        for (size_t w = text_width(table->cells[i]); w < widths[i % columns] + 2; w++)
            fputc(' ', file);
    }
    finish(table);
    return 0;
}
