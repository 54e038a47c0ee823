/* DHCPv4 messages (RFC 2131 section 2, RFC 2132, RFC 3396, RFC 3442, RFC 4039). */
#include "wire/dhcp4.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define SNAME_AT 44u
#define SNAME_SIZE 64u
#define FILE_AT 108u
#define FILE_SIZE 128u
#define COOKIE_AT 236u
#define OPTIONS_AT 240u
#define COOKIE 0x63825363u /* RFC 2131 section 3 */
#define HARDWARE_ETHERNET 1u
#define FLAG_BROADCAST 0x8000u

enum option {
    OPTION_PAD = 0,
    OPTION_REQUESTED = 50,
    OPTION_LEASE = 51,
    OPTION_OVERLOAD = 52,
    OPTION_TYPE = 53,
    OPTION_SERVER_ID = 54,
    OPTION_PARAMETERS = 55,
    OPTION_MAX_SIZE = 57,
    OPTION_CLIENT_ID = 61,
    OPTION_RAPID_COMMIT = 80,
    OPTION_END = 255,
};

/* ---- in: options in up to three fields ------------------------------------------------------- */

struct field {
    const uint8_t *bytes;
    size_t size;
};

struct fields {
    struct field field[3]; /* options, file, sname: the order of RFC 3396 section 5 */
    unsigned count;
};

/* Is each option whole? RFC 2131 section 4.1: a field ends with END or where it ends. */
static bool is_sound(const struct field *field)
{
    size_t at = 0;
    while (at < field->size && field->bytes[at] != OPTION_END) {
        if (field->bytes[at] == OPTION_PAD) {
            at++;
            continue;
        }
        if (field->size - at < 2 || field->size - at - 2 < field->bytes[at + 1])
            return false;
        at += 2u + field->bytes[at + 1];
    }
    return true;
}

/*
 * All pieces of an option, one behind the other (RFC 3396 section 7); *ret_is_there also where it
 * is empty. What does not fit is cut.
 */
static size_t gather(const struct fields *fields, unsigned code, uint8_t *bytes, size_t capacity,
                     bool *ret_is_there)
{
    size_t size = 0;
    *ret_is_there = false;
    for (unsigned f = 0; f < fields->count; f++) {
        const struct field *field = &fields->field[f];
        size_t at = 0;
        while (at < field->size && field->bytes[at] != OPTION_END) {
            if (field->bytes[at] == OPTION_PAD) {
                at++;
                continue;
            }
            size_t piece = field->bytes[at + 1];
            if (field->bytes[at] == code) {
                size_t take = piece < capacity - size ? piece : capacity - size;
                memcpy(bytes + size, field->bytes + at + 2, take);
                size += take;
                *ret_is_there = true;
            }
            at += 2 + piece;
        }
    }
    return size;
}

static bool find_fields(const uint8_t *bytes, size_t size, struct fields *ret_fields)
{
    struct fields fields = {.field = {{bytes + OPTIONS_AT, size - OPTIONS_AT}}, .count = 1};
    uint8_t overload;
    bool is_there;

    if (!is_sound(&fields.field[0]))
        return false;
    if (gather(&fields, OPTION_OVERLOAD, &overload, 1, &is_there) == 1) {
        if (overload & 1)
            fields.field[fields.count++] = (struct field){bytes + FILE_AT, FILE_SIZE};
        if (overload & 2)
            fields.field[fields.count++] = (struct field){bytes + SNAME_AT, SNAME_SIZE};
    }
    for (unsigned f = 1; f < fields.count; f++) {
        if (!is_sound(&fields.field[f]))
            return false;
    }
    *ret_fields = fields;
    return true;
}

/* ---- in: what the options say --------------------------------------------------------------------- */

