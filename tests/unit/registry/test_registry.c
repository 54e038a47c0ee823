#define _GNU_SOURCE /* mkdtemp, truncate */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "registry/registry.h"

#define TCP FOYER_REGISTRY_TCP
#define UDP FOYER_REGISTRY_UDP
#define ALL FOYER_REGISTRY_ALL_PROTOCOLS
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct foyer_registry *make(const char *system, const char *user)
{
    struct foyer_registry *registry;
    assert_int_equal(foyer_registry_create(&registry), 0);
    if (system) {
        assert_int_equal(foyer_registry_load_bytes(registry, FOYER_REGISTRY_SYSTEM, "system",
                                                   system, strlen(system), NULL),
                         0);
    }
    if (user) {
        assert_int_equal(foyer_registry_load_bytes(registry, FOYER_REGISTRY_USER, "user", user,
                                                   strlen(user), NULL),
                         0);
    }
    return registry;
}

static const char system_file[] = "web 80/tcp www\n"
                                  "shop 5000/tcp\n"
                                  "first 6100/tcp\n"
                                  "second 6100/tcp\n"
                                  "wide 6200-6299/tcp\n"
                                  "narrow 6210-6219/tcp\n"
                                  "exact 6215/tcp\n"
                                  "twice 7001/tcp\n"
                                  "twice 7000/tcp\n"
                                  "other 7002/tcp twice\n";
static const char user_file[] = "mine 5000/tcp\n"
                                "http 8080/tcp\n"
                                "span 6214-6215/tcp\n"
                                "first 9999/udp\n";

static void ports_are_named_by_the_highest_source(void **state)
{
    (void)state;
    static const struct {
        uint16_t port;
        uint8_t protocols;
        const char *name; /* NULL: none */
        uint8_t ret_protocols;
        enum foyer_registry_source source;
        uint32_t line;
    } cases[] = {
        {80, TCP, "web", TCP, FOYER_REGISTRY_SYSTEM, 1},
        {80, UDP, "http", UDP, FOYER_REGISTRY_IANA, 0},
        {80, TCP | UDP, "web", TCP, FOYER_REGISTRY_SYSTEM, 1},
        {22, TCP, "ssh", TCP, FOYER_REGISTRY_IANA, 0},
        {5000, TCP, "mine", TCP, FOYER_REGISTRY_USER, 1},
        {8080, TCP, "http", TCP, FOYER_REGISTRY_USER, 2},
        {8080, UDP, "http-alt", UDP, FOYER_REGISTRY_IANA, 0},
        {6100, TCP, "first", TCP, FOYER_REGISTRY_SYSTEM, 3},
        {6200, TCP, "wide", TCP, FOYER_REGISTRY_SYSTEM, 5},
        {6299, TCP, "wide", TCP, FOYER_REGISTRY_SYSTEM, 5},
        {6210, TCP, "narrow", TCP, FOYER_REGISTRY_SYSTEM, 6},
        {6219, TCP, "narrow", TCP, FOYER_REGISTRY_SYSTEM, 6},
        {6215, TCP, "span", TCP, FOYER_REGISTRY_USER, 3}, /* a range of a higher source */
        {6063, TCP, "x11", TCP, FOYER_REGISTRY_IANA, 0},
        {0, ALL, NULL, 0, 0, 0},
        {65535, ALL, NULL, 0, 0, 0},
    };
    struct foyer_registry *registry = make(system_file, user_file);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct foyer_registry_entry entry = {0};
        int result =
            foyer_registry_lookup_port(registry, cases[i].port, cases[i].protocols, &entry);
        print_message("port %u protocols %u\n", cases[i].port, cases[i].protocols);
        if (!cases[i].name) {
            assert_int_equal(result, -ENOENT);
            assert_null(entry.name);
            continue;
        }
        assert_int_equal(result, 0);
        assert_string_equal(entry.name, cases[i].name);
        assert_int_equal(entry.protocols, cases[i].ret_protocols);
        assert_int_equal(entry.source, cases[i].source);
        assert_int_equal(entry.line, cases[i].line);
        assert_false(entry.is_alias);
    }
    struct foyer_registry_entry entry;
    assert_int_equal(foyer_registry_lookup_port(registry, 80, 0, &entry), -EINVAL);
    assert_int_equal(foyer_registry_lookup_port(registry, 80, 16, &entry), -EINVAL);
    foyer_registry_destroy(registry);
}

