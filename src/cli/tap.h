/*
 * Makes a TAP interface of the machine's kernel and sets up the kernel's side of it, for
 * `foyer link add tap`. What goes through it is foyerd's business, which gets the descriptor.
 *
 * Sources: Documentation/networking/tuntap.rst; rtnetlink(7).
 */
#ifndef FOYER_CLI_TAP_H
#define FOYER_CLI_TAP_H

#include "cli/text.h"

/* An interface's name with its terminating 0 (IFNAMSIZ). */
#define TAP_NAME_SIZE 16u

/* 1..15 visible ASCII characters, none of them '/', ':' or '%', and neither "." nor ".." . */
bool tap_name_is_valid(const char *name);

/*
 * Opens /dev/net/tun and makes the interface: IFF_TAP, IFF_NO_PI, IFF_VNET_HDR. It lives as long
 * as the descriptor. Returns the descriptor (close-on-exec, non-blocking), or: -ENOENT, -ENODEV,
 * -ENXIO: this kernel has no TUN/TAP; -EACCES: /dev/net/tun may not be opened; -EPERM: no
 * CAP_NET_ADMIN; -EBUSY: somebody uses an interface of that name.
 */
int tap_open(const char *name);

/* Adds an address with its network to the interface. -EPERM, -EEXIST, -EOPNOTSUPP (no IPv6). */
int tap_add_address(const char *name, const struct text_network *address);
/* Sets it up, so that packets flow. */
int tap_set_up(const char *name);

#endif
