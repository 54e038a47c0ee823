/* foyerd's log: one line per event to standard error, which start-up directs to the log file. */
#ifndef FOYER_DAEMON_LOG_H
#define FOYER_DAEMON_LOG_H

#include <stdbool.h>

enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

void log_set_level(enum log_level level);
/* From "error", "warning", "info" or "debug". */
bool log_level_parse(const char *text, enum log_level *ret_level);

/*
 * Writes "time level text\n". Control characters in the text (names come from outside) become
 * '?'. Lines longer than 1 KiB are cut; more than 200 a second are left out, but for debugging.
 */
void log_line(enum log_level level, const char *form, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
