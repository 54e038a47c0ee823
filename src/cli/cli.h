/*
 * What all subcommands of `foyer` share: the table of commands, options, exit codes, messages.
 *
 *     main.c -> cli_main (cli.c) -> command->run (cmd_<name>.c) -> client.c, start.c, table.c, ...
 *
 * Results go to standard output, everything else to standard error as "foyer <command>: ...".
 * A message says what happened, to which program, host or port, and what the person can do.
 */
#ifndef FOYER_CLI_CLI_H
#define FOYER_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILURE = 1,
    CLI_USAGE = 2,
    /* `foyer run` only, as env(1), nohup(1) and the shell have them */
    CLI_RUN_FAILURE = 125,        /* foyer itself failed; the program was not started */
    CLI_RUN_NOT_EXECUTABLE = 126, /* the program was found but cannot be run */
    CLI_RUN_NOT_FOUND = 127,
};

struct cli_command;

/* One call of one command. */
struct cli_invocation {
    const struct cli_command *command;
    int argc;
    char **argv;          /* argv[0] is the command's name; after cli_option_next has returned
                             CLI_OPTION_END, operands begin at optind */
    const char *building; /* --building, or NULL: FOYER_BUILDING, else the default */
    bool is_json;         /* --json */
    int exit_status;      /* what to return after CLI_OPTION_STOP */
};

struct cli_command {
    const char *name;
    const char *arguments;                         /* after the name in the usage line */
    const char *summary;                           /* one line */
    const char *help;                              /* the rest of --help; ends with a newline */
    int (*run)(struct cli_invocation *invocation); /* returns an enum cli_exit or a status */
};

extern const struct cli_command command_run;
extern const struct cli_command command_up;
extern const struct cli_command command_down;
extern const struct cli_command command_status;
extern const struct cli_command command_ports;
extern const struct cli_command command_who;
extern const struct cli_command command_services;
extern const struct cli_command command_host;
extern const struct cli_command command_link;

/* The whole program; returns its exit status. */
int cli_main(int argc, char **argv);

/* Values that cli_option_next gives besides a command's own, which are ASCII characters
 * ('h' is taken: -h is --help). */
enum cli_option {
    CLI_OPTION_END = -1,
    CLI_OPTION_STOP = -2, /* --help was printed or usage was wrong: return exit_status */
    /* handled by cli_option_next, for the table of a command's options */
    CLI_OPTION_HELP = 256,
    CLI_OPTION_JSON,
    CLI_OPTION_BUILDING,
};

#define CLI_OPTIONS_COMMON                                                                         \
    {"help", no_argument, NULL, CLI_OPTION_HELP},                                                  \
    {                                                                                              \
        "building", required_argument, NULL, CLI_OPTION_BUILDING                                   \
    }
#define CLI_OPTIONS_JSON                                                                           \
    {                                                                                              \
        "json", no_argument, NULL, CLI_OPTION_JSON                                                 \
    }

/*
 * The next option of a command, over getopt_long: its own value, CLI_OPTION_END or
 * CLI_OPTION_STOP. Options end at the first operand if in_order, which `foyer run` needs: what
 * follows belongs to the program.
 */
int cli_option_next(struct cli_invocation *invocation, const struct option *options, bool in_order);

/*
 * The same for commands without options of their own: true if the command can go on, with at
 * least min and at most max operands from argv[optind].
 */
bool cli_options_end(struct cli_invocation *invocation, const struct option *options, int min,
                     int max);
/* Checks the number of operands; on failure prints and sets exit_status. */
bool cli_operands_check(struct cli_invocation *invocation, int min, int max);

/* "foyer <command>: <message>" on standard error. */
void cli_error(const struct cli_invocation *invocation, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, followed by where to find help; returns CLI_USAGE. */
int cli_usage_error(struct cli_invocation *invocation, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The command of that name, or NULL. */
const struct cli_command *cli_command_find(const char *name);
/* The command's name that a misspelt one may have meant, or NULL. */
const char *cli_command_suggest(const char *name);

#endif
