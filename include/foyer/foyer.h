/* libfoyer: the TCP/IP stack as a library. See host.h for the loop, socket.h for sockets. */
#ifndef FOYER_H
#define FOYER_H

#include "foyer/dhcp.h"
#include "foyer/host.h"
#include "foyer/ring.h"
#include "foyer/socket.h"
#include "foyer/types.h"

#endif
