/* DHCPv6 messages (RFC 8415 sections 8 and 21, RFC 3646). */
#include "wire/dhcp6.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define HEADER_SIZE 4u
#define OPTION_HEADER_SIZE 4u
#define IA_SIZE 12u
#define ADDRESS_SIZE 24u

enum option {
    OPTION_CLIENT_ID = 1,
    OPTION_SERVER_ID = 2,
    OPTION_IA_NA = 3,
    OPTION_ADDRESS = 5,
    OPTION_PARAMETERS = 6,
    OPTION_PREFERENCE = 7,
    OPTION_ELAPSED = 8,
    OPTION_STATUS = 13,
    OPTION_RAPID_COMMIT = 14,
};

/* All options at once, with the largest values: nothing is ever cut on the way out. */
static_assert(HEADER_SIZE + 2 * (OPTION_HEADER_SIZE + WIRE_DHCP6_DUID_MAX) + OPTION_HEADER_SIZE +
                      IA_SIZE + 6 +
                      WIRE_DHCP6_ADDRESSES_MAX * (OPTION_HEADER_SIZE + ADDRESS_SIZE + 6) + 6 + 6 +
                      5 + 4 + OPTION_HEADER_SIZE + 2 * WIRE_DHCP6_PARAMETERS_MAX +
                      OPTION_HEADER_SIZE + 16 * WIRE_DHCP6_NAME_SERVERS_MAX + OPTION_HEADER_SIZE +
                      WIRE_DHCP6_DOMAINS_MAX + 3 * 8 <=
                  WIRE_DHCP6_SIZE_MAX,
              "a message fits");

/* ---- in ------------------------------------------------------------------------------------------ */

struct option_view {
    uint16_t code;
    uint16_t size;
    const uint8_t *bytes;
};

/* The option at *at, which moves behind it. 1; 0: the end; -EINVAL: runs over it. */
static int next_option(const uint8_t *bytes, size_t size, size_t *at, struct option_view *ret)
{
    if (*at == size)
        return 0;
    if (size - *at < OPTION_HEADER_SIZE)
        return -EINVAL;
    ret->code = load_be16(bytes + *at);
    ret->size = load_be16(bytes + *at + 2);
    ret->bytes = bytes + *at + OPTION_HEADER_SIZE;
    if (ret->size > size - *at - OPTION_HEADER_SIZE)
        return -EINVAL;
    *at += OPTION_HEADER_SIZE + ret->size;
    return 1;
}

/* A status code is followed by words for people, which nobody here reads. */
static void take_status(const struct option_view *option, uint16_t *ret_status)
{
    if (option->code == OPTION_STATUS && option->size >= 2)
        *ret_status = load_be16(option->bytes);
}

static int take_address(const struct option_view *option, struct wire_dhcp6 *dhcp)
{
    struct wire_dhcp6_address address = {0};
    struct option_view inner;
    size_t at = ADDRESS_SIZE;
    int more;

    if (option->size < ADDRESS_SIZE)
        return -EINVAL;
    memcpy(address.addr.bytes, option->bytes, 16);
    address.preferred_s = load_be32(option->bytes + 16);
    address.valid_s = load_be32(option->bytes + 20);
    while ((more = next_option(option->bytes, option->size, &at, &inner)) > 0)
        take_status(&inner, &address.status);
    if (more < 0)
        return more;
    if (dhcp->address_count < WIRE_DHCP6_ADDRESSES_MAX && !foyer_addr_is_v4(&address.addr))
        dhcp->addresses[dhcp->address_count++] = address;
    return 0;
}

static int take_ia(const struct option_view *option, struct wire_dhcp6 *dhcp)
{
    struct option_view inner;
    size_t at = IA_SIZE;
    int more;

    if (option->size < IA_SIZE)
        return -EINVAL;
    if (dhcp->has_ia)
        return 0;
    dhcp->has_ia = true;
    dhcp->iaid = load_be32(option->bytes);
    dhcp->t1_s = load_be32(option->bytes + 4);
    dhcp->t2_s = load_be32(option->bytes + 8);
    while ((more = next_option(option->bytes, option->size, &at, &inner)) > 0) {
        take_status(&inner, &dhcp->ia_status);
        int error = inner.code == OPTION_ADDRESS ? take_address(&inner, dhcp) : 0;
        if (error < 0)
            return error;
    }
    return more;
}

