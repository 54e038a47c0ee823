/*
 * A host on a TAP that is told its addresses: dhcp_client <tap>
 *
 * Reads commands, one per line: start4 [address that is asked for again], stop4, release4,
 * start6 advertised|addresses|information, confirm6, release6. Writes two lines whenever a lease
 * changed, and one for each command that fails. Ends with its input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "foyer/foyer.h"
#include "link/tap.h"

static const char *const state_names[] = {
    [FOYER_DHCP_WAITING] = "waiting",   [FOYER_DHCP_SEARCHING] = "searching",
    [FOYER_DHCP_CHECKING] = "checking", [FOYER_DHCP_BOUND] = "bound",
    [FOYER_DHCP_RENEWING] = "renewing", [FOYER_DHCP_REBINDING] = "rebinding",
    [FOYER_DHCP_INFORMED] = "informed", [FOYER_DHCP_RELEASING] = "releasing",
};

static foyer_time_ns now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (foyer_time_ns)now.tv_sec * FOYER_NS_PER_S + (foyer_time_ns)now.tv_nsec;
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory, size_t size)
{
    (void)context, (void)size;
    free(memory);
}

static const char *text(const struct foyer_addr *addr, char text[INET6_ADDRSTRLEN])
{
    bool is_v4 = foyer_addr_is_v4(addr);
    return inet_ntop(is_v4 ? AF_INET : AF_INET6, addr->bytes + (is_v4 ? 12 : 0), text,
                     INET6_ADDRSTRLEN);
}

static long long seconds_left(foyer_time_ns until)
{
    return until == FOYER_TIME_NEVER ? -1 : (long long)(until - now_ns()) / 1000000000;
}

static void print_addrs(const char *name, const struct foyer_addr *addrs, unsigned count)
{
    char buffer[INET6_ADDRSTRLEN];
    for (unsigned i = 0; i < count; i++)
        printf(" %s=%s", name, text(&addrs[i], buffer));
}

static void print_leases(const struct foyer_host *host)
{
    char buffer[INET6_ADDRSTRLEN];
    struct foyer_dhcp4_lease lease4;
    struct foyer_dhcp6_lease lease6;

    if (foyer_dhcp4_lease(host, &lease4) == 0) {
        printf("v4 %s addr=%s/%u left=%lld domain=%s mtu=%u", state_names[lease4.state],
               text(&lease4.addr, buffer), lease4.prefix_length, seconds_left(lease4.expires_ns),
               lease4.domain, lease4.mtu);
        print_addrs("router", lease4.routers, lease4.router_count);
        print_addrs("dns", lease4.name_servers, lease4.name_server_count);
        putchar('\n');
    } else {
        puts("v4 off");
    }
    if (foyer_dhcp6_lease(host, &lease6) == 0) {
        printf("v6 %s domains=%s", state_names[lease6.state], lease6.domains);
        for (unsigned i = 0; i < lease6.address_count; i++)
            printf(" addr=%s left=%lld", text(&lease6.addresses[i].addr, buffer),
                   seconds_left(lease6.addresses[i].valid_until_ns));
        print_addrs("dns", lease6.name_servers, lease6.name_server_count);
        putchar('\n');
    } else {
        puts("v6 off");
    }
    fflush(stdout);
}

static int start4(struct foyer_host *host, const char *previous)
{
    struct foyer_dhcp4_config config = {.host_name = "foyer-test"};
    if (previous != NULL) {
        config.previous = foyer_addr_v4(0, 0, 0, 0);
        if (inet_pton(AF_INET, previous, config.previous.bytes + 12) != 1)
            return -EINVAL;
    }
    return foyer_dhcp4_start(host, &config, now_ns());
}

static int start6(struct foyer_host *host, const char *mode)
{
    struct foyer_dhcp6_config config = {.mode = FOYER_DHCP6_AS_ADVERTISED};
    if (mode != NULL && strcmp(mode, "addresses") == 0)
        config.mode = FOYER_DHCP6_ADDRESSES;
    else if (mode != NULL && strcmp(mode, "information") == 0)
        config.mode = FOYER_DHCP6_INFORMATION;
    return foyer_dhcp6_start(host, &config, now_ns());
}

static int command(struct foyer_host *host, char *line)
{
    char *state;
    const char *verb = strtok_r(line, " \n", &state);
    const char *argument = strtok_r(NULL, " \n", &state);
    if (verb == NULL)
        return 0;
    if (strcmp(verb, "start4") == 0)
        return start4(host, argument);
    if (strcmp(verb, "start6") == 0)
        return start6(host, argument);
    if (strcmp(verb, "confirm6") == 0)
        return foyer_dhcp6_confirm(host, now_ns());
    if (strcmp(verb, "stop4") == 0)
        return foyer_dhcp4_stop(host, false, now_ns());
    if (strcmp(verb, "release4") == 0)
        return foyer_dhcp4_stop(host, true, now_ns());
    if (strcmp(verb, "release6") == 0)
        return foyer_dhcp6_stop(host, true, now_ns());
    return -ENOSYS;
}

/* All commands that came; false: the input has ended. Lines come whole: a pipe, and short. */
static bool read_commands(struct foyer_host *host)
{
    char lines[1024];
    ssize_t size = read(STDIN_FILENO, lines, sizeof(lines) - 1);
    if (size <= 0)
        return false;
    lines[size] = '\0';
    char *state;
    for (char *line = strtok_r(lines, "\n", &state); line != NULL;
         line = strtok_r(NULL, "\n", &state)) {
        int error = command(host, line);
        if (error != 0)
            printf("failed %s\n", strerror(-error));
    }
    fflush(stdout);
    return true;
}

