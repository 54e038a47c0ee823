/*
 * The foyer command's requests. One function per command; each returns the answer, which is an
 * object, or fail(...). The protocol is docs/control.md.
 */
#define _GNU_SOURCE /* memfd_create */

#include "daemon/control.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/accept.h"
#include "daemon/daemon.h"
#include "daemon/direct.h"
#include "daemon/keep.h"
#include "daemon/links.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/session.h"

/* ---- errors --------------------------------------------------------------------------------- */

static const char *error_code(int error)
{
    switch (error) {
    case ENOENT:
        return "ENOENT";
    case EEXIST:
        return "EEXIST";
    case EBUSY:
        return "EBUSY";
    case ENOSPC:
        return "ENOSPC";
    case EOPNOTSUPP:
        return "EOPNOTSUPP";
    case EPERM:
        return "EPERM";
    case ENOMEM:
        return "ENOMEM";
    default:
        return "EINVAL";
    }
}

static json_t *fail(int error, const char *form, ...) __attribute__((format(printf, 2, 3)));
static json_t *fail(int error, const char *form, ...)
{
    va_list arguments;
    va_start(arguments, form);
    json_t *message = json_vsprintf(form, arguments);
    va_end(arguments);
    if (message == NULL)
        message = json_string("the error's text is not UTF-8");
    return json_pack("{s:{s:s, s:o}}", "error", "code", error_code(error), "message", message);
}

/* Names of programs may be any bytes; JSON takes UTF-8. */
static json_t *text_or_placeholder(const char *text)
{
    json_t *string = json_string(text);
    return string != NULL ? string : json_string("?");
}

static const char *member_string(const json_t *request, const char *name)
{
    const char *text = json_string_value(json_object_get(request, name));
    return text;
}

/* ---- status, hosts -------------------------------------------------------------------------------- */

static json_t *address_json(const struct foyer_addr *addr)
{
    char text[NETWORK_TEXT_SIZE];
    address_format(addr, text);
    return json_string(text);
}

static json_t *network_json(const struct network *network)
{
    char text[NETWORK_TEXT_SIZE];
    network_format(network, text);
    return json_string(text);
}

static bool is_listed(const struct building_host *host)
{
    return !host->is_retiring;
}

static json_t *serve_status(struct daemon *daemon)
{
    const struct building *building = &daemon->building;
    double uptime_s = (double)(daemon->loop.now_ns - daemon->started_ns) / (double)FOYER_NS_PER_S;
    json_int_t host_count = 0;
    LIST_FOREACH (&building->hosts, node) {
        host_count += is_listed(LIST_ENTRY(node, struct building_host, node)) ? 1 : 0;
    }
    return json_pack(
        "{s:s, s:s, s:i, s:f, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I}", "version",
        FOYER_VERSION, "building", building->name, "pid", (int)getpid(), "uptime_s", uptime_s,
        "socket", text_or_placeholder(daemon->paths.socket), "net4", network_json(&building->net4),
        "net6", network_json(&building->net6), "gateway4", address_json(&building->gateway4),
        "gateway6", address_json(&building->gateway6), "hosts", host_count, "sockets",
        (json_int_t)daemon->psockets.count, "sessions", (json_int_t)daemon->session_count, "links",
        (json_int_t)daemon->fabric.link_count);
}

static json_int_t count_programs(const struct daemon *daemon, const struct building_host *host)
{
    json_int_t count = 0;
    LIST_FOREACH (&daemon->sessions, node) {
        const struct session *session = LIST_ENTRY(node, struct session, node);
        count += session->arena != NULL && session->host == host ? 1 : 0;
    }
    return count;
}

static json_t *host_json(const struct building_host *host)
{
    const uint8_t *mac = host->mac;
    return json_pack("{s:s, s:o, s:o, s:o, s:b, s:I, s:I}", "name", host->name, "address4",
                     address_json(&host->addr4), "address6", address_json(&host->addr6), "mac",
                     json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                                  mac[4], mac[5]),
                     "persistent", host->is_persistent, "programs",
                     count_programs(host->daemon, host), "sockets", (json_int_t)host->socket_count);
}