static struct foyer_addr load_addr(const uint8_t *bytes)
{
    return foyer_addr_v4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

static void take_addr(const struct fields *fields, unsigned code, struct foyer_addr *ret_addr)
{
    uint8_t bytes[5];
    bool is_there;
    if (gather(fields, code, bytes, sizeof(bytes), &is_there) == 4)
        *ret_addr = load_addr(bytes);
}

static void take_addrs(const struct fields *fields, unsigned code,
                       struct wire_dhcp4_addrs *ret_addrs)
{
    uint8_t bytes[sizeof(ret_addrs->addrs) / sizeof(ret_addrs->addrs[0]) * 4];
    bool is_there;
    size_t size = gather(fields, code, bytes, sizeof(bytes), &is_there);
    for (size_t at = 0; at + 4 <= size; at += 4)
        ret_addrs->addrs[ret_addrs->count++] = load_addr(bytes + at);
}

static bool take_time(const struct fields *fields, unsigned code, uint32_t *ret_seconds)
{
    uint8_t bytes[5];
    bool is_there;
    if (gather(fields, code, bytes, sizeof(bytes), &is_there) != 4)
        return false;
    *ret_seconds = load_be32(bytes);
    return true;
}

static uint16_t take_u16(const struct fields *fields, unsigned code)
{
    uint8_t bytes[3];
    bool is_there;
    return gather(fields, code, bytes, sizeof(bytes), &is_there) == 2 ? load_be16(bytes) : 0;
}

static void take_name(const struct fields *fields, unsigned code, struct wire_dhcp4_name *ret_name)
{
    bool is_there;
    ret_name->size = (uint8_t)gather(fields, code, (uint8_t *)ret_name->bytes,
                                     sizeof(ret_name->bytes), &is_there);
}

/* RFC 2132 section 3.3; a mask with holes is none. */
static void take_mask(const struct fields *fields, struct wire_dhcp4 *dhcp)
{
    uint32_t mask;
    if (!take_time(fields, WIRE_DHCP4_SUBNET_MASK, &mask) || (~mask & (~mask + 1)) != 0)
        return;
    dhcp->has_mask = true;
    while (mask != 0) {
        dhcp->prefix_length++;
        mask <<= 1;
    }
}

/* RFC 3442: length, its significant bytes, router. Nothing of a list that is damaged counts. */
static void take_routes(const struct fields *fields, struct wire_dhcp4 *dhcp)
{
    uint8_t bytes[WIRE_DHCP4_ROUTES_MAX * 9];
    size_t at = 0;
    uint8_t count = 0;
    bool is_there;
    size_t size = gather(fields, WIRE_DHCP4_CLASSLESS_ROUTES, bytes, sizeof(bytes), &is_there);

    while (at < size && count < WIRE_DHCP4_ROUTES_MAX) {
        struct wire_dhcp4_route *route = &dhcp->routes[count];
        size_t significant = (bytes[at] + 7u) / 8u;
        if (bytes[at] > 32)
            return;
        if (size - at < 1 + significant + 4)
            break; /* damaged, or cut because there was more than fits */
        *route = (struct wire_dhcp4_route){.prefix = foyer_addr_v4(0, 0, 0, 0),
                                           .prefix_length = bytes[at],
                                           .gateway = load_addr(bytes + at + 1 + significant)};
        memcpy(route->prefix.bytes + 12, bytes + at + 1, significant);
        at += 1 + significant + 4;
        count++;
    }
    if (at < size && size < sizeof(bytes) && count < WIRE_DHCP4_ROUTES_MAX)
        return;
    dhcp->has_routes = count > 0;
    dhcp->route_count = count;
}

static void take_options(const struct fields *fields, struct wire_dhcp4 *dhcp)
{
    uint8_t rapid;
    take_addr(fields, OPTION_REQUESTED, &dhcp->requested);
    take_addr(fields, OPTION_SERVER_ID, &dhcp->server_id);
    dhcp->has_lease = take_time(fields, OPTION_LEASE, &dhcp->lease_s);
    dhcp->has_renewal = take_time(fields, WIRE_DHCP4_RENEWAL_TIME, &dhcp->renewal_s);
    dhcp->has_rebinding = take_time(fields, WIRE_DHCP4_REBINDING_TIME, &dhcp->rebinding_s);
    take_mask(fields, dhcp);
    (void)gather(fields, OPTION_RAPID_COMMIT, &rapid, 1, &dhcp->is_rapid_commit);
    dhcp->mtu = take_u16(fields, WIRE_DHCP4_INTERFACE_MTU);
    dhcp->max_size = take_u16(fields, OPTION_MAX_SIZE);
    take_addrs(fields, WIRE_DHCP4_ROUTERS, &dhcp->routers);
    take_addrs(fields, WIRE_DHCP4_NAME_SERVERS, &dhcp->name_servers);
    take_addrs(fields, WIRE_DHCP4_TIME_SERVERS, &dhcp->time_servers);
    take_routes(fields, dhcp);
    take_name(fields, WIRE_DHCP4_DOMAIN_NAME, &dhcp->domain);
    take_name(fields, WIRE_DHCP4_HOST_NAME, &dhcp->host_name);
}

static void take_lists(const struct fields *fields, struct wire_dhcp4 *dhcp)
{
    bool is_there;
    dhcp->client_id_size = (uint8_t)gather(fields, OPTION_CLIENT_ID, dhcp->client_id,
                                           sizeof(dhcp->client_id), &is_there);
    dhcp->parameter_count = (uint8_t)gather(fields, OPTION_PARAMETERS, dhcp->parameters,
                                            sizeof(dhcp->parameters), &is_there);
}

int wire_dhcp4_parse(const uint8_t *bytes, size_t size, struct wire_dhcp4 *ret)
{
    struct fields fields;
    uint8_t type;
    bool is_there;

    if (size < OPTIONS_AT || load_be32(bytes + COOKIE_AT) != COOKIE ||
        bytes[1] != HARDWARE_ETHERNET || bytes[2] != 6 || !find_fields(bytes, size, &fields) ||
        gather(&fields, OPTION_TYPE, &type, 1, &is_there) != 1)
        return -EINVAL;
    memset(ret, 0, sizeof(*ret));
    ret->op = bytes[0];
    ret->type = type;
    ret->xid = load_be32(bytes + 4);
    ret->seconds = load_be16(bytes + 8);
    ret->is_broadcast = (load_be16(bytes + 10) & FLAG_BROADCAST) != 0;
    ret->client = load_addr(bytes + 12);
    ret->yours = load_addr(bytes + 16);
    ret->server = load_addr(bytes + 20);
    ret->relay = load_addr(bytes + 24);
    memcpy(ret->mac, bytes + 28, 6);
    ret->requested = ret->server_id = foyer_addr_v4(0, 0, 0, 0);
    take_options(&fields, ret);
    take_lists(&fields, ret);
    return (int)size;
}

/* ---- out -------------------------------------------------------------------------------------------- */

/* Where the next option goes; what does not fit any more is left out whole. */
struct writer {
    uint8_t *bytes;
    size_t at;
};

static void put(struct writer *writer, unsigned code, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    /* RFC 3396: what is longer than 255 bytes goes in pieces. One byte is left for END. */
    if (WIRE_DHCP4_SIZE_MAX - 1 - writer->at < size + 2 * (size / 255 + 1))
        return;
    do {
        size_t piece = size < 255 ? size : 255;
        writer->bytes[writer->at] = (uint8_t)code;
        writer->bytes[writer->at + 1] = (uint8_t)piece;
        if (piece > 0) { /* else bytes may be NULL */
            memcpy(writer->bytes + writer->at + 2, from, piece);
            from += piece;
        }
        writer->at += 2 + piece;
        size -= piece;
    } while (size > 0);
}

static void put_u32(struct writer *writer, unsigned code, uint32_t value)
{
    uint8_t bytes[4];
    store_be32(bytes, value);
    put(writer, code, bytes, 4);
}

static void put_u16(struct writer *writer, unsigned code, uint16_t value)
{
    uint8_t bytes[2];
    store_be16(bytes, value);
    if (value != 0)
        put(writer, code, bytes, 2);
}

static void put_addr(struct writer *writer, unsigned code, const struct foyer_addr *addr)
{
    if (!foyer_addr_is_any(addr))
        put(writer, code, addr->bytes + 12, 4);
}

static void put_addrs(struct writer *writer, unsigned code, const struct wire_dhcp4_addrs *addrs)
{
    uint8_t bytes[sizeof(addrs->addrs) / sizeof(addrs->addrs[0]) * 4];
    for (unsigned i = 0; i < addrs->count; i++)
        memcpy(bytes + 4u * i, addrs->addrs[i].bytes + 12, 4);
    if (addrs->count > 0)
        put(writer, code, bytes, 4u * addrs->count);
}

static void put_routes(struct writer *writer, const struct wire_dhcp4 *dhcp)
{
    uint8_t bytes[WIRE_DHCP4_ROUTES_MAX * 9];
    size_t at = 0;
    for (unsigned i = 0; i < dhcp->route_count && i < WIRE_DHCP4_ROUTES_MAX; i++) {
        const struct wire_dhcp4_route *route = &dhcp->routes[i];
        size_t significant = (route->prefix_length + 7u) / 8u;
        bytes[at] = route->prefix_length;
        memcpy(bytes + at + 1, route->prefix.bytes + 12, significant);
        memcpy(bytes + at + 1 + significant, route->gateway.bytes + 12, 4);
        at += 1 + significant + 4;
    }
    if (at > 0)
        put(writer, WIRE_DHCP4_CLASSLESS_ROUTES, bytes, at);
}

static void put_options(struct writer *writer, const struct wire_dhcp4 *dhcp)
{
    put(writer, OPTION_TYPE, &dhcp->type, 1);
    if (dhcp->client_id_size > 0)
        put(writer, OPTION_CLIENT_ID, dhcp->client_id, dhcp->client_id_size);
    put_addr(writer, OPTION_SERVER_ID, &dhcp->server_id);
    put_addr(writer, OPTION_REQUESTED, &dhcp->requested);
    put_u16(writer, OPTION_MAX_SIZE, dhcp->max_size);
    if (dhcp->has_lease)
        put_u32(writer, OPTION_LEASE, dhcp->lease_s);
    if (dhcp->has_renewal)
        put_u32(writer, WIRE_DHCP4_RENEWAL_TIME, dhcp->renewal_s);
    if (dhcp->has_rebinding)
        put_u32(writer, WIRE_DHCP4_REBINDING_TIME, dhcp->rebinding_s);
    if (dhcp->has_mask)
        put_u32(writer, WIRE_DHCP4_SUBNET_MASK,
                dhcp->prefix_length == 0 ? 0 : UINT32_MAX << (32 - dhcp->prefix_length));
    if (dhcp->is_rapid_commit)
        put(writer, OPTION_RAPID_COMMIT, NULL, 0);
    put_u16(writer, WIRE_DHCP4_INTERFACE_MTU, dhcp->mtu);
    put_addrs(writer, WIRE_DHCP4_ROUTERS, &dhcp->routers);
    put_addrs(writer, WIRE_DHCP4_NAME_SERVERS, &dhcp->name_servers);
    put_addrs(writer, WIRE_DHCP4_TIME_SERVERS, &dhcp->time_servers);
    put_routes(writer, dhcp);
    if (dhcp->parameter_count > 0)
        put(writer, OPTION_PARAMETERS, dhcp->parameters, dhcp->parameter_count);
    if (dhcp->host_name.size > 0)
        put(writer, WIRE_DHCP4_HOST_NAME, dhcp->host_name.bytes, dhcp->host_name.size);
    if (dhcp->domain.size > 0)
        put(writer, WIRE_DHCP4_DOMAIN_NAME, dhcp->domain.bytes, dhcp->domain.size);
}

size_t wire_dhcp4_emit(uint8_t *bytes, const struct wire_dhcp4 *dhcp)
{
    struct writer writer = {.bytes = bytes, .at = OPTIONS_AT};

    memset(bytes, 0, WIRE_DHCP4_SIZE_MIN);
    bytes[0] = dhcp->op;
    bytes[1] = HARDWARE_ETHERNET;
    bytes[2] = 6;
    store_be32(bytes + 4, dhcp->xid);
    store_be16(bytes + 8, dhcp->seconds);
    store_be16(bytes + 10, dhcp->is_broadcast ? FLAG_BROADCAST : 0);
    memcpy(bytes + 12, dhcp->client.bytes + 12, 4);
    memcpy(bytes + 16, dhcp->yours.bytes + 12, 4);
    memcpy(bytes + 20, dhcp->server.bytes + 12, 4);
    memcpy(bytes + 24, dhcp->relay.bytes + 12, 4);
    memcpy(bytes + 28, dhcp->mac, 6);
    store_be32(bytes + COOKIE_AT, COOKIE);
    put_options(&writer, dhcp);
    bytes[writer.at++] = OPTION_END;
    return writer.at < WIRE_DHCP4_SIZE_MIN ? WIRE_DHCP4_SIZE_MIN : writer.at;
}
