#include "unit_test.h"

#include "base/random.h"
#include "event/timer.h"

#define TIMERS 200

struct alarm {
    struct timer timer;
    uint64_t deadline_ms; /* what the reference thinks */
    bool is_set;          /* too */
    int fired;
};

static struct alarm alarms[TIMERS];
static struct timer_wheel wheel;
static uint64_t now_ms;

static void ring(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    assert_true(alarm->is_set);
    assert_true(alarm->deadline_ms <= now_ms);
    assert_false(timer_is_set(timer));
    alarm->is_set = false;
    alarm->fired++;
}

static void start_at(uint64_t start_ms)
{
    now_ms = start_ms;
    timer_wheel_init(&wheel, start_ms);
    for (int i = 0; i < TIMERS; i++) {
        alarms[i] = (struct alarm){ 0 };
        timer_init(&alarms[i].timer, ring);
    }
}

static void set_alarm(int i, uint64_t deadline_ms)
{
    timer_set(&wheel, &alarms[i].timer, deadline_ms);
    alarms[i].is_set = true;
    alarms[i].deadline_ms = deadline_ms;
}

static void advance_to(uint64_t moment_ms)
{
    now_ms = moment_ms;
    timer_wheel_advance(&wheel, moment_ms);
}

/* A plain list of deadlines beside the wheel. */
static void agree_with_reference(void)
{
    size_t count = 0;
    uint64_t earliest_ms = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++) {
        assert_int_equal(timer_is_set(&alarms[i].timer), alarms[i].is_set);
        if (!alarms[i].is_set) continue;
        assert_true(alarms[i].deadline_ms > now_ms); /* otherwise it should have fired */
        count++;
        if (alarms[i].deadline_ms < earliest_ms) earliest_ms = alarms[i].deadline_ms;
    }
    assert_int_equal(wheel.count, count);
    uint64_t wait_ms = timer_wheel_wait_ms(&wheel);
    if (count == 0)
        assert_true(wait_ms == UINT64_MAX);
    else
        assert_true(wait_ms > 0 && wait_ms <= earliest_ms - now_ms);
}

/* From a millisecond to some months, short spans being the most frequent. */
static uint64_t random_span_ms(struct random *random)
{
    return random_next(random) >> (64 - 1 - random_below(random, 34));
}

static void the_wheel_agrees_with_a_plain_list_over_random_schedules(void **state)
{
    struct random random;
    random_init_seeded(&random, 4);
    const uint64_t starts_ms[] = { 0, 255, 12345678, UINT64_C(0xfffffff0), UINT64_C(0x1fffff0000) };
    for (size_t round = 0; round < COUNT_OF(starts_ms); round++) {
        start_at(starts_ms[round]);
        for (int step = 0; step < 4000; step++) {
            for (uint64_t i = random_below(&random, 8); i > 0; i--) {
                int which = (int)random_below(&random, TIMERS);
                if (random_below(&random, 4) == 0) {
                    timer_clear(&wheel, &alarms[which].timer);
                    alarms[which].is_set = false;
                } else {
                    set_alarm(which, now_ms + 1 + random_span_ms(&random));
                }
            }
            uint64_t step_ms = random_below(&random, 3) ? random_below(&random, 300) : random_span_ms(&random);
            advance_to(now_ms + step_ms);
            agree_with_reference();
        }
    }
}

/* Going to where the wheel says, and no further, every deadline is met to the millisecond. */
static void waiting_as_told_meets_each_deadline_exactly(void **state)
{
    struct random random;
    random_init_seeded(&random, 5);
    start_at(1000);
    for (int i = 0; i < TIMERS; i++) {
        set_alarm(i, now_ms + 1 + random_span_ms(&random));
    }
    int turns = 0;
    while (wheel.count > 0) {
        uint64_t earliest_ms = UINT64_MAX;
        for (int i = 0; i < TIMERS; i++) {
            if (alarms[i].is_set && alarms[i].deadline_ms < earliest_ms) earliest_ms = alarms[i].deadline_ms;
        }
        advance_to(now_ms + timer_wheel_wait_ms(&wheel));
        assert_true(now_ms <= earliest_ms);
        agree_with_reference();
        turns++;
    }
    assert_in_range(turns, 1, TIMERS * (TIMER_LEVELS + 1));
}

static void a_deadline_in_the_past_fires_at_the_next_advance(void **state)
{
    start_at(5000);
    set_alarm(0, 10);
    set_alarm(1, 5000);
    assert_int_equal(timer_wheel_wait_ms(&wheel), 0);
    assert_int_equal(alarms[0].fired, 0);
    advance_to(5000);
    assert_int_equal(alarms[0].fired + alarms[1].fired, 2);
    assert_true(timer_wheel_wait_ms(&wheel) == UINT64_MAX);
}

static void a_deadline_moved_earlier_fires_at_the_earlier_time(void **state)
{
    start_at(0);
    set_alarm(0, 100000);
    set_alarm(0, 50);
    assert_in_range(timer_wheel_wait_ms(&wheel), 1, 50);
    advance_to(49);
    assert_int_equal(alarms[0].fired, 0);
    advance_to(50);
    assert_int_equal(alarms[0].fired, 1);
}