static json_t *serve_hosts(struct daemon *daemon)
{
    json_t *list = json_array();
    LIST_FOREACH (&daemon->building.hosts, node) {
        const struct building_host *host = LIST_ENTRY(node, struct building_host, node);
        if (is_listed(host))
            json_array_append_new(list, host_json(host));
    }
    return json_pack("{s:o}", "hosts", list);
}

/* An optional address of the request: false where it is there and is none of its family. */
static bool member_address(const json_t *request, const char *name, bool is_v4,
                           struct foyer_addr *storage, const struct foyer_addr **ret_addr)
{
    const json_t *member = json_object_get(request, name);
    *ret_addr = NULL;
    if (member == NULL || json_is_null(member))
        return true;
    const char *text = json_string_value(member);
    if (text == NULL || !address_parse(text, storage) || foyer_addr_is_v4(storage) != is_v4)
        return false;
    *ret_addr = storage;
    return true;
}

static json_t *serve_host_add(struct daemon *daemon, const json_t *request)
{
    struct foyer_addr storage4, storage6;
    const struct foyer_addr *addr4, *addr6;
    char label[FOYER_NAME_MAX];
    const char *name = member_string(request, "name");
    if (name == NULL || !building_name_normalise(name, label))
        return fail(EINVAL, "a host needs a name of letters, digits and hyphens");
    if (!member_address(request, "address4", true, &storage4, &addr4) ||
        !member_address(request, "address6", false, &storage6, &addr6))
        return fail(EINVAL, "the address for host %s is not an address of that family", label);
    struct building_host *host = building_find_name(&daemon->building, label);
    if (host != NULL && (host->is_persistent || addr4 != NULL || addr6 != NULL))
        return fail(EEXIST, "host %s exists", label);
    if (host == NULL) {
        int error = building_host_create(&daemon->building, label, addr4, addr6, &host);
        if (error == -EEXIST)
            return fail(EEXIST, "the address is another host's");
        if (error == -EINVAL)
            return fail(EINVAL,
                        "%s can't be a host: its name must be a label (letters, digits, hyphens; "
                        "not \"gateway\"), its addresses in the building's networks",
                        label);
        if (error != 0)
            return fail(-error, "host %s can't be made: %s", label, strerror(-error));
    }
    host->is_persistent = true;
    host->is_retiring = false;
    return host_json(host);
}

static struct building_host *find_listed_host(struct daemon *daemon, const char *name)
{
    char label[FOYER_NAME_MAX];
    if (name == NULL || !building_name_normalise(name, label))
        return NULL;
    struct building_host *host = building_find_name(&daemon->building, label);
    return host != NULL && is_listed(host) ? host : NULL;
}

static json_t *serve_host_remove(struct daemon *daemon, const json_t *request)
{
    const char *name = member_string(request, "name");
    struct building_host *host = find_listed_host(daemon, name);
    if (host == NULL)
        return fail(ENOENT, "no host named %s", name != NULL ? name : "");
    if (host->session_count > 0 || host->socket_count > 0)
        return fail(EBUSY, "programs run on host %s; end them first (\"foyer ports\" shows them)",
                    host->name);
    host->is_persistent = false;
    building_host_release(host);
    return json_object();
}

/* ---- ports ------------------------------------------------------------------------------------------ */

static const char *const state_names[] = {
    [FOYER_STATE_CLOSED] = "CLOSED",           [FOYER_STATE_LISTEN] = "LISTEN",
    [FOYER_STATE_SYN_SENT] = "SYN_SENT",       [FOYER_STATE_SYN_RECEIVED] = "SYN_RECEIVED",
    [FOYER_STATE_ESTABLISHED] = "ESTABLISHED", [FOYER_STATE_FIN_WAIT_1] = "FIN_WAIT_1",
    [FOYER_STATE_FIN_WAIT_2] = "FIN_WAIT_2",   [FOYER_STATE_CLOSE_WAIT] = "CLOSE_WAIT",
    [FOYER_STATE_CLOSING] = "CLOSING",         [FOYER_STATE_LAST_ACK] = "LAST_ACK",
    [FOYER_STATE_TIME_WAIT] = "TIME_WAIT",
};

