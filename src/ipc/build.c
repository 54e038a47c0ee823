#include "ipc/protocol.h"

uint32_t protocol_build(void)
{
    return FOYER_PROTOCOL_BUILD; /* src/ipc/CMakeLists.txt says what it is */
}
