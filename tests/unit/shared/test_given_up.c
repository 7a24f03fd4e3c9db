#include "unit_test.h"

#include "base/random.h"
#include "shared/given_up.h"

#include <sched.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000000)
/* Few of them at home in one line. */
#define KEY(n) ((uint64_t)((n) + 1) << 35 | (uint64_t)((n) % 16) << 25)

static struct {
    struct limit_table *table;
    struct limit_share share;
    struct given_up given_up;
} common;

static void begin_common(void)
{
    struct error error;
    memset(&common, 0, sizeof common);
    common.table = limit_table_create(0, &error);
    assert_non_null(common.table);
    given_up_init(&common.given_up);
}

static void end_common(void)
{
    given_up_release(&common.given_up);
    limit_table_destroy(common.table);
}

static struct limit make(enum limit_algorithm algorithm, uint64_t quota, uint64_t burst)
{
    struct limit limit;
    assert_true(limit_init(
        &limit,
        &(struct limit_options){
            .algorithm = algorithm, .quota = quota, .window_seconds = 1, .burst = burst, .queue_length = 1000 }));
    return limit;
}

static struct limit_outcome take(const struct limit *limit, unsigned key, uint64_t cost, uint64_t now_ns,
                                 struct limit_lease *lease)
{
    struct limit_place place = limit_table_place(common.table, KEY(key), &common.share);
    return limit_table_take(common.table, &place, limit, cost, now_ns, 1000 * SECOND, lease);
}

static void leave(const struct limit *limit, const struct limit_lease *lease, uint64_t now_ns)
{
    given_up_refund(&common.given_up, limit, lease, now_ns);
}

static const enum limit_algorithm algorithms[] = { LIMIT_TOKEN_BUCKET, LIMIT_GCRA, LIMIT_FIXED_WINDOW };

/* Which of five leaves as the n-th in the order with this number, of 120. */
static void make_order(unsigned number, unsigned order[5])
{
    unsigned left[5] = { 0, 1, 2, 3, 4 };
    for (unsigned i = 5; i > 0; i--) {
        unsigned at = number % i;
        number /= i;
        order[5 - i] = left[at];
        left[at] = left[i - 1];
    }
}

static void once_all_have_left_it_is_as_if_they_had_never_come(void **state)
{
    for (unsigned i = 0; i < COUNT_OF(algorithms); i++) {
        begin_common();
        struct limit limit = make(algorithms[i], 1, 1);
        for (unsigned number = 0; number < 120; number++) {
            struct limit_lease leases[5], lease;
            unsigned order[5];
            make_order(number, order);
            assert_int_equal(take(&limit, number, 1, 10 * SECOND, &lease).verdict, LIMIT_PASS);
            for (unsigned j = 0; j < 5; j++)
                assert_int_equal(take(&limit, number, 1, 10 * SECOND, &leases[j]).wait_ns, (j + 1) * SECOND);
            for (unsigned j = 0; j < 5; j++) leave(&limit, &leases[order[j]], 10 * SECOND);
            assert_int_equal(take(&limit, number, 1, 10 * SECOND, &lease).wait_ns, SECOND);
        }
        assert_int_equal(common.given_up.count, 0);
        end_common();
    }
}

static void who_still_stands_there_keeps_the_place(void **state)
{
    for (unsigned i = 0; i < COUNT_OF(algorithms); i++) {
        begin_common();
        struct limit limit = make(algorithms[i], 1, 1);
        struct limit_lease leases[6], lease;
        for (unsigned j = 0; j < 6; j++) (void)take(&limit, 1, 1, 10 * SECOND, &leases[j]);
        leave(&limit, &leases[1], 10 * SECOND);
        leave(&limit, &leases[3], 10 * SECOND);
        leave(&limit, &leases[4], 10 * SECOND);
        assert_int_equal(take(&limit, 1, 0, 10 * SECOND, &lease).full_ns, 6 * SECOND);
        leave(&limit, &leases[5], 10 * SECOND);
        /* The third one waits for its turn, in two seconds. */
        assert_int_equal(take(&limit, 1, 1, 10 * SECOND, &lease).wait_ns, 3 * SECOND);
        end_common();
    }
}

/* A request that costs more than is left of a window begins the next one; what it has left free is free again without it. */
static void what_did_not_fit_into_a_window_is_there_again(void **state)
{
    begin_common();
    struct limit limit = make(LIMIT_FIXED_WINDOW, 4, 0);
    struct limit_lease first, leases[2], lease;
    assert_int_equal(take(&limit, 1, 3, 10 * SECOND, &first).verdict, LIMIT_PASS);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(take(&limit, 1, 3, 10 * SECOND, &leases[i]).wait_ns, (i + 1) * SECOND);
    for (unsigned i = 0; i < 2; i++) leave(&limit, &leases[i], 10 * SECOND);
    assert_int_equal(take(&limit, 1, 1, 10 * SECOND, &lease).verdict, LIMIT_PASS);
    end_common();
}

/* --- random rows against a list of who came and who left --- */

enum { KEYS = 3, PEOPLE = 600 };

struct person {
    struct limit_lease lease;
    uint64_t turn_ns;
    bool has_left;
};

struct row {
    struct person people[PEOPLE];
    unsigned count;
};

