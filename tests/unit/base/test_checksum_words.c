/* base/checksum as a machine without vectors has it: the same tests. */
#define CHECKSUM_NO_LANES
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../../src/base/checksum.c"
#include "test_checksum.c"
/* NOLINTEND(bugprone-suspicious-include) */
