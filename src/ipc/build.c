#include "ipc/protocol.h"

#ifndef FOYER_PROTOCOL_BUILD
#error "src/ipc/CMakeLists.txt says what FOYER_PROTOCOL_BUILD is"
#endif

uint32_t protocol_build(void)
{
    return FOYER_PROTOCOL_BUILD;
}