static void narrow_names_go_before_wide_ones(void **state)
{
    (void)state;
    static const struct {
        uint16_t port;
        const char *name;
    } cases[] = {
        {6200, "broad"},  {6210, "narrow"}, {6214, "narrow"}, {6215, "exact"},
        {6216, "narrow"}, {6220, "begins"}, {6221, "begins"}, {6222, "later"},
    };
    /* "broad" is first by name and by line, "later" begins where "begins" has its middle. */
    struct foyer_registry *registry = make("broad 6200-6299/tcp\n"
                                           "narrow 6210-6219/tcp\n"
                                           "exact 6215/tcp\n"
                                           "later 6220-6290/tcp\n"
                                           "begins 6219-6221/tcp\n"
                                           "again 6219-6221/tcp\n",
                                           NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct foyer_registry_entry entry;
        print_message("port %u\n", cases[i].port);
        assert_int_equal(foyer_registry_lookup_port(registry, cases[i].port, TCP, &entry), 0);
        assert_string_equal(entry.name, cases[i].name);
    }
    foyer_registry_destroy(registry);
}

static void names_lead_to_ports(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint8_t protocols;
        uint16_t port; /* 0: none */
        bool is_alias;
    } cases[] = {
        {"ssh", TCP, 22, false},
        {"SSH", TCP, 22, false},
        {"http", TCP, 8080, false}, /* the user's */
        {"http", UDP, 80, false},   /* IANA's */
        {"web", TCP, 80, false},
        {"www", TCP, 80, true},
        {"shop", TCP, 5000, false}, /* overridden by port, still known by name */
        {"wide", TCP, 6200, false},
        {"twice", TCP, 7001, false}, /* the first line, neither the lowest port nor the alias */
        {"first", TCP, 6100, false},
        {"first", TCP | UDP, 9999, false},
        {"redis", UDP, 0, false},
        {"", ALL, 0, false},
        {"no-such-service", ALL, 0, false},
        {"zzzzzzzzzzzzzzzzzzz", ALL, 0, false},
    };
    struct foyer_registry *registry = make(system_file, user_file);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct foyer_registry_entry entry = {0};
        int result =
            foyer_registry_lookup_name(registry, cases[i].name, cases[i].protocols, &entry);
        print_message("name %s protocols %u\n", cases[i].name, cases[i].protocols);
        assert_int_equal(result, cases[i].port ? 0 : -ENOENT);
        assert_int_equal(entry.port_first, cases[i].port);
        assert_int_equal(entry.is_alias, cases[i].is_alias);
    }
    struct foyer_registry_entry entry;
    assert_int_equal(foyer_registry_lookup_name(registry, "http", 0, &entry), -EINVAL);
    foyer_registry_destroy(registry);
}

/* Entries as "name first-last protocols[a]", separated by "; ". */
static void list(const struct foyer_registry *registry, const struct foyer_registry_filter *filter,
                 char *text, size_t capacity)
{
    struct foyer_registry_iterator iterator;
    struct foyer_registry_entry entry;
    size_t size = 0;
    text[0] = '\0';
    foyer_registry_iterator_init(&iterator, registry, filter);
    while (foyer_registry_iterator_next(&iterator, &entry)) {
        int n =
            snprintf(text + size, capacity - size, "%s%s %u-%u %u%s", size ? "; " : "", entry.name,
                     entry.port_first, entry.port_last, entry.protocols, entry.is_alias ? "a" : "");
        assert_true(n > 0 && (size_t)n < capacity - size);
        size += (size_t)n;
    }
}

