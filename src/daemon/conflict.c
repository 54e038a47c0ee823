#include "daemon/conflict.h"

#include <stdio.h>
#include <time.h>

#include "daemon/daemon.h"
#include "daemon/process.h"
#include "registry/registry.h"

/* "14:02:11" today, with the date before that. */
static void format_since(const struct conflict *conflict, char *ret_text, size_t capacity)
{
    struct tm since, now;
    time_t since_s = (time_t)conflict->since_s, now_s = (time_t)conflict->now_s;
    localtime_r(&since_s, &since);
    localtime_r(&now_s, &now);
    bool is_today = since.tm_year == now.tm_year && since.tm_yday == now.tm_yday;
    strftime(ret_text, capacity, is_today ? "%H:%M:%S" : "%F %H:%M:%S", &since);
}

/* Names come from programs; the line goes to a terminal. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

void conflict_format(const struct conflict *conflict, char ret_text[FOYER_CONFLICT_TEXT_MAX])
{
    char port[96], since[32], stop[64] = "";
    snprintf(port, sizeof(port), "%u/%s%s%.40s%s", conflict->port, conflict->protocol,
             conflict->service != NULL ? " (" : "",
             conflict->service != NULL ? conflict->service : "",
             conflict->service != NULL ? ")" : "");
    if (conflict->program == NULL) {
        snprintf(ret_text, FOYER_CONFLICT_TEXT_MAX,
                 "foyer: port %s on host %s is still held by a connection that is closing; "
                 "try again in a minute, or let the program set SO_REUSEADDR",
                 port, conflict->host);
        return;
    }
    format_since(conflict, since, sizeof(since));
    if (conflict->pid > 0)
        snprintf(stop, sizeof(stop), "stop it with \"kill %d\", ", (int)conflict->pid);
    char who[96];
    if (conflict->pid > 0)
        snprintf(who, sizeof(who), "pid %d, user %.64s", (int)conflict->pid, conflict->user);
    else
        snprintf(who, sizeof(who), "user %.64s", conflict->user);
    snprintf(ret_text, FOYER_CONFLICT_TEXT_MAX,
             "foyer: port %s on host %s is taken: %s (%s) has held it since %s; "
             "%schoose another port, or run this on another host with \"foyer run --host NAME\"",
             port, conflict->host, conflict->program, who, since, stop);
    make_printable(ret_text);
}

void conflict_describe(struct psocket *psocket, uint16_t port, foyer_socket holder,
                       char ret_text[FOYER_CONFLICT_TEXT_MAX])
{
    const struct daemon *daemon = psocket->daemon;
    struct foyer_registry_entry entry;
    char user[64] = "";
    struct holder who;
    bool is_udp = psocket->protocol == FOYER_UDP;
    struct conflict conflict = {
        .protocol = is_udp ? "udp" : "tcp",
        .port = port,
        .host = psocket->host->name,
        .now_s = wall_clock_s(),
    };
    if (daemon->registry != NULL &&
        foyer_registry_lookup_port(daemon->registry, port,
                                   is_udp ? FOYER_REGISTRY_UDP : FOYER_REGISTRY_TCP, &entry) == 0)
        conflict.service = entry.name;
    struct psocket *other = psocket_from_stack(daemon, psocket->host, holder);
    if (other != NULL) {
        struct process_map *map = process_map_create(daemon);
        process_holder(map, other, &who);
        process_map_destroy(map);
        process_user(who.uid, user, sizeof(user));
        conflict.program = who.program[0] != '\0' ? who.program : "a program";
        conflict.pid = who.pid;
        conflict.user = user;
        conflict.since_s = other->since_s;
    }
    conflict_format(&conflict, ret_text);
}
