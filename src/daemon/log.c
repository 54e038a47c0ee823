#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINES_PER_SECOND_MAX 200u

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static enum log_level threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    threshold = level;
}

bool log_level_parse(const char *text, enum log_level *ret_level)
{
    for (unsigned i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/*
 * Programs can make foyerd say things (a malformed request is a line), so there is a limit to how
 * fast the file grows. False: this line is left out.
 */
static bool is_within_rate(const struct timespec *now)
{
    static time_t second;
    static unsigned count;
    if (now->tv_sec != second) {
        second = now->tv_sec;
        count = 0;
    }
    return ++count <= LOG_LINES_PER_SECOND_MAX;
}

void log_line(enum log_level level, const char *form, ...)
{
    if (level > threshold)
        return;
    int saved_errno = errno;
    char line[1024];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    if (threshold < LOG_LEVEL_DEBUG && !is_within_rate(&now))
        return;
    localtime_r(&now.tv_sec, &parts);
    size_t size = strftime(line, sizeof(line), "%F %T", &parts);
    size += (size_t)snprintf(line + size, sizeof(line) - size, ".%03ld %s ", now.tv_nsec / 1000000,
                             level_names[level]);
    size_t start = size;
    va_list arguments;
    va_start(arguments, form);
    int text_size = vsnprintf(line + size, sizeof(line) - 1 - size, form, arguments);
    va_end(arguments);
    if (text_size > 0)
        size += (size_t)text_size < sizeof(line) - 2 - size ? (size_t)text_size
                                                            : sizeof(line) - 2 - size;
    for (size_t i = start; i < size; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[size++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, size);
    (void)written; /* a full disk must not end the building */
    errno = saved_errno;
}
