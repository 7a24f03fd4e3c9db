#include "unit_test.h"

#include "base/random.h"
#include "shared/limit.h"

#include <stdlib.h>

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct limit make(enum limit_algorithm algorithm, uint64_t quota, uint64_t window_seconds, uint64_t burst,
                         uint64_t queue_length)
{
    struct limit limit;
    assert_true(limit_init(&limit, &(struct limit_options){ .algorithm = algorithm,
                                                            .quota = quota,
                                                            .window_seconds = window_seconds,
                                                            .burst = burst,
                                                            .queue_length = queue_length }));
    return limit;
}

static bool passes(const struct limit *limit, struct limit_state *state, uint64_t cost, uint64_t now_ns)
{
    return limit_take(limit, state, cost, now_ns, 0).verdict == LIMIT_PASS;
}

/* --- one by one --- */

/* A bucket refills evenly: after half a window, half of the tokens are back. */
static void half_a_window_returns_half_the_tokens(void **unused)
{
    struct limit limit = make(LIMIT_TOKEN_BUCKET, 100, 60, 0, 0);
    struct limit_state state = { 0 };
    assert_true(passes(&limit, &state, 100, 0));
    assert_false(passes(&limit, &state, 1, 0));
    assert_true(passes(&limit, &state, 50, 30 * SECOND));
    assert_false(passes(&limit, &state, 1, 30 * SECOND));
}

static void a_bucket_tells_what_is_left_and_until_when(void **unused)
{
    struct limit limit = make(LIMIT_GCRA, 10, 10, 5, 0);
    struct limit_state state = { 0 };
    struct limit_outcome outcome = limit_take(&limit, &state, 2, 1000 * SECOND, 0);
    assert_int_equal(outcome.verdict, LIMIT_PASS);
    assert_int_equal(outcome.remaining, 3);
    assert_int_equal(outcome.full_ns, 2 * SECOND);
    outcome = limit_take(&limit, &state, 4, 1000 * SECOND, 0);
    assert_int_equal(outcome.verdict, LIMIT_REFUSE);
    assert_int_equal(outcome.remaining, 3);
    assert_int_equal(outcome.wait_ns, SECOND);
    assert_true(passes(&limit, &state, 4, 1001 * SECOND));
    /* More than it ever holds: there is no time at which that would pass. */
    outcome = limit_take(&limit, &state, 6, 2000 * SECOND, 0);
    assert_int_equal(outcome.verdict, LIMIT_REFUSE);
    assert_int_equal(outcome.wait_ns, 0);
    assert_int_equal(outcome.remaining, 5);
}

static void a_bucket_that_takes_years_to_fill_is_refused(void **unused)
{
    struct limit limit;
    struct limit_options options = { .algorithm = LIMIT_TOKEN_BUCKET, .quota = 1, .window_seconds = 366 * 86400 };
    options.burst = 4;
    assert_true(limit_init(&limit, &options));
    options.burst = 5;
    assert_false(limit_init(&limit, &options));
    options.burst = LIMIT_QUOTA_MAX;
    assert_false(limit_init(&limit, &options));
}

static void a_fixed_window_begins_anew(void **unused)
{
    struct limit limit = make(LIMIT_FIXED_WINDOW, 3, 10, 0, 0);
    struct limit_state state = { 0 };
    for (unsigned i = 0; i < 3; i++) assert_true(passes(&limit, &state, 1, 19 * SECOND));
    struct limit_outcome outcome = limit_take(&limit, &state, 1, 19 * SECOND, 0);
    assert_int_equal(outcome.verdict, LIMIT_REFUSE);
    assert_int_equal(outcome.wait_ns, SECOND);
    assert_int_equal(outcome.full_ns, SECOND);
    assert_int_equal(outcome.remaining, 0);
    assert_int_equal(state.idle_at_s, 20);
    for (unsigned i = 0; i < 3; i++) assert_true(passes(&limit, &state, 1, 20 * SECOND));
    assert_false(passes(&limit, &state, 1, 20 * SECOND));
    /* A thread whose clock was read a moment before sees the window of now. */
    assert_false(passes(&limit, &state, 1, 20 * SECOND - MS));
}

