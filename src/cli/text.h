/*
 * Small pure functions between bytes and what people read and type: names, addresses, times.
 */
#ifndef FOYER_CLI_TEXT_H
#define FOYER_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "foyer/types.h"
#include "ipc/protocol.h"

/*
 * A host label (RFC 1123 section 2.1) made from a program's name: lower case, whatever is not a
 * letter or a digit becomes a hyphen, no hyphen at the ends, at most 63 characters, "program"
 * where nothing is left. "python3.11" -> "python3-11".
 */
void text_label(char ret_label[static FOYER_NAME_MAX], const char *name);

/* The part after the last '/', which is empty for "bin/". Borrowed. */
const char *text_basename(const char *path);

/*
 * A copy that is safe on a terminal: control characters, C1 controls, bidirectional overrides
 * and bytes that are no UTF-8 become \xNN. Programs choose their own names, and an escape
 * sequence in one must not reach the person's terminal. NULL if there is no memory.
 */
char *text_safe(const char *text);
/* Characters of a text from text_safe, which is what it takes on a terminal for most scripts. */
size_t text_width(const char *text);

/* A decimal number without sign, space or anything after it; false if it is more than max. */
bool text_number(const char *text, uint64_t max, uint64_t *ret_number);

/* An address with a prefix length. */
struct text_network {
    struct foyer_addr addr;
    unsigned prefix; /* bits of its own family: 0..32 or 0..128 */
};

bool text_address(const char *text, struct foyer_addr *ret_addr);
/* "10.77.0.1/16", "fd00::1/64". */
bool text_network(const char *text, struct text_network *ret_network);

#define TEXT_ADDRESS_SIZE 48u  /* an address with its terminating 0 */
#define TEXT_ENDPOINT_SIZE 56u /* "[address]:port" */
#define TEXT_TIME_SIZE 32u

void text_format_address(char ret_text[static TEXT_ADDRESS_SIZE], const struct foyer_addr *addr);
/* "10.77.0.2:80", "[fd00::2]:80". */
void text_format_endpoint(char ret_text[static TEXT_ENDPOINT_SIZE],
                          const struct foyer_endpoint *endpoint);
/* Seconds since 1970 as local time, "2026-11-21 10:04:25"; "-" for 0 and what is no time. */
void text_format_time(char ret_text[static TEXT_TIME_SIZE], int64_t time_s);
/* "3 s", "5 min 12 s", "2 h 3 min", "4 d 5 h". */
void text_format_duration(char ret_text[static TEXT_TIME_SIZE], uint64_t duration_s);

/* The port at the end of "address:port", or false. */
bool text_endpoint_port(const char *text, uint16_t *ret_port);

#endif