static void pass(struct foyer_host *host, struct link *link)
{
    struct foyer_packet packets[64];
    struct foyer_event events[16];
    foyer_time_ns now = now_ns();
    int received = link_receive(link, packets, 64, now);
    if (received > 0)
        foyer_host_input(host, packets, (size_t)received, now);
    if (foyer_host_deadline(host) <= now)
        foyer_host_tick(host, now);
    for (size_t count; (count = foyer_host_output(host, packets, 64, now)) > 0;)
        (void)link_send(link, packets, count, now);
    for (size_t count; (count = foyer_host_events(host, events, 16)) > 0;) {
        for (size_t i = 0; i < count; i++) {
            if (events[i].events & FOYER_EVENT_LEASE)
                print_leases(host);
        }
    }
}

int main(int argc, char **argv)
{
    struct link_tap_config tap = {.name = argc > 1 ? argv[1] : NULL};
    struct foyer_host_config config = {.allocator = {allocate, release, NULL},
                                       .mac = {2, 0xf0, 0x1e, 0, 0, 7},
                                       .behaviour = FOYER_HOST_SLAAC};
    char name[LINK_TAP_NAME_SIZE];
    struct link *link;

    int error = link_tap_open(&tap, &link, name);
    if (error != 0) {
        fprintf(stderr, "dhcp_client: TAP: %s\n", strerror(-error));
        return 1;
    }
    if (getrandom(config.secret, sizeof(config.secret), 0) != (ssize_t)sizeof(config.secret))
        return 1;
    config.link_capabilities = link_capabilities(link);
    struct foyer_host *host = foyer_host_create(&config, now_ns());
    if (host == NULL)
        return 1;
    printf("open %s\n", name);
    fflush(stdout);
    for (;;) {
        pass(host, link);
        foyer_time_ns deadline = foyer_host_deadline(host), now = now_ns();
        foyer_time_ns wait_ms = deadline <= now ? 0 : (deadline - now) / FOYER_NS_PER_MS + 1;
        struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = link_fd(link), .events = POLLIN}};
        (void)poll(fds, 2, wait_ms < 60000 ? (int)wait_ms : 60000);
        if (fds[0].revents != 0 && !read_commands(host))
            break;
    }
    foyer_host_destroy(host);
    link_close(link);
    return 0;
}
