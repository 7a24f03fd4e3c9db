/* Which routes move when a file's order changes: as few as can be, found beside by trying every choice. */
#include "unit_test.h"

#include "base/random.h"
#include "snapshot/private.h"

#include <stdlib.h>

#define SMALL 9

static void assert_ascending(const uint64_t *places, size_t count)
{
    for (size_t i = 0; i < count; i++) assert_true(places[i] > (i ? places[i - 1] : 0));
}

static unsigned count_kept(const bool *kept, size_t count)
{
    unsigned sum = 0;
    for (size_t i = 0; i < count; i++) sum += kept[i];
    return sum;
}

static unsigned longest_by_trying(const uint64_t *places, unsigned count)
{
    unsigned longest = 0;
    for (unsigned choice = 0; choice < 1u << count; choice++) {
        uint64_t last = 0;
        bool good = true;
        for (unsigned i = 0; i < count && good; i++) {
            if (!(choice & 1u << i)) continue;
            good = places[i] > last;
            last = places[i];
        }
        unsigned chosen = (unsigned)__builtin_popcount(choice);
        if (good && chosen > longest) longest = chosen;
    }
    return longest;
}

static void as_few_move_as_can_be(void **state)
{
    struct random random;
    random_init_seeded(&random, 7);
    for (int round = 0; round < 3000; round++) {
        unsigned count = (unsigned)random_below(&random, SMALL + 1);
        uint64_t places[SMALL] = { 0 }, before[SMALL];
        bool kept[SMALL] = { false };
        for (unsigned i = 0; i < count; i++) places[i] = SEQUENCE_STEP * random_below(&random, 12);
        memcpy(before, places, sizeof before);
        order_places(places, kept, count);
        assert_ascending(places, count);
        assert_int_equal(count_kept(kept, count), longest_by_trying(before, count));
        for (unsigned i = 0; i < count; i++) assert_true(!kept[i] || places[i] == before[i]);
    }
}

static void neighbours_make_room_where_there_is_none(void **state)
{
    const uint64_t far = 10 + 2 * SEQUENCE_STEP;
    uint64_t places[] = { 10, 0, 0, 11, 12, far, 0 };
    bool kept[COUNT_OF(places)] = { false };
    order_places(places, kept, COUNT_OF(places));
    assert_ascending(places, COUNT_OF(places));
    assert_true(kept[0] && !kept[3] && !kept[4] && kept[5]);
    assert_int_equal(places[5], far);
}

/* Again and again to the top, and into one gap: always room, and at the price of few neighbours. */
static void room_does_not_run_out(void **state)
{
    enum { ROUTES = 200 };
    static uint64_t places[ROUTES];
    for (int to_the_top = 0; to_the_top < 2; to_the_top++) {
        bool kept[ROUTES] = { false };
        memset(places, 0, sizeof places);
        order_places(places, kept, ROUTES);
        unsigned moved = 0;
        for (int round = 0; round < 5000; round++) {
            size_t from = ROUTES - 1, to = to_the_top ? 0 : ROUTES / 2;
            uint64_t place = places[from];
            memmove(&places[to + 1], &places[to], (from - to) * sizeof *places);
            places[to] = place;
            memset(kept, 0, sizeof kept);
            order_places(places, kept, ROUTES);
            assert_ascending(places, ROUTES);
            moved += ROUTES - count_kept(kept, ROUTES);
        }
        assert_in_range(moved, 5000, to_the_top ? 5000 : 5 * 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_few_move_as_can_be),
        cmocka_unit_test(neighbours_make_room_where_there_is_none),
        cmocka_unit_test(room_does_not_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