static void a_sliding_window_counts_the_part_of_the_last_one(void **unused)
{
    struct limit limit = make(LIMIT_SLIDING_WINDOW, 100, 10, 0, 0);
    struct limit_state state = { 0 };
    assert_true(passes(&limit, &state, 100, 100 * SECOND));
    assert_false(passes(&limit, &state, 1, 110 * SECOND));
    struct limit_outcome outcome = limit_take(&limit, &state, 20, 111 * SECOND, 0);
    assert_int_equal(outcome.verdict, LIMIT_REFUSE);
    assert_int_equal(outcome.remaining, 10);
    assert_in_range(outcome.wait_ns, SECOND, SECOND + 100);
    assert_true(passes(&limit, &state, 20, 111 * SECOND + outcome.wait_ns));
    assert_false(passes(&limit, &state, 1, 112 * SECOND));
    assert_true(passes(&limit, &state, 82, 121 * SECOND)); /* nine tenths of the last one's 20 are 18 */
}

static void a_clock_that_is_behind_takes_no_window_back(void **unused)
{
    struct limit limit = make(LIMIT_SLIDING_WINDOW, 10, 1, 0, 0);
    struct limit_state state = { 0 };
    assert_true(passes(&limit, &state, 10, 5 * SECOND));
    assert_false(passes(&limit, &state, 1, 5 * SECOND - MS));
    assert_false(passes(&limit, &state, 1, 5 * SECOND));
}

static void places_are_given_back(void **unused)
{
    struct limit limit = make(LIMIT_CONCURRENCY, 2, 0, 0, 0);
    struct limit_state state = { 0 };
    assert_true(passes(&limit, &state, 1, SECOND));
    assert_true(passes(&limit, &state, 1, SECOND));
    assert_false(passes(&limit, &state, 1, 100000 * SECOND));
    assert_int_equal(state.idle_at_s, LIMIT_NEVER_IDLE);
    limit_refund(&limit, &state, &(struct limit_taken){ .cost = 1 }, 2 * SECOND);
    assert_true(passes(&limit, &state, 1, 2 * SECOND));
    for (unsigned i = 0; i < 2; i++) limit_refund(&limit, &state, &(struct limit_taken){ .cost = 1 }, 2 * SECOND);
    assert_int_equal(state.idle_at_s, 0);
    assert_int_equal(state.value, 0);
}

/* Ten a second, one at once: each next one waits a tenth longer, and the queue has three places. */
static void a_paced_bucket_gives_places_in_the_future(void **unused)
{
    struct limit limit = make(LIMIT_TOKEN_BUCKET, 10, 1, 1, 3);
    struct limit_state state = { 0 };
    assert_int_equal(limit_take(&limit, &state, 1, SECOND, SECOND).verdict, LIMIT_PASS);
    for (unsigned i = 1; i <= 3; i++) {
        struct limit_outcome outcome = limit_take(&limit, &state, 1, SECOND, SECOND);
        assert_int_equal(outcome.verdict, LIMIT_WAIT);
        assert_int_equal(outcome.wait_ns, i * 100 * MS);
    }
    assert_int_equal(limit_take(&limit, &state, 1, SECOND, SECOND).verdict, LIMIT_REFUSE);
    /* There is a place again, but it is too long a wait. */
    assert_int_equal(limit_take(&limit, &state, 1, SECOND + 100 * MS, 299 * MS).verdict, LIMIT_REFUSE);
    assert_int_equal(limit_take(&limit, &state, 1, SECOND + 100 * MS, 300 * MS).verdict, LIMIT_WAIT);
}

static void a_fixed_window_gives_places_in_later_ones(void **unused)
{
    struct limit limit = make(LIMIT_FIXED_WINDOW, 2, 1, 0, 4);
    struct limit_state state = { 0 };
    uint64_t now = 10 * SECOND + 400 * MS;
    static const uint64_t waits_ms[] = { 0, 0, 600, 600, 1600, 1600 };
    for (unsigned i = 0; i < 6; i++) {
        struct limit_outcome outcome = limit_take(&limit, &state, 1, now, 10 * SECOND);
        assert_int_equal(outcome.verdict, waits_ms[i] ? LIMIT_WAIT : LIMIT_PASS);
        assert_int_equal(outcome.wait_ns, waits_ms[i] * MS);
    }
    assert_int_equal(limit_take(&limit, &state, 1, now, 10 * SECOND).verdict, LIMIT_REFUSE);
    /* The second window is full already when it begins. */
    struct limit_outcome outcome = limit_take(&limit, &state, 2, 11 * SECOND, 10 * SECOND);
    assert_int_equal(outcome.verdict, LIMIT_WAIT);
    assert_int_equal(outcome.wait_ns, 2 * SECOND);
    assert_int_equal(state.idle_at_s, 14);
}

