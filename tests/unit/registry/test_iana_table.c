/* The committed table keeps what services_table.h promises and lookups rely on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "registry/registry.h"
#include "registry/services_table.h"

static const struct foyer_services_table *const table = &foyer_iana_table;

/* Older than RFC 6335 and still in use; nothing else may break the rule. */
static const char *const legacy_names[] = {
    "clc-build-daemon", "edi_service",  "gds_db",     "kerberos_master", "krb5_prop", "krb_prop",
    "moira_db",         "moira_update", "moira_ureg", "passwd_server",   "sge_execd", "sge_qmaster",
};

static bool is_legacy(const char *name)
{
    for (size_t i = 0; i < sizeof(legacy_names) / sizeof(legacy_names[0]); i++) {
        if (strcmp(legacy_names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static const char *name_of(size_t index)
{
    return foyer_services_entry_name(table, &table->entries[index]);
}

static void pool_is_sorted_and_holds_valid_names(void **state)
{
    (void)state;
    const char *previous = NULL;
    assert_int_equal(table->pool[table->pool_size - 1], '\0');
    for (size_t offset = 0; offset < table->pool_size; offset += strlen(table->pool + offset) + 1) {
        const char *name = table->pool + offset;
        if (!foyer_registry_name_is_valid(name) && !is_legacy(name)) {
            fail_msg("not a valid name: %s", name);
        }
        if (previous && foyer_services_name_compare(previous, name) > 0) {
            fail_msg("%s comes before %s", previous, name);
        }
        assert_true(!previous || strcmp(previous, name) != 0);
        previous = name;
    }
}

static void entries_are_sorted_and_well_formed(void **state)
{
    (void)state;
    assert_in_range(table->entry_count, 6000, FOYER_REGISTRY_ENTRY_COUNT_MAX);
    for (size_t i = 0; i < table->entry_count; i++) {
        const struct foyer_services_entry *entry = &table->entries[i];
        size_t offset = entry->packed >> FOYER_SERVICES_NAME_SHIFT;
        assert_true(entry->port_first >= 1 && entry->port_first <= entry->port_last);
        assert_int_not_equal(foyer_services_entry_protocols(entry), 0);
        assert_int_equal(entry->packed & 0xe0, 0);
        assert_true(offset < table->pool_size && (offset == 0 || !table->pool[offset - 1]));
        if (i > 0) {
            int order = foyer_services_entry_compare_ports(entry - 1, entry);
            if (order > 0 || (order == 0 && strcmp(name_of(i - 1), name_of(i)) == 0)) {
                fail_msg("%s comes before %s", name_of(i - 1), name_of(i));
            }
        }
    }
}

static void names_index_is_a_sorted_permutation(void **state)
{
    (void)state;
    bool *seen = test_calloc(table->entry_count, sizeof(*seen));
    for (size_t i = 0; i < table->entry_count; i++) {
        assert_in_range(table->by_name[i], 0, table->entry_count - 1);
        assert_false(seen[table->by_name[i]]);
        seen[table->by_name[i]] = true;
        if (i > 0) {
            size_t left = table->by_name[i - 1];
            size_t right = table->by_name[i];
            int order = foyer_services_name_compare(name_of(left), name_of(right));
            if (order == 0) {
                order = foyer_services_entry_is_alias(&table->entries[left]) -
                        foyer_services_entry_is_alias(&table->entries[right]);
            }
            assert_true(order < 0 || (order == 0 && left < right));
        }
    }
    test_free(seen);
}

static void ranges_index_is_complete_and_sorted(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < table->entry_count; i++) {
        const struct foyer_services_entry *entry = &table->entries[i];
        count += entry->port_first != entry->port_last && !foyer_services_entry_is_alias(entry);
    }
    assert_int_equal(count, table->range_count);
    int previous = 0;
    for (size_t i = 0; i < table->range_count; i++) {
        const struct foyer_services_entry *entry = &table->entries[table->ranges[i]];
        int width = entry->port_last - entry->port_first;
        assert_true(width > 0 && width >= previous);
        assert_false(foyer_services_entry_is_alias(entry));
        previous = width;
    }
}

/* Two names for one port and protocol would make the answer depend on the order of sorting. */
static void every_name_is_found_by_its_port(void **state)
{
    (void)state;
    for (size_t i = 0; i < table->entry_count; i++) {
        const struct foyer_services_entry *entry = &table->entries[i];
        if (foyer_services_entry_is_alias(entry)) {
            continue;
        }
        for (uint8_t bit = 1; bit <= FOYER_REGISTRY_DCCP; bit = (uint8_t)(bit << 1)) {
            size_t found = table->entry_count;
            if (!(foyer_services_entry_protocols(entry) & bit)) {
                continue;
            }
            assert_true(foyer_services_table_find_port(table, entry->port_last, bit, &found));
            if (found != i) {
                fail_msg("port of %s belongs to %s", name_of(i), name_of(found));
            }
        }
    }
}

static void well_known_facts_are_in_it(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint16_t port;
        uint8_t protocols;
        const char *official;
    } facts[] = {
        {"ssh", 22, FOYER_REGISTRY_TCP, "ssh"},
        {"domain", 53, FOYER_REGISTRY_UDP, "domain"},
        {"http", 80, FOYER_REGISTRY_TCP, "http"},
        {"www", 80, FOYER_REGISTRY_TCP, "http"},
        {"https", 443, FOYER_REGISTRY_UDP, "https"},
        {"http-alt", 591, FOYER_REGISTRY_TCP, "http-alt"}, /* the lowest of three */
        {"discard", 9, FOYER_REGISTRY_DCCP, "discard"},
        {"newton-dock", 3679, FOYER_REGISTRY_TCP, "newton-dock"},
        {"x11", 6000, FOYER_REGISTRY_TCP, "x11"},
        {"x11-1", 6001, FOYER_REGISTRY_TCP, "x11-1"},   /* netbase, inside IANA's range */
        {"netstat", 15, FOYER_REGISTRY_TCP, "netstat"}, /* netbase only */
        {"whois", 43, FOYER_REGISTRY_TCP, "nicname"},   /* IANA goes before netbase */
    };
    struct foyer_registry *registry;
    assert_int_equal(foyer_registry_create(&registry), 0);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        struct foyer_registry_entry entry;
        print_message("%s\n", facts[i].name);
        assert_int_equal(
            foyer_registry_lookup_name(registry, facts[i].name, facts[i].protocols, &entry), 0);
        assert_int_equal(entry.port_first, facts[i].port);
        assert_int_equal(
            foyer_registry_lookup_port(registry, facts[i].port, facts[i].protocols, &entry), 0);
        assert_string_equal(entry.name, facts[i].official);
        assert_int_equal(entry.protocols, facts[i].protocols);
        assert_int_equal(entry.line, 0);
    }
    foyer_registry_destroy(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_is_sorted_and_holds_valid_names),
        cmocka_unit_test(entries_are_sorted_and_well_formed),
        cmocka_unit_test(names_index_is_a_sorted_permutation),
        cmocka_unit_test(ranges_index_is_complete_and_sorted),
        cmocka_unit_test(every_name_is_found_by_its_port),
        cmocka_unit_test(well_known_facts_are_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
