#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ipc/paths.h"
#include "registry/edit_distance.h"

static int run_help(struct cli_invocation *invocation);
static int run_version(struct cli_invocation *invocation);

static const struct cli_command command_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "show how to use foyer or one of its commands",
    .help = "",
    .run = run_help,
};

static const struct cli_command command_version = {
    .name = "version",
    .arguments = "",
    .summary = "show the version of foyer",
    .help = "",
    .run = run_version,
};

/* In the order in which a person meets them. */
static const struct cli_command *const commands[] = {
    &command_run,    &command_ports, &command_who,     &command_services,
    &command_host,   &command_link,  &command_up,      &command_down,
    &command_status, &command_help,  &command_version,
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

const char *cli_command_suggest(const char *name)
{
    const char *best = NULL;
    size_t best_distance = 3;
    size_t size = strnlen(name, FOYER_EDIT_DISTANCE_SIZE_MAX + 1);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *candidate = commands[i]->name;
        /* Half a word of mistakes is another word: "up" must not stand for any "xy". */
        size_t limit = strlen(candidate) / 2;
        limit = limit < best_distance ? limit : best_distance - 1;
        size_t distance = foyer_edit_distance(name, size, candidate, strlen(candidate), limit);
        if (distance <= limit && distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

static void print_overview(FILE *file)
{
    fputs("usage: foyer COMMAND [OPTION]... [ARGUMENT]...\n\n"
          "Runs programs on hosts of their own, with foyer's TCP/IP instead of the kernel's,\n"
          "and shows who holds which port.\n\nCommands:\n",
          file);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(file, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nOptions of every command:\n"
          "  --building NAME  the building (virtual network) that is meant, else that of\n"
          "                   FOYER_BUILDING, else \"default\"\n"
          "  --help           show the command's usage\n\n"
          "'foyer help COMMAND' says more about one; so does 'man foyer'.\n",
          file);
}

static void print_command_help(const struct cli_command *command, FILE *file)
{
    fprintf(file, "usage: foyer %s%s%s\n\nfoyer %s: %s\n", command->name,
            command->arguments[0] != '\0' ? " " : "", command->arguments, command->name,
            command->summary);
    if (command->help[0] != '\0')
        fprintf(file, "\n%s", command->help);
}

void cli_error(const struct cli_invocation *invocation, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "foyer %s: ", invocation->command->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int cli_usage_error(struct cli_invocation *invocation, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "foyer %s: ", invocation->command->name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nusage: foyer %s%s%s\nSee 'foyer help %s'.\n", invocation->command->name,
            invocation->command->arguments[0] != '\0' ? " " : "", invocation->command->arguments,
            invocation->command->name);
    invocation->exit_status = CLI_USAGE;
    return CLI_USAGE;
}

static int stop(struct cli_invocation *invocation, int status)
{
    invocation->exit_status = status;
    return CLI_OPTION_STOP;
}

int cli_option_next(struct cli_invocation *invocation, const struct option *options, bool in_order)
{
    opterr = 0; /* the messages are ours */
    for (;;) {
        /* ':' in front: a missing argument is told from an unknown option. */
        int option =
            getopt_long(invocation->argc, invocation->argv, in_order ? "+:h" : ":h", options, NULL);
        const char *word =
            optind > 0 && optind <= invocation->argc ? invocation->argv[optind - 1] : "";
        switch (option) {
        case -1:
            return CLI_OPTION_END;
        case 'h':
        case CLI_OPTION_HELP:
            print_command_help(invocation->command, stdout);
            return stop(invocation, CLI_OK);
        case CLI_OPTION_JSON:
            invocation->is_json = true;
            break;
        case CLI_OPTION_BUILDING:
            if (!name_is_label(optarg))
                return stop(invocation,
                            cli_usage_error(invocation,
                                            "'%s' cannot be a building's name: use "
                                            "lower-case letters, digits and hyphens, not digits "
                                            "alone",
                                            optarg));
            invocation->building = optarg;
            break;
        case ':':
            return stop(invocation,
                        cli_usage_error(invocation, "option '%s' needs an argument", word));
        case '?':
            /* getopt_long leaves 0 for an unknown long option, the value for a known one. */
            if (optopt != 0 && strncmp(word, "--", 2) == 0)
                return stop(invocation,
                            cli_usage_error(invocation, "option '%s' takes no argument", word));
            if (optopt != 0)
                return stop(invocation,
                            cli_usage_error(invocation, "unknown option '-%c'", optopt));
            return stop(invocation,
                        cli_usage_error(invocation, "unknown or ambiguous option '%s'", word));
        default:
            return option;
        }
    }
}

bool cli_operands_check(struct cli_invocation *invocation, int min, int max)
{
    int count = invocation->argc - optind;
    if (count < min) {
        cli_usage_error(invocation, "an argument is missing");
        return false;
    }
    if (count > max) {
        cli_usage_error(invocation, "'%s' is one argument too many",
                        invocation->argv[optind + max]);
        return false;
    }
    return true;
}

bool cli_options_end(struct cli_invocation *invocation, const struct option *options, int min,
                     int max)
{
    return cli_option_next(invocation, options, false) == CLI_OPTION_END &&
           cli_operands_check(invocation, min, max);
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "foyer: '%s' is not a command of foyer", name);
    const char *suggestion = cli_command_suggest(name);
    if (suggestion != NULL)
        fprintf(stderr, "; did you mean '%s'?\n", suggestion);
    else
        fputs("\n", stderr);
    fputs("See 'foyer help'.\n", stderr);
    return CLI_USAGE;
}

static int run_help(struct cli_invocation *invocation)
{
    static const struct option options[] = {CLI_OPTIONS_COMMON, {0}};
    if (!cli_options_end(invocation, options, 0, 1))
        return invocation->exit_status;
    if (optind == invocation->argc) {
        print_overview(stdout);
        return CLI_OK;
    }
    const struct cli_command *command = cli_command_find(invocation->argv[optind]);
    if (command == NULL)
        return unknown_command(invocation->argv[optind]);
    print_command_help(command, stdout);
    return CLI_OK;
}

static int run_version(struct cli_invocation *invocation)
{
    static const struct option options[] = {CLI_OPTIONS_COMMON, {0}};
    if (!cli_options_end(invocation, options, 0, 0))
        return invocation->exit_status;
    puts("foyer " FOYER_VERSION);
    return CLI_OK;
}

/* A full disk or a closed pipe must not look like success. */
static int flush_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "foyer: cannot write the output: %s\n", strerror(errno));
    return status == CLI_OK ? CLI_FAILURE : status;
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    const struct cli_command *command = cli_command_find(name);
    if (command == NULL)
        return unknown_command(name);
    struct cli_invocation invocation = {
        .command = command,
        .argc = argc - 1,
        .argv = argv + 1,
    };
    return flush_output(command->run(&invocation));
}
