/* ipc/paths: where files go, and which directories are not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/paths.h"

static int clean_environment(void **state)
{
    (void)state;
    unsetenv("FOYER_DIR");
    unsetenv("FOYER_BUILDING");
    unsetenv("XDG_RUNTIME_DIR");
    return 0;
}

static void directory_by_environment(void **state)
{
    (void)state;
    struct paths paths;
    char expected[64];
    assert_int_equal(paths_init(&paths, NULL), 0);
    snprintf(expected, sizeof(expected), "/tmp/foyer-%u/default/foyerd.sock", (unsigned)geteuid());
    assert_string_equal(paths.socket, expected);
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_int_equal(paths_init(&paths, NULL), 0);
    assert_string_equal(paths.socket, expected);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("FOYER_BUILDING", "lab", 1);
    assert_int_equal(paths_init(&paths, NULL), 0);
    assert_string_equal(paths.log, "/run/user/7/foyer/lab/foyerd.log");
    setenv("FOYER_DIR", "/x", 1);
    assert_int_equal(paths_init(&paths, "other"), 0);
    assert_string_equal(paths.lock, "/x/other/foyerd.lock");
    assert_string_equal(paths.building, "other");
}

static void refused_names_and_lengths(void **state)
{
    (void)state;
    struct paths paths;
    char deep[120];
    assert_int_equal(paths_init(&paths, "../etc"), -EINVAL);
    assert_int_equal(paths_init(&paths, "."), -EINVAL);
    deep[0] = '/';
    memset(deep + 1, 'a', sizeof(deep) - 2);
    deep[sizeof(deep) - 1] = '\0';
    setenv("FOYER_DIR", deep, 1);
    assert_int_equal(paths_init(&paths, NULL), -ENAMETOOLONG);
}

static void labels(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "web", "a-b", "1a", "a1", "x--y"};
    static const char *const bad[] = {"",  "-",   "-a", "a-",  "A",  "a_b", "a.b",
                                      "1", "127", "ä",  "a b", "a/", "a\n", "a:"};
    char longest[FOYER_NAME_MAX + 1];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(name_is_label(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(name_is_label(bad[i]));
    memset(longest, 'a', sizeof(longest));
    longest[63] = '\0';
    assert_true(name_is_label(longest));
    longest[63] = 'a';
    longest[64] = '\0';
    assert_false(name_is_label(longest));
}

static void directories_are_checked(void **state)
{
    (void)state;
    struct paths paths;
    char base[] = "/tmp/foyer-unit.XXXXXX", root[64], link[64];
    assert_non_null(mkdtemp(base));
    snprintf(root, sizeof(root), "%s/root", base);
    snprintf(link, sizeof(link), "%s/link", base);
    setenv("FOYER_DIR", root, 1);
    assert_int_equal(paths_init(&paths, NULL), 0);
    assert_int_equal(paths_check(&paths), -ENOENT);
    assert_int_equal(paths_prepare(&paths), 0);
    assert_int_equal(paths_prepare(&paths), 0);
    assert_int_equal(paths_check(&paths), 0);
    /* Open to others: somebody may have put things there. */
    assert_int_equal(chmod(root, 0750), 0);
    assert_int_equal(paths_prepare(&paths), -EPERM);
    assert_int_equal(chmod(root, 0700), 0);
    assert_int_equal(chmod(paths.directory, 0701), 0);
    assert_int_equal(paths_check(&paths), -EPERM);
    assert_int_equal(chmod(paths.directory, 0700), 0);
    /* A symbolic link to a good directory is still somebody's trick. */
    assert_int_equal(symlink(root, link), 0);
    setenv("FOYER_DIR", link, 1);
    struct paths linked;
    assert_int_equal(paths_init(&linked, NULL), 0);
    assert_int_equal(paths_prepare(&linked), -EPERM);
    if (geteuid() == 0) {
        assert_int_equal(chown(root, 65534, 65534), 0);
        assert_int_equal(paths_check(&paths), -EPERM);
    }
    rmdir(paths.directory);
    rmdir(root);
    unlink(link);
    rmdir(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(directory_by_environment, clean_environment),
        cmocka_unit_test_setup(refused_names_and_lengths, clean_environment),
        cmocka_unit_test(labels),
        cmocka_unit_test_setup(directories_are_checked, clean_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
