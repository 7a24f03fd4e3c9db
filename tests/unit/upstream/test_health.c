/* Whether an instance is up, by schedules of checks, and when it is asked. Time is an argument; nobody sleeps. */
#include "unit_test.h"

#include "config/resources.h"
#include "upstream/health.h"

static const struct health_thresholds two_up_three_down = { .healthy = 2, .unhealthy = 3 };

static enum health_state state_of(const struct instance_health *health) { return atomic_load(&health->state); }

/* A letter a check: '+' passed, '-' failed. Below each the state after it: '?' unknown, 'u' up, 'd' down. */
static void assert_course(struct instance_health *health, const struct health_thresholds *thresholds,
                          const char *checks, const char *states)
{
    static const char letters[] = { [HEALTH_UNKNOWN] = '?', [HEALTH_UP] = 'u', [HEALTH_DOWN] = 'd' };
    char seen[64] = "";
    for (size_t i = 0; checks[i]; i++) {
        enum health_state before = state_of(health);
        bool success = checks[i] == '+';
        bool changed = health_note(health, thresholds, success, success ? 200 : 0, success ? NULL : "timeout",
                                   1000 * (i + 1));
        assert_int_equal(changed, state_of(health) != before);
        seen[i] = letters[state_of(health)];
    }
    assert_string_equal(seen, states);
}

static void it_begins_as_unknown_which_is_not_down(void **state)
{
    struct instance_health health = { 0 };
    assert_int_equal(state_of(&health), HEALTH_UNKNOWN);
    assert_false(health_is_down(&health));
}

static void the_first_check_decides_at_once(void **state)
{
    struct instance_health good = { 0 }, bad = { 0 };
    assert_course(&good, &two_up_three_down, "+", "u");
    assert_course(&bad, &two_up_three_down, "-", "d");
    assert_true(health_is_down(&bad));
}

static void failures_in_a_row_make_it_down(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &two_up_three_down, "+---", "uuud");
}

static void a_success_between_failures_begins_the_count_anew(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &two_up_three_down, "+--+--+---", "uuuuuuuuud");
}

static void successes_in_a_row_make_it_up_again(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &two_up_three_down, "-+-++", "ddddu");
}

static void after_it_came_up_all_failures_are_needed_again(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &two_up_three_down, "---++--+---",
                  "ddddu"
                  "uuuuud");
}

static void thresholds_of_one_follow_each_check(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &(struct health_thresholds){ 1, 1 }, "+-+-", "udud");
}

/* As after a reload: what was counted stays and is measured by the new number. */
static void changed_thresholds_hold_from_the_next_check_on(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &two_up_three_down, "+--", "uuu");
    assert_course(&health, &(struct health_thresholds){ 2, 10 }, "-", "u");
    assert_course(&health, &(struct health_thresholds){ 2, 4 }, "-", "d");
}

static void what_was_seen_last_is_kept(void **state)
{
    struct instance_health health = { 0 };
    health_note(&health, &two_up_three_down, true, 204, NULL, 1000);
    assert_int_equal(atomic_load(&health.changed_ms), 1000);
    health_note(&health, &two_up_three_down, false, 500, "status", 2000);
    assert_int_equal(atomic_load(&health.changed_ms), 1000);
    assert_int_equal(atomic_load(&health.checked_ms), 2000);
    assert_int_equal(atomic_load(&health.last_status), 500);
    assert_string_equal(atomic_load(&health.last_reason), "status");
    health_note(&health, &two_up_three_down, true, 200, NULL, 3000);
    assert_null(atomic_load(&health.last_reason));
}

static void forgetting_leaves_an_unknown_one(void **state)
{
    struct instance_health health = { 0 };
    assert_course(&health, &two_up_three_down, "-", "d");
    health_forget(&health);
    assert_false(health_is_down(&health));
    assert_int_equal(atomic_load(&health.checked_ms), 0);
    assert_course(&health, &two_up_three_down, "+--", "uuu");
}

static void a_long_life_overflows_no_count(void **state)
{
    struct instance_health health = { .failures = UINT32_MAX, .state = HEALTH_DOWN };
    assert_course(&health, &two_up_three_down, "-", "d");
    assert_int_equal(atomic_load(&health.failures), UINT32_MAX);
}

static void each_state_has_its_word(void **state)
{
    assert_string_equal(health_word(HEALTH_UNKNOWN), "unknown");
    assert_string_equal(health_word(HEALTH_UP), "up");
    assert_string_equal(health_word(HEALTH_DOWN), "down");
}

/* --- the check --- */

