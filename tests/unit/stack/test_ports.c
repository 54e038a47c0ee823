/* Who may hold a port, who gets a packet, and how ephemeral ports are chosen. */
#include "lan.h"

#include <errno.h>
#include <stdio.h>

#define V4 FOYER_FAMILY_V4
#define V6 FOYER_FAMILY_V6
#define TCP FOYER_TCP
#define UDP FOYER_UDP

enum where {
    ANY4,
    ANY6,
    HOST4,
    HOST6,
    LOOP4,
    MAPPED_ANY, /* ::ffff:0.0.0.0 on an IPv6 socket */
    MAPPED,     /* ::ffff:10.0.0.1 on an IPv6 socket */
};

enum traits {
    REUSEADDR = 1,
    REUSEPORT = 2,
    V6ONLY = 4,
    LISTEN = 8,
    OTHER_UID = 16,
};

struct holder {
    enum where where;
    unsigned traits;
};

static struct foyer_addr address_of(enum where where)
{
    static const struct foyer_addr any6;
    switch (where) {
    case ANY4:
    case MAPPED_ANY:
        return foyer_addr_v4(0, 0, 0, 0);
    case HOST4:
    case MAPPED:
        return lan_host4;
    case HOST6:
        return lan_host6;
    case LOOP4:
        return foyer_addr_v4(127, 0, 0, 1);
    case ANY6:
        break;
    }
    return any6;
}

static foyer_socket open_like(struct lan *lan, enum foyer_protocol protocol,
                              const struct holder *like)
{
    bool is_v4 = like->where == ANY4 || like->where == HOST4 || like->where == LOOP4;
    foyer_socket socket = lan_open(lan, is_v4 ? V4 : V6, protocol);
    struct foyer_host *host = lan->host;
    if (like->traits & REUSEADDR)
        assert_int_equal(foyer_socket_set_option(host, socket, FOYER_OPT_REUSEADDR, 1), 0);
    if (like->traits & REUSEPORT)
        assert_int_equal(foyer_socket_set_option(host, socket, FOYER_OPT_REUSEPORT, 1), 0);
    if (like->traits & V6ONLY)
        assert_int_equal(foyer_socket_set_option(host, socket, FOYER_OPT_V6ONLY, 1), 0);
    if (like->traits & OTHER_UID)
        assert_int_equal(foyer_socket_set_option(host, socket, FOYER_OPT_OWNER_UID, 1000), 0);
    return socket;
}

static int bind_like(struct lan *lan, foyer_socket socket, const struct holder *like, uint16_t port,
                     foyer_socket *ret_holder)
{
    struct foyer_endpoint local = {address_of(like->where), port};
    int error = foyer_socket_bind(lan->host, socket, &local, ret_holder);
    if (error == 0 && (like->traits & LISTEN))
        error = foyer_socket_listen(lan->host, socket, 5, ret_holder);
    return error;
}

