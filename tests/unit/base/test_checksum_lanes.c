/* base/checksum as a machine without AVX2 has it: the same tests. */
#define CHECKSUM_NO_AVX2
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "../../../src/base/checksum.c"
#include "test_checksum.c"
/* NOLINTEND(bugprone-suspicious-include) */