/* Who have left and nobody behind them are as if they had never come; who has passed stands there for ever. */
static void strike(struct row *row)
{
    while (row->count > 0 && row->people[row->count - 1].has_left) row->count--;
}

static void come(const struct limit *limit, struct row *row, unsigned key, uint64_t cost, uint64_t now_ns)
{
    struct person *person = &row->people[row->count];
    struct limit_outcome outcome = take(limit, key, cost, now_ns, &person->lease);
    if (outcome.verdict == LIMIT_REFUSE) return;
    uint64_t end = row->count > 0 ? limit_position(limit, row->people[row->count - 1].lease.taken.value) : 0;
    if (limit_position_until_s(limit, end) > now_ns / SECOND)
        assert_int_equal(limit_position(limit, person->lease.taken.before), end);
    person->turn_ns = now_ns + outcome.wait_ns;
    person->has_left = false;
    row->count++;
}

static void go(const struct limit *limit, struct row *row, unsigned back, uint64_t now_ns)
{
    if (row->count < back) return;
    struct person *person = &row->people[row->count - back];
    if (person->has_left || person->turn_ns <= now_ns) return;
    leave(limit, &person->lease, now_ns);
    person->has_left = true;
    strike(row);
}

static void run_rows(enum limit_algorithm algorithm, uint64_t seed)
{
    static struct row rows[KEYS];
    struct random random;
    begin_common();
    memset(rows, 0, sizeof rows);
    random_init_seeded(&random, seed);
    uint64_t quota = 1 + random_below(&random, 8), now_ns = 100 * SECOND;
    struct limit limit = make(algorithm, quota, 0);
    for (unsigned i = 0; i < PEOPLE; i++) {
        unsigned key = (unsigned)random_below(&random, KEYS);
        if (random_below(&random, 20) == 0) now_ns += random_below(&random, SECOND);
        if (random_below(&random, 2))
            come(&limit, &rows[key], key, 1 + random_below(&random, quota), now_ns);
        else
            go(&limit, &rows[key], 1 + (unsigned)random_below(&random, 6), now_ns);
    }
    end_common();
}

static void rows_are_as_if_who_left_at_their_end_had_never_come(void **state)
{
    for (unsigned i = 0; i < COUNT_OF(algorithms); i++) {
        for (uint64_t seed = 1; seed <= 200; seed++) run_rows(algorithms[i], seed);
    }
}

/* --- bounds --- */

static void no_more_than_so_many_are_remembered(void **state)
{
    begin_common();
    struct limit limit = make(LIMIT_FIXED_WINDOW, 1, 0);
    static struct limit_lease leases[1000];
    for (unsigned key = 0; key < 100; key++) {
        for (unsigned i = 0; i < 1000; i++) (void)take(&limit, key, 1, 10 * SECOND, &leases[i]);
        for (unsigned i = 1000; i > 1; i--) leave(&limit, &leases[i - 2], 10 * SECOND);
    }
    assert_int_equal(common.given_up.count, GIVEN_UP_MAX);
    /* Those whose time is over make room. */
    for (unsigned i = 0; i < 3; i++) (void)take(&limit, 500, 1, 5000 * SECOND, &leases[i]);
    leave(&limit, &leases[1], 5000 * SECOND);
    assert_true(common.given_up.count < GIVEN_UP_MAX);
    end_common();
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 3000, HELD = 8 };

static struct limit shared_limit;

static void *come_and_go(void *argument)
{
    struct random random;
    struct limit_lease leases[HELD];
    random_init_seeded(&random, 3 + (uintptr_t)argument);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned left = 0;
        /* The row is full of places that were given up where the others are fast. */
        while (left < HELD && take(&shared_limit, 1, 1, 10 * SECOND, &leases[left]).verdict == LIMIT_WAIT) {
            left++;
            if (random_below(&random, 4) == 0) sched_yield();
        }
        for (; left > 0; left--) {
            unsigned at = (unsigned)random_below(&random, left);
            leave(&shared_limit, &leases[at], 10 * SECOND);
            leases[at] = leases[left - 1];
        }
    }
    return NULL;
}

static void threads_that_leave_one_row_leave_nothing_behind(void **state)
{
    for (unsigned i = 0; i < COUNT_OF(algorithms); i++) {
        pthread_t threads[THREADS];
        struct limit_lease lease;
        begin_common();
        shared_limit = make(algorithms[i], 1, 1);
        assert_int_equal(take(&shared_limit, 1, 1, 10 * SECOND, &lease).verdict, LIMIT_PASS);
        for (uintptr_t j = 0; j < THREADS; j++)
            assert_int_equal(pthread_create(&threads[j], NULL, come_and_go, (void *)j), 0);
        for (unsigned j = 0; j < THREADS; j++) assert_int_equal(pthread_join(threads[j], NULL), 0);
        assert_int_equal(take(&shared_limit, 1, 1, 10 * SECOND, &lease).wait_ns, SECOND);
        assert_int_equal(common.given_up.count, 0);
        end_common();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(once_all_have_left_it_is_as_if_they_had_never_come),
        cmocka_unit_test(who_still_stands_there_keeps_the_place),
        cmocka_unit_test(what_did_not_fit_into_a_window_is_there_again),
        cmocka_unit_test(rows_are_as_if_who_left_at_their_end_had_never_come),
        cmocka_unit_test(no_more_than_so_many_are_remembered),
        cmocka_unit_test(threads_that_leave_one_row_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