/* Every row was tried on a Linux 6 kernel. */
static const struct {
    enum foyer_protocol protocol;
    struct holder first, second;
    bool is_free;
} matrix[] = {
    /* addresses */
    {TCP, {HOST4, 0}, {HOST4, 0}, false},
    {TCP, {HOST4, 0}, {LOOP4, 0}, true},
    {TCP, {ANY4, 0}, {HOST4, 0}, false},
    {TCP, {HOST4, 0}, {ANY4, 0}, false},
    {TCP, {ANY6, 0}, {HOST4, 0}, false},
    {TCP, {ANY6, 0}, {ANY4, 0}, false},
    {TCP, {ANY4, 0}, {ANY6, 0}, false},
    {TCP, {ANY6, V6ONLY}, {ANY4, 0}, true},
    {TCP, {ANY4, 0}, {ANY6, V6ONLY}, true},
    {TCP, {ANY6, V6ONLY}, {ANY6, 0}, false},
    {TCP, {ANY6, V6ONLY}, {HOST6, 0}, false},
    {TCP, {ANY6, V6ONLY}, {HOST4, 0}, true},
    {TCP, {HOST6, 0}, {HOST4, 0}, true},
    {TCP, {HOST6, 0}, {ANY4, 0}, true},
    {TCP, {HOST6, 0}, {ANY6, 0}, false},
    {TCP, {MAPPED, 0}, {HOST4, 0}, false},
    {TCP, {MAPPED, 0}, {ANY4, 0}, false},
    {TCP, {MAPPED_ANY, 0}, {LOOP4, 0}, false},
    {TCP, {MAPPED_ANY, 0}, {HOST6, 0}, true},
    {TCP, {MAPPED, 0}, {ANY6, V6ONLY}, true},
    /* REUSEADDR, TCP: not beside a listener */
    {TCP, {ANY4, REUSEADDR}, {ANY4, REUSEADDR}, true},
    {TCP, {ANY4, REUSEADDR}, {ANY4, 0}, false},
    {TCP, {ANY4, 0}, {ANY4, REUSEADDR}, false},
    {TCP, {ANY4, REUSEADDR | LISTEN}, {ANY4, REUSEADDR}, false},
    {TCP, {ANY4, REUSEADDR}, {ANY4, REUSEADDR | LISTEN}, true},
    {TCP, {ANY4, REUSEADDR | LISTEN}, {HOST4, REUSEADDR}, false},
    {TCP, {HOST4, REUSEADDR | LISTEN}, {LOOP4, REUSEADDR | LISTEN}, true},
    /* REUSEPORT: the same uid */
    {TCP, {ANY4, REUSEPORT | LISTEN}, {ANY4, REUSEPORT | LISTEN}, true},
    {TCP, {ANY4, REUSEPORT | LISTEN}, {ANY4, REUSEPORT | OTHER_UID}, false},
    {TCP, {ANY4, REUSEPORT | LISTEN}, {ANY4, REUSEADDR}, false},
    {TCP, {ANY6, REUSEPORT | LISTEN}, {HOST4, REUSEPORT | LISTEN}, true},
    {TCP, {ANY4, REUSEPORT | REUSEADDR | LISTEN}, {ANY4, REUSEPORT | REUSEADDR | LISTEN}, true},
    /* UDP: REUSEADDR is enough */
    {UDP, {ANY4, 0}, {ANY4, 0}, false},
    {UDP, {ANY4, REUSEADDR}, {ANY4, REUSEADDR}, true},
    {UDP, {ANY4, REUSEADDR}, {ANY4, 0}, false},
    {UDP, {ANY4, REUSEADDR}, {ANY4, REUSEADDR | OTHER_UID}, true},
    {UDP, {ANY4, REUSEPORT}, {ANY4, REUSEPORT}, true},
    {UDP, {ANY4, REUSEPORT}, {ANY4, REUSEPORT | OTHER_UID}, false},
    {UDP, {ANY4, REUSEPORT}, {ANY4, REUSEADDR}, false},
    {UDP, {ANY6, 0}, {HOST4, 0}, false},
    {UDP, {ANY6, V6ONLY}, {HOST4, 0}, true},
    {UDP, {HOST4, 0}, {LOOP4, 0}, true},
};