static void iterator_merges_the_sources(void **state)
{
    (void)state;
    static const struct {
        struct foyer_registry_filter filter;
        const char *expected;
    } cases[] = {
        {{80, 80, ALL, false, 0, NULL}, "web 80-80 1; http 80-80 6"},
        {{80, 80, TCP, false, 0, NULL}, "web 80-80 1"},
        {{80, 80, UDP, false, 0, NULL}, "http 80-80 2"},
        {{80, 80, ALL, true, 0, NULL}, "web 80-80 1; http 80-80 6; http 80-80 1a; www 80-80 1a"},
        {{80, 80, ALL, true, FOYER_REGISTRY_MATCH_EXACT, "WWW"}, "www 80-80 1a"},
        {{5000, 5000, TCP, false, 0, NULL}, "mine 5000-5000 1"},
        {{5000, 5000, TCP, true, FOYER_REGISTRY_MATCH_PREFIX, "sh"}, "shop 5000-5000 1a"},
        {{6212, 6214, TCP, false, FOYER_REGISTRY_MATCH_CONTAINS, "w"},
         "wide 6200-6299 1; narrow 6210-6219 1"},
        {{6209, 6209, TCP, false, FOYER_REGISTRY_MATCH_CONTAINS, "a"}, ""},
        {{6214, 6215, TCP, false, 0, "a"}, "narrow 6210-6219 1; span 6214-6215 1"},
        {{0, 65535, TCP, false, FOYER_REGISTRY_MATCH_EXACT, "http"}, "http 8080-8080 1"},
        {{0, 65535, TCP, true, FOYER_REGISTRY_MATCH_EXACT, "http"},
         "http 80-80 1a; http 8080-8080 1"},
        {{0, 65535, UDP, false, FOYER_REGISTRY_MATCH_EXACT, "http-alt"},
         "http-alt 591-591 2; http-alt 8008-8008 2; http-alt 8080-8080 2"},
        {{0, 65535, ALL, false, FOYER_REGISTRY_MATCH_CONTAINS, "no-such"}, ""},
        {{9, 8, ALL, true, 0, NULL}, ""},
        {{0, 65535, 0, true, 0, NULL}, ""},
    };
    struct foyer_registry *registry = make(system_file, user_file);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        print_message("case %zu\n", i);
        list(registry, &cases[i].filter, text, sizeof(text));
        assert_string_equal(text, cases[i].expected);
    }
    foyer_registry_destroy(registry);
}

static void overridden_names_are_listed_once(void **state)
{
    (void)state;
    struct foyer_registry *registry =
        make("web 80/tcp http\nshop 50000/tcp/udp store\n", "mine 50000/tcp\n");
    struct foyer_registry_filter filter = {80, 80, ALL, true, 0, NULL};
    char text[256];
    list(registry, &filter, text, sizeof(text));
    assert_string_equal(text, "web 80-80 1; http 80-80 6; http 80-80 1a; www 80-80 1a");
    filter.port_first = filter.port_last = 50000;
    list(registry, &filter, text, sizeof(text));
    assert_string_equal(text, "mine 50000-50000 1; shop 50000-50000 2; shop 50000-50000 1a; "
                              "store 50000-50000 3a");
    foyer_registry_destroy(registry);
}

/* Without aliases, the list is what asking for each port and protocol one by one gives. */
static void iterator_agrees_with_lookups(void **state)
{
    (void)state;
    struct foyer_registry *registry = make(system_file, user_file);
    static uint8_t seen[65536];
    struct foyer_registry_iterator iterator;
    struct foyer_registry_entry entry;
    memset(seen, 0, sizeof(seen));
    foyer_registry_iterator_init(&iterator, registry, NULL);
    while (foyer_registry_iterator_next(&iterator, &entry)) {
        for (uint32_t port = entry.port_first; port <= entry.port_last; port++) {
            seen[port] |= entry.protocols;
        }
    }
    for (uint32_t port = 0; port <= UINT16_MAX; port++) {
        for (uint8_t bit = 1; bit <= FOYER_REGISTRY_DCCP; bit = (uint8_t)(bit << 1)) {
            int result = foyer_registry_lookup_port(registry, (uint16_t)port, bit, &entry);
            assert_int_equal(result, seen[port] & bit ? 0 : -ENOENT);
        }
    }
    foyer_registry_destroy(registry);
}

static void lines_for_one_service_are_merged(void **state)
{
    (void)state;
    struct foyer_registry *registry =
        make(NULL, "shop 50000/udp a\nshop 50000/udp\nbar 50000/tcp\nSHOP 50000/sctp A shop\n");
    struct foyer_registry_filter filter = {50000, 50000, ALL, true, 0, NULL};
    char text[256];
    list(registry, &filter, text, sizeof(text));
    assert_string_equal(text, "shop 50000-50000 6; bar 50000-50000 1; a 50000-50000 6a");
    foyer_registry_destroy(registry);
}

