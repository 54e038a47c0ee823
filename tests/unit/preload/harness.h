/*
 * The module's inner parts, without its entry points and without foyerd: the sources are included
 * as they are, and what they need of the rest is here. Sockets are made of a slot and a channel in
 * plain memory, so that a sanitizer sees every byte beyond a ring.
 */
#ifndef FOYER_TESTS_PRELOAD_HARNESS_H
#define FOYER_TESTS_PRELOAD_HARNESS_H

#define _GNU_SOURCE

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <stdlib.h>

#include "preload/preload.h"

/* Called where a thread has given back a slot's lock, and may lose its core; NULL: nothing. */
static void (*harness_after_unlock)(struct socket_object *sock);

static void harness_slot_unlock(struct socket_object *sock, int which)
{
    slot_unlock(sock, which);
    if (harness_after_unlock != NULL)
        harness_after_unlock(sock);
}

#include "preload/address.c"
#define slot_unlock harness_slot_unlock
#include "preload/data.c"
#undef slot_unlock
#include "preload/hold.c"
#include "preload/keep.c"

/* Called where a kept connection is about to be used again; NULL: nothing. */
static void (*harness_before_renewal)(const struct socket_object *sock);

static void harness_kept_renew(struct socket_object *sock, uint32_t options,
                               const struct foyer_slot *settings)
{
    if (harness_before_renewal != NULL)
        harness_before_renewal(sock);
    kept_renew(sock, options, settings);
}

#define kept_renew harness_kept_renew
#include "preload/keep_accept.c"
#undef kept_renew
#include "preload/keep_connect.c"
#include "preload/table.c"
#include "preload/urgent.c"

/* What wait.c takes for the time; 0: the time. */
static int64_t harness_clock_ns;

static int harness_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    if (harness_clock_ns == 0)
        return clock_gettime(clock, ret_now);
    *ret_now = (struct timespec){.tv_sec = harness_clock_ns / 1000000000,
                                 .tv_nsec = harness_clock_ns % 1000000000};
    return 0;
}

#define clock_gettime harness_clock_gettime
#include "preload/wait.c"
#undef clock_gettime

#include "preload/datagram.c"
#undef HEADER_SIZE
#undef PAYLOAD_MAX_V6
#include "preload/control.c"

/* Called where a datagram has been taken out of its ring; NULL: nothing. */
static void (*harness_after_take)(void);

static void harness_publish_tail(const struct foyer_ring *ring, uint32_t tail)
{
    foyer_ring_publish_tail(ring, tail);
    if (harness_after_take != NULL)
        harness_after_take();
}

#define foyer_ring_publish_tail harness_publish_tail
#include "preload/direct.c"
#undef foyer_ring_publish_tail
#include "preload/errors.c"

struct real_functions real_functions;
struct preload_config preload_config = {.birth_fd = -1, .spin_us = 0};

void real_resolve(void)
{
#define RESOLVE(name)                                                                              \
    real_functions.name = (__typeof__(real_functions.name))dlsym(RTLD_DEFAULT, #name);
    REAL_LIST(RESOLVE)
#undef RESOLVE
}

int preload_thread_id(void)
{
    return (int)RAW(SYS_gettid);
}

int session_call(struct foyer_request *request, const struct message_fds *fds,
                 struct foyer_reply *ret_reply, size_t reply_size, struct message_fds *ret_fds)
{
    (void)request, (void)fds, (void)ret_reply, (void)reply_size, (void)ret_fds;
    return -ENETDOWN;
}

void session_tell(struct foyer_request *request)
{
    (void)request;
}

void *session_arena(uint32_t number)
{
    (void)number;
    return NULL;
}

bool spare_put(const struct spare *spare)
{
    (void)spare;
    return false;
}

int socket_check_limit(int fd)
{
    (void)fd;
    return 0;
}

int socket_autobind(struct socket_object *sock)
{
    (void)sock;
    return 0;
}

bool socket_is_nonblocking(const struct socket_object *sock, int flags)
{
    return (flags & MSG_DONTWAIT) != 0 || (slot_options(sock) & FOYER_SLOT_NONBLOCK) != 0;
}

void socket_follow_peer(const struct socket_object *sock, int fd)
{
    (void)sock, (void)fd;
}

struct channel *socket_channel(struct socket_object *sock, int fd)
{
    (void)fd;
    return socket_channel_now(sock);
}

void epoll_forget_socket(struct socket_object *sock, int fd, bool is_kept)
{
    (void)sock, (void)fd, (void)is_kept;
}

void epoll_destroy(struct epoll_object *epoll)
{
    (void)epoll;
}

#define RING_SIZE 4096u

/* One socket; `peer` is the other side's view of its rings. */
struct fixture {
    struct foyer_slot slot;
    struct socket_object sock;
    struct channel channel;
    struct foyer_ring_shared shared[2];
    uint8_t *data[2]; /* on the heap, exactly RING_SIZE each */
    int ends[2];      /* program end, daemon end */
};

static struct fixture *fixture_create(uint32_t type)
{
    struct fixture *fixture = aligned_alloc(64, (sizeof(*fixture) + 63) & ~(size_t)63);
    assert_non_null(fixture);
    memset(fixture, 0, sizeof(*fixture));
    if (table_size == 0)
        assert_true(table_init(1024, 512));
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fixture->ends), 0);
    for (int i = 0; i < 2; i++)
        fixture->data[i] = malloc(RING_SIZE);
    fixture->channel.bell = -1;
    fixture->channel.tx = (struct foyer_ring){&fixture->shared[0], fixture->data[0], RING_SIZE};
    fixture->channel.rx = (struct foyer_ring){&fixture->shared[1], fixture->data[1], RING_SIZE};
    fixture->slot.state = type == SOCK_STREAM ? FOYER_SLOT_CONNECTED : FOYER_SLOT_DATAGRAM;
    fixture->sock.object.kind = OBJECT_SOCKET;
    fixture->sock.object.references = 1;
    fixture->sock.family = AF_INET;
    fixture->sock.type = type;
    fixture->sock.slot = &fixture->slot;
    fixture->sock.hidden_fd = -1;
    fixture->sock.channel = &fixture->channel;
    atomic_store(&table[fixture->ends[0]], &fixture->sock.object);
    return fixture;
}

static void fixture_destroy(struct fixture *fixture)
{
    atomic_store(&table[fixture->ends[0]], NULL);
    close(fixture->ends[0]);
    close(fixture->ends[1]);
    free(fixture->data[0]);
    free(fixture->data[1]);
    free(fixture);
}

#endif