static void bind_matrix(void **state)
{
    struct lan *lan = *state;
    for (size_t i = 0; i < sizeof(matrix) / sizeof(matrix[0]); i++) {
        foyer_socket holder = FOYER_SOCKET_NONE;
        foyer_socket first = open_like(lan, matrix[i].protocol, &matrix[i].first);
        foyer_socket second = open_like(lan, matrix[i].protocol, &matrix[i].second);
        assert_int_equal(bind_like(lan, first, &matrix[i].first, 8080, NULL), 0);
        int error = bind_like(lan, second, &matrix[i].second, 8080, &holder);
        if (error != (matrix[i].is_free ? 0 : -EADDRINUSE))
            fail_msg("row %zu: %d", i, error);
        if (error != 0)
            assert_int_equal(holder.value, first.value);
        /* The other protocol's port is another port. */
        foyer_socket other =
            open_like(lan, matrix[i].protocol == TCP ? UDP : TCP, &(struct holder){ANY6, 0});
        assert_int_equal(bind_like(lan, other, &(struct holder){ANY6, 0}, 8080, NULL), 0);
        foyer_socket_close(lan->host, first, lan->now);
        foyer_socket_close(lan->host, second, lan->now);
        foyer_socket_close(lan->host, other, lan->now);
    }
}

static void two_reusers_one_listener(void **state)
{
    struct lan *lan = *state;
    const struct holder like = {ANY4, REUSEADDR};
    foyer_socket first = open_like(lan, TCP, &like);
    foyer_socket second = open_like(lan, TCP, &like);
    foyer_socket holder;
    assert_int_equal(bind_like(lan, first, &like, 80, NULL), 0);
    assert_int_equal(bind_like(lan, second, &like, 80, NULL), 0);
    assert_int_equal(foyer_socket_listen(lan->host, first, 1, NULL), 0);
    assert_int_equal(foyer_socket_listen(lan->host, second, 1, &holder), -EADDRINUSE);
    assert_int_equal(holder.value, first.value);
    assert_int_equal(foyer_socket_close(lan->host, first, lan->now), 0);
    assert_int_equal(foyer_socket_listen(lan->host, second, 1, NULL), 0);
}

/* The option counts as it is when the other binds, not as it was at one's own bind. */
static void reuse_set_after_bind(void **state)
{
    struct lan *lan = *state;
    foyer_socket first = lan_bound(lan, V4, TCP, &lan_host4, 80);
    const struct holder like = {HOST4, REUSEADDR};
    foyer_socket second = open_like(lan, TCP, &like);
    assert_int_equal(bind_like(lan, second, &like, 80, NULL), -EADDRINUSE);
    assert_int_equal(foyer_socket_set_option(lan->host, first, FOYER_OPT_REUSEADDR, 1), 0);
    assert_int_equal(bind_like(lan, second, &like, 80, NULL), 0);
}

static void bind_errors(void **state)
{
    struct lan *lan = *state;
    foyer_socket v4 = lan_open(lan, V4, TCP);
    foyer_socket v6 = lan_open(lan, V6, TCP);
    struct foyer_endpoint local = {lan_host6, 80};
    assert_int_equal(foyer_socket_bind(lan->host, v4, &local, NULL), -EAFNOSUPPORT);
    local.addr = lan_peer4;
    assert_int_equal(foyer_socket_bind(lan->host, v4, &local, NULL), -EADDRNOTAVAIL);
    assert_int_equal(foyer_socket_set_option(lan->host, v6, FOYER_OPT_V6ONLY, 1), 0);
    local.addr = lan_host4;
    assert_int_equal(foyer_socket_bind(lan->host, v6, &local, NULL), -EINVAL);
    assert_int_equal(foyer_socket_bind(lan->host, v4, &local, NULL), 0);
    local.port = 81;
    assert_int_equal(foyer_socket_bind(lan->host, v4, &local, NULL), -EINVAL);
    local.addr = foyer_addr_v4(127, 4, 5, 6);
    foyer_socket loopback = lan_open(lan, V4, TCP);
    assert_int_equal(foyer_socket_bind(lan->host, loopback, &local, NULL), 0);
}

/* ---- delivery ------------------------------------------------------------------------------------- */