static void a_cost_of_nothing_always_passes(void **unused)
{
    for (int algorithm = LIMIT_TOKEN_BUCKET; algorithm <= LIMIT_CONCURRENCY; algorithm++) {
        struct limit limit = make((enum limit_algorithm)algorithm, 1, algorithm == LIMIT_CONCURRENCY ? 0 : 60, 0, 0);
        struct limit_state state = { 0 };
        assert_true(passes(&limit, &state, 1, SECOND));
        struct limit_state before = state;
        assert_true(passes(&limit, &state, 0, SECOND));
        assert_memory_equal(&before, &state, sizeof state);
        assert_false(passes(&limit, &state, 1, SECOND));
    }
}

static void what_is_refunded_at_once_is_there_again(void **unused)
{
    for (int algorithm = LIMIT_TOKEN_BUCKET; algorithm <= LIMIT_CONCURRENCY; algorithm++) {
        struct limit limit = make((enum limit_algorithm)algorithm, 10, algorithm == LIMIT_CONCURRENCY ? 0 : 60, 0, 0);
        struct limit_state state = { 0 };
        assert_true(passes(&limit, &state, 4, SECOND));
        struct limit_outcome before = limit_take(&limit, &state, 0, SECOND, 0);
        assert_true(passes(&limit, &state, 6, SECOND));
        struct limit_taken taken = { .cost = 6, .at_ns = SECOND, .value = state.value };
        limit_refund(&limit, &state, &taken, SECOND);
        struct limit_outcome after = limit_take(&limit, &state, 0, SECOND, 0);
        assert_int_equal(before.remaining, after.remaining);
        assert_int_equal(before.full_ns, after.full_ns);
        assert_true(passes(&limit, &state, 6, SECOND));
        assert_false(passes(&limit, &state, 1, SECOND));
    }
}

/* Had it not been there, the bucket would have been full and overflowed: that is not given back. */
static void a_late_refund_gives_back_less(void **unused)
{
    struct limit limit = make(LIMIT_TOKEN_BUCKET, 10, 10, 10, 0);
    struct limit_state state = { 0 };
    assert_true(passes(&limit, &state, 1, 0));
    struct limit_taken taken = { .cost = 1, .at_ns = 0, .value = state.value };
    assert_true(passes(&limit, &state, 1, SECOND - MS));
    limit_refund(&limit, &state, &taken, SECOND - MS);
    assert_true(passes(&limit, &state, 9, SECOND));
    assert_false(passes(&limit, &state, 1, SECOND));
}

static void a_place_that_others_stand_behind_is_not_given_back(void **unused)
{
    static const enum limit_algorithm algorithms[] = { LIMIT_TOKEN_BUCKET, LIMIT_FIXED_WINDOW };
    for (unsigned i = 0; i < 2; i++) {
        struct limit limit = make(algorithms[i], 1, 1, 0, 10);
        struct limit_state state = { 0 };
        struct limit_taken taken[3];
        for (unsigned j = 0; j < 3; j++) {
            uint64_t before = state.value;
            struct limit_outcome outcome = limit_take(&limit, &state, 1, 10 * SECOND, 60 * SECOND);
            assert_int_equal(outcome.wait_ns, j * SECOND);
            taken[j] = (struct limit_taken){ 1, 10 * SECOND, state.value, before };
        }
        limit_refund(&limit, &state, &taken[1], 10 * SECOND);
        assert_int_equal(limit_take(&limit, &state, 0, 10 * SECOND, 0).full_ns, 3 * SECOND);
        limit_refund(&limit, &state, &taken[2], 10 * SECOND);
        assert_int_equal(limit_take(&limit, &state, 1, 10 * SECOND, 60 * SECOND).wait_ns, 2 * SECOND);
    }
}

/* --- random schedules against what the words mean --- */

enum { EVENTS = 400, SCHEDULES = 300 };

/* Something that passed, at the time at which it goes. */
struct event {
    uint64_t at_ns, cost;
    struct limit_taken taken;
    bool waited, is_refunded;
};

struct schedule {
    struct random random;
    struct limit limit;
    struct limit_state state;
    uint64_t now_ns;
    struct event events[EVENTS];
    unsigned count, refused, refunded;
};

/* In no stretch of time more than a full bucket and what flows in meanwhile: exact, in 128 bits. */
static void check_bucket(const struct schedule *schedule)
{
    const struct limit *limit = &schedule->limit;
    for (unsigned i = 0; i < schedule->count; i++) {
        unsigned __int128 sum = 0;
        for (unsigned j = i; j < schedule->count; j++) {
            const struct event *event = &schedule->events[j];
            if (event->is_refunded || schedule->events[i].is_refunded) continue;
            sum += event->cost;
            /* A time to wait for is rounded up to a nanosecond, so the first one may have gone that much late. */
            uint64_t stretch_ns = event->at_ns - schedule->events[i].at_ns + schedule->events[i].waited;
            unsigned __int128 most = (unsigned __int128)limit->burst * limit->window_ns +
                                     (unsigned __int128)limit->quota * stretch_ns;
            assert_true(sum * limit->window_ns <= most);
        }
    }
}

