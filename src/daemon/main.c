/* foyerd's command line; everything else is daemon.c. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "daemon/log.h"

static const char usage[] =
    "usage: foyerd [options]\n"
    "\n"
    "The daemon of a building; `foyer` starts it when it is needed.\n"
    "\n"
    "  --building NAME    the building to serve (FOYER_BUILDING, else default)\n"
    "  --foreground       stay in the foreground and log to standard error\n"
    "  --log-level LEVEL  error, warning, info (default) or debug\n"
    "  --net4 NETWORK     the hosts' IPv4 network (" NETWORK_DEFAULT4 ")\n"
    "  --net6 NETWORK     the hosts' IPv6 network (" NETWORK_DEFAULT6 ")\n"
    "  --ready-fd N       write one byte to descriptor N when sessions can be opened\n"
    "  --version, --help\n";

enum option_value {
    OPTION_BUILDING = 1,
    OPTION_FOREGROUND,
    OPTION_LOG_LEVEL,
    OPTION_NET4,
    OPTION_NET6,
    OPTION_READY_FD,
    OPTION_VERSION,
    OPTION_HELP,
};

static const struct option options_table[] = {
    {"building", required_argument, NULL, OPTION_BUILDING},
    {"foreground", no_argument, NULL, OPTION_FOREGROUND},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"net4", required_argument, NULL, OPTION_NET4},
    {"net6", required_argument, NULL, OPTION_NET6},
    {"ready-fd", required_argument, NULL, OPTION_READY_FD},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

/* An open descriptor beyond the standard three. */
static bool parse_fd(const char *text, int *ret_fd)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < 3 || value > 1 << 20)
        return false;
    int flags = fcntl((int)value, F_GETFD);
    if (flags < 0)
        return false;
    fcntl((int)value, F_SETFD, flags | FD_CLOEXEC);
    *ret_fd = (int)value;
    return true;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct daemon_options *options)
{
    enum log_level level;
    int option;
    while ((option = getopt_long(argc, argv, "", options_table, NULL)) != -1) {
        switch (option) {
        case OPTION_BUILDING:
            options->building = optarg;
            break;
        case OPTION_FOREGROUND:
            options->foreground = true;
            break;
        case OPTION_LOG_LEVEL:
            if (!log_level_parse(optarg, &level)) {
                fprintf(stderr, "foyerd: no log level: %s\n", optarg);
                return 2;
            }
            log_set_level(level);
            break;
        case OPTION_NET4:
            options->net4 = optarg;
            break;
        case OPTION_NET6:
            options->net6 = optarg;
            break;
        case OPTION_READY_FD:
            if (!parse_fd(optarg, &options->ready_fd)) {
                fprintf(stderr, "foyerd: no open descriptor: %s\n", optarg);
                return 2;
            }
            break;
        case OPTION_VERSION:
            puts("foyerd " FOYER_VERSION);
            return 0;
        case OPTION_HELP:
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct daemon_options options = {.ready_fd = -1};
    int status = parse(argc, argv, &options);
    return status >= 0 ? status : daemon_run(&options);
}