static void scoring(void **state)
{
    struct lan *lan = *state;
    /* From the weakest claim to the strongest; each is opened and takes over. */
    static const struct {
        struct holder like;
        enum where to;
    } rows[] = {
        {{ANY6, REUSEADDR}, HOST4},  {{ANY4, REUSEADDR}, HOST4}, {{MAPPED, REUSEADDR}, HOST4},
        {{HOST4, REUSEADDR}, HOST4}, {{ANY6, REUSEADDR}, HOST6}, {{HOST6, REUSEADDR}, HOST6},
    };
    const struct foyer_endpoint remote = {lan_peer4, 5000};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        foyer_socket socket = open_like(lan, UDP, &rows[i].like);
        assert_int_equal(bind_like(lan, socket, &rows[i].like, 53, NULL), 0);
        const struct foyer_endpoint local = {address_of(rows[i].to), 53};
        foyer_socket found = foyer_socket_find(lan->host, UDP, &local, &remote);
        if (found.value != socket.value)
            fail_msg("row %zu", i);
    }
    /* Somebody else's address is nobody's but the wildcards'. */
    const struct foyer_endpoint other = {foyer_addr_v4(10, 0, 0, 7), 54};
    assert_int_equal(foyer_socket_find(lan->host, UDP, &other, &remote).value, 0);
}

static void v6only_does_not_hear_v4(void **state)
{
    struct lan *lan = *state;
    const struct holder like = {ANY6, V6ONLY | LISTEN};
    foyer_socket socket = open_like(lan, TCP, &like);
    assert_int_equal(bind_like(lan, socket, &like, 80, NULL), 0);
    const struct foyer_endpoint remote = {lan_peer4, 5000};
    const struct foyer_endpoint to4 = {lan_host4, 80}, to6 = {lan_host6, 80};
    assert_int_equal(foyer_socket_find(lan->host, TCP, &to4, &remote).value, 0);
    assert_int_equal(foyer_socket_find(lan->host, TCP, &to6, &remote).value, socket.value);
}

static void bound_only_is_not_found(void **state)
{
    struct lan *lan = *state;
    lan_bound(lan, V4, TCP, &lan_host4, 80);
    const struct foyer_endpoint local = {lan_host4, 80}, remote = {lan_peer4, 5000};
    assert_int_equal(foyer_socket_find(lan->host, TCP, &local, &remote).value, 0);
}

static void reuseport_spreads_by_flow(void **state)
{
    struct lan *lan = *state;
    const struct holder like = {ANY4, REUSEPORT | LISTEN};
    foyer_socket sockets[4];
    unsigned hits[4] = {0};
    for (int i = 0; i < 4; i++) {
        sockets[i] = open_like(lan, TCP, &like);
        assert_int_equal(bind_like(lan, sockets[i], &like, 80, NULL), 0);
    }
    const struct foyer_endpoint local = {lan_host4, 80};
    for (uint16_t port = 1; port <= 4000; port++) {
        const struct foyer_endpoint remote = {lan_peer4, port};
        foyer_socket found = foyer_socket_find(lan->host, TCP, &local, &remote);
        assert_int_equal(found.value, foyer_socket_find(lan->host, TCP, &local, &remote).value);
        for (int i = 0; i < 4; i++)
            hits[i] += found.value == sockets[i].value;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(hits[i], 850, 1150);
    /* One leaves: its flows go to the others. */
    foyer_socket_close(lan->host, sockets[1], lan->now);
    for (uint16_t port = 1; port <= 100; port++) {
        const struct foyer_endpoint remote = {lan_peer4, port};
        foyer_socket found = foyer_socket_find(lan->host, TCP, &local, &remote);
        assert_true(found.value != 0 && found.value != sockets[1].value);
    }
}

/* ---- ephemeral ports --------------------------------------------------------------------------------- */

static void few_ports(struct foyer_host_config *config)
{
    config->ephemeral_first = 50000;
    config->ephemeral_last = 50999;
    config->max_sockets = 5000;
}

static uint16_t port_of(struct lan *lan, foyer_socket socket)
{
    struct foyer_socket_info info;
    assert_int_equal(foyer_socket_info(lan->host, socket, &info), 0);
    return info.local.port;
}

static void autobind_until_exhausted(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, few_ports);
    bool seen[1000] = {false};
    foyer_socket sockets[1000];
    struct foyer_endpoint any = {foyer_addr_v4(0, 0, 0, 0), 0};
    for (int i = 0; i < 1000; i++) {
        sockets[i] = lan_open(lan, V4, UDP);
        assert_int_equal(foyer_socket_bind(lan->host, sockets[i], &any, NULL), 0);
        uint16_t port = port_of(lan, sockets[i]);
        assert_in_range(port, 50000, 50999);
        assert_false(seen[port - 50000]);
        seen[port - 50000] = true;
    }
    foyer_socket extra = lan_open(lan, V4, UDP);
    assert_int_equal(foyer_socket_bind(lan->host, extra, &any, NULL), -EADDRINUSE);
    uint16_t freed = port_of(lan, sockets[123]);
    foyer_socket_close(lan->host, sockets[123], lan->now);
    assert_int_equal(foyer_socket_bind(lan->host, extra, &any, NULL), 0);
    assert_int_equal(port_of(lan, extra), freed);
    lan_destroy(lan);
}