static int take_duid(const struct option_view *option, struct wire_dhcp6_duid *ret_duid)
{
    if (option->size == 0 || option->size > WIRE_DHCP6_DUID_MAX)
        return -EINVAL;
    ret_duid->size = (uint8_t)option->size;
    memcpy(ret_duid->bytes, option->bytes, option->size);
    return 0;
}

static void take_name_servers(const struct option_view *option, struct wire_dhcp6 *dhcp)
{
    for (size_t at = 0;
         at + 16 <= option->size && dhcp->name_server_count < WIRE_DHCP6_NAME_SERVERS_MAX;
         at += 16) {
        struct foyer_addr *addr = &dhcp->name_servers[dhcp->name_server_count];
        memcpy(addr->bytes, option->bytes + at, 16);
        if (!foyer_addr_is_v4(addr))
            dhcp->name_server_count++;
    }
}

static void take_parameters(const struct option_view *option, struct wire_dhcp6 *dhcp)
{
    dhcp->parameter_count = 0;
    for (size_t at = 0; at + 2 <= option->size && dhcp->parameter_count < WIRE_DHCP6_PARAMETERS_MAX;
         at += 2)
        dhcp->parameters[dhcp->parameter_count++] = load_be16(option->bytes + at);
}

static void take_u32(const struct option_view *option, uint32_t *ret_value)
{
    if (option->size == 4)
        *ret_value = load_be32(option->bytes);
}

static int take_option(const struct option_view *option, struct wire_dhcp6 *dhcp)
{
    switch (option->code) {
    case OPTION_CLIENT_ID:
        return take_duid(option, &dhcp->client_id);
    case OPTION_SERVER_ID:
        return take_duid(option, &dhcp->server_id);
    case OPTION_IA_NA:
        return take_ia(option, dhcp);
    case OPTION_STATUS:
        take_status(option, &dhcp->status);
        break;
    case OPTION_PARAMETERS:
        take_parameters(option, dhcp);
        break;
    case OPTION_PREFERENCE:
        if (option->size == 1)
            dhcp->preference = option->bytes[0];
        break;
    case OPTION_ELAPSED:
        if (option->size == 2) {
            dhcp->has_elapsed = true;
            dhcp->elapsed_cs = load_be16(option->bytes);
        }
        break;
    case OPTION_RAPID_COMMIT:
        dhcp->is_rapid_commit = true;
        break;
    case WIRE_DHCP6_NAME_SERVERS:
        take_name_servers(option, dhcp);
        break;
    case WIRE_DHCP6_DOMAINS:
        if (option->size <= WIRE_DHCP6_DOMAINS_MAX) {
            dhcp->domains_size = (uint8_t)option->size;
            memcpy(dhcp->domains, option->bytes, option->size);
        }
        break;
    case WIRE_DHCP6_REFRESH_TIME:
        take_u32(option, &dhcp->refresh_s);
        break;
    case WIRE_DHCP6_SOL_MAX_RT:
        take_u32(option, &dhcp->sol_max_rt_s);
        break;
    case WIRE_DHCP6_INF_MAX_RT:
        take_u32(option, &dhcp->inf_max_rt_s);
        break;
    default:
        break;
    }
    return 0;
}

int wire_dhcp6_parse(const uint8_t *bytes, size_t size, struct wire_dhcp6 *ret)
{
    struct option_view option;
    size_t at = HEADER_SIZE;
    int more;

    if (size < HEADER_SIZE)
        return -EINVAL;
    memset(ret, 0, sizeof(*ret));
    ret->type = bytes[0];
    ret->xid = load_be32(bytes) & 0xffffffu;
    while ((more = next_option(bytes, size, &at, &option)) > 0) {
        int error = take_option(&option, ret);
        if (error < 0)
            return error;
    }
    return more < 0 ? more : (int)size;
}

/* ---- out ------------------------------------------------------------------------------------------- */

static size_t put_header(uint8_t *bytes, unsigned code, size_t size)
{
    store_be16(bytes, (uint16_t)code);
    store_be16(bytes + 2, (uint16_t)size);
    return OPTION_HEADER_SIZE;
}

static size_t put_bytes(uint8_t *bytes, unsigned code, const void *from, size_t size)
{
    put_header(bytes, code, size);
    memcpy(bytes + OPTION_HEADER_SIZE, from, size);
    return OPTION_HEADER_SIZE + size;
}

static size_t put_u16(uint8_t *bytes, unsigned code, uint16_t value)
{
    uint8_t field[2];
    store_be16(field, value);
    return put_bytes(bytes, code, field, 2);
}

