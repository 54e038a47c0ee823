/* The command `foyer`; everything is in the library, so that unit tests can link it. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