/* RFC 6056 section 3.3.4: one local port serves many remotes; one remote takes each port once. */
static void connect_shares_ports_between_remotes(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, few_ports);
    foyer_socket sockets[1000];
    bool seen[1000] = {false};
    struct foyer_endpoint first = {lan_peer4, 80}, second = {lan_peer4, 81};
    for (int i = 0; i < 1000; i++) {
        sockets[i] = lan_open(lan, V4, TCP);
        assert_int_equal(foyer_socket_connect(lan->host, sockets[i], &first, lan->now),
                         -EINPROGRESS);
        uint16_t port = port_of(lan, sockets[i]);
        assert_in_range(port, 50000, 50999);
        assert_false(seen[port - 50000]);
        seen[port - 50000] = true;
    }
    foyer_socket extra = lan_open(lan, V4, TCP);
    assert_int_equal(foyer_socket_connect(lan->host, extra, &first, lan->now), -EADDRNOTAVAIL);
    assert_int_equal(foyer_socket_connect(lan->host, extra, &second, lan->now), -EINPROGRESS);
    /* One leaves, one comes: the same port, found at once. */
    for (int i = 0; i < 50; i++) {
        uint16_t freed = port_of(lan, sockets[i]);
        foyer_socket_abort(lan->host, sockets[i], lan->now);
        sockets[i] = lan_open(lan, V4, TCP);
        assert_int_equal(foyer_socket_connect(lan->host, sockets[i], &first, lan->now),
                         -EINPROGRESS);
        assert_int_equal(port_of(lan, sockets[i]), freed);
    }
    /* A port that connect chose is held: bind to it conflicts, as on Linux. */
    struct foyer_endpoint taken = {foyer_addr_v4(0, 0, 0, 0), port_of(lan, sockets[0])};
    foyer_socket binder = lan_open(lan, V4, TCP);
    assert_int_equal(foyer_socket_bind(lan->host, binder, &taken, NULL), -EADDRINUSE);
    lan_destroy(lan);
}

static void connect_avoids_bound_ports(void **state)
{
    (void)state;
    struct lan *lan = lan_create(0, few_ports);
    struct foyer_endpoint remote = {lan_peer4, 80};
    for (uint16_t port = 50000; port < 50999; port++)
        lan_bound(lan, V4, TCP, &lan_host4, port);
    foyer_socket socket = lan_open(lan, V4, TCP);
    assert_int_equal(foyer_socket_connect(lan->host, socket, &remote, lan->now), -EINPROGRESS);
    assert_int_equal(port_of(lan, socket), 50999);
    foyer_socket extra = lan_open(lan, V4, TCP);
    assert_int_equal(foyer_socket_connect(lan->host, extra, &remote, lan->now), -EADDRNOTAVAIL);
    lan_destroy(lan);
}