/* The state that TCP would be in, from who has ended which direction of the channel. */
static const char *local_state_name(const struct psocket *psocket)
{
    if (psocket->is_connecting)
        return "SYN_SENT";
    struct foyer_ring tx = channel_ring(psocket->channel, psocket->side);
    struct foyer_ring rx = channel_ring(psocket->channel, psocket->side ^ 1u);
    bool has_sent_fin = atomic_load(&tx.shared->writer_state) != FOYER_RING_OPEN;
    bool has_peer_fin = atomic_load(&rx.shared->writer_state) != FOYER_RING_OPEN;
    if (has_sent_fin)
        return has_peer_fin ? "CLOSED" : "FIN_WAIT_2";
    return has_peer_fin ? "CLOSE_WAIT" : "ESTABLISHED";
}

static const char *state_name(const struct psocket *psocket, const struct foyer_socket_info *info)
{
    if (psocket->protocol == FOYER_UDP)
        return psocket->is_connected ? "ESTABLISHED" : "UNCONNECTED";
    if (psocket->carrier == PSOCKET_LOCAL)
        return local_state_name(psocket);
    return (unsigned)info->state < sizeof(state_names) / sizeof(state_names[0])
               ? state_names[info->state]
               : "CLOSED";
}

/* The wildcard of a dual-stack socket means both families. */
static json_t *local_json(const struct psocket *psocket, const struct foyer_endpoint *local)
{
    char text[NETWORK_TEXT_SIZE];
    bool is_v6_only = (atomic_load(&psocket->slot->options) & FOYER_SLOT_V6ONLY) != 0;
    if (psocket->family == FOYER_FAMILY_V6 && !is_v6_only && foyer_addr_is_any(&local->addr) &&
        !foyer_addr_is_v4(&local->addr))
        return json_sprintf("*:%u", local->port);
    endpoint_format(local, text);
    return json_string(text);
}

static json_t *psocket_json(struct psocket *psocket, const struct process_map *map)
{
    struct foyer_socket_info info;
    struct holder holder;
    char user[64], text[NETWORK_TEXT_SIZE];
    if (foyer_socket_info(psocket->host->stack, psocket->stack, &info) != 0 || info.local.port == 0)
        return NULL;
    process_holder(map, psocket, &holder);
    process_user(holder.uid, user, sizeof(user));
    json_t *remote = json_null();
    if (info.remote.port != 0) {
        endpoint_format(&info.remote, text);
        remote = json_string(text);
    }
    bool is_stack = psocket->carrier == PSOCKET_RELAY;
    uint32_t queue = psocket->is_listening ? accept_queue_count(psocket) : 0;
    return json_pack(
        "{s:s, s:s, s:o, s:o, s:s, s:i, s:o, s:o, s:I, s:f, s:s, s:I, s:I, s:I, s:I}", "host",
        psocket->host->name, "protocol", psocket->protocol == FOYER_UDP ? "udp" : "tcp", "local",
        local_json(psocket, &info.local), "remote", remote, "state", state_name(psocket, &info),
        "pid", (int)holder.pid, "program", text_or_placeholder(holder.program), "user",
        text_or_placeholder(user), "uid", (json_int_t)holder.uid, "since", psocket->since_s,
        "carrier", is_stack ? "stack" : "rings", "accept_queue", (json_int_t)queue, "backlog",
        (json_int_t)(psocket->is_listening ? psocket->backlog : 0), "direct",
        (json_int_t)psocket->direct_in_count, "direct_dropped",
        (json_int_t)direct_dropped_count(psocket));
}