static uint64_t sum_of_window(const struct schedule *schedule, uint64_t window)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < schedule->count; i++) {
        const struct event *event = &schedule->events[i];
        if (!event->is_refunded && event->at_ns / schedule->limit.window_ns == window) sum += event->cost;
    }
    return sum;
}

static void check_fixed_window(const struct schedule *schedule)
{
    for (unsigned i = 0; i < schedule->count; i++) {
        uint64_t window = schedule->events[i].at_ns / schedule->limit.window_ns;
        assert_true(sum_of_window(schedule, window) <= schedule->limit.quota);
    }
}

/* How much more than the limit two windows' counts, interpolated, come to with `cost` more; times the window's length. */
static __int128 sliding_excess(const struct schedule *schedule, uint64_t cost)
{
    uint64_t length = schedule->limit.window_ns, window = schedule->now_ns / length;
    uint64_t left = length - schedule->now_ns % length;
    __int128 before = window > 0 ? sum_of_window(schedule, window - 1) : 0;
    __int128 now = sum_of_window(schedule, window) + cost;
    return before * left + (now - (__int128)schedule->limit.quota) * length;
}

static void take_some(struct schedule *schedule)
{
    struct limit *limit = &schedule->limit;
    uint64_t cost = 1 + random_below(&schedule->random, random_below(&schedule->random, 4) ? 1 : limit->burst);
    uint64_t wait_max_ns = limit->has_queue ? random_below(&schedule->random, 2 * limit->window_ns) : 0;
    __int128 excess = limit->algorithm == LIMIT_SLIDING_WINDOW ? sliding_excess(schedule, cost) : 0;
    struct limit_state before = schedule->state;
    uint64_t found = before.value;
    struct limit_outcome outcome = limit_take(limit, &schedule->state, cost, schedule->now_ns, wait_max_ns);
    if (outcome.verdict == LIMIT_REFUSE) {
        struct limit_outcome again = limit_take(limit, &before, cost, schedule->now_ns, 0);
        assert_int_equal(again.verdict, LIMIT_REFUSE);
        schedule->refused++;
        if (limit->algorithm == LIMIT_SLIDING_WINDOW) assert_true(excess > -(__int128)limit->window_ns);
        /* After the wait that it was told it would pass. */
        if (outcome.wait_ns == 0) return;
        assert_int_equal(limit_take(limit, &before, cost, schedule->now_ns + outcome.wait_ns, 0).verdict, LIMIT_PASS);
        return;
    }
    if (limit->algorithm == LIMIT_SLIDING_WINDOW) assert_true(excess <= 0);
    assert_true(outcome.verdict == LIMIT_WAIT ? outcome.wait_ns <= wait_max_ns : outcome.wait_ns == 0);
    schedule->events[schedule->count++] = (struct event){
        .at_ns = schedule->now_ns + outcome.wait_ns,
        .cost = cost,
        .taken = { cost, schedule->now_ns, schedule->state.value, found },
        .waited = outcome.verdict == LIMIT_WAIT,
    };
}

/* One of the last ones is given back; where it has gone already it is not. */
static void refund_some(struct schedule *schedule)
{
    if (schedule->count == 0) return;
    unsigned back = 1 + (unsigned)random_below(&schedule->random, schedule->count < 5 ? schedule->count : 5);
    struct event *event = &schedule->events[schedule->count - back];
    if (event->is_refunded || (event->waited && event->at_ns < schedule->now_ns)) return;
    event->is_refunded = true;
    schedule->refunded++;
    limit_refund(&schedule->limit, &schedule->state, &event->taken, schedule->now_ns);
}

static void run_schedule(struct schedule *schedule)
{
    uint64_t pace = schedule->limit.window_ns / schedule->limit.quota;
    while (schedule->count < EVENTS) {
        switch (random_below(&schedule->random, 8)) {
        case 0: refund_some(schedule); break;
        case 1: schedule->now_ns += random_below(&schedule->random, schedule->limit.window_ns); break;
        case 2:
        case 3: schedule->now_ns += random_below(&schedule->random, 2 * pace + 1); break;
        default: take_some(schedule); break;
        }
    }
}

