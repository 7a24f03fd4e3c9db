#include "unit_test.h"

#include "base/clock.h"
#include "shared/limit_counters.h"

#include <stdlib.h>

static struct limit_counters *new_counters(void)
{
    struct error error;
    struct limit_counters *counters = limit_counters_create(0, 2, &error);
    assert_non_null(counters);
    return counters;
}

static void drop(struct limit_counters *counters, struct limit_rule *rule)
{
    limit_counters_retire_rule(counters, rule);
    limit_counters_drop_rule(counters, rule);
}

static void a_rule_is_known_by_its_identity(void **state)
{
    struct limit_counters *counters = new_counters();
    struct limit_rule *one = limit_counters_rule(counters, SLICE("one")),
                      *other = limit_counters_rule(counters, SLICE("o"));
    assert_ptr_equal(limit_counters_rule(counters, SLICE("one")), one);
    assert_ptr_not_equal(one, other);
    assert_memory_not_equal(one->keys, other->keys, sizeof one->keys);
    assert_memory_not_equal(&one->keys[0], &one->keys[1], sizeof one->keys[0]);
    assert_int_equal((uintptr_t)&one->share.overflow % 16, 0); /* it is swapped as a whole */
    for (unsigned i = 0; i < 2; i++) drop(counters, one);
    drop(counters, other);
    limit_counters_destroy(counters);
}

/* Out of force and come again: what was taken is not found, even while somebody has the old one. */
static void a_rule_that_was_retired_begins_anew(void **state)
{
    struct limit_counters *counters = new_counters();
    struct limit_rule *old = limit_counters_rule(counters, SLICE("one"));
    assert_ptr_equal(limit_counters_rule(counters, SLICE("one")), old);
    limit_counters_retire_rule(counters, old);
    struct limit_rule *kept = limit_counters_rule(counters, SLICE("one"));
    assert_ptr_equal(kept, old); /* in force by the other reference */
    for (unsigned i = 0; i < 2; i++) limit_counters_retire_rule(counters, old);
    struct limit_rule *fresh = limit_counters_rule(counters, SLICE("one"));
    assert_ptr_not_equal(fresh, old);
    assert_memory_not_equal(old->keys, fresh->keys, sizeof old->keys);
    for (unsigned i = 0; i < 3; i++) limit_counters_drop_rule(counters, old);
    assert_ptr_equal(limit_counters_rule(counters, SLICE("one")), fresh);
    for (unsigned i = 0; i < 2; i++) drop(counters, fresh);
    limit_counters_destroy(counters);
}

/* So that none of them is held to what another's keys have of the table. */
static void rules_have_stamps_of_their_own(void **state)
{
    struct limit_counters *counters = new_counters();
    struct limit_rule *rules[LIMIT_STAMPS + 1];
    uint64_t seen = 0;
    char name[16];
    for (unsigned i = 0; i <= LIMIT_STAMPS; i++) {
        snprintf(name, sizeof name, "rule %u", i);
        rules[i] = limit_counters_rule(counters, slice_from_cstring(name));
        if (i < LIMIT_STAMPS) seen |= UINT64_C(1) << (rules[i]->share.stamp >> LIMIT_STAMP_SHIFT);
    }
    assert_int_equal(seen, UINT64_MAX);
    uint64_t before = rules[9]->share.stamp;
    drop(counters, rules[LIMIT_STAMPS]);
    drop(counters, rules[9]);
    rules[9] = limit_counters_rule(counters, SLICE("rule 9"));
    assert_int_equal(rules[9]->share.stamp, before);
    for (unsigned i = 0; i < LIMIT_STAMPS; i++) drop(counters, rules[i]);
    limit_counters_destroy(counters);
}