static json_t *serve_ports(struct daemon *daemon, const json_t *request)
{
    const struct building_host *only = NULL;
    const json_t *member = json_object_get(request, "host");
    if (member != NULL && !json_is_null(member)) {
        const char *name = json_string_value(member);
        only = find_listed_host(daemon, name);
        if (only == NULL)
            return fail(ENOENT, "no host named %s", name != NULL ? name : "");
    }
    json_t *list = json_array();
    struct process_map *map = process_map_create(daemon);
    LIST_FOREACH (&daemon->building.hosts, node) {
        const struct building_host *host = LIST_ENTRY(node, struct building_host, node);
        if (only != NULL && host != only)
            continue;
        LIST_FOREACH (&host->sockets, socket_node) {
            struct psocket *psocket = LIST_ENTRY(socket_node, struct psocket, host_node);
            if (keep_is_parked(psocket))
                continue; /* no program has it open */
            json_t *entry = psocket_json(psocket, map);
            if (entry != NULL)
                json_array_append_new(list, entry);
        }
    }
    process_map_destroy(map);
    return json_pack("{s:o}", "sockets", list);
}

/* ---- links, networks ----------------------------------------------------------------------------------- */

static json_t *link_json(const struct lan_link *link)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name", link->name, "kind", link->kind,
                     "rx_packets", (json_int_t)link->rx_packets, "tx_packets",
                     (json_int_t)link->tx_packets, "rx_bytes", (json_int_t)link->rx_bytes,
                     "tx_bytes", (json_int_t)link->tx_bytes, "tx_dropped",
                     (json_int_t)link->tx_dropped);
}

static json_t *serve_links(struct daemon *daemon)
{
    json_t *list = json_array();
    LIST_FOREACH (&daemon->fabric.links, node) {
        json_array_append_new(list, link_json(LIST_ENTRY(node, struct lan_link, node)));
    }
    return json_pack("{s:o}", "links", list);
}

static json_t *serve_link_add(struct daemon *daemon, const json_t *request, struct message_fds *fds)
{
    struct lan_link *link;
    const char *kind = member_string(request, "kind");
    const char *name = member_string(request, "name");
    if (kind == NULL || strcmp(kind, "tap") != 0)
        return fail(EINVAL, "a link's kind must be \"tap\"");
    if (name == NULL || fds->count == 0)
        return fail(EINVAL, "a tap link needs a name and its device's descriptor");
    int error = links_add_tap(daemon, name, fds->fds[0], &link);
    if (error == -EEXIST)
        return fail(EEXIST, "link %s exists", name);
    if (error == -EINVAL)
        return fail(EINVAL, "%s is no TAP device that foyerd can use", name);
    if (error != 0)
        return fail(-error, "link %s can't be added: %s", name, strerror(-error));
    message_fds_take(fds, 0);
    return link_json(link);
}

static json_t *serve_link_remove(struct daemon *daemon, const json_t *request)
{
    const char *name = member_string(request, "name");
    struct lan_link *link = name != NULL ? links_find(daemon, name) : NULL;
    if (link == NULL)
        return fail(ENOENT, "no link named %s", name != NULL ? name : "");
    links_remove(link);
    return json_object();
}

static json_t *serve_net_set(struct daemon *daemon, const json_t *request)
{
    const char *net4 = member_string(request, "net4"), *net6 = member_string(request, "net6");
    const char *ports = member_string(request, "ephemeral_ports");
    uint16_t first = 0, last = 0;
    if (ports != NULL && !port_range_parse(ports, &first, &last))
        return fail(EINVAL, "'%s' is no range of ports; one looks like 49152-65535", ports);
    int error = building_set_networks(&daemon->building, net4, net6);
    if (error == -EBUSY)
        return fail(EBUSY, "networks and ports can't change while there are hosts");
    if (error != 0)
        return fail(EINVAL, "a network is an address with a length of 8..28 (IPv4) or 64..112 "
                            "(IPv6) bits and zeros behind it, such as " NETWORK_DEFAULT4
                            " and " NETWORK_DEFAULT6);
    if (ports != NULL) {
        daemon->building.ephemeral_first = first;
        daemon->building.ephemeral_last = last;
    }
    return serve_status(daemon);
}

static json_t *serve_resolve(struct daemon *daemon, const json_t *request)
{
    struct building_resolution found;
    struct foyer_addr addr;
    const char *name = member_string(request, "name");
    if (name == NULL || name[0] == '\0')
        return fail(EINVAL, "resolve needs a name");
    bool is_addr = address_parse(name, &addr);
    if (!building_resolve(&daemon->building, is_addr ? "" : name, &addr, &found))
        return fail(ENOENT, "%s is no host of this building", name);
    json_t *list = json_array();
    for (uint32_t i = 0; i < found.addr_count; i++)
        json_array_append_new(list, address_json(&found.addrs[i]));
    return json_pack("{s:s, s:o}", "name", found.name, "addresses", list);
}

