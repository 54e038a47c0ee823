/* daemon/conflict: the line that a person reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/conflict.h"

static int use_utc(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

/* 2026-11-21 14:02:11 UTC */
#define SINCE_S 1795269731.0

static const struct conflict nginx = {
    .protocol = "tcp",
    .port = 80,
    .service = "http",
    .host = "building",
    .program = "nginx",
    .pid = 4711,
    .user = "www",
    .since_s = SINCE_S,
    .now_s = SINCE_S + 60,
};

static void the_line(void **state)
{
    (void)state;
    char text[FOYER_CONFLICT_TEXT_MAX];
    conflict_format(&nginx, text);
    assert_string_equal(text, "foyer: port 80/tcp (http) on host building is taken: nginx (pid "
                              "4711, user www) has held it since 14:02:11; stop it with \"kill "
                              "4711\", choose another port, or run this on another host with "
                              "\"foyer run --host NAME\"");
}

static void yesterday_has_a_date(void **state)
{
    (void)state;
    char text[FOYER_CONFLICT_TEXT_MAX];
    struct conflict conflict = nginx;
    conflict.now_s += 86400;
    conflict_format(&conflict, text);
    assert_non_null(strstr(text, "since 2026-11-21 14:02:11;"));
}

static void without_name_or_process(void **state)
{
    (void)state;
    char text[FOYER_CONFLICT_TEXT_MAX];
    struct conflict conflict = nginx;
    conflict.service = NULL;
    conflict.pid = 0;
    conflict_format(&conflict, text);
    assert_non_null(strstr(text, "port 80/tcp on host building is taken: nginx (user www)"));
    assert_null(strstr(text, "kill"));
    conflict.program = NULL;
    conflict_format(&conflict, text);
    assert_non_null(strstr(text, "a connection that is closing"));
}

static void names_of_programs_cannot_write_to_the_terminal(void **state)
{
    (void)state;
    char text[FOYER_CONFLICT_TEXT_MAX], host[FOYER_NAME_MAX], program[FOYER_NAME_MAX], user[200];
    struct conflict conflict = nginx;
    conflict.program = "evil\n\x1b[2J";
    conflict_format(&conflict, text);
    assert_non_null(strstr(text, "evil??[2J"));
    /* The longest of everything still fits on its line. */
    memset(host, 'h', sizeof(host));
    host[sizeof(host) - 1] = '\0';
    memset(program, 'p', sizeof(program));
    program[sizeof(program) - 1] = '\0';
    memset(user, 'u', sizeof(user));
    user[sizeof(user) - 1] = '\0';
    conflict.host = host;
    conflict.program = program;
    conflict.user = user;
    conflict.service = user;
    conflict.pid = 2147483647;
    conflict.now_s += 86400;
    conflict_format(&conflict, text);
    assert_non_null(strstr(text, "\"foyer run --host NAME\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line),
        cmocka_unit_test(yesterday_has_a_date),
        cmocka_unit_test(without_name_or_process),
        cmocka_unit_test(names_of_programs_cannot_write_to_the_terminal),
    };
    return cmocka_run_group_tests(tests, use_utc, NULL);
}
