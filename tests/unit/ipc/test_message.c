/* ipc/message: messages and descriptors over real socket pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/message.h"

struct pair {
    int ends[2];
};

static void open_pair(struct pair *pair, int type)
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair->ends), 0);
}

static void close_pair(struct pair *pair)
{
    close(pair->ends[0]);
    close(pair->ends[1]);
}

/* Which object a descriptor is of. */
static ino_t inode(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    return status.st_ino;
}

static unsigned count_open(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void descriptors_travel_close_on_exec(void **state)
{
    (void)state;
    struct pair pair, other;
    char text[16];
    open_pair(&pair, SOCK_SEQPACKET);
    open_pair(&other, SOCK_STREAM);
    struct message_fds sent = {{other.ends[0], other.ends[1], pair.ends[0], pair.ends[1]}, 4};
    struct message_fds got;
    assert_int_equal(message_send(pair.ends[0], "four", 4, &sent, 0), 4);
    assert_int_equal(message_receive(pair.ends[1], text, sizeof(text), &got, 0), 4);
    assert_memory_equal(text, "four", 4);
    assert_int_equal(got.count, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(inode(got.fds[i]), inode(sent.fds[i]));
        assert_true((fcntl(got.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    }
    int taken = message_fds_take(&got, 1);
    message_fds_close(&got);
    assert_int_equal(inode(taken), inode(other.ends[1]));
    assert_int_equal(message_fds_take(&got, 0), -1);
    close(taken);
    close_pair(&pair);
    close_pair(&other);
}

static void unwanted_descriptors_are_closed(void **state)
{
    (void)state;
    struct pair pair;
    char text[4];
    open_pair(&pair, SOCK_SEQPACKET);
    unsigned before = count_open();
    struct message_fds fds = {{0, 1}, 2};
    assert_int_equal(message_send(pair.ends[0], "x", 1, &fds, 0), 1);
    assert_int_equal(message_receive(pair.ends[1], text, sizeof(text), NULL, 0), 1);
    assert_int_equal(count_open(), before);
    /* Longer than the room: lost, and nothing stays open. */
    assert_int_equal(message_send(pair.ends[0], "too long", 8, &fds, 0), 8);
    assert_int_equal(message_receive(pair.ends[1], text, sizeof(text), &fds, 0), -EMSGSIZE);
    assert_int_equal(count_open(), before);
    close_pair(&pair);
}

static void hang_up_and_would_block(void **state)
{
    (void)state;
    struct pair pair;
    char text[4];
    struct message_fds fds;
    open_pair(&pair, SOCK_SEQPACKET);
    assert_int_equal(message_receive(pair.ends[1], text, sizeof(text), &fds, MSG_DONTWAIT),
                     -EAGAIN);
    close(pair.ends[0]);
    assert_int_equal(message_receive(pair.ends[1], text, sizeof(text), &fds, 0), 0);
    assert_int_equal(fds.count, 0);
    assert_int_equal(message_send(pair.ends[1], "x", 1, NULL, 0), -EPIPE);
    close(pair.ends[1]);
    struct message_fds many = {.count = FOYER_MESSAGE_FDS_MAX + 1};
    assert_int_equal(message_send(0, "x", 1, &many, 0), -EINVAL);
}

static void calls_check_their_reply(void **state)
{
    (void)state;
    struct pair pair;
    struct foyer_request request = {.type = FOYER_REQUEST_INFO, .size = sizeof(request), .id = 7};
    struct foyer_reply reply = {.type = FOYER_REQUEST_INFO, .error = ENOENT, .id = 7}, got;
    open_pair(&pair, SOCK_SEQPACKET);
    /* The answers lie ready; a call sends its request and takes the next one. */
    message_send(pair.ends[1], &reply, sizeof(reply), NULL, 0);
    assert_int_equal(
        message_call(pair.ends[0], &request, sizeof(request), NULL, &got, sizeof(got), NULL),
        sizeof(got));
    assert_int_equal(got.error, ENOENT);
    reply.type = FOYER_REQUEST_BIND;
    message_send(pair.ends[1], &reply, sizeof(reply), NULL, 0);
    assert_int_equal(
        message_call(pair.ends[0], &request, sizeof(request), NULL, &got, sizeof(got), NULL),
        -EPROTO);
    message_send(pair.ends[1], &reply, 4, NULL, 0);
    assert_int_equal(
        message_call(pair.ends[0], &request, sizeof(request), NULL, &got, sizeof(got), NULL),
        -EPROTO);
    close(pair.ends[1]);
    assert_int_equal(
        message_call(pair.ends[0], &request, sizeof(request), NULL, &got, sizeof(got), NULL),
        -EPIPE);
    close(pair.ends[0]);
}

static void connect_needs_a_short_path(void **state)
{
    (void)state;
    char path[200];
    memset(path, 'a', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(message_connect(path), -ENAMETOOLONG);
    assert_int_equal(message_connect(""), -ENAMETOOLONG);
    assert_int_equal(message_connect("/nonexistent/foyerd.sock"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_travel_close_on_exec),
        cmocka_unit_test(unwanted_descriptors_are_closed),
        cmocka_unit_test(hang_up_and_would_block),
        cmocka_unit_test(calls_check_their_reply),
        cmocka_unit_test(connect_needs_a_short_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