static void loading_again_replaces(void **state)
{
    (void)state;
    struct foyer_registry *registry = make("one 50001/tcp\n", NULL);
    struct foyer_registry_entry entry;
    assert_int_equal(
        foyer_registry_load_bytes(registry, FOYER_REGISTRY_SYSTEM, "", "two 50002/tcp", 13, NULL),
        0);
    assert_int_equal(foyer_registry_lookup_port(registry, 50001, TCP, &entry), -ENOENT);
    assert_int_equal(foyer_registry_lookup_port(registry, 50002, TCP, &entry), 0);
    assert_int_equal(foyer_registry_load_bytes(registry, FOYER_REGISTRY_SYSTEM, "", NULL, 0, NULL),
                     0);
    assert_int_equal(foyer_registry_lookup_port(registry, 50002, TCP, &entry), -ENOENT);
    assert_int_equal(foyer_registry_load_bytes(registry, FOYER_REGISTRY_IANA, "", "", 0, NULL),
                     -EINVAL);
    foyer_registry_destroy(registry);
    foyer_registry_destroy(NULL);
}

static void complaints_name_file_and_line(void **state)
{
    (void)state;
    static const char input[] = "good 50001/tcp\nbad\nworse 0/tcp\nworst 1/x\nfine 50002/tcp\n";
    struct foyer_registry_error items[2];
    struct foyer_registry_error_list errors = {.items = items, .capacity = 2};
    struct foyer_registry *registry = make(NULL, NULL);
    struct foyer_registry_entry entry;
    assert_int_equal(foyer_registry_load_bytes(registry, FOYER_REGISTRY_USER, "file", input,
                                               sizeof(input) - 1, &errors),
                     0);
    assert_int_equal(errors.count, 3);
    assert_string_equal(items[0].path, "file");
    assert_int_equal(items[0].line, 2);
    assert_int_equal(items[0].problem, FOYER_REGISTRY_PROBLEM_NO_PORT);
    assert_int_equal(items[1].line, 3);
    assert_int_equal(items[1].problem, FOYER_REGISTRY_PROBLEM_PORT);
    assert_int_equal(foyer_registry_lookup_port(registry, 50002, TCP, &entry), 0);
    assert_int_equal(entry.line, 5);
    foyer_registry_destroy(registry);
}

/* `count` lines, of which `format` gets the number from 1. */
static char *repeat(const char *format, unsigned count, size_t *ret_size)
{
    char *text = malloc((size_t)count * 40 + 1);
    size_t size = 0;
    assert_non_null(text);
    for (unsigned i = 1; i <= count; i++) {
        size += (size_t)sprintf(text + size, format, i, i);
    }
    *ret_size = size;
    return text;
}

static void hostile_amounts_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *format;
        unsigned count;
        enum foyer_registry_problem problem; /* of the last line */
        size_t error_count;
    } cases[] = {
        {"s%u 1/udp\n", 65535, FOYER_REGISTRY_PROBLEM_NONE, 0},
        {"s%u 1/udp\n", 65536, FOYER_REGISTRY_PROBLEM_TOO_MANY_ENTRIES, 1},
        {"s%u 1/udp\n", 70000, FOYER_REGISTRY_PROBLEM_TOO_MANY_ENTRIES, 1},
        {"s%u 1/udp a%u\n", 32768, FOYER_REGISTRY_PROBLEM_TOO_MANY_ENTRIES, 1},
        {"s%u 1-%u/udp\n", 1024, FOYER_REGISTRY_PROBLEM_NONE, 0},
        {"s%u 2-6%04u/udp\n", 1025, FOYER_REGISTRY_PROBLEM_TOO_MANY_RANGES, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct foyer_registry *registry = make(NULL, NULL);
        struct foyer_registry_error item = {0};
        struct foyer_registry_error_list errors = {.items = &item, .capacity = 1};
        struct foyer_registry_entry entry;
        size_t size;
        char *text = repeat(cases[i].format, cases[i].count, &size);
        print_message("case %zu\n", i);
        assert_int_equal(
            foyer_registry_load_bytes(registry, FOYER_REGISTRY_USER, "", text, size, &errors), 0);
        assert_int_equal(errors.count, cases[i].error_count);
        assert_int_equal(item.problem, cases[i].problem);
        assert_int_equal(foyer_registry_lookup_name(registry, "s7", UDP, &entry), 0);
        assert_int_equal(foyer_registry_lookup_name(registry, "s1024", UDP, &entry), 0);
        free(text);
        foyer_registry_destroy(registry);
    }
}

