#include "unit_test.h"

#include "master/private.h"

static void the_first_crash_costs_no_time(void **state)
{
    unsigned crashes = 0;
    assert_int_equal(child_back_off_ms(&crashes, 0), 0);
    assert_int_equal(crashes, 1);
}

static void a_crash_loop_is_slowed_down_to_ten_seconds(void **state)
{
    static const uint64_t expected_ms[] = { 0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };
    unsigned crashes = 0;
    for (size_t i = 0; i < COUNT_OF(expected_ms); i++)
        assert_int_equal(child_back_off_ms(&crashes, 500), expected_ms[i]);
    for (int i = 0; i < 1000; i++) assert_int_equal(child_back_off_ms(&crashes, 10000), 10000);
}

static void a_gateway_that_lived_long_is_started_at_once(void **state)
{
    unsigned crashes = 7;
    assert_int_equal(child_back_off_ms(&crashes, 10001), 0);
    assert_int_equal(child_back_off_ms(&crashes, 50), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_crash_costs_no_time),
        cmocka_unit_test(a_crash_loop_is_slowed_down_to_ten_seconds),
        cmocka_unit_test(a_gateway_that_lived_long_is_started_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