static size_t put_u32_given(uint8_t *bytes, unsigned code, uint32_t value)
{
    uint8_t field[4];
    store_be32(field, value);
    return value == 0 ? 0 : put_bytes(bytes, code, field, 4);
}

static size_t put_status(uint8_t *bytes, uint16_t status)
{
    return status == WIRE_DHCP6_SUCCESS ? 0 : put_u16(bytes, OPTION_STATUS, status);
}

static size_t put_ia(uint8_t *bytes, const struct wire_dhcp6 *dhcp)
{
    size_t at = OPTION_HEADER_SIZE;
    store_be32(bytes + at, dhcp->iaid);
    store_be32(bytes + at + 4, dhcp->t1_s);
    store_be32(bytes + at + 8, dhcp->t2_s);
    at += IA_SIZE;
    for (unsigned i = 0; i < dhcp->address_count && i < WIRE_DHCP6_ADDRESSES_MAX; i++) {
        const struct wire_dhcp6_address *address = &dhcp->addresses[i];
        uint8_t *option = bytes + at;
        memcpy(option + OPTION_HEADER_SIZE, address->addr.bytes, 16);
        store_be32(option + OPTION_HEADER_SIZE + 16, address->preferred_s);
        store_be32(option + OPTION_HEADER_SIZE + 20, address->valid_s);
        size_t status = put_status(option + OPTION_HEADER_SIZE + ADDRESS_SIZE, address->status);
        put_header(option, OPTION_ADDRESS, ADDRESS_SIZE + status);
        at += OPTION_HEADER_SIZE + ADDRESS_SIZE + status;
    }
    at += put_status(bytes + at, dhcp->ia_status);
    put_header(bytes, OPTION_IA_NA, at - OPTION_HEADER_SIZE);
    return at;
}

static size_t put_parameters(uint8_t *bytes, const struct wire_dhcp6 *dhcp)
{
    size_t count = dhcp->parameter_count;
    if (count == 0)
        return 0;
    put_header(bytes, OPTION_PARAMETERS, 2 * count);
    for (size_t i = 0; i < count; i++)
        store_be16(bytes + OPTION_HEADER_SIZE + 2 * i, dhcp->parameters[i]);
    return OPTION_HEADER_SIZE + 2 * count;
}

size_t wire_dhcp6_emit(uint8_t *bytes, const struct wire_dhcp6 *dhcp)
{
    size_t at = HEADER_SIZE;

    store_be32(bytes, (uint32_t)dhcp->type << 24 | (dhcp->xid & 0xffffffu));
    if (dhcp->client_id.size > 0)
        at += put_bytes(bytes + at, OPTION_CLIENT_ID, dhcp->client_id.bytes, dhcp->client_id.size);
    if (dhcp->server_id.size > 0)
        at += put_bytes(bytes + at, OPTION_SERVER_ID, dhcp->server_id.bytes, dhcp->server_id.size);
    if (dhcp->has_elapsed)
        at += put_u16(bytes + at, OPTION_ELAPSED, dhcp->elapsed_cs);
    if (dhcp->preference != 0)
        at += put_bytes(bytes + at, OPTION_PREFERENCE, &dhcp->preference, 1);
    at += put_status(bytes + at, dhcp->status);
    if (dhcp->is_rapid_commit)
        at += put_header(bytes + at, OPTION_RAPID_COMMIT, 0);
    if (dhcp->has_ia)
        at += put_ia(bytes + at, dhcp);
    at += put_parameters(bytes + at, dhcp);
    if (dhcp->name_server_count > 0) {
        size_t count = dhcp->name_server_count;
        at += put_bytes(bytes + at, WIRE_DHCP6_NAME_SERVERS, dhcp->name_servers,
                        count * sizeof(dhcp->name_servers[0]));
    }
    if (dhcp->domains_size > 0)
        at += put_bytes(bytes + at, WIRE_DHCP6_DOMAINS, dhcp->domains, dhcp->domains_size);
    at += put_u32_given(bytes + at, WIRE_DHCP6_REFRESH_TIME, dhcp->refresh_s);
    at += put_u32_given(bytes + at, WIRE_DHCP6_SOL_MAX_RT, dhcp->sol_max_rt_s);
    at += put_u32_given(bytes + at, WIRE_DHCP6_INF_MAX_RT, dhcp->inf_max_rt_s);
    return at;
}