static void too_large_a_file_changes_nothing(void **state)
{
    (void)state;
    struct foyer_registry *registry = make(NULL, "shop 50001/tcp");
    struct foyer_registry_entry entry;
    size_t size = FOYER_REGISTRY_FILE_SIZE_MAX + 1;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, '\n', size);
    assert_int_equal(foyer_registry_load_bytes(registry, FOYER_REGISTRY_USER, "", text, size, NULL),
                     -EFBIG);
    assert_int_equal(foyer_registry_lookup_port(registry, 50001, TCP, &entry), 0);
    assert_int_equal(
        foyer_registry_load_bytes(registry, FOYER_REGISTRY_USER, "", text, size - 1, NULL), 0);
    assert_int_equal(foyer_registry_lookup_port(registry, 50001, TCP, &entry), -ENOENT);
    free(text);
    foyer_registry_destroy(registry);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void files_are_loaded_or_refused(void **state)
{
    (void)state;
    char folder[] = "/tmp/foyer-registry-XXXXXX";
    char file[64];
    char fifo[64];
    char large[64];
    struct foyer_registry *registry = make(NULL, NULL);
    struct foyer_registry_entry entry;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof(file), "%s/file", folder);
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    snprintf(large, sizeof(large), "%s/large", folder);
    write_file(file, "shop 50001/tcp\noops\n");
    write_file(large, "");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(truncate(large, FOYER_REGISTRY_FILE_SIZE_MAX + 1), 0);

    const struct {
        const char *path;
        int result;
    } cases[] = {
        {"/nonexistent/services", -ENOENT},
        {folder, -EINVAL},
        {fifo, -EINVAL},
        {"/dev/zero", -EINVAL},
        {large, -EFBIG},
        {file, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].path);
        assert_int_equal(
            foyer_registry_load_file(registry, FOYER_REGISTRY_USER, cases[i].path, NULL),
            cases[i].result);
    }
    assert_int_equal(foyer_registry_lookup_name(registry, "shop", TCP, &entry), 0);
    assert_int_equal(entry.source, FOYER_REGISTRY_USER);

    struct foyer_registry_error items[8];
    struct foyer_registry_error_list errors = {.items = items, .capacity = COUNT(items)};
    assert_int_equal(foyer_registry_load_default(registry, folder, &errors), 0);
    assert_true(errors.count >= 1 && errors.count <= COUNT(items));
    assert_ptr_equal(items[errors.count - 1].path, folder);
    assert_int_equal(items[errors.count - 1].problem, FOYER_REGISTRY_PROBLEM_UNREADABLE);
    assert_int_equal(items[errors.count - 1].error, -EINVAL);

    errors.count = 0;
    assert_int_equal(foyer_registry_load_default(registry, NULL, &errors), 0);
    size_t before = errors.count; /* this machine's /etc/services may have lines of its own kind */
    assert_int_equal(foyer_registry_load_default(registry, "/nonexistent/services", &errors), 0);
    assert_int_equal(errors.count, 2 * before);
    foyer_registry_destroy(registry);
    unlink(file);
    unlink(fifo);
    unlink(large);
    rmdir(folder);
}