static void a_deadline_moved_later_stays_in_its_slot_until_that_comes_up(void **state)
{
    start_at(0);
    set_alarm(0, 100);
    struct list_link *slot = alarms[0].timer.link.next;
    set_alarm(0, 60000);
    assert_ptr_equal(alarms[0].timer.link.next, slot);
    advance_to(100);
    assert_int_equal(alarms[0].fired, 0);
    assert_true(timer_is_set(&alarms[0].timer));
    set_alarm(0, 30000);
    advance_to(29999);
    assert_int_equal(alarms[0].fired, 0);
    advance_to(30000);
    assert_int_equal(alarms[0].fired, 1);
}

static void a_cleared_timer_never_fires_and_leaves_no_wait_behind(void **state)
{
    start_at(0);
    set_alarm(0, 10);
    set_alarm(1, 10);
    timer_clear(&wheel, &alarms[0].timer);
    timer_clear(&wheel, &alarms[0].timer);
    alarms[0].is_set = false;
    assert_int_equal(timer_wheel_wait_ms(&wheel), 10);
    timer_clear(&wheel, &alarms[1].timer);
    alarms[1].is_set = false;
    set_alarm(2, 200);
    assert_int_equal(timer_wheel_wait_ms(&wheel), 200);
    advance_to(1000);
    assert_int_equal(alarms[0].fired + alarms[1].fired, 0);
    assert_int_equal(alarms[2].fired, 1);
}

static void time_that_seems_to_go_back_fires_nothing_twice(void **state)
{
    start_at(1000);
    set_alarm(0, 1500);
    advance_to(1400);
    timer_wheel_advance(&wheel, 1200);
    assert_int_equal(wheel.now_ms, 1400);
    advance_to(1500);
    assert_int_equal(alarms[0].fired, 1);
}

static void a_deadline_at_the_end_of_time_is_only_far_away(void **state)
{
    start_at(0);
    set_alarm(0, UINT64_MAX);
    set_alarm(1, UINT64_C(1) << 40);
    advance_to((UINT64_C(1) << 40) - 1);
    assert_int_equal(alarms[0].fired + alarms[1].fired, 0);
    advance_to(UINT64_C(1) << 40);
    assert_int_equal(alarms[1].fired, 1);
    timer_clear(&wheel, &alarms[0].timer);
    assert_int_equal(wheel.count, 0);
}

static void set_again_at_once(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    alarm->fired++;
    timer_set(&wheel, timer, now_ms);
}

/* A timer that asks for "now" again and again must not keep one turn going for ever. */
static void a_timer_set_to_now_while_firing_waits_for_the_next_advance(void **state)
{
    start_at(0);
    timer_init(&alarms[0].timer, set_again_at_once);
    timer_set(&wheel, &alarms[0].timer, 7);
    advance_to(20);
    assert_int_equal(alarms[0].fired, 1);
    assert_int_equal(timer_wheel_wait_ms(&wheel), 0);
    advance_to(20);
    assert_int_equal(alarms[0].fired, 2);
    timer_clear(&wheel, &alarms[0].timer);
}

static void disturb_the_others(struct timer *timer)
{
    alarms[0].fired++;
    timer_clear(&wheel, &alarms[1].timer);
    alarms[1].is_set = false;
    set_alarm(2, now_ms + 1000);
}

static void a_firing_timer_may_clear_and_move_others_that_are_due_too(void **state)
{
    start_at(0);
    timer_init(&alarms[0].timer, disturb_the_others);
    timer_set(&wheel, &alarms[0].timer, 5);
    set_alarm(1, 5);
    set_alarm(2, 6);
    set_alarm(3, 6);
    advance_to(10);
    assert_int_equal(alarms[0].fired, 1);
    assert_int_equal(alarms[1].fired, 0);
    assert_int_equal(alarms[2].fired, 0);
    assert_int_equal(alarms[3].fired, 1);
    advance_to(1009);
    assert_int_equal(alarms[2].fired, 0);
    advance_to(1010);
    assert_int_equal(alarms[2].fired, 1);
    assert_int_equal(wheel.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadline_in_the_past_fires_at_the_next_advance),
        cmocka_unit_test(a_deadline_moved_earlier_fires_at_the_earlier_time),
        cmocka_unit_test(a_deadline_moved_later_stays_in_its_slot_until_that_comes_up),
        cmocka_unit_test(a_cleared_timer_never_fires_and_leaves_no_wait_behind),
        cmocka_unit_test(time_that_seems_to_go_back_fires_nothing_twice),
        cmocka_unit_test(a_deadline_at_the_end_of_time_is_only_far_away),
        cmocka_unit_test(a_timer_set_to_now_while_firing_waits_for_the_next_advance),
        cmocka_unit_test(a_firing_timer_may_clear_and_move_others_that_are_due_too),
        cmocka_unit_test(waiting_as_told_meets_each_deadline_exactly),
        cmocka_unit_test(the_wheel_agrees_with_a_plain_list_over_random_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