/* ---- down --------------------------------------------------------------------------------------------- */

/* "nginx (pid 17), redis-server (pid 18)"; the first few. */
static unsigned name_programs(const struct daemon *daemon, char *ret_text, size_t capacity)
{
    unsigned count = 0;
    size_t size = 0;
    ret_text[0] = '\0';
    LIST_FOREACH (&daemon->sessions, node) {
        const struct session *session = LIST_ENTRY(node, struct session, node);
        if (session->arena == NULL)
            continue;
        if (count < 8 && size < capacity) {
            int added =
                snprintf(ret_text + size, capacity - size, "%s%s (pid %d)", count > 0 ? ", " : "",
                         session->holder.program, (int)session->holder.pid);
            size += added > 0 ? (size_t)added : 0;
        } else if (count == 8 && size < capacity) {
            snprintf(ret_text + size, capacity - size, ", and more");
        }
        count++;
    }
    return count;
}

static json_t *serve_down(struct daemon *daemon, const json_t *request)
{
    char names[512];
    if (!json_is_true(json_object_get(request, "force")) &&
        name_programs(daemon, names, sizeof(names)) > 0)
        return fail(EBUSY, "programs are attached: %s; end them first, or use --force", names);
    daemon_stop(daemon);
    return json_object();
}

/* ---- dispatch ------------------------------------------------------------------------------------------ */

static json_t *serve_command(struct daemon *daemon, const json_t *request, struct message_fds *fds)
{
    const char *command = member_string(request, "command");
    if (command == NULL)
        return fail(EINVAL, "the request is not an object with a \"command\"");
    if (strcmp(command, "status") == 0)
        return serve_status(daemon);
    if (strcmp(command, "ports") == 0)
        return serve_ports(daemon, request);
    if (strcmp(command, "hosts") == 0)
        return serve_hosts(daemon);
    if (strcmp(command, "host-add") == 0)
        return serve_host_add(daemon, request);
    if (strcmp(command, "host-remove") == 0)
        return serve_host_remove(daemon, request);
    if (strcmp(command, "links") == 0)
        return serve_links(daemon);
    if (strcmp(command, "link-add") == 0)
        return serve_link_add(daemon, request, fds);
    if (strcmp(command, "link-remove") == 0)
        return serve_link_remove(daemon, request);
    if (strcmp(command, "net-set") == 0)
        return serve_net_set(daemon, request);
    if (strcmp(command, "resolve") == 0)
        return serve_resolve(daemon, request);
    if (strcmp(command, "down") == 0)
        return serve_down(daemon, request);
    return fail(EOPNOTSUPP, "this foyerd (%s) knows no command \"%s\"", FOYER_VERSION, command);
}

static int write_memfd(const char *text)
{
    int memfd = memfd_create("foyer-answer", MFD_CLOEXEC);
    size_t size = strlen(text), done = 0;
    if (memfd < 0)
        return -errno;
    while (done < size) {
        ssize_t count = write(memfd, text + done, size - done);
        if (count <= 0) {
            close(memfd);
            return -ENOMEM;
        }
        done += (size_t)count;
    }
    lseek(memfd, 0, SEEK_SET);
    return memfd;
}

int control_serve(struct daemon *daemon, const char *text, size_t size, struct message_fds *fds)
{
    json_error_t error;
    json_t *request = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    json_t *reply = request != NULL ? serve_command(daemon, request, fds)
                                    : fail(EINVAL, "the request is not JSON: %s", error.text);
    json_decref(request);
    char *dump = reply != NULL ? json_dumps(reply, JSON_COMPACT) : NULL;
    json_decref(reply);
    if (dump == NULL)
        return -ENOMEM;
    int memfd = write_memfd(dump);
    free(dump);
    return memfd;
}
