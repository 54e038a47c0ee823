/* ipc/request: what is let through to foyerd, and what ends a session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "ipc/request.h"

/* A well-formed message of each type, and who may send it. */
struct sample {
    const char *name;
    uint32_t role;
    unsigned fd_count;
    union {
        struct foyer_request header;
        struct foyer_hello hello;
        struct foyer_request_socket socket;
        struct foyer_request_endpoint endpoint;
        struct foyer_request_listen listen;
        struct foyer_request_resolve resolve;
        struct foyer_request_inbox inbox;
        char bytes[512];
    } message;
};

#define HEADER(kind, body, ident)                                                                  \
    {                                                                                              \
        .type = FOYER_REQUEST_##kind, .size = sizeof(struct body), .id = (ident)                   \
    }

static const struct sample samples[] = {
    {"hello",
     REQUEST_ROLE_NONE,
     0,
     {.hello = {.header = HEADER(HELLO, foyer_hello, 0),
                .version = 1,
                .role = FOYER_ROLE_PROGRAM,
                .host = "web"}}},
    {"session", FOYER_ROLE_BIRTH, 1, {.header = HEADER(SESSION, foyer_request, 0)}},
    {"socket",
     FOYER_ROLE_PROGRAM,
     0,
     {.socket = {.header = HEADER(SOCKET, foyer_request_socket, 0), .family = AF_INET}}},
    {"bind",
     FOYER_ROLE_PROGRAM,
     0,
     {.endpoint = {.header = HEADER(BIND, foyer_request_endpoint, 7)}}},
    {"listen",
     FOYER_ROLE_PROGRAM,
     0,
     {.listen = {.header = HEADER(LISTEN, foyer_request_listen, 7), .backlog = 5}}},
    {"connect",
     FOYER_ROLE_PROGRAM,
     0,
     {.endpoint = {.header = HEADER(CONNECT, foyer_request_endpoint, 7)}}},
    {"options", FOYER_ROLE_PROGRAM, 0, {.header = HEADER(OPTIONS, foyer_request, 7)}},
    {"attach", FOYER_ROLE_PROGRAM, 1, {.header = HEADER(ATTACH, foyer_request, 7)}},
    {"resolve",
     FOYER_ROLE_PROGRAM,
     0,
     {.resolve = {.header = HEADER(RESOLVE, foyer_request_resolve, 0), .name = "web"}}},
    {"info", FOYER_ROLE_PROGRAM, 0, {.header = HEADER(INFO, foyer_request, 7)}},
    {"forked", FOYER_ROLE_PROGRAM, 0, {.header = HEADER(FORKED, foyer_request, 0)}},
    {"direct",
     FOYER_ROLE_PROGRAM,
     0,
     {.endpoint = {.header = HEADER(DIRECT, foyer_request_endpoint, 7)}}},
    {"inbox", FOYER_ROLE_PROGRAM, 1, {.inbox = {.header = HEADER(INBOX, foyer_request_inbox, 7)}}},
};

#define SAMPLE_COUNT (sizeof(samples) / sizeof(samples[0]))

static int parse(const struct sample *sample, struct request *ret_request)
{
    return request_parse(&sample->message, sample->message.header.size, sample->fd_count,
                         sample->role, ret_request);
}

static void good_requests_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct request request;
        print_message("%s\n", samples[i].name);
        assert_int_equal(parse(&samples[i], &request), 0);
        assert_int_equal(request.type, samples[i].message.header.type);
        assert_int_equal(request.id, samples[i].message.header.id);
    }
}

static void each_role_has_its_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        for (uint32_t role = 0; role <= FOYER_ROLE_CONTROL + 1; role++) {
            struct sample sample = samples[i];
            struct request request;
            sample.role = role;
            assert_int_equal(parse(&sample, &request), role == samples[i].role ? 0 : -EPROTO);
        }
    }
}

static void sizes_and_descriptors_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct request request;
        uint32_t size = samples[i].message.header.size;
        for (uint32_t other = 0; other <= size + 1; other++) {
            struct sample sample = samples[i];
            if (other == size)
                continue;
            /* The message is of another size than it says, and than its type has. */
            assert_int_equal(
                request_parse(&sample.message, other, sample.fd_count, sample.role, &request),
                -EPROTO);
            sample.message.header.size = other;
            assert_int_equal(
                request_parse(&sample.message, other, sample.fd_count, sample.role, &request),
                -EPROTO);
        }
        for (unsigned fds = 0; fds <= FOYER_MESSAGE_FDS_MAX; fds++) {
            if (fds != samples[i].fd_count)
                assert_int_equal(
                    request_parse(&samples[i].message, size, fds, samples[i].role, &request),
                    -EPROTO);
        }
    }
}

static void sockets_have_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        struct sample sample = samples[i];
        struct request request;
        if (sample.message.header.id == 0)
            continue;
        sample.message.header.id = 0;
        assert_int_equal(parse(&sample, &request), -EPROTO);
    }
}

static void strings_must_end(void **state)
{
    (void)state;
    struct sample hello = samples[0], resolve = samples[8];
    struct request request;
    memset(hello.message.hello.host, 'a', FOYER_NAME_MAX);
    assert_int_equal(parse(&hello, &request), -EPROTO);
    hello.message.hello.host[FOYER_NAME_MAX - 1] = '\0';
    assert_int_equal(parse(&hello, &request), 0);
    memset(hello.message.hello.program, 'a', FOYER_NAME_MAX);
    assert_int_equal(parse(&hello, &request), -EPROTO);
    memset(resolve.message.resolve.name, 'a', sizeof(resolve.message.resolve.name));
    assert_int_equal(parse(&resolve, &request), -EPROTO);
}

static void fields_have_ranges(void **state)
{
    (void)state;
    struct request request;
    struct sample hello = samples[0], connect = samples[5];
    hello.message.hello.role = 0;
    assert_int_equal(parse(&hello, &request), -EPROTO);
    hello.message.hello.role = FOYER_ROLE_CONTROL + 1;
    assert_int_equal(parse(&hello, &request), -EPROTO);
    hello.message.hello.role = FOYER_ROLE_BIRTH;
    hello.message.hello.parent_pid = -1;
    assert_int_equal(parse(&hello, &request), -EPROTO);
    connect.message.endpoint.family_unspecified = 2;
    assert_int_equal(parse(&connect, &request), -EPROTO);
}

static void control_borrows_its_text(void **state)
{
    (void)state;
    struct request request;
    struct {
        struct foyer_request header;
        char text[2];
    } message = {.header = {.type = FOYER_REQUEST_CONTROL, .size = 18}, .text = {'{', '}'}};
    assert_int_equal(request_parse(&message, 18, 0, FOYER_ROLE_CONTROL, &request), 0);
    assert_ptr_equal(request.text, message.text);
    assert_int_equal(request.text_size, 2);
    assert_int_equal(request_parse(&message, 18, 1, FOYER_ROLE_CONTROL, &request), 0);
    assert_int_equal(request_parse(&message, 18, 2, FOYER_ROLE_CONTROL, &request), -EPROTO);
    message.header.size = 16;
    assert_int_equal(request_parse(&message, 16, 0, FOYER_ROLE_CONTROL, &request), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests_pass),
        cmocka_unit_test(each_role_has_its_requests),
        cmocka_unit_test(sizes_and_descriptors_are_exact),
        cmocka_unit_test(sockets_have_ids),
        cmocka_unit_test(strings_must_end),
        cmocka_unit_test(fields_have_ranges),
        cmocka_unit_test(control_borrows_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