static void figures_are_summed_over_workers_by_name(void **state)
{
    struct limit_counters *counters = new_counters();
    struct limit_tally *one = limit_counters_tally(counters, SLICE("one")),
                       *two = limit_counters_tally(counters, SLICE("two"));
    assert_ptr_equal(limit_counters_tally(counters, SLICE("one")), one);
    limit_tally_count(one, 0, LIMIT_DECISION_PASSED);
    limit_tally_count(one, 1, LIMIT_DECISION_PASSED);
    limit_tally_count(one, 1, LIMIT_DECISION_REFUSED);
    limit_tally_count(two, 0, LIMIT_DECISION_QUEUED);
    struct limit_tally_sum sum;
    size_t position = 0, count = 0;
    while (limit_counters_sums(counters, &position, &sum, 1) == 1) {
        bool is_one = strcmp(sum.name, "one") == 0;
        assert_int_equal(sum.decisions[LIMIT_DECISION_PASSED], is_one ? 2 : 0);
        assert_int_equal(sum.decisions[LIMIT_DECISION_REFUSED], is_one);
        assert_int_equal(sum.decisions[LIMIT_DECISION_QUEUED], !is_one);
        free(sum.name);
        count++;
    }
    assert_int_equal(count, 2);
    limit_counters_drop_tally(counters, one);
    limit_counters_drop_tally(counters, one);
    limit_counters_drop_tally(counters, two);
    limit_counters_destroy(counters);
}

static void who_waits_is_summed(void **state)
{
    struct limit_counters *counters = new_counters();
    gauge_add(&counters->worker_lines[0].waiting, 2);
    gauge_add(&counters->worker_lines[1].waiting, 3);
    assert_int_equal(limit_counters_waiting(counters), 5);
    limit_counters_destroy(counters);
}

/* So that windows of an hour begin with the hour. */
static void time_counts_from_midnight(void **state)
{
    struct limit_counters *counters = new_counters();
    uint64_t hour_ns = UINT64_C(3600) * 1000000000;
    uint64_t into_hour_ns = limit_counters_time(counters, clock_monotonic_ns()) % hour_ns;
    uint64_t wall_into_hour_ns = clock_wall_ns() % hour_ns;
    uint64_t apart_ns = (wall_into_hour_ns + hour_ns - into_hour_ns) % hour_ns;
    assert_true(apart_ns < UINT64_C(1000000000) || apart_ns > hour_ns - UINT64_C(1000000000));
    limit_counters_destroy(counters);
}

static void the_own_table_answers_at_once(void **state)
{
    struct limit_counters *counters = new_counters();
    struct limit_rule *rule = limit_counters_rule(counters, SLICE("r"));
    limit_counters_retire_rule(counters, rule);
    struct limit limit;
    assert_true(limit_init(&limit, &(struct limit_options){ .algorithm = LIMIT_CONCURRENCY, .quota = 1 }));
    struct limiter_call calls[2];
    for (unsigned i = 0; i < 2; i++) {
        calls[i] = (struct limiter_call){ .limit = &limit,
                                          .place = limit_table_place(counters->table, 7, &rule->share),
                                          .cost = 1,
                                          .now_ns = 1000000000 };
        assert_int_equal(counters->limiter->take(counters->limiter, &calls[i]), LIMITER_DONE);
        assert_int_equal(calls[i].outcome.verdict, i ? LIMIT_REFUSE : LIMIT_PASS);
    }
    counters->limiter->look(counters->limiter, &calls[1]);
    assert_int_equal(calls[1].outcome.verdict, LIMIT_REFUSE);
    counters->limiter->refund(counters->limiter, &calls[0], 1000000000);
    counters->limiter->look(counters->limiter, &calls[1]);
    assert_int_equal(calls[1].outcome.verdict, LIMIT_PASS);
    limit_counters_drop_rule(counters, rule);
    limit_counters_destroy(counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_is_known_by_its_identity),
        cmocka_unit_test(a_rule_that_was_retired_begins_anew),
        cmocka_unit_test(rules_have_stamps_of_their_own),
        cmocka_unit_test(figures_are_summed_over_workers_by_name),
        cmocka_unit_test(who_waits_is_summed),
        cmocka_unit_test(time_counts_from_midnight),
        cmocka_unit_test(the_own_table_answers_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
