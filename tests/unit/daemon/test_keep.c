/* What the end of one side is to the other, where a connection serves again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "daemon/daemon.h"
#include "daemon/keep.h"

/* A connection of the local carrier, as far as keep.c looks at it. */
struct fixture {
    struct daemon daemon;
    struct list_node other; /* keeps the list of what is looked after from being empty */
    struct foyer_channel memory;
    struct channel channel;
    struct foyer_slot slots[2];
    struct psocket sides[2];
};

static struct fixture *fixture_create(void)
{
    struct fixture *fixture = aligned_alloc(64, (sizeof(*fixture) + 63) & ~(size_t)63);
    assert_non_null(fixture);
    memset(fixture, 0, sizeof(*fixture));
    list_init(&fixture->daemon.kept);
    list_push_back(&fixture->daemon.kept, &fixture->other);
    fixture->channel.memory = &fixture->memory;
    for (unsigned side = 0; side < 2; side++) {
        struct psocket *psocket = &fixture->sides[side];
        psocket->daemon = &fixture->daemon;
        psocket->side = side;
        psocket->carrier = PSOCKET_LOCAL;
        psocket->channel = &fixture->channel;
        psocket->slot = &fixture->slots[side];
        psocket->peer = &fixture->sides[side ^ 1];
    }
    return fixture;
}

/* Which side is gone, what the other one's program has told, and the word, before and after. */
static const struct hang_up {
    unsigned side;
    bool other_has_left;
    enum foyer_keep_state before;
    enum keep_end end;
    enum foyer_keep_state after;
} hang_ups[] = {
    {0, false, FOYER_KEEP_OPEN, KEEP_END_OPEN, FOYER_KEEP_DISSOLVED},
    {1, false, FOYER_KEEP_OPEN, KEEP_END_OPEN, FOYER_KEEP_DISSOLVED},
    {0, true, FOYER_KEEP_LEFT_1, KEEP_END_LEFT, FOYER_KEEP_DISSOLVED},
    {1, true, FOYER_KEEP_PARKED, KEEP_END_LEFT, FOYER_KEEP_DISSOLVED},
    /* It is about to connect, and looks at the word once more; or has done so. */
    {1, true, FOYER_KEEP_CLAIMED, KEEP_END_LEFT, FOYER_KEEP_DISSOLVED},
    {1, false, FOYER_KEEP_CLAIMED, KEEP_END_OPEN, FOYER_KEEP_DISSOLVED},
    {0, true, FOYER_KEEP_OFFERED, KEEP_END_OFFERED, FOYER_KEEP_OFFERED},
    /* It is about to accept: what the other one has sent is to be read still. */
    {0, false, FOYER_KEEP_OFFERED, KEEP_END_OPEN, FOYER_KEEP_OFFERED},
    {1, false, FOYER_KEEP_OFFERED, KEEP_END_OPEN, FOYER_KEEP_DISSOLVED},
};

static void end_of_one_side(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hang_ups) / sizeof(hang_ups[0]); i++) {
        const struct hang_up *hang_up = &hang_ups[i];
        struct fixture *fixture = fixture_create();
        fixture->memory.keep.word = (uint64_t)hang_up->before;
        if (hang_up->other_has_left)
            fixture->slots[hang_up->side ^ 1].options = FOYER_SLOT_LEFT;
        assert_int_equal(keep_hang_up(&fixture->sides[hang_up->side]), hang_up->end);
        assert_int_equal(foyer_keep_state(fixture->memory.keep.word), hang_up->after);
        free(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(end_of_one_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