static void same_tuple_twice(void **state)
{
    struct lan *lan = *state;
    const struct holder like = {HOST4, REUSEADDR};
    struct foyer_endpoint remote = {lan_peer4, 80};
    foyer_socket first = open_like(lan, TCP, &like);
    foyer_socket second = open_like(lan, TCP, &like);
    assert_int_equal(bind_like(lan, first, &like, 4444, NULL), 0);
    assert_int_equal(bind_like(lan, second, &like, 4444, NULL), 0);
    assert_int_equal(foyer_socket_connect(lan->host, first, &remote, lan->now), -EINPROGRESS);
    assert_int_equal(foyer_socket_connect(lan->host, second, &remote, lan->now), -EADDRNOTAVAIL);
    remote.port = 81;
    assert_int_equal(foyer_socket_connect(lan->host, second, &remote, lan->now), -EINPROGRESS);
}

/* ---- the local carrier --------------------------------------------------------------------------------- */

static void local_carrier(void **state)
{
    struct lan *lan = *state;
    const struct holder like = {ANY6, LISTEN};
    foyer_socket listener = open_like(lan, TCP, &like);
    assert_int_equal(bind_like(lan, listener, &like, 80, NULL), 0);
    struct foyer_endpoint remote = {foyer_addr_v4(127, 0, 0, 1), 80};
    foyer_socket client = lan_open(lan, V4, TCP);
    foyer_socket accepted;
    assert_int_equal(foyer_socket_connect_local(lan->host, client, &remote, lan->host, listener, 7,
                                                &accepted, lan->now),
                     0);
    struct foyer_socket_info a, b;
    assert_int_equal(foyer_socket_info(lan->host, client, &a), 0);
    assert_int_equal(foyer_socket_info(lan->host, accepted, &b), 0);
    assert_int_equal(a.state, FOYER_STATE_ESTABLISHED);
    assert_int_equal(b.state, FOYER_STATE_ESTABLISHED);
    assert_true(a.is_local_carrier && b.is_local_carrier);
    assert_int_equal(b.owner, 7);
    assert_int_equal(a.local.port, b.remote.port);
    assert_true(foyer_addr_eq(&a.local.addr, &b.remote.addr));
    assert_int_equal(b.local.port, 80);
    assert_int_equal(lan_pull(lan), 0);
    foyer_socket extra = lan_open(lan, V4, TCP);
    foyer_socket none;
    assert_int_equal(foyer_socket_connect_local(lan->host, client, &remote, lan->host, listener, 7,
                                                &none, lan->now),
                     -EISCONN);
    remote.port = 81;
    assert_int_equal(foyer_socket_connect_local(lan->host, extra, &remote, lan->host, listener, 7,
                                                &none, lan->now),
                     -ECONNREFUSED);
    /* The accepted end holds the listener's port on. */
    foyer_socket_close(lan->host, listener, lan->now);
    foyer_socket again = open_like(lan, TCP, &like);
    assert_int_equal(bind_like(lan, again, &like, 80, NULL), -EADDRINUSE);
    foyer_socket_close(lan->host, accepted, lan->now);
    assert_int_equal(bind_like(lan, again, &like, 80, NULL), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, lan_setup, lan_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bind_matrix),
        TEST(two_reusers_one_listener),
        TEST(reuse_set_after_bind),
        TEST(bind_errors),
        TEST(scoring),
        TEST(v6only_does_not_hear_v4),
        TEST(bound_only_is_not_found),
        TEST(reuseport_spreads_by_flow),
        cmocka_unit_test(autobind_until_exhausted),
        cmocka_unit_test(connect_shares_ports_between_remotes),
        cmocka_unit_test(connect_avoids_bound_ports),
        TEST(same_tuple_twice),
        TEST(local_carrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
