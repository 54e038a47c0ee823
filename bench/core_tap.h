/* One end of the TAP rows: a namespace, its TAP, and a kernel's socket behind it. */
#ifndef FOYER_BENCH_CORE_TAP_H
#define FOYER_BENCH_CORE_TAP_H

#include <stdbool.h>
#include <stdint.h>

#include "link/tap.h"

#define TAP_PORT 7
#define TAP_KERNEL_ADDR 0x0a090001u /* 10.9.0.1 */
#define TAP_STACK_ADDR 0x0a090002u  /* 10.9.0.2 */

struct tap {
    int space; /* network namespace */
    struct link *link;
    int listener, socket;
    uint8_t *from, *to; /* the program's buffers */
};

/* False: cannot run here; the reason went to stderr. */
bool tap_open(struct tap *tap, bool no_receive_offload);
void tap_close(struct tap *tap);
/* The kernel's end: takes the connection (false: not yet), sends all it can, receives all there is. */
bool tap_kernel_accept(struct tap *tap);
void tap_kernel_send(struct tap *tap);
uint64_t tap_kernel_recv(struct tap *tap);

#endif