static struct schedule *new_schedule(uint64_t seed, enum limit_algorithm algorithm, uint64_t queue_length)
{
    struct schedule *schedule = calloc(1, sizeof *schedule);
    assert_non_null(schedule);
    random_init_seeded(&schedule->random, seed);
    uint64_t quota = 1 + random_below(&schedule->random, seed % 3 ? 20 : 5000);
    bool is_bucket = algorithm == LIMIT_TOKEN_BUCKET || algorithm == LIMIT_GCRA;
    uint64_t burst = is_bucket ? random_below(&schedule->random, 2 * quota) : 0;
    schedule->limit = make(algorithm, quota, 1 + random_below(&schedule->random, 100), burst, queue_length);
    schedule->now_ns = random_below(&schedule->random, 1000 * SECOND);
    return schedule;
}

static void run_all(enum limit_algorithm algorithm, uint64_t queue_length,
                    void (*check)(const struct schedule *schedule))
{
    unsigned refused = 0, refunded = 0;
    for (uint64_t seed = 1; seed <= SCHEDULES; seed++) {
        struct schedule *schedule = new_schedule(seed, algorithm, queue_length);
        run_schedule(schedule);
        if (check) check(schedule);
        refused += schedule->refused;
        refunded += schedule->refunded;
        free(schedule);
    }
    assert_true(refused > SCHEDULES && refunded > SCHEDULES);
}

static void a_bucket_never_lets_more_through(void **unused)
{
    run_all(LIMIT_TOKEN_BUCKET, 0, check_bucket);
    run_all(LIMIT_GCRA, 0, check_bucket);
}

static void a_bucket_with_a_queue_never_lets_more_through(void **unused)
{
    run_all(LIMIT_TOKEN_BUCKET, 50, check_bucket);
}

static void a_fixed_window_never_lets_more_through(void **unused)
{
    run_all(LIMIT_FIXED_WINDOW, 0, check_fixed_window);
}

static void a_fixed_window_with_a_queue_never_lets_more_through(void **unused)
{
    run_all(LIMIT_FIXED_WINDOW, 50, check_fixed_window);
}

static void a_sliding_window_never_lets_more_through(void **unused) { run_all(LIMIT_SLIDING_WINDOW, 0, NULL); }

/* And no less: against a bucket in exact arithmetic, that has what this one let through taken out of it. */
static void a_bucket_refuses_only_what_is_not_there(void **unused)
{
    for (uint64_t seed = 1; seed <= SCHEDULES; seed++) {
        struct schedule *schedule = new_schedule(seed, LIMIT_TOKEN_BUCKET, 0);
        const struct limit *limit = &schedule->limit;
        __int128 full = (__int128)limit->burst * limit->window_ns, level = full;
        for (unsigned i = 0; i < EVENTS; i++) {
            uint64_t passed_ns = random_below(&schedule->random, 3 * limit->window_ns / limit->quota + 1);
            schedule->now_ns += passed_ns;
            level += (__int128)passed_ns * limit->quota;
            if (level > full) level = full;
            uint64_t cost = 1 + random_below(&schedule->random, limit->burst < 3 ? limit->burst : 3);
            __int128 wanted = (__int128)cost * limit->window_ns;
            if (passes(limit, &schedule->state, cost, schedule->now_ns)) {
                level -= wanted;
                assert_true(level >= 0);
            } else {
                /* Roundings of intervals, less than a hundredth of a token in all. */
                assert_true(level < wanted + limit->window_ns / 100);
            }
        }
        free(schedule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_a_window_returns_half_the_tokens),
        cmocka_unit_test(a_bucket_tells_what_is_left_and_until_when),
        cmocka_unit_test(a_bucket_that_takes_years_to_fill_is_refused),
        cmocka_unit_test(a_fixed_window_begins_anew),
        cmocka_unit_test(a_sliding_window_counts_the_part_of_the_last_one),
        cmocka_unit_test(a_clock_that_is_behind_takes_no_window_back),
        cmocka_unit_test(places_are_given_back),
        cmocka_unit_test(a_paced_bucket_gives_places_in_the_future),
        cmocka_unit_test(a_fixed_window_gives_places_in_later_ones),
        cmocka_unit_test(a_cost_of_nothing_always_passes),
        cmocka_unit_test(what_is_refunded_at_once_is_there_again),
        cmocka_unit_test(a_late_refund_gives_back_less),
        cmocka_unit_test(a_place_that_others_stand_behind_is_not_given_back),
        cmocka_unit_test(a_bucket_never_lets_more_through),
        cmocka_unit_test(a_bucket_with_a_queue_never_lets_more_through),
        cmocka_unit_test(a_fixed_window_never_lets_more_through),
        cmocka_unit_test(a_fixed_window_with_a_queue_never_lets_more_through),
        cmocka_unit_test(a_sliding_window_never_lets_more_through),
        cmocka_unit_test(a_bucket_refuses_only_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
