/* base/hash: a model test, growth, equal hashes, and no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"

struct item {
    uint32_t key;
    bool is_in;
    struct hash_node node;
};

struct memory {
    size_t used;
    int fail_after; /* allocations that succeed; -1: all */
};

static void *counted_alloc(void *context, size_t size)
{
    struct memory *memory = context;
    if (memory->fail_after == 0)
        return NULL;
    if (memory->fail_after > 0)
        memory->fail_after--;
    memory->used += size;
    void *bytes = malloc(size);
    memset(bytes, 0xa5, size);
    return bytes;
}

static void counted_free(void *context, void *bytes, size_t size)
{
    struct memory *memory = context;
    memory->used -= size;
    free(bytes);
}

static struct item *find(const struct hash_table *table, uint32_t key, uint32_t hash)
{
    for (struct hash_node *n = hash_table_first(table, hash); n != NULL; n = hash_table_next(n)) {
        struct item *item = HASH_ENTRY(n, struct item, node);
        if (item->key == key)
            return item;
    }
    return NULL;
}

#define ITEMS 5000

/* Random inserts and removals compared with a plain array; few distinct hashes on purpose. */
static void model(uint32_t hash_mask, int fail_after)
{
    static struct item items[ITEMS];
    struct memory memory = {0, fail_after};
    struct foyer_allocator allocator = {counted_alloc, counted_free, &memory};
    struct hash_table table;
    struct random random;
    random_init(&random, 7);
    memset(items, 0, sizeof(items));
    assert_int_equal(hash_table_init(&table, &allocator), 0);
    uint32_t count = 0;
    for (int step = 0; step < 40000; step++) {
        uint32_t key = (uint32_t)random_below(&random, ITEMS);
        uint32_t hash = key & hash_mask;
        struct item *item = &items[key];
        assert_ptr_equal(find(&table, key, hash), item->is_in ? item : NULL);
        if (item->is_in) {
            hash_table_remove(&table, &item->node);
            hash_table_shrink(&table);
            count--;
        } else {
            item->key = key;
            hash_table_insert(&table, &item->node, hash);
            count++;
        }
        item->is_in = !item->is_in;
        assert_int_equal(hash_node_is_linked(&item->node), item->is_in);
        assert_int_equal(table.count, count);
    }
    uint32_t walked = 0;
    HASH_FOREACH (&table, node) {
        assert_true(HASH_ENTRY(node, struct item, node)->is_in);
        walked++;
    }
    assert_int_equal(walked, count);
    HASH_FOREACH_SAFE (&table, node)
        hash_table_remove(&table, node);
    assert_int_equal(table.count, 0);
    hash_table_finish(&table);
    assert_int_equal(memory.used, 0);
    hash_table_finish(&table);
}

static void model_spread(void **state)
{
    (void)state;
    model(UINT32_MAX, -1);
}

static void model_few_hashes(void **state)
{
    (void)state;
    model(0x3f, -1);
}

static void growth_without_memory(void **state)
{
    (void)state;
    model(UINT32_MAX, 1);
    model(UINT32_MAX, 3);
}

static void init_without_memory(void **state)
{
    (void)state;
    struct memory memory = {0, 0};
    struct foyer_allocator allocator = {counted_alloc, counted_free, &memory};
    struct hash_table table;
    assert_int_equal(hash_table_init(&table, &allocator), -12);
}

static void buckets_grow_with_count(void **state)
{
    (void)state;
    static struct item items[100000];
    struct memory memory = {0, -1};
    struct foyer_allocator allocator = {counted_alloc, counted_free, &memory};
    struct hash_table table;
    memset(items, 0, sizeof(items));
    assert_int_equal(hash_table_init(&table, &allocator), 0);
    for (uint32_t i = 0; i < 100000; i++) {
        items[i].key = i;
        hash_table_insert(&table, &items[i].node, i << 8); /* poor low bits */
    }
    assert_true(table.bucket_count >= 99999);
    uint32_t longest = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        assert_ptr_equal(find(&table, i, i << 8), &items[i]);
        uint32_t length = 0;
        for (struct hash_node *n = hash_table_first(&table, i << 8); n != NULL; n = n->next)
            length++;
        longest = length > longest ? length : longest;
    }
    assert_true(longest < 16);
    for (uint32_t i = 0; i < 100000; i++) {
        hash_table_remove(&table, &items[i].node);
        hash_table_shrink(&table);
        if (i % 1000 == 0 && i + 1 < 100000)
            assert_ptr_equal(find(&table, i + 1, (i + 1) << 8), &items[i + 1]);
    }
    assert_true(table.bucket_count <= 4 * HASH_BUCKETS_MIN);
    assert_true(memory.used <= 1024);
    hash_table_finish(&table);
    assert_int_equal(memory.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_spread),
        cmocka_unit_test(model_few_hashes),
        cmocka_unit_test(growth_without_memory),
        cmocka_unit_test(init_without_memory),
        cmocka_unit_test(buckets_grow_with_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