static void a_check_expects_what_is_configured(void **state)
{
    struct status_range expected[] = { { 200, 204 }, { 418, 418 }, { 599, 599 } };
    struct health_check_config config = {
        .path = SLICE("/health?full=1"),
        .interval_ms = 500,
        .timeout_ms = 100,
        .healthy_threshold = 1,
        .unhealthy_threshold = 2,
        .expected = expected,
        .expected_count = COUNT_OF(expected),
    };
    struct health_check *check = health_check_create(&config);
    assert_string_equal(check->path, "/health?full=1");
    assert_int_equal(check->interval_ms, 500);
    assert_int_equal(check->timeout_ms, 100);
    assert_int_equal(check->thresholds.unhealthy, 2);
    for (unsigned status = 0; status < 1000; status++) {
        bool is_expected = (status >= 200 && status <= 204) || status == 418 || status == 599;
        assert_int_equal(status_set_has(&check->expected, status), is_expected);
    }
    config.interval_ms = 700;
    struct health_check *same = health_check_create(&config);
    assert_true(health_check_asks_the_same(check, same));
    config.path = SLICE("/other");
    struct health_check *other = health_check_create(&config);
    assert_false(health_check_asks_the_same(check, other));
    health_check_destroy(check);
    health_check_destroy(same);
    health_check_destroy(other);
    health_check_destroy(NULL);
}

/* --- when --- */

/* Steady: exactly one interval apart, whenever the answers come. */
static void checks_are_one_interval_apart(void **state)
{
    uint64_t begun = health_next_check_ms(1000, 123456789, 0, 5000);
    assert_in_range(begun, 5000, 5999);
    for (unsigned i = 0; i < 50; i++) {
        uint64_t answered = begun + i * 13 % 499;
        uint64_t next = health_next_check_ms(1000, 123456789, begun, answered);
        assert_int_equal(next, begun + 1000);
        begun = next;
    }
}

static void a_check_that_took_longer_is_followed_at_its_place(void **state)
{
    uint64_t begun = health_next_check_ms(1000, 77, 0, 5000);
    assert_int_equal(health_next_check_ms(1000, 77, begun, begun + 1700), begun + 2000);
}

static void nobody_is_asked_twice_within_half_an_interval(void **state)
{
    for (uint64_t identity = 0; identity < 5000; identity++) {
        uint64_t first = health_first_check_ms(10000, identity, 50000);
        assert_in_range(first, 50000, 50999);
        uint64_t second = health_next_check_ms(10000, identity, first, first + 3);
        assert_in_range(second - first, 5000, 14999);
        assert_int_equal(health_next_check_ms(10000, identity, second, second + 3), second + 10000);
    }
}

static void many_instances_are_spread_over_the_interval(void **state)
{
    unsigned tenths[10] = { 0 };
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t identity = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        tenths[(health_next_check_ms(10000, identity, 0, 70000) - 70000) / 1000]++;
    }
    for (unsigned i = 0; i < 10; i++) assert_in_range(tenths[i], 800, 1200);
}

static void a_shorter_interval_is_due_within_itself(void **state)
{
    for (uint64_t identity = 0; identity < 1000; identity++) {
        uint64_t begun = 100000, now = 103000; /* of an interval of 10 s until now */
        assert_in_range(health_next_check_ms(100, identity, begun, now), now, now + 99);
    }
}

static void the_shortest_interval_works(void **state)
{
    assert_int_equal(health_next_check_ms(1, 99, 10, 10), 10);
    assert_int_equal(health_first_check_ms(1, 99, 10), 10);
}

#define CASE(function) cmocka_unit_test(function)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_begins_as_unknown_which_is_not_down),
        CASE(the_first_check_decides_at_once),
        CASE(failures_in_a_row_make_it_down),
        CASE(a_success_between_failures_begins_the_count_anew),
        CASE(successes_in_a_row_make_it_up_again),
        CASE(after_it_came_up_all_failures_are_needed_again),
        CASE(thresholds_of_one_follow_each_check),
        CASE(changed_thresholds_hold_from_the_next_check_on),
        CASE(what_was_seen_last_is_kept),
        CASE(forgetting_leaves_an_unknown_one),
        CASE(a_long_life_overflows_no_count),
        CASE(each_state_has_its_word),
        CASE(a_check_expects_what_is_configured),
        CASE(checks_are_one_interval_apart),
        CASE(a_check_that_took_longer_is_followed_at_its_place),
        CASE(nobody_is_asked_twice_within_half_an_interval),
        CASE(many_instances_are_spread_over_the_interval),
        CASE(a_shorter_interval_is_due_within_itself),
        CASE(the_shortest_interval_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
