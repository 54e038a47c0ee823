#include "cli/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void text_label(char ret_label[static FOYER_NAME_MAX], const char *name)
{
    size_t size = 0;
    for (; *name != '\0' && size < FOYER_NAME_MAX - 1; name++) {
        char c = *name;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'z')) {
            if (size == 0 || ret_label[size - 1] == '-')
                continue;
            c = '-';
        }
        ret_label[size++] = c;
    }
    while (size > 0 && ret_label[size - 1] == '-')
        ret_label[--size] = '\0';
    ret_label[size] = '\0';
    if (size == 0) {
        memcpy(ret_label, "program", sizeof("program"));
    } else if (strspn(ret_label, "0123456789") == size) {
        /* A label of digits alone would read as an address. */
        if (size > FOYER_NAME_MAX - 2)
            size = FOYER_NAME_MAX - 2;
        memmove(ret_label + 1, ret_label, size);
        ret_label[0] = 'p';
        ret_label[size + 1] = '\0';
    }
}

const char *text_basename(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Bytes of the UTF-8 sequence that begins a terminated text, or 0 (RFC 3629 section 4). */
static size_t utf8_size(const unsigned char *bytes, uint32_t *ret_code)
{
    static const uint32_t min[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size;
    uint32_t code;
    if (bytes[0] < 0x80) {
        *ret_code = bytes[0];
        return 1;
    }
    if ((bytes[0] & 0xe0) == 0xc0) {
        size = 2;
        code = bytes[0] & 0x1fu;
    } else if ((bytes[0] & 0xf0) == 0xe0) {
        size = 3;
        code = bytes[0] & 0x0fu;
    } else if ((bytes[0] & 0xf8) == 0xf0) {
        size = 4;
        code = bytes[0] & 0x07u;
    } else {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) /* also stops at the terminating 0 */
            return 0;
        code = code << 6 | (bytes[i] & 0x3fu);
    }
    if (code < min[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return size;
}

static bool is_printable(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
        return false;
    /* Unicode line separators, bidirectional marks, embeddings, overrides and isolates. */
    return code != 0x061c && !(code >= 0x200b && code <= 0x200f) &&
           !(code >= 0x2028 && code <= 0x202e) && !(code >= 0x2060 && code <= 0x206f) &&
           code != 0xfeff;
}

char *text_safe(const char *text)
{
    size_t size = strlen(text);
    char *safe = malloc(4 * size + 1); /* \xNN for each */
    if (safe == NULL)
        return NULL;
    char *to = safe;
    const unsigned char *from = (const unsigned char *)text;
    while (*from != '\0') {
        uint32_t code = 0;
        size_t count = utf8_size(from, &code);
        if (count != 0 && is_printable(code)) {
            memcpy(to, from, count);
            to += count;
            from += count;
        } else {
            to += sprintf(to, "\\x%02x", *from);
            from++;
        }
    }
    *to = '\0';
    return safe;
}

size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

bool text_number(const char *text, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        unsigned digit = (unsigned)(*text - '0');
        if (digit > max || number > (max - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return true;
}

bool text_address(const char *text, struct foyer_addr *ret_addr)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, text, bytes) == 1) {
        *ret_addr = foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
        return true;
    }
    if (inet_pton(AF_INET6, text, bytes) != 1)
        return false;
    memcpy(ret_addr->bytes, bytes, sizeof(bytes));
    return true;
}

bool text_network(const char *text, struct text_network *ret_network)
{
    char address[TEXT_ADDRESS_SIZE];
    struct text_network network;
    const char *slash = strchr(text, '/');
    if (slash == NULL || (size_t)(slash - text) >= sizeof(address))
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    uint64_t prefix;
    if (!text_address(address, &network.addr) ||
        !text_number(slash + 1, foyer_addr_is_v4(&network.addr) ? 32 : 128, &prefix))
        return false;
    network.prefix = (unsigned)prefix;
    *ret_network = network;
    return true;
}

void text_format_address(char ret_text[static TEXT_ADDRESS_SIZE], const struct foyer_addr *addr)
{
    const char *text = foyer_addr_is_v4(addr)
                           ? inet_ntop(AF_INET, addr->bytes + 12, ret_text, TEXT_ADDRESS_SIZE)
                           : inet_ntop(AF_INET6, addr->bytes, ret_text, TEXT_ADDRESS_SIZE);
    if (text == NULL) /* cannot happen: there is room for both families */
        ret_text[0] = '\0';
}

void text_format_endpoint(char ret_text[static TEXT_ENDPOINT_SIZE],
                          const struct foyer_endpoint *endpoint)
{
    char address[TEXT_ADDRESS_SIZE];
    text_format_address(address, &endpoint->addr);
    const char *form = foyer_addr_is_v4(&endpoint->addr) ? "%s:%u" : "[%s]:%u";
    snprintf(ret_text, TEXT_ENDPOINT_SIZE, form, address, endpoint->port);
}

void text_format_time(char ret_text[static TEXT_TIME_SIZE], int64_t time_s)
{
    struct tm tm;
    time_t time = (time_t)time_s;
    if (time_s <= 0 || localtime_r(&time, &tm) == NULL ||
        strftime(ret_text, TEXT_TIME_SIZE, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        memcpy(ret_text, "-", 2);
}

void text_format_duration(char ret_text[static TEXT_TIME_SIZE], uint64_t duration_s)
{
    unsigned long long s = duration_s;
    if (s < 60)
        snprintf(ret_text, TEXT_TIME_SIZE, "%llu s", s);
    else if (s < 3600)
        snprintf(ret_text, TEXT_TIME_SIZE, "%llu min %llu s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(ret_text, TEXT_TIME_SIZE, "%llu h %llu min", s / 3600, s % 3600 / 60);
    else
        snprintf(ret_text, TEXT_TIME_SIZE, "%llu d %llu h", s / 86400, s % 86400 / 3600);
}

bool text_endpoint_port(const char *text, uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || !text_number(colon + 1, UINT16_MAX, &port))
        return false;
    *ret_port = (uint16_t)port;
    return true;
}
