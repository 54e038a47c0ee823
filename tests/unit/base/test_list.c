/* base/list: order, and nodes that are in no list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
    int value;
    struct list_node node;
};

static int joined(const struct list_node *head)
{
    int digits = 0;
    LIST_FOREACH (head, node)
        digits = digits * 10 + LIST_ENTRY(node, struct item, node)->value;
    return digits;
}

static void order(void **state)
{
    (void)state;
    struct list_node head;
    struct item items[4] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}};
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_first(&head));
    list_push_back(&head, &items[1].node);
    list_push_back(&head, &items[2].node);
    list_push_front(&head, &items[0].node);
    list_insert_before(&items[2].node, &items[3].node);
    assert_int_equal(joined(&head), 1243);
    list_remove(&items[3].node);
    assert_int_equal(joined(&head), 123);
    assert_ptr_equal(list_pop_front(&head), &items[0].node);
    assert_ptr_equal(list_last(&head), &items[2].node);
    assert_int_equal(joined(&head), 23);
}

static void removal_is_idempotent(void **state)
{
    (void)state;
    struct list_node head, zero = {0}, other = {0};
    list_init(&head);
    assert_false(list_is_linked(&zero));
    list_remove(&zero);
    list_push_back(&head, &zero);
    list_push_back(&head, &other);
    assert_true(list_is_linked(&zero));
    list_remove(&zero);
    list_remove(&zero);
    assert_false(list_is_linked(&zero));
    assert_ptr_equal(list_first(&head), &other);
    assert_ptr_equal(head.prev, &other);
    struct list_node never = {0};
    assert_true(list_is_empty(&never));
}

static void foreach_safe_allows_removal(void **state)
{
    (void)state;
    struct list_node head;
    struct item items[5] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}, {5, {0}}};
    list_init(&head);
    for (int i = 0; i < 5; i++)
        list_push_back(&head, &items[i].node);
    LIST_FOREACH_SAFE (&head, node) {
        if (LIST_ENTRY(node, struct item, node)->value % 2 == 1)
            list_remove(node);
    }
    assert_int_equal(joined(&head), 24);
}

static void splice(void **state)
{
    (void)state;
    struct list_node a, b;
    struct item items[4] = {{1, {0}}, {2, {0}}, {3, {0}}, {4, {0}}};
    list_init(&a);
    list_init(&b);
    list_splice_back(&a, &b);
    assert_true(list_is_empty(&a));
    list_push_back(&a, &items[0].node);
    list_push_back(&b, &items[1].node);
    list_push_back(&b, &items[2].node);
    list_splice_back(&a, &b);
    assert_true(list_is_empty(&b));
    list_push_back(&a, &items[3].node);
    assert_int_equal(joined(&a), 1234);
    list_splice_back(&b, &a);
    assert_int_equal(joined(&b), 1234);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(removal_is_idempotent),
        cmocka_unit_test(foreach_safe_allows_removal),
        cmocka_unit_test(splice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