static void misspelt_names_get_suggestions(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint8_t protocols;
        size_t capacity;
        const char *expected;
    } cases[] = {
        {"htpp", TCP, 1, "http 80 1"},
        {"HTPP", TCP, 1, "http 80 1"},
        {"htp", UDP, 3, "ftp 21 1; http 80 1; ntp 123 1"}, /* best known first */
        {"htp", UDP, 2, "ftp 21 1; http 80 1"},
        {"postgersql", TCP, 1, "postgresql 5432 1"},
        {"postgrsq", TCP, 2, "postgres 5432 2; postgresql 5432 2"},
        {"kerberso", UDP, 1, "kerberos 88 1"},
        {"domian", UDP, 2, "domain 53 1; domiq 44544 2"},
        {"my-shpo", TCP, 5, "my-shop 50000 1"},
        {"my-shpo", UDP, 5, ""},
        {"my-shop", TCP, 1, "my-shop 50000 0"},
        {"htpp", TCP, 0, ""},
        {"qqqqqqqqqqqqqqqq", ALL, 5, ""},
        {"an-entirely-made-up-name-that-is-longer-than-any-name-may-be-here-x", ALL, 5, ""},
    };
    struct foyer_registry *registry =
        make("my-shop 50000/tcp\n", "my-shop 50003/tcp\nMY-SHOP 50001/tcp\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct foyer_registry_suggestion suggestions[5];
        char text[256] = "";
        size_t size = 0;
        size_t count = 99;
        print_message("%s\n", cases[i].name);
        assert_int_equal(foyer_registry_suggest(registry, cases[i].name, cases[i].protocols,
                                                suggestions, cases[i].capacity, &count),
                         0);
        assert_true(count <= cases[i].capacity);
        for (size_t j = 0; j < count; j++) {
            size +=
                (size_t)snprintf(text + size, sizeof(text) - size, "%s%s %u %u", j ? "; " : "",
                                 suggestions[j].name, suggestions[j].port, suggestions[j].distance);
        }
        if (strcasecmp(text, cases[i].expected) != 0) {
            fail_msg("%s, not %s", text, cases[i].expected);
        }
    }
    size_t count;
    assert_int_equal(foyer_registry_suggest(registry, "x", 0, NULL, 0, &count), -EINVAL);
    foyer_registry_destroy(registry);
}

static void ranges_have_their_borders(void **state)
{
    (void)state;
    static const struct {
        uint16_t port;
        const char *name;
    } cases[] = {
        {0, "well-known"},     {1023, "well-known"}, {1024, "registered"},
        {49151, "registered"}, {49152, "dynamic"},   {65535, "dynamic"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_string_equal(foyer_registry_range_name(foyer_registry_range_of(cases[i].port)),
                            cases[i].name);
    }
}

static void names_are_valid_by_the_rfc(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool is_valid;
    } cases[] = {
        {"a", true},
        {"A9", true},
        {"3com", true},
        {"a-b-c", true},
        {"abcdefghijklmno", true},
        {"abcdefghijklmnop", false},
        {"", false},
        {"80", false},
        {"1-2", false},
        {"-a", false},
        {"a-", false},
        {"a--b", false},
        {"a_b", false},
        {"a b", false},
        {"h\xc3\xa9", false},
        {"-", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(foyer_registry_name_is_valid(cases[i].name), cases[i].is_valid);
    }
}

static void values_have_texts(void **state)
{
    (void)state;
    for (int i = 0; i < FOYER_REGISTRY_PROBLEM_COUNT; i++) {
        assert_non_null(foyer_registry_problem_text((enum foyer_registry_problem)i));
    }
    assert_string_equal(foyer_registry_problem_text(FOYER_REGISTRY_PROBLEM_COUNT), "unknown");
    assert_string_equal(foyer_registry_source_name(FOYER_REGISTRY_USER), "user");
    assert_string_equal(foyer_registry_range_name(FOYER_REGISTRY_RANGE_COUNT), "unknown");
    for (uint8_t bit = 1; bit <= FOYER_REGISTRY_DCCP; bit = (uint8_t)(bit << 1)) {
        assert_int_equal(foyer_registry_protocol_parse(foyer_registry_protocol_name(bit)), bit);
    }
    assert_int_equal(foyer_registry_protocol_parse("Tcp"), TCP);
    assert_int_equal(foyer_registry_protocol_parse(""), 0);
    assert_null(foyer_registry_protocol_name(0));
    assert_null(foyer_registry_protocol_name(TCP | UDP));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_are_named_by_the_highest_source),
        cmocka_unit_test(narrow_names_go_before_wide_ones),
        cmocka_unit_test(names_lead_to_ports),
        cmocka_unit_test(iterator_merges_the_sources),
        cmocka_unit_test(overridden_names_are_listed_once),
        cmocka_unit_test(iterator_agrees_with_lookups),
        cmocka_unit_test(lines_for_one_service_are_merged),
        cmocka_unit_test(loading_again_replaces),
        cmocka_unit_test(complaints_name_file_and_line),
        cmocka_unit_test(hostile_amounts_are_bounded),
        cmocka_unit_test(too_large_a_file_changes_nothing),
        cmocka_unit_test(files_are_loaded_or_refused),
        cmocka_unit_test(misspelt_names_get_suggestions),
        cmocka_unit_test(ranges_have_their_borders),
        cmocka_unit_test(names_are_valid_by_the_rfc),
        cmocka_unit_test(values_have_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
